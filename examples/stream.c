/*
 * Stream rows through a pool: one thread adds, another takes, and the batch never holds more than
 * its window.
 *
 * That is how ten million rows need no more memory than a thousand: weir_batch_add waits while the
 * window is full, and taking results makes room. A single thread can do both in turn, with wait =
 * false: on WEIR_E_AGAIN it takes a result.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <weir/weir.h>

enum { ROWS = 100000, WINDOW = 1000 };

/* How many steps the Collatz sequence takes from a number to 1: no two rows take equally long. */
static void collatz(void *ctx, const struct weir_row *row, struct weir_answer *answer)
{
    uint64_t n, steps = 0;

    (void)ctx;
    memcpy(&n, row->data, sizeof n);
    while (n != 1) {
        n = n % 2 ? 3 * n + 1 : n / 2;
        steps++;
    }
    weir_answer_ok(answer, &steps, sizeof steps);
}

static void *add_rows(void *arg)
{
    struct weir_batch *batch = arg;
    struct weir_error err;

    for (uint64_t n = 1; n <= ROWS; n++) {
        struct weir_row row = {.data = &n, .len = sizeof n}; /* copied: n may change afterwards */

        if (weir_batch_add(batch, &row, true, &err) != WEIR_OK) {
            fprintf(stderr, "stream: row %" PRIu64 ": %s\n", n, err.message);
            break;
        }
    }
    weir_batch_end(batch, NULL); /* without it the taker would wait for more */
    return NULL;
}

/* Takes results until there are no more. The order is that of the rows, so row k belongs to number k + 1. */
static uint64_t take_results(struct weir_batch *batch, uint64_t *ret_best, uint64_t *ret_steps)
{
    const struct weir_result *r; /* lent until the next call */
    struct weir_error err;
    enum weir_status status;
    uint64_t taken = 0, steps;

    while ((status = weir_batch_next(batch, -1, &r, &err)) == WEIR_OK) {
        if (r->submit_index != taken || r->output_len != sizeof steps)
            return 0;
        taken++;
        memcpy(&steps, r->output, sizeof steps);
        if (steps > *ret_steps) {
            *ret_steps = steps;
            *ret_best = taken;
        }
    }
    if (status != WEIR_E_END)
        fprintf(stderr, "stream: %s\n", err.message);
    return taken;
}

int main(void)
{
    uint64_t taken = 0, best = 0, steps = 0;
    struct weir_pool_options options;
    struct weir_batch_options window;
    struct weir_engine *engine = NULL;
    struct weir_batch *batch = NULL;
    struct weir_pool *pool;
    struct weir_error err;
    pthread_t adder;

    weir_pool_options_init(&options);
    options.size = 2;
    weir_batch_options_init(&window);
    window.window_rows = WINDOW;
    if (weir_open(NULL, &engine, &err) != WEIR_OK ||
        weir_pool_open_thread(engine, &options, collatz, NULL, &pool, &err) != WEIR_OK ||
        weir_batch_open(pool, &window, &batch, &err) != WEIR_OK) {
        fprintf(stderr, "stream: %s\n", err.message);
    } else if (pthread_create(&adder, NULL, add_rows, batch) == 0) {
        taken = take_results(batch, &best, &steps);
        pthread_join(adder, NULL);
        printf("%" PRIu64 " rows through a window of %d, in order\n", taken, WINDOW);
        printf("%" PRIu64 " takes the most steps: %" PRIu64 "\n", best, steps);
    }
    weir_batch_close(batch);
    weir_close(engine, NULL);
    return taken == ROWS && best == 77031 && steps == 350 ? 0 : 1;
}
