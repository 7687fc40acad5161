/*
 * Bodies of requests: JSON objects with known fields, each read and checked by a row of a table.
 *
 *     static const struct field fields[] = {
 *         {FIELD(struct change, priority, "priority", FIELD_INT), .min = -1000, .max = 1000},
 *         ...
 *     };
 *     struct body_in in = {.arena = &arena, .now_ns = now_ns};
 *     if (!body_fields(&in, NULL, object, fields, COUNT_OF(fields), &change, &given)) ... in.faults
 *
 * What is wrong is told with its place in the body, "tasks[3].resources.memory", all of it at once
 * (up to FAULTS_MAX). A field that is not known is refused, with the known one that is nearest; so
 * is one that stands there twice. null is as if the field were not there. Texts point into the
 * body, or where they hold escapes into the arena: both must outlive them.
 *
 * One owner; not thread-safe.
 */
#ifndef SERVE_API_FIELDS_H
#define SERVE_API_FIELDS_H

#include "base/buf.h"
#include "base/json.h"
#include "base/time.h"
#include "serve/api/arena.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Faults that are told of one body. */
#define FAULTS_MAX 20

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* What is wrong with a body. */
struct faults {
    struct buf json;  /* the elements of an array, with commas: {"where":"...","message":"..."} */
    struct buf first; /* the first as one line: "where: message" */
    size_t count;     /* of all, told or not */
    bool nomem;       /* memory ran out: it may not be the body's fault */
};

void faults_free(struct faults *f);

struct body_in {
    struct arena *arena;
    int64_t now_ns; /* wall clock, for "+90s" */
    struct faults faults;
};

/* A place in a body: a member (name), or an element (index) where name is empty. NULL: the body itself. */
struct where {
    const struct where *up;
    struct slice name;
    size_t index;
};

/* Returns false, to be the operand of `return`. */
bool body_fault(struct body_in *in, const struct where *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool body_nomem(struct body_in *in);

enum field_kind {
    FIELD_NAME, /* struct slice: not empty, at most REGISTRY_NAME_BYTES_MAX bytes, no control characters */
    FIELD_TEXT,     /* struct slice: at most max bytes, no control characters */
    FIELD_INT,      /* int64_t in [min, max] */
    FIELD_NUMBER,   /* double in [min, max] */
    FIELD_BOOL,     /* bool */
    FIELD_DURATION, /* int64_t, nanoseconds: seconds or "1m30s"; in [min, max] seconds */
    FIELD_TIME,     /* int64_t, nanoseconds since the epoch */
    FIELD_SIZE,     /* uint64_t, bytes: a number or "512MiB"; in [min, max] */
    FIELD_CHOICE,   /* int: the place of the text in `choices` */
    FIELD_VALUE,    /* struct slice: the value's text, as it is; null too */
};

struct field {
    size_t offset;
    const char *name;
    size_t name_len;
    enum field_kind kind;
    double min, max;
    const char *const *choices; /* ends with NULL */
};
#define FIELD(type, member, text, field_kind)                                                      \
    .offset = offsetof(type, member), .name = (text), .name_len = sizeof(text) - 1,                \
    .kind = (field_kind)

/*
 * Reads a value that json_check() has passed into *out, by the table (at most 64 fields). Fields
 * that are not given are left as they are. *ret_given: a bit for each that is; may be NULL. False:
 * there were faults; the rest has been read.
 */
bool body_fields(struct body_in *in, const struct where *at, struct slice object,
                 const struct field *fields, size_t count, void *out, uint64_t *ret_given);

/* The text of a JSON string, with nothing checked. False: no memory. */
bool body_string(struct body_in *in, struct slice value, struct slice *ret);
/* One value by a row of a table; what body_fields() does for each. */
bool body_value(struct body_in *in, const struct where *at, struct slice value,
                const struct field *f, void *out);
/* Whether the bytes are exactly one JSON value; else a fault says at which byte what is wrong. */
bool body_check(struct body_in *in, const struct where *at, struct slice text);

#endif
