#include "store/sqlite/keyset.h"

#include "base/error.h"
#include "base/mem.h"

#include <sqlite3.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_SLOTS_MIN 1024
/* 2^26 bits: with 10 million keys on disk, and 4 bits for each, about 4% of the look-ups for a key
 * that is not there go to the disk. */
#define FILTER_BITS   ((uint64_t)1 << 26)
#define FILTER_PROBES 4
/* Page cache of the temporary database, in KiB. It is written from left to right, so few pages are needed at a time. */
#define CACHE_KIB "4096"

struct keyset_entry {
    uint64_t hi, lo;
    uint64_t row_plus_1; /* 0: the slot is free */
};

struct keyset {
    struct keyset_entry *table;
    size_t slot_count, slot_count_max;
    size_t count, count_max;
    uint64_t spills;
    bool is_broken;   /* a spill failed half way: only to be freed */
    uint64_t *filter; /* NULL: nothing was spilled */
    sqlite3 *db;
    sqlite3_stmt *insert, *find;
};

/* The slot of a key, or the free one where it belongs. The halves are mixed, for callers whose
 * halves have to do with each other; the high bits choose, so that any number of slots will do
 * (Lemire's multiply and shift). There is a free slot. */
static size_t slot_of(const struct keyset_entry *table, size_t slots, uint64_t hi, uint64_t lo)
{
    uint64_t mixed = (hi ^ (lo >> 32)) * UINT64_C(0x9E3779B97F4A7C15) + lo;
    size_t at;

    mixed = (mixed ^ (mixed >> 31)) * UINT64_C(0xD6E8FEB86659FD93);
    at = (size_t)(((unsigned __int128)mixed * slots) >> 64);
    while (table[at].row_plus_1 && (table[at].hi != hi || table[at].lo != lo))
        at = at + 1 == slots ? 0 : at + 1;
    return at;
}

/* Makes room for one more at three quarters full. False: no memory. */
static bool table_grow(struct keyset *ks)
{
    size_t slots = ks->slot_count ? ks->slot_count * 2 : TABLE_SLOTS_MIN;
    struct keyset_entry *table;

    if (ks->count + 1 <= ks->slot_count / 4 * 3)
        return true;
    if (slots > ks->slot_count_max)
        slots = ks->slot_count_max;
    table = mem_calloc(slots, sizeof(*table));
    if (!table)
        return false;
    for (size_t i = 0; i < ks->slot_count; i++)
        if (ks->table[i].row_plus_1)
            table[slot_of(table, slots, ks->table[i].hi, ks->table[i].lo)] = ks->table[i];
    mem_free(ks->table);
    ks->table = table;
    ks->slot_count = slots;
    return true;
}

static uint64_t filter_bit(uint64_t hi, uint64_t lo, unsigned probe)
{
    return (lo + probe * (hi | 1)) % FILTER_BITS;
}

static void filter_add(uint64_t *filter, uint64_t hi, uint64_t lo)
{
    for (unsigned i = 0; i < FILTER_PROBES; i++) {
        uint64_t bit = filter_bit(hi, lo, i);

        filter[bit / 64] |= UINT64_C(1) << (bit % 64);
    }
}

static bool filter_may_have(const uint64_t *filter, uint64_t hi, uint64_t lo)
{
    for (unsigned i = 0; i < FILTER_PROBES; i++) {
        uint64_t bit = filter_bit(hi, lo, i);

        if (!(filter[bit / 64] >> (bit % 64) & 1))
            return false;
    }
    return true;
}

static enum weir_status disk_fail(struct keyset *ks, struct weir_error *err)
{
    int rc = ks->db ? sqlite3_errcode(ks->db) & 0xff : SQLITE_NOMEM;

    if (rc == SQLITE_NOMEM)
        return error_nomem(err);
    return error_set(err, WEIR_E_IO,
                     "the temporary file for finding duplicate keys (in $TMPDIR or /var/tmp): %s; "
                     "free space there, or set TMPDIR to a folder that has some",
                     sqlite3_errmsg(ks->db));
}

/* Half made when it fails: the next call makes the rest, keyset_free copes. */
static enum weir_status disk_open(struct keyset *ks, struct weir_error *err)
{
    static const char setup[] = "PRAGMA journal_mode=OFF;"
                                "PRAGMA synchronous=OFF;"
                                "PRAGMA locking_mode=EXCLUSIVE;"
                                "PRAGMA cache_size=-" CACHE_KIB ";"
                                "CREATE TABLE IF NOT EXISTS key(hi INTEGER, lo INTEGER, row"
                                " INTEGER, PRIMARY KEY(hi, lo)) WITHOUT ROWID";
    static const char insert[] = "INSERT INTO key(hi, lo, row) VALUES (?1, ?2, ?3)";
    static const char find[] = "SELECT row FROM key WHERE hi = ?1 AND lo = ?2";
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;

    if (!ks->filter && !(ks->filter = mem_calloc(FILTER_BITS / 64, sizeof(*ks->filter))))
        return error_nomem(err);
    /* An empty name: a temporary database of its own, in a file that is unlinked at once. */
    if (!ks->db && sqlite3_open_v2("", &ks->db, flags, NULL) != SQLITE_OK) {
        enum weir_status status = disk_fail(ks, err);

        sqlite3_close(ks->db);
        ks->db = NULL;
        return status;
    }
    if (!ks->insert && sqlite3_exec(ks->db, setup, NULL, NULL, NULL) != SQLITE_OK)
        return disk_fail(ks, err);
    if (!ks->insert && sqlite3_prepare_v3(ks->db, insert, -1, SQLITE_PREPARE_PERSISTENT,
                                          &ks->insert, NULL) != SQLITE_OK)
        return disk_fail(ks, err);
    if (!ks->find && sqlite3_prepare_v3(ks->db, find, -1, SQLITE_PREPARE_PERSISTENT, &ks->find,
                                        NULL) != SQLITE_OK)
        return disk_fail(ks, err);
    return WEIR_OK;
}

static enum weir_status disk_find(struct keyset *ks, uint64_t hi, uint64_t lo, bool *ret_found,
                                  uint64_t *ret_row, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    int rc;

    sqlite3_bind_int64(ks->find, 1, (sqlite3_int64)hi);
    sqlite3_bind_int64(ks->find, 2, (sqlite3_int64)lo);
    rc = sqlite3_step(ks->find);
    if (rc == SQLITE_ROW)
        *ret_row = (uint64_t)sqlite3_column_int64(ks->find, 0);
    else if (rc != SQLITE_DONE)
        status = disk_fail(ks, err);
    if (status == WEIR_OK)
        *ret_found = rc == SQLITE_ROW;
    sqlite3_reset(ks->find);
    return status;
}

/* In the order of the database's key (signed), so that it is written from left to right. */
static int entry_compare(const void *a, const void *b)
{
    const struct keyset_entry *x = a, *y = b;

    if (x->hi != y->hi)
        return (int64_t)x->hi < (int64_t)y->hi ? -1 : 1;
    if (x->lo != y->lo)
        return (int64_t)x->lo < (int64_t)y->lo ? -1 : 1;
    return 0;
}

static enum weir_status disk_write(struct keyset *ks, const struct keyset_entry *sorted,
                                   size_t count, struct weir_error *err)
{
    if (sqlite3_exec(ks->db, "BEGIN", NULL, NULL, NULL) != SQLITE_OK)
        return disk_fail(ks, err);
    for (size_t i = 0; i < count; i++) {
        sqlite3_bind_int64(ks->insert, 1, (sqlite3_int64)sorted[i].hi);
        sqlite3_bind_int64(ks->insert, 2, (sqlite3_int64)sorted[i].lo);
        sqlite3_bind_int64(ks->insert, 3, (sqlite3_int64)(sorted[i].row_plus_1 - 1));
        if (sqlite3_step(ks->insert) != SQLITE_DONE)
            return disk_fail(ks, err);
        sqlite3_reset(ks->insert);
        filter_add(ks->filter, sorted[i].hi, sorted[i].lo);
    }
    if (sqlite3_exec(ks->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        return disk_fail(ks, err);
    return WEIR_OK;
}

/* Moves the whole table to disk. The table is sorted where it stands, and the temporary database
 * has no journal, so a failure past disk_open() leaves nothing to go back to: the set is broken. */
static enum weir_status spill(struct keyset *ks, struct weir_error *err)
{
    enum weir_status status = disk_open(ks, err);
    size_t used = 0;

    if (status != WEIR_OK)
        return status;
    for (size_t i = 0; i < ks->slot_count; i++)
        if (ks->table[i].row_plus_1)
            ks->table[used++] = ks->table[i];
    assert(used == ks->count);
    qsort(ks->table, used, sizeof(*ks->table), entry_compare);
    status = disk_write(ks, ks->table, used, err);
    if (status != WEIR_OK) {
        ks->is_broken = true;
        return status;
    }
    memset(ks->table, 0, ks->slot_count * sizeof(*ks->table));
    ks->count = 0;
    ks->spills++;
    return WEIR_OK;
}

enum weir_status keyset_new(size_t memory_keys, struct keyset **ret, struct weir_error *err)
{
    struct keyset *ks = mem_calloc(1, sizeof(*ks));

    if (!ks)
        return error_nomem(err);
    ks->count_max = memory_keys ? memory_keys : KEYSET_MEMORY_KEYS;
    /* Rounded up to slots of which three quarters are count_max or more. */
    ks->slot_count_max = (ks->count_max + 2) / 3 * 4;
    if (ks->slot_count_max < TABLE_SLOTS_MIN)
        ks->slot_count_max = TABLE_SLOTS_MIN;
    *ret = ks;
    return WEIR_OK;
}

enum weir_status keyset_add(struct keyset *ks, uint64_t hi, uint64_t lo, uint64_t row,
                            bool *ret_is_duplicate, uint64_t *ret_first_row, struct weir_error *err)
{
    enum weir_status status;
    uint64_t first = row;
    bool found = false;
    size_t at;

    assert(row < UINT64_MAX / 2);
    if (ks->is_broken)
        return error_set(err, WEIR_E_IO, "the temporary file for finding duplicate keys failed");
    if (ks->slot_count) {
        at = slot_of(ks->table, ks->slot_count, hi, lo);
        if (ks->table[at].row_plus_1) {
            *ret_first_row = ks->table[at].row_plus_1 - 1;
            *ret_is_duplicate = true;
            return WEIR_OK;
        }
    }
    if (ks->spills && filter_may_have(ks->filter, hi, lo)) {
        status = disk_find(ks, hi, lo, &found, &first, err);
        if (status != WEIR_OK)
            return status;
    }
    if (!found) {
        if (ks->count == ks->count_max) {
            status = spill(ks, err);
            if (status != WEIR_OK)
                return status;
        }
        if (!table_grow(ks))
            return error_nomem(err);
        at = slot_of(ks->table, ks->slot_count, hi, lo);
        ks->table[at] = (struct keyset_entry){hi, lo, row + 1};
        ks->count++;
    }
    *ret_is_duplicate = found;
    *ret_first_row = first;
    return WEIR_OK;
}

uint64_t keyset_spill_count(const struct keyset *ks)
{
    return ks->spills;
}

struct keyset *keyset_free(struct keyset *ks)
{
    if (!ks)
        return NULL;
    sqlite3_finalize(ks->insert);
    sqlite3_finalize(ks->find);
    sqlite3_close(ks->db);
    mem_free(ks->filter);
    mem_free(ks->table);
    return mem_free(ks);
}
