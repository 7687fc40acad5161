/*
 * UTF-8, one sequence at a time (RFC 3629: no overlong forms, no surrogates, nothing above
 * U+10FFFF). For the JSON code; others use utf8_valid_prefix in json.h. No state.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* U+FFFD, which stands for what could not be read. */
#define UTF8_REPLACEMENT       "\xEF\xBF\xBD"
#define UTF8_REPLACEMENT_BYTES 3

/* Length of the sequence at p (1 to 4), of which `left` > 0 bytes may be read; 0: it is not valid. */
static inline size_t utf8_sequence(const unsigned char *p, size_t left)
{
    unsigned char lead = p[0];
    unsigned char lowest = 0x80;
    unsigned char highest = 0xBF;
    size_t len;

    if (lead < 0x80)
        return 1;
    if (lead < 0xC2 || lead > 0xF4)
        return 0;
    len = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (left < len)
        return 0;
    /* The leads whose second byte is bounded further: overlong forms, surrogates, the end. */
    if (lead == 0xE0)
        lowest = 0xA0;
    else if (lead == 0xED)
        highest = 0x9F;
    else if (lead == 0xF0)
        lowest = 0x90;
    else if (lead == 0xF4)
        highest = 0x8F;
    if (p[1] < lowest || p[1] > highest)
        return 0;
    for (size_t i = 2; i < len; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    }
    return len;
}

/* Writes a code point (not a surrogate, at most U+10FFFF); returns how many bytes that took. */
static inline size_t utf8_encode(uint32_t code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

#endif
