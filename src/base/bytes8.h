/*
 * Several bytes looked at in one step, to get over the long plain stretches of strings quickly:
 * sixteen where the processor compares as many at once (SSE2, which every x86-64 has), else eight
 * in a word.
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

#ifdef __SSE2__
#include <emmintrin.h>
#endif

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

#ifdef __SSE2__

static inline __m128i bytes16_load(const unsigned char *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/* A bit for each byte that is a quote or a backslash. */
static inline unsigned bytes16_quotes(__m128i w)
{
    __m128i found =
        _mm_or_si128(_mm_cmpeq_epi8(w, _mm_set1_epi8('"')), _mm_cmpeq_epi8(w, _mm_set1_epi8('\\')));

    return (unsigned)_mm_movemask_epi8(found);
}

/* A bit for each byte that is not plain inside a JSON string. Signed, a byte from 0x80 on is below 0x20 too. */
static inline unsigned bytes16_special(__m128i w)
{
    return bytes16_quotes(w) | (unsigned)_mm_movemask_epi8(_mm_cmplt_epi8(w, _mm_set1_epi8(0x20)));
}

#endif

/* First byte at or after p that is not plain inside a JSON string: a quote, a backslash, a control
 * character, a byte of a longer UTF-8 sequence. */
static inline const unsigned char *bytes8_skip_plain(const unsigned char *p,
                                                     const unsigned char *end)
{
#ifdef __SSE2__
    for (; end - p >= 16; p += 16) {
        unsigned found = bytes16_special(bytes16_load(p));

        if (found)
            return p + __builtin_ctz(found);
    }
#endif
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

/* First quote or backslash at or after p. */
static inline const unsigned char *bytes8_skip_to_quote(const unsigned char *p,
                                                        const unsigned char *end)
{
#ifdef __SSE2__
    for (; end - p >= 16; p += 16) {
        unsigned found = bytes16_quotes(bytes16_load(p));

        if (found)
            return p + __builtin_ctz(found);
    }
#endif
    while (end - p >= 8) {
        uint64_t w = bytes8_load(p);
        uint64_t found = bytes8_equal(w, '"') | bytes8_equal(w, '\\');

        if (found)
            return p + bytes8_first(found);
        p += 8;
    }
    while (p < end && *p != '"' && *p != '\\')
        p++;
    return p;
}

#endif
