"""Fair share, on a daemon: each tenant's share of the work (the time of its attempts) is that of its weight, to 2 %, however
long its tasks are; and who was idle gets no credit for it.

run-tests: timeout=300
"""
import os
import random
import sys
import tempfile
import unittest

import lifekit
from servekit import ServeCase
from weirtest import ROOT, VARIANT, wait_until

WORKERS = 8
LONGEST_MS = 20
WORKER = """import sys, threading
sys.path.insert(0, {sdk!r})
import weir_worker

@weir_worker.command("process")
def process(args):
    threading.Event().wait(args["ms"] / 1000)

weir_worker.run()
"""


class Shares(ServeCase):
    def start(self, weights):
        """A daemon whose pool is still closed. A tenant whose tasks are not in memory in time has less meanwhile, and more
        afterwards: so the disk is a quick one."""
        self.weights = weights
        shm = tempfile.TemporaryDirectory(prefix="weir-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
        self.addCleanup(shm.cleanup)
        path = self.write("worker.py", WORKER.format(sdk=os.path.join(ROOT, "sdk", "python")))
        self.d = self.daemon({"policy": "fair-share", "max_global_concurrency": 100, "check_interval": "1h",
                              "tenants": [{"name": n, "weight": w} for n, w in weights.items()],
                              "pools": [{"name": "w", "kind": "process", "process": [sys.executable, "-S", "-E", path],
                                         "max_concurrency": WORKERS, "enabled": False}]},
                             folder=shm.name)
        self.rng = random.Random(1)
        self.tenant_of, self.waits = {}, {}

    def submit(self, tenant, count, longest_ms):
        # Of each line so many are in memory at first; with what they need they are of many.
        ids = self.d.submit([{"tenant": tenant, "payload": {"ms": self.rng.uniform(0.5, longest_ms)},
                              "resources": {"memory": f"{n % 16 + 1}MiB"}} for n in range(count)])
        self.tenant_of.update(dict.fromkeys(ids, tenant))

    def run_all(self):
        self.assertEqual(self.d.api("POST", "/v1/pools/w/enable")[0], 200)
        wait_until(lambda: lifekit.is_quiet(self.d), 120, "all to be done")

    def windows(self):
        """[({tenants}, [(tenant, seconds), ...])]: in each of these times just those tenants had tasks that waited."""
        found, waits, ready = [], dict.fromkeys(self.weights, 0), None
        for e in lifekit.events(self.d, "kind=task.ready,task.submitted,task.assigned,runner.completed"):
            tenant = self.tenant_of.get(e["task"])
            waits[tenant] = waits.get(tenant, 0) + {"task.ready": 1, "task.assigned": -1}.get(e["kind"], 0)
            now = {t for t, n in waits.items() if n > 0}
            if now != ready:
                found.append((now, []))
                ready = now
            if e["kind"] == "runner.completed":
                found[-1][1].append((tenant, e["duration_s"]))
        return found

    def shares(self, work):
        had = dict.fromkeys(self.weights, 0.0)
        for tenant, took_s in work:
            had[tenant] += took_s
        return had, sum(had.values())

    def check(self, work, tenants):
        weight = sum(self.weights[t] for t in tenants)
        had, total = self.shares(work)
        # How long the machine has held up an attempt is known at its end, and made up for only then.
        held_s = sum(sorted(max(took_s - LONGEST_MS / 1000, 0) for _, took_s in work)[-WORKERS:])
        for tenant in tenants:
            share = self.weights[tenant] / weight
            self.assertAlmostEqual(had[tenant], share * total, delta=0.02 * share * total + held_s, msg=f"{tenant} of {had}")

    def test_work_is_shared_as_one_to_two_to_seven(self):
        self.start({"p": 1, "q": 2, "r": 7})
        few = 10 if VARIANT else 1
        # The smaller the share, the longer the tasks: it is the time that counts, and not how many there are.
        for tenant, count, longest_ms in (("p", 400, 20), ("q", 1600, 9), ("r", 6000, 6)):
            self.submit(tenant, count // few, longest_ms)
        self.run_all()
        together, work = max(self.windows(), key=lambda w: len(w[1]))
        self.assertEqual(together, {"p", "q", "r"})
        self.assertGreater(len(work) * few, 6000)
        self.check(work, "pqr")

    def test_who_was_idle_gets_its_share_from_then_on_and_no_more(self):
        self.start({"p": 1, "q": 3, "late": 4, "new": 2})
        few = 10 if VARIANT else 1
        self.submit("late", 40, 4)  # it has had something, and then nothing for long; "new" has never been seen
        for tenant, count in (("p", 1000), ("q", 3000)):
            self.submit(tenant, count // few, 6)
        self.assertEqual(self.d.api("POST", "/v1/pools/w/enable")[0], 200)
        wait_until(lambda: lifekit.counts(self.d)["done"] > 1500 // few, 60, "the others to have had much")
        self.submit("late", 1500 // few, 6)
        self.submit("new", 1500 // few, 6)
        wait_until(lambda: lifekit.is_quiet(self.d), 120, "all to be done")
        windows = self.windows()
        alone = max((w for w in windows if w[0] == {"p", "q"}), key=lambda w: len(w[1]))[1]
        self.check(alone, "pq")
        at = max((i for i, w in enumerate(windows) if w[0] == set(self.weights)), key=lambda i: len(windows[i][1]))
        work = windows[at][1]
        self.assertGreater(len(work) * few, 1500)
        self.check(work, self.weights)
        # Not more at first and less then: at no time is it ahead by more than what has run at once.
        ahead_s = sum(sorted(took_s for _, took_s in work)[-2 * WORKERS:])
        for end in range(1, len(work)):
            had, total = self.shares(work[:end])
            for tenant in ("late", "new"):
                self.assertLess(had[tenant] - total * self.weights[tenant] / 10, ahead_s, f"after {end}: {had}")


if __name__ == "__main__":
    unittest.main()
