/*
 * The dispatcher's own structures, shared by the files that make it up and by nobody else:
 *
 *     dispatcher.c   making and taking apart; the calls of dispatcher.h
 *     choose.c       which row runs next, and starting it
 *     offer.c        rows that are one attempt each
 *     limits.c       limits that change, slots, pools that go
 *     finish.c       what follows from an attempt's end: judge, order, deliver
 *     ahead.c        short attempts that are handed over before there is a place for them
 *     run.c          rows of very short work, which go the whole way together
 *     stop.c         deadlines, stop, shutdown
 *     session.c      tasks that wait for their session or its worker
 *     workers.c      pools whose places are workers with a life of their own
 *     breaking.c     a pool's breaker, and its fallback pool
 *     failures.c     many rows that fail alike
 *     tell.c         events for the observer
 *     check.c        the invariants
 */
#ifndef CORE_INTERNAL_H
#define CORE_INTERNAL_H

#include "base/heap.h"
#include "base/list.h"
#include "base/rng.h"
#include "core/alike.h"
#include "core/dispatcher.h"
#include "core/permits.h"
#include "core/reorder.h"
#include "core/run_times.h"
#include "core/worker/crew.h"

/* An attempt with an executor. It has a permit (a place in the pool), or will get one: see ahead.c. */
struct core_attempt_slot {
    struct core_attempt attempt; /* first: an executor's pointer to it is a pointer to the slot */
    struct core_pool *pool;
    struct core_batch *batch;
    struct core_task *task; /* NULL while running: abandoned, its row has been judged without it */
    struct core_task *abandoned_task; /* whose payload it still reads */
    bool running;                     /* handed over, and not reported yet */
    struct permit permit;             /* none while it is ahead */
    bool called_in;                   /* ahead, and asked to come back */
    bool told;                        /* the observer knows that it has begun */
    bool by_hand;              /* ended by dispatcher_end_attempt(): the row has its answer */
    bool broken_in;            /* the breaker is owed a word about it: breaker_ticket */
    enum weir_reason ended_by; /* why we cancelled it; NONE: we did not */
    struct gate_ticket ticket;
    uint64_t breaker_ticket;
    uint64_t worker; /* id; 0: none. The worker itself may be gone before the report is read */
    duration_ns timeout_ns; /* 0: none */
    struct list link;       /* the pool's free, busy or ahead list */
};

/* Slots stay where they are when there are to be more. */
struct slot_chunk {
    struct slot_chunk *next;
    struct core_attempt_slot slots[];
};

/* Of the words for why a breaker has opened; longer ones are cut. */
#define BREAKING_WHY_BYTES 160

struct core_pool {
    struct dispatcher *dispatcher;
    struct core_pool_options options;
    char *name;
    struct gate gate;
    struct permit_account permits;
    struct core_executor *executor;
    struct slot_chunk *chunks; /* slot_count slots: options.size and ahead_max at the least */
    size_t slot_count, ahead_max, ahead_count;
    struct list free_slots, busy_slots;
    struct list ahead;   /* slots without a permit, in the order of start() */
    duration_ns work_ns; /* how long attempts have lately run: a moving mean */
    struct list turn;    /* batches that have a row ready; the first is served next */
    bool takes_runs;     /* rows may go in runs here; see run.c for this and what follows */
    uint64_t run_rows;   /* with the executor, in runs */
    size_t run_permits;  /* permits that these hold, counted only */
    uint64_t run_round;  /* the number of the present look, see run_watch() */
    uint64_t run_young;  /* rows started since the last look ... */
    uint64_t run_old; /* ... and between the one before and it; those called back are in neither */
    struct instant run_look_at;
    bool kick;             /* something was started since the last kick */
    bool held;             /* by hand: nothing starts */
    bool removed;          /* nor here, and it goes when nothing of it is left */
    size_t wanted;         /* tasks that wait elsewhere for its workers; of offers */
    bool guests_next;      /* it is the turn of `guests` */
    bool short_of_workers; /* the last look ended because no worker had room */
    bool called_last;      /* what was started last was parked */
    struct crew *crew;     /* the executor's; NULL: it has none */
    struct list spreading; /* tasks whose new sessions wait for workers that start; with a crew */
    struct breaker breaker;
    struct instant breaker_since; /* of the state that the observer was told of last */
    enum breaker_state breaker_told;
    uint64_t breaker_told_epoch;
    char breaker_why[BREAKING_WHY_BYTES]; /* it opened last */
    struct core_pool *fallback;
    struct list guests;      /* batches of other pools that have a row ready here, in turn */
    struct run_times *times; /* NULL: no limit goes by them */
    uint64_t told_changes;   /* of the throttle, that the observer was told of */
    size_t crowding; /* rows that wait after a refusal and hold back new ones; see choose.c */
    struct core_stats stats;
    struct list link;
};

struct core_batch {
    struct dispatcher *dispatcher;
    struct core_pool *pool;
    struct core_batch_options options;
    void *owner;
    uint64_t number;
    struct instant deadline;

    struct list fresh;   /* READY, never started; in order of arrival */
    struct heap retries; /* READY again; least index first, since it holds up the order most */
    struct core_run *runs, **runs_tail; /* READY, behind `fresh`, by index; see run.c */
    uint64_t runs_last_index;           /* of the last of them */
    struct core_run *dropped;           /* that were not started when the batch was stopped */
    uint64_t run_ready;                 /* rows in `runs` */
    uint64_t run_rows;                  /* rows with the executor, in runs */
    uint64_t run_row_bytes;             /* of output, that a row of the last run had */
    struct list waiting, running;
    struct list queued;    /* behind a session or parked with a worker */
    struct list away;      /* READY in the fallback pool, in the order of their coming */
    uint64_t away_ready;   /* how many; they are in stats.ready too */
    struct list away_turn; /* in the fallback pool's list of guests */
    struct reorder order;
    struct alike *alike; /* NULL: no row has failed, or memory was out */
    bool stop_due;       /* by its policy on failures */

    uint64_t next_complete_index;
    uint64_t uncommitted; /* FINISHED, with the store */
    uint64_t lent;        /* DELIVERED, with the host */
    uint64_t places;      /* attempts that hold a permit, for rows not yet judged */
    uint64_t held_bytes;  /* answer_bytes() of rows that are FINISHED, COMMITTED or DELIVERED */
    uint64_t abandoned;   /* attempts that still run for rows already judged */
    bool ended, stopping, aborted, closed;
    bool cancelling; /* running attempts were told to stop */
    struct core_stats stats;
    struct throttle_state throttle_before; /* the pool's when the batch was opened */
    struct list turn;                      /* in its pool's turn list */
    struct list link;
};

struct dispatcher {
    struct dispatcher_options options;
    struct rng rng;
    struct permits permits;
    struct heap timers; /* tasks by wake_at */
    uint64_t live;      /* READY, WAITING and RUNNING tasks: what timers must have room for */
    uint64_t last_token, last_batch;
    bool shutting_down;
    struct list pools; /* with a global limit: the first is served next */
    size_t pool_count;
    size_t crew_count; /* pools that have a crew */
    bool moved;        /* rows went to a pool that this look may have passed already */
    size_t stops_due;  /* batches that are to be stopped by their policy on failures */
    struct list batches;
};

/* The pool that a task is in: its batch's, or that one's fallback. */
static inline struct core_pool *task_pool(const struct core_task *t)
{
    return t->away ? t->batch->pool->fallback : t->batch->pool;
}

/*
 * Rows refused this often no longer hold back new ones: a row that the service will never take must
 * not stop the others.
 */
#define CROWDING_REFUSALS_MAX 8

/* choose.c */
void choose_make_ready(struct core_task *t);
/* The same for one whose turn has come again though it may never have started: among the retries, by its index. */
void choose_make_ready_in_order(struct core_task *t);
void choose_unready(struct core_task *t);
/* A row that was handed over ahead and never began: ready again, before all others. */
void choose_put_back(struct core_task *t);
/* The first row of the batch whose turn it is; NULL: there is none that may start. */
struct core_task *choose_next(struct core_pool *p);
/* Whether the row may start as far as its batch's output_bytes go. */
bool choose_has_room_for_output(struct core_task *t);
struct instant choose_and_start(struct core_pool *p, size_t most, struct instant now);
/* An attempt has been answered: what is known of how long they run. */
void choose_learn(struct core_pool *p, const struct core_answer *a, struct instant taken_at);
void timer_arm(struct core_task *t, struct instant when);
/* When the row may go, as far as its pool's gate and breaker are concerned; with so many others in flight. */
struct instant choose_when_open(struct core_pool *p, const struct core_task *t, size_t in_flight,
                                struct instant now);

/* ahead.c */
void ahead_init(struct core_pool *p);
/* Whether rows may be handed over although every place is taken; and whether this one may. */
bool ahead_has_room(const struct core_pool *p);
bool ahead_suits(const struct core_task *t);
/* An attempt has run that long. */
void ahead_learn(struct core_pool *p, const struct core_answer *a);
/* What has not begun is to come back. of: of this batch only; NULL: all. */
void ahead_call_in(struct core_pool *p, const struct core_batch *of);
/* A slot's place has become free: true if an attempt that was ahead has taken over its permit. */
bool ahead_pass_permit(struct core_attempt_slot *from, struct instant now);
/* Whether the report says that the attempt has come back without having begun. */
bool ahead_came_back(const struct core_attempt_slot *s);

/* run.c */
void run_init(struct core_pool *p);
/* Rows that were accepted are ready. */
void run_hold(struct core_batch *b, struct core_run *r, struct instant now);
/* Takes the first row off a batch's runs (it has some): an ordinary task, ready behind all others that are. */
struct core_task *run_take_first(struct core_batch *b);
/* The same for all rows. */
void run_scatter(struct core_batch *b);
/* Rows that do not run end without a result, those of one run or of all that are ready. */
void run_drop(struct core_run *r);
void run_drop_ready(struct core_batch *b);
void run_release(struct core_run *r);
bool run_may_start(struct core_pool *p, struct instant now);
/* After run_may_start() has said so: starts as many runs as the executor should have. */
void run_start(struct core_pool *p, struct instant now);
/* Permits that nobody else wants are for the rows with the executor: so many of them do run. */
void run_take_permits(struct core_pool *p);
/* What has not begun is to come back; running rows of `cancelled` are told to stop. */
void run_recall(struct core_pool *p, const struct core_batch *cancelled);
/* Looks whether the executor reports. Returns when to look again. */
struct instant run_watch(struct core_pool *p, struct instant now);
void run_deliver(struct core_run *r, struct instant now);

/* choose.c */
/* Hands the row, which is READY, over in a slot that is free; with the permit that was taken for it there, or ahead of one.
 * w: of a pool that has workers. */
void slot_start(struct core_attempt_slot *s, struct core_task *t, struct gate_ticket ticket,
                struct worker *w, struct instant now);
/* The slot has got its permit; its attempt has begun. */
void slot_placed(struct core_attempt_slot *s, struct instant now);
void slot_tell_started(struct core_attempt_slot *s, struct instant now);

/* finish.c */
void finish_task(struct core_task *t, struct instant now);
void finish_cancelled(struct core_task *t, enum weir_outcome outcome, enum weir_reason reason,
                      const char *message, struct instant now);
void finish_attempt(struct core_attempt_slot *s, struct instant now);
/* A row of a run has ended; its answer is in the task, which is RUNNING and has no slot. */
void finish_in_run(struct core_task *t, struct instant now);
void finish_abandon(struct core_attempt_slot *s, struct instant now);
void finish_drop(struct core_task *t, struct instant now);
/* Hands out a row that is COMMITTED, and those that it held up. */
void deliver(struct core_task *t, struct instant now);
/* Fills in what a batch's statistics say of the throttle; nothing any more once it is closed. */
void batch_note_throttle(const struct core_batch *b, struct core_stats *ret);
void deliver_in_order(struct core_batch *b, struct instant now);
void close_if_done(struct core_batch *b, struct instant now);
/* Takes a live task off its list, its heaps and its timer. */
void task_unlink(struct core_task *t);
void task_release_if_unused(struct core_task *t);

/* dispatcher.c */
/* WEIR_OK: the batch takes rows. */
enum weir_status batch_refuses(const struct core_batch *b, struct weir_error *err);
/* Room in all heaps for so many rows more. False: no memory. */
bool batch_reserve(struct core_batch *b, uint64_t rows);
/* Closes the pool's executor, and frees it. */
void pool_free(struct core_pool *p);

/* limits.c */
bool slots_add(struct core_pool *p, size_t count);
/* One that is free; it stays on its list. NULL: no memory for another one. */
struct core_attempt_slot *slots_first(struct core_pool *p);
void slots_free(struct core_pool *p);
/* Pools that were removed, and of which nothing is left. */
void pools_reap(struct dispatcher *d);

/* stop.c */
void stop_timer_fired(struct core_task *t, struct instant now);
void stop_cancel(struct core_task *t, enum weir_reason why, struct instant now);
/* Rows that do not run end as cancelled: the engine is shut down. */
void stop_end_waiting(struct core_batch *b, struct instant now);

/* session.c */
/* Whether the name of its session (it has one) is as long as it may be. */
bool session_name_fits(const struct core_task *t);
/* Before a row is accepted into the pool. False: no memory. */
bool session_find(struct core_pool *p, struct core_task *t, struct instant now);
/* The row would be ready. */
void session_admit(struct core_task *t);
/* A READY row's worker has no room. */
void session_park(struct core_task *t, struct worker *w, struct instant now);
/* A READY row's session is new, and waits for workers that start (CREW_SPREAD). */
void session_spread(struct core_task *t);
/* Whether the row waits for a worker, by one of these two, and not for its session. */
bool session_is_parked(const struct core_task *t);
/* A parked row is READY again. */
void session_unpark(struct core_task *t);
/* Takes a QUEUED row off all lists. */
void session_unlink(struct core_task *t);
/* The row has ended, and is on no list. */
void session_leave(struct core_task *t, struct instant now);
/* The row, which is on no list, is in its pool's fallback pool from now on; to be admitted there when it is ready. */
void session_move(struct core_task *t, struct instant now);
/* How long the task may wait for a worker; 0: for as long as it takes. */
duration_ns checkout_timeout(const struct core_task *t);
/* From now on that timeout counts, unless it does already. */
void checkout_begin(struct core_task *t, struct instant now);

/* workers.c; of pools with a crew */
void workers_init(struct core_pool *p);
/* Whether rows have become ready by it. */
bool workers_settle(struct core_pool *p, struct instant now);
void workers_settle_all(struct dispatcher *d, struct instant now);
/* The row to be started next; READY, or parked though there is a worker with room for it. NULL: none may. */
struct core_task *workers_next(struct core_pool *p);
/* True: it is READY, and *ret is its worker. False: it is parked now, or the pool is short_of_workers. */
bool workers_place(struct core_pool *p, struct core_task *t, struct worker **ret,
                   struct instant now);
/* The worker for a row, as crew_pick() says it; another one than it has failed with, where there is one. Changes nothing. */
enum crew_pick workers_pick(struct core_pool *p, const struct core_task *t, struct worker **ret);
/* Returns when to come again. *ret_again: rows have become ready meanwhile. */
struct instant workers_run(struct core_pool *p, bool *ret_again, struct instant now);
void workers_shut_down(struct dispatcher *d, bool at_once, struct instant now);
/* The row has waited too long for a worker. */
void workers_checkout_over(struct core_task *t, struct instant now);

/* breaking.c; when() only of pools whose breaker is on */
void breaking_init(struct core_pool *p);
struct instant breaking_when(struct core_pool *p, struct instant now);
void breaking_take(struct core_attempt_slot *s, struct instant now);
void breaking_drop(struct core_attempt_slot *s, struct instant now);
/* What an attempt's answer says to the breaker; told after its row has been judged, when the answer may be gone. */
enum breaking_kind { BREAKING_DROPPED, BREAKING_SUCCEEDED, BREAKING_FAILED };
struct breaking_word {
    enum breaking_kind kind;
    char why[BREAKING_WHY_BYTES];
};
struct breaking_word breaking_read(const struct core_attempt_slot *s, const struct core_answer *a);
void breaking_judged(struct core_attempt_slot *s, const struct breaking_word *w,
                     struct instant now);
void breaking_strike(struct core_pool *p, const char *why, struct instant now);
void breaking_open(struct core_pool *p, const char *why, struct instant now);
/* While it is open: what is ready goes elsewhere or fails, if the pool says so. */
void breaking_drain(struct core_pool *p, struct instant now);
/* Whether the row may go on in its pool's fallback pool; and that it does. */
bool breaking_may_move(const struct core_task *t);
void breaking_move(struct core_task *t, const char *why, struct instant now);
void breaking_note(const struct core_pool *p, struct core_stats *ret);

/* failures.c: a row's result stands; then, at the end of the call, what its batch's policy asks for */
void failures_note(struct core_batch *b, const struct core_task *t, struct instant now);
void failures_stop(struct dispatcher *d, struct instant now);

/* tell.c: tells the observer, if there is one. */
void tell_task(const struct core_task *t, enum core_event_kind kind, duration_ns wait_ns,
               const char *detail, struct instant now);
/* That the service's own word holds the pool, by an answer to t; before: until when it was held so far. */
void tell_held(const struct core_task *t, struct instant before, struct instant now);
/* What the pool's throttle has decided since the last call, if anything. */
void tell_throttle(struct core_pool *p, struct instant now);
void tell_batch(const struct core_batch *b, enum core_event_kind kind, struct instant now);
void tell_detail(const struct core_batch *b, enum core_event_kind kind, const char *detail,
                 struct instant now);
void tell_breaker(const struct core_pool *p, const struct core_breaker_change *change,
                  const char *why, struct instant now);

#endif
