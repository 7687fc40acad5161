"""Workers that crash, hang, lie and will not end: what `weir run --worker` does about each (P1, P2, P5, P7).

TestRecovery goes through the table of recovery, line by line; TestLies and TestLives through what a worker can do wrong, and
TestEverythingAtOnce does all of it by chance, from a seed that a failure tells (WEIR_TEST_SEED sets it).
In each case every row has exactly one result, in order, the reason is told, nothing else is harmed, and nothing is left.
The runs of a class are started together: they mostly wait.
run-tests: waits
run-tests: long
run-tests: sanitizers
run-tests: timeout=300
"""
import os
import random
import re
import signal
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from faultkit import CLOSED, MIB, FaultCase, first_call, first_life, row_text, seconds, worker_of
from weirtest import SLOWNESS, VARIANT, wait_until
from workerkit import is_running

SEED = int(os.environ.get("WEIR_TEST_SEED", "20263"))
SICK = 7  # the row at which something happens
FAULT = "if=" + row_text(SICK)


class TestRecovery(FaultCase):
    """What failed, the action, and the delay before the next try."""

    @classmethod
    def prepare(cls):
        # Each of these waits for seconds, as the table says.
        cls.begin("unwell", "-j", 1, "--ping-every", "200ms", worker=first_life("about", "ping-fails=2-3"))
        cls.begin("sick", "-j", 1, "--ping-every", "200ms", worker=first_life("ping-fails=2-4"), rows=None)
        cls.begin("silent", "-j", 1, "--ping-every", "200ms", worker=first_life("pings=1"))
        cls.begin("one-silent", "-j", 2, "--ping-every", "200ms", worker=first_life("pings=1"))
        for name in ("unwell", "sick", "silent", "one-silent"):
            cls.runs[name].feed({"n": 0})
        cls.begin("cannot-start", "-j", 1, "--breaker", "fail", worker=worker_of("crash-at-start"), rows=3)
        cls.begin("no-program", "-j", 1, worker="/nowhere/my_worker --model x", rows=3)
        script = os.path.join(cls.folder, "script")
        with open(script, "w", encoding="ascii") as f:
            f.write("#!/nowhere/python3\n")
        os.chmod(script, 0o755)
        cls.begin("no-interpreter", "-j", 1, "--breaker", "fail", worker=[script], rows=3)
        cls.begin("deaf", "-j", 1, worker=first_life("close-input"), fed=30)
        cls.begin("unread", "-j", 1, worker=first_life("close-input=unread"), fed=30)
        cls.begin("elsewhere", "-j", 2, worker=first_life("retryable"), rows=None)
        cls.begin("final", "-j", 1, worker=worker_of("fail=no such colour", FAULT), fed=30)
        for name, fault, *options in (
                ("timeout", "hang", "--timeout", "500ms"), ("exit", "crash"), ("closed", "close-output"),
                ("broken", "garbage")):
            cls.begin(name, "-j", 2, *options, worker=first_call(fault, FAULT), fed=30)
        for name, fault, *options in (
                ("timeouts", "hang", "--timeout", "400ms"), ("exits", "crash", "--retries", 3),
                ("brokens", "garbage", "--retries", 3), ("temporary", "retryable", "--retries", 3)):
            cls.begin(name, "-j", 2, *options, worker=worker_of(fault, FAULT), fed=30)

    def check_retry(self, run, outcome, waits_s, ends=None):
        """Row SICK ended so in each try, and waited so long before each next one; ends: the outcome at last."""
        ended = run.ended(SICK)
        self.assertEqual([e["outcome"] for e in ended], [outcome] * len(waits_s) + [ends or "ok"])
        retries = run.events("task.retry_scheduled", index=SICK)
        self.assertEqual([round(e["wait_ms"]) for e in retries], [w * 1000 for w in waits_s])
        started = run.events("attempt.started", index=SICK)
        self.assertEqual([e["attempt"] for e in started], list(range(1, len(waits_s) + 2)))
        for number, wait_s in enumerate(waits_s):
            self.assert_took(self.gap(ended[number], started[number + 1]), wait_s)
        return ended

    def settled(self, name, status, workers, failed=()):
        """The run and its results, after so many workers have lived: those of the pool, and one for each that was
        replaced."""
        run = self.run_of(name, status=status, rows=30, workers=workers)
        self.assertEqual(len(run.log("start")), workers, run.log("start"))
        return run, self.check_rows(run, 30, failed)

    def test_a_process_that_exits_is_replaced_and_its_row_is_tried_again_at_once(self):
        run, rows = self.settled("exit", 0, 3)
        ended = self.check_retry(run, "lost", [0])
        self.assertRegex(ended[0]["message"], r"exited with status 3")
        self.assertEqual(rows[SICK]["meta"]["attempts"], 2)
        self.assertEqual({row["meta"]["attempts"] for row in rows if row["index"] != SICK}, {1})
        gone = [e for e in run.moves(to="terminated") if "status 3" in e.get("detail", "")]
        self.assertEqual(len(gone), 1, run.moves(to="terminated"))

    def test_each_next_try_after_an_exit_waits_longer(self):
        run, rows = self.settled("exits", 1, 6, [SICK])
        ended = self.check_retry(run, "lost", [0, 1, 2], ends="lost")
        self.assertRegex(rows[SICK]["error"]["message"], r"status 3")
        self.assertEqual(rows[SICK]["meta"]["outcome"], "lost")
        self.assertEqual(len(ended), 4)

    def test_a_closed_pipe_is_as_good_as_an_exit(self):
        run, _ = self.settled("closed", 0, 3)
        ended = self.check_retry(run, "lost", [0])
        self.assertRegex(ended[0]["message"], r"closed|standard output")

    def test_a_broken_protocol_is_named_and_its_row_is_tried_again_at_once(self):
        run, _ = self.settled("broken", 0, 3)
        ended = self.check_retry(run, "lost", [0])
        self.assertIn("Traceback (most recent call last)", ended[0]["message"])

    def test_a_protocol_that_stays_broken_backs_off_in_even_steps(self):
        run, rows = self.settled("brokens", 1, 6, [SICK])
        self.check_retry(run, "lost", [0, 1, 2], ends="lost")
        self.assertIn("Traceback", rows[SICK]["error"]["message"])

    def test_a_row_that_could_not_be_given_goes_to_another_worker_uncounted(self):
        run, rows = self.settled("deaf", 0, 2)
        self.assertEqual({row["meta"]["attempts"] for row in rows}, {1})
        self.assertEqual(run.events("task.retry_scheduled"), [])

    def test_a_row_that_nobody_has_read_goes_to_another_worker_uncounted(self):
        run, rows = self.settled("unread", 0, 2)
        self.assertEqual({row["meta"]["attempts"] for row in rows}, {1})
        self.assertEqual(len(run.events("attempt.taken_back", index=0)), 1)
        given = run.events("attempt.started", index=0)
        self.assertEqual(len({e["worker"] for e in given}), 2)
        back, = run.events("attempt.taken_back", index=0)
        self.assert_took(self.gap(given[0], back), 0)

    def test_a_failed_check_degrades_and_the_next_after_5_s_makes_ready_again(self):
        run = self.runs["unwell"]
        degraded = run.wait_event("a failed check", "worker.transition", to="degraded", deadline_s=20)[0]
        run.feed({"n": 1})  # waits for the worker that cannot take it now
        again = run.wait_event("a passed check", "worker.transition", **{"from": "degraded", "to": "ready"},
                               deadline_s=30)[0]
        run = self.run_of("unwell", status=0)
        # The second failure in a row comes 5 s after the first, the success 5 s later.
        self.assert_took(self.gap(degraded, again), 10)
        rows = self.check_order(run, 2)
        self.assertEqual(rows[0]["output"]["pid"], rows[1]["output"]["pid"])
        self.assertEqual([row["meta"]["attempts"] for row in rows], [1, 1])
        given = run.events("attempt.started", index=1)
        self.assertEqual(len(given), 1)
        self.assertGreaterEqual(self.gap(again, given[0]), 0)

    def test_the_third_failed_check_in_a_row_replaces(self):
        run = self.runs["sick"]
        degraded = run.wait_event("a failed check", "worker.transition", to="degraded", deadline_s=20)[0]
        ending = run.wait_event("the end", "worker.transition", to="terminating", deadline_s=30)[0]
        ready = wait_until(lambda: [e for e in run.moves(to="ready") if e["worker"] != degraded["worker"]], 20,
                           "the replacement")[0]
        run.feed({"n": 1})
        run = self.run_of("sick", status=0)
        self.assert_took(self.gap(degraded, ending), 10)
        self.assert_took(self.gap(ending, ready), 0)
        self.assertRegex(ending["reason"], r"health")
        self.check_rows(run, 2)

    def test_a_check_without_an_answer_fails_after_5_s(self):
        run = self.runs["silent"]
        degraded = run.wait_event("a failed check", "worker.transition", to="degraded", deadline_s=20)[0]
        idle = run.events("worker.transition", to="ready")[-1]
        run = self.run_of("silent", status=0)
        self.assert_took(self.gap(idle, degraded), 5.2)
        self.assertEqual(degraded["from"], "ready")
        self.check_rows(run, 1)

    def test_a_check_of_one_worker_delays_no_request_to_another(self):
        run = self.runs["one-silent"]
        run.wait_workers(2)
        # One of them is being asked, and does not answer for 5 s; then it is degraded.
        wait_until(lambda: len(run.log("ping")) >= 4, 20, "checks")
        run.feed(*({"n": i} for i in range(1, 40)))
        run.wait_results(40)
        degraded = run.wait_event("a failed check", "worker.transition", to="degraded", deadline_s=20)[0]
        run.feed(*({"n": i} for i in range(40, 80)))
        run = self.run_of("one-silent", status=0)
        rows = self.check_rows(run, 80)
        self.assertEqual({row["meta"]["attempts"] for row in rows}, {1})
        given = [e for e in run.events("attempt.started") if e["index"] >= 40]
        self.assertEqual([self.gap(degraded, e) > 0 for e in given], [True] * 40)
        self.assertNotIn(degraded["worker"], {e["worker"] for e in given})

    def test_a_timeout_kills_and_its_row_waits_3_s(self):
        run, rows = self.settled("timeout", 0, 3)
        ended = self.check_retry(run, "timeout", [3])
        self.assertEqual(ended[0]["reason"], "timeout")
        began = run.events("attempt.started", index=SICK)[0]
        self.assert_took(self.gap(began, ended[0]), 0.5)
        self.assertEqual(rows[SICK]["meta"]["attempts"], 2)
        hung = began["worker"]
        killed = run.moves(worker=hung, to="terminating")
        self.assertEqual(len(killed), 1)
        self.assert_took(self.gap(ended[0], killed[0]), 0, slack_s=0.2)

    def test_a_row_that_always_times_out_fails_as_timeout(self):
        run, rows = self.settled("timeouts", 1, 5, [SICK])
        self.check_retry(run, "timeout", [3, 3], ends="timeout")
        self.assertEqual(rows[SICK]["meta"]["outcome"], "timeout")
        self.assertEqual(rows[SICK]["error"]["code"], "timeout")

    def test_a_temporary_failure_waits_a_second(self):
        run, rows = self.settled("temporary", 1, 2, [SICK])
        ended = self.check_retry(run, "failed", [1, 1, 2], ends="failed")
        self.assertIn("try again", ended[0]["message"])
        self.assertIn("try again", rows[SICK]["error"]["message"])

    def test_a_temporary_failure_is_tried_again_on_another_worker(self):
        run = self.runs["elsewhere"]
        run.wait_workers(2)
        run.feed({"n": 0}, {"n": 1})
        run = self.run_of("elsewhere", status=0)
        # Both have a row at first; the one that the faulty worker had is not given to it again.
        again = [e for e in run.events("attempt.started") if e["attempt"] > 1]
        self.assertEqual(len(again), 1)
        first, = [e for e in run.events("attempt.started", index=again[0]["index"]) if e["attempt"] == 1]
        self.assertNotEqual(first["worker"], again[0]["worker"])

    def test_a_worker_that_cannot_start_is_tried_after_1_2_4_8_s_and_then_the_breaker_opens(self):
        run = self.run_of("cannot-start", status=1)
        failed = run.moves(**{"from": "initializing", "to": "terminated"})
        self.assertEqual(len(failed), 5)
        for number, wait_s in enumerate((1, 2, 4, 8)):
            # Until the next one is started: how long that takes to fail is its own affair.
            self.assert_took(self.born(failed[number + 1]) - seconds(failed[number]["time"]), wait_s)
        opened = run.events("breaker.changed")
        self.assertEqual(len(opened), 1)
        self.assertEqual(opened[0]["to"], "open")
        self.assert_took(self.gap(failed[4], opened[0]), 0, slack_s=0.5)
        rows = self.check_order(run, 3)
        for row in rows:
            self.assertEqual(row["error"]["code"], "circuit_open")
            self.assertRegex(row["error"]["message"], r"\b(5\d|60)\.\d s")  # the time to the next try
            self.assertFalse(row["meta"]["attempts"])
        self.assertIn("bad_worker: cannot start", run.said())

    def test_a_program_that_does_not_exist_is_refused(self):
        run = self.run_of("no-program", status=2)
        self.assertRegex(run.said(), r"--worker: /nowhere/my_worker .*[Nn]o such file")
        self.assertEqual(run.results(), [])

    def test_a_program_that_cannot_be_run_is_named(self):
        run = self.run_of("no-interpreter")
        self.assertIn(run.status, (1, 2), run.said())
        told = run.said() + run.text("out") + "".join(e.get("detail", "") for e in run.moves())
        self.assertRegex(told, r"script\b.*[Nn]o such file")
        if run.status == 1:
            self.assertEqual([bool(row["error"]) for row in self.check_order(run, 3)], [True] * 3)

    def test_an_error_for_good_fails_the_row_and_the_worker_stays(self):
        run, rows = self.settled("final", 1, 1, [SICK])
        self.assertIn("no such colour", rows[SICK]["error"]["message"])
        self.assertEqual(rows[SICK]["meta"]["attempts"], 1)
        self.assertEqual(len(run.log("call")), 30)
        # After an error it is asked how it is.
        words = [line[1] for line in run.log("ping", "call")]
        self.assertGreaterEqual(words.count("ping"), 2)


# fault, what is said of it, and whether the row was answered all the same
LIES = [
    ("crash-mid-frame", r"after \d+ of the \d+ bytes", False),
    ("garbage", r'first bytes were "Traceback \(most recent call last\)', False),
    ("print", r'first bytes were "now working on it', False),
    ("print-after", r'first bytes were "that was it', True),
    ("garbage-json", r"not JSON", False),
    ("not-object", r"object", False),
    ("empty-frame", r"not JSON|empty", False),
    ("no-id", r'"id"', False),
    ("no-success", r'"success"', False),
    ("text-id", r'"id"', False),
    ("unknown-id", r"request 1\d{3}\b", False),
    ("answer-twice", r"answered already", True),
    ("claim-4g", r"4294967295|not a frame", False),
    ("claim-over", r"67108865", False),
]


class TestLies(FaultCase):
    """A worker that breaks the protocol at one row, once: it is named and replaced, and only that row is tried again."""

    @classmethod
    def prepare(cls):
        for fault, _, _ in LIES:
            cls.begin(fault, "-j", 2, worker=first_call(fault, FAULT), fed=40)
        cls.begin("half-frame-hang", "-j", 2, "--timeout", "500ms", worker=first_call("half-frame-hang", FAULT), fed=40)
        cls.begin("late", "-j", 2, "--timeout", "400ms", worker=first_call("late=0.8", FAULT), fed=40)
        cls.begin("banner", "-j", 1, worker=first_life("banner"), fed=40)

    def check_others(self, run, tries):
        rows = self.check_rows(run, 40)
        self.assertEqual(rows[SICK]["meta"]["attempts"], tries)
        others = sorted(row["meta"]["attempts"] for row in rows if row["index"] != SICK)
        # When it comes after an answer, the next row may be there already, and is lost with the worker.
        self.assertEqual(others[:-1] if tries == 1 else others, [1] * (38 if tries == 1 else 39))
        self.assertLessEqual(others[-1], 2)
        self.assertEqual(len(run.log("start")), 3, "not one worker was replaced")

    def why_replaced(self, run):
        """What the record says about the worker that had to go."""
        ends = [e for e in run.moves(to="terminating") if e["reason"] != CLOSED]
        self.assertEqual(len(ends), 1, run.moves(to="terminating"))
        return ends[0]

    def test_each(self):
        for fault, says, answered in LIES:
            with self.subTest(fault=fault):
                run = self.run_of(fault, status=0, rows=40, workers=3)
                self.check_others(run, 1 if answered else 2)
                end = self.why_replaced(run)
                if not answered:
                    first = run.ended(SICK)[0]
                    self.assertEqual(first["outcome"], "lost")
                    self.assertRegex(first["message"], says)
                    self.assertEqual(end["worker"], run.events("attempt.started", index=SICK)[0]["worker"])
                    self.assertEqual(run.events("task.retry_scheduled", index=SICK)[0]["wait_ms"], 0)
                # The record of the worker holds the beginning at least of what was wrong.
                self.assertTrue(end.get("reason"))
                told = end["reason"] + " " + end.get("detail", "")
                if answered:
                    self.assertRegex(told + run.said(), says)

    def test_no_memory_is_taken_for_a_length_that_is_only_claimed(self):
        claimed, plain = self.run_of("claim-4g").peak_bytes(), self.run_of("no-id").peak_bytes()
        self.assertLess(claimed, plain + 16 * MIB)

    def test_half_a_frame_and_silence_is_a_timeout(self):
        run = self.run_of("half-frame-hang", status=0, rows=40, workers=3)
        self.check_others(run, 2)
        self.assertEqual([e["outcome"] for e in run.ended(SICK)], ["timeout", "ok"])

    def test_an_answer_after_the_timeout_is_no_second_result(self):
        run = self.run_of("late", status=0, rows=40, workers=3)
        self.check_others(run, 2)
        self.assertEqual([e["outcome"] for e in run.ended(SICK)], ["timeout", "ok"])
        self.assertEqual(len(run.events("task.finished", index=SICK)), 1)
        self.assertEqual(len(run.events("task.delivered", index=SICK)), 1)

    def test_a_banner_at_the_start_is_shown_as_what_was_printed(self):
        run = self.run_of("banner", status=0)
        self.check_rows(run, 40)
        failed = run.moves(**{"from": "initializing", "to": "terminated"})
        self.assertEqual(len(failed), 1)
        self.assertIn("Loading model...", failed[0].get("detail", "") + failed[0]["reason"])


class TestLives(FaultCase):
    """Workers that will not end, leave children, shout, do not read, or eat."""

    @classmethod
    def prepare(cls):
        cls.begin("stubborn", "-j", 2, "--grace", "400ms",
                  worker=worker_of("ignore-term", "ignore-shutdown", "ignore-eof"), fed=30)
        cls.begin("terminable", "-j", 1, "--grace", "400ms", worker=worker_of("ignore-shutdown", "ignore-eof"), fed=30)
        cls.begin("polite", "-j", 2, worker=worker_of(), fed=30)
        cls.begin("forks", "-j", 2, worker=first_call("fork-and-exit", FAULT))
        cls.begin("leaves", "-j", 2, "--recycle-after", 5, worker=worker_of("leave-child"))
        cls.begin("shouts", "-j", 2, "--worker-log", "/dev/null", worker=worker_of("flood-stderr"), fed=3000, events=False)
        cls.begin("shouts-some", "-j", 1, "--worker-log", "{folder}/shouts", worker=worker_of("flood-stderr=100000"), rows=50)
        cls.begin("hangs-at-start", "-j", 1, "--init-timeout", "2s", worker=first_life("hang-at-start"), rows=30)
        cls.begin("eats", "-j", 2, "--recycle-memory", "64M", worker=worker_of(f"eat-memory={2 * MIB}", "work=0.02"),
                  rows=200)

        cls.begin("stopped", "-j", 2, "--timeout", "1s", worker=worker_of("work=0.01"))
        cls.begin("latin-1", "-j", 2, worker=first_call("latin-1", FAULT.replace("}", ",")),
                  rows=[{"n": i, "text": "Gr\u00fc\u00dfe"} for i in range(40)])

    def test_a_worker_that_is_frozen_is_killed_when_its_time_is_up(self):
        run = self.runs["stopped"]
        run.wait_workers(2)
        self.feed_rows(run, 10)
        run.wait_results(10)
        frozen = run.workers()[0]
        os.kill(frozen, signal.SIGSTOP)
        run.feed(*({"n": i} for i in range(10, 60)))
        wait_until(lambda: not is_running(frozen), 15, "the end of the frozen worker")
        run = self.run_of("stopped", status=0, rows=60, workers=3)
        self.check_rows(run, 60)
        self.assertEqual([e["outcome"] for e in run.events("attempt.ended") if e["outcome"] != "ok"], ["timeout"])

    def test_text_in_another_encoding_is_no_json(self):
        run = self.run_of("latin-1", status=0)
        rows = self.check_order(run, 40)
        self.assertEqual({row["output"]["text"] for row in rows}, {"Gr\u00fc\u00dfe"})
        first = run.ended(SICK)[0]
        self.assertEqual(first["outcome"], "lost")
        self.assertRegex(first["message"], r"not JSON: not UTF-8")

    def feed_rows(self, run, count):
        run.feed(*({"n": i} for i in range(count)))

    def test_a_worker_that_is_asked_ends_by_itself(self):
        run = self.run_of("polite", status=0, rows=30, workers=2)
        self.check_rows(run, 30)
        self.assertEqual(len(run.log("shutdown")), 2)
        self.assertEqual(run.log("term", "eof"), [])

    def test_a_worker_that_ignores_all_is_killed_after_each_grace(self):
        run = self.run_of("stubborn", status=0, rows=30, workers=2)
        self.check_rows(run, 30)
        self.assertEqual([len(run.log(word)) for word in ("shutdown", "term")], [2, 2])
        for pid in {line[0] for line in run.log()}:
            self.assertFalse(is_running(pid))
        for ending in run.moves(to="terminating"):
            gone = run.moves(worker=ending["worker"], to="terminated")[0]
            self.assert_took(self.gap(ending, gone), 0.8)

    def test_a_worker_that_heeds_the_signal_is_not_killed(self):
        run = self.run_of("terminable", status=0)
        self.check_rows(run, 30)
        ending, = run.moves(to="terminating")
        gone, = run.moves(to="terminated")
        self.assert_took(self.gap(ending, gone), 0.4)
        self.assertEqual(len(run.log("term")), 1)
        self.assertRegex(gone.get("detail", "") + gone["reason"], r"143|TERM|ended")

    def test_children_of_a_worker_that_exits_go_too(self):
        run = self.runs["forks"]
        self.feed_rows(run, 30)
        forked = wait_until(lambda: run.log("fork"), 20, "the fork")
        # While the run goes on, not only at its end.
        child = int(forked[0][2])
        wait_until(lambda: not is_running(child), 5, "the end of the child that holds the pipes")
        run = self.run_of("forks", status=0)
        self.check_rows(run, 30)
        self.assertEqual([e["outcome"] for e in run.ended(SICK)], ["lost", "ok"])

    def test_children_of_a_worker_that_is_replaced_go_too(self):
        run = self.runs["leaves"]
        self.feed_rows(run, 40)
        wait_until(lambda: len(run.log("fork")) >= 6, 20, "forks")
        gone = {line[0] for line in run.log("shutdown")}
        self.assertTrue(gone)
        children = [int(line[2]) for line in run.log("fork") if line[0] in gone]
        wait_until(lambda: not any(is_running(pid) for pid in children), 15, "the end of children that ignore SIGTERM")
        run = self.run_of("leaves", status=0)
        self.check_rows(run, 40)

    def test_standard_error_without_end_blocks_nobody(self):
        run = self.run_of("shouts", status=0, rows=3000)
        self.check_rows(run, 3000)
        self.assertLess(run.peak_bytes(), 200 * MIB if VARIANT else 60 * MIB)

    def test_all_of_standard_error_is_told_line_by_line(self):
        run = self.run_of("shouts-some", status=0)
        self.check_rows(run, 50)
        line = "the same line again and again, to fill whatever is behind it, as a library may do"
        lines = run.text("shouts").splitlines()
        wanted = -(-100000 // (len(line) + 1))
        self.assertEqual(len([text for text in lines if text.endswith(line)]), wanted)

    def test_a_worker_that_never_gets_ready_is_ended(self):
        run = self.run_of("hangs-at-start", status=0)
        self.check_rows(run, 30)
        failed = run.moves(**{"from": "initializing", "to": "terminated"})
        self.assertEqual(len(failed), 1)
        self.assertGreaterEqual(failed[0]["lasted_ms"], 1990)
        self.assertIn("first ping", failed[0]["reason"])

    def test_a_worker_that_eats_memory_is_replaced(self):
        run = self.run_of("eats", status=0)
        self.check_rows(run, 200)
        recycled = [e for e in run.moves(to="terminating") if "memory" in e["reason"]]
        # 200 rows eat 400 MiB, of which no worker may have more than 64, seen once a second.
        self.assertGreaterEqual(len(recycled), 1)
        self.assertEqual({row["meta"]["attempts"] for row in run.results()}, {1})


class TestNotReading(FaultCase):
    """A worker that does not read its request of 64 MiB delays nobody but itself."""

    @classmethod
    def prepare(cls):
        # The limit of a frame is 64 MiB, and a request has some words beside the row.
        big = {"n": 0, "big": "x" * (64 * MIB - 4096)}
        small = [{"n": i} for i in range(1, 3001)]
        cls.begin("unread", "-j", 2, "--timeout", "2s", "--max-line", "65M", "--retries", 0,
                  worker=worker_of("stop-at=1000000"), rows=[big, *small])
        cls.begin("read", "-j", 2, "--max-line", "65M", worker=worker_of(), rows=[*small[:20], big, *small[20:40]])

    def test_others_go_on(self):
        run = self.run_of("unread", status=1)
        rows = self.check_order(run, 3001)
        self.assertEqual([row["index"] for row in rows if row["error"]], [0])
        self.assertEqual(rows[0]["meta"]["outcome"], "timeout")
        for row in rows[1:]:
            self.assertEqual(row["output"], {"n": row["index"]})
        self.assertEqual(len(run.log("stop")), 1)
        begun, = run.events("attempt.started", index=0)
        ended, = run.ended(0)
        between = [e for e in run.events("task.finished") if self.gap(begun, e) >= 0 and self.gap(e, ended) > 0]
        # Two seconds, in which the other worker has every chance to answer all of them.
        self.assertGreater(len(between), 300 if VARIANT else 2000)

    def test_a_request_of_64_mib_is_answered(self):
        run = self.run_of("read", status=0)
        rows = self.check_order(run, 41)
        self.assertEqual(len(rows[20]["output"]["big"]), 64 * MIB - 4096)
        self.assertLess(run.peak_bytes(), (3000 if VARIANT else 600) * MIB)


class TestStopping(FaultCase):
    """Ctrl-C ends what waits at once, whatever it waits for; a second one ends what runs (P8)."""

    @classmethod
    def prepare(cls):
        cls.begin("cannot-start", "-j", 2, worker=worker_of("crash-at-start"), rows=20)
        cls.begin("slow-start", "-j", 2, worker=worker_of("slow-start=60"), rows=20)
        cls.begin("open", "-j", 1, "--retries", 0, worker=worker_of("retryable"), rows=20)
        cls.begin("backing-off", "-j", 2, "--retries", 5, worker=worker_of("retryable", "if=n"), rows=2)
        cls.begin("hangs", "-j", 2, "--grace", "300ms", "--progress", "plain", worker=worker_of("hang", "ignore-shutdown"),
                  rows=20)
        cls.begin("finishes", "-j", 2, "--progress", "plain", worker=worker_of("late=2"), rows=20)

    def stop(self, run, deadline_s=5):
        run.process.send_signal(signal.SIGINT)
        self.run_of(run.name, status=3, deadline_s=deadline_s)

    def test_while_workers_cannot_start(self):
        run = self.runs["cannot-start"]
        wait_until(lambda: len(run.log("start")) >= 2, 20, "starts")
        self.stop(run)

    def test_while_workers_start(self):
        run = self.runs["slow-start"]
        wait_until(lambda: len(run.log("start")) == 2, 20, "starts")
        self.stop(run)

    def test_while_the_breaker_is_open(self):
        run = self.runs["open"]
        run.wait_event("the opening", "breaker.changed", to="open")
        self.stop(run)
        self.assertEqual(len(self.check_order(run, 5)), 5)

    def test_while_rows_wait_for_their_next_try(self):
        run = self.runs["backing-off"]
        run.wait_event("a failure", "task.retry_scheduled")
        self.stop(run)

    def test_what_runs_is_let_finish(self):
        run = self.runs["finishes"]
        run.wait_event("a request", "attempt.started", index=1)
        self.stop(run, 10)
        rows = self.check_order(run, 2)
        self.assertEqual([row["error"] for row in rows], [None, None])
        self.assertEqual(run.log("term"), [])

    def test_a_second_one_ends_workers_that_hang(self):
        run = self.runs["hangs"]
        run.wait_event("a request", "attempt.started", index=1)
        run.process.send_signal(signal.SIGINT)
        wait_until(lambda: "top" in run.said(), 10, "the first word of stopping")
        self.assertIsNone(run.poll(), "it did not wait for what runs")
        self.stop(run)
        self.assertEqual(run.results(), [])


class TestEverythingAtOnce(FaultCase):
    """Workers that do whatever is wrong, by chance, and are killed besides; some rows have sessions."""

    def check_sessions(self, run, rows):
        """Attempts of a session's rows begin in their order, one after the other."""
        begun = {}
        for event in run.events("attempt.started"):
            name = rows[event["index"]]["s"]
            if name:
                begun.setdefault(name, []).append(event["index"])
        for name, indexes in begun.items():
            self.assertEqual(indexes, sorted(indexes), name)

    def chaos(self, name, seed, *options, words=(), kills):
        rng, count = random.Random(seed), 600 if VARIANT else 6000
        rows = [{"n": i, "s": f"s{rng.randrange(40)}" if rng.random() < 0.5 else None} for i in range(count)]
        run = self.begin(name, "-j", 3, "--overflow", 2, "--recycle-after", 150, "--session", ".s", "--breaker", "off",
                         "--retries", 20, "--timeout", "20s", "--max-dispatch-delay", "20ms", *options,
                         worker=worker_of(f"any={100 if VARIANT else 15}", *words), rows=rows)
        killed = set()
        while run.poll() is None and len(killed) < kills:
            found = [pid for pid in run.workers() if pid not in killed]
            if found:
                victim = rng.choice(found)
                if run.kill_worker(victim):
                    killed.add(victim)
            threading.Event().wait(rng.uniform(0, 0.2) * SLOWNESS)
        run = self.run_of(name, deadline_s=200)
        results = self.check_order(run, count)
        bad = [row for row in results if row["error"]]
        self.assertEqual(bad, [], f"seed {seed}")
        self.assertEqual([row["output"] for row in results], rows)
        self.check_sessions(run, rows)
        self.assertGreater(len([e for e in run.events("attempt.ended") if e["outcome"] == "lost"]), 3 if VARIANT else 20)

    def test_one_request_at_a_time(self):
        self.chaos("single", SEED, kills=30)

    def test_several_requests_at_a_time(self):
        self.chaos("several", SEED + 1, "--max-in-flight", 4, words=["max_in_flight=4"], kills=30)


if __name__ == "__main__":
    unittest.main()
