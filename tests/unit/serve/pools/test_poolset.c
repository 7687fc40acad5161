/*
 * Pools out of their configuration: figures, executors that run, and what an attempt gets of its
 * task.
 */
#include "base/mem.h"
#include "core/worker/crew.h"
#include "engine/engine.h"
#include "exec/command/command.h"
#include "exec/http/http.h"
#include "exec/process/process.h"
#include "serve/pools/poolset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CONFIG                                                                                     \
    "tokens: [{name: t, role: read, env: POOLS_TEST_TOKEN}]\n"                                     \
    "slots: [{name: gpu, count: 2}, {name: work-dir.x, paths: [/w/1, /w/2]}]\n"                    \
    "pools:\n"                                                                                     \
    "  - {name: c, kind: command, max_concurrency: 3, command: \"echo {}\", cwd: /tmp,\n"          \
    "     env: {A: b, K: env:POOLS_TEST_TOKEN}, cpu: 1.5, memory: 1GiB, skills: [x, y],\n"         \
    "     reserve: {min_priority: 50, share: 20%}, burst: {places: 2, seconds: 30s},\n"            \
    "     max_attempts: 4, timeout: 9s, heartbeat_timeout: 7s,\n"                                  \
    "     backoff: {initial: 2s, factor: 3, ceiling: 40s, jitter: 0},\n"                           \
    "     follow: {what: memory, target: 100, min: 2, max: 6}}\n"                                  \
    "  - {name: w, kind: process, process: [cat], max_concurrency: 4, overflow: 1,\n"              \
    "     max_in_flight: 3, request: work, breaker: {mode: fail, failures: 9},\n"                  \
    "     checkout_timeout: 5s}\n"                                                                 \
    "  - {name: h, kind: http, url: \"http://127.0.0.1:9/x/{id}\", rate: 5,\n"                     \
    "     headers: {X-Key: Bearer env:POOLS_TEST_TOKEN}, waste: 5%, tokens_per_minute: 10}\n"      \
    "  - {name: s, kind: command}\n"

struct setup {
    struct config *config;
    struct poolset *pools;
};

static void open_setup(struct setup *s)
{
    struct weir_error err;

    *s = (struct setup){0};
    if (config_parse("weir.yml", CONFIG, strlen(CONFIG), &s->config, NULL, &err) != WEIR_OK)
        fail_msg("%s", err.message);
    assert_int_equal(poolset_new(&(struct poolset_options){.config = s->config,
                                                           .run_dir = "/run/x",
                                                           .api = "unix:/run/x/weir.sock"},
                                 &s->pools, &err),
                     WEIR_OK);
}

static void close_setup(struct setup *s)
{
    poolset_free(s->pools);
    config_free(s->config);
}

static struct poolset_plan plan_of(struct setup *s, size_t number)
{
    struct poolset_plan plan = {0};
    struct weir_error err;

    if (poolset_plan(s->pools, &s->config->pools.items[number], &plan, &err) != WEIR_OK)
        fail_msg("%s", err.message);
    return plan;
}

/* ---- figures ---- */

static void a_pool_has_the_figures_of_its_configuration(void **state)
{
    struct setup s;
    struct poolset_plan c;

    (void)state;
    open_setup(&s);
    c = plan_of(&s, 0);
    assert_string_equal(c.core.name, "c");
    assert_int_equal(c.core.size, 3);
    assert_int_equal(c.core.timeout_ns, 9 * NS_PER_S);
    assert_int_equal(c.core.gate.throttle.kind, THROTTLE_AIMD);
    assert_false(c.core.breaker.on);
    assert_null(c.core.recovery);
    assert_int_equal(c.desk.skill_count, 2);
    assert_string_equal(c.desk.skills[1], "y");
    assert_int_equal(c.desk.cpu_milli, 1500);
    assert_int_equal(c.desk.memory_mib, 1024);
    assert_int_equal(c.desk.reserve.min_priority, 50);
    assert_int_equal(c.desk.burst_places, 2);
    assert_true(c.desk.burst_seconds >= 30 && c.desk.burst_seconds <= 30);
    assert_int_equal(c.desk.max_attempts, 4);
    assert_int_equal(c.desk.backoff.initial_ns, 2 * NS_PER_S);
    assert_int_equal(c.desk.backoff.ceiling_ns, 40 * NS_PER_S);
    assert_int_equal(c.desk.heartbeat_timeout_ns, 7 * NS_PER_S);
    poolset_forget(&c);
    close_setup(&s);
}

static void workers_take_as_many_requests_as_all_of_them_have_room_for(void **state)
{
    struct setup s;
    struct poolset_plan w, h;

    (void)state;
    open_setup(&s);
    w = plan_of(&s, 1);
    assert_int_equal(w.core.size, 15);
    assert_int_equal(poolset_limit(w.program, 2), 9);
    for (size_t n = 1; n < 20; n++)
        assert_int_equal(poolset_max_concurrency(w.program, poolset_limit(w.program, n)), n);
    assert_int_equal(poolset_places(w.program, 0), 0);
    assert_int_equal(poolset_places(w.program, 1), 1);
    assert_int_equal(poolset_places(w.program, 3), 1);
    assert_int_equal(poolset_places(w.program, 4), 2);
    assert_non_null(w.core.recovery);
    assert_true(w.core.breaker.on && w.core.breaker_fails);
    assert_int_equal(w.core.breaker.failures, 9);
    assert_int_equal(w.core.checkout_timeout_ns, 5 * NS_PER_S);
    h = plan_of(&s, 2);
    assert_int_equal(h.core.gate.throttle.kind, THROTTLE_ADAPTIVE);
    assert_int_equal(poolset_max_concurrency(h.program, 7), 7);
    assert_int_equal(poolset_places(h.program, 7), 7);
    assert_true(h.core.gate.throttle.adaptive.waste > 0.04);
    assert_true(h.core.gate.rate_per_s > 4);
    assert_int_equal(h.core.gate.tokens_per_minute, 10);
    poolset_forget(&w);
    poolset_forget(&h);
    close_setup(&s);
}

static void what_the_configuration_says_of_trying_workers_again_is_marked_as_said(void **state)
{
    struct setup s;
    struct poolset_plan w;
    struct config_pool *p;

    (void)state;
    open_setup(&s);
    p = &s.config->pools.items[1];
    w = plan_of(&s, 1);
    assert_false(w.desk.max_attempts_given || w.desk.backoff_given);
    /* What a task takes that says a part of it. */
    assert_int_equal(w.desk.max_attempts, 3);
    assert_int_equal(w.desk.backoff.initial_ns, 10 * NS_PER_S);
    assert_int_equal(w.desk.backoff.ceiling_ns, 300 * NS_PER_S);
    assert_true(w.desk.backoff.jitter >= 0.5 && w.desk.backoff.jitter <= 0.5);
    p->max_attempts = 8;
    p->backoff = (struct config_backoff){.initial_ns = 5, .ceiling_ns = 6, .factor = 1};
    poolset_replan(&w, p);
    assert_true(w.desk.max_attempts_given && w.desk.backoff_given);
    assert_int_equal(w.desk.max_attempts, 8);
    assert_int_equal(w.desk.backoff.ceiling_ns, 6);
    p->max_attempts = p->backoff.initial_ns = -1;
    poolset_replan(&w, p);
    assert_false(w.desk.max_attempts_given || w.desk.backoff_given);
    poolset_forget(&w);
    close_setup(&s);
}

static void a_limit_follows_where_the_configuration_says_so(void **state)
{
    struct setup s;
    struct follow_options f;

    (void)state;
    open_setup(&s);
    assert_true(poolset_follow_options(&s.config->pools.items[0], &f));
    assert_int_equal(f.what, FOLLOW_MEMORY);
    assert_int_equal(f.min, 2);
    assert_int_equal(f.max, 6);
    assert_int_equal(follow_options_check(&f, NULL), WEIR_OK);
    assert_false(poolset_follow_options(&s.config->pools.items[1], &f));
    close_setup(&s);
}

static void a_changed_pool_keeps_its_program(void **state)
{
    struct setup s;
    struct poolset_plan c;
    struct pool_program *program;

    (void)state;
    open_setup(&s);
    c = plan_of(&s, 0);
    program = c.program;
    s.config->pools.items[0].max_concurrency = 8;
    s.config->pools.items[0].cpu = 2;
    poolset_replan(&c, &s.config->pools.items[0]);
    assert_int_equal(c.core.size, 8);
    assert_int_equal(c.desk.cpu_milli, 2000);
    assert_ptr_equal(c.desk.ctx, program);
    assert_non_null(c.desk.ops);
    poolset_forget(&c);
    close_setup(&s);
}

static void a_template_that_cannot_be_filled_in_is_told_with_its_pool(void **state)
{
    struct setup s;
    struct poolset_plan plan;
    struct weir_error err;
    struct config_pool *p;

    (void)state;
    open_setup(&s);
    p = &s.config->pools.items[2];
    p->url[0] = 'x';
    assert_int_equal(poolset_plan(s.pools, p, &plan, &err), WEIR_E_INVALID);
    assert_int_equal(strncmp(err.message, "pools[h]: ", 10), 0);
    close_setup(&s);
}

/* ---- what an attempt gets ---- */

struct attempt {
    struct registry_task task;
    struct registry_line line;
    struct desk_attempt desk;
    struct core_task core;
};

static void make_attempt(struct attempt *a, const char *payload)
{
    *a = (struct attempt){
        .task = {.id = 42,
                 .batch = 7,
                 .key = "the key",
                 .payload = payload,
                 .payload_len = strlen(payload)},
        .line = {.tenant = SLICE("ten"), .session = SLICE("ses"), .slots = SLICE("gpu,work-dir.x")},
        .desk = {.token = 99, .number = 2, .slots = {2, 1}},
    };
    a->desk.task = &a->task;
    a->desk.line = &a->line;
    task_init(&a->core);
}

static const char *variable(const struct core_task *t, const char *name)
{
    size_t len = strlen(name);

    for (const char *const *e = t->env; e && *e; e++) {
        if (strncmp(*e, name, len) == 0 && (*e)[len] == '=')
            return *e + len + 1;
    }
    return NULL;
}

static void an_attempt_is_told_what_it_is_of(void **state)
{
    struct setup s;
    struct poolset_plan c;
    struct attempt a;
    struct buf token = {0};

    (void)state;
    open_setup(&s);
    c = plan_of(&s, 0);
    make_attempt(&a, "hello");
    assert_int_equal(c.desk.ops->prepare(c.desk.ctx, &a.desk, &a.core, NULL), WEIR_OK);
    assert_string_equal(variable(&a.core, "WEIR_TASK"), "42");
    assert_string_equal(variable(&a.core, "WEIR_KEY"), "the key");
    assert_string_equal(variable(&a.core, "WEIR_ATTEMPT"), "2");
    assert_string_equal(variable(&a.core, "WEIR_POOL"), "c");
    assert_string_equal(variable(&a.core, "WEIR_BATCH"), "7");
    assert_string_equal(variable(&a.core, "WEIR_TENANT"), "ten");
    assert_string_equal(variable(&a.core, "WEIR_SESSION"), "ses");
    assert_string_equal(variable(&a.core, "WEIR_RUNNER"), "99");
    assert_string_equal(variable(&a.core, "WEIR_API"), "unix:/run/x/weir.sock");
    assert_string_equal(variable(&a.core, "WEIR_HEARTBEAT"), "/run/x/beat.99");
    assert_string_equal(variable(&a.core, "WEIR_SLOT"), "2");
    assert_string_equal(variable(&a.core, "WEIR_SLOT_GPU"), "2");
    assert_string_equal(variable(&a.core, "WEIR_SLOT_WORK_DIR_X"), "1");
    assert_string_equal(variable(&a.core, "WEIR_SLOT_PATH_WORK_DIR_X"), "/w/1");
    assert_null(variable(&a.core, "WEIR_SLOT_PATH")); /* the first has no paths */
    assert_null(variable(&a.core, "WEIR_SLOT_PATH_GPU"));
    poolset_token_put(s.pools, 99, &token);
    assert_string_equal(variable(&a.core, "WEIR_TOKEN"), token.data);
    buf_free(&token);
    c.desk.ops->discard(c.desk.ctx, &a.core);
    assert_null(a.core.payload);
    poolset_forget(&c);
    close_setup(&s);
}

static void a_task_without_slots_or_batch_has_no_variables_of_them(void **state)
{
    struct setup s;
    struct poolset_plan c;
    struct attempt a;

    (void)state;
    open_setup(&s);
    c = plan_of(&s, 0);
    make_attempt(&a, "x");
    a.task.batch = 0;
    a.line = (struct registry_line){0};
    assert_int_equal(c.desk.ops->prepare(c.desk.ctx, &a.desk, &a.core, NULL), WEIR_OK);
    assert_null(variable(&a.core, "WEIR_BATCH"));
    assert_null(variable(&a.core, "WEIR_TENANT"));
    assert_null(variable(&a.core, "WEIR_SESSION"));
    assert_null(variable(&a.core, "WEIR_SLOT"));
    c.desk.ops->discard(c.desk.ctx, &a.core);
    poolset_forget(&c);
    close_setup(&s);
}

static void paths_of_slots_follow_a_new_configuration(void **state)
{
    static const char text[] = "slots: [{name: work-dir.x, paths: [/new/1]}]\n"
                               "pools: [{name: q, kind: command}]\n";
    struct config *other = NULL;
    struct setup s;
    struct poolset_plan c;
    struct attempt a;

    (void)state;
    open_setup(&s);
    c = plan_of(&s, 0);
    assert_int_equal(config_parse("w", text, sizeof text - 1, &other, NULL, NULL), WEIR_OK);
    assert_int_equal(poolset_set_config(s.pools, other, NULL), WEIR_OK);
    config_free(other);
    make_attempt(&a, "x");
    a.line.slots = SLICE("work-dir.x");
    a.desk.slots[0] = 1;
    assert_int_equal(c.desk.ops->prepare(c.desk.ctx, &a.desk, &a.core, NULL), WEIR_OK);
    assert_string_equal(variable(&a.core, "WEIR_SLOT_PATH"), "/new/1");
    c.desk.ops->discard(c.desk.ctx, &a.core);
    /* A place that is there no more: its number, and no path. */
    a.desk.slots[0] = 2;
    assert_int_equal(c.desk.ops->prepare(c.desk.ctx, &a.desk, &a.core, NULL), WEIR_OK);
    assert_string_equal(variable(&a.core, "WEIR_SLOT"), "2");
    assert_null(variable(&a.core, "WEIR_SLOT_PATH"));
    c.desk.ops->discard(c.desk.ctx, &a.core);
    poolset_forget(&c);
    close_setup(&s);
}

static void each_kind_of_pool_gets_its_payload(void **state)
{
    struct setup s;
    struct poolset_plan c, w, h;
    struct attempt a;
    const struct command_launch *launch;
    const struct process_request *request;
    const struct http_request *http;

    (void)state;
    open_setup(&s);
    c = plan_of(&s, 0);
    w = plan_of(&s, 1);
    h = plan_of(&s, 2);
    make_attempt(&a, "{\"id\": 5}");
    assert_int_equal(c.desk.ops->prepare(c.desk.ctx, &a.desk, &a.core, NULL), WEIR_OK);
    launch = a.core.payload;
    assert_string_equal(launch->argv[0], "echo");
    assert_string_equal(launch->argv[1], "{\"id\": 5}");
    assert_string_equal(launch->dir, "/tmp");
    c.desk.ops->discard(c.desk.ctx, &a.core);

    assert_int_equal(w.desk.ops->prepare(w.desk.ctx, &a.desk, &a.core, NULL), WEIR_OK);
    request = a.core.payload;
    assert_string_equal(request->command, "work");
    assert_true(slice_equal(request->args, SLICE("{\"id\": 5}")));
    assert_non_null(variable(&a.core, "WEIR_TASK"));
    assert_null(variable(&a.core, "WEIR_HEARTBEAT")); /* it has a message for that */
    w.desk.ops->discard(w.desk.ctx, &a.core);

    assert_int_equal(h.desk.ops->prepare(h.desk.ctx, &a.desk, &a.core, NULL), WEIR_OK);
    http = a.core.payload;
    assert_string_equal(http->url, "http://127.0.0.1:9/x/5");
    assert_string_equal(http->idempotency_key, "weir-task-42");
    assert_null(a.core.env);
    h.desk.ops->discard(h.desk.ctx, &a.core);
    poolset_forget(&c);
    poolset_forget(&w);
    poolset_forget(&h);
    close_setup(&s);
}

static void a_wrong_payload_is_the_tasks_own_error(void **state)
{
    struct setup s;
    struct poolset_plan w, free_form;
    struct attempt a;
    struct weir_error err;

    (void)state;
    open_setup(&s);
    w = plan_of(&s, 1);
    free_form = plan_of(&s, 3);
    make_attempt(&a, "not json");
    assert_int_equal(w.desk.ops->prepare(w.desk.ctx, &a.desk, &a.core, &err), WEIR_E_FORMAT);
    assert_non_null(strstr(err.message, "not JSON"));
    assert_null(a.core.payload);
    make_attempt(&a, "{\"nothing\": 1}");
    assert_int_equal(free_form.desk.ops->prepare(free_form.desk.ctx, &a.desk, &a.core, &err),
                     WEIR_E_FORMAT);
    poolset_forget(&w);
    poolset_forget(&free_form);
    close_setup(&s);
}

static void what_is_weirs_own_is_taken_from_commands(void **state)
{
    struct setup s;
    struct poolset_plan c, plain;
    struct attempt a;
    const struct command_launch *launch;
    bool away = false, given = false;

    (void)state;
    open_setup(&s);
    plain = plan_of(&s, 3);
    make_attempt(&a, "{\"argv\": [\"true\"]}");
    assert_int_equal(plain.desk.ops->prepare(plain.desk.ctx, &a.desk, &a.core, NULL), WEIR_OK);
    launch = a.core.payload;
    for (char *const *e = launch->env; e && *e; e++)
        away = away || strcmp(*e, "POOLS_TEST_TOKEN") == 0; /* a name alone takes it away */
    assert_true(away);
    plain.desk.ops->discard(plain.desk.ctx, &a.core);
    c = plan_of(&s, 0);
    make_attempt(&a, "x");
    assert_int_equal(c.desk.ops->prepare(c.desk.ctx, &a.desk, &a.core, NULL), WEIR_OK);
    launch = a.core.payload;
    for (char *const *e = launch->env; e && *e; e++)
        given = given || strcmp(*e, "K=pool-secret") == 0;
    assert_true(given);
    c.desk.ops->discard(c.desk.ctx, &a.core);
    poolset_forget(&c);
    poolset_forget(&plain);
    close_setup(&s);
}

static void a_token_is_good_for_its_own_attempt_only(void **state)
{
    struct setup s, other;
    struct buf token = {0};

    (void)state;
    open_setup(&s);
    open_setup(&other);
    poolset_token_put(s.pools, 5, &token);
    assert_true(poolset_token_check(s.pools, 5, buf_slice(&token)));
    assert_false(poolset_token_check(s.pools, 6, buf_slice(&token)));
    assert_false(poolset_token_check(other.pools, 5, buf_slice(&token))); /* of another process */
    assert_false(poolset_token_check(s.pools, 5, (struct slice){token.data, token.len - 1}));
    assert_false(poolset_token_check(s.pools, 5, (struct slice){0}));
    token.data[token.len - 1] = token.data[token.len - 1] == '0' ? '1' : '0';
    assert_false(poolset_token_check(s.pools, 5, buf_slice(&token)));
    buf_free(&token);
    close_setup(&s);
    close_setup(&other);
}

/* ---- executors ---- */

static void a_command_runs_in_the_pool_that_was_planned(void **state)
{
    struct setup s;
    struct poolset_plan c;
    struct attempt a;
    struct engine *engine;
    struct core_pool *pool;
    struct engine_reply reply;
    struct weir_error err;

    (void)state;
    open_setup(&s);
    c = plan_of(&s, 3);
    assert_int_equal(engine_new(&(struct engine_options){0}, &engine, &err), WEIR_OK);
    assert_int_equal(engine_add_pool(engine, &c.core, c.make, c.program, &pool, &err), WEIR_OK);
    make_attempt(&a, "{\"shell\": \"echo \\\"<$POOLS_TEST_TOKEN>\\\"; pwd\", \"cwd\": \"/\"}");
    assert_int_equal(c.desk.ops->prepare(c.desk.ctx, &a.desk, &a.core, &err), WEIR_OK);
    assert_int_equal(engine_call_pool(engine, pool,
                                      &(struct engine_request){.payload = a.core.payload,
                                                               .timeout_ns = 20 * NS_PER_S},
                                      &reply, &err),
                     WEIR_OK);
    assert_int_equal(reply.answer.outcome, WEIR_OUTCOME_OK);
    assert_string_equal(reply.answer.output, "<>\n/\n");
    answer_clear(&reply.answer);
    c.desk.ops->discard(c.desk.ctx, &a.core);
    engine_free(engine);
    poolset_forget(&c);
    close_setup(&s);
}

static void executors_of_each_kind_can_be_made(void **state)
{
    struct setup s;
    struct poolset_plan plans[4];
    struct engine *engine;
    struct core_pool *pool;
    struct weir_error err;

    (void)state;
    open_setup(&s);
    assert_int_equal(engine_new(&(struct engine_options){0}, &engine, &err), WEIR_OK);
    for (size_t i = 0; i < 4; i++) {
        plans[i] = plan_of(&s, i);
        if (engine_add_pool(engine, &plans[i].core, plans[i].make, plans[i].program, &pool, &err) !=
            WEIR_OK)
            fail_msg("%s: %s", plans[i].core.name, err.message);
    }
    engine_free(engine);
    for (size_t i = 0; i < 4; i++)
        poolset_forget(&plans[i]);
    close_setup(&s);
}

/* ---- memory ---- */

static void each_allocation_may_fail(void **state)
{
    struct setup s;
    bool failed = true;

    (void)state;
    open_setup(&s);
    for (unsigned long n = 1; failed; n++) {
        struct poolset_plan plan = {0};
        struct attempt a;
        enum weir_status status;
        size_t number = n % 3;

        make_attempt(&a, "{\"id\": 5}");
        mem_fail_at(n / 3 + 1);
        status = poolset_plan(s.pools, &s.config->pools.items[number], &plan, NULL);
        if (status == WEIR_OK)
            status = plan.desk.ops->prepare(plan.desk.ctx, &a.desk, &a.core, NULL);
        failed = mem_has_failed() || number != 2;
        assert_int_equal(status, mem_has_failed() ? WEIR_E_NOMEM : WEIR_OK);
        mem_fail_at(0);
        if (status == WEIR_OK)
            plan.desk.ops->discard(plan.desk.ctx, &a.core);
        if (plan.program)
            poolset_forget(&plan);
    }
    close_setup(&s);
}

static int prepare_environment(void **state)
{
    (void)state;
    return setenv("POOLS_TEST_TOKEN", "pool-secret", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pool_has_the_figures_of_its_configuration),
        cmocka_unit_test(workers_take_as_many_requests_as_all_of_them_have_room_for),
        cmocka_unit_test(what_the_configuration_says_of_trying_workers_again_is_marked_as_said),
        cmocka_unit_test(a_limit_follows_where_the_configuration_says_so),
        cmocka_unit_test(a_changed_pool_keeps_its_program),
        cmocka_unit_test(a_template_that_cannot_be_filled_in_is_told_with_its_pool),
        cmocka_unit_test(an_attempt_is_told_what_it_is_of),
        cmocka_unit_test(a_task_without_slots_or_batch_has_no_variables_of_them),
        cmocka_unit_test(paths_of_slots_follow_a_new_configuration),
        cmocka_unit_test(each_kind_of_pool_gets_its_payload),
        cmocka_unit_test(a_wrong_payload_is_the_tasks_own_error),
        cmocka_unit_test(what_is_weirs_own_is_taken_from_commands),
        cmocka_unit_test(a_token_is_good_for_its_own_attempt_only),
        cmocka_unit_test(a_command_runs_in_the_pool_that_was_planned),
        cmocka_unit_test(executors_of_each_kind_can_be_made),
        cmocka_unit_test(each_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, prepare_environment, NULL);
}
