/* Counts what finishes as it finishes, not as it is delivered: --halt must not wait for the order. */
#include "cli/run/run.h"

#include <unistd.h>

void run_signal_fd(int fd)
{
    uint64_t one = 1;

    if (write(fd, &one, sizeof one) != (ssize_t)sizeof one)
        return; /* the counter is full: it is readable already */
}

static void on_event(struct core_observer *o, const struct core_event *ev)
{
    struct watch *w = (struct watch *)o;
    enum halt_verdict verdict;
    bool ok;

    if (w->next)
        w->next->ops->event(w->next, ev);
    if (ev->kind != EVENT_TASK_FINISHED)
        return;
    ok = ev->answer->outcome == WEIR_OUTCOME_OK;
    atomic_fetch_add(ok ? &w->ok : &w->failed, 1);
    verdict = halt_finished(&w->halt, ok);
    if (verdict == HALT_NONE || (int)verdict == atomic_load(&w->verdict))
        return;
    atomic_store(&w->verdict, (int)verdict);
    run_signal_fd(w->wake_fd);
}

static const struct core_observer_ops watch_ops = {.event = on_event};

void watch_init(struct watch *w, const struct halt_rule *rule, struct core_observer *next,
                int wake_fd)
{
    *w = (struct watch){.base = {&watch_ops}, .next = next, .wake_fd = wake_fd};
    halt_init(&w->halt, rule);
}
