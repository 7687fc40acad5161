/*
 * Events between the registry and those who follow: what has not been published yet, readers that
 * fail, want of memory, and long searches.
 */
#include "base/mem.h"
#include "serve/api/internal.h"
#include "unit/serve/api/api_test.h"

/* ---- what is told, and when ---- */

/* Two events for each task, of which the feeder is not told. */
static void store_tasks(struct api_fixture *f, int count)
{
    struct api *api = f->api;
    struct buf body = {0};

    f->api = NULL;
    buf_putc(&body, '[');
    for (int i = 0; i < count; i++)
        buf_puts(&body, i ? ",{}" : "{}");
    buf_putc(&body, ']');
    expect(post(f, "/v1/tasks", body.data), 201, HAS_NOTHING);
    f->api = api;
    buf_free(&body);
}

static void tell_all(struct api_fixture *f)
{
    api_committed(f->api, f->registry->ops->last_event(f->registry));
}

static int follow(struct api_fixture *f, const char *query)
{
    struct buf text = {0};
    struct answer a;
    int fd = dial(&f->http);

    buf_printf(&text, "GET /v1/events/follow%s HTTP/1.1\r\nHost: localhost\r\n\r\n", query);
    say(fd, text.data);
    a = hear_head(fd);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    buf_free(&text);
    return fd;
}

/* Made before memory is short. */
static struct buf line;

/* The next event, which is whole. 0: the stream has ended. */
static uint64_t hear_event(int fd)
{
    unsigned long long seq = 0, said = 0;

    while (hear_line(fd, &line) && sscanf(line.data, "id: %llu", &seq) != 1)
        ;
    if (seq > 0 && (!hear_line(fd, &line) || !hear_line(fd, &line)))
        seq = 0;
    if (seq > 0) {
        if (sscanf(line.data, "data: {\"seq\":%llu,", &said) != 1 || !strstr(line.data, "}"))
            fail_msg("event %llu is '%s'", seq, line.data);
        assert_int_equal(said, seq);
    }
    return seq;
}

static void expect_events(int fd, uint64_t first, uint64_t last)
{
    for (uint64_t seq = first; seq <= last; seq++)
        assert_int_equal(hear_event(fd), seq);
}

static void what_the_client_knows_is_not_told_again(void **state)
{
    struct api_fixture f;
    int listed, now, beyond, early;

    (void)state;
    api_open(&f, NULL);
    store_tasks(&f, 5);
    expect(get(&f, "/v1/status"), 200, HAS("\"last_event\":10}"));
    listed = follow(&f, "?after=6");
    now = follow(&f, "");
    beyond = follow(&f, "?after=1000");
    f.untold = 2;
    early = follow(&f, "?after=10");
    f.untold = 0;
    tell_all(&f);
    expect(post(&f, "/v1/tasks", "{}"), 201, HAS_NOTHING);
    expect_events(listed, 7, 12);
    expect_events(now, 11, 12);
    expect_events(beyond, 11, 12);
    expect_events(early, 11, 12);
    close(early);
    close(listed);
    close(now);
    close(beyond);
    api_close(&f);
}

/* ---- a reader that fails when it has given all ---- */

static struct {
    const struct registry_reader_ops *real;
    struct registry_reader_ops failing;
    atomic_int failed;
} reader;

static enum weir_status give_all_and_fail(struct registry_reader *r,
                                          const struct registry_event_filter *filter,
                                          uint64_t after, uint32_t max, registry_event_fn fn,
                                          void *ctx, struct weir_error *err)
{
    enum weir_status status = reader.real->events(r, filter, after, max, fn, ctx, err);

    if (status != WEIR_OK || atomic_fetch_add(&reader.failed, 1) > 0)
        return status;
    return error_set(err, WEIR_E_IO, "the disk is gone");
}

static enum weir_status take_failing(struct api_backend *b, struct registry_reader **ret,
                                     struct weir_error *err)
{
    enum weir_status status = test_take_reader(b, ret, err);

    if (status == WEIR_OK) {
        reader.real = (*ret)->ops;
        reader.failing = *reader.real;
        reader.failing.events = give_all_and_fail;
        (*ret)->ops = &reader.failing;
    }
    return status;
}

/* The feeder has made up for all, and waits for more. */
static bool feeder_waits(void *arg)
{
    struct api *a = arg;
    bool waits;

    pthread_mutex_lock(&a->lock);
    waits = a->listening;
    pthread_mutex_unlock(&a->lock);
    return waits;
}

static void a_look_that_fails_at_its_end_is_made_up_for(void **state)
{
    struct api_backend_ops ops = test_backend_ops;
    struct api_fixture f;
    int fd;

    (void)state;
    api_open(&f, NULL);
    fd = follow(&f, "?after=0");
    store_tasks(&f, 3);
    ops.take_reader = take_failing;
    f.backend.ops = &ops;
    tell_all(&f);
    expect_events(fd, 1, 6);
    assert_true(testkit_until(feeder_waits, f.api, DEADLINE_MS));
    store_tasks(&f, 1);
    tell_all(&f);
    expect_events(fd, 7, 8);
    assert_true(reader.failed >= 1);
    close(fd);
    api_close(&f);
}

/* ---- no memory ---- */

static void an_event_without_memory_is_not_cut(void **state)
{
    (void)state;
    for (unsigned long n = 1; n <= 12; n++) {
        struct api_fixture f;
        uint64_t heard = 0;
        int fd;

        api_open(&f, NULL);
        fd = follow(&f, "?after=0");
        store_tasks(&f, 5);
        assert_non_null(buf_reserve(&line, 4000));
        mem_fail_at(n);
        tell_all(&f);
        while (heard < 10) {
            uint64_t seq = hear_event(fd);

            if (seq > 0) {
                assert_int_equal(seq, ++heard);
                continue;
            }
            /* It was the server's memory: whoever follows comes back. */
            mem_fail_at(0);
            close(fd);
            fd = follow(&f,
                        heard ? (char[]){'?', 'a', 'f', 't', 'e', 'r', '=', (char)('0' + heard), 0}
                              : "?after=0");
        }
        mem_fail_at(0);
        close(fd);
        api_close(&f);
    }
}

static void what_is_read_without_memory_is_not_cut(void **state)
{
    struct sse_filter all = {0};
    struct buf whole = {0};
    struct api_fixture f;
    uint64_t seq = 0;
    bool ok = false;

    (void)state;
    api_open(&f, NULL);
    store_tasks(&f, 5);
    assert_true(event_catch_up(f.api, &all, 0, UINT64_MAX, &whole, 100000, &seq));
    assert_int_equal(seq, 10);
    for (unsigned long n = 1; n < 40 && !ok; n++) {
        struct buf text = {0};
        bool failed;

        mem_fail_at(n);
        ok = event_catch_up(f.api, &all, 0, UINT64_MAX, &text, 100000, &seq) && !text.failed;
        failed = mem_has_failed();
        mem_fail_at(0);
        assert_int_equal(ok, !failed);
        if (ok)
            assert_string_equal(text.data, whole.data);
        buf_free(&text);
    }
    assert_true(ok);
    buf_free(&whole);
    api_close(&f);
}

/* ---- searches ---- */

static void a_search_for_what_is_rare_goes_on_turn_by_turn(void **state)
{
    struct sse_filter filter = {.pool = SLICE("model")};
    struct buf text = {0};
    struct api_fixture f;
    uint64_t seq = 0, after, turns = 0;
    int fd;

    (void)state;
    api_open(&f, NULL);
    for (int i = 0; i < 14; i++)
        store_tasks(&f, 900);
    finish(&f, 3, REGISTRY_DONE, "1");
    do {
        after = seq;
        assert_true(event_catch_up(f.api, &filter, after, UINT64_MAX, &text, 100000, &seq));
        assert_true(seq > after && seq - after <= 10000);
        turns++;
    } while (text.len == 0);
    assert_int_equal(turns, 3);
    assert_non_null(strstr(text.data, "\"kind\":\"task.done\",\"task\":3"));
    fd = follow(&f, "?pool=model&after=0");
    assert_true(hear_event(fd) > 25200);
    close(fd);
    buf_free(&text);
    api_close(&f);
}

/* What retention has taken is not looked for in steps. */
static void what_is_gone_is_skipped_at_once(void **state)
{
    struct sse_filter all = {0};
    struct buf text = {0};
    struct api_fixture f;
    uint64_t seq = 0;

    (void)state;
    api_open(&f, NULL);
    store_tasks(&f, 100);
    apply(&f,
          &(struct registry_op){.kind = REGISTRY_PURGE, .purge = {.events_max = 10, .max = 1000}});
    assert_true(event_catch_up(f.api, &all, 0, 64, &text, 100000, &seq));
    assert_int_equal(text.len, 0);
    assert_int_equal(seq, 190);
    assert_true(event_catch_up(f.api, &all, 190, 192, &text, 100000, &seq));
    assert_int_equal(seq, 192);
    buf_free(&text);
    api_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_client_knows_is_not_told_again),
        cmocka_unit_test(a_look_that_fails_at_its_end_is_made_up_for),
        cmocka_unit_test(an_event_without_memory_is_not_cut),
        cmocka_unit_test(what_is_read_without_memory_is_not_cut),
        cmocka_unit_test(a_search_for_what_is_rare_goes_on_turn_by_turn),
        cmocka_unit_test(what_is_gone_is_skipped_at_once),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    buf_free(&line);
    return failed;
}
