/* See guard.h. */
#include "flow/guard.h"

#include <math.h>

/* A round is so many samples; fewer after ROUND_S. */
#define ROUND_SAMPLES     100
#define ROUND_SAMPLES_MIN 30
#define ROUND_S           10.0
#define USED_SHARE        0.8
#define BASE_LOWER        0.85
/* Near the base there is room: then the window grows by a half, else by its root. */
#define ROOM_SHARE   1.1
#define GROWTH       0.5
#define SHRINK_MAX   0.5
#define SHRUNK_DEEP  0.6
#define WINDOW_RETRY 8.0
#define MEASURE_NS   (60 * NS_PER_S)
/* At the start those few that go before there is a load. */
#define MEASURES_START   32
#define MEASURES         48
#define MEASURE_WORTH    1.2
#define MEASURE_PATIENCE 512
/* Below this a queue costs nobody anything; and work in this process takes turns on its processors. */
#define LATENCY_MIN_S 0.025
/* A window beyond any pool: no need to let it grow further. */
#define WINDOW_MAX 1e6

void guard_init(struct guard *g)
{
    *g = (struct guard){.window = GUARD_WINDOW_START,
                        .base_s = HUGE_VAL,
                        .since = INSTANT_NONE,
                        .measure_first = 1,
                        .measures = MEASURES_START,
                        .window_saved = GUARD_WINDOW_START,
                        .measured_at = INSTANT_NONE};
}

static bool measuring(const struct guard *g, uint64_t number)
{
    return number >= g->measure_first && number < g->measure_first + g->measures;
}

static void measure(struct guard *g, struct instant now, double took_s)
{
    double mean_s;

    g->measure_sum_s += took_s;
    if (++g->measured < g->measures)
        return;
    mean_s = g->measure_sum_s / g->measured;
    g->base_s = mean_s < g->base_s ? mean_s : (g->base_s + mean_s) / 2;
    g->measure_first = 0;
    g->window = g->window_saved;
    g->measured_at = now;
}

static void begin_measure(struct guard *g, uint64_t sent)
{
    /* Those in flight now must be through before the half window shows. */
    g->measure_first = sent + (uint64_t)(g->window / 2) + 1;
    g->measure_sum_s = 0;
    g->measured = 0;
    g->measures = MEASURES;
    g->window_saved = g->window;
    g->window = fmax(GUARD_WINDOW_MIN, g->window / 2);
}

/* The second round after a deep shrink: with less load the same latency. Then it is not our queue. True: so it is. */
static bool shrunk_in_vain(struct guard *g, double mean_s)
{
    if (g->shrunk_from <= 0) {
        g->shrunk_from = g->window;
        g->shrunk_at_s = mean_s;
        g->deep = 0;
    }
    if (g->window > fmax(GUARD_WINDOW_MIN, SHRUNK_DEEP * g->shrunk_from) || ++g->deep < 2)
        return false;
    if (g->window > GUARD_WINDOW_MIN && mean_s <= BASE_LOWER * g->shrunk_at_s)
        return false;
    g->base_s = mean_s;
    g->window = g->window > GUARD_WINDOW_MIN ? g->shrunk_from : WINDOW_RETRY;
    g->shrunk_from = 0;
    return true;
}

static void judge(struct guard *g, struct instant now, uint64_t sent, double mean_s, uint32_t most)
{
    bool full = most >= USED_SHARE * g->window;
    double room;

    if (mean_s < BASE_LOWER * g->base_s)
        g->base_s = mean_s;
    room = GUARD_TOLERANCE * g->base_s / fmax(mean_s, 1e-9);
    if (mean_s < LATENCY_MIN_S)
        room = GUARD_TOLERANCE;
    if (room < 1) {
        if (!shrunk_in_vain(g, mean_s))
            g->window = fmax(GUARD_WINDOW_MIN, fmin(g->window, most) * fmax(SHRINK_MAX, room));
    } else {
        g->shrunk_from = 0;
        if (full && g->window < WINDOW_MAX)
            g->window += mean_s < ROOM_SHARE * g->base_s || mean_s < LATENCY_MIN_S
                             ? GROWTH * g->window
                             : sqrt(g->window) / 2;
    }
    if (instant_diff(now, g->measured_at) <= MEASURE_NS)
        return;
    if (full && mean_s > MEASURE_WORTH * g->base_s && mean_s >= LATENCY_MIN_S) {
        begin_measure(g, sent);
    } else if (!full) {
        g->base_s = (g->base_s + mean_s) / 2;
        g->measured_at = now;
    }
}

bool guard_accepted(struct guard *g, struct instant now, uint64_t number, uint64_t sent,
                    double took_s)
{
    double passed_s;
    uint32_t most;

    if (g->measure_first > 0) {
        if (measuring(g, number))
            measure(g, now, took_s);
        else if (number > g->measure_first + MEASURE_PATIENCE)
            guard_refused(g, g->measure_first); /* some of them were lost */
        return false;
    }
    if (g->samples == 0 && instant_is_none(g->since))
        g->since = g->measured_at = now;
    g->sum_s += took_s;
    g->samples++;
    if (g->samples < ROUND_SAMPLES_MIN)
        return false;
    passed_s = instant_seconds(now, g->since);
    if ((g->samples < ROUND_SAMPLES && passed_s < ROUND_S) || passed_s < g->sum_s / g->samples)
        return false;
    most = g->in_flight_max;
    took_s = g->sum_s / g->samples;
    g->sum_s = 0;
    g->samples = g->in_flight_max = 0;
    g->since = now;
    judge(g, now, sent, took_s, most);
    return true;
}

void guard_refused(struct guard *g, uint64_t number)
{
    if (g->measure_first > 0 && measuring(g, number)) {
        g->measure_first = 0;
        g->window = g->window_saved;
    }
}
