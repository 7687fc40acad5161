/*
 * History of what ran: means, over restarts and crashes. Virtual time.
 */
#include "serve/daemon/history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define AT(minute, second) ((int64_t)(minute)*60 * NS_PER_S + (int64_t)(second)*NS_PER_S)
/* 2023-11-14 22:00:00 UTC, the begin of an hour. */
#define HOUR (1699999200 * NS_PER_S)

/* What a registry keeps, of a pool and of all. */
struct kept {
    struct registry_sample of[2000];
    size_t count;
};

static void assert_near(double is, double wanted)
{
    assert_true(is > wanted - 1e-9 && is < wanted + 1e-9);
}

static void keep(struct kept *k, const struct registry_sample *s)
{
    struct registry_sample copy = *s;

    copy.pool = s->pool.len > 0 ? SLICE("p") : SLICE("");
    for (size_t i = 0; i < k->count; i++) {
        struct registry_sample *o = &k->of[i];

        if (o->at_ns == s->at_ns && o->resolution_s == s->resolution_s &&
            slice_equal(o->pool, copy.pool)) {
            *o = copy;
            return;
        }
    }
    assert_true(k->count < sizeof k->of / sizeof *k->of);
    k->of[k->count++] = copy;
}

static void take_all(struct history *h, struct kept *k, int64_t now_ns)
{
    struct registry_sample s;

    while (history_take(h, now_ns, &s))
        keep(k, &s);
}

static const struct registry_sample *find(const struct kept *k, uint32_t resolution_s,
                                          int64_t at_ns)
{
    for (size_t i = 0; i < k->count; i++)
        if (k->of[i].pool.len > 0 && k->of[i].resolution_s == resolution_s &&
            k->of[i].at_ns == at_ns)
            return &k->of[i];
    return NULL;
}

/* As the daemon does at its start: the samples of 10 s of the hour of the newest. */
static void resume(struct history *h, const struct kept *k, int64_t now_ns, int64_t unfinished_ns,
                   uint64_t looks)
{
    for (size_t i = 0; i < k->count; i++)
        if (k->of[i].resolution_s == HISTORY_FINEST_S)
            assert_true(history_resume(h, &k->of[i],
                                       k->of[i].at_ns == unfinished_ns ? looks : HISTORY_FINEST_S));
    history_resumed(h, now_ns);
}

/* A look in each second of [from, to): so much runs, and one task a second starts. `since`: when this daemon began. */
static void live(struct history *h, struct kept *k, int64_t since_ns, int64_t from_ns,
                 int64_t to_ns, size_t running)
{
    for (int64_t now_ns = from_ns; now_ns < to_ns; now_ns += NS_PER_S) {
        uint64_t n = (uint64_t)((now_ns - since_ns) / NS_PER_S) + 1;
        struct history_look l = {
            .pool = SLICE("p"), .running = running, .limit = 4, .started = n, .finished = n / 2};

        assert_true(history_look(h, &l, now_ns));
        l.pool = SLICE("");
        assert_true(history_look(h, &l, now_ns));
        take_all(h, k, now_ns);
    }
}

static void means_are_over_their_time(void **state)
{
    struct history *h = history_new();
    struct kept k = {0};
    const struct registry_sample *s;

    (void)state;
    live(h, &k, HOUR, HOUR, HOUR + AT(60, 0), 2);
    live(h, &k, HOUR, HOUR + AT(60, 0), HOUR + AT(60, 1), 0);
    s = find(&k, 10, HOUR + AT(7, 30));
    assert_non_null(s);
    assert_near(s->running, 2);
    assert_near(s->utilisation, 0.5);
    assert_int_equal(s->started, 10);
    s = find(&k, 300, HOUR + AT(55, 0));
    assert_non_null(s);
    assert_int_equal(s->started, 300);
    s = find(&k, 3600, HOUR);
    assert_non_null(s);
    assert_near(s->running, 2);
    assert_near(s->limit, 4);
    assert_int_equal(s->started, 3600);
    assert_int_equal(s->finished, 1800);
    history_free(h);
}

static void a_restart_goes_on_with_what_was_begun(void **state)
{
    struct history *h = history_new();
    struct kept k = {0};
    const struct registry_sample *s;
    int64_t unfinished_ns = 0, stop = HOUR + AT(21, 43);
    uint64_t looks;

    (void)state;
    live(h, &k, HOUR, HOUR, stop, 1);
    take_all(h, &k, stop);
    looks = history_looks(h, &unfinished_ns);
    assert_int_equal(looks, 3);
    assert_int_equal(unfinished_ns, HOUR + AT(21, 40));
    history_end(h);
    take_all(h, &k, stop);
    history_free(h);
    /* So far it is there to be seen. */
    s = find(&k, 3600, HOUR);
    assert_non_null(s);
    assert_int_equal(s->started, 21 * 60 + 43);
    s = find(&k, 10, HOUR + AT(21, 40));
    assert_non_null(s);
    assert_int_equal(s->started, 3);

    /* Two seconds later, in the same 10 s, and then three run. */
    h = history_new();
    resume(h, &k, stop + AT(0, 2), unfinished_ns, looks);
    take_all(h, &k, stop + AT(0, 2));
    live(h, &k, stop + AT(0, 2), stop + AT(0, 2), HOUR + AT(60, 1), 3);
    s = find(&k, 10, HOUR + AT(21, 40));
    assert_near(s->running, (3 * 1 + 5 * 3) / 8.0);
    assert_int_equal(s->started, 8);
    s = find(&k, 300, HOUR + AT(20, 0));
    assert_near(s->running, (103 * 1 + 195 * 3) / 298.0);
    assert_near(s->utilisation, (103 * 1 + 195 * 3) / 298.0 / 4);
    assert_int_equal(s->started, 298);
    s = find(&k, 3600, HOUR);
    assert_near(s->running, (1303 * 1 + 2295 * 3) / 3598.0);
    assert_int_equal(s->started, 3598);
    /* What was complete is as it was. */
    s = find(&k, 300, HOUR + AT(15, 0));
    assert_near(s->running, 1);
    assert_int_equal(s->started, 300);
    history_free(h);
}

static void a_crash_costs_the_last_ten_seconds(void **state)
{
    struct history *h = history_new();
    struct kept k = {0};
    const struct registry_sample *s;
    int64_t crash = HOUR + AT(58, 37);

    (void)state;
    live(h, &k, HOUR, HOUR, crash, 2);
    history_free(h);
    assert_null(find(&k, 3600, HOUR));
    assert_null(find(&k, 300, HOUR + AT(55, 0)));

    /* Half an hour later: both are over, and are told as far as they were seen. */
    h = history_new();
    resume(h, &k, HOUR + AT(90, 3), 0, 0);
    take_all(h, &k, HOUR + AT(90, 3));
    s = find(&k, 300, HOUR + AT(55, 0));
    assert_non_null(s);
    assert_near(s->running, 2);
    assert_int_equal(s->started, 210);
    s = find(&k, 3600, HOUR);
    assert_non_null(s);
    assert_int_equal(s->started, 58 * 60 + 30);
    /* The time between has none, and what comes is another hour's. */
    live(h, &k, HOUR + AT(90, 3), HOUR + AT(90, 3), HOUR + AT(90, 21), 4);
    s = find(&k, 10, HOUR + AT(90, 0));
    assert_near(s->running, 4);
    assert_int_equal(s->started, 7);
    assert_null(find(&k, 10, HOUR + AT(58, 40)));
    history_free(h);
}

static void counts_go_on_when_a_pool_is_made_anew(void **state)
{
    struct history *h = history_new();
    struct kept k = {0};
    const struct registry_sample *s;

    (void)state;
    live(h, &k, HOUR, HOUR, HOUR + AT(0, 4), 1);
    /* It counts from 0; three came before the next look. */
    live(h, &k, HOUR + AT(0, 2), HOUR + AT(0, 4), HOUR + AT(0, 11), 1);
    s = find(&k, 10, HOUR);
    assert_non_null(s);
    assert_int_equal(s->started, 4 + 3 + 5);
    history_free(h);
}

static void a_clock_that_is_set_back_makes_no_sample_of_two_times(void **state)
{
    struct history *h = history_new();
    struct kept k = {0};
    const struct registry_sample *s;

    (void)state;
    live(h, &k, HOUR, HOUR + AT(8, 0), HOUR + AT(8, 5), 1);
    live(h, &k, HOUR - AT(4, 0), HOUR + AT(4, 1), HOUR + AT(4, 11), 3);
    s = find(&k, 10, HOUR + AT(8, 0));
    assert_near(s->running, 1);
    s = find(&k, 10, HOUR + AT(4, 0));
    assert_near(s->running, 3);
    s = find(&k, 300, HOUR + AT(5, 0));
    assert_near(s->running, 1);
    history_free(h);
}

static void utilisation_is_never_more_than_one(void **state)
{
    struct registry_sample of_an_older_daemon = {.resolution_s = 10,
                                                 .pool = SLICE("p"),
                                                 .at_ns = HOUR,
                                                 .running = 16,
                                                 .limit = 4,
                                                 .utilisation = 4};
    struct history *h = history_new();
    struct kept k = {0};
    const struct registry_sample *s;

    (void)state;
    assert_true(history_resume(h, &of_an_older_daemon, 10));
    history_resumed(h, HOUR + AT(0, 10));
    /* A burst, or a limit that was lowered. */
    live(h, &k, HOUR, HOUR + AT(0, 10), HOUR + AT(5, 1), 16);
    s = find(&k, 10, HOUR + AT(1, 0));
    assert_non_null(s);
    assert_near(s->running, 16);
    assert_near(s->utilisation, 1);
    s = find(&k, 300, HOUR);
    assert_non_null(s);
    assert_near(s->utilisation, 1);
    history_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(means_are_over_their_time),
        cmocka_unit_test(a_restart_goes_on_with_what_was_begun),
        cmocka_unit_test(a_crash_costs_the_last_ten_seconds),
        cmocka_unit_test(counts_go_on_when_a_pool_is_made_anew),
        cmocka_unit_test(a_clock_that_is_set_back_makes_no_sample_of_two_times),
        cmocka_unit_test(utilisation_is_never_more_than_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
