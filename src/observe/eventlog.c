/*
 * The event log; see eventlog.h for what it promises.
 *
 * Two buffers change places: the engine's thread fills one under the lock, the log's own thread
 * writes the other without it. Only whole lines enter a buffer; how far the second one has been
 * written is `written`, so that a write that stopped in the middle of a line goes on there.
 */
#include "observe/eventlog.h"

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "base/list.h"
#include "base/mem.h"
#include "core/worker/life.h"
#include "loop/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* So much at once is worth a write before its time has come. */
#define WRITE_BYTES ((size_t)256 << 10)

struct eventlog {
    struct core_observer base;
    int64_t wall_offset_ns;
    size_t buffer_bytes;
    char *path;
    int fd;
    pthread_t thread;

    pthread_mutex_t lock;
    pthread_cond_t wake; /* there is something to write, or `closing` */
    struct buf filling;
    uint64_t dropped; /* since the last log.dropped line */
    uint64_t lost;    /* in all */
    bool behind;      /* the thread could not write all it has */
    bool closing;

    /* the log's thread only */
    struct buf writing;
    size_t written;
    int failed_errno; /* of the first write that failed */
};

static const char url_mark[] = "://";

static bool is_url_end(char c)
{
    return c == ' ' || c == '"' || c == '\'' || c == '<' || c == '>' || c == '\0';
}

/* Appends text as a JSON string, with every URL in it replaced: it may hold a secret. */
static void put_redacted(struct buf *out, const char *text)
{
    struct buf clean = {0};
    const char *mark;

    if (!strstr(text, url_mark)) {
        json_put_string(out, slice_of(text));
        return;
    }
    while ((mark = strstr(text, url_mark))) {
        const char *begin = mark;

        while (begin > text && !is_url_end(begin[-1]) && begin[-1] != '(')
            begin--;
        buf_put(&clean, text, (size_t)(begin - text));
        buf_puts(&clean, "(URL)");
        text = mark;
        while (!is_url_end(*text))
            text++;
    }
    buf_puts(&clean, text);
    if (clean.failed)
        out->failed = true;
    else
        json_put_string(out, buf_slice(&clean));
    buf_free(&clean);
}

static void put_answer(struct buf *b, const struct core_answer *a)
{
    buf_printf(b, ",\"outcome\":\"%s\",\"reason\":\"%s\"", weir_outcome_name(a->outcome),
               weir_reason_name(a->reason));
    if (a->status != 0)
        buf_printf(b, ",\"status\":%d", a->status);
    if (a->message) {
        buf_puts(b, ",\"message\":");
        put_redacted(b, a->message);
    }
}

/* What limits, as members whose names end in `suffix`; what does not limit is left out. */
static void put_limit(struct buf *b, const char *suffix, enum throttle_mode mode, double rate_rps,
                      size_t window, duration_ns delay_ns)
{
    buf_printf(b, ",\"mode%s\":\"%s\"", suffix, throttle_mode_name(mode));
    if (isfinite(rate_rps))
        buf_printf(b, ",\"rate%s_per_s\":%.3f", suffix, rate_rps);
    if (window < SIZE_MAX)
        buf_printf(b, ",\"window%s\":%zu", suffix, window);
    if (mode == THROTTLE_MODE_DELAY)
        buf_printf(b, ",\"delay%s_ms\":%.3f", suffix, duration_ms(delay_ns));
}

static void put_throttle(struct buf *b, const struct throttle_state *s)
{
    buf_printf(b, ",\"reason\":\"%s\"", throttle_reason_name(s->reason));
    put_limit(b, "", s->mode, s->rate_rps, s->window, s->delay_ns);
    put_limit(b, "_before", s->mode_before, s->rate_before_rps, s->window_before,
              s->delay_before_ns);
    buf_printf(b, ",\"changes\":%" PRIu64, s->changes);
}

static void put_ms(struct buf *b, const char *name, duration_ns d)
{
    buf_printf(b, ",\"%s\":%" PRId64 ".%03" PRId64, name, d / NS_PER_MS, d % NS_PER_MS / NS_PER_US);
}

static void put_change(struct buf *b, const char *from, const char *to, duration_ns lasted)
{
    buf_printf(b, ",\"from\":\"%s\",\"to\":\"%s\"", from, to);
    put_ms(b, "lasted_ms", lasted);
}

static void put_worker(struct buf *b, const struct core_event *ev)
{
    const struct worker_transition *t = ev->transition;

    if (ev->worker)
        buf_printf(b, ",\"worker\":%" PRIu64, ev->worker);
    if (!t)
        return;
    put_change(b, worker_state_name(t->from), worker_state_name(t->to), t->lasted_ns);
    buf_puts(b, ",\"reason\":");
    put_redacted(b, t->reason);
}

static void put_time_and_name(struct buf *b, int64_t wall_ns, const char *name)
{
    char when[TIME_UTC_BYTES];

    time_format_utc(wall_ns, when);
    buf_printf(b, "{\"time\":\"%s\",\"event\":\"%s\"", when, name);
}

static void put_event(struct buf *b, const struct core_event *ev, int64_t wall_offset_ns)
{
    put_time_and_name(b, ev->at.ns + wall_offset_ns, core_event_name(ev->kind));
    if (ev->pool) {
        buf_puts(b, ",\"pool\":");
        json_put_string(b, slice_of(ev->pool));
    }
    if (ev->batch)
        buf_printf(b, ",\"batch\":%" PRIu64, ev->batch);
    if (ev->key) {
        buf_printf(b, ",\"index\":%" PRIu64 ",\"key\":", ev->index);
        json_put_string(b, slice_of(ev->key));
    }
    if (ev->attempt)
        buf_printf(b, ",\"attempt\":%" PRIu32, ev->attempt);
    put_worker(b, ev);
    if (ev->answer)
        put_answer(b, ev->answer);
    if (ev->breaker)
        put_change(b, breaker_state_name(ev->breaker->from), breaker_state_name(ev->breaker->to),
                   ev->breaker->lasted_ns);
    if (ev->throttle)
        put_throttle(b, ev->throttle);
    else if (ev->wait_ns > 0 || ev->kind == EVENT_TASK_RETRY)
        put_ms(b, "wait_ms", ev->wait_ns);
    if (ev->detail) {
        buf_puts(b, ",\"detail\":");
        put_redacted(b, ev->detail);
    }
    buf_puts(b, "}\n");
}

/* Takes back what was appended since `mark`, so that only whole lines stay. */
static bool keep_line(struct buf *b, size_t mark)
{
    if (!b->failed)
        return true;
    b->failed = false;
    b->len = mark;
    if (b->data)
        b->data[mark] = '\0';
    return false;
}

/* Under the lock: the file says itself where events are missing. */
static bool put_dropped(struct eventlog *log, int64_t wall_ns)
{
    size_t mark = log->filling.len;

    if (log->dropped == 0)
        return true;
    put_time_and_name(&log->filling, wall_ns, "log.dropped");
    buf_printf(&log->filling, ",\"count\":%" PRIu64 "}\n", log->dropped);
    if (!keep_line(&log->filling, mark))
        return false;
    log->dropped = 0;
    return true;
}

/* A program that writes without end must not push the steps of rows out of the record. */
static size_t room_for(const struct eventlog *log, const struct core_event *ev)
{
    return ev->kind == EVENT_WORKER_SAID ? log->buffer_bytes / EVENTLOG_SAID_PARTS
                                         : log->buffer_bytes;
}

static void on_event(struct core_observer *o, const struct core_event *ev)
{
    struct eventlog *log = list_entry(o, struct eventlog, base);
    size_t before, mark;
    bool kept = false;

    pthread_mutex_lock(&log->lock);
    before = log->filling.len;
    if (before < room_for(log, ev) && put_dropped(log, ev->at.ns + log->wall_offset_ns)) {
        mark = log->filling.len;
        put_event(&log->filling, ev, log->wall_offset_ns);
        kept = keep_line(&log->filling, mark);
    }
    if (!kept) {
        log->dropped++;
        log->lost++;
    }
    if ((before == 0 && log->filling.len > 0) ||
        (before < WRITE_BYTES && log->filling.len >= WRITE_BYTES))
        pthread_cond_signal(&log->wake);
    pthread_mutex_unlock(&log->lock);
}

static const struct core_observer_ops eventlog_ops = {.event = on_event};

/* ---- the log's own thread ---- */

/* A pipe that is full: whether its reader makes room soon. */
static bool takes_more(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};

    return poll(&p, 1, (int)(EVENTLOG_FLUSH_NS / NS_PER_MS)) > 0;
}

/* Writes as much as there is; false: some is left, because the file takes no more now. */
static bool write_some(struct eventlog *log)
{
    while (log->written < log->writing.len) {
        ssize_t n =
            write(log->fd, log->writing.data + log->written, log->writing.len - log->written);

        if (n > 0) {
            log->written += (size_t)n;
            continue;
        }
        if (n < 0 && (errno == EINTR || (errno == EAGAIN && takes_more(log->fd))))
            continue;
        if (log->failed_errno == 0)
            log->failed_errno = n < 0 ? errno : ENOSPC;
        return false;
    }
    buf_clear(&log->writing);
    log->written = 0;
    return true;
}

/* Under the lock: waits until there is enough, or some of it is old enough, or the log is to be closed. */
static void wait_for_work(struct eventlog *log)
{
    struct instant until;
    struct timespec ts;

    while (log->filling.len == 0 && !log->behind && !log->closing)
        pthread_cond_wait(&log->wake, &log->lock);
    until = instant_add(loop_clock(), EVENTLOG_FLUSH_NS);
    ts = (struct timespec){.tv_sec = until.ns / NS_PER_S, .tv_nsec = until.ns % NS_PER_S};
    while ((log->filling.len < WRITE_BYTES || log->behind) && !log->closing)
        if (pthread_cond_timedwait(&log->wake, &log->lock, &ts) == ETIMEDOUT)
            break;
}

/* Under the lock; all of `writing` is written. */
static void swap_buffers(struct eventlog *log)
{
    struct buf empty = log->writing;

    log->writing = log->filling;
    log->filling = empty;
}

static void *eventlog_main(void *arg)
{
    struct eventlog *log = arg;
    bool closing;

    do {
        bool all;

        pthread_mutex_lock(&log->lock);
        wait_for_work(log);
        closing = log->closing;
        if (!log->behind)
            swap_buffers(log);
        pthread_mutex_unlock(&log->lock);
        all = write_some(log);
        pthread_mutex_lock(&log->lock);
        log->behind = !all;
        pthread_mutex_unlock(&log->lock);
    } while (!closing);
    /* While it was behind, the other buffer has filled up. Nobody else uses it any more. */
    if (!log->behind && log->filling.len > 0) {
        swap_buffers(log);
        (void)write_some(log);
    }
    return NULL;
}

/* ---- opening and closing ---- */

static enum weir_status start_thread(struct eventlog *log, struct weir_error *err)
{
    sigset_t all, before;
    int rc;

    /* Signals are for the program's own threads; and a pipe without a reader must be an error, not SIGPIPE. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&log->thread, NULL, eventlog_main, log);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        return error_set_errno(err, WEIR_E_NOMEM, rc, "cannot start the event log's thread");
    return WEIR_OK;
}

static void free_log(struct eventlog *log)
{
    if (log->fd >= 0)
        close(log->fd);
    buf_free(&log->filling);
    buf_free(&log->writing);
    pthread_cond_destroy(&log->wake);
    pthread_mutex_destroy(&log->lock);
    mem_free(log->path);
    mem_free(log);
}

static struct eventlog *allocate(const struct eventlog_options *o)
{
    struct eventlog *log = mem_calloc(1, sizeof *log);
    pthread_condattr_t monotonic;

    if (!log)
        return NULL;
    log->path = mem_strdup(o->path);
    if (!log->path) {
        mem_free(log);
        return NULL;
    }
    log->base.ops = &eventlog_ops;
    log->wall_offset_ns = o->wall_offset_ns;
    if (log->wall_offset_ns == 0)
        log->wall_offset_ns = loop_wall_clock_ns() - loop_clock().ns;
    log->buffer_bytes = o->buffer_bytes ? o->buffer_bytes : EVENTLOG_BUFFER_BYTES;
    log->fd = -1;
    pthread_mutex_init(&log->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&log->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return log;
}

enum weir_status eventlog_open(const struct eventlog_options *o, struct eventlog **ret,
                               struct weir_error *err)
{
    struct eventlog *log;
    enum weir_status status;

    if (!o || !o->path || !ret)
        return error_set(err, WEIR_E_INVALID, "an event log needs a path");
    log = allocate(o);
    if (!log)
        return error_nomem(err);
    log->fd = open(o->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0666);
    /* A pipe whose reader has stopped must not hold up the end of the run. */
    if (log->fd < 0 || fcntl(log->fd, F_SETFL, O_APPEND | O_NONBLOCK) != 0)
        status = error_set_errno(err, WEIR_E_IO, errno, "cannot write events to %s", o->path);
    else
        status = start_thread(log, err);
    if (status != WEIR_OK) {
        free_log(log);
        return status;
    }
    *ret = log;
    return WEIR_OK;
}

struct core_observer *eventlog_observer(struct eventlog *log)
{
    return &log->base;
}

/* Events from a place on that were not written; a line that says so itself is none. */
static uint64_t count_events(const struct buf *b, size_t from)
{
    static const char own[] = "\",\"event\":\"log.dropped\"";
    uint64_t events = 0;

    while (from < b->len) {
        const char *line = b->data + from, *end = memchr(line, '\n', b->len - from);
        size_t len = end ? (size_t)(end - line) + 1 : b->len - from;

        events += memmem(line, len, own, sizeof own - 1) == NULL;
        from += len;
    }
    return events;
}

/* The last write stopped within a line: that line is cut off again, where the file can be cut. */
static void cut_torn_line(const struct eventlog *log)
{
    size_t torn = 0;
    struct stat st;

    while (torn < log->written && log->writing.data[log->written - torn - 1] != '\n')
        torn++;
    if (torn == 0 || fstat(log->fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size < (off_t)torn)
        return;
    if (ftruncate(log->fd, st.st_size - (off_t)torn) != 0)
        return; /* the line stays torn: no reader takes it for a whole one */
}

enum weir_status eventlog_close(struct eventlog *log, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    if (!log)
        return WEIR_OK;
    pthread_mutex_lock(&log->lock);
    (void)put_dropped(log, loop_clock().ns + log->wall_offset_ns);
    log->closing = true;
    pthread_cond_signal(&log->wake);
    pthread_mutex_unlock(&log->lock);
    pthread_join(log->thread, NULL);
    log->lost += count_events(&log->writing, log->written) + count_events(&log->filling, 0);
    if (log->written < log->writing.len)
        cut_torn_line(log);
    if (log->lost > 0)
        status =
            log->failed_errno
                ? error_set_errno(err, WEIR_E_IO, log->failed_errno,
                                  "%" PRIu64 " events could not be written to %s", log->lost,
                                  log->path)
                : error_set(err, WEIR_E_IO,
                            "%" PRIu64 " events were left out of %s: it was written too slowly",
                            log->lost, log->path);
    free_log(log);
    return status;
}
