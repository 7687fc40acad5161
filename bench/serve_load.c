/*
 * Those who look on while a daemon works: followers of its events, and clients that ask for its
 * status, so many a second.
 *
 *     serve_load SOCKET FOLLOWERS ASKS_PER_SECOND
 *
 * Says "ready" on standard error once all followers have had their head of an answer, and stops at
 * the end of standard input. Then it tells how many bytes of events each follower has had at least,
 * and how many requests were answered a second.
 */
#include "servekit.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#define EVENTS_MAX 256
#define ASKERS     16
#define READ_BYTES (1 << 18)
#define TICK_NS    5000000
#define STDIN_MARK UINT64_MAX
#define TIMER_MARK (UINT64_MAX - 1)

struct peer {
    int fd;
    bool asks, waits;
    uint64_t bytes;
    struct serve_in *in; /* of those that ask */
};

static struct peer *peers;
static uint64_t followers, per_s, asked, answers;
static int epoll;
static double start_s;

static void add(int fd, uint64_t mark)
{
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = mark};

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) != 0)
        bench_die("epoll");
}

static void open_peers(const char *path)
{
    static const char follow[] = "GET /v1/events/follow HTTP/1.1\r\nHost: weir\r\n\r\n";
    static char head[READ_BYTES];

    peers = calloc(followers + ASKERS, sizeof *peers);
    if (!peers)
        bench_die("no memory");
    for (uint64_t i = 0; i < followers + ASKERS; i++) {
        peers[i].fd = serve_connect(path);
        peers[i].asks = i >= followers;
        if (peers[i].asks) {
            peers[i].in = calloc(1, sizeof *peers[i].in);
            if (!peers[i].in)
                bench_die("no memory");
        } else {
            serve_send(peers[i].fd, follow, sizeof follow - 1);
            if (read(peers[i].fd, head, sizeof head) < 15 || strncmp(head + 9, "200", 3) != 0)
                bench_die("a follower is refused");
        }
        add(peers[i].fd, i);
    }
}

/* As many as are due, from those that wait for no answer. */
static void ask(void)
{
    static const char request[] = "GET /v1/status HTTP/1.1\r\nHost: weir\r\n\r\n";
    uint64_t due = (uint64_t)((bench_now_s() - start_s) * (double)per_s);

    for (uint64_t i = followers; i < followers + ASKERS && asked < due; i++) {
        if (peers[i].waits)
            continue;
        serve_send(peers[i].fd, request, sizeof request - 1);
        peers[i].waits = true;
        asked++;
    }
}

static void take(struct peer *p)
{
    static char data[READ_BYTES];
    ssize_t n;
    size_t bytes;
    int status;

    if (!p->asks) {
        n = read(p->fd, data, sizeof data);
        if (n <= 0)
            bench_die("a follower was cut off");
        p->bytes += (uint64_t)n;
        return;
    }
    n = read(p->fd, p->in->data + p->in->len, SERVE_ANSWER_BYTES - p->in->len);
    if (n <= 0)
        bench_die("the daemon gave no answer");
    p->in->len += (size_t)n;
    status = serve_parse(p->in, &bytes);
    if (status == 0)
        return;
    if (status != 200)
        bench_die(p->in->body);
    answers++;
    p->in->len = 0;
    p->waits = false;
    ask();
}

/* Returns when standard input has ended. */
static void look_on(int timer)
{
    struct epoll_event events[EVENTS_MAX];
    uint64_t ticks;

    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS_MAX, -1);

        for (int i = 0; i < n; i++) {
            if (events[i].data.u64 == STDIN_MARK)
                return;
            if (events[i].data.u64 == TIMER_MARK) {
                if (read(timer, &ticks, sizeof ticks) > 0)
                    ask();
            } else {
                take(&peers[events[i].data.u64]);
            }
        }
    }
}

int main(int argc, char **argv)
{
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct itimerspec tick = {{0, TICK_NS}, {0, TICK_NS}};
    uint64_t least = UINT64_MAX;

    followers = bench_number(argc, argv, 2);
    per_s = bench_number(argc, argv, 3);
    epoll = epoll_create1(0);
    if (timer < 0 || epoll < 0 || timerfd_settime(timer, 0, &tick, NULL) != 0)
        bench_die("no timer");
    open_peers(bench_text(argc, argv, 1));
    add(timer, TIMER_MARK);
    add(STDIN_FILENO, STDIN_MARK);
    fprintf(stderr, "ready\n");
    start_s = bench_now_s();
    look_on(timer);
    for (uint64_t i = 0; i < followers; i++)
        if (peers[i].bytes < least)
            least = peers[i].bytes;
    bench_tell("asked_per_s", (double)answers / (bench_now_s() - start_s));
    bench_tell("followed_bytes", (double)least);
    return 0;
}
