/*
 * Whole lives, by chance: the same ops go to the registry under test, in chains, with transactions
 * that fail and are repeated and with restarts, and one by one to the registry in memory. What both
 * say of each op, and all that readers see, must be the same. Beside them stands an engine that
 * knows only what it was handed: each ready task comes to it once, and none is forgotten.
 *
 * WEIR_LIVES=N of them; a failure tells its seed, WEIR_SEED=N repeats it alone.
 */
#include "support/registrykit.h"

#include "base/mem.h"
#include "base/rng.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LIVES     60
#define CHAINS    60
#define CHAIN_MAX 6
#define SPECS_MAX 4
#define TASKS_MAX 2048
#define ALL       UINT32_MAX

/* An op with all that it points to. */
struct order {
    struct registry_op op;
    struct registry_spec specs[SPECS_MAX];
    struct registry_after after[SPECS_MAX][3];
    char key[SPECS_MAX][16], session[SPECS_MAX][16];
    uint64_t ids[SPECS_MAX];
    int32_t priority;
    int64_t when;
};

struct life {
    uint64_t seed;
    struct rng rng;
    struct registrykit *k; /* under test */
    struct registrykit model;
    uint64_t tasks, batches, token;
    int64_t now;
    /* The engine. */
    bool held[TASKS_MAX];
    uint64_t running[TASKS_MAX]; /* token; 0: not */
    bool told[TASKS_MAX];        /* lines of which there is more */
};

static uint64_t below(struct life *l, uint64_t n)
{
    return rng_below(&l->rng, n);
}

static bool one_in(struct life *l, uint64_t n)
{
    return below(l, n) == 0;
}

/* Mostly one that is there. */
static uint64_t some_task(struct life *l)
{
    return 1 + below(l, l->tasks + 1);
}

/* One that is marked, or 0. */
static uint64_t some_held(struct life *l)
{
    uint64_t from = some_task(l);

    for (uint64_t i = 0; i <= l->tasks; i++) {
        uint64_t id = 1 + (from + i) % (l->tasks + 1);

        if (l->held[id])
            return id;
    }
    return 0;
}

static uint64_t some_running(struct life *l)
{
    uint64_t from = some_task(l);

    for (uint64_t i = 0; i <= l->tasks; i++) {
        uint64_t id = 1 + (from + i) % (l->tasks + 1);

        if (l->running[id])
            return id;
    }
    return 0;
}

/* ---- ops by chance ---- */

static void make_spec(struct life *l, struct order *o, size_t i, size_t count)
{
    static const char *const pools[] = {"", "", "a", "b"};
    struct registry_spec *s = &o->specs[i];

    s->line.priority = (int32_t)below(l, 2);
    if (one_in(l, 3)) {
        snprintf(o->session[i], sizeof(o->session[i]), "s%" PRIu64, below(l, 1000));
        s->line.session = slice_of(o->session[i]);
    }
    s->line.pool = slice_of(pools[below(l, 4)]);
    if (s->line.pool.len == 0 && one_in(l, 4))
        s->line.skill = SLICE("gpu");
    if (one_in(l, 8))
        s->line.tenant = SLICE("tenant");
    if (one_in(l, 6))
        s->line.slots = SLICE("x,y");
    snprintf(o->key[i], sizeof(o->key[i]), "k%" PRIu64, below(l, 30));
    if (one_in(l, 2))
        s->key = slice_of(o->key[i]);
    if (one_in(l, 4))
        s->idempotency_key = slice_of(o->key[i]);
    s->payload = slice_of(one_in(l, 3) ? "" : "payload");
    if (l->batches > 0 && one_in(l, 3)) {
        s->batch = 1 + below(l, l->batches);
        s->place = below(l, 20);
    }
    s->run_after_failure = one_in(l, 3);
    if (one_in(l, 6))
        s->not_before_ns = l->now + (int64_t)below(l, 300);
    if (one_in(l, 6))
        s->deadline_ns = l->now + (int64_t)below(l, 600);
    s->after = o->after[i];
    s->after_count = one_in(l, 2) ? (uint32_t)below(l, 4) : 0;
    for (uint32_t n = 0; n < s->after_count; n++) {
        if (one_in(l, 2))
            o->after[i][n] = (struct registry_after){.sibling = (uint32_t)below(l, count)};
        else
            o->after[i][n] = (struct registry_after){.id = some_task(l)};
    }
}

static void make_submit(struct life *l, struct order *o)
{
    size_t count = 1 + below(l, SPECS_MAX);

    for (size_t i = 0; i < count; i++)
        make_spec(l, o, i, count);
    o->op.kind = REGISTRY_SUBMIT;
    o->op.submit = (struct registry_submit){.specs = o->specs, .count = count, .ret_ids = o->ids};
}

static void make_start(struct life *l, struct order *o)
{
    uint64_t id = one_in(l, 10) ? some_running(l) : some_held(l);

    o->op.kind = REGISTRY_START;
    o->op.start =
        (struct registry_start){.task = id,
                                .token = ++l->token,
                                .attempt = 1 + (uint32_t)below(l, 3),
                                .pool = SLICE("a"),
                                .runner = {.pid = (int64_t)below(l, 2), .worker = below(l, 3)}};
    if (one_in(l, 2)) {
        o->op.start.runner.slots[0] = 1;
        o->op.start.runner.slots[1] = 2;
    }
}

static void make_end(struct life *l, struct order *o)
{
    static const enum registry_state nexts[] = {
        REGISTRY_DONE,   REGISTRY_DONE,  REGISTRY_DONE,      REGISTRY_FAILED,
        REGISTRY_FAILED, REGISTRY_READY, REGISTRY_SCHEDULED, REGISTRY_CANCELLED};
    uint64_t id = some_running(l);

    if (id == 0 || one_in(l, 5)) {
        make_start(l, o);
        o->op.end.start =
            (struct registry_start){.task = o->op.start.task, .token = l->token, .attempt = 1};
        id = o->op.end.start.task;
        o->op = (struct registry_op){.end = {.started = true,
                                             .token = l->token,
                                             .start = {.task = id, .token = l->token, .attempt = 1},
                                             .started_ns = l->now - (int64_t)below(l, 50),
                                             .wait_ns = (int64_t)below(l, 9)}};
    } else {
        o->op.end.token = one_in(l, 10) ? 1 : l->running[id];
    }
    o->op.kind = REGISTRY_END;
    o->op.end.task = id;
    o->op.end.next = nexts[below(l, 8)];
    o->op.end.outcome =
        o->op.end.next == REGISTRY_DONE ? WEIR_OUTCOME_OK : WEIR_OUTCOME_CAPACITY + below(l, 4);
    o->op.end.reason = WEIR_REASON_EXIT_STATUS;
    o->op.end.counts = one_in(l, 2);
    o->op.end.death = one_in(l, 6);
    o->op.end.wake_ns = l->now + (int64_t)below(l, 200);
    o->op.end.run_ns = (int64_t)below(l, 100);
    o->op.end.output = one_in(l, 2) ? SLICE("out") : (struct slice){0};
    o->op.end.message = one_in(l, 2) ? SLICE("said") : (struct slice){0};
}

/* Of one that is ready, as the engine sees it. */
static void make_untried_end(struct life *l, struct order *o)
{
    o->op.kind = REGISTRY_END;
    o->op.end =
        (struct registry_end){.task = one_in(l, 10) ? some_running(l) : some_held(l),
                              .untried = true,
                              .next = REGISTRY_FAILED,
                              .outcome = one_in(l, 2) ? WEIR_OUTCOME_FAILED : WEIR_OUTCOME_TIMEOUT,
                              .reason = WEIR_REASON_CIRCUIT_OPEN,
                              .message = one_in(l, 2) ? SLICE("said") : (struct slice){0}};
}

static void make_edit(struct life *l, struct order *o)
{
    o->op.kind = REGISTRY_EDIT;
    o->op.edit.task = one_in(l, 2) ? some_task(l) : some_held(l);
    o->priority = (int32_t)below(l, 2);
    o->when = one_in(l, 2) ? 0 : l->now + (int64_t)below(l, 200);
    if (one_in(l, 2))
        o->op.edit.priority = &o->priority;
    if (one_in(l, 3))
        o->op.edit.not_before_ns = &o->when;
    if (one_in(l, 2)) {
        o->op.edit.after = o->after[0];
        o->op.edit.after_count = 1 + (uint32_t)below(l, 2);
        for (uint32_t n = 0; n < o->op.edit.after_count; n++)
            o->after[0][n].id = some_task(l);
    }
}

static void make_by_hand(struct life *l, struct order *o)
{
    uint64_t task = some_task(l),
             batch = l->batches > 0 && one_in(l, 4) ? 1 + below(l, l->batches) : 0;

    switch (below(l, 5)) {
    case 0:
        o->op.kind = REGISTRY_CANCEL;
        if (one_in(l, 3))
            task = some_running(l);
        o->op.cancel = (struct registry_cancel){.task = batch ? 0 : task, .batch = batch};
        break;
    case 1:
        o->op.kind = REGISTRY_DELETE;
        o->op.remove.task = task;
        break;
    case 2:
        o->op.kind = REGISTRY_RESOLVE;
        o->op.resolve.task = task;
        o->op.resolve.how = one_in(l, 2) ? REGISTRY_RESOLVE_RUN : REGISTRY_RESOLVE_CANCEL;
        break;
    default:
        o->op.kind = REGISTRY_RETRY;
        o->op.retry = (struct registry_retry){.task = batch ? 0 : task, .batch = batch};
    }
}

static void make_other(struct life *l, struct order *o)
{
    switch (below(l, 5)) {
    case 0:
        o->op.kind = REGISTRY_TELL;
        o->op.tell = (struct registry_event){.kind = REGISTRY_LIMIT_CHANGED, .worker = below(l, 3)};
        break;
    case 1:
        o->op.kind = REGISTRY_BATCH_OPEN;
        o->op.batch_open.name = SLICE("batch");
        o->op.batch_open.passing = below(l, 2);
        break;
    case 2:
        o->op.kind = REGISTRY_BATCH_END;
        o->op.batch_end.batch = 1 + below(l, l->batches + 1);
        break;
    default:
        o->op.kind = REGISTRY_CHECK;
    }
}

static void make_purge(struct life *l, struct order *o)
{
    o->op.kind = REGISTRY_PURGE;
    o->op.purge = (struct registry_purge){.tasks_before_ns = one_in(l, 4) ? 0 : l->now - 300,
                                          .failed_before_ns = l->now - 400,
                                          .max = ALL,
                                          .keep_lines = one_in(l, 4)};
}

static void make_order(struct life *l, struct order *o)
{
    uint64_t what = below(l, 100);

    memset(o, 0, sizeof(*o));
    if (what < 4)
        make_purge(l, o);
    else if (what < 22)
        make_submit(l, o);
    else if (what < 40)
        make_start(l, o);
    else if (what < 43)
        make_untried_end(l, o);
    else if (what < 65)
        make_end(l, o);
    else if (what < 72)
        make_edit(l, o);
    else if (what < 84)
        make_by_hand(l, o);
    else if (what < 93)
        o->op =
            (struct registry_op){.kind = REGISTRY_WAKE, .wake = {.max = 1 + (uint32_t)below(l, 5)}};
    else
        make_other(l, o);
    o->op.at_ns = l->now;
}

/* ---- both sides ---- */

#define differ(l, ...)                                                                             \
    do {                                                                                           \
        print_error("seed %" PRIu64 ": ", (l)->seed);                                              \
        fail_msg(__VA_ARGS__);                                                                     \
    } while (0)

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

/* In whichever order. */
static void put_gone(struct buf *out, const struct registry_purge *p)
{
    if (p->ret_lines_gone_count > 1)
        qsort(p->ret_lines_gone, p->ret_lines_gone_count, sizeof(*p->ret_lines_gone), by_number);
    for (size_t i = 0; i < p->ret_lines_gone_count; i++)
        buf_printf(out, " gone %" PRIu32, p->ret_lines_gone[i]);
}

/* What both must say of an op. */
static void put_answer(struct buf *out, const struct registry_op *op)
{
    bool several = op->kind == REGISTRY_SUBMIT || op->kind == REGISTRY_EDIT;

    /* The words are each one's own, but there are some. Which of several things that are wrong is told, is open. */
    buf_printf(out, "op %d: %s%s", (int)op->kind,
               several && op->err.status != WEIR_OK ? "refused" : weir_status_name(op->err.status),
               op->err.status != WEIR_OK && !op->err.message[0] ? " without a word" : "");
    if (op->kind == REGISTRY_CANCEL || op->kind == REGISTRY_RETRY)
        buf_printf(out, " count %" PRIu64,
                   op->kind == REGISTRY_CANCEL ? op->cancel.ret_count : op->retry.ret_count);
    if (op->kind == REGISTRY_CANCEL)
        buf_printf(out, " running %" PRIu64, op->cancel.ret_running);
    if (op->kind == REGISTRY_END)
        buf_puts(out, op->end.ret_cancelled ? " cancelled" : "");
    if (op->kind == REGISTRY_WAKE)
        buf_printf(out, " count %" PRIu32 " next %" PRId64, op->wake.ret_count,
                   op->wake.ret_next_ns);
    if (op->kind == REGISTRY_CHECK)
        buf_printf(out, " stuck %" PRIu64 " new %" PRIu64, op->check.ret_stuck, op->check.ret_new);
    if (op->kind == REGISTRY_SUBMIT && op->err.status == WEIR_OK)
        for (size_t i = 0; i < op->submit.count; i++)
            buf_printf(out, " %" PRIu64, op->submit.ret_ids[i]);
    for (const struct registry_task *t = op->ret_ready; t; t = t->next)
        buf_printf(out,
                   " ready %" PRIu64 " line %" PRIu32 " rank %" PRId64 " %s '%.*s' %" PRIu32
                   "/%" PRIu32,
                   t->id, t->line, t->rank, t->key, (int)t->payload_len, t->payload, t->attempts,
                   t->failures);
    for (size_t i = 0; i < op->ret_line_count; i++)
        buf_printf(out, " line %" PRIu32, op->ret_lines[i]);
    if (op->kind == REGISTRY_PURGE)
        put_gone(out, &op->purge);
    buf_putc(out, '\n');
}

static void compare_all(struct life *l)
{
    _cleanup_buf_ struct buf a = {0}, b = {0};

    registrykit_put_all(l->k, &a);
    registrykit_put_all(&l->model, &b);
    if (strcmp(buf_slice(&a).data, buf_slice(&b).data) != 0)
        differ(l, "readers see\n%s\nand should see\n%s", a.data, b.data);
}

static void apply_chain(struct life *l, struct order *orders, size_t count)
{
    enum weir_status status = WEIR_E_IO;

    for (size_t i = 0; i < count; i++)
        orders[i].op.next = i + 1 < count ? &orders[i + 1].op : NULL;
    while (status != WEIR_OK) {
        if (one_in(l, 6))
            mem_fail_at(1 + below(l, 120));
        else if (one_in(l, 6) && l->k->kind->fail_next)
            l->k->kind->fail_next(l->k->r, 1);
        status = l->k->r->ops->apply(l->k->r, &orders[0].op, &l->k->err);
        mem_fail_at(0);
        if (l->k->kind->fail_next)
            l->k->kind->fail_next(l->k->r, 0);
        if (status != WEIR_OK && status != WEIR_E_NOMEM && status != WEIR_E_IO)
            differ(l, "apply: %s", l->k->err.message);
        if (status != WEIR_OK && one_in(l, 8))
            compare_all(l);
    }
    if (l->k->kind->check && l->k->kind->check(l->k->r))
        differ(l, "%s", l->k->kind->check(l->k->r));
}

/* ---- the engine ---- */

static void engine_gets(struct life *l, const struct registry_op *op, const struct registry_task *t)
{
    for (; t; t = t->next) {
        if (l->held[t->id])
            differ(l, "task %" PRIu64 " is handed over again, by an op %d", t->id, (int)op->kind);
        l->held[t->id] = true;
    }
}

static bool forget_one(void *ctx, const struct registry_view *v)
{
    ((struct life *)ctx)->held[v->id] = false;
    return true;
}

/* Before an op of a person is sent, the engine lets go of what it is about; and so it does of what it has given back since. */
static void engine_forgets(struct life *l, const struct registry_op *op)
{
    struct registry_filter f = {0};
    uint64_t task = 0;

    if (op->kind == REGISTRY_CANCEL || op->kind == REGISTRY_RETRY) {
        task = op->kind == REGISTRY_CANCEL ? op->cancel.task : op->retry.task;
        f.batch = op->kind == REGISTRY_CANCEL ? op->cancel.batch : op->retry.batch;
    } else if (op->kind == REGISTRY_EDIT) {
        task = op->edit.task;
    } else if (op->kind == REGISTRY_DELETE || op->kind == REGISTRY_RESOLVE) {
        task = op->kind == REGISTRY_DELETE ? op->remove.task : op->resolve.task;
    }
    if (task > 0 && task < TASKS_MAX)
        l->held[task] = false;
    f.states = ~(1u << REGISTRY_READY); /* those that it made READY, it hands over itself */
    if (f.batch)
        assert_int_equal(
            l->model.reader->ops->tasks(l->model.reader, &f, 0, ALL, forget_one, l, &l->k->err),
            WEIR_OK);
}

static void engine_sees(struct life *l, const struct registry_op *op)
{
    uint64_t task = op->kind == REGISTRY_START ? op->start.task : op->end.task;

    if (op->kind == REGISTRY_START && op->err.status == WEIR_OK) {
        l->held[task] = false;
        l->running[task] = op->start.token;
    } else if (op->kind == REGISTRY_END && op->err.status == WEIR_OK) {
        l->running[task] = 0;
        l->held[task] = op->end.next == REGISTRY_READY && !op->end.ret_cancelled;
    }
    engine_gets(l, op, op->ret_ready);
    for (size_t i = 0; i < op->ret_line_count; i++)
        l->told[op->ret_lines[i]] = true;
    if (op->err.status != WEIR_OK)
        return;
    for (size_t i = 0; op->kind == REGISTRY_PURGE && i < op->purge.ret_lines_gone_count; i++)
        l->told[op->purge.ret_lines_gone[i]] = false;
    if (op->kind == REGISTRY_BATCH_OPEN)
        l->batches = op->batch_open.ret_id;
    for (size_t i = 0; op->kind == REGISTRY_SUBMIT && i < op->submit.count; i++)
        if (op->submit.ret_ids[i] > l->tasks)
            l->tasks = op->submit.ret_ids[i];
    assert_true(l->tasks + SPECS_MAX < TASKS_MAX);
}

/* What is no longer ready (a deadline, a batch that was cancelled) it finds out by itself. */
static bool drop_one(void *ctx, const struct registry_view *v)
{
    struct life *l = ctx;

    if (v->state != REGISTRY_READY)
        l->held[v->id] = false;
    else if (!l->held[v->id] && !l->told[v->line.id])
        differ(l, "task %" PRIu64 " is ready, and the engine does not know", v->id);
    return true;
}

static void engine_looks(struct life *l)
{
    struct registry_filter f = {0};

    assert_int_equal(
        l->model.reader->ops->tasks(l->model.reader, &f, 0, ALL, drop_one, l, &l->k->err), WEIR_OK);
}

static void take_line(struct life *l, uint32_t line)
{
    struct registry_op a = {
        .kind = REGISTRY_TAKE, .at_ns = l->now, .take = {.line = line, .max = 3, .max_bytes = 15}};
    struct registry_op b = a;

    assert_int_equal(l->k->r->ops->apply(l->k->r, &a, &l->k->err), WEIR_OK);
    assert_int_equal(l->model.r->ops->apply(l->model.r, &b, &l->k->err), WEIR_OK);
    engine_gets(l, &a, a.take.ret_tasks);
    l->told[line] = a.take.ret_more;
    assert_int_equal(a.take.ret_more, b.take.ret_more);
    for (const struct registry_task *t = a.take.ret_tasks, *u = b.take.ret_tasks; t || u;
         t = t->next, u = u->next)
        if (!t || !u || t->id != u->id || t->rank != u->rank)
            differ(l, "line %" PRIu32 " is not taken alike", line);
    registrykit_used(&a);
    registrykit_used(&b);
}

/* ---- the record ---- */

/*
 * An edit may make a ready one wait, and is told without the state that it leads to: MAY_WAIT. One
 * that runs and was cancelled is not to run again: IS_ENDED.
 */
enum told_state {
    NOT_THERE,
    WAITS,
    MAY_WAIT,
    IS_READY,
    RUNS,
    IS_ENDED,
    IS_DONE,
    HAS_FAILED,
    IS_CANCELLED
};

struct record {
    struct life *l;
    enum told_state told[TASKS_MAX];
};

/* What may come next for a task, of which the record has told that. */
static bool may_follow(enum told_state now, const struct registry_event *e)
{
    switch (e->kind) {
    case REGISTRY_TASK_SUBMITTED:
        return now == NOT_THERE;
    case REGISTRY_TASK_READY:
        return now == WAITS || now == MAY_WAIT || now == RUNS;
    case REGISTRY_TASK_ASSIGNED:
        return now == IS_READY || now == MAY_WAIT;
    case REGISTRY_TASK_RETRY_SCHEDULED:
        return now == RUNS;
    case REGISTRY_TASK_DONE:
        return now == RUNS || now == IS_ENDED;
    case REGISTRY_TASK_FAILED:
    case REGISTRY_TASK_CANCELLED:
        return now >= WAITS && now <= IS_ENDED;
    case REGISTRY_TASK_CHANGED:
        if (slice_equal(e->detail, SLICE("{\"cancel\":true}")))
            return now == RUNS;
        return now != NOT_THERE && now != RUNS && now != IS_ENDED && now != IS_DONE;
    case REGISTRY_TASK_DELETED:
        return now >= IS_DONE;
    default:
        return true;
    }
}

static bool follow(void *ctx, const struct registry_event *e)
{
    static const enum told_state next[REGISTRY_EVENT_KINDS] = {
        [REGISTRY_TASK_SUBMITTED] = WAITS,        [REGISTRY_TASK_READY] = IS_READY,
        [REGISTRY_TASK_ASSIGNED] = RUNS,          [REGISTRY_TASK_RETRY_SCHEDULED] = WAITS,
        [REGISTRY_TASK_DONE] = IS_DONE,           [REGISTRY_TASK_FAILED] = HAS_FAILED,
        [REGISTRY_TASK_CANCELLED] = IS_CANCELLED,
    };
    struct record *r = ctx;
    enum told_state *now;

    if (e->task == 0 || e->kind == REGISTRY_RUNNER_LATE)
        return true;
    now = &r->told[e->task];
    if (!may_follow(*now, e))
        differ(r->l, "event %" PRIu64 ": %s of task %" PRIu64 " does not follow", e->seq,
               registry_event_name(e->kind), e->task);
    if (next[e->kind])
        *now = next[e->kind];
    else if (e->kind == REGISTRY_TASK_DELETED)
        *now = NOT_THERE;
    else if (e->kind == REGISTRY_TASK_CHANGED && *now == RUNS)
        *now = IS_ENDED;
    else if (e->kind == REGISTRY_TASK_CHANGED)
        *now = *now == IS_READY || *now == MAY_WAIT ? MAY_WAIT : WAITS;
    return true;
}

static bool is_as_told(void *ctx, const struct registry_view *v)
{
    static const enum told_state states[REGISTRY_STATES] = {WAITS,   WAITS,      IS_READY,    RUNS,
                                                            IS_DONE, HAS_FAILED, IS_CANCELLED};
    struct record *r = ctx;
    enum told_state is = v->cancelling ? IS_ENDED : states[v->state], told = r->told[v->id];

    if (is != told && !(told == MAY_WAIT && (is == WAITS || is == IS_READY)))
        differ(r->l, "task %" PRIu64 " is %s, and the record tells another story", v->id,
               registry_state_name(v->state));
    if ((v->state == REGISTRY_BLOCKED) != (v->blocked_by > 0) && told < IS_DONE)
        differ(r->l, "task %" PRIu64 " is %s, behind %" PRIu32, v->id,
               registry_state_name(v->state), v->blocked_by);
    return true;
}

/* The record alone tells which state each task is in, and each step of it is one that there is. */
static void replay(struct life *l)
{
    const struct registry_reader_ops *ops = l->k->reader->ops;
    static struct record r;
    struct registry_event_filter any = {0};
    struct registry_filter all = {0};

    memset(&r, 0, sizeof(r));
    r.l = l;
    assert_int_equal(ops->events(l->k->reader, &any, 0, ALL, follow, &r, &l->k->err), WEIR_OK);
    assert_int_equal(ops->tasks(l->k->reader, &all, 0, ALL, is_as_told, &r, &l->k->err), WEIR_OK);
}

/* ---- a life ---- */

static void do_chain(struct life *l)
{
    static struct order orders[CHAIN_MAX], again[CHAIN_MAX];
    size_t count = 1 + below(l, CHAIN_MAX);

    l->now += 1 + (int64_t)below(l, 40);
    for (size_t i = 0; i < count; i++) {
        /* Whoever sends a PURGE has seen what the one before gave; and numbers are free from there on, though it may fail. */
        do
            make_order(l, &orders[i]);
        while (i > 0 && orders[i].op.kind == REGISTRY_PURGE);
        engine_forgets(l, &orders[i].op); /* so that it does not start what it has let go of */
        again[i].op = orders[i].op;
        if (orders[i].op.kind == REGISTRY_SUBMIT)
            again[i].op.submit.ret_ids = again[i].ids;
    }
    apply_chain(l, orders, count);
    for (size_t i = 0; i < count; i++) {
        _cleanup_buf_ struct buf a = {0}, b = {0};

        again[i].op.next = NULL;
        engine_forgets(l, &again[i].op);
        assert_int_equal(l->model.r->ops->apply(l->model.r, &again[i].op, &l->k->err), WEIR_OK);
        put_answer(&a, &orders[i].op);
        put_answer(&b, &again[i].op);
        if (strcmp(buf_slice(&a).data, buf_slice(&b).data) != 0)
            differ(l, "%sis said, and should be\n%s", a.data, b.data);
        engine_sees(l, &orders[i].op);
        registrykit_used(&orders[i].op);
        registrykit_used(&again[i].op);
    }
    engine_looks(l);
}

static bool tell_line(void *ctx, const struct registry_line *line)
{
    ((struct life *)ctx)->told[line->id] = true;
    return true;
}

static void restart(struct life *l)
{
    uint64_t a, b;

    registrykit_reopen(l->k);
    registrykit_reopen(&l->model);
    l->now += 100;
    assert_int_equal(l->k->r->ops->put_back(l->k->r, l->now, 2, &a, &l->k->err), WEIR_OK);
    assert_int_equal(l->model.r->ops->put_back(l->model.r, l->now, 2, &b, &l->k->err), WEIR_OK);
    assert_int_equal(a, b);
    memset(l->held, 0, sizeof(l->held));
    memset(l->running, 0, sizeof(l->running));
    memset(l->told, 0, sizeof(l->told));
    assert_int_equal(l->k->r->ops->lines(l->k->r, tell_line, l, &l->k->err), WEIR_OK);
    engine_looks(l);
}

static void live(struct registrykit *k, uint64_t seed)
{
    static struct life life;
    struct life *l = &life;

    memset(l, 0, sizeof(*l));
    l->seed = seed;
    l->k = k;
    l->now = REGISTRYKIT_NOW;
    rng_seed(&l->rng, seed);
    registrykit_open(&l->model, &registrykit_kinds[0]);
    for (int i = 0; i < CHAINS; i++) {
        do_chain(l);
        for (uint32_t line = 1; line < TASKS_MAX; line++)
            if (l->told[line] && one_in(l, 2))
                take_line(l, line);
        if (one_in(l, 20))
            restart(l);
        if (one_in(l, 10))
            compare_all(l);
    }
    for (uint32_t line = 1; line < TASKS_MAX; line++)
        while (l->told[line])
            take_line(l, line);
    engine_looks(l); /* it has all that is ready now */
    compare_all(l);
    replay(l);
    registrykit_close(&l->model);
}

static void any_life_is_the_same_everywhere(void **state)
{
    struct registrykit *k = *state;
    const struct registrykit_kind *kind = k->kind;
    const char *one = getenv("WEIR_SEED"), *seeds = getenv("WEIR_LIVES");
    uint64_t from = one ? strtoull(one, NULL, 10) : 1;
    uint64_t count = one ? 1 : seeds ? strtoull(seeds, NULL, 10) : LIVES;

    for (uint64_t seed = from; seed < from + count; seed++) {
        registrykit_close(k);
        registrykit_open(k, kind);
        live(k, seed);
    }
}

int main(void)
{
    static const struct registrykit_test tests[] = {
        REGISTRYKIT_TEST(any_life_is_the_same_everywhere)};

    return registrykit_main(tests, 1);
}
