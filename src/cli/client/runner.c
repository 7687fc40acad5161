/*
 * weir runner: attempts that run.
 */
#include "base/json.h"
#include "cli/client/commands.h"
#include "cli/client/verbs.h"
#include "cli/client/view.h"
#include "cli/commands.h"

/* What it says, or that it is being ended. */
static void put_words(const struct client *c, struct slice runner, struct buf *out)
{
    (void)c;
    if (json_kind(view_member(runner, "cancelling")) == JSON_TRUE)
        buf_puts(out, "is being cancelled");
    else
        view_put_text(out, view_member(runner, "text"));
}

static const struct view_column columns[] = {
    {{.title = "RUNNER", .right = true}, "id", VIEW_TEXT, NULL},
    {{.title = "TASK", .right = true}, "task", VIEW_TEXT, NULL},
    {{.title = "KEY", .stretch = true}, "key", VIEW_TEXT, NULL},
    {{.title = "TRY", .right = true}, "attempt", VIEW_TEXT, NULL},
    {{.title = "POOL", .stretch = true}, "pool", VIEW_TEXT, NULL},
    {{.title = "WORKER", .right = true}, "worker", VIEW_TEXT, NULL},
    {{.title = "PID", .right = true}, "pid", VIEW_TEXT, NULL},
    {{.title = "RUNS", .right = true}, "run_s", VIEW_SECONDS, NULL},
    {{.title = "HEARTBEAT"}, "heartbeat_at", VIEW_TIME, NULL},
    {{.title = "PROGRESS", .right = true}, "progress", VIEW_SHARE, NULL},
    {{.title = "TEXT", .stretch = true}, NULL, VIEW_FUNCTION, put_words},
};

static int list(struct client *c, void *options)
{
    (void)options;
    return client_list(c, &(struct client_list){.path = "/v1/runners",
                                                CLIENT_COLUMNS(columns),
                                                .none = "nothing runs"});
}

static void tell_killed(struct client *c, const char *word)
{
    buf_printf(&c->out, "runner %s: is being ended; its task is tried again\n", word);
}

static int kill_runners(struct client *c, void *options)
{
    (void)options;
    return verbs_each(c, &(struct verbs_each){.method = "POST",
                                              .kind = "runners",
                                              .action = "kill",
                                              .what = "runner",
                                              .tell = tell_killed});
}

static const struct client_verb verbs[] = {
    {.name = "list", .help = "list attempts that run", .run = list},
    {.name = "kill",
     .help = "end attempts as lost; their tasks are tried again",
     .usage = "[options] RUNNER...",
     .words = "runner",
     .words_min = 1,
     .words_max = 100000,
     .run = kill_runners},
};
const struct client_command client_runner =
    CLIENT_COMMAND("runner", "attempts that run: list, kill", verbs);

int cmd_runner(int argc, char **argv)
{
    return client_main(&client_runner, argc, argv);
}
