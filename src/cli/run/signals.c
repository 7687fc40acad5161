/*
 * The signals that stop a run: SIGINT, SIGTERM, SIGHUP.
 *
 *     signals_block()            // before any thread is started: they inherit it
 *     signals_take(fd, &err)     // from here on they are counted; before, they end the process
 *     signals_admit()            // to the calling thread, the main one
 *     read(fd, &count, 8)        // some have come
 *
 * The first two are only counted, into an eventfd. From the third on the signal does what it does
 * to any process, whatever the main thread waits for just then: an expression of the user's that
 * never ends, a reader that sleeps. What is on disk is as after a crash, so nothing is lost by it.
 */
#include "base/error.h"
#include "cli/run/run.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

/* What the main thread is asked, before a signal ends the process: to stop, then to cancel. */
#define SIGNALS_ASKED 2

/* A handler is given nothing else. Written once, before it is installed. */
static int counter_fd = -1;
static volatile sig_atomic_t come;

static void on_signal(int number)
{
    int saved = errno;
    uint64_t one = 1;

    if (come >= SIGNALS_ASKED) {
        struct sigaction end = {.sa_handler = SIG_DFL};

        /* It is blocked while we are in here, and takes effect when we return. */
        sigaction(number, &end, NULL);
        raise(number);
    } else {
        come++;
        if (write(counter_fd, &one, sizeof one) < 0)
            come--; /* as if it had not come: the next one counts */
    }
    errno = saved;
}

/* Of the three, those that our caller does not have us ignore (nohup, a job of a script). */
static void choose_signals(sigset_t *ret)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};

    sigemptyset(ret);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction now;

        if (sigaction(numbers[i], NULL, &now) != 0 || now.sa_handler != SIG_IGN)
            sigaddset(ret, numbers[i]);
    }
}

void signals_block(void)
{
    sigset_t stopping;

    choose_signals(&stopping);
    pthread_sigmask(SIG_BLOCK, &stopping, NULL);
}

void signals_admit(void)
{
    sigset_t stopping;

    choose_signals(&stopping);
    pthread_sigmask(SIG_UNBLOCK, &stopping, NULL);
}

enum weir_status signals_take(int fd, struct weir_error *err)
{
    struct sigaction count = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    counter_fd = fd;
    come = 0;
    choose_signals(&count.sa_mask);
    for (int number = 1; number < NSIG; number++)
        if (sigismember(&count.sa_mask, number) == 1 && sigaction(number, &count, NULL) != 0)
            return error_set_errno(err, WEIR_E_IO, errno, "cannot watch for signals");
    return WEIR_OK;
}
