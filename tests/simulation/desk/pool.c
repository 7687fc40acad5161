/*
 * What works in an office's pools: each attempt is an event, and what comes of it is drawn when it
 * begins. See office.h.
 */
#include "simulation/desk/office.h"

#include "base/error.h"
#include "base/mem.h"

#include <assert.h>
#include <stdio.h>

struct edge {
    struct sim_edge edge; /* first */
    struct office *office;
    struct office_model model;
    struct rng rng;
    struct list busy;
};

/* An attempt that is under way. */
struct work {
    struct sim_event ends, beats, tells;
    struct edge *edge;
    struct core_attempt *attempt;
    uint64_t token;
    struct core_answer answer;
    struct instant began;
    struct list link;
};

static bool chance(struct edge *e, unsigned of_1000)
{
    return rng_below(&e->rng, 1000) < of_1000;
}

static void forget(struct sim_world *w, struct work *work)
{
    sim_world_unplan(w, &work->ends);
    sim_world_unplan(w, &work->beats);
    sim_world_unplan(w, &work->tells);
}

static void end(struct work *work)
{
    struct edge *e = work->edge;
    struct sim_world *w = e->office->world;
    struct core_attempt *a = work->attempt;
    unsigned more = chance(e, e->model.twice) ? 1 : 0;

    work->answer.started_at = work->began;
    work->answer.ended_at = sim_world_now(w);
    answer_move(&a->answer, &work->answer);
    if (!sim_world_is_dead(w))
        forget(w, work);
    list_remove(&work->link);
    e->edge.running--;
    if (e->model.ended)
        e->model.ended(e->model.ctx, a, sim_world_now(w));
    mem_free(work);
    sim_world_report(w, a);
    if (more && !sim_world_is_dead(w)) {
        a->answer.outcome = WEIR_OUTCOME_OK;
        answer_say(&a->answer, "said twice");
        sim_world_report(w, a);
    }
}

static void is_over(struct sim_world *w, struct sim_event *ev)
{
    (void)w;
    end(list_entry(ev, struct work, ends));
}

/* Some stop to beat, and go on. */
static void beat(struct sim_world *w, struct sim_event *ev)
{
    struct work *work = list_entry(ev, struct work, beats);
    struct edge *e = work->edge;
    struct core_heartbeat b = {.token = work->token,
                               .progress = chance(e, 500) ? rng_unit(&e->rng) : -1,
                               .text = chance(e, 300) ? SLICE("half of it") : (struct slice){0}};

    (void)desk_beat(e->office->desk, &b, sim_world_now(w));
    if (!chance(e, 200))
        sim_world_plan(
            w, &work->beats,
            instant_add(sim_world_now(w), 1 + (duration_ns)rng_below(&e->rng, 2 * NS_PER_S)));
}

static void tell_began(struct sim_world *w, struct sim_event *ev)
{
    struct work *work = list_entry(ev, struct work, tells);

    desk_began(work->edge->office->desk,
               &(struct core_attempt_began){.token = work->token, .pid = 1000, .pid_start = 1},
               sim_world_now(w));
}

static void say_ok(struct core_answer *ret, const struct core_attempt *a)
{
    char text[32];
    int n = snprintf(text, sizeof text, "token %llu", (unsigned long long)a->token);

    ret->outcome = WEIR_OUTCOME_OK;
    ret->reason = WEIR_REASON_NONE;
    (void)answer_set_output(ret, text, (size_t)n);
}

static void say_failed(struct core_answer *ret, bool retryable)
{
    ret->outcome = WEIR_OUTCOME_FAILED;
    ret->reason = WEIR_REASON_CALLBACK;
    ret->retryable = retryable;
    answer_say(ret, "it failed");
}

/* False: it never ends by itself. */
static bool draw(struct edge *e, const struct core_attempt *a, struct core_answer *ret)
{
    const struct office_model *m = &e->model;

    if (m->ok_only) {
        say_ok(ret, a);
    } else if (chance(e, m->refuses)) {
        ret->outcome = WEIR_OUTCOME_CAPACITY;
        ret->reason = WEIR_REASON_HTTP_STATUS;
        if (chance(e, m->advises))
            ret->advice.retry_after_ns = rng_range(&e->rng, 0, 2 * NS_PER_S);
    } else if (chance(e, m->fails)) {
        say_failed(ret, true);
    } else if (chance(e, m->forbids)) {
        say_failed(ret, false);
    } else if (chance(e, m->loses)) {
        ret->reason = WEIR_REASON_CONNECTION_LOST;
        ret->bystander = chance(e, 300);
    } else if (chance(e, m->dies)) {
        ret->reason = WEIR_REASON_WORKER_LOST;
    } else {
        say_ok(ret, a);
        return !chance(e, m->silent);
    }
    return true;
}

static void executor_start(struct core_executor *port, struct core_attempt *a)
{
    struct edge *e = (struct edge *)(void *)port;
    struct sim_world *w = e->office->world;
    struct instant now = sim_world_now(w);
    struct work *work = mem_calloc(1, sizeof *work);
    duration_ns takes = rng_range(&e->rng, e->model.least_ns, e->model.most_ns);
    bool ends = true;

    assert(work);
    sim_event_init(&work->ends, is_over);
    sim_event_init(&work->beats, beat);
    sim_event_init(&work->tells, tell_began);
    work->edge = e;
    work->attempt = a;
    work->token = a->token;
    work->began = now;
    answer_init(&work->answer);
    list_init(&work->link);
    list_push_back(&e->busy, &work->link);
    e->edge.running++;
    a->edge = work;
    if (e->model.began)
        e->model.began(e->model.ctx, a, now);
    if (e->model.takes) {
        takes = e->model.takes(e->model.ctx, a);
        say_ok(&work->answer, a);
    } else {
        ends = draw(e, a, &work->answer);
    }
    if (ends)
        sim_world_plan(w, &work->ends, instant_add(now, takes));
    if (e->model.tells_began)
        sim_world_plan(w, &work->tells,
                       instant_add(now, (duration_ns)rng_below(&e->rng, 20 * NS_PER_MS)));
    if (chance(e, e->model.beats))
        sim_world_plan(w, &work->beats,
                       instant_add(now, (duration_ns)rng_below(&e->rng, NS_PER_S)));
}

static void executor_cancel(struct core_executor *port, struct core_attempt *a)
{
    struct edge *e = (struct edge *)(void *)port;
    struct sim_world *w = e->office->world;
    struct work *work = a->edge;
    duration_ns more;

    if (sim_world_is_dead(w))
        return;
    if (e->model.cancelled)
        e->model.cancelled(e->model.ctx, a, sim_world_now(w));
    if (!chance(e, e->model.obeys)) {
        /* It goes on, but not for ever; what ends at once or soon ends. */
        if (heap_contains(&work->ends.node) && !e->model.cancels_at_once)
            return;
        more = rng_range(&e->rng, 0, 5 * NS_PER_S);
    } else {
        more = chance(e, 500) ? 0 : rng_range(&e->rng, 0, NS_PER_S);
        if (chance(e, 700)) {
            answer_clear(&work->answer);
            work->answer.outcome = WEIR_OUTCOME_CANCELLED;
        }
    }
    sim_world_plan(w, &work->ends, instant_add(sim_world_now(w), more));
}

static void drop(struct sim_edge *edge)
{
    struct edge *e = (struct edge *)(void *)edge;
    struct list *node;

    while ((node = list_front(&e->busy))) {
        struct work *work = list_entry(node, struct work, link);

        answer_clear(&work->answer);
        work->answer.outcome = WEIR_OUTCOME_CANCELLED;
        forget(e->office->world, work);
        end(work);
    }
}

static void executor_close(struct core_executor *port)
{
    struct edge *e = (struct edge *)(void *)port;

    assert(e->edge.running == 0 && list_empty(&e->busy));
    list_remove(&e->edge.link);
    mem_free(e);
}

static const struct core_executor_ops at_once = {.kind = "model",
                                                 .cancels_at_once = true,
                                                 .start = executor_start,
                                                 .cancel = executor_cancel,
                                                 .close = executor_close};
static const struct core_executor_ops can_only_ask = {.kind = "model",
                                                      .cancels_at_once = false,
                                                      .start = executor_start,
                                                      .cancel = executor_cancel,
                                                      .close = executor_close};

static struct desk_pool *add_to_desk(struct office *o, struct core_pool *core,
                                     const struct desk_pool_options *desk, struct weir_error *err)
{
    struct desk_pool *ret;

    if (desk_add_pool(o->desk, core, desk, office_now(o), &ret, err) == WEIR_OK)
        return ret;
    dispatcher_remove_pool(sim_world_use_dispatcher(o->world), core, office_now(o));
    return NULL;
}

struct desk_pool *office_add_pool(struct office *o, const struct core_pool_options *core,
                                  const struct office_model *model,
                                  const struct desk_pool_options *desk, struct weir_error *err)
{
    struct edge *e;
    struct core_pool *pool;

    if (core_pool_options_check(core, err) != WEIR_OK)
        return NULL;
    e = mem_calloc(1, sizeof *e);
    if (!e)
        return (void)error_nomem(err), NULL;
    e->edge.port.ops = model->cancels_at_once ? &at_once : &can_only_ask;
    e->edge.drop = drop;
    e->office = o;
    e->model = *model;
    rng_seed(&e->rng, model->seed);
    list_init(&e->busy);
    list_init(&e->edge.link);
    if (sim_world_add_edge(o->world, core, &e->edge, &pool, err) != WEIR_OK) {
        mem_free(e);
        return NULL;
    }
    return add_to_desk(o, pool, desk, err);
}

struct desk_pool *office_add_crew(struct office *o, const struct core_pool_options *core,
                                  const struct sim_workers_options *crew,
                                  const struct desk_pool_options *desk, struct weir_error *err)
{
    struct sim_workers *workers;
    struct core_pool *pool;

    if (sim_workers_add(o->world, core, crew, &workers, &pool, err) != WEIR_OK)
        return NULL;
    return add_to_desk(o, pool, desk, err);
}
