/* See office.h. */
#include "simulation/desk/office.h"

#include "base/error.h"
#include "base/mem.h"
#include "core/errand.h"
#include "core/fold.h"
#include "engine/clerk.h"
#include "store/registry/memory_registry.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

struct registry_note {
    struct errand errand;
};

static struct office *of_lodger(struct sim_lodger *l)
{
    return (struct office *)(void *)l;
}

static struct office *of_host(struct desk_host *h)
{
    return list_entry(h, struct office, host);
}

struct instant office_now(const struct office *o)
{
    return sim_world_now(o->world);
}

int64_t office_wall_ns(const struct office *o)
{
    return office_now(o).ns + o->wall_offset_ns;
}

static void plan(struct office *o, struct sim_event *ev, duration_ns most)
{
    sim_world_plan(o->world, ev, instant_add(office_now(o), rng_range(&o->rng, 0, most)));
}

/* ---- the clerk ---- */

static void wake_clerk(struct office *o, duration_ns most)
{
    if (o->busy || o->closing || (!o->queue && !o->group))
        return;
    o->busy = true;
    plan(o, &o->gather, most);
}

static void to_clerk(struct office *o, struct registry_op *op)
{
    op->next = NULL;
    op->group = 0;
    op->folded = op->spilled = op->at_risk = op->untaken = false;
    op->err = (struct weir_error){0};
    *o->tail = op;
    o->tail = &op->next;
    wake_clerk(o, o->options.gather_max_ns);
}

/* After a failure: what is behind the first ones goes back to the queue. */
static void give_back_rest(struct office *o)
{
    struct registry_op **link = &o->group;
    size_t weight = 0;

    while (*link && (weight == 0 || weight + clerk_weight(*link) <= o->most)) {
        weight += clerk_weight(*link);
        link = &(*link)->next;
    }
    o->weight = weight;
    if (!*link)
        return;
    *o->group_tail = o->queue;
    if (!o->queue)
        o->tail = o->group_tail;
    o->queue = *link;
    *link = NULL;
    o->group_tail = link;
}

static void gather(struct sim_world *w, struct sim_event *ev)
{
    struct office *o = list_entry(ev, struct office, gather);

    (void)w;
    give_back_rest(o);
    while (o->queue && (o->weight == 0 || o->weight + clerk_weight(o->queue) <= o->most)) {
        struct registry_op *op = o->queue;

        o->queue = op->next;
        if (!o->queue)
            o->tail = &o->queue;
        op->next = NULL;
        *o->group_tail = op;
        o->group_tail = &op->next;
        o->weight += clerk_weight(op);
    }
    plan(o, &o->commit, o->options.commit_max_ns);
}

/* ---- what is back from the clerk ---- */

static struct registry_op *keep(struct office *o, struct registry_op *op)
{
    struct registry_note *n = op->note;

    if (op->kind == REGISTRY_PURGE)
        o->lines_gone += op->purge.ret_lines_gone_count;
    errand_keep(&n->errand, op);
    op->note = NULL;
    n->errand.left.note = n;
    return &n->errand.left;
}

static void say(const struct office *o, const struct registry_op *op)
{
    fprintf(stderr, "%12.6f written: op %d status %d", duration_seconds(office_now(o).ns) - 1000,
            (int)op->kind, (int)op->err.status);
    if (op->kind == REGISTRY_TAKE) {
        fprintf(stderr, " line %u:", op->take.line);
        for (const struct registry_task *r = op->take.ret_tasks; r; r = r->next)
            fprintf(stderr, " task %llu", (unsigned long long)r->id);
        fprintf(stderr, op->take.ret_more ? ", more" : "");
    }
    for (const struct registry_task *r = op->ret_ready; r; r = r->next)
        fprintf(stderr, " ready: task %llu of line %u", (unsigned long long)r->id, r->line);
    for (size_t i = 0; i < op->ret_line_count; i++)
        fprintf(stderr, " line %u", op->ret_lines[i]);
    fprintf(stderr, "\n");
}

/* The chain is its owners'. */
static void give(struct office *o, struct registry_op *chain)
{
    while (chain) {
        struct registry_op *op = chain, *theirs = NULL;

        chain = op->next;
        op->next = NULL;
        if (o->options.loud)
            say(o, op);
        if (op->done) {
            theirs = op;
            op = keep(o, op);
        }
        *o->back_tail = op;
        o->back_tail = &op->next;
        if (theirs)
            theirs->done(theirs);
    }
    if (o->back && !heap_contains(&o->mail.node))
        plan(o, &o->mail, o->options.mail_max_ns);
}

static void settle(struct office *o, struct registry_note *n)
{
    o->purging &= n->errand.kind != REGISTRY_PURGE;
    errand_settle(&n->errand, o->desk, office_now(o));
    mem_free(n);
}

/*
 * Of what comes back, lines and tasks are what the desk makes room for; where there is none it must
 * not forget them.
 */
static void run_short(struct office *o, const struct registry_op *op)
{
    bool makes_room = op->kind == REGISTRY_LINES || op->kind == REGISTRY_TAKE ||
                      (op->note && op->kind == REGISTRY_SUBMIT);

    if (makes_room && o->options.short_of_memory > 0 &&
        rng_below(&o->rng, 1000) < o->options.short_of_memory)
        mem_fail_at(1 + rng_below(&o->rng, 12));
}

/* As tasks_run_back() in engine/tasks_ops.c does it. */
static void open_mail(struct sim_world *w, struct sim_event *ev)
{
    struct office *o = list_entry(ev, struct office, mail);
    struct registry_op *ops = o->back;

    (void)w;
    o->back = NULL;
    o->back_tail = &o->back;
    while (ops) {
        struct registry_op *op = ops;

        ops = op->next;
        op->next = NULL;
        run_short(o, op);
        if (op->note) {
            settle(o, op->note);
        } else if (op->kind == REGISTRY_LINES) {
            desk_made_ready(o->desk, op, office_now(o));
            mem_free(op);
        } else {
            desk_written(o->desk, op, office_now(o));
        }
        mem_fail_at(0);
    }
}

/* ---- writing ---- */

static void succeed(struct office *o, struct registry_op *folded)
{
    const struct office_watcher *watcher = o->options.watcher;
    struct registry_op **end = &folded;

    while (*end)
        end = &(*end)->next;
    *end = o->group;
    o->group = NULL;
    o->group_tail = &o->group;
    o->weight = 0;
    o->pause_ns = 0;
    o->most = o->most < CLERK_GROUP_OPS / 2 ? o->most * 2 : CLERK_GROUP_OPS;
    if (watcher && watcher->committed)
        watcher->committed(watcher->ctx);
    give(o, folded);
}

static struct registry_op *refuse(struct office *o, const struct weir_error *why)
{
    struct registry_op *refused = NULL, **tail = &refused, **link;

    o->weight = 0;
    for (link = &o->group; *link;) {
        struct registry_op *op = *link;

        if (clerk_must_write(op)) {
            o->weight += clerk_weight(op);
            link = &op->next;
            continue;
        }
        *link = op->next;
        op->next = NULL;
        op->err = *why;
        op->untaken = true;
        *tail = op;
        tail = &op->next;
    }
    o->group_tail = link;
    return refused;
}

static void fail(struct office *o, const struct weir_error *why)
{
    unfold_starts(&o->group);
    o->failures++;
    o->most = 1;
    give(o, refuse(o, why));
    o->pause_ns = o->pause_ns == 0 ? CLERK_RETRY_MIN_NS : o->pause_ns * 2;
    if (o->pause_ns > CLERK_RETRY_MAX_NS)
        o->pause_ns = CLERK_RETRY_MAX_NS;
}

static bool put_line(void *ctx, const struct registry_line *l)
{
    struct registry_op *op = ctx;

    op->ret_lines = mem_realloc(op->ret_lines, (op->ret_line_count + 1) * sizeof *op->ret_lines);
    assert(op->ret_lines);
    op->ret_lines[op->ret_line_count++] = l->id;
    return true;
}

static void look_at_lines(struct office *o)
{
    struct registry_op *op = o->group;

    (void)o->registry->ops->lines(o->registry, put_line, op, NULL);
    o->group = NULL;
    o->group_tail = &o->group;
    o->weight = 0;
    o->busy = false;
    give(o, op);
    wake_clerk(o, o->options.gather_max_ns);
}

static void write_group(struct office *o)
{
    struct registry_op *folded = fold_starts(&o->group, &o->group_tail, &o->groups);
    struct weir_error err = {0};
    enum weir_status status = o->registry->ops->apply(o->registry, o->group, &err);

    for (const struct registry_op *op = folded; op; op = op->next)
        o->folds++;
    o->busy = false;
    if (status == WEIR_OK) {
        succeed(o, folded);
        wake_clerk(o, o->options.gather_max_ns);
    } else {
        bool left;

        fail(o, &err);
        left = o->group != NULL;
        o->busy = left;
        if (left)
            sim_world_plan(o->world, &o->gather, instant_add(office_now(o), o->pause_ns));
        wake_clerk(o, o->options.gather_max_ns);
    }
}

static void commit(struct sim_world *w, struct sim_event *ev)
{
    struct office *o = list_entry(ev, struct office, commit);

    (void)w;
    if (o->group->kind == REGISTRY_LINES)
        look_at_lines(o);
    else
        write_group(o);
}

bool office_is_idle(const struct office *o)
{
    return !o->queue && !o->group && !o->busy && !heap_contains(&o->mail.node) &&
           desk_unwritten(o->desk) == 0;
}

/* ---- ops of users ---- */

void office_send(struct office *o, struct registry_op *op)
{
    struct registry_note *n = mem_calloc(1, sizeof *n);

    assert(op->done && n);
    op->note = n;
    op->at_ns = office_wall_ns(o);
    o->purging |= op->kind == REGISTRY_PURGE;
    if (errand_has_to_begin(op))
        errand_begin(&n->errand, o->desk, op, office_now(o));
    to_clerk(o, op);
}

/* ---- the desk's host, and the world's lodger ---- */

static void host_write(struct desk_host *h, struct registry_op *op)
{
    op->done = NULL;
    op->note = NULL;
    to_clerk(of_host(h), op);
}

static const struct registry_line *host_line(struct desk_host *h, uint32_t id)
{
    struct office *o = of_host(h);

    return o->registry->ops->line(o->registry, id);
}

static int64_t host_wall_ns(struct desk_host *h, struct instant now)
{
    return now.ns + of_host(h)->wall_offset_ns;
}

static void ask_for_lines(struct sim_world *w, struct sim_event *ev)
{
    struct office *o = list_entry(ev, struct office, lines);
    struct registry_op *op = mem_calloc(1, sizeof *op);

    (void)w;
    assert(op);
    op->kind = REGISTRY_LINES;
    to_clerk(o, op);
}

static struct instant lodger_turn(struct sim_lodger *l, struct instant now)
{
    struct office *o = of_lodger(l);
    struct instant wake = o->has_begun ? desk_run(o->desk, now) : INSTANT_NEVER;

    if (desk_missed_lines(o->desk)) {
        o->missed++;
        sim_world_plan(o->world, &o->lines, instant_add(now, NS_PER_S));
    }
    return wake;
}

static bool lodger_is_due(struct sim_lodger *l)
{
    return desk_is_due(of_lodger(l)->desk);
}

static bool lodger_owns(struct sim_lodger *l, const struct core_batch *b)
{
    return desk_owns(of_lodger(l)->desk, b);
}

static void lodger_deliver(struct sim_lodger *l, struct core_task *t)
{
    desk_finished(of_lodger(l)->desk, t);
}

static void lodger_pool_gone(struct sim_lodger *l, struct core_pool *p)
{
    struct office *o = of_lodger(l);
    const struct office_watcher *w = o->options.watcher;

    if (w && w->pool_gone)
        w->pool_gone(w->ctx, p);
    desk_pool_gone(o->desk, p, office_now(o));
}

/* As engine/tasks_tell.c passes it on. */
static void on_event(struct core_observer *observer, const struct core_event *ev)
{
    struct office *o = list_entry(observer, struct office, observer);

    if (ev->kind == EVENT_ATTEMPT_LATE && ev->task && ev->answer &&
        desk_owns(o->desk, ev->task->batch))
        desk_late(o->desk, ev->task, ev->answer, ev->at);
}

static const struct core_observer_ops observer_ops = {.event = on_event};

static const struct weir_error gone = {.status = WEIR_E_SHUTDOWN, .message = "the world has ended"};

/* It is written, but nobody hears of it any more. */
static void lose(struct registry_op *op)
{
    while (op->kind == REGISTRY_TAKE && op->take.ret_tasks) {
        struct registry_task *r = op->take.ret_tasks;

        op->take.ret_tasks = r->next;
        mem_free(r);
    }
    op->err = gone;
}

/* Users hear that it failed, the desk's ops are put on a chain. */
static void drop_chain(struct office *o, struct registry_op *chain, struct registry_op ***tail)
{
    while (chain) {
        struct registry_op *op = chain;

        chain = op->next;
        op->next = NULL;
        if (op->kind == REGISTRY_LINES) {
            mem_free(op->ret_lines);
            mem_free(op);
            continue;
        }
        if (op->note && op == &op->note->errand.left) {
            settle(o, op->note);
            continue;
        }
        if (op->done) {
            struct registry_note *n = op->note;

            op->err = gone;
            op->untaken = true;
            (void)keep(o, op);
            settle(o, n);
            op->done(op);
            continue;
        }
        **tail = op;
        *tail = &op->next;
    }
}

/* All that the clerk has, as if it had failed. */
static void drop_ops(struct office *o)
{
    struct registry_op *chain = NULL, **tail = &chain;
    struct instant now = office_now(o);

    drop_chain(o, o->back, &tail);
    drop_chain(o, o->group, &tail);
    drop_chain(o, o->queue, &tail);
    o->back = NULL;
    o->back_tail = &o->back;
    o->group = o->queue = NULL;
    o->group_tail = &o->group;
    o->tail = &o->queue;
    while (chain) {
        struct registry_op *op = chain;

        chain = op->next;
        if (op->err.status == WEIR_OK)
            lose(op);
        desk_written(o->desk, op, now);
    }
}

static void lodger_drop(struct sim_lodger *l)
{
    struct office *o = of_lodger(l);
    struct instant now = office_now(o);

    desk_remove_pools(o->desk, now);
    for (int i = 0; i < 1000 && (desk_unwritten(o->desk) > 0 || desk_pool_count(o->desk) > 0);
         i++) {
        drop_ops(o);
        sim_world_drop_edges(o->world);
        (void)desk_run(o->desk, now);
        (void)dispatcher_run(sim_world_use_dispatcher(o->world), now);
    }
    drop_ops(o);
    desk_free(o->desk);
    o->desk = NULL;
}

/* ---- opening and closing ---- */

static bool tell_left(void *ctx, const struct registry_left *left)
{
    const struct office *o = ctx;
    const struct office_watcher *w = o->options.watcher;

    if (w && w->left)
        w->left(w->ctx, left);
    return true;
}

static bool after_step(void *ctx, struct sim_world *w)
{
    const struct office *o = ctx;
    const struct office_watcher *watcher = o->options.watcher;

    (void)w;
    return !watcher || !watcher->step || watcher->step(watcher->ctx);
}

static void init_office(struct office *o)
{
    o->lodger = (struct sim_lodger){.turn = lodger_turn,
                                    .is_due = lodger_is_due,
                                    .owns = lodger_owns,
                                    .deliver = lodger_deliver,
                                    .pool_gone = lodger_pool_gone,
                                    .drop = lodger_drop};
    o->host = (struct desk_host){.write = host_write, .line = host_line, .wall_ns = host_wall_ns};
    sim_event_init(&o->gather, gather);
    sim_event_init(&o->commit, commit);
    sim_event_init(&o->mail, open_mail);
    sim_event_init(&o->lines, ask_for_lines);
    o->tail = &o->queue;
    o->group_tail = &o->group;
    o->most = CLERK_GROUP_OPS;
    o->back_tail = &o->back;
}

struct office *office_open(const struct office_options *options, struct core_registry *r,
                           int64_t wall_ns)
{
    struct office *o = mem_calloc(1, sizeof *o);
    struct sim_world_options w = {
        .seed = options->seed, .global_limit = options->global_limit, .step = after_step, .ctx = o};
    struct desk_options d = {.schedule = options->schedule,
                             .seed = options->seed + 1,
                             .first_token = (uint64_t)wall_ns,
                             .deaths_max = options->deaths_max};

    if (!o)
        return NULL;
    init_office(o);
    o->observer.ops = &observer_ops;
    w.observer = &o->observer;
    o->options = *options;
    o->registry = r;
    rng_seed(&o->rng, options->seed + 2);
    memory_registry_crash(r);
    if (r->ops->left_running(r, tell_left, o, NULL) != WEIR_OK ||
        r->ops->put_back(r, wall_ns, options->deaths_max, &o->put_back, NULL) != WEIR_OK ||
        sim_world_new(&w, &o->world, NULL) != WEIR_OK)
        return mem_free(o);
    o->wall_offset_ns = wall_ns - office_now(o).ns;
    d.dispatcher = sim_world_use_dispatcher(o->world);
    d.host = &o->host;
    if (!sim_world_make_room(o->world, 8192) || desk_new(&d, &o->desk, NULL) != WEIR_OK) {
        sim_world_free(o->world);
        return mem_free(o);
    }
    sim_world_set_lodger(o->world, &o->lodger);
    return o;
}

void office_begin(struct office *o)
{
    o->has_begun = true;
    desk_wake_by(o->desk, 1);
    ask_for_lines(o->world, &o->lines);
    sim_world_set_lodger(o->world, &o->lodger);
}

struct office *office_close(struct office *o)
{
    if (!o)
        return NULL;
    o->closing = true;
    desk_stop(o->desk);
    sim_world_free(o->world);
    return mem_free(o);
}
