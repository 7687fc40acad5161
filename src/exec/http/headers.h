/*
 * Reads what a response's headers say about the service's limits, and the service's name for the
 * request. Pure.
 *
 *     struct http_headers h;
 *     http_headers_init(&h);
 *     http_headers_line(&h, line);                  // each line as it comes, status lines included
 *     http_headers_advice(&h, unix_seconds, &answer->advice);
 *
 * Understood, names in any case:
 *     Retry-After                    seconds, also fractional; a date; retry-after-ms is preferred
 *     x-ratelimit-{limit,remaining,reset}-{requests,tokens}
 *     anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}
 *     x-ratelimit-{limit,remaining,reset}, ratelimit-{limit,remaining,reset}   counted as requests
 *     x-request-id, request-id, openai-request-id, x-amzn-requestid, x-ms-request-id
 * A wait is seconds ("30", "1.5"), a sum of units ("6m0s", "1m30.5s", "12ms", "1d2h"), seconds or
 * milliseconds of the Unix epoch (1e9 or more, 1e12 or more), an HTTP date or an RFC 3339 date.
 * What is none of these, or negative, is as if it had not been sent; what is too large is clamped.
 *
 * Owner: the struct owns nothing and is as large as it is ever going to be.
 */
#ifndef EXEC_HTTP_HEADERS_H
#define EXEC_HTTP_HEADERS_H

#include "base/slice.h"
#include "base/time.h"
#include "flow/advice.h"

#include <stdbool.h>
#include <stdint.h>

/* The longest wait, and the largest quota, that is passed on; larger ones become these. */
#define HTTP_WAIT_NS_MAX (366 * 24 * 3600 * NS_PER_S)
#define HTTP_QUOTA_MAX   INT64_C(1000000000000000)
/* A date of the response's own that is longer is none. With its NUL. */
#define HTTP_DATE_BYTES 64
/* A longer request id is cut. With its NUL. */
#define HTTP_REQUEST_ID_BYTES 128

/* A wait as it was sent: from now, or until a date. */
struct http_wait {
    enum http_wait_kind { HTTP_WAIT_UNTOLD, HTTP_WAIT_FOR, HTTP_WAIT_UNTIL } kind;
    int64_t value; /* FOR: nanoseconds; UNTIL: seconds since the Unix epoch */
};

struct http_headers_quota {
    int64_t limit;     /* -1: not told */
    int64_t remaining; /* -1: not told */
    struct http_wait reset;
};

struct http_headers {
    struct http_wait retry_after;
    bool retry_after_in_ms; /* from retry-after-ms, which is more exact */
    struct http_headers_quota requests;
    struct http_headers_quota tokens;
    /* The service's own clock, as it was sent: it is read only for a wait that is told as a date. */
    char date[HTTP_DATE_BYTES]; /* "": not told */
    int request_id_rank;        /* of the header that it came from; 0: none */
    char request_id[HTTP_REQUEST_ID_BYTES];
};

void http_headers_init(struct http_headers *h);

/*
 * Takes one line, with or without its line end. A status line ("HTTP/...") begins a new response
 * and forgets what came before (100 Continue, for one).
 */
void http_headers_line(struct http_headers *h, struct slice line);

/* Dates are taken against the response's own Date, so that a wrong clock here does no harm; `now` is
 * the Unix time for a response without one. */
void http_headers_advice(const struct http_headers *h, int64_t now_unix_s, struct flow_advice *ret);

/* A wait as above; HTTP_WAIT_UNTOLD when the text is none. */
struct http_wait http_wait_parse(struct slice text);

#endif
