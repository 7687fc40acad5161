#include "cli/client/table.h"

#include "base/mem.h"

#include <assert.h>

#define GAP           2
#define STRETCHED_MIN 8
#define COLUMNS_MAX   24

struct table_cell {
    size_t at, len, width;
    enum table_colour colour;
};

static const char *const colours[] = {
    [TABLE_PLAIN] = "",        [TABLE_GOOD] = "\033[32m", [TABLE_BAD] = "\033[31m",
    [TABLE_BUSY] = "\033[36m", [TABLE_DIM] = "\033[2m",
};

static bool continues(char byte)
{
    return ((unsigned char)byte & 0xc0) == 0x80;
}

size_t table_width(struct slice text)
{
    size_t width = 0;

    for (size_t i = 0; i < text.len; i++)
        width += !continues(text.data[i]);
    return width;
}

void table_put_clean(struct buf *out, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        /* U+0080 to U+009F are control characters, too. */
        bool c1 = byte == 0xc2 && i + 1 < text.len && (unsigned char)text.data[i + 1] < 0xa0;

        if (byte == '\n' || byte == '\t' || byte == '\r')
            buf_putc(out, ' ');
        else if (byte < 0x20 || byte == 0x7f || c1)
            buf_putc(out, '?');
        else
            buf_putc(out, text.data[i]);
        i += c1;
    }
}

void table_put_cut(struct buf *out, struct slice text, size_t width)
{
    size_t at = 0, used = 0;

    if (table_width(text) <= width) {
        buf_put_slice(out, text);
        return;
    }
    if (width == 0)
        return;
    while (used < width - 1) {
        do
            at++;
        while (at < text.len && continues(text.data[at]));
        used++;
    }
    buf_put(out, text.data, at);
    buf_puts(out, "…");
}

void table_put_coloured(struct buf *out, struct slice text, enum table_colour colour, bool on)
{
    if (on && colour != TABLE_PLAIN)
        buf_puts(out, colours[colour]);
    buf_put_slice(out, text);
    if (on && colour != TABLE_PLAIN)
        buf_puts(out, "\033[0m");
}

void table_init(struct table *t, const struct table_column *columns, size_t count)
{
    assert(count > 0 && count <= COLUMNS_MAX);
    *t = (struct table){.columns = columns, .count = count};
}

void table_free(struct table *t)
{
    t->cells = mem_free(t->cells);
    buf_free(&t->text);
    t->cell_count = t->cell_cap = 0;
}

void table_cell(struct table *t, struct slice text, enum table_colour colour)
{
    size_t at = t->text.len;

    if (t->cell_count == t->cell_cap) {
        size_t cap = t->cell_cap ? t->cell_cap * 2 : 64;
        struct table_cell *cells = mem_realloc(t->cells, cap * sizeof *cells);

        if (!cells) {
            t->failed = true;
            return;
        }
        t->cells = cells;
        t->cell_cap = cap;
    }
    table_put_clean(&t->text, text);
    t->failed = t->failed || t->text.failed;
    t->cells[t->cell_count++] = (struct table_cell){
        at, t->text.len - at,
        t->text.len > at ? table_width((struct slice){t->text.data + at, t->text.len - at}) : 0,
        colour};
}

size_t table_rows(const struct table *t)
{
    return t->cell_count / t->count;
}

/* ---- widths ---- */

/* 0: a column that is left out. */
static size_t natural_widths(const struct table *t, size_t widths[COLUMNS_MAX])
{
    size_t all = 0;

    for (size_t k = 0; k < t->count; k++) {
        widths[k] = 0;
        for (size_t row = 0; row < table_rows(t); row++) {
            size_t width = t->cells[row * t->count + k].width;

            widths[k] = width > widths[k] ? width : widths[k];
        }
        if (widths[k] > 0 && strlen(t->columns[k].title) > widths[k])
            widths[k] = strlen(t->columns[k].title);
        all += widths[k] > 0 ? widths[k] + GAP : 0;
    }
    return all > GAP ? all - GAP : 0;
}

/* The widest of those that may, a column at a time; then the last ones go. */
static void squeeze(const struct table *t, size_t widths[COLUMNS_MAX], size_t all, size_t width)
{
    while (all > width) {
        size_t widest = COLUMNS_MAX;

        for (size_t k = 0; k < t->count; k++) {
            if (t->columns[k].stretch && widths[k] > STRETCHED_MIN &&
                (widest == COLUMNS_MAX || widths[k] > widths[widest]))
                widest = k;
        }
        if (widest == COLUMNS_MAX)
            return;
        widths[widest]--;
        all--;
    }
}

static void put_pad(struct buf *out, size_t n)
{
    buf_printf(out, "%*s", (int)n, "");
}

/* One line: titles, or a row. cells NULL: titles. Without blanks at its end. */
static void put_line(const struct table *t, const size_t *widths, const struct table_cell *cells,
                     size_t width, bool colour, struct buf *out)
{
    size_t used = 0, owed = 0;

    for (size_t k = 0; k < t->count; k++) {
        const struct table_cell *cell = cells ? &cells[k] : NULL;
        struct slice text = cell ? (struct slice){t->text.data + cell->at, cell->len}
                                 : slice_of(t->columns[k].title);
        size_t wide = cell ? cell->width : text.len;
        size_t room = widths[k];

        if (room == 0)
            continue;
        if (width > 0 && used + owed + room > width)
            room = width > used + owed ? width - used - owed : 0;
        if (room == 0)
            break;
        wide = wide > room ? room : wide;
        if (wide > 0) {
            _cleanup_buf_ struct buf cut = {0};

            put_pad(out, owed + (t->columns[k].right ? room - wide : 0));
            table_put_cut(&cut, text, room);
            table_put_coloured(out, buf_slice(&cut), cell ? cell->colour : TABLE_DIM, colour);
            out->failed = out->failed || cut.failed;
            used += owed + room;
            owed = (t->columns[k].right ? 0 : room - wide) + GAP;
            used -= t->columns[k].right ? 0 : room - wide;
        } else {
            owed += room + GAP;
        }
    }
    buf_putc(out, '\n');
}

void table_put(const struct table *t, size_t width, bool colour, struct buf *out)
{
    size_t widths[COLUMNS_MAX];
    size_t rows = table_rows(t), all;

    if (rows == 0)
        return;
    all = natural_widths(t, widths);
    if (width > 0)
        squeeze(t, widths, all, width);
    put_line(t, widths, NULL, width, colour, out);
    for (size_t row = 0; row < rows; row++)
        put_line(t, widths, &t->cells[row * t->count], width, colour, out);
    out->failed = out->failed || t->failed;
}
