/*
 * Places of tasks in batches (internal.h). Under one lock a task gets its place and is sent, so that places are in the
 * order of ids, and the newest task of a batch has the last place.
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

/* With the lock. */
static enum weir_status add_use(struct api *a, uint64_t batch, bool fresh, struct batch_use **ret,
                                struct weir_error *err)
{
    struct batch_use *u = mem_calloc(1, sizeof(*u));
    enum weir_status status;

    if (!u)
        return error_nomem(err);
    u->batch = batch;
    status = fresh ? WEIR_OK : find_next_place(a, batch, &u->next_place, err);
    if (status != WEIR_OK) {
        mem_free(u);
        return status;
    }
    list_push_back(&a->batch_uses, &u->link);
    *ret = u;
    return WEIR_OK;
}

enum weir_status batch_use_enter(struct api *a, uint64_t batch, bool fresh, struct batch_use **ret,
                                 struct weir_error *err)
{
    struct batch_use *u;
    enum weir_status status = WEIR_OK;

    pthread_mutex_lock(&a->lock);
    u = find_use(a, batch);
    if (!u)
        status = add_use(a, batch, fresh, &u, err);
    if (status == WEIR_OK) {
        u->users++;
        *ret = u;
    }
    pthread_mutex_unlock(&a->lock);
    return status;
}

void batch_use_leave(struct api *a, struct batch_use *u)
{
    if (!u)
        return;
    pthread_mutex_lock(&a->lock);
    if (--u->users == 0) {
        list_remove(&u->link);
        mem_free(u);
    }
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
