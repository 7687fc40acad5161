/* See watch.h. */
#include "simulation/desk/watch.h"

#include "base/mem.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

void watch_fail(struct watch *w, const char *what, uint64_t task)
{
    if (!w->wrong[0])
        snprintf(w->wrong, sizeof w->wrong, "%s (task %llu, at %.6f s)", what,
                 (unsigned long long)task, duration_seconds(w->now.ns) - 1000);
}

const char *watch_wrong(const struct watch *w)
{
    return w->wrong[0] ? w->wrong : NULL;
}

#define LOUD(w, ...)                                                                               \
    do {                                                                                           \
        if ((w)->loud) {                                                                           \
            fprintf(stderr, "%12.6f ", duration_seconds((w)->now.ns) - 1000);                      \
            fprintf(stderr, __VA_ARGS__);                                                          \
        }                                                                                          \
    } while (0)

static void mix(struct watch *w, uint64_t value)
{
    w->hash = (w->hash ^ value) * UINT64_C(0x100000001b3);
    w->hash ^= w->hash >> 29;
}

struct watch *watch_new(struct core_registry *r)
{
    struct watch *w = mem_calloc(1, sizeof *w);

    assert(w);
    w->registry = r;
    if (r->ops->reader(r, &w->reader, NULL) != WEIR_OK)
        assert(!"no reader");
    return w;
}

struct watch *watch_free(struct watch *w)
{
    if (!w)
        return NULL;
    w->reader->ops->close(w->reader);
    for (size_t i = 0; i < w->task_cap; i++)
        mem_free(w->tasks[i].after);
    mem_free(w->tasks);
    return mem_free(w);
}

struct watch_pool *watch_add_pool(struct watch *w, const char *name)
{
    struct watch_pool *p;

    assert(w->pool_count < WATCH_POOLS);
    p = &w->pools[w->pool_count++];
    *p = (struct watch_pool){.enabled = true};
    snprintf(p->name, sizeof p->name, "%s", name);
    return p;
}

struct watch_task *watch_task(struct watch *w, uint64_t id)
{
    if (id >= w->task_cap) {
        size_t cap = (id + 64) * 2;

        w->tasks = mem_realloc(w->tasks, cap * sizeof *w->tasks);
        assert(w->tasks);
        memset(w->tasks + w->task_cap, 0, (cap - w->task_cap) * sizeof *w->tasks);
        for (size_t i = w->task_cap; i < cap; i++)
            w->tasks[i].ended_at = w->tasks[i].retried_at = INSTANT_NEVER;
        w->task_cap = cap;
    }
    if (id > w->task_last)
        w->task_last = id;
    return &w->tasks[id];
}

static void add_after(struct watch_task *t, uint64_t id)
{
    t->after = mem_realloc(t->after, (t->after_count + 1) * sizeof *t->after);
    assert(t->after);
    t->after[t->after_count++] = id;
}

void watch_submitted(struct watch *w, uint64_t id, const struct registry_spec *s,
                     const uint64_t *siblings)
{
    struct watch_task *t = watch_task(w, id);

    t->run_after_failure = s->run_after_failure;
    t->max_attempts = s->max_attempts;
    t->deadline_ns = s->deadline_ns;
    t->not_before_ns = s->not_before_ns;
    t->batch = s->batch;
    for (uint32_t i = 0; i < s->after_count; i++)
        add_after(t, s->after[i].id ? s->after[i].id : siblings[s->after[i].sibling]);
}

void watch_edited(struct watch *w, uint64_t id, const struct registry_edit *e)
{
    struct watch_task *t = watch_task(w, id);

    for (uint32_t i = 0; i < e->after_count; i++)
        add_after(t, e->after[i].id);
    if (e->not_before_ns)
        t->not_before_ns = *e->not_before_ns;
}

void watch_resolved(struct watch *w, uint64_t id)
{
    watch_task(w, id)->after_count = 0;
}

void watch_cancelled(struct watch *w, uint64_t id)
{
    struct watch_task *t = watch_task(w, id);

    if (t->retried_at.ns == w->now.ns)
        return; /* it was retried in the same transaction */
    t->cancelled = true;
    if (t->state < WATCH_DONE && !t->marked)
        watch_fail(w, "P1: the record does not know that a task is cancelled", id);
}

/* ---- attempts ---- */

static struct watch_run *find_run(struct watch *w, uint64_t token)
{
    for (size_t i = 0; i < w->run_top; i++)
        if (w->runs[i].token == token)
            return &w->runs[i];
    return NULL;
}

void watch_prepared(struct watch *w, const struct desk_attempt *a)
{
    const struct registry_line *l = a->line;
    struct watch_run *r = &w->prepared;

    *r = (struct watch_run){.token = a->token,
                            .task = a->task->id,
                            .cpu_milli = l->cpu_milli,
                            .memory_mib = l->memory_mib};
    assert(l->session.len < sizeof r->session && l->slots.len < sizeof r->slots);
    memcpy(r->slots, l->slots.data, l->slots.len);
    memcpy(r->session, l->session.data, l->session.len);
    memcpy(r->numbers, a->slots, sizeof r->numbers);
    w->prepared_priority = l->priority;
    w->prepared_number = a->number;
    if (l->id != a->task->line)
        watch_fail(w, "an attempt has another line than its task", a->task->id);
}

static bool dependency_is_met(struct watch *w, const struct watch_task *t, uint64_t on)
{
    const struct watch_task *o = watch_task(w, on);

    return o->has_done || (t->run_after_failure && o->has_failed);
}

static void check_task(struct watch *w, const struct watch_run *r)
{
    uint64_t id = r->task;
    struct watch_task *t = watch_task(w, id);

    if (t->live > 0)
        watch_fail(w, "I2: two attempts of a task at a time", id);
    if (w->prepared_number <= t->attempts)
        watch_fail(w, "a number of an attempt was given twice", id);
    if (t->deadline_ns != 0 && w->wall_ns >= t->deadline_ns)
        watch_fail(w, "a task starts after its deadline", id);
    if (t->not_before_ns > w->wall_ns && !w->set_back)
        watch_fail(w, "a task starts before its time", id);
    for (size_t i = 0; i < t->after_count; i++)
        if (!dependency_is_met(w, t, t->after[i]))
            watch_fail(w, "a task starts before what it depends on", id);
    if (t->state == WATCH_UNKNOWN)
        watch_fail(w, "a task starts that was never accepted", id);
    if (t->cancelled || t->state == WATCH_CANCELLED)
        watch_fail(w, "P1: a task starts after it was cancelled", id);
    if (t->state >= WATCH_DONE &&
        instant_before(instant_add(t->ended_at, w->mail_max_ns), w->now)) {
        w->strays++;
        if (!(w->set_back && t->deadline_ns != 0))
            watch_fail(w, "I5: a task starts that has ended", id);
    }
}

/* "s2" of "s0,s2": its number in the watch's list; and on to the next. */
static size_t next_slot(struct slice *names)
{
    size_t kind = (size_t)(names->data[1] - '0');
    size_t taken = names->len > 2 ? 3 : names->len;

    assert(names->data[0] == 's' && kind < WATCH_SLOTS);
    names->data += taken;
    names->len -= taken;
    return kind;
}

static void check_slots(struct watch *w, const struct watch_run *r)
{
    struct slice names = slice_of(r->slots);

    for (size_t i = 0; names.len > 0; i++) {
        size_t kind = next_slot(&names);

        if (r->numbers[i] < 1 || r->numbers[i] > w->slots[kind])
            watch_fail(w, "P3: an attempt has a place of a slot that there is not", r->task);
        for (size_t k = 0; k < w->run_top; k++) {
            const struct watch_run *o = &w->runs[k];
            struct slice others = slice_of(o->slots);

            for (size_t n = 0; o->token && others.len > 0; n++)
                if (next_slot(&others) == kind && o->numbers[n] == r->numbers[i])
                    watch_fail(w, "P3: two attempts have the same place of a slot", r->task);
        }
    }
}

/* Places that tasks below the reserve may have. */
static size_t low_most(const struct watch_pool *p)
{
    size_t kept = (size_t)ceil((double)p->limit * p->reserve.share);
    size_t most = kept < p->limit ? p->limit - kept : 0;

    return most == 0 && p->reserve.share < 1 ? 1 : most;
}

/* Together with those whose place it has taken, and in which something runs still. */
static size_t running_by_name(const struct watch *w, const struct watch_pool *p)
{
    size_t sum = 0;

    for (size_t i = 0; i < w->pool_count; i++)
        if (strcmp(w->pools[i].name, p->name) == 0)
            sum += w->pools[i].running;
    return sum;
}

static void check_limits(struct watch *w, const struct watch_pool *p, const struct watch_run *r)
{
    uint64_t cpu = r->cpu_milli, memory = r->memory_mib;
    size_t low = r->low;

    for (size_t i = 0; i < w->run_top; i++) {
        const struct watch_run *o = &w->runs[i];

        if (!o->token)
            continue;
        if (r->session[0] && !o->asked && strcmp(o->session, r->session) == 0)
            watch_fail(w, "P3: two attempts of a session at a time", r->task);
        if (strcmp(o->pool->name, p->name) != 0)
            continue;
        cpu += o->cpu_milli;
        memory += o->memory_mib;
        low += o->low;
    }
    if (running_by_name(w, p) > p->limit + p->burst_places)
        watch_fail(w, "P3: more attempts start in a pool than it has places", r->task);
    if (w->global_limit > 0 && w->running > w->global_limit)
        watch_fail(w, "P3: more attempts start than the global limit", r->task);
    /* What needs none of it starts though a quota was lowered below what runs. */
    if ((p->cpu_milli > 0 && r->cpu_milli > 0 && cpu > p->cpu_milli) ||
        (p->memory_mib > 0 && r->memory_mib > 0 && memory > p->memory_mib))
        watch_fail(w, "P3: a start passes a quota", r->task);
    if (r->low && p->burst_places == 0 && low > low_most(p))
        watch_fail(w, "P3: a task of low priority starts in what is reserved", r->task);
}

void watch_began(struct watch *w, struct watch_pool *p, const struct core_attempt *a)
{
    struct watch_run *r = find_run(w, 0);

    if (!r) {
        assert(w->run_top < WATCH_RUNS);
        r = &w->runs[w->run_top++];
    }
    if (w->prepared.token != a->token)
        watch_fail(w, "an attempt starts that was not prepared", a->index);
    w->prepared.token = 0;
    w->prepared.pool = p;
    w->prepared.low = p->reserve.share > 0 && w->prepared_priority < p->reserve.min_priority;
    LOUD(w, "begins: task %llu attempt %u in %s\n", (unsigned long long)w->prepared.task,
         w->prepared_number, p->name);
    w->begun++;
    w->running++;
    p->running++;
    if (!p->enabled || p->leaving)
        watch_fail(w, "a task starts in a pool that is disabled", w->prepared.task);
    if (w->stopped)
        watch_fail(w, "P8: a task starts after the stop", w->prepared.task);
    check_task(w, &w->prepared);
    check_slots(w, &w->prepared);
    check_limits(w, p, &w->prepared);
    watch_task(w, w->prepared.task)->live++;
    *r = w->prepared;
    r->token = a->token;
    mix(w, a->token);
    mix(w, r->task);
    mix(w, (uint64_t)w->now.ns);
}

void watch_asked(struct watch *w, const struct core_attempt *a)
{
    struct watch_run *r = find_run(w, a->token);

    if (!r || r->asked || r->pool->at_once)
        return;
    LOUD(w, "is left behind: task %llu\n", (unsigned long long)r->task);
    r->asked = true;
    w->abandoned++;
    watch_task(w, r->task)->live--;
}

void watch_ended(struct watch *w, const struct core_attempt *a)
{
    struct watch_run *r = find_run(w, a->token);

    if (!r) {
        watch_fail(w, "I5: an attempt ends that does not run", a->index);
        return;
    }
    LOUD(w, "ends: task %llu as %s\n", (unsigned long long)r->task,
         weir_outcome_name(a->answer.outcome));
    if (!r->asked)
        watch_task(w, r->task)->live--;
    r->token = 0;
    r->pool->running--;
    w->running--;
    mix(w, a->token);
    mix(w, a->answer.outcome);
    mix(w, (uint64_t)w->now.ns);
}

/* ---- the record ---- */

static bool says(struct slice text, const char *what)
{
    return text.len > 0 && memmem(text.data, text.len, what, strlen(what)) != NULL;
}

static bool was(const struct watch_task *t, unsigned states)
{
    return (states & (1u << t->state)) != 0;
}

#define IN(s) (1u << WATCH_##s)

static void ended(struct watch *w, struct watch_task *t, enum watch_state state)
{
    t->state = state;
    t->marked = false;
    t->ended_at = w->now;
    t->has_done = t->has_done || state == WATCH_DONE;
    t->has_failed = t->has_failed || state == WATCH_FAILED;
}

static void changed(struct watch *w, struct watch_task *t, const struct registry_event *e)
{
    if (says(e->detail, "retry")) {
        if (!was(t, IN(FAILED) | IN(CANCELLED)))
            watch_fail(w, "I6: a task is retried that has not failed", e->task);
        t->state = WATCH_WAITS;
        t->cancelled = false;
        t->ended_at = INSTANT_NEVER;
        t->retried_at = w->now;
        t->counted = 0;
        t->not_before_ns = t->attempts > 0 ? 0 : t->not_before_ns;
    } else if (says(e->detail, "\"cancel\":true")) {
        if (!was(t, IN(RUNS_NOW)) || t->marked)
            watch_fail(w, "I6: a task is marked as cancelled that does not run, or twice", e->task);
        t->marked = true;
    } else if (t->state == WATCH_READY) {
        t->state = WATCH_MAY_WAIT;
    } else if (!was(t, IN(WAITS) | IN(MAY_WAIT))) {
        watch_fail(w, "I6: a task is changed that does not wait", e->task);
    }
}

/* What each kind of event may follow, and what the task is then (I6). */
static void take_task_event(struct watch *w, struct watch_task *t, const struct registry_event *e)
{
    static const struct {
        unsigned from;
        enum watch_state to; /* UNKNOWN: as it was */
    } rules[REGISTRY_EVENT_KINDS] = {
        [REGISTRY_TASK_SUBMITTED] = {IN(UNKNOWN), WATCH_WAITS},
        [REGISTRY_TASK_READY] = {IN(WAITS) | IN(RAN) | IN(MAY_WAIT), WATCH_READY},
        [REGISTRY_TASK_ASSIGNED] = {IN(READY) | IN(MAY_WAIT), WATCH_RUNS_NOW},
        [REGISTRY_RUNNER_STARTED] = {IN(RUNS_NOW), WATCH_UNKNOWN},
        [REGISTRY_RUNNER_COMPLETED] = {IN(RUNS_NOW), WATCH_RAN},
        [REGISTRY_RUNNER_FAILED] = {IN(RUNS_NOW), WATCH_RAN},
        [REGISTRY_RUNNER_TIMEOUT] = {IN(RUNS_NOW), WATCH_RAN},
        [REGISTRY_RUNNER_LOST] = {IN(RUNS_NOW), WATCH_RAN},
        [REGISTRY_RUNNER_CANCELLED] = {IN(RUNS_NOW), WATCH_RAN},
        [REGISTRY_RUNNER_CAPACITY] = {IN(RUNS_NOW), WATCH_RAN},
        [REGISTRY_TASK_RETRY_SCHEDULED] = {IN(RAN), WATCH_WAITS},
        [REGISTRY_TASK_DONE] = {IN(RAN), WATCH_DONE},
        [REGISTRY_TASK_FAILED] = {IN(WAITS) | IN(READY) | IN(MAY_WAIT) | IN(RAN), WATCH_FAILED},
        [REGISTRY_TASK_CANCELLED] = {IN(WAITS) | IN(READY) | IN(MAY_WAIT) | IN(RAN),
                                     WATCH_CANCELLED},
        [REGISTRY_TASK_QUARANTINED] = {IN(RAN), WATCH_UNKNOWN},
        [REGISTRY_TASK_DELETED] = {IN(DONE) | IN(FAILED) | IN(CANCELLED), WATCH_DELETED},
    };
    char text[120];

    if (e->kind == REGISTRY_TASK_CHANGED) {
        changed(w, t, e);
        return;
    }
    if (rules[e->kind].from == 0)
        return;
    if (t->marked && (e->kind == REGISTRY_TASK_READY || e->kind == REGISTRY_TASK_RETRY_SCHEDULED))
        watch_fail(w, "P1: a task that was cancelled is to run again", e->task);
    if (e->kind == REGISTRY_TASK_CANCELLED && t->live > 0 && t->state != WATCH_RAN)
        watch_fail(w, "a task is cancelled as if nothing of it ran", e->task);
    if (!was(t, rules[e->kind].from)) {
        snprintf(text, sizeof text, "I6: %s comes after state %d of the record",
                 registry_event_name(e->kind), (int)t->state);
        watch_fail(w, text, e->task);
    }
    if (rules[e->kind].to >= WATCH_DONE)
        ended(w, t, rules[e->kind].to);
    else if (rules[e->kind].to != WATCH_UNKNOWN)
        t->state = rules[e->kind].to;
}

static bool ends_at_once(const struct watch *w, struct slice pool)
{
    for (size_t i = 0; i < w->pool_count; i++)
        if (w->pools[i].core && slice_equal(slice_of(w->pools[i].name), pool))
            return w->pools[i].at_once;
    return false;
}

/* It fails without an attempt, or another one than it has had. */
static void take_untried(struct watch *w, const struct registry_event *e)
{
    bool broken = says(e->detail, "\"circuit_open\"");
    bool kept = says(e->detail, "\"checkout_timeout\"");

    w->broken += broken;
    w->kept_waiting += kept;
    if (!broken && !kept && !says(e->detail, "\"deadline\"") && !says(e->detail, "\"dependency\""))
        watch_fail(w, "a task fails untried, and nothing says why", e->task);
    if (e->attempt != 0)
        watch_fail(w, "I5: a task that fails untried has an attempt", e->task);
}

static void check_attempt(struct watch *w, struct watch_task *t, const struct registry_event *e)
{
    switch (e->kind) {
    case REGISTRY_TASK_ASSIGNED:
        if (e->attempt != t->attempts + 1)
            watch_fail(w, "I5: attempts are not counted one by one", e->task);
        t->attempts = e->attempt;
        break;
    case REGISTRY_RUNNER_FAILED:
    case REGISTRY_RUNNER_TIMEOUT:
    case REGISTRY_RUNNER_LOST:
        t->counted++;
        if (e->attempt != t->attempts)
            watch_fail(w, "I5: another attempt ends than the one that ran", e->task);
        if (e->kind == REGISTRY_RUNNER_LOST)
            t->lost = e->attempt;
        break;
    case REGISTRY_RUNNER_LATE:
        if (t->state == WATCH_RUNS_NOW && e->attempt == t->attempts)
            watch_fail(w, "I5: a report is late before its attempt has ended", e->task);
        w->lates_of_lost +=
            e->attempt == t->lost && says(e->detail, "\"failed\"") && ends_at_once(w, e->pool);
        break;
    case REGISTRY_TASK_FAILED:
        /* P4: what a refusal or a stop has ended uses up no attempt. */
        if (t->state == WATCH_RAN && t->counted == 0 && !says(e->detail, "retry_timeout") &&
            !says(e->detail, "retry_after_too_long"))
            watch_fail(w, "P4: a task fails without an attempt that counts", e->task);
        if (t->state != WATCH_RAN)
            take_untried(w, e);
        break;
    default:
        break;
    }
}

static bool take_event(void *ctx, const struct registry_event *e)
{
    struct watch *w = ctx;

    if (e->seq != w->seq + 1)
        watch_fail(w, "events have a gap", e->task);
    w->seq = e->seq;
    LOUD(w, "%llu %s task %llu attempt %u %.*s\n", (unsigned long long)e->seq,
         registry_event_name(e->kind), (unsigned long long)e->task, e->attempt, (int)e->detail.len,
         e->detail.data ? e->detail.data : "");
    w->kinds[e->kind]++;
    mix(w, e->seq);
    mix(w, e->kind);
    mix(w, e->task);
    mix(w, (uint64_t)e->at_ns);
    if (e->task != 0) {
        struct watch_task *t = watch_task(w, e->task);

        check_attempt(w, t, e);
        take_task_event(w, t, e);
    }
    return true;
}

void watch_committed(struct watch *w)
{
    const struct registry_event_filter all = {0};
    uint64_t before;

    do {
        before = w->seq;
        if (w->reader->ops->events(w->reader, &all, w->seq, 1000, take_event, w, NULL) != WEIR_OK)
            watch_fail(w, "the record cannot be read", 0);
    } while (w->seq != before);
}

/* ---- steps ---- */

void watch_step(struct watch *w)
{
    size_t running = 0;

    for (size_t i = 0; i < w->pool_count; i++) {
        const struct watch_pool *p = &w->pools[i];

        if (p->core && core_pool_permits(p->core)->running != p->running)
            watch_fail(w, "I1: a pool's permits are not the attempts that run", 0);
        running += p->running;
    }
    if (running != w->running)
        watch_fail(w, "the witness counts wrongly", 0);
}

void watch_restarted(struct watch *w)
{
    if (w->running != 0)
        watch_fail(w, "attempts run after the end of their world", 0);
    w->pool_count = 0;
    w->stopped = false;
    for (uint64_t id = 1; id <= w->task_last; id++) {
        struct watch_task *t = watch_task(w, id);

        t->live = 0;
        t->retried_at = INSTANT_NEVER;
        t->ended_at = INSTANT_NONE; /* the time begins anew */
    }
}

void watch_over(struct watch *w)
{
    for (uint64_t id = 1; id <= w->task_last; id++) {
        const struct watch_task *t = watch_task(w, id);

        if (t->state < WATCH_DONE)
            watch_fail(w, "P1: an accepted task has not ended", id);
        if (t->live != 0)
            watch_fail(w, "I1: an attempt runs after the end", id);
    }
    if (w->running != 0)
        watch_fail(w, "I1: attempts run after the end", 0);
}
