/*
 * Who may do what: tokens and roles, whose page a request comes from, rates, and limits of heads
 * and connections.
 */
#include "http_test.h"
#include "serve/http/tokens.h"

#define READER    "Authorization: Bearer r-secret\r\n"
#define SUBMITTER "Authorization: Bearer s-secret\r\n"
#define OPERATOR  "authorization: bearer  o-secret\r\n"

static const struct http_token tokens[] = {
    {.secret = "r-secret", .role = HTTP_ROLE_READ, .name = "watcher"},
    {.secret = "s-secret", .role = HTTP_ROLE_SUBMIT, .name = "ci"},
    {.secret = "o-secret", .role = HTTP_ROLE_OPERATE, .name = "ops"},
};

/* ---- tokens ---- */

static void each_role_may_what_those_below_it_may(void **state)
{
    static const char *const lines[] = {"GET /healthz", "GET /items/1", "POST /items/1",
                                        "DELETE /items/1"};
    static const struct {
        const char *header;
        unsigned status[4];
    } senders[] = {
        {NULL, {200, 401, 401, 401}},
        {READER, {200, 200, 403, 403}},
        {SUBMITTER, {200, 200, 200, 403}},
        {OPERATOR, {200, 200, 200, 200}},
        {"Authorization: Bearer wrong\r\n", {200, 401, 401, 401}},
        {"Authorization: Bearer r-secret \r\n",
         {200, 200, 403, 403}}, /* white space at the end is none of the value */
        {"Authorization: Bearer r-secre\r\n", {200, 401, 401, 401}},
        {"Authorization: Bearer r-secretx\r\n", {200, 401, 401, 401}},
        {"Authorization: Bearer\r\n", {200, 401, 401, 401}},
        {"Authorization: Basic ci1zZWNyZXQ=\r\n", {200, 401, 401, 401}},
        {"Authorization: r-secret\r\n", {200, 401, 401, 401}},
    };
    struct fixture f;

    (void)state;
    fixture_open_with(&f, &(struct http_server_options){0}, tokens, 3);
    for (size_t i = 0; i < sizeof senders / sizeof senders[0]; i++) {
        for (size_t j = 0; j < 4; j++) {
            expect_status(&f, false, lines[j], senders[i].header, senders[i].status[j]);
            expect_status(&f, true, lines[j], senders[i].header, senders[i].status[j]);
        }
    }
    fixture_close(&f);
}

static void one_without_a_token_is_told_how_to_bring_one(void **state)
{
    struct fixture f;
    struct answer a;

    (void)state;
    fixture_open_with(&f, &(struct http_server_options){0}, tokens, 3);
    a = ask_short(&f, true, "GET /items/1", NULL);
    assert_true(header_is(&a, "WWW-Authenticate", "Bearer realm=\"weir\""));
    body_has(&a, "Authorization: Bearer TOKEN");
    answer_free(&a);
    a = ask_short(&f, true, "GET /items/1", "Authorization: Bearer wrong-one\r\n");
    assert_true(
        header_is(&a, "WWW-Authenticate", "Bearer realm=\"weir\", error=\"invalid_token\""));
    assert_null(strstr(a.body.data, "wrong-one"));
    answer_free(&a);
    a = ask_short(&f, true, "DELETE /items/1", SUBMITTER);
    assert_true(
        header_is(&a, "WWW-Authenticate", "Bearer realm=\"weir\", error=\"insufficient_scope\""));
    body_has(&a, "the token 'ci' may submit; this needs one that may operate");
    answer_free(&a);
    fixture_close(&f);
}

static void a_handler_learns_who_sends(void **state)
{
    struct fixture f;
    struct answer a;

    (void)state;
    fixture_open_with(&f, &(struct http_server_options){0}, tokens, 3);
    a = ask_short(&f, false, "GET /items/1", SUBMITTER);
    assert_string_equal(a.body.data, "GET id=1 a=- role=2 name=ci body=");
    answer_free(&a);
    fixture_close(&f);
}

static void tokens_are_exchanged_while_it_runs(void **state)
{
    static const struct http_token others[] = {{.secret = "new", .role = HTTP_ROLE_READ}};
    struct weir_error err;
    struct fixture f;

    (void)state;
    fixture_open_with(&f, &(struct http_server_options){0}, tokens, 3);
    must_be_ok(http_server_set_tokens(f.server, others, 1, &err), &err);
    expect_status(&f, false, "GET /items/1", READER, 401);
    expect_status(&f, false, "GET /items/1", "Authorization: Bearer new\r\n", 200);
    /* Tokens that are refused leave those that are there. */
    assert_int_equal(http_server_set_tokens(
                         f.server,
                         &(struct http_token){.secret = "a b", .role = HTTP_ROLE_READ, .name = "x"},
                         1, &err),
                     WEIR_E_INVALID);
    expect_status(&f, false, "GET /items/1", "Authorization: Bearer new\r\n", 200);
    must_be_ok(http_server_set_tokens(f.server, NULL, 0, &err), &err);
    expect_status(&f, false, "DELETE /items/1", NULL, 200);
    fixture_close(&f);
}

static void tokens_that_cannot_be_are_refused_without_repeating_them(void **state)
{
    static const struct http_token bad[] = {
        {.secret = "", .role = HTTP_ROLE_READ, .name = "x"},
        {.secret = NULL, .role = HTTP_ROLE_READ, .name = "x"},
        {.secret = "hush hush", .role = HTTP_ROLE_READ, .name = "x"},
        {.secret = "hush\xc3\xa4", .role = HTTP_ROLE_READ, .name = "x"},
        {.secret = "hush", .role = HTTP_ROLE_NONE, .name = "x"},
    };
    struct http_tokens *t = NULL;
    struct weir_error err;
    char *large = calloc(1, HTTP_TOKEN_BYTES_MAX + 2);

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(http_tokens_new(&bad[i], 1, &t, &err), WEIR_E_INVALID);
        assert_non_null(strstr(err.message, "token 1 (x)"));
        assert_null(strstr(err.message, "hush"));
    }
    assert_non_null(large);
    memset(large, 'x', HTTP_TOKEN_BYTES_MAX + 1);
    assert_int_equal(
        http_tokens_new(&(struct http_token){.secret = large, .role = HTTP_ROLE_READ}, 1, &t, &err),
        WEIR_E_INVALID);
    free(large);
    assert_int_equal(http_tokens_new((struct http_token[]){tokens[0], tokens[0]}, 2, &t, &err),
                     WEIR_E_INVALID);
    assert_non_null(strstr(err.message, "twice"));
    assert_null(t);
}

static void beyond_loopback_there_must_be_tokens(void **state)
{
    struct http_server_options o = {.routes = default_routes, .route_count = 1};
    struct http_server *s;
    struct weir_error err;

    (void)state;
    must_be_ok(http_server_new(&o, &s, &err), &err);
    assert_int_equal(http_server_listen_tcp(s, "0.0.0.0", 0, NULL, &err), WEIR_E_INVALID);
    assert_non_null(strstr(err.message, "set tokens"));
    must_be_ok(http_server_set_tokens(s, tokens, 3, &err), &err);
    must_be_ok(http_server_listen_tcp(s, "0.0.0.0", 0, NULL, &err), &err);
    /* and they must stay */
    assert_int_equal(http_server_set_tokens(s, NULL, 0, &err), WEIR_E_INVALID);
    http_server_free(s);
}

/* ---- whose page ---- */

static void without_tokens_only_this_machines_own_names_are_answered_on_a_port(void **state)
{
    static const struct {
        const char *host;
        unsigned status;
    } hosts[] = {
        {"Host: localhost\r\n", 200},
        {"Host: LocalHost:8080\r\n", 200},
        {"Host: 127.0.0.1:1\r\n", 200},
        {"Host: 127.1.2.3\r\n", 200},
        {"Host: [::1]:8080\r\n", 200},
        {"Host: evil.example\r\n", 403},
        {"Host: evil.example:80\r\n", 403},
        {"Host: localhost.evil.example\r\n", 403},
        {"Host: 127.0.0.1.evil.example\r\n", 403},
        {"Host: 192.168.1.1\r\n", 403},
        {"Host: [::2]\r\n", 403},
    };
    struct fixture f;

    (void)state;
    fixture_open(&f, &(struct http_server_options){0});
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        expect_status(&f, true, "GET /hello", hosts[i].host, hosts[i].status);
        /* No browser gets to a Unix socket. */
        expect_status(&f, false, "GET /hello", hosts[i].host, 200);
    }
    fixture_close(&f);
    fixture_open_with(&f, &(struct http_server_options){0}, tokens, 3);
    expect_status(&f, true, "GET /items/1", "Host: weir.example\r\n" READER, 200);
    fixture_close(&f);
}

static void a_page_of_another_site_may_look_but_not_change(void **state)
{
    static const struct {
        const char *headers;
        unsigned status;
    } pages[] = {
        {"Host: localhost:99\r\nOrigin: http://localhost:99\r\nContent-Length: 0\r\n", 200},
        {"Host: localhost:99\r\nOrigin: http://localhost:98\r\nContent-Length: 0\r\n", 403},
        {"Host: localhost\r\nOrigin: https://evil.example\r\nContent-Length: 0\r\n", 403},
        {"Host: localhost\r\nOrigin: null\r\nContent-Length: 0\r\n", 403},
        {"Host: localhost\r\nSec-Fetch-Site: cross-site\r\nContent-Length: 0\r\n", 403},
        {"Host: localhost\r\nSec-Fetch-Site: same-origin\r\nContent-Length: 0\r\n", 200},
        {"Host: localhost\r\nSec-Fetch-Site: none\r\nContent-Length: 0\r\n", 200},
    };
    struct fixture f;

    (void)state;
    fixture_open(&f, &(struct http_server_options){0});
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        expect_status(&f, true, "POST /items/1", pages[i].headers, pages[i].status);
        expect_status(&f, true, "GET /items/1", pages[i].headers, 200);
    }
    fixture_close(&f);
}

/* ---- limits ---- */

static void more_requests_than_the_rate_are_429_for_that_address(void **state)
{
    struct http_stats stats;
    struct fixture f;
    struct answer a;

    (void)state;
    fixture_open(&f, &(struct http_server_options){.rate_per_s = 0.001, .rate_burst = 3});
    for (int i = 0; i < 3; i++)
        expect_status(&f, true, "GET /hello", NULL, 200);
    a = ask_short(&f, true, "GET /hello", NULL);
    assert_int_equal(a.status, 429);
    assert_in_range(strtoul(header_in(&a, "Retry-After").data, NULL, 10), 900, 1000);
    answer_free(&a);
    /* Whoever can open the socket has no address. */
    for (int i = 0; i < 10; i++)
        expect_status(&f, false, "GET /hello", NULL, 200);
    http_server_get_stats(f.server, &stats);
    assert_int_equal(stats.refused_by_rate, 1);
    fixture_close(&f);
}

static void a_url_or_a_head_that_is_too_large_is_refused(void **state)
{
    struct fixture f;
    struct buf line = {0}, headers = {0};

    (void)state;
    fixture_open(&f, &(struct http_server_options){.url_bytes_max = 200, .head_bytes_max = 2000});
    buf_puts(&line, "GET /hello?who=");
    while (line.len < 300)
        buf_putc(&line, 'x');
    expect_status(&f, false, line.data, NULL, 414);
    buf_puts(&headers, "X-Long: ");
    while (headers.len < 2100)
        buf_putc(&headers, 'x');
    buf_puts(&headers, "\r\n");
    expect_status(&f, false, "GET /hello", headers.data, 431);
    /* Beyond what there is room for: libmicrohttpd refuses in its own words. */
    buf_clear(&line);
    buf_puts(&line, "GET /hello?who=");
    while (line.len < 100000)
        buf_putc(&line, 'x');
    expect_status(&f, false, line.data, NULL, 414);
    buf_free(&line);
    buf_free(&headers);
    fixture_close(&f);
}

static void one_connection_too_many_is_told_so(void **state)
{
    struct http_stats stats;
    struct fixture f;
    struct answer a;
    int fds[4];

    (void)state;
    fixture_open(&f, &(struct http_server_options){.connections_max = 4});
    for (int i = 0; i < 4; i++) {
        fds[i] = dial(&f);
        say(fds[i], "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
        a = hear(fds[i]);
        assert_int_equal(a.status, 200);
        answer_free(&a);
    }
    a = ask_short(&f, false, "GET /hello", NULL);
    assert_int_equal(a.status, 503);
    body_has(&a, "as many connections");
    assert_true(header_is(&a, "Retry-After", "1"));
    assert_true(header_is(&a, "Connection", "close"));
    answer_free(&a);
    http_server_get_stats(f.server, &stats);
    assert_int_equal(stats.connections_refused, 1);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    fixture_close(&f);
}

/* 64 beyond the limit are told so in peace; even more get a short word. */
static void far_too_many_connections_are_cut_short(void **state)
{
    struct fixture f;
    int fds[100];
    int short_words = 0;

    (void)state;
    fixture_open(&f, &(struct http_server_options){.connections_max = 4});
    for (int i = 0; i < 100; i++)
        fds[i] = dial(&f);
    for (int i = 68; i < 100; i++) {
        struct answer a = hear(fds[i]);

        short_words += a.status == 503;
        answer_free(&a);
    }
    assert_int_equal(short_words, 32);
    for (int i = 0; i < 100; i++)
        close(fds[i]);
    fixture_close(&f);
}

static bool holds_8000(void *arg)
{
    struct http_stats stats;

    http_server_get_stats(arg, &stats);
    return stats.memory_bytes >= 8000;
}

static bool holds_nothing(void *arg)
{
    struct http_stats stats;

    http_server_get_stats(arg, &stats);
    return stats.memory_bytes == 0;
}

static void bodies_in_memory_have_a_limit_together(void **state)
{
    struct fixture f;
    struct buf text = {0};
    struct answer a;
    int fd;

    (void)state;
    fixture_open(&f, &(struct http_server_options){.memory_bytes_max = 10000});
    fd = dial(&f);
    buf_puts(&text, "POST /items/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n\r\n");
    for (int i = 0; i < 8000; i++)
        buf_putc(&text, 'x');
    say(fd, text.data);
    assert_true(testkit_until(holds_8000, f.server, DEADLINE_MS));
    /* One that waits takes up most of it: a second one does not fit, small ones do. */
    for (int i = 0; i < 1000; i++)
        buf_putc(&text, 'x');
    a = ask(&f, text.data);
    assert_int_equal(a.status, 503);
    body_has(&a, "no memory for the body");
    answer_free(&a);
    expect_status(&f, false, "GET /hello", NULL, 200);
    close(fd);
    assert_true(testkit_until(holds_nothing, f.server, DEADLINE_MS));
    a = ask(&f, text.data);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    buf_free(&text);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_role_may_what_those_below_it_may),
        cmocka_unit_test(one_without_a_token_is_told_how_to_bring_one),
        cmocka_unit_test(a_handler_learns_who_sends),
        cmocka_unit_test(tokens_are_exchanged_while_it_runs),
        cmocka_unit_test(tokens_that_cannot_be_are_refused_without_repeating_them),
        cmocka_unit_test(beyond_loopback_there_must_be_tokens),
        cmocka_unit_test(without_tokens_only_this_machines_own_names_are_answered_on_a_port),
        cmocka_unit_test(a_page_of_another_site_may_look_but_not_change),
        cmocka_unit_test(more_requests_than_the_rate_are_429_for_that_address),
        cmocka_unit_test(a_url_or_a_head_that_is_too_large_is_refused),
        cmocka_unit_test(one_connection_too_many_is_told_so),
        cmocka_unit_test(far_too_many_connections_are_cut_short),
        cmocka_unit_test(bodies_in_memory_have_a_limit_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
