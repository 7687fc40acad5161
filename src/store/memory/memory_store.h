/*
 * A store that remembers in memory: for the simulator, and for batches that need no journal.
 *
 *     status = memory_store_new(&store, err);
 *     store->ops->put(store, rows, n, attempts, m, err);
 *     store->ops->close(store);
 *
 * What a put or mark returned OK for is "durable": to simulate a crash, drop everything but the
 * store and go on with it. Any thread may call it; the opener closes it, once, when no other call
 * runs.
 */
#ifndef STORE_MEMORY_MEMORY_STORE_H
#define STORE_MEMORY_MEMORY_STORE_H

#include "core/ports/store.h"

WEIR_MUST_CHECK enum weir_status memory_store_new(struct core_store **ret, struct weir_error *err);

/* The n-th put (mark) from now fails with WEIR_E_IO, and changes nothing; 1 is the next, 0 disarms.
 * Only that one fails. */
void memory_store_fail_put_at(struct core_store *s, uint64_t n);
void memory_store_fail_mark_at(struct core_store *s, uint64_t n);

/* The recorded attempts, in the order in which they were put. Belongs to the store and is valid
 * until the next call that changes it; for tests and the simulator. */
const struct store_attempt *memory_store_attempts(struct core_store *s, size_t *ret_count);

#endif
