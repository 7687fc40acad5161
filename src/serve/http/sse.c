/*
 * See sse.h.
 *
 * One lock, hub.lock, over the ring and the followers; under it nothing blocks: a read copies what
 * its follower may take (some KiB, at most SCAN_MAX events are looked at in one go), and the store
 * is read without it. http_wake() is called under it; closed() takes it, so that a stream is never
 * woken after its end.
 */
#include "serve/http/sse.h"

#include "base/error.h"
#include "base/list.h"
#include "base/mem.h"
#include "loop/loop.h"
#include "serve/http/sse_past.h"
#include "serve/http/sse_ring.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Events that are looked at before others get the lock. */
#define SCAN_MAX 2048
/* Of a follower that waits, these are looked at to find whether one is for it; if there are more, it looks itself. */
#define WAKE_SCAN_MAX 64
/* What a read costs with all that hangs on it (waking, sending), at first and for each byte; by measurement, on a slow machine. */
#define READ_COST_NS  15000
#define BYTES_PER_NS  2
#define SHARE_DEFAULT 0.05
#define FLUSH_POLL_MS 2
/* So much of it may be saved up: what there is of it in a second. */
#define SAVED_NS_MAX(share) ((duration_ns)((share) * (double)NS_PER_S))

struct follower {
    struct list link;
    struct sse_hub *hub;
    struct http_stream *stream;
    struct sse_filter filter;
    char pool[SSE_POOL_BYTES_MAX];
    uint64_t cursor; /* dealt with up to here */
    bool waiting;    /* the stream waits to be woken */
    bool paid;       /* it was woken: its next read has been paid, but for the bytes */
    bool beat;       /* a comment is due */
    /* What is on its way: first a text of its own (a comment, or an event that is larger than the room for it), then a block. */
    struct buf pending;
    struct sse_block *block; /* NULL: none */
    size_t pending_at, block_at;
};

struct sse_hub {
    struct sse_options options;
    pthread_mutex_t lock;
    struct sse_ring ring;
    struct sse_past past;
    struct list followers;
    uint64_t furthest; /* cursor of those who are there, or were with them */
    struct sse_stats stats;
    bool dirty;       /* the thread has been told */
    bool short_of;    /* somebody waits for `left`, and not for an event */
    duration_ns left; /* of the share; below 0: overdrawn */
    struct instant filled_at;
    int wake;
    pthread_t thread;
    bool runs;
    _Atomic bool ends;
};

bool sse_filter_passes(const struct sse_filter *f, const struct sse_fields *e)
{
    if (f->task && f->task != e->task)
        return false;
    if (f->worker && f->worker != e->worker)
        return false;
    if (f->kinds && !(f->kinds >> (e->kind & 63) & 1))
        return false;
    return f->pool.len == 0 || slice_equal(f->pool, e->pool);
}

void sse_render(struct buf *out, uint64_t seq, const char *event, struct slice data)
{
    buf_puts(out, "id: ");
    buf_put_u64(out, seq);
    buf_puts(out, "\nevent: ");
    buf_puts(out, event);
    for (bool more = true; more;) {
        const char *end = data.len ? memchr(data.data, '\n', data.len) : NULL;
        size_t len = end ? (size_t)(end - data.data) : data.len;

        buf_puts(out, "\ndata: ");
        buf_put(out, data.data, len > 0 && data.data[len - 1] == '\r' ? len - 1 : len);
        more = end != NULL;
        data.data += more ? len + 1 : len;
        data.len -= more ? len + 1 : len;
    }
    buf_puts(out, "\n\n");
}

/* ---- the share ---- */

static void fill_share(struct sse_hub *h)
{
    struct instant now = loop_clock();
    duration_ns most = SAVED_NS_MAX(h->options.share);

    h->left += (duration_ns)((double)instant_diff(now, h->filled_at) * h->options.share);
    h->filled_at = now;
    if (h->left > most)
        h->left = most;
}

static void pay(struct follower *f, size_t bytes)
{
    f->hub->left -= (f->paid ? 0 : READ_COST_NS) + (duration_ns)(bytes / BYTES_PER_NS);
    f->paid = false;
}

/* ---- what a follower reads ---- */

/* It has dealt with all up to there. Under the lock. */
static void move_on(struct follower *f, uint64_t seq)
{
    f->cursor = seq;
    if (seq > f->hub->furthest)
        f->hub->furthest = seq;
}

static size_t take_text(const struct buf *text, size_t *at, char *to, size_t max)
{
    size_t len = text->len - *at;

    len = len < max ? len : max;
    if (len > 0)
        memcpy(to, text->data + *at, len);
    *at += len;
    return len;
}

/* What is on its way; 0: nothing is. */
static size_t take_pending(struct follower *f, char *to, size_t max)
{
    size_t used = take_text(&f->pending, &f->pending_at, to, max);

    if (f->pending_at == f->pending.len) {
        /* A buffer that was needed once is not kept by each of a thousand. */
        buf_free(&f->pending);
        f->pending_at = 0;
    }
    if (!f->block || f->pending.len > 0)
        return used;
    used += take_text(&f->block->text, &f->block_at, to + used, max - used);
    if (f->block_at == f->block->text.len) {
        sse_block_release(f->block);
        f->block = NULL;
    }
    return used;
}

/* From the ring, under the lock: whole events, as many as there is room for; *ret_more: it has not looked at all. */
static size_t take_ring(struct follower *f, char *to, size_t max, bool *ret_more)
{
    const struct sse_ring *r = &f->hub->ring;
    size_t i = sse_ring_after(r, f->cursor), end = i + SCAN_MAX, used = 0;

    end = end < r->count ? end : r->count;
    *ret_more = end < r->count;
    for (; i < end; i++) {
        const struct sse_entry *e = sse_ring_at(r, i);
        struct sse_fields fields = sse_ring_fields(r, e);
        struct slice text = sse_ring_text(r, e);

        if (sse_filter_passes(&f->filter, &fields)) {
            if (text.len > max - used && used > 0)
                return used;
            if (text.len > max) { /* it alone is too large: it goes in pieces */
                buf_put_slice(&f->pending, text);
                if (!f->pending.failed)
                    move_on(f, e->seq);
                return f->pending.failed ? 0 : take_pending(f, to, max);
            }
            memcpy(to + used, text.data, text.len);
            used += text.len;
        }
        move_on(f, e->seq);
    }
    return used;
}

/* What the ring has no longer: it is on its way. False: the stream cannot go on. */
static bool catch_up(struct follower *f, uint64_t floor)
{
    if (!f->hub->options.catch_up) {
        buf_printf(&f->pending, ": events up to %llu are no longer there\n\n",
                   (unsigned long long)floor);
        f->cursor = floor;
        return !f->pending.failed;
    }
    assert(!f->block);
    f->block = sse_past_get(&f->hub->past, &f->filter, f->cursor);
    f->block_at = 0;
    if (!f->block)
        return false;
    /* The store has nothing between: it was there once, and has been deleted. */
    f->cursor = f->block->until > f->cursor ? f->block->until : floor;
    return true;
}

/* It is to be woken when there is something of the share, even if no event comes. Under the lock. */
static void ask_for_turn(struct sse_hub *h)
{
    uint64_t one = 1;

    h->short_of = true;
    if (!h->dirty)
        (void)!write(h->wake, &one, sizeof one);
    h->dirty = true;
}

/* One step, under the lock, which it may leave for a while. 0: nothing now. */
static ssize_t step(struct follower *f, char *to, size_t max, bool *ret_again)
{
    struct sse_hub *h = f->hub;
    uint64_t floor = h->ring.floor;
    duration_ns before_ns;
    size_t n;

    *ret_again = false;
    if (f->cursor >= floor) {
        n = take_ring(f, to, max, ret_again);
        if (f->pending.failed)
            return HTTP_STREAM_BROKEN;
        return (ssize_t)n;
    }
    h->stats.catch_ups++;
    pthread_mutex_unlock(&h->lock);
    before_ns = loop_thread_ns();
    *ret_again = catch_up(f, floor);
    before_ns = loop_thread_ns() - before_ns;
    pthread_mutex_lock(&h->lock);
    h->left -= before_ns;
    move_on(f, f->cursor);
    if (!*ret_again)
        return HTTP_STREAM_BROKEN;
    n = take_pending(f, to, max);
    /* It looks for what is rare: others have the thread in between. */
    *ret_again = n > 0;
    if (n == 0)
        ask_for_turn(h);
    return (ssize_t)n;
}

/* Nothing is left of the share: it waits for its turn. Under the lock. */
static bool must_wait(struct follower *f)
{
    struct sse_hub *h = f->hub;

    /* Each time: what came to it while nobody followed has a bound too. */
    fill_share(h);
    if (h->left > 0 || f->paid || f->beat)
        return false;
    ask_for_turn(h);
    return true;
}

/* Whether there is more to be had for an answer that has `used` of its bytes: sending costs as much for few. Under the lock. */
static bool wants_more(struct follower *f, size_t used, size_t max)
{
    struct sse_hub *h = f->hub;

    if (used == 0)
        return !must_wait(f);
    /* Of the ring it would be an event cut in pieces. */
    return used < max && h->left > 0 && f->cursor < h->ring.floor;
}

/* As many bytes as there are, up to `max`. Under the lock, which it may leave for a while. */
static ssize_t fill(struct follower *f, char *to, size_t max, size_t used)
{
    struct sse_hub *h = f->hub;

    for (bool again = wants_more(f, used, max); again; again = again && wants_more(f, used, max)) {
        ssize_t n = step(f, to + used, max - used, &again);

        if (n < 0) /* what there is goes first; then it fails again */
            return used > 0 ? (ssize_t)used : n;
        used += (size_t)n;
        if (again && used == 0) { /* let the others have it */
            pthread_mutex_unlock(&h->lock);
            pthread_mutex_lock(&h->lock);
        }
    }
    return (ssize_t)used;
}

static ssize_t follower_read(void *ctx, char *to, size_t max)
{
    static const char beat[] = ":\n\n";
    struct follower *f = ctx;
    struct sse_hub *h = f->hub;
    size_t used = take_pending(f, to, max);
    ssize_t n;

    pthread_mutex_lock(&h->lock);
    f->waiting = false;
    n = fill(f, to, max, used);
    if (n == 0 && f->beat) {
        n = sizeof beat - 1;
        memcpy(to, beat, sizeof beat - 1);
    }
    if (n != 0)
        f->beat = false;
    if (n > 0)
        pay(f, (size_t)n);
    f->waiting = n == HTTP_STREAM_WAIT;
    pthread_mutex_unlock(&h->lock);
    return n;
}

static void follower_closed(void *ctx)
{
    struct follower *f = ctx;
    struct sse_hub *h = f->hub;

    pthread_mutex_lock(&h->lock);
    if (f->stream) {
        list_remove(&f->link);
        if (--h->stats.followers == 0)
            h->furthest = 0;
    }
    pthread_mutex_unlock(&h->lock);
    sse_block_release(f->block);
    buf_free(&f->pending);
    mem_free(f);
}

static const struct http_stream_ops follower_ops = {
    .endless = true, .read = follower_read, .closed = follower_closed};

/* ---- following ---- */

/* False: the request has been answered. */
static bool read_last_id(struct http_request *req, uint64_t *after)
{
    const char *text = http_header(req, "Last-Event-ID");
    char *end;

    if (!text || !text[0])
        return true;
    errno = 0;
    *after = strtoull(text, &end, 10);
    if (text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && *after != SSE_NOW)
        return true;
    http_problem(req, 400, NULL, "Last-Event-ID '%.40s' is not the number of an event", text);
    return false;
}

static struct follower *follower_new(struct sse_hub *h, const struct sse_filter *filter)
{
    struct follower *f = mem_calloc(1, sizeof *f);

    if (!f)
        return NULL;
    assert(filter->pool.len < SSE_POOL_BYTES_MAX);
    f->hub = h;
    f->filter = *filter;
    if (filter->pool.len)
        memcpy(f->pool, filter->pool.data, filter->pool.len);
    f->filter.pool.data = f->pool;
    /* Something at once: a client knows then that it is connected, and when to come back. */
    buf_puts(&f->pending, "retry: 2000\n\n");
    if (!f->pending.failed)
        return f;
    buf_free(&f->pending);
    return mem_free(f);
}

void sse_hub_follow(struct sse_hub *h, struct http_request *req, const struct sse_filter *filter,
                    uint64_t after, uint64_t last)
{
    struct http_stream *stream;
    struct follower *f;

    if (!read_last_id(req, &after))
        return;
    f = follower_new(h, filter);
    if (!f) {
        http_problem(req, 503, NULL, "there is no memory for one more follower; try again");
        return;
    }
    /* A number from beyond the last one (of another store, say) would hear nothing for long. */
    f->cursor = after < last ? after : last;
    stream = http_reply_stream(req, 200, "text/event-stream", &follower_ops, f);
    if (!stream)
        return;
    http_reply_header(req, "X-Accel-Buffering", "no");
    pthread_mutex_lock(&h->lock);
    move_on(f, f->cursor);
    f->stream = stream;
    list_push_back(&h->followers, &f->link);
    h->stats.followers++;
    pthread_mutex_unlock(&h->lock);
}

/* ---- publishing and waking ---- */

void sse_hub_set_last(struct sse_hub *h, uint64_t seq)
{
    pthread_mutex_lock(&h->lock);
    h->ring.floor = seq;
    h->stats.last_seq = seq;
    pthread_mutex_unlock(&h->lock);
}

/* The hub's thread is to look. Under the lock. */
static void tell(struct sse_hub *h)
{
    uint64_t one = 1;

    if (h->dirty || list_empty(&h->followers))
        return;
    h->dirty = true;
    (void)!write(h->wake, &one, sizeof one);
}

/* Under the lock. */
static void pass_over(struct sse_hub *h, uint64_t seq)
{
    assert(seq >= h->stats.last_seq);
    sse_ring_drop(&h->ring, seq);
    h->stats.last_seq = seq;
    tell(h);
}

bool sse_hub_wants(struct sse_hub *h, uint64_t seq)
{
    bool wants;

    pthread_mutex_lock(&h->lock);
    assert(seq > h->stats.last_seq);
    wants = !list_empty(&h->followers) && (!h->options.catch_up || h->furthest >= h->ring.floor);
    if (!wants)
        pass_over(h, seq);
    pthread_mutex_unlock(&h->lock);
    return wants;
}

void sse_hub_pass_over(struct sse_hub *h, uint64_t seq)
{
    pthread_mutex_lock(&h->lock);
    pass_over(h, seq);
    pthread_mutex_unlock(&h->lock);
}

void sse_hub_publish(struct sse_hub *h, const struct sse_fields *fields, struct slice text)
{
    pthread_mutex_lock(&h->lock);
    assert(fields->seq > h->stats.last_seq);
    (void)sse_ring_put(&h->ring, fields, text);
    h->stats.last_seq = fields->seq;
    h->stats.published++;
    tell(h);
    pthread_mutex_unlock(&h->lock);
}

/* Whether there is something for it; what is not, it has dealt with. */
static bool is_for(struct follower *f)
{
    const struct sse_ring *r = &f->hub->ring;
    size_t i;

    if (f->cursor < r->floor)
        return true;
    i = sse_ring_after(r, f->cursor);
    for (size_t looked = 0; i < r->count; i++) {
        const struct sse_entry *e = sse_ring_at(r, i);
        struct sse_fields fields = sse_ring_fields(r, e);

        if (++looked > WAKE_SCAN_MAX || sse_filter_passes(&f->filter, &fields))
            return true;
        move_on(f, e->seq);
    }
    return false;
}

/*
 * Those that have something to hear, as far as the share goes; who has been looked at goes to the
 * end of the line. True: some are left, and wait for more of it.
 */
static bool wake_followers(struct sse_hub *h, bool beat)
{
    uint64_t to_look_at;
    bool some_left;

    pthread_mutex_lock(&h->lock);
    h->dirty = h->short_of = false;
    fill_share(h);
    for (to_look_at = h->stats.followers; to_look_at > 0 && (h->left > 0 || beat); to_look_at--) {
        struct follower *f = list_entry(list_pop_front(&h->followers), struct follower, link);

        list_push_back(&h->followers, &f->link);
        if (!f->waiting)
            continue;
        f->beat |= beat;
        if (!beat && !is_for(f))
            continue;
        f->waiting = false;
        f->paid = true;
        h->stats.wakes++;
        h->left -= READ_COST_NS;
        http_wake(f->stream);
    }
    h->short_of |= to_look_at > 0;
    h->dirty = some_left = h->short_of;
    pthread_mutex_unlock(&h->lock);
    return some_left;
}

static int ms_until(struct instant then)
{
    duration_ns ns = instant_diff(then, loop_clock());

    return ns <= 0 ? 0 : ns > NS_PER_S * 1000 ? 1000000 : (int)(ns / NS_PER_MS) + 1;
}

static void *hub_thread(void *arg)
{
    struct sse_hub *h = arg;
    struct instant beat_at = instant_add(loop_clock(), h->options.heartbeat_ns);
    struct pollfd p = {.fd = h->wake, .events = POLLIN};
    bool some_left = false;

    while (!atomic_load(&h->ends)) {
        uint64_t times;
        bool beat;

        (void)poll(&p, 1, some_left ? 0 : ms_until(beat_at));
        (void)!read(h->wake, &times, sizeof times);
        beat = !instant_before(loop_clock(), beat_at);
        if (beat)
            beat_at = instant_add(loop_clock(), h->options.heartbeat_ns);
        some_left = wake_followers(h, beat);
        /* What comes meanwhile is told with one wake-up for all of it. */
        if (!atomic_load(&h->ends))
            (void)poll(NULL, 0, (int)(h->options.wake_every_ns / NS_PER_MS));
    }
    return NULL;
}

/* ---- its life ---- */

static bool all_have(struct sse_hub *h, uint64_t seq)
{
    bool all = true;

    pthread_mutex_lock(&h->lock);
    list_foreach (node, &h->followers) {
        const struct follower *f = list_entry(node, struct follower, link);

        all &= f->waiting && f->cursor >= seq;
    }
    pthread_mutex_unlock(&h->lock);
    return all;
}

void sse_hub_flush(struct sse_hub *h, uint64_t seq, duration_ns patience_ns)
{
    struct instant until = instant_add(loop_clock(), patience_ns);

    while (!all_have(h, seq) && instant_before(loop_clock(), until))
        (void)poll(NULL, 0, FLUSH_POLL_MS);
}

static bool start_thread(struct sse_hub *h)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    h->runs = pthread_create(&h->thread, NULL, hub_thread, h) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return h->runs;
}

enum weir_status sse_hub_new(const struct sse_options *o, struct sse_hub **ret,
                             struct weir_error *err)
{
    struct sse_hub *h = mem_calloc(1, sizeof *h);

    if (!h)
        return error_nomem(err);
    h->options = *o;
    h->options.ring_bytes = o->ring_bytes ? o->ring_bytes : (size_t)4 << 20;
    h->options.heartbeat_ns = o->heartbeat_ns > 0 ? o->heartbeat_ns : 15 * NS_PER_S;
    h->options.wake_every_ns = o->wake_every_ns > 0 ? o->wake_every_ns : 10 * NS_PER_MS;
    if (o->share <= 0)
        h->options.share = SHARE_DEFAULT * (double)sysconf(_SC_NPROCESSORS_ONLN);
    h->left = SAVED_NS_MAX(h->options.share);
    h->filled_at = loop_clock();
    list_init(&h->followers);
    if (!sse_past_init(&h->past, o->catch_up, o->ctx)) {
        mem_free(h);
        return error_nomem(err);
    }
    pthread_mutex_init(&h->lock, NULL);
    h->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!sse_ring_init(&h->ring, h->options.ring_bytes)) {
        sse_hub_free(h);
        return error_nomem(err);
    }
    if (h->wake < 0 || !start_thread(h)) {
        sse_hub_free(h);
        return error_set(err, WEIR_E_IO, "cannot start a thread for the followers of events");
    }
    *ret = h;
    return WEIR_OK;
}

void sse_hub_get_stats(struct sse_hub *h, struct sse_stats *ret)
{
    pthread_mutex_lock(&h->lock);
    *ret = h->stats;
    ret->first_seq = h->ring.count ? sse_ring_at(&h->ring, 0)->seq : 0;
    ret->ring_bytes = 0;
    for (size_t i = 0; i < h->ring.count; i++)
        ret->ring_bytes += sse_ring_at(&h->ring, i)->pool_len + sse_ring_at(&h->ring, i)->text_len;
    pthread_mutex_unlock(&h->lock);
}

void sse_hub_free(struct sse_hub *h)
{
    uint64_t one = 1;

    if (!h)
        return;
    if (h->runs) {
        atomic_store(&h->ends, true);
        (void)!write(h->wake, &one, sizeof one);
        pthread_join(h->thread, NULL);
    }
    assert(list_empty(&h->followers));
    if (h->wake >= 0)
        close(h->wake);
    sse_ring_free(&h->ring);
    sse_past_free(&h->past);
    pthread_mutex_destroy(&h->lock);
    mem_free(h);
}
