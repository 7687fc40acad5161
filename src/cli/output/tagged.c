/* See tagged.h. */
#include "cli/output/tagged.h"

void tagged_put(struct buf *out, struct slice tag, struct slice bytes)
{
    while (bytes.len > 0) {
        const char *end = memchr(bytes.data, '\n', bytes.len);
        size_t len = end ? (size_t)(end - bytes.data) + 1 : bytes.len;

        buf_put_slice(out, tag);
        buf_putc(out, '\t');
        buf_put(out, bytes.data, len);
        bytes.data += len;
        bytes.len -= len;
    }
}
