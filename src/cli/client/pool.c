/*
 * weir pool: where tasks run, and how many of them.
 */
#include "cli/client/pool.h"
#include "cli/client/commands.h"

#include "base/error.h"
#include "base/json.h"
#include "base/parse.h"
#include "cli/client/request.h"
#include "cli/client/verbs.h"
#include "cli/commands.h"
#include "loop/loop.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define WORDS_MAX 1000

/* ---- list, show ---- */

/* What keeps it from starting tasks, if anything does. */
static void put_state(const struct client *c, struct slice pool, struct buf *out)
{
    struct slice breaker = view_member(pool, "breaker.state");
    double held_s;

    (void)c;
    if (json_kind(view_member(pool, "draining")) == JSON_TRUE) {
        buf_puts(out, "draining");
    } else if (json_kind(view_member(pool, "enabled")) == JSON_FALSE) {
        buf_puts(out, "disabled");
    } else if (json_kind(breaker) == JSON_STRING && !json_string_equals(breaker, SLICE("closed"))) {
        buf_puts(out, "breaker ");
        view_put_text(out, breaker);
    } else if (json_double(view_member(pool, "held_s"), &held_s) && held_s > 0) {
        buf_printf(out, "held %.0fs", held_s);
    } else {
        buf_puts(out, "enabled");
    }
}

static void put_limit(const struct client *c, struct slice pool, struct buf *out)
{
    struct slice limit = view_member(pool, "limit"), set = view_member(pool, "max_concurrency");

    (void)c;
    view_put_text(out, limit);
    if (!slice_equal(json_trim(limit), json_trim(set))) {
        buf_puts(out, " (set ");
        view_put_text(out, set);
        buf_putc(out, ')');
    }
}

const struct view_column pool_columns[POOL_COLUMNS] = {
    {{.title = "POOL", .stretch = true}, "name", VIEW_TEXT, NULL},
    {{.title = "KIND"}, "kind", VIEW_TEXT, NULL},
    {{.title = "STATE"}, NULL, VIEW_FUNCTION, put_state},
    {{.title = "RUNNING", .right = true}, "running", VIEW_TEXT, NULL},
    {{.title = "LIMIT", .right = true}, NULL, VIEW_FUNCTION, put_limit},
    {{.title = "USE", .right = true}, "utilisation", VIEW_SHARE, NULL},
    {{.title = "WAITING", .right = true}, "queue.ready", VIEW_NONZERO, NULL},
    {{.title = "BLOCKED", .right = true}, "queue.blocked", VIEW_NONZERO, NULL},
    {{.title = "DONE", .right = true}, "queue.done", VIEW_NONZERO, NULL},
    {{.title = "FAILED", .right = true}, "queue.failed", VIEW_NONZERO, NULL},
    {{.title = "IDLE", .right = true}, "workers.idle", VIEW_TEXT, NULL},
    {{.title = "RATE/S", .right = true}, "throttle.rate_per_s", VIEW_RATE, NULL},
    {{.title = "SKILLS", .stretch = true}, "skills", VIEW_TEXT, NULL},
};

static int list(struct client *c, void *options)
{
    (void)options;
    return client_list(c, &(struct client_list){.path = "/v1/pools",
                                                CLIENT_COLUMNS(pool_columns),
                                                .none = "no pools"});
}

static void tell_pool(struct client *c, const char *word)
{
    (void)word;
    view_show(c, buf_slice(&c->body), NULL);
}

static int each(struct client *c, const char *method, const char *action,
                void (*tell)(struct client *, const char *))
{
    return verbs_each(
        c, &(struct verbs_each){
               .method = method, .kind = "pools", .action = action, .what = "pool", .tell = tell});
}

static int show(struct client *c, void *options)
{
    (void)options;
    return each(c, "GET", NULL, tell_pool);
}

static const struct view_column worker_columns[] = {
    {{.title = "ID", .right = true}, "id", VIEW_TEXT, NULL},
    {{.title = "PLACE", .right = true}, "place", VIEW_TEXT, NULL},
    {{.title = "STATE"}, "state", VIEW_STATE, NULL},
    {{.title = "HEALTH"}, "health", VIEW_STATE, NULL},
    {{.title = "PID", .right = true}, "pid", VIEW_TEXT, NULL},
    {{.title = "STARTED"}, "started_at", VIEW_TIME, NULL},
    {{.title = "BUSY", .right = true}, "in_flight", VIEW_NONZERO, NULL},
    {{.title = "REQUESTS", .right = true}, "requests", VIEW_TEXT, NULL},
    {{.title = "FAILED", .right = true}, "failed", VIEW_NONZERO, NULL},
    {{.title = "MEMORY", .right = true}, "memory_bytes", VIEW_BYTES, NULL},
    {{.title = "SESSIONS", .right = true}, "sessions", VIEW_NONZERO, NULL},
    {{.title = "RETIRES", .stretch = true}, "why", VIEW_TEXT, NULL},
};

static int workers(struct client *c, void *options)
{
    _cleanup_buf_ struct buf path = {0};

    (void)options;
    buf_puts(&path, "/v1/pools/");
    client_put_escaped(&path, c->o->words.items[0]);
    buf_puts(&path, "/workers");
    return client_list(c, &(struct client_list){.path = path.data ? path.data : "",
                                                CLIENT_COLUMNS(worker_columns),
                                                .none = "no workers"});
}

/* ---- changes ---- */

static void tell_change(struct client *c, const char *word)
{
    struct slice pool = buf_slice(&c->body);

    (void)word;
    buf_puts(&c->out, "pool ");
    view_put_text(&c->out, view_member(pool, "name"));
    buf_puts(&c->out, ": ");
    put_state(c, pool, &c->out);
    buf_puts(&c->out, ", ");
    view_put_text(&c->out, view_member(pool, "running"));
    buf_puts(&c->out, " running, limit ");
    put_limit(c, pool, &c->out);
    buf_putc(&c->out, '\n');
}

static int enable(struct client *c, void *options)
{
    (void)options;
    return each(c, "POST", "enable", tell_change);
}

static int disable(struct client *c, void *options)
{
    (void)options;
    return each(c, "POST", "disable", tell_change);
}

/* ---- drain ---- */

/* While something runs there, the daemon is asked this often. */
#define DRAIN_LOOK_MS 200

struct drain_options {
    struct client_common c;
    bool wait;
    duration_ns timeout_ns; /* 0: for ever */
};

static const struct option_spec drain_specs[] = {
    {.name = "wait",
     .kind = OPTION_FLAG,
     .at = offsetof(struct drain_options, wait),
     .group = "How",
     .help = "until nothing runs there any more"},
    {.name = "timeout",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     .at = offsetof(struct drain_options, timeout_ns),
     .min = 0.001,
     .max = 1e9,
     .group = "How",
     .help = "wait for so long at most, and exit with 3 if something runs even then"},
};

/* c->body: the pool, at the last look. A pool that the configuration has no more is drained when it cannot be found. */
static int wait_drained(struct client *c, const char *name, struct instant until)
{
    _cleanup_buf_ struct buf path = {0};
    int64_t running = 0;

    buf_puts(&path, "/v1/pools/");
    client_put_escaped(&path, name);
    for (;;) {
        struct client_request r = {.method = "GET", .path = path.failed ? NULL : path.data};
        struct weir_error err = {0};

        if (client_send(c, &r, &err) != WEIR_OK)
            return client_unanswered(c, &err);
        if (c->status == 404)
            return CLI_OK;
        if (c->status != 200)
            return client_judge(c);
        if (json_kind(view_member(buf_slice(&c->body), "enabled")) == JSON_TRUE) {
            fprintf(stderr, "%s: pool %s was enabled again meanwhile\n", c->name, name);
            return CLI_FAILED;
        }
        if (!json_int64(view_member(buf_slice(&c->body), "running"), &running) || running == 0)
            return CLI_OK;
        if (!instant_before(loop_clock(), until)) {
            fprintf(stderr, "%s: pool %s: %" PRId64 " still run; it starts nothing more\n", c->name,
                    name, running);
            return CLI_STOPPED;
        }
        (void)poll(NULL, 0, DRAIN_LOOK_MS);
    }
}

static int wait_all_drained(struct client *c, const struct drain_options *o)
{
    struct instant until =
        o->timeout_ns > 0 ? instant_add(loop_clock(), o->timeout_ns) : INSTANT_NEVER;
    int result = CLI_OK;

    for (size_t i = 0; i < c->o->words.count; i++) {
        int one = wait_drained(c, c->o->words.items[i], until);

        if (one == CLI_OK && !verbs_put_json(c))
            buf_printf(&c->out, "pool %s: drained\n", c->o->words.items[i]);
        if (result == CLI_OK)
            result = one;
        if (!client_flush(c))
            return CLI_FAILED;
    }
    return result;
}

static int drain(struct client *c, void *options)
{
    const struct drain_options *o = options;
    int result;

    if (o->timeout_ns > 0 && !o->wait)
        return client_usage(c, "--timeout says how long to --wait; give that too");
    result = each(c, "POST", "drain", tell_change);
    return o->wait && result == CLI_OK ? wait_all_drained(c, o) : result;
}

/* ---- the breaker ---- */

static int reset_breaker(struct client *c, void *options)
{
    (void)options;
    return each(c, "POST", "breaker/reset", tell_change);
}

/* ---- limit ---- */

struct limit_options {
    struct client_common c;
    const char *cpu, *memory, *reserve, *burst;
};

#define AT(field) .at = offsetof(struct limit_options, field)

static const struct option_spec limit_specs[] = {
    {.name = "cpu",
     .kind = OPTION_TEXT,
     .argument = "N",
     AT(cpu),
     .group = "Limits",
     .help = "processors, over all that runs; none: no quota"},
    {.name = "memory",
     .kind = OPTION_TEXT,
     .argument = "SIZE",
     AT(memory),
     .group = "Limits",
     .help = "memory, over all that runs, such as 8GiB; none: no quota"},
    {.name = "reserve",
     .kind = OPTION_TEXT,
     .argument = "PRIORITY:SHARE",
     AT(reserve),
     .group = "Limits",
     .help = "a share that only tasks of this priority and more may take, such as 50:20%; none"},
    {.name = "burst",
     .kind = OPTION_TEXT,
     .argument = "PLACES:TIME",
     AT(burst),
     .group = "Limits",
     .help = "places over the limit, and for how long at most, such as 4:30s; none"},
};

/* "A:B" into a and the rest. False: there is no colon. */
static bool split(const char *text, char first[32], const char **ret_second)
{
    const char *colon = strchr(text, ':');

    if (!colon || (size_t)(colon - text) >= 32)
        return false;
    memcpy(first, text, (size_t)(colon - text));
    first[colon - text] = '\0';
    *ret_second = colon + 1;
    return true;
}

static enum weir_status put_reserve(const char *text, struct buf *body, struct weir_error *err)
{
    const char *share_text;
    char first[32], json[96];
    int64_t priority;
    double share;
    enum weir_status status;

    if (strcmp(text, "none") == 0) {
        verbs_put_body(body, "reserve", "null");
        return WEIR_OK;
    }
    if (!split(text, first, &share_text))
        return error_set(err, WEIR_E_INVALID, "--reserve: write it as PRIORITY:SHARE, 50:20%%");
    status = parse_count(first, -1000, 1000, &priority, err);
    if (status == WEIR_OK)
        status = parse_share(share_text, 0, 1, &share, err);
    if (status != WEIR_OK)
        return error_prefix(err, "--reserve");
    snprintf(json, sizeof json, "{\"min_priority\":%" PRId64 ",\"share\":%.9g}", priority, share);
    verbs_put_body(body, "reserve", json);
    return WEIR_OK;
}

static enum weir_status put_burst(const char *text, struct buf *body, struct weir_error *err)
{
    const char *time_text;
    char first[32], json[96];
    int64_t places;
    duration_ns time_ns;
    enum weir_status status;

    if (strcmp(text, "none") == 0) {
        verbs_put_body(body, "burst", "null");
        return WEIR_OK;
    }
    if (!split(text, first, &time_text))
        return error_set(err, WEIR_E_INVALID, "--burst: write it as PLACES:TIME, 4:30s");
    status = parse_count(first, 1, 1000000, &places, err);
    if (status == WEIR_OK)
        status = parse_duration(time_text, &time_ns, err);
    if (status != WEIR_OK)
        return error_prefix(err, "--burst");
    snprintf(json, sizeof json, "{\"places\":%" PRId64 ",\"seconds\":%.9g}", places,
             duration_seconds(time_ns));
    verbs_put_body(body, "burst", json);
    return WEIR_OK;
}

static enum weir_status put_quotas(const struct limit_options *o, struct buf *body,
                                   struct weir_error *err)
{
    char json[48];

    if (o->cpu) {
        double cpu = 0;

        if (strcmp(o->cpu, "none") != 0 && parse_number(o->cpu, 0, 1e6, &cpu, err) != WEIR_OK)
            return error_prefix(err, "--cpu");
        snprintf(json, sizeof json, "%.9g", cpu);
        verbs_put_body(body, "cpu", json);
    }
    if (o->memory) {
        uint64_t bytes = 0;

        if (strcmp(o->memory, "none") != 0 && parse_size(o->memory, &bytes, err) != WEIR_OK)
            return error_prefix(err, "--memory");
        snprintf(json, sizeof json, "%" PRIu64, bytes);
        verbs_put_body(body, "memory", json);
    }
    return WEIR_OK;
}

static enum weir_status put_limits(const struct client *c, const struct limit_options *o,
                                   struct buf *body, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    if (c->o->words.count > 1) {
        char json[24];
        int64_t places;

        if (strcmp(c->o->words.items[1], "configured") == 0)
            snprintf(json, sizeof json, "null");
        else if (parse_count(c->o->words.items[1], 1, 1000000, &places, err) != WEIR_OK)
            return error_prefix(err, "the limit (a number, or \"configured\")");
        else
            snprintf(json, sizeof json, "%" PRId64, places);
        verbs_put_body(body, "max_concurrency", json);
    }
    status = put_quotas(o, body, err);
    if (status == WEIR_OK && o->reserve)
        status = put_reserve(o->reserve, body, err);
    if (status == WEIR_OK && o->burst)
        status = put_burst(o->burst, body, err);
    if (status == WEIR_OK && body->len == 0)
        return error_set(err, WEIR_E_INVALID,
                         "which limit? give a number of places, --cpu, --memory, --reserve or "
                         "--burst");
    verbs_end_body(body);
    return status == WEIR_OK && body->failed ? error_nomem(err) : status;
}

static int limit(struct client *c, void *options)
{
    const struct limit_options *o = options;
    _cleanup_buf_ struct buf body = {0};
    struct weir_error err = {0};

    if (put_limits(c, o, &body, &err) != WEIR_OK)
        return client_complain(c, &err);
    return verbs_each(c, &(struct verbs_each){.method = "PATCH",
                                              .kind = "pools",
                                              .body = body.data,
                                              .what = "pool",
                                              .count = 1,
                                              .tell = tell_change});
}

static const struct client_verb verbs[] = {
    {.name = "list", .help = "list pools, and how busy they are", .run = list},
    {.name = "show",
     .help = "all that is known of a pool",
     .usage = "[options] POOL...",
     .words = "pool",
     .words_min = 1,
     .words_max = WORDS_MAX,
     .run = show},
    {.name = "limit",
     .help = "change the limits of a pool, while it runs",
     .usage = "[options] POOL [N|configured]",
     .intro =
         "Changes how many attempts (N) run in a pool at once, and its other limits, while it "
         "runs. What runs goes on; a pool that is over its new limit starts nothing until it "
         "is below. A limit that follows something stands still then. It holds, also over a "
         "restart, until there is a reload in which the pool's lines in the configuration have "
         "changed, or a start with other limits in it, or until it is taken back: configured "
         "instead of N.",
     .words = "pool",
     .words_min = 1,
     .words_max = 2,
     CLIENT_SPECS(limit_specs),
     .options_bytes = sizeof(struct limit_options),
     .run = limit},
    {.name = "enable",
     .help = "have pools take tasks again",
     .usage = "[options] POOL...",
     .words = "pool",
     .words_min = 1,
     .words_max = WORDS_MAX,
     .run = enable},
    {.name = "disable",
     .help = "start nothing in pools any more; what runs goes on",
     .usage = "[options] POOL...",
     .words = "pool",
     .words_min = 1,
     .words_max = WORDS_MAX,
     .run = disable},
    {.name = "drain",
     .help = "start nothing in pools any more, and wait until nothing runs there",
     .usage = "[options] POOL...",
     .intro = "Starts nothing in the pools any more, as disable does. With --wait it returns when "
              "nothing of them runs. Exit status: 0 it is so; 3 the time of --timeout was up "
              "before; 1 one was enabled again, or nobody answers.",
     .words = "pool",
     .words_min = 1,
     .words_max = WORDS_MAX,
     CLIENT_SPECS(drain_specs),
     .options_bytes = sizeof(struct drain_options),
     .run = drain},
    {.name = "workers",
     .help = "the workers of a pool of those",
     .usage = "[options] POOL",
     .words = "pool",
     .words_min = 1,
     .words_max = 1,
     .run = workers},
    {.name = "reset-breaker",
     .help = "close the breakers of pools by hand",
     .usage = "[options] POOL...",
     .words = "pool",
     .words_min = 1,
     .words_max = WORDS_MAX,
     .run = reset_breaker},
};
const struct client_command client_pool =
    CLIENT_COMMAND("pool", "where tasks run: list, change limits, disable, drain", verbs);

int cmd_pool(int argc, char **argv)
{
    return client_main(&client_pool, argc, argv);
}
