/*
 * The feeder: the thread that tells those who follow what has been committed (internal.h).
 *
 *     commit ──► api_committed() ──► feeder ──► new events, each rendered once ──► hub ──► followers
 *                                       └─────► those who wait for results of batches
 *
 * While nobody follows, or all who do are far behind, events are not read: the hub knows that they
 * are to be had from the registry. So a busy dispatcher pays nothing for events that nobody could
 * read in time.
 *
 * The first commit after a while is told at once, those that come soon after it together.
 */
#include "serve/api/internal.h"

#include "base/error.h"
#include "loop/loop.h"

#include <time.h>

/* Events of one look into the registry. */
#define EVENTS_MAX 1000
/* So many are looked at for those of a worker or a pool: some ms. */
#define LOOKED_AT_MAX 10000
/* Looks are not nearer to each other than this. */
#define FEED_EVERY_NS (5 * NS_PER_MS)
/* After a look that failed. */
#define AGAIN_NS (100 * NS_PER_MS)
/* Those who wait for results look into the registry when they are woken: not more often than this. */
#define WAKE_EVERY_NS (10 * NS_PER_MS)

struct feed {
    struct api *api;
    struct buf event, text;
    uint64_t fed; /* the last event that was published */
};

static bool publish(void *ctx, const struct registry_event *e)
{
    struct feed *f = ctx;
    const char *kind = registry_event_name(e->kind);
    struct sse_fields fields = {.seq = e->seq,
                                .task = e->task,
                                .worker = e->worker,
                                .pool = e->pool,
                                .kind = (unsigned)e->kind};

    buf_clear(&f->event);
    buf_clear(&f->text);
    out_event(&f->event, e);
    sse_render(&f->text, e->seq, kind ? kind : "unknown", buf_slice(&f->event));
    if (f->event.failed || f->text.failed)
        sse_hub_pass_over(f->api->hub, e->seq);
    else
        sse_hub_publish(f->api->hub, &fields, buf_slice(&f->text));
    f->fed = e->seq;
    return true;
}

/* Publishes what there is up to `target`. False: not all of it, for now. */
static bool publish_up_to(struct feed *f, uint64_t target)
{
    struct api_backend *b = f->api->backend;
    struct registry_event_filter all = {0};
    struct registry_reader *r;
    struct weir_error err;
    enum weir_status status;
    uint64_t before;

    /* A look that failed may have given all that was asked of it. */
    if (f->fed >= target)
        return true;
    if (!sse_hub_wants(f->api->hub, target)) {
        f->fed = target;
        return true;
    }
    status = b->ops->take_reader(b, &r, &err);
    if (status != WEIR_OK)
        return false;
    do {
        before = f->fed;
        status = r->ops->events(r, &all, f->fed, EVENTS_MAX, publish, f, &err);
    } while (status == WEIR_OK && f->fed < target && f->fed > before);
    reader_give(f->api, r);
    return status == WEIR_OK;
}

/* With the lock. So long, or until it is to stop. */
static void pause_for(struct api *a, duration_ns ns)
{
    struct instant until = instant_add(loop_clock(), ns);
    struct timespec at = {.tv_sec = until.ns / NS_PER_S, .tv_nsec = until.ns % NS_PER_S};

    while (!a->stopping && instant_before(loop_clock(), until))
        (void)pthread_cond_timedwait(&a->changed, &a->lock, &at);
}

/* With the lock. Until there are events after `fed`, or it is to stop. */
static void wait_for_events(struct api *a, uint64_t fed)
{
    a->listening = true;
    while (!a->stopping && a->committed <= fed)
        pthread_cond_wait(&a->changed, &a->lock);
    a->listening = false;
}

static void *feed(void *arg)
{
    struct api *a = arg;
    struct feed f = {.api = a, .fed = a->fed};
    bool ok = true, waited_for;
    uint64_t target;

    pthread_mutex_lock(&a->lock);
    for (;;) {
        if (ok)
            wait_for_events(a, f.fed);
        if (a->stopping)
            break;
        target = a->committed;
        pthread_mutex_unlock(&a->lock);
        ok = publish_up_to(&f, target);
        /* Events that are gone already (retention) are not waited for. */
        if (ok && f.fed < target)
            f.fed = target;
        waited_for = results_wake(a);
        pthread_mutex_lock(&a->lock);
        pause_for(a, !ok ? AGAIN_NS : waited_for ? WAKE_EVERY_NS : FEED_EVERY_NS);
    }
    pthread_mutex_unlock(&a->lock);
    buf_free(&f.event);
    buf_free(&f.text);
    return NULL;
}

bool feeder_start(struct api *a, struct weir_error *err)
{
    int failed;

    /* Here and not on the thread, which may begin after the first commits. */
    a->fed = a->committed = a->backend->ops->last_event(a->backend);
    sse_hub_set_last(a->hub, a->fed);
    failed = pthread_create(&a->feeder, NULL, feed, a);
    if (failed) {
        (void)error_set_errno(err, WEIR_E_NOMEM, failed, "no thread for the events");
        return false;
    }
    a->feeding = true;
    return true;
}

void feeder_stop(struct api *a)
{
    if (!a->feeding)
        return;
    pthread_mutex_lock(&a->lock);
    a->stopping = true;
    pthread_cond_signal(&a->changed);
    pthread_mutex_unlock(&a->lock);
    pthread_join(a->feeder, NULL);
    a->feeding = false;
}

/* ---- what the ring has no longer ---- */

struct catching_up {
    const struct sse_filter *filter;
    struct buf *out, event;
    size_t bytes;
    uint64_t seen, until;
    uint32_t looked;
    bool full, is_over; /* is_over: there are later ones, beyond `until` */
    bool failed;        /* no memory */
};

static bool passes(const struct sse_filter *f, const struct registry_event *e)
{
    return (!f->worker || f->worker == e->worker) &&
           (f->pool.len == 0 || slice_equal(f->pool, e->pool));
}

static bool put_event(void *ctx, const struct registry_event *e)
{
    struct catching_up *c = ctx;
    const char *kind = registry_event_name(e->kind);

    if (e->seq > c->until) {
        /* There may have been a million before it that are gone. */
        c->seen = e->seq - 1;
        c->is_over = true;
        return false;
    }
    c->looked++;
    if (passes(c->filter, e)) {
        buf_clear(&c->event);
        out_event(&c->event, e);
        if (!c->event.failed)
            sse_render(c->out, e->seq, kind ? kind : "unknown", buf_slice(&c->event));
        c->failed = c->event.failed || c->out->failed;
    }
    c->seen = e->seq;
    c->full = c->out->len >= c->bytes;
    return !c->full && !c->failed;
}

bool event_catch_up(void *ctx, const struct sse_filter *filter, uint64_t after, uint64_t until,
                    struct buf *buf, size_t bytes, uint64_t *ret_seq)
{
    struct api *a = ctx;
    /*
     * A worker or a pool would make the registry look without end for one; kinds it knows by the
     * row, and a task has a chain.
     */
    struct registry_event_filter f = {.task = filter->task, .kinds = filter->kinds};
    uint32_t max = filter->worker || filter->pool.len ? LOOKED_AT_MAX : EVENTS_MAX;
    struct catching_up c = {
        .filter = filter, .out = buf, .bytes = buf->len + bytes, .seen = after, .until = until};
    /* Before the look, so that nothing that came during it counts as passed over. */
    uint64_t last = a->backend->ops->last_event(a->backend);
    struct registry_reader *r;
    struct weir_error err;
    enum weir_status status = a->backend->ops->take_reader(a->backend, &r, &err);

    if (status != WEIR_OK)
        return false;
    status = r->ops->events(r, &f, after, max, put_event, &c, &err);
    reader_give(a, r);
    buf_free(&c.event);
    if (status != WEIR_OK || c.failed)
        return false;
    /* Fewer than asked for: the rest was looked at too, and is none of theirs. */
    if (!c.is_over && !c.full && c.looked < max && last > c.seen)
        c.seen = last < until ? last : until;
    *ret_seq = c.seen;
    return true;
}
