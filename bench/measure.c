/*
 * Runs a command COUNT times, one after the other, and writes what a run cost to a file.
 *
 *     measure REPORT COUNT COMMAND [ARGUMENT]...
 *
 * wall_s is the median of the runs, cpu_s (user and system time of the command and of the children
 * it waited for) their mean, rss_bytes the largest. It is a program of its own because the kernel
 * counts the memory of whoever starts a command as that command's peak: started from Python,
 * nothing would ever be smaller than Python.
 */
#include "benchkit.h"

#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>

extern char **environ;

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec * 1e-6;
}

/* Runs the command once; ends this program when that fails, with the command's status. */
static void run_once(char **command, double *ret_wall_s, struct rusage *ret_usage)
{
    double start_s = bench_now_s();
    int status, error;
    pid_t pid;

    error = posix_spawnp(&pid, command[0], NULL, NULL, command, environ);
    if (error) {
        fprintf(stderr, "measure: %s: %s\n", command[0], strerror(error));
        exit(127);
    }
    while (wait4(pid, &status, 0, ret_usage) < 0)
        if (errno != EINTR)
            bench_die("wait4 failed");
    *ret_wall_s = bench_now_s() - start_s;
    if (WIFSIGNALED(status)) {
        fprintf(stderr, "measure: %s: ended by signal %d\n", command[0], WTERMSIG(status));
        exit(1);
    }
    if (WEXITSTATUS(status) != 0)
        exit(WEXITSTATUS(status));
}

int main(int argc, char **argv)
{
    const char *report = bench_text(argc, argv, 1);
    size_t count = bench_number(argc, argv, 2);
    double *walls_s = calloc(count, sizeof *walls_s), cpu_s = 0;
    struct rusage usage;
    long rss_kib = 0;
    FILE *f;

    bench_text(argc, argv, 3);
    if (!walls_s)
        bench_die("no memory");
    for (size_t i = 0; i < count; i++) {
        run_once(argv + 3, &walls_s[i], &usage);
        cpu_s += seconds(usage.ru_utime) + seconds(usage.ru_stime);
        if (usage.ru_maxrss > rss_kib)
            rss_kib = usage.ru_maxrss;
    }
    qsort(walls_s, count, sizeof *walls_s, compare_doubles);
    f = fopen(report, "we");
    if (!f)
        bench_die("the report cannot be written");
    fprintf(f, "wall_s %.9f\ncpu_s %.9f\nrss_bytes %ld\n",
            (walls_s[(count - 1) / 2] + walls_s[count / 2]) / 2, cpu_s / (double)count,
            rss_kib * 1024);
    if (fclose(f) != 0)
        bench_die("the report cannot be written");
    free(walls_s);
    return 0;
}
