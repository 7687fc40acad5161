/*
 * Eight bytes looked at in one step, to get over the long plain stretches of strings quickly.
 *
 * The tests below are the classic "has a zero byte" trick: (w - 0x01..) & ~w has the high bit of
 * each zero byte set. A borrow may set bits above a byte that is found, never below it, so the
 * lowest one that is set is always right. No state.
 */
#ifndef BASE_BYTES8_H
#define BASE_BYTES8_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BYTES8_ONES  UINT64_C(0x0101010101010101)
#define BYTES8_HIGHS UINT64_C(0x8080808080808080)

/* In memory order: byte 0 is the lowest on every machine. */
static inline uint64_t bytes8_load(const unsigned char *p)
{
    uint64_t w;

    memcpy(&w, p, sizeof(w));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    w = __builtin_bswap64(w);
#endif
    return w;
}

/* High bits at the bytes that are c. */
static inline uint64_t bytes8_equal(uint64_t w, unsigned char c)
{
    uint64_t x = w ^ (BYTES8_ONES * c);

    return (x - BYTES8_ONES) & ~x & BYTES8_HIGHS;
}

/* High bits at the bytes below c (c <= 0x80). */
static inline uint64_t bytes8_below(uint64_t w, unsigned char c)
{
    return (w - BYTES8_ONES * c) & ~w & BYTES8_HIGHS;
}

/* Place of the lowest byte that a test found; found != 0. */
static inline size_t bytes8_first(uint64_t found)
{
    return (size_t)__builtin_ctzll(found) >> 3;
}

/* First byte at or after p that is not plain inside a JSON string: a quote, a backslash, a control
 * character, a byte of a longer UTF-8 sequence. */
static inline const unsigned char *bytes8_skip_plain(const unsigned char *p,
                                                     const unsigned char *end)
{
    while (end - p >= 8) {
        uint64_t w = bytes8_load(p);
        uint64_t found = bytes8_equal(w, '"') | bytes8_equal(w, '\\') | bytes8_below(w, 0x20) |
                         (w & BYTES8_HIGHS);

        if (found)
            return p + bytes8_first(found);
        p += 8;
    }
    while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\')
        p++;
    return p;
}

#endif
