/*
 * What tests need from the system: a folder of their own, a free port, a file's bytes, and waiting
 * for an event with a deadline instead of sleeping.
 *
 *     char *dir = testkit_dir_make();
 *     char *path = testkit_path(dir, "rows.jsonl");
 *     testkit_file_write(path, "{}\n", 3);
 *     ... assert_true(testkit_fd_wait(fd, POLLIN, 5000)); ...
 *     testkit_free(path);
 *     testkit_dir_remove(dir);
 *
 * Each call that cannot do its work fails the running cmocka test. Strings that are returned belong
 * to the caller. They are plain malloc()ed memory, so that an armed mem_fail_at() does not count
 * them. Any thread may call, except that only the test's own thread may fail a test.
 */
#ifndef SUPPORT_TESTKIT_H
#define SUPPORT_TESTKIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A new empty folder under TMPDIR. testkit_dir_remove() removes it with all in it, and frees the name. */
char *testkit_dir_make(void);
void testkit_dir_remove(char *dir);

/* "dir/name", to be freed with testkit_free(). */
char *testkit_path(const char *dir, const char *name);
void testkit_free(void *p);

/* The whole file, with a NUL after its bytes that *ret_len (may be NULL) does not count. */
char *testkit_file_read(const char *path, size_t *ret_len);
void testkit_file_write(const char *path, const void *bytes, size_t len);

/* A TCP port on 127.0.0.1 that nothing listens on at this moment. */
uint16_t testkit_port_free(void);

/* Waits until fd is ready for events (POLLIN, POLLOUT); false when the deadline passes first. */
bool testkit_fd_wait(int fd, short events, int deadline_ms);

/* Waits until condition(arg) is true; false when the deadline passes first. For what has no descriptor. */
bool testkit_until(bool (*condition)(void *arg), void *arg, int deadline_ms);

#endif
