/*
 * The table is linear hashing (Litwin 1980) with lines as its chains. With n lines, 2^k <= n <
 * 2^(k+1), the line of a hash is its lower k + 1 bits when there is such a line, else its lower k
 * bits. An entry is 32 bits of the hash, which are enough for the line and to tell most of the
 * sessions in it apart, and the session's number and 1; 0 is no entry.
 */
#include "core/worker/session_table.h"

#include "base/mem.h"
#include "core/worker/affinity.h"

#include <assert.h>
#include <string.h>

#define LINE_BYTES 64
#define BLOCK_SKEW 512

struct line {
    uint64_t entries[LINE_ENTRIES];
    struct line *more; /* each has an entry */
};

_Static_assert(sizeof(struct line) == LINE_BYTES, "a line of the table is a cache line");
_Static_assert(sizeof(struct session) == 2 * LINE_BYTES, "a session is two cache lines");
_Static_assert(offsetof(struct session, name) + 32 == LINE_BYTES,
               "what a task needs is in the first one");

/* ---- blocks ---- */

static unsigned block_of(size_t i)
{
    size_t times = i / BLOCK_FIRST;

    return times ? 64 - (unsigned)__builtin_clzll(times) : 0;
}

static size_t block_start(unsigned block)
{
    return block ? (size_t)BLOCK_FIRST << (block - 1) : 0;
}

static size_t block_size(unsigned block)
{
    return block ? (size_t)BLOCK_FIRST << (block - 1) : BLOCK_FIRST;
}

/*
 * Where the i-th of a block begins. Were all first lines of sessions at even numbers, they would
 * share half of a cache's sets, and half of the cache: so each BLOCK_SKEW-th leaves one line free.
 */
static size_t offset_of(const struct blocks *b, size_t i)
{
    return i * b->each_bytes + (b->each_bytes > LINE_BYTES ? i / BLOCK_SKEW * LINE_BYTES : 0);
}

static void *element(const struct blocks *b, size_t i)
{
    unsigned block = block_of(i);

    return b->elements[block] + offset_of(b, i - block_start(block));
}

/* What is in it is not set. */
static bool block_need(struct blocks *b, unsigned block)
{
    if (block >= BLOCKS)
        return false;
    if (b->memory[block])
        return true;
    b->memory[block] = mem_alloc(offset_of(b, block_size(block)) + LINE_BYTES - 1);
    if (!b->memory[block])
        return false;
    b->elements[block] = b->memory[block];
    b->elements[block] += -(uintptr_t)b->memory[block] & (LINE_BYTES - 1);
    return true;
}

static void block_free(struct blocks *b, unsigned block)
{
    b->memory[block] = mem_free(b->memory[block]);
    b->elements[block] = NULL;
}

/* ---- the memory of sessions ---- */

static struct session *session_at(const struct session_table *t, size_t number)
{
    return element(&t->sessions, number);
}

/* The first block that has room, so that the last ones become empty. */
static struct session *take_session(struct session_table *t, size_t *ret_number)
{
    unsigned k = 0;
    uint32_t i;

    while (k < BLOCKS && !t->block[k].free && t->block[k].made == block_size(k))
        k++;
    if (!block_need(&t->sessions, k))
        return NULL;
    if (t->block[k].free) {
        i = t->block[k].free - 1;
        t->block[k].free = session_at(t, block_start(k) + i)->users;
    } else {
        i = t->block[k].made++;
    }
    t->block[k].used++;
    *ret_number = block_start(k) + i;
    return session_at(t, *ret_number);
}

static void give_session(struct session_table *t, size_t number)
{
    unsigned k = block_of(number), last = BLOCKS - 1;
    struct session *s = session_at(t, number);

    if (s->name_len > SESSION_NAME_BYTES_INSIDE)
        mem_free(s->far_name);
    *s = (struct session){.users = t->block[k].free};
    t->block[k].free = (uint32_t)(number - block_start(k)) + 1;
    t->block[k].used--;
    while (last > 0 && !t->sessions.memory[last])
        last--;
    for (; last > 0 && t->block[last].used == 0 && t->known < block_start(last) / 2; last--) {
        block_free(&t->sessions, last);
        memset(&t->block[last], 0, sizeof t->block[last]);
    }
}

static bool set_name(struct session *s, const char *name, size_t len)
{
    char *to = s->name;

    if (len > SESSION_NAME_BYTES_INSIDE)
        to = s->far_name = mem_alloc(len);
    if (!to)
        return false;
    memcpy(to, name, len);
    s->name_len = (uint16_t)len;
    return true;
}

/* ---- the table ---- */

static uint64_t entry_of(uint64_t hash, size_t number)
{
    return (uint64_t)(number + 1) << 32 | (uint32_t)hash;
}

static size_t number_of(uint64_t entry)
{
    return (size_t)(entry >> 32) - 1;
}

/* The largest power of two that is not above n; n >= 1. */
static size_t power_below(size_t n)
{
    return (size_t)1 << (63 - __builtin_clzll(n));
}

static size_t line_index(const struct session_table *t, uint32_t hash)
{
    size_t low = power_below(t->line_count);
    size_t at = hash & (2 * low - 1);

    return at < t->line_count ? at : at & (low - 1);
}

static struct line *line_of(const struct session_table *t, uint64_t hash)
{
    return element(&t->lines, line_index(t, (uint32_t)hash));
}

/* Where the entry can be put in the chain of line; NULL: all are full. */
static uint64_t *hole_in(struct line *line)
{
    for (; line; line = line->more) {
        for (int i = 0; i < LINE_ENTRIES; i++) {
            if (!line->entries[i])
                return &line->entries[i];
        }
    }
    return NULL;
}

/* An entry from a line that is split; *spare has a line when one is needed (see split()). */
static void put_again(struct line *line, uint64_t entry, struct line **spare)
{
    uint64_t *hole = hole_in(line);

    if (!hole) {
        struct line *more = *spare;

        assert(more);
        *spare = more->more;
        *more = (struct line){.more = line->more};
        line->more = more;
        hole = &more->entries[0];
    }
    *hole = entry;
}

/*
 * The entries of `from` whose bit `low` is set go to `to`. No memory is needed: what was in j lines
 * is then in j + 1 at the most, and there is one line more; each line is free when its entries are
 * put again.
 */
static void split(struct line *from, struct line *to, uint64_t low)
{
    struct line was = *from, *spare = NULL;

    *from = *to = (struct line){.more = NULL};
    for (;;) {
        struct line *next = was.more;

        for (int i = 0; i < LINE_ENTRIES; i++) {
            if (was.entries[i])
                put_again(was.entries[i] & low ? to : from, was.entries[i], &spare);
        }
        if (!next)
            break;
        was = *next;
        next->more = spare;
        spare = next;
    }
    while (spare) {
        struct line *next = spare->more;

        mem_free(spare);
        spare = next;
    }
}

/* One line more, when there are many sessions. Without memory the chains only get longer. */
static void grow(struct session_table *t)
{
    size_t low = power_below(t->line_count);

    if (t->known <= t->line_count * LINE_FILL || !block_need(&t->lines, block_of(t->line_count)))
        return;
    split(element(&t->lines, t->line_count - low), element(&t->lines, t->line_count), low);
    t->line_count++;
}

/* Empty lines at the end of a chain are not kept. */
static void prune(struct line *line)
{
    static const uint64_t none[LINE_ENTRIES];

    for (struct line **at = &line->more; *at;) {
        struct line *more = *at;

        if (memcmp(more->entries, none, sizeof none) != 0) {
            at = &more->more;
            continue;
        }
        *at = more->more;
        mem_free(more);
    }
}

static bool is_named(const struct session *s, const char *name, size_t len)
{
    return s->name_len == len && memcmp(session_name(s), name, len) == 0;
}

bool session_table_init(struct session_table *t)
{
    *t = (struct session_table){.lines = {.each_bytes = sizeof(struct line)},
                                .sessions = {.each_bytes = sizeof(struct session)},
                                .line_count = BLOCK_FIRST};
    if (!block_need(&t->lines, 0))
        return false;
    memset(t->lines.elements[0], 0, BLOCK_FIRST * sizeof(struct line));
    return true;
}

void session_table_clear(struct session_table *t)
{
    for (size_t i = 0; i < t->line_count && t->lines.memory[0]; i++) {
        struct line *line = element(&t->lines, i);

        for (struct line *at = line; at; at = at->more) {
            for (int k = 0; k < LINE_ENTRIES; k++) {
                if (at->entries[k])
                    give_session(t, number_of(at->entries[k]));
                at->entries[k] = 0;
            }
        }
        prune(line);
    }
    for (unsigned k = 0; k < BLOCKS; k++) {
        block_free(&t->lines, k);
        block_free(&t->sessions, k);
    }
}

struct session *session_table_find(struct session_table *t, uint64_t hash, const char *name,
                                   size_t len)
{
    for (struct line *line = line_of(t, hash); line; line = line->more) {
        for (int i = 0; i < LINE_ENTRIES; i++) {
            struct session *s;

            if ((uint32_t)line->entries[i] != (uint32_t)hash || !line->entries[i])
                continue;
            t->probes++;
            s = session_at(t, number_of(line->entries[i]));
            if (is_named(s, name, len))
                return s;
        }
    }
    return NULL;
}

struct session *session_table_add(struct session_table *t, uint64_t hash, const char *name,
                                  size_t len)
{
    struct line *line = line_of(t, hash);
    uint64_t *hole = hole_in(line);
    struct session *s;
    size_t number;

    s = take_session(t, &number);
    if (!s)
        return NULL;
    *s = (struct session){.users = 0};
    if (set_name(s, name, len) && !hole) {
        struct line *more = mem_calloc(1, sizeof *more);

        if (more) {
            more->more = line->more;
            line->more = more;
            hole = &more->entries[0];
        }
    }
    if (!hole || !s->name_len) {
        give_session(t, number);
        return NULL;
    }
    *hole = entry_of(hash, number);
    list_init(&s->queue);
    list_init(&s->by_use);
    list_init(&s->of_worker);
    t->known++;
    grow(t);
    return s;
}

/* The entry of a session that is in the table. */
static uint64_t *entry_for(const struct session_table *t, uint64_t hash, const struct session *s)
{
    for (struct line *line = line_of(t, hash);; line = line->more) {
        assert(line);
        for (int i = 0; i < LINE_ENTRIES; i++) {
            uint64_t entry = line->entries[i];

            if ((uint32_t)entry == (uint32_t)hash && entry && session_at(t, number_of(entry)) == s)
                return &line->entries[i];
        }
    }
}

void session_table_remove(struct session_table *t, uint64_t hash, struct session *s)
{
    uint64_t *entry = entry_for(t, hash, s);
    size_t number = number_of(*entry);

    *entry = 0;
    t->known--;
    prune(line_of(t, hash));
    give_session(t, number);
}

/* ---- checking ---- */

static const char *check_blocks(const struct session_table *t, size_t entries)
{
    size_t used = 0;

    for (unsigned k = 0; k < BLOCKS; k++) {
        uint32_t free = 0;

        for (uint32_t i = t->block[k].free; i; free++) {
            if (free > t->block[k].made)
                return "the free sessions go in a circle";
            i = session_at(t, block_start(k) + i - 1)->users;
        }
        if (t->block[k].used + free != t->block[k].made || t->block[k].made > block_size(k))
            return "a block has another number of sessions than it counts";
        if (t->block[k].made > 0 && !t->sessions.memory[k])
            return "a block of sessions is not there";
        used += t->block[k].used;
    }
    if (used != t->known || entries != t->known)
        return "the table has another number of sessions than it counts";
    return NULL;
}

const char *
session_table_check(const struct session_table *t,
                    const char *(*fn)(void *ctx, const struct session *s, uint32_t hash), void *ctx)
{
    size_t entries = 0;

    for (size_t i = 0; i < t->line_count; i++) {
        for (const struct line *line = element(&t->lines, i); line; line = line->more) {
            for (int k = 0; k < LINE_ENTRIES; k++) {
                uint64_t entry = line->entries[k];
                const char *wrong;

                if (!entry)
                    continue;
                entries++;
                if (line_index(t, (uint32_t)entry) != i)
                    return "a session is in the wrong line of the table";
                wrong = fn(ctx, session_at(t, number_of(entry)), (uint32_t)entry);
                if (wrong)
                    return wrong;
            }
        }
    }
    return check_blocks(t, entries);
}
