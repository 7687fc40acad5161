/*
 * The http executor (http.h): joins the slots (slot.h), the sockets (sockets.h) and the engine.
 *
 * Order within a turn: start() prepares a slot and gives its handle to curl, kick() lets curl begin
 * all of them; each later call into curl may end some, and all that it ended are reported at once,
 * as one chain. curl is called by nobody else: handles are added and removed only outside of its
 * callbacks, which touch nothing but their slot.
 *
 * Life: http_executor_new -> start... -> (all reported) -> close -> the loop closes the polls and
 * the timer -> freed by the last of them.
 */
#include "exec/http/http.h"

#include "base/error.h"
#include "base/mem.h"
#include "exec/http/slot.h"
#include "exec/http/sockets.h"
#include "loop/loop.h"

#include <assert.h>
#include <string.h>

struct http_executor {
    struct core_executor base;
    struct core_executor_host *host;
    int64_t (*unix_seconds)(void);
    CURLM *multi;
    struct http_shared shared;
    struct http_sockets sockets;
    struct http_slot *free; /* last used first: its memory and its connection are warm */
    struct http_slot *made; /* all, through next_made */
    struct http_counters counters;
};

static struct http_executor *of(const struct core_executor *ex)
{
    return (struct http_executor *)(uintptr_t)ex;
}

static int64_t system_unix_seconds(void)
{
    return loop_wall_clock_ns() / NS_PER_S;
}

static struct http_slot *take_slot(struct http_executor *ex)
{
    struct http_slot *slot = ex->free;

    if (slot) {
        ex->free = slot->next_free;
        return slot;
    }
    slot = http_slot_new(&ex->shared);
    if (!slot)
        return NULL;
    slot->next_made = ex->made;
    ex->made = slot;
    ex->counters.handles++;
    return slot;
}

static void give_slot(struct http_executor *ex, struct http_slot *slot)
{
    http_slot_reset(slot);
    slot->next_free = ex->free;
    ex->free = slot;
}

static void report(struct http_executor *ex, struct core_attempt *chain, uint64_t count)
{
    ex->counters.reported += count;
    ex->host->report(ex->host, chain);
}

static void report_unsent(struct http_executor *ex, struct core_attempt *attempt)
{
    attempt->answer.ended_at = ex->host->now(ex->host);
    attempt->edge = NULL;
    attempt->next = NULL;
    report(ex, attempt, 1);
}

static void http_start(struct core_executor *base, struct core_attempt *attempt)
{
    struct http_executor *ex = of(base);
    struct core_answer *answer = &attempt->answer;
    struct http_slot *slot = take_slot(ex);

    assert(attempt->payload);
    ex->counters.started++;
    answer_init(answer);
    answer->started_at = ex->host->now(ex->host);
    if (slot && http_slot_prepare(slot, attempt->payload, answer) &&
        curl_multi_add_handle(ex->multi, slot->easy) == CURLM_OK) {
        slot->attempt = attempt;
        attempt->edge = slot;
        ex->counters.running++;
        return;
    }
    if (slot)
        give_slot(ex, slot);
    if (answer->outcome != WEIR_OUTCOME_FAILED) {
        answer->outcome = WEIR_OUTCOME_FAILED;
        answer->reason = WEIR_REASON_INTERNAL;
        answer->retryable = true;
        answer_say(answer, "memory ran out");
    }
    report_unsent(ex, attempt);
}

/* Takes the attempt from its slot, which is free after that. */
static struct core_attempt *detach(struct http_executor *ex, struct http_slot *slot)
{
    struct core_attempt *attempt = slot->attempt;

    assert(attempt && attempt->edge == slot);
    curl_multi_remove_handle(ex->multi, slot->easy);
    attempt->edge = NULL;
    attempt->next = NULL;
    assert(ex->counters.running > 0);
    ex->counters.running--;
    return attempt;
}

static void http_cancel(struct core_executor *base, struct core_attempt *attempt)
{
    struct http_executor *ex = of(base);
    struct http_slot *slot = attempt->edge;

    if (!slot)
        return; /* reported already */
    assert(slot->attempt == attempt && !ex->sockets.in_curl);
    detach(ex, slot);
    give_slot(ex, slot);
    attempt->answer.outcome = WEIR_OUTCOME_CANCELLED;
    attempt->answer.reason = WEIR_REASON_NONE;
    report_unsent(ex, attempt);
}

/* Hands over whatever curl has ended since the last time. */
static void on_turned(void *ctx)
{
    struct http_executor *ex = ctx;
    struct core_attempt *chain = NULL;
    struct core_attempt **tail = &chain;
    uint64_t count = 0;
    int64_t unix_now_s = 0;
    struct instant now = {0};
    CURLMsg *message;
    int queued;

    while ((message = curl_multi_info_read(ex->multi, &queued))) {
        CURLcode code = message->data.result; /* the message goes with its handle */
        struct http_slot *slot = NULL;
        struct core_attempt *attempt;

        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&slot);
        if (count++ == 0) {
            now = ex->host->now(ex->host);
            unix_now_s = ex->unix_seconds();
        }
        attempt = detach(ex, slot);
        http_slot_answer(slot, code, unix_now_s, &attempt->answer);
        attempt->answer.ended_at = now;
        give_slot(ex, slot);
        *tail = attempt;
        tail = &attempt->next;
    }
    if (chain)
        report(ex, chain, count);
}

static void http_kick(struct core_executor *base)
{
    struct http_executor *ex = of(base);

    if (ex->counters.running > 0 && !ex->sockets.in_curl)
        http_sockets_run(&ex->sockets);
}

/* Everything but what hangs on the loop. Copes with an executor that is half made. */
static void release_curl(struct http_executor *ex)
{
    while (ex->made) {
        struct http_slot *slot = ex->made;

        assert(!slot->attempt);
        ex->made = slot->next_made;
        http_slot_free(slot);
    }
    ex->free = NULL;
    if (ex->shared.template_easy)
        curl_easy_cleanup(ex->shared.template_easy);
    curl_slist_free_all(ex->shared.headers);
    if (ex->multi)
        curl_multi_cleanup(ex->multi);
    ex->multi = NULL;
}

static void on_closed(void *ctx)
{
    mem_free(ctx);
    curl_global_cleanup();
}

static void http_close(struct core_executor *base)
{
    struct http_executor *ex = of(base);

    assert(ex->counters.running == 0);
    release_curl(ex);
    http_sockets_close(&ex->sockets);
}

static const struct core_executor_ops http_ops = {
    .kind = "http",
    .cancels_at_once = true,
    .start = http_start,
    .cancel = http_cancel,
    .kick = http_kick,
    .close = http_close,
};

static void set_shared(struct http_shared *shared, const struct http_options *o)
{
    const char *method = o->method ? o->method : "POST";

    memcpy(shared->method, method, strlen(method) + 1); /* its length was checked */
    shared->http_version = o->http_version;
    shared->response_max_bytes =
        o->response_max_bytes ? o->response_max_bytes : HTTP_RESPONSE_BYTES_DEFAULT;
    shared->response_headers_max_bytes = o->response_headers_max_bytes
                                             ? o->response_headers_max_bytes
                                             : HTTP_RESPONSE_HEADERS_BYTES_DEFAULT;
    shared->own_content_type = http_options_name_header(o, "Content-Type");
    shared->own_idempotency_key = http_options_name_header(o, "Idempotency-Key");
    shared->own_expect = http_options_name_header(o, "Expect");
    for (size_t i = 0; i < o->capacity_statuses_count; i++)
        http_status_set_add(&shared->capacity, o->capacity_statuses[i]);
    shared->accept = o->accept;
}

/* What a curl handle and the multi handle are set to for good. */
static enum weir_status set_up_curl(struct http_executor *ex, const struct http_options *o,
                                    struct weir_error *err)
{
    size_t connections = o->max_connections ? o->max_connections : HTTP_CONNECTIONS_DEFAULT;
    enum weir_status status;

    ex->multi = curl_multi_init();
    ex->shared.template_easy = curl_easy_init();
    if (!ex->multi || !ex->shared.template_easy)
        return error_nomem(err);
    if (connections > INT32_MAX)
        connections = INT32_MAX;
    curl_multi_setopt(ex->multi, CURLMOPT_MAXCONNECTS, (long)connections);
    status = http_options_headers(o, &ex->shared.headers, err);
    if (status == WEIR_OK)
        status = http_options_set(o, ex->shared.template_easy, err);
    if (status == WEIR_OK && http_sockets_adopt(&ex->sockets, ex->shared.template_easy) != CURLE_OK)
        status = error_nomem(err);
    return status;
}

enum weir_status http_executor_new(const struct http_options *options, uv_loop_t *loop,
                                   struct core_executor_host *host, struct core_executor **ret,
                                   struct weir_error *err)
{
    struct http_executor *ex;
    enum weir_status status;

    if (!options || !loop || !host || !ret)
        return error_set(err, WEIR_E_INVALID, "an argument of http_executor_new is NULL");
    status = http_options_check(options, err);
    if (status != WEIR_OK)
        return status;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return error_nomem(err);
    ex = mem_calloc(1, sizeof(*ex));
    if (!ex) {
        curl_global_cleanup();
        return error_nomem(err);
    }
    ex->base.ops = &http_ops;
    ex->host = host;
    ex->unix_seconds = options->unix_seconds ? options->unix_seconds : system_unix_seconds;
    set_shared(&ex->shared, options);
    status = set_up_curl(ex, options, err);
    if (status != WEIR_OK) {
        release_curl(ex);
        on_closed(ex);
        return status;
    }
    /* Last: from here on it can only end through the loop. */
    http_sockets_init(&ex->sockets, loop, ex->multi, on_turned, on_closed, ex);
    *ret = &ex->base;
    return WEIR_OK;
}

struct http_counters http_executor_counters(const struct core_executor *ex)
{
    struct http_counters counters = of(ex)->counters;

    counters.connections_opened = of(ex)->sockets.opened;
    return counters;
}
