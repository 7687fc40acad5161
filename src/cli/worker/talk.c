/*
 * Talking to the worker under test, and saying what went wrong (check.h).
 */
#include "cli/worker/check.h"

#include "base/json.h"
#include "loop/loop.h"

#include <assert.h>
#include <string.h>

/* A command that no worker has. */
#define NO_COMMAND "weir-check-no-such-command"
/* So long nothing may follow an answer. Short: it is waited for after each. */
#define AFTER_ANSWER_NS (20 * NS_PER_MS)
/* Between the pieces of a request: so long that each is read by itself. */
#define PIECE_NS (30 * NS_PER_MS)
/* From the end of its output to the end of the process, to say how it ended. */
#define EXIT_WAIT_NS (500 * NS_PER_MS)

static struct instant after(duration_ns d)
{
    return instant_add(loop_clock(), d);
}

static void put_seconds(struct buf *out, duration_ns d)
{
    buf_printf(out, "%.3g s", duration_seconds(d));
}

void talk_put_end(struct buf *out, const struct child_end *end)
{
    const char *name = end->signal ? sigabbrev_np(end->signal) : NULL;

    if (name)
        buf_printf(out, "signal SIG%s", name);
    else if (end->signal)
        buf_printf(out, "signal %d", end->signal);
    else
        buf_printf(out, "exit status %d", end->code);
}

/* ---- what went wrong ---- */

/* Ends the worker by force, or notes what it left if it has ended by itself. */
static void end_candidate(struct check_run *r, struct child_end *ret)
{
    bool by_itself = r->candidate->exited;
    size_t before = r->left.len;

    if (by_itself && before > 0)
        buf_puts(&r->left, ", ");
    candidate_end(r->candidate, &r->left, ret);
    if (!by_itself)
        return;
    r->lives++;
    if (r->left.len > before + (before > 0 ? 2 : 0))
        r->left_lives++;
    else
        r->left.len = before;
}

void talk_give_up(struct check_run *r)
{
    struct child_end end;

    end_candidate(r, &end);
}

/* A length that is too large, but not with its bytes the other way round, and before what begins as a message does. */
static bool is_swapped(const struct wire_fault *fault)
{
    uint32_t swapped = __builtin_bswap32((uint32_t)fault->number);

    return fault->kind == WIRE_FAULT_LENGTH && fault->bytes.len > WIRE_LENGTH_BYTES &&
           fault->bytes.data[WIRE_LENGTH_BYTES] == '{' && swapped <= fault->limit;
}

static bool fail_wrong(struct check_run *r, const struct wire_fault *fault)
{
    struct child_end end;

    wire_put_fault(&r->text, fault);
    if (is_swapped(fault))
        buf_puts(&r->text,
                 "; or is the length in the machine's byte order? Its highest byte comes first");
    end_candidate(r, &end);
    return false;
}

/* It should have answered, or have waited for the next request. */
static bool fail_gone(struct check_run *r, const char *instead)
{
    struct child_end end;

    if (candidate_wait_exit(r->candidate, after(EXIT_WAIT_NS))) {
        end_candidate(r, &end);
        buf_puts(&r->text, "it ended (");
        talk_put_end(&r->text, &end);
        buf_printf(&r->text, ") %s; what it wrote to standard error may say why", instead);
    } else {
        end_candidate(r, &end);
        buf_printf(
            &r->text,
            "it closed its standard output %s; a worker keeps it open for as long as it lives",
            instead);
    }
    return false;
}

static bool is_space(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!strchr(" \t\r\n", s.data[i]) || s.data[i] == '\0')
            return false;
    }
    return true;
}

/* Less than the length of a frame. */
static void put_stub(struct buf *out, struct slice rest)
{
    buf_puts(out, "it wrote ");
    wire_put_shown(out, rest);
    buf_puts(out,
             is_space(rest)
                 ? ", but nothing stands between frames: no line break, no space"
                 : ", which is less than the length of an answer has; write and flush all of it");
}

static bool fail_silent(struct check_run *r, duration_ns waited)
{
    struct slice rest = wire_reader_rest(&r->candidate->reader);
    uint64_t claim = wire_reader_claim(&r->candidate->reader);
    size_t unsent = candidate_unsent(r->candidate);
    struct child_end end;

    if (rest.len >= WIRE_LENGTH_BYTES)
        buf_printf(&r->text,
                   "of an answer of %llu bytes only %zu came; the length counts the bytes of the "
                   "message, without its own four, and all of them must be written and flushed",
                   (unsigned long long)claim, rest.len - WIRE_LENGTH_BYTES);
    else if (rest.len > 0)
        put_stub(&r->text, rest);
    else if (unsent > 0)
        buf_printf(&r->text,
                   "it stopped reading: %zu bytes of the request were not taken; read until there "
                   "are as many bytes as the length says",
                   unsent);
    else
        buf_puts(&r->text, "no answer");
    buf_puts(&r->text, rest.len > 0 || unsent > 0 ? " (waited " : " in ");
    put_seconds(&r->text, waited);
    if (rest.len > 0 || unsent > 0)
        buf_putc(&r->text, ')');
    else
        buf_puts(&r->text, "; answer each request, and flush after each answer");
    end_candidate(r, &end);
    return false;
}

static bool fail_id(struct check_run *r, uint64_t id)
{
    struct wire_fault fault = {.kind = WIRE_FAULT_UNKNOWN_ID,
                               .bytes = buf_slice(&r->candidate->frame)};

    fault.number = id;
    return fail_wrong(r, &fault);
}

/* ---- requests ---- */

bool talk_quiet(struct check_run *r, duration_ns for_ns)
{
    struct wire_fault fault;

    switch (candidate_receive(r->candidate, after(for_ns), &r->response, &fault)) {
    case CANDIDATE_SILENT:
        break;
    case CANDIDATE_ANSWER:
        return fail_id(r, r->response.id);
    case CANDIDATE_WRONG:
        return fail_wrong(r, &fault);
    case CANDIDATE_GONE:
        return fail_gone(r, "though nothing has told it to");
    }
    /* A part of a frame that nobody has asked for. */
    if (wire_reader_rest(&r->candidate->reader).len > 0)
        return fail_silent(r, for_ns);
    return true;
}

/* weir is lenient where an error speaks for itself. Whoever writes a worker should not rely on it. */
static bool has_success(struct check_run *r)
{
    struct slice value;

    if (json_member(buf_slice(&r->candidate->frame), "success", &value))
        return true;
    buf_puts(&r->text,
             "its response has no \"success\"; write \"success\": true with a result, and "
             "\"success\": false with an error");
    talk_give_up(r);
    return false;
}

static bool take_answer(struct check_run *r, duration_ns timeout_ns)
{
    struct wire_fault fault;

    switch (candidate_receive(r->candidate, after(timeout_ns), &r->response, &fault)) {
    case CANDIDATE_ANSWER:
        return has_success(r);
    case CANDIDATE_SILENT:
        return fail_silent(r, timeout_ns);
    case CANDIDATE_WRONG:
        return fail_wrong(r, &fault);
    case CANDIDATE_GONE:
        break;
    }
    return fail_gone(r, "instead of answering");
}

/* And nothing behind it. */
static bool take_answer_to(struct check_run *r, uint64_t id, duration_ns timeout_ns)
{
    struct wire_response answer;

    if (!take_answer(r, timeout_ns))
        return false;
    if (r->response.id != id)
        return fail_id(r, r->response.id);
    answer = r->response;
    if (!talk_quiet(r, AFTER_ANSWER_NS))
        return false;
    r->response = answer;
    return true;
}

static bool exchange(struct check_run *r, struct wire_request *q, duration_ns timeout_ns)
{
    if (q->id == 0)
        q->id = candidate_next_id(r->candidate);
    candidate_send(r->candidate, q);
    return take_answer_to(r, q->id, timeout_ns);
}

bool talk_exchange(struct check_run *r, struct wire_request *q)
{
    return talk_ensure(r) && exchange(r, q, r->options->timeout_ns);
}

bool talk_in_pieces(struct check_run *r, struct wire_request *q, const size_t *cuts, size_t count)
{
    _cleanup_buf_ struct buf whole = {0};
    size_t at = 0;

    if (!talk_ensure(r))
        return false;
    q->id = candidate_next_id(r->candidate);
    candidate_expect(r->candidate, q->id);
    wire_put_request(&whole, q);
    if (whole.failed) {
        r->candidate->no_memory = true;
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        assert(at < cuts[i] && cuts[i] < whole.len);
        candidate_put(r->candidate, (struct slice){whole.data + at, cuts[i] - at});
        at = cuts[i];
        if (!talk_quiet(r, PIECE_NS))
            return false;
    }
    candidate_put(r->candidate, (struct slice){whole.data + at, whole.len - at});
    return take_answer_to(r, q->id, r->options->timeout_ns);
}

bool talk_take(struct check_run *r, uint64_t first_id, size_t count, bool *answered)
{
    uint64_t id;

    if (!take_answer(r, r->options->timeout_ns))
        return false;
    id = r->response.id;
    if (id < first_id || id - first_id >= count || answered[id - first_id])
        return fail_id(r, id);
    answered[id - first_id] = true;
    return true;
}

struct wire_request talk_probe(const struct check_run *r, struct slice args)
{
    return (struct wire_request){.command = r->knows_unknown ? SLICE(NO_COMMAND) : SLICE(WIRE_PING),
                                 .args = args};
}

struct wire_request talk_call(const struct check_run *r)
{
    if (!r->options->command)
        return talk_probe(r, SLICE("\"x\""));
    return (struct wire_request){.command = slice_of(r->options->command),
                                 .args = slice_of(r->options->args)};
}

/* ---- a life ---- */

static bool start(struct check_run *r)
{
    struct wire_request ping = {.command = SLICE(WIRE_PING)};
    struct weir_error err;

    r->status = candidate_start(r->candidate, &err);
    if (r->status != WEIR_OK) {
        buf_puts(&r->text, err.message);
        return false;
    }
    if (!exchange(r, &ping, r->options->init_ns))
        return false;
    if (!r->response.success) {
        buf_puts(&r->text, "it answers a ping with an error (");
        wire_put_error(&r->text, &r->response);
        buf_puts(&r->text, "); it is ready when it has answered one with success");
        return false;
    }
    r->max_in_flight = wire_max_in_flight(&r->response);
    r->starts = true;
    return true;
}

bool talk_ensure(struct check_run *r)
{
    struct child_end end;

    if (candidate_runs(r->candidate))
        return true;
    if (start(r))
        return true;
    end_candidate(r, &end);
    return false;
}

bool talk_ends(struct check_run *r, const char *why, const char *remedy, struct instant since,
               struct child_end *ret_end)
{
    duration_ns grace = r->options->grace_ns;
    struct instant deadline = instant_add(since, grace);
    struct wire_fault fault;

    switch (candidate_receive(r->candidate, deadline, &r->response, &fault)) {
    case CANDIDATE_ANSWER:
        return fail_id(r, r->response.id);
    case CANDIDATE_WRONG:
        return fail_wrong(r, &fault);
    case CANDIDATE_SILENT:
    case CANDIDATE_GONE:
        break;
    }
    if (candidate_wait_exit(r->candidate, deadline)) {
        end_candidate(r, ret_end);
        return true;
    }
    buf_puts(&r->text, "it still runs ");
    put_seconds(&r->text, grace);
    buf_printf(&r->text, " after %s; %s", why, remedy);
    end_candidate(r, ret_end);
    return false;
}
