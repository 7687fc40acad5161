/*
 * A guess at what a request will cost in tokens, before the service says what it did cost.
 *
 * Four bytes a token is the rule of thumb of the vendors for English text; for JSON with its
 * punctuation it errs upwards. To it comes what the answer may take at most, when the body says so.
 * A budget is corrected by the real figure later (budget_settle), so a guess that is a little high
 * costs little, and one that is low costs a refusal. Pure.
 */
#ifndef FLOW_TOKENS_H
#define FLOW_TOKENS_H

#include "base/slice.h"

#include <stdint.h>

#define TOKENS_BYTES_PER_TOKEN 4
/* What a body can claim for its answer at most; above it the figure is no token count. */
#define TOKENS_ANSWER_MAX INT64_C(1000000000)

/*
 * bytes / 4, rounded up; for a JSON object plus the largest of its max_tokens,
 * max_completion_tokens and max_output_tokens, times n. Any bytes will do; what is not JSON counts
 * by its length.
 */
int64_t tokens_estimate(struct slice body);
/* The same of a body that json_check has passed, or that is empty. */
int64_t tokens_estimate_json(struct slice body);

#endif
