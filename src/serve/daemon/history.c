#include "serve/daemon/history.h"

#include "base/list.h"
#include "base/mem.h"
#include "serve/api/utilisation.h"

#include <string.h>

static const uint32_t resolutions_s[] = {HISTORY_FINEST_S, 300, HISTORY_COARSEST_S};

#define RESOLUTIONS (sizeof resolutions_s / sizeof *resolutions_s)

/* One mean that is being made. */
struct mean {
    int64_t from_ns; /* its time begins there, a multiple of the resolution; 0: nothing yet */
    uint64_t looks;
    double running, limit, utilisation; /* sums */
    uint64_t started, finished, failed;
};

struct tracked {
    struct mean means[RESOLUTIONS];
    struct mean done[RESOLUTIONS]; /* complete, and not taken yet; looks 0: none */
    int64_t seen_ns;
    uint64_t started, finished, failed; /* at the last look */
    struct list link;
    char name[];
};

struct history {
    struct list pools;
};

struct history *history_new(void)
{
    struct history *h = mem_calloc(1, sizeof *h);

    if (h)
        list_init(&h->pools);
    return h;
}

void history_free(struct history *h)
{
    struct list *node;

    if (!h)
        return;
    while ((node = list_pop_front(&h->pools)))
        mem_free(list_entry(node, struct tracked, link));
    mem_free(h);
}

static struct tracked *find(struct history *h, struct slice name)
{
    struct tracked *t;

    list_foreach (node, &h->pools) {
        t = list_entry(node, struct tracked, link);
        if (slice_equal(slice_of(t->name), name))
            return t;
    }
    t = mem_calloc(1, sizeof *t + name.len + 1);
    if (!t)
        return NULL;
    if (name.len > 0)
        memcpy(t->name, name.data, name.len);
    list_push_back(&h->pools, &t->link);
    return t;
}

static int64_t begin_of(int64_t now_ns, uint32_t resolution_s)
{
    int64_t each_ns = (int64_t)resolution_s * NS_PER_S;

    return now_ns - now_ns % each_ns;
}

/* The mean of a resolution that a time belongs to. What there was is complete: another time has begun, forth or (the clock
 * was set) back. */
static struct mean *mean_at(struct tracked *t, size_t i, int64_t at_ns)
{
    int64_t from_ns = begin_of(at_ns, resolutions_s[i]);
    struct mean *m = &t->means[i];

    if (m->from_ns == from_ns)
        return m;
    if (m->looks > 0)
        t->done[i] = *m;
    *m = (struct mean){.from_ns = from_ns};
    return m;
}

/*
 * What came since the last look. A pool that was made anew counts from 0; the sum over all is less
 * by all that a pool had counted when that goes, and what came in that second is not known.
 */
static uint64_t since(const struct history_look *l, uint64_t now, uint64_t *last)
{
    uint64_t before = *last;

    *last = now;
    if (now >= before)
        return now - before;
    return l->pool.len > 0 ? now : 0;
}

bool history_look(struct history *h, const struct history_look *l, int64_t now_ns)
{
    struct tracked *t = find(h, l->pool);
    uint64_t started, finished, failed;

    if (!t)
        return false;
    t->seen_ns = now_ns;
    started = since(l, l->started, &t->started);
    finished = since(l, l->finished, &t->finished);
    failed = since(l, l->failed, &t->failed);
    for (size_t i = 0; i < RESOLUTIONS; i++) {
        struct mean *m = mean_at(t, i, now_ns);

        m->looks++;
        m->running += (double)l->running;
        m->limit += (double)l->limit;
        m->utilisation += utilisation_of((double)l->running, (double)l->limit);
        m->started += started;
        m->finished += finished;
        m->failed += failed;
    }
    return true;
}

/* ---- what a predecessor has seen ---- */

bool history_resume(struct history *h, const struct registry_sample *s, uint64_t looks)
{
    struct tracked *t = find(h, s->pool);
    double weight = (double)looks;

    if (!t)
        return false;
    for (size_t i = 0; i < RESOLUTIONS; i++) {
        struct mean *m = mean_at(t, i, s->at_ns);

        t->done[i].looks = 0; /* it was written */
        m->looks += looks;
        m->running += s->running * weight;
        m->limit += s->limit * weight;
        m->utilisation +=
            utilisation_of(s->utilisation, 1) * weight; /* older daemons let it be more */
        m->started += s->started;
        m->finished += s->finished;
        m->failed += s->failed;
    }
    return true;
}

void history_resumed(struct history *h, int64_t now_ns)
{
    list_foreach (node, &h->pools) {
        struct tracked *t = list_entry(node, struct tracked, link);

        t->seen_ns = now_ns;
        for (size_t i = 0; i < RESOLUTIONS; i++)
            (void)mean_at(t, i, now_ns);
        t->done[0].looks = 0; /* it is what was read */
    }
}

void history_end(struct history *h)
{
    list_foreach (node, &h->pools) {
        struct tracked *t = list_entry(node, struct tracked, link);

        for (size_t i = 0; i < RESOLUTIONS; i++) {
            if (t->means[i].looks > 0)
                t->done[i] = t->means[i];
            t->means[i] = (struct mean){0};
        }
    }
}

uint64_t history_looks(const struct history *h, int64_t *ret_from_ns)
{
    list_foreach (node, &h->pools) {
        const struct tracked *t = list_entry(node, struct tracked, link);

        if (t->name[0])
            continue;
        *ret_from_ns = t->means[0].from_ns;
        return t->means[0].looks;
    }
    return 0;
}

/* ---- what is written ---- */

static void put(const struct tracked *t, size_t i, const struct mean *m,
                struct registry_sample *ret)
{
    double looks = (double)m->looks;

    *ret = (struct registry_sample){
        .at_ns = m->from_ns,
        .resolution_s = resolutions_s[i],
        .pool = slice_of(t->name),
        .running = m->running / looks,
        .limit = m->limit / looks,
        .utilisation = m->utilisation / looks,
        .started = m->started,
        .finished = m->finished,
        .failed = m->failed,
    };
}

bool history_take(struct history *h, int64_t now_ns, struct registry_sample *ret)
{
    list_foreach_safe (node, &h->pools) {
        struct tracked *t = list_entry(node, struct tracked, link);

        for (size_t i = 0; i < RESOLUTIONS; i++) {
            if (t->done[i].looks == 0)
                continue;
            put(t, i, &t->done[i], ret);
            t->done[i].looks = 0;
            return true;
        }
        /* A pool that is gone: an hour later nothing of it is left to be told. */
        if (now_ns - t->seen_ns > 2 * 3600 * NS_PER_S) {
            list_remove(&t->link);
            mem_free(t);
        }
    }
    return false;
}
