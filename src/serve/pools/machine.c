/*
 * See machine.h. Both files are made by the kernel as they are read, a line or a few: no waiting.
 */
#include "serve/pools/machine.h"

#include "base/locale_c.h"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_BYTES_MAX 8192

static double parse_load(const char *text, unsigned processors)
{
    locale_t before = locale_c_enter();
    char *end;
    double load = strtod(text, &end);

    locale_c_leave(before);
    return end > text && load >= 0 && processors > 0 ? load / processors : -1;
}

static double parse_available(const char *text)
{
    static const char name[] = "MemAvailable:";

    for (const char *line = text; line; line = strchr(line, '\n')) {
        char *end;
        unsigned long long kib;

        line += *line == '\n';
        if (strncmp(line, name, sizeof name - 1) != 0)
            continue;
        kib = strtoull(line + sizeof name - 1, &end, 10);
        return end > line + sizeof name - 1 ? (double)kib / 1024 : -1;
    }
    return -1;
}

void machine_parse(const char *loadavg, const char *meminfo, unsigned processors,
                   struct machine *ret)
{
    ret->load = loadavg ? parse_load(loadavg, processors) : -1;
    ret->available_mib = meminfo ? parse_available(meminfo) : -1;
}

static bool read_file(const char *path, char text[FILE_BYTES_MAX])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return false;
    n = read(fd, text, FILE_BYTES_MAX - 1);
    (void)close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    return true;
}

static unsigned processors(void)
{
    cpu_set_t set;
    long online;

    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return (unsigned)CPU_COUNT(&set);
    online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (unsigned)online : 1;
}

void machine_read(struct machine *ret)
{
    char load[FILE_BYTES_MAX], memory[FILE_BYTES_MAX];
    bool has_load = read_file("/proc/loadavg", load);
    bool has_memory = read_file("/proc/meminfo", memory);

    machine_parse(has_load ? load : NULL, has_memory ? memory : NULL, processors(), ret);
}

double machine_reading(const struct machine *m, enum follow_what what)
{
    return what == FOLLOW_LOAD ? m->load : what == FOLLOW_MEMORY ? m->available_mib : -1;
}
