/*
 * Messages: what they say, where they are cut, and that a missing struct is no harm.
 */
#include "base/error.h"
#include "base/json.h"
#include "weir/outcome.h"

#include <errno.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void error_set_gives_back_the_status_and_fills_in_the_message(void **state)
{
    struct weir_error err;

    (void)state;
    assert_int_equal(error_set(&err, WEIR_E_LIMIT, "row %d of %s", 7, "rows"), WEIR_E_LIMIT);
    assert_int_equal(err.status, WEIR_E_LIMIT);
    assert_string_equal(err.message, "row 7 of rows");
}

static void a_missing_error_is_accepted_everywhere(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, WEIR_E_IO, "x"), WEIR_E_IO);
    assert_int_equal(error_set_errno(NULL, WEIR_E_IO, ENOENT, "x"), WEIR_E_IO);
    assert_int_equal(error_nomem(NULL), WEIR_E_NOMEM);
    assert_int_not_equal(error_prefix(NULL, "x"), WEIR_OK);
}

static void errno_texts_stand_behind_the_message(void **state)
{
    struct weir_error err;

    (void)state;
    assert_int_equal(error_set_errno(&err, WEIR_E_IO, ENOENT, "cannot open %s", "f"), WEIR_E_IO);
    assert_string_equal(err.message, "cannot open f: No such file or directory");
}

static void a_prefix_comes_before_what_is_there(void **state)
{
    struct weir_error err;

    (void)state;
    error_set(&err, WEIR_E_INVALID, "too small");
    assert_int_equal(error_prefix(&err, "--%s", "limit"), WEIR_E_INVALID);
    assert_string_equal(err.message, "--limit: too small");
}

static void a_message_may_be_made_of_the_one_before(void **state)
{
    struct weir_error err;

    (void)state;
    error_set(&err, WEIR_E_INVALID, "inner");
    error_set(&err, WEIR_E_FORMAT, "outer(%s)", err.message);
    assert_string_equal(err.message, "outer(inner)");
}

static void long_messages_are_cut_between_characters(void **state)
{
    char text[3 * WEIR_ERROR_MESSAGE_BYTES];
    struct weir_error err;

    (void)state;
    for (size_t pad = 0; pad < 8; pad++) {
        size_t len = pad;

        memset(text, 'a', pad);
        while (len + 4 < sizeof(text)) {
            memcpy(text + len, pad % 2 ? "\xF0\x9F\x98\x80" : "\xC3\xA4\xC3\xA4", 4);
            len += 4;
        }
        text[len] = '\0';
        error_set(&err, WEIR_E_INVALID, "%s", text);
        len = strlen(err.message);
        assert_true(len < WEIR_ERROR_MESSAGE_BYTES && len > WEIR_ERROR_MESSAGE_BYTES - 6);
        assert_int_equal(utf8_valid_prefix((struct slice){err.message, len}), len);
        error_prefix(&err, "p");
        error_prefix(&err, "%s", text);
        len = strlen(err.message);
        assert_int_equal(utf8_valid_prefix((struct slice){err.message, len}), len);
    }
}

static void a_whole_message_of_the_greatest_length_is_kept(void **state)
{
    char text[WEIR_ERROR_MESSAGE_BYTES];
    struct weir_error err;

    (void)state;
    memset(text, 'a', sizeof(text));
    memcpy(text + sizeof(text) - 3, "\xC3\xA4", 3);
    error_set(&err, WEIR_E_INVALID, "%s", text);
    assert_string_equal(err.message, text);
}

static void every_value_has_a_name(void **state)
{
    (void)state;
    for (int i = WEIR_OK; i <= WEIR_E_INTERNAL; i++)
        assert_string_not_equal(weir_status_name((enum weir_status)i), "unknown");
    assert_string_equal(weir_status_name((enum weir_status)4711), "unknown");
    for (int i = WEIR_OUTCOME_OK; i <= WEIR_OUTCOME_CANCELLED; i++)
        assert_string_not_equal(weir_outcome_name((enum weir_outcome)i), "unknown");
    assert_string_equal(weir_outcome_name((enum weir_outcome)4711), "unknown");
    for (int i = 0; i < WEIR_REASON_COUNT; i++) {
        assert_string_not_equal(weir_reason_name((enum weir_reason)i), "unknown");
        for (int j = 0; j < i; j++)
            assert_string_not_equal(weir_reason_name((enum weir_reason)i),
                                    weir_reason_name((enum weir_reason)j));
    }
    assert_string_equal(weir_reason_name(WEIR_REASON_COUNT), "unknown");
    assert_string_equal(weir_reason_name(WEIR_REASON_RETRY_TIMEOUT), "retry_timeout");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_set_gives_back_the_status_and_fills_in_the_message),
        cmocka_unit_test(a_missing_error_is_accepted_everywhere),
        cmocka_unit_test(errno_texts_stand_behind_the_message),
        cmocka_unit_test(a_prefix_comes_before_what_is_there),
        cmocka_unit_test(a_message_may_be_made_of_the_one_before),
        cmocka_unit_test(long_messages_are_cut_between_characters),
        cmocka_unit_test(a_whole_message_of_the_greatest_length_is_kept),
        cmocka_unit_test(every_value_has_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
