/*
 * The sockets and the timer of a curl multi handle, on a uv loop.
 *
 *     http_sockets_init(&s, loop, multi, turned, closed, ctx);
 *     http_sockets_adopt(&s, easy);       // each easy handle, before it is first added to the multi
 *     http_sockets_run(&s);               // do what is due now, instead of in the loop's next turn
 *     curl_multi_cleanup(multi); http_sockets_close(&s);  // closed(ctx) follows, from the loop
 *
 * turned(ctx) is called after each call into curl that may have ended transfers, never from inside
 * one, so that it may add and remove handles.
 *
 * What is special: curl forgets a connection's socket when a transfer ends, and asks for it anew
 * when the connection's next one begins. Taken literally that is three system calls per request. So
 * the poll of an idle connection stays as it is until the socket is closed, or something arrives
 * on it that no transfer waits for.
 *
 * Threads: the loop's. Owner: the embedder of the struct, who keeps it until closed() is called.
 */
#ifndef EXEC_HTTP_SOCKETS_H
#define EXEC_HTTP_SOCKETS_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct http_socket;

struct http_sockets {
    uv_loop_t *loop;
    CURLM *multi;
    uv_timer_t timer;
    struct http_socket **by_fd; /* NULL where the descriptor is not curl's */
    size_t by_fd_count;
    size_t handles_open; /* on the loop, those that are being closed included */
    uint64_t opened;     /* sockets that curl had made, ever */
    bool in_curl;
    bool closing;
    void (*turned)(void *ctx);
    void (*closed)(void *ctx);
    void *ctx;
};

void http_sockets_init(struct http_sockets *s, uv_loop_t *loop, CURLM *multi,
                       void (*turned)(void *ctx), void (*closed)(void *ctx), void *ctx);

/* An option that is refused, as curl names it. */
CURLcode http_sockets_adopt(struct http_sockets *s, CURL *easy);

void http_sockets_run(struct http_sockets *s);

/* The multi handle is gone already (curl closes its connections through this). */
void http_sockets_close(struct http_sockets *s);

#endif
