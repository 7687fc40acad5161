/*
 * A byte buffer that grows: by doubling, so that n appends cost O(n) in all. See buf.h for who owns
 * what.
 */
#include "base/buf.h"

#include "base/locale_c.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#define BUF_CAP_MIN 64

char *buf_reserve(struct buf *b, size_t extra)
{
    size_t need;
    size_t cap = b->cap;
    char *data;

    if (b->failed)
        return NULL;
    if (extra < cap - b->len && cap > 0)
        return b->data + b->len;
    if (__builtin_add_overflow(b->len, extra, &need) || need >= PTRDIFF_MAX) {
        b->failed = true;
        return NULL;
    }
    need++; /* the NUL */
    if (cap < BUF_CAP_MIN)
        cap = BUF_CAP_MIN;
    while (cap < need)
        cap = cap > PTRDIFF_MAX / 2 ? need : cap * 2;
    data = mem_realloc(b->data, cap);
    if (!data) {
        b->failed = true;
        return NULL;
    }
    b->data = data;
    b->cap = cap;
    data[b->len] = '\0';
    return data + b->len;
}

void buf_put(struct buf *b, const void *bytes, size_t len)
{
    char *at = buf_reserve(b, len);

    if (!at || len == 0)
        return;
    memcpy(at, bytes, len);
    at[len] = '\0';
    b->len += len;
}

void buf_put_slice(struct buf *b, struct slice s)
{
    buf_put(b, s.data, s.len);
}

void buf_puts(struct buf *b, const char *text)
{
    buf_put(b, text, strlen(text));
}

void buf_putc(struct buf *b, char c)
{
    buf_put(b, &c, 1);
}

struct slice decimal_of(uint64_t n, char room[DECIMAL_BYTES])
{
    size_t at = DECIMAL_BYTES;

    do {
        room[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    return (struct slice){room + at, DECIMAL_BYTES - at};
}

void buf_put_u64(struct buf *b, uint64_t n)
{
    char room[DECIMAL_BYTES];

    buf_put_slice(b, decimal_of(n, room));
}

/* First into what room there is; again if that was not enough, for then the length is known. */
void buf_printf(struct buf *b, const char *format, ...)
{
    char *at = buf_reserve(b, BUF_CAP_MIN - 1);
    locale_t before;
    size_t room;
    va_list args;
    int n;

    if (!at)
        return;
    room = b->cap - b->len;
    before = locale_c_enter();
    va_start(args, format);
    n = vsnprintf(at, room, format, args);
    va_end(args);
    if (n >= 0 && (size_t)n >= room) {
        *at = '\0';
        at = buf_reserve(b, (size_t)n);
        if (at) {
            va_start(args, format);
            n = vsnprintf(at, (size_t)n + 1, format, args);
            va_end(args);
        }
    }
    locale_c_leave(before);
    if (at && n >= 0) {
        b->len += (size_t)n;
    } else if (at) {
        *at = '\0';
        b->failed = true;
    }
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->data)
        b->data[0] = '\0';
}

char *buf_steal(struct buf *b, size_t *ret_len)
{
    char *data;
    size_t len = b->len;

    /* A buffer that nothing was put into still gives a text: the empty one. */
    if (!b->data)
        (void)buf_reserve(b, 0);
    if (b->failed) {
        buf_free(b);
        return NULL;
    }
    data = b->data;
    *b = (struct buf){0};
    if (ret_len)
        *ret_len = len;
    return data;
}

void buf_free(struct buf *b)
{
    mem_free(b->data);
    *b = (struct buf){0};
}
