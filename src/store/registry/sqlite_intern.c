/*
 * Lines and names: written once, then known by their numbers, in the file and in memory.
 *
 * The table of an intern is found by number from any thread without a lock: it grows by chunks that never move. What a
 * transaction has added and is then taken back is freed again; nobody else has seen its number.
 */
#include "base/error.h"
#include "base/mem.h"
#include "store/registry/sqlite_inside.h"

#include <string.h>

#include <xxhash.h>

#define PLACES_MIN 64

uint64_t intern_hash(struct slice key)
{
    return XXH3_64bits(key.len ? key.data : "", key.len);
}

struct interned *intern_get(const struct intern *t, uint32_t id)
{
    struct interned **chunk;

    if (id == 0 || id > atomic_load_explicit(&t->count, memory_order_acquire))
        return NULL;
    chunk = atomic_load_explicit(&t->chunks[(id - 1) / INTERN_CHUNK], memory_order_acquire);
    return chunk[(id - 1) % INTERN_CHUNK];
}

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

static void place(struct intern *t, const struct interned *item)
{
    uint64_t at = item->hash;

    while (t->places[at & (t->place_count - 1)])
        at++;
    t->places[at & (t->place_count - 1)] = item->id;
}

static void place_all(struct intern *t)
{
    uint32_t count = atomic_load_explicit(&t->count, memory_order_relaxed);

    memset(t->places, 0, t->place_count * sizeof(*t->places));
    for (uint32_t id = 1; id <= count; id++)
        place(t, intern_get(t, id));
}

static bool grow(struct intern *t, uint32_t count)
{
    uint32_t place_count = t->place_count ? t->place_count * 2 : PLACES_MIN;
    uint32_t *places;

    if (!t->chunks[count / INTERN_CHUNK]) {
        struct interned **chunk = mem_calloc(INTERN_CHUNK, sizeof(struct interned *));

        if (!chunk)
            return false;
        atomic_store_explicit(&t->chunks[count / INTERN_CHUNK], chunk, memory_order_release);
    }
    if (count + 1 <= t->place_count / 2)
        return true;
    places = mem_calloc(place_count, sizeof(*places));
    if (!places)
        return false;
    mem_free(t->places);
    t->places = places;
    t->place_count = place_count;
    place_all(t);
    return true;
}

enum weir_status intern_add(struct intern *t, struct interned *item, struct weir_error *err)
{
    uint32_t count = atomic_load_explicit(&t->count, memory_order_relaxed);

    if (count >= INTERN_CHUNK * INTERN_CHUNKS)
        return error_set(err, WEIR_E_LIMIT,
                         "the registry has %u kinds of tasks (by priority, pool, tenant, session, "
                         "...), which is all that it can tell apart",
                         count);
    if (!grow(t, count))
        return error_nomem(err);
    item->id = count + 1;
    t->chunks[count / INTERN_CHUNK][count % INTERN_CHUNK] = item;
    atomic_store_explicit(&t->count, count + 1, memory_order_release);
    place(t, item);
    return WEIR_OK;
}

void intern_cut(struct intern *t, uint32_t count)
{
    uint32_t have = atomic_load_explicit(&t->count, memory_order_relaxed);

    if (have <= count)
        return;
    atomic_store_explicit(&t->count, count, memory_order_release);
    for (uint32_t i = count; i < have; i++) {
        mem_free(t->chunks[i / INTERN_CHUNK][i % INTERN_CHUNK]);
        t->chunks[i / INTERN_CHUNK][i % INTERN_CHUNK] = NULL;
    }
    if (t->places)
        place_all(t);
}

void intern_free(struct intern *t)
{
    intern_cut(t, 0);
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
    char *copy;

    if (!n)
        return error_nomem(err);
    copy = (char *)(n + 1);
    if (text.len)
        memcpy(copy, text.data, text.len);
    n->in.hash = hash;
    n->in.key = (struct slice){copy, text.len};
    n->counts.of = &n->in;
    n->outcome = n->reason = -1;
    for (int i = 0; i <= WEIR_OUTCOME_CANCELLED; i++)
        if (slice_equal(text, slice_of(weir_outcome_name((enum weir_outcome)i))))
            n->outcome = i;
    for (int i = 0; i < WEIR_REASON_COUNT; i++)
        if (slice_equal(text, slice_of(weir_reason_name((enum weir_reason)i))))
            n->reason = i;
    status = intern_add(&r->names, &n->in, err);
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

/* ---- lines ---- */

#define LINE_TEXTS 5
/* Three numbers, and the length of each text. */
#define LINE_KEY_FIXED (3 * sizeof(uint32_t) + LINE_TEXTS * sizeof(uint16_t))
#define LINE_KEY_MAX   (LINE_KEY_FIXED + (size_t)9 * (REGISTRY_NAME_BYTES_MAX + 1))

static size_t line_key(const struct registry_line *l, char to[LINE_KEY_MAX])
{
    const struct slice texts[LINE_TEXTS] = {l->pool, l->skill, l->tenant, l->session, l->slots};
    const uint32_t numbers[3] = {(uint32_t)l->priority, l->cpu_milli, l->memory_mib};
    size_t len = sizeof(numbers);

    memcpy(to, numbers, sizeof(numbers));
    for (size_t i = 0; i < LINE_TEXTS; i++) {
        uint16_t text_len = (uint16_t)texts[i].len;

        memcpy(to + len, &text_len, sizeof(text_len));
        len += sizeof(text_len);
    }
    for (size_t i = 0; i < LINE_TEXTS; i++) {
        if (texts[i].len)
            memcpy(to + len, texts[i].data, texts[i].len);
        len += texts[i].len;
    }
    return len;
}

/* What the tally counts it under: its pool, "skill:NAME", or nothing. */
static enum weir_status line_target(struct sqlite_registry *r, const struct registry_line *l,
                                    struct name_entry **ret, struct weir_error *err)
{
    char text[REGISTRY_NAME_BYTES_MAX + 8] = "skill:";

    if (l->pool.len || !l->skill.len)
        return registry_name(r, l->pool, ret, err);
    memcpy(text + 6, l->skill.data, l->skill.len);
    return registry_name(r, (struct slice){text, 6 + l->skill.len}, ret, err);
}

static enum weir_status line_add(struct sqlite_registry *r, struct slice key, uint64_t hash,
                                 const struct registry_line *from, struct line_entry **ret,
                                 struct weir_error *err)
{
    struct line_entry *l = mem_calloc(1, sizeof(*l) + key.len);
    struct slice *texts[LINE_TEXTS];
    enum weir_status status;
    char *at;

    if (!l)
        return error_nomem(err);
    at = (char *)(l + 1);
    memcpy(at, key.data, key.len);
    l->in.hash = hash;
    l->in.key = (struct slice){at, key.len};
    l->line = *from;
    l->passed = INT64_MIN;
    texts[0] = &l->line.pool;
    texts[1] = &l->line.skill;
    texts[2] = &l->line.tenant;
    texts[3] = &l->line.session;
    texts[4] = &l->line.slots;
    at += LINE_KEY_FIXED;
    for (size_t i = 0; i < LINE_TEXTS; i++) {
        texts[i]->data = at;
        at += texts[i]->len;
    }
    status = line_target(r, &l->line, &l->target, err);
    if (status == WEIR_OK)
        status = intern_add(&r->lines, &l->in, err);
    if (status != WEIR_OK) {
        mem_free(l);
        return status;
    }
    l->line.id = l->in.id;
    *ret = l;
    return WEIR_OK;
}

enum weir_status registry_line(struct sqlite_registry *r, const struct registry_line *l,
                               struct line_entry **ret, struct weir_error *err)
{
    char bytes[LINE_KEY_MAX];
    struct slice key = {bytes, line_key(l, bytes)};
    uint64_t hash = intern_hash(key);
    struct interned *found = intern_find(&r->lines, key, hash);
    struct line_entry *e = NULL;
    enum weir_status status;
    sqlite3_stmt *stmt;

    if (found) {
        *ret = (struct line_entry *)(void *)found;
        return WEIR_OK;
    }
    stmt = registry_statement(r, RS_LINE_PUT);
    if (!stmt)
        return registry_fail(r, "writing a line", err);
    status = line_add(r, key, hash, l, &e, err);
    if (status != WEIR_OK)
        return status;
    sqlite3_bind_int64(stmt, 1, e->in.id);
    sqlite3_bind_int64(stmt, 2, e->line.priority);
    sqlite3_bind_int64(stmt, 3, e->line.cpu_milli);
    sqlite3_bind_int64(stmt, 4, e->line.memory_mib);
    sqlite3_bind_text(stmt, 5, e->line.pool.data, (int)e->line.pool.len, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 6, e->line.skill.data, (int)e->line.skill.len, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 7, e->line.tenant.data, (int)e->line.tenant.len, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 8, e->line.session.data, (int)e->line.session.len, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 9, e->line.slots.data, (int)e->line.slots.len, SQLITE_STATIC);
    *ret = e;
    return registry_run(r, stmt, "writing a line", err);
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

static enum weir_status load_line(struct sqlite_registry *r, sqlite3_stmt *stmt,
                                  struct weir_error *err)
{
    struct registry_line l = {.priority = sqlite3_column_int(stmt, 1),
                              .cpu_milli = (uint32_t)sqlite3_column_int64(stmt, 2),
                              .memory_mib = (uint32_t)sqlite3_column_int64(stmt, 3),
                              .pool = registry_column(stmt, 4),
                              .skill = registry_column(stmt, 5),
                              .tenant = registry_column(stmt, 6),
                              .session = registry_column(stmt, 7),
                              .slots = registry_column(stmt, 8)};
    struct line_entry *e = NULL;
    enum weir_status status;
    char bytes[LINE_KEY_MAX];
    struct slice key;

    if (l.pool.len > REGISTRY_NAME_BYTES_MAX || l.skill.len > REGISTRY_NAME_BYTES_MAX ||
        l.tenant.len > REGISTRY_NAME_BYTES_MAX || l.session.len > REGISTRY_NAME_BYTES_MAX ||
        l.slots.len > (size_t)REGISTRY_SLOTS_MAX * (REGISTRY_NAME_BYTES_MAX + 1))
        return registry_damaged(r->path, "a name is too long", err);
    key = (struct slice){bytes, line_key(&l, bytes)};
    status = line_add(r, key, intern_hash(key), &l, &e, err);
    if (status == WEIR_OK && e->in.id != sqlite3_column_int64(stmt, 0))
        return registry_damaged(r->path, "a line is missing", err);
    return status;
}

static enum weir_status load_each(struct sqlite_registry *r, const char *sql,
                                  enum weir_status (*load)(struct sqlite_registry *, sqlite3_stmt *,
                                                           struct weir_error *),
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
    enum weir_status status = load_each(r, "SELECT id, text FROM name ORDER BY id", load_name, err);

    if (status == WEIR_OK)
        status = load_each(r,
                           "SELECT id, priority, cpu, memory, pool, skill, tenant, session, slots"
                           " FROM line ORDER BY id",
                           load_line, err);
    r->names_durable = atomic_load(&r->names.count);
    r->lines_durable = atomic_load(&r->lines.count);
    return status;
}
