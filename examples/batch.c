/*
 * Run some rows and wait for all of them: the shortest use of libweir.
 *
 *     cc batch.c $(pkg-config --cflags --libs weir) -o batch && ./batch
 *
 * Four threads work on ten rows. The results come back in the order of the rows, whatever the order
 * in which they were done, and a row that failed keeps its place.
 */
#include <stdio.h>
#include <string.h>
#include <weir/weir.h>

/* Does one row. Runs on several threads at once, so it touches nothing but its row and its answer. */
static void reverse(void *ctx, const struct weir_row *row, struct weir_answer *answer)
{
    const char *text = row->data;
    char reversed[64];

    (void)ctx;
    if (row->len == 0 || row->len > sizeof reversed) {
        /* Not retryable: it would be the same next time. The row's result says so; the others go on. */
        weir_answer_failed(answer, false, 0, "a word has 1 to 64 letters");
        return;
    }
    for (size_t i = 0; i < row->len; i++)
        reversed[i] = text[row->len - 1 - i];
    weir_answer_ok(answer, reversed, row->len); /* copied */
}

static int show(const struct weir_results *results)
{
    int failed = 0;

    printf("%-5s %-8s %-8s %-8s %s\n", "row", "key", "outcome", "done as", "output or error");
    for (size_t i = 0; i < results->count; i++) {
        const struct weir_result *r = &results->items[i];

        printf("%-5zu %-8s %-8s %-8llu %s\n", i, r->key, weir_outcome_name(r->outcome),
               (unsigned long long)r->complete_index,
               r->outcome == WEIR_OUTCOME_OK ? (const char *)r->output : r->message);
        failed += r->outcome != WEIR_OUTCOME_OK;
    }
    return failed;
}

int main(void)
{
    static const char *const words[] = {"never", "odd",   "or",     "",    "even",
                                        "level", "radar", "stream", "dam", "weir"};
    enum { COUNT = sizeof words / sizeof *words };
    struct weir_row rows[COUNT] = {0};
    struct weir_pool_options options;
    struct weir_engine *engine = NULL;
    struct weir_results *results = NULL;
    struct weir_pool *pool;
    struct weir_error err;
    int failed = -1;

    for (size_t i = 0; i < COUNT; i++) {
        rows[i].data = words[i];
        rows[i].len = strlen(words[i]);
        rows[i].key = words[i][0] ? words[i] : NULL; /* NULL: the row's number */
    }
    weir_pool_options_init(&options);
    options.size = 4;
    if (weir_open(NULL, &engine, &err) != WEIR_OK ||
        weir_pool_open_thread(engine, &options, reverse, NULL, &pool, &err) != WEIR_OK ||
        weir_run(pool, rows, COUNT, NULL, &results, &err) != WEIR_OK) {
        fprintf(stderr, "batch: %s\n", err.message);
    } else {
        failed = show(results);
        printf("\n%d of %d rows failed; at most %llu ran at once\n", failed, COUNT,
               (unsigned long long)results->stats.pool_stats.max_concurrent_reached);
    }
    weir_results_free(results); /* NULL is fine, here and below */
    weir_close(engine, NULL);
    return failed == 1 ? 0 : 1; /* the empty word, and no other */
}
