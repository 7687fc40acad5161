/*
 * Fuzzes what is made of a task's payload (src/exec/command/recipe.h, src/exec/http/recipe.h):
 * corpus/recipe.
 *
 * The input is the payload, for each kind of recipe. What must hold whatever comes: there is a
 * command or a request that can be started as it is, or an error with a text; headers and URL have
 * no line break, and no payload moves a pool's URL to another host.
 */
#include "base/mem.h"
#include "exec/command/recipe.h"
#include "exec/http/recipe.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds)
        abort();
}

static void must_be_clean(const char *text)
{
    for (; text && *text; text++)
        must((unsigned char)*text >= 0x20 || *text == '\t');
}

static void try_command(const struct command_recipe_options *o, struct slice payload)
{
    struct command_recipe *r;
    struct command_launch *l;
    struct weir_error err = {0};

    must(command_recipe_new(o, &r, &err) == WEIR_OK);
    if (command_recipe_make(r, payload, 1, &l, &err) == WEIR_OK) {
        must(l->argv[0] != NULL);
        for (char *const *e = l->env; *e; e++)
            must(**e && **e != '=');
        must(!l->dir || l->dir[0] == '/');
        mem_free(l);
    } else {
        must(err.message[0]);
    }
    command_recipe_free(r);
}

static void try_http(const struct http_recipe_options *o, struct slice payload)
{
    struct http_recipe *r;
    struct http_request *q;
    struct weir_error err = {0};

    must(http_recipe_new(o, &r, &err) == WEIR_OK);
    if (http_recipe_make(r, payload, "key", &q, &err) == WEIR_OK) {
        must_be_clean(q->url);
        must_be_clean(q->content_type);
        for (size_t i = 0; i < q->headers_count; i++) {
            must_be_clean(q->headers[i]);
            must(strstr(q->headers[i], ": ") != NULL);
        }
        must(http_url_check(q->url, NULL) == WEIR_OK);
        must(!o->url || strncmp(q->url, "http://h/v1/", 12) == 0);
        mem_free(q);
    } else {
        must(err.message[0]);
    }
    http_recipe_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const line[] = {"prog", "{}", "--x={x}", "{name.}", NULL},
                             *const input[] = {"prog", NULL}, *const headers[] = {"A-Pool: 1"};
    struct slice payload = {(const char *)data, size};

    try_command(&(struct command_recipe_options){0}, payload);
    try_command(&(struct command_recipe_options){.argv = line}, payload);
    try_command(&(struct command_recipe_options){.argv = line, .shell = true}, payload);
    try_command(&(struct command_recipe_options){.argv = input}, payload);
    try_http(&(struct http_recipe_options){.url = "http://h/v1/{name}/{n}?x={x}"}, payload);
    try_http(&(struct http_recipe_options){.allow_any_url = true,
                                           .headers = headers,
                                           .headers_count = 1},
             payload);
    return 0;
}
