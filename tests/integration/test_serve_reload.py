"""Reloads of `weir serve` that fail halfway: what is in force afterwards is told, shown, and what the next one starts from.

run-tests: sanitizers
"""
import os
import resource
import unittest

from servekit import ServeCase
from weirtest import wait_until


def pool(name, **more):
    return {"name": name, "kind": "command", "max_concurrency": 2, **more}


class Reload(ServeCase):
    def reload(self, d, config):
        d.configure(config)
        return d.api("POST", "/v1/config/reload", {})

    def leave_room(self, d, count):
        """From here on the daemon can have so many more files open, until the limit is set back at the end of the test."""
        before = resource.prlimit(d.pid, resource.RLIMIT_NOFILE)
        taken = {int(n) for n in os.listdir(f"/proc/{d.pid}/fd")}
        most = 0
        while count > 0 or most in taken:
            count -= most not in taken
            most += 1
        resource.prlimit(d.pid, resource.RLIMIT_NOFILE, (most, before[1]))
        self.addCleanup(lambda: d.process and resource.prlimit(d.pid, resource.RLIMIT_NOFILE, before))
        return lambda: resource.prlimit(d.pid, resource.RLIMIT_NOFILE, before)

    def test_a_pool_that_cannot_be_made_stays_as_it_was_and_the_rest_is_applied(self):
        d = self.daemon({"pools": [pool("a", env={"V": "one"}), pool("b")]})
        wanted = {"policy": "priority", "unix_mode": "0600",
                  "pools": [pool("a", env={"V": "two"}), pool("b", max_concurrency=5), pool("c")]}
        # For the connection and the file; a guard of commands needs two.
        let_go = self.leave_room(d, 2)
        status, problem = self.reload(d, wanted)
        let_go()
        self.assertEqual(status, 503, problem)
        self.assertEqual([line.split(":")[0] for line in problem["failed"]], ["pool a", "pool c"], problem)
        self.assertRegex(problem["detail"], r"^pool a: .*and 1 more, see the log.*all else is applied$")
        self.assertEqual(sorted(line.split(":")[0] for line in problem["changed"]), ["policy", "pool b", "unix_mode"])
        self.assertIn("applied in part: pool a", d.log())
        event = wait_until(lambda: d.get("/v1/events?kind=config.changed")["events"], 10, "it to be recorded")[-1]
        self.assertEqual(event["detail"]["failed"], problem["failed"])

        self.assertEqual(d.get("/v1/pools/b")["max_concurrency"], 5)
        self.assertEqual(d.get("/v1/dispatcher")["policy"], "priority")
        self.assertEqual(d.api("GET", "/v1/pools/c")[0], 404)
        shown = d.get("/v1/config")["config"]
        for line in ("V: one", "max_concurrency: 5", "policy: priority", "unix_mode: 0660"):
            self.assertIn(line, shown)
        for line in ("V: two", "name: c"):
            self.assertNotIn(line, shown)
        task = d.submit({"pool": "a", "payload": {"shell": "echo $V"}})
        self.assertEqual(d.wait_task(task)["output"], "one\n")

        # The next one is compared with what is in force.
        status, answer = self.reload(d, wanted)
        self.assertEqual(status, 200, answer)
        self.assertEqual(sorted(line.split(":")[0] for line in answer["changed"]), ["pool a", "pool c", "unix_mode"])
        task = d.submit({"pool": "a", "payload": {"shell": "echo $V"}})
        self.assertEqual(d.wait_task(task)["output"], "two\n")
        self.assertEqual(d.wait_task(d.submit({"pool": "c", "payload": {"shell": "echo c"}}))["output"], "c\n")
        d.restart()
        self.assertEqual(self.reload(d, wanted), (200, {"changed": []}))

    def test_slots_that_are_too_many_change_nothing_at_all(self):
        def config(kind, concurrency):
            return {"slots": [{"name": f"{kind}{n}", "count": 2} for n in range(200)], "tenants": [{"name": kind, "weight": 3}],
                    "pools": [pool("a", max_concurrency=concurrency)]}

        def slots():
            return {s["name"]: s["count"] for s in d.get("/v1/slots") if s["count"] > 0}
        d = self.daemon(config("old", 2))
        before = (slots(), d.get("/v1/config"))
        status, problem = self.reload(d, config("new", 4))
        self.assertEqual(status, 422, problem)
        self.assertIn("the most that can be", problem["detail"])
        self.assertNotIn("changed", problem)
        self.assertIn("not applied", d.log())
        self.assertEqual((slots(), d.get("/v1/config")), before)
        self.assertEqual(d.get("/v1/pools/a")["max_concurrency"], 2)
        self.assertEqual(d.get("/v1/events?kind=config.changed")["events"], [])
        self.assertEqual(self.reload(d, config("old", 2)), (200, {"changed": []}))
        task = d.submit({"payload": {"shell": "echo ok"}, "resources": {"slots": ["old7"]}})
        self.assertEqual(d.wait_task(task)["output"], "ok\n")

    def test_what_needs_a_restart_is_told_until_there_was_one(self):
        d = self.daemon({"unix_mode": "0660", "pools": [pool("a")]})
        for _ in range(2):
            status, answer = self.reload(d, {"unix_mode": "0600", "pools": [pool("a")]})
            self.assertEqual((status, answer),
                             (200, {"changed": ["unix_mode: changed in the file, and needs a restart"]}))
            self.assertIn("unix_mode: 0660", d.get("/v1/config")["config"])
        d.restart()
        self.assertIn("unix_mode: 0600", d.get("/v1/config")["config"])

    def test_the_command_says_what_was_applied_and_what_was_not(self):
        d = self.daemon({"pools": [pool("a", env={"V": "one"}), pool("b")]})
        d.configure({"pools": [pool("a", env={"V": "two"}), pool("b", max_concurrency=5), pool("c")]})
        let_go = self.leave_room(d, 2)
        done = d.weir("config", "reload", status=1)
        let_go()
        self.assertRegex(done.err, r"(?m)^weir config reload: .*: pool a: ")
        self.assertRegex(done.err, r"(?m)^  failed: pool c: ")
        self.assertRegex(done.err, r"(?m)^  applied: pool b: max_concurrency: changed while it runs$")


if __name__ == "__main__":
    unittest.main()
