/*
 * The log; see log.h. The descriptor has a lock, under which one line is written at a time; lines
 * for later have another one, which is never held while something is written.
 */
#include "serve/daemon/log.h"

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "loop/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LINE_BYTES       4096
#define LATER_LINE_BYTES (2 * LINE_BYTES) /* a line of a worker, and who it is */
/* When the log takes no lines, it is looked at so often; at the end, so often in all. */
#define LATER_LOOK_MS    10
#define LATER_LAST_LOOKS 100

struct daemon_log {
    char *path;       /* NULL: standard error */
    atomic_int level; /* enum config_level */
    bool by_journal;  /* it says the time itself, and reads "<4>" as a level (sd-daemon(3)) */
    pthread_mutex_t lock;
    int fd; /* under the lock */

    pthread_t thread;
    bool has_thread;
    pthread_mutex_t later_lock; /* of: */
    pthread_cond_t came;
    struct buf later; /* whole lines */
    uint64_t dropped; /* lines, since the log has said so */
    bool closing;
};

static enum weir_status open_file(struct daemon_log *l, int *ret, struct weir_error *err)
{
    int fd = open(l->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);

    if (fd < 0)
        return error_set_errno(err, WEIR_E_IO, errno, "cannot open the log %s", l->path);
    *ret = fd;
    return WEIR_OK;
}

void daemon_log_level(struct daemon_log *l, enum config_level level)
{
    atomic_store(&l->level, (int)level);
}

enum weir_status daemon_log_reopen(struct daemon_log *l, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    int fd = -1;

    pthread_mutex_lock(&l->lock);
    if (l->path && (status = open_file(l, &fd, err)) == WEIR_OK) {
        close(l->fd);
        l->fd = fd;
    }
    pthread_mutex_unlock(&l->lock);
    return status;
}

static size_t put_head(const struct daemon_log *l, enum config_level level, char *line,
                       size_t bytes)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    static const int journal[] = {3, 4, 6, 7};
    char time[TIME_UTC_BYTES];
    int n;

    if (l->by_journal) {
        n = snprintf(line, bytes, "<%d>", journal[level]);
    } else {
        time_format_utc(loop_wall_clock_ns(), time);
        n = snprintf(line, bytes, "%s %s: ", time, names[level]);
    }
    return (size_t)n;
}

/* In place; a line stays one line. */
static void clean(char *text, size_t len)
{
    size_t at = 0;

    while (at < len) {
        size_t valid = at + utf8_valid_prefix((struct slice){text + at, len - at});

        for (; at < valid; at++) {
            unsigned char byte = (unsigned char)text[at];

            if (byte == '\n' || byte == '\t' || byte == '\r')
                text[at] = ' ';
            else if (byte < 0x20 || byte == 0x7F)
                text[at] = '?';
            else if (byte == 0xC2 && (unsigned char)text[at + 1] < 0xA0) /* U+0080 to U+009F */
                text[at] = text[at + 1] = '?';
        }
        if (at < len)
            text[at++] = '?';
    }
}

/* Returns how long the line is, with its end. */
static size_t put_line(const struct daemon_log *l, enum config_level level, char *line,
                       size_t bytes, const char *format, va_list args)
{
    size_t head = put_head(l, level, line, bytes), len;

    (void)vsnprintf(line + head, bytes - head - 1, format, args);
    len = head + strlen(line + head);
    clean(line + head, len - head);
    line[len++] = '\n';
    return len;
}

void daemon_log(struct daemon_log *l, enum config_level level, const char *format, ...)
{
    char line[LINE_BYTES];
    size_t len;
    va_list args;

    if ((int)level > atomic_load(&l->level))
        return;
    pthread_mutex_lock(&l->lock);
    va_start(args, format);
    len = put_line(l, level, line, sizeof line, format, args);
    va_end(args);
    if (write(l->fd, line, len) < 0)
        (void)0; /* there is nowhere to say it */
    pthread_mutex_unlock(&l->lock);
}

/* ---- lines for later ---- */

void daemon_log_later(struct daemon_log *l, enum config_level level, const char *format, ...)
{
    char line[LATER_LINE_BYTES];
    size_t len;
    va_list args;

    if ((int)level > atomic_load(&l->level))
        return;
    va_start(args, format);
    len = put_line(l, level, line, sizeof line, format, args);
    va_end(args);
    pthread_mutex_lock(&l->later_lock);
    /* Once one is left out, all are until the log has said so. */
    if (l->dropped > 0 || l->later.len + len > LOG_LATER_BYTES || !buf_reserve(&l->later, len))
        l->dropped++;
    else
        buf_put(&l->later, line, len);
    l->later.failed = false; /* the line that there was no memory for is counted */
    pthread_cond_signal(&l->came);
    pthread_mutex_unlock(&l->later_lock);
}

/*
 * Whether it takes a line without waiting. Half of a pipe is for what the daemon itself has to say:
 * that waits when it is full. (A line does not go on in a page, so a quarter of the bytes may be
 * half of the pages. A socket says that it takes no more long before it is full.)
 */
static bool takes_line(int fd, size_t len)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int size = fcntl(fd, F_GETPIPE_SZ), used;

    if (poll(&p, 1, 0) <= 0)
        return false;
    return size <= 0 || ioctl(fd, FIONREAD, &used) != 0 || used <= 0 ||
           (size_t)used + len <= (size_t)size / 4;
}

/* False: not now. */
static bool write_line(struct daemon_log *l, struct slice line)
{
    bool takes;

    pthread_mutex_lock(&l->lock);
    takes = takes_line(l->fd, line.len);
    if (takes && write(l->fd, line.data, line.len) < 0)
        takes = errno != EAGAIN && errno != EINTR; /* else there is nowhere to say it */
    pthread_mutex_unlock(&l->lock);
    return takes;
}

static bool is_closing(struct daemon_log *l)
{
    bool closing;

    pthread_mutex_lock(&l->later_lock);
    closing = l->closing;
    pthread_mutex_unlock(&l->later_lock);
    return closing;
}

/* Waits until all are written, or the log is closed and takes no more. */
static void write_lines(struct daemon_log *l, struct slice lines, int *looks_left)
{
    while (lines.len > 0 && *looks_left > 0) {
        const char *end = memchr(lines.data, '\n', lines.len);
        struct slice line = {lines.data, (size_t)(end - lines.data) + 1};

        if (write_line(l, line)) {
            lines.data += line.len;
            lines.len -= line.len;
            continue;
        }
        if (is_closing(l))
            --*looks_left;
        (void)poll(NULL, 0, LATER_LOOK_MS);
    }
}

__attribute__((format(printf, 3, 4))) static size_t put_own(const struct daemon_log *l, char *line,
                                                            const char *format, ...)
{
    va_list args;
    size_t len;

    va_start(args, format);
    len = put_line(l, CONFIG_WARNING, line, LINE_BYTES, format, args);
    va_end(args);
    return len;
}

static void write_dropped(struct daemon_log *l, uint64_t dropped, int *looks_left)
{
    char line[LINE_BYTES];
    size_t len = put_own(l, line,
                         "lines of workers that were left out here: %llu; they came faster than "
                         "the log took them",
                         (unsigned long long)dropped);

    if (CONFIG_WARNING <= atomic_load(&l->level))
        write_lines(l, (struct slice){line, len}, looks_left);
}

static void *later_main(void *arg)
{
    struct daemon_log *l = arg;
    struct buf lines = {0}, taken;
    int looks_left = LATER_LAST_LOOKS;
    uint64_t dropped;
    bool closing;

    do {
        buf_clear(&lines);
        pthread_mutex_lock(&l->later_lock);
        while (l->later.len == 0 && l->dropped == 0 && !l->closing)
            pthread_cond_wait(&l->came, &l->later_lock);
        closing = l->closing;
        dropped = l->dropped;
        l->dropped = 0;
        taken = l->later;
        l->later = lines;
        lines = taken;
        pthread_mutex_unlock(&l->later_lock);
        write_lines(l, buf_slice(&lines), &looks_left);
        if (dropped > 0)
            write_dropped(l, dropped, &looks_left);
    } while (!closing);
    buf_free(&lines);
    return NULL;
}

/* ---- opening and closing ---- */

static enum weir_status start_thread(struct daemon_log *l, struct weir_error *err)
{
    sigset_t all, before;
    int rc;

    /* Signals are the main thread's. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&l->thread, NULL, later_main, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        return error_set_errno(err, WEIR_E_NOMEM, rc, "cannot start the log's thread");
    l->has_thread = true;
    return WEIR_OK;
}

enum weir_status daemon_log_new(const char *path, enum config_level level, struct daemon_log **ret,
                                struct weir_error *err)
{
    struct daemon_log *l = mem_calloc(1, sizeof *l);
    enum weir_status status = WEIR_OK;

    if (!l)
        return error_nomem(err);
    pthread_mutex_init(&l->lock, NULL);
    pthread_mutex_init(&l->later_lock, NULL);
    pthread_cond_init(&l->came, NULL);
    l->fd = STDERR_FILENO;
    atomic_init(&l->level, (int)level);
    l->by_journal = !path && getenv("JOURNAL_STREAM") != NULL;
    if (path) {
        l->path = mem_strdup(path);
        status = l->path ? open_file(l, &l->fd, err) : error_nomem(err);
    }
    if (status != WEIR_OK)
        l->fd = -1;
    else
        status = start_thread(l, err);
    if (status != WEIR_OK) {
        daemon_log_free(l);
        return status;
    }
    *ret = l;
    return WEIR_OK;
}

void daemon_log_free(struct daemon_log *l)
{
    if (!l)
        return;
    if (l->has_thread) {
        pthread_mutex_lock(&l->later_lock);
        l->closing = true;
        pthread_cond_signal(&l->came);
        pthread_mutex_unlock(&l->later_lock);
        pthread_join(l->thread, NULL);
    }
    if (l->path && l->fd >= 0)
        close(l->fd);
    mem_free(l->path);
    buf_free(&l->later);
    pthread_cond_destroy(&l->came);
    pthread_mutex_destroy(&l->later_lock);
    pthread_mutex_destroy(&l->lock);
    mem_free(l);
}
