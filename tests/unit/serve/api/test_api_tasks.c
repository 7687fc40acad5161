/*
 * Tasks over HTTP: submitted in each way, listed page by page, looked at, changed.
 */
#include "unit/serve/api/api_test.h"

static void one_task_is_submitted_and_seen(void **state)
{
    struct api_fixture f;

    (void)state;
    api_open(&f, NULL);
    expect(post(&f, "/v1/tasks",
                "{\"key\":\"k\",\"payload\":{\"a\": 1.0},\"pool\":\"model\",\"timeout\":1.5}"),
           201, HAS("{\"id\":1,\"existing\":false}"));
    expect(get(&f, "/v1/tasks/1"), 200,
           HAS("\"id\":1,\"key\":\"k\",\"state\":\"ready\"", "\"pool\":\"model\"",
               "\"timeout_s\":1.5", "\"payload\":{\"a\": 1.0}", "\"after\":[]",
               "\"waits_for\":{\"why\":\"pool_limit\",\"detail\":\"all 8 places are taken\"}",
               "\"submitted_at\":\"20"));
    finish(&f, 1, REGISTRY_DONE, "{\"text\":\n\"hi\"}");
    expect(get(&f, "/v1/tasks/1"), 200,
           HAS("\"state\":\"done\"", "\"outcome\":\"ok\"", "\"output\":{\"text\":\"hi\"}",
               "\"ran_in\":\"model\"", "\"attempts\":1"));
    expect(get(&f, "/v1/tasks/2"), 404, HAS("there is no task 2"));
    expect(get(&f, "/v1/tasks/x"), 404, HAS("an id is a number"));
    api_close(&f);
}

static void an_idempotency_key_gives_the_first_task_back(void **state)
{
    struct api_fixture f;

    (void)state;
    api_open(&f, NULL);
    expect(post(&f, "/v1/tasks", "{\"idempotency_key\":\"once\"}"), 201,
           HAS("{\"id\":1,\"existing\":false}"));
    expect(post(&f, "/v1/tasks", "{\"idempotency_key\":\"once\"}"), 201,
           HAS("{\"id\":1,\"existing\":true}"));
    api_close(&f);
}

static void an_array_is_all_or_nothing(void **state)
{
    struct api_fixture f;

    (void)state;
    api_open(&f, NULL);
    expect(post(&f, "/v1/tasks", "[{\"name\":\"a\"},{\"after\":[\"a\"]}]"), 201,
           HAS("{\"ids\":[1,2],\"existing\":0}"));
    expect(get(&f, "/v1/tasks/2"), 200,
           HAS("\"state\":\"blocked\"", "\"after\":[1]", "\"blocked_by\":1",
               "\"why\":\"dependencies\""));
    expect(post(&f, "/v1/tasks", "[{},{\"after\":[99]}]"), 422, HAS("99"));
    expect(post(&f, "/v1/tasks", "[{},{\"priority\":1.5}]"), 400,
           HAS("\"where\":\"[1].priority\"", "\"detail\":\"[1].priority: it is 1.5"));
    expect(post(&f, "/v1/tasks",
                "[{\"name\":\"a\",\"after\":[\"b\"]},{\"name\":\"b\",\"after\":[\"a\"]}]"),
           422, HAS("\"status\":422"));
    expect(get(&f, "/v1/tasks"), 200, HAS("\"id\":1", "\"id\":2", "\"next\":null"));
    expect(post(&f, "/v1/tasks", "{\"payload\":"), 400, HAS("not JSON: at byte"));
    expect(post(&f, "/v1/tasks", ""), 400, HAS("there is nothing"));
    expect(post(&f, "/v1/tasks", "[]"), 400, HAS("1 to 100000"));
    api_close(&f);
}

static void lists_come_in_pages(void **state)
{
    struct api_fixture f;

    (void)state;
    api_open(&f, NULL);
    expect(
        post(&f, "/v1/tasks", "[{\"key\":\"a\"},{\"key\":\"b\",\"pool\":\"p\"},{\"key\":\"c\"}]"),
        201, HAS_NOTHING);
    expect(get(&f, "/v1/tasks?limit=2"), 200, HAS("\"id\":1", "\"id\":2", "\"next\":\"o2\""));
    expect(get(&f, "/v1/tasks?limit=2&cursor=o2"), 200,
           HAS("{\"tasks\":[{\"id\":3", "\"next\":null"));
    expect(get(&f, "/v1/tasks?limit=2&order=newest"), 200,
           HAS("{\"tasks\":[{\"id\":3", "\"next\":\"n2\""));
    expect(get(&f, "/v1/tasks?order=newest&cursor=n2"), 200,
           HAS("{\"tasks\":[{\"id\":1", "\"next\":null"));
    expect(get(&f, "/v1/tasks?pool=p"), 200, HAS("{\"tasks\":[{\"id\":2", "}],\"next\":null"));
    expect(get(&f, "/v1/tasks?key=c&with=payload,result"), 200,
           HAS("{\"tasks\":[{\"id\":3", "\"payload\":\"\""));
    expect(get(&f, "/v1/tasks?state=running,done"), 200, HAS("{\"tasks\":[],\"next\":null}"));
    expect(get(&f, "/v1/tasks?stuck=true"), 200, HAS("{\"tasks\":[],"));
    expect(get(&f, "/v1/tasks?order=newest&cursor=o2"), 400,
           HAS("\"where\":\"cursor\"", "the other order"));
    expect(get(&f, "/v1/tasks?cursor=x"), 400, HAS("it is not what a list gave"));
    expect(get(&f, "/v1/tasks?state=red"), 400, HAS("\"where\":\"state\"", "\\\"red\\\""));
    expect(get(&f, "/v1/tasks?limit=1001"), 400, HAS("from 1 to 1000"));
    expect(get(&f, "/v1/tasks?stuck=perhaps"), 400, HAS("true or false"));
    expect(get(&f, "/v1/tasks?colour=red"), 400, HAS("colour"));
    api_close(&f);
}

static void large_payloads_end_a_page_early(void **state)
{
    struct api_fixture f;
    struct buf body = {0};

    (void)state;
    api_open(&f, NULL);
    buf_puts(&body, "{\"payload\":\"");
    memset(buf_reserve(&body, 5 << 20), 'x', 5 << 20);
    body.len += 5 << 20;
    buf_puts(&body, "\"}");
    for (int i = 0; i < 3; i++)
        expect(post(&f, "/v1/tasks", body.data), 201, HAS_NOTHING);
    expect(get(&f, "/v1/tasks?with=payload"), 200, HAS("\"next\":\"o2\""));
    buf_free(&body);
    api_close(&f);
}

static void tasks_are_changed_by_hand(void **state)
{
    struct api_fixture f;

    (void)state;
    api_open(&f, NULL);
    expect(post(&f, "/v1/tasks", "[{},{},{}]"), 201, HAS_NOTHING);
    expect(patch(&f, "/v1/tasks/1", "{\"priority\":7}"), 200,
           HAS("\"priority\":7", "\"state\":\"ready\""));
    expect(patch(&f, "/v1/tasks/2", "{\"after\":[1],\"not_before\":\"+90s\"}"), 200,
           HAS("\"state\":\"blocked\"", "\"after\":[1]", "\"not_before\":\""));
    expect(patch(&f, "/v1/tasks/1", "{\"after\":[2]}"), 409, HAS("\"status\":409"));
    expect(patch(&f, "/v1/tasks/1", "{\"after\":[\"a\"]}"), 400, HAS("\"where\":\"after[0]\""));
    expect(patch(&f, "/v1/tasks/1", "{}"), 400, HAS("nothing is to be changed"));
    expect(patch(&f, "/v1/tasks/1", "{\"prio\":1}"), 400, HAS("did you mean \\\"priority\\\"?"));
    expect(patch(&f, "/v1/tasks/9", "{\"priority\":1}"), 404, HAS("9"));
    expect(post(&f, "/v1/tasks/3/cancel", ""), 200, HAS("\"state\":\"cancelled\""));
    expect(post(&f, "/v1/tasks/3/retry", ""), 200, HAS("\"state\":\"ready\""));
    expect(post(&f, "/v1/tasks/3/resolve", "{\"how\":\"walk\"}"), 400,
           HAS("\\\"run\\\", \\\"cancel\\\""));
    expect(post(&f, "/v1/tasks/3/resolve", ""), 400, HAS("how is it to be resolved"));
    /* Only what waits for what can never be is run without it. */
    expect(post(&f, "/v1/tasks/2/resolve", "{\"how\":\"run\"}"), 409,
           HAS("what task 2 waits for can still be done"));
    expect(post(&f, "/v1/tasks/9/resolve", "{\"how\":\"run\"}"), 404, HAS("9"));
    expect(post(&f, "/v1/tasks/1/resolve", "{\"how\":\"run\"}"), 409, HAS("only a blocked one"));
    expect(post(&f, "/v1/tasks/1/cancel", ""), 200, HAS("\"state\":\"cancelled\""));
    expect(post(&f, "/v1/tasks/2/resolve", "{\"how\":\"run\"}"), 200,
           HAS("\"state\":\"scheduled\"", "\"why\":\"time\""));
    expect(ask_with(&f, "DELETE", "/v1/tasks/3", NULL, NULL, (struct slice){0}), 409, HAS_NOTHING);
    finish(&f, 3, REGISTRY_FAILED, "no");
    expect(get(&f, "/v1/tasks/3"), 200,
           HAS("\"state\":\"failed\"", "\"outcome\":\"failed\"", "\"reason\":\"exit_status\"",
               "\"output\":\"no\""));
    expect(ask_with(&f, "DELETE", "/v1/tasks/3", NULL, NULL, (struct slice){0}), 204, HAS_NOTHING);
    expect(get(&f, "/v1/tasks/3"), 404, HAS_NOTHING);
    api_close(&f);
}

static void one_dependency_that_can_never_be_is_enough_to_run_without(void **state)
{
    struct api_fixture f;

    (void)state;
    api_open(&f, NULL);
    expect(post(&f, "/v1/tasks",
                "[{\"name\":\"a\"},{\"name\":\"b\"},{\"after\":[\"a\",\"b\"]},"
                "{\"after\":[\"b\"]},{\"after\":[\"a\",\"b\"]}]"),
           201, HAS_NOTHING);
    expect(post(&f, "/v1/tasks/1/cancel", ""), 200, HAS_NOTHING);
    expect(post(&f, "/v1/tasks/3/resolve", "{\"how\":\"run\"}"), 200, HAS("\"state\":\"ready\""));
    expect(post(&f, "/v1/tasks/4/resolve", "{\"how\":\"run\"}"), 409, HAS("can still be done"));
    expect(post(&f, "/v1/tasks/4/resolve", "{\"how\":\"cancel\"}"), 200, HAS("\"cancelled\""));
    /* One that is gone is none that can be done. */
    expect(ask_with(&f, "DELETE", "/v1/tasks/1", NULL, NULL, (struct slice){0}), 204, HAS_NOTHING);
    expect(post(&f, "/v1/tasks/5/resolve", "{\"how\":\"run\"}"), 200, HAS("\"state\":\"ready\""));
    api_close(&f);
}

static void what_is_not_text_is_told_in_base64(void **state)
{
    struct api_fixture f;

    (void)state;
    api_open(&f, NULL);
    expect(post(&f, "/v1/tasks", "{\"payload_base64\":\"AP9hYg==\"}"), 201, HAS_NOTHING);
    finish(&f, 1, REGISTRY_DONE, "\xff\xfe");
    expect(get(&f, "/v1/tasks/1"), 200,
           HAS("\"payload_base64\":\"AP9hYg==\"", "\"output_base64\":\"//4=\""));
    api_close(&f);
}

/* ---- streams ---- */

static void put_lines(struct buf *b, int count)
{
    for (int i = 0; i < count; i++)
        buf_printf(b, "{\"key\":\"row-%d\",\"payload\":{\"n\":%d}}\n", i, i);
}

static void a_stream_is_accepted_in_groups(void **state)
{
    struct api_fixture f;
    struct buf lines = {0};

    (void)state;
    api_open(&f, NULL);
    put_lines(&lines, 25000);
    expect(stream(&f, "/v1/tasks", buf_slice(&lines)), 201,
           HAS("{\"accepted\":25000,\"existing\":0,\"ranges\":[[1,25000]]}"));
    assert_true(f.sent >= 25);
    expect(get(&f, "/v1/tasks/25000"), 200, HAS("\"key\":\"row-24999\""));
    expect(stream(&f, "/v1/tasks", SLICE("")), 201, HAS("\"accepted\":0"));
    expect(stream(&f, "/v1/tasks", SLICE("\n {} \r\n\n{\"key\":\"last\"}")), 201,
           HAS("\"ranges\":[[25001,25002]]"));
    buf_free(&lines);
    api_close(&f);
}

static void a_wrong_line_leaves_what_came_before(void **state)
{
    struct api_fixture f;
    struct buf lines = {0};

    (void)state;
    api_open(&f, NULL);
    put_lines(&lines, 2500);
    buf_puts(&lines, "{\"key\":7}\n");
    put_lines(&lines, 5000);
    expect(stream(&f, "/v1/tasks", buf_slice(&lines)), 400,
           HAS("\"line\":2501", "\"accepted\":2500", "\"ranges\":[[1,2500]]",
               "\"lines\":[[1,2500]]", "line 2501: key: it is a number", "\"where\":\"key\""));
    expect(get(&f, "/v1/tasks/2501"), 404, HAS_NOTHING);
    expect(stream(&f, "/v1/tasks", SLICE("{}\n{\"after\":[\"x\"]}")), 400,
           HAS("\"line\":2", "\"accepted\":1", "stands only for another task of the same array"));
    expect(stream(&f, "/v1/tasks", SLICE("{}\n[]\n")), 400,
           HAS("\"line\":2", "it must be an object"));
    expect(
        stream(&f, "/v1/tasks", SLICE("{\"after\":[999999]}\n")), 422,
        HAS("\"line\":1", "\"accepted\":0",
            "line 1: it depends on task 999999, which is not there; none of the lines 1 to 1 is"));
    /* Lines without a task count too. */
    expect(
        stream(&f, "/v1/tasks", SLICE("\n{}\n\n\n{}\n{\"after\":[1,999999]}\n{}\n")), 422,
        HAS("\"line\":6", "\"accepted\":0", "\"lines\":[]",
            "line 6: it depends on task 999999, which is not there; none of the lines 2 to 7 is"));
    buf_free(&lines);
    api_close(&f);
}

static bool something_has_happened(void *arg)
{
    struct api_fixture *f = arg;

    return f->registry->ops->last_event(f->registry) > 0;
}

static void a_slow_clients_tasks_need_not_wait_for_a_group(void **state)
{
    struct api_fixture f;
    struct answer a;
    int fd;

    (void)state;
    api_open(&f, NULL);
    fd = dial(&f.http);
    say(fd, "POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
            "Transfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n");
    /* Nothing more has been said, and the task is there. */
    assert_true(testkit_until(something_has_happened, &f, DEADLINE_MS));
    expect(get(&f, "/v1/tasks/1"), 200, HAS_NOTHING);
    say(fd, "2\r\n{}\r\n0\r\n\r\n");
    a = hear(fd);
    close(fd);
    expect(a, 201, HAS("{\"accepted\":2,\"existing\":0,\"ranges\":[[1,2]]}"));
    api_close(&f);
}

static void a_client_is_not_read_faster_than_the_registry_takes_its_tasks(void **state)
{
    struct api_fixture f;
    struct buf text = {0};
    struct pollfd poll_fd = {.events = POLLOUT};
    size_t sent = 0;
    ssize_t n;

    (void)state;
    api_open(&f, NULL);
    atomic_store(&f.held, true);
    poll_fd.fd = dial(&f.http);
    say(poll_fd.fd,
        "POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
        "Content-Length: 1000000000\r\n\r\n");
    put_lines(&text, 100000);
    /* As long as the socket takes something within a while. */
    while (poll(&poll_fd, 1, 300) > 0 && sent < text.len) {
        n = send(poll_fd.fd, text.data + sent, text.len - sent < 65536 ? text.len - sent : 65536,
                 MSG_NOSIGNAL | MSG_DONTWAIT);
        assert_true(n > 0);
        sent += (size_t)n;
    }
    assert_true(sent < text.len);
    assert_true(f.sent <= 6);
    /* It goes away while groups of its are being written: they are, and nothing is touched that is gone. */
    close(poll_fd.fd);
    atomic_store(&f.held, false);
    expect(get(&f, "/v1/tasks?limit=1"), 200, HAS_NOTHING);
    buf_free(&text);
    api_close(&f);
}

static void a_store_that_fails_is_told(void **state)
{
    struct api_fixture f;

    (void)state;
    api_open(&f, NULL);
    memory_registry_fail_next(f.registry, 1);
    expect(post(&f, "/v1/tasks", "{}"), 503, HAS("\"status\":503"));
    memory_registry_fail_next(f.registry, 1);
    expect(stream(&f, "/v1/tasks", SLICE("{}\n{}\n")), 503,
           HAS("\"line\":1", "\"accepted\":0", "lines 1 to 2: "));
    expect(post(&f, "/v1/tasks", "{}"), 201, HAS("\"id\":1"));
    api_close(&f);
}

static void roles_are_asked_for(void **state)
{
    static const struct http_token tokens[] = {
        {.secret = "reader", .role = HTTP_ROLE_READ, .name = "r"},
        {.secret = "writer", .role = HTTP_ROLE_SUBMIT, .name = "w"}};
    struct api_fixture f;
    struct weir_error err;

    (void)state;
    api_open(&f, NULL);
    must_be_ok(http_server_set_tokens(f.http.server, tokens, 2, &err), &err);
    expect(get(&f, "/v1/tasks"), 401, HAS_NOTHING);
    expect(ask_with(&f, "GET", "/v1/tasks", NULL, "Authorization: Bearer reader\r\n",
                    (struct slice){0}),
           200, HAS_NOTHING);
    expect(ask_with(&f, "POST", "/v1/tasks", "application/json", "Authorization: Bearer reader\r\n",
                    SLICE("{}")),
           403, HAS_NOTHING);
    expect(ask_with(&f, "POST", "/v1/tasks", "application/json", "Authorization: Bearer writer\r\n",
                    SLICE("{}")),
           201, HAS_NOTHING);
    expect(ask_with(&f, "DELETE", "/v1/tasks/1", NULL, "Authorization: Bearer writer\r\n",
                    (struct slice){0}),
           403, HAS_NOTHING);
    expect(get(&f, "/healthz"), 200, HAS("ok"));
    api_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_task_is_submitted_and_seen),
        cmocka_unit_test(an_idempotency_key_gives_the_first_task_back),
        cmocka_unit_test(an_array_is_all_or_nothing),
        cmocka_unit_test(lists_come_in_pages),
        cmocka_unit_test(large_payloads_end_a_page_early),
        cmocka_unit_test(tasks_are_changed_by_hand),
        cmocka_unit_test(one_dependency_that_can_never_be_is_enough_to_run_without),
        cmocka_unit_test(what_is_not_text_is_told_in_base64),
        cmocka_unit_test(a_stream_is_accepted_in_groups),
        cmocka_unit_test(a_wrong_line_leaves_what_came_before),
        cmocka_unit_test(a_slow_clients_tasks_need_not_wait_for_a_group),
        cmocka_unit_test(a_client_is_not_read_faster_than_the_registry_takes_its_tasks),
        cmocka_unit_test(a_store_that_fails_is_told),
        cmocka_unit_test(roles_are_asked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
