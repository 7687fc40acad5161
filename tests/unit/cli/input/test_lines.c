/* Lines: ends, numbers, limits, several files, streams, and faults. */
#include "folder.h"

#include "base/mem.h"
#include "cli/input/lines.h"

#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>

static struct lines *open_files(const char *const *files, size_t count, uint64_t max, size_t buffer)
{
    struct lines *l = NULL;
    struct weir_error err = {0};
    struct lines_options o = {.files = files,
                              .file_count = count,
                              .line_max_bytes = max,
                              .buffer_bytes = buffer,
                              .stop_fd = -1};

    if (lines_open(&o, &l, &err) != WEIR_OK)
        fail_msg("%s", err.message);
    return l;
}

/* Appends "NUMBER:TEXT|" for each line; "!LENGTH" for one that is too long. */
static void read_all(struct lines *l, char *out, size_t room)
{
    struct weir_error err = {0};
    struct line line;
    enum weir_status status;
    size_t at = 0;

    out[0] = '\0';
    while ((status = lines_next(l, &line, &err)) == WEIR_OK) {
        if (line.too_long)
            at += (size_t)snprintf(out + at, room - at, "%d:!%d|", (int)line.number,
                                   (int)line.length);
        else
            at += (size_t)snprintf(out + at, room - at, "%d:%.*s|", (int)line.number,
                                   (int)line.text.len, line.text.data);
        assert_true(at < room);
        if (!line.too_long)
            assert_true(fingerprint_equal(line.hash, fingerprint_of(line.text)));
    }
    if (status != WEIR_E_END)
        fail_msg("%s", err.message);
    assert_int_equal(lines_next(l, &line, NULL), WEIR_E_END);
}

static void lines_end_as_an_editor_says(void **state)
{
    static const struct {
        const char *text;
        const char *lines;
    } cases[] = {
        {"", ""},
        {"\n", ""},
        {"a\n", "1:a|"},
        {"a", "1:a|"},
        {"a\nb", "1:a|2:b|"},
        {"a\r\nb\r\n", "1:a|2:b|"},
        {"a\r", "1:a|"},
        {"a\r\r\n", "1:a\r|"},
        {"\n\n  \t\na\n\r\n\nb\n\n", "4:a|7:b|"},
        {"\xef\xbb\xbf"
         "a\n\xef\xbb\xbf"
         "b\n",
         "1:a|2:\xef\xbb\xbf"
         "b|"},
        {"\xef\xbb\xbf", ""},
        {"\xef\xbb", "1:\xef\xbb|"},
        {"\xef\nb", "1:\xef|2:b|"},
        {"12345678\n", "1:12345678|"},
        {"12345678\r\n", "1:12345678|"},
        {"12345678\r\nb", "1:12345678|2:b|"},
        {"12345678", "1:12345678|"},
        {"123456789\nb\n", "1:!9|2:b|"},
        {"123456789\r\nb", "1:!10|2:b|"},
        {"123456789", "1:!9|"},
        {"123456789012345678901234567890\nb\n123456789012345678901234567890", "1:!30|2:b|3:!30|"},
        {"          \nb\n", "1:!10|2:b|"},
    };
    char got[256];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t buffer = 4; buffer < 40; buffer++) {
            const char *name = folder_text("f", cases[i].text);
            struct lines *l = open_files(&name, 1, 8, buffer);
            folder_name_count = 0;
            read_all(l, got, sizeof(got));
            assert_string_equal(got, cases[i].lines);
            assert_int_equal(lines_bytes_taken(l), strlen(cases[i].text));
            assert_int_equal(lines_bytes_known(l), strlen(cases[i].text));
            lines_close(l);
        }
    }
}

static void nul_bytes_are_passed_on(void **state)
{
    const char *name = folder_write("f", "a\0b\n\0\n", 6);
    struct lines *l = open_files(&name, 1, 0, 0);
    struct line line;

    (void)state;
    assert_int_equal(lines_next(l, &line, NULL), WEIR_OK);
    assert_int_equal(line.text.len, 3);
    assert_memory_equal(line.text.data, "a\0b", 3);
    assert_int_equal(lines_next(l, &line, NULL), WEIR_OK);
    assert_int_equal(line.text.len, 1);
    lines_close(l);
}

static void files_follow_each_other_and_count_apart(void **state)
{
    const char *files[3] = {folder_text("a", "\n1\n2"), folder_text("b", ""),
                            folder_text("c", "3\n")};
    struct lines *l = open_files(files, 3, 0, 0);
    struct line line;
    char got[64];

    (void)state;
    assert_int_equal(lines_next(l, &line, NULL), WEIR_OK);
    assert_string_equal(line.file, files[0]);
    assert_int_equal(line.file_index, 0);
    assert_int_equal(lines_identity(l).size, 4);
    assert_int_equal(lines_next(l, &line, NULL), WEIR_OK);
    assert_int_equal(lines_next(l, &line, NULL), WEIR_OK);
    assert_string_equal(line.file, files[2]);
    assert_int_equal(line.file_index, 2);
    assert_int_equal(line.number, 1);
    assert_false(line.streamed);
    read_all(l, got, sizeof(got));
    assert_false(lines_any_stream(l));
    lines_close(l);
}

static void hash_of_a_long_line_does_not_depend_on_the_reads(void **state)
{
    char text[1000];
    const char *name;
    struct fingerprint first = {0, 0};

    (void)state;
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)('a' + i % 26);
    name = folder_write("f", text, sizeof(text));
    for (size_t buffer = 4; buffer < 2000; buffer += 77) {
        struct lines *l = open_files(&name, 1, 10, buffer);
        struct line line;

        assert_int_equal(lines_next(l, &line, NULL), WEIR_OK);
        assert_true(line.too_long);
        assert_true(
            fingerprint_equal(line.hash, fingerprint_of((struct slice){text, sizeof(text)})));
        if (buffer > 4)
            assert_true(fingerprint_equal(line.hash, first));
        first = line.hash;
        lines_close(l);
    }
}

static long peak_kib(void)
{
    struct rusage usage;

    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_maxrss;
}

static void a_line_of_a_gigabyte_costs_no_memory(void **state)
{
    const char *name = folder_name("big");
    int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    off_t size = (off_t)1 << 30;
    struct lines *l;
    struct line line;
    long before;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0); /* sparse: NUL bytes that take no disk */
    assert_int_equal(pwrite(fd, "\nlast", 5, size), 5);
    assert_int_equal(close(fd), 0);
    l = open_files(&name, 1, 1 << 20, 0);
    before = peak_kib();
    assert_int_equal(lines_next(l, &line, NULL), WEIR_OK);
    assert_true(line.too_long);
    assert_int_equal(line.length, size);
    assert_int_equal(lines_next(l, &line, NULL), WEIR_OK);
    assert_int_equal(line.number, 2);
    assert_memory_equal(line.text.data, "last", 4);
    if (MEMORY_IS_MEASURABLE)
        assert_true(peak_kib() - before < 8 * 1024);
    lines_close(l);
}

static void missing_files_and_folders_are_named_before_anything_is_read(void **state)
{
    const char *files[2] = {folder_text("a", "1\n"), folder_name("nowhere")};
    struct lines_options o = {.files = files, .file_count = 2, .stop_fd = -1};
    struct lines *l = NULL;
    struct weir_error err = {0};
    const char *twice[2] = {"-", "-"};

    (void)state;
    assert_int_equal(lines_open(&o, &l, &err), WEIR_E_IO);
    assert_non_null(strstr(err.message, "nowhere"));
    assert_non_null(strstr(err.message, strerror(ENOENT)));
    files[1] = folder_path;
    assert_int_equal(lines_open(&o, &l, &err), WEIR_E_IO);
    assert_non_null(strstr(err.message, "directory"));
    o.files = twice;
    assert_int_equal(lines_open(&o, &l, &err), WEIR_E_INVALID);
    o.file_count = LINES_FILES_MAX + 1;
    assert_int_equal(lines_open(&o, &l, &err), WEIR_E_LIMIT);
    o.file_count = 0;
    o.line_max_bytes = LINES_LINE_BYTES_MAX + 1;
    assert_int_equal(lines_open(&o, &l, &err), WEIR_E_INVALID);
    assert_null(l);
}

static void a_file_that_goes_away_is_an_error_that_stays(void **state)
{
    const char *files[2] = {folder_text("a", "1\n"), folder_text("b", "2\n")};
    struct lines *l = open_files(files, 2, 0, 0);
    struct weir_error err = {0};
    struct line line;

    (void)state;
    assert_int_equal(unlink(files[1]), 0);
    assert_int_equal(lines_next(l, &line, &err), WEIR_OK);
    for (int i = 0; i < 2; i++) {
        memset(&err, 0, sizeof(err));
        assert_int_equal(lines_next(l, &line, &err), WEIR_E_IO);
        assert_int_equal(err.status, WEIR_E_IO);
        assert_non_null(strstr(err.message, files[1]));
    }
    lines_close(l);
}

static void a_failing_read_names_the_file(void **state)
{
    /* Reading a process's own memory at 0 is EIO; it looks like an empty regular file. */
    const char *name = "/proc/self/mem";
    struct lines *l = open_files(&name, 1, 0, 0);
    struct weir_error err = {0};
    struct line line;

    (void)state;
    assert_int_equal(lines_next(l, &line, &err), WEIR_E_IO);
    assert_non_null(strstr(err.message, "/proc/self/mem"));
    assert_non_null(strstr(err.message, strerror(EIO)));
    lines_close(l);
}

static void standard_input_is_a_stream_and_stays_open(void **state)
{
    int fds[2];
    struct lines_options o = {.stop_fd = -1};
    struct lines *l = NULL;
    struct line line;
    const char *file = folder_text("f", "b\n");
    const char *both[2] = {"-", file};

    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], "a\n", 2), 2);
    assert_int_equal(close(fds[1]), 0);
    o.stdin_fd = fds[0];
    o.files = both;
    o.file_count = 2;
    assert_int_equal(lines_open(&o, &l, NULL), WEIR_OK);
    assert_true(lines_any_stream(l));
    assert_int_equal(lines_next(l, &line, NULL), WEIR_OK);
    assert_true(line.streamed);
    assert_string_equal(line.file, "standard input");
    assert_int_equal(lines_next(l, &line, NULL), WEIR_OK);
    assert_false(line.streamed);
    assert_int_equal(lines_next(l, &line, NULL), WEIR_E_END);
    lines_close(l);
    assert_int_equal(fcntl(fds[0], F_GETFD) >= 0, 1);

    o.regular_only = true;
    assert_int_equal(lines_open(&o, &l, NULL), WEIR_OK);
    assert_int_equal(lines_next(l, &line, NULL), WEIR_OK);
    assert_string_equal(line.file, file);
    assert_int_equal(lines_next(l, &line, NULL), WEIR_E_END);
    lines_close(l);
    assert_int_equal(close(fds[0]), 0);
}

static void *write_to_fifo(void *name)
{
    int fd = open(name, O_WRONLY | O_CLOEXEC); /* waits for the reader */

    if (fd >= 0) {
        (void)!write(fd, "a\n", 2);
        (void)!write(fd, "b", 1);
        (void)close(fd);
    }
    return NULL;
}

static void a_fifo_is_waited_for(void **state)
{
    const char *name = folder_name("fifo");
    struct lines *l;
    pthread_t writer;
    char got[64];

    (void)state;
    assert_int_equal(mkfifo(name, 0600), 0);
    assert_int_equal(pthread_create(&writer, NULL, write_to_fifo, (void *)(uintptr_t)name), 0);
    l = open_files(&name, 1, 0, 0);
    assert_true(lines_any_stream(l));
    read_all(l, got, sizeof(got));
    assert_string_equal(got, "1:a|2:b|");
    lines_close(l);
    assert_int_equal(pthread_join(writer, NULL), 0);
}

static void waiting_ends_when_told_to_stop(void **state)
{
    int input[2], stop[2];
    struct lines_options o = {.stop_fd = -1};
    struct lines *l = NULL;
    struct line line;

    (void)state;
    assert_int_equal(pipe(input), 0);
    assert_int_equal(pipe(stop), 0);
    assert_int_equal(write(input[1], "half a line", 11), 11);
    assert_int_equal(write(stop[1], "x", 1), 1);
    o.stdin_fd = input[0];
    o.stop_fd = stop[0];
    assert_int_equal(lines_open(&o, &l, NULL), WEIR_OK);
    assert_int_equal(lines_next(l, &line, NULL), WEIR_E_SHUTDOWN);
    assert_int_equal(lines_next(l, &line, NULL), WEIR_E_SHUTDOWN);
    lines_close(l);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(close(input[i]), 0);
        assert_int_equal(close(stop[i]), 0);
    }
}

static void no_memory_is_an_error_at_every_allocation(void **state)
{
    const char *name = folder_text("f", "123\n123456789012345678901234567890\n12345678\n");
    struct lines_options o = {
        .files = &name, .file_count = 1, .line_max_bytes = 8, .buffer_bytes = 4, .stop_fd = -1};
    bool swept = false;

    (void)state;
    for (unsigned long n = 1; !swept; n++) {
        struct lines *l = NULL;
        struct line line;
        enum weir_status status;

        mem_fail_at(n);
        status = lines_open(&o, &l, NULL);
        while (status == WEIR_OK)
            status = lines_next(l, &line, NULL);
        swept = !mem_has_failed();
        mem_fail_at(0);
        assert_int_equal(status, swept ? WEIR_E_END : WEIR_E_NOMEM);
        lines_close(l);
    }
}

static void places_are_cut_at_the_front(void **state)
{
    char out[LINES_PLACE_BYTES], name[1000];

    (void)state;
    assert_string_equal(lines_place(out, "-", 3), "standard input:3");
    assert_string_equal(lines_place(out, "a.jsonl", 12), "a.jsonl:12");
    memset(name, 'x', sizeof(name));
    memcpy(name + sizeof(name) - 9, "/a.jsonl", 9);
    lines_place(out, name, UINT64_MAX);
    assert_memory_equal(out, "...x", 4);
    assert_non_null(strstr(out, "/a.jsonl:18446744073709551615"));
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

static struct lines *open_with(const char *text, size_t len, struct lines_options o)
{
    static const char *files[2];
    struct lines *l = NULL;
    struct weir_error err = {0};

    files[0] = folder_write("rows", text, len);
    files[1] = folder_text("more", "x\n");
    o.files = files;
    o.file_count = 2;
    o.stop_fd = -1;
    if (lines_open(&o, &l, &err) != WEIR_OK)
        fail_msg("%s", err.message);
    return l;
}

static void with_nul_bytes_between_nothing_else_is_an_end(void **state)
{
    struct lines *l = open_with("a\n\0\0  \0b\r", 9, (struct lines_options){.nul = true});
    char out[200];

    (void)state;
    read_all(l, out, sizeof(out));
    assert_string_equal(out, "1:a\n|2:|3:  |4:b\r|1:x\n|");
    lines_close(l);
}

static void several_lines_of_one_file_are_a_row(void **state)
{
    static const char text[] = "a\n\nb\nc\r\nd\ne";
    struct lines *l = open_with(text, sizeof(text) - 1, (struct lines_options){.per_row = 2});
    static const struct {
        const char *text;
        size_t len;
        uint64_t number;
    } wanted[] = {{"a\0b", 3, 1}, {"c\0d", 3, 4}, {"e", 1, 6}, {"x", 1, 1}};
    struct line line;

    (void)state;
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        assert_int_equal(lines_next(l, &line, NULL), WEIR_OK);
        assert_true(slice_equal(line.text, (struct slice){wanted[i].text, wanted[i].len}));
        assert_int_equal(line.number, wanted[i].number);
        assert_true(fingerprint_equal(line.hash, fingerprint_of(line.text)));
    }
    assert_int_equal(lines_next(l, &line, NULL), WEIR_E_END);
    lines_close(l);
}

static void a_row_of_lines_that_is_too_long_is_passed_over_as_one(void **state)
{
    static const char text[] = "1234\n5678\na\nb\n";
    struct lines *l = open_with(text, sizeof(text) - 1,
                                (struct lines_options){.per_row = 2, .line_max_bytes = 8});
    struct line line;

    (void)state;
    assert_int_equal(lines_next(l, &line, NULL), WEIR_OK);
    assert_true(line.too_long);
    assert_int_equal(line.length, 9);
    assert_int_equal(lines_next(l, &line, NULL), WEIR_OK);
    assert_false(line.too_long);
    assert_true(slice_equal(line.text, (struct slice){"a\0b", 3}));
    lines_close(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(with_nul_bytes_between_nothing_else_is_an_end, folder_setup,
                                        folder_teardown),
        cmocka_unit_test_setup_teardown(several_lines_of_one_file_are_a_row, folder_setup,
                                        folder_teardown),
        cmocka_unit_test_setup_teardown(a_row_of_lines_that_is_too_long_is_passed_over_as_one,
                                        folder_setup, folder_teardown),
        IN_FOLDER(a_line_of_a_gigabyte_costs_no_memory),
        IN_FOLDER(lines_end_as_an_editor_says),
        IN_FOLDER(nul_bytes_are_passed_on),
        IN_FOLDER(files_follow_each_other_and_count_apart),
        IN_FOLDER(hash_of_a_long_line_does_not_depend_on_the_reads),
        IN_FOLDER(missing_files_and_folders_are_named_before_anything_is_read),
        IN_FOLDER(a_file_that_goes_away_is_an_error_that_stays),
        cmocka_unit_test(a_failing_read_names_the_file),
        IN_FOLDER(standard_input_is_a_stream_and_stays_open),
        IN_FOLDER(a_fifo_is_waited_for),
        cmocka_unit_test(waiting_ends_when_told_to_stop),
        IN_FOLDER(no_memory_is_an_error_at_every_allocation),
        cmocka_unit_test(places_are_cut_at_the_front),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
