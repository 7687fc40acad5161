/*
 * Lines on their way from the engine's thread, which must not wait, to the main thread, which
 * writes them.
 *
 *     spool_init(&s, LIMIT, wake_fd);
 *     spool_put(&s, line);                  // the engine's thread: never waits; wakes the main thread
 *     if (spool_take(&s, &lines)) ...       // the main thread: all that has come; in place of what `lines` held
 *     spool_free(&s);
 *
 * At the limit (bytes that nobody has taken) lines are dropped, and counted.
 */
#ifndef CLI_RUN_SPOOL_H
#define CLI_RUN_SPOOL_H

#include "base/buf.h"
#include "base/slice.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct spool {
    pthread_mutex_t lock;
    struct buf lines;
    size_t max_bytes;
    uint64_t dropped; /* lines */
    int wake_fd;
};

void spool_init(struct spool *s, size_t max_bytes, int wake_fd);
void spool_put(struct spool *s, struct slice line);
/* False: nothing has come. */
bool spool_take(struct spool *s, struct buf *ret);
uint64_t spool_dropped(struct spool *s);
void spool_free(struct spool *s);

#endif
