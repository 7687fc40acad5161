/*
 * Taking, returning and settling permits. The plain ones, a place and nothing else, are the ways of
 * rows by the million: a few instructions. What else an attempt needs is looked at apart.
 */
#include "core/permits.h"

#include "base/mem.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define WORD_BITS 64
/* Seconds that are no difference: what sums of fractions lose. */
#define BURST_SLACK 1e-9

void permits_init(struct permits *all, size_t limit)
{
    *all = (struct permits){.limit = limit};
}

void permit_account_init(struct permit_account *a, struct permits *all, size_t limit)
{
    *a = (struct permit_account){.all = all, .limit = limit, .burst.since = INSTANT_NONE};
}

const char *permit_block_name(enum permit_block block)
{
    static const char *const names[PERMIT_BLOCKS] = {
        [PERMIT_FREE] = "free",
        [PERMIT_GLOBAL] = "global_limit",
        [PERMIT_POOL] = "pool_limit",
        [PERMIT_RESERVE] = "reserved",
        [PERMIT_CPU] = "cpu_quota",
        [PERMIT_MEMORY] = "memory_quota",
        [PERMIT_SLOT] = "slot",
        [PERMIT_NEVER] = "never",
        [PERMIT_UNKNOWN_SLOT] = "unknown_slot",
    };

    return (unsigned)block < PERMIT_BLOCKS ? names[block] : "unknown";
}

/* ---- slots ---- */

static uint32_t words_for(uint32_t count)
{
    return count > 0 ? (count - 1) / WORD_BITS + 1 : 1;
}

bool permit_slots_init(struct permit_slots *s, uint32_t count)
{
    uint32_t words = words_for(count);
    uint64_t *used = mem_calloc(words, sizeof *used);

    if (!used)
        return false;
    *s = (struct permit_slots){.count = count, .words = words, .used = used};
    return true;
}

bool permit_slots_resize(struct permit_slots *s, uint32_t count)
{
    uint32_t have = s->words, words = words_for(count);

    if (words > have) {
        uint64_t *used = mem_realloc(s->used, words * sizeof *used);

        if (!used)
            return false;
        memset(used + have, 0, (words - have) * sizeof *used);
        s->used = used;
        s->words = words;
    }
    s->count = count; /* the bits behind it stay: their places may be taken still */
    return true;
}

void permit_slots_free(struct permit_slots *s)
{
    assert(s->taken == 0);
    s->used = mem_free(s->used);
    *s = (struct permit_slots){0};
}

static bool is_taken(const struct permit_slots *s, uint32_t number)
{
    return number > 0 && (number - 1) / WORD_BITS < s->words &&
           (s->used[(number - 1) / WORD_BITS] >> ((number - 1) % WORD_BITS)) & 1;
}

uint32_t permit_slots_next(const struct permit_slots *s)
{
    uint32_t words = words_for(s->count);

    for (uint32_t i = 0; i < words; i++) {
        uint32_t number;

        if (s->used[i] == UINT64_MAX)
            continue;
        number = i * WORD_BITS + (uint32_t)__builtin_ctzll(~s->used[i]) + 1;
        return number <= s->count ? number : 0;
    }
    return 0;
}

static uint32_t take_slot(struct permit_slots *s)
{
    uint32_t number = permit_slots_next(s);

    assert(number > 0);
    s->used[(number - 1) / WORD_BITS] |= UINT64_C(1) << ((number - 1) % WORD_BITS);
    s->taken++;
    return number;
}

static void return_slot(struct permit_slots *s, uint32_t number)
{
    assert(s->taken > 0 && is_taken(s, number));
    s->used[(number - 1) / WORD_BITS] &= ~(UINT64_C(1) << ((number - 1) % WORD_BITS));
    s->taken--;
}

/* ---- the burst ---- */

static bool has_burst(const struct permit_account *a)
{
    return a->burst.places > 0 && a->burst.seconds > 0;
}

size_t permit_limit(const struct permit_account *a)
{
    size_t sum;

    if (!has_burst(a))
        return a->limit;
    if (a->burst.paying)
        return a->limit > a->burst.places ? a->limit - a->burst.places : a->limit > 0;
    return __builtin_add_overflow(a->limit, a->burst.places, &sum) ? PERMITS_UNLIMITED : sum;
}

size_t permit_running(const struct permit_account *a)
{
    size_t sum = 0;

    for (; a; a = a->before)
        sum += a->running;
    return sum;
}

/* Places that are taken beyond the limit; negative: that stay free below it. */
static double over(const struct permit_account *a)
{
    return (double)a->running - (double)a->limit;
}

/* Seconds until `paying` changes, as things are; INFINITY: it does not. */
static double turns_in(const struct permit_account *a)
{
    double places = over(a), most = (double)a->burst.places * a->burst.seconds, left;

    if (a->burst.paying)
        return places < 0 ? a->burst.used / -places : INFINITY;
    if (places <= 0)
        return INFINITY;
    left = most - a->burst.used;
    return left > 0 ? left / places : 0;
}

static void add_used(struct permit_account *a, double seconds)
{
    a->burst.used += over(a) * seconds;
    if (a->burst.used < 0)
        a->burst.used = 0;
}

static void settle_burst(struct permit_account *a, double seconds)
{
    double turn = turns_in(a);

    /* Both turns of one interval cannot be: at the first, places that are taken beyond the limit go on to be. */
    if (seconds + BURST_SLACK >= turn) {
        add_used(a, turn);
        a->burst.paying = !a->burst.paying;
        if (!a->burst.paying)
            a->burst.used = 0;
        seconds = seconds > turn ? seconds - turn : 0;
    }
    add_used(a, seconds);
}

void permit_settle_burst(struct permit_account *a, struct instant now)
{
    struct instant since = a->burst.since;

    if (!has_burst(a)) {
        a->burst.since = now;
        a->burst.used = 0;
        a->burst.paying = false;
        return;
    }
    if (instant_is_none(since)) {
        a->burst.since = now;
        return;
    }
    if (instant_before(now, since))
        return;
    a->burst.since = now;
    settle_burst(a, instant_seconds(now, since));
}

struct instant permit_settles_at(const struct permit_account *a, struct instant now)
{
    struct instant since = instant_is_none(a->burst.since) ? now : a->burst.since, at;
    double turn;

    if (!has_burst(a))
        return INSTANT_NEVER;
    turn = turns_in(a);
    if (turn * 1e9 >= (double)INT64_MAX)
        return INSTANT_NEVER;
    at = instant_add(since, (duration_ns)ceil(turn * 1e9));
    return instant_max(at, instant_add(now, 1));
}

/* ---- taking and returning ---- */

bool permit_available(const struct permit_account *a)
{
    return permit_running(a) < permit_limit(a) && a->all->running < a->all->limit;
}

static bool is_low(const struct permit_account *a, const struct permit_need *need)
{
    return need && a->reserve.share > 0 && need->priority < a->reserve.min_priority;
}

/* Places that tasks below the reserve's priority may have. */
static size_t open_to_low(const struct permit_account *a)
{
    size_t limit = permit_limit(a);
    double reserved = ceil((double)limit * a->reserve.share - 1e-9);

    if (a->reserve.share >= 1)
        return 0;
    if (limit == 0 || reserved > (double)(limit - 1))
        return limit > 0; /* rounded up, it must not be all */
    return limit - (size_t)reserved;
}

static enum permit_block check_quota(uint64_t limit, uint64_t used, uint64_t more,
                                     enum permit_block block)
{
    if (limit == 0 || more == 0)
        return PERMIT_FREE;
    if (more > limit)
        return PERMIT_NEVER;
    return used > limit - more ? block : PERMIT_FREE;
}

static enum permit_block check_slots(const struct permit_need *need)
{
    bool busy = false;

    for (size_t i = 0; i < PERMIT_SLOTS_MAX; i++) {
        const struct permit_slots *s = need->slots[i];

        if (!s)
            continue;
        if (s->count == 0)
            return PERMIT_UNKNOWN_SLOT;
        busy |= permit_slots_next(s) == 0;
    }
    return busy ? PERMIT_SLOT : PERMIT_FREE;
}

static enum permit_block check_need(const struct permit_account *a, const struct permit_need *need)
{
    uint64_t cpu_milli = 0, memory_mib = 0;
    enum permit_block block;
    size_t low = 0;

    for (const struct permit_account *b = a; b; b = b->before) {
        low += b->running_low;
        cpu_milli += b->cpu_milli;
        memory_mib += b->memory_mib;
    }
    if (is_low(a, need) && low >= open_to_low(a))
        return PERMIT_RESERVE;
    block = check_quota(a->cpu_milli_limit, cpu_milli, need->cpu_milli, PERMIT_CPU);
    if (block == PERMIT_FREE)
        block = check_quota(a->memory_mib_limit, memory_mib, need->memory_mib, PERMIT_MEMORY);
    if (block == PERMIT_FREE)
        block = check_slots(need);
    return block;
}

enum permit_block permit_check(const struct permit_account *a, const struct permit_need *need)
{
    if (a->all->running >= a->all->limit)
        return PERMIT_GLOBAL;
    if (permit_running(a) >= permit_limit(a))
        return PERMIT_POOL;
    return need ? check_need(a, need) : PERMIT_FREE;
}

static void count_in(struct permit_account *a, size_t places)
{
    a->granted = permit_limit(a);
    a->all->granted = a->all->limit;
    a->running += places;
    a->all->running += places;
    if (a->running > a->peak)
        a->peak = a->running;
}

static void count_out(struct permit_account *a, size_t places)
{
    assert(a->running >= places && a->all->running >= places);
    a->running -= places;
    a->all->running -= places;
}

static void take_more(struct permit_account *a, const struct permit_need *need, struct permit *p)
{
    p->more = true;
    p->low = is_low(a, need);
    p->cpu_milli = need->cpu_milli;
    p->memory_mib = need->memory_mib;
    a->running_low += p->low;
    a->cpu_milli += p->cpu_milli;
    a->memory_mib += p->memory_mib;
    for (size_t i = 0; i < PERMIT_SLOTS_MAX; i++) {
        p->slots[i] = need->slots[i];
        p->numbers[i] = p->slots[i] ? take_slot(p->slots[i]) : 0;
    }
}

static void return_more(struct permit *p)
{
    struct permit_account *a = p->account;

    assert(a->running_low >= p->low && a->cpu_milli >= p->cpu_milli &&
           a->memory_mib >= p->memory_mib);
    a->running_low -= p->low;
    a->cpu_milli -= p->cpu_milli;
    a->memory_mib -= p->memory_mib;
    for (size_t i = 0; i < PERMIT_SLOTS_MAX; i++)
        if (p->slots[i])
            return_slot(p->slots[i], p->numbers[i]);
    *p = (struct permit){.account = a};
}

bool permit_take(struct permit_account *a, const struct permit_need *need, struct permit *ret)
{
    assert(!ret->account && !ret->more);
    if (permit_check(a, need) != PERMIT_FREE)
        return false;
    count_in(a, 1);
    ret->account = a;
    if (need)
        take_more(a, need, ret);
    return true;
}

void permit_return(struct permit *p)
{
    struct permit_account *a = p->account;

    assert(a);
    if (p->more)
        return_more(p);
    p->account = NULL;
    count_out(a, 1);
}

void permit_pass(struct permit *from, struct permit *to)
{
    assert(from->account && !to->account);
    if (from->more)
        return_more(from);
    to->account = from->account;
    from->account = NULL;
}

size_t permit_take_many(struct permit_account *a, size_t most)
{
    size_t limit = permit_limit(a), room;

    if (!permit_available(a))
        return 0;
    room = limit - permit_running(a);
    if (room > a->all->limit - a->all->running)
        room = a->all->limit - a->all->running;
    if (room > most)
        room = most;
    count_in(a, room);
    a->unheld += room;
    return room;
}

void permit_return_many(struct permit_account *a, size_t count)
{
    assert(a->unheld >= count);
    a->unheld -= count;
    count_out(a, count);
}

/* ---- quotas ---- */

uint64_t permit_cpu_quota(double cores)
{
    double milli = ceil(cores * 1000 - 1e-6);

    return milli >= 1 ? (uint64_t)milli : cores > 0;
}

uint64_t permit_memory_quota(uint64_t bytes)
{
    const uint64_t mib = UINT64_C(1) << 20;

    return bytes / mib + (bytes % mib != 0);
}

/* ---- checking ---- */

bool permit_has_its_slots(const struct permit *p)
{
    for (size_t i = 0; i < PERMIT_SLOTS_MAX; i++) {
        const struct permit_slots *s = p->slots[i];

        if (!s && p->numbers[i] == 0)
            continue;
        if (!s || !is_taken(s, p->numbers[i]))
            return false;
    }
    return true;
}

bool permit_account_agrees(const struct permit_account *a, const struct permit *const *out,
                           size_t count)
{
    struct permit_account sum = {0};

    for (size_t i = 0; i < count; i++) {
        const struct permit *p = out[i];

        if (p->account != a || !permit_has_its_slots(p))
            return false;
        sum.running_low += p->low;
        sum.cpu_milli += p->cpu_milli;
        sum.memory_mib += p->memory_mib;
    }
    return count + a->unheld == a->running && sum.running_low == a->running_low &&
           sum.cpu_milli == a->cpu_milli && sum.memory_mib == a->memory_mib;
}
