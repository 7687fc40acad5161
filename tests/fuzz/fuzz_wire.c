/*
 * Fuzzes what reads a worker's output (src/exec/process/wire.h): corpus/wire.
 *
 * The first byte says in what pieces the rest is read, and how high the limit on frames is. What
 * must hold whatever comes: the frames and faults are the same however the bytes are cut, what is
 * told of a response lies inside its frame, memory is bounded by what came, and each text for a
 * person can be shown.
 */
#include "base/json.h"
#include "core/ports/executor.h"
#include "exec/process/wire.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds)
        abort();
}

static void must_be_inside(struct slice part, struct slice whole)
{
    must(part.len == 0 ||
         (part.data >= whole.data && part.data + part.len <= whole.data + whole.len));
}

static void must_be_shown(const struct wire_fault *f)
{
    struct buf text = {0};

    wire_put_fault(&text, f);
    must(text.len > 0 && text.len < 1000);
    for (size_t i = 0; i < text.len; i++)
        must(text.data[i] >= 0x20 && text.data[i] < 0x7F);
    buf_free(&text);
}

static void check_frame(struct slice frame)
{
    struct wire_response r;
    struct wire_fault fault;
    struct buf text = {0};

    if (!wire_parse(frame, &r, &fault)) {
        must_be_inside(fault.bytes, frame);
        must_be_shown(&fault);
        return;
    }
    must(r.id >= 1 && r.id <= INT64_MAX);
    if (r.heartbeat) {
        must(r.progress == -1 || (r.progress >= 0 && r.progress <= 1));
        must_be_inside(r.told, frame);
        must_be_inside(r.text, r.told);
        wire_put_heartbeat_text(&text, &r);
        must(text.len <= CORE_HEARTBEAT_TEXT_MAX &&
             utf8_valid_prefix(buf_slice(&text)) == text.len);
        must(text.len == 0 || !memchr(text.data, '\n', text.len));
        buf_free(&text);
        return;
    }
    must_be_inside(r.result, frame);
    must_be_inside(r.error, frame);
    must_be_inside(r.type, r.error);
    must_be_inside(r.message, r.error);
    if (json_check(frame, NULL)) { /* else it is one level too deep as a whole */
        struct slice result = {"", 0};

        json_member(frame, "result", &result);
        must(!r.success || slice_equal(result, r.result));
    }
    must(r.retry_after_ns >= -1 && r.retry_after_ns <= WIRE_WAIT_NS_MAX);
    must(r.result.len == 0 || json_check(r.result, NULL));
    if (r.success) {
        must(r.error.len == 0 && !r.retryable && !r.capacity);
        wire_max_in_flight(&r);
        return;
    }
    wire_put_error(&text, &r);
    must(text.len > 0 && text.len <= 2 * (WIRE_ERROR_BYTES_MAX + 3) + 2);
    must(utf8_valid_prefix(buf_slice(&text)) == text.len);
    buf_free(&text);
}

/* Appends to `seen` all frames that there are, and how it ends. */
static void read_in_pieces(struct slice bytes, size_t piece, uint64_t limit, struct buf *seen)
{
    enum wire_next next = WIRE_MORE;
    struct wire_fault fault;
    struct wire_reader r;
    struct slice frame;

    wire_reader_init(&r, limit);
    while (bytes.len > 0 && next == WIRE_MORE) {
        size_t room, n = piece < bytes.len ? piece : bytes.len;
        char *at = wire_reader_room(&r, &room);

        must(at && room > 0);
        n = n < room ? n : room;
        memcpy(at, bytes.data, n);
        wire_reader_filled(&r, n);
        bytes = (struct slice){bytes.data + n, bytes.len - n};
        must(r.cap <= WIRE_READ_BYTES + 2 * r.end);
        while ((next = wire_reader_next(&r, &frame)) == WIRE_FRAME) {
            must(frame.len <= limit);
            buf_putc(seen, '[');
            buf_put_slice(seen, frame);
            check_frame(frame);
        }
    }
    buf_putc(seen, next == WIRE_TOO_LARGE ? '!' : '.');
    if (next == WIRE_TOO_LARGE) {
        wire_reader_fault(&r, &fault);
        must_be_shown(&fault);
    } else if (wire_reader_cut(&r, &fault)) {
        must_be_shown(&fault);
    }
    wire_reader_free(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole = {0}, cut = {0};
    struct slice bytes;
    uint64_t limit;

    if (size == 0)
        return 0;
    bytes = (struct slice){(const char *)data + 1, size - 1};
    limit = data[0] & 0x80 ? 64 : UINT64_C(64) << 20;
    read_in_pieces(bytes, size, limit, &whole);
    read_in_pieces(bytes, (data[0] & 0x7F) + 1u, limit, &cut);
    must(slice_equal(buf_slice(&whole), buf_slice(&cut)));
    buf_free(&whole);
    buf_free(&cut);
    /* And as a frame by itself, which the fuzzer finds more easily. */
    check_frame(bytes);
    return 0;
}
