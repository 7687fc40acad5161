#include "serve/api/fields.h"

#include "base/error.h"
#include "base/nearest.h"
#include "core/ports/registry.h"
#include "serve/api/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Of other people's text that a message repeats. */
#define QUOTED_BYTES_MAX 64
#define FIELDS_MAX       64

void faults_free(struct faults *f)
{
    buf_free(&f->json);
    buf_free(&f->first);
    *f = (struct faults){0};
}

/* ---- telling what is wrong ---- */

static void put_where(struct buf *out, const struct where *at)
{
    if (!at)
        return;
    put_where(out, at->up);
    if (at->name.len == 0) {
        buf_printf(out, "[%zu]", at->index);
        return;
    }
    if (out->len > 0)
        buf_putc(out, '.');
    buf_put(out, at->name.data, at->name.len < QUOTED_BYTES_MAX ? at->name.len : QUOTED_BYTES_MAX);
}

bool body_nomem(struct body_in *in)
{
    in->faults.nomem = true;
    return false;
}

bool body_fault(struct body_in *in, const struct where *at, const char *format, ...)
{
    struct faults *f = &in->faults;
    _cleanup_buf_ struct buf where = {0};
    char message[WEIR_ERROR_MESSAGE_BYTES];
    va_list args;

    if (f->count++ >= FAULTS_MAX)
        return false;
    va_start(args, format);
    (void)vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    put_where(&where, at);
    if (f->count > 1)
        buf_putc(&f->json, ',');
    buf_puts(&f->json, "{\"where\":");
    json_put_string(&f->json, buf_slice(&where));
    buf_puts(&f->json, ",\"message\":");
    json_put_string(&f->json, slice_of(message));
    buf_putc(&f->json, '}');
    if (f->count == 1) {
        buf_put_slice(&f->first, buf_slice(&where));
        buf_printf(&f->first, "%s%s", where.len > 0 ? ": " : "", message);
    }
    if (where.failed || f->json.failed || f->first.failed)
        f->nomem = true;
    return false;
}

bool body_check(struct body_in *in, const struct where *at, struct slice text)
{
    struct json_fault fault;

    if (json_check(text, &fault))
        return true;
    if (json_trim(text).len == 0)
        return body_fault(in, at, "there is nothing; a JSON value is expected");
    return body_fault(in, at, "not JSON: at byte %zu: %s", fault.offset, fault.what);
}

static const char *kind_words(enum json_kind kind)
{
    static const char *const words[] = {
        [JSON_NULL] = "null",        [JSON_FALSE] = "false",     [JSON_TRUE] = "true",
        [JSON_NUMBER] = "a number",  [JSON_STRING] = "a string", [JSON_ARRAY] = "an array",
        [JSON_OBJECT] = "an object", [JSON_NONE] = "nothing"};

    return words[kind];
}

/* ---- texts ---- */

bool body_string(struct body_in *in, struct slice value, struct slice *ret)
{
    _cleanup_buf_ struct buf text = {0};
    struct slice inner = {value.data + 1, value.len - 2};
    const char *copy;

    if (!memchr(inner.data, '\\', inner.len)) {
        *ret = inner;
        return true;
    }
    json_unquote(value, &text);
    copy = text.failed ? NULL : arena_copy(in->arena, buf_slice(&text).data, text.len);
    if (!copy)
        return body_nomem(in);
    *ret = (struct slice){copy, text.len};
    return true;
}

static bool has_control(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.data[i] < 0x20 || text.data[i] == 0x7F)
            return true;
    }
    return false;
}

static bool read_text(struct body_in *in, const struct where *at, struct slice value,
                      const struct field *f, struct slice *out)
{
    size_t max = f->kind == FIELD_NAME ? REGISTRY_NAME_BYTES_MAX : (size_t)f->max;
    struct slice text;

    if (json_kind(value) != JSON_STRING)
        return body_fault(in, at, "it is %s; it must be a string", kind_words(json_kind(value)));
    if (!json_string_is_text(value))
        return body_fault(in, at,
                          "it has half a character, which is no text: \\ud800 to \\udfff "
                          "stand for one only in pairs");
    if (!body_string(in, value, &text))
        return false;
    if (f->kind == FIELD_NAME && text.len == 0)
        return body_fault(in, at, "it is empty; leave it out if there is none");
    if (text.len > max)
        return body_fault(in, at, "it has %zu bytes; at most %zu are allowed", text.len, max);
    if (has_control(text))
        return body_fault(in, at, "it has a control character in it; names are of printable text");
    *out = text;
    return true;
}

static bool read_choice(struct body_in *in, const struct where *at, struct slice value,
                        const struct field *f, int *out)
{
    char all[160] = "";
    size_t len = 0;

    for (int i = 0; f->choices[i]; i++) {
        if (json_kind(value) == JSON_STRING && json_string_equals(value, slice_of(f->choices[i]))) {
            *out = i;
            return true;
        }
        if (len < sizeof(all))
            len += (size_t)snprintf(all + len, sizeof(all) - len, "%s\"%s\"", i > 0 ? ", " : "",
                                    f->choices[i]);
    }
    return body_fault(in, at, "it is %.*s; it must be one of %s",
                      (int)(value.len < QUOTED_BYTES_MAX ? value.len : QUOTED_BYTES_MAX),
                      value.data, all);
}

/* ---- numbers ---- */

static bool read_int(struct body_in *in, const struct where *at, struct slice value,
                     const struct field *f, int64_t *out)
{
    int64_t n;

    if (json_kind(value) != JSON_NUMBER)
        return body_fault(in, at, "it is %s; it must be a whole number",
                          kind_words(json_kind(value)));
    if (!json_int64(value, &n) || (double)n < f->min || (double)n > f->max)
        return body_fault(in, at, "it is %.*s; it must be a whole number from %.0f to %.0f",
                          (int)(value.len < QUOTED_BYTES_MAX ? value.len : QUOTED_BYTES_MAX),
                          value.data, f->min, f->max);
    *out = n;
    return true;
}

static bool read_number(struct body_in *in, const struct where *at, struct slice value,
                        const struct field *f, double *out)
{
    double n;

    if (json_kind(value) != JSON_NUMBER)
        return body_fault(in, at, "it is %s; it must be a number", kind_words(json_kind(value)));
    if (!json_double(value, &n) || n < f->min || n > f->max)
        return body_fault(in, at, "it is %.*s; it must be from %g to %g",
                          (int)(value.len < QUOTED_BYTES_MAX ? value.len : QUOTED_BYTES_MAX),
                          value.data, f->min, f->max);
    *out = n;
    return true;
}

static bool read_duration(struct body_in *in, const struct where *at, struct slice value,
                          const struct field *f, int64_t *out)
{
    struct weir_error err;
    struct slice text;
    duration_ns d;
    double seconds;

    switch (json_kind(value)) {
    case JSON_NUMBER:
        if (!json_double(value, &seconds) || seconds < 0)
            return body_fault(in, at, "a duration in seconds is not negative");
        d = duration_from_seconds(seconds);
        break;
    case JSON_STRING:
        if (!body_string(in, value, &text))
            return false;
        if (text_duration(text, &d, &err) != WEIR_OK)
            return body_fault(in, at, "%s", err.message);
        break;
    default:
        return body_fault(in, at, "it is %s; it must be seconds, or a duration such as \"30s\"",
                          kind_words(json_kind(value)));
    }
    if (duration_seconds(d) < f->min || duration_seconds(d) > f->max)
        return body_fault(in, at, "it is %g s; it must be from %g to %g s", duration_seconds(d),
                          f->min, f->max);
    *out = d;
    return true;
}

static bool read_time(struct body_in *in, const struct where *at, struct slice value, int64_t *out)
{
    struct weir_error err;
    struct slice text;

    if (json_kind(value) != JSON_STRING)
        return body_fault(
            in, at, "it is %s; it must be a time such as \"2026-01-31T12:00:00Z\", or \"+90s\"",
            kind_words(json_kind(value)));
    if (!body_string(in, value, &text))
        return false;
    if (text_time(text, in->now_ns, out, &err) != WEIR_OK)
        return body_fault(in, at, "%s", err.message);
    return true;
}

static bool read_size(struct body_in *in, const struct where *at, struct slice value,
                      const struct field *f, uint64_t *out)
{
    struct weir_error err;
    struct slice text;
    uint64_t bytes;
    int64_t n;

    switch (json_kind(value)) {
    case JSON_NUMBER:
        if (!json_int64(value, &n) || n < 0)
            return body_fault(in, at, "a number of bytes is whole and not negative");
        bytes = (uint64_t)n;
        break;
    case JSON_STRING:
        if (!body_string(in, value, &text))
            return false;
        if (text_size(text, &bytes, &err) != WEIR_OK)
            return body_fault(in, at, "%s", err.message);
        break;
    default:
        return body_fault(in, at, "it is %s; it must be bytes, or a size such as \"512MiB\"",
                          kind_words(json_kind(value)));
    }
    if ((double)bytes < f->min || (double)bytes > f->max)
        return body_fault(in, at, "it is %" PRIu64 " bytes; it must be from %.0f to %.0f", bytes,
                          f->min, f->max);
    *out = bytes;
    return true;
}

bool body_value(struct body_in *in, const struct where *at, struct slice value,
                const struct field *f, void *out)
{
    switch (f->kind) {
    case FIELD_NAME:
    case FIELD_TEXT:
        return read_text(in, at, value, f, out);
    case FIELD_INT:
        return read_int(in, at, value, f, out);
    case FIELD_NUMBER:
        return read_number(in, at, value, f, out);
    case FIELD_DURATION:
        return read_duration(in, at, value, f, out);
    case FIELD_TIME:
        return read_time(in, at, value, out);
    case FIELD_SIZE:
        return read_size(in, at, value, f, out);
    case FIELD_CHOICE:
        return read_choice(in, at, value, f, out);
    case FIELD_VALUE:
        *(struct slice *)out = value;
        return true;
    case FIELD_BOOL:
        break;
    }
    if (json_kind(value) != JSON_TRUE && json_kind(value) != JSON_FALSE)
        return body_fault(in, at, "it is %s; it must be true or false",
                          kind_words(json_kind(value)));
    *(bool *)out = json_kind(value) == JSON_TRUE;
    return true;
}

/* ---- objects ---- */

static bool unknown_field(struct body_in *in, const struct where *at, struct slice name,
                          const struct field *fields, size_t count)
{
    const char *names[FIELDS_MAX + 1];
    const char *nearest;
    char word[QUOTED_BYTES_MAX + 1];

    for (size_t i = 0; i < count; i++)
        names[i] = fields[i].name;
    names[count] = NULL;
    if (name.len > QUOTED_BYTES_MAX)
        return body_fault(in, at, "there is no such field");
    memcpy(word, name.data, name.len);
    word[name.len] = '\0';
    nearest = nearest_name(word, names);
    if (nearest)
        return body_fault(in, at, "there is no such field; did you mean \"%s\"?", nearest);
    return body_fault(in, at, "there is no such field");
}

static const struct field *find_field(struct slice name, const struct field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (fields[i].name_len == name.len && memcmp(fields[i].name, name.data, name.len) == 0)
            return &fields[i];
    }
    return NULL;
}

bool body_fields(struct body_in *in, const struct where *at, struct slice object,
                 const struct field *fields, size_t count, void *out, uint64_t *ret_given)
{
    struct json_iter it;
    struct slice key, value, name;
    uint64_t given = 0;
    bool ok = true;

    if (json_kind(object) != JSON_OBJECT)
        return body_fault(in, at, "it is %s; it must be an object", kind_words(json_kind(object)));
    json_iter_init(&it, object);
    while (json_iter_next(&it, &key, &value)) {
        const struct field *f;
        struct where here = {.up = at};
        uint64_t bit;

        if (!body_string(in, key, &name))
            return false;
        /* An element has no name; a member always has one that can be told. */
        here.name = name.len > 0 ? name : SLICE("\"\"");
        f = find_field(name, fields, count);
        if (!f) {
            ok = unknown_field(in, &here, name, fields, count);
            continue;
        }
        bit = UINT64_C(1) << (f - fields);
        if (given & bit) {
            ok = body_fault(in, &here, "it is given twice");
            continue;
        }
        if (json_kind(value) == JSON_NULL && f->kind != FIELD_VALUE)
            continue;
        given |= bit;
        if (!body_value(in, &here, value, f, (char *)out + f->offset))
            ok = false;
    }
    if (ret_given)
        *ret_given = given;
    return ok;
}
