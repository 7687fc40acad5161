/*
 * POSTs by a bare libcurl multi loop: handles that are used again, nothing kept of the answers but
 * their number.
 *
 *     http_libcurl URL ROWS IN_FLIGHT BODY_FILE
 *
 * The least that a client on libcurl can do: one body for all rows, no input, no output, no
 * retries, no order. It waits with curl_multi_poll, the usual way.
 */
#include "benchkit.h"

#include <curl/curl.h>

struct client {
    CURLM *multi;
    uint64_t rows, sent, done;
};

static size_t drop(char *data, size_t size, size_t count, void *user)
{
    (void)data;
    (void)user;
    return size * count;
}

static CURL *handle_open(const char *url, const char *body, size_t body_len,
                         struct curl_slist *headers)
{
    CURL *easy = curl_easy_init();

    if (!easy)
        bench_die("no memory");
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)body_len);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, drop);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    return easy;
}

static void collect(struct client *c)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(c->multi, &left))) {
        CURL *easy = message->easy_handle;
        long status = 0;

        if (message->msg != CURLMSG_DONE || message->data.result != CURLE_OK)
            bench_die(curl_easy_strerror(message->data.result));
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
        if (status != 200)
            bench_die("an answer is not 200");
        c->done++;
        curl_multi_remove_handle(c->multi, easy);
        if (c->sent < c->rows) {
            curl_multi_add_handle(c->multi, easy);
            c->sent++;
        }
    }
}

static size_t read_body(const char *path, char *body, size_t size)
{
    FILE *f = fopen(path, "re");
    size_t len;

    if (!f)
        bench_die("the body cannot be read");
    len = fread(body, 1, size, f);
    fclose(f);
    return len;
}

int main(int argc, char **argv)
{
    const char *url = bench_text(argc, argv, 1);
    struct client c = {.rows = bench_number(argc, argv, 2)};
    uint64_t in_flight = bench_number(argc, argv, 3);
    static char body[65536];
    size_t body_len = read_body(bench_text(argc, argv, 4), body, sizeof body);
    struct curl_slist *headers;
    int running;

    if (curl_global_init(CURL_GLOBAL_ALL) || !(c.multi = curl_multi_init()))
        bench_die("libcurl does not start");
    headers = curl_slist_append(NULL, "Content-Type: application/json");
    headers = curl_slist_append(headers, "Expect:");
    curl_multi_setopt(c.multi, CURLMOPT_MAXCONNECTS, (long)in_flight);
    while (c.sent < in_flight && c.sent < c.rows) {
        curl_multi_add_handle(c.multi, handle_open(url, body, body_len, headers));
        c.sent++;
    }
    while (c.done < c.rows) {
        curl_multi_perform(c.multi, &running);
        collect(&c);
        if (c.done < c.rows)
            curl_multi_poll(c.multi, NULL, 0, 1000, NULL);
    }
    /* The handles go with the process: ending is not what is measured. */
    return 0;
}
