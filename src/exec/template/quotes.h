/*
 * Where a place in a script of sh stands: outside of quotes, in quotes, or where nothing can be put
 * in that the shell would surely leave alone.
 *
 *     struct quotes q = {0};
 *     quotes_read(&q, SLICE("echo \""));
 *     quotes_place(&q, &why);                 // QUOTES_DOUBLE
 *
 * What is put into a script is quoted for the shell, and how depends on the quotes that are open
 * there: 'a b' inside of "..." would be read as text with two quotes in it, and $(...) in it be
 * run. It follows quotes, $(...), ${...}, $((...)), backquotes, comments and here-documents. Of
 * what is too involved it says QUOTES_NOWHERE, rather than something wrong.
 *
 * Owner: the caller; nothing is to be freed.
 */
#ifndef EXEC_TEMPLATE_QUOTES_H
#define EXEC_TEMPLATE_QUOTES_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>

/* Quotes and brackets that are open at once; beyond it nothing is known any more. */
#define QUOTES_DEPTH_MAX 32

enum quotes_place {
    QUOTES_NONE,
    QUOTES_SINGLE,
    QUOTES_DOUBLE,
    QUOTES_SUM,     /* $((...)) */
    QUOTES_NOWHERE, /* nothing can be put in */
};

/* All zero: the beginning of a script. */
struct quotes {
    char open[QUOTES_DEPTH_MAX]; /* what is open, the innermost last */
    size_t depth;
    char before;   /* the byte before, or 0 */
    bool escaped;  /* behind a backslash */
    size_t here;   /* here-documents that begin with the next line */
    size_t angles; /* < in a row */
    char word[8];  /* the letters before, as far as they fit */
    size_t word_len;
    const char *lost; /* from here on nothing is known; why */
};

void quotes_read(struct quotes *q, struct slice text);
/* Something was put in here. */
void quotes_pass(struct quotes *q);
/* With QUOTES_NOWHERE *ret_why says where this is: "in a comment". */
enum quotes_place quotes_place(const struct quotes *q, const char **ret_why);

#endif
