/*
 * The options of runs with long-lived workers: the table, and what must hold between them. The
 * figures are design 5's.
 */
#include "base/error.h"
#include "base/parse.h"
#include "cli/run_options_parts.h"
#include "core/pool.h"
#include "core/worker/crew.h"
#include "exec/process/process.h"
#include "exec/template/shell.h"

#include <string.h>

/* An answer is one value of the journal, which takes 1e9 bytes. */
#define FRAME_BYTES_MAX (900.0 * 1024 * 1024)

static enum weir_status set_same_failure(void *into, const char *value, struct weir_error *err)
{
    struct run_worker_options *o = into;
    double share = 0;

    if (strncmp(value, "stop=", 5) == 0) {
        enum weir_status status = parse_share(value + 5, 0.0001, 1, &share, err);

        if (status != WEIR_OK)
            return status;
    } else if (strcmp(value, "continue") != 0 && strcmp(value, "stop") != 0) {
        return error_set(err, WEIR_E_INVALID,
                         "\"%.60s\" is not understood; write continue, stop, or stop=10%%", value);
    }
    o->stop_on_same_failure = *value == 's';
    o->same_failure_share = share;
    return WEIR_OK;
}

#define AT(field) .at = offsetof(struct run_worker_options, field)
#define WORKER    .group = "Workers (with --worker)", .only = ONLY_WORKER
#define TIME(from)                                                                                 \
    .kind = OPTION_DURATION, .argument = "TIME", .min = from, .max = RUN_DURATION_MAX_S
#define COUNT(lo, hi) .kind = OPTION_COUNT, .argument = "N", .min = lo, .max = hi

const struct option_spec run_worker_specs[] = {
    {.name = "worker",
     .kind = OPTION_TEXT,
     .argument = "CMD",
     AT(worker),
     WORKER,
     .help = "the program that rows go to, in words as of a shell: 'python3 my_worker.py'. --jobs "
             "of them are started and kept"},
    {.name = "command",
     .kind = OPTION_TEXT,
     .argument = "NAME",
     AT(command),
     WORKER,
     .help = "of each request (default process)"},
    {.name = "session",
     .kind = OPTION_TEXT,
     .argument = "EXPR",
     AT(session),
     WORKER,
     .help = "the row's session (jq; null: none). All rows of one go to the same worker, in order"},
    {.name = "session-idle",
     TIME(0.001),
     AT(session_idle_ns),
     WORKER,
     .help = "a session that is not used for so long ends (default 300s)"},
    {.name = "checkout-timeout",
     TIME(0),
     AT(checkout_timeout_ns),
     WORKER,
     .help = "longest wait for the session's worker while others have it (default 0: none)"},
    {.name = "init-timeout",
     TIME(0.001),
     AT(init_timeout_ns),
     WORKER,
     .help = "from a worker's start to its first answer (default 30s)"},
    {.name = "ping-every",
     TIME(0.001),
     AT(ping_every_ns),
     WORKER,
     .help = "how often an idle worker is asked whether it is well (default 30s)"},
    {.name = "max-in-flight",
     COUNT(1, CREW_IN_FLIGHT_MAX),
     AT(max_in_flight),
     WORKER,
     .help = "most requests that one worker has at once, if it says it can (default 1)"},
    {.name = "choose",
     .kind = OPTION_CHOICE,
     .argument = "HOW",
     .choices = "lifo|fifo",
     AT(choose),
     WORKER,
     .help = "which idle worker is next: the one used last (lifo) or first (fifo; default lifo)"},
    {.name = "overflow",
     COUNT(0, CREW_WORKERS_MAX),
     AT(overflow),
     WORKER,
     .help = "so many more workers while there is work for them (default 0)"},
    {.name = "lazy",
     .kind = OPTION_FLAG,
     AT(lazy),
     WORKER,
     .help = "workers start when there is work for them, not all at once"},
    {.name = "recycle-after",
     COUNT(1, 1e15),
     AT(recycle_after),
     WORKER,
     .help = "a worker is replaced after N requests"},
    {.name = "recycle-age", TIME(0.001), AT(recycle_age_ns), WORKER, .help = "... after so long"},
    {.name = "recycle-memory",
     .kind = OPTION_SIZE,
     .argument = "SIZE",
     AT(recycle_memory_bytes),
     .min = 1,
     .max = 1e18,
     WORKER,
     .help = "... when it takes more memory"},
    {.name = "frame-limit",
     .kind = OPTION_SIZE,
     .argument = "SIZE",
     AT(frame_max_bytes),
     .min = 64,
     .max = FRAME_BYTES_MAX,
     WORKER,
     .help = "largest request or answer (default 64MiB)"},
    {.name = "fallback",
     .kind = OPTION_TEXT,
     .argument = "CMD",
     AT(fallback),
     WORKER,
     .help = "another program for rows that fail for good, or come while the breaker is open"},
    {.name = "breaker",
     .kind = OPTION_CHOICE,
     .argument = "HOW",
     .choices = "on|off|fail",
     AT(breaker),
     WORKER,
     .help = "after five failures in a row nothing is sent for a minute: rows wait (on), or fail "
             "at once (fail; default on)"},
    {.name = "on-same-failure",
     .kind = OPTION_SET,
     .argument = "WHAT",
     .set = set_same_failure,
     WORKER,
     .help = "when many rows fail the same way: continue, stop, or stop=10% of the rows (default "
             "continue)"},
    {.name = "grace",
     TIME(0),
     AT(grace_ns),
     WORKER,
     .help = "for a worker to end when it is asked, and again when it is signalled (default 5s)"},
    {.name = "worker-log",
     .kind = OPTION_TEXT,
     .argument = "FILE",
     AT(log),
     WORKER,
     .help = "what workers write to standard error is added there (default: to standard error)"},
};

_Static_assert(sizeof(run_worker_specs) / sizeof(run_worker_specs[0]) == RUN_WORKER_OPTION_COUNT,
               "as many as the header says");

void run_worker_options_init(struct run_worker_options *o)
{
    *o = (struct run_worker_options){
        .init_timeout_ns = 30 * NS_PER_S,
        .ping_every_ns = 30 * NS_PER_S,
        .session_idle_ns = 300 * NS_PER_S,
        .grace_ns = 5 * NS_PER_S,
        .max_in_flight = 1,
        .frame_max_bytes = PROCESS_FRAME_BYTES_DEFAULT,
    };
}

/* A line that cannot be taken apart is told now, not when the first worker is to start. */
static enum weir_status check_line(const char *option, const char *line, struct weir_error *err)
{
    struct argvec words = {0};
    enum weir_status status = line ? shell_split(line, &words, err) : WEIR_OK;

    argvec_free(&words);
    return status == WEIR_OK ? WEIR_OK : error_prefix(err, "%s", option);
}

enum weir_status run_worker_options_check(struct run_options *o, struct weir_error *err)
{
    struct run_worker_options *w = &o->worker;
    enum weir_status status = check_line("--worker", w->worker, err);

    if (status == WEIR_OK)
        status = check_line("--fallback", w->fallback, err);
    if (status != WEIR_OK)
        return status;
    if (w->command && !*w->command)
        return error_set(err, WEIR_E_INVALID, "--command: the name is empty");
    if (w->log && !*w->log)
        return error_set(err, WEIR_E_INVALID, "--worker-log: the name is empty");
    if (o->flow.jobs + w->overflow > CREW_WORKERS_MAX)
        return error_set(err, WEIR_E_INVALID,
                         "--jobs: %lld and --overflow %lld are more than %d workers",
                         (long long)o->flow.jobs, (long long)w->overflow, CREW_WORKERS_MAX);
    if ((o->flow.jobs + w->overflow) * w->max_in_flight > POOL_SIZE_MAX)
        return error_set(err, WEIR_E_INVALID,
                         "--max-in-flight: %lld of them for each of %lld workers are more than %d "
                         "requests at once",
                         (long long)w->max_in_flight, (long long)(o->flow.jobs + w->overflow),
                         POOL_SIZE_MAX);
    return WEIR_OK;
}
