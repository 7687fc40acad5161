/*
 * Random lives, each of them twice: in the schedule, and in the model that looks through all tasks.
 * They choose the same task and the same pool, every time.
 *
 *     WEIR_SEED=4711 WEIR_SEEDS=1 build/tests/unit/core/schedule/test_lives
 */
#include "base/rng.h"
#include "model.h"
#include "schedule_test.h"

#include <stdio.h>

#define STEPS      250
#define SEEDS      2000
#define LINES      48
#define SLOTS      3
#define CHECK_EACH 8 /* of the seeds, one is checked after every step */

static const char *const pool_names[MODEL_POOLS] = {"p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7"};
static const char *const skills[] = {"cut", "weld", "paint", "fly"};
static const char *const tenants[] = {"", "a", "b", "c", "d"};
static const char *const sessions[] = {"", "", "s", "t", "u"};
static const int32_t priorities[] = {-100, 0, 0, 5, 50, 51, 1000};
/* Steps of whole nanoseconds, so that both count the same. */
static const double ageings[] = {0, 0, 0.5, 1, 60, 1000};

#define ANY(life, array) ((array)[rng_below(&(life)->rng, sizeof(array) / sizeof *(array))])

struct pair { /* one task, in both */
    struct schedule_task task;
    struct model_task *model;
    struct permit permit;
    struct schedule_pool *pool;
};

struct life {
    uint64_t seed;
    struct rng rng;
    struct schedule *s;
    struct model m;
    struct permits all;
    struct permit_account accounts[MODEL_POOLS];
    struct schedule_pool *pools[MODEL_POOLS];
    struct permit_slots slots[SLOTS];
    struct pair pairs[MODEL_TASKS]; /* those of m.tasks */
    struct registry_line lines[LINES];
    struct permit_slots *line_slots[LINES][PERMIT_SLOTS_MAX];
    bool held[LINES];
    struct permit outside[MODEL_POOLS]; /* permits that somebody else has */
    struct instant now;
    int64_t rank;
    uint64_t id;
    uint64_t chosen;
};

static bool chance(struct life *f, unsigned percent)
{
    return rng_below(&f->rng, 100) < percent;
}

/* ---- lines and tasks ---- */

static void make_lines(struct life *f)
{
    for (uint32_t i = 0; i < LINES; i++) {
        struct registry_line *l = &f->lines[i];

        *l = (struct registry_line){.id = (i + 1) * 7, .priority = ANY(f, priorities)};
        if (chance(f, 40))
            l->pool = slice_of(ANY(f, pool_names));
        else if (chance(f, 50))
            l->skill = slice_of(ANY(f, skills));
        l->tenant = slice_of(ANY(f, tenants));
        l->session = slice_of(ANY(f, sessions));
        if (chance(f, 30))
            l->cpu_milli = (uint32_t)rng_below(&f->rng, 4) * 500;
        if (chance(f, 30))
            l->memory_mib = (uint32_t)rng_below(&f->rng, 3) * 256;
        if (chance(f, 30))
            f->line_slots[i][0] = &f->slots[rng_below(&f->rng, SLOTS)];
        if (f->line_slots[i][0] == &f->slots[0] && chance(f, 50))
            f->line_slots[i][1] = &f->slots[1];
    }
}

static struct schedule_line *get_line(struct life *f, uint32_t i)
{
    struct schedule_line *l;

    model_tenant(&f->m, f->lines[i].tenant.data);
    assert_int_equal(schedule_line(f->s, &f->lines[i], f->line_slots[i], &l, NULL), WEIR_OK);
    return l;
}

static const char *text(struct slice s)
{
    return s.len ? s.data : "";
}

static int64_t next_rank(struct life *f)
{
    /* One that was refused comes back at its old place. */
    if (chance(f, 15))
        return f->rank - rng_range(&f->rng, 1, 600 * NS_PER_S);
    f->rank += rng_range(&f->rng, 1, 40 * NS_PER_S);
    return f->rank;
}

static void add_task(struct life *f)
{
    uint32_t line = (uint32_t)rng_below(&f->rng, LINES);
    const struct registry_line *r = &f->lines[line];
    struct schedule_line *l;
    struct model_task *t;
    int i = 0;

    while (i < MODEL_TASKS && f->m.tasks[i].id)
        i++;
    if (i == MODEL_TASKS)
        return;
    l = get_line(f, line);
    t = &f->m.tasks[i];
    *t = (struct model_task){.id = ++f->id,
                             .rank = next_rank(f),
                             .priority = r->priority,
                             .pool = text(r->pool),
                             .skill = text(r->skill),
                             .session = text(r->session),
                             .tenant = model_tenant(&f->m, r->tenant.data),
                             .need = {0, r->cpu_milli, r->memory_mib, {NULL}},
                             .line = line};
    memcpy(t->need.slots, f->line_slots[line], sizeof t->need.slots);
    f->pairs[i] = (struct pair){.task = {.id = t->id, .rank = t->rank}, .model = t};
    list_init(&f->pairs[i].task.link);
    model_add(&f->m, t);
    schedule_add(f->s, l, &f->pairs[i].task, f->now);
}

enum which { WAITS, ASIDE, RUNS };

/* Any task in that state; NULL: there is none. */
static struct pair *any_task(struct life *f, enum which which)
{
    size_t from = rng_below(&f->rng, MODEL_TASKS);

    for (size_t n = 0; n < MODEL_TASKS; n++) {
        struct pair *p = &f->pairs[(from + n) % MODEL_TASKS];
        const struct model_task *t = &f->m.tasks[(from + n) % MODEL_TASKS];

        if (t->id && (t->runs_in ? RUNS : t->aside ? ASIDE : WAITS) == which)
            return p;
    }
    return NULL;
}

static void remove_task(struct life *f)
{
    struct pair *p = any_task(f, chance(f, 80) ? WAITS : ASIDE);

    if (!p)
        return;
    schedule_remove(f->s, &p->task, f->now);
    p->model->tenant->ready--;
    p->model->id = 0;
}

static void set_aside(struct life *f, struct pair *p)
{
    if (!p)
        return;
    schedule_set_aside(f->s, &p->task);
    p->model->aside = true;
}

static void bring_back(struct life *f)
{
    struct pair *p = any_task(f, ASIDE);

    if (!p)
        return;
    schedule_bring_back(f->s, &p->task, f->now);
    p->model->aside = false;
}

static void hold(struct life *f)
{
    uint32_t i = (uint32_t)rng_below(&f->rng, LINES);

    if (f->held[i])
        schedule_hold_line(f->s, schedule_find_line(f->s, f->lines[i].id), false);
    else
        schedule_hold_line(f->s, get_line(f, i), true);
    f->held[i] = !f->held[i];
}

/* ---- pools ---- */

static size_t some_skills(struct life *f, struct model_pool *p)
{
    p->skill_count = rng_below(&f->rng, 3);
    for (size_t i = 0; i < p->skill_count; i++)
        p->skills[i] = ANY(f, skills);
    return p->skill_count;
}

static void add_pool(struct life *f, int i)
{
    struct model_pool *p = &f->m.pools[i];

    *p = (struct model_pool){.name = pool_names[i],
                             .account = &f->accounts[i],
                             .enabled = true,
                             .open = true,
                             .added = ++f->m.counter};
    some_skills(f, p);
    permit_account_init(&f->accounts[i], &f->all, 1 + rng_below(&f->rng, 4));
    permit_settle(&f->accounts[i], f->now);
    f->pools[i] = schedule_add_pool(f->s, p->name, p->account, p->skills, p->skill_count, p);
    assert_non_null(f->pools[i]);
}

static void remove_pool(struct life *f, int i)
{
    if (f->accounts[i].running > 0)
        return;
    if (f->m.default_pool == &f->m.pools[i])
        f->m.default_pool = NULL;
    f->m.pools[i].added = 0;
    schedule_remove_pool(f->s, f->pools[i]);
    f->pools[i] = NULL;
}

static void change_default(struct life *f, int i)
{
    if (chance(f, 20)) {
        schedule_set_default_pool(f->s, NULL);
        f->m.default_pool = NULL;
        return;
    }
    schedule_set_default_pool(f->s, f->pools[i]);
    f->m.default_pool = &f->m.pools[i];
}

static void change_state(struct life *f, int i)
{
    struct model_pool *p = &f->m.pools[i];

    if (chance(f, 40)) {
        p->enabled = !p->enabled;
        schedule_enable_pool(f->s, f->pools[i], p->enabled);
        return;
    }
    p->open = !p->open || chance(f, 30);
    if (p->open)
        schedule_open_pool(f->s, f->pools[i]);
    else
        schedule_close_pool(f->s, f->pools[i]);
}

static void change_limits(struct life *f, int i)
{
    struct permit_account *a = &f->accounts[i];

    permit_settle(a, f->now);
    switch (rng_below(&f->rng, 4)) {
    case 0:
        a->limit = rng_below(&f->rng, 8);
        break;
    case 1:
        a->cpu_milli_limit = rng_below(&f->rng, 4) * 1000;
        a->memory_mib_limit = rng_below(&f->rng, 3) * 512;
        break;
    case 2:
        a->reserve.min_priority = ANY(f, priorities);
        a->reserve.share = chance(f, 50) ? 0.4 : 0;
        break;
    default:
        a->burst.places = rng_below(&f->rng, 3);
        a->burst.seconds = 5;
        permit_settle(a, f->now);
        break;
    }
    schedule_pool_changed(f->s, f->pools[i]);
}

/* Rows of batches take and return permits beside the schedule. */
static void change_outside(struct life *f, int i)
{
    permit_settle(&f->accounts[i], f->now);
    if (f->outside[i].account)
        permit_return(&f->outside[i]);
    else if (!permit_take(&f->accounts[i], NULL, &f->outside[i]))
        return;
    schedule_pool_changed(f->s, f->pools[i]);
}

static void change_pool(struct life *f)
{
    int i = (int)rng_below(&f->rng, MODEL_POOLS);

    if (!f->pools[i]) {
        add_pool(f, i);
        return;
    }
    switch (rng_below(&f->rng, 12)) {
    case 0:
        remove_pool(f, i);
        break;
    case 1:
        some_skills(f, &f->m.pools[i]);
        assert_true(schedule_set_skills(f->s, f->pools[i], f->m.pools[i].skills,
                                        f->m.pools[i].skill_count));
        break;
    case 2:
        change_default(f, i);
        break;
    case 3:
    case 4:
    case 5:
        change_state(f, i);
        break;
    case 6:
    case 7:
        change_outside(f, i);
        break;
    case 8: /* what was closed by a choice is opened in the end */
        f->m.pools[i].open = true;
        schedule_open_pool(f->s, f->pools[i]);
        break;
    default:
        change_limits(f, i);
        break;
    }
}

static void change_all(struct life *f)
{
    if (chance(f, 50))
        f->all.limit = chance(f, 60) ? PERMITS_UNLIMITED : rng_below(&f->rng, 12);
    else
        assert_true(permit_slots_resize(&f->slots[rng_below(&f->rng, SLOTS)],
                                        (uint32_t)rng_below(&f->rng, 4)));
    schedule_pool_changed(f->s, NULL);
}

static void change_policy(struct life *f)
{
    if (chance(f, 50)) {
        f->m.policy = (enum schedule_policy)rng_below(&f->rng, SCHEDULE_POLICIES);
        f->m.ageing = ANY(f, ageings);
        schedule_set_policy(f->s, &(struct schedule_options){f->m.policy, f->m.ageing});
    } else {
        const char *name = ANY(f, tenants);
        double weight = (double)rng_range(&f->rng, 1, 8);

        model_tenant(&f->m, name)->weight = weight;
        assert_true(schedule_set_weight(f->s, slice_of(name), weight));
    }
}

/* ---- choosing ---- */

static void start(struct life *f, struct pair *p, struct schedule_pool *pool)
{
    struct model_pool *in = schedule_pool_owner(pool);
    struct permit_need need = p->model->need;

    need.priority = p->model->priority;
    permit_settle(in->account, f->now);
    assert_true(permit_take(in->account, &need, &p->permit));
    p->pool = pool;
    model_start(&f->m, p->model, in);
    schedule_start(f->s, &p->task, pool, f->now);
}

static void end(struct life *f)
{
    struct pair *p = any_task(f, RUNS);
    duration_ns work_ns = chance(f, 10) ? 0 : rng_range(&f->rng, 1, 5 * NS_PER_S);

    if (!p)
        return;
    permit_settle(p->permit.account, f->now);
    permit_return(&p->permit);
    model_end(&f->m, p->model, work_ns);
    schedule_end(f->s, p->task.line, p->pool, work_ns, f->now);
}

static void settle_all(struct life *f)
{
    for (int i = 0; i < MODEL_POOLS; i++) {
        if (f->pools[i])
            permit_settle(&f->accounts[i], f->now);
    }
}

static bool choose(struct life *f)
{
    struct schedule_task *t = NULL;
    struct schedule_pool *pool = NULL;
    struct model_pool *model_pool = NULL;
    bool any = schedule_choose(f->s, f->now, &t, &pool);
    const struct model_task *right;
    struct pair *p;

    settle_all(f);
    right = model_choose(&f->m, &model_pool);
    if (any != (right != NULL))
        fail_msg("seed %lu: the schedule finds %s, the model %s", (unsigned long)f->seed,
                 any ? "a task" : "none", right ? "one" : "none");
    if (!any)
        return false;
    if (t->id != right->id || schedule_pool_owner(pool) != model_pool)
        fail_msg("seed %lu: task %lu was chosen for %s, and it is %lu for %s",
                 (unsigned long)f->seed, (unsigned long)t->id,
                 ((struct model_pool *)schedule_pool_owner(pool))->name, (unsigned long)right->id,
                 model_pool->name);
    f->chosen++;
    p = (struct pair *)(void *)((char *)t - offsetof(struct pair, task));
    if (chance(f, 85)) {
        start(f, p, pool);
    } else if (chance(f, 50)) {
        set_aside(f, p);
    } else {
        model_pool->open = false;
        schedule_close_pool(f->s, pool);
    }
    return true;
}

static void choose_some(struct life *f)
{
    uint64_t most = rng_below(&f->rng, 6);

    while (most-- > 0 && choose(f))
        ;
}

/* ---- a life ---- */

/* What is in memory is what must be, and no more. */
static void check_lines(struct life *f)
{
    for (uint32_t i = 0; i < LINES; i++) {
        const struct schedule_line *l = schedule_find_line(f->s, f->lines[i].id);
        size_t waits = 0, runs = 0;

        for (int k = 0; k < MODEL_TASKS; k++) {
            const struct model_task *t = &f->m.tasks[k];

            waits += t->id && t->line == i && !t->runs_in;
            runs += t->id && t->line == i && t->runs_in;
        }
        if ((l != NULL) != (waits + runs > 0 || f->held[i]))
            fail_msg("seed %lu: line %u is there and should not be, or the other way round",
                     (unsigned long)f->seed, (unsigned)f->lines[i].id);
        if (l)
            assert_int_equal(schedule_line_count(l), waits);
    }
}

static void check_had(void *ctx, const struct schedule_share *share)
{
    struct life *f = ctx;
    const struct model_tenant *n = model_tenant(&f->m, share->tenant.data);

    assert_true(n->had == share->had && n->weight == share->weight);
    assert_int_equal(n->ready, share->ready);
    assert_int_equal(n->running, share->running);
}

static void check(struct life *f)
{
    const char *wrong = schedule_check(f->s);

    settle_all(f);
    if (wrong)
        fail_msg("seed %lu: %s", (unsigned long)f->seed, wrong);
    check_lines(f);
    schedule_shares(f->s, check_had, f);
}

static void step(struct life *f)
{
    uint64_t dice = rng_below(&f->rng, 100);

    f->now.ns += rng_range(&f->rng, 0, NS_PER_S);
    if (dice < 36) {
        for (uint64_t n = 1 + rng_below(&f->rng, 3); n > 0; n--)
            add_task(f);
    } else if (dice < 62) {
        for (uint64_t n = 1 + rng_below(&f->rng, 4); n > 0; n--)
            end(f);
    } else if (dice < 66) {
        remove_task(f);
    } else if (dice < 69) {
        set_aside(f, any_task(f, WAITS));
    } else if (dice < 76) {
        bring_back(f);
    } else if (dice < 79) {
        hold(f);
    } else if (dice < 92) {
        change_pool(f);
    } else if (dice < 96) {
        change_all(f);
    } else {
        change_policy(f);
    }
    choose_some(f);
}

static void born(struct life *f, uint64_t seed)
{
    *f = (struct life){.seed = seed, .rank = INT64_C(1760000000123456789)};
    rng_seed(&f->rng, seed);
    f->m.policy = (enum schedule_policy)(seed % SCHEDULE_POLICIES);
    f->m.ageing = ANY(f, ageings);
    f->m.wall_ns = f->rank;
    f->s = schedule_new(&(struct schedule_options){f->m.policy, f->m.ageing});
    assert_non_null(f->s);
    permits_init(&f->all, PERMITS_UNLIMITED);
    for (int i = 0; i < SLOTS; i++)
        assert_true(permit_slots_init(&f->slots[i], (uint32_t)i + 1));
    make_lines(f);
    for (int i = 0; i < 4; i++)
        add_pool(f, i);
    change_default(f, 0);
}

/* Half of them while all is still in it. */
static void dies(struct life *f)
{
    if (f->seed % 2) {
        schedule_free(f->s);
        f->s = NULL;
    }
    for (int i = 0; i < MODEL_TASKS; i++) {
        struct pair *p = &f->pairs[i];

        if (!f->m.tasks[i].id)
            continue;
        if (p->permit.account)
            permit_return(&p->permit);
        if (f->s && f->m.tasks[i].runs_in)
            schedule_end(f->s, p->task.line, p->pool, 0, f->now);
        else if (f->s)
            schedule_remove(f->s, &p->task, f->now);
    }
    schedule_free(f->s);
    for (int i = 0; i < MODEL_POOLS; i++) {
        if (f->outside[i].account)
            permit_return(&f->outside[i]);
    }
    for (int i = 0; i < SLOTS; i++)
        permit_slots_free(&f->slots[i]);
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *value = getenv(name);

    return value ? strtoull(value, NULL, 10) : otherwise;
}

static void every_choice_is_the_one_that_the_model_makes(void **state)
{
    uint64_t first = number_from("WEIR_SEED", 1), count = number_from("WEIR_SEEDS", SEEDS);
    struct life *f = malloc(sizeof *f);
    uint64_t chosen = 0;

    (void)state;
    assert_non_null(f);
    for (uint64_t seed = first; seed < first + count; seed++) {
        born(f, seed);
        for (int i = 0; i < STEPS; i++) {
            step(f);
            if (seed % CHECK_EACH == 0)
                check(f);
        }
        check(f);
        chosen += f->chosen;
        dies(f);
    }
    free(f);
    print_message("%lu choices in %lu lives\n", (unsigned long)chosen, (unsigned long)count);
    /* Lives in which nothing happens prove nothing. */
    assert_true(chosen > count * STEPS / 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_choice_is_the_one_that_the_model_makes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
