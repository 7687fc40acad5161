/* --halt: the spellings, the thresholds, and that a verdict never goes back. */
#include "unit/cli/cli_test.h"

#include "cli/output/halt.h"

static enum halt_verdict after(const char *rule_text, const char *rows)
{
    struct halt_rule rule;
    struct halt h;
    enum halt_verdict v = HALT_NONE;

    assert_int_equal(halt_parse(rule_text, &rule, NULL), WEIR_OK);
    halt_init(&h, &rule);
    for (; *rows; rows++)
        v = halt_finished(&h, *rows == 'o');
    assert_int_equal(v, halt_verdict(&h));
    return v;
}

static void it_halts_at_the_threshold_and_not_before(void **state)
{
    static const struct {
        const char *rule, *rows;
        enum halt_verdict verdict;
    } cases[] = {
        {"never", "ffffffff", HALT_NONE},
        {"now,fail=1", "ooo", HALT_NONE},
        {"now,fail=1", "f", HALT_NOW},
        {"soon,fail=2", "fo", HALT_NONE},
        {"soon,fail=2", "fof", HALT_SOON},
        {"soon,success=2", "fffo", HALT_NONE},
        {"soon,success=2", "fffoo", HALT_SOON},
        {"now,done=3", "fo", HALT_NONE},
        {"now,done=3", "fof", HALT_NOW},
        {"soon,fail=50%", "ff", HALT_NONE}, /* two are too few for a percentage */
        {"soon,fail=50%", "fff", HALT_SOON},
        {"soon,fail=50%", "foofoof", HALT_NONE}, /* 3 of 7 */
        {"soon,fail=50%", "foofoff", HALT_SOON}, /* 4 of 7 */
        {"soon,fail=0.1%", "ooff", HALT_NONE},
        {"now,fail=2k", "f", HALT_NONE},
        /* reached once is reached for good */
        {"soon,fail=100%", "fffooooo", HALT_SOON},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (after(cases[i].rule, cases[i].rows) != cases[i].verdict)
            fail_msg("%s after %s", cases[i].rule, cases[i].rows);
    }
}

static void other_spellings_are_refused_with_an_example(void **state)
{
    static const char *const texts[] = {
        "",
        "now",
        "now,",
        "now,fail",
        "now,fail=",
        "now,fail=0",
        "now,fail=-1",
        "now,fail=0%",
        "now,fail=101%",
        "now,fail=%",
        "later,fail=1",
        "now,fails=1",
        "now,fail=1%x",
        "now, fail=1",
        "never,fail=1",
        "now,fail=11111111111111111111111111111111111111111111%",
    };
    struct halt_rule rule = {.count = 77};
    struct weir_error err;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        memset(&err, 0, sizeof(err));
        if (halt_parse(texts[i], &rule, &err) != WEIR_E_INVALID)
            fail_msg("not refused: %s", texts[i]);
        assert_true(err.message[0] != '\0');
        assert_int_equal(rule.count, 77);
    }
}

static void the_reason_is_told_with_the_rule(void **state)
{
    struct halt_rule rule;
    struct halt h;
    struct buf out = {0};

    (void)state;
    assert_int_equal(halt_parse("soon,fail=12.5%", &rule, NULL), WEIR_OK);
    halt_init(&h, &rule);
    halt_finished(&h, true);
    halt_finished(&h, false);
    halt_describe(&h, &out);
    assert_string_equal(out.data, "1 of 2 rows failed (--halt soon,fail=12.5%)");
    buf_free(&out);
}

static void numbers_are_what_they_are_to_gnu_parallel(void **state)
{
    static const struct {
        const char *text, *words;
    } cases[] = {{"0", "never"},
                 {"1", "soon,fail=1"},
                 {"2", "now,fail=1"},
                 {"-1", "soon,success=1"},
                 {"-2", "now,success=1"}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct halt_rule a, b;

        assert_int_equal(halt_parse(cases[i].text, &a, NULL), WEIR_OK);
        assert_int_equal(halt_parse(cases[i].words, &b, NULL), WEIR_OK);
        assert_int_equal(a.verdict, b.verdict);
        assert_int_equal(a.count, b.count);
        if (a.verdict != HALT_NONE)
            assert_int_equal(a.why, b.why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_what_they_are_to_gnu_parallel),
        cmocka_unit_test(it_halts_at_the_threshold_and_not_before),
        cmocka_unit_test(other_spellings_are_refused_with_an_example),
        cmocka_unit_test(the_reason_is_told_with_the_rule),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
