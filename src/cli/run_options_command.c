/*
 * The options of runs with a command: the table, and what must hold between them. Names and
 * meanings are those of xargs and GNU parallel where these have them.
 */
#include "base/error.h"
#include "base/mem.h"
#include "base/parse.h"
#include "cli/command/machine.h"
#include "cli/input/combine.h"
#include "cli/run_options_parts.h"

#include <string.h>

/* What a command writes to both streams is one record of the journal, which takes 1e9 bytes; or a line of JSON in memory. */
#define KEPT_BYTES_MAX (UINT64_C(448) << 20)
/* Else it only passes through; what is much goes by way of a file. */
#define OUTPUT_BYTES_MAX (1024.0 * 1024 * 1024 * 1024)
#define MAX_ARGS_MAX     65536

/* ---- setters ---- */

static enum weir_status set_term_seq(void *into, const char *value, struct weir_error *err)
{
    struct run_command_options *o = into;

    return values_term_seq(value, &o->term_seq, err);
}

static enum weir_status set_load(void *into, const char *value, struct weir_error *err)
{
    struct run_command_options *o = into;

    return values_load(value, machine_processors(), &o->load, err);
}

static enum weir_status set_capacity_exits(void *into, const char *value, struct weir_error *err)
{
    struct run_command_options *o = into;

    return values_exits(value, &o->capacity_exits, err);
}

/* ---- the table ---- */

#define AT(field) .at = offsetof(struct run_command_options, field)
#define COMMAND   .group = RUN_COMMAND_GROUP, .only = ONLY_COMMAND

const struct option_spec run_command_specs[] = {
    {.name = "arg-file",
     .letter = 'a',
     .kind = OPTION_LIST,
     .argument = "FILE",
     AT(argfiles),
     COMMAND,
     .help = "rows are its lines; given again: all combinations, as with :::"},
    {.name = "null",
     .letter = '0',
     .kind = OPTION_FLAG,
     AT(nul),
     COMMAND,
     .help = "rows end at a NUL byte, not at a line end; empty ones are rows too"},
    {.name = "colsep",
     .kind = OPTION_TEXT,
     .argument = "REGEX",
     AT(colsep),
     COMMAND,
     .help = "parts each row into columns, {1} {2} ... (POSIX extended; \\t is a tab)"},
    {.name = "max-args",
     .letter = 'n',
     .kind = OPTION_COUNT,
     .argument = "N",
     AT(max_args),
     .min = 1,
     .max = MAX_ARGS_MAX,
     COMMAND,
     .help = "N lines are one row, {1} to {N}; the last one of a file may have fewer (default 1)"},
    {.name = "replace",
     .letter = 'I',
     .kind = OPTION_TEXT,
     .argument = "STR",
     AT(replace),
     COMMAND,
     .help = "stands for the row, in place of {}"},
    {.name = "stdin",
     .kind = OPTION_FLAG,
     AT(stdin_row),
     COMMAND,
     .help = "the row goes to the command's standard input, and is not appended"},
    {.name = "json",
     .kind = OPTION_FLAG,
     AT(json),
     COMMAND,
     .help = "results as lines of JSON; default: the bytes that each command writes, row by row"},
    {.name = "keep-order",
     .letter = 'k',
     .kind = OPTION_FLAG,
     AT(keep_order),
     COMMAND,
     .help = "the order of the rows: so it is anyway, unless --unordered is given"},
    {.name = "no-run-if-empty",
     .letter = 'r',
     .kind = OPTION_FLAG,
     AT(no_run_if_empty),
     COMMAND,
     .help = "nothing is run when there are no rows: so it is anyway"},
    {.name = "tag",
     .kind = OPTION_FLAG,
     AT(tag),
     COMMAND,
     .help = "each line of output begins with the row and a tab"},
    {.name = "tagstring",
     .kind = OPTION_TEXT,
     .argument = "STR",
     AT(tagstring),
     COMMAND,
     .help = "... with STR and a tab; placeholders are filled in"},
    {.name = "joblog",
     .kind = OPTION_TEXT,
     .argument = "FILE",
     AT(joblog),
     COMMAND,
     .help = "a line for each row that has ended, in GNU parallel's columns"},
    {.name = "resume",
     .kind = OPTION_FLAG,
     AT(resume),
     COMMAND,
     .help = "passes over the rows that the --joblog has"},
    {.name = "resume-failed",
     .kind = OPTION_FLAG,
     AT(resume_failed),
     COMMAND,
     .help = "passes over those that it says ended with 0"},
    {.name = "term-seq",
     .kind = OPTION_SET,
     .argument = "LIST",
     .set = set_term_seq,
     COMMAND,
     .help = "how what runs too long or is cancelled is ended: signals and milliseconds between "
             "(default TERM,200,TERM,100,TERM,50,KILL,25)"},
    {.name = "load",
     .kind = OPTION_SET,
     .argument = "N",
     .set = set_load,
     COMMAND,
     .help =
         "nothing starts while the load of the last minute is above N, or N% of the processors"},
    {.name = "memfree",
     .kind = OPTION_SIZE,
     .argument = "SIZE",
     AT(memfree_bytes),
     .min = 1,
     .max = 1e18,
     COMMAND,
     .help = "nothing starts while less memory is available"},
    {.name = "dry-run",
     .kind = OPTION_FLAG,
     AT(dry_run),
     COMMAND,
     .help = "prints the command lines, and runs none"},
    {.name = "bar",
     .kind = OPTION_FLAG,
     AT(bar),
     COMMAND,
     .help = "shows progress and a summary, which runs of commands do not unless they are asked"},
    {.name = "capacity-exit",
     .kind = OPTION_SET,
     .argument = "LIST",
     .set = set_capacity_exits,
     COMMAND,
     .help = "exit codes that mean \"full, try later\", or none (default 75)"},
    {.name = "output-limit",
     .kind = OPTION_SIZE,
     .argument = "SIZE",
     AT(output_max_bytes),
     .min = 1,
     .max = OUTPUT_BYTES_MAX,
     COMMAND,
     .help = "most that a command may write to standard output, and to standard error (default "
             "and most with -o or --json: 448MiB; else there is no limit)"},
};

_Static_assert(sizeof(run_command_specs) / sizeof(run_command_specs[0]) == RUN_COMMAND_OPTION_COUNT,
               "as many as the header says");

void run_command_options_init(struct run_command_options *o)
{
    *o = (struct run_command_options){
        .max_args = 1,
        .capacity_exits = {{0, UINT64_C(1) << (75 - 64), 0, 0}},
    };
    /* A constant that is known to be good. */
    if (values_term_seq("TERM,200,TERM,100,TERM,50,KILL,25", &o->term_seq, NULL) != WEIR_OK)
        o->term_seq.count = 0;
}

void run_command_options_free(struct run_command_options *o)
{
    option_list_free(&o->words);
    option_list_free(&o->values);
    option_list_free(&o->argfiles);
}

/* ---- what must hold between options ---- */

/* The rest of the command line: the command, then its values. */
static enum weir_status part_rest(struct run_options *o, struct weir_error *err)
{
    struct run_command_options *c = &o->command;
    enum weir_status status = WEIR_OK;
    size_t at = 0;

    while (status == WEIR_OK && at < o->rest.count && !combine_is_mark(o->rest.items[at]))
        status = option_list_add(&c->words, o->rest.items[at++], err);
    if (status == WEIR_OK && c->words.count == 0)
        return error_set(err, WEIR_E_INVALID,
                         "there is no command before %s; write -- CMD [ARG...] ::: VALUE...",
                         o->rest.items[at]);
    for (size_t i = 0; status == WEIR_OK && i < c->argfiles.count; i++) {
        status = option_list_add(&c->values, "::::", err);
        if (status == WEIR_OK)
            status = option_list_add(&c->values, c->argfiles.items[i], err);
    }
    while (status == WEIR_OK && at < o->rest.count)
        status = option_list_add(&c->values, o->rest.items[at++], err);
    return status;
}

/* Rows that come from one file are read as they are needed; only combinations are held in memory. */
static enum weir_status place_inputs(struct run_options *o, struct weir_error *err)
{
    struct run_command_options *c = &o->command;
    enum weir_status status;

    if (c->values.count == 0)
        return WEIR_OK;
    if (o->inputs.count > 0)
        return error_set(err, WEIR_E_INVALID,
                         "rows come from %s and from %s; give one of them. What belongs to the "
                         "command stands behind --",
                         o->inputs.items[0],
                         c->argfiles.count > 0 ? "--arg-file" : c->values.items[0]);
    if (c->values.count != 2 || strcmp(c->values.items[0], "::::") != 0)
        return WEIR_OK;
    status = option_list_add(&o->inputs, c->values.items[1], err);
    option_list_free(&c->values);
    return status;
}

static enum weir_status check_raw(const struct run_options *o, struct weir_error *err)
{
    const struct run_command_options *c = &o->command;

    if (c->json && (c->tag || c->tagstring))
        return error_set(err, WEIR_E_INVALID,
                         "--tag: is for the bytes that commands write; leave --json out");
    if (!c->json && o->errors)
        return error_set(err, WEIR_E_INVALID,
                         "--errors: the bytes of a failed command do not say that it failed; give "
                         "--json too");
    if (!c->json && o->meta)
        return error_set(err, WEIR_E_INVALID, "--meta: is a member of lines of JSON; give --json");
    if (o->unordered && c->keep_order)
        return error_set(err, WEIR_E_INVALID, "--keep-order: and --unordered contradict");
    return WEIR_OK;
}

static enum weir_status check_resume(const struct run_options *o, struct weir_error *err)
{
    const struct run_command_options *c = &o->command;

    if (!c->resume && !c->resume_failed)
        return WEIR_OK;
    if (!c->joblog)
        return error_set(err, WEIR_E_INVALID,
                         "--resume: needs the --joblog FILE of the run before");
    if (o->output)
        return error_set(err, WEIR_E_INVALID,
                         "--resume: with -o FILE the same command goes on by itself, and "
                         "--retry-failed runs the failed rows again; leave it out");
    return WEIR_OK;
}

static enum weir_status check_output_limit(struct run_options *o, struct weir_error *err)
{
    uint64_t *bytes = &o->command.output_max_bytes;
    bool kept = (o->output && strcmp(o->output, "-") != 0) || o->command.json;

    if (kept && *bytes > KEPT_BYTES_MAX)
        return error_set(
            err, WEIR_E_INVALID,
            "--output-limit: with -o or --json it is 448MiB at most, for the journal and a line "
            "of JSON hold no more");
    if (*bytes == 0)
        *bytes = kept ? KEPT_BYTES_MAX : (uint64_t)OUTPUT_BYTES_MAX;
    return WEIR_OK;
}

enum weir_status run_command_options_check(struct run_options *o, struct weir_error *err)
{
    struct run_command_options *c = &o->command;
    enum weir_status status = part_rest(o, err);

    if (status == WEIR_OK)
        status = place_inputs(o, err);
    if (status == WEIR_OK)
        status = check_raw(o, err);
    if (status == WEIR_OK)
        status = check_resume(o, err);
    if (status != WEIR_OK)
        return status;
    if (c->max_args > 1 && c->colsep)
        return error_set(err, WEIR_E_INVALID,
                         "--colsep: and --max-args both make columns; give one of them");
    if (c->joblog && !*c->joblog)
        return error_set(err, WEIR_E_INVALID, "--joblog: the name is empty");
    return check_output_limit(o, err);
}
