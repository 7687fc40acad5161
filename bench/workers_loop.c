/*
 * The limit: a bare poll loop that sends frames to workers and takes them back, and does nothing
 * else with them.
 *
 *     workers_loop ECHO KIND BYTES MESSAGES WORKERS DEPTH [PER_S]
 *
 * ECHO is worker_echo, run as raw; KIND is pipe or socketpair: what joins it to its workers. DEPTH
 * messages are in flight to each worker. With PER_S one message is sent each so often to whoever is
 * free, which shows how long a round trip takes by itself.
 */
#include "benchkit.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS_MAX 64
#define PIPE_BYTES  (256 << 10)

struct peer {
    pid_t pid;
    int in, out;
    char *queue, *room; /* frames to be written; bytes that were read */
    size_t queued, got, in_flight;
    double *sent_s; /* ring of `depth` */
    uint64_t first, last;
};

static struct peer peers[WORKERS_MAX];
static size_t count, depth, frame_bytes, room_bytes;
static uint64_t messages, started, done;
static double *took_s;
static char *frame;

static void spawn(struct peer *p, char *echo, int sockets)
{
    int to[2], from[2];
    char *argv[] = {echo, "raw", NULL};

    if (sockets) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, to))
            bench_die("no socketpair");
        from[0] = to[1]; /* ours, both ways: to[1]; theirs: to[0] */
        from[1] = to[0];
    } else {
        if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
            bench_die("no pipe");
        fcntl(to[0], F_SETPIPE_SZ, PIPE_BYTES);
        fcntl(from[0], F_SETPIPE_SZ, PIPE_BYTES);
    }
    p->pid = fork();
    if (p->pid == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        execv(echo, argv);
        _exit(127);
    }
    close(to[0]);
    if (!sockets)
        close(from[1]);
    p->in = from[0];
    p->out = to[1];
    fcntl(p->in, F_SETFL, O_NONBLOCK);
    fcntl(p->out, F_SETFL, O_NONBLOCK);
    p->queue = malloc(frame_bytes * depth);
    p->room = malloc(room_bytes);
    p->sent_s = malloc(depth * sizeof *p->sent_s);
    if (p->pid < 0 || !p->queue || !p->room || !p->sent_s)
        bench_die("a worker cannot be started");
}

static void send_one(struct peer *p)
{
    p->sent_s[p->last++ % depth] = bench_now_s();
    memcpy(p->queue + p->queued, frame, frame_bytes);
    p->queued += frame_bytes;
    p->in_flight++;
    started++;
}

/* All that is queued, in one write if it fits. */
static void write_queue(struct peer *p)
{
    ssize_t n = p->queued > 0 ? write(p->out, p->queue, p->queued) : 0;

    if (n > 0) {
        p->queued -= (size_t)n;
        memmove(p->queue, p->queue + n, p->queued);
    }
}

static void fill(struct peer *p)
{
    while (p->in_flight < depth && started < messages &&
           p->queued + frame_bytes <= frame_bytes * depth)
        send_one(p);
    write_queue(p);
}

static void read_some(struct peer *p)
{
    for (;;) {
        ssize_t n = read(p->in, p->room + p->got, room_bytes - p->got);
        size_t at = 0;
        double now_s;

        if (n == 0)
            bench_die("a worker has gone");
        if (n < 0)
            return;
        p->got += (size_t)n;
        now_s = bench_now_s();
        for (; p->got - at >= frame_bytes; at += frame_bytes) {
            if (memcmp(p->room + at, frame, 4) != 0)
                bench_die("a frame is not as it must be");
            took_s[done++] = now_s - p->sent_s[p->first++ % depth];
            p->in_flight--;
        }
        memmove(p->room, p->room + at, p->got - at);
        p->got -= at;
        if ((size_t)n < room_bytes - p->got)
            return;
    }
}

static void wait_for_some(int timeout_ms)
{
    struct pollfd polls[2 * WORKERS_MAX];
    nfds_t n = 0;

    for (size_t i = 0; i < count; i++) {
        polls[n++] = (struct pollfd){.fd = peers[i].in, .events = POLLIN};
        if (peers[i].queued > 0)
            polls[n++] = (struct pollfd){.fd = peers[i].out, .events = POLLOUT};
    }
    if (poll(polls, n, timeout_ms) < 0)
        bench_die("poll");
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; polls[i].revents & POLLIN && k < count; k++)
            if (peers[k].in == polls[i].fd)
                read_some(&peers[k]);
}

static void run_at_full_speed(void)
{
    while (done < messages) {
        for (size_t i = 0; i < count; i++)
            fill(&peers[i]);
        wait_for_some(-1);
    }
}

static void run_at(uint64_t per_s)
{
    double next_s = bench_now_s();

    while (done < messages) {
        double now_s = bench_now_s();

        if (started < messages && now_s >= next_s) {
            struct peer *p = &peers[started % count];

            if (p->in_flight < depth) {
                send_one(p);
                write_queue(p);
            }
            next_s += 1.0 / (double)per_s;
            continue;
        }
        if (started == done) {
            double wait_s = next_s - now_s;

            nanosleep(&(struct timespec){.tv_nsec = (long)(wait_s * 1e9)}, NULL);
            continue;
        }
        wait_for_some(-1);
    }
}

static int earlier(const void *a, const void *b)
{
    double d = *(const double *)a - *(const double *)b;

    return d < 0 ? -1 : d > 0;
}

int main(int argc, char **argv)
{
    char *echo = (char *)bench_text(argc, argv, 1);
    int sockets = strcmp(bench_text(argc, argv, 2), "socketpair") == 0;
    uint64_t bytes = bench_number(argc, argv, 3),
             per_s = argc > 7 ? bench_number(argc, argv, 7) : 0;
    uint32_t length = htonl((uint32_t)bytes);
    double start_s;

    messages = bench_number(argc, argv, 4);
    count = bench_number(argc, argv, 5);
    depth = bench_number(argc, argv, 6);
    frame_bytes = bytes + 4;
    room_bytes = frame_bytes * depth > PIPE_BYTES ? frame_bytes * depth : PIPE_BYTES;
    frame = malloc(frame_bytes);
    took_s = malloc(messages * sizeof *took_s);
    if (!frame || !took_s || count > WORKERS_MAX)
        bench_die("no memory, or too many workers");
    memset(frame, 'x', frame_bytes);
    memcpy(frame, &length, 4);
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < count; i++)
        spawn(&peers[i], echo, sockets);
    start_s = bench_now_s();
    if (per_s)
        run_at(per_s);
    else
        run_at_full_speed();
    bench_tell("rows_per_s", (double)messages / (bench_now_s() - start_s));
    qsort(took_s, messages, sizeof *took_s, earlier);
    bench_tell("p50_us", took_s[messages / 2] * 1e6);
    bench_tell("p99_us", took_s[messages * 99 / 100] * 1e6);
    for (size_t i = 0; i < count; i++) {
        close(peers[i].in);
        close(peers[i].out);
    }
    for (size_t i = 0; i < count; i++)
        waitpid(peers[i].pid, NULL, 0);
    return 0;
}
