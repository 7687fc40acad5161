/*
 * Seeded random numbers: the generator of Blackman and Vigna, "Scrambled linear pseudorandom number
 * generators" (2018), and the distributions that weir needs on top of it. One owner per generator.
 */
#include "base/rng.h"

#include <math.h>

static uint64_t rotate_left(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

/* Spreads the seed over the state, so that seeds 1 and 2 give unlike runs, and 0 is as good as any
 * (an all-zero state would stay zero for ever). */
void rng_seed(struct rng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = (seed += UINT64_C(0x9E3779B97F4A7C15));

        z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
        r->s[i] = z ^ (z >> 31);
    }
}

uint64_t rng_u64(struct rng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

/* Lemire, "Fast random integer generation in an interval" (2019): the high half of a product is the
 * result; the few low halves that would bias it are drawn again. */
uint64_t rng_below(struct rng *r, uint64_t bound)
{
    unsigned __int128 product;
    uint64_t threshold;

    if (bound == 0)
        return 0;
    product = (unsigned __int128)rng_u64(r) * bound;
    if ((uint64_t)product < bound) {
        threshold = (0 - bound) % bound;
        while ((uint64_t)product < threshold)
            product = (unsigned __int128)rng_u64(r) * bound;
    }
    return (uint64_t)(product >> 64);
}

int64_t rng_range(struct rng *r, int64_t lo, int64_t hi)
{
    uint64_t span;

    if (hi <= lo)
        return lo;
    span = (uint64_t)hi - (uint64_t)lo + 1;
    /* A span of 2^64 does not fit; every 64 bits are then in range. */
    return (int64_t)((uint64_t)lo + (span == 0 ? rng_u64(r) : rng_below(r, span)));
}

double rng_unit(struct rng *r)
{
    return (double)(rng_u64(r) >> 11) * 0x1.0p-53;
}

double rng_normal(struct rng *r)
{
    double x;
    double y;
    double square;

    do {
        x = 2.0 * rng_unit(r) - 1.0;
        y = 2.0 * rng_unit(r) - 1.0;
        square = x * x + y * y;
    } while (square >= 1.0 || square <= 0.0);
    return x * sqrt(-2.0 * log(square) / square);
}

double rng_exponential(struct rng *r)
{
    /* 1 - u lies in (0, 1], so the logarithm is finite. */
    return -log1p(-rng_unit(r));
}
