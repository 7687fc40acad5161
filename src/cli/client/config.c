/*
 * weir config: what the daemon is set to.
 */
#include "serve/config/config.h"

#include "base/json.h"
#include "cli/client/commands.h"
#include "cli/client/request.h"
#include "cli/client/verbs.h"
#include "cli/client/view.h"
#include "cli/commands.h"

#include <stdio.h>

/* ---- show ---- */

static int show(struct client *c, void *options)
{
    _cleanup_buf_ struct buf text = {0};
    int result = client_ask(c, "GET", "/v1/config", NULL);

    (void)options;
    if (result != CLI_OK || verbs_put_json(c))
        return result;
    json_unquote(view_member(buf_slice(&c->body), "config"), &text);
    view_put_lines(&c->out, buf_slice(&text), "");
    return CLI_OK;
}

/* ---- check ---- */

static int check(struct client *c, void *options)
{
    const char *path = c->o->words.count > 0 ? c->o->words.items[0] : "weir.yml";
    struct config_faults faults = {0};
    struct config *config = NULL;
    struct weir_error err = {0};
    _cleanup_buf_ struct buf text = {0};
    enum weir_status status = config_load(path, &config, &faults, &err);
    int result = CLI_OK;

    (void)options;
    if (status == WEIR_OK) {
        buf_printf(&c->out, "%s is good: %zu %s\n", path, config->pools.count,
                   config->pools.count == 1 ? "pool" : "pools");
    } else if (status == WEIR_E_INVALID) {
        config_faults_put(&faults, &text);
        fputs(text.data ? text.data : "", stderr);
        result = CLI_USAGE;
    } else {
        (void)client_complain(c, &err);
        result = status == WEIR_E_NOMEM ? CLI_FAILED : CLI_USAGE;
    }
    config_faults_free(&faults);
    config_free(config);
    return result;
}

/* ---- reload ---- */

static int reload(struct client *c, void *options)
{
    struct json_iter it;
    struct slice key, line;
    bool any = false;
    int result = client_ask(c, "POST", "/v1/config/reload", NULL);

    (void)options;
    if (result != CLI_OK || verbs_put_json(c))
        return result;
    json_iter_init(&it, view_member(buf_slice(&c->body), "changed"));
    while (json_iter_next(&it, &key, &line)) {
        any = true;
        view_put_text(&c->out, line);
        buf_putc(&c->out, '\n');
    }
    if (!any)
        buf_puts(&c->out, "nothing has changed\n");
    return CLI_OK;
}

static const struct client_verb verbs[] = {
    {.name = "show",
     .help = "the configuration in force, without secrets",
     .intro = "Prints the configuration in force, defaults included, without secrets: as weir "
              "serve --show would, but of the daemon that runs, and with what was changed by "
              "hand, which a comment at the top names.",
     .run = show},
    {.name = "check",
     .help = "say what is wrong with a file, before the daemon reads it",
     .usage = "[options] [FILE]",
     .intro = "Says all that is wrong with a configuration (default: weir.yml), each with its "
              "line. Needs no daemon.",
     .words = "file",
     .words_max = 1,
     .is_local = true,
     .run = check},
    {.name = "reload",
     .help = "have the daemon read its configuration anew, and say what has changed",
     .run = reload},
};
const struct client_command client_config =
    CLIENT_COMMAND("config", "the daemon's configuration: show, check, reload", verbs);

int cmd_config(int argc, char **argv)
{
    return client_main(&client_config, argc, argv);
}
