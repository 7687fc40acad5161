/*
 * The public face (include/weir/weir.h): engine and pools. Checks what comes from outside, and
 * translates between the library's words and the engine's.
 */
#include "weir/weir.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "core/worker/affinity.h"
#include "engine/public.h"
#include "exec/thread/thread.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

#define WAIT_MS_MAX (GATE_WAIT_MAX_NS / NS_PER_MS)

const char *weir_version(void)
{
    return WEIR_VERSION;
}

enum weir_status public_null(struct weir_error *err, const char *what)
{
    return error_set(err, WEIR_E_INVALID, "%s is NULL", what);
}

static void on_worker_event(struct core_observer *o, const struct core_event *ev)
{
    struct weir_engine *engine = (struct weir_engine *)o;
    struct weir_pool *p;

    if (ev->kind != EVENT_WORKER_SAID)
        return;
    /* Pools are only added, in front, and the callback is not made under the lock. */
    pthread_mutex_lock(&engine->lock);
    p = engine->pools;
    pthread_mutex_unlock(&engine->lock);
    while (p && !(p->said && p->said(p, ev)))
        p = p->next;
}

static const struct core_observer_ops worker_observer = {.event = on_worker_event};

enum weir_status weir_open(const struct weir_options *options, struct weir_engine **ret,
                           struct weir_error *err)
{
    struct engine_options o = {.seed = options ? options->seed : 0};
    struct weir_engine *w;
    enum weir_status status;

    if (!ret)
        return public_null(err, "ret");
    w = mem_calloc(1, sizeof *w);
    if (!w)
        return error_nomem(err);
    w->workers.ops = &worker_observer;
    o.edge_observer = &w->workers;
    pthread_mutex_init(&w->lock, NULL);
    status = engine_new(&o, &w->engine, err);
    if (status != WEIR_OK) {
        pthread_mutex_destroy(&w->lock);
        mem_free(w);
        return status;
    }
    *ret = w;
    return WEIR_OK;
}

enum weir_status weir_shutdown(struct weir_engine *engine, bool wait, struct weir_error *err)
{
    if (!engine)
        return public_null(err, "engine");
    engine_shutdown(engine->engine, wait);
    return WEIR_OK;
}

enum weir_status weir_close(struct weir_engine *engine, struct weir_error *err)
{
    bool has_tasks;
    size_t open;

    if (!engine)
        return WEIR_OK;
    pthread_mutex_lock(&engine->lock);
    open = engine->open_batches;
    has_tasks = engine->has_tasks;
    pthread_mutex_unlock(&engine->lock);
    if (has_tasks)
        return error_set(err, WEIR_E_BUSY,
                         "its tasks are still open: close them before the engine");
    if (open > 0)
        return error_set(err, WEIR_E_BUSY,
                         "%zu batches are still open: close them before the engine", open);
    engine_free(engine->engine);
    while (engine->pools) {
        struct weir_pool *p = engine->pools;

        engine->pools = p->next;
        public_free_pool(p);
    }
    pthread_mutex_destroy(&engine->lock);
    mem_free(engine);
    return WEIR_OK;
}

void weir_pool_options_init(struct weir_pool_options *options)
{
    if (!options)
        return;
    *options = (struct weir_pool_options){
        .size = 1,
        .throttle = WEIR_THROTTLE_ADAPTIVE,
        .waste = ADAPTIVE_WASTE,
        .max_dispatch_delay_ms = 5000,
        .backoff_multiplier = 2.0,
        .recovery_step_ms = 50,
        .max_capacity_retry_seconds = 3600,
        .max_attempts = 3,
        .retry_delay_ms = 500,
    };
}

enum weir_status public_waits_check(const struct public_wait *waits, size_t count,
                                    struct weir_error *err)
{
    for (size_t i = 0; i < count; i++)
        if (waits[i].ms < waits[i].least || waits[i].ms > WAIT_MS_MAX)
            return error_set(err, WEIR_E_INVALID,
                             "%s is %" PRId64 "; it must be %" PRId64 " or more, a year at most",
                             waits[i].name, waits[i].ms, waits[i].least);
    return WEIR_OK;
}

enum weir_status public_session_check(const char *session, const char *whose,
                                      struct weir_error *err)
{
    struct slice name = slice_of(session ? session : "-");

    if (name.len < 1 || name.len > AFFINITY_NAME_BYTES_MAX)
        return error_set(err, WEIR_E_INVALID,
                         "%s session has %zu bytes; it must have 1 to %d, or be NULL", whose,
                         name.len, AFFINITY_NAME_BYTES_MAX);
    /* A worker gets it as JSON: names that differ only in what is no text would be one name to it. */
    if (utf8_valid_prefix(name) != name.len)
        return error_set(err, WEIR_E_INVALID, "%s session is not UTF-8, from byte %zu on", whose,
                         utf8_valid_prefix(name));
    return WEIR_OK;
}

/* What the core would say in words that are not the caller's. */
static enum weir_status check_options(const struct weir_pool_options *o, struct weir_error *err)
{
    const struct public_wait waits[] = {
        {"min_dispatch_delay_ms", o->min_dispatch_delay_ms, 0},
        {"max_dispatch_delay_ms", o->max_dispatch_delay_ms, 1},
        {"recovery_step_ms", o->recovery_step_ms, 0},
        {"retry_delay_ms", o->retry_delay_ms, 1},
        {"timeout_ms", o->timeout_ms, 0},
    };
    enum weir_status status = public_waits_check(waits, sizeof waits / sizeof *waits, err);

    if (status != WEIR_OK)
        return status;
    if (o->size < 1 || o->size > POOL_SIZE_MAX)
        return error_set(err, WEIR_E_INVALID, "size is %" PRIu64 "; it must be 1 to %d", o->size,
                         POOL_SIZE_MAX);
    if (!(o->rate_per_second >= 0) || !isfinite(o->rate_per_second))
        return error_set(err, WEIR_E_INVALID,
                         "rate_per_second is %g; it must be more than 0, or 0 for no limit",
                         o->rate_per_second);
    if (!(o->max_capacity_retry_seconds > 0) || !isfinite(o->max_capacity_retry_seconds))
        return error_set(err, WEIR_E_INVALID,
                         "max_capacity_retry_seconds is %g; it must be more than 0 and finite",
                         o->max_capacity_retry_seconds);
    return WEIR_OK;
}

static enum weir_status translate_throttle(const struct weir_pool_options *from,
                                           struct throttle_options *to, struct weir_error *err)
{
    switch (from->throttle) {
    case WEIR_THROTTLE_NONE:
        to->kind = THROTTLE_NONE;
        break;
    case WEIR_THROTTLE_AIMD:
        to->kind = THROTTLE_AIMD;
        break;
    case WEIR_THROTTLE_ADAPTIVE:
        to->kind = THROTTLE_ADAPTIVE;
        break;
    default:
        return error_set(err, WEIR_E_INVALID,
                         "throttle is %d; it must be one of enum weir_throttle",
                         (int)from->throttle);
    }
    to->adaptive.waste = from->waste;
    to->aimd.min_delay_ns = duration_from_ms(from->min_dispatch_delay_ms);
    to->aimd.max_delay_ns = duration_from_ms(from->max_dispatch_delay_ms);
    to->aimd.multiplier = from->backoff_multiplier;
    to->aimd.step_ns = duration_from_ms(from->recovery_step_ms);
    return WEIR_OK;
}

enum weir_status public_pool_options(const struct weir_pool_options *from,
                                     struct core_pool_options *to, struct weir_error *err)
{
    enum weir_status status;

    core_pool_options_init(to);
    status = check_options(from, err);
    if (status == WEIR_OK)
        status = translate_throttle(from, &to->gate.throttle, err);
    if (status != WEIR_OK)
        return status;
    to->name = from->name;
    to->size = (size_t)from->size;
    to->gate.min_dispatch_delay_ns = duration_from_ms(from->min_dispatch_delay_ms);
    to->gate.rate_per_s = from->rate_per_second;
    to->gate.requests_per_minute = from->requests_per_minute;
    to->max_attempts = from->max_attempts;
    to->backoff.initial_ns = duration_from_ms(from->retry_delay_ms);
    if (to->backoff.ceiling_ns < to->backoff.initial_ns)
        to->backoff.ceiling_ns = to->backoff.initial_ns;
    to->timeout_ns = duration_from_ms(from->timeout_ms);
    to->max_capacity_retry_ns = duration_from_seconds(from->max_capacity_retry_seconds);
    return core_pool_options_check(to, err);
}

/* What a callback gets as its struct weir_answer. */
struct weir_answer {
    struct core_attempt *attempt;
};

void public_work(weir_work_fn fn, void *ctx, const struct weir_row *row, struct core_attempt *a)
{
    struct weir_answer answer = {a};

    fn(ctx, row, &answer);
}

static void work(void *ctx, struct core_attempt *a)
{
    struct weir_pool *p = ctx;
    const struct public_row *r = a->payload;

    public_work(p->work, p->ctx, &r->row, a);
}

bool weir_answer_ok(struct weir_answer *answer, const void *output, size_t len)
{
    struct core_answer *a;

    if (!answer)
        return false;
    a = &answer->attempt->answer;
    public_answer_clear(a);
    if (!output && len > 0) {
        weir_answer_failed(answer, false, 0,
                           "the callback's output is NULL but its length is not 0");
        return false;
    }
    if (!answer_set_output(a, output ? output : "", len)) {
        a->outcome = WEIR_OUTCOME_FAILED;
        a->reason = WEIR_REASON_INTERNAL;
        a->retryable = true;
        answer_say(a, "no memory for the output of %zu bytes", len);
        return false;
    }
    a->outcome = WEIR_OUTCOME_OK;
    a->reason = WEIR_REASON_NONE;
    return true;
}

void public_answer_clear(struct core_answer *a)
{
    struct instant started = a->started_at;
    struct flow_advice advice;

    if (a->outcome == WEIR_OUTCOME_LOST && !a->message)
        return; /* nothing has been said yet */
    advice = a->advice;
    answer_clear(a);
    a->started_at = started;
    a->advice = advice;
}

void weir_answer_capacity(struct weir_answer *answer, int status, const char *message)
{
    struct core_answer *a;

    if (!answer)
        return;
    a = &answer->attempt->answer;
    public_answer_clear(a);
    a->outcome = WEIR_OUTCOME_CAPACITY;
    a->reason = WEIR_REASON_CALLBACK;
    a->status = status;
    if (message)
        answer_say(a, "%s", message);
}

void weir_answer_retry_after(struct weir_answer *answer, int64_t milliseconds)
{
    if (answer && milliseconds >= 0)
        answer->attempt->answer.advice.retry_after_ns = duration_from_ms(milliseconds);
}

void weir_answer_failed(struct weir_answer *answer, bool retryable, int status, const char *message)
{
    struct core_answer *a;

    if (!answer)
        return;
    a = &answer->attempt->answer;
    public_answer_clear(a);
    a->outcome = WEIR_OUTCOME_FAILED;
    a->reason = WEIR_REASON_CALLBACK;
    a->retryable = retryable;
    a->status = status;
    if (message)
        answer_say(a, "%s", message);
}

bool weir_answer_cancelled(const struct weir_answer *answer)
{
    return !answer || atomic_load_explicit(&answer->attempt->cancelled, memory_order_relaxed);
}

static enum weir_status make_thread_executor(void *ctx, const struct core_pool_options *options,
                                             struct uv_loop_s *loop,
                                             struct core_executor_host *host,
                                             struct core_executor **ret, struct weir_error *err)
{
    struct thread_options o = {.threads = options->size, .work = work, .ctx = ctx};

    (void)loop;
    return thread_executor_new(&o, host, ret, err);
}

enum weir_status public_add_pool(struct weir_engine *engine, struct weir_pool *p,
                                 const struct core_pool_options *o, engine_executor_fn make,
                                 struct weir_pool **ret, struct weir_error *err)
{
    enum weir_status status;

    p->owner = engine;
    status = engine_add_pool(engine->engine, o, make, p, &p->core, err);
    if (status != WEIR_OK) {
        public_free_pool(p);
        return status;
    }
    pthread_mutex_lock(&engine->lock);
    p->next = engine->pools;
    engine->pools = p;
    pthread_mutex_unlock(&engine->lock);
    *ret = p;
    return WEIR_OK;
}

char **public_words_copy(const char *const *words)
{
    size_t count = 0, bytes = 0;
    char **copy, *text;

    if (!words)
        return NULL;
    while (words[count])
        bytes += strlen(words[count++]) + 1;
    copy = mem_alloc((count + 1) * sizeof *copy + bytes);
    if (!copy)
        return NULL;
    text = (char *)(copy + count + 1);
    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(words[i]) + 1;

        copy[i] = memcpy(text, words[i], len);
        text += len;
    }
    copy[count] = NULL;
    return copy;
}

void public_free_pool(struct weir_pool *p)
{
    if (p->forget)
        p->forget(p);
    mem_free(p);
}

enum weir_status weir_pool_open_thread(struct weir_engine *engine,
                                       const struct weir_pool_options *options, weir_work_fn fn,
                                       void *ctx, struct weir_pool **ret, struct weir_error *err)
{
    struct core_pool_options o;
    struct weir_pool *p;
    enum weir_status status;

    if (!engine || !options || !fn || !ret)
        return public_null(err, !engine ? "engine" : !options ? "options" : !fn ? "work" : "ret");
    status = public_pool_options(options, &o, err);
    if (status != WEIR_OK)
        return status;
    p = mem_calloc(1, sizeof *p);
    if (!p)
        return error_nomem(err);
    p->work = fn;
    p->ctx = ctx;
    return public_add_pool(engine, p, &o, make_thread_executor, ret, err);
}

static const char *reason_of(unsigned reason, const char *(*say)(enum throttle_reason reason))
{
    return reason < THROTTLE_REASONS ? say((enum throttle_reason)reason) : NULL;
}

const char *weir_throttle_reason_name(unsigned reason)
{
    return reason_of(reason, throttle_reason_name);
}

const char *weir_throttle_reason_text(unsigned reason)
{
    return reason_of(reason, throttle_reason_text);
}

static void throttle_stats(const struct core_stats *from, struct weir_stats *to)
{
    const struct throttle_state *s = &from->throttle;

    _Static_assert((int)THROTTLE_REASONS <= WEIR_THROTTLE_REASONS, "the statistics have room");
    to->throttle.kind = throttle_kind_name(from->throttle_kind);
    to->throttle.mode = throttle_mode_name(s->mode);
    to->throttle.rate_per_second = isfinite(s->rate_rps) ? s->rate_rps : 0;
    to->throttle.window = s->window < SIZE_MAX ? s->window : 0;
    to->throttle.rate_min_per_second = from->rate_min_rps;
    to->throttle.rate_max_per_second = from->rate_max_rps;
    to->throttle.window_min = from->window_min;
    to->throttle.window_max = from->window_max;
    to->throttle.reason = (unsigned)s->reason;
    to->throttle.changes = s->changes;
    for (int i = 0; i < THROTTLE_REASONS; i++)
        to->throttle.changes_by_reason[i] = s->by_reason[i];
}

void public_stats(const struct core_stats *from, struct weir_stats *to)
{
    *to = (struct weir_stats){
        .pool_config = {.pool_size = from->pool_size,
                        .max_capacity_retry_seconds = duration_seconds(from->max_capacity_retry_ns),
                        .dispatch_delay_at_completion_ms =
                            duration_ms(from->dispatch_delay_at_completion_ns)},
        .pool_stats = {.capacity_retries = from->capacity_retries,
                       .successes = from->successes,
                       .failures = from->failures,
                       .peak_delay_ms = duration_ms(from->peak_delay_ns),
                       .current_delay_ms = duration_ms(from->current_delay_ns),
                       .total_throttle_time_ms = duration_ms(from->total_throttle_time_ns),
                       .max_concurrent_reached = from->max_concurrent_reached},
        .accepted = from->accepted,
        .finished = from->finished,
        .delivered = from->delivered,
        .pending = from->ready + from->waiting + from->running,
        .attempts = from->attempts,
        .refused = from->refused,
    };
    throttle_stats(from, to);
}

enum weir_status weir_pool_stats(struct weir_pool *pool, struct weir_stats *ret,
                                 struct weir_error *err)
{
    struct core_stats stats;

    if (!pool || !ret)
        return public_null(err, pool ? "ret" : "pool");
    engine_pool_stats(pool->owner->engine, pool->core, &stats);
    public_stats(&stats, ret);
    return WEIR_OK;
}
