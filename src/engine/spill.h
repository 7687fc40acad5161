/*
 * The spill file: what the registry could not be told, so that it outlives a crash.
 *
 *     spill_import(path, registry, &count, &err)   // at a start: what a predecessor could not say; empties it
 *     spill_new(path, &s, &err)
 *     spill_write(s, op)               // an op that the store did not take: its event, as a line
 *     spill_sync(s)                    // from here on it is safe; if that fails, it has not been written
 *     spill_mark(spill_id(s), n, &mark)   // the transaction that writes the first n of them to the registry says so
 *     spill_clear(s)                   // the store has taken all of it after all
 *
 * The first line is {"spill":"ID"}, another ID each time that the file begins anew; then one JSON
 * object on each line: at_ns, kind, task, attempt, pool, worker, slot, duration_ns, detail. A last
 * line without an end is one that was being written in a crash, and is left out.
 *
 * An event gets into the registry once, whenever a dispatcher is killed: a fact of the registry
 * (SPILL_FACT) says how many events of the file with that ID are in it, counted from the first one,
 * and is written in the same transaction as they are. So they must be written in the order of the
 * file. One thread.
 */
#ifndef ENGINE_SPILL_H
#define ENGINE_SPILL_H

#include "core/ports/registry.h"

struct spill;

/* The fact's name; its value is {"spill":"ID","events":N}. */
#define SPILL_FACT "spill.imported"
/* Events in one transaction of spill_import(). */
#define SPILL_IMPORT_OPS 1000
#define SPILL_ID_BYTES   17

/* Makes the file, or opens an empty one. WEIR_E_CONFLICT: there is something in it, which spill_import() takes in. */
WEIR_MUST_CHECK enum weir_status spill_new(const char *path, struct spill **ret,
                                           struct weir_error *err);
/* Whether an op has an event to be written: START, END of an attempt, TELL. */
bool spill_tells(const struct registry_op *op);
/* False: it could not be written, and is not in the file (the reason is in err). Nothing is written of an op that tells nothing. */
bool spill_write(struct spill *s, const struct registry_op *op, struct weir_error *err);
/*
 * Has all that was written on the disk. False: what was written since the last sync counts as not
 * written. It is not in the file any more either, unless it could not be taken away: then it is
 * doubtful.
 */
bool spill_sync(struct spill *s, struct weir_error *err);
/* Nothing in it is needed any more. If it cannot be emptied, the next call tries again; with what is doubtful, spill_write() does, too. */
void spill_clear(struct spill *s);
bool spill_is_empty(const struct spill *s);
/*
 * How many events are in the file, doubtful ones included: those are its last ones. A start takes
 * them in if they are on the disk, so marks count them, too, when the store has taken them after
 * all. While there are any, spill_write() first takes them away, or writes nothing.
 */
uint64_t spill_events(const struct spill *s);
uint64_t spill_doubtful(const struct spill *s);
/* Of what is in it. */
const char *spill_id(const struct spill *s);

/* An op (REGISTRY_SET) that says that the first `events` of the file with that id are in the registry. */
struct spill_mark {
    struct registry_op op; /* points into value */
    char value[80];
};
void spill_mark(const char *id, uint64_t events, struct spill_mark *ret);

/* Calls fn with each event; false: enough. A file that is not there is empty. WEIR_E_FORMAT: a line that is none; the message has its number.
 * WEIR_E_INVALID: a device, a folder. */
WEIR_MUST_CHECK enum weir_status spill_read(const char *path,
                                            bool (*fn)(void *ctx, const struct registry_event *e),
                                            void *ctx, struct weir_error *err);
/*
 * Writes to the registry those events of the file that are not in it yet, and empties the file.
 * After an error it may be called again: it goes on where it was. Errors: as spill_read() and the
 * registry's apply(); WEIR_E_IO: the file could not be emptied. *ret_count: events that this call
 * has written, after an error too.
 */
WEIR_MUST_CHECK enum weir_status spill_import(const char *path, struct core_registry *registry,
                                              uint64_t *ret_count, struct weir_error *err);
/* NULL-safe. */
void spill_free(struct spill *s);

#endif
