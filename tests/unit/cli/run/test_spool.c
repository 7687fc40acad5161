/* Lines from one thread to another: none is lost, doubled or torn, and what nobody takes is bounded. */
#include "unit/cli/cli_test.h"

#include "base/mem.h"
#include "cli/run/run.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LINES 20000

static struct spool spool;
static int wake_fd;

static int make(void **state)
{
    (void)state;
    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    spool_init(&spool, 1000, wake_fd);
    return wake_fd >= 0 ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    spool_free(&spool);
    return close(wake_fd);
}

static void what_is_put_is_taken_once_and_in_order(void **state)
{
    struct buf taken = {0};
    uint64_t count;

    (void)state;
    assert_false(spool_take(&spool, &taken));
    spool_put(&spool, SLICE("a\n"));
    spool_put(&spool, SLICE("b\n"));
    assert_int_equal(read(wake_fd, &count, sizeof(count)), sizeof(count));
    assert_int_equal(count, 1); /* woken once, not for each line */
    assert_true(spool_take(&spool, &taken));
    assert_string_equal(taken.data, "a\nb\n");
    assert_false(spool_take(&spool, &taken));
    assert_int_equal(taken.len, 0);
    buf_free(&taken);
}

static void beyond_the_limit_lines_are_dropped_whole_and_counted(void **state)
{
    struct buf taken = {0};
    char line[400];

    (void)state;
    memset(line, 'x', sizeof(line));
    for (int i = 0; i < 5; i++)
        spool_put(&spool, (struct slice){line, sizeof(line)});
    assert_int_equal(spool_dropped(&spool), 3);
    assert_true(spool_take(&spool, &taken));
    assert_int_equal(taken.len, 800);
    spool_put(&spool, SLICE("again\n"));
    assert_true(spool_take(&spool, &taken));
    assert_string_equal(taken.data, "again\n");
    buf_free(&taken);
}

static void a_line_that_there_is_no_memory_for_is_counted(void **state)
{
    struct buf taken = {0};

    (void)state;
    mem_fail_at(1);
    spool_put(&spool, SLICE("a\n"));
    mem_fail_at(0);
    assert_int_equal(spool_dropped(&spool), 1);
    spool_put(&spool, SLICE("b\n"));
    assert_true(spool_take(&spool, &taken));
    assert_string_equal(taken.data, "b\n");
    buf_free(&taken);
}

static void *put_lines(void *ctx)
{
    char line[32];

    (void)ctx;
    for (int i = 0; i < LINES; i++) {
        uint64_t dropped;

        (void)snprintf(line, sizeof(line), "%d\n", i);
        do {
            dropped = spool_dropped(&spool);
            spool_put(&spool, slice_of(line));
        } while (spool_dropped(&spool) != dropped);
    }
    return NULL;
}

static void a_reader_that_sleeps_until_it_is_woken_sees_every_line(void **state)
{
    struct buf taken = {0};
    pthread_t thread;
    int next = 0;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, put_lines, NULL), 0);
    while (next < LINES) {
        struct pollfd p = {.fd = wake_fd, .events = POLLIN};
        uint64_t count;

        assert_int_equal(poll(&p, 1, 60000), 1);
        assert_int_equal(read(wake_fd, &count, sizeof(count)), sizeof(count));
        while (spool_take(&spool, &taken)) {
            char *at = taken.data;

            while (*at) {
                assert_int_equal(strtol(at, &at, 10), next++);
                assert_int_equal(*at++, '\n');
            }
        }
    }
    pthread_join(thread, NULL);
    buf_free(&taken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_put_is_taken_once_and_in_order, make, end),
        cmocka_unit_test_setup_teardown(beyond_the_limit_lines_are_dropped_whole_and_counted, make,
                                        end),
        cmocka_unit_test_setup_teardown(a_line_that_there_is_no_memory_for_is_counted, make, end),
        cmocka_unit_test_setup_teardown(a_reader_that_sleeps_until_it_is_woken_sees_every_line,
                                        make, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
