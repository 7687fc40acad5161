/*
 * What verbs have in common: options of lists, and one request for each word.
 */
#ifndef CLI_CLIENT_VERBS_H
#define CLI_CLIENT_VERBS_H

#include "cli/client/client.h"

/* The options of lists, for structs that have `limit` and `all`. */
#define VERBS_LIST_SPECS(type)                                                                     \
    {.name = "limit",                                                                              \
     .kind = OPTION_COUNT,                                                                         \
     .argument = "N",                                                                              \
     .at = offsetof(type, limit),                                                                  \
     .min = 1,                                                                                     \
     .max = 1e15,                                                                                  \
     .group = "How many",                                                                          \
     .help = "at most (default 100)"},                                                             \
    {                                                                                              \
        .name = "all", .kind = OPTION_FLAG, .at = offsetof(type, all), .group = "How many",        \
        .help = "all there are"                                                                    \
    }

/* False: it is none, and client_usage() has said so. */
bool verbs_id(const struct client *c, const char *word, const char *what, int64_t *ret);
/* The answer in c->body as one line of JSON, if that is wanted. False: it is not. */
bool verbs_put_json(struct client *c);
/*
 * METHOD /v1/KIND/WORD/ACTION for each word, action without a slash or NULL. A number is asked for
 * when `numbers`. tell(): puts into c->out what c->body means, in words. All are tried; what is
 * returned is CLI_OK, or how the first that failed did.
 */
struct verbs_each {
    const char *method, *kind, *action, *body;
    const char *what; /* "task" */
    bool numbers;
    bool apart;          /* a blank line between what is told of two of them */
    size_t first, count; /* of the words; count 0: all of them */
    void (*tell)(struct client *c, const char *word);
};
int verbs_each(struct client *c, const struct verbs_each *e);

/* Members for a request: {"a":1}. */
void verbs_put_body(struct buf *out, const char *name, const char *json);
void verbs_end_body(struct buf *out);

#endif
