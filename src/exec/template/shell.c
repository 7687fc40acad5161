/* See shell.h. */
#include "exec/template/shell.h"

#include "base/error.h"

#include <ctype.h>
#include <string.h>

static bool is_plain_byte(unsigned char c)
{
    return c < 0x80 && (isalnum(c) || (c && strchr("-_.+/", c)));
}

static bool is_plain(struct slice word)
{
    for (size_t i = 0; i < word.len; i++) {
        if (!is_plain_byte((unsigned char)word.data[i]))
            return false;
    }
    return word.len > 0;
}

void shell_quote(struct buf *out, struct slice word)
{
    if (is_plain(word)) {
        buf_put_slice(out, word);
        return;
    }
    buf_putc(out, '\'');
    for (size_t i = 0; i < word.len; i++) {
        if (word.data[i] == '\'')
            buf_puts(out, "'\"'\"'");
        else
            buf_putc(out, word.data[i]);
    }
    buf_putc(out, '\'');
}

void shell_quote_at(struct buf *out, struct slice word, enum quotes_place place)
{
    if (place == QUOTES_NONE) {
        shell_quote(out, word);
        return;
    }
    for (size_t i = 0; i < word.len; i++) {
        char c = word.data[i];

        if (place == QUOTES_SINGLE && c == '\'') {
            buf_puts(out, "'\"'\"'");
            continue;
        }
        /* A sum may turn out to be a command in brackets: there all that is not plain is kept from the shell. */
        if (place == QUOTES_SUM ? !is_plain_byte((unsigned char)c)
                                : place == QUOTES_DOUBLE && c && strchr("\"\\$`", c))
            buf_putc(out, '\\');
        buf_putc(out, c);
    }
}

void shell_put_line(struct buf *out, const char *const *argv)
{
    for (size_t i = 0; argv[i]; i++) {
        if (i > 0)
            buf_putc(out, ' ');
        shell_quote(out, slice_of(argv[i]));
    }
}

/* Where a quote that opened at `at` ends; its content is appended. NULL: it does not end. */
static const char *take_quoted(const char *at, struct argvec *ret)
{
    char quote = *at++;

    for (; *at && *at != quote; at++) {
        if (quote == '"' && *at == '\\' && at[1] && strchr("\"\\$`\n", at[1])) {
            at++;
            if (*at == '\n')
                continue;
        }
        argvec_put(ret, (struct slice){at, 1});
    }
    return *at ? at + 1 : NULL;
}

static enum weir_status unended(char quote, const char *line, const char *at,
                                struct weir_error *err)
{
    return error_set(err, WEIR_E_INVALID,
                     "a %s quote in character %zu of \"%.80s\" has no end; close it, or write \\%c",
                     quote == '"' ? "double" : "single", (size_t)(at - line) + 1, line, quote);
}

/* White space, and lines that go on. */
static const char *skip_space(const char *at)
{
    for (;;) {
        at += strspn(at, " \t\n");
        if (at[0] != '\\' || at[1] != '\n')
            return at;
        at += 2;
    }
}

enum weir_status shell_split(const char *line, struct argvec *ret, struct weir_error *err)
{
    const char *at = line;

    while (*(at = skip_space(at))) {
        while (*at && !strchr(" \t\n", *at)) {
            if (*at == '\'' || *at == '"') {
                const char *end = take_quoted(at, ret);

                if (!end)
                    return unended(*at, line, at, err);
                at = end;
                continue;
            }
            if (at[0] == '\\' && at[1] == '\n') {
                at += 2; /* a line that goes on */
                continue;
            }
            if (*at == '\\' && *++at == '\0')
                return error_set(err, WEIR_E_INVALID,
                                 "a backslash at the end of \"%.80s\" stands for nothing; take it "
                                 "away, or write \\\\",
                                 line);
            argvec_put(ret, (struct slice){at++, 1});
        }
        argvec_end(ret);
    }
    if (ret->bytes.failed)
        return error_nomem(err);
    if (ret->count == 0)
        return error_set(err, WEIR_E_INVALID, "it is empty; give a program and its arguments");
    return WEIR_OK;
}
