/*
 * The options of `weir mock`, as far as they can be told without a socket; for main.c and its
 * tests.
 *
 *     mock_options_read(argc, argv, &options, &err)
 */
#ifndef CLI_MOCK_H
#define CLI_MOCK_H

#include "base/buf.h"
#include "base/time.h"
#include "sim/script.h"
#include "weir/status.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

struct mock_options {
    struct sim_script script;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address; /* a loopback address */
    socklen_t address_len;
    const char *port_file; /* points into argv; NULL: none */
    duration_ns duration_ns;
    uint64_t body_bytes_max;
    bool help;
};

/* argv[0] is "mock". WEIR_E_INVALID or WEIR_E_LIMIT; the message names the option. */
WEIR_MUST_CHECK enum weir_status mock_options_read(int argc, char **argv, struct mock_options *ret,
                                                   struct weir_error *err);
void mock_help_put(struct buf *out);

#endif
