/*
 * How many requests each address may send.
 */
#include "serve/http/peers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct http_peer_addr one = {0, 1}, two = {0, 2};

static struct instant at_ms(int64_t ms)
{
    return (struct instant){(ms + 1) * NS_PER_MS};
}

static void an_address_has_its_burst_and_then_its_rate(void **state)
{
    struct http_peers p;

    (void)state;
    assert_true(http_peers_init(&p, 10, 3, 7));
    for (int i = 0; i < 3; i++)
        assert_int_equal(http_peers_take(&p, &one, at_ms(0)), 0);
    assert_in_range(http_peers_take(&p, &one, at_ms(0)), 99 * NS_PER_MS, 101 * NS_PER_MS);
    assert_int_equal(http_peers_take(&p, &two, at_ms(0)), 0);
    assert_in_range(http_peers_take(&p, &one, at_ms(60)), 39 * NS_PER_MS, 41 * NS_PER_MS);
    assert_int_equal(http_peers_take(&p, &one, at_ms(101)), 0);
    assert_true(http_peers_take(&p, &one, at_ms(101)) > 0);
    http_peers_free(&p);
}

static void a_long_silence_gives_no_more_than_the_burst(void **state)
{
    struct http_peers p;
    int taken = 0;

    (void)state;
    assert_true(http_peers_init(&p, 10, 3, 7));
    assert_int_equal(http_peers_take(&p, &one, at_ms(0)), 0);
    while (http_peers_take(&p, &one, at_ms(1000000)) == 0)
        taken++;
    assert_int_equal(taken, 3);
    http_peers_free(&p);
}

static void without_a_rate_all_may(void **state)
{
    struct http_peers p;

    (void)state;
    assert_true(http_peers_init(&p, 0, 0, 7));
    for (int i = 0; i < 1000; i++)
        assert_int_equal(http_peers_take(&p, &one, at_ms(0)), 0);
    http_peers_free(&p);
}

static void any_number_of_addresses_does_not_free_one_that_is_over_its_rate(void **state)
{
    struct http_peers p;

    (void)state;
    assert_true(http_peers_init(&p, 1, 2, 7));
    while (http_peers_take(&p, &one, at_ms(0)) == 0)
        ;
    for (uint64_t i = 0; i < 100000; i++) {
        struct http_peer_addr other = {i + 1, i};

        assert_int_equal(http_peers_take(&p, &other, at_ms(1)), 0);
    }
    assert_true(http_peers_take(&p, &one, at_ms(2)) > 0);
    http_peers_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_has_its_burst_and_then_its_rate),
        cmocka_unit_test(a_long_silence_gives_no_more_than_the_burst),
        cmocka_unit_test(without_a_rate_all_may),
        cmocka_unit_test(any_number_of_addresses_does_not_free_one_that_is_over_its_rate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
