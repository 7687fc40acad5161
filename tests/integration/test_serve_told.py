"""What `weir serve` has told anybody stays so: a task that was told as done is done after kill -9, with its result; and what a worker
says after its attempt was given up is in the record, and is nobody's result.

run-tests: parallel
"""
import http.client
import json
import os
import socket
import sys
import unittest

import lifekit
from servekit import ServeCase
from weirtest import ROOT, SLOWNESS, wait_until

ROUNDS = 6
WORKER = """import os, signal, sys, threading
sys.path.insert(0, {sdk!r})
import weir_worker

@weir_worker.command("process")
def process(args):
    try:
        os.mkdir(args["first"])
    except FileExistsError:
        return "of the second"
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    weir_worker.heartbeat(0.5, "half")
    while not os.path.exists(args["late"]):
        threading.Event().wait(0.01)
    return "of the first"

weir_worker.run()
"""


class KilledAtOnce(ServeCase):
    def setUp(self):
        super().setUp()
        self.d = self.daemon({"pools": [{"name": "sh", "kind": "command", "max_concurrency": 4, "max_attempts": 1}]})
        self.outputs, self.told = {}, {}  # of tasks; of those that were told as done: by which attempt

    def submit(self):
        first = len(self.outputs)
        ids = self.d.submit([{"payload": {"shell": f"echo {first + n}"}} for n in range(8)])
        self.outputs.update({number: first + n for n, number in enumerate(ids)})

    def check(self):
        self.d.start()
        for number, attempt in self.told.items():
            task = self.d.task(number)
            self.assertEqual((task["state"], task.get("output"), task["attempts"]), ("done", self.outputs[number], attempt), task)

    def test_who_follows_events_is_told_what_is_durable(self):
        for _ in range(ROUNDS):
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(30 * SLOWNESS)
                s.connect(self.d.socket)
                s.sendall(b"GET /v1/events/follow?kind=task.done HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answer = http.client.HTTPResponse(s)
                answer.begin()
                self.submit()
                line = b""
                while not line.startswith(b"data: "):
                    line = answer.readline()
                self.d.kill9()
                done = json.loads(line[6:])
            self.told[done["task"]] = done["attempt"]
            self.check()

    def test_who_asks_for_a_task_is_told_what_is_durable(self):
        for _ in range(ROUNDS):
            self.submit()
            done = []
            while not any(t["id"] not in self.told for t in done):
                done = self.d.get("/v1/tasks?state=done&order=newest")["tasks"]
            self.d.kill9()
            self.told.update({t["id"]: t["attempts"] for t in done})
            self.check()


class Late(ServeCase):
    def setUp(self):
        super().setUp()
        path = self.write("worker.py", WORKER.format(sdk=os.path.join(ROOT, "sdk", "python")))
        self.d = self.daemon({"pools": [{"name": "w", "kind": "process", "process": [sys.executable, "-S", "-E", path],
                                         "max_concurrency": 2, "max_attempts": 2, "term_grace": "60s", "shutdown_grace": "60s",
                                         "backoff": {"initial": "10ms", "jitter": 0}, "breaker": {"mode": "off"}}]})
        self.task = self.d.submit({"payload": {"first": self.path("first"), "late": self.path("late")}})
        self.runner = wait_until(lambda: [r for r in lifekit.listed(self.d, "runners") if r.get("progress")], 20, "the attempt")[0]

    def ends(self, reports, *more):
        """Its answer comes now; the task as it ends, and what is told of it, are the same after a restart."""
        self.write("late", "")
        done = self.d.wait_task(self.task)
        told = lifekit.by_task(lifekit.events(self.d))[self.task]
        lifekit.check_life(self.task, told)
        late = [e for e in told if e["kind"] == "runner.late"]
        self.assertEqual([(e["attempt"], e["detail"]["outcome"]) for e in late], reports)
        kinds = [e["kind"] for e in told if e["kind"] not in ("runner.late", "runner.heartbeat")]
        self.assertEqual(kinds, ["task.submitted", "task.ready", "task.assigned", "runner.started", *more])
        self.d.kill9()
        self.d.start()
        self.assertEqual(self.d.task(self.task), done)
        return done

    def test_a_worker_whose_attempt_is_lost_says_nothing_any_more(self):
        self.assertEqual(self.d.api("POST", f"/v1/runners/{self.runner['id']}/kill")[0], 204)
        done = self.ends([], "runner.lost", "task.retry_scheduled", "task.ready", "task.assigned", "runner.started",
                         "runner.completed", "task.done")
        self.assertEqual((done["state"], done["output"], done["attempts"]), ("done", "of the second", 2))

    def test_what_a_worker_answers_to_a_task_that_was_cancelled_is_in_the_record_and_no_result(self):
        self.assertEqual(self.d.api("POST", f"/v1/tasks/{self.task}/cancel")[0], 200)
        done = self.ends([(1, "ok")], "task.changed", "runner.cancelled", "task.cancelled")
        self.assertEqual((done["state"], done["attempts"], done.get("output", "")), ("cancelled", 1, ""))


if __name__ == "__main__":
    unittest.main()
