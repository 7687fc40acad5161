/*
 * Worker processes as a model: each has a few events (its start, its death, its answers to pings),
 * each request one. What a process does is drawn when it is asked; what was asked before it died is
 * lost with it. See workers.h.
 *
 * The crew and the dispatcher are called from events only, never from within a function of the
 * executor or of the edge.
 */
#include "sim/workers.h"

#include "base/error.h"
#include "base/mem.h"
#include "core/dispatcher.h"
#include "sim/chaos.h"

#include <assert.h>
#include <stdio.h>

struct sim_workers;

struct process {
    struct sim_workers *x;
    struct worker *w; /* NULL: this place is free */
    struct sim_event start, death, pong, echo;
    bool starts;  /* it will; else it cannot be started */
    bool dead;    /* and nobody has noticed yet */
    bool hung;    /* answers nothing any more */
    bool deaf;    /* does not end before it is killed */
    bool for_one; /* it is ended because of one request */
    bool pong_ok;
    struct list requests;
    struct list link; /* free */
};

struct request {
    struct sim_event ends;
    struct process *process;
    struct core_attempt *attempt; /* NULL: free */
    struct core_answer answer;
    bool garbles;   /* what comes is not the protocol */
    bool not_begun; /* the process was dead already */
    bool cancelled;
    struct list link; /* the process's, or free */
};

struct sim_workers {
    struct sim_edge edge; /* first */
    struct crew_edge crew_edge;
    struct crew_host host;
    struct sim_workers_options options;
    struct sim_world *world;
    struct rng rng;
    struct process *processes;
    struct request *requests;
    size_t process_count, request_count;
    struct list free_processes, free_requests;
    struct sim_workers_counts counts;

    /* its character: of 1000 */
    unsigned fails_start, lives_short, bad_ping, late_ping, twice, error, forbids, refuses, hangs,
        dies, garbles, deaf;
    duration_ns start_ns, usual_ns;
};

static bool chance(struct sim_workers *x, unsigned of_1000)
{
    return rng_below(&x->rng, 1000) < of_1000;
}

static struct instant after(struct sim_workers *x, duration_ns least, duration_ns most)
{
    return instant_add(sim_world_now(x->world), rng_range(&x->rng, least, most));
}

static struct crew *crew_of(struct sim_workers *x)
{
    return x->edge.port.crew;
}

/* ---- requests ---- */

static enum crew_answer answer_of(const struct core_answer *a)
{
    switch (a->outcome) {
    case WEIR_OUTCOME_OK:
        return CREW_ANSWER_OK;
    case WEIR_OUTCOME_CAPACITY:
        return CREW_ANSWER_CAPACITY;
    case WEIR_OUTCOME_FAILED:
        return CREW_ANSWER_ERROR;
    default:
        return CREW_ANSWER_NONE;
    }
}

/* It is the crew's and the dispatcher's business now. */
static void hand_back(struct request *r, struct instant now)
{
    struct sim_workers *x = r->process->x;
    struct core_attempt *a = r->attempt;
    struct worker *w = r->process->w;
    enum crew_answer how = r->not_begun ? CREW_ANSWER_NONE : answer_of(&r->answer);

    answer_move(&a->answer, &r->answer);
    a->not_begun = r->not_begun;
    r->attempt = NULL;
    list_remove(&r->link);
    list_push_back(&x->free_requests, &r->link);
    sim_world_unplan(x->world, &r->ends);
    x->edge.running--;
    if (x->options.ended)
        x->options.ended(x->options.ctx, a, now);
    crew_answered(crew_of(x), w, a->session, how, now);
    sim_world_report(x->world, a);
}

static void lose(struct request *r, struct instant now)
{
    r->process->x->counts.lost += !r->not_begun && !r->cancelled;
    r->process->x->counts.not_begun += r->not_begun;
    answer_clear(&r->answer);
    r->answer.reason = WEIR_REASON_CONNECTION_LOST;
    r->answer.bystander = r->process->for_one;
    r->process->x->counts.bystanders += r->process->for_one && !r->not_begun && !r->cancelled;
    if (r->cancelled)
        r->answer.outcome = WEIR_OUTCOME_CANCELLED;
    hand_back(r, now);
}

static void lose_all(struct process *p, struct instant now)
{
    struct list *node;

    while ((node = list_front(&p->requests)))
        lose(list_entry(node, struct request, link), now);
}

/* It has to go, and with it all that it has in hand; who hears of it first is left to chance. */
static void end_with_process(struct request *r, const char *why, struct instant now)
{
    struct process *p = r->process;
    struct crew *crew = crew_of(p->x);

    if (chance(p->x, 500)) {
        crew_kill(crew, p->w, why, NULL, now);
        hand_back(r, now);
    } else {
        hand_back(r, now);
        crew_kill(crew, p->w, why, NULL, now);
    }
}

static void request_ends(struct sim_world *world, struct sim_event *ev)
{
    struct request *r = list_entry(ev, struct request, ends);
    struct instant now = sim_world_now(world);

    if (r->cancelled) {
        r->process->x->counts.cancelled++;
        answer_clear(&r->answer);
        r->answer.outcome = WEIR_OUTCOME_CANCELLED;
        end_with_process(r, "its request was ended", now);
    } else if (r->garbles) {
        r->process->x->counts.garbled++;
        answer_clear(&r->answer);
        r->answer.reason = WEIR_REASON_PROTOCOL;
        end_with_process(r, "what it wrote is not the protocol", now);
    } else {
        hand_back(r, now);
    }
}

static void put_output(struct core_answer *a, uint64_t index)
{
    char text[32];
    int n = snprintf(text, sizeof text, SIM_CHAOS_OUTPUT, (unsigned long long)index);

    (void)answer_set_output(a, text, (size_t)n); /* without memory there is none */
}

static void draw_answer(struct sim_workers *x, struct request *r)
{
    struct core_answer *a = &r->answer;

    a->outcome = WEIR_OUTCOME_FAILED;
    a->reason = WEIR_REASON_CALLBACK;
    if (chance(x, x->error)) {
        a->retryable = true;
    } else if (chance(x, x->refuses)) {
        a->outcome = WEIR_OUTCOME_CAPACITY;
    } else if (!chance(x, x->forbids)) {
        a->outcome = WEIR_OUTCOME_OK;
        a->reason = WEIR_REASON_NONE;
        put_output(a, r->attempt->index);
    }
}

static void kill_process(struct process *p, struct instant at);

static void executor_start(struct core_executor *port, struct core_attempt *a)
{
    struct sim_workers *x = (struct sim_workers *)(void *)port;
    struct request *r = list_entry(list_pop_front(&x->free_requests), struct request, link);
    struct process *p = a->worker->edge;

    assert(p->w == a->worker && !instant_is_never(p->w->ready_at));
    list_push_back(&p->requests, &r->link);
    x->edge.running++;
    r->process = p;
    r->attempt = a;
    r->cancelled = r->garbles = false;
    r->not_begun = p->dead;
    answer_init(&r->answer);
    a->edge = r;
    if (x->options.given)
        x->options.given(x->options.ctx, a, sim_world_now(x->world));
    if (p->dead || p->hung)
        return;
    if (chance(x, x->hangs) && x->options.never_allowed) {
        x->counts.hung++;
        p->hung = true;
        return;
    }
    r->garbles = chance(x, x->garbles);
    draw_answer(x, r);
    if (chance(x, x->dies))
        kill_process(p, after(x, 0, x->usual_ns));
    sim_world_plan(x->world, &r->ends, after(x, 0, 2 * x->usual_ns));
}

static void executor_cancel(struct core_executor *port, struct core_attempt *a)
{
    struct sim_workers *x = (struct sim_workers *)(void *)port;
    struct request *r = a->edge;

    assert(r->attempt == a);
    if (sim_world_is_dead(x->world))
        return;
    r->process->for_one = true;
    if (a->may_wind_up && chance(x, 500)) {
        /* It may answer still, and ends with its process at the latest. */
        crew_term(crew_of(x), r->process->w, "its request is not wanted any more",
                  sim_world_now(x->world));
        return;
    }
    r->cancelled = true;
    sim_world_plan(x->world, &r->ends, sim_world_now(x->world));
}

/* ---- processes ---- */

static void kill_process(struct process *p, struct instant at)
{
    if (!heap_contains(&p->death.node) || instant_before(at, p->death.at))
        sim_world_plan(p->x->world, &p->death, at);
}

/* What it would still have said is not said any more. */
static void fall_silent(struct process *p)
{
    struct sim_world *world = p->x->world;

    sim_world_unplan(world, &p->start);
    sim_world_unplan(world, &p->pong);
    sim_world_unplan(world, &p->echo);
    list_foreach (node, &p->requests) {
        struct request *r = list_entry(node, struct request, link);

        if (!r->cancelled)
            sim_world_unplan(world, &r->ends);
    }
}

static void process_dies(struct sim_world *world, struct sim_event *ev)
{
    struct process *p = list_entry(ev, struct process, death);
    struct sim_workers *x = p->x;
    struct instant now = sim_world_now(world);

    if (!p->dead) {
        p->dead = true;
        x->counts.deaths++;
        fall_silent(p);
        sim_world_plan(world, &p->death, after(x, 0, 20 * NS_PER_MS));
        return;
    }
    lose_all(p, now);
    crew_gone(crew_of(x), p->w, "exited", "by chance", now);
}

static void process_starts(struct sim_world *world, struct sim_event *ev)
{
    struct process *p = list_entry(ev, struct process, start);
    struct sim_workers *x = p->x;
    struct instant now = sim_world_now(world);

    if (!p->starts) {
        x->counts.failed_starts++;
        crew_gone(crew_of(x), p->w, "could not be started", NULL, now);
        return;
    }
    if (chance(x, x->lives_short))
        kill_process(p, after(x, 0, 20 * x->usual_ns));
    crew_spawned(crew_of(x), p->w, (int64_t)p->w->id, now);
}

static void say_pong(struct process *p, bool ok)
{
    struct sim_workers *x = p->x;
    uint32_t takes = (uint32_t)rng_below(&x->rng, 2 * x->options.crew.max_in_flight + 1);

    x->counts.bad_pings += !ok;
    crew_pong(crew_of(x), p->w, ok, ok ? NULL : "unwell", takes, sim_world_now(x->world));
}

static void process_pongs(struct sim_world *world, struct sim_event *ev)
{
    struct process *p = list_entry(ev, struct process, pong);

    (void)world;
    say_pong(p, p->pong_ok);
}

static void process_echoes(struct sim_world *world, struct sim_event *ev)
{
    (void)world;
    say_pong(list_entry(ev, struct process, echo), true);
}

/* ---- the crew's edge ---- */

static struct sim_workers *of_edge(struct crew_edge *e)
{
    return list_entry(e, struct sim_workers, crew_edge);
}

static void edge_spawn(struct crew_edge *e, struct worker *w)
{
    struct sim_workers *x = of_edge(e);
    struct process *p = list_entry(list_pop_front(&x->free_processes), struct process, link);

    p->w = w;
    w->edge = p;
    p->starts = !chance(x, x->fails_start);
    p->deaf = chance(x, x->deaf);
    p->dead = p->hung = p->for_one = false;
    sim_world_plan(x->world, &p->start, after(x, 0, x->start_ns));
}

static void edge_ping(struct crew_edge *e, struct worker *w)
{
    struct sim_workers *x = of_edge(e);
    struct process *p = w->edge;

    x->counts.pings++;
    if (p->dead || p->hung)
        return;
    p->pong_ok = !chance(x, x->bad_ping);
    sim_world_plan(x->world, &p->pong,
                   chance(x, x->late_ping) ? after(x, 0, 10 * NS_PER_S) : after(x, 0, x->usual_ns));
    if (chance(x, x->twice))
        sim_world_plan(x->world, &p->echo, after(x, 0, 20 * NS_PER_S));
}

static void edge_end(struct crew_edge *e, struct worker *w, enum crew_end how)
{
    struct sim_workers *x = of_edge(e);
    struct process *p = w->edge;

    if (how == CREW_END_KILL)
        kill_process(p, after(x, 0, 5 * NS_PER_MS));
    else if (!p->deaf && (how == CREW_END_TERM || !p->hung))
        kill_process(p, after(x, 0, x->usual_ns));
}

static uint64_t edge_memory(struct crew_edge *e, struct worker *w)
{
    struct sim_workers *x = of_edge(e);

    (void)w;
    return rng_below(&x->rng, 1000);
}

static void edge_forget(struct crew_edge *e, struct worker *w)
{
    struct sim_workers *x = of_edge(e);
    struct process *p = w->edge;

    assert(list_empty(&p->requests));
    if (!sim_world_is_dead(x->world)) {
        fall_silent(p);
        sim_world_unplan(x->world, &p->death);
    }
    p->w = NULL;
    list_push_back(&x->free_processes, &p->link);
}

static void crew_tells(struct crew_host *h, const struct core_event *ev)
{
    sim_world_tell(list_entry(h, struct sim_workers, host)->world, ev);
}

/* ---- making and taking apart ---- */

static struct sim_workers *workers_free(struct sim_workers *x)
{
    if (!x)
        return NULL;
    crew_free(crew_of(x));
    mem_free(x->processes);
    mem_free(x->requests);
    return mem_free(x);
}

/* The world is dead: nothing is planned any more. */
static void edge_drop(struct sim_edge *e)
{
    struct sim_workers *x = (struct sim_workers *)(void *)e;
    struct instant now = sim_world_now(x->world);

    for (size_t i = 0; i < x->process_count; i++) {
        struct process *p = &x->processes[i];

        if (!p->w)
            continue;
        list_foreach (node, &p->requests)
            list_entry(node, struct request, link)->cancelled = true;
        lose_all(p, now);
        crew_gone(crew_of(x), p->w, "the world ended", NULL, now);
    }
}

static void executor_close(struct core_executor *port)
{
    struct sim_workers *x = (struct sim_workers *)(void *)port;

    assert(x->edge.running == 0);
    for (size_t i = 0; i < x->process_count; i++) {
        if (x->processes[i].w)
            crew_gone(crew_of(x), x->processes[i].w, "the world ended", NULL,
                      sim_world_now(x->world));
    }
    list_remove(&x->edge.link);
    workers_free(x);
}

static const struct core_executor_ops ops = {
    .kind = "workers",
    .cancels_at_once = true,
    .start = executor_start,
    .cancel = executor_cancel,
    .close = executor_close,
};

/* Half of all characters never do it. */
static unsigned share(struct sim_workers *x, unsigned most)
{
    return rng_below(&x->rng, 2) && !x->options.good ? (unsigned)rng_below(&x->rng, most + 1) : 0;
}

static void draw_character(struct sim_workers *x)
{
    x->fails_start = share(x, 400);
    if (x->options.hopeless)
        x->fails_start = 1000;
    x->lives_short = share(x, 500);
    x->bad_ping = share(x, 200);
    x->late_ping = share(x, 200);
    x->twice = share(x, 200);
    x->error = share(x, 300);
    x->forbids = share(x, 50);
    x->refuses = share(x, 200);
    x->hangs = share(x, 100);
    x->dies = share(x, 150);
    x->garbles = share(x, 50);
    x->deaf = share(x, 500);
    x->start_ns = rng_range(&x->rng, 0, 2 * NS_PER_S);
    x->usual_ns = rng_range(&x->rng, 1, 1 + (1 << rng_below(&x->rng, 31)));
}

static void init_process(struct sim_workers *x, struct process *p)
{
    p->x = x;
    sim_event_init(&p->start, process_starts);
    sim_event_init(&p->death, process_dies);
    sim_event_init(&p->pong, process_pongs);
    sim_event_init(&p->echo, process_echoes);
    list_init(&p->requests);
    list_push_back(&x->free_processes, &p->link);
}

static bool make_places(struct sim_workers *x, size_t requests, size_t processes)
{
    x->processes = mem_calloc(processes, sizeof *x->processes);
    x->requests = mem_calloc(requests, sizeof *x->requests);
    if (!x->processes || !x->requests || !sim_world_make_room(x->world, requests + 4 * processes))
        return false;
    for (size_t i = 0; i < processes; i++)
        init_process(x, &x->processes[i]);
    for (size_t i = 0; i < requests; i++) {
        sim_event_init(&x->requests[i].ends, request_ends);
        answer_init(&x->requests[i].answer);
        list_push_back(&x->free_requests, &x->requests[i].link);
    }
    x->process_count = processes;
    x->request_count = requests;
    return true;
}

void sim_workers_options_init(struct sim_workers_options *o)
{
    *o = (struct sim_workers_options){.seed = 1};
    crew_options_init(&o->crew);
}

static enum weir_status workers_new(struct sim_world *w, size_t requests,
                                    const struct sim_workers_options *o, struct sim_workers **ret,
                                    struct weir_error *err)
{
    struct sim_workers *x = mem_calloc(1, sizeof *x);
    enum weir_status status;

    if (!x)
        return error_nomem(err);
    x->world = w;
    x->options = *o;
    x->edge.port.ops = &ops;
    x->edge.drop = edge_drop;
    x->crew_edge = (struct crew_edge){edge_spawn, edge_ping, edge_end, edge_memory, edge_forget};
    x->host.tell = crew_tells;
    list_init(&x->free_processes);
    list_init(&x->free_requests);
    rng_seed(&x->rng, o->seed);
    draw_character(x);
    status = crew_new(&o->crew, &x->crew_edge, &x->host, sim_world_now(w), &x->edge.port.crew, err);
    if (status == WEIR_OK &&
        !make_places(x, requests, o->crew.size + o->crew.overflow + CREW_SPARE))
        status = error_nomem(err);
    if (status == WEIR_OK)
        *ret = x;
    else
        workers_free(x);
    return status;
}

enum weir_status sim_workers_add(struct sim_world *w, const struct core_pool_options *pool,
                                 const struct sim_workers_options *o, struct sim_workers **ret,
                                 struct core_pool **ret_pool, struct weir_error *err)
{
    enum weir_status status = core_pool_options_check(pool, err);
    struct sim_workers *x = NULL;

    if (status == WEIR_OK)
        status = crew_options_check(&o->crew, err);
    if (status == WEIR_OK)
        status = workers_new(w, pool->size, o, &x, err);
    if (status != WEIR_OK)
        return status;
    status = sim_world_add_edge(w, pool, &x->edge, ret_pool, err);
    if (status == WEIR_OK)
        *ret = x;
    else
        workers_free(x);
    return status;
}

struct sim_workers_counts sim_workers_counts(const struct sim_workers *x)
{
    return x->counts;
}
