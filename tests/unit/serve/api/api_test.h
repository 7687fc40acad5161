/*
 * The API over a Unix socket, on a registry in memory, with a clerk, and pools that are only said
 * to be there.
 *
 *     struct api_fixture f;
 *     api_open(&f, NULL);
 *     struct answer a = post(&f, "/v1/tasks", "{\"payload\":1}");
 *     finish(&f, 1, REGISTRY_DONE, "{\"n\":1}");          // as the engine would, had it run the task
 *     api_close(&f);
 */
#ifndef TESTS_API_TEST_H
#define TESTS_API_TEST_H

#include "unit/serve/http/http_test.h"

#include "base/error.h"
#include "engine/clerk.h"
#include "serve/api/api.h"
#include "serve/api/fields.h"
#include "store/registry/memory_registry.h"

struct api_fixture {
    struct fixture http;
    struct api_backend backend; /* found again by its place */
    struct core_registry *registry;
    struct clerk *clerk;
    struct api *api;
    /* What the backend was asked for last. */
    atomic_int sent; /* ops */
    struct buf asked;
    bool stopping, failing;
    uint64_t untold;           /* so many are in the store before last_event() says so */
    atomic_bool held;          /* clerk's done() waits while this is set */
    atomic_int readers;        /* that were taken */
    atomic_int reader_is_held; /* so does whoever takes the reader of that number; 0: none */
    atomic_int looks;          /* at the status */
    atomic_int running;        /* as the status has it */
};

static inline struct api_fixture *fixture_of(struct api_backend *b)
{
    return (struct api_fixture *)(void *)((char *)b - offsetof(struct api_fixture, backend));
}

/* ---- the backend ---- */

/* The clerk's thread. What has become ready is nobody's here. */
static inline void ops_are_done(void *ctx, struct registry_op *chain)
{
    struct registry_op *next_op;
    struct registry_task *next;

    (void)ctx;
    for (struct registry_op *op = chain; op; op = next_op) {
        next_op = op->next;
        for (struct registry_task *t = op->ret_ready; t; t = next) {
            next = t->next;
            mem_free(t);
        }
        mem_free(op->ret_lines);
        op->ret_ready = NULL;
        op->ret_lines = NULL;
        op->done(op);
    }
}

static inline void test_send(struct api_backend *b, struct registry_op *op)
{
    struct api_fixture *f = fixture_of(b);

    f->sent++;
    clerk_send(f->clerk, op);
}

static inline enum weir_status test_take_reader(struct api_backend *b, struct registry_reader **ret,
                                                struct weir_error *err)
{
    struct api_fixture *f = fixture_of(b);
    int number = atomic_fetch_add(&f->readers, 1) + 1;

    while (number == atomic_load(&f->reader_is_held))
        (void)poll(NULL, 0, 1);
    return f->registry->ops->reader(f->registry, ret, err);
}

static inline void test_give_reader(struct api_backend *b, struct registry_reader *r)
{
    (void)b;
    r->ops->close(r);
}

static inline uint64_t test_last_event(struct api_backend *b)
{
    struct api_fixture *f = fixture_of(b);

    return f->registry->ops->last_event(f->registry) - f->untold;
}

static inline int64_t test_now_ns(struct api_backend *b)
{
    (void)b;
    return loop_wall_clock_ns();
}

static inline void test_status(struct api_backend *b, struct api_status *ret)
{
    struct api_fixture *f = fixture_of(b);

    f->looks++;
    *ret = (struct api_status){
        .stopping = f->stopping,
        .started_ns = 1 * NS_PER_S,
        .uptime_s = 2.5,
        .dispatcher = {"priority", 0.5, 10},
        .running = (size_t)f->running,
        .utilisation = 0.3,
        .store_failing = f->failing,
        .store_message = "the disk is full",
        .commit_ms = 1.25,
    };
}

static inline void note(struct api_fixture *f, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static inline void note(struct api_fixture *f, const char *format, ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    buf_puts(&f->asked, text);
}

static inline enum weir_status absent(struct weir_error *err)
{
    *err = (struct weir_error){.status = WEIR_E_END};
    return WEIR_E_END;
}

static inline enum weir_status test_change_dispatcher(struct api_backend *b,
                                                      const struct api_dispatcher_change *c,
                                                      struct weir_error *err)
{
    (void)err;
    note(fixture_of(b), "policy %s ageing %g max %d;", c->policy ? c->policy : "-",
         c->ageing ? *c->ageing : -1,
         c->max_global_concurrency ? (int)*c->max_global_concurrency : -1);
    return WEIR_OK;
}

static inline enum weir_status test_pools(struct api_backend *b, const char *name, api_pool_fn fn,
                                          void *ctx, struct api_status *ret_status,
                                          struct weir_error *err)
{
    static const char *const skills[] = {"chat", "code"};
    struct api_pool p = {
        .name = "model",
        .kind = "http",
        .enabled = true,
        .is_default = true,
        .max_concurrency = 8,
        .limit = 9,
        .running = 3,
        .utilisation = 0.375,
        .skills = skills,
        .skill_count = 2,
        .cpu_milli = 1500,
        .cpu_milli_limit = 4000,
        .memory_mib = 2,
        .reserve_min_priority = 50,
        .reserve_share = 0.2,
        .burst_places = 2,
        .burst_seconds = 60,
        .throttle_kind = "adaptive",
        .throttle_rate_per_s = 20,
        .throttle_limit = -1,
        .throttle_reason = "refused",
        .breaker_state = "closed",
        .held_s = 1.5,
        .has_workers = true,
        .workers_total = 4,
        .workers_idle = 1,
        .attempts = {7, 1},
    };

    if (ret_status)
        test_status(b, ret_status);
    if (name && strcmp(name, "model") != 0)
        return absent(err);
    fn(ctx, &p);
    return WEIR_OK;
}

static inline enum weir_status test_change_pool(struct api_backend *b, const char *name,
                                                const struct api_pool_change *c,
                                                struct weir_error *err)
{
    struct api_fixture *f = fixture_of(b);

    if (strcmp(name, "model") != 0)
        return absent(err);
    if (c->max_concurrency)
        note(f, "max %zu;", *c->max_concurrency);
    if (c->cpu_milli)
        note(f, "cpu %d;", (int)*c->cpu_milli);
    if (c->memory_mib)
        note(f, "memory %d;", (int)*c->memory_mib);
    if (c->reserve_share)
        note(f, "reserve %d %g;", *c->reserve_min_priority, *c->reserve_share);
    if (c->burst_places)
        note(f, "burst %zu %g;", *c->burst_places, *c->burst_seconds);
    return WEIR_OK;
}

static inline enum weir_status test_act_on_pool(struct api_backend *b, const char *name,
                                                enum api_pool_act act, struct weir_error *err)
{
    static const char *const acts[] = {"enable", "disable", "drain", "reset"};

    if (strcmp(name, "model") != 0)
        return absent(err);
    note(fixture_of(b), "%s;", acts[act]);
    return WEIR_OK;
}

static inline enum weir_status test_workers(struct api_backend *b, const char *pool,
                                            api_worker_fn fn, void *ctx, struct weir_error *err)
{
    struct api_worker w = {
        .id = 3, .place = 1, .state = "busy", .health = "healthy", .pid = 4242, .requests = 17};

    (void)b;
    if (strcmp(pool, "model") != 0)
        return absent(err);
    fn(ctx, &w);
    w.id = 4;
    fn(ctx, &w);
    return WEIR_OK;
}

static inline enum weir_status test_runners(struct api_backend *b, api_runner_fn fn, void *ctx,
                                            struct weir_error *err)
{
    struct api_runner r = {.token = 9007199254740993,
                           .task = 4711,
                           .key = "row",
                           .attempt = 2,
                           .pool = "model",
                           .slot_names = SLICE("license,workdir"),
                           .slots = {1, 3},
                           .started_ns = NS_PER_S,
                           .run_s = 1.5,
                           .progress = 0.25,
                           .text = "page 1"};

    (void)b;
    (void)err;
    fn(ctx, &r);
    return WEIR_OK;
}

static inline enum weir_status test_kill(struct api_backend *b, uint64_t token,
                                         struct weir_error *err)
{
    if (token != 7)
        return absent(err);
    note(fixture_of(b), "kill 7;");
    return WEIR_OK;
}

static inline enum weir_status test_beat(struct api_backend *b, uint64_t token, const char *secret,
                                         double progress, struct slice text, struct weir_error *err)
{
    if (token != 7)
        return absent(err);
    if (strcmp(secret, "secret7") != 0)
        return error_set(err, WEIR_E_CONFLICT, "no");
    note(fixture_of(b), "beat %g %.*s;", progress, (int)text.len, text.data);
    return WEIR_OK;
}

static inline enum weir_status test_tenants(struct api_backend *b, const char *after, size_t max,
                                            api_tenant_fn fn, void *ctx, struct weir_error *err)
{
    static const struct api_tenant all[] = {
        {SLICE(""), 1, 0, 0, 0}, {SLICE("a b&c"), 1, 0, 0, 0}, {SLICE("acme"), 2, 17.5, 12, 1}};
    size_t told = 0;

    (void)b;
    (void)err;
    for (size_t i = 0; i < sizeof all / sizeof *all && told < max; i++)
        if (!after || strcmp(all[i].name.data, after) > 0) {
            fn(ctx, &all[i]);
            told++;
        }
    return WEIR_OK;
}

static inline enum weir_status test_slots(struct api_backend *b, api_slots_fn fn, void *ctx,
                                          struct weir_error *err)
{
    (void)b;
    (void)err;
    fn(ctx, &(struct api_slots){"workdir", 4, 1});
    return WEIR_OK;
}

static inline void test_why(struct api_backend *b, uint64_t task, struct api_why *ret)
{
    (void)b;
    (void)task;
    *ret = (struct api_why){.why = "pool_limit", .detail = "all 8 places are taken"};
}

static inline void test_shut_down(struct api_backend *b, duration_ns grace_ns)
{
    note(fixture_of(b), "stop %g;", duration_seconds(grace_ns));
}

static const struct api_backend_ops test_backend_ops = {
    test_send,        test_take_reader, test_give_reader,       test_last_event,
    test_now_ns,      test_status,      test_change_dispatcher, test_pools,
    test_change_pool, test_act_on_pool, test_workers,           test_runners,
    test_kill,        test_beat,        test_tenants,           test_slots,
    test_why,         test_shut_down,
};

/* ---- the fixture ---- */

static inline void test_committed(void *ctx, uint64_t last_event)
{
    struct api_fixture *f = ctx;

    while (atomic_load(&f->held))
        (void)poll(NULL, 0, 1);
    if (f->api)
        api_committed(f->api, last_event);
}

static inline void api_open_with(struct api_fixture *f, const struct api_options *given,
                                 const struct http_server_options *http)
{
    struct api_options o = given ? *given : (struct api_options){0};
    struct http_server_options server = *http;
    struct clerk_options clerk = {.committed = test_committed, .done = ops_are_done, .ctx = f};
    struct weir_error err;

    *f = (struct api_fixture){.backend = {&test_backend_ops}, .running = 3};
    o.backend = &f->backend;
    must_be_ok(memory_registry_new(&f->registry, &err), &err);
    must_be_ok(api_new(&o, &f->api, &err), &err);
    must_be_ok(clerk_new(f->registry, &clerk, &f->clerk, &err), &err);
    server.routes = api_routes(&server.route_count);
    server.ctx = f->api;
    server.answers = api_answers;
    fixture_open(&f->http, &server);
}

static inline void api_open(struct api_fixture *f, const struct api_options *given)
{
    api_open_with(f, given, &(struct http_server_options){.threads = 2});
}

static inline void api_close(struct api_fixture *f)
{
    fixture_close(&f->http);
    clerk_free(f->clerk);
    api_free(f->api);
    assert_null(memory_registry_check(f->registry));
    f->registry->ops->close(f->registry);
    buf_free(&f->asked);
}

static inline struct answer ask_with(struct api_fixture *f, const char *method, const char *path,
                                     const char *type, const char *headers, struct slice body)
{
    struct buf text = {0};
    struct answer a;
    int fd = dial(&f->http);

    buf_printf(&text, "%s %s HTTP/1.1\r\nHost: localhost\r\n%s", method, path,
               headers ? headers : "");
    if (type)
        buf_printf(&text, "Content-Type: %s\r\nContent-Length: %zu\r\n", type, body.len);
    buf_puts(&text, "\r\n");
    buf_put_slice(&text, body);
    say_bytes(fd, text.data, text.len);
    a = hear(fd);
    close(fd);
    buf_free(&text);
    return a;
}

static inline struct answer get(struct api_fixture *f, const char *path)
{
    return ask_with(f, "GET", path, NULL, NULL, (struct slice){0});
}

static inline struct answer post(struct api_fixture *f, const char *path, const char *json)
{
    return ask_with(f, "POST", path, "application/json", NULL, slice_of(json));
}

static inline struct answer patch(struct api_fixture *f, const char *path, const char *json)
{
    return ask_with(f, "PATCH", path, "application/json", NULL, slice_of(json));
}

static inline struct answer stream(struct api_fixture *f, const char *path, struct slice lines)
{
    return ask_with(f, "POST", path, "application/x-ndjson", NULL, lines);
}

/* What the answer is, and that it has each of the texts (up to NULL). Frees it. */
static inline void expect(struct answer a, unsigned status, const char *const *texts)
{
    if (a.status != status)
        fail_msg("%u and not %u: %s", a.status, status, a.body.data ? a.body.data : "");
    if (a.status >= 400)
        assert_true(header_is(&a, "Content-Type", "application/problem+json"));
    if (a.status != 204)
        assert_true(a.whole);
    for (; *texts; texts++)
        body_has(&a, *texts);
    answer_free(&a);
}
#define HAS(...)    ((const char *const[]){__VA_ARGS__, NULL})
#define HAS_NOTHING ((const char *const[]){NULL})

struct applied {
    struct registry_op op;
    atomic_bool done;
};

static inline void is_applied(struct registry_op *op)
{
    atomic_store(&((struct applied *)op->user)->done, true);
}

static inline bool applied_done(void *arg)
{
    return atomic_load(&((struct applied *)arg)->done);
}

/* As the engine would. */
static inline void apply(struct api_fixture *f, const struct registry_op *op)
{
    struct applied a = {.op = *op};

    a.op.done = is_applied;
    a.op.user = &a;
    a.op.at_ns = loop_wall_clock_ns();
    test_send(&f->backend, &a.op);
    assert_true(testkit_until(applied_done, &a, DEADLINE_MS));
    if (a.op.err.status != WEIR_OK)
        fail_msg("%s", a.op.err.message);
}

/* One attempt of the task, in the pool "model", from beginning to end. */
static inline void finish(struct api_fixture *f, uint64_t task, enum registry_state next,
                          const char *output)
{
    struct registry_op op = {
        .kind = REGISTRY_END,
        .end = {.task = task,
                .token = task + 1000,
                .attempt = 1,
                .started = true,
                .start = {.task = task, .token = task + 1000, .attempt = 1, .pool = SLICE("model")},
                .next = next,
                .outcome = next == REGISTRY_DONE ? WEIR_OUTCOME_OK : WEIR_OUTCOME_FAILED,
                .reason = next == REGISTRY_DONE ? WEIR_REASON_NONE : WEIR_REASON_EXIT_STATUS,
                .started_ns = loop_wall_clock_ns(),
                .run_ns = NS_PER_MS,
                .pool = SLICE("model"),
                .output = slice_of(output)},
    };

    apply(f, &op);
}

#endif
