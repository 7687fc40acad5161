/* What tests of `weir top` share: a model of a daemon that has something of everything, and screens as text. */
#ifndef UNIT_CLI_TOP_TOP_TEST_H
#define UNIT_CLI_TOP_TOP_TEST_H

#include "unit/cli/cli_test.h"

#include "base/json.h"
#include "cli/top/view.h"

#include <locale.h>

/* 2026-01-31T12:00:00Z */
#define NOW_NS (INT64_C(1769860800) * 1000000000)

static const char top_status_json[] =
    "{\"version\":\"0.1.0\",\"state\":\"running\",\"uptime_s\":185,\"policy\":\"priority\",\"max_"
    "global_concurrency\":10,"
    "\"running\":3,\"utilisation\":0.3,\"store\":{\"failing\":false},\"tasks\":{\"blocked\":2,"
    "\"scheduled\":0,\"ready\":12,"
    "\"running\":3,\"done\":40,\"failed\":1,\"cancelled\":0},\"pools\":["
    "{\"name\":\"sh\",\"kind\":\"command\",\"enabled\":true,\"draining\":false,\"max_concurrency\":"
    "4,\"limit\":4,\"running\":2,"
    "\"utilisation\":0.5,\"throttle\":{\"kind\":\"aimd\",\"delay_s\":0.5,\"reason\":\"refused\"},"
    "\"queue\":{\"ready\":10,\"failed\":1}},"
    "{\"name\":\"models\",\"kind\":\"process\",\"enabled\":false,\"draining\":false,\"max_"
    "concurrency\":2,\"limit\":2,"
    "\"running\":1,\"utilisation\":0.5,\"throttle\":{\"kind\":\"adaptive\",\"rate_per_s\":18.25},"
    "\"breaker\":{\"state\":\"open\"},\"workers\":{\"total\":2,\"idle\":1,\"busy\":1,\"starting\":"
    "0,\"unhealthy\":0},"
    "\"queue\":{\"ready\":2,\"failed\":0}}],\"last_event\":9}";

static const char top_runners_json[] =
    "[{\"id\":\"900\",\"task\":1,\"key\":\"alpha\",\"attempt\":1,\"pool\":\"sh\",\"pid\":4711,"
    "\"run_s\":62.5,\"progress\":0.5,"
    "\"text\":\"half of it\"},"
    "{\"id\":\"901\",\"task\":2,\"key\":\"Beta\",\"attempt\":2,\"pool\":\"sh\",\"pid\":4712,\"run_"
    "s\":3.25},"
    "{\"id\":\"902\",\"task\":3,\"key\":\"gamma\",\"attempt\":1,\"pool\":\"models\",\"worker\":7,"
    "\"run_s\":200}]";

static const char top_tasks_json[] =
    "{\"tasks\":[{\"id\":4,\"key\":\"delta\",\"state\":\"ready\",\"priority\":0,\"attempts\":1,"
    "\"ready_at\":\"2026-01-31T11:58:00.000000Z\"},"
    "{\"id\":5,\"key\":\"eps\",\"state\":\"blocked\",\"pool\":\"sh\",\"priority\":50,\"attempts\":"
    "0,\"blocked_by\":2,"
    "\"submitted_at\":\"2026-01-31T11:59:55.000000Z\"}],\"next\":null}";

static const char top_events_json[] =
    "{\"events\":[{\"seq\":9,\"at\":\"2026-01-31T11:59:59.5Z\",\"kind\":\"runner.failed\",\"task\":"
    "6,\"attempt\":3,"
    "\"pool\":\"sh\",\"duration_s\":0.25,\"detail\":{\"outcome\":\"failed\",\"status\":3}},"
    "{\"seq\":8,\"at\":\"2026-01-31T11:59:58Z\",\"kind\":\"task.ready\",\"task\":4}],\"next\":"
    "\"8\"}";

static inline void top_load_all(struct top_model *m)
{
    struct weir_error err = {0};

    assert_int_equal(top_load(m, TOP_POOLS, slice_of(top_status_json), &err), WEIR_OK);
    assert_int_equal(top_load(m, TOP_RUNNING, slice_of(top_runners_json), &err), WEIR_OK);
    assert_int_equal(top_load(m, TOP_TASKS, slice_of(top_tasks_json), &err), WEIR_OK);
    assert_int_equal(top_load(m, TOP_EVENTS, slice_of(top_events_json), &err), WEIR_OK);
}

/* The screen's lines, each with a line break; to be freed. */
static inline void top_screen_text(const struct top_model *m, struct top_ui *ui, size_t width,
                                   size_t height, struct buf *out)
{
    struct top_screen s = {.width = width, .height = height};

    buf_clear(out);
    top_draw(m, ui, NOW_NS, &s);
    assert_false(s.failed);
    for (size_t i = 0; i < s.count; i++) {
        buf_put(out, s.text.data + s.lines[i].at, s.lines[i].len);
        buf_putc(out, '\n');
    }
    top_screen_free(&s);
}

#endif
