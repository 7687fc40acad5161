"""Sessions of `weir run --worker`: each stays with the worker that holds its state, in order, one request at a time; and
when that worker dies or the binding ends, the next request says so. What weir counts agrees with what workers saw.

run-tests: waits
run-tests: long
run-tests: timeout=400
"""
import os
import random
import sys
import threading
import unittest
from collections import Counter

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from faultkit import MIB, FaultCase, worker_of
from weirtest import VARIANT, wait_until

SEED = int(os.environ.get("WEIR_TEST_SEED", "20265"))


class SessionCase(FaultCase):
    def sessions_of(self, run):
        """What the summary says of sessions."""
        counts = run.summary()["workers"]
        return {name[8:]: n for name, n in counts.items() if name.startswith("session_")}

    def check_lives(self, rows):
        """Of each session the rows, in their order, tell one story: the same worker, which has seen one request more each
        time; or another one, which is told that what was before is lost."""
        last, told = {}, Counter()
        for row in rows:
            self.assertIsNone(row["error"])
            saw = row["output"]
            name = saw["args"]["s"]
            self.assertEqual(saw["session"], name)
            before = last.get(name)
            if before is None:
                self.assertFalse(saw["session_lost"], saw)
                self.assertEqual(saw["seen"], 1, saw)
                told["misses"] += 1
            elif saw["session_lost"]:
                self.assertEqual(saw["seen"], 1, saw)
                told["rebinds"] += 1
            else:
                self.assertEqual(saw["pid"], before["pid"], (before, saw))
                self.assertEqual(saw["seen"], before["seen"] + 1, (before, saw))
                told["hits"] += 1
            last[name] = saw
        return told


class TestAffinity(SessionCase):
    def test_sessions_stay_with_their_workers(self):
        names, turns, rng = 40, 25, random.Random(SEED)
        rows = [{"s": f"s{i}", "turn": turn} for turn in range(turns) for i in range(names)]
        rng.shuffle(rows)
        count = Counter()
        for row in rows:  # shuffled sessions, each with its turns in order
            row["turn"] = count[row["s"]]
            count[row["s"]] += 1
        run = self.begin("stay", "-j", 4, "--session", ".s", worker=worker_of("about"))
        run.wait_workers(4)
        run.feed(*rows)
        run = self.run_of("stay", status=0)
        told = self.check_lives(self.check_order(run, len(rows)))
        self.assertEqual(told, Counter(misses=names, hits=len(rows) - names))
        counts = self.sessions_of(run)
        self.assertEqual([counts[n] for n in ("hits", "misses", "rebinds", "expiries")],
                         [len(rows) - names, names, 0, 0])
        # They are spread: each goes to the one with the fewest, of those that are free at that moment.
        shares = Counter(row["output"]["pid"] for row in {r["output"]["session"]: r for r in run.results()}.values())
        self.assertEqual(len(shares), 4)
        self.assertLessEqual(max(shares.values()), 3 * names // 4)

    def test_one_request_of_a_session_at_a_time_in_order(self):
        rows = [{"s": i % 3} for i in range(90)]
        # Workers that take several at once get but one of each session.
        run = self.begin("one", "-j", 2, "--max-in-flight", 8, "--session", ".s", "--throttle", "none",
                         worker=worker_of("max_in_flight=8", "work=0.002"), rows=rows)
        run = self.run_of("one", status=0)
        self.check_order(run, 90)
        for name in range(3):
            under_way, begun = set(), []
            for event in run.events("attempt.started", "attempt.ended"):
                if event["index"] % 3 != name:
                    continue
                if event["event"] == "attempt.started":
                    self.assertEqual(under_way, set(), "two requests of a session at once")
                    under_way.add(event["index"])
                    begun.append(event["index"])
                else:
                    under_way.discard(event["index"])
            self.assertEqual(begun, list(range(name, 90, 3)))

    def test_rows_without_a_session_go_anywhere(self):
        rows = [{"s": None if i % 2 else f"s{i % 5}", "n": i} for i in range(200)]
        run = self.begin("some", "-j", 3, "--session", ".s", worker=worker_of("about"), rows=rows)
        run = self.run_of("some", status=0)
        rows = self.check_order(run, 200)
        self.check_lives([row for row in rows if row["output"]["session"]])
        self.assertTrue(all(row["output"]["session"] is None for row in rows if row["index"] % 2))

    def test_a_busy_sessions_rows_hold_up_no_others(self):
        # Session "slow" has 20 rows of 100 ms; a hundred other rows pass by them.
        rows = [{"s": "slow", "n": i} for i in range(20)] + [{"s": None, "n": i} for i in range(100)]
        run = self.begin("slow", "-j", 2, "--session", ".s", "--throttle", "none",
                         worker=worker_of("late=0.1", 'if="slow"'), rows=rows)
        run = self.run_of("slow", status=0)
        self.check_order(run, 120)
        done = [e["index"] for e in run.events("task.finished")]
        self.assertLess(max(done.index(i) for i in range(20, 120)), done.index(15),
                        "rows without a session waited for the slow one's turn")


    def test_a_row_waits_for_its_sessions_worker_only_so_long(self):
        run = self.begin("checkout", "-j", 2, "--session", ".s", "--checkout-timeout", "500ms", "--throttle", "none",
                         worker=worker_of("late=3", 'if="slow"}'))
        run.wait_workers(2)
        run.feed({"s": "a"}, {"s": "b"})
        run.wait_results(2)
        run.feed({"s": "slow"})
        busy = run.wait_event("the slow one", "attempt.started", index=2)[0]
        # The one of the two whose worker is busy with the slow one now, though the other worker is idle.
        bound = {e["worker"]: "ab"[e["index"]] for e in run.events("attempt.started") if e["index"] < 2}
        run.feed({"s": bound[busy["worker"]]})
        run = self.run_of("checkout", status=1)
        row = self.check_order(run, 4)[3]
        self.assertEqual((row["error"]["code"], row["meta"]["outcome"], row["meta"]["attempts"]),
                         ("checkout_timeout", "timeout", 0))
        # Who holds it is named: the worker, its process, and the row that it is busy with.
        self.assertRegex(row["error"]["message"],
                         rf'worker {busy["worker"]} \(pid \d+\).*"{bound[busy["worker"]]}".*row 2\b')
        accepted, = run.events("task.accepted", index=3)
        ended, = run.events("task.finished", index=3)
        self.assert_took(self.gap(accepted, ended), 0.5, slack_s=2)
        self.assertEqual(len(run.log("start")), 2)


class TestLoss(SessionCase):
    def test_sessions_keep_order_while_workers_die(self):
        names, turns, kills = 30, 60, 12 if VARIANT else 40
        run = self.begin("die", "-j", 4, "--session", ".s", "--breaker", "off", "--retries", 10, "--throttle", "none",
                         worker=worker_of("about", "work=0.002"), rows=None)
        rng, pause = random.Random(SEED + 1), threading.Event()
        rows = [{"s": f"s{i}", "turn": turn} for turn in range(turns) for i in range(names)]
        killed, count = set(), len(rows)
        each = count // kills

        def kill_one():
            # One that was called twice has answered once: three in a row that never did would be failed starts, and pause.
            calls = Counter(line[0] for line in run.log("call"))
            found = [pid for pid in run.workers() if calls[pid] >= 2 and pid not in killed]
            victim = rng.choice(found) if found else None
            if victim is None or not run.kill_worker(victim):
                return False
            killed.add(victim)
            return True

        # A worker dies for each portion of the rows, in the midst of it, however slow this machine is.
        for i in range(kills):
            run.feed(*rows[i * each:(i + 1) * each])
            wait_until(kill_one, 60, f"a worker to kill after {i} of them")
            pause.wait(rng.uniform(0, 0.02))
        run.feed(*rows[kills * each:])
        run = self.run_of("die", status=0)
        back = {e["index"] for e in run.events("attempt.taken_back")}
        told = self.check_lives_with_kills(self.check_order(run, count), back)
        counts = self.sessions_of(run)
        attempts = len(run.events("attempt.started"))
        self.assertEqual(counts["hits"] + counts["misses"] + counts["rebinds"], attempts)
        self.assertEqual(counts["misses"], names)
        self.assertGreaterEqual(counts["rebinds"], told["rebinds"])
        self.assertGreater(told["rebinds"], 0)
        self.assertEqual(counts["expiries"], 0)
        # Attempts of a session: one after the other, in the order of its rows.
        for name in range(names):
            begun = [e["index"] for e in run.events("attempt.started") if e["index"] % names == name]
            self.assertEqual(begun, sorted(begun))

    def check_lives_with_kills(self, rows, back):
        """As check_lives(), but for what was told to a worker that died with it: a request that said session_lost and
        was never answered is followed by another one that says so."""
        last, told = {}, Counter()
        for row in rows:
            self.assertIsNone(row["error"])
            saw = row["output"]
            name = saw["args"]["s"]
            before = last.get(name)
            if before is not None and saw["pid"] == before["pid"] and not saw["session_lost"]:
                self.assertEqual(saw["seen"], before["seen"] + 1, (before, saw))
                told["hits"] += 1
            elif before is not None:
                self.assertTrue(saw["session_lost"], f"nobody said that it was lost: {before} {saw}")
                self.assertEqual(saw["seen"], 1)
                told["rebinds"] += 1
            else:
                # Its first one: lost already if a worker that died had it before, even if it had not read it yet.
                self.assertEqual(saw["session_lost"], row["meta"]["attempts"] > 1 or row["index"] in back, row)
                told["misses"] += 1
            last[name] = saw
        return told

    def test_a_recycled_worker_loses_its_sessions_too(self):
        rows = [{"s": f"s{i % 6}"} for i in range(300)]
        run = self.begin("recycled", "-j", 2, "--recycle-after", 20, "--session", ".s", worker=worker_of("about"), rows=rows)
        run = self.run_of("recycled", status=0)
        told = self.check_lives(self.check_order(run, 300))
        counts = self.sessions_of(run)
        self.assertEqual({n: counts[n] for n in ("hits", "misses", "rebinds")}, dict(told))
        self.assertGreater(told["rebinds"], 10)


class TestExpiry(SessionCase):
    def test_an_idle_session_expires_and_the_next_row_says_so(self):
        run = self.begin("idle", "-j", 2, "--session", ".s", "--session-idle", "500ms", worker=worker_of("about"))
        run.feed({"s": "a"}, {"s": "a"}, {"s": "b"})
        run.wait_results(3)
        # Longer than it may be idle, and than the sweep takes to see it.
        threading.Event().wait(2)
        run.feed({"s": "a"}, {"s": "a"})
        run = self.run_of("idle", status=0)
        rows = self.check_order(run, 5)
        self.assertEqual(self.check_lives(rows), Counter(misses=2, hits=2, rebinds=1))
        counts = self.sessions_of(run)
        self.assertEqual([counts[n] for n in ("hits", "misses", "rebinds", "expiries")], [2, 2, 1, 2])

    def test_a_session_in_use_does_not_expire(self):
        run = self.begin("used", "-j", 1, "--session", ".s", "--session-idle", "300ms",
                         worker=worker_of("late=1"), rows=[{"s": "a"}] * 3)
        run = self.run_of("used", status=0)
        self.check_order(run, 3)
        counts = self.sessions_of(run)
        self.assertEqual([counts[n] for n in ("hits", "misses", "rebinds", "expiries")], [2, 1, 0, 0])

    def test_a_hundred_thousand_sessions(self):
        count, again = (10000, 2000) if VARIANT else (100000, 20000)
        run = self.begin("many", "-j", 2, "--session", ".s", "--session-idle", "3s", "--throttle", "none",
                         "--max-in-flight", 16, worker=worker_of("about", "max_in_flight=16"), events=False, meta=False)
        rng = random.Random(SEED + 2)
        first = [{"s": f"session {i}"} for i in range(count)]
        # Each of them once, and a tenth once more while it is bound.
        rows = first[:]
        for i in range(0, count, 10):
            rows.insert(i + rng.randrange(1, 50), first[i])
        feeder = threading.Thread(target=lambda: run.feed(*rows), daemon=True)
        feeder.start()
        run.wait_results(len(rows), 90)
        feeder.join()
        threading.Event().wait(8)  # all of them have been idle for long
        late = [first[i] for i in rng.sample(range(count), again)]
        run.feed(*late)
        run = self.run_of("many", status=0, deadline_s=120)
        told = Counter(hits=0, misses=0, rebinds=0)
        for row in self.check_order(run, len(rows) + again):
            self.assertIsNone(row["error"])
            saw = row["output"]
            self.assertEqual(saw["session"], saw["args"]["s"])
            told["rebinds" if saw["session_lost"] else "misses" if saw["seen"] == 1 else "hits"] += 1
        counts = self.sessions_of(run)
        self.assertEqual({n: counts[n] for n in ("hits", "misses", "rebinds")}, dict(told))
        self.assertEqual(told["misses"], count)
        self.assertGreaterEqual(told["rebinds"], again)
        self.assertGreaterEqual(counts["expiries"], count)
        self.assertLess(run.peak_bytes(), 300 * MIB)


if __name__ == "__main__":
    unittest.main()
