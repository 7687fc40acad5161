/*
 * How many tokens a response says that its request was charged. Pure.
 *
 *     answer->tokens = http_usage_tokens(buf_slice(&body));   // -1: it does not say
 */
#ifndef EXEC_HTTP_USAGE_H
#define EXEC_HTTP_USAGE_H

#include "base/slice.h"

#include <stdint.h>

/* More than this in one answer is no count of tokens but a defect, and is not believed. */
#define HTTP_USAGE_TOKENS_MAX INT64_C(1000000000000)

/*
 * From the body's member "usage": total_tokens, else input_tokens + output_tokens, else
 * prompt_tokens + completion_tokens (either of a pair may be missing). -1: the body is not JSON, or
 * has none of them as a whole number in 0..HTTP_USAGE_TOKENS_MAX.
 */
int64_t http_usage_tokens(struct slice body);

#endif
