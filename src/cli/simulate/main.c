/*
 * weir simulate: what weir run would do, in virtual time.
 *
 *     weir simulate --service examples/services/s1.yml --rows 100000 -j 64 --compare aimd,adaptive --plot s1.svg
 *
 * Here: signals, the files, what is printed. The options are in options.c, the runs in runs.c, the
 * simulator in sim/. The files are opened before anything is simulated: who cannot write them is
 * told at once.
 */
#include "base/error.h"
#include "cli/commands.h"
#include "cli/simulate/report.h"
#include "cli/simulate/runs.h"
#include "observe/eventlog.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A simulation makes events faster than a disk takes them, and may not drop any. */
#define EVENTS_BYTES ((size_t)1 << 30)

/* The first asks for the end, the second is the end. */
static void on_signal(int number)
{
    (void)number;
    runs_stop();
}

static enum weir_status take_signals(struct weir_error *err)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction now, ours = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

        /* What our caller has us ignore stays ignored (nohup, a job of a script). */
        if (sigaction(numbers[i], NULL, &now) != 0 ||
            (now.sa_handler != SIG_IGN && sigaction(numbers[i], &ours, NULL) != 0))
            return error_set_errno(err, WEIR_E_IO, errno, "cannot take signals");
    }
    return WEIR_OK;
}

static enum weir_status write_all(int fd, const char *name, const struct buf *text,
                                  struct weir_error *err)
{
    size_t done = 0;

    if (text->failed)
        return error_nomem(err);
    while (done < text->len) {
        ssize_t n = write(fd, text->data + done, text->len - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set_errno(err, WEIR_E_IO, n < 0 ? errno : ENOSPC,
                                   "%s cannot be written; make room or name another file", name);
        done += (size_t)n;
    }
    return WEIR_OK;
}

/* One regular file by both names, or what will be one. */
static bool is_same(const char *a, const char *b)
{
    struct stat of_a, of_b;

    if (stat(a, &of_a) != 0 || stat(b, &of_b) != 0)
        return strcmp(a, b) == 0;
    return S_ISREG(of_a.st_mode) && of_a.st_dev == of_b.st_dev && of_a.st_ino == of_b.st_ino;
}

/* Nothing is written over the service, nor two things into one file. */
static enum weir_status check_files(const struct simulate_options *o, struct weir_error *err)
{
    const struct {
        const char *option, *path;
    } files[] = {{"--service", o->service}, {"--plot", o->plot}, {"--events", o->events}};
    enum { FILES = sizeof files / sizeof *files, FIRST_WRITTEN = 1 };

    for (size_t i = FIRST_WRITTEN; i < FILES; i++) {
        if (!files[i].path)
            continue;
        if (strcmp(files[i].path, "-") == 0)
            return error_set(err, WEIR_E_INVALID, "%s: needs a file of its own; - is none",
                             files[i].option);
        for (size_t k = 0; k < i; k++) {
            if (files[k].path && is_same(files[i].path, files[k].path))
                return error_set(err, WEIR_E_INVALID,
                                 "%s: %s is the file of %s too; give another name", files[i].option,
                                 files[i].path, files[k].option);
        }
    }
    return WEIR_OK;
}

/* The plot's file, opened without touching what is in it; *ret_is_ours: it was not there before. */
static enum weir_status open_plot(const char *path, int *ret_fd, bool *ret_is_ours,
                                  struct weir_error *err)
{
    bool is_ours = access(path, F_OK) != 0;
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);

    if (fd < 0)
        return error_set_errno(err, WEIR_E_IO, errno, "--plot: cannot write %s", path);
    *ret_fd = fd;
    *ret_is_ours = is_ours;
    return WEIR_OK;
}

static enum weir_status write_plot(struct runs *r, int fd, struct weir_error *err)
{
    _cleanup_buf_ struct buf text = {0};

    report_put_plot(r, &text);
    /* A pipe or a device has no length. */
    if (!text.failed && ftruncate(fd, 0) != 0 && errno != EINVAL)
        return error_set_errno(err, WEIR_E_IO, errno, "--plot: cannot write %s", r->options->plot);
    return write_all(fd, r->options->plot, &text, err);
}

static enum weir_status print(const struct runs *r, struct weir_error *err)
{
    _cleanup_buf_ struct buf text = {0};

    if (r->options->json)
        report_put_json(r, &text);
    else
        report_put_text(r, &text);
    return write_all(STDOUT_FILENO, "standard output", &text, err);
}

static enum weir_status simulate(const struct simulate_options *o, struct runs *r,
                                 struct weir_error *err)
{
    struct eventlog *events = NULL;
    enum weir_status status = WEIR_OK, closed;
    bool plot_is_ours = false;
    int plot = -1;

    if (o->plot)
        status = open_plot(o->plot, &plot, &plot_is_ours, err);
    if (status == WEIR_OK && o->events)
        /* Virtual time begins with a year. */
        status = eventlog_open(
            &(struct eventlog_options){.path = o->events,
                                       .wall_offset_ns = SIM_WALL_OFFSET_NS - SIM_START.ns,
                                       .buffer_bytes = EVENTS_BYTES},
            &events, err);
    if (status == WEIR_OK)
        status = runs_do(r, events ? eventlog_observer(events) : NULL, err);
    closed = eventlog_close(events, status == WEIR_OK ? err : NULL);
    if (status == WEIR_OK)
        status = closed;
    if (status == WEIR_OK && !r->stopped && plot >= 0)
        status = write_plot(r, plot, err);
    if (status == WEIR_OK && !r->stopped)
        status = print(r, err);
    if (plot >= 0 && close(plot) != 0 && status == WEIR_OK)
        status = error_set_errno(err, WEIR_E_IO, errno, "--plot: cannot write %s", o->plot);
    if (plot_is_ours && (status != WEIR_OK || r->stopped))
        (void)unlink(o->plot);
    return status;
}

static int print_help(void)
{
    _cleanup_buf_ struct buf text = {0};
    struct weir_error err = {0};
    enum weir_status status = simulate_help_put(&text, &err);

    if (status == WEIR_OK)
        status = write_all(STDOUT_FILENO, "standard output", &text, &err);
    if (status == WEIR_OK)
        return CLI_OK;
    fprintf(stderr, "weir simulate: %s\n", err.message);
    return CLI_FAILED;
}

int cmd_simulate(int argc, char **argv)
{
    struct simulate_options options;
    struct weir_error err = {0};
    struct runs runs;
    enum weir_status status = simulate_options_read(&options, argc, argv, &err);
    bool stopped = false;

    if (status == WEIR_OK && !options.help) {
        status = check_files(&options, &err);
        if (status != WEIR_OK)
            simulate_options_free(&options);
    }
    if (status != WEIR_OK) {
        fprintf(stderr, "weir simulate: %s\n", err.message);
        return status == WEIR_E_NOMEM ? CLI_FAILED : CLI_USAGE;
    }
    if (options.help) {
        simulate_options_free(&options);
        return print_help();
    }
    status = take_signals(&err);
    if (status == WEIR_OK)
        status = runs_make(&options, &runs, &err);
    if (status == WEIR_OK) {
        status = simulate(&options, &runs, &err);
        stopped = runs.stopped;
        runs_free(&runs);
    }
    simulate_options_free(&options);
    if (status != WEIR_OK)
        fprintf(stderr, "weir simulate: %s\n", err.message);
    else if (stopped)
        fprintf(stderr, "weir simulate: stopped; nothing is reported\n");
    return status != WEIR_OK ? CLI_FAILED : stopped ? CLI_STOPPED : CLI_OK;
}
