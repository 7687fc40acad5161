/*
 * The registry's writer is killed in the middle, again and again: nothing that was acknowledged is
 * missing, and nothing is there by half.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "store/registry/sqlite_registry.h"
#include "support/testkit.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define KILLS 12
#define GROUP 50 /* tasks that come, and that end, in one transaction */
#define NOW   INT64_C(1000000000000)

static const struct sqlite_registry_options options = {.sync = SQLITE_REGISTRY_OFF};

struct totals {
    uint64_t submitted, ended;
};

/* What the writer tells: what is durable for sure, and what will be when the group that it is about to write is. */
struct report {
    struct totals durable, next;
};

/* ---- the writer, in a process of its own ---- */

static struct registry_op end_op(const struct registry_task *t)
{
    return (struct registry_op){
        .kind = REGISTRY_END,
        .at_ns = NOW,
        .end = {.task = t->id,
                .token = t->id,
                .attempt = t->attempts + 1,
                .started = true,
                .start = {.task = t->id, .token = t->id, .attempt = t->attempts + 1},
                .next = REGISTRY_DONE,
                .output = SLICE("out")}};
}

/* A group: so many come, so many are taken and ended. */
static bool write_group(struct core_registry *r, int to, struct report *report)
{
    static struct registry_spec specs[GROUP];
    struct registry_op take = {.kind = REGISTRY_TAKE, .at_ns = NOW}, submit, ends[GROUP];
    struct weir_error err;
    size_t count = 0;

    take.take = (struct registry_take){
        .line = 1, .max = GROUP, .after_rank = INT64_MIN, .max_bytes = 1 << 20};
    if (r->ops->apply(r, &take, &err) != WEIR_OK)
        return false;
    submit = (struct registry_op){
        .kind = REGISTRY_SUBMIT, .at_ns = NOW, .submit = {.specs = specs, .count = GROUP}};
    for (size_t i = 0; i < GROUP; i++)
        specs[i] = (struct registry_spec){.payload = SLICE("payload"), .key = SLICE("k")};
    submit.next = NULL;
    for (struct registry_task *t = take.take.ret_tasks; t; t = t->next) {
        ends[count] = end_op(t);
        ends[count].next = NULL;
        *(count ? &ends[count - 1].next : &submit.next) = &ends[count];
        count++;
    }
    report->next =
        (struct totals){report->durable.submitted + GROUP, report->durable.ended + count};
    if (write(to, report, sizeof(*report)) != sizeof(*report) ||
        r->ops->apply(r, &submit, &err) != WEIR_OK)
        return false;
    report->durable = report->next;
    /* What was handed over ends with the process. */
    return write(to, report, sizeof(*report)) == sizeof(*report);
}

static void writer(const char *path, int to, struct totals from)
{
    struct report report = {from, from};
    struct core_registry *r;
    struct weir_error err;

    if (sqlite_registry_open(path, &options, &r, &err) != WEIR_OK)
        _exit(1);
    while (write_group(r, to, &report))
        ;
    _exit(1);
}

/* ---- what is there afterwards ---- */

static bool add_tally(void *ctx, const struct registry_tally *t)
{
    uint64_t *states = ctx;

    for (int i = 0; i < REGISTRY_STATES; i++)
        states[i] += t->states[i];
    return true;
}

static void look(const char *path, const struct report *last, struct totals *ret)
{
    uint64_t states[REGISTRY_STATES] = {0};
    struct registry_reader *reader;
    struct core_registry *r;
    struct weir_error err;
    const char *wrong;

    if (sqlite_registry_open(path, &options, &r, &err) != WEIR_OK)
        fail_msg("open: %s", err.message);
    wrong = sqlite_registry_check(r);
    if (wrong)
        fail_msg("%s", wrong);
    assert_int_equal(r->ops->reader(r, &reader, &err), WEIR_OK);
    assert_int_equal(reader->ops->tallies(reader, add_tally, states, &err), WEIR_OK);
    *ret = (struct totals){states[REGISTRY_READY] + states[REGISTRY_DONE], states[REGISTRY_DONE]};
    assert_int_equal(states[REGISTRY_RUNNING], 0);
    if (memcmp(ret, &last->durable, sizeof(*ret)) != 0 &&
        memcmp(ret, &last->next, sizeof(*ret)) != 0)
        fail_msg("%d and %d are there, which is by half", (int)ret->submitted, (int)ret->ended);
    /* Two events of each that has come, four of each that was run. */
    assert_int_equal(r->ops->last_event(r), 2 * ret->submitted + 4 * ret->ended);
    reader->ops->close(reader);
    r->ops->close(r);
}

static void a_writer_that_is_killed_loses_nothing_and_leaves_nothing_by_half(void **state)
{
    char *dir = testkit_dir_make(), *path = testkit_path(dir, "tasks.db");
    struct totals known = {0};
    struct rng rng;

    (void)state;
    rng_seed(&rng, 7);
    for (int i = 0; i < KILLS; i++) {
        uint64_t reports = 1 + rng_below(&rng, 80);
        struct report last = {known, known};
        int fds[2], status;
        pid_t pid;

        assert_int_equal(pipe(fds), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            close(fds[0]);
            writer(path, fds[1], known);
        }
        close(fds[1]);
        for (uint64_t n = 0; n < reports; n++) {
            assert_true(testkit_fd_wait(fds[0], POLLIN, 20000));
            assert_int_equal(read(fds[0], &last, sizeof(last)), sizeof(last));
        }
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        while (read(fds[0], &last, sizeof(last)) == sizeof(last))
            ;
        close(fds[0]);
        look(path, &last, &known);
    }
    assert_true(known.ended > 0);
    testkit_free(path);
    testkit_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_writer_that_is_killed_loses_nothing_and_leaves_nothing_by_half),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
