/* See series.h. */
#include "cli/simulate/series.h"

#include <string.h>

static void join(struct series_span *into, const struct series_span *from)
{
    into->seconds += from->seconds;
    into->capacity += from->capacity;
    into->capacity_limited_s += from->capacity_limited_s;
    into->paced += from->paced;
    into->paced_s += from->paced_s;
    into->window += from->window;
    into->window_s += from->window_s;
    into->accepted += from->accepted;
    into->refused += from->refused;
    into->in_flight += from->in_flight;
}

void series_init(struct series *s, duration_ns span_ns)
{
    *s = (struct series){.span_ns = span_ns};
}

static void join_groups(struct series *s, size_t group)
{
    size_t count = (s->count + group - 1) / group;

    for (size_t i = 0; i < count; i++) {
        struct series_span sum = {0};

        for (size_t j = i * group; j < s->count && j < (i + 1) * group; j++)
            join(&sum, &s->spans[j]);
        s->spans[i] = sum;
    }
    memset(&s->spans[count], 0, (s->count - count) * sizeof *s->spans);
    s->count = count;
    s->span_ns *= (duration_ns)group;
}

void series_add(struct series *s, duration_ns length_ns, const struct series_span *slice)
{
    while (s->length_ns / s->span_ns >= SERIES_SPANS_MAX)
        join_groups(s, 2);
    s->count = (size_t)(s->length_ns / s->span_ns) + 1;
    join(&s->spans[s->count - 1], slice);
    s->length_ns += length_ns;
}

void series_fold(struct series *s, size_t spans)
{
    size_t group = (s->count + spans - 1) / spans;

    if (group > 1)
        join_groups(s, group);
}
