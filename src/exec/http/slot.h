/*
 * One curl handle with what a request on it needs: a place where one attempt at a time runs. Inside
 * exec/http only.
 *
 *     slot = http_slot_new(&shared, err...);       // once; then for each attempt:
 *     if (http_slot_prepare(slot, request, &verdict...)) curl_multi_add_handle(multi, slot->easy);
 *     ... curl is done with code ...
 *     http_slot_answer(slot, code, unix_now_s, &attempt->answer);
 *
 * What a request has in common with the one before it on the same handle (URL, method, headers) is
 * not set again.
 *
 * Owner: the slot owns its handle and buffers; the shared part outlives all slots. The request's
 * bytes must stay until curl is done. Threads: the loop's.
 */
#ifndef EXEC_HTTP_SLOT_H
#define EXEC_HTTP_SLOT_H

#include "base/buf.h"
#include "core/answer.h"
#include "exec/http/classify.h"
#include "exec/http/headers.h"
#include "exec/http/http.h"
#include "exec/http/options.h"

#include <curl/curl.h>

/* What all slots of an executor have in common. */
struct http_shared {
    CURL *template_easy; /* slots' handles are copies of it */
    struct curl_slist *headers;
    char method[HTTP_METHOD_BYTES];
    enum http_version http_version;
    uint64_t response_max_bytes;
    uint64_t response_headers_max_bytes;
    bool own_content_type; /* the options name these headers: requests' own are not sent */
    bool own_idempotency_key;
    bool own_expect;
    struct http_status_set capacity;
    struct http_accept accept;
};

#define HTTP_CONTENT_TYPE_BYTES_MAX 200
#define HTTP_CONTENT_TYPE_NAME      "Content-Type: "
#define HTTP_NO_EXPECT              "Expect:"
#define HTTP_IDEMPOTENCY_KEY_NAME   "Idempotency-Key: "

struct http_slot {
    CURL *easy;
    const struct http_shared *shared;
    struct core_attempt *attempt; /* that runs here; NULL: none */
    struct http_slot *next_free;
    struct http_slot *next_made;

    /* the response, as it comes */
    struct http_headers headers;
    uint64_t headers_bytes;
    struct buf body;
    enum http_slot_fault {
        HTTP_SLOT_SOUND,
        HTTP_SLOT_BODY_TOO_LARGE,
        HTTP_SLOT_HEADERS_TOO_LARGE,
        HTTP_SLOT_NO_MEMORY,
        HTTP_SLOT_SENT_BEFORE,
    } fault;      /* why a callback stopped the transfer */
    bool sent;    /* the request has gone out */
    long version; /* CURL_HTTP_VERSION_* of the last answer; _NONE: there was none yet */

    /* what the handle is set to */
    struct buf url;
    CURLU *parsed_url;
    char method[HTTP_METHOD_BYTES];
    bool has_body;
    const struct curl_slist *head;

    /* header lines of this slot's requests, put before the shared list without a copy of it */
    struct curl_slist type_node;
    struct curl_slist key_node;
    struct curl_slist expect_node;
    struct curl_slist *own_nodes; /* of the request's own headers */
    size_t own_cap;
    char type_line[sizeof(HTTP_CONTENT_TYPE_NAME) + HTTP_CONTENT_TYPE_BYTES_MAX];
    char expect_line[sizeof(HTTP_NO_EXPECT)];
    char key_line[sizeof(HTTP_IDEMPOTENCY_KEY_NAME) + HTTP_IDEMPOTENCY_KEY_BYTES_MAX];
    char error[CURL_ERROR_SIZE];
};

/* NULL: no memory. */
struct http_slot *http_slot_new(const struct http_shared *shared);
struct http_slot *http_slot_free(struct http_slot *slot);

/* False: the request cannot be sent, and the answer says why. */
bool http_slot_prepare(struct http_slot *slot, const struct http_request *request,
                       struct core_answer *answer);

/* Fills the answer in, after curl is done with the handle, but for its times. */
void http_slot_answer(struct http_slot *slot, CURLcode code, int64_t unix_now_s,
                      struct core_answer *answer);

/* Forgets the request and its response; keeps what the next one may use. */
void http_slot_reset(struct http_slot *slot);

#endif
