/*
 * See combine.h. A group is a list with those that are linked to it; a row has one number for each
 * group, as a number has digits.
 */
#include "cli/input/combine.h"

#include "base/error.h"
#include "base/mem.h"
#include "cli/input/lines.h"

#include <string.h>

struct values {
    size_t first, count; /* in the places of the whole */
    bool linked;
};

struct combine {
    struct buf bytes; /* all values, each with a NUL behind it */
    size_t *places;   /* where each begins */
    size_t place_count, place_cap;
    struct values lists[COMBINE_LISTS_MAX];
    size_t list_count;
    uint64_t max_args;
    uint64_t rows;
};

bool combine_is_mark(const char *word)
{
    return strcmp(word, ":::") == 0 || strcmp(word, ":::+") == 0 || strcmp(word, "::::") == 0 ||
           strcmp(word, "::::+") == 0;
}

/* ---- making ---- */

static enum weir_status add_list(struct combine *c, bool linked, struct weir_error *err)
{
    if (c->list_count == COMBINE_LISTS_MAX)
        return error_set(err, WEIR_E_LIMIT, "more than %d lists of values", COMBINE_LISTS_MAX);
    if (linked && c->list_count == 0)
        return error_set(err, WEIR_E_INVALID,
                         "the first list of values is linked to none; write ::: or ::::");
    c->lists[c->list_count++] = (struct values){.first = c->place_count, .linked = linked};
    return WEIR_OK;
}

static enum weir_status add_value(struct combine *c, struct slice value, struct weir_error *err)
{
    if (c->bytes.len + value.len + 1 > COMBINE_BYTES_MAX)
        return error_set(err, WEIR_E_LIMIT,
                         "the values take more than %llu MiB, all of which are held in memory; "
                         "name the largest file as an input (FILE or -a FILE), alone",
                         (unsigned long long)(COMBINE_BYTES_MAX >> 20));
    if (c->place_count == c->place_cap) {
        size_t cap = c->place_cap ? c->place_cap * 2 : 64;
        size_t *places = mem_realloc(c->places, cap * sizeof(*places));

        if (!places)
            return error_nomem(err);
        c->places = places;
        c->place_cap = cap;
    }
    c->places[c->place_count++] = c->bytes.len;
    c->lists[c->list_count - 1].count++;
    buf_put_slice(&c->bytes, value);
    buf_putc(&c->bytes, '\0');
    return c->bytes.failed ? error_nomem(err) : WEIR_OK;
}

static enum weir_status add_file(struct combine *c, const struct combine_options *o,
                                 const char *file, struct weir_error *err)
{
    const char *const files[] = {file};
    struct lines_options lines_options = {.files = files,
                                          .file_count = 1,
                                          .line_max_bytes = COMBINE_BYTES_MAX,
                                          .stdin_fd = o->stdin_fd,
                                          .stop_fd = -1,
                                          .nul = o->nul};
    struct lines *lines = NULL;
    struct line line;
    enum weir_status status = lines_open(&lines_options, &lines, err);

    while (status == WEIR_OK) {
        status = lines_next(lines, &line, err);
        if (status == WEIR_OK && memchr(line.text.data, '\0', line.text.len))
            status = error_set(err, WEIR_E_FORMAT,
                               "%.200s:%llu: a NUL byte, which no argument can hold; if values end "
                               "at NUL bytes, give --null",
                               lines_name(file), (unsigned long long)line.number);
        if (status == WEIR_OK)
            status = add_value(c, line.text, err);
    }
    lines_close(lines);
    return status == WEIR_E_END ? WEIR_OK : status;
}

/* The words from a mark on, up to the next one; moves on. */
static enum weir_status read_lists(struct combine *c, const struct combine_options *o, size_t *at,
                                   struct weir_error *err)
{
    const char *mark = o->words[(*at)++];
    bool linked = mark[strlen(mark) - 1] == '+', files = mark[3] == ':', any = false;
    enum weir_status status = WEIR_OK;

    if (!files)
        status = add_list(c, linked, err);
    for (; status == WEIR_OK && *at < o->count && !combine_is_mark(o->words[*at]); (*at)++) {
        const char *word = o->words[*at];

        any = true;
        if (files)
            status = add_list(c, linked, err);
        if (status == WEIR_OK)
            status = files ? add_file(c, o, word, err) : add_value(c, slice_of(word), err);
    }
    if (status == WEIR_OK && files && !any)
        return error_set(err, WEIR_E_INVALID, "%s needs a file: %s FILE", mark, mark);
    return status;
}

/* How many values the group that begins with this list has; ret_next: the list behind it. */
static uint64_t group_size(const struct combine *c, size_t list, size_t *ret_next)
{
    uint64_t size = c->lists[list].count;

    for (list++; list < c->list_count && c->lists[list].linked; list++)
        if (c->lists[list].count < size)
            size = c->lists[list].count;
    *ret_next = list;
    return size;
}

static enum weir_status count_rows(struct combine *c, struct weir_error *err)
{
    if (c->max_args > 1) {
        if (c->list_count > 1)
            return error_set(err, WEIR_E_INVALID,
                             "--max-args: there are several lists of values; give one");
        c->rows = (c->lists[0].count + c->max_args - 1) / c->max_args;
        return WEIR_OK;
    }
    c->rows = 1;
    for (size_t i = 0; i < c->list_count;) {
        uint64_t size = group_size(c, i, &i);

        if (size > 0 && c->rows > COMBINE_ROWS_MAX / size)
            return error_set(err, WEIR_E_LIMIT, "more than %llu combinations",
                             (unsigned long long)COMBINE_ROWS_MAX);
        c->rows *= size;
    }
    return WEIR_OK;
}

enum weir_status combine_new(const struct combine_options *o, struct combine **ret,
                             struct weir_error *err)
{
    struct combine *c = mem_calloc(1, sizeof(*c));
    enum weir_status status = c ? WEIR_OK : error_nomem(err);

    if (c)
        c->max_args = o->max_args ? o->max_args : 1;
    for (size_t at = 0; status == WEIR_OK && at < o->count;)
        status = read_lists(c, o, &at, err);
    if (status == WEIR_OK)
        status = count_rows(c, err);
    if (status != WEIR_OK) {
        combine_free(c);
        return status;
    }
    *ret = c;
    return WEIR_OK;
}

struct combine *combine_free(struct combine *c)
{
    if (c) {
        buf_free(&c->bytes);
        mem_free(c->places);
    }
    return mem_free(c);
}

/* ---- asking ---- */

uint64_t combine_rows(const struct combine *c)
{
    return c->rows;
}

static void put_value(const struct combine *c, size_t place, bool first, struct buf *out)
{
    if (!first)
        buf_putc(out, '\0');
    buf_puts(out, c->bytes.data + c->places[place]);
}

void combine_row(const struct combine *c, uint64_t row, struct buf *out)
{
    uint64_t below = c->rows; /* combinations of the groups behind */

    if (c->max_args > 1) {
        for (uint64_t i = 0; i < c->max_args && row * c->max_args + i < c->place_count; i++)
            put_value(c, (size_t)(row * c->max_args + i), i == 0, out);
        return;
    }
    for (size_t i = 0; i < c->list_count;) {
        size_t next;
        uint64_t size = group_size(c, i, &next), digit;

        below /= size;
        digit = row / below % size;
        for (; i < next; i++)
            put_value(c, c->lists[i].first + (size_t)digit, i == 0, out);
    }
}
