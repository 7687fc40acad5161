#include "engine/row_store.h"

#include "base/mem.h"
#include "exec/process/process.h"

#include <string.h>

/* Rows that are had at once. */
#define SLAB_ROWS  64
#define LINE_BYTES 64

struct row_slab {
    struct row_slab *next;
};

void row_store_init(struct row_store *rows, const struct row_worker *worker)
{
    *rows = (struct row_store){.worker = worker, .index_text = "0", .index_len = 1};
    pthread_mutex_init(&rows->lock, NULL);
}

void row_store_free(struct row_store *rows)
{
    while (rows->slabs) {
        struct row_slab *s = rows->slabs;

        rows->slabs = s->next;
        mem_free(s);
    }
    pthread_mutex_destroy(&rows->lock);
}

/* What stands before the data in a row's own memory. */
static size_t head_bytes(const struct row_store *rows)
{
    return rows->worker ? sizeof(struct process_request) : 0;
}

void row_store_forget(struct public_row *r)
{
    mem_free((char *)(uintptr_t)r->row.data - head_bytes(r->home));
}

static bool more(struct row_store *rows)
{
    struct row_slab *s = mem_alloc(sizeof *s + LINE_BYTES + SLAB_ROWS * sizeof(struct public_row));
    uintptr_t at;

    if (!s)
        return false;
    s->next = rows->slabs;
    rows->slabs = s;
    /* On cache lines of their own, for neighbours are with different threads. */
    at = ((uintptr_t)(s + 1) + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES;
    rows->fresh = (struct public_row *)at;
    rows->fresh_end = rows->fresh + SLAB_ROWS;
    return true;
}

static void release_row(struct core_task *t)
{
    struct public_row *r = (struct public_row *)(void *)t;

    if (r->row.data != r->small)
        row_store_forget(r);
    task_clear(t);
    task_init(t);
    t->release = release_row;
    row_store_recycle(r->home, t, t);
}

static struct public_row *take_clean(struct row_store *rows)
{
    struct core_task *t = rows->spare;
    struct public_row *r;

    if (!t) {
        pthread_mutex_lock(&rows->lock);
        t = rows->back;
        rows->back = NULL;
        pthread_mutex_unlock(&rows->lock);
    }
    if (t) {
        rows->spare = t->next;
        t->next = NULL;
        return (struct public_row *)(void *)t;
    }
    if (rows->fresh == rows->fresh_end && !more(rows))
        return NULL;
    r = rows->fresh++;
    task_init(&r->task);
    r->task.release = release_row;
    r->home = rows;
    return r;
}

static size_t key_bytes(const struct weir_row *row)
{
    return row->key ? strlen(row->key) + 1 : ROW_INDEX_TEXT_BYTES;
}

static size_t session_bytes(const struct row_store *rows, const struct weir_row *row)
{
    return rows->worker && row->session ? strlen(row->session) + 1 : 0;
}

bool row_store_needs_large(const struct row_store *rows, const struct weir_row *row)
{
    return rows->worker || row->len >= ROW_SMALL_BYTES ||
           row->len + 1 + key_bytes(row) > ROW_SMALL_BYTES;
}

char *row_store_large(const struct row_store *rows, const struct weir_row *row)
{
    size_t head = head_bytes(rows);
    size_t more = head + 1 + key_bytes(row) + session_bytes(rows, row);
    char *large = row->len < SIZE_MAX - more ? mem_alloc(more + row->len) : NULL;

    if (large && row->len > 0)
        memcpy(large + head, row->data, row->len);
    return large;
}

/* A row for a worker: what its memory begins with is what the executor expects. */
static void take_for_worker(struct public_row *r, const struct weir_row *row, char *large,
                            char *session)
{
    struct process_request *request = (struct process_request *)(void *)large;

    *request = (struct process_request){.command = r->home->worker->command,
                                        .args = {r->row.data, row->len}};
    r->task.payload = request;
    r->row.session = NULL;
    if (row->session)
        r->row.session = memcpy(session, row->session, strlen(row->session) + 1);
    r->task.session = r->row.session;
}

struct public_row *row_store_take(struct row_store *rows, const struct weir_row *row, char *large)
{
    struct public_row *r = take_clean(rows);
    char *bytes, *key;

    if (!r)
        return NULL;
    bytes = large ? large + head_bytes(rows) : r->small;
    key = bytes + row->len + 1;
    if (!large && row->len > 0)
        memcpy(bytes, row->data, row->len);
    bytes[row->len] = '\0';
    if (row->key)
        memcpy(key, row->key, strlen(row->key) + 1);
    else
        memcpy(key, rows->index_text, rows->index_len + 1);
    r->row = *row;
    r->row.data = bytes;
    r->row.key = key;
    r->task.key = key;
    r->task.user = row->user;
    r->task.payload = r;
    r->task.payload_len = row->len;
    if (row->deadline_ms > 0)
        r->task.deadline_ns = duration_from_ms(row->deadline_ms);
    if (rows->worker)
        take_for_worker(r, row, large, key + key_bytes(row));
    return r;
}

void row_store_count(struct row_store *rows)
{
    uint32_t i = rows->index_len;

    while (i > 0 && rows->index_text[i - 1] == '9')
        rows->index_text[--i] = '0';
    if (i > 0) {
        rows->index_text[i - 1]++;
        return;
    }
    /* All nines: one digit more. */
    rows->index_text[0] = '1';
    rows->index_text[rows->index_len++] = '0';
}

void row_store_recycle(struct row_store *rows, struct core_task *first, struct core_task *last)
{
    pthread_mutex_lock(&rows->lock);
    last->next = rows->back;
    rows->back = first;
    pthread_mutex_unlock(&rows->lock);
}
