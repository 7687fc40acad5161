/*
 * The options of `weir worker check`.
 *
 *     struct worker_options o;
 *     status = worker_options_read(&o, argc, argv, &err);      // argv[0] is the command's own name
 *     if (o.help) worker_help_put(&buf);
 *     worker_options_free(&o);
 *
 * Strings point into argv, which outlives them. Pure but for memory; one owner.
 */
#ifndef CLI_WORKER_OPTIONS_H
#define CLI_WORKER_OPTIONS_H

#include "base/buf.h"
#include "base/time.h"
#include "exec/template/argvec.h"
#include "weir/status.h"

#include <stdbool.h>

struct worker_options {
    const char *line;       /* the worker's command line, as it was given */
    struct argvec words;    /* and its words */
    const char *command;    /* of a real call; NULL: none is made */
    const char *args;       /* of that, JSON */
    duration_ns init_ns;    /* from its start to its first answer */
    duration_ns timeout_ns; /* for the answer to a request */
    duration_ns grace_ns;   /* to end, once it is to */
    bool json, help;
};

/* Errors do not name the command. On failure, and with `help`, nothing is left to be freed. */
WEIR_MUST_CHECK enum weir_status worker_options_read(struct worker_options *ret, int argc,
                                                     char **argv, struct weir_error *err);
void worker_options_free(struct worker_options *o);
void worker_help_put(struct buf *out);

#endif
