/*
 * Who may ask a registry beside its writer, from threads of their own, as the engine does when it starts: nothing that was
 * written is lost by it, and each answer makes sense.
 */
#include "support/registrykit.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>

#include <cmocka.h>

#define ROUNDS 300

struct asker {
    struct core_registry *r;
    atomic_bool end;
    atomic_ulong asked;
    bool failed;
    uint32_t most; /* lines that were told at once */
};

static bool count_line(void *ctx, const struct registry_line *l)
{
    uint32_t *count = ctx;

    (void)l;
    (*count)++;
    return true;
}

static void *ask_for_lines(void *arg)
{
    struct asker *a = arg;

    while (!atomic_load(&a->end)) {
        uint32_t count = 0;

        if (a->r->ops->lines(a->r, count_line, &count, NULL) != WEIR_OK)
            a->failed = true;
        a->most = count > a->most ? count : a->most;
        atomic_fetch_add(&a->asked, 1);
    }
    return NULL;
}

static void lines_may_be_asked_for_while_ops_are_applied(void **state)
{
    struct registrykit *k = *state;
    struct asker a = {.r = k->r};
    uint64_t ids[ROUNDS];
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, ask_for_lines, &a), 0);
    while (atomic_load(&a.asked) == 0)
        sched_yield();
    for (int i = 0; i < ROUNDS; i++) {
        ids[i] = registrykit_submit(k, (struct registry_spec){.line = {.priority = i % 7}});
        registrykit_run(k, ids[i], REGISTRY_DONE);
    }
    atomic_store(&a.end, true);
    pthread_join(thread, NULL);
    assert_false(a.failed);
    assert_in_range(a.most, 0, 1); /* one task at a time was ready */
    registrykit_reopen(k);
    for (int i = 0; i < ROUNDS; i++)
        assert_int_equal(registrykit_state(k, ids[i]), REGISTRY_DONE);
}

int main(void)
{
    static const struct registrykit_test tests[] = {
        REGISTRYKIT_TEST(lines_may_be_asked_for_while_ops_are_applied)};

    return registrykit_main(tests, 1);
}
