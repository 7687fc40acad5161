/*
 * What somebody wants to see of the desk, and whether all of it holds.
 */
#include "core/desk/internal.h"

void desk_attempts(const struct desk *d, desk_attempt_fn fn, void *ctx)
{
    list_foreach (node, &d->running)
        fn(ctx, &list_entry(node, struct attempt, link)->shown);
}

bool desk_owns(const struct desk *d, const struct core_batch *b)
{
    list_foreach (node, &d->pools)
        if (list_entry(node, struct desk_pool, link)->batch == b)
            return true;
    return false;
}

struct schedule *desk_schedule(struct desk *d)
{
    return d->schedule;
}

const struct schedule_options *desk_get_schedule(const struct desk *d)
{
    return &d->options.schedule;
}

const struct permits *desk_permits(const struct desk *d)
{
    return dispatcher_permits(d->dispatcher);
}

enum schedule_why desk_why(const struct desk *d, uint64_t task, enum permit_block *ret_block)
{
    const struct desk_task *t = idmap_get(&d->tasks, task);

    *ret_block = PERMIT_FREE;
    if (!t || t->state != DESK_TASK_READY)
        return SCHEDULE_MAY_RUN;
    if (t->place.aside)
        return SCHEDULE_ASIDE;
    return schedule_why(d->schedule, t->place.line, ret_block);
}

static size_t count_refused(const struct desk *d, const struct desk_pool *p)
{
    struct desk_task *t;
    size_t count = 0, i = 0;

    while ((t = idmap_next(&d->tasks, &i)))
        count += t->refused_by == p;
    return count;
}

static const char *check_pools(const struct desk *d)
{
    size_t running = 0;

    list_foreach (node, &d->pools) {
        const struct desk_pool *p = list_entry(node, struct desk_pool, link);
        size_t here = 0;

        list_foreach (other, &d->running)
            here += list_entry(other, struct attempt, link)->pool == p;
        if (here != p->running)
            return "desk: a pool's attempts are not those that run";
        if (count_refused(d, p) != p->refused)
            return "desk: tasks that wait after a refusal are counted wrongly";
        /* More permits may be out: callbacks that were left behind keep theirs. */
        if (p->core && core_pool_permits(p->core)->running < here)
            return "desk: I1: attempts run without a permit";
        running += here;
    }
    return running != d->run_count ? "desk: attempts run in no pool" : NULL;
}

/* As long as something of a line is here, the host has it, and under its number no other one. */
static bool has_line(const struct desk *d, const struct desk_task *t)
{
    const struct schedule_line *l = t->place.line;

    switch (t->state) {
    case DESK_TASK_READY:
        return d->host->line(d->host, schedule_line_id(l)) != NULL;
    case DESK_TASK_RUNNING:
        return d->host->line(d->host, schedule_line_id(l)) == t->attempt->shown.line;
    default:
        return true; /* it is out of its line */
    }
}

/* It has a time for its worker while it is ready, by a pool that is there. */
static bool may_be_timed(const struct desk *d, const struct desk_task *t)
{
    if (t->state != DESK_TASK_READY)
        return false;
    list_foreach (node, &d->pools) {
        const struct desk_pool *p = list_entry(node, struct desk_pool, link);

        if (p == t->checkout->pool)
            return p->core != NULL;
    }
    return false;
}

static const char *check_tasks(const struct desk *d)
{
    struct desk_task *t;
    uint64_t bytes = 0;
    size_t timed = 0, i = 0;

    while ((t = idmap_next(&d->tasks, &i))) {
        bytes += t->task->payload_len;
        timed += t->checkout != NULL;
        if (t->state == DESK_TASK_READY && t->attempt)
            return "desk: I4: a task that waits has an attempt";
        if (t->state != DESK_TASK_READY && (!t->attempt || t->attempt->t != t))
            return "desk: I2: a task that runs has no attempt";
        if (t->place.aside != (t->state == DESK_TASK_READY && window_is_aside(d, t)))
            return "desk: a task is aside for no reason";
        if (t->checkout && !may_be_timed(d, t))
            return "desk: a task waits for a worker that it does not need";
        if (!has_line(d, t))
            return "desk: the line of a task is gone";
    }
    if (timed != d->checkouts.len || !heap_is_valid(&d->checkouts))
        return "desk: tasks that wait for their workers are in no order";
    return bytes != d->window_bytes ? "desk: the bytes of the window are counted wrongly" : NULL;
}

/* Lines that are asked for, and those that wait to be. */
static const char *check_lines(const struct desk *d)
{
    if (d->takes > DESK_TAKES_MAX)
        return "desk: I8: too many lines are asked for at a time";
    if (d->takes == 0 && d->asked_tasks > 0)
        return "desk: what was asked for is counted wrongly";
    if (!list_empty(&d->wants) && d->takes < DESK_TAKES_MAX && !d->stopped &&
        instant_is_never(d->ask_at))
        return "desk: P5: lines wait to be asked for, and could be";
    return NULL;
}

const char *desk_check(const struct desk *d)
{
    const char *wrong = check_pools(d);

    if (!wrong)
        wrong = check_tasks(d);
    if (!wrong)
        wrong = check_lines(d);
    return wrong ? wrong : schedule_check(d->schedule);
}
