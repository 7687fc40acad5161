/*
 * What every store refuses before it touches anything.
 *
 *     status = store_check_put(rows, row_count, attempts, attempt_count, err);
 *
 * Pure; thread-safe. One place for these rules, so that a store that the simulator uses and one
 * that a user's run uses refuse the same calls.
 */
#ifndef STORE_CHECK_H
#define STORE_CHECK_H

#include "core/ports/store.h"

/* The largest index, complete_index, offset, length and size of a file. A database counts in signed
 * numbers, and one more than the largest complete_index must fit too. */
#define STORE_NUMBER_MAX ((uint64_t)INT64_MAX - 1)

/* WEIR_E_INVALID: a number above STORE_NUMBER_MAX, or an outcome or a reason that has no name. */
WEIR_MUST_CHECK enum weir_status store_check_put(const struct store_row *rows, size_t row_count,
                                                 const struct store_attempt *attempts,
                                                 size_t attempt_count, struct weir_error *err);

/* WEIR_E_INVALID: the mark goes back from `now`, a number is too large, or a place is of a row that
 * the mark does not cover. Whether all rows before it have finished is for the store to see. */
WEIR_MUST_CHECK enum weir_status store_check_mark(const struct store_mark *mark, uint64_t now,
                                                  const struct store_place *places,
                                                  size_t place_count, struct weir_error *err);

#endif
