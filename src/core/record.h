/*
 * From a task to what a store keeps of it (core/ports/store.h), and back.
 *
 *     record_row(task, offset, &row);          // the slices point into the task
 *     record_restore(&row, offset, task);      // a later run has the result again
 *
 * offset: what to add to an instant to have nanoseconds since the Unix epoch. Pure; used by
 * whatever joins the dispatcher and a store.
 */
#ifndef CORE_RECORD_H
#define CORE_RECORD_H

#include "core/ports/store.h"
#include "core/task.h"

/* Nanoseconds since the Unix epoch; 0 for an instant that did not come. */
int64_t record_wall_ns(struct instant t, int64_t offset_ns);
/* The instant of a wall-clock time; INSTANT_NONE for 0. */
struct instant record_instant(int64_t wall_ns, int64_t offset_ns);

/* A task that has its result. */
void record_row(const struct core_task *t, int64_t offset_ns, struct store_row *ret);
/* The attempt that has just ended and that is followed by another. message points into the task. */
void record_attempt(const struct core_task *t, int64_t offset_ns, duration_ns wait_ns,
                    struct store_attempt *ret);
/*
 * Gives a task that is about to be submitted the result of an earlier run: its answer (copied), its
 * record, and finished_before. False: no memory; the task is as before but for its answer, which is
 * empty.
 */
WEIR_MUST_CHECK bool record_restore(const struct store_row *row, int64_t offset_ns,
                                    struct core_task *t);

#endif
