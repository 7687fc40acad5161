"""The pool of `weir run --worker` as a whole: its breaker and fallback, how many workers there are and when, which one is
next, when one is replaced, and what many failures alike lead to (P2, P4, P5, P7).

The runs of a class are started together: they mostly wait. The breaker's minute makes this file as long as it is.
run-tests: waits
run-tests: long
run-tests: timeout=300
"""
import os
import sys
import unittest
from collections import Counter, defaultdict

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from faultkit import FaultCase, open_early, seconds, worker_of
from weirtest import SLOWNESS, wait_until

BAD = "if=sick"


def rows_with(count, *bad):
    return [{"n": i, "is": "sick"} if i in bad else {"n": i} for i in range(count)]


def setUpModule():
    open_early(TestTheBreaker, TestFallback)


class PoolCase(FaultCase):
    def one_by_one(self, run, count):
        """Feeds rows so that each has its result before the next one comes."""
        for i in range(count):
            run.feed({"n": i})
            run.wait_results(i + 1)


class TestFallback(PoolCase):
    @classmethod
    def prepare(cls):
        def other(*faults):
            return " ".join(f"'{word}'" for word in worker_of("about", *faults)).replace("/log", "/other")
        cls.begin("over", "-j", 2, "--fallback", other(), worker=worker_of("fail=not here", BAD),
                  rows=rows_with(40, 3, 17, 18, 39))
        cls.begin("both", "-j", 2, "--fallback", other().replace("about", "fail=nor here"), worker=worker_of("fail=not here", BAD),
                  rows=rows_with(40, 3, 17))
        cls.begin("open", "-j", 4, "--fallback", other(), worker=worker_of("retryable"), rows=60)
        cls.begin("dead", "-j", 1, "--fallback", other(), worker=worker_of("crash-at-start"), rows=60)

    def test_what_fails_for_good_goes_to_the_other_program_once(self):
        run = self.run_of("over", status=0)
        rows = self.check_order(run, 40)
        moved = {e["index"] for e in run.events("task.failed_over")}
        self.assertEqual(moved, {3, 17, 18, 39})
        for row in rows:
            self.assertEqual("pid" in row["output"], row["index"] in moved)
        answered = [line for line in run.text("other").splitlines() if " call " in line]
        self.assertEqual(len(answered), 4)
        self.assertEqual({rows[i]["meta"]["attempts"] for i in moved}, {2})

    def test_what_fails_there_too_has_failed(self):
        run = self.run_of("both", status=1)
        rows = self.check_order(run, 40)
        self.assertEqual([row["index"] for row in rows if row["error"]], [3, 17])
        self.assertIn("nor here", rows[3]["error"]["message"])
        self.assertEqual(rows[3]["meta"]["attempts"], 2)

    def test_all_goes_there_while_the_breaker_is_open(self):
        run = self.run_of("open", status=0)
        rows = self.check_order(run, 60)
        self.assertTrue(all("pid" in row["output"] for row in rows))
        opened = run.events("breaker.changed")[0]
        self.assertEqual(opened["to"], "open")
        self.assertLess(len(run.log("call")), 15)
        self.assertLess(self.gap(opened, run.events("task.finished")[-1]), 10 * SLOWNESS)

    def test_a_program_that_cannot_start_is_replaced_by_the_other_one(self):
        run = self.run_of("dead", status=0)
        rows = self.check_order(run, 60)
        self.assertTrue(all("pid" in row["output"] for row in rows))
        self.assertEqual(len(run.log("start")), 5)


class TestHowMany(PoolCase):
    @classmethod
    def prepare(cls):
        cls.begin("overflow", "-j", 1, "--overflow", 3, "--throttle", "none", worker=worker_of("about", "work=0.05"))
        cls.begin("lazy", "-j", 4, "--lazy", worker=worker_of("about"))
        cls.begin("lazy-none", "-j", 4, "--lazy", worker=worker_of("about"))
        cls.begin("warm", "-j", 4, worker=worker_of("about"))
        cls.begin("lifo", "-j", 3, worker=worker_of("about"))
        cls.begin("fifo", "-j", 3, "--choose", "fifo", worker=worker_of("about"))

    def ready(self, run, workers):
        wait_until(lambda: len({e["worker"] for e in run.moves(to="ready")}) >= workers, 20, f"{workers} ready workers")

    def test_extra_workers_come_and_go(self):
        run = self.runs["overflow"]
        run.feed(*({"n": i} for i in range(80)))
        run.wait_results(80)
        self.assertEqual(len(run.log("start")), 4)
        idle_since = run.events("task.finished")[-1]
        ended = wait_until(lambda: len(run.moves(to="terminated")) == 3 and run.moves(to="terminating"), 30,
                           "the end of the extra workers")
        for end in ended:
            self.assertIn("not needed", end["reason"])
            self.assertGreaterEqual(self.gap(idle_since, end), 8.5)
        wait_until(lambda: len(run.workers()) == 1, 5, "one worker")
        # They come again, and only while there is more than the permanent one can do.
        run.feed(*({"n": i} for i in range(80, 160)))
        run.wait_results(160)
        self.assertEqual(len(run.log("start")), 7)
        run = self.run_of("overflow", status=0)
        rows = self.check_order(run, 160)
        self.assertEqual({row["error"] for row in rows}, {None})
        busy = defaultdict(set)
        for row in rows:
            busy[row["output"]["worker"]].add(row["output"]["pid"])
        self.assertEqual(set(busy), {"1", "2", "3", "4"})

    def test_lazy_workers_start_with_the_work(self):
        run = self.runs["lazy"]
        none = self.runs["lazy-none"]
        run.wait_event("its beginning", "batch.opened")
        none.wait_event("its beginning", "batch.opened")
        self.assertEqual(run.log("start"), [])
        run.feed({"n": 0})
        run.wait_results(1)
        self.assertEqual(len(run.log("start")), 1)
        run.feed({"n": 1})
        run.wait_results(2)
        self.assertEqual(len(run.log("start")), 1)
        run = self.run_of("lazy", status=0)
        self.check_order(run, 2)
        none = self.run_of("lazy-none", status=0)
        self.assertEqual(none.log("start"), [])

    def test_warm_workers_start_before_there_is_work(self):
        run = self.runs["warm"]
        self.ready(run, 4)
        self.one_by_one(run, 5)
        run = self.run_of("warm", status=0)
        self.check_order(run, 5)
        self.assertEqual(len(run.log("start")), 4)

    def test_the_worker_used_last_is_next(self):
        run = self.runs["lifo"]
        self.ready(run, 3)
        self.one_by_one(run, 12)
        run = self.run_of("lifo", status=0)
        self.assertEqual(len({row["output"]["pid"] for row in self.check_order(run, 12)}), 1)

    def test_the_worker_used_first_is_next(self):
        run = self.runs["fifo"]
        self.ready(run, 3)
        self.one_by_one(run, 12)
        run = self.run_of("fifo", status=0)
        pids = [row["output"]["pid"] for row in self.check_order(run, 12)]
        self.assertEqual(len(set(pids[:3])), 3)
        self.assertEqual(pids, pids[:3] * 4)


class TestRecycling(PoolCase):
    @classmethod
    def prepare(cls):
        cls.begin("count", "-j", 3, "--recycle-after", 10, "--throttle", "none", worker=worker_of("about"), rows=300)
        cls.begin("age", "-j", 2, "--recycle-age", "400ms", "--throttle", "none", worker=worker_of("about", "work=0.01"),
                  rows=500)
        cls.begin("memory", "-j", 2, "--recycle-memory", "1k", "--throttle", "none", worker=worker_of("about"), rows=50)

    def lives(self, run, count):
        rows = self.check_order(run, count)
        self.assertEqual({row["error"] for row in rows}, {None})
        self.assertEqual({row["meta"]["attempts"] for row in rows}, {1})
        for row in rows:
            self.assertEqual(row["output"]["args"], {"n": row["index"]})
        return Counter(row["output"]["pid"] for row in rows)

    def check_reason(self, run, text, least):
        ends = [e for e in run.moves(to="terminating") if text in e["reason"]]
        self.assertGreaterEqual(len(ends), least)
        # It is asked to end, between two requests. (One that starts when the pool closes does not read yet, and is told.)
        served = {row["output"]["pid"] for row in run.results()}
        self.assertEqual([pid for pid, _ in run.log("term") if pid in served], [])
        for end in ends:
            self.assertEqual(end["from"], "ready")

    def test_by_count(self):
        run = self.run_of("count", status=0)
        lives = self.lives(run, 300)
        self.assertEqual(max(lives.values()), 10)
        self.assertGreaterEqual(len(lives), 30)
        self.check_reason(run, "as many requests", 28)

    def test_by_age(self):
        run = self.run_of("age", status=0)
        lives = self.lives(run, 500)
        self.assertGreaterEqual(len(lives), 6)
        self.check_reason(run, "old", 4)
        for end in run.moves(to="terminating"):
            if "old" not in end["reason"]:
                continue
            ready, = run.moves(worker=end["worker"], **{"from": "initializing"})
            self.assertGreaterEqual(seconds(end["time"]) - self.born(ready), 0.395)
            # One at a time: the other one works meanwhile.
            others = [e for e in run.moves(to="ready") if e["from"] == "initializing" and e["worker"] != end["worker"]]
            gone = {e["worker"] for e in run.moves(to="terminating") if self.gap(e, end) > 0}
            working = {e["worker"] for e in others if self.gap(e, end) > 0} - gone
            self.assertTrue(working, end)

    def test_by_memory(self):
        # Every worker has more than a KiB, which is seen after its first request.
        run = self.run_of("memory", status=0)
        lives = self.lives(run, 50)
        self.assertEqual(set(lives.values()), {1})
        self.check_reason(run, "memory", 48)


class TestFlow(PoolCase):
    @classmethod
    def prepare(cls):
        cls.begin("capacity", "-j", 1, worker=worker_of("capacity=0.7", "times=1"), rows=20)
        cls.begin("capacities", "-j", 4, worker=worker_of("capacity", "times=6"), rows=100)
        cls.begin("deep", "-j", 1, "--max-in-flight", 8, "--throttle", "none",
                  worker=worker_of("max_in_flight=8", "reverse=8"), rows=64)
        cls.begin("shallow", "-j", 2, "--max-in-flight", 8, "--throttle", "none", "--timeout", "5s",
                  worker=worker_of("lose-second"), rows=12)
        cls.begin("lower", "-j", 1, "--max-in-flight", 4, "--throttle", "none", "--timeout", "5s",
                  worker=worker_of("max_in_flight=16", "reverse=4"), rows=40)
        cls.begin("deep-crash", "-j", 1, "--max-in-flight", 8, "--throttle", "none",
                  worker=worker_of("max_in_flight=8", "crash", "at=20", "once={folder}/once"), rows=100)

    def test_a_pause_that_a_worker_asks_for_holds_the_pool(self):
        run = self.run_of("capacity", status=0)
        rows = self.check_rows(run, 20)
        refused, = [e for e in run.events("attempt.ended") if e["outcome"] == "capacity"]
        self.assertEqual(rows[refused["index"]]["meta"]["capacity_retries"], 1)
        held = run.events("pool.held")
        self.assertEqual(len(held), 1)
        # A pause that is asked for is a floor, with a little more by chance.
        self.assertTrue(700 <= held[0]["wait_ms"] <= 850, held)
        later = [e for e in run.events("attempt.started") if self.gap(refused, e) > 0.001]
        self.assertGreaterEqual(self.gap(refused, later[0]), 0.69)
        self.assertEqual(len(run.log("start")), 1, "a worker that is full is not replaced")
        # A refusal is no error: it is not asked how it is.
        self.assertEqual(len(run.log("ping")), 1)

    def test_refusals_cost_no_attempts(self):
        run = self.run_of("capacities", status=0)
        rows = self.check_rows(run, 100)
        refused = sum(row["meta"]["capacity_retries"] for row in rows)
        self.assertGreaterEqual(refused, 6)
        self.assertEqual(sum(row["meta"]["attempts"] for row in rows), 100 + refused)

    def test_a_worker_that_takes_several_gets_several(self):
        run = self.run_of("deep", status=0)
        self.check_rows(run, 64)
        # It answers eight at a time, the last first: it must have had eight in hand.
        done = [e["index"] for e in run.events("task.finished")]
        self.assertNotEqual(done, sorted(done))

    def test_a_worker_that_does_not_say_so_gets_one(self):
        run = self.run_of("shallow", status=0)
        rows = self.check_rows(run, 12)
        self.assertEqual({row["meta"]["attempts"] for row in rows}, {1})

    def test_the_pools_limit_holds_for_a_worker_that_takes_more(self):
        run = self.run_of("lower", status=0)
        self.check_rows(run, 40)
        flight = peak = 0
        for event in run.events("attempt.started", "attempt.ended"):
            flight += 1 if event["event"] == "attempt.started" else -1
            peak = max(peak, flight)
        self.assertEqual(peak, 4)

    def test_all_that_a_worker_had_in_hand_is_tried_again(self):
        run = self.run_of("deep-crash", status=0)
        rows = self.check_rows(run, 100)
        again = [row["index"] for row in rows if row["meta"]["attempts"] > 1]
        self.assertTrue(1 <= len(again) <= 8, again)
        lost = [e["index"] for e in run.events("attempt.ended") if e["outcome"] == "lost"]
        self.assertEqual(sorted(lost), again)


class TestFailuresAlike(PoolCase):
    @classmethod
    def prepare(cls):
        bad = worker_of("fail=the model knows no such label", BAD)
        cls.begin("goes-on", "-j", 1, worker=bad, rows=rows_with(200, *range(100, 200)))
        cls.begin("stops", "-j", 1, "--on-same-failure", "stop", worker=bad, rows=rows_with(400, *range(100, 400)))
        cls.begin("share", "-j", 1, "--on-same-failure", "stop=25%", worker=bad, rows=rows_with(900, *range(300, 900)))
        cls.begin("below", "-j", 1, "--on-same-failure", "stop=25%", worker=bad, rows=rows_with(200, *range(0, 200, 5)))

    def alike(self, run):
        return run.events("failures.alike")

    def test_one_event_tells_of_many_and_the_run_goes_on(self):
        run = self.run_of("goes-on", status=1)
        rows = self.check_order(run, 200)
        self.assertEqual([row["index"] for row in rows if row["error"]], list(range(100, 200)))
        told = self.alike(run)
        # Told at five, and then each time that there are twice as many.
        self.assertTrue(3 <= len(told) <= 7, told)
        self.assertIn("no such label", told[0]["detail"])
        self.assertRegex(told[0]["detail"], r"\b5\b.*\b100\b")

    def test_the_run_stops_when_it_is_told_to(self):
        run = self.run_of("stops")
        self.assertNotIn(run.status, (0, 1), run.said())
        rows = self.check_order(run, len(run.results()))
        self.assertTrue(105 <= len(rows) <= 130, len(rows))
        self.assertEqual(len(run.log("call")), len(rows))
        self.assertIn("no such label", run.said())

    def test_the_run_stops_after_a_share_of_failures(self):
        run = self.run_of("share")
        self.assertNotIn(run.status, (0, 1), run.said())
        rows = self.check_order(run, len(run.results()))
        failed = sum(bool(row["error"]) for row in rows)
        # 300 are good: a quarter has failed when there are 100 bad ones.
        self.assertTrue(100 <= failed <= 125, failed)

    def test_the_run_goes_on_below_that_share(self):
        run = self.run_of("below", status=1)
        rows = self.check_order(run, 200)
        self.assertEqual(sum(bool(row["error"]) for row in rows), 40)


class TestTheBreaker(PoolCase):
    @classmethod
    def prepare(cls):
        cls.begin("again", "-j", 4, "--retries", 0, worker=worker_of("retryable"), rows=40)
        cls.begin("closes", "-j", 1, "--max-in-flight", 8, "--retries", 0, "--throttle", "none",
                  worker=worker_of("max_in_flight=8", "retryable", "times=5"), rows=60)
        cls.begin("fails", "-j", 1, "--retries", 0, "--breaker", "fail", worker=worker_of("retryable"), rows=30)
        cls.begin("off", "-j", 2, "--retries", 0, "--breaker", "off", worker=worker_of("retryable"), rows=30)
        cls.begin("full", "-j", 1, "--breaker", "fail", worker=worker_of("capacity", "times=8"), rows=5)
        cls.begin("wrong", "-j", 1, "--breaker", "fail", worker=worker_of("fail"), rows=30)
        cls.begin("mixed", "-j", 1, "--retries", 0, "--breaker", "fail", worker=worker_of("retryable", BAD),
                  rows=rows_with(50, *(i for i in range(50) if i % 5)))

    def changes(self, run):
        return [(e["from"], e["to"]) for e in run.events("breaker.changed")]

    def test_closed_open_half_open_closed(self):
        run = self.run_of("closes", status=1, deadline_s=100)
        self.check_rows(run, 60, failed=range(5))
        self.assertEqual(self.changes(run), [("closed", "open"), ("open", "half_open"), ("half_open", "closed")])
        opened, half, closed = run.events("breaker.changed")
        # Opened by the fifth failure in a row.
        failures = [e for e in run.events("attempt.ended") if e["outcome"] == "failed"]
        self.assertEqual(len(failures), 5)
        self.assert_took(self.gap(failures[4], opened), 0, slack_s=0.3)
        self.assert_took(self.gap(opened, half), 60)
        # What was not under way yet waited for a minute, and holds nothing while it waits (P5).
        begun = [e for e in run.events("attempt.started") if self.gap(opened, e) > 0.005]
        self.assertGreaterEqual(self.gap(opened, begun[0]), 59.9)
        # While half-open at most 3 are in flight, and 3 successes close it.
        flight = peak = good = 0
        for event in run.events("attempt.started", "attempt.ended"):
            if self.gap(half, event) < -0.0005 or self.gap(event, closed) < -0.0005 or good >= 3:
                continue
            if event["event"] == "attempt.started":
                flight += 1
                peak = max(peak, flight)
            elif flight:
                flight -= 1
                good += event["outcome"] == "ok"
        self.assertLessEqual(peak, 3)
        self.assertEqual(good, 3)

    def test_one_failure_while_half_open_opens_it_again(self):
        run = self.runs["again"]
        wait_until(lambda: len(run.events("breaker.changed")) >= 3, 90, "the second opening")
        run.process.send_signal(2)
        self.run_of("again", status=3, deadline_s=20)
        self.assertEqual(self.changes(run)[:3], [("closed", "open"), ("open", "half_open"), ("half_open", "open")])
        opened, half, again = run.events("breaker.changed")[:3]
        self.assert_took(self.gap(opened, half), 60)
        trials = [e for e in run.events("attempt.started") if self.gap(half, e) > -0.0005]
        self.assertIn(len(trials), (1, 2, 3))
        self.assert_took(self.gap(half, again), 0, slack_s=1)

    def test_rows_fail_at_once_while_it_is_open_if_the_pool_says_so(self):
        run = self.run_of("fails", status=1)
        rows = self.check_order(run, 30)
        codes = [row["error"]["code"] for row in rows]
        self.assertEqual(codes[5:], ["circuit_open"] * 25)
        self.assertNotIn("circuit_open", codes[:5])
        self.assertRegex(rows[20]["error"]["message"], r"(5\d|60)\.\d s")
        self.assertEqual(self.changes(run), [("closed", "open")])

    def test_it_can_be_off(self):
        run = self.run_of("off", status=1)
        rows = self.check_order(run, 30)
        self.assertNotIn("circuit_open", [row["error"]["code"] for row in rows])
        self.assertEqual(len(run.log("call")), 30)
        self.assertEqual(self.changes(run), [])

    def test_capacity_is_no_failure(self):
        run = self.run_of("full", status=0)
        self.check_rows(run, 5)
        self.assertEqual(self.changes(run), [])
        self.assertEqual(len([e for e in run.events("attempt.ended") if e["outcome"] == "capacity"]), 8)

    def test_answers_that_rows_are_wrong_are_no_failure_of_the_pool(self):
        run = self.run_of("wrong", status=1)
        rows = self.check_order(run, 30)
        self.assertNotIn("circuit_open", [row["error"]["code"] for row in rows])
        self.assertEqual(self.changes(run), [])

    def test_failures_must_be_in_a_row(self):
        run = self.run_of("mixed", status=1)
        rows = self.check_order(run, 50)
        self.assertNotIn("circuit_open", [row["error"]["code"] for row in rows if row["error"]])
        self.assertEqual(self.changes(run), [])


if __name__ == "__main__":
    unittest.main()
