/*
 * Jobs of 100 bytes in a beanstalkd, over one connection with so many commands in one write: put;
 * reserved and deleted.
 *
 *     tasks_beanstalk PORT JOBS AT_ONCE
 */
#include "benchkit.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#define JOB_BYTES     100
#define COMMAND_BYTES 256

static int fd;
static char in[1 << 20], *out;
static size_t in_at, in_end, out_len;

/* The next line, without its end. */
static char *line(void)
{
    for (;;) {
        char *end = memchr(in + in_at, '\n', in_end - in_at), *start = in + in_at;
        ssize_t n;

        if (end) {
            *end = '\0';
            in_at = (size_t)(end + 1 - in);
            return start;
        }
        memmove(in, in + in_at, in_end - in_at);
        in_end -= in_at;
        in_at = 0;
        n = read(fd, in + in_end, sizeof in - in_end);
        if (n <= 0)
            bench_die("beanstalkd is gone");
        in_end += (size_t)n;
    }
}

static void expect(const char *word)
{
    if (strncmp(line(), word, strlen(word)) != 0)
        bench_die("beanstalkd refuses");
}

static void flush(void)
{
    for (size_t at = 0; at < out_len;) {
        ssize_t n = write(fd, out + at, out_len - at);

        if (n <= 0)
            bench_die("beanstalkd is gone");
        at += (size_t)n;
    }
    out_len = 0;
}

static void put_jobs(uint64_t jobs, uint64_t at_once)
{
    for (uint64_t done = 0; done < jobs;) {
        uint64_t some = jobs - done < at_once ? jobs - done : at_once;

        for (uint64_t i = 0; i < some; i++)
            out_len += (size_t)sprintf(out + out_len, "put 0 0 600 %d\r\n%0*d\r\n", JOB_BYTES,
                                       JOB_BYTES, 0);
        flush();
        for (uint64_t i = 0; i < some; i++)
            expect("INSERTED");
        done += some;
    }
}

static void run_jobs(uint64_t jobs, uint64_t at_once)
{
    unsigned long *ids = calloc(at_once, sizeof *ids);

    if (!ids)
        bench_die("no memory");
    for (uint64_t done = 0; done < jobs;) {
        uint64_t some = jobs - done < at_once ? jobs - done : at_once;

        for (uint64_t i = 0; i < some; i++)
            out_len += (size_t)sprintf(out + out_len, "reserve\r\n");
        flush();
        for (uint64_t i = 0; i < some; i++) {
            if (sscanf(line(), "RESERVED %lu", &ids[i]) != 1)
                bench_die("beanstalkd gives no job");
            line();
        }
        for (uint64_t i = 0; i < some; i++)
            out_len += (size_t)sprintf(out + out_len, "delete %lu\r\n", ids[i]);
        flush();
        for (uint64_t i = 0; i < some; i++)
            expect("DELETED");
        done += some;
    }
    free(ids);
}

int main(int argc, char **argv)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint64_t jobs = bench_number(argc, argv, 2), at_once = bench_number(argc, argv, 3);
    double start_s;
    int on = 1;

    a.sin_port = htons((uint16_t)bench_number(argc, argv, 1));
    fd = socket(AF_INET, SOCK_STREAM, 0);
    out = malloc(at_once * COMMAND_BYTES);
    if (fd < 0 || !out || connect(fd, (struct sockaddr *)&a, sizeof a) != 0)
        bench_die("cannot connect to beanstalkd");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    start_s = bench_now_s();
    put_jobs(jobs, at_once);
    bench_tell("submitted_per_s", (double)jobs / (bench_now_s() - start_s));
    start_s = bench_now_s();
    run_jobs(jobs, at_once);
    bench_tell("ended_per_s", (double)jobs / (bench_now_s() - start_s));
    return 0;
}
