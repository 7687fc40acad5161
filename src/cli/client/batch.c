/*
 * weir batch: tasks that belong together, and their results in order.
 */
#include "base/error.h"
#include "base/json.h"
#include "cli/client/commands.h"
#include "cli/client/follow.h"
#include "cli/client/request.h"
#include "cli/client/submit.h"
#include "cli/client/verbs.h"
#include "cli/client/view.h"
#include "cli/commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define WORDS_MAX 100000

/* ---- submit, open ---- */

#define AT(field) .at = offsetof(struct submit_options, field)

static const struct option_spec submit_own_specs[] = {
    {.name = "name",
     .kind = OPTION_TEXT,
     .argument = "NAME",
     AT(name),
     .group = "The batch",
     .help = "what people call it"},
    {.name = "open",
     .kind = OPTION_FLAG,
     AT(open),
     .group = "The batch",
     .help = "more tasks will come (weir submit --batch); end it with weir batch end"},
    {.name = "tasks",
     .kind = OPTION_FLAG,
     AT(tasks),
     .group = "The batch",
     .help = "each line is a whole task, as POST /v1/tasks takes it, not a payload"},
};

static void put_path(const struct submit_options *o, bool open, struct buf *path)
{
    buf_puts(path, "/v1/batches");
    client_put_query(path, "name", o->name);
    client_put_query(path, "open", open ? "true" : NULL);
}

static void put_id(struct client *c)
{
    if (verbs_put_json(c))
        return;
    view_put_text(&c->out, view_member(buf_slice(&c->body), "id"));
    buf_putc(&c->out, '\n');
}

static int submit(struct client *c, void *options)
{
    struct submit_options *o = options;
    _cleanup_buf_ struct buf path = {0};
    const char *file = c->o->words.count > 0 ? c->o->words.items[0] : NULL;
    int result;

    put_path(o, o->open, &path);
    if (o->tasks && submit_any_member(o))
        result = client_usage(c, "with --tasks the lines say all of each task; leave out --tasks, "
                                 "or the options of tasks");
    else
        result = path.failed ? CLI_FAILED : submit_stream(c, o, file, path.data);
    if (result == CLI_OK) {
        if (!c->o->json)
            submit_tell_accepted(c);
        put_id(c);
        submit_warn(c, o);
    }
    submit_options_free(o);
    return result;
}

struct open_options {
    struct client_common c;
    const char *name;
};

static const struct option_spec open_specs[] = {
    {.name = "name",
     .kind = OPTION_TEXT,
     .argument = "NAME",
     .at = offsetof(struct open_options, name),
     .group = "The batch",
     .help = "what people call it"},
};

static int open_batch(struct client *c, void *options)
{
    const struct open_options *o = options;
    _cleanup_buf_ struct buf body = {0};
    int result;

    buf_puts(&body, "{");
    if (o->name) {
        buf_puts(&body, "\"name\":");
        json_put_string(&body, slice_of(o->name));
    }
    buf_puts(&body, "}");
    result = client_ask(c, "POST", body.failed ? NULL : "/v1/batches?open=true", body.data);
    if (result == CLI_OK)
        put_id(c);
    return result;
}

/* ---- list, show ---- */

struct list_options {
    struct client_common c;
    int64_t limit;
    bool all;
};

static const struct option_spec list_specs[] = {VERBS_LIST_SPECS(struct list_options)};

static void put_state(const struct client *c, struct slice batch, struct buf *out)
{
    (void)c;
    if (json_kind(view_member(batch, "finished")) == JSON_TRUE)
        buf_puts(out, "finished");
    else
        buf_puts(out, json_kind(view_member(batch, "ended")) == JSON_TRUE ? "running" : "open");
}

static const struct view_column columns[] = {
    {{.title = "ID", .right = true}, "id", VIEW_TEXT, NULL},
    {{.title = "NAME", .stretch = true}, "name", VIEW_TEXT, NULL},
    {{.title = "STATE"}, NULL, VIEW_FUNCTION, put_state},
    {{.title = "OPENED"}, "opened_at", VIEW_TIME, NULL},
    {{.title = "TASKS", .right = true}, "total", VIEW_TEXT, NULL},
    {{.title = "WAITING", .right = true}, "tasks.ready", VIEW_NONZERO, NULL},
    {{.title = "BLOCKED", .right = true}, "tasks.blocked", VIEW_NONZERO, NULL},
    {{.title = "SCHEDULED", .right = true}, "tasks.scheduled", VIEW_NONZERO, NULL},
    {{.title = "RUNNING", .right = true}, "tasks.running", VIEW_NONZERO, NULL},
    {{.title = "DONE", .right = true}, "tasks.done", VIEW_NONZERO, NULL},
    {{.title = "FAILED", .right = true}, "tasks.failed", VIEW_NONZERO, NULL},
    {{.title = "CANCELLED", .right = true}, "tasks.cancelled", VIEW_NONZERO, NULL},
};

static int list(struct client *c, void *options)
{
    const struct list_options *o = options;

    return client_list(c, &(struct client_list){.path = "/v1/batches",
                                                .member = "batches",
                                                .cursor = "cursor",
                                                CLIENT_COLUMNS(columns),
                                                .limit = o->limit,
                                                .all = o->all,
                                                .none = "no batches"});
}

static void tell_batch(struct client *c, const char *word)
{
    (void)word;
    view_show(c, buf_slice(&c->body), NULL);
}

static int each(struct client *c, const char *method, const char *action,
                void (*tell)(struct client *, const char *))
{
    return verbs_each(c, &(struct verbs_each){.method = method,
                                              .kind = "batches",
                                              .action = action,
                                              .what = "batch",
                                              .numbers = true,
                                              .apart = tell == tell_batch,
                                              .tell = tell});
}

static int show(struct client *c, void *options)
{
    (void)options;
    return each(c, "GET", NULL, tell_batch);
}

/* ---- changes ---- */

static void tell_count(struct client *c, const char *word)
{
    bool cancelled = view_member(buf_slice(&c->body), "cancelled").len > 0;
    struct slice running = view_member(buf_slice(&c->body), "cancelling");

    buf_printf(
        &c->out,
        cancelled ? "batch %s: tasks cancelled: " : "batch %s: tasks that run again: ", word);
    view_put_text(&c->out, view_member(buf_slice(&c->body), cancelled ? "cancelled" : "retried"));
    if (running.len > 0 && !slice_equal(json_trim(running), SLICE("0"))) {
        buf_puts(&c->out, ", cancelling (they run): ");
        view_put_text(&c->out, running);
    }
    buf_putc(&c->out, '\n');
}

static int cancel(struct client *c, void *options)
{
    (void)options;
    return each(c, "POST", "cancel", tell_count);
}

static int retry(struct client *c, void *options)
{
    (void)options;
    return each(c, "POST", "retry", tell_count);
}

static void tell_end(struct client *c, const char *word)
{
    buf_printf(&c->out, "batch %s: ended, with so many tasks: ", word);
    view_put_text(&c->out, view_member(buf_slice(&c->body), "total"));
    buf_putc(&c->out, '\n');
}

static int end(struct client *c, void *options)
{
    (void)options;
    return each(c, "POST", "end", tell_end);
}

/* ---- results ---- */

struct results_options {
    struct client_common c;
    int64_t from;
    bool follow, payload;
};

static const struct option_spec results_specs[] = {
    {.name = "follow",
     .kind = OPTION_FLAG,
     .at = offsetof(struct results_options, follow),
     .group = "Which",
     .help = "go on until the batch has finished; exit with 1 if a task is not done"},
    {.name = "from",
     .kind = OPTION_COUNT,
     .argument = "N",
     .at = offsetof(struct results_options, from),
     .min = 0,
     .max = 9e15,
     .group = "Which",
     .help = "from the task in this place of the batch on (default 0)"},
    {.name = "payload",
     .kind = OPTION_FLAG,
     .at = offsetof(struct results_options, payload),
     .group = "Which",
     .help = "with --json: their payloads, too"},
};

struct results {
    struct client *c;
    struct buf line;
    uint64_t told, not_done;
    int64_t next; /* place */
    bool failed;
};

static void put_result(struct results *r, struct slice task)
{
    struct client *c = r->c;
    _cleanup_buf_ struct buf line = {0}, state = {0};
    struct slice what = view_member(task, "output");

    view_put_text(&state, view_member(task, "state"));
    if (!slice_equal(buf_slice(&state), SLICE("done")))
        what = view_member(task, "message");
    buf_printf(&line, "%6" PRId64 "  %-9s  ", r->next, state.data ? state.data : "");
    if (view_member(task, "key").len > 0) {
        view_put_text(&line, view_member(task, "key"));
        buf_puts(&line, "  ");
    }
    if (json_kind(what) == JSON_STRING)
        view_put_text(&line, what);
    else
        table_put_clean(&line, json_trim(what));
    while (line.len > 0 && line.data[line.len - 1] == ' ')
        line.len--;
    table_put_cut(&c->out, buf_slice(&line), c->width > 0 ? c->width : SIZE_MAX);
    buf_putc(&c->out, '\n');
    c->out.failed = c->out.failed || line.failed || state.failed;
}

/* False: nobody reads on, or it is no JSON. */
static bool take_result(struct results *r)
{
    struct slice task = buf_slice(&r->line), state;

    if (task.len == 0)
        return true;
    if (!json_check(task, NULL)) {
        r->failed = true;
        return false;
    }
    state = view_member(task, "state");
    (void)json_int64(view_member(task, "place"), &r->next);
    if (r->c->o->json) {
        buf_put_slice(&r->c->out, task);
        buf_putc(&r->c->out, '\n');
    } else {
        put_result(r, task);
    }
    r->next++;
    r->told++;
    r->not_done += !(json_kind(state) == JSON_STRING && json_string_equals(state, SLICE("done")));
    buf_clear(&r->line);
    return true;
}

static bool take(void *ctx, struct slice bytes)
{
    struct results *r = ctx;

    while (bytes.len > 0) {
        const char *end_of_line = memchr(bytes.data, '\n', bytes.len);
        size_t len = end_of_line ? (size_t)(end_of_line - bytes.data) : bytes.len;

        buf_put(&r->line, bytes.data, len);
        r->failed = r->failed || r->line.failed;
        if (r->failed || (end_of_line && !take_result(r)))
            return false;
        len += end_of_line != NULL;
        bytes = (struct slice){bytes.data + len, bytes.len - len};
    }
    return client_flush(r->c);
}

/* How many there are behind those that were told. */
static int finish_results(struct results *r, const char *batch, bool follow)
{
    struct client *c = r->c;
    _cleanup_buf_ struct buf path = {0};
    int64_t total = 0;
    int result;

    buf_printf(&path, "/v1/batches/%s", batch);
    result = client_ask(c, "GET", path.failed ? NULL : path.data, NULL);
    if (result != CLI_OK)
        return result;
    (void)json_int64(view_member(buf_slice(&c->body), "total"), &total);
    if (total > r->next && !c->o->json)
        fprintf(stderr, "%s: %" PRId64 " of %" PRId64 " are still to come%s\n", c->name,
                total - r->next, total, follow ? "" : "; --follow waits for them");
    if (follow && total > r->next)
        return CLI_FAILED;
    return follow && r->not_done > 0 ? CLI_FAILED : CLI_OK;
}

/* Those from r->next on. */
static enum weir_status ask_results(struct results *r, const struct results_options *o, int64_t id,
                                    struct weir_error *err)
{
    _cleanup_buf_ struct buf path = {0};
    struct client_request request = {.method = "GET",
                                     .accept = "application/x-ndjson, application/problem+json",
                                     .take = take,
                                     .ctx = r};

    buf_printf(&path, "/v1/batches/%" PRId64 "/results", id);
    if (r->next > 0)
        client_put_query_number(&path, "from", r->next);
    client_put_query(&path, "follow", o->follow ? "true" : NULL);
    client_put_query(&path, "with", o->payload ? "payload" : NULL);
    if (path.failed)
        return error_nomem(err);
    request.path = path.data;
    return client_send(r->c, &request, err);
}

/* Whether the stream has ended before the batch has: the daemon did. */
static bool is_cut(struct results *r, int64_t id, enum weir_status status,
                   struct follow_patience *p)
{
    struct client *c = r->c;
    char path[64];
    int64_t total = 0;
    bool asked;

    if (r->failed || c->lost)
        return false;
    if (status != WEIR_OK || c->status >= 400)
        return status == WEIR_E_IO || c->status == 503;
    snprintf(path, sizeof path, "/v1/batches/%" PRId64, id);
    asked = follow_ask(c, path, p, NULL) == WEIR_OK && c->status == 200 &&
            json_int64(view_member(buf_slice(&c->body), "total"), &total);
    return asked && (total > r->next ||
                     json_kind(view_member(buf_slice(&c->body), "finished")) == JSON_FALSE);
}

static enum weir_status follow_results(struct results *r, const struct results_options *o,
                                       int64_t id, struct weir_error *err)
{
    struct follow_patience patience = {0};
    enum weir_status status;
    uint64_t told;

    do {
        told = r->told;
        buf_clear(&r->line);
        status = ask_results(r, o, id, err);
        if (r->told > told)
            patience = (struct follow_patience){0};
    } while (is_cut(r, id, status, &patience) && follow_wait(r->c, &patience, status));
    return status;
}

static int results(struct client *c, void *options)
{
    const struct results_options *o = options;
    struct results r = {.c = c, .next = o->from};
    struct weir_error err = {0};
    enum weir_status status;
    int64_t id;
    int result;

    if (!verbs_id(c, c->o->words.items[0], "batch", &id))
        return CLI_USAGE;
    status = o->follow ? follow_results(&r, o, id, &err) : ask_results(&r, o, id, &err);
    if (status != WEIR_OK) {
        if (r.failed)
            error_set(&err, WEIR_E_FORMAT, "what answers at %s sends no results", c->address.data);
        result = c->lost ? CLI_FAILED : client_complain(c, &err);
        if (!c->lost && r.told > 0)
            fprintf(stderr, "%s: go on with --from %" PRId64 "\n", c->name, r.next);
    } else {
        result = c->status >= 400 ? client_judge(c)
                                  : finish_results(&r, c->o->words.items[0], o->follow);
    }
    buf_free(&r.line);
    return result;
}

static const struct client_verb verbs[] = {
    {.name = "submit",
     .help = "make a batch of the lines of a file",
     .usage = "[options] [FILE]",
     .intro = "Makes a batch with a task for each line of the file (default: standard input), and "
              "prints its number. Each line is the payload of a task.",
     .words = "file",
     .words_max = 1,
     CLIENT_SPECS(submit_own_specs),
     .shared = submit_specs,
     .shared_count = SUBMIT_SPECS_COUNT,
     .options_bytes = sizeof(struct submit_options),
     .run = submit},
    {.name = "open",
     .help = "make a batch that tasks can be added to (weir submit --batch)",
     CLIENT_SPECS(open_specs),
     .options_bytes = sizeof(struct open_options),
     .run = open_batch},
    {.name = "end",
     .help = "say that no more tasks come",
     .usage = "[options] BATCH...",
     .words = "batch",
     .words_min = 1,
     .words_max = WORDS_MAX,
     .run = end},
    {.name = "list",
     .help = "list batches, the oldest first",
     CLIENT_SPECS(list_specs),
     .options_bytes = sizeof(struct list_options),
     .run = list},
    {.name = "show",
     .help = "how far a batch is",
     .usage = "[options] BATCH...",
     .words = "batch",
     .words_min = 1,
     .words_max = WORDS_MAX,
     .run = show},
    {.name = "results",
     .help = "the results of a batch, in the order of its tasks",
     .usage = "[options] BATCH",
     .intro = "Prints the results of a batch in the order of its tasks, up to the first that has "
              "not ended. With --json each line has all of a task and its whole output.",
     .words = "batch",
     .words_min = 1,
     .words_max = 1,
     CLIENT_SPECS(results_specs),
     .options_bytes = sizeof(struct results_options),
     .run = results},
    {.name = "cancel",
     .help = "cancel all tasks of a batch; attempts that run are ended",
     .usage = "[options] BATCH...",
     .words = "batch",
     .words_min = 1,
     .words_max = WORDS_MAX,
     .run = cancel},
    {.name = "retry",
     .help = "have all failed tasks of a batch run again",
     .usage = "[options] BATCH...",
     .words = "batch",
     .words_min = 1,
     .words_max = WORDS_MAX,
     .run = retry},
};
const struct client_command client_batch =
    CLIENT_COMMAND("batch", "tasks that belong together, and their results in order", verbs);

int cmd_batch(int argc, char **argv)
{
    return client_main(&client_batch, argc, argv);
}
