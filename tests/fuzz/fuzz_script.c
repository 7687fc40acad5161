/*
 * The options of a modelled service (sim/script.h) from bytes: lines of "name value", or "name"
 * alone.
 *
 * Nothing that is given may crash, and whatever passes sim_script_check() must give a service that
 * can be asked.
 */
#include "base/mem.h"
#include "sim/service.h"

#include <assert.h>
#include <string.h>

#define SERVERS_MAX 1000 /* no more memory than a fuzzer's run should take */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void set_line(struct sim_script *s, char *line)
{
    char *value = strchr(line, ' ');
    struct sim_script before = *s;
    struct weir_error err = {0};
    enum weir_status status;

    if (value)
        *value++ = '\0';
    status = sim_script_set(s, line, value, &err);
    if (status == WEIR_OK)
        return;
    assert(err.status == status && err.message[0] != '\0');
    assert(memcmp(&before, s, sizeof before) == 0);
}

static void use(const struct sim_script *script)
{
    struct sim_service *s = NULL;
    struct instant now = {0};
    struct sim_request q = {.tokens = 100};
    struct sim_stats stats;

    if (sim_service_new(script, now, &s, NULL) != WEIR_OK)
        return;
    for (int i = 0; i < 50; i++) {
        struct sim_answer a;

        q.identity++;
        now = instant_add(now, 7 * NS_PER_MS);
        sim_service_arrive(s, now, &q, &a);
        assert(a.latency_ns >= 0);
        if (i % 2)
            sim_service_leave(s, now, &a, true);
    }
    sim_service_stats(s, now, &stats);
    assert(stats.seen == 50 && stats.accepted + stats.refused == 50);
    sim_service_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = mem_copy(data, size);
    struct sim_script script;
    char *rest = text;

    if (!text)
        return 0;
    sim_script_init(&script);
    while (rest) {
        char *line = rest;

        rest = strchr(line, '\n');
        if (rest)
            *rest++ = '\0';
        set_line(&script, line);
    }
    if (script.servers <= SERVERS_MAX && script.queue_max <= SERVERS_MAX &&
        sim_script_check(&script, NULL) == WEIR_OK)
        use(&script);
    mem_free(text);
    return 0;
}
