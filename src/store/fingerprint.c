#include "store/fingerprint.h"

#include "base/mem.h"

#define XXH_STATIC_LINKING_ONLY /* for the size of its state, so that mem_alloc can serve it */
#include <xxhash.h>

/* XXH3 wants its state aligned to 64 bytes; malloc promises 16. */
struct fingerprint_stream {
    XXH3_state_t *state; /* within room */
    unsigned char room[];
};

static struct fingerprint from_xxh(XXH128_hash_t h)
{
    return (struct fingerprint){h.high64, h.low64};
}

struct fingerprint fingerprint_of(struct slice bytes)
{
    return from_xxh(XXH3_128bits(bytes.len ? bytes.data : "", bytes.len));
}

void fingerprint_hex(struct fingerprint f, char ret[FINGERPRINT_HEX_BYTES])
{
    static const char digits[] = "0123456789abcdef";

    for (unsigned i = 0; i < 16; i++) {
        ret[i] = digits[(f.hi >> (60 - 4 * i)) & 15];
        ret[16 + i] = digits[(f.lo >> (60 - 4 * i)) & 15];
    }
    ret[32] = '\0';
}

bool fingerprint_parse(struct slice hex, struct fingerprint *ret)
{
    uint64_t part[2] = {0, 0};

    if (hex.len != 32)
        return false;
    for (size_t i = 0; i < 32; i++) {
        char c = hex.data[i];
        unsigned digit;

        if (c >= '0' && c <= '9')
            digit = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (unsigned)(c - 'a') + 10;
        else
            return false;
        part[i / 16] = part[i / 16] << 4 | digit;
    }
    *ret = (struct fingerprint){part[0], part[1]};
    return true;
}

struct fingerprint_stream *fingerprint_stream_new(void)
{
    struct fingerprint_stream *s = mem_alloc(sizeof(*s) + sizeof(XXH3_state_t) + 63);
    uintptr_t at;

    if (!s)
        return NULL;
    at = ((uintptr_t)s->room + 63) & ~(uintptr_t)63;
    s->state = (XXH3_state_t *)at;
    XXH3_128bits_reset(s->state);
    return s;
}

void fingerprint_stream_add(struct fingerprint_stream *s, struct slice bytes)
{
    if (bytes.len)
        XXH3_128bits_update(s->state, bytes.data, bytes.len);
}

struct fingerprint fingerprint_stream_digest(const struct fingerprint_stream *s)
{
    return from_xxh(XXH3_128bits_digest(s->state));
}

struct fingerprint_stream *fingerprint_stream_free(struct fingerprint_stream *s)
{
    return mem_free(s);
}
