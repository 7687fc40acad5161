/*
 * The server of `weir mock`: a modelled service (sim/service.h) on a socket.
 *
 *     mock_server_new(&config, &server, &err)
 *     mock_server_run(server, &err)              // until SIGTERM, SIGINT or config.duration_ns
 *     mock_server_free(server)
 *
 * libmicrohttpd in its external mode, on the loop: one thread for everything. The turn of the loop
 * wakes the exchanges whose answer is due and lets libmicrohttpd run.
 */
#ifndef CLI_MOCK_SERVER_H
#define CLI_MOCK_SERVER_H

#include "base/time.h"
#include "sim/script.h"
#include "weir/status.h"

#include <stdint.h>

struct mock_config {
    struct sim_script script;
    int listen_fd;           /* the server's from mock_server_new() on, also when that fails */
    duration_ns duration_ns; /* 0: until a signal */
    uint64_t body_bytes_max; /* a larger request is answered 413 */
};

struct mock_server;

WEIR_MUST_CHECK enum weir_status mock_server_new(const struct mock_config *config,
                                                 struct mock_server **ret, struct weir_error *err);
WEIR_MUST_CHECK enum weir_status mock_server_run(struct mock_server *s, struct weir_error *err);
/* Connections that wait are closed. Returns NULL; NULL-safe. */
struct mock_server *mock_server_free(struct mock_server *s);

#endif
