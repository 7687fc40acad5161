/*
 * What the files of the SQLite registry share. Nobody outside of this folder includes it.
 *
 *      sqlite_open      the file: whose it is, its tables
 *      sqlite_lock      one process at a time
 *      sqlite_apply     a chain of ops as one transaction, and taking it all back
 *      sqlite_submit    SUBMIT           sqlite_take    TAKE, and what is handed over
 *      sqlite_attempt   START, END, and what a predecessor left
 *      sqlite_hand      by hand: CANCEL, RETRY, EDIT, DELETE, RESOLVE
 *      sqlite_moves     what follows from what
 *      sqlite_sweep     WAKE, PURGE      sqlite_check   CHECK
 *      sqlite_row       a task's row       sqlite_pack  what is packed in it
 *      sqlite_rows      rows on their way into the file
 *      sqlite_intern    names              sqlite_count tallies and batches
 *      sqlite_lines     lines, and what the tally counts them under
 *      sqlite_verify    for tests: whether it all agrees
 *      sqlite_event     the record         sqlite_read* readers
 *      sqlite_fail      errors
 *
 * Two kinds of failure: what an op cannot do is op->err, and apply() goes on; a status that a
 * function here returns means that the transaction cannot go on, and all of it is taken back: in
 * the file by SQLite, in memory by registry_undo().
 */
#ifndef STORE_REGISTRY_SQLITE_INSIDE_H
#define STORE_REGISTRY_SQLITE_INSIDE_H

#include "store/registry/sqlite_registry.h"

#include "base/buf.h"
#include "base/idmap.h"
#include "base/list.h"
#include "base/map.h"

#include <sqlite3.h>

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

/* Payloads up to this stand in the task's row, larger ones in a table of their own, so that no change of state copies them. */
#define PAYLOAD_INLINE_BYTES 1024
/* Events in one row of the table at most, and bytes of them (about: one more event may follow). */
#define EVENT_CHUNK       256
#define EVENT_CHUNK_BYTES 3400

/* ---- things with numbers, that many share: lines and names ---- */

#define INTERN_CHUNK  1024
#define INTERN_CHUNKS 4096
_Static_assert(INTERN_CHUNK *INTERN_CHUNKS == REGISTRY_LINES_MAX, "each line has a number");

/* First member of what is interned. */
struct interned {
    uint32_t id; /* from 1 */
    uint64_t hash;
    struct slice key;
};

typedef _Atomic(struct interned *) intern_slot;

/* Written by one thread; intern_get() by any. */
struct intern {
    _Atomic(intern_slot *) chunks[INTERN_CHUNKS];
    _Atomic uint32_t count; /* the greatest number; those below that have nothing are free: */
    uint16_t free_in[INTERN_CHUNKS]; /* of each chunk */
    uint32_t free_count;
    uint32_t *places; /* by hash; 0: free */
    uint32_t place_count, shown;
};

struct interned *intern_get(const struct intern *t, uint32_t id);
struct interned *intern_find(const struct intern *t, struct slice key, uint64_t hash);
/* The lowest that is free. */
uint32_t intern_next_id(const struct intern *t);
/* Gives it that number, which is free. */
enum weir_status intern_put(struct intern *t, struct interned *item, uint32_t id,
                            struct weir_error *err);
/* intern_find() does not find it any more, and does so again; by its number it is found. */
void intern_hide(struct intern *t, const struct interned *item);
void intern_show(struct intern *t, const struct interned *item);
/* Of one that is hidden: its number is free. The item is the caller's. */
void intern_free_id(struct intern *t, const struct interned *item);
/* Frees all with numbers above `count`, below which none is free. */
void intern_cut(struct intern *t, uint32_t count);
void intern_free(struct intern *t);
uint64_t intern_hash(struct slice key);

#define LINE_SLOTS_BYTES_MAX (REGISTRY_SLOTS_MAX * (REGISTRY_NAME_BYTES_MAX + 1))

struct name_entry {
    struct interned in;
    int outcome, reason; /* that it spells; -1: none */
};

/* What the tally counts tasks under. */
struct target {
    struct map_node node;
    uint32_t lines; /* that stand for it; 0: it goes with the transaction */
    struct target *next_dirty;
    bool dirty;
    int64_t n[REGISTRY_STATES]; /* what this transaction adds */
    size_t len;
    char text[];
};

struct line_entry {
    struct interned in;
    struct registry_line line;
    struct target *target;
    uint64_t tasks;         /* of any state */
    uint64_t row_tasks;     /* the same, as it stands in the file */
    bool has_row;           /* in the file */
    bool dirty;             /* its row is to be written */
    bool gone;              /* dropped by a PURGE, or taken back */
    struct list empty_link; /* in registry.empty_lines, of one without tasks */
    struct line_entry *next_dirty, *gone_next;
    /* What the engine has of it: all that is ready up to this rank, so many of them; and how many are behind it
     * (LINE_BEHIND_UNKNOWN and more: at the start nobody counts them). */
    int64_t passed;
    uint64_t held, behind;
    uint64_t touched; /* transaction in which its old values were put aside */
    uint64_t told;    /* op in which it was told */
};

struct line_before {
    struct line_entry *line;
    int64_t passed;
    uint64_t held, behind;
};

/* A line that the transaction has added, or dropped. */
struct line_step {
    struct line_entry *line;
    bool added;
};

#define LINE_BEHIND_UNKNOWN (UINT64_MAX / 4)

/* ---- a task's row ---- */

#define TASK_RUN_AFTER_FAILURE 1u
#define TASK_STUCK             2u
#define TASK_NEEDED            4u  /* others depend on it */
#define TASK_BIG               8u  /* its payload stands elsewhere */
#define TASK_CANCELLING        16u /* it runs, and somebody has cancelled it */
#define TASK_END_TOLD          32u /* it runs, and the record has the end of its attempt */

struct task_opts {
    uint32_t max_attempts;
    int64_t timeout_ns, backoff_initial_ns, backoff_ceiling_ns, deadline_ns, not_before_ns;
    double backoff_factor;
};

struct task_run {
    uint32_t attempts, failures, deaths, capacity_retries;
    int64_t first_start_ns, ended_ns, last_wait_ns;
    uint32_t pool, outcome, reason; /* names */
    int32_t status;
    uint32_t result; /* RESULT_* */
    int64_t wake_ns; /* of SCHEDULED after an attempt: when; 0: as the task itself says */
};

/* It has ended by END; and there is a row with what that gave. */
#define RESULT_ENDED 1u
#define RESULT_ROW   2u

struct task_row {
    uint64_t id;
    uint32_t line;
    enum registry_state state;
    int64_t rank;
    uint64_t batch, place;
    uint32_t blocked, flags;
    uint64_t event; /* its last one */
    int64_t submitted_ns;
    struct task_opts opts;
    struct task_run run;
};

#define OPTS_BYTES_MAX 80
#define RUN_BYTES_MAX  144
/* A `run` has this many bytes at least, zeros at its end, from the beginning: so a row does not grow when its task ends, and
 * is changed where it stands. */
#define RUN_BYTES_MIN 24
/* Packed. Of opts, 0: there is nothing to say, NULL in the table. */
size_t opts_pack(const struct task_opts *o, int64_t submitted_ns, unsigned char *to);
size_t run_pack(const struct task_run *r, int64_t submitted_ns, unsigned char *to);
bool opts_unpack(const void *from, size_t len, int64_t submitted_ns, struct task_opts *ret);
bool run_unpack(const void *from, size_t len, int64_t submitted_ns, struct task_run *ret);

/* Numbers of seven bits a byte, the lowest first; the top bit: more follow. */
static inline unsigned char *varint_put(unsigned char *to, uint64_t n)
{
    while (n >= 0x80) {
        *to++ = (unsigned char)(n | 0x80);
        n >>= 7;
    }
    *to++ = (unsigned char)n;
    return to;
}

static inline uint64_t zigzag(int64_t n)
{
    return (uint64_t)n << 1 ^ (uint64_t)(n >> 63);
}

static inline int64_t unzigzag(uint64_t n)
{
    return (int64_t)(n >> 1 ^ (~(n & 1) + 1));
}

/* NULL: it is cut short. */
const unsigned char *varint_get(const unsigned char *at, const unsigned char *end, uint64_t *ret);

/* ---- statements of the writer ---- */

enum registry_statement {
    RS_BEGIN,
    RS_COMMIT,
    RS_ROLLBACK,
    RS_MARK_PUT,
    RS_NAME_PUT,
    RS_LINE_PUT,
    RS_LINE_COUNT,
    RS_LINE_DROP,
    RS_TASKS_PUT,
    RS_TASKS_MOVE,
    RS_TASK_GET,
    RS_TASK_SET,
    RS_TASK_EVENT,
    RS_TASK_FLAG,
    RS_TASK_DROP,
    RS_TASK_BY_KEY,
    RS_TASK_FIELDS,
    RS_TAKE,
    RS_READY_BEFORE,
    RS_READY_SOME,
    RS_READY_BETWEEN,
    RS_PAYLOAD_PUT,
    RS_PAYLOAD_GET,
    RS_PAYLOAD_DROP,
    RS_RESULT_PUT,
    RS_RESULT_DROP,
    RS_DEP_PUT,
    RS_DEP_HAS,
    RS_DEP_OF,
    RS_DEP_ON,
    RS_DEP_MET,
    RS_DEP_DROP,
    RS_DEP_DROP_UNMET,
    RS_RUNNER_PUT,
    RS_RUNNER_GET,
    RS_RUNNER_DROP,
    RS_RUNNER_ALL,
    RS_BATCH_PUT,
    RS_BATCH_GET,
    RS_BATCH_SET,
    RS_BATCH_PASSING,
    RS_BATCH_DROP,
    RS_BATCH_TASKS,
    RS_BATCH_PIECE,
    RS_TALLY_PUT,
    RS_TALLY_DROP,
    RS_EVENT_PUT,
    RS_EVENT_FIRST,
    RS_EVENT_BEHIND,
    RS_EVENT_DROP,
    RS_GONE_PUT,
    RS_GONE_GET,
    RS_GONE_DROP,
    RS_FACT_PUT,
    RS_FACT_DROP,
    RS_SAMPLE_PUT,
    RS_SAMPLE_NEWEST,
    RS_SAMPLE_DROP,
    RS_DUE,
    RS_DUE_NEXT,
    RS_IN_STATE,
    RS_ENDED_DONE,
    RS_ENDED_FAILED,
    RS_ENDED_CANCELLED,
    RS_STUCK,
    RS_LINE_READY,
    RS_BATCHES_ENDED,
    RS_COUNT
};

extern const char *const registry_tables[];
extern const size_t registry_table_count;
extern const char *const registry_sql[RS_COUNT];

/* ---- counts of batches ---- */

/* The column `closed`. */
enum { BATCH_OPEN, BATCH_CLOSED, BATCH_PASSING };

struct batch_entry {
    uint64_t id;
    int64_t n[REGISTRY_STATES];
    uint64_t first, last; /* of its tasks' ids; other tasks may stand between */
    int64_t ended_ns;
    bool closed;               /* no more tasks come */
    bool passing;              /* not closed: registry_put_back() does it */
    bool told;                 /* that it has ended */
    uint64_t touched, changed; /* op and transaction in which that was last noted */
};

/* Batches that were looked at lately, and are kept over transactions; beyond it all are let go. */
#define BATCH_ENTRIES 1024

/* Numbers that only grow. */
struct registry_mark {
    uint64_t task, batch, event, event_first;
    int64_t rank;
};

struct event_pen {
    struct buf body;
    uint64_t first;
    uint32_t count;
    int64_t at_ns, last_at_ns;
    uint64_t last_task, kinds;
};

struct row_on_way {
    struct task_row row;
    /* The caller's, until apply() returns: */
    struct slice key, idempotency_key, payload, message;
};

struct rows_way {
    struct row_on_way *rows;
    size_t count, cap;
    unsigned char *opts, *run; /* packed, of the row that SQLite reads */
};

struct sqlite_registry {
    struct core_registry base; /* first: the port casts */
    sqlite3 *db;
    sqlite3_stmt *statements[RS_COUNT];
    char *path, *name;    /* as the user named it; as SQLite has it: its real path */
    int lock_fd, file_fd; /* of NAME-lock and of the file itself; -1: not locked */
    char *log_name;
    struct stat file, log; /* as they were opened */
    uint32_t busy_ms;
    struct intern lines, names;
    struct registry_mark mark, durable;
    _Atomic uint64_t last_event; /* durable */
    uint32_t names_durable;
    uint32_t lines_max;
    struct list empty_lines;
    /* Dropped by this transaction; told by a PURGE that is durable; let go of or taken back, and perhaps looked at by a reader. */
    struct line_entry *lines_dropped, *lines_told, *lines_unread;
    uint32_t lines_tries; /* to free lines_unread, in vain */
    struct line_step *steps;
    size_t step_count, step_cap;
    struct line_entry *dirty_lines;
    struct map targets; /* by text */
    struct target *dirty_targets;
    pthread_rwlock_t
        reading;      /* held by readers in a call that looks at lines, never twice by one thread */
    bool can_be_read; /* it is made */
    struct rows_way coming, changed_rows;
    struct idmap known; /* id -> struct known_row */
    struct event_pen pen;
    struct idmap batches;
    struct batch_entry **touched, **changed; /* batches, by this op and by this transaction */
    size_t touched_count, touched_cap, changed_count, changed_cap;
    struct line_before *undo;
    size_t undo_count, undo_cap;
    uint64_t held, held_durable; /* of all lines */
    uint64_t transaction, op_number;
    bool writing;       /* a transaction is open, as far as we know */
    uint64_t fail_next; /* tests only */
    bool
        graph_same; /* no dependency has changed since the last CHECK began, which found so many: */
    uint64_t stuck;
    bool graph_helped;   /* since the CHECK that is under way began: what was dead may live */
    struct check *check; /* that is under way */
    /* PURGE: it has looked at what has ended up to that id, and is not through; and what is before that event is old or
     * of a time to come. */
    uint64_t purged_to, ahead_to;
    unsigned char opts[OPTS_BYTES_MAX], run[RUN_BYTES_MAX]; /* bound */
    /* What the op that is applied has made ready. */
    struct registry_task **ready_end;
    size_t line_cap;
    struct registry_op *op;
    /* Names of the executors' words, by number. */
    uint32_t outcome_names[WEIR_OUTCOME_CANCELLED + 1], reason_names[WEIR_REASON_COUNT];
};

static inline struct sqlite_registry *registry_self(struct core_registry *r)
{
    return (struct sqlite_registry *)(void *)r;
}

/* ---- sqlite_fail ---- */

enum weir_status registry_fail(struct sqlite_registry *r, const char *doing,
                               struct weir_error *err);
/* Of any connection to the file. */
enum weir_status registry_fail_db(sqlite3 *db, const char *path, const char *doing,
                                  struct weir_error *err);
enum weir_status registry_damaged(const char *path, const char *what, struct weir_error *err);

/* ---- sqlite_lock ---- */

/* Finds the file's real name, and makes the file where there is none. */
enum weir_status registry_find_file(struct sqlite_registry *r, struct weir_error *err);
/* WEIR_E_BUSY: another process has it. */
enum weir_status registry_lock(struct sqlite_registry *r, struct weir_error *err);
/* The same of the file itself, by whatever name; with registry_lock() before it. */
enum weir_status registry_lock_file(struct sqlite_registry *r, struct weir_error *err);
/* What is open, as soon as it has its log: for the two that follow. */
enum weir_status registry_note_files(struct sqlite_registry *r, struct weir_error *err);
/* WEIR_E_IO: it is not there any more by its name, so that what is written now is lost at the end. Any thread. */
enum weir_status registry_check_files(const struct sqlite_registry *r, struct weir_error *err);
enum weir_status registry_look(struct core_registry *base, struct weir_error *err);
/* When no connection of this process is open any more: to close a descriptor of the file lets go of SQLite's locks on it. */
void registry_unlock(struct sqlite_registry *r);

/* ---- sqlite_apply ---- */

/* The statement, prepared when it is first asked for. NULL: registry_fail() says why. */
sqlite3_stmt *registry_statement(struct sqlite_registry *r, enum registry_statement st);
/* Runs one that gives no rows, and resets it. */
enum weir_status registry_run(struct sqlite_registry *r, sqlite3_stmt *stmt, const char *doing,
                              struct weir_error *err);
/* A statement with up to three numbers bound, that gives no rows. */
enum weir_status registry_do(struct sqlite_registry *r, enum registry_statement st, int count,
                             const int64_t *numbers, const char *doing, struct weir_error *err);
enum weir_status registry_apply(struct core_registry *base, struct registry_op *chain,
                                struct weir_error *err);
/* For what is a transaction beside apply(). */
enum weir_status registry_begin(struct sqlite_registry *r, struct weir_error *err);
enum weir_status registry_end(struct sqlite_registry *r, enum weir_status status,
                              struct weir_error *err);
void registry_bind_text(sqlite3_stmt *stmt, int at, struct slice s); /* empty: NULL */
void registry_bind_blob(sqlite3_stmt *stmt, int at, struct slice s); /* empty: NULL */
struct slice registry_column(sqlite3_stmt *stmt, int at);

/* ---- sqlite_row ---- */

/* Columns of RS_TASK_GET and others that begin alike. */
#define ROW_COLUMNS                                                                                \
    "id, line, state, rank, batch, place, blocked, flags, event, submitted, opts, run"
#define ROW_COLUMN_COUNT 12
bool row_read(sqlite3_stmt *stmt, struct task_row *ret);
/* *ret_found false: there is none. */
enum weir_status row_load(struct sqlite_registry *r, uint64_t id, struct task_row *ret,
                          bool *ret_found, struct weir_error *err);
/* By an END: `to` in place of what it was; counts follow. It is written later; message is the op's. */
enum weir_status row_move(struct sqlite_registry *r, struct task_row *row, enum registry_state to,
                          struct slice message, struct weir_error *err);
/* At once, and all that may change. line_before: the one that it was in; message: NULL leaves the old one. */
enum weir_status row_set(struct sqlite_registry *r, struct task_row *row, uint32_t line_before,
                         enum registry_state to, const struct slice *message,
                         struct weir_error *err);
/* Others depend on it. */
enum weir_status row_flag_needed(struct sqlite_registry *r, uint64_t id, struct weir_error *err);
/* When WAKE has to look at it; 0: never. */
int64_t row_due(const struct task_row *row, enum registry_state state);
/* The next rank at or after that time. */
int64_t row_next_rank(struct sqlite_registry *r, int64_t at_ns);
struct line_entry *row_line(struct sqlite_registry *r, uint32_t id);

/* ---- sqlite_rows: rows on their way, and rows that are remembered ---- */

/* Once the connection is there. */
enum weir_status rows_open(struct sqlite_registry *r, struct weir_error *err);
void rows_close(struct sqlite_registry *r);
/* A new one, whose id is the next. */
enum weir_status rows_put(struct sqlite_registry *r, const struct row_on_way *w,
                          struct weir_error *err);
/* One that an END has changed. */
enum weir_status rows_move(struct sqlite_registry *r, const struct row_on_way *w,
                           struct weir_error *err);
/* Writes those that are on their way. */
enum weir_status rows_flush(struct sqlite_registry *r, struct weir_error *err);
/* The engine was given it: it will be asked for. */
void rows_remember(struct sqlite_registry *r, const struct task_row *row);
/* It is changed by another statement; flushed before. */
void rows_forget(struct sqlite_registry *r, uint64_t id);
void rows_forget_all(struct sqlite_registry *r);
/* NULL: it is not remembered, or not there. */
const struct task_row *rows_find(const struct sqlite_registry *r, uint64_t id);
bool rows_is_coming(const struct sqlite_registry *r, uint64_t id);

/* ---- sqlite_intern ---- */

enum weir_status registry_name(struct sqlite_registry *r, struct slice text,
                               struct name_entry **ret, struct weir_error *err);
/* The number of the name; 0 for the empty one. */
enum weir_status registry_name_id(struct sqlite_registry *r, struct slice text, uint32_t *ret,
                                  struct weir_error *err);
struct slice registry_name_text(const struct sqlite_registry *r, uint32_t id);
/* At the open. */
enum weir_status registry_load_names(struct sqlite_registry *r, struct weir_error *err);
/* load() for each row. */
enum weir_status registry_load_each(struct sqlite_registry *r, const char *sql,
                                    enum weir_status (*load)(struct sqlite_registry *,
                                                             sqlite3_stmt *, struct weir_error *),
                                    struct weir_error *err);

/* ---- sqlite_lines ---- */

/* Before all else; closed again, whatever has come of it. */
enum weir_status lineset_init(struct sqlite_registry *r, struct weir_error *err);
void lineset_close(struct sqlite_registry *r);
enum weir_status lineset_load(struct sqlite_registry *r, struct weir_error *err);
/* The line that is so; made if it is new. WEIR_E_LIMIT: of the op. */
enum weir_status registry_line(struct sqlite_registry *r, const struct registry_line *l,
                               struct line_entry **ret, struct weir_error *err);
/* So many tasks more, or less. */
void line_count(struct sqlite_registry *r, struct line_entry *l, int64_t more);
/* Its counts are written, or it goes, at the end of the transaction. */
void target_touch(struct sqlite_registry *r, struct target *t);
/* PURGE: lets go of those that were told, and drops those without tasks. */
enum weir_status lineset_purge(struct sqlite_registry *r, struct registry_purge *p,
                               struct weir_error *err);
enum weir_status lineset_write(struct sqlite_registry *r, struct weir_error *err);
/* The transaction is over: their rows are written, or taken back. */
void lineset_settle(struct sqlite_registry *r, bool written);
void targets_settle(struct sqlite_registry *r);
/* What was added and dropped, back to when there were so many steps; of a transaction (0) after lineset_settle(). */
void lineset_take_back(struct sqlite_registry *r, size_t steps);
/* All of it is durable. */
void lineset_keep(struct sqlite_registry *r);

/* ---- sqlite_count ---- */

/* from, to: a state, or -1. */
void count_move(struct sqlite_registry *r, struct line_entry *line, int from, int to, int64_t n);
enum weir_status batch_move(struct sqlite_registry *r, uint64_t batch, int from, int to, int64_t n,
                            struct weir_error *err);
/* A new task of it. */
enum weir_status batch_join(struct sqlite_registry *r, uint64_t batch, uint64_t task,
                            enum registry_state state, struct weir_error *err);
/* NULL in *ret: there is none. */
enum weir_status batch_load(struct sqlite_registry *r, uint64_t id, struct batch_entry **ret,
                            struct weir_error *err);
enum weir_status batch_open(struct sqlite_registry *r, struct slice name, bool passing,
                            int64_t at_ns, uint64_t *ret_id, struct weir_error *err);
/* No more tasks come. It may have ended by that, which batch_settle() tells. */
enum weir_status batch_close(struct sqlite_registry *r, uint64_t id, bool *ret_found,
                             struct weir_error *err);
/* After an op: tells of the batches that have ended by it. */
enum weir_status batch_settle(struct sqlite_registry *r, int64_t at_ns, struct weir_error *err);
enum weir_status count_write(struct sqlite_registry *r, struct weir_error *err);
/* Only the batches, so that statements see them. */
enum weir_status count_write_batches(struct sqlite_registry *r, struct weir_error *err);
/* It goes; it was written and is settled. */
enum weir_status batch_drop(struct sqlite_registry *r, uint64_t id, struct weir_error *err);
/* What the transaction has gathered; all: the batches that are kept, too. */
void count_forget(struct sqlite_registry *r, bool all);

/* ---- sqlite_take: what the engine has of a line ---- */

/* It is ready (and so counted): by a transition, or because whoever had it has let go of it. spec: as it was submitted just now, or NULL. */
enum weir_status hand_over(struct sqlite_registry *r, const struct task_row *row,
                           const struct registry_spec *spec, struct weir_error *err);
/* One of these is ready now, or is so no longer. */
enum weir_status line_count_ready(struct sqlite_registry *r, struct line_entry *l, int64_t rank,
                                  bool ready, struct weir_error *err);
/* Puts a line's old values aside, once a transaction. */
enum weir_status line_touch(struct sqlite_registry *r, struct line_entry *l,
                            struct weir_error *err);
void task_chain_free(struct registry_task *chain);

/* ---- sqlite_event ---- */

/*
 * Writes it with the next number. prev: the task's last event before it, which becomes this one.
 */
enum weir_status event_put(struct sqlite_registry *r, const struct registry_event *e, uint32_t pool,
                           uint64_t *prev, struct weir_error *err);
/* About a task, of no pool. */
enum weir_status event_task(struct sqlite_registry *r, enum registry_event_kind kind,
                            struct task_row *row, int64_t at_ns, struct slice detail,
                            struct weir_error *err);
/* Not of an op about the task, which may be gone; its pool is looked up. */
enum weir_status event_tell(struct sqlite_registry *r, const struct registry_event *e,
                            struct weir_error *err);
/* The task is gone, that was its last event. */
enum weir_status event_gone(struct sqlite_registry *r, uint64_t task, uint64_t event,
                            struct weir_error *err);
enum weir_status event_flush(struct sqlite_registry *r, struct weir_error *err);

/* What is in a row of the table, one after the other. */
struct event_walk {
    const unsigned char *at, *end;
    uint64_t seq, task;
    int64_t at_ns;
    uint64_t prev; /* of the last that was given: the task's event before it; 0: none */
    uint32_t pool; /* a name */
};
void event_walk_begin(struct event_walk *w, uint64_t first, int64_t at_ns, struct slice body);
/* False: there is no more, or (w->at is NULL) it is damaged. pool of *ret is not filled in. */
bool event_walk_next(struct event_walk *w, struct registry_event *ret);

/* ---- ops: op->err says what one could not do ---- */

enum weir_status op_submit(struct sqlite_registry *r, struct registry_op *op,
                           struct weir_error *err);
enum weir_status op_take(struct sqlite_registry *r, struct registry_op *op, struct weir_error *err);
enum weir_status op_start(struct sqlite_registry *r, struct registry_op *op,
                          struct weir_error *err);
enum weir_status op_end(struct sqlite_registry *r, struct registry_op *op, struct weir_error *err);
enum weir_status op_cancel(struct sqlite_registry *r, struct registry_op *op,
                           struct weir_error *err);
enum weir_status op_retry(struct sqlite_registry *r, struct registry_op *op,
                          struct weir_error *err);
enum weir_status op_edit(struct sqlite_registry *r, struct registry_op *op, struct weir_error *err);
enum weir_status op_remove(struct sqlite_registry *r, struct registry_op *op,
                           struct weir_error *err);
enum weir_status op_resolve(struct sqlite_registry *r, struct registry_op *op,
                            struct weir_error *err);
enum weir_status op_wake(struct sqlite_registry *r, struct registry_op *op, struct weir_error *err);
enum weir_status op_tell(struct sqlite_registry *r, struct registry_op *op, struct weir_error *err);
enum weir_status op_check(struct sqlite_registry *r, struct registry_op *op,
                          struct weir_error *err);
/* NULL-safe; returns NULL. */
struct check *check_free(struct check *c);
enum weir_status op_purge(struct sqlite_registry *r, struct registry_op *op,
                          struct weir_error *err);

/* ---- the rest of the port ---- */

enum weir_status registry_left_running(struct core_registry *base, registry_left_fn fn, void *ctx,
                                       struct weir_error *err);
enum weir_status registry_put_back(struct core_registry *base, int64_t now_ns, uint32_t deaths_max,
                                   uint64_t *ret_count, struct weir_error *err);
enum weir_status registry_reader_open(struct core_registry *base, struct registry_reader **ret,
                                      struct weir_error *err);

#endif
