/*
 * See options.h. The table has parts: the command's own options, the flow options that it shares
 * with `weir run`, and the service's, which sim/ has by name and which become option_specs here.
 */
#include "cli/simulate/options.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/parse.h"
#include "cli/simulate/service_file.h"

#include <string.h>

#define SERVICE_PREFIX "service-"
#define NAME_BYTES_MAX 80
#define PRICE_MAX      1e9
/* Not given: the file says it, or the default holds. */
#define NO_JOBS     0
#define NO_THROTTLE THROTTLE_KINDS
#define NO_SEED     (-1)

const char *simulate_side_name(int side)
{
    return side == SIMULATE_ORACLE ? "oracle" : throttle_kind_name((enum throttle_kind)side);
}

/* ---- setters ---- */

static bool side_from_name(const char *name, int *ret)
{
    enum throttle_kind kind;

    if (strcmp(name, "oracle") == 0)
        *ret = SIMULATE_ORACLE;
    else if (throttle_kind_from_name(name, &kind))
        *ret = (int)kind;
    else
        return false;
    return true;
}

static enum weir_status set_compare(void *into, const char *value, struct weir_error *err)
{
    struct simulate_options *o = into;
    char name[NAME_BYTES_MAX];

    o->compares = true;
    o->side_count = 0;
    for (;;) {
        size_t len = strcspn(value, ",");
        int side = 0;

        memcpy(name, value, len < sizeof name ? len : sizeof name - 1);
        name[len < sizeof name ? len : sizeof name - 1] = '\0';
        if (!side_from_name(name, &side))
            return error_set(err, WEIR_E_INVALID,
                             "\"%.40s\" is none of adaptive, aimd, none and oracle; write "
                             "aimd,adaptive",
                             name);
        for (size_t i = 0; i < o->side_count; i++) {
            if (o->sides[i] == side)
                return error_set(err, WEIR_E_INVALID, "%s stands there twice", name);
        }
        o->sides[o->side_count++] = side;
        if (value[len] == '\0')
            return WEIR_OK;
        value += len + 1;
    }
}

static enum weir_status price_part(const char *text, size_t len, struct simulate_price *ret,
                                   struct weir_error *err)
{
    char part[NAME_BYTES_MAX];
    double *field = &ret->per_mtok;
    char *unit;
    enum weir_status status;

    if (len >= sizeof part)
        return error_set(err, WEIR_E_INVALID, "\"%.40s...\" is no price", text);
    memcpy(part, text, len);
    part[len] = '\0';
    unit = strchr(part, '/');
    if (unit) {
        *unit++ = '\0';
        if (strcmp(unit, "request") == 0)
            field = &ret->per_request;
        else if (strcmp(unit, "Mtok") != 0)
            return error_set(err, WEIR_E_INVALID,
                             "\"/%s\" is no unit; write 2.50/Mtok for 1,000,000 tokens, "
                             "0.01/request, or both with a comma",
                             unit);
    }
    if (*field >= 0)
        return error_set(err, WEIR_E_INVALID, "a price of that unit stands there twice");
    status = parse_number(part, 0, PRICE_MAX, field, err);
    return status;
}

enum weir_status simulate_price_parse(const char *text, struct simulate_price *ret,
                                      struct weir_error *err)
{
    struct simulate_price p = {.given = true, .per_mtok = -1, .per_request = -1};

    for (;;) {
        size_t len = strcspn(text, ",");
        enum weir_status status = price_part(text, len, &p, err);

        if (status != WEIR_OK)
            return status;
        if (text[len] == '\0')
            break;
        text += len + 1;
    }
    if (p.per_mtok < 0)
        p.per_mtok = 0;
    if (p.per_request < 0)
        p.per_request = 0;
    *ret = p;
    return WEIR_OK;
}

static enum weir_status set_price(void *into, const char *value, struct weir_error *err)
{
    struct simulate_options *o = into;

    return simulate_price_parse(value, &o->price, err);
}

/* ---- the table ---- */

#define AT(field) .at = offsetof(struct simulate_options, field)
#define RUN       .group = "Simulation"
#define TOLD      .group = "Telling"

static const struct option_spec run_specs[] = {
    {.name = "service",
     .kind = OPTION_TEXT,
     .argument = "FILE",
     AT(service),
     RUN,
     .help = "describes the service: YAML, the options of weir mock as keys (examples/services)"},
    {.name = "compare",
     .kind = OPTION_SET,
     .argument = "LIST",
     .set = set_compare,
     RUN,
     .help =
         "throttles side by side, such as aimd,adaptive; also none, and oracle, which knows the "
         "service"},
    {.name = "seed",
     .kind = OPTION_COUNT,
     .argument = "N",
     AT(seed),
     .min = 0,
     .max = 9e18,
     RUN,
     .help = "of all chance; the same seed, the same result (default: the file's, else 1)"},
    {.name = "seeds",
     .kind = OPTION_COUNT,
     .argument = "N",
     AT(seeds),
     .min = 1,
     .max = SIMULATE_SEEDS_MAX,
     RUN,
     .help = "as many runs, with seed, seed+1, ...: the median, and the lowest and the highest"},
};

static const struct option_spec told_specs[] = {
    {.name = "price",
     .kind = OPTION_SET,
     .argument = "PRICE",
     .set = set_price,
     TOLD,
     .help = "2.50/Mtok (for 1,000,000 tokens), 0.01/request, or both with a comma: predicts the "
             "cost"},
    {.name = "json", .kind = OPTION_FLAG, AT(json), TOLD, .help = "the result as JSON"},
    {.name = "plot",
     .kind = OPTION_TEXT,
     .argument = "FILE.svg",
     AT(plot),
     TOLD,
     .help = "draws the run with the first seed over time: capacity, rates, refusals, in flight"},
    {.name = "events",
     .kind = OPTION_TEXT,
     .argument = "FILE",
     AT(events),
     TOLD,
     .help = "what the throttle decided in that run, and why, as lines of JSON in virtual time"},
    {.name = "quiet",
     .letter = 'q',
     .kind = OPTION_FLAG,
     AT(quiet),
     TOLD,
     .help = "no progress on a terminal"},
    {.name = "help", .letter = 'h', .kind = OPTION_FLAG, AT(help), TOLD, .help = "this"},
};

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define PARTS        6

/* The table with the service's options in it. Owns their specs and the texts that are not sim's own. */
struct table {
    struct option_spec *specs;
    size_t spec_count;
    char **texts;
    size_t text_count;
    struct options_part parts[PARTS];
    struct options_table table;
};

static void table_free(struct table *t)
{
    for (size_t i = 0; i < t->text_count; i++)
        mem_free(t->texts[i]);
    mem_free(t->texts);
    mem_free(t->specs);
    *t = (struct table){0};
}

static bool stands_in(const struct option_spec *specs, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(specs[i].name, name) == 0)
            return true;
    }
    return false;
}

/* Whether the plain name is taken by an option of the dispatching side. */
static bool is_taken(const char *name)
{
    return stands_in(flow_option_specs, FLOW_OPTION_COUNT, name) ||
           stands_in(flow_aimd_specs, FLOW_AIMD_COUNT, name) ||
           stands_in(run_specs, COUNT(run_specs), name) ||
           stands_in(told_specs, COUNT(told_specs), name);
}

/* prefix and text in one, kept; NULL: no memory. */
static const char *keep(struct table *t, const char *prefix, const char *text)
{
    struct buf joined = {0};
    char *kept;

    buf_puts(&joined, prefix);
    buf_puts(&joined, text);
    kept = buf_steal(&joined, NULL);
    buf_free(&joined);
    if (kept)
        t->texts[t->text_count++] = kept;
    return kept;
}

static bool add_spec(struct table *t, const char *name, const char *argument, const char *group,
                     const char *help)
{
    if (!name || !group)
        return false;
    t->specs[t->spec_count++] =
        (struct option_spec){.name = name,
                             .kind = OPTION_PAIR,
                             .argument = argument,
                             .help = help,
                             .group = group,
                             .at = offsetof(struct simulate_options, described)};
    return true;
}

static bool add_described(struct table *t)
{
    const char *group = "", *kept_group = NULL;

    for (size_t i = 0; i < sim_run_option_count(); i++) {
        const struct sim_run_option *r = sim_run_option_at(i);

        /* The flow options have these two. */
        if (strcmp(r->name, "jobs") != 0 && strcmp(r->name, "window-rows") != 0 &&
            !add_spec(t, r->name, r->argument, run_specs[0].group, r->help))
            return false;
    }
    t->parts[1] = (struct options_part){t->specs, t->spec_count, 0};
    for (size_t i = 0; i < sim_option_count(); i++) {
        const struct sim_option *s = sim_option_at(i);

        if (strcmp(s->name, "seed") == 0)
            continue;
        if (strcmp(s->group, group) != 0)
            kept_group = keep(t, "Service: ", s->group);
        group = s->group;
        if (!add_spec(t, is_taken(s->name) ? keep(t, SERVICE_PREFIX, s->name) : s->name,
                      s->argument, kept_group, s->help))
            return false;
    }
    t->parts[PARTS - 1] =
        (struct options_part){t->specs + t->parts[1].count, t->spec_count - t->parts[1].count, 0};
    return true;
}

static const char intro[] = "Predicts what weir run would do: the same engine, in virtual time, "
                            "against a modelled service. "
                            "Nothing is sent, and a run of hours takes seconds.\n\n"
                            "  weir simulate --service examples/services/s1.yml --rows 100000 -j "
                            "64 --compare aimd,adaptive";
static const char outro[] =
    "An option of weir mock that weir run has too is --service-NAME here: --rate is what you send "
    "at "
    "most, --service-rate what the service bears. The command line overrides the file.\n\n"
    "TIME, T: 1.5s, 200ms, 2m, 1h; a bare number is seconds. N: 100, 10k, 2M.\n\nExit status: 0 "
    "the "
    "simulation ran, whatever it predicts; 1 it failed; 2 usage or input error; 3 stopped.";

static enum weir_status table_make(struct table *ret, struct weir_error *err)
{
    struct table t = {0};
    size_t most = sim_run_option_count() + sim_option_count();

    t.specs = mem_calloc(most, sizeof *t.specs);
    t.texts = mem_calloc(2 * most, sizeof *t.texts);
    t.parts[0] = (struct options_part){run_specs, COUNT(run_specs), 0};
    t.parts[2] = (struct options_part){flow_option_specs, FLOW_OPTION_COUNT,
                                       offsetof(struct simulate_options, flow)};
    t.parts[3] = (struct options_part){flow_aimd_specs, FLOW_AIMD_COUNT,
                                       offsetof(struct simulate_options, flow)};
    t.parts[4] = (struct options_part){told_specs, COUNT(told_specs), 0};
    if (!t.specs || !t.texts || !add_described(&t)) {
        table_free(&t);
        return error_nomem(err);
    }
    *ret = t;
    ret->table = (struct options_table){.command = "weir simulate",
                                        .usage = "--service FILE [options]",
                                        .intro = intro,
                                        .outro = outro,
                                        .parts = ret->parts,
                                        .part_count = PARTS};
    return WEIR_OK;
}

enum weir_status simulate_help_put(struct buf *out, struct weir_error *err)
{
    struct table t;
    enum weir_status status = table_make(&t, err);

    if (status != WEIR_OK)
        return status;
    options_help(&t.table, 100, out);
    table_free(&t);
    return out->failed ? error_nomem(err) : WEIR_OK;
}

/* ---- the service: the file, and the command line over it ---- */

/* Keys of the file: first those of the clients, then those of the service. */
static const char *key_name(void *ctx, size_t i)
{
    size_t of_run = sim_run_option_count();

    (void)ctx;
    return i < of_run ? sim_run_option_at(i)->name : sim_option_at(i - of_run)->name;
}

static bool key_is_flag(void *ctx, size_t i)
{
    size_t of_run = sim_run_option_count();

    (void)ctx;
    return i >= of_run && !sim_option_at(i - of_run)->argument;
}

static bool key_repeats(void *ctx, size_t i)
{
    size_t of_run = sim_run_option_count();

    (void)ctx;
    return i >= of_run && sim_option_repeats(sim_option_at(i - of_run));
}

static enum weir_status key_set(void *ctx, size_t i, const char *value, struct weir_error *err)
{
    struct simulate_options *o = ctx;
    size_t of_run = sim_run_option_count();

    return i < of_run ? sim_run_option_at(i)->set(&o->study.run, value, err)
                      : sim_option_at(i - of_run)->set(&o->study.script, value, err);
}

static bool is_described(const struct simulate_options *o, const char *name)
{
    for (size_t i = 0; i < o->described.count; i += 2) {
        if (strcmp(o->described.items[i], name) == 0)
            return true;
    }
    return false;
}

static bool is_of_service(const char *given)
{
    return !sim_run_option_find(given);
}

static bool describes_service(const struct simulate_options *o)
{
    for (size_t i = 0; i < o->described.count; i += 2) {
        if (is_of_service(o->described.items[i]))
            return true;
    }
    return o->service != NULL;
}

/* What may be given more than once adds to a list in the file's place, not to the file's list. */
static void forget_overridden(struct simulate_options *o)
{
    /* How long is decided in one place: whoever says --rows does not mean the file's duration. */
    if (is_described(o, "rows") && !is_described(o, "duration"))
        o->study.run.duration_ns = 0;
    if (is_described(o, "duration") && !is_described(o, "rows"))
        o->study.run.rows = 0;
    if (is_described(o, "outage"))
        o->study.script.outage_count = 0;
}

static enum weir_status describe(struct simulate_options *o, struct weir_error *err)
{
    forget_overridden(o);
    for (size_t i = 0; i < o->described.count; i += 2) {
        const char *given = o->described.items[i], *value = o->described.items[i + 1];
        size_t prefix = strlen(SERVICE_PREFIX);
        const char *name = strncmp(given, SERVICE_PREFIX, prefix) == 0 ? given + prefix : given;
        const struct sim_run_option *of_run = sim_run_option_find(given);
        enum weir_status status = of_run ? of_run->set(&o->study.run, value, err)
                                         : sim_option_find(name)->set(&o->study.script, value, err);

        if (status != WEIR_OK)
            return status == WEIR_E_NOMEM ? status : error_prefix(err, "--%s", given);
    }
    return WEIR_OK;
}

/* ---- what must hold between them ---- */

static enum weir_status fill_sides(struct simulate_options *o, struct weir_error *err)
{
    unsigned kinds = 0;

    if (o->compares && o->flow.throttle != NO_THROTTLE)
        return error_set(
            err, WEIR_E_INVALID,
            "--throttle: --compare says already which throttles run; give one of them");
    if (!o->compares) {
        if (o->flow.throttle == NO_THROTTLE)
            o->flow.throttle = THROTTLE_ADAPTIVE;
        o->sides[o->side_count++] = (int)o->flow.throttle;
    }
    for (size_t i = 0; i < o->side_count; i++)
        kinds |= o->sides[i] == SIMULATE_ORACLE ? 0 : 1U << o->sides[i];
    if (o->compares)
        o->flow.throttle = THROTTLE_ADAPTIVE; /* each run sets its own */
    return flow_options_check(&o->flow, kinds ? kinds : ~0U, err);
}

static enum weir_status check(struct simulate_options *o, struct weir_error *err)
{
    struct sim_run *run = &o->study.run;
    enum weir_status status;

    if (o->flow.jobs == NO_JOBS)
        o->flow.jobs = run->jobs;
    if (o->flow.window_rows == 0)
        o->flow.window_rows = run->window_rows;
    status = fill_sides(o, err);
    if (status != WEIR_OK)
        return status;
    run->jobs = o->flow.jobs;
    run->window_rows = o->flow.window_rows;
    flow_options_pool(&o->flow, &o->study.pool);
    o->study.deadline_ns = o->flow.deadline_ns;
    o->study.full_statuses = o->flow.capacity_statuses;
    o->study.full_status_count = o->flow.capacity_status_count;
    if (o->seed == NO_SEED)
        o->seed = (int64_t)o->study.script.seed;
    if (!describes_service(o))
        return error_set(err, WEIR_E_INVALID,
                         "--service is missing; give the file that describes the service, such as "
                         "examples/services/s1.yml");
    if (run->rows == 0 && run->duration_ns == 0)
        return error_set(err, WEIR_E_INVALID, "it would never end; give --rows N or --duration T");
    if (o->events && o->side_count > 1)
        return error_set(err, WEIR_E_INVALID,
                         "--events: is of one run; leave --compare out, and give --throttle");
    if ((o->events && !*o->events) || (o->plot && !*o->plot))
        return error_set(err, WEIR_E_INVALID, "%s: the name is empty",
                         o->plot && !*o->plot ? "--plot" : "--events");
    return sim_study_options_check(&o->study, err);
}

/* --rate 5..20 was meant for the service, as in weir mock. */
static enum weir_status hint(enum weir_status status, struct weir_error *err)
{
    char name[NAME_BYTES_MAX];
    const char *end = strncmp(err->message, "--", 2) == 0 ? strchr(err->message, ':') : NULL;
    size_t len = end ? (size_t)(end - err->message - 2) : 0;
    char *before;

    if (!end || len >= sizeof name)
        return status;
    memcpy(name, err->message + 2, len);
    name[len] = '\0';
    if (!sim_option_find(name) || !is_taken(name) || strcmp(name, "seed") == 0)
        return status;
    before = mem_strdup(err->message);
    if (before)
        status = error_set(err, status, "%s (the service's own is --" SERVICE_PREFIX "%s)", before,
                           name);
    mem_free(before);
    return status;
}

static enum weir_status read_all(struct simulate_options *o, struct table *t, int argc, char **argv,
                                 struct weir_error *err)
{
    const struct service_file_keys keys = {.count = sim_run_option_count() + sim_option_count(),
                                           .name = key_name,
                                           .is_flag = key_is_flag,
                                           .repeats = key_repeats,
                                           .set = key_set,
                                           .ctx = o};
    enum weir_status status = options_parse(&t->table, argc, argv, o, err);

    if (status != WEIR_OK && status != WEIR_E_NOMEM)
        return hint(status, err);
    if (status != WEIR_OK || o->help)
        return status;
    if (o->service)
        status = service_file_read(o->service, &keys, err);
    if (status == WEIR_OK)
        status = describe(o, err);
    return status == WEIR_OK ? check(o, err) : status;
}

enum weir_status simulate_options_read(struct simulate_options *ret, int argc, char **argv,
                                       struct weir_error *err)
{
    struct simulate_options o = {.seed = NO_SEED, .seeds = 1};
    struct table t;
    enum weir_status status;

    flow_options_init(&o.flow);
    o.flow.jobs = NO_JOBS;
    o.flow.throttle = NO_THROTTLE;
    sim_study_options_init(&o.study);
    status = table_make(&t, err);
    if (status != WEIR_OK)
        return status;
    status = read_all(&o, &t, argc, argv, err);
    table_free(&t);
    /* Their names went with the table. */
    option_list_free(&o.described);
    if (status == WEIR_OK)
        *ret = o;
    else
        simulate_options_free(&o);
    return status;
}

void simulate_options_free(struct simulate_options *o)
{
    option_list_free(&o->described);
    flow_options_free(&o->flow);
}
