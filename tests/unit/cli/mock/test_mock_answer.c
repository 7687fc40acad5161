/* What weir mock answers: deterministic texts, always valid JSON. */
#include "base/json.h"
#include "base/mem.h"
#include "cli/mock/answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct mock_call post(const char *path, const char *body)
{
    return (struct mock_call){"POST", path, slice_of(body)};
}

static struct mock_call chat(const char *body)
{
    return post("/v1/chat/completions", body);
}

static struct mock_reply reply_to(struct mock_call call)
{
    struct mock_reply r;

    assert_true(mock_reply_make(&call, &r));
    assert_true(json_check(buf_slice(&r.body), NULL));
    return r;
}

/* The member at a path such as "choices/message/content", through the first element of arrays. */
static struct slice dig(const struct buf *body, const char *path)
{
    struct slice at = buf_slice(body);
    char name[64];

    while (*path) {
        size_t len = strcspn(path, "/");
        struct json_iter it;
        struct slice key;

        snprintf(name, sizeof name, "%.*s", (int)len, path);
        if (json_kind(at) == JSON_ARRAY) {
            json_iter_init(&it, at);
            assert_true(json_iter_next(&it, &key, &at));
        }
        assert_true(json_member(at, name, &at));
        path += len + (path[len] == '/');
    }
    return at;
}

static void assert_says(const struct buf *body, const char *path, const char *json)
{
    struct slice at = dig(body, path);

    if (!slice_equal(at, slice_of(json)))
        fail_msg("%s is %.*s, not %s", path, (int)at.len, at.data, json);
}

static int64_t number_at(const struct buf *body, const char *path)
{
    int64_t n = -1;

    assert_true(json_int64(dig(body, path), &n));
    return n;
}

static void a_chat_is_answered_in_its_form(void **state)
{
    struct mock_reply r = reply_to(chat(
        "{\"model\":\"gpt-\\u0041\",\"messages\":[{\"role\":\"system\",\"content\":\"be brief\"},"
        "{\"role\":\"user\",\"content\":\"a \\\"b\\\"\"}]}"));
    struct slice content = dig(&r.body, "choices/message/content");

    (void)state;
    assert_false(r.malformed);
    assert_says(&r.body, "object", "\"chat.completion\"");
    assert_says(&r.body, "created", "1700000000");
    assert_says(&r.body, "model", "\"gpt-\\u0041\"");
    assert_says(&r.body, "choices/finish_reason", "\"stop\"");
    assert_non_null(memmem(content.data, content.len, "You said", 8));
    assert_non_null(memmem(content.data, content.len, "(5 bytes, ", 10));
    assert_int_equal(number_at(&r.body, "usage/prompt_tokens"), 2 + 4 + 2 + 4);
    assert_int_equal(number_at(&r.body, "usage/total_tokens"),
                     number_at(&r.body, "usage/prompt_tokens") +
                         number_at(&r.body, "usage/completion_tokens"));
    assert_int_equal(number_at(&r.body, "usage/total_tokens"), r.tokens);
    buf_free(&r.body);
}

static void the_last_message_of_the_user_is_answered(void **state)
{
    struct mock_reply r =
        reply_to(chat("{\"messages\":[{\"role\":\"user\",\"content\":\"one\"},"
                      "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"tw\"},"
                      "{\"type\":\"image\"},{\"type\":\"text\",\"text\":\"o\"}]},"
                      "{\"role\":\"assistant\",\"content\":\"three\"}, 7]}"));
    struct slice content = dig(&r.body, "choices/message/content");

    (void)state;
    assert_non_null(memmem(content.data, content.len, "\\\"two\\\"", 7));
    assert_says(&r.body, "model", "\"mock\"");
    buf_free(&r.body);
}

static void a_long_question_is_cut_between_characters(void **state)
{
    char body[4096] = "{\"messages\":[{\"role\":\"user\",\"content\":\"x";
    struct mock_reply r;

    (void)state;
    for (int i = 0; i < 400; i++)
        strcat(body, "\xc3\xa9");
    strcat(body, "\"}]}");
    r = reply_to(chat(body));
    assert_null(memmem(r.body.data, r.body.len, "\xef\xbf\xbd", 3));
    assert_non_null(memmem(r.body.data, r.body.len, "...\\\" (801 bytes", 16));
    buf_free(&r.body);
}

static void what_is_no_chat_is_malformed(void **state)
{
    static const char *const bodies[] = {
        "", "{", "[]", "{}", "{\"messages\":{}}", "{\"messages\":[]}", "\"messages\""};

    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct mock_reply r = reply_to(chat(bodies[i]));

        assert_true(r.malformed);
        assert_says(&r.body, "error/code", "400");
        buf_free(&r.body);
    }
}

static void anything_else_is_echoed(void **state)
{
    struct mock_reply r = reply_to(post("/a\"b", " {\"n\": 1.0} \n"));

    (void)state;
    assert_says(&r.body, "method", "\"POST\"");
    assert_says(&r.body, "path", "\"/a\\\"b\"");
    assert_says(&r.body, "body", "{\"n\": 1.0}");
    buf_free(&r.body);
    r = reply_to(post("/x", "not \xff json"));
    assert_says(&r.body, "body", "\"not \xef\xbf\xbd json\"");
    buf_free(&r.body);
    r = reply_to((struct mock_call){"GET", "/v1/chat/completions", {"", 0}});
    assert_says(&r.body, "body", "null");
    buf_free(&r.body);
}

static void the_same_request_gets_the_same_bytes(void **state)
{
    struct mock_call call = chat("{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}");
    struct mock_call other = chat("{\"messages\":[{\"role\":\"user\",\"content\":\"hellp\"}]}");
    struct mock_reply a = reply_to(call);
    struct mock_reply b = reply_to(call);
    struct mock_reply c = reply_to(other);
    char id[MOCK_REQUEST_ID_BYTES];

    (void)state;
    assert_true(slice_equal(buf_slice(&a.body), buf_slice(&b.body)));
    assert_false(slice_equal(buf_slice(&a.body), buf_slice(&c.body)));
    assert_int_not_equal(mock_identity(&call), mock_identity(&other));
    other = call;
    other.path = "/x";
    assert_int_not_equal(mock_identity(&call), mock_identity(&other));
    mock_request_id(0xabc, id);
    assert_string_equal(id, "req_0000000000000abc");
    buf_free(&a.body);
    buf_free(&b.body);
    buf_free(&c.body);
}

static void durations_are_written_as_services_do(void **state)
{
    static const struct {
        duration_ns ns;
        const char *text;
    } cases[] = {
        {0, "0ms"},
        {-5, "0ms"},
        {1, "1ms"},
        {999 * NS_PER_MS, "999ms"},
        {999 * NS_PER_MS + 1, "1s"},
        {1500 * NS_PER_MS, "1.5s"},
        {10 * NS_PER_S, "10s"},
        {59941 * NS_PER_MS, "59.941s"},
        {60 * NS_PER_S, "1m0s"},
        {360 * NS_PER_S + 250 * NS_PER_MS, "6m0.25s"},
        {INT64_MAX, "153722867m16.855s"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[MOCK_DURATION_BYTES];

        mock_duration_text(cases[i].ns, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void statistics_are_told_whole(void **state)
{
    struct sim_stats stats = {.seen = 10,
                              .accepted = 7,
                              .refused = 3,
                              .offered = 20,
                              .offered_in_use = 14,
                              .elapsed_ns = 2 * NS_PER_S,
                              .rate_rps = 10};
    struct mock_counters counters = {.too_large = 2};
    struct buf out = {0};

    (void)state;
    stats.refused_by_status[503 - SIM_STATUS_MIN] = 3;
    stats.refused_by_limit[SIM_LIMIT_RATE] = 3;
    stats.faults[SIM_FAULT_RESET] = 4;
    mock_keys_see(&counters.keys, 5);
    mock_stats_put(&out, &stats, &counters);
    assert_true(json_check(buf_slice(&out), NULL));
    assert_says(&out, "seconds", "2");
    assert_says(&out, "requests/seen", "10");
    assert_says(&out, "requests/too_large", "2");
    assert_says(&out, "refused/by_status", "{\"503\":3}");
    assert_says(&out, "refused/by_limit/rate", "3");
    assert_says(&out, "share/accepted_of_offered", "0.5");
    assert_says(&out, "share/refused_of_seen", "0.3");
    assert_says(&out, "faults/reset", "4");
    assert_says(&out, "idempotency_keys/distinct", "1");
    assert_says(&out, "level/rate", "10");
    assert_says(&out, "level/concurrency", "null");
    buf_clear(&out);
    stats = (struct sim_stats){.unlimited = true};
    mock_stats_put(&out, &stats, &counters);
    assert_says(&out, "offered/since_start", "null");
    assert_says(&out, "share/accepted_of_offered", "null");
    assert_says(&out, "share/refused_of_seen", "null");
    buf_free(&out);
    mock_keys_free(&counters.keys);
}

static void each_failed_allocation_is_said(void **state)
{
    struct mock_call calls[] = {
        chat("{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}"),
        post("/x", "{\"a\":1}"),
    };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        unsigned long n = 0;
        bool failed;

        do {
            struct mock_reply r;
            bool made;

            mem_fail_at(++n);
            made = mock_reply_make(&calls[i], &r);
            failed = mem_has_failed() != 0;
            mem_fail_at(0);
            assert_int_equal(made, !failed);
            buf_free(&r.body);
        } while (failed);
        assert_true(n > 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chat_is_answered_in_its_form),
        cmocka_unit_test(the_last_message_of_the_user_is_answered),
        cmocka_unit_test(a_long_question_is_cut_between_characters),
        cmocka_unit_test(what_is_no_chat_is_malformed),
        cmocka_unit_test(anything_else_is_echoed),
        cmocka_unit_test(the_same_request_gets_the_same_bytes),
        cmocka_unit_test(durations_are_written_as_services_do),
        cmocka_unit_test(statistics_are_told_whole),
        cmocka_unit_test(each_failed_allocation_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
