/*
 * Whole lives of commands under the engine, from seeds: rows that go well, fail, meet a full
 * service or hold on; stops and shutdowns in the middle. What is looked at afterwards is what the
 * commands themselves have written: that none ran twice as the same attempt (also none that the
 * engine had handed over ahead and wanted back), that what is told has happened, that results come
 * in order, and that no process or descriptor is left.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "engine/engine.h"
#include "exec/command/command.h"
#include "support/testkit.h"
#include "unit/engine/engine_test.h"
#include "unit/exec/child_test.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define LIVES        24
#define ROWS_MAX     150
#define ATTEMPTS_MAX 8

enum deed { ENDS_WELL, FAILS_ONCE, IS_FULL_ONCE, FAILS_FOR_GOOD, HOLDS };

struct life {
    uint64_t seed;
    char *dir;
    size_t rows;
    enum deed deeds[ROWS_MAX];
    struct core_task tasks[ROWS_MAX];
    char keys[ROWS_MAX][24];
    char *argv[6];
    unsigned runs[ROWS_MAX][ATTEMPTS_MAX]; /* as the commands say */
};

static bool prepare(void *ctx, const struct core_attempt *a, unsigned place,
                    struct command_launch *launch, struct core_answer *answer)
{
    static char shell[] = "sh", option[] = "-c", name[] = "life", holds[] = "9",
                exits[4][3] = {"0", "1", "75", "1"},
                script[] = "echo $WEIR_INDEX $WEIR_ATTEMPT >>log; "
                           "[ $1 = 9 ] && exec sleep 1000; exit $1";
    struct life *l = ctx;
    enum deed deed = l->deeds[a->index];
    bool goes_well = a->number > 1 && deed != FAILS_FOR_GOOD;

    (void)place;
    (void)answer;
    memcpy(l->argv,
           (char *[]){shell, option, script, name,
                      deed == HOLDS ? holds
                      : goes_well   ? exits[0]
                                    : exits[deed],
                      NULL},
           sizeof l->argv);
    launch->argv = l->argv;
    launch->dir = l->dir;
    return true;
}

struct pool_plan {
    struct life *life;
    bool ahead;
};

static enum weir_status make_executor(void *ctx, const struct core_pool_options *o,
                                      struct uv_loop_s *loop, struct core_executor_host *host,
                                      struct core_executor **ret, struct weir_error *err)
{
    static const struct command_term terms[] = {{SIGTERM, NS_PER_S}};
    struct command_options c = COMMAND_OPTIONS_DEFAULT;
    struct pool_plan *plan = ctx;

    (void)loop;
    c.prepare = prepare;
    c.ctx = plan->life;
    c.places = o->size;
    c.ahead = plan->ahead;
    c.terms = terms;
    c.terms_count = 1;
    return command_executor_new(&c, host, ret, err);
}

static void on_release(struct core_task *t)
{
    task_clear(t);
}

static void add_rows(struct life *l, struct engine_batch *b)
{
    for (size_t i = 0; i < l->rows; i++) {
        struct core_task *t = &l->tasks[i];

        task_init(t);
        snprintf(l->keys[i], sizeof l->keys[i], "%zu", i);
        t->index = i;
        t->key = l->keys[i];
        t->payload = "";
        t->release = on_release;
        ok(engine_batch_add(b, t, false, &err));
    }
    engine_batch_end(b);
}

static void read_log(struct life *l)
{
    char *path = testkit_path(l->dir, "log"), *text, *p;

    if (access(path, R_OK) == 0) {
        text = p = testkit_file_read(path, NULL);
        while (*p) {
            unsigned long index = strtoul(p, &p, 10), attempt = strtoul(p, &p, 10);

            assert_true(index < l->rows && attempt >= 1 && attempt < ATTEMPTS_MAX);
            l->runs[index][attempt]++;
            p++;
        }
        testkit_free(text);
    }
    testkit_free(path);
}

/* One result. */
static void check_result(struct life *l, const struct core_task *t)
{
    unsigned runs = 0;

    for (unsigned a = 1; a < ATTEMPTS_MAX; a++)
        runs += l->runs[t->index][a];
    if (t->answer.outcome == WEIR_OUTCOME_CANCELLED) {
        assert_true(runs <= t->attempts); /* one may have been ended before it could write */
        return;
    }
    assert_int_equal(runs, t->attempts);
    assert_int_not_equal(l->deeds[t->index], HOLDS);
    assert_int_equal(t->answer.outcome,
                     l->deeds[t->index] == FAILS_FOR_GOOD ? WEIR_OUTCOME_FAILED : WEIR_OUTCOME_OK);
    assert_int_equal(t->capacity_retries, l->deeds[t->index] == IS_FULL_ONCE);
}

static struct life *make_life(uint64_t seed, struct rng *rng, bool holds)
{
    struct life *l = calloc(1, sizeof *l);

    assert_non_null(l);
    l->seed = seed;
    l->dir = testkit_dir_make();
    l->rows = (size_t)rng_range(rng, 1, ROWS_MAX);
    for (size_t i = 0; i < l->rows; i++) {
        uint64_t dice = rng_below(rng, 40);

        l->deeds[i] = dice < 4 ? (enum deed)dice : ENDS_WELL;
        if (holds && dice == 4)
            l->deeds[i] = HOLDS;
    }
    return l;
}

static void live(uint64_t seed)
{
    struct rng rng;
    struct core_pool_options o;
    struct engine_batch_options batch_options = {.store = NULL};
    struct engine_batch *b;
    struct engine *e;
    struct core_pool *pool;
    struct core_task *chain, *kept = NULL, **tail = &kept;
    size_t fds = fds_open(), taken = 0, stop_at;
    bool ends_early;
    struct pool_plan plan;

    rng_seed(&rng, seed);
    ends_early = rng_below(&rng, 2) == 0;
    plan.ahead = rng_below(&rng, 4) > 0;
    plan.life = make_life(seed, &rng, ends_early);
    stop_at = (size_t)rng_below(&rng, plan.life->rows);
    core_pool_options_init(&o);
    core_batch_options_init(&batch_options.core);
    o.size = (size_t)rng_range(&rng, 1, 5);
    o.gate.throttle.kind = THROTTLE_AIMD;
    o.gate.throttle.aimd.step_ns = o.gate.throttle.aimd.max_delay_ns = NS_PER_MS;
    o.backoff.initial_ns = o.backoff.ceiling_ns = NS_PER_MS;
    ok(engine_new(&(struct engine_options){.seed = seed}, &e, &err));
    ok(engine_add_pool(e, &o, make_executor, &plan, &pool, &err));
    ok(engine_open_batch(e, pool, &batch_options, &b, &err));
    add_rows(plan.life, b);
    for (;;) {
        enum weir_status status;

        if (ends_early && taken >= stop_at) {
            ends_early = false;
            if (rng_below(&rng, 3) == 0)
                engine_shutdown(e, false);
            else
                engine_batch_stop(b, true);
        }
        /* Whoever holds does not let the next one through: then it is time to stop. */
        status = engine_batch_next(b, ends_early ? 200 * NS_PER_MS : 60 * NS_PER_S, &chain, NULL);
        if (status == WEIR_E_AGAIN && ends_early) {
            stop_at = taken;
            continue;
        }
        if (status == WEIR_E_END)
            break;
        assert_int_equal(status, WEIR_OK);
        for (*tail = chain; *tail; tail = &(*tail)->next)
            assert_int_equal((*tail)->index, taken++);
    }
    read_log(plan.life);
    for (size_t i = 0; i < plan.life->rows; i++)
        for (unsigned a = 1; a < ATTEMPTS_MAX; a++)
            assert_true(plan.life->runs[i][a] <= 1);
    for (struct core_task *t = kept; t; t = t->next)
        check_result(plan.life, t);
    if (kept)
        engine_batch_give_back(b, kept);
    engine_batch_close(b);
    engine_free(e);
    assert_int_equal(fds_open(), fds);
    assert_no_children();
    testkit_dir_remove(plan.life->dir);
    free(plan.life);
}

static void no_command_runs_twice_and_none_is_left(void **state)
{
    const char *only = getenv("WEIR_SEED");

    struct engine *first;

    (void)state;
    /* libuv keeps two descriptors of the first loop that there ever was. */
    ok(engine_new(&(struct engine_options){.seed = 1}, &first, &err));
    engine_free(first);
    for (uint64_t seed = 1; seed <= LIVES; seed++) {
        uint64_t lived = only ? strtoull(only, NULL, 10) : seed;

        /* Shown by cmocka when the test fails. */
        print_message("seed %" PRIu64 "\n", lived);
        live(lived);
        if (only)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_command_runs_twice_and_none_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
