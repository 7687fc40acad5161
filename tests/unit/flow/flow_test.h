/*
 * What the tests of flow/ share: virtual time in milliseconds, and a look at an option's refusal.
 */
#ifndef UNIT_FLOW_TEST_H
#define UNIT_FLOW_TEST_H

#include "base/time.h"
#include "weir/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static inline struct instant at_ms(int64_t ms)
{
    return (struct instant){ms * NS_PER_MS};
}

static inline struct instant at_s(int64_t s)
{
    return (struct instant){s * NS_PER_S};
}

/* `status` and `err` are what a check gave for options with a bad `field`. */
#define assert_refused(status, err, field)                                                         \
    do {                                                                                           \
        assert_int_equal((status), WEIR_E_INVALID);                                                \
        if (!strstr((err).message, (field)))                                                       \
            fail_msg("the message does not name %s: %s", (field), (err).message);                  \
    } while (0)

#endif
