#include "cli/client/follow.h"

#include "base/error.h"
#include "base/json.h"
#include "cli/client/request.h"
#include "cli/client/view.h"
#include "cli/commands.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

/* How often, and how far apart, a daemon that went away is looked for. */
#define TRIES_MAX 30
#define TRY_MS    1000
/* The daemon says something each 15 s, if only that it is there (serve/http/sse.h). */
#define SILENCE_S 60

struct follow {
    struct client *c;
    follow_fn fn;
    void *ctx;
    int64_t after;
    struct buf line, data;
    bool enough, any, no_memory;
};

/* ---- a daemon that is away ---- */

bool follow_wait(const struct client *c, struct follow_patience *p, enum weir_status status)
{
    if (!c->met || (status != WEIR_OK && status != WEIR_E_IO) || p->tries >= TRIES_MAX)
        return false;
    p->tries++;
    /* That a stream is cut may have other reasons, and be over at once. */
    if (c->status == 0 && !p->told) {
        fprintf(stderr, "%s: the daemon is gone; waiting for it\n", c->name);
        p->told = true;
    }
    (void)poll(NULL, 0, TRY_MS);
    return true;
}

enum weir_status follow_ask(struct client *c, const char *path, struct follow_patience *p,
                            struct weir_error *err)
{
    struct client_request r = {.method = "GET", .path = path};
    enum weir_status status;

    do
        status = client_send(c, &r, err);
    while ((status != WEIR_OK || c->status == 503) && follow_wait(c, p, status));
    return status;
}

/* ---- server-sent events ---- */

/* False: enough. */
static bool deliver(struct follow *f)
{
    struct slice event = buf_slice(&f->data);
    int64_t seq;

    if (event.len == 0 || !json_check(event, NULL))
        return true;
    f->any = true;
    if (json_int64(view_member(event, "seq"), &seq))
        f->after = seq;
    f->enough = !f->fn(f->ctx, event);
    return !f->enough;
}

/* A line is done: a blank one ends an event, of the others only the data counts. */
static bool take_line(struct follow *f)
{
    struct slice line = buf_slice(&f->line);
    bool go_on = true;

    if (line.len == 0) {
        go_on = deliver(f);
        buf_clear(&f->data);
    } else if (line.len >= 5 && memcmp(line.data, "data:", 5) == 0) {
        if (f->data.len > 0)
            buf_putc(&f->data, '\n');
        buf_put(&f->data, line.data + 5, line.len - 5);
    }
    buf_clear(&f->line);
    return go_on;
}

static bool take(void *ctx, struct slice bytes)
{
    struct follow *f = ctx;

    for (size_t i = 0; i < bytes.len; i++) {
        if (bytes.data[i] == '\n') {
            if (!take_line(f))
                return false;
        } else if (bytes.data[i] != '\r') {
            buf_putc(&f->line, bytes.data[i]);
        }
    }
    f->no_memory = f->line.failed || f->data.failed;
    return !f->no_memory;
}

/* WEIR_OK: answered, or it ended by itself. */
static enum weir_status follow_once(struct follow *f, const char *base, struct weir_error *err)
{
    _cleanup_buf_ struct buf path = {0};
    struct client_request r = {.method = "GET",
                               .accept = "text/event-stream",
                               .take = take,
                               .ctx = f,
                               .silence_s = SILENCE_S};

    buf_puts(&path, base);
    if (f->after >= 0)
        client_put_query_number(&path, "after", f->after);
    if (path.failed)
        return error_nomem(err);
    buf_clear(&f->line);
    buf_clear(&f->data);
    r.path = path.data;
    return client_send(f->c, &r, err);
}

int follow_events(struct client *c, const char *path, int64_t after, follow_fn fn, void *ctx)
{
    struct follow f = {.c = c, .fn = fn, .ctx = ctx, .after = after};
    struct follow_patience patience = {0};
    struct weir_error err = {0};
    int result = CLI_OK;

    for (;;) {
        enum weir_status status = follow_once(&f, path, &err);
        bool refused = status == WEIR_OK && c->status >= 400;

        if (f.any)
            patience = (struct follow_patience){0};
        f.any = false;
        if (f.enough)
            break;
        if (!f.no_memory && (!refused || c->status == 503) && follow_wait(c, &patience, status))
            continue;
        if (f.no_memory)
            error_nomem(&err);
        else if (status == WEIR_OK)
            error_set(&err, WEIR_E_IO, "%s: events end again and again", c->address.data);
        result = refused ? client_judge(c) : client_unanswered(c, &err);
        break;
    }
    buf_free(&f.line);
    buf_free(&f.data);
    return result;
}

/* ---- a task ---- */

struct ending {
    int64_t seq;
};

static bool one_is_enough(void *ctx, struct slice event)
{
    struct ending *e = ctx;

    (void)json_int64(view_member(event, "seq"), &e->seq);
    return false;
}

static bool state_is(struct slice task, const char *state)
{
    struct slice value = view_member(task, "state");

    return json_kind(value) == JSON_STRING && json_string_equals(value, slice_of(state));
}

bool follow_has_ended(struct slice task)
{
    return state_is(task, "done") || state_is(task, "failed") || state_is(task, "cancelled");
}

/* Events of its end from the first one on, so that none is missed; behind each the task itself is looked at, which may be
 * under way again. */
int follow_task(struct client *c, int64_t id)
{
    struct ending ending = {.seq = 0};
    struct follow_patience patience = {0};
    struct weir_error err = {0};
    char task_path[64], events_path[128];

    snprintf(task_path, sizeof task_path, "/v1/tasks/%" PRId64, id);
    snprintf(events_path, sizeof events_path,
             "/v1/events/follow?task=%" PRId64 "&kind=task.done,task.failed,task.cancelled", id);
    for (;;) {
        int result = follow_ask(c, task_path, &patience, &err) == WEIR_OK
                         ? client_judge(c)
                         : client_unanswered(c, &err);

        if (result != CLI_OK || follow_has_ended(buf_slice(&c->body)))
            return result;
        result = follow_events(c, events_path, ending.seq, one_is_enough, &ending);
        if (result != CLI_OK)
            return result;
        patience = (struct follow_patience){0};
    }
}

/* ---- its result ---- */

static int digit64(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;

    return at ? (int)(at - digits) : -1;
}

static void put_base64(struct buf *out, struct slice text)
{
    unsigned bits = 0;
    int count = 0;

    for (size_t i = 0; i < text.len; i++) {
        int digit = digit64(text.data[i]);

        if (digit < 0)
            continue;
        bits = bits << 6 | (unsigned)digit;
        count += 6;
        if (count >= 8) {
            count -= 8;
            buf_putc(out, (char)(bits >> count & 0xff));
        }
    }
}

/* As it was: text and bytes as they are, other JSON on lines of its own. */
static void put_output(struct client *c, struct slice task)
{
    struct slice output = view_member(task, "output");
    struct slice bytes = view_member(task, "output_base64");

    if (json_kind(bytes) == JSON_STRING) {
        put_base64(&c->out, bytes);
    } else if (json_kind(output) == JSON_STRING) {
        json_unquote(output, &c->out);
    } else if (json_kind(output) != JSON_NONE) {
        buf_put_slice(&c->out, json_trim(output));
        buf_putc(&c->out, '\n');
    }
}

static void tell_failure(const struct client *c, struct slice task)
{
    _cleanup_buf_ struct buf text = {0};
    struct slice message = view_member(task, "message");
    struct slice reason = view_member(task, "reason");

    buf_printf(&text, "%s: task ", c->name);
    view_put_text(&text, view_member(task, "id"));
    buf_putc(&text, ' ');
    view_put_text(&text, view_member(task, "state"));
    if (message.len > 0 || reason.len > 0) {
        buf_puts(&text, ": ");
        view_put_text(&text, message.len > 0 ? message : reason);
    }
    fprintf(stderr, "%s\n", text.data ? text.data : "");
}

int follow_tell_result(struct client *c)
{
    struct slice task = buf_slice(&c->body);
    bool done = state_is(task, "done");

    if (c->o->json) {
        json_put_oneline(&c->out, task);
        buf_putc(&c->out, '\n');
    } else {
        _cleanup_buf_ struct buf errput = {0};

        put_output(c, task);
        if (!client_flush(c))
            return CLI_FAILED;
        if (json_kind(view_member(task, "errput")) == JSON_STRING)
            json_unquote(view_member(task, "errput"), &errput);
        fwrite(errput.data ? errput.data : "", 1, errput.len, stderr);
        if (!done)
            tell_failure(c, task);
    }
    return done ? CLI_OK : CLI_FAILED;
}
