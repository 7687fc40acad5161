/*
 * The spill file: what the registry could not be told, so that it outlives a crash.
 *
 *     spill_new(path, &s, &err)
 *     spill_write(s, op)               // an op that the store did not take: its event, as a line; then spill_sync(s)
 *     spill_clear(s)                   // the store has taken all of it after all
 *     spill_read(path, fn, ctx, &err)  // at a start: what a predecessor could not say
 *
 * One JSON object on each line: at_ns, kind, task, attempt, pool, worker, slot, duration_ns, detail. A last line without an end is
 * one that was being written in a crash, and is left out. One thread.
 */
#ifndef ENGINE_SPILL_H
#define ENGINE_SPILL_H

#include "core/ports/registry.h"

struct spill;

/* Opens (or makes) the file; what is in it stays, in front of what is written. */
WEIR_MUST_CHECK enum weir_status spill_new(const char *path, struct spill **ret,
                                           struct weir_error *err);
/* False: it could not be written (the reason is in err). An op that tells nothing is written at once. */
bool spill_write(struct spill *s, const struct registry_op *op, struct weir_error *err);
bool spill_sync(struct spill *s, struct weir_error *err);
void spill_clear(struct spill *s);
bool spill_is_empty(const struct spill *s);
/* Calls fn with each event; false: enough. A file that is not there is empty. WEIR_E_FORMAT: a line that is none; the message has its number. */
WEIR_MUST_CHECK enum weir_status spill_read(const char *path,
                                            bool (*fn)(void *ctx, const struct registry_event *e),
                                            void *ctx, struct weir_error *err);
/* NULL-safe. */
void spill_free(struct spill *s);

#endif
