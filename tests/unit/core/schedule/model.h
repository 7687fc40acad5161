/*
 * The choice once more, slowly, in the words of core/schedule/schedule.h: an array of tasks, looked
 * through from one end to the other. It shares nothing with the schedule but the pools' permits.
 */
#ifndef TESTS_SCHEDULE_MODEL_H
#define TESTS_SCHEDULE_MODEL_H

#include "core/schedule/schedule.h"

#include <stddef.h>
#include <string.h>

#define MODEL_TASKS   256
#define MODEL_POOLS   8
#define MODEL_TENANTS 8
#define MODEL_SKILLS  4

struct model_pool {
    const char *name;
    struct permit_account *account;
    const char *skills[MODEL_SKILLS];
    size_t skill_count;
    bool enabled, open;
    bool started;
    double level;   /* what the tenant that was chosen last had had before */
    uint64_t added; /* 0: it is not there */
};

struct model_tenant {
    const char *name; /* NULL: not seen */
    double weight, had, charged, last_mean_s;
    unsigned means, running, ready;
    uint64_t seen;
};

/* Of what its line says. */
struct model_task {
    uint64_t id; /* 0: none */
    int64_t rank;
    int32_t priority;
    const char *pool, *skill, *session; /* "": none */
    struct model_tenant *tenant;
    struct permit_need need;
    uint32_t line;
    bool aside;
    struct model_pool *runs_in; /* NULL: it waits */
};

struct model {
    enum schedule_policy policy;
    double ageing;
    struct model_task tasks[MODEL_TASKS];
    struct model_pool pools[MODEL_POOLS];
    struct model_tenant tenants[MODEL_TENANTS];
    struct model_pool *default_pool;
    double mean_s;
    unsigned means;
    uint64_t counter;
    int64_t wall_ns;
};

static inline bool model_offers(const struct model_pool *p, const char *skill)
{
    for (size_t i = 0; i < p->skill_count; i++) {
        if (strcmp(p->skills[i], skill) == 0)
            return true;
    }
    return false;
}

static inline bool model_is_offered(const struct model *m, const char *skill)
{
    for (int i = 0; i < MODEL_POOLS; i++) {
        if (m->pools[i].added && model_offers(&m->pools[i], skill))
            return true;
    }
    return false;
}

/* "Its pools are: the one that it names; or those that offer its skill, and where no pool offers it the default pool; ..." */
static inline bool model_is_pool_of(const struct model *m, const struct model_pool *p,
                                    const struct model_task *t)
{
    if (!p->added)
        return false;
    if (*t->pool)
        return strcmp(t->pool, p->name) == 0;
    if (*t->skill && model_is_offered(m, t->skill))
        return model_offers(p, t->skill);
    return p == m->default_pool;
}

static inline bool model_takes(const struct model_pool *p, const struct model_task *t)
{
    struct permit_need need = t->need;

    need.priority = t->priority;
    return p->open && p->enabled && permit_check(p->account, &need) == PERMIT_FREE;
}

/* "the least utilised first (running / limit, then in the order in which they were added)" */
static inline bool model_pool_first(const struct model_pool *a, const struct model_pool *b)
{
    long double x = (long double)a->account->running / (long double)permit_limit(a->account);
    long double y = (long double)b->account->running / (long double)permit_limit(b->account);

    return x < y || (x == y && a->added < b->added);
}

/* Another task of its session runs, or is set aside. */
static inline bool model_session_waits(const struct model *m, const struct model_task *t)
{
    for (int i = 0; *t->session && i < MODEL_TASKS; i++) {
        const struct model_task *other = &m->tasks[i];

        if (other->id && other != t && strcmp(other->session, t->session) == 0 &&
            (other->runs_in || other->aside))
            return true;
    }
    return false;
}

/* NULL: it cannot run now. */
static inline struct model_pool *model_pool_for(struct model *m, const struct model_task *t)
{
    struct model_pool *best = NULL;

    if (t->aside || t->runs_in || model_session_waits(m, t))
        return NULL;
    for (int i = 0; i < MODEL_POOLS; i++) {
        struct model_pool *p = &m->pools[i];

        if (model_is_pool_of(m, p, t) && model_takes(p, t) && (!best || model_pool_first(p, best)))
            best = p;
    }
    return best;
}

/* "by priority + ageing * minutes since it was ready, the highest first; then by rank" */
static inline bool model_higher(const struct model *m, const struct model_task *a,
                                const struct model_task *b)
{
    long double x = a->priority + (long double)m->ageing * (m->wall_ns - a->rank) / 60e9L;
    long double y = b->priority + (long double)m->ageing * (m->wall_ns - b->rank) / 60e9L;

    if (m->policy != SCHEDULE_FIFO && x != y)
        return x > y;
    return a->rank < b->rank;
}

static inline bool model_before(const struct model *m, const struct model_task *a,
                                const struct model_task *b)
{
    if (m->policy == SCHEDULE_FAIR_SHARE && a->tenant != b->tenant) {
        if (a->tenant->had != b->tenant->had)
            return a->tenant->had < b->tenant->had;
        return a->tenant->seen < b->tenant->seen;
    }
    return model_higher(m, a, b);
}

static inline struct model_task *model_choose(struct model *m, struct model_pool **ret_pool)
{
    struct model_task *best = NULL;

    for (int i = 0; i < MODEL_TASKS; i++) {
        struct model_task *t = &m->tasks[i];
        struct model_pool *p;

        if (!t->id || (best && !model_before(m, t, best)))
            continue;
        p = model_pool_for(m, t);
        if (p) {
            best = t;
            *ret_pool = p;
        }
    }
    return best;
}

/* ---- shares ---- */

static inline struct model_tenant *model_tenant(struct model *m, const char *name)
{
    int i = 0;

    while (m->tenants[i].name && strcmp(m->tenants[i].name, name) != 0)
        i++;
    if (!m->tenants[i].name)
        m->tenants[i] = (struct model_tenant){.name = name, .weight = 1, .seen = ++m->counter};
    return &m->tenants[i];
}

/* "A tenant that comes back after it had nothing ready and nothing running starts level ..." */
static inline void model_add(struct model *m, struct model_task *t)
{
    double level = -1;

    for (int i = 0; i < MODEL_POOLS; i++) {
        const struct model_pool *p = &m->pools[i];

        if (model_is_pool_of(m, p, t) && p->started && (level < 0 || p->level < level))
            level = p->level;
    }
    if (t->tenant->ready == 0 && t->tenant->running == 0 && level > t->tenant->had)
        t->tenant->had = level;
    t->tenant->ready++;
}

static inline void model_have(struct model_tenant *n, double more)
{
    n->had = n->had + more > 0 ? n->had + more : 0;
}

static inline void model_start(struct model *m, struct model_task *t, struct model_pool *p)
{
    struct model_tenant *n = t->tenant;
    double charge = (n->means ? n->last_mean_s : m->means ? m->mean_s : 1) / n->weight;

    t->aside = false;
    t->runs_in = p;
    p->level = n->had;
    p->started = true;
    n->ready--;
    n->running++;
    n->charged += charge;
    model_have(n, charge);
}

static inline void model_mean(double *mean, unsigned *of, double s)
{
    *of = *of < 16 ? *of + 1 : 16;
    *mean += (s - *mean) / *of;
}

static inline void model_end(struct model *m, struct model_task *t, duration_ns work_ns)
{
    struct model_tenant *n = t->tenant;
    double s = duration_seconds(work_ns < SCHEDULE_WORK_MIN_NS ? SCHEDULE_WORK_MIN_NS : work_ns);
    double charge = n->charged / n->running;

    n->running--;
    n->charged = n->running ? n->charged - charge : 0;
    model_have(n, s / n->weight - charge);
    model_mean(&n->last_mean_s, &n->means, s);
    model_mean(&m->mean_s, &m->means, s);
    t->id = 0;
    t->runs_in = NULL;
}

#endif
