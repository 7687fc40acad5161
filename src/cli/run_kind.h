/*
 * The kinds of runs: where rows go. As bits they say which options are for which
 * (option_spec.only).
 */
#ifndef CLI_RUN_KIND_H
#define CLI_RUN_KIND_H

enum run_kind {
    RUN_HTTP,    /* --url: a service */
    RUN_WORKER,  /* --worker: long-lived processes */
    RUN_COMMAND, /* -- CMD: a process for each row */
};

#define ONLY_HTTP    (1U << RUN_HTTP)
#define ONLY_WORKER  (1U << RUN_WORKER)
#define ONLY_COMMAND (1U << RUN_COMMAND)

#endif
