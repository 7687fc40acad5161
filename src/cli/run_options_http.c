/*
 * The options of runs with --url: the table, its setters, and the checks between them. Secrets come
 * in here.
 */
#include "base/error.h"
#include "base/mem.h"
#include "cli/run_options_parts.h"
#include "cli/run_url.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEADERS_MAX        1000
#define HEADER_BYTES_MAX   65536
#define METHOD_BYTES_MAX   16
#define RESPONSE_BYTES_MAX (1024.0 * 1024 * 1024)

/* ---- secrets ---- */

/* A compiler may drop a memset of memory that is freed next; not this. */
static void wipe(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
}

/* Setters get a pointer into argv, which is the process list; its bytes are ours to overwrite. */
static void cover(const char *argument, size_t from, size_t len)
{
    memset((char *)(uintptr_t)(argument + from), '*', len);
}

/* ---- setters ---- */

static bool is_token_char(char c)
{
    return isalnum((unsigned char)c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* Two rows with one key are one row to a service that keeps the promise of such a key. */
static bool is_row_key(const char *name, size_t len)
{
    static const char key[] = "Idempotency-Key";

    return len == sizeof(key) - 1 && strncasecmp(name, key, len) == 0;
}

static enum weir_status add_header(struct run_http_options *o, const char *name, size_t name_len,
                                   const char *prefix, const char *value, struct weir_error *err)
{
    struct buf line = {0};
    struct run_header *headers;

    if (name_len == 0)
        return error_set(err, WEIR_E_INVALID,
                         "the header's name is missing; write \"Name: value\"");
    for (size_t i = 0; i < name_len; i++) {
        if (!is_token_char(name[i]))
            return error_set(err, WEIR_E_INVALID,
                             "the header's name holds a character that is not allowed in one; "
                             "write \"Name: value\"");
    }
    for (const char *c = value; *c; c++) {
        if (((unsigned char)*c < 0x20 && *c != '\t') || *c == 0x7f)
            return error_set(err, WEIR_E_INVALID,
                             "the value of %.*s holds a line break or control character",
                             (int)(name_len < 60 ? name_len : 60), name);
    }
    if (is_row_key(name, name_len))
        return error_set(err, WEIR_E_INVALID,
                         "Idempotency-Key is each row's own: with one for all, a service would "
                         "take them for one row; leave it out");
    if (o->header_count >= HEADERS_MAX)
        return error_set(err, WEIR_E_LIMIT, "more than %d headers", HEADERS_MAX);
    if (name_len + strlen(value) > HEADER_BYTES_MAX)
        return error_set(err, WEIR_E_LIMIT, "a header of more than %d bytes", HEADER_BYTES_MAX);
    buf_put(&line, name, name_len);
    buf_puts(&line, *value ? ": " : ":");
    buf_puts(&line, prefix);
    buf_puts(&line, value);
    headers = mem_realloc(o->headers, (o->header_count + 1) * sizeof(*headers));
    if (headers)
        o->headers = headers;
    if (!headers || line.failed) {
        wipe(line.data);
        buf_free(&line);
        return error_nomem(err);
    }
    headers[o->header_count++] = (struct run_header){.line = line.data, .name_len = name_len};
    return WEIR_OK;
}

static enum weir_status set_header(void *into, const char *value, struct weir_error *err)
{
    const char *colon = strchr(value, ':');
    size_t name_len;
    enum weir_status status;

    /* The text is not shown: whatever is wrong with it, it may be a key. */
    if (!colon)
        return error_set(err, WEIR_E_INVALID, "a colon is missing; write \"Name: value\"");
    name_len = (size_t)(colon - value);
    status = add_header(into, value, name_len, "", colon + 1 + strspn(colon + 1, " \t"), err);
    if (run_url_names_secret((struct slice){value, name_len}))
        cover(value, name_len + 1, strlen(colon + 1));
    return status;
}

static enum weir_status read_variable(const char *name, const char **ret, struct weir_error *err)
{
    const char *value;

    if (!*name)
        return error_set(err, WEIR_E_INVALID, "the variable's name is missing");
    value = getenv(name);
    if (!value)
        return error_set(err, WEIR_E_INVALID,
                         "the environment has no variable %.100s; export it first", name);
    if (!*value)
        return error_set(err, WEIR_E_INVALID, "the environment's variable %.100s is empty", name);
    *ret = value;
    return WEIR_OK;
}

static enum weir_status set_header_env(void *into, const char *value, struct weir_error *err)
{
    const char *equals = strchr(value, '=');
    const char *secret;
    enum weir_status status;

    if (!equals)
        return error_set(err, WEIR_E_INVALID,
                         "a = is missing; write NAME=VARIABLE, such as x-api-key=MY_API_KEY");
    status = read_variable(equals + 1, &secret, err);
    if (status != WEIR_OK)
        return status;
    return add_header(into, value, (size_t)(equals - value), "", secret, err);
}

static enum weir_status set_bearer_env(void *into, const char *value, struct weir_error *err)
{
    const char *secret;
    enum weir_status status = read_variable(value, &secret, err);

    if (status != WEIR_OK)
        return status;
    return add_header(into, "Authorization", strlen("Authorization"), "Bearer ", secret, err);
}

/* Keeps a copy of an address, and covers user and password where they stood. */
static enum weir_status copy_address(char **field, const char *value, struct weir_error *err)
{
    struct slice user = run_url_userinfo(slice_of(value));
    char *copy = mem_strdup(value);

    if (!copy)
        return error_nomem(err);
    wipe(*field);
    mem_free(*field);
    *field = copy;
    if (user.len > 0)
        cover(user.data, 0, user.len);
    return WEIR_OK;
}

static enum weir_status set_url(void *into, const char *value, struct weir_error *err)
{
    struct run_http_options *o = into;

    return copy_address(&o->url, value, err);
}

static enum weir_status set_proxy(void *into, const char *value, struct weir_error *err)
{
    struct run_http_options *o = into;

    return copy_address(&o->proxy, value, err);
}

/* ---- the table ---- */

#define AT(field) .at = offsetof(struct run_http_options, field)
#define HTTP      .group = "HTTP (with --url)", .only = ONLY_HTTP

const struct option_spec run_http_specs[] = {
    {.name = "url",
     .kind = OPTION_SET,
     .argument = "URL",
     .set = set_url,
     HTTP,
     .help =
         "where rows are sent. A row in the OpenAI Batch form (custom_id, method, url, body) goes "
         "to this address's origin plus its own url; any other row is the body itself"},

    {.name = "method",
     .kind = OPTION_TEXT,
     .argument = "NAME",
     AT(method),
     HTTP,
     .help = "of rows that name none (default POST)"},
    {.name = "header",
     .kind = OPTION_SET,
     .argument = "LINE",
     .set = set_header,
     HTTP,
     .help = "\"Name: value\", sent with each request; may be given again. Not for secrets"},
    {.name = "header-env",
     .kind = OPTION_SET,
     .argument = "NAME=VAR",
     .set = set_header_env,
     HTTP,
     .help = "a header whose value is in the environment's variable VAR"},
    {.name = "bearer-env",
     .kind = OPTION_SET,
     .argument = "VAR",
     .set = set_bearer_env,
     HTTP,
     .help = "\"Authorization: Bearer\" with the key that is in VAR"},
    {.name = "connect-timeout",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     AT(connect_timeout_ns),
     .min = 0.001,
     .max = RUN_DURATION_MAX_S,
     HTTP,
     .help = "default 10s"},
    {.name = "response-limit",
     .kind = OPTION_SIZE,
     .argument = "SIZE",
     AT(response_max_bytes),
     .min = 1,
     .max = RESPONSE_BYTES_MAX,
     HTTP,
     .help = "largest response (default 64MiB)"},
    {.name = "http",
     .kind = OPTION_CHOICE,
     .argument = "VERSION",
     .choices = "auto|1.1|2|2-prior",
     AT(http),
     HTTP,
     .help = "auto, 1.1, 2, or 2-prior: HTTP/2 without asking (default auto)"},
    {.name = "proxy",
     .kind = OPTION_SET,
     .argument = "URL",
     .set = set_proxy,
     HTTP,
     .help = "default: http_proxy, https_proxy; an empty one: none"},
    {.name = "no-proxy",
     .kind = OPTION_TEXT,
     .argument = "NAMES",
     AT(no_proxy),
     HTTP,
     .help = "hosts that go without the proxy"},
    {.name = "cacert",
     .kind = OPTION_TEXT,
     .argument = "FILE",
     AT(cacert),
     HTTP,
     .help = "certificates to trust instead of the system's"},
    {.name = "cert",
     .kind = OPTION_TEXT,
     .argument = "FILE",
     AT(cert),
     HTTP,
     .help = "client certificate (PEM)"},
    {.name = "key-file",
     .kind = OPTION_TEXT,
     .argument = "FILE",
     AT(key_file),
     HTTP,
     .help = "its private key (PEM; default: in the certificate's file)"},
    {.name = "insecure",
     .kind = OPTION_FLAG,
     AT(insecure),
     HTTP,
     .help = "does not check the service's certificate"},
    {.name = "unix-socket",
     .kind = OPTION_TEXT,
     .argument = "PATH",
     AT(unix_socket),
     HTTP,
     .help = "connects there instead of to the address's host"},
};

void run_http_options_init(struct run_http_options *o)
{
    *o = (struct run_http_options){
        .connect_timeout_ns = 10 * NS_PER_S,
        .response_max_bytes = UINT64_C(64) << 20,
    };
}

void run_http_options_free(struct run_http_options *o)
{
    for (size_t i = 0; i < o->header_count; i++) {
        wipe(o->headers[i].line);
        mem_free(o->headers[i].line);
    }
    o->headers = mem_free(o->headers);
    o->header_count = 0;
    wipe(o->proxy);
    o->proxy = mem_free(o->proxy);
    wipe(o->url);
    o->url = mem_free(o->url);
}

/* ---- what must hold between options ---- */

static bool has_header(const struct run_http_options *o, const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < o->header_count; i++) {
        if (o->headers[i].name_len == len && strncasecmp(o->headers[i].line, name, len) == 0)
            return true;
    }
    return false;
}

/* A user and password in the URL become a header, so that no URL anywhere holds them. */
static enum weir_status check_url(struct run_http_options *o, struct weir_error *err)
{
    struct slice user;
    struct buf credentials = {0};
    enum weir_status status;

    status = run_url_check(o->url, err);
    if (status != WEIR_OK)
        goto out;
    user = run_url_userinfo(slice_of(o->url));
    if (user.len == 0)
        goto out;
    if (has_header(o, "Authorization")) {
        status = error_set(err, WEIR_E_INVALID,
                           "it holds a user, and an Authorization header is given too; give one");
        goto out;
    }
    run_url_basic(user, &credentials);
    status = credentials.failed ? error_nomem(err)
                                : add_header(o, "Authorization", strlen("Authorization"), "Basic ",
                                             credentials.data, err);
    if (status == WEIR_OK)
        run_url_strip(o->url);
out:
    if (credentials.data)
        explicit_bzero(credentials.data, credentials.cap);
    buf_free(&credentials);
    if (status != WEIR_OK && status != WEIR_E_NOMEM)
        error_prefix(err, "--url");
    return status;
}

static enum weir_status check_http(const struct run_http_options *o, struct weir_error *err)
{
    size_t len = o->method ? strlen(o->method) : 1;

    if (len == 0 || len > METHOD_BYTES_MAX)
        return error_set(err, WEIR_E_INVALID, "--method: must have 1 to %d letters",
                         METHOD_BYTES_MAX);
    for (size_t i = 0; o->method && i < len; i++) {
        if (!isalpha((unsigned char)o->method[i]))
            return error_set(err, WEIR_E_INVALID, "--method: must be letters, such as POST");
    }
    if (o->key_file && !o->cert)
        return error_set(err, WEIR_E_INVALID, "--key-file: needs --cert FILE");
    return WEIR_OK;
}

enum weir_status run_http_options_check(struct run_http_options *o, struct weir_error *err)
{
    enum weir_status status = check_url(o, err);

    return status == WEIR_OK ? check_http(o, err) : status;
}
