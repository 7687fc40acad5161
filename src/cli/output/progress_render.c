/*
 * The pure half of progress.h: rates from snapshots, and text from both.
 *
 * A line of the display is a row of segments, each with a rank. What does not fit in the width
 * goes, the highest rank first, so that a narrow terminal still shows what matters.
 */
#include "cli/output/progress.h"

#include "base/json.h"
#include "cli/output/pace.h"
#include "cli/output/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define FAST_S 5.0
#define SLOW_S 30.0
/* Below this a rate says nothing about the end. */
#define ETA_RATE_MIN 1e-6

#define SEGMENTS_MAX  8
#define SEGMENT_BYTES 80
#define BAR_WIDTH_MIN 8
#define BAR_WIDTH_MAX 40

#define COLOUR_NONE   ""
#define COLOUR_RED    "\033[31m"
#define COLOUR_GREEN  "\033[32m"
#define COLOUR_YELLOW "\033[33m"
#define COLOUR_END    "\033[0m"

/* ---- rates ---- */

static void ewma_add(struct progress_ewma *e, double value, double seconds, double constant_s)
{
    double keep = exp(-seconds / constant_s);

    e->sum = e->sum * keep + value * (1 - keep);
    e->weight = e->weight * keep + (1 - keep);
}

static double ewma_value(const struct progress_ewma *e)
{
    return e->weight > 0 ? e->sum / e->weight : 0;
}

static double per_second(uint64_t now, uint64_t before, double seconds)
{
    return now > before ? (double)(now - before) / seconds : 0;
}

void progress_rates_update(struct progress_rates *r, const struct progress_snapshot *s)
{
    double seconds;

    if (r->primed) {
        seconds = duration_seconds(instant_diff(s->now, r->at));
        if (seconds <= 0)
            return;
        ewma_add(&r->rows_fast, per_second(s->done, r->done, seconds), seconds, FAST_S);
        ewma_add(&r->rows_slow, per_second(s->done, r->done, seconds), seconds, SLOW_S);
        ewma_add(&r->sent, per_second(s->attempts, r->attempts, seconds), seconds, FAST_S);
        ewma_add(&r->refusals, per_second(s->refused, r->refused, seconds), seconds, FAST_S);
    }
    r->primed = true;
    r->at = s->now;
    r->done = s->done;
    r->attempts = s->attempts;
    r->refused = s->refused;
}

double progress_rate(const struct progress_rates *r)
{
    return ewma_value(&r->rows_fast);
}

double progress_refused_share(const struct progress_rates *r)
{
    double sent = ewma_value(&r->sent);
    double share = sent > 0 ? ewma_value(&r->refusals) / sent : 0;

    return share < 1 ? share : 1;
}

double progress_mean_rate(const struct progress_snapshot *s)
{
    double seconds = duration_seconds(s->elapsed_ns);

    return seconds > 0 && s->done > s->done_before ? (double)(s->done - s->done_before) / seconds
                                                   : 0;
}

duration_ns progress_eta(const struct progress_rates *r, const struct progress_snapshot *s)
{
    double rate = ewma_value(&r->rows_slow);

    if (!s->total_known)
        return -1;
    if (s->done >= s->total)
        return 0;
    if (rate < ETA_RATE_MIN)
        return -1;
    return duration_from_seconds((double)(s->total - s->done) / rate);
}

/* ---- segments ---- */

struct segment {
    char text[SEGMENT_BYTES];
    const char *colour;
    int rank; /* 0 stays longest */
};

struct line {
    struct segment segments[SEGMENTS_MAX];
    size_t count;
};

static void add(struct line *l, int rank, const char *colour, struct buf *text)
{
    struct segment *segment;

    if (l->count == SEGMENTS_MAX || text->failed || text->len == 0)
        return;
    segment = &l->segments[l->count++];
    segment->colour = colour;
    segment->rank = rank;
    snprintf(segment->text, sizeof(segment->text), "%s", text->data);
    buf_clear(text);
}

static size_t line_width(const struct line *l)
{
    size_t width = 0;

    for (size_t i = 0; i < l->count; i++)
        width += strlen(l->segments[i].text) + (i ? 2 : 0);
    return width;
}

static void drop_highest(struct line *l)
{
    size_t worst = 0;

    for (size_t i = 1; i < l->count; i++) {
        if (l->segments[i].rank >= l->segments[worst].rank)
            worst = i;
    }
    memmove(&l->segments[worst], &l->segments[worst + 1],
            (l->count - worst - 1) * sizeof(l->segments[0]));
    l->count--;
}

static void put_line(struct line *l, size_t width, bool colour, struct buf *out)
{
    while (l->count > 1 && line_width(l) > width)
        drop_highest(l);
    for (size_t i = 0; i < l->count; i++) {
        const struct segment *segment = &l->segments[i];
        bool coloured = colour && segment->colour[0];
        size_t len = strlen(segment->text);

        buf_puts(out, i ? "  " : "");
        buf_puts(out, coloured ? segment->colour : "");
        buf_put(out, segment->text, len < width ? len : width);
        buf_puts(out, coloured ? COLOUR_END : "");
    }
    buf_putc(out, '\n');
}

static double share_done(const struct progress_snapshot *s)
{
    if (!s->total_known)
        return 0;
    if (s->total == 0 || s->done >= s->total)
        return 1;
    return (double)s->done / (double)s->total;
}

static void put_bar(double share, size_t width, struct buf *out)
{
    size_t inside = width - 2;
    size_t full = (size_t)(share * (double)inside);

    buf_putc(out, '[');
    for (size_t i = 0; i < inside; i++)
        buf_putc(out, i < full ? '=' : i == full && share > 0 ? '>' : ' ');
    buf_putc(out, ']');
}

static const char *phase_name(enum progress_phase phase)
{
    static const char *const names[] = {
        [PROGRESS_CHECKING] = "checking", [PROGRESS_RUNNING] = "running",
        [PROGRESS_STOPPING] = "stopping", [PROGRESS_CANCELLING] = "cancelling",
        [PROGRESS_DONE] = "done",
    };

    return names[phase];
}

static void add_named(struct line *l, int rank, const char *colour, struct buf *text,
                      const char *name, uint64_t n)
{
    buf_printf(text, "%s ", name);
    text_put_count(text, n);
    add(l, rank, colour, text);
}

/* ---- the display ---- */

static void done_line(const struct progress_rates *r, const struct progress_snapshot *s,
                      size_t width, struct line *l, struct buf *text)
{
    duration_ns eta = progress_eta(r, s);
    size_t used;

    if (s->phase != PROGRESS_RUNNING && s->phase != PROGRESS_DONE) {
        buf_puts(text, phase_name(s->phase));
        add(l, 1, COLOUR_YELLOW, text);
    }
    text_put_count(text, s->done);
    if (s->total_known) {
        buf_putc(text, '/');
        text_put_count(text, s->total);
    }
    buf_puts(text, " rows");
    add(l, 0, COLOUR_NONE, text);
    if (s->total_known) {
        text_put_share(text, share_done(s));
        add(l, 2, COLOUR_NONE, text);
    }
    buf_puts(text, "elapsed ");
    text_put_duration(text, s->elapsed_ns);
    add(l, 5, COLOUR_NONE, text);
    if (eta >= 0 && s->phase == PROGRESS_RUNNING) {
        buf_puts(text, "eta ");
        text_put_duration(text, eta);
        add(l, 3, COLOUR_NONE, text);
    }
    used = line_width(l) + 2;
    if (s->total_known && used + BAR_WIDTH_MIN <= width && l->count < SEGMENTS_MAX) {
        size_t bar = width - used < BAR_WIDTH_MAX ? width - used : BAR_WIDTH_MAX;

        put_bar(share_done(s), bar, text);
        add(l, 6, COLOUR_GREEN, text);
        /* The bar stands first. */
        struct segment last = l->segments[l->count - 1];

        memmove(&l->segments[1], &l->segments[0], (l->count - 1) * sizeof(l->segments[0]));
        l->segments[0] = last;
    }
}

static void flow_line(const struct progress_rates *r, const struct progress_snapshot *s,
                      struct line *l, struct buf *text)
{
    buf_puts(text, "rate ");
    text_put_rate(text, progress_rate(r));
    buf_puts(text, "/s");
    add(l, 0, COLOUR_NONE, text);
    buf_puts(text, "mean ");
    text_put_rate(text, progress_mean_rate(s));
    buf_puts(text, "/s");
    add(l, 3, COLOUR_NONE, text);
    buf_puts(text, "refused ");
    text_put_share(text, progress_refused_share(r));
    add(l, 1, COLOUR_NONE, text);
}

/* Whether it is worth a look: not the steady state of a throttle that has found its rate. */
static bool is_troubled(const struct progress_snapshot *s)
{
    return s->pace.mode == THROTTLE_MODE_OUTAGE ||
           (s->pace.mode == THROTTLE_MODE_DELAY && s->pace.delay_ns > 0);
}

/* How the pool runs now, and why. A pause that the service asked for goes before all else. */
static void throttle_line(const struct progress_snapshot *s, struct line *l, struct buf *text)
{
    if (s->held_ns > 0) {
        buf_puts(text, "the service asks to wait ");
        text_put_duration(text, s->held_ns);
        add(l, 0, COLOUR_YELLOW, text);
    }
    if (!s->throttle)
        return;
    pace_put_limit(text, &s->pace);
    add(l, 1, is_troubled(s) ? COLOUR_YELLOW : COLOUR_NONE, text);
    pace_put_why(text, &s->pace, s->now);
    add(l, 2, COLOUR_NONE, text);
    buf_printf(text, "throttle %.20s", s->throttle);
    add(l, 3, COLOUR_NONE, text);
}

static void count_line(const struct progress_snapshot *s, struct line *l, struct buf *text)
{
    add_named(l, 0, s->failed ? COLOUR_RED : COLOUR_NONE, text, "failed", s->failed);
    add_named(l, 1, COLOUR_NONE, text, "in flight", s->in_flight);
    if (s->waiting > 0)
        add_named(l, 2, COLOUR_NONE, text, "waiting", s->waiting);
    if (s->retries > 0)
        add_named(l, 4, COLOUR_NONE, text, "retries", s->retries);
    if (s->done > s->delivered)
        add_named(l, 3, COLOUR_NONE, text, "held for order", s->done - s->delivered);
    if (s->tokens > 0)
        add_named(l, 5, COLOUR_NONE, text, "tokens", s->tokens);
}

void progress_render_tty(const struct progress_rates *r, const struct progress_snapshot *s,
                         size_t width, bool colour, struct buf *out)
{
    struct line l = {.count = 0};
    struct buf text = {0};

    done_line(r, s, width, &l, &text);
    put_line(&l, width, colour, out);
    if (s->phase != PROGRESS_CHECKING) {
        l.count = 0;
        flow_line(r, s, &l, &text);
        put_line(&l, width, colour, out);
        l.count = 0;
        throttle_line(s, &l, &text);
        if (l.count > 0)
            put_line(&l, width, colour, out);
        l.count = 0;
        count_line(s, &l, &text);
        put_line(&l, width, colour, out);
    }
    buf_free(&text);
}

/* ---- one line ---- */

void progress_render_plain(const struct progress_rates *r, const struct progress_snapshot *s,
                           struct buf *out)
{
    duration_ns eta = progress_eta(r, s);

    buf_printf(out, "weir: %s: ", phase_name(s->phase));
    text_put_count(out, s->done);
    if (s->total_known) {
        buf_puts(out, " of ");
        text_put_count(out, s->total);
    }
    buf_puts(out, " rows");
    if (s->total_known) {
        buf_puts(out, " (");
        text_put_share(out, share_done(s));
        buf_putc(out, ')');
    }
    if (s->phase != PROGRESS_CHECKING) {
        buf_printf(out, ", %" PRIu64 " failed, %" PRIu64 " in flight, ", s->failed, s->in_flight);
        text_put_rate(out, progress_rate(r));
        buf_puts(out, "/s (mean ");
        text_put_rate(out, progress_mean_rate(s));
        buf_puts(out, "/s), refused ");
        text_put_share(out, progress_refused_share(r));
        if (s->held_ns > 0) {
            buf_puts(out, ", the service asks to wait ");
            text_put_duration(out, s->held_ns);
        } else if (s->pace.changes > 0) {
            buf_puts(out, ", ");
            pace_put_limit(out, &s->pace);
            if (pace_has_why(&s->pace)) {
                buf_puts(out, " (");
                pace_put_why(out, &s->pace, s->now);
                buf_putc(out, ')');
            }
        }
    }
    buf_puts(out, ", elapsed ");
    text_put_duration(out, s->elapsed_ns);
    if (eta >= 0 && s->phase == PROGRESS_RUNNING) {
        buf_puts(out, ", eta ");
        text_put_duration(out, eta);
    }
    buf_putc(out, '\n');
}

static void put_count(struct buf *out, const char *name, uint64_t n)
{
    buf_printf(out, ",\"%s\":%" PRIu64, name, n);
}

static void put_pace(struct buf *out, const struct progress_snapshot *s)
{
    struct throttle_limit limit = throttle_limit_of(&s->pace);

    buf_puts(out, ",\"throttle_state\":{");
    pace_put_members(out, &limit);
    buf_puts(out, ",\"changed_s\":");
    if (s->pace.changes > 0)
        buf_printf(out, "%.3f", duration_seconds(instant_diff(s->now, s->pace.changed_at)));
    else
        buf_puts(out, "null");
    put_count(out, "changes", s->pace.changes);
    buf_putc(out, '}');
}

void progress_render_json(const struct progress_rates *r, const struct progress_snapshot *s,
                          struct buf *out)
{
    duration_ns eta = progress_eta(r, s);

    buf_printf(out, "{\"phase\":\"%s\",\"elapsed_s\":%.3f,\"rows_total\":", phase_name(s->phase),
               duration_seconds(s->elapsed_ns));
    if (s->total_known)
        buf_printf(out, "%" PRIu64, s->total);
    else
        buf_puts(out, "null");
    put_count(out, "rows_done", s->done);
    put_count(out, "rows_done_before", s->done_before);
    put_count(out, "rows_failed", s->failed);
    put_count(out, "rows_delivered", s->delivered);
    put_count(out, "in_flight", s->in_flight);
    put_count(out, "waiting", s->waiting);
    put_count(out, "attempts", s->attempts);
    put_count(out, "refused", s->refused);
    put_count(out, "retries", s->retries);
    put_count(out, "tokens", s->tokens);
    buf_printf(out, ",\"rate_per_s\":%.3f,\"rate_mean_per_s\":%.3f,\"refused_share\":%.4f",
               progress_rate(r), progress_mean_rate(s), progress_refused_share(r));
    buf_puts(out, ",\"throttle\":");
    if (s->throttle)
        json_put_string(out, slice_of(s->throttle));
    else
        buf_puts(out, "null");
    buf_printf(out, ",\"delay_ms\":%.3f,\"held_ms\":%.3f,\"eta_s\":", duration_ms(s->pace.delay_ns),
               s->held_ns > 0 ? duration_ms(s->held_ns) : 0.0);
    if (eta >= 0)
        buf_printf(out, "%.1f", duration_seconds(eta));
    else
        buf_puts(out, "null");
    put_pace(out, s);
    buf_puts(out, "}\n");
}
