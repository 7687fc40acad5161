/*
 * From a file to the struct: the reader's plain words, libcyaml over the same tables, then the
 * rules.
 *
 * libcyaml stops at the first thing that is wrong, says the line of a mapping but not of an unknown
 * key in it, and knows no units, ranges or near names. So it is given what the reader has passed,
 * and cannot find anything: when it does, that is a defect, and told as one. What it is good for is
 * the memory: it makes structs, lists and texts, and takes them back.
 */
#include "base/error.h"
#include "base/mem.h"
#include "serve/config/config.h"
#include "serve/config/reader.h"
#include "serve/config/rules.h"
#include "serve/config/schema.h"

#include <assert.h>
#include <cyaml/cyaml.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* ---- libcyaml's schema, out of ours ---- */

/* Of all groups together, each with its end. */
#define CYAML_FIELDS_MAX 256

static cyaml_schema_field_t cyaml_fields[CYAML_FIELDS_MAX];
static size_t cyaml_field_count;
static cyaml_schema_value_t whole;
static pthread_once_t whole_once = PTHREAD_ONCE_INIT;

static const cyaml_schema_value_t word = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED)};
static const cyaml_schema_value_t number = {CYAML_VALUE_INT(CYAML_FLAG_DEFAULT, int64_t)};
static const cyaml_schema_field_t pair_fields[] = {
    CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER, struct config_pair, name, 0,
                           CYAML_UNLIMITED),
    CYAML_FIELD_STRING_PTR("value", CYAML_FLAG_POINTER, struct config_pair, value, 0,
                           CYAML_UNLIMITED),
    CYAML_FIELD_END};
static const cyaml_schema_value_t pair = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct config_pair, pair_fields)};

/* All lists are alike: items, then count. */
_Static_assert(offsetof(struct config_words, count) == sizeof(void *) &&
                   offsetof(struct config_pairs, count) == sizeof(void *) &&
                   offsetof(struct config_numbers, count) == sizeof(void *) &&
                   offsetof(struct config, pools.count) ==
                       offsetof(struct config, pools.items) + sizeof(void *),
               "a list is a pointer and a size_t");

static void make_list(cyaml_schema_field_t *to, const cyaml_schema_value_t *entry)
{
    to->count_offset = to->data_offset + (uint32_t)sizeof(void *);
    to->count_size = sizeof(size_t);
    to->value = (cyaml_schema_value_t){.type = CYAML_SEQUENCE,
                                       .flags = CYAML_FLAG_POINTER,
                                       .data_size = entry->flags & CYAML_FLAG_POINTER
                                                        ? (uint32_t)sizeof(void *)
                                                        : entry->data_size,
                                       .sequence = {.entry = entry, .max = CYAML_UNLIMITED}};
}

static const cyaml_schema_field_t *make_fields(const struct config_group *g);

/* What one of a list of groups is; kept for good. */
static const cyaml_schema_value_t *make_entry(const struct config_group *g)
{
    static cyaml_schema_value_t entries[8];
    static size_t count;

    assert(count < sizeof entries / sizeof *entries);
    entries[count] = (cyaml_schema_value_t){
        .type = CYAML_MAPPING, .data_size = (uint32_t)g->size, .mapping = {make_fields(g)}};
    return &entries[count++];
}

static void make_value(cyaml_schema_field_t *to, const struct config_field *f)
{
    switch (f->type) {
    case CONFIG_TEXT:
        to->value = word;
        break;
    case CONFIG_FLAG:
        to->value = (cyaml_schema_value_t){.type = CYAML_BOOL, .data_size = sizeof(bool)};
        break;
    case CONFIG_COUNT:
    case CONFIG_DURATION:
    case CONFIG_SIZE:
        to->value = number;
        break;
    case CONFIG_NUMBER:
    case CONFIG_SHARE:
        to->value = (cyaml_schema_value_t){.type = CYAML_FLOAT, .data_size = sizeof(double)};
        break;
    case CONFIG_MODE:
    case CONFIG_CHOICE:
        to->value = (cyaml_schema_value_t){.type = CYAML_INT, .data_size = sizeof(int)};
        break;
    case CONFIG_WORDS:
    case CONFIG_LINE:
        make_list(to, &word);
        break;
    case CONFIG_NUMBERS:
        make_list(to, &number);
        break;
    case CONFIG_PAIRS:
        make_list(to, &pair);
        break;
    case CONFIG_GROUP:
        to->value = (cyaml_schema_value_t){.type = CYAML_MAPPING,
                                           .data_size = (uint32_t)f->group->size,
                                           .mapping = {make_fields(f->group)}};
        break;
    case CONFIG_GROUPS:
        make_list(to, make_entry(f->group));
        break;
    }
}

static const cyaml_schema_field_t *make_fields(const struct config_group *g)
{
    cyaml_schema_field_t *fields = &cyaml_fields[cyaml_field_count];

    cyaml_field_count += g->count + 1; /* the end is zeroed already */
    assert(cyaml_field_count <= CYAML_FIELDS_MAX);
    for (size_t i = 0; i < g->count; i++) {
        fields[i] =
            (cyaml_schema_field_t){.key = g->fields[i].key, .data_offset = g->fields[i].offset};
        make_value(&fields[i], &g->fields[i]);
        fields[i].value.flags |= CYAML_FLAG_OPTIONAL;
    }
    return fields;
}

static void make_whole(void)
{
    whole = (cyaml_schema_value_t){.type = CYAML_MAPPING,
                                   .flags = CYAML_FLAG_POINTER,
                                   .data_size = sizeof(struct config),
                                   .mapping = {make_fields(&config_schema)}};
}

/* ---- its memory and its words ---- */

static void *memory(void *ctx, void *old, size_t size)
{
    (void)ctx;
    return size == 0 ? mem_free(old) : mem_realloc(old, size);
}

/* The first line of what it says. */
static void said(cyaml_log_t level, void *ctx, const char *format, va_list args)
{
    char *text = ctx;

    (void)level;
    if (!*text)
        (void)vsnprintf(text, WEIR_ERROR_MESSAGE_BYTES, format, args);
    text[strcspn(text, "\n")] = '\0';
}

static cyaml_config_t cyaml_how(char *text)
{
    return (cyaml_config_t){.log_fn = text ? said : NULL,
                            .log_ctx = text,
                            .mem_fn = memory,
                            .log_level = CYAML_LOG_ERROR,
                            .flags = CYAML_CFG_NO_ALIAS};
}

static enum weir_status make_structs(struct slice plain, struct config **ret,
                                     struct weir_error *err)
{
    char text[WEIR_ERROR_MESSAGE_BYTES] = "";
    cyaml_config_t how = cyaml_how(text);
    struct config *c = NULL;
    cyaml_err_t result;

    (void)pthread_once(&whole_once, make_whole);
    result = cyaml_load_data((const uint8_t *)plain.data, plain.len, &how, &whole,
                             (cyaml_data_t **)&c, NULL);
    if (result == CYAML_OK) {
        *ret = c;
        return WEIR_OK;
    }
    if (result == CYAML_ERR_OOM)
        return error_nomem(err);
    return error_set(err, WEIR_E_INTERNAL,
                     "the configuration was read, and libcyaml refuses it: %s (%s)",
                     cyaml_strerror(result), text);
}

void config_free(struct config *c)
{
    cyaml_config_t how = cyaml_how(NULL);

    if (!c)
        return;
    rules_forget(c);
    (void)cyaml_free(&how, &whole, c, 0);
}

/* ---- files ---- */

static enum weir_status first_fault(const struct config_faults *f, struct weir_error *err)
{
    const struct config_fault *first = f->count > 0 ? &f->items[0] : NULL;
    const char *separator = first && *first->where ? ": " : "";

    if (!first) /* there was no memory to say it */
        return error_nomem(err);
    if (first->line > 0)
        (void)error_set(err, WEIR_E_INVALID, "%s:%zu: %s%s%s", f->file, first->line, first->where,
                        separator, first->what);
    else
        (void)error_set(err, WEIR_E_INVALID, "%s: %s%s%s", f->file, first->where, separator,
                        first->what);
    return WEIR_E_INVALID;
}

enum weir_status config_parse(const char *name, const char *bytes, size_t len, struct config **ret,
                              struct config_faults *faults, struct weir_error *err)
{
    struct config_faults own = {0};
    struct config_reader r = {.faults = faults ? faults : &own};
    struct config *c = NULL;
    enum weir_status status;

    r.faults->file = mem_strdup(name);
    status = r.faults->file ? config_reader_run(&r, bytes, len, err) : error_nomem(err);
    /* What is only too much does not keep the rest from being looked at. */
    if (status == WEIR_OK && !r.incomplete)
        status = make_structs(buf_slice(&r.plain), &c, err);
    if (status == WEIR_OK && c)
        status = rules_settle(c, &r, err);
    if (status == WEIR_OK && (r.faults->count > 0 || r.faults->more))
        status = first_fault(r.faults, err);
    if (status == WEIR_OK) {
        *ret = c;
        c = NULL;
    }
    config_free(c);
    config_reader_free(&r);
    config_faults_free(&own);
    return status;
}

static enum weir_status read_bytes(const char *path, char **ret, size_t *ret_len,
                                   struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    FILE *file = fopen(path, "re");
    char *bytes;

    if (!file)
        return error_set_errno(err, WEIR_E_IO, errno, "cannot open %s", path);
    bytes = mem_alloc(CONFIG_FILE_BYTES_MAX + 1);
    if (!bytes) {
        (void)fclose(file);
        return error_nomem(err);
    }
    *ret_len = fread(bytes, 1, CONFIG_FILE_BYTES_MAX + 1, file);
    if (ferror(file))
        status = error_set_errno(err, WEIR_E_IO, errno, "cannot read %s", path);
    else if (*ret_len > CONFIG_FILE_BYTES_MAX)
        status = error_set(err, WEIR_E_LIMIT, "%s: is larger than %zu bytes: no configuration",
                           path, CONFIG_FILE_BYTES_MAX);
    (void)fclose(file);
    if (status == WEIR_OK)
        *ret = bytes;
    else
        mem_free(bytes);
    return status;
}

enum weir_status config_load(const char *path, struct config **ret, struct config_faults *faults,
                             struct weir_error *err)
{
    char *bytes = NULL;
    size_t len = 0;
    enum weir_status status = read_bytes(path, &bytes, &len, err);

    if (status != WEIR_OK)
        return status;
    status = config_parse(path, bytes, len, ret, faults, err);
    explicit_bzero(bytes, len);
    mem_free(bytes);
    return status;
}
