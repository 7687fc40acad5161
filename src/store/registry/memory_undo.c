/*
 * Taking back. A chain of what was done, last first: bytes as they were are put back in the reverse
 * order, and only then is freed what was made since, for it may hold bytes that were touched.
 */
#include "store/registry/memory_internal.h"

#include "base/mem.h"

#include <assert.h>
#include <string.h>

static struct memory_undo *log_add(struct memory_registry *m, enum memory_undo_kind kind, void *at,
                                   size_t size)
{
    struct memory_undo *u = mem_alloc(sizeof(*u) + size);

    if (!u)
        return NULL;
    *u = (struct memory_undo){.next = m->undo, .kind = kind, .at = at, .size = size};
    m->undo = u;
    return u;
}

bool memory_touch(struct memory_registry *m, void *at, size_t size)
{
    struct memory_undo *u = log_add(m, UNDO_BYTES, at, size);

    if (u)
        memcpy(u->bytes, at, size);
    return u != NULL;
}

void *memory_make(struct memory_registry *m, size_t size)
{
    void *block = mem_calloc(1, size);

    if (block && !log_add(m, UNDO_NEW, block, 0))
        block = mem_free(block);
    return block;
}

bool memory_drop(struct memory_registry *m, void *block)
{
    return !block || log_add(m, UNDO_OLD, block, 0) != NULL;
}

bool memory_log_gone(struct memory_registry *m, enum memory_undo_kind kind, void *thing)
{
    return log_add(m, kind, thing, 0) != NULL;
}

bool memory_set_text(struct memory_registry *m, struct memory_text *t, struct slice s)
{
    char *data = NULL;

    if (s.len > 0) {
        data = memory_make(m, s.len + 1);
        if (!data)
            return false;
        memcpy(data, s.data, s.len);
    }
    if (!memory_drop(m, t->data))
        return false;
    *t = (struct memory_text){data, s.len};
    return true;
}

void memory_task_free(struct memory_task *t)
{
    struct memory_text *texts[] = {&t->key,    &t->payload, &t->idempotency, &t->message,
                                   &t->output, &t->errput,  &t->pool};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        mem_free(texts[i]->data);
    mem_free(t->edges);
    mem_free(t->up);
    mem_free(t);
}

void memory_batch_free(struct memory_batch *b)
{
    mem_free(b->name.data);
    mem_free(b->tasks);
    mem_free(b);
}

static void put_back_one(struct memory_registry *m, const struct memory_undo *u)
{
    if (u->kind == UNDO_BYTES) {
        memcpy(u->at, u->bytes, u->size);
    } else if (u->kind == UNDO_TASK_GONE) {
        struct memory_task *t = u->at;

        m->tasks[t->id - 1] = t;
    } else if (u->kind == UNDO_BATCH_GONE) {
        struct memory_batch *b = u->at;

        m->batches[b->id - 1] = b;
    } else if (u->kind == UNDO_LINE_NEW) {
        struct memory_line *l = u->at;

        m->lines[l->pub.id - 1] = NULL;
    } else if (u->kind == UNDO_LINE_GONE) {
        struct memory_line *l = u->at;

        assert(m->lines_dropped == l);
        m->lines_dropped = l->gone_next;
        l->gone = false;
    }
}

void memory_take_back(struct memory_registry *m, struct memory_undo *mark,
                      const struct memory_counts *c)
{
    for (const struct memory_undo *u = m->undo; u != mark; u = u->next)
        put_back_one(m, u);
    for (uint64_t seq = c->event_last + 1; seq <= m->c.event_last; seq++)
        m->events[seq - 1] = mem_free(m->events[seq - 1]);
    while (m->undo != mark) {
        struct memory_undo *u = m->undo;

        m->undo = u->next;
        if (u->kind == UNDO_NEW)
            mem_free(u->at);
        mem_free(u);
    }
    m->c = *c;
    memory_derive(m);
}

/* Those that this transaction has dropped are told when it is over. */
static void tell_dropped(struct memory_registry *m)
{
    while (m->lines_dropped) {
        struct memory_line *l = m->lines_dropped;

        m->lines_dropped = l->gone_next;
        l->gone_next = m->lines_told;
        m->lines_told = l;
    }
}

void memory_commit(struct memory_registry *m)
{
    tell_dropped(m);
    while (m->undo) {
        struct memory_undo *u = m->undo;

        m->undo = u->next;
        if (u->kind == UNDO_OLD)
            mem_free(u->at);
        else if (u->kind == UNDO_TASK_GONE)
            memory_task_free(u->at);
        else if (u->kind == UNDO_BATCH_GONE)
            memory_batch_free(u->at);
        mem_free(u);
    }
}
