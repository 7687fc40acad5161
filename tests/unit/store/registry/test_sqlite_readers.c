/*
 * Readers beside the writer, each on a thread of its own: what they see was committed as a whole,
 * and the writer does not wait for them.
 */
#include "base/mem.h"
#include "store/registry/sqlite_registry.h"
#include "support/testkit.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define GROUPS  300
#define GROUP   20
#define READERS 3 /* the last one asks for a session, whose lines are chosen one by one */
#define NOW     INT64_C(1000000000000)

static struct core_registry *registry;
static atomic_bool is_over;

struct looker {
    pthread_t thread;
    struct registry_reader *reader;
    struct registry_filter filter;
    uint64_t last_id, last_event, rounds;
    const char *wrong;
};

static bool see_task(void *ctx, const struct registry_view *v)
{
    struct looker *l = ctx;

    if (v->id != l->last_id + 1)
        l->wrong = "a task is missing";
    /* Lines come while we look: the writer made it before it committed. */
    if (v->line.tenant.len == 0 || registry->ops->line(registry, v->line.id) == NULL)
        l->wrong = "a task has no line";
    l->last_id = v->id;
    return true;
}

static bool see_event(void *ctx, const struct registry_event *e)
{
    struct looker *l = ctx;

    if (e->seq != l->last_event + 1)
        l->wrong = "an event is missing";
    l->last_event = e->seq;
    return true;
}

static bool see_tally(void *ctx, const struct registry_tally *t)
{
    *(uint64_t *)ctx += t->states[REGISTRY_READY] + t->states[REGISTRY_DONE];
    return true;
}

static void *look(void *ctx)
{
    struct looker *l = ctx;
    const struct registry_event_filter any = {0};

    for (bool last = false; !last && !l->wrong; l->rounds++) {
        uint64_t tally = 0, durable = registry->ops->last_event(registry);

        last = atomic_load(&is_over);
        if (l->reader->ops->tallies(l->reader, see_tally, &tally, NULL) != WEIR_OK ||
            l->reader->ops->tasks(l->reader, &l->filter, l->last_id, UINT32_MAX, see_task, l,
                                  NULL) != WEIR_OK ||
            l->reader->ops->events(l->reader, &any, l->last_event, UINT32_MAX, see_event, l,
                                   NULL) != WEIR_OK)
            l->wrong = "it cannot be read";
        if (tally % GROUP != 0 || l->last_id % GROUP != 0)
            l->wrong = "a group is there by half";
        if (l->last_event < durable)
            l->wrong = "an event that is durable is not seen";
    }
    return NULL;
}

static void write_group(uint64_t n)
{
    struct registry_spec specs[GROUP];
    char tenant[16];
    struct registry_op op = {
        .kind = REGISTRY_SUBMIT, .at_ns = NOW, .submit = {.specs = specs, .count = GROUP}};

    /* A new line each time, and behind its tasks those of an old one: a page that leaves out the new ones ends behind them. */
    snprintf(tenant, sizeof(tenant), "t%d", (int)n);
    for (size_t i = 0; i < GROUP; i++)
        specs[i] = (struct registry_spec){
            .line = {.tenant = i < GROUP / 2 ? slice_of(tenant) : SLICE("old"),
                     .session = SLICE("session")},
            .payload = SLICE("payload")};
    assert_int_equal(registry->ops->apply(registry, &op, NULL), WEIR_OK);
    while (op.ret_ready) {
        struct registry_task *next = op.ret_ready->next;

        mem_free(op.ret_ready);
        op.ret_ready = next;
    }
    mem_free(op.ret_lines);
}

static void readers_see_whole_groups_while_they_are_written(void **state)
{
    /* A log that is copied back often, under the readers. */
    const struct sqlite_registry_options o = {.sync = SQLITE_REGISTRY_OFF, .log_pages = 50};
    char *dir = testkit_dir_make(), *path = testkit_path(dir, "tasks.db");
    struct looker lookers[READERS] = {0};
    struct weir_error err;

    (void)state;
    assert_int_equal(sqlite_registry_open(path, &o, &registry, &err), WEIR_OK);
    lookers[READERS - 1].filter.session = SLICE("session");
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(registry->ops->reader(registry, &lookers[i].reader, &err), WEIR_OK);
        assert_int_equal(pthread_create(&lookers[i].thread, NULL, look, &lookers[i]), 0);
    }
    for (uint64_t n = 0; n < GROUPS; n++)
        write_group(n);
    atomic_store(&is_over, true);
    for (int i = 0; i < READERS; i++) {
        pthread_join(lookers[i].thread, NULL);
        lookers[i].reader->ops->close(lookers[i].reader);
        if (lookers[i].wrong)
            fail_msg("%s", lookers[i].wrong);
        assert_int_equal(lookers[i].last_id, GROUPS * GROUP);
        assert_int_equal(lookers[i].last_event, 2 * GROUPS * GROUP);
        assert_true(lookers[i].rounds > 1);
    }
    registry->ops->close(registry);
    testkit_free(path);
    testkit_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_see_whole_groups_while_they_are_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
