/* See trail.h. */
#include "cli/input/trail.h"

#include "base/error.h"
#include "base/mem.h"

#include <assert.h>
#include <endian.h>

#define MARKS_FIRST 256

struct fingerprint trail_chain(struct fingerprint state, struct fingerprint line)
{
    /* The same digest on every machine: a journal may move. */
    uint64_t words[] = {htole64(state.hi), htole64(state.lo), htole64(line.hi), htole64(line.lo)};

    return fingerprint_of((struct slice){(const char *)words, sizeof(words)});
}

/* Drops every second mark: what stays are those after lines 2 * stride, 4 * stride, ... */
static void thin_out(struct trail *t)
{
    size_t kept = 0;

    for (size_t i = 1; i < t->mark_count; i += 2)
        t->marks[kept++] = t->marks[i];
    t->mark_count = kept;
    t->stride *= 2;
}

static enum weir_status make_room(struct trail *t, struct weir_error *err)
{
    size_t cap = t->mark_cap ? t->mark_cap * 2 : MARKS_FIRST;
    struct trail_mark *bigger;

    if (t->mark_count < t->mark_cap)
        return WEIR_OK;
    if (cap > t->marks_max)
        cap = t->marks_max;
    bigger = mem_realloc(t->marks, cap * sizeof(*bigger));
    if (!bigger)
        return error_nomem(err);
    t->marks = bigger;
    t->mark_cap = cap;
    return WEIR_OK;
}

enum weir_status trail_add(struct trail *t, struct fingerprint line, uint64_t place,
                           struct weir_error *err)
{
    enum weir_status status;

    if (t->stride == 0) {
        t->stride = 1;
        if (t->marks_max == 0)
            t->marks_max = TRAIL_MARKS_MAX;
    }
    assert(t->marks_max >= 2 && t->marks_max % 2 == 0);
    if (t->mark_count == t->marks_max)
        thin_out(t);
    status = make_room(t, err);
    if (status != WEIR_OK)
        return status;
    t->state = trail_chain(t->state, line);
    t->lines++;
    if (t->lines % t->stride == 0)
        t->marks[t->mark_count++] = (struct trail_mark){t->state, place};
    assert(t->mark_count == t->lines / t->stride);
    return WEIR_OK;
}

bool trail_step(const struct trail *t, struct trail_walk *w, struct fingerprint line)
{
    const struct trail_mark *mark;

    if (w->lines == t->lines)
        return false;
    w->state = trail_chain(w->state, line);
    w->lines++;
    if (w->lines == t->lines && !fingerprint_equal(w->state, t->state))
        return false;
    if (w->lines % t->stride != 0)
        return true;
    mark = &t->marks[w->lines / t->stride - 1];
    if (!fingerprint_equal(mark->state, w->state))
        return false;
    w->good_lines = w->lines;
    w->good_place = mark->place;
    return true;
}

bool trail_ended(const struct trail *t, const struct trail_walk *w)
{
    return w->lines == t->lines && fingerprint_equal(w->state, t->state);
}

void trail_free(struct trail *t)
{
    t->marks = mem_free(t->marks);
    t->mark_count = t->mark_cap = 0;
}
