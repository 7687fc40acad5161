#include "serve/api/text.h"

#include "base/error.h"
#include "base/locale_c.h"
#include "base/parse.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Longer texts are no time, duration or size. */
#define TEXT_BYTES_MAX 63

#define TIME_HELP "write a time as 2026-01-31T12:00:00Z, or from now on as +90s"

static bool copy_text(struct slice text, char out[TEXT_BYTES_MAX + 1])
{
    if (text.len == 0 || text.len > TEXT_BYTES_MAX || memchr(text.data, 0, text.len))
        return false;
    memcpy(out, text.data, text.len);
    out[text.len] = '\0';
    return true;
}

enum weir_status text_duration(struct slice text, duration_ns *ret, struct weir_error *err)
{
    char copy[TEXT_BYTES_MAX + 1];

    if (!copy_text(text, copy))
        return error_set(err, WEIR_E_INVALID,
                         "\"%.*s\" is not a duration; write it as 30s, 5m or 1h30m",
                         (int)(text.len > 32 ? 32 : text.len), text.data);
    return parse_duration(copy, ret, err);
}

enum weir_status text_size(struct slice text, uint64_t *ret_bytes, struct weir_error *err)
{
    char copy[TEXT_BYTES_MAX + 1];

    if (!copy_text(text, copy))
        return error_set(err, WEIR_E_INVALID, "\"%.*s\" is not a size; write it as 512MiB or 2GiB",
                         (int)(text.len > 32 ? 32 : text.len), text.data);
    return parse_size(copy, ret_bytes, err);
}

bool text_u64(struct slice text, uint64_t *ret)
{
    uint64_t n = 0;

    if (text.len == 0)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || __builtin_mul_overflow(n, 10u, &n) ||
            __builtin_add_overflow(n, (uint64_t)(text.data[i] - '0'), &n))
            return false;
    }
    *ret = n;
    return true;
}

/* ---- times ---- */

/* Days from 1970-01-01 to that day of the Gregorian calendar, year >= 1970: whole years, then the days before the month. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    static const int before[12] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    int64_t last = year - 1;
    int64_t leap_days = last / 4 - last / 100 + last / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400);
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return (year - 1970) * 365 + leap_days + before[month - 1] + (leap && month > 2 ? 1 : 0) + day -
           1;
}

static int64_t days_in(int64_t year, int64_t month)
{
    return month == 12 ? 31 : days_of(year, month + 1, 1) - days_of(year, month, 1);
}

/* `count` digits at *p, between min and max. */
static bool take_digits(const char **p, int count, int64_t min, int64_t max, int64_t *ret)
{
    int64_t n = 0;

    for (int i = 0; i < count; i++, (*p)++) {
        if (**p < '0' || **p > '9')
            return false;
        n = n * 10 + (**p - '0');
    }
    *ret = n;
    return n >= min && n <= max;
}

/* ".5" and so on; digits beyond nanoseconds are cut. */
static bool take_fraction(const char **p, int64_t *ret_ns)
{
    int64_t unit = NS_PER_S / 10;

    *ret_ns = 0;
    if (**p != '.')
        return true;
    (*p)++;
    if (**p < '0' || **p > '9')
        return false;
    for (; **p >= '0' && **p <= '9'; (*p)++, unit /= 10)
        *ret_ns += unit * (**p - '0');
    return true;
}

static bool take_offset(const char **p, int64_t *ret_s)
{
    int64_t hours, minutes;
    char sign = *(*p)++;

    *ret_s = 0;
    if (sign == 'Z' || sign == 'z')
        return true;
    if ((sign != '+' && sign != '-') || !take_digits(p, 2, 0, 23, &hours) || *(*p)++ != ':' ||
        !take_digits(p, 2, 0, 59, &minutes))
        return false;
    *ret_s = (hours * 60 + minutes) * 60 * (sign == '-' ? -1 : 1);
    return true;
}

/* Nanoseconds since 1970 have room for some years more. */
#define YEAR_MAX   2261
#define TIME_RANGE "a time is after 1970-01-01T00:00:00Z and before 2262-01-01T00:00:00Z"

/* False: it is no time. One that is out of range is 0. */
static bool read_time(const char *p, int64_t *ret_ns)
{
    int64_t year, month, day, hour, minute, second, fraction_ns, offset_s, unix_s;

    if (!take_digits(&p, 4, 0, 9999, &year) || *p++ != '-' || !take_digits(&p, 2, 1, 12, &month) ||
        *p++ != '-' || !take_digits(&p, 2, 1, days_in(year, month), &day))
        return false;
    if (*p != 'T' && *p != 't' && *p != ' ')
        return false;
    p++;
    /* A leap second counts as the one after it. */
    if (!take_digits(&p, 2, 0, 23, &hour) || *p++ != ':' || !take_digits(&p, 2, 0, 59, &minute) ||
        *p++ != ':' || !take_digits(&p, 2, 0, 60, &second) || !take_fraction(&p, &fraction_ns) ||
        *p == '\0' || !take_offset(&p, &offset_s) || *p != '\0')
        return false;
    unix_s = days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset_s;
    *ret_ns = unix_s >= 0 && year <= YEAR_MAX ? unix_s * NS_PER_S + fraction_ns : 0;
    return true;
}

enum weir_status text_time(struct slice text, int64_t now_ns, int64_t *ret_ns,
                           struct weir_error *err)
{
    char copy[TEXT_BYTES_MAX + 1];
    duration_ns wait;
    int64_t when;

    if (!copy_text(text, copy))
        return error_set(err, WEIR_E_INVALID, "it is not a time; " TIME_HELP);
    if (copy[0] == '+') {
        if (parse_duration(copy + 1, &wait, err) != WEIR_OK) {
            (void)error_prefix(err, "from now on");
            return WEIR_E_INVALID;
        }
        if (__builtin_add_overflow(now_ns, wait, &when))
            return error_set(err, WEIR_E_INVALID, "\"%s\" is too far away", copy);
    } else if (!read_time(copy, &when)) {
        return error_set(err, WEIR_E_INVALID, "\"%s\" is not a time; " TIME_HELP, copy);
    } else if (when == 0) {
        return error_set(err, WEIR_E_INVALID, "\"%s\" is out of range; " TIME_RANGE, copy);
    }
    *ret_ns = when;
    return WEIR_OK;
}

void text_put_time(struct buf *out, int64_t unix_ns)
{
    char text[TIME_UTC_BYTES];
    char room[8];
    uint64_t us = (uint64_t)(unix_ns > 0 ? unix_ns : 0) / 1000 % 1000000;

    /* "2026-01-31T12:00:00." is the same with any fraction. */
    time_format_utc(unix_ns > 0 ? unix_ns : 0, text);
    for (int i = 5; i >= 0; i--, us /= 10)
        room[i] = (char)('0' + us % 10);
    room[6] = 'Z';
    room[7] = '"';
    buf_putc(out, '"');
    buf_put(out, text, sizeof("2026-01-31T12:00:00.") - 1);
    buf_put(out, room, sizeof(room));
}

void text_put_seconds(struct buf *out, duration_ns d)
{
    uint64_t ns = d < 0 ? 0 - (uint64_t)d : (uint64_t)d;
    uint64_t rest = ns % (uint64_t)NS_PER_S;
    char digits[9];
    size_t len = sizeof(digits);

    if (d < 0)
        buf_putc(out, '-');
    buf_put_u64(out, ns / (uint64_t)NS_PER_S);
    if (rest == 0)
        return;
    for (size_t i = sizeof(digits); i > 0; i--, rest /= 10)
        digits[i - 1] = (char)('0' + rest % 10);
    while (digits[len - 1] == '0')
        len--;
    buf_putc(out, '.');
    buf_put(out, digits, len);
}

void text_put_number(struct buf *out, double n)
{
    char text[40];
    locale_t before;

    if (!isfinite(n)) {
        buf_puts(out, "null");
        return;
    }
    if (n >= 0 && n < 1e15 && n <= floor(n)) {
        buf_put_u64(out, (uint64_t)n);
        return;
    }
    before = locale_c_enter();
    for (int precision = 6; precision <= 17; precision++) {
        (void)snprintf(text, sizeof(text), "%.*g", precision, n);
        if (!(strtod(text, NULL) < n) && !(strtod(text, NULL) > n))
            break;
    }
    locale_c_leave(before);
    buf_puts(out, text);
}

/* ---- base64 ---- */

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool text_base64_decode(struct slice text, char *out, size_t *ret_len)
{
    uint32_t bits = 0;
    unsigned have = 0;
    size_t len = 0;
    bool padded = text.len > 0 && text.data[text.len - 1] == '=';

    if (padded && text.len % 4 != 0)
        return false;
    if (padded)
        text.len -= text.data[text.len - 2] == '=' ? 2 : 1;
    if (text.len % 4 == 1)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        int value = base64_value(text.data[i]);

        if (value < 0)
            return false;
        bits = (bits << 6 | (uint32_t)value) & 0xFFFFFF;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[len++] = (char)(bits >> have & 0xFF);
        }
    }
    /* Bits that belong to no byte are 0, else two texts would mean the same. */
    if ((bits & ((1u << have) - 1)) != 0)
        return false;
    *ret_len = len;
    return true;
}

void text_put_base64(struct buf *out, struct slice bytes)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = (const unsigned char *)bytes.data;
    size_t len = (bytes.len + 2) / 3 * 4;
    char *to = buf_reserve(out, len + 2);

    if (!to)
        return;
    *to++ = '"';
    for (size_t i = 0; i < bytes.len; i += 3, to += 4) {
        size_t left = bytes.len - i;
        uint32_t bits = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
                        (left > 2 ? p[i + 2] : 0);

        to[0] = letters[bits >> 18];
        to[1] = letters[bits >> 12 & 63];
        to[2] = left > 1 ? letters[bits >> 6 & 63] : '=';
        to[3] = left > 2 ? letters[bits & 63] : '=';
    }
    *to = '"';
    out->len += len + 2;
    out->data[out->len] = '\0';
}
