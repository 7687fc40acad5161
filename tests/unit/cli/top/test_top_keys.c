/* The keys of `weir top`: what they change, what they ask, and the request that comes of it. */
#include "unit/cli/top/top_test.h"

struct desk {
    struct top_model m;
    struct top_ui ui;
    struct top_action action;
};

static int setup(void **state)
{
    static struct desk d;

    d = (struct desk){.ui = {.address = "unix:x", .utf8 = true}};
    top_load_all(&d.m);
    top_settle(&d.ui, &d.m);
    *state = &d;
    return 0;
}

static int teardown(void **state)
{
    struct desk *d = *state;

    top_action_free(&d->action);
    top_action_free(&d->ui.asked);
    top_model_free(&d->m);
    return 0;
}

static void press(struct desk *d, int key)
{
    top_action_free(&d->action);
    d->action = (struct top_action){0};
    top_key(&d->ui, &d->m, key, &d->action);
}

static void assert_request(const struct desk *d, const char *method, const char *path,
                           const char *body)
{
    assert_int_equal(d->action.what, TOP_SEND);
    assert_string_equal(d->action.method, method);
    assert_string_equal(d->action.path.data, path);
    assert_string_equal(d->action.body.data ? d->action.body.data : "", body);
}

static void cancels_the_selected_task_after_a_yes(void **state)
{
    struct desk *d = *state;

    /* The longest first: gamma, task 3. */
    press(d, TOP_DOWN);
    press(d, 'c');
    assert_int_equal(d->action.what, TOP_NOTHING);
    assert_string_equal(d->ui.message, "cancel task 1? y/n");
    press(d, 'y');
    assert_request(d, "POST", "/v1/tasks/1/cancel", "");
    assert_int_equal(d->ui.mode, TOP_LISTING);
}

static void does_nothing_without_a_yes(void **state)
{
    struct desk *d = *state;

    press(d, 'c');
    press(d, TOP_ENTER);
    assert_int_equal(d->action.what, TOP_NOTHING);
    assert_int_equal(d->ui.mode, TOP_LISTING);
    press(d, 'y');
    assert_int_equal(d->action.what, TOP_NOTHING);
}

static void keeps_the_task_selected_when_the_list_moves(void **state)
{
    struct desk *d = *state;
    struct weir_error err;

    press(d, 'j');
    press(d, 'j');
    assert_string_equal(d->ui.panes[TOP_RUNNING].id, "901");
    assert_int_equal(top_load(&d->m, TOP_RUNNING,
                              SLICE("[{\"id\":\"901\",\"task\":2,\"key\":\"Beta\",\"run_s\":9},"
                                    "{\"id\":\"950\",\"task\":9,\"key\":\"new\",\"run_s\":1}]"),
                              &err),
                     WEIR_OK);
    top_settle(&d->ui, &d->m);
    press(d, 'c');
    press(d, 'y');
    assert_request(d, "POST", "/v1/tasks/2/cancel", "");
}

static void pauses_and_resumes_a_pool(void **state)
{
    struct desk *d = *state;

    press(d, 'p');
    assert_int_equal(d->action.what, TOP_NOTHING);
    assert_true(d->ui.is_bad);
    press(d, TOP_TAB);
    press(d, TOP_TAB);
    assert_int_equal(d->ui.pane, TOP_POOLS);
    press(d, 'p');
    assert_request(d, "POST", "/v1/pools/sh/disable", "");
    press(d, TOP_DOWN);
    press(d, 'p');
    assert_request(d, "POST", "/v1/pools/models/enable", "");
    press(d, 'd');
    assert_request(d, "POST", "/v1/pools/models/drain", "");
}

static void changes_a_limit(void **state)
{
    struct desk *d = *state;
    struct weir_error err;

    d->ui.pane = TOP_POOLS;
    press(d, '+');
    assert_request(d, "PATCH", "/v1/pools/sh", "{\"max_concurrency\":5}");
    press(d, '-');
    assert_request(d, "PATCH", "/v1/pools/sh", "{\"max_concurrency\":3}");
    assert_int_equal(top_load(&d->m, TOP_POOLS,
                              SLICE("{\"pools\":[{\"name\":\"a/b c\",\"max_concurrency\":1}]}"),
                              &err),
                     WEIR_OK);
    top_settle(&d->ui, &d->m);
    press(d, '-');
    assert_int_equal(d->action.what, TOP_NOTHING);
    press(d, '+');
    assert_request(d, "PATCH", "/v1/pools/a%2Fb%20c", "{\"max_concurrency\":2}");
}

static void kills_an_attempt(void **state)
{
    struct desk *d = *state;

    press(d, 'K');
    press(d, 'y');
    assert_request(d, "POST", "/v1/runners/902/kill", "");
    press(d, TOP_TAB);
    press(d, 'K');
    assert_int_equal(d->ui.mode, TOP_LISTING);
    assert_true(d->ui.is_bad);
}

static void retries_a_failed_task(void **state)
{
    struct desk *d = *state;

    press(d, 'f');
    assert_true(d->ui.failed);
    assert_int_equal(d->action.what, TOP_FETCH);
    assert_int_equal(d->ui.pane, TOP_TASKS);
    press(d, 'r');
    assert_request(d, "POST", "/v1/tasks/4/retry", "");
}

static void filters_as_it_is_written(void **state)
{
    struct desk *d = *state;

    press(d, '/');
    press(d, 'b');
    press(d, 'E');
    assert_int_equal(d->m.lists[TOP_RUNNING].shown_count, 1);
    press(d, TOP_BACKSPACE);
    press(d, TOP_BACKSPACE);
    assert_int_equal(d->m.lists[TOP_RUNNING].shown_count, 3);
    /* q is a letter here. */
    press(d, 'q');
    assert_int_equal(d->action.what, TOP_NOTHING);
    press(d, TOP_ENTER);
    assert_string_equal(d->ui.filter, "q");
    press(d, TOP_ESCAPE);
    assert_string_equal(d->ui.filter, "");
}

static void a_filter_has_an_end(void **state)
{
    struct desk *d = *state;

    press(d, '/');
    for (int i = 0; i < 1000; i++)
        press(d, 0x4F60);
    assert_int_equal(strlen(d->ui.filter) % 3, 0);
    assert_true(strlen(d->ui.filter) < TOP_FILTER_BYTES);
    assert_int_equal(d->m.lists[TOP_RUNNING].shown_count, 0);
    press(d, TOP_ENTER);
    press(d, 'c');
    assert_string_equal(d->ui.message, "no task is selected");
}

static void sorts_in_turn(void **state)
{
    static const uint64_t by[][3] = {{3, 1, 2}, {2, 1, 3}, {3, 1, 2}, {1, 2, 3}};
    struct desk *d = *state;

    for (size_t k = 0; k < 4; k++) {
        for (size_t i = 0; i < 3; i++)
            assert_int_equal(top_shown(&d->m, TOP_RUNNING, i)->number, by[k][i]);
        press(d, 's');
    }
    assert_int_equal(d->ui.panes[TOP_RUNNING].sort, 0);
}

static void opens_one_task_and_closes_it(void **state)
{
    struct desk *d = *state;

    press(d, TOP_ENTER);
    assert_int_equal(d->ui.mode, TOP_DETAIL);
    assert_int_equal(d->ui.detail, 3);
    assert_int_equal(d->action.what, TOP_FETCH);
    press(d, 'c');
    press(d, 'n');
    assert_int_equal(d->ui.mode, TOP_DETAIL);
    press(d, '?');
    press(d, 'x');
    assert_int_equal(d->ui.mode, TOP_DETAIL);
    press(d, 'q');
    assert_int_equal(d->ui.mode, TOP_LISTING);
    assert_int_equal(d->ui.detail, 0);
    press(d, 'q');
    assert_int_equal(d->action.what, TOP_QUIT);
}

static void has_nothing_to_act_on_when_empty(void **state)
{
    static const int keys[] = {'c', 'r', 'K', 'p', 'd', '+', '-', TOP_ENTER, TOP_UP, TOP_END, 'y'};
    struct desk *d = *state;
    struct top_model none = {0};

    for (int pane = 0; pane < TOP_LISTS; pane++) {
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
            struct top_action action = {0};

            d->ui = (struct top_ui){.pane = (enum top_list)pane};
            top_key(&d->ui, &none, keys[i], &action);
            assert_int_equal(action.what, TOP_NOTHING);
        }
    }
    top_model_free(&none);
}

static void refuses_what_is_no_answer(void **state)
{
    struct desk *d = *state;
    struct weir_error err;

    assert_int_equal(top_load(&d->m, TOP_RUNNING, SLICE("<html>"), &err), WEIR_E_INVALID);
    assert_int_equal(top_load(&d->m, TOP_TASKS, SLICE("{\"tasks\":7}"), &err), WEIR_E_INVALID);
    assert_int_equal(top_load(&d->m, TOP_POOLS, SLICE("[]"), &err), WEIR_E_INVALID);
    top_settle(&d->ui, &d->m);
    assert_null(top_shown(&d->m, TOP_RUNNING, 0));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(cancels_the_selected_task_after_a_yes),
        TEST(does_nothing_without_a_yes),
        TEST(keeps_the_task_selected_when_the_list_moves),
        TEST(pauses_and_resumes_a_pool),
        TEST(changes_a_limit),
        TEST(kills_an_attempt),
        TEST(retries_a_failed_task),
        TEST(filters_as_it_is_written),
        TEST(a_filter_has_an_end),
        TEST(sorts_in_turn),
        TEST(opens_one_task_and_closes_it),
        TEST(has_nothing_to_act_on_when_empty),
        TEST(refuses_what_is_no_answer),
    };

    setlocale(LC_CTYPE, "C.UTF-8");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
