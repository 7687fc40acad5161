/*
 * Requests to the daemon, by libcurl, over a Unix socket or TCP.
 *
 *     client_put_query(&path, "pool", o->pool);
 *     result = client_ask(c, "GET", path.data, NULL);      // CLI_OK: c->body has the JSON
 *     if (result != CLI_OK)
 *         return result;                                   // it has said what is wrong
 *
 * For streams there is client_send(): take() gets the answer as it comes, give() hands the request
 * over bit by bit. Proxies of the environment are not used, redirections not followed. The token is
 * in no message.
 */
#ifndef CLI_CLIENT_REQUEST_H
#define CLI_CLIENT_REQUEST_H

#include "cli/client/client.h"

/* Finds out where the daemon is, and reads the token. Says nothing to it yet. */
WEIR_MUST_CHECK enum weir_status client_open(struct client *c, struct weir_error *err);
/* Also of what was never opened. */
void client_close(struct client *c);

/* False: enough; the request ends there, as well. */
typedef bool (*client_take_fn)(void *ctx, struct slice bytes);
/* At most `size` bytes into `into`; 0: that was all. */
typedef size_t (*client_give_fn)(void *ctx, char *into, size_t size);

struct client_request {
    const char *method, *path;
    const char *type; /* of the body; NULL: there is none */
    struct slice body;
    const char *accept;
    client_give_fn give; /* in place of body */
    /* The descriptor that give() would wait for, or -1: then the daemon, which may end the request meanwhile, is heard at once.
     * May be NULL. */
    int (*waits_for)(void *ctx);
    client_take_fn take; /* of a 2xx; NULL: into c->body */
    void *ctx;
    long silence_s; /* the connection is dead when nothing has come for so long; 0: never */
};

/*
 * WEIR_OK: it has been answered, c->status says how; what is no 2xx is in c->body. WEIR_E_IO: no
 * daemon, or it went away. WEIR_E_END: take() had enough.
 */
WEIR_MUST_CHECK enum weir_status client_send(struct client *c, const struct client_request *r,
                                             struct weir_error *err);
/* One that is answered with JSON, or nothing (204). Says what goes wrong. body: JSON, or NULL. */
int client_ask(struct client *c, const char *method, const char *path, const char *body);
/* What c->status and c->body mean for the exit status; says what is wrong. */
int client_judge(struct client *c);
/* As client_ask() would say of a request that got no answer. */
int client_unanswered(const struct client *c, const struct weir_error *err);

/* Appends text so that it can stand in a path or a query. */
void client_put_escaped(struct buf *path, const char *text);
/* "?name=value" or "&name=value"; nothing, if the value is NULL. */
void client_put_query(struct buf *path, const char *name, const char *value);
void client_put_query_number(struct buf *path, const char *name, int64_t value);

#endif
