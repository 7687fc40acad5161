/*
 * The table of `weir run`, its setters, and the checks between options.
 */
#include "cli/run_options.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/parse.h"
#include "cli/run_url.h"
#include "flow/throttle.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define JOBS_MAX         100000
#define WINDOW_ROWS_MAX  (1 << 24)
#define HEADERS_MAX      1000
#define HEADER_BYTES_MAX 65536
#define METHOD_BYTES_MAX 16
#define STATUSES_MAX     64
/* Of options that only one kind of throttle takes; no option's value is negative. */
#define NOT_GIVEN          (-1)
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

static enum weir_status set_halt(void *into, const char *value, struct weir_error *err)
{
    struct run_options *o = into;

    return halt_parse(value, &o->halt, err);
}

static enum weir_status set_waste(void *into, const char *value, struct weir_error *err)
{
    struct run_options *o = into;

    return parse_share(value, ADAPTIVE_WASTE_MIN, ADAPTIVE_WASTE_MAX, &o->waste, err);
}

/* "420,498": appends. */
static enum weir_status set_capacity_status(void *into, const char *value, struct weir_error *err)
{
    struct run_options *o = into;

    for (;;) {
        size_t len = strcspn(value, ",");
        int status = 0;
        int *statuses;

        if (len == 3 && strspn(value, "0123456789") >= 3)
            status = (value[0] - '0') * 100 + (value[1] - '0') * 10 + (value[2] - '0');
        if (status < 300 || status > 599)
            return error_set(err, WEIR_E_INVALID,
                             "\"%.*s\" is no HTTP status from 300 to 599; write 420 or 420,498",
                             (int)(len < 40 ? len : 40), value);
        if (o->capacity_status_count >= STATUSES_MAX)
            return error_set(err, WEIR_E_LIMIT, "more than %d statuses", STATUSES_MAX);
        statuses =
            mem_realloc(o->capacity_statuses, (o->capacity_status_count + 1) * sizeof(*statuses));
        if (!statuses)
            return error_nomem(err);
        o->capacity_statuses = statuses;
        statuses[o->capacity_status_count++] = status;
        if (value[len] == '\0')
            return WEIR_OK;
        value += len + 1;
    }
}

/* ---- the table ---- */

#define AT(field) .at = offsetof(struct run_options, field)
#define INPUT     .group = "Input"
#define OUTPUT    .group = "Output"
#define FLOW      .group = "Flow"
#define AIMD      .group = "Throttle aimd (with --throttle aimd only)"
#define HTTP      .group = "HTTP"
#define TOLD      .group = "Telling"

static const struct option_spec specs[] = {
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

    {.name = "jobs",
     .letter = 'j',
     .kind = OPTION_COUNT,
     .argument = "N",
     AT(jobs),
     .min = 1,
     .max = JOBS_MAX,
     FLOW,
     .help = "most requests in flight (default 8)"},
    {.name = "throttle",
     .kind = OPTION_CHOICE,
     .argument = "KIND",
     .choices = "adaptive|aimd|none",
     AT(throttle),
     FLOW,
     .help = "how the rate follows refusals. adaptive: requests are spaced at what the service "
             "bears, found out with hardly any refusals; aimd: refused rows wait, each refusal "
             "lengthens the wait; none: a refused row waits a moment (default adaptive)"},
    {.name = "waste",
     .kind = OPTION_SET,
     .argument = "SHARE",
     .set = set_waste,
     FLOW,
     .help = "of the adaptive throttle: the share of requests that may be refused in the search "
             "for more capacity, 0.1% to 20% (default 2%)"},
    {.name = "min-dispatch-delay",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     AT(min_dispatch_delay_ns),
     .max = DURATION_MAX_S,
     FLOW,
     .help = "least time between two requests (default 0)"},
    {.name = "rate",
     .kind = OPTION_NUMBER,
     .argument = "R",
     AT(rate_per_s),
     .min = 1e-6,
     .max = 1e9,
     FLOW,
     .help = "at most R requests per second"},
    {.name = "rpm",
     .kind = OPTION_COUNT,
     .argument = "N",
     AT(rpm),
     .min = 1,
     .max = 1e12,
     FLOW,
     .help = "at most N requests per minute"},
    {.name = "tpm",
     .kind = OPTION_COUNT,
     .argument = "N",
     AT(tpm),
     .min = 1,
     .max = 1e15,
     FLOW,
     .help = "at most N tokens per minute: estimated from the body, corrected by the response's "
             "usage"},
    {.name = "retries",
     .kind = OPTION_COUNT,
     .argument = "N",
     AT(retries),
     .min = 0,
     .max = 1000,
     FLOW,
     .help = "tries again after a failure that may pass (default 2). A full service is no "
             "failure and uses none of them up"},
    {.name = "retry-delay",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     AT(retry_delay_ns),
     .min = 0.001,
     .max = DURATION_MAX_S,
     FLOW,
     .help = "wait before the first of these; doubles each time (default 500ms)"},
    {.name = "retry-after-max",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     AT(retry_after_max_ns),
     .min = 0.001,
     .max = DURATION_MAX_S,
     FLOW,
     .help = "longest Retry-After that is obeyed; above it the row fails (default 120s)"},
    {.name = "max-capacity-retry",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     AT(max_capacity_retry_ns),
     .min = 0.001,
     .max = DURATION_MAX_S,
     FLOW,
     .help = "how long a row may be refused for want of capacity, from its first try (default 1h)"},
    {.name = "capacity-status",
     .kind = OPTION_SET,
     .argument = "LIST",
     .set = set_capacity_status,
     FLOW,
     .help = "HTTP statuses that mean \"full\", besides 429, 503 and 529"},
    {.name = "timeout",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     AT(timeout_ns),
     .max = DURATION_MAX_S,
     FLOW,
     .help = "of one request (default 600s; 0: none)"},
    {.name = "deadline",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     AT(deadline_ns),
     .max = DURATION_MAX_S,
     FLOW,
     .help = "of the whole run; what has not ended by then fails (default 0: none)"},
    {.name = "halt",
     .kind = OPTION_SET,
     .argument = "WHEN",
     .set = set_halt,
     FLOW,
     .help =
         "never, or soon|now,fail|success|done=N or N%: stops when that many rows have ended so. "
         "soon lets running rows finish, now cancels them; a percentage is of the rows finished, "
         "three such rows at least (default never)"},
    {.name = "window",
     .kind = OPTION_COUNT,
     .argument = "ROWS",
     AT(window_rows),
     .min = 1,
     .max = WINDOW_ROWS_MAX,
     FLOW,
     .help = "rows held at once, those waiting for their turn included (default 16384)"},
    {.name = "seed",
     .kind = OPTION_COUNT,
     .argument = "N",
     AT(seed),
     .min = 0,
     .max = 9e18,
     FLOW,
     .help = "of the jitter (default: from the system)"},

    {.name = "max-dispatch-delay",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     AT(max_dispatch_delay_ns),
     .min = 1e-6,
     .max = DURATION_MAX_S,
     AIMD,
     .help = "most that a refused row waits (default 5s)"},
    {.name = "backoff-multiplier",
     .kind = OPTION_NUMBER,
     .argument = "X",
     AT(backoff_multiplier),
     .min = 1,
     .max = 1e6,
     AIMD,
     .help = "the delay's growth per refusal (default 2)"},
    {.name = "recovery-step",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     AT(recovery_step_ns),
     .max = DURATION_MAX_S,
     AIMD,
     .help = "the delay's shrinking per success (default 50ms)"},

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
    .specs = specs,
    .count = sizeof(specs) / sizeof(specs[0]),
    .positional_at = offsetof(struct run_options, inputs),
    .takes_positional = true,
};

const char *run_throttle_name(const struct run_options *o)
{
    static const char *const names[] = {[RUN_THROTTLE_ADAPTIVE] = "adaptive",
                                        [RUN_THROTTLE_AIMD] = "aimd",
                                        [RUN_THROTTLE_NONE] = "none"};

    return names[o->throttle];
}

void run_options_help(struct buf *out)
{
    options_help(&table, 100, out);
}

void run_options_init(struct run_options *o)
{
    *o = (struct run_options){
        .max_line_bytes = UINT64_C(16) << 20,
        .jobs = 8,
        .throttle = RUN_THROTTLE_ADAPTIVE,
        .waste = NOT_GIVEN,
        .max_dispatch_delay_ns = NOT_GIVEN,
        .backoff_multiplier = NOT_GIVEN,
        .recovery_step_ns = NOT_GIVEN,
        .max_capacity_retry_ns = 3600 * NS_PER_S,
        .retry_after_max_ns = 120 * NS_PER_S,
        .retries = 2,
        .retry_delay_ns = 500 * NS_PER_MS,
        .timeout_ns = 600 * NS_PER_S,
        .connect_timeout_ns = 10 * NS_PER_S,
        .response_max_bytes = UINT64_C(64) << 20,
        .progress = PROGRESS_AUTO,
    };
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
    o->capacity_statuses = mem_free(o->capacity_statuses);
    o->capacity_status_count = 0;
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

/* An option of another throttle would do nothing: whoever gives it expects something else. */
static enum weir_status check_kind(const struct run_options *o, struct weir_error *err)
{
    const struct {
        const char *name;
        bool given;
        enum run_throttle of;
    } options[] = {
        {"--waste", o->waste >= 0, RUN_THROTTLE_ADAPTIVE},
        {"--max-dispatch-delay", o->max_dispatch_delay_ns >= 0, RUN_THROTTLE_AIMD},
        {"--backoff-multiplier", o->backoff_multiplier >= 0, RUN_THROTTLE_AIMD},
        {"--recovery-step", o->recovery_step_ns >= 0, RUN_THROTTLE_AIMD},
    };

    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        const char *kind = options[i].of == RUN_THROTTLE_AIMD ? "aimd" : "adaptive";

        if (options[i].given && (enum run_throttle)o->throttle != options[i].of)
            return error_set(
                err, WEIR_E_INVALID,
                "%s: is an option of the %s throttle; give --throttle %s too, or leave "
                "it out",
                options[i].name, kind, kind);
    }
    return WEIR_OK;
}

static void fill_in_throttle(struct run_options *o)
{
    struct throttle_options defaults;

    throttle_options_init(&defaults);
    if (o->waste < 0)
        o->waste = defaults.adaptive.waste;
    if (o->max_dispatch_delay_ns < 0)
        o->max_dispatch_delay_ns = defaults.aimd.max_delay_ns;
    if (o->backoff_multiplier < 0)
        o->backoff_multiplier = defaults.aimd.multiplier;
    if (o->recovery_step_ns < 0)
        o->recovery_step_ns = defaults.aimd.step_ns;
}

static enum weir_status check_aimd(const struct run_options *o, struct weir_error *err)
{
    if (o->min_dispatch_delay_ns > o->max_dispatch_delay_ns)
        return error_set(err, WEIR_E_INVALID,
                         "--min-dispatch-delay: is above --max-dispatch-delay (%gs)",
                         duration_seconds(o->max_dispatch_delay_ns));
    if (!(o->backoff_multiplier > 1))
        return error_set(err, WEIR_E_INVALID, "--backoff-multiplier: must be above 1");
    if (o->min_dispatch_delay_ns == 0 && o->recovery_step_ns == 0)
        return error_set(err, WEIR_E_INVALID,
                         "--recovery-step: it and --min-dispatch-delay cannot both be 0");
    return WEIR_OK;
}

static enum weir_status check_flow(struct run_options *o, struct weir_error *err)
{
    enum weir_status status = check_kind(o, err);

    if (status != WEIR_OK)
        return status;
    fill_in_throttle(o);
    if (o->throttle == RUN_THROTTLE_AIMD)
        status = check_aimd(o, err);
    if (status != WEIR_OK)
        return status;
    if (o->window_rows > 0 && o->window_rows < o->jobs)
        return error_set(err, WEIR_E_INVALID,
                         "--window: %lld rows cannot keep --jobs %lld busy; give at least as many",
                         (long long)o->window_rows, (long long)o->jobs);
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
        status = check_flow(o, err);
    if (status == WEIR_OK)
        status = check_http(o, err);
    if (status != WEIR_OK)
        error_prefix(err, "weir run");
    return status;
}
