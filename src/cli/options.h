/*
 * Command line options from a table: the parser, the help text, and the errors.
 *
 *     static const struct option_spec specs[] = {
 *         {.name = "jobs", .letter = 'j', .kind = OPTION_COUNT, .argument = "N", .min = 1, .max = 1e6,
 *          .at = offsetof(struct my, jobs), .help = "most in flight (default 8)", .group = "Flow"},
 *     };
 *     static const struct options_part parts[] = {{specs, sizeof specs / sizeof *specs, 0}};
 *     options_parse(&table, argc, argv, &my, &err)      // argv[0] is the command's own name
 *
 * A table has one part or several. A part that commands share counts its offsets from a struct of
 * its own, which each of them holds somewhere in `into`.
 *
 * Understood: --name=value, --name value, -j8, -j 8, -qv (flags together), `--` (all that follows
 * is positional, or the rest of a table that has one), "-" (positional), and positional arguments
 * between options. A long name may not be abbreviated: an abbreviation that is unique today is
 * another option tomorrow.
 *
 * Everything stored points into argv, which must outlive it; lists grow by mem_realloc and are the
 * caller's. On failure `into` may be half filled in. Pure but for that memory; no thread of its
 * own.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "base/buf.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>

enum option_kind {
    OPTION_FLAG,     /* bool; takes no argument */
    OPTION_TEXT,     /* const char *; the last one counts */
    OPTION_LIST,     /* struct option_list; each one counts */
    OPTION_COUNT,    /* int64_t in [min, max] (parse_count) */
    OPTION_NUMBER,   /* double in [min, max] */
    OPTION_DURATION, /* duration_ns in [min, max] seconds */
    OPTION_SIZE,     /* uint64_t bytes in [min, max] */
    OPTION_CHOICE,   /* int: the index in choices */
    OPTION_PAIR, /* struct option_list: its name and then its value (NULL for a flag); each counts */
    OPTION_SET,  /* set() does it */
};

struct option_list {
    const char **items;
    size_t count;
};

struct option_spec {
    const char *name; /* without "--" */
    char letter;      /* 0: none */
    enum option_kind kind;
    const char *argument; /* its name in the help; NULL for a flag */
    const char *help;
    const char *group;   /* heading in the help; options of a group stand together */
    size_t at;           /* offsetof the field in the part's struct */
    double min, max;     /* both 0: parse's own range */
    const char *choices; /* OPTION_CHOICE: "auto|1.1|2" */
    unsigned only;       /* bits of the command's own, such as the kinds of run it is for; 0: all */
    /* OPTION_SET: value is NULL for an option without an argument name. `into`: the part's struct. */
    enum weir_status (*set)(void *into, const char *value, struct weir_error *err);
};

struct options_part {
    const struct option_spec *specs;
    size_t count;
    size_t at; /* offsetof the part's struct in `into` */
};

/* Options as they were given, one after the other. */
struct options_given {
    const struct option_spec **items;
    size_t count;
};

struct options_table {
    const char *command; /* "weir run"; the prefix of errors is the caller's business */
    const char *usage;   /* "[options] [FILE...]" */
    const char *intro;   /* below the usage line */
    const char *outro;   /* at the end of the help */
    const struct options_part *parts; /* in the order of the help */
    size_t part_count;
    size_t positional_at; /* offsetof a struct option_list for positional arguments */
    bool takes_positional;
    bool takes_negative; /* -5 is positional, too: no option of the table is a digit */
    size_t rest_at;      /* offsetof a struct option_list for what stands behind `--` */
    bool takes_rest;
    size_t given_at; /* offsetof a struct options_given */
    bool notes_given;
};

/* Errors read "--tpm: ...": put the command's name before them with error_prefix. WEIR_E_INVALID or
 * WEIR_E_NOMEM. */
WEIR_MUST_CHECK enum weir_status options_parse(const struct options_table *table, int argc,
                                               char **argv, void *into, struct weir_error *err);
/* The whole help text, in lines of at most `width` columns (40 or more). */
void options_help(const struct options_table *table, size_t width, struct buf *out);
/* The last one of that name that was given; NULL: none. */
const struct option_spec *options_find_given(const struct options_given *given, const char *name);
void options_given_free(struct options_given *given);
/* Frees the array of a list and empties it. */
void option_list_free(struct option_list *list);
WEIR_MUST_CHECK enum weir_status option_list_add(struct option_list *list, const char *item,
                                                 struct weir_error *err);

/*
 * The name that `word` was most likely meant to be: the nearest by edit distance (transpositions
 * count one), or NULL when none is near. names: NULL at the end.
 */
const char *options_nearest(const char *word, const char *const *names);

#endif
