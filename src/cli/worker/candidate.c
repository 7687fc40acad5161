/*
 * See candidate.h. One round of poll() does it all: pump().
 */
#include "cli/worker/candidate.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/worker/leftovers.h"
#include "loop/loop.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define WRITE_BYTES     ((size_t)64 << 10)
#define ERR_BYTES       ((size_t)64 << 10)
#define FRAME_BYTES_MAX (UINT64_C(64) << 20)
/* Processes that were told to end are given so long to do it before they count as left behind. */
#define LEFT_WAIT_MS 500
#define LEFT_LOOK_MS 20

enum { IN, OUT, ERR, EXIT, FDS };

void candidate_init(struct candidate *p, struct child_guard *guard, const char *const *argv)
{
    *p = (struct candidate){
        .guard = guard, .argv = argv, .child = CHILD_NONE, .in = -1, .out = -1, .err = -1};
    wire_reader_init(&p->reader, FRAME_BYTES_MAX);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* ---- starting ---- */

/* ours[]: our ends, theirs[]: the worker's, both by descriptor number. */
static enum weir_status make_pipes(int ours[3], int theirs[3], struct weir_error *err)
{
    for (int i = 0; i < 3; i++) {
        int ends[2], mine = i == STDIN_FILENO ? 1 : 0;

        if (pipe2(ends, O_CLOEXEC) != 0)
            return error_set_errno(err, WEIR_E_IO, errno, "cannot make a pipe");
        ours[i] = ends[mine];
        theirs[i] = ends[1 - mine];
        if (fcntl(ours[i], F_SETFL, O_NONBLOCK) != 0)
            return error_set_errno(err, WEIR_E_IO, errno, "cannot make a pipe");
    }
    return WEIR_OK;
}

enum weir_status candidate_start(struct candidate *p, struct weir_error *err)
{
    static char number[] = "WEIR_WORKER=1", pool[] = "WEIR_POOL=check";
    char *const env[] = {number, pool, NULL};
    int ours[3] = {-1, -1, -1}, theirs[3] = {-1, -1, -1};
    enum weir_status status;

    assert(!candidate_runs(p));
    status = make_pipes(ours, theirs, err);
    if (status == WEIR_OK) {
        struct child_options o = {
            .file = p->argv[0],
            /* exec() takes words that may be written, and does not write them. */
            .argv = (char *const *)p->argv,
            .env = env,
            .fds = {theirs[0], theirs[1], theirs[2]}};

        status = child_launch(p->guard, &o, &p->child, err);
    }
    for (int i = 0; i < 3; i++) {
        close_fd(&theirs[i]);
        if (status != WEIR_OK)
            close_fd(&ours[i]);
    }
    if (status != WEIR_OK)
        return status;
    p->in = ours[STDIN_FILENO];
    p->out = ours[STDOUT_FILENO];
    p->err = ours[STDERR_FILENO];
    p->exited = p->silent = false;
    p->last_id = 0;
    calls_free(&p->asked);
    return WEIR_OK;
}

bool candidate_runs(const struct candidate *p)
{
    return p->child.pid != 0;
}

/* ---- one round ---- */

size_t candidate_unsent(const struct candidate *p)
{
    return p->unsent.len - p->sent;
}

static void write_some(struct candidate *p)
{
    size_t len = candidate_unsent(p);
    ssize_t n = write(p->in, p->unsent.data + p->sent, len < WRITE_BYTES ? len : WRITE_BYTES);

    if (n > 0)
        p->sent += (size_t)n;
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        /* It reads no more. What it says, or how it ends, tells why. */
        close_fd(&p->in);
    if (p->sent == p->unsent.len) {
        buf_clear(&p->unsent);
        p->sent = 0;
    }
}

/* False: there is nothing at the moment. */
static bool read_out(struct candidate *p)
{
    size_t room = 0;
    char *at = wire_reader_room(&p->reader, &room);
    ssize_t n;

    if (!at) {
        p->no_memory = true;
        close_fd(&p->out);
        return false;
    }
    n = read(p->out, at, room);
    if (n > 0)
        wire_reader_filled(&p->reader, (size_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        close_fd(&p->out);
    return n > 0;
}

static void read_err(struct candidate *p)
{
    char room[ERR_BYTES];
    ssize_t n = read(p->err, room, sizeof room);
    size_t kept;

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        close_fd(&p->err);
    if (n <= 0)
        return;
    p->said_bytes += (uint64_t)n;
    kept = CANDIDATE_ERR_BYTES_MAX - p->said.len;
    buf_put(&p->said, room, (size_t)n < kept ? (size_t)n : kept);
}

static int poll_ms(struct instant until)
{
    duration_ns left = instant_diff(until, loop_clock());

    if (left <= 0)
        return 0;
    /* Up: a deadline must have passed when it is said that it has. */
    left = (left + NS_PER_MS - 1) / NS_PER_MS;
    return left < INT_MAX ? (int)left : INT_MAX;
}

/* Waits until something happens or `until`, and takes it. */
static void pump(struct candidate *p, struct instant until)
{
    struct pollfd fds[FDS] = {
        [IN] = {.fd = candidate_unsent(p) > 0 ? p->in : -1, .events = POLLOUT},
        [OUT] = {.fd = p->out, .events = POLLIN},
        [ERR] = {.fd = p->err, .events = POLLIN},
        [EXIT] = {.fd = p->exited ? -1 : p->child.pidfd, .events = POLLIN},
    };

    if (poll(fds, FDS, poll_ms(until)) < 0)
        return; /* EINTR: the caller looks at the clock */
    if (fds[ERR].revents)
        read_err(p);
    if (fds[EXIT].revents)
        p->exited = true;
    if (fds[OUT].revents)
        read_out(p);
    else if (p->exited)
        /* Whoever has inherited its output may hold it open for long. */
        p->silent = true;
    p->silent |= p->out < 0;
    if (fds[IN].revents && p->in >= 0)
        write_some(p);
}

static bool is_late(struct instant deadline)
{
    return !instant_before(loop_clock(), deadline);
}

/* ---- speaking ---- */

uint64_t candidate_next_id(struct candidate *p)
{
    return ++p->last_id;
}

void candidate_send(struct candidate *p, const struct wire_request *q)
{
    candidate_expect(p, q->id);
    wire_put_request(&p->unsent, q);
    p->no_memory |= p->unsent.failed;
}

void candidate_expect(struct candidate *p, uint64_t id)
{
    if (!calls_find(&p->asked, id) && !calls_add(&p->asked, id))
        p->no_memory = true;
}

void candidate_put(struct candidate *p, struct slice bytes)
{
    buf_put_slice(&p->unsent, bytes);
    p->no_memory |= p->unsent.failed;
}

/* ---- heartbeats ---- */

static const char *wrong_with_progress(struct slice value, double understood)
{
    if (value.len == 0 || understood >= 0)
        return NULL;
    return json_kind(value) == JSON_NUMBER ? "is not from 0 to 1" : "is no number";
}

/* weir is lenient with them, and so are all checks but one. */
static void take_heartbeat(struct candidate *p, const struct wire_response *r, struct slice frame)
{
    struct json_wanted m[2] = {{.name = SLICE("progress")}, {.name = SLICE("text")}};
    struct buf *out = &p->beat_wrong;
    const char *why;

    p->heartbeats++;
    if (out->len > 0)
        return;
    json_members(r->told, m, 2);
    why = wrong_with_progress(m[0].value, r->progress);
    if (!calls_find(&p->asked, r->id))
        buf_printf(out,
                   "a heartbeat was of request %llu, which was not sent to it or is answered "
                   "already; send them only while the request is in hand",
                   (unsigned long long)r->id);
    else if (why)
        buf_printf(out,
                   "the \"progress\" of a heartbeat %s; it is a number from 0 to 1, or left out",
                   why);
    else if (m[1].value.len > 0 && json_kind(m[1].value) != JSON_STRING)
        buf_puts(out, "the \"text\" of a heartbeat is no string; it is one line, or left out");
    else
        return;
    buf_puts(out, "; the first bytes were ");
    wire_put_shown(out, frame);
    p->no_memory |= out->failed;
}

/* False: it was a heartbeat. The last answer stays as it is then. */
static bool take_frame(struct candidate *p, struct slice frame, struct wire_response *ret,
                       struct wire_fault *ret_fault, enum candidate_said *ret_said)
{
    struct wire_response r;
    struct call *call;

    if (wire_parse(frame, &r, ret_fault) && r.heartbeat) {
        take_heartbeat(p, &r, frame);
        return false;
    }
    buf_clear(&p->frame);
    buf_put_slice(&p->frame, frame);
    p->no_memory |= p->frame.failed;
    *ret_said = CANDIDATE_WRONG;
    if (!wire_parse(buf_slice(&p->frame), ret, ret_fault))
        return true;
    call = calls_find(&p->asked, ret->id);
    if (call)
        calls_remove(&p->asked, call);
    *ret_said = CANDIDATE_ANSWER;
    return true;
}

enum candidate_said candidate_receive(struct candidate *p, struct instant deadline,
                                      struct wire_response *ret, struct wire_fault *ret_fault)
{
    enum candidate_said said;
    struct slice frame;

    for (;;) {
        switch (wire_reader_next(&p->reader, &frame)) {
        case WIRE_FRAME:
            if (take_frame(p, frame, ret, ret_fault, &said))
                return said;
            continue;
        case WIRE_TOO_LARGE:
            wire_reader_fault(&p->reader, ret_fault);
            return CANDIDATE_WRONG;
        case WIRE_MORE:
            break;
        }
        if (p->silent)
            return wire_reader_cut(&p->reader, ret_fault) ? CANDIDATE_WRONG : CANDIDATE_GONE;
        if (is_late(deadline))
            return CANDIDATE_SILENT;
        pump(p, deadline);
    }
}

bool candidate_wait_exit(struct candidate *p, struct instant deadline)
{
    while (!p->exited && !is_late(deadline))
        pump(p, deadline);
    return p->exited;
}

void candidate_close_input(struct candidate *p)
{
    close_fd(&p->in);
}

/* ---- the end ---- */

/* What was said and not read yet, as far as it is there. */
static void drain_err(struct candidate *p)
{
    for (size_t i = 0; p->err >= 0 && i < CANDIDATE_ERR_BYTES_MAX / 64; i++) {
        uint64_t before = p->said_bytes;

        read_err(p);
        if (p->said_bytes == before)
            break;
    }
}

void candidate_end(struct candidate *p, struct buf *left, struct child_end *ret)
{
    pid_t group = p->child.pid;

    *ret = (struct child_end){0};
    if (!candidate_runs(p))
        return;
    if (left && p->exited) {
        for (int waited = 0; waited < LEFT_WAIT_MS && leftovers_put(group, NULL) > 0;
             waited += LEFT_LOOK_MS)
            poll(NULL, 0, LEFT_LOOK_MS);
        leftovers_put(group, left);
    }
    if (!p->exited || !child_reap(&p->child, ret))
        child_kill(&p->child, ret);
    leftovers_kill();
    drain_err(p);
    close_fd(&p->in);
    close_fd(&p->out);
    close_fd(&p->err);
    wire_reader_free(&p->reader);
    buf_clear(&p->unsent);
    p->sent = 0;
    p->exited = p->silent = true;
}

void candidate_free(struct candidate *p)
{
    struct child_end end;

    candidate_end(p, NULL, &end);
    wire_reader_free(&p->reader);
    buf_free(&p->unsent);
    buf_free(&p->frame);
    buf_free(&p->beat_wrong);
    calls_free(&p->asked);
    buf_free(&p->said);
}
