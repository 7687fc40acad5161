/*
 * The daemon's parts, shared by its files and by nobody else:
 *
 *     daemon.c    start, the wait for signals, stop
 *     build.c     the parts made and taken apart: registry, engine, pools, API, server
 *     reload.c    another configuration, while it runs
 *     in_force.c  the configuration, with what was changed by hand
 *     clock.c     when the wall clock has been set back
 *     chores.c    what is due now and then: check, retention, history, limits that follow
 *
 * The main thread has all of it, but for what is said.
 */
#ifndef SERVE_DAEMON_HOUSE_H
#define SERVE_DAEMON_HOUSE_H

#include "serve/api/api.h"
#include "serve/config/config.h"
#include "serve/daemon/backend.h"
#include "serve/daemon/daemon.h"
#include "serve/daemon/history.h"
#include "serve/daemon/log.h"
#include "serve/daemon/metrics.h"
#include "serve/http/http.h"
#include "serve/pools/poolset.h"

#include <pthread.h>
#include <stdatomic.h>

/* A pool as it was planned. */
struct house_pool {
    char *name;
    struct poolset_plan plan;
    bool follows;
    struct follow follow;
    size_t queued; /* tasks that wait for it, at the last look; of those that follow */
};

struct house {
    const char *config_path;
    struct daemon_log *log;
    char *run_dir, *api_address;
    char *mark; /* the store's whole path: the mark of what is run */
    struct core_registry *registry;
    struct engine *engine;
    struct engine_tasks *tasks;
    struct poolset *pools;
    struct backend *backend;
    _Atomic(struct api *) api; /* the clerk's thread tells it of commits */
    struct http_server *server;
    struct house_pool *planned;
    size_t planned_count;
    int signals, wish; /* descriptors: signals; an event: somebody wants something (below) */

    pthread_mutex_t config_lock; /* of: (reloads come from the API too, one at a time) */
    struct config *config;
    atomic_ulong deadlocks, reloads, reload_failures;
    atomic_ulong deadlocks_told; /* by the check that is under way */

    atomic_bool stop_wished;
    atomic_bool stopping; /* no reload any more */
    atomic_llong
        end_by_ns; /* what runs then is to be ended, as an instant: the earliest that was wished */
    atomic_bool stopped;   /* the stopping thread is done */
    uint64_t left;         /* attempts that it has ended */
    atomic_bool last_told; /* the last event is in the record, or cannot be */

    /* chores */
    struct history *history;
    struct instant look_at, check_at, purge_at;
    atomic_bool checking, check_more, purging, purge_more;
    bool store_failed;     /* and the log has it */
    int64_t wall_ahead_ns; /* of the steady clock, at the last look */
    bool set_back;         /* it was, while nobody ran */
};

/* build.c */
WEIR_MUST_CHECK enum weir_status house_build(struct house *h, struct weir_error *err);
void house_take_down(struct house *h);
/* Adds a pool of the configuration. The plan is zeroed: it is the pool's, or (on failure) forgotten. */
WEIR_MUST_CHECK enum weir_status house_add_pool(struct house *h, const struct config_pool *p,
                                                struct poolset_plan *plan, struct weir_error *err);
/*
 * What may fail of all that is said beside pools: slots, and tenants' weights. before: the
 * configuration that is in force (it may be the same); after a failure it is again.
 */
WEIR_MUST_CHECK enum weir_status house_share(struct house *h, const struct config *before,
                                             const struct config *c, struct weir_error *err);
/* What cannot fail. all: also what the API may have changed. False: there is no such default pool, and so none. */
WEIR_MUST_CHECK bool house_apply(struct house *h, const struct config *c, bool all);
WEIR_MUST_CHECK enum weir_status house_set_tokens(struct house *h, const struct config *c,
                                                  struct weir_error *err);
/* Has an event recorded; does not wait for it, but house_wake() comes when it is. */
void house_tell(struct house *h, enum registry_event_kind kind, const char *detail);
/* Stops it: what runs has so long (negative: as configured), or less if that was said already. Any thread. */
void house_stop_within(struct house *h, duration_ns grace_ns);
/* The main thread is to look at its wishes. Any thread. */
void house_wake(struct house *h);

/*
 * reload.c; any thread. Appends a JSON object that says what has changed; out may be NULL. After a
 * failure it is empty when nothing has, and else says what could not be changed, too: all the rest
 * is in force.
 */
WEIR_MUST_CHECK enum weir_status house_reload(struct house *h, struct buf *out,
                                              struct weir_error *err);

/*
 * in_force.c; any thread but the engine's and the clerk's. Appends the configuration as YAML, without
 * secrets, as it is in force: a comment at the top names what was changed by hand. What it says can
 * be loaded again.
 */
WEIR_MUST_CHECK enum weir_status house_show(struct house *h, struct buf *out,
                                            struct weir_error *err);
/* Under config_lock: whether anything of that pool (NULL: of the dispatcher) was. */
bool house_is_by_hand(struct house *h, const char *pool);

/* clock.c; once, before anything is written, and once a second. */
void clock_begin(struct house *h);
void clock_look(struct house *h);

/* chores.c. Before the first: goes on with the history that a predecessor has left. */
void chores_begin(struct house *h);
/* Returns when to come again. */
struct instant chores_run(struct house *h, struct instant now);
/* After the last, while there are pools: has the history written as far as it is. Of whichever thread stops it. */
void chores_end(struct house *h);

#endif
