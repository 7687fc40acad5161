/*
 * From a submit to the start of its attempt, on a daemon that has nothing else to do, beside one
 * fdatasync.
 *
 *     serve_latency SOCKET FIFO FOLDER TIMES
 *
 * The worker (worker_echo json FIFO) writes into FIFO when it read a request, by the clock that
 * both share. The other clock stops there, so what counts is: the request goes out, is read, made
 * durable, chosen, recorded as started, given to the worker. In between as many times 4 KiB are
 * written into a file of FOLDER and synced.
 */
#include "servekit.h"

#include <fcntl.h>

#define BLOCK_BYTES 4096
#define BLOCKS      64
#define WARM_UP     20
#define PAUSE_US    2000

static struct serve_in in;

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double at_share(const double *sorted, uint64_t count, double share)
{
    return sorted[(uint64_t)(share * (double)(count - 1) + 0.5)];
}

static double sync_once_s(int file, off_t at)
{
    static char block[BLOCK_BYTES];
    double start_s = bench_now_s();

    if (pwrite(file, block, sizeof block, at) != sizeof block || fdatasync(file) != 0)
        bench_die("cannot write and sync");
    return bench_now_s() - start_s;
}

static double submit_once_s(int fd, int fifo)
{
    static const char request[] =
        "POST /v1/tasks HTTP/1.1\r\nHost: weir\r\nContent-Type: application/json\r\n"
        "Content-Length: 15\r\n\r\n{\"payload\":{ } ";
    double start_s = bench_now_s(), begun_s;

    serve_send(fd, request, sizeof request - 2);
    serve_send(fd, "}", 1);
    if (read(fifo, &begun_s, sizeof begun_s) != sizeof begun_s)
        bench_die("the worker says nothing");
    if (serve_answer(fd, &in) != 201)
        bench_die(in.body);
    return begun_s - start_s;
}

static void tell(const double *sorted, uint64_t count, const double *syncs)
{
    bench_tell("p50_us", 1e6 * at_share(sorted, count, 0.5));
    bench_tell("p99_us", 1e6 * at_share(sorted, count, 0.99));
    bench_tell("sync_p50_us", 1e6 * at_share(syncs, count, 0.5));
    bench_tell("sync_p99_us", 1e6 * at_share(syncs, count, 0.99));
    bench_tell("added_p99_ms",
               1e3 * (at_share(sorted, count, 0.99) - at_share(syncs, count, 0.99)));
}

int main(int argc, char **argv)
{
    uint64_t times = bench_number(argc, argv, 4);
    int fd = serve_connect(bench_text(argc, argv, 1));
    int fifo = open(bench_text(argc, argv, 2), O_RDWR), file;
    double *starts = calloc(times, sizeof *starts), *syncs = calloc(times, sizeof *syncs);
    char path[4096];

    snprintf(path, sizeof path, "%s/sync", bench_text(argc, argv, 3));
    file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fifo < 0 || file < 0 || !starts || !syncs)
        bench_die("cannot open the files");
    for (off_t i = 0; i < BLOCKS; i++) /* what is synced later makes no file longer */
        sync_once_s(file, i * BLOCK_BYTES);
    for (uint64_t i = 0; i < WARM_UP + times; i++) {
        double sync_s = sync_once_s(file, (off_t)(i % BLOCKS) * BLOCK_BYTES),
               start_s = submit_once_s(fd, fifo);

        if (i >= WARM_UP) {
            syncs[i - WARM_UP] = sync_s;
            starts[i - WARM_UP] = start_s;
        }
        usleep(PAUSE_US); /* its end is written, and it is idle again */
    }
    qsort(starts, times, sizeof *starts, compare);
    qsort(syncs, times, sizeof *syncs, compare);
    tell(starts, times, syncs);
    unlink(path);
    return 0;
}
