/*
 * Executor of kind "process": long-lived worker processes that are spoken to in frames over their
 * standard input and output (docs/worker-protocol.md). An attempt is one request; its answer is the
 * response's `result`.
 *
 *     process_options_init(&o);
 *     o.argv = (char *const[]){"python3", "my_worker.py", NULL};
 *     status = process_executor_new(&o, loop, host, &ex, err);
 *     ... attempt->payload = &(struct process_request){.command = "process", .args = SLICE("[1, 2]")} ...
 *
 * core_attempt.env is in the request. The host is told which process an attempt is with (began),
 * and of heartbeats that the worker sends of it (beat).
 *
 * Which worker an attempt goes to, and everything about workers' lives, is the crew's
 * (core/worker/crew.h); this is its edge: it starts processes (exec/child), moves bytes without
 * ever waiting, and tells the crew what happened. Reads and writes never wait for each other: a
 * worker that does not read delays nobody but itself.
 *
 * Pipes, not sockets: a program may open /dev/stdout again, as shells and awk do, which a socket
 * refuses; and a round trip of a short message through pipes costs half of one through a pair of
 * sockets (bench/workers_loop.c).
 *
 * What a worker had not begun is told apart: bytes of a request that still lie in its pipe when it
 * goes were read by nobody, so that the attempt comes back with `not_begun`. A worker that takes no
 * more, or whose output has ended, is killed and replaced; how it ended, and the last line of its
 * standard error, are in the message of what it had begun.
 *
 * Owner: options are copied. A request belongs to the caller and stays as it is until its attempt
 * is reported. Threads: everything on the loop's thread, which must be the one that makes the
 * executor: SIGPIPE is blocked there from then on, and workers are killed when that thread ends
 * (exec/child/child.h). After close() the workers are ended in good order and the executor frees
 * itself when the last is gone.
 */
#ifndef EXEC_PROCESS_PROCESS_H
#define EXEC_PROCESS_PROCESS_H

#include "base/slice.h"
#include "core/ports/executor.h"
#include "core/worker/crew.h"

#include <uv.h>

/* A frame of more bytes, in either direction, is an error (I8). */
#define PROCESS_FRAME_BYTES_DEFAULT (UINT64_C(64) << 20)
#define PROCESS_FRAME_BYTES_MIN     1024 /* below, weir's own commands have no room */
/* A line of a worker's standard error is told in pieces of at most so many bytes. */
#define PROCESS_LINE_BYTES_MAX 4096

struct process_options {
    char *const *argv; /* the program and its words; NULL at the end. Found by PATH */
    /*
     * Words before those, a NULL at the end: {"ssh", "host"}, {"docker", "exec", "-i", "box"};
     * NULL: none. What weir starts and ends is then the wrapper, which must pass on both streams,
     * and end when they do.
     */
    const char *const *wrapper;
    bool
        wrapper_shell; /* it gives the words behind its own to a shell, as ssh does: they are quoted for one */
    char *const *env; /* additions, "NAME=value"; NULL: none */
    const char *dir;  /* where it starts; NULL: here */
    uint64_t frame_max_bytes;
    struct crew_options crew;
};

struct process_request {
    const char *command; /* NULL: "process" */
    struct slice args;   /* JSON that json_check() has passed; empty: null */
};

/* What workers have said of requests that they had in hand, and of others; since the executor was made. */
struct process_counters {
    uint64_t heartbeats;
    uint64_t stray_heartbeats; /* of requests that they did not have in hand: ignored */
};
struct process_counters process_executor_counters(const struct core_executor *ex);

void process_options_init(struct process_options *o);
WEIR_MUST_CHECK enum weir_status process_executor_new(const struct process_options *o,
                                                      uv_loop_t *loop,
                                                      struct core_executor_host *host,
                                                      struct core_executor **ret,
                                                      struct weir_error *err);

#endif
