/*
 * Reading a task's payload that says itself what is to be done: a JSON object of a few members,
 * bytes that came over the network. What is wrong with it is told to whoever submitted the task.
 *
 *     struct json_wanted m[] = {{.name = SLICE("url")}, {.name = SLICE("body")}};
 *     status = payload_read(&form, payload, m, 2, &err);                  // m[i].value: its bytes, or empty
 *     status = payload_take_string("url", m[0].value, false, &out, &err);
 *
 * Pure. Errors are WEIR_E_FORMAT with the member's name and the remedy, and repeat no value; or
 * WEIR_E_NOMEM.
 */
#ifndef EXEC_RECIPE_PAYLOAD_H
#define EXEC_RECIPE_PAYLOAD_H

#include "base/buf.h"
#include "base/json.h"
#include "base/slice.h"
#include "weir/status.h"

/* Bytes of a name in a message, at most. */
#define PAYLOAD_NAME_SHOWN_MAX 60

/* How it is told what such a payload is, in messages. */
struct payload_form {
    const char *says;    /* "names the command, as {...}": behind "it must be an object that" */
    const char *nobody;  /* "no command": behind "a field x, which ... has" */
    const char *members; /* "\"a\", \"b\"": behind "it may have" */
};

/* Finds the members; any other one is refused, for a mistyped name must not be passed over. */
WEIR_MUST_CHECK enum weir_status payload_read(const struct payload_form *form, struct slice payload,
                                              struct json_wanted *members, size_t count,
                                              struct weir_error *err);
/* Appends the text of a JSON string. nul: it may hold NUL bytes. name: the member's, in messages. */
WEIR_MUST_CHECK enum weir_status payload_take_string(const char *name, struct slice value, bool nul,
                                                     struct buf *out, struct weir_error *err);
/* "a number": what a value is, for a message. */
const char *payload_kind(struct slice value);
/* How many bytes of a name of that length are shown; as a precision of printf. */
int payload_shown(size_t len);

#endif
