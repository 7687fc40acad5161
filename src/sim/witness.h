/*
 * The witness: watches a world from outside and says what went wrong in it.
 *
 *     sim_witness_new(global_limit, &w, &err)           // sim_witness_observer(w) is for the world
 *     sim_witness_add_pool(w, &pool, &err)              // each, as the world's are added
 *     sim_witness_expect(w, &batch, &err)               // before each sim_world_open()
 *     sim_witness_take(w, number, task, now)            // from the sink, sim_witness_durable() from the store
 *     sim_witness_step(w, world)                        // after each step; false: see sim_witness_wrong()
 *     sim_witness_over(w, number, &stats, cut_short)    // of each batch, and sim_witness_pool_over() of each pool
 *
 * It keeps books of its own from the events and from what edges see, and shares no code with the
 * dispatcher. What it checks: the invariants of dispatcher_check(); never more attempts than a
 * limit; the spacing, the rate and the budgets in every window, from an exact log (P3); order,
 * exactly once, and only what is durable (P2, I3); that capacity uses up no attempt (P4); that what
 * waits holds no permit, and that nothing waits beside a free one for no reason (P5); deadlines and
 * waits; what workers and breakers allow (watch.h), and who goes to which fallback pool; and that
 * events, results and counters tell one story (P7). A hash over all events says whether two runs
 * were the same (I7). One thread.
 */
#ifndef SIM_WITNESS_H
#define SIM_WITNESS_H

#include "sim/world.h"

struct sim_witness_row {
    duration_ns deadline_ns; /* as in core_task */
    int64_t tokens;
};

struct sim_witness_batch {
    size_t pool;                       /* number of its pool */
    uint64_t rows;                     /* that there are */
    const struct sim_witness_row *row; /* of each; the caller's */
    bool durable;
    duration_ns deadline_ns; /* of the batch; 0: none */
    bool unordered;
    bool bounded; /* it has output_bytes: its rows may have to wait for its outputs to be taken */
};

struct sim_witness_pool {
    const struct core_pool_options *options;
    const struct core_pool *pool;
    bool cancels_at_once;
    uint32_t worker_in_flight; /* of each worker of the pool; 0: it has none */
    size_t fallback;           /* the number of its fallback pool, and 1 more; 0: it has none */
};

struct sim_witness;

#define SIM_WITNESS_POOLS   8
#define SIM_WITNESS_BATCHES 16

WEIR_MUST_CHECK enum weir_status sim_witness_new(size_t global_limit, struct sim_witness **ret,
                                                 struct weir_error *err);
void sim_witness_free(struct sim_witness *w);
struct core_observer *sim_witness_observer(struct sim_witness *w);

/* Pools are numbered as they are added. Events name them, so each needs a name of its own. */
WEIR_MUST_CHECK enum weir_status sim_witness_add_pool(struct sim_witness *w,
                                                      const struct sim_witness_pool *p,
                                                      struct weir_error *err);
/* The batch that is opened next. When opening it failed: sim_witness_expect(w, NULL, NULL). */
WEIR_MUST_CHECK enum weir_status sim_witness_expect(struct sim_witness *w,
                                                    const struct sim_witness_batch *b,
                                                    struct weir_error *err);
void sim_witness_durable(struct sim_witness *w, uint64_t batch, uint64_t index);
void sim_witness_take(struct sim_witness *w, uint64_t batch, const struct core_task *t,
                      struct instant now);
/* The batch is being stopped, or its put has just failed: from now on no row of it may start. */
void sim_witness_stopped(struct sim_witness *w, uint64_t batch);
/* All batches are shut down: from now on no row is accepted, started, tried again, or left waiting (P8). */
void sim_witness_shut_down(struct sim_witness *w);
bool sim_witness_step(struct sim_witness *w, const struct sim_world *world);
/* stats: of the batch that is over. cut_short: it was stopped, or its store failed: rows may be missing. */
void sim_witness_over(struct sim_witness *w, uint64_t batch, const struct core_stats *stats,
                      bool cut_short);
/* The world was shut down and has ended: no worker of the pool may be left. */
void sim_witness_workers_over(struct sim_witness *w, size_t pool);
void sim_witness_pool_over(struct sim_witness *w, size_t pool, const struct core_stats *stats);

/* NULL: nothing so far. */
const char *sim_witness_wrong(const struct sim_witness *w);
uint64_t sim_witness_hash(const struct sim_witness *w);
uint64_t sim_witness_events(const struct sim_witness *w);
/* Attempts that were taken back, for they had not begun. */
uint64_t sim_witness_taken_back(const struct sim_witness *w);
/* Rows that have been accepted so far, of one batch. */
uint64_t sim_witness_accepted(const struct sim_witness *w, uint64_t batch);

#endif
