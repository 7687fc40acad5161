/*
 * The table of `weir run`, its setters, and the checks between options.
 */
#include "cli/run_options.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/parse.h"
#include "cli/run_url.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define JOBS_MAX           100000
#define WINDOW_ROWS_MAX    (1 << 24)
#define HEADERS_MAX        1000
#define HEADER_BYTES_MAX   65536
#define METHOD_BYTES_MAX   16
#define STATUSES_MAX       64
#define DURATION_MAX_S     (366 * 86400.0)
#define LINE_BYTES_MAX     (1024.0 * 1024 * 1024)
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

static enum weir_status add_header(struct run_options *o, const char *name, size_t name_len,
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
    struct run_options *o = into;

    return copy_address(&o->url, value, err);
}

static enum weir_status set_proxy(void *into, const char *value, struct weir_error *err)
{
    struct run_options *o = into;

    return copy_address(&o->proxy, value, err);
}

/* ---- the table ---- */

#define AT(field) .at = offsetof(struct run_options, field)
#define INPUT     .group = "Input"
#define OUTPUT    .group = "Output"
#define HTTP      .group = "HTTP"
#define TOLD      .group = "Telling"

static const struct option_spec files_specs[] = {
    {.name = "url",
     .kind = OPTION_SET,
     .argument = "URL",
     .set = set_url,
     INPUT,
     .help =
         "where rows are sent. A row in the OpenAI Batch form (custom_id, method, url, body) goes "
         "to this address's origin plus its own url; any other row is the body itself"},
    {.name = "template",
     .kind = OPTION_TEXT,
     .argument = "EXPR",
     AT(template_expr),
     INPUT,
     .help = "builds the body from the row (jq)"},
    {.name = "select",
     .kind = OPTION_TEXT,
     .argument = "EXPR",
     AT(select_expr),
     INPUT,
     .help = "picks the output from the response's body (jq)"},
    {.name = "key",
     .kind = OPTION_TEXT,
     .argument = "EXPR",
     AT(key_expr),
     INPUT,
     .help = "names the row (jq; default: custom_id, else its number)"},
    {.name = "lines",
     .kind = OPTION_FLAG,
     AT(lines),
     INPUT,
     .help = "rows are lines of plain text, not JSON"},
    {.name = "skip-bad",
     .kind = OPTION_FLAG,
     AT(skip_bad),
     INPUT,
     .help = "a row that cannot be read gets an error result in its place, instead of a refusal of "
             "the input"},
    {.name = "max-line",
     .kind = OPTION_SIZE,
     .argument = "SIZE",
     AT(max_line_bytes),
     .min = 1,
     .max = LINE_BYTES_MAX,
     INPUT,
     .help = "longest line that is a row (default 16MiB)"},

    {.name = "output",
     .letter = 'o',
     .kind = OPTION_TEXT,
     .argument = "FILE",
     AT(output),
     OUTPUT,
     .help =
         "results, in the order of the rows (default: standard output). With a file the run can "
         "be gone on with by the same command"},
    {.name = "errors",
     .kind = OPTION_TEXT,
     .argument = "FILE",
     AT(errors),
     OUTPUT,
     .help = "failed rows go here instead"},
    {.name = "meta",
     .kind = OPTION_FLAG,
     AT(meta),
     OUTPUT,
     .help = "adds to each result when, how often and how it was tried"},
    {.name = "journal",
     .kind = OPTION_TEXT,
     .argument = "FILE",
     AT(journal),
     OUTPUT,
     .help = "remembers what is done (default: the output's name with .weir)"},
    {.name = "fresh",
     .kind = OPTION_FLAG,
     AT(fresh),
     OUTPUT,
     .help = "starts over: forgets the journal and replaces the output"},
    {.name = "retry-failed",
     .kind = OPTION_FLAG,
     AT(retry_failed),
     OUTPUT,
     .help = "runs the failed rows again, keeps the others' results"},

};

static const struct option_spec seed_specs[] = {
    {.name = "seed",
     .kind = OPTION_COUNT,
     .argument = "N",
     AT(seed),
     .min = 0,
     .max = 9e18,
     .group = FLOW_OPTIONS_GROUP,
     .help = "of the jitter (default: from the system)"},
};

static const struct option_spec http_specs[] = {
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
     .max = DURATION_MAX_S,
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

    {.name = "progress",
     .kind = OPTION_CHOICE,
     .argument = "HOW",
     .choices = "auto|tty|plain|json|none",
     AT(progress),
     TOLD,
     .help = "tty, plain, json, none, or auto: tty on a terminal that shows no results, else plain "
             "(default auto)"},
    {.name = "quiet",
     .letter = 'q',
     .kind = OPTION_FLAG,
     AT(quiet),
     TOLD,
     .help = "no progress and no summary; errors only"},
    {.name = "summary",
     .kind = OPTION_TEXT,
     .argument = "FILE",
     AT(summary),
     TOLD,
     .help = "the summary and all statistics as JSON"},
    {.name = "events",
     .kind = OPTION_TEXT,
     .argument = "FILE",
     AT(events),
     TOLD,
     .help = "each step of each row as a line of JSON"},
    {.name = "help", .letter = 'h', .kind = OPTION_FLAG, AT(help), TOLD, .help = "this"},
};

static const struct options_part parts[] = {
    {files_specs, sizeof(files_specs) / sizeof(files_specs[0]), 0},
    {flow_option_specs, FLOW_OPTION_COUNT, offsetof(struct run_options, flow)},
    {seed_specs, sizeof(seed_specs) / sizeof(seed_specs[0]), 0},
    {flow_aimd_specs, FLOW_AIMD_COUNT, offsetof(struct run_options, flow)},
    {http_specs, sizeof(http_specs) / sizeof(http_specs[0]), 0},
};

static const struct options_table table = {
    .command = "weir run",
    .usage = "--url URL [options] [FILE...]",
    .intro =
        "Sends each row of the files (JSON lines; standard input when none or - is given) to an "
        "HTTP service, as fast as the service bears, and writes one result per row, in the order "
        "of the rows.",
    .outro =
        "TIME: 1.5s, 200ms, 2m, 1h; a bare number is seconds. SIZE: 512, 64k, 16MiB. N: 100, 10k, "
        "2M.\n\nExit status: 0 all rows ok; 1 some rows failed; 2 usage or input error; 3 stopped, "
        "the same command goes on; 4 stopped by --halt.",
    .parts = parts,
    .part_count = sizeof(parts) / sizeof(parts[0]),
    .positional_at = offsetof(struct run_options, inputs),
    .takes_positional = true,
};

void run_options_help(struct buf *out)
{
    options_help(&table, 100, out);
}

void run_options_init(struct run_options *o)
{
    *o = (struct run_options){
        .max_line_bytes = UINT64_C(16) << 20,
        .connect_timeout_ns = 10 * NS_PER_S,
        .response_max_bytes = UINT64_C(64) << 20,
        .progress = PROGRESS_AUTO,
    };
    flow_options_init(&o->flow);
}

void run_options_free(struct run_options *o)
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
    o->journal_owned = mem_free(o->journal_owned);
    flow_options_free(&o->flow);
    option_list_free(&o->inputs);
}

/* ---- what must hold between options ---- */

static bool has_header(const struct run_options *o, const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < o->header_count; i++) {
        if (o->headers[i].name_len == len && strncasecmp(o->headers[i].line, name, len) == 0)
            return true;
    }
    return false;
}

/* A user and password in the URL become a header, so that no URL anywhere holds them. */
static enum weir_status check_url(struct run_options *o, struct weir_error *err)
{
    struct slice user;
    struct buf credentials = {0};
    enum weir_status status;

    if (!o->url)
        return error_set(err, WEIR_E_INVALID,
                         "--url is missing; give the service's address, such as --url "
                         "https://host/v1/chat/completions");
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

static enum weir_status check_files(struct run_options *o, struct weir_error *err)
{
    struct buf journal = {0};

    if (o->output && strcmp(o->output, "-") == 0)
        o->output = NULL;
    if (o->output && !*o->output)
        return error_set(err, WEIR_E_INVALID, "--output: the name is empty");
    if (o->errors && !*o->errors)
        return error_set(err, WEIR_E_INVALID, "--errors: the name is empty");
    if (o->output && o->errors && strcmp(o->output, o->errors) == 0)
        return error_set(err, WEIR_E_INVALID, "--errors: is the same file as --output");
    if (o->fresh && o->retry_failed)
        return error_set(err, WEIR_E_INVALID,
                         "--retry-failed: goes on with what --fresh throws away; give one of them");
    if (!o->output && o->retry_failed)
        return error_set(err, WEIR_E_INVALID,
                         "--retry-failed: needs the -o FILE of the run before");
    if (!o->output && o->journal)
        return error_set(err, WEIR_E_INVALID,
                         "--journal: needs -o FILE; what went to standard output cannot be gone on "
                         "with");
    if (o->output && !o->journal) {
        buf_puts(&journal, o->output);
        buf_puts(&journal, ".weir");
        o->journal_owned = buf_steal(&journal, NULL);
        buf_free(&journal);
        if (!o->journal_owned)
            return error_nomem(err);
        o->journal = o->journal_owned;
    }
    for (size_t i = 0; i < o->inputs.count; i++) {
        if (!*o->inputs.items[i])
            return error_set(err, WEIR_E_INVALID, "the name of input file %zu is empty", i + 1);
    }
    return WEIR_OK;
}

static enum weir_status check_http(const struct run_options *o, struct weir_error *err)
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

enum weir_status run_options_parse(struct run_options *o, int argc, char **argv,
                                   struct weir_error *err)
{
    enum weir_status status = options_parse(&table, argc, argv, o, err);

    if (status == WEIR_OK && o->help)
        return WEIR_OK;
    if (status == WEIR_OK)
        status = check_url(o, err);
    if (status == WEIR_OK)
        status = check_files(o, err);
    if (status == WEIR_OK)
        status = flow_options_check(&o->flow, 1U << o->flow.throttle, err);
    if (status == WEIR_OK)
        status = check_http(o, err);
    if (status != WEIR_OK)
        error_prefix(err, "weir run");
    return status;
}
