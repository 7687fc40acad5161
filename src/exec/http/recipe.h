/*
 * How an HTTP pool makes a request of a task's payload, where the payload is bytes that came over
 * the network.
 *
 *     http_recipe_new(&(struct http_recipe_options){.url = "https://api.example/v1/{model}"}, &recipe, &err);
 *     status = http_recipe_make(recipe, payload, key, &request, &err);          // WEIR_E_FORMAT: the task is wrong
 *     ... attempt->payload = request ...
 *     mem_free(request);                                                        // when its attempt is reported
 *
 * A pool with a URL sends each payload there as the body, byte for byte (with GET and HEAD there is
 * none). {name} in the URL, behind its host, is a field of a payload that is a JSON object: a
 * string, a number, true or false, with %XX for what has a meaning in URLs.
 *
 * Without one the payload is a JSON object that says all:
 *
 *     {"url": "https://...", "method": "PUT", "headers": {"Accept": "text/csv"}, "body": any JSON value}
 *
 * where a body that is a string is sent as its text (text/plain, unless a header says otherwise),
 * and any other value as it stands. Who may submit then decides which hosts this machine speaks to,
 * and so the pool must say allow_any_url.
 *
 * Owner: options are copied. A recipe does not change: threads may share it. What it makes is one
 * piece of memory and refers to nothing.
 */
#ifndef EXEC_HTTP_RECIPE_H
#define EXEC_HTTP_RECIPE_H

#include "exec/http/http.h"

struct http_recipe;

struct http_recipe_options {
    const char *url;    /* NULL: payloads name theirs */
    bool allow_any_url; /* they may */
    const char *method; /* NULL: POST; of a payload that names its URL GET, if it has no body */
    /* Those of the executor's options: a payload may not name them too. */
    const char *const *headers;
    size_t headers_count;
};

/* WEIR_E_INVALID: the message names the option and the remedy. WEIR_E_NOMEM. */
WEIR_MUST_CHECK enum weir_status http_recipe_new(const struct http_recipe_options *o,
                                                 struct http_recipe **ret, struct weir_error *err);
struct http_recipe *http_recipe_free(struct http_recipe *r);
/*
 * key: sent as Idempotency-Key; NULL: none. WEIR_E_FORMAT: the payload is wrong; the message names
 * the field and the remedy, and repeats no value. WEIR_E_NOMEM.
 */
WEIR_MUST_CHECK enum weir_status http_recipe_make(const struct http_recipe *r, struct slice payload,
                                                  const char *key, struct http_request **ret,
                                                  struct weir_error *err);

#endif
