/* See spool.h. */
#include "cli/run/spool.h"

#include "cli/run/run.h"

void spool_init(struct spool *s, size_t max_bytes, int wake_fd)
{
    *s = (struct spool){.max_bytes = max_bytes, .wake_fd = wake_fd};
    pthread_mutex_init(&s->lock, NULL);
}

void spool_put(struct spool *s, struct slice line)
{
    bool first;

    pthread_mutex_lock(&s->lock);
    first = s->lines.len == 0;
    if (s->lines.len + line.len > s->max_bytes || !buf_reserve(&s->lines, line.len))
        s->dropped++;
    else
        buf_put_slice(&s->lines, line);
    s->lines.failed = false; /* the line that there was no memory for is counted */
    pthread_mutex_unlock(&s->lock);
    if (first)
        run_signal_fd(s->wake_fd);
}

bool spool_take(struct spool *s, struct buf *ret)
{
    struct buf taken;

    buf_clear(ret);
    pthread_mutex_lock(&s->lock);
    taken = s->lines;
    s->lines = *ret;
    *ret = taken;
    pthread_mutex_unlock(&s->lock);
    return ret->len > 0;
}

uint64_t spool_dropped(struct spool *s)
{
    uint64_t dropped;

    pthread_mutex_lock(&s->lock);
    dropped = s->dropped;
    pthread_mutex_unlock(&s->lock);
    return dropped;
}

void spool_free(struct spool *s)
{
    buf_free(&s->lines);
    pthread_mutex_destroy(&s->lock);
}
