/*
 * What an HTTP status, or the way in which a transfer broke, means for the attempt. Pure.
 *
 *     struct http_verdict v = http_classify_status(503, &listed);   // capacity
 *     struct http_verdict v = http_classify_transfer(CURLE_RECV_ERROR); // failed, retryable
 *
 * The tables are design/3-batches.md's: full is not failure (P4).
 */
#ifndef EXEC_HTTP_CLASSIFY_H
#define EXEC_HTTP_CLASSIFY_H

#include "weir/outcome.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

struct http_verdict {
    enum weir_outcome outcome; /* ok, capacity or failed */
    enum weir_reason reason;
    bool retryable; /* for failed */
};

/* A set of statuses 0..1023. */
struct http_status_set {
    uint64_t words[16];
};

static inline void http_status_set_add(struct http_status_set *set, int status)
{
    if (status >= 0 && status < 1024)
        set->words[status / 64] |= UINT64_C(1) << (status % 64);
}

static inline bool http_status_set_has(const struct http_status_set *set, int status)
{
    return status >= 0 && status < 1024 && (set->words[status / 64] >> (status % 64) & 1);
}

/* `capacity`: statuses that mean "full" beside 429, 503 and 529; NULL: none. */
struct http_verdict http_classify_status(int status, const struct http_status_set *capacity);

/*
 * A transfer that ended in `code`, which is not CURLE_OK, in a handle that speaks http and https
 * only, was given a URL that http_url_check passes, and has a connect timeout but no other.
 */
struct http_verdict http_classify_transfer(CURLcode code);

/* The usual words for a status ("Too Many Requests"), whatever the service wrote; "" for one that
 * is not registered. */
const char *http_status_text(int status);

#endif
