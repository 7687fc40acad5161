/* The guess at a request's cost in tokens. */
#include "flow_test.h"

#include "flow/tokens.h"

#include <stdio.h>

static int64_t estimate(const char *body)
{
    return tokens_estimate(slice_of(body));
}

static int64_t bytes_only(const char *body)
{
    return ((int64_t)strlen(body) + 3) / 4;
}

static void bytes_count_a_quarter_rounded_up(void **state)
{
    (void)state;
    assert_int_equal(estimate(""), 0);
    assert_int_equal(estimate("a"), 1);
    assert_int_equal(estimate("abcd"), 1);
    assert_int_equal(estimate("abcde"), 2);
    assert_int_equal(tokens_estimate((struct slice){NULL, 0}), 0);
}

static void announced_answer_is_added(void **state)
{
    const char *const names[] = {"max_tokens", "max_completion_tokens", "max_output_tokens"};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char body[100];

        snprintf(body, sizeof(body), " {\"model\":\"m\",\"%s\": 500}\n", names[i]);
        assert_int_equal(estimate(body), bytes_only(body) + 500);
    }
}

static void the_largest_of_several_counts_and_n_multiplies(void **state)
{
    const char *two = "{\"max_tokens\":10,\"max_completion_tokens\":30}";
    const char *three = "{\"max_tokens\":10,\"n\":3}";
    const char *none = "{\"n\":3}";

    (void)state;
    assert_int_equal(estimate(two), bytes_only(two) + 30);
    assert_int_equal(estimate(three), bytes_only(three) + 30);
    assert_int_equal(estimate(none), bytes_only(none));
}

static void nonsense_counts_by_its_length(void **state)
{
    const char *const bodies[] = {
        "{\"max_tokens\":500",    "max_tokens: 500",
        "[{\"max_tokens\":500}]", "{\"max_tokens\":\"500\"}",
        "{\"max_tokens\":-500}",  "{\"max_tokens\":0}",
        "{\"max_tokens\":null}",  "{\"x\":{\"max_tokens\":5}}",
        "\"max_tokens\"",         "{\"max_tokens\":1e400}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
        assert_int_equal(estimate(bodies[i]), bytes_only(bodies[i]));
}

static void absurd_claims_are_bounded(void **state)
{
    const char *const bodies[] = {
        "{\"max_tokens\":9223372036854775807,\"n\":9223372036854775807}",
        "{\"max_tokens\":1000000000,\"n\":1000000000}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
        assert_int_equal(estimate(bodies[i]), bytes_only(bodies[i]) + TOKENS_ANSWER_MAX);
}

static void nuls_and_broken_text_are_just_bytes(void **state)
{
    (void)state;
    assert_int_equal(tokens_estimate(SLICE("\0\0\xff\xfe\0")), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_count_a_quarter_rounded_up),
        cmocka_unit_test(announced_answer_is_added),
        cmocka_unit_test(the_largest_of_several_counts_and_n_multiplies),
        cmocka_unit_test(nonsense_counts_by_its_length),
        cmocka_unit_test(absurd_claims_are_bounded),
        cmocka_unit_test(nuls_and_broken_text_are_just_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
