/*
 * When somebody has set the wall clock back.
 *
 * What is to be at a time of day (not_before, deadline) stays as it was said. But a wait between
 * two attempts is a length, and only kept as the time at which it ends: an hour back would make it
 * an hour longer. So those waits begin anew: a retry is at most so late as its own wait is long,
 * and as it takes to notice.
 *
 * It is noticed by the steady clock, while the daemon runs (once a second); and at a start, by a
 * record whose last event has not happened yet. Which of the tasks that wait for a time are meant,
 * their own last event tells: it says how long the wait was to be, and is in the future.
 */
#include "base/mem.h"
#include "loop/loop.h"
#include "serve/daemon/house.h"

/* Clocks that are only adjusted change by less. */
#define SET_NS NS_PER_S
/* Tasks that are looked at in one piece. */
#define PAGE 1000

struct edit {
    struct registry_op op; /* first */
    int64_t not_before_ns;
};

static void edited(struct registry_op *op)
{
    mem_free(op); /* one that has been cancelled meanwhile, or runs, needs nothing */
}

static void begin_anew(struct house *h, uint64_t task, int64_t not_before_ns)
{
    struct edit *e = mem_calloc(1, sizeof *e);

    if (!e)
        return;
    e->not_before_ns = not_before_ns;
    e->op.kind = REGISTRY_EDIT;
    e->op.edit.task = task;
    e->op.edit.not_before_ns = &e->not_before_ns;
    e->op.done = edited;
    engine_tasks_send(h->tasks, &e->op);
}

struct page {
    size_t seen, count; /* count: that wait for an attempt that is not their first */
    uint64_t last;
    struct {
        uint64_t task;
        int64_t at_ns;
    } waits[PAGE];
};

static bool put_wait(void *ctx, const struct registry_view *v)
{
    struct page *p = ctx;

    p->seen++;
    p->last = v->id;
    if (v->attempts > 0) {
        p->waits[p->count].task = v->id;
        p->waits[p->count++].at_ns = v->not_before_ns;
    }
    return p->seen < PAGE;
}

static bool put_event(void *ctx, const struct registry_event *e)
{
    struct registry_event *to = ctx;

    to->at_ns = e->at_ns;
    to->duration_ns = e->duration_ns;
    return false;
}

static void look_at_wait(struct house *h, struct registry_reader *r, uint64_t task, int64_t at_ns,
                         int64_t wall_ns)
{
    struct registry_event_filter f = {
        .task = task, .kinds = UINT64_C(1) << REGISTRY_TASK_RETRY_SCHEDULED, .newest_first = true};
    struct registry_event e = {0};
    duration_ns off_ns;

    if (r->ops->events(r, &f, 0, 1, put_event, &e, NULL) != WEIR_OK || e.at_ns <= wall_ns)
        return;
    /* Somebody has given it another time since. */
    off_ns = e.at_ns + e.duration_ns - at_ns;
    if (off_ns > NS_PER_MS || off_ns < -NS_PER_MS)
        return;
    begin_anew(h, task, wall_ns + e.duration_ns);
}

static void mend_waits(struct house *h, int64_t wall_ns)
{
    struct registry_filter f = {.states = 1u << REGISTRY_SCHEDULED};
    struct page *p = mem_calloc(1, sizeof *p);
    struct registry_reader *r;

    if (!p || h->registry->ops->reader(h->registry, &r, NULL) != WEIR_OK) {
        mem_free(p);
        return;
    }
    do {
        uint64_t after = p->last;

        p->seen = p->count = 0;
        if (r->ops->tasks(r, &f, after, PAGE, put_wait, p, NULL) != WEIR_OK)
            break;
        for (size_t i = 0; i < p->count; i++)
            look_at_wait(h, r, p->waits[i].task, p->waits[i].at_ns, wall_ns);
    } while (p->seen == PAGE);
    r->ops->close(r);
    mem_free(p);
}

void clock_begin(struct house *h)
{
    struct registry_event_filter f = {.newest_first = true};
    struct registry_event e = {0};
    struct registry_reader *r;

    h->wall_ahead_ns = loop_wall_clock_ns() - loop_clock().ns;
    if (h->registry->ops->reader(h->registry, &r, NULL) != WEIR_OK)
        return;
    if (r->ops->events(r, &f, 0, 1, put_event, &e, NULL) == WEIR_OK)
        h->set_back = e.at_ns > loop_wall_clock_ns() + SET_NS;
    r->ops->close(r);
}

void clock_look(struct house *h)
{
    int64_t wall_ns = loop_wall_clock_ns(), ahead_ns = wall_ns - loop_clock().ns;
    duration_ns by_ns = ahead_ns - h->wall_ahead_ns;

    /* What creeps counts when it adds up to as much. */
    if (by_ns < -SET_NS || by_ns > SET_NS) {
        h->wall_ahead_ns = ahead_ns;
        daemon_log(h->log, CONFIG_WARNING, "the wall clock was set %s by %.0f s",
                   by_ns < 0 ? "back" : "forward", duration_seconds(by_ns < 0 ? -by_ns : by_ns));
    }
    if (by_ns < -SET_NS || h->set_back)
        mend_waits(h, wall_ns);
    h->set_back = false;
}
