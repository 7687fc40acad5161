/*
 * What the files of a run have to do with each other, and what the process may open: looked at
 * before anything is opened for writing, so that a slip of the pen costs neither an input nor the
 * results of hours.
 *
 *     files_check(&options, &err)          // no file is written that is also read, or written twice
 *     files_raise_limit(&options, &err)    // descriptors for as many connections as jobs
 *
 * Nothing here opens or changes a file. The main thread's, before all others.
 */
#include "base/error.h"
#include "base/mem.h"
#include "cli/run/run.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is open besides connections: standard streams, the loop's, the journal's, inputs and outputs; with room. */
#define DESCRIPTORS_BESIDES 48
/* Of one request at a time: its connection, and two while its host is looked up. Of a process: its three streams, what
 * tells its end, and both ends of all of them while it is started. */
#define DESCRIPTORS_PER_JOB     3
#define DESCRIPTORS_PER_PROCESS 4
/* Of a command that writes much: a file more for each of its outputs. */
#define DESCRIPTORS_PER_COMMAND (DESCRIPTORS_PER_PROCESS + 2)

/* A file by name: where it is, or would be made. */
struct place {
    const char *option, *path;
    bool exists;
    struct stat st; /* of the file, or of the folder that it would be made in */
    const char *base;
};

/* Without the name of a folder: the folder that we are in. False: no memory. */
static bool stat_folder(const char *path, struct stat *ret, int *ret_errno)
{
    const char *slash = strrchr(path, '/');
    char *folder =
        !slash ? mem_strdup(".") : mem_copy(path, slash == path ? 1 : (size_t)(slash - path));

    if (!folder)
        return false;
    *ret_errno = stat(folder, ret) == 0 ? 0 : errno;
    if (*ret_errno == 0 && access(folder, W_OK | X_OK) != 0)
        *ret_errno = errno;
    mem_free(folder);
    return true;
}

static enum weir_status find(struct place *p, const char *option, const char *path,
                             struct weir_error *err)
{
    const char *slash = strrchr(path, '/');
    int errnum;

    *p = (struct place){.option = option, .path = path, .base = slash ? slash + 1 : path};
    p->exists = stat(path, &p->st) == 0;
    if (p->exists)
        return WEIR_OK;
    if (!stat_folder(path, &p->st, &errnum))
        return error_nomem(err);
    if (errnum)
        return error_set_errno(err, WEIR_E_IO, errnum, "%s: %s cannot be created", option, path);
    return WEIR_OK;
}

static bool is_same(const struct place *a, const struct place *b)
{
    if (a->exists != b->exists || a->st.st_dev != b->st.st_dev || a->st.st_ino != b->st.st_ino)
        return false;
    return a->exists ? S_ISREG(a->st.st_mode) : strcmp(a->base, b->base) == 0;
}

static enum weir_status check_input(const struct place *written, const char *path,
                                    struct weir_error *err)
{
    struct place input = {.option = "an input", .path = path, .exists = true};

    if (strcmp(path, "-") == 0 ? fstat(STDIN_FILENO, &input.st) != 0 : stat(path, &input.st) != 0)
        return WEIR_OK; /* whoever reads it says what is wrong */
    if (is_same(written, &input))
        return error_set(err, WEIR_E_INVALID,
                         "%s: %s is to be written to, but is also an input; give another name",
                         written->option, written->path);
    return WEIR_OK;
}

/* Inputs, and the files of values (behind ::::). */
static enum weir_status check_inputs(const struct run_options *o, const struct place *written,
                                     struct weir_error *err)
{
    const struct option_list *values = &o->command.values;
    enum weir_status status = WEIR_OK;
    bool files = false;

    if (!written->exists)
        return WEIR_OK;
    for (size_t i = 0; status == WEIR_OK && i < o->inputs.count; i++)
        status = check_input(written, o->inputs.items[i], err);
    for (size_t i = 0; status == WEIR_OK && i < values->count; i++) {
        if (combine_is_mark(values->items[i]))
            files = strncmp(values->items[i], "::::", 4) == 0;
        else if (files)
            status = check_input(written, values->items[i], err);
    }
    return status;
}

/*
 * What went into a pipe or a device cannot be cut back and gone on with, so there is nothing for a
 * journal to be good for. Its default is left out, also so that no /dev/null.weir is made.
 */
static enum weir_status check_journal(struct run_options *o, struct weir_error *err)
{
    struct stat st;

    if (!o->output || stat(o->output, &st) != 0 || S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
        return WEIR_OK;
    if (o->retry_failed)
        return error_set(err, WEIR_E_INVALID,
                         "--retry-failed: %s is no regular file; it has no results of a run before",
                         o->output);
    if (!o->journal_owned)
        return error_set(err, WEIR_E_INVALID,
                         "--journal: %s is no regular file; what goes there cannot be gone on with",
                         o->output);
    o->journal_owned = mem_free(o->journal_owned);
    o->journal = NULL;
    return WEIR_OK;
}

enum weir_status files_check(struct run_options *o, struct weir_error *err)
{
    enum weir_status status = check_journal(o, err);
    const struct {
        const char *option, *path;
    } named[] = {{"--output", o->output},        {"--errors", o->errors},
                 {"--journal", o->journal},      {"--summary", o->summary},
                 {"--events", o->events},        {"--joblog", o->command.joblog},
                 {"--worker-log", o->worker.log}};
    struct place places[sizeof named / sizeof *named];
    size_t count = 0;

    for (size_t i = 0; status == WEIR_OK && i < sizeof named / sizeof *named; i++) {
        struct place *p = &places[count];

        if (!named[i].path)
            continue;
        if (strcmp(named[i].path, "-") == 0) {
            if (named[i].path == o->summary)
                continue; /* standard output */
            return error_set(err, WEIR_E_INVALID, "%s: needs a file of its own; - is none",
                             named[i].option);
        }
        status = find(p, named[i].option, named[i].path, err);
        if (status == WEIR_OK && p->exists && S_ISDIR(p->st.st_mode))
            status = error_set(err, WEIR_E_INVALID, "%s: %s is a directory; name a file", p->option,
                               p->path);
        if (status == WEIR_OK)
            status = check_inputs(o, p, err);
        for (size_t k = 0; status == WEIR_OK && k < count; k++)
            if (is_same(p, &places[k]))
                status = error_set(err, WEIR_E_INVALID,
                                   "%s: %s is the file of %s too; give another name", p->option,
                                   p->path, places[k].option);
        count++;
    }
    return status;
}

enum weir_status files_raise_limit(const struct run_options *o, struct weir_error *err)
{
    bool processes = o->kind != RUN_HTTP;
    rlim_t jobs = (rlim_t)(o->flow.jobs + (o->kind == RUN_WORKER ? o->worker.overflow : 0));
    rlim_t each = processes ? DESCRIPTORS_PER_PROCESS : 1;
    rlim_t least = jobs * each + DESCRIPTORS_BESIDES;
    rlim_t most = o->kind == RUN_COMMAND ? DESCRIPTORS_PER_COMMAND
                  : processes            ? DESCRIPTORS_PER_PROCESS
                                         : DESCRIPTORS_PER_JOB;
    rlim_t wanted = jobs * most + DESCRIPTORS_BESIDES;
    bool multiplexed =
        !processes && (o->http.http == RUN_HTTP_2 || o->http.http == RUN_HTTP_2_PRIOR);
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return WEIR_OK;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 && getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return WEIR_OK;
    if (limit.rlim_cur >= least || multiplexed)
        return WEIR_OK;
    if (limit.rlim_cur <= DESCRIPTORS_BESIDES + each)
        return error_set(err, WEIR_E_LIMIT,
                         "only %llu files may be open at once (ulimit -n); weir needs %llu for "
                         "--jobs %llu: raise the limit",
                         (unsigned long long)limit.rlim_cur, (unsigned long long)least,
                         (unsigned long long)jobs);
    return error_set(err, WEIR_E_LIMIT,
                     "--jobs %llu needs as many %s, and only %llu files may be open at "
                     "once (ulimit -n); raise the limit, or give --jobs %llu",
                     (unsigned long long)jobs, processes ? "processes" : "connections",
                     (unsigned long long)limit.rlim_cur,
                     (unsigned long long)((limit.rlim_cur - DESCRIPTORS_BESIDES) / each));
}
