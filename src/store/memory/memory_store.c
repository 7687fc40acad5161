/*
 * Rows are found by an open-addressing table of pointers, keyed by the row's index; a row that was
 * once put keeps its entry, so the table never deletes. Each call that changes something allocates
 * all it needs first and then commits by moving pointers, so that a failure changes nothing.
 */
#include "store/memory/memory_store.h"

#include "base/error.h"
#include "base/mem.h"
#include "store/check.h"

#include <inttypes.h>
#include <pthread.h>

/* A row's record, in one block with its key, message and request id; the output is apart, because
 * it goes first. */
struct memory_record {
    struct store_row row;
    char *output;
    char text[];
};

struct memory_entry {
    uint64_t index;
    struct memory_record *record; /* NULL: not finished (yet, or again) */
    uint32_t generation;          /* of the next run of the row */
    bool has_place;
    struct store_place place;
};

struct memory_fact {
    struct memory_fact *next;
    char *name;
    char *value;
    size_t value_len;
};

struct memory_store {
    struct core_store base; /* first: the port casts */
    pthread_mutex_t lock;
    struct memory_entry **slots; /* NULL: free */
    size_t slot_count;           /* a power of two, or 0 */
    size_t entry_count;
    struct store_attempt *attempts;
    size_t attempt_count, attempt_cap;
    struct memory_fact *facts;
    struct store_mark mark;
    uint64_t put_calls, mark_calls;     /* since they were armed */
    uint64_t put_fail_at, mark_fail_at; /* 0: not armed */
};

static struct memory_store *self(struct core_store *s)
{
    return (struct memory_store *)(void *)s;
}

/* The slot that holds `index`, or the free one where it belongs. The table has a free slot. */
static size_t slot_of(struct memory_entry *const *slots, size_t count, uint64_t index)
{
    /* Fibonacci hashing: rows are numbered one after the other, and must not cluster. */
    size_t at = (size_t)((index * UINT64_C(0x9E3779B97F4A7C15)) >> 20) & (count - 1);

    while (slots[at] && slots[at]->index != index)
        at = (at + 1) & (count - 1);
    return at;
}

static struct memory_entry *entry_find(const struct memory_store *m, uint64_t index)
{
    return m->slot_count ? m->slots[slot_of(m->slots, m->slot_count, index)] : NULL;
}

static struct memory_entry *finished_find(const struct memory_store *m, uint64_t index)
{
    struct memory_entry *e = entry_find(m, index);

    return e && e->record ? e : NULL;
}

/* Makes room for `extra` more entries, at most half full. */
static bool table_reserve(struct memory_store *m, size_t extra)
{
    size_t want = m->slot_count ? m->slot_count : 64;
    struct memory_entry **slots;

    while (want / 2 < m->entry_count + extra) {
        if (want > SIZE_MAX / 4 / sizeof(*slots))
            return false;
        want *= 2;
    }
    if (want == m->slot_count)
        return true;
    slots = mem_calloc(want, sizeof(*slots));
    if (!slots)
        return false;
    for (size_t i = 0; i < m->slot_count; i++)
        if (m->slots[i])
            slots[slot_of(slots, want, m->slots[i]->index)] = m->slots[i];
    mem_free(m->slots);
    m->slots = slots;
    m->slot_count = want;
    return true;
}

/* The entry of `index`, made when there is none; an entry without a record means nothing yet, so it
 * may stay behind when the call fails. NULL: no memory. */
static struct memory_entry *entry_make(struct memory_store *m, uint64_t index)
{
    struct memory_entry *e = entry_find(m, index);

    if (e)
        return e;
    e = mem_calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    e->index = index;
    m->slots[slot_of(m->slots, m->slot_count, index)] = e;
    m->entry_count++;
    return e;
}

static struct memory_record *record_free(struct memory_record *r)
{
    if (r)
        mem_free(r->output);
    return mem_free(r);
}

static struct slice text_append(char *text, size_t *used, struct slice s)
{
    struct slice copy = {text + *used, s.len};

    if (s.len)
        memcpy(text + *used, s.data, s.len);
    *used += s.len;
    return copy;
}

static struct memory_record *record_new(const struct store_row *row)
{
    size_t bytes = row->key.len + row->message.len + row->request_id.len;
    struct memory_record *r = mem_alloc(sizeof(*r) + bytes + 1);
    size_t used = 0;

    if (!r)
        return NULL;
    r->row = *row;
    r->output = NULL;
    r->row.key = text_append(r->text, &used, row->key);
    r->row.message = text_append(r->text, &used, row->message);
    r->row.request_id = text_append(r->text, &used, row->request_id);
    r->row.output = r->row.errput = (struct slice){NULL, 0};
    if (row->has_output) {
        used = 0;
        r->output = mem_alloc(row->output.len + row->errput.len + 1);
        if (!r->output)
            return record_free(r);
        r->row.output = text_append(r->output, &used, row->output);
        r->row.errput = text_append(r->output, &used, row->errput);
    }
    return r;
}

/* Room for the attempts, and copies of their messages behind the ones that count. */
static enum weir_status attempts_stage(struct memory_store *m, const struct store_attempt *attempts,
                                       size_t count, size_t *ret_staged, struct weir_error *err)
{
    if (m->attempt_count + count > m->attempt_cap) {
        size_t cap = (m->attempt_count + count) * 2;
        struct store_attempt *grown = mem_realloc(m->attempts, cap * sizeof(*grown));

        if (!grown)
            return error_nomem(err);
        m->attempts = grown;
        m->attempt_cap = cap;
    }
    for (size_t i = 0; i < count; i++) {
        struct store_attempt *a = &m->attempts[m->attempt_count + i];

        *a = attempts[i];
        a->message = (struct slice){NULL, 0};
        if (attempts[i].message.len) {
            char *copy = mem_copy(attempts[i].message.data, attempts[i].message.len);

            if (!copy)
                return error_nomem(err);
            a->message = (struct slice){copy, attempts[i].message.len};
        }
        *ret_staged = i + 1;
    }
    return WEIR_OK;
}

static void attempt_clear(struct store_attempt *a)
{
    mem_free((void *)(uintptr_t)a->message.data);
    a->message = (struct slice){NULL, 0};
}

/* All or nothing: records hang in their entries only while the rest of the group is made; on
 * failure the first `made` are taken out again. */
static enum weir_status put_locked(struct memory_store *m, const struct store_row *rows,
                                   size_t row_count, const struct store_attempt *attempts,
                                   size_t attempt_count, struct weir_error *err)
{
    enum weir_status status;
    size_t made = 0, staged = 0;

    if (!table_reserve(m, row_count))
        return error_nomem(err);
    status = attempts_stage(m, attempts, attempt_count, &staged, err);
    for (; status == WEIR_OK && made < row_count; made++) {
        struct memory_entry *e = entry_make(m, rows[made].index);

        if (e && e->record)
            status = error_set(err, WEIR_E_CONFLICT, "row %" PRIu64 " has already finished",
                               rows[made].index);
        else if (!e || !(e->record = record_new(&rows[made])))
            status = error_nomem(err);
        if (status != WEIR_OK)
            break;
    }
    if (status == WEIR_OK) {
        m->attempt_count += attempt_count;
        return WEIR_OK;
    }
    while (made-- > 0) {
        struct memory_entry *e = entry_find(m, rows[made].index);

        e->record = record_free(e->record);
    }
    while (staged-- > 0)
        attempt_clear(&m->attempts[m->attempt_count + staged]);
    return status;
}

static bool fault_is_due(uint64_t *calls, uint64_t *fail_at)
{
    if (!*fail_at || ++*calls != *fail_at)
        return false;
    *fail_at = 0;
    return true;
}

static enum weir_status memory_put(struct core_store *s, const struct store_row *rows,
                                   size_t row_count, const struct store_attempt *attempts,
                                   size_t attempt_count, struct weir_error *err)
{
    struct memory_store *m = self(s);
    enum weir_status status = store_check_put(rows, row_count, attempts, attempt_count, err);

    if (status != WEIR_OK)
        return status;
    pthread_mutex_lock(&m->lock);
    if (fault_is_due(&m->put_calls, &m->put_fail_at))
        status = error_set(err, WEIR_E_IO, "the store was told to fail this put");
    else
        status = put_locked(m, rows, row_count, attempts, attempt_count, err);
    pthread_mutex_unlock(&m->lock);
    return status;
}

static enum weir_status memory_get(struct core_store *s, uint64_t index, struct store_row *ret,
                                   struct buf *hold, struct weir_error *err)
{
    struct memory_store *m = self(s);
    struct memory_entry *e;
    enum weir_status status = WEIR_OK;

    buf_clear(hold);
    pthread_mutex_lock(&m->lock);
    e = finished_find(m, index);
    if (!e) {
        status = error_set(err, WEIR_E_END, "row %" PRIu64 " has not finished", index);
        goto out;
    }
    const struct store_row *row = &e->record->row;
    size_t bytes =
        row->key.len + row->message.len + row->request_id.len + row->output.len + row->errput.len;
    char *text = buf_reserve(hold, bytes);
    size_t used = 0;

    if (!text) {
        status = error_nomem(err);
        goto out;
    }
    *ret = *row;
    ret->key = text_append(text, &used, row->key);
    ret->message = text_append(text, &used, row->message);
    ret->request_id = text_append(text, &used, row->request_id);
    ret->output = text_append(text, &used, row->output);
    ret->errput = text_append(text, &used, row->errput);
    text[used] = '\0';
    hold->len += used;
out:
    pthread_mutex_unlock(&m->lock);
    return status;
}

static enum weir_status mark_locked(struct memory_store *m, const struct store_mark *mark,
                                    const struct store_place *places, size_t place_count,
                                    struct weir_error *err)
{
    enum weir_status status = store_check_mark(mark, m->mark.next, places, place_count, err);

    if (status != WEIR_OK)
        return status;
    for (uint64_t k = m->mark.next; k < mark->next; k++)
        if (!finished_find(m, k))
            return error_set(err, WEIR_E_INVALID,
                             "the mark cannot pass row %" PRIu64 ", which has not finished", k);
    for (uint64_t k = m->mark.next; k < mark->next; k++) {
        struct memory_entry *e = entry_find(m, k);

        e->record->output = mem_free(e->record->output);
        e->record->row.output = e->record->row.errput = (struct slice){NULL, 0};
        e->record->row.has_output = false;
        e->has_place = false;
    }
    for (size_t i = 0; i < place_count; i++) {
        struct memory_entry *e = entry_find(m, places[i].index);

        e->place = places[i];
        e->has_place = true;
    }
    m->mark = *mark;
    return WEIR_OK;
}

static enum weir_status memory_mark(struct core_store *s, const struct store_mark *mark,
                                    const struct store_place *places, size_t place_count,
                                    struct weir_error *err)
{
    struct memory_store *m = self(s);
    enum weir_status status;

    pthread_mutex_lock(&m->lock);
    if (fault_is_due(&m->mark_calls, &m->mark_fail_at))
        status = error_set(err, WEIR_E_IO, "the store was told to fail this mark");
    else
        status = mark_locked(m, mark, places, place_count, err);
    pthread_mutex_unlock(&m->lock);
    return status;
}

static enum weir_status memory_place(struct core_store *s, uint64_t index, struct store_place *ret,
                                     struct weir_error *err)
{
    struct memory_store *m = self(s);
    struct memory_entry *e;
    enum weir_status status = WEIR_OK;

    pthread_mutex_lock(&m->lock);
    e = finished_find(m, index);
    if (e && e->has_place)
        *ret = e->place;
    else
        status = error_set(err, WEIR_E_END, "row %" PRIu64 " has no place in a file", index);
    pthread_mutex_unlock(&m->lock);
    return status;
}

static enum weir_status memory_summary(struct core_store *s, struct store_summary *ret,
                                       struct weir_error *err)
{
    struct memory_store *m = self(s);
    struct store_summary sum = {0};

    (void)err;
    pthread_mutex_lock(&m->lock);
    sum.mark = m->mark;
    for (size_t i = 0; i < m->slot_count; i++) {
        const struct store_row *row;

        if (!m->slots[i] || !m->slots[i]->record)
            continue;
        row = &m->slots[i]->record->row;
        sum.finished++;
        sum.failed += row->outcome != WEIR_OUTCOME_OK;
        if (row->complete_index >= sum.complete_index)
            sum.complete_index = row->complete_index + 1;
        sum.capacity_retries += row->capacity_retries;
        sum.attempts += row->attempts;
    }
    pthread_mutex_unlock(&m->lock);
    *ret = sum;
    return WEIR_OK;
}

static enum weir_status memory_reopen_failed(struct core_store *s, uint64_t *ret_rows,
                                             struct weir_error *err)
{
    struct memory_store *m = self(s);
    uint64_t rows = 0;

    (void)err;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->slot_count; i++) {
        struct memory_entry *e = m->slots[i];

        if (!e || !e->record || e->record->row.outcome == WEIR_OUTCOME_OK)
            continue;
        if (e->record->row.generation >= e->generation && e->record->row.generation < UINT32_MAX)
            e->generation = e->record->row.generation + 1;
        e->record = record_free(e->record);
        e->has_place = false;
        rows++;
    }
    m->mark = (struct store_mark){0};
    pthread_mutex_unlock(&m->lock);
    *ret_rows = rows;
    return WEIR_OK;
}

static enum weir_status memory_generation(struct core_store *s, uint64_t index, uint32_t *ret,
                                          struct weir_error *err)
{
    struct memory_store *m = self(s);
    struct memory_entry *e;

    (void)err;
    pthread_mutex_lock(&m->lock);
    e = entry_find(m, index);
    *ret = e ? e->generation : 0;
    pthread_mutex_unlock(&m->lock);
    return WEIR_OK;
}

static struct memory_fact *fact_find(struct memory_store *m, const char *name)
{
    for (struct memory_fact *f = m->facts; f; f = f->next)
        if (strcmp(f->name, name) == 0)
            return f;
    return NULL;
}

static enum weir_status memory_set(struct core_store *s, const char *name, struct slice value,
                                   struct weir_error *err)
{
    struct memory_store *m = self(s);
    struct memory_fact *f, *fresh = NULL;
    enum weir_status status = WEIR_OK;
    char *copy = mem_copy(value.len ? value.data : "", value.len);

    if (!copy)
        return error_nomem(err);
    pthread_mutex_lock(&m->lock);
    f = fact_find(m, name);
    if (!f) {
        f = fresh = mem_calloc(1, sizeof(*fresh));
        if (!f || !(f->name = mem_strdup(name))) {
            mem_free(fresh);
            mem_free(copy);
            status = error_nomem(err);
            goto out;
        }
        f->next = m->facts;
        m->facts = f;
    }
    mem_free(f->value);
    f->value = copy;
    f->value_len = value.len;
out:
    pthread_mutex_unlock(&m->lock);
    return status;
}

static enum weir_status memory_fact(struct core_store *s, const char *name, struct buf *out,
                                    struct weir_error *err)
{
    struct memory_store *m = self(s);
    struct memory_fact *f;
    enum weir_status status = WEIR_OK;

    pthread_mutex_lock(&m->lock);
    f = fact_find(m, name);
    if (!f)
        status = error_set(err, WEIR_E_END, "there is no fact named '%s'", name);
    else
        buf_put(out, f->value, f->value_len);
    pthread_mutex_unlock(&m->lock);
    if (status == WEIR_OK && out->failed)
        status = error_nomem(err);
    return status;
}

static void memory_close(struct core_store *s)
{
    struct memory_store *m = self(s);

    for (size_t i = 0; i < m->slot_count; i++) {
        if (!m->slots[i])
            continue;
        record_free(m->slots[i]->record);
        mem_free(m->slots[i]);
    }
    mem_free(m->slots);
    for (size_t i = 0; i < m->attempt_count; i++)
        attempt_clear(&m->attempts[i]);
    mem_free(m->attempts);
    while (m->facts) {
        struct memory_fact *f = m->facts;

        m->facts = f->next;
        mem_free(f->name);
        mem_free(f->value);
        mem_free(f);
    }
    pthread_mutex_destroy(&m->lock);
    mem_free(m);
}

static const struct core_store_ops memory_ops = {
    .name = "memory",
    .put = memory_put,
    .get = memory_get,
    .mark = memory_mark,
    .place = memory_place,
    .summary = memory_summary,
    .reopen_failed = memory_reopen_failed,
    .generation = memory_generation,
    .set = memory_set,
    .fact = memory_fact,
    .close = memory_close,
};

enum weir_status memory_store_new(struct core_store **ret, struct weir_error *err)
{
    struct memory_store *m = mem_calloc(1, sizeof(*m));
    int rc;

    if (!m)
        return error_nomem(err);
    rc = pthread_mutex_init(&m->lock, NULL);
    if (rc != 0) {
        mem_free(m);
        return error_set_errno(err, WEIR_E_NOMEM, rc, "cannot make a lock");
    }
    m->base.ops = &memory_ops;
    *ret = &m->base;
    return WEIR_OK;
}

void memory_store_fail_put_at(struct core_store *s, uint64_t n)
{
    struct memory_store *m = self(s);

    pthread_mutex_lock(&m->lock);
    m->put_calls = 0;
    m->put_fail_at = n;
    pthread_mutex_unlock(&m->lock);
}

void memory_store_fail_mark_at(struct core_store *s, uint64_t n)
{
    struct memory_store *m = self(s);

    pthread_mutex_lock(&m->lock);
    m->mark_calls = 0;
    m->mark_fail_at = n;
    pthread_mutex_unlock(&m->lock);
}

const struct store_attempt *memory_store_attempts(struct core_store *s, size_t *ret_count)
{
    struct memory_store *m = self(s);

    pthread_mutex_lock(&m->lock);
    *ret_count = m->attempt_count;
    pthread_mutex_unlock(&m->lock);
    return m->attempts;
}
