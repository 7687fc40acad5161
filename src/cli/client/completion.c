/*
 * weir completion: scripts with which bash and zsh complete what is typed.
 *
 *     . <(weir completion bash)                   # make install puts it where bash looks by itself
 *     weir completion names pools                 # what the scripts ask while somebody types
 *
 * The scripts are made of the tables of options. Each verb is one line of data in them: its
 * options, each with what kind of value it takes, and what its words are. A kind is "file", one of
 * the names below ("pools"), ":a,b" for a choice, or "-" for what nobody can guess. The commands
 * that are no clients (weir run) are asked for their --help, at that moment.
 */
#include "base/error.h"
#include "base/json.h"
#include "cli/client/commands.h"
#include "cli/client/request.h"
#include "cli/client/verbs.h"
#include "cli/client/view.h"
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

/* Commands that have their options elsewhere, with their verbs. */
static const struct {
    const char *name, *verbs, *help;
} others[] = {
    {"run", NULL, "push rows through a service, workers or commands"},
    {"serve", NULL, "the dispatcher as a daemon"},
    {"mock", NULL, "a service to rehearse with"},
    {"simulate", NULL, "predict what a run would do"},
    {"worker", "check", "check a worker"},
    {"version", NULL, "say which weir this is"},
    {"help", NULL, "the help of a command"},
};

static const struct {
    const char *word, *kind;
} kinds[] = {
    {"POOL", "pools"},
    {"TASK", "tasks"},
    {"ID[,ID]", "tasks"},
    {"BATCH", "batches"},
    {"FILE", "file"},
    {"STATE[,STATE]", ":blocked,scheduled,ready,running,done,failed,cancelled"},
};

/* ---- the data ---- */

static void put_kind(const struct option_spec *spec, struct buf *out)
{
    if (spec->kind == OPTION_CHOICE) {
        buf_putc(out, ':');
        for (const char *at = spec->choices; *at; at++)
            buf_putc(out, *at == '|' ? ',' : *at);
        return;
    }
    for (size_t i = 0; spec->argument && i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i].word, spec->argument) == 0) {
            buf_puts(out, kinds[i].kind);
            return;
        }
    }
    buf_puts(out, spec->argument ? "-" : "");
}

static const char *words_kind(const struct client_verb *verb)
{
    static const struct {
        const char *words, *kind;
    } names[] = {{"pool", "pools"},
                 {"task", "tasks"},
                 {"batch", "batches"},
                 {"runner", "runners"},
                 {"file", "file"}};

    for (size_t i = 0; verb->words && i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i].words, verb->words) == 0)
            return names[i].kind;
    }
    return verb->words ? verb->words : "-";
}

/* A text between single quotes of a shell. */
static void put_quoted(struct buf *out, const char *text)
{
    buf_putc(out, '\'');
    for (; *text; text++) {
        if (*text == '\'')
            buf_puts(out, "'\\''");
        else
            buf_putc(out, *text);
    }
    buf_putc(out, '\'');
}

/* bash: "--pool=pools --all"; zsh: triples of name, kind and help. */
static void put_options(const struct options_table *table, bool zsh, struct buf *out)
{
    bool first = true;

    for (size_t p = 0; p < table->part_count; p++) {
        for (size_t i = 0; i < table->parts[p].count; i++) {
            const struct option_spec *spec = &table->parts[p].specs[i];
            _cleanup_buf_ struct buf kind = {0};

            put_kind(spec, &kind);
            buf_puts(out, first ? "" : " ");
            first = false;
            if (zsh) {
                buf_printf(out, "--%s ", spec->name);
                put_quoted(out, kind.data ? kind.data : "");
                buf_putc(out, ' ');
                put_quoted(out, spec->help);
            } else {
                buf_printf(out, "--%s%s%s", spec->name, spec->argument ? "=" : "",
                           kind.data ? kind.data : "");
            }
        }
    }
}

static void put_verb(const struct client_command *command, const struct client_verb *verb, bool zsh,
                     struct buf *out)
{
    _cleanup_buf_ struct buf name = {0};
    struct options_part parts[3];
    struct options_table table = client_table(command, verb, parts, &name);

    buf_printf(out, "    '%s %s') ", command->name, verb->name ? verb->name : "");
    buf_puts(out, zsh ? "options=(" : "options='");
    put_options(&table, zsh, out);
    buf_printf(out, "%s words_kind='%s' ;;\n", zsh ? ")" : "'", words_kind(verb));
}

static void put_specs(bool zsh, struct buf *out)
{
    buf_puts(out, "    case \"$command $verb\" in\n");
    for (size_t i = 0; client_commands[i]; i++) {
        for (size_t k = 0; k < client_commands[i]->verb_count; k++)
            put_verb(client_commands[i], &client_commands[i]->verbs[k], zsh, out);
    }
    buf_puts(out, "    esac\n");
}

/* Of those that have some: "    task) verbs='list show' ;;". */
static void put_verbs(bool zsh, struct buf *out)
{
    buf_puts(out, "    case $command in\n");
    for (size_t i = 0; client_commands[i]; i++) {
        const struct client_command *command = client_commands[i];

        if (!command->verbs[0].name)
            continue;
        buf_printf(out, "    %s) verbs=%s", command->name, zsh ? "(" : "'");
        for (size_t k = 0; k < command->verb_count; k++) {
            _cleanup_buf_ struct buf described = {0};

            buf_puts(out, k > 0 ? " " : "");
            if (zsh) {
                buf_printf(&described, "%s:%s", command->verbs[k].name, command->verbs[k].help);
                put_quoted(out, described.data ? described.data : "");
            } else {
                buf_puts(out, command->verbs[k].name);
            }
        }
        buf_printf(out, "%s ;;\n", zsh ? ")" : "'");
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (others[i].verbs)
            buf_printf(out, zsh ? "    %s) verbs=(%s) ;;\n" : "    %s) verbs='%s' ;;\n",
                       others[i].name, others[i].verbs);
    }
    buf_puts(out, "    esac\n");
}

static void put_command(const char *name, const char *help, bool zsh, struct buf *out)
{
    _cleanup_buf_ struct buf described = {0};

    if (!zsh) {
        buf_printf(out, " %s", name);
        return;
    }
    buf_printf(&described, "%s:%s", name, help);
    buf_putc(out, ' ');
    put_quoted(out, described.data ? described.data : "");
}

static void put_commands(bool zsh, struct buf *out)
{
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        put_command(others[i].name, others[i].help, zsh, out);
    for (size_t i = 0; client_commands[i]; i++)
        put_command(client_commands[i]->name, client_commands[i]->help, zsh, out);
}

/* ---- bash ---- */

static const char bash_start[] =
    "# bash completion of weir, made by: weir completion bash\n"
    "\n"
    "# Completes $cur with a value of this kind.\n"
    "_weir_value()\n"
    "{\n"
    "    case $1 in\n"
    "    file) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\") "
    ";;\n"
    "    :*) local choices=${1#:}; mapfile -t COMPREPLY < <(compgen -W \"${choices//,/ }\" -- "
    "\"$cur\") ;;\n"
    "    -) ;;\n"
    "    *) mapfile -t COMPREPLY < <(compgen -W \"$(\"${COMP_WORDS[0]}\" completion names \"$1\" "
    "2>/dev/null </dev/null)\" -- \"$cur\") ;;\n"
    "    esac\n"
    "}\n"
    "\n"
    "_weir()\n"
    "{\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
    "    local command=${COMP_WORDS[1]} verb= verbs= options= words_kind=file option commands\n"
    "    COMPREPLY=()\n";

static const char bash_middle[] =
    "    if ((COMP_CWORD == 1)) || { [[ $command == help ]] && ((COMP_CWORD == 2)); }; then\n"
    "        mapfile -t COMPREPLY < <(compgen -W \"$commands\" -- \"$cur\")\n"
    "        return\n"
    "    fi\n"
    "    if [[ $cur == = ]]; then\n"
    "        cur=\n"
    "    elif [[ $prev == = ]]; then\n"
    "        prev=${COMP_WORDS[COMP_CWORD - 2]}\n"
    "    fi\n";

static const char bash_verbs[] =
    "    if [[ -n $verbs ]]; then\n"
    "        if ((COMP_CWORD == 2)); then\n"
    "            mapfile -t COMPREPLY < <(compgen -W \"$verbs --help\" -- \"$cur\")\n"
    "            return\n"
    "        fi\n"
    "        verb=${COMP_WORDS[2]}\n"
    "    fi\n";

static const char bash_end[] =
    "    if [[ -z $options ]]; then\n"
    "        options=$(\"${COMP_WORDS[0]}\" $command $verb --help 2>/dev/null </dev/null |\n"
    "            sed -n 's/^ *\\(-.,\\)\\{0,1\\} *\\(--[a-z0-9-]*\\)\\( "
    "[A-Z]\\)\\{0,1\\}.*/\\2\\3/p' |\n"
    "            sed 's/ .*/=file/')\n"
    "    fi\n"
    "    for option in $options; do\n"
    "        if [[ $option == \"$prev=\"* ]]; then\n"
    "            _weir_value \"${option#*=}\"\n"
    "            return\n"
    "        fi\n"
    "    done\n"
    "    if [[ $cur == -* ]]; then\n"
    "        mapfile -t COMPREPLY < <(compgen -W \"$(printf '%s\\n' $options | sed 's/=.*//')\" -- "
    "\"$cur\")\n"
    "    else\n"
    "        _weir_value \"$words_kind\"\n"
    "    fi\n"
    "}\n"
    "complete -F _weir weir\n";

static int bash(struct client *c, void *options)
{
    (void)options;
    buf_puts(&c->out, bash_start);
    buf_puts(&c->out, "    commands='");
    put_commands(false, &c->out);
    buf_puts(&c->out, "'\n");
    buf_puts(&c->out, bash_middle);
    put_verbs(false, &c->out);
    buf_puts(&c->out, bash_verbs);
    put_specs(false, &c->out);
    buf_puts(&c->out, bash_end);
    return CLI_OK;
}

/* ---- zsh ---- */

static const char zsh_start[] =
    "#compdef weir\n"
    "# zsh completion of weir, made by: weir completion zsh\n"
    "\n"
    "# Completes with a value of this kind.\n"
    "_weir_value()\n"
    "{\n"
    "    case $1 in\n"
    "    file) _files ;;\n"
    "    :*) compadd -- ${(s:,:)${1#:}} ;;\n"
    "    -) _message 'a value' ;;\n"
    "    *) compadd -- ${(f)\"$($words[1] completion names $1 2>/dev/null </dev/null)\"} ;;\n"
    "    esac\n"
    "}\n"
    "\n"
    "_weir()\n"
    "{\n"
    "    local command=$words[2] verb= prev=$words[CURRENT-1] words_kind=file name kind help\n"
    "    local -a commands verbs options shown\n";

static const char zsh_middle[] =
    "    if (( CURRENT == 2 )) || { [[ $command == help ]] && (( CURRENT == 3 )) }; then\n"
    "        _describe command commands\n"
    "        return\n"
    "    fi\n";

static const char zsh_verbs[] = "    if (( $#verbs )); then\n"
                                "        if (( CURRENT == 3 )); then\n"
                                "            _describe command verbs\n"
                                "            return\n"
                                "        fi\n"
                                "        verb=$words[3]\n"
                                "    fi\n";

static const char zsh_end[] =
    "    if (( ! $#options )); then\n"
    "        for name in ${(f)\"$($words[1] $command $verb --help 2>/dev/null </dev/null |\n"
    "            sed -n 's/^ *\\(-.,\\)\\{0,1\\} *\\(--[a-z0-9-]*\\).*/\\2/p')\"}; do\n"
    "            options+=($name file '')\n"
    "        done\n"
    "    fi\n"
    "    if [[ $PREFIX == --*=* ]]; then\n"
    "        prev=${PREFIX%%=*}\n"
    "        compset -P '*='\n"
    "    fi\n"
    "    for name kind help in \"${options[@]}\"; do\n"
    "        if [[ $prev == $name && -n $kind ]]; then\n"
    "            _weir_value $kind\n"
    "            return\n"
    "        fi\n"
    "        shown+=(\"$name:$help\")\n"
    "    done\n"
    "    if [[ $PREFIX == -* ]]; then\n"
    "        _describe option shown\n"
    "    else\n"
    "        _weir_value $words_kind\n"
    "    fi\n"
    "}\n"
    "\n"
    "if [[ $funcstack[1] == _weir ]]; then\n"
    "    _weir \"$@\"\n"
    "else\n"
    "    compdef _weir weir\n"
    "fi\n";

static int zsh(struct client *c, void *options)
{
    (void)options;
    buf_puts(&c->out, zsh_start);
    buf_puts(&c->out, "    commands=(");
    put_commands(true, &c->out);
    buf_puts(&c->out, ")\n");
    buf_puts(&c->out, zsh_middle);
    put_verbs(true, &c->out);
    buf_puts(&c->out, zsh_verbs);
    put_specs(true, &c->out);
    buf_puts(&c->out, zsh_end);
    return CLI_OK;
}

/* ---- names ---- */

static int names(struct client *c, void *options)
{
    static const struct {
        const char *kind, *path, *list, *member;
    } sorts[] = {
        {"pools", "/v1/pools", NULL, "name"},
        {"tasks", "/v1/tasks?order=newest&limit=100", "tasks", "id"},
        {"batches", "/v1/batches?limit=1000", "batches", "id"},
        {"runners", "/v1/runners", NULL, "id"},
    };
    const char *kind = c->o->words.items[0];

    (void)options;
    for (size_t i = 0; i < sizeof sorts / sizeof sorts[0]; i++) {
        struct json_iter it;
        struct slice key, item;
        int result;

        if (strcmp(sorts[i].kind, kind) != 0)
            continue;
        result = client_ask(c, "GET", sorts[i].path, NULL);
        if (result != CLI_OK)
            return result;
        json_iter_init(&it, sorts[i].list ? view_member(buf_slice(&c->body), sorts[i].list)
                                          : buf_slice(&c->body));
        while (json_iter_next(&it, &key, &item)) {
            view_put_text(&c->out, view_member(item, sorts[i].member));
            buf_putc(&c->out, '\n');
        }
        return CLI_OK;
    }
    return client_usage(c, "\"%.40s\" is none of pools, tasks, batches, runners", kind);
}

static const struct client_verb verbs[] = {
    {.name = "bash",
     .help = "print the script for bash",
     .outro = "make install puts it where bash-completion finds it. Without: . <(weir completion "
              "bash), in ~/.bashrc.",
     .words = "-",
     .is_local = true,
     .run = bash},
    {.name = "zsh",
     .help = "print the script for zsh",
     .outro = "make install puts it where zsh finds it. Without: . <(weir completion zsh), in "
              "~/.zshrc behind compinit.",
     .words = "-",
     .is_local = true,
     .run = zsh},
    {.name = "names",
     .help = "what the scripts ask the daemon: pools, tasks, batches, runners",
     .usage = "[options] pools|tasks|batches|runners",
     .words = ":pools,tasks,batches,runners",
     .words_min = 1,
     .words_max = 1,
     .run = names},
};
const struct client_command client_completion =
    CLIENT_COMMAND("completion", "scripts with which bash and zsh complete what is typed", verbs);

int cmd_completion(int argc, char **argv)
{
    return client_main(&client_completion, argc, argv);
}
