/*
 * See submit.h: a file, line by line, as a stream of tasks.
 *
 * A line is a payload, which becomes a task with what the options say, or (--tasks) a task, which
 * goes as it is. A payload is looked at first: what is no JSON would change the task that is put
 * around it. Lines keep their numbers, empty ones go along, so that the daemon's line is the
 * file's.
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
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TELL_NS (NS_PER_S / 5)

struct stream {
    FILE *in;
    const char *name; /* of the file, for messages */
    bool tasks;
    struct buf members; /* that each task has, and its end */
    char *line;         /* getline()'s */
    size_t line_cap;
    struct buf out; /* on its way */
    size_t given;   /* of it */
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

/* False: it is wrong; s->err says why. */
static bool put_line(struct stream *s, struct slice line)
{
    struct json_fault fault;

    if (is_blank(line)) {
        buf_putc(&s->out, '\n');
        return true;
    }
    if (s->tasks) {
        buf_put_slice(&s->out, line);
    } else {
        if (!json_check(line, &fault)) {
            error_set(&s->err, WEIR_E_INVALID, "%s:%" PRIu64 ": not JSON: %s, at byte %zu", s->name,
                      s->number, fault.what, fault.offset);
            return false;
        }
        buf_puts(&s->out, "{\"payload\":");
        buf_put_slice(&s->out, json_trim(line));
        buf_put_slice(&s->out, buf_slice(&s->members));
    }
    buf_putc(&s->out, '\n');
    s->sent++;
    return true;
}

/* The next line into s->out; false: there is none, or it is wrong. */
static bool next_line(struct stream *s)
{
    ssize_t len;

    buf_clear(&s->out);
    s->given = 0;
    errno = 0;
    len = getline(&s->line, &s->line_cap, s->in);
    if (len < 0) {
        if (ferror(s->in) || errno == ENOMEM)
            error_set_errno(&s->err, WEIR_E_INVALID, errno, "%s cannot be read", s->name);
        return false;
    }
    s->number++;
    if (len > 0 && s->line[len - 1] == '\n')
        s->line[--len] = '\0';
    if (!put_line(s, (struct slice){s->line, (size_t)len}))
        return false;
    if (s->out.failed)
        error_nomem(&s->err);
    return !s->out.failed;
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
            /* What comes slowly is passed on as it comes. */
            if ((done > 0 && s->in == stdin) || !next_line(s))
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
    s->in = file && strcmp(file, "-") != 0 ? fopen(file, "re") : stdin;
    if (!s->in)
        return error_set_errno(err, WEIR_E_INVALID, errno, "%s cannot be read", file);
    return s->members.failed ? error_nomem(err) : WEIR_OK;
}

static void close_stream(struct stream *s)
{
    if (s->in && s->in != stdin)
        fclose(s->in);
    free(s->line);
    buf_free(&s->members);
    buf_free(&s->out);
}

void submit_tell_accepted(const struct client *c)
{
    struct slice answer = buf_slice(&c->body);
    _cleanup_buf_ struct buf text = {0};
    int64_t accepted = 0, existing = 0;

    (void)json_int64(view_member(answer, "accepted"), &accepted);
    (void)json_int64(view_member(answer, "existing"), &existing);
    buf_puts(&text, "accepted ");
    text_put_count(&text, (uint64_t)accepted);
    buf_puts(&text, accepted == 1 ? " task" : " tasks");
    if (existing > 0)
        buf_printf(&text, ", %" PRId64 " of them were there already", existing);
    fprintf(stderr, "%s\n", text.data ? text.data : "");
}

int submit_stream(struct client *c, const struct submit_options *o, const char *file,
                  const char *path)
{
    struct stream s = {0};
    struct client_request r = {
        .method = "POST", .path = path, .type = "application/x-ndjson", .give = give, .ctx = &s};
    struct weir_error err = {0};
    enum weir_status status = open_stream(&s, o, file, &err);
    int result;

    if (status == WEIR_OK)
        status = client_send(c, &r, &err);
    tell_progress(&s, true);
    result = status == WEIR_OK ? client_judge(c) : client_complain(c, &err);
    /* What came before the line that is wrong has been taken; the answer says so. */
    if (s.err.status != WEIR_OK) {
        if (result == CLI_OK)
            submit_tell_accepted(c);
        result = client_complain(c, &s.err);
    }
    close_stream(&s);
    return result;
}
