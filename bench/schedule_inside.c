/*
 * What one decision of the schedule costs, linked with what is inside.
 *
 *     schedule_inside POLICY QUEUED TENANTS DECISIONS [NEEDS]
 *
 * POLICY is fifo, priority, skill or fair-share. QUEUED tasks wait, of TENANTS tenants and four
 * priorities each, at random, and 64 run in four pools of 16. A decision is all that one task
 * causes: the end of one that ran, with its permit, a new task that is added to the line of a
 * tenant at random, the choice, and the start with a permit. So as many wait all the time. With
 * NEEDS so many different needs of memory: kinds, which are each looked at for themselves.
 */
#include "benchkit.h"

#include "base/rng.h"
#include "core/schedule/schedule.h"

#define POOLS      4
#define PLACES     16
#define PRIORITIES 4
#define WARM_UP    100000

struct task {
    struct schedule_task task;
    struct permit permit;
    struct schedule_pool *pool;
};

struct run {
    enum schedule_policy policy;
    uint64_t queued, tenants, decisions, needs;
    struct schedule *s;
    struct permits all;
    struct permit_account accounts[POOLS];
    struct schedule_pool *pools[POOLS];
    struct schedule_line **lines;
    struct task *tasks;
    struct task *running[POOLS * PLACES];
    size_t runs, oldest;
    struct rng rng;
    struct instant now;
    int64_t rank;
    uint64_t sum;
};

/* Of the processor: nothing here waits, and neighbours take their turns between. */
static double cpu_now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void make_pools(struct run *r)
{
    static const char *const names[POOLS] = {"one", "two", "three", "four"}, *const skill = "skill";

    permits_init(&r->all, PERMITS_UNLIMITED);
    for (int i = 0; i < POOLS; i++) {
        permit_account_init(&r->accounts[i], &r->all, PLACES);
        r->pools[i] =
            schedule_add_pool(r->s, names[i], &r->accounts[i], &skill, 1, &r->accounts[i]);
        if (!r->pools[i])
            bench_die("no memory");
    }
    schedule_set_default_pool(r->s, r->pools[0]);
}

/* Under `skill` all tasks go to any of the pools, else each tenant's to one: a kind for each pool. */
static void make_line(struct run *r, uint64_t i)
{
    static const char *const names[POOLS] = {"one", "two", "three", "four"};
    uint64_t tenant = i / PRIORITIES;
    struct registry_line l = {.id = (uint32_t)i + 1, .priority = (int32_t)(i % PRIORITIES) * 10};
    struct permit_slots *slots[PERMIT_SLOTS_MAX] = {NULL};
    struct weir_error err;
    char name[32];

    l.tenant = (struct slice){name, (size_t)snprintf(name, sizeof name, "tenant-%" PRIu64, tenant)};
    l.memory_mib = (uint32_t)(tenant % r->needs);
    if (r->policy == SCHEDULE_SKILL)
        l.skill = SLICE("skill");
    else
        l.pool = slice_of(names[tenant % POOLS]);
    if (schedule_line(r->s, &l, slots, &r->lines[i], &err) != WEIR_OK)
        bench_die(err.message);
    schedule_hold_line(r->s, r->lines[i], true);
}

static void add(struct run *r, struct task *t)
{
    t->task.rank = r->rank += 1000;
    schedule_add(r->s, r->lines[rng_below(&r->rng, r->tenants * PRIORITIES)], &t->task, r->now);
}

static bool start(struct run *r)
{
    struct schedule_task *chosen;
    struct schedule_pool *p;
    struct permit_need need = {0};
    struct task *t;

    if (!schedule_choose(r->s, r->now, &chosen, &p))
        return false;
    t = (struct task *)(void *)((char *)chosen - offsetof(struct task, task));
    if (!permit_take(schedule_pool_owner(p), &need, &t->permit))
        bench_die("what was chosen has no permit");
    t->pool = p;
    schedule_start(r->s, chosen, p, r->now);
    r->running[(r->oldest + r->runs++) % (POOLS * PLACES)] = t;
    r->sum++;
    return true;
}

/* Ends the oldest, which then is the new one. */
static void decide(struct run *r)
{
    struct task *t = r->running[r->oldest];

    r->now.ns += 10 * NS_PER_US;
    r->oldest = (r->oldest + 1) % (POOLS * PLACES);
    r->runs--;
    permit_return(&t->permit);
    schedule_end(r->s, t->task.line, t->pool, (duration_ns)rng_below(&r->rng, 2 * NS_PER_S),
                 r->now);
    add(r, t);
    while (start(r))
        ;
}

static void prepare(struct run *r)
{
    uint64_t total = r->queued + POOLS * PLACES, lines = r->tenants * PRIORITIES;

    r->s = schedule_new(&(struct schedule_options){r->policy, 1});
    r->lines = calloc(lines, sizeof(struct schedule_line *));
    r->tasks = calloc(total, sizeof *r->tasks);
    if (!r->s || !r->lines || !r->tasks)
        bench_die("no memory");
    rng_seed(&r->rng, 1);
    make_pools(r);
    for (uint64_t i = 0; i < lines; i++)
        make_line(r, i);
    for (uint64_t i = 0; i < total; i++)
        add(r, &r->tasks[i]);
    while (start(r))
        ;
    for (int i = 0; i < WARM_UP; i++)
        decide(r);
}

static void finish(struct run *r)
{
    const char *wrong = schedule_check(r->s);

    if (wrong)
        bench_die(wrong);
    schedule_free(r->s);
    free(r->lines);
    free(r->tasks);
}

int main(int argc, char **argv)
{
    struct run r = {.queued = bench_number(argc, argv, 2),
                    .tenants = bench_number(argc, argv, 3),
                    .decisions = bench_number(argc, argv, 4),
                    .needs = argc > 5 ? bench_number(argc, argv, 5) : 1};
    uint64_t before;
    double start_s, took_s;

    if (!schedule_policy_from_name(bench_text(argc, argv, 1), &r.policy))
        bench_die("no policy of that name");
    prepare(&r);
    before = r.sum;
    start_s = cpu_now_s();
    for (uint64_t i = 0; i < r.decisions; i++)
        decide(&r);
    took_s = cpu_now_s() - start_s;
    if (r.sum - before < r.decisions / 2)
        bench_die("hardly anything was started");
    bench_tell("decision_ns", took_s / (double)(r.sum - before) * 1e9);
    finish(&r);
    return 0;
}
