/*
 * How many distinct Idempotency-Keys were seen, and how often one came again.
 *
 *     struct mock_keys keys = {0};
 *     mock_keys_see(&keys, hash_of_key);
 *     ... keys.distinct, keys.repeated ...
 *     mock_keys_free(&keys);
 *
 * Keeps 64-bit hashes in a table that grows up to MOCK_KEYS_MAX of them; a key beyond that, or for
 * which there is no memory, is counted as untracked. One owner, one thread.
 */
#ifndef CLI_MOCK_KEYS_H
#define CLI_MOCK_KEYS_H

#include <stddef.h>
#include <stdint.h>

#define MOCK_KEYS_MAX (1u << 21) /* 32 MiB of table */

struct mock_keys {
    uint64_t given;     /* requests that had a key = distinct + repeated + untracked */
    uint64_t distinct;  /* keys seen for the first time */
    uint64_t repeated;  /* requests with a key that had been seen */
    uint64_t untracked; /* whether these were new is not known */
    uint64_t *table;    /* open addressing; 0 is an empty place */
    size_t places;      /* a power of two, or 0 */
};

void mock_keys_see(struct mock_keys *k, uint64_t hash);
void mock_keys_free(struct mock_keys *k);

#endif
