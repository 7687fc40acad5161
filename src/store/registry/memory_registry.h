/*
 * The registry in memory: plain, for the simulator, for tests, and as the model that other
 * registries are compared with.
 *
 *     status = memory_registry_new(&registry, err);
 *     registry->ops->apply(registry, chain, err);
 *     registry->ops->close(registry);
 *
 * It keeps everything that core/ports/registry.h promises but that it outlives its process: what
 * apply() said WEIR_OK to is "durable". Any thread may call anything, one at a time holds the
 * others up. A reader's callback may ask for a line, and must not apply anything.
 */
#ifndef STORE_REGISTRY_MEMORY_REGISTRY_H
#define STORE_REGISTRY_MEMORY_REGISTRY_H

#include "core/ports/registry.h"

WEIR_MUST_CHECK enum weir_status memory_registry_new(struct core_registry **ret,
                                                     struct weir_error *err);

/* The next n calls of apply() fail with WEIR_E_IO when all is done but the commit: a disk that is full. */
void memory_registry_fail_next(struct core_registry *r, uint64_t n);

/* Tests only. As if REGISTRY_LINES_MAX were that. */
void memory_registry_limit_lines(struct core_registry *r, uint32_t max);

/* As a new process would find it: nothing that was applied is gone, but what was handed to the engine is forgotten. What ran
 * is told by left_running(). */
void memory_registry_crash(struct core_registry *r);

/* NULL: all that must hold does; else what does not. O(everything); for tests and the simulator. */
const char *memory_registry_check(struct core_registry *r);

#endif
