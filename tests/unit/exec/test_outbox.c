/*
 * What waits to be written to a worker and what it has in hand: whatever comes in between, bytes go
 * out once and in order, and each call is found until it is removed.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "exec/process/calls.h"
#include "exec/process/outbox.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define LIMIT (UINT64_C(1) << 30)

struct pipe {
    int read_end, write_end;
};

static struct pipe pipe_open(void)
{
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    fcntl(ends[0], F_SETPIPE_SZ, 4096);
    return (struct pipe){ends[0], ends[1]};
}

static void pipe_close(struct pipe p)
{
    close(p.read_end);
    close(p.write_end);
}

static size_t drain(struct pipe p, struct buf *out)
{
    size_t before = out->len;
    ssize_t n;

    do {
        char *at = buf_reserve(out, 65536);

        assert_non_null(at);
        n = read(p.read_end, at, 65536);
        if (n > 0)
            out->len += (size_t)n;
    } while (n > 0);
    return out->len - before;
}

static char *args_of(size_t len)
{
    char *args = malloc(len);

    assert_non_null(args);
    memset(args, '7', len);
    return args;
}

/* Requests of all sizes are put at any time, and the reader reads at any time. */
static void bytes_go_out_once_and_in_order(void **state)
{
    static const size_t sizes[] = {
        1, 50, 3000, OUTBOX_SPLICE_BYTES - 1, OUTBOX_SPLICE_BYTES, 20000, 200000, 2 << 20};
    char *args[8];
    struct rng rng;

    (void)state;
    rng_seed(&rng, 7);
    for (size_t i = 0; i < 8; i++)
        args[i] = args_of(sizes[i]);
    for (int life = 0; life < 30; life++) {
        _cleanup_buf_ struct buf expected = {0}, got = {0};
        struct pipe p = pipe_open();
        struct outbox o = {0};
        uint64_t id = 0, size;

        while (id < 60 || !outbox_is_empty(&o)) {
            if (id < 60 && rng_below(&rng, 3) == 0) {
                size_t i = (size_t)rng_below(&rng, life % 3 ? 6 : 8);
                struct wire_request r = {
                    .id = ++id, .command = SLICE("c"), .args = {args[i], sizes[i]}};

                assert_true(outbox_put(&o, &r, LIMIT, &size));
                wire_put_request(&expected, &r);
                assert_int_equal(o.queued, expected.len);
            }
            if (rng_below(&rng, 2) == 0)
                assert_int_not_equal(outbox_write(&o, p.write_end), OUTBOX_BROKEN);
            if (rng_below(&rng, 2) == 0)
                drain(p, &got);
            assert_true(o.written >= got.len && o.written <= o.queued);
        }
        drain(p, &got);
        assert_true(slice_equal(buf_slice(&got), buf_slice(&expected)));
        outbox_free(&o);
        pipe_close(p);
    }
    for (size_t i = 0; i < 8; i++)
        free(args[i]);
}

static void a_frame_can_be_taken_back_until_it_is_begun(void **state)
{
    static const size_t sizes[] = {10, OUTBOX_SPLICE_BYTES};
    struct pipe p = pipe_open();
    struct outbox o = {0};
    _cleanup_buf_ struct buf expected = {0}, got = {0};
    uint64_t size;

    (void)state;
    for (size_t first = 0; first < 2; first++) {
        for (size_t second = 0; second < 2; second++) {
            char *a = args_of(sizes[first]), *b = args_of(sizes[second]);
            struct wire_request r = {.id = 1, .command = SLICE("c"), .args = {a, sizes[first]}};
            uint64_t begin = o.queued, middle;

            assert_true(outbox_put(&o, &r, LIMIT, &size));
            wire_put_request(&expected, &r);
            middle = o.queued;
            r.args = (struct slice){b, sizes[second]};
            assert_true(outbox_put(&o, &r, LIMIT, &size));
            assert_true(outbox_take_back(&o, middle, o.queued));
            assert_int_equal(o.queued, middle);
            while (!outbox_is_empty(&o)) {
                outbox_write(&o, p.write_end);
                assert_false(outbox_take_back(&o, begin, middle)); /* begun */
                drain(p, &got);
            }
            assert_true(slice_equal(buf_slice(&got), buf_slice(&expected)));
            free(a);
            free(b);
        }
    }
    outbox_free(&o);
    pipe_close(p);
}

struct frame {
    uint64_t id, begin, end;
    size_t size;
};

/* From wherever among those that wait, with and without splices, while others are half written. */
static void take_some_back(struct outbox *o, struct rng *rng, struct frame frames[], size_t *count)
{
    size_t at = (size_t)rng_below(rng, *count);
    struct frame f = frames[at];
    bool begun = f.begin < o->written;

    assert_int_equal(outbox_take_back(o, f.begin, f.end), !begun);
    if (begun)
        return;
    for (size_t i = at + 1; i < *count; i++) {
        frames[i - 1] = frames[i];
        frames[i - 1].begin -= f.end - f.begin;
        frames[i - 1].end -= f.end - f.begin;
    }
    *count -= 1;
}

static void what_is_taken_back_leaves_the_others_whole(void **state)
{
    static const size_t sizes[] = {1, 50, 3000, OUTBOX_SPLICE_BYTES, 20000, 200000};
    char *args = args_of(200000);
    struct rng rng;

    (void)state;
    rng_seed(&rng, 11);
    for (int life = 0; life < 100; life++) {
        _cleanup_buf_ struct buf expected = {0}, got = {0};
        struct pipe p = pipe_open();
        struct outbox o = {0};
        struct frame frames[60];
        size_t count = 0;
        uint64_t id = 0, size;

        while (id < 60 || !outbox_is_empty(&o)) {
            if (id < 60 && rng_below(&rng, 2) == 0) {
                size_t i = (size_t)rng_below(&rng, 6);
                struct wire_request r = {
                    .id = ++id, .command = SLICE("c"), .args = {args, sizes[i]}};

                frames[count] = (struct frame){id, o.queued, 0, sizes[i]};
                assert_true(outbox_put(&o, &r, LIMIT, &size));
                frames[count++].end = o.queued;
            }
            if (count > 0 && rng_below(&rng, 3) == 0)
                take_some_back(&o, &rng, frames, &count);
            if (rng_below(&rng, 4) == 0)
                assert_int_not_equal(outbox_write(&o, p.write_end), OUTBOX_BROKEN);
            if (rng_below(&rng, 4) == 0)
                drain(p, &got);
        }
        drain(p, &got);
        for (size_t i = 0; i < count; i++) {
            struct wire_request r = {
                .id = frames[i].id, .command = SLICE("c"), .args = {args, frames[i].size}};

            wire_put_request(&expected, &r);
        }
        assert_true(slice_equal(buf_slice(&got), buf_slice(&expected)));
        outbox_free(&o);
        pipe_close(p);
    }
    free(args);
}

static void what_cannot_be_put_leaves_all_as_it_was(void **state)
{
    char *large = args_of(OUTBOX_SPLICE_BYTES);
    struct wire_request r = {.id = 1, .command = SLICE("c"), .args = {large, OUTBOX_SPLICE_BYTES}};
    struct wire_request small = {.id = 1, .command = SLICE("c")};
    struct outbox o = {0};
    uint64_t size;

    (void)state;
    assert_false(outbox_put(&o, &r, 1000, &size));
    assert_true(size > 1000);
    assert_int_equal(o.queued, 0);
    for (unsigned long n = 1;; n++) {
        bool failed;

        mem_fail_at(n);
        failed = !outbox_put(&o, &r, LIMIT, &size);
        assert_int_equal(failed, mem_has_failed() != 0);
        mem_fail_at(0);
        if (!failed)
            break;
        assert_true(outbox_is_empty(&o));
        assert_true(outbox_put(&o, &small, LIMIT, &size)); /* it is none the worse for it */
        assert_true(outbox_take_back(&o, 0, o.queued));
        outbox_free(&o);
        assert_true(n < 10);
    }
    outbox_free(&o);
    free(large);
}

static void a_pipe_that_nobody_reads_is_broken(void **state)
{
    struct wire_request r = {.id = 1, .command = SLICE("c")};
    struct pipe p = pipe_open();
    struct outbox o = {0};
    uint64_t size;

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(outbox_write(&o, p.write_end), OUTBOX_EMPTY);
    assert_true(outbox_put(&o, &r, LIMIT, &size));
    close(p.read_end);
    assert_int_equal(outbox_write(&o, p.write_end), OUTBOX_BROKEN);
    assert_int_equal(o.written, 0);
    outbox_free(&o);
    close(p.write_end);
    signal(SIGPIPE, SIG_DFL);
}

/* ---- calls ---- */

#define IN_HAND_MAX 200

/* Beside an array, which is never wrong. */
static void calls_are_found_until_they_are_removed(void **state)
{
    struct calls calls = {0};
    uint64_t ids[IN_HAND_MAX], last = 0;
    size_t count = 0;
    struct rng rng;

    (void)state;
    rng_seed(&rng, 3);
    assert_null(calls_find(&calls, 1));
    assert_null(calls_any(&calls));
    for (int step = 0; step < 200000; step++) {
        size_t most = step / 1000 % 2 ? IN_HAND_MAX : 5;

        if (count < most && rng_below(&rng, 2) == 0) {
            /* Old ones stay while many go by, and some ids are left out. */
            last += 1 + (rng_below(&rng, 10) == 0 ? rng_below(&rng, 100) : 0);
            assert_non_null(calls_add(&calls, last));
            ids[count++] = last;
        } else if (count > 0) {
            size_t i = (size_t)rng_below(&rng, count);
            struct call *c = calls_find(&calls, ids[i]);

            assert_non_null(c);
            assert_int_equal(c->id, ids[i]);
            calls_remove(&calls, c);
            assert_null(calls_find(&calls, ids[i]));
            ids[i] = ids[--count];
        }
        assert_int_equal(calls.count, count);
        if (step % 64 == 0)
            for (size_t i = 0; i < count; i++)
                assert_int_equal(calls_find(&calls, ids[i])->id, ids[i]);
        assert_null(calls_find(&calls, last + 1));
        assert_true((calls_any(&calls) != NULL) == (count > 0));
    }
    assert_true(calls.cap <= 4 * IN_HAND_MAX);
    calls_free(&calls);
}

static void a_call_without_memory_is_not_added(void **state)
{
    struct calls calls = {0};

    (void)state;
    mem_fail_at(1);
    assert_null(calls_add(&calls, 1));
    mem_fail_at(0);
    assert_non_null(calls_add(&calls, 1));
    assert_int_equal(calls.count, 1);
    calls_free(&calls);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_out_once_and_in_order),
        cmocka_unit_test(a_frame_can_be_taken_back_until_it_is_begun),
        cmocka_unit_test(what_is_taken_back_leaves_the_others_whole),
        cmocka_unit_test(what_cannot_be_put_leaves_all_as_it_was),
        cmocka_unit_test(a_pipe_that_nobody_reads_is_broken),
        cmocka_unit_test(calls_are_found_until_they_are_removed),
        cmocka_unit_test(a_call_without_memory_is_not_added),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
