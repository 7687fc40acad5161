"""Dependencies between tasks of `weir serve`: valid orders, circles, what fails, and what can never be met.

run-tests: waits
"""
import json
import os
import random
import shutil
import subprocess
import unittest

from servekit import ServeCase
from weirtest import ROOT, wait_until

CC = shutil.which("cc") or shutil.which("gcc")
SH = {"pools": [{"name": "sh", "kind": "command", "max_concurrency": 4, "max_attempts": 1}], "check_interval": "1s"}


def sh(line="true", **more):
    return {"payload": {"shell": line}, **more}


class DependCase(ServeCase):
    def echo(self, **pool):
        """A daemon with workers that do nothing, quickly."""
        path = self.path("echo")
        subprocess.run([CC, "-O1", "-o", path, os.path.join(ROOT, "examples", "workers", "echo.c")], check=True)
        return self.daemon({"max_global_concurrency": 64, "check_interval": "1s", "pools": [
            {"name": "w", "kind": "process", "process": [path, "16"], "max_concurrency": 2, "max_in_flight": 16, **pool}]})

    def events(self, d, query):
        after, found = 0, []
        while True:
            page = d.get(f"/v1/events?after={after}&limit=1000&{query}")["events"]
            if not page:
                return found
            found += page
            after = page[-1]["seq"]

    def counts(self, d, deadline_s=60, **expected):
        def is_so():
            tasks = d.get("/v1/status")["tasks"]
            return {state: n for state, n in tasks.items() if n} == expected
        try:
            wait_until(is_so, deadline_s, f"{expected}")
        except AssertionError as fault:
            raise AssertionError(f"{fault}; there are {d.get('/v1/status')['tasks']}\n{d.log()}") from None

    def assert_order(self, d, depends):
        """Nothing began before all that it depends on was done."""
        done = {e["task"]: e["seq"] for e in self.events(d, "kind=task.done")}
        started = {e["task"]: e["seq"] for e in self.events(d, "kind=runner.started")}
        self.assertEqual(len(done), len(depends))
        for task, after in depends.items():
            for other in after:
                self.assertLess(done[other], started[task], f"{task} after {other}")


@unittest.skipUnless(CC, "no C compiler")
class Graphs(DependCase):
    def test_a_random_graph_runs_in_a_valid_order(self):
        d = self.echo()
        rng = random.Random(7)
        depends = {}
        # As arrays: within one by name, and to earlier ones by id. Within one the order is any.
        while len(depends) < 5000:
            count = 500
            spots = list(range(count))
            rng.shuffle(spots)
            tasks, names = [None] * count, []
            for n, spot in enumerate(spots):
                siblings = rng.sample(names, min(len(names), rng.randrange(4)))
                earlier = rng.sample(sorted(depends), min(len(depends), rng.randrange(3)))
                tasks[spot] = {"name": f"n{n}", "payload": n, "after": siblings + earlier}
                names.append(f"n{n}")
            ids = d.submit(tasks)
            by_name = {f"n{n}": ids[spot] for n, spot in enumerate(spots)}
            for task, number in zip(tasks, ids):
                depends[number] = [by_name.get(a, a) for a in task["after"]]
        # As a stream: to earlier ones by id, for a line may depend on what was accepted before.
        first = max(depends) + 1
        lines = []
        for n in range(5000):
            after = rng.sample(range(1, first), rng.randrange(4))
            depends[first + n] = after
            lines.append(json.dumps({"payload": n, "after": after}))
        status, answer = d.api("POST", "/v1/tasks", "\n".join(lines), content_type="application/x-ndjson", timeout_s=60)
        self.assertEqual((status, answer.get("accepted")), (201, 5000), answer)
        self.assertEqual(answer["ranges"], [[first, first + 4999]])
        self.counts(d, done=10000)
        self.assert_order(d, depends)
        self.assertEqual(d.get("/v1/events?kind=deadlock.detected")["events"], [])

    def test_a_stream_knows_no_names(self):
        d = self.daemon(SH)
        lines = [json.dumps(sh(name=f"n{n}", after=[f"n{n - 1}"] if n else [])) for n in range(3)]
        status, problem = d.api("POST", "/v1/tasks", "\n".join(lines), content_type="application/x-ndjson")
        self.assertEqual((status, problem["line"], problem["accepted"]), (400, 2, 1), problem)
        self.assertIn("after[0]", json.dumps(problem))

    def test_a_deep_chain_and_many_dependents(self):
        d = self.echo()
        d.submit([{"name": f"n{n}", "payload": n, "after": [f"n{n + 1}"] if n < 1999 else []} for n in range(2000)])
        self.counts(d, done=2000)
        hub = d.submit([{"name": "hub", "payload": 0}] + [{"payload": n, "after": ["hub"]} for n in range(3000)] +
                       [{"name": "last", "payload": 1, "not_before": "+0s"}])[0]
        self.counts(d, done=5002)
        last = d.submit({"payload": 1, "after": list(range(hub, hub + 3000))})
        d.wait_task(last, "done")
        self.assertEqual(len(d.task(last)["after"]), 3000)

    def test_a_chain_that_fails_at_its_head_fails_as_a_whole(self):
        d = self.daemon(SH)
        ids = d.submit([sh("exit 3", name="n0")] + [sh(name=f"n{n}", after=[f"n{n - 1}"]) for n in range(1, 1500)])
        self.counts(d, failed=1500)
        last = d.task(ids[-1])
        self.assertEqual((last["reason"], last["attempts"]), ("dependency", 0))
        self.assertIn(str(ids[-2]), last["message"])


class Refused(DependCase):
    def test_circles_are_told_with_their_path(self):
        d = self.daemon(SH)
        status, problem = d.api("POST", "/v1/tasks", [sh(name="a", after=["c"]), sh(name="b", after=["a"]),
                                                      sh(name="c", after=["b"]), sh(name="d")])
        self.assertIn(status, (400, 409, 422), problem)
        text = json.dumps(problem)
        self.assertRegex(text, "#0 -> #2 -> #1 -> #0|#1 -> #0 -> #2 -> #1|#2 -> #1 -> #0 -> #2")
        # All or none.
        self.counts(d)
        self.assertIn(d.api("POST", "/v1/tasks", [sh(name="a", after=["a"])])[0], (400, 409, 422))
        hold = d.submit(sh(not_before="+1h"))
        one = d.submit(sh(after=[hold]))
        two = d.submit(sh(after=[one]))
        status, problem = d.api("PATCH", f"/v1/tasks/{one}", {"after": [two]})
        self.assertIn(status, (400, 409, 422), problem)
        self.assertRegex(json.dumps(problem), f"{one}.*{two}.*{one}|{two}.*{one}.*{two}")
        self.assertEqual(d.task(one)["after"], [hold])

    def test_what_is_not_there(self):
        d = self.daemon(SH)
        self.assertIn(d.api("POST", "/v1/tasks", sh(after=[77]))[0], (404, 409, 422))
        self.assertIn(d.api("POST", "/v1/tasks", [sh(after=["nobody"])])[0], (400, 404, 409, 422))
        gone = d.submit(sh(not_before="+1h"))
        self.assertEqual(d.api("POST", f"/v1/tasks/{gone}/cancel")[0], 200)
        status, problem = d.api("POST", "/v1/tasks", sh(after=[gone]))
        self.assertIn(status, (409, 422), problem)
        self.assertIn("cancelled", json.dumps(problem))


class Failing(DependCase):
    def test_a_failure_fails_what_depends_on_it_or_lets_it_run(self):
        d = self.daemon(SH)
        bad, falls, runs, behind, both = d.submit([
            sh("exit 1", name="bad"), sh(name="falls", after=["bad"]),
            sh(name="runs", after=["bad"], on_dependency_failure="run"), sh(after=["falls"]),
            sh(after=["falls", "runs"], on_dependency_failure="run")])
        for task, state in ((bad, "failed"), (falls, "failed"), (runs, "done"), (behind, "failed"), (both, "done")):
            self.assertEqual(d.wait_task(task)["state"], state, task)
        fallen = d.task(falls)
        self.assertEqual(fallen["reason"], "dependency")
        self.assertIn(str(bad), fallen["message"])
        self.assertIn(str(falls), d.task(behind)["message"])
        # Afterwards, too.
        late = d.submit(sh(after=[bad]))
        self.assertEqual((d.task(late)["state"], d.task(late)["reason"]), ("failed", "dependency"))
        self.assertEqual(d.wait_task(d.submit(sh(after=[bad], on_dependency_failure="run")))["state"], "done")

    def test_what_is_retried_by_hand_meets_its_dependents(self):
        d = self.daemon(SH)
        flag = self.path("flag")
        head, next_ = d.submit([sh(f"test -e {flag}", name="h"), sh(after=["h"])])
        self.assertEqual(d.wait_task(next_)["state"], "failed")
        open(flag, "w", encoding="utf-8").close()
        self.assertEqual(d.api("POST", f"/v1/tasks/{head}/retry")[0], 200)
        self.assertEqual(d.wait_task(head, "done")["state"], "done")
        self.assertEqual(d.task(next_)["state"], "failed")
        self.assertEqual(d.api("POST", f"/v1/tasks/{next_}/retry")[0], 200)
        self.assertEqual(d.wait_task(next_, "done")["state"], "done")


class Stuck(DependCase):
    def stuck(self, d):
        return {t["id"] for t in d.get("/v1/tasks?stuck=true&limit=1000")["tasks"]}

    def found(self, d, tasks):
        wait_until(lambda: self.stuck(d) == set(tasks), 20, f"{tasks} to be found")
        wait_until(lambda: f"\nweir_deadlocked_tasks {len(tasks)}\n" in d.get("/metrics"), 20, "the metric")

    def test_what_can_never_be_met_is_found_and_resolved_by_a_person(self):
        d = self.daemon(SH)
        marker = self.path("marker")
        first, second, third, later = d.submit([sh(not_before="+1h") for _ in range(4)])
        runs, goes, behind, fine, waits = d.submit([
            sh(f"echo x >>{marker}", name="runs", after=[first]), sh(name="goes", after=[second]), sh(after=["goes"]),
            sh(after=[later]), sh(after=[third, later])])
        # Nothing is amiss yet.
        wait_until(lambda: "\nweir_deadlocked_tasks 0\n" in d.get("/metrics"), 20, "a check")
        self.assertEqual(self.stuck(d), set())
        self.assertEqual(d.api("POST", f"/v1/tasks/{first}/cancel")[0], 200)
        self.assertEqual(d.api("POST", f"/v1/tasks/{second}/cancel")[0], 200)
        self.assertEqual(d.api("POST", f"/v1/tasks/{third}/cancel")[0], 200)
        self.assertIn(d.api("DELETE", f"/v1/tasks/{third}")[0], (200, 204))
        # Also what only waits for one that is stuck.
        self.found(d, [runs, goes, behind, waits])
        events = self.events(d, "kind=deadlock.detected")
        self.assertEqual({e["task"]: (e["detail"]["waits_for"], e["detail"]["why"]) for e in events},
                         {runs: (first, "cancelled"), goes: (second, "cancelled"), behind: (goes, "blocked"),
                          waits: (third, "gone")})
        self.assertTrue(d.task(runs)["stuck"])
        self.assertFalse(d.task(fine).get("stuck", False))
        # One is let go, one is cancelled; what is behind that is stuck still, until it goes too.
        self.assertEqual(d.api("POST", f"/v1/tasks/{runs}/resolve", {"how": "run"})[0], 200)
        self.assertEqual(d.wait_task(runs)["state"], "done")
        self.assertEqual(d.api("POST", f"/v1/tasks/{goes}/resolve", {"how": "cancel"})[0], 200)
        self.assertEqual(d.wait_task(goes)["state"], "cancelled")
        self.found(d, [behind, waits])
        self.assertEqual(d.api("POST", f"/v1/tasks/{behind}/resolve", {"how": "run"})[0], 200)
        self.assertEqual(d.wait_task(behind)["state"], "done")
        # Let go, it still waits for what can be met? A person has said that it is to run.
        self.assertEqual(d.api("POST", f"/v1/tasks/{waits}/resolve", {"how": "run"})[0], 200)
        self.assertEqual(d.wait_task(waits)["state"], "done")
        self.found(d, [])
        self.assertEqual(d.task(fine)["state"], "blocked")
        with open(marker, encoding="utf-8") as f:
            self.assertEqual(f.read(), "x\n")

    def test_retrying_what_was_cancelled_meets_it_after_all(self):
        d = self.daemon(SH)
        first = d.submit(sh(not_before="+1h"))
        second = d.submit(sh(after=[first]))
        self.assertEqual(d.api("POST", f"/v1/tasks/{first}/cancel")[0], 200)
        self.found(d, [second])
        # Its own time holds still.
        status, task = d.api("POST", f"/v1/tasks/{first}/retry")
        self.assertEqual((status, task["state"]), (200, "scheduled"))
        self.assertEqual(d.api("PATCH", f"/v1/tasks/{first}", {"not_before": "+0s"})[0], 200)
        self.assertEqual(d.wait_task(second)["state"], "done")
        self.found(d, [])

    def test_it_is_found_again_after_a_restart(self):
        d = self.daemon(SH)
        first = d.submit(sh(not_before="+1h"))
        second = d.submit(sh(after=[first]))
        self.assertEqual(d.api("POST", f"/v1/tasks/{first}/cancel")[0], 200)
        d.kill9()
        d.start()
        self.found(d, [second])


if __name__ == "__main__":
    unittest.main()
