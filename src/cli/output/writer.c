/*
 * The output and the errors file together, and the rounds of --retry-failed; writer.h has the idea.
 */
#include "cli/output/writer.h"

#include "base/error.h"
#include "base/mem.h"
#include "cli/output/outfile.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Written at once when this much is pending in one file, so that a long chain needs no more memory. */
#define PENDING_BYTES (1u << 20)
/* Marked when this many places are held. */
#define PLACES_MAX 65536u

enum { OUTPUT, ERRORS, FILES };

enum round {
    ROUND_NONE,
    ROUND_BEGIN,
    ROUND_OPEN,
    ROUND_RENAME,
};

static const char *const round_names[] = {
    [ROUND_NONE] = "",
    [ROUND_BEGIN] = "begin",
    [ROUND_OPEN] = "open",
    [ROUND_RENAME] = "rename",
};

struct writer {
    struct core_store *store;
    struct outfile files[FILES];
    char *targets[FILES]; /* where each file belongs; its path is another during a round */
    int old_fds[FILES];   /* during a round: the files of the round before, to copy from; or -1 */

    bool retry_failed, raw, unordered;
    bool begun; /* the store says that an earlier run wrote to these files */
    bool started;
    enum round round;
    struct store_mark mark; /* what the store has */

    uint64_t next;    /* index of the next line */
    uint64_t line_at; /* where it begins in its file */
    int line_file;
    struct store_place *places;
    size_t place_count, place_cap;
    uint64_t unsynced_bytes;
    struct instant synced_at;

    struct weir_error broken; /* its status is WEIR_OK while all is well */
};

/* ---- errors ---- */

static enum weir_status settle(struct writer *w, enum weir_status status,
                               const struct weir_error *local, struct weir_error *err)
{
    if (status != WEIR_OK) {
        w->broken = *local;
        w->broken.status = status;
        if (err)
            *err = w->broken;
    }
    return status;
}

static enum weir_status still_broken(const struct writer *w, struct weir_error *err)
{
    if (w->broken.status != WEIR_OK && err)
        *err = w->broken;
    return w->broken.status;
}

/* ---- opening ---- */

static bool has_file(const struct writer *w, int which)
{
    return w->files[which].fd >= 0;
}

static enum weir_status read_round(struct writer *w, struct weir_error *err)
{
    struct buf text = {0};
    enum weir_status status = w->store->ops->fact(w->store, WRITER_FACT_ROUND, &text, err);

    w->round = ROUND_NONE;
    if (status == WEIR_E_END)
        status = WEIR_OK;
    if (status == WEIR_OK) {
        size_t i = 0;

        while (i <= ROUND_RENAME && !slice_equal(buf_slice(&text), slice_of(round_names[i])))
            i++;
        if (i > ROUND_RENAME)
            status = error_set(err, WEIR_E_CONFLICT,
                               "the journal's record of a --retry-failed round is of another "
                               "version of weir; go on with that one, or give --fresh");
        else
            w->round = (enum round)i;
    }
    buf_free(&text);
    return status;
}

static enum weir_status set_round(struct writer *w, enum round round, struct weir_error *err)
{
    enum weir_status status =
        w->store->ops->set(w->store, WRITER_FACT_ROUND, slice_of(round_names[round]), err);

    if (status == WEIR_OK)
        w->round = round;
    return status;
}

static enum weir_status read_state(struct writer *w, struct weir_error *err)
{
    struct store_summary summary;
    struct buf ignored = {0};
    enum weir_status status;

    if (!w->store)
        return WEIR_OK;
    status = w->store->ops->fact(w->store, WRITER_FACT_BEGUN, &ignored, err);
    buf_free(&ignored);
    if (status != WEIR_OK && status != WEIR_E_END)
        return status;
    w->begun = status == WEIR_OK;
    status = read_round(w, err);
    if (status != WEIR_OK)
        return status;
    status = w->store->ops->summary(w->store, &summary, err);
    if (status == WEIR_OK)
        w->mark = summary.mark;
    return status;
}

static char *join(const char *path, const char *suffix)
{
    struct buf b = {0};
    char *joined;

    buf_puts(&b, path);
    buf_puts(&b, suffix);
    joined = buf_steal(&b, NULL);
    buf_free(&b);
    return joined;
}

/* Where the file is behind symbolic links: a rename must replace the file, not a link to it. */
static enum weir_status find_target(char **ret, const char *path, struct weir_error *err)
{
    char *real = realpath(path, NULL);
    char *copy = mem_strdup(real ? real : path);

    free(real); /* NOLINT: realpath allocates by malloc */
    if (!copy)
        return error_nomem(err);
    *ret = copy;
    return WEIR_OK;
}

/* The last step of a round, also for a round that an earlier run had finished but for this. */
static enum weir_status rename_files(struct writer *w, struct weir_error *err)
{
    for (int i = 0; i < FILES; i++) {
        char *from;
        enum weir_status status;
        int rc;

        if (!w->targets[i])
            continue;
        from = join(w->targets[i], WRITER_RETRY_SUFFIX);
        if (!from)
            return error_nomem(err);
        rc = rename(from, w->targets[i]);
        if (rc != 0 && errno != ENOENT) {
            status = error_set_errno(err, WEIR_E_IO, errno, "%s cannot be renamed to %s", from,
                                     w->targets[i]);
            mem_free(from);
            return status;
        }
        mem_free(from);
        status = outfile_sync_folder(w->targets[i], err);
        if (status != WEIR_OK)
            return status;
    }
    return set_round(w, ROUND_NONE, err);
}

/* What the store says about this file, against the file. */
static enum weir_status check_size(const struct writer *w, const struct outfile *f, uint64_t marked,
                                   struct weir_error *err)
{
    if (!f->regular)
        return error_set(err, WEIR_E_CONFLICT,
                         "%s is no regular file, so the run cannot go on with it; give --fresh to "
                         "start over",
                         outfile_name(f));
    if (f->written < marked)
        return error_set(
            err, WEIR_E_CONFLICT,
            "%s has %llu bytes, but %llu were written to it: it was changed since; put "
            "it back as it was, or give --fresh to start over",
            outfile_name(f), (unsigned long long)f->written, (unsigned long long)marked);
    if (!w->raw && !outfile_ends_line(f->path, marked))
        return error_set(err, WEIR_E_CONFLICT,
                         "%s has no line that ends after %llu bytes, as it was written: it was "
                         "changed since; put it back as it was, or give --fresh to start over",
                         outfile_name(f), (unsigned long long)marked);
    return WEIR_OK;
}

static uint64_t marked_bytes(const struct writer *w, int which)
{
    return which == OUTPUT ? w->mark.output_bytes : w->mark.errors_bytes;
}

static enum weir_status must_exist(const struct writer *w, int which, const char *path,
                                   struct weir_error *err)
{
    if (marked_bytes(w, which) > 0 && access(path, F_OK) != 0)
        return error_set_errno(err, WEIR_E_CONFLICT, errno,
                               "%s, which the run so far was written to, is gone; put it back, or "
                               "give --fresh to start over",
                               path);
    return WEIR_OK;
}

static bool in_round(const struct writer *w)
{
    return w->round == ROUND_OPEN || w->retry_failed;
}

/* During a round the target is read only, and lines go to a new file beside it. */
static enum weir_status open_in_round(struct writer *w, int which, struct weir_error *err)
{
    struct outfile *f = &w->files[which];
    char *beside = join(w->targets[which], WRITER_RETRY_SUFFIX);
    enum weir_status status = beside ? WEIR_OK : error_nomem(err);
    struct stat st;

    /* Only when the round is under way does the mark speak of the new file. */
    if (status == WEIR_OK)
        status = must_exist(w, which, w->round == ROUND_OPEN ? beside : w->targets[which], err);
    if (status != WEIR_OK)
        goto out;
    w->old_fds[which] = open(w->targets[which], O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (w->old_fds[which] < 0 && errno != ENOENT) {
        status = error_set_errno(err, WEIR_E_IO, errno, "%s cannot be read", w->targets[which]);
        goto out;
    }
    if (w->old_fds[which] >= 0 &&
        (fstat(w->old_fds[which], &st) != 0 || !S_ISREG(st.st_mode) ||
         (w->round != ROUND_OPEN && (uint64_t)st.st_size < marked_bytes(w, which)))) {
        status = error_set(err, WEIR_E_CONFLICT,
                           "%s is not what the run before wrote: it was changed since; put it back "
                           "as it was, or give --fresh to start over",
                           w->targets[which]);
        goto out;
    }
    status = outfile_open(f, beside, err);
    if (status == WEIR_OK && w->old_fds[which] >= 0)
        (void)fchmod(f->fd, st.st_mode & 07777); /* it takes the old one's place */
    if (status == WEIR_OK && w->round == ROUND_OPEN)
        status = check_size(w, f, marked_bytes(w, which), err);
out:
    mem_free(beside);
    return status;
}

static enum weir_status open_one(struct writer *w, int which, const char *path, bool overwrite,
                                 struct weir_error *err)
{
    struct outfile *f = &w->files[which];
    enum weir_status status = WEIR_OK;

    f->resumable = w->store != NULL;
    if (!path)
        return outfile_open(f, NULL, err);
    if (in_round(w))
        return open_in_round(w, which, err);
    if (w->begun)
        status = must_exist(w, which, path, err);
    if (status == WEIR_OK)
        status = outfile_open(f, path, err);
    if (status == WEIR_OK && w->begun)
        status = check_size(w, f, marked_bytes(w, which), err);
    else if (status == WEIR_OK && f->regular && f->written > 0 && !overwrite)
        status =
            error_set(err, WEIR_E_CONFLICT,
                      "%s is not empty, and no journal says that it is this run's; give --fresh "
                      "to replace it, or another name",
                      path);
    return status;
}

static bool same_file(int fd, const char *path)
{
    struct stat a, b;

    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && S_ISREG(a.st_mode) &&
           a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static enum weir_status check_apart(const struct writer *w, const struct writer_options *o,
                                    struct weir_error *err)
{
    for (int i = 0; i < FILES; i++) {
        if (!w->targets[i])
            continue;
        for (size_t k = 0; k < o->not_these_count; k++) {
            if (strcmp(o->not_these[k], "-") != 0 && same_file(w->files[i].fd, o->not_these[k]))
                return error_set(err, WEIR_E_INVALID,
                                 "%s is to be written to, but is also %s; give another name",
                                 w->targets[i], o->not_these[k]);
        }
    }
    if (w->targets[OUTPUT] && w->targets[ERRORS] &&
        same_file(w->files[OUTPUT].fd, w->files[ERRORS].path))
        return error_set(err, WEIR_E_INVALID, "the output and the errors file are the same, %s",
                         w->targets[OUTPUT]);
    return WEIR_OK;
}

/* What the facts and the options together mean for this run. */
static enum weir_status settle_round(struct writer *w, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    if (w->round == ROUND_RENAME)
        status = rename_files(w, err);
    if (status != WEIR_OK)
        return status;
    if (w->retry_failed && !w->begun)
        return error_set(err, WEIR_E_CONFLICT,
                         "there is no earlier run whose failed rows could be retried; run without "
                         "--retry-failed first");
    if (w->round == ROUND_BEGIN && !w->retry_failed)
        w->round = w->mark.next == 0 ? ROUND_OPEN : ROUND_NONE;
    /* A round that is under way is gone on with; another one can follow it. */
    if (w->round == ROUND_OPEN)
        w->retry_failed = false;
    return WEIR_OK;
}

enum weir_status writer_open(const struct writer_options *o, struct writer **ret,
                             struct weir_error *err)
{
    struct writer *w = mem_calloc(1, sizeof(*w));
    enum weir_status status = WEIR_OK;

    if (!w)
        return error_nomem(err);
    w->store = o->store;
    w->raw = o->raw;
    w->unordered = o->unordered;
    assert(!o->store || !o->unordered);
    w->retry_failed = o->retry_failed && o->store;
    w->synced_at = INSTANT_NONE;
    for (int i = 0; i < FILES; i++) {
        outfile_init(&w->files[i]);
        w->old_fds[i] = -1;
    }
    if (o->output)
        status = find_target(&w->targets[OUTPUT], o->output, err);
    if (status == WEIR_OK && o->errors)
        status = find_target(&w->targets[ERRORS], o->errors, err);
    if (status == WEIR_OK)
        status = read_state(w, err);
    if (status == WEIR_OK)
        status = settle_round(w, err);
    if (status == WEIR_OK)
        status = open_one(w, OUTPUT, o->output, o->overwrite, err);
    if (status == WEIR_OK && o->errors)
        status = open_one(w, ERRORS, o->errors, o->overwrite, err);
    if (status == WEIR_OK)
        status = check_apart(w, o, err);
    for (int i = 0; i < FILES && status == WEIR_OK; i++)
        status = outfile_lock(&w->files[i], err);
    if (status != WEIR_OK) {
        writer_free(w);
        return status;
    }
    *ret = w;
    return WEIR_OK;
}

/* ---- starting ---- */

static enum weir_status begin_round(struct writer *w, uint64_t *ret_rows, struct weir_error *err)
{
    enum weir_status status = set_round(w, ROUND_BEGIN, err);

    if (status == WEIR_OK)
        status = w->store->ops->reopen_failed(w->store, ret_rows, err);
    if (status != WEIR_OK)
        return status;
    w->mark = (struct store_mark){0};
    return set_round(w, ROUND_OPEN, err);
}

static enum weir_status start_files(struct writer *w, struct weir_error *err)
{
    for (int i = 0; i < FILES; i++) {
        enum weir_status status;

        if (!has_file(w, i))
            continue;
        status = outfile_cut(&w->files[i], marked_bytes(w, i), err);
        if (status == WEIR_OK)
            status = outfile_sync(&w->files[i], err);
        if (status == WEIR_OK && w->store && w->files[i].regular)
            status = outfile_sync_folder(w->files[i].path, err);
        if (status != WEIR_OK)
            return status;
    }
    return WEIR_OK;
}

/* What a round left behind that --fresh has thrown away, or that had not really begun. */
static void remove_leftovers(const struct writer *w)
{
    for (int i = 0; i < FILES; i++) {
        char *beside = w->targets[i] && w->store ? join(w->targets[i], WRITER_RETRY_SUFFIX) : NULL;

        if (beside)
            (void)unlink(beside);
        mem_free(beside);
    }
}

static enum weir_status start(struct writer *w, struct writer_start *ret, struct weir_error *err)
{
    struct writer_start result = {.resumed = w->begun};
    enum weir_status status = WEIR_OK;

    if (w->retry_failed)
        status = begin_round(w, &result.reopened, err);
    else if (w->begun)
        status = set_round(w, w->round, err); /* a "begin" that was settled when it was opened */
    else
        w->mark = (struct store_mark){0};
    if (status == WEIR_OK && w->round == ROUND_NONE)
        remove_leftovers(w);
    if (status == WEIR_OK)
        status = start_files(w, err);
    if (status == WEIR_OK && w->store && !w->begun)
        status = w->store->ops->set(w->store, WRITER_FACT_BEGUN, SLICE("1"), err);
    if (status != WEIR_OK)
        return status;
    w->started = true;
    w->next = w->mark.next;
    result.mark = w->mark;
    result.retrying = w->round == ROUND_OPEN;
    *ret = result;
    return WEIR_OK;
}

enum weir_status writer_start(struct writer *w, struct writer_start *ret, struct weir_error *err)
{
    struct weir_error local = {0};

    if (still_broken(w, err) != WEIR_OK)
        return w->broken.status;
    assert(!w->started);
    return settle(w, start(w, ret, &local), &local, err);
}

/* ---- lines ---- */

/* Where the next byte goes. */
static uint64_t position(const struct outfile *f)
{
    return f->written + f->pending.len;
}

struct buf *writer_line(struct writer *w, bool in_errors)
{
    assert(w->started);
    w->line_file = in_errors && has_file(w, ERRORS) ? ERRORS : OUTPUT;
    w->line_at = position(&w->files[w->line_file]);
    return &w->files[w->line_file].pending;
}

static enum weir_status keep_place(struct writer *w, const struct store_place *place,
                                   struct weir_error *err)
{
    if (!w->store)
        return WEIR_OK;
    if (w->place_count == w->place_cap) {
        size_t cap = w->place_cap ? w->place_cap * 2 : 256;
        struct store_place *places = mem_realloc(w->places, cap * sizeof(*places));

        if (!places)
            return error_nomem(err);
        w->places = places;
        w->place_cap = cap;
    }
    w->places[w->place_count++] = *place;
    return WEIR_OK;
}

static enum weir_status write_pending(struct writer *w, int which, struct weir_error *err)
{
    struct outfile *f = &w->files[which];
    uint64_t before = f->written;
    enum weir_status status;

    if (f->fd < 0 || f->pending.len == 0)
        return WEIR_OK;
    status = outfile_write(f, err);
    w->unsynced_bytes += f->written - before;
    return status;
}

static enum weir_status end_line(struct writer *w, uint64_t index, int64_t deliver_ns,
                                 struct weir_error *err)
{
    struct outfile *f = &w->files[w->line_file];
    struct store_place place = {
        .index = index,
        .in_errors = w->line_file == ERRORS,
        .offset = w->line_at,
        .len = position(f) - w->line_at,
        .deliver_ns = deliver_ns,
    };
    enum weir_status status;

    if (f->pending.failed)
        return error_nomem(err);
    assert(index == w->next || w->unordered);
    assert(w->raw || (place.len > 0 && f->pending.data[f->pending.len - 1] == '\n'));
    status = keep_place(w, &place, err);
    if (status != WEIR_OK)
        return status;
    w->next++;
    return f->pending.len >= PENDING_BYTES ? write_pending(w, w->line_file, err) : WEIR_OK;
}

enum weir_status writer_put(struct writer *w, struct slice bytes, struct weir_error *err)
{
    struct outfile *f = &w->files[w->line_file];
    struct weir_error local = {0};
    enum weir_status status = still_broken(w, err);

    assert(w->raw);
    while (status == WEIR_OK && bytes.len > 0) {
        size_t part = bytes.len < PENDING_BYTES ? bytes.len : PENDING_BYTES;

        buf_put(&f->pending, bytes.data, part);
        bytes = (struct slice){bytes.data + part, bytes.len - part};
        if (f->pending.failed)
            return settle(w, error_nomem(&local), &local, err);
        if (f->pending.len >= PENDING_BYTES)
            status = settle(w, write_pending(w, w->line_file, &local), &local, err);
    }
    return status;
}

enum weir_status writer_line_end(struct writer *w, uint64_t index, int64_t deliver_ns,
                                 struct weir_error *err)
{
    struct weir_error local = {0};

    if (still_broken(w, err) != WEIR_OK)
        return w->broken.status;
    return settle(w, end_line(w, index, deliver_ns, &local), &local, err);
}

void writer_pass_over(struct writer *w)
{
    assert(w->started && !w->store);
    w->next++;
}

bool writer_keeps(const struct writer *w, const struct core_task *task)
{
    return w->round == ROUND_OPEN && task->finished_before &&
           task->answer.outcome == WEIR_OUTCOME_OK && !task->answer.output;
}

static enum weir_status read_at(int fd, char *to, uint64_t offset, uint64_t len)
{
    while (len > 0) {
        ssize_t n = pread(fd, to, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return WEIR_E_IO;
        to += n;
        offset += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return WEIR_OK;
}

static bool is_line(const char *at, size_t len)
{
    return len > 0 && at[len - 1] == '\n' && !memchr(at, '\n', len - 1);
}

static enum weir_status copy_line(struct writer *w, uint64_t index, int64_t deliver_ns,
                                  struct weir_error *err)
{
    struct store_place place;
    struct buf *to;
    char *at;
    int from;
    enum weir_status status = w->store->ops->place(w->store, index, &place, err);

    if (status == WEIR_E_END)
        return error_set(
            err, WEIR_E_CONFLICT,
            "the journal does not say where row %llu stands in %s; give --fresh to start "
            "over",
            (unsigned long long)index, w->targets[OUTPUT]);
    if (status != WEIR_OK)
        return status;
    to = writer_line(w, place.in_errors);
    from = place.in_errors ? ERRORS : OUTPUT;
    at = buf_reserve(to, (size_t)place.len);
    if (!at)
        return error_nomem(err);
    if (w->old_fds[from] < 0 || read_at(w->old_fds[from], at, place.offset, place.len) != WEIR_OK ||
        !(w->raw || is_line(at, (size_t)place.len)))
        return error_set(
            err, WEIR_E_CONFLICT,
            "%s does not hold the line of row %llu where it was written: it was changed "
            "since; put it back as it was, or give --fresh to start over",
            w->targets[from], (unsigned long long)index);
    to->len += (size_t)place.len;
    to->data[to->len] = '\0';
    return end_line(w, index, deliver_ns, err);
}

enum weir_status writer_copy(struct writer *w, uint64_t index, int64_t deliver_ns,
                             struct weir_error *err)
{
    struct weir_error local = {0};

    if (still_broken(w, err) != WEIR_OK)
        return w->broken.status;
    return settle(w, copy_line(w, index, deliver_ns, &local), &local, err);
}

/* ---- writing, syncing, marking ---- */

static enum weir_status write_all(struct writer *w, struct weir_error *err)
{
    enum weir_status status = write_pending(w, OUTPUT, err);

    return status == WEIR_OK ? write_pending(w, ERRORS, err) : status;
}

/* First the files, then the store: it gives an output away when it hears that the line is safe. */
static enum weir_status sync_and_mark(struct writer *w, struct weir_error *err)
{
    struct store_mark mark = {
        .next = w->next,
        .output_bytes = w->files[OUTPUT].written,
        .errors_bytes = has_file(w, ERRORS) ? w->files[ERRORS].written : 0,
    };
    enum weir_status status = WEIR_OK;

    for (int i = 0; i < FILES && status == WEIR_OK; i++)
        status = outfile_sync(&w->files[i], err);
    if (status == WEIR_OK && w->store && (w->place_count > 0 || mark.next != w->mark.next))
        status = w->store->ops->mark(w->store, &mark, w->places, w->place_count, err);
    if (status != WEIR_OK)
        return status;
    w->mark = mark;
    w->place_count = 0;
    w->unsynced_bytes = 0;
    return WEIR_OK;
}

static enum weir_status flush(struct writer *w, struct instant now, struct weir_error *err)
{
    enum weir_status status = write_all(w, err);

    if (status != WEIR_OK || !w->store)
        return status;
    if (w->next == w->mark.next) {
        w->synced_at = now; /* nothing to mark: the second begins with the next line */
        return WEIR_OK;
    }
    if (instant_is_none(w->synced_at))
        w->synced_at = now;
    if (instant_diff(now, w->synced_at) < WRITER_SYNC_NS && w->unsynced_bytes < WRITER_SYNC_BYTES &&
        w->place_count < PLACES_MAX)
        return WEIR_OK;
    w->synced_at = now;
    return sync_and_mark(w, err);
}

enum weir_status writer_flush(struct writer *w, struct instant now, struct weir_error *err)
{
    struct weir_error local = {0};

    if (still_broken(w, err) != WEIR_OK)
        return w->broken.status;
    return settle(w, flush(w, now, &local), &local, err);
}

static enum weir_status finish(struct writer *w, bool complete, struct weir_error *err)
{
    enum weir_status status = write_all(w, err);

    if (status == WEIR_OK)
        status = sync_and_mark(w, err);
    if (status != WEIR_OK || !complete || w->round != ROUND_OPEN)
        return status;
    status = set_round(w, ROUND_RENAME, err);
    return status == WEIR_OK ? rename_files(w, err) : status;
}

enum weir_status writer_finish(struct writer *w, bool complete, struct weir_error *err)
{
    struct weir_error local = {0};

    if (still_broken(w, err) != WEIR_OK)
        return w->broken.status;
    return settle(w, finish(w, complete, &local), &local, err);
}

struct store_mark writer_position(const struct writer *w)
{
    return (struct store_mark){
        .next = w->next,
        .output_bytes = w->files[OUTPUT].written + w->files[OUTPUT].pending.len,
        .errors_bytes = w->files[ERRORS].written + w->files[ERRORS].pending.len,
    };
}

struct writer *writer_free(struct writer *w)
{
    if (!w)
        return NULL;
    for (int i = 0; i < FILES; i++) {
        outfile_close(&w->files[i]);
        if (w->old_fds[i] >= 0)
            close(w->old_fds[i]);
        mem_free(w->targets[i]);
    }
    mem_free(w->places);
    return mem_free(w);
}
