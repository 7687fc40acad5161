/*
 * The options of `weir simulate`: which service, whose rows, how it is dispatched, what is told.
 *
 *     struct simulate_options o;
 *     status = simulate_options_read(&o, argc, argv, &err);      // argv[0] is "simulate"; reads --service's file
 *     if (o.help) simulate_help_put(&buf, &err);
 *     simulate_options_free(&o);
 *
 * The service: first the file, then the command line over it. The flow options are those of `weir
 * run`; an option of the service that has the name of one of them is --service-NAME here. Strings
 * point into argv. One owner.
 */
#ifndef CLI_SIMULATE_OPTIONS_H
#define CLI_SIMULATE_OPTIONS_H

#include "base/buf.h"
#include "cli/flow_options.h"
#include "cli/options.h"
#include "sim/study.h"

#include <stdbool.h>
#include <stdint.h>

/* Who dispatches: a kind of throttle, or the oracle, which knows the service. */
#define SIMULATE_ORACLE    THROTTLE_KINDS
#define SIMULATE_SIDES_MAX (THROTTLE_KINDS + 1)
#define SIMULATE_SEEDS_MAX 1000

struct simulate_price {
    bool given;
    double per_mtok; /* for 1,000,000 tokens */
    double per_request;
};

struct simulate_options {
    const char *service; /* NULL: none */
    struct flow_options flow;
    struct option_list described;  /* of the service and its clients: name, value, name, value */
    int64_t seed;                  /* of the first run */
    int64_t seeds;                 /* runs of each side */
    int sides[SIMULATE_SIDES_MAX]; /* enum throttle_kind, or SIMULATE_ORACLE */
    size_t side_count;
    bool compares; /* --compare was given */
    struct simulate_price price;
    bool json, quiet, help;
    const char *plot, *events; /* NULL: none */

    struct sim_study_options
        study; /* of a run, but for its seed, its kind of throttle and its hooks */
};

/* Never NULL: "none", "aimd", "adaptive", "oracle". */
const char *simulate_side_name(int side);

/* The message does not name the command. With `help` nothing else has been read or checked. On failure nothing is
 * left to be freed. */
WEIR_MUST_CHECK enum weir_status simulate_options_read(struct simulate_options *ret, int argc,
                                                       char **argv, struct weir_error *err);
WEIR_MUST_CHECK enum weir_status simulate_help_put(struct buf *out, struct weir_error *err);
void simulate_options_free(struct simulate_options *o);

/* "2.50/Mtok", "0.01/request", "2.50/Mtok,0.01/request"; a bare number is for 1,000,000 tokens. */
WEIR_MUST_CHECK enum weir_status simulate_price_parse(const char *text, struct simulate_price *ret,
                                                      struct weir_error *err);

#endif
