/*
 * Instants and durations.
 *
 * An instant is a point on the monotonic clock, in nanoseconds since a start that only the loop
 * knows; a duration is a signed count of nanoseconds. The pure rooms (flow/, core/) never read a
 * clock: they get `now` as an argument, by value, read once per turn of the loop, so that a test
 * moves time by changing a number.
 */
#ifndef BASE_TIME_H
#define BASE_TIME_H

#include <stdbool.h>
#include <stdint.h>

typedef int64_t duration_ns;

struct instant {
    int64_t ns;
};

#define NS_PER_US INT64_C(1000)
#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S  INT64_C(1000000000)

/* Later than any instant that occurs: "no timer", "never". */
#define INSTANT_NEVER ((struct instant){INT64_MAX})
/* Before any instant that occurs: "at once", "not yet". */
#define INSTANT_NONE ((struct instant){INT64_MIN})

static inline bool instant_before(struct instant a, struct instant b)
{
    return a.ns < b.ns;
}

static inline bool instant_is_never(struct instant a)
{
    return a.ns == INT64_MAX;
}

static inline bool instant_is_none(struct instant a)
{
    return a.ns == INT64_MIN;
}

static inline struct instant instant_max(struct instant a, struct instant b)
{
    return a.ns > b.ns ? a : b;
}

static inline struct instant instant_min(struct instant a, struct instant b)
{
    return a.ns < b.ns ? a : b;
}

/* Saturates: NEVER and NONE stay what they are, and no sum overflows. */
static inline struct instant instant_add(struct instant a, duration_ns d)
{
    int64_t sum;

    if (a.ns == INT64_MAX || a.ns == INT64_MIN)
        return a;
    if (__builtin_add_overflow(a.ns, d, &sum))
        return d > 0 ? INSTANT_NEVER : INSTANT_NONE;
    return (struct instant){sum};
}

/* later - earlier; saturates. */
static inline duration_ns instant_diff(struct instant later, struct instant earlier)
{
    int64_t d;

    if (__builtin_sub_overflow(later.ns, earlier.ns, &d))
        return later.ns > earlier.ns ? INT64_MAX : INT64_MIN;
    return d;
}

static inline duration_ns duration_from_ms(int64_t ms)
{
    int64_t ns;

    if (__builtin_mul_overflow(ms, NS_PER_MS, &ns))
        return ms > 0 ? INT64_MAX : INT64_MIN;
    return ns;
}

/* Seconds as a fraction; saturates at the ends of the range, and takes NaN for 0. */
duration_ns duration_from_seconds(double seconds);

static inline double duration_seconds(duration_ns d)
{
    return (double)d / (double)NS_PER_S;
}

/* later - earlier, in seconds. */
static inline double instant_seconds(struct instant later, struct instant earlier)
{
    return duration_seconds(instant_diff(later, earlier));
}

/* Saturates as instant_add() does. */
static inline struct instant instant_after(struct instant a, double seconds)
{
    return instant_add(a, duration_from_seconds(seconds));
}

static inline double duration_ms(duration_ns d)
{
    return (double)d / (double)NS_PER_MS;
}

/* Bytes that time_format_utc() writes, with its NUL: 2026-01-31T12:00:00.000Z */
#define TIME_UTC_BYTES 25

/* Formats nanoseconds since the Unix epoch as RFC 3339 in UTC, with milliseconds. Years 0001 to
 * 9999; others clamp. */
void time_format_utc(int64_t unix_ns, char ret[TIME_UTC_BYTES]);

#endif
