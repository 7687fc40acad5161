/* See answer.h. */
#include "cli/mock/answer.h"

#include "base/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#define CHAT_PATH       "/v1/chat/completions"
#define CREATED         1700000000 /* always the same: an answer does not depend on when */
#define QUOTED_BYTES    60         /* of the question, in the reply */
#define BYTES_PER_TOKEN 4          /* the usual rule of thumb for English */
#define TOKENS_MESSAGE  4          /* what a message costs beside its text */

uint64_t mock_identity(const struct mock_call *call)
{
    uint64_t of_path = XXH3_64bits(call->path, strlen(call->path));

    return XXH3_64bits_withSeed(call->body.data, call->body.len, of_path);
}

void mock_request_id(uint64_t identity, char ret[MOCK_REQUEST_ID_BYTES])
{
    snprintf(ret, MOCK_REQUEST_ID_BYTES, "req_%016" PRIx64, identity);
}

static int64_t tokens_of(size_t bytes)
{
    return (int64_t)((bytes + BYTES_PER_TOKEN - 1) / BYTES_PER_TOKEN);
}

/* ---- chat completions ---- */

/* A message's text: its content, or the texts of the parts of its content. */
static void put_text(struct buf *out, struct slice message)
{
    struct slice content;
    struct slice key;
    struct slice part;
    struct slice text;
    struct json_iter it;

    if (!json_member(message, "content", &content))
        return;
    if (json_kind(content) == JSON_STRING)
        json_unquote(content, out);
    if (json_kind(content) != JSON_ARRAY)
        return;
    json_iter_init(&it, content);
    while (json_iter_next(&it, &key, &part)) {
        if (json_member(part, "text", &text) && json_kind(text) == JSON_STRING)
            json_unquote(text, out);
    }
}

/* The text of the last message of the user, or of the last one at all; and what all of them cost.
 * False: there is no message. */
static bool read_messages(struct slice request, struct buf *question, int64_t *ret_tokens)
{
    _cleanup_buf_ struct buf text = {0};
    struct slice messages;
    struct slice message;
    struct slice key;
    struct slice role;
    struct json_iter it;
    int64_t tokens = 0;
    bool by_user = false;

    if (!json_member(request, "messages", &messages) || json_kind(messages) != JSON_ARRAY)
        return false;
    json_iter_init(&it, messages);
    while (json_iter_next(&it, &key, &message)) {
        bool user = json_member(message, "role", &role) && json_kind(role) == JSON_STRING &&
                    json_string_equals(role, SLICE("user"));

        buf_clear(&text);
        put_text(&text, message);
        tokens += tokens_of(text.len) + TOKENS_MESSAGE;
        if (user || !by_user) {
            buf_clear(question);
            buf_put_slice(question, buf_slice(&text));
        }
        by_user = by_user || user;
        question->failed = question->failed || text.failed;
    }
    *ret_tokens = tokens;
    return tokens > 0;
}

/* `You said "Translate to French: The cat..." (117 bytes, 5f0c...).` */
static void put_reply(struct buf *out, struct slice question)
{
    struct slice quoted = question;
    uint64_t hash = XXH3_64bits(question.data, question.len);

    if (quoted.len > QUOTED_BYTES) {
        quoted.len = QUOTED_BYTES;
        quoted.len = utf8_valid_prefix(quoted);
    }
    buf_puts(out, "You said \"");
    buf_put_slice(out, quoted);
    buf_printf(out, "%s\" (%zu bytes, %016" PRIx64 ").", quoted.len < question.len ? "..." : "",
               question.len, hash);
}

static void put_completion(struct buf *out, const struct mock_call *call, struct slice question,
                           int64_t prompt_tokens, int64_t *ret_tokens)
{
    _cleanup_buf_ struct buf reply = {0};
    struct slice model;
    int64_t reply_tokens;

    put_reply(&reply, question);
    reply_tokens = tokens_of(reply.len);
    if (!json_member(call->body, "model", &model) || json_kind(model) != JSON_STRING)
        model = SLICE("\"mock\"");
    buf_printf(out,
               "{\"id\":\"chatcmpl-%016" PRIx64
               "\",\"object\":\"chat.completion\",\"created\":%d,\"model\":",
               mock_identity(call), CREATED);
    buf_put_slice(out, model);
    buf_puts(out, ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":");
    json_put_string(out, buf_slice(&reply));
    buf_printf(out,
               "},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":%" PRId64
               ",\"completion_tokens\":%" PRId64 ",\"total_tokens\":%" PRId64 "}}",
               prompt_tokens, reply_tokens, prompt_tokens + reply_tokens);
    out->failed = out->failed || reply.failed;
    *ret_tokens = prompt_tokens + reply_tokens;
}

static void make_completion(const struct mock_call *call, struct mock_reply *r)
{
    _cleanup_buf_ struct buf question = {0};
    int64_t prompt_tokens = 0;
    const char *wrong = NULL;

    if (!json_check(call->body, NULL))
        wrong = "the body is not JSON";
    else if (json_kind(json_trim(call->body)) != JSON_OBJECT)
        wrong = "the body is not an object";
    else if (!read_messages(json_trim(call->body), &question, &prompt_tokens))
        wrong = "\"messages\" is missing, not an array, or empty";
    if (wrong) {
        r->malformed = true;
        r->tokens = tokens_of(call->body.len);
        mock_error_put(&r->body, 400, wrong);
        return;
    }
    put_completion(&r->body, call, buf_slice(&question), prompt_tokens, &r->tokens);
    r->body.failed = r->body.failed || question.failed;
}

/* ---- everything else ---- */

static void make_echo(const struct mock_call *call, struct mock_reply *r)
{
    r->tokens = tokens_of(call->body.len);
    buf_puts(&r->body, "{\"method\":");
    json_put_string(&r->body, slice_of(call->method));
    buf_puts(&r->body, ",\"path\":");
    json_put_string(&r->body, slice_of(call->path));
    buf_puts(&r->body, ",\"body\":");
    if (call->body.len == 0)
        buf_puts(&r->body, "null");
    else if (json_check(call->body, NULL))
        buf_put_slice(&r->body, json_trim(call->body));
    else
        json_put_string(&r->body, call->body);
    buf_putc(&r->body, '}');
}

bool mock_reply_make(const struct mock_call *call, struct mock_reply *ret)
{
    *ret = (struct mock_reply){0};
    if (strcmp(call->method, "POST") == 0 && strcmp(call->path, CHAT_PATH) == 0)
        make_completion(call, ret);
    else
        make_echo(call, ret);
    return !ret->body.failed;
}

static const char *error_type(int status)
{
    switch (status) {
    case 429:
        return "rate_limit_error";
    case 503:
        return "service_unavailable";
    case 529:
        return "overloaded_error";
    default:
        return status < 500 ? "invalid_request_error" : "server_error";
    }
}

void mock_error_put(struct buf *out, int status, const char *message)
{
    buf_printf(out, "{\"error\":{\"type\":\"%s\",\"code\":%d,\"message\":", error_type(status),
               status);
    json_put_string(out, slice_of(message));
    buf_puts(out, "}}");
}

const char *mock_refusal_message(enum sim_limit limit)
{
    switch (limit) {
    case SIM_LIMIT_OUTAGE:
        return "the service is down";
    case SIM_LIMIT_QUEUE:
        return "too many requests are waiting";
    case SIM_LIMIT_CONCURRENCY:
        return "too many requests at the same time";
    case SIM_LIMIT_RATE:
        return "too many requests per second";
    case SIM_LIMIT_REQUESTS:
        return "too many requests per minute";
    case SIM_LIMIT_TOKENS:
        return "too many tokens per minute";
    case SIM_LIMIT_NONE:
    case SIM_LIMIT_COUNT:
        break;
    }
    return "refused";
}

void mock_duration_text(duration_ns d, char ret[MOCK_DURATION_BYTES])
{
    int64_t ms = d <= 0 ? 0 : (d - 1) / NS_PER_MS + 1;
    int64_t minutes = ms / 60000;
    char seconds[MOCK_DURATION_BYTES / 2];

    snprintf(seconds, sizeof seconds, "%d.%03d", (int)(ms % 60000 / 1000), (int)(ms % 1000));
    for (size_t end = strlen(seconds) - 1; seconds[end] == '0' || seconds[end] == '.'; end--) {
        bool point = seconds[end] == '.';

        seconds[end] = '\0';
        if (point)
            break;
    }
    if (ms < 1000)
        snprintf(ret, MOCK_DURATION_BYTES, "%dms", (int)ms);
    else if (minutes == 0)
        snprintf(ret, MOCK_DURATION_BYTES, "%ss", seconds);
    else
        snprintf(ret, MOCK_DURATION_BYTES, "%" PRId64 "m%ss", minutes, seconds);
}

/* ---- /stats ---- */

/* A number, or null when there is none to give. */
static void put_number(struct buf *out, const char *name, double value, bool known)
{
    if (known && isfinite(value))
        buf_printf(out, "\"%s\":%.10g", name, value);
    else
        buf_printf(out, "\"%s\":null", name);
}

static void put_refused(struct buf *out, const struct sim_stats *s)
{
    const char *comma = "";

    buf_printf(out, "\"refused\":{\"total\":%" PRIu64 ",\"by_status\":{", s->refused);
    for (int i = 0; i < SIM_STATUS_COUNT; i++) {
        if (s->refused_by_status[i] == 0)
            continue;
        buf_printf(out, "%s\"%d\":%" PRIu64, comma, SIM_STATUS_MIN + i, s->refused_by_status[i]);
        comma = ",";
    }
    buf_puts(out, "},\"by_limit\":{");
    for (int i = SIM_LIMIT_NONE + 1; i < SIM_LIMIT_COUNT; i++)
        buf_printf(out, "%s\"%s\":%" PRIu64, i == SIM_LIMIT_NONE + 1 ? "" : ",",
                   sim_limit_name((enum sim_limit)i), s->refused_by_limit[i]);
    buf_puts(out, "}},");
}

static void put_shares(struct buf *out, const struct sim_stats *s)
{
    bool offered = !s->unlimited && s->offered_in_use > 0;

    buf_puts(out, "\"share\":{");
    put_number(out, "accepted_of_offered", offered ? (double)s->accepted / s->offered_in_use : 0,
               offered);
    buf_putc(out, ',');
    put_number(out, "refused_of_seen", s->seen > 0 ? (double)s->refused / (double)s->seen : 0,
               s->seen > 0);
    buf_puts(out, "},");
}

void mock_stats_put(struct buf *out, const struct sim_stats *s,
                    const struct mock_counters *counters)
{
    const struct mock_keys *keys = &counters->keys;

    buf_putc(out, '{');
    put_number(out, "seconds", duration_seconds(s->elapsed_ns), true);
    buf_puts(out, ",\"offered\":{");
    put_number(out, "since_start", s->offered, !s->unlimited);
    buf_putc(out, ',');
    put_number(out, "while_used", s->offered_in_use, !s->unlimited);
    buf_printf(out,
               "},\"requests\":{\"seen\":%" PRIu64 ",\"too_large\":%" PRIu64
               ",\"malformed\":%" PRIu64 "},\"accepted\":%" PRIu64 ",\"tokens\":%" PRIu64 ",",
               s->seen, counters->too_large, counters->malformed, s->accepted, s->tokens);
    put_refused(out, s);
    put_shares(out, s);
    buf_puts(out, "\"faults\":{");
    for (int f = SIM_FAULT_NONE + 1; f < SIM_FAULT_COUNT; f++)
        buf_printf(out, "%s\"%s\":%" PRIu64, f == SIM_FAULT_NONE + 1 ? "" : ",",
                   sim_fault_name((enum sim_fault)f), s->faults[f]);
    buf_printf(out,
               "},\"in_service\":{\"now\":%" PRId64 ",\"peak\":%" PRId64 ",\"abandoned\":%" PRIu64
               "},",
               s->in_service, s->in_service_peak, s->abandoned);
    buf_printf(out,
               "\"idempotency_keys\":{\"given\":%" PRIu64 ",\"distinct\":%" PRIu64
               ",\"repeated\":%" PRIu64 ",\"untracked\":%" PRIu64 "},\"level\":{",
               keys->given, keys->distinct, keys->repeated, keys->untracked);
    put_number(out, "rate", s->rate_rps, s->rate_rps > 0);
    buf_putc(out, ',');
    put_number(out, "concurrency", (double)s->concurrency, s->concurrency > 0);
    buf_printf(out, ",\"phase\":%" PRIu64 ",\"outage\":%s}}", s->phase,
               s->outage ? "true" : "false");
}
