/*
 * Bodies in parts of which no more is read: nothing comes, or the server ends them.
 */
#include "http_test.h"

static struct {
    struct http_request *_Atomic held; /* its cut waits for the test */
    _Atomic unsigned bytes, cuts, handled, destroyed;
} seen;

static int forget_all(void **state)
{
    (void)state;
    seen.held = NULL;
    seen.bytes = seen.cuts = seen.handled = seen.destroyed = 0;
    return 0;
}

static size_t take(struct http_request *req, void *ctx, const char *data, size_t len)
{
    (void)req;
    (void)ctx;
    (void)data;
    seen.bytes += (unsigned)len;
    return len;
}

static void say_cut(struct http_request *req, void *ctx)
{
    (void)ctx;
    http_problem(req, 408, NULL, "cut after %u bytes", seen.bytes);
}

static void on_cut(struct http_request *req, void *ctx, enum http_cut why)
{
    seen.cuts++;
    if (why == HTTP_CUT_LATE)
        say_cut(req, ctx);
    else
        http_problem(req, 503, NULL, "ended after %u bytes", seen.bytes);
}

/* Twice: from here, and from where that goes on. */
static void wait_again(struct http_request *req, void *ctx)
{
    (void)ctx;
    http_suspend(req, say_cut);
    seen.held = req;
}

static void on_cut_waits(struct http_request *req, void *ctx, enum http_cut why)
{
    (void)ctx;
    (void)why;
    seen.cuts++;
    http_suspend(req, wait_again);
    seen.held = req;
}

static void destroyed(void *state)
{
    (void)state;
    seen.destroyed++;
}

static void begin(struct http_request *req, void *ctx)
{
    (void)ctx;
    http_set_state(req, &seen, destroyed);
    http_take_body(req, take);
    http_take_cut(req, strcmp(http_path(req), "/waits") == 0 ? on_cut_waits : on_cut);
}

static void say_taken(struct http_request *req, void *ctx)
{
    struct buf out = {0};

    (void)ctx;
    seen.handled++;
    buf_printf(&out, "%u bytes", seen.bytes);
    http_reply_text(req, 200, "text/plain", &out);
}

static const struct http_route routes[] = {
    {.method = "POST", .pattern = "/parts", .handler = say_taken, .begin = begin},
    {.method = "POST", .pattern = "/waits", .handler = say_taken, .begin = begin},
    {.method = "GET", .pattern = "/hello", .handler = say_hello},
};

static void open_server(struct fixture *f, duration_ns body_timeout_ns)
{
    fixture_open(f, &(struct http_server_options){
                        .routes = routes,
                        .route_count = sizeof routes / sizeof routes[0],
                        .body_timeout_ns = body_timeout_ns,
                    });
}

static int begin_upload(const struct fixture *f, const char *path)
{
    int fd = dial(f);
    char text[200];

    (void)snprintf(text, sizeof text,
                   "POST %s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                   "5\r\nhello\r\n",
                   path);
    say(fd, text);
    return fd;
}

static void expect_problem(int fd, unsigned status, const char *detail)
{
    struct answer a = hear(fd);

    assert_int_equal(a.status, status);
    assert_true(header_is(&a, "Content-Type", "application/problem+json"));
    body_has(&a, detail);
    answer_free(&a);
}

static bool reaches(void *arg)
{
    return *(_Atomic unsigned *)arg > 0;
}

static bool is_held(void *arg)
{
    (void)arg;
    return seen.held != NULL;
}

static struct http_request *wait_held(void)
{
    struct http_request *req;

    assert_true(testkit_until(is_held, NULL, DEADLINE_MS));
    req = seen.held;
    seen.held = NULL;
    return req;
}

static void one_that_brings_nothing_is_answered_by_its_taker(void **state)
{
    struct fixture f;
    int fd;

    (void)state;
    open_server(&f, 30 * NS_PER_MS);
    fd = begin_upload(&f, "/parts");
    expect_problem(fd, 408, "cut after 5 bytes");
    /* What comes behind it is thrown away. */
    say(fd, "5\r\nagain\r\n0\r\n\r\n");
    assert_int_equal(hear_byte(fd), -1);
    close(fd);
    assert_true(testkit_until(reaches, &seen.destroyed, DEADLINE_MS));
    assert_int_equal(seen.cuts, 1);
    assert_int_equal(seen.bytes, 5);
    assert_int_equal(seen.handled, 0);
    fixture_close(&f);
}

/* Longer in all than one of them may keep the server waiting. */
static void one_that_brings_a_little_now_and_then_is_not_late(void **state)
{
    struct fixture f;
    struct answer a;
    int fd;

    (void)state;
    open_server(&f, 200 * NS_PER_MS);
    fd = begin_upload(&f, "/parts");
    for (int i = 0; i < 10; i++) {
        say(fd, "1\r\nx\r\n");
        assert_false(testkit_fd_wait(fd, POLLIN, 300));
    }
    say(fd, "0\r\n\r\n");
    a = hear(fd);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body.data, "15 bytes");
    answer_free(&a);
    close(fd);
    fixture_close(&f);
}

static void a_taker_may_wait_before_it_answers(void **state)
{
    struct fixture f;
    int fd;

    (void)state;
    open_server(&f, 30 * NS_PER_MS);
    fd = begin_upload(&f, "/waits");
    for (int i = 0; i < 2; i++)
        http_resume(wait_held());
    expect_problem(fd, 408, "cut after 5 bytes");
    close(fd);
    assert_true(testkit_until(reaches, &seen.destroyed, DEADLINE_MS));
    fixture_close(&f);
}

/* The client says that that was all, and then waits for its answer. */
static void a_body_that_ends_meanwhile_is_answered_all_the_same(void **state)
{
    struct fixture f;
    int fd;

    (void)state;
    open_server(&f, 30 * NS_PER_MS);
    fd = begin_upload(&f, "/waits");
    http_resume(wait_held());
    say(fd, "5\r\nagain\r\n0\r\n\r\n");
    http_resume(wait_held());
    expect_problem(fd, 408, "cut after 5 bytes");
    assert_int_equal(hear_byte(fd), -1);
    close(fd);
    assert_int_equal(seen.handled, 0);
    fixture_close(&f);
}

static bool nothing_is_open(void *server)
{
    struct http_stats stats;

    http_server_get_stats(server, &stats);
    return stats.requests_open == 0;
}

static void a_client_that_goes_meanwhile_leaves_nothing(void **state)
{
    struct http_request *req;
    struct fixture f;
    int fd;

    (void)state;
    open_server(&f, 30 * NS_PER_MS);
    fd = begin_upload(&f, "/waits");
    req = wait_held();
    close(fd);
    assert_true(testkit_until(nothing_is_open, f.server, DEADLINE_MS));
    assert_int_equal(seen.destroyed, 0);
    http_resume(req);
    assert_int_equal(seen.destroyed, 1);
    expect_status(&f, false, "GET /hello", NULL, 200);
    fixture_close(&f);
}

static bool all_have_come(void *arg)
{
    (void)arg;
    return seen.bytes == 100;
}

static void all_are_ended_when_the_server_says_so(void **state)
{
    struct fixture f;
    int fds[20];

    (void)state;
    open_server(&f, 0);
    for (int i = 0; i < 20; i++)
        fds[i] = begin_upload(&f, "/parts");
    assert_true(testkit_until(all_have_come, NULL, DEADLINE_MS));
    http_server_end_bodies(f.server, DEADLINE_MS * NS_PER_MS);
    assert_int_equal(seen.cuts, 20);
    for (int i = 0; i < 20; i++) {
        expect_problem(fds[i], 503, "ended after 100 bytes");
        close(fds[i]);
    }
    /* Those that come later are told so too, and all else is answered. */
    fds[0] = begin_upload(&f, "/parts");
    expect_problem(fds[0], 503, "ended after");
    close(fds[0]);
    expect_status(&f, false, "GET /hello", NULL, 200);
    fixture_close(&f);
}

/* Whoever goes on sending hears of it too, and a stop has not to wait for it. */
static void a_stop_ends_them_at_once(void **state)
{
    struct instant began;
    struct fixture f;
    int fd;

    (void)state;
    open_server(&f, 0);
    fd = begin_upload(&f, "/parts");
    assert_true(testkit_until(reaches, &seen.bytes, DEADLINE_MS));
    began = loop_clock();
    http_server_stop(f.server, 10 * DEADLINE_MS * NS_PER_MS);
    assert_true(instant_diff(loop_clock(), began) < 5 * DEADLINE_MS * NS_PER_MS);
    expect_problem(fd, 503, "ended after 5 bytes");
    close(fd);
    fixture_close(&f);
}

#define TEST(name) cmocka_unit_test_setup(name, forget_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_that_brings_nothing_is_answered_by_its_taker),
        TEST(one_that_brings_a_little_now_and_then_is_not_late),
        TEST(a_taker_may_wait_before_it_answers),
        TEST(a_body_that_ends_meanwhile_is_answered_all_the_same),
        TEST(a_client_that_goes_meanwhile_leaves_nothing),
        TEST(all_are_ended_when_the_server_says_so),
        TEST(a_stop_ends_them_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
