/*
 * Memory, with a switch that makes it fail on demand.
 *
 * All of weir allocates through these functions. A test arms mem_fail_at(n): the n-th allocation
 * from then on returns NULL (and only that one), so that a sweep over n shows that each failure is
 * survived. Thread-safe.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

void *mem_alloc(size_t size) __attribute__((malloc, alloc_size(1)));
void *mem_calloc(size_t count, size_t size) __attribute__((malloc, alloc_size(1, 2)));
void *mem_realloc(void *old, size_t size) __attribute__((alloc_size(2)));
/* A NUL-terminated copy of len bytes; the bytes may hold NULs. */
char *mem_copy(const void *bytes, size_t len) __attribute__((malloc));
char *mem_strdup(const char *text) __attribute__((malloc));
/* free(), NULL-safe; returns NULL so that `p = mem_free(p)` reads as what it does. */
void *mem_free(void *p);

/* For `_cleanup_mem_ char *p = NULL;`: freed when the name goes out of scope. */
void mem_free_at(void *p_to_pointer);
#define _cleanup_mem_ __attribute__((cleanup(mem_free_at)))

/* Tests only. Arms the failure of the n-th allocation from now (1 is the next); 0 disarms. */
void mem_fail_at(unsigned long n);
/* Tests only. Whether the armed failure has happened. */
int mem_has_failed(void);

#endif
