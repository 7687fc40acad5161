/*
 * Seeded random numbers (xoshiro256**, Blackman and Vigna 2018; seeded by splitmix64).
 *
 * Whoever needs randomness is handed one of these: the same seed gives the same run (I7). Not for
 * secrets.
 */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdint.h>

struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_u64(struct rng *r);
/* 0 <= result < bound, without bias; bound 0 gives 0. */
uint64_t rng_below(struct rng *r, uint64_t bound);
/* lo <= result <= hi. */
int64_t rng_range(struct rng *r, int64_t lo, int64_t hi);
/* 0 <= result < 1. */
double rng_unit(struct rng *r);
/* Mean 0, variance 1 (Marsaglia's polar method; no state beside the generator). */
double rng_normal(struct rng *r);
/* Mean 1. */
double rng_exponential(struct rng *r);

#endif
