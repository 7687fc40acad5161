/*
 * The API's times for people: "3m ago", "in 2h", or as they are.
 *
 *     if (when_parse(text, &at_ns)) when_put(&out, at_ns, now_ns, utc);
 */
#ifndef CLI_CLIENT_WHEN_H
#define CLI_CLIENT_WHEN_H

#include "base/buf.h"

#include <stdint.h>

/* RFC 3339 in UTC, as the API writes it: 2026-01-31T12:00:00.000000Z, or without the fraction. */
bool when_parse(struct slice text, int64_t *ret_unix_ns);
/* utc: "2026-01-31T12:00:00Z". Else what is less than 1 s away is "now". */
void when_put(struct buf *out, int64_t at_ns, int64_t now_ns, bool utc);
/* "12:00:01", "2026-01-30 12:00:01" when it is not today: of the local time; utc: with milliseconds, as the API has it. */
void when_put_clock(struct buf *out, int64_t at_ns, int64_t now_ns, bool utc);
/* "0.4s", "12s", "3m", "2h", "5d": one unit, for columns. */
void when_put_short(struct buf *out, double seconds);

#endif
