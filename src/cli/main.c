/*
 * weir: finds the subcommand and hands over to it.
 *
 *     weir run ... | weir mock ... | weir help [COMMAND [VERB]] | weir --version
 *
 * A new subcommand is one line in the table below and one file beside this one.
 */
#include "base/buf.h"
#include "cli/client/client.h"
#include "cli/commands.h"
#include "cli/options.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct command {
    const char *name;
    const char *help;
    int (*run)(int argc, char **argv);
};

static const struct command commands[] = {
    {"run", "push rows through an HTTP service, worker processes or commands, in order", cmd_run},
    {"serve", "the dispatcher as a daemon: durable tasks, pools, an API over HTTP", cmd_serve},
    {"mock", "a service to rehearse with, on loopback", cmd_mock},
    {"simulate", "predict what a run would do, in virtual time, against a modelled service",
     cmd_simulate},
    {"worker", "check a worker: weir worker check 'CMD' says what it gets wrong", cmd_worker},
    {"submit", "hand tasks over to the daemon", cmd_submit},
    {"task", "the daemon's tasks: list, show, cancel, retry, wait for them", cmd_task},
    {"batch", "tasks that belong together, and their results in order", cmd_batch},
    {"pool", "where tasks run: list, change limits, disable, drain", cmd_pool},
    {"runner", "attempts that run: list, kill", cmd_runner},
    {"event", "what has happened, and what happens", cmd_event},
    {"status", "the daemon at a glance", cmd_status},
    {"top", "the daemon, live in the terminal: pools, what runs, what waits, events", cmd_top},
    {"report", "how busy the daemon has been", cmd_report},
    {"config", "the daemon's configuration: show, check, reload", cmd_config},
    {"shutdown", "stop the daemon", cmd_shutdown},
    {"completion", "scripts with which bash and zsh complete what is typed", cmd_completion},
    {"version", "say which weir this is", cmd_version},
    {"help", "this, or the help of a command: weir help run", cmd_help},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

/* Output that could not be written is a failure: nobody got what they asked for. */
static int flushed(void)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("weir: standard output");
        return CLI_FAILED;
    }
    return CLI_OK;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

static int unknown_command(const char *name)
{
    const char *names[COMMAND_COUNT + 1] = {NULL};
    const char *nearest;

    for (size_t i = 0; i < COMMAND_COUNT; i++)
        names[i] = commands[i].name;
    nearest = options_nearest(name, names);
    if (nearest)
        fprintf(stderr, "weir: unknown command \"%s\"; did you mean %s?\n", name, nearest);
    else
        fprintf(stderr, "weir: unknown command \"%s\"; weir help lists all\n", name);
    return CLI_USAGE;
}

static void print_usage(FILE *to)
{
    fputs(
        "Usage: weir COMMAND [options]\n"
        "\n"
        "A dispatch engine: takes work that somebody has, and runs it on whatever does the work,\n"
        "exactly as fast as that can bear, in order, with nothing lost.\n"
        "\n"
        "Commands:\n",
        to);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(to, "  %-10s  %s\n", commands[i].name, commands[i].help);
    fputs("\n"
          "weir COMMAND --help says what a command takes; man weir has all of it.\n"
          "\n"
          "Exit status: 0 all rows ok; 1 some rows failed; 2 usage or input error; 3 stopped, the\n"
          "same command goes on; 4 stopped by --halt.\n",
          to);
}

static bool asks_for_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

int cmd_version(int argc, char **argv)
{
    if (argc == 2 && asks_for_help(argv[1])) {
        printf("Usage: weir version\n");
        return flushed();
    }
    if (argc > 1) {
        fprintf(stderr, "weir version: takes no arguments\n");
        return CLI_USAGE;
    }
    printf("weir %s\n", WEIR_VERSION);
    return flushed();
}

/* Whether commands of its own stand behind it, as in weir task list. */
static bool has_verbs(const struct command *command)
{
    for (size_t i = 0; client_commands[i]; i++) {
        if (strcmp(client_commands[i]->name, command->name) == 0)
            return client_commands[i]->verbs[0].name != NULL;
    }
    return command->run == cmd_worker;
}

int cmd_help(int argc, char **argv)
{
    static char help_option[] = "--help";
    const struct command *command;

    if (argc < 2 || strcmp(argv[1], "help") == 0 || asks_for_help(argv[1])) {
        print_usage(stdout);
        return flushed();
    }
    command = find_command(argv[1]);
    if (!command)
        return unknown_command(argv[1]);
    if (argc > (has_verbs(command) ? 3 : 2)) {
        fprintf(stderr, "weir help: takes one command\n");
        return CLI_USAGE;
    }
    if (argc == 3)
        return command->run(3, (char *[]){argv[1], argv[2], help_option, NULL});
    return command->run(2, (char *[]){argv[1], help_option, NULL});
}

/*
 * A caller may have closed descriptor 0, 1 or 2, and the next file that is opened, such as the
 * journal, would get its number and be written to as standard output. So each is filled with
 * something that can only be used the wrong way round: whoever reads or writes it gets an error.
 */
static bool fill_standard_fds(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            continue;
        /* NOLINTNEXTLINE(android-cloexec-open) check-style: allow cloexec, because a child needs it too */
        if (open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    const struct command *command;
    const char *name = argc > 1 ? argv[1] : NULL;

    if (!fill_standard_fds())
        return CLI_FAILED;
    if (!name) {
        print_usage(stderr);
        return CLI_USAGE;
    }
    if (asks_for_help(name))
        return cmd_help(1, (char *[]){argv[1], NULL});
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
        return cmd_version(1, (char *[]){argv[1], NULL});
    if (name[0] == '-') {
        fprintf(stderr, "weir: unknown option %s; weir --help says what there is\n", name);
        return CLI_USAGE;
    }
    command = find_command(name);
    if (!command)
        return unknown_command(name);
    return command->run(argc - 1, argv + 1);
}
