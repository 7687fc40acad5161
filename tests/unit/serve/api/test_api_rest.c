/*
 * The rest of the API over HTTP: pools, the dispatcher, runners, events and how they are followed,
 * status, files.
 */
#include "unit/serve/api/api_test.h"

static void asked(struct api_fixture *f, const char *text)
{
    assert_string_equal(buf_slice(&f->asked).data, text);
    buf_clear(&f->asked);
}

static void pools_are_seen_and_changed(void **state)
{
    struct api_fixture f;

    (void)state;
    api_open(&f, NULL);
    expect(post(&f, "/v1/tasks",
                "[{\"pool\":\"model\"},{},{\"pool\":\"other\"},{\"skill\":\"chat\"}]"),
           201, HAS_NOTHING);
    expect(get(&f, "/v1/pools"), 200,
           HAS("[{\"name\":\"model\"", "\"queue\":{\"blocked\":0,\"scheduled\":0,\"ready\":2"));
    expect(
        get(&f, "/v1/pools/model"), 200,
        HAS("{\"name\":\"model\",\"kind\":\"http\",\"enabled\":true,\"draining\":false,\"default\":"
            "true",
            "\"max_concurrency\":8,\"limit\":9,\"running\":3,\"utilisation\":0.375,\"skills\":["
            "\"chat\",\"code\"]",
            "\"cpu\":{\"used\":1.5,\"limit\":4},\"memory\":{\"used\":2097152}",
            "\"reserve\":{\"min_priority\":50,\"share\":0.2},\"burst\":{\"places\":2,\"seconds\":"
            "60}",
            "\"throttle\":{\"kind\":\"adaptive\",\"rate_per_s\":20,\"reason\":\"refused\"}",
            "\"breaker\":{\"state\":\"closed\"},\"held_s\":1.5,\"workers\":{\"total\":4,\"idle\":1",
            "\"attempts\":{\"ok\":7,\"capacity\":1,"));
    expect(get(&f, "/v1/pools/none"), 404, HAS("there is no such pool"));
    expect(patch(&f, "/v1/pools/model",
                 "{\"max_concurrency\":20,\"cpu\":2.5,\"memory\":\"1GiB\",\"reserve\":{\"min_"
                 "priority\":50,\"share\":0.2},"
                 "\"burst\":null}"),
           200, HAS("\"name\":\"model\""));
    asked(&f, "max 20;cpu 2500;memory 1024;reserve 50 0.2;burst 0 0;");
    expect(patch(&f, "/v1/pools/model", "{\"reserve\":{\"share\":0.2}}"), 400,
           HAS("reserve: give both \\\"min_priority\\\" and \\\"share\\\""));
    expect(patch(&f, "/v1/pools/model", "{\"max_concurrency\":0}"), 400, HAS("from 1 to 1000000"));
    expect(patch(&f, "/v1/pools/model", "{\"max_concurrency\":\"4\"}"), 400,
           HAS("\"where\":\"max_concurrency\""));
    expect(patch(&f, "/v1/pools/model", ""), 400, HAS("nothing is to be changed"));
    expect(patch(&f, "/v1/pools/none", "{\"cpu\":1}"), 404, HAS_NOTHING);
    asked(&f, "");
    expect(post(&f, "/v1/pools/model/disable", ""), 200, HAS("\"name\":\"model\""));
    expect(post(&f, "/v1/pools/model/enable", ""), 200, HAS_NOTHING);
    expect(post(&f, "/v1/pools/model/drain", ""), 200, HAS_NOTHING);
    expect(post(&f, "/v1/pools/model/breaker/reset", ""), 200, HAS_NOTHING);
    expect(post(&f, "/v1/pools/none/drain", ""), 404, HAS_NOTHING);
    asked(&f, "disable;enable;drain;reset;");
    expect(get(&f, "/v1/pools/model/workers"), 200,
           HAS("[{\"id\":3,\"place\":1,", "\"health\":\"healthy\",\"pid\":4242", "},{\"id\":4,"));
    expect(get(&f, "/v1/pools/none/workers"), 404, HAS_NOTHING);
    api_close(&f);
}

static void the_dispatcher_is_seen_and_changed(void **state)
{
    struct api_fixture f;

    (void)state;
    api_open(&f, NULL);
    expect(get(&f, "/v1/dispatcher"), 200,
           HAS("{\"policy\":\"priority\",\"ageing\":0.5,\"max_global_concurrency\":10}"));
    expect(patch(&f, "/v1/dispatcher", "{\"policy\":\"fair-share\",\"max_global_concurrency\":0}"),
           200, HAS_NOTHING);
    asked(&f, "policy fair-share ageing -1 max 0;");
    expect(patch(&f, "/v1/dispatcher", "{\"policy\":\"random\"}"), 400, HAS("\\\"fair-share\\\""));
    expect(patch(&f, "/v1/dispatcher", "{}"), 400, HAS("nothing is to be changed"));
    expect(get(&f, "/v1/tenants"), 200,
           HAS("{\"tenants\":[{\"name\":\"\",\"weight\":1,",
               ",{\"name\":\"acme\",\"weight\":2,\"had\":17.5,\"ready\":12,\"running\":1}],"
               "\"next\":null}"));
    expect(get(&f, "/v1/tenants?limit=1"), 200, HAS("[{\"name\":\"\",", "],\"next\":\"b\"}"));
    expect(get(&f, "/v1/tenants?limit=1&cursor=b"), 200,
           HAS("[{\"name\":\"a b&c\",", "\"next\":\"ba b&c\"}"));
    expect(get(&f, "/v1/tenants?limit=1&cursor=ba%20b%26c"), 200,
           HAS("[{\"name\":\"acme\",", "\"next\":null}"));
    expect(get(&f, "/v1/tenants?cursor=bzz"), 200, HAS("{\"tenants\":[],\"next\":null}"));
    expect(get(&f, "/v1/tenants?cursor=o1"), 400, HAS("not what a list gave"));
    expect(get(&f, "/v1/tenants?limit=1001"), 400, HAS("limit"));
    expect(get(&f, "/v1/slots"), 200, HAS("[{\"name\":\"workdir\",\"count\":4,\"taken\":1}]"));
    expect(post(&f, "/v1/shutdown", "{\"grace\":\"1m\"}"), 202, HAS("stopping"));
    expect(post(&f, "/v1/shutdown", ""), 202, HAS("stopping"));
    asked(&f, "stop 60;stop -1e-09;");
    api_close(&f);
}

static void runners_are_seen_killed_and_beat(void **state)
{
    struct api_fixture f;

    (void)state;
    api_open(&f, NULL);
    expect(get(&f, "/v1/runners"), 200,
           HAS("[{\"id\":\"9007199254740993\",\"task\":4711,\"key\":\"row\",\"attempt\":2,\"pool\":"
               "\"model\"",
               "\"slots\":[{\"name\":\"license\",\"slot\":1},{\"name\":\"workdir\",\"slot\":3}]",
               "\"started_at\":\"1970-01-01T00:00:01.000000Z\",\"run_s\":1.5,\"progress\":0.25,"
               "\"text\":\"page 1\"}]"));
    expect(post(&f, "/v1/runners/7/kill", ""), 204, HAS_NOTHING);
    expect(post(&f, "/v1/runners/8/kill", ""), 404, HAS("there is no such runner"));
    asked(&f, "kill 7;");
    expect(post(&f, "/v1/runners/7/heartbeat", ""), 401, HAS("WEIR_TOKEN"));
    expect(ask_with(&f, "POST", "/v1/runners/7/heartbeat", "application/json",
                    "Authorization: Bearer other\r\n", SLICE("{}")),
           403, HAS("not that of this attempt"));
    expect(ask_with(&f, "POST", "/v1/runners/7/heartbeat", "application/json",
                    "Authorization: Bearer secret7\r\n",
                    SLICE("{\"progress\":0.5,\"text\":\"half\"}")),
           204, HAS_NOTHING);
    expect(ask_with(&f, "POST", "/v1/runners/7/heartbeat", "application/json",
                    "Authorization: Bearer secret7\r\n", SLICE("{\"progress\":2}")),
           400, HAS("\"where\":\"progress\""));
    asked(&f, "beat 0.5 half;");
    api_close(&f);
}

static void events_are_listed(void **state)
{
    struct api_fixture f;

    (void)state;
    api_open(&f, NULL);
    expect(post(&f, "/v1/tasks", "[{},{}]"), 201, HAS_NOTHING);
    expect(get(&f, "/v1/events"), 200,
           HAS("{\"events\":[{\"seq\":1,\"at\":\"20", "\"kind\":\"task.submitted\",\"task\":1",
               "\"next\":null"));
    expect(get(&f, "/v1/events?limit=1"), 200, HAS("\"seq\":1", "\"next\":\"1\""));
    expect(get(&f, "/v1/events?after=1&limit=1"), 200,
           HAS("{\"events\":[{\"seq\":2", "\"next\":\"2\""));
    expect(get(&f, "/v1/events?order=newest&limit=1"), 200,
           HAS("{\"events\":[{\"seq\":4", "\"next\":\"4\""));
    expect(get(&f, "/v1/events?kind=task.ready,task.done&task=2"), 200,
           HAS("\"kind\":\"task.ready\",\"task\":2"));
    expect(get(&f, "/v1/events?kind=task.red"), 400, HAS("\"where\":\"kind\""));
    expect(get(&f, "/v1/tasks/2/events"), 200, HAS("\"kind\":\"task.submitted\",\"task\":2"));
    api_close(&f);
}

/* Reads lines up to one that has the text. */
static void hear_until(int fd, const char *text)
{
    struct buf line = {0};

    do {
        if (!hear_line(fd, &line))
            fail_msg("'%s' did not come", text);
    } while (!strstr(line.data, text));
    buf_free(&line);
}

static int follow(struct api_fixture *f, const char *path, const char *headers)
{
    struct buf text = {0};
    struct answer a;
    int fd = dial(&f->http);

    buf_printf(&text, "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", path, headers);
    say(fd, text.data);
    a = hear_head(fd);
    assert_int_equal(a.status, 200);
    assert_true(header_in(&a, "Content-Type").len > 0);
    answer_free(&a);
    buf_free(&text);
    return fd;
}

static void events_are_followed(void **state)
{
    struct api_fixture f;
    int all, done, again;

    (void)state;
    api_open(&f, NULL);
    /* While nobody follows events are not read; who comes later gets them all the same. */
    for (int i = 0; i < 20; i++)
        expect(post(&f, "/v1/tasks", "{}"), 201, HAS_NOTHING);
    all = follow(&f, "/v1/events/follow?after=0", "");
    hear_until(all, "id: 1\n");
    hear_until(all, "event: task.submitted");
    hear_until(all, "data: {\"seq\":1,\"at\":");
    hear_until(all, "id: 40\n");
    done = follow(&f, "/v1/events/follow?kind=task.done", "");
    expect(post(&f, "/v1/tasks", "{}"), 201, HAS_NOTHING);
    hear_until(all, "id: 42\n");
    finish(&f, 3, REGISTRY_DONE, "1");
    hear_until(done, "\"kind\":\"task.done\",\"task\":3");
    hear_until(all, "\"kind\":\"task.done\",\"task\":3");
    /* One that reconnects goes on behind the last that it has seen. */
    again = follow(&f, "/v1/events/follow", "Last-Event-ID: 38\r\n");
    hear_until(again, "id: 39\n");
    hear_until(again, "\"kind\":\"task.done\",\"task\":3");
    close(all);
    close(done);
    close(again);
    api_close(&f);
}

/* As feeder.c has it: 5 ms between looks at the registry; and none while nobody follows. */
static void commits_that_come_soon_after_another_are_read_together(void **state)
{
    struct api_fixture f;
    struct instant start;
    int all;

    (void)state;
    api_open(&f, NULL);
    for (int i = 0; i < 50; i++)
        expect(post(&f, "/v1/tasks", "{}"), 201, HAS_NOTHING);
    assert_int_equal(f.readers, 0);
    all = follow(&f, "/v1/events/follow?after=100", "");
    expect(post(&f, "/v1/tasks", "{}"), 201, HAS_NOTHING);
    hear_until(all, "id: 102\n");
    f.readers = 0;
    start = loop_clock();
    for (int i = 0; i < 100; i++)
        expect(post(&f, "/v1/tasks", "{}"), 201, HAS_NOTHING);
    hear_until(all, "id: 302\n");
    assert_true(f.readers <= instant_diff(loop_clock(), start) / (5 * NS_PER_MS) + 2);
    close(all);
    api_close(&f);
}

static void status_and_health_are_told(void **state)
{
    struct api_fixture f;

    (void)state;
    api_open(&f, NULL);
    expect(post(&f, "/v1/tasks", "[{},{}]"), 201, HAS_NOTHING);
    expect(
        get(&f, "/v1/status"), 200,
        HAS("{\"version\":\"" WEIR_VERSION
            "\",\"state\":\"running\",\"started_at\":\"1970-01-01T00:00:01.000000Z\"",
            "\"uptime_s\":2.5,\"policy\":\"priority\",\"max_global_concurrency\":10,\"running\":3",
            "\"store\":{\"failing\":false,\"waiting\":0,\"commit_ms\":1.25}",
            "\"tasks\":{\"blocked\":0", "\"ready\":2", "\"pools\":[{\"name\":\"model\"",
            "\"last_event\":4}"));
    expect(get(&f, "/healthz"), 200, HAS("{\"status\":\"ok\"}"));
    expect(get(&f, "/readyz"), 200, HAS("{\"status\":\"ready\"}"));
    f.failing = true;
    expect(get(&f, "/readyz"), 503, HAS("the store takes nothing: the disk is full"));
    expect(get(&f, "/v1/status"), 200, HAS("\"message\":\"the disk is full\""));
    f.stopping = true;
    expect(get(&f, "/readyz"), 503, HAS("stopping"));
    api_close(&f);
}

static void history_is_told(void **state)
{
    struct api_fixture f;
    struct registry_op op = {.kind = REGISTRY_SAMPLE,
                             .sample = {.resolution_s = 10, .running = 7.5, .limit = 10}};

    (void)state;
    api_open(&f, NULL);
    op.sample.at_ns = loop_wall_clock_ns() - 60 * NS_PER_S;
    op.sample.utilisation = 0.75;
    apply(&f, &op);
    op.sample.pool = SLICE("model");
    op.sample.running = 2;
    apply(&f, &op);
    expect(get(&f, "/v1/history"), 200,
           HAS("[{\"at\":\"", "\"running\":7.5,\"limit\":10,\"utilisation\":0.75,\"started\":0"));
    expect(get(&f, "/v1/history?pool=model&resolution=10"), 200,
           HAS("\"pool\":\"model\",\"running\":2"));
    expect(get(&f, "/v1/history?from=2200-01-01T00:00:00Z"), 200, HAS("[]"));
    expect(get(&f, "/v1/history?resolution=60"), 400, HAS("10, 300 or 3600"));
    expect(get(&f, "/v1/history?from=yesterday"), 400, HAS("is not a time"));
    api_close(&f);
}

/* ---- what others write ---- */

/* As api.c has it: every 20 ms, and 20 at once. */
static void the_status_is_made_once_for_many_but_never_from_before_ones_own_change(void **state)
{
    struct instant start;
    struct api_fixture f;
    duration_ns took_ns;

    (void)state;
    api_open(&f, NULL);
    start = loop_clock();
    for (int i = 0; i < 200; i++)
        expect(get(&f, "/v1/status"), 200, HAS("\"running\":3"));
    took_ns = instant_diff(loop_clock(), start);
    assert_true(f.looks <= 20 + took_ns / (20 * NS_PER_MS) + 1);
    for (int i = 0; i < 50; i++) {
        char text[32];

        f.running = 100 + i;
        (void)snprintf(text, sizeof(text), "\"running\":%d,", 100 + i);
        if (i % 3 == 0)
            expect(post(&f, "/v1/pools/model/enable", ""), 200, HAS_NOTHING);
        else if (i % 3 == 1)
            expect(post(&f, "/v1/tasks", "{}"), 201, HAS_NOTHING);
        else
            api_changed(f.api);
        expect(get(&f, "/v1/status"), 200, HAS(text));
    }
    api_close(&f);
}

static enum weir_status show(void *ctx, struct buf *out, struct weir_error *err)
{
    (void)ctx;
    (void)err;
    buf_puts(out, "{\"pools\":{}}");
    return WEIR_OK;
}

static enum weir_status reload(void *ctx, struct buf *out, struct weir_error *err)
{
    (void)ctx;
    (void)out;
    return error_set(err, WEIR_E_INVALID, "weir.yml:3: there is no pool \"x\"");
}

static enum weir_status metrics(void *ctx, struct buf *out, bool openmetrics,
                                struct weir_error *err)
{
    (void)ctx;
    (void)err;
    buf_puts(out, openmetrics ? "# EOF\n" : "weir_up 1\n");
    return WEIR_OK;
}

static const struct api_file *find(void *ctx, const char *path)
{
    static const struct api_file page = {"text/html", {"<p>weir", 7}, "\"1\""};
    static const struct api_file script = {"text/javascript", {"run()", 5}, NULL};

    (void)ctx;
    return strcmp(path, "/") == 0 ? &page : strcmp(path, "/web/app.js") == 0 ? &script : NULL;
}

static void configuration_metrics_and_files_come_from_others(void **state)
{
    const struct api_options o = {
        .config_show = show, .config_reload = reload, .metrics_render = metrics, .web_find = find};
    struct api_fixture f;
    struct answer a;

    (void)state;
    api_open(&f, &o);
    expect(get(&f, "/v1/config"), 200, HAS("{\"pools\":{}}"));
    expect(post(&f, "/v1/config/reload", ""), 422, HAS("weir.yml:3"));
    a = get(&f, "/metrics");
    assert_true(header_is(&a, "Content-Type", "text/plain; version=0.0.4; charset=utf-8"));
    expect(a, 200, HAS("weir_up 1"));
    expect(ask_with(&f, "GET", "/metrics", NULL, "Accept: application/openmetrics-text\r\n",
                    (struct slice){0}),
           200, HAS("# EOF"));
    expect(get(&f, "/"), 200, HAS("<p>weir"));
    expect(get(&f, "/web/app.js"), 200, HAS("run()"));
    expect(get(&f, "/web/none.js"), 404, HAS_NOTHING);
    expect(get(&f, "/openapi.yaml"), 200, HAS("openapi: 3.1.0", "/v1/tasks/{id}/resolve:"));
    api_close(&f);
    api_open(&f, NULL);
    expect(get(&f, "/v1/config"), 404, HAS_NOTHING);
    expect(get(&f, "/metrics"), 404, HAS_NOTHING);
    expect(get(&f, "/"), 404, HAS_NOTHING);
    api_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pools_are_seen_and_changed),
        cmocka_unit_test(the_dispatcher_is_seen_and_changed),
        cmocka_unit_test(runners_are_seen_killed_and_beat),
        cmocka_unit_test(events_are_listed),
        cmocka_unit_test(events_are_followed),
        cmocka_unit_test(commits_that_come_soon_after_another_are_read_together),
        cmocka_unit_test(status_and_health_are_told),
        cmocka_unit_test(the_status_is_made_once_for_many_but_never_from_before_ones_own_change),
        cmocka_unit_test(history_is_told),
        cmocka_unit_test(configuration_metrics_and_files_come_from_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
