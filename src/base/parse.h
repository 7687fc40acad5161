/*
 * Reading the small texts that people write in options: durations, sizes, counts, ranges.
 *
 * Each takes the whole text or refuses it, never reads past its NUL, and leaves its output
 * untouched on failure. The caller puts the option's name before the message (error_prefix).
 */
#ifndef BASE_PARSE_H
#define BASE_PARSE_H

#include "base/time.h"
#include "weir/status.h"

#include <stdint.h>

/* "1.5s", "200ms", "10us", "2m", "1h", "3d"; sums such as "1m30s"; a bare number is seconds. Not
 * negative. */
WEIR_MUST_CHECK enum weir_status parse_duration(const char *text, duration_ns *ret,
                                                struct weir_error *err);
/* "512", "64k", "64KiB", "1M", "2GiB" (all powers of 1024), "10MB" (powers of 1000). */
WEIR_MUST_CHECK enum weir_status parse_size(const char *text, uint64_t *ret_bytes,
                                            struct weir_error *err);
/* A whole number in [min, max]; "10k" and "2M" are thousands and millions; "_" may group digits. */
WEIR_MUST_CHECK enum weir_status parse_count(const char *text, int64_t min, int64_t max,
                                             int64_t *ret, struct weir_error *err);
/* A finite decimal number in [min, max]. */
WEIR_MUST_CHECK enum weir_status parse_number(const char *text, double min, double max, double *ret,
                                              struct weir_error *err);
/* A share of 1 in [min, max]: "2%" or "0.02". */
WEIR_MUST_CHECK enum weir_status parse_share(const char *text, double min, double max, double *ret,
                                             struct weir_error *err);
/* "5..20" or "5" (both ends the same), lo <= hi, each in [min, max]. */
WEIR_MUST_CHECK enum weir_status parse_range(const char *text, double min, double max,
                                             double *ret_lo, double *ret_hi,
                                             struct weir_error *err);
/* "20s..120s" or "20s". */
WEIR_MUST_CHECK enum weir_status parse_duration_range(const char *text, duration_ns *ret_lo,
                                                      duration_ns *ret_hi, struct weir_error *err);

#endif
