#include "serve/daemon/backend.h"

#include "base/error.h"
#include "base/mem.h"
#include "loop/loop.h"
#include "serve/daemon/internal.h"

#include <assert.h>

static void send_op(struct api_backend *b, struct registry_op *op)
{
    engine_tasks_send(backend_of(b)->tasks, op);
}

/* ---- readers ---- */

/* Waits for one when all that may be are out: none stays out for long. */
static enum weir_status take_reader(struct api_backend *api, struct registry_reader **ret,
                                    struct weir_error *err)
{
    struct backend *b = backend_of(api);
    struct core_registry *r = b->registry;
    enum weir_status status;

    pthread_mutex_lock(&b->lock);
    while (b->idle_count == 0 && b->reader_count == BACKEND_READERS_MAX)
        pthread_cond_wait(&b->given, &b->lock);
    if (b->idle_count > 0) {
        *ret = b->idle[--b->idle_count];
        pthread_mutex_unlock(&b->lock);
        return WEIR_OK;
    }
    b->reader_count++;
    pthread_mutex_unlock(&b->lock);
    status = r->ops->reader(r, ret, err);
    if (status != WEIR_OK) {
        pthread_mutex_lock(&b->lock);
        b->reader_count--;
        pthread_cond_signal(&b->given);
        pthread_mutex_unlock(&b->lock);
    }
    return status;
}

static void give_reader(struct api_backend *api, struct registry_reader *r)
{
    struct backend *b = backend_of(api);

    pthread_mutex_lock(&b->lock);
    assert(b->idle_count < b->reader_count);
    b->idle[b->idle_count++] = r;
    pthread_cond_signal(&b->given);
    pthread_mutex_unlock(&b->lock);
}

static uint64_t last_event(struct api_backend *api)
{
    struct core_registry *r = backend_of(api)->registry;

    return r->ops->last_event(r);
}

static int64_t now_ns(struct api_backend *api)
{
    (void)api;
    return loop_wall_clock_ns();
}

static void shut_down(struct api_backend *api, duration_ns grace_ns)
{
    struct backend *b = backend_of(api);

    b->options.shut_down(b->options.ctx, grace_ns);
}

static const struct api_backend_ops ops = {
    .send = send_op,
    .take_reader = take_reader,
    .give_reader = give_reader,
    .last_event = last_event,
    .now_ns = now_ns,
    .status = view_status,
    .change_dispatcher = change_dispatcher,
    .pools = view_pools,
    .change_pool = change_pool,
    .act_on_pool = act_on_pool,
    .workers = view_workers,
    .runners = view_runners,
    .kill = kill_attempt,
    .beat = beat_attempt,
    .tenants = view_tenants,
    .slots = view_slots,
    .why = view_why,
    .shut_down = shut_down,
};

enum weir_status backend_new(struct engine_tasks *tasks, const struct backend_options *o,
                             struct backend **ret, struct weir_error *err)
{
    struct backend *b = mem_calloc(1, sizeof *b);

    if (!b)
        return error_nomem(err);
    b->api.ops = &ops;
    b->tasks = tasks;
    b->registry = engine_tasks_registry(b->tasks);
    b->options = *o;
    b->started_at = loop_clock();
    b->started_ns = loop_wall_clock_ns();
    pthread_mutex_init(&b->changing, NULL);
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->given, NULL);
    if (backend_set_default(b, o->default_pool, err) != WEIR_OK) {
        backend_free(b);
        return WEIR_E_NOMEM;
    }
    *ret = b;
    return WEIR_OK;
}

struct api_backend *backend_api(struct backend *b)
{
    return &b->api;
}

void backend_stopping(struct backend *b)
{
    atomic_store(&b->stopping, true);
}

enum weir_status backend_set_default(struct backend *b, const char *name, struct weir_error *err)
{
    char *copy = name ? mem_strdup(name) : NULL;

    if (name && !copy)
        return error_nomem(err);
    pthread_mutex_lock(&b->lock);
    mem_free(b->default_pool);
    b->default_pool = copy;
    pthread_mutex_unlock(&b->lock);
    return WEIR_OK;
}

void backend_hold_changes(struct backend *b)
{
    pthread_mutex_lock(&b->changing);
}

void backend_allow_changes(struct backend *b)
{
    pthread_mutex_unlock(&b->changing);
}

void backend_free(struct backend *b)
{
    if (!b)
        return;
    assert(b->idle_count == b->reader_count);
    for (size_t i = 0; i < b->idle_count; i++)
        b->idle[i]->ops->close(b->idle[i]);
    mem_free(b->default_pool);
    pthread_cond_destroy(&b->given);
    pthread_mutex_destroy(&b->lock);
    pthread_mutex_destroy(&b->changing);
    mem_free(b);
}
