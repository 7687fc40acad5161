/*
 * Writing JSON: strings from any bytes, and values that must stand on one line. The output is
 * valid whatever goes in; memory that runs out shows in the buffer (buf.h). No state.
 */
#include "base/json.h"

#include "base/bytes8.h"
#include "base/utf8.h"

static void put_escape(struct buf *out, unsigned char byte)
{
    static const char hex[] = "0123456789abcdef";
    char escape[6] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 0xF]};
    size_t len = 2;

    switch (byte) {
    case '"':
    case '\\':
        escape[1] = (char)byte;
        break;
    case '\b':
        escape[1] = 'b';
        break;
    case '\f':
        escape[1] = 'f';
        break;
    case '\n':
        escape[1] = 'n';
        break;
    case '\r':
        escape[1] = 'r';
        break;
    case '\t':
        escape[1] = 't';
        break;
    default:
        len = sizeof(escape);
        break;
    }
    buf_put(out, escape, len);
}

void json_put_string(struct buf *out, struct slice bytes)
{
    const unsigned char *p = (const unsigned char *)(bytes.data ? bytes.data : "");
    const unsigned char *end = p + bytes.len;

    buf_putc(out, '"');
    while (p < end && !out->failed) {
        const unsigned char *run = p;
        size_t n = 0;

        /* What may stay as it is goes out in one piece. */
        for (;;) {
            p = bytes8_skip_plain(p, end);
            if (p == end || *p < 0x80)
                break;
            n = utf8_sequence(p, (size_t)(end - p));
            if (n == 0)
                break;
            p += n;
        }
        buf_put(out, run, (size_t)(p - run));
        if (p == end)
            break;
        if (*p < 0x80)
            put_escape(out, *p);
        else
            buf_put(out, UTF8_REPLACEMENT, UTF8_REPLACEMENT_BYTES);
        p++;
    }
    buf_putc(out, '"');
}

/* A valid text has no raw line break inside a string, so every one that there is stands between two
 * tokens; and two tokens that only white space divides do not occur in JSON. */
void json_put_oneline(struct buf *out, struct slice value)
{
    const char *p = value.data ? value.data : "";
    const char *end = p + value.len;

    while (p < end) {
        const char *run = p;

        p = memchr(run, '\n', (size_t)(end - run));
        if (!p)
            p = end;
        /* Most values have no line break at all, so the second look is worth its brevity. */
        for (const char *cr; (cr = memchr(run, '\r', (size_t)(p - run))) != NULL; run = cr + 1)
            buf_put(out, run, (size_t)(cr - run));
        buf_put(out, run, (size_t)(p - run));
        if (p < end)
            p++;
    }
}
