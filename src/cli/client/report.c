/*
 * weir report: how busy the daemon has been, as a small graph and a table.
 *
 * The daemon keeps samples of 10 s, 5 min and 1 h. There may be more of them than fit: the graph
 * joins those that fall into one of its columns, the table those of one of its rows; means are
 * means then, counts are sums.
 */
#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/time.h"
#include "cli/client/commands.h"
#include "cli/client/request.h"
#include "cli/client/view.h"
#include "cli/client/when.h"
#include "cli/commands.h"

#include <inttypes.h>
#include <stdio.h>

#define GRAPH_ROWS    8
#define GRAPH_COLUMNS 60
#define AXIS_COLUMNS  8
#define TABLE_ROWS    20
#define BAR_COLUMNS   20

struct report_options {
    struct client_common c;
    const char *pool, *from, *to;
    duration_ns since_ns;
    int resolution;
    bool samples;
};

#define AT(field) .at = offsetof(struct report_options, field)

static const struct option_spec specs[] = {
    {.name = "pool",
     .kind = OPTION_TEXT,
     .argument = "POOL",
     AT(pool),
     .group = "What",
     .help = "of this pool (default: of all together)"},
    {.name = "resolution",
     .kind = OPTION_CHOICE,
     .argument = "10s|5m|1h",
     .choices = "auto|10s|5m|1h",
     AT(resolution),
     .group = "What",
     .help = "of the samples (default: the finest of which the time has at most 720)"},
    {.name = "since",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     AT(since_ns),
     .min = 1,
     .max = 1e9,
     .group = "What",
     .help = "from so long ago on, such as 2h or 7d (default 1h)"},
    {.name = "from",
     .kind = OPTION_TEXT,
     .argument = "TIME",
     AT(from),
     .group = "What",
     .help = "in place of --since: from this time on, 2026-01-31T12:00:00Z"},
    {.name = "to",
     .kind = OPTION_TEXT,
     .argument = "TIME",
     AT(to),
     .group = "What",
     .help = "until this time (default: now)"},
    {.name = "samples",
     .kind = OPTION_FLAG,
     AT(samples),
     .group = "What",
     .help = "each sample in a row of its own"},
};

struct sample {
    int64_t at_ns;
    double running, limit, utilisation;
    double started, finished, failed;
    size_t joined;
};

struct samples {
    struct sample *items;
    size_t count;
};

static const int resolutions_s[] = {0, 10, 300, 3600};

/* ---- what is asked for ---- */

static int resolution_s(const struct report_options *o)
{
    double since_s = duration_seconds(o->since_ns);

    if (o->resolution > 0)
        return resolutions_s[o->resolution];
    if (o->from || since_s <= 7200)
        return 10;
    return since_s <= 720 * 300.0 ? 300 : 3600;
}

static void put_path(const struct client *c, const struct report_options *o, struct buf *path)
{
    char since[TIME_UTC_BYTES];

    buf_puts(path, "/v1/history");
    client_put_query(path, "pool", o->pool);
    client_put_query_number(path, "resolution", resolution_s(o));
    time_format_utc(c->now_ns - o->since_ns, since);
    client_put_query(path, "from", o->from ? o->from : since);
    client_put_query(path, "to", o->to);
}

static double number(struct slice sample, const char *member)
{
    double n = 0;

    (void)json_double(view_member(sample, member), &n);
    return n;
}

static enum weir_status read_samples(struct slice answer, struct samples *ret,
                                     struct weir_error *err)
{
    struct json_iter it;
    struct slice key, item;
    size_t cap = 0;

    json_iter_init(&it, answer);
    while (json_iter_next(&it, &key, &item)) {
        _cleanup_buf_ struct buf at = {0};
        struct sample s = {.joined = 1};

        if (ret->count == cap) {
            struct sample *more =
                mem_realloc(ret->items, (cap = cap ? cap * 2 : 256) * sizeof *more);

            if (!more)
                return error_nomem(err);
            ret->items = more;
        }
        view_put_text(&at, view_member(item, "at"));
        if (!when_parse(buf_slice(&at), &s.at_ns))
            continue;
        s.running = number(item, "running");
        s.limit = number(item, "limit");
        s.utilisation = number(item, "utilisation");
        s.started = number(item, "started");
        s.finished = number(item, "finished");
        s.failed = number(item, "failed");
        ret->items[ret->count++] = s;
    }
    return WEIR_OK;
}

/* Those from `first` on, before `end`, as one. */
static struct sample join(const struct samples *all, size_t first, size_t end)
{
    struct sample sum = all->items[first];
    double n = (double)(end - first);

    for (size_t i = first + 1; i < end; i++) {
        const struct sample *s = &all->items[i];

        sum.running += s->running;
        sum.limit += s->limit;
        sum.utilisation += s->utilisation;
        sum.started += s->started;
        sum.finished += s->finished;
        sum.failed += s->failed;
    }
    sum.running /= n;
    sum.limit /= n;
    sum.utilisation /= n;
    sum.joined = end - first;
    return sum;
}

/* ---- the graph ---- */

/* Eighths of a cell that a bar fills of this row; 0 to 8. */
static int fill_of(double value, double top, int row)
{
    double cells = top > 0 ? value / top * GRAPH_ROWS : 0;
    double in_row = cells - (GRAPH_ROWS - 1 - row);

    if (in_row >= 1)
        return 8;
    if (in_row <= 0)
        return 0;
    /* What is not nothing is seen. */
    return in_row < 1.0 / 8 ? 1 : (int)(in_row * 8);
}

static void put_graph_row(const struct samples *columns, double top, int row, struct buf *out)
{
    static const char *const blocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    size_t blanks = 0;

    if (row % 2 == 0)
        buf_printf(out, "%*.4g ┤", AXIS_COLUMNS - 3, top * (GRAPH_ROWS - row) / GRAPH_ROWS);
    else
        buf_printf(out, "%*s │", AXIS_COLUMNS - 3, "");
    for (size_t k = 0; k < columns->count; k++) {
        int fill = fill_of(columns->items[k].running, top, row);

        if (fill == 0) {
            blanks++;
            continue;
        }
        buf_printf(out, "%*s%s", (int)blanks, "", blocks[fill]);
        blanks = 0;
    }
    buf_putc(out, '\n');
}

/* A multiple of the rows, so that the scale has whole numbers. */
static double next_eighth(double top)
{
    int64_t each = (int64_t)(top / GRAPH_ROWS);

    each += (double)(each * GRAPH_ROWS) < top;
    return (double)(each * GRAPH_ROWS);
}

static enum weir_status put_graph(struct client *c, const struct samples *all,
                                  struct weir_error *err)
{
    size_t wide = c->width > 2 * AXIS_COLUMNS ? c->width - AXIS_COLUMNS : GRAPH_COLUMNS;
    struct samples columns = {.count = all->count < wide ? all->count : wide};
    double top = 0;

    columns.items = mem_calloc(columns.count, sizeof *columns.items);
    if (!columns.items)
        return error_nomem(err);
    for (size_t k = 0; k < columns.count; k++) {
        columns.items[k] =
            join(all, k * all->count / columns.count, (k + 1) * all->count / columns.count);
        if (columns.items[k].running > top)
            top = columns.items[k].running;
    }
    /* A scale that people can read off. */
    top = top <= 1 ? 1 : top <= 2 ? 2 : top <= 4 ? 4 : next_eighth(top);
    buf_puts(&c->out, "running\n");
    for (int row = 0; row < GRAPH_ROWS; row++)
        put_graph_row(&columns, top, row, &c->out);
    buf_printf(&c->out, "%*s └", AXIS_COLUMNS - 3, "0");
    for (size_t k = 0; k < columns.count; k++)
        buf_puts(&c->out, "─");
    buf_putc(&c->out, '\n');
    mem_free(columns.items);
    return WEIR_OK;
}

/* ---- the table ---- */

static const struct table_column heads[] = {
    {.title = "FROM"},
    {.title = "RUNNING", .right = true},
    {.title = "LIMIT", .right = true},
    {.title = "USE", .right = true},
    {.title = "STARTED", .right = true},
    {.title = "FINISHED", .right = true},
    {.title = "FAILED", .right = true},
    {.title = "", .stretch = true},
};

static void put_number(struct table *t, int decimals, double value, const char *unit)
{
    _cleanup_buf_ struct buf cell = {0};

    buf_printf(&cell, "%.*f%s", decimals, value, unit);
    table_cell(t, buf_slice(&cell), TABLE_PLAIN);
}

static void put_bar(struct table *t, double share)
{
    _cleanup_buf_ struct buf cell = {0};

    for (int i = 0; i < (int)(share * BAR_COLUMNS + 0.5) && i < 2 * BAR_COLUMNS; i++)
        buf_puts(&cell, "█");
    table_cell(t, buf_slice(&cell), TABLE_PLAIN);
}

static void put_row(const struct client *c, struct table *t, const struct sample *s)
{
    _cleanup_buf_ struct buf at = {0};

    when_put(&at, s->at_ns, c->now_ns, c->o->utc);
    table_cell(t, buf_slice(&at), TABLE_PLAIN);
    put_number(t, 1, s->running, "");
    put_number(t, 1, s->limit, "");
    put_number(t, 0, s->utilisation * 100, "%");
    put_number(t, 0, s->started, "");
    put_number(t, 0, s->finished, "");
    put_number(t, 0, s->failed, "");
    put_bar(t, s->utilisation);
}

static void put_table(struct client *c, const struct report_options *o, const struct samples *all)
{
    size_t rows = o->samples || all->count < TABLE_ROWS ? all->count : TABLE_ROWS;
    struct table t;

    table_init(&t, heads, sizeof heads / sizeof heads[0]);
    for (size_t row = 0; row < rows; row++) {
        struct sample s = join(all, row * all->count / rows, (row + 1) * all->count / rows);

        put_row(c, &t, &s);
    }
    table_put(&t, c->width, c->colour, &c->out);
    table_free(&t);
}

static void put_sum(struct client *c, const struct report_options *o, const struct samples *all)
{
    struct sample sum = join(all, 0, all->count);
    double most = 0;

    for (size_t i = 0; i < all->count; i++)
        most = all->items[i].running > most ? all->items[i].running : most;
    buf_printf(&c->out,
               "%s%s: %.1f running on average, %.1f at most, %.0f%% in use; %.0f attempts started, "
               "%.0f ended, %.0f of them failed\n\n",
               o->pool ? "pool " : "all pools", o->pool ? o->pool : "", sum.running, most,
               sum.utilisation * 100, sum.started, sum.finished, sum.failed);
}

static int put_samples(struct client *c)
{
    struct json_iter it;
    struct slice key, item;

    json_iter_init(&it, buf_slice(&c->body));
    while (json_iter_next(&it, &key, &item)) {
        json_put_oneline(&c->out, item);
        buf_putc(&c->out, '\n');
    }
    return CLI_OK;
}

/* There may be samples of one that the configuration has no more; without any it may be a slip. */
static int check_pool(struct client *c, const struct report_options *o)
{
    _cleanup_buf_ struct buf path = {0};
    struct json_iter it;
    struct slice key, item;
    int result;

    json_iter_init(&it, buf_slice(&c->body));
    if (!o->pool || json_iter_next(&it, &key, &item))
        return CLI_OK;
    buf_puts(&path, "/v1/pools/");
    client_put_escaped(&path, o->pool);
    result = client_ask(c, "GET", path.failed ? NULL : path.data, NULL);
    buf_clear(&c->body);
    buf_puts(&c->body, "[]");
    return result;
}

static int report(struct client *c, void *options)
{
    struct report_options *o = options;
    _cleanup_buf_ struct buf path = {0};
    struct samples all = {0};
    struct weir_error err = {0};
    enum weir_status status;
    int result;

    if (o->since_ns == 0)
        o->since_ns = 3600 * NS_PER_S;
    put_path(c, o, &path);
    result = client_ask(c, "GET", path.failed ? NULL : path.data, NULL);
    if (result != CLI_OK)
        return result;
    result = check_pool(c, o);
    if (result != CLI_OK || c->o->json)
        return result == CLI_OK ? put_samples(c) : result;
    status = read_samples(buf_slice(&c->body), &all, &err);
    if (status == WEIR_OK && all.count == 0) {
        fprintf(stderr, "no samples: the daemon takes one each 10 s, and keeps them if its "
                        "configuration says history\n");
    } else if (status == WEIR_OK) {
        put_sum(c, o, &all);
        status = put_graph(c, &all, &err);
        buf_putc(&c->out, '\n');
        put_table(c, o, &all);
    }
    mem_free(all.items);
    return status == WEIR_OK ? CLI_OK : client_complain(c, &err);
}

static const struct client_verb verbs[] = {
    {.help = "how busy the daemon has been: concurrency and utilisation over time",
     .intro = "Shows how many attempts ran, and which share of the limit that was, over time: as a "
              "graph, and as a table.",
     CLIENT_SPECS(specs),
     .options_bytes = sizeof(struct report_options),
     .run = report},
};
const struct client_command client_report =
    CLIENT_COMMAND("report", "how busy the daemon has been", verbs);

int cmd_report(int argc, char **argv)
{
    return client_main(&client_report, argc, argv);
}
