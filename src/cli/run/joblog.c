/*
 * --joblog: the file, which rows it says are done, and its lines on their way there.
 *
 * A line is made on the engine's thread when its row has ended, and written by the main thread; at
 * most what is in between is lost by a crash, and such rows are run again by --resume.
 */
#include "base/error.h"
#include "cli/run/run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Lines that the disk is too slow for. */
#define SPOOL_BYTES_MAX ((size_t)64 << 20)
/* What other programs tell by 127, and parallel in its log: the program could not be run. */
#define EXIT_NOT_RUN 127

static enum weir_status read_log(struct run *r, struct slice text, uint64_t *ret_bytes,
                                 struct weir_error *err)
{
    const struct run_command_options *c = &r->options.command;
    enum weir_status status = WEIR_OK;

    *ret_bytes = 0;
    if (c->resume || c->resume_failed)
        status = joblog_done_read(&r->joblog.done, text, c->resume_failed, ret_bytes, err);
    else if (!joblog_is_one(text))
        status = error_set(err, WEIR_E_CONFLICT,
                           "is not empty, and no job log; it stays as it is: give another name");
    return status == WEIR_OK ? WEIR_OK : error_prefix(err, "--joblog: %s", c->joblog);
}

/* Cuts it to so many bytes: all that stays of an earlier run. */
static enum weir_status begin(struct run *r, uint64_t bytes, struct weir_error *err)
{
    struct buf head = {0};
    struct joblog_file *j = &r->joblog;

    if (ftruncate(j->fd, (off_t)bytes) != 0 && errno != EINVAL)
        return error_set_errno(err, WEIR_E_IO, errno, "--joblog: %s cannot be cut",
                               r->options.command.joblog);
    if (bytes > 0)
        return WEIR_OK;
    joblog_put_head(&head);
    spool_put(&j->spool, buf_slice(&head));
    buf_free(&head);
    return WEIR_OK;
}

enum weir_status joblog_open(struct run *r, struct weir_error *err)
{
    const char *path = r->options.command.joblog;
    struct joblog_file *j = &r->joblog;
    struct slice text = {"", 0};
    struct stat st;
    enum weir_status status;
    uint64_t bytes;

    if (!path)
        return WEIR_OK;
    j->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0666);
    if (j->fd < 0 || fstat(j->fd, &st) != 0)
        return error_set_errno(err, WEIR_E_IO, errno, "--joblog: %s cannot be opened", path);
    if (flock(j->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return error_set(err, WEIR_E_BUSY,
                         "--joblog: %s is being written to by another run; give another name",
                         path);
    if (S_ISREG(st.st_mode) && st.st_size > 0) {
        void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, j->fd, 0);

        if (map == MAP_FAILED)
            return error_set_errno(err, WEIR_E_IO, errno, "--joblog: %s cannot be read", path);
        text = (struct slice){map, (size_t)st.st_size};
    }
    spool_init(&j->spool, SPOOL_BYTES_MAX, r->wake_fd);
    j->open = true;
    status = read_log(r, text, &bytes, err);
    if (text.len > 0)
        (void)munmap((void *)(uintptr_t)text.data, text.len);
    return status == WEIR_OK ? begin(r, bytes, err) : status;
}

static struct joblog_entry entry_of(const struct run *r, const struct core_task *t,
                                    const struct command_row *row)
{
    const struct core_answer *a = &t->answer;
    struct joblog_entry e = {.seq = t->index + 1,
                             .start_ns = engine_wall_ns(r->engine, a->started_at),
                             .sent_bytes = row->input.len,
                             .received_bytes = a->output_len,
                             .exit_code = a->status >= 0 ? a->status : 0,
                             .signal = a->status < 0 ? -a->status : 0};

    if (!instant_is_none(a->started_at) && !instant_is_none(a->ended_at))
        e.run_ns = instant_diff(a->ended_at, a->started_at);
    if (a->reason == WEIR_REASON_START_FAILED)
        e.exit_code = EXIT_NOT_RUN;
    else if (a->outcome != WEIR_OUTCOME_OK && a->status == 0)
        e.exit_code = -1; /* ended before its time, with no code of its own */
    else if (a->outcome == WEIR_OUTCOME_TIMEOUT || a->outcome == WEIR_OUTCOME_CANCELLED)
        e.exit_code = -1;
    return e;
}

void joblog_finished(struct run *r, const struct core_task *task)
{
    struct joblog_file *j = &r->joblog;
    const struct run_row *row = (const struct run_row *)(const void *)task;
    const struct command_row *c = row->bad ? NULL : (const struct command_row *)(const void *)row;
    struct joblog_entry e;
    struct weir_error err;

    if (!j->open || !c || task->attempts == 0)
        return;
    e = entry_of(r, task, c);
    buf_clear(&j->command);
    buf_clear(&j->line);
    if (command_put_line(r, &j->argv, c, &j->command, &err) != WEIR_OK)
        buf_clear(&j->command); /* memory is short: the line goes without it */
    e.command = buf_slice(&j->command);
    joblog_put(&j->line, &e);
    spool_put(&j->spool, buf_slice(&j->line));
}

void joblog_drain(struct run *r)
{
    struct joblog_file *j = &r->joblog;
    size_t done = 0;

    if (!j->open || j->errnum || !spool_take(&j->spool, &j->taken))
        return;
    while (done < j->taken.len) {
        ssize_t n = write(j->fd, j->taken.data + done, j->taken.len - done);

        if (n > 0) {
            done += (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            j->errnum = n == 0 ? ENOSPC : errno;
            return;
        }
    }
}

enum weir_status joblog_close(struct run *r, struct weir_error *err)
{
    struct joblog_file *j = &r->joblog;
    enum weir_status status = WEIR_OK;

    if (j->open) {
        joblog_drain(r);
        if (j->errnum)
            status =
                error_set_errno(err, WEIR_E_IO, j->errnum,
                                "--joblog: %s lacks rows that have ended: it cannot be written",
                                r->options.command.joblog);
        else if (spool_dropped(&j->spool) > 0)
            status = error_set(err, WEIR_E_IO,
                               "--joblog: %s lacks rows that have ended: the disk is too slow",
                               r->options.command.joblog);
        spool_free(&j->spool);
    }
    if (j->fd >= 0 && close(j->fd) != 0 && status == WEIR_OK && j->open)
        status = error_set_errno(err, WEIR_E_IO, errno, "--joblog: %s cannot be written",
                                 r->options.command.joblog);
    joblog_done_free(&j->done);
    argvec_free(&j->argv);
    buf_free(&j->command);
    buf_free(&j->line);
    buf_free(&j->taken);
    j->open = false;
    j->fd = -1;
    return status;
}
