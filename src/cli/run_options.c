/*
 * What all runs share of the options of `weir run`: the table put together, which kind of run is
 * meant, and the checks between options.
 */
#include "cli/run_options.h"

#include "base/error.h"
#include "base/mem.h"
#include "cli/command/machine.h"
#include "cli/input/combine.h"
#include "cli/run_options_parts.h"

#include <inttypes.h>
#include <string.h>

#define LINE_BYTES_MAX (1024.0 * 1024 * 1024)

/* ---- the table ---- */

#define AT(field) .at = offsetof(struct run_options, field)
#define INPUT     .group = "Input"
#define OUTPUT    .group = "Output"
#define TOLD      .group = "Telling"
#define LOCAL     .group = "Commands and workers", .only = ONLY_COMMAND | ONLY_WORKER

static const struct option_spec files_specs[] = {
    {.name = "template",
     .kind = OPTION_TEXT,
     .argument = "EXPR",
     AT(template_expr),
     .only = ONLY_HTTP | ONLY_WORKER,
     INPUT,
     .help = "builds what is sent from the row (jq)"},
    {.name = "select",
     .kind = OPTION_TEXT,
     .argument = "EXPR",
     AT(select_expr),
     .only = ONLY_HTTP | ONLY_WORKER,
     INPUT,
     .help = "picks the output from the answer (jq)"},
    {.name = "key",
     .kind = OPTION_TEXT,
     .argument = "EXPR",
     AT(key_expr),
     INPUT,
     .help =
         "names the row (jq; default: its custom_id, of commands the row itself if it is short; "
         "else its number)"},
    {.name = "lines",
     .kind = OPTION_FLAG,
     AT(lines),
     INPUT,
     .help = "rows are lines of plain text, not JSON"},
    {.name = "skip-bad",
     .kind = OPTION_FLAG,
     AT(skip_bad),
     INPUT,
     .help = "a row that cannot be read gets an error result in its place, instead of a refusal of "
             "the input"},
    {.name = "max-line",
     .kind = OPTION_SIZE,
     .argument = "SIZE",
     AT(max_line_bytes),
     .min = 1,
     .max = LINE_BYTES_MAX,
     INPUT,
     .help = "longest line that is a row (default 16MiB)"},

    {.name = "output",
     .letter = 'o',
     .kind = OPTION_TEXT,
     .argument = "FILE",
     AT(output),
     OUTPUT,
     .help =
         "results, in the order of the rows (default: standard output). With a file the run can "
         "be gone on with by the same command"},
    {.name = "errors",
     .kind = OPTION_TEXT,
     .argument = "FILE",
     AT(errors),
     OUTPUT,
     .help = "failed rows go here instead"},
    {.name = "meta",
     .kind = OPTION_FLAG,
     AT(meta),
     OUTPUT,
     .help = "adds to each result when, how often and how it was tried"},
    {.name = "journal",
     .kind = OPTION_TEXT,
     .argument = "FILE",
     AT(journal),
     OUTPUT,
     .help = "remembers what is done (default: the output's name with .weir)"},
    {.name = "fresh",
     .kind = OPTION_FLAG,
     AT(fresh),
     OUTPUT,
     .help = "starts over: forgets the journal and replaces the output"},
    {.name = "retry-failed",
     .kind = OPTION_FLAG,
     AT(retry_failed),
     OUTPUT,
     .help = "runs the failed rows again, keeps the others' results"},
    {.name = "unordered",
     .kind = OPTION_FLAG,
     AT(unordered),
     OUTPUT,
     .help = "results as they come, not in the order of the rows; to standard output only"},
};

static const struct option_spec seed_specs[] = {
    {.name = "seed",
     .kind = OPTION_COUNT,
     .argument = "N",
     AT(seed),
     .min = 0,
     .max = 9e18,
     .group = FLOW_OPTIONS_GROUP,
     .help = "of the jitter (default: from the system)"},
};

/* In the words of xargs and GNU parallel. */
#define FLOW_AT(field) .at = offsetof(struct flow_options, field)
#define ALIAS          .group = RUN_COMMAND_GROUP, .only = ONLY_COMMAND

static const struct option_spec alias_specs[] = {
    {.name = "max-procs",
     .letter = 'P',
     .kind = OPTION_COUNT,
     .argument = "N",
     FLOW_AT(jobs),
     .min = 1,
     .max = 100000,
     ALIAS,
     .help = "as --jobs"},
    {.name = "delay",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     FLOW_AT(min_dispatch_delay_ns),
     .max = RUN_DURATION_MAX_S,
     ALIAS,
     .help = "as --min-dispatch-delay"},
};

static const struct option_spec local_specs[] = {
    {.name = "shell",
     .kind = OPTION_FLAG,
     AT(shell),
     LOCAL,
     .help =
         "by sh -c: the words of the command are a script, and what is put in is quoted for it; "
         "a worker's line is run as exec LINE"},
    {.name = "workdir",
     .kind = OPTION_TEXT,
     .argument = "DIR",
     AT(workdir),
     LOCAL,
     .help = "where they start"},
};

static const struct option_spec told_specs[] = {
    {.name = "progress",
     .kind = OPTION_CHOICE,
     .argument = "HOW",
     .choices = "auto|tty|plain|json|none",
     AT(progress),
     TOLD,
     .help = "tty, plain, json, none, or auto: tty on a terminal that shows no results, else plain "
             "(default auto)"},
    {.name = "quiet",
     .letter = 'q',
     .kind = OPTION_FLAG,
     AT(quiet),
     TOLD,
     .help = "no progress and no summary; errors only"},
    {.name = "summary",
     .kind = OPTION_TEXT,
     .argument = "FILE",
     AT(summary),
     TOLD,
     .help = "the summary and all statistics as JSON"},
    {.name = "events",
     .kind = OPTION_TEXT,
     .argument = "FILE",
     AT(events),
     TOLD,
     .help = "each step of each row as a line of JSON"},
    {.name = "help", .letter = 'h', .kind = OPTION_FLAG, AT(help), TOLD, .help = "this"},
};

#define COUNT(specs) (sizeof(specs) / sizeof((specs)[0]))

static const struct options_part parts[] = {
    {files_specs, COUNT(files_specs), 0},
    {flow_option_specs, FLOW_OPTION_COUNT, offsetof(struct run_options, flow)},
    {seed_specs, COUNT(seed_specs), 0},
    {flow_aimd_specs, FLOW_AIMD_COUNT, offsetof(struct run_options, flow)},
    {told_specs, COUNT(told_specs), 0},
    {run_http_specs, RUN_HTTP_OPTION_COUNT, offsetof(struct run_options, http)},
    {run_command_specs, RUN_COMMAND_OPTION_COUNT, offsetof(struct run_options, command)},
    {alias_specs, COUNT(alias_specs), offsetof(struct run_options, flow)},
    {run_worker_specs, RUN_WORKER_OPTION_COUNT, offsetof(struct run_options, worker)},
    {local_specs, COUNT(local_specs), 0},
};

static const struct options_table table = {
    .command = "weir run",
    .usage = "--url URL [options] [FILE...]\n"
             "       weir run --worker CMD [options] [FILE...]\n"
             "       weir run [options] [FILE...] -- CMD [ARG...] [::: VALUE...]...",
    .intro =
        "Takes the rows of the files (standard input when none or - is given), sends each to an "
        "HTTP "
        "service, to one of some long-lived worker processes, or through a command of its own, as "
        "fast as that bears, and writes one result per row, in the order of the rows.\n"
        "Rows for a service or workers are lines of JSON. Rows for a command are lines of text, "
        "or what stands behind :::. In CMD, {} is the row, {.} {/} {//} {/.} are parts of it, {1} "
        "{2} "
        "its columns, {name} a field of a row that is a JSON object, {#} its number and {%} its "
        "place; "
        "without any of them the row is the last argument.",
    .outro =
        "TIME: 1.5s, 200ms, 2m, 1h; a bare number is seconds. SIZE: 512, 64k, 16MiB. N: 100, 10k, "
        "2M.\n\nExit status: 0 all rows ok; 1 some rows failed; 2 usage or input error; 3 stopped, "
        "the same command goes on; 4 stopped by --halt.",
    .parts = parts,
    .part_count = COUNT(parts),
    .positional_at = offsetof(struct run_options, inputs),
    .takes_positional = true,
    .rest_at = offsetof(struct run_options, rest),
    .takes_rest = true,
    .given_at = offsetof(struct run_options, given),
    .notes_given = true,
};

void run_options_help(struct buf *out)
{
    options_help(&table, 100, out);
}

void run_options_init(struct run_options *o)
{
    *o = (struct run_options){
        .max_line_bytes = UINT64_C(16) << 20,
        .progress = PROGRESS_AUTO,
    };
    flow_options_init(&o->flow);
    run_http_options_init(&o->http);
    run_command_options_init(&o->command);
    run_worker_options_init(&o->worker);
}

void run_options_free(struct run_options *o)
{
    run_http_options_free(&o->http);
    run_command_options_free(&o->command);
    o->journal_owned = mem_free(o->journal_owned);
    flow_options_free(&o->flow);
    options_given_free(&o->given);
    option_list_free(&o->inputs);
    option_list_free(&o->rest);
}

/* ---- kinds of runs ---- */

static const char *const kind_names[] = {
    [RUN_HTTP] = "--url", [RUN_WORKER] = "--worker", [RUN_COMMAND] = "-- CMD"};

const char *run_kind_name(enum run_kind kind)
{
    return kind_names[kind];
}

bool run_options_raw(const struct run_options *o)
{
    return o->kind == RUN_COMMAND && !o->command.json;
}

/* Whoever comes from GNU parallel writes no -- before the command. */
static enum weir_status nowhere(const struct run_options *o, struct weir_error *err)
{
    for (size_t i = 1; i < o->inputs.count; i++) {
        if (combine_is_mark(o->inputs.items[i]))
            return error_set(err, WEIR_E_INVALID,
                             "the command stands behind --: weir run [options] -- %.60s ... %s ...",
                             o->inputs.items[0], o->inputs.items[i]);
    }
    return error_set(err, WEIR_E_INVALID,
                     "where rows go is missing: give --url URL (an HTTP service, such as "
                     "https://host/v1/chat/completions), --worker CMD (worker processes), or "
                     "-- CMD (a command for each row)");
}

static enum weir_status find_kind(struct run_options *o, struct weir_error *err)
{
    const bool given[] = {[RUN_HTTP] = o->http.url != NULL,
                          [RUN_WORKER] = o->worker.worker != NULL,
                          [RUN_COMMAND] = o->rest.count > 0};
    bool found = false;

    for (unsigned k = 0; k < COUNT(given); k++) {
        if (!given[k])
            continue;
        if (found)
            return error_set(err, WEIR_E_INVALID,
                             "%s and %s are both given, and rows go one way: give one of them%s",
                             kind_names[o->kind], kind_names[k],
                             k == RUN_COMMAND ? " (a file whose name begins with - is ./-name)"
                                              : "");
        o->kind = (enum run_kind)k;
        found = true;
    }
    return found ? WEIR_OK : nowhere(o, err);
}

/* An option of another kind of run would do nothing: whoever gives it expects something else. */
static enum weir_status check_only(const struct run_options *o, struct weir_error *err)
{
    for (size_t i = 0; i < o->given.count; i++) {
        const struct option_spec *spec = o->given.items[i];
        unsigned only = spec->only;

        if (only == 0 || (only & 1U << o->kind))
            continue;
        return error_set(err, WEIR_E_INVALID,
                         "--%s: is of runs with %s%s%s, and this one has %s; leave it out",
                         spec->name,
                         kind_names[only & ONLY_HTTP     ? RUN_HTTP
                                    : only & ONLY_WORKER ? RUN_WORKER
                                                         : RUN_COMMAND],
                         (only & (only - 1)) ? " or " : "",
                         !(only & (only - 1))  ? ""
                         : only & ONLY_COMMAND ? kind_names[RUN_COMMAND]
                                               : kind_names[RUN_WORKER],
                         kind_names[o->kind]);
    }
    return WEIR_OK;
}

static bool is_given(const struct run_options *o, const char *name)
{
    return options_find_given(&o->given, name) != NULL;
}

/*
 * Of commands and workers: as many as there are processors, and the AIMD throttle, which does
 * nothing while nobody says that he is full. The adaptive one looks at how long things take, which
 * says nothing about programs of one's own.
 */
static void fill_in_local(struct run_options *o)
{
    if (!is_given(o, "jobs") && !is_given(o, "max-procs"))
        o->flow.jobs = machine_processors();
    if (!is_given(o, "throttle"))
        o->flow.throttle = THROTTLE_AIMD;
    if (!is_given(o, "timeout"))
        o->flow.timeout_ns = o->kind == RUN_WORKER ? 60 * NS_PER_S : 0;
    if (!is_given(o, "retries") && o->kind == RUN_COMMAND)
        o->flow.retries = 0;
}

/* ---- what must hold between options ---- */

/* With an output, a journal stands beside it unless another name is given. */
static enum weir_status place_journal(struct run_options *o, struct weir_error *err)
{
    struct buf journal = {0};

    if (!o->output || o->journal)
        return WEIR_OK;
    buf_puts(&journal, o->output);
    buf_puts(&journal, ".weir");
    o->journal_owned = buf_steal(&journal, NULL);
    buf_free(&journal);
    if (!o->journal_owned)
        return error_nomem(err);
    o->journal = o->journal_owned;
    return WEIR_OK;
}

static enum weir_status check_files(struct run_options *o, struct weir_error *err)
{
    if (o->output && strcmp(o->output, "-") == 0)
        o->output = NULL;
    if (o->output && !*o->output)
        return error_set(err, WEIR_E_INVALID, "--output: the name is empty");
    if (o->errors && !*o->errors)
        return error_set(err, WEIR_E_INVALID, "--errors: the name is empty");
    if (o->output && o->errors && strcmp(o->output, o->errors) == 0)
        return error_set(err, WEIR_E_INVALID, "--errors: is the same file as --output");
    if (o->fresh && o->retry_failed)
        return error_set(err, WEIR_E_INVALID,
                         "--retry-failed: goes on with what --fresh throws away; give one of them");
    if (!o->output && o->retry_failed)
        return error_set(err, WEIR_E_INVALID,
                         "--retry-failed: needs the -o FILE of the run before");
    if (!o->output && o->journal)
        return error_set(err, WEIR_E_INVALID,
                         "--journal: needs -o FILE; what went to standard output cannot be gone on "
                         "with");
    if (o->output && o->unordered)
        return error_set(err, WEIR_E_INVALID,
                         "--unordered: what is written out of order cannot be gone on with; leave "
                         "-o out, and write > %.200s",
                         o->output);
    for (size_t i = 0; i < o->inputs.count; i++) {
        if (!*o->inputs.items[i])
            return error_set(err, WEIR_E_INVALID, "the name of input file %zu is empty", i + 1);
    }
    return place_journal(o, err);
}

static enum weir_status check_kind(struct run_options *o, struct weir_error *err)
{
    switch (o->kind) {
    case RUN_HTTP:
        return run_http_options_check(&o->http, err);
    case RUN_WORKER:
        return run_worker_options_check(o, err);
    case RUN_COMMAND:
        return run_command_options_check(o, err);
    }
    return error_set(err, WEIR_E_INTERNAL, "a run of no kind");
}

enum weir_status run_options_parse(struct run_options *o, int argc, char **argv,
                                   struct weir_error *err)
{
    enum weir_status status = options_parse(&table, argc, argv, o, err);

    if (status == WEIR_OK && o->help)
        return WEIR_OK;
    if (status == WEIR_OK)
        status = find_kind(o, err);
    if (status == WEIR_OK)
        status = check_only(o, err);
    if (status == WEIR_OK && o->kind != RUN_HTTP)
        fill_in_local(o);
    if (status == WEIR_OK)
        status = check_kind(o, err);
    if (status == WEIR_OK)
        status = check_files(o, err);
    if (status == WEIR_OK)
        status = flow_options_check(&o->flow, 1U << o->flow.throttle, err);
    if (status != WEIR_OK)
        error_prefix(err, "weir run");
    return status;
}
