/*
 * STARTs that are written with their ENDs: when both are in one group of ops, the task is changed
 * once in place of twice.
 *
 *     folded = fold_starts(&group, &tail, &groups);    // before the group is applied
 *     ...                                              // applied: `folded` is done with it
 *     unfold_starts(&group);                           // or not: they are back in it, each before its END
 *
 * Not past an op of somebody else about a task, nor past a WAKE, which fails what is late: these
 * must find the task running. Nor one that is in the spill file, whose events are counted in their
 * order.
 *
 * Pure; of whoever has the ops: the clerk, and the one of the simulator.
 */
#ifndef CORE_FOLD_H
#define CORE_FOLD_H

#include "core/ports/registry.h"

/*
 * Takes those STARTs out of the chain, and returns them as one. *ret_tail: where the next op of the
 * chain goes. *groups counts what has been between two ops that nothing is folded past; it only
 * grows, and is the caller's to keep.
 */
struct registry_op *fold_starts(struct registry_op **chain, struct registry_op ***ret_tail,
                                uint64_t *groups);
/* An END of an earlier attempt may come before both. */
void unfold_starts(struct registry_op **chain);

#endif
