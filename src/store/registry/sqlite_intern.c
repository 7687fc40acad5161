/*
 * Things that many share, known by their numbers, in the file and in memory: the table in memory,
 * and names. Lines are in sqlite_lines.c.
 *
 * The table is found by number from any thread without a lock: it grows by chunks that never move.
 * By key only the writer looks.
 */
#include "base/error.h"
#include "base/mem.h"
#include "store/registry/sqlite_inside.h"

#include <assert.h>
#include <string.h>

#include <xxhash.h>

#define PLACES_MIN 64

uint64_t intern_hash(struct slice key)
{
    return XXH3_64bits(key.len ? key.data : "", key.len);
}

static intern_slot *slot_of(const struct intern *t, uint32_t id)
{
    intern_slot *chunk =
        atomic_load_explicit(&t->chunks[(id - 1) / INTERN_CHUNK], memory_order_acquire);

    return &chunk[(id - 1) % INTERN_CHUNK];
}

struct interned *intern_get(const struct intern *t, uint32_t id)
{
    if (id == 0 || id > atomic_load_explicit(&t->count, memory_order_acquire))
        return NULL;
    return atomic_load_explicit(slot_of(t, id), memory_order_acquire);
}

/* ---- by key ---- */

struct interned *intern_find(const struct intern *t, struct slice key, uint64_t hash)
{
    for (uint64_t at = hash; t->place_count; at++) {
        uint32_t id = t->places[at & (t->place_count - 1)];
        struct interned *item;

        if (id == 0)
            return NULL;
        item = intern_get(t, id);
        if (item->hash == hash && slice_equal(item->key, key))
            return item;
    }
    return NULL;
}

void intern_show(struct intern *t, const struct interned *item)
{
    uint64_t at = item->hash;

    while (t->places[at & (t->place_count - 1)])
        at++;
    t->places[at & (t->place_count - 1)] = item->id;
    t->shown++;
}

/* What stands behind it moves up, where that is nearer to its own place: so no place between is free. */
void intern_hide(struct intern *t, const struct interned *item)
{
    uint64_t mask = t->place_count - 1, hole = item->hash & mask;

    while (t->places[hole] != item->id)
        hole = (hole + 1) & mask;
    for (uint64_t at = (hole + 1) & mask; t->places[at]; at = (at + 1) & mask) {
        uint64_t home = intern_get(t, t->places[at])->hash & mask;

        if (((at - home) & mask) < ((at - hole) & mask))
            continue;
        t->places[hole] = t->places[at];
        hole = at;
    }
    t->places[hole] = 0;
    t->shown--;
}

static bool grow_places(struct intern *t)
{
    uint32_t old_count = t->place_count, count = old_count ? old_count * 2 : PLACES_MIN;
    uint32_t *old = t->places, *places;

    if (t->shown + 1 <= old_count / 2)
        return true;
    places = mem_calloc(count, sizeof(*places));
    if (!places)
        return false;
    t->places = places;
    t->place_count = count;
    t->shown = 0;
    for (uint32_t i = 0; i < old_count; i++)
        if (old[i])
            intern_show(t, intern_get(t, old[i]));
    mem_free(old);
    return true;
}

/* ---- by number ---- */

static bool grow_chunks(struct intern *t, uint32_t id)
{
    for (uint32_t i = 0; i <= (id - 1) / INTERN_CHUNK; i++) {
        intern_slot *chunk = atomic_load_explicit(&t->chunks[i], memory_order_relaxed);

        if (chunk)
            continue;
        chunk = mem_calloc(INTERN_CHUNK, sizeof(*chunk));
        if (!chunk)
            return false;
        atomic_store_explicit(&t->chunks[i], chunk, memory_order_release);
    }
    return true;
}

static void count_free(struct intern *t, uint32_t id, int more)
{
    uint32_t chunk = (id - 1) / INTERN_CHUNK;

    t->free_in[chunk] = (uint16_t)(t->free_in[chunk] + more);
    t->free_count += (uint32_t)more;
}

uint32_t intern_next_id(const struct intern *t)
{
    uint32_t chunk = 0, id;

    if (t->free_count == 0)
        return atomic_load_explicit(&t->count, memory_order_relaxed) + 1;
    while (t->free_in[chunk] == 0)
        chunk++;
    id = chunk * INTERN_CHUNK + 1;
    while (atomic_load_explicit(slot_of(t, id), memory_order_relaxed))
        id++;
    return id;
}

enum weir_status intern_put(struct intern *t, struct interned *item, uint32_t id,
                            struct weir_error *err)
{
    uint32_t count = atomic_load_explicit(&t->count, memory_order_relaxed);

    assert(id > 0 && id <= INTERN_CHUNK * INTERN_CHUNKS && !intern_get(t, id));
    if (!grow_chunks(t, id) || !grow_places(t))
        return error_nomem(err);
    item->id = id;
    atomic_store_explicit(slot_of(t, id), item, memory_order_release);
    if (id <= count)
        count_free(t, id, -1);
    for (uint32_t gap = count + 1; gap < id; gap++)
        count_free(t, gap, 1);
    if (id > count)
        atomic_store_explicit(&t->count, id, memory_order_release);
    intern_show(t, item);
    return WEIR_OK;
}

void intern_free_id(struct intern *t, const struct interned *item)
{
    atomic_store_explicit(slot_of(t, item->id), NULL, memory_order_release);
    if (item->id == atomic_load_explicit(&t->count, memory_order_relaxed))
        atomic_store_explicit(&t->count, item->id - 1, memory_order_release);
    else
        count_free(t, item->id, 1);
}

void intern_cut(struct intern *t, uint32_t count)
{
    for (uint32_t id; (id = atomic_load_explicit(&t->count, memory_order_relaxed)) > count;) {
        struct interned *item = intern_get(t, id);

        assert(item);
        intern_hide(t, item);
        intern_free_id(t, item);
        mem_free(item);
    }
}

void intern_free(struct intern *t)
{
    uint32_t count = atomic_load_explicit(&t->count, memory_order_relaxed);

    for (uint32_t id = 1; id <= count; id++)
        mem_free(intern_get(t, id));
    for (size_t i = 0; i < INTERN_CHUNKS && t->chunks[i]; i++)
        mem_free(t->chunks[i]);
    mem_free(t->places);
    t->places = NULL;
}

/* ---- names ---- */

static enum weir_status name_add(struct sqlite_registry *r, struct slice text, uint64_t hash,
                                 struct name_entry **ret, struct weir_error *err)
{
    struct name_entry *n = mem_calloc(1, sizeof(*n) + text.len + 1);
    enum weir_status status;
    uint32_t id;
    char *copy;

    if (!n)
        return error_nomem(err);
    copy = (char *)(n + 1);
    if (text.len)
        memcpy(copy, text.data, text.len);
    n->in.hash = hash;
    n->in.key = (struct slice){copy, text.len};
    n->outcome = n->reason = -1;
    for (int i = 0; i <= WEIR_OUTCOME_CANCELLED; i++)
        if (slice_equal(text, slice_of(weir_outcome_name((enum weir_outcome)i))))
            n->outcome = i;
    for (int i = 0; i < WEIR_REASON_COUNT; i++)
        if (slice_equal(text, slice_of(weir_reason_name((enum weir_reason)i))))
            n->reason = i;
    id = intern_next_id(&r->names);
    if (id > INTERN_CHUNK * INTERN_CHUNKS)
        status = error_set(err, WEIR_E_LIMIT,
                           "the registry knows %u names of pools, which is all that it can tell "
                           "apart; use fewer",
                           id - 1);
    else
        status = intern_put(&r->names, &n->in, id, err);
    if (status != WEIR_OK) {
        mem_free(n);
        return status;
    }
    *ret = n;
    return WEIR_OK;
}

enum weir_status registry_name(struct sqlite_registry *r, struct slice text,
                               struct name_entry **ret, struct weir_error *err)
{
    uint64_t hash = intern_hash(text);
    struct interned *found = intern_find(&r->names, text, hash);
    struct name_entry *n = NULL;
    enum weir_status status;
    sqlite3_stmt *stmt;

    if (found) {
        *ret = (struct name_entry *)(void *)found;
        return WEIR_OK;
    }
    stmt = registry_statement(r, RS_NAME_PUT);
    if (!stmt)
        return registry_fail(r, "writing a name", err);
    status = name_add(r, text, hash, &n, err);
    if (status != WEIR_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, n->in.id);
    sqlite3_bind_text(stmt, 2, n->in.key.data, (int)n->in.key.len, SQLITE_STATIC);
    *ret = n;
    return registry_run(r, stmt, "writing a name", err);
}

enum weir_status registry_name_id(struct sqlite_registry *r, struct slice text, uint32_t *ret,
                                  struct weir_error *err)
{
    struct name_entry *n = NULL;
    enum weir_status status;

    if (text.len == 0) {
        *ret = 0;
        return WEIR_OK;
    }
    status = registry_name(r, text, &n, err);
    if (status == WEIR_OK)
        *ret = n->in.id;
    return status;
}

struct slice registry_name_text(const struct sqlite_registry *r, uint32_t id)
{
    const struct interned *n = intern_get(&r->names, id);

    return n ? n->key : SLICE("");
}

/* ---- at the open ---- */

static enum weir_status load_name(struct sqlite_registry *r, sqlite3_stmt *stmt,
                                  struct weir_error *err)
{
    struct slice text = registry_column(stmt, 1);
    struct name_entry *n = NULL;
    enum weir_status status = name_add(r, text, intern_hash(text), &n, err);

    if (status == WEIR_OK && n->in.id != sqlite3_column_int64(stmt, 0))
        return registry_damaged(r->path, "a name is missing", err);
    return status;
}

enum weir_status registry_load_each(struct sqlite_registry *r, const char *sql,
                                    enum weir_status (*load)(struct sqlite_registry *,
                                                             sqlite3_stmt *, struct weir_error *),
                                    struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(r->db, sql, -1, &stmt, NULL);

    while (rc == SQLITE_OK && status == WEIR_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        status = load(r, stmt, err);
        rc = SQLITE_OK;
    }
    if (status == WEIR_OK && rc != SQLITE_DONE)
        status = registry_fail(r, "reading its lines", err);
    sqlite3_finalize(stmt);
    return status;
}

enum weir_status registry_load_names(struct sqlite_registry *r, struct weir_error *err)
{
    enum weir_status status =
        registry_load_each(r, "SELECT id, text FROM name ORDER BY id", load_name, err);

    r->names_durable = atomic_load(&r->names.count);
    return status;
}
