/*
 * A walk in depth with a stack of its own: tasks of a chain of 10,000 stand on it together, and a
 * circle is what stands on it from the task that is met again.
 */
#include "core/depend.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

/* Of a long circle, so many are told at its beginning and its end; and so much of a key. */
#define TOLD_MAX      8
#define KEY_BYTES_MAX 24

enum colour { NEW, ON_STACK, LEFT };

struct step {
    uint32_t task;
    uint32_t next; /* of its dependencies, to be looked at */
};

struct walk {
    const struct registry_spec *specs;
    uint8_t *colours;
    struct step *stack;
    size_t depth;
};

enum weir_status depend_refuse(size_t count, depend_name_fn name, void *ctx, struct weir_error *err)
{
    char path[(2 * TOLD_MAX + 1) * (KEY_BYTES_MAX + sizeof(" -> ")) + 64];
    char room[DEPEND_NAME_BYTES];
    size_t len = 0;

    assert(count > 0);
    for (size_t i = 0; i <= count; i++) {
        struct slice s;

        if (i == TOLD_MAX && count > 2 * TOLD_MAX) {
            len += (size_t)snprintf(path + len, sizeof(path) - len, "(%zu more) -> ",
                                    count - 2 * TOLD_MAX);
            i = count - TOLD_MAX;
        }
        s = name(ctx, i % count, room);
        if (s.len > KEY_BYTES_MAX)
            s.len = utf8_valid_prefix((struct slice){s.data, KEY_BYTES_MAX});
        len += (size_t)snprintf(path + len, sizeof(path) - len, "%.*s%s", (int)s.len, s.data,
                                i < count ? " -> " : "");
    }
    return error_set(
        err, WEIR_E_CONFLICT,
        "each of these tasks would wait for the next: %s; leave out one of the dependencies", path);
}

static struct slice name_of(void *ctx, size_t i, char room[DEPEND_NAME_BYTES])
{
    const struct walk *w = ctx;
    const struct registry_spec *s = &w->specs[w->stack[i].task];

    if (s->key.len > 0)
        return s->key;
    snprintf(room, DEPEND_NAME_BYTES, "#%" PRIu32, w->stack[i].task);
    return slice_of(room);
}

static void put_on(struct walk *w, uint32_t task)
{
    w->colours[task] = ON_STACK;
    w->stack[w->depth++] = (struct step){task, 0};
}

/* Everything that can be reached from the task is LEFT; or false, and the circle is the end of the stack, closed by `*ret_closed`. */
static bool walk_from(struct walk *w, uint32_t task, uint32_t *ret_closed)
{
    put_on(w, task);
    while (w->depth > 0) {
        struct step *s = &w->stack[w->depth - 1];
        const struct registry_spec *spec = &w->specs[s->task];
        const struct registry_after *after;

        if (s->next == spec->after_count) {
            w->colours[s->task] = LEFT;
            w->depth--;
            continue;
        }
        after = &spec->after[s->next++];
        if (after->id != 0 || w->colours[after->sibling] == LEFT)
            continue;
        if (w->colours[after->sibling] == ON_STACK) {
            *ret_closed = after->sibling;
            return false;
        }
        put_on(w, after->sibling);
    }
    return true;
}

/* The usual case: everyone waits only for those before him. */
static bool looks_back_only(const struct registry_spec *specs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < specs[i].after_count; k++)
            if (specs[i].after[k].id == 0 && specs[i].after[k].sibling >= i)
                return false;
    return true;
}

enum weir_status depend_check(const struct registry_spec *specs, size_t count,
                              struct weir_error *err)
{
    struct walk w = {.specs = specs};
    enum weir_status status = WEIR_OK;
    uint32_t closed = 0;

    if (looks_back_only(specs, count))
        return WEIR_OK;
    w.colours = mem_calloc(count, sizeof(*w.colours));
    w.stack = mem_calloc(count, sizeof(*w.stack));
    if (!w.colours || !w.stack)
        status = error_nomem(err);
    for (size_t i = 0; i < count && status == WEIR_OK; i++) {
        size_t from = 0;

        if (w.colours[i] != NEW || walk_from(&w, (uint32_t)i, &closed))
            continue;
        while (w.stack[from].task != closed)
            from++;
        w.depth -= from;
        memmove(w.stack, w.stack + from, w.depth * sizeof(*w.stack));
        status = depend_refuse(w.depth, name_of, &w, err);
    }
    mem_free(w.colours);
    mem_free(w.stack);
    return status;
}
