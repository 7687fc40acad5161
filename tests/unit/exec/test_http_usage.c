/* Tokens charged, as a response's body tells them. */
#include "exec/http/usage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void the_body_tells_what_was_charged(void **state)
{
    static const struct {
        const char *body;
        int64_t tokens;
    } table[] = {
        {"{\"usage\":{\"total_tokens\":42}}", 42},
        {" {\"id\":\"x\", \"usage\" : { \"total_tokens\" : 42 } }\n", 42},
        {"{\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":15}}", 15},
        {"{\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5}}", 15},
        {"{\"usage\":{\"input_tokens\":7,\"output_tokens\":3}}", 10},
        {"{\"usage\":{\"input_tokens\":7}}", 7},
        {"{\"usage\":{\"completion_tokens\":3}}", 3},
        {"{\"usage\":{\"total_tokens\":0}}", 0},
        {"{\"usage\":{\"total_tokens\":null,\"input_tokens\":1,\"output_tokens\":2}}", 3},
        {"{\"usage\":{\"total_tokens\":-5,\"input_tokens\":1,\"output_tokens\":2}}", 3},
        {"{\"usage\":{\"total_tokens\":1000000000000}}", INT64_C(1000000000000)},
        {"{\"usage\":{\"total_tokens\":1000000000001}}", -1},
        {"{\"usage\":{\"input_tokens\":1000000000000,\"output_tokens\":1}}", -1},
        {"{\"usage\":{\"total_tokens\":99999999999999999999999999}}", -1},
        {"{\"usage\":{\"total_tokens\":\"42\"}}", -1},
        {"{\"usage\":{\"total_tokens\":1.5}}", -1},
        {"{\"usage\":{}}", -1},
        {"{\"usage\":null}", -1},
        {"{\"usage\":[1,2]}", -1},
        {"{\"note\":\"usage\"}", -1},
        {"{\"choices\":{\"usage\":{\"total_tokens\":42}}}", -1},
        {"{\"usage\":{\"total_tokens\":42}", -1},
        {"data: {\"usage\":{\"total_tokens\":42}}", -1},
        {"\"usage\"", -1},
        {"[]", -1},
        {"", -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        int64_t tokens = http_usage_tokens(slice_of(table[i].body));

        if (tokens != table[i].tokens)
            fail_msg("%s: %lld", table[i].body, (long long)tokens);
    }
    assert_int_equal(http_usage_tokens((struct slice){NULL, 0}), -1);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_body_tells_what_was_charged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
