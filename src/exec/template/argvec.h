/*
 * The words of a command line, built one after the other in memory that is used again for the next
 * one.
 *
 *     struct argvec v = {0};
 *     argvec_put(&v, SLICE("--name="));  argvec_put(&v, name);  argvec_end(&v);      // one word
 *     const char *const *argv = argvec_argv(&v);        // NULL at the end; NULL: memory has run out
 *     argvec_clear(&v);                                 // empty; the memory stays
 *     argvec_free(&v);
 *
 * Words hold no NUL (whoever adds them sees to that). What argvec_argv() gives is valid until the
 * next call. One owner.
 */
#ifndef EXEC_TEMPLATE_ARGVEC_H
#define EXEC_TEMPLATE_ARGVEC_H

#include "base/buf.h"
#include "base/slice.h"

#include <stddef.h>

struct argvec {
    struct buf bytes; /* the words, each with its NUL */
    size_t count;     /* of words that have ended */
    const char **argv;
    size_t cap;
};

/* Appends to the word that is being built. */
void argvec_put(struct argvec *v, struct slice part);
void argvec_end(struct argvec *v);
/* A whole word. */
void argvec_add(struct argvec *v, struct slice word);
const char *const *argvec_argv(struct argvec *v);
void argvec_clear(struct argvec *v);
void argvec_free(struct argvec *v);

#endif
