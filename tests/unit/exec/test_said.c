/*
 * What a worker writes to its standard error, as lines; and its last words.
 */
#include "exec/process/said.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void take(void *ctx, const char *line)
{
    assert_non_null(line);
    ++*(size_t *)ctx;
}

static size_t put(struct said *s, const char *text)
{
    size_t lines = 0;

    said_put(s, (struct slice){text, strlen(text)}, take, &lines);
    return lines;
}

static void the_last_line_with_anything_in_it_is_its_last_words(void **state)
{
    struct said s = {0};
    size_t lines = 0;

    (void)state;
    assert_int_equal(put(&s, "Traceback:\n  it is"), 1);
    assert_int_equal(put(&s, " wrong\n \t\r\n\n"), 3);
    assert_string_equal(s.last, "  it is wrong");
    assert_int_equal(put(&s, "no end"), 0);
    said_end(&s, take, &lines);
    assert_int_equal(lines, 1);
    assert_string_equal(s.last, "no end");
    said_free(&s);
}

static void last_words_are_whole_or_end_in_dots(void **state)
{
    char text[SAID_LAST_BYTES + 2];
    struct said s = {0};

    (void)state;
    memset(text, 'x', sizeof text);
    memcpy(text + SAID_LAST_BYTES - 1, "\n", 2); /* the longest that fits */
    put(&s, text);
    assert_int_equal(strlen(s.last), SAID_LAST_BYTES - 1);
    assert_memory_equal(s.last, text, SAID_LAST_BYTES - 1);
    /* A byte more; and a character of two would be cut. */
    memcpy(text + SAID_LAST_BYTES - 1, "y\n", 3);
    memcpy(text + SAID_LAST_BYTES - 5, "\xC3\xA4", 2);
    put(&s, text);
    assert_int_equal(strlen(s.last), SAID_LAST_BYTES - 2);
    assert_string_equal(s.last + SAID_LAST_BYTES - 7, "xx...");
    said_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_line_with_anything_in_it_is_its_last_words),
        cmocka_unit_test(last_words_are_whole_or_end_in_dots),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
