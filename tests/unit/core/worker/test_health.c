/* The health of a worker: when it is asked, and what its answers make of it. */
#include "crew_test.h"

#include "core/worker/health.h"

static struct health healthy(int64_t ms)
{
    struct health_options o;
    struct health h;

    health_options_init(&o);
    health_init(&h, &o, at_ms(ms));
    health_asked(&h, at_ms(ms));
    assert_int_equal(health_passed(&h, at_ms(ms)), HEALTH_GOES_ON);
    return h;
}

static void health_is_unknown_until_the_first_check_has_passed(void **state)
{
    struct health_options o;
    struct health h;

    (void)state;
    health_options_init(&o);
    health_init(&h, &o, at_s(10));
    assert_int_equal(h.health, HEALTH_UNKNOWN);
    assert_int_equal(health_when(&h).ns, at_s(40).ns);
    health_asked(&h, at_s(10));
    assert_int_equal(h.health, HEALTH_UNKNOWN);
    assert_int_equal(health_when(&h).ns, at_s(15).ns);
    assert_int_equal(health_passed(&h, at_s(11)), HEALTH_GOES_ON);
    assert_int_equal(h.health, HEALTH_HEALTHY);
    assert_int_equal(health_when(&h).ns, at_s(41).ns);
}

static void it_is_asked_every_thirty_seconds_and_has_five_for_the_answer(void **state)
{
    struct health h = healthy(0);

    (void)state;
    assert_int_equal(health_when(&h).ns, at_s(30).ns);
    health_asked(&h, at_s(31));
    assert_int_equal(health_when(&h).ns, at_s(36).ns);
    assert_int_equal(health_passed(&h, at_s(33)), HEALTH_GOES_ON);
    assert_int_equal(health_when(&h).ns, at_s(63).ns);
    assert_int_equal(h.checks, 2);
    assert_int_equal(h.failed_checks, 0);
}

static void a_failed_check_is_repeated_after_five_seconds_and_the_third_is_the_last(void **state)
{
    struct health h = healthy(0);

    (void)state;
    for (int i = 1; i <= 3; i++) {
        health_asked(&h, at_s(10 * i));
        assert_int_equal(health_failed(&h, at_s(10 * i + 5)),
                         i < 3 ? HEALTH_DEGRADE : HEALTH_REPLACE);
        assert_int_equal(h.health, HEALTH_UNHEALTHY);
        assert_int_equal(health_when(&h).ns, at_s(10 * i + 10).ns);
    }
    assert_int_equal(h.failed_checks, 3);
}

static void a_success_resets_the_count_of_failures(void **state)
{
    struct health h = healthy(0);

    (void)state;
    for (int i = 0; i < 10; i++) {
        health_asked(&h, at_s(i));
        assert_int_equal(health_failed(&h, at_s(i)), HEALTH_DEGRADE);
        health_asked(&h, at_s(i));
        assert_int_equal(health_failed(&h, at_s(i)), HEALTH_DEGRADE);
        health_asked(&h, at_s(i));
        assert_int_equal(health_passed(&h, at_s(i)), HEALTH_RESTORED);
        assert_int_equal(h.failures, 0);
    }
}

static void an_answer_to_a_request_puts_off_the_next_check(void **state)
{
    struct health h = healthy(0);

    (void)state;
    health_seen(&h, at_s(20));
    assert_int_equal(health_when(&h).ns, at_s(50).ns);
    health_asked(&h, at_s(50));
    health_seen(&h, at_s(51)); /* the ping that is out is still to be answered */
    assert_int_equal(health_when(&h).ns, at_s(55).ns);
    health_failed(&h, at_s(55));
    health_seen(&h, at_s(56)); /* and no request makes it healthy */
    assert_int_equal(health_when(&h).ns, at_s(60).ns);
    assert_int_equal(h.health, HEALTH_UNHEALTHY);
}

static void the_deadline_of_a_ping_behind_requests_counts_from_their_end(void **state)
{
    struct health h = healthy(0);

    (void)state;
    health_asked(&h, at_s(10));
    health_behind(&h);
    assert_true(instant_is_never(health_when(&h)));
    health_cleared(&h, at_s(100));
    assert_int_equal(health_when(&h).ns, at_s(105).ns);
    health_passed(&h, at_s(101));
    health_cleared(&h, at_s(102)); /* it is answered already */
    assert_int_equal(health_when(&h).ns, at_s(131).ns);
}

static void without_a_period_it_is_not_asked_by_the_clock(void **state)
{
    struct health_options o;
    struct health h;

    (void)state;
    health_options_init(&o);
    o.every_ns = 0;
    health_init(&h, &o, at_s(0));
    assert_true(instant_is_never(health_when(&h)));
    health_asked(&h, at_s(0));
    health_passed(&h, at_s(0));
    assert_true(instant_is_never(health_when(&h)));
    health_seen(&h, at_s(1));
    assert_true(instant_is_never(health_when(&h)));
    health_asked(&h, at_s(2));
    health_failed(&h, at_s(2)); /* but after a failure it is */
    assert_int_equal(health_when(&h).ns, at_s(7).ns);
}

static void each_option_has_its_range(void **state)
{
    struct health_options o;
    struct weir_error err;

#define REFUSED(field, value, name)                                                                \
    do {                                                                                           \
        health_options_init(&o);                                                                   \
        assert_int_equal(health_options_check(&o, &err), WEIR_OK);                                 \
        o.field = (value);                                                                         \
        assert_int_equal(health_options_check(&o, &err), WEIR_E_INVALID);                          \
        assert_non_null(strstr(err.message, name));                                                \
    } while (0)

    (void)state;
    REFUSED(every_ns, -1, "health_every");
    REFUSED(deadline_ns, 0, "health_deadline");
    REFUSED(recheck_ns, 0, "health_recheck");
    REFUSED(failures, 0, "health_failures");
#undef REFUSED
}

static void each_health_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(worker_health_name(HEALTH_UNKNOWN), "unknown");
    assert_string_equal(worker_health_name(HEALTH_HEALTHY), "healthy");
    assert_string_equal(worker_health_name(HEALTH_UNHEALTHY), "unhealthy");
    assert_string_equal(worker_health_name(HEALTH_KINDS), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(health_is_unknown_until_the_first_check_has_passed),
        cmocka_unit_test(it_is_asked_every_thirty_seconds_and_has_five_for_the_answer),
        cmocka_unit_test(a_failed_check_is_repeated_after_five_seconds_and_the_third_is_the_last),
        cmocka_unit_test(a_success_resets_the_count_of_failures),
        cmocka_unit_test(an_answer_to_a_request_puts_off_the_next_check),
        cmocka_unit_test(the_deadline_of_a_ping_behind_requests_counts_from_their_end),
        cmocka_unit_test(without_a_period_it_is_not_asked_by_the_clock),
        cmocka_unit_test(each_option_has_its_range),
        cmocka_unit_test(each_health_has_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
