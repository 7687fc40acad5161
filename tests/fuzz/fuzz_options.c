/*
 * Fuzzes what reads the command line of weir run (src/cli/options.h, run_options.h, run_url.h,
 * halt.h).
 *
 * The input is the arguments, one per line. What must hold whatever comes: a refusal has a message
 * that begins with the command; options that are accepted have a fingerprint that is JSON, agrees
 * with itself, and holds no user or password; and the whole is freed.
 */
#include "base/json.h"
#include "cli/run_options.h"
#include "cli/run_url.h"

#include <stdlib.h>
#include <string.h>

#define ARGUMENTS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void check_accepted(const struct run_options *o)
{
    struct buf a = {0}, told = {0};

    run_options_fingerprint(o, &a);
    must(!a.failed);
    /* Arguments may be no UTF-8; the writer of strings makes them so. */
    must(json_check(buf_slice(&a), NULL));
    must(!run_options_conflict(buf_slice(&a), buf_slice(&a), &told));
    must(told.len == 0);
    must((o->kind == RUN_HTTP) == (o->http.url != NULL));
    must((o->kind == RUN_COMMAND) == (o->command.words.count > 0));
    must(!o->http.url || run_url_userinfo(slice_of(o->http.url)).len == 0);
    must(o->flow.jobs >= 1 && o->flow.backoff_multiplier > 1);
    must(o->flow.waste > 0 && o->flow.recovery_step_ns >= 0);
    must(o->flow.throttle != THROTTLE_AIMD ||
         o->flow.min_dispatch_delay_ns <= o->flow.max_dispatch_delay_ns);
    for (size_t i = 0; i < o->http.header_count; i++) {
        must(o->http.headers[i].line[o->http.headers[i].name_len] == ':');
        must(!strpbrk(o->http.headers[i].line, "\r\n"));
    }
    buf_free(&a);
    buf_free(&told);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    char *argv[ARGUMENTS_MAX + 1];
    char name[] = "run";
    char *rest = text;
    int argc = 1;
    struct run_options o;
    struct weir_error err = {0};
    struct buf help = {0};
    enum weir_status status;

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    argv[0] = name;
    /* Each argument in memory of its own, so that a read or write beyond it is seen. */
    for (char *line; argc < ARGUMENTS_MAX && (line = strsep(&rest, "\n"));)
        argv[argc++] = strdup(line);
    argv[argc] = NULL;
    run_options_init(&o);
    status = run_options_parse(&o, argc, argv, &err);
    if (status != WEIR_OK)
        must(strncmp(err.message, "weir run: ", 10) == 0);
    else if (o.help)
        run_options_help(&help);
    else
        check_accepted(&o);
    run_options_free(&o);
    buf_free(&help);
    for (int i = 1; i < argc; i++)
        free(argv[i]);
    free(text);
    return 0;
}
