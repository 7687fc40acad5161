/*
 * See reader.h. The tree is walked by the schema, which has no cycle, so the depth is that of the
 * tables; how much there is to walk is counted, because an anchor may be used any number of times.
 */
#include "serve/config/reader.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/nearest.h"
#include "exec/template/shell.h"
#include "serve/config/schema.h"
#include "serve/config/value.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

/* Fields of one group, at most. */
#define FIELDS_MAX     128
#define WHAT_BYTES_MAX 1024

/* What the file says of a field. */
struct given {
    yaml_node_t *node; /* NULL: nothing */
    size_t line;
};

/* ---- places and faults ---- */

/* A path that grows and shrinks with the walk; returns what it was. */
static size_t enter(struct config_reader *r, const char *name)
{
    size_t len = r->path.len;

    if (len > 0 && *name != '[')
        buf_putc(&r->path, '.');
    buf_puts(&r->path, name);
    return len;
}

static size_t enter_item(struct config_reader *r, size_t number)
{
    char name[32];

    (void)snprintf(name, sizeof name, "[%zu]", number);
    return enter(r, name);
}

static void cut(struct buf *b, size_t len)
{
    if (b->data && b->len > len) {
        b->len = len;
        b->data[len] = '\0';
    }
}

static void leave(struct config_reader *r, size_t before)
{
    cut(&r->path, before);
}

static void note_place(struct config_reader *r, size_t line)
{
    char *path = mem_strdup(buf_slice(&r->path).data);

    if (path && r->place_count == r->place_cap) {
        size_t cap = r->place_cap ? r->place_cap * 2 : 64;
        struct config_place *places = mem_realloc(r->places, cap * sizeof *places);

        if (places) {
            r->places = places;
            r->place_cap = cap;
        } else {
            path = mem_free(path);
        }
    }
    if (!path) {
        r->nomem = true;
        return;
    }
    r->places[r->place_count++] = (struct config_place){path, line};
}

static void say(struct config_reader *r, size_t line, const char *path, const char *format,
                va_list args)
{
    char what[WHAT_BYTES_MAX];

    (void)vsnprintf(what, sizeof what, format, args);
    config_faults_add(r->faults, line, path, what);
}

/* Of what the walk is at: a value that is not there, so that nothing may be concluded from what is. */
static void fault(struct config_reader *r, size_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void fault(struct config_reader *r, size_t line, const char *format, ...)
{
    va_list args;

    r->incomplete = true;
    va_start(args, format);
    say(r, line, buf_slice(&r->path).data, format, args);
    va_end(args);
}

/* Of something that stands there beside what counts. */
static void fault_beside(struct config_reader *r, size_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void fault_beside(struct config_reader *r, size_t line, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(r, line, buf_slice(&r->path).data, format, args);
    va_end(args);
}

/* The line of the longest of the paths that this one begins with. */
static size_t line_of(const struct config_reader *r, const char *path)
{
    size_t best_len = 0, line = 0;

    for (size_t i = 0; i < r->place_count; i++) {
        size_t len = strlen(r->places[i].path);

        if (len < best_len || strncmp(r->places[i].path, path, len) != 0 ||
            !(path[len] == '\0' || path[len] == '.' || path[len] == '['))
            continue;
        best_len = len;
        line = r->places[i].line;
    }
    return line;
}

void config_reader_fault(struct config_reader *r, const char *path, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(r, line_of(r, path), path, format, args);
    va_end(args);
}

/* False: too much of it; told once. */
static bool count_value(struct config_reader *r, size_t line)
{
    r->values++;
    if (r->values == CONFIG_VALUES_MAX + 1)
        fault(r, line, "there are more than %d values in this file, anchors included",
              CONFIG_VALUES_MAX);
    return r->values <= CONFIG_VALUES_MAX;
}

/* ---- scalars ---- */

static size_t line_of_node(const yaml_node_t *node)
{
    return node->start_mark.line + 1;
}

static const char *text_of(const yaml_node_t *node)
{
    return (const char *)node->data.scalar.value;
}

/* YAML reads an empty plain scalar as null, too. */
static bool is_null(const yaml_node_t *node)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};

    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    for (size_t i = 0; i < sizeof nulls / sizeof *nulls; i++) {
        if (strcmp(text_of(node), nulls[i]) == 0)
            return true;
    }
    return false;
}

static const char *kind_of(const yaml_node_t *node)
{
    return node->type == YAML_MAPPING_NODE    ? "fields"
           : node->type == YAML_SEQUENCE_NODE ? "a list"
                                              : "one value";
}

/* The node as a plain text; NULL: told why not. */
static const char *plain_text(struct config_reader *r, const yaml_node_t *node, size_t line)
{
    if (node->type != YAML_SCALAR_NODE) {
        fault(r, line, "must be one value, not %s", kind_of(node));
        return NULL;
    }
    if (is_null(node)) {
        fault(r, line, "has no value; leave it out, or write \"\" for an empty text");
        return NULL;
    }
    if (strlen(text_of(node)) != node->data.scalar.length) {
        fault(r, line, "there is a NUL character in it");
        return NULL;
    }
    return text_of(node);
}

static bool read_scalar(struct config_reader *r, const struct config_field *f,
                        const yaml_node_t *node, size_t line)
{
    const char *text = count_value(r, line) ? plain_text(r, node, line) : NULL;
    struct weir_error err;

    if (!text)
        return false;
    if (config_value_read(f, text, &r->plain, &err) == WEIR_OK)
        return true;
    fault(r, line, "%s", err.message);
    return false;
}

/* ---- lists ---- */

/* "nice -n 10": one text, as words. */
static bool read_line(struct config_reader *r, const char *text, size_t line)
{
    struct argvec words = {0};
    struct weir_error err;
    enum weir_status status = shell_split(text, &words, &err);
    const char *const *argv = status == WEIR_OK ? argvec_argv(&words) : NULL;

    if (status != WEIR_OK)
        fault(r, line, "%s", err.message);
    else if (!argv)
        r->nomem = true;
    for (size_t i = 0; argv && argv[i]; i++) {
        if (i > 0)
            buf_putc(&r->plain, ',');
        json_put_string(&r->plain, slice_of(argv[i]));
    }
    argvec_free(&words);
    return argv != NULL;
}

static bool read_items(struct config_reader *r, const struct config_field *f,
                       const yaml_node_t *node)
{
    bool good = true;

    for (yaml_node_item_t *at = node->data.sequence.items.start;
         at < node->data.sequence.items.top && r->values <= CONFIG_VALUES_MAX; at++) {
        yaml_node_t *item = yaml_document_get_node(r->document, *at);
        size_t number = (size_t)(at - node->data.sequence.items.start);
        size_t before = enter_item(r, number);

        if (number > 0)
            buf_putc(&r->plain, ',');
        note_place(r, line_of_node(item));
        good = read_scalar(r, f, item, line_of_node(item)) && good;
        leave(r, before);
    }
    return good;
}

static bool read_list(struct config_reader *r, const struct config_field *f,
                      const yaml_node_t *node, size_t line)
{
    const char *text;
    bool good;

    if (node->type == YAML_MAPPING_NODE) {
        fault(r, line, "must be a list of values, not fields");
        return false;
    }
    buf_putc(&r->plain, '[');
    if (node->type == YAML_SEQUENCE_NODE) {
        good = read_items(r, f, node);
    } else if (f->type == CONFIG_LINE) {
        text = count_value(r, line) ? plain_text(r, node, line) : NULL;
        /* The words of a line may hold what is not UTF-8 no more than those of a list. */
        good = text && read_line(r, text, line);
    } else {
        good = read_scalar(r, f, node, line);
    }
    buf_putc(&r->plain, ']');
    return good;
}

/* ---- names and values ---- */

static bool read_pair(struct config_reader *r, const struct config_field *f, const char *name,
                      const yaml_node_t *value, size_t line)
{
    bool good;

    buf_puts(&r->plain, "{\"name\": ");
    json_put_string(&r->plain, slice_of(name));
    buf_puts(&r->plain, ", \"value\": ");
    good = read_scalar(r, f, value, line);
    buf_putc(&r->plain, '}');
    return good;
}

static bool stood_before(const struct config_reader *r, const yaml_node_pair_t *first,
                         const yaml_node_pair_t *at, size_t *ret_line)
{
    const char *name = text_of(yaml_document_get_node(r->document, at->key));

    for (; first < at; first++) {
        const yaml_node_t *key = yaml_document_get_node(r->document, first->key);

        if (key->type == YAML_SCALAR_NODE && strcmp(text_of(key), name) == 0) {
            *ret_line = line_of_node(key);
            return true;
        }
    }
    return false;
}

static bool read_pairs(struct config_reader *r, const struct config_field *f,
                       const yaml_node_t *node, size_t line)
{
    yaml_node_pair_t *first = node->data.mapping.pairs.start;
    bool good = true;
    size_t before, other = 0;

    if (node->type != YAML_MAPPING_NODE) {
        fault(r, line, "must be lines of \"NAME: value\", not %s", kind_of(node));
        return false;
    }
    buf_putc(&r->plain, '[');
    for (yaml_node_pair_t *at = first;
         at < node->data.mapping.pairs.top && r->values <= CONFIG_VALUES_MAX; at++) {
        yaml_node_t *key = yaml_document_get_node(r->document, at->key);
        const char *name = plain_text(r, key, line_of_node(key));

        if (!name || !*name) {
            good = false;
            continue;
        }
        before = enter(r, name);
        note_place(r, line_of_node(key));
        if (at > first)
            buf_putc(&r->plain, ',');
        if (stood_before(r, first, at, &other)) {
            fault(r, line_of_node(key), "stands in line %zu already", other);
            good = false;
        }
        good = read_pair(r, f, name, yaml_document_get_node(r->document, at->value),
                         line_of_node(key)) &&
               good;
        leave(r, before);
    }
    buf_putc(&r->plain, ']');
    return good;
}

/* ---- groups ---- */

static bool read_group(struct config_reader *r, const struct config_group *g,
                       const yaml_node_t *node, size_t line);

static bool read_groups(struct config_reader *r, const struct config_field *f,
                        const yaml_node_t *node, size_t line)
{
    if (node->type != YAML_SEQUENCE_NODE) {
        fault(r, line, "must be a list (\"- name: ...\"), not %s", kind_of(node));
        return false;
    }
    buf_putc(&r->plain, '[');
    for (yaml_node_item_t *at = node->data.sequence.items.start;
         at < node->data.sequence.items.top && r->values <= CONFIG_VALUES_MAX; at++) {
        yaml_node_t *item = yaml_document_get_node(r->document, *at);
        size_t number = (size_t)(at - node->data.sequence.items.start);
        size_t before = enter_item(r, number);

        if (number > 0)
            buf_putc(&r->plain, ',');
        note_place(r, line_of_node(item));
        (void)read_group(r, f->group, item, line_of_node(item));
        leave(r, before);
    }
    buf_putc(&r->plain, ']');
    return true;
}

static bool read_value(struct config_reader *r, const struct config_field *f,
                       const yaml_node_t *node, size_t line)
{
    switch (f->type) {
    case CONFIG_GROUP:
        return read_group(r, f->group, node, line);
    case CONFIG_GROUPS:
        return count_value(r, line) && read_groups(r, f, node, line);
    case CONFIG_WORDS:
    case CONFIG_LINE:
    case CONFIG_NUMBERS:
        return read_list(r, f, node, line);
    case CONFIG_PAIRS:
        return read_pairs(r, f, node, line);
    default:
        return read_scalar(r, f, node, line);
    }
}

static void unknown_field(struct config_reader *r, const struct config_group *g, const char *key,
                          size_t line)
{
    const char *names[FIELDS_MAX + 1] = {0};
    const char *nearest;
    size_t before = enter(r, key);

    for (size_t i = 0; i < g->count; i++)
        names[i] = g->fields[i].key;
    nearest = nearest_name(key, names);
    /* One that stands a level too high or too low is right to the letter, and nearer than any other. */
    if (g != &config_pool_schema && config_field_find(&config_pool_schema, key))
        fault_beside(r, line, "there is no such field here; it is one of a pool");
    else if (g != &config_schema && config_field_find(&config_schema, key))
        fault_beside(r, line, "there is no such field here; it is one of the whole file");
    else if (nearest)
        fault_beside(r, line, "there is no such field; did you mean %s?", nearest);
    else
        fault_beside(r, line, "there is no such field");
    leave(r, before);
}

/* What the file says, by field. */
static void sort_keys(struct config_reader *r, const struct config_group *g,
                      const yaml_node_t *node, struct given *given)
{
    for (yaml_node_pair_t *at = node->data.mapping.pairs.start;
         at < node->data.mapping.pairs.top && count_value(r, line_of_node(node)); at++) {
        yaml_node_t *key = yaml_document_get_node(r->document, at->key);
        const char *name = plain_text(r, key, line_of_node(key));
        const struct config_field *f = name ? config_field_find(g, name) : NULL;
        struct given *to = f ? &given[f - g->fields] : NULL;
        size_t before;

        if (!name)
            continue;
        if (!to) {
            unknown_field(r, g, name, line_of_node(key));
            continue;
        }
        before = enter(r, name);
        if (to->node)
            fault_beside(r, line_of_node(key), "stands in line %zu already", to->line);
        else
            *to = (struct given){yaml_document_get_node(r->document, at->value), line_of_node(key)};
        leave(r, before);
    }
}

/* A bit for what the group's selector says; 0: it does not say. */
static unsigned selected(const struct config_group *g, const struct given *given,
                         const struct config_field **ret)
{
    const struct config_field *f = g->selector ? config_field_find(g, g->selector) : NULL;
    const yaml_node_t *node = f ? given[f - g->fields].node : NULL;
    int choice =
        node && node->type == YAML_SCALAR_NODE ? config_choice(f->choices, text_of(node)) : -1;

    *ret = f;
    return choice < 0 ? 0 : 1U << choice;
}

static bool check_selected(struct config_reader *r, const struct config_group *g,
                           const struct config_field *f, const struct config_field *selector,
                           unsigned is, size_t line)
{
    struct buf text = {0};

    if (!f->only || !is || (f->only & is))
        return true;
    for (int i = 0; i < 32; i++) {
        if (!(f->only & 1U << i))
            continue;
        buf_puts(&text, text.len > 0 ? " or " : "");
        config_choice_put(selector->choices, i, &text);
    }
    buf_printf(&text, "; this %s has %s ", g->item_name, selector->key);
    config_choice_put(selector->choices, __builtin_ctz(is), &text);
    fault_beside(r, line, "is for %s %s", selector->key, buf_slice(&text).data);
    buf_free(&text);
    return false;
}

/* Of a field that the file does not name; true: something was written. */
static bool put_default(struct config_reader *r, const struct config_field *f)
{
    enum weir_status status = WEIR_OK;

    switch (f->type) {
    case CONFIG_GROUP:
        (void)read_group(r, f->group, NULL, 0);
        return true;
    case CONFIG_GROUPS:
    case CONFIG_PAIRS:
    case CONFIG_WORDS:
    case CONFIG_LINE:
        return false;
    case CONFIG_NUMBERS:
        if (!f->otherwise)
            return false;
        buf_putc(&r->plain, '[');
        status = config_value_read(f, f->otherwise, &r->plain, NULL);
        buf_putc(&r->plain, ']');
        break;
    default:
        if (f->otherwise)
            status = config_value_read(f, f->otherwise, &r->plain, NULL);
        else if (f->type == CONFIG_TEXT)
            return false;
        else
            buf_printf(&r->plain, "%d", CONFIG_UNSET);
    }
    assert(status == WEIR_OK); /* the table's own */
    return true;
}

/* False: left out. */
static bool read_field(struct config_reader *r, const struct config_field *f,
                       const struct given *given, bool required)
{
    bool good;
    size_t before;

    if (!given->node && !required)
        return put_default(r, f);
    before = enter(r, f->key);
    if (given->node) {
        note_place(r, given->line);
        good = read_value(r, f, given->node, given->line);
    } else {
        fault(r, given->line, "is missing");
        good = false;
    }
    leave(r, before);
    return good;
}

/* node NULL: the file does not have it; all of it are defaults. */
static bool read_group(struct config_reader *r, const struct config_group *g,
                       const yaml_node_t *node, size_t line)
{
    struct given given[FIELDS_MAX] = {0};
    const struct config_field *selector;
    unsigned is;
    bool any = false;

    assert(g->count <= FIELDS_MAX);
    if (node && node->type != YAML_MAPPING_NODE) {
        fault(r, line,
              is_null(node) ? "has no value; leave it out, or give its fields"
                            : "must be lines of \"field: value\"");
        return false;
    }
    if (node)
        sort_keys(r, g, node, given);
    is = selected(g, given, &selector);
    buf_putc(&r->plain, '{');
    for (size_t i = 0; i < g->count; i++) {
        const struct config_field *f = &g->fields[i];
        size_t mark = r->plain.len;
        size_t before = enter(r, f->key);
        bool fits = !given[i].node || check_selected(r, g, f, selector, is, given[i].line);

        leave(r, before);
        if (!given[i].node)
            given[i].line = line;
        if (!fits)
            given[i].node = NULL;
        buf_puts(&r->plain, any ? ", " : "");
        buf_printf(&r->plain, "\"%s\": ", f->key);
        if (read_field(r, f, &given[i], fits && node && f->required))
            any = true;
        else
            cut(&r->plain, mark);
    }
    buf_putc(&r->plain, '}');
    return true;
}

/* ---- the file ---- */

static void not_yaml(struct config_reader *r, const yaml_parser_t *parser)
{
    const char *problem = parser->problem ? parser->problem : "it is not text";
    char what[WHAT_BYTES_MAX];

    r->incomplete = true;
    (void)snprintf(what, sizeof what, "it is not YAML: %s%s%s", problem,
                   parser->context ? ", " : "", parser->context ? parser->context : "");
    if (parser->error == YAML_READER_ERROR) {
        (void)snprintf(what, sizeof what, "byte %zu: %s", parser->problem_offset, problem);
        config_faults_add(r->faults, 0, "", what);
        return;
    }
    config_faults_add(r->faults, parser->problem_mark.line + 1, "", what);
}

/* There is nothing behind the first document. */
static void check_end(struct config_reader *r, yaml_parser_t *parser)
{
    yaml_document_t more;
    yaml_node_t *root;

    if (!yaml_parser_load(parser, &more)) {
        if (parser->error == YAML_MEMORY_ERROR)
            r->nomem = true;
        else
            not_yaml(r, parser);
        return;
    }
    root = yaml_document_get_root_node(&more);
    if (root)
        config_faults_add(r->faults, line_of_node(root), "",
                          "there is a second document; a configuration is one");
    yaml_document_delete(&more);
}

enum weir_status config_reader_run(struct config_reader *r, const char *bytes, size_t len,
                                   struct weir_error *err)
{
    yaml_parser_t parser;
    yaml_document_t document;
    yaml_node_t *root;

    if (!yaml_parser_initialize(&parser))
        return error_nomem(err);
    yaml_parser_set_input_string(&parser, (const unsigned char *)bytes, len);
    if (!yaml_parser_load(&parser, &document)) {
        if (parser.error == YAML_MEMORY_ERROR)
            r->nomem = true;
        else
            not_yaml(r, &parser);
        yaml_parser_delete(&parser);
        return r->nomem ? error_nomem(err) : WEIR_OK;
    }
    r->document = &document;
    root = yaml_document_get_root_node(&document);
    (void)read_group(r, &config_schema, root, root ? line_of_node(root) : 0);
    if (root)
        check_end(r, &parser);
    r->document = NULL;
    yaml_document_delete(&document);
    yaml_parser_delete(&parser);
    return r->nomem || r->plain.failed || r->path.failed ? error_nomem(err) : WEIR_OK;
}

void config_reader_free(struct config_reader *r)
{
    for (size_t i = 0; i < r->place_count; i++)
        mem_free(r->places[i].path);
    mem_free(r->places);
    /* It may hold secrets. */
    if (r->plain.data)
        explicit_bzero(r->plain.data, r->plain.len);
    buf_free(&r->plain);
    buf_free(&r->path);
    *r = (struct config_reader){.faults = r->faults};
}
