/*
 * Who may: tokens by their SHA-256, and what each is for.
 *
 *     http_tokens_new(given, count, &tokens, &err);
 *     if (http_tokens_look(tokens, secret, &role, name)) ...
 *
 * A secret is never kept, only its digest; all digests are compared to their last byte each time,
 * so that the time that it takes says nothing. Unchanged once it is made; the server exchanges the
 * whole of it. The digest is nettle's, which libmicrohttpd's own libraries have loaded anyway; so
 * is the comparison.
 */
#ifndef SERVE_HTTP_TOKENS_H
#define SERVE_HTTP_TOKENS_H

#include "serve/http/http.h"

#define HTTP_TOKEN_BYTES_MAX      4096
#define HTTP_TOKEN_NAME_BYTES_MAX 64

struct http_tokens;

/* As http_server_set_tokens() says. No tokens at all is a set too. */
WEIR_MUST_CHECK enum weir_status http_tokens_new(const struct http_token *given, size_t count,
                                                 struct http_tokens **ret, struct weir_error *err);
size_t http_tokens_count(const struct http_tokens *t);
/* False: it is none of them. */
bool http_tokens_look(const struct http_tokens *t, struct slice secret, enum http_role *ret_role,
                      char ret_name[HTTP_TOKEN_NAME_BYTES_MAX]);
struct http_tokens *http_tokens_free(struct http_tokens *t);
/* "read", "submit", "operate", "none". */
const char *http_role_name(enum http_role role);

#endif
