#include "serve/api/api.h"

#include "base/error.h"
#include "base/mem.h"
#include "loop/loop.h"
#include "serve/api/internal.h"

#include <assert.h>
#include <string.h>
#include <time.h>

/* A snapshot (snapshot.h) asks the engine's thread, which dispatches nothing meanwhile: so often, and no more. openapi.yaml
 * tells the age. */
static const struct snapshot_rules snapshot_rules = {
    .every_ns = 20 * NS_PER_MS,
    .burst = 20,
    .age_max_ns = 50 * NS_PER_MS,
};

static bool init_locks(struct api *a)
{
    pthread_condattr_t attr;
    bool ok;

    if (pthread_mutex_init(&a->lock, NULL) != 0)
        return false;
    /* As loop_clock(), which its waits are told in. */
    ok = pthread_condattr_init(&attr) == 0;
    ok = ok && pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0 &&
         pthread_cond_init(&a->changed, &attr) == 0;
    pthread_condattr_destroy(&attr);
    if (ok && pthread_cond_init(&a->place_found, NULL) != 0) {
        pthread_cond_destroy(&a->changed);
        ok = false;
    }
    if (!ok)
        pthread_mutex_destroy(&a->lock);
    return ok;
}

enum weir_status api_new(const struct api_options *o, struct api **ret, struct weir_error *err)
{
    struct api *a = mem_calloc(1, sizeof(*a));
    struct sse_options events = o->events;
    enum weir_status status;

    if (!a)
        return error_nomem(err);
    a->options = *o;
    a->backend = o->backend;
    list_init(&a->followers);
    list_init(&a->batch_uses);
    if (!init_locks(a)) {
        mem_free(a);
        return error_nomem(err);
    }
    while (a->snapshot_count < SNAPSHOTS) {
        if (!snapshot_init(&a->snapshots[a->snapshot_count], &snapshot_rules)) {
            api_free(a);
            return error_nomem(err);
        }
        a->snapshot_count++;
    }
    events.catch_up = event_catch_up;
    events.ctx = a;
    status = sse_hub_new(&events, &a->hub, err);
    if (status == WEIR_OK && !apart_start(a))
        status = error_set(err, WEIR_E_NOMEM, "a thread cannot be started");
    if (status == WEIR_OK && feeder_start(a, err)) {
        *ret = a;
        return WEIR_OK;
    }
    if (status == WEIR_OK)
        status = WEIR_E_NOMEM;
    api_free(a);
    return status;
}

void api_committed(struct api *a, uint64_t last_event)
{
    pthread_mutex_lock(&a->lock);
    if (last_event > a->committed) {
        a->committed = last_event;
        if (a->listening)
            pthread_cond_signal(&a->changed);
    }
    pthread_mutex_unlock(&a->lock);
}

void api_changed(struct api *a)
{
    atomic_fetch_add(&a->changes, 1);
}

void api_answers(void *ctx, const struct http_route *route)
{
    if (strcmp(route->method, "GET") != 0 && route->role != HTTP_ROLE_NONE)
        api_changed(ctx);
}

enum weir_status api_snapshot(struct api *a, enum api_snapshot which, snapshot_fn make,
                              struct buf *out, struct weir_error *err)
{
    uint64_t changes = atomic_load(&a->changes);

    return snapshot_get(&a->snapshots[which], loop_clock(), changes, make, a, out, err);
}

void api_event_stats(struct api *a, struct sse_stats *ret)
{
    sse_hub_get_stats(a->hub, ret);
}

void api_flush(struct api *a, duration_ns patience_ns)
{
    sse_hub_flush(a->hub, a->backend->ops->last_event(a->backend), patience_ns);
}

void api_stop(struct api *a)
{
    if (!a)
        return;
    apart_stop(a);
    feeder_stop(a);
}

void api_free(struct api *a)
{
    if (!a)
        return;
    api_stop(a);
    apart_free(a);
    assert(list_empty(&a->followers) && list_empty(&a->batch_uses));
    sse_hub_free(a->hub);
    while (a->snapshot_count > 0)
        snapshot_free(&a->snapshots[--a->snapshot_count]);
    pthread_cond_destroy(&a->changed);
    pthread_cond_destroy(&a->place_found);
    pthread_mutex_destroy(&a->lock);
    mem_free(a);
}
