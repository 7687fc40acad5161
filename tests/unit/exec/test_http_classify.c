/* The table of design/3-batches.md: what an HTTP status or a broken transfer means. */
#include "exec/http/classify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_verdict(struct http_verdict v, enum weir_outcome outcome,
                           enum weir_reason reason, bool retryable)
{
    assert_int_equal(v.outcome, outcome);
    assert_int_equal(v.reason, reason);
    assert_int_equal(v.retryable, retryable);
}

static void success_is_ok(void **state)
{
    static const int statuses[] = {200, 201, 202, 204, 206, 299};

    (void)state;
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        assert_verdict(http_classify_status(statuses[i], NULL), WEIR_OUTCOME_OK, WEIR_REASON_NONE,
                       false);
}

/* P4 */
static void full_is_capacity(void **state)
{
    static const int statuses[] = {429, 503, 529};

    (void)state;
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        assert_verdict(http_classify_status(statuses[i], NULL), WEIR_OUTCOME_CAPACITY,
                       WEIR_REASON_HTTP_STATUS, true);
}

static void a_listed_status_is_capacity_too(void **state)
{
    struct http_status_set set = {0};

    (void)state;
    http_status_set_add(&set, 403);
    http_status_set_add(&set, 599);
    http_status_set_add(&set, 5000);
    http_status_set_add(&set, -1);
    assert_int_equal(http_classify_status(403, &set).outcome, WEIR_OUTCOME_CAPACITY);
    assert_int_equal(http_classify_status(599, &set).outcome, WEIR_OUTCOME_CAPACITY);
    assert_int_equal(http_classify_status(429, &set).outcome, WEIR_OUTCOME_CAPACITY);
    assert_int_equal(http_classify_status(404, &set).outcome, WEIR_OUTCOME_FAILED);
    assert_int_equal(http_classify_status(403, NULL).outcome, WEIR_OUTCOME_FAILED);
    assert_false(http_status_set_has(&set, -1));
    assert_false(http_status_set_has(&set, 5000));
}

static void trouble_of_the_service_is_retryable(void **state)
{
    static const int statuses[] = {408, 500, 501, 502, 504, 505, 520, 599};

    (void)state;
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        assert_verdict(http_classify_status(statuses[i], NULL), WEIR_OUTCOME_FAILED,
                       WEIR_REASON_HTTP_STATUS, true);
}

static void everything_else_is_permanent(void **state)
{
    static const int statuses[] = {-1,  0,   100, 101, 199, 300, 301, 302, 304,
                                   400, 401, 403, 404, 413, 422, 499, 600, 999};

    (void)state;
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        assert_verdict(http_classify_status(statuses[i], NULL), WEIR_OUTCOME_FAILED,
                       WEIR_REASON_HTTP_STATUS, false);
}

static void a_broken_transfer_says_why_and_whether_to_try_again(void **state)
{
    static const struct {
        CURLcode code;
        enum weir_reason reason;
        bool retryable;
    } table[] = {
        {CURLE_COULDNT_RESOLVE_HOST, WEIR_REASON_RESOLVE_FAILED, true},
        {CURLE_COULDNT_RESOLVE_PROXY, WEIR_REASON_RESOLVE_FAILED, true},
        {CURLE_COULDNT_CONNECT, WEIR_REASON_CONNECT_FAILED, true},
        {CURLE_OPERATION_TIMEDOUT, WEIR_REASON_CONNECT_FAILED, true},
        {CURLE_GOT_NOTHING, WEIR_REASON_CONNECTION_LOST, true},
        {CURLE_PARTIAL_FILE, WEIR_REASON_CONNECTION_LOST, true},
        {CURLE_RECV_ERROR, WEIR_REASON_CONNECTION_LOST, true},
        {CURLE_SEND_ERROR, WEIR_REASON_CONNECTION_LOST, true},
        {CURLE_HTTP2_STREAM, WEIR_REASON_CONNECTION_LOST, true},
        {CURLE_SSL_CONNECT_ERROR, WEIR_REASON_TLS_FAILED, true},
        {CURLE_PEER_FAILED_VERIFICATION, WEIR_REASON_TLS_FAILED, false},
        {CURLE_SSL_CERTPROBLEM, WEIR_REASON_TLS_FAILED, false},
        {CURLE_SSL_CACERT_BADFILE, WEIR_REASON_TLS_FAILED, false},
        {CURLE_UNSUPPORTED_PROTOCOL, WEIR_REASON_PROTOCOL, true},
        {CURLE_WEIRD_SERVER_REPLY, WEIR_REASON_PROTOCOL, true},
        {CURLE_HTTP2, WEIR_REASON_PROTOCOL, true},
        {CURLE_BAD_CONTENT_ENCODING, WEIR_REASON_PROTOCOL, true},
        {CURLE_FILESIZE_EXCEEDED, WEIR_REASON_RESPONSE_TOO_LARGE, false},
        {CURLE_URL_MALFORMAT, WEIR_REASON_BAD_ROW, false},
        {CURLE_OUT_OF_MEMORY, WEIR_REASON_INTERNAL, true},
        {CURLE_FAILED_INIT, WEIR_REASON_INTERNAL, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        assert_verdict(http_classify_transfer(table[i].code), WEIR_OUTCOME_FAILED, table[i].reason,
                       table[i].retryable);
}

/* Whatever a later libcurl adds: an attempt fails, with a reason. */
static void no_code_of_curl_is_without_a_verdict(void **state)
{
    (void)state;
    for (int code = 1; code < 200; code++) {
        struct http_verdict v = http_classify_transfer((CURLcode)code);

        assert_int_equal(v.outcome, WEIR_OUTCOME_FAILED);
        assert_int_not_equal(v.reason, WEIR_REASON_NONE);
    }
}

static void statuses_have_their_usual_words(void **state)
{
    (void)state;
    assert_string_equal(http_status_text(429), "Too Many Requests");
    assert_string_equal(http_status_text(200), "OK");
    assert_string_equal(http_status_text(529), "Overloaded");
    assert_string_equal(http_status_text(599), "");
    assert_string_equal(http_status_text(-1), "");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(success_is_ok),
        cmocka_unit_test(full_is_capacity),
        cmocka_unit_test(a_listed_status_is_capacity_too),
        cmocka_unit_test(trouble_of_the_service_is_retryable),
        cmocka_unit_test(everything_else_is_permanent),
        cmocka_unit_test(a_broken_transfer_says_why_and_whether_to_try_again),
        cmocka_unit_test(no_code_of_curl_is_without_a_verdict),
        cmocka_unit_test(statuses_have_their_usual_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
