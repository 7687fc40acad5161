/*
 * The little that `weir run` has to know about a URL itself: where secrets stand in it.
 *
 *     user = run_url_userinfo(slice_of(url));     // "user:password", or empty
 *     run_url_basic(user, &buf);                  // as a Basic credential
 *     run_url_strip(url);                         // takes user and password out, in place
 *     run_url_show(slice_of(url), &buf);          // without any secret
 *
 * Everything else about URLs is the http executor's and the input's. Pure.
 */
#ifndef CLI_RUN_URL_H
#define CLI_RUN_URL_H

#include "base/buf.h"
#include "base/slice.h"
#include "weir/status.h"

#include <stdbool.h>

/* http or https, with a host, without spaces, control characters or a fragment. The message does not
 * repeat the URL. */
WEIR_MUST_CHECK enum weir_status run_url_check(const char *url, struct weir_error *err);
/* What stands before an @ in the authority, without the @; a slice of url, empty when there is none. */
struct slice run_url_userinfo(struct slice url);
/* Appends base64 of the userinfo with its percent-escapes resolved. */
void run_url_basic(struct slice userinfo, struct buf *out);
void run_url_strip(char *url);
/* Whether a header or parameter of that name usually holds a secret (authorization, key, token, ...). */
bool run_url_names_secret(struct slice name);
/* Appends the URL without user and password, and with *** for values of secret parameters. */
void run_url_show(struct slice url, struct buf *out);

#endif
