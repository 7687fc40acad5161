/* Checking: whole files are looked at, faults are collected and counted, memory stays bounded. */
#include "folder.h"

#include "base/mem.h"
#include "cli/input/check.h"

#include <sys/resource.h>

#define URL "http://localhost/x"

static struct rows *make_rows(const char *key_expr)
{
    struct row_options o = {.url = URL, .key_expr = key_expr};
    struct rows *rows = NULL;

    assert_int_equal(rows_new(&o, &rows, NULL), WEIR_OK);
    return rows;
}

static struct lines_options of_files(const char *const *files, size_t count)
{
    return (struct lines_options){.files = files, .file_count = count, .stop_fd = -1};
}

static void run_check(const struct lines_options *lines, struct rows *rows, size_t memory_keys,
                      struct check_report *report)
{
    struct check_keys keys = {.files = lines->files, .memory_keys = memory_keys};
    struct weir_error err = {0};
    struct check_options o = {.lines = lines, .rows = rows, .keys = &keys};

    if (check_run(&o, report, &err) != WEIR_OK)
        fail_msg("%s", err.message);
    check_keys_free(&keys);
}

static void good_files_give_rows_bytes_and_a_digest(void **state)
{
    const char *files[2] = {folder_text("a", "{\"custom_id\":\"1\"}\n\n[]\n"),
                            folder_text("b", "{\"custom_id\":\"2\"}")};
    struct lines_options lines = of_files(files, 2);
    struct rows *rows = make_rows(NULL);
    struct check_report report, again;

    (void)state;
    run_check(&lines, rows, 0, &report);
    assert_int_equal(report.rows, 3);
    assert_int_equal(report.bytes, 22 + 17);
    assert_int_equal(report.bad, 0);
    assert_int_equal(report.fault_count, 0);

    /* The digest is of the rows: the same in one file, with other line ends. */
    files[0] = folder_text("c", "{\"custom_id\":\"1\"}\r\n[]\r\n\r\n{\"custom_id\":\"2\"}\r\n");
    lines = of_files(files, 1);
    run_check(&lines, rows, 0, &again);
    assert_true(fingerprint_equal(report.digest, again.digest));
    files[0] = folder_text("c", "[]\n{\"custom_id\":\"1\"}\n{\"custom_id\":\"2\"}\n");
    run_check(&lines, rows, 0, &again);
    assert_false(fingerprint_equal(report.digest, again.digest));
    rows_free(rows);
}

static void faults_are_told_up_to_a_number_and_counted(void **state)
{
    const char *file = folder_name("a");
    FILE *f = fopen(file, "we");
    struct lines_options lines = of_files(&file, 1);
    struct rows *rows = make_rows(NULL);
    struct check_report report;

    (void)state;
    assert_non_null(f);
    for (int i = 0; i < 100; i++)
        assert_true(fprintf(f, "%s\n", i % 2 ? "{}" : "{]") > 0);
    assert_int_equal(fclose(f), 0);
    run_check(&lines, rows, 0, &report);
    assert_int_equal(report.rows, 100);
    assert_int_equal(report.bad, 50);
    assert_int_equal(report.fault_count, CHECK_FAULTS_MAX);
    assert_non_null(strstr(report.faults[0], "/a:1: "));
    assert_non_null(strstr(report.faults[19], "/a:39: "));
    rows_free(rows);
}

static void doubles_are_found_with_the_place_of_the_first(void **state)
{
    const char *files[2] = {
        folder_text("a", "{\"custom_id\":\"x\"}\n\n{\"custom_id\":\"y\"}\n"),
        folder_text("b", "{\"custom_id\":\"z\"}\n{\"custom_id\":\"y\"}\n1\n1\n")};
    struct lines_options lines = of_files(files, 2);
    struct rows *rows = make_rows(NULL);
    struct check_report report;

    (void)state;
    for (size_t memory_keys = 1; memory_keys < 6; memory_keys++) {
        run_check(&lines, rows, memory_keys, &report);
        assert_int_equal(report.bad, 1);
        assert_non_null(strstr(report.faults[0], "/b:2: the key \"y\""));
        assert_non_null(strstr(report.faults[0], "/a:3;"));
    }
    rows_free(rows);
}

static void doubles_are_found_beyond_what_memory_holds(void **state)
{
    const char *file = folder_name("a");
    FILE *f = fopen(file, "we");
    struct lines_options lines = of_files(&file, 1);
    struct rows *rows = make_rows(".k");
    struct check_report report;

    (void)state;
    assert_non_null(f);
    for (int i = 0; i < 30000; i++) /* the last thousand come for the second time */
        assert_true(fprintf(f, "{\"k\":%d}\n", i % 29000) > 0);
    assert_int_equal(fclose(f), 0);
    run_check(&lines, rows, 1000, &report);
    assert_int_equal(report.rows, 30000);
    assert_int_equal(report.bad, 1000);
    assert_non_null(strstr(report.faults[0], "/a:29001: the key \"0\""));
    assert_non_null(strstr(report.faults[0], "/a:1;"));
    rows_free(rows);
}

static void streams_are_left_alone(void **state)
{
    const char *fifo = folder_name("fifo");
    const char *files[3] = {"-", folder_text("a", "1\n"), fifo};
    struct lines_options lines = of_files(files, 3);
    struct rows *rows = make_rows(NULL);
    struct check_report report;

    (void)state;
    assert_int_equal(mkfifo(fifo, 0600), 0);
    lines.stdin_fd = -2; /* touching it would fail */
    run_check(&lines, rows, 0, &report);
    assert_int_equal(report.rows, 1);
    rows_free(rows);
}

static void a_million_rows_take_flat_memory(void **state)
{
    const char *file = folder_name("a");
    FILE *f = fopen(file, "we");
    struct lines_options lines = of_files(&file, 1);
    struct rows *rows = make_rows(NULL);
    struct trail trail = {0};
    struct check_keys keys = {.files = &file, .memory_keys = 1 << 16};
    struct check_options o = {.lines = &lines, .rows = rows, .keys = &keys, .trail = &trail};
    struct check_report report;
    struct rusage before, after;

    (void)state;
    assert_non_null(f);
    for (int i = 0; i < 1000000; i++)
        assert_true(
            fprintf(f, "{\"custom_id\":\"r%d\",\"url\":\"/x\",\"body\":{\"n\":%d}}\n", i, i) > 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(getrusage(RUSAGE_SELF, &before), 0);
    assert_int_equal(check_run(&o, &report, NULL), WEIR_OK);
    assert_int_equal(getrusage(RUSAGE_SELF, &after), 0);
    assert_int_equal(report.rows, 1000000);
    assert_int_equal(report.bad, 0);
    if (MEMORY_IS_MEASURABLE)
        assert_true(after.ru_maxrss - before.ru_maxrss < 64 * 1024);
    check_keys_free(&keys);
    trail_free(&trail);
    rows_free(rows);
}

static void no_memory_is_an_error_at_every_allocation(void **state)
{
    const char *file =
        folder_text("a", "{\"custom_id\":\"x\"}\n{\"custom_id\":\"y\"}\n{\"custom_id\":\"z\"}\n");
    struct lines_options lines = of_files(&file, 1);
    struct rows *rows = make_rows(NULL);
    bool swept = false;

    (void)state;
    for (unsigned long n = 1; !swept; n++) {
        struct trail trail = {0};
        struct check_keys keys = {.files = &file, .memory_keys = 2};
        struct check_options o = {.lines = &lines, .rows = rows, .keys = &keys, .trail = &trail};
        struct check_report report;
        enum weir_status status;

        mem_fail_at(n);
        status = check_run(&o, &report, NULL);
        swept = !mem_has_failed();
        mem_fail_at(0);
        assert_int_equal(status, swept ? WEIR_OK : WEIR_E_NOMEM);
        check_keys_free(&keys);
        trail_free(&trail);
    }
    rows_free(rows);
}

static void places_survive_the_way_through_a_number(void **state)
{
    struct line line = {.file_index = LINES_FILES_MAX - 1, .number = 123456789012};
    uint32_t file_index;
    uint64_t number;

    (void)state;
    assert_true(check_place(&line) < UINT64_MAX / 2);
    check_place_split(check_place(&line), &file_index, &number);
    assert_int_equal(file_index, LINES_FILES_MAX - 1);
    assert_int_equal(number, 123456789012);
    line.number = UINT64_MAX;
    check_place_split(check_place(&line), &file_index, &number);
    assert_int_equal(file_index, LINES_FILES_MAX - 1);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(a_million_rows_take_flat_memory),
        IN_FOLDER(good_files_give_rows_bytes_and_a_digest),
        IN_FOLDER(faults_are_told_up_to_a_number_and_counted),
        IN_FOLDER(doubles_are_found_with_the_place_of_the_first),
        IN_FOLDER(doubles_are_found_beyond_what_memory_holds),
        IN_FOLDER(streams_are_left_alone),
        IN_FOLDER(no_memory_is_an_error_at_every_allocation),
        cmocka_unit_test(places_survive_the_way_through_a_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
