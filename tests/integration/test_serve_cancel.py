"""A cancel that was acknowledged is kept: what ran then does not run again, also when `weir serve` is killed right behind its answer."""
import collections
import os
import random
import threading
import unittest

import lifekit
from servekit import ServeCase
from weirtest import wait_until

SEED = int(os.environ.get("WEIR_SEED", "1"))
ROUNDS = 20
# Says that it has begun, and does not end when it is told to.
DEAF = """trap '' TERM
echo "$WEIR_TASK $WEIR_ATTEMPT" >>"$SAID"
while :; do sleep 0.05; done
"""
QUICK = 'echo "$WEIR_TASK $WEIR_ATTEMPT" >>"$SAID"'
LARGE = 7000  # tasks of a batch that is cancelled in some pieces


class Cancel(ServeCase):
    def start(self, places=3):
        open(self.path("said"), "a", encoding="utf-8").close()
        return self.daemon({"max_global_concurrency": 64, "quarantine": {"deaths": 0},
                            "pools": [{"name": "sh", "kind": "command", "max_concurrency": places},
                                      {"name": "quick", "kind": "command", "max_concurrency": 4}]},
                           env={"SAID": self.path("said")})

    def batch(self, d, count, shell=DEAF):
        """Its id, and those of its tasks."""
        status, told = d.api("POST", "/v1/batches", {"tasks": [{"pool": "sh", "payload": {"shell": shell}}] * count})
        self.assertEqual(status, 201, told)
        return told["id"], [t["id"] for t in lifekit.tasks(d, f"batch={told['id']}")]

    def begun(self):
        """Attempts that have said so, by task."""
        found = collections.defaultdict(list)
        with open(self.path("said"), encoding="utf-8") as lines:
            for line in lines:
                task, attempt = line.split()
                found[int(task)].append(int(attempt))
        return found

    def wait_begun(self, tasks):
        wait_until(lambda: all(self.begun()[t] for t in tasks), 30, f"tasks {tasks} to begin")

    def check(self, d, cancelled):
        """Whatever has begun of them is recorded, and before their cancel (lifekit)."""
        lives = lifekit.check_lives(lifekit.events(d))
        begun = self.begun()
        for t in cancelled:
            self.assertEqual(d.task(t)["state"], "cancelled", [e["kind"] for e in lives[t]])
            self.assertNotIn("cancelling", d.task(t))
            recorded = [e["attempt"] for e in lives[t] if e["kind"] == "task.assigned"]
            self.assertEqual(sorted(set(begun[t])), sorted(begun[t]))
            self.assertLessEqual(set(begun[t]), set(recorded), [e["kind"] for e in lives[t]])

    def all_after(self, d):
        """What waits in front of these would have begun before them."""
        for t in d.submit([{"pool": "sh", "payload": {"shell": "true"}} for _ in range(6)]):
            self.assertEqual(d.wait_task(t)["state"], "done")

    def test_a_task_that_ran_when_its_cancel_was_answered_does_not_run_again(self):
        d = self.start()
        task = d.submit({"pool": "sh", "payload": {"shell": DEAF}})
        self.wait_begun([task])
        status, told = d.api("POST", f"/v1/tasks/{task}/cancel")
        d.kill9()
        self.assertEqual((status, told["state"], told["cancelling"]), (200, "running", True))
        d.start()
        self.assertEqual(d.task(task)["state"], "cancelled")
        self.all_after(d)
        self.check(d, [task])
        self.assertEqual(self.begun()[task], [1])
        kinds = [e["kind"] for e in lifekit.by_task(lifekit.events(d))[task]]
        self.assertEqual(kinds[-3:], ["task.changed", "runner.lost", "task.cancelled"])
        # It may be tried again, and then it is as any other.
        self.assertEqual(d.api("POST", f"/v1/tasks/{task}/retry")[0], 200)
        wait_until(lambda: self.begun()[task] == [1, 2], 30, "the retry")
        self.assertEqual(d.wait_task(task, "running")["attempts"], 2)  # that it has begun is written
        d.kill9()
        d.start()
        wait_until(lambda: self.begun()[task] == [1, 2, 3], 30, "the attempt after the kill")
        d.weir("task", "cancel", task, status=0)
        self.assertEqual(d.wait_task(task)["state"], "cancelled")
        self.assertEqual(d.stop(), 0)

    def test_a_batch_of_which_some_ran(self):
        d = self.start()
        batch, tasks = self.batch(d, 7)
        self.wait_begun(tasks[:3])
        status, told = d.api("POST", f"/v1/batches/{batch}/cancel")
        d.kill9()
        self.assertEqual((status, told), (200, {"cancelled": 4, "cancelling": 3}))
        d.start()
        self.assertTrue(d.get(f"/v1/batches/{batch}")["finished"])
        self.all_after(d)
        self.check(d, tasks)
        self.assertEqual({t: n for t, n in self.begun().items() if n}, {t: [1] for t in tasks[:3]})
        self.assertEqual(d.stop(), 0)

    def test_nothing_of_a_large_batch_starts_between_the_pieces_in_which_it_is_cancelled(self):
        d = self.start()
        batch, tasks = self.batch(d, LARGE, QUICK)
        self.wait_begun(tasks[:5])
        status, told = d.api("POST", f"/v1/batches/{batch}/cancel")
        self.assertEqual(status, 200, told)
        wait_until(lambda: d.get(f"/v1/batches/{batch}")["finished"], 60, "the batch to end")
        kinds = collections.Counter(t["state"] for t in lifekit.tasks(d, f"batch={batch}"))
        self.assertEqual(sum(kinds.values()), LARGE)
        self.assertLessEqual(kinds["cancelled"], told["cancelled"] + told["cancelling"])
        self.assertGreaterEqual(kinds["cancelled"], told["cancelled"])
        mine = set(tasks)
        of_batch = [e["kind"] for e in lifekit.events(d) if e.get("task") in mine]
        self.assertNotIn("task.assigned", of_batch[of_batch.index("task.cancelled"):])
        self.check(d, tasks[-100:])
        self.all_after(d)
        self.assertEqual(d.stop(), 0)

    def test_the_client_says_that_it_is_being_cancelled(self):
        d = self.start()
        batch, (one, two) = self.batch(d, 2)
        self.wait_begun([one, two])
        self.assertEqual(d.weir("task", "cancel", one, status=0).out, f"task {one}: running (cancelling)\n")
        self.assertEqual(d.weir("batch", "cancel", batch, status=0).out,
                         f"batch {batch}: tasks cancelled: 0, cancelling (they run): 2\n")
        for t in (one, two):
            self.assertEqual(d.wait_task(t)["state"], "cancelled")
        self.check(d, [one, two])
        self.assertEqual(d.stop(), 0)

    def test_under_load_and_killed_at_any_moment(self):
        rng = random.Random(SEED)
        d = self.start(places=6)
        stop, cancelled, ran = threading.Event(), [], 0

        def load():
            while not stop.is_set():
                try:
                    d.api("POST", "/v1/tasks", [{"pool": "quick", "payload": {"shell": "true"}}] * 5)
                except OSError:
                    pass  # it is being killed
                stop.wait(0.02)
        crowd = [threading.Thread(target=load) for _ in range(2)]
        for t in crowd:
            t.start()
        try:
            for _ in range(ROUNDS):
                tasks = d.submit([{"pool": "sh", "payload": {"shell": DEAF}} for _ in range(8)])
                stop.wait(rng.uniform(0, 0.15))  # the moment of the cancel, not a wait for something
                for t in tasks:
                    status, told = d.api("POST", f"/v1/tasks/{t}/cancel")
                    self.assertEqual(status, 200, told)
                    ran += told.get("cancelling", False)
                    cancelled.append(t)
                stop.wait(rng.choice([0, 0, rng.uniform(0, 0.1)]))
                d.kill9()
                d.start()
        finally:
            stop.set()
            for t in crowd:
                t.join()
        self.all_after(d)
        self.check(d, cancelled)
        self.assertGreater(ran, ROUNDS, "too few ran when they were cancelled: the test shows nothing")
        wait_until(lambda: lifekit.is_quiet(d), 60, "the load to end")
        lifekit.check_counters(d)
        self.assertEqual(d.stop(), 0)


if __name__ == "__main__":
    unittest.main()
