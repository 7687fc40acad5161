/*
 * The small texts that options of commands and workers take, beyond those of base/parse.h.
 *
 *     values_term_seq("TERM,200,TERM,100,KILL,25", &seq, &err);
 *     values_exits("75,100-110", &set, &err);
 *     values_timeout("200%", &t, &err);      values_load("80%", processors, &load, &err);
 *     values_jobs("50%", processors, &jobs, &err);
 *
 * Each takes the whole text or refuses it, and leaves its output untouched on failure; the caller
 * puts the option's name before the message. Pure.
 */
#ifndef CLI_COMMAND_VALUES_H
#define CLI_COMMAND_VALUES_H

#include "base/time.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Signals of one sequence. */
#define TERM_SEQ_MAX 16

/* How a command is ended: a signal, a wait, and so on. After the last wait nothing more is done. */
struct term_seq {
    size_t count;
    struct {
        int signal;
        duration_ns wait_ns; /* before the next one */
    } steps[TERM_SEQ_MAX];
};

/* Signals by name (TERM, SIGTERM) or number, with milliseconds between (or a time with its unit, such as 2s); behind the
 * last one a wait may stand. */
WEIR_MUST_CHECK enum weir_status values_term_seq(const char *text, struct term_seq *ret,
                                                 struct weir_error *err);

/* Exit codes, a bit for each. */
struct exit_set {
    uint64_t bits[4];
};

/* "75", "75,100-110", or "none". */
WEIR_MUST_CHECK enum weir_status values_exits(const char *text, struct exit_set *ret,
                                              struct weir_error *err);
bool exit_set_has(const struct exit_set *set, int code);

/* A time, or a share of the median of the run times so far. */
struct timeout_value {
    duration_ns time_ns; /* 0: none, or a share */
    double share;        /* 2.0 for 200%; 0: none */
};

WEIR_MUST_CHECK enum weir_status values_timeout(const char *text, struct timeout_value *ret,
                                                struct weir_error *err);

/* A load average: a number, or a share of the processors. */
WEIR_MUST_CHECK enum weir_status values_load(const char *text, long processors, double *ret,
                                             struct weir_error *err);

/* Places: a number, or a share of the processors (at least one). */
WEIR_MUST_CHECK enum weir_status values_jobs(const char *text, long processors, int64_t max,
                                             int64_t *ret, struct weir_error *err);

#endif
