/* The file of a service: what it may say, and how it is told what is wrong in it. */
#include "base/error.h"
#include "base/mem.h"
#include "cli/simulate/service_file.h"
#include "unit/cli/cli_test.h"

#include <unistd.h>

static const char *const names[] = {"rate", "phase", "outage", "slow-refusals"};
static struct buf told; /* "rate=5..20;" as the setter is called */
static char path[] = "/tmp/weir-service-XXXXXX";
static struct weir_error err;

static const char *name_of(void *ctx, size_t i)
{
    (void)ctx;
    return names[i];
}

static bool is_flag(void *ctx, size_t i)
{
    (void)ctx;
    return i == 3;
}

static bool repeats(void *ctx, size_t i)
{
    (void)ctx;
    return i == 2;
}

static enum weir_status set(void *ctx, size_t i, const char *value, struct weir_error *e)
{
    (void)ctx;
    if (value && strcmp(value, "bad") == 0)
        return error_set(e, WEIR_E_INVALID, "\"bad\" is no number");
    buf_printf(&told, "%s=%s;", names[i], value ? value : "(flag)");
    return WEIR_OK;
}

static const struct service_file_keys keys = {
    .count = 4, .name = name_of, .is_flag = is_flag, .repeats = repeats, .set = set};

static enum weir_status read_it(const char *text, size_t len)
{
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
    buf_clear(&told);
    memset(&err, 0, sizeof err);
    return service_file_read(path, &keys, &err);
}

static enum weir_status read_text(const char *text)
{
    return read_it(text, strlen(text));
}

static void keys_and_values_are_told_in_their_order(void **state)
{
    (void)state;
    assert_int_equal(read_text("# a comment\nrate: 5..20   # and one\nphase: \"20s..120s\"\n"
                               "outage:\n  - 200s+60s\n  - 500s+60s\n"),
                     WEIR_OK);
    assert_string_equal(told.data, "rate=5..20;phase=20s..120s;outage=200s+60s;outage=500s+60s;");
    assert_int_equal(read_text("outage: [1s+2s, 3s+4s]\nslow-refusals: true\n"), WEIR_OK);
    assert_string_equal(told.data, "outage=1s+2s;outage=3s+4s;slow-refusals=(flag);");
}

static void a_flag_that_is_false_is_not_told(void **state)
{
    (void)state;
    assert_int_equal(read_text("slow-refusals: false\nrate: 1\n"), WEIR_OK);
    assert_string_equal(told.data, "rate=1;");
}

static void an_empty_file_says_nothing(void **state)
{
    (void)state;
    assert_int_equal(read_text(""), WEIR_OK);
    assert_int_equal(read_text("# only a comment\n---\n"), WEIR_E_INVALID); /* a null document */
}

static void what_is_wrong_is_told_with_its_line(void **state)
{
    static const struct {
        const char *text, *line, *says;
    } wrong[] = {
        {"rate: 5\nrat: 6\n", ":2: ", "there is no key \"rat\"; did you mean rate?"},
        {"\n\nzzzzzzz: 1\n", ":3: ", "weir simulate --help"},
        {"phase: 1s\nrate: bad\n", ":2: ", "rate: \"bad\" is no number"},
        {"rate: 5\nphase: 1s\nrate: 6\n", ":3: ", "\"rate\" stands in line 1 already"},
        {"rate:\n", ":1: ", "rate: has no value"},
        {"phase: 1s\nrate: [5, 6]\n", ":2: ", "rate: has one value, not a list"},
        {"outage: 1s+1s\noutage: 2s+1s\n", ":2: ", "write a list"},
        {"outage: [1s+1s, [2s+2s]]\n", ":1: ", "an item of a list must be a plain value"},
        {"rate: {a: 1}\n", ":1: ", "a value must be plain"},
        {"[a]: 1\n", ":1: ", "a key must be a plain name"},
        {"slow-refusals: maybe\n", ":1: ", "slow-refusals: is true or false, not \"maybe\""},
        {"- rate\n", ":1: ", "it must be lines of \"key: value\""},
        {"just words\n", ":1: ", "it must be lines of \"key: value\""},
        {"rate: 5\n  phase: 6\n", ":2: ", "it is not YAML"},
        {"rate: &a 5\nphase: *a\n", ":2: ", "a value must be plain"},
        {"rate: 5\n---\nrate: 6\n", ":2: ", "a second document"},
        {"rate: \"a\\0b\"\n", ":1: ", "NUL"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(read_text(wrong[i].text), WEIR_E_INVALID);
        assert_contains(err.message, path);
        assert_contains(err.message, wrong[i].line);
        assert_contains(err.message, wrong[i].says);
    }
}

static void bytes_that_are_no_text_are_refused(void **state)
{
    char *large = calloc(1, SERVICE_FILE_BYTES_MAX + 2);

    (void)state;
    assert_int_equal(read_it("rate: \xff\xfe\n", 9), WEIR_E_INVALID);
    assert_contains(err.message, path);
    assert_int_equal(read_it("\0\0\0", 3), WEIR_E_INVALID);
    memset(large, '#', SERVICE_FILE_BYTES_MAX + 1);
    assert_int_equal(read_it(large, SERVICE_FILE_BYTES_MAX + 1), WEIR_E_LIMIT);
    free(large);
}

static void a_file_that_is_not_there_is_named(void **state)
{
    (void)state;
    assert_int_equal(service_file_read("/nowhere/x.yml", &keys, &err), WEIR_E_IO);
    assert_contains(err.message, "/nowhere/x.yml");
    assert_int_equal(service_file_read("/", &keys, &err), WEIR_E_IO);
}

static void a_lack_of_memory_is_told(void **state)
{
    unsigned long n = 0;
    enum weir_status status;

    (void)state;
    assert_int_equal(read_text("rate: 5\nrat: 5\n"), WEIR_E_INVALID);
    do {
        mem_fail_at(++n);
        status = service_file_read(path, &keys, &err);
        assert_true(status == WEIR_E_INVALID || status == WEIR_E_NOMEM);
    } while (mem_has_failed());
    mem_fail_at(0);
    assert_int_equal(status, WEIR_E_INVALID);
    assert_true(n > 2);
}

static int begin(void **state)
{
    int fd = mkostemp(path, 0);

    (void)state;
    return fd < 0 || close(fd) != 0;
}

static int end(void **state)
{
    (void)state;
    buf_free(&told);
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_and_values_are_told_in_their_order),
        cmocka_unit_test(a_flag_that_is_false_is_not_told),
        cmocka_unit_test(an_empty_file_says_nothing),
        cmocka_unit_test(what_is_wrong_is_told_with_its_line),
        cmocka_unit_test(bytes_that_are_no_text_are_refused),
        cmocka_unit_test(a_file_that_is_not_there_is_named),
        cmocka_unit_test(a_lack_of_memory_is_told),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
