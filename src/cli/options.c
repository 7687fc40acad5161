/*
 * The parser and the help text of options.h: one walk over argv, one walk over the table.
 */
#include "cli/options.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/nearest.h"
#include "base/parse.h"

#include <stdint.h>
#include <string.h>

/* Column where help texts begin; an option that reaches it gets a line of its own. */
#define HELP_COLUMN    28
#define HELP_WIDTH_MIN 40
/* Longer words are not looked up: nobody mistypes 40 letters by one. */
#define NEAREST_BYTES_MAX 40

struct parser {
    const struct options_table *table;
    int argc;
    char **argv;
    int at; /* of the argument to look at next */
    char *into;
};

void option_list_free(struct option_list *list)
{
    list->items = mem_free(list->items);
    list->count = 0;
}

enum weir_status option_list_add(struct option_list *list, const char *item, struct weir_error *err)
{
    /* The capacity is the count rounded up to a power of two, so there is no need to keep it. */
    if ((list->count & (list->count - 1)) == 0) {
        size_t cap = list->count ? list->count * 2 : 1;
        const char **items = mem_realloc(list->items, cap * sizeof(*items));

        if (!items)
            return error_nomem(err);
        list->items = items;
    }
    list->items[list->count++] = item;
    return WEIR_OK;
}

void options_given_free(struct options_given *given)
{
    given->items = mem_free(given->items);
    given->count = 0;
}

const struct option_spec *options_find_given(const struct options_given *given, const char *name)
{
    for (size_t i = given->count; i > 0; i--) {
        if (strcmp(given->items[i - 1]->name, name) == 0)
            return given->items[i - 1];
    }
    return NULL;
}

/* The capacity is the count rounded up to a power of two, as of a list. */
static enum weir_status note_given(struct options_given *given, const struct option_spec *spec,
                                   struct weir_error *err)
{
    if ((given->count & (given->count - 1)) == 0) {
        size_t cap = given->count ? given->count * 2 : 1;
        const struct option_spec **items = mem_realloc(given->items, cap * sizeof(*items));

        if (!items)
            return error_nomem(err);
        given->items = items;
    }
    given->items[given->count++] = spec;
    return WEIR_OK;
}

/* ---- names ---- */

const char *options_nearest(const char *word, const char *const *names)
{
    return nearest_name(word, names);
}

/* An option, and where the struct begins that its offset counts from. */
struct found {
    const struct option_spec *spec; /* NULL: there is none */
    size_t at;
};

static struct found find_long(const struct options_table *table, const char *name, size_t len)
{
    for (size_t p = 0; p < table->part_count; p++) {
        const struct options_part *part = &table->parts[p];

        for (size_t i = 0; i < part->count; i++) {
            const char *candidate = part->specs[i].name;

            if (strncmp(candidate, name, len) == 0 && candidate[len] == '\0')
                return (struct found){&part->specs[i], part->at};
        }
    }
    return (struct found){0};
}

static struct found find_letter(const struct options_table *table, char letter)
{
    for (size_t p = 0; p < table->part_count; p++) {
        const struct options_part *part = &table->parts[p];

        for (size_t i = 0; i < part->count; i++) {
            if (part->specs[i].letter && part->specs[i].letter == letter)
                return (struct found){&part->specs[i], part->at};
        }
    }
    return (struct found){0};
}

/* All long names, NULL at the end; NULL: no memory. */
static const char **all_names(const struct options_table *table)
{
    size_t count = 0;
    const char **names;

    for (size_t p = 0; p < table->part_count; p++)
        count += table->parts[p].count;
    names = mem_calloc(count + 1, sizeof(*names));
    if (!names)
        return NULL;
    count = 0;
    for (size_t p = 0; p < table->part_count; p++) {
        for (size_t i = 0; i < table->parts[p].count; i++)
            names[count++] = table->parts[p].specs[i].name;
    }
    return names;
}

static enum weir_status unknown_long(const struct options_table *table, const char *name,
                                     size_t len, struct weir_error *err)
{
    char word[NEAREST_BYTES_MAX + 1];
    const char **names = NULL;
    const char *nearest = NULL;

    if (len <= NEAREST_BYTES_MAX) {
        memcpy(word, name, len);
        word[len] = '\0';
        names = all_names(table);
        if (!names)
            return error_nomem(err);
        nearest = options_nearest(word, names);
        mem_free(names);
    }
    if (nearest)
        return error_set(err, WEIR_E_INVALID, "unknown option --%.*s; did you mean --%s?", (int)len,
                         name, nearest);
    return error_set(err, WEIR_E_INVALID, "unknown option --%.*s; %s --help lists all",
                     (int)(len < 100 ? len : 100), name, table->command);
}

/* ---- values ---- */

static enum weir_status store_choice(const struct option_spec *spec, int *field, const char *value,
                                     struct weir_error *err)
{
    const char *at = spec->choices;
    size_t value_len = strlen(value);

    for (int i = 0;; i++) {
        size_t len = strcspn(at, "|");

        if (len == value_len && memcmp(at, value, len) == 0) {
            *field = i;
            return WEIR_OK;
        }
        at += len;
        if (*at++ == '\0')
            break;
    }
    return error_set(err, WEIR_E_INVALID, "\"%.60s\" is none of %s", value, spec->choices);
}

static enum weir_status store_duration(const struct option_spec *spec, duration_ns *field,
                                       const char *value, struct weir_error *err)
{
    duration_ns d;
    enum weir_status status = parse_duration(value, &d, err);
    double seconds;

    if (status != WEIR_OK)
        return status;
    seconds = duration_seconds(d);
    if (seconds < spec->min || (spec->max > 0 && seconds > spec->max))
        return error_set(err, WEIR_E_INVALID, "%s is out of range; it must be %gs to %gs", value,
                         spec->min, spec->max > 0 ? spec->max : 9e9);
    *field = d;
    return WEIR_OK;
}

static enum weir_status store_size(const struct option_spec *spec, uint64_t *field,
                                   const char *value, struct weir_error *err)
{
    uint64_t bytes;
    enum weir_status status = parse_size(value, &bytes, err);

    if (status != WEIR_OK)
        return status;
    if ((double)bytes < spec->min || (spec->max > 0 && (double)bytes > spec->max))
        return error_set(err, WEIR_E_INVALID, "%s is out of range; it must be %.0f to %.0f bytes",
                         value, spec->min, spec->max > 0 ? spec->max : 1.8e19);
    *field = bytes;
    return WEIR_OK;
}

static enum weir_status store_value(const struct option_spec *spec, char *into, const char *value,
                                    struct weir_error *err)
{
    void *field = into + spec->at;
    bool unbounded = spec->min == 0 && spec->max == 0;

    switch (spec->kind) {
    case OPTION_FLAG:
        *(bool *)field = true;
        return WEIR_OK;
    case OPTION_TEXT:
        *(const char **)field = value;
        return WEIR_OK;
    case OPTION_LIST:
        return option_list_add(field, value, err);
    case OPTION_COUNT:
        return parse_count(value, (int64_t)spec->min, unbounded ? INT64_MAX : (int64_t)spec->max,
                           field, err);
    case OPTION_NUMBER:
        return parse_number(value, spec->min, unbounded ? 1e300 : spec->max, field, err);
    case OPTION_DURATION:
        return store_duration(spec, field, value, err);
    case OPTION_SIZE:
        return store_size(spec, field, value, err);
    case OPTION_CHOICE:
        return store_choice(spec, field, value, err);
    case OPTION_PAIR: {
        enum weir_status status = option_list_add(field, spec->name, err);

        return status == WEIR_OK ? option_list_add(field, value, err) : status;
    }
    case OPTION_SET:
        return spec->set(into, value, err);
    }
    return error_set(err, WEIR_E_INTERNAL, "an option of no kind");
}

static enum weir_status store_named(struct parser *p, const struct found *found, const char *value,
                                    struct weir_error *err)
{
    const struct option_spec *spec = found->spec;
    enum weir_status status = store_value(spec, p->into + found->at, value, err);

    if (status != WEIR_OK && status != WEIR_E_NOMEM)
        error_prefix(err, "--%s", spec->name);
    if (status == WEIR_OK && p->table->notes_given)
        status = note_given((void *)(p->into + p->table->given_at), spec, err);
    return status;
}

/* The argument that stands by itself behind an option. */
static enum weir_status take_argument(struct parser *p, const struct option_spec *spec,
                                      const char **ret, struct weir_error *err)
{
    const char *next = p->at < p->argc ? p->argv[p->at] : NULL;

    if (!next)
        return error_set(err, WEIR_E_INVALID, "--%s needs an argument: --%s %s", spec->name,
                         spec->name, spec->argument);
    if (next[0] == '-' && next[1] == '-' &&
        (next[2] == '\0' || find_long(p->table, next + 2, strcspn(next + 2, "=")).spec))
        return error_set(
            err, WEIR_E_INVALID,
            "--%s needs an argument, but %.60s follows; write --%s=%.60s if that is it", spec->name,
            next, spec->name, next);
    p->at++;
    *ret = next;
    return WEIR_OK;
}

static enum weir_status parse_long(struct parser *p, const char *name, struct weir_error *err)
{
    size_t len = strcspn(name, "=");
    struct found found = find_long(p->table, name, len);
    const struct option_spec *spec = found.spec;
    const char *value = NULL;

    if (!spec)
        return unknown_long(p->table, name, len, err);
    if (!spec->argument) {
        if (name[len] == '=')
            return error_set(err, WEIR_E_INVALID, "--%s takes no argument", spec->name);
    } else if (name[len] == '=') {
        value = name + len + 1;
    } else {
        enum weir_status status = take_argument(p, spec, &value, err);

        if (status != WEIR_OK)
            return status;
    }
    return store_named(p, &found, value, err);
}

static enum weir_status parse_letters(struct parser *p, const char *letters, struct weir_error *err)
{
    for (; *letters; letters++) {
        struct found found = find_letter(p->table, *letters);
        const struct option_spec *spec = found.spec;
        const char *value = NULL;
        enum weir_status status = WEIR_OK;
        bool rest_is_value;

        if (!spec)
            return error_set(err, WEIR_E_INVALID, "unknown option -%c; %s --help lists all",
                             *letters >= 0x20 && *letters < 0x7f ? *letters : '?',
                             p->table->command);
        rest_is_value = spec->argument && letters[1];
        if (rest_is_value)
            value = letters[1] == '=' ? letters + 2 : letters + 1;
        else if (spec->argument)
            status = take_argument(p, spec, &value, err);
        if (status == WEIR_OK)
            status = store_named(p, &found, value, err);
        if (status != WEIR_OK || rest_is_value)
            return status;
    }
    return WEIR_OK;
}

static enum weir_status add_positional(struct parser *p, const char *text, struct weir_error *err)
{
    if (!p->table->takes_positional)
        return error_set(err, WEIR_E_INVALID, "\"%.100s\" is not expected here; %s takes no files",
                         text, p->table->command);
    return option_list_add((void *)(p->into + p->table->positional_at), text, err);
}

/* What stands behind `--`, from argv[at] on. */
static enum weir_status take_rest(struct parser *p, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    while (status == WEIR_OK && p->at < p->argc)
        status = option_list_add((void *)(p->into + p->table->rest_at), p->argv[p->at++], err);
    return status;
}

enum weir_status options_parse(const struct options_table *table, int argc, char **argv, void *into,
                               struct weir_error *err)
{
    struct parser p = {.table = table, .argc = argc, .argv = argv, .at = 1, .into = into};
    bool only_positional = false;

    while (p.at < argc) {
        const char *text = argv[p.at++];
        enum weir_status status;

        if (only_positional || text[0] != '-' || text[1] == '\0' ||
            (table->takes_negative && text[1] >= '0' && text[1] <= '9'))
            status = add_positional(&p, text, err);
        else if (text[1] != '-')
            status = parse_letters(&p, text + 1, err);
        else if (text[2] == '\0' && table->takes_rest)
            status = take_rest(&p, err);
        else if (text[2] == '\0')
            status = WEIR_OK, only_positional = true;
        else
            status = parse_long(&p, text + 2, err);
        if (status != WEIR_OK)
            return status;
    }
    return WEIR_OK;
}

/* ---- help ---- */

/* Appends words of `text` from column `column` on, in lines of `width`, each new one indented. */
static void put_wrapped(struct buf *out, const char *text, size_t indent, size_t column,
                        size_t width)
{
    bool first = true;

    while (*text) {
        size_t word = strcspn(text, " \n");

        if (!first && column + 1 + word > width) {
            buf_printf(out, "\n%*s", (int)indent, "");
            column = indent;
            first = true;
        }
        if (!first) {
            buf_putc(out, ' ');
            column++;
        }
        buf_put(out, text, word);
        column += word;
        first = false;
        text += word;
        if (*text == '\n') {
            buf_printf(out, "\n%*s", (int)indent, "");
            column = indent;
            first = true;
            text++;
        }
        text += strspn(text, " ");
    }
    buf_putc(out, '\n');
}

static void put_option(const struct option_spec *spec, size_t width, struct buf *out)
{
    size_t start = out->len;
    size_t used;

    if (spec->letter)
        buf_printf(out, "  -%c, --%s", spec->letter, spec->name);
    else
        buf_printf(out, "      --%s", spec->name);
    if (spec->argument)
        buf_printf(out, " %s", spec->argument);
    used = out->len - start;
    if (used + 2 > HELP_COLUMN) {
        buf_putc(out, '\n');
        used = 0;
    }
    buf_printf(out, "%*s", (int)(HELP_COLUMN - used), "");
    put_wrapped(out, spec->help, HELP_COLUMN, HELP_COLUMN, width);
}

static void put_part(const struct options_part *part, const char **group, size_t width,
                     struct buf *out)
{
    for (size_t i = 0; i < part->count; i++) {
        const struct option_spec *spec = &part->specs[i];

        if (!*group || strcmp(*group, spec->group) != 0) {
            *group = spec->group;
            buf_printf(out, "\n%s:\n", *group);
        }
        put_option(spec, width, out);
    }
}

void options_help(const struct options_table *table, size_t width, struct buf *out)
{
    const char *group = NULL;

    if (width < HELP_WIDTH_MIN)
        width = HELP_WIDTH_MIN;
    buf_printf(out, "Usage: %s %s\n", table->command, table->usage);
    if (table->intro) {
        buf_putc(out, '\n');
        put_wrapped(out, table->intro, 0, 0, width);
    }
    for (size_t p = 0; p < table->part_count; p++)
        put_part(&table->parts[p], &group, width, out);
    if (table->outro) {
        buf_putc(out, '\n');
        put_wrapped(out, table->outro, 0, 0, width);
    }
}
