/* The source: rows in order, checked; files that change; streams; bad rows in their place; resuming. */
#include "folder.h"

#include "base/mem.h"
#include "cli/input/source.h"

#include <pthread.h>
#include <time.h>

#define URL "http://localhost/x"

static struct source_options options_of(const char *const *files, size_t count)
{
    return (struct source_options){
        .lines = {.files = files, .file_count = count, .stop_fd = -1},
        .rows = {.url = URL},
    };
}

static struct source *open_source(const struct source_options *o)
{
    struct source *s = NULL;
    struct weir_error err = {0};

    if (source_open(o, &s, &err) != WEIR_OK)
        fail_msg("%s", err.message);
    return s;
}

static void check_ok(struct source *s)
{
    struct check_report report;
    struct weir_error err = {0};

    if (source_check(s, &report, &err) != WEIR_OK)
        fail_msg("%s", err.message);
}

/* Appends "INDEX KEY BODY|" for each row, "INDEX !|" for a bad one; gives what ended it. */
static enum weir_status read_rows(struct source *s, char *out, size_t room, struct weir_error *err)
{
    enum weir_status status;
    struct run_row *row = NULL;
    size_t at = 0;

    out[0] = '\0';
    while ((status = source_next(s, &row, err)) == WEIR_OK) {
        if (row->bad)
            at += (size_t)snprintf(out + at, room - at, "%d !|", (int)row->task.index);
        else
            at += (size_t)snprintf(out + at, room - at, "%d %s %s|", (int)row->task.index,
                                   row->task.key, row_http(row)->request.body.data);
        assert_true(at < room);
        assert_int_equal(source_index(s), row->task.index + 1);
        row_free(row);
    }
    return status;
}

/* A pipe that holds text, closed at its writing end. */
static int pipe_of(const char *text)
{
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], text, strlen(text)), strlen(text));
    assert_int_equal(close(fds[1]), 0);
    return fds[0];
}

static void files_give_their_rows_in_order(void **state)
{
    const char *files[2] = {folder_text("a", "1\n\n2\n"),
                            folder_text("b", "{\"custom_id\":\"k\"}\n")};
    struct source_options o = options_of(files, 2);
    struct source *s = open_source(&o);
    struct check_report report;
    uint64_t rows = 0;
    char got[256];

    (void)state;
    assert_false(source_rows_known(s, &rows));
    assert_int_equal(source_check(s, &report, NULL), WEIR_OK);
    assert_true(source_rows_known(s, &rows));
    assert_int_equal(rows, 3);
    assert_int_equal(read_rows(s, got, sizeof(got), NULL), WEIR_E_END);
    assert_string_equal(got, "0 0 1|1 1 2|2 k {\"custom_id\":\"k\"}|");
    assert_int_equal(read_rows(s, got, sizeof(got), NULL), WEIR_E_END);
    assert_true(fingerprint_equal(source_digest(s), report.digest));
    source_close(s);
}

static void an_empty_file_is_an_empty_input(void **state)
{
    const char *file = folder_text("a", "\n");
    struct source_options o = options_of(&file, 1);
    struct source *s = open_source(&o);
    struct run_row *row;

    (void)state;
    check_ok(s);
    assert_int_equal(source_next(s, &row, NULL), WEIR_E_END);
    source_close(s);
}

static void bad_files_are_refused_whole(void **state)
{
    const char *file = folder_text("a", "1\n{\n{\"custom_id\":\"k\"}\n{\"custom_id\":\"k\"}\n");
    struct source_options o = options_of(&file, 1);
    struct source *s = open_source(&o);
    struct check_report report;
    struct weir_error err = {0};

    (void)state;
    assert_int_equal(source_check(s, &report, &err), WEIR_E_FORMAT);
    assert_non_null(strstr(err.message, "2 of 4 rows"));
    assert_non_null(strstr(err.message, "--skip-bad"));
    assert_int_equal(report.fault_count, 2);
    source_close(s);
}

static void bad_rows_keep_their_place_when_skipped(void **state)
{
    const char *file = folder_text(
        "a",
        "{\"custom_id\":\"k\"}\n{\n{\"custom_id\":\"k\"}\n123456789012345678901234567890\n4\n");
    struct source_options o = options_of(&file, 1);
    struct source *s;
    struct check_report report;
    char got[256];

    (void)state;
    o.skip_bad = true;
    o.lines.line_max_bytes = 20;
    for (int streamed = 0; streamed < 2; streamed++) {
        s = open_source(&o);
        if (!streamed) {
            assert_int_equal(source_check(s, &report, NULL), WEIR_OK);
            assert_int_equal(report.rows, 5);
            assert_int_equal(report.bad, 2);
        }
        assert_int_equal(read_rows(s, got, sizeof(got), NULL), WEIR_E_END);
        assert_string_equal(got, "0 k {\"custom_id\":\"k\"}|1 !|2 !|3 !|4 4 4|");
        source_close(s);
    }
    s = open_source(&o);
    check_ok(s);
    for (int i = 0; i < 3; i++) {
        struct run_row *row = NULL;
        assert_int_equal(source_next(s, &row, NULL), WEIR_OK);
        if (i == 2)
            assert_non_null(strstr(row->task.answer.message, "/a:1;"));
        row_free(row);
    }
    source_close(s);
}

/* A line that cannot be read is taken for what its neighbours are, in a resumed run too. */
static void bad_rows_have_the_form_of_the_input(void **state)
{
    const char *file = folder_text("a", "{\n{\"custom_id\":\"k\",\"url\":\"/x\",\"body\":1}\n{\n"
                                        "{\"custom_id\":\"k\",\"url\":\"/x\",\"body\":1}\n2\n{\n");
    static const enum row_kind kinds[] = {ROW_BATCH, ROW_BATCH, ROW_BATCH,
                                          ROW_BATCH, ROW_PLAIN, ROW_PLAIN};
    static const char *const keys[] = {"0", "k", "2", "k", "4", "5"};
    struct source_options o = options_of(&file, 1);

    (void)state;
    o.skip_bad = true;
    for (uint64_t passed = 0; passed < 6; passed++) {
        struct source *s = open_source(&o);

        check_ok(s);
        assert_int_equal(source_skip(s, passed, NULL, NULL, NULL), WEIR_OK);
        for (uint64_t i = passed; i < 6; i++) {
            struct run_row *row = NULL;

            assert_int_equal(source_next(s, &row, NULL), WEIR_OK);
            assert_int_equal(row->kind, kinds[i]);
            assert_string_equal(row->task.key, keys[i]);
            assert_int_equal(row->bad, i != 1 && i != 4);
            row_free(row);
        }
        source_close(s);
    }
}

static void a_stream_is_checked_as_it_comes(void **state)
{
    struct source_options o = options_of(NULL, 0);
    struct weir_error err = {0};
    struct check_report report;
    struct source *s;
    uint64_t rows;
    char got[256];

    (void)state;
    o.lines.stdin_fd = pipe_of("{\"custom_id\":\"k\"}\n2\n\n{\"custom_id\":\"k\"}\n5\n");
    s = open_source(&o);
    assert_int_equal(source_check(s, &report, NULL), WEIR_OK);
    assert_int_equal(report.rows, 0);
    assert_false(source_rows_known(s, &rows));
    assert_int_equal(read_rows(s, got, sizeof(got), &err), WEIR_E_FORMAT);
    assert_string_equal(got, "0 k {\"custom_id\":\"k\"}|1 1 2|");
    assert_non_null(strstr(err.message, "standard input:4: the key \"k\""));
    assert_non_null(strstr(err.message, "standard input:1;"));
    memset(&err, 0, sizeof(err));
    assert_int_equal(read_rows(s, got, sizeof(got), &err), WEIR_E_FORMAT);
    assert_non_null(strstr(err.message, "standard input:4: "));
    source_close(s);
    assert_int_equal(close(o.lines.stdin_fd), 0);
}

static void keys_of_files_and_streams_are_one_set(void **state)
{
    const char *files[2] = {"-", folder_text("a", "{\"custom_id\":\"k\"}\n")};
    struct source_options o = options_of(files, 2);
    struct weir_error err = {0};
    struct source *s;
    char got[256];

    (void)state;
    o.lines.stdin_fd = pipe_of("1\n{\"custom_id\":\"k\"}\n");
    s = open_source(&o);
    check_ok(s);
    assert_int_equal(read_rows(s, got, sizeof(got), &err), WEIR_E_FORMAT);
    assert_string_equal(got, "0 0 1|");
    assert_non_null(strstr(err.message, "/a:1;"));
    source_close(s);
    assert_int_equal(close(o.lines.stdin_fd), 0);
}

/* Writes text over the file so that no time stamp or size gives it away. */
static void overwrite_unseen(const char *name, long at, const char *text)
{
    struct stat st;
    struct timespec times[2];
    int fd = open(name, O_WRONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(pwrite(fd, text, strlen(text), at), strlen(text));
    times[0] = st.st_atim;
    times[1] = st.st_mtim;
    assert_int_equal(futimens(fd, times), 0);
    assert_int_equal(close(fd), 0);
}

static void a_file_replaced_after_the_check_is_refused_before_its_rows(void **state)
{
    const char *files[2] = {folder_text("a", "1\n"), folder_text("b", "2\n3\n")};
    struct source_options o = options_of(files, 2);
    struct weir_error err = {0};
    struct source *s = open_source(&o);
    char got[256];

    (void)state;
    check_ok(s);
    assert_int_equal(unlink(files[1]), 0);
    file_write(files[1], "2\n3\n4\n", 6);
    assert_int_equal(read_rows(s, got, sizeof(got), &err), WEIR_E_CONFLICT);
    assert_string_equal(got, "0 0 1|");
    assert_non_null(strstr(err.message, files[1]));
    assert_non_null(strstr(err.message, "replaced"));
    assert_non_null(strstr(err.message, "/a:1)"));
    assert_int_equal(read_rows(s, got, sizeof(got), &err), WEIR_E_CONFLICT);
    source_close(s);
}

static void a_line_changed_in_place_is_not_sent(void **state)
{
    const char *file = folder_text("a", "10\n20\n30\n40\n");
    struct source_options o = options_of(&file, 1);
    struct weir_error err = {0};
    struct source *s = open_source(&o);
    char got[256];

    (void)state;
    check_ok(s);
    overwrite_unseen(file, 6, "31");
    assert_int_equal(read_rows(s, got, sizeof(got), &err), WEIR_E_CONFLICT);
    assert_string_equal(got, "0 0 10|1 1 20|");
    assert_non_null(strstr(err.message, "/a:2)"));
    source_close(s);
}

static void a_file_written_to_while_it_is_read_is_noticed(void **state)
{
    const char *file = folder_text("a", "10\n20\n30\n40\n");
    static const struct {
        const char *text;
        long at;
        long size;
    } cases[] = {{"41", 9, 12}, {"4\n1", 9, 12}, {"", 0, 9}, {"", 0, 10}, {"\n50\n", 11, 15}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct source_options o = options_of(&file, 1);
        struct source *s;
        struct run_row *row = NULL;
        char got[256];

        file_write(file, "10\n20\n30\n40\n", 12);
        o.lines.buffer_bytes = 4;
        o.marks_max = 2; /* blocks of two lines and more */
        s = open_source(&o);
        check_ok(s);
        assert_int_equal(source_next(s, &row, NULL), WEIR_OK);
        row_free(row);
        overwrite_unseen(file, cases[i].at, cases[i].text);
        assert_int_equal(truncate(file, cases[i].size), 0);
        assert_int_equal(read_rows(s, got, sizeof(got), NULL), WEIR_E_CONFLICT);
        source_close(s);
    }
}

struct seen {
    uint64_t count;
    uint64_t refuse_at;
    struct fingerprint last;
};

static enum weir_status see(void *ctx, uint64_t index, const struct line *line,
                            struct weir_error *err)
{
    struct seen *seen = ctx;

    (void)err;
    assert_int_equal(index, seen->count);
    if (index == seen->refuse_at)
        return WEIR_E_CONFLICT;
    seen->count++;
    seen->last = line->hash;
    return WEIR_OK;
}

static void rows_that_are_done_are_passed_over(void **state)
{
    const char *file = folder_text("a", "10\n{\"custom_id\":\"k\"}\n\n30\n40\n");
    struct source_options o = options_of(&file, 1);
    struct source *s = open_source(&o);
    struct seen seen = {.refuse_at = 99};
    struct weir_error err = {0};
    char got[256];

    (void)state;
    check_ok(s);
    assert_int_equal(source_skip(s, 3, see, &seen, NULL), WEIR_OK);
    assert_int_equal(seen.count, 3);
    assert_true(fingerprint_equal(seen.last, fingerprint_of(SLICE("30"))));
    assert_int_equal(read_rows(s, got, sizeof(got), NULL), WEIR_E_END);
    assert_string_equal(got, "3 3 40|");
    source_close(s);

    s = open_source(&o);
    check_ok(s);
    assert_int_equal(source_skip(s, 5, NULL, NULL, &err), WEIR_E_END);
    assert_non_null(strstr(err.message, "only 4 rows"));
    source_close(s);

    s = open_source(&o);
    seen = (struct seen){.refuse_at = 1};
    assert_int_equal(source_skip(s, 4, see, &seen, NULL), WEIR_E_CONFLICT);
    assert_int_equal(source_index(s), 1);
    source_close(s);
}

static void keys_of_rows_passed_over_still_count(void **state)
{
    struct source_options o = options_of(NULL, 0);
    struct weir_error err = {0};
    struct source *s;
    char got[256];

    (void)state;
    o.lines.stdin_fd = pipe_of("{\"custom_id\":\"k\"}\n{\"custom_id\":\"k\"}\n");
    s = open_source(&o);
    assert_int_equal(source_skip(s, 1, NULL, NULL, NULL), WEIR_OK);
    assert_int_equal(read_rows(s, got, sizeof(got), &err), WEIR_E_FORMAT);
    assert_string_equal(got, "");
    assert_non_null(strstr(err.message, "standard input:2: "));
    source_close(s);
    assert_int_equal(close(o.lines.stdin_fd), 0);
}

static void rows_live_on_after_the_source(void **state)
{
    const char *file = folder_text("a", "{\"custom_id\":\"k\",\"url\":\"/y\",\"body\":1}\n");
    struct source_options o = options_of(&file, 1);
    struct source *s = open_source(&o);
    struct run_row *row = NULL;

    (void)state;
    check_ok(s);
    assert_int_equal(source_next(s, &row, NULL), WEIR_OK);
    source_close(s);
    assert_string_equal(row->task.key, "k");
    assert_string_equal(row_http(row)->request.url, "http://localhost/y");
    assert_string_equal(row->file, file);
    row_free(row);
}

struct far_end {
    struct source *source;
    enum weir_status status;
};

static void *read_until_stopped(void *arg)
{
    struct far_end *end = arg;
    struct run_row *row;

    end->status = source_next(end->source, &row, NULL);
    return NULL;
}

static void a_reader_that_waits_can_be_stopped(void **state)
{
    struct source_options o = options_of(NULL, 0);
    struct far_end end;
    pthread_t thread;
    int input[2], stop[2];

    (void)state;
    assert_int_equal(pipe(input), 0);
    assert_int_equal(pipe(stop), 0);
    o.lines.stdin_fd = input[0];
    o.lines.stop_fd = stop[0];
    end.source = open_source(&o);
    assert_int_equal(pthread_create(&thread, NULL, read_until_stopped, &end), 0);
    assert_int_equal(write(stop[1], "x", 1), 1);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(end.status, WEIR_E_SHUTDOWN);
    source_close(end.source);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(close(input[i]), 0);
        assert_int_equal(close(stop[i]), 0);
    }
}

static void missing_files_and_bad_expressions_are_told_at_once(void **state)
{
    const char *file = folder_name("nowhere");
    struct source_options o = options_of(&file, 1);
    struct source *s = NULL;
    struct weir_error err = {0};

    (void)state;
    assert_int_equal(source_open(&o, &s, &err), WEIR_E_IO);
    assert_non_null(strstr(err.message, "nowhere"));
    o.rows.key_expr = ".[";
    assert_int_equal(source_open(&o, &s, &err), WEIR_E_INVALID);
    assert_null(s);
}

static void no_memory_is_an_error_at_every_allocation(void **state)
{
    const char *file = folder_text("a", "{\"custom_id\":\"x\"}\n{\"custom_id\":\"x\"}\n{\n4\n");
    bool swept = false;

    (void)state;
    for (unsigned long n = 1; !swept; n++) {
        struct source_options o = options_of(&file, 1);
        struct check_report report;
        struct source *s = NULL;
        struct run_row *row = NULL;
        enum weir_status status;

        o.skip_bad = true;
        mem_fail_at(n);
        status = source_open(&o, &s, NULL);
        if (status == WEIR_OK)
            status = source_check(s, &report, NULL);
        while (status == WEIR_OK) {
            status = source_next(s, &row, NULL);
            if (status == WEIR_OK)
                row_free(row);
        }
        swept = !mem_has_failed();
        mem_fail_at(0);
        assert_int_equal(status, swept ? WEIR_E_END : WEIR_E_NOMEM);
        source_close(s);
    }
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(files_give_their_rows_in_order),
        IN_FOLDER(an_empty_file_is_an_empty_input),
        IN_FOLDER(bad_files_are_refused_whole),
        IN_FOLDER(bad_rows_keep_their_place_when_skipped),
        IN_FOLDER(bad_rows_have_the_form_of_the_input),
        cmocka_unit_test(a_stream_is_checked_as_it_comes),
        IN_FOLDER(keys_of_files_and_streams_are_one_set),
        IN_FOLDER(a_file_replaced_after_the_check_is_refused_before_its_rows),
        IN_FOLDER(a_line_changed_in_place_is_not_sent),
        IN_FOLDER(a_file_written_to_while_it_is_read_is_noticed),
        IN_FOLDER(rows_that_are_done_are_passed_over),
        cmocka_unit_test(keys_of_rows_passed_over_still_count),
        IN_FOLDER(rows_live_on_after_the_source),
        cmocka_unit_test(a_reader_that_waits_can_be_stopped),
        IN_FOLDER(missing_files_and_bad_expressions_are_told_at_once),
        IN_FOLDER(no_memory_is_an_error_at_every_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
