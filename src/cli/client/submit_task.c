/* See submit.h: the options of tasks, and the JSON that they make. */
#include "cli/client/submit.h"

#include "base/error.h"
#include "base/json.h"
#include "base/parse.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define PAYLOAD_BYTES_MAX ((size_t)64 << 20)
/* Of an array of tasks; the daemon may take less (limits.request_bytes). */
#define ARRAY_BYTES_MAX ((size_t)1 << 30)

#define AT(field) .at = offsetof(struct submit_options, field)

const struct option_spec submit_specs[SUBMIT_SPECS_COUNT] = {
    {.name = "pool",
     .kind = OPTION_TEXT,
     .argument = "POOL",
     AT(pool),
     .group = "Where and when",
     .help = "where it runs (default: the daemon's default pool)"},
    {.name = "skill",
     .kind = OPTION_TEXT,
     .argument = "SKILL",
     AT(skill),
     .group = "Where and when",
     .help = "it runs in a pool that offers this skill"},
    {.name = "priority",
     .kind = OPTION_COUNT,
     .argument = "N",
     AT(priority),
     .min = -1000,
     .max = 1000,
     .group = "Where and when",
     .help = "-1000 to 1000, higher goes first (default 0)"},
    {.name = "tenant",
     .kind = OPTION_TEXT,
     .argument = "NAME",
     AT(tenant),
     .group = "Where and when",
     .help = "whose share it is, under the policy fair-share"},
    {.name = "session",
     .kind = OPTION_TEXT,
     .argument = "NAME",
     AT(session),
     .group = "Where and when",
     .help = "tasks of one session run one after the other, in a pool of workers in the same one"},
    {.name = "after",
     .kind = OPTION_LIST,
     .argument = "ID[,ID]",
     AT(after),
     .group = "Where and when",
     .help = "tasks that have to be done first; may be given several times"},
    {.name = "on-dependency-failure",
     .kind = OPTION_CHOICE,
     .argument = "fail|run",
     .choices = "fail|run",
     AT(on_dependency_failure),
     .group = "Where and when",
     .help = "what becomes of it when one of those fails (default fail)"},
    {.name = "not-before",
     .kind = OPTION_TEXT,
     .argument = "TIME",
     AT(not_before),
     .group = "Where and when",
     .help = "2026-01-31T12:00:00Z, or +90s from now"},
    {.name = "deadline",
     .kind = OPTION_TEXT,
     .argument = "TIME",
     AT(deadline),
     .group = "Where and when",
     .help = "it fails if it is not done by then; as --not-before"},
    {.name = "timeout",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     AT(timeout_ns),
     .min = 0.001,
     .max = 1e9,
     .group = "How it runs",
     .help = "of one attempt: 30s, 5m, 1h30m (default: the pool's)"},
    {.name = "attempts",
     .kind = OPTION_COUNT,
     .argument = "N",
     AT(attempts),
     .min = 1,
     .max = 1e6,
     .group = "How it runs",
     .help = "at most (default: the pool's)"},
    {.name = "backoff",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     AT(backoff_initial_ns),
     .min = 0.001,
     .max = 1e9,
     .group = "How it runs",
     .help = "wait after its first failure, but for a share left to chance (default: the pool's)"},
    {.name = "backoff-factor",
     .kind = OPTION_NUMBER,
     .argument = "X",
     AT(backoff_factor),
     .min = 1,
     .max = 1000,
     .group = "How it runs",
     .help = "each further wait is so much longer (default: the pool's)"},
    {.name = "backoff-ceiling",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     AT(backoff_ceiling_ns),
     .min = 0.001,
     .max = 1e9,
     .group = "How it runs",
     .help = "but no longer than this (default: the pool's)"},
    {.name = "cpu",
     .kind = OPTION_NUMBER,
     .argument = "N",
     AT(cpu),
     .min = 0,
     .max = 1e6,
     .group = "How it runs",
     .help = "processors that it takes of the pool's quota, such as 1.5"},
    {.name = "memory",
     .kind = OPTION_TEXT,
     .argument = "SIZE",
     AT(memory),
     .group = "How it runs",
     .help = "memory that it takes of the pool's quota, such as 512MiB"},
    {.name = "slot",
     .kind = OPTION_LIST,
     .argument = "NAME",
     AT(slots),
     .group = "How it runs",
     .help = "a named resource that it takes a place of; may be given several times"},
};

void submit_options_free(struct submit_options *o)
{
    option_list_free(&o->after);
    option_list_free(&o->slots);
}

const char *submit_single_option(const struct submit_options *o)
{
    if (o->key)
        return "key";
    return o->idempotency_key ? "idempotency-key" : NULL;
}

static bool any_backoff(const struct submit_options *o)
{
    return o->backoff_initial_ns > 0 || o->backoff_factor > 0 || o->backoff_ceiling_ns > 0;
}

bool submit_any_member(const struct submit_options *o)
{
    return o->pool || o->skill || o->tenant || o->session || o->not_before || o->deadline ||
           o->memory || o->priority || o->attempts || o->on_dependency_failure || o->timeout_ns ||
           any_backoff(o) || o->cpu > 0 || o->after.count > 0 || o->slots.count > 0;
}

/* ---- members ---- */

/* Not with U+FFFD in place of what is none: that would be another name, and another file. */
static enum weir_status put_text(struct buf *out, const char *place, const char *value,
                                 struct weir_error *err)
{
    struct slice text = slice_of(value);
    size_t valid = utf8_valid_prefix(text);

    if (valid < text.len)
        return error_set(err, WEIR_E_INVALID,
                         "%s is not UTF-8, at byte %zu, and a task's texts are; in --shell that "
                         "byte can be written as $(printf '\\%03o')",
                         place, valid, (unsigned char)value[valid]);
    json_put_string(out, text);
    return WEIR_OK;
}

/* option: with its dashes; the member has the same name with underscores. */
static enum weir_status put_string(struct buf *out, const char *option, const char *value,
                                   struct weir_error *err)
{
    if (!value)
        return WEIR_OK;
    buf_puts(out, ",\"");
    for (const char *c = option + 2; *c; c++)
        buf_putc(out, *c == '-' ? '_' : *c);
    buf_puts(out, "\":");
    return put_text(out, option, value, err);
}

/* "1,2" and again "3": one list of numbers. */
static enum weir_status put_after(const struct option_list *lists, struct buf *out,
                                  struct weir_error *err)
{
    buf_puts(out, ",\"after\":[");
    for (size_t i = 0; i < lists->count; i++) {
        const char *at = lists->items[i];

        do {
            size_t digits = strspn(at, "0123456789");

            if (digits == 0 || digits > 18 || (at[digits] != '\0' && at[digits] != ','))
                return error_set(err, WEIR_E_INVALID,
                                 "--after: \"%.100s\" is no list of tasks; write it as 17,18",
                                 lists->items[i]);
            buf_printf(out, "%s%.*s", out->data[out->len - 1] == '[' ? "" : ",", (int)digits, at);
            at += digits;
        } while (*at++ == ',');
    }
    buf_putc(out, ']');
    return WEIR_OK;
}

static enum weir_status put_resources(const struct submit_options *o, struct buf *out,
                                      struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    const char *comma = "";

    if (!(o->cpu > 0) && !o->memory && o->slots.count == 0)
        return WEIR_OK;
    buf_puts(out, ",\"resources\":{");
    if (o->cpu > 0) {
        buf_printf(out, "\"cpu\":%.9g", o->cpu);
        comma = ",";
    }
    if (o->memory) {
        buf_printf(out, "%s\"memory\":", comma);
        status = put_text(out, "--memory", o->memory, err);
        comma = ",";
    }
    for (size_t i = 0; i < o->slots.count && status == WEIR_OK; i++) {
        buf_puts(out, i > 0 ? "," : comma);
        buf_puts(out, i > 0 ? "" : "\"slots\":[");
        status = put_text(out, "--slot", o->slots.items[i], err);
    }
    buf_puts(out, o->slots.count > 0 ? "]}" : "}");
    return status;
}

static void put_backoff(const struct submit_options *o, struct buf *out)
{
    const struct {
        const char *member;
        double value;
    } members[] = {
        {"initial", duration_seconds(o->backoff_initial_ns)},
        {"factor", o->backoff_factor},
        {"ceiling", duration_seconds(o->backoff_ceiling_ns)},
    };
    const char *comma = "";

    if (!any_backoff(o))
        return;
    buf_puts(out, ",\"backoff\":{");
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        if (!(members[i].value > 0))
            continue;
        buf_printf(out, "%s\"%s\":%.9g", comma, members[i].member, members[i].value);
        comma = ",";
    }
    buf_putc(out, '}');
}

enum weir_status submit_put_members(const struct submit_options *o, struct buf *out,
                                    struct weir_error *err)
{
    const struct {
        const char *option, *value;
    } texts[] = {
        {"--key", o->key},
        {"--idempotency-key", o->idempotency_key},
        {"--pool", o->pool},
        {"--skill", o->skill},
        {"--tenant", o->tenant},
        {"--session", o->session},
        {"--not-before", o->not_before},
        {"--deadline", o->deadline},
    };
    enum weir_status status = WEIR_OK;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]) && status == WEIR_OK; i++)
        status = put_string(out, texts[i].option, texts[i].value, err);
    if (o->priority != 0)
        buf_printf(out, ",\"priority\":%" PRId64, o->priority);
    if (o->attempts > 0)
        buf_printf(out, ",\"max_attempts\":%" PRId64, o->attempts);
    put_backoff(o, out);
    if (o->on_dependency_failure)
        buf_puts(out, ",\"on_dependency_failure\":\"run\"");
    if (o->timeout_ns > 0)
        buf_printf(out, ",\"timeout\":%.9g", duration_seconds(o->timeout_ns));
    if (status == WEIR_OK)
        status = put_resources(o, out, err);
    if (status == WEIR_OK && o->after.count > 0)
        status = put_after(&o->after, out, err);
    if (status == WEIR_OK && out->failed)
        status = error_nomem(err);
    return status;
}

/* ---- the payload ---- */

static enum weir_status read_all(int fd, const char *name, size_t bytes_max, struct buf *out,
                                 struct weir_error *err)
{
    for (;;) {
        char *room = buf_reserve(out, 65536);
        ssize_t n = room ? read(fd, room, 65536) : 0;

        if (!room)
            return error_nomem(err);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set_errno(err, WEIR_E_INVALID, errno, "%s cannot be read", name);
        if (n == 0) {
            *room = '\0';
            return WEIR_OK;
        }
        out->len += (size_t)n;
        if (out->len > bytes_max)
            return error_set(err, WEIR_E_INVALID, "%s: more than the %zu MiB of %s", name,
                             bytes_max >> 20,
                             bytes_max == PAYLOAD_BYTES_MAX ? "a payload" : "an array of tasks");
    }
}

/* path: NULL for standard input. */
static enum weir_status read_file(const char *path, size_t bytes_max, struct buf *out,
                                  struct weir_error *err)
{
    enum weir_status status;
    int fd;

    if (!path)
        return read_all(STDIN_FILENO, "standard input", bytes_max, out, err);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, WEIR_E_INVALID, errno, "%s cannot be read", path);
    status = read_all(fd, path, bytes_max, out, err);
    close(fd);
    return status;
}

static enum weir_status read_payload(const char *text, struct buf *out, struct weir_error *err)
{
    bool from_stdin = strcmp(text, "-") == 0 || strcmp(text, "@-") == 0;

    if (text[0] != '@' && !from_stdin) {
        buf_puts(out, text);
        return WEIR_OK;
    }
    return read_file(from_stdin ? NULL : text + 1, PAYLOAD_BYTES_MAX, out, err);
}

static enum weir_status put_payload(const char *text, struct buf *out, struct weir_error *err)
{
    _cleanup_buf_ struct buf payload = {0};
    struct json_fault fault;
    enum weir_status status = read_payload(text, &payload, err);

    if (status == WEIR_OK && !json_check(buf_slice(&payload), &fault))
        status = error_set(err, WEIR_E_INVALID,
                           "not JSON: %s, at byte %zu; a text needs quotes of its own: --payload "
                           "'\"text\"'",
                           fault.what, fault.offset);
    if (status != WEIR_OK)
        return error_prefix(err, "--payload");
    buf_put_slice(out, json_trim(buf_slice(&payload)));
    return payload.failed ? error_nomem(err) : WEIR_OK;
}

enum weir_status submit_put_task(const struct submit_options *o, struct buf *out,
                                 struct weir_error *err)
{
    int given = (o->payload != NULL) + (o->shell != NULL) + (o->c.rest.count > 0);
    enum weir_status status = WEIR_OK;

    if (given != 1)
        return error_set(err, WEIR_E_INVALID,
                         given == 0
                             ? "what is to be done is missing: give --payload JSON, --shell "
                               "'TEXT', -- CMD ARGS..., or --lines FILE"
                             : "give one of --payload, --shell and a command behind --, not more");
    buf_puts(out, "{\"payload\":");
    if (o->payload) {
        status = put_payload(o->payload, out, err);
    } else if (o->shell) {
        buf_puts(out, "{\"shell\":");
        status = put_text(out, "--shell", o->shell, err);
        buf_putc(out, '}');
    } else {
        buf_puts(out, "{\"argv\":[");
        for (size_t i = 0; i < o->c.rest.count && status == WEIR_OK; i++) {
            buf_puts(out, i > 0 ? "," : "");
            status = put_text(out, "a word of the command", o->c.rest.items[i], err);
        }
        buf_puts(out, "]}");
    }
    if (status == WEIR_OK)
        status = submit_put_members(o, out, err);
    buf_putc(out, '}');
    return status == WEIR_OK && out->failed ? error_nomem(err) : status;
}

/* ---- many ---- */

static size_t line_of(struct slice text, size_t offset)
{
    size_t line = 1;

    for (size_t i = 0; i < offset && i < text.len; i++)
        line += text.data[i] == '\n';
    return line;
}

enum weir_status submit_read_array(const char *file, struct buf *out, struct weir_error *err)
{
    bool from_stdin = strcmp(file, "-") == 0;
    const char *name = from_stdin ? "standard input" : file;
    enum weir_status status = read_file(from_stdin ? NULL : file, ARRAY_BYTES_MAX, out, err);
    struct slice text = buf_slice(out);
    struct json_fault fault;

    if (status != WEIR_OK)
        return status;
    if (json_kind(text) != JSON_ARRAY)
        return error_set(err, WEIR_E_INVALID,
                         "%s: a JSON array of tasks is expected; tasks on lines of their own go "
                         "with --lines FILE --tasks",
                         name);
    if (json_check(text, &fault))
        return WEIR_OK;
    return error_set(err, WEIR_E_INVALID, "%s:%zu: not JSON: %s, at byte %zu of it all", name,
                     line_of(text, fault.offset), fault.what, fault.offset);
}
