/*
 * What every registry says alike: what it refuses of a submission before it looks at its tasks, and
 * the words and details of its events.
 *
 *     status = rules_check_submit(&op->submit, &op->err);
 *     rules_detail_failed(&detail, reason, message);      // appends a JSON object
 *
 * Pure. A buf that ran out of memory says so itself (buf.failed).
 */
#ifndef STORE_REGISTRY_RULES_H
#define STORE_REGISTRY_RULES_H

#include "core/ports/registry.h"

/* Counts, ranges, lengths, places of siblings, and circles among them. The message names the task by its place. */
WEIR_MUST_CHECK enum weir_status rules_check_submit(const struct registry_submit *s,
                                                    struct weir_error *err);
/* The same for EDIT: its priority, and how many dependencies there are. */
WEIR_MUST_CHECK enum weir_status rules_check_edit(const struct registry_edit *e,
                                                  struct weir_error *err);

static inline bool rules_ended(enum registry_state s)
{
    return s == REGISTRY_DONE || s == REGISTRY_FAILED || s == REGISTRY_CANCELLED;
}

static inline bool rules_waiting(enum registry_state s)
{
    return s == REGISTRY_BLOCKED || s == REGISTRY_SCHEDULED || s == REGISTRY_READY;
}

/* What an attempt leaves its task: where somebody has cancelled that meanwhile, no more attempts. */
static inline enum registry_state rules_next(enum registry_state next, bool cancelling)
{
    return cancelling && !rules_ended(next) ? REGISTRY_CANCELLED : next;
}

/* runner.completed for ok, and so on. */
enum registry_event_kind rules_runner_event(enum weir_outcome outcome);
/* Of an attempt that was not lost: put_back() charges no death where the record has such an event of the attempt. */
bool rules_is_end(enum registry_event_kind kind);

/* Details of events; what is none is left out, and a detail without anything is empty. */
/* slots: names, as of the task's line. */
void rules_detail_started(struct buf *out, const struct registry_runner *r, struct slice slots);
/* Of runner.*; of an ok one: nothing. */
void rules_detail_runner(struct buf *out, enum weir_outcome outcome, enum weir_reason reason,
                         int status, struct slice message);
void rules_detail_late(struct buf *out, enum weir_outcome outcome);
/* Of task.failed. */
void rules_detail_failed(struct buf *out, enum weir_reason reason, struct slice message);
void rules_detail_edit(struct buf *out, const struct registry_edit *e);
/* why: "cancelled", "failed", "gone", "blocked". */
void rules_detail_stuck(struct buf *out, uint64_t waits_for, const char *why);
void rules_detail_batch(struct buf *out, const struct registry_batch *b);

/* Of task.changed, of one that is cancelled while it runs. */
#define RULES_CANCEL "{\"cancel\":true}"

/* Messages of tasks that end without an attempt of their own. */
void rules_say_dependency(struct buf *out, uint64_t id, struct slice key);
#define RULES_DEADLINE        "its deadline has passed before it was started"
#define RULES_NOT_READY       "task %" PRIu64 " is not ready: it does not end without an attempt"
#define RULES_DISPATCHER_LOST "the dispatcher ended while it ran"
#define RULES_QUARANTINED                                                                          \
    "it has taken too many workers or dispatchers with it; it is tried again only by hand"

#endif
