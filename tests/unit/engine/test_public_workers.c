/*
 * Pools of workers and of commands through the public API, with real processes: this very program
 * is the worker when its first argument says so.
 */
#include "engine_test.h"

#include "base/json.h"
#include "weir/workers.h"

#include <arpa/inet.h>
#include <signal.h>
#include <unistd.h>

/* ---- the worker ---- */

static bool read_all(void *to, size_t len)
{
    for (size_t have = 0; have < len;) {
        ssize_t n = read(STDIN_FILENO, (char *)to + have, len - have);

        if (n <= 0)
            return false;
        have += (size_t)n;
    }
    return true;
}

static void respond(const struct buf *text)
{
    uint32_t len = htonl((uint32_t)text->len);
    struct buf frame = {0};

    buf_put(&frame, &len, sizeof len);
    buf_put(&frame, text->data, text->len);
    for (size_t sent = 0; sent < frame.len;) {
        ssize_t n = write(STDOUT_FILENO, frame.data + sent, frame.len - sent);

        if (n <= 0)
            _exit(9);
        sent += (size_t)n;
    }
    buf_free(&frame);
}

/* What the command asks for: `"success":..` and what belongs to it. */
static void act(struct slice command, struct slice args, struct slice session, bool lost,
                struct buf *out)
{
    if (json_string_equals(command, slice_of("die")))
        _exit(3);
    if (json_string_equals(command, slice_of("say")) ||
        json_string_equals(command, slice_of("say_and_hang")))
        dprintf(STDERR_FILENO, "a line\nanother\n");
    if (json_string_equals(command, slice_of("say_and_hang")))
        for (;;)
            pause();
    if (json_string_equals(command, slice_of("until_term"))) {
        sigset_t set;
        int sig;

        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigprocmask(SIG_BLOCK, &set, NULL);
        dprintf(STDERR_FILENO, "waits\n");
        sigwait(&set, &sig);
    }
    if (json_string_equals(command, slice_of("hang")))
        for (;;)
            pause();
    if (json_string_equals(command, slice_of("fail")))
        buf_puts(out, "\"success\":false,\"error\":{\"type\":\"Bad\",\"message\":\"no good\"}");
    else if (json_string_equals(command, slice_of("pid")))
        buf_printf(out, "\"success\":true,\"result\":%d", (int)getpid());
    else if (json_string_equals(command, slice_of("session")))
        buf_printf(out, "\"success\":true,\"result\":[%.*s,%s]",
                   session.len > 0 ? (int)session.len : 4, session.len > 0 ? session.data : "null",
                   lost ? "true" : "false");
    else
        buf_printf(out, "\"success\":true,\"result\":%.*s", args.len > 0 ? (int)args.len : 4,
                   args.len > 0 ? args.data : "null");
}

static int be_worker(void)
{
    uint32_t len;

    while (read_all(&len, sizeof len)) {
        struct json_wanted want[] = {{SLICE("id"), {0}},
                                     {SLICE("command"), {0}},
                                     {SLICE("args"), {0}},
                                     {SLICE("session"), {0}},
                                     {SLICE("session_lost"), {0}}};
        struct buf out = {0};
        char *text = malloc(ntohl(len) + 1);

        if (!text || !read_all(text, ntohl(len)))
            return 8;
        json_members((struct slice){text, ntohl(len)}, want, 5);
        if (json_string_equals(want[1].value, slice_of("shutdown")))
            return 0;
        buf_printf(&out, "{\"id\":%.*s,", (int)want[0].value.len, want[0].value.data);
        act(want[1].value, want[2].value, want[3].value, want[4].value.len > 0, &out);
        buf_putc(&out, '}');
        respond(&out);
        buf_free(&out);
        free(text);
    }
    return 0;
}

/* ---- the tests ---- */

static const char *self;

struct shop {
    struct weir_engine *engine;
    struct weir_pool *pool;
};

static struct weir_process_options worker_options(void)
{
    static const char *argv[3];
    struct weir_process_options o;

    argv[0] = self;
    argv[1] = "worker";
    weir_process_options_init(&o);
    o.argv = argv;
    o.shutdown_grace_ms = 2000;
    return o;
}

static struct shop shop_open(uint64_t size, const struct weir_process_options *process)
{
    struct weir_pool_options o;
    struct shop s;

    weir_pool_options_init(&o);
    o.size = size;
    o.timeout_ms = 20000;
    ok(weir_open(&(struct weir_options){.seed = 7}, &s.engine, &err));
    ok(weir_pool_open_process(s.engine, &o, process, &s.pool, &err));
    return s;
}

static void shop_close(struct shop *s)
{
    ok(weir_close(s->engine, &err));
}

static struct weir_reply *ask(struct shop *s, const char *command, const char *args,
                              const char *session)
{
    struct weir_call call = {.command = command, .args = args, .session = session};
    struct weir_reply *reply;

    call.args_len = args ? strlen(args) : 0;
    ok(weir_call(s->pool, &call, &reply, &err));
    return reply;
}

static void a_batch_goes_through_workers_in_order(void **state)
{
    struct weir_process_options process = worker_options();
    struct shop s = shop_open(2, &process);
    struct weir_row rows[200] = {0};
    char texts[200][24];
    struct weir_results *results;

    (void)state;
    for (size_t i = 0; i < 200; i++) {
        snprintf(texts[i], sizeof texts[i], "{\"n\": %zu}", i);
        rows[i] = (struct weir_row){.data = texts[i], .len = strlen(texts[i])};
    }
    ok(weir_run(s.pool, rows, 200, NULL, &results, &err));
    assert_int_equal(results->count, 200);
    for (size_t i = 0; i < 200; i++) {
        assert_int_equal(results->items[i].outcome, WEIR_OUTCOME_OK);
        assert_string_equal(results->items[i].output, texts[i]);
    }
    assert_int_equal(results->stats.pending, 0);
    weir_results_free(results);
    shop_close(&s);
}

static void data_that_is_not_json_is_refused_when_it_is_added(void **state)
{
    struct weir_process_options process = worker_options();
    struct shop s = shop_open(1, &process);
    struct weir_row row = {.data = "{nope", .len = 5};
    struct weir_results *results;
    struct weir_reply *reply;

    (void)state;
    says(WEIR_E_INVALID, "row 0: the row's data is not JSON: at byte 1",
         weir_run(s.pool, &row, 1, NULL, &results, &err));
    row = (struct weir_row){.data = "1", .len = 1, .session = ""};
    says(WEIR_E_INVALID, "row 0: the row's session has 0 bytes; it must have 1 to 512",
         weir_run(s.pool, &row, 1, NULL, &results, &err));
    row.session = "gr\xfc\xdf"; /* Latin-1 */
    says(WEIR_E_INVALID, "row 0: the row's session is not UTF-8, from byte 2 on",
         weir_run(s.pool, &row, 1, NULL, &results, &err));
    says(WEIR_E_INVALID, "args are not JSON",
         weir_call(s.pool, &(struct weir_call){.args = "]", .args_len = 1}, &reply, &err));
    shop_close(&s);
}

static void a_call_gives_what_the_worker_answered(void **state)
{
    struct weir_process_options process = worker_options();
    struct shop s = shop_open(1, &process);
    struct weir_reply *r = ask(&s, NULL, "[1, 2]", NULL);

    (void)state;
    assert_int_equal(r->outcome, WEIR_OUTCOME_OK);
    assert_string_equal(r->output, "[1, 2]");
    assert_int_equal(r->attempts, 1);
    assert_int_equal(r->worker, 1);
    weir_reply_free(r);
    r = ask(&s, "fail", NULL, NULL);
    assert_int_equal(r->outcome, WEIR_OUTCOME_FAILED);
    assert_int_equal(r->reason, WEIR_REASON_WORKER_ERROR);
    assert_string_equal(r->message, "Bad: no good");
    weir_reply_free(r);
    r = ask(&s, NULL, NULL, NULL);
    assert_string_equal(r->output, "null");
    weir_reply_free(r);
    shop_close(&s);
}

static void a_session_stays_with_its_worker_and_says_when_it_was_lost(void **state)
{
    struct weir_process_options process = worker_options();
    struct shop s = shop_open(3, &process);
    struct weir_workers *w;
    struct weir_reply *r;
    uint64_t first;

    (void)state;
    r = ask(&s, "session", NULL, "ann");
    assert_string_equal(r->output, "[\"ann\",false]");
    first = r->worker;
    weir_reply_free(r);
    for (int i = 0; i < 10; i++) {
        r = ask(&s, "session", NULL, "ann");
        assert_string_equal(r->output, "[\"ann\",false]");
        assert_int_equal(r->worker, first);
        weir_reply_free(r);
    }
    r = ask(&s, "die", NULL, "ann"); /* each attempt costs a worker */
    assert_int_equal(r->outcome, WEIR_OUTCOME_LOST);
    assert_int_equal(r->reason, WEIR_REASON_WORKER_LOST);
    weir_reply_free(r);
    r = ask(&s, "session", NULL, "ann");
    assert_string_equal(r->output, "[\"ann\",true]");
    weir_reply_free(r);
    ok(weir_session_release(s.pool, "ann", &err));
    says(WEIR_E_END, "no worker of the pool holds the session ann",
         weir_session_release(s.pool, "ann", &err));
    ok(weir_pool_workers(s.pool, &w, &err));
    assert_int_equal(w->count, 3);
    assert_int_equal(w->sessions, 0);
    assert_true(w->session_hits >= 10);
    assert_int_equal(w->session_misses, 1);
    assert_true(w->lost >= 1);
    weir_workers_free(w);
    shop_close(&s);
}

static void workers_can_be_looked_at(void **state)
{
    struct weir_process_options process = worker_options();
    struct shop s = shop_open(1, &process);
    struct weir_workers *w;
    struct weir_reply *r = ask(&s, "pid", NULL, NULL);
    long pid = strtol(r->output, NULL, 10);

    (void)state;
    weir_reply_free(r);
    ok(weir_pool_workers(s.pool, &w, &err));
    assert_int_equal(w->count, 1);
    assert_int_equal(w->started, 1);
    assert_string_equal(w->breaker, "closed");
    assert_int_equal(w->items[0].pid, pid);
    assert_int_equal(w->items[0].place, 1);
    assert_string_equal(w->items[0].state, "ready");
    assert_string_equal(w->items[0].health, "healthy");
    assert_int_equal(w->items[0].requests, 1);
    assert_int_equal(w->items[0].history_count, 3);
    assert_string_equal(w->items[0].history[0].from, "busy");
    assert_string_equal(w->items[0].history[2].to, "ready");
    assert_true(w->items[0].history[0].at_ns >= w->items[0].history[2].at_ns);
    weir_workers_free(w);
    shop_close(&s);
}

static void a_hanging_worker_is_killed_when_its_time_is_up(void **state)
{
    struct weir_process_options process = worker_options();
    struct weir_pool_options o;
    struct weir_reply *r;
    struct shop s;

    (void)state;
    weir_pool_options_init(&o);
    o.timeout_ms = 100;
    o.max_attempts = 1;
    ok(weir_open(NULL, &s.engine, &err));
    ok(weir_pool_open_process(s.engine, &o, &process, &s.pool, &err));
    r = ask(&s, "hang", NULL, NULL);
    assert_int_equal(r->outcome, WEIR_OUTCOME_TIMEOUT);
    assert_int_equal(r->reason, WEIR_REASON_TIMEOUT);
    weir_reply_free(r);
    r = ask(&s, NULL, "true", NULL);
    assert_string_equal(r->output, "true");
    assert_int_equal(r->worker, 2);
    weir_reply_free(r);
    shop_close(&s);
}

static void nobody_free_in_time_is_a_reply_that_says_so(void **state)
{
    struct weir_process_options process = worker_options();
    static const char *const argv[] = {"sleep", "1000", NULL};
    struct weir_reply *r;
    struct shop s;

    (void)state;
    process.argv = argv; /* it never answers its first ping */
    process.checkout_timeout_ms = 50;
    process.shutdown_grace_ms = process.term_grace_ms = 10;
    s = shop_open(1, &process);
    r = ask(&s, NULL, NULL, NULL);
    assert_int_equal(r->outcome, WEIR_OUTCOME_TIMEOUT);
    assert_int_equal(r->reason, WEIR_REASON_CHECKOUT_TIMEOUT);
    assert_int_equal(r->attempts, 0);
    weir_reply_free(r);
    shop_close(&s);
}

struct heard {
    struct latch lines;
    char text[64];
};

static void hear(void *ctx, uint64_t worker, const char *line, size_t len)
{
    struct heard *h = ctx;

    if (worker == 1 && len < sizeof h->text && h->lines.count == 0)
        memcpy(h->text, line, len);
    latch_add(&h->lines, 1);
}

static void what_a_worker_says_is_told_line_by_line(void **state)
{
    struct weir_process_options process = worker_options();
    struct heard heard = {LATCH_INIT, ""};
    struct shop s;

    (void)state;
    process.said = hear;
    process.said_ctx = &heard;
    s = shop_open(1, &process);
    weir_reply_free(ask(&s, "say", NULL, NULL));
    assert_true(latch_wait(&heard.lines, 2));
    shop_close(&s);
    assert_string_equal(heard.text, "a line");
}

/* It is told by SIGTERM, and what it answers within its grace counts, like any whole answer. */
static void a_shutdown_that_does_not_wait_lets_busy_workers_wind_up(void **state)
{
    struct weir_process_options process = worker_options();
    struct heard heard = {LATCH_INIT, ""};
    struct weir_row row = {.data = "[1]", .len = 3};
    const struct weir_result *r;
    struct weir_batch *b;
    struct shop s;

    (void)state;
    process.command = "until_term";
    process.said = hear;
    process.said_ctx = &heard;
    process.term_grace_ms = 3600 * 1000;
    s = shop_open(1, &process);
    ok(weir_batch_open(s.pool, NULL, &b, &err));
    ok(weir_batch_add(b, &row, false, &err));
    assert_true(latch_wait(&heard.lines, 1));
    ok(weir_shutdown(s.engine, false, &err));
    ok(weir_batch_next(b, -1, &r, &err));
    assert_int_equal(r->outcome, WEIR_OUTCOME_OK);
    assert_string_equal(r->output, "[1]");
    weir_batch_close(b);
    shop_close(&s);
}

/* By SIGTERM as it is by default: long before any grace is over. */
static void a_stop_ends_busy_workers_and_the_pool_goes_on(void **state)
{
    struct weir_process_options process = worker_options();
    struct heard heard = {LATCH_INIT, ""};
    struct weir_row row = {.data = "[1]", .len = 3};
    const struct weir_result *r;
    struct weir_batch *b;
    struct weir_reply *reply;
    struct shop s;

    (void)state;
    process.command = "say_and_hang";
    process.said = hear;
    process.said_ctx = &heard;
    process.shutdown_grace_ms = process.term_grace_ms = 3600 * 1000;
    s = shop_open(1, &process);
    ok(weir_batch_open(s.pool, NULL, &b, &err));
    ok(weir_batch_add(b, &row, false, &err));
    assert_true(latch_wait(&heard.lines, 1));
    ok(weir_batch_stop(b, true, &err));
    says(WEIR_E_END, "no more", weir_batch_next(b, -1, &r, &err));
    weir_batch_close(b);
    reply = ask(&s, "pid", NULL, NULL);
    assert_int_equal(reply->outcome, WEIR_OUTCOME_OK);
    weir_reply_free(reply);
    shop_close(&s);
}

static void a_fallback_pool_gets_what_fails_for_good(void **state)
{
    struct weir_process_options process = worker_options();
    struct weir_pool_options o;
    struct weir_pool *second;
    struct weir_reply *r;
    struct shop s;

    (void)state;
    weir_pool_options_init(&o);
    ok(weir_open(NULL, &s.engine, &err));
    process.command = "other";
    o.name = "second";
    ok(weir_pool_open_process(s.engine, &o, &process, &second, &err));
    process.command = NULL;
    process.fallback = second;
    o.name = "first";
    ok(weir_pool_open_process(s.engine, &o, &process, &s.pool, &err));
    r = ask(&s, "fail", NULL, NULL);
    assert_int_equal(r->outcome, WEIR_OUTCOME_FAILED);
    assert_int_equal(r->attempts, 2);
    weir_reply_free(r);
    shop_close(&s);
}

static void wrong_options_are_named(void **state)
{
    struct weir_process_options process = worker_options(), wrong;
    struct weir_command_options command;
    struct weir_pool_options o;
    struct weir_workers *w;
    struct weir_reply *r;
    struct weir_pool *pool;
    struct house h = house_open(1, echo, NULL);

    (void)state;
    weir_pool_options_init(&o);
    weir_process_options_init(NULL);
    weir_command_options_init(NULL);
    says(WEIR_E_INVALID, "engine is NULL", weir_pool_open_process(NULL, &o, &process, &pool, &err));
    says(WEIR_E_INVALID, "process is NULL",
         weir_pool_open_process(h.engine, &o, NULL, &pool, &err));
    wrong = process;
    wrong.argv = NULL;
    says(WEIR_E_INVALID, "argv names no program",
         weir_pool_open_process(h.engine, &o, &wrong, &pool, &err));
    wrong = process;
    wrong.overflow = 4096;
    says(WEIR_E_INVALID, "a pool has 1 to 4096 workers",
         weir_pool_open_process(h.engine, &o, &wrong, &pool, &err));
    wrong = process;
    wrong.init_timeout_ms = 0;
    says(WEIR_E_INVALID, "init_timeout_ms is 0; it must be 1 or more",
         weir_pool_open_process(h.engine, &o, &wrong, &pool, &err));
    wrong = process;
    wrong.max_in_flight = 0;
    says(WEIR_E_INVALID, "max_in_flight is 0; it must be 1 to 1024",
         weir_pool_open_process(h.engine, &o, &wrong, &pool, &err));
    wrong = process;
    wrong.overflow = 1000;
    wrong.max_in_flight = 1024;
    says(WEIR_E_INVALID, "with a max_in_flight of 1024 would have 1025024 requests at once",
         weir_pool_open_process(h.engine, &o, &wrong, &pool, &err));
    wrong = process;
    wrong.ping_failures = 0;
    says(WEIR_E_INVALID, "ping_failures is 0",
         weir_pool_open_process(h.engine, &o, &wrong, &pool, &err));
    wrong = process;
    wrong.fallback = h.pool; /* of threads */
    says(WEIR_E_INVALID, "the fallback has no workers",
         weir_pool_open_process(h.engine, &o, &wrong, &pool, &err));
    weir_command_options_init(&command);
    says(WEIR_E_INVALID, "argv names no program",
         weir_pool_open_command(h.engine, &o, &command, &pool, &err));
    says(WEIR_E_INVALID, "the pool has no workers",
         weir_call(h.pool, &(struct weir_call){0}, &r, &err));
    says(WEIR_E_INVALID, "the pool has no workers", weir_pool_workers(h.pool, &w, &err));
    says(WEIR_E_INVALID, "pool is NULL", weir_breaker_reset(NULL, &err));
    weir_reply_free(NULL);
    weir_workers_free(NULL);
    house_close(&h);
}

static struct weir_results *run_command(const char *const *argv, bool on_stdin, const char *data,
                                        size_t len, struct weir_engine *engine)
{
    const struct weir_row rows[] = {{.data = data, .len = len}, {.data = "2nd", .len = 3}};
    struct weir_command_options command;
    struct weir_pool_options o;
    struct weir_results *results;
    struct weir_pool *pool;

    weir_pool_options_init(&o);
    o.size = 2;
    o.timeout_ms = 30000;
    weir_command_options_init(&command);
    command.argv = argv;
    command.on_stdin = on_stdin;
    ok(weir_pool_open_command(engine, &o, &command, &pool, &err));
    ok(weir_run(pool, rows, 2, NULL, &results, &err));
    assert_int_equal(results->count, 2);
    return results;
}

static void a_command_runs_for_each_row(void **state)
{
    static const char *const filled[] = {"printf", "%s|", "a{}b", "{#}", "{x}", NULL};
    static const char *const added[] = {"printf", "%s", NULL};
    static const char *const piped[] = {"cat", NULL};
    static const char *const fails[] = {"sh", "-c", "echo out; echo oops >&2; exit 3", NULL};
    struct weir_results *r;
    struct weir_engine *engine;

    (void)state;
    ok(weir_open(NULL, &engine, &err));
    r = run_command(filled, false, "x y;$(z)", 8, engine);
    assert_string_equal(r->items[0].output, "ax y;$(z)b|1|{x}|");
    assert_string_equal(r->items[1].output, "a2ndb|2|{x}|");
    weir_results_free(r);
    r = run_command(added, false, "", 0, engine);
    assert_string_equal(r->items[0].output, "");
    assert_string_equal(r->items[1].output, "2nd");
    weir_results_free(r);
    r = run_command(piped, true, "a\0b", 3, engine);
    assert_int_equal(r->items[0].output_len, 3);
    assert_memory_equal(r->items[0].output, "a\0b", 3);
    weir_results_free(r);
    r = run_command(fails, false, "", 0, engine);
    assert_int_equal(r->items[0].outcome, WEIR_OUTCOME_FAILED);
    assert_int_equal(r->items[0].reason, WEIR_REASON_EXIT_STATUS);
    assert_int_equal(r->items[0].status, 3);
    assert_string_equal(r->items[0].output, "out\n");
    assert_string_equal(r->items[0].error_output, "oops\n");
    assert_non_null(strstr(r->items[0].message, "oops"));
    weir_results_free(r);
    r = run_command(added, false, "a\0b", 3, engine);
    assert_int_equal(r->items[0].reason, WEIR_REASON_BAD_ROW);
    assert_int_equal(r->items[1].outcome, WEIR_OUTCOME_OK);
    weir_results_free(r);
    ok(weir_close(engine, &err));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_goes_through_workers_in_order),
        cmocka_unit_test(data_that_is_not_json_is_refused_when_it_is_added),
        cmocka_unit_test(a_call_gives_what_the_worker_answered),
        cmocka_unit_test(a_session_stays_with_its_worker_and_says_when_it_was_lost),
        cmocka_unit_test(workers_can_be_looked_at),
        cmocka_unit_test(a_hanging_worker_is_killed_when_its_time_is_up),
        cmocka_unit_test(nobody_free_in_time_is_a_reply_that_says_so),
        cmocka_unit_test(what_a_worker_says_is_told_line_by_line),
        cmocka_unit_test(a_shutdown_that_does_not_wait_lets_busy_workers_wind_up),
        cmocka_unit_test(a_stop_ends_busy_workers_and_the_pool_goes_on),
        cmocka_unit_test(a_fallback_pool_gets_what_fails_for_good),
        cmocka_unit_test(wrong_options_are_named),
        cmocka_unit_test(a_command_runs_for_each_row),
    };

    if (argc > 1 && strcmp(argv[1], "worker") == 0)
        return be_worker();
    self = argv[0];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
