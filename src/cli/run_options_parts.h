/*
 * The options of weir run, part by part: what run_options.c puts together, and nobody else sees.
 */
#ifndef CLI_RUN_OPTIONS_PARTS_H
#define CLI_RUN_OPTIONS_PARTS_H

#include "cli/run_options.h"

#define RUN_DURATION_MAX_S (366 * 86400.0)
#define RUN_COMMAND_GROUP  "Commands (with -- CMD)"

/* Each counts its offsets from its own struct, which is a member of struct run_options. */
#define RUN_HTTP_OPTION_COUNT    15
#define RUN_COMMAND_OPTION_COUNT 21
#define RUN_WORKER_OPTION_COUNT  20
extern const struct option_spec run_http_specs[RUN_HTTP_OPTION_COUNT];
extern const struct option_spec run_command_specs[RUN_COMMAND_OPTION_COUNT];
extern const struct option_spec run_worker_specs[RUN_WORKER_OPTION_COUNT];

void run_http_options_init(struct run_http_options *o);
void run_http_options_free(struct run_http_options *o);
void run_command_options_init(struct run_command_options *o);
void run_command_options_free(struct run_command_options *o);
void run_worker_options_init(struct run_worker_options *o);

/* What must hold between the options of a run of this kind. */
WEIR_MUST_CHECK enum weir_status run_http_options_check(struct run_http_options *o,
                                                        struct weir_error *err);
WEIR_MUST_CHECK enum weir_status run_command_options_check(struct run_options *o,
                                                           struct weir_error *err);
WEIR_MUST_CHECK enum weir_status run_worker_options_check(struct run_options *o,
                                                          struct weir_error *err);

#endif
