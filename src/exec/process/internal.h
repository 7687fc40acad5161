/*
 * The process executor's own structures, shared by its files and by nobody else:
 *
 *     process.c     options, making and closing, the executor's operations, the crew's edge
 *     peer.c        a worker's process: starting, ending, what is told when it has gone
 *     talk.c        what goes back and forth: requests out, answers in, and what is wrong with them
 *     wire.c, outbox.c, calls.c, said.c      bytes, without knowing any of these
 *
 * Who may call the crew. The dispatcher calls the executor's operations between calls of its own to
 * the crew, so from them the crew may be called. The crew's edge may not: what it is told to do is
 * noted and done in the executor's own turn (process_soon()), a callback of the loop that comes
 * before the engine's next turn.
 */
#ifndef EXEC_PROCESS_INTERNAL_H
#define EXEC_PROCESS_INTERNAL_H

#include "base/list.h"
#include "core/worker/crew.h"
#include "exec/child/child.h"
#include "exec/process/calls.h"
#include "exec/process/outbox.h"
#include "exec/process/process.h"
#include "exec/process/said.h"
#include "exec/process/wire.h"

#include <uv.h>

/* Processes started in one turn: each holds up the loop for as long as starting a program takes. */
#define STARTS_PER_TURN 4
/* Read from one worker in one go, before others have their turn. */
#define READS_PER_TURN 8
/* Read of its standard error in one go. */
#define ERR_READ_BYTES (UINT32_C(4) << 10)
/* Read of either when it has gone: more than its pipes hold. */
#define LAST_READS_MAX 64
/* What a pipe to or from a worker holds, so that a message of 64 KiB goes in one piece; ... */
#define PIPE_BYTES (256 << 10)
/* ... for pools of up to so many workers: what one user's pipes hold in all is limited, at 64 MiB as a rule. */
#define PIPE_WORKERS_MAX 64

enum peer_state {
    PEER_TO_START, /* in x->starts */
    PEER_RUNS,
    PEER_CONDEMNED, /* it is being killed: nothing more is sent to it or taken from it */
    PEER_GONE,      /* the crew knows it no more; its handles are being closed */
};

/* The process of one worker. */
struct peer {
    struct process_executor *x;
    struct worker *worker;
    enum peer_state state;
    struct list link;  /* in x->peers */
    struct list start; /* in x->starts */
    struct list
        unsent; /* in x->unsent: there is something to be written, and its input may take it */
    struct list trouble; /* in x->troubled: its input is broken, which the crew is to be told */

    struct child child;
    int64_t pid;        /* as in child, for texts; stays */
    uint64_t pid_start; /* as core_attempt_began has it; 0 where nobody wants to know */
    int in, out, err;   /* its standard input, output, error; -1: closed */
    uv_poll_t in_poll, out_poll, err_poll, proc_poll;
    unsigned handles;   /* not closed yet */
    bool polls_in;      /* its input is full: wait until it takes more */
    bool in_broken;     /* its input takes nothing any more */
    bool in_ends;       /* its input is closed when all is written */
    const char *closed; /* what it did, when it is killed for that; else NULL */
    bool told_to_end;   /* by the command, or by SIGTERM */
    bool out_ended;     /* its output has ended */
    bool for_one; /* it is ended because of one request: the others it has in hand cannot help it */

    struct wire_reader reader;
    struct outbox outbox;
    struct calls calls;
    uint64_t last_id, ping_id;
    struct said said;
};

struct process_executor {
    struct core_executor base;
    struct crew_edge edge;
    struct crew_host crew_host;
    struct core_executor_host *host;
    struct process_options options; /* its texts are copies */
    char **env;                     /* the additions, with room for two more and NULL */
    size_t env_count;
    struct child_guard *guard;
    bool large_pipes;

    struct list peers, starts, unsent, troubled;
    uv_loop_t *loop;
    uv_idle_t soon;            /* runs the executor's own turn */
    uv_timer_t later;          /* after close(): when the crew is to be called again */
    unsigned handles;          /* of these, not closed yet */
    bool soon_is_on, orphaned; /* a worker has no peer, for lack of memory */
    bool closing, emptied;

    struct core_attempt *done, **done_tail; /* reported at the end of the present call */
    char *spare;                            /* memory for a reader; NULL: none is left over */
    struct process_counters counters;
    int64_t stamp_ms;
    char stamp[TIME_UTC_BYTES];
    char err_bytes[ERR_READ_BYTES];
};

/* ---- process.c ---- */

struct instant process_now(struct process_executor *x);
/* Has the executor's own turn run once more before the engine's. */
void process_soon(struct process_executor *x);
/* The attempt has ended: times, and the chain that process_report() hands over. */
void process_done(struct process_executor *x, struct core_attempt *a, struct instant now);
void process_report(struct process_executor *x);
/* At the end of each callback: reports, and after close() goes on with that. */
void process_settle(struct process_executor *x);
/* The last handle that a peer had is closed. */
void process_peer_closed(struct peer *p);

/* ---- peer.c ---- */

/* Variables that each process gets beside those of the options. */
#define PEER_ENV_COUNT 2
/* It is the worker's `edge`, and waits for its start. NULL: no memory. */
struct peer *peer_new(struct process_executor *x, struct worker *w);
/* Starts the process, or tells the crew that it cannot be. */
void peer_start(struct peer *p);
/* Its output has ended, or its input is broken, or it has gone. */
void peer_lost(struct peer *p);
/* It has to go: the crew is told, and all that it has in hand ends as lost for `reason`. why: constant text; detail: a
 * sentence of which it is the subject. */
void peer_kill(struct peer *p, const char *why, enum weir_reason reason, const char *detail);
/* A line of weir's own in the worker's log. */
void peer_say(struct peer *p, const char *text);
void peer_signal(struct peer *p, int sig);
void peer_close_input(struct peer *p);
/* Nothing refers to it any more. */
void peer_free(struct peer *p);

/* ---- talk.c ---- */

/* The attempt's request is to be written. False: it cannot be, and the answer says why. */
bool talk_put(struct peer *p, struct core_attempt *a);
/* A command of weir's own; behind `shutdown` its input ends. Without memory for it it is not sent. */
void talk_command(struct peer *p, enum call_kind kind);
void talk_cancel(struct peer *p, struct core_attempt *a);
/* Writes what can be written now. */
void talk_write(struct peer *p);
/* Reads what has come, in so many pieces at most, and hands it on. False: its output has ended. */
bool talk_read(struct peer *p, int pieces);
void talk_read_err(struct peer *p, int pieces);
/* Nothing more will come there: what was read of a line is told as one. */
void talk_end_err(struct peer *p);
/* Starts to look at its output and its error. False: the loop cannot. */
bool talk_begin(struct peer *p);
/* Nothing more is sent or taken. */
void talk_stop(struct peer *p);

#endif
