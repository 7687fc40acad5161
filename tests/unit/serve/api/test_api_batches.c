/*
 * Batches over HTTP: made in each way, filled, ended; and their results, in order, while they run.
 */
#include "unit/serve/api/api_test.h"

static void a_batch_is_made_in_one_request(void **state)
{
    struct api_fixture f;

    (void)state;
    api_open(&f, NULL);
    expect(post(&f, "/v1/batches",
                "{\"name\":\"nightly\",\"tasks\":[{\"payload\":1},{\"payload\":2,\"name\":\"b\"},"
                "{\"after\":[\"b\"]}]}"),
           201, HAS("{\"id\":1,\"accepted\":3,\"existing\":0,\"ranges\":[[1,3]]}"));
    expect(get(&f, "/v1/batches/1"), 200,
           HAS("{\"id\":1,\"name\":\"nightly\",\"opened_at\":\"",
               "\"ended\":true,\"finished\":false,\"total\":3", "\"ready\":2", "\"blocked\":1"));
    expect(get(&f, "/v1/tasks?batch=1"), 200,
           HAS("\"id\":1,\"state\":\"ready\",\"batch\":1,\"place\":0", "\"batch\":1,\"place\":2"));
    expect(post(&f, "/v1/batches/1/tasks", "{}"), 409, HAS("takes no more tasks"));
    expect(post(&f, "/v1/batches/2/tasks", "{}"), 404, HAS("2"));
    expect(get(&f, "/v1/batches/2"), 404, HAS("2"));
    expect(post(&f, "/v1/batches", "{\"tasks\":[{\"key\":1}]}"), 400,
           HAS("\"where\":\"tasks[0].key\""));
    expect(post(&f, "/v1/batches", "{}"), 400, HAS("?open=true"));
    api_close(&f);
}

static void a_batch_that_is_sent_again_says_which_tasks_were_known(void **state)
{
    static const char twice[] = "{\"tasks\":[{\"idempotency_key\":\"a\"},{},"
                                "{\"idempotency_key\":\"b\"}]}";
    struct api_fixture f;

    (void)state;
    api_open(&f, NULL);
    expect(post(&f, "/v1/batches", twice), 201, HAS("\"existing\":0,\"ranges\":[[1,3]]"));
    expect(post(&f, "/v1/batches", twice), 201,
           HAS("{\"id\":2,\"accepted\":3,\"existing\":2,\"ranges\":[[1,1],[4,4],[3,3]]}"));
    /* What was known stays where it was. */
    expect(get(&f, "/v1/batches/2"), 200, HAS("\"total\":1"));
    expect(get(&f, "/v1/tasks/3"), 200, HAS("\"batch\":1,\"place\":2"));
    expect(post(&f, "/v1/tasks", "[{\"idempotency_key\":\"b\"},{}]"), 201,
           HAS("{\"ids\":[3,5],\"existing\":1}"));
    api_close(&f);
}

static void one_that_cannot_be_filled_is_ended(void **state)
{
    struct api_fixture f;

    (void)state;
    api_open(&f, NULL);
    expect(post(&f, "/v1/batches", "{\"tasks\":[{\"after\":[77]}]}"), 422, HAS("77"));
    expect(get(&f, "/v1/batches/1"), 200, HAS("\"ended\":true", "\"total\":0"));
    api_close(&f);
}

static void an_open_batch_takes_tasks_until_it_is_ended(void **state)
{
    struct api_fixture f;

    (void)state;
    api_open(&f, NULL);
    expect(post(&f, "/v1/batches?open=true&name=long", ""), 201,
           HAS("{\"id\":1,\"accepted\":0,\"existing\":0,\"ranges\":[]}"));
    expect(post(&f, "/v1/batches/1/tasks", "{\"payload\":1}"), 201, HAS("{\"id\":1,"));
    expect(post(&f, "/v1/batches/1/tasks", "[{},{}]"), 201, HAS("{\"ids\":[2,3],\"existing\":0}"));
    expect(stream(&f, "/v1/batches/1/tasks", SLICE("{}\n{}\n")), 201, HAS("\"ranges\":[[4,5]]"));
    expect(get(&f, "/v1/tasks/5"), 200, HAS("\"batch\":1,\"place\":4"));
    expect(stream(&f, "/v1/batches/7/tasks", SLICE("{}\n{}\n")), 404, HAS("7"));
    expect(post(&f, "/v1/batches/1/end", ""), 200,
           HAS("\"name\":\"long\"", "\"ended\":true", "\"total\":5"));
    expect(stream(&f, "/v1/batches/1/tasks", SLICE("{}\n")), 409, HAS_NOTHING);
    expect(post(&f, "/v1/batches/1/cancel", ""), 200, HAS("{\"cancelled\":5,\"cancelling\":0}"));
    expect(get(&f, "/v1/batches/1"), 200, HAS("\"finished\":true", "\"cancelled\":5"));
    expect(post(&f, "/v1/batches/9/cancel", ""), 404, HAS_NOTHING);
    api_close(&f);
}

static void a_batch_comes_as_a_stream(void **state)
{
    struct api_fixture f;
    struct buf lines = {0};

    (void)state;
    api_open(&f, NULL);
    for (int i = 0; i < 3500; i++)
        buf_printf(&lines, "{\"payload\":%d}\n", i);
    expect(stream(&f, "/v1/batches?name=rows", buf_slice(&lines)), 201,
           HAS("{\"id\":1,\"accepted\":3500,\"existing\":0,\"ranges\":[[1,3500]]}"));
    expect(get(&f, "/v1/batches/1"), 200,
           HAS("\"name\":\"rows\"", "\"ended\":true", "\"total\":3500"));
    expect(get(&f, "/v1/tasks/3500"), 200, HAS("\"place\":3499"));
    buf_puts(&lines, "nonsense\n");
    expect(stream(&f, "/v1/batches", buf_slice(&lines)), 400,
           HAS("\"batch\":2", "\"batch_open\":false", "\"line\":3501", "\"accepted\":3500",
               "\"lines\":[[1,3500]]", "not JSON"));
    expect(get(&f, "/v1/batches/2"), 200, HAS("\"ended\":true", "\"total\":3500"));
    expect(stream(&f, "/v1/batches?open=true", SLICE("{}")), 201, HAS("\"id\":3"));
    expect(get(&f, "/v1/batches/3"), 200, HAS("\"ended\":false"));
    expect(stream(&f, "/v1/batches?name=%01", SLICE("{}")), 400, HAS("control character"));
    expect(get(&f, "/v1/batches?limit=2"), 200, HAS("\"id\":1", "\"id\":2", "\"next\":\"o2\""));
    expect(get(&f, "/v1/batches?cursor=o2"), 200, HAS("{\"batches\":[{\"id\":3", "\"next\":null"));
    buf_free(&lines);
    api_close(&f);
}

static void a_stream_that_goes_wrong_ends_the_batch_that_it_has_made(void **state)
{
    struct api_fixture f;

    (void)state;
    api_open(&f, NULL);
    /* A group that the registry refuses; one that is refused before any task was there. */
    expect(stream(&f, "/v1/batches", SLICE("{}\n{\"after\":[77]}\n{}\n")), 422,
           HAS("line 2: ", "lines 1 to 3", "\"line\":2", "\"accepted\":0", "\"batch\":1",
               "\"batch_open\":false"));
    expect(get(&f, "/v1/batches/1"), 200, HAS("\"ended\":true", "\"total\":0"));
    expect(stream(&f, "/v1/batches", SLICE("nonsense\n")), 400,
           HAS("\"line\":1", "\"batch\":2", "\"batch_open\":false"));
    expect(get(&f, "/v1/batches/2"), 200, HAS("\"ended\":true"));
    /* Whoever asked for it goes on behind what was accepted. */
    expect(stream(&f, "/v1/batches?open=true", SLICE("{}\nnonsense\n")), 400,
           HAS("\"accepted\":1", "\"line\":2", "\"batch\":3", "\"batch_open\":true"));
    expect(stream(&f, "/v1/batches/3/tasks", SLICE("{}\n{\"priority\":\"x\"}\n")), 400,
           HAS("\"accepted\":1", "\"line\":2", "\"batch\":3", "\"batch_open\":true"));
    expect(get(&f, "/v1/batches/3"), 200, HAS("\"ended\":false", "\"total\":2"));
    api_close(&f);
}

/* The line that has only begun is not among them. */
static void a_stream_that_brings_no_more_is_told_what_was_accepted(void **state)
{
    struct api_fixture f;
    struct answer a;
    int fd;

    (void)state;
    api_open_with(&f, NULL, &(struct http_server_options){.body_timeout_ns = 30 * NS_PER_MS});
    for (int open = 0; open < 2; open++) {
        fd = dial(&f.http);
        say(fd, open ? "POST /v1/batches?open=true" : "POST /v1/batches");
        say(fd, " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
                "Transfer-Encoding: chunked\r\n\r\n8\r\n{}\n{}\n{}\r\n");
        a = hear(fd);
        expect(a, 408,
               HAS("\"accepted\":2", "\"lines\":[[1,2]]", open ? "\"batch\":2" : "\"batch\":1",
                   open ? "\"batch_open\":true" : "\"batch_open\":false"));
        close(fd);
    }
    expect(get(&f, "/v1/batches/1"), 200, HAS("\"ended\":true", "\"total\":2"));
    expect(get(&f, "/v1/batches/2"), 200, HAS("\"ended\":false", "\"total\":2"));
    api_close(&f);
}

static void more_ranges_than_are_told_are_said_to_be_cut(void **state)
{
    struct api_fixture f;
    struct buf lines = {0};

    (void)state;
    api_open(&f, NULL);
    for (int i = 0; i < 100100; i++)
        buf_printf(&lines, "{\"idempotency_key\":\"%s\"}\n", i % 2 == 0 ? "b" : "a");
    expect(stream(&f, "/v1/tasks", buf_slice(&lines)), 201,
           HAS("\"existing\":100098", "\"ranges_cut\":true"));
    buf_puts(&lines, "nonsense\n");
    expect(stream(&f, "/v1/tasks", buf_slice(&lines)), 400,
           HAS("\"accepted\":100100", "\"ranges_cut\":true"));
    buf_free(&lines);
    api_close(&f);
}

static void await_readers(struct api_fixture *f, int count)
{
    for (int i = 0; i < 20000 && atomic_load(&f->readers) < count; i++)
        (void)poll(NULL, 0, 1);
    assert_true(atomic_load(&f->readers) >= count);
}

static void the_place_of_a_task_is_looked_up_without_holding_up_the_api(void **state)
{
    static const char request[] = "POST /v1/batches/1/tasks HTTP/1.1\r\nHost: localhost\r\n"
                                  "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    struct api_fixture f;
    struct answer a;
    int fds[5];
    int before;
    uint64_t places = 0;

    (void)state;
    api_open(&f, NULL);
    expect(post(&f, "/v1/batches?open=true", ""), 201, HAS("\"id\":1"));
    expect(post(&f, "/v1/batches/1/tasks", "{}"), 201, HAS("\"id\":1"));
    /* The first reader is for the batch; the second looks for the place. */
    before = atomic_load(&f.readers);
    atomic_store(&f.reader_is_held, before + 2);
    fds[0] = dial(&f.http);
    say(fds[0], request);
    await_readers(&f, before + 2);
    (void)alarm(30); /* else it would wait for good */
    api_committed(f.api, 1);
    (void)alarm(0);
    /* Others wait for the place that is being looked for, as far as they have a thread to, and come behind it. */
    for (size_t i = 1; i < COUNT_OF(fds); i++) {
        fds[i] = dial(&f.http);
        say(fds[i], request);
    }
    atomic_store(&f.reader_is_held, 0);
    for (size_t i = 0; i < COUNT_OF(fds); i++) {
        a = hear(fds[i]);
        close(fds[i]);
        expect(a, 201, HAS("\"existing\":false"));
    }
    /* Each has a place of its own, in the order of the ids. */
    for (unsigned id = 2; id < 2 + COUNT_OF(fds); id++) {
        char path[32], place[32];

        snprintf(path, sizeof path, "/v1/tasks/%u", id);
        snprintf(place, sizeof place, "\"place\":%llu,", (unsigned long long)++places);
        expect(get(&f, path), 200, HAS(place));
    }
    api_close(&f);
}

static void failed_tasks_of_a_batch_run_again(void **state)
{
    struct api_fixture f;

    (void)state;
    api_open(&f, NULL);
    expect(post(&f, "/v1/batches", "{\"tasks\":[{},{}]}"), 201, HAS_NOTHING);
    finish(&f, 1, REGISTRY_FAILED, "");
    finish(&f, 2, REGISTRY_DONE, "");
    expect(post(&f, "/v1/batches/1/retry", ""), 200, HAS("{\"retried\":1}"));
    expect(get(&f, "/v1/tasks/1"), 200, HAS("\"state\":\"ready\""));
    api_close(&f);
}

/* ---- results ---- */

static void results_stop_at_the_first_that_has_not_ended(void **state)
{
    struct api_fixture f;
    struct answer a;

    (void)state;
    api_open(&f, NULL);
    expect(post(&f, "/v1/batches", "{\"tasks\":[{\"key\":\"a\"},{\"key\":\"b\"},{\"key\":\"c\"}]}"),
           201, HAS_NOTHING);
    finish(&f, 1, REGISTRY_DONE, "{\"n\":\n1}");
    finish(&f, 3, REGISTRY_DONE, "3");
    a = get(&f, "/v1/batches/1/results");
    assert_true(header_is(&a, "Content-Type", "application/x-ndjson"));
    assert_null(strstr(a.body.data, "\"key\":\"c\""));
    assert_ptr_equal(strchr(a.body.data, '\n'), a.body.data + a.body.len - 1);
    expect(a, 200, HAS("{\"id\":1,\"key\":\"a\",\"state\":\"done\"", "\"output\":{\"n\":1}}\n"));
    finish(&f, 2, REGISTRY_FAILED, "");
    expect(get(&f, "/v1/batches/1/results?from=1&with=payload"), 200,
           HAS("{\"id\":2,\"key\":\"b\",\"state\":\"failed\"", "\n{\"id\":3,", "\"payload\":\"\"",
               "\"output\":3}\n"));
    expect(get(&f, "/v1/batches/1/results?from=3&follow=true"), 200, HAS_NOTHING);
    expect(get(&f, "/v1/batches/4/results"), 404, HAS_NOTHING);
    expect(get(&f, "/v1/batches/1/results?from=-1"), 400, HAS("\"where\":\"from\""));
    api_close(&f);
}

static void results_are_followed_while_the_batch_runs(void **state)
{
    struct api_fixture f;
    struct answer a;
    struct buf line = {0};
    int fd;

    (void)state;
    api_open(&f, NULL);
    expect(post(&f, "/v1/batches?open=true", "{\"tasks\":[{},{}]}"), 201, HAS_NOTHING);
    fd = dial(&f.http);
    say(fd, "GET /v1/batches/1/results?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n");
    a = hear_head(fd);
    assert_int_equal(a.status, 200);
    /* In order, whichever ends first. */
    finish(&f, 2, REGISTRY_DONE, "\"second\"");
    finish(&f, 1, REGISTRY_DONE, "\"first\"");
    assert_true(hear_line(fd, &line)); /* the size of a chunk */
    assert_true(hear_line(fd, &line));
    assert_non_null(strstr(line.data, "\"place\":0,"));
    /* What comes later is told too, and the end. */
    expect(post(&f, "/v1/batches/1/tasks", "{}"), 201, HAS("\"id\":3"));
    finish(&f, 3, REGISTRY_DONE, "\"third\"");
    expect(post(&f, "/v1/batches/1/end", ""), 200, HAS("\"finished\":true"));
    assert_true(hear_chunks(fd, &a.body) || true);
    while (hear_line(fd, &line) && strcmp(line.data, "0\r\n") != 0)
        buf_put_slice(&a.body, buf_slice(&line));
    body_has(&a, "\"third\"");
    close(fd);
    buf_free(&line);
    answer_free(&a);
    api_close(&f);
}

static void a_follower_that_goes_away_is_forgotten(void **state)
{
    struct api_fixture f;
    struct answer a;
    int fd;

    (void)state;
    api_open(&f, NULL);
    expect(post(&f, "/v1/batches?open=true", "{\"tasks\":[{}]}"), 201, HAS_NOTHING);
    fd = dial(&f.http);
    say(fd, "GET /v1/batches/1/results?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n");
    a = hear_head(fd);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    close(fd);
    finish(&f, 1, REGISTRY_DONE, "1");
    /* And one that is there when the server stops. */
    fd = dial(&f.http);
    say(fd, "GET /v1/batches/1/results?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n");
    a = hear_head(fd);
    answer_free(&a);
    api_close(&f);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_made_in_one_request),
        cmocka_unit_test(a_batch_that_is_sent_again_says_which_tasks_were_known),
        cmocka_unit_test(one_that_cannot_be_filled_is_ended),
        cmocka_unit_test(an_open_batch_takes_tasks_until_it_is_ended),
        cmocka_unit_test(a_batch_comes_as_a_stream),
        cmocka_unit_test(a_stream_that_goes_wrong_ends_the_batch_that_it_has_made),
        cmocka_unit_test(a_stream_that_brings_no_more_is_told_what_was_accepted),
        cmocka_unit_test(more_ranges_than_are_told_are_said_to_be_cut),
        cmocka_unit_test(the_place_of_a_task_is_looked_up_without_holding_up_the_api),
        cmocka_unit_test(failed_tasks_of_a_batch_run_again),
        cmocka_unit_test(results_stop_at_the_first_that_has_not_ended),
        cmocka_unit_test(results_are_followed_while_the_batch_runs),
        cmocka_unit_test(a_follower_that_goes_away_is_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
