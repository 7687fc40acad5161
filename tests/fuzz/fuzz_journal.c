/*
 * Any bytes as a journal (libFuzzer; corpus/journal). Opening refuses them with a message that
 * names the file, or gives a store on which every call returns; and what a good call wrote is read
 * back.
 */
#include "store/sqlite/sqlite_store.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Rows that are looked at; the seeds hold fewer. */
#define ROWS 24

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void read_all(struct core_store *s)
{
    struct buf hold = {0};
    struct store_summary sum;
    struct store_place place;
    struct store_row row;
    uint32_t generation;

    if (s->ops->summary(s, &sum, NULL) == WEIR_OK)
        require(sum.mark.next <= sum.finished || sum.finished == 0);
    for (uint64_t k = 0; k < ROWS; k++) {
        if (s->ops->get(s, k, &row, &hold, NULL) == WEIR_OK)
            require(row.index == k && (unsigned)row.reason < WEIR_REASON_COUNT &&
                    row.key.len + row.message.len + row.request_id.len + row.output.len ==
                        hold.len);
        if (s->ops->place(s, k, &place, NULL) == WEIR_OK)
            require(place.index == k);
        if (s->ops->generation(s, k, &generation, NULL) != WEIR_OK)
            break;
    }
    if (s->ops->fact(s, "input", &hold, NULL) == WEIR_OK)
        require(!hold.failed);
    buf_free(&hold);
}

static void write_all(struct core_store *s)
{
    struct store_row row = {.index = 1000, .key = SLICE("k"), .has_output = true}, got;
    struct store_attempt attempt = {.index = 1000, .number = 1, .message = SLICE("m")};
    struct store_summary sum;
    struct buf hold = {0};
    uint64_t rows;

    if (s->ops->put(s, &row, 1, &attempt, 1, NULL) == WEIR_OK &&
        s->ops->get(s, 1000, &got, &hold, NULL) == WEIR_OK)
        require(got.has_output && slice_equal(got.key, row.key));
    if (s->ops->summary(s, &sum, NULL) == WEIR_OK) {
        struct store_place place = {.index = sum.mark.next, .len = 5};
        enum weir_status status;

        sum.mark.next++;
        status = s->ops->mark(s, &sum.mark, &place, 1, NULL);
        require(status != WEIR_E_CONFLICT && status != WEIR_E_END);
    }
    if (s->ops->set(s, "input", SLICE("value"), NULL) == WEIR_OK) {
        buf_clear(&hold);
        if (s->ops->fact(s, "input", &hold, NULL) == WEIR_OK)
            require(slice_equal(buf_slice(&hold), SLICE("value")));
    }
    if (s->ops->reopen_failed(s, &rows, NULL) == WEIR_OK &&
        s->ops->summary(s, &sum, NULL) == WEIR_OK)
        require(sum.mark.next == 0 && sum.failed == 0);
    buf_free(&hold);
}

/* In memory where there is such a folder: the disk is not what is tried here. */
static void make_folder(char *ret, size_t len)
{
    const char *tmp = getenv("TMPDIR");

    if (!tmp)
        tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(ret, len, "%s/weir-fuzz-XXXXXX", tmp);
    require(mkdtemp(ret) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"j.weir", "j.weir-wal", "j.weir-journal"};
    struct weir_error err = {0};
    struct core_store *s = NULL;
    char dir[200], path[256];
    int fd;

    make_folder(dir, sizeof(dir));
    snprintf(path, sizeof(path), "%s/%s", dir, names[0]);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    require(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
    if (sqlite_store_open(path, SQLITE_STORE_CREATE, &s, &err) == WEIR_OK) {
        read_all(s);
        write_all(s);
        read_all(s);
        s->ops->close(s);
    } else {
        require(!s && strstr(err.message, names[0]));
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
    return 0;
}
