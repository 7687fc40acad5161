/* Reads the tokens charged from a response's body (usage.h). Pure, any thread. */
#include "exec/http/usage.h"

#include "base/json.h"

#include <stdbool.h>
#include <string.h>

/* A count of the usage object; -1 when it is absent or not to be believed. */
static int64_t count_of(struct slice usage, const char *name)
{
    struct slice value;
    int64_t count;

    if (!json_member(usage, name, &value) || json_kind(value) != JSON_NUMBER ||
        !json_int64(value, &count) || count < 0 || count > HTTP_USAGE_TOKENS_MAX)
        return -1;
    return count;
}

static int64_t pair_of(struct slice usage, const char *in, const char *out)
{
    int64_t a = count_of(usage, in);
    int64_t b = count_of(usage, out);

    if (a < 0 && b < 0)
        return -1;
    return (a > 0 ? a : 0) + (b > 0 ? b : 0);
}

int64_t http_usage_tokens(struct slice body)
{
    struct slice usage;
    int64_t tokens;

    /* Most bodies that are no model's answer are told from the others without reading them as JSON.
     */
    if (body.len == 0 || !memmem(body.data, body.len, "\"usage\"", 7))
        return -1;
    if (!json_check(body, NULL) || !json_member(json_trim(body), "usage", &usage) ||
        json_kind(usage) != JSON_OBJECT)
        return -1;
    tokens = count_of(usage, "total_tokens");
    if (tokens < 0)
        tokens = pair_of(usage, "input_tokens", "output_tokens");
    if (tokens < 0)
        tokens = pair_of(usage, "prompt_tokens", "completion_tokens");
    return tokens <= HTTP_USAGE_TOKENS_MAX ? tokens : -1;
}
