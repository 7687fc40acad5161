/*
 * The rows of a batch: where their memory comes from and where it goes.
 *
 *     r = row_store_take(&rows, &row, large)   // a copy of the caller's row; only its index is missing
 *     row_store_count(&rows)                   // it was added
 *     ...                                      // the task is the engine's, then the taker's
 *     row_store_recycle(&rows, first, last)    // or release() of the task, from any thread
 *
 * Rows come and go by the million, between threads; so their memory is had in slabs, used again,
 * and freed with the batch: it is as much as the batch ever held at once, which its window bounds.
 * Small data lives in the row itself; for others row_store_large() is called before the adders'
 * lock is taken, so that nobody waits for a large copy.
 *
 * Threads: init and free by the batch's owner; recycle and release() from any; the others under the
 * adders' lock.
 */
#ifndef ENGINE_ROW_STORE_H
#define ENGINE_ROW_STORE_H

#include "core/task.h"
#include "weir/weir.h"

#include <pthread.h>

/* Data and key up to this many bytes together, with a NUL each, need no memory of their own. */
#define ROW_SMALL_BYTES 80
/* Room for a row's index as text. */
#define ROW_INDEX_TEXT_BYTES 24

struct row_store;

/* What the rows of a pool of workers have in common. */
struct row_worker {
    const char *command; /* of requests; NULL: the executor's default */
};

/* A row of a batch: the task, the row as its callback sees it, and the copies that it points to. */
struct public_row {
    struct core_task task;
    struct row_store *home;
    _Alignas(64) struct weir_row row;
    char small[ROW_SMALL_BYTES]; /* data and key, unless row.data is memory of their own */
};

struct row_slab;

struct row_store {
    /*
     * Of a pool of workers: each row has memory of its own, which begins with a struct
     * process_request, its payload; and its session is copied. NULL: the payload is the public_row.
     */
    const struct row_worker *worker;
    /* under the adders' lock */
    struct core_task *spare;              /* used before, and clean */
    struct public_row *fresh, *fresh_end; /* of the last slab: never used */
    struct row_slab *slabs;
    /* the text of the next index, counted up digit by digit: a row without a key needs it each time */
    char index_text[ROW_INDEX_TEXT_BYTES];
    uint32_t index_len;

    pthread_mutex_t lock;
    struct core_task *back; /* under `lock`: came back, clean */
};

/* worker: outlives the rows; NULL: they are not for workers. */
void row_store_init(struct row_store *rows, const struct row_worker *worker);
/* Everything that was taken has come back. */
void row_store_free(struct row_store *rows);

/* Whether the row needs memory of its own; then row_store_large() gives it, with the row's data in it, or NULL. */
bool row_store_needs_large(const struct row_store *rows, const struct weir_row *row);
char *row_store_large(const struct row_store *rows, const struct weir_row *row);
/* A copy of what the row says, with the next index as its key when it has none. large is the row's if (and only if) this succeeds. NULL: no memory. */
struct public_row *row_store_take(struct row_store *rows, const struct weir_row *row, char *large);
/* A row was added: the next one has the next index. */
void row_store_count(struct row_store *rows);

/* A task that was delivered in a run is used up: makes it clean, so that it can go into a chain for row_store_recycle(). */
static inline void row_store_clean(struct core_task *t);
/* Chain of clean tasks, from first to last. Any thread. */
void row_store_recycle(struct row_store *rows, struct core_task *first, struct core_task *last);

void row_store_forget(struct public_row *r);

static inline void row_store_clean(struct core_task *t)
{
    struct public_row *r = (struct public_row *)(void *)t;

    /* The key tells where the copies are: it is at hand, and the row itself may be far away. */
    if ((uintptr_t)t->key - (uintptr_t)r >= sizeof *r)
        row_store_forget(r);
    answer_clear_plain(&t->answer);
    task_init_again(t);
}

#endif
