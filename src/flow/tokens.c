/* The guess at a request's tokens: its length, and what it says of the answer's. */
#include "flow/tokens.h"

#include "base/json.h"

/* The member as a count of at least 1; 0 when it is absent or is no such count. */
static int64_t member_count(struct slice object, const char *name)
{
    struct slice value;
    int64_t count;

    if (!json_member(object, name, &value) || !json_int64(value, &count) || count < 1)
        return 0;
    return count < TOKENS_ANSWER_MAX ? count : TOKENS_ANSWER_MAX;
}

/* What the answer may take at most, as the body says; 0 when it does not. */
static int64_t answer_tokens(struct slice body)
{
    static const char *const names[] = {"max_tokens", "max_completion_tokens", "max_output_tokens"};
    int64_t most = 0, choices;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        int64_t count = member_count(body, names[i]);

        if (count > most)
            most = count;
    }
    choices = member_count(body, "n");
    if (choices > 1)
        most *= choices; /* both at most TOKENS_ANSWER_MAX: it fits */
    return most < TOKENS_ANSWER_MAX ? most : TOKENS_ANSWER_MAX;
}

int64_t tokens_estimate(struct slice body)
{
    int64_t tokens =
        (int64_t)(body.len / TOKENS_BYTES_PER_TOKEN) + (body.len % TOKENS_BYTES_PER_TOKEN != 0);

    if (json_check(body, NULL))
        tokens += answer_tokens(json_trim(body));
    return tokens;
}
