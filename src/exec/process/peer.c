/*
 * The process of one worker, from its start to its end.
 *
 * That it has ended is known for certain by its pidfd alone: its output may end before (it is about
 * to exit, or has closed it) or never (a child of its own holds it). A worker whose output has
 * ended, or that takes no input, is of no use any more: if it is not about to exit anyway it is
 * killed, so that the pidfd tells very soon. Only then is anybody told, with how it ended. Whatever
 * it had written before is still read.
 *
 * A request that the process cannot have begun is told from one that it may have: bytes that still
 * lie in the pipe were never read by anybody.
 */
#include "base/error.h"
#include "base/mem.h"
#include "exec/process/internal.h"

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* What is said of an end in a message. */
#define TEXT_BYTES 1024

static struct crew *crew_of(struct peer *p)
{
    return p->x->base.crew;
}

/* ---- making ---- */

struct peer *peer_new(struct process_executor *x, struct worker *w)
{
    struct peer *p = mem_calloc(1, sizeof *p);

    if (!p)
        return NULL;
    p->x = x;
    p->worker = w;
    p->child = CHILD_NONE;
    p->in = p->out = p->err = -1;
    wire_reader_init(&p->reader, x->options.frame_max_bytes);
    list_init(&p->unsent);
    list_init(&p->trouble);
    list_push_back(&x->peers, &p->link);
    list_push_back(&x->starts, &p->start);
    w->edge = p;
    return p;
}

void peer_free(struct peer *p)
{
    assert(!p->worker && p->handles == 0 && p->calls.count == 0);
    list_remove(&p->link);
    wire_reader_free(&p->reader);
    outbox_free(&p->outbox);
    calls_free(&p->calls);
    said_free(&p->said);
    mem_free(p);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void on_closed(uv_handle_t *handle)
{
    struct peer *p = handle->data;

    if (--p->handles == 0 && p->state == PEER_GONE)
        process_peer_closed(p);
}

static void close_poll(uv_poll_t *poll)
{
    if (poll->data && !uv_is_closing((uv_handle_t *)poll))
        uv_close((uv_handle_t *)poll, on_closed);
}

/* Its descriptors may be closed at once, also while the loop still has their handles. */
static void close_all(struct peer *p)
{
    close_poll(&p->in_poll);
    close_poll(&p->out_poll);
    close_poll(&p->err_poll);
    close_poll(&p->proc_poll);
    close_fd(&p->in);
    close_fd(&p->out);
    close_fd(&p->err);
}

/* The crew knows it no more. */
static void let_go(struct peer *p)
{
    assert(!p->worker);
    p->state = PEER_GONE;
    list_remove(&p->start);
    list_remove(&p->unsent);
    list_remove(&p->trouble);
    close_all(p);
    /* Without handles there is nobody to free it later. */
    if (p->handles == 0)
        process_peer_closed(p);
}

/* ---- texts ---- */

void peer_say(struct peer *p, const char *text)
{
    char line[TEXT_BYTES];
    struct core_event ev = {.kind = EVENT_WORKER_SAID,
                            .at = process_now(p->x),
                            .pool = p->x->options.crew.pool,
                            .worker = p->worker->id,
                            .detail = line};

    snprintf(line, sizeof line, "weir: %s", text);
    if (p->x->host->tell)
        p->x->host->tell(p->x->host, &ev);
}

static const char *how_it_ended(const struct child_end *e, char how[TEXT_BYTES])
{
    const char *name = e->signal ? sigabbrev_np(e->signal) : NULL;

    if (e->unknown)
        return "is gone";
    if (e->signal && name)
        snprintf(how, TEXT_BYTES, "was ended by signal %d (SIG%s)", e->signal, name);
    else if (e->signal)
        snprintf(how, TEXT_BYTES, "was ended by signal %d", e->signal);
    else
        snprintf(how, TEXT_BYTES, "exited with status %d", e->code);
    return how;
}

/* ---- what it had in hand ---- */

/* Behind the last byte sent to it that somebody has read. */
static uint64_t bytes_taken(const struct peer *p)
{
    int unread = 0;

    if (p->in < 0 || ioctl(p->in, FIONREAD, &unread) != 0 || unread < 0)
        unread = 0;
    return p->outbox.written - (uint64_t)unread;
}

static void end_lost(struct core_attempt *a, bool begun, enum weir_reason reason, const char *text)
{
    a->not_begun = !begun;
    a->answer.outcome = WEIR_OUTCOME_LOST;
    a->answer.reason = reason;
    a->answer.retryable = true;
    answer_say(&a->answer, "%s", text);
}

/* All that it has in hand ends. What had not begun is none of its doing: it says so, and goes elsewhere. */
static void end_calls(struct peer *p, uint64_t taken, enum weir_reason reason, const char *text)
{
    struct instant now = process_now(p->x);
    struct call *call;

    while ((call = calls_any(&p->calls))) {
        struct core_attempt *a = call->attempt;
        bool begun = call->begin < taken;

        calls_remove(&p->calls, call);
        if (!a)
            continue;
        end_lost(a, begun, begun ? reason : WEIR_REASON_WORKER_LOST, text);
        a->answer.bystander = begun && p->for_one;
        crew_answered(crew_of(p), p->worker, a->session, CREW_ANSWER_NONE, now);
        process_done(p->x, a, now);
    }
}

/* ---- starting ---- */

static void on_proc(uv_poll_t *handle, int status, int events)
{
    struct peer *p = handle->data;
    struct process_executor *x = p->x;

    (void)status;
    (void)events;
    peer_lost(p);
    process_settle(x);
}

/* The child's ends are in `theirs`, for 0, 1 and 2. */
static enum weir_status open_pipes(struct peer *p, int theirs[3], struct weir_error *err)
{
    int *ours[3] = {&p->in, &p->out, &p->err};

    for (int i = 0; i < 3; i++) {
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) != 0)
            return error_set_errno(err, WEIR_E_AGAIN, errno,
                                   "cannot make a pipe to a worker (see ulimit -n)");
        theirs[i] = ends[i == 0 ? 0 : 1];
        *ours[i] = ends[i == 0 ? 1 : 0];
        /* Smaller ones do too, where the user may not have such. */
        if (i < 2 && p->x->large_pipes)
            fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES);
    }
    return WEIR_OK;
}

static enum weir_status launch(struct peer *p, const int theirs[3], struct weir_error *err)
{
    struct process_executor *x = p->x;
    char id[64], *pool = NULL;
    struct child_options o = {.file = x->options.argv[0],
                              .argv = x->options.argv,
                              .env = x->env,
                              .dir = x->options.dir,
                              .fds = {theirs[0], theirs[1], theirs[2]}};
    _cleanup_buf_ struct buf name = {0};
    enum weir_status status;

    snprintf(id, sizeof id, "WEIR_WORKER=%llu", (unsigned long long)p->worker->place);
    buf_printf(&name, "WEIR_POOL=%s", x->options.crew.pool ? x->options.crew.pool : "");
    pool = name.data;
    if (name.failed)
        return error_nomem(err);
    x->env[x->env_count] = id;
    x->env[x->env_count + 1] = pool;
    status = child_launch(x->guard, &o, &p->child, err);
    x->env[x->env_count] = x->env[x->env_count + 1] = NULL;
    p->pid = p->child.pid;
    if (status == WEIR_OK && x->host->began)
        p->pid_start = child_stat(p->child.pid, CHILD_STAT_START);
    return status;
}

static bool begin(struct peer *p)
{
    if (!talk_begin(p) || uv_poll_init(p->x->loop, &p->proc_poll, p->child.pidfd) != 0)
        return false;
    p->proc_poll.data = p;
    p->handles++;
    return uv_poll_start(&p->proc_poll, UV_READABLE, on_proc) == 0;
}

static void never_started(struct peer *p, const char *cause, const char *detail)
{
    struct child_end end;

    close_poll(&p->proc_poll); /* before its descriptor */
    if (p->child.pid > 0)
        child_kill(&p->child, &end);
    if (detail)
        peer_say(p, detail);
    crew_gone(crew_of(p), p->worker, cause, detail, process_now(p->x));
    let_go(p);
}

void peer_start(struct peer *p)
{
    struct weir_error err = {.message = "the loop takes no more descriptors"};
    int theirs[3] = {-1, -1, -1};
    enum weir_status status;

    list_remove(&p->start);
    if (p->state == PEER_CONDEMNED) {
        never_started(p, "was not started any more", NULL);
        return;
    }
    status = open_pipes(p, theirs, &err);
    if (status == WEIR_OK)
        status = launch(p, theirs, &err);
    for (int i = 0; i < 3; i++)
        close_fd(&theirs[i]);
    if (status != WEIR_OK || !begin(p)) {
        never_started(p, "could not be started", err.message);
        return;
    }
    p->state = PEER_RUNS;
    crew_spawned(crew_of(p), p->worker, p->pid, process_now(p->x));
}

/* ---- ending ---- */

void peer_signal(struct peer *p, int sig)
{
    if (p->child.pid > 0)
        child_signal(&p->child, sig);
}

void peer_close_input(struct peer *p)
{
    close_poll(&p->in_poll);
    close_fd(&p->in);
    p->polls_in = false;
    p->in_broken = true;
}

static bool has_exited(const struct peer *p)
{
    struct pollfd look = {.fd = p->child.pidfd, .events = POLLIN};

    return poll(&look, 1, 0) > 0;
}

/* From linux/sched.h: of a process's flags, set before an exiting one lets go of its descriptors. */
#define PF_EXITING 0x4U

static bool is_exiting(const struct peer *p)
{
    return (child_stat((pid_t)p->pid, CHILD_STAT_FLAGS) & PF_EXITING) != 0;
}

static void put_last_words(struct buf *out, const struct peer *p)
{
    if (p->said.last[0])
        buf_printf(out, "; its last words: %s", p->said.last);
}

/* Its process has exited, and what it had to say was read. */
static void gone(struct peer *p)
{
    _cleanup_buf_ struct buf text = {0}, detail = {0};
    struct wire_fault cut;
    struct child_end end = {.unknown = true};
    char room[TEXT_BYTES];
    const char *how;
    uint64_t taken = bytes_taken(p);

    p->state = PEER_CONDEMNED;
    talk_read_err(p, LAST_READS_MAX);
    talk_end_err(p);
    close_all(p);
    if (!child_reap(&p->child, &end))
        child_kill(&p->child, &end);
    how = p->closed && end.signal == SIGKILL ? p->closed : how_it_ended(&end, room);
    buf_printf(&text, "worker %llu (pid %lld) %s while it had the request",
               (unsigned long long)p->worker->id, (long long)p->pid, how);
    if (wire_reader_cut(&p->reader, &cut)) {
        buf_puts(&text, "; ");
        wire_put_fault(&text, &cut);
    }
    put_last_words(&text, p);
    buf_puts(&detail, how);
    put_last_words(&detail, p);
    end_calls(p, taken, WEIR_REASON_WORKER_LOST, text.failed ? how : text.data);
    crew_gone(crew_of(p), p->worker, "its process has ended", detail.failed ? how : detail.data,
              process_now(p->x));
    let_go(p);
}

void peer_lost(struct peer *p)
{
    list_remove(&p->trouble);
    if (p->state != PEER_RUNS && p->state != PEER_CONDEMNED)
        return;
    talk_read(p, LAST_READS_MAX);
    if (has_exited(p)) {
        gone(p);
        return;
    }
    /* One that is being ended is given the time for that. */
    if (p->state == PEER_CONDEMNED || p->told_to_end || p->closed)
        return;
    if (is_exiting(p))
        return;
    p->closed = p->out_ended ? "closed its standard output" : "closed its standard input";
    peer_signal(p, SIGKILL);
}

void peer_kill(struct peer *p, const char *why, enum weir_reason reason, const char *detail)
{
    _cleanup_buf_ struct buf text = {0};
    uint64_t taken = bytes_taken(p);
    size_t why_len = strlen(why);
    /* The record is short, and has `why` already. */
    bool repeats = strncmp(detail, why, why_len) == 0 && detail[why_len] == ':';

    if (p->state == PEER_CONDEMNED)
        return;
    buf_printf(&text, "worker %llu (pid %lld) %s", (unsigned long long)p->worker->id,
               (long long)p->pid, detail);
    p->state = PEER_CONDEMNED;
    crew_kill(crew_of(p), p->worker, why, repeats ? detail + why_len + 2 : detail,
              process_now(p->x));
    end_calls(p, taken, reason, text.failed ? why : text.data);
    talk_stop(p);
}
