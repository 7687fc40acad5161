/*
 * The invariants (docs/INVARIANTS.md), checked over everything. Slow; for tests, the simulator and
 * debug builds.
 */
#include "core/internal.h"

/* Rows in runs: those of the pool are those of its batches, and hold no more permits than there are of them. */
static const char *check_runs(const struct dispatcher *d, const struct core_pool *p,
                              uint64_t *ret_ahead)
{
    uint64_t rows = 0;

    list_foreach (node, &d->batches) {
        const struct core_batch *b = list_entry(node, struct core_batch, link);
        uint64_t ready = 0;

        if (b->pool != p)
            continue;
        rows += b->run_rows;
        for (const struct core_run *r = b->runs; r; r = r->next)
            ready += r->rows;
        if (ready != b->run_ready)
            return "I2: rows that are ready in runs are miscounted";
    }
    if (rows != p->run_rows)
        return "I2: rows that run in runs are miscounted";
    if (p->run_permits > p->run_rows || (p->run_rows > 0 && p->run_permits == 0))
        return "I1: rows in runs hold permits that they have no use for, or none";
    if (p->run_young + p->run_old > p->run_rows)
        return "P5: rows in runs are looked after that are not there";
    *ret_ahead += p->run_rows - p->run_permits;
    return NULL;
}

static const char *check_pool(const struct core_pool *p, size_t *running, uint64_t *abandoned)
{
    size_t busy = 0, idle = 0;

    list_foreach (node, &p->busy_slots) {
        const struct core_attempt_slot *s = list_entry(node, struct core_attempt_slot, link);

        busy++;
        if (!s->running || !s->permit.account)
            return "I1: a slot that does not run holds a permit";
        if (s->task && (s->task->slot != s || s->task->state != TASK_RUNNING))
            return "I2: a slot and its task disagree";
        if (!s->task && !s->abandoned_task)
            return "I5: a slot runs for nobody";
        if (s->abandoned_task)
            ++*abandoned;
    }
    list_foreach (node, &p->free_slots) {
        idle++;
        if (list_entry(node, struct core_attempt_slot, link)->running)
            return "I1: a slot runs without a permit";
        if (list_entry(node, struct core_attempt_slot, link)->broken_in)
            return "I1: a slot that does not run holds a ticket of the breaker";
    }
    if (busy + p->run_permits != p->permits.running)
        return "I1: permits taken in a pool differ from the attempts that run in it";
    if (busy + idle + p->ahead_count != p->slot_count ||
        p->slot_count < p->options.size + p->ahead_max || p->permits.running > p->permits.granted ||
        (p->permits.running > 0 && permit_running(&p->permits) > p->permits.granted) ||
        p->permits.limit != p->options.size)
        return "P3: more places than the pool has";
    *running += busy + p->run_permits;
    return NULL;
}

/* What the attempts that run have beside their places is what is counted. */
static const char *check_needs(const struct core_pool *p)
{
    const struct permit_account *a = &p->permits;
    uint64_t cpu = 0, memory = 0;
    size_t low = 0;

    list_foreach (node, &p->busy_slots) {
        const struct permit *out = &list_entry(node, struct core_attempt_slot, link)->permit;

        if (out->account != a || !permit_has_its_slots(out))
            return "I1: an attempt runs with another pool's permit, or in a slot's place that is "
                   "free";
        cpu += out->cpu_milli;
        memory += out->memory_mib;
        low += out->low;
    }
    if (cpu != a->cpu_milli || memory != a->memory_mib || low != a->running_low)
        return "I1: quotas differ from what the attempts that run have of them";
    if (a->unheld != p->run_permits)
        return "I1: permits of rows in runs are miscounted";
    return NULL;
}

/* Attempts without a permit: few, and only while all permits of the pool are taken. */
static const char *check_ahead(const struct core_pool *p, uint64_t *ret_ahead)
{
    size_t ahead = 0;

    list_foreach (node, &p->ahead) {
        const struct core_attempt_slot *s = list_entry(node, struct core_attempt_slot, link);

        ahead++;
        if (!s->running || s->permit.account || !s->task || s->task->slot != s ||
            s->task->state != TASK_RUNNING)
            return "I2: a slot that is ahead and its task disagree";
    }
    if (ahead != p->ahead_count || ahead > p->ahead_max ||
        (ahead > 0 && p->permits.running < p->options.size && permit_available(&p->permits)))
        return "P3: attempts are ahead although there are places, or too many are";
    *ret_ahead += ahead;
    return NULL;
}

static bool list_is(const struct list *l, enum task_state state, uint64_t *ret_count)
{
    *ret_count = 0;
    list_foreach (node, l) {
        const struct core_task *t = list_entry(node, struct core_task, link);

        if (t->state != state || (state != TASK_RUNNING && t->slot))
            return false;
        ++*ret_count;
    }
    return true;
}

static const char *check_counts(const struct core_batch *b, const uint64_t by_state[])
{
    const struct core_stats *s = &b->stats;

    if (by_state[TASK_READY] != s->ready || by_state[TASK_WAITING] != s->waiting ||
        by_state[TASK_RUNNING] != s->running || by_state[TASK_QUEUED] != s->queued)
        return "I2: the counts of a batch differ from its tasks";
    if (by_state[TASK_FINISHED] != b->uncommitted)
        return "I3: uncommitted rows are miscounted";
    if (by_state[TASK_DELIVERED] || by_state[TASK_NEW])
        return "I2: a task is in the reorder buffer and elsewhere";
    if (!b->stopping && by_state[TASK_DROPPED])
        return "P1: a row was dropped from a batch that was not stopped";
    if (b->options.single && s->ready + s->waiting + s->queued > 0)
        return "I4: a row that was offered waits";
    if (s->accepted - s->delivered != b->order.held)
        return "P2: accepted rows are neither delivered nor held";
    if (!b->options.unordered && s->delivered != b->order.next - b->options.first_index)
        return "P2: the order has moved without a delivery";
    if (!list_empty(&b->turn) != (s->ready > b->away_ready) ||
        !list_empty(&b->away_turn) != (b->away_ready > 0))
        return "P5: a batch with ready rows is not in its pool's turn";
    return NULL;
}

/* Rows of a pool that hold back new ones are counted right. */
static const char *check_crowding(const struct dispatcher *d, const struct core_pool *p)
{
    size_t crowding = 0;

    list_foreach (node, &d->batches) {
        const struct core_batch *b = list_entry(node, struct core_batch, link);

        if (b->pool != p && b->pool->fallback != p)
            continue;
        list_foreach (waiting, &b->waiting) {
            const struct core_task *t = list_entry(waiting, struct core_task, link);

            crowding += t->crowding && task_pool(t) == p;
        }
    }
    return crowding == p->crowding ? NULL : "rows that hold back new ones are miscounted";
}

static bool is_over(const struct core_task *t)
{
    return t->state == TASK_FINISHED || t->state == TASK_COMMITTED || t->state == TASK_DELIVERED ||
           t->state == TASK_DROPPED;
}

/* One task of a session at a time is anywhere but in its queue, and what is over holds none. */
static const char *check_session(const struct core_task *t)
{
    const struct session *s = t->bound;
    bool in_line = !list_empty(&t->in_line);

    if (is_over(t) && (s || t->home))
        return "I4: a task that is over holds a session";
    if (t->parked && (t->state != TASK_QUEUED || !in_line))
        return "I2: a task that is not queued is parked with a worker";
    if (in_line != (t->state == TASK_QUEUED))
        return "I2: a task is in a session's queue, and its state says something else";
    if (t->home && t->home->holder != t)
        return "I4: a task is away, and does not hold its session at home";
    if (!s)
        return t->state == TASK_QUEUED && !t->parked ? "I2: a task is queued for no session" : NULL;
    if (s->taken != (s->holder != NULL))
        return "I4: a session is taken by no task";
    if (session_is_parked(t) && !t->parked)
        return s->worker ? "P5: a task waits for others to start, and has its worker" : NULL;
    if (t->state == TASK_QUEUED && !t->parked && !s->waited)
        return "P5: a task waits for a session whose queue is not looked at";
    if (t->state == TASK_QUEUED && !t->parked)
        return s->holder ? NULL : "P5: a task waits for a session that is free";
    /* While it waits to begin in the fallback pool it has not asked for its session there yet. */
    if (s->holder != t && !(t->away && t->state == TASK_WAITING))
        return "I4: a task goes on while another one of its session does";
    return NULL;
}

struct given {
    const struct core_pool *pool;
    uint64_t in_flight;
};

static void count_given(void *ctx, const struct worker *w)
{
    ((struct given *)ctx)->in_flight += w->in_flight;
}

/* What workers have in hand are attempts that hold permits; some of these may have ended there already. */
static const char *check_workers(const struct core_pool *p)
{
    struct given given = {.pool = p};
    const char *wrong;

    if (!p->crew)
        return NULL;
    crew_each(p->crew, count_given, &given);
    if (given.in_flight > p->permits.running)
        return "I1: workers have more in hand than attempts run";
    wrong = crew_check(p->crew);
    return wrong ? wrong : affinity_check(crew_affinity(p->crew));
}

/* Of a large window of rows in no order, few places may be in use: the first ones. */
static uint64_t places_in_use(const struct core_batch *b)
{
    const struct reorder *r = &b->order;
    uint64_t held = r->held <= r->mask ? r->held : r->mask + 1;

    return b->options.unordered && (held > r->mask || !r->slots[held]) ? held : r->mask + 1;
}

static const char *check_batch(const struct core_batch *b, uint64_t *live, uint64_t *timers)
{
    uint64_t by_state[TASK_STATES] = {0}, held_bytes = 0;
    uint64_t fresh, waiting, running, queued, away;
    const char *wrong;

    for (uint64_t i = 0; i < places_in_use(b); i++) {
        const struct core_task *t = b->order.slots[i];

        if (!t && b->options.unordered)
            return "P2: the rows of an unordered batch have a gap";
        if (!t)
            continue;
        by_state[t->state]++;
        if (t->run.rows > 0)
            held_bytes += t->run.output_bytes;
        else if (t->state == TASK_FINISHED || t->state == TASK_COMMITTED)
            held_bytes += answer_bytes(&t->answer);
        if (heap_contains(&t->timer))
            ++*timers;
        if (is_over(t) && heap_contains(&t->timer))
            return "I2: a finished task has a timer";
        if (t->state != TASK_RUNNING && t->slot)
            return "I4: a task that does not run holds a slot";
        if (b->options.unordered && t->place != i)
            return "P2: a row of an unordered batch is not where it says";
        wrong = check_session(t);
        if (wrong)
            return wrong;
    }
    if (held_bytes > b->held_bytes || (b->lent == 0 && !b->aborted && held_bytes < b->held_bytes))
        return "I8: the outputs that a batch holds are miscounted";
    if (!list_is(&b->fresh, TASK_READY, &fresh) || !list_is(&b->waiting, TASK_WAITING, &waiting) ||
        !list_is(&b->running, TASK_RUNNING, &running) ||
        !list_is(&b->queued, TASK_QUEUED, &queued) || !list_is(&b->away, TASK_READY, &away))
        return "I2: a task is on the wrong list";
    if (fresh + b->retries.len + b->run_ready + away != b->stats.ready ||
        waiting != b->stats.waiting || running + b->run_rows != b->stats.running ||
        queued != b->stats.queued || away != b->away_ready)
        return "I2: the lists of a batch differ from its counts";
    if (!heap_is_valid(&b->retries))
        return "the heap of retries is out of order";
    *live += by_state[TASK_READY] + by_state[TASK_WAITING] + by_state[TASK_RUNNING] +
             by_state[TASK_QUEUED];
    *live += b->run_ready + b->run_rows;
    by_state[TASK_READY] += b->run_ready;
    by_state[TASK_RUNNING] += b->run_rows;
    return check_counts(b, by_state);
}

const char *dispatcher_check(const struct dispatcher *d)
{
    uint64_t live = 0, timers = 0, abandoned = 0, left_behind = 0, judged = 0, ahead = 0;
    size_t running = 0;
    const char *wrong = NULL;

    list_foreach (node, &d->pools) {
        const struct core_pool *p = list_entry(node, struct core_pool, link);

        wrong = check_pool(p, &running, &abandoned);
        if (!wrong)
            wrong = check_needs(p);
        if (!wrong)
            wrong = check_ahead(p, &ahead);
        if (!wrong)
            wrong = check_runs(d, p, &ahead);
        if (!wrong)
            wrong = check_crowding(d, p);
        if (!wrong)
            wrong = check_workers(p);
        if (wrong)
            return wrong;
    }
    list_foreach (node, &d->batches) {
        const struct core_batch *b = list_entry(node, struct core_batch, link);

        wrong = check_batch(b, &live, &timers);
        if (wrong)
            return wrong;
        left_behind += b->abandoned;
        judged += b->stats.running;
    }
    if (abandoned != left_behind || abandoned + judged != running + ahead)
        return "I5: attempts that were left behind are miscounted";
    if (running != d->permits.running)
        return "I1: the global count differs from the pools'";
    if (d->permits.running > d->permits.granted)
        return "P3: more attempts run than the global limit allows";
    if (live != d->live)
        return "I2: live tasks are miscounted";
    if (timers != d->timers.len || !heap_is_valid(&d->timers))
        return "the timers do not match the tasks";
    return NULL;
}
