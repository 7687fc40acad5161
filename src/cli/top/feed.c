#include "cli/top/feed.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/client/request.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* A screen shows no more; the counts above it are whole. */
#define TASKS_MAX   "500"
#define EVENTS_MAX  "200"
#define ACTIONS_MAX 8
/* Of one answer. Longer, and the daemon counts as not there. */
#define ANSWER_S 10

/* ---- one round ---- */

static void swap(struct buf *a, struct buf *b)
{
    struct buf kept = *a;

    *a = *b;
    *b = kept;
}

static void put_problem(const struct client *c, char *message, size_t size)
{
    _cleanup_buf_ struct buf text = {0};
    struct slice body = buf_slice(&c->body), title, detail;

    if (json_check(body, NULL)) {
        title = top_member(json_trim(body), "title");
        detail = top_member(json_trim(body), "detail");
        top_put_value(&text, title);
        buf_puts(&text, title.len > 0 && detail.len > 0 ? ": " : "");
        top_put_value(&text, detail);
    }
    if (text.len > 0)
        snprintf(message, size, "%s%s", text.data,
                 c->status == 401 ? " (--token-file, or WEIR_API_TOKEN)" : "");
    else
        snprintf(message, size, "%s answers with status %ld", c->address.data, c->status);
}

/* The answer, into `into`; else what is wrong, into message. */
static bool get(struct client *c, const char *path, struct buf *into, char *message, size_t size)
{
    struct weir_error err = {0};

    if (client_send(c, &(struct client_request){.method = "GET", .path = path}, &err) != WEIR_OK) {
        snprintf(message, size, "%s", err.message);
        return false;
    }
    if (c->status < 200 || c->status > 299) {
        put_problem(c, message, size);
        return false;
    }
    swap(&c->body, into);
    return true;
}

/* A task may have been deleted meanwhile: that is no trouble with the daemon. */
static void get_detail(struct client *c, uint64_t task, struct top_answers *a)
{
    char path[64], why[TOP_MESSAGE_BYTES];

    buf_clear(&a->task);
    buf_clear(&a->record);
    if (task == 0)
        return;
    snprintf(path, sizeof path, "/v1/tasks/%" PRIu64, task);
    if (!get(c, path, &a->task, why, sizeof why)) {
        buf_clear(&a->task);
        buf_puts(&a->task, "{\"error\":");
        json_put_string(&a->task, slice_of(why));
        buf_putc(&a->task, '}');
    }
    snprintf(path, sizeof path, "/v1/tasks/%" PRIu64 "/events?limit=" EVENTS_MAX, task);
    if (!get(c, path, &a->record, why, sizeof why))
        buf_clear(&a->record);
}

bool top_fetch(struct client *c, const struct top_want *want, struct top_answers *a)
{
    const char *const paths[TOP_LISTS] = {
        [TOP_RUNNING] = "/v1/runners",
        [TOP_TASKS] = want->failed ? "/v1/tasks?state=failed&order=newest&limit=" TASKS_MAX
                                   : "/v1/tasks?state=ready,blocked,scheduled&limit=" TASKS_MAX,
        [TOP_POOLS] = "/v1/status",
        [TOP_EVENTS] = "/v1/events?order=newest&limit=" EVENTS_MAX,
    };

    for (int i = 0; i < TOP_LISTS; i++) {
        if (!get(c, paths[i], &a->lists[i], a->trouble, sizeof a->trouble))
            return false;
    }
    get_detail(c, want->detail, a);
    a->of = *want;
    a->trouble[0] = '\0';
    a->rounds++;
    return true;
}

void top_answers_free(struct top_answers *a)
{
    for (int i = 0; i < TOP_LISTS; i++)
        buf_free(&a->lists[i]);
    buf_free(&a->task);
    buf_free(&a->record);
}

/* ---- the thread ---- */

struct top_feed {
    struct client *c;
    int every_ms;
    int wake, told; /* eventfds: for the thread, and of it */
    pthread_t thread;
    pthread_mutex_t lock;
    /* Below: under the lock. */
    bool ends;
    struct top_want want;
    struct top_action actions[ACTIONS_MAX];
    size_t action_count;
    struct top_answers ready;
    bool is_ready;
};

static void nudge(int fd)
{
    uint64_t one = 1;

    while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void calm(int fd)
{
    uint64_t count;

    while (read(fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
}

static void send_action(struct client *c, const struct top_action *action, struct top_answers *a)
{
    struct weir_error err = {0};
    struct client_request r = {.method = action->method,
                               .path = action->path.data,
                               .type = action->body.len > 0 ? "application/json" : NULL,
                               .body = buf_slice(&action->body)};

    a->is_bad = true;
    if (client_send(c, &r, &err) != WEIR_OK)
        snprintf(a->message, sizeof a->message, "%s", err.message);
    else if (c->status < 200 || c->status > 299)
        put_problem(c, a->message, sizeof a->message);
    else {
        snprintf(a->message, sizeof a->message, "%s",
                 action->done.data ? action->done.data : "done");
        a->is_bad = false;
    }
}

/* Those that had to be sent, in turn; false: it is to end. */
static bool do_requests(struct top_feed *f, struct top_answers *a, struct top_want *ret_want)
{
    for (;;) {
        struct top_action action = {0};
        bool ends;

        pthread_mutex_lock(&f->lock);
        ends = f->ends;
        *ret_want = f->want;
        if (f->action_count > 0) {
            action = f->actions[0];
            f->action_count--;
            memmove(f->actions, f->actions + 1, f->action_count * sizeof *f->actions);
        }
        pthread_mutex_unlock(&f->lock);
        if (action.what != TOP_SEND || ends) {
            top_action_free(&action);
            return !ends;
        }
        send_action(f->c, &action, a);
        top_action_free(&action);
    }
}

static void publish(struct top_feed *f, struct top_answers *a)
{
    struct top_answers kept;

    pthread_mutex_lock(&f->lock);
    if (f->is_ready && !a->message[0]) {
        /* What nobody has taken yet may have said something. */
        memcpy(a->message, f->ready.message, sizeof a->message);
        a->is_bad = f->ready.is_bad;
    }
    kept = f->ready;
    f->ready = *a;
    f->is_ready = true;
    pthread_mutex_unlock(&f->lock);
    kept.rounds = a->rounds;
    kept.message[0] = '\0';
    kept.is_bad = false;
    *a = kept;
    nudge(f->told);
}

static void *run(void *ctx)
{
    struct top_feed *f = ctx;
    struct top_answers a = {0};
    struct top_want want;

    while (do_requests(f, &a, &want)) {
        struct pollfd wake = {.fd = f->wake, .events = POLLIN};

        (void)top_fetch(f->c, &want, &a);
        publish(f, &a);
        (void)poll(&wake, 1, f->every_ms);
        if (wake.revents & POLLIN)
            calm(f->wake);
    }
    top_answers_free(&a);
    return NULL;
}

/* Signals are the main thread's. */
static int start_thread(struct top_feed *f)
{
    sigset_t all, before;
    int errnum;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    errnum = pthread_create(&f->thread, NULL, run, f);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return errnum;
}

static void feed_free(struct top_feed *f)
{
    if (f->wake >= 0)
        close(f->wake);
    if (f->told >= 0)
        close(f->told);
    for (size_t i = 0; i < f->action_count; i++)
        top_action_free(&f->actions[i]);
    top_answers_free(&f->ready);
    pthread_mutex_destroy(&f->lock);
    mem_free(f);
}

enum weir_status top_feed_open(struct top_feed **ret, struct client *c, int every_ms,
                               struct weir_error *err)
{
    struct top_feed *f = mem_calloc(1, sizeof *f);
    int errnum;

    if (!f)
        return error_nomem(err);
    c->timeout_s = ANSWER_S;
    f->c = c;
    f->every_ms = every_ms;
    f->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    f->told = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&f->lock, NULL);
    errnum = f->wake < 0 || f->told < 0 ? errno : start_thread(f);
    if (errnum != 0) {
        feed_free(f);
        return error_set_errno(err, WEIR_E_IO, errnum, "the thread that asks the daemon");
    }
    *ret = f;
    return WEIR_OK;
}

int top_feed_fd(const struct top_feed *f)
{
    return f->told;
}

bool top_feed_take(struct top_feed *f, struct top_answers *a)
{
    bool is_ready;

    calm(f->told);
    pthread_mutex_lock(&f->lock);
    is_ready = f->is_ready;
    if (is_ready) {
        struct top_answers kept = *a;

        *a = f->ready;
        f->ready = kept;
        f->ready.message[0] = '\0';
        f->is_ready = false;
    }
    pthread_mutex_unlock(&f->lock);
    return is_ready;
}

void top_feed_want(struct top_feed *f, const struct top_want *want)
{
    pthread_mutex_lock(&f->lock);
    f->want = *want;
    pthread_mutex_unlock(&f->lock);
    nudge(f->wake);
}

bool top_feed_send(struct top_feed *f, struct top_action *action)
{
    bool room;

    pthread_mutex_lock(&f->lock);
    room = f->action_count < ACTIONS_MAX;
    if (room) {
        f->actions[f->action_count++] = *action;
        *action = (struct top_action){0};
    }
    pthread_mutex_unlock(&f->lock);
    nudge(f->wake);
    return room;
}

void top_feed_close(struct top_feed *f)
{
    if (!f)
        return;
    pthread_mutex_lock(&f->lock);
    f->ends = true;
    pthread_mutex_unlock(&f->lock);
    nudge(f->wake);
    pthread_join(f->thread, NULL);
    feed_free(f);
}
