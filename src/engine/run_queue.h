/*
 * A queue of tasks on their way between two threads, as runs (core/run.c): a task by itself is a
 * run of one, and rows that may go together join the run before them.
 *
 *     run_queue_add_row(&staged, task);            // whoever adds
 *     all = run_queue_take(&staged);               // whoever takes all of them: all.first, through next
 *     runs = run_queue_take_rows(&results, 128);   // whoever takes some
 *     chain = run_queue_spread(runs);              // as tasks, each with all that is known of it
 *
 * Zeroed, it is empty. It owns nothing and locks nothing.
 */
#ifndef ENGINE_RUN_QUEUE_H
#define ENGINE_RUN_QUEUE_H

#include "core/task.h"

struct run_queue {
    struct core_run *first; /* NULL: it is empty, and `last` means nothing */
    struct core_run *last;
};

/* A run; its `rows`, `last` and `single` are set. */
void run_queue_add(struct run_queue *q, struct core_run *r);
/* A task that goes by itself. */
void run_queue_add_single(struct run_queue *q, struct core_task *t);
/* A task that may go in a run: it joins the last one if it follows it and there is room, else it begins another. */
void run_queue_add_row(struct run_queue *q, struct core_task *t);
/* Takes all. */
struct run_queue run_queue_take(struct run_queue *q);
/* Puts all of another queue behind; that one is empty then. */
void run_queue_join(struct run_queue *q, struct run_queue *behind);
/* Takes runs of at most so many rows together, one run at least; the queue is not empty. */
struct core_run *run_queue_take_rows(struct run_queue *q, uint64_t rows);
/* From delivered runs (through next) to a chain of tasks, each with all that is known of it. */
struct core_task *run_queue_spread(struct core_run *r);

#endif
