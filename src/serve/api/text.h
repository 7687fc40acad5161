/*
 * Small texts of the API: times, base64, times of day in words.
 *
 *     text_time(slice, now_ns, &when_ns, &err)      // "2026-01-31T12:00:00Z", "2026-01-31T13:00:00.5+01:00", "+90s"
 *     text_put_time(out, when_ns)                   // "2026-01-31T12:00:00.000000Z", with its quotes
 *
 * No state.
 */
#ifndef SERVE_API_TEXT_H
#define SERVE_API_TEXT_H

#include "base/buf.h"
#include "base/time.h"
#include "weir/status.h"

/* RFC 3339, years 1970 to 2261, or "+" and a duration, from now_ns on. Nanoseconds since the Unix epoch. */
WEIR_MUST_CHECK enum weir_status text_time(struct slice text, int64_t now_ns, int64_t *ret_ns,
                                           struct weir_error *err);
/* A duration as base/parse.h reads it. */
WEIR_MUST_CHECK enum weir_status text_duration(struct slice text, duration_ns *ret,
                                               struct weir_error *err);
WEIR_MUST_CHECK enum weir_status text_size(struct slice text, uint64_t *ret_bytes,
                                           struct weir_error *err);
/* Digits only. False: it is no number, or has more than 64 bits. */
bool text_u64(struct slice text, uint64_t *ret);

/* As a JSON string, UTC with microseconds. */
void text_put_time(struct buf *out, int64_t unix_ns);
/* Seconds, with as many digits as it has, at most nine: 1.5 */
void text_put_seconds(struct buf *out, duration_ns d);
/* The shortest decimal that reads back as the same; null where JSON has no number for it. */
void text_put_number(struct buf *out, double n);

/* Bytes that base64 of that many decodes to, at most. */
#define TEXT_BASE64_DECODED_MAX(len) ((len) / 4 * 3 + 3)
/* The alphabet of RFC 4648, padded or not. False: it is not that. out has room for TEXT_BASE64_DECODED_MAX bytes. */
bool text_base64_decode(struct slice text, char *out, size_t *ret_len);
/* As a JSON string, padded. */
void text_put_base64(struct buf *out, struct slice bytes);

#endif
