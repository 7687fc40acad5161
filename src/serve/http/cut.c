/*
 * Bodies in parts of which no more is read: nothing has come for long, or they are ended.
 *
 * libmicrohttpd calls nobody while nothing comes, and cannot answer before the end of a body. So
 * the acceptor's thread has the request answered (or the server's thread that finds it to be cut
 * when some of it does come), and the answer is written to the socket ahead. What comes afterwards is
 * thrown away.
 */
#include "loop/loop.h"
#include "serve/http/internal.h"

#include <assert.h>

/* As much is read behind the answer, before the connection is cut. */
#define DISCARD_BYTES (UINT64_C(64) << 20)

void http_body_begin(struct http_request *req)
{
    struct http_server *s = req->server;

    /* Ours is longer. Before it may be cut. */
    (void)MHD_set_connection_option(req->connection, MHD_CONNECTION_OPTION_TIMEOUT, 0u);
    http_conn_phase(req, HTTP_RECEIVING);
    pthread_mutex_lock(&s->lock);
    pthread_mutex_lock(&req->lock);
    req->in_parts = HTTP_BODY_WAITS;
    pthread_mutex_unlock(&req->lock);
    if (req->conn)
        req->conn->body = req;
    if (atomic_load(&s->ends_bodies))
        (void)http_cut_wish(req, HTTP_CUT_ENDED);
    else if (http_guard_revoked(req)) /* since it was let in */
        (void)http_cut_wish(req, HTTP_CUT_TOKEN);
    pthread_mutex_unlock(&s->lock);
}

bool http_cut_wish(struct http_request *req, enum http_cut why)
{
    bool could_be;

    pthread_mutex_lock(&req->lock);
    could_be = req->on_cut && !req->completed &&
               (req->in_parts == HTTP_BODY_WAITS || req->in_parts == HTTP_BODY_TAKEN);
    /* Somebody who is late and at it is not late. */
    if (could_be && req->cut_wish == HTTP_CUT_NONE &&
        (why != HTTP_CUT_LATE || req->in_parts == HTTP_BODY_WAITS)) {
        req->cut_wish = why;
        atomic_store(&req->server->cuts, true);
    }
    pthread_mutex_unlock(&req->lock);
    return could_be;
}

/* ---- answering ---- */

/* Under request.lock. It is ours from here on. */
static void begin_cut(struct http_request *req)
{
    assert(!req->held);
    req->in_parts = HTTP_BODY_CUT;
    req->held = true;
    req->cut_runs = true;
    atomic_fetch_add(&req->holders, 1);
}

static void end_cut(struct http_request *req)
{
    bool completed;

    pthread_mutex_lock(&req->lock);
    completed = req->completed;
    pthread_mutex_unlock(&req->lock);
    if (!completed) {
        http_reply_early(req);
        http_conn_linger(req);
    }
    pthread_mutex_lock(&req->lock);
    req->held = false;
    req->cut_runs = false;
    if (req->suspended) {
        req->suspended = false;
        MHD_resume_connection(req->connection);
    }
    pthread_mutex_unlock(&req->lock);
    http_request_release(req);
}

/* NULL: it waits, and the request is not ours any more (*ret_waits), or it is answered, or has gone. */
static http_handler_fn next_step(struct http_request *req, bool *ret_waits)
{
    http_handler_fn next = NULL;

    pthread_mutex_lock(&req->lock);
    *ret_waits = req->cut_waits;
    if (req->cut_waits) {
        req->cut_runs = false;
    } else {
        next = req->completed ? NULL : req->then;
        req->then = NULL;
    }
    pthread_mutex_unlock(&req->lock);
    return next;
}

/* Goes on as far as it gets without waiting. */
static void run_cut(struct http_request *req, bool begins)
{
    http_handler_fn next;
    bool waits;

    if (begins)
        req->on_cut(req, req->ctx, req->cut_wish);
    while ((next = next_step(req, &waits)))
        next(req, req->ctx);
    if (!waits)
        end_cut(req);
}

bool http_cut_is_due(const struct http_request *req)
{
    return req->in_parts == HTTP_BODY_CUT && req->held && !req->cut_runs && !req->cut_waits;
}

/* Under server.lock. NULL: there is nothing to do. */
static struct http_request *next_cut(struct http_server *s, bool *ret_begins)
{
    list_foreach (node, &s->conns) {
        struct http_request *req = list_entry(node, struct http_conn, link)->body;
        bool begins, goes_on;

        if (!req)
            continue;
        pthread_mutex_lock(&req->lock);
        begins =
            !req->completed && req->in_parts == HTTP_BODY_WAITS && req->cut_wish != HTTP_CUT_NONE;
        goes_on = !req->completed && http_cut_is_due(req);
        if (begins)
            begin_cut(req);
        req->cut_runs |= goes_on;
        pthread_mutex_unlock(&req->lock);
        *ret_begins = begins;
        if (begins || goes_on)
            return req;
    }
    return NULL;
}

void http_cuts_run(struct http_server *s)
{
    struct http_request *req;
    bool begins;

    if (!atomic_exchange(&s->cuts, false))
        return;
    do {
        pthread_mutex_lock(&s->lock);
        req = next_cut(s, &begins);
        pthread_mutex_unlock(&s->lock);
        if (req)
            run_cut(req, begins);
    } while (req);
}

/* ---- what comes ---- */

bool http_body_enter(struct http_request *req, bool whole)
{
    bool cut, begins = false;

    pthread_mutex_lock(&req->lock);
    if (req->in_parts == HTTP_BODY_WAITS && req->cut_wish != HTTP_CUT_NONE && !whole) {
        begin_cut(req);
        begins = true;
    }
    cut = req->in_parts == HTTP_BODY_CUT;
    if (req->in_parts == HTTP_BODY_WAITS || req->in_parts == HTTP_BODY_TAKEN)
        req->in_parts = whole ? HTTP_BODY_OVER : HTTP_BODY_TAKEN;
    pthread_mutex_unlock(&req->lock);
    if (begins)
        run_cut(req, true);
    return !cut;
}

void http_body_leave(struct http_request *req)
{
    pthread_mutex_lock(&req->lock);
    if (req->in_parts == HTTP_BODY_TAKEN)
        req->in_parts = http_answered(req) ? HTTP_BODY_OVER : HTTP_BODY_WAITS;
    if (req->cut_wish != HTTP_CUT_NONE)
        atomic_store(&req->server->cuts, true);
    pthread_mutex_unlock(&req->lock);
}

enum MHD_Result http_cut_on(struct http_request *req, size_t *data_len)
{
    enum MHD_Result ret = MHD_YES;

    if (*data_len > 0) {
        req->received_bytes += *data_len;
        *data_len = 0;
        return req->received_bytes <= DISCARD_BYTES ? MHD_YES : MHD_NO;
    }
    /* The client has sent all: it is closed when the answer has been sent. */
    pthread_mutex_lock(&req->lock);
    if (!req->held || atomic_load(&req->server->aborting)) {
        ret = MHD_NO;
    } else {
        MHD_suspend_connection(req->connection);
        req->suspended = true;
    }
    pthread_mutex_unlock(&req->lock);
    return ret;
}
