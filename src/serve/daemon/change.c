/*
 * What somebody wants to be otherwise: done on the engine's thread, then written down as a fact, so
 * that it holds after a restart:
 *
 *     change/dispatcher     {"policy":"priority","ageing":0,"max_global_concurrency":20}
 *     change/pool/NAME      {"enabled":false,"max_concurrency":4,"cpu_milli":0,...}
 *
 * A fact has all that may be changed of its thing, as it is in force, and what the configuration
 * said of that at the time: if that is not what it says now, the fact holds no longer. What was
 * done and could not be written is told as an error: it holds, but only until the next start.
 */
#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "serve/daemon/internal.h"
#include "serve/pools/poolset.h"

#include <string.h>

#define DISPATCHER_FACT "change/dispatcher"
#define POOL_FACT       "change/pool/"

/* A change, from its doing to its writing. */
struct fact {
    struct buf name, object; /* object: the caller's to fill */
    struct registry_op op;
    struct engine_tasks_wait wait;
    bool sent;
};

/* While changes are held. The object gets what the configuration says, too. */
static void fact_send(struct backend *b, const char *pool, struct fact *f)
{
    buf_puts(&f->name, pool ? POOL_FACT : DISPATCHER_FACT);
    buf_puts(&f->name, pool ? pool : "");
    if (f->name.failed || f->object.failed || f->object.len == 0)
        return;
    f->object.len--; /* the brace */
    buf_puts(&f->object, ",\"configured\":\"");
    b->options.configured(b->options.ctx, pool, &f->object);
    buf_puts(&f->object, "\"}");
    if (f->object.failed)
        return;
    f->op = (struct registry_op){
        .kind = REGISTRY_SET, .set = {.name = buf_slice(&f->name), .value = buf_slice(&f->object)}};
    engine_tasks_apply_begin(b->tasks, &f->op, &f->wait);
    f->sent = true;
}

/* While changes are not held: a store that fails keeps nobody else waiting. */
static enum weir_status fact_wait(struct fact *f, struct weir_error *err)
{
    enum weir_status status =
        f->sent ? engine_tasks_apply_end(&f->wait, &f->op, err) : error_nomem(err);

    if (status != WEIR_OK)
        (void)error_prefix(err, "it is changed, but could not be written down and holds only until "
                                "the next start");
    return status;
}

static void fact_free(struct fact *f)
{
    buf_free(&f->name);
    buf_free(&f->object);
}

/* Whether the configuration says what it said when the fact was written. */
static bool is_of_now(struct backend *b, const char *pool, struct slice fact)
{
    _cleanup_buf_ struct buf now = {0};
    struct slice value;

    buf_putc(&now, '"');
    b->options.configured(b->options.ctx, pool, &now);
    buf_putc(&now, '"');
    return !json_member(fact, "configured", &value) || slice_equal(value, buf_slice(&now));
}

/* ---- the dispatcher ---- */

struct dispatcher_work {
    const struct api_dispatcher_change *change;
    enum schedule_policy policy;
    struct buf *fact;
};

static void put_dispatcher(struct desk *d, struct buf *out)
{
    const struct schedule_options *o = desk_get_schedule(d);
    const struct permits *p = desk_permits(d);

    buf_printf(out, "{\"policy\":\"%s\",\"ageing\":%.17g,\"max_global_concurrency\":%zu}",
               schedule_policy_name(o->policy), o->ageing,
               p->limit == PERMITS_UNLIMITED ? 0 : p->limit);
}

static void work_on_dispatcher(struct desk *d, struct instant now, void *ctx)
{
    struct dispatcher_work *w = ctx;
    struct schedule_options o = *desk_get_schedule(d);

    if (w->change->policy)
        o.policy = w->policy;
    if (w->change->ageing)
        o.ageing = *w->change->ageing;
    if (w->change->policy || w->change->ageing)
        desk_set_schedule(d, &o, now);
    if (w->change->max_global_concurrency)
        desk_set_global_limit(d, *w->change->max_global_concurrency, now);
    put_dispatcher(d, w->fact);
}

/* Without writing it down. A fact that there was no memory for is fact_send()'s to see. */
static enum weir_status apply_dispatcher(struct backend *b, const struct api_dispatcher_change *c,
                                         struct buf *fact, struct weir_error *err)
{
    struct dispatcher_work w = {.change = c, .fact = fact};

    if (c->policy && !schedule_policy_from_name(c->policy, &w.policy))
        return error_set(err, WEIR_E_INVALID,
                         "policy \"%s\" is none; it must be fifo, priority, skill or fair-share",
                         c->policy);
    if (c->ageing && !(*c->ageing >= 0 && *c->ageing <= 1000))
        return error_set(err, WEIR_E_INVALID, "ageing is %g; it must be 0 to 1000 a minute",
                         *c->ageing);
    engine_tasks_call(b->tasks, work_on_dispatcher, &w);
    return WEIR_OK;
}

enum weir_status change_dispatcher(struct api_backend *api, const struct api_dispatcher_change *c,
                                   struct weir_error *err)
{
    struct backend *b = backend_of(api);
    struct fact f = {0};
    enum weir_status status;

    backend_hold_changes(b);
    status = apply_dispatcher(b, c, &f.object, err);
    if (status == WEIR_OK)
        fact_send(b, NULL, &f);
    backend_allow_changes(b);
    if (status == WEIR_OK)
        status = fact_wait(&f, err);
    fact_free(&f);
    return status;
}

/* ---- pools ---- */

struct pool_work {
    const char *name;
    const struct api_pool_change *change;
    const bool *enabled; /* NULL: as it is */
    bool reset_breaker;
    struct buf *fact;
    struct weir_error *err;
    enum weir_status status;
};

static void put_pool(const struct desk_pool *p, struct buf *out)
{
    const struct permit_account *a = core_pool_permits(desk_core_pool(p));

    buf_printf(out,
               "{\"enabled\":%s,\"max_concurrency\":%zu,\"limit_by_hand\":%s,"
               "\"cpu_milli\":%llu,\"memory_mib\":%llu,"
               "\"reserve_min_priority\":%d,\"reserve_share\":%.17g,\"burst_places\":%zu,"
               "\"burst_seconds\":%.17g}",
               desk_pool_enabled(p) ? "true" : "false",
               poolset_max_concurrency(desk_pool_get_options(p)->ctx, a->limit),
               poolset_by_hand(desk_pool_get_options(p)->ctx) ? "true" : "false",
               (unsigned long long)a->cpu_milli_limit, (unsigned long long)a->memory_mib_limit,
               a->reserve.min_priority, a->reserve.share, a->burst.places, a->burst.seconds);
}

static enum weir_status apply_options(struct desk *d, struct desk_pool *p,
                                      const struct api_pool_change *c, struct instant now,
                                      struct weir_error *err)
{
    struct desk_pool_options o = *desk_pool_get_options(p);

    if (c->cpu_milli)
        o.cpu_milli = *c->cpu_milli;
    if (c->memory_mib)
        o.memory_mib = *c->memory_mib;
    if (c->reserve_share) {
        o.reserve.min_priority = *c->reserve_min_priority;
        o.reserve.share = *c->reserve_share;
    }
    if (c->burst_places) {
        o.burst_places = *c->burst_places;
        o.burst_seconds = *c->burst_seconds;
    }
    return desk_change_pool(d, p, &o, now, err);
}

/* size 0: what the configuration says; a limit that follows something does so again. */
static enum weir_status set_limit(struct desk *d, struct desk_pool *p, size_t size,
                                  struct instant now, struct weir_error *err)
{
    struct pool_program *program = desk_pool_get_options(p)->ctx;
    bool follows, by_hand = size > 0;
    size_t configured = poolset_configured(program, &follows);
    enum weir_status status = WEIR_OK;

    if (by_hand || !follows)
        status =
            desk_set_limit(d, p, poolset_limit(program, by_hand ? size : configured), now, err);
    if (status == WEIR_OK)
        poolset_set_by_hand(program, by_hand);
    return status;
}

static void work_on_pool(struct desk *d, struct instant now, void *ctx)
{
    struct pool_work *w = ctx;
    struct desk_pool *p = desk_find_pool(d, w->name);
    const struct api_pool_change *c = w->change;

    if (!p) {
        w->status = error_set(w->err, WEIR_E_END, "there is no pool \"%s\"", w->name);
        return;
    }
    w->status = WEIR_OK;
    if (c && c->max_concurrency)
        w->status = set_limit(d, p, *c->max_concurrency, now, w->err);
    if (c && w->status == WEIR_OK &&
        (c->cpu_milli || c->memory_mib || c->reserve_share || c->burst_places))
        w->status = apply_options(d, p, c, now, w->err);
    if (w->enabled)
        desk_enable_pool(d, p, *w->enabled, now);
    if (w->reset_breaker)
        desk_reset_breaker(p, now);
    if (w->status == WEIR_OK)
        put_pool(p, w->fact);
}

static enum weir_status do_on_pool(struct backend *b, struct pool_work *w, bool write)
{
    struct fact f = {0};
    enum weir_status status;

    w->fact = &f.object;
    backend_hold_changes(b);
    engine_tasks_call(b->tasks, work_on_pool, w);
    status = w->status;
    write = write && status == WEIR_OK;
    if (write)
        fact_send(b, w->name, &f);
    backend_allow_changes(b);
    if (write)
        status = fact_wait(&f, w->err);
    fact_free(&f);
    return status;
}

enum weir_status change_pool(struct api_backend *api, const char *name,
                             const struct api_pool_change *c, struct weir_error *err)
{
    return do_on_pool(backend_of(api), &(struct pool_work){.name = name, .change = c, .err = err},
                      true);
}

enum weir_status act_on_pool(struct api_backend *api, const char *name, enum api_pool_act act,
                             struct weir_error *err)
{
    bool enabled = act == API_POOL_ENABLE;
    struct pool_work w = {.name = name, .err = err};

    if (act == API_POOL_RESET_BREAKER)
        w.reset_breaker = true;
    else
        w.enabled = &enabled;
    return do_on_pool(backend_of(api), &w, !w.reset_breaker);
}

/* ---- attempts ---- */

struct kill {
    uint64_t token;
    bool found;
};

static void kill_one(struct desk *d, struct instant now, void *ctx)
{
    struct kill *k = ctx;

    k->found = desk_kill(d, k->token, "somebody ended it by hand", now);
}

static enum weir_status no_runner(uint64_t token, struct weir_error *err)
{
    return error_set(err, WEIR_E_END, "no attempt %llu runs", (unsigned long long)token);
}

enum weir_status kill_attempt(struct api_backend *api, uint64_t token, struct weir_error *err)
{
    struct kill k = {.token = token};

    engine_tasks_call(backend_of(api)->tasks, kill_one, &k);
    return k.found ? WEIR_OK : no_runner(token, err);
}

struct beat {
    struct core_heartbeat beat;
    bool found;
};

static void beat_one(struct desk *d, struct instant now, void *ctx)
{
    struct beat *b = ctx;

    b->found = desk_beat(d, &b->beat, now);
}

enum weir_status beat_attempt(struct api_backend *api, uint64_t token, const char *secret,
                              double progress, struct slice text, struct weir_error *err)
{
    struct backend *b = backend_of(api);
    struct beat beat = {.beat = {.token = token, .progress = progress, .text = text}};

    if (!secret || !b->options.knows_secret(b->options.ctx, token, secret))
        return error_set(err, WEIR_E_CONFLICT,
                         "that is not the secret of attempt %llu: it is in WEIR_TOKEN",
                         (unsigned long long)token);
    if (beat.beat.text.len > CORE_HEARTBEAT_TEXT_MAX)
        beat.beat.text.len = utf8_valid_prefix((struct slice){text.data, CORE_HEARTBEAT_TEXT_MAX});
    engine_tasks_call(b->tasks, beat_one, &beat);
    return beat.found ? WEIR_OK : no_runner(token, err);
}

/* ---- forgetting ---- */

static enum weir_status read_fact(struct backend *b, struct slice name, struct buf *out,
                                  struct weir_error *err)
{
    struct registry_reader *r;
    enum weir_status status = b->api.ops->take_reader(&b->api, &r, err);

    if (status != WEIR_OK)
        return status;
    status = r->ops->fact(r, name, out, err);
    b->api.ops->give_reader(&b->api, r);
    return status;
}

struct backend_forgets {
    struct backend_forgets *next;
    struct backend *backend;
    struct registry_op op;
    struct engine_tasks_wait wait;
    struct weir_error err; /* it was not sent */
    bool sent, of_pool;
    size_t name_len;
    char name[]; /* of the fact, behind it the pool's */
};

static enum weir_status forget_end(struct backend_forgets *f, struct weir_error *err)
{
    enum weir_status status = f->err.status;

    if (f->sent)
        status = engine_tasks_apply_end(&f->wait, &f->op, err);
    else
        *err = f->err;
    if (status != WEIR_OK)
        (void)error_prefix(err, "what was changed by hand there is undone, but could not be "
                                "forgotten: it may hold again after the next start, unless it is "
                                "changed by hand before");
    return status;
}

static void forget_begin(struct backend_forgets *f)
{
    _cleanup_buf_ struct buf fact = {0};
    struct slice name = {f->name, f->name_len};
    enum weir_status status = read_fact(f->backend, name, &fact, &f->err);

    if (status == WEIR_E_END) {
        f->err = (struct weir_error){0};
        return;
    }
    /* One that cannot be read is forgotten all the same. */
    f->err = (struct weir_error){0};
    f->op = (struct registry_op){.kind = REGISTRY_SET, .set = {.name = name, .value = {"", 0}}};
    engine_tasks_apply_begin(f->backend->tasks, &f->op, &f->wait);
    f->sent = true;
}

static struct backend_forgets *forget_new(struct backend *b, const char *pool)
{
    const char *kind = pool ? POOL_FACT : DISPATCHER_FACT, *name = pool ? pool : "";
    size_t kind_len = strlen(kind), len = strlen(name);
    struct backend_forgets *f = mem_calloc(1, sizeof *f + kind_len + len + 1);

    if (!f)
        return NULL;
    f->backend = b;
    f->of_pool = pool != NULL;
    f->name_len = kind_len + len;
    memcpy(f->name, kind, kind_len);
    memcpy(f->name + kind_len, name, len);
    return f;
}

void backend_forget(struct backend *b, const char *pool, struct backend_forgets **all)
{
    struct backend_forgets *f = forget_new(b, pool);

    if (!f)
        return; /* the configuration has changed there, which the fact does not outlive (is_of_now) */
    forget_begin(f);
    f->next = *all;
    *all = f;
}

void backend_forget_end(struct backend_forgets **all, backend_forget_failed_fn failed, void *ctx)
{
    struct backend_forgets *f;

    while ((f = *all)) {
        struct weir_error err = {0};

        *all = f->next;
        if (forget_end(f, &err) != WEIR_OK)
            failed(ctx, f->of_pool ? f->name + strlen(POOL_FACT) : NULL, &err);
        mem_free(f);
    }
}

/* ---- at a start ---- */

static enum weir_status forget(struct backend *b, const char *pool, struct weir_error *err)
{
    struct backend_forgets *f = forget_new(b, pool);
    enum weir_status status;

    if (!f)
        return error_nomem(err);
    forget_begin(f);
    status = forget_end(f, err);
    mem_free(f);
    return status;
}

static bool number(struct slice object, const char *name, double *ret)
{
    struct slice value;

    return json_member(object, name, &value) && json_double(value, ret);
}

static enum weir_status restore_dispatcher(struct backend *b, struct weir_error *err)
{
    _cleanup_buf_ struct buf fact = {0}, policy = {0}, ignored = {0};
    enum weir_status status = read_fact(b, SLICE(DISPATCHER_FACT), &fact, err);
    struct slice value;
    double ageing, limit;
    size_t places;
    struct api_dispatcher_change c = {0};

    if (status != WEIR_OK)
        return status == WEIR_E_END ? WEIR_OK : status;
    if (!is_of_now(b, NULL, buf_slice(&fact)))
        return forget(b, NULL, err);
    if (json_member(buf_slice(&fact), "policy", &value)) {
        json_unquote(value, &policy);
        c.policy = policy.data;
    }
    if (number(buf_slice(&fact), "ageing", &ageing))
        c.ageing = &ageing;
    if (number(buf_slice(&fact), "max_global_concurrency", &limit)) {
        places = (size_t)limit;
        c.max_global_concurrency = &places;
    }
    return apply_dispatcher(b, &c, &ignored, err);
}

/* A change as a fact has it, with the numbers that it points to. */
struct kept {
    struct api_pool_change change;
    size_t max_concurrency, burst_places;
    uint64_t cpu_milli, memory_mib;
    int32_t min_priority;
    double share, seconds;
    bool enabled;
};

static void read_pool(struct slice object, struct kept *k)
{
    double a, b;
    struct slice value;

    *k = (struct kept){.enabled = true};
    if (number(object, "max_concurrency", &a) &&
        !(json_member(object, "limit_by_hand", &value) && slice_equal(value, SLICE("false")))) {
        k->max_concurrency = (size_t)a;
        k->change.max_concurrency = &k->max_concurrency;
    }
    if (number(object, "cpu_milli", &a) && number(object, "memory_mib", &b)) {
        k->cpu_milli = (uint64_t)a;
        k->memory_mib = (uint64_t)b;
        k->change.cpu_milli = &k->cpu_milli;
        k->change.memory_mib = &k->memory_mib;
    }
    if (number(object, "reserve_min_priority", &a) && number(object, "reserve_share", &k->share)) {
        k->min_priority = (int32_t)a;
        k->change.reserve_min_priority = &k->min_priority;
        k->change.reserve_share = &k->share;
    }
    if (number(object, "burst_places", &a) && number(object, "burst_seconds", &k->seconds)) {
        k->burst_places = (size_t)a;
        k->change.burst_places = &k->burst_places;
        k->change.burst_seconds = &k->seconds;
    }
    if (json_member(object, "enabled", &value))
        k->enabled = !slice_equal(value, SLICE("false"));
}

static enum weir_status restore_pool(struct backend *b, const char *name, struct weir_error *err)
{
    _cleanup_buf_ struct buf fact = {0}, fact_name = {0};
    enum weir_status status;
    struct kept kept;

    buf_puts(&fact_name, POOL_FACT);
    buf_puts(&fact_name, name);
    status = fact_name.failed ? error_nomem(err) : read_fact(b, buf_slice(&fact_name), &fact, err);
    if (status != WEIR_OK)
        return status == WEIR_E_END ? WEIR_OK : status;
    if (!is_of_now(b, name, buf_slice(&fact)))
        return forget(b, name, err);
    read_pool(buf_slice(&fact), &kept);
    return do_on_pool(
        b,
        &(struct pool_work){
            .name = name, .change = &kept.change, .enabled = &kept.enabled, .err = err},
        false);
}

struct names {
    struct buf all; /* each with a NUL behind it */
};

static void put_name(void *ctx, const struct api_pool *p)
{
    buf_put(&((struct names *)ctx)->all, p->name, strlen(p->name) + 1);
}

enum weir_status backend_restore(struct backend *b, struct weir_error *err)
{
    struct names names = {0};
    enum weir_status status = restore_dispatcher(b, err);

    if (status == WEIR_OK)
        status = view_pools(&b->api, NULL, put_name, &names, NULL, err);
    if (status == WEIR_OK && names.all.failed)
        status = error_nomem(err);
    for (size_t at = 0; status == WEIR_OK && at < names.all.len;
         at += strlen(names.all.data + at) + 1)
        status = restore_pool(b, names.all.data + at, err);
    buf_free(&names.all);
    return status;
}
