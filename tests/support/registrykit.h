/*
 * A registry under test: one of each kind there is, in short words.
 *
 *     struct registrykit k;
 *     registrykit_open(&k, &registrykit_kinds[0]);
 *     id = registrykit_submit(&k, (struct registry_spec){.key = SLICE("a")});
 *     registrykit_start(&k, id, 7);
 *     registrykit_end(&k, id, 7, REGISTRY_DONE);
 *     registrykit_events(&k, "task.submitted 1\n" ...);
 *     registrykit_close(&k);
 *
 * Its clock stands still unless it is moved (k.now). What fails that should not fails the running
 * test.
 */
#ifndef SUPPORT_REGISTRYKIT_H
#define SUPPORT_REGISTRYKIT_H

#include "core/ports/registry.h"

struct registrykit_kind {
    const char *name;
    /* Opens the registry at the path, or makes it. */
    enum weir_status (*open)(const char *path, struct core_registry **ret, struct weir_error *err);
    /* As a process that was killed would leave it; NULL: close, and open again. */
    void (*crash)(struct core_registry *r);
    /* NULL, or what does not hold inside. May be NULL. */
    const char *(*check)(struct core_registry *r);
    /* The next n transactions fail when they are all but done. May be NULL. */
    void (*fail_next)(struct core_registry *r, uint64_t n);
    /* As if REGISTRY_LINES_MAX were that. */
    void (*limit_lines)(struct core_registry *r, uint32_t max);
};

extern const struct registrykit_kind registrykit_kinds[];
extern const size_t registrykit_kind_count;

#define REGISTRYKIT_NOW INT64_C(1000000000000)

struct registrykit {
    const struct registrykit_kind *kind;
    char *dir, *path;
    struct core_registry *r;
    struct registry_reader *reader;
    int64_t now;
    uint64_t events_seen;
    struct weir_error err; /* of the last op */
    struct buf text;       /* of the last question */
};

void registrykit_open(struct registrykit *k, const struct registrykit_kind *kind);
void registrykit_close(struct registrykit *k);
/* As a process that was killed, and another one. */
void registrykit_reopen(struct registrykit *k);

/* Applies one op alone, at k->now. Its own status; what was handed over stays in it (registrykit_used()). */
enum weir_status registrykit_apply(struct registrykit *k, struct registry_op *op);
/* Frees what an op has handed over. */
void registrykit_used(struct registry_op *op);
/* The same, used up at once; the second must succeed. */
enum weir_status registrykit_try(struct registrykit *k, struct registry_op op);
void registrykit_do(struct registrykit *k, struct registry_op op);

uint64_t registrykit_submit(struct registrykit *k, struct registry_spec spec);
/* Of one that depends on others; ids end with 0. */
uint64_t registrykit_submit_after(struct registrykit *k, struct registry_spec spec,
                                  const uint64_t *ids);
void registrykit_start(struct registrykit *k, uint64_t task, uint64_t token);
struct registry_op registrykit_end_op(uint64_t task, uint64_t token, enum registry_state next);
void registrykit_end(struct registrykit *k, uint64_t task, uint64_t token,
                     enum registry_state next);
/* START and END of one that is ready. */
void registrykit_run(struct registrykit *k, uint64_t task, enum registry_state next);
uint64_t registrykit_batch(struct registrykit *k, const char *name);

/* The task as it is now. It must be there. */
struct registry_view registrykit_view(struct registrykit *k, uint64_t task);
enum registry_state registrykit_state(struct registrykit *k, uint64_t task);

/* Events since the last question, one a line: "task.assigned 1 a1 pool w5 s2 20ns {..}", without what is none. */
const char *registrykit_new_events(struct registrykit *k);
void registrykit_expect_events(struct registrykit *k, const char *want, const char *file, int line);
#define registrykit_events(k, want) registrykit_expect_events(k, want, __FILE__, __LINE__)

/* What an op has handed over: "1 3 line 2", ids in order, then lines. */
const char *registrykit_handed(struct registrykit *k, const struct registry_op *op);
/* What a TAKE gives: ids, "more" if there is more. */
const char *registrykit_take(struct registrykit *k, uint32_t line, int64_t after_rank,
                             uint32_t max);

/* One task with everything that can be seen of it, one a line; for comparisons. */
void registrykit_put_view(struct buf *out, const struct registry_view *v);
void registrykit_put_event(struct buf *out, const struct registry_event *e);
/* All that readers see. */
void registrykit_put_all(struct registrykit *k, struct buf *out);

struct registrykit_test {
    const char *name;
    void (*run)(void **state); /* *state: a struct registrykit, opened */
};
#define REGISTRYKIT_TEST(f)                                                                        \
    {                                                                                              \
#f, f                                                                                      \
    }
/* Runs each test with each kind. Returns what main() returns. */
int registrykit_main(const struct registrykit_test *tests, size_t count);

#endif
