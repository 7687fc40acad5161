/*
 * Random lives of a crew, from seeds: an edge whose processes start slowly or not at all, answer
 * late, twice or never, report errors, hang, die at any moment and do not obey; and a plain
 * dispatcher with sessions. What must hold is checked after every step by books of the test's own,
 * beside crew_check().
 *
 *     WEIR_SEEDS=10000 build/tests/unit/core/worker/test_crew_lives     how many seeds; 400 by default
 *     WEIR_SEED=4711 WEIR_SEEDS=1 build/tests/unit/core/worker/test_crew_lives    one, again: the same life
 */
#include "base/heap.h"
#include "base/mem.h"
#include "base/rng.h"
#include "core/worker/crew.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SESSIONS       12
#define PROCESSES_MAX  4000 /* of one life */
#define IN_FLIGHT_MAX  8
#define TASKS_MAX      150
#define LIFE_NS        (120 * NS_PER_S) /* of tasks and faults */
#define TIMEOUT_MAX_NS (20 * NS_PER_S)  /* of a request */
#define DIE_MAX_NS     (50 * NS_PER_MS) /* after SIGKILL */
#define FOR_EVER       (1000000 * NS_PER_S)

struct life;

/* A session, as the test knows it. */
struct who {
    char name[8];
    uint64_t worker; /* that had its last task; 0: none yet */
    struct instant used_at;
    bool released;
    bool untold;   /* it was lost, and the request that was to say so was not sent */
    uint64_t done; /* number of the last task that has ended */
};

enum task_place { TASK_READY, TASK_PARKED, TASK_QUEUED, TASK_RUNNING };

struct task {
    struct list link;
    uint64_t number;
    struct who *who;   /* NULL: no session */
    struct session *s; /* the crew's */
    enum task_place place;
    bool told_lost;
};

struct process {
    struct worker *w; /* NULL: gone */
    enum worker_state state;
    bool dying, deaf, broken, hangs_now, told_to_end;
    duration_ns slow_ns;
    struct instant busy_until;
    struct task *tasks[IN_FLIGHT_MAX];
    uint64_t requests[IN_FLIGHT_MAX]; /* numbers of requests; 0: none */
};

enum what { SPAWNED, PONG, ANSWER, TIMED_OUT, DIE, SUBMIT, CHANCE, TURN };

struct happening {
    struct heap_node node;
    struct instant at;
    uint64_t order;
    enum what what;
    uint64_t process, request;
    bool good, unsent;
};

struct life {
    struct crew_edge edge; /* first */
    struct crew_host host;
    struct rng rng;
    struct instant now;
    struct heap queue;
    uint64_t order, last_request, last_task, hash;
    struct crew_options options;
    struct crew *crew;
    struct process processes[PROCESSES_MAX + 1]; /* by id */
    uint64_t alive, alive_max, started;
    struct who who[SESSIONS];
    struct list ready;
    size_t tasks_left, tasks_open;
    duration_ns timeout_ns;
    unsigned faults; /* in a hundred, of each kind */
    bool calm, in_edge, ended, evicts;
    struct instant held_until, wake; /* wake: for which a turn is planned */
    /* starts that fail, in a row */
    struct instant first_failed;
    unsigned starts_since;
    char wrong[300];
};

static struct tally {
    uint64_t events, given, answers, timeouts, deaths, failed_starts, late_pongs, lost_told, parked,
        orphans, extra, recycled, killed, degraded, expired, unparked, released, resized;
} tally;

static volatile uint64_t seed_now;

static void wrong(struct life *l, const char *what)
{
    if (!l->wrong[0])
        snprintf(l->wrong, sizeof l->wrong, "at %.6f s: %s", duration_seconds(l->now.ns), what);
}

static void require(struct life *l, bool holds, const char *what)
{
    if (!holds)
        wrong(l, what);
}

static bool one_in(struct life *l, uint64_t n)
{
    return rng_below(&l->rng, n) == 0;
}

static bool fault(struct life *l)
{
    return !l->calm && rng_below(&l->rng, 100) < l->faults;
}

static void mix(struct life *l, uint64_t value)
{
    l->hash = (l->hash ^ value) * UINT64_C(0x9E3779B97F4A7C15);
    l->hash ^= l->hash >> 29;
}

/* ---- what is going to happen ---- */

static bool sooner(const struct heap_node *x, const struct heap_node *y)
{
    const struct happening *a = list_entry(x, const struct happening, node);
    const struct happening *b = list_entry(y, const struct happening, node);

    return a->at.ns != b->at.ns ? a->at.ns < b->at.ns : a->order < b->order;
}

static void plan(struct life *l, struct instant at, struct happening h)
{
    struct happening *copy = mem_alloc(sizeof *copy);

    assert_non_null(copy);
    *copy = h;
    copy->at = at;
    copy->order = ++l->order;
    heap_node_init(&copy->node);
    assert_true(heap_reserve(&l->queue, l->queue.len + 1));
    heap_push(&l->queue, &copy->node);
}

static void plan_in(struct life *l, duration_ns most, struct happening h)
{
    plan(l, instant_add(l->now, rng_range(&l->rng, 0, most)), h);
}

/* ---- the edge ---- */

static struct process *of(struct life *l, const struct worker *w)
{
    return &l->processes[w->id];
}

static void check_start(struct life *l)
{
    static const int after_s[] = {1, 3, 7, 15, 31, 61, 91, 121};
    unsigned n = l->starts_since;

    require(l, !l->ended, "a worker starts after the shutdown");
    require(l, !instant_before(l->now, l->held_until), "a worker starts while starts are held");
    if (instant_is_never(l->first_failed))
        return;
    l->starts_since++;
    if (n < sizeof after_s / sizeof after_s[0])
        require(l, instant_diff(l->now, l->first_failed) >= after_s[n] * NS_PER_S,
                "a worker starts before the pause is over");
}

static void edge_spawn(struct crew_edge *e, struct worker *w)
{
    struct life *l = (struct life *)(void *)e;
    struct process *p = of(l, w);

    require(l, w->id == l->started + 1 && w->id <= PROCESSES_MAX, "ids are not in order");
    check_start(l);
    l->started++;
    l->alive++;
    require(l, l->alive <= l->alive_max, "more processes than may be");
    *p = (struct process){.w = w, .busy_until = INSTANT_NONE};
    p->broken = fault(l);
    p->deaf = fault(l);
    p->slow_ns = !l->calm && one_in(l, 8) ? 6 * NS_PER_S : NS_PER_S;
    w->edge = p;
    tally.extra += w->extra;
    if (fault(l))
        plan_in(l, NS_PER_S, (struct happening){.what = DIE, .process = w->id});
    else
        plan_in(l, NS_PER_S, (struct happening){.what = SPAWNED, .process = w->id});
    if (fault(l))
        plan_in(l, 30 * NS_PER_S, (struct happening){.what = DIE, .process = w->id});
}

static void edge_ping(struct crew_edge *e, struct worker *w)
{
    struct life *l = (struct life *)(void *)e;
    struct process *p = of(l, w);
    struct happening h = {.what = PONG, .process = w->id, .good = !fault(l)};
    struct instant from = w->max_in_flight > 1 ? l->now : instant_max(l->now, p->busy_until);

    require(l, p->w == w && !p->dying, "a ping to a process that is being ended");
    if (fault(l) || p->hangs_now || (p->broken && one_in(l, 2)))
        return;
    plan(l, instant_add(from, rng_range(&l->rng, 0, p->slow_ns)), h);
    if (fault(l))
        plan(l, instant_add(from, rng_range(&l->rng, 0, 12 * NS_PER_S)), h);
}

static void edge_end(struct crew_edge *e, struct worker *w, enum crew_end how)
{
    struct life *l = (struct life *)(void *)e;
    struct process *p = of(l, w);

    p->told_to_end = true;
    if (how == CREW_END_KILL)
        p->dying = true;
    if (how == CREW_END_KILL || (!p->deaf && !(how == CREW_END_SHUTDOWN && p->hangs_now)))
        plan_in(l, DIE_MAX_NS, (struct happening){.what = DIE, .process = w->id});
}

static uint64_t edge_memory(struct crew_edge *e, struct worker *w)
{
    struct life *l = (struct life *)(void *)e;

    (void)w;
    return rng_below(&l->rng, 1000);
}

static void edge_forget(struct crew_edge *e, struct worker *w)
{
    struct life *l = (struct life *)(void *)e;

    of(l, w)->w = NULL;
    l->alive--;
}

static void host_tell(struct crew_host *h, const struct core_event *ev)
{
    struct life *l = list_entry(h, struct life, host);
    const struct worker_transition *t = ev->transition;
    struct process *p = &l->processes[ev->worker];

    require(l, life_may_move(t->from, t->to), "I6: a transition that is not in the table");
    require(l, p->state == t->from, "I6: a transition from a state that it was not in");
    require(l, ev->at.ns == l->now.ns && t->at.ns == l->now.ns, "an event of another time");
    p->state = t->to;
    tally.degraded += t->to == WORKER_DEGRADED;
    if (t->from == WORKER_INITIALIZING && t->to == WORKER_READY)
        l->first_failed = INSTANT_NEVER, l->starts_since = 0;
    mix(l, (uint64_t)l->now.ns);
    mix(l, ev->worker << 8 | (uint64_t)t->to);
}

/* ---- tasks ---- */

static void make_ready(struct life *l, struct task *t, bool first)
{
    t->place = TASK_READY;
    if (first)
        list_push_front(&l->ready, &t->link);
    else
        list_push_back(&l->ready, &t->link);
}

static void submit(struct life *l)
{
    struct task *t = mem_calloc(1, sizeof *t);

    assert_non_null(t);
    t->number = ++l->last_task;
    list_init(&t->link);
    l->tasks_open++;
    if (rng_below(&l->rng, 3)) {
        t->who = &l->who[rng_below(&l->rng, SESSIONS)];
        t->s = affinity_find(crew_affinity(l->crew), t->who->name, strlen(t->who->name), l->now);
        assert_non_null(t->s);
    }
    if (t->s && t->s->taken) {
        t->place = TASK_QUEUED;
        list_push_back(&t->s->queue, &t->link);
        return;
    }
    if (t->s)
        t->s->taken = true;
    make_ready(l, t, false);
}

/* It has ended in some way; the next one of its session has its turn. */
static void finish(struct life *l, struct task *t)
{
    struct list *next;

    if (t->s) {
        require(l, t->number > t->who->done, "the tasks of a session do not end in order");
        t->who->done = t->number;
        next = list_pop_front(&t->s->queue);
        if (next)
            make_ready(l, list_entry(next, struct task, link), false);
        else
            t->s->taken = false;
        affinity_leave(crew_affinity(l->crew), t->s, l->now);
    }
    l->tasks_open--;
    mem_free(t);
}

/* What the test knows of a binding: whether the worker that had the session's last task must have this one too. */
static void check_affinity(struct life *l, struct task *t, const struct worker *w, bool lost)
{
    struct who *who = t->who;
    struct process *before = &l->processes[who->worker];
    bool expired = instant_diff(l->now, who->used_at) >= l->options.affinity.idle_ns;
    bool ended = who->worker && (!before->w || before->w->retiring);
    bool may_move = ended || expired || who->released || l->evicts;

    if (who->worker == 0) {
        require(l, !lost, "a new session is told that it is lost");
    } else {
        require(l, may_move || w->id == who->worker, "a session has left a worker that lives");
        require(l, may_move || who->untold || !lost,
                "a session is told that it is lost, and is not");
        require(l, lost || !who->untold, "a session is lost, and is not told again");
        require(l, lost || w->id == who->worker, "a session is lost, and is not told");
    }
    tally.lost_told += lost;
    who->worker = w->id;
    who->used_at = l->now;
    who->released = who->untold = false;
    t->told_lost = lost;
}

static void give(struct life *l, struct task *t, struct worker *w)
{
    struct process *p = of(l, w);
    bool hangs = fault(l);
    size_t at = 0;

    require(l, p->state == WORKER_READY || p->state == WORKER_BUSY,
            "work to one in no state for it");
    require(l, w->health.health == HEALTH_HEALTHY, "work to one that is not healthy");
    require(l, !p->told_to_end, "work to one that was told to end");
    while (p->requests[at])
        at++;
    require(l, at < l->options.max_in_flight, "more in flight than may be");
    t->place = TASK_RUNNING;
    if (t->who)
        check_affinity(l, t, w, crew_give(l->crew, w, t->s, l->now));
    else
        require(l, !crew_give(l->crew, w, NULL, l->now), "a task without a session lost one");
    p->tasks[at] = t;
    p->requests[at] = ++l->last_request;
    tally.given++;
    plan(l, instant_add(l->now, l->timeout_ns),
         (struct happening){.what = TIMED_OUT, .process = w->id, .request = l->last_request});
    if (hangs) {
        p->hangs_now = true;
        return;
    }
    p->busy_until =
        instant_add(instant_max(l->now, p->busy_until), rng_range(&l->rng, 0, NS_PER_S));
    plan(l, p->busy_until,
         (struct happening){.what = ANSWER,
                            .process = w->id,
                            .request = l->last_request,
                            .good = !fault(l),
                            .unsent = fault(l)});
}

static void dispatch(struct life *l)
{
    struct list *node;
    struct worker *w;
    size_t wanted = 0;

    while ((node = crew_take_orphan(l->crew))) {
        tally.orphans++;
        make_ready(l, list_entry(node, struct task, link), true);
    }
    while ((w = crew_calling(l->crew))) {
        struct task *t = list_entry(list_front(&w->parked), struct task, link);

        crew_unpark(l->crew, w, &t->link);
        if (crew_pick(l->crew, t->s, &w) == CREW_TAKE)
            give(l, t, w);
        else
            make_ready(l, t, true); /* it was released meanwhile, and nobody has room */
    }
    list_foreach_safe (each, &l->ready) {
        struct task *t = list_entry(each, struct task, link);

        switch (crew_pick(l->crew, t->s, &w)) {
        case CREW_TAKE:
            list_remove(&t->link);
            give(l, t, w);
            break;
        case CREW_WAIT:
            list_remove(&t->link);
            t->place = TASK_PARKED;
            tally.parked++;
            crew_park(l->crew, w, &t->link);
            break;
        case CREW_NONE:
        case CREW_SPREAD:
            wanted++;
            break;
        }
    }
    crew_want(l->crew, wanted, l->now);
}

/* ---- what happens ---- */

static size_t slot_of(const struct process *p, uint64_t request)
{
    size_t at = 0;

    while (at < IN_FLIGHT_MAX && p->requests[at] != request)
        at++;
    return at;
}

static void end_request(struct life *l, struct process *p, size_t at, enum crew_answer how)
{
    struct task *t = p->tasks[at];

    p->tasks[at] = NULL;
    p->requests[at] = 0;
    crew_answered(l->crew, p->w, t->s, how, l->now);
    if (t->who) {
        t->who->used_at = l->now;
        t->who->untold = how == CREW_ANSWER_UNSENT && t->told_lost;
    }
    if (how == CREW_ANSWER_NONE || how == CREW_ANSWER_CAPACITY || how == CREW_ANSWER_UNSENT)
        make_ready(l, t, true);
    else
        finish(l, t);
}

static void lose_all(struct life *l, struct process *p)
{
    for (size_t i = 0; i < IN_FLIGHT_MAX; i++) {
        if (p->requests[i])
            end_request(l, p, i, CREW_ANSWER_NONE);
    }
}

static void request_timed_out(struct life *l, struct process *p, size_t at)
{
    tally.timeouts++;
    if (one_in(l, 2)) {
        crew_kill(l->crew, p->w, "a request timed out", NULL, l->now);
        end_request(l, p, at, CREW_ANSWER_NONE);
    } else {
        end_request(l, p, at, CREW_ANSWER_NONE);
        crew_kill(l->crew, p->w, "a request timed out", NULL, l->now);
    }
    if (one_in(l, 2))
        lose_all(l, p);
}

static void die(struct life *l, struct process *p)
{
    bool failed = p->state == WORKER_INITIALIZING && !p->w->ending;

    lose_all(l, p);
    tally.deaths++;
    if (failed && instant_is_never(l->first_failed)) {
        l->first_failed = l->now;
        l->starts_since = 0;
    }
    crew_gone(l->crew, p->w, "exited", "signal 9", l->now);
}

static void pong(struct life *l, struct process *p, bool good)
{
    bool first = p->state == WORKER_INITIALIZING && !p->w->ending && p->w->health.asking;

    tally.late_pongs += !p->w->health.asking;
    if (first && !good && instant_is_never(l->first_failed)) {
        l->first_failed = l->now;
        l->starts_since = 0;
    }
    crew_pong(l->crew, p->w, good, good ? NULL : "not well", 1 + (uint32_t)rng_below(&l->rng, 10),
              l->now);
}

static void count_given_up(void *ctx, const struct worker *w)
{
    *(unsigned *)ctx += w->retiring && w->life.state == WORKER_INITIALIZING;
}

static void change_size(struct life *l)
{
    size_t size = 1 + rng_below(&l->rng, 6), most = size + CREW_SPARE;
    unsigned before = 0, after = 0;

    if (l->ended)
        return;
    crew_each(l->crew, count_given_up, &before);
    require(l, crew_set_size(l->crew, size, l->now, NULL) == WEIR_OK, "a size was refused");
    crew_each(l->crew, count_given_up, &after);
    /* Those that were given up while they started have not shown anything: another one may start in their place. */
    l->starts_since -= after - before < l->starts_since ? after - before : l->starts_since;
    l->options.size = size;
    l->alive_max = (l->alive > most ? l->alive : most) + l->options.overflow;
    tally.resized++;
}

static void by_chance(struct life *l)
{
    struct who *who = &l->who[rng_below(&l->rng, SESSIONS)];

    if (l->calm)
        return;
    plan_in(l, 10 * NS_PER_S, (struct happening){.what = CHANCE});
    if (one_in(l, 3)) {
        l->held_until = instant_add(l->now, rng_range(&l->rng, 0, 5 * NS_PER_S));
        crew_hold_starts(l->crew, l->held_until);
    }
    if (one_in(l, 4))
        change_size(l);
    if (one_in(l, 3) &&
        affinity_release(crew_affinity(l->crew), who->name, strlen(who->name), l->now)) {
        who->released = true;
        tally.released++;
    }
}

/* One that waits for its worker does so no longer. */
static void give_up_waiting(struct life *l)
{
    struct worker *w = l->started ? crew_find(l->crew, 1 + rng_below(&l->rng, l->started)) : NULL;
    struct list *node = w ? list_front(&w->parked) : NULL;

    if (!node || l->calm || !one_in(l, 10))
        return;
    crew_unpark(l->crew, w, node);
    tally.unparked++;
    finish(l, list_entry(node, struct task, link));
}

static void to_process(struct life *l, const struct happening *h)
{
    struct process *p = &l->processes[h->process];
    size_t at = h->request ? slot_of(p, h->request) : IN_FLIGHT_MAX;
    enum crew_answer how = CREW_ANSWER_OK;

    if (!p->w) /* gone; nobody is told any more */
        return;
    switch (h->what) {
    case SPAWNED:
        crew_spawned(l->crew, p->w, (int64_t)h->process, l->now);
        break;
    case PONG:
        if (!p->dying)
            pong(l, p, h->good);
        break;
    case ANSWER:
        if (at == IN_FLIGHT_MAX || p->dying || p->hangs_now)
            break;
        if (!h->good)
            how = one_in(l, 3) ? CREW_ANSWER_CAPACITY : CREW_ANSWER_ERROR;
        if (h->unsent)
            how = CREW_ANSWER_UNSENT;
        tally.answers++;
        end_request(l, p, at, how);
        break;
    case TIMED_OUT:
        if (at < IN_FLIGHT_MAX)
            request_timed_out(l, p, at);
        break;
    default:
        die(l, p);
    }
}

static void happen(struct life *l, const struct happening *h)
{
    switch (h->what) {
    case SUBMIT:
        if (!l->ended)
            submit(l);
        break;
    case CHANCE:
        by_chance(l);
        break;
    case TURN:
        break;
    default:
        to_process(l, h);
    }
}

/* The turn of the loop that follows whatever has happened. */
static void turn(struct life *l)
{
    uint64_t failed = crew_counts(l->crew).failed_starts;
    struct instant wake;
    const char *bad;

    give_up_waiting(l);
    if (!l->ended)
        dispatch(l);
    wake = crew_run(l->crew, l->now);
    /* A start that fails because its time is over. */
    if (crew_counts(l->crew).failed_starts > failed && instant_is_never(l->first_failed)) {
        l->first_failed = l->now;
        l->starts_since = 0;
    }
    bad = crew_check(l->crew);
    if (bad)
        wrong(l, bad);
    require(l, instant_before(l->now, wake), "it wants to be called again at once");
    if (instant_before(wake, l->wake)) {
        l->wake = wake;
        plan(l, wake, (struct happening){.what = TURN});
    }
    tally.events++;
}

/* Until then, or until it is over; false: something is wrong. */
static bool run_until(struct life *l, struct instant until, bool to_the_end)
{
    struct heap_node *first;

    while (!l->wrong[0] && (first = heap_first(&l->queue))) {
        struct happening *h = list_entry(first, struct happening, node);

        if (instant_before(until, h->at) || (to_the_end && crew_is_empty(l->crew)))
            break;
        heap_pop(&l->queue);
        l->now = h->at;
        if (!instant_before(l->now, l->wake))
            l->wake = INSTANT_NEVER; /* what is planned for it comes now */
        happen(l, h);
        turn(l);
        mem_free(h);
    }
    return !l->wrong[0];
}

/* ---- a life ---- */

static void draw_options(struct life *l)
{
    struct crew_options *o = &l->options;
    struct rng *r = &l->rng;

    crew_options_init(o);
    o->pool = "crew";
    o->size = 1 + rng_below(r, 5);
    o->overflow = one_in(l, 2) ? rng_below(r, 4) : 0;
    o->lazy = one_in(l, 4);
    o->order = one_in(l, 2) ? CREW_LIFO : CREW_FIFO;
    o->max_in_flight = one_in(l, 2) ? 1 : 1 + (uint32_t)rng_below(r, IN_FLIGHT_MAX);
    o->init_timeout_ns = rng_range(r, 3, 10) * NS_PER_S;
    o->health.every_ns = one_in(l, 8) ? 0 : rng_range(r, 1, 30) * NS_PER_S;
    o->health.failures = 1 + (uint32_t)rng_below(r, 4);
    o->overflow_idle_ns = rng_range(r, 1, 10 * NS_PER_S);
    o->recycle_requests = one_in(l, 4) ? 1 + rng_below(r, 20) : 0;
    o->recycle_age_ns = one_in(l, 4) ? rng_range(r, 5, 60) * NS_PER_S : 0;
    o->recycle_memory_bytes = one_in(l, 4) ? 900 : 0;
    o->shutdown_grace_ns = one_in(l, 4) ? 0 : rng_range(r, 0, 5 * NS_PER_S);
    o->term_grace_ns = one_in(l, 4) ? 0 : rng_range(r, 0, 5 * NS_PER_S);
    o->affinity.seed = rng_u64(r);
    o->affinity.idle_ns = one_in(l, 2) ? rng_range(r, 1, 30) * NS_PER_S : 300 * NS_PER_S;
    o->affinity.sweep_ns = rng_range(r, 1, 60) * NS_PER_S;
    if (one_in(l, 6)) {
        o->affinity.bound_max = 1 + rng_below(r, SESSIONS);
        l->evicts = true;
    }
    l->timeout_ns = rng_range(r, 2 * NS_PER_S, TIMEOUT_MAX_NS);
    l->faults = one_in(l, 4) ? 0 : (unsigned)rng_below(r, one_in(l, 4) ? 40 : 8);
}

static void begin(struct life *l, uint64_t seed)
{
    size_t tasks;

    rng_seed(&l->rng, seed);
    l->edge = (struct crew_edge){edge_spawn, edge_ping, edge_end, edge_memory, edge_forget};
    l->host.tell = host_tell;
    l->first_failed = INSTANT_NEVER;
    l->held_until = INSTANT_NONE;
    l->wake = INSTANT_NEVER;
    list_init(&l->ready);
    heap_init(&l->queue, sooner);
    for (size_t i = 0; i < SESSIONS; i++) {
        snprintf(l->who[i].name, sizeof l->who[i].name, "s%u", (unsigned)(i % 100));
        l->who[i].used_at = INSTANT_NONE;
    }
    draw_options(l);
    l->alive_max = l->options.size + l->options.overflow + CREW_SPARE;
    assert_int_equal(crew_options_check(&l->options, NULL), WEIR_OK);
    assert_int_equal(crew_new(&l->options, &l->edge, &l->host, l->now, &l->crew, NULL), WEIR_OK);
    tasks = 1 + rng_below(&l->rng, TASKS_MAX);
    for (size_t i = 0; i < tasks; i++)
        plan_in(l, LIFE_NS, (struct happening){.what = SUBMIT});
    plan_in(l, 10 * NS_PER_S, (struct happening){.what = CHANCE});
    plan(l, l->now, (struct happening){.what = TURN});
}

/* Without faults, and after a while: all tasks have ended, and every place has a worker that works. */
static void check_calm(struct life *l)
{
    struct crew_counts n = crew_counts(l->crew);

    require(l, l->tasks_open == 0, "tasks have not ended");
    require(l, n.by_state[WORKER_DEGRADED] == 0, "a worker is degraded for ever");
    /* One of them may just be replaced. */
    require(l, l->options.lazy || n.by_state[WORKER_READY] + 1 >= l->options.size,
            "places are not filled");
    if (l->options.recycle_age_ns == 0)
        require(l, l->options.lazy || n.by_state[WORKER_READY] == l->options.size,
                "there are not as many workers as places");
}

static void end_all(struct life *l)
{
    const struct crew_options *o = &l->options;
    duration_ns most = o->shutdown_grace_ns + o->term_grace_ns + TIMEOUT_MAX_NS + 2 * DIE_MAX_NS;
    struct instant from = l->now;
    bool at_once = one_in(l, 2);
    struct list *node;

    l->ended = true;
    crew_shut_down(l->crew, at_once, l->now);
    plan(l, l->now, (struct happening){.what = TURN});
    if (!run_until(l, instant_add(l->now, FOR_EVER), true))
        return;
    require(l, crew_is_empty(l->crew), "not all workers have ended");
    require(l, instant_diff(l->now, from) <= most, "the end took longer than the graces");
    while ((node = crew_take_orphan(l->crew)))
        make_ready(l, list_entry(node, struct task, link), true);
    while ((node = list_pop_front(&l->ready)))
        finish(l, list_entry(node, struct task, link));
    require(l, l->tasks_open == 0, "a task is nowhere");
}

static void note(const struct crew_counts *n, const struct affinity_counts *a)
{
    tally.failed_starts += n->failed_starts;
    tally.recycled += n->recycled;
    tally.killed += n->killed;
    tally.expired += a->expiries;
}

static void live(struct life *l, uint64_t seed)
{
    struct crew_counts n;
    struct affinity_counts a;
    struct heap_node *node;
    bool early;

    memset(l, 0, sizeof *l);
    seed_now = seed;
    begin(l, seed);
    early = one_in(l, 3); /* it is shut down in the middle of all */
    if (run_until(l, instant_add(l->now, early ? rng_range(&l->rng, 0, LIFE_NS) : LIFE_NS),
                  false) &&
        !early) {
        l->calm = true;
        for (uint64_t i = 1; i <= l->started; i++) {
            l->processes[i].broken = false;
            l->processes[i].slow_ns = NS_PER_S;
        }
        run_until(l, instant_add(l->now, 400 * NS_PER_S), false);
        check_calm(l);
    }
    if (!l->wrong[0])
        end_all(l);
    n = crew_counts(l->crew);
    a = affinity_counts(crew_affinity(l->crew));
    note(&n, &a);
    mix(l, n.started);
    mix(l, a.hits);
    while ((node = heap_pop(&l->queue)))
        mem_free(list_entry(node, struct happening, node));
    heap_free(&l->queue);
    if (!l->wrong[0]) /* else it is in no state to be freed */
        l->crew = crew_free(l->crew);
}

/* ---- tests ---- */

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

static const char replay[] =
    "replay it: WEIR_SEED=%llu WEIR_SEEDS=1 build/tests/unit/core/worker/test_crew_lives\n";

/* An assertion inside of the crew ends the program: say at which seed. */
static void on_abort(int number)
{
    char text[160];
    int n = snprintf(text, sizeof text, replay, (unsigned long long)seed_now);

    (void)number;
    if (n > 0 && write(STDERR_FILENO, text, (size_t)n) < 0)
        _exit(3);
    signal(SIGABRT, SIG_DFL);
}

static void no_life_breaks_what_must_hold(void **state)
{
    uint64_t first = from_environment("WEIR_SEED", 1), n = from_environment("WEIR_SEEDS", 400);
    struct life *l = mem_alloc(sizeof *l);

    (void)state;
    assert_non_null(l);
    signal(SIGABRT, on_abort);
    for (uint64_t seed = first; seed < first + n; seed++) {
        uint64_t hash;

        live(l, seed);
        if (l->wrong[0]) {
            fprintf(stderr, replay, (unsigned long long)seed);
            fail_msg("seed %llu: %s", (unsigned long long)seed, l->wrong);
        }
        if (seed % 4)
            continue;
        hash = l->hash;
        live(l, seed);
        assert_true(hash == l->hash); /* I7 */
    }
    mem_free(l);
}

/* A test that no longer reaches something would show nothing. */
static void everything_has_happened(void **state)
{
    const uint64_t *n = (const uint64_t *)(const void *)&tally;

    (void)state;
    if (from_environment("WEIR_SEEDS", 400) < 100)
        skip();
    for (size_t i = 0; i < sizeof tally / sizeof *n; i++) {
        if (n[i] == 0)
            fail_msg("the %zuth of the things that are counted has never happened", i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_life_breaks_what_must_hold),
        cmocka_unit_test(everything_has_happened),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
