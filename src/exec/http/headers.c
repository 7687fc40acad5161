/*
 * Reads the limits that a response's headers announce (headers.h). Pure, any thread.
 *
 * All of it comes from outside: nothing here trusts a length, a sign or a size. Numbers saturate,
 * and texts that are not understood leave no trace.
 */
#include "exec/http/headers.h"

#include <curl/curl.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* A bare number from here on is a moment, not a wait: 1e9 s is September 2001, or 31 years. */
#define EPOCH_SECONDS_MIN INT64_C(1000000000)
#define EPOCH_MS_MIN      INT64_C(1000000000000)

/* What the value of a header is about. */
enum field { RETRY_AFTER, RETRY_AFTER_MS, LIMIT, REMAINING, RESET, DATE, REQUEST_ID };

struct known {
    const char *name;
    enum field field;
    bool of_tokens; /* LIMIT, REMAINING, RESET: of tokens, not of requests */
    int rank;       /* of several headers that say the same, the highest is believed */
};

static const struct known known_headers[] = {
    {"date", DATE, false, 0},
    {"retry-after", RETRY_AFTER, false, 0},
    {"retry-after-ms", RETRY_AFTER_MS, false, 0},
    {"x-ratelimit-limit-requests", LIMIT, false, 0},
    {"x-ratelimit-remaining-requests", REMAINING, false, 0},
    {"x-ratelimit-reset-requests", RESET, false, 0},
    {"x-ratelimit-limit-tokens", LIMIT, true, 0},
    {"x-ratelimit-remaining-tokens", REMAINING, true, 0},
    {"x-ratelimit-reset-tokens", RESET, true, 0},
    {"anthropic-ratelimit-requests-limit", LIMIT, false, 0},
    {"anthropic-ratelimit-requests-remaining", REMAINING, false, 0},
    {"anthropic-ratelimit-requests-reset", RESET, false, 0},
    {"anthropic-ratelimit-tokens-limit", LIMIT, true, 0},
    {"anthropic-ratelimit-tokens-remaining", REMAINING, true, 0},
    {"anthropic-ratelimit-tokens-reset", RESET, true, 0},
    {"x-ratelimit-limit", LIMIT, false, 0},
    {"x-ratelimit-remaining", REMAINING, false, 0},
    {"x-ratelimit-reset", RESET, false, 0},
    {"ratelimit-limit", LIMIT, false, 0},
    {"ratelimit-remaining", REMAINING, false, 0},
    {"ratelimit-reset", RESET, false, 0},
    {"x-request-id", REQUEST_ID, false, 5},
    {"request-id", REQUEST_ID, false, 4},
    {"openai-request-id", REQUEST_ID, false, 3},
    {"x-amzn-requestid", REQUEST_ID, false, 2},
    {"x-ms-request-id", REQUEST_ID, false, 1},
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static struct slice trim(struct slice s)
{
    while (s.len > 0 && is_space(s.data[0])) {
        s.data++;
        s.len--;
    }
    while (s.len > 0 && is_space(s.data[s.len - 1]))
        s.len--;
    return s;
}

static void skip(struct slice *s, size_t count)
{
    s->data += count;
    s->len -= count;
}

/* Takes digits from the front; saturates. False: there is none. */
static bool take_digits(struct slice *s, int64_t *ret)
{
    int64_t n = 0;
    size_t i = 0;

    for (; i < s->len && is_digit(s->data[i]); i++) {
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, s->data[i] - '0', &n))
            n = INT64_MAX;
    }
    if (i == 0)
        return false;
    skip(s, i);
    *ret = n;
    return true;
}

/* A decimal number from the front: whole part, and the fraction in billionths. */
static bool take_decimal(struct slice *s, int64_t *ret_whole, int64_t *ret_billionths)
{
    int64_t whole = 0, billionths = 0, scale = 100000000;
    bool any = take_digits(s, &whole);

    if (s->len > 0 && s->data[0] == '.') {
        size_t i = 1;

        for (; i < s->len && is_digit(s->data[i]); i++) {
            billionths += scale * (s->data[i] - '0');
            scale /= 10;
        }
        if (!any && i == 1)
            return false;
        any = true;
        skip(s, i);
    }
    *ret_whole = whole;
    *ret_billionths = billionths;
    return any;
}

/* whole.billionths of a unit, clamped. */
static int64_t scale_ns(int64_t whole, int64_t billionths, int64_t unit_ns)
{
    /* unit_ns is at most a day, 8.64e13: the fraction is taken in steps that cannot overflow. */
    int64_t fraction =
        unit_ns >= NS_PER_S ? unit_ns / NS_PER_S * billionths : unit_ns * billionths / NS_PER_S;
    int64_t ns;

    if (__builtin_mul_overflow(whole, unit_ns, &ns) || __builtin_add_overflow(ns, fraction, &ns) ||
        ns > HTTP_WAIT_NS_MAX)
        return HTTP_WAIT_NS_MAX;
    return ns;
}

/* A unit's name from the front; 0: none that is known. */
static int64_t take_unit_ns(struct slice *s)
{
    static const struct {
        const char *name;
        int64_t ns;
    } units[] = {
        {"ms", NS_PER_MS},        {"us", NS_PER_US},
        {"\xc2\xb5s", NS_PER_US}, {"ns", 1},
        {"s", NS_PER_S},          {"m", 60 * NS_PER_S},
        {"h", 3600 * NS_PER_S},   {"d", 24 * 3600 * NS_PER_S},
    };

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        size_t len = strlen(units[i].name);

        if (s->len >= len && memcmp(s->data, units[i].name, len) == 0) {
            skip(s, len);
            return units[i].ns;
        }
    }
    return 0;
}

static struct http_wait wait_for(int64_t ns)
{
    return (struct http_wait){HTTP_WAIT_FOR, ns};
}

static struct http_wait wait_until(int64_t unix_s)
{
    return (struct http_wait){HTTP_WAIT_UNTIL, unix_s};
}

static const struct http_wait untold = {HTTP_WAIT_UNTOLD, 0};

/* A number without a unit: seconds, or a moment when it is too large for a wait. */
static struct http_wait wait_of_bare(int64_t whole, int64_t billionths)
{
    if (whole >= EPOCH_MS_MIN)
        return wait_until(whole / 1000);
    if (whole >= EPOCH_SECONDS_MIN)
        return wait_until(whole);
    return wait_for(scale_ns(whole, billionths, NS_PER_S));
}

/* Numbers, each with a unit, as "1m30.5s"; or one number alone. */
static struct http_wait wait_of_sum(struct slice s)
{
    int64_t sum = 0, whole, billionths, unit_ns;
    bool first = true;

    while (s.len > 0) {
        if (!take_decimal(&s, &whole, &billionths))
            return untold;
        if (first && s.len == 0)
            return wait_of_bare(whole, billionths);
        unit_ns = take_unit_ns(&s);
        if (unit_ns == 0)
            return untold;
        sum += scale_ns(whole, billionths, unit_ns); /* both at most a year: no overflow */
        if (sum > HTTP_WAIT_NS_MAX)
            sum = HTTP_WAIT_NS_MAX;
        first = false;
    }
    return wait_for(sum);
}

/* Exactly `count` digits from the front, and then the byte `after` unless it is 0. */
static bool take_field(struct slice *s, size_t count, char after, int *ret)
{
    int n = 0;

    if (s->len < count + (after ? 1 : 0))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (!is_digit(s->data[i]))
            return false;
        n = n * 10 + (s->data[i] - '0');
    }
    if (after && s->data[count] != after)
        return false;
    skip(s, count + (after ? 1 : 0));
    *ret = n;
    return true;
}

/* "Z", "+02:00" or "-0730", to the end. */
static bool take_zone(struct slice *s, int *ret_seconds)
{
    int sign, hours, minutes;

    if (s->len == 1 && (s->data[0] == 'Z' || s->data[0] == 'z')) {
        *ret_seconds = 0;
        return true;
    }
    if (s->len < 5 || (s->data[0] != '+' && s->data[0] != '-'))
        return false;
    sign = s->data[0] == '-' ? -1 : 1;
    skip(s, 1);
    if (!take_field(s, 2, s->data[2] == ':' ? ':' : 0, &hours) || !take_field(s, 2, 0, &minutes) ||
        s->len > 0 || hours > 23 || minutes > 59)
        return false;
    *ret_seconds = sign * (hours * 3600 + minutes * 60);
    return true;
}

/* RFC 3339: 2026-01-31T12:00:00.5Z; its fraction is dropped. */
static struct http_wait wait_of_rfc3339(struct slice s)
{
    struct tm tm = {0};
    int zone_s = 0;
    int64_t ignored;

    if (!take_field(&s, 4, '-', &tm.tm_year) || !take_field(&s, 2, '-', &tm.tm_mon) ||
        !take_field(&s, 2, 0, &tm.tm_mday) || s.len == 0 ||
        (s.data[0] != 'T' && s.data[0] != 't' && s.data[0] != ' '))
        return untold;
    skip(&s, 1);
    if (!take_field(&s, 2, ':', &tm.tm_hour) || !take_field(&s, 2, ':', &tm.tm_min) ||
        !take_field(&s, 2, 0, &tm.tm_sec))
        return untold;
    if (s.len > 0 && s.data[0] == '.') {
        skip(&s, 1);
        if (!take_digits(&s, &ignored))
            return untold;
    }
    if (!take_zone(&s, &zone_s) || tm.tm_year < 1970 || tm.tm_mon < 1 || tm.tm_mon > 12 ||
        tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
        return untold;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    return wait_until((int64_t)timegm(&tm) - zone_s);
}

/* The three forms of a date in RFC 9110, which curl reads without a look at any clock or locale. */
static struct http_wait wait_of_http_date(struct slice s)
{
    char text[64];
    time_t t;

    if (s.len >= sizeof(text) || memchr(s.data, '\0', s.len))
        return untold;
    memcpy(text, s.data, s.len);
    text[s.len] = '\0';
    t = curl_getdate(text, NULL);
    return t < 0 ? untold : wait_until((int64_t)t);
}

struct http_wait http_wait_parse(struct slice text)
{
    struct slice s = trim(text);

    if (s.len >= 2 && s.data[0] == '"' && s.data[s.len - 1] == '"') {
        skip(&s, 1);
        s.len--;
    }
    if (s.len == 0)
        return untold;
    if (is_letter(s.data[0]))
        return wait_of_http_date(s);
    if (s.len > 4 && s.data[4] == '-')
        return wait_of_rfc3339(s);
    return wait_of_sum(s);
}

/* "100", "99.5", "100, 100;w=60" (the first number counts); -1: none of these. */
static int64_t parse_count_of(struct slice text)
{
    struct slice s = trim(text);
    int64_t whole, billionths;

    if (!take_decimal(&s, &whole, &billionths))
        return -1;
    if (s.len > 0 && s.data[0] != ',' && s.data[0] != ';' && !is_space(s.data[0]))
        return -1;
    return whole < HTTP_QUOTA_MAX ? whole : HTTP_QUOTA_MAX;
}

static void set_retry_after_ms(struct http_headers *h, struct slice value)
{
    struct slice s = trim(value);
    int64_t whole, billionths;

    if (!take_decimal(&s, &whole, &billionths) || s.len > 0)
        return;
    h->retry_after = wait_for(scale_ns(whole, billionths, NS_PER_MS));
    h->retry_after_in_ms = true;
}

static void set_request_id(struct http_headers *h, struct slice value, int rank)
{
    struct slice s = trim(value);

    if (s.len == 0 || rank <= h->request_id_rank)
        return;
    if (s.len >= HTTP_REQUEST_ID_BYTES)
        s.len = HTTP_REQUEST_ID_BYTES - 1;
    /* It goes into messages and files: plain visible ASCII, or not at all. */
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < 0x20 || s.data[i] > 0x7e)
            return;
    }
    memcpy(h->request_id, s.data, s.len);
    h->request_id[s.len] = '\0';
    h->request_id_rank = rank;
}

/* Most responses have a Date, and hardly one has a wait that it is needed for; reading it costs more than all else that
 * is done with the headers. */
static void keep_date(struct http_headers *h, struct slice value)
{
    struct slice s = trim(value);

    if (s.len == 0 || s.len >= HTTP_DATE_BYTES || memchr(s.data, '\0', s.len))
        return;
    memcpy(h->date, s.data, s.len);
    h->date[s.len] = '\0';
}

static void set_known(struct http_headers *h, const struct known *known, struct slice value)
{
    struct http_headers_quota *quota = known->of_tokens ? &h->tokens : &h->requests;
    struct http_wait wait;
    int64_t count;

    switch (known->field) {
    case RETRY_AFTER:
        wait = http_wait_parse(value);
        if (wait.kind != HTTP_WAIT_UNTOLD && !h->retry_after_in_ms)
            h->retry_after = wait;
        break;
    case RETRY_AFTER_MS:
        set_retry_after_ms(h, value);
        break;
    case LIMIT:
        count = parse_count_of(value);
        if (count >= 0)
            quota->limit = count;
        break;
    case REMAINING:
        count = parse_count_of(value);
        if (count >= 0)
            quota->remaining = count;
        break;
    case RESET:
        wait = http_wait_parse(value);
        if (wait.kind != HTTP_WAIT_UNTOLD)
            quota->reset = wait;
        break;
    case DATE:
        keep_date(h, value);
        break;
    case REQUEST_ID:
        set_request_id(h, value, known->rank);
        break;
    }
}

void http_headers_init(struct http_headers *h)
{
    /* Not all of it: the request id's bytes are behind its rank. */
    h->retry_after = untold;
    h->retry_after_in_ms = false;
    h->requests = (struct http_headers_quota){-1, -1, untold};
    h->tokens = h->requests;
    h->date[0] = '\0';
    h->request_id_rank = 0;
    h->request_id[0] = '\0';
}

void http_headers_line(struct http_headers *h, struct slice line)
{
    const char *colon;
    size_t name_len;
    char first;

    if (line.len == 0)
        return;
    first = (char)(line.data[0] | 0x20);
    /* This runs for each header of each response: most are told by their first letter. */
    if (!strchr("hxrado", first) || first == '\0')
        return;
    if (line.len >= 5 && memcmp(line.data, "HTTP/", 5) == 0) {
        http_headers_init(h);
        return;
    }
    colon = memchr(line.data, ':', line.len);
    if (!colon)
        return;
    name_len = (size_t)(colon - line.data);
    for (size_t i = 0; i < sizeof(known_headers) / sizeof(known_headers[0]); i++) {
        const struct known *known = &known_headers[i];

        if (known->name[0] == first && strlen(known->name) == name_len &&
            strncasecmp(known->name, line.data, name_len) == 0) {
            set_known(h, known, (struct slice){colon + 1, line.len - name_len - 1});
            return;
        }
    }
}

/* From the answer on; never negative: what is past is now. */
static duration_ns resolve(struct http_wait wait, int64_t now_unix_s)
{
    int64_t seconds;

    switch (wait.kind) {
    case HTTP_WAIT_FOR:
        return wait.value;
    case HTTP_WAIT_UNTIL:
        if (__builtin_sub_overflow(wait.value, now_unix_s, &seconds))
            return wait.value > now_unix_s ? HTTP_WAIT_NS_MAX : 0;
        return seconds > 0 ? scale_ns(seconds, 0, NS_PER_S) : 0;
    case HTTP_WAIT_UNTOLD:
        break;
    }
    return -1;
}

static bool tells_date(const struct http_headers *h)
{
    return h->retry_after.kind == HTTP_WAIT_UNTIL || h->requests.reset.kind == HTTP_WAIT_UNTIL ||
           h->tokens.reset.kind == HTTP_WAIT_UNTIL;
}

/* The service's own clock, or ours when it does not tell. */
static int64_t clock_of(const struct http_headers *h, int64_t now_unix_s)
{
    struct http_wait date = http_wait_parse(slice_of(h->date));

    return date.kind == HTTP_WAIT_UNTIL && date.value >= 0 ? date.value : now_unix_s;
}

void http_headers_advice(const struct http_headers *h, int64_t now_unix_s, struct flow_advice *ret)
{
    int64_t now = tells_date(h) ? clock_of(h, now_unix_s) : now_unix_s;

    ret->retry_after_ns = resolve(h->retry_after, now);
    ret->requests = (struct flow_quota){h->requests.limit, h->requests.remaining,
                                        resolve(h->requests.reset, now)};
    ret->tokens =
        (struct flow_quota){h->tokens.limit, h->tokens.remaining, resolve(h->tokens.reset, now)};
}
