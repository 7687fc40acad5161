/*
 * One request at `weir mock` and its answer; what server.c and deliver.c share.
 *
 *     RECEIVING ──► WAITING ──► DUE ──► ANSWERED        suspended in WAITING, and in DRIBBLING
 *         │            │                    ▲           between two pieces of a slow body
 *         │            └──► GONE ◄──┐       │
 *         └──► DUE ──► DRIBBLING ───┴───────┘
 *
 * libmicrohttpd owns the connection and calls in; the exchange is made at the first call for a
 * request and freed when libmicrohttpd says that the request is over, whatever became of it. While
 * the connection is suspended libmicrohttpd does not look at it: so the exchange watches the socket
 * itself, to see a client that goes away. All on the loop's thread.
 */
#ifndef CLI_MOCK_EXCHANGE_H
#define CLI_MOCK_EXCHANGE_H

#include "base/buf.h"
#include "base/heap.h"
#include "base/list.h"
#include "cli/mock/answer.h"
#include "sim/service.h"

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

struct mock_server;
struct mock_watch;

enum mock_state {
    MOCK_RECEIVING,
    MOCK_ON_ITS_WAY, /* suspended until `due`: the request arrives only then (--network) */
    MOCK_WAITING,    /* suspended until `due` */
    MOCK_DUE,        /* to be answered at the next call */
    MOCK_DRIBBLING,  /* suspended until the next piece of the body is due */
    MOCK_ANSWERED,   /* libmicrohttpd has what it needs */
    MOCK_GONE,       /* the client went away, or the mock ends */
};

struct mock_exchange {
    struct mock_server *server;
    struct MHD_Connection *connection;
    struct list link;
    enum mock_state state;

    struct heap_node timer; /* in the server's heap while it waits */
    struct instant due;
    struct mock_watch *watch; /* NULL: not suspended */

    struct buf body; /* of the request */
    bool too_large;
    uint64_t identity;
    struct mock_reply reply;
    struct sim_answer answer;
};

/* Gives the exchange its answer, or its fault. MHD_NO closes the connection. */
enum MHD_Result mock_deliver(struct mock_exchange *x);
/* A plain answer of the mock itself, apart from the model. */
enum MHD_Result mock_deliver_text(struct mock_exchange *x, unsigned status, struct buf *body);

/* Of server.c. Suspends the exchange until x->due or until the client goes away. False: it
 * cannot wait, and is not suspended. */
bool mock_exchange_wait(struct mock_exchange *x, enum mock_state state, struct instant due);
/* It counts as in service no longer. */
void mock_exchange_leave(struct mock_exchange *x, bool answered);

#endif
