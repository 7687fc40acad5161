/*
 * Server-sent events: one ring of rendered events that all followers share.
 *
 *     sse_hub_new(&options, &hub, &err);
 *     if (sse_hub_wants(hub, last))                // one thread; never waits for a follower
 *         sse_hub_publish(hub, &fields, text);     // each up to `last`
 *     sse_hub_follow(hub, req, &filter, after);    // in a handler: the answer is the stream
 *     sse_hub_free(hub);                           // after http_server_stop()
 *
 * The ring holds the latest events as text, in a bounded number of bytes; the oldest go when there
 * is no room. A follower is a cursor with a filter: it costs some hundred bytes, and one buffer of
 * the server while something is being sent. When its client reads slowly, its cursor stays behind;
 * when the ring has gone past it, it reads what it lacks by catch_up(), at its own pace. So nobody
 * waits for a slow reader, and none loses an event. Those who are behind by the same share what was
 * read (sse_past.h).
 *
 * Followers are woken by a thread of the hub, together, at most every wake_every_ns; a comment line
 * each heartbeat_ns shows a client (and the server) that the connection is alive.
 *
 * A thousand followers of every event of a busy dispatcher ask for more than a machine has. All of
 * them together get a share of the processors' time (`share`); what sending costs is estimated,
 * what the store costs is measured, as time of the processor: a slow disk, or a machine that is
 * busy with other things, takes nothing from it. Each read is paid from it, and when it is used up
 * followers wait for their turn, the one that has waited longest first. They lag, and catch up when
 * it is quiet; whoever works, and other requests, go on.
 */
#ifndef SERVE_HTTP_SSE_H
#define SERVE_HTTP_SSE_H

#include "serve/http/http.h"

struct sse_hub;

#define SSE_POOL_BYTES_MAX 256

/* What a filter looks at. */
struct sse_fields {
    uint64_t seq;  /* of publish: larger than all before */
    uint64_t task; /* 0: none */
    uint64_t worker;
    struct slice pool; /* at most SSE_POOL_BYTES_MAX - 1 bytes */
    unsigned kind;     /* 0 to 63 */
};

struct sse_filter {
    uint64_t task, worker; /* 0: any */
    struct slice pool;     /* empty: any; copied, at most SSE_POOL_BYTES_MAX - 1 bytes */
    uint64_t kinds;        /* bits 1 << kind; 0: all */
};

bool sse_filter_passes(const struct sse_filter *f, const struct sse_fields *e);

/* Appends one event as it goes over the wire: id, event, data (a line for each of its lines), and an empty line. */
void sse_render(struct buf *out, uint64_t seq, const char *event, struct slice data);

/*
 * Events from the store that the ring has no longer: those that pass the filter, later than `after`
 * and not later than `until`, oldest first, rendered by sse_render(), until `buf` has about `bytes`
 * (at least one, if there is one), or it has looked at enough for one turn. *ret_seq: how far it
 * has looked: every event up to it has been dealt with; so it may be beyond `until`, if there is
 * none between. It is `after` only if there is none up to `until`. False: it failed, `buf` may have
 * anything; the stream is cut. On any of a server's threads, several at a time.
 */
typedef bool (*sse_catch_up_fn)(void *ctx, const struct sse_filter *filter, uint64_t after,
                                uint64_t until, struct buf *buf, size_t bytes, uint64_t *ret_seq);

struct sse_options {
    size_t ring_bytes;         /* 4 MiB */
    duration_ns heartbeat_ns;  /* 15 s */
    duration_ns wake_every_ns; /* 10 ms */
    double share; /* processors that following may take, in the mean; 5 % of those there are */
    sse_catch_up_fn catch_up; /* NULL: there is no store; a comment tells what is skipped */
    void *ctx;
};

WEIR_MUST_CHECK enum weir_status sse_hub_new(const struct sse_options *o, struct sse_hub **ret,
                                             struct weir_error *err);
/* When it starts over a store with events in it: the last of them. Before the first publish and follow. */
void sse_hub_set_last(struct sse_hub *h, uint64_t seq);
/*
 * There are events up to `seq`, which is later than those that were published. True: somebody may
 * read them from the ring: they are to be published. False: nobody follows, or all are behind the
 * ring: then they are passed over, and followers get them by catch_up(). So what is far more than
 * anybody can follow is not rendered. By the thread that publishes.
 */
WEIR_MUST_CHECK bool sse_hub_wants(struct sse_hub *h, uint64_t seq);
/* Events up to `seq` (not before those that were published) are not to be had from the ring, but by catch_up(). By the same thread. */
void sse_hub_pass_over(struct sse_hub *h, uint64_t seq);
/* `text` is what sse_render() makes. Without memory for it, followers get it by catch_up(). One thread at a time. */
void sse_hub_publish(struct sse_hub *h, const struct sse_fields *fields, struct slice text);
/*
 * Answers the request with the events after `after` that pass the filter, and all that come.
 * Last-Event-ID of the request goes before `after`. `last`: the last event that there is at the
 * moment of the request, published or not (a client may know it from elsewhere); it goes for every
 * later number, and for SSE_NOW.
 */
#define SSE_NOW UINT64_MAX
void sse_hub_follow(struct sse_hub *h, struct http_request *req, const struct sse_filter *filter,
                    uint64_t after, uint64_t last);

struct sse_stats {
    uint64_t followers;
    uint64_t published, last_seq; /* last_seq: or passed over */
    uint64_t first_seq;           /* the oldest in the ring; 0: it is empty */
    size_t ring_bytes;            /* in use */
    uint64_t wakes, catch_ups;
};
void sse_hub_get_stats(struct sse_hub *h, struct sse_stats *ret);
/* Waits until all who follow have been given what is for them up to `seq`, or so long. Any thread. */
void sse_hub_flush(struct sse_hub *h, uint64_t seq, duration_ns patience_ns);
/* No follower is left: after http_server_stop(). NULL-safe. */
void sse_hub_free(struct sse_hub *h);

#endif
