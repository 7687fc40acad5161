/*
 * The little of a shell's grammar that command lines need: quoting words, and taking a line apart
 * into words.
 *
 *     shell_quote(&out, SLICE("it's"));                       // 'it'"'"'s'
 *     shell_put_line(&out, argv);                             // all words, quoted where they must be, with spaces between
 *     status = shell_split("python3 'my worker.py'", &words, &err);
 *
 * Pure. The words are the caller's (argvec.h).
 */
#ifndef EXEC_TEMPLATE_SHELL_H
#define EXEC_TEMPLATE_SHELL_H

#include "base/buf.h"
#include "base/slice.h"
#include "exec/template/argvec.h"
#include "exec/template/quotes.h"
#include "weir/status.h"

/*
 * Appends the bytes as one word of a POSIX shell. What needs no quotes gets none; the form is that
 * of GNU parallel, so that their command lines compare.
 */
void shell_quote(struct buf *out, struct slice word);
/* Appends the bytes so that a shell which is there (quotes.h; not QUOTES_NOWHERE) takes them as they are. */
void shell_quote_at(struct buf *out, struct slice word, enum quotes_place place);
/* Appends the words of argv (NULL at the end) as a line that a shell reads as these words. */
void shell_put_line(struct buf *out, const char *const *argv);
/*
 * Adds the words of a line, as a shell would see them: white space parts them, '...' keeps all,
 * "..." keeps all but \" \\ \$ \` and a backslash before a line end, \ keeps one character. Nothing
 * is expanded. WEIR_E_INVALID: a quote that does not end, a backslash at the end, or no word at
 * all.
 */
WEIR_MUST_CHECK enum weir_status shell_split(const char *line, struct argvec *ret,
                                             struct weir_error *err);

#endif
