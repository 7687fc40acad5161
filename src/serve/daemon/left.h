/*
 * What a killed predecessor has left running: its commands and workers. The guard of a dead dispatcher (exec/child/guard.h) ends
 * them at once, where there is one; this is for what it could not.
 *
 *     left_end(&runner)     // before its task is put back
 *
 * A process is known by its id and the time of its start, both as they were recorded, so that one which only has the same
 * id is left alone. It leads a process group, which is killed with it.
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

#endif
