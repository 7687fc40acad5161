/*
 * From a line of the input to a row that can be sent.
 *
 *     rows_new(&(struct row_options){.url = "http://host/v1/chat/completions"}, &rows, &err);
 *     rows_build(rows, &line, index, &row, &err);
 *     row_set_idempotency(row, run_id, 0);
 *     engine_batch_add(batch, &row->task, true, &err);      // row->task.release frees the row
 *     rows_free(rows);
 *
 * What a line is depends on the kind of the run; each has a file of its own.
 *
 * For a service (row_http.c), in JSON mode:
 *
 *   an object with "custom_id" and "body", and "url" or "method" the OpenAI Batch form. It is sent
 *       to its own "url" at the origin of --url (to --url itself when it has none), by its own
 *       "method" (else --method's), with "body", byte for byte as it stands. "url" begins with "/",
 *       or is absolute with the origin of --url: a row of the input never decides which host the
 *       secrets in --header go to.
 *   any other JSON value
 *       is the body itself, byte for byte, sent to --url.
 *
 * With --lines a line is plain text, and its body is that text as a JSON string. --template builds
 * the body from the whole line (with --lines: from that string). A body of null with GET, HEAD or
 * DELETE means no body.
 *
 * For workers (row_worker.c): the same value, or what --template makes of it, is the request's
 * arguments; there is no Batch form. --session names the row's session.
 *
 * For commands (row_command.c): a line is text, of any bytes but NUL, with a NUL between its parts
 * where it was made of several lines or values (lines.h). Its columns are these parts, each parted
 * again by --colsep. A line that is a JSON object has fields too, unless --lines is given. What the
 * command asks for and a row has not makes it a bad row.
 *
 * The key: what --key gives, else "custom_id" when that is a string, else the row's number, from 0:
 * the "index" of its output line. It has 1 to ROW_KEY_BYTES_MAX bytes and no control characters. A
 * command's row that has such bytes and is UTF-8 is its own key, for that is what somebody looks
 * for in a record; such a key may repeat.
 *
 * Messages read "FILE:LINE: what is wrong (column N); what to do"; columns count bytes from 1.
 *
 * Owner: a row is one allocation that holds copies of what it needs from the line; its `file`, and
 * its url and method when they are --url and --method, belong to the options and must outlive it.
 * One thread at a time for struct rows; rows themselves are independent of it.
 */
#ifndef CLI_INPUT_ROW_H
#define CLI_INPUT_ROW_H

#include "base/slice.h"
#include "cli/input/lines.h"
#include "cli/run_kind.h"
#include "core/task.h"
#include "exec/http/http.h"
#include "exec/process/process.h"
#include "store/fingerprint.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ROW_KEY_BYTES_MAX 512
/* A row's url, with the origin before it. */
#define ROW_URL_BYTES_MAX (8 * 1024)

struct columns;
struct template;

struct row_options {
    enum run_kind kind;
    bool lines;                /* plain text instead of JSON */
    const char *template_expr; /* jq; NULL: none */
    const char *key_expr;      /* jq; NULL: none */
    /* for a service */
    const char *url;    /* absolute; outlives the rows */
    const char *method; /* a token of letters; NULL: POST */
    /* for workers */
    const char *session_expr; /* jq; NULL: none */
    const char *command;      /* of the requests; NULL: process. Outlives the rows */
    /* for commands; outlive the builder */
    const struct template *words; /* that each row is put into */
    const struct template *tag;   /* NULL: none */
    const char *colsep;           /* a regular expression; NULL: none */
    bool of_parts;                /* lines are made of several, with a NUL between them */
    bool input; /* the row is to be the command's standard input, as a line for each of its parts */
    bool input_nul; /* ... with the NULs that stand there, and none added */
};

/* The methods that a row may name; also in lower case. */
#define ROW_METHODS "GET, HEAD, POST, PUT, PATCH, DELETE"

enum row_kind {
    ROW_PLAIN, /* output line: {"index", "key", ...} */
    ROW_BATCH, /* output line in the OpenAI Batch form */
};

/* What all rows have; the first member of what each kind's are. */
struct run_row {
    struct core_task
        task; /* key, payload, hash, release are filled in. payload_len is what the row takes in memory, for
                              the engine's window_bytes */
    enum run_kind made_for;
    enum row_kind kind;
    bool keyed;       /* the key came from the row: it must be unique */
    bool bad;         /* see row_bad() */
    bool passed_over; /* its user's: it is not to be run, and has no result */
    const char *file; /* its name for a person */
    uint64_t line;    /* number in that file */
    size_t key_len;
};

struct http_row {
    struct run_row row;
    struct http_request request;                 /* the payload */
    char idempotency_key[FINGERPRINT_HEX_BYTES]; /* "" until row_set_idempotency */
};

struct worker_row {
    struct run_row row;
    struct process_request request; /* the payload */
    const char *session;            /* NULL: none */
};

struct command_row {
    struct run_row row;
    struct slice text;   /* as it was read, with NULs between its parts. NUL-terminated */
    struct slice object; /* the same as a JSON object, trimmed; empty: it is none */
    struct slice input;  /* for standard input; data NULL: none */
    size_t place;        /* where its last attempt ran, from 1; 0: nowhere yet */
    size_t column_count;
    struct slice columns[]; /* of the text */
};

struct rows;

/*
 * Compiles the expressions. WEIR_E_INVALID with the option's name: an expression does not compile,
 * the URL is not absolute http or https, or the method is none that HTTP can have.
 */
WEIR_MUST_CHECK enum weir_status rows_new(const struct row_options *o, struct rows **ret,
                                          struct weir_error *err);

/* WEIR_E_FORMAT: the row is bad, and the message says where and why. WEIR_E_NOMEM. */
WEIR_MUST_CHECK enum weir_status rows_build(struct rows *r, const struct line *line, uint64_t index,
                                            struct run_row **ret, struct weir_error *err);

/* What rows_build could read of the last line, though the row was bad. */
struct row_seen {
    bool form;          /* kind is that of the line; false: it could not be told */
    enum row_kind kind; /* ROW_PLAIN when it could not be told */
    struct slice key;   /* empty: none, or a bad one. Valid until the next rows_build */
};
struct row_seen rows_seen(const struct rows *r);

/*
 * A row of any kind that stands for a bad line (--skip-bad): its answer is there already (failed,
 * bad_row, the message), with task.refused set so that no attempt is made. A store records it as
 * any other row. An empty key stands for the row's number.
 */
WEIR_MUST_CHECK enum weir_status row_bad(const struct line *line, uint64_t index,
                                         enum run_kind made_for, enum row_kind kind,
                                         struct slice key, const char *message,
                                         struct run_row **ret, struct weir_error *err);

/* NULL-safe. */
void rows_free(struct rows *r);

/*
 * Gives the row its generation and, for a service, its Idempotency-Key: 32 hex digits that depend
 * on the run, the row's place, its content and its generation alone, so that a resumed run sends
 * the same.
 */
void row_set_idempotency(struct run_row *row, struct slice run_id, uint32_t generation);

/* The row of a task that was built here. */
static inline struct run_row *row_of(struct core_task *task)
{
    return (struct run_row *)(void *)task; /* its first member */
}

/* NULL: it is of another kind, or bad, so that it has nothing but what all rows have. */
static inline struct http_row *row_http(struct run_row *row)
{
    return row->made_for == RUN_HTTP && !row->bad ? (struct http_row *)(void *)row : NULL;
}

static inline struct worker_row *row_worker(struct run_row *row)
{
    return row->made_for == RUN_WORKER && !row->bad ? (struct worker_row *)(void *)row : NULL;
}

static inline struct command_row *row_command(struct run_row *row)
{
    return row->made_for == RUN_COMMAND && !row->bad ? (struct command_row *)(void *)row : NULL;
}

/* Fills in task.tokens. Apart, because a row that is only checked is not asked for them. */
void row_estimate_tokens(struct run_row *row);

/* Frees the row, as task.release does. NULL-safe. */
void row_free(struct run_row *row);

/* The fingerprint of a row's key, for a keyset. */
struct fingerprint row_key_fingerprint(const struct run_row *row);

#endif
