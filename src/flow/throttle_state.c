/* The words in which a throttle explains itself, and its record of changes. */
#include "flow/throttle_state.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const modes[THROTTLE_MODES] = {
    [THROTTLE_MODE_OPEN] = "open",     [THROTTLE_MODE_DELAY] = "delay",
    [THROTTLE_MODE_RATE] = "rate",     [THROTTLE_MODE_WINDOW] = "window",
    [THROTTLE_MODE_OUTAGE] = "outage",
};

static const struct {
    const char *name;
    const char *text;
} reasons[THROTTLE_REASONS] = {
    [THROTTLE_REASON_START] = {"start", "the start"},
    [THROTTLE_REASON_REFUSED] = {"refused", "refused"},
    [THROTTLE_REASON_ACCEPTED] = {"accepted", "accepted"},
    [THROTTLE_REASON_BORNE] = {"borne", "the service bore more"},
    [THROTTLE_REASON_TRIAL_REFUSED] = {"trial_refused", "more was refused"},
    [THROTTLE_REASON_FIRST_REFUSAL] = {"first_refusal", "the first refusal: paced from now on"},
    [THROTTLE_REASON_STRAY_REFUSAL] = {"stray_refusal", "a stray refusal"},
    [THROTTLE_REASON_CAPACITY_FELL] = {"capacity_fell",
                                       "refusals close together: the capacity fell"},
    [THROTTLE_REASON_OUTAGE] = {"outage", "nothing gets through"},
    [THROTTLE_REASON_OUTAGE_OVER] = {"outage_over", "the service answers again"},
    [THROTTLE_REASON_CONCURRENCY] = {"concurrency", "refusals go with the number in flight"},
    [THROTTLE_REASON_NO_CONCURRENCY] = {"no_concurrency",
                                        "refusals do not go with the number in flight"},
    [THROTTLE_REASON_LATENCY] = {"latency", "latency grew with the load"},
    [THROTTLE_REASON_LATENCY_OVER] = {"latency_over", "latency is low again"},
    [THROTTLE_REASON_QUOTA] = {"quota", "refusals come as the windows of a quota do"},
    [THROTTLE_REASON_REOPENED] = {"reopened", "nothing was held up for long: open again"},
    [THROTTLE_REASON_TOLD] = {"told", "the service asked for a pause"},
};

const char *throttle_mode_name(enum throttle_mode mode)
{
    return (unsigned)mode < THROTTLE_MODES ? modes[mode] : "unknown";
}

const char *throttle_reason_name(enum throttle_reason reason)
{
    return (unsigned)reason < THROTTLE_REASONS ? reasons[reason].name : "unknown";
}

const char *throttle_reason_text(enum throttle_reason reason)
{
    return (unsigned)reason < THROTTLE_REASONS ? reasons[reason].text : "unknown";
}

void throttle_state_init(struct throttle_state *s, enum throttle_mode mode)
{
    *s = (struct throttle_state){
        .mode = mode,
        .mode_before = mode,
        .rate_rps = HUGE_VAL,
        .rate_before_rps = HUGE_VAL,
        .window = SIZE_MAX,
        .window_before = SIZE_MAX,
        .changed_at = INSTANT_NONE,
    };
}

void throttle_state_change(struct throttle_state *s, struct instant now,
                           enum throttle_reason reason, const struct throttle_state *to)
{
    s->mode_before = s->mode;
    s->rate_before_rps = s->rate_rps;
    s->window_before = s->window;
    s->delay_before_ns = s->delay_ns;
    s->mode = to->mode;
    s->rate_rps = to->rate_rps;
    s->window = to->window;
    s->delay_ns = to->delay_ns;
    s->reason = reason;
    s->changed_at = now;
    s->changes++;
    s->by_reason[reason]++;
    s->recent[s->changes % THROTTLE_RECENT] = (struct throttle_change){
        .mode = s->mode,
        .mode_before = s->mode_before,
        .rate_rps = s->rate_rps,
        .rate_before_rps = s->rate_before_rps,
        .window = s->window,
        .window_before = s->window_before,
        .delay_ns = s->delay_ns,
        .delay_before_ns = s->delay_before_ns,
        .reason = reason,
        .at = now,
    };
}

bool throttle_state_at(const struct throttle_state *s, uint64_t change, struct throttle_state *ret)
{
    const struct throttle_change *c = &s->recent[change % THROTTLE_RECENT];

    if (change == 0 || change > s->changes || s->changes - change >= THROTTLE_RECENT)
        return false;
    *ret = *s;
    ret->changes = change;
    ret->mode = c->mode;
    ret->mode_before = c->mode_before;
    ret->rate_rps = c->rate_rps;
    ret->rate_before_rps = c->rate_before_rps;
    ret->window = c->window;
    ret->window_before = c->window_before;
    ret->delay_ns = c->delay_ns;
    ret->delay_before_ns = c->delay_before_ns;
    ret->reason = c->reason;
    ret->changed_at = c->at;
    return true;
}

struct throttle_limit throttle_limit_of(const struct throttle_state *s)
{
    return (struct throttle_limit){
        .rate_rps = s->rate_rps,
        .delay_ns = s->delay_ns,
        .window = s->window < UINT32_MAX ? (uint32_t)s->window : UINT32_MAX,
        .mode = (uint8_t)s->mode,
        .reason = (uint8_t)s->reason,
    };
}

void throttle_state_since(struct throttle_state *s, const struct throttle_state *before)
{
    s->changes -= before->changes;
    for (int i = 0; i < THROTTLE_REASONS; i++)
        s->by_reason[i] -= before->by_reason[i];
}

/* What limits in one mode, in words; `named` with the mode's name before the figure. */
static void put_limit(char *text, size_t size, enum throttle_mode mode, double rate_rps,
                      size_t window, duration_ns delay_ns, bool named)
{
    const char *name = named ? throttle_mode_name(mode) : "";
    const char *space = named ? " " : "";
    size_t len;

    switch (mode) {
    case THROTTLE_MODE_DELAY:
        snprintf(text, size, "%s%s%.0f ms", name, space, duration_ms(delay_ns));
        break;
    case THROTTLE_MODE_RATE:
        snprintf(text, size, "%s%s%.*f/s", name, space, rate_rps < 100 ? 1 : 0, rate_rps);
        break;
    case THROTTLE_MODE_WINDOW:
        snprintf(text, size, "%s%s%zu", name, space, window);
        break;
    default:
        snprintf(text, size, "%s", throttle_mode_name(mode));
        break;
    }
    len = strlen(text);
    if (mode != THROTTLE_MODE_WINDOW && window < SIZE_MAX)
        snprintf(text + len, size - len, " with %zu in flight", window);
}

const char *throttle_describe(const struct throttle_state *s, char *text, size_t size)
{
    char from[64], to[64];

    put_limit(from, sizeof from, s->mode_before, s->rate_before_rps, s->window_before,
              s->delay_before_ns, true);
    put_limit(to, sizeof to, s->mode, s->rate_rps, s->window, s->delay_ns,
              s->mode != s->mode_before);
    snprintf(text, size, "%s -> %s: %s", from, to, throttle_reason_text(s->reason));
    return text;
}
