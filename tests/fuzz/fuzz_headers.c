/*
 * Fuzzes what reads response headers, and the tokens in a body (src/exec/http/headers.h, usage.h).
 *
 * The input is a response as it comes: header lines, an empty line, a body. What must hold whatever
 * comes: no advice is negative but -1, none is over its limit, and the request id is a short, clean
 * text.
 */
#include "exec/http/headers.h"
#include "exec/http/usage.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds)
        abort();
}

static void check_quota(const struct flow_quota *q)
{
    must(q->limit >= -1 && q->limit <= HTTP_QUOTA_MAX);
    must(q->remaining >= -1 && q->remaining <= HTTP_QUOTA_MAX);
    must(q->reset_ns >= -1 && q->reset_ns <= HTTP_WAIT_NS_MAX);
}

static void check_advice(const struct http_headers *h, int64_t now_unix_s)
{
    struct flow_advice advice;

    http_headers_advice(h, now_unix_s, &advice);
    must(advice.retry_after_ns >= -1 && advice.retry_after_ns <= HTTP_WAIT_NS_MAX);
    check_quota(&advice.requests);
    check_quota(&advice.tokens);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = {(const char *)data, size};
    struct http_headers h;
    int64_t tokens;
    size_t id_len;

    http_headers_init(&h);
    while (rest.len > 0) {
        const char *end = memchr(rest.data, '\n', rest.len);
        size_t len = end ? (size_t)(end - rest.data) + 1 : rest.len;

        if (rest.data[0] == '\n' || rest.data[0] == '\r')
            break;
        /* A copy of its own size, so that a read beyond the line is seen. */
        char *line = malloc(len);

        if (!line)
            return 0;
        memcpy(line, rest.data, len);
        http_headers_line(&h, (struct slice){line, len});
        free(line);
        rest.data += len;
        rest.len -= len;
    }
    check_advice(&h, INT64_C(1769860800));
    check_advice(&h, INT64_MIN);
    check_advice(&h, INT64_MAX);
    id_len = strnlen(h.request_id, sizeof(h.request_id));
    must(id_len < sizeof(h.request_id) && (h.request_id_rank > 0) == (id_len > 0));
    tokens = http_usage_tokens(rest);
    must(tokens >= -1 && tokens <= HTTP_USAGE_TOKENS_MAX);
    return 0;
}
