#include "engine/committer.h"

#include "base/error.h"
#include "base/mem.h"
#include "core/record.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

/* A copy of what store_attempt points at. */
struct attempt_record {
    struct store_attempt attempt;
    char *message;
    struct attempt_record *next;
};

struct committer {
    struct core_store *store;
    int64_t wall_offset_ns;
    committer_done_fn on_done;
    void *ctx;
    pthread_t thread;

    /* engine's thread only: gathered since the last kick */
    struct core_task *gathered, **gathered_tail;
    struct attempt_record *noted, **noted_tail;

    /* under the lock */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct core_task *tasks, **tasks_tail;
    struct attempt_record *attempts, **attempts_tail;
    size_t attempts_waiting;
    atomic_uint_fast64_t unrecorded; /* any thread */
    bool quit;

    /* committer's thread only */
    struct store_row rows[COMMITTER_GROUP_ROWS];
    struct store_attempt records[COMMITTER_GROUP_ROWS];
};

void committer_put(struct committer *c, struct core_task *task)
{
    task->next = NULL;
    *c->gathered_tail = task;
    c->gathered_tail = &task->next;
}

void committer_attempt(struct committer *c, const struct core_task *t, duration_ns wait_ns)
{
    struct attempt_record *r = mem_calloc(1, sizeof *r);

    if (!r) {
        atomic_fetch_add(&c->unrecorded, 1);
        return;
    }
    r->message = t->answer.message ? mem_strdup(t->answer.message) : NULL;
    record_attempt(t, c->wall_offset_ns, wait_ns, &r->attempt);
    r->attempt.message = slice_of(r->message);
    *c->noted_tail = r;
    c->noted_tail = &r->next;
}

static void free_records(struct attempt_record *r)
{
    while (r) {
        struct attempt_record *next = r->next;

        mem_free(r->message);
        mem_free(r);
        r = next;
    }
}

static void hand_over_attempts(struct committer *c)
{
    while (c->noted) {
        struct attempt_record *r = c->noted;

        c->noted = r->next;
        r->next = NULL;
        if (c->attempts_waiting >= COMMITTER_ATTEMPTS_MAX) {
            atomic_fetch_add(&c->unrecorded, 1);
            free_records(r);
            continue;
        }
        *c->attempts_tail = r;
        c->attempts_tail = &r->next;
        c->attempts_waiting++;
    }
    c->noted_tail = &c->noted;
}

void committer_kick(struct committer *c)
{
    if (!c->gathered && !c->noted)
        return;
    pthread_mutex_lock(&c->lock);
    if (c->gathered) {
        *c->tasks_tail = c->gathered;
        c->tasks_tail = c->gathered_tail;
        c->gathered = NULL;
        c->gathered_tail = &c->gathered;
    }
    hand_over_attempts(c);
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

/* Under the lock. */
static struct core_task *take_tasks(struct committer *c, size_t *ret_count)
{
    struct core_task *first = c->tasks, *last = NULL;
    size_t n = 0;

    for (struct core_task *t = first; t && n < COMMITTER_GROUP_ROWS; t = t->next, n++)
        last = t;
    *ret_count = n;
    if (!last)
        return NULL;
    c->tasks = last->next;
    if (!c->tasks)
        c->tasks_tail = &c->tasks;
    last->next = NULL;
    return first;
}

/* Under the lock. */
static struct attempt_record *take_attempts(struct committer *c, size_t *ret_count)
{
    struct attempt_record *first = c->attempts, *last = NULL;
    size_t n = 0;

    for (struct attempt_record *r = first; r && n < COMMITTER_GROUP_ROWS; r = r->next, n++)
        last = r;
    *ret_count = n;
    if (!last)
        return NULL;
    c->attempts = last->next;
    if (!c->attempts)
        c->attempts_tail = &c->attempts;
    last->next = NULL;
    c->attempts_waiting -= n;
    return first;
}

static void write_group(struct committer *c, struct core_task *tasks, size_t task_count,
                        struct attempt_record *attempts, size_t attempt_count)
{
    struct weir_error err = {0};
    enum weir_status status;
    size_t i = 0;

    for (struct core_task *t = tasks; t; t = t->next)
        record_row(t, c->wall_offset_ns, &c->rows[i++]);
    i = 0;
    for (struct attempt_record *r = attempts; r; r = r->next)
        c->records[i++] = r->attempt;
    status = c->store->ops->put(c->store, c->rows, task_count, c->records, attempt_count, &err);
    free_records(attempts);
    if (tasks || status != WEIR_OK)
        c->on_done(c->ctx, tasks, status, &err);
}

static void *committer_main(void *arg)
{
    struct committer *c = arg;

    for (;;) {
        struct attempt_record *attempts;
        struct core_task *tasks;
        size_t task_count, attempt_count;

        pthread_mutex_lock(&c->lock);
        /* Attempts alone do not hurry: they ride with the next row, or with the end. */
        while (!c->tasks && !c->quit && c->attempts_waiting < COMMITTER_GROUP_ROWS)
            pthread_cond_wait(&c->wake, &c->lock);
        tasks = take_tasks(c, &task_count);
        attempts = take_attempts(c, &attempt_count);
        pthread_mutex_unlock(&c->lock);
        if (!tasks && !attempts)
            return NULL;
        write_group(c, tasks, task_count, attempts, attempt_count);
    }
}

enum weir_status committer_new(struct core_store *store, int64_t wall_offset_ns,
                               committer_done_fn on_done, void *ctx, struct committer **ret,
                               struct weir_error *err)
{
    struct committer *c = mem_calloc(1, sizeof *c);
    int rc;

    if (!c)
        return error_nomem(err);
    c->store = store;
    c->wall_offset_ns = wall_offset_ns;
    c->on_done = on_done;
    c->ctx = ctx;
    c->gathered_tail = &c->gathered;
    c->noted_tail = &c->noted;
    c->tasks_tail = &c->tasks;
    c->attempts_tail = &c->attempts;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->wake, NULL);
    rc = pthread_create(&c->thread, NULL, committer_main, c);
    if (rc != 0) {
        pthread_cond_destroy(&c->wake);
        pthread_mutex_destroy(&c->lock);
        mem_free(c);
        return error_set_errno(err, WEIR_E_NOMEM, rc, "cannot start the store's thread");
    }
    *ret = c;
    return WEIR_OK;
}

uint64_t committer_unrecorded(struct committer *c)
{
    return atomic_load(&c->unrecorded);
}

void committer_free(struct committer *c)
{
    if (!c)
        return;
    committer_kick(c);
    pthread_mutex_lock(&c->lock);
    c->quit = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->lock);
    mem_free(c);
}
