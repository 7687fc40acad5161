/*
 * How often the disk can be made to keep something: 4 KiB written, fdatasync, again, for about a
 * second.
 *
 *     journal_fdatasync FOLDER
 *
 * The file has its size before the clock starts, as a journal has after its first transactions.
 */
#include "benchkit.h"

#include <fcntl.h>
#include <unistd.h>

#define PAGE_BYTES 4096
#define PAGES      256
#define MEASURE_S  1.0

int main(int argc, char **argv)
{
    static char page[PAGE_BYTES];
    char path[4096];
    uint64_t syncs = 0;
    double start_s;
    int fd;

    snprintf(path, sizeof path, "%s/sync", bench_text(argc, argv, 1));
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        bench_die(strerror(errno));
    memset(page, 'x', sizeof page);
    for (int i = 0; i < PAGES; i++)
        if (pwrite(fd, page, sizeof page, (off_t)i * PAGE_BYTES) != PAGE_BYTES)
            bench_die(strerror(errno));
    if (fsync(fd))
        bench_die(strerror(errno));
    start_s = bench_now_s();
    while (bench_now_s() - start_s < MEASURE_S) {
        off_t at = (off_t)(syncs % PAGES) * PAGE_BYTES;

        if (pwrite(fd, page, sizeof page, at) != PAGE_BYTES || fdatasync(fd))
            bench_die(strerror(errno));
        syncs++;
    }
    bench_tell("syncs_per_s", (double)syncs / (bench_now_s() - start_s));
    close(fd);
    unlink(path);
    return 0;
}
