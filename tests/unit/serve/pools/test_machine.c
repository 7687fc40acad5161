/*
 * Load and free memory, as the kernel tells them.
 */
#include "serve/pools/machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void load_is_for_each_processor(void **state)
{
    struct machine m;

    (void)state;
    machine_parse("3.50 2.00 1.00 3/500 1234\n", NULL, 7, &m);
    assert_true(m.load >= 0.5 && m.load <= 0.5);
    assert_true(m.available_mib < 0);
    assert_true(machine_reading(&m, FOLLOW_LOAD) >= 0.5);
    assert_true(machine_reading(&m, FOLLOW_QUEUE) < 0);
}

static void memory_is_what_can_be_had(void **state)
{
    struct machine m;

    (void)state;
    machine_parse(NULL,
                  "MemTotal:       16000000 kB\nMemFree:  1024 kB\nMemAvailable:    2097152 kB\n",
                  1, &m);
    assert_true(m.available_mib >= 2048 && m.available_mib <= 2048);
    assert_true(machine_reading(&m, FOLLOW_MEMORY) >= 2048);
    assert_true(m.load < 0);
}

static void what_cannot_be_understood_is_not_known(void **state)
{
    struct machine m;

    (void)state;
    machine_parse("", "MemTotal: 5 kB\n", 4, &m);
    assert_true(m.load < 0 && m.available_mib < 0);
    machine_parse("x y", "MemAvailable: many", 4, &m);
    assert_true(m.load < 0 && m.available_mib < 0);
    machine_parse("1.0", "", 0, &m);
    assert_true(m.load < 0 && m.available_mib < 0);
}

static void this_machine_can_be_read(void **state)
{
    struct machine m;

    (void)state;
    machine_read(&m);
    assert_true(m.load >= 0);
    assert_true(m.available_mib > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(load_is_for_each_processor),
        cmocka_unit_test(memory_is_what_can_be_had),
        cmocka_unit_test(what_cannot_be_understood_is_not_known),
        cmocka_unit_test(this_machine_can_be_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
