/*
 * One value of a configuration: from what a person writes to plain words (JSON that libcyaml
 * reads), and back to YAML.
 */
#ifndef SERVE_CONFIG_VALUE_H
#define SERVE_CONFIG_VALUE_H

#include "serve/config/schema.h"

/*
 * Reads a scalar as the field says, each item of a list by itself, and appends it as JSON. The
 * message says what is wrong, not where. On failure nothing was appended.
 */
WEIR_MUST_CHECK enum weir_status config_value_read(const struct config_field *f, const char *text,
                                                   struct buf *out, struct weir_error *err);
/* Appends the value of a scalar field as a person would write it. `in`: the struct that the field lies in. */
void config_value_put(const struct config_field *f, const void *in, struct buf *out);
/* Appends a text as a YAML scalar, with quotes where it must have some. */
void config_text_put(const char *text, struct buf *out);
/* Whether it was given, or has a default: texts and lists that are NULL or empty were not. */
bool config_value_given(const struct config_field *f, const void *in);

#endif
