/*
 * What the files of the API share: the API itself, calls that wait for an op, and answers to what
 * goes wrong.
 */
#ifndef SERVE_API_INTERNAL_H
#define SERVE_API_INTERNAL_H

#include "base/list.h"
#include "serve/api/api.h"
#include "serve/api/fields.h"
#include "serve/api/out.h"
#include "serve/api/snapshot.h"
#include "serve/api/task_in.h"

#include <pthread.h>
#include <stdatomic.h>

/* Rows of a list unless it says otherwise, and at most. */
#define LIST_LIMIT     100
#define LIST_LIMIT_MAX 1000
/* An answer that has so many bytes ends, with a cursor: payloads may be large. */
#define LIST_BYTES_MAX ((size_t)8 << 20)

/* Answers of which each is the same for all who ask at the time. */
enum api_snapshot {
    SNAPSHOT_STATUS,
    SNAPSHOT_POOLS,
    SNAPSHOT_METRICS,
    SNAPSHOT_OPENMETRICS,
    SNAPSHOTS
};

struct api {
    struct api_options options;
    struct api_backend *backend;
    struct sse_hub *hub;

    pthread_mutex_t lock;   /* of what follows */
    pthread_cond_t changed; /* for the feeder */
    uint64_t committed;     /* the last event that is durable */
    uint64_t fed;           /* the last event when the feeder began */
    bool stopping;
    bool listening; /* the feeder waits for a commit, and not for its next turn */
    bool feeding;   /* the feeder's thread is there */
    pthread_t feeder;
    struct list followers;      /* struct results_stream: of results, by `link` */
    struct list batch_uses;     /* struct batch_use, by `link` */
    pthread_cond_t place_found; /* of one of them */

    pthread_mutex_t apart_lock; /* of what follows */
    pthread_cond_t apart_more;
    struct list apart; /* struct apart_work, by `link` */
    bool has_apart, apart_runs, apart_ends;
    pthread_t apart_thread;

    _Atomic uint64_t changes; /* as snapshot.h has them */
    struct snapshot snapshots[SNAPSHOTS];
    size_t snapshot_count; /* that have been made */
};

/* ---- answers (reply.c) ---- */

/* The problem document for a status of the registry or the backend. what: of what it is about, for E_END ("task 7"). */
void reply_failure(struct http_request *req, const struct weir_error *err, const char *what);
/* The same of a SUBMIT: what it names and is not there is no address, so that is 422 and not 404. */
void reply_refused(struct http_request *req, const struct weir_error *err);
/* 400, with all places. */
void reply_faults(struct http_request *req, const struct faults *f);
void reply_nomem(struct http_request *req);
/* 404: "there is no <what>". */
void reply_absent(struct http_request *req, const char *what);
/* The number in the path. False: it is none, and 404 is the answer. */
bool request_id(struct http_request *req, const char *what, uint64_t *ret);
/* A JSON object as the body, read by a table. False: answered. An empty body is an object without members. */
bool request_fields(struct http_request *req, struct body_in *in, const struct field *fields,
                    size_t count, void *out, uint64_t *ret_given);

/* Query parameters: untouched when absent. False: it is wrong, and 400 is the answer. */
bool query_u64(struct http_request *req, const char *name, uint64_t min, uint64_t max,
               uint64_t *ret);
bool query_bool(struct http_request *req, const char *name, bool *ret);
bool query_time(struct http_request *req, const char *name, int64_t now_ns, int64_t *ret_ns);
/* Not an empty one. */
bool query_text(struct http_request *req, const char *name, struct slice *ret);
/* The same of a name, which has to be one. False: answered. */
bool query_name(struct http_request *req, const char *name, struct slice *ret);
/* order=newest|oldest */
bool query_order(struct http_request *req, bool *ret_newest);
/* Names with commas between: each is told to fn; false: it is none of these. known: words for what there is. */
bool query_words(struct http_request *req, const char *name, const char *known,
                 bool (*fn)(void *ctx, struct slice word), void *ctx);
/* A cursor that query_cursor() takes back in a list of the same order. */
void put_cursor(struct out_object *o, bool newest, uint64_t id);
bool query_cursor(struct http_request *req, bool newest, uint64_t *ret_id);
/* The same in a list by name, which may be empty; ret_name, until the answer, is untouched when absent. */
void put_name_cursor(struct out_object *o, bool more, struct slice name);
bool query_name_cursor(struct http_request *req, const char **ret_name);

/* A reader for the length of a function; NULL: answered. */
struct registry_reader *reader_take(struct api *a, struct http_request *req);
void reader_give(struct api *a, struct registry_reader *r);

/* A snapshot as it is for a request that has come by now. */
WEIR_MUST_CHECK enum weir_status api_snapshot(struct api *a, enum api_snapshot which,
                                              snapshot_fn make, struct buf *out,
                                              struct weir_error *err);

/* ---- changes by hand (apart.c) ---- */

/* False: it cannot be. */
WEIR_MUST_CHECK bool apart_start(struct api *a);
/* Those that are there are done before. The server is stopped. */
void apart_stop(struct api *a);
void apart_free(struct api *a);
/* In a handler: fn(req, a) answers, on the thread for that, after those before it; it may block. */
void apart(struct api *a, struct http_request *req, http_handler_fn fn);

/* ---- calls: requests that wait for an op (call.c) ---- */

struct call {
    struct api *api;
    struct http_request *req;
    struct arena arena;
    struct body_in in;
    struct registry_op op;
    struct tasks_in tasks;
    struct registry_spec spec; /* of a single one */
    uint64_t id;               /* the task or batch that it is about */
    struct batch_use *use;     /* of a batch that it adds to; left when it ends */
    /* of a batch that is being made */
    struct slice name;
    struct registry_submit submit;
    bool open, failed;
    struct weir_error err; /* of what failed */
    /* What comes when the op is done, on the clerk's thread; NULL: the request is resumed. */
    void (*step)(struct call *c);
    /* of a change */
    int32_t priority;
    int64_t not_before_ns;
};

/* The request's state; NULL: answered. */
struct call *call_new(struct api *a, struct http_request *req);
/* Sends c->op, with kind and all filled in (a SUBMIT of c->use gets its places here); `then` goes on when it is durable or
 * has failed (c->op.err). */
void call_send(struct call *c, http_handler_fn then);
/* In a step: sends the next op, whoever is still there to hear of it. */
void call_continue(struct call *c, void (*step)(struct call *c));
/* c->op failed: answers. True: it has. */
bool call_failed(struct call *c, const char *what);

/* ---- places in batches (batch_use.c) ---- */

/*
 * A batch that requests add tasks to. Its next place is kept as long as there is one; the first
 * finds it in the registry, for then all that others have added is durable.
 */
struct batch_use {
    struct list link;
    uint64_t batch;
    uint64_t next_place; /* once it is found */
    bool found;
    struct weir_error err; /* why it could not be; then nobody is let in */
    size_t users;          /* also those who wait for it */
};

/* fresh: the batch has just been made, by whoever calls. E_NOMEM or the reader's error. */
enum weir_status batch_use_enter(struct api *a, uint64_t batch, bool fresh, struct batch_use **ret,
                                 struct weir_error *err);
/* NULL-safe. */
void batch_use_leave(struct api *a, struct batch_use *u);
/* Gives places to the specs and sends the op, so that places are in the order of ids. */
void batch_use_send(struct api *a, struct batch_use *u, struct registry_spec *specs, size_t count,
                    struct registry_op *op);

/* ---- results (results.c) ---- */

/* There may be new results: wakes those who wait. False: nobody does. */
bool results_wake(struct api *a);

/* ---- events (events.c) ---- */

bool feeder_start(struct api *a, struct weir_error *err);
void feeder_stop(struct api *a);
bool event_catch_up(void *ctx, const struct sse_filter *filter, uint64_t after, uint64_t until,
                    struct buf *buf, size_t bytes, uint64_t *ret_seq);

/* ---- handlers, by file ---- */

/* tasks.c */
void get_tasks(struct http_request *req, void *ctx);
void get_task(struct http_request *req, void *ctx);
/* Answers with the task as it is now. */
void reply_task(struct api *a, struct http_request *req, uint64_t id);
void patch_task(struct http_request *req, void *ctx);
void delete_task(struct http_request *req, void *ctx);
void post_task_cancel(struct http_request *req, void *ctx);
void post_task_retry(struct http_request *req, void *ctx);
void post_task_resolve(struct http_request *req, void *ctx);
/* submit.c */
void post_tasks(struct http_request *req, void *ctx);
void post_batch_tasks(struct http_request *req, void *ctx);
void post_batches(struct http_request *req, void *ctx);
/* Whether the batch is there and not ended. False: answered. */
bool batch_takes_tasks(struct api *a, struct http_request *req, uint64_t id);
/* submit_stream.c */
void begin_tasks(struct http_request *req, void *ctx);
void begin_batch_tasks(struct http_request *req, void *ctx);
void begin_batches(struct http_request *req, void *ctx);
bool is_ndjson(const struct http_request *req);
/* The stream has been read: waits for its groups and answers. */
void end_stream(struct http_request *req, void *ctx);
/* batches.c */
void get_batches(struct http_request *req, void *ctx);
void get_batch(struct http_request *req, void *ctx);
void post_batch_end(struct http_request *req, void *ctx);
void post_batch_cancel(struct http_request *req, void *ctx);
void post_batch_retry(struct http_request *req, void *ctx);
/* results.c */
void get_batch_results(struct http_request *req, void *ctx);
/* pools.c */
void get_pools(struct http_request *req, void *ctx);
void get_pool(struct http_request *req, void *ctx);
void patch_pool(struct http_request *req, void *ctx);
void post_pool_enable(struct http_request *req, void *ctx);
void post_pool_disable(struct http_request *req, void *ctx);
void post_pool_drain(struct http_request *req, void *ctx);
void post_pool_breaker_reset(struct http_request *req, void *ctx);
void get_pool_workers(struct http_request *req, void *ctx);
/* Of all pools, as the elements of an array. ret_status: of the same moment; or NULL. */
enum weir_status put_pools(struct api *a, struct registry_reader *r, const char *name,
                           struct buf *out, struct api_status *ret_status, struct weir_error *err);
/* dispatcher.c */
void get_dispatcher(struct http_request *req, void *ctx);
void patch_dispatcher(struct http_request *req, void *ctx);
void get_tenants(struct http_request *req, void *ctx);
void get_slots(struct http_request *req, void *ctx);
void get_runners(struct http_request *req, void *ctx);
void post_runner_kill(struct http_request *req, void *ctx);
void post_runner_heartbeat(struct http_request *req, void *ctx);
/* events.c */
void get_events(struct http_request *req, void *ctx);
void get_task_events(struct http_request *req, void *ctx);
void get_events_follow(struct http_request *req, void *ctx);
/* status.c */
void get_status(struct http_request *req, void *ctx);
void get_history(struct http_request *req, void *ctx);
void get_config(struct http_request *req, void *ctx);
void post_config_reload(struct http_request *req, void *ctx);
void post_shutdown(struct http_request *req, void *ctx);
void get_healthz(struct http_request *req, void *ctx);
void get_readyz(struct http_request *req, void *ctx);
void get_metrics(struct http_request *req, void *ctx);
void get_openapi(struct http_request *req, void *ctx);
void get_web(struct http_request *req, void *ctx);

#endif
