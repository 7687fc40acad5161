/*
 * weir status: the daemon at a glance. weir shutdown: stops it.
 */
#include "base/error.h"
#include "base/json.h"
#include "base/time.h"
#include "cli/client/commands.h"
#include "cli/client/pool.h"
#include "cli/client/request.h"
#include "cli/client/verbs.h"
#include "cli/client/view.h"
#include "cli/commands.h"

#include <poll.h>
#include <stdio.h>

#define LOOK_MS 100

/* ---- status ---- */

static void put_head(struct client *c, struct slice status)
{
    struct slice most = view_member(status, "max_global_concurrency");

    buf_puts(&c->out, "weir ");
    view_put_text(&c->out, view_member(status, "version"));
    buf_putc(&c->out, ' ');
    view_put_text(&c->out, view_member(status, "state"));
    buf_puts(&c->out, " for ");
    view_put(c, VIEW_SECONDS, view_member(status, "uptime_s"), &c->out);
    buf_puts(&c->out, ", policy ");
    view_put_text(&c->out, view_member(status, "policy"));
    buf_puts(&c->out, "; ");
    view_put_text(&c->out, view_member(status, "running"));
    if (most.len > 0) {
        buf_puts(&c->out, " of ");
        view_put_text(&c->out, most);
    }
    buf_puts(&c->out, " running (");
    view_put(c, VIEW_SHARE, view_member(status, "utilisation"), &c->out);
    buf_puts(&c->out, ")\n");
}

static void put_tasks(struct client *c, struct slice tasks)
{
    struct json_iter it;
    struct slice key, value;
    bool any = false;

    buf_puts(&c->out, "tasks: ");
    json_iter_init(&it, tasks);
    while (json_iter_next(&it, &key, &value)) {
        double n;

        if (!json_double(value, &n) || n == 0)
            continue;
        buf_puts(&c->out, any ? ", " : "");
        any = true;
        view_put_text(&c->out, value);
        buf_putc(&c->out, ' ');
        table_put_clean(&c->out, (struct slice){key.data + 1, key.len - 2});
    }
    buf_puts(&c->out, any ? "\n" : "none\n");
}

static void put_store(struct client *c, struct slice store)
{
    _cleanup_buf_ struct buf text = {0};
    double ms;

    if (json_kind(view_member(store, "failing")) == JSON_TRUE) {
        buf_puts(&text, "store: FAILING: ");
        view_put_text(&text, view_member(store, "message"));
        table_put_coloured(&c->out, buf_slice(&text), TABLE_BAD, c->colour);
    } else {
        buf_puts(&c->out, "store: ");
        view_put_text(&c->out, view_member(store, "waiting"));
        buf_puts(&c->out, " steps wait to be durable");
        if (json_double(view_member(store, "commit_ms"), &ms))
            buf_printf(&c->out, "; a commit takes %.1f ms", ms);
    }
    buf_putc(&c->out, '\n');
}

static int status(struct client *c, void *options)
{
    struct slice answer;
    struct view pools;
    int result = client_ask(c, "GET", "/v1/status", NULL);

    (void)options;
    if (result != CLI_OK || verbs_put_json(c))
        return result;
    answer = buf_slice(&c->body);
    put_head(c, answer);
    put_tasks(c, view_member(answer, "tasks"));
    put_store(c, view_member(answer, "store"));
    buf_putc(&c->out, '\n');
    view_init(&pools, c, pool_columns, POOL_COLUMNS);
    view_rows(&pools, view_member(answer, "pools"));
    view_end(&pools, c);
    return CLI_OK;
}

static const struct client_verb status_verbs[] = {
    {.help = "the daemon at a glance: tasks, pools, the store", .run = status},
};
const struct client_command client_status =
    CLIENT_COMMAND("status", "the daemon at a glance", status_verbs);

int cmd_status(int argc, char **argv)
{
    return client_main(&client_status, argc, argv);
}

/* ---- shutdown ---- */

struct shutdown_options {
    struct client_common c;
    duration_ns grace_ns;
    bool now, wait;
};

static const struct option_spec shutdown_specs[] = {
    {.name = "grace",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     .at = offsetof(struct shutdown_options, grace_ns),
     .min = 0.001,
     .max = 1e9,
     .group = "How",
     .help = "what runs may take so long to end by itself (default: as the configuration says)"},
    {.name = "now",
     .kind = OPTION_FLAG,
     .at = offsetof(struct shutdown_options, now),
     .group = "How",
     .help = "what runs is told to end at once"},
    {.name = "wait",
     .kind = OPTION_FLAG,
     .at = offsetof(struct shutdown_options, wait),
     .group = "How",
     .help = "until it has stopped"},
};

/* Until nobody answers. */
static int wait_gone(struct client *c)
{
    struct client_request r = {.method = "GET", .path = "/healthz"};
    struct weir_error err = {0};
    enum weir_status there;

    while ((there = client_send(c, &r, &err)) == WEIR_OK)
        (void)poll(NULL, 0, LOOK_MS);
    return there == WEIR_E_IO ? CLI_OK : client_complain(c, &err);
}

static int shut_down(struct client *c, void *options)
{
    const struct shutdown_options *o = options;
    _cleanup_buf_ struct buf body = {0};
    int result;

    if (o->now && o->grace_ns > 0)
        return client_usage(c, "--now and --grace: give one of them");
    if (o->now)
        buf_puts(&body, "{\"grace\":0}");
    else if (o->grace_ns > 0)
        buf_printf(&body, "{\"grace\":%.9g}", duration_seconds(o->grace_ns));
    result =
        client_ask(c, "POST", body.failed ? NULL : "/v1/shutdown", body.len > 0 ? body.data : NULL);
    if (result != CLI_OK)
        return result;
    if (!verbs_put_json(c))
        buf_puts(&c->out, "stopping\n");
    if (!o->wait)
        return CLI_OK;
    (void)client_flush(c);
    result = wait_gone(c);
    if (result == CLI_OK && !c->o->json)
        buf_puts(&c->out, "stopped\n");
    return result;
}

static const struct client_verb shutdown_verbs[] = {
    {.help = "stop the daemon",
     .intro = "Stops the daemon: nothing starts any more, what runs gets some time to end and is "
              "then ended, and its tasks are ready again when the daemon is back. Said again, it "
              "can make "
              "that time shorter, and not longer.",
     CLIENT_SPECS(shutdown_specs),
     .options_bytes = sizeof(struct shutdown_options),
     .run = shut_down},
};
const struct client_command client_shutdown =
    CLIENT_COMMAND("shutdown", "stop the daemon", shutdown_verbs);

int cmd_shutdown(int argc, char **argv)
{
    return client_main(&client_shutdown, argc, argv);
}
