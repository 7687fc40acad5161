/*
 * Requests and answers over real sockets: routes, parameters, bodies, problems, listeners.
 */
#include "base/json.h"
#include "http_test.h"

#include <curl/curl.h>

static struct fixture f;

static int open_default(void **state)
{
    (void)state;
    fixture_open(&f, &(struct http_server_options){.body_bytes_max = 100});
    return 0;
}

static int close_default(void **state)
{
    (void)state;
    fixture_close(&f);
    return 0;
}

/* ---- routes and parameters ---- */

static void a_request_is_answered_on_a_unix_socket_and_on_a_port(void **state)
{
    (void)state;
    for (int tcp = 0; tcp < 2; tcp++) {
        struct answer a = ask_short(&f, tcp, "GET /hello?who=me%21", NULL);

        assert_int_equal(a.status, 200);
        assert_string_equal(a.body.data, "{\"hello\":\"me!\"}");
        assert_true(header_is(&a, "Content-Type", "application/json"));
        assert_true(header_is(&a, "Cache-Control", "no-store"));
        assert_true(header_is(&a, "X-Content-Type-Options", "nosniff"));
        answer_free(&a);
    }
}

static void path_parameters_are_decoded_within_their_segment(void **state)
{
    struct answer a = ask_short(&f, false, "GET /items/a%2Fb%20c?a=1", NULL);

    (void)state;
    assert_string_equal(a.body.data, "GET id=a/b c a=1 role=3 name= body=");
    answer_free(&a);
    a = ask_short(&f, false, "GET /items/all", NULL);
    assert_string_equal(a.body.data, "literal");
    answer_free(&a);
}

static void an_unknown_path_is_404_and_another_method_405_with_allow(void **state)
{
    struct answer a = ask_short(&f, false, "GET /nowhere", NULL);

    (void)state;
    assert_int_equal(a.status, 404);
    assert_true(header_is(&a, "Content-Type", "application/problem+json"));
    body_has(&a, "there is nothing at '/nowhere'");
    answer_free(&a);
    a = ask_short(&f, false, "PUT /items/1", NULL);
    assert_int_equal(a.status, 405);
    assert_true(header_is(&a, "Allow", "GET, HEAD, POST, DELETE, OPTIONS"));
    answer_free(&a);
}

static void options_says_what_is_allowed(void **state)
{
    struct answer a = ask_short(&f, false, "OPTIONS /items/1", NULL);

    (void)state;
    assert_int_equal(a.status, 204);
    assert_true(header_is(&a, "Allow", "GET, HEAD, POST, DELETE, OPTIONS"));
    answer_free(&a);
    expect_status(&f, false, "OPTIONS *", NULL, 204);
    expect_status(&f, false, "OPTIONS /nowhere", NULL, 404);
}

static void head_is_get_without_a_body(void **state)
{
    int fd = dial(&f);
    struct answer a;

    (void)state;
    say(fd, "HEAD /hello HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nHost: "
            "localhost\r\n\r\n");
    a = hear_head(fd);
    assert_int_equal(a.status, 200);
    assert_true(header_is(&a, "Content-Length", "12"));
    answer_free(&a);
    a = hear(fd); /* and the next answer follows at once */
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body.data, "{\"hello\":\"\"}");
    answer_free(&a);
    close(fd);
}

static void an_unknown_query_parameter_is_refused_with_the_known_ones(void **state)
{
    struct answer a = ask_short(&f, false, "GET /hello?whom=x", NULL);

    (void)state;
    assert_int_equal(a.status, 400);
    body_has(&a, "'whom' is not known here; known are: who, how");
    body_has(
        &a,
        "\"errors\":[{\"where\":\"whom\",\"message\":\"not known here; known are: who, how\"}]");
    answer_free(&a);
    a = ask_short(&f, false, "GET /healthz?x=1", NULL);
    body_has(&a, "known are: none");
    answer_free(&a);
}

/* ---- answers ---- */

static void a_problem_has_its_members_and_headers(void **state)
{
    struct answer a = ask_short(&f, false, "GET /problem", NULL);

    (void)state;
    assert_int_equal(a.status, 409);
    assert_true(header_is(&a, "X-More", "yes"));
    assert_string_equal(a.body.data,
                        "{\"type\":\"about:blank\",\"title\":\"Twice\",\"status\":409,"
                        "\"detail\":\"it is there \\\"already\\\": 5\","
                        "\"errors\":[{\"where\":\"tasks[0].key\",\"message\":\"is \\n taken\"},"
                        "{\"where\":\"tasks[1]\",\"message\":\"is empty\"}],\"line\":17}");
    answer_free(&a);
}

static void a_handler_that_says_nothing_is_answered_for(void **state)
{
    struct answer a = ask_short(&f, false, "GET /silent", NULL);

    (void)state;
    assert_int_equal(a.status, 500);
    body_has(&a, "this is a defect");
    answer_free(&a);
}

static void a_page_that_the_client_has_is_not_sent_again(void **state)
{
    struct answer a = ask_short(&f, false, "GET /", NULL);

    (void)state;
    assert_string_equal(a.body.data, "<p>page");
    assert_true(header_is(&a, "ETag", "\"tag1\""));
    assert_true(header_is(&a, "Cache-Control", "no-cache"));
    answer_free(&a);
    expect_status(&f, false, "GET /", "If-None-Match: \"tag0\", W/\"tag1\"\r\n", 304);
    expect_status(&f, false, "GET /", "If-None-Match: *\r\n", 304);
    expect_status(&f, false, "GET /", "If-None-Match: \"tag12\"\r\n", 200);
}

/* ---- bodies ---- */

static void a_body_comes_whole_however_it_is_sent(void **state)
{
    struct answer a =
        ask(&f, "POST /items/7 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello");

    (void)state;
    assert_string_equal(a.body.data, "POST id=7 a=- role=3 name= body=hello");
    answer_free(&a);
    a = ask(&f, "POST /items/7 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                "2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n");
    assert_string_equal(a.body.data, "POST id=7 a=- role=3 name= body=hello");
    answer_free(&a);
    a = ask(&f, "POST /items/7 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    assert_string_equal(a.body.data, "POST id=7 a=- role=3 name= body=");
    answer_free(&a);
}

static void a_body_that_is_too_large_is_413_and_the_connection_goes_on(void **state)
{
    struct buf text = {0};
    int fd = dial(&f);
    struct answer a;

    (void)state;
    buf_puts(&text, "POST /items/7 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 101\r\n\r\n");
    for (int i = 0; i < 101; i++)
        buf_putc(&text, 'x');
    say(fd, text.data);
    a = hear(fd);
    assert_int_equal(a.status, 413);
    body_has(&a, "more than 100 bytes");
    answer_free(&a);
    buf_clear(&text);
    /* Nobody says how long it will be; a limit of the route's own. */
    say(fd, "POST /items/7/end HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: "
            "chunked\r\n\r\n9\r\n123456789\r\n0\r\n\r\n");
    a = hear(fd);
    assert_int_equal(a.status, 413);
    body_has(&a, "more than 8 bytes");
    answer_free(&a);
    say(fd, "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
    a = hear(fd);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    close(fd);
    buf_free(&text);
}

static void one_who_asks_before_sending_is_told_before_sending(void **state)
{
    struct answer a =
        ask(&f, "POST /items/7 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n"
                "Expect: 100-continue\r\n\r\n");

    (void)state;
    assert_int_equal(a.status, 413);
    answer_free(&a);
}

/* The client sends all of it before it reads: the answer must be there in spite of that. */
static void a_client_that_sends_much_in_vain_still_gets_its_answer(void **state)
{
    size_t len = (size_t)24 << 20;
    char *much = calloc(1, len);
    struct buf head = {0};
    int fd = dial(&f);
    struct answer a;

    (void)state;
    assert_non_null(much);
    buf_printf(&head, "POST /items/7 HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n",
               len);
    say(fd, head.data);
    say_bytes(fd, much, len);
    a = hear(fd);
    assert_int_equal(a.status, 413);
    assert_true(a.whole);
    answer_free(&a);
    close(fd);
    buf_free(&head);
    free(much);
}

static void an_encoded_body_and_two_lengths_are_refused(void **state)
{
    (void)state;
    expect_status(&f, false, "POST /items/7", "Content-Encoding: gzip\r\nContent-Length: 0\r\n",
                  415);
    expect_status(&f, false, "POST /items/7",
                  "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", 400);
}

/* ---- headers ---- */

static void say_headers(struct http_request *req, void *ctx)
{
    struct buf out = {0};

    (void)ctx;
    buf_printf(&out, "%d %d %d %d %s", http_content_is(req, "application/json"),
               http_accepts(req, "text/html"), http_accepts(req, "application/openmetrics-text"),
               http_accepts(req, "text/css"), http_path(req));
    http_reply_text(req, 200, "text/plain", &out);
}

static const struct http_route header_routes[] = {
    {.method = "GET", .pattern = "/h", .handler = say_headers},
};

static void types_are_compared_without_their_parameters(void **state)
{
    struct fixture g;
    struct answer a;

    (void)state;
    fixture_open(&g, &(struct http_server_options){.routes = header_routes, .route_count = 1});
    a = ask_short(&g, false, "GET /h",
                  "Content-Type: Application/JSON ; charset=utf-8\r\n"
                  "Accept: text/plain, application/openmetrics-text; version=1.0.0;q=0.5, "
                  "text/css;q=0.0, */*\r\n");
    assert_string_equal(a.body.data, "1 0 1 0 /h");
    answer_free(&a);
    fixture_close(&g);
}

/* ---- what libcurl thinks of it ---- */

static size_t gather(char *data, size_t size, size_t count, void *to)
{
    buf_put(to, data, size * count);
    return size * count;
}

static void libcurl_uses_one_connection_for_many_requests(void **state)
{
    CURL *curl = curl_easy_init();
    long connects = 0, all = 0;

    (void)state;
    assert_non_null(curl);
    curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, f.path);
    curl_easy_setopt(curl, CURLOPT_URL, "http://localhost/items/x");
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "{\"a\":1}");
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, gather);
    for (int i = 0; i < 50; i++) {
        struct buf out = {0};
        long status = 0;

        curl_easy_setopt(curl, CURLOPT_WRITEDATA, &out);
        assert_int_equal(curl_easy_perform(curl), CURLE_OK);
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        curl_easy_getinfo(curl, CURLINFO_NUM_CONNECTS, &connects);
        all += connects;
        assert_int_equal(status, 200);
        assert_string_equal(out.data, "POST id=x a=- role=3 name= body={\"a\":1}");
        buf_free(&out);
    }
    assert_int_equal(all, 1);
    curl_easy_cleanup(curl);
}

/* ---- listeners ---- */

static struct http_server *bare(void)
{
    struct http_server_options o = {.routes = default_routes, .route_count = 1};
    struct http_server *s;
    struct weir_error err;

    must_be_ok(http_server_new(&o, &s, &err), &err);
    return s;
}

static void a_socket_of_a_dead_predecessor_is_replaced(void **state)
{
    char *path = testkit_path(f.dir, "stale.sock");
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct http_server *s = bare();
    struct weir_error err;
    struct stat st;

    (void)state;
    memcpy(addr.sun_path, path, strlen(path));
    assert_int_equal(bind(dead, (struct sockaddr *)&addr, sizeof addr), 0);
    close(dead); /* as after kill -9: the file is still there */
    must_be_ok(http_server_listen_unix(s, path, 0600, &err), &err);
    must_be_ok(http_server_start(s, &err), &err);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    close(dial_unix(path));
    http_server_free(s);
    assert_int_equal(stat(path, &st), -1);
    testkit_free(path);
}

static void a_socket_that_answers_and_a_file_are_left_alone(void **state)
{
    char *path = testkit_path(f.dir, "file");
    struct http_server *s = bare();
    struct weir_error err;
    size_t len;
    char *bytes;

    (void)state;
    assert_int_equal(http_server_listen_unix(s, f.path, 0660, &err), WEIR_E_BUSY);
    assert_non_null(strstr(err.message, "listens on"));
    testkit_file_write(path, "mine", 4);
    assert_int_equal(http_server_listen_unix(s, path, 0660, &err), WEIR_E_CONFLICT);
    bytes = testkit_file_read(path, &len);
    assert_string_equal(bytes, "mine");
    testkit_free(bytes);
    unlink(path);
    http_server_free(s);
    testkit_free(path);
    expect_status(&f, false, "GET /hello", NULL, 200);
}

/* What a successor has put there is not ours to remove. */
static void only_the_own_socket_is_removed_at_the_end(void **state)
{
    char *path = testkit_path(f.dir, "own.sock");
    struct http_server *s = bare();
    struct weir_error err;
    struct stat st;

    (void)state;
    must_be_ok(http_server_listen_unix(s, path, 0660, &err), &err);
    unlink(path);
    testkit_file_write(path, "x", 1);
    http_server_free(s);
    assert_int_equal(stat(path, &st), 0);
    unlink(path);
    testkit_free(path);
}

static void a_socket_that_listens_already_is_taken_over(void **state)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t len = sizeof addr;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct http_server *s = bare();
    struct fixture g = {.server = s};
    struct weir_error err;

    (void)state;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    assert_int_equal(http_server_listen_fd(s, dup(fd), &err),
                     WEIR_E_INVALID); /* it does not listen yet */
    assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    g.port = ntohs(addr.sin_port);
    must_be_ok(http_server_listen_fd(s, fd, &err), &err);
    must_be_ok(http_server_start(s, &err), &err);
    expect_status(&g, true, "GET /hello", NULL, 200);
    http_server_free(s);
}

static void a_port_that_is_taken_and_a_server_without_listeners_are_errors(void **state)
{
    struct http_server *s = bare();
    struct weir_error err;

    (void)state;
    assert_int_equal(http_server_listen_tcp(s, "127.0.0.1", f.port, NULL, &err), WEIR_E_BUSY);
    assert_int_equal(http_server_listen_tcp(s, "no such host", 0, NULL, &err), WEIR_E_INVALID);
    assert_int_equal(http_server_start(s, &err), WEIR_E_INVALID);
    http_server_free(s);
}

/* ---- memory ---- */

static void a_server_that_gets_no_memory_says_so_and_leaves_nothing(void **state)
{
    struct http_server_options o = {.routes = default_routes, .route_count = 1, .rate_per_s = 5};
    struct http_token token = {.secret = "secret", .role = HTTP_ROLE_READ, .name = "name"};

    (void)state;
    for (unsigned long n = 1;; n++) {
        char *path = testkit_path(f.dir, "sweep.sock");
        struct http_server *s = NULL;
        struct weir_error err;
        enum weir_status status;
        struct stat st;

        mem_fail_at(n);
        status = http_server_new(&o, &s, &err);
        if (status == WEIR_OK)
            status = http_server_set_tokens(s, &token, 1, &err);
        if (status == WEIR_OK)
            status = http_server_listen_unix(s, path, 0660, &err);
        assert_true(status == WEIR_OK || status == WEIR_E_NOMEM);
        http_server_free(s);
        assert_int_equal(stat(path, &st), -1);
        testkit_free(path);
        if (!mem_has_failed()) {
            mem_fail_at(0);
            assert_true(n > 3);
            return;
        }
    }
}

/* Whatever cannot be had, the client gets an answer or the end of the connection, and the next one is served. */
static void a_request_survives_each_failure_of_memory(void **state)
{
    static const char *const requests[] = {
        "GET /problem HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /hello?whom=x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /items/7 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
    };
    static const unsigned statuses[] = {409, 400, 200};

    (void)state;
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        bool failed = true;

        for (unsigned long n = 1; failed; n++) {
            int fd = dial(&f);
            struct answer a;

            mem_fail_at(n);
            say(fd, requests[i]);
            /* Bytes only: nothing of the test's own allocates before the answer has begun. */
            assert_true(testkit_fd_wait(fd, POLLIN, DEADLINE_MS));
            failed = mem_has_failed();
            mem_fail_at(0);
            a = hear(fd);
            /* What is said is whole, and is what it would have been, or that there is no memory. */
            if (a.status != 0) {
                assert_true(a.whole);
                assert_true(a.status == 503 || a.status == statuses[i]);
                /* The thread that accepts has no words when it lacks memory for a connection. */
                if (a.status != 200 && !(a.status == 503 && a.body.len == 0) &&
                    !json_check(buf_slice(&a.body), NULL))
                    fail_msg("request %zu, failure %lu: %u '%s'", i, n, a.status, a.body.data);
            }
            assert_true(failed || a.status == statuses[i]);
            answer_free(&a);
            close(fd);
            assert_true(n < 200);
        }
    }
    expect_status(&f, false, "GET /hello", NULL, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_answered_on_a_unix_socket_and_on_a_port),
        cmocka_unit_test(path_parameters_are_decoded_within_their_segment),
        cmocka_unit_test(an_unknown_path_is_404_and_another_method_405_with_allow),
        cmocka_unit_test(options_says_what_is_allowed),
        cmocka_unit_test(head_is_get_without_a_body),
        cmocka_unit_test(an_unknown_query_parameter_is_refused_with_the_known_ones),
        cmocka_unit_test(a_problem_has_its_members_and_headers),
        cmocka_unit_test(a_handler_that_says_nothing_is_answered_for),
        cmocka_unit_test(a_page_that_the_client_has_is_not_sent_again),
        cmocka_unit_test(a_body_comes_whole_however_it_is_sent),
        cmocka_unit_test(a_body_that_is_too_large_is_413_and_the_connection_goes_on),
        cmocka_unit_test(one_who_asks_before_sending_is_told_before_sending),
        cmocka_unit_test(a_client_that_sends_much_in_vain_still_gets_its_answer),
        cmocka_unit_test(an_encoded_body_and_two_lengths_are_refused),
        cmocka_unit_test(types_are_compared_without_their_parameters),
        cmocka_unit_test(libcurl_uses_one_connection_for_many_requests),
        cmocka_unit_test(a_socket_of_a_dead_predecessor_is_replaced),
        cmocka_unit_test(a_socket_that_answers_and_a_file_are_left_alone),
        cmocka_unit_test(only_the_own_socket_is_removed_at_the_end),
        cmocka_unit_test(a_socket_that_listens_already_is_taken_over),
        cmocka_unit_test(a_port_that_is_taken_and_a_server_without_listeners_are_errors),
        cmocka_unit_test(a_server_that_gets_no_memory_says_so_and_leaves_nothing),
        cmocka_unit_test(a_request_survives_each_failure_of_memory),
    };

    return cmocka_run_group_tests(tests, open_default, close_default);
}
