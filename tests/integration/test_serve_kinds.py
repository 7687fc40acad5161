"""What the pools of `weir serve` run, and what becomes of it: commands, workers, requests; batches, trying again, times, and
what is kept.

run-tests: waits
"""
import json
import os
import re
import resource
import signal
import sys
import threading
import time
import unittest

from runkit import Mock, Service
from servekit import ServeCase, UnixConnection
from weirtest import SLOWNESS, wait_until
from workerkit import bad_worker

DONE, FAILED, CANCELLED = "done", "failed", "cancelled"


def sh(line, **more):
    return {"payload": {"shell": line}, **more}


def seconds(text):
    """Of a time in RFC 3339."""
    day, _, clock = text.rstrip("Z").partition("T")
    h, m, s = clock.split(":")
    return time.mktime(time.strptime(day, "%Y-%m-%d")) + int(h) * 3600 + int(m) * 60 + float(s)


class KindsCase(ServeCase):
    def command(self, **pool):
        return self.daemon({"pools": [{"name": "sh", "kind": "command", "max_concurrency": 4, **pool}]})

    def ok(self, d, method, path, body=None):
        status, answer = d.api(method, path, body)
        self.assertEqual(status // 100, 2, answer)
        return answer

    def events(self, d, query):
        return d.get(f"/v1/events?limit=1000&{query}")["events"]

    def outputs(self, d, ids):
        return [d.wait_task(n, DONE).get("output") for n in ids]


class Commands(KindsCase):
    def test_a_wrapper_is_before_every_command(self):
        wrapper = self.write("wrap", f'#!/bin/sh\nprintf "%s|" "$@" >>{self.path("argv")}\necho >>{self.path("argv")}\n'
                                     '[ "$1" != --opt ] || shift 2\nexec "$@"\n')
        os.chmod(wrapper, 0o755)
        d = self.daemon({"default_pool": "w", "pools": [
            {"name": "w", "kind": "command", "wrapper": [wrapper, "--opt", "two words"]},
            {"name": "t", "kind": "command", "wrapper": [wrapper], "command": ["printf", "%s", "{x}"]}]})
        self.assertEqual(self.outputs(d, [d.submit({"payload": {"argv": ["echo", "a b"]}})]), ["a b\n"])
        self.assertEqual(self.outputs(d, [d.submit({"pool": "t", "payload": {"x": "1; 2"}})]), ["1; 2"])
        with open(self.path("argv"), encoding="utf-8") as f:
            self.assertEqual(f.read(), "--opt|two words|echo|a b|\nprintf|%s|1; 2|\n")

    def test_cwd_env_and_standard_input(self):
        os.mkdir(self.path("there"))
        d = self.daemon({"default_pool": "a", "pools": [
            {"name": "a", "kind": "command", "cwd": self.path("there"), "env": {"A": "b c"}},
            {"name": "in", "kind": "command", "command": ["cat"]},
            {"name": "line", "kind": "command", "command": "tr a-z A-Z", "shell": True}]})
        self.assertEqual(self.outputs(d, [d.submit(sh("pwd -P; echo $A"))]),
                         [os.path.realpath(self.path("there")) + "\nb c\n"])
        # What no word of the template takes is the standard input, byte by byte.
        self.assertEqual(self.outputs(d, [d.submit({"pool": "in", "payload": "aeb\nc"})]), ["aeb\nc"])
        self.assertEqual(self.outputs(d, [d.submit({"pool": "line", "payload": "aeb\nc"})]), ["AEB\nC"])
        raw = d.submit({"pool": "in", "payload_base64": "AP8K"})
        self.assertEqual(d.wait_task(raw, DONE)["output_base64"], "AP8K")

    def test_output_that_is_too_much_ends_it(self):
        d = self.command(output_max="64KiB", max_attempts=1, kill_after="1s")
        task = d.wait_task(d.submit({"payload": {"argv": ["yes"]}}))
        self.assertEqual((task["state"], task["attempts"]), (FAILED, 1), task)
        self.assertRegex(task["message"], "64|65536|output")

    def test_full_later_is_no_failure(self):
        flag = self.path("flag")
        d = self.command(max_attempts=1, capacity_exits=[75], max_dispatch_delay="100ms")
        task = d.submit(sh(f"test -e {flag} || {{ test -e {flag}1 && : >{flag}; : >{flag}1; exit 75; }}"))
        task = d.wait_task(task, (DONE, FAILED))
        self.assertEqual((task["state"], task["capacity_retries"], task["failures"]), (DONE, 2, 0), task)


class Again(KindsCase):
    def test_a_machine_that_is_full_uses_up_no_attempts(self):
        d = self.daemon({"max_global_concurrency": 60, "pools": [
            {"name": "sh", "kind": "command", "max_concurrency": 60, "max_attempts": 1}]})
        soft, hard = resource.prlimit(d.pid, resource.RLIMIT_NOFILE)
        self.assertEqual(soft, min(hard, 1 << 20), "it takes what it may have")
        self.addCleanup(lambda: d.process and resource.prlimit(d.pid, resource.RLIMIT_NOFILE, (soft, hard)))
        # For some of them at a time, and for the connections that ask.
        resource.prlimit(d.pid, resource.RLIMIT_NOFILE, (max(int(n) for n in os.listdir(f"/proc/{d.pid}/fd")) + 60, hard))
        ids = d.submit([sh("exec sleep 0.3") for _ in range(60)])
        tasks = [d.wait_task(n) for n in ids]
        self.assertEqual({(t["state"], t["failures"]) for t in tasks}, {(DONE, 0)})
        self.assertGreater(sum(t["capacity_retries"] for t in tasks), 0)
        refused = d.get("/v1/events?kind=runner.capacity&limit=1")["events"]
        self.assertIn("Too many open files", json.dumps(refused))

    def test_by_backoff_with_jitter(self):
        d = self.command(max_attempts=4, backoff={"initial": "100ms", "factor": 2, "ceiling": "300ms", "jitter": 0.5})
        ids = d.submit([sh("exit 1") for _ in range(6)])
        for n in ids:
            task = d.wait_task(n, FAILED)
            self.assertEqual((task["attempts"], task["failures"], task["status"]), (4, 4, 1))
        waits = {}
        for e in self.events(d, "kind=task.retry_scheduled"):
            waits.setdefault(e["attempt"], []).append(e["duration_s"])
        for attempt, most in ((1, 0.1), (2, 0.2), (3, 0.3)):
            self.assertEqual(len(waits[attempt]), 6)
            for wait in waits[attempt]:
                self.assertTrue(most * 0.5 <= wait <= most * 1.001, f"{wait} after attempt {attempt}")
            self.assertGreater(len({round(w, 6) for w in waits[attempt]}), 1, "jitter")
        # And they are kept.
        events = d.get(f"/v1/tasks/{ids[0]}/events")["events"]
        ended = {e["attempt"]: seconds(e["at"]) for e in events if e["kind"] == "runner.failed"}
        began = {e["attempt"]: seconds(e["at"]) for e in events if e["kind"] == "runner.started"}
        wait = {e["attempt"]: e["duration_s"] for e in events if e["kind"] == "task.retry_scheduled"}
        for n in (1, 2, 3):
            self.assertGreaterEqual(began[n + 1] - ended[n], wait[n] - 0.002)

    def test_a_task_may_say_its_own(self):
        d = self.command(max_attempts=5, backoff={"initial": "1h", "ceiling": "1h"})
        task = d.wait_task(d.submit(sh("exit 9", max_attempts=2, backoff={"initial": "10ms", "ceiling": "20ms"})))
        self.assertEqual((task["state"], task["attempts"], task["max_attempts"]), (FAILED, 2, 2), task)
        waits = d.submit(sh("exit 9"))
        wait_until(lambda: d.task(waits)["state"] == "scheduled", 20, "its wait")
        # Waiting, it may be cancelled, or sent at once.
        self.ok(d, "PATCH", f"/v1/tasks/{waits}", {"not_before": "+0s"})
        wait_until(lambda: d.task(waits)["attempts"] == 2 and d.task(waits)["state"] == "scheduled", 20, "another try")
        self.ok(d, "POST", f"/v1/tasks/{waits}/cancel")
        self.assertEqual(d.task(waits)["state"], CANCELLED)

    def test_by_hand(self):
        flag = self.path("flag")
        d = self.command(max_attempts=2, backoff={"initial": "1ms", "ceiling": "1ms"})
        task = d.submit(sh(f"test -e {flag}"))
        self.assertEqual(d.wait_task(task)["attempts"], 2)
        open(flag, "w", encoding="utf-8").close()
        self.ok(d, "POST", f"/v1/tasks/{task}/retry")
        again = d.wait_task(task, DONE)
        self.assertEqual((again["attempts"], again["outcome"]), (3, "ok"))
        self.assertEqual(d.api("POST", f"/v1/tasks/{task}/retry")[0], 409)

    def test_the_same_key_is_the_same_task(self):
        d = self.command()
        first = self.ok(d, "POST", "/v1/tasks", sh("echo once", idempotency_key="k"))
        again = self.ok(d, "POST", "/v1/tasks", sh("echo twice", idempotency_key="k"))
        self.assertEqual((first["existing"], again["existing"], again["id"]), (False, True, first["id"]))
        self.assertEqual(d.wait_task(first["id"], DONE)["output"], "once\n")
        d.restart()
        self.assertEqual(self.ok(d, "POST", "/v1/tasks", sh("x", idempotency_key="k")),
                         {"id": first["id"], "existing": True})
        self.assertEqual(d.get("/v1/status")["tasks"]["done"], 1)


class Times(KindsCase):
    def test_not_before_and_deadlines(self):
        d = self.command()
        later = d.submit(sh("true", not_before="+500ms"))
        self.assertEqual((d.task(later)["state"], d.task(later)["waits_for"]["why"]), ("scheduled", "time"))
        task = d.wait_task(later, DONE)
        self.assertGreaterEqual(seconds(task["started_at"]), seconds(task["not_before"]))
        # One that waits, one that runs, one that waits for another try.
        self.ok(d, "POST", "/v1/pools/sh/disable")
        waits = d.submit(sh("true", deadline="+300ms"))
        late = d.wait_task(waits)
        self.assertEqual((late["state"], late["reason"], late["attempts"]), (FAILED, "deadline", 0), late)
        self.ok(d, "POST", "/v1/pools/sh/enable")
        runs = d.wait_task(d.submit(sh("exec sleep 1000", deadline="+300ms")))
        self.assertEqual((runs["state"], runs["reason"], runs["attempts"]), (FAILED, "deadline", 1), runs)
        again = d.wait_task(d.submit(sh("exit 1", deadline="+300ms", max_attempts=9,
                                        backoff={"initial": "1h", "ceiling": "1h"})))
        self.assertEqual((again["state"], again["attempts"]), (FAILED, 1), again)
        self.assertLess(seconds(again["ended_at"]) - seconds(again["submitted_at"]), 20 * SLOWNESS)

    def test_they_pass_while_nothing_runs(self):
        d = self.command()
        later = d.submit(sh("true", not_before="+200ms"))
        late = d.submit(sh("true", not_before="+1h", deadline="+200ms"))
        d.kill9()
        d.start()
        self.assertEqual(d.wait_task(later)["state"], DONE)
        self.assertEqual(d.wait_task(late)["reason"], "deadline")

    def test_what_is_old_goes(self):
        d = self.daemon({"pools": [{"name": "sh", "kind": "command", "max_attempts": 1}],
                         "retention": {"done": "1s", "failed": "1h", "events": "1s"}})
        done, failed = d.submit([sh("true"), sh("false")])
        d.wait_task(failed, FAILED)
        done_at = seconds(d.wait_task(done, DONE)["ended_at"])
        seen = self.events(d, "")[-1]["seq"]

        def is_old():
            # What is old is looked for at a start, and each minute.
            probe = d.submit(sh("true"))
            return seconds(d.wait_task(probe, DONE)["ended_at"]) > done_at + 1.1
        wait_until(is_old, 20, "it to be old")
        d.restart()
        wait_until(lambda: d.api("GET", f"/v1/tasks/{done}")[0] == 404, 20, "the done one to go")
        self.assertEqual(d.task(failed)["state"], FAILED)
        wait_until(lambda: self.events(d, "")[0]["seq"] > 1, 20, "old events to go")
        self.assertGreater(self.events(d, "")[-1]["seq"], seen)


class Batches(KindsCase):
    def follow(self, d, batch, lines, seen):
        connection = UnixConnection(d.socket, 60 * SLOWNESS)
        try:
            connection.request("GET", f"/v1/batches/{batch}/results?follow=true")
            answer = connection.getresponse()
            for line in answer:
                lines.append(json.loads(line))
                seen.set()
        finally:
            connection.close()

    def test_results_come_in_order_while_it_runs(self):
        d = self.command(max_concurrency=8, max_attempts=1)
        for name in ("first", "last"):
            os.mkfifo(self.path(name))
        tasks = [sh(f"read x <{self.path('first')}; echo 0")] + [sh(f"echo {n}; exit {n == 3:d}") for n in range(1, 20)]
        tasks.append(sh(f"read x <{self.path('last')}; echo 20"))
        batch = self.ok(d, "POST", "/v1/batches", {"name": "b", "tasks": tasks})["id"]
        lines, seen = [], threading.Event()
        reader = threading.Thread(target=self.follow, args=(d, batch, lines, seen))
        reader.start()
        self.addCleanup(reader.join)
        wait_until(lambda: d.get(f"/v1/batches/{batch}")["tasks"]["done"] == 18, 20, "those between to be done")
        self.assertEqual(lines, [], "the first has not ended")
        with open(self.path("first"), "w", encoding="utf-8") as f:
            f.write("\n")
        wait_until(lambda: len(lines) == 20, 20, "all up to the last")
        self.assertTrue(reader.is_alive())
        self.assertFalse(d.get(f"/v1/batches/{batch}")["finished"])
        with open(self.path("last"), "w", encoding="utf-8") as f:
            f.write("\n")
        reader.join(30 * SLOWNESS)
        self.assertFalse(reader.is_alive())
        self.assertEqual([(r["place"], r["output"].strip() if isinstance(r["output"], str) else str(r["output"]).strip(),
                           r["state"]) for r in lines],
                         [(n, str(n), FAILED if n == 3 else DONE) for n in range(21)])
        status = d.get(f"/v1/batches/{batch}")
        self.assertEqual((status["finished"], status["total"], status["tasks"]["done"], status["tasks"]["failed"]),
                         (True, 21, 20, 1))
        rest = d.api("GET", f"/v1/batches/{batch}/results?from=18")[1]
        self.assertEqual([json.loads(r)["place"] for r in rest.splitlines()], [18, 19, 20])

    def test_open_ended_cancelled_and_tried_again(self):
        flag = self.path("flag")
        d = self.command(max_attempts=1, max_concurrency=2)
        batch = self.ok(d, "POST", "/v1/batches?open=true", {"name": "o", "tasks": [sh("true")]})["id"]
        more = "".join(json.dumps(sh(f"test -e {flag}")) + "\n" for _ in range(3))
        status, answer = d.api("POST", f"/v1/batches/{batch}/tasks", more, content_type="application/x-ndjson")
        self.assertEqual((status, answer["accepted"]), (201, 3), answer)
        wait_until(lambda: d.get(f"/v1/batches/{batch}")["tasks"]["failed"] == 3, 20, "three to fail")
        self.assertFalse(d.get(f"/v1/batches/{batch}")["finished"])
        self.ok(d, "POST", f"/v1/batches/{batch}/end")
        self.assertTrue(d.get(f"/v1/batches/{batch}")["finished"])
        self.assertEqual(d.api("POST", f"/v1/batches/{batch}/tasks", sh("true"))[0], 409)
        open(flag, "w", encoding="utf-8").close()
        self.ok(d, "POST", f"/v1/batches/{batch}/retry")
        wait_until(lambda: d.get(f"/v1/batches/{batch}")["tasks"]["done"] == 4, 20, "all to be done")
        # Of another one two run, and the rest waits: all of it is cancelled.
        batch = self.ok(d, "POST", "/v1/batches", {"tasks": [sh("exec sleep 1000") for _ in range(30)]})["id"]
        wait_until(lambda: d.get(f"/v1/batches/{batch}")["tasks"]["running"] == 2, 20, "two to run")
        self.ok(d, "POST", f"/v1/batches/{batch}/cancel")
        wait_until(lambda: d.get(f"/v1/batches/{batch}")["tasks"]["cancelled"] == 30, 20, "all to be cancelled")
        self.assertEqual(d.get("/v1/status")["running"], 0)
        ended = self.events(d, "kind=batch.ended")
        self.assertEqual([(e["detail"]["done"], e["detail"]["failed"], e["detail"]["cancelled"]) for e in ended],
                         [(1, 3, 0), (4, 0, 0), (0, 0, 30)])


class Workers(KindsCase):
    def workers(self, *faults, **pool):
        return self.daemon({"max_global_concurrency": 50, "pools": [
            {"name": "w", "kind": "process", "process": bad_worker(*faults), "max_concurrency": 2, "shutdown_grace": "0s",
             "term_grace": "0s", "restart": {"initial": "10ms", "ceiling": "20ms"}, **pool}]})

    def test_answers_and_failures(self):
        d = self.workers("fail=no luck", "if=sad", max_attempts=2, backoff={"initial": "1ms", "ceiling": "1ms"})
        good, bad = d.submit([{"payload": {"x": [1, None, "ä"]}}, {"payload": {"x": "sad"}}])
        self.assertEqual(d.wait_task(good, DONE)["output"], {"x": [1, None, "ä"]})
        bad = d.wait_task(bad)
        self.assertEqual(bad["state"], FAILED)
        self.assertIn("no luck", bad["message"])
        self.assertIn("w", [p["name"] for p in d.get("/v1/pools")])

    def test_a_worker_that_dies_takes_its_attempt_and_no_task(self):
        d = self.workers("crash", f"once={self.path('once')}", max_attempts=3,
                         backoff={"initial": "1ms", "ceiling": "1ms"})
        ids = d.submit([{"payload": n} for n in range(10)])
        self.assertEqual(self.outputs(d, ids), list(range(10)))
        attempts = d.get("/v1/pools/w")["attempts"]
        self.assertGreaterEqual(attempts["lost"], 1)
        self.assertEqual(attempts["ok"], 10)
        kinds = {e["kind"] for e in self.events(d, "pool=w")}
        self.assertIn("runner.lost", kinds)
        # Each says how long the state before lasted.
        moves = self.events(d, "pool=w&kind=worker.transition")
        self.assertIn(("busy", "terminating"), [(e["detail"]["from"], e["detail"]["to"]) for e in moves])
        began = {}
        for e in sorted(moves, key=lambda e: e["seq"]):
            at, lasted = seconds(e["at"]), e.get("duration_s", 0)
            self.assertTrue(lasted > 0 or e["detail"]["from"] != "initializing", e)
            self.assertAlmostEqual(at - lasted, began.get(e["worker"], at - lasted), delta=0.01)
            began[e["worker"]] = at

    def log_has(self, d, pattern):
        try:
            return wait_until(lambda: re.search(pattern, d.log(), re.M), 30, "the log to have it")
        except AssertionError as fault:
            raise AssertionError(f"{fault}: {pattern}\n{d.log()}") from None

    def test_what_a_worker_writes_is_in_the_log(self):
        d = self.workers(max_concurrency=1, process=[
            "sh", "-c", r'printf "loads \033[2Jthe model\nand no end" >&2; exec "$@"', "sh", *bad_worker("crash", "if=die")])
        self.log_has(d, r"Z info: pool w, worker 1: loads \?\[2Jthe model$")
        d.wait_task(d.submit({"payload": "die", "max_attempts": 1}))
        self.log_has(d, r"Z info: pool w, worker 1: and no end$")
        self.log_has(d, r"Z info: pool w, worker 2: loads ")

    def test_why_a_worker_does_not_start_is_in_the_log_and_in_its_event(self):
        module = "of_" + "a_long_name_" * 10
        d = self.workers(max_concurrency=1, restart={"initial": "1h", "ceiling": "1h"},
                         process=[sys.executable, "-S", "-E", "-c", f"import {module}"])
        words = f"exited with status 1; its last words: ModuleNotFoundError: No module named '{module}'"
        self.log_has(d, r"Z info: pool w, worker 1: Traceback \(most recent call last\):$")
        self.log_has(d, f"Z warning: pool w, worker 1 has not started: its process has ended: {re.escape(words)}$")
        event = wait_until(lambda: self.events(d, "pool=w&kind=worker.transition"), 20, "the event")[0]
        self.assertEqual((event["detail"]["from"], event["detail"]["detail"]), ("initializing", words))

    def test_a_log_that_nobody_reads_holds_up_no_task(self):
        log = self.path("log")
        os.mkfifo(log)
        reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        chatty = ["sh", "-c", 'yes "the same line again and again" | head -c 4000000 >&2; exec "$@"', "sh", *bad_worker()]
        d = self.daemon({"log": {"file": log},
                         "pools": [{"name": "w", "kind": "process", "process": chatty, "max_concurrency": 1}]})
        ids = d.submit([{"payload": n} for n in range(100)])
        self.assertEqual(self.outputs(d, ids), list(range(100)))
        text = b""

        def read():
            nonlocal text
            try:
                text += os.read(reader, 1 << 20)
            except BlockingIOError:
                pass
            return b"lines of workers that were left out here: " in text
        wait_until(read, 60, "the log to say what is missing")
        self.assertIn(b" is ready: 1 pools", text)

    def test_what_kills_workers_is_put_aside(self):
        d = self.workers("crash", "if=poison", max_attempts=10, backoff={"initial": "1ms", "ceiling": "1ms"},
                         breaker={"mode": "off"})
        task = d.wait_task(d.submit({"payload": {"x": "poison"}}))
        self.assertEqual((task["state"], task["deaths"]), (FAILED, 3), task)
        self.assertEqual(len(self.events(d, "kind=task.quarantined")), 1)

    def test_a_worker_that_is_not_well_is_replaced(self):
        d = self.workers("pings=1", max_concurrency=1, ping_every="100ms", ping_deadline="100ms", ping_recheck="50ms",
                         ping_failures=2)
        first = wait_until(lambda: d.get("/v1/pools/w/workers")[0].get("pid"), 20, "a worker")
        wait_until(lambda: first not in [w.get("pid") for w in d.get("/v1/pools/w/workers")], 20, "another worker")
        self.assertEqual(self.outputs(d, [d.submit({"payload": 1})]), [1])

    def test_the_breaker_opens_and_is_closed_by_hand(self):
        d = self.workers("retryable", "times=3", max_concurrency=1, max_attempts=1,
                         breaker={"mode": "on", "failures": 3, "open": "1h", "trials": 1, "successes": 1})
        bad = d.submit([{"payload": n} for n in range(3)])
        for n in bad:
            self.assertEqual(d.wait_task(n)["state"], FAILED)
        wait_until(lambda: d.get("/v1/pools/w")["breaker"]["state"] == "open", 20, "the breaker to open")
        waits = d.submit({"payload": 7})
        self.assertEqual((d.task(waits)["state"], d.task(waits)["waits_for"]["why"]), ("ready", "pool_closed"))
        self.ok(d, "POST", "/v1/pools/w/breaker/reset")
        self.assertEqual(d.wait_task(waits, DONE)["output"], 7)
        self.assertEqual(d.get("/v1/pools/w")["breaker"]["state"], "closed")
        self.assertEqual([e["kind"] for e in self.events(d, "kind=breaker.opened,breaker.closed")],
                         ["breaker.opened", "breaker.closed"])

    def test_the_breaker_tries_again_by_itself(self):
        d = self.workers("retryable", "times=2", max_concurrency=1, max_attempts=9,
                         backoff={"initial": "1ms", "ceiling": "1ms"},
                         breaker={"mode": "on", "failures": 2, "open": "300ms", "trials": 1, "successes": 1})
        ids = d.submit([{"payload": n} for n in range(5)])
        self.assertEqual(self.outputs(d, ids), list(range(5)))
        opened, closed = self.events(d, "kind=breaker.opened,breaker.closed")
        self.assertEqual((opened["kind"], closed["kind"]), ("breaker.opened", "breaker.closed"))
        self.assertGreaterEqual(seconds(closed["at"]) - seconds(opened["at"]), 0.29)
        pool = d.get("/v1/pools/w")
        self.assertEqual((pool["attempts"]["failed"], pool["attempts"]["ok"]), (2, 5))

    def pair(self, w, f="about", lazy=False, **pool):
        return self.daemon({"max_global_concurrency": 50, "default_pool": "w", "pools": [
            {"name": "w", "kind": "process", "process": bad_worker(*w), "fallback": "f", **pool},
            {"name": "f", "kind": "process", "process": bad_worker(f), "lazy": lazy}]})

    BREAKER = {"mode": "on", "failures": 2, "open": "1h", "trials": 1, "successes": 1}

    def test_a_fallback_takes_what_comes_while_the_breaker_is_open(self):
        d = self.pair(["retryable"], breaker=self.BREAKER)
        ids = d.submit([{"payload": n} for n in range(5)])
        for n in ids:
            self.assertEqual(d.wait_task(n)["state"], DONE)
        pools = {p["name"]: p for p in d.get("/v1/pools")}
        self.assertEqual((pools["f"]["attempts"]["ok"], pools["w"]["attempts"]["failed"]), (5, 2))
        self.assertEqual(pools["w"]["breaker"]["state"], "open")
        self.assertEqual(d.task(ids[4])["ran_in"], "f")
        # It is as disabled as any: then they wait.
        self.ok(d, "POST", "/v1/pools/f/disable")
        waits = d.submit({"payload": 1})
        wait_until(lambda: d.task(waits).get("waits_for", {}).get("why") == "pool_closed", 20, "it to wait")
        self.ok(d, "POST", "/v1/pools/f/enable")
        self.assertEqual(d.wait_task(waits, DONE)["ran_in"], "f")

    def test_workers_of_a_fallback_start_for_what_comes_from_another_pool(self):
        for faults, more in ((["retryable"], {"breaker": self.BREAKER}), (["fail=no"], {"breaker": {"mode": "off"}})):
            with self.subTest(faults=faults):
                d = self.pair(faults, lazy=True, **more)
                self.assertEqual(d.get("/v1/pools/f")["workers"]["total"], 0)
                for n in d.submit([{"payload": n} for n in range(3)]):
                    self.assertEqual(d.wait_task(n, DONE)["ran_in"], "f")

    def test_a_fallback_has_one_try_at_what_has_failed_for_good(self):
        d = self.pair(["fail=no"], breaker={"mode": "off"})
        ids = d.submit([{"payload": n} for n in range(3)])
        for n in ids:
            task = d.wait_task(n)
            self.assertEqual((task["state"], task["attempts"], task["ran_in"]), (DONE, 2, "f"), task)
        d = self.pair(["fail=no"], "fail=neither", breaker={"mode": "off"})
        task = d.wait_task(d.submit({"payload": 1}))
        self.assertEqual((task["state"], task["attempts"], task["ran_in"]), (FAILED, 2, "f"), task)
        self.assertIn("neither", task["message"])

    def test_one_that_can_only_go_to_a_fallback_holds_up_none_of_its_pool(self):
        d = self.pair(["fail=no", "if=sick"], breaker={"mode": "off"})
        hangs = d.submit({"pool": "f", "session": "s", "payload": 0})
        d.wait_task(hangs, DONE)
        self.ok(d, "PATCH", "/v1/pools/f", {"cpu": 1})
        # f has no room for what needs two cores.
        bad = d.submit({"payload": "{}", "resources": {"cpu": 2}, "priority": 9})
        self.assertEqual(d.wait_task(bad)["state"], DONE)
        bad = d.submit({"payload": {"x": "sick"}, "resources": {"cpu": 2}, "priority": 9})
        wait_until(lambda: d.task(bad)["attempts"] == 1 and d.task(bad)["state"] == "ready", 20, "its first attempt to fail")
        good = d.submit([{"payload": n} for n in range(20)])
        self.assertEqual(self.outputs(d, good), list(range(20)))
        self.assertEqual(d.task(bad)["state"], "ready")
        self.ok(d, "PATCH", "/v1/pools/f", {"cpu": 2})
        self.assertEqual(d.wait_task(bad)["ran_in"], "f")

    def test_a_task_waits_for_its_sessions_worker_only_so_long(self):
        d = self.workers("hang", "if=slow", checkout_timeout="200ms", breaker={"mode": "off"})
        wait_until(lambda: d.get("/v1/pools/w")["workers"]["idle"] == 2, 30, "both workers")
        for name in "ab":
            d.wait_task(d.submit({"payload": name, "session": name}), DONE)
        slow = d.submit({"payload": "slow", "session": "c"})
        worker = wait_until(lambda: [r["worker"] for r in d.get("/v1/runners") if r["task"] == slow], 30, "the slow one")[0]
        # Those of the one of the two whose worker is busy, though the other worker is idle.
        ids = d.submit([{"payload": n, "session": name} for name in "ab" for n in range(2)])
        tasks = [d.wait_task(n) for n in ids]
        kept = [t for t in tasks if t["state"] == FAILED]
        self.assertEqual([t["session"] for t in kept], [kept[0]["session"]] * 2, tasks)
        for task in kept:
            self.assertEqual((task["outcome"], task["reason"], task["attempts"]), ("timeout", "checkout_timeout", 0), task)
            self.assertRegex(task["message"], rf'^worker {worker} \(pid \d+\), which holds the session "{task["session"]}", '
                                              rf'was not free within 0.2 s: it is busy with task {slow}$')
            self.assertEqual([e["kind"] for e in self.events(d, f"task={task['id']}")], ["task.submitted", "task.ready", "task.failed"])
        self.assertEqual([t["state"] for t in tasks if t not in kept], [DONE] * 2)
        self.ok(d, "POST", f"/v1/tasks/{slow}/cancel")

    def test_a_breaker_that_fails_what_comes(self):
        d = self.workers("retryable", max_concurrency=1, max_attempts=1, breaker={**self.BREAKER, "mode": "fail"})
        ids = d.submit([{"payload": n} for n in range(6)])
        tasks = [d.wait_task(n) for n in ids]
        self.assertEqual([t["state"] for t in tasks], [FAILED] * 6)
        reasons = [t["reason"] for t in tasks]
        self.assertEqual((reasons.count("worker_error"), reasons.count("circuit_open")), (2, 4), tasks)
        untried = [t for t in tasks if t["reason"] == "circuit_open"]
        for task in untried:
            self.assertRegex(task["message"], r'^the breaker of pool "w" is open \(.+\); it lets attempts through again in [0-9.]+ s$')
            # Nothing was started, and nothing says that it was.
            self.assertEqual((task["attempts"], task.get("started_at")), (0, None), task)
            self.assertEqual([e["kind"] for e in self.events(d, f"task={task['id']}")], ["task.submitted", "task.ready", "task.failed"])
        self.assertEqual(d.get("/v1/pools/w")["attempts"]["failed"], 2)
        self.assertRegex(d.request("GET", "/metrics")[2].decode(), r"(?m)^weir_attempts_started_total 2(\.0)?$")


class WorkersAgain(KindsCase):
    """How often and when tasks of workers are tried again: as is said, and else by what failed."""
    POOLS = ("hang", "garbage", "crash", "retryable", "fail")
    SAID = {"max_attempts": 5, "backoff": {"initial": "7s", "factor": 1, "ceiling": "7s", "jitter": 0}}

    def config(self, **said):
        return {"max_global_concurrency": 50, "quarantine": {"deaths": 0}, "pools": [
            {"name": fault, "kind": "process", "process": bad_worker(fault), "timeout": "200ms" if fault == "hang" else "60s",
             "shutdown_grace": "0s", "term_grace": "0s", "restart": {"initial": "10ms", "ceiling": "20ms"},
             "breaker": {"mode": "off"}, **said}
            for fault in self.POOLS]}

    def waits(self, d, task):
        """In whole seconds: what is told is what is left of them when it is written."""
        return [round(e.get("duration_s", 0)) for e in d.get(f"/v1/tasks/{task}/events?limit=1000")["events"]
                if e["kind"] == "task.retry_scheduled"]

    def tried(self, d, pool, **more):
        """How often a task there is tried, and its waits, of which none is sat out."""
        task = d.submit({"pool": pool, "payload": 1, **more})

        def hasten():
            found = d.task(task)
            if found["state"] == "scheduled":
                d.api("PATCH", f"/v1/tasks/{task}", {"not_before": "+0s"})
            return found["state"] == FAILED and found
        found = wait_until(hasten, 60, f"the task of {pool} to fail")
        return found["attempts"], self.waits(d, task)

    def test_as_the_pool_says(self):
        d = self.daemon(self.config(**self.SAID))
        for pool in ("hang", "garbage", "crash", "retryable"):
            with self.subTest(pool=pool):
                self.assertEqual(self.tried(d, pool), (5, [7] * 4))
        # More of the same does not help.
        self.assertEqual(self.tried(d, "fail"), (1, []))

    def test_as_the_task_says(self):
        for config in (self.config(), self.config(**self.SAID)):
            d = self.daemon(config)
            for pool in ("hang", "garbage", "crash", "retryable"):
                with self.subTest(pool=pool, said="max_attempts" in config["pools"][0]):
                    attempts, waits = self.tried(d, pool, max_attempts=7, backoff={"initial": "1h", "ceiling": "1h"})
                    self.assertEqual((attempts, len(waits)), (7, 6))
                    self.assertTrue(all(1799 <= wait <= 3600 for wait in waits), waits)
                    if config["pools"][0].get("backoff"):
                        self.assertEqual(set(waits), {3600})
                    else:
                        self.assertGreater(len(set(waits)), 1, "jitter")
            self.assertEqual(self.tried(d, "fail", max_attempts=7)[0], 1)
            self.assertEqual(self.tried(d, "hang", max_attempts=1)[0], 1)

    def test_by_what_failed_where_nobody_says_it(self):
        table = {"hang": (3, [3, 3]), "garbage": (4, [0, 1, 2]), "crash": (6, [0, 1, 2, 4, 8]), "retryable": (4, [1, 1, 2]),
                 "fail": (1, [])}
        d = self.daemon(self.config())
        for pool, expected in table.items():
            with self.subTest(pool=pool):
                self.assertEqual(self.tried(d, pool), expected)
        self.assertNotIn("max_attempts", d.get("/v1/config")["config"])
        # Of one that says only how often, the waits are still the table's; and the other way round.
        self.assertEqual(self.tried(d, "retryable", max_attempts=6), (6, [1, 1, 2, 4, 8]))
        attempts, waits = self.tried(d, "hang", backoff={"initial": "20s", "factor": 1})
        self.assertEqual(attempts, 3)
        self.assertTrue(all(9 <= wait <= 20 for wait in waits), waits)

    def test_a_reload_changes_it_and_keeps_the_workers(self):
        d = self.daemon(self.config())
        pid = wait_until(lambda: d.get("/v1/pools/fail/workers")[0].get("pid"), 20, "a worker")
        for said, attempts, waits in ((self.SAID, 5, [7] * 4),
                                      ({"max_attempts": 2}, 2, [1]),
                                      ({"backoff": self.SAID["backoff"]}, 4, [7] * 3),
                                      ({}, 4, [1, 1, 2])):
            with self.subTest(said=said):
                d.configure(self.config(**said))
                changed = self.ok(d, "POST", "/v1/config/reload", {})["changed"]
                self.assertEqual({line.rpartition(": ")[2] for line in changed}, {"changed while it runs"})
                self.assertEqual(self.tried(d, "retryable"), (attempts, waits))
        # And so do the defaults of all pools.
        d.configure({**self.config(), "defaults": self.SAID})
        self.ok(d, "POST", "/v1/config/reload", {})
        self.assertEqual(self.tried(d, "retryable"), (5, [7] * 4))
        self.assertEqual(d.get("/v1/pools/fail/workers")[0]["pid"], pid)


class Requests(KindsCase):
    def http(self, service, **pool):
        return self.daemon({"max_global_concurrency": 64, "pools": [
            {"name": "h", "kind": "http", "url": f"http://127.0.0.1:{service.port}/v1/work", "max_concurrency": 32, "max_attempts": 1, **pool}]})

    def test_refusals_are_no_failures_and_the_rate_follows(self):
        mock = Mock(self.dir, ["--rate", "60", "--latency", "5ms"])
        self.addCleanup(mock.stop)
        d = self.http(mock)
        count = 240
        d.submit([{"payload": {"n": n}} for n in range(count)])
        wait_until(lambda: d.get("/v1/status")["tasks"].get("done", 0) == count, 60, "all to be done")
        pool = d.get("/v1/pools/h")
        self.assertEqual((pool["attempts"]["ok"], pool["attempts"]["failed"]), (count, 0))
        stats = mock.stats()
        refused = pool["attempts"]["capacity"]
        self.assertGreater(refused, 0)
        # Sixty a second are let through; it is found, not run against.
        self.assertLess(refused, count / 4, stats)
        self.assertEqual(pool["throttle"]["kind"], "adaptive")
        self.assertTrue(20 <= pool["throttle"]["rate_per_s"] <= 120, pool["throttle"])
        retries = sum(t["capacity_retries"] for t in d.get("/v1/tasks?limit=1000")["tasks"])
        self.assertEqual(retries, refused)
        self.assertEqual(len(self.events(d, "kind=runner.capacity")), refused)

    def test_retry_after_is_obeyed(self):
        seen, lock = [], threading.Lock()

        def reply(call):
            with lock:
                seen.append(time.monotonic())
                first = len(seen) == 1
            return (429, {"Retry-After": "1"}, "full") if first else (200, {}, "{}")
        service = Service(reply)
        self.addCleanup(service.stop)
        d = self.http(service, max_concurrency=1)
        ids = d.submit([{"payload": n} for n in range(3)])
        wait_until(lambda: seen, 20, "the first")
        wait_until(lambda: d.get("/v1/pools/h").get("held_s", 0) > 0 or len(seen) > 1, 20, "the pool to be held")
        self.assertEqual(self.outputs(d, ids), [{}] * 3)
        self.assertGreaterEqual(seen[1] - seen[0], 0.95)
        self.assertEqual(sum(d.task(n)["capacity_retries"] for n in ids), 1)

    def test_a_task_has_one_key_for_all_its_attempts(self):
        keys, lock = [], threading.Lock()

        def reply(call):
            with lock:
                keys.append(call.headers.get("Idempotency-Key"))
                return (500, {}, "") if len(keys) < 3 else (200, {}, '{"ok": true}')
        service = Service(reply)
        self.addCleanup(service.stop)
        d = self.http(service, max_attempts=3, backoff={"initial": "1ms", "ceiling": "1ms"})
        task = d.wait_task(d.submit({"payload": {"a": 1}}))
        self.assertEqual((task["state"], task["attempts"], task["output"]), (DONE, 3, {"ok": True}), task)
        self.assertEqual(len(keys), 3)
        self.assertTrue(keys[0])
        self.assertEqual(len(set(keys)), 1, keys)

    def test_a_status_that_is_final(self):
        service = Service(lambda call: (404, {}, "no"))
        self.addCleanup(service.stop)
        d = self.http(service, max_attempts=5)
        task = d.wait_task(d.submit({"payload": {"a": 1}}))
        self.assertEqual((task["state"], task["attempts"], task["status"]), (FAILED, 1, 404), task)


class Kept(KindsCase):
    def test_history_at_ten_seconds(self):
        d = self.command(max_concurrency=2, max_attempts=1)
        start = time.time()
        d.submit([sh("exec sleep 1000"), sh("true"), sh("false")])
        history = wait_until(lambda: [s for s in d.get("/v1/history?pool=sh") if s["started"] > 0], 30, "a sample")[0]
        self.assertTrue(0 < history["running"] <= 2, history)
        self.assertEqual(history["limit"], 2)
        self.assertLess(time.time() - start, 25 * SLOWNESS)
        total = wait_until(lambda: [s for s in d.get("/v1/history") if s["started"] > 0], 30, "one of all")[0]
        self.assertEqual(total["limit"], 10)
        self.assertIn("pool", history)

    def test_the_configuration_is_shown_and_read_anew(self):
        d = self.daemon({"pools": [{"name": "sh", "kind": "command", "env": {"API_KEY": "s3cret"}}]})
        text = d.get("/v1/config")["config"]
        self.assertNotIn("s3cret", text)
        self.assertIn("max_global_concurrency: 10", text)
        d.configure("pools:\n  - name: sh\n    kind: comand\n")
        status, problem = d.api("POST", "/v1/config/reload", {})
        self.assertEqual(status // 100, 4, problem)
        self.assertIn("weir.yml:3", json.dumps(problem))
        self.assertRegex(d.get("/metrics"), r"\nweir_config_reload_failures_total 1\n")
        d.configure({"pools": [{"name": "sh", "kind": "command", "max_concurrency": 6}]})
        d.signal(signal.SIGHUP)
        wait_until(lambda: d.get("/v1/pools/sh")["max_concurrency"] == 6, 20, "the file to be read anew")
        self.assertIn("max_concurrency: 6", d.get("/v1/config")["config"])
        wait_until(lambda: len(self.events(d, "kind=config.changed")) == 1, 20, "it to be recorded")

    def test_a_pool_that_is_replaced_is_never_missing(self):
        def config(n):
            return {"default_pool": "d", "max_global_concurrency": 4, "pools": [
                {"name": "d", "kind": "command", "max_concurrency": 4, "env": {"N": str(n)}},
                {"name": "s", "kind": "command", "max_concurrency": 4, "skills": ["x"], "env": {"N": str(n)}}]}
        d = self.daemon(config(0))
        ids, stop, faults = [], threading.Event(), []

        def keep_asking():
            while not stop.is_set():
                ids.append(d.submit({"skill": "x", "payload": {"argv": ["true"]}}))
                status, pools = d.api("GET", "/v1/pools")
                if status != 200 or [p["name"] for p in pools if p["enabled"]] not in (["d", "s"], ["s", "d"]):
                    faults.append(pools)
        asking = threading.Thread(target=keep_asking)
        asking.start()
        for n in range(1, 16):
            d.configure(config(n))
            self.assertEqual(d.api("POST", "/v1/config/reload", {})[0], 200)
        stop.set()
        asking.join()
        self.assertEqual(faults, [])
        ids.append(d.submit(sh("echo N=$N")))
        self.assertEqual(d.wait_task(ids[-1], DONE)["output"], "N=15\n")
        for n in ids[:-1]:
            self.assertEqual(d.wait_task(n, DONE)["ran_in"], "s")
        self.assertEqual(self.events(d, "kind=skill.unoffered"), [])

    def test_changes_by_hand_outlive_restarts(self):
        d = self.command(cpu=4)
        change = {"max_concurrency": 7, "cpu": 2.5, "memory": "3GiB", "reserve": {"min_priority": 5, "share": 0.25},
                  "burst": {"places": 2, "seconds": 30}}
        self.ok(d, "PATCH", "/v1/pools/sh", change)
        self.ok(d, "POST", "/v1/pools/sh/disable")
        want = {"max_concurrency": 7, "cpu": {"used": 0, "limit": 2.5}, "memory": {"used": 0, "limit": 3 << 30},
                "reserve": change["reserve"], "burst": change["burst"], "enabled": False}
        for end in (d.stop, d.kill9):
            end()
            d.start()
            pool = d.get("/v1/pools/sh")
            self.assertEqual({name: pool[name] for name in want}, want)
        self.ok(d, "POST", "/v1/pools/sh/enable")
        self.assertEqual(d.wait_task(d.submit(sh("true")))["state"], DONE)
        d.restart()
        self.assertTrue(d.get("/v1/pools/sh")["enabled"])

    def test_a_pool_that_drains(self):
        os.mkfifo(self.path("go"))
        d = self.command()
        runs = d.submit(sh(f"read x <{self.path('go')}"))
        d.wait_task(runs, "running")
        self.assertTrue(self.ok(d, "POST", "/v1/pools/sh/drain")["draining"])
        waits = d.submit(sh("true"))
        with open(self.path("go"), "w", encoding="utf-8") as f:
            f.write("\n")
        d.wait_task(runs, DONE)
        wait_until(lambda: not d.get("/v1/pools/sh")["draining"], 20, "it to be drained")
        self.assertEqual(d.task(waits)["state"], "ready")
        self.ok(d, "POST", "/v1/pools/sh/enable")
        self.assertEqual(d.wait_task(waits)["state"], DONE)


if __name__ == "__main__":
    unittest.main()
