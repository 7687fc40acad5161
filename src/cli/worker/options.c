/* See options.h. */
#include "cli/worker/options.h"

#include "base/error.h"
#include "base/json.h"
#include "cli/options.h"
#include "exec/template/shell.h"

#include <stddef.h>
#include <string.h>

#define INIT_S    30
#define TIMEOUT_S 10
#define GRACE_S   5
#define WAIT_MIN  0.05
#define WAIT_MAX  3600

struct parsed {
    struct worker_options o;
    struct option_list lines;
};

#define AT(field) .at = offsetof(struct parsed, o.field)

static const struct option_spec specs[] = {
    {.name = "command",
     .kind = OPTION_TEXT,
     .argument = "NAME",
     AT(command),
     .group = "What is asked",
     .help =
         "a command that the worker knows: it is called with --args and must succeed (with --args "
         "alone: process)"},
    {.name = "args",
     .kind = OPTION_TEXT,
     .argument = "JSON",
     AT(args),
     .group = "What is asked",
     .help = "its args, such as a row of a file (null)"},
    {.name = "init-timeout",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     AT(init_ns),
     .min = WAIT_MIN,
     .max = WAIT_MAX,
     .group = "How long it may take",
     .help = "from its start to its first answer (30s)"},
    {.name = "timeout",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     AT(timeout_ns),
     .min = WAIT_MIN,
     .max = WAIT_MAX,
     .group = "How long it may take",
     .help = "for the answer to a request (10s)"},
    {.name = "grace",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     AT(grace_ns),
     .min = WAIT_MIN,
     .max = WAIT_MAX,
     .group = "How long it may take",
     .help = "to end when it is to: at shutdown, at the end of its input, at SIGTERM (5s)"},
    {.name = "json",
     .kind = OPTION_FLAG,
     AT(json),
     .group = "What is told",
     .help = "the result as one JSON object"},
    {.name = "help",
     .letter = 'h',
     .kind = OPTION_FLAG,
     AT(help),
     .group = "What is told",
     .help = "this"},
};

static const struct options_part parts[] = {{specs, sizeof specs / sizeof *specs, 0}};

static const struct options_table table = {
    .command = "weir worker check",
    .usage = "[options] 'CMD'",
    .intro =
        "Starts a program, speaks the protocol of workers to it (docs/worker-protocol.md), and "
        "says "
        "what it gets wrong, one line for each thing that is checked: ok, FAIL with a remedy, or "
        "skip. The program is started three times, and once more for each time that it has to be "
        "ended. CMD is taken apart into words as a shell does, and nothing in it is expanded.",
    .outro = "Examples:\n"
             "  weir worker check 'python3 my_worker.py'\n"
             "  weir worker check './worker --model m.bin' --command predict --args "
             "'{\"text\":\"good\"}'\n"
             "\n"
             "Exit status: 0 nothing is wrong; 1 something is; 2 usage error, or there is no such "
             "program.\n",
    .parts = parts,
    .part_count = 1,
    .positional_at = offsetof(struct parsed, lines),
    .takes_positional = true,
};

/* A text that the worker's request must be able to hold. */
static enum weir_status check_call(struct worker_options *o, struct weir_error *err)
{
    struct json_fault fault;

    if (!o->args)
        o->args = "null";
    else if (!o->command)
        o->command = "process";
    if (!json_check(slice_of(o->args), &fault))
        return error_set(err, WEIR_E_INVALID,
                         "--args: not JSON: %s, at byte %zu; a text needs quotes of its own: "
                         "--args '\"text\"'",
                         fault.what, fault.offset);
    if (o->command && o->command[0] == '\0')
        return error_set(err, WEIR_E_INVALID,
                         "--command: is empty; name one that the worker knows");
    return WEIR_OK;
}

static enum weir_status check(struct parsed *p, struct weir_error *err)
{
    struct worker_options *o = &p->o;
    enum weir_status status;

    if (p->lines.count != 1)
        return error_set(
            err, WEIR_E_INVALID, "%s",
            p->lines.count == 0
                ? "no command; name the worker's: weir worker check 'python3 my_worker.py'"
                : "more than one command; put all of it between quotes: weir worker check "
                  "'python3 my_worker.py'");
    o->line = p->lines.items[0];
    status = check_call(o, err);
    if (status != WEIR_OK)
        return status;
    status = shell_split(o->line, &o->words, err);
    if (status == WEIR_E_INVALID)
        error_prefix(err, "CMD");
    if (status == WEIR_OK && !argvec_argv(&o->words))
        status = error_nomem(err);
    if (status != WEIR_OK)
        argvec_free(&o->words);
    return status;
}

enum weir_status worker_options_read(struct worker_options *ret, int argc, char **argv,
                                     struct weir_error *err)
{
    struct parsed p = {.o = {.init_ns = INIT_S * NS_PER_S,
                             .timeout_ns = TIMEOUT_S * NS_PER_S,
                             .grace_ns = GRACE_S * NS_PER_S}};
    enum weir_status status = options_parse(&table, argc, argv, &p, err);

    if (status == WEIR_OK && !p.o.help)
        status = check(&p, err);
    option_list_free(&p.lines);
    if (status == WEIR_OK)
        *ret = p.o;
    return status;
}

void worker_options_free(struct worker_options *o)
{
    argvec_free(&o->words);
}

void worker_help_put(struct buf *out)
{
    options_help(&table, 100, out);
}
