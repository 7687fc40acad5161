/*
 * Changes by hand, one after the other, on a thread of their own (internal.h): each waits until it
 * is written down, and a store that is slow or fails must not hold up the server's few threads,
 * which answer everybody else.
 *
 *     handler ──► apart() ──► suspended ──► on the thread: fn answers ──► http_resume()
 */
#include "serve/api/internal.h"

#include "base/mem.h"

struct apart_work {
    struct list link;
    struct http_request *req;
    http_handler_fn fn;
};

static void *run(void *ctx)
{
    struct api *a = ctx;
    struct list *node;

    pthread_mutex_lock(&a->apart_lock);
    for (;;) {
        struct apart_work *w;

        while (!(node = list_front(&a->apart)) && !a->apart_ends)
            pthread_cond_wait(&a->apart_more, &a->apart_lock);
        if (!node)
            break;
        w = list_entry(node, struct apart_work, link);
        list_remove(&w->link);
        pthread_mutex_unlock(&a->apart_lock);
        w->fn(w->req, a);
        http_resume(w->req);
        mem_free(w);
        pthread_mutex_lock(&a->apart_lock);
    }
    pthread_mutex_unlock(&a->apart_lock);
    return NULL;
}

bool apart_start(struct api *a)
{
    list_init(&a->apart);
    if (pthread_mutex_init(&a->apart_lock, NULL) != 0)
        return false;
    if (pthread_cond_init(&a->apart_more, NULL) != 0) {
        pthread_mutex_destroy(&a->apart_lock);
        return false;
    }
    a->has_apart = true;
    a->apart_runs = pthread_create(&a->apart_thread, NULL, run, a) == 0;
    return a->apart_runs;
}

void apart_stop(struct api *a)
{
    if (!a->apart_runs)
        return;
    pthread_mutex_lock(&a->apart_lock);
    a->apart_ends = true;
    pthread_cond_signal(&a->apart_more);
    pthread_mutex_unlock(&a->apart_lock);
    pthread_join(a->apart_thread, NULL);
    a->apart_runs = false;
}

void apart_free(struct api *a)
{
    if (!a->has_apart)
        return;
    apart_stop(a);
    pthread_cond_destroy(&a->apart_more);
    pthread_mutex_destroy(&a->apart_lock);
    a->has_apart = false;
}

void apart(struct api *a, struct http_request *req, http_handler_fn fn)
{
    struct apart_work *w = mem_alloc(sizeof *w);

    if (!w) {
        reply_nomem(req);
        return;
    }
    *w = (struct apart_work){.req = req, .fn = fn};
    list_init(&w->link);
    http_suspend(req, NULL);
    pthread_mutex_lock(&a->apart_lock);
    list_push_back(&a->apart, &w->link);
    pthread_cond_signal(&a->apart_more);
    pthread_mutex_unlock(&a->apart_lock);
}
