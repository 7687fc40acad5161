/*
 * What the small C programs of the benchmarks share: a clock, their arguments, and how they end and
 * tell.
 *
 *     rows = bench_number(argc, argv, 1);
 *     start_s = bench_now_s();
 *     ...
 *     bench_tell("rows_per_s", (double)rows / (bench_now_s() - start_s));
 *
 * A program prints its figures as lines of NAME VALUE, which the harness reads, and exits 0 only
 * when it has checked that the work was really done.
 */
#ifndef BENCH_BENCHKIT_H
#define BENCH_BENCHKIT_H

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline double bench_now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline __attribute__((noreturn)) void bench_die(const char *what)
{
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
    exit(1);
}

/* The argument at a place, a number of at least 1. */
static inline uint64_t bench_number(int argc, char **argv, int at)
{
    char *end = NULL;
    unsigned long long n = 0;

    errno = 0;
    if (at < argc)
        n = strtoull(argv[at], &end, 10);
    if (n < 1 || errno || *end)
        bench_die("a number of at least 1 is missing among the arguments");
    return n;
}

static inline const char *bench_text(int argc, char **argv, int at)
{
    if (at >= argc)
        bench_die("an argument is missing");
    return argv[at];
}

static inline void bench_tell(const char *name, double value)
{
    printf("%s %.9g\n", name, value);
}

/* What the sum of the results of rows 0 .. rows-1 must be, when row i gives i + 1. */
static inline uint64_t bench_expected_sum(uint64_t rows)
{
    return rows % 2 ? rows * ((rows + 1) / 2) : (rows / 2) * (rows + 1);
}

#endif
