/*
 * The public face (include/weir/workers.h): pools of worker processes.
 */
#include "base/error.h"
#include "base/mem.h"
#include "core/worker/recovery.h"
#include "engine/public.h"
#include "exec/process/process.h"
#include "weir/workers.h"

#include <inttypes.h>
#include <string.h>

/* Of a request, where the options say nothing: a worker that hangs must be noticed. */
#define TIMEOUT_NS (60 * NS_PER_S)

/* What the pool needs as long as it lives. */
struct process_program {
    char *pool; /* the pool's name: by it events are known to be of this one */
    char **argv, **env;
    char *dir, *command;
    struct row_worker rows;
    struct process_options options;
    duration_ns timeout_ns;
    void (*said)(void *ctx, uint64_t worker, const char *line, size_t len);
    void *said_ctx;
};

void weir_process_options_init(struct weir_process_options *options)
{
    if (!options)
        return;
    *options = (struct weir_process_options){
        .max_in_flight = 1,
        .frame_max_bytes = PROCESS_FRAME_BYTES_DEFAULT,
        .init_timeout_ms = 30000,
        .ping_every_ms = 30000,
        .ping_deadline_ms = 5000,
        .ping_recheck_ms = 5000,
        .ping_failures = 3,
        .overflow_idle_ms = 10000,
        .shutdown_grace_ms = 5000,
        .term_grace_ms = 5000,
        .session_idle_ms = 300000,
        .checkout_timeout_ms = 5000,
        .breaker_failures = 5,
        .breaker_open_ms = 60000,
        .breaker_trials = 3,
        .breaker_successes = 3,
    };
}

static enum weir_status check_waits(const struct weir_process_options *o, struct weir_error *err)
{
    const struct public_wait waits[] = {
        {"init_timeout_ms", o->init_timeout_ms, 1},
        {"ping_every_ms", o->ping_every_ms, 0},
        {"ping_deadline_ms", o->ping_deadline_ms, 1},
        {"ping_recheck_ms", o->ping_recheck_ms, 1},
        {"overflow_idle_ms", o->overflow_idle_ms, 1},
        {"recycle_age_ms", o->recycle_age_ms, 0},
        {"shutdown_grace_ms", o->shutdown_grace_ms, 0},
        {"term_grace_ms", o->term_grace_ms, 0},
        {"session_idle_ms", o->session_idle_ms, 1},
        {"checkout_timeout_ms", o->checkout_timeout_ms, 1},
        {"breaker_open_ms", o->breaker_open_ms, 1},
    };

    return public_waits_check(waits, sizeof waits / sizeof *waits, err);
}

/* Its rows are requests there too: nothing but workers can read them. */
static enum weir_status check_fallback(const struct weir_engine *engine,
                                       const struct weir_pool *fallback, struct weir_error *err)
{
    if (fallback && fallback->owner != engine)
        return error_set(err, WEIR_E_INVALID,
                         "the fallback is a pool of another engine; open it in the same one");
    if (fallback && !fallback->worker_rows)
        return error_set(err, WEIR_E_INVALID,
                         "the fallback has no workers; open one with weir_pool_open_process()");
    return WEIR_OK;
}

/* What the core would say in words that are not the caller's. */
static enum weir_status check(const struct weir_engine *engine,
                              const struct weir_pool_options *pool,
                              const struct weir_process_options *o, struct weir_error *err)
{
    const struct {
        const char *name;
        uint32_t n;
    } counts[] = {
        {"ping_failures", o->ping_failures},
        {"breaker_failures", o->breaker_failures},
        {"breaker_trials", o->breaker_trials},
        {"breaker_successes", o->breaker_successes},
    };
    enum weir_status status = check_waits(o, err);

    if (status != WEIR_OK)
        return status;
    if (!o->argv || !o->argv[0] || !o->argv[0][0])
        return error_set(err, WEIR_E_INVALID,
                         "argv names no program; give the words of the worker's command line, NULL "
                         "at the end");
    if (pool->size < 1 || pool->size > CREW_WORKERS_MAX ||
        o->overflow > CREW_WORKERS_MAX - pool->size)
        return error_set(err, WEIR_E_INVALID,
                         "size is %" PRIu64 " and overflow %" PRIu32
                         "; a pool has 1 to %d workers, extra ones included",
                         pool->size, o->overflow, CREW_WORKERS_MAX);
    if (o->max_in_flight < 1 || o->max_in_flight > CREW_IN_FLIGHT_MAX)
        return error_set(err, WEIR_E_INVALID, "max_in_flight is %" PRIu32 "; it must be 1 to %d",
                         o->max_in_flight, CREW_IN_FLIGHT_MAX);
    if ((pool->size + o->overflow) * o->max_in_flight > POOL_SIZE_MAX)
        return error_set(err, WEIR_E_INVALID,
                         "%" PRIu64 " workers with a max_in_flight of %" PRIu32
                         " would have %" PRIu64 " requests at once; a pool may have %d",
                         pool->size + o->overflow, o->max_in_flight,
                         (pool->size + o->overflow) * o->max_in_flight, POOL_SIZE_MAX);
    if (o->frame_max_bytes < 1024 || o->frame_max_bytes > UINT32_MAX)
        return error_set(err, WEIR_E_INVALID,
                         "frame_max_bytes is %" PRIu64 "; it must be 1,024 or more, below 4 GiB",
                         o->frame_max_bytes);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (counts[i].n < 1)
            return error_set(err, WEIR_E_INVALID, "%s is 0; it must be 1 or more", counts[i].name);
    return check_fallback(engine, o->fallback, err);
}

static void fill_crew(struct crew_options *c, const struct weir_pool_options *pool,
                      const struct weir_process_options *o)
{
    c->size = (size_t)pool->size;
    c->overflow = o->overflow;
    c->lazy = o->lazy;
    c->order = o->fifo ? CREW_FIFO : CREW_LIFO;
    c->max_in_flight = o->max_in_flight;
    c->init_timeout_ns = duration_from_ms(o->init_timeout_ms);
    c->health = (struct health_options){
        .every_ns = duration_from_ms(o->ping_every_ms),
        .deadline_ns = duration_from_ms(o->ping_deadline_ms),
        .recheck_ns = duration_from_ms(o->ping_recheck_ms),
        .failures = o->ping_failures,
    };
    c->overflow_idle_ns = duration_from_ms(o->overflow_idle_ms);
    c->recycle_requests = o->recycle_requests;
    c->recycle_age_ns = duration_from_ms(o->recycle_age_ms);
    c->recycle_memory_bytes = o->recycle_memory_bytes;
    c->shutdown_grace_ns = duration_from_ms(o->shutdown_grace_ms);
    c->term_grace_ns = duration_from_ms(o->term_grace_ms);
    c->affinity.idle_ns = duration_from_ms(o->session_idle_ms);
    /* A sweep that comes less often would let sessions live for longer than was said. */
    if (c->affinity.sweep_ns > c->affinity.idle_ns)
        c->affinity.sweep_ns = c->affinity.idle_ns;
}

static void fill_pool(struct core_pool_options *p, const struct weir_process_options *o)
{
    p->size = (p->size + o->overflow) * o->max_in_flight;
    if (p->timeout_ns == 0)
        p->timeout_ns = TIMEOUT_NS;
    p->call_checkout_timeout_ns = duration_from_ms(o->checkout_timeout_ms);
    if (!p->name)
        p->name = "process";
    p->recovery = recovery_table();
    p->breaker = (struct breaker_options){
        .on = !o->no_breaker,
        .failures = o->breaker_failures,
        .open_ns = duration_from_ms(o->breaker_open_ms),
        .trials = o->breaker_trials,
        .successes = o->breaker_successes,
    };
    p->breaker_fails = o->fail_when_open;
}

static void forget(struct weir_pool *p)
{
    struct process_program *g = p->program;

    mem_free(g->pool);
    mem_free(g->argv);
    mem_free(g->env);
    mem_free(g->dir);
    mem_free(g->command);
    mem_free(g);
}

/* Copies what must live as long as the pool. */
static bool copy_program(struct process_program *g, const char *name,
                         const struct weir_process_options *o)
{
    g->pool = mem_strdup(name);
    g->argv = public_words_copy(o->argv);
    g->env = public_words_copy(o->env);
    g->dir = o->dir ? mem_strdup(o->dir) : NULL;
    g->command = o->command ? mem_strdup(o->command) : NULL;
    g->rows.command = g->command;
    g->said = o->said;
    g->said_ctx = o->said_ctx;
    return g->pool && g->argv && (!o->env || g->env) && (!o->dir || g->dir) &&
           (!o->command || g->command);
}

static bool said(struct weir_pool *p, const struct core_event *ev)
{
    const struct process_program *g = p->program;

    if (g->pool != ev->pool) /* the very text: another pool may have the same name */
        return false;
    if (g->said)
        g->said(g->said_ctx, ev->worker, ev->detail, strlen(ev->detail));
    return true;
}

static struct weir_pool *make_pool(const char *name, const struct weir_pool_options *pool,
                                   const struct weir_process_options *o)
{
    struct weir_pool *p = mem_calloc(1, sizeof *p);
    struct process_program *g;

    if (!p)
        return NULL;
    g = p->program = mem_calloc(1, sizeof *g);
    if (!g) {
        mem_free(p);
        return NULL;
    }
    p->forget = forget;
    p->said = said;
    p->worker_rows = &g->rows;
    if (!copy_program(g, name, o)) {
        public_free_pool(p);
        return NULL;
    }
    process_options_init(&g->options);
    g->options.argv = g->argv;
    g->options.env = g->env;
    g->options.dir = g->dir;
    g->options.frame_max_bytes = o->frame_max_bytes;
    fill_crew(&g->options.crew, pool, o);
    g->options.crew.pool = g->pool;
    return p;
}

static enum weir_status make_executor(void *ctx, const struct core_pool_options *options,
                                      struct uv_loop_s *loop, struct core_executor_host *host,
                                      struct core_executor **ret, struct weir_error *err)
{
    struct process_program *g = ((struct weir_pool *)ctx)->program;

    (void)options;
    return process_executor_new(&g->options, loop, host, ret, err);
}

enum weir_status weir_pool_open_process(struct weir_engine *engine,
                                        const struct weir_pool_options *options,
                                        const struct weir_process_options *process,
                                        struct weir_pool **ret, struct weir_error *err)
{
    struct core_pool_options o;
    struct weir_pool *p;
    enum weir_status status;

    if (!engine || !options || !process || !ret)
        return public_null(err, !engine    ? "engine"
                                : !options ? "options"
                                : !process ? "process"
                                           : "ret");
    status = public_pool_options(options, &o, err);
    if (status == WEIR_OK)
        status = check(engine, options, process, err);
    if (status != WEIR_OK)
        return status;
    fill_pool(&o, process);
    p = make_pool(o.name, options, process);
    if (!p)
        return error_nomem(err);
    status = public_add_pool(engine, p, &o, make_executor, &p, err);
    if (status == WEIR_OK && process->fallback)
        status = engine_set_fallback(engine->engine, p->core, process->fallback->core, err);
    if (status != WEIR_OK)
        return status;
    *ret = p;
    return WEIR_OK;
}
