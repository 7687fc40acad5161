/*
 * What an attempt gave: the one thing that an executor reports, and what a result keeps of its last
 * attempt.
 *
 * Owner: whoever holds the struct owns message, output, errput and request_id (answer_clear frees
 * all four). A small output lives in the struct itself, so that the commonest answers of very short
 * work need no memory of their own; that is why a struct is moved by answer_move() only. A large
 * one may live elsewhere than in memory (a mapped file), and then says how it is freed.
 */
#ifndef CORE_ANSWER_H
#define CORE_ANSWER_H

#include "base/time.h"
#include "flow/advice.h"
#include "weir/outcome.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Outputs below this many bytes need no memory of their own. */
#define ANSWER_SMALL_BYTES 24

struct core_answer {
    char small[ANSWER_SMALL_BYTES]; /* where a small output is */
    enum weir_outcome outcome;
    enum weir_reason reason;
    int status;     /* HTTP status, or a number of the callback's own; 0: there was none */
    bool retryable; /* for WEIR_OUTCOME_FAILED: another attempt may succeed. Implied by timeout and
                       lost */
    bool
        bystander; /* of lost: its worker was ended because of another request, and it had to go with it: it does not
                       count against the row, as far as TASK_SPARED_MAX */
    char *message;             /* one line for a person, NUL-terminated; NULL: none */
    char *output;              /* the bytes of the answer, with a NUL behind them; NULL: none */
    size_t output_len;         /* without that NUL */
    char *request_id;          /* the service's own name for the request; NULL: none */
    struct instant started_at; /* when the work began, and when it ended, at the executor */
    struct instant ended_at;
    int64_t tokens; /* that the service says it charged; -1: not told */
    struct flow_advice advice;
    char *
        errput; /* what the work wrote beside its output (standard error), with a NUL behind it; NULL: none */
    size_t errput_len;
    /* How output and errput are freed, with their lengths; NULL: by mem_free() */
    void (*output_free)(char *output, size_t len);
    void (*errput_free)(char *errput, size_t len);
};

/* What its output and errput take: what batches limit. */
static inline uint64_t answer_bytes(const struct core_answer *a)
{
    return (uint64_t)a->output_len + a->errput_len;
}

/* An answer that says nothing yet: outcome lost, reason no_outcome, nothing owned. */
void answer_init(struct core_answer *a);
/* Frees what it owns and makes it as after answer_init. */
void answer_clear(struct core_answer *a);
/* Moves everything from one to another: what `to` held is overwritten, not freed (clear it first if
 * it may own something), and `from` is as after answer_init. */
void answer_move(struct core_answer *to, struct core_answer *from);
/* Gives it a copy of the bytes as its output, in place of one that it has. False: no memory; nothing has changed. */
bool answer_set_output(struct core_answer *a, const void *bytes, size_t len);
/* Gives it an output that was had from mem_alloc(), with its NUL, in place of one that it has. */
void answer_take_output(struct core_answer *a, char *output, size_t len);
/* Gives it what the work wrote beside its output, had and freed in the same way. */
void answer_take_errput(struct core_answer *a, char *errput, size_t len);
/*
 * An answer is plain when it says no more than "done well": an output perhaps (in memory), but no
 * message, no advice, no request id, no tokens, nothing written beside the output. Moves such an
 * answer to one that is as after answer_init(), touching no more of the two than is needed. False:
 * it is not plain; nothing has changed.
 */
bool answer_move_plain(struct core_answer *to, struct core_answer *from);
/* answer_clear() of an answer that was moved so. */
void answer_clear_plain(struct core_answer *a);
/* Sets the message to formatted text (replacing one); silently none when memory is out. */
void answer_say(struct core_answer *a, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
