/*
 * The clerk: the thread that writes the registry. It gathers ops in the order in which they come
 * and has them applied in groups: while one transaction is being written, the next group gathers,
 * so the slower the disk, the larger the groups.
 *
 *     clerk_new(registry, &options, &c, &err)
 *     clerk_send(c, op)            // any thread; options.done() has it back on the clerk's thread, when it is durable or has failed
 *     clerk_free(c)                // after everything that was sent is done
 *
 * An op of the engine (START, END, WAKE, TELL, ...: what has happened, and must be recorded) is
 * tried until the store takes it; what it would have told is meanwhile in the spill file, if there
 * is one, so that it outlives a crash: the next start takes in what the store has not got (once;
 * but twice what was written behind one that was given up on). An op of a user (SUBMIT, CANCEL,
 * ...) fails with the store's error: nothing was accepted, but the pieces before of one that is done
 * in pieces (registry_go_on()), between which the clerk writes what has come meanwhile.
 */
#ifndef ENGINE_CLERK_H
#define ENGINE_CLERK_H

#include "core/ports/registry.h"

/* Ops in one transaction, at most, by their weight (clerk_weight()); one that is heavier goes alone. */
#define CLERK_GROUP_OPS 4096
/* A TAKE weighs one op more for so many tasks that it may read: that takes some 0.1 s in a whole group, as its other ops do. */
#define CLERK_TASKS_READ_PER_OP 16
/* Between two tries of what must be recorded: at first, and at most. */
#define CLERK_RETRY_MIN_NS (50 * NS_PER_MS)
#define CLERK_RETRY_MAX_NS (2 * NS_PER_S)
/* A transaction that has taken so long is told as a failure while it lasts: its disk may never come back. */
#define CLERK_SLOW_NS (5 * NS_PER_S)

struct clerk;

struct clerk_options {
    const char *spill_path; /* NULL: none */
    duration_ns slow_ns;    /* 0: CLERK_SLOW_NS */
    /* A group is durable: the number of the last event. On the clerk's thread, before done(). May be NULL. */
    void (*committed)(void *ctx, uint64_t last_event);
    /* Ops that are durable, or have failed (op->err), in their order (through next): the owner's again. On the clerk's thread. */
    void (*done)(void *ctx, struct registry_op *chain);
    void *ctx;
};

struct clerk_stats {
    uint64_t groups, ops, failures; /* failures: of transactions */
    uint64_t events_spilled;        /* written to the spill file and synced, since the start */
    uint64_t
        events_at_risk; /* the store failed to take them, and so did the spill file: only in memory, or lost by giving up */
    uint64_t
        results_lost; /* ENDs that were given up on: their tasks run again after the next start */
    duration_ns commit_ns, commit_ns_max; /* spent in apply(), in all, and the longest */
    uint64_t commit_buckets[16];          /* how many took at most 2^i * 64 us; the last: longer */
    uint64_t waiting;                     /* ops that are not durable yet */
    bool
        failing; /* the last try or look failed, or what is under way takes too long: message says why */
    char message[WEIR_ERROR_MESSAGE_BYTES];
};

/* Whether it is tried until the store takes it; else it may be refused. */
bool clerk_must_write(const struct registry_op *op);
/* How much of a transaction it is: a SUBMIT, and a piece of a CANCEL, count as many as they have tasks; a look at all lines is no part of one, and goes alone. */
size_t clerk_weight(const struct registry_op *op);

WEIR_MUST_CHECK enum weir_status clerk_new(struct core_registry *r, const struct clerk_options *o,
                                           struct clerk **ret, struct weir_error *err);
void clerk_send(struct clerk *c, struct registry_op *op);
void clerk_get_stats(struct clerk *c, struct clerk_stats *ret);
/* Whether the last transaction or look failed, or the one under way takes too long. Any thread; cheap. */
bool clerk_is_failing(struct clerk *c);
/* Looks whether the registry is still there, which nobody sees while nothing is written. One thread at a time. */
void clerk_look(struct clerk *c);
/* Gives up on what the store does not take: those ops fail. For a shutdown. */
void clerk_give_up(struct clerk *c);
/* Writes what was sent; after CLERK_CLOSE_NS it gives up on what the store does not take. NULL-safe. */
#define CLERK_CLOSE_NS (10 * NS_PER_S)
void clerk_free(struct clerk *c);

#endif
