/*
 * The commands that talk to a daemon (`weir serve`) over its HTTP API: what they share.
 *
 *     static const struct client_verb verbs[] = {{.name = "list", .help = "...", .run = list, ...}, ...};
 *     const struct client_command client_task = CLIENT_COMMAND("task", "...", verbs);
 *     int cmd_task(int argc, char **argv) { return client_main(&client_task, argc, argv); }
 *
 * A command has verbs (weir task list), or one without a name (weir status). client_main() finds
 * the verb, reads its options, opens the client, calls run(), and writes out what run() put into
 * c->out; run() returns one of enum cli_exit, and has said what went wrong (client_complain(), or
 * client_ask() did).
 *
 * An options struct begins with a struct client_common. One thread.
 */
#ifndef CLI_CLIENT_CLIENT_H
#define CLI_CLIENT_CLIENT_H

#include "base/buf.h"
#include "cli/options.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct client_common {
    const char *api, *token_file;
    bool json, utc, help;
    struct option_list words; /* positional */
    struct option_list rest;  /* behind `--` */
};

#define CLIENT_COMMON_COUNT 5
extern const struct option_spec client_common_specs[CLIENT_COMMON_COUNT];

struct client {
    const struct client_common *o;
    long timeout_s;   /* of one request; 0: as long as it takes */
    const char *name; /* "weir task list": before its errors */
    void *curl;
    struct buf base;    /* "http://localhost", without a slash at its end */
    struct buf socket;  /* a path; empty: TCP */
    struct buf address; /* as a person writes it */
    struct buf token;   /* wiped at the end */
    bool in_clear;      /* the token would go over a network as it is */
    long status;        /* of the last answer; 0: there was none */
    bool met;           /* the daemon has answered something */
    struct buf body;    /* its body */
    struct buf out;     /* for standard output; client_flush() */
    bool lost;          /* nobody reads standard output any more */
    int64_t now_ns;     /* wall clock, when the command began */
    size_t width;       /* of the terminal; 0: standard output is none */
    bool colour;
};

struct client_verb {
    const char *name; /* NULL: the command's only one */
    const char *help; /* one line */
    const char *usage, *intro, *outro;
    const char *
        words; /* what its words are, for completion: "task", "pool", "batch", "runner", "file", "a|b" */
    size_t words_min, words_max;
    const struct option_spec *specs;
    size_t spec_count;
    const struct option_spec *shared; /* with another verb that has the same options struct */
    size_t shared_count;
    size_t options_bytes; /* 0: that of struct client_common */
    bool takes_rest;
    bool is_local; /* needs no daemon */
    int (*run)(struct client *c, void *options);
};

struct client_command {
    const char *name, *help;
    const struct client_verb *verbs;
    size_t verb_count;
};

#define CLIENT_SPECS(array) .specs = (array), .spec_count = sizeof(array) / sizeof((array)[0])
#define CLIENT_COMMAND(name, help, verbs)                                                          \
    {                                                                                              \
        (name), (help), (verbs), sizeof(verbs) / sizeof((verbs)[0])                                \
    }

/* All of them, NULL at the end. */
extern const struct client_command *const client_commands[];

int client_main(const struct client_command *command, int argc, char **argv);
/* The options of a verb, for who wants to know them (completion). The parts are static. */
struct options_table client_table(const struct client_command *command,
                                  const struct client_verb *verb, struct options_part parts[3],
                                  struct buf *name);

/* "weir task list: MESSAGE" on standard error. Returns what to exit with: CLI_USAGE for WEIR_E_INVALID, else CLI_FAILED. */
int client_complain(const struct client *c, const struct weir_error *err);
int client_usage(const struct client *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Writes c->out. False: it cannot be written, or memory was out; it has said so, unless it was a pipe that nobody reads. */
bool client_flush(struct client *c);

#endif
