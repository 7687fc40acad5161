/*
 * The commands that talk to a daemon, one file each.
 */
#ifndef CLI_CLIENT_COMMANDS_H
#define CLI_CLIENT_COMMANDS_H

#include "cli/client/client.h"

extern const struct client_command client_submit, client_task, client_batch, client_pool,
    client_runner, client_event, client_status, client_report, client_config, client_shutdown,
    client_completion, client_top;

#endif
