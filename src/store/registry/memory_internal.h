/*
 * Inside the registry in memory.
 *
 * Two kinds of fields. What is *kept* (a task's state, an edge, how far a line was taken) is
 * changed only behind memory_touch(), which remembers how it was, so that an op that is refused, or
 * a transaction that fails, is taken back. What is *derived* from that (lists of ready tasks, the
 * heap of times, hash chains, counts) is changed in passing, and made anew from what is kept when
 * something was taken back, which is rare.
 *
 *     memory_registry.c  apply(), readers' and others' way in        memory_undo.c     taking back
 *     memory_table.c     tasks, lines, batches, events by number     memory_move.c     what follows from what; handing over
 *     memory_submit.c    SUBMIT                                      memory_attempt.c  TAKE, START, END, WAKE, put_back
 *     memory_hand.c      CANCEL, RETRY, EDIT, DELETE, RESOLVE        memory_keep.c     the other ops
 *     memory_read.c      readers
 *
 * A function that returns a status returns WEIR_E_NOMEM when the transaction has to fail, and any
 * other one when the op is refused, with op->err set; one that returns bool returns false for want
 * of memory.
 */
#ifndef STORE_REGISTRY_MEMORY_INTERNAL_H
#define STORE_REGISTRY_MEMORY_INTERNAL_H

#include "base/heap.h"
#include "base/list.h"
#include "core/ports/registry.h"

#include <pthread.h>

/* Bytes that are owned. */
struct memory_text {
    char *data; /* NULL: none */
    size_t len;
};

/* A dependency of a task. */
struct memory_edge {
    uint64_t on;
    bool met;
};

struct memory_task {
    /* ---- kept ---- */
    uint64_t id;
    enum registry_state state;
    struct memory_line *line;
    int64_t rank; /* 0: was never ready */
    struct memory_text key, payload, idempotency, message, output, errput, pool;
    uint64_t batch, place;
    struct memory_edge *edges; /* in the order of ids */
    uint32_t edge_count, blocked_by;
    uint64_t *up; /* ids of tasks that have an edge to this one, or had; in order */
    uint32_t up_count, up_cap;
    bool run_after_failure, stuck, has_result;
    bool cancelling; /* RUNNING, and somebody has cancelled it */
    bool end_told;   /* RUNNING, and the record has the end of its attempt */
    uint32_t attempts, failures, deaths, max_attempts, capacity_retries;
    int64_t submitted_ns, not_before_ns, deadline_ns, first_start_ns, ended_ns;
    int64_t timeout_ns, backoff_initial_ns, backoff_ceiling_ns, last_wait_ns;
    double backoff_factor;
    enum weir_outcome outcome;
    enum weir_reason reason;
    int status;
    /* Of the attempt that runs, or of the last. */
    uint64_t token;
    uint32_t attempt;
    int64_t started_ns;
    struct registry_runner runner;
    /* ---- derived ---- */
    struct memory_task *prev, *next; /* in its line, READY, by rank */
    struct memory_task *hash_next;   /* of its idempotency key */
    struct heap_node node;           /* of the times that come */
    int64_t due_ns;                  /* 0: none */
    /* ---- for the length of one op ---- */
    struct memory_task *queue_next, *from;
    uint64_t seen; /* in which walk */
    uint32_t left;
};

struct memory_line {
    struct registry_line pub; /* id first: its slices point into text */
    int64_t passed; /* kept. The engine has all that is ready up to that rank; INT64_MIN: nothing */
    /* derived */
    struct memory_line *hash_next;
    struct memory_task *first, *last; /* READY ones */
    uint32_t held;                    /* of these, up to `passed` */
    uint64_t states[REGISTRY_STATES];
    uint64_t told; /* number of the op that told of it */
    /* kept, but not touched: there are steps of its own for it (memory_undo_kind) */
    bool gone; /* dropped by a PURGE */
    struct memory_line *gone_next;
    char text[];
};

struct memory_batch {
    /* kept */
    uint64_t id;
    struct memory_text name;
    int64_t opened_ns, ended_ns;
    bool ended, passing;
    uint64_t *tasks; /* ids, in the order of place, then id; those that are gone are still there */
    size_t task_count, task_cap;
    /* derived */
    uint64_t states[REGISTRY_STATES];
    bool changed; /* by this op; chained */
    struct memory_batch *changed_next;
};

struct memory_event {
    struct registry_event e;
    char text[]; /* of pool and detail */
};

struct memory_fact {
    struct memory_fact *next;
    struct memory_text name, value;
};

struct memory_series {
    struct memory_series *next;
    uint32_t resolution_s;
    struct memory_text pool;
    struct registry_sample *samples; /* oldest first; pool points to the series' own */
    size_t first, count, cap;        /* count: from `first` on */
};

/* Kept, and small: put aside whole. */
struct memory_counts {
    uint64_t tasks, batches, lines;   /* the last numbers given; of lines the greatest */
    uint64_t event_first, event_last; /* first: of those that are still there */
    int64_t rank;
    struct memory_fact *facts;
    struct memory_series *series;
};

enum memory_undo_kind {
    UNDO_BYTES,
    UNDO_NEW,
    UNDO_OLD,
    UNDO_TASK_GONE,
    UNDO_BATCH_GONE,
    UNDO_LINE_NEW,  /* it is in its table; its memory is an UNDO_NEW */
    UNDO_LINE_GONE, /* it is one of lines_dropped */
};

struct memory_undo {
    struct memory_undo *next; /* made before */
    enum memory_undo_kind kind;
    void *
        at; /* BYTES: where they were; NEW: to be freed when taken back; OLD, GONE: to be freed when it is not */
    size_t size;
    char bytes[];
};

struct memory_registry {
    struct core_registry base; /* first: the port casts */
    pthread_mutex_t lock;      /* recursive */
    struct memory_counts c;
    struct memory_task **tasks; /* id - 1 -> NULL: gone */
    size_t task_cap;
    struct memory_batch **batches;
    size_t batch_cap;
    struct memory_line **lines; /* id - 1 -> NULL: the number is free */
    size_t line_cap;
    uint64_t line_from; /* no number up to that is free */
    uint32_t lines_max;
    /* By this transaction; by a PURGE that is durable. Both are still in `lines`, and in no bucket. */
    struct memory_line *lines_dropped, *lines_told;
    struct memory_event **events; /* seq - 1 */
    size_t event_cap;
    struct memory_line **line_buckets;
    struct memory_task **key_buckets;
    size_t line_bucket_count, key_bucket_count; /* powers of two, or 0 */
    struct heap due;
    uint64_t held; /* of all lines */
    struct memory_undo *undo;
    struct memory_batch *changed;     /* batches, by this op, in the order of ids */
    struct registry_task **ready_end; /* of the op's ret_ready */
    uint64_t op_number, walk_number;
    uint64_t fail_next;
};

static inline struct memory_registry *memory_self(struct core_registry *r)
{
    return (struct memory_registry *)(void *)r;
}

static inline struct memory_task *memory_of_node(const struct heap_node *n)
{
    return list_entry(n, struct memory_task, node);
}

static inline struct slice memory_slice(struct memory_text t)
{
    return (struct slice){t.data ? t.data : "", t.len};
}

/* ---- memory_undo.c ---- */

/* Remembers the bytes as they are. */
bool memory_touch(struct memory_registry *m, void *at, size_t size);
/* Memory that is freed when the transaction is taken back. NULL: none. */
void *memory_make(struct memory_registry *m, size_t size);
/* To be freed at the commit. NULL is harmless. */
bool memory_drop(struct memory_registry *m, void *block);
/* A task or batch is out of its table. */
bool memory_log_gone(struct memory_registry *m, enum memory_undo_kind kind, void *thing);
/* Puts another text in place (of what was touched); an empty one is none. */
bool memory_set_text(struct memory_registry *m, struct memory_text *t, struct slice s);
/* Everything back as it was at the mark: m->undo and m->c of then. */
void memory_take_back(struct memory_registry *m, struct memory_undo *mark,
                      const struct memory_counts *c);
void memory_commit(struct memory_registry *m);
void memory_task_free(struct memory_task *t);
void memory_batch_free(struct memory_batch *b);

/* ---- memory_table.c ---- */

/* Room for so many pointers in all. */
bool memory_reserve(void *array, size_t *cap, size_t count);
struct memory_task *memory_find(const struct memory_registry *m, uint64_t id);
/* The same; or refuses the op with WEIR_E_END. */
struct memory_task *memory_need(struct memory_registry *m, uint64_t id, struct registry_op *op);
struct memory_batch *memory_find_batch(const struct memory_registry *m, uint64_t id);
struct memory_batch *memory_need_batch(struct memory_registry *m, uint64_t id,
                                       struct registry_op *op);
struct memory_task *memory_find_key(const struct memory_registry *m, struct slice key);
struct memory_line *memory_find_line(const struct memory_registry *m, uint32_t id);
/* The line of these needs; made if it is new. WEIR_E_LIMIT: op->err says so. */
enum weir_status memory_line_of(struct memory_registry *m, const struct registry_line *l,
                                struct registry_op *op, struct memory_line **ret);
bool memory_line_is_empty(const struct memory_line *l);
/* Nobody finds it by what it is any more. */
bool memory_line_drop(struct memory_registry *m, struct memory_line *l);
/* Those that were told go, and their numbers are free. */
void memory_lines_let_go(struct memory_registry *m);
bool memory_table_add(struct memory_registry *m, struct memory_task *t);
/* An ended task goes. */
bool memory_table_remove(struct memory_registry *m, struct memory_task *t);
bool memory_batch_add(struct memory_registry *m, struct memory_batch *b, struct memory_task *t);
/* All derived from what is kept. */
void memory_derive(struct memory_registry *m);
/* Puts a task where its state belongs, and takes it away from there. */
void memory_link(struct memory_registry *m, struct memory_task *t);
void memory_unlink(struct memory_registry *m, struct memory_task *t);
/* Index of the edge; edge_count: none. */
uint32_t memory_edge_find(const struct memory_task *t, uint64_t on);
/* Puts them in, in the order of ids, each once; those that t has already stay as they are. All are of tasks that are there. */
bool memory_edges_add(struct memory_registry *m, struct memory_task *t,
                      const struct memory_edge *more, uint32_t count);
/* The same of what somebody asked for: `found` (room for count) is sorted and rid of doubles. Refuses the op (WEIR_E_CONFLICT)
 * when one is cancelled. *ret_failed: the first that has failed, and fails t. */
enum weir_status memory_edges_sort(struct memory_registry *m, struct registry_op *op,
                                   bool run_after_failure, struct memory_edge *found,
                                   uint32_t *count, const struct memory_task **ret_failed);

/* ---- memory_move.c ---- */

/* An event, appended; its slices are copied. */
bool memory_event(struct memory_registry *m, const struct registry_event *e);
/* Of a task; at: when. `attempt`: with that of its attempt. */
bool memory_tell(struct memory_registry *m, const struct memory_task *t,
                 enum registry_event_kind kind, int64_t at_ns, bool attempt, int64_t lasted_ns,
                 struct buf *detail);
/* The task is touched. */
void memory_set_state(struct memory_registry *m, struct memory_task *t, enum registry_state state);
/* It is READY: hands it over, or tells its line. */
bool memory_hand(struct memory_registry *m, struct registry_op *op, struct memory_task *t);
/* A copy for the engine. NULL: no memory. */
struct registry_task *memory_copy(const struct memory_task *t);
/* A new rank; task.ready; handed over. The task is touched. */
bool memory_become_ready(struct memory_registry *m, struct registry_op *op, struct memory_task *t,
                         int64_t at_ns);
/* BLOCKED without dependencies that are not met: SCHEDULED or READY. The task is touched. */
bool memory_unblock(struct memory_registry *m, struct registry_op *op, struct memory_task *t,
                    int64_t at_ns);
/* Ends one that does not run, and what follows. The event is written. */
bool memory_fail(struct memory_registry *m, struct registry_op *op, struct memory_task *t,
                 enum weir_outcome outcome, enum weir_reason reason, struct slice message,
                 int64_t at_ns);
bool memory_fail_behind(struct memory_registry *m, struct registry_op *op, struct memory_task *t,
                        const struct memory_task *on, int64_t at_ns);
bool memory_cancel(struct memory_registry *m, struct memory_task *t, int64_t at_ns);
/* t is DONE or FAILED: what follows for those that depend on it. */
bool memory_spread(struct memory_registry *m, struct registry_op *op, struct memory_task *t,
                   int64_t at_ns);
/* To be looked at by memory_end_batches(). NULL is harmless. */
void memory_batch_changed(struct memory_registry *m, struct memory_batch *b);
/* batch.ended of those that have. */
bool memory_end_batches(struct memory_registry *m, int64_t at_ns);
void memory_free_outputs(struct registry_op *op);

/* ---- ops ---- */

enum weir_status memory_op_submit(struct memory_registry *m, struct registry_op *op);
enum weir_status memory_op_take(struct memory_registry *m, struct registry_op *op);
enum weir_status memory_op_start(struct memory_registry *m, struct registry_op *op);
enum weir_status memory_op_end(struct memory_registry *m, struct registry_op *op);
enum weir_status memory_op_cancel(struct memory_registry *m, struct registry_op *op);
enum weir_status memory_op_retry(struct memory_registry *m, struct registry_op *op);
enum weir_status memory_op_edit(struct memory_registry *m, struct registry_op *op);
enum weir_status memory_op_delete(struct memory_registry *m, struct registry_op *op);
enum weir_status memory_op_resolve(struct memory_registry *m, struct registry_op *op);
enum weir_status memory_op_wake(struct memory_registry *m, struct registry_op *op);
enum weir_status memory_op_tell(struct memory_registry *m, struct registry_op *op);
enum weir_status memory_op_batch_open(struct memory_registry *m, struct registry_op *op);
/* Of those that are to go with who filled them. */
bool memory_end_passing(struct memory_registry *m);
enum weir_status memory_op_batch_end(struct memory_registry *m, struct registry_op *op);
enum weir_status memory_op_check(struct memory_registry *m, struct registry_op *op);
enum weir_status memory_op_purge(struct memory_registry *m, struct registry_op *op);
enum weir_status memory_op_set(struct memory_registry *m, struct registry_op *op);
enum weir_status memory_op_sample(struct memory_registry *m, struct registry_op *op);
bool memory_put_back(struct memory_registry *m, struct registry_op *op, uint32_t deaths_max,
                     uint64_t *ret_count);

/* ---- memory_read.c ---- */

enum weir_status memory_reader_new(struct memory_registry *m, struct registry_reader **ret,
                                   struct weir_error *err);

#endif
