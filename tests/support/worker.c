/*
 * See worker.h. It is one thread that reads a request, does it, and writes the response, with
 * blocking calls.
 *
 * Words at its start:
 *     max_in_flight=N   says so in its answers to pings
 *     exit=N            exits with that status at once
 *     say=TEXT          writes TEXT and a line's end to standard error
 *     print=TEXT        writes TEXT to standard output, where it does not belong
 *     deaf              reads nothing, ever
 *     mute              does not answer pings
 *     sick              answers pings with an error
 *     stubborn          ignores SIGTERM, the command `shutdown`, and the end of its input
 *     clumsy            knows no command `shutdown`: answers it with an error and goes on
 *     hasty             answers its first request when it has read no more than the beginning of it
 *     late=FIFO         answers its first ping only when somebody opens the FIFO for writing
 *
 * Commands (args): process, echo the args are the result length the number of bytes of the args
 *     request the whole request, as text env the values of the variables that the args (an array)
 *     name pid of the process error, text_error, capacity ends with that; args are the error exit
 *     exits with that status, without an answer signal ends itself by that signal answer_and_exit
 *     answers, and exits with that status say writes the args (a string) to standard error, and
 *     answers say_and_exit the same, and exits with status 1 in place of the answer hold says
 *     "holding" on standard error, and answers when somebody opens the FIFO named for writing hang
 *     never answers hang_held the same, and ignores SIGTERM beat the args are messages (strings):
 *     writes each, # in it being the request's id; and answers swallow says "swallowed" to standard
 *     error, goes on reading, and never answers until_term says "waits" to standard error, waits
 *     for SIGTERM, says "told to end", answers, and exits half writes the first half of its
 *     response, and hangs half_and_exit writes the first half of its response, and exits slowly
 *     writes its response byte by byte garbage writes the args (a string) as they are twice answers
 *     twice unknown answers a request that was never sent no_json, no_object, no_id, no_success
 *     answers so huge claims a response of 4 GiB flood writes to standard error without end
 *     flood_out writes valid answers to nothing, without end close_out, close_in closes that, and
 *     hangs fork_and_exit leaves a child that sleeps, and exits fork starts a child that sleeps,
 *     and answers its pid eat takes so many MiB of memory, and answers
 */
#include "support/worker.h"

#include "base/buf.h"
#include "base/json.h"
#include "exec/process/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARGS_MAX 4096

struct self {
    const char *max_in_flight, *late;
    bool mute, sick, stubborn, clumsy, hasty;
};

bool worker_is_meant(int argc, char **argv)
{
    return argc >= 2 && strcmp(argv[1], WORKER_WORD) == 0;
}

char *worker_program(void)
{
    static char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);

    if (n > 0)
        path[n] = '\0';
    return path;
}

/* ---- bytes ---- */

static bool read_all(char *to, size_t len)
{
    while (len > 0) {
        ssize_t n = read(STDIN_FILENO, to, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        to += n;
        len -= (size_t)n;
    }
    return true;
}

static void write_to(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            _exit(0); /* nobody reads any more */
        bytes += n;
        len -= (size_t)n;
    }
}

static void say(struct slice text)
{
    write_to(STDERR_FILENO, text.data, text.len);
    write_to(STDERR_FILENO, "\n", 1);
}

static void frame(struct buf *out, struct slice message)
{
    unsigned char length[4] = {(unsigned char)(message.len >> 24),
                               (unsigned char)(message.len >> 16),
                               (unsigned char)(message.len >> 8), (unsigned char)message.len};

    buf_put(out, length, sizeof length);
    buf_put_slice(out, message);
}

static void hang(void)
{
    for (;;)
        pause();
}

/* ---- a request ---- */

struct request {
    struct slice all, id, command, args;
};

static void put_response(struct buf *out, const struct request *r, bool success, struct slice value)
{
    struct buf message = {0};

    buf_printf(&message, "{\"id\": %.*s, \"success\": %s, \"%s\": ", (int)r->id.len, r->id.data,
               success ? "true" : "false", success ? "result" : "error");
    buf_put_slice(&message, value);
    buf_puts(&message, "}");
    frame(out, buf_slice(&message));
    buf_free(&message);
}

static void answer(const struct request *r, bool success, struct slice value)
{
    struct buf out = {0};

    put_response(&out, r, success, value);
    write_to(STDOUT_FILENO, out.data, out.len);
    buf_free(&out);
}

static void answer_text(const struct request *r, struct slice text)
{
    struct buf json = {0};

    json_put_string(&json, text);
    answer(r, true, buf_slice(&json));
    buf_free(&json);
}

static void answer_number(const struct request *r, long long n)
{
    char text[32];
    int len = snprintf(text, sizeof text, "%lld", n);

    answer(r, true, (struct slice){text, (size_t)len});
}

static int number(const struct request *r)
{
    int64_t n = 0;

    return json_int64(r->args, &n) ? (int)n : 0;
}

/* The args when they are a string; with a NUL behind it. */
static struct slice text(const struct request *r, struct buf *room)
{
    buf_clear(room);
    json_unquote(r->args, room);
    return buf_slice(room);
}

/* Whoever opens it for writing lets go whoever waits here. */
static void wait_at(const char *fifo)
{
    int fd = open(fifo, O_RDONLY | O_CLOEXEC);

    if (fd >= 0)
        close(fd);
}

/* ---- commands ---- */

static bool is(const struct request *r, const char *command)
{
    return json_string_equals(r->command, slice_of(command));
}

static void answer_env(const struct request *r)
{
    struct buf out = {0}, name = {0};
    struct json_iter it;
    struct slice key, value;

    json_iter_init(&it, r->args);
    buf_putc(&out, '[');
    while (json_iter_next(&it, &key, &value)) {
        const char *is_now;

        buf_clear(&name);
        json_unquote(value, &name);
        is_now = getenv(name.data);
        if (out.len > 1)
            buf_putc(&out, ',');
        if (is_now)
            json_put_string(&out, slice_of(is_now));
        else
            buf_puts(&out, "null");
    }
    buf_putc(&out, ']');
    answer(r, true, buf_slice(&out));
    buf_free(&out);
    buf_free(&name);
}

static pid_t fork_sleeper(void)
{
    pid_t pid = fork();

    if (pid == 0)
        hang();
    return pid;
}

static void eat(const struct request *r)
{
    size_t bytes = (size_t)number(r) << 20;
    volatile char *memory = malloc(bytes); /* kept on purpose */

    for (size_t i = 0; memory && i < bytes; i += 4096)
        memory[i] = 1;
    answer_number(r, (long long)(uintptr_t)memory != 0);
}

static void flood(int fd, struct slice line)
{
    for (;;)
        write_to(fd, line.data, line.len);
}

/* Half of a response, or one byte after the other. */
static void answer_badly(const struct request *r)
{
    struct buf out = {0};

    put_response(&out, r, true, r->args);
    if (is(r, "slowly")) {
        for (size_t i = 0; i < out.len; i++)
            write_to(STDOUT_FILENO, out.data + i, 1);
    } else {
        write_to(STDOUT_FILENO, out.data, out.len / 2);
        if (is(r, "half_and_exit"))
            _exit(4);
        hang();
    }
    buf_free(&out);
}

static void write_message(const char *message)
{
    struct buf out = {0};

    frame(&out, slice_of(message));
    write_to(STDOUT_FILENO, out.data, out.len);
    buf_free(&out);
}

/* What is not the protocol. False: it is none of these. */
static bool break_protocol(const struct request *r, struct buf *room)
{
    char message[256];

    if (is(r, "garbage")) {
        text(r, room);
        write_to(STDOUT_FILENO, room->data, room->len);
    } else if (is(r, "twice")) {
        answer(r, true, r->args);
        answer(r, true, r->args);
    } else if (is(r, "unknown")) {
        write_message("{\"id\": 123456789, \"success\": true}");
    } else if (is(r, "no_json")) {
        write_message("{\"id\": ");
    } else if (is(r, "no_object")) {
        write_message("[1]");
    } else if (is(r, "no_id")) {
        write_message("{\"success\": true}");
    } else if (is(r, "no_success")) {
        snprintf(message, sizeof message, "{\"id\": %.*s}", (int)r->id.len, r->id.data);
        write_message(message);
    } else if (is(r, "huge")) {
        write_to(STDOUT_FILENO, "\xFF\xFF\xFF\xFF{", 5);
    } else if (is(r, "flood_out")) {
        flood(STDOUT_FILENO, SLICE("\0\0\0\x1d{\"id\": 1000, \"success\": true}"));
    } else {
        return false;
    }
    hang();
    return true;
}

/* What it says before its answer. */
static void beat(const struct request *r)
{
    struct buf message = {0}, out = {0};
    struct slice key, value;
    struct json_iter it;

    json_iter_init(&it, r->args);
    while (json_iter_next(&it, &key, &value)) {
        buf_clear(&message);
        buf_clear(&out);
        json_unquote(value, &message);
        for (size_t i = 0; i < message.len; i++)
            if (message.data[i] == '#')
                buf_put_slice(&out, r->id);
            else
                buf_putc(&out, message.data[i]);
        buf_putc(&out, '\0');
        write_message(out.data);
    }
    buf_free(&message);
    buf_free(&out);
    answer(r, true, SLICE("null"));
}

/* What ends in silence. False: it is none of these. */
static bool go_wrong(const struct request *r, struct buf *room)
{
    if (is(r, "exit"))
        _exit(number(r));
    if (is(r, "signal"))
        kill(getpid(), number(r));
    if (is(r, "say_and_exit")) {
        say(text(r, room));
        _exit(1);
    }
    if (is(r, "fork_and_exit")) {
        fork_sleeper();
        _exit(0);
    }
    if (is(r, "hang_held"))
        signal(SIGTERM, SIG_IGN);
    if (is(r, "flood"))
        flood(STDERR_FILENO, SLICE("a line that says nothing, again and again and again\n"));
    if (is(r, "close_out"))
        close(STDOUT_FILENO);
    else if (is(r, "close_in"))
        close(STDIN_FILENO);
    else if (!is(r, "hang") && !is(r, "hang_held"))
        return false;
    hang();
    return true;
}

static void wait_for_term(void)
{
    sigset_t set;
    int sig;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    say(SLICE("waits"));
    sigwait(&set, &sig);
    say(SLICE("told to end"));
}

static void do_request(const struct request *r, struct buf *room)
{
    if (is(r, "process") || is(r, "echo")) {
        answer(r, true, r->args);
    } else if (is(r, "length")) {
        answer_number(r, (long long)r->args.len);
    } else if (is(r, "request")) {
        answer_text(r, r->all);
    } else if (is(r, "env")) {
        answer_env(r);
    } else if (is(r, "pid")) {
        answer_number(r, getpid());
    } else if (is(r, "error")) {
        answer(r, false, r->args);
    } else if (is(r, "answer_and_exit")) {
        answer(r, true, r->args);
        _exit(number(r));
    } else if (is(r, "say")) {
        say(text(r, room));
        answer(r, true, r->args);
    } else if (is(r, "beat")) {
        beat(r);
    } else if (is(r, "swallow")) {
        say(SLICE("swallowed"));
    } else if (is(r, "until_term")) {
        wait_for_term();
        answer(r, true, r->args);
    } else if (is(r, "hold")) {
        say(SLICE("holding"));
        wait_at(text(r, room).data);
        answer(r, true, r->args);
    } else if (is(r, "half") || is(r, "half_and_exit") || is(r, "slowly")) {
        answer_badly(r);
    } else if (is(r, "fork")) {
        answer_number(r, fork_sleeper());
    } else if (is(r, "eat")) {
        eat(r);
    } else if (!break_protocol(r, room) && !go_wrong(r, room)) {
        answer(r, false, SLICE("\"there is no such command\""));
    }
}

/* ---- weir's own commands ---- */

static void do_ping(struct self *self, const struct request *r)
{
    char result[64] = "null";

    if (self->mute)
        return;
    if (self->late)
        wait_at(self->late);
    self->late = NULL;
    if (self->max_in_flight)
        snprintf(result, sizeof result, "{\"max_in_flight\": %s}", self->max_in_flight);
    if (self->sick)
        answer(r, false, SLICE("{\"type\": \"Sick\", \"message\": \"not today\"}"));
    else
        answer(r, true, slice_of(result));
}

/* False: it is to end. */
static bool do_shutdown(struct self *self, const struct request *r)
{
    if (self->clumsy)
        answer(r, false, SLICE("\"there is no such command\""));
    return self->clumsy || self->stubborn;
}

static bool serve(struct self *self, struct slice message, struct buf *room)
{
    struct json_wanted m[] = {
        {.name = SLICE("id")}, {.name = SLICE("command")}, {.name = SLICE("args")}};
    struct request r = {.all = message};

    if (!json_check(message, NULL)) {
        say(SLICE("weir sent what is not JSON"));
        return false;
    }
    json_members(message, m, 3);
    r.id = m[0].value;
    r.command = m[1].value;
    r.args = m[2].value;
    if (is(&r, WIRE_PING))
        do_ping(self, &r);
    else if (is(&r, WIRE_SHUTDOWN))
        return do_shutdown(self, &r);
    else
        do_request(&r, room);
    return true;
}

/* The request behind the first ping, of which it reads no more than this. */
#define BEGINNING_BYTES 40

static void answer_hastily(void)
{
    char bytes[BEGINNING_BYTES + 1] = {0};
    struct request r = {.id = {bytes + 10, 0}};

    if (!read_all(bytes, BEGINNING_BYTES)) /* length, {"id":2,"command... */
        return;
    while (r.id.len < 20 && r.id.data[r.id.len] >= '0' && r.id.data[r.id.len] <= '9')
        r.id.len++;
    answer(&r, true, SLICE("1"));
    hang();
}

static const char *value_of(const char *word, const char *name)
{
    size_t len = strlen(name);

    return strncmp(word, name, len) == 0 && word[len] == '=' ? word + len + 1 : NULL;
}

static void obey(struct self *self, const char *word)
{
    const char *value;

    if ((value = value_of(word, "max_in_flight")))
        self->max_in_flight = value;
    else if ((value = value_of(word, "late")))
        self->late = value;
    else if ((value = value_of(word, "exit")))
        _exit(atoi(value));
    else if ((value = value_of(word, "say")))
        say(slice_of(value));
    else if ((value = value_of(word, "print")))
        write_to(STDOUT_FILENO, value, strlen(value));
    else if (strcmp(word, "deaf") == 0)
        hang();
    self->hasty |= strcmp(word, "hasty") == 0;
    self->mute |= strcmp(word, "mute") == 0;
    self->sick |= strcmp(word, "sick") == 0;
    self->clumsy |= strcmp(word, "clumsy") == 0;
    self->stubborn |= strcmp(word, "stubborn") == 0;
}

int worker_main(int argc, char **argv)
{
    struct self self = {0};
    struct buf message = {0}, room = {0};
    unsigned char length[4];
    bool goes_on = true;

    for (int i = 2; i < argc; i++)
        obey(&self, argv[i]);
    if (self.stubborn)
        signal(SIGTERM, SIG_IGN);
    while (goes_on && read_all((char *)length, sizeof length)) {
        size_t len =
            (size_t)length[0] << 24 | (size_t)length[1] << 16 | (size_t)length[2] << 8 | length[3];

        buf_clear(&message);
        if (!buf_reserve(&message, len) || !read_all(message.data, len))
            break;
        message.len = len;
        goes_on = serve(&self, buf_slice(&message), &room);
        if (self.hasty)
            answer_hastily();
    }
    if (self.stubborn)
        hang();
    buf_free(&message);
    buf_free(&room);
    return 0;
}
