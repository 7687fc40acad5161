/*
 * A crew's own structures, shared by the files that make it up and by nobody else:
 *
 *     crew.c         making and taking apart, options, starting, what is due
 *     crew_pick.c    who gets a task; what is in hand, has room, is parked
 *     crew_size.c    another number of workers
 *     crew_end.c     how a worker ends: retiring, killing, gone, the end of all
 *     crew_check.c   what must hold; looking
 */
#ifndef CORE_WORKER_CREW_INTERNAL_H
#define CORE_WORKER_CREW_INTERNAL_H

#include "base/heap.h"
#include "base/list.h"
#include "base/rng.h"
#include "core/worker/crew.h"

struct crew_place {
    struct worker *worker; /* NULL: vacant */
    bool was_filled;       /* once: the next one is a replacement */
};

struct crew {
    struct crew_options options;
    struct crew_edge *edge;
    struct crew_host *host;
    struct rng rng; /* of the pauses */
    struct affinity *affinity;

    struct crew_place *places; /* place_count of them: size + overflow, or what these once were */
    size_t place_count;
    size_t
        surplus; /* processes of permanent workers that there may be after the size was lowered */
    struct list workers; /* all, by id */
    struct heap timers;
    uint64_t last_id;
    size_t count, permanent, extra; /* workers; those of them that are or were in such a place */
    size_t permanent_filled, extra_filled; /* places */
    size_t in_state[2][WORKER_STATES];     /* [1]: of placed ones */
    struct list idle, partly, calling;     /* workers with room, see enum crew_room */
    size_t room;                           /* requests that could be given now */
    struct list orphans;                   /* tasks */
    size_t wanted;                         /* tasks */
    uint32_t
        takes; /* requests that a worker is expected to take at once, by the one that got ready last */

    /*
     * Starting. A start that fails begins a new round, and a pause; in a round after a failure one
     * worker starts, when the pause is over. What was started in an older round and fails too
     * strikes, but makes no longer pause.
     */
    uint64_t round;
    unsigned start_failures; /* rounds in a row */
    duration_ns pause_ns;    /* the last one */
    struct instant paused_until, held_until;
    size_t starting_now; /* workers of this round that are initializing */
    unsigned short_lives;
    uint32_t strikes;
    bool shutting_down;
    /* The first worker has got ready, and others get ready for the first time: new sessions are spread until then. */
    bool spreading;
    struct instant spread_until;

    struct crew_counts counts; /* by_state, by_health and workers are not kept in it */
};

/* crew.c */

/* Moves a worker's life, which the table allows (asserted), and tells it. what: more of it, or NULL. */
void crew_move(struct crew *c, struct worker *w, enum worker_state to, const char *reason,
               const char *what, struct instant now);
/* Something may be due earlier now. */
void crew_arm(struct crew *c, struct worker *w);
/* Sends a ping. None is out. */
void crew_ask(struct crew *c, struct worker *w, struct instant now);
/* A start has failed, or what counts as such: a strike, and a pause. */
void crew_start_failed(struct crew *c, uint64_t round, struct instant now);
/* The worker has answered something after it was ready: its life is no short one. */
void crew_proved(struct crew *c, struct worker *w);

/* crew_pick.c */

/* Puts a worker where it belongs among those that have room, after anything that says so has changed. */
void crew_relist(struct crew *c, struct worker *w);

/* crew_end.c */

/* It takes nothing more, and is due to end once it has nothing in hand. Harmless when it retires already. */
void crew_retire(struct crew *c, struct worker *w, const char *why, struct instant now);
/* The next step of a worker that retires, with nothing in hand, or is being ended. */
void crew_go_on_ending(struct crew *c, struct worker *w, struct instant now);
/* Its life has not begun well: it is ended, and that counts. */
void crew_fail_start(struct crew *c, struct worker *w, const char *why, const char *detail,
                     struct instant now);

#endif
