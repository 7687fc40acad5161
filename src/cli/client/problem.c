#include "cli/client/problem.h"

#include "base/json.h"
#include "cli/client/view.h"
#include "cli/commands.h"

#include <inttypes.h>
#include <stdio.h>

#define RANGES_TOLD_MAX 20

void problem_put_ranges(struct buf *out, struct slice ranges)
{
    struct json_iter it;
    struct slice key, pair;
    size_t told = 0;

    json_iter_init(&it, ranges);
    while (json_iter_next(&it, &key, &pair)) {
        struct json_iter ends;
        struct slice number;
        int64_t first = 0, last = 0;

        json_iter_init(&ends, pair);
        if (!json_iter_next(&ends, &key, &number) || !json_int64(number, &first) ||
            !json_iter_next(&ends, &key, &number) || !json_int64(number, &last))
            continue;
        if (told++ == RANGES_TOLD_MAX) {
            buf_puts(out, ", ...");
            return;
        }
        buf_printf(out, "%s%" PRId64, told > 1 ? ", " : "", first);
        if (last != first)
            buf_printf(out, "-%" PRId64, last);
    }
}

/* Each on a line, but what the detail says already. */
static void put_errors(struct buf *out, struct slice problem, struct slice detail)
{
    struct json_iter it;
    struct slice errors, key, one;

    if (!json_member(problem, "errors", &errors))
        return;
    json_iter_init(&it, errors);
    while (json_iter_next(&it, &key, &one)) {
        _cleanup_buf_ struct buf line = {0};

        view_put_text(&line, view_member(one, "where"));
        if (line.len > 0)
            buf_puts(&line, ": ");
        view_put_text(&line, view_member(one, "message"));
        if (line.len > 0 && !memmem(detail.data, detail.len, line.data, line.len))
            buf_printf(out, "  %s\n", line.data ? line.data : "");
    }
}

/* What a reload could not change, but for what the detail says already; and what it did. */
static void put_changes(struct buf *out, struct slice problem, struct slice detail)
{
    static const char *const kinds[] = {"failed", "changed"};

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct json_iter it;
        struct slice list, key, one;

        if (!json_member(problem, kinds[i], &list))
            continue;
        json_iter_init(&it, list);
        while (json_iter_next(&it, &key, &one)) {
            _cleanup_buf_ struct buf line = {0};

            view_put_text(&line, one);
            if (line.len > 0 && !memmem(detail.data, detail.len, line.data, line.len))
                buf_printf(out, "  %s: %s\n", i == 0 ? "failed" : "applied", line.data);
        }
    }
}

static void put_line(struct buf *out, struct slice problem, struct slice detail)
{
    struct slice value;
    int64_t n;

    if (json_member(problem, "line", &value) && json_int64(value, &n) &&
        (detail.len < 4 || memcmp(detail.data, "line", 4) != 0))
        buf_printf(out, "  line %" PRId64 "\n", n);
}

/* What a stream left behind. */
static void put_accepted(struct buf *out, struct slice problem)
{
    struct slice value;
    int64_t n, accepted = 0;

    if (json_member(problem, "accepted", &value) && json_int64(value, &n)) {
        accepted = n;
        buf_printf(out, "  accepted all the same: %" PRId64 " tasks", n);
        if (n > 0 && json_member(problem, "ranges", &value)) {
            buf_puts(out, ": ");
            problem_put_ranges(out, value);
        }
        buf_putc(out, '\n');
    }
    if (!json_member(problem, "batch", &value) || !json_int64(value, &n))
        return;
    if (slice_equal(view_member(problem, "batch_open"), SLICE("false")))
        buf_printf(out, "  batch %" PRId64 " has %" PRId64 " tasks and takes no more\n", n,
                   accepted);
    else
        buf_printf(out, "  batch %" PRId64 " is open\n", n);
}

static void put_problem(struct buf *out, const struct client *c, struct slice problem)
{
    _cleanup_buf_ struct buf detail = {0};

    view_put_text(&detail, view_member(problem, "detail"));
    buf_printf(out, "%s: ", c->name);
    view_put_text(out, view_member(problem, "title"));
    if (detail.len > 0)
        buf_printf(out, ": %s", detail.data);
    if (c->status == 401)
        buf_puts(out, c->token.len > 0 ? " (the token is that of --token-file or WEIR_API_TOKEN)"
                                       : "; give a token with --token-file or WEIR_API_TOKEN");
    buf_putc(out, '\n');
    put_errors(out, problem, buf_slice(&detail));
    put_changes(out, problem, buf_slice(&detail));
    put_line(out, problem, buf_slice(&detail));
    put_accepted(out, problem);
}

int problem_tell(const struct client *c)
{
    _cleanup_buf_ struct buf text = {0};
    struct slice problem = buf_slice(&c->body);
    struct slice title;

    if (!json_check(problem, NULL) || !json_member(problem, "title", &title)) {
        buf_printf(&text, "%s: %s answers with status %ld, and not as a daemon of weir's does\n",
                   c->name, c->address.data, c->status);
    } else if (c->o->json) {
        json_put_oneline(&text, problem);
        buf_putc(&text, '\n');
    } else {
        put_problem(&text, c, problem);
    }
    fputs(text.data ? text.data : "weir: out of memory\n", stderr);
    return c->status == 400 || c->status == 413 || c->status == 422 ? CLI_USAGE : CLI_FAILED;
}

void problem_tell_cut(const struct client *c, struct slice problem)
{
    _cleanup_buf_ struct buf text = {0};

    if (c->o->json) {
        json_put_oneline(&text, problem);
        buf_putc(&text, '\n');
    } else {
        buf_printf(&text, "%s: ", c->name);
        view_put_text(&text, view_member(problem, "detail"));
        buf_putc(&text, '\n');
        put_accepted(&text, problem);
    }
    fputs(text.data ? text.data : "weir: out of memory\n", stderr);
}
