/* What response headers say about limits: every form that is seen in the wild, and every lie. */
#include "exec/http/headers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* 2026-01-31T12:00:00Z */
#define NOW INT64_C(1769860800)

static struct flow_advice advice_of(const char *const *lines)
{
    struct http_headers h;
    struct flow_advice advice;

    http_headers_init(&h);
    for (; *lines; lines++)
        http_headers_line(&h, slice_of(*lines));
    http_headers_advice(&h, NOW, &advice);
    return advice;
}

#define ADVICE(...) advice_of((const char *const[]){__VA_ARGS__, NULL})

static void assert_wait(const char *header, const char *value, duration_ns expected)
{
    char line[512];
    struct flow_advice a;

    snprintf(line, sizeof(line), "%s: %s\r\n", header, value);
    a = ADVICE(line);
    if (a.retry_after_ns != expected)
        fail_msg("%s: %s gives %lld, not %lld", header, value, (long long)a.retry_after_ns,
                 (long long)expected);
}

static void retry_after_is_read_in_all_its_forms(void **state)
{
    static const struct {
        const char *value;
        duration_ns ns;
    } table[] = {
        {"0", 0},
        {"1", NS_PER_S},
        {" 120 ", 120 * NS_PER_S},
        {"1.5", 1500 * NS_PER_MS},
        {".25", 250 * NS_PER_MS},
        {"2.", 2 * NS_PER_S},
        {"0.0000000019", 1},
        {"\"30\"", 30 * NS_PER_S},
        {"20s", 20 * NS_PER_S},
        {"12ms", 12 * NS_PER_MS},
        {"15us", 15 * NS_PER_US},
        {"15\xc2\xb5s", 15 * NS_PER_US},
        {"7ns", 7},
        {"6m0s", 360 * NS_PER_S},
        {"1m30.5s", 90500 * NS_PER_MS},
        {"1h2m3s", 3723 * NS_PER_S},
        {"1d", 86400 * NS_PER_S},
        {"1.5d", 129600 * NS_PER_S},
        {"Sat, 31 Jan 2026 12:01:00 GMT", 60 * NS_PER_S},
        {"Saturday, 31-Jan-26 12:01:00 GMT", 60 * NS_PER_S},
        {"Sat Jan 31 12:01:00 2026", 60 * NS_PER_S},
        {"2026-01-31T12:00:30Z", 30 * NS_PER_S},
        {"2026-01-31t12:00:30.999z", 30 * NS_PER_S},
        {"2026-01-31 14:00:30+02:00", 30 * NS_PER_S},
        {"2026-01-31T04:30:30-0730", 30 * NS_PER_S},
        {"1769860810", 10 * NS_PER_S},
        {"1769860810.5", 10 * NS_PER_S},
        {"1769860810500", 10 * NS_PER_S},
        /* what is past is now */
        {"Sun, 06 Nov 1994 08:49:37 GMT", 0},
        {"2020-01-01T00:00:00Z", 0},
        {"1700000000", 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        assert_wait("Retry-After", table[i].value, table[i].ns);
}

static void nonsense_is_as_if_it_had_not_been_sent(void **state)
{
    static const char *const values[] = {
        "",
        "-1",
        "-0",
        "+5",
        "nan",
        "NaN",
        "inf",
        "1e3",
        "0x10",
        "five",
        "5 5",
        "5x",
        "5s5",
        "s",
        ".",
        ".s",
        "1.2.3",
        "1,5",
        "\"",
        "\"\"",
        "2026-13-01T00:00:00Z",
        "2026-01-31",
        "2026-01-31T12:00",
        "2026-01-31T12:00:00",
        "2026-01-31T12:00:00+2",
        "2026-01-31T12:00:00.Z",
        "1969-12-31T23:59:59Z",
        "2026-01-31T25:00:00Z",
        "Sat, 99 Foo 2026 12:01:00 GMT",
        "Wednesday",
        "\xff\xfe",
        "1m-30s",
        "m5",
        "Sat, 31 Jan 2026 12:01:00 GMT and so much more text that no date is as long as this",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        assert_wait("Retry-After", values[i], -1);
}

static void what_is_too_large_is_clamped(void **state)
{
    static const char *const values[] = {
        "99999999d",    "999999999999999999999999h", "9223372036854775807m",          "367d",
        "365d1000000h", "9999-12-31T23:59:59Z",      "99999999999999999999999999999", "9999999999",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        assert_wait("retry-after", values[i], HTTP_WAIT_NS_MAX);
    assert_wait("Retry-After-Ms", "99999999999999999999999", HTTP_WAIT_NS_MAX);
    assert_int_equal(ADVICE("x-ratelimit-limit: 99999999999999999999").requests.limit,
                     HTTP_QUOTA_MAX);
}

static void milliseconds_are_preferred_to_seconds(void **state)
{
    (void)state;
    assert_int_equal(ADVICE("retry-after-ms: 1500", "retry-after: 2").retry_after_ns,
                     1500 * NS_PER_MS);
    assert_int_equal(ADVICE("retry-after: 2", "retry-after-ms: 1500.5").retry_after_ns,
                     1500 * NS_PER_MS + 500 * NS_PER_US);
    assert_int_equal(ADVICE("retry-after: 2", "retry-after-ms: soon").retry_after_ns, 2 * NS_PER_S);
    assert_int_equal(ADVICE("retry-after: 2", "retry-after-ms: -1").retry_after_ns, 2 * NS_PER_S);
    assert_int_equal(ADVICE("retry-after: 2", "retry-after-ms: 5s").retry_after_ns, 2 * NS_PER_S);
}

static void a_date_is_taken_against_the_services_own_clock(void **state)
{
    (void)state;
    assert_int_equal(
        ADVICE("Retry-After: Thu, 01 Jan 2015 00:00:30 GMT", "Date: Thu, 01 Jan 2015 00:00:00 GMT")
            .retry_after_ns,
        30 * NS_PER_S);
    assert_int_equal(ADVICE("Retry-After: 2026-01-31T12:00:30Z", "Date: 17").retry_after_ns,
                     30 * NS_PER_S);
}

static void assert_quota(struct flow_quota q, int64_t limit, int64_t remaining, duration_ns reset)
{
    assert_int_equal(q.limit, limit);
    assert_int_equal(q.remaining, remaining);
    assert_int_equal(q.reset_ns, reset);
}

static void quotas_of_requests_and_tokens_are_told_apart(void **state)
{
    struct flow_advice a =
        ADVICE("X-RateLimit-Limit-Requests: 60\r\n", "x-ratelimit-limit-tokens: 150000\r\n",
               "x-ratelimit-remaining-requests: 59\r\n", "x-ratelimit-remaining-tokens: 149984\r\n",
               "x-ratelimit-reset-requests: 1s\r\n", "x-ratelimit-reset-tokens: 6m0s\r\n");

    (void)state;
    assert_quota(a.requests, 60, 59, NS_PER_S);
    assert_quota(a.tokens, 150000, 149984, 360 * NS_PER_S);
    assert_int_equal(a.retry_after_ns, -1);

    a = ADVICE("anthropic-ratelimit-requests-limit: 1000",
               "anthropic-ratelimit-requests-remaining: 999",
               "anthropic-ratelimit-requests-reset: 2026-01-31T12:00:10Z",
               "anthropic-ratelimit-tokens-limit: 80000", "anthropic-ratelimit-tokens-remaining: 0",
               "anthropic-ratelimit-tokens-reset: 2026-01-31T12:01:00Z",
               "anthropic-ratelimit-input-tokens-limit: 1");
    assert_quota(a.requests, 1000, 999, 10 * NS_PER_S);
    assert_quota(a.tokens, 80000, 0, 60 * NS_PER_S);
}

static void plain_quotas_are_of_requests(void **state)
{
    (void)state;
    assert_quota(ADVICE("X-RateLimit-Limit: 5000", "X-RateLimit-Remaining: 4999",
                        "X-RateLimit-Reset: 1769860860")
                     .requests,
                 5000, 4999, 60 * NS_PER_S);
    assert_quota(
        ADVICE("RateLimit-Limit: 100, 100;w=60", "RateLimit-Remaining: 50.7", "RateLimit-Reset: 5")
            .requests,
        100, 50, 5 * NS_PER_S);
    assert_quota(
        ADVICE("ratelimit-limit: many", "ratelimit-remaining: -3", "ratelimit-reset: -1").requests,
        -1, -1, -1);
    assert_quota(ADVICE("ratelimit-limit: 5x", "ratelimit-remaining:", "ratelimit-reset:").requests,
                 -1, -1, -1);
}

static void other_headers_and_broken_lines_say_nothing(void **state)
{
    struct flow_advice a = ADVICE("", "\r\n", ":", ": 5", "retry-after", "retry-after 5",
                                  "retry-afte: 5", "retry-after2: 5", "x-retry-after: 5",
                                  "retry-after : 5", " retry-after: 5", "content-length: 5");

    (void)state;
    assert_int_equal(a.retry_after_ns, -1);
    assert_quota(a.requests, -1, -1, -1);
    assert_quota(a.tokens, -1, -1, -1);
}

static void a_new_status_line_forgets_the_response_before(void **state)
{
    (void)state;
    assert_int_equal(
        ADVICE("HTTP/1.1 100 Continue\r\n", "retry-after: 5\r\n", "HTTP/1.1 200 OK\r\n")
            .retry_after_ns,
        -1);
}

static const char *request_id_of(struct http_headers *h, const char *const *lines)
{
    http_headers_init(h);
    for (; *lines; lines++)
        http_headers_line(h, slice_of(*lines));
    return h->request_id_rank ? h->request_id : NULL;
}

#define REQUEST_ID(...) request_id_of(&h, (const char *const[]){__VA_ARGS__, NULL})

static void the_request_id_is_the_best_known_one(void **state)
{
    struct http_headers h;
    char line[400];

    (void)state;
    assert_string_equal(REQUEST_ID("X-Request-Id: req_123\r\n"), "req_123");
    assert_string_equal(REQUEST_ID("request-id: a", "x-request-id: b"), "b");
    assert_string_equal(REQUEST_ID("x-request-id: b", "request-id: a"), "b");
    assert_string_equal(REQUEST_ID("openai-request-id: o", "x-ms-request-id: m"), "o");
    assert_null(REQUEST_ID("x-request-id:   \r\n"));
    assert_null(REQUEST_ID("x-request-id: a\x01z"));
    assert_null(REQUEST_ID("x-request-id: \xff"));
    assert_string_equal(REQUEST_ID("x-request-id: a\x01z", "request-id: ok"), "ok");
    snprintf(line, sizeof(line), "x-request-id: %0300d", 7);
    assert_int_equal(strlen(REQUEST_ID(line)), HTTP_REQUEST_ID_BYTES - 1);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(retry_after_is_read_in_all_its_forms),
        cmocka_unit_test(nonsense_is_as_if_it_had_not_been_sent),
        cmocka_unit_test(what_is_too_large_is_clamped),
        cmocka_unit_test(milliseconds_are_preferred_to_seconds),
        cmocka_unit_test(a_date_is_taken_against_the_services_own_clock),
        cmocka_unit_test(quotas_of_requests_and_tokens_are_told_apart),
        cmocka_unit_test(plain_quotas_are_of_requests),
        cmocka_unit_test(other_headers_and_broken_lines_say_nothing),
        cmocka_unit_test(a_new_status_line_forgets_the_response_before),
        cmocka_unit_test(the_request_id_is_the_best_known_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
