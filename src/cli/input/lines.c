/*
 * See lines.h. One buffer holds what was read and not yet handed out: [at, end). It grows up to a
 * little over the longest line allowed; a line beyond that is hashed and dropped piece by piece.
 */
#include "cli/input/lines.h"

#include "base/error.h"
#include "base/mem.h"
#include "cli/input/combine.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES_DEFAULT ((size_t)256 << 10)
/* Smallest read; tests ask for it to meet every boundary. */
#define READ_BYTES_MIN 4

static const char BOM[] = "\xef\xbb\xbf";
#define BOM_BYTES (sizeof(BOM) - 1)

struct lines {
    const char *const *files;
    size_t file_count;
    size_t line_max;
    size_t read_bytes;
    int stdin_fd;
    int stop_fd;
    bool regular_only;
    char end_char;
    bool nul;
    uint64_t per_row;
    const struct combine *combine;
    uint64_t combined; /* rows of it that were handed out */
    struct buf row;    /* that is put together of several lines or values */
    bool any_stream;
    uint64_t bytes_known;
    uint64_t bytes_taken;

    size_t file_next; /* index of the file to open next */
    int fd;           /* -1: none is open */
    bool streamed;    /* the open file is no regular one */
    bool at_eof;
    bool at_start; /* nothing of the file has been looked at: a byte order mark may stand there */
    uint64_t number;
    struct lines_identity identity;

    char *buffer;
    size_t cap;
    size_t at, end;

    struct weir_error failed; /* what lines_next says from then on; status WEIR_OK: nothing */
};

const char *lines_name(const char *file)
{
    return strcmp(file, "-") == 0 ? "standard input" : file;
}

const char *lines_place(char out[LINES_PLACE_BYTES], const char *file, uint64_t number)
{
    const char *name = lines_name(file);
    size_t len = strlen(name), room = LINES_PLACE_BYTES - 24; /* ":" and 20 digits, "..." */
    const char *cut = "";

    if (len > room) {
        name += len - (room - 3);
        cut = "...";
        while (((unsigned char)*name & 0xc0) == 0x80) /* not within a character */
            name++;
    }
    (void)snprintf(out, LINES_PLACE_BYTES, "%s%s:%" PRIu64, cut, name, number);
    return out;
}

static bool is_stdin(const char *file)
{
    return strcmp(file, "-") == 0;
}

/* One look at each name before anything is read, so that a misspelt last name costs no work. */
static enum weir_status look_at_files(struct lines *l, struct weir_error *err)
{
    size_t stdins = 0;

    for (size_t i = 0; i < l->file_count; i++) {
        struct stat st;

        if (is_stdin(l->files[i])) {
            if (++stdins > 1)
                return error_set(err, WEIR_E_INVALID,
                                 "standard input (-) is named twice; it can be read once");
            l->any_stream = true;
            continue;
        }
        if (stat(l->files[i], &st) != 0)
            return error_set_errno(err, WEIR_E_IO, errno, "%.300s: cannot be read", l->files[i]);
        if (S_ISDIR(st.st_mode))
            return error_set(err, WEIR_E_IO, "%.300s: is a directory; name the files in it",
                             l->files[i]);
        if (S_ISREG(st.st_mode))
            l->bytes_known += (uint64_t)st.st_size;
        else
            l->any_stream = true;
    }
    return WEIR_OK;
}

enum weir_status lines_open(const struct lines_options *o, struct lines **ret,
                            struct weir_error *err)
{
    static const char *const only_stdin[] = {"-"};
    uint64_t line_max = o->line_max_bytes ? o->line_max_bytes : LINES_LINE_BYTES_DEFAULT;
    struct lines *l;
    enum weir_status status;

    if (line_max > LINES_LINE_BYTES_MAX)
        return error_set(err, WEIR_E_INVALID, "a line may have at most %" PRIu64 " bytes",
                         LINES_LINE_BYTES_MAX);
    if (o->file_count > LINES_FILES_MAX)
        return error_set(err, WEIR_E_LIMIT, "%zu input files; at most %" PRIu32 " can be read",
                         o->file_count, LINES_FILES_MAX);
    l = mem_calloc(1, sizeof(*l));
    if (!l)
        return error_nomem(err);
    l->files = o->file_count ? o->files : only_stdin;
    l->file_count = o->file_count ? o->file_count : 1;
    l->combine = o->combine;
    if (o->combine)
        l->file_count = 0;
    l->line_max = (size_t)line_max;
    l->read_bytes = o->buffer_bytes ? o->buffer_bytes : READ_BYTES_DEFAULT;
    if (l->read_bytes < READ_BYTES_MIN)
        l->read_bytes = READ_BYTES_MIN;
    l->stdin_fd = o->stdin_fd;
    l->stop_fd = o->stop_fd;
    l->regular_only = o->regular_only;
    l->nul = o->nul;
    l->end_char = o->nul ? '\0' : '\n';
    l->per_row = o->per_row ? o->per_row : 1;
    l->fd = -1;

    status = look_at_files(l, err);
    if (status != WEIR_OK) {
        lines_close(l);
        return status;
    }
    *ret = l;
    return WEIR_OK;
}

static void close_file(struct lines *l)
{
    if (l->fd >= 0 && l->fd != l->stdin_fd)
        (void)close(l->fd); /* only read from: nothing can be lost */
    l->fd = -1;
}

void lines_close(struct lines *l)
{
    if (!l)
        return;
    close_file(l);
    buf_free(&l->row);
    mem_free(l->buffer);
    mem_free(l);
}

/* Opens the next file. WEIR_E_AGAIN: it is one to pass over. */
static enum weir_status open_file(struct lines *l, struct weir_error *err)
{
    const char *name = l->files[l->file_next++];
    bool from_stdin = is_stdin(name);
    struct stat st;

    /* Looked at before it is opened: whoever writes into a FIFO must not see a reader come and go. */
    if (l->regular_only &&
        (from_stdin || (stat(name, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))))
        return WEIR_E_AGAIN;
    /* Without O_NONBLOCK the open of a FIFO would wait for a writer, deaf to stop_fd. */
    l->fd = from_stdin ? l->stdin_fd : open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (l->fd < 0)
        return error_set_errno(err, WEIR_E_IO, errno, "%.300s: cannot be opened", lines_name(name));
    if (fstat(l->fd, &st) != 0)
        return error_set_errno(err, WEIR_E_IO, errno, "%.300s: cannot be read", lines_name(name));
    if (S_ISDIR(st.st_mode))
        return error_set_errno(err, WEIR_E_IO, EISDIR, "%.300s: cannot be read", lines_name(name));
    l->streamed = from_stdin || !S_ISREG(st.st_mode);
    if (l->streamed && l->regular_only) {
        close_file(l);
        return WEIR_E_AGAIN;
    }
    l->identity = (struct lines_identity){
        .device = (uint64_t)st.st_dev,
        .inode = (uint64_t)st.st_ino,
        .size = (uint64_t)st.st_size,
        .changed_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + (int64_t)st.st_mtim.tv_nsec,
    };
    l->number = 0;
    l->at_eof = false;
    l->at_start = !l->nul;
    return WEIR_OK;
}

static enum weir_status wait_readable(struct lines *l, struct weir_error *err)
{
    struct pollfd fds[2] = {{.fd = l->fd, .events = POLLIN},
                            {.fd = l->stop_fd, .events = POLLIN}}; /* poll passes over -1 */

    for (;;) {
        if (poll(fds, 2, -1) < 0) {
            if (errno == EINTR || errno == EAGAIN)
                continue;
            return error_set_errno(err, WEIR_E_IO, errno, "%.300s: waiting for input failed",
                                   lines_name(l->files[l->file_next - 1]));
        }
        if (fds[1].revents)
            return error_set(err, WEIR_E_SHUTDOWN, "reading was stopped");
        return WEIR_OK;
    }
}

/* Room for at least one byte behind `end`: moves what is left to the front, then grows. */
static enum weir_status make_room(struct lines *l, struct weir_error *err)
{
    size_t held = l->end - l->at, wanted;
    char *bigger;

    if (l->at > 0 && (held == 0 || l->cap - l->end < l->read_bytes)) {
        memmove(l->buffer, l->buffer + l->at, held);
        l->at = 0;
        l->end = held;
    }
    if (l->end < l->cap)
        return WEIR_OK;
    wanted = l->cap ? l->cap * 2 : l->read_bytes;
    if (l->cap && wanted > l->line_max + l->read_bytes + BOM_BYTES + 2)
        wanted = l->line_max + l->read_bytes + BOM_BYTES + 2;
    assert(wanted > l->cap); /* else a line over the limit would be held */
    bigger = mem_realloc(l->buffer, wanted);
    if (!bigger)
        return error_nomem(err);
    l->buffer = bigger;
    l->cap = wanted;
    return WEIR_OK;
}

/* Reads once; sets at_eof when there is nothing more. */
static enum weir_status fill(struct lines *l, struct weir_error *err)
{
    enum weir_status status = make_room(l, err);
    ssize_t got;

    if (status != WEIR_OK)
        return status;
    for (;;) {
        size_t room = l->cap - l->end;

        if (l->streamed) {
            status = wait_readable(l, err);
            if (status != WEIR_OK)
                return status;
        }
        got = read(l->fd, l->buffer + l->end, room < l->read_bytes ? room : l->read_bytes);
        if (got >= 0)
            break;
        if (errno == EINTR || (errno == EAGAIN && l->streamed))
            continue;
        return error_set_errno(err, WEIR_E_IO, errno, "%.300s: reading failed after line %" PRIu64,
                               lines_name(l->files[l->file_next - 1]), l->number);
    }
    if (got == 0)
        l->at_eof = true;
    l->end += (size_t)got;
    l->bytes_taken += (uint64_t)got;
    return WEIR_OK;
}

static enum weir_status skip_bom(struct lines *l, struct weir_error *err)
{
    while (l->end - l->at < BOM_BYTES && !l->at_eof) {
        enum weir_status status = fill(l, err);
        if (status != WEIR_OK)
            return status;
    }
    if (l->end - l->at >= BOM_BYTES && memcmp(l->buffer + l->at, BOM, BOM_BYTES) == 0)
        l->at += BOM_BYTES;
    l->at_start = false;
    return WEIR_OK;
}

/* Reads until the buffer has a newline, or has more than a line may have, or the file ends.
 * ret_len: bytes up to the newline; ret_ended: there is one. */
static enum weir_status find_end(struct lines *l, size_t *ret_len, bool *ret_ended,
                                 struct weir_error *err)
{
    size_t seen = 0;

    for (;;) {
        size_t held = l->end - l->at;
        const char *newline =
            held > seen ? memchr(l->buffer + l->at + seen, l->end_char, held - seen) : NULL;
        enum weir_status status;

        if (newline || l->at_eof || held > l->line_max + 1) {
            *ret_len = newline ? (size_t)(newline - (l->buffer + l->at)) : held;
            *ret_ended = newline != NULL;
            return WEIR_OK;
        }
        seen = held;
        status = fill(l, err);
        if (status != WEIR_OK)
            return status;
    }
}

/* Hashes and drops the line that begins at `at`, of which the first len bytes are there. */
static enum weir_status drop_long_line(struct lines *l, size_t len, bool ended, struct line *line,
                                       struct weir_error *err)
{
    struct fingerprint_stream *stream = fingerprint_stream_new();
    enum weir_status status = WEIR_OK;

    if (!stream)
        return error_nomem(err);
    line->length = 0;
    for (;;) {
        const char *newline;

        fingerprint_stream_add(stream, (struct slice){l->buffer + l->at, len});
        line->length += len;
        l->at += len;
        if (ended) {
            l->at++;
            break;
        }
        if (l->at_eof)
            break;
        status = fill(l, err);
        if (status != WEIR_OK)
            goto out;
        newline = memchr(l->buffer + l->at, l->end_char, l->end - l->at);
        ended = newline != NULL;
        len = ended ? (size_t)(newline - (l->buffer + l->at)) : l->end - l->at;
    }
    line->hash = fingerprint_stream_digest(stream);
    line->text = (struct slice){"", 0};
    line->too_long = true;
out:
    fingerprint_stream_free(stream);
    return status;
}

static bool is_blank(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] != ' ' && text.data[i] != '\t' && text.data[i] != '\r')
            return false;
    return true;
}

/* The next line of the open file, blank or not. WEIR_E_END: the file has none. */
static enum weir_status next_in_file(struct lines *l, struct line *line, struct weir_error *err)
{
    enum weir_status status;
    struct slice text;
    size_t len;
    bool ended;

    if (l->at_start) {
        status = skip_bom(l, err);
        if (status != WEIR_OK)
            return status;
    }
    status = find_end(l, &len, &ended, err);
    if (status != WEIR_OK)
        return status;
    if (len == 0 && !ended)
        return WEIR_E_END;
    l->number++;
    line->number = l->number;
    text = (struct slice){l->buffer + l->at, len};
    if (len > 0 && text.data[len - 1] == '\r' && !l->nul)
        text.len--;
    if (text.len > l->line_max)
        return drop_long_line(l, len, ended, line, err);
    l->at += len + (ended ? 1 : 0);
    line->text = text;
    line->length = text.len;
    line->too_long = false;
    return WEIR_OK;
}

/* The next line of the open file that is one. WEIR_E_END: the file has none. */
static enum weir_status next_not_blank(struct lines *l, struct line *line, struct weir_error *err)
{
    enum weir_status status;

    do
        status = next_in_file(l, line, err);
    while (status == WEIR_OK && !l->nul && !line->too_long && is_blank(line->text));
    return status;
}

/* Puts lines behind the first one, which has been read, until the row has all of its lines. */
static enum weir_status gather(struct lines *l, struct line *row, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    buf_clear(&l->row);
    buf_put_slice(&l->row, row->text);
    for (uint64_t i = 1; status == WEIR_OK && i < l->per_row; i++) {
        struct line line;

        status = next_not_blank(l, &line, err);
        if (status != WEIR_OK)
            break;
        row->too_long |= line.too_long;
        row->length += line.length + 1;
        if (row->length > l->line_max)
            row->too_long = true;
        if (row->too_long)
            continue; /* the rest of it is passed over, not held */
        buf_putc(&l->row, '\0');
        buf_put_slice(&l->row, line.text);
    }
    if (status != WEIR_OK && status != WEIR_E_END)
        return status;
    if (l->row.failed)
        return error_nomem(err);
    if (row->too_long)
        row->hash = fingerprint_of(buf_slice(&l->row)); /* of as much as is held */
    row->text = row->too_long ? (struct slice){"", 0} : buf_slice(&l->row);
    return WEIR_OK;
}

static enum weir_status next_combined(struct lines *l, struct line *line, struct weir_error *err)
{
    if (l->combined == combine_rows(l->combine))
        return error_set(err, WEIR_E_END, "the input is at its end");
    buf_clear(&l->row);
    combine_row(l->combine, l->combined, &l->row);
    if (l->row.failed)
        return error_nomem(err);
    *line = (struct line){.text = buf_slice(&l->row),
                          .length = l->row.len,
                          .number = ++l->combined,
                          .file = LINES_COMBINED};
    line->hash = fingerprint_of(line->text);
    return WEIR_OK;
}

static enum weir_status next_line(struct lines *l, struct line *line, struct weir_error *err)
{
    if (l->combine)
        return next_combined(l, line, err);
    for (;;) {
        enum weir_status status;

        if (l->fd < 0) {
            if (l->file_next == l->file_count)
                return error_set(err, WEIR_E_END, "the input is at its end");
            status = open_file(l, err);
            if (status == WEIR_E_AGAIN)
                continue;
            if (status != WEIR_OK)
                return status;
        }
        status = next_not_blank(l, line, err);
        if (status == WEIR_E_END) {
            close_file(l);
            continue;
        }
        if (status == WEIR_OK && l->per_row > 1 && !line->too_long)
            status = gather(l, line, err);
        if (status != WEIR_OK)
            return status;
        if (!line->too_long)
            line->hash = fingerprint_of(line->text);
        line->streamed = l->streamed;
        line->file_index = (uint32_t)(l->file_next - 1);
        line->file = lines_name(l->files[line->file_index]);
        return WEIR_OK;
    }
}

enum weir_status lines_next(struct lines *l, struct line *ret, struct weir_error *err)
{
    struct line line = {0};
    enum weir_status status;

    if (l->failed.status == WEIR_OK) {
        status = next_line(l, &line, &l->failed);
        if (status == WEIR_OK) {
            *ret = line;
            return WEIR_OK;
        }
        l->failed.status = status;
    }
    if (err)
        *err = l->failed;
    return l->failed.status;
}

struct lines_identity lines_identity(const struct lines *l)
{
    return l->identity;
}

uint64_t lines_bytes_taken(const struct lines *l)
{
    return l->bytes_taken;
}

uint64_t lines_bytes_known(const struct lines *l)
{
    return l->bytes_known;
}

bool lines_any_stream(const struct lines *l)
{
    return l->any_stream;
}
