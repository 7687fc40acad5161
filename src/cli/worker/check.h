/*
 * What is checked of a worker, as a table, and what came of it.
 *
 *     struct check_run r;
 *     check_run_init(&r, &options, &candidate);
 *     for (size_t i = 0; i < check_count; i++)
 *         result = check_one(&r, &checks[i]);          // result.verdict, result.text
 *     check_run_free(&r);
 *
 * A check begins with a worker that runs and has nothing in hand, if it wants one: what a check
 * before it has ended or broken is started again. What it finds is a sentence: what happened, and
 * the remedy. One thread.
 */
#ifndef CLI_WORKER_CHECK_H
#define CLI_WORKER_CHECK_H

#include "base/buf.h"
#include "base/time.h"
#include "cli/worker/candidate.h"
#include "cli/worker/options.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum check_verdict { CHECK_OK, CHECK_FAIL, CHECK_SKIP };

struct check_run {
    const struct worker_options *options;
    struct candidate *candidate;
    bool starts;             /* it has started once */
    bool answers;            /* it has answered something after its first ping */
    bool knows_unknown;      /* it answers a command that it does not know */
    uint32_t max_in_flight;  /* what it says; 0: nothing */
    struct buf left;         /* what the lives so far have left behind */
    size_t left_lives;       /* how many of them have */
    size_t lives;            /* that ended by themselves */
    enum weir_status status; /* WEIR_OK: it could be launched */
    /* Of the check that runs. */
    struct buf text;
    struct wire_response response; /* the last answer */
};

/* What must have been found of a worker before. */
enum check_needs {
    CHECK_ALWAYS,
    CHECK_STARTS,  /* it starts */
    CHECK_ANSWERS, /* and it answers something, once it has started */
};

struct check {
    const char *name;
    const char *what;       /* that is right if the check passes */
    enum check_needs needs; /* else it is skipped */
    enum check_verdict (*run)(struct check_run *r);
};

struct check_result {
    enum check_verdict verdict;
    struct slice text; /* of r->text: with OK a remark or nothing; valid until the next check */
    duration_ns took_ns;
};

extern const struct check checks[];
extern const size_t check_count;

void check_run_init(struct check_run *r, const struct worker_options *o,
                    struct candidate *candidate);
void check_run_free(struct check_run *r);
struct check_result check_one(struct check_run *r, const struct check *c);

/* ---- for the checks: talk.c ---- */

/* Each says in r->text what went wrong, ends the worker, and returns false. */

/* It is there and has answered a ping. */
bool talk_ensure(struct check_run *r);
/* Sends the request (its id is set if it is 0) and takes its answer, which is r->response until the next call. Nothing
 * may follow the answer. */
bool talk_exchange(struct check_run *r, struct wire_request *q);
/* The same, the request cut at these places of its frame: it must wait for the rest each time. */
bool talk_in_pieces(struct check_run *r, struct wire_request *q, const size_t *cuts, size_t count);
/* Takes the answer to any of `count` requests with the ids from first_id on that is not in `answered` yet. */
bool talk_take(struct check_run *r, uint64_t first_id, size_t count, bool *answered);
/* Nothing comes for a moment. */
bool talk_quiet(struct check_run *r, duration_ns for_ns);
/* It ends by itself, and says nothing more, within the grace from `since`, when it was told by `why` ("the command
 * shutdown"); *ret_end: how. What it leaves behind is noted. remedy: for one that does not end. */
bool talk_ends(struct check_run *r, const char *why, const char *remedy, struct instant since,
               struct child_end *ret_end);
/* It is ended by force; r->text says why already. */
void talk_give_up(struct check_run *r);
/* A request that every worker answers, one way or the other. */
struct wire_request talk_probe(const struct check_run *r, struct slice args);
/* A request with the options' command, or else as talk_probe(). */
struct wire_request talk_call(const struct check_run *r);
/* Appends "exit status 3" or "signal SIGSEGV". */
void talk_put_end(struct buf *out, const struct child_end *end);

#endif
