/*
 * The two output lines; docs/output.md is the contract.
 */
#include "cli/output/render.h"

#include "base/json.h"
#include "cli/output/pace.h"

#include <inttypes.h>
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

/* Milliseconds with three digits behind the point: what a person reads, without a double's noise. */
static void put_ms(struct buf *out, duration_ns d)
{
    int64_t us = d > 0 ? d / NS_PER_US : 0;

    buf_printf(out, "%" PRId64, us / 1000);
    if (us % 1000)
        buf_printf(out, ".%03" PRId64, us % 1000);
}

static void put_time(struct buf *out, const struct render_options *how, const char *name,
                     struct instant t)
{
    char text[TIME_UTC_BYTES];
    int64_t wall = instant_is_none(t) || !how->wall_ns ? 0 : how->wall_ns(how->wall_ctx, t);

    buf_printf(out, ",\"%s\":", name);
    if (wall == 0) {
        buf_puts(out, "null");
        return;
    }
    time_format_utc(wall, text);
    buf_printf(out, "\"%s\"", text);
}

static void put_meta(struct buf *out, const struct render_options *how,
                     const struct core_task *task)
{
    buf_printf(out, ",\"meta\":{\"submit_index\":%" PRIu64 ",\"complete_index\":%" PRIu64,
               task->index, task->complete_index);
    put_time(out, how, "submit_time", task->submit_at);
    put_time(out, how, "start_time", task->start_at);
    put_time(out, how, "complete_time", task->complete_at);
    put_time(out, how, "deliver_time", task->deliver_at);
    buf_puts(out, ",\"buffer_wait_ms\":");
    if (instant_is_none(task->complete_at) || instant_is_none(task->deliver_at))
        buf_puts(out, "null");
    else
        put_ms(out, instant_diff(task->deliver_at, task->complete_at));
    buf_printf(out, ",\"attempts\":%" PRIu32 ",\"capacity_retries\":%" PRIu32 ",\"throttled_ms\":",
               task->attempts, task->capacity_retries);
    put_ms(out, task->throttled_ns);
    buf_printf(out, ",\"outcome\":\"%s\",\"reason\":", weir_outcome_name(task->answer.outcome));
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
    buf_printf(out, "{\"id\":\"%s\",\"custom_id\":", id);
    put_text(out, task->key);
    buf_puts(out, ",\"response\":");
    if (response) {
        buf_printf(out, "{\"status_code\":%d,\"request_id\":", answer->status);
        put_text(out, answer->request_id);
        buf_puts(out, ",\"body\":");
        put_body(out, answer);
        buf_putc(out, '}');
    } else {
        buf_puts(out, "null");
    }
    buf_puts(out, ",\"error\":");
    if (told)
        buf_puts(out, "null");
    else
        put_error(out, answer);
    if (indexed)
        buf_printf(out, ",\"index\":%" PRIu64, task->index);
}

static void put_plain(struct buf *out, const struct core_task *task)
{
    const struct core_answer *answer = &task->answer;

    buf_printf(out, "{\"index\":%" PRIu64 ",\"key\":", task->index);
    put_text(out, task->key);
    if (answer->status > 0)
        buf_printf(out, ",\"status\":%d,\"output\":", answer->status);
    else
        buf_puts(out, ",\"status\":null,\"output\":");
    put_body(out, answer);
    buf_puts(out, ",\"error\":");
    if (answer->outcome == WEIR_OUTCOME_OK)
        buf_puts(out, "null");
    else
        put_error(out, answer);
}

void render_result(const struct render_options *how, enum render_kind kind,
                   const struct core_task *task, struct buf *out)
{
    if (kind == RENDER_BATCH)
        put_batch(out, task, how->indexed);
    else
        put_plain(out, task);
    if (how->meta)
        put_meta(out, how, task);
    buf_puts(out, "}\n");
}
