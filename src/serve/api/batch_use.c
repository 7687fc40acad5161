/*
 * Places of tasks in batches (internal.h). Under one lock a task gets its place and is sent, so
 * that places are in the order of ids, and the newest task of a batch has the last place. The
 * registry is not asked under it.
 */
#include "serve/api/internal.h"

#include "base/error.h"
#include "base/mem.h"

static bool note_place(void *ctx, const struct registry_view *v)
{
    *(uint64_t *)ctx = v->place + 1;
    return false;
}

static enum weir_status find_next_place(struct api *a, uint64_t batch, uint64_t *ret,
                                        struct weir_error *err)
{
    struct registry_filter filter = {.batch = batch, .newest_first = true};
    struct registry_reader *r;
    enum weir_status status = a->backend->ops->take_reader(a->backend, &r, err);

    if (status != WEIR_OK)
        return status;
    *ret = 0;
    status = r->ops->tasks(r, &filter, 0, 1, note_place, ret, err);
    reader_give(a, r);
    return status;
}

static struct batch_use *find_use(struct api *a, uint64_t batch)
{
    list_foreach (node, &a->batch_uses) {
        struct batch_use *u = list_entry(node, struct batch_use, link);

        if (u->batch == batch)
            return u;
    }
    return NULL;
}

/* With the lock: a use that nobody has yet. NULL: no memory. */
static struct batch_use *add_use(struct api *a, uint64_t batch, bool fresh)
{
    struct batch_use *u = mem_calloc(1, sizeof(*u));

    if (!u)
        return NULL;
    u->batch = batch;
    u->found = fresh;
    list_push_back(&a->batch_uses, &u->link);
    return u;
}

/* With the lock. */
static void drop_use(struct batch_use *u)
{
    if (--u->users > 0)
        return;
    list_remove(&u->link);
    mem_free(u);
}

/* With the lock, which is let go meanwhile: whoever has added the use looks for its place, the others wait for that. */
static void find_place_of_use(struct api *a, struct batch_use *u, bool ours)
{
    struct weir_error err = {0};
    uint64_t place = 0;
    enum weir_status status;

    while (!ours && !u->found && u->err.status == WEIR_OK)
        pthread_cond_wait(&a->place_found, &a->lock);
    if (!ours || u->found)
        return;
    pthread_mutex_unlock(&a->lock);
    status = find_next_place(a, u->batch, &place, &err);
    pthread_mutex_lock(&a->lock);
    u->next_place = place;
    u->found = status == WEIR_OK;
    u->err = err;
    u->err.status = status;
    pthread_cond_broadcast(&a->place_found);
}

enum weir_status batch_use_enter(struct api *a, uint64_t batch, bool fresh, struct batch_use **ret,
                                 struct weir_error *err)
{
    struct batch_use *u;
    enum weir_status status;
    bool ours;

    pthread_mutex_lock(&a->lock);
    u = find_use(a, batch);
    ours = !u;
    if (!u)
        u = add_use(a, batch, fresh);
    if (!u) {
        pthread_mutex_unlock(&a->lock);
        return error_nomem(err);
    }
    u->users++;
    find_place_of_use(a, u, ours);
    status = u->err.status;
    if (status == WEIR_OK) {
        *ret = u;
    } else {
        *err = u->err;
        drop_use(u);
    }
    pthread_mutex_unlock(&a->lock);
    return status;
}

void batch_use_leave(struct api *a, struct batch_use *u)
{
    if (!u)
        return;
    pthread_mutex_lock(&a->lock);
    drop_use(u);
    pthread_mutex_unlock(&a->lock);
}

void batch_use_send(struct api *a, struct batch_use *u, struct registry_spec *specs, size_t count,
                    struct registry_op *op)
{
    pthread_mutex_lock(&a->lock);
    for (size_t i = 0; i < count; i++) {
        specs[i].batch = u->batch;
        specs[i].place = u->next_place++;
    }
    a->backend->ops->send(a->backend, op);
    pthread_mutex_unlock(&a->lock);
}
