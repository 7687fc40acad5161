/*
 * Executor of kind "thread": attempts are calls of a C function on a pool of threads.
 *
 * Threads are started as they are needed, up to the pool's size, and stay; when that becomes less
 * (resize), those that are too many end when they have nothing to do, and a callback that is under
 * way goes on. Rows of very short work come in runs (core/run.c), which a thread does one row after
 * the other. A callback cannot be ended from outside: cancel() takes back an attempt that no thread
 * has begun, and otherwise only sets its flag, which the callback may look at. A callback that ends
 * its thread (pthread_exit) costs its own row and no other.
 */
#ifndef EXEC_THREAD_THREAD_H
#define EXEC_THREAD_THREAD_H

#include "core/ports/executor.h"

/*
 * Does the work of one attempt and fills in a->answer (outcome, output, message, ...; times are set
 * by the executor). Called on one of the pool's threads, on several at once. An answer that is left
 * as it came is the outcome "lost", reason no_outcome.
 */
typedef void (*thread_work_fn)(void *ctx, struct core_attempt *a);

struct thread_options {
    size_t threads; /* >= 1; the pool's size */
    thread_work_fn work;
    void *ctx;
};

WEIR_MUST_CHECK enum weir_status thread_executor_new(const struct thread_options *o,
                                                     struct core_executor_host *host,
                                                     struct core_executor **ret,
                                                     struct weir_error *err);

#endif
