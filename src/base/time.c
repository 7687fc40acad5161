/*
 * Instants and durations: the parts that are too long for a header. Reads no clock.
 */
#include "base/time.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define DAY_MS 86400000

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

struct civil {
    int year, month, day; /* month and day from 1 */
};

/*
 * The date of a day since the epoch: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms",
 * civil_from_days. Years are counted from March, so that the leap day is a year's last, in eras of
 * 400 years, which are all of one length. gmtime_r says the same, but takes a lock and reads the
 * time zone each time: each row of an output has four.
 */
static struct civil civil_of_day(int64_t day)
{
    int64_t z = day + 719468; /* from 0000-03-01 */
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int of_era = (int)(z - era * 146097);
    int year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int of_year = of_era - (365 * year + year / 4 - year / 100);
    int month = (5 * of_year + 2) / 153; /* from March */

    return (struct civil){.year = year + (int)era * 400 + (month >= 10),
                          .month = month < 10 ? month + 3 : month - 9,
                          .day = of_year - (153 * month + 2) / 5 + 1};
}

void time_format_utc(int64_t unix_ns, char ret[TIME_UTC_BYTES])
{
    int64_t ms = unix_ns / NS_PER_MS;
    int64_t day;
    int of_day_ms;
    struct civil date;

    if (unix_ns % NS_PER_MS < 0)
        ms--;
    day = ms / DAY_MS;
    of_day_ms = (int)(ms % DAY_MS);
    if (of_day_ms < 0) {
        of_day_ms += DAY_MS;
        day--;
    }
    /* 64 bits of nanoseconds reach from 1677 to 2262, so there is no year to clamp. */
    date = civil_of_day(day);
    memcpy(ret, "0000-00-00T00:00:00.000Z", TIME_UTC_BYTES);
    put_digits(ret, date.year, 4);
    put_digits(ret + 5, date.month, 2);
    put_digits(ret + 8, date.day, 2);
    put_digits(ret + 11, of_day_ms / 3600000, 2);
    put_digits(ret + 14, of_day_ms / 60000 % 60, 2);
    put_digits(ret + 17, of_day_ms / 1000 % 60, 2);
    put_digits(ret + 20, of_day_ms % 1000, 3);
}
