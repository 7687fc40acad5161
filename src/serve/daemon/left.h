/*
 * What a killed predecessor has left running: its commands and workers, and what these have
 * started. The guard of a dead dispatcher (exec/child/guard.h) ends them at once, where there is
 * one; this is for what it could not, or has not yet.
 *
 *     left_sweep(store, &count, ...)   // the store is locked: whoever is marked with it is left by a predecessor
 *     left_end(&runner)                // of what was recorded, before its task is put back
 *
 * The sweep finds all of them, also those of which nothing had been written yet, by the variable
 * that every process of an attempt has in its environment (LEFT_VARIABLE). A process that has left
 * the session of its dispatcher on purpose (setsid) and leads one of its own is left alone, as it
 * is when an attempt ends.
 *
 * What has hidden its environment (another user's, by sudo) is found by its record alone: a process
 * is known by its id and the time of its start, so that one which only has the same id is left
 * alone. It leads a process group, which is killed with it.
 */
#ifndef SERVE_DAEMON_LEFT_H
#define SERVE_DAEMON_LEFT_H

#include "core/ports/registry.h"

/* So long until a killed process is gone. */
#define LEFT_WAIT_NS (5 * NS_PER_S)

enum left_what {
    LEFT_NONE,   /* it is gone, or there was none */
    LEFT_KILLED, /* it ran, and is gone now */
    LEFT_STAYS,  /* it could not be ended in time */
};

enum left_what left_end(const struct registry_runner *r);
/* mark: what LEFT_VARIABLE is in the environment of its processes. *ret_killed: how many were ended. */
enum left_what left_sweep(const char *mark, size_t *ret_killed);

#endif
