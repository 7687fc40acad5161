/*
 * The process executor on a real loop with real processes: this program itself, started again as a
 * worker that misbehaves on command (process_test.h). Each test waits for reports or events, with a
 * deadline, and not for time to pass; and after each there are no more descriptors and no more
 * children than before.
 *
 * run-tests: waits
 */
#include "process_test.h"

/* ---- what works ---- */

static void a_request_comes_back_as_the_workers_result(void **state)
{
    struct world *w = world_open(2);
    struct core_attempt *a, *b, *c;
    struct instant before = on_now(&w->host);

    (void)state;
    a = put(w, "echo", "{\"x\" : 1.0, \"y\": [1e400, \"\\u00e9\"]}");
    b = put(w, NULL, "");
    c = put(w, "length", "[1, 2]");
    await(w, 3);
    assert_ok(a, "{\"x\" : 1.0, \"y\": [1e400, \"\\u00e9\"]}"); /* byte for byte */
    assert_ok(b, "null");
    assert_ok(c, "6");
    assert_true(a->answer.started_at.ns >= before.ns);
    assert_true(a->answer.ended_at.ns >= a->answer.started_at.ns);
    while (counts(w).by_state[WORKER_READY] < 2)
        turn(w);
    world_close(w);
}

static void a_request_says_what_the_protocol_says(void **state)
{
    struct world *w = world_open(1);
    struct affinity *sessions = crew_affinity(w->crew);
    struct session *s = affinity_find(sessions, "user 7", 6, on_now(&w->host));
    _cleanup_buf_ struct buf text = {0};
    struct core_attempt *a;

    (void)state;
    w->attempts[0].session = s;
    a = put(w, "request", "{ }");
    await(w, 1);
    assert_ok(a, NULL);
    json_unquote(slice_of(a->answer.output), &text);
    assert_has(text.data, "\"command\":\"request\"");
    assert_has(text.data, "\"session\":\"user 7\"");
    assert_has(text.data, "\"args\":{ }");
    assert_has(text.data, "\"timestamp\":\"20");
    assert_null(strstr(text.data, "session_lost"));
    affinity_leave(sessions, s, on_now(&w->host));
    world_close(w);
}

static void a_session_that_was_lost_says_so(void **state)
{
    struct world *w = world_open(1);
    struct affinity *sessions = crew_affinity(w->crew);
    struct session *s = affinity_find(sessions, "s", 1, on_now(&w->host));

    (void)state;
    for (int i = 0; i < 3; i++)
        w->attempts[i].session = s;
    put(w, "echo", "1");
    await(w, 1);
    put(w, "exit", "3");
    await(w, 2);
    put(w, "request", "3");
    await(w, 3);
    assert_has(w->attempts[2].answer.output, "session_lost\\\":true");
    affinity_leave(sessions, s, on_now(&w->host));
    world_close(w);
}

static void many_requests_go_through_few_workers(void **state)
{
    struct world *w = world_open(3);
    char args[ATTEMPTS_MAX][32];

    (void)state;
    for (int i = 0; i < ATTEMPTS_MAX; i++) {
        snprintf(args[i], sizeof args[i], "{\"row\": %d}", i);
        put(w, "echo", args[i]);
    }
    await(w, ATTEMPTS_MAX);
    for (int i = 0; i < ATTEMPTS_MAX; i++)
        assert_ok(&w->attempts[i], args[i]);
    assert_int_equal(counts(w).started, 3);
    world_close(w);
}

static void a_worker_that_says_so_has_several_in_flight(void **state)
{
    struct world *w = world_new(2);

    (void)state;
    w->options.crew.max_in_flight = 16;
    set_program(w, "max_in_flight=8", NULL);
    world_start(w);
    for (int i = 0; i < ATTEMPTS_MAX; i++)
        put(w, "echo", "[1, 2, 3]");
    await(w, ATTEMPTS_MAX);
    for (int i = 0; i < ATTEMPTS_MAX; i++)
        assert_ok(&w->attempts[i], "[1, 2, 3]");
    /* Answers that came together were handed on together. */
    assert_true(w->report_calls <= ATTEMPTS_MAX);
    world_close(w);
}

static void large_args_and_results_pass_whole(void **state)
{
    static const size_t sizes[] = {2, 4096, 65536, 262144, 1000001, 16 << 20};
    struct world *w = world_open(1);

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        put_large(w, "echo", sizes[i]);
    await(w, w->used);
    for (size_t i = 0; i < w->used; i++) {
        assert_ok(&w->attempts[i], NULL);
        assert_int_equal(w->attempts[i].answer.output_len, sizes[i]);
        assert_memory_equal(w->attempts[i].answer.output, w->args[i], sizes[i]);
    }
    world_close(w);
}

/* Large and small ones, one behind the other in one worker's pipe. */
static void requests_of_all_sizes_share_a_pipe(void **state)
{
    static const size_t sizes[] = {2, 70000, 100, 300000, 8192, 8191, 65536, 3};
    struct world *w = world_new(1);

    (void)state;
    w->options.crew.max_in_flight = 64;
    set_program(w, "max_in_flight=64", NULL);
    world_start(w);
    for (size_t i = 0; i < 200; i++)
        put_large(w, "length", sizes[i % 8]);
    await(w, 200);
    for (size_t i = 0; i < 200; i++) {
        char expected[32];

        snprintf(expected, sizeof expected, "%zu", sizes[i % 8]);
        assert_ok(&w->attempts[i], expected);
    }
    world_close(w);
}

static void a_response_may_come_byte_by_byte(void **state)
{
    struct world *w = world_open(1);

    (void)state;
    put(w, "slowly", "\"some text that is not very long\"");
    await(w, 1);
    assert_ok(&w->attempts[0], "\"some text that is not very long\"");
    world_close(w);
}

static void a_worker_knows_its_id_and_pool(void **state)
{
    char mine[] = "MINE=yes", pool[] = "WEIR_POOL=no", *const env[] = {mine, pool, NULL};
    struct world *w = world_new(1);

    (void)state;
    w->options.env = env;
    world_start(w);
    put(w, "env", "[\"WEIR_WORKER\", \"WEIR_POOL\", \"MINE\", \"NOT_SET_AT_ALL\"]");
    await(w, 1);
    assert_ok(&w->attempts[0], "[\"1\",\"crewed\",\"yes\",null]");
    world_close(w);
}

/* ---- errors that workers report ---- */

static void an_error_is_a_failure_of_the_request_alone(void **state)
{
    struct world *w = world_open(1);

    (void)state;
    put(w, "error", "{\"type\": \"ValueError\", \"message\": \"no such thing\"}");
    put(w, "error", "{\"message\": \"later\", \"retryable\": true}");
    put(w, "error", "\"just text\"");
    put(w, "echo", "1");
    await(w, 4);
    assert_ended(&w->attempts[0], WEIR_OUTCOME_FAILED, WEIR_REASON_WORKER_ERROR,
                 "ValueError: no such thing");
    assert_false(w->attempts[0].answer.retryable);
    assert_true(w->attempts[1].answer.retryable);
    assert_ended(&w->attempts[2], WEIR_OUTCOME_FAILED, WEIR_REASON_WORKER_ERROR, "just text");
    assert_ok(&w->attempts[3], "1");
    assert_int_equal(counts(w).started, 1); /* the worker stays */
    world_close(w);
}

static void being_full_is_no_failure(void **state)
{
    struct world *w = world_open(1);

    (void)state;
    put(w, "error", "{\"type\": \"Busy\", \"capacity\": true, \"retry_after\": 2.5}");
    await(w, 1);
    assert_ended(&w->attempts[0], WEIR_OUTCOME_CAPACITY, WEIR_REASON_WORKER_ERROR, "Busy");
    assert_int_equal(w->attempts[0].answer.advice.retry_after_ns, 2500 * NS_PER_MS);
    world_close(w);
}

/* ---- the protocol broken ---- */

static void what_breaks_the_protocol_ends_that_worker_only(void **state)
{
    static const char *const cases[][3] = {
        {"garbage", "\"Loading model...\\n\"",
         "broke the protocol: it wrote what is not a frame; its first bytes were \"Loading "
         "model...\\n\": something in it printed to standard output"},
        {"unknown", "1", "it answered request 123456789, which was not sent to it"},
        {"no_json", "1", "is not JSON: the text ends too early, at byte 7"},
        {"no_object", "1", "is JSON, but not an object; the first bytes were \"[1]\""},
        {"no_id", "1", "its response has no \"id\""},
        {"no_success", "1", "neither success nor error"},
        {"huge", "1", "broke the protocol: it wrote what is not a frame"},
        {"flood_out", "1", "which was not sent to it or is answered already"},
    };
    struct world *w = world_open(2);

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct core_attempt *bad, *good;

        bad = put(w, cases[i][0], cases[i][1]);
        good = put(w, "echo", "\"beside it\"");
        await(w, w->used);
        if (strcmp(cases[i][0], "huge") == 0)
            assert_ended(bad, WEIR_OUTCOME_LOST, WEIR_REASON_WORKER_PROTOCOL,
                         "a frame of 4294967295 bytes, over the limit of 67108864");
        else
            assert_ended(bad, WEIR_OUTCOME_LOST, WEIR_REASON_WORKER_PROTOCOL, cases[i][2]);
        assert_true(bad->answer.retryable);
        assert_ok(good, "\"beside it\"");
    }
    put(w, "echo", "\"and after\"");
    await(w, w->used);
    assert_ok(&w->attempts[w->used - 1], "\"and after\"");
    assert_int_equal(counts(w).killed, sizeof cases / sizeof *cases);
    world_close(w);
}

static void an_answer_given_twice_counts_once(void **state)
{
    struct world *w = world_open(1);
    struct core_attempt *a, *b;

    (void)state;
    a = put(w, "twice", "[7]");
    b = put(w, "echo", "8");
    await(w, 2);
    assert_ok(a, "[7]");
    /* Whether the second one came before the next request was given or after it is chance. */
    if (b->answer.outcome == WEIR_OUTCOME_OK)
        assert_ok(b, "8");
    else
        assert_ended(b, WEIR_OUTCOME_LOST, WEIR_REASON_WORKER_PROTOCOL, "is answered already");
    while (counts(w).killed < 1)
        turn(w);
    world_close(w);
}

static void an_answer_to_what_was_not_sent_whole_is_none(void **state)
{
    struct world *w = world_new(1);

    (void)state;
    w->options.crew.max_in_flight = 1;
    set_program(w, "hasty", NULL);
    world_start(w);
    put_large(w, "length", 8 << 20);
    await(w, 1);
    assert_ended(&w->attempts[0], WEIR_OUTCOME_LOST, WEIR_REASON_WORKER_PROTOCOL,
                 "it answered request 2, which was not sent to it or is answered already");
    world_close(w);
}

static void all_that_a_bad_worker_has_in_hand_is_lost_or_goes_elsewhere(void **state)
{
    struct world *w = world_of_one("max_in_flight=8", 8);

    (void)state;
    put(w, "garbage", "\"oops, printed\\n\"");
    for (int i = 0; i < 7; i++)
        put(w, "echo", "1");
    await(w, 8);
    assert_ended(&w->attempts[0], WEIR_OUTCOME_LOST, WEIR_REASON_WORKER_PROTOCOL, "oops, printed");
    for (int i = 1; i < 8; i++)
        assert_ok(&w->attempts[i], "1"); /* it had not read them: they have not begun */
    assert_int_equal(w->dispatcher.not_begun, 7);
    world_close(w);
}

static void a_worker_that_prints_at_its_start_is_told_so(void **state)
{
    struct world *w = world_new(1);

    (void)state;
    set_program(w, "print=Loading model...", NULL);
    world_start(w);
    await_lines(w, 1);
    assert_has(w->last_line, "weir: broke the protocol: it wrote what is not a frame; its first "
                             "bytes were \"Loading model...");
    assert_int_equal(counts(w).failed_starts, 1);
    world_close(w);
}

/* ---- ends ---- */

static void an_exit_says_how_and_with_what_last_words(void **state)
{
    struct world *w = world_new(1);

    (void)state;
    w->options.crew.restart.initial_ns = 1 * NS_PER_MS;
    world_start(w);
    put(w, "exit", "5");
    put(w, "say_and_exit", "\"Traceback:\\n  MemoryError: no room for the model\\n\\n\"");
    put(w, "signal", "10");
    put(w, "half_and_exit", "\"0123456789\"");
    put(w, "echo", "1");
    await(w, 5);
    assert_ended(&w->attempts[0], WEIR_OUTCOME_LOST, WEIR_REASON_WORKER_LOST, "worker 1 (pid ");
    assert_ended(&w->attempts[0], WEIR_OUTCOME_LOST, WEIR_REASON_WORKER_LOST,
                 ") exited with status 5 while it had the request");
    assert_ended(&w->attempts[1], WEIR_OUTCOME_LOST, WEIR_REASON_WORKER_LOST,
                 "exited with status 1 while it had the request; its last words:   MemoryError: no "
                 "room for the model");
    assert_ended(&w->attempts[2], WEIR_OUTCOME_LOST, WEIR_REASON_WORKER_LOST,
                 "was ended by signal 10 (SIGUSR1)");
    assert_ended(&w->attempts[3], WEIR_OUTCOME_LOST, WEIR_REASON_WORKER_LOST,
                 "its output ended after ");
    assert_true(w->attempts[0].answer.retryable);
    assert_ok(&w->attempts[4], "1");
    assert_int_equal(counts(w).lost, 4);
    world_close(w);
}

static void an_answer_that_came_before_the_exit_counts(void **state)
{
    struct world *w = world_open(1);

    (void)state;
    for (int i = 0; i < 20; i++)
        put(w, "answer_and_exit", "0");
    await(w, 20);
    for (int i = 0; i < 20; i++)
        assert_ok(&w->attempts[i], "0");
    world_close(w);
}

/* Its end is known by the process, not by its output: a child of it holds that. */
static void a_child_left_behind_does_not_hide_the_end(void **state)
{
    struct world *w = world_open(1);
    pid_t left;

    (void)state;
    put(w, "fork_and_exit", "0");
    await(w, 1);
    assert_ended(&w->attempts[0], WEIR_OUTCOME_LOST, WEIR_REASON_WORKER_LOST,
                 "exited with status 0");
    put(w, "fork", "0");
    await(w, 2);
    assert_ok(&w->attempts[1], NULL);
    left = (pid_t)atoi(w->attempts[1].answer.output);
    assert_int_equal(kill(left, 0), 0);
    put(w, "exit", "0");
    await(w, 3);
    /* Of the worker's group nobody is left; whoever reaps it here is not us. */
    while (kill(left, 0) == 0) {
        char path[64], *text;
        bool zombie;

        snprintf(path, sizeof path, "/proc/%d/stat", (int)left);
        if (access(path, R_OK) != 0)
            break;
        text = testkit_file_read(path, NULL);
        zombie = strstr(text, ") Z ") || strstr(text, ") X ");
        testkit_free(text);
        if (zombie)
            break;
        poke(w);
    }
    world_close(w);
}

static void a_worker_that_closes_its_output_or_input_is_replaced(void **state)
{
    struct world *w = world_open(1);

    (void)state;
    put(w, "close_out", "0");
    put(w, "echo", "1");
    await(w, 2);
    assert_ended(&w->attempts[0], WEIR_OUTCOME_LOST, WEIR_REASON_WORKER_LOST,
                 "closed its standard output");
    assert_ok(&w->attempts[1], "1");
    world_close(w);
}

static void what_could_not_be_given_goes_elsewhere_and_does_not_count(void **state)
{
    struct world *w = world_of_one("max_in_flight=2", 2);

    (void)state;
    put(w, "close_in", "0");
    put(w, "echo", "1"); /* stays in the pipe, or does not even get there */
    await(w, 2);
    assert_ended(&w->attempts[0], WEIR_OUTCOME_LOST, WEIR_REASON_WORKER_LOST,
                 "closed its standard input");
    assert_ok(&w->attempts[1], "1");
    assert_int_equal(w->dispatcher.not_begun, 1);
    world_close(w);
}

/* ---- cancelling ---- */

static void a_cancel_kills_the_worker_and_reports_at_once(void **state)
{
    struct world *w = world_open(1);

    (void)state;
    await_ready(w, 1);
    put(w, "hang_held", "0");
    put(w, "half", "\"12345678\"");
    for (size_t i = 0; i < 2; i++) {
        while (w->dispatcher.queued > 1 - i)
            poke(w);
        /* It may have read it or not. */
        for (size_t n = 0; n < 5 * i; n++)
            uv_run(&w->loop, UV_RUN_NOWAIT);
        w->ex->ops->cancel(w->ex, &w->attempts[i]);
        assert_int_equal(w->reported, i + 1);
        assert_int_equal(w->attempts[i].answer.outcome, WEIR_OUTCOME_CANCELLED);
    }
    put(w, "echo", "1");
    await(w, 3);
    assert_ok(&w->attempts[2], "1");
    assert_int_equal(counts(w).killed, 2);
    world_close(w);
}

static void the_others_of_a_killed_worker_are_lost_or_go_elsewhere(void **state)
{
    struct world *w = world_of_one("max_in_flight=4", 4);

    (void)state;
    put(w, "hang", "0");
    for (int i = 0; i < 3; i++)
        put(w, "echo", "1");
    give_all(w);
    w->ex->ops->cancel(w->ex, &w->attempts[0]);
    await(w, 4);
    assert_int_equal(w->attempts[0].answer.outcome, WEIR_OUTCOME_CANCELLED);
    for (int i = 1; i < 4; i++) {
        if (w->attempts[i].answer.outcome != WEIR_OUTCOME_OK)
            assert_ended(&w->attempts[i], WEIR_OUTCOME_LOST, WEIR_REASON_WORKER_LOST,
                         "was killed, for another request to it was cancelled or timed out");
    }
    world_close(w);
}

/* Others are in front of it and behind it, and nobody reads. */
static void what_was_not_sent_is_taken_back_and_costs_nobody_anything(void **state)
{
    static const size_t sizes[] = {1 << 20, 20, 20000, 30, 20001, 10};
    struct world *w = world_of_one("max_in_flight=8", 8);
    pid_t pid;

    (void)state;
    pid = pid_of_worker(w);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    for (size_t i = 0; i < 6; i++)
        put_large(w, "echo", sizes[i]);
    give_all(w);
    poke(w);
    w->ex->ops->cancel(w->ex, &w->attempts[2]);
    w->ex->ops->cancel(w->ex, &w->attempts[1]);
    assert_int_equal(w->reported, 2);
    assert_int_equal(kill(pid, SIGCONT), 0);
    await(w, 6);
    for (size_t i = 0; i < 6; i++) {
        if (i == 1 || i == 2) {
            assert_int_equal(w->attempts[i].answer.outcome, WEIR_OUTCOME_CANCELLED);
            continue;
        }
        assert_ok(&w->attempts[i], NULL);
        assert_int_equal(w->attempts[i].answer.output_len, sizes[i]);
    }
    assert_int_equal(counts(w).killed, 0);
    world_close(w);
}

/* Unlike one that timed out, a worker whose request is not wanted any more may clean up, and even answer. */
static void a_stop_tells_a_busy_worker_and_gives_it_its_grace(void **state)
{
    struct world *w = world_new(1);

    (void)state;
    w->options.crew.term_grace_ns = 3600 * NS_PER_S;
    world_start(w);
    put(w, "until_term", "7");
    await_lines(w, 1);
    wind_up(w, &w->attempts[0]);
    wind_up(w, &w->attempts[0]); /* harmless */
    assert_int_equal(w->reported, 0);
    await(w, 1);
    assert_ok(&w->attempts[0], "7");
    await_lines(w, 2);
    assert_has(w->log.data, "told to end");
    put(w, "echo", "1");
    await(w, 2);
    assert_ok(&w->attempts[1], "1");
    assert_int_equal(counts(w).killed + counts(w).lost, 0);
    world_close(w);
}

static void a_busy_worker_that_stays_after_a_stop_is_killed_when_its_grace_is_over(void **state)
{
    struct world *w = world_new(1);

    (void)state;
    w->options.crew.shutdown_grace_ns = w->options.crew.term_grace_ns = 20 * NS_PER_MS;
    set_program(w, "stubborn", NULL);
    world_start(w);
    put(w, "hang", "0");
    put(w, "echo", "1"); /* its replacement need not wait for its end */
    while (w->dispatcher.queued > 1)
        poke(w);
    wind_up(w, &w->attempts[0]);
    await(w, 2);
    assert_ended(&w->attempts[0], WEIR_OUTCOME_LOST, WEIR_REASON_WORKER_LOST,
                 "was ended by signal 9 (SIGKILL)");
    assert_ok(&w->attempts[1], "1");
    world_close(w);
}

/* Of two that it has read one times out: the other one is lost through no fault of its own. Its own end is its own. */
static void what_is_lost_because_of_another_request_says_so(void **state)
{
    struct world *w = world_of_one("max_in_flight=2", 2);

    (void)state;
    put(w, "swallow", "0");
    put(w, "swallow", "1");
    await_lines(w, 2);
    w->ex->ops->cancel(w->ex, &w->attempts[0]);
    await(w, 2);
    assert_ended(&w->attempts[1], WEIR_OUTCOME_LOST, WEIR_REASON_WORKER_LOST,
                 "was killed, for another request to it was cancelled or timed out");
    assert_true(w->attempts[1].answer.bystander);
    put(w, "exit", "3");
    await(w, 3);
    assert_false(w->attempts[2].answer.bystander);
    world_close(w);
}

/* ---- what one worker does to the others ---- */

static void a_worker_that_stops_reading_blocks_nobody(void **state)
{
    struct world *w = world_new(2);
    struct core_attempt *stuck;

    (void)state;
    w->options.crew.max_in_flight = 2;
    w->options.crew.order = CREW_FIFO;
    set_program(w, "max_in_flight=2", NULL);
    world_start(w);
    await_ready(w, 2);
    put(w, "hang", "0");
    put(w, "hang", "0");
    put_large(w, "length", 60 << 20); /* behind one that is not over: only its beginning is taken */
    stuck = &w->attempts[2];
    give_all(w);
    w->ex->ops->cancel(w->ex, &w->attempts[stuck->worker == w->attempts[0].worker ? 1 : 0]);
    for (int i = 0; i < 100; i++)
        put(w, "echo", "1");
    await(w, 101);
    assert_false(is_reported(w, stuck));
    for (size_t i = 3; i < w->used; i++)
        assert_ok(&w->attempts[i], "1");
    w->ex->ops->cancel(w->ex, stuck);
    await(w, w->used);
    world_close(w);
}

static void a_flood_on_standard_error_starves_nobody(void **state)
{
    struct world *w = world_open(2);

    (void)state;
    put(w, "flood", "0");
    await_lines(w, 1000);
    for (int i = 0; i < 100; i++)
        put(w, "echo", "1");
    await(w, 100);
    assert_false(is_reported(w, &w->attempts[0]));
    w->ex->ops->cancel(w->ex, &w->attempts[0]);
    world_close(w);
}

static void standard_error_is_told_line_by_line(void **state)
{
    struct world *w = world_open(1);
    _cleanup_buf_ struct buf line = {0};

    (void)state;
    put(w, "say", "\"one\\ntwo\\n\\n\\u0000three\"");
    await_lines(w, 4);
    assert_has(w->log.data, "\none\ntwo\n\n three\n");
    w->longest_line = 0;
    buf_putc(&line, '"');
    for (int i = 0; i < 3 * PROCESS_LINE_BYTES_MAX; i++)
        buf_putc(&line, (char)('a' + i % 26));
    buf_putc(&line, '"');
    put(w, "say", line.data);
    await_lines(w, 7); /* in three pieces, with no empty one */
    put(w, "say", "\"after it\"");
    await_lines(w, 8);
    await(w, 3);
    assert_int_equal(w->longest_line, PROCESS_LINE_BYTES_MAX);
    assert_string_equal(w->last_line, "after it");
    assert_int_equal(w->lines, 8);
    world_close(w);
}

/* ---- starting ---- */

static void a_program_that_is_not_there_is_named(void **state)
{
    struct world *w = world_new(1);

    (void)state;
    w->words[0] = (char *)(uintptr_t) "/nowhere/at/all";
    world_start(w);
    await_lines(w, 1);
    assert_has(w->last_line, "weir: cannot run '/nowhere/at/all': No such file or directory");
    assert_int_equal(counts(w).failed_starts, 1);
    world_close(w);
}

static void a_program_that_exits_at_its_start_is_paused_and_holds_nobody_up(void **state)
{
    struct world *w = world_new(2);

    (void)state;
    set_program(w, "say=cannot load the model", "exit=7");
    world_start(w);
    while (counts(w).failed_starts < 2)
        turn(w);
    assert_has(w->log.data, "exited with status 7; its last words: cannot load the model");
    world_close(w); /* without waiting for the pause */
}

static void a_worker_that_never_answers_its_first_ping_is_ended(void **state)
{
    static const char *const words[] = {"deaf", "mute", "sick"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct world *w = world_new(1);

        if (i < 2)
            w->options.crew.init_timeout_ns = 50 * NS_PER_MS;
        set_program(w, words[i], NULL);
        world_start(w);
        while (w->moves < 1)
            turn(w);
        assert_int_equal(counts(w).failed_starts, 1);
        assert_has(w->log.data, i == 2 ? "Sick: not today" : "did not answer its first ping");
        world_close(w);
    }
}

/* ---- ending in good order ---- */

static void workers_end_by_themselves_when_the_pool_is_closed(void **state)
{
    static const char *const words[] = {NULL, "clumsy"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct world *w = world_new(3);

        /* Nobody has to be signalled, or this would take for ever. */
        w->options.crew.shutdown_grace_ns = 3600 * NS_PER_S;
        set_program(w, words[i], NULL);
        world_start(w);
        put(w, "echo", "1");
        while (counts(w).ready_once < 3 || w->reported < 1)
            turn(w);
        buf_clear(&w->log);
        world_close(w);
    }
}

static void a_stubborn_worker_is_killed_after_its_graces(void **state)
{
    struct world *w = world_new(1);

    (void)state;
    w->options.crew.shutdown_grace_ns = 20 * NS_PER_MS;
    w->options.crew.term_grace_ns = 20 * NS_PER_MS;
    set_program(w, "stubborn", NULL);
    world_start(w);
    put(w, "echo", "1");
    await(w, 1);
    world_close(w);
}

static void a_pool_can_be_closed_while_its_workers_start(void **state)
{
    (void)state;
    for (int turns = 0; turns < 6; turns++) {
        struct world *w = world_open(8);

        for (int i = 0; i < turns; i++)
            uv_run(&w->loop, UV_RUN_NOWAIT);
        world_close(w);
    }
}

/* ---- kills, descriptors ---- */

static void kills_at_random_lose_no_row_and_double_none(void **state)
{
    enum { ROWS = 700, KILLS = 300 };
    struct world *w = world_new(4);
    size_t ok = 0, looked_at = 0, killed = 0;
    uint64_t dice = 1;

    (void)state;
    w->options.crew.max_in_flight = 4;
    w->options.crew.restart.initial_ns = 1 * NS_PER_MS;
    w->options.crew.restart.ceiling_ns = 1 * NS_PER_MS;
    set_program(w, "max_in_flight=4", NULL);
    world_start(w);
    for (int i = 0; i < ROWS; i++)
        put(w, "echo", "\"a row\"");
    while (ok < ROWS) {
        poke(w);
        dice = dice * 6364136223846793005 + 1442695040888963407;
        if (killed < KILLS && killed * ROWS <= w->reported * KILLS)
            killed += kill_any(w, dice >> 33);
        for (; looked_at < w->used && is_reported(w, &w->attempts[looked_at]); looked_at++) {
            const struct core_attempt *a = &w->attempts[looked_at];

            if (a->answer.outcome == WEIR_OUTCOME_OK) {
                assert_ok(a, "\"a row\"");
                ok++;
            } else {
                assert_ended(a, WEIR_OUTCOME_LOST, WEIR_REASON_WORKER_LOST,
                             "was ended by signal 9 (SIGKILL) while it had the request");
                put(w, "echo", "\"a row\"");
            }
        }
    }
    assert_int_equal(w->reported, w->used);
    /* A worker that is not gone yet can be hit again. */
    assert_in_range(counts(w).lost + counts(w).failed_starts, KILLS / 6, killed);
    world_close(w);
}

static void a_lack_of_descriptors_is_survived(void **state)
{
    struct rlimit before, few;
    struct world *w = world_new(1);

    (void)state;
    w->options.crew.restart.initial_ns = 1 * NS_PER_MS;
    w->options.crew.restart.ceiling_ns = 1 * NS_PER_MS;
    world_start(w);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    /* From none to a few that are left: each step of a start has its turn to fail. */
    for (rlim_t left = 0; left < 8; left++) {
        uint64_t failed = counts(w).failed_starts;

        few = before;
        few.rlim_cur = count_fds() - 3 + left; /* "." and "..", and the folder itself */
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        while (counts(w).failed_starts == failed && counts(w).ready_once == 0)
            turn(w);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        if (counts(w).ready_once > 0)
            break;
        assert_has(w->log.data, "weir: cannot ");
    }
    put(w, "echo", "1");
    await(w, 1);
    assert_ok(&w->attempts[0], "1");
    assert_true(counts(w).failed_starts >= 4);
    world_close(w);
}

/* ---- limits, memory ---- */

static void args_over_the_limit_are_a_bad_row(void **state)
{
    struct world *w = world_new(1);

    (void)state;
    w->options.frame_max_bytes = 2000;
    world_start(w);
    put_large(w, "length", 3000);
    put(w, "echo", "1");
    await(w, 2);
    assert_ended(&w->attempts[0], WEIR_OUTCOME_FAILED, WEIR_REASON_BAD_ROW,
                 "bytes, over the limit of 2000: raise the limit on frames");
    assert_false(w->attempts[0].answer.retryable);
    assert_ok(&w->attempts[1], "1");
    assert_int_equal(counts(w).started, 1);
    world_close(w);
}

static void a_worker_that_eats_memory_is_recycled(void **state)
{
    struct world *w = world_new(1);

    (void)state;
    w->options.crew.recycle_memory_bytes = UINT64_C(200) << 20;
    world_start(w);
    put(w, "eat", "300");
    await(w, 1);
    assert_ok(&w->attempts[0], "1");
    put(w, "echo", "2");
    await(w, 2);
    assert_ok(&w->attempts[1], "2");
    assert_int_equal(counts(w).recycled, 1);
    assert_int_equal(counts(w).started, 2);
    world_close(w);
}

static void bad_options_are_refused(void **state)
{
    char bad[] = "=x", *const bad_env[] = {bad, NULL};
    char *const none[] = {NULL};
    struct weir_error err;
    struct world *w = world_new(1);

    (void)state;
    w->options.argv = none;
    assert_false(world_try(w, &err));
    assert_has(err.message, "no program is named");
    set_program(w, NULL, NULL);
    w->options.frame_max_bytes = UINT64_C(1) << 32;
    assert_false(world_try(w, &err));
    assert_has(err.message, "the limit on frames is 4294967296 bytes");
    w->options.frame_max_bytes = 10;
    assert_false(world_try(w, &err));
    w->options.frame_max_bytes = PROCESS_FRAME_BYTES_DEFAULT;
    w->options.env = bad_env;
    assert_false(world_try(w, &err));
    assert_has(err.message, "'=x' is no variable");
    w->options.env = NULL;
    w->options.crew.size = 0;
    assert_false(world_try(w, &err));
    uv_close((uv_handle_t *)&w->dispatcher.prepare, NULL);
    uv_close((uv_handle_t *)&w->dispatcher.timer, NULL);
    world_close_handles(w);
    free(w);
}

static void without_memory_nothing_is_made(void **state)
{
    (void)state;
    for (unsigned long n = 1;; n++) {
        struct world *w = world_new(2);
        struct weir_error err;
        bool made;

        mem_fail_at(n);
        made = world_try(w, &err);
        mem_fail_at(0);
        if (made) {
            world_close(w);
            break;
        }
        assert_true(n < 100);
        assert_int_equal(err.status, WEIR_E_NOMEM);
        uv_close((uv_handle_t *)&w->dispatcher.prepare, NULL);
        uv_close((uv_handle_t *)&w->dispatcher.timer, NULL);
        world_close_handles(w);
        assert_int_equal(count_fds(), w->fds_before);
        assert_no_children();
        free(w);
    }
}

/* Whatever allocation fails, from the start of the workers to their end, each attempt is reported once and nothing is left. */
static void any_lack_of_memory_is_survived(void **state)
{
    bool failed = true;

    (void)state;
    for (unsigned long n = 1; failed; n++) {
        struct world *w = world_new(2);

        w->options.crew.restart.initial_ns = 1 * NS_PER_MS;
        w->options.crew.init_timeout_ns = 1 * NS_PER_S; /* a ping that could not be sent */
        w->options.crew.shutdown_grace_ns = 100 * NS_PER_MS;
        world_start(w);
        mem_fail_at(n);
        put(w, "echo", "[\"a result that is longer than what fits into an answer itself\"]");
        put_large(w, "echo", 200000);
        put(w, "error", "\"text\"");
        put(w, "say", "\"text\"");
        put(w, "exit", "1");
        await(w, 5);
        failed = mem_has_failed() != 0;
        mem_fail_at(0);
        for (size_t i = 0; i < 5; i++)
            assert_int_not_equal(w->attempts[i].answer.reason, WEIR_REASON_NO_OUTCOME);
        world_close(w);
        assert_true(n < 300);
    }
}

/* What the library opens once and for all is no leak. */
static int use_loop_once(void **state)
{
    uv_loop_t loop;

    (void)state;
    return uv_loop_init(&loop) || uv_loop_close(&loop);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_comes_back_as_the_workers_result),
        cmocka_unit_test(a_request_says_what_the_protocol_says),
        cmocka_unit_test(a_session_that_was_lost_says_so),
        cmocka_unit_test(many_requests_go_through_few_workers),
        cmocka_unit_test(a_worker_that_says_so_has_several_in_flight),
        cmocka_unit_test(large_args_and_results_pass_whole),
        cmocka_unit_test(requests_of_all_sizes_share_a_pipe),
        cmocka_unit_test(a_response_may_come_byte_by_byte),
        cmocka_unit_test(a_worker_knows_its_id_and_pool),
        cmocka_unit_test(an_error_is_a_failure_of_the_request_alone),
        cmocka_unit_test(being_full_is_no_failure),
        cmocka_unit_test(what_breaks_the_protocol_ends_that_worker_only),
        cmocka_unit_test(an_answer_given_twice_counts_once),
        cmocka_unit_test(an_answer_to_what_was_not_sent_whole_is_none),
        cmocka_unit_test(all_that_a_bad_worker_has_in_hand_is_lost_or_goes_elsewhere),
        cmocka_unit_test(a_worker_that_prints_at_its_start_is_told_so),
        cmocka_unit_test(an_exit_says_how_and_with_what_last_words),
        cmocka_unit_test(an_answer_that_came_before_the_exit_counts),
        cmocka_unit_test(a_child_left_behind_does_not_hide_the_end),
        cmocka_unit_test(a_worker_that_closes_its_output_or_input_is_replaced),
        cmocka_unit_test(what_could_not_be_given_goes_elsewhere_and_does_not_count),
        cmocka_unit_test(a_cancel_kills_the_worker_and_reports_at_once),
        cmocka_unit_test(the_others_of_a_killed_worker_are_lost_or_go_elsewhere),
        cmocka_unit_test(what_is_lost_because_of_another_request_says_so),
        cmocka_unit_test(what_was_not_sent_is_taken_back_and_costs_nobody_anything),
        cmocka_unit_test(a_stop_tells_a_busy_worker_and_gives_it_its_grace),
        cmocka_unit_test(a_busy_worker_that_stays_after_a_stop_is_killed_when_its_grace_is_over),
        cmocka_unit_test(a_worker_that_stops_reading_blocks_nobody),
        cmocka_unit_test(a_flood_on_standard_error_starves_nobody),
        cmocka_unit_test(standard_error_is_told_line_by_line),
        cmocka_unit_test(a_program_that_is_not_there_is_named),
        cmocka_unit_test(a_program_that_exits_at_its_start_is_paused_and_holds_nobody_up),
        cmocka_unit_test(a_worker_that_never_answers_its_first_ping_is_ended),
        cmocka_unit_test(workers_end_by_themselves_when_the_pool_is_closed),
        cmocka_unit_test(a_stubborn_worker_is_killed_after_its_graces),
        cmocka_unit_test(a_pool_can_be_closed_while_its_workers_start),
        cmocka_unit_test(kills_at_random_lose_no_row_and_double_none),
        cmocka_unit_test(a_lack_of_descriptors_is_survived),
        cmocka_unit_test(args_over_the_limit_are_a_bad_row),
        cmocka_unit_test(a_worker_that_eats_memory_is_recycled),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(without_memory_nothing_is_made),
        cmocka_unit_test(any_lack_of_memory_is_survived),
    };

    if (worker_is_meant(argc, argv))
        return worker_main(argc, argv);
    return cmocka_run_group_tests(tests, use_loop_once, NULL);
}
