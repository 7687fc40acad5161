/*
 * What the process executor makes known of an attempt while it runs: which worker's process it is
 * with, and the heartbeats that the worker sends of it; what a request says of its attempt; and
 * what goes before a worker's words. Real workers: this program, started again (process_test.h).
 *
 * run-tests: waits
 */
#include "process_test.h"

#include "exec/child/child.h"

#define BEATS_MAX 16

static struct {
    struct core_attempt_began began[BEATS_MAX];
    size_t begun;
    struct {
        uint64_t token;
        double progress;
        char text[CORE_HEARTBEAT_TEXT_MAX + 1];
    } beats[BEATS_MAX];
    size_t beaten;
    size_t reported_before; /* the last one: reports that had come by then */
} told;

static void on_began(struct core_executor_host *host, const struct core_attempt_began *b)
{
    (void)host;
    assert_true(told.begun < BEATS_MAX);
    told.began[told.begun++] = *b;
}

static void on_beat(struct core_executor_host *host, const struct core_heartbeat *b)
{
    struct world *w = (struct world *)host;
    size_t i = told.beaten++;

    assert_true(i < BEATS_MAX && b->text.len <= CORE_HEARTBEAT_TEXT_MAX);
    told.beats[i].token = b->token;
    told.beats[i].progress = b->progress;
    if (b->text.len > 0)
        memcpy(told.beats[i].text, b->text.data, b->text.len);
    told.beats[i].text[b->text.len] = '\0';
    told.reported_before = w->reported;
}

static struct world *told_new(size_t size)
{
    struct world *w = world_new(size);

    memset(&told, 0, sizeof told);
    w->host.began = on_began;
    w->host.beat = on_beat;
    return w;
}

static struct world *told_open(size_t size)
{
    struct world *w = told_new(size);

    world_start(w);
    return w;
}

/* Of the executor behind the smallest dispatcher. */
static struct process_counters counters(struct world *w)
{
    return process_executor_counters(w->dispatcher.inner);
}

static struct core_attempt *put_with(struct world *w, uint64_t token, const char *const *env,
                                     const char *command, const char *args)
{
    w->attempts[w->used].token = token;
    w->attempts[w->used].env = env;
    return put(w, command, args);
}

static void assert_beat(size_t i, uint64_t token, double progress, const char *text)
{
    assert_true(i < told.beaten);
    assert_int_equal(told.beats[i].token, token);
    assert_true(told.beats[i].progress == progress);
    assert_string_equal(told.beats[i].text, text);
}

/* ---- which process ---- */

static void an_attempt_says_with_which_worker_it_is(void **state)
{
    struct world *w = told_open(1);
    struct core_attempt *a = put_with(w, 41, NULL, "pid", "null");
    char expected[32];

    (void)state;
    await(w, 1);
    assert_int_equal(told.begun, 1);
    assert_int_equal(told.began[0].token, 41);
    assert_int_equal(told.began[0].pid, pid_of_worker(w));
    assert_int_equal(told.began[0].pid_start,
                     child_stat((pid_t)told.began[0].pid, CHILD_STAT_START));
    assert_true(told.began[0].pid_start > 0);
    snprintf(expected, sizeof expected, "%lld", (long long)told.began[0].pid);
    assert_ok(a, expected);
    world_close(w);
}

static void what_was_never_sent_has_not_begun(void **state)
{
    struct world *w = told_new(1);
    struct core_attempt *a;

    (void)state;
    w->options.frame_max_bytes = PROCESS_FRAME_BYTES_MIN;
    world_start(w);
    a = put_large(w, "echo", 2 * PROCESS_FRAME_BYTES_MIN);
    await(w, 1);
    assert_ended(a, WEIR_OUTCOME_FAILED, WEIR_REASON_BAD_ROW, "over the limit");
    assert_int_equal(told.begun, 0);
    world_close(w);
}

/* ---- heartbeats ---- */

static void heartbeats_are_told_before_the_answer(void **state)
{
    struct world *w = told_open(1);
    struct core_attempt *a = put_with(
        w, 7, NULL, "beat",
        "[\"{\\\"heartbeat\\\":{\\\"id\\\":#,\\\"progress\\\":0.5,\\\"text\\\":\\\"half of "
        "it\\\"}}\",\"{\\\"heartbeat\\\":{\\\"id\\\":#}}\","
        "\"{\\\"heartbeat\\\":{\\\"id\\\":#,\\\"progress\\\":1.5,\\\"text\\\":3}}\"]");

    (void)state;
    await(w, 1);
    assert_ok(a, "null");
    assert_int_equal(told.beaten, 3);
    assert_beat(0, 7, 0.5, "half of it");
    assert_beat(1, 7, -1, "");
    assert_beat(2, 7, -1, ""); /* what makes no sense is not told, and ends nobody */
    assert_int_equal(told.reported_before, 0);
    assert_int_equal(counters(w).heartbeats, 3);
    assert_int_equal(counters(w).stray_heartbeats, 0);
    world_close(w);
}

static void a_heartbeat_of_another_request_is_ignored_and_counted(void **state)
{
    struct world *w = told_open(1);
    struct core_attempt *a, *b;

    (void)state;
    a = put_with(w, 1, NULL, "echo", "1");
    await(w, 1);
    /* Answered before (the ping has the id 1 and the echo 2), weir's own, and never sent. */
    b = put_with(w, 2, NULL, "beat",
                 "[\"{\\\"heartbeat\\\":{\\\"id\\\":2}}\",\"{\\\"heartbeat\\\":{\\\"id\\\":1}}\","
                 "\"{\\\"heartbeat\\\":{\\\"id\\\":123456}}\"]");
    await(w, 2);
    assert_ok(a, "1");
    assert_ok(b, "null");
    assert_int_equal(told.beaten, 0);
    assert_int_equal(counters(w).stray_heartbeats, 3);
    /* The worker has stayed. */
    assert_int_equal(counts(w).ready_once, 1);
    world_close(w);
}

static void a_heartbeat_without_an_id_breaks_the_protocol(void **state)
{
    static const char *const cases[] = {"[\"{\\\"heartbeat\\\":{\\\"progress\\\":0.5}}\"]",
                                        "[\"{\\\"heartbeat\\\":true}\"]",
                                        "[\"{\\\"heartbeat\\\":{\\\"id\\\":\\\"#\\\"}}\"]",
                                        "[\"{\\\"heartbeat\\\":{\\\"id\\\":0}}\"]"};
    struct world *w = told_open(1);

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct core_attempt *a = put_with(w, i + 1, NULL, "beat", cases[i]);

        await(w, i + 1);
        assert_ended(a, WEIR_OUTCOME_LOST, WEIR_REASON_WORKER_PROTOCOL,
                     "its heartbeat has no \"id\"");
    }
    assert_int_equal(told.beaten, 0);
    world_close(w);
}

static void a_text_is_one_line_and_not_too_long(void **state)
{
    struct world *w = told_open(1);
    _cleanup_buf_ struct buf args = {0};

    (void)state;
    buf_puts(&args,
             "[\"{\\\"heartbeat\\\":{\\\"id\\\":#,\\\"text\\\":\\\"a\\\\nb\\\\u0000c\\\"}}\","
             "\"{\\\"heartbeat\\\":{\\\"id\\\":#,\\\"text\\\":\\\"");
    for (int i = 0; i < 300; i++)
        buf_puts(&args, "\xC3\xA9");
    buf_puts(&args, "\\\"}}\"]");
    put_with(w, 1, NULL, "beat", args.data);
    await(w, 1);
    assert_int_equal(told.beaten, 2);
    assert_beat(0, 1, -1, "a b c");
    /* No character is cut. */
    assert_true(strlen(told.beats[1].text) > CORE_HEARTBEAT_TEXT_MAX - 4);
    assert_int_equal(utf8_valid_prefix(slice_of(told.beats[1].text)), strlen(told.beats[1].text));
    world_close(w);
}

/* A host that does not want to know hears nothing, and nothing else changes. */
static void heartbeats_that_nobody_wants_are_only_counted(void **state)
{
    struct world *w = told_new(1);
    struct core_attempt *a;

    (void)state;
    w->host.began = NULL;
    w->host.beat = NULL;
    world_start(w);
    a = put_with(w, 3, NULL, "beat", "[\"{\\\"heartbeat\\\":{\\\"id\\\":#}}\"]");
    await(w, 1);
    assert_ok(a, "null");
    assert_int_equal(told.begun + told.beaten, 0);
    assert_int_equal(counters(w).heartbeats, 1);
    world_close(w);
}

/* ---- what a request says of its attempt ---- */

static void a_request_has_the_attempts_environment(void **state)
{
    static const char *const env[] = {"WEIR_SLOT=3", "no name", "TEXT=a \"b\"=c\xC3\xA9", NULL};
    static const char *const nothing[] = {"no name", NULL};
    struct world *w = told_open(1);
    _cleanup_buf_ struct buf text = {0};
    struct core_attempt *a = put_with(w, 1, env, "request", "{ }"), *b;

    (void)state;
    await(w, 1);
    assert_ok(a, NULL);
    json_unquote(slice_of(a->answer.output), &text);
    assert_has(text.data,
               "\"env\":{\"WEIR_SLOT\":\"3\",\"TEXT\":\"a \\\"b\\\"=c\xC3\xA9\"},\"args\":{ }");
    b = put_with(w, 2, nothing, "request", "1");
    await(w, 2);
    assert_ok(b, NULL);
    assert_null(strstr(b->answer.output, "env"));
    world_close(w);
}

/* ---- wrappers ---- */

static void a_wrapper_stands_before_the_workers_words(void **state)
{
    static const char *const wrapper[] = {"env", "WRAPPED=by env", NULL};
    struct world *w = told_new(1);
    struct core_attempt *a;

    (void)state;
    w->options.wrapper = wrapper;
    world_start(w);
    a = put(w, "env", "[\"WRAPPED\"]");
    await(w, 1);
    assert_ok(a, "[\"by env\"]");
    world_close(w);
}

/* As ssh does. */
static void words_are_quoted_for_a_wrapper_that_has_a_shell(void **state)
{
    static const char *const wrapper[] = {"sh", "-c", "eval \"exec $*\"", "ssh", NULL};
    struct world *w = told_new(1);
    struct core_attempt *a;

    (void)state;
    w->options.wrapper = wrapper;
    w->options.wrapper_shell = true;
    set_program(w, "say=$(echo no) 'quotes'", NULL);
    world_start(w);
    a = put(w, "echo", "1");
    await(w, 1);
    assert_ok(a, "1");
    await_lines(w, 1);
    assert_has(w->log.data, "$(echo no) 'quotes'");
    world_close(w);
}

static void a_wrapper_without_a_program_is_refused(void **state)
{
    static const char *const wrapper[] = {"", NULL};
    struct world *w = told_new(1);
    struct weir_error err = {0};

    (void)state;
    w->options.wrapper = wrapper;
    assert_false(world_try(w, &err));
    assert_has(err.message, "the wrapper's first word is empty");
    w->options.wrapper = NULL;
    world_start(w);
    world_close(w);
}

/* ---- memory ---- */

static void any_lack_of_memory_is_survived(void **state)
{
    static const char *const env[] = {"A=b", NULL}, *const wrapper[] = {"env", NULL};
    bool failed = true;

    (void)state;
    for (uint64_t n = 1; failed; n++) {
        struct world *w = told_new(1);

        w->options.crew.restart.initial_ns = 1 * NS_PER_MS;
        w->options.crew.init_timeout_ns = 2 * NS_PER_S;
        w->options.crew.shutdown_grace_ns = 100 * NS_PER_MS;
        w->options.wrapper = wrapper;
        world_start(w);
        mem_fail_at(n);
        put_with(
            w, 1, env, "beat",
            "[\"{\\\"heartbeat\\\":{\\\"id\\\":#,\\\"progress\\\":0,\\\"text\\\":\\\"x\\\"}}\"]");
        await(w, 1);
        failed = mem_has_failed() != 0;
        mem_fail_at(0);
        assert_int_not_equal(w->attempts[0].answer.reason, WEIR_REASON_NO_OUTCOME);
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
        cmocka_unit_test(an_attempt_says_with_which_worker_it_is),
        cmocka_unit_test(what_was_never_sent_has_not_begun),
        cmocka_unit_test(heartbeats_are_told_before_the_answer),
        cmocka_unit_test(a_heartbeat_of_another_request_is_ignored_and_counted),
        cmocka_unit_test(a_heartbeat_without_an_id_breaks_the_protocol),
        cmocka_unit_test(a_text_is_one_line_and_not_too_long),
        cmocka_unit_test(heartbeats_that_nobody_wants_are_only_counted),
        cmocka_unit_test(a_request_has_the_attempts_environment),
        cmocka_unit_test(a_wrapper_stands_before_the_workers_words),
        cmocka_unit_test(words_are_quoted_for_a_wrapper_that_has_a_shell),
        cmocka_unit_test(a_wrapper_without_a_program_is_refused),
        cmocka_unit_test(any_lack_of_memory_is_survived),
    };

    if (worker_is_meant(argc, argv))
        return worker_main(argc, argv);
    return cmocka_run_group_tests(tests, use_loop_once, NULL);
}
