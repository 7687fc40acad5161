/*
 * What goes back and forth between weir and one worker. Writing and reading never wait for each
 * other: what its input does not take stays in the outbox until it does, and its output is read
 * whenever there is some.
 *
 * Requests of one turn go out in one write (kick), answers that have come together are handed on
 * together.
 */
#include "base/mem.h"
#include "exec/process/internal.h"
#include "loop/loop.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

static struct crew *crew_of(struct peer *p)
{
    return p->x->base.crew;
}

/* ---- requests ---- */

static const char *timestamp(struct process_executor *x)
{
    int64_t now_ns = loop_wall_clock_ns();

    if (now_ns / NS_PER_MS != x->stamp_ms) {
        x->stamp_ms = now_ns / NS_PER_MS;
        time_format_utc(now_ns, x->stamp);
    }
    return x->stamp;
}

static void to_be_written(struct peer *p)
{
    if (!p->polls_in && !p->in_broken && list_empty(&p->unsent))
        list_push_back(&p->x->unsent, &p->unsent);
}

/* NULL: no memory, or it is too large: *ret_size says which. */
static struct call *put(struct peer *p, enum call_kind kind, struct wire_request *r,
                        uint64_t *ret_size)
{
    struct call *call = calls_add(&p->calls, p->last_id + 1);
    uint64_t begin = p->outbox.queued;

    *ret_size = 0;
    if (!call)
        return NULL;
    r->id = call->id;
    r->timestamp = timestamp(p->x);
    if (!outbox_put(&p->outbox, r, p->x->options.frame_max_bytes, ret_size)) {
        calls_remove(&p->calls, call);
        return NULL;
    }
    p->last_id++;
    call->kind = kind;
    call->begin = begin;
    call->end = p->outbox.queued;
    to_be_written(p);
    return call;
}

static void say_too_large(struct core_answer *answer, uint64_t size, uint64_t limit)
{
    answer->outcome = WEIR_OUTCOME_FAILED;
    answer->reason = WEIR_REASON_BAD_ROW;
    answer->retryable = false;
    answer_say(answer,
               "the request is a frame of %llu bytes, over the limit of %llu: raise the limit on "
               "frames, or give the worker a name by which it finds the data itself",
               (unsigned long long)size, (unsigned long long)limit);
}

static void say_no_memory(struct core_answer *answer)
{
    answer->outcome = WEIR_OUTCOME_FAILED;
    answer->reason = WEIR_REASON_INTERNAL;
    answer->retryable = true;
    answer_say(answer, "memory ran out");
}

static void tell_began(struct peer *p, const struct core_attempt *a)
{
    struct core_executor_host *host = p->x->host;
    struct core_attempt_began began = {.token = a->token, .pid = p->pid, .pid_start = p->pid_start};

    if (host->began)
        host->began(host, &began);
}

bool talk_put(struct peer *p, struct core_attempt *a)
{
    const struct process_request *request = a->payload;
    struct wire_request r = {
        .command = request->command ? slice_of(request->command) : SLICE("process"),
        .args = request->args,
        .session_lost = a->session_lost,
        .env = a->env,
    };
    struct call *call;
    uint64_t size;

    if (a->session)
        r.session = (struct slice){session_name(a->session), a->session->name_len};
    call = put(p, CALL_REQUEST, &r, &size);
    if (!call) {
        if (size > p->x->options.frame_max_bytes)
            say_too_large(&a->answer, size, p->x->options.frame_max_bytes);
        else
            say_no_memory(&a->answer);
        return false;
    }
    call->attempt = a;
    a->edge = (void *)(uintptr_t)call->id;
    tell_began(p, a);
    return true;
}

void talk_command(struct peer *p, enum call_kind kind)
{
    struct wire_request r = {.command =
                                 kind == CALL_PING ? SLICE(WIRE_PING) : SLICE(WIRE_SHUTDOWN)};
    struct call *call;
    uint64_t size;

    if (p->in_ends)
        return;
    call = put(p, kind, &r, &size);
    if (call && kind == CALL_PING)
        p->ping_id = call->id;
    p->in_ends = kind == CALL_SHUTDOWN;
    to_be_written(p);
    process_soon(p->x);
}

/* False: some of it was written. */
static bool take_back(struct peer *p, const struct call *call)
{
    uint64_t begin = call->begin, len = call->end - begin;

    if (!outbox_take_back(&p->outbox, begin, call->end))
        return false;
    calls_close_gap(&p->calls, begin, len);
    return true;
}

/*
 * One of which nothing was written can be taken back; else the worker has to go, for it may still
 * be writing. Where nothing is wrong with it it is given its grace, and the attempt ends when it
 * answers after all, or has gone.
 */
void talk_cancel(struct peer *p, struct core_attempt *a)
{
    struct call *call = calls_find(&p->calls, (uint64_t)(uintptr_t)a->edge);
    struct instant now = process_now(p->x);
    enum crew_answer how = CREW_ANSWER_UNSENT;

    assert(call && call->attempt == a);
    if (!take_back(p, call))
        how = CREW_ANSWER_NONE;
    p->for_one |= how == CREW_ANSWER_NONE;
    if (how == CREW_ANSWER_NONE && a->may_wind_up) {
        crew_term(crew_of(p), p->worker, "its request is not wanted any more", now);
        return;
    }
    calls_remove(&p->calls, call);
    if (how == CREW_ANSWER_NONE)
        peer_kill(p, "did not answer in time", WEIR_REASON_WORKER_LOST,
                  "was killed, for another request to it was cancelled or timed out");
    crew_answered(crew_of(p), p->worker, a->session, how, now);
    a->answer.outcome = WEIR_OUTCOME_CANCELLED;
    a->answer.reason = WEIR_REASON_NONE;
    process_done(p->x, a, now);
}

/* ---- writing ---- */

static void on_in(uv_poll_t *handle, int status, int events);

static void note_broken(struct peer *p)
{
    p->in_broken = true;
    p->polls_in = false;
    uv_poll_stop(&p->in_poll);
    list_remove(&p->trouble);
    list_push_back(&p->x->troubled, &p->trouble);
    process_soon(p->x);
}

/* At all times it is waited for that nobody reads any more. */
static bool look_at_in(struct peer *p, bool for_room)
{
    p->polls_in = for_room;
    return uv_poll_start(&p->in_poll, for_room ? UV_WRITABLE : UV_DISCONNECT, on_in) == 0;
}

static void wait_for_room(struct peer *p, bool wait)
{
    if (wait != p->polls_in && !look_at_in(p, wait))
        note_broken(p);
}

void talk_write(struct peer *p)
{
    list_remove(&p->unsent);
    if (p->state != PEER_RUNS || p->in_broken)
        return;
    switch (outbox_write(&p->outbox, p->in)) {
    case OUTBOX_EMPTY:
        wait_for_room(p, false);
        if (p->in_ends)
            peer_close_input(p);
        break;
    case OUTBOX_FULL:
    case OUTBOX_MORE:
        wait_for_room(p, true);
        break;
    case OUTBOX_BROKEN:
        note_broken(p);
        break;
    }
}

/* A reader that has gone shows as an error. */
static void on_in(uv_poll_t *handle, int status, int events)
{
    struct peer *p = handle->data;

    (void)events;
    if (status < 0)
        note_broken(p);
    else
        talk_write(p);
}

/* ---- answers ---- */

static bool break_off(struct peer *p, const struct wire_fault *fault)
{
    _cleanup_buf_ struct buf text = {0};

    buf_puts(&text, "broke the protocol: ");
    wire_put_fault(&text, fault);
    if (!text.failed)
        peer_say(p, text.data);
    peer_kill(p, "broke the protocol", WEIR_REASON_WORKER_PROTOCOL,
              text.failed ? "broke the protocol" : text.data);
    return false;
}

static void fill_success(struct core_answer *answer, const struct wire_response *r)
{
    struct slice result = r->result.len > 0 ? r->result : SLICE("null");

    if (!answer_set_output(answer, result.data, result.len)) {
        say_no_memory(answer);
        return;
    }
    answer->outcome = WEIR_OUTCOME_OK;
    answer->reason = WEIR_REASON_NONE;
}

static void fill_error(struct core_answer *answer, const struct wire_response *r)
{
    _cleanup_buf_ struct buf text = {0};

    answer->outcome = r->capacity ? WEIR_OUTCOME_CAPACITY : WEIR_OUTCOME_FAILED;
    answer->reason = WEIR_REASON_WORKER_ERROR;
    answer->retryable = r->retryable;
    if (r->capacity)
        answer->advice.retry_after_ns = r->retry_after_ns;
    wire_put_error(&text, r);
    if (!text.failed)
        answer_say(answer, "%s", text.data);
}

static void take_answer(struct peer *p, struct core_attempt *a, const struct wire_response *r,
                        struct instant now)
{
    enum crew_answer how = CREW_ANSWER_OK;

    if (r->success)
        fill_success(&a->answer, r);
    else
        fill_error(&a->answer, r);
    if (!r->success)
        how = r->capacity ? CREW_ANSWER_CAPACITY : CREW_ANSWER_ERROR;
    crew_answered(crew_of(p), p->worker, a->session, how, now);
    process_done(p->x, a, now);
}

static void take_pong(struct peer *p, const struct wire_response *r, struct instant now)
{
    _cleanup_buf_ struct buf text = {0};

    if (!r->success)
        wire_put_error(&text, r);
    crew_pong(crew_of(p), p->worker, r->success, r->success || text.failed ? NULL : text.data,
              wire_max_in_flight(r), now);
}

/*
 * Of a request that it has in hand. Any other is a stray: a thread of its own may send one just
 * when the answer goes out, which is no reason to end the worker.
 */
static void take_heartbeat(struct peer *p, const struct wire_response *r)
{
    struct core_executor_host *host = p->x->host;
    const struct call *call = calls_find(&p->calls, r->id);
    _cleanup_buf_ struct buf text = {0};
    struct core_heartbeat beat = {.progress = r->progress};

    if (!call || !call->attempt || call->end > p->outbox.written) {
        p->x->counters.stray_heartbeats++;
        return;
    }
    p->x->counters.heartbeats++;
    if (!host->beat)
        return;
    beat.token = call->attempt->token;
    wire_put_heartbeat_text(&text, r);
    if (!text.failed)
        beat.text = buf_slice(&text);
    host->beat(host, &beat);
}

/* False: the worker is not to be read any more. */
static bool take_frame(struct peer *p, struct slice frame, struct instant now)
{
    struct wire_response r;
    struct wire_fault fault;
    struct call *call, taken;

    if (!wire_parse(frame, &r, &fault))
        return break_off(p, &fault);
    if (r.heartbeat) {
        take_heartbeat(p, &r);
        return true;
    }
    call = calls_find(&p->calls, r.id);
    /* What it was not sent whole it cannot answer. */
    if (!call || call->end > p->outbox.written) {
        fault = (struct wire_fault){.kind = WIRE_FAULT_UNKNOWN_ID, .bytes = frame, .number = r.id};
        return break_off(p, &fault);
    }
    taken = *call;
    calls_remove(&p->calls, call);
    if (taken.kind == CALL_REQUEST)
        take_answer(p, taken.attempt, &r, now);
    else if (taken.kind == CALL_PING && taken.id == p->ping_id)
        take_pong(p, &r, now);
    return p->state == PEER_RUNS;
}

static bool take_frames(struct peer *p)
{
    struct instant now = INSTANT_NONE;
    struct wire_fault fault;
    struct slice frame;
    enum wire_next next;

    while ((next = wire_reader_next(&p->reader, &frame)) == WIRE_FRAME) {
        if (instant_is_none(now))
            now = process_now(p->x);
        if (!take_frame(p, frame, now))
            return false;
    }
    if (next == WIRE_MORE)
        return true;
    wire_reader_fault(&p->reader, &fault);
    return break_off(p, &fault);
}

/* ---- reading ---- */

/* Workers of which nothing is half read share one piece of memory. */
static void lend_memory(struct peer *p)
{
    if (p->reader.data || !p->x->spare)
        return;
    wire_reader_give(&p->reader, p->x->spare, WIRE_READ_BYTES);
    p->x->spare = NULL;
}

static void take_memory_back(struct peer *p)
{
    size_t cap = 0;
    char *data = wire_reader_take(&p->reader, &cap);

    if (!data)
        return;
    if (cap == WIRE_READ_BYTES && !p->x->spare)
        p->x->spare = data;
    else
        mem_free(data);
}

enum got { GOT_ALL, GOT_MORE, GOT_END, GOT_WRONG };

static enum got read_piece(struct peer *p)
{
    size_t room;
    char *at = wire_reader_room(&p->reader, &room);
    ssize_t n;

    if (!at) {
        peer_kill(p, "memory ran out", WEIR_REASON_INTERNAL,
                  "was killed, for memory ran out while its answer was read");
        return GOT_WRONG;
    }
    do {
        n = read(p->out, at, room);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return GOT_ALL;
    if (n <= 0)
        return GOT_END;
    wire_reader_filled(&p->reader, (size_t)n);
    if (!take_frames(p))
        return GOT_WRONG;
    return (size_t)n < room ? GOT_ALL : GOT_MORE;
}

bool talk_read(struct peer *p, int pieces)
{
    enum got got = GOT_MORE;

    if (p->state != PEER_RUNS || p->out_ended)
        return true;
    lend_memory(p);
    for (int i = 0; i < pieces && got == GOT_MORE; i++)
        got = read_piece(p);
    if (got == GOT_END) {
        p->out_ended = true;
        uv_poll_stop(&p->out_poll);
    }
    take_memory_back(p);
    return got != GOT_END;
}

static void on_out(uv_poll_t *handle, int status, int events)
{
    struct peer *p = handle->data;
    struct process_executor *x = p->x;

    (void)status;
    (void)events;
    if (!talk_read(p, READS_PER_TURN))
        peer_lost(p);
    process_settle(x);
}

/* ---- its standard error ---- */

static void tell_line(void *ctx, const char *line)
{
    struct peer *p = ctx;
    struct core_event ev = {.kind = EVENT_WORKER_SAID,
                            .at = process_now(p->x),
                            .pool = p->x->options.crew.pool,
                            .worker = p->worker->id,
                            .detail = line};

    if (p->x->host->tell)
        p->x->host->tell(p->x->host, &ev);
}

void talk_read_err(struct peer *p, int pieces)
{
    ssize_t n = 1;

    while (p->err >= 0 && pieces-- > 0 && n > 0) {
        do {
            n = read(p->err, p->x->err_bytes, sizeof p->x->err_bytes);
        } while (n < 0 && errno == EINTR);
        if (n > 0)
            said_put(&p->said, (struct slice){p->x->err_bytes, (size_t)n}, tell_line, p);
    }
    if (n == 0)
        uv_poll_stop(&p->err_poll);
}

void talk_end_err(struct peer *p)
{
    said_end(&p->said, tell_line, p);
}

static void on_err(uv_poll_t *handle, int status, int events)
{
    (void)status;
    (void)events;
    talk_read_err(handle->data, 1);
}

/* ---- beginning and ending ---- */

static bool add_poll(struct peer *p, uv_poll_t *poll, int fd)
{
    if (uv_poll_init(p->x->loop, poll, fd) != 0)
        return false;
    poll->data = p;
    p->handles++;
    return true;
}

bool talk_begin(struct peer *p)
{
    return add_poll(p, &p->in_poll, p->in) && add_poll(p, &p->out_poll, p->out) &&
           add_poll(p, &p->err_poll, p->err) && look_at_in(p, false) &&
           uv_poll_start(&p->out_poll, UV_READABLE, on_out) == 0 &&
           uv_poll_start(&p->err_poll, UV_READABLE, on_err) == 0;
}

void talk_stop(struct peer *p)
{
    list_remove(&p->unsent);
    list_remove(&p->trouble);
    uv_poll_stop(&p->out_poll);
    peer_close_input(p);
    outbox_free(&p->outbox);
}
