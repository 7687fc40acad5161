/*
 * Filling in a struct weir_error (include/weir/status.h).
 *
 *     return error_set(err, WEIR_E_INVALID, "size is %ld; it must be 1 or more", size);
 *
 * Every function here accepts err == NULL, and returns the status that it was given (error_prefix:
 * the one that err holds), so that it can be the operand of `return`. Messages name the place and
 * the remedy, begin in lower case, and end without a period.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include "weir/status.h"

enum weir_status error_set(struct weir_error *err, enum weir_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As error_set, with ": " and the system's text for errnum behind the message. */
enum weir_status error_set_errno(struct weir_error *err, enum weir_status status, int errnum,
                                 const char *format, ...) __attribute__((format(printf, 4, 5)));

/* WEIR_E_NOMEM with a constant message. */
enum weir_status error_nomem(struct weir_error *err);

/* Puts "prefix: " before a message that err already holds. */
enum weir_status error_prefix(struct weir_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
