/*
 * Executor of kind "command": an attempt is one run of a program, its answer is the program's
 * output and exit status.
 *
 *     struct command_options options = COMMAND_OPTIONS_DEFAULT;
 *     options.prepare = prepare, options.ctx = job;
 *     status = command_executor_new(&options, host, &ex, err);
 *     ... prepare(job, attempt, place, &launch, answer): launch->file = "gzip", launch->argv = ..., return true ...
 *
 * Exit 0 is `ok`; an exit status of `capacity_exits` is `capacity`; any other one `failed`, reason
 * exit_status, and a signal `failed`, reason signalled. The answer's status is the exit status, or
 * minus the number of the signal; its output is all of standard output, its errput all of standard
 * error. A program that cannot be run is `failed`, reason start_failed, and is tried again only
 * when it may run later (too many processes, no memory).
 *
 * An attempt ends when the process that was started has ended and its two pipes have been read as
 * far as they were filled by then. What it has started and left in its process group is killed at
 * that moment; nobody waits for it.
 *
 * cancel() sends the signals of the term sequence to the whole group, one after the other, until
 * the process has ended; only then the attempt is reported, with the output that there was, as
 * never `ok`. So a permit stands for a process that runs. It does not hold up anybody.
 *
 * core_attempt.env is added to the command's environment, and replaces what has the same name.
 * Where the host wants to know, it is told which process an attempt is (began), and that it is
 * alive (beat): an attempt that has WEIR_HEARTBEAT=PATH in core_attempt.env touches that file, as
 * often as it likes; the file's first line, if it has one, is how far it is ("0.42 page 3 of 7").
 * The file is the command's to create; it is looked at about once a second, and removed when the
 * attempt has ended (heartbeat.h).
 *
 * A wrapper is put before the words of every command: ssh to another machine, a container, a
 * scheduler's launcher. What weir starts, signals and waits for is then the wrapper; it gets the
 * environment, the folder and standard input, and whether these reach the command is its affair.
 *
 * Where commands take some milliseconds or less, and nothing spaces them or limits their time, the
 * engine hands over some more than there are places (core/ahead.c), so that one begins as soon as
 * another ends. See `ahead`.
 *
 * Threads: as the executor port has it; reports come from the executor's own threads (lane.h), of
 * which there are as many as processors and no more than places. They live as long as the executor.
 * Owner: the options are copied but for what they point to, which must stay. What prepare() fills
 * in is copied before prepare() is called again, except `input`, whose bytes must stay until the
 * attempt is reported.
 */
#ifndef EXEC_COMMAND_COMMAND_H
#define EXEC_COMMAND_COMMAND_H

#include "base/slice.h"
#include "base/time.h"
#include "core/ports/executor.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is run for an attempt. Texts, and lists of texts with a NULL at the end. */
struct command_launch {
    const char *file;  /* a path with a slash, or a name that is looked up in PATH; NULL: argv[0] */
    char *const *argv; /* at least argv[0] */
    /*
     * Changes to the environment, as child_options.env has them; NULL: none. The executor adds
     * WEIR_INDEX (from 0), WEIR_KEY, WEIR_ATTEMPT (from 1), WEIR_SLOT (the place), and for users of
     * GNU parallel PARALLEL_SEQ (WEIR_INDEX + 1) and PARALLEL_JOBSLOT (the place); what is named
     * here replaces them, and core_attempt.env replaces what is named here.
     */
    char *const *env;
    const char *dir;    /* NULL: this process's */
    struct slice input; /* on standard input, if has_input; else there is /dev/null */
    bool has_input;
};

/* A step of a term sequence: this signal, then so long a wait for the end. */
struct command_term {
    int signal;
    duration_ns wait_ns;
};

/* Exit statuses that mean "full": EX_TEMPFAIL of sysexits.h. */
#define COMMAND_CAPACITY_EXIT_DEFAULT 75
/* Bytes of one stream that are kept in memory; what is more goes into a file without a name. */
#define COMMAND_SPILL_BYTES_DEFAULT ((size_t)1 << 20)
#define COMMAND_TERM_STEPS_MAX      16
#define COMMAND_PLACES_MAX          1000000

/* Zero and NULL mean "the default"; COMMAND_OPTIONS_DEFAULT has those for which 0 means something else. */
struct command_options {
    /*
     * On the engine's thread: what to run for the attempt. `place` is the lowest number, from 1,
     * that no running attempt has; with `ahead` it is 0. `launch` comes zeroed. False: the row
     * cannot run, and `answer` says why (what it leaves as it came becomes failed, permanent,
     * bad_row).
     */
    bool (*prepare)(void *ctx, const struct core_attempt *attempt, unsigned place,
                    struct command_launch *launch, struct core_answer *answer);
    void *ctx;
    size_t places; /* the pool's size, 1 to COMMAND_PLACES_MAX: no more run at once */
    /*
     * prepare() does not look at `place`, so that the engine may hand over more than there are
     * places, where commands are short. Without this a command of half a millisecond costs half as
     * much again.
     */
    bool ahead;
    const int *capacity_exits; /* each 1 to 255; NULL: COMMAND_CAPACITY_EXIT_DEFAULT alone */
    size_t capacity_exits_count;
    /*
     * At most COMMAND_TERM_STEPS_MAX; NULL: TERM, 200 ms, TERM, 100 ms, TERM, 50 ms, KILL, 25 ms,
     * as GNU parallel has it. SIGKILL follows the last step in any case.
     */
    const struct command_term *terms;
    size_t terms_count;
    /* An exit status that is neither 0 nor capacity, or a signal, may be tried again. */
    bool fail_retryable;
    /* Of each stream; with more the command is ended, response_too_large. 0: no limit. */
    uint64_t output_max_bytes;
    size_t spill_bytes;    /* 0: COMMAND_SPILL_BYTES_DEFAULT */
    const char *spill_dir; /* NULL: TMPDIR of the environment, else /tmp */
    /* Words before those of each command, with a NULL at the end: {"docker", "exec", "box"}. NULL: none. */
    const char *const *wrapper;
    /* The wrapper gives the words behind its own to a shell, as ssh does: they are quoted for one. */
    bool wrapper_shell;
    duration_ns heartbeat_look_ns; /* how often heartbeat files are looked at; 0: 1 s */
};

#define COMMAND_OPTIONS_DEFAULT ((struct command_options){.places = 1, .fail_retryable = true})

/*
 * Makes the executor, its threads and its guard (exec/child). WEIR_E_INVALID names the option and
 * the remedy; WEIR_E_IO, WEIR_E_NOMEM.
 */
WEIR_MUST_CHECK enum weir_status command_executor_new(const struct command_options *options,
                                                      struct core_executor_host *host,
                                                      struct core_executor **ret,
                                                      struct weir_error *err);

#endif
