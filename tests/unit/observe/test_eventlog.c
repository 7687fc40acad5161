/*
 * The event log: what a line holds and what it never holds, when it is written, and what happens
 * when it cannot be.
 */
#include "observe/eventlog.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "core/worker/life.h"
#include "support/testkit.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* 2026-01-31T12:00:00Z, and an engine's clock that began an hour before. */
#define WALL_OFFSET_NS ((INT64_C(1769860800) - 3600) * NS_PER_S)
#define AT             ((struct instant){3600 * NS_PER_S + 7 * NS_PER_MS})

struct fixture {
    char *dir, *path;
};

static int make(void **state)
{
    static struct fixture f;

    f.dir = testkit_dir_make();
    f.path = testkit_path(f.dir, "events.jsonl");
    *state = &f;
    return 0;
}

static int drop(void **state)
{
    struct fixture *f = *state;

    testkit_free(f->path);
    testkit_dir_remove(f->dir);
    return 0;
}

static struct eventlog *open_log(const char *path, size_t buffer_bytes)
{
    struct eventlog_options o = {
        .path = path, .wall_offset_ns = WALL_OFFSET_NS, .buffer_bytes = buffer_bytes};
    struct weir_error err = {0};
    struct eventlog *log = NULL;

    if (eventlog_open(&o, &log, &err) != WEIR_OK)
        fail_msg("%s", err.message);
    return log;
}

static void tell(struct eventlog *log, const struct core_event *ev)
{
    struct core_observer *o = eventlog_observer(log);

    o->ops->event(o, ev);
}

static void tell_row(struct eventlog *log, uint64_t index)
{
    struct core_event ev = {.kind = EVENT_TASK_ACCEPTED,
                            .at = AT,
                            .pool = "p",
                            .batch = 1,
                            .index = index,
                            .key = "a key that is not so short"};

    tell(log, &ev);
}

static void close_ok(struct eventlog *log)
{
    struct weir_error err = {0};

    if (eventlog_close(log, &err) != WEIR_OK)
        fail_msg("%s", err.message);
}

static void the_file_is(const char *path, const char *expected)
{
    char *text = testkit_file_read(path, NULL);

    assert_string_equal(text, expected);
    testkit_free(text);
}

static void each_event_is_one_line_with_what_it_has(void **state)
{
    struct fixture *f = *state;
    struct eventlog *log = open_log(f->path, 0);
    struct throttle_state throttle, to;
    struct core_answer a;
    struct core_event ev = {.kind = EVENT_ATTEMPT_ENDED,
                            .at = AT,
                            .pool = "http",
                            .batch = 3,
                            .index = 7,
                            .key = "row-7",
                            .attempt = 2,
                            .answer = &a};

    answer_init(&a);
    a.outcome = WEIR_OUTCOME_CAPACITY;
    a.reason = WEIR_REASON_HTTP_STATUS;
    a.status = 429;
    answer_say(&a, "slow \"down\"");
    tell(log, &ev);
    ev.kind = EVENT_TASK_RETRY;
    ev.wait_ns = 1500 * NS_PER_MS + 20 * NS_PER_US;
    tell(log, &ev);
    ev = (struct core_event){.kind = EVENT_BATCH_OPENED, .at = AT, .pool = "http", .batch = 3};
    tell(log, &ev);
    ev = (struct core_event){
        .kind = EVENT_THROTTLE_CHANGED, .at = AT, .pool = "http", .detail = "50 ms: refused"};
    throttle_state_init(&throttle, THROTTLE_MODE_DELAY);
    to = throttle;
    to.delay_ns = 50 * NS_PER_MS;
    throttle_state_change(&throttle, AT, THROTTLE_REASON_REFUSED, &to);
    ev.throttle = &throttle;
    tell(log, &ev);
    to.mode = THROTTLE_MODE_RATE;
    to.rate_rps = 19.6;
    throttle_state_change(&throttle, AT, THROTTLE_REASON_FIRST_REFUSAL, &to);
    to.mode = THROTTLE_MODE_WINDOW;
    to.window = 32;
    throttle_state_change(&throttle, AT, THROTTLE_REASON_CONCURRENCY, &to);
    ev.detail = NULL;
    tell(log, &ev);
    close_ok(log);
    answer_clear(&a);
    the_file_is(
        f->path,
        "{\"time\":\"2026-01-31T12:00:00.007Z\",\"event\":\"attempt.ended\",\"pool\":\"http\","
        "\"batch\":3,"
        "\"index\":7,\"key\":\"row-7\",\"attempt\":2,\"outcome\":\"capacity\",\"reason\":\"http_"
        "status\","
        "\"status\":429,\"message\":\"slow \\\"down\\\"\"}\n"
        "{\"time\":\"2026-01-31T12:00:00.007Z\",\"event\":\"task.retry_scheduled\",\"pool\":"
        "\"http\","
        "\"batch\":3,\"index\":7,\"key\":\"row-7\",\"attempt\":2,\"outcome\":\"capacity\","
        "\"reason\":\"http_status\",\"status\":429,\"message\":\"slow "
        "\\\"down\\\"\",\"wait_ms\":1500.020}\n"
        "{\"time\":\"2026-01-31T12:00:00.007Z\",\"event\":\"batch.opened\",\"pool\":\"http\","
        "\"batch\":3}\n"
        "{\"time\":\"2026-01-31T12:00:00.007Z\",\"event\":\"throttle.changed\",\"pool\":\"http\","
        "\"reason\":\"refused\",\"mode\":\"delay\",\"delay_ms\":50.000,"
        "\"mode_before\":\"delay\",\"delay_before_ms\":0.000,\"changes\":1,"
        "\"detail\":\"50 ms: refused\"}\n"
        "{\"time\":\"2026-01-31T12:00:00.007Z\",\"event\":\"throttle.changed\",\"pool\":\"http\","
        "\"reason\":\"concurrency\",\"mode\":\"window\",\"rate_per_s\":19.600,\"window\":32,"
        "\"mode_before\":\"rate\",\"rate_before_per_s\":19.600,\"changes\":3}\n");
}

static void workers_and_breakers_say_from_what_to_what_why_and_after_how_long(void **state)
{
    static const struct worker_transition died = {.from = WORKER_BUSY,
                                                  .to = WORKER_TERMINATED,
                                                  .lasted_ns = 1500 * NS_PER_US,
                                                  .reason = "exited"};
    static const struct core_breaker_change opened = {
        .from = BREAKER_HALF_OPEN, .to = BREAKER_OPEN, .lasted_ns = 2 * NS_PER_S};
    struct fixture *f = *state;
    struct eventlog *log = open_log(f->path, 0);

    tell(log, &(struct core_event){.kind = EVENT_WORKER_TRANSITION,
                                   .at = AT,
                                   .pool = "p",
                                   .worker = 3,
                                   .transition = &died,
                                   .detail = "status 1"});
    tell(log,
         &(struct core_event){
             .kind = EVENT_WORKER_SAID, .at = AT, .pool = "p", .worker = 3, .detail = "a line"});
    tell(log, &(struct core_event){.kind = EVENT_BREAKER_CHANGED,
                                   .at = AT,
                                   .pool = "p",
                                   .breaker = &opened,
                                   .detail = "attempts fail"});
    tell(log, &(struct core_event){.kind = EVENT_ATTEMPT_STARTED,
                                   .at = AT,
                                   .pool = "p",
                                   .batch = 1,
                                   .key = "k",
                                   .attempt = 1,
                                   .worker = 4});
    close_ok(log);
    the_file_is(f->path,
                "{\"time\":\"2026-01-31T12:00:00.007Z\",\"event\":\"worker.transition\","
                "\"pool\":\"p\",\"worker\":3,\"from\":\"busy\",\"to\":\"terminated\","
                "\"lasted_ms\":1.500,\"reason\":\"exited\",\"detail\":\"status 1\"}\n"
                "{\"time\":\"2026-01-31T12:00:00.007Z\",\"event\":\"worker.said\",\"pool\":"
                "\"p\",\"worker\":3,\"detail\":\"a line\"}\n"
                "{\"time\":\"2026-01-31T12:00:00.007Z\",\"event\":\"breaker.changed\","
                "\"pool\":\"p\",\"from\":\"half_open\",\"to\":\"open\",\"lasted_ms\":2000.000,"
                "\"detail\":\"attempts fail\"}\n"
                "{\"time\":\"2026-01-31T12:00:00.007Z\",\"event\":\"attempt.started\","
                "\"pool\":\"p\",\"batch\":1,\"index\":0,\"key\":\"k\",\"attempt\":1,"
                "\"worker\":4}\n");
}

/* P10: neither the answer's bytes nor a URL, which may hold a token. */
static void no_secret_is_written(void **state)
{
    struct fixture *f = *state;
    struct eventlog *log = open_log(f->path, 0);
    struct core_answer a;
    struct core_event ev = {
        .kind = EVENT_TASK_FINISHED, .at = AT, .index = 0, .key = "k", .answer = &a};
    char *text;

    answer_init(&a);
    answer_say(&a, "cannot reach https://me:hush@host/v1?key=hush (as http://b/?hush) and ://hush");
    a.output = mem_strdup("hush");
    a.output_len = 4;
    a.request_id = mem_strdup("hush");
    ev.detail = "x wss://host/hush";
    tell(log, &ev);
    close_ok(log);
    answer_clear(&a);
    text = testkit_file_read(f->path, NULL);
    assert_null(strstr(text, "hush"));
    assert_non_null(strstr(text, "\"cannot reach (URL) (as (URL) and (URL)\""));
    assert_non_null(strstr(text, "\"detail\":\"x (URL)\""));
    testkit_free(text);
}

static void whatever_bytes_come_the_line_is_json(void **state)
{
    struct fixture *f = *state;
    struct eventlog *log = open_log(f->path, 0);
    struct core_answer a;
    struct core_event ev = {
        .kind = EVENT_TASK_FINISHED, .at = AT, .key = "\xff\n\"\\\t\x01", .answer = &a};
    struct json_fault fault;
    char *text;
    size_t len;

    answer_init(&a);
    answer_say(&a, "\x80 line\nbreak \xed\xa0\x80");
    ev.pool = "po\"ol";
    tell(log, &ev);
    close_ok(log);
    answer_clear(&a);
    text = testkit_file_read(f->path, &len);
    assert_int_equal(text[len - 1], '\n');
    assert_ptr_equal(memchr(text, '\n', len), text + len - 1);
    if (!json_check((struct slice){text, len - 1}, &fault))
        fail_msg("byte %zu: %s", fault.offset, fault.what);
    testkit_free(text);
}

static bool has_a_line(void *path)
{
    struct stat st;

    return stat(path, &st) == 0 && st.st_size > 0;
}

static void an_event_is_written_soon_without_being_asked(void **state)
{
    struct fixture *f = *state;
    struct eventlog *log = open_log(f->path, 0);

    tell_row(log, 1);
    assert_true(testkit_until(has_a_line, f->path, 20000));
    close_ok(log);
}

static void lines_are_added_to_what_is_there(void **state)
{
    struct fixture *f = *state;
    struct eventlog *log;
    char *text;

    testkit_file_write(f->path, "before\n", 7);
    log = open_log(f->path, 0);
    tell_row(log, 1);
    close_ok(log);
    text = testkit_file_read(f->path, NULL);
    assert_memory_equal(text, "before\n{", 8);
    testkit_free(text);
}

static void a_file_that_cannot_be_opened_is_said_at_once(void **state)
{
    struct fixture *f = *state;
    struct weir_error err = {0};
    struct eventlog *log = NULL;

    assert_int_equal(eventlog_open(&(struct eventlog_options){.path = f->dir}, &log, &err),
                     WEIR_E_IO);
    assert_non_null(strstr(err.message, f->dir));
    assert_null(log);
    assert_int_equal(eventlog_open(&(struct eventlog_options){0}, &log, &err), WEIR_E_INVALID);
    assert_int_equal(eventlog_open(NULL, &log, &err), WEIR_E_INVALID);
    assert_int_equal(eventlog_close(NULL, &err), WEIR_OK);
}

static void a_full_disk_is_counted_and_told_once_at_the_end(void **state)
{
    struct eventlog *log = open_log("/dev/full", 0);
    struct weir_error err = {0};

    (void)state;
    for (uint64_t i = 0; i < 5000; i++)
        tell_row(log, i);
    assert_int_equal(eventlog_close(log, &err), WEIR_E_IO);
    assert_non_null(strstr(err.message, "5000 events could not be written to /dev/full"));
    assert_non_null(strstr(err.message, "No space left"));
}

static uint64_t lines_of(const char *text)
{
    uint64_t lines = 0;

    for (; *text; text++)
        lines += *text == '\n';
    return lines;
}

static void a_disk_that_fills_up_leaves_no_half_line(void **state)
{
    struct fixture *f = *state;
    struct eventlog *log = open_log(f->path, 0);
    struct rlimit before, small;
    struct weir_error err = {0};
    unsigned long long missing;
    char *text;
    size_t len;

    getrlimit(RLIMIT_FSIZE, &before);
    small = (struct rlimit){.rlim_cur = 1000, .rlim_max = before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    for (uint64_t i = 0; i < 100; i++)
        tell_row(log, i);
    assert_int_equal(eventlog_close(log, &err), WEIR_E_IO);
    setrlimit(RLIMIT_FSIZE, &before);
    missing = strtoull(err.message, NULL, 10);
    text = testkit_file_read(f->path, &len);
    assert_true(len > 0 && len <= 1000);
    assert_int_equal(text[len - 1], '\n');
    assert_int_equal(lines_of(text) + missing, 100);
    testkit_free(text);
}

struct reading {
    int fd;
    struct buf text;
};

static void *read_to_end(void *arg)
{
    struct reading *r = arg;
    char part[4096];

    for (;;) {
        ssize_t n;

        if (!testkit_fd_wait(r->fd, POLLIN, 20000))
            return NULL;
        n = read(r->fd, part, sizeof part);
        if (n <= 0)
            return NULL;
        buf_put(&r->text, part, (size_t)n);
    }
}

/* Whoever reads the file can see where events are missing, and how many. */
static void a_reader_that_is_too_slow_is_told_what_is_missing(void **state)
{
    enum { ROWS = 20000 };
    struct fixture *f = *state;
    struct reading r = {.text = {0}};
    struct weir_error err = {0};
    struct eventlog *log;
    pthread_t reader;
    uint64_t next = 0, missing = 0;
    const char *line;
    size_t len;

    assert_int_equal(mkfifo(f->path, 0600), 0);
    r.fd = open(f->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(r.fd >= 0 && fcntl(r.fd, F_SETPIPE_SZ, 4096) > 0);
    log = open_log(f->path, 100000);
    for (uint64_t i = 0; i < ROWS; i++)
        tell_row(log, i);
    assert_int_equal(pthread_create(&reader, NULL, read_to_end, &r), 0);
    assert_int_equal(eventlog_close(log, &err), WEIR_E_IO);
    pthread_join(reader, NULL);
    close(r.fd);
    for (line = r.text.data; *line; line += len + 1) {
        struct slice text, value;
        int64_t n = -1;

        len = strcspn(line, "\n");
        assert_int_equal(line[len], '\n');
        text = (struct slice){line, len};
        assert_true(json_check(text, NULL));
        if (json_member(text, "count", &value)) {
            assert_true(json_int64(value, &n) && n > 0);
            missing += (uint64_t)n;
            next += (uint64_t)n;
            continue;
        }
        assert_true(json_member(text, "index", &value) && json_int64(value, &n));
        assert_int_equal(n, next);
        next++;
    }
    assert_int_equal(next, ROWS);
    assert_true(missing > 0);
    assert_int_equal(strtoull(err.message, NULL, 10), missing);
    buf_free(&r.text);
}

/* The reader is slow, and the worker does not stop: nothing of the rows is missing for that. */
static void a_worker_that_writes_without_end_pushes_no_row_out_of_the_record(void **state)
{
    enum { ROWS = 300 };
    struct core_event said = {
        .kind = EVENT_WORKER_SAID, .at = AT, .pool = "p", .worker = 1, .detail = "again and again"};
    struct fixture *f = *state;
    struct reading r = {.text = {0}};
    struct weir_error err = {0};
    struct eventlog *log;
    pthread_t reader;
    uint64_t rows = 0;

    assert_int_equal(mkfifo(f->path, 0600), 0);
    r.fd = open(f->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(r.fd >= 0 && fcntl(r.fd, F_SETPIPE_SZ, 4096) > 0);
    log = open_log(f->path, 100000);
    for (uint64_t i = 0; i < 20000; i++)
        tell(log, &said);
    for (uint64_t i = 0; i < ROWS; i++) {
        tell_row(log, i);
        tell(log, &said);
    }
    assert_int_equal(pthread_create(&reader, NULL, read_to_end, &r), 0);
    assert_int_equal(eventlog_close(log, &err), WEIR_E_IO);
    pthread_join(reader, NULL);
    close(r.fd);
    for (const char *at = r.text.data; (at = strstr(at, "task.accepted")); at++)
        rows++;
    assert_int_equal(rows, ROWS);
    buf_free(&r.text);
}

static void a_reader_that_goes_away_is_an_error_and_no_signal(void **state)
{
    struct fixture *f = *state;
    struct weir_error err = {0};
    struct eventlog *log;
    int fd;

    assert_int_equal(mkfifo(f->path, 0600), 0);
    fd = open(f->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    log = open_log(f->path, 0);
    close(fd);
    tell_row(log, 1);
    assert_int_equal(eventlog_close(log, &err), WEIR_E_IO);
    assert_non_null(strstr(err.message, "1 events"));
}

static void without_memory_events_are_missing_but_whole(void **state)
{
    struct fixture *f = *state;

    for (unsigned long n = 1; n < 12; n++) {
        struct eventlog *log = open_log(f->path, 0);
        struct weir_error err = {0};
        enum weir_status status;
        uint64_t missing = 0;
        char *text;
        size_t len;

        mem_fail_at(n);
        for (uint64_t i = 0; i < 200; i++)
            tell_row(log, i);
        mem_fail_at(0);
        status = eventlog_close(log, &err);
        if (status != WEIR_OK)
            missing = strtoull(err.message, NULL, 10);
        text = testkit_file_read(f->path, &len);
        assert_true(len == 0 || text[len - 1] == '\n');
        /* A line more says that some are missing. */
        assert_int_equal(lines_of(text), 200 - missing + (missing > 0));
        testkit_free(text);
        unlink(f->path);
    }
}

static void opening_survives_the_lack_of_memory(void **state)
{
    struct fixture *f = *state;
    struct eventlog_options o = {.path = f->path};

    for (unsigned long n = 1;; n++) {
        struct weir_error err = {0};
        struct eventlog *log = NULL;
        enum weir_status status;
        bool failed;

        mem_fail_at(n);
        status = eventlog_open(&o, &log, &err);
        failed = mem_has_failed();
        mem_fail_at(0);
        if (!failed) {
            assert_int_equal(status, WEIR_OK);
            close_ok(log);
            break;
        }
        assert_int_equal(status, WEIR_E_NOMEM);
        assert_null(log);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, make, drop)
    const struct CMUnitTest tests[] = {
        T(each_event_is_one_line_with_what_it_has),
        T(workers_and_breakers_say_from_what_to_what_why_and_after_how_long),
        T(no_secret_is_written),
        T(whatever_bytes_come_the_line_is_json),
        T(an_event_is_written_soon_without_being_asked),
        T(lines_are_added_to_what_is_there),
        T(a_file_that_cannot_be_opened_is_said_at_once),
        T(a_full_disk_is_counted_and_told_once_at_the_end),
        T(a_disk_that_fills_up_leaves_no_half_line),
        T(a_reader_that_is_too_slow_is_told_what_is_missing),
        T(a_worker_that_writes_without_end_pushes_no_row_out_of_the_record),
        T(a_reader_that_goes_away_is_an_error_and_no_signal),
        T(without_memory_events_are_missing_but_whole),
        T(opening_survives_the_lack_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
