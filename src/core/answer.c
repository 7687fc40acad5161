/*
 * What an attempt gave. Plain data with three owned texts; whoever holds the struct is the only one
 * to touch it, so there is nothing to lock.
 */
#include "core/answer.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>

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

void answer_clear(struct core_answer *a)
{
    mem_free(a->message);
    mem_free(a->output);
    mem_free(a->request_id);
    answer_init(a);
}

void answer_move(struct core_answer *to, struct core_answer *from)
{
    if (to == from)
        return;
    *to = *from;
    answer_init(from);
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
