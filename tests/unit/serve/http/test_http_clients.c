/*
 * Clients that are slow, confused, many, or gone.
 */
#include "http_test.h"

/* Short ones, so that nobody waits long; what is compared is whether a connection ends, not when. */
static const struct http_server_options impatient = {
    .head_timeout_ns = 300 * NS_PER_MS,
    .body_timeout_ns = 300 * NS_PER_MS,
    .idle_timeout_ns = 400 * NS_PER_MS,
    .send_timeout_ns = 500 * NS_PER_MS,
};

/* The server ends the connection; what it has said first. */
static void expect_end(int fd, unsigned status)
{
    struct answer a = hear(fd);

    assert_int_equal(a.status, status);
    answer_free(&a);
    assert_int_equal(hear_byte(fd), -1);
    close(fd);
}

static bool has_ended(int fd)
{
    char c;

    return testkit_fd_wait(fd, POLLIN | POLLHUP, 0) &&
           recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) <= 0;
}

/* A byte now and then, for as long as the server lets it. */
static void dribble(int fd, const char *start, char c)
{
    say(fd, start);
    for (int i = 0; i < 2000 && !has_ended(fd) && !testkit_fd_wait(fd, POLLIN, 20); i++)
        say_bytes(fd, &c, 1);
}

/* ---- slow ---- */

static void a_head_that_comes_byte_by_byte_is_cut_off(void **state)
{
    struct fixture f;
    int fd;

    (void)state;
    fixture_open(&f, &impatient);
    fd = dial(&f);
    dribble(fd, "GET /hello HTTP/1.1\r\nX-Slow: ", 'x');
    expect_end(fd, 408);
    fd = dial(&f);
    dribble(fd, "GET /he", 'l'); /* not even a first line */
    expect_end(fd, 0);
    fixture_close(&f);
}

static void a_body_that_comes_byte_by_byte_is_cut_off(void **state)
{
    struct fixture f;
    int fd;

    (void)state;
    fixture_open(&f, &impatient);
    fd = dial_tcp(&f);
    dribble(fd, "POST /items/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n", 'x');
    expect_end(fd, 408);
    expect_status(&f, false, "GET /hello", NULL, 200);
    fixture_close(&f);
}

/* Each 16 KiB buys as much time again: it takes longer in all than one step may. */
static void a_large_body_that_moves_on_is_not_cut_off(void **state)
{
    char chunk[17000];
    struct fixture f;
    struct answer a;
    int fd;

    (void)state;
    fixture_open(&f, &(struct http_server_options){.body_timeout_ns = 1500 * NS_PER_MS});
    memset(chunk, 'x', sizeof chunk);
    fd = dial(&f);
    say(fd, "POST /items/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 119000\r\n\r\n");
    for (int i = 0; i < 6; i++) {
        say_bytes(fd, chunk, sizeof chunk);
        assert_false(
            testkit_fd_wait(fd, POLLIN, 300)); /* nothing is said yet, and it has not ended */
    }
    say_bytes(fd, chunk, sizeof chunk);
    a = hear(fd);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    close(fd);
    fixture_close(&f);
}

static void a_connection_that_is_silent_is_closed(void **state)
{
    struct fixture f;
    struct answer a;
    int fd;

    (void)state;
    fixture_open(&f, &impatient);
    fd = dial(&f); /* says nothing at all */
    expect_end(fd, 0);
    fd = dial(&f); /* nothing more */
    say(fd, "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
    a = hear(fd);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    assert_int_equal(hear_byte(fd), -1);
    close(fd);
    fixture_close(&f);
}

static void say_much(struct http_request *req, void *ctx)
{
    struct buf out = {0};

    (void)ctx;
    for (int i = 0; i < 1000000; i++)
        buf_puts(&out, "0123456789");
    http_reply_text(req, 200, "text/plain", &out);
}

static _Atomic unsigned cut;

static void count_cut(void *ctx, const struct http_finished *finished)
{
    (void)ctx;
    if (!finished->complete)
        cut++;
}

static bool is_cut(void *arg)
{
    (void)arg;
    return cut > 0;
}

static void a_client_that_takes_nothing_of_its_answer_is_cut_off(void **state)
{
    static const struct http_route routes[] = {
        {.method = "GET", .pattern = "/much", .handler = say_much},
        {.method = "GET", .pattern = "/hello", .handler = say_hello},
    };
    struct http_server_options o = impatient;
    struct http_stats stats;
    struct fixture f;
    int fd;

    (void)state;
    o.routes = routes;
    o.route_count = 2;
    o.finished = count_cut;
    fixture_open(&f, &o);
    fd = dial(&f);
    say(fd, "GET /much HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_true(testkit_until(is_cut, NULL, DEADLINE_MS));
    close(fd);
    expect_status(&f, false, "GET /hello", NULL, 200);
    http_server_get_stats(f.server, &stats);
    assert_true(stats.memory_bytes < 1000);
    assert_true(stats.memory_bytes_max >= 10000000);
    fixture_close(&f);
}

static const struct http_route much_routes[] = {
    {.method = "GET", .pattern = "/much", .handler = say_much},
    {.method = "GET", .pattern = "/hello", .handler = say_hello},
    {.method = "POST", .pattern = "/items/{id}", .handler = say_item, .query = item_query},
};

/* Takes `piece` bytes every `pause_ms`, as long as something comes; how many it was in all. */
static size_t sip(int fd, size_t piece, int pause_ms)
{
    char *room = malloc(piece);
    size_t all = 0, have = piece;

    while (have == piece) {
        ssize_t n;

        (void)poll(NULL, 0, pause_ms);
        for (have = 0; have < piece; have += (size_t)n) {
            n = testkit_fd_wait(fd, POLLIN, DEADLINE_MS) ? recv(fd, room + have, piece - have, 0)
                                                         : 0;
            if (n <= 0)
                break;
        }
        all += have;
    }
    free(room);
    return all;
}

static void a_client_that_takes_a_large_answer_too_slowly_is_cut_off(void **state)
{
    struct http_server_options o = {
        .routes = much_routes, .route_count = 3, .send_timeout_ns = NS_PER_S};
    struct fixture f;
    int fd;

    (void)state;
    fixture_open(&f, &o);
    /* Something always moves, but not 256 KiB in a second. */
    fd = dial(&f);
    say(fd, "GET /much HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_true(sip(fd, 4096, 50) < 10000000);
    close(fd);
    /* This one needs more than a second too, and moves on. */
    fd = dial(&f);
    say(fd, "GET /much HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_true(sip(fd, 1000000, 150) > 10000000);
    close(fd);
    fixture_close(&f);
}

static bool holds_much(void *server)
{
    struct http_stats stats;

    http_server_get_stats(server, &stats);
    return stats.memory_bytes >= 10000000;
}

static void what_is_small_goes_while_large_answers_fill_the_memory(void **state)
{
    struct http_server_options o = {
        .routes = much_routes, .route_count = 3, .memory_bytes_max = 8000000};
    struct fixture f;
    struct buf text = {0};
    struct answer a;
    int fd;

    (void)state;
    fixture_open(&f, &o);
    fd = dial(&f);
    say(fd, "GET /much HTTP/1.1\r\nHost: localhost\r\n\r\n"); /* and takes nothing of it */
    assert_true(testkit_until(holds_much, f.server, DEADLINE_MS));
    expect_status(&f, false, "GET /hello", NULL, 200);
    a = ask(&f, "POST /items/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nok");
    assert_int_equal(a.status, 200);
    answer_free(&a);
    a = ask(&f, "GET /much HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_int_equal(a.status, 503);
    assert_true(header_is(&a, "Retry-After", "1"));
    body_has(&a, "this one is large");
    answer_free(&a);
    buf_puts(&text, "POST /items/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000\r\n\r\n");
    for (int i = 0; i < 20000; i++)
        buf_putc(&text, 'x');
    a = ask(&f, text.data);
    assert_int_equal(a.status, 503);
    body_has(&a, "send less at once");
    answer_free(&a);
    buf_free(&text);
    close(fd);
    fixture_close(&f);
}

/* ---- confused ---- */

static void what_is_not_http_gets_400_or_the_end_and_nobody_else_notices(void **state)
{
    static const struct {
        const char *text;
        unsigned status; /* 0: any of 4xx, or the end */
    } requests[] = {
        {"\r\n\r\n\r\n\r\nnonsense\r\n\r\n", 0},
        {"GET\r\n\r\n", 0},
        {"GET / HTTP/1.1\r\n\r\n", 400}, /* no host */
        {"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", 0},
        {"GET /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
        {"GET /a%00b HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
        {"GET /hello?who=%ff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
        {"GET /hello?who=1&who=2 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
        {"GET hello HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
        {"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404},
        {"FROBNICATE-A-VERY-LONG-METHOD /hello HTTP/1.1\r\nHost: localhost\r\n\r\n", 405},
        {"POST /items/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: abc\r\n\r\n", 0},
        {"POST /items/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 0},
        {"POST /items/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
         "99999999999999999999999\r\n\r\n",
         0},
        {"POST /items/1 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: "
         "chunked\r\n\r\nzz\r\nhello\r\n",
         0},
        {"POST /items/1 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: "
         "chunked\r\n\r\nffffffffffffffffff\r\nhello\r\n",
         0},
    };
    struct http_stats stats;
    struct fixture f;

    (void)state;
    fixture_open(&f, &(struct http_server_options){.head_timeout_ns = NS_PER_S,
                                                   .body_timeout_ns = NS_PER_S});
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        struct answer a = ask_on(dial_tcp(&f), requests[i].text);

        if (requests[i].status ? a.status != requests[i].status
                               : a.status != 0 && (a.status < 400 || a.status > 505))
            fail_msg("%s gave %u %s", requests[i].text, a.status, a.body.len ? a.body.data : "");
        answer_free(&a);
        expect_status(&f, false, "GET /hello", NULL, 200);
    }
    http_server_get_stats(f.server, &stats);
    assert_true(stats.requests >= 16);
    fixture_close(&f);
}

static void requests_that_follow_at_once_are_answered_in_order(void **state)
{
    struct buf text = {0};
    struct fixture f;
    int fd;

    (void)state;
    fixture_open(&f, &(struct http_server_options){0});
    for (int i = 0; i < 100; i++)
        buf_printf(&text, "GET /items/%d HTTP/1.1\r\nHost: localhost\r\n\r\n", i);
    fd = dial(&f);
    say_bytes(fd, text.data, text.len);
    for (int i = 0; i < 100; i++) {
        struct answer a = hear(fd);
        char wanted[64];

        snprintf(wanted, sizeof wanted, "GET id=%d a=- role=3 name= body=", i);
        assert_string_equal(a.body.data, wanted);
        answer_free(&a);
    }
    close(fd);
    buf_free(&text);
    fixture_close(&f);
}

static void one_that_closes_its_half_is_still_answered(void **state)
{
    struct fixture f;
    struct answer a;
    int fd;

    (void)state;
    fixture_open(&f, &(struct http_server_options){0});
    for (int tcp = 0; tcp < 2; tcp++) {
        fd = tcp ? dial_tcp(&f) : dial(&f);
        say(fd, "POST /items/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nok");
        shutdown(fd, SHUT_WR);
        a = hear(fd);
        assert_int_equal(a.status, 200);
        assert_string_equal(a.body.data, "POST id=1 a=- role=3 name= body=ok");
        answer_free(&a);
        close(fd);
    }
    fixture_close(&f);
}

/* ---- many ---- */

#define MANY 1000

static bool none_is_open(void *server)
{
    struct http_stats stats;

    http_server_get_stats(server, &stats);
    return stats.connections_open == 0 && stats.requests_open == 0;
}

static void a_thousand_connections_are_served_at_once(void **state)
{
    static int fds[MANY];
    struct http_stats stats;
    struct fixture f;

    (void)state;
    assert_true(raise_descriptors() > 2 * MANY + 100);
    /* Of a thousand that are closed at once libmicrohttpd may miss some on a busy machine: they end as idle ones. */
    fixture_open(&f, &(struct http_server_options){.idle_timeout_ns = 30 * NS_PER_S});
    for (int i = 0; i < MANY; i++) {
        fds[i] = i % 2 ? dial_tcp(&f) : dial(&f);
        say(fds[i], "POST /items/7 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhello");
    }
    /* All are there, none has said all; now each does, the last one first, and twice. */
    for (int i = MANY - 1; i >= 0; i--)
        say(fds[i],
            "12345POST /items/7 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nok");
    for (int i = 0; i < MANY; i++) {
        struct answer a = hear(fds[i]);

        assert_string_equal(a.body.data, "POST id=7 a=- role=3 name= body=hello12345");
        answer_free(&a);
        a = hear(fds[i]);
        assert_string_equal(a.body.data, "POST id=7 a=- role=3 name= body=ok");
        answer_free(&a);
    }
    http_server_get_stats(f.server, &stats);
    assert_int_equal(stats.connections_open, MANY);
    assert_int_equal(stats.connections_refused, 0);
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
    assert_true(testkit_until(none_is_open, f.server, 3 * DEADLINE_MS));
    fixture_close(&f);
}

static void the_server_stops_with_a_thousand_connections_open(void **state)
{
    static int fds[MANY];
    struct fixture f;

    (void)state;
    assert_true(raise_descriptors() > 2 * MANY + 100);
    fixture_open(&f, &(struct http_server_options){0});
    for (int i = 0; i < MANY; i++) {
        fds[i] = dial(&f);
        if (i % 3)
            say(fds[i],
                "POST /items/7 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhello");
    }
    expect_status(&f, false, "GET /hello", NULL, 200);
    fixture_close(&f);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(hear_byte(fds[i]), -1);
        close(fds[i]);
    }
}

/* ---- few descriptors ---- */

static void without_descriptors_it_waits_and_goes_on(void **state)
{
    struct rlimit before, few;
    struct fixture f;
    struct answer a;
    int fds[64], last;
    size_t count = 0;

    (void)state;
    fixture_open(&f, &(struct http_server_options){0});
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    last = dup(0);
    few = (struct rlimit){(rlim_t)last + 41, before.rlim_max};
    close(last);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    /* Both ends are in this process: half of them are ours, and the last ones wait in the queue. */
    for (count = 0; count < 64; count++) {
        struct sockaddr_un addr = {.sun_family = AF_UNIX};

        fds[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fds[count] < 0)
            break;
        memcpy(addr.sun_path, f.path, strlen(f.path));
        assert_int_equal(connect(fds[count], (struct sockaddr *)&addr, sizeof addr), 0);
    }
    assert_in_range(count, 15, 63);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (size_t i = 0; i < count; i++) {
        say(fds[i], "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
        a = hear(fds[i]);
        assert_int_equal(a.status, 200);
        answer_free(&a);
        close(fds[i]);
    }
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_that_comes_byte_by_byte_is_cut_off),
        cmocka_unit_test(a_body_that_comes_byte_by_byte_is_cut_off),
        cmocka_unit_test(a_large_body_that_moves_on_is_not_cut_off),
        cmocka_unit_test(a_connection_that_is_silent_is_closed),
        cmocka_unit_test(a_client_that_takes_nothing_of_its_answer_is_cut_off),
        cmocka_unit_test(a_client_that_takes_a_large_answer_too_slowly_is_cut_off),
        cmocka_unit_test(what_is_small_goes_while_large_answers_fill_the_memory),
        cmocka_unit_test(what_is_not_http_gets_400_or_the_end_and_nobody_else_notices),
        cmocka_unit_test(requests_that_follow_at_once_are_answered_in_order),
        cmocka_unit_test(one_that_closes_its_half_is_still_answered),
        cmocka_unit_test(a_thousand_connections_are_served_at_once),
        cmocka_unit_test(the_server_stops_with_a_thousand_connections_open),
        cmocka_unit_test(without_descriptors_it_waits_and_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
