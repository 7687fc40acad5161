/*
 * Durable tasks by the public API: submitted, run, kept through a restart.
 */
#include "weir/tasks.h"

#include "support/testkit.h"
#include "unit/engine/engine_test.h"

struct fixture {
    char *dir, *path;
    struct weir_engine *engine;
    struct weir_tasks *tasks;
    atomic_uint calls;
};

/* "fail" fails for good, "again" once; everything else is done, and its output is its data. */
static void do_work(void *ctx, const struct weir_row *row, struct weir_answer *answer)
{
    struct fixture *f = ctx;
    unsigned call = atomic_fetch_add(&f->calls, 1);

    if (row->len == 4 && memcmp(row->data, "fail", 4) == 0)
        weir_answer_failed(answer, false, 7, "as it was told");
    else if (row->len == 5 && memcmp(row->data, "again", 5) == 0 && call == 0)
        weir_answer_failed(answer, true, 0, "not yet");
    else
        weir_answer_ok(answer, row->data, row->len);
}

static void open_tasks(struct fixture *f, enum weir_policy policy)
{
    struct weir_tasks_options o;
    struct weir_task_pool_options p;

    weir_tasks_options_init(&o);
    o.path = f->path;
    o.policy = policy;
    ok(weir_open(NULL, &f->engine, &err));
    ok(weir_tasks_open(f->engine, &o, &f->tasks, &err));
    weir_task_pool_options_init(&p);
    p.pool.name = "work";
    p.pool.retry_delay_ms = 1;
    p.skills = (const char *const[]){"sewing", NULL};
    ok(weir_tasks_pool_thread(f->tasks, &p, do_work, f, &err));
}

static void close_tasks(struct fixture *f)
{
    ok(weir_tasks_close(f->tasks, 1000, &err));
    ok(weir_close(f->engine, &err));
}

static void begin(struct fixture *f)
{
    *f = (struct fixture){.dir = testkit_dir_make()};
    f->path = testkit_path(f->dir, "tasks.db");
}

static void end(struct fixture *f)
{
    testkit_free(f->path);
    testkit_dir_remove(f->dir);
}

static uint64_t submit_text(struct fixture *f, const char *text)
{
    struct weir_task t;
    uint64_t id;

    weir_task_init(&t);
    t.data = text;
    t.len = strlen(text);
    ok(weir_tasks_submit(f->tasks, &t, 1, &id, &err));
    return id;
}

static void a_task_is_done_and_its_output_kept(void **state)
{
    struct fixture f;
    struct weir_task_info info;
    uint64_t id;

    (void)state;
    begin(&f);
    open_tasks(&f, WEIR_POLICY_FIFO);
    ok(weir_tasks_start(f.tasks, &err));
    id = submit_text(&f, "hello");
    ok(weir_tasks_wait(f.tasks, id, 60000, &info, &err));
    assert_int_equal(info.state, WEIR_TASK_DONE);
    assert_int_equal(info.output_len, 5);
    assert_string_equal(info.output, "hello");
    assert_int_equal(info.attempts, 1);
    assert_true(info.submitted_ns > 0 && info.started_ns >= info.submitted_ns &&
                info.ended_ns >= info.started_ns);
    weir_task_info_free(&info);
    close_tasks(&f);
    end(&f);
}

static void failures_are_told_with_their_message(void **state)
{
    struct fixture f;
    struct weir_task_info info;
    uint64_t again, id;

    (void)state;
    begin(&f);
    open_tasks(&f, WEIR_POLICY_FIFO);
    ok(weir_tasks_start(f.tasks, &err));
    again = submit_text(&f, "again");
    ok(weir_tasks_wait(f.tasks, again, 60000, &info, &err));
    assert_int_equal(info.state, WEIR_TASK_DONE);
    assert_int_equal(info.attempts, 2);
    assert_int_equal(info.failures, 1);
    weir_task_info_free(&info);
    id = submit_text(&f, "fail");
    ok(weir_tasks_wait(f.tasks, id, 60000, &info, &err));
    assert_int_equal(info.state, WEIR_TASK_FAILED);
    assert_int_equal(info.status, 7);
    assert_string_equal(info.message, "as it was told");
    weir_task_info_free(&info);
    ok(weir_tasks_retry(f.tasks, id, &err));
    ok(weir_tasks_wait(f.tasks, id, 60000, &info, &err));
    assert_int_equal(info.state, WEIR_TASK_FAILED);
    assert_int_equal(info.attempts, 2);
    weir_task_info_free(&info);
    close_tasks(&f);
    end(&f);
}

static void what_was_not_run_is_run_after_a_restart(void **state)
{
    struct fixture f;
    struct weir_task_info info;
    struct weir_tasks_stats stats;
    uint64_t id;

    (void)state;
    begin(&f);
    open_tasks(&f, WEIR_POLICY_PRIORITY);
    id = submit_text(&f, "later"); /* nothing runs before the start */
    ok(weir_tasks_get_stats(f.tasks, &stats, &err));
    assert_int_equal(stats.states[WEIR_TASK_READY], 1);
    close_tasks(&f);
    assert_int_equal(atomic_load(&f.calls), 0);
    open_tasks(&f, WEIR_POLICY_FAIR_SHARE);
    ok(weir_tasks_start(f.tasks, &err));
    ok(weir_tasks_wait(f.tasks, id, 60000, &info, &err));
    assert_int_equal(info.state, WEIR_TASK_DONE);
    weir_task_info_free(&info);
    close_tasks(&f);
    end(&f);
}

static void dependencies_skills_and_keys_are_heeded(void **state)
{
    struct fixture f;
    struct weir_task t;
    struct weir_task_info info;
    uint64_t first, second, same;

    (void)state;
    begin(&f);
    open_tasks(&f, WEIR_POLICY_SKILL);
    first = submit_text(&f, "fail");
    weir_task_init(&t);
    t.skill = "sewing";
    t.after = &first;
    t.after_count = 1;
    t.idempotency_key = "only once";
    ok(weir_tasks_submit(f.tasks, &t, 1, &second, &err));
    ok(weir_tasks_submit(f.tasks, &t, 1, &same, &err));
    assert_int_equal(second, same);
    ok(weir_tasks_start(f.tasks, &err));
    ok(weir_tasks_wait(f.tasks, second, 60000, &info, &err));
    assert_int_equal(info.state, WEIR_TASK_FAILED);
    assert_int_equal(info.reason, WEIR_REASON_DEPENDENCY);
    assert_int_equal(info.attempts, 0);
    weir_task_info_free(&info);
    close_tasks(&f);
    end(&f);
}

static void wrong_calls_are_refused_with_the_place(void **state)
{
    struct fixture f;
    struct weir_task t[2];
    struct weir_error why = {0};
    struct weir_tasks *other;
    struct weir_tasks_options o;
    struct weir_task_info info;

    (void)state;
    begin(&f);
    open_tasks(&f, WEIR_POLICY_FIFO);
    weir_task_init(&t[0]);
    weir_task_init(&t[1]);
    t[1].priority = 2000;
    assert_int_equal(weir_tasks_submit(f.tasks, t, 2, NULL, &why), WEIR_E_INVALID);
    assert_non_null(strstr(why.message, "priority of task 1"));
    assert_int_equal(weir_tasks_submit(f.tasks, t, 0, NULL, &why), WEIR_E_INVALID);
    assert_int_equal(weir_tasks_get(f.tasks, 99, &info, &why), WEIR_E_END);
    assert_int_equal(weir_tasks_cancel(f.tasks, 99, &why), WEIR_E_END);
    assert_int_equal(weir_tasks_open(f.engine, NULL, &other, &why), WEIR_E_INVALID);
    weir_tasks_options_init(&o);
    o.path = f.path;
    assert_int_equal(weir_tasks_open(f.engine, &o, &other, &why), WEIR_E_BUSY);
    assert_int_equal(weir_close(f.engine, &why), WEIR_E_BUSY);
    {
        struct weir_engine *second;

        assert_int_equal(weir_open(NULL, &second, &why), WEIR_OK);
        assert_int_equal(weir_tasks_open(second, &o, &other, &why), WEIR_E_BUSY);
        assert_int_equal(weir_close(second, &why), WEIR_OK);
    }
    close_tasks(&f);
    end(&f);
}

static void a_wait_that_is_too_long_is_told(void **state)
{
    struct fixture f;
    struct weir_task_info info;
    struct weir_error why = {0};
    uint64_t id;

    (void)state;
    begin(&f);
    open_tasks(&f, WEIR_POLICY_FIFO);
    id = submit_text(&f, "never started");
    assert_int_equal(weir_tasks_wait(f.tasks, id, 1, &info, &why), WEIR_E_AGAIN);
    ok(weir_tasks_cancel(f.tasks, id, &err));
    ok(weir_tasks_wait(f.tasks, id, 60000, &info, &err));
    assert_int_equal(info.state, WEIR_TASK_CANCELLED);
    weir_task_info_free(&info);
    close_tasks(&f);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_is_done_and_its_output_kept),
        cmocka_unit_test(failures_are_told_with_their_message),
        cmocka_unit_test(what_was_not_run_is_run_after_a_restart),
        cmocka_unit_test(dependencies_skills_and_keys_are_heeded),
        cmocka_unit_test(wrong_calls_are_refused_with_the_place),
        cmocka_unit_test(a_wait_that_is_too_long_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
