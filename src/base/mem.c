/*
 * Memory, with a switch that makes it fail on demand. Unarmed, the switch costs one relaxed load
 * per allocation; the C library does the rest. Thread-safe.
 */
#include "base/mem.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The only state here, and only tests change it: allocations left until the one that fails (0:
 * not armed), and whether it has come. */
static atomic_ulong fail_countdown;
static atomic_int has_failed;

static bool must_fail(void)
{
    unsigned long left = atomic_load_explicit(&fail_countdown, memory_order_relaxed);

    while (left > 0) {
        if (atomic_compare_exchange_weak(&fail_countdown, &left, left - 1)) {
            if (left > 1)
                return false;
            atomic_store(&has_failed, 1);
            return true;
        }
    }
    return false;
}

/* A size of 0 gives a pointer of its own, so that NULL always means that memory ran out. */
void *mem_alloc(size_t size)
{
    return must_fail() ? NULL : malloc(size ? size : 1);
}

void *mem_calloc(size_t count, size_t size)
{
    size_t bytes;

    if (must_fail() || __builtin_mul_overflow(count, size, &bytes))
        return NULL;
    return bytes ? calloc(count, size) : calloc(1, 1);
}

void *mem_realloc(void *old, size_t size)
{
    return must_fail() ? NULL : realloc(old, size ? size : 1);
}

char *mem_copy(const void *bytes, size_t len)
{
    char *copy;

    if (len == SIZE_MAX)
        return NULL;
    copy = mem_alloc(len + 1);
    if (!copy)
        return NULL;
    if (len > 0)
        memcpy(copy, bytes, len);
    copy[len] = '\0';
    return copy;
}

char *mem_strdup(const char *text)
{
    return mem_copy(text, strlen(text));
}

void *mem_free(void *p)
{
    free(p);
    return NULL;
}

void mem_free_at(void *p_to_pointer)
{
    void *p;

    /* Through memcpy, since the pointer there is of some other type than void *. */
    memcpy(&p, p_to_pointer, sizeof(p));
    free(p);
}

void mem_fail_at(unsigned long n)
{
    atomic_store(&has_failed, 0);
    atomic_store(&fail_countdown, n);
}

int mem_has_failed(void)
{
    return atomic_load(&has_failed);
}
