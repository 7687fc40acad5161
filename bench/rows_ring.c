/*
 * Rows through two threads by hand: one mutex, two condition variables, a ring of 1,024 rows that
 * puts them in order.
 *
 *     rows_ring ROWS
 *
 * What a careful engineer writes in an hour in place of a library: correct, in order, bounded, and
 * nothing besides: no metadata, no retries, no statistics.
 */
#include "benchkit.h"

#include <pthread.h>
#include <stdbool.h>

#define RING_ROWS 1024
#define THREADS   2

struct ring {
    pthread_mutex_t lock;
    pthread_cond_t work, head_done;
    uint64_t rows, submitted, taken, delivered;
    uint64_t *results; /* of all rows: whoever writes this by hand keeps them */
    bool done[RING_ROWS];
};

/* Through a pointer that the compiler cannot see through, as a callback is. */
static uint64_t row_work(uint64_t i)
{
    return i + 1;
}
static uint64_t (*volatile work_fn)(uint64_t) = row_work;

static void *worker(void *arg)
{
    uint64_t (*work)(uint64_t) = work_fn;
    struct ring *r = arg;

    pthread_mutex_lock(&r->lock);
    for (;;) {
        uint64_t i, result;

        while (r->taken == r->submitted && r->submitted < r->rows)
            pthread_cond_wait(&r->work, &r->lock);
        if (r->taken == r->submitted)
            break;
        i = r->taken++;
        pthread_mutex_unlock(&r->lock);
        result = work(i);
        pthread_mutex_lock(&r->lock);
        r->results[i] = result;
        r->done[i % RING_ROWS] = true;
        if (i == r->delivered)
            pthread_cond_signal(&r->head_done);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* Submits while there is room, takes in order what is done, and sleeps only when neither goes on. */
static uint64_t feed_and_take(struct ring *r)
{
    uint64_t sum = 0;

    pthread_mutex_lock(&r->lock);
    while (r->delivered < r->rows) {
        uint64_t before = r->submitted;

        while (r->submitted < r->rows && r->submitted - r->delivered < RING_ROWS)
            r->submitted++;
        if (r->submitted > before)
            pthread_cond_broadcast(&r->work);
        if (!r->done[r->delivered % RING_ROWS])
            pthread_cond_wait(&r->head_done, &r->lock);
        while (r->delivered < r->submitted && r->done[r->delivered % RING_ROWS]) {
            r->done[r->delivered % RING_ROWS] = false;
            sum += r->results[r->delivered++];
        }
    }
    pthread_cond_broadcast(&r->work);
    pthread_mutex_unlock(&r->lock);
    return sum;
}

int main(int argc, char **argv)
{
    static struct ring ring = {.lock = PTHREAD_MUTEX_INITIALIZER,
                               .work = PTHREAD_COND_INITIALIZER,
                               .head_done = PTHREAD_COND_INITIALIZER};
    pthread_t threads[THREADS];
    double start_s;
    uint64_t sum;

    ring.rows = bench_number(argc, argv, 1);
    ring.results = malloc(ring.rows * sizeof *ring.results);
    if (!ring.results)
        bench_die("no memory");
    /* Touched before the clock starts: page faults are not what is measured. */
    memset(ring.results, 0, ring.rows * sizeof *ring.results);
    start_s = bench_now_s();
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, worker, &ring))
            bench_die("no thread");
    sum = feed_and_take(&ring);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    bench_tell("rows_per_s", (double)ring.rows / (bench_now_s() - start_s));
    if (sum != bench_expected_sum(ring.rows))
        bench_die("wrong results");
    free(ring.results);
    return 0;
}
