/*
 * The known name that somebody may have meant: slips, swaps, abbreviations, and what is too far
 * off.
 */
#include "base/nearest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char *const names[] = {"pool", "priority", "payload", "max_attempts", "key", NULL};

static void what_is_near_is_found(void **state)
{
    (void)state;
    assert_string_equal(nearest_name("prioritty", names), "priority");
    assert_string_equal(nearest_name("pirority", names), "priority");
    assert_string_equal(nearest_name("polo", names), "pool");
    assert_string_equal(nearest_name("kez", names), "key");
    /* An abbreviation, whatever is left out. */
    assert_string_equal(nearest_name("max", names), "max_attempts");
    assert_string_equal(nearest_name("pay", names), "payload");
}

static void what_is_far_is_not(void **state)
{
    (void)state;
    assert_null(nearest_name("", names));
    assert_null(nearest_name("colour", names));
    assert_null(nearest_name("zzz", names));
    assert_null(nearest_name("key", (const char *const[]){NULL}));
    assert_null(nearest_name("a_word_of_more_than_forty_letters_is_no_slip", names));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_near_is_found),
        cmocka_unit_test(what_is_far_is_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
