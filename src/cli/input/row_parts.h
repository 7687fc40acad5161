/*
 * What the files that build rows share, and nobody else sees: row.c what all rows have, row_http.c,
 * row_worker.c and row_command.c what each kind makes of a line.
 */
#ifndef CLI_INPUT_ROW_PARTS_H
#define CLI_INPUT_ROW_PARTS_H

#include "base/buf.h"
#include "cli/command/columns.h"
#include "cli/input/program.h"
#include "cli/input/row.h"

/* What was found in a line, before the row is made; slices point into the line or the scratch. */
struct found {
    enum row_kind kind;
    bool keyed;
    struct slice key;
    struct slice body;    /* what is sent; of a command's row its text */
    struct slice url;     /* empty: --url */
    struct slice session; /* empty: none */
    struct slice object;  /* of a command's row that is one */
    const char *method;
};

/* What a kind does. */
struct row_maker {
    /* The line is not too long. */
    enum weir_status (*read)(struct rows *r, const struct line *line, uint64_t index,
                             struct found *found, struct weir_error *err);
    /* Bytes of the row's struct, and of what is placed behind it. */
    size_t (*bytes)(const struct rows *r, const struct found *found);
    /* Fills in the rest of a row that is zeroed but for what all rows have. */
    void (*fill)(const struct rows *r, const struct found *found, struct run_row *row, char **at);
    /* Where what is placed behind the struct begins. */
    size_t (*head_bytes)(const struct rows *r);
};

extern const struct row_maker row_maker_http, row_maker_worker, row_maker_command;

struct rows {
    struct row_options options;
    const struct row_maker *maker;
    const char *method; /* canonical; --method's */
    size_t origin_len;  /* of the URL: "https://host:port" */
    struct program *template;
    struct program *key;
    struct program *session;
    struct columns *colsep;
    struct column_list columns, parts;    /* of the last line */
    struct buf text, key_text, body, url; /* scratch of one row */
    struct row_seen seen;                 /* of the last row; its key stands in seen_key */
    char seen_key[ROW_KEY_BYTES_MAX];
};

/* "FILE:LINE: " before the message of a bad row, which names what to do at its end. */
enum weir_status row_fault(const struct line *line, struct weir_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Of a program that failed on the row: its message, with the place before it. */
enum weir_status row_program_fault(const struct line *line, enum weir_status status,
                                   const struct weir_error *why, struct weir_error *err);
/* The line as a JSON value, into found->body: checked, trimmed; with --lines the text as a JSON string. */
enum weir_status row_read_value(struct rows *r, const struct line *line, struct found *found,
                                struct weir_error *err);
/* The key by --key, or by custom_id (empty slice: there is none); else found->key stays empty. */
enum weir_status row_find_key(struct rows *r, const struct line *line, struct slice value,
                              struct slice custom_id, struct found *found, struct weir_error *err);
/* Whether a text may be a key as it stands. */
bool row_text_is_key(struct slice text);
/* Replaces the body by what --template makes of it. */
enum weir_status row_apply_template(struct rows *r, const struct line *line, struct found *found,
                                    struct weir_error *err);
/* Copies bytes with a NUL behind them to *at, which moves on. */
char *row_place_bytes(char **at, struct slice bytes);

enum weir_status row_http_check(struct rows *r, struct weir_error *err);

#endif
