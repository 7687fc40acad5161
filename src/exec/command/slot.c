/* One run of a command (slot.h). */
#include "exec/command/slot.h"

#include "base/mem.h"
#include "exec/template/shell.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Variables that the executor adds to the environment. */
#define OWN_VARIABLES 6
/* Of the largest place: it is an unsigned int. */
#define PLACE_DIGITS 10
/* Of the last line of standard error, in a message. */
#define MESSAGE_LINE_BYTES_MAX 200

struct command_slot *slot_new(const struct slot_shared *shared)
{
    struct command_slot *slot = mem_calloc(1, sizeof *slot);

    if (!slot)
        return NULL;
    slot->shared = shared;
    slot->child = CHILD_NONE;
    slot->in_fd = -1;
    capture_init(&slot->out);
    capture_init(&slot->err);
    list_init(&slot->link);
    list_init(&slot->cancel_link);
    list_init(&slot->watch_link);
    list_init(&slot->end_link);
    list_init(&slot->beat_link);
    slot_reset(slot);
    return slot;
}

struct command_slot *slot_free(struct command_slot *slot)
{
    if (!slot)
        return NULL;
    slot_reset(slot);
    capture_free(&slot->out);
    capture_free(&slot->err);
    buf_free(&slot->text);
    mem_free(slot->words);
    return mem_free(slot);
}

void slot_close_input(struct command_slot *slot)
{
    if (slot->in_fd >= 0)
        close(slot->in_fd);
    slot->in_fd = -1;
}

void slot_reset(struct command_slot *slot)
{
    slot_close_input(slot);
    capture_reset(&slot->out);
    capture_reset(&slot->err);
    slot->attempt = NULL;
    slot->state = SLOT_FREE;
    slot->lane = NULL;
    slot->place = 0;
    slot->cancel_asked = slot->watched = slot->ending = false;
    slot->heartbeat = (struct heartbeat){0};
    slot->fault = CAPTURE_MORE;
    slot->term_step = 0;
    slot->term_at = INSTANT_NONE; /* the first step is due as soon as it is asked for */
}

/* ---- what is to be run ---- */

static size_t count(char *const *texts)
{
    size_t n = 0;

    while (texts && texts[n])
        n++;
    return n;
}

/* Texts lie one behind the other, each with its NUL; until all are there, words hold their places. */
static void add_end(struct command_slot *slot, size_t *n, size_t at)
{
    buf_putc(&slot->text, '\0');
    slot->words[(*n)++] = (char *)(uintptr_t)at;
}

static void add(struct command_slot *slot, size_t *n, const char *text)
{
    size_t at = slot->text.len;

    buf_puts(&slot->text, text);
    add_end(slot, n, at);
}

static void add_number(struct command_slot *slot, size_t *n, const char *name, uint64_t value)
{
    size_t at = slot->text.len;

    buf_puts(&slot->text, name);
    buf_put_u64(&slot->text, value);
    add_end(slot, n, at);
}

/* A number that is written later. */
static void add_place(struct command_slot *slot, size_t *n, const char *name, size_t *ret_at)
{
    size_t at = slot->text.len;

    buf_puts(&slot->text, name);
    *ret_at = slot->text.len;
    buf_put(&slot->text, (const char[PLACE_DIGITS]){0}, PLACE_DIGITS);
    add_end(slot, n, at);
}

void slot_name_place(struct command_slot *slot)
{
    char room[DECIMAL_BYTES];
    struct slice digits = decimal_of(slot->place, room);

    for (int i = 0; i < 2; i++)
        memcpy(slot->text.data + slot->place_at[i], digits.data, digits.len);
}

static void add_own_variables(struct command_slot *slot, size_t *n)
{
    const struct core_attempt *a = slot->attempt;
    size_t at;

    add_number(slot, n, "WEIR_INDEX=", a->index);
    at = slot->text.len;
    buf_puts(&slot->text, "WEIR_KEY=");
    buf_puts(&slot->text, a->key ? a->key : "");
    add_end(slot, n, at);
    add_number(slot, n, "WEIR_ATTEMPT=", a->number);
    add_place(slot, n, "WEIR_SLOT=", &slot->place_at[0]);
    add_number(slot, n, "PARALLEL_SEQ=", a->index + 1);
    add_place(slot, n, "PARALLEL_JOBSLOT=", &slot->place_at[1]);
}

static bool make_room(struct command_slot *slot, size_t words)
{
    char **more;

    if (words <= slot->words_room)
        return true;
    more = mem_realloc(slot->words, words * sizeof *more);
    if (!more)
        return false;
    slot->words = more;
    slot->words_room = words;
    return true;
}

/* A word of the command behind a wrapper. */
static void add_wrapped(struct command_slot *slot, size_t *n, const char *word)
{
    size_t at = slot->text.len;

    if (!slot->shared->wrapper_shell) {
        add(slot, n, word);
        return;
    }
    shell_quote(&slot->text, slice_of(word));
    add_end(slot, n, at);
}

/* Returns the program. */
static const char *add_argv(struct command_slot *slot, size_t *n,
                            const struct command_launch *launch)
{
    const struct slot_shared *shared = slot->shared;
    const char *file = launch->file ? launch->file : launch->argv[0];

    if (shared->wrapper_count == 0) {
        for (char *const *word = launch->argv; *word; word++)
            add(slot, n, *word);
        return file;
    }
    for (size_t i = 0; i < shared->wrapper_count; i++)
        add(slot, n, shared->wrapper[i]);
    /* It looks for the program by the first word. */
    add_wrapped(slot, n, file);
    for (char *const *word = launch->argv + 1; *word; word++)
        add_wrapped(slot, n, *word);
    return shared->wrapper[0];
}

static void add_env(struct command_slot *slot, size_t *n, char *const *more)
{
    const char *const *own = slot->attempt->env;

    add_own_variables(slot, n);
    for (; more && *more; more++)
        add(slot, n, *more);
    for (; own && *own; own++)
        add(slot, n, *own);
}

bool slot_lay(struct command_slot *slot, const struct command_launch *launch)
{
    size_t argc = count(launch->argv) + slot->shared->wrapper_count, n = 0, dir, env;
    size_t variables =
        count(launch->env) + OWN_VARIABLES + count((char *const *)(uintptr_t)slot->attempt->env);
    const char *file;

    /* Two ends, and the file and the folder. */
    if (!make_room(slot, argc + variables + 4))
        return false;
    buf_clear(&slot->text);
    file = add_argv(slot, &n, launch);
    slot->words[n++] = NULL;
    env = n;
    add_env(slot, &n, launch->env);
    slot->words[n++] = NULL;
    add(slot, &n, file);
    dir = n;
    add(slot, &n, launch->dir ? launch->dir : "");
    if (slot->text.failed)
        return false;
    for (size_t i = 0; i < n; i++)
        slot->words[i] = slot->text.data + (uintptr_t)slot->words[i];
    slot->words[argc] = slot->words[dir - 2] = NULL;
    slot->options = (struct child_options){
        .file = slot->words[dir - 1],
        .argv = slot->words,
        .env = slot->words + env,
        .dir = launch->dir ? slot->words[dir] : NULL,
        .fds = {-1, -1, -1},
    };
    slot->input = launch->input;
    slot->has_input = launch->has_input;
    heartbeat_init(&slot->heartbeat, slot->attempt->env);
    return true;
}

/* ---- starting ---- */

static void refuse(struct core_answer *a, enum weir_reason reason, bool retryable)
{
    a->outcome = WEIR_OUTCOME_FAILED;
    a->reason = reason;
    a->retryable = retryable;
}

/* The machine is full, not the command at fault: it has not begun, and no attempt is used up. */
static void is_full(struct core_answer *a)
{
    refuse(a, WEIR_REASON_START_FAILED, true);
    a->outcome = WEIR_OUTCOME_CAPACITY;
}

static bool open_input(struct command_slot *slot)
{
    int ends[2];

    if (!slot->has_input)
        return true;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    slot->options.fds[0] = ends[0];
    slot->in_fd = ends[1];
    return fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0;
}

static void close_theirs(struct command_slot *slot)
{
    for (int i = 0; i < 3; i++) {
        if (slot->options.fds[i] >= 0)
            close(slot->options.fds[i]);
        slot->options.fds[i] = -1;
    }
}

bool slot_launch(struct command_slot *slot, struct child_guard *guard)
{
    struct core_answer *a = &slot->attempt->answer;
    struct weir_error err;
    enum weir_status status;

    if (!capture_open(&slot->out, &slot->options.fds[1]) ||
        !capture_open(&slot->err, &slot->options.fds[2]) || !open_input(slot)) {
        is_full(a);
        answer_say(a, "cannot make a pipe for '%s': %s; run fewer at once, or raise ulimit -n",
                   slot->options.file, strerror(errno));
        close_theirs(slot);
        return false;
    }
    /* What the pipe takes is there before the command is. Then it has a reader: us. */
    if (slot->has_input && !slot_write(slot))
        slot_close_input(slot);
    status = child_launch(guard, &slot->options, &slot->child, &err);
    close_theirs(slot);
    if (status == WEIR_OK)
        return true;
    if (status == WEIR_E_AGAIN || status == WEIR_E_LIMIT || status == WEIR_E_NOMEM)
        is_full(a);
    else
        refuse(a, WEIR_REASON_START_FAILED, status == WEIR_E_BUSY);
    answer_say(a, "%s", status == WEIR_E_NOMEM ? "memory ran out" : err.message);
    return false;
}

/* ---- running ---- */

void slot_give_up(struct command_slot *slot, enum capture_state fault, int errnum)
{
    if (slot->fault == CAPTURE_MORE) {
        slot->fault = fault;
        slot->fault_errnum = errnum;
    }
    /* Nobody needs it any more; and it may be writing without end. */
    child_signal(&slot->child, SIGKILL);
}

bool slot_read(struct command_slot *slot, struct capture *stream, char *scratch)
{
    enum capture_state state = capture_read(stream, &slot->shared->limits, scratch);

    if (state > CAPTURE_END)
        slot_give_up(slot, state, stream->errnum);
    return state == CAPTURE_MORE;
}

bool slot_write(struct command_slot *slot)
{
    while (slot->input.len > 0) {
        ssize_t n = write(slot->in_fd, slot->input.data, slot->input.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n < 0)
            break; /* it does not read it, which is its own affair */
        slot->input.data += n;
        slot->input.len -= (size_t)n;
    }
    return false;
}

void slot_term(struct command_slot *slot, struct instant now)
{
    const struct slot_shared *shared = slot->shared;
    struct command_term step = {SIGKILL, 0};

    if (slot->term_step < shared->terms_count)
        step = shared->terms[slot->term_step];
    child_signal(&slot->child, step.signal);
    /* One that is stopped would not see it. */
    if (step.signal != SIGKILL && step.signal != SIGSTOP)
        child_signal(&slot->child, SIGCONT);
    slot->ending = true;
    slot->term_at =
        slot->term_step++ < shared->terms_count ? instant_add(now, step.wait_ns) : INSTANT_NEVER;
}

/* ---- how it ended ---- */

bool slot_reap(struct command_slot *slot)
{
    return child_reap(&slot->child, &slot->end);
}

static void say_fault(const struct command_slot *slot, struct core_answer *a)
{
    const struct capture_limits *limits = &slot->shared->limits;

    switch (slot->fault) {
    case CAPTURE_TOO_LARGE:
        refuse(a, WEIR_REASON_RESPONSE_TOO_LARGE, false);
        answer_say(a, "it wrote more than %llu bytes, the limit of a command's output",
                   (unsigned long long)limits->bytes_max);
        break;
    case CAPTURE_NO_FILE:
        refuse(a, WEIR_REASON_INTERNAL, true);
        answer_say(a, "its output cannot be kept in '%s': %s; %s", limits->spill_dir,
                   strerror(slot->fault_errnum),
                   slot->fault_errnum == EMFILE || slot->fault_errnum == ENFILE
                       ? "run fewer at once, or raise ulimit -n"
                       : "set TMPDIR to a folder with room");
        break;
    default:
        refuse(a, WEIR_REASON_INTERNAL, true);
        answer_say(a, "memory ran out for its output");
        break;
    }
}

static void say_exit(const struct command_slot *slot, struct core_answer *a)
{
    int code = slot->end.code;
    struct slice line = capture_last_line(a->errput, a->errput_len, MESSAGE_LINE_BYTES_MAX);

    a->status = code;
    if (code == 0) {
        a->outcome = WEIR_OUTCOME_OK;
        a->reason = WEIR_REASON_NONE;
        return;
    }
    refuse(a, WEIR_REASON_EXIT_STATUS, slot->shared->fail_retryable);
    if (slot->shared->capacity[code])
        a->outcome = WEIR_OUTCOME_CAPACITY;
    answer_say(a, "exit status %d%s%.*s", code, line.len ? ": " : "", (int)line.len, line.data);
}

static void say_signal(const struct command_slot *slot, struct core_answer *a)
{
    const char *name = sigabbrev_np(slot->end.signal);

    a->status = -slot->end.signal;
    refuse(a, WEIR_REASON_SIGNALLED, slot->shared->fail_retryable);
    answer_say(a, "killed by signal %d%s%s%s%s", slot->end.signal, name ? " (SIG" : "",
               name ? name : "", name ? ")" : "", slot->end.dumped ? ", core dumped" : "");
}

static void say_end(const struct command_slot *slot, struct core_answer *a)
{
    if (slot->end.unknown) {
        a->outcome = WEIR_OUTCOME_LOST;
        a->reason = WEIR_REASON_NO_OUTCOME;
        answer_say(a, "its exit status is not known: something else in this program has waited "
                      "for it");
    } else if (slot->end.signal != 0) {
        say_signal(slot, a);
    } else {
        say_exit(slot, a);
    }
}

static void drain(struct command_slot *slot, struct capture *stream, char *scratch)
{
    enum capture_state state = CAPTURE_END;

    if (slot->fault == CAPTURE_MORE)
        state = capture_drain(stream, &slot->shared->limits, scratch);
    if (state != CAPTURE_END) {
        slot->fault = state;
        slot->fault_errnum = stream->errnum;
    }
}

/* What was written goes with the answer. */
static void hand_over(struct command_slot *slot, struct core_answer *a)
{
    const struct capture *failed = NULL;

    if (!capture_output(&slot->out, a))
        failed = &slot->out;
    else if (!capture_errput(&slot->err, a))
        failed = &slot->err;
    if (!failed)
        return;
    slot->fault = failed->errnum ? CAPTURE_NO_FILE : CAPTURE_NO_MEMORY;
    slot->fault_errnum = failed->errnum;
}

void slot_answer(struct command_slot *slot, char *scratch)
{
    struct core_answer *a = &slot->attempt->answer;

    drain(slot, &slot->out, scratch);
    drain(slot, &slot->err, scratch);
    if (slot->fault == CAPTURE_MORE || slot->fault == CAPTURE_TOO_LARGE)
        hand_over(slot, a);
    if (slot->fault != CAPTURE_MORE)
        say_fault(slot, a);
    else
        say_end(slot, a);
    /* Not as cancelled: that is said only of what has never begun (core/ahead.c). */
    if (slot->ending && a->outcome == WEIR_OUTCOME_OK) {
        refuse(a, WEIR_REASON_SIGNALLED, true);
        answer_say(a, "told to end, it ended with exit status 0");
    }
}
