/*
 * weir mock: a service to rehearse with, on loopback.
 *
 *     weir mock --rate 5..20 --phase 20s..120s --latency lognormal:1.2s,0.4
 *     listening on http://127.0.0.1:40123
 *
 * Here: the socket, the port file, what is printed. The options are in options.c, the server in
 * server.c, how the service behaves in sim/.
 */
#include "cli/mock/mock.h"

#include "base/error.h"
#include "cli/commands.h"
#include "cli/mock/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG   4096
#define URL_BYTES 80

static enum weir_status listen_on(struct mock_options *o, int *ret_fd, struct weir_error *err)
{
    enum weir_status status;
    int one = 1;
    int fd = socket(o->address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return error_set_errno(err, WEIR_E_IO, errno, "cannot make a socket");
    /* So that a mock can come back on the port that it had. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(fd, &o->address.any, o->address_len) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, &o->address.any, &o->address_len) != 0) {
        status = error_set_errno(err, WEIR_E_IO, errno, "--listen: cannot listen on port %d",
                                 ntohs(o->address.v4.sin_port));
        close(fd);
        return status;
    }
    *ret_fd = fd;
    return WEIR_OK;
}

static int port_of(const struct mock_options *o)
{
    return ntohs(o->address.any.sa_family == AF_INET6 ? o->address.v6.sin6_port
                                                      : o->address.v4.sin_port);
}

/* Whole or not at all: whoever waits for the file must not read half of it. */
static enum weir_status write_port_file(const char *path, int port, struct weir_error *err)
{
    _cleanup_buf_ struct buf temporary = {0};
    char text[16];
    int len = snprintf(text, sizeof text, "%d\n", port);
    enum weir_status status = WEIR_OK;
    int fd;

    buf_printf(&temporary, "%s.%d.tmp", path, (int)getpid());
    if (temporary.failed)
        return error_nomem(err);
    fd = open(temporary.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return error_set_errno(err, WEIR_E_IO, errno, "--port-file: cannot write %s", path);
    if (write(fd, text, (size_t)len) != len)
        status = error_set_errno(err, WEIR_E_IO, errno, "--port-file: cannot write %s", path);
    if (close(fd) != 0 && status == WEIR_OK)
        status = error_set_errno(err, WEIR_E_IO, errno, "--port-file: cannot write %s", path);
    if (status == WEIR_OK && rename(temporary.data, path) != 0)
        status = error_set_errno(err, WEIR_E_IO, errno, "--port-file: cannot write %s", path);
    if (status != WEIR_OK)
        unlink(temporary.data);
    return status;
}

static enum weir_status announce(const struct mock_options *o, struct weir_error *err)
{
    char host[INET6_ADDRSTRLEN];
    bool v6 = o->address.any.sa_family == AF_INET6;
    const void *address =
        v6 ? (const void *)&o->address.v6.sin6_addr : (const void *)&o->address.v4.sin_addr;

    inet_ntop(o->address.any.sa_family, address, host, sizeof host);
    printf("listening on http://%s%s%s:%d\n", v6 ? "[" : "", host, v6 ? "]" : "", port_of(o));
    if (fflush(stdout) != 0 || ferror(stdout))
        return error_set_errno(err, WEIR_E_IO, errno, "cannot write to standard output");
    return o->port_file ? write_port_file(o->port_file, port_of(o), err) : WEIR_OK;
}

static enum weir_status serve(struct mock_options *o, struct weir_error *err)
{
    struct mock_config config = {
        .script = o->script, .duration_ns = o->duration_ns, .body_bytes_max = o->body_bytes_max};
    struct mock_server *server = NULL;
    enum weir_status status = listen_on(o, &config.listen_fd, err);

    if (status != WEIR_OK)
        return status;
    status = mock_server_new(&config, &server, err);
    if (status == WEIR_OK)
        status = announce(o, err);
    if (status == WEIR_OK)
        status = mock_server_run(server, err);
    mock_server_free(server);
    return status;
}

static int print_help(void)
{
    _cleanup_buf_ struct buf text = {0};

    mock_help_put(&text);
    if (text.failed || fwrite(text.data, 1, text.len, stdout) != text.len || fflush(stdout) != 0) {
        fprintf(stderr, "weir mock: cannot write to standard output\n");
        return CLI_FAILED;
    }
    return CLI_OK;
}

int cmd_mock(int argc, char **argv)
{
    struct mock_options options;
    struct weir_error err = {0};

    if (mock_options_read(argc, argv, &options, &err) != WEIR_OK) {
        fprintf(stderr, "weir mock: %s\n", err.message);
        return CLI_USAGE;
    }
    if (options.help)
        return print_help();
    if (serve(&options, &err) != WEIR_OK) {
        fprintf(stderr, "weir mock: %s\n", err.message);
        return CLI_FAILED;
    }
    return CLI_OK;
}
