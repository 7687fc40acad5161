/*
 * The workers' protocol as bytes; see wire.h. No state but a reader's own.
 */
#include "exec/process/wire.h"

#include "base/json.h"
#include "base/mem.h"
#include "core/ports/executor.h"

#include <assert.h>
#include <string.h>

/* A reader's memory grows by this factor, so that a frame is moved a few times at most however it comes. */
#define GROWTH 2

/* ---- requests ---- */

static void put_length(char at[WIRE_LENGTH_BYTES], uint64_t length)
{
    for (int i = 0; i < WIRE_LENGTH_BYTES; i++)
        at[i] = (char)(unsigned char)(length >> 8 * (WIRE_LENGTH_BYTES - 1 - i));
}

static uint64_t get_length(const char *at)
{
    uint64_t length = 0;

    for (int i = 0; i < WIRE_LENGTH_BYTES; i++)
        length = length << 8 | (unsigned char)at[i];
    return length;
}

static void put_text(struct buf *out, struct slice name, struct slice text)
{
    buf_put_slice(out, name);
    json_put_string(out, text);
}

struct slice wire_args(const struct wire_request *r)
{
    return r->args.len > 0 ? r->args : SLICE("null");
}

/* Of what has no = nothing is written. */
static void put_env(struct buf *out, const char *const *env)
{
    const char *before = ",\"env\":{";

    for (; env && *env; env++) {
        const char *equals = strchr(*env, '=');

        if (!equals)
            continue;
        buf_puts(out, before);
        json_put_string(out, (struct slice){*env, (size_t)(equals - *env)});
        put_text(out, SLICE(":"), slice_of(equals + 1));
        before = ",";
    }
    if (*before == ',' && !before[1])
        buf_putc(out, '}');
}

uint64_t wire_put_head(struct buf *out, const struct wire_request *r)
{
    size_t start = out->len;
    uint64_t size;

    buf_put_slice(out, SLICE("\0\0\0\0{\"id\":"));
    buf_put_u64(out, r->id);
    put_text(out, SLICE(",\"command\":"), r->command);
    if (r->session.len > 0)
        put_text(out, SLICE(",\"session\":"), r->session);
    if (r->session_lost)
        buf_put_slice(out, SLICE(",\"session_lost\":true"));
    if (r->timestamp)
        put_text(out, SLICE(",\"timestamp\":"), slice_of(r->timestamp));
    put_env(out, r->env);
    buf_put_slice(out, SLICE(",\"args\":"));
    if (out->failed)
        return 0;
    size = (uint64_t)(out->len - start - WIRE_LENGTH_BYTES) + wire_args(r).len + WIRE_TAIL.len;
    put_length(out->data + start, size);
    return size;
}

uint64_t wire_put_request(struct buf *out, const struct wire_request *r)
{
    uint64_t size = wire_put_head(out, r);

    buf_put_slice(out, wire_args(r));
    buf_put_slice(out, WIRE_TAIL);
    return size;
}

/* ---- frames that come in ---- */

void wire_reader_init(struct wire_reader *r, uint64_t frame_max_bytes)
{
    assert(frame_max_bytes >= 1 && frame_max_bytes <= WIRE_FRAME_BYTES_MAX);
    *r = (struct wire_reader){.frame_max_bytes = frame_max_bytes};
}

void wire_reader_free(struct wire_reader *r)
{
    mem_free(r->data);
    wire_reader_init(r, r->frame_max_bytes);
}

struct slice wire_reader_rest(const struct wire_reader *r)
{
    return (struct slice){r->data ? r->data + r->begin : "", r->end - r->begin};
}

uint64_t wire_reader_claim(const struct wire_reader *r)
{
    struct slice rest = wire_reader_rest(r);

    return rest.len < WIRE_LENGTH_BYTES ? 0 : get_length(rest.data);
}

/* False: no memory. */
static bool grow(struct wire_reader *r)
{
    size_t cap = r->cap * GROWTH, whole = (size_t)wire_reader_claim(r) + WIRE_LENGTH_BYTES;
    char *data;

    /* All that is there belongs to one frame, so that its length is known, and no more than it is needed. */
    if (cap > whole)
        cap = whole;
    if (cap < WIRE_READ_BYTES)
        cap = WIRE_READ_BYTES;
    data = mem_realloc(r->data, cap);
    if (!data)
        return false;
    r->data = data;
    r->cap = cap;
    return true;
}

char *wire_reader_room(struct wire_reader *r, size_t *ret_room)
{
    if (r->begin > 0) {
        /* What is left is less than a frame. */
        if (r->end > r->begin)
            memmove(r->data, r->data + r->begin, r->end - r->begin);
        r->end -= r->begin;
        r->begin = 0;
    }
    if (r->end == r->cap && !grow(r))
        return NULL;
    *ret_room = r->cap - r->end;
    return r->data + r->end;
}

void wire_reader_filled(struct wire_reader *r, size_t bytes)
{
    assert(bytes <= r->cap - r->end);
    r->end += bytes;
}

enum wire_next wire_reader_next(struct wire_reader *r, struct slice *ret_frame)
{
    size_t there = r->end - r->begin;
    uint64_t length;

    if (there < WIRE_LENGTH_BYTES)
        return WIRE_MORE;
    length = get_length(r->data + r->begin);
    if (length > r->frame_max_bytes)
        return WIRE_TOO_LARGE;
    if (there - WIRE_LENGTH_BYTES < length)
        return WIRE_MORE;
    *ret_frame = (struct slice){r->data + r->begin + WIRE_LENGTH_BYTES, (size_t)length};
    r->begin += WIRE_LENGTH_BYTES + (size_t)length;
    return WIRE_FRAME;
}

char *wire_reader_take(struct wire_reader *r, size_t *ret_cap)
{
    char *data = r->data;

    if (!data || r->end > r->begin)
        return NULL;
    *ret_cap = r->cap;
    wire_reader_init(r, r->frame_max_bytes);
    return data;
}

void wire_reader_give(struct wire_reader *r, char *data, size_t cap)
{
    assert(!r->data);
    r->data = data;
    r->cap = cap;
}

void wire_reader_fault(const struct wire_reader *r, struct wire_fault *ret)
{
    *ret = (struct wire_fault){.kind = WIRE_FAULT_LENGTH,
                               .bytes = wire_reader_rest(r),
                               .number = wire_reader_claim(r),
                               .limit = r->frame_max_bytes};
}

bool wire_reader_cut(const struct wire_reader *r, struct wire_fault *ret)
{
    struct slice rest = wire_reader_rest(r);

    if (rest.len == 0)
        return false;
    *ret = (struct wire_fault){.kind = WIRE_FAULT_CUT,
                               .bytes = rest,
                               .number = wire_reader_claim(r),
                               .limit =
                                   rest.len < WIRE_LENGTH_BYTES ? 0 : rest.len - WIRE_LENGTH_BYTES};
    return true;
}

/* ---- responses ---- */

enum { ID, SUCCESS, RESULT, ERROR, HEARTBEAT, MEMBERS };
enum { BEAT_ID, BEAT_PROGRESS, BEAT_TEXT, BEAT_MEMBERS };
enum { TYPE, MESSAGE, RETRYABLE, CAPACITY, RETRY_AFTER, ERROR_MEMBERS };

static struct slice string_or_nothing(struct slice value)
{
    return json_kind(value) == JSON_STRING ? value : (struct slice){"", 0};
}

static duration_ns wait_of(struct slice value)
{
    double seconds;
    duration_ns wait;

    if (!json_double(value, &seconds) || seconds < 0)
        return -1;
    wait = duration_from_seconds(seconds);
    return wait < WIRE_WAIT_NS_MAX ? wait : WIRE_WAIT_NS_MAX;
}

static void read_error(struct slice error, struct wire_response *ret)
{
    struct json_wanted m[ERROR_MEMBERS] = {
        [TYPE] = {.name = SLICE("type")},
        [MESSAGE] = {.name = SLICE("message")},
        [RETRYABLE] = {.name = SLICE("retryable")},
        [CAPACITY] = {.name = SLICE("capacity")},
        [RETRY_AFTER] = {.name = SLICE("retry_after")},
    };

    ret->error = error;
    if (json_kind(error) == JSON_STRING)
        ret->message = error;
    if (json_kind(error) != JSON_OBJECT)
        return;
    json_members(error, m, ERROR_MEMBERS);
    ret->type = string_or_nothing(m[TYPE].value);
    ret->message = string_or_nothing(m[MESSAGE].value);
    ret->retryable = json_kind(m[RETRYABLE].value) == JSON_TRUE;
    ret->capacity = json_kind(m[CAPACITY].value) == JSON_TRUE;
    ret->retry_after_ns = wait_of(m[RETRY_AFTER].value);
}

static bool fault(struct wire_fault *ret, enum wire_fault_kind kind, struct slice frame)
{
    *ret = (struct wire_fault){.kind = kind, .bytes = frame};
    return false;
}

static bool read_id(struct slice value, uint64_t *ret)
{
    int64_t id;

    if (json_kind(value) != JSON_NUMBER || !json_int64(value, &id) || id < 1)
        return false;
    *ret = (uint64_t)id;
    return true;
}

/* How far it is may be left out, and what is not to be understood of it counts as that: no reason to end a worker. */
static bool read_heartbeat(struct slice told, struct wire_response *ret)
{
    struct json_wanted m[BEAT_MEMBERS] = {
        [BEAT_ID] = {.name = SLICE("id")},
        [BEAT_PROGRESS] = {.name = SLICE("progress")},
        [BEAT_TEXT] = {.name = SLICE("text")},
    };

    if (json_kind(told) != JSON_OBJECT)
        return false;
    json_members(told, m, BEAT_MEMBERS);
    ret->heartbeat = true;
    ret->told = told;
    ret->progress = -1;
    if (json_kind(m[BEAT_PROGRESS].value) == JSON_NUMBER &&
        (!json_double(m[BEAT_PROGRESS].value, &ret->progress) || !(ret->progress >= 0) ||
         ret->progress > 1))
        ret->progress = -1;
    ret->text = string_or_nothing(m[BEAT_TEXT].value);
    return read_id(m[BEAT_ID].value, &ret->id);
}

/* `success` decides; where it is missing an error says by itself that there was none. */
static bool read_success(const struct json_wanted m[MEMBERS], bool *ret)
{
    enum json_kind error = json_kind(m[ERROR].value);

    switch (json_kind(m[SUCCESS].value)) {
    case JSON_TRUE:
        *ret = true;
        return true;
    case JSON_FALSE:
        *ret = false;
        return true;
    case JSON_NONE:
        *ret = false;
        return error != JSON_NONE && error != JSON_NULL;
    default:
        return false;
    }
}

static struct slice skip_space(struct slice s)
{
    while (s.len > 0 && (*s.data == ' ' || *s.data == '\n' || *s.data == '\t' || *s.data == '\r'))
        s = (struct slice){s.data + 1, s.len - 1};
    return s;
}

/* Takes c and white space behind it. False: it is not there. */
static bool take(struct slice *s, char c)
{
    if (s->len == 0 || *s->data != c)
        return false;
    *s = skip_space((struct slice){s->data + 1, s->len - 1});
    return true;
}

/* Takes a value and white space behind it. */
static bool take_value(struct slice *s, struct slice *ret)
{
    size_t len = json_check_value(*s, NULL);

    *ret = (struct slice){s->data, len};
    *s = skip_space((struct slice){s->data + len, s->len - len});
    return len > 0;
}

static void keep_if_wanted(struct json_wanted m[MEMBERS], struct slice name, struct slice value)
{
    for (int i = 0; i < MEMBERS; i++)
        if (name.len == m[i].name.len + 2 &&
            memcmp(name.data + 1, m[i].name.data, m[i].name.len) == 0)
            m[i].value = value;
}

/*
 * An object's members, in one pass that checks them too: a large result is looked at once. False:
 * it is no object that is sound, or a name in it has an escape; then those look at it who can say
 * what is wrong, and read such names.
 */
static bool take_members(struct slice frame, struct json_wanted m[MEMBERS])
{
    struct slice rest = skip_space(frame), name, value;

    if (!take(&rest, '{'))
        return false;
    do {
        if (!take_value(&rest, &name) || *name.data != '"' || memchr(name.data, '\\', name.len) ||
            !take(&rest, ':') || !take_value(&rest, &value))
            return false;
        keep_if_wanted(m, name, value);
    } while (take(&rest, ','));
    return take(&rest, '}') && rest.len == 0;
}

bool wire_parse(struct slice frame, struct wire_response *ret, struct wire_fault *ret_fault)
{
    struct json_wanted m[MEMBERS] = {
        [ID] = {.name = SLICE("id")},
        [SUCCESS] = {.name = SLICE("success")},
        [RESULT] = {.name = SLICE("result")},
        [ERROR] = {.name = SLICE("error")},
        [HEARTBEAT] = {.name = SLICE("heartbeat")},
    };
    struct json_fault json;

    if (!take_members(frame, m)) {
        if (!json_check(frame, &json)) {
            fault(ret_fault, WIRE_FAULT_JSON, frame);
            ret_fault->offset = json.offset;
            ret_fault->what = json.what;
            return false;
        }
        if (json_kind(frame) != JSON_OBJECT)
            return fault(ret_fault, WIRE_FAULT_OBJECT, frame);
        json_members(frame, m, MEMBERS);
    }
    *ret = (struct wire_response){.retry_after_ns = -1};
    /* A response may have members that nobody knows: with an id of its own it is one. */
    if (m[ID].value.len == 0 && m[HEARTBEAT].value.len > 0)
        return read_heartbeat(m[HEARTBEAT].value, ret) ||
               fault(ret_fault, WIRE_FAULT_HEARTBEAT, frame);
    if (!read_id(m[ID].value, &ret->id))
        return fault(ret_fault, WIRE_FAULT_ID, frame);
    if (!read_success(m, &ret->success))
        return fault(ret_fault, WIRE_FAULT_SUCCESS, frame);
    if (ret->success)
        ret->result = m[RESULT].value;
    else
        read_error(m[ERROR].value, ret);
    return true;
}

uint32_t wire_max_in_flight(const struct wire_response *r)
{
    struct slice value;
    int64_t n;

    if (!r->success || !json_member(r->result, "max_in_flight", &value) ||
        json_kind(value) != JSON_NUMBER || !json_int64(value, &n) || n < 1)
        return 0;
    return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

/* ---- for people ---- */

static bool is_printable(char c)
{
    return c >= 0x20 && c < 0x7F;
}

void wire_put_shown(struct buf *out, struct slice bytes)
{
    static const char hex[] = "0123456789abcdef";
    bool more = bytes.len > WIRE_SHOWN_BYTES;

    buf_putc(out, '"');
    for (size_t i = 0; i < bytes.len && i < WIRE_SHOWN_BYTES; i++) {
        unsigned char c = (unsigned char)bytes.data[i];
        const char *named = c == '\n' ? "\\n" : c == '\r' ? "\\r" : c == '\t' ? "\\t" : NULL;
        char byte[4] = {'\\', 'x', hex[c >> 4], hex[c & 0xF]};

        if (named)
            buf_put(out, named, 2);
        else if (c == '"' || c == '\\')
            buf_put(out, (char[]){'\\', (char)c}, 2);
        else if (is_printable((char)c))
            buf_putc(out, (char)c);
        else
            buf_put(out, byte, sizeof byte);
    }
    buf_puts(out, more ? "\"..." : "\"");
}

/* Whether bytes that should begin with a length begin with text: somebody has printed. */
static bool looks_like_text(struct slice bytes)
{
    size_t n = bytes.len < WIRE_LENGTH_BYTES ? bytes.len : WIRE_LENGTH_BYTES;

    for (size_t i = 0; i < n; i++) {
        char c = bytes.data[i];

        if (!is_printable(c) && c != '\n' && c != '\r' && c != '\t' && (unsigned char)c < 0x80)
            return false;
    }
    if (bytes.len > WIRE_SHOWN_BYTES)
        bytes.len = WIRE_SHOWN_BYTES;
    return n > 0 && utf8_valid_prefix(bytes) >= n;
}

#define PRINTED                                                                                    \
    ": something in it printed to standard output, which belongs to the protocol; print to "       \
    "standard error instead"

static void put_length_fault(struct buf *out, const struct wire_fault *f)
{
    bool text = looks_like_text(f->bytes);

    if (text)
        buf_puts(out, "it wrote what is not a frame; its first bytes were ");
    else
        buf_printf(out,
                   "it began a frame of %llu bytes, over the limit of %llu; its first bytes were ",
                   (unsigned long long)f->number, (unsigned long long)f->limit);
    wire_put_shown(out, f->bytes);
    buf_puts(out, text ? PRINTED : ": raise the limit on frames, or have it answer in less");
}

static void put_cut_fault(struct buf *out, const struct wire_fault *f)
{
    if (f->bytes.len < WIRE_LENGTH_BYTES)
        buf_puts(out, "its output ended inside the length of a frame");
    else
        buf_printf(out, "its output ended after %llu of the %llu bytes of a frame",
                   (unsigned long long)f->limit, (unsigned long long)f->number);
    buf_puts(out, "; the first bytes were ");
    wire_put_shown(out, f->bytes);
    if (looks_like_text(f->bytes))
        buf_puts(out, PRINTED);
}

void wire_put_fault(struct buf *out, const struct wire_fault *f)
{
    const char *remedy = "";

    switch (f->kind) {
    case WIRE_SOUND:
        buf_puts(out, "nothing is wrong");
        return;
    case WIRE_FAULT_LENGTH:
        put_length_fault(out, f);
        return;
    case WIRE_FAULT_CUT:
        put_cut_fault(out, f);
        return;
    case WIRE_FAULT_JSON:
        buf_printf(out, "its frame of %zu bytes is not JSON: %s, at byte %zu", f->bytes.len,
                   f->what, f->offset);
        break;
    case WIRE_FAULT_OBJECT:
        buf_printf(out, "its frame of %zu bytes is JSON, but not an object", f->bytes.len);
        break;
    case WIRE_FAULT_ID:
        buf_puts(out, "its response has no \"id\", or one that is no whole number from 1 on");
        remedy = ": a response has the id of its request";
        break;
    case WIRE_FAULT_HEARTBEAT:
        buf_puts(out, "its heartbeat has no \"id\", or one that is no whole number from 1 on");
        remedy = ": a heartbeat is {\"heartbeat\":{\"id\":N}}, N the id of the request in hand";
        break;
    case WIRE_FAULT_SUCCESS:
        buf_puts(out, "its response says neither success nor error");
        remedy = ": it needs \"success\": true with \"result\", or \"success\": false with "
                 "\"error\"";
        break;
    case WIRE_FAULT_UNKNOWN_ID:
        buf_printf(out, "it answered request %llu, which was not sent to it or is answered already",
                   (unsigned long long)f->number);
        remedy = ": each request is answered once, with its own id";
        break;
    }
    buf_puts(out, "; the first bytes were ");
    wire_put_shown(out, f->bytes);
    buf_puts(out, remedy);
}

/* The text of a JSON string, no more than so many bytes of it. True: it was cut. */
static bool put_cut(struct buf *out, struct slice string, size_t bytes_max)
{
    _cleanup_buf_ struct buf cut = {0};
    size_t at = 1;

    if (string.len <= bytes_max) {
        json_unquote(string, out);
        return false;
    }
    /* Cut where neither an escape nor a character is open. */
    for (size_t next = at; next <= bytes_max;) {
        at = next;
        if (string.data[at] == '\\')
            next += string.data[at + 1] == 'u' ? 6 : 2;
        else
            next++;
        while (((unsigned char)string.data[next] & 0xC0) == 0x80)
            next++;
    }
    buf_put(&cut, string.data, at);
    buf_putc(&cut, '"');
    if (!cut.failed)
        json_unquote(buf_slice(&cut), out);
    out->failed |= cut.failed;
    return true;
}

static void put_unquoted(struct buf *out, struct slice string)
{
    if (put_cut(out, string, WIRE_ERROR_BYTES_MAX))
        buf_puts(out, "...");
}

void wire_put_heartbeat_text(struct buf *out, const struct wire_response *r)
{
    size_t at = out->len;

    if (r->text.len <= 2)
        return;
    put_cut(out, r->text, CORE_HEARTBEAT_TEXT_MAX);
    if (out->failed)
        return;
    /* One line: whatever would begin another, or end the text, is a space. */
    for (; at < out->len; at++)
        if (out->data[at] == '\n' || out->data[at] == '\r' || out->data[at] == '\0')
            out->data[at] = ' ';
}

void wire_put_error(struct buf *out, const struct wire_response *r)
{
    struct slice raw = r->error;

    if (json_kind(raw) == JSON_NONE || json_kind(raw) == JSON_NULL) {
        buf_puts(out, "the worker reported an error, and gave no reason");
        return;
    }
    if (r->type.len > 2)
        put_unquoted(out, r->type);
    if (r->type.len > 2 && r->message.len > 2)
        buf_puts(out, ": ");
    if (r->message.len > 2)
        put_unquoted(out, r->message);
    if (r->type.len > 2 || r->message.len > 2)
        return;
    /* Of a form that is not the protocol's: better than nothing. */
    if (raw.len > WIRE_ERROR_BYTES_MAX)
        raw.len = WIRE_ERROR_BYTES_MAX;
    raw.len = utf8_valid_prefix(raw);
    buf_put_slice(out, raw);
}
