/*
 * Durable tasks behind include/weir/tasks.h: checks what comes from outside, and translates between
 * the library's words and those of engine/tasks.h.
 */
#include "weir/tasks.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "engine/public.h"
#include "engine/tasks.h"
#include "exec/thread/thread.h"
#include "loop/loop.h"
#include "store/registry/sqlite_registry.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Readers that are kept for the next who asks. */
#define READERS_KEPT 4

struct task_pool {
    weir_work_fn work;
    void *ctx;
    struct weir_tasks *tasks;
};

struct weir_tasks {
    struct weir_engine *owner;
    struct core_registry *registry;
    struct engine_tasks *tasks;
    char *default_pool;   /* NULL: the first one */
    pthread_mutex_t lock; /* of: */
    pthread_cond_t committed;
    uint64_t last_event;
    bool closing;
    struct registry_reader *readers[READERS_KEPT];
    size_t reader_count;
};

/* ---- options ---- */

void weir_tasks_options_init(struct weir_tasks_options *options)
{
    if (options)
        *options = (struct weir_tasks_options){.deaths_max = 3};
}

void weir_task_pool_options_init(struct weir_task_pool_options *options)
{
    if (!options)
        return;
    *options = (struct weir_task_pool_options){0};
    weir_pool_options_init(&options->pool);
}

void weir_task_init(struct weir_task *task)
{
    if (task)
        *task = (struct weir_task){0};
}

static enum weir_status check_options(const struct weir_tasks_options *o, struct weir_error *err)
{
    if (!o->path || !o->path[0])
        return error_set(err, WEIR_E_INVALID, "path is %s; it must name the registry's file",
                         o->path ? "empty" : "NULL");
    if ((unsigned)o->policy >= SCHEDULE_POLICIES)
        return error_set(err, WEIR_E_INVALID, "policy is %d; it must be one of enum weir_policy",
                         (int)o->policy);
    if (!(o->ageing >= 0 && o->ageing <= 1000))
        return error_set(err, WEIR_E_INVALID, "ageing is %g; it must be 0 to 1000", o->ageing);
    if (o->max_running > POOL_SIZE_MAX)
        return error_set(err, WEIR_E_INVALID, "max_running is %" PRIu64 "; it must be 0 to %d",
                         o->max_running, POOL_SIZE_MAX);
    return WEIR_OK;
}

/* ---- opening and closing ---- */

static void on_commit(void *ctx, uint64_t last_event)
{
    struct weir_tasks *t = ctx;

    pthread_mutex_lock(&t->lock);
    t->last_event = last_event;
    pthread_cond_broadcast(&t->committed);
    pthread_mutex_unlock(&t->lock);
}

static struct weir_tasks *allocate(struct weir_engine *engine, const struct weir_tasks_options *o)
{
    struct weir_tasks *t = mem_calloc(1, sizeof *t);
    pthread_condattr_t attr;

    if (!t)
        return NULL;
    t->owner = engine;
    pthread_mutex_init(&t->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&t->committed, &attr);
    pthread_condattr_destroy(&attr);
    if (o->default_pool && !(t->default_pool = mem_strdup(o->default_pool))) {
        pthread_cond_destroy(&t->committed);
        pthread_mutex_destroy(&t->lock);
        return mem_free(t);
    }
    return t;
}

static void free_tasks(struct weir_tasks *t)
{
    for (size_t i = 0; i < t->reader_count; i++)
        t->readers[i]->ops->close(t->readers[i]);
    if (t->registry)
        t->registry->ops->close(t->registry);
    pthread_cond_destroy(&t->committed);
    pthread_mutex_destroy(&t->lock);
    mem_free(t->default_pool);
    mem_free(t);
}

/* One for each engine: it lives on the engine's thread. */
static enum weir_status move_in(struct weir_engine *engine, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    pthread_mutex_lock(&engine->lock);
    if (engine->has_tasks)
        status = error_set(err, WEIR_E_BUSY,
                           "the engine has tasks already: close them first, or open "
                           "another engine");
    else
        engine->has_tasks = true;
    pthread_mutex_unlock(&engine->lock);
    return status;
}

static void move_out(struct weir_engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    engine->has_tasks = false;
    pthread_mutex_unlock(&engine->lock);
}

enum weir_status weir_tasks_open(struct weir_engine *engine,
                                 const struct weir_tasks_options *options, struct weir_tasks **ret,
                                 struct weir_error *err)
{
    struct engine_tasks_options o = {.committed = on_commit};
    struct weir_tasks *t;
    enum weir_status status;

    if (!engine || !options || !ret)
        return public_null(err, !engine ? "engine" : !options ? "options" : "ret");
    status = check_options(options, err);
    if (status == WEIR_OK)
        status = move_in(engine, err);
    if (status != WEIR_OK)
        return status;
    t = allocate(engine, options);
    if (!t) {
        move_out(engine);
        return error_nomem(err);
    }
    o.schedule.policy = (enum schedule_policy)options->policy;
    o.schedule.ageing = options->ageing;
    o.global_limit = (size_t)options->max_running;
    o.deaths_max = options->deaths_max;
    o.ctx = t;
    status = sqlite_registry_open(options->path, &(struct sqlite_registry_options){0}, &t->registry,
                                  err);
    if (status == WEIR_OK)
        status = engine_tasks_open(engine->engine, t->registry, &o, &t->tasks, err);
    if (status != WEIR_OK) {
        free_tasks(t);
        move_out(engine);
        return status;
    }
    *ret = t;
    return WEIR_OK;
}

enum weir_status weir_tasks_close(struct weir_tasks *tasks, int64_t grace_ms,
                                  struct weir_error *err)
{
    struct weir_engine *engine;
    uint64_t left;

    if (!tasks)
        return WEIR_OK;
    if (grace_ms < 0)
        return error_set(err, WEIR_E_INVALID, "grace_ms is %" PRId64 "; it must be 0 or more",
                         grace_ms);
    engine = tasks->owner;
    pthread_mutex_lock(&tasks->lock);
    tasks->closing = true;
    pthread_cond_broadcast(&tasks->committed);
    pthread_mutex_unlock(&tasks->lock);
    engine_tasks_stop(tasks->tasks, duration_from_ms(grace_ms), 0, true, &left);
    engine_tasks_close(tasks->tasks);
    free_tasks(tasks);
    move_out(engine);
    return WEIR_OK;
}

enum weir_status weir_tasks_start(struct weir_tasks *tasks, struct weir_error *err)
{
    if (!tasks)
        return public_null(err, "tasks");
    engine_tasks_start(tasks->tasks);
    return WEIR_OK;
}

/* ---- pools ---- */

static void work(void *ctx, struct core_attempt *a)
{
    struct task_pool *p = ctx;
    struct weir_row row = {.data = a->payload, .len = a->payload_len, .key = a->key};

    public_work(p->work, p->ctx, &row, a);
}

static void gone(void *ctx)
{
    mem_free(ctx);
}

static const struct desk_pool_ops pool_ops = {.gone = gone};

static enum weir_status make_threads(void *ctx, const struct core_pool_options *options,
                                     struct uv_loop_s *loop, struct core_executor_host *host,
                                     struct core_executor **ret, struct weir_error *err)
{
    (void)loop;
    return thread_executor_new(
        &(struct thread_options){.threads = options->size, .work = work, .ctx = ctx}, host, ret,
        err);
}

struct making_default {
    struct weir_tasks *tasks;
    const char *name;
};

static void set_default(struct desk *d, struct instant now, void *ctx)
{
    struct making_default *m = ctx;

    (void)now;
    (void)desk_set_default_pool(d, m->tasks->default_pool ? m->tasks->default_pool : m->name);
}

static enum weir_status keep_default(struct weir_tasks *t, const char *name, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    pthread_mutex_lock(&t->lock);
    if (!t->default_pool && !(t->default_pool = mem_strdup(name)))
        status = error_nomem(err);
    pthread_mutex_unlock(&t->lock);
    return status;
}

enum weir_status weir_tasks_pool_thread(struct weir_tasks *tasks,
                                        const struct weir_task_pool_options *options,
                                        weir_work_fn fn, void *ctx, struct weir_error *err)
{
    struct core_pool_options core;
    struct desk_pool_options desk = {.ops = &pool_ops};
    struct task_pool *p;
    enum weir_status status;

    if (!tasks || !options || !fn)
        return public_null(err, !tasks ? "tasks" : !options ? "options" : "work");
    status = public_pool_options(&options->pool, &core, err);
    if (status != WEIR_OK)
        return status;
    if (!core.name)
        core.name = "thread";
    p = mem_calloc(1, sizeof *p);
    if (!p)
        return error_nomem(err);
    *p = (struct task_pool){fn, ctx, tasks};
    desk.ctx = p;
    desk.skills = options->skills;
    while (options->skills && options->skills[desk.skill_count])
        desk.skill_count++;
    desk.max_attempts = core.max_attempts;
    desk.backoff = core.backoff;
    status = engine_tasks_add_pool(tasks->tasks, &core, make_threads, p, &desk, err);
    if (status != WEIR_OK) {
        mem_free(p);
        return status;
    }
    status = keep_default(tasks, core.name, err);
    if (status == WEIR_OK)
        engine_tasks_call(tasks->tasks, set_default, &(struct making_default){tasks, core.name});
    return status;
}

/* ---- submitting ---- */

static enum weir_status check_name(const char *what, const char *name, size_t i,
                                   struct weir_error *err)
{
    struct slice s = slice_of(name);

    if (!name)
        return WEIR_OK;
    if (s.len == 0 || s.len > REGISTRY_NAME_BYTES_MAX)
        return error_set(err, WEIR_E_INVALID,
                         "%s of task %zu has %zu bytes; it must have 1 to %d, or be NULL", what, i,
                         s.len, REGISTRY_NAME_BYTES_MAX);
    if (utf8_valid_prefix(s) != s.len)
        return error_set(err, WEIR_E_INVALID, "%s of task %zu is not UTF-8, from byte %zu on", what,
                         i, utf8_valid_prefix(s));
    return WEIR_OK;
}

static enum weir_status check_numbers(const struct weir_task *t, size_t i, struct weir_error *err)
{
    const struct public_wait waits[] = {{"timeout_ms", t->timeout_ms, 0},
                                        {"delay_ms", t->delay_ms, 0},
                                        {"deadline_ms", t->deadline_ms, 0}};

    if (t->priority < REGISTRY_PRIORITY_MIN || t->priority > REGISTRY_PRIORITY_MAX)
        return error_set(err, WEIR_E_INVALID, "priority of task %zu is %d; it must be %d to %d", i,
                         t->priority, REGISTRY_PRIORITY_MIN, REGISTRY_PRIORITY_MAX);
    if (t->len > REGISTRY_PAYLOAD_BYTES_MAX)
        return error_set(err, WEIR_E_INVALID, "data of task %zu has %zu bytes; it may have %u", i,
                         t->len, REGISTRY_PAYLOAD_BYTES_MAX);
    if ((!t->data && t->len > 0) || (!t->after && t->after_count > 0))
        return error_set(err, WEIR_E_INVALID, "%s of task %zu is NULL, and its length is not 0",
                         t->after ? "data" : "data or after", i);
    if (t->after_count > REGISTRY_AFTER_MAX)
        return error_set(err, WEIR_E_INVALID, "task %zu depends on %zu others; it may depend on %d",
                         i, t->after_count, REGISTRY_AFTER_MAX);
    if (public_waits_check(waits, sizeof waits / sizeof *waits, err) != WEIR_OK)
        return error_prefix(err, "task %zu", i);
    return WEIR_OK;
}

static enum weir_status check_task(const struct weir_task *t, size_t i, struct weir_error *err)
{
    const struct {
        const char *what, *name;
    } names[] = {{"key", t->key},         {"pool", t->pool},
                 {"skill", t->skill},     {"tenant", t->tenant},
                 {"session", t->session}, {"idempotency_key", t->idempotency_key}};
    enum weir_status status = check_numbers(t, i, err);

    for (size_t n = 0; status == WEIR_OK && n < sizeof names / sizeof *names; n++)
        status = check_name(names[n].what, names[n].name, i, err);
    if (status == WEIR_OK && t->pool && t->skill)
        status = error_set(err, WEIR_E_INVALID,
                           "task %zu has a pool and a skill; it may have one of them", i);
    return status;
}

/* Where a task's dependencies stand among all. */
static void fill_spec(const struct weir_task *t, int64_t now_ns, struct registry_after *after,
                      struct registry_spec *to)
{
    *to = (struct registry_spec){
        .line = {.priority = t->priority,
                 .pool = slice_of(t->pool),
                 .skill = slice_of(t->skill),
                 .tenant = slice_of(t->tenant),
                 .session = slice_of(t->session)},
        .key = slice_of(t->key),
        .payload = {t->data, t->len},
        .idempotency_key = slice_of(t->idempotency_key),
        .after = after,
        .after_count = (uint32_t)t->after_count,
        .run_after_failure = t->run_after_failure,
        .max_attempts = t->max_attempts,
        .timeout_ns = t->timeout_ms * NS_PER_MS,
        .not_before_ns = t->delay_ms > 0 ? now_ns + t->delay_ms * NS_PER_MS : 0,
        .deadline_ns = t->deadline_ms > 0 ? now_ns + t->deadline_ms * NS_PER_MS : 0,
    };
    for (size_t i = 0; i < t->after_count; i++)
        after[i] = (struct registry_after){.id = t->after[i]};
}

enum weir_status weir_tasks_submit(struct weir_tasks *tasks, const struct weir_task *task,
                                   size_t count, uint64_t *ret_ids, struct weir_error *err)
{
    int64_t now_ns = loop_wall_clock_ns();
    struct registry_op op = {.kind = REGISTRY_SUBMIT, .at_ns = now_ns};
    struct registry_spec *specs;
    struct registry_after *after;
    size_t after_count = 0;
    enum weir_status status = WEIR_OK;

    if (!tasks || !task)
        return public_null(err, !tasks ? "tasks" : "task");
    if (count < 1 || count > REGISTRY_SUBMIT_MAX)
        return error_set(err, WEIR_E_INVALID, "count is %zu; it must be 1 to %d", count,
                         REGISTRY_SUBMIT_MAX);
    for (size_t i = 0; status == WEIR_OK && i < count; i++) {
        status = check_task(&task[i], i, err);
        after_count += task[i].after_count;
    }
    if (status != WEIR_OK)
        return status;
    specs = mem_alloc(count * sizeof *specs + after_count * sizeof *after);
    if (!specs)
        return error_nomem(err);
    after = (struct registry_after *)(void *)(specs + count);
    for (size_t i = 0; i < count; i++) {
        fill_spec(&task[i], now_ns, after, &specs[i]);
        after += task[i].after_count;
    }
    op.submit.specs = specs;
    op.submit.count = count;
    op.submit.ret_ids = ret_ids;
    status = engine_tasks_apply(tasks->tasks, &op, err);
    mem_free(specs);
    return status;
}

/* ---- looking ---- */

static enum weir_status take_reader(struct weir_tasks *t, struct registry_reader **ret,
                                    struct weir_error *err)
{
    pthread_mutex_lock(&t->lock);
    *ret = t->reader_count > 0 ? t->readers[--t->reader_count] : NULL;
    pthread_mutex_unlock(&t->lock);
    return *ret ? WEIR_OK : t->registry->ops->reader(t->registry, ret, err);
}

static void give_reader(struct weir_tasks *t, struct registry_reader *r)
{
    pthread_mutex_lock(&t->lock);
    if (t->reader_count < READERS_KEPT) {
        t->readers[t->reader_count++] = r;
        r = NULL;
    }
    pthread_mutex_unlock(&t->lock);
    if (r)
        r->ops->close(r);
}

/* A NUL is behind each. */
static const char *put(char **at, struct slice s)
{
    char *to = *at;

    if (s.len > 0)
        memcpy(to, s.data, s.len);
    to[s.len] = '\0';
    *at += s.len + 1;
    return to;
}

static enum weir_status fill_info(const struct registry_view *v, struct weir_task_info *ret,
                                  struct weir_error *err)
{
    char *memory = mem_alloc(v->message.len + v->output.len + 2), *at = memory;

    if (!memory)
        return error_nomem(err);
    *ret = (struct weir_task_info){
        .id = v->id,
        .state = (enum weir_task_state)v->state,
        .attempts = v->attempts,
        .failures = v->failures,
        .outcome = v->outcome,
        .reason = v->reason,
        .status = v->status,
        .output_len = v->output.len,
        .submitted_ns = v->submitted_ns,
        .started_ns = v->started_ns,
        .ended_ns = v->ended_ns,
        .memory = memory,
    };
    ret->message = put(&at, v->message);
    ret->output = put(&at, v->output);
    if (v->message.len == 0)
        ret->message = NULL;
    if (!v->has_result)
        ret->output = NULL;
    return WEIR_OK;
}

enum weir_status weir_tasks_get(struct weir_tasks *tasks, uint64_t id, struct weir_task_info *ret,
                                struct weir_error *err)
{
    struct registry_reader *r;
    struct registry_view view;
    enum weir_status status;

    if (!tasks || !ret)
        return public_null(err, !tasks ? "tasks" : "ret");
    status = take_reader(tasks, &r, err);
    if (status != WEIR_OK)
        return status;
    status = r->ops->task(r, id, true, &view, err);
    if (status == WEIR_OK)
        status = fill_info(&view, ret, err);
    give_reader(tasks, r);
    return status;
}

void weir_task_info_free(struct weir_task_info *info)
{
    if (!info)
        return;
    mem_free(info->memory);
    *info = (struct weir_task_info){0};
}

/* Until something was committed after `seen`. False: the time is up. */
static bool wait_commit(struct weir_tasks *t, uint64_t seen, struct instant until)
{
    struct timespec at = {.tv_sec = until.ns / NS_PER_S, .tv_nsec = until.ns % NS_PER_S};
    bool in_time = true;

    pthread_mutex_lock(&t->lock);
    while (in_time && t->last_event == seen && !t->closing)
        in_time = pthread_cond_timedwait(&t->committed, &t->lock, &at) != ETIMEDOUT;
    pthread_mutex_unlock(&t->lock);
    return in_time;
}

enum weir_status weir_tasks_wait(struct weir_tasks *tasks, uint64_t id, int64_t timeout_ms,
                                 struct weir_task_info *ret, struct weir_error *err)
{
    struct instant until = INSTANT_NEVER;

    if (!tasks || !ret)
        return public_null(err, !tasks ? "tasks" : "ret");
    if (timeout_ms >= 0)
        until = instant_add(loop_clock(), duration_from_ms(timeout_ms));
    for (;;) {
        enum weir_status status;
        uint64_t seen;
        bool closing;

        pthread_mutex_lock(&tasks->lock);
        seen = tasks->last_event;
        closing = tasks->closing;
        pthread_mutex_unlock(&tasks->lock);
        if (closing)
            return error_set(err, WEIR_E_SHUTDOWN, "the tasks are being closed");
        status = weir_tasks_get(tasks, id, ret, err);
        if (status != WEIR_OK || ret->state >= WEIR_TASK_DONE)
            return status;
        weir_task_info_free(ret);
        if (!wait_commit(tasks, seen, until))
            return error_set(err, WEIR_E_AGAIN,
                             "task %" PRIu64 " has not ended within %" PRId64 " ms", id,
                             timeout_ms);
    }
}

static bool add_tally(void *ctx, const struct registry_tally *t)
{
    struct weir_tasks_stats *s = ctx;

    for (size_t i = 0; i < REGISTRY_STATES; i++)
        s->states[i] += t->states[i];
    return true;
}

static void count_running(struct desk *d, struct instant now, void *ctx)
{
    (void)now;
    ((struct weir_tasks_stats *)ctx)->running = desk_running(d);
}

enum weir_status weir_tasks_get_stats(struct weir_tasks *tasks, struct weir_tasks_stats *ret,
                                      struct weir_error *err)
{
    struct registry_reader *r;
    enum weir_status status;

    if (!tasks || !ret)
        return public_null(err, !tasks ? "tasks" : "ret");
    *ret = (struct weir_tasks_stats){0};
    status = take_reader(tasks, &r, err);
    if (status != WEIR_OK)
        return status;
    status = r->ops->tallies(r, add_tally, ret, err);
    give_reader(tasks, r);
    engine_tasks_call(tasks->tasks, count_running, ret);
    ret->events = tasks->registry->ops->last_event(tasks->registry);
    return status;
}

/* ---- changing ---- */

enum weir_status weir_tasks_cancel(struct weir_tasks *tasks, uint64_t id, struct weir_error *err)
{
    struct registry_op op = {.kind = REGISTRY_CANCEL, .cancel = {.task = id}};

    return tasks ? engine_tasks_apply(tasks->tasks, &op, err) : public_null(err, "tasks");
}

enum weir_status weir_tasks_retry(struct weir_tasks *tasks, uint64_t id, struct weir_error *err)
{
    struct registry_op op = {.kind = REGISTRY_RETRY, .retry = {.task = id}};

    return tasks ? engine_tasks_apply(tasks->tasks, &op, err) : public_null(err, "tasks");
}

const char *weir_task_state_name(enum weir_task_state state)
{
    return registry_state_name((enum registry_state)state);
}
