"""Which task `weir serve` runs next, and where: the policies, skills, sessions, and what may change while tasks wait.

run-tests: waits
"""
import os
import time
import unittest

from servekit import ServeCase
from weirtest import wait_until
from workerkit import bad_worker

class ChoosingCase(ServeCase):
    def setUp(self):
        super().setUp()
        os.mkfifo(self.path("gate"))
        self.order_path = self.path("order")

    def one_at_a_time(self, **config):
        return self.daemon({"default_pool": "a", "pools": [{"name": "a", "kind": "command", "max_attempts": 1}], **config})

    def block(self, d, **fields):
        """Takes the only place until open()."""
        task = d.submit({"payload": {"shell": f"read x <{self.path('gate')}"}, "priority": 1000, **fields})
        d.wait_task(task, "running")
        return task

    def open(self):
        def opened():
            try:
                return os.open(self.path("gate"), os.O_WRONLY | os.O_NONBLOCK) + 1
            except OSError:
                return 0
        os.close(wait_until(opened, 20, "the command to read") - 1)

    def note(self, key, **fields):
        return {"key": str(key), "payload": {"shell": f'echo "$WEIR_KEY" >>{self.order_path}'}, **fields}

    def order(self, count):
        def lines():
            with open(self.order_path, encoding="utf-8") as f:
                return f.read().split()
        wait_until(lambda: os.path.exists(self.order_path) and len(lines()) >= count, 30, f"{count} tasks to run")
        return lines()


class Policies(ChoosingCase):
    def test_fifo_goes_by_the_coming(self):
        d = self.one_at_a_time(policy="fifo")
        self.block(d)
        d.submit([self.note(n, priority=(n * 7) % 5) for n in range(10)])
        self.open()
        self.assertEqual(self.order(10), [str(n) for n in range(10)])

    def test_priority_the_highest_first_then_the_oldest(self):
        d = self.one_at_a_time(policy="priority")
        self.block(d)
        for n in range(6):
            d.submit(self.note(n, priority=n % 3))
        ids = d.submit([self.note(n, priority=-5) for n in (6, 7)])
        # One that waits is moved up; one that is moved within a line of equals keeps its age.
        self.assertEqual(d.api("PATCH", f"/v1/tasks/{ids[1]}", {"priority": 2})[0], 200)
        self.assertEqual(d.task(ids[1])["priority"], 2)
        self.open()
        self.assertEqual(self.order(8), ["2", "5", "7", "1", "4", "0", "3", "6"])

    def test_the_policy_changes_while_tasks_wait(self):
        d = self.one_at_a_time(policy="fifo")
        self.block(d)
        d.submit([self.note(n, priority=n) for n in range(5)])
        status, answer = d.api("PATCH", "/v1/dispatcher", {"policy": "priority"})
        self.assertEqual((status, answer["policy"]), (200, "priority"))
        self.open()
        self.assertEqual(self.order(5), ["4", "3", "2", "1", "0"])

    def test_a_changed_policy_holds_until_the_file_says_another(self):
        config = {"policy": "fifo", "pools": [{"name": "a", "kind": "command"}]}
        d = self.daemon(config)
        changed = {"policy": "fair-share", "ageing": 2.5, "max_global_concurrency": 7}
        self.assertEqual(d.api("PATCH", "/v1/dispatcher", changed)[0], 200)
        d.restart()
        self.assertEqual(d.get("/v1/dispatcher"), changed)
        d.kill9()
        d.start()
        self.assertEqual(d.get("/v1/dispatcher"), changed)
        # A file that says nothing else of it leaves it.
        d.configure({**config, "retention": {"done": "1h"}})
        self.assertEqual(d.api("POST", "/v1/config/reload", {})[0], 200)
        self.assertEqual(d.get("/v1/dispatcher"), changed)
        d.configure({**config, "policy": "priority"})
        self.assertEqual(d.api("POST", "/v1/config/reload", {})[0], 200)
        now = {"policy": "priority", "ageing": 0, "max_global_concurrency": 10}
        self.assertEqual(d.get("/v1/dispatcher"), now)
        d.restart()
        self.assertEqual(d.get("/v1/dispatcher"), now)

    def test_a_file_that_was_changed_meanwhile_is_what_holds(self):
        config = {"policy": "fifo", "pools": [{"name": "a", "kind": "command", "max_concurrency": 2},
                                              {"name": "b", "kind": "command", "max_concurrency": 2}]}
        d = self.daemon(config)
        self.assertEqual(d.api("PATCH", "/v1/dispatcher", {"policy": "skill"})[0], 200)
        for pool in "ab":
            self.assertEqual(d.api("PATCH", f"/v1/pools/{pool}", {"max_concurrency": 5})[0], 200)
        self.assertEqual(d.api("POST", "/v1/pools/b/disable")[0] // 100, 2)
        d.stop()
        config["pools"][0]["max_concurrency"] = 3
        d.configure({**config, "policy": "priority"})
        d.start()
        self.assertEqual(d.get("/v1/dispatcher")["policy"], "priority")
        self.assertEqual(d.get("/v1/pools/a")["max_concurrency"], 3)
        b = d.get("/v1/pools/b")
        self.assertEqual((b["max_concurrency"], b["enabled"]), (5, False))

    def test_what_waits_long_comes_up(self):
        # 1000 for each minute: 17 for each second.
        d = self.one_at_a_time(policy="priority", ageing=1000)
        self.block(d)
        old = d.submit(self.note("old"))
        ready = time.monotonic()
        wait_until(lambda: time.monotonic() - ready > 1, 20, "a second to pass")
        d.submit([self.note("young", priority=10), self.note("high", priority=500)])
        self.assertEqual(d.task(old)["state"], "ready")
        self.open()
        self.assertEqual(self.order(3), ["high", "old", "young"])

    def test_shares_are_as_the_weights(self):
        d = self.daemon({"policy": "fair-share", "tenants": [{"name": "r", "weight": 3}, {"name": "s", "weight": 1.5}],
                         "pools": [{"name": "w", "kind": "process", "process": bad_worker("work=0.001"),
                                    "enabled": False}]})
        # More than are handed to the engine at once.
        count = 1200
        for tenant in "rst":
            d.submit([{"payload": n, "tenant": tenant} for n in range(count)])
        self.assertEqual(d.api("POST", "/v1/pools/w/enable")[0] // 100, 2)
        wait_until(lambda: d.get("/v1/status")["tasks"].get("done", 0) == 3 * count, 60, "all to be done")
        tenant_of = {n + 1: "rst"[n // count] for n in range(3 * count)}
        left, had, after = dict.fromkeys("rst", count), dict.fromkeys("rst", 0.0), 0
        while all(left.values()):  # as long as each has tasks that wait
            page = d.get(f"/v1/events?kind=runner.completed&after={after}&limit=1000")["events"]
            self.assertTrue(page)
            after = page[-1]["seq"]
            for event in page:
                tenant = tenant_of[event["task"]]
                left[tenant] -= 1
                had[tenant] += event["duration_s"]
                if not left[tenant]:
                    break
        for tenant, weight in (("r", 3), ("s", 1.5), ("t", 1)):
            self.assertAlmostEqual(had[tenant] / sum(had.values()), weight / 5.5, delta=0.04, msg=f"{tenant} of {had}")
        tenants = {t["name"]: t for t in d.get("/v1/tenants")["tenants"]}
        self.assertTrue(all(t["ready"] == 0 and t["running"] == 0 for t in tenants.values()), tenants)


class Skills(ChoosingCase):
    def test_the_least_utilised_pool_that_offers_it(self):
        d = self.daemon({"policy": "skill", "max_global_concurrency": 50, "default_pool": "d", "pools": [
            {"name": "p", "kind": "command", "max_concurrency": 4, "skills": ["x"]},
            {"name": "q", "kind": "command", "max_concurrency": 2, "skills": ["x", "y"]},
            {"name": "d", "kind": "command", "max_concurrency": 8}]})
        ids = d.submit([{"skill": "x", "payload": {"argv": ["sleep", "1000"]}} for _ in range(7)])
        wait_until(lambda: d.get("/v1/status")["running"] == 6, 20, "six to run")
        where = {r["task"]: r["pool"] for r in d.get("/v1/runners")}
        self.assertEqual([where.get(n) for n in ids], ["p", "q", "p", "p", "q", "p", None])
        # Nobody offers z: the default pool has it, so nothing waits, and there is nothing to warn of.
        more = d.submit([{"skill": "z", "payload": {"shell": "echo $WEIR_POOL"}} for _ in range(3)])
        self.assertEqual([d.wait_task(n)["output"] for n in more], ["d\n"] * 3)
        self.assertEqual(d.get("/v1/events?kind=skill.unoffered")["events"], [])
        self.assertEqual(d.get("/v1/tasks?skill=z")["tasks"][0]["ran_in"], "d")

    def test_without_a_default_pool_it_waits_until_somebody_offers_it(self):
        pools = [{"name": "p", "kind": "command", "skills": ["x"]}, {"name": "q", "kind": "command"}]
        d = self.daemon({"pools": pools})
        task, plain, other = d.submit([{"skill": "z", "payload": {"shell": "echo $WEIR_POOL"}},
                                       {"payload": {"shell": "true"}},
                                       {"skill": "z", "tenant": "t", "payload": {"shell": "echo $WEIR_POOL"}}])
        wait_until(lambda: d.get("/v1/events?kind=skill.unoffered")["events"], 20, "the warning")
        self.assertEqual((d.task(task)["state"], d.task(task)["waits_for"]["why"]), ("ready", "no_pool"))
        self.assertEqual((d.task(plain)["state"], d.task(plain)["waits_for"]["why"]), ("ready", "no_pool"))
        pools[1]["skills"] = ["z"]
        d.configure({"pools": pools, "default_pool": "p"})
        self.assertEqual(d.api("POST", "/v1/config/reload", {})[0], 200)
        self.assertEqual(d.wait_task(task)["output"], "q\n")
        self.assertEqual(d.wait_task(plain)["state"], "done")
        self.assertEqual(d.wait_task(other)["output"], "q\n")
        warnings = d.get("/v1/events?kind=skill.unoffered")["events"]
        self.assertEqual(len(warnings), 1, warnings)
        self.assertIn("z", str(warnings[0]))


class Blocking(ChoosingCase):
    def test_one_that_cannot_run_blocks_none_behind_it(self):
        d = self.daemon({"policy": "priority", "max_global_concurrency": 50, "default_pool": "a",
                         "slots": [{"name": "s", "count": 1}], "pools": [
                             {"name": "a", "kind": "command", "max_concurrency": 20, "cpu": 1, "memory": "1GiB"},
                             {"name": "full", "kind": "command", "max_concurrency": 1},
                             {"name": "off", "kind": "command", "enabled": False}]})
        sleep = {"payload": {"argv": ["sleep", "1000"]}}
        busy = d.submit([{**sleep, "pool": "full"}, {**sleep, "session": "t"}, {**sleep, "resources": {"slots": ["s"]}},
                         {**sleep, "resources": {"cpu": 1}}, {**sleep, "resources": {"memory": "1GiB"}}])
        wait_until(lambda: d.get("/v1/status")["running"] == 5, 20, "five to run")
        waiting = d.submit([{**sleep, "priority": 9, **more} for more in (
            {"pool": "full"}, {"session": "t"}, {"resources": {"slots": ["s"]}}, {"resources": {"cpu": 0.5}},
            {"resources": {"memory": "1MiB"}}, {"pool": "off"}, {"pool": "nowhere"}, {"resources": {"cpu": 2}},
            {"resources": {"slots": ["unknown"]}})])
        free = d.submit([{"payload": {"shell": "true"}, "priority": -9} for _ in range(20)])
        for n in free:
            self.assertEqual(d.wait_task(n)["state"], "done")
        self.assertEqual([d.task(n)["waits_for"]["why"] for n in waiting],
                         ["pool_limit", "session_taken", "slot", "cpu_quota", "memory_quota", "pool_disabled", "no_pool",
                          "never", "unknown_slot"])
        for n in busy:
            self.assertEqual(d.api("POST", f"/v1/tasks/{n}/cancel")[0], 200)
        wait_until(lambda: all(d.task(n)["state"] == "running" for n in waiting[:5]), 20, "what waited to run")
        self.assertEqual([d.task(n)["state"] for n in waiting[5:]], ["ready"] * 4)


class Sessions(ChoosingCase):
    def spans(self, d, tasks):
        """[(worker, first event, last event)] of the attempts of the tasks."""
        begun, spans = {}, []
        for e in d.get("/v1/events?kind=runner.started,runner.completed,runner.failed&limit=1000")["events"]:
            if e["task"] not in tasks:
                continue
            if e["kind"] == "runner.started":
                begun[e["task"]] = e["seq"]
            else:
                spans.append((e.get("worker"), begun[e["task"]], e["seq"]))
        return sorted(spans, key=lambda s: s[1])

    def test_one_at_a_time_and_on_the_same_worker(self):
        d = self.daemon({"max_global_concurrency": 50, "pools": [
            {"name": "w", "kind": "process", "process": bad_worker("work=0.002"), "max_concurrency": 3}]})
        ids = d.submit([{"payload": n, "session": f"s{n % 4}"} for n in range(80)])
        wait_until(lambda: d.get("/v1/status")["tasks"].get("done", 0) == 80, 30, "all to be done")
        workers = set()
        for s in range(4):
            spans = self.spans(d, set(ids[s::4]))
            self.assertEqual(len(spans), 20)
            self.assertEqual(len({w for w, _, _ in spans}), 1, spans)
            workers.add(spans[0][0])
            for before, after in zip(spans, spans[1:]):
                self.assertLess(before[2], after[1], "one ends before the next begins")
        self.assertEqual(len(workers), 3, "sessions are spread")
        sessions = d.get("/v1/pools/w")["sessions"]
        self.assertEqual((sessions["bound"], sessions["hits"], sessions["misses"]), (4, 76, 4))

    def test_their_order_outlasts_a_next_try_and_a_kill(self):
        """What is behind a task that is tried again waits with it, also where it has another priority."""
        d = self.daemon({"policy": "fifo", "max_global_concurrency": 50, "pools": [
            {"name": "a", "kind": "command", "max_concurrency": 8, "backoff": {"initial": "300ms"}}]})
        log = self.path("log")
        ids = d.submit([{"payload": {"shell": f"echo {n} >>{log}; mkdir {self.path('tried')}.{n} && exit 1; exit 0"},
                         "session": "s", "priority": n % 2} for n in range(4)])
        waits = wait_until(lambda: (t := d.task(ids[0]))["failures"] == 1 and t, 30, "its first failure")
        self.assertEqual(waits["state"], "ready", waits)
        self.assertGreater(waits["not_before"], waits["submitted_at"])
        kinds = [e["kind"] for e in d.get(f"/v1/tasks/{ids[0]}/events")["events"]]
        self.assertEqual(kinds[4:7], ["runner.failed", "task.retry_scheduled", "task.ready"])
        wait_until(lambda: d.task(ids[1])["failures"] == 1, 30, "that of the second")
        d.kill9()
        d.start()
        self.assertEqual({d.wait_task(n)["state"] for n in ids}, {"done"})
        with open(log, encoding="ascii") as f:
            ran = f.read().split()
        self.assertEqual(ran, sorted(ran))
        self.assertEqual(set(ran), {"0", "1", "2", "3"})

    def test_of_commands_too(self):
        d = self.daemon({"max_global_concurrency": 50, "pools": [{"name": "a", "kind": "command", "max_concurrency": 8}]})
        lock = self.path("lock")
        ids = d.submit([{"payload": {"shell": f"mkdir {lock}.{n % 2} && sleep 0.01 && rmdir {lock}.{n % 2}"},
                         "session": str(n % 2), "max_attempts": 1} for n in range(20)])
        self.assertEqual({d.wait_task(n)["state"] for n in ids}, {"done"})


if __name__ == "__main__":
    unittest.main()
