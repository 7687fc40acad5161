/*
 * What the schedule's tests share: a world of pools, lines and tasks that one line of a test makes.
 *
 *     struct world *w = world_new(SCHEDULE_PRIORITY, 0);
 *     struct schedule_pool *p = world_pool(w, "p", 2, NULL);
 *     struct schedule_task *t = world_add(w, (struct registry_line){.priority = 5});
 *     assert_ptr_equal(world_start(w), t);                 // the next one, with its permit; NULL: none can run
 *     world_end(w, t, NS_PER_S);
 *     world_free(w);
 *
 * A line's number is given by what is in it, as the registry would.
 */
#ifndef TESTS_SCHEDULE_TEST_H
#define TESTS_SCHEDULE_TEST_H

#include "core/schedule/internal.h"
#include "core/schedule/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define WORLD_POOLS 8
#define WORLD_LINES 1024
#define WORLD_SLOTS 4

struct world_task {
    struct schedule_task task;
    struct schedule_pool *pool; /* where it runs */
    struct permit permit;
};

struct world {
    struct schedule *s;
    struct permits all;
    struct permit_account accounts[WORLD_POOLS];
    size_t pools;
    struct registry_line lines[WORLD_LINES];
    struct permit_slots *slots[WORLD_LINES][PERMIT_SLOTS_MAX];
    uint32_t line_count;
    struct instant now;
    int64_t rank;
    uint64_t id;
};

static inline struct world *world_new(enum schedule_policy policy, double ageing)
{
    struct world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    w->s = schedule_new(&(struct schedule_options){policy, ageing});
    assert_non_null(w->s);
    permits_init(&w->all, PERMITS_UNLIMITED);
    w->rank = INT64_C(1760000000) * NS_PER_S;
    return w;
}

static inline void world_free(struct world *w)
{
    schedule_free(w->s);
    free(w);
}

static inline void world_is_sound(const struct world *w)
{
    const char *wrong = schedule_check(w->s);

    if (!wrong)
        wrong = schedule_check_waiting(w->s);
    if (wrong)
        fail_msg("%s", wrong);
}

/* The first one is the default. skill: NULL, none. */
static inline struct schedule_pool *world_pool(struct world *w, const char *name, size_t limit,
                                               const char *skill)
{
    struct permit_account *a = &w->accounts[w->pools];
    struct schedule_pool *p;

    assert_true(w->pools < WORLD_POOLS);
    permit_account_init(a, &w->all, limit);
    p = schedule_add_pool(w->s, name, a, &skill, skill ? 1 : 0, a);
    assert_non_null(p);
    if (w->pools++ == 0)
        schedule_set_default_pool(w->s, p);
    return p;
}

static inline bool same_line(const struct registry_line *a, const struct registry_line *b)
{
    return a->priority == b->priority && a->cpu_milli == b->cpu_milli &&
           a->memory_mib == b->memory_mib && slice_equal(a->pool, b->pool) &&
           slice_equal(a->skill, b->skill) && slice_equal(a->tenant, b->tenant) &&
           slice_equal(a->session, b->session);
}

static inline struct schedule_line *world_line_with(struct world *w, struct registry_line l,
                                                    struct permit_slots *slot)
{
    struct schedule_line *ret;
    uint32_t i = 0;

    while (i < w->line_count && !(same_line(&w->lines[i], &l) && w->slots[i][0] == slot))
        i++;
    if (i == w->line_count) {
        assert_true(i < WORLD_LINES);
        l.id = i + 1;
        w->lines[i] = l;
        w->slots[i][0] = slot;
        w->line_count++;
    }
    assert_int_equal(schedule_line(w->s, &w->lines[i], w->slots[i], &ret, NULL), WEIR_OK);
    return ret;
}

static inline struct schedule_task *world_add_to(struct world *w, struct schedule_line *l)
{
    struct world_task *t = calloc(1, sizeof *t);

    assert_non_null(t);
    t->task.id = ++w->id;
    t->task.rank = w->rank += NS_PER_S;
    list_init(&t->task.link);
    schedule_add(w->s, l, &t->task, w->now);
    return &t->task;
}

static inline struct schedule_task *world_add(struct world *w, struct registry_line l)
{
    return world_add_to(w, world_line_with(w, l, NULL));
}

static inline struct schedule_task *world_next(struct world *w, struct schedule_pool **ret_pool)
{
    struct schedule_task *t = NULL;

    world_is_sound(w);
    return schedule_choose(w->s, w->now, &t, ret_pool) ? t : NULL;
}

static inline struct world_task *world_task(struct schedule_task *t)
{
    return (struct world_task *)(void *)((char *)t - offsetof(struct world_task, task));
}

static inline struct schedule_task *world_start(struct world *w)
{
    struct schedule_pool *p;
    struct schedule_task *t = world_next(w, &p);
    struct permit_need need;

    if (!t)
        return NULL;
    need = t->line->queue->kind->need;
    need.priority = t->line->priority;
    world_task(t)->pool = p;
    assert_true(permit_take(schedule_pool_owner(p), &need, &world_task(t)->permit));
    schedule_start(w->s, t, p, w->now);
    world_is_sound(w);
    return t;
}

static inline void world_end(struct world *w, struct schedule_task *t, duration_ns work_ns)
{
    permit_return(&world_task(t)->permit);
    schedule_end(w->s, t->line, world_task(t)->pool, work_ns, w->now);
    free(world_task(t));
    world_is_sound(w);
}

static inline void world_take_off(struct world *w, struct schedule_task *t)
{
    schedule_remove(w->s, t, w->now);
    free(world_task(t));
    world_is_sound(w);
}

#endif
