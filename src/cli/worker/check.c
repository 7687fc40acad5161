/*
 * The checks (check.h), in the order in which they are made: first that it starts, then what it
 * answers, then how it ends. A new one is a function and a line in the table at the end.
 */
#include "cli/worker/check.h"

#include "base/json.h"
#include "loop/loop.h"

#include <assert.h>
#include <signal.h>
#include <string.h>

#define LARGE_BYTES ((size_t)1 << 20)
/* Nothing may come for so long when nothing was asked. */
#define QUIET_NS (300 * NS_PER_MS)
/* Of what it says it takes at once. */
#define AT_ONCE_MAX 16

/* How a timestamp looks; what it says does not matter. */
#define TIMESTAMP "2026-01-31T12:00:00.000Z"

void check_run_init(struct check_run *r, const struct worker_options *o,
                    struct candidate *candidate)
{
    *r = (struct check_run){.options = o, .candidate = candidate};
}

void check_run_free(struct check_run *r)
{
    buf_free(&r->text);
    buf_free(&r->left);
}

struct check_result check_one(struct check_run *r, const struct check *c)
{
    struct instant began = loop_clock();
    struct check_result result = {.verdict = CHECK_SKIP};

    buf_clear(&r->text);
    if (c->needs >= CHECK_STARTS && !r->starts)
        buf_puts(&r->text, "it does not start");
    else if (c->needs >= CHECK_ANSWERS && !r->answers)
        buf_puts(&r->text, "it answers nothing, once it has started");
    else
        result.verdict = c->run(r);
    result.text = buf_slice(&r->text);
    result.took_ns = instant_diff(loop_clock(), began);
    return result;
}

static enum check_verdict verdict(bool passed)
{
    return passed ? CHECK_OK : CHECK_FAIL;
}

static enum check_verdict fail(struct check_run *r, const char *text)
{
    buf_puts(&r->text, text);
    return CHECK_FAIL;
}

/* ---- what it answers ---- */

static enum check_verdict check_start(struct check_run *r)
{
    struct instant began = loop_clock();

    if (!talk_ensure(r))
        return CHECK_FAIL;
    buf_printf(&r->text, "%.2f s after its start", instant_seconds(loop_clock(), began));
    if (r->max_in_flight > 1)
        buf_printf(&r->text, "; it takes %u requests at once", r->max_in_flight);
    return CHECK_OK;
}

static enum check_verdict check_ping(struct check_run *r)
{
    struct wire_request ping = {.command = SLICE(WIRE_PING), .timestamp = TIMESTAMP};

    if (!talk_exchange(r, &ping))
        return CHECK_FAIL;
    r->answers = true;
    if (!r->response.success)
        return fail(r, "it answers the second ping with an error; any success will do");
    return CHECK_OK;
}

static enum check_verdict check_unknown(struct check_run *r)
{
    struct wire_request q;

    r->knows_unknown = true;
    q = talk_probe(r, SLICE("null"));
    if (!talk_exchange(r, &q)) {
        /* The other checks ask for something that it answers. */
        r->knows_unknown = false;
        return CHECK_FAIL;
    }
    r->answers = true;
    if (r->response.success) {
        buf_puts(&r->text, "it answered \"");
        buf_put_slice(&r->text, q.command);
        return fail(r, "\" with success; whoever mistypes a command must be told: answer with "
                       "\"success\": false and an error");
    }
    switch (json_kind(r->response.error)) {
    case JSON_STRING:
        return CHECK_OK;
    case JSON_OBJECT:
        if (r->response.message.len > 2)
            return CHECK_OK;
        return fail(r, "its error has no \"message\", which is what a person reads");
    default:
        return fail(
            r, "its answer has no \"error\" that is a text or an object; say there what is wrong");
    }
}

static enum check_verdict check_id(struct check_run *r)
{
    static const uint64_t ids[] = {UINT64_C(1) << 31, (UINT64_C(1) << 32) + 7,
                                   (UINT64_C(1) << 53) - 1};

    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        struct wire_request q = talk_probe(r, SLICE("null"));

        q.id = ids[i];
        if (!talk_exchange(r, &q)) {
            buf_printf(&r->text, " (an id is an integer of up to 2^53 - 1; this one was %llu)",
                       (unsigned long long)ids[i]);
            return CHECK_FAIL;
        }
    }
    return CHECK_OK;
}

/* As wire_put_request() would never write it, and as it may be all the same. */
static enum check_verdict check_members(struct check_run *r)
{
    struct wire_request q = talk_probe(r, SLICE("[{\"id\": 3}, \"]}\"]"));

    q.session = SLICE("weir check");
    q.session_lost = true;
    q.timestamp = TIMESTAMP;
    return verdict(talk_exchange(r, &q));
}

static enum check_verdict check_text(struct check_run *r)
{
    /* Two, three and four bytes; escapes, a NUL, line separators, and what looks like the end of a text. */
    struct wire_request q =
        talk_probe(r, SLICE("\"Gr\xc3\xbc\xc3\x9f"
                            "e \xe4\xb8\x96\xe7\x95\x8c \xf0\x9f\x98\x80 \\u0000\\u001f\\n"
                            "\\\"\\\\ \\ud83d\\ude00 \xe2\x80\xa8\xef\xbb\xbf }]\""));

    return verdict(talk_exchange(r, &q));
}

static bool put_large(struct buf *out)
{
    char *at;

    buf_putc(out, '"');
    at = buf_reserve(out, LARGE_BYTES);
    if (at) {
        memset(at, 'x', LARGE_BYTES);
        out->len += LARGE_BYTES;
    }
    buf_putc(out, '"');
    return !out->failed;
}

static enum check_verdict check_large(struct check_run *r)
{
    _cleanup_buf_ struct buf args = {0};
    struct wire_request q;

    if (!put_large(&args))
        return fail(r, "out of memory");
    q = talk_probe(r, buf_slice(&args));
    return verdict(talk_exchange(r, &q));
}

/* Cut within the length, behind it, and in the middle of the message. */
static enum check_verdict check_pieces(struct check_run *r)
{
    static const size_t cuts[] = {1, WIRE_LENGTH_BYTES, WIRE_LENGTH_BYTES + 10};
    struct wire_request q = talk_probe(r, SLICE("\"x\""));

    return verdict(talk_in_pieces(r, &q, cuts, sizeof cuts / sizeof *cuts));
}

/* `count` requests in one piece; each is to be answered once. */
static bool ask_at_once(struct check_run *r, struct wire_request q, size_t count)
{
    bool answered[AT_ONCE_MAX] = {false};
    uint64_t first = 0;

    assert(count <= AT_ONCE_MAX);
    if (!talk_ensure(r))
        return false;
    for (size_t i = 0; i < count; i++) {
        q.id = candidate_next_id(r->candidate);
        first = i == 0 ? q.id : first;
        candidate_send(r->candidate, &q);
    }
    for (size_t i = 0; i < count; i++) {
        if (!talk_take(r, first, count, answered)) {
            buf_printf(&r->text, " (%zu of %zu requests, written in one piece, were answered)", i,
                       count);
            return false;
        }
    }
    return talk_quiet(r, 0);
}

/* Even a worker that gets one at a time may find a request and a ping in what it reads. */
static enum check_verdict check_two(struct check_run *r)
{
    return verdict(ask_at_once(r, talk_probe(r, SLICE("null")), 2));
}

static enum check_verdict check_at_once(struct check_run *r)
{
    size_t count = r->max_in_flight < AT_ONCE_MAX ? r->max_in_flight : AT_ONCE_MAX;

    if (count < 2) {
        buf_puts(&r->text, "it takes one request at a time");
        return CHECK_SKIP;
    }
    return verdict(ask_at_once(r, talk_call(r), count));
}

static enum check_verdict check_call(struct check_run *r)
{
    struct wire_request q = talk_call(r);
    struct instant began = loop_clock();

    if (!r->options->command) {
        buf_puts(&r->text, "name a command that it knows: --command NAME --args JSON");
        return CHECK_SKIP;
    }
    if (!talk_exchange(r, &q))
        return CHECK_FAIL;
    if (!r->response.success) {
        buf_puts(&r->text, "it answered with an error: ");
        wire_put_error(&r->text, &r->response);
        return CHECK_FAIL;
    }
    buf_printf(&r->text, "%.2f s; ", instant_seconds(loop_clock(), began));
    wire_put_shown(&r->text, r->response.result.len > 0 ? r->response.result : SLICE("null"));
    return CHECK_OK;
}

static enum check_verdict check_quiet(struct check_run *r)
{
    return verdict(talk_ensure(r) && talk_quiet(r, QUIET_NS));
}

/* ---- how it ends ---- */

/* What is in hand is finished first, and nothing but answers comes. False: r->text says why, and it is ended. */
static bool take_last_answers(struct check_run *r, uint64_t asked, uint64_t shutdown,
                              struct instant *ret_answered)
{
    struct instant deadline = instant_add(loop_clock(), r->options->timeout_ns);
    struct wire_fault fault = {.kind = WIRE_FAULT_UNKNOWN_ID};
    bool answered = false, confirmed = false;

    for (;;) {
        switch (candidate_receive(r->candidate, deadline, &r->response, &fault)) {
        case CANDIDATE_ANSWER:
            if (r->response.id == asked && !answered) {
                answered = true;
                *ret_answered = loop_clock();
                deadline = instant_add(*ret_answered, r->options->grace_ns);
                continue;
            }
            if (r->response.id == shutdown && !confirmed) {
                confirmed = true;
                continue;
            }
            fault.number = r->response.id;
            fault.bytes = buf_slice(&r->candidate->frame);
            /* fall through */
        case CANDIDATE_WRONG:
            wire_put_fault(&r->text, &fault);
            return false;
        case CANDIDATE_SILENT:
        case CANDIDATE_GONE:
            if (!answered)
                buf_puts(&r->text,
                         "the request that came before it was not answered; finish what is in "
                         "hand, answer it, and exit then");
            return answered;
        }
    }
}

static enum check_verdict check_shutdown(struct check_run *r)
{
    struct wire_request q = talk_call(r), shutdown = {.command = SLICE(WIRE_SHUTDOWN)};
    struct instant answered = INSTANT_NONE;
    struct child_end end;

    if (!talk_ensure(r))
        return CHECK_FAIL;
    q.id = candidate_next_id(r->candidate);
    shutdown.id = candidate_next_id(r->candidate);
    candidate_send(r->candidate, &q);
    candidate_send(r->candidate, &shutdown);
    if (!take_last_answers(r, q.id, shutdown.id, &answered)) {
        talk_give_up(r);
        return CHECK_FAIL;
    }
    if (!talk_ends(r, "the command shutdown",
                   "exit with status 0 when the request in hand is answered", answered, &end))
        return CHECK_FAIL;
    if (!end.signal && end.code == 0)
        return CHECK_OK;
    buf_puts(&r->text, "it ended with ");
    talk_put_end(&r->text, &end);
    return fail(r, "; exit with status 0");
}

static enum check_verdict check_end_of_input(struct check_run *r)
{
    struct child_end end;

    if (!talk_ensure(r))
        return CHECK_FAIL;
    candidate_close_input(r->candidate);
    if (!talk_ends(
            r, "the end of its input",
            "exit when a read says that the input has ended: weir is gone then, and nobody else "
            "ends it",
            loop_clock(), &end))
        return CHECK_FAIL;
    buf_puts(&r->text, "with ");
    talk_put_end(&r->text, &end);
    return CHECK_OK;
}

static enum check_verdict check_sigterm(struct check_run *r)
{
    struct child_end end;

    if (!talk_ensure(r))
        return CHECK_FAIL;
    child_signal(&r->candidate->child, SIGTERM);
    if (!talk_ends(r, "SIGTERM",
                   "leave the signal as it is, or exit in its handler: SIGKILL comes next",
                   loop_clock(), &end))
        return CHECK_FAIL;
    buf_puts(&r->text, "with ");
    talk_put_end(&r->text, &end);
    return CHECK_OK;
}

/* Those of all checks before. */
static enum check_verdict check_heartbeats(struct check_run *r)
{
    const struct candidate *p = r->candidate;

    if (p->beat_wrong.len > 0) {
        buf_put_slice(&r->text, buf_slice(&p->beat_wrong));
        return CHECK_FAIL;
    }
    if (p->heartbeats == 0)
        buf_puts(&r->text, "it sent none, and need not");
    else
        buf_printf(&r->text, "%llu of them", (unsigned long long)p->heartbeats);
    return CHECK_OK;
}

static enum check_verdict check_left(struct check_run *r)
{
    if (r->left_lives > 0) {
        buf_puts(&r->text, "these processes still ran when it had ended: ");
        buf_put_slice(&r->text, buf_slice(&r->left));
        return fail(r, "; end them before it exits, or have them end when it does");
    }
    if (r->lives == 0) {
        buf_puts(&r->text, "it never ended by itself");
        return CHECK_SKIP;
    }
    return CHECK_OK;
}

const struct check checks[] = {
    {"start", "it starts and answers a ping", CHECK_ALWAYS, check_start},
    {"ping", "it answers another ping", CHECK_STARTS, check_ping},
    {"unknown", "an unknown command is answered with an error", CHECK_STARTS, check_unknown},
    {"id", "ids come back as they were, large ones too", CHECK_ANSWERS, check_id},
    {"members", "session, timestamp and args of any form do no harm", CHECK_ANSWERS, check_members},
    {"text", "text beyond ASCII and escapes do no harm", CHECK_ANSWERS, check_text},
    {"large", "a request of 1 MiB is answered", CHECK_ANSWERS, check_large},
    {"pieces", "a request that comes in pieces is answered", CHECK_ANSWERS, check_pieces},
    {"two", "two requests that come in one piece are both answered", CHECK_ANSWERS, check_two},
    {"at-once", "as many requests at once as it says are all answered", CHECK_ANSWERS,
     check_at_once},
    {"call", "the command of --command succeeds", CHECK_STARTS, check_call},
    {"quiet", "it writes nothing that was not asked for", CHECK_STARTS, check_quiet},
    {"shutdown", "at shutdown it finishes what it has and exits with status 0", CHECK_ANSWERS,
     check_shutdown},
    {"input", "it exits when its input ends", CHECK_STARTS, check_end_of_input},
    {"sigterm", "it exits on SIGTERM", CHECK_STARTS, check_sigterm},
    {"heartbeat", "its heartbeats are of a request in hand, and as they should be", CHECK_STARTS,
     check_heartbeats},
    {"left", "it leaves no processes behind", CHECK_STARTS, check_left},
};

const size_t check_count = sizeof checks / sizeof *checks;
