#include "cli/client/when.h"

#include "base/time.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

/* The digits of a field; -1: there are others. */
static int digits(const char *at, size_t count)
{
    int n = 0;

    for (size_t i = 0; i < count; i++) {
        if (at[i] < '0' || at[i] > '9')
            return -1;
        n = n * 10 + (at[i] - '0');
    }
    return n;
}

bool when_parse(struct slice text, int64_t *ret_unix_ns)
{
    static const char shape[] = "dddd-dd-ddTdd:dd:dd";
    struct tm tm = {0};
    int64_t fraction_ns = 0, unit = NS_PER_S / 10;
    size_t at = sizeof shape - 1;

    if (text.len < sizeof shape || text.data[text.len - 1] != 'Z')
        return false;
    for (size_t i = 0; i < sizeof shape - 1; i++) {
        if (shape[i] == 'd' ? digits(text.data + i, 1) < 0 : text.data[i] != shape[i])
            return false;
    }
    tm.tm_year = digits(text.data, 4) - 1900;
    tm.tm_mon = digits(text.data + 5, 2) - 1;
    tm.tm_mday = digits(text.data + 8, 2);
    tm.tm_hour = digits(text.data + 11, 2);
    tm.tm_min = digits(text.data + 14, 2);
    tm.tm_sec = digits(text.data + 17, 2);
    if (text.data[at] == '.') {
        for (at++; at < text.len - 1; at++, unit /= 10) {
            int digit = digits(text.data + at, 1);

            if (digit < 0)
                return false;
            fraction_ns += digit * unit;
        }
    }
    if (at != text.len - 1)
        return false;
    *ret_unix_ns = (int64_t)timegm(&tm) * NS_PER_S + fraction_ns;
    return true;
}

void when_put_short(struct buf *out, double seconds)
{
    if (seconds < 0)
        seconds = 0;
    if (seconds < 0.0995)
        buf_printf(out, "%.0fms", seconds * 1e3);
    else if (seconds < 9.95)
        buf_printf(out, "%.1fs", seconds);
    else if (seconds < 120)
        buf_printf(out, "%.0fs", seconds);
    else if (seconds < 120.0 * 60)
        buf_printf(out, "%" PRId64 "m", (int64_t)(seconds / 60));
    else if (seconds < 48.0 * 3600)
        buf_printf(out, "%" PRId64 "h", (int64_t)(seconds / 3600));
    else
        buf_printf(out, "%" PRId64 "d", (int64_t)(seconds / 86400));
}

void when_put(struct buf *out, int64_t at_ns, int64_t now_ns, bool utc)
{
    double ago = (double)(now_ns - at_ns) / (double)NS_PER_S;
    char text[TIME_UTC_BYTES];

    if (utc) {
        time_format_utc(at_ns, text);
        buf_printf(out, "%.19sZ", text);
    } else if (ago > -1 && ago < 1) {
        buf_puts(out, "now");
    } else {
        buf_puts(out, ago < 0 ? "in " : "");
        /* Whole seconds: tenths of them say nothing of a while ago. */
        when_put_short(out, ago < 0 ? -ago : ago < 10 ? (double)(int64_t)ago : ago);
        buf_puts(out, ago < 0 ? "" : " ago");
    }
}

static bool is_same_day(const struct tm *a, const struct tm *b)
{
    return a->tm_year == b->tm_year && a->tm_yday == b->tm_yday;
}

void when_put_clock(struct buf *out, int64_t at_ns, int64_t now_ns, bool utc)
{
    time_t at = (time_t)(at_ns / NS_PER_S), now = (time_t)(now_ns / NS_PER_S);
    struct tm local = {0}, today = {0};
    char text[TIME_UTC_BYTES];

    if (utc || !localtime_r(&at, &local) || !localtime_r(&now, &today)) {
        time_format_utc(at_ns, text);
        buf_puts(out, text);
        return;
    }
    if (!is_same_day(&local, &today))
        buf_printf(out, "%04d-%02d-%02d ", local.tm_year + 1900, local.tm_mon + 1, local.tm_mday);
    buf_printf(out, "%02d:%02d:%02d", local.tm_hour, local.tm_min, local.tm_sec);
}
