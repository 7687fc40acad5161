#include "cli/client/client.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/nearest.h"
#include "cli/client/request.h"
#include "cli/commands.h"
#include "loop/loop.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define HELP_WIDTH 100
#define VERBS_MAX  16

const struct option_spec client_common_specs[CLIENT_COMMON_COUNT] = {
    {.name = "api",
     .kind = OPTION_TEXT,
     .argument = "ADDRESS",
     .at = offsetof(struct client_common, api),
     .group = "The daemon",
     .help = "where it listens: unix:PATH or http://HOST:PORT (default: WEIR_API, else where weir "
             "serve listens by default)"},
    {.name = "token-file",
     .kind = OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(struct client_common, token_file),
     .group = "The daemon",
     .help = "the token to show it (default: that in WEIR_API_TOKEN, if any)"},
    {.name = "json",
     .kind = OPTION_FLAG,
     .at = offsetof(struct client_common, json),
     .group = "What is told",
     .help = "the API's own JSON, one object on a line"},
    {.name = "utc",
     .kind = OPTION_FLAG,
     .at = offsetof(struct client_common, utc),
     .group = "What is told",
     .help = "times as they are, in UTC, not as \"3m ago\""},
    {.name = "help",
     .letter = 'h',
     .kind = OPTION_FLAG,
     .at = offsetof(struct client_common, help),
     .group = "What is told",
     .help = "this"},
};

int client_complain(const struct client *c, const struct weir_error *err)
{
    fprintf(stderr, "%s: %s\n", c->name, err->message);
    return err->status == WEIR_E_INVALID ? CLI_USAGE : CLI_FAILED;
}

int client_usage(const struct client *c, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "%s: ", c->name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return CLI_USAGE;
}

bool client_flush(struct client *c)
{
    const char *why = NULL;

    if (c->lost)
        return false;
    if (c->out.failed)
        why = "out of memory";
    else if (c->out.len > 0 &&
             (fwrite(c->out.data, 1, c->out.len, stdout) != c->out.len || fflush(stdout) != 0))
        why = strerror(errno);
    c->lost = why != NULL;
    if (why && errno != EPIPE)
        fprintf(stderr, "%s: standard output: %s\n", c->name, why);
    buf_clear(&c->out);
    return !why;
}

/* ---- the verb ---- */

static const struct client_verb *find_verb(const struct client_command *command, const char *name)
{
    for (size_t i = 0; i < command->verb_count; i++) {
        if (strcmp(command->verbs[i].name, name) == 0)
            return &command->verbs[i];
    }
    return NULL;
}

static void put_usage(const struct client_command *command, FILE *to)
{
    fprintf(to, "Usage: weir %s COMMAND [options]\n\n", command->name);
    for (size_t i = 0; i < command->verb_count; i++)
        fprintf(to, "  %-14s %s\n", command->verbs[i].name, command->verbs[i].help);
    fprintf(to, "\nweir %s COMMAND --help says what it takes.\n", command->name);
}

static int unknown_verb(const struct client_command *command, const char *name)
{
    const char *names[VERBS_MAX + 1] = {NULL};
    const char *nearest;

    for (size_t i = 0; i < command->verb_count && i < VERBS_MAX; i++)
        names[i] = command->verbs[i].name;
    nearest = nearest_name(name, names);
    fprintf(stderr, "weir %s: unknown command \"%.80s\"; ", command->name, name);
    if (nearest) {
        fprintf(stderr, "did you mean %s?\n", nearest);
        return CLI_USAGE;
    }
    fputs("there is:", stderr);
    for (size_t i = 0; i < command->verb_count; i++)
        fprintf(stderr, "%s %s", i > 0 ? "," : "", command->verbs[i].name);
    fputc('\n', stderr);
    return CLI_USAGE;
}

/* ---- the call ---- */

struct options_table client_table(const struct client_command *command,
                                  const struct client_verb *verb, struct options_part parts[3],
                                  struct buf *name)
{
    parts[0] = (struct options_part){verb->specs, verb->spec_count, 0};
    parts[1] = (struct options_part){verb->shared, verb->shared_count, 0};
    parts[2] = (struct options_part){client_common_specs, CLIENT_COMMON_COUNT, 0};
    buf_printf(name, "weir %s%s%s", command->name, verb->name ? " " : "",
               verb->name ? verb->name : "");
    return (struct options_table){.command = name->data ? name->data : "weir",
                                  .usage = verb->usage ? verb->usage : "[options]",
                                  .intro = verb->intro ? verb->intro : verb->help,
                                  .outro = verb->outro,
                                  .parts = parts,
                                  .part_count = 3,
                                  .positional_at = offsetof(struct client_common, words),
                                  .takes_positional = true,
                                  .takes_negative = true,
                                  .rest_at = offsetof(struct client_common, rest),
                                  .takes_rest = verb->takes_rest};
}

static int help(struct client *c, const struct client_verb *verb, struct options_table table)
{
    _cleanup_buf_ struct buf intro = {0};

    /* A verb that has no more to say: its line, as a sentence. */
    if (!verb->intro) {
        buf_printf(&intro, "%s.", verb->help);
        if (intro.data)
            intro.data[0] = (char)toupper((unsigned char)intro.data[0]);
        table.intro = intro.data;
    }
    options_help(&table, HELP_WIDTH, &c->out);
    return client_flush(c) ? CLI_OK : CLI_FAILED;
}

static int check_words(const struct client *c, const struct client_verb *verb)
{
    const struct option_list *words = &c->o->words;

    if (words->count < verb->words_min)
        return client_usage(c, "something is missing: %s %s", c->name,
                            verb->usage ? verb->usage : "");
    if (words->count > verb->words_max)
        return client_usage(c, "\"%.100s\" is not expected here; %s --help says what is",
                            words->items[verb->words_max], c->name);
    return CLI_OK;
}

static void look_at_terminal(struct client *c)
{
    const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
    struct winsize size;

    c->now_ns = loop_wall_clock_ns();
    if (!isatty(STDOUT_FILENO))
        return;
    c->width = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
    c->colour = !(no_colour && *no_colour) && term && strcmp(term, "dumb") != 0;
}

static int call(struct client *c, const struct client_verb *verb, void *options)
{
    struct weir_error err = {0};
    int result = check_words(c, verb);

    if (result != CLI_OK)
        return result;
    look_at_terminal(c);
    if (!verb->is_local && client_open(c, &err) != WEIR_OK) {
        result = client_complain(c, &err);
    } else {
        result = verb->run(c, options);
        if (!client_flush(c) && result == CLI_OK)
            result = CLI_FAILED;
    }
    client_close(c);
    return result;
}

static int run_verb(const struct client_command *command, const struct client_verb *verb, int argc,
                    char **argv)
{
    size_t bytes = verb->options_bytes ? verb->options_bytes : sizeof(struct client_common);
    struct client_common *options = mem_calloc(1, bytes);
    _cleanup_buf_ struct buf name = {0};
    struct options_part parts[3];
    struct options_table table = client_table(command, verb, parts, &name);
    struct client c = {.o = options, .name = table.command};
    struct weir_error err = {0};
    int result;

    if (!options || name.failed)
        result = (error_nomem(&err), client_complain(&c, &err));
    else if (options_parse(&table, argc, argv, options, &err) != WEIR_OK)
        result = client_complain(&c, &err);
    else if (options->help)
        result = help(&c, verb, table);
    else
        result = call(&c, verb, options);
    buf_free(&c.out);
    if (options) {
        option_list_free(&options->words);
        option_list_free(&options->rest);
    }
    mem_free(options);
    return result;
}

int client_main(const struct client_command *command, int argc, char **argv)
{
    const struct client_verb *verb;

    if (!command->verbs[0].name)
        return run_verb(command, &command->verbs[0], argc, argv);
    if (argc < 2) {
        put_usage(command, stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        put_usage(command, stdout);
        return fflush(stdout) == 0 ? CLI_OK : CLI_FAILED;
    }
    verb = find_verb(command, argv[1]);
    if (!verb)
        return unknown_verb(command, argv[1]);
    return run_verb(command, verb, argc - 1, argv + 1);
}
