#include "cli/output/text.h"

#include <inttypes.h>

void text_put_count(struct buf *out, uint64_t n)
{
    if (n >= 1000) {
        text_put_count(out, n / 1000);
        buf_printf(out, ",%03u", (unsigned)(n % 1000));
    } else {
        buf_printf(out, "%u", (unsigned)n);
    }
}

void text_put_duration(struct buf *out, duration_ns d)
{
    int64_t ms = d > 0 ? d / NS_PER_MS : 0;
    int64_t s = ms / 1000;

    if (ms < 1000)
        buf_printf(out, "%" PRId64 "ms", ms);
    else if (s < 60)
        buf_printf(out, "%" PRId64 ".%" PRId64 "s", s, ms % 1000 / 100);
    else if (s < 3600)
        buf_printf(out, "%" PRId64 "m%02" PRId64 "s", s / 60, s % 60);
    else if (s < 86400)
        buf_printf(out, "%" PRId64 "h%02" PRId64 "m", s / 3600, s % 3600 / 60);
    else
        buf_printf(out, "%" PRId64 "d%02" PRId64 "h", s / 86400, s % 86400 / 3600);
}

void text_put_rate(struct buf *out, double per_s)
{
    if (!(per_s > 0))
        buf_putc(out, '0');
    else if (per_s < 1)
        buf_printf(out, "%.2f", per_s);
    else if (per_s < 99.95)
        buf_printf(out, "%.1f", per_s);
    else
        text_put_count(out, per_s < 1e18 ? (uint64_t)(per_s + 0.5) : UINT64_MAX);
}

void text_put_share(struct buf *out, double share)
{
    double percent = share * 100;

    if (!(percent > 0))
        buf_puts(out, "0%");
    else if (percent < 0.1)
        buf_puts(out, "<0.1%");
    else if (percent >= 100)
        buf_puts(out, "100%");
    else if (percent > 99.9)
        buf_puts(out, ">99.9%");
    else
        buf_printf(out, "%.1f%%", percent);
}
