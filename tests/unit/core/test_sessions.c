/*
 * Sessions in a pool of workers: one at a time, in order, with the worker that holds their state.
 */
#include "crew_test.h"

static struct crew_bench bench;

/* Two workers of one request each, and permits for more. */
static struct core_batch *begin(struct crew_bench *cb)
{
    struct core_pool_options o;

    crew_bench_pool_options(&o, 4);
    crew_bench_init(cb, NULL, &o);
    crew_bench_run(cb);
    return bench_open(&cb->b, NULL);
}

static void end(struct crew_bench *cb, struct core_batch *batch)
{
    crew_bench_finish_all(cb);
    bench_free(&cb->b, batch);
    crew_bench_end(cb);
}

static void rows_of_a_session_go_one_at_a_time_in_order_to_one_worker(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_batch *batch = begin(cb);
    uint64_t worker;

    (void)state;
    crew_bench_add(cb, batch, 0, "a");
    crew_bench_add(cb, batch, 1, "a");
    crew_bench_add(cb, batch, 2, "a");
    dispatcher_end(cb->b.d, batch, cb->b.now);
    crew_bench_run(cb);
    assert_int_equal(cb->b.running_count, 1); /* although there are two workers */
    assert_int_equal(bench_stats(batch).queued, 2);
    worker = crew_bench_worker_of(cb, 0);
    assert_false(bench_running(&cb->b, 0)->session_lost);
    assert_string_equal(bench_running(&cb->b, 0)->session->name, "a");
    crew_bench_ok(cb, 0);
    assert_int_equal(crew_bench_worker_of(cb, 1), worker);
    crew_bench_ok(cb, 1);
    assert_int_equal(crew_bench_worker_of(cb, 2), worker);
    assert_int_equal(affinity_counts(crew_affinity(cb->crew)).hits, 2);
    assert_int_equal(affinity_counts(crew_affinity(cb->crew)).misses, 1);
    end(cb, batch);
}

static void the_next_row_waits_through_the_retries_and_waits_of_the_one_before(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_batch *batch = begin(cb);

    (void)state;
    crew_bench_add(cb, batch, 0, "a");
    crew_bench_add(cb, batch, 1, "a");
    dispatcher_end(cb->b.d, batch, cb->b.now);
    crew_bench_run(cb);
    crew_bench_fail(cb, 0);
    assert_int_equal(bench_stats(batch).waiting, 1);
    assert_int_equal(cb->b.running_count, 0);
    crew_bench_advance(cb, NS_PER_S);
    assert_int_equal(bench_running(&cb->b, 0)->number, 2);
    assert_null(bench_running(&cb->b, 1));
    crew_bench_ok(cb, 0);
    assert_int_equal(bench_running(&cb->b, 1)->number, 1);
    end(cb, batch);
}

static void a_session_is_in_order_over_batches(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_batch *batch = begin(cb), *other = bench_open(&cb->b, NULL);

    (void)state;
    crew_bench_add(cb, batch, 0, "a");
    crew_bench_add(cb, other, 0, "a");
    crew_bench_add(cb, batch, 1, "a");
    dispatcher_end(cb->b.d, batch, cb->b.now);
    dispatcher_end(cb->b.d, other, cb->b.now);
    crew_bench_run(cb);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(cb->b.running_count, 1);
        crew_bench_end_as(cb, cb->b.running[0], WEIR_OUTCOME_OK, false);
    }
    assert_ptr_equal(cb->b.started[0].batch, batch);
    assert_ptr_equal(cb->b.started[1].batch, other);
    assert_ptr_equal(cb->b.started[2].batch, batch);
    bench_free(&cb->b, other);
    end(cb, batch);
}

/* Both workers are busy, and row 4 is parked with one of them, whose id is returned. */
static uint64_t park(struct crew_bench *cb, struct core_batch *batch)
{
    uint64_t worker;

    crew_bench_add(cb, batch, 0, "a");
    crew_bench_add(cb, batch, 1, "b");
    crew_bench_run(cb);
    worker = crew_bench_worker_of(cb, 0);
    crew_bench_ok(cb, 0);
    crew_bench_ok(cb, 1);
    crew_bench_add(cb, batch, 2, NULL);
    crew_bench_add(cb, batch, 3, NULL);
    crew_bench_run(cb);
    assert_int_equal(cb->b.running_count, 2);
    crew_bench_add(cb, batch, 4, "a");
    crew_bench_run(cb);
    assert_int_equal(bench_stats(batch).queued, 1);
    return worker;
}

static void a_row_whose_worker_has_no_room_is_parked_and_goes_first_when_it_has(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_batch *batch = begin(cb);
    uint64_t worker = park(cb, batch);

    (void)state;
    crew_bench_add(cb, batch, 5, NULL);
    dispatcher_end(cb->b.d, batch, cb->b.now);
    crew_bench_run(cb);
    crew_bench_ok(cb, crew_bench_worker_of(cb, 2) == worker ? 2 : 3);
    assert_int_equal(crew_bench_worker_of(cb, 4), worker);
    assert_false(bench_running(&cb->b, 4)->session_lost);
    assert_null(bench_running(&cb->b, 5));
    end(cb, batch);
}

static void a_parked_row_holds_no_permit(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_batch *batch = begin(cb);

    (void)state;
    park(cb, batch);
    assert_int_equal(dispatcher_running(cb->b.d), 2);
    assert_int_equal(bench_stats(batch).running, 2);
    dispatcher_end(cb->b.d, batch, cb->b.now);
    end(cb, batch);
}

static void what_is_parked_with_a_worker_that_dies_goes_elsewhere_and_is_told(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_batch *batch = begin(cb);
    uint64_t worker = park(cb, batch);

    (void)state;
    dispatcher_end(cb->b.d, batch, cb->b.now);
    crew_bench_kill(cb, worker);
    /* A new worker is there; the lost row waits for its retry, and the parked one goes at once. */
    assert_int_not_equal(crew_bench_worker_of(cb, 4), 0);
    assert_int_not_equal(crew_bench_worker_of(cb, 4), worker);
    assert_true(bench_running(&cb->b, 4)->session_lost);
    assert_int_equal(bench_running(&cb->b, 4)->number, 1);
    crew_bench_advance(cb, 10 * NS_PER_S);
    end(cb, batch);
}

static void a_row_that_dies_with_its_worker_keeps_its_session_and_binds_anew(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_batch *batch = begin(cb);
    uint64_t worker;

    (void)state;
    crew_bench_add(cb, batch, 0, "a");
    crew_bench_add(cb, batch, 1, "a");
    dispatcher_end(cb->b.d, batch, cb->b.now);
    crew_bench_run(cb);
    worker = crew_bench_worker_of(cb, 0);
    crew_bench_kill(cb, worker);
    assert_int_equal(cb->b.running_count, 0);
    crew_bench_advance(cb, NS_PER_S);
    assert_int_equal(bench_running(&cb->b, 0)->number, 2);
    assert_int_not_equal(crew_bench_worker_of(cb, 0), worker);
    assert_true(bench_running(&cb->b, 0)->session_lost);
    crew_bench_ok(cb, 0);
    assert_false(bench_running(&cb->b, 1)->session_lost);
    assert_int_equal(affinity_counts(crew_affinity(cb->crew)).rebinds, 1);
    end(cb, batch);
}

static void the_deadline_ends_a_row_that_waits_for_its_session(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_batch *batch = begin(cb);
    struct core_task *t;

    (void)state;
    crew_bench_add(cb, batch, 0, "a");
    t = bench_row(batch, 1);
    t->session = "a";
    t->deadline_ns = NS_PER_S;
    bench_submit(&cb->b, batch, t);
    crew_bench_add(cb, batch, 2, "a");
    dispatcher_end(cb->b.d, batch, cb->b.now);
    crew_bench_run(cb);
    crew_bench_advance(cb, NS_PER_S);
    assert_int_equal(bench_stats(batch).finished, 1);
    crew_bench_ok(cb, 0);
    assert_int_equal(cb->b.results[1].reason, WEIR_REASON_DEADLINE);
    assert_non_null(bench_running(&cb->b, 2));
    end(cb, batch);
}

static void stop_drops_what_is_queued_and_parked_and_others_go_on(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_batch *batch = begin(cb), *other = bench_open(&cb->b, NULL);

    (void)state;
    park(cb, batch);
    crew_bench_add(cb, batch, 5, "a");
    crew_bench_add(cb, other, 0, "a");
    dispatcher_end(cb->b.d, other, cb->b.now);
    crew_bench_run(cb);
    assert_int_equal(bench_stats(batch).queued, 2);
    dispatcher_stop(cb->b.d, batch, false, cb->b.now);
    crew_bench_run(cb);
    assert_int_equal(bench_stats(batch).queued, 0);
    crew_bench_finish_all(cb);
    assert_int_equal(bench_stats(other).finished, 1);
    assert_int_equal(bench_stats(batch).finished, 4);
    bench_free(&cb->b, other);
    end(cb, batch);
}

static void shutdown_ends_what_is_queued_and_parked(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_batch *batch = begin(cb);

    (void)state;
    park(cb, batch);
    crew_bench_add(cb, batch, 5, "a");
    crew_bench_run(cb);
    dispatcher_shutdown(cb->b.d, false, cb->b.now);
    crew_bench_run(cb);
    assert_int_equal(bench_stats(batch).queued, 0);
    crew_bench_finish_all(cb);
    assert_int_equal(cb->b.result_count, 6);
    assert_int_equal(cb->b.results[4].reason, WEIR_REASON_SHUTDOWN_REQUESTED);
    assert_int_equal(cb->b.results[5].reason, WEIR_REASON_SHUTDOWN_REQUESTED);
    end(cb, batch);
}

static void a_name_that_is_too_long_or_empty_fails_its_row_with_the_remedy(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_batch *batch = begin(cb);
    char name[AFFINITY_NAME_BYTES_MAX + 2];

    (void)state;
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = '\0';
    crew_bench_add(cb, batch, 0, name);
    crew_bench_add(cb, batch, 1, "");
    crew_bench_add(cb, batch, 2, name + 1); /* just fits */
    dispatcher_end(cb->b.d, batch, cb->b.now);
    crew_bench_run(cb);
    assert_int_equal(cb->b.result_count, 2);
    assert_int_equal(cb->b.results[0].reason, WEIR_REASON_BAD_ROW);
    assert_int_equal(cb->b.results[1].reason, WEIR_REASON_BAD_ROW);
    assert_non_null(strstr(cb->b.results[0].message, "513 bytes; it must have 1 to 512"));
    assert_non_null(bench_running(&cb->b, 2));
    end(cb, batch);
}

static void
a_parked_row_waits_no_longer_than_the_checkout_timeout_and_is_told_who_holds(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_pool_options o;
    struct core_batch *batch;

    (void)state;
    crew_bench_pool_options(&o, 4);
    o.checkout_timeout_ns = 5 * NS_PER_S;
    crew_bench_init(cb, NULL, &o);
    crew_bench_run(cb);
    batch = bench_open(&cb->b, NULL);
    crew_bench_add(cb, batch, 0, "a");
    crew_bench_run(cb);
    crew_bench_ok(cb, 0);
    crew_bench_add(cb, batch, 1, NULL);
    crew_bench_add(cb, batch, 2, NULL);
    crew_bench_run(cb);
    crew_bench_add(cb, batch, 3, "a");
    crew_bench_add(cb, batch, 4,
                   "a"); /* behind it: its turn has not come, and its time not begun */
    crew_bench_add(cb, batch, 5, NULL); /* nor has that of a row without a session */
    dispatcher_end(cb->b.d, batch, cb->b.now);
    crew_bench_run(cb);
    crew_bench_advance(cb, 5 * NS_PER_S - 1);
    assert_int_equal(bench_stats(batch).finished, 1);
    crew_bench_advance(cb, 1);
    assert_int_equal(bench_stats(batch).finished, 2);
    crew_bench_ok(cb, 1);
    crew_bench_ok(cb, 2);
    assert_int_equal(cb->b.results[3].outcome, WEIR_OUTCOME_TIMEOUT);
    assert_int_equal(cb->b.results[3].reason, WEIR_REASON_CHECKOUT_TIMEOUT);
    assert_int_equal(cb->b.results[3].attempts, 0);
    assert_non_null(strstr(cb->b.results[3].message, "holds the session \"a\""));
    assert_non_null(strstr(cb->b.results[3].message, "of batch 1 (key \"key\")"));
    end(cb, batch);
    assert_int_equal(cb->b.results[4].outcome, WEIR_OUTCOME_OK);
}

static void a_released_session_goes_to_another_worker_than_the_one_it_waits_for(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_batch *batch = begin(cb);
    uint64_t held_by;

    (void)state;
    crew_bench_add(cb, batch, 0, "a");
    crew_bench_run(cb);
    held_by = bench_running(&cb->b, 0)->worker->id;
    crew_bench_ok(cb, 0);
    crew_bench_add(cb, batch, 1, NULL);
    crew_bench_run(cb);
    assert_int_equal(bench_running(&cb->b, 1)->worker->id, held_by);
    crew_bench_add(cb, batch, 2, "a");
    crew_bench_run(cb);
    assert_null(bench_running(&cb->b, 2));
    assert_false(dispatcher_release_session(cb->b.pool, "b", cb->b.now));
    assert_true(dispatcher_release_session(cb->b.pool, "a", cb->b.now));
    crew_bench_run(cb);
    assert_non_null(bench_running(&cb->b, 2));
    assert_false(dispatcher_release_session(cb->b.pool, "", cb->b.now));
    dispatcher_end(cb->b.d, batch, cb->b.now);
    end(cb, batch);
}

static void a_batch_of_many_sessions_does_not_keep_another_from_the_workers(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_batch *batch, *other;
    static char names[40][16];

    (void)state;
    batch = begin(cb);
    for (int i = 0; i < 40; i++)
        snprintf(names[i], sizeof names[i], "s%d", i);
    for (uint64_t i = 0; i < 40; i++)
        crew_bench_add(cb, batch, i, names[i]);
    crew_bench_run(cb);
    for (uint64_t i = 0; i < 40; i++)
        crew_bench_ok(cb, i);
    /* All are bound now; their next rows park with the two workers. */
    for (uint64_t i = 40; i < 80; i++)
        crew_bench_add(cb, batch, i, names[i - 40]);
    dispatcher_end(cb->b.d, batch, cb->b.now);
    crew_bench_run(cb);
    other = bench_open(&cb->b, NULL);
    for (uint64_t i = 0; i < 5; i++)
        crew_bench_add(cb, other, i, NULL);
    dispatcher_end(cb->b.d, other, cb->b.now);
    crew_bench_run(cb);
    for (int i = 0; i < 14; i++)
        crew_bench_end_as(cb, cb->b.running[0], WEIR_OUTCOME_OK, false);
    assert_int_equal(bench_stats(other).finished, 5);
    crew_bench_finish_all(cb);
    bench_free(&cb->b, other);
    end(cb, batch);
}

static void rows_that_were_queued_go_by_their_index(void **state)
{
    struct crew_bench *cb = &bench;
    struct crew_options crew;
    struct core_pool_options o;
    struct core_batch *batch;

    (void)state;
    crew_bench_crew_options(&crew, 1);
    crew_bench_pool_options(&o, 1);
    crew_bench_init(cb, &crew, &o);
    crew_bench_run(cb);
    batch = bench_open(&cb->b, NULL);
    for (uint64_t i = 0; i < 6; i++)
        crew_bench_add(cb, batch, i, i % 2 ? NULL : "a");
    dispatcher_end(cb->b.d, batch, cb->b.now);
    crew_bench_run(cb);
    crew_bench_finish_all(cb);
    for (uint64_t i = 0; i < 6; i++)
        assert_int_equal(cb->b.started[i].index, i);
    end(cb, batch);
}

static void a_full_batch_starts_what_its_first_row_waits_for(void **state)
{
    struct crew_bench *cb = &bench;
    struct crew_options crew;
    struct core_pool_options o;
    struct core_batch_options bo;
    struct core_batch *batch;

    (void)state;
    crew_bench_crew_options(&crew, 1);
    crew_bench_pool_options(&o, 1);
    crew_bench_init(cb, &crew, &o);
    crew_bench_run(cb);
    core_batch_options_init(&bo);
    bo.output_bytes = 10;
    batch = bench_open(&cb->b, &bo);
    crew_bench_add(cb, batch, 5, NULL);
    crew_bench_run(cb);
    crew_bench_add(cb, batch, 3, "a"); /* came first, so it goes first ... */
    crew_bench_add(cb, batch, 0, "a"); /* ... and this one, which all others wait for, behind it */
    assert_true(answer_set_output(&bench_running(&cb->b, 5)->answer, "0123456789", 10));
    crew_bench_ok(cb, 5);
    assert_non_null(bench_running(&cb->b, 3));
    crew_bench_ok(cb, 3);
    assert_non_null(bench_running(&cb->b, 0));
    crew_bench_ok(cb, 0);
    for (uint64_t i = 1; i < 5; i++)
        if (i != 3)
            crew_bench_add(cb, batch, i, NULL);
    dispatcher_end(cb->b.d, batch, cb->b.now);
    crew_bench_run(cb);
    end(cb, batch);
}

static void a_released_session_is_bound_anew_while_its_row_is_parked(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_batch *batch = begin(cb);

    (void)state;
    park(cb, batch);
    dispatcher_end(cb->b.d, batch, cb->b.now);
    assert_true(affinity_release(crew_affinity(cb->crew), "a", 1, cb->b.now));
    crew_bench_run(cb);
    crew_bench_ok(cb, 2);
    crew_bench_ok(cb, 3);
    assert_true(bench_running(&cb->b, 4)->session_lost);
    end(cb, batch);
}

/* One of those that start is ready. */
static void wake_one(struct crew_bench *cb)
{
    struct worker *w = cb->spawning[0];

    crew_bench_forget(cb->spawning, &cb->spawning_count, w);
    crew_spawned(cb->crew, w, (int64_t)w->id, cb->b.now);
    crew_bench_run(cb);
}

/* One of so many workers is ready; the others take their time. */
static struct core_batch *begin_sleepy(struct crew_bench *cb, size_t workers)
{
    struct crew_options crew;
    struct core_pool_options pool;

    crew_bench_crew_options(&crew, workers);
    crew_bench_pool_options(&pool, workers);
    crew_bench_init(cb, &crew, &pool);
    cb->sleepy = true;
    crew_bench_run(cb);
    assert_int_equal(cb->spawning_count, workers);
    wake_one(cb);
    return bench_open(&cb->b, NULL);
}

/* The same of two workers, with four sessions. */
static struct core_batch *begin_staggered(struct crew_bench *cb, struct worker **ret_slow)
{
    struct core_batch *batch = begin_sleepy(cb, 2);

    for (uint64_t i = 0; i < 4; i++) {
        static const char *const names[] = {"a", "b", "c", "d"};

        crew_bench_add(cb, batch, i, names[i]);
    }
    dispatcher_end(cb->b.d, batch, cb->b.now);
    crew_bench_run(cb);
    *ret_slow = cb->spawning[0];
    return batch;
}

static void new_sessions_wait_a_little_for_workers_that_get_ready_just_then(void **state)
{
    struct crew_bench *cb = &bench;
    struct worker *slow;
    struct core_batch *batch = begin_staggered(cb, &slow);

    (void)state;
    crew_bench_ok(cb, 0);
    crew_bench_advance(cb, NS_PER_S / 2);
    assert_int_equal(cb->b.running_count, 0); /* the one that is ready has a session */
    cb->sleepy = false;
    crew_bench_run(cb);
    crew_bench_finish_all(cb);
    assert_int_equal(slow->sessions, 2);
    end(cb, batch);
}

static void but_no_longer_than_the_first_one_took(void **state)
{
    struct crew_bench *cb = &bench;
    struct worker *slow;
    struct core_batch *batch = begin_staggered(cb, &slow);

    (void)state;
    crew_bench_ok(cb, 0);
    crew_bench_advance(cb, NS_PER_S - 1);
    assert_int_equal(cb->b.running_count, 0);
    cb->b.now = instant_add(cb->b.now, 1);
    assert_int_equal(instant_diff(cb->b.wake, cb->b.now), 0);
    bench_run(&cb->b); /* nothing else may come that would make it look again */
    assert_int_equal(cb->b.running_count, 1);
    cb->sleepy = false;
    end(cb, batch);
}

static void all_others_pass_new_sessions_that_wait_for_workers(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_batch *batch = begin_sleepy(cb, 2), *other = bench_open(&cb->b, NULL);

    (void)state;
    crew_bench_add(cb, batch, 0, "a");
    crew_bench_add(cb, batch, 1, "b");
    crew_bench_add(cb, batch, 2, "c");
    crew_bench_add(cb, batch, 3, NULL);
    crew_bench_add(cb, batch, 4, "a");
    dispatcher_end(cb->b.d, batch, cb->b.now);
    crew_bench_run(cb);
    crew_bench_ok(cb, 0);
    crew_bench_ok(cb, 3); /* without a session */
    crew_bench_ok(cb, 4); /* bound already */
    assert_int_equal(cb->b.running_count, 0);
    assert_int_equal(bench_stats(batch).queued, 2);
    crew_bench_add(cb, other, 0, NULL);
    dispatcher_end(cb->b.d, other, cb->b.now);
    crew_bench_run(cb);
    assert_int_equal(cb->b.running_count, 1);
    crew_bench_end_as(cb, cb->b.running[0], WEIR_OUTCOME_OK, false);
    bench_free(&cb->b, other);
    crew_bench_advance(cb, NS_PER_S); /* the other worker is not waited for any longer */
    assert_int_not_equal(crew_bench_worker_of(cb, 1), 0);
    cb->sleepy = false;
    end(cb, batch);
}

static void each_worker_that_gets_ready_takes_one_new_session_meanwhile(void **state)
{
    struct crew_bench *cb = &bench;
    struct core_batch *batch = begin_sleepy(cb, 3);
    uint64_t second;

    (void)state;
    crew_bench_add(cb, batch, 0, "a");
    crew_bench_add(cb, batch, 1, "b");
    crew_bench_add(cb, batch, 2, "c");
    crew_bench_add(cb, batch, 3, "d");
    dispatcher_end(cb->b.d, batch, cb->b.now);
    crew_bench_run(cb);
    crew_bench_ok(cb, 0);
    assert_int_equal(bench_stats(batch).queued, 3);
    wake_one(cb);
    second = crew_bench_worker_of(cb, 1);
    assert_true(second > 1);
    crew_bench_ok(cb, 1);
    assert_int_equal(bench_stats(batch).queued, 2);
    assert_int_equal(cb->b.running_count, 0);
    wake_one(cb);
    assert_true(crew_bench_worker_of(cb, 2) > 1 && crew_bench_worker_of(cb, 2) != second);
    assert_int_not_equal(crew_bench_worker_of(cb, 3), 0);
    cb->sleepy = false;
    end(cb, batch);
}

static void a_row_that_waits_for_workers_is_dropped_with_its_batch(void **state)
{
    struct crew_bench *cb = &bench;
    struct worker *slow;
    struct core_batch *batch = begin_staggered(cb, &slow);

    (void)state;
    crew_bench_ok(cb, 0);
    assert_int_equal(bench_stats(batch).queued, 3);
    dispatcher_stop(cb->b.d, batch, true, cb->b.now);
    crew_bench_run(cb);
    assert_int_equal(bench_stats(batch).queued, 0);
    assert_int_equal(cb->b.result_count, 1);
    cb->sleepy = false;
    end(cb, batch);
}

static void in_a_pool_without_workers_a_session_says_nothing(void **state)
{
    static struct bench plain;
    struct bench *b = &plain;
    struct core_pool_options o;
    struct core_batch *batch;

    (void)state;
    crew_bench_pool_options(&o, 2);
    bench_init(b, &o, true);
    batch = bench_open(b, NULL);
    for (uint64_t i = 0; i < 2; i++) {
        struct core_task *t = bench_row(batch, i);

        t->session = "a";
        bench_submit(b, batch, t);
    }
    dispatcher_end(b->d, batch, b->now);
    bench_run(b);
    assert_int_equal(b->running_count, 2);
    bench_finish_all(b);
    bench_free(b, batch);
    bench_end(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_a_session_go_one_at_a_time_in_order_to_one_worker),
        cmocka_unit_test(the_next_row_waits_through_the_retries_and_waits_of_the_one_before),
        cmocka_unit_test(a_session_is_in_order_over_batches),
        cmocka_unit_test(a_row_whose_worker_has_no_room_is_parked_and_goes_first_when_it_has),
        cmocka_unit_test(a_parked_row_holds_no_permit),
        cmocka_unit_test(what_is_parked_with_a_worker_that_dies_goes_elsewhere_and_is_told),
        cmocka_unit_test(a_row_that_dies_with_its_worker_keeps_its_session_and_binds_anew),
        cmocka_unit_test(the_deadline_ends_a_row_that_waits_for_its_session),
        cmocka_unit_test(stop_drops_what_is_queued_and_parked_and_others_go_on),
        cmocka_unit_test(shutdown_ends_what_is_queued_and_parked),
        cmocka_unit_test(a_name_that_is_too_long_or_empty_fails_its_row_with_the_remedy),
        cmocka_unit_test(
            a_parked_row_waits_no_longer_than_the_checkout_timeout_and_is_told_who_holds),
        cmocka_unit_test(a_released_session_goes_to_another_worker_than_the_one_it_waits_for),
        cmocka_unit_test(a_batch_of_many_sessions_does_not_keep_another_from_the_workers),
        cmocka_unit_test(rows_that_were_queued_go_by_their_index),
        cmocka_unit_test(a_full_batch_starts_what_its_first_row_waits_for),
        cmocka_unit_test(a_released_session_is_bound_anew_while_its_row_is_parked),
        cmocka_unit_test(new_sessions_wait_a_little_for_workers_that_get_ready_just_then),
        cmocka_unit_test(but_no_longer_than_the_first_one_took),
        cmocka_unit_test(all_others_pass_new_sessions_that_wait_for_workers),
        cmocka_unit_test(each_worker_that_gets_ready_takes_one_new_session_meanwhile),
        cmocka_unit_test(a_row_that_waits_for_workers_is_dropped_with_its_batch),
        cmocka_unit_test(in_a_pool_without_workers_a_session_says_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
