/*
 * See submit.h: a file, line by line, as a stream of tasks.
 *
 * A line is a payload, which becomes a task with what the options say, or (--tasks) a task, which
 * goes as it is. A payload is looked at first: what is no JSON would change the task that is put
 * around it. Lines keep their numbers, empty ones go along, so that the daemon's line is the
 * file's.
 *
 * A regular file is read twice: all of it is looked at before anything is sent. What cannot be read
 * again (a pipe) is checked as it goes, but its first line before that, so that nothing is made for
 * what is wrong from the start.
 */
#include "cli/client/submit.h"

#include "base/error.h"
#include "base/json.h"
#include "cli/client/problem.h"
#include "cli/client/request.h"
#include "cli/client/view.h"
#include "cli/commands.h"
#include "cli/output/text.h"
#include "loop/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TELL_NS (NS_PER_S / 5)
/* Empty lines that are held until the first of another kind has come. */
#define EMPTY_BYTES_MAX 65536

/* Members of the answer that a problem has, too. */
static const char *const told_of_answer[] = {"accepted", "existing", "ranges", "ranges_cut"};

/* Read of the file at once. */
#define READ_BYTES ((size_t)256 << 10)

struct stream {
    int fd;
    struct buf read; /* of the file, and not taken yet: */
    size_t read_at;
    bool read_all;
    const char *name; /* of the file, for messages */
    bool tasks;
    bool checking;      /* nothing has been sent yet */
    struct buf members; /* that each task has, and its end */
    struct buf out;     /* on its way */
    size_t given;       /* of it */
    uint64_t number, sent;
    struct weir_error err; /* why it ended early */
    bool tty;
    int64_t told_ns;
};

static void tell_progress(struct stream *s, bool last)
{
    int64_t now_ns = loop_wall_clock_ns();
    _cleanup_buf_ struct buf text = {0};

    if (!s->tty || (!last && now_ns - s->told_ns < TELL_NS && now_ns >= s->told_ns))
        return;
    s->told_ns = now_ns;
    buf_puts(&text, "\r");
    text_put_count(&text, s->sent);
    buf_printf(&text, " tasks sent%s", last ? "\033[K\r" : "\033[K");
    fputs(text.data ? text.data : "", stderr);
}

static bool is_blank(struct slice line)
{
    return strspn(line.data, " \t\r") == line.len;
}

/* False: s->err says why. */
static bool check_json(struct stream *s, struct slice line)
{
    struct json_fault fault;

    if (json_check(line, &fault))
        return true;
    error_set(&s->err, WEIR_E_INVALID, "%s:%" PRIu64 ": not JSON: %s, at byte %zu", s->name,
              s->number, fault.what, fault.offset);
    return false;
}

/* Before anything is sent; what is sent is s->out from byte `from` on. False: s->err says why. */
static bool check_task(struct stream *s, size_t from)
{
    struct slice task = {s->out.data + from, s->out.len - from};

    if (s->out.failed)
        return true; /* that is said elsewhere */
    /* A payload, too, may be too deep only with the task around it. */
    if (!check_json(s, task))
        return false;
    if (json_kind(task) == JSON_OBJECT)
        return true;
    error_set(&s->err, WEIR_E_INVALID, "%s:%" PRIu64 ": a task is an object", s->name, s->number);
    return false;
}

/* False: it is wrong; s->err says why. */
static bool put_line(struct stream *s, struct slice line)
{
    size_t from = s->out.len;

    if (is_blank(line)) {
        buf_putc(&s->out, '\n');
        return true;
    }
    if (s->tasks) {
        buf_put_slice(&s->out, line);
    } else {
        if (!check_json(s, line))
            return false;
        buf_puts(&s->out, "{\"payload\":");
        buf_put_slice(&s->out, json_trim(line));
        buf_put_slice(&s->out, buf_slice(&s->members));
    }
    if (s->checking && !check_task(s, from))
        return false;
    buf_putc(&s->out, '\n');
    s->sent++;
    return true;
}

/* Behind the next line that has been read; 0: there is no whole one. The last one needs no line break. */
static size_t line_end(const struct stream *s)
{
    size_t left = s->read.len - s->read_at;
    const char *found = left > 0 ? memchr(s->read.data + s->read_at, '\n', left) : NULL;

    if (found)
        return (size_t)(found - s->read.data) + 1;
    return s->read_all && left > 0 ? s->read.len : 0;
}

/* More of the file; false: there is none, or s->err says why. */
static bool read_more(struct stream *s)
{
    size_t rest = s->read.len - s->read_at;
    ssize_t n;

    if (s->read_at > 0) {
        memmove(s->read.data, s->read.data + s->read_at, rest);
        s->read.len = rest;
        s->read_at = 0;
    }
    if (!buf_reserve(&s->read, READ_BYTES)) {
        error_nomem(&s->err);
        return false;
    }
    do
        n = read(s->fd, s->read.data + s->read.len, READ_BYTES);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        error_set_errno(&s->err, WEIR_E_INVALID, errno, "%s cannot be read", s->name);
    s->read_all = n == 0;
    s->read.len += n > 0 ? (size_t)n : 0;
    s->read.data[s->read.len] = '\0';
    return n >= 0;
}

/* The next line behind s->out; false: there is none, or it is wrong. */
static bool next_line(struct stream *s)
{
    struct slice line;
    size_t end;

    while (!(end = line_end(s)))
        if (s->read_all || !read_more(s))
            return false;
    line = (struct slice){s->read.data + s->read_at, end - s->read_at};
    s->read_at = end;
    s->number++;
    if (line.data[line.len - 1] == '\n')
        line.len--;
    if (!put_line(s, line))
        return false;
    if (s->out.failed)
        error_nomem(&s->err);
    return !s->out.failed;
}

/* The file, when what has been read is given; -1: it is not read for the next line. */
static int waits_for(void *ctx)
{
    struct stream *s = ctx;

    if (s->err.status != WEIR_OK || s->read_all || s->given < s->out.len || line_end(s) > 0)
        return -1;
    return s->fd;
}

static size_t give(void *ctx, char *into, size_t size)
{
    struct stream *s = ctx;
    size_t done = 0;

    if (s->err.status != WEIR_OK)
        return 0;
    while (done < size) {
        size_t left = s->out.len - s->given;
        size_t part = left < size - done ? left : size - done;

        if (left == 0) {
            buf_clear(&s->out);
            s->given = 0;
            /* What comes slowly is passed on as it comes. */
            if ((done > 0 && s->fd == STDIN_FILENO) || !next_line(s))
                break;
            continue;
        }
        memcpy(into + done, s->out.data + s->given, part);
        s->given += part;
        done += part;
    }
    tell_progress(s, false);
    return done;
}

/* ---- before anything is sent ---- */

/* Back to where reading began, when all lines are good. False: s->err says why. */
static bool check_file(struct stream *s, off_t from)
{
    while (next_line(s))
        buf_clear(&s->out);
    buf_clear(&s->out);
    s->number = 0;
    s->sent = 0;
    buf_clear(&s->read);
    s->read_at = 0;
    s->read_all = false;
    if (s->err.status == WEIR_OK && lseek(s->fd, from, SEEK_SET) < 0)
        error_set_errno(&s->err, WEIR_E_INVALID, errno, "%s cannot be read again", s->name);
    return s->err.status == WEIR_OK;
}

/* False: nothing is to be sent; s->err says why. */
static bool check_stream(struct stream *s)
{
    struct stat st;
    off_t from = lseek(s->fd, 0, SEEK_CUR);

    s->checking = true;
    if (from >= 0 && fstat(s->fd, &st) == 0 && S_ISREG(st.st_mode)) {
        (void)check_file(s, from);
    } else {
        while (s->sent == 0 && s->out.len < EMPTY_BYTES_MAX && next_line(s))
            ;
    }
    s->checking = false;
    return s->err.status == WEIR_OK;
}

static enum weir_status open_stream(struct stream *s, const struct submit_options *o,
                                    const char *file, struct weir_error *err)
{
    enum weir_status status;

    s->tasks = o->tasks;
    s->tty = isatty(STDERR_FILENO);
    s->name = file && strcmp(file, "-") != 0 ? file : "standard input";
    status = submit_put_members(o, &s->members, err);
    if (status != WEIR_OK)
        return status;
    buf_putc(&s->members, '}');
    s->fd = file && strcmp(file, "-") != 0 ? open(file, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    if (s->fd < 0)
        return error_set_errno(err, WEIR_E_INVALID, errno, "%s cannot be read", file);
    return s->members.failed ? error_nomem(err) : WEIR_OK;
}

static void close_stream(struct stream *s)
{
    if (s->fd > STDIN_FILENO)
        close(s->fd);
    buf_free(&s->read);
    buf_free(&s->members);
    buf_free(&s->out);
}

static void tell_count(uint64_t accepted, int64_t existing)
{
    _cleanup_buf_ struct buf text = {0};

    buf_puts(&text, "accepted ");
    text_put_count(&text, accepted);
    buf_puts(&text, accepted == 1 ? " task" : " tasks");
    if (existing > 0)
        buf_printf(&text, ", %" PRId64 " of them were there already", existing);
    fprintf(stderr, "%s\n", text.data ? text.data : "");
}

void submit_tell_count(uint64_t accepted)
{
    tell_count(accepted, 0);
}

void submit_tell_accepted(const struct client *c)
{
    struct slice answer = buf_slice(&c->body);
    int64_t accepted = 0, existing = 0;

    (void)json_int64(view_member(answer, "accepted"), &accepted);
    (void)json_int64(view_member(answer, "existing"), &existing);
    tell_count((uint64_t)accepted, existing);
}

/* The lines before the one that is wrong have been taken; the answer in c->body says which. */
static int tell_cut(struct client *c, const struct submit_options *o, const struct stream *s)
{
    struct slice answer = buf_slice(&c->body), value;
    _cleanup_buf_ struct buf problem = {0};

    buf_puts(&problem, "{\"title\":\"Not all was submitted\",\"detail\":");
    json_put_string(&problem, slice_of(s->err.message));
    buf_printf(&problem, ",\"line\":%" PRIu64, s->number);
    if (json_member(answer, "id", &value)) {
        buf_puts(&problem, ",\"batch\":");
        buf_put_slice(&problem, json_trim(value));
        buf_printf(&problem, ",\"batch_open\":%s", o->open ? "true" : "false");
    }
    for (size_t i = 0; i < sizeof told_of_answer / sizeof *told_of_answer; i++) {
        if (!json_member(answer, told_of_answer[i], &value))
            continue;
        buf_printf(&problem, ",\"%s\":", told_of_answer[i]);
        buf_put_slice(&problem, json_trim(value));
    }
    buf_putc(&problem, '}');
    if (problem.failed)
        return client_complain(c, &s->err);
    problem_tell_cut(c, buf_slice(&problem));
    return s->err.status == WEIR_E_INVALID ? CLI_USAGE : CLI_FAILED;
}

static int send_stream(struct client *c, const struct submit_options *o, struct stream *s,
                       const char *path)
{
    struct client_request r = {.method = "POST",
                               .path = path,
                               .type = "application/x-ndjson",
                               .give = give,
                               .waits_for = waits_for,
                               .ctx = s};
    struct weir_error err = {0};
    enum weir_status status = client_send(c, &r, &err);
    int result;

    tell_progress(s, true);
    result = status == WEIR_OK ? client_judge(c) : client_complain(c, &err);
    if (s->err.status == WEIR_OK)
        return result;
    return result == CLI_OK ? tell_cut(c, o, s) : client_complain(c, &s->err);
}

int submit_stream(struct client *c, const struct submit_options *o, const char *file,
                  const char *path)
{
    struct stream s = {.fd = -1};
    struct weir_error err = {0};
    int result;

    if (open_stream(&s, o, file, &err) != WEIR_OK) {
        result = client_complain(c, &err);
    } else if (!check_stream(&s)) {
        result = client_complain(c, &s.err);
        fprintf(stderr, "%s: nothing has been submitted\n", c->name);
    } else {
        result = send_stream(c, o, &s, path);
    }
    close_stream(&s);
    return result;
}
