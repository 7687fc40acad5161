/*
 * Reading the small texts that people write in options. Decimal fractions of durations are computed
 * in integers, so that 0.1s is 100000000 ns; nothing depends on the locale. No state.
 */
#include "base/parse.h"

#include "base/error.h"
#include "base/locale_c.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Longest number or duration in a range. */
#define PART_BYTES 64

#define DURATION_HELP "write it like 1.5s, 200ms, 2m or 1h30m"
#define SIZE_HELP     "write it like 4096, 64KiB, 10MB or 2GiB"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

struct unit {
    const char *name;
    int64_t ns;
};

/* From large to small: that is the order in which a sum has to name them. */
static const struct unit duration_units[] = {
    {"d", 86400 * NS_PER_S}, {"h", 3600 * NS_PER_S}, {"m", 60 * NS_PER_S},
    {"s", NS_PER_S},         {"ms", NS_PER_MS},      {"us", NS_PER_US},
};

#define DURATION_UNITS ((int)(sizeof(duration_units) / sizeof(duration_units[0])))

/* Place in the table of the unit whose letters stand at text; -1: none. */
static int find_unit(const char *text, size_t len)
{
    for (int i = 0; i < DURATION_UNITS; i++) {
        if (strlen(duration_units[i].name) == len && memcmp(duration_units[i].name, text, len) == 0)
            return i;
    }
    return -1;
}

/* A whole number and up to 18 digits of a fraction (more cannot matter: a day has 10^14 ns). */
struct decimal {
    uint64_t whole;
    uint64_t fraction;
    uint64_t divisor; /* 10^digits of the fraction */
};

/* Reads digits[.digits] at *p and moves *p behind it. False: none there, or too large. */
static bool read_decimal(const char **p, struct decimal *ret)
{
    const char *at = *p;
    struct decimal d = {0, 0, 1};

    if (!is_digit(*at))
        return false;
    for (; is_digit(*at); at++) {
        if (__builtin_mul_overflow(d.whole, 10u, &d.whole) ||
            __builtin_add_overflow(d.whole, (uint64_t)(*at - '0'), &d.whole))
            return false;
    }
    if (*at == '.') {
        at++;
        if (!is_digit(*at))
            return false;
        for (; is_digit(*at); at++) {
            if (d.divisor >= UINT64_C(1000000000000000000))
                continue;
            d.fraction = d.fraction * 10 + (uint64_t)(*at - '0');
            d.divisor *= 10;
        }
    }
    *p = at;
    *ret = d;
    return true;
}

/* False: more than fits. */
static bool decimal_times(const struct decimal *d, int64_t unit_ns, int64_t *ret)
{
    unsigned __int128 ns = (unsigned __int128)d->whole * (uint64_t)unit_ns;

    ns += ((unsigned __int128)d->fraction * (uint64_t)unit_ns + d->divisor / 2) / d->divisor;
    if (ns > INT64_MAX)
        return false;
    *ret = (int64_t)ns;
    return true;
}

enum weir_status parse_duration(const char *text, duration_ns *ret, struct weir_error *err)
{
    const char *p = text;
    int64_t sum = 0;
    int unit_before = -1;

    do {
        const char *letters;
        struct decimal d;
        int64_t ns;
        int unit;

        if (!read_decimal(&p, &d))
            goto malformed;
        letters = p;
        while (*p >= 'a' && *p <= 'z')
            p++;
        unit = find_unit(letters, (size_t)(p - letters));
        if (p == letters && *p == '\0' && unit_before < 0)
            unit = find_unit("s", 1); /* a bare number */
        if (unit <= unit_before)
            goto malformed;
        unit_before = unit;
        if (!decimal_times(&d, duration_units[unit].ns, &ns) ||
            __builtin_add_overflow(sum, ns, &sum))
            return error_set(err, WEIR_E_INVALID,
                             "\"%.64s\" is too long a time; the most is about 290 years", text);
    } while (*p != '\0');
    *ret = sum;
    return WEIR_OK;
malformed:
    return error_set(err, WEIR_E_INVALID, "\"%.64s\" is not a duration; " DURATION_HELP, text);
}

/* The multiplier that a size's suffix stands for; 0: there is no such suffix. */
static uint64_t size_unit(const char *suffix)
{
    static const char letters[] = "kmgt";
    const char *letter;
    uint64_t base = 1024;
    uint64_t unit = 1;

    if (suffix[0] == '\0' || strcmp(suffix, "B") == 0)
        return 1;
    letter = strchr(letters, suffix[0] | 0x20);
    if (!letter || *letter == '\0')
        return 0;
    if (strcmp(suffix + 1, "B") == 0)
        base = 1000;
    else if (suffix[1] != '\0' && strcmp(suffix + 1, "iB") != 0)
        return 0;
    for (const char *p = letters; p <= letter; p++)
        unit *= base;
    return unit;
}

enum weir_status parse_size(const char *text, uint64_t *ret_bytes, struct weir_error *err)
{
    const char *p = text;
    uint64_t bytes = 0;
    uint64_t unit;

    if (!is_digit(*p))
        goto malformed;
    for (; is_digit(*p); p++) {
        if (__builtin_mul_overflow(bytes, 10u, &bytes) ||
            __builtin_add_overflow(bytes, (uint64_t)(*p - '0'), &bytes))
            goto too_large;
    }
    unit = size_unit(p);
    if (unit == 0)
        goto malformed;
    if (__builtin_mul_overflow(bytes, unit, &bytes))
        goto too_large;
    *ret_bytes = bytes;
    return WEIR_OK;
too_large:
    return error_set(err, WEIR_E_INVALID, "\"%.64s\" is more than 64 bits of bytes", text);
malformed:
    return error_set(err, WEIR_E_INVALID, "\"%.64s\" is not a size; " SIZE_HELP, text);
}

/* Digits with "_" between them, and k or M behind them. False: it is not that. *ret saturates at
 * INT64_MAX, which says all that a range check needs. */
static bool read_count(const char *p, int64_t *ret)
{
    int64_t count = 0;
    int64_t unit = 1;

    if (!is_digit(*p))
        return false;
    for (; is_digit(*p) || (*p == '_' && is_digit(p[1])); p++) {
        if (*p == '_')
            continue;
        if (__builtin_mul_overflow(count, 10, &count) ||
            __builtin_add_overflow(count, *p - '0', &count))
            count = INT64_MAX;
    }
    if (*p == 'k' || *p == 'M')
        unit = *p++ == 'k' ? 1000 : 1000000;
    if (*p != '\0')
        return false;
    if (__builtin_mul_overflow(count, unit, &count))
        count = INT64_MAX;
    *ret = count;
    return true;
}

enum weir_status parse_count(const char *text, int64_t min, int64_t max, int64_t *ret,
                             struct weir_error *err)
{
    bool negative = text[0] == '-';
    int64_t count;

    if (!read_count(text + negative, &count))
        return error_set(err, WEIR_E_INVALID,
                         "\"%.64s\" is not a whole number; write it like 200, 10k or 2M", text);
    if (negative)
        count = -count;
    if (count < min || count > max) {
        if (max == INT64_MAX)
            return error_set(err, WEIR_E_INVALID, "%.64s is too small; it must be %lld or more",
                             text, (long long)min);
        return error_set(err, WEIR_E_INVALID, "%.64s is out of range; it must be %lld to %lld",
                         text, (long long)min, (long long)max);
    }
    *ret = count;
    return WEIR_OK;
}

enum weir_status parse_number(const char *text, double min, double max, double *ret,
                              struct weir_error *err)
{
    locale_t before;
    double value;
    char *end;

    /* strtod alone would take white space, "inf", "nan" and hexadecimal. */
    if (text[0] == '\0' || text[strspn(text, "0123456789+-.eE")] != '\0')
        goto malformed;
    before = locale_c_enter();
    value = strtod(text, &end);
    locale_c_leave(before);
    if (end == text || *end != '\0' || !isfinite(value))
        goto malformed;
    if (value < min || value > max) {
        if (!isfinite(max))
            return error_set(err, WEIR_E_INVALID, "%.64s is too small; it must be %.15g or more",
                             text, min);
        return error_set(err, WEIR_E_INVALID, "%.64s is out of range; it must be %.15g to %.15g",
                         text, min, max);
    }
    *ret = value;
    return WEIR_OK;
malformed:
    return error_set(err, WEIR_E_INVALID, "\"%.64s\" is not a number; write it like 3 or 0.25",
                     text);
}

enum weir_status parse_share(const char *text, double min, double max, double *ret,
                             struct weir_error *err)
{
    size_t len = strlen(text);
    bool percent = len > 0 && text[len - 1] == '%';
    char number[PART_BYTES];
    enum weir_status status;
    double value;

    if (len >= sizeof(number))
        return error_set(err, WEIR_E_INVALID, "\"%.64s\" is not a share; write it like 2%% or 0.02",
                         text);
    memcpy(number, text, len - percent);
    number[len - percent] = '\0';
    status = parse_number(number, -HUGE_VAL, HUGE_VAL, &value, NULL);
    if (status != WEIR_OK)
        return error_set(err, WEIR_E_INVALID, "\"%.64s\" is not a share; write it like 2%% or 0.02",
                         text);
    value = percent ? value / 100 : value;
    if (!(value >= min && value <= max))
        return error_set(err, WEIR_E_INVALID,
                         "%.64s is out of range; it must be %.15g%% to %.15g%%", text, min * 100,
                         max * 100);
    *ret = value;
    return WEIR_OK;
}

/* Cuts "lo..hi" in two; without ".." both are the whole. False: a part is too long. */
static bool split_range(const char *text, char lo[PART_BYTES], char hi[PART_BYTES])
{
    const char *dots = strstr(text, "..");
    size_t lo_len = dots ? (size_t)(dots - text) : strlen(text);
    const char *second = dots ? dots + 2 : text;
    size_t hi_len = strlen(second);

    if (lo_len >= PART_BYTES || hi_len >= PART_BYTES)
        return false;
    memcpy(lo, text, lo_len);
    lo[lo_len] = '\0';
    memcpy(hi, second, hi_len + 1);
    return true;
}

static enum weir_status range_malformed(const char *text, const char *example,
                                        struct weir_error *err)
{
    return error_set(err, WEIR_E_INVALID, "\"%.64s\" is not a range; write it like %s", text,
                     example);
}

static enum weir_status range_reversed(const char *text, struct weir_error *err)
{
    return error_set(err, WEIR_E_INVALID,
                     "\"%.64s\" is not a range: its first end is above its second", text);
}

enum weir_status parse_range(const char *text, double min, double max, double *ret_lo,
                             double *ret_hi, struct weir_error *err)
{
    char first[PART_BYTES];
    char second[PART_BYTES];
    enum weir_status status;
    double lo;
    double hi;

    if (!split_range(text, first, second) || first[0] == '\0' || second[0] == '\0')
        return range_malformed(text, "5..20 or 5", err);
    status = parse_number(first, min, max, &lo, err);
    if (status == WEIR_OK)
        status = parse_number(second, min, max, &hi, err);
    if (status != WEIR_OK)
        return status;
    if (lo > hi)
        return range_reversed(text, err);
    *ret_lo = lo;
    *ret_hi = hi;
    return WEIR_OK;
}

enum weir_status parse_duration_range(const char *text, duration_ns *ret_lo, duration_ns *ret_hi,
                                      struct weir_error *err)
{
    char first[PART_BYTES];
    char second[PART_BYTES];
    enum weir_status status;
    duration_ns lo;
    duration_ns hi;

    if (!split_range(text, first, second) || first[0] == '\0' || second[0] == '\0')
        return range_malformed(text, "20s..120s or 20s", err);
    status = parse_duration(first, &lo, err);
    if (status == WEIR_OK)
        status = parse_duration(second, &hi, err);
    if (status != WEIR_OK)
        return status;
    if (lo > hi)
        return range_reversed(text, err);
    *ret_lo = lo;
    *ret_hi = hi;
    return WEIR_OK;
}
