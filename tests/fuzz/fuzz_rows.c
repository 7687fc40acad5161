/*
 * Fuzzes the reading of rows (src/cli/input): lines, Batch rows, keys, templates.
 *
 * The first byte picks the options (JSON or plain text, with jq or without) and the size of the
 * reads; the rest is the input. What must hold whatever comes: a row's body is JSON, its key is
 * one, its URL stays at the origin of --url, a message names the place, and the size of the reads
 * changes nothing.
 */
#include "base/json.h"
#include "cli/input/row.h"
#include "cli/input/trail.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ORIGIN "https://h:8443"

static const struct row_options OPTIONS[] = {
    {.url = ORIGIN "/v1?a=b"},
    {.url = ORIGIN, .lines = true},
    {.url = ORIGIN, .key_expr = ".a.b", .template_expr = ".c[0]"},
    {.url = ORIGIN, .template_expr = "{x: .body, y: [.]}", .method = "GET"},
    {.url = ORIGIN, .lines = true, .key_expr = ".[0:9] + \"k\""},
};
#define OPTIONS_COUNT (sizeof(OPTIONS) / sizeof(OPTIONS[0]))

static void must(int holds)
{
    if (!holds)
        abort();
}

static void check_row(struct run_row *row, const struct line *line)
{
    must(row->key_len >= 1 && row->key_len <= ROW_KEY_BYTES_MAX);
    must(strlen(row->task.key) == row->key_len);
    must(utf8_valid_prefix((struct slice){row->task.key, row->key_len}) == row->key_len);
    must(row_http(row)->request.body.len == 0 || json_check(row_http(row)->request.body, NULL));
    must(memchr(row_http(row)->request.body.data, '\n', row_http(row)->request.body.len) == NULL);
    must(strncmp(row_http(row)->request.url, ORIGIN, strlen(ORIGIN)) == 0);
    must(strchr("/?", row_http(row)->request.url[strlen(ORIGIN)]) != NULL);
    must(strpbrk(row_http(row)->request.url, " \r\n") == NULL);
    must(row->line == line->number && row->task.tokens >= 0);
}

static void build(struct rows *rows, const struct line *line, uint64_t index)
{
    struct run_row *row = NULL;
    struct weir_error err = {0};
    enum weir_status status = rows_build(rows, line, index, &row, &err);

    if (status == WEIR_OK) {
        check_row(row, line);
    } else {
        struct row_seen seen = rows_seen(rows);

        must(status == WEIR_E_FORMAT);
        must(strncmp(err.message, "standard input:", 15) == 0);
        must(row_bad(line, index, RUN_HTTP, seen.kind, seen.key, err.message, &row, NULL) ==
             WEIR_OK);
        must(row->task.key[0] != '\0');
    }
    row_set_idempotency(row, SLICE("run"), 0);
    row->task.release(&row->task);
}

/* One pass over the input; gives the digest of its lines. rows NULL: only lines. */
static struct fingerprint pass(int fd, size_t buffer, struct rows *rows)
{
    struct lines_options o = {
        .stdin_fd = fd, .stop_fd = -1, .line_max_bytes = 200, .buffer_bytes = buffer};
    struct fingerprint digest = {0, 0};
    struct lines *lines = NULL;
    struct line line;
    uint64_t index = 0;

    must(lseek(fd, 0, SEEK_SET) == 0);
    must(lines_open(&o, &lines, NULL) == WEIR_OK);
    while (lines_next(lines, &line, NULL) == WEIR_OK) {
        must(line.too_long ? line.length > 200 : line.text.len <= 200);
        if (rows)
            build(rows, &line, index);
        digest = trail_chain(digest, line.hash);
        index++;
    }
    lines_close(lines);
    return digest;
}

static struct rows *all[OPTIONS_COUNT]; /* compiling jq for each input would take all the time */

/* jq keeps pointers behind the end of its blocks, which a leak checker does not see as pointers. */
static void free_all(void)
{
    for (size_t i = 0; i < OPTIONS_COUNT; i++)
        rows_free(all[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int registered;
    struct rows **rows;
    int fd;

    if (size == 0)
        return 0;
    if (!registered)
        registered = atexit(free_all) == 0;
    rows = &all[data[0] % OPTIONS_COUNT];
    if (!*rows)
        must(rows_new(&OPTIONS[data[0] % OPTIONS_COUNT], rows, NULL) == WEIR_OK);
    fd = memfd_create("rows", MFD_CLOEXEC);
    must(fd >= 0 && write(fd, data + 1, size - 1) == (ssize_t)(size - 1));
    must(fingerprint_equal(pass(fd, 4 + data[0], *rows), pass(fd, 0, NULL)));
    must(close(fd) == 0);
    return 0;
}
