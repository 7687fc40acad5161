/*
 * The options of `weir run`: what the command line says, checked.
 *
 *     struct run_options o;
 *     run_options_init(&o);
 *     status = run_options_parse(&o, argc, argv, &err);     // err: "weir run: --tpm: ..."
 *     if (o.help) run_options_help(&buf);
 *     run_options_free(&o);
 *
 * There are three kinds of runs, told by what is given: --url (http), --worker (long-lived
 * processes), or a command behind `--`. Options of one kind are refused in a run of another. The
 * table, and what must hold between options, is in a file for each kind: run_options_http.c,
 * run_options_command.c, run_options_worker.c.
 *
 * Strings point into argv (which must outlive the struct) unless said otherwise. Secrets: a
 * header's value, and a user and password in --url, are read once and kept in `headers`; the URL is
 * kept without them, argv is overwritten where they stood, and no function here ever shows one.
 *
 * Pure but for reading the environment; one owner.
 */
#ifndef CLI_RUN_OPTIONS_H
#define CLI_RUN_OPTIONS_H

#include "base/buf.h"
#include "base/slice.h"
#include "base/time.h"
#include "cli/command/values.h"
#include "cli/flow_options.h"
#include "cli/options.h"
#include "cli/output/progress.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The indexes of the choices, in the order of the table. */
enum run_http { RUN_HTTP_AUTO, RUN_HTTP_1_1, RUN_HTTP_2, RUN_HTTP_2_PRIOR };
enum run_choose { RUN_CHOOSE_LIFO, RUN_CHOOSE_FIFO };
enum run_breaker { RUN_BREAKER_ON, RUN_BREAKER_OFF, RUN_BREAKER_FAIL };

struct run_header {
    char *line; /* "Name: value"; owned; never to be shown */
    size_t name_len;
};

/* Of runs with --url. */
struct run_http_options {
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
};

/* Of runs with a command behind `--`. */
struct run_command_options {
    struct option_list words; /* the command and its arguments */
    struct option_list
        values; /* what stands behind them from the first ::: on, and -a FILE as ::::, FILE */
    struct option_list argfiles;      /* -a */
    bool nul;                         /* rows end at a NUL byte */
    const char *colsep;               /* NULL: none */
    int64_t max_args;                 /* >= 1: lines of one row */
    const char *replace;              /* NULL: {} */
    bool stdin_row;                   /* the row is the command's standard input */
    bool json;                        /* results as lines of JSON; else the bytes as they are */
    bool keep_order, no_run_if_empty; /* taken for the sake of habit */
    bool bar, dry_run;
    bool tag;
    const char *tagstring; /* NULL: none, unless tag */
    const char *joblog;    /* NULL: none */
    bool resume, resume_failed;
    struct term_seq term_seq;
    double load;            /* 0: no limit */
    uint64_t memfree_bytes; /* 0: no limit */
    struct exit_set capacity_exits;
    uint64_t output_max_bytes;
};

/* Of runs with --worker. */
struct run_worker_options {
    const char *worker;   /* the program and its arguments, as one line */
    const char *command;  /* of each request; NULL: process */
    const char *session;  /* jq; NULL: none */
    const char *fallback; /* as worker; NULL: none */
    duration_ns init_timeout_ns, ping_every_ns, checkout_timeout_ns, session_idle_ns, grace_ns;
    int64_t overflow, max_in_flight, recycle_after;
    duration_ns recycle_age_ns;
    uint64_t recycle_memory_bytes, frame_max_bytes;
    bool lazy;
    int choose;  /* enum run_choose */
    int breaker; /* enum run_breaker */
    bool stop_on_same_failure;
    double same_failure_share; /* stops after this share of the rows; 0: at once */
    const char *log;           /* what workers write to standard error; NULL: ours */
};

struct run_options {
    enum run_kind kind;
    struct options_given given;
    struct option_list rest; /* what stands behind `--` */

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
    bool fresh, retry_failed, meta, unordered;
    const char *summary; /* NULL: none */
    const char *events;  /* NULL: none */
    int progress;        /* enum progress_mode */
    bool quiet;

    /* flow */
    struct flow_options flow;
    int64_t seed; /* 0: from the system */

    /* of commands and workers */
    bool shell;
    const char *workdir; /* NULL: where we are */

    struct run_http_options http;
    struct run_command_options command;
    struct run_worker_options worker;

    bool help; /* --help was given; nothing else has been checked */
};

/* What a run of this kind is called in messages: "--url", "--worker", "-- CMD". */
const char *run_kind_name(enum run_kind kind);
/* Whether results go out as the bytes that commands wrote, and not as lines of JSON. */
bool run_options_raw(const struct run_options *o);

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
