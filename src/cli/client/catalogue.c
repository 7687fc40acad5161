/*
 * All commands that talk to a daemon, for who goes through them: completion.
 */
#include "cli/client/commands.h"

const struct client_command *const client_commands[] = {
    &client_submit,     &client_task,   &client_batch,  &client_pool,   &client_runner,
    &client_event,      &client_status, &client_report, &client_config, &client_shutdown,
    &client_completion, &client_top,    NULL,
};
