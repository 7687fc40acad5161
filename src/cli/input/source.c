/* See source.h. */
#include "cli/input/source.h"

#include "base/error.h"
#include "base/mem.h"

#include <assert.h>
#include <inttypes.h>

struct source {
    struct source_options options;
    struct rows *rows;
    struct lines *lines; /* of the pass that hands rows out */
    struct check_keys keys;

    bool checked;
    uint64_t checked_rows;
    struct trail trail;
    struct trail_walk walk;
    struct lines_identity *identities; /* by file index; of checked files */
    int64_t file_seen;                 /* index of the file of the last line; -1: none yet */

    uint64_t index;
    /* The form of the last row that had one: what a line is taken for that cannot be read. With
     * skip_bad every row is built, also those passed over, so a resumed run takes it for the same. */
    enum row_kind kind;
    struct fingerprint digest;
    struct weir_error failed; /* status WEIR_OK: nothing */
};

enum weir_status source_open(const struct source_options *o, struct source **ret,
                             struct weir_error *err)
{
    static const char *const combined[] = {LINES_COMBINED};
    struct source *s = mem_calloc(1, sizeof(*s));
    size_t files = o->lines.file_count ? o->lines.file_count : 1;
    enum weir_status status;

    if (!s)
        return error_nomem(err);
    s->options = *o;
    s->options.lines.regular_only = false;
    s->file_seen = -1;
    s->keys.files = o->lines.combine ? combined : o->lines.file_count ? o->lines.files : NULL;
    s->keys.memory_keys = o->memory_keys;
    s->trail.marks_max = o->marks_max;
    status = rows_new(&o->rows, &s->rows, err);
    if (status == WEIR_OK)
        status = lines_open(&s->options.lines, &s->lines, err);
    if (status == WEIR_OK) {
        s->identities = mem_calloc(files, sizeof(*s->identities));
        if (!s->identities)
            status = error_nomem(err);
    }
    if (status != WEIR_OK) {
        source_close(s);
        return status;
    }
    *ret = s;
    return WEIR_OK;
}

void source_close(struct source *s)
{
    if (!s)
        return;
    check_keys_free(&s->keys);
    trail_free(&s->trail);
    lines_close(s->lines);
    rows_free(s->rows);
    mem_free(s->identities);
    mem_free(s);
}

enum weir_status source_check(struct source *s, struct check_report *ret, struct weir_error *err)
{
    struct check_options o = {
        .lines = &s->options.lines,
        .rows = s->rows,
        .keys = s->options.skip_bad ? NULL : &s->keys, /* else found where the bad row is made */
        .trail = &s->trail,
        .identities = s->identities,
    };
    enum weir_status status;

    assert(!s->checked && s->index == 0);
    status = check_run(&o, ret, err);
    if (status != WEIR_OK)
        return status;
    s->checked = true;
    s->checked_rows = ret->rows;
    s->kind = ret->first_kind;
    /* All keys that there will be have been looked at. */
    if (!s->options.skip_bad && !lines_any_stream(s->lines))
        check_keys_free(&s->keys);
    if (ret->bad == 0 || s->options.skip_bad)
        return WEIR_OK;
    return error_set(err, WEIR_E_FORMAT,
                     "%" PRIu64 " of %" PRIu64 " rows cannot be sent; nothing was sent: correct "
                     "the input, or give --skip-bad to get an error result in their place",
                     ret->bad, ret->rows);
}

/* ---- the second pass ---- */

static enum weir_status changed(const struct source *s, const struct line *line, const char *how,
                                struct weir_error *err)
{
    char place[LINES_PLACE_BYTES] = "the beginning of the input";
    const char *name = line ? line->file : "the input";
    uint32_t file_index;
    uint64_t number;

    if (s->walk.good_place) {
        check_place_split(s->walk.good_place, &file_index, &number);
        lines_place(place, s->keys.files ? s->keys.files[file_index] : "-", number);
    }
    return error_set(
        err, WEIR_E_CONFLICT,
        "%.150s: %s since it was checked (after %s); rows sent before stand. Leave the "
        "input alone during a run, and run again",
        name, how, place);
}

static bool same_file(const struct lines_identity *a, const struct lines_identity *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->changed_ns == b->changed_ns;
}

/* Whether a line is what source_check saw. */
static enum weir_status verify(struct source *s, const struct line *line, struct weir_error *err)
{
    if (!s->checked || line->streamed)
        return WEIR_OK;
    if ((int64_t)line->file_index != s->file_seen) {
        /* The cheap test first: it refuses a replaced file before any of its rows is sent. */
        struct lines_identity now = lines_identity(s->lines);

        s->file_seen = line->file_index;
        if (!same_file(&now, &s->identities[line->file_index]))
            return changed(s, line, "was replaced or written to", err);
    }
    if (!trail_step(&s->trail, &s->walk, line->hash))
        return changed(s, line, "was changed", err);
    return WEIR_OK;
}

static enum weir_status next_line(struct source *s, struct line *line, struct weir_error *err)
{
    enum weir_status status = lines_next(s->lines, line, err);

    if (status == WEIR_E_END && s->checked && !trail_ended(&s->trail, &s->walk))
        return changed(s, NULL, "has fewer rows than", err);
    if (status == WEIR_OK)
        status = verify(s, line, err);
    if (status == WEIR_OK)
        s->digest = trail_chain(s->digest, line->hash);
    return status;
}

/* Whether a line's key was not looked at by source_check. */
static bool key_is_new(const struct source *s, const struct line *line)
{
    return !s->checked || line->streamed || s->options.skip_bad;
}

/* The row that stands for a bad one, with as much of it as could be read. */
static enum weir_status build_bad(struct source *s, const struct line *line, const char *message,
                                  struct run_row **ret, struct weir_error *err)
{
    struct row_seen seen = rows_seen(s->rows);

    if (seen.form)
        s->kind = seen.kind;
    return row_bad(line, s->index, s->options.rows.kind, s->kind, seen.key, message, ret, err);
}

static enum weir_status build(struct source *s, const struct line *line, struct run_row **ret,
                              struct weir_error *err)
{
    struct weir_error why = {0};
    struct run_row *row = NULL;
    enum weir_status status = rows_build(s->rows, line, s->index, &row, &why);

    if (status == WEIR_OK && key_is_new(s, line))
        status = check_key(&s->keys, row, line, &why);
    if (status == WEIR_OK) {
        row_estimate_tokens(row);
        s->kind = row->kind;
        *ret = row;
        return WEIR_OK;
    }
    row_free(row);
    if (status == WEIR_E_FORMAT && s->options.skip_bad)
        return build_bad(s, line, why.message, ret, err);
    *err = why;
    return status;
}

/* Says what ended the reading, now and from now on. */
static enum weir_status give_failure(struct source *s, enum weir_status status,
                                     struct weir_error *err)
{
    s->failed.status = status;
    if (err)
        *err = s->failed;
    return status;
}

enum weir_status source_next(struct source *s, struct run_row **ret, struct weir_error *err)
{
    enum weir_status status = s->failed.status;
    struct run_row *row = NULL;
    struct line line;

    if (status != WEIR_OK)
        return give_failure(s, status, err);
    status = next_line(s, &line, &s->failed);
    if (status == WEIR_OK)
        status = build(s, &line, &row, &s->failed);
    if (status != WEIR_OK)
        return give_failure(s, status, err);
    s->failed.status = WEIR_OK;
    s->index++;
    *ret = row;
    return WEIR_OK;
}

static enum weir_status skip_one(struct source *s, source_line_fn each, void *ctx,
                                 struct weir_error *err)
{
    struct line line;
    enum weir_status status = next_line(s, &line, err);

    if (status == WEIR_OK && each)
        status = each(ctx, s->index, &line, err);
    if (status == WEIR_OK && key_is_new(s, &line)) {
        struct run_row *row = NULL;
        status = build(s, &line, &row, err);
        row_free(row);
    }
    return status;
}

enum weir_status source_skip(struct source *s, uint64_t count, source_line_fn each, void *ctx,
                             struct weir_error *err)
{
    for (uint64_t i = 0; i < count; i++) {
        enum weir_status status = s->failed.status;

        if (status == WEIR_OK)
            status = skip_one(s, each, ctx, &s->failed);
        if (status == WEIR_E_END)
            error_set(&s->failed, WEIR_E_END, "the input has only %" PRIu64 " rows", s->index);
        if (status != WEIR_OK)
            return give_failure(s, status, err);
        s->failed.status = WEIR_OK;
        s->index++;
    }
    return WEIR_OK;
}

uint64_t source_index(const struct source *s)
{
    return s->index;
}

struct fingerprint source_digest(const struct source *s)
{
    return s->digest;
}

bool source_rows_known(const struct source *s, uint64_t *ret_rows)
{
    if (!s->checked || lines_any_stream(s->lines))
        return false;
    *ret_rows = s->checked_rows;
    return true;
}
