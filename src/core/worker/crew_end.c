/*
 * How a worker ends. Whatever the way, first it takes nothing more, its sessions and what was
 * parked with it go, and its place is vacant; then it is asked or made to end; at last it is gone,
 * and freed.
 */
#include "core/worker/crew_internal.h"

#include "base/mem.h"

#include <assert.h>
#include <stdio.h>

/* What it was to do goes elsewhere, and its place to another worker. */
static void let_go(struct crew *c, struct worker *w, struct instant now)
{
    struct list *task;

    affinity_drop_worker(c->affinity, w, now);
    while ((task = list_pop_front(&w->parked)))
        list_push_back(&c->orphans, task);
    crew_relist(c, w);
    if (!w->placed)
        return;
    c->places[w->place - 1].worker = NULL;
    *(w->extra ? &c->extra_filled : &c->permanent_filled) -= 1;
    w->placed = false;
    c->in_state[1][w->life.state]--;
    c->in_state[0][w->life.state]++;
    if (w->life.state == WORKER_INITIALIZING && w->round == c->round)
        c->starting_now--;
}

static void note_why(struct worker *w, const char *why, const char *detail)
{
    if (!w->why) {
        w->why = why;
        life_cut(w->said, sizeof w->said, detail ? detail : "");
    }
}

/* One step further: how says what is done now, grace how long that may take. */
static void end_by(struct crew *c, struct worker *w, enum crew_ending ending, duration_ns grace,
                   struct instant now)
{
    static const enum crew_end how[] = {
        [CREW_ENDING_ASKED] = CREW_END_SHUTDOWN,
        [CREW_ENDING_TERM] = CREW_END_TERM,
        [CREW_ENDING_KILL] = CREW_END_KILL,
    };

    assert(ending > w->ending);
    w->ending = ending;
    w->ends_at = ending == CREW_ENDING_KILL ? INSTANT_NEVER : instant_add(now, grace);
    c->edge->end(c->edge, w, how[ending]);
    crew_arm(c, w);
}

void crew_go_on_ending(struct crew *c, struct worker *w, struct instant now)
{
    const struct crew_options *o = &c->options;

    switch (w->ending) {
    case CREW_ENDING_NOT:
        if (w->life.state == WORKER_INITIALIZING) { /* it does not read yet */
            end_by(c, w, CREW_ENDING_TERM, o->term_grace_ns, now);
            break;
        }
        crew_move(c, w, WORKER_TERMINATING, w->why, NULL, now);
        end_by(c, w, CREW_ENDING_ASKED, o->shutdown_grace_ns, now);
        break;
    case CREW_ENDING_ASKED:
        end_by(c, w, CREW_ENDING_TERM, o->term_grace_ns, now);
        break;
    case CREW_ENDING_TERM:
        end_by(c, w, CREW_ENDING_KILL, 0, now);
        break;
    case CREW_ENDING_KILL:
        break;
    }
}

void crew_retire(struct crew *c, struct worker *w, const char *why, struct instant now)
{
    if (w->retiring)
        return;
    w->retiring = true;
    note_why(w, why, NULL);
    let_go(c, w, now);
    crew_arm(c, w);
}

/* SIGKILL; what led to it has been noted. */
static void kill_now(struct crew *c, struct worker *w, const char *why, const char *detail,
                     struct instant now)
{
    w->retiring = true;
    note_why(w, why, detail);
    let_go(c, w, now);
    if (w->life.state != WORKER_INITIALIZING && w->life.state != WORKER_TERMINATING)
        crew_move(c, w, WORKER_TERMINATING, why, detail, now);
    if (w->ending < CREW_ENDING_KILL)
        end_by(c, w, CREW_ENDING_KILL, 0, now);
}

void crew_fail_start(struct crew *c, struct worker *w, const char *why, const char *detail,
                     struct instant now)
{
    assert(w->life.state == WORKER_INITIALIZING && !w->ending);
    c->counts.failed_starts++;
    /* Before its place is vacant: a new round, in which it does not count as starting. */
    crew_start_failed(c, w->round, now);
    kill_now(c, w, why, detail, now);
}

void crew_kill(struct crew *c, struct worker *w, const char *why, const char *detail,
               struct instant now)
{
    if (w->ending == CREW_ENDING_KILL)
        return;
    if (w->life.state == WORKER_INITIALIZING && !w->ending) {
        crew_fail_start(c, w, why, detail, now);
        return;
    }
    c->counts.killed++;
    kill_now(c, w, why, detail, now);
}

void crew_term(struct crew *c, struct worker *w, const char *why, struct instant now)
{
    if (w->ending)
        return;
    crew_retire(c, w, why, now);
    if (w->life.state != WORKER_INITIALIZING)
        crew_move(c, w, WORKER_TERMINATING, why, NULL, now);
    end_by(c, w, CREW_ENDING_TERM, c->options.term_grace_ns, now);
}

/* It has ended and nobody had asked for it: what that says of starting others. */
static void note_loss(struct crew *c, struct worker *w, struct instant now)
{
    if (w->life.state == WORKER_INITIALIZING) {
        c->counts.failed_starts++;
        crew_start_failed(c, w->round, now);
        return;
    }
    c->counts.lost++;
    if (w->requests > 0 || instant_diff(now, w->ready_at) >= CREW_SHORT_LIFE_NS)
        c->short_lives = 0;
    else if (++c->short_lives >= CREW_SHORT_LIVES)
        crew_start_failed(c, c->round, now);
}

static void record_end(struct crew *c, struct worker *w, const char *cause, const char *detail,
                       struct instant now)
{
    char text[WORKER_MORE_BYTES + WORKER_DETAIL_BYTES];

    if (w->life.state == WORKER_INITIALIZING && w->why) {
        snprintf(text, sizeof text, "%s%s%s", w->said, w->said[0] ? "; " : "", cause);
        crew_move(c, w, WORKER_TERMINATED, w->why, text, now);
        return;
    }
    if (w->life.state != WORKER_INITIALIZING && w->life.state != WORKER_TERMINATING)
        crew_move(c, w, WORKER_TERMINATING, cause, detail, now);
    crew_move(c, w, WORKER_TERMINATED, cause, detail, now);
}

void crew_gone(struct crew *c, struct worker *w, const char *cause, const char *detail,
               struct instant now)
{
    assert(w->in_flight == 0);
    if (!w->ending)
        note_loss(c, w, now);
    w->retiring = true;
    let_go(c, w, now);
    w->pid = 0;
    record_end(c, w, cause, detail, now);
    heap_remove(&c->timers, &w->timer);
    list_remove(&w->link);
    c->in_state[0][WORKER_TERMINATED]--;
    c->count--;
    *(w->extra ? &c->extra : &c->permanent) -= 1;
    if (c->surplus > c->permanent)
        c->surplus = c->permanent;
    if (c->edge->forget)
        c->edge->forget(c->edge, w);
    mem_free(w);
}

void crew_shut_down(struct crew *c, bool at_once, struct instant now)
{
    c->shutting_down = true;
    list_foreach_safe (node, &c->workers) {
        struct worker *w = list_entry(node, struct worker, link);

        crew_retire(c, w, "the pool is closed", now);
        if (at_once && w->in_flight > 0)
            crew_term(c, w, "the pool is closed", now);
    }
}

bool crew_is_empty(const struct crew *c)
{
    return c->count == 0;
}
