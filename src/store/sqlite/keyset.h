/*
 * A set of keys that finds duplicates in bounded memory, however many rows there are.
 *
 *     status = keyset_new(0, &ks, err);
 *     status = keyset_add(ks, f.hi, f.lo, line, &is_duplicate, &first_line, err);
 *     ks = keyset_free(ks);
 *
 * Keys are given as 128-bit fingerprints. New ones go to a table in memory; when it is full it is
 * sorted and written to a temporary database on disk, and the memory starts anew. A filter (8 MiB,
 * made with the first spill) spares most look-ups on disk. The database is a file without a name,
 * in $SQLITE_TMPDIR, $TMPDIR or /var/tmp; it goes with the process.
 *
 * One owner, one thread at a time. Blocks on the disk once it spills.
 */
#ifndef STORE_SQLITE_KEYSET_H
#define STORE_SQLITE_KEYSET_H

#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Keys in memory before they are written to disk: 8 MiB at 24 bytes and three quarters full, and as
 * much again while they are sorted. Four times as many would make a set of millions a quarter
 * faster, and take 42 MiB more.
 */
#define KEYSET_MEMORY_KEYS ((size_t)1 << 18)

struct keyset;

/* memory_keys: how many keys are held in memory; 0 is KEYSET_MEMORY_KEYS. */
WEIR_MUST_CHECK enum weir_status keyset_new(size_t memory_keys, struct keyset **ret,
                                            struct weir_error *err);

/*
 * Adds a key with the number of its row, unless it is there: then *ret_is_duplicate is true and
 * *ret_first_row is the row that it came with first. *ret_first_row is the given row otherwise.
 * WEIR_E_NOMEM, WEIR_E_IO (the temporary file): the key was not added; if that was during a spill,
 * each later call fails too.
 * row < UINT64_MAX / 2.
 */
WEIR_MUST_CHECK enum weir_status keyset_add(struct keyset *ks, uint64_t hi, uint64_t lo,
                                            uint64_t row, bool *ret_is_duplicate,
                                            uint64_t *ret_first_row, struct weir_error *err);

/* How often the memory was full. */
uint64_t keyset_spill_count(const struct keyset *ks);

/* NULL-safe; returns NULL. */
struct keyset *keyset_free(struct keyset *ks);

#endif
