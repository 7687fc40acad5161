/*
 * The subcommands of `weir`, and what its exit status says.
 *
 *     weir NAME ARGUMENTS...   ->   cmd_NAME(argc, argv), argv[0] being NAME
 *
 * One file each; main.c holds the table. A command prints its own errors as "weir NAME: ..." on
 * standard error and returns one of enum cli_exit; nothing below a command prints or exits.
 */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

enum cli_exit {
    CLI_OK = 0,      /* all rows ended ok */
    CLI_FAILED = 1,  /* some rows failed; or the run broke off and cannot be resumed */
    CLI_USAGE = 2,   /* usage or input error; nothing was sent (or, on a stream, nothing more) */
    CLI_STOPPED = 3, /* stopped before the end; the same command goes on */
    CLI_HALTED = 4,  /* stopped by --halt */
};

int cmd_run(int argc, char **argv);
int cmd_mock(int argc, char **argv);
int cmd_simulate(int argc, char **argv);
int cmd_worker(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_submit(int argc, char **argv);
int cmd_task(int argc, char **argv);
int cmd_batch(int argc, char **argv);
int cmd_pool(int argc, char **argv);
int cmd_runner(int argc, char **argv);
int cmd_event(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_config(int argc, char **argv);
int cmd_shutdown(int argc, char **argv);
int cmd_completion(int argc, char **argv);
int cmd_version(int argc, char **argv);
int cmd_help(int argc, char **argv);

#endif
