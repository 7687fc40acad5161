/*
 * The file that describes a service: YAML, flat, its keys the names of options.
 *
 *     # five or twenty requests a second
 *     rate: 5..20
 *     phase: 20s..120s
 *     slow-refusals: true
 *     outage: [200s+60s, 500s+60s]
 *
 *     status = service_file_read("s1.yml", &(struct service_file_keys){names, flags, set, ctx}, &err);
 *
 * A value is what would stand on a command line; a list gives an option that may be repeated once
 * for each of its items; a flag is true or false. What is not known, stands there twice or has no
 * value is refused: "s1.yml:3: ...", with the nearest name that there is. Blocking reads of one
 * file; nothing is kept.
 */
#ifndef CLI_SIMULATE_SERVICE_FILE_H
#define CLI_SIMULATE_SERVICE_FILE_H

#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>

/* A larger file is something else. */
#define SERVICE_FILE_BYTES_MAX ((size_t)1 << 20)

struct service_file_keys {
    size_t count;
    const char *(*name)(void *ctx, size_t i);
    bool (*is_flag)(void *ctx, size_t i);
    bool (*repeats)(void *ctx, size_t i); /* whether its value may be a list */
    /* value: NULL for a flag that is true; one that is false is not told. The message need not name the key. */
    enum weir_status (*set)(void *ctx, size_t i, const char *value, struct weir_error *err);
    void *ctx;
};

/* WEIR_E_IO: it cannot be read; WEIR_E_INVALID or WEIR_E_LIMIT: what is in it; WEIR_E_NOMEM. The message names the
 * file, and the line where there is one. */
WEIR_MUST_CHECK enum weir_status
service_file_read(const char *path, const struct service_file_keys *keys, struct weir_error *err);

/* The same of bytes that are in memory; path only names them. */
WEIR_MUST_CHECK enum weir_status service_file_parse(const char *path, const char *bytes, size_t len,
                                                    const struct service_file_keys *keys,
                                                    struct weir_error *err);

#endif
