/*
 * A command line with placeholders: compiled once, filled in for each row.
 *
 *     template_new(&(struct template_options){.words = argv, .word_count = argc}, &t, &err);
 *     status = template_check(t, &row, &err);                 // has the row all that is asked for?
 *     status = template_expand(t, &row, &argvec, &err);       // its command line
 *     t = template_free(t);
 *
 * Placeholders, as in GNU parallel:
 *
 *     {}      the row; where it has several columns and stands alone in its word, each is a word; else with spaces
 *             between. Another spelling may be given (-I)
 *     {.}     without its extension      {/}   without its folder     {//}  its folder      {/.}  both {/} and {.}
 *     {#}     the row's number, from 1   {%}   the number of the place that it runs in, from 1
 *     {2}     the row's second column    {-1}  the last one           {2.} {2/} {2//} {2/.} as above
 *     {name}  the field of a row that is a JSON object; {name.inner} one inside it; {name.} {name/} ... as above
 *
 * A string is put in without its quotes, any other JSON value as it stands. A column that a row
 * does not have is nothing, and a word of it alone is left out; a field that a row does not have
 * makes it a bad row. In a row that is no JSON object {name} stays as it is, and so does whatever
 * else stands in braces. Where a command line has no placeholder for a row, the row becomes its
 * last word (unless `append` is false).
 *
 * With `shell` the words, with spaces between, are a script for sh -c, and what is put in is quoted
 * for it, as the place asks where it stands (quotes.h); where nothing can be put in safely, a
 * placeholder is refused. Behind a $ {name} is the shell's own.
 *
 * Owner: the caller. A compiled template does not change: threads may share it. It refers to the
 * words it was made of.
 */
#ifndef EXEC_TEMPLATE_TEMPLATE_H
#define EXEC_TEMPLATE_TEMPLATE_H

#include "base/slice.h"
#include "exec/template/argvec.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Words and placeholders of a command line; more are refused. */
#define TEMPLATE_PIECES_MAX 65536

struct template_options {
    const char *const *words; /* outlive the template */
    size_t word_count;
    const char *replace; /* what stands for the row; NULL: {} */
    bool shell;
    bool append; /* a row that no placeholder takes becomes the last word */
};

/* What a row gives. */
struct template_row {
    struct slice text;           /* whole */
    const struct slice *columns; /* of the text */
    size_t column_count;         /* >= 1 */
    struct slice object; /* the row as a JSON object (checked, trimmed); empty: it is none */
    uint64_t number;     /* from 1 */
    size_t place;        /* from 1; 0: not known, and {%} stays as it is */
};

struct template;

/* WEIR_E_INVALID: no words, too many, an empty `replace`, or a placeholder where a script can have none. */
WEIR_MUST_CHECK enum weir_status template_new(const struct template_options *o,
                                              struct template **ret, struct weir_error *err);
/* WEIR_E_FORMAT: what the row lacks (a field), or holds (a NUL byte), in words without its place. WEIR_E_NOMEM. */
WEIR_MUST_CHECK enum weir_status
template_check(const struct template *t, const struct template_row *row, struct weir_error *err);
/* Adds the words to `ret`. Errors as of template_check. */
WEIR_MUST_CHECK enum weir_status template_expand(const struct template *t,
                                                 const struct template_row *row, struct argvec *ret,
                                                 struct weir_error *err);
/* Appends the words as plain text with spaces between (of a tag, say); with `shell` as the script. */
WEIR_MUST_CHECK enum weir_status template_put(const struct template *t,
                                              const struct template_row *row, struct buf *out,
                                              struct weir_error *err);
/* Whether a placeholder takes something of this row: else it is appended, or whoever fills in has other use for it. */
bool template_takes(const struct template *t, const struct template_row *row);
/* Whether a row's own {%} can be asked for. */
bool template_wants_place(const struct template *t);
/* Whether fields of a JSON object are asked for, which stay as they are in a row that is none. */
bool template_wants_fields(const struct template *t);
struct template *template_free(struct template *t);

#endif
