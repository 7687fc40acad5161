/*
 * The committer: the thread between the engine and a store. It makes results durable in groups:
 * while one transaction is being written, the next group gathers, so the slower the disk, the
 * larger the groups.
 *
 *     committer_new(store, &clock, on_done, ctx, &c, &err)
 *     committer_put(c, task)               // engine's thread; the task is read until on_done names it
 *     committer_attempt(c, task, wait)     // engine's thread; copies
 *     committer_kick(c)                    // once per turn
 *     committer_free(c)                    // after everything that was put is done
 *
 * on_done is called on the committer's thread with a chain of tasks and how it went.
 */
#ifndef ENGINE_COMMITTER_H
#define ENGINE_COMMITTER_H

#include "core/ports/store.h"
#include "core/task.h"

/* Rows in one transaction, at most. */
#define COMMITTER_GROUP_ROWS 1024
/* Records of attempts that wait for the store, at most; beyond it they are dropped and counted. */
#define COMMITTER_ATTEMPTS_MAX 65536

struct committer;

typedef void (*committer_done_fn)(void *ctx, struct core_task *chain, enum weir_status status,
                                  const struct weir_error *err);

/* wall_offset_ns: what to add to an instant to have nanoseconds since the Unix epoch. */
WEIR_MUST_CHECK enum weir_status committer_new(struct core_store *store, int64_t wall_offset_ns,
                                               committer_done_fn on_done, void *ctx,
                                               struct committer **ret, struct weir_error *err);
void committer_put(struct committer *c, struct core_task *task);
void committer_attempt(struct committer *c, const struct core_task *task, duration_ns wait_ns);
void committer_kick(struct committer *c);
/* Records of attempts that were dropped so far. Any thread. */
uint64_t committer_unrecorded(struct committer *c);
/* Writes what is left (attempts), ends the thread. NULL-safe. */
void committer_free(struct committer *c);

#endif
