/*
 * Pools and their workers: looked at, changed, enabled and disabled (internal.h).
 */
#include "serve/api/internal.h"

#include "base/mem.h"
#include "core/permits.h"

#include <stdint.h>

/* ---- queues ---- */

/* What waits for each target, as the registry counts it. */
struct tallies {
    struct registry_tally *of; /* targets are copies */
    size_t count, cap;
    bool failed;
};

static bool note_tally(void *ctx, const struct registry_tally *t)
{
    struct tallies *all = ctx;
    char *target;

    if (all->count == all->cap) {
        size_t cap = all->cap ? all->cap * 2 : 16;
        struct registry_tally *of = mem_realloc(all->of, cap * sizeof(*of));

        if (!of) {
            all->failed = true;
            return false;
        }
        all->of = of;
        all->cap = cap;
    }
    target = mem_copy(t->target.len ? t->target.data : "", t->target.len);
    if (!target) {
        all->failed = true;
        return false;
    }
    all->of[all->count] = *t;
    all->of[all->count++].target = (struct slice){target, t->target.len};
    return true;
}

static void tallies_free(struct tallies *all)
{
    for (size_t i = 0; i < all->count; i++)
        mem_free((void *)(uintptr_t)all->of[i].target.data);
    mem_free(all->of);
}

struct pools_out {
    struct buf *out;
    struct tallies tallies;
    size_t count;
};

static void add_queue(uint64_t queue[REGISTRY_STATES], const struct registry_tally *t)
{
    for (int s = 0; s < REGISTRY_STATES; s++)
        queue[s] += t->states[s];
}

static void put_pool(void *ctx, const struct api_pool *p)
{
    struct pools_out *o = ctx;
    uint64_t queue[REGISTRY_STATES] = {0};

    for (size_t i = 0; i < o->tallies.count; i++) {
        const struct registry_tally *t = &o->tallies.of[i];

        if (slice_equal(t->target, slice_of(p->name)) || (p->is_default && t->target.len == 0))
            add_queue(queue, t);
    }
    if (o->count++ > 0)
        buf_putc(o->out, ',');
    out_pool(o->out, p, queue);
}

enum weir_status put_pools(struct api *a, struct registry_reader *r, const char *name,
                           struct buf *out, struct api_status *ret_status, struct weir_error *err)
{
    struct pools_out o = {.out = out};
    enum weir_status status = r->ops->tallies(r, note_tally, &o.tallies, err);

    if (o.tallies.failed) {
        *err = (struct weir_error){.status = WEIR_E_NOMEM, .message = "out of memory"};
        status = WEIR_E_NOMEM;
    }
    if (status == WEIR_OK)
        status = a->backend->ops->pools(a->backend, name, put_pool, &o, ret_status, err);
    tallies_free(&o.tallies);
    return status;
}

static enum weir_status make_pools(void *ctx, struct buf *out, struct weir_error *err)
{
    struct api *a = ctx;
    struct registry_reader *r;
    enum weir_status status = a->backend->ops->take_reader(a->backend, &r, err);

    if (status != WEIR_OK)
        return status;
    buf_putc(out, '[');
    status = put_pools(a, r, NULL, out, NULL, err);
    buf_putc(out, ']');
    reader_give(a, r);
    return status;
}

void get_pools(struct http_request *req, void *ctx)
{
    struct weir_error err = {0};
    struct buf out = {0};

    if (api_snapshot(ctx, SNAPSHOT_POOLS, make_pools, &out, &err) == WEIR_OK)
        http_reply_json(req, 200, &out);
    else
        reply_failure(req, &err, "list");
    buf_free(&out);
}

/* As it is now: asked for by name, or after it was changed. */
static void reply_pool(struct api *a, struct http_request *req, const char *name)
{
    struct registry_reader *r = reader_take(a, req);
    struct weir_error err = {0};
    struct buf out = {0};

    if (!r)
        return;
    if (put_pools(a, r, name, &out, NULL, &err) == WEIR_OK)
        http_reply_json(req, 200, &out);
    else
        reply_failure(req, &err, "such pool");
    reader_give(a, r);
    buf_free(&out);
}

void get_pool(struct http_request *req, void *ctx)
{
    reply_pool(ctx, req, http_param(req, "name"));
}

/* ---- changes ---- */

#define MIB               ((uint64_t)1 << 20)
#define POOL_PLACES_MAX   1000000
#define BURST_SECONDS_MAX 86400

struct pool_fields {
    struct slice limit;
    int64_t max_concurrency;
    double cpu;
    uint64_t memory_bytes;
    struct slice reserve, burst;
    int64_t min_priority, places;
    double share, seconds;
};

static const struct field pool_table[] = {
    {FIELD(struct pool_fields, limit, "max_concurrency", FIELD_VALUE)},
    {FIELD(struct pool_fields, cpu, "cpu", FIELD_NUMBER), .min = 0, .max = TASK_CPU_MAX},
    {FIELD(struct pool_fields, memory_bytes, "memory", FIELD_SIZE), .min = 0, .max = 0x1p62},
    {FIELD(struct pool_fields, reserve, "reserve", FIELD_VALUE)},
    {FIELD(struct pool_fields, burst, "burst", FIELD_VALUE)},
};
enum { MAX_CONCURRENCY = 1, CPU = 2, MEMORY = 4, RESERVE = 8, BURST = 16 };

static const struct field limit_field = {
    FIELD(struct pool_fields, max_concurrency, "max_concurrency", FIELD_INT), .min = 1,
    .max = POOL_PLACES_MAX};
static const struct field reserve_table[] = {
    {FIELD(struct pool_fields, min_priority, "min_priority", FIELD_INT),
     .min = REGISTRY_PRIORITY_MIN, .max = REGISTRY_PRIORITY_MAX},
    {FIELD(struct pool_fields, share, "share", FIELD_NUMBER), .min = 0, .max = 1},
};
static const struct field burst_table[] = {
    {FIELD(struct pool_fields, places, "places", FIELD_INT), .min = 0, .max = POOL_PLACES_MAX},
    {FIELD(struct pool_fields, seconds, "seconds", FIELD_NUMBER), .min = 0,
     .max = BURST_SECONDS_MAX},
};

/* An object of two fields, both of which must be there; null: both 0. */
static bool read_pair(struct body_in *in, const char *name, struct slice value,
                      const struct field table[2], struct pool_fields *f)
{
    struct where at = {.name = slice_of(name)};
    uint64_t given;

    if (json_kind(value) == JSON_NULL)
        return true;
    if (!body_fields(in, &at, value, table, 2, f, &given))
        return false;
    if (given != 3)
        return body_fault(in, &at, "give both \"%s\" and \"%s\"", table[0].name, table[1].name);
    return true;
}

/* null: 0, what the configuration says. */
static bool read_limit(struct body_in *in, struct pool_fields *f)
{
    struct where at = {.name = SLICE("max_concurrency")};

    return json_kind(f->limit) == JSON_NULL ||
           body_value(in, &at, f->limit, &limit_field, &f->max_concurrency);
}

static void change_pool(struct api *a, struct http_request *req, const struct pool_fields *f,
                        uint64_t given)
{
    size_t max_concurrency = (size_t)f->max_concurrency, places = (size_t)f->places;
    uint64_t cpu = permit_cpu_quota(f->cpu), memory = permit_memory_quota(f->memory_bytes);
    int32_t min_priority = (int32_t)f->min_priority;
    const char *name = http_param(req, "name");
    struct api_pool_change c = {
        .max_concurrency = given & MAX_CONCURRENCY ? &max_concurrency : NULL,
        .cpu_milli = given & CPU ? &cpu : NULL,
        .memory_mib = given & MEMORY ? &memory : NULL,
        .reserve_min_priority = given & RESERVE ? &min_priority : NULL,
        .reserve_share = given & RESERVE ? &f->share : NULL,
        .burst_places = given & BURST ? &places : NULL,
        .burst_seconds = given & BURST ? &f->seconds : NULL,
    };
    struct weir_error err = {0};

    if (a->backend->ops->change_pool(a->backend, name, &c, &err) == WEIR_OK)
        reply_pool(a, req, name);
    else
        reply_failure(req, &err, "such pool");
}

static void patch(struct http_request *req, void *ctx)
{
    struct arena arena = {0};
    struct body_in in = {.arena = &arena};
    struct pool_fields f = {0};
    uint64_t given;

    if (!request_fields(req, &in, pool_table, COUNT_OF(pool_table), &f, &given))
        ;
    else if (given == 0)
        http_problem(
            req, 400, NULL,
            "nothing is to be changed: give max_concurrency, cpu, memory, reserve or burst");
    else if (!(!(given & MAX_CONCURRENCY) || read_limit(&in, &f)) ||
             !(!(given & RESERVE) || read_pair(&in, "reserve", f.reserve, reserve_table, &f)) ||
             !(!(given & BURST) || read_pair(&in, "burst", f.burst, burst_table, &f)))
        reply_faults(req, &in.faults);
    else
        change_pool(ctx, req, &f, given);
    faults_free(&in.faults);
    arena_free(&arena);
}

void patch_pool(struct http_request *req, void *ctx)
{
    apart(ctx, req, patch);
}

static void act(struct http_request *req, struct api *a, enum api_pool_act what)
{
    const char *name = http_param(req, "name");
    struct weir_error err = {0};

    if (a->backend->ops->act_on_pool(a->backend, name, what, &err) == WEIR_OK)
        reply_pool(a, req, name);
    else
        reply_failure(req, &err, "such pool");
}

static void enable(struct http_request *req, void *ctx)
{
    act(req, ctx, API_POOL_ENABLE);
}

void post_pool_enable(struct http_request *req, void *ctx)
{
    apart(ctx, req, enable);
}

static void disable(struct http_request *req, void *ctx)
{
    act(req, ctx, API_POOL_DISABLE);
}

void post_pool_disable(struct http_request *req, void *ctx)
{
    apart(ctx, req, disable);
}

static void drain(struct http_request *req, void *ctx)
{
    act(req, ctx, API_POOL_DRAIN);
}

void post_pool_drain(struct http_request *req, void *ctx)
{
    apart(ctx, req, drain);
}

static void reset_breaker(struct http_request *req, void *ctx)
{
    act(req, ctx, API_POOL_RESET_BREAKER);
}

void post_pool_breaker_reset(struct http_request *req, void *ctx)
{
    apart(ctx, req, reset_breaker);
}

/* ---- workers ---- */

static void put_worker(void *ctx, const struct api_worker *w)
{
    struct buf *out = ctx;

    if (out->len > 1)
        buf_putc(out, ',');
    out_worker(out, w);
}

void get_pool_workers(struct http_request *req, void *ctx)
{
    struct api *a = ctx;
    struct weir_error err = {0};
    struct buf out = {0};

    buf_putc(&out, '[');
    if (a->backend->ops->workers(a->backend, http_param(req, "name"), put_worker, &out, &err) ==
        WEIR_OK) {
        buf_putc(&out, ']');
        http_reply_json(req, 200, &out);
    } else {
        reply_failure(req, &err, "such pool");
    }
    buf_free(&out);
}
