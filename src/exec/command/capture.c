/* Collecting what a command writes (capture.h). */
#include "exec/command/capture.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* Outputs up to this are copied out of the buffer in their exact size; those above take the buffer with them. */
#define COPIED_BYTES_MAX 65536
/* A buffer larger than this is not kept for the next command. */
#define KEPT_BYTES_MAX 8192

void capture_init(struct capture *c)
{
    *c = (struct capture){.fd = -1, .file = -1};
}

bool capture_open(struct capture *c, int *ret_writer)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    c->fd = ends[0];
    *ret_writer = ends[1];
    return true;
}

/* ---- the file ---- */

static int open_unnamed(const char *dir)
{
    char path[4096];
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT))
        return fd;
    /* A file system, or a kernel, that does not know files without names. */
    if ((size_t)snprintf(path, sizeof path, "%s/weir-output-XXXXXX", dir) >= sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

static bool write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

/* What is in memory goes first. */
static bool spill(struct capture *c, const char *dir)
{
    c->file = open_unnamed(dir);
    if (c->file < 0 || !write_all(c->file, c->mem.data, c->mem.len))
        return false;
    buf_free(&c->mem);
    return true;
}

static void unmap(char *bytes, size_t len)
{
    munmap(bytes, len + 1);
}

/*
 * The file's bytes, with a NUL behind them; NULL: no memory, or `errnum` says why the file cannot
 * be kept. The NUL is written, so that a full disk is an error here: to make the file longer takes
 * no room, and where the NUL is a page of its own, looking at it would be a SIGBUS. Freed by
 * unmap().
 */
static char *map_file(struct capture *c)
{
    void *at;

    if (!write_all(c->file, "", 1)) {
        c->errnum = errno;
        return NULL;
    }
    at = mmap(NULL, (size_t)c->len + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE,
              c->file, 0);
    return at == MAP_FAILED ? NULL : at;
}

/* ---- reading ---- */

void capture_close(struct capture *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

static enum capture_state keep(struct capture *c, const struct capture_limits *limits,
                               const char *bytes, size_t len)
{
    enum capture_state state = CAPTURE_MORE;

    if (len > limits->bytes_max - c->len) {
        len = (size_t)(limits->bytes_max - c->len);
        state = CAPTURE_TOO_LARGE;
    }
    if (c->file < 0 && len > limits->spill_bytes - c->mem.len && !spill(c, limits->spill_dir)) {
        c->errnum = errno;
        return CAPTURE_NO_FILE;
    }
    if (c->file < 0) {
        buf_put(&c->mem, bytes, len);
        if (c->mem.failed)
            return CAPTURE_NO_MEMORY;
    } else if (!write_all(c->file, bytes, len)) {
        c->errnum = errno;
        return CAPTURE_NO_FILE;
    }
    c->len += len;
    return state;
}

static enum capture_state read_some(struct capture *c, const struct capture_limits *limits,
                                    char *scratch, size_t most)
{
    ssize_t n;

    do {
        n = read(c->fd, scratch, most);
    } while (n < 0 && errno == EINTR);
    return n > 0 ? keep(c, limits, scratch, (size_t)n) : CAPTURE_END;
}

enum capture_state capture_read(struct capture *c, const struct capture_limits *limits,
                                char scratch[CAPTURE_SCRATCH_BYTES])
{
    return read_some(c, limits, scratch, CAPTURE_SCRATCH_BYTES);
}

/* Somebody who got away may write for ever: what is there now counts. */
enum capture_state capture_drain(struct capture *c, const struct capture_limits *limits,
                                 char scratch[CAPTURE_SCRATCH_BYTES])
{
    enum capture_state state = CAPTURE_MORE;
    int there = 0;

    if (c->fd >= 0 && ioctl(c->fd, FIONREAD, &there) != 0)
        there = 0;
    while (there > 0 && state == CAPTURE_MORE) {
        state = read_some(c, limits, scratch,
                          there < CAPTURE_SCRATCH_BYTES ? (size_t)there : CAPTURE_SCRATCH_BYTES);
        there -= CAPTURE_SCRATCH_BYTES;
    }
    capture_close(c);
    return state == CAPTURE_MORE ? CAPTURE_END : state;
}

/* ---- handing over ---- */

/* Sets *ret, and how it is freed. False: no memory, or `errnum` says why. */
static bool take_bytes(struct capture *c, char **ret, void (**ret_free)(char *, size_t))
{
    size_t len;

    *ret_free = NULL;
    if (c->file >= 0) {
        *ret = map_file(c);
        *ret_free = unmap;
    } else if (c->mem.len <= COPIED_BYTES_MAX) {
        *ret = mem_copy(c->mem.data, c->mem.len);
    } else {
        *ret = buf_steal(&c->mem, &len);
    }
    return *ret != NULL;
}

bool capture_output(struct capture *c, struct core_answer *a)
{
    void (*how)(char *, size_t);
    char *bytes;

    if (c->file < 0 && c->len < ANSWER_SMALL_BYTES)
        return answer_set_output(a, c->mem.data ? c->mem.data : "", (size_t)c->len);
    if (!take_bytes(c, &bytes, &how))
        return false;
    answer_take_output(a, bytes, (size_t)c->len);
    a->output_free = how;
    return true;
}

bool capture_errput(struct capture *c, struct core_answer *a)
{
    void (*how)(char *, size_t);
    char *bytes;

    if (c->len == 0)
        return true;
    if (!take_bytes(c, &bytes, &how))
        return false;
    answer_take_errput(a, bytes, (size_t)c->len);
    a->errput_free = how;
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct slice capture_last_line(const char *text, size_t len, size_t max)
{
    size_t from;

    while (len > 0 && is_blank(text[len - 1]))
        len--;
    from = len;
    while (from > 0 && text[from - 1] != '\n')
        from--;
    len -= from;
    return (struct slice){len > 0 ? text + from : "", len < max ? len : max};
}

void capture_reset(struct capture *c)
{
    capture_close(c);
    if (c->file >= 0)
        close(c->file);
    c->file = -1;
    c->len = 0;
    c->errnum = 0;
    if (c->mem.cap > KEPT_BYTES_MAX)
        buf_free(&c->mem);
    else
        buf_clear(&c->mem);
}

void capture_free(struct capture *c)
{
    capture_reset(c);
    buf_free(&c->mem);
}
