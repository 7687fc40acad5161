#include "exec/recipe/payload.h"

#include "base/error.h"

#include <string.h>

int payload_shown(size_t len)
{
    return len < PAYLOAD_NAME_SHOWN_MAX ? (int)len : PAYLOAD_NAME_SHOWN_MAX;
}

const char *payload_kind(struct slice value)
{
    static const char *const names[] = {
        [JSON_NULL] = "null",        [JSON_FALSE] = "false",     [JSON_TRUE] = "true",
        [JSON_NUMBER] = "a number",  [JSON_STRING] = "a string", [JSON_ARRAY] = "an array",
        [JSON_OBJECT] = "an object", [JSON_NONE] = "missing",
    };

    return names[json_kind(value)];
}

static enum weir_status refuse_others(const struct payload_form *form, struct slice payload,
                                      const struct json_wanted *members, size_t count,
                                      struct weir_error *err)
{
    struct json_iter it;
    struct slice key, value;

    json_iter_init(&it, payload);
    while (json_iter_next(&it, &key, &value)) {
        size_t i = 0;

        while (i < count && !json_string_equals(key, members[i].name))
            i++;
        if (i == count)
            return error_set(err, WEIR_E_FORMAT,
                             "the payload has a field %.*s, which %s has; it may have %s",
                             payload_shown(key.len), key.data, form->nobody, form->members);
    }
    return WEIR_OK;
}

enum weir_status payload_read(const struct payload_form *form, struct slice payload,
                              struct json_wanted *members, size_t count, struct weir_error *err)
{
    struct json_fault fault;

    if (!json_check(payload, &fault))
        return error_set(err, WEIR_E_FORMAT, "the payload is not JSON: %s, at byte %zu; it %s",
                         fault.what, fault.offset, form->says);
    payload = json_trim(payload);
    if (json_kind(payload) != JSON_OBJECT)
        return error_set(err, WEIR_E_FORMAT, "the payload is %s; it must be an object that %s",
                         payload_kind(payload), form->says);
    json_members(payload, members, count);
    return refuse_others(form, payload, members, count, err);
}

enum weir_status payload_take_string(const char *name, struct slice value, bool nul,
                                     struct buf *out, struct weir_error *err)
{
    size_t at = out->len;

    if (json_kind(value) != JSON_STRING)
        return error_set(err, WEIR_E_FORMAT, "\"%s\" of the payload is %s; it must be a string",
                         name, payload_kind(value));
    json_unquote(value, out);
    if (out->failed)
        return error_nomem(err);
    if (!nul && out->len > at && memchr(out->data + at, '\0', out->len - at))
        return error_set(err, WEIR_E_FORMAT,
                         "\"%s\" of the payload holds a NUL byte, where none can stand", name);
    return WEIR_OK;
}
