/*
 * Permits: the right to run one attempt. All counts of what runs live here and nowhere else (I1).
 *
 * A permit counts against every limit at once: the global one, its pool's, the pool's quotas of cpu
 * and memory, its share that is reserved for others, and the named slots that the attempt asks for.
 * It is taken whole or not at all, and returned once, by whoever holds it.
 *
 *     struct permit permit;
 *
 *     if (permit_check(&pool->permits, &need) == PERMIT_FREE)
 *         permit_take(&pool->permits, &need, &permit);
 *     ...
 *     permit_return(&permit);        // on every way out; a second time is a defect (asserted)
 *
 * Limits may be changed at any time. One that is lowered below what runs lets that finish, and
 * starts nothing until there is room again. A pool that takes the place of another one follows it
 * (`before`): together they have the limits of the new one. Pure.
 */
#ifndef CORE_PERMITS_H
#define CORE_PERMITS_H

#include "base/time.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PERMITS_UNLIMITED ((size_t)-1)
/* Kinds of slots that one attempt may ask for. */
#define PERMIT_SLOTS_MAX 4

/* All pools together. */
struct permits {
    size_t limit;
    size_t granted; /* the limit when the last one was taken: what runs is no more (P3) */
    size_t running;
};

/* A named resource with `count` places, each of which one attempt has to itself. */
struct permit_slots {
    uint32_t count; /* places that may be taken, from 1 to count */
    uint32_t taken;
    uint32_t refs;  /* lines that name it, as the schedule counts them; not looked at here */
    uint32_t words; /* of `used` */
    uint64_t
        *used; /* a bit for each place; those above count may still be taken after it was lowered */
};

/* What an attempt needs beside a place. Zeroed: nothing. */
struct permit_need {
    int32_t priority; /* of the task; see permit_reserve */
    uint32_t cpu_milli;
    uint32_t memory_mib;
    struct permit_slots *slots[PERMIT_SLOTS_MAX]; /* each once; NULL: none */
};

/* A share of the pool that only tasks of that priority and more may use. share 0: none. Of the limit in force. */
struct permit_reserve {
    int32_t min_priority;
    double
        share; /* 0 to 1; the places are limit * share, rounded up; unless it is 1, one is left to the others */
};

/*
 * Over the limit, by at most `places` for at most `seconds` at a stretch, and then as much less, as
 * long: over a stretch and its payback the pool has had its limit in the mean. What is over is
 * counted in place-seconds (running - limit over the time); when places * seconds of it are used
 * up, the limit is limit - places (at least 1) until they are paid back, by places that stay free
 * below the limit. These pay at any time, so what was used in part is forgotten while the pool is
 * idle; they are not saved up. places 0, or no seconds: none.
 */
struct permit_burst {
    size_t places;
    double seconds;
    double used; /* place-seconds that are owed */
    bool paying;
    struct instant since; /* of the last settlement */
};

/* One pool's share; `all` is where it counts too. */
struct permit_account {
    struct permits *all;
    struct permit_account *
        before; /* of the pool that this one follows: what still runs there counts against the limits here; NULL: none */
    size_t limit;                               /* as it was set; see permit_limit() */
    uint64_t cpu_milli_limit, memory_mib_limit; /* quotas; 0: none */
    struct permit_reserve reserve;
    struct permit_burst burst;
    size_t granted; /* as in struct permits; of the limit in force */
    size_t running;
    size_t unheld; /* of these, in no struct permit: see permit_take_many() */
    size_t
        running_low; /* of these, by tasks below the reserve's priority, as it was when they started */
    uint64_t cpu_milli, memory_mib; /* in use */
    size_t peak;
};

/* A permit that is out. Zeroed: none. */
struct permit {
    struct permit_account *account; /* NULL: it is not out */
    uint32_t cpu_milli, memory_mib;
    bool more; /* it has more than a place; else what is here is zero */
    bool low;
    struct permit_slots *slots[PERMIT_SLOTS_MAX];
    uint32_t numbers[PERMIT_SLOTS_MAX]; /* of the places, from 1 */
};

/* Why an attempt can't have one now, in the order in which they are looked at. */
enum permit_block {
    PERMIT_FREE,
    PERMIT_GLOBAL,
    PERMIT_POOL,
    PERMIT_RESERVE,
    PERMIT_CPU,
    PERMIT_MEMORY,
    PERMIT_SLOT,
    PERMIT_NEVER,        /* it needs more than the whole quota: nothing that ends helps */
    PERMIT_UNKNOWN_SLOT, /* the same: a slot without places, for nobody has configured it */
    PERMIT_BLOCKS
};

/* "free", "global_limit", "pool_limit", "reserved", "cpu_quota", "memory_quota", "slot", "never",
 * "unknown_slot". */
const char *permit_block_name(enum permit_block block);

void permits_init(struct permits *all, size_t limit);
/* Without quotas, reserve and burst. */
void permit_account_init(struct permit_account *a, struct permits *all, size_t limit);

/* False: no memory. */
bool permit_slots_init(struct permit_slots *s, uint32_t count);
/* False: no memory, nothing has changed. */
bool permit_slots_resize(struct permit_slots *s, uint32_t count);
/* None is taken (asserted). */
void permit_slots_free(struct permit_slots *s);
/* The place that is given out next, which is the lowest that is free; 0: none is. */
uint32_t permit_slots_next(const struct permit_slots *s);

/* permit_settle() where there is a burst, or was one. */
void permit_settle_burst(struct permit_account *a, struct instant now);
/* Brings the burst's account up to date: before a look at the pool, and before `running` or a limit changes. Times that go
 * back count as no time. */
static inline void permit_settle(struct permit_account *a, struct instant now)
{
    if (a->burst.places > 0 || a->burst.paying || a->burst.used > 0)
        permit_settle_burst(a, now);
    else
        a->burst.since = now;
}
/* After `now` at any rate: when permit_limit() changes by itself next, if nothing starts or ends; INSTANT_NEVER: it does not. */
struct instant permit_settles_at(const struct permit_account *a, struct instant now);
/* The limit in force: limit, with what the burst adds or takes. */
size_t permit_limit(const struct permit_account *a);
/* What runs here and in those before it. */
size_t permit_running(const struct permit_account *a);

/* Whether a plain one (no need beside a place) could be taken by a task of the highest priority. */
bool permit_available(const struct permit_account *a);
/* need NULL: nothing beside a place, of the highest priority (rows of batches). */
enum permit_block permit_check(const struct permit_account *a, const struct permit_need *need);
/* False: permit_check() says why; nothing was taken. *ret is not out yet (asserted). */
bool permit_take(struct permit_account *a, const struct permit_need *need, struct permit *ret);
/* Returns one that is out (asserted). */
void permit_return(struct permit *p);
/* Its place goes on to another attempt of the same pool, which has begun in it: to is out, from is not any more. What from
 * has beside the place is returned. Asks no limit. */
void permit_pass(struct permit *from, struct permit *to);
/* A quota in thousandths, or MiB, of one in cores (0 to 1e6), or bytes. Rounded up, as what tasks ask for is: 0 is no
 * quota, and only 0 gives it. */
uint64_t permit_cpu_quota(double cores);
uint64_t permit_memory_quota(uint64_t bytes);
/* Plain ones, as many as there are, up to `most`; in no struct permit, for rows in runs. Returns how many. */
size_t permit_take_many(struct permit_account *a, size_t most);
void permit_return_many(struct permit_account *a, size_t count);
/* Whether the places that it has are taken. For checks. */
bool permit_has_its_slots(const struct permit *p);
/* Sums the permits that are out, all of this account, against the counts, for checks: false when they differ. */
bool permit_account_agrees(const struct permit_account *a, const struct permit *const *out,
                           size_t count);

#endif
