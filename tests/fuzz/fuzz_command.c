/*
 * Command lines and rows of any bytes: placeholders, columns, quoting, splitting, job logs.
 * Whatever comes in, what is put into a command line comes out of a shell's reading of it as the
 * same words.
 *
 * The input: a byte of switches, then three parts with a NUL between: a template's words (a line
 * each), a regular expression, and the row.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/command/columns.h"
#include "cli/command/joblog.h"
#include "cli/command/values.h"
#include "exec/template/shell.h"
#include "exec/template/template.h"

#define WORDS_MAX 16
/* glibc's expressions may take exponential time and memory: what is tried here is ours. */
#define REGEX_BYTES_MAX 12

static void must(int holds)
{
    if (!holds)
        abort();
}

static void check_words(const char *const *argv)
{
    struct buf line = {0};
    struct argvec again = {0};
    const char *const *words;
    size_t i = 0;

    shell_put_line(&line, argv);
    must(shell_split(line.data, &again, NULL) == WEIR_OK);
    words = argvec_argv(&again);
    for (; argv[i]; i++)
        must(words[i] && strcmp(words[i], argv[i]) == 0);
    must(!words[i]);
    buf_free(&line);
    argvec_free(&again);
}

static void expand(const struct template_options *o, struct slice text,
                   const struct column_list *columns)
{
    struct template_row row = {.text = text,
                               .columns = columns->items,
                               .column_count = columns->count,
                               .number = 3,
                               .place = 2};
    struct template *t = NULL;
    struct argvec v = {0};
    struct weir_error err = {0};
    enum weir_status status;

    if (text.len > 0 && text.data[0] == '{' && json_check(text, NULL))
        row.object = json_trim(text);
    must(template_new(o, &t, &err) == WEIR_OK);
    status = template_expand(t, &row, &v, &err);
    must(status == WEIR_OK || (status == WEIR_E_FORMAT && row.object.len > 0));
    must(status == template_check(t, &row, NULL));
    if (status == WEIR_OK && argvec_argv(&v)[0])
        check_words(argvec_argv(&v));
    argvec_free(&v);
    template_free(t);
}

static void try_columns(const char *regex, struct slice text, struct column_list *columns)
{
    struct columns *c = NULL;
    size_t bytes = 0;

    if (strlen(regex) > REGEX_BYTES_MAX || strpbrk(regex, "*+{?") ||
        columns_new(regex, &c, NULL) != WEIR_OK) {
        must(columns_split_nul(text, columns));
        return;
    }
    must(columns_split(c, text, columns));
    must(columns->count >= 1);
    for (size_t i = 0; i < columns->count; i++) {
        must(columns->items[i].data >= text.data + bytes);
        bytes = (size_t)(columns->items[i].data - text.data) + columns->items[i].len;
    }
    must(bytes <= text.len);
    columns_free(c);
}

static void try_texts(const char *text, struct slice row)
{
    struct argvec words = {0};
    struct term_seq seq;
    struct exit_set exits;
    struct timeout_value timeout;
    struct joblog_done done = {0};
    struct buf log = {0};
    uint64_t bytes = 0;

    if (shell_split(text, &words, NULL) == WEIR_OK)
        check_words(argvec_argv(&words));
    argvec_free(&words);
    if (values_term_seq(text, &seq, NULL) == WEIR_OK)
        must(seq.count >= 1 && seq.count <= TERM_SEQ_MAX);
    if (values_exits(text, &exits, NULL) == WEIR_OK)
        must(!exit_set_has(&exits, 0));
    if (values_timeout(text, &timeout, NULL) == WEIR_OK)
        must(timeout.time_ns >= 0 && (timeout.share == 0 || timeout.share >= 1));
    joblog_put_head(&log);
    buf_put_slice(&log, row);
    if (joblog_done_read(&done, buf_slice(&log), text[0] & 1, &bytes, NULL) == WEIR_OK)
        must(bytes <= log.len && (bytes == log.len || log.data[log.len - 1] != '\n'));
    joblog_done_free(&done);
    buf_free(&log);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *words[WORDS_MAX];
    struct template_options o = {.words = words};
    struct column_list columns = {0};
    char *text = malloc(size + 3);
    char *regex, *row, *rest;
    size_t row_len;

    must(text != NULL);
    if (size == 0) {
        free(text);
        return 0;
    }
    memcpy(text, data + 1, size - 1);
    memset(text + size - 1, 0, 4 - 1);
    o.shell = data[0] & 1;
    o.append = data[0] & 2;
    o.replace = data[0] & 4 ? "," : NULL;
    regex = text + strlen(text) + 1;
    if (regex > text + size)
        regex = text + size;
    row = regex + strlen(regex) + 1;
    if (row > text + size)
        row = text + size;
    row_len = (size_t)(text + size - row);
    rest = text;
    for (char *word; o.word_count < WORDS_MAX && (word = strsep(&rest, "\n"));)
        words[o.word_count++] = word;
    /* As rows are built: a NUL stands only between parts, so that no column has one. */
    if (memchr(row, '\0', row_len))
        must(columns_split_nul((struct slice){row, row_len}, &columns));
    else
        try_columns(regex, (struct slice){row, row_len}, &columns);
    expand(&o, (struct slice){row, row_len}, &columns);
    try_texts(words[0], (struct slice){row, row_len});
    column_list_free(&columns);
    free(text);
    return 0;
}
