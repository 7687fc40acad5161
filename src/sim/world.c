/*
 * The world: what is due next, and the edges of the dispatcher as events in one heap. See world.h.
 *
 * Callbacks of the dispatcher only queue: an attempt's end, a put, a row to take are events of
 * their own, each in a step of its own. Each attempt's place, each batch's feeder, store and
 * consumer have one event struct for good, so that nothing is allocated on the way.
 */
#include "sim/world.h"

#include "base/error.h"
#include "base/mem.h"
#include "core/record.h"

#include <assert.h>

/* A place of a pool, with the attempt that is in it. */
struct sim_place {
    struct sim_event ends; /* in no heap: it never ends by itself */
    struct sim_executor *executor;
    struct core_attempt *attempt; /* NULL: free */
    struct core_answer answer;    /* what it will give */
    struct instant began;
    bool on_its_way;  /* what comes next is its arrival, not its end */
    struct list link; /* the executor's free or busy list */
};

struct sim_executor {
    struct sim_edge edge; /* first */
    struct sim_world *world;
    struct sim_model *model;
    struct sim_place *places;
    size_t place_count;
    struct list free, busy;
};

struct task_queue {
    struct core_task *first, *last;
};

struct sim_batch {
    struct sim_world *world;
    struct core_batch *core; /* NULL: freed */
    struct sim_batch_options options;
    uint64_t number;
    struct sim_event feed, commit, consume;
    struct core_task *held;       /* from the source, refused for now */
    uint64_t rows;                /* between submission and giving back */
    struct task_queue to_commit;  /* finished, not yet with the store */
    struct task_queue committing; /* in the put that is under way */
    struct task_queue delivered;
    uint64_t nomem;
    bool ended, put_failed;
    struct core_stats stats; /* when it was freed */
    struct list link;
};

struct sim_call {
    struct sim_event event;
    void (*call)(struct sim_world *w, void *ctx);
    void *ctx;
    struct list link;
};

struct sim_world {
    struct core_observer observer; /* passes on to the one of the options */
    struct dispatcher_host host;
    struct sim_world_options options;
    struct dispatcher *dispatcher;
    struct rng rng;
    struct instant now, wake;
    uint64_t steps, planned;
    struct heap events;
    size_t event_room; /* how many events there can be */
    struct list edges, batches, calls;
    struct sim_lodger *lodger; /* NULL: none */
    bool cut, dead, shut_down;
    bool unheard; /* of this step's event the dispatcher knows nothing: it need not run */
    struct store_row rows[SIM_PUT_ROWS];
};

/* ---- events ---- */

static bool event_less(const struct heap_node *x, const struct heap_node *y)
{
    const struct sim_event *a = list_entry(x, struct sim_event, node);
    const struct sim_event *b = list_entry(y, struct sim_event, node);

    return a->at.ns != b->at.ns ? a->at.ns < b->at.ns : a->number < b->number;
}

void sim_event_init(struct sim_event *ev, void (*fire)(struct sim_world *, struct sim_event *))
{
    heap_node_init(&ev->node);
    ev->fire = fire;
}

void sim_world_plan(struct sim_world *w, struct sim_event *ev, struct instant at)
{
    heap_remove(&w->events, &ev->node);
    if (w->dead)
        return;
    ev->at = instant_max(at, w->now);
    ev->number = ++w->planned;
    heap_push(&w->events, &ev->node);
}

static void plan_after(struct sim_world *w, struct sim_event *ev, duration_ns after)
{
    sim_world_plan(w, ev, instant_add(w->now, after));
}

void sim_world_unplan(struct sim_world *w, struct sim_event *ev)
{
    heap_remove(&w->events, &ev->node);
}

/* Room for some more events; undone by nobody, for it does no harm. */
bool sim_world_make_room(struct sim_world *w, size_t more)
{
    if (!heap_reserve(&w->events, w->event_room + more))
        return false;
    w->event_room += more;
    return true;
}

/* ---- tasks in a queue ---- */

static void queue_put(struct task_queue *q, struct core_task *t)
{
    t->next = NULL;
    if (q->first)
        q->last->next = t;
    else
        q->first = t;
    q->last = t;
}

static struct core_task *queue_take(struct task_queue *q)
{
    struct core_task *t = q->first;

    if (t) {
        q->first = t->next;
        t->next = NULL;
    }
    return t;
}

/* ---- the modelled executor ---- */

static void place_arrives(struct sim_world *w, struct sim_place *p)
{
    struct sim_model *m = p->executor->model;
    duration_ns after = m->ops->arrive(m, p->attempt, w->now, &p->answer);

    assert(after >= 0);
    p->on_its_way = false;
    w->unheard = true;
    if (after != SIM_NEVER)
        plan_after(w, &p->ends, after);
}

static void place_ends(struct sim_world *w, struct sim_place *p)
{
    struct sim_executor *ex = p->executor;
    struct core_attempt *a = p->attempt;
    unsigned more = 0;

    if (ex->model->ops->end && !w->dead)
        more = ex->model->ops->end(ex->model, a, w->now);
    if (instant_is_none(p->answer.started_at))
        p->answer.started_at = p->began;
    if (instant_is_none(p->answer.ended_at))
        p->answer.ended_at = w->now;
    answer_move(&a->answer, &p->answer);
    p->attempt = NULL;
    p->on_its_way = false;
    list_remove(&p->link);
    list_push_back(&ex->free, &p->link);
    ex->edge.running--;
    dispatcher_report(w->dispatcher, a, w->now);
    while (more-- > 0) {
        a->answer.outcome = WEIR_OUTCOME_OK;
        answer_say(&a->answer, "said twice");
        dispatcher_report(w->dispatcher, a, w->now);
    }
}

static void place_is_due(struct sim_world *w, struct sim_event *ev)
{
    struct sim_place *p = list_entry(ev, struct sim_place, ends);

    if (p->on_its_way)
        place_arrives(w, p);
    else
        place_ends(w, p);
}

static void executor_start(struct core_executor *port, struct core_attempt *a)
{
    struct sim_executor *ex = (struct sim_executor *)(void *)port;
    struct sim_world *w = ex->world;
    struct sim_place *p = list_entry(list_pop_front(&ex->free), struct sim_place, link);
    duration_ns after;

    assert(ex->edge.running < ex->place_count);
    list_push_back(&ex->busy, &p->link);
    ex->edge.running++;
    p->attempt = a;
    p->began = w->now;
    p->on_its_way = ex->model->ops->arrive != NULL;
    a->edge = p;
    answer_init(&p->answer);
    after = ex->model->ops->begin(ex->model, a, w->now, &p->answer);
    assert(after >= 0);
    if (after != SIM_NEVER)
        plan_after(w, &p->ends, after);
}

static void executor_cancel(struct core_executor *port, struct core_attempt *a)
{
    struct sim_executor *ex = (struct sim_executor *)(void *)port;
    struct sim_place *p = a->edge;
    duration_ns after = 0;

    assert(p->attempt == a);
    if (ex->world->dead)
        return;
    if (ex->model->ops->cancel)
        after = ex->model->ops->cancel(ex->model, a, ex->world->now, &p->answer);
    else
        answer_clear(&p->answer);
    if (after == SIM_UNMOVED)
        return;
    p->on_its_way = false;
    plan_after(ex->world, &p->ends, after);
}

static struct sim_executor *executor_free(struct sim_executor *ex)
{
    if (ex)
        mem_free(ex->places);
    return mem_free(ex);
}

static void executor_close(struct core_executor *port)
{
    struct sim_executor *ex = (struct sim_executor *)(void *)port;

    assert(ex->edge.running == 0);
    list_remove(&ex->edge.link);
    executor_free(ex);
}

static const struct core_executor_ops executor_at_once = {
    .kind = "model",
    .cancels_at_once = true,
    .start = executor_start,
    .cancel = executor_cancel,
    .close = executor_close,
};

static const struct core_executor_ops executor_can_only_ask = {
    .kind = "model",
    .cancels_at_once = false,
    .start = executor_start,
    .cancel = executor_cancel,
    .close = executor_close,
};

static void executor_drop(struct sim_edge *e)
{
    struct sim_executor *ex = (struct sim_executor *)(void *)e;
    struct list *l;

    while ((l = list_front(&ex->busy))) {
        struct sim_place *p = list_entry(l, struct sim_place, link);

        answer_clear(&p->answer);
        p->answer.outcome = WEIR_OUTCOME_CANCELLED;
        sim_world_unplan(ex->world, &p->ends);
        place_ends(ex->world, p);
    }
}

static struct sim_executor *executor_new(struct sim_world *w, size_t size, struct sim_model *model)
{
    struct sim_executor *ex = mem_calloc(1, sizeof *ex);

    if (!ex)
        return NULL;
    ex->places = mem_calloc(size, sizeof *ex->places);
    if (!ex->places || !sim_world_make_room(w, size))
        return executor_free(ex);
    ex->edge.port.ops = model->ops->cancels_at_once ? &executor_at_once : &executor_can_only_ask;
    ex->world = w;
    ex->model = model;
    ex->place_count = size;
    ex->edge.drop = executor_drop;
    list_init(&ex->free);
    list_init(&ex->busy);
    for (size_t i = 0; i < size; i++) {
        sim_event_init(&ex->places[i].ends, place_is_due);
        ex->places[i].executor = ex;
        answer_init(&ex->places[i].answer);
        list_push_back(&ex->free, &ex->places[i].link);
    }
    return ex;
}

enum weir_status sim_world_add_pool(struct sim_world *w, const struct core_pool_options *o,
                                    struct sim_model *model, struct core_pool **ret,
                                    struct weir_error *err)
{
    enum weir_status status = core_pool_options_check(o, err);
    struct sim_executor *ex;

    if (status != WEIR_OK)
        return status;
    ex = executor_new(w, o->size, model);
    if (!ex)
        return error_nomem(err);
    status = sim_world_add_edge(w, o, &ex->edge, ret, err);
    if (status != WEIR_OK)
        executor_free(ex);
    return status;
}

/* ---- edges of any kind ---- */

enum weir_status sim_world_add_edge(struct sim_world *w, const struct core_pool_options *o,
                                    struct sim_edge *e, struct core_pool **ret,
                                    struct weir_error *err)
{
    enum weir_status status = dispatcher_add_pool(w->dispatcher, o, &e->port, &e->pool, err);

    if (status != WEIR_OK)
        return status;
    list_push_back(&w->edges, &e->link);
    *ret = e->pool;
    return WEIR_OK;
}

enum weir_status sim_world_set_fallback(struct sim_world *w, struct core_pool *pool,
                                        struct core_pool *other)
{
    return dispatcher_set_fallback(w->dispatcher, pool, other, NULL);
}

void sim_world_report(struct sim_world *w, struct core_attempt *a)
{
    dispatcher_report(w->dispatcher, a, w->now);
}

bool sim_world_is_dead(const struct sim_world *w)
{
    return w->dead;
}

/* ---- rows come ---- */

static struct sim_batch *batch_of(const struct core_batch *core)
{
    return core_batch_owner(core);
}

/* The next row, or NULL; *ret_again: ask later. Ends the batch when there are no more. */
static struct core_task *next_row(struct sim_batch *b, bool *ret_again)
{
    struct core_task *t = b->held;
    enum weir_status status;

    *ret_again = false;
    b->held = NULL;
    if (t)
        return t;
    status = b->options.source->ops->next(b->options.source, &t);
    if (status == WEIR_OK)
        return t;
    if (status == WEIR_E_END) {
        b->ended = true;
        dispatcher_end(b->world->dispatcher, b->core, b->world->now);
    } else {
        b->nomem++;
        *ret_again = true;
    }
    return NULL;
}

/* One row. A feeder that finds the window full comes again when a row is given back. */
static void feed_one(struct sim_world *w, struct sim_event *ev)
{
    struct sim_batch *b = list_entry(ev, struct sim_batch, feed);
    struct sim_source *source = b->options.source;
    struct weir_error err;
    struct core_task *t;
    enum weir_status status;
    bool again;

    if (b->ended || !b->core || b->rows >= b->options.core.window_rows)
        return;
    t = next_row(b, &again);
    if (!t) {
        if (again)
            plan_after(w, ev, SIM_AGAIN_NS);
        return;
    }
    status = dispatcher_submit(w->dispatcher, b->core, t, w->now, &err);
    switch (status) {
    case WEIR_OK:
        b->rows++;
        plan_after(w, ev, source->ops->gap ? source->ops->gap(source) : 0);
        break;
    case WEIR_E_NOMEM:
        b->nomem++;
        b->held = t;
        plan_after(w, ev, SIM_AGAIN_NS);
        break;
    default: /* stopped or shut down: no row is wanted any more */
        t->release(t);
        b->ended = true;
        dispatcher_end(w->dispatcher, b->core, w->now);
        break;
    }
}

/* ---- rows are put ---- */

static void begin_put(struct sim_batch *b)
{
    const struct sim_batch_options *o = &b->options;

    if (b->committing.first || !b->to_commit.first)
        return;
    for (int i = 0; i < SIM_PUT_ROWS && b->to_commit.first; i++)
        queue_put(&b->committing, queue_take(&b->to_commit));
    plan_after(b->world, &b->commit, rng_range(&b->world->rng, o->commit_min_ns, o->commit_max_ns));
}

/* The put that was under way returns. After one that failed no other is tried: the batch is aborted. */
static void put_returns(struct sim_world *w, struct sim_event *ev)
{
    struct sim_batch *b = list_entry(ev, struct sim_batch, commit);
    struct core_store *store = b->options.store;
    struct core_task *t;
    size_t n = 0;

    for (t = b->committing.first; t; t = t->next)
        record_row(t, SIM_WALL_OFFSET_NS, &w->rows[n++]);
    if (!b->put_failed)
        b->put_failed = store->ops->put(store, w->rows, n, NULL, 0, NULL) != WEIR_OK;
    if (w->cut)
        return;
    if (b->put_failed)
        dispatcher_abort(w->dispatcher, b->core, w->now);
    while ((t = queue_take(&b->committing))) {
        if (b->put_failed)
            dispatcher_uncommitted(w->dispatcher, t);
        else
            dispatcher_committed(w->dispatcher, t, w->now);
    }
    begin_put(b);
}

/* ---- results are taken ---- */

static void consume_later(struct sim_batch *b)
{
    struct sim_sink *sink = b->options.sink;

    plan_after(b->world, &b->consume, sink && sink->ops->delay ? sink->ops->delay(sink) : 0);
}

static void consume_one(struct sim_world *w, struct sim_event *ev)
{
    struct sim_batch *b = list_entry(ev, struct sim_batch, consume);
    struct sim_sink *sink = b->options.sink;
    struct core_task *t = b->delivered.first;

    if (sink && sink->ops->take)
        sink->ops->take(sink, t, w->now);
    if (w->cut)
        return;
    queue_take(&b->delivered);
    dispatcher_give_back(w->dispatcher, t);
    b->rows--;
    if (!b->ended && !heap_contains(&b->feed.node))
        plan_after(w, &b->feed, 0);
    if (b->delivered.first)
        consume_later(b);
}

/* ---- the dispatcher's host ---- */

static struct sim_lodger *lodger_of(struct dispatcher_host *h, const struct core_batch *core)
{
    struct sim_lodger *l = list_entry(h, struct sim_world, host)->lodger;

    return l && l->owns(l, core) ? l : NULL;
}

static void host_finished(struct dispatcher_host *h, struct core_batch *core, struct core_task *t)
{
    struct sim_batch *b = batch_of(core);

    if (lodger_of(h, core) || !b->options.store)
        return;
    queue_put(&b->to_commit, t);
    begin_put(b);
}

static void host_retrying(struct dispatcher_host *h, struct core_batch *core,
                          const struct core_task *t, duration_ns wait_ns)
{
    (void)h;
    (void)core;
    (void)t;
    (void)wait_ns;
}

static void host_deliver(struct dispatcher_host *h, struct core_batch *core, struct core_task *t)
{
    struct sim_lodger *l = lodger_of(h, core);
    struct sim_batch *b = batch_of(core);

    if (l) {
        l->deliver(l, t);
        return;
    }
    queue_put(&b->delivered, t);
    if (!heap_contains(&b->consume.node))
        consume_later(b);
}

static void host_closed(struct dispatcher_host *h, struct core_batch *core)
{
    (void)h;
    (void)core;
}

static void host_pool_gone(struct dispatcher_host *h, struct core_pool *p)
{
    struct sim_lodger *l = list_entry(h, struct sim_world, host)->lodger;

    if (l)
        l->pool_gone(l, p);
}

void sim_world_tell(struct sim_world *w, const struct core_event *ev)
{
    if (w->options.observer)
        w->observer.ops->event(&w->observer, ev);
}

/* A world that was cut tells nobody how it is taken apart. */
static void pass_on(struct core_observer *o, const struct core_event *ev)
{
    struct sim_world *w = (struct sim_world *)(void *)o;

    if (!w->cut && !w->dead)
        w->options.observer->ops->event(w->options.observer, ev);
}

static const struct core_observer_ops observer_ops = {.event = pass_on};

/* ---- batches ---- */

enum weir_status sim_world_open(struct sim_world *w, struct core_pool *pool,
                                const struct sim_batch_options *o, struct sim_batch **ret,
                                struct weir_error *err)
{
    struct core_batch_options core = o->core;
    struct sim_batch *b = mem_calloc(1, sizeof *b);
    enum weir_status status;

    if (!b || !sim_world_make_room(w, 3)) {
        mem_free(b);
        return error_nomem(err);
    }
    core.durable = o->store != NULL;
    b->world = w;
    b->options = *o;
    sim_event_init(&b->feed, feed_one);
    sim_event_init(&b->commit, put_returns);
    sim_event_init(&b->consume, consume_one);
    status = dispatcher_open_batch(w->dispatcher, pool, &core, b, w->now, &b->core, err);
    if (status != WEIR_OK) {
        mem_free(b);
        return status;
    }
    b->number = core_batch_number(b->core);
    list_push_back(&w->batches, &b->link);
    plan_after(w, &b->feed, 0);
    *ret = b;
    return WEIR_OK;
}

static void free_core(struct sim_batch *b)
{
    dispatcher_batch_stats(b->core, &b->stats);
    dispatcher_free_batch(b->world->dispatcher, b->core);
    b->core = NULL;
    heap_remove(&b->world->events, &b->feed.node);
    if (b->held)
        b->held->release(b->held);
    b->held = NULL;
}

/* Frees the dispatcher's side of what is through. False: something is still open. */
static bool free_what_is_over(struct sim_world *w)
{
    bool all = true;

    list_foreach (node, &w->batches) {
        struct sim_batch *b = list_entry(node, struct sim_batch, link);

        if (b->core && dispatcher_batch_closed(b->core) && dispatcher_batch_idle(b->core))
            free_core(b);
        all = all && !b->core;
    }
    return all;
}

/* ---- planned calls ---- */

static void make_call(struct sim_world *w, struct sim_event *ev)
{
    struct sim_call *c = list_entry(ev, struct sim_call, event);

    c->call(w, c->ctx);
}

enum weir_status sim_world_at(struct sim_world *w, struct instant when,
                              void (*call)(struct sim_world *w, void *ctx), void *ctx,
                              struct weir_error *err)
{
    struct sim_call *c = mem_calloc(1, sizeof *c);

    if (!c || !sim_world_make_room(w, 1)) {
        mem_free(c);
        return error_nomem(err);
    }
    sim_event_init(&c->event, make_call);
    c->call = call;
    c->ctx = ctx;
    list_push_back(&w->calls, &c->link);
    sim_world_plan(w, &c->event, when);
    return WEIR_OK;
}

void sim_world_stop(struct sim_world *w, struct sim_batch *b, bool cancel_running)
{
    if (b->core)
        dispatcher_stop(w->dispatcher, b->core, cancel_running, w->now);
    w->wake = w->now; /* between two runs nobody else has the dispatcher run */
}

void sim_world_shutdown(struct sim_world *w, bool cancel_running)
{
    w->shut_down = true;
    dispatcher_shutdown(w->dispatcher, cancel_running, w->now);
    w->wake = w->now;
}

void sim_world_cut(struct sim_world *w)
{
    w->cut = true;
}

/* ---- the world ---- */

enum weir_status sim_world_new(const struct sim_world_options *o, struct sim_world **ret,
                               struct weir_error *err)
{
    struct sim_world *w = mem_calloc(1, sizeof *w);
    struct dispatcher_options d = {.seed = o->seed, .global_limit = o->global_limit};
    enum weir_status status;

    if (!w)
        return error_nomem(err);
    w->host = (struct dispatcher_host){
        .finished = host_finished,
        .retrying = host_retrying,
        .deliver = host_deliver,
        .closed = host_closed,
        .pool_gone = host_pool_gone,
    };
    w->options = *o;
    w->now = SIM_START;
    w->wake = INSTANT_NEVER;
    rng_seed(&w->rng, o->seed ^ UINT64_C(0x7765697277656972));
    heap_init(&w->events, event_less);
    list_init(&w->edges);
    list_init(&w->batches);
    list_init(&w->calls);
    w->observer.ops = &observer_ops;
    d.observer = o->observer ? &w->observer : NULL;
    d.host = &w->host;
    status = dispatcher_new(&d, &w->dispatcher, err);
    if (status != WEIR_OK) {
        mem_free(w);
        return status;
    }
    *ret = w;
    return WEIR_OK;
}

/* What is due next: an event, or (NULL) the dispatcher's own time. */
static struct sim_event *next_event(const struct sim_world *w, struct instant *ret_at)
{
    struct heap_node *n = heap_first(&w->events);
    struct sim_event *ev = n ? list_entry(n, struct sim_event, node) : NULL;

    if (ev && ev->at.ns <= w->wake.ns) {
        *ret_at = ev->at;
        return ev;
    }
    *ret_at = w->wake;
    return NULL;
}

void sim_world_set_lodger(struct sim_world *w, struct sim_lodger *l)
{
    w->lodger = l;
    w->wake = w->now;
}

struct dispatcher *sim_world_use_dispatcher(struct sim_world *w)
{
    return w->dispatcher;
}

/* The dispatcher's turn; the lodger's comes before it, as in an engine. */
static void run_dispatcher(struct sim_world *w)
{
    struct sim_lodger *l = w->lodger;

    do {
        struct instant due = l ? l->turn(l, w->now) : INSTANT_NEVER;

        w->wake = instant_min(due, dispatcher_run(w->dispatcher, w->now));
    } while (l && l->is_due(l));
}

enum sim_end sim_world_run(struct sim_world *w, struct instant until)
{
    while (!w->cut) {
        struct instant at;
        struct sim_event *ev = next_event(w, &at);

        if (free_what_is_over(w) && w->events.len == 0 && (!w->lodger || instant_is_never(at)) &&
            (!w->shut_down || dispatcher_workers(w->dispatcher) == 0))
            return SIM_DONE;
        if (instant_is_never(at) && !w->lodger)
            return SIM_STUCK;
        if (instant_before(until, at)) {
            if (w->lodger)
                w->now = instant_max(w->now, until);
            return SIM_TIME;
        }
        w->now = instant_max(w->now, at);
        w->steps++;
        if (ev) {
            heap_remove(&w->events, &ev->node);
            ev->fire(w, ev);
        }
        if (w->cut)
            break;
        if (!w->unheard)
            run_dispatcher(w);
        w->unheard = false;
        if (w->options.step && !w->options.step(w->options.ctx, w))
            return SIM_HALTED;
    }
    return SIM_CUT;
}

void sim_world_drop_edges(struct sim_world *w)
{
    assert(w->dead);
    list_foreach (node, &w->edges) {
        struct sim_edge *e = list_entry(node, struct sim_edge, link);

        e->drop(e);
    }
}

/* Ends what is in the middle, so that it can be freed: nobody is told, nothing is put. */
static void tear_down(struct sim_world *w)
{
    list_foreach (node, &w->batches) {
        struct sim_batch *b = list_entry(node, struct sim_batch, link);

        if (b->core)
            dispatcher_abort(w->dispatcher, b->core, w->now);
    }
    sim_world_drop_edges(w);
    if (w->lodger)
        w->lodger->drop(w->lodger);
}

static void free_batch(struct sim_world *w, struct sim_batch *b)
{
    struct core_task *t;

    while ((t = queue_take(&b->committing)) || (t = queue_take(&b->to_commit)))
        dispatcher_uncommitted(w->dispatcher, t);
    while ((t = queue_take(&b->delivered)))
        dispatcher_give_back(w->dispatcher, t);
    if (b->core)
        free_core(b);
    list_remove(&b->link);
    mem_free(b);
}

void sim_world_free(struct sim_world *w)
{
    struct list *l;

    if (!w)
        return;
    w->dead = true;
    heap_free(&w->events); /* before what its nodes live in */
    heap_init(&w->events, event_less);
    tear_down(w);
    while ((l = list_front(&w->batches)))
        free_batch(w, list_entry(l, struct sim_batch, link));
    while ((l = list_pop_front(&w->calls)))
        mem_free(list_entry(l, struct sim_call, link));
    dispatcher_free(w->dispatcher);
    mem_free(w);
}

/* ---- looking at it ---- */

struct instant sim_world_now(const struct sim_world *w)
{
    return w->now;
}

struct instant sim_world_wake(const struct sim_world *w)
{
    return w->wake;
}

const struct dispatcher *sim_world_dispatcher(const struct sim_world *w)
{
    return w->dispatcher;
}

uint64_t sim_world_steps(const struct sim_world *w)
{
    return w->steps;
}

size_t sim_world_running(const struct sim_world *w, const struct core_pool *pool)
{
    size_t running = 0;

    list_foreach (node, &w->edges) {
        const struct sim_edge *e = list_entry(node, const struct sim_edge, link);

        if (!pool || e->pool == pool)
            running += e->running;
    }
    return running;
}

void *sim_batch_owner(const struct sim_batch *b)
{
    return b->options.owner;
}

uint64_t sim_batch_number(const struct sim_batch *b)
{
    return b->number;
}

void sim_batch_stats(const struct sim_batch *b, struct core_stats *ret)
{
    if (b->core)
        dispatcher_batch_stats(b->core, ret);
    else
        *ret = b->stats;
}

bool sim_batch_is_over(const struct sim_batch *b)
{
    return !b->core;
}

bool sim_batch_has_failed(const struct sim_batch *b)
{
    return b->put_failed;
}

uint64_t sim_batch_nomem(const struct sim_batch *b)
{
    return b->nomem;
}
