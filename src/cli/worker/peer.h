/*
 * A worker under test, from weir's side of its pipes: starts it, sends it requests, takes its answers with a deadline.
 *
 *     talk_peer_init(&p, guard, argv);
 *     status = talk_peer_start(&p, &err);
 *     request.id = talk_peer_next_id(&p);
 *     talk_peer_send(&p, &request);                                   // queued; goes out while answers are awaited
 *     switch (talk_peer_receive(&p, deadline, &response)) ...
 *     talk_peer_end(&p);                                              // by force, if it has not ended by itself
 *     talk_peer_free(&p);
 *
 * It writes and reads at the same time, and takes what the worker says on standard error all the while, so that no pipe
 * can fill up and make a worker look as if it hung. Blocks in poll(), which suits a command that has nothing else to do.
 * One thread, the one that lives as long as the worker (child.h); SIGPIPE is ignored by whoever runs it.
 */
#ifndef CLI_WORKER_PEER_H
#define CLI_WORKER_PEER_H

#include "base/buf.h"
#include "base/time.h"
#include "exec/child/child.h"
#include "exec/process/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is kept of its standard error, over all its lives: the first bytes. What follows is only counted (I8). */
#define PEER_ERR_BYTES_MAX ((size_t)16 << 10)

struct peer {
    struct child_guard *guard;
    const char *const *argv;
    struct child child; /* pid 0: does not run */
    int in, out, err;   /* our ends; -1: closed */
    bool exited;        /* the process has ended; it is reaped by talk_peer_end() */
    bool silent;        /* its output has ended, or it has ended and all that it wrote was read */
    struct wire_reader reader;
    struct buf unsent; /* from `sent` on */
    size_t sent;
    uint64_t last_id;    /* of the requests of this life */
    struct buf frame;    /* the last answer */
    struct buf said;     /* the first of what it said on standard error */
    uint64_t said_bytes; /* all of it */
    bool no_memory;      /* something could not be kept */
};

enum talk_peer_said {
    PEER_ANSWER, /* a response */
    PEER_SILENT, /* the deadline has passed */
    PEER_WRONG,  /* what it wrote is not the protocol: *ret_fault */
    PEER_GONE,   /* its output has ended, or the process has */
};

void talk_peer_init(struct peer *p, struct child_guard *guard, const char *const *argv);
/* Errors are those of child_launch(), and WEIR_E_IO when there are no pipes. */
WEIR_MUST_CHECK enum weir_status talk_peer_start(struct peer *p, struct weir_error *err);
bool talk_peer_runs(const struct peer *p);
/* Bytes that are not written yet. */
size_t talk_peer_unsent(const struct peer *p);
/* From 1 on in each life. */
uint64_t talk_peer_next_id(struct peer *p);
/* Queues a request, or bytes. */
void talk_peer_send(struct peer *p, const struct wire_request *q);
void talk_peer_put(struct peer *p, struct slice bytes);
/* The response is valid until the next call. */
enum talk_peer_said talk_peer_receive(struct peer *p, struct instant deadline, struct wire_response *ret,
                            struct wire_fault *ret_fault);
/* Its output is read and thrown away until the process has ended. False: the deadline has passed. */
bool talk_peer_wait_exit(struct peer *p, struct instant deadline);
void talk_peer_close_input(struct peer *p);
/*
 * Kills what is left of it and reaps it. Before that it looks for processes that it has left behind, once it has ended
 * by itself: waits a moment for them to end, and appends "NAME (pid N)" of each to `left` (may be NULL).
 */
void talk_peer_end(struct peer *p, struct buf *left, struct child_end *ret);
void talk_peer_free(struct peer *p);

#endif
