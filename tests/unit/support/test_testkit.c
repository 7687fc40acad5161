/*
 * What the other tests stand on: the helpers of tests/support.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/testkit.h"

static void a_folder_is_removed_with_all_in_it(void **state)
{
    char *dir = testkit_dir_make();
    char *inner = testkit_path(dir, "inner");
    char *file = testkit_path(inner, "file");
    char *copy = testkit_path(dir, "");

    (void)state;
    assert_int_equal(mkdir(inner, 0700), 0);
    testkit_file_write(file, "x", 1);
    testkit_dir_remove(dir);
    assert_int_equal(access(copy, F_OK), -1);
    testkit_free(inner);
    testkit_free(file);
    testkit_free(copy);
}

static void a_file_is_read_as_it_was_written(void **state)
{
    static char big[100 * 1000];
    char *dir = testkit_dir_make();
    char *path = testkit_path(dir, "file");
    size_t len = 1;
    char *bytes;

    (void)state;
    testkit_file_write(path, NULL, 0);
    bytes = testkit_file_read(path, &len);
    assert_int_equal(len, 0);
    testkit_free(bytes);

    memset(big, 'a', sizeof(big));
    big[3] = '\0';
    testkit_file_write(path, big, sizeof(big));
    bytes = testkit_file_read(path, &len);
    assert_int_equal(len, sizeof(big));
    assert_memory_equal(bytes, big, sizeof(big));
    assert_int_equal(bytes[len], '\0');
    testkit_free(bytes);
    testkit_free(path);
    testkit_dir_remove(dir);
}

static void a_free_port_can_be_bound(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons(testkit_port_free())};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    assert_int_not_equal(address.sin_port, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
}

static void waiting_for_a_descriptor_ends_at_the_event_or_the_deadline(void **state)
{
    int fds[2];

    (void)state;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_false(testkit_fd_wait(fds[0], POLLIN, 5));
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_true(testkit_fd_wait(fds[0], POLLIN, 5000));
    close(fds[0]);
    close(fds[1]);
}

static bool true_the_third_time(void *arg)
{
    return ++*(int *)arg == 3;
}

static bool never(void *arg)
{
    (void)arg;
    return false;
}

static void waiting_for_a_condition_ends_at_the_condition_or_the_deadline(void **state)
{
    int asked = 0;

    (void)state;
    assert_true(testkit_until(true_the_third_time, &asked, 5000));
    assert_int_equal(asked, 3);
    assert_false(testkit_until(never, NULL, 5));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_is_removed_with_all_in_it),
        cmocka_unit_test(a_file_is_read_as_it_was_written),
        cmocka_unit_test(a_free_port_can_be_bound),
        cmocka_unit_test(waiting_for_a_descriptor_ends_at_the_event_or_the_deadline),
        cmocka_unit_test(waiting_for_a_condition_ends_at_the_condition_or_the_deadline),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
