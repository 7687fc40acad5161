/*
 * `weir run`, in parts. What they share is one struct run, and who touches what is said at each
 * field.
 *
 *     main.c     the order of things; signals, progress, the end            the main thread
 *     files.c    that no file is written that is also read; limits         the main thread
 *     signals.c  the signals that stop it                                   the main thread
 *     setup.c    what is opened before the first row is sent                the main thread
 *     files.c    their names, before any is opened                      the main thread
 *     feed.c     rows from the source into the engine                       a thread of its own
 *     deliver.c  results from the engine into the files                     a thread of its own
 *     raw.c      the same of commands' bytes
 *     watch.c    counts what finishes, for --halt and the progress          the engine's thread
 *     http.c, command.c, worker.c     what is different for each kind of run: its executor, and what belongs to it
 *     joblog.c   --joblog                                                   engine's thread, then the main thread
 *     hold.c     --load, --memfree                                          the main thread
 *     spool.c    lines on their way from the engine's thread to the main thread
 *
 * The threads end in that order of dependence: the source is at its end (or was stopped), the
 * engine has delivered all it can, the files are written; then the main thread puts the end
 * together.
 */
#ifndef CLI_RUN_RUN_H
#define CLI_RUN_RUN_H

#include "cli/command/joblog.h"
#include "cli/input/combine.h"
#include "cli/input/program.h"
#include "cli/input/source.h"
#include "cli/output/halt.h"
#include "cli/output/progress.h"
#include "cli/output/summary.h"
#include "cli/output/writer.h"
#include "cli/run/spool.h"
#include "cli/run_options.h"
#include "core/ports/observer.h"
#include "engine/engine.h"
#include "exec/template/argvec.h"
#include "exec/template/shell.h"
#include "exec/template/template.h"
#include "observe/eventlog.h"

#include <pthread.h>
#include <stdatomic.h>

/*
 * Counts what begins and what finishes. Called on the engine's thread; read by the main thread, and
 * by the feeder, which reads no further ahead of the rows that have begun than it has to.
 */
struct watch {
    struct core_observer base;
    struct core_observer *next; /* told everything too; NULL: nobody */
    struct run *run;            /* whose job log and worker log are told; NULL: none */
    struct halt halt;
    int wake_fd; /* an eventfd: the main thread is to look at `verdict` */
    atomic_int verdict;
    atomic_uint_fast64_t ok, failed;
    atomic_uint_fast64_t begun; /* rows that have been started once, or have ended without */
    atomic_uint_fast64_t
        wanted;   /* the feeder waits until so many have begun; UINT64_MAX: it does not */
    int begun_fd; /* an eventfd: they have */
};

/* How one of the threads ended. */
struct outcome_of_thread {
    enum weir_status status;
    struct weir_error err;
};

/* --joblog. */
struct joblog_file {
    int fd; /* -1: none */
    bool open;
    struct joblog_done done; /* rows that an earlier run has ended */
    struct spool spool;
    /* the engine thread's, to make a line in */
    struct argvec argv;
    struct buf command, line;
    /* the main thread's */
    struct buf taken;
    int errnum; /* why it could not be written; 0: it could */
};

/* What workers write to standard error, on its way to a file or to ours. */
struct worker_log {
    int fd; /* --worker-log; -1: standard error */
    bool open;
    struct spool spool;
    struct spool starts; /* a line for each start that failed: the pool, and why */
    struct buf line;     /* the engine thread's */
    struct buf taken;    /* the main thread's, written up to taken_at */
    size_t taken_at;
};

/* Stands between an executor and the engine, for --select. */
struct select_host {
    struct core_executor_host base;
    struct core_executor_host *to;
    struct run *run;
};

/* What a pool of workers is made with. */
struct worker_pool {
    struct run *run;
    const char *line; /* its program and arguments */
    struct argvec argv;
    struct select_host host;
    bool worked; /* one was ready once */
};

/* The first row that failed, in the order of delivery: what a run of commands says at its end. */
struct first_failure {
    bool any;
    uint64_t index;
    char key[64];
    char message[160];
};

struct run {
    struct run_options options;
    struct progress *progress;
    struct check_report *report; /* what source_check said */
    struct source *source;       /* the feeding thread's, once it runs */
    struct core_store *store;    /* NULL: no journal */
    bool journal_is_new;         /* this run has made it */
    struct buf run_id;
    struct writer *writer; /* the delivering thread's, once it runs */
    struct writer_start start;
    struct store_summary before; /* what earlier runs left */

    struct eventlog *events; /* --events; NULL: none */
    struct program *select;  /* the engine thread's; NULL: none */
    struct buf selected;
    struct watch watch;
    struct engine *engine;
    struct core_pool *pool;
    struct engine_batch *batch;

    /* of commands */
    struct template *words, *tag; /* tag: NULL: none */
    struct combine *combine;      /* NULL: rows come from files */
    struct argvec argv, env;      /* the engine thread's */
    struct joblog_file joblog;
    atomic_uint_fast64_t passed_over; /* rows that the job log had */
    bool held;                        /* --load or --memfree holds the pool */
    struct instant held_look_at;

    /* of workers */
    struct worker_pool workers, fallback;
    struct core_pool *fallback_pool; /* NULL: none */
    struct worker_log worker_log;
    const char
        *worker_hopeless; /* the option whose program never starts: the run was stopped for it */
    struct instant worker_look_at;

    struct spool notes; /* lines for a person, from the engine's thread */
    struct buf noted;   /* the main thread's */
    bool notes_open;

    /*
     * Taken for each write to standard error while others may write there too. The main thread does
     * not wait for it: a reader who sleeps must not keep signals from being seen.
     */
    pthread_mutex_t told_lock;
    struct first_failure first_failure; /* the delivering thread's; then the main thread's */

    int wake_fd;   /* eventfd: something for the main thread */
    int stop_fd;   /* eventfd: the source stops reading */
    int begun_fd;  /* eventfd: the feeder has waited long enough */
    int signal_fd; /* eventfd: signals that ask to stop */

    pthread_t feeder, deliverer;
    struct outcome_of_thread fed, delivered; /* read after the join */
    atomic_bool all_fed; /* the source is at its end: the number of rows is known */
    atomic_uint_fast64_t rows_fed;
    atomic_bool deliverer_done;
    atomic_uint_fast64_t rows_delivered;
    struct summary summary; /* the delivering thread counts; then the main thread's */

    int signals; /* that asked to stop, so far */
    enum halt_verdict halted;
    enum progress_phase phase;
    struct instant started_at;
    int64_t started_ns;
};

/* files.c. May take the default journal out of the options. */
WEIR_MUST_CHECK enum weir_status files_check(struct run_options *o, struct weir_error *err);
WEIR_MUST_CHECK enum weir_status files_raise_limit(const struct run_options *o,
                                                   struct weir_error *err);

/* signals.c */
void signals_block(void);
void signals_admit(void);
WEIR_MUST_CHECK enum weir_status signals_take(int fd, struct weir_error *err);

/* setup.c: each opens what it says, in this order. On failure the message is for the user; what was opened is for run_close. */
WEIR_MUST_CHECK enum weir_status setup_input(struct run *r, struct weir_error *err);
WEIR_MUST_CHECK enum weir_status setup_output(struct run *r, struct weir_error *err);
WEIR_MUST_CHECK enum weir_status setup_engine(struct run *r, struct weir_error *err);
WEIR_MUST_CHECK enum weir_status setup_batch(struct run *r, struct weir_error *err);
void setup_close(struct run *r);

/* main.c: bytes for standard error, beside what is told there (any thread; waits for room), and a line for a person (the
 * main thread; dropped while somebody else writes). */
void run_aside(struct run *r, struct slice bytes);
void run_note(struct run *r, const char *text);
/* The same from the engine's thread, as soon as the main thread comes to it. */
void run_note_later(struct run *r, const char *what, const char *detail);

/* setup.c: --select: the answer's output becomes what the expression picks from it. On the engine's thread. */
bool run_select_output(void *run, struct core_answer *a);

/* http.c, command.c, worker.c: engine_executor_fn; of workers over a struct worker_pool, else over the run. */
enum weir_status http_make(void *ctx, const struct core_pool_options *options,
                           struct uv_loop_s *loop, struct core_executor_host *host,
                           struct core_executor **ret, struct weir_error *err);
enum weir_status command_make(void *ctx, const struct core_pool_options *options,
                              struct uv_loop_s *loop, struct core_executor_host *host,
                              struct core_executor **ret, struct weir_error *err);
enum weir_status worker_make(void *ctx, const struct core_pool_options *options,
                             struct uv_loop_s *loop, struct core_executor_host *host,
                             struct core_executor **ret, struct weir_error *err);

/* command.c */
WEIR_MUST_CHECK enum weir_status command_setup_input(struct run *r, struct source_options *s,
                                                     struct weir_error *err);
void command_template_row(const struct command_row *row, struct template_row *ret);
/* Appends the command line of a row, as a shell reads it (with --shell: the script). `argv` is scratch. */
WEIR_MUST_CHECK enum weir_status command_put_line(struct run *r, struct argvec *argv,
                                                  const struct command_row *row, struct buf *out,
                                                  struct weir_error *err);
/* --dry-run: all command lines to standard output. */
WEIR_MUST_CHECK enum weir_status command_dry_run(struct run *r, struct weir_error *err);

/* worker.c. worker_check: whether the programs are there. */
WEIR_MUST_CHECK enum weir_status worker_check(const struct run *r, struct weir_error *err);
WEIR_MUST_CHECK enum weir_status worker_add_pools(struct run *r, struct weir_error *err);
void worker_count(struct run *r, struct core_pool *pool, struct summary_workers *s);
const char *worker_never_starts(struct run *r);
void worker_moved(struct run *r, const struct core_event *ev);
void worker_describe_hopeless(struct run *r, struct buf *why);
WEIR_MUST_CHECK enum weir_status worker_log_open(struct run *r, struct weir_error *err);
void worker_said(struct run *r, const struct core_event *ev);
void worker_log_drain(struct run *r);
void worker_log_close(struct run *r);

/* joblog.c */
WEIR_MUST_CHECK enum weir_status joblog_open(struct run *r, struct weir_error *err);
/* A row has ended. On the engine's thread. */
void joblog_finished(struct run *r, const struct core_task *task);
void joblog_drain(struct run *r);
/* What is not written is an error, that nothing else has told. */
enum weir_status joblog_close(struct run *r, struct weir_error *err);

/* hold.c */
void hold_look(struct run *r);

/* raw.c: a row's bytes, in place of its line. */
WEIR_MUST_CHECK enum weir_status raw_write(struct run *r, struct core_task *t, int64_t deliver_ns,
                                           struct weir_error *err);

/* feed.c, deliver.c: thread functions over a struct run. */
void *feed_main(void *run);
void *deliver_main(void *run);

/* watch.c */
void watch_init(struct watch *w, const struct halt_rule *rule, struct core_observer *next,
                int wake_fd, int begun_fd); /* run: to be set then, before events come */

/* Whether --halt says that nothing more is to be started. On the engine's thread. */
bool watch_halts(void *watch);

/* Waits until fewer than `ahead` of the `fed` rows have not begun yet, or stop_fd is readable. The feeder's. */
void watch_wait_begun(struct watch *w, uint64_t fed, uint64_t ahead, int stop_fd);

/* Makes an eventfd readable. Any thread. */
void run_signal_fd(int fd);

#endif
