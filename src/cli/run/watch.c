/* Counts what begins and finishes as it does so, not as it is delivered: --halt must not wait for the order. */
#include "cli/run/run.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

void run_signal_fd(int fd)
{
    uint64_t one = 1;

    if (write(fd, &one, sizeof one) != (ssize_t)sizeof one)
        return; /* the counter is full: it is readable already */
}

/* One more row has begun; tells the feeder when that is what it waits for. */
static void count_begun(struct watch *w)
{
    if (atomic_fetch_add(&w->begun, 1) + 1 < atomic_load(&w->wanted))
        return;
    atomic_store(&w->wanted, UINT64_MAX);
    run_signal_fd(w->begun_fd);
}

void watch_wait_begun(struct watch *w, uint64_t fed, uint64_t ahead, int stop_fd)
{
    struct pollfd fds[] = {{.fd = w->begun_fd, .events = POLLIN},
                           {.fd = stop_fd, .events = POLLIN}};
    uint64_t count;

    if (fed < ahead + atomic_load(&w->begun))
        return;
    /* Half of them, so that the two threads do not change over for each row. Said before it is looked at again: what
     * begins in between is seen here, or sees this. */
    atomic_store(&w->wanted, fed - ahead / 2);
    while (atomic_load(&w->begun) < fed - ahead / 2) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR && errno != EAGAIN)
            return; /* then it reads ahead: only memory is lost by that */
        if (fds[1].revents)
            return;
        if (fds[0].revents && read(w->begun_fd, &count, sizeof count) != (ssize_t)sizeof count)
            return;
    }
}

/* What a person is to know, or wants to read. */
static void pass_on(struct run *r, const struct core_event *ev)
{
    if (ev->kind == EVENT_WORKER_SAID)
        worker_said(r, ev);
    else if (ev->kind == EVENT_WORKER_TRANSITION)
        worker_moved(r, ev);
    else if (ev->kind == EVENT_BREAKER_CHANGED && ev->breaker)
        run_note_later(r, breaker_state_name(ev->breaker->to), ev->detail);
    else if (ev->kind == EVENT_FAILURES_ALIKE && r->options.kind == RUN_WORKER)
        run_note_later(r, NULL, ev->detail);
}

static void on_event(struct core_observer *o, const struct core_event *ev)
{
    struct watch *w = (struct watch *)o;
    enum halt_verdict verdict;
    bool ok;

    if (w->next)
        w->next->ops->event(w->next, ev);
    if (w->run)
        pass_on(w->run, ev);
    if (ev->kind == EVENT_ATTEMPT_STARTED && ev->attempt == 1)
        count_begun(w);
    if (ev->kind != EVENT_TASK_FINISHED)
        return;
    if (w->run && ev->task)
        joblog_finished(w->run, ev->task);
    if (ev->attempt == 0)
        count_begun(w);
    ok = ev->answer->outcome == WEIR_OUTCOME_OK;
    atomic_fetch_add(ok ? &w->ok : &w->failed, 1);
    verdict = halt_finished(&w->halt, ok);
    if (verdict == HALT_NONE || (int)verdict == atomic_load(&w->verdict))
        return;
    atomic_store(&w->verdict, (int)verdict);
    run_signal_fd(w->wake_fd);
}

bool watch_halts(void *watch)
{
    struct watch *w = watch;

    return halt_verdict(&w->halt) != HALT_NONE;
}

static const struct core_observer_ops watch_ops = {.event = on_event};

void watch_init(struct watch *w, const struct halt_rule *rule, struct core_observer *next,
                int wake_fd, int begun_fd)
{
    *w = (struct watch){
        .base = {&watch_ops}, .next = next, .wake_fd = wake_fd, .begun_fd = begun_fd};
    atomic_init(&w->wanted, UINT64_MAX);
    halt_init(&w->halt, rule);
}
