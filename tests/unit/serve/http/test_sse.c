/*
 * Event streams: the ring, filters, followers that are new, behind, slow or gone.
 */
#include "http_test.h"
#include "serve/http/sse_past.h"
#include "serve/http/sse_ring.h"

/* ---- rendering and filters ---- */

static void an_event_is_rendered_line_by_line(void **state)
{
    struct buf out = {0};

    (void)state;
    sse_render(&out, 17, "task.done", SLICE("{\"a\":1}"));
    sse_render(&out, 18, "x", SLICE("one\r\ntwo\n"));
    sse_render(&out, 19, "y", SLICE(""));
    assert_string_equal(out.data, "id: 17\nevent: task.done\ndata: {\"a\":1}\n\n"
                                  "id: 18\nevent: x\ndata: one\ndata: two\ndata: \n\n"
                                  "id: 19\nevent: y\ndata: \n\n");
    buf_free(&out);
}

static void a_filter_passes_what_agrees_in_all_that_it_names(void **state)
{
    struct sse_fields e = {.seq = 1, .task = 5, .worker = 3, .pool = SLICE("p"), .kind = 2};
    static const struct {
        struct sse_filter filter;
        bool passes;
    } cases[] = {
        {{0}, true},
        {{.task = 5}, true},
        {{.task = 6}, false},
        {{.worker = 3, .task = 5}, true},
        {{.worker = 4, .task = 5}, false},
        {{.pool = {"p", 1}}, true},
        {{.pool = {"pp", 2}}, false},
        {{.kinds = 1 << 2 | 1 << 5}, true},
        {{.kinds = 1 << 5}, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(sse_filter_passes(&cases[i].filter, &e), cases[i].passes);
}

/* ---- the ring ---- */

/* Of any size, and what it says tells its number. */
static void text_of(uint64_t seq, size_t len, struct buf *out)
{
    buf_clear(out);
    buf_printf(out, "%llu:", (unsigned long long)seq);
    while (out->len < len)
        buf_putc(out, (char)('a' + seq % 26));
}

static void check_ring(const struct sse_ring *r, uint64_t last)
{
    struct buf wanted = {0};

    for (size_t i = 0; i < r->count; i++) {
        const struct sse_entry *e = sse_ring_at(r, i);
        struct slice text = sse_ring_text(r, e);
        struct sse_fields fields = sse_ring_fields(r, e);

        assert_int_equal(e->seq, last - r->count + 1 + i);
        text_of(e->seq, e->seq * 7 % 90 + 5, &wanted);
        assert_true(slice_equal(text, buf_slice(&wanted)));
        assert_true(slice_equal(fields.pool, e->seq % 3 ? SLICE("pool") : SLICE("")));
    }
    assert_int_equal(r->floor, last - r->count);
    buf_free(&wanted);
}

static void the_ring_holds_the_latest_and_only_whole_ones(void **state)
{
    struct sse_ring r;
    struct buf text = {0};

    (void)state;
    assert_true(sse_ring_init(&r, 1000));
    for (uint64_t seq = 1; seq <= 5000; seq++) {
        struct sse_fields f = {.seq = seq, .pool = seq % 3 ? SLICE("pool") : SLICE("")};

        text_of(seq, seq * 7 % 90 + 5, &text);
        assert_true(sse_ring_put(&r, &f, buf_slice(&text)));
        check_ring(&r, seq);
        assert_true(seq < 12 || r.count >= 8);
        assert_int_equal(sse_ring_after(&r, seq), r.count);
        assert_int_equal(sse_ring_after(&r, seq - 1), r.count - 1);
        assert_int_equal(sse_ring_after(&r, 0), 0);
    }
    sse_ring_free(&r);
    buf_free(&text);
}

static void small_events_make_its_index_grow_and_no_memory_makes_it_forget(void **state)
{
    struct sse_ring r;

    (void)state;
    assert_true(sse_ring_init(&r, 100000));
    for (uint64_t seq = 1; seq <= 1000; seq++) {
        struct sse_fields f = {.seq = seq};

        if (seq == 257)
            mem_fail_at(1); /* the index is full */
        assert_true(sse_ring_put(&r, &f, SLICE("x")));
        mem_fail_at(0);
    }
    assert_int_equal(r.floor, 1);
    assert_int_equal(r.count, 999);
    sse_ring_free(&r);
}

static void an_event_that_is_too_large_empties_the_ring(void **state)
{
    struct sse_fields f = {.seq = 1};
    char large[600] = {0};
    struct sse_ring r;

    (void)state;
    assert_true(sse_ring_init(&r, 1000));
    assert_true(sse_ring_put(&r, &f, SLICE("x")));
    f.seq = 2;
    assert_false(sse_ring_put(&r, &f, (struct slice){large, sizeof large}));
    assert_int_equal(r.count, 0);
    assert_int_equal(r.floor, 2);
    f.seq = 3;
    assert_true(sse_ring_put(&r, &f, SLICE("y")));
    assert_int_equal(sse_ring_at(&r, 0)->seq, 3);
    sse_ring_free(&r);
}

/* ---- a hub with a store ---- */

/* Events 1 to stored: task is seq % 10, the data as long as is asked for. */
static struct {
    struct sse_hub *hub;
    _Atomic uint64_t stored, deleted; /* up to `deleted` they are gone from the store */
    _Atomic unsigned asked;
    _Atomic bool fails;
    int slow_ms; /* a look at the store takes so long, and no processor */
    size_t data_bytes;
} world;

static void render_one(uint64_t seq, struct buf *out)
{
    struct buf data = {0};

    text_of(seq, world.data_bytes, &data);
    sse_render(out, seq, "e", buf_slice(&data));
    buf_free(&data);
}

static struct sse_fields fields_one(uint64_t seq)
{
    return (struct sse_fields){.seq = seq, .task = seq % 10, .kind = (unsigned)(seq % 3)};
}

static bool from_store(void *ctx, const struct sse_filter *filter, uint64_t after, uint64_t until,
                       struct buf *buf, size_t bytes, uint64_t *ret_seq)
{
    uint64_t last = world.stored < until ? world.stored : until;

    (void)ctx;
    world.asked++;
    if (world.slow_ms > 0)
        (void)poll(NULL, 0, world.slow_ms);
    for (uint64_t seq = after + 1; seq <= last && buf->len < bytes; seq++) {
        struct sse_fields f = fields_one(seq);

        *ret_seq = seq;
        if (seq > world.deleted && sse_filter_passes(filter, &f))
            render_one(seq, buf);
    }
    return !world.fails;
}

static void publish_one(void)
{
    struct buf text = {0};
    uint64_t seq = world.stored + 1;
    struct sse_fields f = fields_one(seq);

    render_one(seq, &text);
    world.stored = seq;
    sse_hub_publish(world.hub, &f, buf_slice(&text));
    buf_free(&text);
}

static void publish_many(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        publish_one();
}

static const char *const follow_query[] = {"after", "task", NULL};

static void follow(struct http_request *req, void *ctx)
{
    const char *after = http_query(req, "after"), *task = http_query(req, "task");
    struct sse_filter filter = {.task = task ? strtoull(task, NULL, 10) : 0};

    (void)ctx;
    sse_hub_follow(world.hub, req, &filter, after ? strtoull(after, NULL, 10) : SSE_NOW,
                   world.stored);
}

static const struct http_route routes[] = {
    {.method = "GET", .pattern = "/follow", .handler = follow, .query = follow_query},
    {.method = "GET", .pattern = "/hello", .handler = say_hello},
};

static void open_world_with(struct fixture *f, const struct sse_options *given)
{
    struct http_server_options o = {.routes = routes, .route_count = 2};
    struct sse_options hub = *given;
    struct weir_error err;

    world.stored = world.deleted = 0;
    world.asked = 0;
    world.fails = false;
    world.slow_ms = 0;
    world.data_bytes = 20;
    if (hub.ctx)
        hub.catch_up = from_store;
    must_be_ok(sse_hub_new(&hub, &world.hub, &err), &err);
    fixture_open(f, &o);
}

static void open_world(struct fixture *f, size_t ring_bytes)
{
    open_world_with(f, &(struct sse_options){.ring_bytes = ring_bytes,
                                             .heartbeat_ns = 3600 * NS_PER_S,
                                             .ctx = &world});
}

static void close_world(struct fixture *f)
{
    fixture_close(f);
    sse_hub_free(world.hub);
}

/* ---- a follower ---- */

struct listener {
    int fd;
    struct buf text; /* taken apart from the chunks */
    size_t at;
};

static struct listener listen_to(const struct fixture *f, const char *query, const char *headers)
{
    struct listener l = {.fd = dial(f)};
    struct buf text = {0};
    struct answer a;

    buf_printf(&text, "GET /follow%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", query, headers);
    say(l.fd, text.data);
    buf_free(&text);
    a = hear_head(l.fd);
    assert_int_equal(a.status, 200);
    assert_true(header_is(&a, "Content-Type", "text/event-stream"));
    assert_true(header_is(&a, "Cache-Control", "no-store"));
    answer_free(&a);
    return l;
}

/* One chunk more. False: the end. */
static bool hear_more(struct listener *l)
{
    struct buf line = {0};
    size_t len = hear_line(l->fd, &line) ? strtoul(line.data, NULL, 16) : 0;
    bool more = len > 0 && hear_bytes(l->fd, &l->text, len) && hear_line(l->fd, &line);

    buf_free(&line);
    return more;
}

/* Up to the next empty line, which is cut off. */
static struct slice hear_block(struct listener *l)
{
    for (;;) {
        char *end = l->text.data ? strstr(l->text.data + l->at, "\n\n") : NULL;
        struct slice block;

        if (!end) {
            if (!hear_more(l))
                fail_msg("the stream has ended after '%s'",
                         l->text.data ? l->text.data + l->at : "");
            continue;
        }
        block = (struct slice){l->text.data + l->at, (size_t)(end - l->text.data) - l->at};
        l->at += block.len + 2;
        return block;
    }
}

/* The number of the next event; comments and "retry" are passed over. */
static uint64_t hear_event(struct listener *l)
{
    struct buf wanted = {0};
    struct slice block;
    uint64_t seq;

    do
        block = hear_block(l);
    while (block.len < 4 || memcmp(block.data, "id: ", 4) != 0);
    seq = strtoull(block.data + 4, NULL, 10);
    render_one(seq, &wanted);
    assert_int_equal(wanted.len, block.len + 2);
    assert_memory_equal(wanted.data, block.data, block.len);
    buf_free(&wanted);
    if (l->at > 1000000) { /* what has been read is not kept */
        memmove(l->text.data, l->text.data + l->at, l->text.len - l->at + 1);
        l->text.len -= l->at;
        l->at = 0;
    }
    return seq;
}

static void expect_events(struct listener *l, uint64_t first, uint64_t last, uint64_t step)
{
    for (uint64_t seq = first; seq <= last; seq += step)
        assert_int_equal(hear_event(l), seq);
}

static void stop_listening(struct listener *l)
{
    close(l->fd);
    buf_free(&l->text);
}

static bool all_wait(void *count)
{
    struct sse_stats stats;

    sse_hub_get_stats(world.hub, &stats);
    return stats.followers == *(uint64_t *)count;
}

static void wait_followers(uint64_t count)
{
    assert_true(testkit_until(all_wait, &count, DEADLINE_MS));
}

static void a_follower_hears_what_comes_from_now_on(void **state)
{
    struct listener l;
    struct fixture f;

    (void)state;
    open_world(&f, 0);
    publish_many(5);
    l = listen_to(&f, "", "");
    publish_many(100);
    expect_events(&l, 6, 105, 1);
    publish_many(1);
    expect_events(&l, 106, 106, 1);
    assert_int_equal(world.asked, 0);
    stop_listening(&l);
    wait_followers(0);
    close_world(&f);
}

static void it_goes_on_where_it_was(void **state)
{
    struct listener l;
    struct fixture f;

    (void)state;
    open_world(&f, 0);
    publish_many(50);
    l = listen_to(&f, "?after=10", "");
    expect_events(&l, 11, 50, 1);
    stop_listening(&l);
    l = listen_to(&f, "?after=10", "Last-Event-ID: 40\r\n"); /* what the browser says counts */
    expect_events(&l, 41, 50, 1);
    stop_listening(&l);
    l = listen_to(&f, "?after=999", ""); /* of another store */
    publish_many(1);
    expect_events(&l, 51, 51, 1);
    stop_listening(&l);
    expect_status(&f, false, "GET /follow", "Last-Event-ID: x7\r\n", 400);
    close_world(&f);
}

/* Its client has it from a list, or has asked for all that is later than the last one. */
static void what_is_not_published_yet_is_not_told_to_whoever_knows_it(void **state)
{
    struct listener knows, now;
    struct fixture f;

    (void)state;
    open_world(&f, 0);
    publish_many(3);
    world.stored = 10;
    knows = listen_to(&f, "?after=7", "");
    now = listen_to(&f, "", "");
    wait_followers(2);
    world.stored = 3;
    publish_many(9);
    expect_events(&knows, 8, 12, 1);
    expect_events(&now, 11, 12, 1);
    /* It knows of what goes by without being published too. */
    stop_listening(&knows);
    stop_listening(&now);
    wait_followers(0);
    world.stored = 20;
    now = listen_to(&f, "", "");
    wait_followers(1);
    sse_hub_pass_over(world.hub, 15);
    world.stored = 15;
    publish_many(10);
    expect_events(&now, 21, 25, 1);
    assert_int_equal(world.asked, 0);
    stop_listening(&now);
    close_world(&f);
}

static void what_is_passed_over_comes_from_the_store(void **state)
{
    struct listener l;
    struct fixture f;

    (void)state;
    open_world(&f, 0);
    l = listen_to(&f, "", "");
    wait_followers(1);
    publish_many(3);
    world.stored = 4;
    sse_hub_pass_over(world.hub, 4);
    publish_many(3);
    expect_events(&l, 1, 7, 1);
    assert_true(world.asked > 0);
    stop_listening(&l);
    close_world(&f);
}

static void a_filter_is_kept_to_in_the_ring_and_in_the_store(void **state)
{
    struct listener l;
    struct fixture f;

    (void)state;
    open_world(&f, 2000);
    publish_many(500);
    l = listen_to(&f, "?after=0&task=7", "");
    expect_events(&l, 7, 497, 10);
    publish_many(30);
    expect_events(&l, 507, 527, 10);
    assert_true(world.asked > 0);
    stop_listening(&l);
    close_world(&f);
}

static void one_that_is_behind_the_ring_reads_the_store_and_misses_nothing(void **state)
{
    struct listener l;
    struct fixture f;

    (void)state;
    open_world(&f, 4000);
    publish_many(3000);
    l = listen_to(&f, "?after=0", "");
    for (uint64_t seq = 1; seq <= 6000; seq++) {
        if (seq % 2 && world.stored < 6000)
            publish_many(2); /* and more come meanwhile */
        assert_int_equal(hear_event(&l), seq);
    }
    stop_listening(&l);
    close_world(&f);
}

/* As many as there are now, without one of them being published, if the hub does not want them. */
static bool store_many(uint64_t count)
{
    uint64_t before = world.stored;

    world.stored += count;
    if (!sse_hub_wants(world.hub, world.stored))
        return false;
    world.stored = before;
    publish_many(count);
    return true;
}

static bool is_caught_up(void *arg)
{
    (void)arg;
    return store_many(1);
}

static void what_nobody_can_read_in_time_is_not_published_and_not_missed(void **state)
{
    struct listener l, second;
    struct fixture f;
    uint64_t last;

    (void)state;
    open_world(&f, 4000);
    assert_false(store_many(10)); /* nobody follows */
    l = listen_to(&f, "", "");
    wait_followers(1);
    assert_true(store_many(5));
    expect_events(&l, 11, 15, 1);
    /* More than the ring holds, and than goes into the socket: it is behind. */
    world.data_bytes = 2000;
    assert_true(store_many(1000));
    for (int i = 0; i < 100; i++)
        assert_false(store_many(1));
    second = listen_to(&f, "?after=500", "");
    assert_false(store_many(1));
    expect_events(&l, 16, 1116, 1);
    expect_events(&second, 501, 1116, 1);
    /* When they have read all they are told of what comes. */
    assert_true(testkit_until(is_caught_up, NULL, DEADLINE_MS));
    last = world.stored;
    expect_events(&l, 1117, last, 1);
    assert_true(store_many(1));
    expect_events(&l, last + 1, last + 1, 1);
    expect_events(&second, 1117, last + 1, 1);
    stop_listening(&l);
    stop_listening(&second);
    wait_followers(0);
    assert_false(store_many(1));
    close_world(&f);
}

static void what_the_store_has_deleted_is_passed_over(void **state)
{
    struct listener l;
    struct fixture f;

    (void)state;
    open_world(&f, 2000);
    publish_many(500);
    world.deleted = 300;
    l = listen_to(&f, "?after=0", "");
    expect_events(&l, 301, 500, 1);
    stop_listening(&l);
    close_world(&f);

    open_world(&f, 2000);
    publish_many(500);
    world.stored = 0; /* as if all had been, up to the ring */
    l = listen_to(&f, "?after=0", "");
    assert_true(hear_event(&l) > 400);
    stop_listening(&l);
    close_world(&f);
}

static void without_a_store_a_gap_is_told(void **state)
{
    struct listener l;
    struct fixture f;
    struct slice block;

    (void)state;
    open_world_with(&f, &(struct sse_options){.ring_bytes = 2000, .heartbeat_ns = 3600 * NS_PER_S});
    publish_many(500);
    l = listen_to(&f, "?after=0", "");
    assert_true(slice_equal(hear_block(&l), SLICE("retry: 2000")));
    block = hear_block(&l);
    assert_memory_equal(block.data, ": events up to ", 15);
    assert_int_equal(hear_event(&l), strtoull(block.data + 15, NULL, 10) + 1);
    stop_listening(&l);
    close_world(&f);
}

static void a_store_that_fails_cuts_the_stream(void **state)
{
    struct listener l;
    struct fixture f;

    (void)state;
    open_world(&f, 2000);
    publish_many(500);
    world.fails = true;
    l = listen_to(&f, "?after=0", "");
    while (hear_more(&l))
        ;
    assert_int_equal(hear_byte(l.fd), -1);
    stop_listening(&l);
    wait_followers(0);
    close_world(&f);
}

static void an_event_larger_than_any_buffer_comes_whole(void **state)
{
    struct listener l;
    struct fixture f;

    (void)state;
    open_world(&f, 0);
    l = listen_to(&f, "", "");
    world.data_bytes = 300000;
    publish_many(3);
    expect_events(&l, 1, 3, 1);
    stop_listening(&l);
    close_world(&f);
}

static void silence_is_broken_by_a_comment(void **state)
{
    struct listener l;
    struct fixture f;

    (void)state;
    open_world_with(&f, &(struct sse_options){.heartbeat_ns = 20 * NS_PER_MS, .ctx = &world});
    l = listen_to(&f, "", "");
    assert_true(slice_equal(hear_block(&l), SLICE("retry: 2000")));
    for (int i = 0; i < 3; i++)
        assert_true(slice_equal(hear_block(&l), SLICE(":")));
    publish_many(1);
    expect_events(&l, 1, 1, 1);
    stop_listening(&l);
    close_world(&f);
}

/*
 * Two of three read nothing while 40,000 events go by, a hundred times what the ring holds. The
 * third hears each at once: it is let run dry every hundred events, so that it would hang if
 * anybody waited for the others. Then these read, and miss nothing.
 */
static void slow_readers_hold_up_nobody_and_cost_nothing(void **state)
{
    struct http_stats server;
    struct listener quick, slow[2];
    struct sse_stats stats;
    struct fixture f;

    (void)state;
    open_world(&f, 32768);
    world.data_bytes = 200;
    quick = listen_to(&f, "", "");
    for (int i = 0; i < 2; i++)
        slow[i] = listen_to(&f, "", "");
    wait_followers(3);
    for (uint64_t seq = 1; seq <= 40000; seq += 100) {
        publish_many(100);
        expect_events(&quick, seq, seq + 99, 1);
    }
    sse_hub_get_stats(world.hub, &stats);
    assert_true(stats.ring_bytes <= 32768);
    assert_true(stats.first_seq > 39800);
    http_server_get_stats(f.server, &server);
    assert_true(server.memory_bytes_max < 1000);
    for (int i = 0; i < 2; i++) {
        expect_events(&slow[i], 1, 40000, 1);
        stop_listening(&slow[i]);
    }
    assert_true(world.asked > 100);
    stop_listening(&quick);
    close_world(&f);
}

#define MANY 1000

static void a_thousand_followers_are_woken_together(void **state)
{
    static struct listener all[MANY];
    struct sse_stats stats;
    struct fixture f;

    (void)state;
    assert_true(raise_descriptors() > 2 * MANY + 100);
    open_world(&f, 0);
    for (int i = 0; i < MANY; i++) {
        all[i] = listen_to(&f, i % 10 ? "" : "?task=5", "");
        assert_true(slice_equal(hear_block(&all[i]), SLICE("retry: 2000")));
    }
    wait_followers(MANY);
    publish_many(1000);
    for (int i = 0; i < MANY; i++) {
        if (i % 10)
            expect_events(&all[i], 1, 1000, 1);
        else
            expect_events(&all[i], 5, 995, 10);
        stop_listening(&all[i]);
    }
    sse_hub_get_stats(world.hub, &stats);
    /* A wake-up for each event and follower would be a million. */
    assert_true(stats.wakes < 100 * MANY);
    wait_followers(0);
    close_world(&f);
}

static void what_comes_within_a_while_is_one_wake_up(void **state)
{
    struct sse_stats stats;
    struct listener l;
    struct fixture f;

    (void)state;
    open_world_with(&f, &(struct sse_options){.wake_every_ns = NS_PER_S,
                                              .heartbeat_ns = 3600 * NS_PER_S,
                                              .ctx = &world});
    l = listen_to(&f, "", "");
    assert_true(slice_equal(hear_block(&l), SLICE("retry: 2000")));
    publish_many(5000);
    expect_events(&l, 1, 5000, 1);
    sse_hub_get_stats(world.hub, &stats);
    /* None, if it came before the follower began to wait. */
    assert_true(stats.wakes <= 4);
    stop_listening(&l);
    close_world(&f);
}

/* 32 MB cost 16 ms for their bytes alone; 10 were saved up, and it is 600 until there are 6 more. */
static void followers_take_no_more_than_their_share(void **state)
{
    struct listener l;
    struct fixture f;
    struct instant start;

    (void)state;
    open_world_with(&f, &(struct sse_options){.ring_bytes = (size_t)64 << 20,
                                              .heartbeat_ns = 3600 * NS_PER_S,
                                              .share = 0.01,
                                              .ctx = &world});
    world.data_bytes = 8000;
    publish_many(4000);
    start = loop_clock();
    l = listen_to(&f, "?after=0", "");
    assert_true(slice_equal(hear_block(&l), SLICE("retry: 2000")));
    expect_events(&l, 1, 4000, 1);
    assert_true(instant_diff(loop_clock(), start) >= 550 * NS_PER_MS);
    assert_int_equal(world.asked, 0);
    stop_listening(&l);
    close_world(&f);
}

/* By the clock, 100 looks of 10 ms would be 100 s of this share. */
static void a_slow_store_takes_nothing_from_the_share(void **state)
{
    struct listener l;
    struct fixture f;

    (void)state;
    open_world_with(
        &f, &(struct sse_options){
                .ring_bytes = 2000, .heartbeat_ns = 3600 * NS_PER_S, .share = 0.01, .ctx = &world});
    publish_many(100 * SSE_BLOCK_EVENTS);
    world.slow_ms = 10;
    l = listen_to(&f, "?after=0", "");
    alarm(DEADLINE_MS / 1000);
    expect_events(&l, 1, 100 * SSE_BLOCK_EVENTS, 1);
    alarm(0);
    assert_true(world.asked >= 90);
    stop_listening(&l);
    close_world(&f);
}

/* 160 KB for each, and 10 ms for all have been saved up. */
static void whoever_is_woken_has_its_turn(void **state)
{
    enum { FOLLOWERS = 50, EVENTS = 800 };
    static struct listener all[FOLLOWERS];
    struct sse_stats stats;
    struct fixture f;

    (void)state;
    open_world_with(&f, &(struct sse_options){.ring_bytes = (size_t)1 << 20,
                                              .heartbeat_ns = 3600 * NS_PER_S,
                                              .share = 0.01,
                                              .ctx = &world});
    for (int i = 0; i < FOLLOWERS; i++)
        all[i] = listen_to(&f, "", "");
    wait_followers(FOLLOWERS);
    world.data_bytes = 160;
    publish_many(EVENTS);
    for (int i = 0; i < FOLLOWERS; i++)
        expect_events(&all[i], 1, EVENTS, 1);
    sse_hub_get_stats(world.hub, &stats);
    /* Some 10 reads each, and the one that finds nothing more. */
    assert_true(stats.wakes <= FOLLOWERS * 15);
    for (int i = 0; i < FOLLOWERS; i++)
        stop_listening(&all[i]);
    wait_followers(0);
    close_world(&f);
}

static void those_who_are_behind_by_the_same_read_the_store_once(void **state)
{
    enum { FOLLOWERS = 50, BLOCKS = 30, EVENTS = BLOCKS * SSE_BLOCK_EVENTS };
    static struct listener all[FOLLOWERS];
    struct fixture f;

    (void)state;
    open_world(&f, 2000);
    publish_many(EVENTS + 100);
    for (int i = 0; i < FOLLOWERS; i++) {
        char query[32];

        (void)snprintf(query, sizeof query, "?after=%d", i);
        all[i] = listen_to(&f, query, "");
    }
    for (int i = 0; i < FOLLOWERS; i++)
        expect_events(&all[i], (uint64_t)i + 1, EVENTS + 100, 1);
    /* The first block of each is its own, up to the end of a common one. */
    assert_true(world.asked <= FOLLOWERS + BLOCKS + 10);
    for (int i = 0; i < FOLLOWERS; i++)
        stop_listening(&all[i]);
    /* A filter has blocks of its own. */
    all[0] = listen_to(&f, "?after=0&task=7", "");
    expect_events(&all[0], 7, EVENTS + 97, 10);
    stop_listening(&all[0]);
    wait_followers(0);
    close_world(&f);
}

/* Looks for task 1 wait while `held`. */
static struct {
    struct sse_past past;
    atomic_bool held, in_vain; /* in_vain: one has waited too long */
    atomic_uint begun;
} looks;

static bool looks_are_let_go(void *arg)
{
    (void)arg;
    return !atomic_load(&looks.held);
}

static bool one_has_begun(void *arg)
{
    (void)arg;
    return atomic_load(&looks.begun) > 0;
}

static bool look(void *ctx, const struct sse_filter *filter, uint64_t after, uint64_t until,
                 struct buf *buf, size_t bytes, uint64_t *ret_seq)
{
    (void)ctx;
    (void)until;
    (void)bytes;
    atomic_fetch_add(&looks.begun, 1);
    if (filter->task == 1 && !testkit_until(looks_are_let_go, NULL, DEADLINE_MS))
        looks.in_vain = true;
    buf_printf(buf, "%llu", (unsigned long long)filter->task);
    *ret_seq = after + 5;
    return true;
}

static void *look_for_task_1(void *arg)
{
    (void)arg;
    return sse_past_get(&looks.past, &(struct sse_filter){.task = 1}, 0);
}

static void a_slow_look_holds_up_only_those_who_want_the_same(void **state)
{
    struct sse_block *other, *same[3];
    pthread_t threads[3];

    (void)state;
    assert_true(sse_past_init(&looks.past, look, NULL));
    looks.begun = 0;
    looks.held = true;
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, look_for_task_1, NULL), 0);
    assert_true(testkit_until(one_has_begun, NULL, DEADLINE_MS));
    other = sse_past_get(&looks.past, &(struct sse_filter){.task = 2}, 0);
    assert_string_equal(other->text.data, "2");
    looks.held = false;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], (void **)&same[i]), 0);
        assert_ptr_equal(same[i], same[0]);
        sse_block_release(same[i]);
    }
    assert_false(looks.in_vain);
    assert_int_equal(looks.begun, 2);
    assert_int_equal(other->until, 5);
    sse_block_release(other);
    sse_past_free(&looks.past);
}

static void stopping_gives_followers_what_there_is_and_ends_them(void **state)
{
    struct listener l;
    struct fixture f;

    (void)state;
    open_world(&f, 0);
    l = listen_to(&f, "", "");
    wait_followers(1);
    publish_many(10);
    http_server_stop(f.server, duration_from_ms(DEADLINE_MS));
    expect_events(&l, 1, 10, 1);
    assert_false(hear_more(&l));
    stop_listening(&l);
    wait_followers(0);
    close_world(&f);
}

static void a_hub_and_a_follower_without_memory_say_so(void **state)
{
    struct sse_options o = {0};
    struct fixture f;
    struct weir_error err;

    (void)state;
    for (unsigned long n = 1; n <= 3; n++) {
        struct sse_hub *h = NULL;

        mem_fail_at(n);
        assert_int_equal(sse_hub_new(&o, &h, &err), WEIR_E_NOMEM);
        assert_true(mem_has_failed());
        assert_null(h);
    }
    mem_fail_at(0);
    open_world(&f, 0);
    for (unsigned long n = 1; n < 40; n++) {
        int fd = dial(&f);
        bool failed;

        mem_fail_at(n);
        say(fd, "GET /follow HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_true(testkit_fd_wait(fd, POLLIN, DEADLINE_MS)); /* an answer, or the end */
        failed = mem_has_failed();
        mem_fail_at(0);
        close(fd);
        wait_followers(0);
        if (!failed) {
            assert_true(n > 4);
            close_world(&f);
            return;
        }
    }
    fail();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_is_rendered_line_by_line),
        cmocka_unit_test(a_filter_passes_what_agrees_in_all_that_it_names),
        cmocka_unit_test(the_ring_holds_the_latest_and_only_whole_ones),
        cmocka_unit_test(small_events_make_its_index_grow_and_no_memory_makes_it_forget),
        cmocka_unit_test(an_event_that_is_too_large_empties_the_ring),
        cmocka_unit_test(a_follower_hears_what_comes_from_now_on),
        cmocka_unit_test(it_goes_on_where_it_was),
        cmocka_unit_test(what_is_not_published_yet_is_not_told_to_whoever_knows_it),
        cmocka_unit_test(what_is_passed_over_comes_from_the_store),
        cmocka_unit_test(a_filter_is_kept_to_in_the_ring_and_in_the_store),
        cmocka_unit_test(one_that_is_behind_the_ring_reads_the_store_and_misses_nothing),
        cmocka_unit_test(what_nobody_can_read_in_time_is_not_published_and_not_missed),
        cmocka_unit_test(what_the_store_has_deleted_is_passed_over),
        cmocka_unit_test(without_a_store_a_gap_is_told),
        cmocka_unit_test(a_store_that_fails_cuts_the_stream),
        cmocka_unit_test(an_event_larger_than_any_buffer_comes_whole),
        cmocka_unit_test(silence_is_broken_by_a_comment),
        cmocka_unit_test(slow_readers_hold_up_nobody_and_cost_nothing),
        cmocka_unit_test(a_thousand_followers_are_woken_together),
        cmocka_unit_test(what_comes_within_a_while_is_one_wake_up),
        cmocka_unit_test(followers_take_no_more_than_their_share),
        cmocka_unit_test(a_slow_store_takes_nothing_from_the_share),
        cmocka_unit_test(whoever_is_woken_has_its_turn),
        cmocka_unit_test(those_who_are_behind_by_the_same_read_the_store_once),
        cmocka_unit_test(a_slow_look_holds_up_only_those_who_want_the_same),
        cmocka_unit_test(stopping_gives_followers_what_there_is_and_ends_them),
        cmocka_unit_test(a_hub_and_a_follower_without_memory_say_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
