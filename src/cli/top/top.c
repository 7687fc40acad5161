/*
 * weir top: the daemon, live in the terminal.
 *
 *     weir top [--every 1s]       until q
 *     weir top --once             one screen, as plain lines of text
 *
 * The main thread has the terminal, the model and what the person chose; the feed's thread asks the
 * daemon.
 */
#include "base/error.h"
#include "base/json.h"
#include "cli/client/client.h"
#include "cli/client/commands.h"
#include "cli/commands.h"
#include "cli/top/feed.h"
#include "cli/top/screen.h"
#include "cli/top/text.h"
#include "loop/loop.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define EVERY_DEFAULT_NS ((int64_t)1000000000)

struct top_options {
    struct client_common common;
    int64_t every_ns;
    bool once, failed;
};

static const struct option_spec specs[] = {
    {.name = "every",
     .kind = OPTION_DURATION,
     .argument = "TIME",
     .min = 0.1,
     .max = 3600,
     .at = offsetof(struct top_options, every_ns),
     .group = "The screen",
     .help = "how often it asks the daemon (default 1s)"},
    {.name = "once",
     .kind = OPTION_FLAG,
     .at = offsetof(struct top_options, once),
     .group = "The screen",
     .help = "print all of it once, as plain text (or, with --json, as JSON), and end"},
    {.name = "failed",
     .kind = OPTION_FLAG,
     .at = offsetof(struct top_options, failed),
     .group = "The screen",
     .help = "begin with the tasks that failed, not with those that wait"},
};

/* ---- both ---- */

struct top {
    struct client *c;
    struct top_ui ui;
    struct top_model m;
    struct top_answers answers;
    struct top_screen screen;
    struct top_feed *feed;
};

static void take_locale(struct top_ui *ui)
{
    const char *codeset;

    ui->utf8 = setlocale(LC_CTYPE, "") && (codeset = nl_langinfo(CODESET)) != NULL &&
               strcmp(codeset, "UTF-8") == 0;
}

/* From the answers into the model. */
static enum weir_status load(struct top *t, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    for (int i = 0; i < TOP_LISTS && status == WEIR_OK; i++)
        status = top_load(&t->m, (enum top_list)i, buf_slice(&t->answers.lists[i]), err);
    if (status == WEIR_OK && t->answers.of.detail == t->ui.detail)
        status =
            top_load_task(&t->m, buf_slice(&t->answers.task), buf_slice(&t->answers.record), err);
    return status;
}

static void top_free(struct top *t)
{
    top_model_free(&t->m);
    top_answers_free(&t->answers);
    top_screen_free(&t->screen);
    top_action_free(&t->ui.asked);
}

/* ---- once ---- */

static void put_json(const struct top_answers *a, struct buf *out)
{
    static const char *const names[TOP_LISTS] = {"runners", "tasks", "status", "events"};

    for (int i = 0; i < TOP_LISTS; i++) {
        struct slice value = json_trim(buf_slice(&a->lists[i]));
        struct slice inside = top_member(value, names[i]);

        buf_printf(out, "%s\"%s\":", i == 0 ? "{" : ",", names[i]);
        json_put_oneline(out, inside.len > 0 ? inside : value);
    }
    buf_puts(out, "}\n");
}

static int print_once(struct top *t)
{
    struct client *c = t->c;
    struct weir_error err = {0};

    if (!top_fetch(c, &(struct top_want){.failed = t->ui.failed}, &t->answers)) {
        fprintf(stderr, "%s: %s\n", c->name, t->answers.trouble);
        return CLI_FAILED;
    }
    if (load(t, &err) != WEIR_OK)
        return client_complain(c, &err);
    if (c->o->json) {
        put_json(&t->answers, &c->out);
        return CLI_OK;
    }
    top_settle(&t->ui, &t->m);
    t->screen.width = c->width;
    top_draw(&t->m, &t->ui, c->now_ns, &t->screen);
    if (t->screen.failed)
        return error_nomem(&err), client_complain(c, &err);
    for (size_t i = 0; i < t->screen.count; i++) {
        buf_put(&c->out, t->screen.text.data + t->screen.lines[i].at, t->screen.lines[i].len);
        buf_putc(&c->out, '\n');
    }
    return CLI_OK;
}

/* ---- live ---- */

static void draw(struct top *t)
{
    screen_size(&t->screen.width, &t->screen.height);
    top_draw(&t->m, &t->ui, loop_wall_clock_ns(), &t->screen);
    screen_show(&t->screen);
}

static void take_answers(struct top *t)
{
    struct weir_error err = {0};

    if (!top_feed_take(t->feed, &t->answers))
        return;
    if (t->answers.message[0])
        top_say(&t->ui, t->answers.is_bad, "%s", t->answers.message);
    if (t->answers.trouble[0])
        memcpy(t->ui.trouble, t->answers.trouble, sizeof t->ui.trouble);
    else if (t->answers.of.failed == t->ui.failed && load(t, &err) != WEIR_OK)
        memcpy(t->ui.trouble, err.message, sizeof t->ui.trouble);
    else
        t->ui.trouble[0] = '\0';
    top_settle(&t->ui, &t->m);
}

/* False: that was the key to end. */
static bool do_key(struct top *t, int key)
{
    struct top_action action = {0};
    bool goes_on;

    if (key == SCREEN_RESIZED || key == SCREEN_REDRAW) {
        screen_spoil();
        return true;
    }
    top_key(&t->ui, &t->m, key, &action);
    goes_on = action.what != TOP_QUIT;
    if (action.what == TOP_FETCH)
        top_feed_want(t->feed, &(struct top_want){t->ui.failed, t->ui.detail});
    if (action.what == TOP_SEND && !top_feed_send(t->feed, &action))
        top_say(&t->ui, true, "the daemon does not keep up: not sent");
    top_action_free(&action);
    return goes_on;
}

static bool do_keys(struct top *t)
{
    int key;

    while (screen_key(&key)) {
        if (!do_key(t, key))
            return false;
    }
    return true;
}

static void watch(struct top *t, int signals)
{
    struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                           {.fd = top_feed_fd(t->feed), .events = POLLIN},
                           {.fd = signals, .events = POLLIN}};

    for (;;) {
        draw(t);
        /* A change of the window's size interrupts it, and is a key then. */
        if (poll(fds, 3, -1) < 0) {
            if (errno != EINTR)
                return;
            fds[0].revents = fds[1].revents = fds[2].revents = 0;
        }
        if (fds[2].revents || !do_keys(t) || (fds[0].revents & (POLLHUP | POLLERR | POLLNVAL)))
            return;
        if (fds[1].revents)
            take_answers(t);
    }
}

static int run_live(struct top *t, int every_ms)
{
    struct weir_error err = {0};
    sigset_t ends;
    int signals;

    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGHUP);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    signals = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0) {
        error_set_errno(&err, WEIR_E_IO, errno, "signalfd");
        return client_complain(t->c, &err);
    }
    if (screen_open(t->c->colour, &err) == WEIR_OK) {
        if (top_feed_open(&t->feed, t->c, every_ms, &err) == WEIR_OK) {
            top_feed_want(t->feed, &(struct top_want){.failed = t->ui.failed});
            watch(t, signals);
        }
        screen_close();
    }
    top_feed_close(t->feed);
    close(signals);
    return err.status == WEIR_OK ? CLI_OK : client_complain(t->c, &err);
}

static int run(struct client *c, void *options)
{
    struct top_options *o = options;
    struct top t = {.c = c,
                    .ui = {.address = c->address.data, .utc = c->o->utc, .failed = o->failed}};
    int result;

    if (c->o->json && !o->once)
        return client_usage(c, "--json goes with --once");
    take_locale(&t.ui);
    if (o->failed)
        t.ui.pane = TOP_TASKS;
    if (o->once)
        result = print_once(&t);
    else
        result = run_live(&t, (int)((o->every_ns > 0 ? o->every_ns : EVERY_DEFAULT_NS) / 1000000));
    top_free(&t);
    return result;
}

static const struct client_verb verbs[] = {
    {.help = "the daemon, live in the terminal: pools, what runs, what waits, events",
     .usage = "[--every TIME | --once]",
     .intro =
         "Shows pools, what runs, what waits and what happens, live; ? lists the keys.\n"
         "p pauses a pool, + and - change its limit, c cancels a task, r tries a failed one again.",
     .options_bytes = sizeof(struct top_options),
     CLIENT_SPECS(specs),
     .run = run},
};

const struct client_command client_top = CLIENT_COMMAND(
    "top", "the daemon, live in the terminal: pools, what runs, what waits, events", verbs);

int cmd_top(int argc, char **argv)
{
    return client_main(&client_top, argc, argv);
}
