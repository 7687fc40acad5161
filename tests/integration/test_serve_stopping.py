"""How `weir serve` stops: when it is told to, how long it waits, what becomes of what runs, and what it tells systemd.

run-tests: waits
run-tests: timeout=300
"""
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time
import unittest

import lifekit
from servekit import ServeCase
from weirtest import SLOWNESS, WEIR, wait_until
from workerkit import is_running


class Manager:
    """What systemd is to a service: a socket that takes its notifications."""

    def __init__(self, path):
        self.path, self.told = path, []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.socket.settimeout(0.2)
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.listen)
        self.thread.start()

    def listen(self):
        while not self.ending.is_set():
            try:
                text = self.socket.recv(4096).decode()
            except socket.timeout:
                continue
            self.told += [(time.monotonic(), *line.partition("=")[::2]) for line in text.splitlines()]

    def values(self, name):
        return [value for _, n, value in list(self.told) if n == name]

    def wait(self, name, count=1):
        wait_until(lambda: len(self.values(name)) >= count, 20, f"{name} from the daemon")

    def close(self):
        self.ending.set()
        self.thread.join()
        self.socket.close()


class Stopping(ServeCase):
    def stoppable(self, grace="300s", kill="10s", submits="accept", **more):
        pool = {"name": "sh", "kind": "command", "max_concurrency": 4, "kill_after": "500ms", **more.pop("pool", {})}
        return self.daemon({"shutdown": {"grace": grace, "kill": kill, "submits": submits}, "pools": [pool], **more.pop("top", {})},
                           **more)

    def running(self, d, shell, **more):
        """A task that has really begun."""
        began = self.path(f"began{len(os.listdir(self.dir))}")
        task = d.submit({"payload": {"shell": f"echo $$ >{began}.new; mv {began}.new {began}; {shell}"}, **more})
        wait_until(lambda: os.path.exists(began), 20, f"task {task} to begin")
        wait_until(lambda: d.get("/v1/status")["store"]["waiting"] == 0, 20, "its start to be written")
        with open(began, encoding="ascii") as f:
            return task, int(f.read())

    def stop_time(self, d, timeout_s=60):
        began = time.monotonic()
        status = d.wait_end(timeout_s)
        return status, time.monotonic() - began

    def is_gone(self, d):
        self.assertFalse(os.path.exists(d.socket), "the socket is still there")
        self.assertEqual(lifekit.processes(f"WEIR_DISPATCHER={os.path.realpath(d.dir)}"), [])

    def test_an_idle_one_is_gone_at_once_and_can_be_started_again(self):
        d = self.stoppable()
        for _ in range(3):
            d.signal(signal.SIGTERM)
            status, took_s = self.stop_time(d)
            self.assertEqual(status, 0)
            self.assertLess(took_s, 3 * SLOWNESS)
            self.is_gone(d)
            d.start()
        self.assertEqual(d.wait_task(d.submit({"payload": {"shell": "true"}}))["state"], "done")

    def test_what_runs_may_end_and_nothing_else_starts(self):
        d = self.stoppable()
        gate = self.path("gate")
        os.mkfifo(gate)
        task, _ = self.running(d, f"read x <{gate}; echo ended")
        d.signal(signal.SIGTERM)
        wait_until(lambda: d.get("/v1/status")["state"] == "stopping", 10, "the stop to begin")
        # It still answers, and takes tasks, for the next start.
        waits = d.submit({"payload": {"shell": "true"}})
        self.assertEqual(d.submit([{"payload": {"shell": "true"}}] * 2), [waits + 1, waits + 2])
        self.assertEqual(d.task(waits)["state"], "ready")
        self.assertEqual(d.get("/v1/status")["running"], 1)
        self.assertEqual(d.api("GET", "/healthz")[0], 200)
        with open(gate, "w", encoding="ascii") as f:
            f.write("\n")
        status, took_s = self.stop_time(d)
        self.assertEqual(status, 0)
        self.assertLess(took_s, 5 * SLOWNESS)
        self.is_gone(d)
        d.start()
        self.assertEqual(d.task(task)["output"], "ended\n")
        self.assertEqual(d.task(task)["attempts"], 1)
        for t in (waits, waits + 1, waits + 2):
            self.assertEqual(d.wait_task(t)["state"], "done")
        told = lifekit.events(d)
        lifekit.check_lives(told)
        kinds = [e["kind"] for e in told]
        stopping, stopped = kinds.index("dispatcher.stopping"), kinds.index("dispatcher.stopped")
        self.assertNotIn("task.assigned", kinds[stopping:stopped])
        self.assertEqual(told[stopped]["detail"], {"left": 0})
        # It is the last one of its life.
        self.assertEqual(kinds[stopped + 1], "dispatcher.started")

    def test_submits_are_refused_where_that_is_configured(self):
        d = self.stoppable(submits="refuse")
        self.running(d, "sleep 1000")
        d.signal(signal.SIGTERM)
        wait_until(lambda: d.get("/v1/status")["state"] == "stopping", 10, "the stop to begin")

        def refused():
            status, answer = d.api("POST", "/v1/tasks", {"payload": {"shell": "true"}})
            return status == 503 and answer
        self.assertIn("stopping", wait_until(refused, 10, "a submit to be refused")["detail"])
        # A batch that could take none is not made either.
        ndjson = {"content_type": "application/x-ndjson"}
        for path, body, more in (("/v1/batches?open=true", None, {}), ("/v1/batches", {"tasks": [{"payload": 1}]}, {}),
                                 ("/v1/batches?open=true", "", ndjson), ("/v1/batches", '{"payload": 1}\n', ndjson)):
            status, answer = d.api("POST", path, body, **more)
            self.assertEqual(status, 503, answer)
            self.assertIn("stopping", answer["detail"])
        self.assertEqual(d.get("/v1/batches")["batches"], [])
        self.assertEqual(d.api("GET", "/v1/tasks")[0], 200)
        d.signal(signal.SIGTERM)
        self.assertEqual(self.stop_time(d)[0], 0)

    def test_after_the_grace_what_runs_is_told_to_end_then_killed_and_is_ready_again(self):
        d = self.stoppable(grace="1s", kill="10s", pool={"kill_after": "1s"})
        polite_said = self.path("polite")
        polite, _ = self.running(d, f"[ $WEIR_ATTEMPT = 2 ] && exit 0; trap 'echo told >{polite_said}; exit 1' TERM; "
                                 "while :; do sleep 0.05; done")
        deaf, pid = self.running(d, "[ $WEIR_ATTEMPT = 2 ] && exit 0; trap '' TERM; while :; do sleep 0.05; done")
        began = time.monotonic()
        d.signal(signal.SIGTERM)
        status = d.wait_end()
        took_s = time.monotonic() - began
        self.assertEqual(status, 0)
        self.assertGreater(took_s, 1.9)  # the grace, and the time between TERM and KILL
        self.assertLess(took_s, 8 * SLOWNESS)
        self.assertTrue(os.path.exists(polite_said))
        self.assertFalse(is_running(pid))
        self.is_gone(d)
        d.start()
        for task in (polite, deaf):
            t = d.wait_task(task)
            self.assertEqual((t["state"], t["attempts"], t["failures"], t["deaths"]), ("done", 2, 0, 0))
            its = lifekit.by_task(lifekit.events(d))[task]
            lifekit.check_life(task, its)
            cancelled = next(e for e in its if e["kind"] == "runner.cancelled")
            self.assertEqual(cancelled["detail"]["reason"], "shutdown_requested")
        stopped = next(e for e in lifekit.events(d) if e["kind"] == "dispatcher.stopped")
        self.assertEqual(stopped["detail"], {"left": 2})
        lifekit.check_counters(d)

    def test_what_is_deaf_is_killed_whatever_its_pool_says(self):
        d = self.stoppable(grace="100ms", kill="300ms", pool={"kill_after": "10m"})
        task, pid = self.running(d, "trap '' TERM; while :; do sleep 1; done")
        d.signal(signal.SIGTERM)
        status, took_s = self.stop_time(d)
        self.assertEqual(status, 0)
        self.assertLess(took_s, 10 * SLOWNESS)
        self.assertFalse(is_running(pid))
        self.is_gone(d)
        d.start()
        self.assertIn(d.task(task)["state"], ("ready", "running"))
        d.signal(signal.SIGTERM)
        self.assertEqual(self.stop_time(d)[0], 0)

    def test_a_store_that_takes_nothing_does_not_keep_it(self):
        d = self.stoppable()
        held = sqlite3.connect(os.path.join(d.dir, "weir.db"), isolation_level=None)
        held.execute("BEGIN IMMEDIATE")
        d.signal(signal.SIGTERM)
        status, took_s = self.stop_time(d)
        held.execute("ROLLBACK")
        held.close()
        self.assertEqual(status, 0)
        self.assertGreater(took_s, 1)  # it was waited for
        self.is_gone(d)
        d.start()
        self.assertEqual(d.wait_task(d.submit({"payload": {"shell": "true"}}))["state"], "done")

    def test_a_reload_while_it_stops_is_refused(self):
        d = self.stoppable()
        self.running(d, "sleep 1000")
        d.signal(signal.SIGTERM)
        wait_until(lambda: d.get("/v1/status")["state"] == "stopping", 10, "the stop to begin")
        self.assertEqual(d.api("POST", "/v1/config/reload")[0], 503)
        d.signal(signal.SIGTERM)
        self.assertEqual(self.stop_time(d)[0], 0)

    def test_a_second_signal_cuts_the_wait_short(self):
        d = self.stoppable(grace="300s")
        task, pid = self.running(d, "sleep 1000")
        d.signal(signal.SIGTERM)
        wait_until(lambda: d.get("/v1/status")["state"] == "stopping", 10, "the stop to begin")
        d.signal(signal.SIGTERM)
        status, took_s = self.stop_time(d)
        self.assertEqual(status, 0)
        self.assertLess(took_s, 5 * SLOWNESS)
        self.assertFalse(is_running(pid))
        self.is_gone(d)
        d.start()
        self.assertEqual(d.wait_task(task, ("ready", "running"))["attempts"] in (1, 2), True)
        d.api("POST", f"/v1/tasks/{task}/cancel")
        self.assertEqual(d.wait_task(task)["state"], "cancelled")

    def test_it_can_be_told_by_the_api_and_again_with_less_patience(self):
        d = self.stoppable(grace="300s")
        self.running(d, "sleep 1000")
        self.assertEqual(d.api("POST", "/v1/shutdown", {})[0] // 100, 2)
        wait_until(lambda: d.get("/v1/status")["state"] == "stopping", 10, "the stop to begin")
        self.assertEqual(d.api("POST", "/v1/shutdown", {"grace": "0s"})[0] // 100, 2)
        status, took_s = self.stop_time(d)
        self.assertEqual(status, 0)
        self.assertLess(took_s, 5 * SLOWNESS)
        self.is_gone(d)

    def test_of_several_graces_the_one_that_ends_first_holds(self):
        d = self.stoppable(grace="300s")
        self.running(d, "sleep 1000")
        self.assertEqual(d.api("POST", "/v1/shutdown", {})[0], 202)
        wait_until(lambda: d.get("/v1/status")["state"] == "stopping", 10, "the stop to begin")
        began = time.monotonic()
        for grace in ("200s", "1s", "250s"):
            self.assertEqual(d.api("POST", "/v1/shutdown", {"grace": grace})[0], 202)
        self.assertEqual(d.wait_end(), 0)
        took_s = time.monotonic() - began
        self.assertGreater(took_s, 0.9)
        self.assertLess(took_s, 100)

    def test_the_api_may_give_a_grace_of_its_own(self):
        d = self.stoppable(grace="300s")
        task, _ = self.running(d, "sleep 1000")
        began = time.monotonic()
        self.assertEqual(d.api("POST", "/v1/shutdown", {"grace": "1s"})[0] // 100, 2)
        status, _ = self.stop_time(d)
        took_s = time.monotonic() - began
        self.assertEqual(status, 0)
        self.assertGreater(took_s, 0.9)
        self.assertLess(took_s, 6 * SLOWNESS)

    def test_workers_end_with_it(self):
        worker = ("import os, struct, sys, json, threading\n"
                  "while True:\n"
                  "    head = sys.stdin.buffer.read(4)\n"
                  "    if len(head) < 4: break\n"
                  "    r = json.loads(sys.stdin.buffer.read(struct.unpack('>I', head)[0]))\n"
                  "    if r['command'] == 'process': threading.Event().wait(1000)\n"
                  "    b = json.dumps({'id': r['id'], 'success': True, 'result': {}}).encode()\n"
                  "    sys.stdout.buffer.write(struct.pack('>I', len(b)) + b); sys.stdout.buffer.flush()\n"
                  "    if r['command'] == 'shutdown': break\n")
        d = self.daemon({"shutdown": {"grace": "500ms", "kill": "5s"},
                         "pools": [{"name": "w", "kind": "process", "process": ["python3", "-c", worker], "max_concurrency": 2,
                                    "shutdown_grace": "500ms", "term_grace": "500ms"}]})
        task = d.submit({"payload": {}})
        d.wait_task(task, "running")
        began = time.monotonic()
        self.assertEqual(d.stop(), 0)
        self.assertLess(time.monotonic() - began, 10 * SLOWNESS)
        self.is_gone(d)
        d.start()
        t = d.wait_task(task, ("ready", "running"))
        self.assertEqual((t["failures"], t["deaths"]), (0, 0))

    def test_who_waits_for_results_or_follows_events_does_not_hold_it_up(self):
        d = self.stoppable()
        c = socket.socket(socket.AF_UNIX)
        self.addCleanup(c.close)
        c.connect(d.socket)
        c.sendall(b"GET /v1/events/follow HTTP/1.1\r\nHost: weir\r\n\r\n")
        self.assertIn(b"200", c.recv(4096))
        began = time.monotonic()
        self.assertEqual(d.stop(), 0)
        self.assertLess(time.monotonic() - began, 4 * SLOWNESS)

    def test_who_follows_events_hears_of_the_end_too(self):
        d = self.stoppable()
        followers = []
        for query in ("", "?kind=dispatcher.stopped", "?kind=task.submitted"):
            c = socket.socket(socket.AF_UNIX)
            self.addCleanup(c.close)
            c.settimeout(20 * SLOWNESS)
            c.connect(d.socket)
            c.sendall(f"GET /v1/events/follow{query} HTTP/1.1\r\nHost: weir\r\n\r\n".encode())
            followers.append(c.makefile("rb"))
        for f in followers:
            self.assertIn(b"200", f.readline())
        self.assertEqual(d.stop(), 0)
        for f, hears in zip(followers, (True, True, False)):
            self.assertEqual(b"event: dispatcher.stopped\ndata: " in f.read(), hears)

    def test_results_that_are_followed_are_not_taken_for_all(self):
        d = self.stoppable()
        d.weir("batch", "open", status=0)
        d.wait_task(d.api("POST", "/v1/batches/1/tasks", {"payload": {"shell": "true"}})[1]["id"])
        follower = subprocess.Popen([WEIR, "batch", "results", "1", "--follow"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                    text=True, env=d.weir_env())
        self.addCleanup(follower.kill)
        self.assertTrue(follower.stdout.readline())
        self.assertEqual(d.stop(), 0)
        # It goes on with the next one, until the batch has ended.
        d.start()
        self.assertEqual(d.api("POST", "/v1/batches/1/end")[0], 200)
        follower.communicate(timeout=60 * SLOWNESS)
        self.assertEqual(follower.returncode, 0)

    def test_systemd_is_told(self):
        manager = Manager(self.path("notify"))
        self.addCleanup(manager.close)
        d = self.stoppable(env={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "2400000"})
        self.assertEqual(manager.values("READY"), ["1"])
        d.signal(signal.SIGHUP)
        manager.wait("RELOADING")
        manager.wait("READY", 2)
        self.assertTrue(all(v.isdigit() for v in manager.values("MONOTONIC_USEC")))
        manager.wait("WATCHDOG", 3)
        # None of it is for what runs.
        task = d.submit({"payload": {"shell": "echo $NOTIFY_SOCKET $WATCHDOG_USEC"}})
        self.assertEqual(d.wait_task(task)["output"].strip(), "")
        self.running(d, "sleep 1000")
        before = len(manager.values("WATCHDOG"))
        d.signal(signal.SIGTERM)
        manager.wait("STOPPING")
        # It is alive while it waits, and says that it needs the time.
        manager.wait("WATCHDOG", before + 3)
        manager.wait("EXTEND_TIMEOUT_USEC", 2)
        d.signal(signal.SIGTERM)
        self.assertEqual(d.wait_end(), 0)
        beats = [at for at, name, _ in manager.told if name == "WATCHDOG"]
        self.assertLess(max(b - a for a, b in zip(beats, beats[1:])), 2.4 * SLOWNESS)

    def test_a_configuration_that_is_wrong_is_told_to_systemd_as_reloaded_and_changes_nothing(self):
        manager = Manager(self.path("notify"))
        self.addCleanup(manager.close)
        d = self.stoppable(env={"NOTIFY_SOCKET": manager.path})
        with open(d.config_path, "a", encoding="utf-8") as f:
            f.write("\n}nonsense: [\n")
        d.signal(signal.SIGHUP)
        manager.wait("RELOADING")
        manager.wait("READY", 2)
        self.assertEqual(d.wait_task(d.submit({"payload": {"shell": "echo ok"}}))["output"], "ok\n")

    def test_a_signal_while_it_starts_ends_it_too(self):
        d = self.stoppable()
        d.stop()
        for wait_s in (0, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08):
            with open(d.log_path, "ab") as log:
                p = subprocess.Popen([WEIR, "serve", "-c", d.config_path], stdout=log, stderr=log, env=d.env, cwd=d.dir)
            threading.Event().wait(wait_s)  # somewhere in its start
            p.send_signal(signal.SIGTERM)
            # Before it can know of signals, it has nothing to put in order.
            self.assertIn(p.wait(20 * SLOWNESS), (0, -signal.SIGTERM))
        d.start()
        self.assertEqual(d.wait_task(d.submit({"payload": {"shell": "true"}}))["state"], "done")


if __name__ == "__main__":
    unittest.main()
