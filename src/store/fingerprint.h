/*
 * Fingerprints: what tells the journal whether a row, a key or a whole input is the one it knows.
 *
 *     struct fingerprint f = fingerprint_of(line);
 *
 *     struct fingerprint_stream *s = fingerprint_stream_new();
 *     fingerprint_stream_add(s, bytes);              // ... for each piece of the input
 *     f = fingerprint_stream_digest(s);              // of all so far; more may be added
 *     s = fingerprint_stream_free(s);
 *
 * XXH3 with 128 bits: two of a hundred million rows collide by chance with a probability of about
 * 1e-23. Not for secrets, and no defence against somebody who makes collisions on purpose: such a
 * person would only spoil a file of his own. One owner per stream; fingerprint_of is thread-safe.
 */
#ifndef STORE_FINGERPRINT_H
#define STORE_FINGERPRINT_H

#include "base/slice.h"

#include <stdint.h>

struct fingerprint {
    uint64_t hi, lo;
};

/* Characters of the hex form, with its NUL. */
#define FINGERPRINT_HEX_BYTES 33

struct fingerprint fingerprint_of(struct slice bytes);

static inline bool fingerprint_equal(struct fingerprint a, struct fingerprint b)
{
    return a.hi == b.hi && a.lo == b.lo;
}

/* 32 lower-case hex digits, hi first: what `xxh128sum` prints. */
void fingerprint_hex(struct fingerprint f, char ret[FINGERPRINT_HEX_BYTES]);
/* Reads the hex form. False: it is something else. */
bool fingerprint_parse(struct slice hex, struct fingerprint *ret);

struct fingerprint_stream;

/* NULL: no memory. */
struct fingerprint_stream *fingerprint_stream_new(void);
void fingerprint_stream_add(struct fingerprint_stream *s, struct slice bytes);
struct fingerprint fingerprint_stream_digest(const struct fingerprint_stream *s);
/* NULL-safe; returns NULL. */
struct fingerprint_stream *fingerprint_stream_free(struct fingerprint_stream *s);

#endif
