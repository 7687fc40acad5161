/*
 * One expression of the jq language, compiled once and run on one JSON text after the other: what
 * --template, --key and --select take.
 *
 *     program_new(&(struct program_options){.name = "--key", .expr = ".id"}, &program, &err);
 *     program_run(program, row, PROGRAM_TEXT, &buf, &err);
 *     program_free(program);
 *
 * An expression must give exactly one value for each text. Plain paths (".", ".a.b", ".a[0]",
 * `.["a b"]`) are followed here, without jq, and hand on the bytes as they stand: a number of 30
 * digits keeps them, 1.0 stays 1.0. Every other expression is run by libjq 1.6, which reads numbers
 * as doubles: integers beyond 2^53 lose digits, and numbers are printed anew. Semantics are jq's
 * either way; a path that leads nowhere gives null.
 *
 * What an expression may do: it is the user's own, and runs with the user's rights. It can read the
 * environment (env, $ENV), so what it builds may hold what stands there. It cannot read the rows
 * (input), other modules (import, include) or end the command (halt); debug and stderr pass their
 * input on without a word. As with jq itself, definitions in ~/.jq are there. Nothing bounds its
 * time and its memory: an endless expression is endless, and libjq aborts when memory is out.
 *
 * Owner: the caller. A program is used by one thread at a time; different programs are independent.
 */
#ifndef CLI_INPUT_PROGRAM_H
#define CLI_INPUT_PROGRAM_H

#include "base/buf.h"
#include "base/slice.h"
#include "weir/status.h"

#include <stdbool.h>

/* Longest expression, and most steps of a path that are followed without jq. */
#define PROGRAM_EXPR_BYTES_MAX (64 * 1024)
#define PROGRAM_STEPS_MAX      32

struct program_options {
    const char *name;   /* of the option, for messages: "--template". Outlives the program */
    const char *expr;   /* copied */
    bool empty_is_null; /* no value is null, instead of an error */
};

struct program;

/* WEIR_E_INVALID: the expression does not compile; the message has jq's reason. WEIR_E_NOMEM. */
WEIR_MUST_CHECK enum weir_status program_new(const struct program_options *o, struct program **ret,
                                             struct weir_error *err);

enum program_form {
    PROGRAM_JSON, /* the value as JSON text, on one line */
    PROGRAM_TEXT, /* a string without quotes, a number as it is; anything else is an error */
};

/*
 * Appends the value that the expression gives for json (which json_check has passed).
 * WEIR_E_FORMAT: it gave none, several, an error, or what the form does not allow; the message
 * begins with the option's name. WEIR_E_NOMEM. Nothing is appended on failure.
 */
WEIR_MUST_CHECK enum weir_status program_run(struct program *p, struct slice json,
                                             enum program_form form, struct buf *out,
                                             struct weir_error *err);

/* Whether jq is not needed: bytes are passed on as they are. For messages and tests. */
bool program_is_path(const struct program *p);

/* NULL-safe. */
void program_free(struct program *p);

#endif
