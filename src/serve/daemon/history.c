#include "serve/daemon/history.h"

#include "base/list.h"
#include "base/mem.h"

#include <string.h>

static const uint32_t resolutions_s[] = {10, 300, 3600};

#define RESOLUTIONS (sizeof resolutions_s / sizeof *resolutions_s)

/* One mean that is being made. */
struct mean {
    int64_t from_ns; /* its time begins there, a multiple of the resolution; 0: nothing yet */
    uint64_t looks;
    double running, limit, utilisation; /* sums */
    uint64_t started, finished, failed; /* at its begin, and what came since */
    uint64_t started_now, finished_now, failed_now;
};

struct tracked {
    struct mean means[RESOLUTIONS];
    struct mean done[RESOLUTIONS]; /* complete, and not taken yet; looks 0: none */
    int64_t seen_ns;
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

/* Another time has begun, forth or (the clock was set) back: what there was is complete. */
static void turn_over(struct tracked *t, size_t i, int64_t from_ns, const struct history_look *l)
{
    struct mean *m = &t->means[i];

    if (m->looks > 0)
        t->done[i] = *m;
    *m = (struct mean){.from_ns = from_ns,
                       .started = m->looks > 0 ? m->started_now : l->started,
                       .finished = m->looks > 0 ? m->finished_now : l->finished,
                       .failed = m->looks > 0 ? m->failed_now : l->failed};
}

bool history_look(struct history *h, const struct history_look *l, int64_t now_ns)
{
    struct tracked *t = find(h, l->pool);

    if (!t)
        return false;
    t->seen_ns = now_ns;
    for (size_t i = 0; i < RESOLUTIONS; i++) {
        int64_t from_ns = begin_of(now_ns, resolutions_s[i]);
        struct mean *m = &t->means[i];

        if (m->from_ns != from_ns)
            turn_over(t, i, from_ns, l);
        m->looks++;
        m->running += (double)l->running;
        m->limit += (double)l->limit;
        m->utilisation += l->limit > 0 ? (double)l->running / (double)l->limit : 0;
        m->started_now = l->started;
        m->finished_now = l->finished;
        m->failed_now = l->failed;
    }
    return true;
}

static uint64_t since(uint64_t now, uint64_t before)
{
    return now > before ? now - before : 0; /* a pool that was made anew counts from 0 */
}

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
        .started = since(m->started_now, m->started),
        .finished = since(m->finished_now, m->finished),
        .failed = since(m->failed_now, m->failed),
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
