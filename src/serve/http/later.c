/* Suspending, resuming, streams that wait and are woken. See http.h and internal.h for who holds what. */
#include "base/mem.h"
#include "serve/http/internal.h"

#include <assert.h>
#include <string.h>

/* What a producer is promised. */
#define READ_BYTES_MIN 4096

void http_suspend(struct http_request *req, http_handler_fn then)
{
    pthread_mutex_lock(&req->lock);
    if (req->in_parts == HTTP_BODY_CUT) { /* it is held until it has its answer */
        assert(!req->cut_waits);
        req->cut_waits = true;
        req->then = then;
        pthread_mutex_unlock(&req->lock);
        return;
    }
    assert(!req->held);
    req->held = true;
    req->suspended_now = true;
    req->then = then;
    atomic_fetch_add(&req->holders, 1);
    /* When all is over, the connection is not suspended any more: it ends when the handler returns. */
    req->ends_now = atomic_load(&req->server->aborting);
    if (!req->ends_now) {
        MHD_suspend_connection(req->connection);
        req->suspended = true;
    }
    pthread_mutex_unlock(&req->lock);
}

/* Under request.lock. Whether the request is nobody's any more. */
static bool resume_cut(struct http_request *req)
{
    assert(req->cut_waits);
    req->cut_waits = false;
    if (!req->completed) {
        atomic_store(&req->server->cuts, true);
        http_acceptor_wake(req->server);
    } else if (!req->cut_runs) {
        req->held = false;
    }
    return !req->held;
}

void http_resume(struct http_request *req)
{
    bool over;

    pthread_mutex_lock(&req->lock);
    assert(req->held);
    if (req->in_parts == HTTP_BODY_CUT) {
        over = resume_cut(req);
        pthread_mutex_unlock(&req->lock);
        if (over)
            http_request_release(req);
        return;
    }
    req->held = false;
    /* Not suspended: the server has given up waiting, and the connection may be gone. While it is, it cannot go. */
    if (req->suspended) {
        req->suspended = false;
        MHD_resume_connection(req->connection);
    }
    pthread_mutex_unlock(&req->lock);
    http_request_release(req);
}

bool http_request_is_held(struct http_request *req)
{
    bool held;

    pthread_mutex_lock(&req->lock);
    held = req->held;
    pthread_mutex_unlock(&req->lock);
    return held;
}

void http_request_abort(struct http_request *req)
{
    pthread_mutex_lock(&req->lock);
    if (req->suspended || req->stream.waiting)
        MHD_resume_connection(req->connection);
    req->suspended = false;
    req->stream.waiting = false;
    pthread_mutex_unlock(&req->lock);
}

/* ---- streams ---- */

void http_wake(struct http_stream *st)
{
    struct http_request *req = st->req;

    pthread_mutex_lock(&req->lock);
    st->woken = true;
    if (st->waiting) {
        st->waiting = false;
        MHD_resume_connection(req->connection);
    }
    pthread_mutex_unlock(&req->lock);
}

/* Before the producer is asked: what it says from here on counts. False: there is nobody to send to. */
static bool begin_read(struct http_stream *st)
{
    bool gone;

    pthread_mutex_lock(&st->req->lock);
    st->woken = false;
    gone = st->gone;
    pthread_mutex_unlock(&st->req->lock);
    return !gone && !atomic_load(&st->req->server->aborting);
}

/* False: it was woken meanwhile, or all is over. */
static bool wait_for_wake(struct http_stream *st)
{
    struct http_request *req = st->req;
    bool waits;

    pthread_mutex_lock(&req->lock);
    waits = !st->woken && !st->gone && !atomic_load(&req->server->aborting);
    if (waits) {
        st->waiting = true;
        MHD_suspend_connection(req->connection);
    }
    pthread_mutex_unlock(&req->lock);
    return waits;
}

/* As the producer's read, but never with less room than it was promised. */
static ssize_t produce(struct http_stream *st, char *to, size_t max)
{
    size_t len = st->staged.len - st->staged_at;
    ssize_t n;

    if (len == 0) {
        if (max >= READ_BYTES_MIN)
            return st->ops->read(st->ctx, to, max);
        buf_clear(&st->staged);
        st->staged_at = 0;
        if (!buf_reserve(&st->staged, READ_BYTES_MIN))
            return HTTP_STREAM_BROKEN;
        n = st->ops->read(st->ctx, st->staged.data, READ_BYTES_MIN);
        if (n <= 0)
            return n;
        st->staged.len = len = (size_t)n;
    }
    len = len < max ? len : max;
    memcpy(to, st->staged.data + st->staged_at, len);
    st->staged_at += len;
    return (ssize_t)len;
}

ssize_t http_stream_read(void *cls, uint64_t at, char *to, size_t max)
{
    struct http_request *req = cls;
    struct http_stream *st = &req->stream;

    (void)at;
    for (;;) {
        bool stopping = atomic_load(&req->server->stopping);
        ssize_t n;

        if (!begin_read(st))
            return MHD_CONTENT_READER_END_WITH_ERROR;
        n = produce(st, to, max);
        if (n > 0) {
            req->sent_bytes += (uint64_t)n;
            return n;
        }
        if (n == HTTP_STREAM_BROKEN)
            return MHD_CONTENT_READER_END_WITH_ERROR;
        if (n == HTTP_STREAM_END)
            return MHD_CONTENT_READER_END_OF_STREAM;
        if (stopping)
            return st->ops->endless ? MHD_CONTENT_READER_END_OF_STREAM
                                    : MHD_CONTENT_READER_END_WITH_ERROR;
        if (wait_for_wake(st))
            return 0;
    }
}

void http_stream_close(struct http_request *req)
{
    struct http_stream *st = &req->stream;
    const struct http_stream_ops *ops = st->ops;

    buf_free(&st->staged);
    if (!ops)
        return;
    st->ops = NULL;
    ops->closed(st->ctx);
}
