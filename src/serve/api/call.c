/*
 * Requests that wait for an op of the registry (internal.h): suspended when it is sent, resumed by
 * the clerk.
 */
#include "serve/api/internal.h"

#include "base/mem.h"

static void call_free(void *state)
{
    struct call *c = state;

    batch_use_leave(c->api, c->use);
    faults_free(&c->in.faults);
    arena_free(&c->arena);
    mem_free(c);
}

struct call *call_new(struct api *a, struct http_request *req)
{
    struct call *c = mem_calloc(1, sizeof(*c));

    if (!c) {
        reply_nomem(req);
        return NULL;
    }
    c->api = a;
    c->req = req;
    c->in.arena = &c->arena;
    c->in.now_ns = a->backend->ops->now_ns(a->backend);
    http_set_state(req, c, call_free);
    return c;
}

/* On the clerk's thread. */
static void call_done(struct registry_op *op)
{
    struct call *c = op->user;

    if (c->step)
        c->step(c);
    else
        http_resume(c->req);
}

void call_continue(struct call *c, void (*step)(struct call *c))
{
    c->step = step;
    c->op.next = NULL;
    c->op.err = (struct weir_error){0};
    c->op.at_ns = c->api->backend->ops->now_ns(c->api->backend);
    c->op.done = call_done;
    c->op.user = c;
    if (c->use && c->op.kind == REGISTRY_SUBMIT)
        batch_use_send(c->api, c->use, c->tasks.specs, c->tasks.count, &c->op);
    else
        c->api->backend->ops->send(c->api->backend, &c->op);
}

void call_send(struct call *c, http_handler_fn then)
{
    http_suspend(c->req, then);
    call_continue(c, c->step);
}

bool call_failed(struct call *c, const char *what)
{
    if (c->op.err.status == WEIR_OK)
        return false;
    reply_failure(c->req, &c->op.err, what);
    return true;
}
