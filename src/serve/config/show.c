/*
 * See show.h.
 */
#include "serve/config/show.h"

#include "serve/config/config.h"
#include "serve/config/value.h"

#include <inttypes.h>
#include <string.h>

#define HIDDEN "(hidden)"

static void put_indent(size_t indent, struct buf *out)
{
    for (size_t i = 0; i < indent; i++)
        buf_putc(out, ' ');
}

static void put_words(const struct config_words *words, struct buf *out)
{
    buf_puts(out, "[");
    for (size_t i = 0; i < words->count; i++) {
        buf_puts(out, i > 0 ? ", " : "");
        config_text_put(words->items[i], out);
    }
    buf_puts(out, "]\n");
}

static void put_numbers(const struct config_numbers *numbers, struct buf *out)
{
    buf_puts(out, "[");
    for (size_t i = 0; i < numbers->count; i++)
        buf_printf(out, "%s%" PRId64, i > 0 ? ", " : "", numbers->items[i]);
    buf_puts(out, "]\n");
}

/* The name of a variable is no secret. */
static bool is_reference(const char *value)
{
    return strncmp(value, "env:", 4) == 0 || strncmp(value, "Bearer env:", 11) == 0;
}

static void put_pairs(const struct config_pairs *pairs, size_t indent, bool hide, struct buf *out)
{
    buf_putc(out, '\n');
    for (size_t i = 0; i < pairs->count; i++) {
        const struct config_pair *p = &pairs->items[i];
        bool hidden = hide && config_names_secret(p->name) && !is_reference(p->value);

        put_indent(indent + 2, out);
        config_text_put(p->name, out);
        buf_puts(out, ": ");
        config_text_put(hidden ? HIDDEN : p->value, out);
        buf_putc(out, '\n');
    }
}

static void put_group(const struct config_group *g, const void *in, size_t indent, bool hide,
                      struct buf *out)
{
    for (size_t i = 0; i < g->count; i++)
        show_field(g, &g->fields[i], in, indent, hide, out);
}

/* "- name: a", and its other fields below it. */
static void put_groups(const struct config_group *g, const struct config_words *list, size_t indent,
                       bool hide, struct buf *out)
{
    const char *items = (const char *)list->items;

    buf_putc(out, '\n');
    for (size_t i = 0; i < list->count; i++) {
        size_t mark = out->len;

        put_group(g, items + i * g->size, indent + 4, hide, out);
        /* The first line's spaces make room for the dash. */
        if (!out->failed && out->len > mark)
            out->data[mark + indent + 2] = '-';
    }
}

static bool is_there(const struct config_group *g, const struct config_field *f, const void *in)
{
    const struct config_field *selector = g->selector ? config_field_find(g, g->selector) : NULL;

    if (selector && f->only &&
        !(f->only & 1U << *(const int *)((const char *)in + selector->offset)))
        return false;
    return config_value_given(f, in);
}

void show_field(const struct config_group *g, const struct config_field *f, const void *in,
                size_t indent, bool hide, struct buf *out)
{
    const void *at = (const char *)in + f->offset;
    size_t mark = out->len, empty;

    if (!is_there(g, f, in))
        return;
    put_indent(indent, out);
    buf_printf(out, "%s:", f->key);
    switch (f->type) {
    case CONFIG_GROUP:
        buf_putc(out, '\n');
        empty = out->len;
        put_group(f->group, at, indent + 2, hide, out);
        /* A group of which nothing was given is not there. */
        if (out->len == empty && !out->failed) {
            out->len = mark;
            out->data[mark] = '\0';
        }
        break;
    case CONFIG_GROUPS:
        put_groups(f->group, at, indent, hide, out);
        break;
    case CONFIG_PAIRS:
        put_pairs(at, indent, hide && f->secret, out);
        break;
    case CONFIG_WORDS:
    case CONFIG_LINE:
        buf_putc(out, ' ');
        put_words(at, out);
        break;
    case CONFIG_NUMBERS:
        buf_putc(out, ' ');
        put_numbers(at, out);
        break;
    default:
        buf_putc(out, ' ');
        if (hide && f->secret)
            buf_puts(out, "\"" HIDDEN "\"");
        else
            config_value_put(f, in, out);
        buf_putc(out, '\n');
        break;
    }
}

void config_show(const struct config *c, struct buf *out)
{
    put_group(&config_schema, c, 0, true, out);
}
