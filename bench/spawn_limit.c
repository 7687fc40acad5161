/*
 * The limit for running commands: a bare vfork loop on several threads, which captures nothing,
 * keeps no order and looks at nothing but the exit status.
 *
 *     spawn_limit ROWS THREADS PROGRAM
 *
 * The program is given the number of the row as its argument, as the other sides do: /bin/true does
 * more with one.
 */
#include "benchkit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS_MAX 64

extern char **environ;

static const char *program;
static uint64_t rows;
static atomic_ullong next_row;

static void run_one(uint64_t row)
{
    char number[24];
    char *const argv[] = {(char *)(uintptr_t)program, number, NULL};
    int status;
    pid_t pid;

    snprintf(number, sizeof number, "%" PRIu64, row);
    pid = vfork();
    if (pid == 0) {
        execve(program, argv, environ);
        _exit(127);
    }
    if (pid < 0)
        bench_die("cannot start a process");
    if (waitpid(pid, &status, 0) != pid || status != 0)
        bench_die("a command did not end well");
}

static void *run_all(void *arg)
{
    uint64_t row;

    (void)arg;
    while ((row = atomic_fetch_add_explicit(&next_row, 1, memory_order_relaxed)) < rows)
        run_one(row);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS_MAX];
    uint64_t count;
    double start_s;

    rows = bench_number(argc, argv, 1);
    count = bench_number(argc, argv, 2);
    program = bench_text(argc, argv, 3);
    if (count > THREADS_MAX)
        bench_die("too many threads");
    start_s = bench_now_s();
    for (uint64_t i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, run_all, NULL))
            bench_die("no thread");
    for (uint64_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    bench_tell("rows_per_s", (double)rows / (bench_now_s() - start_s));
    return 0;
}
