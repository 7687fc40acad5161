/*
 * What follows from what: a task's next state, its event, and what becomes of those that depend on
 * it. For the ops of the SQLite registry. Each function writes the row; a status other than WEIR_OK
 * ends the transaction.
 */
#ifndef STORE_REGISTRY_SQLITE_MOVES_H
#define STORE_REGISTRY_SQLITE_MOVES_H

#include "store/registry/sqlite_inside.h"

/* An event about the task, of no attempt; a duration below 0 is none. detail may be NULL. */
enum weir_status move_tell(struct sqlite_registry *r, struct task_row *row,
                           enum registry_event_kind kind, int64_t at_ns, int64_t took_ns,
                           const struct buf *detail, struct weir_error *err);
/* A new rank; task.ready; handed over. */
enum weir_status move_ready(struct sqlite_registry *r, struct task_row *row, int64_t at_ns,
                            struct weir_error *err);
/* BLOCKED without dependencies that are not met: SCHEDULED or READY. */
enum weir_status move_unblock(struct sqlite_registry *r, struct task_row *row, int64_t at_ns,
                              struct weir_error *err);
/* Ends one that does not run, and what follows. */
enum weir_status move_fail(struct sqlite_registry *r, struct task_row *row,
                           enum weir_outcome outcome, enum weir_reason reason, struct slice message,
                           int64_t at_ns, struct weir_error *err);
/* The same, because of a task that it depends on. */
enum weir_status move_fail_behind(struct sqlite_registry *r, struct task_row *row, uint64_t on,
                                  int64_t at_ns, struct weir_error *err);
enum weir_status move_cancel(struct sqlite_registry *r, struct task_row *row, int64_t at_ns,
                             struct weir_error *err);
/* It is DONE or FAILED: what follows for those that depend on it. */
enum weir_status move_spread(struct sqlite_registry *r, const struct task_row *row, int64_t at_ns,
                             struct weir_error *err);
/* It goes with all that belongs to it; its last event is written. */
enum weir_status move_remove(struct sqlite_registry *r, struct task_row *row,
                             struct weir_error *err);
/* Its words, as numbers of names. */
enum weir_status move_outcome(struct sqlite_registry *r, struct task_run *run,
                              enum weir_outcome outcome, enum weir_reason reason,
                              struct weir_error *err);
/* Ids that a statement gives (its first column), which may then be changed: the caller frees them. */
struct id_list {
    uint64_t *ids;
    size_t count, cap;
};
bool id_list_add(struct id_list *l, uint64_t id);
/* Steps the statement, whose parameters are bound, to its end or up to max ids (0: all), and resets it. */
enum weir_status id_list_read(struct sqlite_registry *r, sqlite3_stmt *stmt, size_t max,
                              struct id_list *l, const char *doing, struct weir_error *err);
void id_list_free(struct id_list *l);
#define _cleanup_ids_ __attribute__((cleanup(id_list_free)))

/* When its next attempt may be. */
static inline int64_t row_not_before(const struct task_row *row)
{
    return row->run.wake_ns ? row->run.wake_ns : row->opts.not_before_ns;
}

#endif
