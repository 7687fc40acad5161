/*
 * Durable tasks: a registry in a file, and pools that work on what is in it. What was submitted is
 * done, through crashes and restarts, and its record is kept.
 *
 *     weir_tasks_options_init(&options);
 *     options.path = "tasks.db";
 *     weir_tasks_open(engine, &options, &tasks, &err);          // what a killed predecessor ran is ready again
 *     weir_tasks_pool_thread(tasks, &pool_options, work, NULL, &err);
 *     weir_tasks_start(tasks, &err);                            // from here on tasks run
 *
 *     weir_task_init(&task);
 *     task.data = "..."; task.len = 3;
 *     weir_tasks_submit(tasks, &task, 1, &id, &err);            // durable when it returns
 *     weir_tasks_wait(tasks, id, 60000, &info, &err);
 *     weir_task_info_free(&info);
 *     weir_tasks_close(tasks, 1000, &err);                      // before weir_close()
 *
 * An attempt at a task may run more than once when the program is killed while it runs; its result
 * is recorded once. Any thread may call anything here, but for what is said. `weir serve` (a daemon
 * with an API over HTTP) stands on the same.
 */
#ifndef WEIR_TASKS_H
#define WEIR_TASKS_H

#include <weir/weir.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weir_tasks;

/* Which ready task goes next. */
enum weir_policy {
    WEIR_POLICY_FIFO,     /* the one that has been ready for the longest */
    WEIR_POLICY_PRIORITY, /* of the highest priority; equal ones by age */
    WEIR_POLICY_SKILL,    /* the same */
    WEIR_POLICY_FAIR_SHARE /* of the tenant that has had the least for its weight; then by priority */
};

struct weir_tasks_options {
    const char
        *path; /* of the registry (SQLite); made if it is not there. One program has it at a time */
    enum weir_policy policy; /* default FIFO */
    double ageing;           /* priority per minute that a task has waited, 0 (default) to 1000 */
    uint64_t max_running; /* attempts that run at once over all its pools; 0 (default): no limit */
    uint32_t
        deaths_max; /* attempts of a task that may be lost with the program that ran them; then it
                                   fails (quarantined). Default 3; 0: no limit */
    const char *
        default_pool; /* of tasks that name neither pool nor skill; NULL: the first that is added */
};

WEIR_API void weir_tasks_options_init(struct weir_tasks_options *options);

/*
 * Opens the registry; one for each engine. WEIR_E_BUSY: another program has it, or the engine has
 * one. WEIR_E_CONFLICT: the file is no registry, or of another version.
 */
WEIR_API WEIR_MUST_CHECK enum weir_status weir_tasks_open(struct weir_engine *engine,
                                                          const struct weir_tasks_options *options,
                                                          struct weir_tasks **ret,
                                                          struct weir_error *err);

/* Pools of tasks may have skills. */
struct weir_task_pool_options {
    struct weir_pool_options pool;
    const char *const *skills; /* names, up to a NULL; copied. NULL: none */
};

WEIR_API void weir_task_pool_options_init(struct weir_task_pool_options *options);

/*
 * A pool of threads that work on tasks: row->data is the task's, row->key its key (or its id as
 * text). options.pool.name is what tasks name it by; it is not shared with batches. It lives as
 * long as the tasks are open.
 */
WEIR_API WEIR_MUST_CHECK enum weir_status
weir_tasks_pool_thread(struct weir_tasks *tasks, const struct weir_task_pool_options *options,
                       weir_work_fn work, void *ctx, struct weir_error *err);

/* Tasks run from now on. */
WEIR_API enum weir_status weir_tasks_start(struct weir_tasks *tasks, struct weir_error *err);

/* A task as it is submitted; everything is copied. Names have at most 255 bytes. */
struct weir_task {
    const void *data; /* at most 64 MiB. May be NULL if len is 0 */
    size_t len;
    const char *key;   /* NULL: none; need not be unique; and so on */
    const char *pool;  /* the pool that it runs in, or: */
    const char *skill; /* any pool that has it; neither: the default pool */
    const char *tenant;
    const char *session;         /* tasks of one session run one at a time, in order */
    const char *idempotency_key; /* a second submit with the same one gives the first task back */
    int priority;                /* -1000 to 1000, default 0 */
    const uint64_t *after;       /* ids of tasks that must be done before */
    size_t after_count;
    bool run_after_failure; /* one of these that fails counts as done; else this task fails too */
    uint32_t max_attempts;  /* 0 (default): as its pool says */
    int64_t timeout_ms;     /* of an attempt; 0: as its pool says */
    int64_t delay_ms;       /* not before so long from now; 0: at once */
    int64_t deadline_ms;    /* it fails when it has not been done so long from now; 0: none */
};

WEIR_API void weir_task_init(struct weir_task *task);

/*
 * Submits `count` tasks (1 to 100,000), all or none; durable when it returns WEIR_OK. ret_ids:
 * count of them; may be NULL. WEIR_E_INVALID: one of them is wrong, the message says which;
 * WEIR_E_IO: the registry does not take it.
 */
WEIR_API WEIR_MUST_CHECK enum weir_status weir_tasks_submit(struct weir_tasks *tasks,
                                                            const struct weir_task *task,
                                                            size_t count, uint64_t *ret_ids,
                                                            struct weir_error *err);

enum weir_task_state {
    WEIR_TASK_BLOCKED,   /* waits for others */
    WEIR_TASK_SCHEDULED, /* waits for its time */
    WEIR_TASK_READY,
    WEIR_TASK_RUNNING,
    WEIR_TASK_DONE,
    WEIR_TASK_FAILED,
    WEIR_TASK_CANCELLED,
};

/* "blocked", ..., "cancelled"; "unknown" for any other value. */
WEIR_API const char *weir_task_state_name(enum weir_task_state state);

/* A task as it was when it was asked for. Times: nanoseconds since the Unix epoch; 0: it did not come to that. */
struct weir_task_info {
    uint64_t id;
    enum weir_task_state state;
    uint32_t attempts;         /* started */
    uint32_t failures;         /* of these, that count */
    enum weir_outcome outcome; /* of the last attempt */
    enum weir_reason reason;
    int status;
    const char *message; /* NULL: none */
    const void *output;  /* NULL: none; a NUL is behind it */
    size_t output_len;
    int64_t submitted_ns, started_ns, ended_ns;
    void *memory; /* what the pointers point to */
};

/* WEIR_E_END: there is no such task (any more). */
WEIR_API WEIR_MUST_CHECK enum weir_status weir_tasks_get(struct weir_tasks *tasks, uint64_t id,
                                                         struct weir_task_info *ret,
                                                         struct weir_error *err);
/*
 * The same, once it is done, failed or cancelled. timeout_ms < 0: for as long as it takes.
 * WEIR_E_AGAIN: the time was up; WEIR_E_SHUTDOWN: the tasks are being closed.
 */
WEIR_API WEIR_MUST_CHECK enum weir_status weir_tasks_wait(struct weir_tasks *tasks, uint64_t id,
                                                          int64_t timeout_ms,
                                                          struct weir_task_info *ret,
                                                          struct weir_error *err);
/* Frees what it points to. NULL is ignored. */
WEIR_API void weir_task_info_free(struct weir_task_info *info);

/*
 * Takes a task that waits; of one that runs, ends the attempt: it is cancelled when that has ended,
 * unless that is done or has failed for good first. Durable when it returns WEIR_OK: the task does
 * not run again, also after a crash. WEIR_E_END: there is none; WEIR_E_CONFLICT: it has ended;
 * WEIR_E_IO: the registry does not take it, and nothing has changed.
 */
WEIR_API enum weir_status weir_tasks_cancel(struct weir_tasks *tasks, uint64_t id,
                                            struct weir_error *err);
/* One that has failed or was cancelled is ready again, with all its attempts. */
WEIR_API enum weir_status weir_tasks_retry(struct weir_tasks *tasks, uint64_t id,
                                           struct weir_error *err);

/* How many tasks there are in each state. */
struct weir_tasks_stats {
    uint64_t states[7]; /* by enum weir_task_state */
    uint64_t running;   /* attempts */
    uint64_t events;    /* in the record, since the registry was made */
};
WEIR_API enum weir_status weir_tasks_get_stats(struct weir_tasks *tasks,
                                               struct weir_tasks_stats *ret,
                                               struct weir_error *err);

/*
 * Nothing starts any more. Running attempts get grace_ms; those that still run then are told to
 * stop, their tasks are ready again at the next start. Returns when all callbacks have returned. No
 * other call may be under way. NULL: WEIR_OK.
 */
WEIR_API enum weir_status weir_tasks_close(struct weir_tasks *tasks, int64_t grace_ms,
                                           struct weir_error *err);

#ifdef __cplusplus
}
#endif

#endif
