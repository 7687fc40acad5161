/*
 * See value.h.
 */
#include "serve/config/value.h"

#include "base/error.h"
#include "base/json.h"
#include "base/locale_c.h"
#include "base/parse.h"
#include "base/time.h"
#include "serve/config/config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading ---- */

static enum weir_status read_text(const struct config_field *f, const char *text, struct buf *out,
                                  struct weir_error *err)
{
    enum weir_status status = f->check ? f->check(text, err) : WEIR_OK;

    if (status != WEIR_OK)
        return status;
    if ((double)strlen(text) > f->max)
        return error_set(err, WEIR_E_INVALID, "is longer than %.0f bytes", f->max);
    /* What is put in JSON must come back as it was. */
    if (utf8_valid_prefix(slice_of(text)) != strlen(text))
        return error_set(err, WEIR_E_INVALID, "is not UTF-8");
    json_put_string(out, slice_of(text));
    return WEIR_OK;
}

static enum weir_status read_flag(const char *text, struct buf *out, struct weir_error *err)
{
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
        return error_set(err, WEIR_E_INVALID, "must be true or false, not \"%.60s\"", text);
    buf_puts(out, text);
    return WEIR_OK;
}

static enum weir_status read_count(const struct config_field *f, const char *text, struct buf *out,
                                   struct weir_error *err)
{
    int64_t n;
    enum weir_status status = parse_count(text, (int64_t)f->min, (int64_t)f->max, &n, err);

    if (status == WEIR_OK)
        buf_printf(out, "%" PRId64, n);
    return status;
}

/* %.17g comes back as it was. */
static void put_double(double n, struct buf *out)
{
    locale_t before = locale_c_enter();

    buf_printf(out, "%.17g", n);
    locale_c_leave(before);
}

static enum weir_status read_number(const struct config_field *f, const char *text, struct buf *out,
                                    struct weir_error *err)
{
    double n;
    enum weir_status status = f->type == CONFIG_SHARE ? parse_share(text, f->min, f->max, &n, err)
                                                      : parse_number(text, f->min, f->max, &n, err);

    if (status == WEIR_OK)
        put_double(n, out);
    return status;
}

static enum weir_status read_duration(const struct config_field *f, const char *text,
                                      struct buf *out, struct weir_error *err)
{
    duration_ns d;
    enum weir_status status = parse_duration(text, &d, err);

    if (status != WEIR_OK)
        return status;
    if (duration_seconds(d) < f->min || duration_seconds(d) > f->max)
        return error_set(err, WEIR_E_INVALID, "%.60s is out of range; it must be %gs to %gs", text,
                         f->min, f->max);
    buf_printf(out, "%" PRId64, d);
    return WEIR_OK;
}

static enum weir_status read_size(const struct config_field *f, const char *text, struct buf *out,
                                  struct weir_error *err)
{
    uint64_t n;
    enum weir_status status = parse_size(text, &n, err);

    if (status != WEIR_OK)
        return status;
    if ((double)n < f->min || (double)n > f->max)
        return error_set(err, WEIR_E_INVALID,
                         "%.60s is out of range; it must be %.0f to %.0f bytes", text, f->min,
                         f->max);
    buf_printf(out, "%" PRIu64, n);
    return WEIR_OK;
}

static enum weir_status read_mode(const char *text, struct buf *out, struct weir_error *err)
{
    size_t len = strlen(text);

    if (len < 3 || len > 4 || strspn(text, "01234567") != len || (len == 4 && *text != '0'))
        return error_set(err, WEIR_E_INVALID,
                         "\"%.60s\" is no mode of a file; write it in octal digits, such as 0660",
                         text);
    buf_printf(out, "%ld", strtol(text, NULL, 8));
    return WEIR_OK;
}

static enum weir_status read_choice(const struct config_field *f, const char *text, struct buf *out,
                                    struct weir_error *err)
{
    int choice = config_choice(f->choices, text);

    if (choice < 0)
        return error_set(err, WEIR_E_INVALID, "\"%.60s\" is none of %s", text, f->choices);
    buf_printf(out, "%d", choice);
    return WEIR_OK;
}

enum weir_status config_value_read(const struct config_field *f, const char *text, struct buf *out,
                                   struct weir_error *err)
{
    switch (f->type) {
    case CONFIG_TEXT:
    case CONFIG_WORDS:
    case CONFIG_LINE:
    case CONFIG_PAIRS:
        return read_text(f, text, out, err);
    case CONFIG_FLAG:
        return read_flag(text, out, err);
    case CONFIG_COUNT:
    case CONFIG_NUMBERS:
        return read_count(f, text, out, err);
    case CONFIG_NUMBER:
    case CONFIG_SHARE:
        return read_number(f, text, out, err);
    case CONFIG_DURATION:
        return read_duration(f, text, out, err);
    case CONFIG_SIZE:
        return read_size(f, text, out, err);
    case CONFIG_MODE:
        return read_mode(text, out, err);
    case CONFIG_CHOICE:
        return read_choice(f, text, out, err);
    case CONFIG_GROUP:
    case CONFIG_GROUPS:
        break;
    }
    return error_set(err, WEIR_E_INVALID, "must have fields of its own");
}

/* ---- writing ---- */

void config_text_put(const char *text, struct buf *out)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                "_./@%+=:-";
    static const char *const words[] = {"null", "Null", "NULL", "~", "."};
    size_t len = strlen(text);
    bool quote =
        len == 0 || strspn(text, plain) != len || strchr("@%:=-", *text) || text[len - 1] == ':';

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        quote = quote || strcmp(text, words[i]) == 0;
    if (quote)
        json_put_string(out, slice_of(text));
    else
        buf_puts(out, text);
}

static void put_duration(int64_t ns, struct buf *out)
{
    if (ns % NS_PER_S == 0)
        buf_printf(out, "%" PRId64 "s", ns / NS_PER_S);
    else if (ns % NS_PER_MS == 0)
        buf_printf(out, "%" PRId64 "ms", ns / NS_PER_MS);
    else if (ns < NS_PER_S)
        buf_printf(out, "%" PRId64 ".%03" PRId64 "us", ns / NS_PER_US, ns % NS_PER_US);
    else /* a sum: no part of it has more digits than a double */
        buf_printf(out, "%" PRId64 "s%" PRId64 ".%03" PRId64 "us", ns / NS_PER_S,
                   ns % NS_PER_S / NS_PER_US, ns % NS_PER_US);
}

static void put_size(int64_t bytes, struct buf *out)
{
    static const char *const units[] = {"", "KiB", "MiB", "GiB"};
    size_t unit = 0;

    while (unit < 3 && bytes > 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    buf_printf(out, "%" PRId64 "%s", bytes, units[unit]);
}

/* The shortest form that comes back as it was. */
static void put_number(double n, struct buf *out)
{
    locale_t before = locale_c_enter();
    char text[40];

    for (int digits = 6; digits <= 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, n);
        if (strtod(text, NULL) >= n && strtod(text, NULL) <= n)
            break;
    }
    locale_c_leave(before);
    buf_puts(out, text);
}

void config_value_put(const struct config_field *f, const void *in, struct buf *out)
{
    const void *at = (const char *)in + f->offset;

    switch (f->type) {
    case CONFIG_TEXT:
        config_text_put(*(char *const *)at, out);
        break;
    case CONFIG_FLAG:
        buf_puts(out, *(const bool *)at ? "true" : "false");
        break;
    case CONFIG_COUNT:
        buf_printf(out, "%" PRId64, *(const int64_t *)at);
        break;
    case CONFIG_NUMBER:
    case CONFIG_SHARE:
        put_number(*(const double *)at, out);
        break;
    case CONFIG_DURATION:
        put_duration(*(const int64_t *)at, out);
        break;
    case CONFIG_SIZE:
        put_size(*(const int64_t *)at, out);
        break;
    case CONFIG_MODE:
        buf_printf(out, "%04o", (unsigned)*(const int *)at);
        break;
    case CONFIG_CHOICE:
        config_choice_put(f->choices, *(const int *)at, out);
        break;
    case CONFIG_WORDS:
    case CONFIG_LINE:
    case CONFIG_NUMBERS:
    case CONFIG_PAIRS:
    case CONFIG_GROUP:
    case CONFIG_GROUPS:
        break;
    }
}

bool config_value_given(const struct config_field *f, const void *in)
{
    const void *at = (const char *)in + f->offset;

    switch (f->type) {
    case CONFIG_TEXT:
        return *(char *const *)at != NULL;
    case CONFIG_COUNT:
        return *(const int64_t *)at != CONFIG_UNSET || f->min < 0;
    case CONFIG_DURATION:
    case CONFIG_SIZE:
        return *(const int64_t *)at != CONFIG_UNSET;
    case CONFIG_NUMBER:
    case CONFIG_SHARE:
        return *(const double *)at >= 0;
    case CONFIG_MODE:
    case CONFIG_CHOICE:
        return *(const int *)at != CONFIG_UNSET;
    case CONFIG_WORDS:
    case CONFIG_LINE:
        return ((const struct config_words *)at)->count > 0;
    case CONFIG_NUMBERS:
        return ((const struct config_numbers *)at)->count > 0;
    case CONFIG_PAIRS:
        return ((const struct config_pairs *)at)->count > 0;
    case CONFIG_GROUPS:
        return ((const struct config_words *)at)->count > 0;
    case CONFIG_FLAG:
    case CONFIG_GROUP:
        break;
    }
    return true;
}
