/*
 * The http executor on a real loop and real sockets, against a small service on the same loop that
 * misbehaves on demand (mini_service.h). Each test waits for reports, with a deadline, and not for
 * time to pass.
 */
#include "base/mem.h"
#include "exec/http/http.h"
#include "mini_service.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_MS  20000
#define ATTEMPTS_MAX 256

/* One executor with its host, the service, and the attempts. */
struct world {
    struct core_executor_host host; /* first: the host is found by it */
    uv_loop_t loop;
    uv_timer_t deadline;
    bool too_late;
    struct mini_service service;
    struct core_executor *ex;
    struct core_attempt attempts[ATTEMPTS_MAX];
    struct http_request requests[ATTEMPTS_MAX];
    int reports[ATTEMPTS_MAX]; /* how often each was reported */
    char url[ATTEMPTS_MAX][160];
    size_t used;
    size_t reported;
    size_t report_calls;
    size_t awaited;
};

static void on_report(struct core_executor_host *host, struct core_attempt *chain)
{
    struct world *w = (struct world *)host;

    w->report_calls++;
    for (; chain; chain = chain->next) {
        size_t i = (size_t)(chain - w->attempts);

        assert_true(i < w->used);
        assert_null(chain->edge);
        w->reports[i]++;
        w->reported++;
    }
    if (w->reported >= w->awaited)
        uv_stop(&w->loop);
}

static struct instant on_now(struct core_executor_host *host)
{
    (void)host;
    return (struct instant){(int64_t)uv_hrtime()};
}

static void on_deadline(uv_timer_t *timer)
{
    struct world *w = timer->data;

    w->too_late = true;
    uv_stop(&w->loop);
}

static struct world *world_new(struct http_options options)
{
    struct world *w = calloc(1, sizeof(*w));
    struct weir_error err = {0};

    assert_non_null(w);
    w->host.report = on_report;
    w->host.now = on_now;
    assert_int_equal(uv_loop_init(&w->loop), 0);
    uv_timer_init(&w->loop, &w->deadline);
    w->deadline.data = w;
    uv_timer_start(&w->deadline, on_deadline, DEADLINE_MS, 0);
    mini_service_start(&w->service, &w->loop);
    if (!options.proxy)
        options.proxy = ""; /* not the environment's */
    if (http_executor_new(&options, &w->loop, &w->host, &w->ex, &err) != WEIR_OK)
        fail_msg("%s", err.message);
    return w;
}

/* Each attempt was reported once; the executor closes. */
static void close_executor(struct world *w)
{
    struct http_counters counters = http_executor_counters(w->ex);

    assert_int_equal(counters.running, 0);
    assert_int_equal(counters.started, counters.reported);
    for (size_t i = 0; i < w->used; i++) {
        assert_int_equal(w->reports[i], 1);
        answer_clear(&w->attempts[i].answer);
    }
    w->ex->ops->close(w->ex);
    w->ex = NULL;
}

/* Everything closes, and the loop has nothing left: no handle leaks. */
static void world_end(struct world *w)
{
    if (w->ex)
        close_executor(w);
    mini_service_stop(&w->service);
    uv_close((uv_handle_t *)&w->deadline, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT); /* may return at once: a report asked it to stop */
    assert_int_equal(uv_run(&w->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    free(w);
}

static struct core_attempt *start_request(struct world *w, struct http_request request)
{
    size_t i = w->used++;
    struct core_attempt *a = &w->attempts[i];

    assert_true(i < ATTEMPTS_MAX);
    w->requests[i] = request;
    a->payload = &w->requests[i];
    a->payload_len = sizeof(w->requests[i]);
    a->index = i;
    w->ex->ops->start(w->ex, a);
    return a;
}

static const char *url_of(struct world *w, const char *path)
{
    char *url = w->url[w->used];

    snprintf(url, sizeof(w->url[0]), "http://127.0.0.1:%d%s", w->service.port, path);
    return url;
}

static struct core_attempt *start(struct world *w, const char *path)
{
    return start_request(w, (struct http_request){.url = url_of(w, path), .body = SLICE("{}")});
}

/* Runs the loop until so many attempts have been reported in all. */
static void await_reports(struct world *w, size_t count)
{
    w->awaited = count;
    w->ex->ops->kick(w->ex);
    while (w->reported < count && !w->too_late)
        uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_false(w->too_late);
}

static struct core_answer *ask(struct world *w, const char *path)
{
    struct core_attempt *a = start(w, path);

    await_reports(w, w->used);
    return &a->answer;
}

/* Runs the loop until the service has seen so many requests. */
static void await_requests(struct world *w, size_t count)
{
    w->ex->ops->kick(w->ex);
    while (w->service.requests < count && !w->too_late)
        uv_run(&w->loop, UV_RUN_ONCE);
    assert_false(w->too_late);
}

static void assert_failed(const struct core_answer *a, enum weir_reason reason, bool retryable)
{
    if (a->reason != reason)
        fail_msg("%s: %s", weir_reason_name(a->reason), a->message ? a->message : "(none)");
    assert_int_equal(a->outcome, WEIR_OUTCOME_FAILED);
    assert_int_equal(a->retryable, retryable);
    assert_int_equal(a->status, 0);
    assert_null(a->output);
    assert_non_null(a->message);
}

#define assert_contains(text, part)                                                                \
    do {                                                                                           \
        if (!strstr(text, part))                                                                   \
            fail_msg("\"%s\" is not in \"%s\"", part, text);                                       \
    } while (0)

static void a_success_gives_its_body_verbatim(void **state)
{
    struct world *w = world_new(HTTP_OPTIONS_DEFAULT);
    struct core_answer *a = ask(w, "/ok");

    (void)state;
    assert_int_equal(a->outcome, WEIR_OUTCOME_OK);
    assert_int_equal(a->reason, WEIR_REASON_NONE);
    assert_int_equal(a->status, 200);
    assert_string_equal(a->output, "{ \"id\":1.0, \"usage\":{\"total_tokens\":42}}\n");
    assert_int_equal(a->output_len, strlen(a->output));
    assert_string_equal(a->request_id, "req-7");
    assert_int_equal(a->tokens, 42);
    assert_int_equal(a->advice.requests.remaining, 59);
    assert_int_equal(a->advice.retry_after_ns, -1);
    assert_null(a->message);
    assert_true(a->ended_at.ns > a->started_at.ns);
    world_end(w);
}

static void a_chunked_body_is_joined(void **state)
{
    struct world *w = world_new(HTTP_OPTIONS_DEFAULT);
    struct core_answer *a = ask(w, "/chunked");

    (void)state;
    assert_int_equal(a->outcome, WEIR_OUTCOME_OK);
    assert_string_equal(a->output, "hello, world");
    world_end(w);
}

static void an_empty_answer_has_an_empty_output(void **state)
{
    struct world *w = world_new(HTTP_OPTIONS_DEFAULT);
    struct core_answer *a = ask(w, "/204");

    (void)state;
    assert_int_equal(a->outcome, WEIR_OUTCOME_OK);
    assert_int_equal(a->status, 204);
    assert_string_equal(a->output, "");
    assert_int_equal(a->output_len, 0);
    world_end(w);
}

/* P4, and the advice that comes with it */
static void a_refusal_is_capacity_and_its_retry_after_is_passed_on(void **state)
{
    struct world *w = world_new(HTTP_OPTIONS_DEFAULT);
    struct core_answer *a = ask(w, "/429");

    (void)state;
    assert_int_equal(a->outcome, WEIR_OUTCOME_CAPACITY);
    assert_int_equal(a->reason, WEIR_REASON_HTTP_STATUS);
    assert_int_equal(a->status, 429);
    assert_int_equal(a->advice.retry_after_ns, 2 * NS_PER_S);
    assert_string_equal(a->output, "{\"error\":\"full\"}");
    assert_string_equal(a->message, "HTTP 429 Too Many Requests");
    assert_int_equal(a->tokens, -1);
    world_end(w);
}

static void a_refusal_that_breaks_off_is_still_capacity(void **state)
{
    struct world *w = world_new(HTTP_OPTIONS_DEFAULT);
    struct core_answer *a = ask(w, "/503-short");

    (void)state;
    assert_int_equal(a->outcome, WEIR_OUTCOME_CAPACITY);
    assert_int_equal(a->status, 503);
    assert_string_equal(a->output, "part");
    assert_contains(a->message, "broke off");
    world_end(w);
}

/* P4: the answer had come whole; that the connection went then changes nothing about it. */
static void a_refusal_is_read_before_the_reset_that_follows_it(void **state)
{
    struct world *w = world_new(HTTP_OPTIONS_DEFAULT);
    struct core_answer *a = ask(w, "/429-reset");

    (void)state;
    assert_int_equal(a->outcome, WEIR_OUTCOME_CAPACITY);
    assert_int_equal(a->status, 429);
    assert_int_equal(a->advice.retry_after_ns, 2 * NS_PER_S);
    /* Whether the next request still finds the dead connection is up to curl; if so, the engine's retry is due. */
    a = ask(w, "/ok");
    if (a->outcome != WEIR_OUTCOME_OK) {
        assert_int_equal(a->reason, WEIR_REASON_CONNECTION_LOST);
        assert_true(a->retryable);
        a = ask(w, "/ok");
    }
    assert_int_equal(a->outcome, WEIR_OUTCOME_OK);
    world_end(w);
}

static void other_statuses_are_as_in_the_table(void **state)
{
    static const int listed[] = {403};
    struct world *w =
        world_new((struct http_options){.capacity_statuses = listed, .capacity_statuses_count = 1});
    struct core_answer *a = ask(w, "/400");

    (void)state;
    assert_int_equal(a->outcome, WEIR_OUTCOME_FAILED);
    assert_false(a->retryable);
    assert_int_equal(a->status, 400);
    assert_string_equal(a->message, "HTTP 400 Bad Request");
    a = ask(w, "/500");
    assert_int_equal(a->outcome, WEIR_OUTCOME_FAILED);
    assert_true(a->retryable);
    a = ask(w, "/403");
    assert_int_equal(a->outcome, WEIR_OUTCOME_CAPACITY);
    a = ask(w, "/302"); /* not followed */
    assert_int_equal(a->outcome, WEIR_OUTCOME_FAILED);
    assert_int_equal(a->status, 302);
    assert_false(a->retryable);
    world_end(w);
}

static void a_broken_connection_is_retryable(void **state)
{
    struct world *w = world_new(HTTP_OPTIONS_DEFAULT);

    (void)state;
    assert_failed(ask(w, "/reset"), WEIR_REASON_CONNECTION_LOST, true);
    assert_failed(ask(w, "/gone"), WEIR_REASON_CONNECTION_LOST, true);
    assert_failed(ask(w, "/short"), WEIR_REASON_CONNECTION_LOST, true);
    assert_failed(ask(w, "/chunked-short"), WEIR_REASON_CONNECTION_LOST, true);
    /* and nothing of it sticks to the handle */
    assert_int_equal(ask(w, "/ok")->outcome, WEIR_OUTCOME_OK);
    assert_int_equal(http_executor_counters(w->ex).handles, 1);
    world_end(w);
}

static void what_is_not_http_is_a_protocol_error(void **state)
{
    struct world *w = world_new(HTTP_OPTIONS_DEFAULT);
    struct core_answer *a = ask(w, "/garbage");

    (void)state;
    assert_failed(a, WEIR_REASON_PROTOCOL, true);
    assert_contains(a->message, "127.0.0.1:");
    assert_failed(ask(w, "/bad-gzip"), WEIR_REASON_PROTOCOL, true);
    world_end(w);
}

static void a_response_over_the_limit_fails_for_good(void **state)
{
    struct world *w = world_new((struct http_options){.response_max_bytes = 1000});

    (void)state;
    assert_int_equal(ask(w, "/sized/1000")->output_len, 1000);
    assert_failed(ask(w, "/sized/1001"), WEIR_REASON_RESPONSE_TOO_LARGE, false);
    assert_failed(ask(w, "/chunked-sized/1001"), WEIR_REASON_RESPONSE_TOO_LARGE, false);
    assert_int_equal(ask(w, "/chunked-sized/1000")->output_len, 1000);
    world_end(w);
}

static void headers_over_the_limit_fail_for_good(void **state)
{
    struct world *w = world_new((struct http_options){.response_headers_max_bytes = 4096});

    (void)state;
    assert_failed(ask(w, "/big-head"), WEIR_REASON_RESPONSE_TOO_LARGE, false);
    assert_int_equal(ask(w, "/ok")->outcome, WEIR_OUTCOME_OK);
    world_end(w);
}

static void a_refused_port_is_a_connect_failure(void **state)
{
    struct world *w = world_new(HTTP_OPTIONS_DEFAULT);
    struct core_attempt *a;
    char url[64];

    (void)state;
    assert_int_equal(ask(w, "/429")->status, 429);
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/", mini_service_refused_port());
    a = start_request(w, (struct http_request){.url = url, .body = SLICE("{}")});
    await_reports(w, 2);
    assert_failed(&a->answer, WEIR_REASON_CONNECT_FAILED, true);
    assert_int_equal(a->answer.advice.retry_after_ns, -1); /* not the response's before */
    assert_contains(a->answer.message, "127.0.0.1:");
    world_end(w);
}

static void a_bad_request_is_refused_without_being_sent(void **state)
{
    struct world *w = world_new(HTTP_OPTIONS_DEFAULT);
    struct slice body = SLICE("{}");

    (void)state;
    start_request(w, (struct http_request){.url = NULL, .body = body});
    start_request(w, (struct http_request){.url = "ftp://127.0.0.1/", .body = body});
    start_request(w, (struct http_request){.url = "/v1", .body = body});
    start_request(w, (struct http_request){.url = "http://127.0.0.1:99999999/", .body = body});
    start_request(w, (struct http_request){.url = url_of(w, "/ok"), .method = "A B", .body = body});
    start_request(
        w, (struct http_request){.url = url_of(w, "/ok"), .content_type = "a\nb", .body = body});
    await_reports(w, 6);
    for (size_t i = 0; i < 6; i++)
        assert_failed(&w->attempts[i].answer, WEIR_REASON_BAD_ROW, false);
    assert_int_equal(w->service.requests, 0);
    assert_int_equal(ask(w, "/ok")->outcome, WEIR_OUTCOME_OK);
    world_end(w);
}

/* What /echo answers: the request's head and body as they arrived. */
static void a_request_is_sent_as_it_was_given(void **state)
{
    static const char *const headers[] = {"Authorization: Bearer abc", "X-Empty:"};
    struct world *w = world_new((struct http_options){.headers = headers, .headers_count = 2});
    struct core_attempt *a = start_request(w, (struct http_request){.url = url_of(w, "/echo?a=b"),
                                                                    .body = SLICE("{\"x\":1}"),
                                                                    .idempotency_key = "k %1"});

    (void)state;
    await_reports(w, 1);
    assert_contains(a->answer.output, "POST /echo?a=b HTTP/1.1\r\n");
    assert_contains(a->answer.output, "\r\nContent-Type: application/json\r\n");
    assert_contains(a->answer.output, "\r\nIdempotency-Key: k%20%251\r\n");
    assert_contains(a->answer.output, "\r\nAuthorization: Bearer abc\r\n");
    assert_contains(a->answer.output, "\r\nUser-Agent: weir/");
    assert_contains(a->answer.output, "\r\nContent-Length: 7\r\n");
    assert_contains(a->answer.output, "gzip");
    assert_contains(a->answer.output, "\r\n\r\n{\"x\":1}");
    assert_null(strstr(a->answer.output, "Expect"));
    assert_null(strstr(a->answer.output, "X-Empty"));
    world_end(w);
}

/* The head that a service sees of a request with so large a body. */
static void assert_not_expecting(size_t body_len)
{
    struct world *w = world_new(HTTP_OPTIONS_DEFAULT);
    char *body = calloc(1, body_len);
    struct core_attempt *a;

    assert_non_null(body);
    memset(body, 'x', body_len);
    a = start_request(w,
                      (struct http_request){.url = url_of(w, "/echo"), .body = {body, body_len}});
    await_reports(w, 1);
    assert_int_equal(a->answer.outcome, WEIR_OUTCOME_OK);
    assert_contains(a->answer.output, "POST /echo ");
    assert_null(strcasestr(a->answer.output, "Expect"));
    world_end(w);
    free(body);
}

static void no_request_waits_to_be_told_to_go_on(void **state)
{
    (void)state;
    assert_not_expecting(100);
    assert_not_expecting((512 << 10) + 1);
    assert_not_expecting((1 << 20) + 1);
    assert_not_expecting(3 << 20);
}

static void one_request_leaves_no_trace_in_the_next(void **state)
{
    struct world *w = world_new(HTTP_OPTIONS_DEFAULT);
    struct core_attempt *a;

    (void)state;
    start_request(w, (struct http_request){.url = url_of(w, "/echo"),
                                           .method = "PUT",
                                           .body = SLICE("first"),
                                           .content_type = "text/plain",
                                           .idempotency_key = "one"});
    await_reports(w, 1);
    assert_contains(w->attempts[0].answer.output, "PUT /echo ");
    assert_contains(w->attempts[0].answer.output, "Content-Type: text/plain\r\n");
    a = start_request(w, (struct http_request){.url = url_of(w, "/echo"), .method = "GET"});
    await_reports(w, 2);
    assert_contains(a->answer.output, "GET /echo ");
    assert_null(strstr(a->answer.output, "Content-Type"));
    assert_null(strstr(a->answer.output, "Idempotency"));
    assert_null(strstr(a->answer.output, "first"));
    a = start_request(w, (struct http_request){.url = url_of(w, "/echo"), .method = "DELETE"});
    await_reports(w, 3);
    assert_contains(a->answer.output, "DELETE /echo ");
    assert_null(strstr(a->answer.output, "Content-Length"));
    a = start_request(w, (struct http_request){.url = url_of(w, "/head"), .method = "HEAD"});
    await_reports(w, 4);
    assert_int_equal(a->answer.outcome, WEIR_OUTCOME_OK);
    a = start_request(w, (struct http_request){.url = url_of(w, "/echo")});
    await_reports(w, 5);
    assert_contains(a->answer.output, "POST /echo ");
    assert_contains(a->answer.output, "Content-Length: 0\r\n");
    assert_null(strstr(a->answer.output, "Content-Type"));
    assert_int_equal(http_executor_counters(w->ex).handles, 1);
    world_end(w);
}

static void a_request_has_headers_of_its_own(void **state)
{
    static const char *const lines[] = {"X-One: 1", "Accept: text/csv"};
    struct world *w = world_new(HTTP_OPTIONS_DEFAULT);

    (void)state;
    start_request(w, (struct http_request){.url = url_of(w, "/echo"),
                                           .body = SLICE("first"),
                                           .idempotency_key = "one",
                                           .headers = lines,
                                           .headers_count = 2});
    await_reports(w, 1);
    assert_contains(w->attempts[0].answer.output, "\r\nX-One: 1\r\n");
    assert_contains(w->attempts[0].answer.output, "\r\nAccept: text/csv\r\n");
    assert_contains(w->attempts[0].answer.output, "\r\nIdempotency-Key: one\r\n");
    assert_contains(w->attempts[0].answer.output, "\r\nContent-Type: application/json\r\n");
    /* The same handle, with fewer and with none. */
    start_request(w, (struct http_request){
                         .url = url_of(w, "/echo"), .headers = lines + 1, .headers_count = 1});
    await_reports(w, 2);
    assert_null(strstr(w->attempts[1].answer.output, "X-One"));
    assert_contains(w->attempts[1].answer.output, "\r\nAccept: text/csv\r\n");
    start_request(w, (struct http_request){.url = url_of(w, "/echo")});
    await_reports(w, 3);
    assert_null(strstr(w->attempts[2].answer.output, "text/csv"));
    assert_int_equal(http_executor_counters(w->ex).handles, 1);
    world_end(w);
}

static void headers_of_the_options_replace_our_own(void **state)
{
    static const char *const headers[] = {"content-type: text/x", "IDEMPOTENCY-KEY: mine",
                                          "User-Agent: me"};
    struct world *w = world_new((struct http_options){.headers = headers, .headers_count = 3});
    struct core_attempt *a = start_request(w, (struct http_request){.url = url_of(w, "/echo"),
                                                                    .body = SLICE("{}"),
                                                                    .idempotency_key = "theirs"});

    (void)state;
    await_reports(w, 1);
    assert_contains(a->answer.output, "content-type: text/x\r\n");
    assert_contains(a->answer.output, "IDEMPOTENCY-KEY: mine\r\n");
    assert_contains(a->answer.output, "User-Agent: me\r\n");
    assert_null(strstr(a->answer.output, "application/json"));
    assert_null(strstr(a->answer.output, "theirs"));
    assert_null(strstr(a->answer.output, "weir/"));
    world_end(w);
}

static void a_request_without_a_key_does_not_send_the_one_before(void **state)
{
    static const char *const headers[] = {"Content-Type: text/x"};
    static const char *const keys[] = {"one", NULL, "two", ""};
    struct world *w = world_new((struct http_options){.headers = headers, .headers_count = 1});

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct core_attempt *a = start_request(
            w, (struct http_request){.url = url_of(w, "/echo"), .idempotency_key = keys[i]});

        await_reports(w, i + 1);
        if (keys[i] && keys[i][0])
            assert_contains(strstr(a->answer.output, "Idempotency-Key: "), keys[i]);
        else
            assert_null(strstr(a->answer.output, "Idempotency-Key"));
        assert_contains(a->answer.output, "Content-Type: text/x");
    }
    world_end(w);
}

static void keys_that_differ_are_sent_differently(void **state)
{
    struct world *w = world_new(HTTP_OPTIONS_DEFAULT);
    char key[HTTP_IDEMPOTENCY_KEY_BYTES_MAX + 2];
    struct core_attempt *a;

    (void)state;
    memset(key, 'k', sizeof(key) - 1);
    key[sizeof(key) - 1] = '\0';
    a = start_request(w, (struct http_request){.url = url_of(w, "/echo"), .idempotency_key = key});
    await_reports(w, 1);
    assert_null(strstr(a->answer.output, "Idempotency-Key"));
    key[sizeof(key) - 2] = '\0';
    a = start_request(w, (struct http_request){.url = url_of(w, "/echo"), .idempotency_key = key});
    await_reports(w, 2);
    assert_contains(a->answer.output, key);
    a = start_request(
        w, (struct http_request){.url = url_of(w, "/echo"), .idempotency_key = "\r\nX: \xc3\xa9"});
    await_reports(w, 3);
    assert_contains(a->answer.output, "Idempotency-Key: %0D%0AX:%20%C3%A9\r\n");
    world_end(w);
}

static void connections_are_used_again(void **state)
{
    struct world *w = world_new(HTTP_OPTIONS_DEFAULT);

    (void)state;
    for (int i = 0; i < 50; i++)
        assert_int_equal(ask(w, "/ok")->outcome, WEIR_OUTCOME_OK);
    assert_int_equal(w->service.connections, 1);
    assert_int_equal(http_executor_counters(w->ex).connections_opened, 1);
    assert_int_equal(http_executor_counters(w->ex).handles, 1);
    world_end(w);
}

/* The service closes idle connections under us: the next request gets a new one, no failure. */
static void a_connection_that_was_closed_while_idle_is_replaced(void **state)
{
    struct world *w = world_new(HTTP_OPTIONS_DEFAULT);

    (void)state;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(ask(w, "/ok")->outcome, WEIR_OUTCOME_OK);
        mini_service_drop_all(&w->service);
        while (w->service.open > 0)
            uv_run(&w->loop, UV_RUN_ONCE);
        for (int turn = 0; turn < 3; turn++)
            uv_run(&w->loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(w->service.connections, 5);
    world_end(w);
}

static void sixty_four_run_at_once(void **state)
{
    struct world *w = world_new((struct http_options){.max_connections = 64});

    (void)state;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 64; i++)
            start(w, i % 4 ? "/hold" : "/hold-429");
        await_requests(w, w->used); /* all of them are there, and none has an answer yet */
        assert_int_equal(w->reported, (size_t)round * 64);
        mini_service_release(&w->service);
        await_reports(w, w->used);
    }
    for (size_t i = 0; i < w->used; i++)
        assert_int_equal(w->attempts[i].answer.outcome,
                         i % 4 ? WEIR_OUTCOME_OK : WEIR_OUTCOME_CAPACITY);
    assert_int_equal(w->service.connections, 64);
    assert_int_equal(http_executor_counters(w->ex).handles, 64);
    assert_true(w->report_calls <= w->reported);
    world_end(w);
}

static void cancel_ends_an_attempt_at_once(void **state)
{
    struct world *w = world_new(HTTP_OPTIONS_DEFAULT);
    struct core_attempt *slow = start(w, "/hold");
    struct core_attempt *unsent;

    (void)state;
    await_requests(w, 1);
    w->ex->ops->cancel(w->ex, slow);
    assert_int_equal(w->reported, 1); /* already */
    assert_int_equal(slow->answer.outcome, WEIR_OUTCOME_CANCELLED);
    assert_int_equal(slow->answer.status, 0);
    assert_null(slow->answer.output);
    w->ex->ops->cancel(w->ex, slow); /* again: nothing */
    unsent = start(w, "/hold");
    w->ex->ops->cancel(w->ex, unsent); /* before curl has even begun */
    assert_int_equal(w->reported, 2);
    assert_int_equal(ask(w, "/ok")->outcome, WEIR_OUTCOME_OK);
    world_end(w);
}

static void cancel_in_the_midst_of_a_body_leaves_the_others_alone(void **state)
{
    struct world *w = world_new(HTTP_OPTIONS_DEFAULT);
    struct core_attempt *stuck;

    (void)state;
    for (int i = 0; i < 20; i++)
        start(w, i % 2 ? "/stuck" : "/ok");
    await_reports(w, 10);
    for (int i = 0; i < 20; i++) {
        stuck = &w->attempts[i];
        if (i % 2)
            w->ex->ops->cancel(w->ex, stuck);
        assert_int_equal(stuck->answer.outcome, i % 2 ? WEIR_OUTCOME_CANCELLED : WEIR_OUTCOME_OK);
    }
    assert_int_equal(w->reported, 20);
    world_end(w);
}

/* As an engine would whose report handler acts on what it is told. */
static struct core_attempt *cancel_next;
static void on_report_cancel(struct core_executor_host *host, struct core_attempt *chain)
{
    struct world *w = (struct world *)host;
    struct core_attempt *other = cancel_next;

    cancel_next = NULL;
    if (other)
        w->ex->ops->cancel(w->ex, other);
    on_report(host, chain);
}

static void cancel_from_within_a_report_is_safe(void **state)
{
    struct world *w = world_new(HTTP_OPTIONS_DEFAULT);

    (void)state;
    w->host.report = on_report_cancel;
    start(w, "/ok");
    cancel_next = start(w, "/hold");
    await_reports(w, 2);
    assert_int_equal(w->attempts[0].answer.outcome, WEIR_OUTCOME_OK);
    assert_int_equal(w->attempts[1].answer.outcome, WEIR_OUTCOME_CANCELLED);
    world_end(w);
}

/* ---- numbers of descriptors ---- */

static int lowest_free_number(void)
{
    int fd = dup(STDIN_FILENO);

    assert_true(fd >= 0);
    close(fd);
    return fd;
}

/* More than once, for a report may have asked it to stop. */
static void turn(struct world *w)
{
    for (int i = 0; i < 3; i++)
        uv_run(&w->loop, UV_RUN_NOWAIT);
}

static void on_heard(uv_poll_t *poll, int status, int events)
{
    bool *heard = poll->data;

    *heard = status == 0 && events & UV_READABLE;
    uv_poll_stop(poll);
}

/* A descriptor of that number, which was curl's, is heard in the loop although the executor closes. */
static void assert_number_is_free(struct world *w, int number)
{
    bool heard = false;
    uv_poll_t poll = {.data = &heard};
    int ends[2];

    assert_int_equal(fcntl(number, F_GETFD), -1);
    assert_int_equal(pipe(ends), 0);
    if (ends[0] != number) {
        assert_int_equal(dup2(ends[0], number), number);
        close(ends[0]);
    }
    assert_int_equal(uv_poll_init(&w->loop, &poll, number), 0);
    assert_int_equal(uv_poll_start(&poll, UV_READABLE, on_heard), 0);
    turn(w);
    close_executor(w);
    turn(w);
    assert_int_equal(write(ends[1], "x", 1), 1);
    turn(w);
    assert_true(heard);
    uv_close((uv_handle_t *)&poll, NULL);
    turn(w);
    close(number);
    close(ends[1]);
}

/* A port whose queue is full: whoever connects to it waits. clients: -1 where there is none. */
static int full_port(int *ret_port, int clients[4])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(at);
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(server >= 0);
    assert_int_equal(bind(server, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(server, 0), 0);
    assert_int_equal(getsockname(server, (struct sockaddr *)&at, &len), 0);
    for (int i = 0; i < 4; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(clients[i], (struct sockaddr *)&at, sizeof(at));
    }
    *ret_port = ntohs(at.sin_port);
    return server;
}

static void a_socket_that_never_connected_leaves_its_number_to_others(void **state)
{
    struct world *w = world_new(HTTP_OPTIONS_DEFAULT);
    int port, clients[4], server = full_port(&port, clients), number;
    struct core_attempt *stuck;

    (void)state;
    number = lowest_free_number();
    snprintf(w->url[w->used], sizeof(w->url[0]), "http://127.0.0.1:%d/", port);
    stuck = start_request(w, (struct http_request){.url = w->url[w->used], .body = SLICE("{}")});
    w->ex->ops->kick(w->ex);
    turn(w);
    assert_int_equal(http_executor_counters(w->ex).connections_opened, 1);
    assert_int_not_equal(fcntl(number, F_GETFD), -1);
    w->ex->ops->cancel(w->ex, stuck);
    assert_int_equal(stuck->answer.outcome, WEIR_OUTCOME_CANCELLED);
    assert_number_is_free(w, number);
    for (int i = 0; i < 4; i++)
        close(clients[i]);
    close(server);
    world_end(w);
}

static bool accept_some(void *ctx, struct core_answer *answer)
{
    int *calls = ctx;

    ++*calls;
    if (*calls == 1) {
        mem_free(answer->output);
        answer->output = mem_copy("picked", 6);
        answer->output_len = 6;
        return true;
    }
    answer_say(answer, "nothing to pick");
    return false;
}

static void the_accept_hook_may_replace_or_refuse_an_answer(void **state)
{
    int calls = 0;
    struct world *w = world_new((struct http_options){.accept = {accept_some, &calls}});
    struct core_answer *a = ask(w, "/ok");

    (void)state;
    assert_int_equal(a->outcome, WEIR_OUTCOME_OK);
    assert_string_equal(a->output, "picked");
    assert_int_equal(a->tokens, 42);
    a = ask(w, "/ok");
    assert_int_equal(a->outcome, WEIR_OUTCOME_FAILED);
    assert_int_equal(a->reason, WEIR_REASON_SELECT_FAILED);
    assert_int_equal(a->status, 200);
    assert_string_equal(a->message, "nothing to pick");
    ask(w, "/429"); /* is no success: not asked */
    assert_int_equal(calls, 2);
    world_end(w);
}

static int64_t fixed_unix_seconds(void)
{
    return INT64_C(1769860800); /* 2026-01-31T12:00:00Z */
}

static void a_retry_after_date_is_taken_against_the_given_clock(void **state)
{
    struct world *w = world_new((struct http_options){.unix_seconds = fixed_unix_seconds});
    struct core_answer *a = ask(w, "/429-date");

    (void)state;
    assert_int_equal(a->advice.retry_after_ns, 60 * NS_PER_S);
    world_end(w);
}

static void a_packed_body_comes_unpacked(void **state)
{
    struct world *w = world_new(HTTP_OPTIONS_DEFAULT);

    (void)state;
    assert_string_equal(ask(w, "/gzip")->output, "hello\n");
    world_end(w);
}

/* 2 MB to and fro: several writes of the socket, and a body that is not copied. */
static void a_large_body_goes_and_comes_whole(void **state)
{
    struct world *w = world_new(HTTP_OPTIONS_DEFAULT);
    size_t len = 2000000;
    char *body = malloc(len);
    struct core_attempt *a;

    (void)state;
    for (size_t i = 0; i < len; i++)
        body[i] = (char)('a' + i % 26);
    a = start_request(w, (struct http_request){.url = url_of(w, "/echo"), .body = {body, len}});
    await_reports(w, 1);
    assert_int_equal(a->answer.outcome, WEIR_OUTCOME_OK);
    assert_true(a->answer.output_len > len);
    assert_memory_equal(a->answer.output + a->answer.output_len - len, body, len);
    free(body);
    world_end(w);
}

/* One allocation of ours after the other fails: the attempt fails or succeeds, nothing else. */
static void memory_that_runs_out_fails_the_attempt_only(void **state)
{
    bool failed = true;

    (void)state;
    for (unsigned long n = 1; failed && n < 100; n++) {
        struct world *w = world_new(HTTP_OPTIONS_DEFAULT);
        struct core_answer *a;

        mem_fail_at(n);
        a = ask(w, "/429");
        failed = mem_has_failed();
        mem_fail_at(0);
        if (a->outcome != WEIR_OUTCOME_CAPACITY) {
            assert_int_equal(a->outcome, WEIR_OUTCOME_FAILED);
            assert_true(a->retryable);
        }
        assert_int_equal(ask(w, "/ok")->outcome, WEIR_OUTCOME_OK);
        world_end(w);
    }
    assert_false(failed); /* the sweep came to its end */
}

static void making_it_survives_every_failed_allocation(void **state)
{
    struct core_executor_host host = {.report = on_report, .now = on_now};
    struct http_options options = HTTP_OPTIONS_DEFAULT;
    struct core_executor *ex = NULL;
    enum weir_status status;
    uv_loop_t loop;

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    mem_fail_at(1);
    status = http_executor_new(&options, &loop, &host, &ex, NULL);
    mem_fail_at(0);
    assert_int_equal(status, WEIR_E_NOMEM);
    assert_null(ex);
    options.method = "no method";
    assert_int_equal(http_executor_new(&options, &loop, &host, &ex, NULL), WEIR_E_INVALID);
    assert_int_equal(http_executor_new(NULL, &loop, &host, &ex, NULL), WEIR_E_INVALID);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void an_idle_executor_does_not_keep_the_loop_alive(void **state)
{
    struct world *w = world_new(HTTP_OPTIONS_DEFAULT);

    (void)state;
    assert_int_equal(ask(w, "/ok")->outcome, WEIR_OUTCOME_OK);
    uv_unref((uv_handle_t *)&w->deadline);
    mini_service_unref(&w->service);
    uv_run(&w->loop, UV_RUN_DEFAULT); /* may return at once: a report asked it to stop */
    assert_int_equal(uv_run(&w->loop, UV_RUN_DEFAULT), 0);
    assert_false(w->too_late);
    assert_int_equal(w->service.open, 1); /* its connection is still there, only idle */
    world_end(w);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_success_gives_its_body_verbatim),
        cmocka_unit_test(a_chunked_body_is_joined),
        cmocka_unit_test(an_empty_answer_has_an_empty_output),
        cmocka_unit_test(a_refusal_is_capacity_and_its_retry_after_is_passed_on),
        cmocka_unit_test(a_refusal_that_breaks_off_is_still_capacity),
        cmocka_unit_test(a_refusal_is_read_before_the_reset_that_follows_it),
        cmocka_unit_test(other_statuses_are_as_in_the_table),
        cmocka_unit_test(a_broken_connection_is_retryable),
        cmocka_unit_test(what_is_not_http_is_a_protocol_error),
        cmocka_unit_test(a_response_over_the_limit_fails_for_good),
        cmocka_unit_test(headers_over_the_limit_fail_for_good),
        cmocka_unit_test(a_refused_port_is_a_connect_failure),
        cmocka_unit_test(a_bad_request_is_refused_without_being_sent),
        cmocka_unit_test(a_request_is_sent_as_it_was_given),
        cmocka_unit_test(no_request_waits_to_be_told_to_go_on),
        cmocka_unit_test(one_request_leaves_no_trace_in_the_next),
        cmocka_unit_test(a_request_has_headers_of_its_own),
        cmocka_unit_test(headers_of_the_options_replace_our_own),
        cmocka_unit_test(a_request_without_a_key_does_not_send_the_one_before),
        cmocka_unit_test(keys_that_differ_are_sent_differently),
        cmocka_unit_test(connections_are_used_again),
        cmocka_unit_test(a_connection_that_was_closed_while_idle_is_replaced),
        cmocka_unit_test(sixty_four_run_at_once),
        cmocka_unit_test(cancel_ends_an_attempt_at_once),
        cmocka_unit_test(cancel_in_the_midst_of_a_body_leaves_the_others_alone),
        cmocka_unit_test(cancel_from_within_a_report_is_safe),
        cmocka_unit_test(a_socket_that_never_connected_leaves_its_number_to_others),
        cmocka_unit_test(the_accept_hook_may_replace_or_refuse_an_answer),
        cmocka_unit_test(a_retry_after_date_is_taken_against_the_given_clock),
        cmocka_unit_test(a_packed_body_comes_unpacked),
        cmocka_unit_test(a_large_body_goes_and_comes_whole),
        cmocka_unit_test(memory_that_runs_out_fails_the_attempt_only),
        cmocka_unit_test(making_it_survives_every_failed_allocation),
        cmocka_unit_test(an_idle_executor_does_not_keep_the_loop_alive),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
