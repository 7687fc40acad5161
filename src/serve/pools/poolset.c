/*
 * What all pools of a daemon share, and a pool's figures out of its configuration.
 */
#include "serve/pools/poolset.h"

#include "base/error.h"
#include "base/mem.h"
#include "core/worker/recovery.h"
#include "serve/pools/internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <nettle/hmac.h>
#include <string.h>
#include <sys/random.h>

#define SECRET_BYTES 16

/* ---- what is shared ---- */

static void free_slots(struct config_slot *slots, size_t count)
{
    for (size_t i = 0; slots && i < count; i++) {
        for (size_t p = 0; slots[i].paths.items && p < slots[i].paths.count; p++)
            mem_free(slots[i].paths.items[p]);
        mem_free(slots[i].paths.items);
        mem_free(slots[i].name);
    }
    mem_free(slots);
}

static bool copy_slot(struct config_slot *to, const struct config_slot *from)
{
    to->name = mem_strdup(from->name);
    to->paths.items = mem_calloc(from->paths.count + 1, sizeof *to->paths.items);
    if (!to->name || !to->paths.items)
        return false;
    for (; to->paths.count < from->paths.count; to->paths.count++) {
        to->paths.items[to->paths.count] = mem_strdup(from->paths.items[to->paths.count]);
        if (!to->paths.items[to->paths.count])
            return false;
    }
    return true;
}

enum weir_status poolset_set_config(struct poolset *s, const struct config *config,
                                    struct weir_error *err)
{
    size_t count = config->slots.count, old_count;
    struct config_slot *slots = mem_calloc(count + 1, sizeof *slots), *old;

    if (!slots)
        return error_nomem(err);
    for (size_t i = 0; i < count; i++) {
        if (copy_slot(&slots[i], &config->slots.items[i]))
            continue;
        free_slots(slots, count);
        return error_nomem(err);
    }
    (void)pthread_mutex_lock(&s->lock);
    old = s->slots;
    old_count = s->slot_count;
    s->slots = slots;
    s->slot_count = count;
    (void)pthread_mutex_unlock(&s->lock);
    free_slots(old, old_count);
    return WEIR_OK;
}

/* Where tokens come from, and how systemd speaks with weir: none of it is for what weir runs. */
static bool list_own_variables(struct poolset *s, const struct config *config)
{
    static const char *const systemds[] = {
        "NOTIFY_SOCKET", "WATCHDOG_USEC",  "WATCHDOG_PID",         "LISTEN_FDS",
        "LISTEN_PID",    "LISTEN_FDNAMES", "CREDENTIALS_DIRECTORY"};

    for (size_t i = 0; i < sizeof systemds / sizeof *systemds; i++)
        texts_add(&s->own, systemds[i]);
    for (size_t i = 0; i < config->tokens.count; i++) {
        if (config->tokens.items[i].env)
            texts_add(&s->own, config->tokens.items[i].env);
    }
    return texts_end(&s->own);
}

enum weir_status poolset_new(const struct poolset_options *o, struct poolset **ret,
                             struct weir_error *err)
{
    struct poolset *s = mem_calloc(1, sizeof *s);
    enum weir_status status;

    if (!s)
        return error_nomem(err);
    (void)pthread_mutex_init(&s->lock, NULL);
    s->run_dir = o->run_dir ? mem_strdup(o->run_dir) : NULL;
    s->api = o->api ? mem_strdup(o->api) : NULL;
    s->mark = o->mark ? mem_strdup(o->mark) : NULL;
    if ((o->run_dir && !s->run_dir) || (o->api && !s->api) || (o->mark && !s->mark) ||
        !list_own_variables(s, o->config))
        status = error_nomem(err);
    else if (getrandom(s->key, sizeof s->key, 0) != (ssize_t)sizeof s->key)
        status = error_set_errno(err, WEIR_E_IO, errno, "no random numbers can be had");
    else
        status = poolset_set_config(s, o->config, err);
    if (status == WEIR_OK)
        *ret = s;
    else
        poolset_free(s);
    return status;
}

void poolset_free(struct poolset *s)
{
    if (!s)
        return;
    free_slots(s->slots, s->slot_count);
    texts_free(&s->own);
    explicit_bzero(s->key, sizeof s->key);
    (void)pthread_mutex_destroy(&s->lock);
    mem_free(s->run_dir);
    mem_free(s->api);
    mem_free(s->mark);
    mem_free(s);
}

/* ---- tokens of attempts ---- */

/* Keyed by what nobody else knows, so nothing has to be remembered of each attempt. */
static void secret_of(const struct poolset *s, uint64_t token, uint8_t ret[SECRET_BYTES])
{
    struct hmac_sha256_ctx hmac;

    hmac_sha256_set_key(&hmac, sizeof s->key, s->key);
    hmac_sha256_update(&hmac, sizeof token, (const uint8_t *)&token);
    hmac_sha256_digest(&hmac, SECRET_BYTES, ret);
    explicit_bzero(&hmac, sizeof hmac);
}

void poolset_token_put(const struct poolset *s, uint64_t token, struct buf *out)
{
    uint8_t secret[SECRET_BYTES];

    secret_of(s, token, secret);
    buf_put_u64(out, token);
    buf_putc(out, '.');
    for (size_t i = 0; i < SECRET_BYTES; i++)
        buf_printf(out, "%02x", secret[i]);
}

bool poolset_token_check(const struct poolset *s, uint64_t token, struct slice given)
{
    struct buf expected = {0};
    unsigned differs = 0;
    bool same;

    poolset_token_put(s, token, &expected);
    same = !expected.failed && expected.len == given.len;
    /* All of it is looked at, whatever differs first. */
    for (size_t i = 0; same && i < given.len; i++)
        differs |= (unsigned)(uint8_t)expected.data[i] ^ (uint8_t)given.data[i];
    buf_free(&expected);
    return same && differs == 0;
}

bool poolset_beat_path(const struct poolset *s, uint64_t token, struct buf *out)
{
    if (s->run_dir)
        buf_printf(out, "%s/beat.%" PRIu64, s->run_dir, token);
    return s->run_dir != NULL;
}

/* ---- figures ---- */

static void fill_again(const struct config_pool *p, uint32_t *ret_max_attempts,
                       struct backoff_options *ret_backoff)
{
    const struct config_backoff *b =
        p->backoff.initial_ns >= 0 ? &p->backoff : &config_backoff_otherwise;

    *ret_max_attempts = p->max_attempts >= 0 ? (uint32_t)p->max_attempts : CONFIG_MAX_ATTEMPTS;
    *ret_backoff = (struct backoff_options){.kind = BACKOFF_EXPONENTIAL,
                                            .initial_ns = b->initial_ns,
                                            .factor = b->factor,
                                            .ceiling_ns = b->ceiling_ns,
                                            .jitter = b->jitter};
}

static void fill_gate(const struct config_pool *p, struct gate_options *o)
{
    struct aimd_options *aimd = &o->throttle.aimd;

    o->throttle.kind = (enum throttle_kind)p->throttle;
    if (p->throttle == THROTTLE_ADAPTIVE)
        o->throttle.adaptive.waste = p->waste;
    o->min_dispatch_delay_ns = p->min_dispatch_delay_ns;
    if (p->throttle == THROTTLE_AIMD) {
        aimd->min_delay_ns = p->min_dispatch_delay_ns;
        aimd->max_delay_ns = p->max_dispatch_delay_ns;
        aimd->multiplier = p->backoff_multiplier;
        aimd->step_ns = p->recovery_step_ns;
    }
    o->rate_per_s = p->rate;
    o->requests_per_minute = p->requests_per_minute;
    o->tokens_per_minute = p->tokens_per_minute;
    o->retry_after_max_ns = p->retry_after_max_ns;
}

size_t poolset_limit(const struct pool_program *program, size_t max_concurrency)
{
    const struct crew_options *crew = &program->process.crew;

    return program->kind == CONFIG_PROCESS
               ? (max_concurrency + crew->overflow) * crew->max_in_flight
               : max_concurrency;
}

size_t poolset_max_concurrency(const struct pool_program *program, size_t limit)
{
    const struct crew_options *crew = &program->process.crew;
    size_t workers;

    if (program->kind != CONFIG_PROCESS)
        return limit;
    workers = limit / crew->max_in_flight;
    return workers > crew->overflow ? workers - crew->overflow : 1;
}

size_t poolset_places(const struct pool_program *program, size_t running)
{
    const struct crew_options *crew = &program->process.crew;

    return program->kind == CONFIG_PROCESS
               ? (running + crew->max_in_flight - 1) / crew->max_in_flight
               : running;
}

void poolset_set_configured(struct pool_program *program, const struct config_pool *p)
{
    program->configured = (size_t)p->max_concurrency;
    program->follows = p->follow.what != FOLLOW_NOTHING;
    program->by_hand = false;
}

size_t poolset_configured(const struct pool_program *program, bool *ret_follows)
{
    *ret_follows = program->follows;
    return program->configured;
}

void poolset_set_by_hand(struct pool_program *program, bool by_hand)
{
    program->by_hand = by_hand;
}

bool poolset_by_hand(const struct pool_program *program)
{
    return program->by_hand;
}

static void fill_core(const struct config_pool *p, const struct pool_program *program,
                      struct core_pool_options *o)
{
    core_pool_options_init(o);
    o->size = poolset_limit(program, (size_t)p->max_concurrency);
    fill_gate(p, &o->gate);
    fill_again(p, &o->max_attempts, &o->backoff);
    o->timeout_ns = p->timeout_ns;
    o->max_capacity_retry_ns = p->max_capacity_retry_ns;
    o->breaker = (struct breaker_options){
        .on = p->breaker.mode != CONFIG_BREAKER_OFF,
        .failures = (uint32_t)p->breaker.failures,
        .open_ns = p->breaker.open_ns,
        .trials = (uint32_t)p->breaker.trials,
        .successes = (uint32_t)p->breaker.successes,
    };
    o->breaker_fails = p->breaker.mode == CONFIG_BREAKER_FAIL;
    if (p->kind != CONFIG_PROCESS)
        return;
    o->recovery = recovery_table();
    o->checkout_timeout_ns = p->checkout_timeout_ns;
}

static void fill_desk(const struct config_pool *p, struct desk_pool_options *o)
{
    o->skills = (const char *const *)p->skills.items;
    o->skill_count = p->skills.count;
    o->cpu_milli = permit_cpu_quota(p->cpu);
    o->memory_mib = permit_memory_quota((uint64_t)p->memory_bytes);
    o->reserve = (struct permit_reserve){(int32_t)p->reserve.min_priority, p->reserve.share};
    o->burst_places = (size_t)p->burst.places;
    o->burst_seconds = duration_seconds(p->burst.time_ns);
    o->fallback = p->fallback;
    fill_again(p, &o->max_attempts, &o->backoff);
    o->max_attempts_given = p->max_attempts >= 0;
    o->backoff_given = p->backoff.initial_ns >= 0;
    o->heartbeat_timeout_ns = p->heartbeat_timeout_ns;
    o->disabled = !p->enabled;
    o->tells_began = p->kind != CONFIG_HTTP; /* there are processes */
}

enum weir_status poolset_plan(struct poolset *s, const struct config_pool *p,
                              struct poolset_plan *ret, struct weir_error *err)
{
    struct poolset_plan plan = {.make = pool_program_make};
    enum weir_status status = pool_program_new(s, p, &plan.program, err);

    if (status == WEIR_OK) {
        fill_core(p, plan.program, &plan.core);
        fill_desk(p, &plan.desk);
        plan.core.name = plan.program->name;
        plan.desk.ops = &pool_program_ops;
        plan.desk.ctx = plan.program;
        plan.desk.skills = plan.program->skills.items;
        status = core_pool_options_check(&plan.core, err);
    }
    if (status != WEIR_OK) {
        pool_program_free(plan.program);
        (void)error_prefix(err, "pools[%s]", p->name);
        return status;
    }
    *ret = plan;
    return WEIR_OK;
}

void poolset_forget(struct poolset_plan *plan)
{
    pool_program_free(plan->program);
    *plan = (struct poolset_plan){0};
}

void poolset_replan(struct poolset_plan *plan, const struct config_pool *p)
{
    assert(strcmp(plan->program->name, p->name) == 0);
    plan->core.size = poolset_limit(plan->program, (size_t)p->max_concurrency);
    fill_desk(p, &plan->desk);
}

bool poolset_follow_options(const struct config_pool *p, struct follow_options *ret)
{
    if (p->follow.what == FOLLOW_NOTHING)
        return false;
    *ret = (struct follow_options){(enum follow_what)p->follow.what, p->follow.target,
                                   (size_t)p->follow.min, (size_t)p->follow.max};
    return true;
}
