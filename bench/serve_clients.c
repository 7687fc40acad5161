/*
 * Many clients, each of which submits one task a request and waits for the answer before the next:
 * durable one by one.
 *
 *     serve_clients SOCKET CLIENTS TASKS
 */
#include "servekit.h"

#include <sys/epoll.h>

#define EVENTS_MAX 64

static char request[512];
static size_t request_len;

static void make_request(void)
{
    char body[256];
    int n = snprintf(body, sizeof body, "{\"payload\":{\"p\":\"%0*d\"}}", 92, 0);

    request_len = (size_t)snprintf(
        request, sizeof request,
        "POST /v1/tasks HTTP/1.1\r\nHost: weir\r\nContent-Type: application/json\r\n"
        "Content-Length: %d\r\n\r\n%s",
        n, body);
}

/* Reads what there is. True: an answer, whole and good. */
static bool answered(int fd, struct serve_in *in)
{
    ssize_t n = read(fd, in->data + in->len, SERVE_ANSWER_BYTES - in->len);
    size_t bytes;
    int status;

    if (n <= 0)
        bench_die("the daemon gave no answer");
    in->len += (size_t)n;
    status = serve_parse(in, &bytes);
    if (status != 0 && status != 201)
        bench_die(in->body);
    if (status != 0)
        in->len = 0;
    return status != 0;
}

static void run(int epoll, const int *fds, struct serve_in *ins, uint64_t tasks, uint64_t sent)
{
    struct epoll_event events[EVENTS_MAX];

    for (uint64_t done = 0; done < tasks;) {
        int n = epoll_wait(epoll, events, EVENTS_MAX, 60000);

        if (n <= 0)
            bench_die("no answer within a minute");
        for (int i = 0; i < n; i++) {
            uint64_t c = events[i].data.u64;

            if (!answered(fds[c], &ins[c]))
                continue;
            done++;
            if (sent < tasks) {
                serve_send(fds[c], request, request_len);
                sent++;
            }
        }
    }
}

int main(int argc, char **argv)
{
    uint64_t clients = bench_number(argc, argv, 2), tasks = bench_number(argc, argv, 3);
    int epoll = epoll_create1(0), *fds = calloc(clients, sizeof *fds);
    struct serve_in *ins = calloc(clients, sizeof *ins);
    double start_s;

    if (epoll < 0 || !fds || !ins || tasks < clients)
        bench_die("no memory, or fewer tasks than clients");
    make_request();
    for (uint64_t i = 0; i < clients; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.u64 = i};

        fds[i] = serve_connect(bench_text(argc, argv, 1));
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &e) != 0)
            bench_die("epoll");
    }
    start_s = bench_now_s();
    for (uint64_t i = 0; i < clients; i++)
        serve_send(fds[i], request, request_len);
    run(epoll, fds, ins, tasks, clients);
    bench_tell("submitted_per_s", (double)tasks / (bench_now_s() - start_s));
    return 0;
}
