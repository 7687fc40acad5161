/*
 * The limit for rows through two threads: one atomic addition hands out a row, one flag says that
 * it is done.
 *
 *     rows_atomic ROWS
 *
 * All rows and results stand in memory from the start, nothing is bounded and nobody sleeps; no
 * program that takes rows from somewhere can do this. It says what the machine could do at most.
 */
#include "benchkit.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define THREADS 2

struct rows {
    uint64_t count;
    atomic_uint_fast64_t next;
    uint64_t *results;
    atomic_char *done;
};

static uint64_t row_work(uint64_t i)
{
    return i + 1;
}
static uint64_t (*volatile work_fn)(uint64_t) = row_work;

static void *worker(void *arg)
{
    uint64_t (*work)(uint64_t) = work_fn;
    struct rows *r = arg;
    uint64_t i;

    while ((i = atomic_fetch_add_explicit(&r->next, 1, memory_order_relaxed)) < r->count) {
        r->results[i] = work(i);
        atomic_store_explicit(&r->done[i], 1, memory_order_release);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct rows r = {.count = bench_number(argc, argv, 1)};
    pthread_t threads[THREADS];
    uint64_t sum = 0;
    double start_s;

    r.results = malloc(r.count * sizeof *r.results);
    r.done = malloc(r.count * sizeof *r.done);
    if (!r.results || !r.done)
        bench_die("no memory");
    /* Touched before the clock starts: page faults are not what is measured. */
    memset(r.results, 0, r.count * sizeof *r.results);
    memset((void *)r.done, 0, r.count * sizeof *r.done);
    start_s = bench_now_s();
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, worker, &r))
            bench_die("no thread");
    for (uint64_t i = 0; i < r.count; i++) {
        while (!atomic_load_explicit(&r.done[i], memory_order_acquire))
            sched_yield();
        sum += r.results[i];
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    bench_tell("rows_per_s", (double)r.count / (bench_now_s() - start_s));
    if (sum != bench_expected_sum(r.count))
        bench_die("wrong results");
    free(r.results);
    free((void *)r.done);
    return 0;
}
