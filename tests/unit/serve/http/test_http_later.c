/*
 * Answers that come later, bodies and answers in parts, clients that go away meanwhile, and the end
 * of the server.
 */
#include "http_test.h"

#include <assert.h>
#include <sched.h>

/* ---- a thread that answers later ---- */

/* One request that waits for the test to say what becomes of it. */
static struct {
    pthread_mutex_t lock;
    struct http_request *held[64];
    size_t count;
    _Atomic unsigned destroyed, thens, closed, finished, incomplete;
    _Atomic uint64_t taken_bytes;
    _Atomic unsigned parts;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int forget_all(void **state)
{
    (void)state;
    seen.count = 0;
    seen.destroyed = seen.thens = seen.closed = seen.finished = seen.incomplete = seen.parts = 0;
    seen.taken_bytes = 0;
    return 0;
}

static void destroyed(void *state)
{
    free(state);
    seen.destroyed++;
}

static void hold(struct http_request *req)
{
    pthread_mutex_lock(&seen.lock);
    seen.held[seen.count++] = req;
    pthread_mutex_unlock(&seen.lock);
}

static struct http_request *release_one(void)
{
    struct http_request *req;

    pthread_mutex_lock(&seen.lock);
    assert_true(seen.count > 0);
    req = seen.held[--seen.count];
    pthread_mutex_unlock(&seen.lock);
    return req;
}

static size_t held_count(void)
{
    size_t n;

    pthread_mutex_lock(&seen.lock);
    n = seen.count;
    pthread_mutex_unlock(&seen.lock);
    return n;
}

static bool is_held(void *count)
{
    return held_count() >= *(size_t *)count;
}

static void wait_held(size_t count)
{
    assert_true(testkit_until(is_held, &count, DEADLINE_MS));
}

static bool reaches(void *pair)
{
    struct {
        _Atomic unsigned *what;
        unsigned wanted;
    } *p = pair;

    return atomic_load(p->what) >= p->wanted;
}

static void wait_for(_Atomic unsigned *what, unsigned wanted)
{
    struct {
        _Atomic unsigned *what;
        unsigned wanted;
    } p = {what, wanted};

    if (!testkit_until(reaches, &p, DEADLINE_MS))
        fail_msg("%u, not %u", atomic_load(what), wanted);
}

static void suspend_only(struct http_request *req, void *ctx)
{
    (void)ctx;
    http_set_state(req, malloc(10), destroyed);
    http_suspend(req, NULL);
    hold(req);
}

static void and_then(struct http_request *req, void *ctx)
{
    struct buf out = {0};

    (void)ctx;
    seen.thens++;
    buf_printf(&out, "then %s", http_header(req, "X-Word"));
    http_reply_text(req, 200, "text/plain", &out);
}

static void suspend_then(struct http_request *req, void *ctx)
{
    (void)ctx;
    http_set_state(req, malloc(10), destroyed);
    http_suspend(req, and_then);
    hold(req);
}

static void again(struct http_request *req, void *ctx)
{
    seen.thens++;
    http_suspend(req, seen.thens < 3 ? again : and_then);
    hold(req);
    (void)ctx;
}

/* Resumed before it has returned. */
static void *resume_it(void *req)
{
    struct buf out = {0};

    buf_puts(&out, "quick");
    http_reply_text(req, 200, "text/plain", &out);
    http_resume(req);
    return NULL;
}

static void suspend_quickly(struct http_request *req, void *ctx)
{
    pthread_t thread;

    (void)ctx;
    http_suspend(req, NULL);
    assert_int_equal(pthread_create(&thread, NULL, resume_it, req), 0);
    pthread_join(thread, NULL);
}

/* ---- bodies in parts ---- */

static size_t take_some(struct http_request *req, void *ctx, const char *data, size_t len)
{
    (void)ctx;
    seen.parts++;
    if (memchr(data, '!', len)) {
        http_problem(req, 422, NULL, "there is a ! in it");
        return len;
    }
    seen.taken_bytes += len;
    return len;
}

static size_t take_half(struct http_request *req, void *ctx, const char *data, size_t len)
{
    size_t half = (len + 1) / 2;

    (void)ctx;
    (void)data;
    seen.parts++;
    seen.taken_bytes += half;
    http_suspend(req, NULL);
    hold(req);
    return half;
}

static void begin_some(struct http_request *req, void *ctx)
{
    (void)ctx;
    http_set_state(req, malloc(10), destroyed);
    if (http_content_is(req, "application/x-ndjson"))
        http_take_body(req, take_some);
    if (http_content_is(req, "text/forbidden"))
        http_problem(req, 415, NULL, "not this");
}

static void begin_half(struct http_request *req, void *ctx)
{
    (void)ctx;
    http_take_body(req, take_half);
}

static void say_taken(struct http_request *req, void *ctx)
{
    struct buf out = {0};

    (void)ctx;
    buf_printf(&out, "%llu in parts, %zu whole", (unsigned long long)seen.taken_bytes,
               http_body(req).len);
    http_reply_text(req, 200, "text/plain", &out);
}

/* ---- answers in parts ---- */

struct source {
    struct http_stream *stream;
    _Atomic int left; /* pieces that are there; -1: the end */
    uint64_t given, end_after;
    int how, wakes_itself;
};

static struct source *last_source;

static ssize_t source_read(void *ctx, char *to, size_t max)
{
    struct source *s = ctx;

    assert(max >= 4096);
    seen.parts++;
    if (s->end_after) { /* without waiting, as much as there is room for */
        size_t n = s->end_after - s->given < max ? (size_t)(s->end_after - s->given) : max;

        if (n == 0)
            return s->how;
        for (size_t i = 0; i < n; i++)
            to[i] = (char)('a' + (s->given + i) % 26);
        s->given += n;
        return (ssize_t)n;
    }
    if (s->left < 0)
        return s->how;
    if (s->wakes_itself) { /* a piece comes just when it has looked and found nothing */
        s->wakes_itself--;
        s->left = s->wakes_itself ? 1 : -1;
        http_wake(s->stream);
        return HTTP_STREAM_WAIT;
    }
    if (s->left == 0)
        return HTTP_STREAM_WAIT;
    s->left--;
    memcpy(to, "piece\n", 6);
    return 6;
}

static void source_closed(void *ctx)
{
    free(ctx);
    seen.closed++;
}

static const struct http_stream_ops source_ops = {.read = source_read, .closed = source_closed};
static const struct http_stream_ops endless_ops = {
    .endless = true, .read = source_read, .closed = source_closed};

static struct source *open_source(struct http_request *req)
{
    struct source *s = calloc(1, sizeof *s);

    s->how = http_query(req, "broken") ? HTTP_STREAM_BROKEN : HTTP_STREAM_END;
    s->end_after = http_query(req, "bytes") ? strtoull(http_query(req, "bytes"), NULL, 10) : 0;
    s->stream = http_reply_stream(req, 200, "text/plain",
                                  http_query(req, "endless") ? &endless_ops : &source_ops, s);
    return s;
}

static void stream_pieces(struct http_request *req, void *ctx)
{
    struct source *s = open_source(req);

    (void)ctx;
    pthread_mutex_lock(&seen.lock);
    last_source = s;
    pthread_mutex_unlock(&seen.lock);
    hold(req);
}

static void stream_waking(struct http_request *req, void *ctx)
{
    (void)ctx;
    open_source(req)->wakes_itself = 10;
}

static void stream_bytes(struct http_request *req, void *ctx)
{
    (void)ctx;
    (void)open_source(req);
}

static void stream_then_change(struct http_request *req, void *ctx)
{
    (void)ctx;
    (void)open_source(req);
    http_problem(req, 410, NULL, "no longer");
}

static const char *const stream_query[] = {"bytes", "broken", "endless", NULL};

static const struct http_route routes[] = {
    {.method = "POST", .pattern = "/later", .handler = suspend_only},
    {.method = "GET", .pattern = "/later", .handler = suspend_only},
    {.method = "GET", .pattern = "/then", .handler = suspend_then},
    {.method = "GET", .pattern = "/again", .handler = again},
    {.method = "GET", .pattern = "/quick", .handler = suspend_quickly},
    {.method = "POST", .pattern = "/parts", .handler = say_taken, .begin = begin_some},
    {.method = "POST", .pattern = "/half", .handler = say_taken, .begin = begin_half},
    {.method = "GET", .pattern = "/pieces", .handler = stream_pieces, .query = stream_query},
    {.method = "GET", .pattern = "/bytes", .handler = stream_bytes, .query = stream_query},
    {.method = "GET", .pattern = "/waking", .handler = stream_waking},
    {.method = "GET", .pattern = "/changed", .handler = stream_then_change},
    {.method = "GET", .pattern = "/hello", .handler = say_hello},
};

static void on_finished(void *ctx, const struct http_finished *finished)
{
    (void)ctx;
    seen.incomplete += !finished->complete;
    seen.finished++;
}

static const struct http_server_options options = {
    .routes = routes,
    .route_count = sizeof routes / sizeof routes[0],
    .finished = on_finished,
};

static void answer_with(struct http_request *req, const char *text)
{
    struct buf out = {0};

    buf_puts(&out, text);
    http_reply_text(req, 200, "text/plain", &out);
}

static void expect_body(int fd, const char *text)
{
    struct answer a = hear(fd);

    assert_int_equal(a.status, 200);
    assert_true(a.whole);
    assert_string_equal(a.body.data, text);
    answer_free(&a);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\nX-Word: word\r\n\r\n"

/* ---- suspended requests ---- */

static void a_request_is_answered_from_another_thread(void **state)
{
    struct fixture f;
    struct http_request *req;
    int fd;

    (void)state;
    fixture_open(&f, &options);
    fd = dial(&f);
    say(fd,
        "POST /later HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc" GET("/later"));
    for (int i = 0; i < 2; i++) {
        wait_held(1);
        req = release_one();
        answer_with(req, "late");
        http_resume(req);
        expect_body(fd, "late");
    }
    wait_for(&seen.destroyed, 2);
    close(fd);
    fixture_close(&f);
}

static void what_comes_after_a_wait_runs_on_a_thread_of_the_server(void **state)
{
    struct fixture f;
    int fd;

    (void)state;
    fixture_open(&f, &options);
    fd = dial(&f);
    say(fd, GET("/then"));
    wait_held(1);
    assert_int_equal(seen.thens, 0);
    http_resume(release_one());
    expect_body(fd, "then word");
    seen.thens = 0;
    say(fd, GET("/again"));
    for (int i = 0; i < 3; i++) { /* it waits three times */
        wait_held(1);
        http_resume(release_one());
    }
    expect_body(fd, "then word");
    close(fd);
    fixture_close(&f);
}

static void a_request_may_go_on_before_its_handler_has_returned(void **state)
{
    struct fixture f;
    int fd;

    (void)state;
    fixture_open(&f, &options);
    fd = dial(&f);
    for (int i = 0; i < 200; i++) {
        say(fd, GET("/quick"));
        expect_body(fd, "quick");
    }
    close(fd);
    fixture_close(&f);
}

static void others_are_served_while_some_wait(void **state)
{
    struct fixture f;
    int fds[20];

    (void)state;
    fixture_open(&f, &options);
    for (int i = 0; i < 20; i++) {
        fds[i] = dial(&f);
        say(fds[i], GET("/later"));
    }
    wait_held(20);
    expect_status(&f, false, "GET /hello", NULL, 200);
    for (int i = 0; i < 20; i++) {
        struct http_request *req = release_one();

        answer_with(req, "late");
        http_resume(req);
    }
    for (int i = 0; i < 20; i++) {
        expect_body(fds[i], "late");
        close(fds[i]);
    }
    fixture_close(&f);
}

static void a_client_that_goes_away_takes_nothing_with_it(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, &options);
    for (int i = 0; i < 10; i++) {
        int fd = dial(&f);

        say(fd, i % 2 ? GET("/later") : GET("/then"));
        wait_held(1);
        close(fd);
        if (i % 2)
            answer_with(seen.held[0], "to nobody");
        http_resume(release_one());
        wait_for(&seen.destroyed, (unsigned)i + 1);
    }
    wait_for(&seen.finished, 10);
    expect_status(&f, false, "GET /hello", NULL, 200);
    fixture_close(&f);
}

static void a_request_that_waits_outlives_the_server(void **state)
{
    struct http_request *req;
    struct fixture f;
    struct answer a;
    int fds[3];

    (void)state;
    fixture_open(&f, &options);
    for (int i = 0; i < 3; i++) {
        fds[i] = dial(&f);
        say(fds[i], i < 2 ? GET("/later") : GET("/then"));
        wait_held((size_t)i + 1);
    }
    fixture_close(&f); /* without a deadline: nobody is waited for */
    for (int i = 0; i < 3; i++) {
        a = hear(fds[i]);
        assert_int_equal(a.status, 0);
        answer_free(&a);
        close(fds[i]);
    }
    assert_int_equal(seen.destroyed, 0);
    while (held_count() > 0) {
        req = release_one();
        answer_with(req, "too late");
        http_resume(req);
    }
    assert_int_equal(seen.destroyed, 3);
    assert_int_equal(seen.thens, 0);
}

static void *stop_it(void *server)
{
    http_server_stop(server, duration_from_ms(DEADLINE_MS));
    return NULL;
}

static bool is_refused(void *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool refused;

    memcpy(addr.sun_path, path, strlen(path));
    refused = connect(fd, (struct sockaddr *)&addr, sizeof addr) != 0;
    close(fd);
    return refused;
}

static void stopping_accepts_no_more_and_lets_requests_end(void **state)
{
    struct http_request *req;
    struct fixture f;
    pthread_t thread;
    int fd;

    (void)state;
    fixture_open(&f, &options);
    fd = dial(&f);
    say(fd, GET("/later"));
    wait_held(1);
    assert_int_equal(pthread_create(&thread, NULL, stop_it, f.server), 0);
    assert_true(testkit_until(is_refused, f.path, DEADLINE_MS));
    req = release_one();
    answer_with(req, "still");
    http_resume(req);
    expect_body(fd, "still");
    pthread_join(thread, NULL);
    close(fd);
    fixture_close(&f);
}

/* ---- bodies in parts ---- */

static void a_body_is_taken_in_parts_whatever_its_size(void **state)
{
    size_t len = (size_t)40 << 20; /* more than a whole body may have */
    char *much = calloc(1, len);
    struct http_stats stats;
    struct buf head = {0};
    struct fixture f;
    struct answer a;
    int fd;

    (void)state;
    fixture_open(&f, &options);
    fd = dial(&f);
    buf_printf(&head,
               "POST /parts HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
               "application/x-ndjson\r\nContent-Length: %zu\r\n\r\n",
               len);
    say(fd, head.data);
    say_bytes(fd, much, len);
    expect_body(fd, "41943040 in parts, 0 whole");
    http_server_get_stats(f.server, &stats);
    assert_true(stats.memory_bytes_max < 1000);
    assert_true(seen.parts > 100);
    /* The same route takes it whole when it does not ask for parts. */
    say(fd, "POST /parts HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
            "application/json\r\nContent-Length: 2\r\n\r\n{}");
    expect_body(fd, "41943040 in parts, 2 whole");
    say(fd, "POST /parts HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
            "text/forbidden\r\nContent-Length: 2\r\n\r\n{}");
    a = hear(fd);
    assert_int_equal(a.status, 415);
    answer_free(&a);
    wait_for(&seen.destroyed, 3);
    close(fd);
    fixture_close(&f);
    buf_free(&head);
    free(much);
}

static void an_error_amid_a_body_reaches_one_who_still_sends(void **state)
{
    size_t len = (size_t)30 << 20;
    char *much = calloc(1, len);
    struct buf head = {0};
    struct fixture f;
    struct answer a;
    int fd;

    (void)state;
    fixture_open(&f, &options);
    for (int large = 0; large < 2; large++) {
        size_t n = large ? len : 5000;

        fd = dial_tcp(&f);
        much[100] = '!';
        buf_clear(&head);
        buf_printf(&head,
                   "POST /parts HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                   "application/x-ndjson\r\nContent-Length: %zu\r\n\r\n",
                   n);
        say(fd, head.data);
        say_bytes(fd, much, n);
        a = hear(fd);
        assert_int_equal(a.status, 422);
        assert_true(a.whole);
        body_has(&a, "there is a ! in it");
        answer_free(&a);
        close(fd);
    }
    assert_int_equal(seen.taken_bytes, 0);
    wait_for(&seen.destroyed, 2);
    fixture_close(&f);
    buf_free(&head);
    free(much);
}

/* It has 994 MiB more to send, but listens first. */
static void an_error_amid_a_body_is_told_before_its_end(void **state)
{
    size_t len = (size_t)6 << 20;
    char *much = calloc(1, len);
    struct fixture f;
    struct answer a;

    (void)state;
    fixture_open(&f, &options);
    much[0] = '!';
    for (int tcp = 0; tcp < 2; tcp++) {
        int fd = tcp ? dial_tcp(&f) : dial(&f);

        say(fd, "POST /parts HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
                "Content-Length: 1000000000\r\n\r\n");
        say_bytes(fd, much, len);
        a = hear(fd);
        assert_int_equal(a.status, 422);
        assert_true(header_is(&a, "Connection", "close"));
        body_has(&a, "there is a ! in it");
        answer_free(&a);
        close(fd);
    }
    fixture_close(&f);
    free(much);
}

/* While it waits nothing more is read: the sender is held up by what the sockets hold. */
static void a_taker_that_is_not_ready_holds_up_its_sender(void **state)
{
    char chunk[65536] = {0};
    struct fixture f;
    uint64_t sent = 0;
    int fd;

    (void)state;
    fixture_open(&f, &options);
    fd = dial(&f);
    say(fd, "POST /half HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n");
    while (testkit_fd_wait(fd, POLLOUT, 300)) {
        ssize_t n = send(fd, chunk, sizeof chunk, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n > 0)
            sent += (uint64_t)n;
        assert_true(sent < 20000000);
    }
    wait_held(1);
    assert_int_equal(seen.parts, 1);
    assert_true(seen.taken_bytes < 200000);
    http_resume(release_one());
    wait_held(1);
    assert_int_equal(seen.parts, 2);
    close(fd);
    fixture_close(&f);
    http_resume(release_one());
}

static void a_body_taken_by_halves_comes_whole(void **state)
{
    char body[3000];
    struct fixture f;
    bool done = false;
    int fd;

    (void)state;
    fixture_open(&f, &options);
    fd = dial(&f);
    memset(body, 'x', sizeof body);
    say(fd, "POST /half HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000\r\n\r\n");
    say_bytes(fd, body, sizeof body);
    while (!done) {
        if (held_count() > 0)
            http_resume(release_one());
        done = testkit_fd_wait(fd, POLLIN, 1);
    }
    expect_body(fd, "3000 in parts, 0 whole");
    close(fd);
    fixture_close(&f);
}

/* ---- answers in parts ---- */

static struct source *source_of(size_t count)
{
    wait_held(count);
    return last_source;
}

static void give(struct source *s, int pieces)
{
    s->left = pieces;
    http_wake(s->stream);
}

static void a_stream_waits_until_it_is_woken(void **state)
{
    struct buf got = {0};
    struct source *s;
    struct fixture f;
    struct answer a;
    int fd;

    (void)state;
    fixture_open(&f, &options);
    fd = dial(&f);
    say(fd, GET("/pieces"));
    s = source_of(1);
    a = hear_head(fd);
    assert_true(header_is(&a, "Transfer-Encoding", "chunked"));
    answer_free(&a);
    give(s, 2);
    assert_true(hear_bytes(fd, &got, 2 * (3 + 6 + 2)));
    assert_string_equal(got.data, "6\r\npiece\n\r\n6\r\npiece\n\r\n");
    assert_false(testkit_fd_wait(fd, POLLIN, 50));
    give(s, -1);
    buf_clear(&got);
    assert_true(hear_bytes(fd, &got, 5));
    assert_string_equal(got.data, "0\r\n\r\n");
    wait_for(&seen.closed, 1);
    release_one();
    say(fd, GET("/hello")); /* and the connection goes on */
    a = hear(fd);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    close(fd);
    buf_free(&got);
    fixture_close(&f);
}

#define ROUNDS 5000

/* Each piece only when the one before it has been read: a wake-up that is lost stops it all. */
static void *wake_often(void *source)
{
    struct source *s = source;

    for (int i = 0; i < ROUNDS; i++) {
        s->left = 1;
        http_wake(s->stream);
        while (s->left > 0 && seen.closed == 0)
            sched_yield();
    }
    if (seen.closed == 0)
        give(s, -1);
    return NULL;
}

static void no_wake_up_is_lost(void **state)
{
    struct source *s;
    struct fixture f;
    struct answer a;
    pthread_t thread;
    int fd;

    (void)state;
    fixture_open(&f, &options);
    fd = dial(&f);
    say(fd, GET("/pieces"));
    s = source_of(1);
    assert_int_equal(pthread_create(&thread, NULL, wake_often, s), 0);
    a = hear(fd);
    assert_true(a.whole);
    assert_int_equal(a.body.len, ROUNDS * 6);
    answer_free(&a);
    pthread_join(thread, NULL);
    release_one();
    close(fd);
    fixture_close(&f);
}

static void a_wake_up_between_looking_and_waiting_counts(void **state)
{
    struct fixture f;
    struct answer a;

    (void)state;
    fixture_open(&f, &options);
    a = ask(&f, GET("/waking"));
    assert_true(a.whole);
    assert_int_equal(a.body.len, 0);
    answer_free(&a);
    wait_for(&seen.closed, 1);
    fixture_close(&f);
}

static void a_large_stream_comes_whole_and_a_broken_one_is_seen_to_be(void **state)
{
    struct fixture f;
    struct answer a;
    int fd;

    (void)state;
    fixture_open(&f, &options);
    fd = dial(&f);
    say(fd, GET("/bytes?bytes=3000000"));
    a = hear(fd);
    assert_true(a.whole);
    assert_int_equal(a.body.len, 3000000);
    for (size_t i = 0; i < a.body.len; i++)
        assert_int_equal(a.body.data[i], 'a' + (char)(i % 26));
    answer_free(&a);
    say(fd, GET("/bytes?bytes=3000000&broken"));
    a = hear(fd);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.body.len, 3000000);
    assert_false(a.whole);
    answer_free(&a);
    close(fd);
    wait_for(&seen.closed, 2);
    fixture_close(&f);
}

static void an_old_client_gets_a_stream_up_to_the_end_of_the_connection(void **state)
{
    struct buf got = {0};
    struct fixture f;
    int fd;

    (void)state;
    fixture_open(&f, &options);
    fd = dial(&f);
    say(fd, "GET /bytes?bytes=10 HTTP/1.0\r\n\r\n");
    assert_false(hear_bytes(fd, &got, 100000));
    assert_non_null(strstr(got.data, "\r\n\r\nabcdefghij"));
    assert_null(strstr(got.data, "chunked"));
    buf_free(&got);
    close(fd);
    fixture_close(&f);
}

static void a_stream_whose_client_goes_away_is_closed_without_being_woken(void **state)
{
    struct fixture f;
    struct answer a;

    (void)state;
    fixture_open(&f, &options);
    for (int tcp = 0; tcp < 2; tcp++) {
        int fd = tcp ? dial_tcp(&f) : dial(&f);

        say(fd, GET("/pieces"));
        a = hear_head(fd);
        answer_free(&a);
        close(fd);
        wait_for(&seen.closed, (unsigned)tcp + 1);
        release_one();
    }
    fixture_close(&f);
}

static void a_head_request_and_another_answer_close_the_stream(void **state)
{
    struct fixture f;
    struct answer a;
    int fd;

    (void)state;
    fixture_open(&f, &options);
    expect_status(&f, false, "GET /changed", NULL, 410);
    wait_for(&seen.closed, 1);
    fd = dial(&f);
    say(fd, "HEAD /bytes?bytes=10 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    a = hear_head(fd);
    assert_int_equal(a.status, 200);
    assert_true(header_is(&a, "Connection", "close"));
    answer_free(&a);
    wait_for(&seen.closed, 2);
    close(fd);
    fixture_close(&f);
}

/* Only of one without an end that may be taken for all of it. */
static void stopping_ends_streams_that_wait(void **state)
{
    for (unsigned endless = 0; endless < 2; endless++) {
        struct fixture f;
        struct answer a;
        int fd;

        (void)forget_all(state);
        fixture_open(&f, &options);
        fd = dial(&f);
        say(fd, endless ? GET("/pieces?endless") : GET("/pieces"));
        give(source_of(1), 1);
        a = hear_head(fd);
        answer_free(&a);
        http_server_stop(f.server, duration_from_ms(DEADLINE_MS));
        assert_int_equal(hear_chunks(fd, &a.body), endless);
        assert_string_equal(a.body.data, "piece\n");
        answer_free(&a);
        assert_int_equal(seen.closed, 1);
        assert_int_equal(seen.incomplete, !endless);
        close(fd);
        fixture_close(&f);
    }
}

#define TEST(name) cmocka_unit_test_setup(name, forget_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_answered_from_another_thread),
        TEST(what_comes_after_a_wait_runs_on_a_thread_of_the_server),
        TEST(a_request_may_go_on_before_its_handler_has_returned),
        TEST(others_are_served_while_some_wait),
        TEST(a_client_that_goes_away_takes_nothing_with_it),
        TEST(a_request_that_waits_outlives_the_server),
        TEST(stopping_accepts_no_more_and_lets_requests_end),
        TEST(a_body_is_taken_in_parts_whatever_its_size),
        TEST(an_error_amid_a_body_reaches_one_who_still_sends),
        TEST(an_error_amid_a_body_is_told_before_its_end),
        TEST(a_taker_that_is_not_ready_holds_up_its_sender),
        TEST(a_body_taken_by_halves_comes_whole),
        TEST(a_stream_waits_until_it_is_woken),
        TEST(no_wake_up_is_lost),
        TEST(a_wake_up_between_looking_and_waiting_counts),
        TEST(a_large_stream_comes_whole_and_a_broken_one_is_seen_to_be),
        TEST(an_old_client_gets_a_stream_up_to_the_end_of_the_connection),
        TEST(a_stream_whose_client_goes_away_is_closed_without_being_woken),
        TEST(a_head_request_and_another_answer_close_the_stream),
        TEST(stopping_ends_streams_that_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
