/*
 * The two output lines; docs/output.md is the contract.
 */
#include "cli/output/render.h"

#include "base/json.h"
#include "cli/output/pace.h"

#include <string.h>

/* The finaliser of splitmix64 (Steele, Lea, Flood 2014): every bit of the input decides every bit of
 * the output. */
static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

void render_id(uint64_t hash_hi, uint64_t hash_lo, uint64_t index, char ret[RENDER_ID_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    uint64_t a = mix(hash_hi + mix(index + UINT64_C(0x9e3779b97f4a7c15)));
    uint64_t b = mix(hash_lo ^ mix(a));
    char *out = ret;

    memcpy(out, "batch_req_", 10);
    out += 10;
    for (int shift = 60; shift >= 0; shift -= 4)
        *out++ = digits[a >> shift & 15];
    for (int shift = 60; shift >= 32; shift -= 4)
        *out++ = digits[b >> shift & 15];
    *out = '\0';
}

bool render_has_response(const struct core_answer *answer)
{
    if (answer->status <= 0)
        return false;
    switch (answer->reason) {
    case WEIR_REASON_NONE:
    case WEIR_REASON_HTTP_STATUS:
        return true;
    case WEIR_REASON_CONNECTION_LOST:
    case WEIR_REASON_PROTOCOL:
    case WEIR_REASON_RESPONSE_TOO_LARGE:
    case WEIR_REASON_TIMEOUT:
        /* A status, but the connection broke off, or was broken off, in the middle of the body. */
        return false;
    default:
        return answer->output != NULL;
    }
}

static void put_text(struct buf *out, const char *text)
{
    if (text)
        json_put_string(out, slice_of(text));
    else
        buf_puts(out, "null");
}

/* Bytes of an answer: JSON as it is, on one line; anything else as a string. */
static void put_body(struct buf *out, const struct core_answer *answer)
{
    struct slice body = {answer->output, answer->output_len};

    if (!answer->output)
        buf_puts(out, "null");
    else if (body.len > 0 && json_check(body, NULL))
        json_put_oneline(out, json_trim(body));
    else
        json_put_string(out, body);
}

static void put_error(struct buf *out, const struct core_answer *answer)
{
    buf_puts(out, "{\"code\":");
    put_text(out, answer->reason == WEIR_REASON_NONE ? weir_outcome_name(answer->outcome)
                                                     : weir_reason_name(answer->reason));
    buf_puts(out, ",\"message\":");
    /* Those who read this form expect a text here, always. */
    put_text(out, answer->message ? answer->message : "");
    buf_putc(out, '}');
}

/* A literal; with its length known, unlike buf_puts. */
#define PUT(out, literal) buf_put(out, literal, sizeof(literal) - 1)

/* Milliseconds with three digits behind the point: what a person reads, without a double's noise. */
static void put_ms(struct buf *out, duration_ns d)
{
    uint64_t us = d > 0 ? (uint64_t)(d / NS_PER_US) : 0;
    unsigned rest = (unsigned)(us % 1000);
    const char point[] = {'.', (char)('0' + rest / 100), (char)('0' + rest / 10 % 10),
                          (char)('0' + rest % 10)};

    buf_put_u64(out, us / 1000);
    if (rest)
        buf_put(out, point, sizeof(point));
}

/* `name` as it stands in the line, with what is before and behind it. */
static void put_time(struct buf *out, const struct render_options *how, struct slice name,
                     struct instant t)
{
    char text[TIME_UTC_BYTES + 1];
    int64_t wall = instant_is_none(t) || !how->wall_ns ? 0 : how->wall_ns(how->wall_ctx, t);

    buf_put_slice(out, name);
    if (wall == 0) {
        PUT(out, "null");
        return;
    }
    text[0] = '"';
    time_format_utc(wall, text + 1);
    text[TIME_UTC_BYTES] = '"';
    buf_put(out, text, sizeof(text));
}

static void put_meta(struct buf *out, const struct render_options *how,
                     const struct core_task *task)
{
    PUT(out, ",\"meta\":{\"submit_index\":");
    buf_put_u64(out, task->index);
    PUT(out, ",\"complete_index\":");
    buf_put_u64(out, task->complete_index);
    put_time(out, how, SLICE(",\"submit_time\":"), task->submit_at);
    put_time(out, how, SLICE(",\"start_time\":"), task->start_at);
    put_time(out, how, SLICE(",\"complete_time\":"), task->complete_at);
    put_time(out, how, SLICE(",\"deliver_time\":"), task->deliver_at);
    PUT(out, ",\"buffer_wait_ms\":");
    if (instant_is_none(task->complete_at) || instant_is_none(task->deliver_at))
        PUT(out, "null");
    else
        put_ms(out, instant_diff(task->deliver_at, task->complete_at));
    PUT(out, ",\"attempts\":");
    buf_put_u64(out, task->attempts);
    PUT(out, ",\"capacity_retries\":");
    buf_put_u64(out, task->capacity_retries);
    PUT(out, ",\"throttled_ms\":");
    put_ms(out, task->throttled_ns);
    PUT(out, ",\"outcome\":");
    put_text(out, weir_outcome_name(task->answer.outcome));
    PUT(out, ",\"reason\":");
    put_text(out, task->answer.reason == WEIR_REASON_NONE ? NULL
                                                          : weir_reason_name(task->answer.reason));
    buf_puts(out, ",\"throttle\":");
    if (task->limit.mode < THROTTLE_MODES) {
        buf_putc(out, '{');
        pace_put_members(out, &task->limit);
        buf_puts(out, "}}");
    } else {
        buf_puts(out, "null}");
    }
}

static void put_batch(struct buf *out, const struct core_task *task, bool indexed)
{
    const struct core_answer *answer = &task->answer;
    char id[RENDER_ID_BYTES];
    bool response = render_has_response(answer);
    /* No error: an answer that speaks for itself, whatever its status. */
    bool told = answer->outcome == WEIR_OUTCOME_OK ||
                (response && answer->reason == WEIR_REASON_HTTP_STATUS);

    render_id(task->hash_hi, task->hash_lo, task->index, id);
    PUT(out, "{\"id\":\"");
    buf_put(out, id, sizeof(id) - 1);
    PUT(out, "\",\"custom_id\":");
    put_text(out, task->key);
    PUT(out, ",\"response\":");
    if (response) {
        PUT(out, "{\"status_code\":");
        buf_put_u64(out, (uint64_t)answer->status);
        PUT(out, ",\"request_id\":");
        put_text(out, answer->request_id);
        PUT(out, ",\"body\":");
        put_body(out, answer);
        buf_putc(out, '}');
    } else {
        PUT(out, "null");
    }
    PUT(out, ",\"error\":");
    if (told)
        PUT(out, "null");
    else
        put_error(out, answer);
    if (indexed) {
        PUT(out, ",\"index\":");
        buf_put_u64(out, task->index);
    }
}

/* An exit code: 0 is one, where the command has ended by itself. */
static void put_exit(struct buf *out, const struct core_answer *answer)
{
    if (answer->outcome == WEIR_OUTCOME_OK || answer->status != 0)
        buf_printf(out, "%d", answer->status);
    else
        PUT(out, "null");
}

/*
 * What a command wrote: an object or an array as it is, anything else as text. A command that
 * writes 1 and a line end has written a line, and no number.
 */
static void put_written(struct buf *out, const struct core_answer *answer)
{
    struct slice bytes = {answer->output, answer->output_len}, trimmed;

    if (bytes.len > 0 && json_check(bytes, NULL)) {
        trimmed = json_trim(bytes);
        if (json_kind(trimmed) == JSON_OBJECT || json_kind(trimmed) == JSON_ARRAY) {
            json_put_oneline(out, trimmed);
            return;
        }
    }
    if (answer->output)
        json_put_string(out, bytes);
    else
        PUT(out, "null");
}

static void put_plain(struct buf *out, const struct core_task *task, bool command)
{
    const struct core_answer *answer = &task->answer;

    PUT(out, "{\"index\":");
    buf_put_u64(out, task->index);
    PUT(out, ",\"key\":");
    put_text(out, task->key);
    PUT(out, ",\"status\":");
    if (command)
        put_exit(out, answer);
    else if (answer->status > 0)
        buf_put_u64(out, (uint64_t)answer->status);
    else
        PUT(out, "null");
    PUT(out, ",\"output\":");
    if (command)
        put_written(out, answer);
    else
        put_body(out, answer);
    PUT(out, ",\"error\":");
    if (answer->outcome == WEIR_OUTCOME_OK)
        PUT(out, "null");
    else
        put_error(out, answer);
    if (answer->errput_len > 0) {
        PUT(out, ",\"stderr\":");
        json_put_string(out, (struct slice){answer->errput, answer->errput_len});
    }
}

void render_result(const struct render_options *how, enum render_kind kind,
                   const struct core_task *task, struct buf *out)
{
    if (kind == RENDER_BATCH)
        put_batch(out, task, how->indexed);
    else
        put_plain(out, task, how->command);
    if (how->meta)
        put_meta(out, how, task);
    buf_puts(out, "}\n");
}
