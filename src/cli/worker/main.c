/*
 * weir worker: tools for the authors of workers.
 *
 *     weir worker check 'python3 my_worker.py'      // starts it, and says what it gets wrong
 *
 * Here: the subcommands, signals, what is printed. The options are in options.c, the checks in
 * check.c, how a worker is spoken to in talk.c and candidate.c. Results are printed as they come: a
 * worker may take long to start.
 */
#include "base/error.h"
#include "base/mem.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/worker/check.h"
#include "cli/worker/leftovers.h"
#include "cli/worker/report.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* False: nobody can read it. */
static bool print(struct buf *out)
{
    bool ok = !out->failed && fwrite(out->data ? out->data : "", 1, out->len, stdout) == out->len &&
              fflush(stdout) == 0;

    buf_clear(out);
    return ok;
}

static enum weir_status run_checks(const struct worker_options *o, struct check_run *r,
                                   struct report *rep, struct weir_error *err)
{
    _cleanup_buf_ struct buf out = {0};

    report_begin(rep, &out, o);
    for (size_t i = 0; i < check_count; i++) {
        struct check_result result = check_one(r, &checks[i]);

        /* Nothing was started, so nothing is said of it but this. */
        if (r->status != WEIR_OK)
            return error_set(err, r->status, "%.*s", (int)result.text.len, result.text.data);
        report_result(rep, &out, &checks[i], &result);
        if (r->candidate->no_memory || r->text.failed || r->left.failed)
            return error_nomem(err);
        if (!print(&out))
            return error_set(err, WEIR_E_IO, "cannot write to standard output");
    }
    report_end(rep, &out, r);
    return print(&out) ? WEIR_OK : error_set(err, WEIR_E_IO, "cannot write to standard output");
}

static enum weir_status check(struct worker_options *o, size_t *ret_failed, struct weir_error *err)
{
    struct child_guard *guard;
    struct report rep = {.json = o->json};
    struct candidate candidate;
    struct check_run r;
    enum weir_status status = child_guard_new(&guard, err);

    if (status != WEIR_OK)
        return status;
    leftovers_adopt();
    candidate_init(&candidate, guard, argvec_argv(&o->words));
    check_run_init(&r, o, &candidate);
    status = run_checks(o, &r, &rep, err);
    *ret_failed = rep.counts[CHECK_FAIL];
    check_run_free(&r);
    candidate_free(&candidate);
    child_guard_free(guard);
    return status;
}

static int print_help(void)
{
    _cleanup_buf_ struct buf text = {0};

    worker_help_put(&text);
    if (print(&text))
        return CLI_OK;
    fprintf(stderr, "weir worker check: cannot write to standard output\n");
    return CLI_FAILED;
}

static int worker_check(int argc, char **argv)
{
    struct worker_options o;
    struct weir_error err = {0};
    size_t failed = 0;
    enum weir_status status = worker_options_read(&o, argc, argv, &err);

    if (status == WEIR_OK && o.help)
        return print_help();
    if (status == WEIR_OK) {
        /* A worker that has ended is found out by reading. */
        signal(SIGPIPE, SIG_IGN);
        status = check(&o, &failed, &err);
        worker_options_free(&o);
    }
    if (status != WEIR_OK) {
        fprintf(stderr, "weir worker check: %s\n", err.message);
        return status == WEIR_E_INVALID ? CLI_USAGE : CLI_FAILED;
    }
    return failed > 0 ? CLI_FAILED : CLI_OK;
}

int cmd_worker(int argc, char **argv)
{
    static const char usage[] =
        "Usage: weir worker check [options] 'CMD'\n"
        "\n"
        "  check   start a worker, speak the protocol to it, and say what it gets wrong\n"
        "\n"
        "weir worker check --help says more; docs/worker-protocol.md has the protocol.\n";

    if (argc > 1 && strcmp(argv[1], "check") == 0)
        return worker_check(argc - 1, argv + 1);
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fputs(usage, stdout);
        return fflush(stdout) == 0 ? CLI_OK : CLI_FAILED;
    }
    if (argc > 1)
        fprintf(stderr, "weir worker: unknown command \"%.80s\"; there is: check\n", argv[1]);
    else
        fputs(usage, stderr);
    return CLI_USAGE;
}
