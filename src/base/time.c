/*
 * Instants and durations: the parts that are too long for a header. Reads no clock.
 */
#include "base/time.h"

#include <math.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

/* 2^63, the first double above every int64_t. */
#define TWO_TO_63 9223372036854775808.0

duration_ns duration_from_seconds(double seconds)
{
    double ns;

    if (isnan(seconds))
        return 0;
    ns = round(seconds * (double)NS_PER_S);
    if (ns >= TWO_TO_63)
        return INT64_MAX;
    if (ns < -TWO_TO_63)
        return INT64_MIN;
    return (duration_ns)ns;
}

static void put_digits(char *at, int value, int width)
{
    for (int i = width - 1; i >= 0; i--) {
        at[i] = (char)('0' + value % 10);
        value /= 10;
    }
}

void time_format_utc(int64_t unix_ns, char ret[TIME_UTC_BYTES])
{
    int64_t seconds = unix_ns / NS_PER_S;
    int64_t ns = unix_ns % NS_PER_S;
    time_t t;
    struct tm tm;

    if (ns < 0) {
        ns += NS_PER_S;
        seconds--;
    }
    t = (time_t)seconds;
    /* 64 bits of nanoseconds reach from 1677 to 2262, so there is no year to clamp, and gmtime_r
     * fails only for years that an int does not hold. */
    if (!gmtime_r(&t, &tm))
        memset(&tm, 0, sizeof(tm));
    memcpy(ret, "0000-00-00T00:00:00.000Z", TIME_UTC_BYTES);
    put_digits(ret, tm.tm_year + 1900, 4);
    put_digits(ret + 5, tm.tm_mon + 1, 2);
    put_digits(ret + 8, tm.tm_mday, 2);
    put_digits(ret + 11, tm.tm_hour, 2);
    put_digits(ret + 14, tm.tm_min, 2);
    put_digits(ret + 17, tm.tm_sec, 2);
    put_digits(ret + 20, (int)(ns / NS_PER_MS), 3);
}
