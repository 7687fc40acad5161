/* See mock.h: the few options that are the command's own; all others are the script's. */
#include "cli/mock/mock.h"

#include "base/error.h"
#include "base/parse.h"
#include "cli/options.h"

#include <arpa/inet.h>
#include <string.h>

#define HOST_BYTES     64
#define BODY_BYTES_MAX (UINT64_C(1) << 30)
#define NAMES_MAX      64 /* of options, to guess what was meant */
#define HELP_COLUMNS   79
#define HELP_INDENT    30

struct own_option {
    const char *name;
    const char *argument;
    const char *help;
    enum weir_status (*set)(struct mock_options *o, const char *value, struct weir_error *err);
};

/* ---- --listen ---- */

static bool is_loopback_v4(struct in_addr a)
{
    return (ntohl(a.s_addr) >> 24) == 127;
}

static bool read_host(const char *host, in_port_t port, struct mock_options *o)
{
    struct in_addr v4;
    struct in6_addr v6;

    if (strcmp(host, "localhost") == 0)
        host = "127.0.0.1";
    if (inet_pton(AF_INET, host, &v4) == 1 && is_loopback_v4(v4)) {
        o->address.v4 =
            (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = v4, .sin_port = htons(port)};
        o->address_len = sizeof o->address.v4;
        return true;
    }
    if (inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6)) {
        o->address.v6 = (struct sockaddr_in6){
            .sin6_family = AF_INET6, .sin6_addr = v6, .sin6_port = htons(port)};
        o->address_len = sizeof o->address.v6;
        return true;
    }
    return false;
}

/* HOST:PORT, [V6]:PORT, or PORT. */
static enum weir_status set_listen(struct mock_options *o, const char *value,
                                   struct weir_error *err)
{
    const char *colon = strrchr(value, ':');
    const char *port_text = colon ? colon + 1 : value;
    const char *from = value;
    size_t len = colon ? (size_t)(colon - value) : 0;
    char host[HOST_BYTES] = "127.0.0.1";
    int64_t port;
    enum weir_status status = parse_count(port_text, 0, 65535, &port, err);

    if (status != WEIR_OK) {
        (void)error_prefix(err, "the port");
        return status;
    }
    if (len >= 2 && from[0] == '[' && from[len - 1] == ']') {
        from++;
        len -= 2;
    }
    if (len >= sizeof host)
        return error_set(err, WEIR_E_INVALID, "\"%.64s\" is too long for an address", value);
    if (colon) {
        memcpy(host, from, len);
        host[len] = '\0';
    }
    if (!read_host(host, (in_port_t)port, o))
        return error_set(err, WEIR_E_INVALID,
                         "\"%s\" is not a loopback address, and the mock serves this machine only; "
                         "write 127.0.0.1:PORT, [::1]:PORT or localhost:PORT",
                         host);
    return WEIR_OK;
}

/* ---- the other ones ---- */

static enum weir_status set_port_file(struct mock_options *o, const char *value,
                                      struct weir_error *err)
{
    if (value[0] == '\0')
        return error_set(err, WEIR_E_INVALID, "the name is empty");
    o->port_file = value;
    return WEIR_OK;
}

static enum weir_status set_duration(struct mock_options *o, const char *value,
                                     struct weir_error *err)
{
    duration_ns ns;
    enum weir_status status = parse_duration(value, &ns, err);

    if (status == WEIR_OK && ns <= 0)
        status = error_set(err, WEIR_E_INVALID, "it must be longer than 0s");
    if (status == WEIR_OK)
        o->duration_ns = ns;
    return status;
}

static enum weir_status set_body_limit(struct mock_options *o, const char *value,
                                       struct weir_error *err)
{
    uint64_t bytes;
    enum weir_status status = parse_size(value, &bytes, err);

    if (status == WEIR_OK && (bytes < 1 || bytes > BODY_BYTES_MAX))
        status = error_set(err, WEIR_E_INVALID, "it must lie between 1 byte and 1GiB");
    if (status == WEIR_OK)
        o->body_bytes_max = bytes;
    return status;
}

static enum weir_status set_help(struct mock_options *o, const char *value, struct weir_error *err)
{
    (void)value;
    (void)err;
    o->help = true;
    return WEIR_OK;
}

static const struct own_option own_options[] = {
    {"listen", "HOST:PORT", "loopback only; port 0 is a free one (127.0.0.1:0)", set_listen},
    {"port-file", "FILE", "write the port to FILE once it accepts connections", set_port_file},
    {"duration", "T", "end after T", set_duration},
    {"body-limit", "SIZE", "a larger request is answered 413 (16MiB)", set_body_limit},
    {"help", NULL, "this text", set_help},
};

#define OWN_COUNT (sizeof own_options / sizeof *own_options)

static const struct own_option *find_own(const char *name)
{
    for (size_t i = 0; i < OWN_COUNT; i++) {
        if (strcmp(own_options[i].name, name) == 0)
            return &own_options[i];
    }
    return NULL;
}

static enum weir_status set_own(struct mock_options *o, const struct own_option *own,
                                const char *value, struct weir_error *err)
{
    enum weir_status status;

    if (own->argument && !value)
        return error_set(err, WEIR_E_INVALID, "--%s: needs a value: --%s %s", own->name, own->name,
                         own->argument);
    if (!own->argument && value)
        return error_set(err, WEIR_E_INVALID, "--%s: takes no value", own->name);
    status = own->set(o, value, err);
    if (status != WEIR_OK)
        (void)error_prefix(err, "--%s", own->name);
    return status;
}

static enum weir_status unknown_option(const char *name, struct weir_error *err)
{
    const char *names[NAMES_MAX + 1] = {NULL};
    const char *nearest;
    size_t count = 0;

    for (size_t i = 0; i < OWN_COUNT && count < NAMES_MAX; i++)
        names[count++] = own_options[i].name;
    for (size_t i = 0; i < sim_option_count() && count < NAMES_MAX; i++)
        names[count++] = sim_option_at(i)->name;
    nearest = options_nearest(name, names);
    if (nearest)
        return error_set(err, WEIR_E_INVALID, "there is no option --%s; did you mean --%s?", name,
                         nearest);
    return error_set(err, WEIR_E_INVALID,
                     "there is no option --%s; weir mock --help says what there is", name);
}

/* One option with its value, which may be the next word. *at moves over what was used. */
static enum weir_status read_one(int argc, char **argv, int *at, struct mock_options *o,
                                 struct weir_error *err)
{
    const char *word = argv[*at] + 2;
    const char *value = strchr(word, '=');
    char name[HOST_BYTES];
    size_t len = value ? (size_t)(value - word) : strlen(word);
    const struct own_option *own;
    const struct sim_option *of_script;
    bool wants_value;

    if (len >= sizeof name)
        return error_set(err, WEIR_E_INVALID, "there is no option %.100s", argv[*at]);
    memcpy(name, word, len);
    name[len] = '\0';
    own = find_own(name);
    of_script = sim_option_find(name);
    if (!own && !of_script)
        return unknown_option(name, err);
    wants_value = (own ? own->argument : of_script->argument) != NULL;
    if (value)
        value++;
    else if (wants_value && *at + 1 < argc)
        value = argv[++*at];
    return own ? set_own(o, own, value, err) : sim_script_set(&o->script, name, value, err);
}

enum weir_status mock_options_read(int argc, char **argv, struct mock_options *ret,
                                   struct weir_error *err)
{
    struct mock_options o = {.body_bytes_max = UINT64_C(16) << 20};
    enum weir_status status = set_listen(&o, "127.0.0.1:0", err);

    sim_script_init(&o.script);
    for (int i = 1; status == WEIR_OK && i < argc && !o.help; i++) {
        if (strcmp(argv[i], "-h") == 0)
            o.help = true;
        else if (strncmp(argv[i], "--", 2) != 0 || argv[i][2] == '\0')
            status = error_set(err, WEIR_E_INVALID,
                               "\"%.100s\" is not an option; weir mock --help says what there is",
                               argv[i]);
        else
            status = read_one(argc, argv, &i, &o, err);
    }
    if (status == WEIR_OK && !o.help)
        status = sim_script_check(&o.script, err);
    if (status == WEIR_OK)
        *ret = o;
    return status;
}

/* ---- help ---- */

/* The help beside its option, broken between words. */
static void put_wrapped(struct buf *out, const char *text)
{
    size_t column = HELP_INDENT;

    while (*text) {
        size_t word = strcspn(text, " ");

        if (column > HELP_INDENT && column + 1 + word > HELP_COLUMNS) {
            buf_printf(out, "\n%*s", HELP_INDENT, "");
            column = HELP_INDENT;
        } else if (column > HELP_INDENT) {
            buf_putc(out, ' ');
            column++;
        }
        buf_put(out, text, word);
        column += word;
        text += word;
        text += strspn(text, " ");
    }
    buf_putc(out, '\n');
}

static void put_option(struct buf *out, const char *name, const char *argument, const char *help)
{
    size_t before = out->len;
    size_t used;

    buf_printf(out, "  --%s%s%s", name, argument ? " " : "", argument ? argument : "");
    used = out->len - before;
    if (used + 2 > HELP_INDENT)
        buf_printf(out, "\n%*s", HELP_INDENT, "");
    else
        buf_printf(out, "%*s", (int)(HELP_INDENT - used), "");
    put_wrapped(out, help);
}

void mock_help_put(struct buf *out)
{
    const char *group = "";

    buf_puts(out, "Usage: weir mock [options]\n"
                  "\n"
                  "A service to rehearse with: an HTTP server on loopback that is as good or as\n"
                  "bad as told. POST /v1/chat/completions is answered as a chat completion, all\n"
                  "else is echoed; GET /stats has the counters, GET /healthz says ok. Without\n"
                  "options it takes everything at once.\n"
                  "\n"
                  "  weir mock --rate 5..20 --phase 20s..120s --latency lognormal:1.2s,0.2\n");
    for (size_t i = 0; i < sim_option_count(); i++) {
        const struct sim_option *o = sim_option_at(i);

        if (o->group != group) {
            group = o->group;
            buf_printf(out, "\n%s:\n", group);
        }
        put_option(out, o->name, o->argument, o->help);
    }
    buf_puts(out, "\nThe server:\n");
    for (size_t i = 0; i < OWN_COUNT; i++)
        put_option(out, own_options[i].name, own_options[i].argument, own_options[i].help);
    buf_puts(out, "\nTimes are written 1.5s, 200ms, 2m; ranges 5..20 or 20s..120s. What stands\n"
                  "in parentheses is the default. It prints \"listening on http://HOST:PORT\"\n"
                  "and ends at SIGINT or SIGTERM.\n");
}
