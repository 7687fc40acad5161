/* The screen of `weir top`: exact at several sizes, never wider or longer, and nothing in it that steers a terminal. */
#include "unit/cli/top/top_test.h"

#include "base/mem.h"
#include "cli/top/text.h"

static void assert_screen(struct top_ui *ui, size_t width, size_t height, const char *expected)
{
    _cleanup_buf_ struct buf text = {0};
    struct top_model m = {0};

    top_load_all(&m);
    top_settle(ui, &m);
    top_screen_text(&m, ui, width, height, &text);
    assert_string_equal(text.data, expected);
    top_model_free(&m);
}

static void shows_everything_at_120x24(void **state)
{
    struct top_ui ui = {.address = "unix:/run/weir/weir.sock", .utc = true};

    (void)state;
    assert_screen(
        &ui, 120, 24,
        "weir 0.1.0  up 3m05s  priority  unix:/run/weir/weir.sock\n"
        "[######..............] running 3/10  ready 12  failed 1  done 40  blocked 2\n"
        "pools 2 by place\n"
        " POOL                  KIND    USE                   READY FAILED STATE       RATE "
        "WORKERS         THROTTLE\n"
        " sh                    command [#####.....] 2/4         10      1 on         +0.5s        "
        "         aimd: refused\n"
        " models                process [#####.....] 1/2          2      0 paused      18/s 2: 1 "
        "busy       adaptive\n"
        "running 3 by run time\n"
        "    TASK KEY                    POOL       TRY WHERE          TIME PROGRESS          "
        "SAYS\n"
        ">      3 gamma                  models       1 worker 7      3m20s\n"
        "       1 alpha                  sh           1 pid 4711      1m02s [#####.....]  50% half "
        "of it\n"
        "       2 Beta                   sh           2 pid 4712       3.2s\n"
        "waiting 2 by age\n"
        "    TASK KEY                         STATE     POOL         PRI TRIES     AGE WHY\n"
        "       4 delta                       ready                    0     1   2m00s\n"
        "       5 eps                         blocked   sh            50     0    5.0s after 2 "
        "more\n"
        "events 2\n"
        " AT       EVENT                   TASK POOL       WHAT\n"
        " 11:59:59 runner.failed              6 sh         attempt 3, 0.2s; outcome failed, status "
        "3\n"
        " 11:59:58 task.ready                 4\n"
        "\n"
        "\n"
        "\n"
        "\n"
        "q quit  ? help  tab pane  enter detail  c cancel  / filter  s sort  f failed\n");
}

static void shows_one_pane_at_40x10(void **state)
{
    struct top_ui ui = {.address = "unix:/run/weir/weir.sock", .utc = true};

    (void)state;
    assert_screen(&ui, 40, 10,
                  "weir 0.1.0  up 3m05s  priority  unix:/r~\n"
                  "running 3/10  ready 12  failed 1  done ~\n"
                  "[running 3] waiting 2 pools 2 events 2 ~\n"
                  "    TASK KEY                   TIME DONE\n"
                  ">      3 gamma                3m20s\n"
                  "       1 alpha                1m02s  50%\n"
                  "       2 Beta                  3.2s\n"
                  "\n"
                  "\n"
                  "q quit  ? help  tab pane  enter detail ~\n");
}

static void shows_pools_at_40x10(void **state)
{
    struct top_ui ui = {.address = "unix:x", .utc = true, .pane = TOP_POOLS};

    (void)state;
    assert_screen(&ui, 40, 10,
                  "weir 0.1.0  up 3m05s  priority  unix:x\n"
                  "running 3/10  ready 12  failed 1  done ~\n"
                  "running 3 waiting 2 [pools 2] events 2 ~\n"
                  " POOL           USE       READY STATE\n"
                  ">sh             2/4          10 on\n"
                  " models         1/2           2 paused\n"
                  "\n"
                  "\n"
                  "\n"
                  "q quit  ? help  tab pane  p pause/resum~\n");
}

static void prints_all_without_a_height(void **state)
{
    struct top_ui ui = {.address = "unix:x", .utc = true, .utf8 = true};

    (void)state;
    assert_screen(
        &ui, 0, 0,
        "weir 0.1.0  up 3m05s  priority  unix:x\n"
        "[██████··············] running 3/10  ready 12  failed 1  done 40  blocked 2\n"
        "\n"
        "pools 2 by place\n"
        " POOL                    KIND    USE                   READY FAILED STATE       RATE "
        "WORKERS\n"
        " sh                      command [█████·····] 2/4         10      1 on         +0.5s\n"
        " models                  process [█████·····] 1/2          2      0 paused      18/s 2: 1 "
        "busy\n"
        "\n"
        "running 3 by run time\n"
        "    TASK KEY            POOL       TRY WHERE          TIME PROGRESS          SAYS\n"
        "       3 gamma          models       1 worker 7      3m20s\n"
        "       1 alpha          sh           1 pid 4711      1m02s [█████·····]  50% half of it\n"
        "       2 Beta           sh           2 pid 4712       3.2s\n"
        "\n"
        "waiting 2 by age\n"
        "    TASK KEY                 STATE     POOL         PRI TRIES     AGE WHY\n"
        "       4 delta               ready                    0     1   2m00s\n"
        "       5 eps                 blocked   sh            50     0    5.0s after 2 more\n"
        "\n"
        "events 2\n"
        " AT       EVENT                   TASK POOL       WHAT\n"
        " 11:59:59 runner.failed              6 sh         attempt 3, 0.2s; outcome failed, status "
        "3\n"
        " 11:59:58 task.ready                 4\n");
}

static void says_that_nobody_answers(void **state)
{
    struct top_ui ui = {.trouble = "no daemon answers at unix:x; trying again"};
    struct top_model m = {0};
    _cleanup_buf_ struct buf text = {0};

    (void)state;
    top_screen_text(&m, &ui, 60, 10, &text);
    assert_true(strncmp(text.data, "no daemon answers at unix:x; trying again\n", 42) == 0);
    top_model_free(&m);
}

/* Every pane and mode at every size: exactly so many lines, none wider, and no control character. */
static void fits_any_size(void **state)
{
    static const enum top_mode modes[] = {TOP_LISTING, TOP_FILTERING, TOP_ASKING, TOP_DETAIL,
                                          TOP_HELP};
    struct top_model m = {0};
    struct weir_error err;

    (void)state;
    top_load_all(&m);
    assert_int_equal(
        top_load(&m, TOP_RUNNING,
                 SLICE("[{\"id\":\"1\",\"task\":18446744073709551615,\"key\":\"\\u001b["
                       "2J\\u202e\\u4f60\\u597d\\u0007\","
                       "\"attempt\":12345,\"pool\":\"\\u4f60\\u597d\\u4f60\\u597d\\u4f60\\u597d\","
                       "\"run_s\":1e300,"
                       "\"progress\":7,\"text\":\"a\\nb\\u009b31m\"}]"),
                 &err),
        WEIR_OK);
    assert_int_equal(
        top_load_task(&m,
                      SLICE("{\"id\":1,\"payload\":\"\\u001b]0;x\\u0007 one\\ntwo\\n\\nfour\"}"),
                      slice_of(top_events_json), &err),
        WEIR_OK);
    for (size_t width = 1; width <= 300; width += width < 130 ? 1 : 57) {
        for (size_t height = 1; height <= 100; height += height < 30 ? 1 : 35) {
            for (size_t k = 0; k < sizeof modes / sizeof *modes * TOP_LISTS; k++) {
                struct top_ui ui = {.mode = modes[k / TOP_LISTS],
                                    .pane = (enum top_list)(k % TOP_LISTS),
                                    .address = "unix:/x",
                                    .filter = "",
                                    .utf8 = true,
                                    .detail_scroll = k};
                struct top_screen s = {.width = width, .height = height};

                top_settle(&ui, &m);
                top_draw(&m, &ui, NOW_NS, &s);
                assert_false(s.failed);
                assert_int_equal(s.count, height);
                for (size_t i = 0; i < s.count; i++) {
                    struct slice line = {s.text.data + s.lines[i].at, s.lines[i].len};
                    _cleanup_buf_ struct buf again = {0};

                    assert_true(top_put_text(&again, line, SIZE_MAX, true) <= width);
                    /* What would steer it would have become something else. */
                    assert_true(slice_equal(buf_slice(&again), line));
                }
                top_screen_free(&s);
            }
        }
    }
    top_model_free(&m);
}

static void follows_the_selected_row(void **state)
{
    _cleanup_buf_ struct buf text = {0}, json = {0};
    struct top_ui ui = {.address = "", .pane = TOP_RUNNING};
    struct top_model m = {0};
    struct top_action action = {0};
    struct weir_error err;

    (void)state;
    buf_putc(&json, '[');
    for (int i = 0; i < 50; i++)
        buf_printf(&json,
                   "%s{\"id\":\"%d\",\"task\":%d,\"key\":\"k%d\",\"pool\":\"p\",\"run_s\":%d}",
                   i ? "," : "", i, i, i, 100 - i);
    buf_putc(&json, ']');
    top_load_all(&m);
    assert_int_equal(top_load(&m, TOP_RUNNING, buf_slice(&json), &err), WEIR_OK);
    top_settle(&ui, &m);
    top_key(&ui, &m, TOP_END, &action);
    top_screen_text(&m, &ui, 40, 10, &text);
    assert_non_null(strstr(text.data, ">     49 k49"));
    top_key(&ui, &m, TOP_HOME, &action);
    top_screen_text(&m, &ui, 40, 10, &text);
    assert_non_null(strstr(text.data, ">      0 k0"));
    assert_null(strstr(text.data, "k49"));
    top_model_free(&m);
}

static void shows_a_task_and_its_record(void **state)
{
    _cleanup_buf_ struct buf text = {0};
    struct top_ui ui = {.address = "unix:x", .mode = TOP_DETAIL, .detail = 6, .utc = true};
    struct top_model m = {0};
    struct weir_error err;

    (void)state;
    top_load_all(&m);
    assert_int_equal(
        top_load_task(
            &m, SLICE("{\"id\":6,\"state\":\"failed\",\"errput\":\"one\\ntwo\",\"after\":[4,5]}"),
            slice_of(top_events_json), &err),
        WEIR_OK);
    top_screen_text(&m, &ui, 80, 14, &text);
    assert_string_equal(
        text.data,
        "weir 0.1.0  up 3m05s  priority  unix:x\n"
        "[######..............] running 3/10  ready 12  failed 1  done 40  blocked 2\n"
        "id              6\n"
        "state           failed\n"
        "errput          one\n"
        "                two\n"
        "after           [4,5]\n"
        "\n"
        "record\n"
        " AT       EVENT                   TASK POOL       WHAT\n"
        " 11:59:59 runner.failed              6 sh         attempt 3, 0.2s; outcome fail~\n"
        " 11:59:58 task.ready                 4\n"
        "\n"
        "q back  arrows scroll  c cancel  r retry\n");
    top_model_free(&m);
}

static void survives_each_failed_allocation(void **state)
{
    bool whole = false;

    (void)state;
    for (unsigned long n = 1; !whole; n++) {
        struct top_model m = {0};
        struct top_ui ui = {.address = "unix:x"};
        struct top_screen s = {.width = 120, .height = 24};
        enum weir_status status;

        mem_fail_at(n);
        status = top_load(&m, TOP_POOLS, slice_of(top_status_json), NULL);
        if (status == WEIR_OK)
            status = top_load(&m, TOP_RUNNING, slice_of(top_runners_json), NULL);
        if (status == WEIR_OK) {
            top_settle(&ui, &m);
            top_draw(&m, &ui, NOW_NS, &s);
        }
        whole = !mem_has_failed();
        mem_fail_at(0);
        assert_true(status == WEIR_OK || status == WEIR_E_NOMEM);
        assert_true(!whole || (status == WEIR_OK && !s.failed));
        top_screen_free(&s);
        top_model_free(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shows_everything_at_120x24),
        cmocka_unit_test(shows_one_pane_at_40x10),
        cmocka_unit_test(shows_pools_at_40x10),
        cmocka_unit_test(prints_all_without_a_height),
        cmocka_unit_test(says_that_nobody_answers),
        cmocka_unit_test(fits_any_size),
        cmocka_unit_test(follows_the_selected_row),
        cmocka_unit_test(shows_a_task_and_its_record),
        cmocka_unit_test(survives_each_failed_allocation),
    };

    setlocale(LC_CTYPE, "C.UTF-8");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
