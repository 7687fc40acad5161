/*
 * weir task: the tasks of the daemon, one by one.
 */
#include "base/json.h"
#include "base/parse.h"
#include "cli/client/commands.h"
#include "cli/client/event.h"
#include "cli/client/follow.h"
#include "cli/client/request.h"
#include "cli/client/verbs.h"
#include "cli/client/view.h"
#include "cli/client/when.h"
#include "cli/commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* More than anybody types; xargs does. */
#define WORDS_MAX 100000

/* ---- list ---- */

struct list_options {
    struct client_common c;
    const char *state, *pool, *skill, *tenant, *session, *key;
    int64_t batch, limit;
    bool stuck, newest, all;
};

#define AT(field) .at = offsetof(struct list_options, field)

static const struct option_spec list_specs[] = {
    {.name = "state",
     .kind = OPTION_TEXT,
     .argument = "STATE[,STATE]",
     AT(state),
     .group = "Which",
     .help = "blocked, scheduled, ready, running, done, failed, cancelled"},
    {.name = "pool",
     .kind = OPTION_TEXT,
     .argument = "POOL",
     AT(pool),
     .group = "Which",
     .help = "those that name it"},
    {.name = "skill",
     .kind = OPTION_TEXT,
     .argument = "SKILL",
     AT(skill),
     .group = "Which",
     .help = "those that name it"},
    {.name = "tenant",
     .kind = OPTION_TEXT,
     .argument = "NAME",
     AT(tenant),
     .group = "Which",
     .help = "of this tenant"},
    {.name = "session",
     .kind = OPTION_TEXT,
     .argument = "NAME",
     AT(session),
     .group = "Which",
     .help = "of this session"},
    {.name = "key",
     .kind = OPTION_TEXT,
     .argument = "TEXT",
     AT(key),
     .group = "Which",
     .help = "with this key"},
    {.name = "batch",
     .kind = OPTION_COUNT,
     .argument = "BATCH",
     AT(batch),
     .min = 1,
     .max = 9e15,
     .group = "Which",
     .help = "of this batch"},
    {.name = "stuck",
     .kind = OPTION_FLAG,
     AT(stuck),
     .group = "Which",
     .help = "those that can never run (see weir task resolve)"},
    {.name = "newest",
     .kind = OPTION_FLAG,
     AT(newest),
     .group = "How many",
     .help = "the newest first"},
    VERBS_LIST_SPECS(struct list_options),
};

/* How long it has run, or ran: from its first start to its end, or until now. */
static void put_run(const struct client *c, struct slice task, struct buf *out)
{
    _cleanup_buf_ struct buf start = {0}, end = {0};
    int64_t start_ns, end_ns = c->now_ns;

    view_put_text(&start, view_member(task, "started_at"));
    view_put_text(&end, view_member(task, "ended_at"));
    if (!when_parse(buf_slice(&start), &start_ns))
        return;
    (void)when_parse(buf_slice(&end), &end_ns);
    when_put_short(out, (double)(end_ns - start_ns) / (double)NS_PER_S);
}

/* Its state, that it can never run, or that it is cancelled when its attempt has ended. */
static void put_state(const struct client *c, struct slice task, struct buf *out)
{
    (void)c;
    if (json_kind(view_member(task, "stuck")) == JSON_TRUE)
        buf_puts(out, "stuck");
    else
        view_put_text(out, view_member(task, "state"));
    if (json_kind(view_member(task, "cancelling")) == JSON_TRUE)
        buf_puts(out, " (cancelling)");
}

static void put_pool(const struct client *c, struct slice task, struct buf *out)
{
    struct slice ran_in = view_member(task, "ran_in"), pool = view_member(task, "pool");
    struct slice skill = view_member(task, "skill");

    (void)c;
    if (ran_in.len > 0 || pool.len > 0) {
        view_put_text(out, ran_in.len > 0 ? ran_in : pool);
    } else if (skill.len > 0) {
        buf_puts(out, "skill ");
        view_put_text(out, skill);
    }
}

static const struct view_column task_columns[] = {
    {{.title = "ID", .right = true}, "id", VIEW_TEXT, NULL},
    {{.title = "STATE"}, NULL, VIEW_FUNCTION, put_state},
    {{.title = "KEY", .stretch = true}, "key", VIEW_TEXT, NULL},
    {{.title = "BATCH", .right = true}, "batch", VIEW_TEXT, NULL},
    {{.title = "POOL", .stretch = true}, NULL, VIEW_FUNCTION, put_pool},
    {{.title = "PRI", .right = true}, "priority", VIEW_NONZERO, NULL},
    {{.title = "TENANT", .stretch = true}, "tenant", VIEW_TEXT, NULL},
    {{.title = "SUBMITTED"}, "submitted_at", VIEW_TIME, NULL},
    {{.title = "RAN", .right = true}, NULL, VIEW_FUNCTION, put_run},
    {{.title = "TRIES", .right = true}, "attempts", VIEW_NONZERO, NULL},
    {{.title = "REASON"}, "reason", VIEW_TEXT, NULL},
    {{.title = "MESSAGE", .stretch = true}, "message", VIEW_TEXT, NULL},
};

static int list(struct client *c, void *options)
{
    const struct list_options *o = options;
    _cleanup_buf_ struct buf path = {0};

    buf_puts(&path, "/v1/tasks");
    client_put_query(&path, "state", o->state);
    client_put_query(&path, "pool", o->pool);
    client_put_query(&path, "skill", o->skill);
    client_put_query(&path, "tenant", o->tenant);
    client_put_query(&path, "session", o->session);
    client_put_query(&path, "key", o->key);
    if (o->batch > 0)
        client_put_query_number(&path, "batch", o->batch);
    client_put_query(&path, "stuck", o->stuck ? "true" : NULL);
    client_put_query(&path, "order", o->newest ? "newest" : NULL);
    return client_list(c, &(struct client_list){.path = path.data ? path.data : "",
                                                .member = "tasks",
                                                .cursor = "cursor",
                                                CLIENT_COLUMNS(task_columns),
                                                .limit = o->limit,
                                                .all = o->all,
                                                .none = "no tasks"});
}

/* ---- show ---- */

static void put_block(struct client *c, struct slice task, const char *member, const char *title)
{
    _cleanup_buf_ struct buf text = {0};
    struct slice value = view_member(task, member);

    if (value.len == 0)
        return;
    if (json_kind(value) == JSON_STRING)
        json_unquote(value, &text);
    else
        buf_put_slice(&text, json_trim(value));
    buf_printf(&c->out, "\n%s:\n", title);
    view_put_lines(&c->out, buf_slice(&text), "  ");
    c->out.failed = c->out.failed || text.failed;
}

static void tell_task(struct client *c, const char *word)
{
    static const char *const blocks[] = {"payload",       "payload_base64", "output",
                                         "output_base64", "errput",         NULL};
    struct slice task = buf_slice(&c->body);

    (void)word;
    view_show(c, task, blocks);
    put_block(c, task, "payload", "payload");
    put_block(c, task, "payload_base64", "payload (base64)");
    put_block(c, task, "output", "output");
    put_block(c, task, "output_base64", "output (base64)");
    put_block(c, task, "errput", "error output");
}

static int each(struct client *c, const char *method, const char *action, const char *body,
                void (*tell)(struct client *, const char *))
{
    return verbs_each(c, &(struct verbs_each){.method = method,
                                              .kind = "tasks",
                                              .action = action,
                                              .body = body,
                                              .what = "task",
                                              .numbers = true,
                                              .apart = tell == tell_task,
                                              .tell = tell});
}

static int show(struct client *c, void *options)
{
    (void)options;
    return each(c, "GET", NULL, NULL, tell_task);
}

/* ---- changes ---- */

static void tell_state(struct client *c, const char *word)
{
    buf_printf(&c->out, "task %s: ", word);
    put_state(c, buf_slice(&c->body), &c->out);
    buf_putc(&c->out, '\n');
}

static void tell_deleted(struct client *c, const char *word)
{
    buf_printf(&c->out, "task %s: deleted\n", word);
}

static int cancel(struct client *c, void *options)
{
    (void)options;
    return each(c, "POST", "cancel", NULL, tell_state);
}

static int retry(struct client *c, void *options)
{
    (void)options;
    return each(c, "POST", "retry", NULL, tell_state);
}

static int remove_task(struct client *c, void *options)
{
    (void)options;
    return each(c, "DELETE", NULL, NULL, tell_deleted);
}

/* The last word is not a task. */
static int each_but_last(struct client *c, const char *method, const char *action, const char *body,
                         void (*tell)(struct client *, const char *))
{
    return verbs_each(c, &(struct verbs_each){.method = method,
                                              .kind = "tasks",
                                              .action = action,
                                              .body = body,
                                              .what = "task",
                                              .numbers = true,
                                              .count = c->o->words.count - 1,
                                              .tell = tell});
}

static void tell_priority(struct client *c, const char *word)
{
    buf_printf(&c->out, "task %s: priority ", word);
    view_put_text(&c->out, view_member(buf_slice(&c->body), "priority"));
    buf_putc(&c->out, '\n');
}

static int priority(struct client *c, void *options)
{
    const char *last = c->o->words.items[c->o->words.count - 1];
    struct weir_error err = {0};
    char body[48];
    int64_t n;

    (void)options;
    if (parse_count(last, -1000, 1000, &n, &err) != WEIR_OK)
        return client_usage(c, "the priority: %s", err.message);
    snprintf(body, sizeof body, "{\"priority\":%" PRId64 "}", n);
    return each_but_last(c, "PATCH", NULL, body, tell_priority);
}

static int resolve(struct client *c, void *options)
{
    const char *last = c->o->words.items[c->o->words.count - 1];
    bool run = strcmp(last, "run") == 0;

    (void)options;
    if (!run && strcmp(last, "cancel") != 0)
        return client_usage(c,
                            "\"%.100s\" is not how; say run (as if all that it waits for were "
                            "done) or cancel",
                            last);
    return each_but_last(c, "POST", "resolve", run ? "{\"how\":\"run\"}" : "{\"how\":\"cancel\"}",
                         tell_state);
}

/* ---- events, wait ---- */

struct events_options {
    struct client_common c;
    int64_t limit;
    bool all, newest;
};

static const struct option_spec events_specs[] = {
    {.name = "newest",
     .kind = OPTION_FLAG,
     .at = offsetof(struct events_options, newest),
     .group = "How many",
     .help = "the newest first"},
    VERBS_LIST_SPECS(struct events_options),
};

static int events(struct client *c, void *options)
{
    const struct events_options *o = options;
    _cleanup_buf_ struct buf path = {0};
    int64_t id;

    if (!verbs_id(c, c->o->words.items[0], "task", &id))
        return CLI_USAGE;
    buf_printf(&path, "/v1/tasks/%" PRId64 "/events", id);
    client_put_query(&path, "order", o->newest ? "newest" : NULL);
    return event_list(c, path.data ? path.data : "", o->limit, o->all);
}

static int wait_tasks(struct client *c, void *options)
{
    int result = CLI_OK;

    (void)options;
    for (size_t i = 0; i < c->o->words.count; i++) {
        int64_t id;
        int this = CLI_USAGE;

        if (verbs_id(c, c->o->words.items[i], "task", &id))
            this = follow_task(c, id);
        if (this == CLI_OK)
            this = follow_tell_result(c);
        if (result == CLI_OK)
            result = this;
        if (!client_flush(c))
            return CLI_FAILED;
    }
    return result;
}

static const struct client_verb verbs[] = {
    {.name = "list",
     .help = "list tasks, the oldest first",
     CLIENT_SPECS(list_specs),
     .options_bytes = sizeof(struct list_options),
     .run = list},
    {.name = "show",
     .help = "all that is known of a task, with its payload and output",
     .usage = "[options] TASK...",
     .words = "task",
     .words_min = 1,
     .words_max = WORDS_MAX,
     .run = show},
    {.name = "cancel",
     .help = "cancel tasks; attempts that run are ended",
     .usage = "[options] TASK...",
     .intro = "Cancels tasks that wait, and ends the attempts of those that run: these are "
              "cancelled when that has ended, and do not run again, also after a crash.",
     .words = "task",
     .words_min = 1,
     .words_max = WORDS_MAX,
     .run = cancel},
    {.name = "retry",
     .help = "have failed or cancelled tasks run again, with all attempts before them",
     .usage = "[options] TASK...",
     .words = "task",
     .words_min = 1,
     .words_max = WORDS_MAX,
     .run = retry},
    {.name = "delete",
     .help = "delete tasks that have ended",
     .usage = "[options] TASK...",
     .words = "task",
     .words_min = 1,
     .words_max = WORDS_MAX,
     .run = remove_task},
    {.name = "priority",
     .help = "change the priority of tasks that wait",
     .usage = "[options] TASK... N",
     .words = "task",
     .words_min = 2,
     .words_max = WORDS_MAX,
     .run = priority},
    {.name = "resolve",
     .help = "settle tasks that wait for what can never be",
     .usage = "[options] TASK... run|cancel",
     .words = "task",
     .words_min = 2,
     .words_max = WORDS_MAX,
     .run = resolve},
    {.name = "events",
     .help = "what has happened to a task",
     .usage = "[options] TASK",
     .words = "task",
     .words_min = 1,
     .words_max = 1,
     CLIENT_SPECS(events_specs),
     .options_bytes = sizeof(struct events_options),
     .run = events},
    {.name = "wait",
     .help = "wait until tasks have ended, and print their output",
     .usage = "[options] TASK...",
     .intro = "Waits until the tasks have ended, and prints the output of each, in the order of "
              "the words. Exit status: 0 all are done; 1 one failed or was cancelled.",
     .words = "task",
     .words_min = 1,
     .words_max = WORDS_MAX,
     .run = wait_tasks},
};
const struct client_command client_task =
    CLIENT_COMMAND("task", "the daemon's tasks: list, show, cancel, retry, wait for them", verbs);

int cmd_task(int argc, char **argv)
{
    return client_main(&client_task, argc, argv);
}
