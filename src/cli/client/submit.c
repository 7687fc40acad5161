/*
 * weir submit: one task, or a file of them.
 *
 *     weir submit --pool sh -- convert in.png out.jpg        // prints the task's id
 *     weir submit --wait --shell 'ls | wc -l'                // prints its output, and exits by its outcome
 *     weir submit --lines rows.jsonl --pool model            // each line is the payload of a task
 *     weir submit --tasks chain.json                         // an array of tasks, which may name each other
 */
#include "cli/client/submit.h"
#include "cli/client/commands.h"

#include "base/json.h"
#include "cli/client/follow.h"
#include "cli/client/problem.h"
#include "cli/client/request.h"
#include "cli/client/view.h"
#include "cli/commands.h"

#include <inttypes.h>
#include <stdio.h>

#define AT(field) .at = offsetof(struct submit_options, field)

static const struct option_spec specs[] = {
    {.name = "payload",
     .kind = OPTION_TEXT,
     .argument = "JSON",
     AT(payload),
     .group = "What is to be done",
     .help = "any JSON value; @FILE: that in a file; -: that on standard input"},
    {.name = "shell",
     .kind = OPTION_TEXT,
     .argument = "TEXT",
     AT(shell),
     .group = "What is to be done",
     .help = "a line for the shell: the payload {\"shell\": TEXT}"},
    {.name = "lines",
     .kind = OPTION_TEXT,
     .argument = "FILE",
     AT(lines),
     .group = "What is to be done",
     .help = "each line of it is the payload of a task; -: of standard input"},
    {.name = "tasks",
     .kind = OPTION_FLAG,
     AT(tasks),
     .group = "What is to be done",
     .help = "FILE (-: standard input) is a JSON array of whole tasks, as POST /v1/tasks takes it: "
             "one request, all of it or nothing, and tasks may come after others of it by name. "
             "With --lines instead: each line is a whole task; they are taken as they come, and "
             "none knows the name of another"},
    {.name = "key",
     .kind = OPTION_TEXT,
     .argument = "TEXT",
     AT(key),
     .group = "What is to be done",
     .help = "your own name for it; need not be unique"},
    {.name = "idempotency-key",
     .kind = OPTION_TEXT,
     .argument = "TEXT",
     AT(idempotency_key),
     .group = "What is to be done",
     .help = "a second submit with it makes no second task, and prints the id of the first"},
    {.name = "batch",
     .kind = OPTION_COUNT,
     .argument = "BATCH",
     AT(batch),
     .min = 1,
     .max = 9e15,
     .group = "What is to be done",
     .help = "add to this batch, which must be open"},
    {.name = "wait",
     .kind = OPTION_FLAG,
     AT(wait),
     .group = "What is to be done",
     .help = "wait until it has ended, print its output, and exit with 0 if it is done, with 1 if "
             "it failed or was cancelled"},
};

static void put_path(const struct submit_options *o, struct buf *path)
{
    if (o->batch > 0)
        buf_printf(path, "/v1/batches/%" PRId64 "/tasks", o->batch);
    else
        buf_puts(path, "/v1/tasks");
}

static void put_answer(struct client *c)
{
    json_put_oneline(&c->out, buf_slice(&c->body));
    buf_putc(&c->out, '\n');
}

/* ---- many ---- */

static int check_lines(const struct client *c, const struct submit_options *o)
{
    const char *single = submit_single_option(o);

    if (o->payload || o->shell || o->c.rest.count > 0)
        return client_usage(c, "--lines says what is to be done; --payload, --shell or a command "
                               "behind -- cannot be given, too");
    if (single)
        return client_usage(c,
                            "--%s is for one task; with --lines write it into the lines, and "
                            "give --tasks",
                            single);
    if (o->wait)
        return client_usage(c, "--wait is for one task; make a batch (weir batch submit FILE), and "
                               "follow its results (weir batch results --follow ID)");
    if (o->tasks && submit_any_member(o))
        return client_usage(c, "with --tasks the lines say all of each task; leave out --tasks, or "
                               "the options of tasks");
    return CLI_OK;
}

static int check_array(const struct client *c, const struct submit_options *o)
{
    if (o->c.words.count == 0)
        return client_usage(c, "--tasks goes with a file: --tasks FILE, which is a JSON array, or "
                               "--lines FILE --tasks");
    if (o->payload || o->shell || o->c.rest.count > 0 || submit_single_option(o) ||
        submit_any_member(o))
        return client_usage(c, "with --tasks the file says all of each task; leave out --tasks, or "
                               "the options of tasks");
    if (o->wait)
        return client_usage(c, "--wait is for one task; weir task wait ID... waits for more");
    return CLI_OK;
}

/* Ids in the order of the tasks, and those that follow each other in short. */
static void put_ids(struct client *c)
{
    struct json_iter it;
    struct slice key, one;
    _cleanup_buf_ struct buf ranges = {0};
    int64_t id, first = 0, last = 0;
    uint64_t count = 0;

    buf_putc(&ranges, '[');
    json_iter_init(&it, view_member(buf_slice(&c->body), "ids"));
    while (json_iter_next(&it, &key, &one)) {
        if (!json_int64(one, &id))
            continue;
        if (count++ > 0 && id == last + 1) {
            last = id;
            continue;
        }
        if (count > 1)
            buf_printf(&ranges, "[%" PRId64 ",%" PRId64 "],", first, last);
        first = last = id;
    }
    buf_printf(&ranges, "[%" PRId64 ",%" PRId64 "]]", first, last);
    submit_tell_count(count);
    if (count > 0)
        problem_put_ranges(&c->out, buf_slice(&ranges));
    buf_putc(&c->out, '\n');
}

static int submit_array(struct client *c, const struct submit_options *o)
{
    _cleanup_buf_ struct buf path = {0}, array = {0};
    struct weir_error err = {0};
    int result = check_array(c, o);

    if (result != CLI_OK)
        return result;
    if (submit_read_array(o->c.words.items[0], &array, &err) != WEIR_OK)
        return client_complain(c, &err);
    put_path(o, &path);
    result = client_ask(c, "POST", path.failed ? NULL : path.data, array.data);
    if (result != CLI_OK)
        return result;
    if (c->o->json)
        put_answer(c);
    else
        put_ids(c);
    return CLI_OK;
}

static int submit_lines(struct client *c, const struct submit_options *o)
{
    _cleanup_buf_ struct buf path = {0};
    struct slice ranges;
    int result = check_lines(c, o);

    if (result != CLI_OK)
        return result;
    put_path(o, &path);
    result = path.failed ? CLI_FAILED : submit_stream(c, o, o->lines, path.data);
    if (result != CLI_OK)
        return result;
    if (c->o->json) {
        put_answer(c);
    } else {
        submit_tell_accepted(c);
        ranges = view_member(buf_slice(&c->body), "ranges");
        if (json_trim(ranges).len > 2) {
            problem_put_ranges(&c->out, ranges);
            buf_putc(&c->out, '\n');
        }
    }
    submit_warn(c, o);
    return CLI_OK;
}

/* ---- one ---- */

static int submit_one(struct client *c, const struct submit_options *o)
{
    _cleanup_buf_ struct buf path = {0}, task = {0};
    struct weir_error err = {0};
    int64_t id = 0;
    int result;

    if (submit_put_task(o, &task, &err) != WEIR_OK)
        return client_complain(c, &err);
    put_path(o, &path);
    result = client_ask(c, "POST", path.failed ? NULL : path.data, task.data);
    if (result != CLI_OK)
        return result;
    (void)json_int64(view_member(buf_slice(&c->body), "id"), &id);
    if (json_kind(view_member(buf_slice(&c->body), "existing")) == JSON_TRUE && !c->o->json)
        fprintf(stderr, "%s: this idempotency key is known; task %" PRId64 " was there already\n",
                c->name, id);
    if (!o->wait && c->o->json)
        put_answer(c);
    else if (!o->wait)
        buf_printf(&c->out, "%" PRId64 "\n", id);
    submit_warn(c, o);
    if (!o->wait)
        return CLI_OK;
    result = follow_task(c, id);
    return result == CLI_OK ? follow_tell_result(c) : result;
}

static int submit(struct client *c, void *options)
{
    struct submit_options *o = options;
    int result;

    if (o->c.words.count > 0 && (o->lines || !o->tasks))
        result = client_usage(c, "\"%.100s\" is not expected here; %s --help says what is",
                              o->c.words.items[0], c->name);
    else if (o->lines)
        result = submit_lines(c, o);
    else if (o->tasks)
        result = submit_array(c, o);
    else
        result = submit_one(c, o);
    submit_options_free(o);
    return result;
}

static const struct client_verb verbs[] = {
    {.help = "hand tasks over to the daemon",
     .usage = "[options] [--tasks FILE | -- CMD [ARG...]]",
     .intro = "Hands a task over to the daemon, and prints its id when it is safe there; or, with "
              "--lines or --tasks, any number of them.",
     .outro = "Examples:\n"
              "  weir submit -- convert in.png out.jpg\n"
              "  weir submit --pool model --payload '{\"prompt\": \"Say hello\"}'\n"
              "  weir submit --wait --shell 'ls | wc -l'\n"
              "  weir submit --lines rows.jsonl --pool model --priority -10\n"
              "  weir submit --tasks chain.json\n",
     .words = "file",
     .words_max = 1,
     CLIENT_SPECS(specs),
     .shared = submit_specs,
     .shared_count = SUBMIT_SPECS_COUNT,
     .options_bytes = sizeof(struct submit_options),
     .takes_rest = true,
     .run = submit},
};
const struct client_command client_submit =
    CLIENT_COMMAND("submit", "hand tasks over to the daemon", verbs);

int cmd_submit(int argc, char **argv)
{
    return client_main(&client_submit, argc, argv);
}
