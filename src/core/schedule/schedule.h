/*
 * The schedule: which task runs next, and in which pool.
 *
 * It knows the ready tasks that are in memory, line by line (core/ports/registry.h has what a line
 * is), and the pools with their permits (core/permits.h). It decides; it starts nothing and takes
 * no permit:
 *
 *     while (schedule_choose(s, now, &task, &pool)) {
 *         if (started(task, pool))
 *             schedule_start(s, task, pool, now);        // it is out of the schedule; its session is taken
 *         else
 *             schedule_close_pool(s, pool) or schedule_set_aside(s, task);
 *     }
 *     ...
 *     schedule_end(s, line, pool, work_ns, now);         // what ran has ended: its permit is back
 *
 * The choice, in words, which tests/unit/core/schedule/model.h says again, slowly: of all tasks
 * that could run now, the first in the policy's order. A task can run in a pool that is open and
 * enabled, and whose permit_check() for its needs is PERMIT_FREE, when no other task of its session
 * runs and it is not set aside. Its pools are: the one that it names; or those that offer its
 * skill, the least utilised first (running / limit, then in the order in which they were added),
 * and where no pool offers it the default pool; or, if it names neither, the default pool. The
 * orders:
 *
 *     fifo         by rank
 *     priority     by priority + ageing * minutes since it was ready, the highest first; then by rank
 *     skill        the same
 *     fair-share   by what its tenant has had for its weight, the least first (then the tenant that was seen first); within the tenant as
 *                  priority
 *
 * The first ones by `priority + ageing * minutes` stay the first as time passes, for all grow older
 * alike: so time plays no part.
 *
 * What a tenant has had is the time its attempts have run, over its weight; an attempt counts for
 * SCHEDULE_WORK_MIN_NS at least. It is charged when it starts with the mean of the tenant's last
 * run times (of all tenants', or 1 s, as long as it has none), and at its end with the difference.
 * A tenant that comes back after it had nothing ready and nothing running starts level: with what
 * the tenant that was chosen last in its task's pool had had before that, if that is more than its
 * own. (Of several pools: the least. That is the usual rule of start-time fair queueing; not the
 * least of all that wait, for a tenant may wait for days for a pool that is disabled, and whoever
 * comes then would go before all others for as long.) A tenant of weight 1 without lines is
 * forgotten when SCHEDULE_TENANTS_GONE_MAX others have gone after it.
 *
 * A decision costs O(kinds + log tasks), whatever is queued, where a *kind* is what cannot be told
 * apart by what blocks it: the same target, needs, slots, and side of the reserve. Kinds that are
 * found blocked are not looked at again until something that they wait for has changed.
 *
 * Pure; one thread.
 */
#ifndef CORE_SCHEDULE_SCHEDULE_H
#define CORE_SCHEDULE_SCHEDULE_H

#include "base/list.h"
#include "base/time.h"
#include "core/permits.h"
#include "core/ports/registry.h"

struct schedule;
struct schedule_pool;
struct schedule_line;

enum schedule_policy {
    SCHEDULE_FIFO,
    SCHEDULE_PRIORITY,
    SCHEDULE_SKILL,
    SCHEDULE_FAIR_SHARE,
    SCHEDULE_POLICIES
};

/* "fifo", "priority", "skill", "fair-share". */
const char *schedule_policy_name(enum schedule_policy p);
bool schedule_policy_from_name(const char *name, enum schedule_policy *ret);

/* Lines in memory, ready ones and those kept because something of them runs. */
#define SCHEDULE_LINES_MAX 1000000
/* Tenants without lines that are remembered. */
#define SCHEDULE_TENANTS_GONE_MAX 100000
/* So that nobody has attempts for nothing: about what one costs the dispatcher. */
#define SCHEDULE_WORK_MIN_NS (10 * NS_PER_US)
/* Weights of tenants. */
#define SCHEDULE_WEIGHT_MIN 0.001
#define SCHEDULE_WEIGHT_MAX 1e6

struct schedule_options {
    enum schedule_policy policy;
    double
        ageing; /* priority per minute, 0 to 1000; below 0.00006 (one in 11 days) as if it were that */
};

/* A ready task, as part of whoever's own struct. */
struct schedule_task {
    uint64_t id;
    int64_t rank;               /* registry_task.rank: its order, and since when it is ready */
    struct schedule_line *line; /* set by schedule_add() */
    bool aside;                 /* by schedule_set_aside() */
    struct list link;
};

/* False from new: no memory. */
struct schedule *schedule_new(const struct schedule_options *o);
/* Nothing in it is freed that is not its own. NULL-safe. */
void schedule_free(struct schedule *s);

/* Takes effect with the next choice. Costs O(lines). */
void schedule_set_policy(struct schedule *s, const struct schedule_options *o);
/* SCHEDULE_WEIGHT_MIN to _MAX; 1 unless it was set. False: no memory. */
bool schedule_set_weight(struct schedule *s, struct slice tenant, double weight);

/* ---- pools ---- */

/*
 * skills: copied. The account is whose permits are looked at; it stays the caller's. One that has
 * the name leaves, as by schedule_leave_pool(). NULL: no memory, and nothing has changed.
 */
struct schedule_pool *schedule_add_pool(struct schedule *s, const char *name,
                                        struct permit_account *account, const char *const *skills,
                                        size_t skill_count, void *owner);
/* Nothing starts in it any more, and another pool may be added with its name, while what runs in it ends. Repeatable. */
void schedule_leave_pool(struct schedule *s, struct schedule_pool *p);
/* Nothing of it runs. Tasks that named it wait until there is a pool of that name again. */
void schedule_remove_pool(struct schedule *s, struct schedule_pool *p);
/* False: no memory, nothing has changed. */
bool schedule_set_skills(struct schedule *s, struct schedule_pool *p, const char *const *skills,
                         size_t skill_count);
/* The same in two steps, for whoever has more to do that may fail: get, then put or drop; no other pool's between. */
struct schedule_skills {
    struct target **targets;
    uint32_t count;
};
bool schedule_get_skills(struct schedule *s, const char *const *skills, size_t skill_count,
                         struct schedule_skills *ret);
void schedule_put_skills(struct schedule *s, struct schedule_pool *p,
                         const struct schedule_skills *skills);
void schedule_drop_skills(struct schedule *s, const struct schedule_skills *skills);
/* NULL: none. */
void schedule_set_default_pool(struct schedule *s, struct schedule_pool *p);
void *schedule_pool_owner(const struct schedule_pool *p);
/* Ready tasks that the pool is one for; those that may go to others, too, among them. */
size_t schedule_pool_ready(const struct schedule *s, const struct schedule_pool *p);
/* Disabled pools take nothing. */
void schedule_enable_pool(struct schedule *s, struct schedule_pool *p, bool enabled);
/* For now nothing can start in it (its gate, breaker or workers): until schedule_open_pool(). */
void schedule_close_pool(struct schedule *s, struct schedule_pool *p);
void schedule_open_pool(struct schedule *s, struct schedule_pool *p);
/* A permit of the pool was taken or returned by somebody else, or a limit of it, a quota, slots or the global limit (p NULL) were changed. */
void schedule_pool_changed(struct schedule *s, struct schedule_pool *p);

/* ---- tasks ---- */

/*
 * The line of that number, made if it is new; slots are the resources that its `slots` names,
 * resolved by the caller. *ret is valid as long as it has tasks, or runs, or is held (hold counts).
 * WEIR_E_NOMEM, WEIR_E_LIMIT (SCHEDULE_LINES_MAX).
 */
WEIR_MUST_CHECK enum weir_status schedule_line(struct schedule *s, const struct registry_line *l,
                                               struct permit_slots *const slots[PERMIT_SLOTS_MAX],
                                               struct schedule_line **ret, struct weir_error *err);
/* NULL: it is not there. */
struct schedule_line *schedule_find_line(struct schedule *s, uint32_t id);
uint32_t schedule_line_id(const struct schedule_line *l);
/* Ready tasks that it has in memory. */
size_t schedule_line_count(const struct schedule_line *l);
/* The caller's own: how far it was taken, whether there is more (core/desk.c). */
struct schedule_supply {
    int64_t last_rank; /* of what was added last in order */
    bool more;         /* the registry has more */
    bool asked;        /* and was asked for it */
    uint32_t window;   /* how many to have in memory */
    struct list wants; /* among the lines that wait to be asked for */
};
struct schedule_supply *schedule_line_supply(struct schedule_line *l);
struct schedule_line *schedule_supply_line(struct schedule_supply *supply);
/* Lines that are there; ready tasks beyond the first of each. */
size_t schedule_lines(const struct schedule *s);
size_t schedule_behind(const struct schedule *s);
/* A line without tasks is kept while it is held: until it has been let go as often as it was held. */
void schedule_hold_line(struct schedule *s, struct schedule_line *l, bool hold);
/* The first of its ready tasks, those set aside too; NULL: it has none. */
struct schedule_task *schedule_line_first(const struct schedule_line *l);
/* The registry has no such line any more: it is counted until nothing of it is left here. Repeatable. */
void schedule_line_gone(struct schedule *s, struct schedule_line *l);
size_t schedule_lines_gone(const struct schedule *s);
/*
 * More of the line is on its way: its tenant has something to do from now on, wherever it is, and
 * is idle no more. One that was starts level now, and not when the first of it is here; one whose
 * line runs dry meanwhile keeps what it is behind the others. Only with schedule_hold_line() around
 * it.
 */
void schedule_expect_line(struct schedule *s, struct schedule_line *l, bool more);

/* By its rank: mostly at the end, which is O(1). Cannot fail once its line is made. */
void schedule_add(struct schedule *s, struct schedule_line *l, struct schedule_task *t,
                  struct instant now);
void schedule_remove(struct schedule *s, struct schedule_task *t, struct instant now);

/* ---- choosing ---- */

/* now: for limits that change by themselves (bursts), which are settled. False: none can run. */
bool schedule_choose(struct schedule *s, struct instant now, struct schedule_task **ret_task,
                     struct schedule_pool **ret_pool);
/* The chosen task runs in the pool: its permit has been taken. It is out of the schedule. */
void schedule_start(struct schedule *s, struct schedule_task *t, struct schedule_pool *p,
                    struct instant now);
/* An attempt of the line has ended, and its permit was returned. */
void schedule_end(struct schedule *s, struct schedule_line *l, struct schedule_pool *p,
                  duration_ns work_ns, struct instant now);
/*
 * The task cannot be started for a reason of its own (its session's worker is busy, its own wait is
 * not over). It keeps its place, and is passed over until schedule_bring_back(); with a session, so
 * are the others of its session.
 */
void schedule_set_aside(struct schedule *s, struct schedule_task *t);
void schedule_bring_back(struct schedule *s, struct schedule_task *t, struct instant now);

/*
 * The task cannot be started in that pool now for what it needs, which its owner knows and the
 * permits do not: nothing that needs the same is chosen for that pool until schedule_unbar(), which
 * takes back all bars. What needs less is. False: another pool is barred from it already, one at a
 * time can be; the pool is to be closed then. O(1), and O(bars).
 */
bool schedule_bar(struct schedule *s, const struct schedule_task *t, struct schedule_pool *p);
void schedule_unbar(struct schedule *s);

/* ---- looking ---- */

/* Why the first task of the line does not run now; for people ("weir task"). PERMIT_FREE with *ret_why: another reason. */
enum schedule_why {
    SCHEDULE_MAY_RUN,
    SCHEDULE_NO_POOL, /* the pool that it names is not there, or no pool offers the skill and there is no default */
    SCHEDULE_POOL_DISABLED,
    SCHEDULE_POOL_CLOSED,
    SCHEDULE_LIMIT, /* *ret_block says which */
    SCHEDULE_SESSION_TAKEN,
    SCHEDULE_ASIDE,
};
enum schedule_why schedule_why(const struct schedule *s, const struct schedule_line *l,
                               enum permit_block *ret_block);
/* Skills that tasks wait for and nobody offers, with no default pool; each is told once, until it is offered again. NULL: none (more). */
const char *schedule_take_unoffered(struct schedule *s);
/* For metrics: of each tenant that is known. */
struct schedule_share {
    struct slice tenant;
    double weight, had; /* had: seconds over weight */
    size_t ready, running;
};
typedef void (*schedule_share_fn)(void *ctx, const struct schedule_share *share);
void schedule_shares(const struct schedule *s, schedule_share_fn fn, void *ctx);
/*
 * The same in parts of about `some` tenants (>= 1), from *place on, which is moved; 0 is the
 * beginning. Those that are there all the while are told, in no order, and perhaps twice when
 * others have come meanwhile. False: that was the last part.
 */
bool schedule_some_shares(const struct schedule *s, size_t *place, size_t some,
                          schedule_share_fn fn, void *ctx);
/* NULL: all holds; else what does not. O(everything). */
const char *schedule_check(const struct schedule *s);

#endif
