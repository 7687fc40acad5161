/*
 * What an attempt gave. Plain data with four owned texts; whoever holds the struct is the only one
 * to touch it, so there is nothing to lock.
 */
#include "core/answer.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void answer_init(struct core_answer *a)
{
    *a = (struct core_answer){
        .outcome = WEIR_OUTCOME_LOST,
        .reason = WEIR_REASON_NO_OUTCOME,
        .tokens = -1,
        .advice = FLOW_ADVICE_UNTOLD,
        .started_at = INSTANT_NONE,
        .ended_at = INSTANT_NONE,
    };
}

static void free_bytes(char *bytes, size_t len, void (*how)(char *bytes, size_t len))
{
    if (bytes && how)
        how(bytes, len);
    else
        mem_free(bytes);
}

static void free_output(struct core_answer *a)
{
    if (a->output != a->small)
        free_bytes(a->output, a->output_len, a->output_free);
    a->output_free = NULL;
}

static void free_errput(struct core_answer *a)
{
    free_bytes(a->errput, a->errput_len, a->errput_free);
    a->errput_free = NULL;
}

void answer_clear(struct core_answer *a)
{
    mem_free(a->message);
    free_output(a);
    free_errput(a);
    mem_free(a->request_id);
    answer_init(a);
}

void answer_move(struct core_answer *to, struct core_answer *from)
{
    if (to == from)
        return;
    *to = *from;
    if (from->output == from->small)
        to->output = to->small;
    answer_init(from);
}

bool answer_set_output(struct core_answer *a, const void *bytes, size_t len)
{
    char *output = a->small;

    if (len >= sizeof a->small) {
        output = mem_copy(bytes, len);
        if (!output)
            return false;
    } else {
        /* The bytes may be those of the output that is there. */
        memmove(a->small, bytes, len);
        a->small[len] = '\0';
    }
    free_output(a);
    a->output = output;
    a->output_len = len;
    return true;
}

void answer_take_output(struct core_answer *a, char *output, size_t len)
{
    free_output(a);
    a->output = output;
    a->output_len = len;
}

void answer_take_errput(struct core_answer *a, char *errput, size_t len)
{
    free_errput(a);
    a->errput = errput;
    a->errput_len = len;
}

static bool is_plain(const struct core_answer *a)
{
    return a->outcome == WEIR_OUTCOME_OK && a->reason == WEIR_REASON_NONE && !a->message &&
           !a->request_id && !a->errput && !a->output_free && a->tokens < 0 &&
           a->advice.retry_after_ns < 0 && a->advice.requests.limit < 0 &&
           a->advice.requests.remaining < 0 && a->advice.tokens.limit < 0 &&
           a->advice.tokens.remaining < 0;
}

static void unsay(struct core_answer *a)
{
    a->outcome = WEIR_OUTCOME_LOST;
    a->reason = WEIR_REASON_NO_OUTCOME;
    a->status = 0;
    a->retryable = false;
    a->output = NULL;
    a->output_len = 0;
    a->started_at = a->ended_at = INSTANT_NONE;
}

bool answer_move_plain(struct core_answer *to, struct core_answer *from)
{
    if (!is_plain(from))
        return false;
    to->outcome = from->outcome;
    to->reason = from->reason;
    to->status = from->status;
    to->retryable = from->retryable;
    to->output = from->output;
    to->output_len = from->output_len;
    to->started_at = from->started_at;
    to->ended_at = from->ended_at;
    if (from->output == from->small) {
        memcpy(to->small, from->small, sizeof to->small);
        to->output = to->small;
    }
    unsay(from);
    return true;
}

void answer_clear_plain(struct core_answer *a)
{
    /* Not free_output(): how it is freed is known, and stands where nothing else is read. */
    if (a->output != a->small)
        mem_free(a->output);
    unsay(a);
}

void answer_say(struct core_answer *a, const char *format, ...)
{
    char *text = NULL;
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n >= 0)
        text = mem_alloc((size_t)n + 1);
    if (text) {
        va_start(args, format);
        n = vsnprintf(text, (size_t)n + 1, format, args);
        va_end(args);
        if (n < 0)
            text = mem_free(text);
    }
    /* It is one line: what a service says may hold anything. */
    for (char *p = text; p && *p; p++) {
        if ((unsigned char)*p < 0x20)
            *p = ' ';
    }
    /* Freed last, for the new message may have been made of the old one. */
    mem_free(a->message);
    a->message = text;
}
