/*
 * The options of the http executor, checked, and set on a curl handle that all others are copied
 * from. Inside exec/http only.
 *
 *     status = http_options_check(options, err);
 *     status = http_options_headers(options, &list, err);        // curl_slist_free_all(list)
 *     status = http_options_set(options, easy, err);
 *
 * No message holds a header's value, a proxy's password or a URL (P10).
 */
#ifndef EXEC_HTTP_OPTIONS_H
#define EXEC_HTTP_OPTIONS_H

#include "exec/http/http.h"

#include <curl/curl.h>

#define HTTP_METHOD_BYTES            17 /* with the NUL */
#define HTTP_CONNECTIONS_DEFAULT     64
#define HTTP_CONNECT_TIMEOUT_DEFAULT (10 * NS_PER_S)

WEIR_MUST_CHECK enum weir_status http_options_check(const struct http_options *o,
                                                    struct weir_error *err);

/* The headers that every request has, as curl wants them. */
WEIR_MUST_CHECK enum weir_status
http_options_headers(const struct http_options *o, struct curl_slist **ret, struct weir_error *err);

/* Whether the options name this header (in any case). */
bool http_options_name_header(const struct http_options *o, const char *name);

/* Sets what is the same for every request; headers and callbacks are the caller's. */
WEIR_MUST_CHECK enum weir_status http_options_set(const struct http_options *o, CURL *easy,
                                                  struct weir_error *err);

/*
 * The version to speak to URLs with and without TLS. Where it may be 2, requests wait until the
 * first connection is there and tells whether it can carry them all; where it cannot be, none
 * waits.
 */
CURLcode http_options_set_version(enum http_version version, bool tls, CURL *easy);

/* Whether it is a token of RFC 9110, as a header's name has to be. */
bool http_header_name_is_token(const char *text, size_t len);

/* Whether text may follow a header's colon: no control bytes but tabs. */
bool http_header_value_is_clean(const char *text, size_t len);

#endif
