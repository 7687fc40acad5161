/*
 * A bench for the desk: pools that do only what the test says, and a registry that is no more than
 * lines with so many ready tasks.
 *
 *     struct desk_bench b;
 *     desk_bench_init(&b, SCHEDULE_FIFO);
 *     struct desk_pool *p = desk_bench_pool(&b, "p", &(struct bench_pool){.size = 2});
 *     uint32_t line = desk_bench_line(&b, &(struct registry_line){.pool = SLICE("p")}, 10);
 *     desk_line_ready(b.desk, line, b.now);
 *     desk_bench_settle(&b);              // what is asked for is written, what may start starts
 *     desk_bench_end_one(&b, attempt, WEIR_OUTCOME_OK);
 *     desk_bench_free(&b);                         // all that runs ends first
 *
 * What the desk writes waits in b.ops until desk_bench_write().
 */
#ifndef TESTS_DESK_TEST_H
#define TESTS_DESK_TEST_H

#include "base/mem.h"
#include "core/desk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define DESK_BENCH_POOLS   8
#define DESK_BENCH_RUNNING 65536

struct desk_bench;

struct desk_bench_edge {
    struct core_executor port; /* first */
    struct desk_bench *bench;
};

/* A line as the registry has it. */
struct desk_bench_line {
    struct registry_line line;
    uint64_t left; /* ready tasks that the desk has not been handed */
    size_t payload_len;
    int64_t next_rank, last_rank; /* of the next that is handed over, and the last that was */
    uint64_t takes;
};

struct desk_bench {
    struct desk_host host; /* first */
    struct dispatcher_host dispatcher_host;
    struct dispatcher *d;
    struct desk *desk;
    struct desk_bench_edge edges[DESK_BENCH_POOLS];
    size_t edge_count;
    struct core_attempt **running; /* started, and not reported */
    size_t running_count;
    struct desk_bench_line *lines;
    uint32_t line_count, line_cap;
    struct registry_op *ops, **ops_tail;
    size_t op_count, take_count; /* of ops that wait; TAKEs among them */
    uint64_t takes, told;        /* written: TAKEs; TELLs */
    char told_pool[REGISTRY_EVENT_KINDS][32];
    uint64_t untried; /* written: ENDs without an attempt; the last one: */
    struct registry_end untried_as;
    char untried_said[400];
    uint64_t next_task;
    struct instant now, wake;
};

struct bench_pool {
    size_t size;
    const char *fallback;
    uint64_t cpu_milli;
    bool breaker;
    size_t burst_places;
    bool disabled;
};

static inline struct desk_bench *desk_bench_of(struct desk_host *h)
{
    return (struct desk_bench *)(void *)h;
}

static inline void desk_bench_write_later(struct desk_host *h, struct registry_op *op)
{
    struct desk_bench *b = desk_bench_of(h);

    op->next = NULL;
    op->err = (struct weir_error){0};
    *b->ops_tail = op;
    b->ops_tail = &op->next;
    b->op_count++;
    b->take_count += op->kind == REGISTRY_TAKE;
}

static inline const struct registry_line *desk_bench_get_line(struct desk_host *h, uint32_t id)
{
    struct desk_bench *b = desk_bench_of(h);

    return id >= 1 && id <= b->line_count ? &b->lines[id - 1].line : NULL;
}

static inline int64_t desk_bench_wall_ns(struct desk_host *h, struct instant now)
{
    (void)h;
    return INT64_C(1700000000) * NS_PER_S + now.ns;
}

static inline void desk_bench_start(struct core_executor *ex, struct core_attempt *a)
{
    struct desk_bench *b = ((struct desk_bench_edge *)(void *)ex)->bench;

    assert_true(b->running_count < DESK_BENCH_RUNNING);
    b->running[b->running_count++] = a;
}

static inline void desk_bench_cancel(struct core_executor *ex, struct core_attempt *a)
{
    (void)ex;
    (void)a;
}

static inline void desk_bench_close(struct core_executor *ex)
{
    (void)ex;
}

static const struct core_executor_ops desk_bench_executor = {.kind = "bench",
                                                             .cancels_at_once = true,
                                                             .start = desk_bench_start,
                                                             .cancel = desk_bench_cancel,
                                                             .close = desk_bench_close};

static inline void desk_bench_deliver(struct dispatcher_host *h, struct core_batch *batch,
                                      struct core_task *t)
{
    struct desk_bench *b =
        (struct desk_bench *)(void *)((char *)h - offsetof(struct desk_bench, dispatcher_host));

    (void)batch;
    desk_finished(b->desk, t);
}

static inline void desk_bench_finished(struct dispatcher_host *h, struct core_batch *batch,
                                       struct core_task *t)
{
    (void)h;
    (void)batch;
    (void)t;
}

static inline void desk_bench_closed(struct dispatcher_host *h, struct core_batch *batch)
{
    (void)h;
    (void)batch;
}

static inline void desk_bench_pool_gone(struct dispatcher_host *h, struct core_pool *p)
{
    struct desk_bench *b =
        (struct desk_bench *)(void *)((char *)h - offsetof(struct desk_bench, dispatcher_host));

    desk_pool_gone(b->desk, p, b->now);
}

static inline void desk_bench_init(struct desk_bench *b, enum schedule_policy policy)
{
    struct dispatcher_options d = {.seed = 7};
    struct desk_options o = {.schedule = {.policy = policy}, .seed = 8, .first_token = 100};

    memset(b, 0, sizeof *b);
    b->host = (struct desk_host){.write = desk_bench_write_later,
                                 .line = desk_bench_get_line,
                                 .wall_ns = desk_bench_wall_ns};
    b->dispatcher_host = (struct dispatcher_host){.finished = desk_bench_finished,
                                                  .deliver = desk_bench_deliver,
                                                  .closed = desk_bench_closed,
                                                  .pool_gone = desk_bench_pool_gone};
    b->ops_tail = &b->ops;
    b->now = (struct instant){1000 * NS_PER_S};
    b->wake = INSTANT_NEVER;
    b->running = mem_calloc(DESK_BENCH_RUNNING, sizeof(struct core_attempt *));
    assert_non_null(b->running);
    d.host = &b->dispatcher_host;
    assert_int_equal(dispatcher_new(&d, &b->d, NULL), WEIR_OK);
    o.dispatcher = b->d;
    o.host = &b->host;
    assert_int_equal(desk_new(&o, &b->desk, NULL), WEIR_OK);
}

static const struct desk_pool_ops desk_bench_pool_ops = {0};

/* The first one is the default. A breaker opens with the first failure, for a minute. */
static inline struct desk_pool *desk_bench_pool(struct desk_bench *b, const char *name,
                                                const struct bench_pool *p)
{
    struct desk_bench_edge *e = &b->edges[b->edge_count++];
    struct desk_pool_options o = {.ops = &desk_bench_pool_ops,
                                  .fallback = p->fallback,
                                  .cpu_milli = p->cpu_milli,
                                  .burst_places = p->burst_places,
                                  .burst_seconds = p->burst_places > 0 ? 1 : 0,
                                  .disabled = p->disabled,
                                  .max_attempts = 1};
    struct core_pool_options core;
    struct core_pool *pool;
    struct desk_pool *ret;

    assert_true(b->edge_count <= DESK_BENCH_POOLS);
    core_pool_options_init(&core);
    core.name = name;
    core.size = p->size;
    core.gate.throttle.kind = THROTTLE_NONE;
    core.breaker.on = p->breaker;
    core.breaker.failures = 1;
    core.breaker.open_ns = 60 * NS_PER_S;
    o.backoff = core.backoff;
    e->port.ops = &desk_bench_executor;
    e->bench = b;
    assert_int_equal(dispatcher_add_pool(b->d, &core, &e->port, &pool, NULL), WEIR_OK);
    assert_int_equal(desk_add_pool(b->desk, pool, &o, b->now, &ret, NULL), WEIR_OK);
    if (b->edge_count == 1)
        (void)desk_set_default_pool(b->desk, name);
    return ret;
}

/* Its texts stay the caller's. */
static inline uint32_t desk_bench_line(struct desk_bench *b, const struct registry_line *line,
                                       uint64_t tasks)
{
    struct desk_bench_line *l;

    if (b->line_count == b->line_cap) {
        b->line_cap = b->line_cap ? b->line_cap * 2 : 64;
        b->lines = mem_realloc(b->lines, b->line_cap * sizeof *b->lines);
        assert_non_null(b->lines);
    }
    l = &b->lines[b->line_count++];
    *l = (struct desk_bench_line){.line = *line, .left = tasks, .next_rank = 1000};
    l->line.id = b->line_count;
    return b->line_count;
}

static inline struct registry_task *desk_bench_task(struct desk_bench *b, uint32_t line)
{
    struct desk_bench_line *l = &b->lines[line - 1];
    struct registry_task *r = mem_calloc(1, sizeof *r + l->payload_len + 1);

    assert_non_null(r);
    r->id = ++b->next_task;
    r->line = line;
    l->next_rank = l->next_rank + 1;
    r->rank = l->last_rank = l->next_rank;
    r->payload_len = l->payload_len;
    r->key = r->payload = (const char *)(r + 1);
    return r;
}

static inline void desk_bench_take(struct desk_bench *b, struct registry_take *t)
{
    struct desk_bench_line *l = &b->lines[t->line - 1];
    struct registry_task **tail = &t->ret_tasks;
    uint64_t bytes = 0;

    l->takes++;
    b->takes++;
    for (uint32_t i = 0; i < t->max && l->left > 0; i++) {
        if (i > 0 && bytes + l->payload_len > t->max_bytes)
            break;
        *tail = desk_bench_task(b, t->line);
        tail = &(*tail)->next;
        bytes += l->payload_len;
        l->left--;
    }
    t->ret_more = l->left > 0;
}

static inline void desk_bench_check(const struct desk_bench *b)
{
    const char *wrong = desk_check(b->desk);

    if (!wrong)
        wrong = dispatcher_check(b->d);
    if (wrong)
        fail_msg("%s", wrong);
}

/* The first op that waits is durable. */
static inline void desk_bench_write_one(struct desk_bench *b)
{
    struct registry_op *op = b->ops;

    assert_non_null(op);
    b->ops = op->next;
    if (!b->ops)
        b->ops_tail = &b->ops;
    op->next = NULL;
    b->op_count--;
    if (op->kind == REGISTRY_TAKE) {
        b->take_count--;
        desk_bench_take(b, &op->take);
    }
    if (op->kind == REGISTRY_TELL) {
        b->told++;
        snprintf(b->told_pool[op->tell.kind], sizeof b->told_pool[0], "%.*s",
                 (int)op->tell.pool.len, op->tell.pool.len > 0 ? op->tell.pool.data : "");
    }
    if (op->kind == REGISTRY_END && op->end.untried) {
        b->untried++;
        b->untried_as = op->end;
        snprintf(b->untried_said, sizeof b->untried_said, "%.*s", (int)op->end.message.len,
                 op->end.message.data);
    }
    desk_written(b->desk, op, b->now);
}

static inline void desk_bench_write(struct desk_bench *b)
{
    while (b->ops)
        desk_bench_write_one(b);
}

/* A turn of the loop, without what is to be written. */
static inline void desk_bench_turn(struct desk_bench *b)
{
    do {
        struct instant wake = desk_run(b->desk, b->now);

        b->wake = instant_min(wake, dispatcher_run(b->d, b->now));
    } while (desk_is_due(b->desk));
}

static inline void desk_bench_settle(struct desk_bench *b)
{
    desk_bench_turn(b);
    while (b->ops) {
        desk_bench_write(b);
        desk_bench_turn(b);
    }
    desk_bench_check(b);
}

static inline void desk_bench_advance(struct desk_bench *b, duration_ns by)
{
    struct instant until = instant_add(b->now, by);

    while (!instant_before(until, b->wake)) {
        b->now = instant_max(b->now, b->wake);
        desk_bench_settle(b);
    }
    b->now = until;
    desk_bench_settle(b);
}

static inline void desk_bench_report(struct desk_bench *b, struct core_attempt *a,
                                     enum weir_outcome outcome)
{
    for (size_t i = 0; i < b->running_count; i++)
        if (b->running[i] == a) {
            b->running[i] = b->running[--b->running_count];
            break;
        }
    a->answer.outcome = outcome;
    dispatcher_report(b->d, a, b->now);
}

static inline void desk_bench_end_one(struct desk_bench *b, struct core_attempt *a,
                                      enum weir_outcome outcome)
{
    desk_bench_report(b, a, outcome);
    desk_bench_settle(b);
}

static inline void desk_bench_free(struct desk_bench *b)
{
    desk_stop(b->desk);
    while (b->running_count > 0)
        desk_bench_report(b, b->running[0], WEIR_OUTCOME_OK);
    desk_bench_settle(b);
    desk_remove_pools(b->desk, b->now);
    for (int i = 0; i < 10 && desk_pool_count(b->desk) > 0; i++)
        desk_bench_settle(b);
    assert_int_equal(desk_pool_count(b->desk), 0);
    desk_free(b->desk);
    dispatcher_free(b->d);
    mem_free(b->running);
    mem_free(b->lines);
}

struct desk_bench_counting {
    const struct desk_pool *pool;
    size_t count;
};

static inline void desk_bench_count_one(void *ctx, const struct desk_attempt *a)
{
    struct desk_bench_counting *c = ctx;

    c->count += a->pool == c->pool;
}

/* Attempts that run in the pool. */
static inline size_t desk_bench_in(const struct desk_bench *b, const struct desk_pool *p)
{
    struct desk_bench_counting c = {.pool = p};

    desk_attempts(b->desk, desk_bench_count_one, &c);
    return c.count;
}

#endif
