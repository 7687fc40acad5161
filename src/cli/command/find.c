/* See find.h. */
#include "cli/command/find.h"

#include "base/buf.h"
#include "base/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* 0: it may be run; else why not. */
static int look(const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return errno;
    if (S_ISDIR(st.st_mode))
        return EISDIR;
    return access(path, X_OK) == 0 ? 0 : errno;
}

static enum weir_status look_at_path(const char *name, const char *dir, struct weir_error *err)
{
    _cleanup_buf_ struct buf path = {0};
    int errnum;

    if (dir && name[0] != '/') {
        buf_puts(&path, dir);
        buf_putc(&path, '/');
    }
    buf_puts(&path, name);
    if (path.failed)
        return error_nomem(err);
    errnum = look(path.data);
    if (errnum)
        return error_set_errno(err, WEIR_E_INVALID, errnum, "%.200s cannot be run", path.data);
    return WEIR_OK;
}

enum weir_status find_program(const char *name, const char *dir, struct weir_error *err)
{
    const char *at = getenv("PATH");

    if (strchr(name, '/'))
        return look_at_path(name, dir, err);
    if (!at || !*name)
        return WEIR_OK; /* whoever starts it knows where else to look */
    for (;;) {
        size_t len = strcspn(at, ":");
        _cleanup_buf_ struct buf path = {0};

        buf_put(&path, len ? at : ".", len ? len : 1);
        buf_putc(&path, '/');
        buf_puts(&path, name);
        if (path.failed)
            return error_nomem(err);
        if (look(path.data) == 0)
            return WEIR_OK;
        at += len;
        if (*at++ == '\0')
            break;
    }
    return error_set(
        err, WEIR_E_INVALID,
        "there is no program \"%.100s\" in the folders of PATH; install it, or give its "
        "path",
        name);
}
