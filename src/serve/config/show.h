/*
 * Writing a configuration as YAML, field by field, by the schema.
 */
#ifndef SERVE_CONFIG_SHOW_H
#define SERVE_CONFIG_SHOW_H

#include "serve/config/schema.h"

/*
 * Appends "key: value" and what lies in it, each line behind so many spaces; nothing for what was
 * not given or is not there in a struct of that kind. in: the struct that the field lies in. hide:
 * secrets are "(hidden)".
 */
void show_field(const struct config_group *g, const struct config_field *f, const void *in,
                size_t indent, bool hide, struct buf *out);

#endif
