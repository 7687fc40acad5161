/*
 * weir event: what has happened, and what happens.
 */
#include "cli/client/event.h"
#include "cli/client/commands.h"

#include "base/json.h"
#include "base/parse.h"
#include "cli/client/follow.h"
#include "cli/client/request.h"
#include "cli/client/verbs.h"
#include "cli/client/view.h"
#include "cli/client/when.h"
#include "cli/commands.h"
#include "loop/loop.h"

#include <stdio.h>

struct event_options {
    struct client_common c;
    const char *pool, *kind;
    int64_t task, worker, after, limit;
    bool has_after, newest, all;
};

#define AT(field) .at = offsetof(struct event_options, field)

static const struct option_spec filter_specs[] = {
    {.name = "task",
     .kind = OPTION_COUNT,
     .argument = "TASK",
     AT(task),
     .min = 1,
     .max = 9e15,
     .group = "Which",
     .help = "of this task"},
    {.name = "pool",
     .kind = OPTION_TEXT,
     .argument = "POOL",
     AT(pool),
     .group = "Which",
     .help = "of this pool"},
    {.name = "worker",
     .kind = OPTION_COUNT,
     .argument = "N",
     AT(worker),
     .min = 1,
     .max = 9e15,
     .group = "Which",
     .help = "of this worker"},
    {.name = "kind",
     .kind = OPTION_TEXT,
     .argument = "KIND[,KIND]",
     AT(kind),
     .group = "Which",
     .help = "of these kinds, such as task.done,task.failed"},
};

static const struct option_spec list_specs[] = {
    {.name = "after",
     .kind = OPTION_COUNT,
     .argument = "SEQ",
     AT(after),
     .min = 0,
     .max = 9e15,
     .group = "Which",
     .help = "behind the event of this number, in the order asked for"},
    {.name = "newest",
     .kind = OPTION_FLAG,
     AT(newest),
     .group = "How many",
     .help = "the newest first"},
    VERBS_LIST_SPECS(struct event_options),
};

static enum weir_status set_after(void *into, const char *value, struct weir_error *err);

static const struct option_spec follow_specs[] = {
    {.name = "after",
     .kind = OPTION_SET,
     .argument = "SEQ",
     .set = set_after,
     .group = "Which",
     .help = "also those behind the event of this number; 0: all there ever were (default: from "
             "now on)"},
};

static const struct view_column columns[] = {
    {{.title = "SEQ", .right = true}, "seq", VIEW_TEXT, NULL},
    {{.title = "AT"}, "at", VIEW_TIME, NULL},
    {{.title = "KIND"}, "kind", VIEW_TEXT, NULL},
    {{.title = "TASK", .right = true}, "task", VIEW_TEXT, NULL},
    {{.title = "TRY", .right = true}, "attempt", VIEW_TEXT, NULL},
    {{.title = "POOL", .stretch = true}, "pool", VIEW_TEXT, NULL},
    {{.title = "WORKER", .right = true}, "worker", VIEW_TEXT, NULL},
    {{.title = "SLOT", .right = true}, "slot", VIEW_TEXT, NULL},
    {{.title = "TOOK", .right = true}, "duration_s", VIEW_SECONDS, NULL},
    {{.title = "DETAIL", .stretch = true}, "detail", VIEW_TEXT, NULL},
};

int event_list(struct client *c, const char *path, int64_t limit, bool all)
{
    return client_list(c, &(struct client_list){.path = path,
                                                .member = "events",
                                                .cursor = "after",
                                                CLIENT_COLUMNS(columns),
                                                .limit = limit,
                                                .all = all,
                                                .none = "no events"});
}

static void put_filter(const struct event_options *o, struct buf *path)
{
    if (o->task > 0)
        client_put_query_number(path, "task", o->task);
    if (o->worker > 0)
        client_put_query_number(path, "worker", o->worker);
    client_put_query(path, "pool", o->pool);
    client_put_query(path, "kind", o->kind);
}

static int list(struct client *c, void *options)
{
    const struct event_options *o = options;
    _cleanup_buf_ struct buf path = {0};

    buf_puts(&path, "/v1/events");
    put_filter(o, &path);
    client_put_query(&path, "order", o->newest ? "newest" : NULL);
    return client_list(c, &(struct client_list){.path = path.data ? path.data : "",
                                                .member = "events",
                                                .cursor = "after",
                                                .first = o->after,
                                                CLIENT_COLUMNS(columns),
                                                .limit = o->limit,
                                                .all = o->all,
                                                .none = "no events"});
}

/* ---- follow ---- */

static enum weir_status set_after(void *into, const char *value, struct weir_error *err)
{
    struct event_options *o = into;

    o->has_after = true;
    return parse_count(value, 0, INT64_MAX, &o->after, err);
}

static void put_pair(struct buf *out, const char *name, struct slice value)
{
    if (value.len == 0)
        return;
    buf_printf(out, "  %s ", name);
    view_put_text(out, value);
}

/* A line: what comes next is not known, so that there are no columns but the first ones. */
static void put_line(struct client *c, struct slice event, struct buf *out)
{
    _cleanup_buf_ struct buf at = {0}, kind = {0};
    struct slice took = view_member(event, "duration_s");
    int64_t at_ns;

    view_put_text(&at, view_member(event, "at"));
    view_put_text(&kind, view_member(event, "kind"));
    if (when_parse(buf_slice(&at), &at_ns))
        when_put_clock(out, at_ns, c->now_ns, c->o->utc);
    buf_printf(out, "  %-20s", kind.data ? kind.data : "");
    put_pair(out, "task", view_member(event, "task"));
    put_pair(out, "try", view_member(event, "attempt"));
    put_pair(out, "pool", view_member(event, "pool"));
    put_pair(out, "worker", view_member(event, "worker"));
    put_pair(out, "slot", view_member(event, "slot"));
    if (took.len > 0) {
        buf_puts(out, "  took ");
        view_put(c, VIEW_SECONDS, took, out);
    }
    put_pair(out, "", view_member(event, "detail"));
}

static bool tell_event(void *ctx, struct slice event)
{
    struct client *c = ctx;
    _cleanup_buf_ struct buf line = {0};

    if (c->o->json) {
        json_put_oneline(&c->out, event);
    } else {
        c->now_ns = loop_wall_clock_ns();
        put_line(c, event, &line);
        while (line.len > 0 && line.data[line.len - 1] == ' ')
            line.len--;
        table_put_cut(&c->out, buf_slice(&line), c->width > 0 ? c->width : SIZE_MAX);
    }
    buf_putc(&c->out, '\n');
    return client_flush(c);
}

static int follow(struct client *c, void *options)
{
    const struct event_options *o = options;
    _cleanup_buf_ struct buf path = {0};
    int result;

    buf_puts(&path, "/v1/events/follow");
    put_filter(o, &path);
    result = follow_events(c, path.data ? path.data : "", o->has_after ? o->after : FOLLOW_FROM_NOW,
                           tell_event, c);
    return c->lost ? CLI_FAILED : result;
}

static const struct client_verb verbs[] = {
    {.name = "list",
     .help = "list events, the oldest first",
     CLIENT_SPECS(list_specs),
     .shared = filter_specs,
     .shared_count = sizeof filter_specs / sizeof filter_specs[0],
     .options_bytes = sizeof(struct event_options),
     .run = list},
    {.name = "follow",
     .help = "print events as they happen, until Ctrl-C",
     CLIENT_SPECS(follow_specs),
     .shared = filter_specs,
     .shared_count = sizeof filter_specs / sizeof filter_specs[0],
     .options_bytes = sizeof(struct event_options),
     .run = follow},
};
const struct client_command client_event =
    CLIENT_COMMAND("event", "what has happened, and what happens", verbs);

int cmd_event(int argc, char **argv)
{
    return client_main(&client_event, argc, argv);
}
