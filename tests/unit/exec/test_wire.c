/*
 * The workers' protocol as bytes: what goes out is as the contract says and passes args on
 * untouched, what comes in is read whatever way it is cut up, and what is wrong is named with its
 * first bytes.
 */
#include "base/json.h"
#include "base/mem.h"
#include "exec/process/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static void assert_slice(struct slice s, const char *text)
{
    if (!slice_equal(s, slice_of(text)))
        fail_msg("\"%.*s\" is not \"%s\"", (int)s.len, s.data, text);
}

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" does not say \"%s\"", text, part);
}

/* ---- requests ---- */

static uint64_t length_of(const struct buf *frame)
{
    const unsigned char *p = (const unsigned char *)frame->data;

    return (uint64_t)p[0] << 24 | (uint64_t)p[1] << 16 | (uint64_t)p[2] << 8 | p[3];
}

static void assert_member(const struct buf *frame, const char *name, const char *value)
{
    struct slice json = {frame->data + 4, frame->len - 4}, found;

    assert_true(json_check(json, NULL));
    if (!value) {
        assert_false(json_member(json, name, &found));
        return;
    }
    assert_true(json_member(json, name, &found));
    assert_slice(found, value);
}

static void a_request_says_all_that_was_asked(void **state)
{
    struct wire_request r = {.id = 7,
                             .command = SLICE("pre\"dict"),
                             .args = SLICE("{\"x\": 1.0,\n \"y\": 1e400}"),
                             .session = SLICE("caf\xC3\xA9\n"),
                             .session_lost = true,
                             .timestamp = "2026-01-31T12:00:00.000Z"};
    _cleanup_buf_ struct buf out = {0};
    uint64_t size = wire_put_request(&out, &r);

    (void)state;
    assert_int_equal(size, out.len - 4);
    assert_int_equal(length_of(&out), size);
    assert_member(&out, "id", "7");
    assert_member(&out, "command", "\"pre\\\"dict\"");
    assert_member(&out, "args", "{\"x\": 1.0,\n \"y\": 1e400}"); /* untouched */
    assert_member(&out, "session", "\"caf\xC3\xA9\\n\"");
    assert_member(&out, "session_lost", "true");
    assert_member(&out, "timestamp", "\"2026-01-31T12:00:00.000Z\"");
}

static void a_request_leaves_out_what_there_is_not(void **state)
{
    struct wire_request r = {.id = UINT64_MAX, .command = SLICE("ping")};
    _cleanup_buf_ struct buf out = {0};

    (void)state;
    wire_put_request(&out, &r);
    assert_member(&out, "id", "18446744073709551615");
    assert_member(&out, "args", "null");
    assert_member(&out, "session", NULL);
    assert_member(&out, "session_lost", NULL);
    assert_member(&out, "timestamp", NULL);
}

/* Several in one buffer, and the large ones in three parts. */
static void a_head_with_args_and_tail_is_the_request(void **state)
{
    struct wire_request r = {.id = 1, .command = SLICE("c"), .args = SLICE("[1,2]")};
    _cleanup_buf_ struct buf whole = {0}, parts = {0};
    uint64_t size;

    (void)state;
    buf_puts(&whole, "before");
    buf_puts(&parts, "before");
    size = wire_put_request(&whole, &r);
    assert_int_equal(wire_put_head(&parts, &r), size);
    buf_put_slice(&parts, wire_args(&r));
    buf_put_slice(&parts, WIRE_TAIL);
    assert_true(slice_equal(buf_slice(&whole), buf_slice(&parts)));
}

/* The args are not looked at, so that a size that no frame can have needs no such memory here. */
static void a_size_that_no_length_can_say_is_told(void **state)
{
    struct wire_request r = {.id = 1, .command = SLICE("c"), .args = {"1", (size_t)5 << 30}};
    _cleanup_buf_ struct buf out = {0};

    (void)state;
    assert_true(wire_put_head(&out, &r) > WIRE_FRAME_BYTES_MAX);
}

static void a_request_without_memory_says_so(void **state)
{
    struct wire_request r = {.id = 1, .command = SLICE("c")};

    (void)state;
    for (unsigned long n = 1;; n++) {
        _cleanup_buf_ struct buf out = {0};
        bool failed;

        mem_fail_at(n);
        wire_put_request(&out, &r);
        failed = mem_has_failed() != 0;
        mem_fail_at(0);
        assert_int_equal(out.failed, failed);
        if (!failed)
            break;
        assert_true(n < 100);
    }
}

/* ---- frames ---- */

static void put_frame(struct buf *out, struct slice bytes)
{
    unsigned char length[4] = {(unsigned char)(bytes.len >> 24), (unsigned char)(bytes.len >> 16),
                               (unsigned char)(bytes.len >> 8), (unsigned char)bytes.len};

    buf_put(out, length, 4);
    buf_put_slice(out, bytes);
}

/* Reads all of `bytes` in pieces of at most `piece`; appends what the frames hold, each in brackets. */
static enum wire_next read_all(struct wire_reader *r, struct slice bytes, size_t piece,
                               struct buf *out)
{
    enum wire_next next = WIRE_MORE;

    while (bytes.len > 0 && next == WIRE_MORE) {
        struct slice frame;
        size_t room, n = piece < bytes.len ? piece : bytes.len;
        char *at = wire_reader_room(r, &room);

        assert_non_null(at);
        assert_true(room > 0);
        if (n > room)
            n = room;
        memcpy(at, bytes.data, n);
        wire_reader_filled(r, n);
        bytes = (struct slice){bytes.data + n, bytes.len - n};
        while ((next = wire_reader_next(r, &frame)) == WIRE_FRAME) {
            buf_putc(out, '[');
            buf_put_slice(out, frame);
            buf_putc(out, ']');
        }
    }
    return next;
}

static void frames_are_read_however_they_are_cut(void **state)
{
    _cleanup_buf_ struct buf bytes = {0}, expected = {0}, large = {0};

    (void)state;
    for (size_t i = 0; i < 3 * WIRE_READ_BYTES; i++)
        buf_putc(&large, (char)('a' + i % 26));
    for (int round = 0; round < 3; round++) {
        struct slice frames[] = {SLICE("one"), SLICE(""), SLICE("[\n]"), buf_slice(&large)};

        for (size_t i = 0; i < COUNT(frames); i++) {
            put_frame(&bytes, frames[i]);
            buf_putc(&expected, '[');
            buf_put_slice(&expected, frames[i]);
            buf_putc(&expected, ']');
        }
    }
    for (size_t piece = 1; piece <= bytes.len; piece = piece < 9 ? piece + 1 : piece * 3) {
        _cleanup_buf_ struct buf out = {0};
        struct wire_reader r;

        wire_reader_init(&r, large.len);
        assert_int_equal(read_all(&r, buf_slice(&bytes), piece, &out), WIRE_MORE);
        assert_true(slice_equal(buf_slice(&out), buf_slice(&expected)));
        assert_int_equal(wire_reader_rest(&r).len, 0);
        wire_reader_free(&r);
    }
}

static void a_length_over_the_limit_is_refused_at_once(void **state)
{
    _cleanup_buf_ struct buf out = {0}, text = {0};
    struct wire_fault fault;
    struct wire_reader r;

    (void)state;
    wire_reader_init(&r, 1000);
    assert_int_equal(read_all(&r, SLICE("\0\0\0\2{}\xFF\xFF\xFF\xFF{"), 100, &out), WIRE_TOO_LARGE);
    assert_slice(buf_slice(&out), "[{}]"); /* what came before counts */
    assert_int_equal(r.cap, WIRE_READ_BYTES);
    assert_int_equal(wire_reader_claim(&r), UINT32_MAX);
    wire_reader_fault(&r, &fault);
    assert_int_equal(fault.kind, WIRE_FAULT_LENGTH);
    wire_put_fault(&text, &fault);
    assert_string_equal(text.data,
                        "it began a frame of 4294967295 bytes, over the limit of 1000; its first "
                        "bytes were \"\\xff\\xff\\xff\\xff{\": raise the limit on frames, or have "
                        "it answer in less");
    wire_reader_free(&r);

    wire_reader_init(&r, 1000);
    buf_clear(&out);
    assert_int_equal(read_all(&r, SLICE("\0\0\3\xE8"), 1, &out), WIRE_MORE); /* 1,000 is not over */
    wire_reader_free(&r);
}

/* A worker that claims much and sends little costs little. */
static void memory_grows_only_with_what_comes(void **state)
{
    _cleanup_buf_ struct buf out = {0}, bytes = {0};
    struct wire_reader r;
    size_t room;

    (void)state;
    wire_reader_init(&r, UINT32_C(1) << 30);
    buf_put(&bytes, "\x30\0\0\0", 4);
    assert_int_equal(read_all(&r, buf_slice(&bytes), 4, &out), WIRE_MORE);
    assert_non_null(wire_reader_room(&r, &room));
    assert_int_equal(r.cap, WIRE_READ_BYTES);
    for (size_t i = 0; i < WIRE_READ_BYTES; i++)
        buf_putc(&bytes, 'x');
    bytes.data[3] = 1; /* any byte */
    read_all(&r, (struct slice){bytes.data + 4, bytes.len - 4}, 1000, &out);
    assert_true(r.cap <= 4 * (size_t)WIRE_READ_BYTES);
    wire_reader_free(&r);

    /* Never over the frame. */
    wire_reader_init(&r, 10 * WIRE_READ_BYTES);
    buf_clear(&bytes);
    buf_put(&bytes, "\0\2\0\1", 4);
    for (size_t i = 0; i < WIRE_READ_BYTES; i++)
        buf_putc(&bytes, 'x');
    read_all(&r, buf_slice(&bytes), bytes.len, &out);
    assert_non_null(wire_reader_room(&r, &room));
    assert_int_equal(r.cap, WIRE_READ_BYTES + 1 + 4);
    wire_reader_free(&r);
}

static void memory_goes_from_reader_to_reader(void **state)
{
    _cleanup_buf_ struct buf out = {0};
    struct wire_reader a, b;
    size_t cap = 0, room;
    char *data;

    (void)state;
    wire_reader_init(&a, 1000);
    wire_reader_init(&b, 1000);
    assert_null(wire_reader_take(&a, &cap));
    read_all(&a, SLICE("\0\0\0\2{}\0"), 100, &out);
    assert_null(wire_reader_take(&a, &cap)); /* a byte of the next frame is in hand */
    read_all(&a, SLICE("\0\0\0"), 100, &out);
    data = wire_reader_take(&a, &cap);
    assert_non_null(data);
    assert_int_equal(cap, WIRE_READ_BYTES);
    wire_reader_give(&b, data, cap);
    assert_ptr_equal(wire_reader_room(&b, &room), data);
    assert_int_equal(room, cap);
    wire_reader_free(&a);
    wire_reader_free(&b);
}

static void a_reader_without_memory_loses_nothing(void **state)
{
    _cleanup_buf_ struct buf out = {0};
    struct wire_reader r;
    size_t room;

    (void)state;
    wire_reader_init(&r, 1000);
    mem_fail_at(1);
    assert_null(wire_reader_room(&r, &room));
    mem_fail_at(0);
    assert_int_equal(read_all(&r, SLICE("\0\0\0\2{}"), 1, &out), WIRE_MORE);
    assert_slice(buf_slice(&out), "[{}]");
    wire_reader_free(&r);
}

static void a_frame_cut_short_is_named(void **state)
{
    static const struct {
        struct slice bytes;
        const char *says;
    } cases[] = {
        {SLICE("\0\0\0\x10{\"id\":"), "its output ended after 6 of the 16 bytes of a frame; the "
                                      "first bytes were \"\\x00\\x00\\x00\\x10{\\\"id\\\":\""},
        {SLICE("\0\0"), "its output ended inside the length of a frame; the first bytes were "
                        "\"\\x00\\x00\""},
        {SLICE("ok"), "something in it printed to standard output"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        _cleanup_buf_ struct buf out = {0}, text = {0};
        struct wire_fault fault;
        struct wire_reader r;

        wire_reader_init(&r, 1000);
        assert_false(wire_reader_cut(&r, &fault));
        read_all(&r, cases[i].bytes, 100, &out);
        assert_true(wire_reader_cut(&r, &fault));
        wire_put_fault(&text, &fault);
        assert_has(text.data, cases[i].says);
        wire_reader_free(&r);
    }
}

/* ---- responses ---- */

static struct wire_response parse(const char *json)
{
    struct wire_response r;
    struct wire_fault fault;

    if (!wire_parse(slice_of(json), &r, &fault))
        fail_msg("%s: fault %d", json, (int)fault.kind);
    return r;
}

static void a_success_gives_its_result_as_it_is(void **state)
{
    struct wire_response r =
        parse(" {\"id\": 7, \"success\": true, \"result\": {\"x\" : 1.0}, \"timestamp\": \"t\"}\n");

    (void)state;
    assert_int_equal(r.id, 7);
    assert_true(r.success);
    assert_slice(r.result, "{\"x\" : 1.0}");
    r = parse("{\"success\":true,\"id\":9223372036854775807}");
    assert_true(r.id == INT64_MAX);
    assert_int_equal(r.result.len, 0);
    r = parse("{\"id\":1,\"success\":true,\"result\":null,\"error\":null}");
    assert_true(r.success);
    assert_slice(r.result, "null");
}

static void an_error_comes_in_two_forms(void **state)
{
    struct wire_response r = parse("{\"id\":1,\"success\":false,\"error\":\"it \\u00e9 broke\"}");
    _cleanup_buf_ struct buf text = {0};

    (void)state;
    assert_false(r.success);
    assert_false(r.retryable);
    assert_false(r.capacity);
    assert_int_equal(r.retry_after_ns, -1);
    wire_put_error(&text, &r);
    assert_slice(buf_slice(&text), "it \xC3\xA9 broke");

    r = parse("{\"id\":1,\"success\":false,\"error\":{\"type\":\"Busy\",\"message\":\"no room\","
              "\"retryable\":true,\"capacity\":true,\"retry_after\":1.5}}");
    assert_true(r.retryable);
    assert_true(r.capacity);
    assert_int_equal(r.retry_after_ns, 1500 * NS_PER_MS);
    buf_clear(&text);
    wire_put_error(&text, &r);
    assert_slice(buf_slice(&text), "Busy: no room");
}

static void an_error_of_another_form_is_passed_on(void **state)
{
    static const char *const cases[][2] = {
        {"{\"id\":1,\"success\":false}", "the worker reported an error, and gave no reason"},
        {"{\"id\":1,\"success\":false,\"error\":null}",
         "the worker reported an error, and gave no reason"},
        {"{\"id\":1,\"error\":\"e\"}", "e"},
        {"{\"id\":1,\"success\":false,\"error\":[1, 2]}", "[1, 2]"},
        {"{\"id\":1,\"success\":false,\"error\":{\"code\":3}}", "{\"code\":3}"},
        {"{\"id\":1,\"success\":false,\"error\":{\"type\":\"T\"}}", "T"},
        {"{\"id\":1,\"success\":false,\"error\":{\"type\":1,\"message\":\"m\"}}", "m"},
        {"{\"id\":1,\"success\":false,\"error\":\"\"}", "\"\""},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct wire_response r = parse(cases[i][0]);
        _cleanup_buf_ struct buf text = {0};

        assert_false(r.success);
        wire_put_error(&text, &r);
        assert_slice(buf_slice(&text), cases[i][1]);
    }
}

static void a_long_error_is_cut_between_characters(void **state)
{
    static const char *const units[] = {"x", "\xC3\xA9", "\xE2\x82\xAC", "\\n", "\\u00e9", "\\\\"};

    (void)state;
    for (size_t i = 0; i < COUNT(units); i++) {
        _cleanup_buf_ struct buf json = {0}, text = {0};
        struct wire_response r;

        buf_puts(&json, "{\"id\":1,\"success\":false,\"error\":\"");
        for (int n = 0; n < 5000; n++)
            buf_puts(&json, units[i]);
        buf_puts(&json, "\"}");
        r = parse(json.data);
        wire_put_error(&text, &r);
        assert_true(text.len <= WIRE_ERROR_BYTES_MAX + 3);
        assert_true(text.len >= WIRE_ERROR_BYTES_MAX / 6);
        assert_int_equal(utf8_valid_prefix(buf_slice(&text)), text.len);
        assert_has(text.data, "...");
    }
}

static void an_advice_to_wait_must_make_sense(void **state)
{
    static const struct {
        const char *value;
        duration_ns wait_ns;
    } cases[] = {
        {"0", 0},      {"3", 3 * NS_PER_S},         {"-1", -1},
        {"\"3\"", -1}, {"1e300", WIRE_WAIT_NS_MAX}, {"null", -1},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char json[200];
        struct wire_response r;

        snprintf(json, sizeof json,
                 "{\"id\":1,\"success\":false,\"error\":{\"capacity\":true,\"retry_after\":%s}}",
                 cases[i].value);
        r = parse(json);
        assert_true(r.capacity);
        assert_true(r.retry_after_ns == cases[i].wait_ns);
    }
}

static void what_is_no_response_is_named_with_its_first_bytes(void **state)
{
    static const struct {
        struct slice frame;
        enum wire_fault_kind kind;
        const char *says;
    } cases[] = {
        {SLICE(""), WIRE_FAULT_JSON, "its frame of 0 bytes is not JSON: the text is empty"},
        {SLICE("{\"id\":1,}"), WIRE_FAULT_JSON,
         "its frame of 9 bytes is not JSON: a member's name is missing, at byte 8; the first bytes "
         "were \"{\\\"id\\\":1,}\""},
        {SLICE("\xFF"), WIRE_FAULT_JSON, "\"\\xff\""},
        {SLICE("[1]"), WIRE_FAULT_OBJECT,
         "its frame of 3 bytes is JSON, but not an object; the first bytes were \"[1]\""},
        {SLICE("{\"success\":true}"), WIRE_FAULT_ID, "no \"id\""},
        {SLICE("{\"id\":\"1\",\"success\":true}"), WIRE_FAULT_ID, "no \"id\""},
        {SLICE("{\"id\":0,\"success\":true}"), WIRE_FAULT_ID, "no \"id\""},
        {SLICE("{\"id\":-1,\"success\":true}"), WIRE_FAULT_ID, "no \"id\""},
        {SLICE("{\"id\":1.5,\"success\":true}"), WIRE_FAULT_ID, "no \"id\""},
        {SLICE("{\"id\":9223372036854775808,\"success\":true}"), WIRE_FAULT_ID, "no \"id\""},
        {SLICE("{\"id\":1}"), WIRE_FAULT_SUCCESS, "neither success nor error"},
        {SLICE("{\"id\":1,\"result\":2}"), WIRE_FAULT_SUCCESS, "neither success nor error"},
        {SLICE("{\"id\":1,\"success\":1}"), WIRE_FAULT_SUCCESS, "neither success nor error"},
        {SLICE("{\"id\":1,\"success\":null,\"error\":\"e\"}"), WIRE_FAULT_SUCCESS, "\"success\""},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        _cleanup_buf_ struct buf text = {0};
        struct wire_response r;
        struct wire_fault fault;

        assert_false(wire_parse(cases[i].frame, &r, &fault));
        assert_int_equal(fault.kind, cases[i].kind);
        wire_put_fault(&text, &fault);
        assert_has(text.data, cases[i].says);
    }
}

static void a_stray_print_is_told_from_a_frame(void **state)
{
    static const struct {
        struct slice bytes;
        const char *says;
    } cases[] = {
        {SLICE("Loading model...\n"),
         "it wrote what is not a frame; its first bytes were \"Loading model...\\n\": something in "
         "it printed to standard output, which belongs to the protocol; print to standard error "
         "instead"},
        {SLICE("\n\n\n\n\t\"\\"), "\"\\n\\n\\n\\n\\t\\\"\\\\\": something in it printed"},
        {SLICE("\xE2\x9C\x94 done"), "something in it printed"},
        {SLICE("\x7F\0\0\0"), "it began a frame of 2130706432 bytes"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        _cleanup_buf_ struct buf out = {0}, text = {0};
        struct wire_fault fault;
        struct wire_reader r;

        wire_reader_init(&r, 64 << 20);
        assert_int_equal(read_all(&r, cases[i].bytes, 100, &out), WIRE_TOO_LARGE);
        wire_reader_fault(&r, &fault);
        wire_put_fault(&text, &fault);
        assert_has(text.data, cases[i].says);
        wire_reader_free(&r);
    }
}

static void what_is_shown_is_short_and_printable(void **state)
{
    char bytes[256];
    _cleanup_buf_ struct buf text = {0};

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(255 - i);
    wire_put_shown(&text, (struct slice){bytes, sizeof bytes});
    assert_int_equal(text.len, 2 + 4 * WIRE_SHOWN_BYTES + 3);
    for (size_t i = 0; i < text.len; i++)
        assert_true(text.data[i] >= 0x20 && text.data[i] < 0x7F);
    assert_has(text.data, "\"...");
}

static void a_ping_may_say_how_many_requests_it_takes(void **state)
{
    static const struct {
        const char *json;
        uint32_t n;
    } cases[] = {
        {"{\"id\":1,\"success\":true,\"result\":{\"max_in_flight\":16}}", 16},
        {"{\"id\":1,\"success\":true,\"result\":{\"max_in_flight\":1e12}}", UINT32_MAX},
        {"{\"id\":1,\"success\":true,\"result\":{\"max_in_flight\":0}}", 0},
        {"{\"id\":1,\"success\":true,\"result\":{\"max_in_flight\":\"16\"}}", 0},
        {"{\"id\":1,\"success\":true,\"result\":\"pong\"}", 0},
        {"{\"id\":1,\"success\":true}", 0},
        {"{\"id\":1,\"success\":false,\"error\":{\"max_in_flight\":16}}", 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct wire_response r = parse(cases[i].json);

        assert_int_equal(wire_max_in_flight(&r), cases[i].n);
    }
}

/* ---- heartbeats, and what belongs to an attempt ---- */

static void a_heartbeat_is_told_from_a_response(void **state)
{
    static const struct {
        const char *json;
        uint64_t id;
        double progress;
        const char *text;
    } cases[] = {
        {"{\"heartbeat\":{\"id\":7,\"progress\":0.25,\"text\":\"a\"}}", 7, 0.25, "\"a\""},
        {" {\"x\" : 1, \"heartbeat\" : {\"id\":9007199254740991} } ", 9007199254740991, -1, ""},
        {"{\"heart\\u0062eat\":{\"id\":1,\"progress\":1}}", 1, 1, ""},
        {"{\"heartbeat\":{\"id\":1,\"progress\":0}}", 1, 0, ""},
        {"{\"heartbeat\":{\"id\":1,\"progress\":-0.5,\"text\":null}}", 1, -1, ""},
        {"{\"heartbeat\":{\"id\":1,\"progress\":1.001}}", 1, -1, ""},
        {"{\"heartbeat\":{\"id\":1,\"progress\":1e400}}", 1, -1, ""},
        {"{\"heartbeat\":{\"id\":1,\"progress\":\"0.5\"}}", 1, -1, ""},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct wire_response r = parse(cases[i].json);

        assert_true(r.heartbeat);
        assert_int_equal(r.id, cases[i].id);
        assert_true(r.progress == cases[i].progress);
        assert_slice(r.text, cases[i].text);
    }
    /* With an id of its own it is a response, with a member that nobody knows. */
    assert_false(parse("{\"id\":1,\"success\":true,\"heartbeat\":{\"id\":2}}").heartbeat);
}

static void what_is_no_heartbeat_is_named(void **state)
{
    static const char *const cases[] = {
        "{\"heartbeat\":true}",
        "{\"heartbeat\":[1]}",
        "{\"heartbeat\":{}}",
        "{\"heartbeat\":{\"id\":0}}",
        "{\"heartbeat\":{\"id\":\"1\"}}",
        "{\"success\":true,\"heartbeat\":{\"id\":1.5}}",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        _cleanup_buf_ struct buf text = {0};
        struct wire_response r;
        struct wire_fault fault;

        assert_false(wire_parse(slice_of(cases[i]), &r, &fault));
        assert_int_equal(fault.kind, WIRE_FAULT_HEARTBEAT);
        wire_put_fault(&text, &fault);
        buf_putc(&text, '\0');
        assert_has(text.data, "its heartbeat has no \"id\"");
        assert_has(text.data, "heartbeat");
    }
}

static void a_heartbeats_text_becomes_one_short_line(void **state)
{
    struct wire_response r = {.text = SLICE("\"a\\r\\nb\\u0000\\u00fc\"")};
    _cleanup_buf_ struct buf text = {0}, none = {0};

    (void)state;
    wire_put_heartbeat_text(&text, &r);
    assert_slice(buf_slice(&text), "a  b \xC3\xBC");
    r.text = SLICE("\"\"");
    wire_put_heartbeat_text(&none, &r);
    assert_int_equal(none.len, 0);
}

static void a_request_says_what_belongs_to_its_attempt(void **state)
{
    static const char *const env[] = {"A=1", "no value", "B=x=\"y\"", "EMPTY=", NULL},
                             *const none[] = {NULL}, *const bare[] = {"bare", NULL};
    struct wire_request r = {.id = 7, .command = SLICE("c"), .args = SLICE("1"), .env = env};
    _cleanup_buf_ struct buf with = {0}, empty = {0}, only_bare = {0};

    (void)state;
    wire_put_request(&with, &r);
    assert_member(&with, "env", "{\"A\":\"1\",\"B\":\"x=\\\"y\\\"\",\"EMPTY\":\"\"}");
    assert_member(&with, "args", "1");
    r.env = none;
    wire_put_request(&empty, &r);
    assert_member(&empty, "env", NULL);
    r.env = bare;
    wire_put_request(&only_bare, &r);
    assert_member(&only_bare, "env", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_says_all_that_was_asked),
        cmocka_unit_test(a_request_leaves_out_what_there_is_not),
        cmocka_unit_test(a_head_with_args_and_tail_is_the_request),
        cmocka_unit_test(a_size_that_no_length_can_say_is_told),
        cmocka_unit_test(a_request_without_memory_says_so),
        cmocka_unit_test(frames_are_read_however_they_are_cut),
        cmocka_unit_test(a_length_over_the_limit_is_refused_at_once),
        cmocka_unit_test(memory_grows_only_with_what_comes),
        cmocka_unit_test(memory_goes_from_reader_to_reader),
        cmocka_unit_test(a_reader_without_memory_loses_nothing),
        cmocka_unit_test(a_frame_cut_short_is_named),
        cmocka_unit_test(a_success_gives_its_result_as_it_is),
        cmocka_unit_test(an_error_comes_in_two_forms),
        cmocka_unit_test(an_error_of_another_form_is_passed_on),
        cmocka_unit_test(a_long_error_is_cut_between_characters),
        cmocka_unit_test(an_advice_to_wait_must_make_sense),
        cmocka_unit_test(what_is_no_response_is_named_with_its_first_bytes),
        cmocka_unit_test(a_stray_print_is_told_from_a_frame),
        cmocka_unit_test(what_is_shown_is_short_and_printable),
        cmocka_unit_test(a_ping_may_say_how_many_requests_it_takes),
        cmocka_unit_test(a_heartbeat_is_told_from_a_response),
        cmocka_unit_test(what_is_no_heartbeat_is_named),
        cmocka_unit_test(a_heartbeats_text_becomes_one_short_line),
        cmocka_unit_test(a_request_says_what_belongs_to_its_attempt),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
