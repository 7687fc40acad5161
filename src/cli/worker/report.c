/* See report.h. */
#include "cli/worker/report.h"

#include "base/json.h"

#include <string.h>

/* What a person sees of the worker's standard error. JSON has all that was kept. */
#define SHOWN_LINES 10

static const char *const words[] = {
    [CHECK_OK] = "ok", [CHECK_FAIL] = "FAIL", [CHECK_SKIP] = "skip"};
static const char *const names[] = {
    [CHECK_OK] = "ok", [CHECK_FAIL] = "failed", [CHECK_SKIP] = "skipped"};

void report_begin(struct report *rep, struct buf *out, const struct worker_options *o)
{
    if (!rep->json)
        return;
    buf_puts(out, "{\"worker\":");
    json_put_string(out, slice_of(o->line));
    buf_puts(out, ",\"checks\":[");
}

static void put_json(struct report *rep, struct buf *out, const struct check *c,
                     const struct check_result *result)
{
    size_t before = rep->counts[CHECK_OK] + rep->counts[CHECK_FAIL] + rep->counts[CHECK_SKIP];

    buf_printf(out, "%s{\"name\":\"%s\",\"what\":\"%s\",\"verdict\":\"%s\",\"text\":",
               before > 0 ? "," : "", c->name, c->what, names[result->verdict]);
    json_put_string(out, result->text);
    buf_printf(out, ",\"duration_ms\":%.1f}", duration_ms(result->took_ns));
}

void report_result(struct report *rep, struct buf *out, const struct check *c,
                   const struct check_result *result)
{
    if (rep->json) {
        put_json(rep, out, c, result);
    } else {
        buf_printf(out, "%-5s %-9s %s", words[result->verdict], c->name, c->what);
        if (result->text.len > 0) {
            buf_puts(out, result->verdict == CHECK_FAIL ? ": " : " (");
            buf_put_slice(out, result->text);
            buf_puts(out, result->verdict == CHECK_FAIL ? "" : ")");
        }
        buf_putc(out, '\n');
    }
    rep->counts[result->verdict]++;
}

/* The first lines, what is not printable replaced: it goes to a terminal. */
static void put_said(struct buf *out, const struct candidate *p)
{
    const char *at = p->said.data, *end = at + p->said.len;
    size_t lines = 0;

    for (; at < end && lines < SHOWN_LINES; lines++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));

        if (!stop)
            stop = end;
        buf_puts(out, "    ");
        for (; at < stop; at++)
            buf_putc(out, (unsigned char)*at < 0x20 || *at == 0x7F ? '?' : *at);
        buf_putc(out, '\n');
        at = stop < end ? stop + 1 : end;
    }
    if (at < end || p->said_bytes > p->said.len)
        buf_printf(out, "    ... (%llu bytes in all)\n", (unsigned long long)p->said_bytes);
}

void report_end(struct report *rep, struct buf *out, const struct check_run *r)
{
    const struct candidate *p = r->candidate;

    if (rep->json) {
        buf_printf(out,
                   "],\"ok\":%s,\"passed\":%zu,\"failed\":%zu,\"skipped\":%zu,\"max_in_flight\":%u,"
                   "\"stderr_bytes\":%llu,\"stderr\":",
                   rep->counts[CHECK_FAIL] == 0 ? "true" : "false", rep->counts[CHECK_OK],
                   rep->counts[CHECK_FAIL], rep->counts[CHECK_SKIP],
                   r->max_in_flight > 0 ? r->max_in_flight : 1, (unsigned long long)p->said_bytes);
        json_put_string(out, buf_slice(&p->said));
        buf_puts(out, "}\n");
        return;
    }
    if (p->said_bytes > 0) {
        buf_puts(out, "It wrote to standard error, which is its own and goes to the log:\n");
        put_said(out, p);
    }
    buf_printf(out, "%zu ok, %zu failed, %zu skipped\n", rep->counts[CHECK_OK],
               rep->counts[CHECK_FAIL], rep->counts[CHECK_SKIP]);
}
