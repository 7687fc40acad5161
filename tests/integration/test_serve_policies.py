"""The order in which `weir serve` starts tasks, under each policy, beside a slow and obvious model of it (choosekit.Model): random
loads, several seeds, every start.

run-tests: parallel
run-tests: timeout=300
"""
import datetime
import random
import unittest

import lifekit
from choosekit import Model, Service
from servekit import ServeCase
from weirtest import VARIANT, wait_until

COUNT = 100 if VARIANT else 300
SLOTS = [{"name": "s", "count": 1}, {"name": "u", "count": 2}]
# So exactly times are told.
EXACT_S = 1e-6


def seconds(iso):
    return datetime.datetime.fromisoformat(iso.replace("Z", "+00:00")).timestamp()


def random_task(rng, key, max_s=0):
    """One that may want anything, and mostly wants little."""
    task = {"key": str(key), "payload": {"key": str(key), "s": rng.random() * max_s}, "priority": rng.randint(-3, 3)}
    place = rng.random()
    if place < 0.4:
        task["pool"] = rng.choice(["a", "b", "c", "c", "off", "nowhere"])
    elif place < 0.75:
        task["skill"] = rng.choice(["x", "y", "z"])  # z: nobody offers it, so the default pool has it
    if rng.random() < 0.7:
        task["tenant"] = rng.choice("pqrs")
    if rng.random() < 0.1:
        task["session"] = rng.choice(["m", "n"])
    resources = {}
    if rng.random() < 0.3:
        resources["cpu"] = rng.choice([0.5, 1, 1.5, 2, 2.5])  # of which there are 2
    if rng.random() < 0.15:
        resources["slots"] = rng.choice([["s"], ["u"], ["s", "u"]])
    return {**task, "resources": resources} if resources else task


class PolicyCase(ServeCase):
    def setUp(self):
        super().setUp()
        self.service = Service()
        self.addCleanup(self.service.close)

    def both(self, policy, limit, pools, ageing=0, weights=None):
        """A daemon, and the model of it. pools: (name, limit, more)."""
        self.model = Model(policy, limit, ageing, "c", {s["name"]: s["count"] for s in SLOTS}, weights, EXACT_S)
        for name, most, more in pools:
            self.model.pool(name, most, **more)
        self.d = self.daemon({
            "policy": policy, "ageing": ageing, "max_global_concurrency": limit, "default_pool": "c", "slots": SLOTS,
            "tenants": [{"name": n, "weight": w} for n, w in (weights or {}).items()],
            "pools": [{"name": name, "kind": "http", "url": self.service.url(name), "throttle": "none", "max_concurrency": most,
                       **more} for name, most, more in pools]})

    def api(self, method, path, body=None):
        status, answer = self.d.api(method, path, body)
        self.assertEqual(status // 100, 2, f"{method} {path}: {status} {answer}")
        return answer

    def enable(self, name, enabled=True):
        self.api("POST", f"/v1/pools/{name}/{'enable' if enabled else 'disable'}")
        self.model.pools[name]["enabled"] = enabled

    def starts(self):
        """[(key, pool)] of all starts, in the order of the record; and how long each attempt ran."""
        keys = {t["id"]: t["key"] for t in lifekit.tasks(self.d)}
        told = lifekit.events(self.d, "kind=task.assigned,runner.completed")
        ran = {keys[e["task"]]: e["duration_s"] for e in told if e["kind"] == "runner.completed"}
        return [(keys[e["task"]], e["pool"]) for e in told if e["kind"] == "task.assigned"], ran


ONE_AT_A_TIME = [("a", 2, {"skills": ["x"], "enabled": False}), ("b", 2, {"skills": ["x", "y"], "cpu": 2, "enabled": False}),
                 ("c", 3, {"enabled": False, "cpu": 2}), ("off", 1, {"skills": ["y"], "enabled": False})]


class OneAtATime(PolicyCase):
    """All tasks are there before the first starts; one runs at a time."""

    def hold_against_the_model(self, policy, seed, ageing=0, weights=None):
        rng = random.Random(seed)
        self.both(policy, 1, ONE_AT_A_TIME, ageing, weights)
        tasks = [random_task(rng, n, 0.005 if policy == "fair-share" else 0) for n in range(COUNT)]
        at = 0
        while at < COUNT:  # in arrays of any length, so that they have become ready at different times
            count = rng.choice([1, 1, 2, 10])
            self.d.submit(tasks[at:at + count])
            at += count
        for task, known in zip(tasks, lifekit.tasks(self.d), strict=True):
            self.assertEqual(task["key"], known["key"])
            self.model.add(task, seconds(known["ready_at"]))
        # While the first one runs, the other pools are opened.
        self.enable("c")
        self.assertTrue(self.service.wait(lambda s: s.begun))
        first = self.service.begun[0][0]
        self.enable("a")
        self.enable("b")
        self.service.free()
        wait_until(lambda: lifekit.counts(self.d)["running"] == 0 and
                   lifekit.counts(self.d)["ready"] == self.left(), 60, "all that can run to have run")
        begun, ran = self.starts()
        self.assertEqual(begun, self.service.begun)
        self.check(begun, ran, first)

    def left(self):
        """How many can never run."""
        return sum("pool" in t and t["pool"] in ("off", "nowhere") or self.asks_too_much(t) for t in self.model.waiting)

    def asks_too_much(self, task):
        return all(p["name"] == "off" or p["cpu"] and task.get("resources", {}).get("cpu", 0) > p["cpu"]
                   for p in self.model.pools_of(task))

    def check(self, begun, ran, first):
        """Every start, one after the other, is what the model says."""
        undecided = 0
        for pool in "ab":
            self.model.pools[pool]["enabled"] = False
        for place, (key, pool) in enumerate(begun):
            may = self.model.firsts()
            undecided += len(may) > 1
            self.assertIn((key, pool), may, f"start {place} of {len(begun)}")
            self.model.start(key, pool)
            self.model.end(key, ran[key])
            if key == first:
                for pool in "ab":
                    self.model.pools[pool]["enabled"] = True
        self.assertEqual(self.model.firsts(), [])
        self.assertGreater(len(begun), COUNT / 2)
        # A model that says "may be" says nothing.
        self.assertLess(undecided, COUNT / 20)

    def again(self, run):
        self.service.close()
        self.service = Service()
        self.addCleanup(self.service.close)
        run()
        self.d.close()

    def test_fifo(self):
        for seed in (1, 2):
            self.again(lambda s=seed: self.hold_against_the_model("fifo", s))

    def test_priority(self):
        for seed in (3, 4):
            self.again(lambda s=seed: self.hold_against_the_model("priority", s))

    def test_priority_with_ageing(self):
        for seed in (5, 6):
            self.again(lambda s=seed: self.hold_against_the_model("priority", s, ageing=1000))

    def test_skill(self):
        for seed in (7, 8):
            self.again(lambda s=seed: self.hold_against_the_model("skill", s))

    def test_fair_share(self):
        for seed in (9, 10):
            self.again(lambda s=seed: self.hold_against_the_model("fair-share", s, weights={"p": 4, "q": 0.5, "r": 2.25}))


MANY = [("a", 2, {"skills": ["x"]}), ("b", 3, {"skills": ["x", "y"], "cpu": 2}),
        ("c", 4, {"cpu": 2, "reserve": {"min_priority": 1, "share": 0.5}}), ("off", 1, {"skills": ["y"], "enabled": False})]


class SeveralAtATime(PolicyCase):
    """Several run; one thing happens after the other, and each time exactly what the model says is started."""

    def settle(self, what):
        """Everything that may start has been started, and nothing else."""
        expected = self.model.start_all()
        seen = len(self.expected)
        self.expected += expected
        self.assertTrue(self.service.wait(lambda s: len(s.begun) >= len(self.expected)),
                        f"after {what}: {expected} expected, {self.service.begun[seen:]} seen")
        # Requests that were sent one after the other may come side by side.
        self.assertEqual(sorted(self.service.begun[seen:]), sorted(expected), f"after {what}")
        if not expected:  # an end with which nothing starts is not seen otherwise, and may come after the next one
            wait_until(lambda: self.d.get("/v1/status")["running"] == len(self.model.running), 20, f"{what} to be taken in")

    def submit(self, count):
        tasks = [random_task(self.rng, self.count + n) for n in range(count)]
        self.count += count
        for task, number in zip(tasks, self.d.submit(tasks), strict=True):
            self.ids[task["key"]] = number
            self.model.add(task)

    def end_one(self):
        if self.model.running:
            key = self.rng.choice(sorted(self.model.running))
            self.service.end(key)
            self.model.end(key)
            return f"the end of {key}"
        return "nothing"

    def change_one(self):
        if not self.model.waiting:
            return "nothing"
        task = self.rng.choice(self.model.waiting)
        if self.rng.random() < 0.3:
            self.api("POST", f"/v1/tasks/{self.ids[task['key']]}/cancel")
            self.model.cancel(task["key"])
            return f"the cancel of {task['key']}"
        task["priority"] = self.rng.randint(-3, 3)
        self.api("PATCH", f"/v1/tasks/{self.ids[task['key']]}", {"priority": task["priority"]})
        return f"priority {task['priority']} for {task['key']}"

    def change_limits(self):
        what = self.rng.random()
        name = self.rng.choice(sorted(self.model.pools))
        if what < 0.3:
            self.model.limit = self.rng.randint(1, 6)
            self.api("PATCH", "/v1/dispatcher", {"max_global_concurrency": self.model.limit})
            return f"global limit {self.model.limit}"
        if what < 0.5:
            self.model.policy = self.rng.choice(["fifo", "priority", "skill"])
            self.api("PATCH", "/v1/dispatcher", {"policy": self.model.policy})
            return f"policy {self.model.policy}"
        if what < 0.8:
            self.model.pools[name]["limit"] = self.rng.randint(1, 5)
            self.api("PATCH", f"/v1/pools/{name}", {"max_concurrency": self.model.pools[name]["limit"]})
            return f"limit {self.model.pools[name]['limit']} of {name}"
        self.enable(name, self.rng.random() < 0.7)
        return f"{name} enabled or not"

    def hold_against_the_model(self, policy, seed):
        self.rng = random.Random(seed)
        self.both(policy, 4, MANY)
        self.expected, self.ids, self.count = [], {}, 0
        for _ in range(COUNT):
            what = self.rng.random()
            if what < 0.15 and self.count < COUNT:
                self.submit(self.rng.randint(1, 8))
                what = "a submit"
            elif what < 0.3:
                what = self.change_one()
            elif what < 0.4:
                what = self.change_limits()
            else:
                what = self.end_one()
            self.settle(what)
        while self.model.running:
            self.settle(self.end_one())
        self.assertGreater(len(self.expected), COUNT / 4)
        wait_until(lambda: self.d.get("/v1/status")["store"]["waiting"] == 0, 20, "all to be written")
        self.assertEqual({t["key"] for t in lifekit.tasks(self.d, "state=ready")}, {t["key"] for t in self.model.waiting})

    def test_fifo(self):
        self.hold_against_the_model("fifo", 21)

    def test_priority(self):
        self.hold_against_the_model("priority", 22)

    def test_skill(self):
        self.hold_against_the_model("skill", 23)


class Starving(PolicyCase):
    """One of low priority, and a stream of high ones that never ends."""

    def stream(self, ageing, most):
        """How many of the stream are started before the low one; None: it is not, within so many."""
        self.both("priority", 1, [("c", 1, {})], ageing)

        def submit(key, priority):
            number = self.d.submit({"key": key, "payload": {"key": key}, "priority": priority})
            self.model.add({"key": key, "priority": priority}, seconds(self.d.task(number)["ready_at"]))
        submit("high0", 20)
        submit("low", 0)
        for n in range(1, most):
            submit(f"high{n}", 20)
            self.assertTrue(self.service.wait(lambda s, n=n: len(s.begun) == n), "the next start")
            key, pool = self.service.begun[-1]
            self.assertIn((key, pool), self.model.firsts())
            if key == "low":
                return n
            self.model.start(key, pool)
            self.service.end(key)
            self.model.end(key)
        return None

    def test_what_ages_comes_up_against_a_stream(self):
        # 1000 for each minute: 20 for 1.2 s, and then it is before all that come later.
        self.assertIsNotNone(self.stream(1000, 100000))

    def test_without_ageing_it_may_wait_for_ever(self):
        self.assertIsNone(self.stream(0, 50 if VARIANT else 200))


if __name__ == "__main__":
    unittest.main()
