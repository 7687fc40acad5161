/*
 * The names of the files of a run, looked at before any of them is opened: an output that is also an input, or two
 * outputs that are one file, would be found out when it is too late.
 */
#include "base/error.h"
#include "cli/run/run.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 4096

struct named {
    const char *path;
    const char *what; /* for the message */
};

/* Written to: the journal last, because the name that it has by default is nobody's own. */
enum { OUTPUTS_MAX = 5 };

static size_t collect(const struct run_options *o, struct named ret[OUTPUTS_MAX])
{
    const struct named all[OUTPUTS_MAX] = {{o->output, "--output"},
                                           {o->errors, "--errors"},
                                           {o->summary, "--summary"},
                                           {o->events, "--events"},
                                           {o->journal, "--journal"}};
    size_t count = 0;

    for (size_t i = 0; i < OUTPUTS_MAX; i++) {
        if (all[i].path && strcmp(all[i].path, "-") != 0)
            ret[count++] = all[i];
    }
    return count;
}

/* Terminals, pipes and /dev/null may be named as often as one likes. */
static bool is_special(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && !S_ISREG(st.st_mode);
}

static bool is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat one, two;

    if (strcmp(a, b) == 0)
        return !is_special(a);
    return stat(a, &one) == 0 && stat(b, &two) == 0 && S_ISREG(one.st_mode) &&
           one.st_dev == two.st_dev && one.st_ino == two.st_ino;
}

/* The summary is written at the end; that its folder can be written to is looked at now. */
static enum weir_status check_folder(const struct named *n, struct weir_error *err)
{
    char folder[PATH_BYTES];
    const char *slash = strrchr(n->path, '/');
    size_t len = slash ? (size_t)(slash - n->path) : 0;

    if (is_special(n->path))
        return WEIR_OK;
    if (len >= sizeof folder)
        return error_set(err, WEIR_E_INVALID, "%s: the name is too long", n->what);
    if (len > 0)
        memcpy(folder, n->path, len);
    else
        folder[len++] = slash ? '/' : '.';
    folder[len] = '\0';
    if (access(folder, W_OK | X_OK) != 0)
        return error_set_errno(err, WEIR_E_IO, errno, "%s: %s cannot be written", n->what, n->path);
    return WEIR_OK;
}

enum weir_status files_check(const struct run_options *o, struct weir_error *err)
{
    struct named outputs[OUTPUTS_MAX];
    size_t count = collect(o, outputs);

    for (size_t i = 0; i < count; i++) {
        if (is_folder(outputs[i].path))
            return error_set(err, WEIR_E_INVALID, "%s: %s is a directory; name a file in it",
                             outputs[i].what, outputs[i].path);
        for (size_t k = 0; k < i; k++) {
            if (is_same_file(outputs[i].path, outputs[k].path))
                return error_set(err, WEIR_E_INVALID,
                                 "%s and %s are the same file, %s; give each a name of its own",
                                 outputs[k].what, outputs[i].what, outputs[i].path);
        }
        for (size_t k = 0; k < o->inputs.count; k++) {
            if (is_same_file(outputs[i].path, o->inputs.items[k]))
                return error_set(err, WEIR_E_INVALID,
                                 "%s is an input too, %s, and would be written over; give it "
                                 "another name",
                                 outputs[i].what, o->inputs.items[k]);
        }
        if (outputs[i].path == o->summary) {
            enum weir_status status = check_folder(&outputs[i], err);

            if (status != WEIR_OK)
                return status;
        }
    }
    return WEIR_OK;
}
