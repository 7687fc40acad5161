/*
 * `weir run`, in parts. What they share is one struct run, and who touches what is said at each field.
 *
 *     main.c     the order of things; signals, progress, the end            the main thread
 *     files.c    that no file is written that is also read; limits         the main thread
 *     signals.c  the signals that stop it                                   the main thread
 *     setup.c    what is opened before the first row is sent                the main thread
 *     files.c    their names, before any is opened                      the main thread
 *     feed.c     rows from the source into the engine                       a thread of its own
 *     deliver.c  results from the engine into the files                     a thread of its own
 *     watch.c    counts what finishes, for --halt and the progress          the engine's thread
 *
 * The threads end in that order of dependence: the source is at its end (or was stopped), the engine has delivered
 * all it can, the files are written; then the main thread puts the end together.
 */
#ifndef CLI_RUN_RUN_H
#define CLI_RUN_RUN_H

#include "cli/input/program.h"
#include "cli/input/source.h"
#include "cli/output/halt.h"
#include "cli/output/progress.h"
#include "cli/output/summary.h"
#include "cli/output/writer.h"
#include "cli/run_options.h"
#include "core/ports/observer.h"
#include "engine/engine.h"
#include "observe/eventlog.h"

#include <pthread.h>
#include <stdatomic.h>

/*
 * Counts what begins and what finishes. Called on the engine's thread; read by the main thread, and by the feeder,
 * which reads no further ahead of the rows that have begun than it has to.
 */
struct watch {
    struct core_observer base;
    struct core_observer *next; /* told everything too; NULL: nobody */
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

/* feed.c, deliver.c: thread functions over a struct run. */
void *feed_main(void *run);
void *deliver_main(void *run);

/* watch.c */
void watch_init(struct watch *w, const struct halt_rule *rule, struct core_observer *next,
                int wake_fd, int begun_fd);

/* Waits until fewer than `ahead` of the `fed` rows have not begun yet, or stop_fd is readable. The feeder's. */
void watch_wait_begun(struct watch *w, uint64_t fed, uint64_t ahead, int stop_fd);

/* Makes an eventfd readable. Any thread. */
void run_signal_fd(int fd);

#endif
