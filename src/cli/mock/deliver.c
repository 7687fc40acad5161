/*
 * How an answer of `weir mock` goes onto the wire, or does not: mock_deliver() of exchange.h.
 *
 * Sound answers go through libmicrohttpd. It would not write a broken one, so those are written to
 * the socket directly, and the connection is closed by returning MHD_NO; a reset takes the socket
 * out of libmicrohttpd's hands by dissolving its association, which sends the RST at once.
 */
#include "cli/mock/exchange.h"
#include "loop/loop.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* A slow body comes in so many pieces. */
#define SLOW_PIECES 8

static bool put_header(struct MHD_Response *response, const char *name, const char *value)
{
    return MHD_add_response_header(response, name, value) == MHD_YES;
}

static bool put_quota(struct MHD_Response *response, const char *what, const struct flow_quota *q)
{
    char name[64];
    char value[MOCK_DURATION_BYTES];
    bool ok;

    if (q->limit < 0)
        return true;
    snprintf(name, sizeof name, "x-ratelimit-limit-%s", what);
    snprintf(value, sizeof value, "%" PRId64, q->limit);
    ok = put_header(response, name, value);
    snprintf(name, sizeof name, "x-ratelimit-remaining-%s", what);
    snprintf(value, sizeof value, "%" PRId64, q->remaining);
    ok = ok && put_header(response, name, value);
    snprintf(name, sizeof name, "x-ratelimit-reset-%s", what);
    mock_duration_text(q->reset_ns, value);
    return ok && put_header(response, name, value);
}

static bool put_told(struct MHD_Response *response, const struct flow_advice *told)
{
    char seconds[MOCK_DURATION_BYTES];

    if (told->retry_after_ns >= 0) {
        snprintf(seconds, sizeof seconds, "%" PRId64, told->retry_after_ns / NS_PER_S);
        if (!put_header(response, "Retry-After", seconds))
            return false;
    }
    return put_quota(response, "requests", &told->requests) &&
           put_quota(response, "tokens", &told->tokens);
}

/* Takes the response over, also when it is NULL. */
static enum MHD_Result queue(struct mock_exchange *x, unsigned status,
                             struct MHD_Response *response, bool with_told)
{
    enum MHD_Result result = MHD_NO;
    char id[MOCK_REQUEST_ID_BYTES];

    if (!response)
        return MHD_NO;
    mock_request_id(x->identity, id);
    if (put_header(response, "Content-Type", "application/json") &&
        (!with_told ||
         (put_header(response, "x-request-id", id) && put_told(response, &x->answer.told))))
        result = MHD_queue_response(x->connection, status, response);
    MHD_destroy_response(response);
    x->state = MOCK_ANSWERED;
    return result;
}

static struct MHD_Response *response_of(const struct buf *body, size_t len)
{
    /* libmicrohttpd copies: the exchange may end before the connection has sent all. */
    return body->failed ? NULL
                        : MHD_create_response_from_buffer(len, body->data, MHD_RESPMEM_MUST_COPY);
}

enum MHD_Result mock_deliver_text(struct mock_exchange *x, unsigned status, struct buf *body)
{
    return queue(x, status, response_of(body, body->len), false);
}

static enum MHD_Result deliver_error(struct mock_exchange *x, const char *message)
{
    _cleanup_buf_ struct buf body = {0};

    mock_error_put(&body, x->answer.status, message);
    return queue(x, (unsigned)x->answer.status, response_of(&body, body.len), true);
}

/* ---- faults ---- */

static int socket_of(struct mock_exchange *x)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    return info ? info->connect_fd : -1;
}

static enum MHD_Result deliver_reset(struct mock_exchange *x)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    int fd = socket_of(x);

    x->state = MOCK_ANSWERED;
    /* Should the kernel not dissolve it, closing it with nothing to linger for sends the RST too,
     * though behind the FIN that libmicrohttpd sends before. */
    if (connect(fd, &none, sizeof none) != 0)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    return MHD_NO;
}

/* A few hundred bytes into an empty socket buffer; were it full, the answer would be cut earlier,
 * which is no less broken. */
static enum MHD_Result deliver_raw(struct mock_exchange *x, const struct buf *bytes)
{
    x->state = MOCK_ANSWERED;
    if (!bytes->failed)
        (void)!send(socket_of(x), bytes->data, bytes->len, MSG_NOSIGNAL | MSG_DONTWAIT);
    return MHD_NO;
}

static enum MHD_Result deliver_broken(struct mock_exchange *x)
{
    _cleanup_buf_ struct buf bytes = {0};
    const struct buf *body = &x->reply.body;
    size_t half = body->len / 2;

    buf_puts(&bytes, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n");
    switch (x->answer.how) {
    case SIM_BREAK_CUT:
        buf_printf(&bytes, "Content-Length: %zu\r\n\r\n", body->len);
        buf_put(&bytes, body->data, half);
        break;
    case SIM_BREAK_CHUNK:
        buf_printf(&bytes, "Transfer-Encoding: chunked\r\n\r\n%zx\r\n", half);
        buf_put(&bytes, body->data, half);
        buf_puts(&bytes, "\r\nno chunk\r\n");
        break;
    case SIM_BREAK_JSON:
    case SIM_BREAK_COUNT:
        return queue(x, MHD_HTTP_OK, response_of(body, half), true);
    }
    return deliver_raw(x, &bytes);
}

/* Gives the next piece if its time has come, and otherwise waits for it. */
static ssize_t read_slowly(void *cls, uint64_t at, char *out, size_t max)
{
    struct mock_exchange *x = cls;
    const struct buf *body = &x->reply.body;
    size_t left = body->len - (size_t)at;
    size_t piece = (body->len + SLOW_PIECES - 1) / SLOW_PIECES;
    struct instant now = loop_clock();

    if (x->state == MOCK_GONE)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (instant_before(now, x->due))
        return mock_exchange_wait(x, MOCK_DRIBBLING, x->due) ? 0
                                                             : MHD_CONTENT_READER_END_WITH_ERROR;
    if (piece > left)
        piece = left;
    if (piece > max)
        piece = max;
    memcpy(out, body->data + at, piece);
    x->due = instant_add(now, x->answer.body_ns / SLOW_PIECES);
    return (ssize_t)piece;
}

static enum MHD_Result deliver_slowly(struct mock_exchange *x)
{
    struct mock_exchange *exchange = x;

    /* The first piece too is waited for: the whole body takes body_ns. */
    x->due = instant_add(loop_clock(), x->answer.body_ns / SLOW_PIECES);
    return queue(
        x, MHD_HTTP_OK,
        MHD_create_response_from_callback(x->reply.body.len, 4096, read_slowly, exchange, NULL),
        true);
}

static const char *failure_message(enum sim_fault fault)
{
    return fault == SIM_FAULT_PERMANENT ? "this request will never do" : "something went wrong";
}

enum MHD_Result mock_deliver(struct mock_exchange *x)
{
    /* A slow body is in service until its end, which on_completed() sees. */
    if (x->answer.fault != SIM_FAULT_SLOW)
        mock_exchange_leave(x, true);
    if (x->answer.limit != SIM_LIMIT_NONE)
        return deliver_error(x, mock_refusal_message(x->answer.limit));
    switch (x->answer.fault) {
    case SIM_FAULT_PERMANENT:
    case SIM_FAULT_FAIL:
        return deliver_error(x, failure_message(x->answer.fault));
    case SIM_FAULT_RESET:
        return deliver_reset(x);
    case SIM_FAULT_CLOSE:
        x->state = MOCK_ANSWERED;
        return MHD_NO;
    case SIM_FAULT_BROKEN:
        return deliver_broken(x);
    case SIM_FAULT_SLOW:
        if (!x->reply.malformed)
            return deliver_slowly(x);
        break;
    case SIM_FAULT_HANG: /* is due never */
    case SIM_FAULT_NONE:
    case SIM_FAULT_COUNT:
        break;
    }
    return queue(x, x->reply.malformed ? MHD_HTTP_BAD_REQUEST : MHD_HTTP_OK,
                 response_of(&x->reply.body, x->reply.body.len), true);
}
