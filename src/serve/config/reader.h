/*
 * The first hand: libyaml's tree of a file against the schema. It finds all that is wrong with a
 * field by itself, says where, and writes the document in plain words, as JSON: each value as the
 * struct has it, defaults filled in, what was not given and has no default as CONFIG_UNSET
 * (numbers) or not at all (texts and lists). What is wrong is left out.
 *
 *     struct config_reader r = {.faults = &faults};
 *
 *     status = config_reader_run(&r, bytes, len, &err);       // not WEIR_OK: no memory, or it is not YAML
 *     ... buf_slice(&r.plain), unless r.incomplete ...
 *     config_reader_fault(&r, "pools[1].fallback", "there is no pool \"%s\"", name);     // for who looks on
 *     config_reader_free(&r);
 */
#ifndef SERVE_CONFIG_READER_H
#define SERVE_CONFIG_READER_H

#include "serve/config/config.h"

/* Where a field of the file stands. */
struct config_place {
    char *path;
    size_t line;
};

struct config_reader {
    struct config_faults *faults; /* never NULL */
    struct buf plain;
    bool incomplete; /* something that was given is not in it: rules would find what is not so */
    struct config_place *places;
    size_t place_count, place_cap;
    /* while it runs */
    struct buf path;
    size_t values;
    bool nomem;
    void *document; /* yaml_document_t */
};

/* WEIR_E_NOMEM; else WEIR_OK, whatever is wrong with the file: see faults. */
WEIR_MUST_CHECK enum weir_status config_reader_run(struct config_reader *r, const char *bytes,
                                                   size_t len, struct weir_error *err);
/* Adds a fault, at the line of the field of that path, or of the nearest one that holds it. */
void config_reader_fault(struct config_reader *r, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void config_reader_free(struct config_reader *r);

/* Adds one to a list that is kept by line. what: with the format filled in. */
void config_faults_add(struct config_faults *f, size_t line, const char *where, const char *what);

#endif
