/*
 * Sessions: a table that finds them by name, those that are bound in the order of their last use,
 * and those that are lost in the order in which they were. A bound session that is in use may be in
 * its order still, from before, or not: whoever asks for the first one takes it out, and
 * affinity_leave() puts it back. A lost one is listed while it has no users.
 */
#include "core/worker/affinity.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/rng.h"
#include "core/worker/crew.h"
#include "core/worker/session_order.h"
#include "core/worker/session_table.h"

#include <assert.h>
#include <string.h>

struct affinity {
    struct affinity_options options;
    uint64_t key[2];
    size_t idle; /* bound, without users */
    struct session_table table;
    struct instant swept_at;
    struct instant oldest_at; /* no idle one was used more than a tick of the order before */
    bool sweeping;            /* a sweep has more to look at */
    struct affinity_counts counts;
    struct list lost; /* without users, by when they were lost */
    struct session_order order;
};

/* ---- SipHash-1-3 (Aumasson and Bernstein 2012) ---- */

struct sip {
    uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static void sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v1;
    s->v0 += s->v3;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 = rotate(s->v2, 32);
}

static void sip_take(struct sip *s, uint64_t word)
{
    s->v3 ^= word;
    sip_round(s);
    s->v0 ^= word;
}

static uint64_t hash_of(const struct affinity *a, const char *name, size_t len)
{
    struct sip s = {
        a->key[0] ^ UINT64_C(0x736f6d6570736575), a->key[1] ^ UINT64_C(0x646f72616e646f6d),
        a->key[0] ^ UINT64_C(0x6c7967656e657261), a->key[1] ^ UINT64_C(0x7465646279746573)};
    uint64_t word = 0;
    size_t i;

    for (i = 0; i + 8 <= len; i += 8) {
        memcpy(&word, name + i, 8);
        sip_take(&s, word);
    }
    word = 0;
    memcpy(&word, name + i, len - i);
    sip_take(&s, word | (uint64_t)len << 56);
    s.v2 ^= 0xff;
    for (i = 0; i < 3; i++)
        sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

/* ---- bindings ---- */

static void forget(struct affinity *a, struct session *s)
{
    assert(!s->worker && s->users == 0 && !s->listed && list_empty(&s->queue));
    session_table_remove(&a->table, hash_of(a, session_name(s), s->name_len), s);
}

static void unlist_lost(struct affinity *a, struct session *s)
{
    list_remove(&s->by_use);
    s->listed = false;
    a->counts.lost--;
}

/* It is lost, and nobody refers to it. */
static void remember_lost(struct affinity *a, struct session *s)
{
    list_push_back(&a->lost, &s->by_use);
    s->listed = true;
    a->counts.lost++;
    while (a->counts.lost > a->options.lost_max) {
        struct session *oldest = list_entry(list_front(&a->lost), struct session, by_use);

        unlist_lost(a, oldest);
        a->counts.forgotten++;
        forget(a, oldest);
    }
}

static void end_binding(struct affinity *a, struct session *s)
{
    assert(s->worker);
    s->worker->sessions--;
    s->worker = NULL;
    list_remove(&s->of_worker);
    session_order_drop(s);
    a->counts.bound--;
    s->lost = true;
    if (s->users > 0)
        return;
    a->idle--;
    remember_lost(a, s);
}

/* The idle one that was used the longest ago; there is one when any is idle. NULL: no looks are left. */
static struct session *oldest(struct affinity *a, size_t *looks)
{
    size_t had = *looks;
    struct session *s = session_order_first(&a->order, looks);

    a->counts.looks += had - *looks;
    if (s)
        a->oldest_at = s->used_at;
    return s;
}

/* Room for one more, unless all are in use. */
static void evict(struct affinity *a)
{
    while (a->counts.bound >= a->options.bound_max && a->idle > 0) {
        size_t looks = SIZE_MAX;

        a->counts.evictions++;
        end_binding(a, oldest(a, &looks));
    }
}

void affinity_options_init(struct affinity_options *o)
{
    *o = (struct affinity_options){
        .idle_ns = 300 * NS_PER_S,
        .sweep_ns = 60 * NS_PER_S,
        .bound_max = AFFINITY_BOUND_MAX,
        .lost_max = AFFINITY_LOST_MAX,
    };
}

enum weir_status affinity_options_check(const struct affinity_options *o, struct weir_error *err)
{
    if (o->idle_ns <= 0)
        return error_set(err, WEIR_E_INVALID, "session_idle is %g s; it must be above 0",
                         duration_seconds(o->idle_ns));
    if (o->sweep_ns <= 0)
        return error_set(err, WEIR_E_INVALID, "session_sweep is %g s; it must be above 0",
                         duration_seconds(o->sweep_ns));
    if (o->bound_max < 1)
        return error_set(err, WEIR_E_INVALID, "sessions_max is 0; it must be 1 or more");
    return WEIR_OK;
}

enum weir_status affinity_new(const struct affinity_options *o, struct instant now,
                              struct affinity **ret, struct weir_error *err)
{
    struct affinity *a = mem_calloc(1, sizeof *a);
    struct rng rng;

    if (!a || !session_table_init(&a->table)) {
        mem_free(a);
        return error_nomem(err);
    }
    a->options = *o;
    rng_seed(&rng, o->seed);
    a->key[0] = rng_u64(&rng);
    a->key[1] = rng_u64(&rng);
    list_init(&a->lost);
    session_order_init(&a->order, now);
    a->swept_at = now;
    a->oldest_at = now;
    *ret = a;
    return WEIR_OK;
}

static const char *check_unused(void *ctx, const struct session *s, uint32_t hash)
{
    (void)ctx;
    (void)hash;
    return s->users > 0 ? "a session has tasks" : NULL;
}

struct affinity *affinity_free(struct affinity *a)
{
    if (!a)
        return NULL;
    assert(!session_table_check(&a->table, check_unused, NULL));
    session_table_clear(&a->table);
    return mem_free(a);
}

struct session *affinity_find(struct affinity *a, const char *name, size_t len, struct instant now)
{
    uint64_t hash;
    struct session *s;

    assert(len >= 1 && len <= AFFINITY_NAME_BYTES_MAX);
    (void)now;
    hash = hash_of(a, name, len);
    s = session_table_find(&a->table, hash, name, len);
    if (!s)
        s = session_table_add(&a->table, hash, name, len);
    if (!s)
        return NULL;
    if (s->users++ == 0) {
        if (s->worker)
            a->idle--;
        else if (s->listed)
            unlist_lost(a, s);
    }
    return s;
}

void affinity_leave(struct affinity *a, struct session *s, struct instant now)
{
    assert(s->users > 0);
    if (--s->users > 0)
        return;
    s->used_at = now;
    s->telling = false;
    if (s->worker) {
        if (a->idle++ == 0)
            a->oldest_at = now;
        if (!s->listed)
            session_order_put(&a->order, s);
    } else if (s->lost) {
        remember_lost(a, s);
    } else {
        forget(a, s);
    }
}

void affinity_bind(struct affinity *a, struct session *s, struct worker *w, struct instant now)
{
    assert(!s->worker && s->users > 0);
    evict(a);
    if (s->lost)
        a->counts.rebinds++;
    else
        a->counts.misses++;
    s->worker = w;
    s->used_at = now;
    w->sessions++;
    list_push_back(&w->session_list, &s->of_worker);
    a->counts.bound++;
}

void affinity_use(struct affinity *a, struct session *s, bool hit, struct instant now)
{
    assert(s->users > 0);
    s->used_at = now;
    if (hit)
        a->counts.hits++;
}

bool affinity_take_lost(struct session *s)
{
    bool lost = s->lost;

    s->lost = false;
    s->telling = lost;
    return lost;
}

void affinity_untold(struct session *s)
{
    s->lost = s->lost || s->telling;
    s->telling = false;
}

void affinity_told(struct session *s)
{
    s->telling = false;
}

bool affinity_release(struct affinity *a, const char *name, size_t len, struct instant now)
{
    struct session *s = NULL;

    (void)now;
    if (len >= 1 && len <= AFFINITY_NAME_BYTES_MAX)
        s = session_table_find(&a->table, hash_of(a, name, len), name, len);
    if (!s || !s->worker)
        return false;
    a->counts.releases++;
    end_binding(a, s);
    return true;
}

void affinity_drop_worker(struct affinity *a, struct worker *w, struct instant now)
{
    struct list *node;

    (void)now;
    while ((node = list_front(&w->session_list))) {
        a->counts.worker_losses++;
        end_binding(a, list_entry(node, struct session, of_worker));
    }
    assert(w->sessions == 0);
}

struct instant affinity_when(const struct affinity *a)
{
    if (a->idle == 0)
        return INSTANT_NEVER;
    if (a->sweeping)
        return a->swept_at;
    return instant_max(instant_add(a->swept_at, a->options.sweep_ns),
                       instant_add(a->oldest_at, a->options.idle_ns));
}

void affinity_sweep(struct affinity *a, struct instant now)
{
    size_t looks = AFFINITY_SWEEP_LOOKS;
    struct session *s;

    a->swept_at = now;
    while ((s = oldest(a, &looks))) {
        if (instant_before(now, instant_add(s->used_at, a->options.idle_ns)))
            break;
        a->counts.expiries++;
        end_binding(a, s);
    }
    a->sweeping = !s && looks == 0;
}

struct affinity_counts affinity_counts(const struct affinity *a)
{
    struct affinity_counts counts = a->counts;

    counts.known = a->table.known;
    counts.probes = a->table.probes;
    return counts;
}

/* ---- checking ---- */

struct tallied {
    const struct affinity *a;
    size_t bound, idle, lost, bound_listed;
    size_t in_order;
};

static const char *check_session(void *ctx, const struct session *s, uint32_t hash)
{
    struct tallied *t = ctx;

    t->bound += s->worker != NULL;
    t->bound_listed += s->worker && s->listed;
    if ((uint32_t)hash_of(t->a, session_name(s), s->name_len) != hash)
        return "a session's hash is not its name's";
    if ((s->worker != NULL) == list_empty(&s->of_worker))
        return "a session is bound, and not in its worker's list, or the reverse";
    if (s->listed == list_empty(&s->by_use))
        return "a session says that it is on a list, and is on none, or the reverse";
    if (s->users > 0)
        return s->listed && !s->worker ? "a session with tasks could be forgotten" : NULL;
    if (!s->worker && !s->lost)
        return "a session that says nothing is remembered";
    t->idle += s->worker != NULL;
    t->lost += s->lost && !s->worker;
    if (s->worker && instant_before(instant_add(s->used_at, ORDER_TICK_NS), t->a->oldest_at))
        return "a session was used before the oldest one";
    return s->listed ? NULL : "a session without tasks is on no list";
}

static const char *check_in_order(void *ctx, const struct session *s)
{
    struct tallied *t = ctx;

    t->in_order++;
    return s->worker ? NULL : "a session that is not bound is among those that are";
}

static const char *check_lost(const struct affinity *a, size_t expected)
{
    size_t n = 0;

    list_foreach (node, &a->lost) {
        const struct session *s = list_entry(node, const struct session, by_use);

        n++;
        if (s->worker || s->users > 0 || !s->lost)
            return "a session that is not lost is among those that are";
    }
    return n == expected ? NULL : "the list of lost sessions has another length than there are";
}

const char *affinity_check(const struct affinity *a)
{
    struct tallied t = {.a = a};
    const char *wrong = session_table_check(&a->table, check_session, &t);

    if (!wrong)
        wrong = session_order_check(&a->order, check_in_order, &t);
    if (!wrong)
        wrong = check_lost(a, t.lost);
    if (wrong)
        return wrong;
    if (t.in_order != t.bound_listed)
        return "the order by use has another number of sessions than say that they are there";
    if (t.bound != a->counts.bound || t.idle != a->idle || t.lost != a->counts.lost)
        return "the counts of sessions are not what there is";
    if (t.lost > a->options.lost_max)
        return "more lost sessions are remembered than may be";
    return NULL;
}
