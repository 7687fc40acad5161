"""`weir run` is killed, stopped and started again: each row once, in order, the same bytes (P1, P2, P8).

The moments are random, from a seed that a failure tells (WEIR_TEST_SEED sets it).
run-tests: waits
run-tests: sanitizers
run-tests: timeout=400
"""
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import unittest

from runkit import RunCase, alive, echo
from weirtest import SLOWNESS, VARIANT, wait_until

SEED = int(os.environ.get("WEIR_TEST_SEED", "20260"))
KILLS = 15 if VARIANT else 50


def finished_rows(journal):
    """The indexes of the rows that the journal remembers as finished. A copy is read: the journal is weir's."""
    with tempfile.TemporaryDirectory(prefix="weir-journal-") as folder:
        copy = os.path.join(folder, "j")
        for suffix in ("", "-wal"):
            if os.path.exists(journal + suffix):
                shutil.copyfile(journal + suffix, copy + suffix)
        db = sqlite3.connect(copy)
        try:
            if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'row'").fetchone():
                return set()
            return {index for (index,) in db.execute("SELECT idx FROM row")}
        finally:
            db.close()


class CrashCase(RunCase):
    def kill_after(self, process, seconds):
        """SIGKILL after a while, unless it ends before: whether it was killed."""
        try:
            process.wait(seconds)
            return False
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return True

    def check_prefix(self, whole, path="out.jsonl"):
        """Whatever moment it was, what is in the output are whole results from the start, and at most a torn line
        behind them, which the resume cuts off."""
        if not os.path.exists(self.path(path)):
            return
        have = self.read(path)
        self.assertEqual(have, whole[:len(have)], "the output is not the beginning of the undisturbed one")


class TestKill(CrashCase):
    def test_fifty_kills_leave_the_same_bytes_as_none(self):
        count = 2500
        mock = self.mock("--deterministic", "--latency", "uniform:5ms..40ms", "--permanent-rate", "0.02")
        rows = self.batch_rows(count)
        options = ("--url", mock.url, "-j", 8, "--throttle", "none", "--progress", "none")
        self.weir(*options, "-o", "whole.jsonl", "-j", 64, rows, status=1)
        whole = self.read("whole.jsonl")
        self.assert_in_order(self.read_rows("whole.jsonl"), count)
        before = mock.stats()["requests"]["seen"]

        rng = random.Random(SEED)
        command = (*options, "-o", "out.jsonl", rows)
        kills, starts, jobs = 0, 0, 8
        while kills < KILLS:
            starts += 1
            process = self.start(*command)
            if self.kill_after(process, rng.uniform(0, 0.2 if not VARIANT else 1.0)):
                kills += 1
                self.check_prefix(whole)
                continue
            self.end(process)
            # Finished before its time: the rest of the kills hit runs that start over.
            self.assertEqual(process.returncode, 1, f"seed {SEED}, start {starts}")
            self.assertEqual(self.read("out.jsonl"), whole, f"seed {SEED}")
            command = (*options, "-o", f"out{starts}.jsonl", rows)
        self.weir(*command, status=1)
        self.assertEqual(self.read(os.path.basename(str(command[-2]))), whole, f"seed {SEED}")
        # Sent twice was at most what was in flight, or finished but not yet on the disk, at a kill.
        sent = mock.stats()["requests"]["seen"] - before
        rounds = 1 + sum(name.startswith("out") and name.endswith(".jsonl") for name in os.listdir(self.dir)) - 1
        self.assertLessEqual(sent - count * rounds, kills * jobs * 4, f"seed {SEED}")

    def test_finished_rows_are_not_sent_again(self):
        count, rng = 600, random.Random(SEED + 1)
        pause = threading.Event()

        def reply(call):
            pause.wait(0.004)  # a service that takes its time
            return echo(call)

        service = self.service(reply)
        rows = self.plain_rows(count)
        command = ("--url", service.url, "-j", 6, "--throttle", "none", "--progress", "none", "-o", "out.jsonl", rows)
        keys = {}
        for _ in range(8):
            sent = len(service.calls)
            goal = sent + rng.randrange(1, 90)
            process = self.start(*command)
            wait_until(lambda: len(service.calls) >= goal or process.poll() is not None, 30, "requests")
            process.kill()
            process.communicate()
            wait_until(service.idle, 10, "the connections to end")
            self.check_calls(service.calls[sent:], keys)
            finished = finished_rows(self.path("out.jsonl.weir"))
            sent = len(service.calls)
            process = self.start(*command)
            wait_until(lambda: len(service.calls) > sent or process.poll() is not None, 30, "requests")
            process.kill()
            process.communicate()
            wait_until(service.idle, 10, "the connections to end")
            again = {call.json["n"] for call in service.calls[sent:]} & finished
            self.assertEqual(again, set(), f"seed {SEED + 1}: finished, and sent again")
            self.check_calls(service.calls[sent:], keys)
        self.weir(*command, status=0)
        self.check_calls(service.calls, keys)
        results = self.read_rows("out.jsonl")
        self.assert_in_order(results, count)
        self.assertEqual([row["output"]["echo"]["n"] for row in results], list(range(count)))
        self.assertEqual(len(keys), count)
        self.assertEqual(len(set(keys.values())), count, "two rows share an Idempotency-Key")

    def check_calls(self, calls, keys):
        """A row has the same Idempotency-Key whenever it is sent."""
        for call in calls:
            self.assertTrue(call.key)
            self.assertEqual(keys.setdefault(call.json["n"], call.key), call.key)

    def test_equal_rows_have_keys_of_their_own(self):
        service = self.service(echo)
        rows = self.write("rows.jsonl", '{"n":1}\n' * 20)
        self.weir("--url", service.url, "-o", "out.jsonl", rows, status=0)
        self.assertEqual(len({call.key for call in service.calls}), 20)

    def test_a_kill_in_a_round_over_failed_rows_loses_nothing(self):
        count, kills = 900, 8 if VARIANT else 16
        broken, pause = {"now": True}, threading.Event()

        def reply(call):
            n = call.json["n"]
            if not broken["now"]:
                pause.wait(0.015)  # so that there is a middle to be killed in
            if n % 3 == 0 and (broken["now"] or n % 9 == 0):
                return 422, {}, f'{{"no":{n}}}'
            return 200, {}, f'{{"yes":{n}}}'

        service = self.service(reply)
        rows = self.plain_rows(count)
        options = ("--url", service.url, "-j", 8, "--throttle", "none", "--progress", "none")
        for output in ("out.jsonl", "whole.jsonl"):
            self.weir(*options, "-o", output, rows, status=1)
        broken["now"] = False
        self.weir(*options, "-o", "whole.jsonl", "--retry-failed", rows, status=1)
        whole = self.read("whole.jsonl")
        results = self.read_rows("whole.jsonl")
        self.assert_in_order(results, count)
        self.assertEqual([row["index"] for row in results if row["error"]], list(range(0, count, 9)))

        rng, killed = random.Random(SEED + 2), 0
        command = (*options, "-o", "out.jsonl", "--retry-failed", rows)
        process = self.start(*command)
        while self.kill_after(process, rng.uniform(0.005, 0.15) * SLOWNESS) and killed < kills:
            killed += 1
            self.assert_in_order_or_shorter(self.read_rows("out.jsonl"), count)
            # Without --retry-failed: a round that is under way is gone on with, no new one begins.
            command = (*options, "-o", "out.jsonl", rows) if killed > 1 else command
            process = self.start(*command)
        self.end(process)
        self.assertGreater(killed, 0)
        self.weir(*options, "-o", "out.jsonl", rows, status=1)
        if self.read("out.jsonl") != whole:
            # The first kill came before the round had begun, so nothing was to be gone on with.
            self.weir(*options, "-o", "out.jsonl", "--retry-failed", rows, status=1)
        self.assertEqual(self.read("out.jsonl"), whole, f"seed {SEED + 2}")
        self.assertEqual([n for n in os.listdir(self.dir) if n.endswith(".weir-retry")], [])

    def assert_in_order_or_shorter(self, rows, count):
        self.assertEqual([row["index"] for row in rows], list(range(len(rows))))
        self.assertLessEqual(len(rows), count)

    def test_errors_in_a_file_of_their_own_survive_kills(self):
        count, rng = 800, random.Random(SEED + 3)
        mock = self.mock("--deterministic", "--latency", "uniform:2ms..20ms", "--permanent-rate", "0.2")
        rows = self.plain_rows(count)
        options = ("--url", mock.url, "-j", 8, "--throttle", "none", "--progress", "none")
        self.weir(*options, "-o", "w.jsonl", "--errors", "we.jsonl", rows, status=1)
        command = (*options, "-o", "out.jsonl", "--errors", "err.jsonl", rows)
        for _ in range(12):
            process = self.start(*command)
            if not self.kill_after(process, rng.uniform(0.01, 0.25) * SLOWNESS):
                break
            self.check_prefix(self.read("w.jsonl"))
            self.check_prefix(self.read("we.jsonl"), "err.jsonl")
        self.weir(*command, status=1)
        self.assertEqual(self.read("out.jsonl"), self.read("w.jsonl"), f"seed {SEED + 3}")
        self.assertEqual(self.read("err.jsonl"), self.read("we.jsonl"), f"seed {SEED + 3}")
        both = self.read_rows("out.jsonl") + self.read_rows("err.jsonl")
        self.assertEqual(sorted(row["index"] for row in both), list(range(count)))


class TestSignals(CrashCase):
    """A service that holds its answers until the gate opens, so that each moment is known."""

    def setUp(self):
        super().setUp()
        self.held = self.gate()

        def reply(call):
            self.held.wait()
            return echo(call)

        self.count, self.jobs = 40, 4
        self.held_service = self.service(reply)
        self.rows = self.plain_rows(self.count)
        self.command = ("--url", self.held_service.url, "-j", self.jobs, "--throttle", "none", "--progress", "plain",
                        "-o", "out.jsonl", "--summary", "sum.json", self.rows)

    def begin(self, *more, **streams):
        process = self.start(*self.command, *more, **streams)
        wait_until(lambda: self.held_service.inside == self.jobs or process.poll() is not None, 20, "requests")
        self.assertIsNone(process.poll())
        return process

    def saw(self, path, text, process):
        def seen():
            return text in self.read(path) or process.poll() is not None
        wait_until(seen, 10, f"{text!r} in what it says")

    def drain(self, signal_number):
        with open(self.path("stderr"), "wb") as err:
            process = self.begin(stderr=err)
        process.send_signal(signal_number)
        self.saw("stderr", b"stop", process)
        self.assertIsNone(process.poll(), "it did not wait for what runs: " + self.read("stderr").decode())
        self.held.open()
        self.finish(process, status=3)
        said = self.read("stderr").decode()
        self.assertRegex(said, r"same command")
        return said

    def resume(self, sent_before):
        self.held.open()
        self.weir(*self.command, status=0)
        results = self.read_rows("out.jsonl")
        self.assert_in_order(results, self.count)
        self.assertEqual([row["output"]["echo"]["n"] for row in results], list(range(self.count)))
        self.assertEqual(len(self.held_service.calls) - sent_before, self.count - self.read_done())

    def read_done(self):
        return self.done_then

    def stopped(self):
        """What the run that was stopped left: rows done; and its summary says so."""
        summary = self.read_json("sum.json")
        self.assertEqual(summary["end"], "stopped")
        self.assertEqual(summary["exit_status"], 3)
        self.assertTrue(summary["resume"])
        self.done_then = summary["rows"]["ok"]

    def test_ctrl_c_lets_running_rows_finish_and_says_how_to_go_on(self):
        self.drain(signal.SIGINT)
        self.stopped()
        # What ran was let finish, and nothing was started after it.
        self.assertEqual(len(self.held_service.calls), self.jobs)
        self.assertEqual(self.done_then, self.jobs)
        self.assert_in_order(self.read_rows("out.jsonl"), self.jobs)
        self.resume(self.jobs)

    def test_sigterm_stops_as_ctrl_c_does(self):
        self.drain(signal.SIGTERM)
        self.stopped()
        self.assertEqual(self.done_then, self.jobs)
        self.resume(self.jobs)

    def test_a_second_ctrl_c_cancels_what_runs(self):
        with open(self.path("stderr"), "wb") as err:
            process = self.begin(stderr=err)
        process.send_signal(signal.SIGINT)
        self.saw("stderr", b"stop", process)
        process.send_signal(signal.SIGINT)
        # The gate is still shut: it ends although no answer came.
        self.finish(process, status=3, deadline_s=15)
        self.assertIn(b"same command", self.read("stderr"))
        self.stopped()
        self.assertEqual(self.done_then, 0)
        self.assertEqual(self.read("out.jsonl"), b"")
        self.resume(self.jobs)

    def test_ctrl_c_ends_waiting_rows_at_once(self):
        service = self.service(lambda call: (429, {"Retry-After": "100"}, "{}"))
        process = self.start("--url", service.url, "-j", 4, "-o", "o.jsonl", self.rows)
        wait_until(lambda: service.calls, 10, "a request")
        wait_until(lambda: service.inside == 0, 10, "its answer")
        process.send_signal(signal.SIGINT)
        self.finish(process, status=3, deadline_s=10)

    def test_ctrl_c_while_the_input_is_waited_for(self):
        self.held.open()
        process = self.start("--url", self.held_service.url, "-o", "out.jsonl", "-", stdin=subprocess.PIPE)
        process.stdin.write(b'{"n":0}\n')
        process.stdin.flush()
        wait_until(lambda: self.held_service.calls, 10, "the first row")
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10 * SLOWNESS)
        except subprocess.TimeoutExpired:
            self.fail("it waits for its input although it was told to stop")
        self.assertEqual(process.returncode, 3)

    def test_ctrl_c_without_a_journal(self):
        with open(self.path("stderr"), "wb") as err:
            process = self.start("--url", self.held_service.url, "-j", 4, "--progress", "plain", self.rows, stderr=err)
        wait_until(lambda: self.held_service.inside == 4, 10, "requests")
        process.send_signal(signal.SIGINT)
        self.saw("stderr", b"stopping:", process)
        self.held.open()
        done = self.finish(process, status=3, deadline_s=20)
        self.assert_in_order(done.rows, 4)
        self.assertNotIn(b"same command", self.read("stderr"))

    def test_a_second_weir_on_the_same_journal_is_refused(self):
        process = self.begin()
        second = self.weir(*self.command, status=2)
        self.assert_says(second, rf"\b{process.pid}\b", r"out\.jsonl\.weir")
        third = self.weir(*self.command, "--fresh", status=2)
        self.assert_says(third, r"out\.jsonl\.weir")
        self.assertEqual(len(self.held_service.calls), self.jobs)
        self.held.open()
        self.finish(process, status=0)
        self.assert_in_order(self.read_rows("out.jsonl"), self.count)
        self.assertFalse(alive(process.pid))


class TestResume(CrashCase):
    def test_a_finished_run_sends_nothing_again(self):
        service = self.service(echo)
        command = ("--url", service.url, "-o", "out.jsonl", self.plain_rows(30))
        self.weir(*command, status=0)
        before = self.read("out.jsonl")
        done = self.weir(*command, "--summary", "sum.json", status=0)
        self.assertEqual(len(service.calls), 30)
        self.assertEqual(self.read("out.jsonl"), before)
        self.assertEqual(self.read_json("sum.json")["rows"]["done_before"], 30)
        self.assert_says(done, "30")

    def test_failed_rows_stay_failed_until_told_otherwise(self):
        fail = {"now": True}
        service = self.service(lambda call: (400, {}, "{}") if fail["now"] and call.json["n"] % 2 else echo(call))
        command = ("--url", service.url, "-o", "out.jsonl", self.plain_rows(10))
        self.weir(*command, status=1)
        self.weir(*command, status=1)
        self.assertEqual(len(service.calls), 10)
        fail["now"] = False
        self.weir(*command, "--retry-failed", status=0)
        self.assertEqual(len(service.calls), 15)
        self.assert_in_order(self.read_rows("out.jsonl"), 10)
        self.assertEqual([row["status"] for row in self.read_rows("out.jsonl")], [200] * 10)

    def test_an_input_from_standard_input_is_gone_on_with(self):
        hold = self.gate()

        def reply(call):
            if call.json["n"] >= 10:
                hold.wait()
            return echo(call)

        service = self.service(reply)
        rows = self.plain_rows(25)
        with open(rows, "rb") as stdin:
            process = self.start("--url", service.url, "-j", 2, "-o", "out.jsonl", stdin=stdin)
        wait_until(lambda: service.inside == 2 and len(service.calls) >= 12, 10, "requests")
        wait_until(lambda: self.read("out.jsonl").count(b"\n") == 10, 10, "rows")
        process.kill()
        process.communicate()
        hold.open()
        sent = len(service.calls)
        with open(rows, "rb") as stdin:
            self.weir("--url", service.url, "-j", 2, "-o", "out.jsonl", stdin=stdin, status=0)
        self.assert_in_order(self.read_rows("out.jsonl"), 25)
        self.assertEqual(len(service.calls) - sent, 15)

    def test_more_rows_in_flight_on_resume_and_another_throttle_are_no_conflict(self):
        service = self.service(lambda call: echo(call) if call.json["n"] < 5 else None)
        rows = self.plain_rows(8)
        self.weir("--url", service.url, "-o", "out.jsonl", "--retries", 0, "--halt", "now,fail=1", "-j", 1, rows,
                  status=4)
        service.reply = echo
        self.weir("--url", service.url, "-o", "out.jsonl", "-j", 8, "--throttle", "none", "--retries", 5,
                  "--timeout", "5s", rows)
        self.assert_in_order(self.read_rows("out.jsonl"), 8)

    def test_meta_tells_of_rows_from_before_a_kill(self):
        hold = self.gate()

        def reply(call):
            if call.json["n"] >= 5:
                hold.wait()
            return echo(call)

        service = self.service(reply)
        command = ("--url", service.url, "-j", 2, "-o", "out.jsonl", "--meta", self.plain_rows(9))
        process = self.start(*command)
        wait_until(lambda: service.inside == 2 and len(service.calls) == 7, 10, "requests")
        process.kill()
        process.communicate()
        hold.open()
        self.weir(*command, status=0)
        rows = self.read_rows("out.jsonl")
        self.assert_in_order(rows, 9)
        self.assertEqual(sorted(row["meta"]["complete_index"] for row in rows), list(range(9)))
        for row in rows:
            self.assertEqual(row["meta"]["attempts"], 1)
            self.assertEqual(row["meta"]["submit_index"], row["index"])
            times = [row["meta"][name] for name in ("submit_time", "start_time", "complete_time", "deliver_time")]
            self.assertNotIn(None, times)
            self.assertEqual(times, sorted(times))
        self.assertEqual(json.loads(self.read("out.jsonl").splitlines()[0])["meta"]["outcome"], "ok")


if __name__ == "__main__":
    unittest.main()
