/*
 * A worker under test, from weir's side of its pipes: starts it, sends it requests, takes its
 * answers with a deadline.
 *
 *     candidate_init(&p, guard, argv);
 *     status = candidate_start(&p, &err);
 *     request.id = candidate_next_id(&p);
 *     candidate_send(&p, &request);                                   // queued; goes out while answers are awaited
 *     switch (candidate_receive(&p, deadline, &response)) ...
 *     candidate_end(&p);                                              // by force, if it has not ended by itself
 *     candidate_free(&p);
 *
 * Heartbeats may come at any time. They are taken on the way, and are no answers; what is wrong
 * with the first one that is not as it should be is kept for the check of its own.
 *
 * It writes and reads at the same time, and takes what the worker says on standard error all the
 * while, so that no pipe can fill up and make a worker look as if it hung. Blocks in poll(), which
 * suits a command that has nothing else to do. One thread, the one that lives as long as the worker
 * (child.h); SIGPIPE is ignored by whoever runs it.
 */
#ifndef CLI_WORKER_CANDIDATE_H
#define CLI_WORKER_CANDIDATE_H

#include "base/buf.h"
#include "base/time.h"
#include "exec/child/child.h"
#include "exec/process/calls.h"
#include "exec/process/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is kept of its standard error, over all its lives: the first bytes. What follows is only counted (I8). */
#define CANDIDATE_ERR_BYTES_MAX ((size_t)16 << 10)

struct candidate {
    struct child_guard *guard;
    const char *const *argv;
    struct child child; /* pid 0: does not run */
    int in, out, err;   /* our ends; -1: closed */
    bool exited;        /* the process has ended; it is reaped by candidate_end() */
    bool silent;        /* its output has ended, or it has ended and all that it wrote was read */
    struct wire_reader reader;
    struct buf unsent; /* from `sent` on */
    size_t sent;
    uint64_t last_id;      /* of the requests of this life */
    struct calls asked;    /* the requests of this life that have no answer yet */
    uint64_t heartbeats;   /* over all its lives */
    struct buf beat_wrong; /* what is wrong with the first bad one; empty: nothing */
    struct buf frame;      /* the last answer */
    struct buf said;       /* the first of what it said on standard error */
    uint64_t said_bytes;   /* all of it */
    bool no_memory;        /* something could not be kept */
};

enum candidate_said {
    CANDIDATE_ANSWER, /* a response */
    CANDIDATE_SILENT, /* the deadline has passed */
    CANDIDATE_WRONG,  /* what it wrote is not the protocol: *ret_fault */
    CANDIDATE_GONE,   /* its output has ended, or the process has */
};

void candidate_init(struct candidate *p, struct child_guard *guard, const char *const *argv);
/* Errors are those of child_launch(), and WEIR_E_IO when there are no pipes. */
WEIR_MUST_CHECK enum weir_status candidate_start(struct candidate *p, struct weir_error *err);
bool candidate_runs(const struct candidate *p);
/* Bytes that are not written yet. */
size_t candidate_unsent(const struct candidate *p);
/* From 1 on in each life. */
uint64_t candidate_next_id(struct candidate *p);
/* Queues a request, or bytes. */
void candidate_send(struct candidate *p, const struct wire_request *q);
void candidate_put(struct candidate *p, struct slice bytes);
/* The request of that id is sent by candidate_put(). */
void candidate_expect(struct candidate *p, uint64_t id);
/* The response is valid until the next call. */
enum candidate_said candidate_receive(struct candidate *p, struct instant deadline,
                                      struct wire_response *ret, struct wire_fault *ret_fault);
/* After CANDIDATE_GONE: waits until the process has ended. False: the deadline has passed. */
bool candidate_wait_exit(struct candidate *p, struct instant deadline);
void candidate_close_input(struct candidate *p);
/*
 * Kills what is left of it and reaps it. Before that it looks for processes that it has left
 * behind, once it has ended by itself: waits a moment for them to end, and appends "NAME (pid N)"
 * of each to `left` (may be NULL).
 */
void candidate_end(struct candidate *p, struct buf *left, struct child_end *ret);
void candidate_free(struct candidate *p);

#endif
