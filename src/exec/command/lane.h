/*
 * The executor's own structures: the executor, and its lanes, the threads that run commands. Inside
 * exec/command only.
 *
 * Starting a program holds up the thread that does it until the program is loaded (vfork), a third
 * of what /bin/true takes in all. On the engine's thread that would leave a processor idle. So
 * there are as many threads as processors, and each does everything for its commands: starts them,
 * reads and writes their pipes, reaps and reports them. A lane may have any number of commands; it
 * waits for all of them in one place (epoll).
 *
 *     start() ─► staged ─► kick() ─► queued ─► a lane takes it, starts it, sees its end ─► report() ─► free
 *
 * Everything that two threads touch is under the executor's lock, which is held for some
 * instructions only. A child dies with the thread that started it (exec/child), which is why lanes
 * live until close().
 */
#ifndef EXEC_COMMAND_LANE_H
#define EXEC_COMMAND_LANE_H

#include "exec/command/slot.h"

#include <pthread.h>

/* More lanes than this serve nobody, however many processors there are. */
#define LANES_MAX 16

struct command_executor;

struct lane {
    struct command_executor *executor;
    pthread_t thread;
    int epoll_fd;
    int wake_fd; /* an eventfd: there is work, a cancel, or the end */

    /* under the executor's lock */
    bool asleep;         /* it waits, or is about to: it must be woken */
    size_t running;      /* slots it has taken */
    struct list cancels; /* of these, those that are to be ended and do not know it yet */

    /* the lane's thread only */
    struct list unwatched;  /* those whose pipes are not watched yet, in the order of their start */
    struct list ending;     /* those in their term sequence */
    struct list beating;    /* those that have a heartbeat file; without any nobody looks */
    struct instant look_at; /* when these files are looked at next */
    struct command_slot *ended; /* those whose process has gone, to be reported */
    struct command_slot **ended_tail;
    size_t ended_count;
    struct instant report_at; /* these, at the latest */
    char scratch[CAPTURE_SCRATCH_BYTES];
};

struct command_executor {
    struct core_executor base;
    struct core_executor_host *host;
    bool (*prepare)(void *ctx, const struct core_attempt *attempt, unsigned place,
                    struct command_launch *launch, struct core_answer *answer);
    void *ctx;
    struct slot_shared shared;
    char *spill_dir;
    struct child_guard *guard;
    struct lane *lanes;
    size_t lanes_count;
    size_t places;
    bool ahead;
    duration_ns look_ns; /* between two looks at heartbeat files */

    pthread_mutex_t lock; /* of what follows */
    struct list staged, queue;
    size_t queued;
    size_t running; /* processes; no more than places, but when these were made fewer */
    struct command_slot *free;
    uint64_t *taken; /* a bit for each place */
    size_t taken_words;
    size_t taken_from; /* words below this are full */
    bool closing;
};

/* Its thread runs when this returns. */
WEIR_MUST_CHECK enum weir_status lane_start(struct lane *lane, struct command_executor *executor,
                                            struct weir_error *err);
/* It must be awake to see that the executor is closing. */
void lane_join(struct lane *lane);
/* Under the lock: whether the lane must be woken, which the caller then does when it has given the lock back. */
bool lane_rouse(struct lane *lane);
void lane_wake(struct lane *lane);
/* Under the lock. The lowest place that is free; false: no memory. */
bool command_take_place(struct command_executor *ex, struct command_slot *slot);
void command_give_place(struct command_executor *ex, struct command_slot *slot);
/* Under the lock: the slot has nothing to do with its attempt any more. */
void command_slot_done(struct command_executor *ex, struct command_slot *slot);

#endif
