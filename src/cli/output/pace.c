#include "cli/output/pace.h"

#include "cli/output/text.h"

#include <inttypes.h>
#include <math.h>

void pace_put_limit(struct buf *out, const struct throttle_state *s)
{
    switch (s->mode) {
    case THROTTLE_MODE_DELAY:
        buf_puts(out, "delay ");
        text_put_duration(out, s->delay_ns);
        break;
    case THROTTLE_MODE_RATE:
        buf_puts(out, "paced at ");
        text_put_rate(out, s->rate_rps);
        buf_puts(out, "/s");
        break;
    case THROTTLE_MODE_WINDOW:
        buf_puts(out, "at most ");
        text_put_count(out, s->window);
        buf_puts(out, " in flight");
        break;
    case THROTTLE_MODE_OUTAGE:
        buf_puts(out, "outage: probing");
        break;
    default:
        if (s->window == SIZE_MAX)
            buf_puts(out, "not limited");
        break;
    }
    /* Beside a rate, for the sake of latency. */
    if (s->mode != THROTTLE_MODE_WINDOW && s->window < SIZE_MAX) {
        buf_puts(out, s->mode == THROTTLE_MODE_OPEN ? "at most " : ", at most ");
        text_put_count(out, s->window);
        buf_puts(out, " in flight");
    }
}

bool pace_has_why(const struct throttle_state *s)
{
    /* AIMD's delay changes with each row that is refused or accepted: that is no news. */
    return s->changes > 0 && s->mode != THROTTLE_MODE_DELAY;
}

void pace_put_why(struct buf *out, const struct throttle_state *s, struct instant now)
{
    if (!pace_has_why(s))
        return;
    buf_printf(out, "%s, ", throttle_reason_text(s->reason));
    text_put_duration(out, instant_diff(now, s->changed_at));
    buf_puts(out, " ago");
}

/* Reasons that are one thing to a person are counted as one. */
static const struct {
    enum throttle_reason reasons[2];
    const char *one, *many;
} counted[] = {
    {{THROTTLE_REASON_STRAY_REFUSAL, THROTTLE_REASON_CAPACITY_FELL}, "cut", "cuts"},
    {{THROTTLE_REASON_BORNE}, "probe borne", "probes borne"},
    {{THROTTLE_REASON_TRIAL_REFUSED}, "refused", "refused"},
    {{THROTTLE_REASON_OUTAGE}, "outage", "outages"},
    {{THROTTLE_REASON_CONCURRENCY}, "turn to a window", "turns to a window"},
    {{THROTTLE_REASON_NO_CONCURRENCY}, "turn to a rate", "turns to a rate"},
    {{THROTTLE_REASON_LATENCY}, "cut for latency", "cuts for latency"},
    {{THROTTLE_REASON_REOPENED}, "limit dropped", "limits dropped"},
    {{THROTTLE_REASON_QUOTA}, "quota found", "quotas found"},
    {{THROTTLE_REASON_TOLD}, "pause asked for", "pauses asked for"},
    {{THROTTLE_REASON_REFUSED}, "time longer", "times longer"},
    {{THROTTLE_REASON_ACCEPTED}, "shorter", "shorter"},
};

void pace_put_changes(struct buf *out, const char *lead, const struct throttle_state *s)
{
    const char *comma = lead;

    for (size_t i = 0; i < sizeof(counted) / sizeof(counted[0]); i++) {
        enum throttle_reason second = counted[i].reasons[1];
        uint64_t n = s->by_reason[counted[i].reasons[0]];

        n += second != THROTTLE_REASON_START ? s->by_reason[second] : 0;
        if (n == 0)
            continue;
        buf_puts(out, comma);
        text_put_count(out, n);
        buf_printf(out, " %s", n == 1 ? counted[i].one : counted[i].many);
        comma = ", ";
    }
}

/* Three digits behind the point, without the cost of printing a double: each row's record has some. */
static void put_thousandths(struct buf *out, const char *name, double value)
{
    int64_t n = value < 1e12 ? (int64_t)(value * 1000 + 0.5) : INT64_C(1000000000000000);

    buf_printf(out, ",\"%s\":%" PRId64 ".%03" PRId64, name, n / 1000, n % 1000);
}

void pace_put_members(struct buf *out, const struct throttle_limit *limit)
{
    buf_printf(out, "\"mode\":\"%s\"", throttle_mode_name((enum throttle_mode)limit->mode));
    if (isfinite(limit->rate_rps))
        put_thousandths(out, "rate_per_s", limit->rate_rps);
    else
        buf_puts(out, ",\"rate_per_s\":null");
    if (limit->window < UINT32_MAX)
        buf_printf(out, ",\"window\":%" PRIu32, limit->window);
    else
        buf_puts(out, ",\"window\":null");
    put_thousandths(out, "delay_ms", duration_ms(limit->delay_ns));
    buf_printf(out, ",\"reason\":\"%s\"",
               throttle_reason_name((enum throttle_reason)limit->reason));
}

void pace_put_reasons(struct buf *out, const struct throttle_state *s)
{
    const char *comma = "";

    buf_putc(out, '{');
    for (int i = 0; i < THROTTLE_REASONS; i++) {
        if (s->by_reason[i] == 0)
            continue;
        buf_printf(out, "%s\"%s\":%" PRIu64, comma, throttle_reason_name((enum throttle_reason)i),
                   s->by_reason[i]);
        comma = ",";
    }
    buf_putc(out, '}');
}
