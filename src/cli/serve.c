/*
 * weir serve: the daemon.
 *
 *     weir serve -c weir.yml              runs until it is told to stop
 *     weir serve -c weir.yml --check      says whether the configuration is good, and what would be in force
 */
#include "base/error.h"
#include "base/mem.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "serve/config/config.h"
#include "serve/daemon/daemon.h"

#include <stdio.h>
#include <sys/resource.h>

/* What any number of places needs; where the hard limit is as good as none. */
#define FILES_MAX ((rlim_t)1 << 20)

struct serve_options {
    const char *config;
    bool check, show, help;
};

static const struct option_spec specs[] = {
    {.name = "config",
     .letter = 'c',
     .kind = OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(struct serve_options, config),
     .group = "Options",
     .help = "the configuration (default weir.yml)"},
    {.name = "check",
     .kind = OPTION_FLAG,
     .at = offsetof(struct serve_options, check),
     .group = "Options",
     .help = "only say whether the configuration is good"},
    {.name = "show",
     .kind = OPTION_FLAG,
     .at = offsetof(struct serve_options, show),
     .group = "Options",
     .help = "only print all that would be in force, defaults included"},
    {.name = "help",
     .letter = 'h',
     .kind = OPTION_FLAG,
     .at = offsetof(struct serve_options, help),
     .group = "Options",
     .help = "this"},
};

static const struct options_part parts[] = {{specs, sizeof specs / sizeof *specs, 0}};

static const struct options_table table = {
    .command = "weir serve",
    .usage = "[options]",
    .intro =
        "Runs the dispatcher as a daemon: tasks in a durable registry, pools, an API over HTTP.\n"
        "SIGTERM stops it in good order, a second one at once; SIGHUP has it read its "
        "configuration anew.",
    .outro = "A commented configuration: examples/weir.yml. The API: docs/openapi.yaml.",
    .parts = parts,
    .part_count = 1,
};

static int complain(const struct weir_error *err)
{
    fprintf(stderr, "weir serve: %s\n", err->message);
    return err->status == WEIR_E_INVALID ? CLI_USAGE : CLI_FAILED;
}

static int help(void)
{
    _cleanup_buf_ struct buf text = {0};

    options_help(&table, 100, &text);
    fputs(text.data ? text.data : "", stdout);
    return CLI_OK;
}

static int check(const struct serve_options *o)
{
    struct config_faults faults = {0};
    struct config *config = NULL;
    struct weir_error err = {0};
    _cleanup_buf_ struct buf text = {0};
    enum weir_status status = config_load(o->config, &config, &faults, &err);

    if (status == WEIR_OK && o->show)
        config_show(config, &text);
    if (status == WEIR_E_INVALID)
        config_faults_put(&faults, &text);
    fputs(text.data ? text.data : "", status == WEIR_OK ? stdout : stderr);
    if (status == WEIR_OK && o->check)
        printf("%s is good: %zu %s\n", o->config, config->pools.count,
               config->pools.count == 1 ? "pool" : "pools");
    config_faults_free(&faults);
    config_free(config);
    if (status == WEIR_OK)
        return CLI_OK;
    if (status != WEIR_E_INVALID)
        (void)complain(&err);
    return status == WEIR_E_NOMEM ? CLI_FAILED : CLI_USAGE;
}

/* Three descriptors for each command, and connections besides: the usual soft limit of 1024 is for programs that select(). */
static void raise_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max < FILES_MAX ? limit.rlim_max : FILES_MAX;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* what there is has to do */
}

int cmd_serve(int argc, char **argv)
{
    struct serve_options o = {.config = "weir.yml"};
    struct weir_error err = {0};

    if (options_parse(&table, argc, argv, &o, &err) != WEIR_OK)
        return complain(&err);
    if (o.help)
        return help();
    if (o.check || o.show)
        return check(&o);
    raise_files();
    if (daemon_run(&(struct daemon_options){.config_path = o.config}, &err) != WEIR_OK)
        return complain(&err);
    return CLI_OK;
}
