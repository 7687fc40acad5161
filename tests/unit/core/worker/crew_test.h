/*
 * A crew in virtual time with a fake edge: the edge writes down what the crew asked of it, and the
 * test says what happened. After every step the crew is checked.
 *
 *     struct stand s;
 *     stand_init(&s, &options);          // crew_options_init(), with what the test sets
 *     run_at(&s, 0);                     // crew_run() at 0 ms
 *     struct worker *w = s.edge.last;    // spawned last
 *     ready(&s, w, 100);                 // spawned, and its first ping answered at 100 ms
 *     ...
 *     stand_end(&s);                     // everything ends, and is gone
 */
#ifndef UNIT_CREW_TEST_H
#define UNIT_CREW_TEST_H

#include "base/mem.h"
#include "core/worker/crew.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define EDGE_WORKERS_MAX 64

/* What the edge knows of one worker; in worker.edge. */
struct edge_worker {
    struct worker *w;
    uint64_t id;
    unsigned pings;
    unsigned ends[3]; /* by enum crew_end */
    bool gone;
};

struct fake_edge {
    struct crew_edge edge; /* first */
    struct edge_worker seen[EDGE_WORKERS_MAX];
    size_t spawned, forgotten;
    struct worker *last;
    uint64_t memory_bytes;
    unsigned memory_asked;
};

struct fake_host {
    struct crew_host host; /* first */
    uint64_t told;
    char last[256];
};

struct stand {
    struct fake_edge edge;
    struct fake_host host;
    struct crew_options options;
    struct crew *crew;
    struct instant wake;
};

static inline struct instant at_ms(int64_t ms)
{
    return (struct instant){ms * NS_PER_MS};
}

static inline struct instant at_s(int64_t s)
{
    return (struct instant){s * NS_PER_S};
}

static inline void sound(struct stand *s)
{
    const char *wrong = crew_check(s->crew);

    if (wrong)
        fail_msg("%s", wrong);
}

static inline struct edge_worker *of(const struct worker *w)
{
    return w->edge;
}

static void edge_spawn(struct crew_edge *e, struct worker *w)
{
    struct fake_edge *f = (struct fake_edge *)(void *)e;
    struct edge_worker *seen = &f->seen[f->spawned++];

    assert_true(f->spawned <= EDGE_WORKERS_MAX);
    *seen = (struct edge_worker){.w = w, .id = w->id};
    w->edge = seen;
    f->last = w;
}

static void edge_ping(struct crew_edge *e, struct worker *w)
{
    (void)e;
    of(w)->pings++;
}

static void edge_end(struct crew_edge *e, struct worker *w, enum crew_end how)
{
    (void)e;
    of(w)->ends[how]++;
}

static uint64_t edge_memory(struct crew_edge *e, struct worker *w)
{
    struct fake_edge *f = (struct fake_edge *)(void *)e;

    (void)w;
    f->memory_asked++;
    return f->memory_bytes;
}

static void edge_forget(struct crew_edge *e, struct worker *w)
{
    struct fake_edge *f = (struct fake_edge *)(void *)e;

    of(w)->gone = true;
    of(w)->w = NULL;
    f->forgotten++;
}

static void host_tell(struct crew_host *h, const struct core_event *ev)
{
    struct fake_host *f = (struct fake_host *)(void *)h;

    assert_int_equal(ev->kind, EVENT_WORKER_TRANSITION);
    assert_non_null(ev->transition);
    assert_true(life_may_move(ev->transition->from, ev->transition->to));
    f->told++;
    snprintf(f->last, sizeof f->last, "%s", ev->detail ? ev->detail : "");
}

static inline void stand_init(struct stand *s, const struct crew_options *o)
{
    memset(s, 0, sizeof *s);
    s->edge.edge = (struct crew_edge){edge_spawn, edge_ping, edge_end, edge_memory, edge_forget};
    s->host.host.tell = host_tell;
    s->options = *o;
    s->options.pool = "workers";
    assert_int_equal(crew_options_check(&s->options, NULL), WEIR_OK);
    assert_int_equal(crew_new(&s->options, &s->edge.edge, &s->host.host, at_ms(0), &s->crew, NULL),
                     WEIR_OK);
    sound(s);
}

/* Returns when it wants to be called again, in ms; -1: not at all. */
static inline int64_t run_at(struct stand *s, int64_t ms)
{
    s->wake = crew_run(s->crew, at_ms(ms));
    sound(s);
    return instant_is_never(s->wake) ? -1 : s->wake.ns / NS_PER_MS;
}

static inline void gone(struct stand *s, struct worker *w, int64_t ms)
{
    crew_gone(s->crew, w, "exited", "status 1", at_ms(ms));
    sound(s);
}

static inline void pong(struct stand *s, struct worker *w, bool ok, int64_t ms)
{
    crew_pong(s->crew, w, ok, ok ? NULL : "not well", 0, at_ms(ms));
    sound(s);
}

static inline void ready(struct stand *s, struct worker *w, int64_t ms)
{
    crew_spawned(s->crew, w, 1000 + (int64_t)w->id, at_ms(ms));
    sound(s);
    assert_int_equal(of(w)->pings, 1);
    crew_pong(s->crew, w, true, NULL, s->options.max_in_flight, at_ms(ms));
    sound(s);
    assert_int_equal(w->life.state, WORKER_READY);
}

/* All `size` workers, spawned and ready at 0 ms. */
static inline void all_ready(struct stand *s)
{
    run_at(s, 0);
    assert_int_equal(s->edge.spawned, s->options.size);
    for (size_t i = 0; i < s->options.size; i++)
        ready(s, s->edge.seen[i].w, 0);
    run_at(s, 0);
}

static inline struct worker *pick(struct stand *s, const struct session *session)
{
    struct worker *w = NULL;

    return crew_pick(s->crew, session, &w) == CREW_TAKE ? w : NULL;
}

static inline bool give(struct stand *s, struct worker *w, struct session *session, int64_t ms)
{
    bool lost = crew_give(s->crew, w, session, at_ms(ms));

    sound(s);
    return lost;
}

static inline void answered(struct stand *s, struct worker *w, struct session *session,
                            enum crew_answer how, int64_t ms)
{
    crew_answered(s->crew, w, session, how, at_ms(ms));
    sound(s);
}

static inline struct session *session(struct stand *s, const char *name, int64_t ms)
{
    struct session *found = affinity_find(crew_affinity(s->crew), name, strlen(name), at_ms(ms));

    assert_non_null(found);
    return found;
}

static inline void leave(struct stand *s, struct session *session, int64_t ms)
{
    affinity_leave(crew_affinity(s->crew), session, at_ms(ms));
    sound(s);
}

/* What is in hand is answered with nothing. */
static inline void stand_end(struct stand *s)
{
    int64_t ms = 100000000;

    crew_shut_down(s->crew, true, at_ms(ms));
    sound(s);
    run_at(s, ms);
    for (size_t i = 0; i < s->edge.spawned; i++) {
        struct worker *w = s->edge.seen[i].w;

        if (!w)
            continue;
        while (w->in_flight > 0)
            answered(s, w, NULL, CREW_ANSWER_NONE, ms);
        gone(s, w, ms);
    }
    while (crew_take_orphan(s->crew))
        ;
    assert_true(crew_is_empty(s->crew));
    assert_int_equal(run_at(s, ms), -1);
    assert_int_equal(s->edge.forgotten, s->edge.spawned);
    s->crew = crew_free(s->crew);
}

/* The options that are there by default, for so many workers. */
static inline struct crew_options options(size_t size)
{
    struct crew_options o;

    crew_options_init(&o);
    o.size = size;
    return o;
}

/* The worker that was spawned as number n, from 0; it is not gone. */
static inline struct worker *nth(struct stand *s, size_t n)
{
    return s->edge.seen[n].w;
}

#endif
