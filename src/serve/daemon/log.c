#include "serve/daemon/log.h"

#include "base/error.h"
#include "base/mem.h"
#include "loop/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES 4096

struct daemon_log {
    pthread_mutex_t lock;
    char *path; /* NULL: standard error */
    int fd;
    enum config_level level;
    bool by_journal; /* it says the time itself, and reads "<4>" as a level (sd-daemon(3)) */
};

static enum weir_status open_file(struct daemon_log *l, int *ret, struct weir_error *err)
{
    int fd = open(l->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);

    if (fd < 0)
        return error_set_errno(err, WEIR_E_IO, errno, "cannot open the log %s", l->path);
    *ret = fd;
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
    l->fd = STDERR_FILENO;
    l->level = level;
    l->by_journal = !path && getenv("JOURNAL_STREAM") != NULL;
    if (path) {
        l->path = mem_strdup(path);
        status = l->path ? open_file(l, &l->fd, err) : error_nomem(err);
    }
    if (status != WEIR_OK) {
        l->fd = -1;
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
    if (l->path && l->fd >= 0)
        close(l->fd);
    mem_free(l->path);
    pthread_mutex_destroy(&l->lock);
    mem_free(l);
}

void daemon_log_level(struct daemon_log *l, enum config_level level)
{
    pthread_mutex_lock(&l->lock);
    l->level = level;
    pthread_mutex_unlock(&l->lock);
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

void daemon_log(struct daemon_log *l, enum config_level level, const char *format, ...)
{
    char line[LINE_BYTES];
    size_t head, len;
    va_list args;

    pthread_mutex_lock(&l->lock);
    if (level <= l->level) {
        head = put_head(l, level, line, sizeof line);
        va_start(args, format);
        (void)vsnprintf(line + head, sizeof line - head - 1, format, args);
        va_end(args);
        len = strlen(line);
        for (size_t i = head; i < len; i++)
            if (line[i] == '\n')
                line[i] = ' ';
        line[len++] = '\n';
        if (write(l->fd, line, len) < 0)
            (void)0; /* there is nowhere to say it */
    }
    pthread_mutex_unlock(&l->lock);
}
