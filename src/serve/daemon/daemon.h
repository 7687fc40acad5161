/*
 * `weir serve`: the daemon, from its configuration to its end.
 *
 *     status = daemon_run(&(struct daemon_options){.config_path = "weir.yml"}, &err);
 *
 * Returns when it was told to stop (SIGTERM, SIGINT, POST /v1/shutdown) and has, or when it could
 * not start. SIGHUP has it read its configuration anew. The process is its own: it blocks signals,
 * and is told to systemd. To be called once, before any thread has been started.
 */
#ifndef SERVE_DAEMON_DAEMON_H
#define SERVE_DAEMON_DAEMON_H

#include "weir/status.h"

struct daemon_options {
    const char *config_path;
};

WEIR_MUST_CHECK enum weir_status daemon_run(const struct daemon_options *o, struct weir_error *err);

#endif
