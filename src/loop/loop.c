#include "loop/loop.h"

#include "base/error.h"
#include "base/mem.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct loop {
    uv_loop_t uv;
    uv_prepare_t prepare; /* runs the turn: after all callbacks, before the thread sleeps */
    uv_async_t wake;
    uv_poll_t timer;
    int timer_fd;
    struct instant armed; /* what timer_fd is set to */
    loop_turn_fn turn;
    void *ctx;
    bool stopped;
};

struct instant loop_clock(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (struct instant){(int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec};
}

duration_ns loop_thread_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t loop_wall_clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

uint64_t loop_entropy(void)
{
    uint64_t bits;

    if (getrandom(&bits, sizeof bits, 0) != (ssize_t)sizeof bits)
        bits = (uint64_t)loop_wall_clock_ns() ^ ((uint64_t)getpid() << 48);
    return bits;
}

/* The instants of the loop are those of CLOCK_MONOTONIC, so they can be handed to the kernel as they are. */
static void arm(struct loop *l, struct instant when)
{
    struct itimerspec spec = {0};

    if (when.ns == l->armed.ns)
        return;
    l->armed = when;
    if (!instant_is_never(when)) {
        int64_t ns = when.ns > 0 ? when.ns : 1; /* 0 would disarm it */

        spec.it_value.tv_sec = ns / NS_PER_S;
        spec.it_value.tv_nsec = ns % NS_PER_S;
    }
    timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void on_prepare(uv_prepare_t *handle)
{
    struct loop *l = handle->data;

    arm(l, l->turn(l->ctx));
}

static void on_timer(uv_poll_t *handle, int status, int events)
{
    struct loop *l = handle->data;
    uint64_t times;

    (void)status;
    (void)events;
    if (read(l->timer_fd, &times, sizeof times) == (ssize_t)sizeof times)
        l->armed = INSTANT_NEVER;
}

/* Its only purpose is that the thread does not sleep: the turn follows by itself. */
static void on_wake(uv_async_t *handle)
{
    (void)handle;
}

static void close_all(struct loop *l)
{
    uv_handle_t *own[] = {(uv_handle_t *)&l->prepare, (uv_handle_t *)&l->wake,
                          (uv_handle_t *)&l->timer};

    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (own[i]->data)
            uv_close(own[i], NULL);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    uv_loop_close(&l->uv);
    if (l->timer_fd >= 0)
        close(l->timer_fd);
    mem_free(l);
}

static enum weir_status start_handles(struct loop *l, struct weir_error *err)
{
    int rc;

    l->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (l->timer_fd < 0)
        return error_set_errno(err, WEIR_E_IO, errno, "cannot create a timer");
    rc = uv_prepare_init(&l->uv, &l->prepare);
    if (rc == 0) {
        l->prepare.data = l;
        rc = uv_async_init(&l->uv, &l->wake, on_wake);
    }
    if (rc == 0) {
        l->wake.data = l;
        rc = uv_poll_init(&l->uv, &l->timer, l->timer_fd);
    }
    if (rc == 0) {
        l->timer.data = l;
        rc = uv_prepare_start(&l->prepare, on_prepare);
    }
    if (rc == 0)
        rc = uv_poll_start(&l->timer, UV_READABLE, on_timer);
    if (rc != 0)
        return error_set(err, WEIR_E_IO, "cannot set up the event loop: %s", uv_strerror(rc));
    return WEIR_OK;
}

enum weir_status loop_new(struct loop **ret, loop_turn_fn turn, void *ctx, struct weir_error *err)
{
    struct loop *l = mem_calloc(1, sizeof *l);
    enum weir_status status;
    int rc;

    if (!l)
        return error_nomem(err);
    l->turn = turn;
    l->ctx = ctx;
    l->timer_fd = -1;
    l->armed = INSTANT_NEVER;
    rc = uv_loop_init(&l->uv);
    if (rc != 0) {
        mem_free(l);
        return error_set(err, WEIR_E_IO, "cannot create an event loop: %s", uv_strerror(rc));
    }
    status = start_handles(l, err);
    if (status != WEIR_OK) {
        close_all(l);
        return status;
    }
    *ret = l;
    return WEIR_OK;
}

void loop_run(struct loop *l)
{
    while (!l->stopped)
        uv_run(&l->uv, UV_RUN_ONCE);
}

void loop_stop(struct loop *l)
{
    l->stopped = true;
    uv_stop(&l->uv); /* this round must not sleep */
}

void loop_wake(struct loop *l)
{
    uv_async_send(&l->wake);
}

uv_loop_t *loop_uv(struct loop *l)
{
    return &l->uv;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    uv_prepare_stop(&l->prepare);
    close_all(l);
}
