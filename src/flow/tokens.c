/* The guess at a request's tokens: its length, and what it says of the answer's. */
#include "flow/tokens.h"

#include "base/json.h"

/* The value as a count of at least 1; 0 when it is absent or is no such count. */
static int64_t value_count(struct slice value)
{
    int64_t count;

    if (value.len == 0 || !json_int64(value, &count) || count < 1)
        return 0;
    return count < TOKENS_ANSWER_MAX ? count : TOKENS_ANSWER_MAX;
}

/* What the answer may take at most, as the body says; 0 when it does not. */
static int64_t answer_tokens(struct slice body)
{
    enum { MAX_TOKENS, MAX_COMPLETION, MAX_OUTPUT, CHOICES, COUNT };
    struct json_wanted wanted[COUNT] = {[MAX_TOKENS] = {.name = SLICE("max_tokens")},
                                        [MAX_COMPLETION] = {.name = SLICE("max_completion_tokens")},
                                        [MAX_OUTPUT] = {.name = SLICE("max_output_tokens")},
                                        [CHOICES] = {.name = SLICE("n")}};
    int64_t most = 0, choices;

    json_members(body, wanted, COUNT);
    for (size_t i = 0; i < CHOICES; i++) {
        int64_t count = value_count(wanted[i].value);

        if (count > most)
            most = count;
    }
    choices = value_count(wanted[CHOICES].value);
    if (choices > 1)
        most *= choices; /* both at most TOKENS_ANSWER_MAX: it fits */
    return most < TOKENS_ANSWER_MAX ? most : TOKENS_ANSWER_MAX;
}

/* Bytes / 4, rounded up. */
static int64_t length_tokens(struct slice body)
{
    return (int64_t)(body.len / TOKENS_BYTES_PER_TOKEN) + (body.len % TOKENS_BYTES_PER_TOKEN != 0);
}

int64_t tokens_estimate_json(struct slice body)
{
    return length_tokens(body) + answer_tokens(body);
}

int64_t tokens_estimate(struct slice body)
{
    return json_check(body, NULL) ? tokens_estimate_json(body) : length_tokens(body);
}
