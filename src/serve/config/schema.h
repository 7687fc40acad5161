/*
 * What may stand in a configuration: tables of fields, each with its name, type, range, default and
 * place in the struct. The reader, libcyaml's schema, `show` and `diff` all follow these tables;
 * there is no other list of names.
 */
#ifndef SERVE_CONFIG_SCHEMA_H
#define SERVE_CONFIG_SCHEMA_H

#include "base/buf.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What stands in a number that was not given and has no default of its own. */
#define CONFIG_UNSET (-1)

enum config_type {
    CONFIG_TEXT,     /* char * */
    CONFIG_FLAG,     /* bool: true or false */
    CONFIG_COUNT,    /* int64_t: whole numbers, in min .. max */
    CONFIG_NUMBER,   /* double, in min .. max */
    CONFIG_SHARE,    /* double: "2%" or 0.02 */
    CONFIG_DURATION, /* int64_t of ns; the range is in seconds */
    CONFIG_SIZE,     /* int64_t of bytes */
    CONFIG_MODE,     /* int: a file's mode, in octal digits */
    CONFIG_CHOICE,   /* int: the place of the name in `choices` */
    CONFIG_WORDS,    /* struct config_words: a list of texts, or one */
    CONFIG_LINE,     /* the same; one text is taken apart into words, as a shell would see them */
    CONFIG_NUMBERS,  /* struct config_numbers: a list of whole numbers, or one */
    CONFIG_PAIRS,    /* struct config_pairs: "name: value" */
    CONFIG_GROUP,    /* a struct with fields of its own */
    CONFIG_GROUPS,   /* items and count: a list of those */
};

/* What a change of the field asks for. */
enum config_change_kind {
    CHANGE_APPLIES,
    CHANGE_RESTARTS,
    CHANGE_WITHIN,   /* its own fields say it */
    CHANGE_POOLS,    /* by the pools' names */
    CHANGE_SHOWS,    /* where it is used: defaults */
    CHANGE_REPLACES, /* of a pool; CHANGE_APPLIES: while it runs */
};

struct config_group;

struct config_field {
    const char *key;
    enum config_type type;
    bool required;
    bool secret;   /* shown as (hidden); of pairs: those whose name says so */
    unsigned only; /* bits of the group's selector for which it is there; 0: all */
    enum config_change_kind change;
    uint32_t offset;
    const char *otherwise; /* as it would be written; NULL: unset, which rules.c may fill in */
    double min, max;       /* of numbers, and of the bytes of a text */
    const char *choices;   /* "a|b|c" */
    const struct config_group *group;
    /* Of a text, or each of several. May be NULL. */
    enum weir_status (*check)(const char *text, struct weir_error *err);
};

struct config_group {
    const struct config_field *fields;
    size_t count;
    size_t size;           /* of the struct */
    const char *selector;  /* a CONFIG_CHOICE among the fields; NULL: none */
    const char *item_name; /* what one of a list is called in messages: "pool" */
};

extern const struct config_group config_schema;
/* Those of the list `pools`. */
extern const struct config_group config_pool_schema;

/* NULL: there is none. */
const struct config_field *config_field_find(const struct config_group *g, const char *key);
/* The number of the choice, or -1. */
int config_choice(const char *choices, const char *name);
/* The name of a choice; "" for any other number. */
void config_choice_put(const char *choices, int number, struct buf *out);

#endif
