/* See quotes.h. Each kind of thing that can be open has a letter; one byte after the other opens and closes them. */
#include "exec/template/quotes.h"

#include <ctype.h>
#include <string.h>

#define SINGLE  '\''
#define DOUBLE  '"'
#define ROUND   '(' /* ( or $( */
#define SUM     '+' /* $(( */
#define CURLY   '{' /* ${ */
#define BACK    '`'
#define COMMENT '#'
#define ANSI    '$' /* $': quotes of some shells, and not of others */

static char innermost(const struct quotes *q)
{
    return q->depth > 0 ? q->open[q->depth - 1] : 0;
}

static bool is_open(const struct quotes *q, char what)
{
    return q->depth > 0 && memchr(q->open, what, q->depth) != NULL;
}

static void push(struct quotes *q, char what)
{
    if (q->depth == QUOTES_DEPTH_MAX)
        q->lost = "inside of too many quotes and brackets";
    else
        q->open[q->depth++] = what;
}

static void pop(struct quotes *q)
{
    q->depth--;
}

/* A `case` has brackets that close and were never opened: in "$(...)" that cannot be told from its end. */
static void end_word(struct quotes *q)
{
    if (q->word_len == 4 && memcmp(q->word, "case", 4) == 0 && is_open(q, DOUBLE))
        q->lost = "behind a `case` in \"$(...)\"";
    q->word_len = 0;
}

/* What $ opens together with the byte behind it; true: it did. */
static bool open_dollar(struct quotes *q, char c)
{
    if (q->before != '$')
        return false;
    if (c == '(')
        push(q, ROUND);
    else if (c == '{')
        push(q, CURLY);
    else if (c == '\'' && innermost(q) != DOUBLE)
        push(q, ANSI);
    else
        return false;
    return true;
}

static bool begins_word(const struct quotes *q)
{
    return q->before == 0 || strchr(" \t\n;&|()", q->before) != NULL;
}

/* << begins a here-document; <<< does not, nor does << in $((...)). */
static void count_angles(struct quotes *q, char c)
{
    q->angles = c == '<' && !is_open(q, SUM) ? q->angles + 1 : 0;
    if (q->angles == 2)
        q->here++;
    else if (q->angles == 3)
        q->here--;
}

/* Outside of quotes, and in $(...). */
static void read_bare(struct quotes *q, char c)
{
    bool ended = !isalnum((unsigned char)c) && c != '_';

    if (ended)
        end_word(q);
    else if (q->word_len < sizeof q->word)
        q->word[q->word_len++] = c;
    count_angles(q, c);
    if (open_dollar(q, c))
        return;
    switch (c) {
    case '\'':
        push(q, SINGLE);
        break;
    case '"':
        push(q, DOUBLE);
        break;
    case '`':
        push(q, BACK);
        break;
    case '(':
        push(q, innermost(q) == ROUND && q->before == '(' ? SUM : ROUND);
        break;
    case ')':
        if (q->depth > 0)
            pop(q);
        break;
    case '#':
        if (begins_word(q))
            push(q, COMMENT);
        break;
    case '\n':
        if (q->here > 0)
            q->lost = "in a here-document or behind it";
        break;
    default:
        break;
    }
}

static void read_double(struct quotes *q, char c)
{
    if (open_dollar(q, c))
        return;
    if (c == '"')
        pop(q);
    else if (c == '`')
        push(q, BACK);
}

/* ${...}: how a single quote counts there depends on what is around it, and on the shell. */
static void read_curly(struct quotes *q, char c)
{
    if (c == '\'')
        q->lost = "behind a quote in ${...}";
    else if (c == '}')
        pop(q);
    else if (c == '"')
        push(q, DOUBLE);
    else if (c == '`')
        push(q, BACK);
    else
        (void)open_dollar(q, c);
}

static void read_byte(struct quotes *q, char c)
{
    char in = innermost(q);

    if (q->escaped) {
        q->escaped = false;
        q->before = 'x'; /* whatever it was, it is text */
        if (in == ANSI && c == '\'')
            q->lost = "behind a quote in $'...'";
        return;
    }
    if (c == '\\' && in != SINGLE && in != COMMENT) {
        end_word(q);
        q->escaped = true;
        return;
    }
    if (in == SINGLE || in == ANSI || in == BACK || in == COMMENT) {
        if (c == (in == COMMENT ? '\n' : in == BACK ? '`' : '\''))
            pop(q);
    } else if (in == DOUBLE) {
        read_double(q, c);
    } else if (in == CURLY) {
        read_curly(q, c);
    } else {
        read_bare(q, c);
    }
    if (c == '\n' && in == COMMENT && q->here > 0)
        q->lost = "in a here-document or behind it";
    q->before = c;
}

void quotes_read(struct quotes *q, struct slice text)
{
    for (size_t i = 0; i < text.len && !q->lost; i++)
        read_byte(q, text.data[i]);
}

void quotes_pass(struct quotes *q)
{
    q->before = 'x';
    q->word_len = sizeof q->word; /* no word that is known */
}

static const char *why_nowhere(const struct quotes *q)
{
    if (q->lost)
        return q->lost;
    if (q->escaped)
        return "behind a backslash";
    if (is_open(q, BACK))
        return "in backquotes (write $(...) instead)";
    if (is_open(q, CURLY))
        return "in ${...}";
    switch (innermost(q)) {
    case ANSI:
        return "in $'...'";
    case COMMENT:
        return "in a comment";
    case SINGLE:
        return NULL;
    default:
        return q->before == '$' ? "behind a $" : NULL;
    }
}

enum quotes_place quotes_place(const struct quotes *q, const char **ret_why)
{
    *ret_why = why_nowhere(q);
    if (*ret_why)
        return QUOTES_NOWHERE;
    switch (innermost(q)) {
    case SINGLE:
        return QUOTES_SINGLE;
    case DOUBLE:
        return QUOTES_DOUBLE;
    case SUM:
        return QUOTES_SUM;
    default:
        return is_open(q, SUM) ? QUOTES_SUM : QUOTES_NONE;
    }
}
