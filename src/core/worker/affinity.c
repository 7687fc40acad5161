/*
 * Sessions: a hash table that finds them by name, and two lists by last use, of those that are bound and of those that
 * are lost. A session with users is on neither list, so whatever is in front may end.
 *
 * The table grows by linear hashing: with each session beyond one per chain, one chain is split in two. With n chains,
 * 2^k <= n < 2^(k+1), the chain of a hash is its lower k + 1 bits when there is such a chain, else its lower k bits.
 */
#include "core/worker/affinity.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/rng.h"
#include "core/worker/crew.h"

#include <assert.h>
#include <string.h>

#define CHAINS_MIN 16

struct affinity {
    struct affinity_options options;
    uint64_t key[2];
    struct session **chains;
    size_t chain_count, chain_cap; /* chain_cap: that there is memory for */
    struct list bound, lost;       /* without users, by last use */
    struct instant swept_at;
    struct affinity_counts counts;
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

/* ---- the table ---- */

/* The largest power of two that is not above n; n >= 1. */
static size_t power_below(size_t n)
{
    return (size_t)1 << (63 - __builtin_clzll(n));
}

static struct session **chain_of(const struct affinity *a, uint64_t hash)
{
    size_t low = power_below(a->chain_count);
    size_t at = hash & (2 * low - 1);

    return &a->chains[at < a->chain_count ? at : at & (low - 1)];
}

/* One chain more, when there are more sessions than chains. Without memory the chains only get longer. */
static void grow(struct affinity *a)
{
    struct session **from, **to, *s;
    size_t low;

    if (a->counts.known <= a->chain_count)
        return;
    if (a->chain_count == a->chain_cap) {
        struct session **chains = mem_realloc(a->chains, 2 * a->chain_cap * sizeof *chains);

        if (!chains)
            return;
        a->chains = chains;
        a->chain_cap *= 2;
    }
    low = power_below(a->chain_count);
    from = &a->chains[a->chain_count - low];
    to = &a->chains[a->chain_count];
    *to = NULL;
    a->chain_count++;
    while ((s = *from)) {
        if (s->hash & low) {
            *from = s->next;
            s->next = *to;
            *to = s;
        } else {
            from = &s->next;
        }
    }
}

static struct session *look_up(struct affinity *a, const char *name, size_t len, uint64_t hash)
{
    for (struct session *s = *chain_of(a, hash); s; s = s->next) {
        a->counts.probes++;
        if (s->hash == hash && s->name_len == len && memcmp(s->name, name, len) == 0)
            return s;
    }
    return NULL;
}

static void forget(struct affinity *a, struct session *s)
{
    struct session **at = chain_of(a, s->hash);

    assert(!s->worker && s->users == 0 && list_empty(&s->queue));
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    list_remove(&s->by_use);
    a->counts.known--;
    mem_free(s);
}

static struct session *make(struct affinity *a, const char *name, size_t len, uint64_t hash)
{
    struct session *s = mem_alloc(sizeof *s + len + 1);
    struct session **chain;

    if (!s)
        return NULL;
    *s = (struct session){.used_at = INSTANT_NONE, .hash = hash, .name_len = len};
    list_init(&s->queue);
    list_init(&s->by_use);
    list_init(&s->of_worker);
    memcpy(s->name, name, len);
    s->name[len] = '\0';
    chain = chain_of(a, hash);
    s->next = *chain;
    *chain = s;
    a->counts.known++;
    grow(a);
    return s;
}

/* ---- bindings ---- */

static struct session *session_by_use(struct list *node)
{
    return list_entry(node, struct session, by_use);
}

/* It is lost, and nobody refers to it. */
static void remember_lost(struct affinity *a, struct session *s)
{
    list_push_back(&a->lost, &s->by_use);
    a->counts.lost++;
    while (a->counts.lost > a->options.lost_max) {
        a->counts.lost--;
        a->counts.forgotten++;
        forget(a, session_by_use(list_front(&a->lost)));
    }
}

static void end_binding(struct affinity *a, struct session *s)
{
    assert(s->worker);
    s->worker->sessions--;
    s->worker = NULL;
    list_remove(&s->of_worker);
    list_remove(&s->by_use);
    a->counts.bound--;
    s->lost = true;
    if (s->users == 0)
        remember_lost(a, s);
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

    if (a)
        a->chains = mem_calloc(CHAINS_MIN, sizeof(struct session *));
    if (!a || !a->chains) {
        mem_free(a);
        return error_nomem(err);
    }
    a->options = *o;
    rng_seed(&rng, o->seed);
    a->key[0] = rng_u64(&rng);
    a->key[1] = rng_u64(&rng);
    a->chain_count = a->chain_cap = CHAINS_MIN;
    list_init(&a->bound);
    list_init(&a->lost);
    a->swept_at = now;
    *ret = a;
    return WEIR_OK;
}

struct affinity *affinity_free(struct affinity *a)
{
    if (!a)
        return NULL;
    for (size_t i = 0; i < a->chain_count; i++) {
        struct session *s;

        while ((s = a->chains[i])) {
            assert(s->users == 0);
            a->chains[i] = s->next;
            mem_free(s);
        }
    }
    mem_free(a->chains);
    return mem_free(a);
}

struct session *affinity_find(struct affinity *a, const char *name, size_t len, struct instant now)
{
    uint64_t hash;
    struct session *s;

    assert(len >= 1 && len <= AFFINITY_NAME_BYTES_MAX);
    (void)now;
    hash = hash_of(a, name, len);
    s = look_up(a, name, len, hash);
    if (!s)
        s = make(a, name, len, hash);
    if (!s)
        return NULL;
    if (s->users++ == 0) {
        if (s->lost && !s->worker)
            a->counts.lost--;
        list_remove(&s->by_use);
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
    if (s->worker)
        list_push_back(&a->bound, &s->by_use);
    else if (s->lost)
        remember_lost(a, s);
    else
        forget(a, s);
}

void affinity_bind(struct affinity *a, struct session *s, struct worker *w, struct instant now)
{
    struct list *oldest;

    assert(!s->worker && s->users > 0);
    while (a->counts.bound >= a->options.bound_max && (oldest = list_front(&a->bound))) {
        a->counts.evictions++;
        end_binding(a, session_by_use(oldest));
    }
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
        s = look_up(a, name, len, hash_of(a, name, len));
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
    const struct session *oldest;

    if (list_empty(&a->bound))
        return INSTANT_NEVER;
    oldest = list_entry(a->bound.next, const struct session, by_use);
    return instant_max(instant_add(a->swept_at, a->options.sweep_ns),
                       instant_add(oldest->used_at, a->options.idle_ns));
}

void affinity_sweep(struct affinity *a, struct instant now)
{
    struct list *node;

    a->swept_at = now;
    while ((node = list_front(&a->bound))) {
        struct session *s = session_by_use(node);

        if (instant_before(now, instant_add(s->used_at, a->options.idle_ns)))
            break;
        a->counts.expiries++;
        end_binding(a, s);
    }
}

struct affinity_counts affinity_counts(const struct affinity *a)
{
    return a->counts;
}

/* ---- checking ---- */

struct tallied {
    size_t known, bound, bound_idle, lost_idle;
};

static const char *check_session(const struct affinity *a, const struct session *s,
                                 struct tallied *t)
{
    bool listed = !list_empty(&s->by_use);

    t->known++;
    t->bound += s->worker != NULL;
    if (hash_of(a, s->name, s->name_len) != s->hash)
        return "a session's hash is not its name's";
    if ((s->worker != NULL) == list_empty(&s->of_worker))
        return "a session is bound, and not in its worker's list, or the reverse";
    if (s->users > 0)
        return listed ? "a session with tasks could be forgotten" : NULL;
    if (!s->worker && !s->lost)
        return "a session that says nothing is remembered";
    t->bound_idle += s->worker != NULL;
    t->lost_idle += s->lost && !s->worker;
    return listed ? NULL : "a session without tasks is on no list";
}

static const char *check_list(const struct list *head, bool bound, size_t expected)
{
    struct instant before = INSTANT_NONE;
    size_t n = 0;

    list_foreach (node, head) {
        const struct session *s = list_entry(node, const struct session, by_use);

        n++;
        if ((s->worker != NULL) != bound || s->users > 0)
            return "a session is on the wrong list";
        if (bound && instant_before(s->used_at, before))
            return "the sessions are not in the order of their last use";
        before = s->used_at;
    }
    return n == expected ? NULL : "a list of sessions has another length than there are such";
}

const char *affinity_check(const struct affinity *a)
{
    struct tallied t = {0};
    const char *wrong = NULL;

    for (size_t i = 0; i < a->chain_count && !wrong; i++) {
        for (const struct session *s = a->chains[i]; s && !wrong; s = s->next) {
            if (chain_of(a, s->hash) != &a->chains[i])
                return "a session is in the wrong chain";
            wrong = check_session(a, s, &t);
        }
    }
    if (!wrong)
        wrong = check_list(&a->bound, true, t.bound_idle);
    if (!wrong)
        wrong = check_list(&a->lost, false, t.lost_idle);
    if (wrong)
        return wrong;
    if (t.known != a->counts.known || t.bound != a->counts.bound || t.lost_idle != a->counts.lost)
        return "the counts of sessions are not what there is";
    if (t.lost_idle > a->options.lost_max)
        return "more lost sessions are remembered than may be";
    return NULL;
}
