/*
 * The helpers of testkit.h. Everything here may block the test for at most the deadline it was
 * given.
 */
#include "support/testkit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define TESTKIT_POLL_MS    2
#define TESTKIT_OPEN_FILES 16

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

char *testkit_path(const char *dir, const char *name)
{
    char *path = NULL;

    if (asprintf(&path, "%s/%s", dir, name) < 0)
        fail_msg("no memory for a path");
    return path;
}

void testkit_free(void *p)
{
    free(p);
}

char *testkit_dir_make(void)
{
    const char *tmp = getenv("TMPDIR");
    char *dir = testkit_path(tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp", "weir-XXXXXX");

    if (mkdtemp(dir) == NULL)
        fail_msg("mkdtemp %s: %s", dir, strerror(errno));
    return dir;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

void testkit_dir_remove(char *dir)
{
    if (dir == NULL)
        return;
    if (nftw(dir, remove_entry, TESTKIT_OPEN_FILES, FTW_DEPTH | FTW_PHYS) != 0)
        fail_msg("cannot remove %s: %s", dir, strerror(errno));
    free(dir);
}

char *testkit_file_read(const char *path, size_t *ret_len)
{
    char *bytes = NULL;
    size_t len = 0;
    size_t room = 0;
    size_t got = 0;
    FILE *file = fopen(path, "rbe");

    if (file == NULL)
        fail_msg("open %s: %s", path, strerror(errno));
    do {
        len += got;
        if (room - len < 2) {
            room = room * 2 + 4096;
            bytes = realloc(bytes, room);
            if (bytes == NULL)
                fail_msg("no memory for %s", path);
        }
        got = fread(bytes + len, 1, room - len - 1, file);
    } while (got > 0);
    if (ferror(file) != 0)
        fail_msg("read %s: %s", path, strerror(errno));
    fclose(file);
    bytes[len] = '\0';
    if (ret_len != NULL)
        *ret_len = len;
    return bytes;
}

void testkit_file_write(const char *path, const void *bytes, size_t len)
{
    FILE *file = fopen(path, "wbe");

    if (file == NULL)
        fail_msg("open %s: %s", path, strerror(errno));
    if (len > 0 && fwrite(bytes, 1, len, file) != len)
        fail_msg("write %s: %s", path, strerror(errno));
    if (fclose(file) != 0)
        fail_msg("close %s: %s", path, strerror(errno));
}

uint16_t testkit_port_free(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0)
        fail_msg("no free port: %s", strerror(errno));
    close(fd);
    return ntohs(address.sin_port);
}

bool testkit_fd_wait(int fd, short events, int deadline_ms)
{
    int64_t end_ms = now_ms() + deadline_ms;
    struct pollfd entry = {.fd = fd, .events = events};

    for (;;) {
        int64_t left_ms = end_ms - now_ms();
        int ready = poll(&entry, 1, left_ms > 0 ? (int)left_ms : 0);

        if (ready > 0)
            return true;
        if (ready == 0)
            return false;
        if (errno != EINTR)
            fail_msg("poll: %s", strerror(errno));
    }
}

bool testkit_until(bool (*condition)(void *arg), void *arg, int deadline_ms)
{
    int64_t end_ms = now_ms() + deadline_ms;

    while (!condition(arg)) {
        if (now_ms() >= end_ms)
            return condition(arg);
        poll(NULL, 0, TESTKIT_POLL_MS);
    }
    return true;
}
