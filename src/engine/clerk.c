#include "engine/clerk.h"

#include "base/error.h"
#include "base/mem.h"
#include "core/fold.h"
#include "engine/spill.h"
#include "loop/loop.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct clerk {
    struct core_registry *registry;
    struct clerk_options options;
    struct spill *spill; /* NULL: none */
    pthread_t thread;

    pthread_mutex_t lock; /* of: */
    pthread_cond_t changed;
    struct registry_op *queue, **tail;
    struct clerk_stats stats;
    atomic_bool failing; /* stats.failing, for any thread without the lock */
    atomic_bool
        lost; /* of the last look at the registry: it fails; lost_message is under the lock */
    char lost_message[WEIR_ERROR_MESSAGE_BYTES];
    /* When the transaction that is under way was begun, of loop_clock(); 0: none is. */
    atomic_llong commit_since_ns;
    bool quit, giving_up, ended;

    /* clerk's thread only */
    struct registry_op *group, **group_tail; /* taken, not durable yet */
    size_t weight;                           /* of the group */
    uint64_t groups;
    size_t most;      /* ops in a transaction: fewer, after one has failed */
    uint64_t spilled; /* ops that are in the spill file and not durable yet */
    uint64_t at_risk; /* ops that have failed, and are neither durable nor in the spill file */
    /*
     * Ops that may be in the spill file though they are at risk, for it is broken, and are not
     * durable yet. They are behind those that are spilled, there and in the queue. doubt: their
     * number for this time that it is broken.
     */
    uint64_t doubtful;
    uint32_t doubt;
    bool gave_up; /* on one in the spill file, which the next start takes in, and all behind it */
    duration_ns pause_ns;
};

bool clerk_must_write(const struct registry_op *op)
{
    switch (op->kind) {
    case REGISTRY_START:
    case REGISTRY_END:
    case REGISTRY_WAKE:
    case REGISTRY_TAKE:
    case REGISTRY_TELL:
        return true;
    default:
        return false;
    }
}

size_t clerk_weight(const struct registry_op *op)
{
    switch (op->kind) {
    case REGISTRY_LINES:
        return CLERK_GROUP_OPS + 1;
    case REGISTRY_SUBMIT:
        return op->submit.count;
    case REGISTRY_CANCEL:
        return 1 + op->cancel.max;
    case REGISTRY_TAKE:
        return 1 + op->take.max / CLERK_TASKS_READ_PER_OP;
    default:
        return 1;
    }
}

/* ---- groups ---- */

/* Takes from the queue what goes into the next transaction, behind what is left of the last one. Under the lock. */
static void gather(struct clerk *c)
{
    while (c->queue && (c->weight == 0 || c->weight + clerk_weight(c->queue) <= c->most)) {
        struct registry_op *op = c->queue;

        c->queue = op->next;
        if (!c->queue)
            c->tail = &c->queue;
        op->next = NULL;
        *c->group_tail = op;
        c->group_tail = &op->next;
        c->weight += clerk_weight(op);
    }
}

static void note_commit(struct clerk *c, duration_ns took_ns, size_t ops)
{
    struct clerk_stats *s = &c->stats;
    size_t bucket = 0;

    while (bucket < sizeof s->commit_buckets / sizeof *s->commit_buckets - 1 &&
           took_ns > (INT64_C(64) << bucket) * NS_PER_US)
        bucket++;
    s->groups++;
    s->ops += ops;
    s->commit_ns += took_ns;
    if (took_ns > s->commit_ns_max)
        s->commit_ns_max = took_ns;
    s->commit_buckets[bucket]++;
    s->failing = false;
    atomic_store(&c->failing, false);
    s->message[0] = '\0';
}

static size_t length(const struct registry_op *chain)
{
    size_t n = 0;

    for (; chain; chain = chain->next)
        n++;
    return n;
}

/* The chain is its owners'. */
static void give(struct clerk *c, struct registry_op *chain)
{
    if (!chain)
        return;
    pthread_mutex_lock(&c->lock);
    c->stats.waiting -= length(chain);
    pthread_mutex_unlock(&c->lock);
    c->options.done(c->options.ctx, chain);
}

/* ---- what may be in a broken spill file ---- */

static bool is_doubtful(const struct clerk *c, const struct registry_op *op)
{
    return c->doubtful > 0 && op->doubt == c->doubt;
}

/* The first `written` of the chain that are not spilled. */
static void note_doubt(struct clerk *c, struct registry_op *chain, uint64_t written)
{
    c->doubt++;
    c->doubtful = written;
    for (struct registry_op *op = chain; op && written > 0; op = op->next)
        if (!op->spilled && spill_tells(op)) {
            op->doubt = c->doubt;
            written--;
        }
}

/* After the file has been touched: they are not in it any more, if it is mended. */
static void look_for_doubt(struct clerk *c)
{
    if (c->spill && spill_doubtful(c->spill) == 0)
        c->doubtful = 0;
}

static void clear_spill(struct clerk *c)
{
    spill_clear(c->spill);
    look_for_doubt(c);
}

/* Takes out of the chain what is not through: it goes on behind what waits. */
static void go_on(struct clerk *c, struct registry_op **link)
{
    while (*link) {
        struct registry_op *op = *link;

        if (!registry_go_on(op)) {
            link = &op->next;
            continue;
        }
        *link = op->next;
        op->next = NULL;
        pthread_mutex_lock(&c->lock);
        *c->tail = op;
        c->tail = &op->next;
        pthread_mutex_unlock(&c->lock);
    }
}

/* The whole group is durable. STARTs that were folded come first: they happened before their ENDs. */
static void succeed(struct clerk *c, struct registry_op *folded, duration_ns took_ns)
{
    struct registry_op *chain = c->group, **end = &folded;

    while (*end)
        end = &(*end)->next;
    *end = chain;
    c->group = NULL;
    c->group_tail = &c->group;
    c->weight = 0;
    c->pause_ns = 0;
    c->most = c->most < CLERK_GROUP_OPS / 2 ? c->most * 2 : CLERK_GROUP_OPS;
    for (const struct registry_op *op = folded; op; op = op->next) {
        c->spilled -= op->spilled;
        c->at_risk -= op->at_risk;
        c->doubtful -= is_doubtful(c, op);
    }
    pthread_mutex_lock(&c->lock);
    note_commit(c, took_ns, length(folded));
    c->stats.events_at_risk = c->at_risk;
    pthread_mutex_unlock(&c->lock);
    if (c->spill && c->spilled == 0 && !spill_is_empty(c->spill))
        clear_spill(c);
    if (c->options.committed)
        c->options.committed(c->options.ctx, c->registry->ops->last_event(c->registry));
    go_on(c, &folded);
    give(c, folded);
}

/* ---- when the store does not take it ---- */

/* Takes those out of the chain that may be refused (all: every one), with the store's error. *ret_tail: of what is left. */
static struct registry_op *refuse(struct registry_op **chain, const struct weir_error *why,
                                  bool all, struct registry_op ***ret_tail)
{
    struct registry_op *refused = NULL, **tail = &refused, **link;

    for (link = chain; *link;) {
        struct registry_op *op = *link;

        if (clerk_must_write(op) && !all) {
            link = &op->next;
            continue;
        }
        *link = op->next;
        op->next = NULL;
        op->err = *why;
        /* BUSY of an op means that its task runs; this is of the store. */
        if (op->err.status == WEIR_E_BUSY)
            op->err.status = WEIR_E_AGAIN;
        op->untaken = true;
        *tail = op;
        tail = &op->next;
    }
    *ret_tail = link;
    return refused;
}

static struct registry_op *refuse_group(struct clerk *c, const struct weir_error *why, bool all)
{
    struct registry_op *refused = refuse(&c->group, why, all, &c->group_tail);
    uint64_t ends = 0;

    for (const struct registry_op *op = refused; op; op = op->next) {
        c->gave_up |= op->spilled || is_doubtful(c, op);
        ends += op->kind == REGISTRY_END;
    }
    pthread_mutex_lock(&c->lock);
    c->stats.results_lost += ends;
    pthread_mutex_unlock(&c->lock);
    c->weight = 0;
    for (const struct registry_op *op = c->group; op; op = op->next)
        c->weight += clerk_weight(op);
    return refused;
}

/*
 * Puts what the chain tells where it outlives a crash. False: not all of it; what is behind the
 * first that could not be written is not tried (nor anything, if !can), for the file has events in
 * the order in which the store takes them.
 */
static bool spill_chain(struct clerk *c, struct registry_op *chain, bool can)
{
    struct weir_error err = {0};
    uint64_t written = 0, marked = 0;

    can = can && c->spill;
    for (struct registry_op *op = chain; can && op; op = op->next) {
        if (op->spilled || !spill_tells(op))
            continue;
        can = spill_write(c->spill, op, &err);
        written += can;
    }
    look_for_doubt(c);
    if (written > 0 && !spill_sync(c->spill, &err)) {
        if (spill_doubtful(c->spill) > 0)
            note_doubt(c, chain, written);
        can = false;
        written = 0;
    }
    for (struct registry_op *op = chain; op; op = op->next) {
        if (op->spilled || !spill_tells(op))
            continue;
        c->at_risk -= op->at_risk;
        op->spilled = marked++ < written;
        op->at_risk = !op->spilled;
        c->at_risk += op->at_risk;
    }
    c->spilled += written;
    pthread_mutex_lock(&c->lock);
    c->stats.events_spilled += written;
    c->stats.events_at_risk = c->at_risk;
    pthread_mutex_unlock(&c->lock);
    return can;
}

/* What has come meanwhile: it is spilled, too, and what may be refused is not kept waiting behind what must be written. */
static struct registry_op *look_at_queue(struct clerk *c, const struct weir_error *why,
                                         bool refuses, bool can_spill)
{
    struct registry_op *chain, **tail, *refused = NULL;

    pthread_mutex_lock(&c->lock);
    chain = c->queue;
    tail = c->tail;
    c->queue = NULL;
    c->tail = &c->queue;
    pthread_mutex_unlock(&c->lock);
    if (!chain)
        return NULL;
    (void)spill_chain(c, chain, can_spill);
    if (refuses)
        refused = refuse(&chain, why, false, &tail);
    if (!chain)
        return refused;
    pthread_mutex_lock(&c->lock);
    *tail = c->queue;
    if (!c->queue)
        c->tail = tail;
    c->queue = chain;
    pthread_mutex_unlock(&c->lock);
    return refused;
}

/* Until the next try, or until somebody gives up. */
static void wait_to_retry(struct clerk *c)
{
    struct timespec until;
    int64_t at_ns;

    c->pause_ns = c->pause_ns == 0 ? CLERK_RETRY_MIN_NS : c->pause_ns * 2;
    if (c->pause_ns > CLERK_RETRY_MAX_NS)
        c->pause_ns = CLERK_RETRY_MAX_NS;
    at_ns = loop_clock().ns + c->pause_ns;
    until = (struct timespec){.tv_sec = at_ns / NS_PER_S, .tv_nsec = at_ns % NS_PER_S};
    pthread_mutex_lock(&c->lock);
    while (!c->giving_up && pthread_cond_timedwait(&c->changed, &c->lock, &until) == 0)
        ;
    pthread_mutex_unlock(&c->lock);
}

static void fail(struct clerk *c, struct weir_error *why)
{
    struct registry_op *refused, *more;
    bool giving_up, refuses, can_spill;

    /* It comes from wherever there was none, and says nothing of where that is. */
    if (why->status == WEIR_E_NOMEM)
        (void)error_set(why, WEIR_E_NOMEM,
                        "no memory to write the store with; end what takes it on this machine, or "
                        "let weir have more (MemoryMax of its unit)");
    unfold_starts(&c->group);
    pthread_mutex_lock(&c->lock);
    c->stats.failures++;
    c->stats.failing = true;
    atomic_store(&c->failing, true);
    memcpy(c->stats.message, why->message, sizeof c->stats.message);
    giving_up = c->giving_up;
    pthread_mutex_unlock(&c->lock);
    /* One that can't be written must not keep the others out; they follow in their order. */
    c->most = 1;
    can_spill = spill_chain(c, c->group, true);
    refused = refuse_group(c, why, giving_up);
    /* Where nothing of a user's was in it, it is the store that does not work. */
    refuses = refused == NULL;
    more = look_at_queue(c, why, refuses, can_spill);
    give(c, refuses ? more : refused);
    if (c->group && !giving_up)
        wait_to_retry(c);
}

/* ---- looking at all lines ---- */

static bool put_line(void *ctx, const struct registry_line *l)
{
    struct registry_op *op = ctx;
    uint32_t *lines = mem_realloc(op->ret_lines, (op->ret_line_count + 1) * sizeof *op->ret_lines);

    if (!lines) {
        (void)error_nomem(&op->err);
        return false;
    }
    op->ret_lines = lines;
    op->ret_lines[op->ret_line_count++] = l->id;
    return true;
}

static void look_at_lines(struct clerk *c)
{
    struct registry_op *op = c->group;
    enum weir_status status = c->registry->ops->lines(c->registry, put_line, op, &op->err);

    op->untaken = status != WEIR_OK || op->err.status != WEIR_OK;
    c->group = NULL;
    c->group_tail = &c->group;
    c->weight = 0;
    give(c, op);
}

/* ---- the thread ---- */

/*
 * Where events of the spill file are in the group, a mark goes with it that says how many of the
 * file are in the registry then: a start after a crash takes in the others. They are the first
 * ones, for it has them in this order.
 */
static bool mark_spilled(struct clerk *c, struct spill_mark *mark)
{
    uint64_t all = c->spilled + c->doubtful, left = all;

    for (const struct registry_op *op = c->group; op; op = op->next)
        left -= op->spilled || is_doubtful(c, op);
    if (left == all || c->gave_up)
        return false;
    spill_mark(spill_id(c->spill), spill_events(c->spill) - left, mark);
    return true;
}

static void write_group(struct clerk *c)
{
    struct instant before;
    struct registry_op *folded = fold_starts(&c->group, &c->group_tail, &c->groups);
    struct spill_mark mark;
    struct weir_error err = {0};
    enum weir_status status;

    if (mark_spilled(c, &mark))
        *c->group_tail = &mark.op;
    before = loop_clock();
    atomic_store(&c->commit_since_ns, before.ns);
    status = c->registry->ops->apply(c->registry, c->group, &err);
    atomic_store(&c->commit_since_ns, 0);
    *c->group_tail = NULL;
    if (status == WEIR_OK)
        succeed(c, folded, instant_diff(loop_clock(), before));
    else
        fail(c, &err);
}

/* After a failure the group is written in parts: what is behind the first ones goes back to the queue. Under the lock. */
static void give_back_rest(struct clerk *c)
{
    struct registry_op **link = &c->group;
    size_t weight = 0;

    while (*link && (weight == 0 || weight + clerk_weight(*link) <= c->most)) {
        weight += clerk_weight(*link);
        link = &(*link)->next;
    }
    c->weight = weight;
    if (!*link)
        return;
    *c->group_tail = c->queue;
    if (!c->queue)
        c->tail = c->group_tail;
    c->queue = *link;
    *link = NULL;
    c->group_tail = link;
}

static void *clerk_main(void *arg)
{
    struct clerk *c = arg;

    for (;;) {
        bool quit;

        pthread_mutex_lock(&c->lock);
        while (!c->queue && !c->group && !c->quit)
            pthread_cond_wait(&c->changed, &c->lock);
        quit = c->quit && !c->queue && !c->group;
        give_back_rest(c);
        gather(c);
        pthread_mutex_unlock(&c->lock);
        if (quit)
            break;
        if (c->group->kind == REGISTRY_LINES)
            look_at_lines(c);
        else
            write_group(c);
    }
    pthread_mutex_lock(&c->lock);
    c->ended = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

static void free_clerk(struct clerk *c)
{
    spill_free(c->spill);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    mem_free(c);
}

enum weir_status clerk_new(struct core_registry *r, const struct clerk_options *o,
                           struct clerk **ret, struct weir_error *err)
{
    struct clerk *c = mem_calloc(1, sizeof *c);
    pthread_condattr_t attr;
    enum weir_status status = WEIR_OK;
    int rc;

    if (!c)
        return error_nomem(err);
    c->registry = r;
    c->options = *o;
    if (o->slow_ns == 0)
        c->options.slow_ns = CLERK_SLOW_NS;
    c->tail = &c->queue;
    c->group_tail = &c->group;
    c->most = CLERK_GROUP_OPS;
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->changed, &attr);
    pthread_condattr_destroy(&attr);
    if (o->spill_path)
        status = spill_new(o->spill_path, &c->spill, err);
    rc = status == WEIR_OK ? pthread_create(&c->thread, NULL, clerk_main, c) : 0;
    if (rc != 0)
        status = error_set_errno(err, WEIR_E_NOMEM, rc, "cannot start the clerk's thread");
    if (status != WEIR_OK) {
        free_clerk(c);
        return status;
    }
    *ret = c;
    return WEIR_OK;
}

void clerk_send(struct clerk *c, struct registry_op *op)
{
    op->next = NULL;
    op->group = 0;
    op->folded = op->spilled = op->at_risk = op->untaken = false;
    op->err = (struct weir_error){0};
    pthread_mutex_lock(&c->lock);
    assert(!c->quit);
    *c->tail = op;
    c->tail = &op->next;
    c->stats.waiting++;
    pthread_cond_signal(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

/* For how long the transaction that is under way has been, where that is too long; else 0. */
static duration_ns late_ns(struct clerk *c)
{
    int64_t since_ns = atomic_load(&c->commit_since_ns);
    duration_ns took_ns = since_ns != 0 ? loop_clock().ns - since_ns : 0;

    return took_ns >= c->options.slow_ns ? took_ns : 0;
}

void clerk_get_stats(struct clerk *c, struct clerk_stats *ret)
{
    duration_ns took_ns = late_ns(c);

    pthread_mutex_lock(&c->lock);
    *ret = c->stats;
    if (!ret->failing && atomic_load(&c->lost)) {
        ret->failing = true;
        memcpy(ret->message, c->lost_message, sizeof ret->message);
    }
    pthread_mutex_unlock(&c->lock);
    if (took_ns == 0 || ret->failing) /* what has failed before says more */
        return;
    ret->failing = true;
    (void)snprintf(ret->message, sizeof ret->message, "a commit has taken %lld s: look at its disk",
                   (long long)(took_ns / NS_PER_S));
}

bool clerk_is_failing(struct clerk *c)
{
    return atomic_load_explicit(&c->failing, memory_order_relaxed) || atomic_load(&c->lost) ||
           late_ns(c) > 0;
}

void clerk_look(struct clerk *c)
{
    const struct core_registry_ops *ops = c->registry->ops;
    struct weir_error err = {0};
    enum weir_status status = ops->look ? ops->look(c->registry, &err) : WEIR_OK;

    pthread_mutex_lock(&c->lock);
    atomic_store(&c->lost, status != WEIR_OK);
    memcpy(c->lost_message, err.message, sizeof c->lost_message);
    pthread_mutex_unlock(&c->lock);
}

void clerk_give_up(struct clerk *c)
{
    pthread_mutex_lock(&c->lock);
    c->giving_up = true;
    pthread_cond_signal(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

void clerk_free(struct clerk *c)
{
    int64_t at_ns = instant_add(loop_clock(), CLERK_CLOSE_NS).ns;
    struct timespec until = {.tv_sec = at_ns / NS_PER_S, .tv_nsec = at_ns % NS_PER_S};

    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->quit = true;
    pthread_cond_broadcast(&c->changed);
    /* A store that takes nothing must not keep us for ever. */
    while (!c->ended && pthread_cond_timedwait(&c->changed, &c->lock, &until) == 0)
        ;
    c->giving_up = !c->ended;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    assert(!c->group && !c->queue);
    free_clerk(c);
}
