"""All that `weir serve` counts agrees: after thousands of tasks that fail, are refused, time out, are lost, cancelled, killed and tried
again, its metrics, its record, its lists, its pools and its batches say the same.

run-tests: parallel
run-tests: timeout=300
"""
import collections
import http.server
import json
import random
import re
import threading
import unittest

import lifekit
from servekit import ServeCase
from weirtest import VARIANT, wait_until
from workerkit import bad_worker

COUNT = 600 if VARIANT else 3000
OUTCOME_OF = {"runner.completed": "ok", "runner.failed": "failed", "runner.timeout": "timeout", "runner.lost": "lost",
              "runner.cancelled": "cancelled", "runner.capacity": "capacity"}
STATE_OF = {"task.done": "done", "task.failed": "failed", "task.cancelled": "cancelled"}


class Moody:
    """A service that answers, fails, refuses, says nothing and hangs up, by chance."""

    def __init__(self, seed):
        rng, lock, self.over = random.Random(seed), threading.Lock(), threading.Event()
        over = self.over

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                with lock:
                    what = rng.random()
                if what < 0.04:
                    over.wait(60)  # until nobody waits for it any more
                if what < 0.06:
                    self.close_connection = True
                    return
                status = 500 if what < 0.15 else 429 if what < 0.2 else 400 if what < 0.22 else 200
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

            def log_error(self, *args):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *args: None  # whoever was cancelled reads no answer
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def close(self):
        self.over.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Tallies(ServeCase):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(7)
        service = Moody(8)
        self.addCleanup(service.close)
        common = {"max_attempts": 3, "backoff": {"initial": "5ms", "ceiling": "20ms"}, "breaker": {"mode": "off"}}
        self.d = self.daemon({
            "max_global_concurrency": 30, "default_pool": "service", "policy": "fair-share", "check_interval": "1h", "pools": [
                {"name": "service", "kind": "http", "url": service.url, "max_concurrency": 16, "throttle": "none",
                 "timeout": "150ms", **common},
                {"name": "workers", "kind": "process", "process": bad_worker("any=60", "work=0.002"), "max_concurrency": 4,
                 "restart": {"initial": "10ms", "ceiling": "10ms"}, "timeout": "300ms", "term_grace": "100ms",
                 "shutdown_grace": "100ms", **common},
                {"name": "shell", "kind": "command", "max_concurrency": 4, "capacity_exits": [75], "kill_after": "200ms",
                 **common}]})

    def random_task(self, ids):
        rng = self.rng
        task = {"payload": {"a": 1}, "priority": rng.randint(-2, 2), "tenant": rng.choice("abc")}
        place = rng.random()
        if place < 0.15:
            task["pool"] = "workers"
        elif place < 0.2:
            task["pool"] = "shell"
            task["payload"] = {"shell": rng.choice(["true", "true", "exit 1", "kill -9 $$", "[ $WEIR_ATTEMPT = 1 ] && exit 75; true"])}
        elif place < 0.5:
            task["pool"] = "service"
        more = rng.random()
        if more < 0.05:
            task["not_before"] = f"+{rng.randint(1, 800)}ms"
        elif more < 0.1:
            task["deadline"] = f"+{rng.randint(1, 3000)}ms"
        elif more < 0.2 and ids:
            task["after"] = rng.sample(ids, min(len(ids), rng.randint(1, 3)))
            task["on_dependency_failure"] = rng.choice(["fail", "run"])
        elif more < 0.25:
            task["idempotency_key"] = str(rng.randint(1, COUNT // 50))
        elif more < 0.3:
            task["max_attempts"] = 1
        elif more < 0.33:
            task["session"] = rng.choice("mn")
        return task

    def some_ops(self, ids):
        """By hand: what can be done to any task, whether it can be just now or not."""
        for task in self.rng.sample(ids, 4) + self.rng.sample(ids[-50:], 6):
            self.d.api("POST", f"/v1/tasks/{task}/{self.rng.choice(['cancel', 'retry', 'retry'])}")
        self.d.api("PATCH", f"/v1/tasks/{self.rng.choice(ids)}", {"priority": self.rng.randint(-2, 2)})
        runners = lifekit.listed(self.d, "runners")
        for runner in self.rng.sample(runners, min(len(runners), 2)):
            what = self.rng.choice([f"tasks/{runner['task']}/cancel", f"runners/{runner['id']}/kill"])
            self.d.api("POST", f"/v1/{what}")

    def submitted(self, path, tasks, body=lambda tasks: tasks):
        status, answer = self.d.api("POST", path, body(tasks))
        if status == 422:  # one is to come after what is cancelled
            tasks = [{k: v for k, v in t.items() if k != "after"} for t in tasks]
            status, answer = self.d.api("POST", path, body(tasks))
        self.assertEqual(status, 201, answer)
        return answer

    def run_all(self):
        """Ids of all tasks, and of the batches."""
        ids, batches = [], []
        while len(ids) < COUNT:
            tasks = [self.random_task(ids) for _ in range(50)]
            if self.rng.random() < 0.3:
                batches.append(self.submitted("/v1/batches", tasks, lambda t: {"tasks": t})["id"])
                ids += [t["id"] for t in lifekit.tasks(self.d, f"batch={batches[-1]}")]
            else:
                ids += self.submitted("/v1/tasks", tasks)["ids"]
            self.some_ops(ids)
            if self.rng.random() < 0.1 and batches:
                self.d.api("POST", f"/v1/batches/{self.rng.choice(batches)}/{self.rng.choice(['cancel', 'retry'])}")
        for task in lifekit.tasks(self.d, "stuck=true"):
            self.d.api("POST", f"/v1/tasks/{task['id']}/resolve", {"how": "cancel"})

        def is_over():
            # What comes after a task that was cancelled waits for ever.
            for task in lifekit.tasks(self.d, "state=blocked"):
                self.d.api("POST", f"/v1/tasks/{task['id']}/resolve", {"how": self.rng.choice(["run", "cancel"])})
            return lifekit.is_quiet(self.d)
        wait_until(is_over, 90, "all to have ended")
        lifekit.check_counters(self.d)
        return sorted(set(ids)), batches

    def metrics(self):
        """sum(name, label=value, ...) of what Prometheus would read."""
        found = [(name, dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)) for name, labels, value in
                 re.findall(r"(?m)^([a-z_]+)(?:{(.*)})? (\S+)$", self.d.request("GET", "/metrics")[2].decode())]

        def sum_of(name, **labels):
            return sum(v for n, have, v in found if n == name and labels.items() <= have.items())
        self.assertGreater(sum_of("weir_attempts_started_total"), 0)
        return sum_of

    def test_metrics_record_and_lists_say_the_same(self):
        d = self.d
        ids, batches = self.run_all()
        told, tasks, metric = lifekit.events(d), lifekit.tasks(d), self.metrics()
        lives = lifekit.check_lives(told)
        kinds = collections.Counter(e["kind"] for e in told)
        by_pool = collections.Counter((e["kind"], e.get("pool")) for e in told)
        for kind in [*OUTCOME_OF, *STATE_OF, "task.retry_scheduled"]:
            self.assertGreater(kinds[kind], 4, f"the load is not what it should be: {kinds}")
        # The tasks: of the list, as each one's last event says, of the status, and of the metrics.
        self.assertEqual([t["id"] for t in tasks], ids)
        states = collections.Counter(t["state"] for t in tasks)
        ends = {task: [e["kind"] for e in its if e["kind"] not in lifekit.AT_ANY_TIME][-1] for task, its in lives.items()}
        self.assertEqual({t["id"]: t["state"] for t in tasks}, {task: STATE_OF[kind] for task, kind in ends.items()})
        for state, count in lifekit.counts(d).items():
            self.assertEqual((count, metric("weir_tasks", state=state)), (states[state], states[state]), state)
        # Their attempts. One that was being started when its task's time was over is told as late, with what it took, and as
        # nothing else; what comes of an attempt that was given up takes no time.
        late = collections.Counter(e["detail"]["outcome"] for e in told if e["kind"] == "runner.late" and "duration_s" in e)
        attempts = collections.Counter(e["task"] for e in told if e["kind"] == "task.assigned")
        self.assertEqual({t["id"]: t["attempts"] for t in tasks}, {n: attempts[n] for n in ids})
        self.assertEqual(kinds["task.assigned"], kinds["runner.started"])
        self.assertEqual(metric("weir_attempts_started_total"), kinds["task.assigned"] + sum(late.values()))
        self.assertEqual(metric("weir_wait_seconds_count"), kinds["task.assigned"])
        self.assertEqual(metric("weir_run_seconds_count"), sum(kinds[k] for k in OUTCOME_OF))
        for pool in lifekit.listed(d, "pools"):
            name = pool["name"]
            for kind, outcome in OUTCOME_OF.items():
                self.assertEqual((pool["attempts"][outcome], metric("weir_attempts_total", pool=name, outcome=outcome)),
                                 (by_pool[kind, name], by_pool[kind, name]), (name, kind))
            here = collections.Counter(t["state"] for t in tasks if t.get("pool", "service") == name)
            self.assertEqual({s: n for s, n in pool["queue"].items() if n}, here, name)
        # What came of them.
        for value, count in (
                (metric("weir_tasks_ended_total", state="done"), kinds["task.done"]),
                (metric("weir_tasks_ended_total", state="failed"), sum(e["kind"] == "task.failed" and "attempt" in e for e in told)),
                (metric("weir_task_retries_total"), kinds["task.retry_scheduled"]),
                (metric("weir_capacity_retries_total"), kinds["runner.capacity"]),
                (metric("weir_tasks_quarantined_total"), kinds["task.quarantined"])):
            self.assertEqual(value, count, kinds)
        self.assertGreaterEqual(metric("weir_late_reports_total"), kinds["runner.late"] - sum(late.values()))
        self.assertEqual(metric("weir_events_written_total"), len(told))
        self.assertEqual(d.get("/v1/status")["last_event"], len(told))
        self.assertEqual(metric("weir_events_dropped_total"), 0)
        for batch in batches:
            its = collections.Counter(t["state"] for t in tasks if t.get("batch") == batch)
            answer = d.get(f"/v1/batches/{batch}")
            self.assertEqual(({s: n for s, n in answer["tasks"].items() if n}, answer["total"]), (its, sum(its.values())))
            self.assertTrue(answer["finished"])
        # And it is so after a restart, of all that is durable.
        d.restart()
        self.assertEqual(collections.Counter(lifekit.counts(d)), states)
        self.assertEqual([(t["id"], t["state"], t["attempts"]) for t in lifekit.tasks(d)],
                         [(t["id"], t["state"], t["attempts"]) for t in tasks])


if __name__ == "__main__":
    unittest.main()
