/*
 * The web page: files that are part of the program.
 *
 *     file = web_find(ctx, "/");       // for api_options.web_find; ctx is not looked at
 *
 * They stand in web/ of the sources. Any thread.
 */
#ifndef SERVE_WEB_WEB_H
#define SERVE_WEB_WEB_H

#include "serve/api/api.h"

/* "/" or "/web/NAME"; NULL: there is no such file. */
const struct api_file *web_find(void *ctx, const char *path);

#endif
