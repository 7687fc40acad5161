/*
 * A byte buffer that grows.
 *
 *     struct buf b = {0};
 *     buf_put(&b, "{\"index\":", 9);
 *     buf_printf(&b, "%zu}", index);
 *     if (b.failed) ...            // any append since the last buf_clear ran out of memory
 *     buf_free(&b);
 *
 * Appends never have to be checked one by one: after a failure the buffer stays as it was, takes
 * nothing more, and says so in `failed`. data[len] is always a NUL when data is not NULL. One
 * owner; not thread-safe.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    char *data;
    size_t len;
    size_t cap;
    bool failed;
};

void buf_put(struct buf *b, const void *bytes, size_t len);
void buf_put_slice(struct buf *b, struct slice s);
void buf_puts(struct buf *b, const char *text);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Digits of the largest number: 2^64 - 1. */
#define DECIMAL_BYTES 20
/* The number in decimal digits, which stand somewhere in `room`. */
struct slice decimal_of(uint64_t n, char room[DECIMAL_BYTES]);
/* Appends them: for what is written for each row, where buf_printf would cost. */
void buf_put_u64(struct buf *b, uint64_t n);
/* Room for `extra` more bytes (and a NUL) at data + len; the caller writes there and adds to len.
 * NULL: no memory. */
char *buf_reserve(struct buf *b, size_t extra);
/* Empties; keeps the memory and forgets a failure. */
void buf_clear(struct buf *b);
/* Hands the bytes over (NUL-terminated, to be freed with mem_free); the buffer is empty afterwards.
 * NULL if it failed. */
char *buf_steal(struct buf *b, size_t *ret_len);
void buf_free(struct buf *b);

static inline struct slice buf_slice(const struct buf *b)
{
    return (struct slice){b->data ? b->data : "", b->len};
}

#define _cleanup_buf_ __attribute__((cleanup(buf_free)))

#endif
