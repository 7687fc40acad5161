/*
 * An errand: an op of somebody else (a SUBMIT, a CANCEL from the API) and what it means for the
 * desk. The op is theirs again as soon as it is written; what the desk is to do about it is told to
 * the desk later, in the order in which ops were written.
 *
 *     errand_begin(&errand, desk, op, now);      // on the desk's thread, before the op is written, if errand_has_to_begin(op)
 *     ...                                        // it is written, or has failed
 *     errand_keep(&errand, op);                  // op is theirs again; errand.left stands for it
 *     errand_settle(&errand, desk, now);         // on the desk's thread, in its turn
 *
 * A CANCEL ends what runs only when it is written: what is told to its owner is so, whatever
 * happens then; and one that the store does not take has changed nothing. Until then the attempt
 * runs on, and nothing of the task starts (desk_hold()).
 *
 * Pure; of whoever stands between the desk and those who have ops: the engine, and the office of
 * the simulator. One thread at a time. Zeroed is new; from errand_begin() to errand_settle() it
 * stays where it is.
 */
#ifndef CORE_ERRAND_H
#define CORE_ERRAND_H

#include "core/desk.h"

struct errand {
    enum registry_op_kind kind;
    bool holds; /* it has begun: */
    struct desk_hold hold;
    /* What is left of the op, in its place among the desk's own: what it has made ready. err.status is the op's. */
    struct registry_op left;
    int64_t wake_ns; /* the first time that it has set (wall clock); 0: none */
};

/* Whether the op may change what the desk has, a task or a line: it begins before the op is written. */
bool errand_has_to_begin(const struct registry_op *op);
/* What is here of the task must not go on as if nothing had been: it is held. A PURGE keeps the lines that the desk still has. */
void errand_begin(struct errand *e, struct desk *d, struct registry_op *op, struct instant now);
/*
 * Takes from a written (or failed) op what is the desk's: op->ret_ready and ret_lines, lines that
 * are gone, due times. Any thread.
 */
void errand_keep(struct errand *e, struct registry_op *op);
/* Tells the desk: first of what it had of the task, then what it is handed. An attempt is ended by a CANCEL. e->left is used up. */
void errand_settle(struct errand *e, struct desk *d, struct instant now);
/* Without a desk: lets go of what an op (e->left) has made ready. The registry has it all. */
void errand_drop(struct registry_op *left);

#endif
