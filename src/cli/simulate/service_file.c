/*
 * See service_file.h. libyaml's events are taken one by one: they carry the lines that a person
 * needs to find a mistake, which a tree of values would have lost.
 */
#include "cli/simulate/service_file.h"

#include "base/error.h"
#include "base/mem.h"
#include "cli/options.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

struct reader {
    const char *path;
    const struct service_file_keys *keys;
    yaml_parser_t yaml;
    yaml_event_t event; /* the latest; to be deleted before the next */
    bool has_event;
    size_t *line_of; /* of each key: where it stood; 0: not yet */
    struct weir_error *err;
};

static size_t line_of_event(const struct reader *r)
{
    return r->event.start_mark.line + 1;
}

static enum weir_status wrong(struct reader *r, size_t line, const char *what)
{
    return error_set(r->err, WEIR_E_INVALID, "%s:%zu: %s", r->path, line, what);
}

static void drop_event(struct reader *r)
{
    if (r->has_event)
        yaml_event_delete(&r->event);
    r->has_event = false;
}

static enum weir_status next(struct reader *r)
{
    drop_event(r);
    if (yaml_parser_parse(&r->yaml, &r->event)) {
        r->has_event = true;
        return WEIR_OK;
    }
    if (r->yaml.error == YAML_MEMORY_ERROR)
        return error_nomem(r->err);
    if (r->yaml.error == YAML_READER_ERROR)
        return error_set(r->err, WEIR_E_INVALID, "%s: byte %zu: %s", r->path,
                         r->yaml.problem_offset,
                         r->yaml.problem ? r->yaml.problem : "it is not text");
    return error_set(r->err, WEIR_E_INVALID, "%s:%zu: it is not YAML: %s", r->path,
                     r->yaml.problem_mark.line + 1, r->yaml.problem ? r->yaml.problem : "");
}

static const char *scalar(const struct reader *r)
{
    return (const char *)r->event.data.scalar.value;
}

static enum weir_status unknown_key(struct reader *r)
{
    const char **names = mem_calloc(r->keys->count + 1, sizeof *names);
    const char *nearest;
    enum weir_status status;

    if (!names)
        return error_nomem(r->err);
    for (size_t i = 0; i < r->keys->count; i++)
        names[i] = r->keys->name(r->keys->ctx, i);
    nearest = options_nearest(scalar(r), names);
    mem_free(names);
    if (nearest)
        status =
            error_set(r->err, WEIR_E_INVALID, "%s:%zu: there is no key \"%.60s\"; did you mean %s?",
                      r->path, line_of_event(r), scalar(r), nearest);
    else
        status = error_set(r->err, WEIR_E_INVALID,
                           "%s:%zu: there is no key \"%.60s\"; weir simulate --help says what "
                           "there is",
                           r->path, line_of_event(r), scalar(r));
    return status;
}

static enum weir_status find_key(struct reader *r, size_t *ret)
{
    for (size_t i = 0; i < r->keys->count; i++) {
        if (strcmp(r->keys->name(r->keys->ctx, i), scalar(r)) != 0)
            continue;
        if (r->line_of[i])
            return error_set(r->err, WEIR_E_INVALID, "%s:%zu: \"%s\" stands in line %zu already%s",
                             r->path, line_of_event(r), scalar(r), r->line_of[i],
                             r->keys->repeats(r->keys->ctx, i) ? "; write a list: [a, b]" : "");
        r->line_of[i] = line_of_event(r);
        *ret = i;
        return WEIR_OK;
    }
    return unknown_key(r);
}

/* The event is a scalar. YAML reads an empty plain one as null. */
static enum weir_status set_value(struct reader *r, size_t key)
{
    const char *name = r->keys->name(r->keys->ctx, key);
    const char *value = scalar(r);
    size_t line = line_of_event(r);
    enum weir_status status;

    if (strlen(value) != r->event.data.scalar.length)
        return wrong(r, line, "there is a NUL character in it");
    if (!*value)
        return error_set(r->err, WEIR_E_INVALID, "%s:%zu: %s: has no value", r->path, line, name);
    if (r->keys->is_flag(r->keys->ctx, key)) {
        if (strcmp(value, "false") == 0)
            return WEIR_OK;
        if (strcmp(value, "true") != 0)
            return error_set(r->err, WEIR_E_INVALID, "%s:%zu: %s: is true or false, not \"%.60s\"",
                             r->path, line, name, value);
        value = NULL;
    }
    status = r->keys->set(r->keys->ctx, key, value, r->err);
    if (status != WEIR_OK && status != WEIR_E_NOMEM) {
        (void)error_prefix(r->err, "%s", name);
        (void)error_prefix(r->err, "%s:%zu", r->path, line);
    }
    return status;
}

static enum weir_status read_list(struct reader *r, size_t key)
{
    enum weir_status status;

    /* The last item would hold, and the others be lost without a word. */
    if (!r->keys->repeats(r->keys->ctx, key))
        return error_set(r->err, WEIR_E_INVALID, "%s:%zu: %s: has one value, not a list", r->path,
                         line_of_event(r), r->keys->name(r->keys->ctx, key));
    for (;;) {
        status = next(r);
        if (status != WEIR_OK || r->event.type == YAML_SEQUENCE_END_EVENT)
            return status;
        if (r->event.type != YAML_SCALAR_EVENT)
            return wrong(r, line_of_event(r), "an item of a list must be a plain value");
        status = set_value(r, key);
        if (status != WEIR_OK)
            return status;
    }
}

static enum weir_status read_pairs(struct reader *r)
{
    enum weir_status status;
    size_t key = 0;

    for (;;) {
        status = next(r);
        if (status != WEIR_OK || r->event.type == YAML_MAPPING_END_EVENT)
            return status;
        if (r->event.type != YAML_SCALAR_EVENT)
            return wrong(r, line_of_event(r), "a key must be a plain name");
        status = find_key(r, &key);
        if (status == WEIR_OK)
            status = next(r);
        if (status != WEIR_OK)
            return status;
        if (r->event.type == YAML_SCALAR_EVENT)
            status = set_value(r, key);
        else if (r->event.type == YAML_SEQUENCE_START_EVENT)
            status = read_list(r, key);
        else
            status = wrong(r, line_of_event(r), "a value must be plain, or a list of plain values");
        if (status != WEIR_OK)
            return status;
    }
}

/* One document that is one mapping; an empty file is a service without any limit. */
static enum weir_status read_document(struct reader *r)
{
    enum weir_status status = next(r);

    while (status == WEIR_OK &&
           (r->event.type == YAML_STREAM_START_EVENT || r->event.type == YAML_DOCUMENT_START_EVENT))
        status = next(r);
    if (status != WEIR_OK || r->event.type == YAML_STREAM_END_EVENT)
        return status;
    if (r->event.type != YAML_MAPPING_START_EVENT)
        return wrong(r, line_of_event(r), "it must be lines of \"key: value\"");
    status = read_pairs(r);
    if (status == WEIR_OK)
        status = next(r); /* the document's end */
    if (status == WEIR_OK)
        status = next(r);
    if (status == WEIR_OK && r->event.type != YAML_STREAM_END_EVENT)
        status = wrong(r, line_of_event(r), "there is a second document; one file is one service");
    return status;
}

static enum weir_status read_bytes(const char *path, char **ret, size_t *ret_len,
                                   struct weir_error *err)
{
    char *bytes = NULL;
    enum weir_status status = WEIR_OK;
    FILE *file = fopen(path, "re");
    size_t len;

    if (!file)
        return error_set_errno(err, WEIR_E_IO, errno, "cannot open %s", path);
    bytes = mem_alloc(SERVICE_FILE_BYTES_MAX + 1);
    if (!bytes) {
        status = error_nomem(err);
        goto out;
    }
    len = fread(bytes, 1, SERVICE_FILE_BYTES_MAX + 1, file);
    if (ferror(file))
        status = error_set_errno(err, WEIR_E_IO, errno, "cannot read %s", path);
    else if (len > SERVICE_FILE_BYTES_MAX)
        status = error_set(err, WEIR_E_LIMIT, "%s: is larger than %zu bytes: no service", path,
                           SERVICE_FILE_BYTES_MAX);
    if (status != WEIR_OK)
        goto out;
    *ret = bytes;
    *ret_len = len;
    bytes = NULL;
out:
    mem_free(bytes);
    fclose(file);
    return status;
}

enum weir_status service_file_parse(const char *path, const char *bytes, size_t len,
                                    const struct service_file_keys *keys, struct weir_error *err)
{
    struct reader r = {.path = path, .keys = keys, .err = err};
    enum weir_status status;

    r.line_of = mem_calloc(keys->count + 1, sizeof *r.line_of);
    if (!r.line_of || !yaml_parser_initialize(&r.yaml)) {
        mem_free(r.line_of);
        return error_nomem(err);
    }
    yaml_parser_set_input_string(&r.yaml, (const unsigned char *)bytes, len);
    status = read_document(&r);
    drop_event(&r);
    yaml_parser_delete(&r.yaml);
    mem_free(r.line_of);
    return status;
}

enum weir_status service_file_read(const char *path, const struct service_file_keys *keys,
                                   struct weir_error *err)
{
    char *bytes = NULL;
    size_t len = 0;
    enum weir_status status = read_bytes(path, &bytes, &len, err);

    if (status == WEIR_OK)
        status = service_file_parse(path, bytes, len, keys, err);
    mem_free(bytes);
    return status;
}
