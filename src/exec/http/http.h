/*
 * Executor of kind "http": an attempt is one HTTP request, its answer is the response.
 *
 *     struct http_options options = HTTP_OPTIONS_DEFAULT;
 *     options.headers = (const char *const[]){"Authorization: Bearer ..."}, options.headers_count = 1;
 *     status = http_executor_new(&options, loop, host, &ex, err);
 *     ... attempt->payload = &(struct http_request){.url = "http://...", .body = SLICE("{}")} ...
 *
 * libcurl's multi interface runs the transfers and the loop's polls drive it: no thread per request
 * (the resolver's threads are curl's own). Connections are kept alive and used again; what does not
 * change from one request to the next is set on a curl handle once, when the handle is made.
 *
 * Threads: everything here is called on the thread that runs the loop, http_executor_new excepted,
 * which may run before the loop does. Reports are made on that thread, from within kick(),
 * cancel(), start() or a turn of the loop.
 *
 * Owner: the options are copied and may go once http_executor_new has returned. A request belongs
 * to the caller and must stay as it is until its attempt is reported; its bytes are never copied.
 * The executor frees itself some turns of the loop after close().
 *
 * Time limits of attempts are not the executor's: the engine cancels. Only the connect timeout is.
 * Redirects are not followed: a 3xx is an answer like any other. Only http and https are spoken.
 */
#ifndef EXEC_HTTP_HTTP_H
#define EXEC_HTTP_HTTP_H

#include "base/slice.h"
#include "base/time.h"
#include "core/ports/executor.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

enum http_version {
    HTTP_VERSION_AUTO,              /* 2 where TLS negotiates it, else 1.1 */
    HTTP_VERSION_1_1,               /* never 2 */
    HTTP_VERSION_2,                 /* also asks for an upgrade without TLS */
    HTTP_VERSION_2_PRIOR_KNOWLEDGE, /* 2 without asking, also without TLS */
};

/* Limits (I8): an attempt that meets one fails for good with reason response_too_large. */
#define HTTP_RESPONSE_BYTES_DEFAULT         (UINT64_C(64) << 20) /* of a body, decoded */
#define HTTP_RESPONSE_HEADERS_BYTES_DEFAULT (UINT64_C(256) << 10)
/* A request whose idempotency key would be longer than this goes out without one. */
#define HTTP_IDEMPOTENCY_KEY_BYTES_MAX 512

/* The engine's say about an answer that HTTP calls a success; for picking an output from it. */
struct http_accept {
    /*
     * May replace answer->output (mem_free the old one, give the new one a NUL behind it). False:
     * the answer is no success after all; the hook sets outcome, reason, retryable and message, and
     * what it leaves at `ok` becomes failed, permanent, select_failed. NULL: everything stands.
     */
    bool (*accept)(void *ctx, struct core_answer *answer);
    void *ctx;
};

/* Zero, false and NULL mean "the default"; HTTP_OPTIONS_DEFAULT spells it out. */
struct http_options {
    const char *method; /* of requests that name none; NULL: POST */
    /*
     * "Name: value", secrets already in place. A name given here replaces what weir would send
     * itself (Content-Type, User-Agent, Idempotency-Key, ...); Content-Length and Transfer-Encoding
     * are refused. "Name:" without a value: that header is not sent at all.
     */
    const char *const *headers;
    size_t headers_count;
    duration_ns connect_timeout_ns;      /* 0: 10 s. TLS handshake included */
    uint64_t response_max_bytes;         /* 0: HTTP_RESPONSE_BYTES_DEFAULT */
    uint64_t response_headers_max_bytes; /* 0: HTTP_RESPONSE_HEADERS_BYTES_DEFAULT */
    enum http_version http_version;
    const char *proxy;       /* URL; NULL: http_proxy etc. of the environment; "": none */
    const char *no_proxy;    /* names that go without it, with commas between; NULL: environment */
    const char *cacert;      /* file of certificates to trust instead of the system's */
    const char *client_cert; /* PEM file */
    const char *client_key;  /* PEM file; NULL: in client_cert */
    bool insecure;           /* do not check the service's certificate */
    const char *unix_socket; /* connect there, whatever the URL's host */
    size_t max_connections;  /* connections kept for use again: the pool's size. 0: 64 */
    const char *user_agent;  /* NULL: weir/VERSION */
    bool no_tcp_keepalive;
    /* Statuses that mean "full" beside 429, 503 and 529; each in 300..599. */
    const int *capacity_statuses;
    size_t capacity_statuses_count;
    struct http_accept accept;
    /* Seconds since the Unix epoch, for waits that a service gives as a date without a Date header
     * of its own. NULL: the system's clock. */
    int64_t (*unix_seconds)(void);
};

#define HTTP_OPTIONS_DEFAULT ((struct http_options){.method = "POST"})

/* The payload of an attempt: attempt->payload points to one of these. */
struct http_request {
    const char *method;          /* NULL: the options' method */
    const char *url;             /* absolute, http or https */
    struct slice body;           /* len 0: none */
    const char *content_type;    /* of the body; NULL: application/json */
    const char *idempotency_key; /* sent as Idempotency-Key; NULL: none. Bytes that a header cannot
                                    hold are sent as %XX */
    /* "Name: value", of this request alone, and checked: http_recipe does that. None that the options name, and none of the
     * two above. */
    const char *const *headers;
    size_t headers_count;
};

/*
 * Makes the executor. WEIR_E_INVALID with a message that names the option and the remedy (and holds
 * no header's value and no proxy's password: P10), or WEIR_E_NOMEM.
 */
WEIR_MUST_CHECK enum weir_status http_executor_new(const struct http_options *options,
                                                   uv_loop_t *loop, struct core_executor_host *host,
                                                   struct core_executor **ret,
                                                   struct weir_error *err);

/*
 * Whether text is a URL that a request may have: absolute, http or https, with a host and
 * without a user or password. WEIR_E_INVALID with a message that does not repeat the URL,
 * which may hold a password.
 */
WEIR_MUST_CHECK enum weir_status http_url_check(const char *url, struct weir_error *err);

/* The method's name is a token of letters, at most 16: GET, POST, ... */
WEIR_MUST_CHECK enum weir_status http_method_check(const char *method, struct weir_error *err);

/* What the executor did since it was made; for statistics and tests. */
struct http_counters {
    uint64_t started;
    uint64_t reported;
    uint64_t connections_opened;
    size_t running;
    size_t handles; /* curl handles made; the most that ever ran at once */
};
struct http_counters http_executor_counters(const struct core_executor *ex);

#endif
