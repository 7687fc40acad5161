"""What `weir serve` says that runs is what runs: on every way out of an attempt, at every limit.

The test counts by itself: processes of commands, by what stands in /proc; and the marks that each command appends to one
file when it begins and before it ends. A command marks its end before weir knows of it, and its beginning after weir has
decided it: so what the marks say that overlapped did overlap, and is never more than a limit allows.

run-tests: waits
"""
import json
import os
import re
import signal
import subprocess
import sys
import unittest
import urllib.parse

from servekit import ServeCase
from weirtest import wait_until
from workerkit import bad_worker


def runs_of(daemon):
    """{runner: (pool, pid)} of the commands of the daemon that are processes now."""
    found = {}
    mine = f"WEIR_API={daemon.address}".encode()
    for pid in os.listdir("/proc"):
        if not pid.isdigit():
            continue
        try:
            with open(f"/proc/{pid}/environ", "rb") as f:
                env = f.read().split(b"\0")
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
                stat = f.read().rpartition(")")[2].split()
        except OSError:
            continue
        # What a command has started itself is not one; nor is one that is dead already.
        if mine not in env or stat[2] != pid or stat[0] in "ZX":
            continue
        told = dict(v.decode("utf-8", "replace").split("=", 1) for v in env if b"=" in v)
        found[told.get("WEIR_RUNNER", "?")] = (told.get("WEIR_POOL"), int(pid))
    return found


def by_pool(pairs):
    counts = {}
    for pool in pairs:
        counts[pool] = counts.get(pool, 0) + 1
    return counts


def samples(text):
    """{'name{labels}': value} of what Prometheus reads."""
    return {name: float(value) for name, value in re.findall(r"^([a-z_]+(?:{[^\n]*})?) (\S+)$", text, re.M)}


class CountsCase(ServeCase):
    def setUp(self):
        super().setUp()
        self.marks_path = self.path("marks")
        self.held = 0

    # ---- commands that last until they are let go ----

    def task(self, more="", **fields):
        """A command that ends with the status that release() gives."""
        self.held += 1
        name = str(self.held)
        os.mkfifo(self.path(name))
        script = (f'echo "b $WEIR_TASK $WEIR_RUNNER $WEIR_POOL $$ ${{WEIR_SLOT_PATH:--}}" >>{self.marks_path}; {more} '
                  f'read s <{self.path(name)}; echo "e $WEIR_TASK $WEIR_RUNNER" >>{self.marks_path}; exit $s')
        return {"key": name, "payload": {"shell": script}, **fields}

    def release(self, name, status=0):
        def opened():
            try:
                return os.open(self.path(str(name)), os.O_WRONLY | os.O_NONBLOCK) + 1
            except OSError:
                return 0  # nobody reads it yet
        fd = wait_until(opened, 20, f"command {name} to read") - 1
        os.write(fd, f"{status}\n".encode())
        os.close(fd)

    def marks(self):
        try:
            with open(self.marks_path, encoding="utf-8") as f:
                return [line.split() for line in f.read().splitlines()]
        except FileNotFoundError:
            return []

    def begun(self):
        return sum(m[0] == "b" for m in self.marks())

    # ---- what is said, and what is ----

    def said(self, daemon):
        """Everything that the daemon says about what runs."""
        status = daemon.get("/v1/status")
        pools = daemon.get("/v1/pools")
        runners = daemon.get("/v1/runners")
        runners = runners["runners"] if isinstance(runners, dict) else runners
        metrics = samples(daemon.get("/metrics"))
        return {
            "status": status["running"],
            "pools of status": {p["name"]: p["running"] for p in status["pools"] if p["running"]},
            "pools": {p["name"]: p["running"] for p in pools if p["running"]},
            "runners": by_pool(r["pool"] for r in runners),
            "ids": {r["id"] for r in runners},
            "tasks": status["tasks"].get("running", 0),
            "metric": metrics["weir_running"],
            "metrics": {name[len('weir_pool_running{pool="'):-2]: n for name, n in metrics.items()
                        if name.startswith("weir_pool_running{") and n},
        }

    def agreed(self, daemon, count):
        """How much is amiss between what is said and what runs, when `count` should run; "" if nothing is."""
        real = runs_of(daemon)
        said = self.said(daemon)
        pools = by_pool(pool for pool, _ in real.values())
        expected = {"status": count, "pools of status": pools, "pools": pools, "runners": pools, "ids": set(real),
                    "tasks": count, "metric": count, "metrics": pools}
        wrong = {name: (said[name], value) for name, value in expected.items() if said[name] != value}
        return "" if len(real) == count and not wrong else f"{len(real)} run, not {count}; said and expected: {wrong}"

    def settle(self, daemon, count, begun=None, deadline_s=20):
        """Waits until `count` run and everybody says so; and so many have begun since the test began, and no more."""
        amiss = {}

        def settled():
            amiss["last"] = self.agreed(daemon, count)
            if begun is not None and self.begun() != begun:
                amiss["last"] += f" {self.begun()} have begun, not {begun}"
            return not amiss["last"]
        try:
            wait_until(settled, deadline_s, "agreement")
        except AssertionError as fault:
            raise AssertionError(f"{fault}: {amiss['last']}\n{daemon.log()}") from None

    def stays(self, daemon, count, begun):
        """The same, after everything that was under way has had its turn: a task that may start would have."""
        self.settle(daemon, count, begun)
        self.barrier(daemon)
        self.assertEqual(self.agreed(daemon, count), "")
        self.assertEqual(self.begun(), begun)

    def barrier(self, daemon):
        """Two ops through clerk and engine: whatever was due before is done."""
        for _ in range(2):
            task = daemon.submit({"payload": {"shell": "true"}, "not_before": "+1h"})
            self.assertEqual(daemon.api("POST", f"/v1/tasks/{task}/cancel")[0], 200)

    def overlap(self, of=lambda mark: True):
        """The most that ran at once, by the marks."""
        running, most = set(), 0
        for mark in self.marks():
            if mark[0] == "b" and of(mark):
                running.add(mark[2])
            elif mark[0] == "e":
                running.discard(mark[2])
            most = max(most, len(running))
        return most


POOLS = [{"name": "a", "kind": "command", "max_concurrency": 3, "max_attempts": 1, "kill_after": "200ms"},
         {"name": "b", "kind": "command", "max_concurrency": 3, "max_attempts": 1, "kill_after": "200ms",
          "heartbeat_timeout": "300ms"}]
BASE = {"max_global_concurrency": 4, "default_pool": "a", "pools": POOLS, "shutdown": {"kill": "1s"}}


class WaysOut(CountsCase):
    """Each way out gives back one place, and that admits exactly one."""

    def setUp(self):
        super().setUp()
        self.d = self.daemon(BASE)
        # In the order of the coming a, b, a, b, a, ...: four of them run, two in each pool.
        self.ids = self.d.submit([self.task(pool="ab"[n % 2]) for n in range(12)])
        self.settle(self.d, 4, 4)

    def state(self, number, *states):
        return self.d.wait_task(self.ids[number - 1], states)

    def test_completion_failure_and_a_signal(self):
        self.release(1)
        self.settle(self.d, 4, 5)
        self.release(2, 7)
        self.settle(self.d, 4, 6)
        self.assertEqual(self.state(2, "failed")["status"], 7)
        pid = next(int(m[4]) for m in self.marks() if m[1] == str(self.ids[2]))
        os.kill(pid, signal.SIGKILL)
        self.settle(self.d, 4, 7)
        self.assertEqual(self.state(3, "failed")["status"], -9)
        for n in range(4, 13):
            self.release(n)
        self.settle(self.d, 0, 12)
        self.assertLessEqual(self.overlap(lambda m: m[4] != str(pid)), 4)

    def test_timeout_and_silence(self):
        late = self.d.submit({**self.task(pool="a"), "timeout": "200ms", "priority": 9})
        silent = self.d.submit({**self.task(': >"$WEIR_HEARTBEAT";', pool="b"), "priority": 9})
        self.d.api("PATCH", "/v1/dispatcher", {"policy": "priority"})
        self.release(1)
        self.release(2)
        self.assertEqual(self.d.wait_task(late)["outcome"], "timeout")
        self.assertEqual(self.d.wait_task(silent)["outcome"], "lost")
        # 4 at first, these two, and the two that came after them.
        self.settle(self.d, 4, 8)

    def test_a_runner_that_is_killed(self):
        runner = self.d.get("/v1/runners")
        runner = (runner["runners"] if isinstance(runner, dict) else runner)[0]
        self.assertIn(self.d.api("POST", f"/v1/runners/{runner['id']}/kill")[0], (200, 202, 204))
        self.settle(self.d, 4, 5)
        self.assertEqual(self.d.wait_task(runner["task"])["outcome"], "lost")
        # It runs no more, so it cannot be killed once more; and that gives nothing back.
        self.assertEqual(self.d.api("POST", f"/v1/runners/{runner['id']}/kill")[0], 404)
        self.stays(self.d, 4, 5)

    def test_cancelled_tasks(self):
        self.assertEqual(self.d.api("POST", f"/v1/tasks/{self.ids[0]}/cancel")[0], 200)
        self.settle(self.d, 4, 5)
        # One that waits gives nothing back.
        self.assertEqual(self.d.api("POST", f"/v1/tasks/{self.ids[11]}/cancel")[0], 200)
        self.stays(self.d, 4, 5)
        self.state(1, "cancelled")
        self.state(12, "cancelled")

    def test_a_cancelled_batch(self):
        status, batch = self.d.api("POST", "/v1/batches", {"name": "b", "tasks": [
            self.task(pool="b", priority=5) for _ in range(4)]})
        self.assertEqual(status, 201, batch)
        self.d.api("PATCH", "/v1/dispatcher", {"policy": "priority"})
        for n in (1, 2, 3, 4):
            self.release(n)
        # The batch takes the three places of b that there are; a has one.
        self.settle(self.d, 4, 8)
        self.assertEqual(self.said(self.d)["pools"], {"a": 1, "b": 3})
        self.assertEqual(self.d.api("POST", f"/v1/batches/{batch['id']}/cancel")[0], 200)
        self.settle(self.d, 4, 11)
        wait_until(lambda: self.d.get(f"/v1/batches/{batch['id']}")["tasks"].get("cancelled") == 4
                   if "tasks" in self.d.get(f"/v1/batches/{batch['id']}")
                   else self.d.get(f"/v1/batches/{batch['id']}")["cancelled"] == 4, 20, "the batch to be cancelled")

    def test_a_pool_that_is_disabled_finishes_and_starts_none(self):
        self.assertIn(self.d.api("POST", "/v1/pools/a/disable")[0], (200, 204))
        self.stays(self.d, 4, 4)
        self.release(1)
        self.settle(self.d, 4, 5)  # of b, whose third place was free
        self.assertEqual(self.said(self.d)["pools"], {"a": 1, "b": 3})
        self.release(3)
        self.stays(self.d, 3, 5)
        self.assertIn(self.d.api("POST", "/v1/pools/a/enable")[0], (200, 204))
        self.settle(self.d, 4, 6)

    def test_limits_that_are_lowered_end_nothing(self):
        self.assertEqual(self.d.api("PATCH", "/v1/pools/a", {"max_concurrency": 1})[0], 200)
        self.assertEqual(self.d.api("PATCH", "/v1/dispatcher", {"max_global_concurrency": 2})[0], 200)
        self.stays(self.d, 4, 4)
        self.release(1)
        self.stays(self.d, 3, 4)
        self.release(2)
        self.stays(self.d, 2, 4)
        self.release(3)
        self.settle(self.d, 2, 5)
        self.assertEqual(self.d.api("PATCH", "/v1/dispatcher", {"max_global_concurrency": 100})[0], 200)
        self.settle(self.d, 4, 7)
        self.assertEqual(self.said(self.d)["pools"], {"a": 1, "b": 3})

    def test_a_reload_that_changes_replaces_adds_and_removes_pools(self):
        changed = [dict(POOLS[0], max_concurrency=1), dict(POOLS[1], env={"X": "1"}),
                   {"name": "c", "kind": "command", "enabled": False}]
        self.d.configure({**BASE, "pools": changed})
        self.assertEqual(self.d.api("POST", "/v1/config/reload", {})[0], 200)
        # Two of a run, where there should be one; two of b run in what was b, and there is but one place in all.
        self.stays(self.d, 4, 4)
        names = [p["name"] for p in self.d.get("/v1/pools")]
        self.assertEqual(sorted(names), ["a", "b", "c"], "each name once")
        c = self.d.submit(self.task(pool="c"))
        self.release(1)
        self.settle(self.d, 4, 5)
        self.assertEqual(self.said(self.d)["pools"], {"a": 1, "b": 3})
        self.release(2)
        self.release(4)
        self.settle(self.d, 4, 7)
        # Now without b, by a signal: what runs there ends, what waits for it waits.
        self.d.configure({**BASE, "pools": [changed[0], dict(changed[2], enabled=True)]})
        self.d.signal(signal.SIGHUP)
        wait_until(lambda: "b" not in [p["name"] for p in self.d.get("/v1/pools") if p["enabled"]], 20, "b to leave")
        self.settle(self.d, 4, 7)
        for n in (6, 8, 10):  # of b
            self.release(n)
        self.settle(self.d, 2, 8)
        self.assertEqual(self.said(self.d)["pools"], {"a": 1, "c": 1})
        self.assertEqual(self.d.get(f"/v1/tasks/{c}")["state"], "running")
        wait_until(lambda: self.d.api("GET", "/v1/pools/b")[0] == 404, 20, "b to be gone")
        self.state(12, "ready")

    def test_a_pool_that_goes_and_comes_while_it_runs_something(self):
        self.assertEqual(self.d.api("PATCH", "/v1/pools/b", {"max_concurrency": 7})[0], 200)
        self.d.configure({**BASE, "pools": POOLS[:1]})
        self.assertEqual(self.d.api("POST", "/v1/config/reload", {})[0], 200)
        self.stays(self.d, 4, 4)
        self.assertFalse(self.d.get("/v1/pools/b")["enabled"])
        self.release(1)
        self.settle(self.d, 4, 5)  # of a: b has nothing that may start
        self.assertEqual(self.said(self.d)["pools"], {"a": 2, "b": 2})
        self.d.configure(BASE)
        self.assertEqual(self.d.api("POST", "/v1/config/reload", {})[0], 200)
        pool = self.d.get("/v1/pools/b")
        self.assertEqual((pool["enabled"], pool["running"], pool["max_concurrency"]), (True, 2, 3))
        self.release(2)
        self.release(4)
        self.settle(self.d, 4, 7)
        for n in range(1, 13):
            if n not in (1, 2, 4):
                self.release(n)
        self.settle(self.d, 0, 12)

    def test_a_forced_stop_and_a_restart(self):
        old = runs_of(self.d)
        self.assertEqual(self.d.api("POST", "/v1/shutdown", {"grace": "0s"})[0] // 100, 2)
        self.assertEqual(self.d.wait_end(), 0, self.d.log())
        self.assertEqual(runs_of(self.d), {})
        self.d.start()
        self.settle(self.d, 4, 8)
        self.assertFalse(set(old) & set(runs_of(self.d)))
        self.assertEqual(self.d.task(self.ids[0])["attempts"], 2)
        self.assertEqual(self.d.task(self.ids[0]).get("failures", 0), 0)

    def test_kill_9_and_a_restart(self):
        old = runs_of(self.d)
        self.d.kill9()
        self.d.start()
        # Each has been put back at its old rank and starts anew; nothing of the old ones is left.
        self.settle(self.d, 4, 8)
        for _, pid in old.values():
            self.assertNotIn(pid, [p for _, p in runs_of(self.d).values()])
        for n in range(1, 13):
            self.release(n)
        self.settle(self.d, 0, 16)


class Limits(CountsCase):
    def test_many_short_ones_never_go_over_a_limit(self):
        d = self.daemon({"max_global_concurrency": 5, "default_pool": "a", "slots": [
            {"name": "dir", "paths": [self.path("x"), self.path("y")]}, {"name": "gpu", "count": 3}], "pools": [
                {"name": "a", "kind": "command", "max_concurrency": 4, "cpu": 2, "memory": "1GiB"},
                {"name": "b", "kind": "command", "max_concurrency": 2}]})
        script = (f'echo "b $WEIR_TASK $WEIR_RUNNER $WEIR_POOL ${{WEIR_SLOT_DIR:--}} ${{WEIR_SLOT_GPU:--}} $CPU" '
                  f'>>{self.marks_path}; sleep 0.01; echo "e $WEIR_TASK $WEIR_RUNNER" >>{self.marks_path}')
        tasks = []
        for n in range(240):
            task = {"pool": "ab"[n % 3 == 0], "payload": {"shell": f"CPU={n % 2}; {script}"}, "priority": n % 3}
            resources = {}
            if n % 2:
                resources["cpu"] = 1
            slots = ["dir"] * (n % 2 == 0) + ["gpu"] * (n % 4 != 3)
            if slots:
                resources["slots"] = slots
            tasks.append({**task, "resources": resources} if resources else task)
        d.submit(tasks)
        wait_until(lambda: d.get("/v1/status")["tasks"].get("done", 0) == 240, 60, "all to be done")
        self.settle(d, 0, 240)
        self.assertLessEqual(self.overlap(), 5)
        self.assertLessEqual(self.overlap(lambda m: m[3] == "a"), 4)
        self.assertLessEqual(self.overlap(lambda m: m[3] == "b"), 2)
        self.assertLessEqual(self.overlap(lambda m: m[3] == "a" and m[6] == "1"), 2)
        for kind, count in ((4, 2), (5, 3)):
            seen = {m[kind] for m in self.marks() if m[0] == "b" and m[kind] != "-"}
            self.assertEqual(seen, {str(n + 1) for n in range(count)})
            for place in seen:
                self.assertEqual(self.overlap(lambda m, k=kind, p=place: m[k] == p), 1, "one attempt for each place")
        self.assertEqual({s["name"]: s["taken"] for s in d.get("/v1/slots")}, {"dir": 0, "gpu": 0})
        # What each had is in the record, when it is over.
        had = {int(m[1]): [{"name": k, "slot": int(v)} for k, v in (("dir", m[4]), ("gpu", m[5])) if v != "-"]
               for m in self.marks() if m[0] == "b"}
        told = {e["task"]: e for e in d.get("/v1/events?kind=runner.started&limit=1000")["events"]}
        self.assertEqual({task: e["detail"].get("slots", []) for task, e in told.items()}, had)
        self.assertEqual({task: e.get("slot") for task, e in told.items()},
                         {task: slots[0]["slot"] if slots else None for task, slots in had.items()})

    def test_quotas_of_cpu_and_memory(self):
        d = self.daemon({"pools": [{"name": "a", "kind": "command", "max_concurrency": 8, "cpu": 2.5,
                                    "memory": "1GiB"}]})
        d.submit([self.task(resources={"cpu": 1.5, "memory": "256MiB"}),
                  self.task(resources={"cpu": 1.5}),
                  self.task(resources={"cpu": 1}),
                  self.task(resources={"memory": "800MiB"}),
                  self.task(resources={"memory": "768MiB"}),
                  self.task()])
        # 2.5 cores of 1 and 3; 1 GiB of 1 and 5; what needs neither.
        self.stays(d, 4, 4)
        pool = d.get("/v1/pools/a")
        self.assertEqual((pool["cpu"], pool["memory"]), ({"used": 2.5, "limit": 2.5},
                                                         {"used": 1 << 30, "limit": 1 << 30}))
        self.assertEqual({m[1] for m in self.marks()}, {"1", "3", "5", "6"})
        self.assertEqual(d.task(2)["waits_for"]["why"], "cpu_quota")
        self.assertEqual(d.task(4)["waits_for"]["why"], "memory_quota")
        self.release(3)
        self.stays(d, 3, 4)
        self.release(1)
        self.settle(d, 3, 5)  # the second
        self.release(5)
        self.settle(d, 3, 6)
        for n in (2, 4, 6):
            self.release(n)
        self.settle(d, 0, 6)
        pool = d.get("/v1/pools/a")
        self.assertEqual((pool["cpu"]["used"], pool["memory"]["used"]), (0, 0))
        # More than there is at all: it waits, is told why, and runs when the quota is raised.
        never = d.submit(self.task(resources={"cpu": 3}))
        self.stays(d, 0, 6)
        self.assertEqual(d.task(never)["waits_for"]["why"], "never")
        self.assertEqual(d.api("PATCH", "/v1/pools/a", {"cpu": 3})[0], 200)
        self.settle(d, 1, 7)

    def test_less_than_a_whole_one_is_a_quota_too(self):
        d = self.daemon({"pools": [{"name": "a", "kind": "command", "max_concurrency": 8, "cpu": 1e-9, "memory": 512}]})
        limits = [d.get("/v1/pools/a")]
        limits += [d.api("PATCH", "/v1/pools/a", {"cpu": 0.0004, "memory": "512KiB"})[1]]
        for pool in limits:
            self.assertEqual((pool["cpu"]["limit"], pool["memory"]["limit"]), (0.001, 1 << 20))
        pool = d.api("PATCH", "/v1/pools/a", {"cpu": 1.0005, "memory": 1500000})[1]
        self.assertEqual((pool["cpu"]["limit"], pool["memory"]["limit"]), (1.001, 2 << 20))
        pool = d.api("PATCH", "/v1/pools/a", {"cpu": 0, "memory": 0})[1]
        self.assertEqual((pool["cpu"], pool["memory"]), ({"used": 0}, {"used": 0}))

    def test_one_answer_is_of_one_moment(self):
        d = self.daemon({"max_global_concurrency": 10, "pools": [
            {"name": name, "kind": "command", "max_concurrency": 3, "command": ["true"]} for name in "abc"]})
        d.submit([{"pool": "abc"[n % 3], "payload": {}} for n in range(1500)])
        seen = set()
        while (status := d.get("/v1/status"))["tasks"]["done"] < 1500:
            self.assertEqual(status["running"], sum(p["running"] for p in status["pools"]), status)
            seen.add(status["running"])
        self.assertGreater(len(seen), 2)

    def test_slots_have_a_number_and_a_path_each(self):
        d = self.daemon({"max_global_concurrency": 10, "slots": [{"name": "dir", "paths": ["/srv/1", "/srv/2", "/srv/3"]}],
                         "pools": [{"name": "a", "kind": "command", "max_concurrency": 8, "max_attempts": 1}]})
        ids = d.submit([self.task(resources={"slots": ["dir"]}) for _ in range(5)])
        self.stays(d, 3, 3)
        self.assertEqual({m[5] for m in self.marks()}, {"/srv/1", "/srv/2", "/srv/3"})
        self.assertEqual(d.get("/v1/slots"), [{"name": "dir", "count": 3, "taken": 3}])
        self.assertEqual(sorted(r["slots"][0]["slot"] for r in d.get("/v1/runners")), [1, 2, 3])
        self.assertEqual(d.task(ids[3])["waits_for"]["why"], "slot")
        self.release(2, 1)
        self.settle(d, 3, 4)
        place = {m[1]: m[5] for m in self.marks() if m[0] == "b"}
        self.assertEqual(place[str(ids[3])], place[str(ids[1])], "the place that was given back")

    def test_slots_and_weights_follow_the_file(self):
        def config(slots, tenants):
            return {"max_global_concurrency": 10, "slots": slots, "tenants": tenants,
                    "pools": [{"name": "a", "kind": "command", "max_concurrency": 8}]}
        d = self.daemon(config([{"name": "dir", "count": 2}, {"name": "gpu", "count": 1}], [{"name": "t", "weight": 5}]))
        ids = d.submit([self.task(resources={"slots": ["dir"]}, tenant="t") for _ in range(4)] +
                       [self.task(resources={"slots": ["gpu"]}) for _ in range(2)])
        self.settle(d, 3, 3)
        self.assertEqual({t["name"]: t["weight"] for t in d.get("/v1/tenants")["tenants"]}["t"], 5)
        d.configure(config([{"name": "dir", "count": 3}], []))
        self.assertEqual(d.api("POST", "/v1/config/reload", {})[0], 200)
        self.settle(d, 4, 4)
        self.release(5)
        self.stays(d, 3, 4)
        self.assertEqual(d.task(ids[5])["waits_for"]["why"], "unknown_slot")
        self.assertEqual({s["name"]: (s["count"], s["taken"]) for s in d.get("/v1/slots")}.get("gpu", (0, 0)), (0, 0))
        self.assertEqual({t["name"]: t["weight"] for t in d.get("/v1/tenants")["tenants"]}["t"], 1)

    def test_tenants_come_in_pages(self):
        d = self.daemon({"pools": [{"name": "a", "kind": "command", "max_concurrency": 1, "enabled": False}],
                         "tenants": [{"name": "t77", "weight": 3}]})
        names = sorted(f"t{n}" for n in range(2500)) + ["\u00e9 &+%"]
        d.submit([self.task(tenant=name) for name in names])
        # As many as the engine has in memory; it looks at some of them at a time.
        listed = wait_until(lambda: (page := d.get("/v1/tenants?limit=1000"))["next"] and page["tenants"], 30, "many tenants")
        self.assertEqual([t["name"] for t in listed], sorted(t["name"] for t in listed))
        for limit in (1000, 333):
            found, cursor = [], ""
            while cursor is not None:
                page = d.get(f"/v1/tenants?limit={limit}" + (cursor and "&cursor=" + urllib.parse.quote(cursor)))
                self.assertLessEqual(len(page["tenants"]), limit)
                found += page["tenants"]
                cursor = page["next"]
            self.assertEqual([t["name"] for t in found], names)
            self.assertEqual({t["name"]: t["weight"] for t in found if t["weight"] != 1}, {"t77": 3})
        self.assertEqual(d.get("/v1/tenants?limit=7")["tenants"], found[:7])

    def test_what_is_reserved_and_what_a_burst_adds(self):
        d = self.daemon({"policy": "priority", "max_global_concurrency": 20, "pools": [
            {"name": "a", "kind": "command", "max_concurrency": 4, "reserve": {"min_priority": 50, "share": "50%"}}]})
        d.submit([self.task() for _ in range(4)])
        self.stays(d, 2, 2)
        self.assertEqual(d.task(3)["waits_for"]["why"], "reserved")
        d.submit([self.task(priority=50) for _ in range(3)])
        self.stays(d, 4, 4)
        self.assertEqual(d.api("PATCH", "/v1/pools/a", {"reserve": {"min_priority": 0, "share": 0},
                                                        "burst": {"places": 2, "seconds": 1000}})[0], 200)
        self.stays(d, 6, 6)
        pool = d.get("/v1/pools/a")
        self.assertEqual((pool["running"], pool["max_concurrency"], pool["limit"]), (6, 4, 6))

    def test_a_burst_is_paid_back(self):
        d = self.daemon({"max_global_concurrency": 20, "pools": [
            {"name": "a", "kind": "command", "max_concurrency": 2, "burst": {"places": 1, "seconds": "1s"}}]})
        d.submit([self.task() for _ in range(6)])
        self.settle(d, 3, 3)
        # When it is used up the limit is below what it was, until that is paid.
        wait_until(lambda: d.get("/v1/pools/a")["limit"] == 1, 20, "the burst to be used up")
        self.release(1)
        self.release(2)
        self.settle(d, 1, 3)
        wait_until(lambda: d.get("/v1/pools/a")["limit"] == 3, 20, "the burst to be paid back")
        self.settle(d, 3, 5)


class Workers(CountsCase):
    """Of workers, max_concurrency counts processes, and each takes max_in_flight requests."""

    def config(self, **more):
        # Each worker answers in its own time: `work`.
        pool = {"name": "w", "kind": "process", "process": bad_worker("max_in_flight=4", "hang"), "max_concurrency": 2,
                "max_in_flight": 4, "overflow": 1, "overflow_idle": "60s", "shutdown_grace": "0s", "term_grace": "0s",
                "breaker": {"mode": "off"}, "max_attempts": 1, **more}
        return {"max_global_concurrency": 100, "pools": [pool], "shutdown": {"grace": "0s", "kill": "0s"}}

    def pool(self, d):
        return d.get("/v1/pools/w")

    def settles(self, d, **expected):
        def is_so():
            pool = self.pool(d)
            return all(pool[name] == value for name, value in expected.items())
        try:
            wait_until(is_so, 20, "the pool to be so")
        except AssertionError as fault:
            raise AssertionError(f"{fault}: {self.pool(d)}, not {expected}") from None

    def test_limits_are_of_workers_and_of_their_requests(self):
        d = self.daemon(self.config())
        d.submit([{"payload": n} for n in range(40)])
        self.settles(d, max_concurrency=2, limit=12, running=12)
        self.assertEqual(self.pool(d)["workers"]["total"], 3)
        status, pool = d.api("PATCH", "/v1/pools/w", {"max_concurrency": 4})
        self.assertEqual((status, pool["max_concurrency"]), (200, 4))
        self.settles(d, max_concurrency=4, limit=20, running=20)
        self.assertEqual(self.pool(d)["workers"]["total"], 5)
        self.assertEqual(samples(d.get("/metrics"))['weir_pool_max_concurrency{pool="w"}'], 4)
        # What was changed by hand holds after a restart, as it was said.
        d.restart()
        self.settles(d, max_concurrency=4, limit=20, running=20)
        # And what the file says now, when it says something else.
        d.configure(self.config(max_concurrency=3))
        self.assertEqual(d.api("POST", "/v1/config/reload", {})[0], 200)
        self.settles(d, max_concurrency=3, limit=16)
        self.assertEqual(d.api("PATCH", "/v1/pools/w", {"max_concurrency": 5000})[0] // 100, 4)
        self.settles(d, max_concurrency=3, limit=16)

    def test_a_limit_that_follows_the_queue(self):
        d = self.daemon(self.config(max_concurrency=1, overflow=0, follow={"what": "queue", "target": 4, "min": 1,
                                                                          "max": 3}))
        self.settles(d, max_concurrency=1, limit=4, running=0)
        d.submit([{"payload": n} for n in range(6)])
        self.settles(d, max_concurrency=2, limit=8, running=6)
        d.submit([{"payload": n} for n in range(40)])
        self.settles(d, max_concurrency=3, limit=12, running=12)

    def test_workers_that_are_lost(self):
        d = self.daemon(self.config(overflow=0, restart={"initial": "10ms", "ceiling": "10ms"}))
        d.submit([{"payload": n} for n in range(20)])
        self.settles(d, running=8)
        lost = 0
        for _ in range(2):
            worker = d.get("/v1/pools/w/workers")
            worker = (worker["workers"] if isinstance(worker, dict) else worker)[0]
            lost += worker["in_flight"]
            os.kill(worker["pid"], signal.SIGKILL)
            wait_until(lambda n=lost: self.pool(d)["attempts"]["lost"] == n, 20, "its attempts to be lost")
            wait_until(lambda n=lost: self.pool(d)["running"] == min(8, 20 - n) and
                       len(d.get("/v1/runners")) == min(8, 20 - n), 20, "others to run")
        self.assertEqual(d.get("/v1/status")["running"], 8)


    def test_attempts_of_workers_that_are_ended(self):
        d = self.daemon(self.config(overflow=0, max_attempts=3, restart={"initial": "10ms", "ceiling": "10ms"},
                                    backoff={"initial": "1h", "ceiling": "1h"}))
        ids = d.submit([{"payload": n} for n in range(30)])
        self.settles(d, running=8)
        self.assertEqual(d.api("POST", f"/v1/tasks/{ids[0]}/cancel")[0], 200)
        self.assertEqual(d.wait_task(ids[0])["state"], "cancelled")
        runner = next(r for r in d.get("/v1/runners") if r["task"] != ids[0])
        self.assertEqual(d.api("POST", f"/v1/runners/{runner['id']}/kill")[0] // 100, 2)
        wait_until(lambda: d.task(runner["task"])["attempts"] > 1 or d.task(runner["task"])["state"] != "running", 20,
                   "its end")
        # Those beside it at its worker are not to blame, and go on with another.
        self.settles(d, running=8)
        wait_until(lambda: len(d.get("/v1/runners")) == 8, 20, "eight to be listed")
        self.assertEqual(d.get("/v1/status")["running"], 8)
        self.assertEqual({t["failures"] for t in d.get("/v1/tasks?limit=1000")["tasks"] if t["id"] != runner["task"]}, {0})
        timed = d.submit({"payload": 1, "timeout": "200ms", "priority": 9, "max_attempts": 1})
        self.assertEqual(d.api("PATCH", "/v1/dispatcher", {"policy": "priority"})[0], 200)
        self.assertEqual(d.api("POST", f"/v1/tasks/{d.get('/v1/runners')[0]['task']}/cancel")[0], 200)
        self.assertEqual(d.wait_task(timed)["outcome"], "timeout")
        self.settles(d, running=8)


class Machine(CountsCase):
    """Limits that follow the load and the free memory of this machine: by targets that are always missed, and always met."""

    def config(self, load, memory):
        def pool(name, what, target):
            return {"name": name, "kind": "command", "max_concurrency": 8, "max_attempts": 1, "kill_after": "200ms",
                    "follow": {"what": what, "target": target, "min": 2, "max": 8}}
        return {"max_global_concurrency": 100, "shutdown": {"kill": "1s"},
                "pools": [pool("load", "load", load), pool("memory", "memory", memory)]}

    def limits(self, d):
        return {p["name"]: p["limit"] for p in d.get("/v1/pools")}

    def reload(self, d, load, memory):
        d.configure(self.config(load, memory))
        self.assertEqual(d.api("POST", "/v1/config/reload", {})[0], 200)

    def test_a_limit_falls_and_comes_up_again(self):
        d = self.daemon(self.config(100, 1))
        d.submit([self.task(pool=name) for name in ("load", "memory") for _ in range(12)])
        self.settle(d, 16, 16)
        self.assertEqual(self.limits(d), {"load": 8, "memory": 8})
        # All of the memory that there could be is too little; and whatever runs beside this test is too much.
        busy = [subprocess.Popen([sys.executable, "-S", "-E", "-c", "while True: pass"]) for _ in os.sched_getaffinity(0)]
        self.addCleanup(lambda: [p.kill() or p.wait() for p in busy])
        self.reload(d, 0.01, 1e9)
        wait_until(lambda: max(self.limits(d).values()) <= 6, 60, "the limits to fall")
        # What runs goes on, and nothing takes the place of what ends.
        self.settle(d, 16, 16)
        for n in (1, 2, 13, 14):
            self.release(n)
        self.settle(d, 12, 16)
        for p in busy:
            p.kill()
        self.reload(d, 100, 1)
        low = self.limits(d)
        self.assertTrue(all(2 <= n <= 6 for n in low.values()), low)
        wait_until(lambda: all(n > low[name] for name, n in self.limits(d).items()), 60, "the limits to come up")


class Queues(CountsCase):
    def test_tasks_that_name_no_pool_are_of_the_default_pool(self):
        d = self.daemon({"default_pool": "a", "pools": [{"name": "a", "kind": "command", "enabled": False},
                                                        {"name": "b", "kind": "command", "enabled": False}]})
        d.submit([self.task(), self.task(pool="a"), self.task(pool="b")])
        queues = {p["name"]: p["queue"] for p in d.get("/v1/pools")}
        self.assertEqual((queues["a"].get("ready"), queues["b"].get("ready")), (2, 1))
        self.assertEqual(d.get("/v1/status")["tasks"]["ready"], 3)
        self.assertEqual(json.dumps(d.get("/v1/pools/a")["queue"]), json.dumps(queues["a"]))


if __name__ == "__main__":
    unittest.main()
