/*
 * What is done in a life: ops of users, and what somebody does to the desk, its pools, its store
 * and its clock. See life.h.
 */
#include "simulation/desk/life_internal.h"

#include "base/mem.h"
#include "store/registry/memory_registry.h"

#include <assert.h>
#include <stdio.h>

/* An op of a user with all that it points to. */
struct order {
    struct registry_op op;
    struct life *life;
    struct registry_spec specs[SPECS];
    struct registry_after after[SPECS][AFTER];
    char keys[SPECS][24], payloads[SPECS][8], sessions[SPECS][16];
    uint64_t ids[SPECS];
    bool existing[SPECS];
    int32_t priority;
    int64_t when;
    uint64_t batch_last; /* the last task when it was sent */
};

/* ---- orders ---- */

static void order_done(struct registry_op *op)
{
    struct order *o = (struct order *)(void *)op;
    struct life *l = o->life;
    bool ok = op->err.status == WEIR_OK;

    switch (op->kind) {
    case REGISTRY_SUBMIT:
        l->tally->refused_submits += !ok;
        for (size_t i = 0; ok && i < op->submit.count; i++) {
            l->tally->submitted += !o->existing[i];
            l->tally->existing += o->existing[i];
            if (!o->existing[i])
                watch_submitted(l->watch, o->ids[i], &o->specs[i], o->ids);
        }
        break;
    case REGISTRY_CANCEL:
        if (!ok)
            break;
        l->tally->cancels_acked++;
        l->tally->cancels_running += op->cancel.ret_running;
        /* Killed right behind the acknowledgement, while what was cancelled runs. */
        if (op->cancel.ret_running > 0 && !l->watch->stopped && l->done < l->options.operations)
            l->crash |= one_in(l, 10);
        if (op->cancel.task != 0)
            watch_cancelled(l->watch, op->cancel.task);
        for (uint64_t id = 1; op->cancel.batch != 0 && id <= o->batch_last; id++)
            if (watch_task(l->watch, id)->batch == op->cancel.batch)
                watch_cancelled(l->watch, id);
        break;
    case REGISTRY_EDIT:
        l->tally->edits_done += ok;
        if (ok)
            watch_edited(l->watch, op->edit.task, &op->edit);
        break;
    case REGISTRY_RETRY:
        l->tally->retries_done += ok;
        break;
    case REGISTRY_RESOLVE:
        l->tally->resolved += ok;
        if (ok && op->resolve.how == REGISTRY_RESOLVE_RUN)
            watch_resolved(l->watch, op->resolve.task);
        break;
    case REGISTRY_BATCH_OPEN:
        if (ok)
            l->batches = op->batch_open.ret_id;
        break;
    case REGISTRY_PURGE:
        l->tally->purges += ok;
        l->tally->lines_kept += ok && op->purge.keep_lines;
        break;
    default:
        break;
    }
    mem_free(op->ret_ready);
    mem_free(op->ret_lines);
    if (op->kind == REGISTRY_PURGE)
        mem_free(op->purge.ret_lines_gone);
    mem_free(o);
}

static struct order *new_order(struct life *l, enum registry_op_kind kind)
{
    struct order *o = mem_calloc(1, sizeof *o);

    assert(o);
    o->life = l;
    o->op.kind = kind;
    o->op.done = order_done;
    o->batch_last = l->watch->task_last;
    return o;
}

static void send(struct order *o)
{
    if (o->life->options.loud)
        fprintf(stderr, "%12.6f sends op %d task %llu\n",
                duration_seconds(office_now(o->life->office).ns) - 1000, (int)o->op.kind,
                (unsigned long long)(o->op.kind == REGISTRY_CANCEL    ? o->op.cancel.task
                                     : o->op.kind == REGISTRY_RETRY   ? o->op.retry.task
                                     : o->op.kind == REGISTRY_EDIT    ? o->op.edit.task
                                     : o->op.kind == REGISTRY_DELETE  ? o->op.remove.task
                                     : o->op.kind == REGISTRY_RESOLVE ? o->op.resolve.task
                                                                      : 0));
    office_send(o->life->office, &o->op);
}

static uint64_t some_task(struct life *l)
{
    uint64_t last = l->watch->task_last;

    if (last == 0)
        return 1;
    return one_in(l, 2) ? 1 + below(l, last + 1) : last - below(l, last < 10 ? last : 10);
}

static int64_t some_time(struct life *l, duration_ns most)
{
    return life_wall(l) + (int64_t)below(l, (uint64_t)most) - most / 8;
}

static void draw_line(struct life *l, struct order *o, size_t i)
{
    struct registry_line *line = &o->specs[i].line;
    static const char *const pools[] = {"p0", "p1", "p2", "p3", "nowhere"};
    static const char *const skills[] = {"gpu", "net", "none"};
    static const char *const tenants[TENANTS] = {"x", "y", "z"};
    static const char *const sessions[] = {"a", "b", "c", "d"};
    static const char *const slots[] = {"s0", "s1", "s0,s1", "s2", "s1,s2,s3", "s3"};

    line->priority = one_in(l, 2) ? 0 : (int32_t)below(l, 5) - 2;
    if (one_in(l, 2))
        line->pool = slice_of(pools[below(l, one_in(l, 20) ? 5 : 4)]);
    else if (one_in(l, 3))
        line->skill = slice_of(skills[below(l, one_in(l, 10) ? 3 : 2)]);
    if (one_in(l, 2))
        line->tenant = slice_of(tenants[below(l, TENANTS)]);
    if (one_in(l, 4))
        line->session = slice_of(sessions[below(l, 4)]);
    else if (one_in(l, 2))
        line->session = slice_of(o->sessions[i]);
    if (one_in(l, 5))
        line->slots = slice_of(slots[below(l, 6)]);
    line->cpu_milli = one_in(l, 4) ? (uint32_t)below(l, 1500) : 0;
    line->memory_mib = one_in(l, 6) ? (uint32_t)below(l, 150) : 0;
}

static void draw_spec(struct life *l, struct order *o, size_t i, size_t count)
{
    struct registry_spec *s = &o->specs[i];

    snprintf(o->sessions[i], sizeof o->sessions[i], "s%u", (unsigned)below(l, 1000));
    draw_line(l, o, i);
    snprintf(o->payloads[i], sizeof o->payloads[i], one_in(l, 100) ? "bad" : "work");
    s->payload = slice_of(o->payloads[i]);
    if (one_in(l, 6)) {
        snprintf(o->keys[i], sizeof o->keys[i], "i%u", (unsigned)below(l, 40));
        s->idempotency_key = slice_of(o->keys[i]);
    }
    if (l->batches > 0 && one_in(l, 3)) {
        s->batch = 1 + below(l, l->batches);
        s->place = below(l, 100);
    }
    s->after = o->after[i];
    s->after_count = one_in(l, 4) ? (uint32_t)below(l, AFTER + 1) : 0;
    for (uint32_t n = 0; n < s->after_count; n++)
        o->after[i][n] = one_in(l, 2) && count > 1
                             ? (struct registry_after){.sibling = (uint32_t)below(l, count)}
                             : (struct registry_after){.id = some_task(l)};
    s->run_after_failure = one_in(l, 2);
    s->max_attempts = one_in(l, 3) ? 1 + (uint32_t)below(l, 3) : 0;
    s->timeout_ns = one_in(l, 6) ? rng_range(&l->rng, 1, 2 * NS_PER_S) : 0;
    if (one_in(l, 8))
        s->not_before_ns = some_time(l, 8 * NS_PER_S);
    if (one_in(l, 8))
        s->deadline_ns = some_time(l, 20 * NS_PER_S);
}

static void do_submit(struct life *l)
{
    struct order *o = new_order(l, REGISTRY_SUBMIT);
    size_t count = one_in(l, 2) ? 1 : 1 + below(l, SPECS);

    for (size_t i = 0; i < count; i++)
        draw_spec(l, o, i, count);
    o->op.submit = (struct registry_submit){
        .specs = o->specs, .count = count, .ret_ids = o->ids, .ret_existing = o->existing};
    send(o);
}

void life_cancel(struct life *l, uint64_t id)
{
    struct order *o = new_order(l, REGISTRY_CANCEL);

    o->op.cancel.task = id;
    send(o);
}

/* One of the attempts that run. */
struct pick {
    struct life *life;
    uint64_t token, task, seen;
};

static void pick_one(void *ctx, const struct desk_attempt *a)
{
    struct pick *p = ctx;

    if (below(p->life, ++p->seen) != 0)
        return;
    p->token = a->token;
    p->task = a->task->id;
}

static void do_cancel(struct life *l)
{
    struct pick p = {.life = l};
    struct order *o;

    if (l->batches == 0 || !one_in(l, 6)) {
        if (one_in(l, 3))
            desk_attempts(l->office->desk, pick_one, &p);
        life_cancel(l, p.task ? p.task : some_task(l));
        return;
    }
    o = new_order(l, REGISTRY_CANCEL);
    o->op.cancel.batch = 1 + below(l, l->batches);
    send(o);
}

static void do_retry(struct life *l)
{
    struct order *o = new_order(l, REGISTRY_RETRY);

    if (l->batches > 0 && one_in(l, 6))
        o->op.retry.batch = 1 + below(l, l->batches);
    else
        o->op.retry.task = some_task(l);
    send(o);
}

static void do_edit(struct life *l)
{
    struct order *o = new_order(l, REGISTRY_EDIT);
    struct registry_edit *e = &o->op.edit;

    e->task = some_task(l);
    if (one_in(l, 2)) {
        o->priority = (int32_t)below(l, 7) - 3;
        e->priority = &o->priority;
    }
    if (one_in(l, 4)) {
        o->when = some_time(l, 8 * NS_PER_S);
        e->not_before_ns = &o->when;
    }
    if (one_in(l, 4)) {
        o->after[0][0].id = some_task(l);
        e->after = o->after[0];
        e->after_count = 1;
    }
    send(o);
}

static void life_remove(struct life *l, uint64_t id)
{
    struct order *o = new_order(l, REGISTRY_DELETE);

    o->op.remove.task = id;
    send(o);
}

static void do_remove(struct life *l)
{
    life_remove(l, some_task(l));
}

void life_resolve(struct life *l, uint64_t id, enum registry_resolve how)
{
    struct order *o = new_order(l, REGISTRY_RESOLVE);

    o->op.resolve.task = id;
    o->op.resolve.how = how;
    send(o);
}

static void do_resolve(struct life *l)
{
    life_resolve(l, some_task(l), one_in(l, 2) ? REGISTRY_RESOLVE_RUN : REGISTRY_RESOLVE_CANCEL);
}

static void do_batch(struct life *l)
{
    struct order *o;

    if (l->batches > 5 || (l->batches > 0 && one_in(l, 3))) {
        o = new_order(l, REGISTRY_BATCH_END);
        o->op.batch_end.batch = 1 + below(l, l->batches);
    } else {
        o = new_order(l, REGISTRY_BATCH_OPEN);
        o->op.batch_open.name = SLICE("batch");
    }
    send(o);
}

static void do_check(struct life *l)
{
    send(new_order(l, REGISTRY_CHECK));
}

/* One at a time, as the daemon does it. */
static void do_purge(struct life *l)
{
    struct order *o;

    if (l->office->purging)
        return;
    o = new_order(l, REGISTRY_PURGE);
    o->op.purge = (struct registry_purge){
        .tasks_before_ns = 0, .failed_before_ns = 0, .max = 1 + (uint32_t)below(l, 40)};
    send(o);
}

/* ---- what is done to the desk ---- */

static void do_kill(struct life *l)
{
    struct pick p = {.life = l};

    desk_attempts(l->office->desk, pick_one, &p);
    if (p.token == 0)
        return;
    l->tally->kills++;
    if (!desk_kill(l->office->desk, p.token, "killed by hand", office_now(l->office)))
        life_wrong(l, "an attempt that runs is not there");
}

static void do_beat(struct life *l)
{
    struct pick p = {.life = l};

    desk_attempts(l->office->desk, pick_one, &p);
    if (p.token != 0)
        (void)desk_beat(l->office->desk,
                        &(struct core_heartbeat){.token = p.token, .progress = rng_unit(&l->rng)},
                        office_now(l->office));
}

/* Cancelled, deleted and its line purged, while its attempt may not have an end yet. */
static void do_wipe(struct life *l)
{
    struct pick p = {.life = l};

    desk_attempts(l->office->desk, pick_one, &p);
    if (p.task == 0)
        return;
    life_cancel(l, p.task);
    life_remove(l, p.task);
    do_purge(l);
}

static struct life_pool *some_pool(struct life *l)
{
    struct life_pool *p = &l->pools[below(l, POOLS)];

    return p->there ? p : NULL;
}

void life_enable(struct life *l, struct life_pool *p, bool enabled)
{
    desk_enable_pool(l->office->desk, p->watch->desk, enabled, office_now(l->office));
    p->watch->enabled = enabled;
}

static void do_enable(struct life *l)
{
    struct life_pool *p = some_pool(l);

    if (p)
        life_enable(l, p, one_in(l, 2));
}

static void do_limit(struct life *l)
{
    struct life_pool *p = some_pool(l);
    size_t limit = 1 + below(l, 8);

    if (one_in(l, 3)) {
        l->office_options.global_limit = one_in(l, 4) ? 0 : 1 + below(l, 12);
        desk_set_global_limit(l->office->desk, l->office_options.global_limit,
                              office_now(l->office));
        l->watch->global_limit = l->office_options.global_limit;
        return;
    }
    /* A modelled crew has as many processes as it was made with. */
    if (!p || (p->crew && limit > p->core.size))
        return;
    if (desk_set_limit(l->office->desk, p->watch->desk, limit, office_now(l->office), NULL) !=
        WEIR_OK)
        life_wrong(l, "a limit could not be set");
    p->watch->limit = limit;
    if (!p->crew)
        p->core.size = limit;
}

void life_change(struct life *l, struct life_pool *p)
{
    if (desk_change_pool(l->office->desk, p->watch->desk, &p->desk, office_now(l->office), NULL) !=
        WEIR_OK)
        life_wrong(l, "a pool could not be changed");
    p->watch->burst_places = p->desk.burst_places;
    p->watch->cpu_milli = p->desk.cpu_milli;
    p->watch->memory_mib = p->desk.memory_mib;
    p->watch->reserve = p->desk.reserve;
}

static void do_change(struct life *l)
{
    struct life_pool *p = some_pool(l);

    if (!p)
        return;
    life_draw_limits(l, p);
    life_change(l, p);
}

static void do_pool(struct life *l)
{
    struct life_pool *p = &l->pools[below(l, POOLS)];

    if (p->there) {
        if (!one_in(l, 3))
            return;
        if (one_in(l, 2)) { /* as a reload does: the new one, then the old one goes */
            life_replace_pool(l, p);
            return;
        }
        p->there = false;
        p->watch->leaving = true;
        desk_remove_pool(l->office->desk, p->watch->desk, office_now(l->office));
    } else {
        if (one_in(l, 2))
            life_draw_pool(l, (size_t)(p - l->pools));
        life_add_pool(l, p);
        (void)desk_set_default_pool(l->office->desk, "p0");
    }
}

static void do_policy(struct life *l)
{
    static const char *const tenants[TENANTS] = {"x", "y", "z"};
    struct schedule_options *o = &l->office_options.schedule;

    if (one_in(l, 3)) {
        (void)desk_set_weight(l->office->desk, slice_of(tenants[below(l, TENANTS)]),
                              0.5 + rng_unit(&l->rng) * 8);
        return;
    }
    o->policy = (enum schedule_policy)below(l, SCHEDULE_POLICIES);
    o->ageing = one_in(l, 2) ? 0 : rng_unit(&l->rng) * 100;
    desk_set_schedule(l->office->desk, o, office_now(l->office));
}

static void do_slots(struct life *l)
{
    life_set_slots(l, below(l, WATCH_SLOTS), (uint32_t)below(l, 5));
}

static void do_fail(struct life *l)
{
    memory_registry_fail_next(l->registry, 1 + below(l, one_in(l, 4) ? 8 : 2));
}

static void do_clock(struct life *l)
{
    int64_t by_ns = rng_range(&l->rng, -20 * NS_PER_S, 20 * NS_PER_S);

    l->office->wall_offset_ns += by_ns;
    l->watch->set_back |= by_ns < 0;
    l->tally->clock_set++;
}

static void do_crash(struct life *l)
{
    l->crash = true;
}

static void do_stop(struct life *l)
{
    if (one_in(l, 2))
        do_cancel(l);
    l->stop = true;
    l->watch->stopped = true;
    desk_stop(l->office->desk);
}

static const struct {
    unsigned share;
    void (*run)(struct life *l);
} deeds[] = {
    {400, do_submit}, {100, do_cancel}, {80, do_retry},  {90, do_edit}, {60, do_remove},
    {20, do_resolve}, {30, do_batch},   {20, do_check},  {60, do_kill}, {40, do_beat},
    {30, do_enable},  {40, do_limit},   {30, do_change}, {15, do_pool}, {15, do_policy},
    {20, do_slots},   {20, do_fail},    {5, do_clock},   {6, do_crash}, {4, do_stop},
    {60, do_purge},   {40, do_wipe},
};

void life_do_something(struct life *l)
{
    unsigned sum = 0, at;

    for (size_t i = 0; i < sizeof deeds / sizeof *deeds; i++)
        sum += deeds[i].share;
    at = (unsigned)below(l, sum);
    for (size_t i = 0;; i++) {
        if (at < deeds[i].share) {
            deeds[i].run(l);
            return;
        }
        at -= deeds[i].share;
    }
}
