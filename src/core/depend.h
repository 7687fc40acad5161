/*
 * Dependencies that go round in a circle.
 *
 *     status = depend_check(specs, count, &err);      // tasks that are submitted together
 *
 * Tasks that come can only close a circle among themselves: whatever else they depend on was there
 * before them, and depends on none of them. Pure.
 */
#ifndef CORE_DEPEND_H
#define CORE_DEPEND_H

#include "core/ports/registry.h"

/*
 * WEIR_E_CONFLICT: the siblings of one submission wait for each other; the message tells the
 * circle, by their keys or, where there is none, their places ("a -> #3 -> a": a waits for the one
 * at place 3, and that for a). Every `sibling` is below count (asserted). O(tasks + dependencies),
 * without recursion; memory (WEIR_E_NOMEM) only when one depends on a sibling that is not before
 * it.
 */
WEIR_MUST_CHECK enum weir_status depend_check(const struct registry_spec *specs, size_t count,
                                              struct weir_error *err);

/* What stands for the i-th task of a circle; `room` is there to be written in. */
#define DEPEND_NAME_BYTES 32
typedef struct slice (*depend_name_fn)(void *ctx, size_t i, char room[DEPEND_NAME_BYTES]);

/* WEIR_E_CONFLICT, with the circle of `count` tasks, each waiting for the next, in the message; the middle of a long one is
 * left out. */
enum weir_status depend_refuse(size_t count, depend_name_fn name, void *ctx,
                               struct weir_error *err);

#endif
