/*
 * The options of `weir run`: what the command line says, checked.
 *
 *     struct run_options o;
 *     run_options_init(&o);
 *     status = run_options_parse(&o, argc, argv, &err);     // err: "weir run: --tpm: ..."
 *     if (o.help) run_options_help(&buf);
 *     run_options_free(&o);
 *
 * Strings point into argv (which must outlive the struct) unless said otherwise. Secrets: a header's
 * value, and a user and password in --url, are read once and kept in `headers`; the URL is kept
 * without them, argv is overwritten where they stood, and no function here ever shows one.
 *
 * Pure but for reading the environment; one owner.
 */
#ifndef CLI_RUN_OPTIONS_H
#define CLI_RUN_OPTIONS_H

#include "base/buf.h"
#include "base/slice.h"
#include "base/time.h"
#include "cli/flow_options.h"
#include "cli/options.h"
#include "cli/output/progress.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The indexes of the choices, in the order of the table. */
enum run_http { RUN_HTTP_AUTO, RUN_HTTP_1_1, RUN_HTTP_2, RUN_HTTP_2_PRIOR };

struct run_header {
    char *line; /* "Name: value"; owned; never to be shown */
    size_t name_len;
};

struct run_options {
    /* input */
    struct option_list inputs; /* "-": standard input; none given: also standard input */
    bool lines;
    const char *template_expr, *select_expr, *key_expr; /* jq; NULL: none */
    bool skip_bad;
    uint64_t max_line_bytes;

    /* output */
    const char *output;  /* NULL: standard output */
    const char *errors;  /* NULL: none */
    const char *journal; /* NULL: none. Never NULL with an output (default FILE.weir) */
    char *journal_owned; /* what journal points to when it is the default */
    bool fresh, retry_failed, meta;
    const char *summary; /* NULL: none */
    const char *events;  /* NULL: none */
    int progress;        /* enum progress_mode */
    bool quiet;

    /* flow */
    struct flow_options flow;
    int64_t seed; /* 0: from the system */

    /* HTTP */
    char *url;                  /* owned; without user and password */
    const char *method;         /* NULL: POST */
    struct run_header *headers; /* in the order given, secrets resolved */
    size_t header_count;
    duration_ns connect_timeout_ns;
    uint64_t response_max_bytes;
    int http;    /* enum run_http */
    char *proxy; /* owned; may hold a password: never to be shown */
    const char *no_proxy, *cacert, *cert, *key_file, *unix_socket;
    bool insecure;

    bool help; /* --help was given; nothing else has been checked */
};

/* All defaults; nothing owned. */
void run_options_init(struct run_options *o);
/* argv[0] is "run". Parses and checks all; the message begins with "weir run: ". */
WEIR_MUST_CHECK enum weir_status run_options_parse(struct run_options *o, int argc, char **argv,
                                                   struct weir_error *err);
void run_options_help(struct buf *out);
/* Wipes secrets, frees what is owned. */
void run_options_free(struct run_options *o);

/* Appends the URL as it may be shown: parameters in its query whose name looks like a secret's
 * (key, token, sig, ...) have "***" for a value. */
void run_options_show_url(const struct run_options *o, struct buf *out);

/*
 * Appends the options that a resumed run must share with the run before, as JSON with sorted names:
 * what decides what is sent, and what the output looks like. Not: how fast, how often, how told. Of
 * headers only the names; of the URL what run_options_show_url shows.
 */
void run_options_fingerprint(const struct run_options *o, struct buf *out);
/*
 * Whether two fingerprints differ; appends one line per difference, with both values:
 * "--method: was POST, is now GET". False, and nothing appended: they agree.
 */
bool run_options_conflict(struct slice before, struct slice now, struct buf *out);

#endif
