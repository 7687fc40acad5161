/*
 * Lines, and the targets of the tally that they stand for. Both are kept in memory, and their rows
 * written once by each transaction that changes how many tasks there are.
 *
 *      made by a SUBMIT or an EDIT ──► in use ◄──► empty ──PURGE──► dropped, told ──next PURGE──► let go of ──► free
 *                    └── the op is refused, or the transaction fails ──► taken back ───────────────────┘
 *
 * From `dropped` on nobody finds it by what it is, and its row is gone; by its number it is found
 * until it is let go of, for the engine may still ask. Readers look lines up by number, too, and
 * choose them by number before they look for tasks, within a call, for which they hold r->reading:
 * so nothing is freed, and no number becomes free, while one is in a call. Else a list could show a
 * task of another line, which has come by a number that had passed the filter.
 *
 * The writer does not wait for readers: it tries again with each transaction. That calls which
 * overlap do not keep it out for good, it waits for a moment after many tries; new calls wait
 * behind it then.
 *
 * What a transaction has added and dropped is noted in steps, which are taken back in the reverse
 * order when it fails.
 */
#include "base/error.h"
#include "base/mem.h"
#include "loop/loop.h"
#include "store/registry/sqlite_inside.h"

#include <assert.h>
#include <string.h>
#include <time.h>

/* After so many tries in vain, the writer waits so long for those who read. */
#define READERS_TRIES   64
#define READERS_WAIT_NS (10 * NS_PER_MS)

#define LINE_TEXTS 5
/* Three numbers, and the length of each text. */
#define LINE_KEY_FIXED (3 * sizeof(uint32_t) + LINE_TEXTS * sizeof(uint16_t))
#define LINE_KEY_MAX   (LINE_KEY_FIXED + (size_t)9 * (REGISTRY_NAME_BYTES_MAX + 1))

static struct line_entry *line_of_link(struct list *link)
{
    return list_entry(link, struct line_entry, empty_link);
}

/* ---- targets ---- */

static struct target *target_find(const struct sqlite_registry *r, struct slice text, uint64_t hash)
{
    for (struct map_node *n = map_find(&r->targets, hash); n; n = map_again(n)) {
        struct target *t = map_entry(n, struct target, node);

        if (slice_equal(text, (struct slice){t->text, t->len}))
            return t;
    }
    return NULL;
}

void target_touch(struct sqlite_registry *r, struct target *t)
{
    if (t->dirty)
        return;
    t->dirty = true;
    t->next_dirty = r->dirty_targets;
    r->dirty_targets = t;
}

/* One line more is counted under that. */
static struct target *target_join(struct sqlite_registry *r, struct slice text)
{
    uint64_t hash = intern_hash(text);
    struct target *t = target_find(r, text, hash);

    if (!t) {
        t = mem_calloc(1, sizeof(*t) + text.len);
        if (!t)
            return NULL;
        if (text.len)
            memcpy(t->text, text.data, text.len);
        t->len = text.len;
        map_put(&r->targets, &t->node, hash);
    }
    t->lines++;
    return t;
}

/* One less: with the last it goes, when the transaction is over. */
static void target_leave(struct sqlite_registry *r, struct target *t)
{
    assert(t->lines > 0);
    t->lines--;
    if (t->lines == 0)
        target_touch(r, t);
}

static void target_free(struct sqlite_registry *r, struct target *t)
{
    map_remove(&r->targets, &t->node);
    mem_free(t);
}

void targets_settle(struct sqlite_registry *r)
{
    while (r->dirty_targets) {
        struct target *t = r->dirty_targets;

        r->dirty_targets = t->next_dirty;
        t->dirty = false;
        memset(t->n, 0, sizeof(t->n));
        if (t->lines == 0)
            target_free(r, t);
    }
}

/* What the tally counts it under: its pool, "skill:NAME", or nothing. */
static struct target *line_target(struct sqlite_registry *r, const struct registry_line *l)
{
    char text[REGISTRY_NAME_BYTES_MAX + 8] = "skill:";

    if (l->pool.len || !l->skill.len)
        return target_join(r, l->pool);
    memcpy(text + 6, l->skill.data, l->skill.len);
    return target_join(r, (struct slice){text, 6 + l->skill.len});
}

/* ---- lines by what they are ---- */

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

static struct line_entry *line_new(struct sqlite_registry *r, struct slice key, uint64_t hash,
                                   const struct registry_line *from)
{
    struct line_entry *l = mem_calloc(1, sizeof(*l) + key.len);
    struct slice *texts[LINE_TEXTS];
    char *at;

    if (!l)
        return NULL;
    at = (char *)(l + 1);
    memcpy(at, key.data, key.len);
    l->in.hash = hash;
    l->in.key = (struct slice){at, key.len};
    l->line = *from;
    l->passed = INT64_MIN;
    list_init(&l->empty_link);
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
    l->target = line_target(r, &l->line);
    return l->target ? l : mem_free(l);
}

/* ---- steps ---- */

static bool reserve_step(struct sqlite_registry *r)
{
    struct line_step *more;
    size_t cap;

    if (r->step_count < r->step_cap)
        return true;
    cap = r->step_cap ? r->step_cap * 2 : 64;
    more = mem_realloc(r->steps, cap * sizeof(*more));
    if (!more)
        return false;
    r->steps = more;
    r->step_cap = cap;
    return true;
}

/* For those who are in a call; those who come wait behind. The wall clock: if it is set back, this lasts until those calls end. */
static bool wait_for_readers(struct sqlite_registry *r)
{
    int64_t at_ns = loop_wall_clock_ns() + READERS_WAIT_NS;
    struct timespec until = {.tv_sec = at_ns / NS_PER_S, .tv_nsec = at_ns % NS_PER_S};

    r->lines_tries = 0;
    return pthread_rwlock_timedwrlock(&r->reading, &until) == 0;
}

/* Memory and numbers of those that nobody has but a reader, perhaps: then another time, unless it is worth a wait. */
static void free_unread(struct sqlite_registry *r, bool wait)
{
    if (!r->lines_unread)
        return;
    if (pthread_rwlock_trywrlock(&r->reading) != 0) {
        wait = ++r->lines_tries >= READERS_TRIES || wait;
        if (!wait || !wait_for_readers(r))
            return;
    }
    r->lines_tries = 0;
    while (r->lines_unread) {
        struct line_entry *l = r->lines_unread;

        r->lines_unread = l->gone_next;
        intern_free_id(&r->lines, &l->in);
        mem_free(l);
    }
    pthread_rwlock_unlock(&r->reading);
}

static void link_if_empty(struct sqlite_registry *r, struct line_entry *l)
{
    bool empty = l->tasks == 0 && !l->gone;

    if (empty && list_empty(&l->empty_link))
        list_push_back(&r->empty_lines, &l->empty_link);
    else if (!empty)
        list_remove(&l->empty_link);
}

static void take_back_added(struct sqlite_registry *r, struct line_entry *l)
{
    assert(l->tasks == 0 && !l->dirty);
    list_remove(&l->empty_link);
    l->gone = true;
    intern_hide(&r->lines, &l->in);
    target_leave(r, l->target);
    l->gone_next = r->lines_unread;
    r->lines_unread = l;
}

static void take_back_dropped(struct sqlite_registry *r, struct line_entry *l)
{
    assert(r->lines_dropped == l);
    r->lines_dropped = l->gone_next;
    l->gone = false;
    l->target->lines++;
    intern_show(&r->lines, &l->in);
    link_if_empty(r, l);
}

void lineset_take_back(struct sqlite_registry *r, size_t steps)
{
    while (r->step_count > steps) {
        const struct line_step *s = &r->steps[--r->step_count];

        if (!s->added) {
            take_back_dropped(r, s->line);
            continue;
        }
        /* Of an op that is refused; else none is dirty any more. */
        if (s->line->dirty) {
            assert(r->dirty_lines == s->line);
            r->dirty_lines = s->line->next_dirty;
            s->line->dirty = false;
        }
        take_back_added(r, s->line);
    }
    free_unread(r, false);
}

void lineset_keep(struct sqlite_registry *r)
{
    struct line_entry **end = &r->lines_told;

    r->step_count = 0;
    while (*end)
        end = &(*end)->gone_next;
    *end = r->lines_dropped;
    r->lines_dropped = NULL;
    free_unread(r, false);
}

/* ---- how many tasks ---- */

static void line_touch_row(struct sqlite_registry *r, struct line_entry *l)
{
    if (l->dirty)
        return;
    l->dirty = true;
    l->next_dirty = r->dirty_lines;
    r->dirty_lines = l;
}

void line_count(struct sqlite_registry *r, struct line_entry *l, int64_t more)
{
    l->tasks += (uint64_t)more;
    line_touch_row(r, l);
    link_if_empty(r, l);
}

static enum weir_status line_put(struct sqlite_registry *r, const struct line_entry *e,
                                 struct weir_error *err)
{
    sqlite3_stmt *stmt = registry_statement(r, RS_LINE_PUT);
    const struct registry_line *l = &e->line;
    const struct slice texts[LINE_TEXTS] = {l->pool, l->skill, l->tenant, l->session, l->slots};

    if (!stmt)
        return registry_fail(r, "writing a line", err);
    sqlite3_bind_int64(stmt, 1, e->in.id);
    sqlite3_bind_int64(stmt, 2, l->priority);
    sqlite3_bind_int64(stmt, 3, l->cpu_milli);
    sqlite3_bind_int64(stmt, 4, l->memory_mib);
    for (int i = 0; i < LINE_TEXTS; i++)
        sqlite3_bind_text(stmt, 5 + i, texts[i].data, (int)texts[i].len, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 5 + LINE_TEXTS, (sqlite3_int64)e->tasks);
    return registry_run(r, stmt, "writing a line", err);
}

enum weir_status lineset_write(struct sqlite_registry *r, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    for (struct line_entry *l = r->dirty_lines; l && status == WEIR_OK; l = l->next_dirty) {
        const int64_t numbers[] = {l->in.id, (int64_t)l->tasks};

        if (l->gone && l->has_row)
            status = registry_do(r, RS_LINE_DROP, 1, numbers, "writing a line", err);
        else if (!l->gone && !l->has_row)
            status = line_put(r, l, err);
        else if (!l->gone && l->tasks != l->row_tasks)
            status = registry_do(r, RS_LINE_COUNT, 2, numbers, "writing a line", err);
    }
    return status;
}

void lineset_settle(struct sqlite_registry *r, bool written)
{
    while (r->dirty_lines) {
        struct line_entry *l = r->dirty_lines;

        r->dirty_lines = l->next_dirty;
        l->dirty = false;
        if (written) {
            l->row_tasks = l->tasks;
            l->has_row = !l->gone;
        } else {
            l->tasks = l->row_tasks;
            link_if_empty(r, l);
        }
    }
}

/* ---- made ---- */

enum weir_status registry_line(struct sqlite_registry *r, const struct registry_line *l,
                               struct line_entry **ret, struct weir_error *err)
{
    char bytes[LINE_KEY_MAX];
    struct slice key = {bytes, line_key(l, bytes)};
    uint64_t hash = intern_hash(key);
    struct interned *found = intern_find(&r->lines, key, hash);
    struct line_entry *e;

    if (found) {
        *ret = (struct line_entry *)(void *)found;
        return WEIR_OK;
    }
    if (intern_next_id(&r->lines) > r->lines_max)
        free_unread(r, true);
    if (intern_next_id(&r->lines) > r->lines_max)
        return error_set(err, WEIR_E_LIMIT,
                         "there are %u kinds of tasks in the registry (by pool, priority, tenant, "
                         "session, ...), which is all that it can tell apart: use fewer, or have "
                         "those deleted that have ended (retention)",
                         r->lines_max);
    e = reserve_step(r) ? line_new(r, key, hash, l) : NULL;
    if (!e)
        return error_nomem(err);
    if (intern_put(&r->lines, &e->in, intern_next_id(&r->lines), err) != WEIR_OK) {
        target_leave(r, e->target);
        mem_free(e);
        return WEIR_E_NOMEM;
    }
    e->line.id = e->in.id;
    r->steps[r->step_count++] = (struct line_step){e, true};
    line_count(r, e, 0);
    *ret = e;
    return WEIR_OK;
}

/* ---- dropped ---- */

/* Whoever sends a PURGE does not ask for these any more, whatever becomes of it. */
static void let_go(struct sqlite_registry *r)
{
    while (r->lines_told) {
        struct line_entry *l = r->lines_told;

        r->lines_told = l->gone_next;
        l->gone_next = r->lines_unread;
        r->lines_unread = l;
    }
    free_unread(r, false);
}

static void drop(struct sqlite_registry *r, struct line_entry *l)
{
    list_remove(&l->empty_link);
    l->gone = true;
    intern_hide(&r->lines, &l->in);
    target_leave(r, l->target);
    line_touch_row(r, l);
    l->gone_next = r->lines_dropped;
    r->lines_dropped = l;
    r->steps[r->step_count++] = (struct line_step){l, false};
}

enum weir_status lineset_purge(struct sqlite_registry *r, struct registry_purge *p,
                               struct weir_error *err)
{
    size_t count = 0;

    if (!p->keep_lines)
        let_go(r);
    list_foreach (link, &r->empty_lines)
        if (++count == p->max)
            break;
    if (count == 0 || p->max == 0) {
        p->ret_more |= count > 0;
        return WEIR_OK;
    }
    p->ret_lines_gone = mem_calloc(count, sizeof(*p->ret_lines_gone));
    if (!p->ret_lines_gone)
        return error_nomem(err);
    while (p->ret_lines_gone_count < count) {
        struct line_entry *l = line_of_link(list_front(&r->empty_lines));

        if (!reserve_step(r))
            return error_nomem(err);
        drop(r, l);
        p->ret_lines_gone[p->ret_lines_gone_count++] = l->in.id;
    }
    p->ret_more |= !list_empty(&r->empty_lines);
    return WEIR_OK;
}

/* ---- at the open and the close ---- */

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
    int64_t id = sqlite3_column_int64(stmt, 0), tasks = sqlite3_column_int64(stmt, 9);
    struct line_entry *e;
    char bytes[LINE_KEY_MAX];
    struct slice key;

    if (l.pool.len > REGISTRY_NAME_BYTES_MAX || l.skill.len > REGISTRY_NAME_BYTES_MAX ||
        l.tenant.len > REGISTRY_NAME_BYTES_MAX || l.session.len > REGISTRY_NAME_BYTES_MAX ||
        l.slots.len > (size_t)REGISTRY_SLOTS_MAX * (REGISTRY_NAME_BYTES_MAX + 1))
        return registry_damaged(r->path, "a name is too long", err);
    if (id < 1 || id > REGISTRY_LINES_MAX || tasks < 0)
        return registry_damaged(r->path, "a line has a wrong number", err);
    key = (struct slice){bytes, line_key(&l, bytes)};
    if (intern_find(&r->lines, key, intern_hash(key)))
        return registry_damaged(r->path, "a line is there twice", err);
    e = line_new(r, key, intern_hash(key), &l);
    if (!e)
        return error_nomem(err);
    if (intern_put(&r->lines, &e->in, (uint32_t)id, err) != WEIR_OK) {
        mem_free(e);
        return WEIR_E_NOMEM;
    }
    e->line.id = e->in.id;
    e->tasks = e->row_tasks = (uint64_t)tasks;
    e->has_row = true;
    link_if_empty(r, e);
    return WEIR_OK;
}

enum weir_status lineset_load(struct sqlite_registry *r, struct weir_error *err)
{
    return registry_load_each(
        r,
        "SELECT id, priority, cpu, memory, pool, skill, tenant, session, slots, tasks"
        " FROM line ORDER BY id",
        load_line, err);
}

/* The other kind, which is the default, lets a reader in before a writer that waits. */
static bool lock_init(pthread_rwlock_t *lock)
{
    pthread_rwlockattr_t attr;
    bool done;

    if (pthread_rwlockattr_init(&attr) != 0)
        return false;
    done =
        pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP) == 0 &&
        pthread_rwlock_init(lock, &attr) == 0;
    pthread_rwlockattr_destroy(&attr);
    return done;
}

enum weir_status lineset_init(struct sqlite_registry *r, struct weir_error *err)
{
    list_init(&r->empty_lines);
    map_init(&r->targets);
    r->lines_max = REGISTRY_LINES_MAX;
    if (!lock_init(&r->reading))
        return error_nomem(err);
    r->can_be_read = true;
    return WEIR_OK;
}

void lineset_close(struct sqlite_registry *r)
{
    struct map_node *next;

    if (!r->can_be_read)
        return;
    intern_free(&r->lines);
    for (struct map_node *n = map_begin(&r->targets); n; n = next) {
        next = map_after(&r->targets, n);
        mem_free(map_entry(n, struct target, node));
    }
    map_free(&r->targets);
    mem_free(r->steps);
    pthread_rwlock_destroy(&r->reading);
}
