/*
 * Somebody else's text on a screen: so many columns of it and no more, and nothing in it that
 * steers a terminal.
 *
 *     columns = top_put_text(&line, key, 20, utf8);       // at most 20 columns, cut with "…"
 *     top_pad(&line, 20 - columns);
 *
 * Control characters, what turns the direction of writing, what cannot be seen and what is no UTF-8
 * become "?". Wide characters count two columns (wcwidth(), so LC_CTYPE must be that of a UTF-8
 * locale when `utf8` is said). Pure otherwise.
 */
#ifndef CLI_TOP_TEXT_H
#define CLI_TOP_TEXT_H

#include "base/buf.h"

/* Returns the columns that it took. utf8 false: what is not ASCII becomes "?". */
size_t top_put_text(struct buf *out, struct slice text, size_t width, bool utf8);
/* How much of the text goes into that many columns, in bytes; 1 character at least, so that a caller gets on. */
size_t top_fit(struct slice text, size_t width, bool utf8);
void top_pad(struct buf *out, size_t columns);
/* "0.4s", "12s", "3m05s", "2h10m", "5d03h": 7 columns at most. */
void top_put_duration(struct buf *out, double seconds);
/* "[####....]", `width` columns with the brackets, of which there are 3 at least. share: 0 to 1, what is beyond is cut. */
void top_put_bar(struct buf *out, double share, size_t width, bool utf8);

#endif
