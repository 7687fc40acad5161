/* See machine.h. */
#include "cli/command/machine.h"

#include "base/parse.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

/* /proc/meminfo has about 1.5 KiB; what is asked for is among its first lines. */
#define PROC_BYTES_MAX 4096

static bool read_file(const char *path, char room[PROC_BYTES_MAX], struct slice *ret)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got;

    if (fd < 0)
        return false;
    got = read(fd, room, PROC_BYTES_MAX);
    (void)close(fd);
    if (got <= 0)
        return false;
    *ret = (struct slice){room, (size_t)got};
    return true;
}

bool machine_read_load(struct slice text, double *ret)
{
    const char *space = text.len > 0 ? memchr(text.data, ' ', text.len) : NULL;
    char number[32];
    size_t len = space ? (size_t)(space - text.data) : 0;

    if (len == 0 || len >= sizeof(number))
        return false;
    memcpy(number, text.data, len);
    number[len] = '\0';
    return parse_number(number, 0, 1e9, ret, NULL) == WEIR_OK;
}

bool machine_read_free(struct slice text, uint64_t *ret)
{
    static const char name[] = "MemAvailable:";
    const char *at = text.len > 0 ? memmem(text.data, text.len, name, sizeof(name) - 1) : NULL;
    const char *end = text.data + text.len;
    uint64_t kib = 0;
    bool any = false;

    if (!at)
        return false;
    for (at += sizeof(name) - 1; at < end && *at == ' '; at++)
        ;
    for (; at < end && *at >= '0' && *at <= '9' && kib < UINT64_MAX / 100000; at++, any = true)
        kib = kib * 10 + (uint64_t)(*at - '0');
    if (!any || end - at < 3 || memcmp(at, " kB", 3) != 0)
        return false;
    *ret = kib * 1024;
    return true;
}

bool machine_load(double *ret)
{
    char room[PROC_BYTES_MAX];
    struct slice text;

    return read_file("/proc/loadavg", room, &text) && machine_read_load(text, ret);
}

bool machine_free_bytes(uint64_t *ret)
{
    char room[PROC_BYTES_MAX];
    struct slice text;

    return read_file("/proc/meminfo", room, &text) && machine_read_free(text, ret);
}

long machine_processors(void)
{
    cpu_set_t set;
    long n;

    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set);
    n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? n : 1;
}
