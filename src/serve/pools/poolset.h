/*
 * Pools of the engine out of a configuration's: what each is (core and desk options), where its
 * attempts run (an executor), and what an attempt gets of its task (payload, environment).
 *
 *     poolset_new(&(struct poolset_options){.config = config, .run_dir = "/run/weir", .api = "unix:/run/weir/weir.sock"},
 *               &pools, &err);
 *     poolset_plan(pools, &config->pools.items[i], &plan, &err);
 *     status = engine_tasks_add_pool(tasks, &plan.core, plan.make, plan.desk.ctx, &plan.desk, &err);
 *     if (status != WEIR_OK) poolset_forget(&plan);          // else it is the desk's: freed by ops->gone()
 *     ...
 *     poolset_replan(&plan, other_config_pool);              // for desk_change_pool(), desk_set_limit()
 *     poolset_free(pools);                                   // when every pool is gone
 *
 * The environment of an attempt, of command and process pools:
 *
 *     WEIR_TASK, WEIR_KEY, WEIR_ATTEMPT, WEIR_POOL         of the task, and the number of the attempt, from 1
 *     WEIR_BATCH, WEIR_TENANT, WEIR_SESSION                where the task has one
 *     WEIR_RUNNER, WEIR_TOKEN                              the runner's id, and the bearer token for its heartbeats
 *     WEIR_API                                             where the API listens: unix:PATH, with the whole path, or http://HOST:PORT
 *     WEIR_HEARTBEAT                                       a file to touch (run_dir/beat.ID); commands only
 *     WEIR_DISPATCHER                                      whose it is: the dispatcher's store. Of workers, too
 *     WEIR_SLOT, WEIR_SLOT_PATH                            number and path of the first slot; and of each, by its name:
 *     WEIR_SLOT_GPU, WEIR_SLOT_PATH_GPU                    in capitals, - and . as _
 *
 * A command without slots has the number of its place in WEIR_SLOT, as `weir run` has it. What no
 * attempt gets is what is weir's own: the variables that tokens come from, and systemd's sockets.
 *
 * Threads: poolset_new(), _plan(), _replan(), _set_config(), _token_check() any one; the executor's
 * factory, prepare and discard are called on the engine's.
 */
#ifndef SERVE_POOLS_POOLSET_H
#define SERVE_POOLS_POOLSET_H

#include "core/desk.h"
#include "core/follow.h"
#include "engine/engine.h"
#include "serve/config/config.h"

/* By it whoever comes after a crash finds what has been left running (serve/daemon/left.h). */
#define LEFT_VARIABLE "WEIR_DISPATCHER"

struct poolset;
struct pool_program;

struct poolset_options {
    const struct config *config; /* of slots' paths and tokens' variables; not kept */
    const char *run_dir;         /* for heartbeat files; NULL: none. It exists */
    const char *api;             /* WEIR_API; NULL: not told */
    const char *mark;            /* LEFT_VARIABLE; NULL: not told */
};

WEIR_MUST_CHECK enum weir_status poolset_new(const struct poolset_options *o, struct poolset **ret,
                                             struct weir_error *err);
/* After all pools that were planned are gone. NULL-safe. */
void poolset_free(struct poolset *s);
/* Another configuration: of slots' paths. Attempts that run have the old ones. WEIR_E_NOMEM: nothing has changed. */
WEIR_MUST_CHECK enum weir_status poolset_set_config(struct poolset *s, const struct config *config,
                                                    struct weir_error *err);

struct poolset_plan {
    struct core_pool_options core;
    struct desk_pool_options desk; /* desk.ctx is the program */
    engine_executor_fn make;
    struct pool_program *program;
};

/* All that the plan points to lives as long as the program. WEIR_E_INVALID: the message says "pools[NAME]: ...". */
WEIR_MUST_CHECK enum weir_status poolset_plan(struct poolset *s, const struct config_pool *p,
                                              struct poolset_plan *ret, struct weir_error *err);
/* Of a plan that did not become a pool. */
void poolset_forget(struct poolset_plan *plan);
/*
 * New figures for a pool that is there: plan->core.size and plan->desk are those of `p`, program
 * and executor stay. For what config_diff() calls CONFIG_POOL_CHANGED. The skills in plan->desk are
 * p's: copied by desk_change_pool().
 */
void poolset_replan(struct poolset_plan *plan, const struct config_pool *p);

/*
 * The limit of a pool (desk_set_limit()) whose max_concurrency, or what its follow says, is that:
 * of workers, as many requests as all of them, extra ones included, take at once. The program of a
 * desk pool is its options' ctx.
 */
size_t poolset_limit(const struct pool_program *program, size_t max_concurrency);
/* The other way round: the max_concurrency whose limit that is. */
size_t poolset_max_concurrency(const struct pool_program *program, size_t limit);
/* Of max_concurrency, how many places so many attempts take at least: of workers, those that are needed for them. */
size_t poolset_places(const struct pool_program *program, size_t running);

/*
 * Whose word the limit is: the configuration's, or that of somebody who has set it by hand. What
 * follows something does not while it is set by hand. Once the pool is there, on the engine's
 * thread only.
 */
/* The configuration (again): its max_concurrency, and whether it has the limit follow something. */
void poolset_set_configured(struct pool_program *program, const struct config_pool *p);
size_t poolset_configured(const struct pool_program *program, bool *ret_follows);
void poolset_set_by_hand(struct pool_program *program, bool by_hand);
bool poolset_by_hand(const struct pool_program *program);

/* Appends the token of an attempt: "ID.SECRET". Any thread. */
void poolset_token_put(const struct poolset *s, uint64_t token, struct buf *out);
/* Whether it is that of the attempt. */
bool poolset_token_check(const struct poolset *s, uint64_t token, struct slice given);
/* run_dir/beat.ID; false: there is no run_dir. */
bool poolset_beat_path(const struct poolset *s, uint64_t token, struct buf *out);

/* False: this pool's limit stays. */
bool poolset_follow_options(const struct config_pool *p, struct follow_options *ret);

#endif
