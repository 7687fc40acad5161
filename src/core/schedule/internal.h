/*
 * What the files of the schedule share. What each is:
 *
 *     task ── line ── queue ── kind ── target ── pools
 *               │       └─ tenant
 *               └─ session
 *
 * A line is a list of tasks. A *queue* has the lines of one tenant that are of one kind, and is a
 * heap of those that have a task that could run (its head is not set aside, its session is free). A
 * *kind* is a heap of its queues: in their tenants' order under fair-share, else in the order of
 * their first lines. So a task that is added or taken costs two steps in heaps, and no policy needs
 * another structure. A *target* is where a task wants to run: a pool by name, a skill, or the
 * default pool.
 *
 * A kind is *active* when it has something and is not known to be blocked; choosing looks at the
 * active ones, each at its first. What it finds blocked leaves, into lists by what it waits for:
 * its target's (something of a pool of it), and where the global limit or a slot is in the way
 * those of these, too.
 *
 * The needs of a kind have its *floor* for a priority: the highest min_priority of any pool's
 * reserve that the line's priority reaches. Two priorities with the same floor are on the same side
 * of every reserve.
 *
 * Memory is had when a line or a pool is made; from then on nothing can fail. When a reserve is
 * changed lines may go to other kinds; one for which there is no memory stays, where it gets at
 * most less than it might, until the next choice, which tries again.
 */
#ifndef CORE_SCHEDULE_INTERNAL_H
#define CORE_SCHEDULE_INTERNAL_H

#include "base/map.h"
#include "core/schedule/order.h"
#include "core/schedule/schedule.h"

#define FLOOR_NONE INT32_MIN
#define NOT_ACTIVE UINT32_MAX
/* Run times of which a tenant's mean is, the older ones fading. */
#define MEAN_OF 16

enum target_by { TARGET_DEFAULT, TARGET_POOL, TARGET_SKILL };

struct target {
    struct map_node node;
    enum target_by by;
    uint32_t refs;               /* kinds, pools, and `told` */
    size_t ready;                /* tasks */
    struct schedule_pool *named; /* TARGET_POOL; NULL: it is not there */
    struct schedule_pool *
        *pools; /* TARGET_SKILL: that offer it, in the order in which they were added */
    uint32_t count, cap;
    struct list blocked;   /* kinds */
    struct list unoffered; /* TARGET_SKILL with count 0: in schedule.unoffered */
    bool told;             /* by schedule_take_unoffered() */
    size_t name_len;
    char name[];
};

struct schedule_pool {
    struct list link; /* schedule.pools, in the order in which they were added */
    uint64_t seq;
    struct permit_account *account;
    void *owner;
    bool enabled, closed;
    bool started; /* something has been, and level is what its tenant had had before */
    double level;
    size_t limit_seen; /* permit_limit() as it was last looked at */
    int32_t floor;     /* of its reserve; FLOOR_NONE: none */
    struct target *target;
    struct target **skills;
    uint32_t skill_count;
};

struct kind {
    struct order queues; /* those with something in them */
    uint32_t active_at;  /* in schedule.active, or NOT_ACTIVE */
    bool blocked;
    struct target *target;
    struct permit_need need;            /* priority: its floor */
    struct list blocked_link;           /* target.blocked */
    struct list global_link, slot_link; /* schedule.wait_global, .wait_slot */
    struct schedule_pool *barred;       /* not for it now, whatever its permits say; NULL: none */
    struct list barred_link;            /* schedule.barred */
    uint32_t queue_count;               /* with the empty ones */
    struct map_node node;
};

struct queue {
    struct order_item item; /* kind.queues */
    struct order lines;     /* those whose head could run */
    struct kind *kind;
    struct tenant *tenant;
    struct list link; /* tenant.queues */
    uint32_t line_count;
    struct map_node node;
};

struct schedule_line {
    struct order_item item; /* queue.lines */
    int32_t priority;
    uint32_t id;
    struct list ready; /* by rank; those set aside are in `aside` */
    struct queue *queue;
    struct session *session; /* NULL: none */
    int64_t last_rank;       /* of the last one in `ready`, so that it needs not be looked at */
    uint32_t count;          /* of both lists */
    uint32_t running;
    /* What follows is not looked at for a plain task. */
    struct list aside;
    uint32_t held;
    bool expected; /* its tenant counts it */
    bool gone;     /* from the registry */
    struct schedule_supply supply;
    struct list session_link; /* session.lines */
    struct map_node node;
};

struct session {
    struct map_node node;
    uint32_t running; /* tasks that run, and that are set aside: with any its lines wait */
    uint32_t aside;
    struct list lines;
    size_t name_len;
    char name[];
};

struct tenant {
    double had;   /* seconds over weight, never negative */
    uint64_t seq; /* when it was first seen */
    double weight;
    double charged; /* of had, that is an estimate: for those that run */
    double mean_s;
    uint32_t mean_of;
    uint32_t lines;
    size_t ready, running;
    uint32_t expecting; /* lines of which more is on its way */
    struct list queues;
    bool weighted;    /* schedule_set_weight() gave it another weight than 1: it is not forgotten */
    struct list link; /* schedule.gone, where it has no lines and may be forgotten */
    struct map_node node;
    size_t name_len;
    char name[];
};

struct schedule {
    enum schedule_policy policy;
    int64_t ageing_step_ns; /* that a priority is worth; 0: no ageing */
    struct kind **active;
    uint32_t active_len, active_cap;
    struct list wait_global, wait_slot; /* kinds */
    struct list barred;                 /* the same */
    struct map lines, kinds, queues, targets, sessions, tenants;
    size_t behind; /* tasks that are not the first of their line, set aside or not */
    uint64_t seed;
    struct list pools;
    uint32_t pool_count;
    uint64_t pool_seq;
    struct target *by_default;
    struct schedule_pool *default_pool;
    struct list unoffered;
    bool look_unoffered; /* there may be one that is to be told */
    uint32_t told;
    int32_t *floors; /* sorted, each once */
    uint32_t floor_count, floor_cap;
    bool floors_late; /* some line is not where its floor is: memory */
    bool bursts;      /* some pool has one */
    struct instant settled_at;
    double mean_s;
    uint32_t mean_of;
    uint64_t tenant_seq;
    struct list gone;
    uint32_t gone_count;
    size_t lines_gone; /* schedule_line_gone() */
};

static inline bool is_fair(const struct schedule *s)
{
    return s->policy == SCHEDULE_FAIR_SHARE;
}

static inline struct schedule_task *task_of(struct list *link)
{
    return list_entry(link, struct schedule_task, link);
}

/* ---- targets.c ---- */

/* Made when it is not there; one reference more. NULL: no memory. */
struct target *target_get(struct schedule *s, enum target_by by, struct slice name);
void target_release(struct schedule *s, struct target *t);
/* Where it can go as pools are now, in the order in which they were added: so many as *ret. */
struct schedule_pool *const *target_pools(const struct schedule *s, const struct target *t,
                                          uint32_t *ret);
/* The share that a tenant starts with at least that comes to this target. */
double target_level(const struct schedule *s, const struct target *t);
/* A ready task more, or less, of all its lines. */
void target_add_ready(struct schedule *s, struct target *t);
void target_take_ready(struct schedule *s, struct target *t);
void targets_free(struct schedule *s);
/* Brings the limits of pools with a burst up to date. */
void pools_settle(struct schedule *s, struct instant now);

/* ---- kinds.c ---- */

/* The queue for a line, with room for one line more. NULL: no memory, nothing has changed. */
struct queue *queue_get(struct schedule *s, struct tenant *tenant, struct target *target,
                        const struct permit_need *need);
/* A line less, or none yet. It goes with its last one, and its kind with the last queue. */
void queue_release(struct schedule *s, struct queue *q);
/* Puts it where it belongs in its kind, after its lines or its tenant's share have changed. */
void queue_settle(struct schedule *s, struct queue *q);
/* Whether the first of a is before the first of b. Both have one. */
bool kind_before(const struct schedule *s, const struct kind *a, const struct kind *b);
/* Where the first of it can run; NULL: nowhere, and it is blocked from now on. */
struct schedule_pool *kind_pool(struct schedule *s, struct kind *k);
/* The pool goes: it is barred from nothing any more. */
void unbar_pool(struct schedule *s, const struct schedule_pool *p);
/* Whether the pool is open and has room; *ret says what is in the way, of an open one. */
bool pool_takes(const struct schedule_pool *p, const struct permit_need *need,
                enum permit_block *ret);
bool pool_is_less_used(const struct schedule_pool *a, const struct schedule_pool *b);
void unblock_target(struct schedule *s, struct target *t);
/* What could use a place of that pool. */
void unblock_pool(struct schedule *s, struct schedule_pool *p);
void unblock_global(struct schedule *s);
void unblock_slots(struct schedule *s);
int32_t floor_of(const struct schedule *s, int32_t priority);
/* The floors as the pools' reserves are now; lines follow. */
void floors_update(struct schedule *s);
void floors_follow(struct schedule *s);

/* ---- lines.c ---- */

struct order_key line_key(const struct schedule *s, const struct schedule_line *l);
/* Puts it where it belongs in its queue, or takes it out, and all above it. */
void line_settle(struct schedule *s, struct schedule_line *l);
void line_drop_if_unused(struct schedule *s, struct schedule_line *l);
void line_free(struct schedule *s, struct schedule_line *l);
/* Off its lists; and what of its session was because of it. */
void task_take(struct schedule *s, struct schedule_task *t);
/* Its lines may run now, or not any more. */
void session_settle(struct schedule *s, struct session *n);

/* ---- shares.c ---- */

/* Made when it is not there. NULL: no memory. */
struct tenant *tenant_get(struct schedule *s, struct slice name);
void tenant_add_line(struct schedule *s, struct tenant *t);
/* A line less, or none yet. Those that are gone the longest may be forgotten. */
void tenant_release(struct schedule *s, struct tenant *t, bool line);
void tenants_free(struct schedule *s);
/* It has a ready task more, for that target. */
void tenant_ready(struct schedule *s, struct tenant *t, const struct target *target);
/* The same, but the task is not here yet: a line of it that is expected more. */
void tenant_expect(struct schedule *s, struct tenant *t, const struct target *target);
void tenant_start(struct schedule *s, struct tenant *t, struct schedule_pool *p);
void tenant_end(struct schedule *s, struct tenant *t, duration_ns work_ns);
struct order_key tenant_key(const struct tenant *t);

/* ---- check.c ---- */

/* For tests: a kind that is blocked, and a pool that would take it. Only where every change of a permit was told. */
const char *schedule_check_waiting(const struct schedule *s);

#endif
