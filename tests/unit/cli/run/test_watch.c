/*
 * How far the reading of rows may be ahead of their beginning: the feeder's waiting, against events
 * as the engine tells them.
 */
#include "cli/run/run.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define AHEAD 64

struct waiter {
    struct watch watch;
    int begun_fd, stop_fd, done_fd;
    uint64_t fed;
    pthread_t thread;
};

static void *wait_main(void *arg)
{
    struct waiter *w = arg;

    watch_wait_begun(&w->watch, w->fed, AHEAD, w->stop_fd);
    run_signal_fd(w->done_fd);
    return NULL;
}

static void begin_waiting(struct waiter *w, uint64_t fed)
{
    static const struct halt_rule never;

    w->begun_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    w->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    w->done_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert_true(w->begun_fd >= 0 && w->stop_fd >= 0 && w->done_fd >= 0);
    w->fed = fed;
    watch_init(&w->watch, &never, NULL, -1, w->begun_fd);
    assert_int_equal(pthread_create(&w->thread, NULL, wait_main, w), 0);
    /* Until it waits, or has found that it need not. */
    while (atomic_load(&w->watch.wanted) == UINT64_MAX && fed >= AHEAD)
        sched_yield();
}

static bool is_done(const struct waiter *w, int timeout_ms)
{
    struct pollfd done = {.fd = w->done_fd, .events = POLLIN};

    return poll(&done, 1, timeout_ms) == 1;
}

static void end_waiting(struct waiter *w)
{
    assert_true(is_done(w, 10000));
    pthread_join(w->thread, NULL);
    close(w->begun_fd);
    close(w->stop_fd);
    close(w->done_fd);
}

static void tell(struct waiter *w, enum core_event_kind kind, uint32_t attempt)
{
    struct core_answer answer = {.outcome = WEIR_OUTCOME_OK};
    struct core_event ev = {.kind = kind, .attempt = attempt, .answer = &answer};

    w->watch.base.ops->event(&w->watch.base, &ev);
}

static void few_rows_are_not_waited_for(void **state)
{
    struct waiter w;

    (void)state;
    begin_waiting(&w, AHEAD - 1);
    end_waiting(&w);
}

static void the_feeder_goes_on_when_half_of_what_is_ahead_has_begun(void **state)
{
    struct waiter w;

    (void)state;
    begin_waiting(&w, 100);
    for (int i = 0; i < 100 - AHEAD / 2 - 1; i++)
        tell(&w, EVENT_ATTEMPT_STARTED, 1);
    assert_false(is_done(&w, 0));
    tell(&w, EVENT_ATTEMPT_STARTED, 1);
    end_waiting(&w);
}

static void a_row_counts_once(void **state)
{
    struct waiter w;

    (void)state;
    begin_waiting(&w, AHEAD);
    for (uint32_t attempt = 1; attempt < 200; attempt++)
        tell(&w, EVENT_ATTEMPT_STARTED, attempt);
    tell(&w, EVENT_TASK_FINISHED, 199);
    assert_int_equal(atomic_load(&w.watch.begun), 1);
    assert_false(is_done(&w, 0));
    /* Rows that are never started, as those an earlier run has finished. */
    for (int i = 0; i < AHEAD / 2 - 1; i++)
        tell(&w, EVENT_TASK_FINISHED, 0);
    end_waiting(&w);
}

static void a_stop_ends_the_waiting(void **state)
{
    struct waiter w;

    (void)state;
    begin_waiting(&w, 1000);
    assert_false(is_done(&w, 0));
    run_signal_fd(w.stop_fd);
    end_waiting(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_rows_are_not_waited_for),
        cmocka_unit_test(the_feeder_goes_on_when_half_of_what_is_ahead_has_begun),
        cmocka_unit_test(a_row_counts_once),
        cmocka_unit_test(a_stop_ends_the_waiting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
