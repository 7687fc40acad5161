/* A curl handle and the request that runs on it (slot.h). On the loop's thread. */
#include "exec/http/slot.h"

#include "base/mem.h"
#include "exec/http/usage.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

/* A buffer that grew beyond this for one body is given back rather than kept for the next. */
#define BODY_KEPT_BYTES (UINT64_C(64) << 10)

/*
 * With bodies over 1 MiB curl would wait for 100 Continue first, which costs a round trip, or a
 * second where the service knows none. It is told not to from a little below that on; each line
 * that a request has costs.
 */
#define EXPECT_BODY_BYTES (UINT64_C(512) << 10)

static size_t on_body(char *data, size_t size, size_t count, void *ctx)
{
    struct http_slot *slot = ctx;
    size_t len = size * count;

    /* Counted here and not only by Content-Length: the body may be chunked, or unpack to more. */
    if (len > slot->shared->response_max_bytes - slot->body.len) {
        slot->fault = HTTP_SLOT_BODY_TOO_LARGE;
        return 0;
    }
    buf_put(&slot->body, data, len);
    if (slot->body.failed) {
        slot->fault = HTTP_SLOT_NO_MEMORY;
        return 0;
    }
    return len;
}

static size_t on_header(char *data, size_t size, size_t count, void *ctx)
{
    struct http_slot *slot = ctx;
    size_t len = size * count;

    slot->headers_bytes += len;
    if (slot->headers_bytes > slot->shared->response_headers_max_bytes) {
        slot->fault = HTTP_SLOT_HEADERS_TOO_LARGE;
        return 0;
    }
    http_headers_line(&slot->headers, (struct slice){data, len});
    return len;
}

/* Whether requests share a connection, as far as is known: as the last answer did, or as the next one may. */
static bool is_multiplexed(const struct http_slot *slot)
{
    if (slot->version != CURL_HTTP_VERSION_NONE)
        return slot->version >= CURL_HTTP_VERSION_2_0;
    if (slot->shared->http_version == HTTP_VERSION_AUTO)
        return slot->url.len > 8 && strncasecmp(slot->url.data, "https://", 8) == 0;
    return slot->shared->http_version != HTTP_VERSION_1_1;
}

/*
 * Called before a request goes out on a connection. When a connection that was used before breaks
 * off without an answer, curl would send the request again on its own, at once, uncounted and past
 * every limit. Retries have one owner, and that is the engine: the second time is refused, and the
 * attempt ends as a lost connection.
 *
 * Not so over HTTP/2, where it is the usual end of a connection that a service tells which of the
 * requests under way it has not looked at (GOAWAY): sending those elsewhere is no retry.
 */
static int on_request(void *ctx, char *remote, char *local, int remote_port, int local_port)
{
    struct http_slot *slot = ctx;

    (void)remote;
    (void)local;
    (void)remote_port;
    (void)local_port;
    if (slot->sent && !is_multiplexed(slot)) {
        slot->fault = HTTP_SLOT_SENT_BEFORE;
        return CURL_PREREQFUNC_ABORT;
    }
    slot->sent = true;
    return CURL_PREREQFUNC_OK;
}

struct http_slot *http_slot_new(const struct http_shared *shared)
{
    struct http_slot *slot = mem_calloc(1, sizeof(*slot));

    if (!slot)
        return NULL;
    slot->shared = shared;
    slot->easy = curl_easy_duphandle(shared->template_easy);
    if (!slot->easy)
        return http_slot_free(slot);
    /* Setting a pointer does not fail. */
    curl_easy_setopt(slot->easy, CURLOPT_PRIVATE, slot);
    curl_easy_setopt(slot->easy, CURLOPT_ERRORBUFFER, slot->error);
    curl_easy_setopt(slot->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(slot->easy, CURLOPT_WRITEDATA, slot);
    curl_easy_setopt(slot->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(slot->easy, CURLOPT_HEADERDATA, slot);
    curl_easy_setopt(slot->easy, CURLOPT_PREREQFUNCTION, on_request);
    curl_easy_setopt(slot->easy, CURLOPT_PREREQDATA, slot);
    slot->type_node.data = slot->type_line;
    slot->key_node.data = slot->key_line;
    slot->expect_node.data = slot->expect_line;
    memcpy(slot->expect_line, HTTP_NO_EXPECT, sizeof(HTTP_NO_EXPECT));
    http_slot_reset(slot);
    return slot;
}

struct http_slot *http_slot_free(struct http_slot *slot)
{
    if (!slot)
        return NULL;
    if (slot->easy)
        curl_easy_cleanup(slot->easy);
    curl_url_cleanup(slot->parsed_url);
    buf_free(&slot->body);
    buf_free(&slot->url);
    mem_free(slot->own_nodes);
    return mem_free(slot);
}

void http_slot_reset(struct http_slot *slot)
{
    slot->attempt = NULL;
    http_headers_init(&slot->headers);
    slot->headers_bytes = 0;
    slot->fault = HTTP_SLOT_SOUND;
    slot->sent = false;
    slot->error[0] = '\0';
    if (slot->body.cap > BODY_KEPT_BYTES)
        buf_free(&slot->body);
    else
        buf_clear(&slot->body);
}

static bool refuse(struct core_answer *answer, enum weir_reason reason, bool retryable,
                   const char *why)
{
    answer->outcome = WEIR_OUTCOME_FAILED;
    answer->reason = reason;
    answer->retryable = retryable;
    answer_say(answer, "%s", why);
    return false;
}

static bool refuse_nomem(struct core_answer *answer)
{
    return refuse(answer, WEIR_REASON_INTERNAL, true, "memory ran out");
}

/*
 * curl parses the address anew for each request, unless it is given one that is parsed already. One
 * that cannot be parsed is left to curl, which says what is wrong with it.
 */
static bool set_parsed_url(struct http_slot *slot, const char *url)
{
    CURLUcode code;

    if (!slot->parsed_url)
        slot->parsed_url = curl_url();
    if (!slot->parsed_url)
        return false;
    code = curl_url_set(slot->parsed_url, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME);
    if (code == CURLUE_OUT_OF_MEMORY)
        return false;
    return curl_easy_setopt(slot->easy, CURLOPT_CURLU,
                            code == CURLUE_OK ? slot->parsed_url : NULL) == CURLE_OK;
}

static bool set_url(struct http_slot *slot, const char *url, struct core_answer *answer)
{
    bool tls = url && strncasecmp(url, "https://", 8) == 0;
    size_t len;

    if (!url || (!tls && strncasecmp(url, "http://", 7) != 0))
        return refuse(answer, WEIR_REASON_BAD_ROW, false,
                      "the row's URL does not begin with http:// or https://");
    len = strlen(url);
    if (slot->url.len == len && memcmp(slot->url.data, url, len) == 0)
        return true;
    buf_clear(&slot->url);
    /* The text too, for what curl says of the request. */
    if (curl_easy_setopt(slot->easy, CURLOPT_URL, url) != CURLE_OK || !set_parsed_url(slot, url) ||
        http_options_set_version(slot->shared->http_version, tls, slot->easy) != CURLE_OK)
        return refuse_nomem(answer);
    buf_put(&slot->url, url, len);
    if (slot->url.failed)
        buf_clear(&slot->url); /* no harm: it is set again next time */
    return true;
}

/* Methods that carry a body even when it is empty: their Content-Length is 0, not absent. */
static bool method_posts(const char *method)
{
    return strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
           strcmp(method, "PATCH") == 0;
}

static bool set_method(struct http_slot *slot, const char *method, bool has_body,
                       struct core_answer *answer)
{
    const char *custom = method;
    CURLcode code;

    if (strcmp(slot->method, method) == 0 && slot->has_body == has_body)
        return true;
    if (http_method_check(method, NULL) != WEIR_OK)
        return refuse(answer, WEIR_REASON_BAD_ROW, false, "the row's method is no HTTP method");
    slot->method[0] = '\0';
    if (has_body || method_posts(method)) {
        code = curl_easy_setopt(slot->easy, CURLOPT_POST, 1L);
        if (strcmp(method, "POST") == 0)
            custom = NULL;
    } else if (strcmp(method, "HEAD") == 0) {
        code = curl_easy_setopt(slot->easy, CURLOPT_NOBODY, 1L);
        custom = NULL;
    } else {
        code = curl_easy_setopt(slot->easy, CURLOPT_HTTPGET, 1L);
        if (strcmp(method, "GET") == 0)
            custom = NULL;
    }
    if (code == CURLE_OK)
        code = curl_easy_setopt(slot->easy, CURLOPT_CUSTOMREQUEST, custom);
    if (code != CURLE_OK)
        return refuse_nomem(answer);
    memcpy(slot->method, method, strlen(method) + 1);
    slot->has_body = has_body;
    return true;
}

static void set_body(struct http_slot *slot, struct slice body)
{
    if (!slot->has_body && !method_posts(slot->method))
        return;
    /* The bytes stay the caller's; curl reads them from where they are. */
    curl_easy_setopt(slot->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
    curl_easy_setopt(slot->easy, CURLOPT_POSTFIELDS, body.len ? body.data : "");
}

/* "Content-Type: TYPE", or "Content-Type:", which keeps curl from sending its own. */
static bool set_type_line(struct http_slot *slot, const char *type, bool has_body,
                          struct core_answer *answer)
{
    char *value = slot->type_line + sizeof(HTTP_CONTENT_TYPE_NAME) - 1;
    size_t len;

    if (!has_body) {
        static const char no_type[] = "Content-Type:";

        memcpy(slot->type_line, no_type, sizeof no_type);
        return true;
    }
    if (!type)
        type = "application/json";
    if (slot->type_line[sizeof(HTTP_CONTENT_TYPE_NAME) - 2] == ' ' && strcmp(value, type) == 0)
        return true; /* as the request before */
    len = strlen(type);
    if (len == 0 || len > HTTP_CONTENT_TYPE_BYTES_MAX || !http_header_value_is_clean(type, len))
        return refuse(answer, WEIR_REASON_BAD_ROW, false,
                      "the row's content type is no header's value");
    memcpy(slot->type_line, HTTP_CONTENT_TYPE_NAME, sizeof(HTTP_CONTENT_TYPE_NAME) - 1);
    memcpy(value, type, len + 1);
    return true;
}

/* "Idempotency-Key: KEY". Visible ASCII as it is, all else (and %) as %XX, so that keys that differ
 * stay different. False: there is no key, or it is too long. */
static bool set_key_line(struct http_slot *slot, const char *key)
{
    static const char hex[] = "0123456789ABCDEF";
    char *out = slot->key_line + sizeof(HTTP_IDEMPOTENCY_KEY_NAME) - 1;
    const char *end = slot->key_line + sizeof(slot->key_line) - 1;

    if (!key || !key[0])
        return false;
    memcpy(slot->key_line, HTTP_IDEMPOTENCY_KEY_NAME, sizeof(HTTP_IDEMPOTENCY_KEY_NAME) - 1);
    for (; *key; key++) {
        unsigned char c = (unsigned char)*key;
        bool plain = c > 0x20 && c < 0x7f && c != '%';

        if (end - out < (plain ? 1 : 3))
            return false;
        if (plain) {
            *out++ = (char)c;
        } else {
            *out++ = '%';
            *out++ = hex[c >> 4];
            *out++ = hex[c & 15];
        }
    }
    *out = '\0';
    return true;
}

/* The request's own headers before `head`. NULL: no memory. The lines stay the caller's, and curl only reads them. */
static struct curl_slist *own_headers(struct http_slot *slot, const struct http_request *request,
                                      struct curl_slist *head)
{
    size_t count = request->headers_count;

    if (count > slot->own_cap) {
        struct curl_slist *more = mem_realloc(slot->own_nodes, count * sizeof *more);

        if (!more)
            return NULL;
        slot->own_nodes = more;
        slot->own_cap = count;
    }
    for (size_t i = count; i-- > 0;) {
        slot->own_nodes[i].data = (char *)(uintptr_t)request->headers[i];
        slot->own_nodes[i].next = head;
        head = &slot->own_nodes[i];
    }
    return head;
}

static bool set_headers(struct http_slot *slot, const struct http_request *request,
                        struct core_answer *answer)
{
    const struct http_shared *shared = slot->shared;
    struct curl_slist *head = shared->headers;

    if (!shared->own_expect && request->body.len > EXPECT_BODY_BYTES) {
        slot->expect_node.next = head;
        head = &slot->expect_node;
    }
    if (!shared->own_idempotency_key && set_key_line(slot, request->idempotency_key)) {
        slot->key_node.next = head;
        head = &slot->key_node;
    }
    if (!shared->own_content_type) {
        if (!set_type_line(slot, request->content_type, request->body.len > 0, answer))
            return false;
        slot->type_node.next = head;
        head = &slot->type_node;
    }
    if (request->headers_count > 0) {
        head = own_headers(slot, request, head);
        if (!head)
            return refuse_nomem(answer);
    }
    if (slot->head != head) {
        curl_easy_setopt(slot->easy, CURLOPT_HTTPHEADER, head); /* a pointer: cannot fail */
        slot->head = head;
    }
    return true;
}

bool http_slot_prepare(struct http_slot *slot, const struct http_request *request,
                       struct core_answer *answer)
{
    const char *method = request->method ? request->method : slot->shared->method;

    if (!set_url(slot, request->url, answer) ||
        !set_method(slot, method, request->body.len > 0, answer) ||
        !set_headers(slot, request, answer))
        return false;
    set_body(slot, request->body);
    return true;
}

/* The URL's host and port, without a user and password before it. */
static struct slice host_of(struct slice url)
{
    const char *from = memmem(url.data, url.len, "://", 3);
    const char *end = url.data + url.len;
    const char *p;

    from = from ? from + 3 : url.data;
    for (p = from; p < end && *p != '/' && *p != '?' && *p != '#'; p++) {
        if (*p == '@')
            from = p + 1;
    }
    return (struct slice){from, (size_t)(p - from)};
}

/* curl's own words on what went wrong; a service's bytes may be among them. */
static const char *transfer_text(struct http_slot *slot, CURLcode code)
{
    if (!slot->error[0])
        return curl_easy_strerror(code);
    for (char *p = slot->error; *p; p++) {
        if (*p < 0x20 || *p > 0x7e)
            *p = '?';
    }
    return slot->error;
}

static void take_verdict(struct core_answer *answer, struct http_verdict verdict)
{
    answer->outcome = verdict.outcome;
    answer->reason = verdict.reason;
    answer->retryable = verdict.retryable;
}

/* A whole response, or one whose status says enough although its rest is missing. */
static void answer_status(struct http_slot *slot, CURLcode code, int status,
                          struct core_answer *answer)
{
    const char *text = http_status_text(status);

    take_verdict(answer, http_classify_status(status, &slot->shared->capacity));
    answer->status = status;
    if (slot->headers.request_id_rank)
        answer->request_id = mem_strdup(slot->headers.request_id);
    if (slot->body.len)
        answer->output = buf_steal(&slot->body, &answer->output_len);
    else
        answer->output = mem_copy("", 0);
    if (!answer->output) {
        take_verdict(answer, http_classify_transfer(CURLE_OUT_OF_MEMORY));
        answer->output_len = 0;
        answer_say(answer, "memory ran out");
        return;
    }
    if (answer->outcome == WEIR_OUTCOME_OK) {
        answer->tokens = http_usage_tokens((struct slice){answer->output, answer->output_len});
        return;
    }
    answer_say(answer, "HTTP %d%s%s%s%s", status, text[0] ? " " : "", text,
               code == CURLE_OK ? "" : "; its body broke off: ",
               code == CURLE_OK ? "" : transfer_text(slot, code));
}

/* No response, or one of success that did not arrive whole. */
static void answer_transfer(struct http_slot *slot, CURLcode code, int status,
                            struct core_answer *answer)
{
    struct slice host = host_of(buf_slice(&slot->url));
    int host_len = host.len < 256 ? (int)host.len : 256;

    if (slot->fault == HTTP_SLOT_BODY_TOO_LARGE || slot->fault == HTTP_SLOT_HEADERS_TOO_LARGE)
        code = CURLE_FILESIZE_EXCEEDED;
    else if (slot->fault == HTTP_SLOT_NO_MEMORY)
        code = CURLE_OUT_OF_MEMORY;
    else if (slot->fault == HTTP_SLOT_SENT_BEFORE)
        code = CURLE_GOT_NOTHING;
    take_verdict(answer, http_classify_transfer(code));
    if (slot->fault == HTTP_SLOT_HEADERS_TOO_LARGE)
        answer_say(answer, "%.*s: the response's headers are over the limit of %" PRIu64 " bytes",
                   host_len, host.data, slot->shared->response_headers_max_bytes);
    else if (code == CURLE_FILESIZE_EXCEEDED)
        answer_say(answer, "%.*s: the response is over the limit of %" PRIu64 " bytes", host_len,
                   host.data, slot->shared->response_max_bytes);
    else if (code == CURLE_OUT_OF_MEMORY && status && slot->fault != HTTP_SLOT_NO_MEMORY)
        /* libcurl (before 8.6) says the same of both. */
        answer_say(answer,
                   "%.*s: a line of the response's headers is over 100 KiB, or memory ran out",
                   host_len, host.data);
    else if (code == CURLE_OUT_OF_MEMORY)
        answer_say(answer, "memory ran out");
    else if (slot->fault == HTTP_SLOT_SENT_BEFORE)
        answer_say(answer, "%.*s: the connection was closed before an answer came", host_len,
                   host.data);
    else if (status)
        answer_say(answer, "%.*s: HTTP %d, but the response did not arrive whole: %s", host_len,
                   host.data, status, transfer_text(slot, code));
    else
        answer_say(answer, "%.*s: %s", host_len, host.data, transfer_text(slot, code));
}

/* A proxy that refuses the tunnel answers with a status too: it tells whether to try again. */
static void judge_proxy(struct http_slot *slot, struct core_answer *answer)
{
    long status = 0;
    struct http_verdict verdict;

    curl_easy_getinfo(slot->easy, CURLINFO_HTTP_CONNECTCODE, &status);
    if (status < 300)
        return;
    verdict = http_classify_status((int)status, NULL);
    answer->reason = WEIR_REASON_CONNECT_FAILED;
    answer->retryable = verdict.outcome == WEIR_OUTCOME_CAPACITY || verdict.retryable;
}

void http_slot_answer(struct http_slot *slot, CURLcode code, int64_t unix_now_s,
                      struct core_answer *answer)
{
    long status = 0;

    curl_easy_getinfo(slot->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status)
        curl_easy_getinfo(slot->easy, CURLINFO_HTTP_VERSION, &slot->version);
    if (code == CURLE_OK && status == 0)
        code = CURLE_WEIRD_SERVER_REPLY;
    /* A refusal says more than how its body ended: full is not failure (P4). */
    if (code == CURLE_OK || (status >= 300 && slot->fault != HTTP_SLOT_NO_MEMORY))
        answer_status(slot, code, (int)status, answer);
    else
        answer_transfer(slot, code, (int)status, answer);
    if (status)
        http_headers_advice(&slot->headers, unix_now_s, &answer->advice);
    else
        judge_proxy(slot, answer);
    if (answer->outcome == WEIR_OUTCOME_OK && slot->shared->accept.accept &&
        !slot->shared->accept.accept(slot->shared->accept.ctx, answer) &&
        answer->outcome == WEIR_OUTCOME_OK) {
        answer->outcome = WEIR_OUTCOME_FAILED;
        answer->reason = WEIR_REASON_SELECT_FAILED;
        answer->retryable = false;
    }
}
