"""Reloads of `weir serve` that fail halfway: what is in force afterwards is told, shown, and what the next one starts from.

run-tests: sanitizers
"""
import hashlib
import json
import os
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import unittest
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import yaml

from servekit import ServeCase
from weirtest import ROOT, SLOWNESS, WEIR, wait_until


def pool(name, **more):
    return {"name": name, **{"kind": "command", "max_concurrency": 2, **more}}


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
        wanted = {"policy": "skill", "unix_mode": "0600",
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
        self.assertEqual(d.get("/v1/dispatcher")["policy"], "skill")
        self.assertEqual(d.api("GET", "/v1/pools/c")[0], 404)
        shown = d.get("/v1/config")["config"]
        for line in ("V: one", "max_concurrency: 5", "policy: skill", "unix_mode: 0660"):
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

    def test_limits_hold_over_a_pool_that_is_replaced_and_one_that_goes_and_comes_back(self):
        def config(n, **more):
            return {"max_global_concurrency": 50, "pools": [pool("a", env={"N": str(n)}, **more), pool("other")]}
        gates = [self.path(f"gate{i}") for i in range(12)]
        for gate in gates:
            os.mkfifo(gate)
        d = self.daemon(config(0, max_concurrency=3))
        ids = d.submit([{"pool": "a", "payload": {"shell": f"read x <{gate}; echo $N"}}
                        for gate in gates])

        def running():
            own = d.get("/v1/pools/a")
            self.assertLessEqual(own["running"], own["limit"])
            return {r["task"] for r in d.get("/v1/runners")}

        def release(count):
            """Some end, and as many others begin."""
            before = running()
            for task in sorted(before)[:count]:
                with open(gates[ids.index(task)], "w", encoding="ascii") as f:
                    f.write("\n")
            wait_until(lambda: len(now := running()) == 3 and not now & set(sorted(before)[:count]), 20, "the next ones")
            return running()

        wait_until(lambda: len(running()) == 3, 20, "the first ones")
        first = running()
        for n in (1, 2):
            self.assertEqual(self.reload(d, config(n, max_concurrency=3))[0], 200)
            self.assertEqual(running(), first)
        self.assertEqual(len(release(1) & first), 2)
        self.reload(d, {"max_global_concurrency": 50, "pools": [pool("other")]})
        self.reload(d, config(3, max_concurrency=3))
        before = running()
        self.assertEqual(len(before), 3)
        self.assertEqual(len(release(2) & before), 1)
        seen = set()
        while (left := running()):
            seen |= left
            for task in left:
                with open(gates[ids.index(task)], "w", encoding="ascii") as f:
                    f.write("\n")
            wait_until(lambda: not running() & left, 20, "them to end")
        self.assertEqual({d.wait_task(t)["state"] for t in ids}, {"done"})
        self.assertEqual({d.task(t)["output"] for t in ids}, {0, 2, 3})

    def test_a_default_pool_that_cannot_be_made_leaves_the_one_that_was(self):
        d = self.daemon({"default_pool": "a", "pools": [pool("a"), pool("b")]})
        wanted = {"default_pool": "c", "pools": [pool("a"), pool("b"), pool("c")]}
        let_go = self.leave_room(d, 2)
        status, problem = self.reload(d, wanted)
        let_go()
        self.assertEqual(status, 503, problem)
        self.assertEqual([line.split(":")[0] for line in problem["failed"]], ["pool c", "default_pool"], problem)
        self.assertEqual(problem["changed"], [])
        self.assertIn("default_pool: a", d.get("/v1/config")["config"])
        self.assertTrue(d.get("/v1/pools/a")["default"])
        self.assertEqual(d.wait_task(d.submit({"payload": {"shell": "echo ok"}}))["output"], "ok\n")
        status, answer = self.reload(d, wanted)
        self.assertEqual((status, sorted(line.split(":")[0] for line in answer["changed"])), (200, ["default_pool", "pool c"]))
        self.assertTrue(d.get("/v1/pools/c")["default"])

    def test_a_default_pool_is_not_removed_before_its_successor_is_made(self):
        d = self.daemon({"pools": [pool("a")]})
        wanted = {"pools": [pool("c")]}
        let_go = self.leave_room(d, 2)
        status, problem = self.reload(d, wanted)
        let_go()
        self.assertEqual(status, 503, problem)
        self.assertEqual([line.split(":")[0] for line in problem["failed"]], ["pool c", "pool a", "default_pool"], problem)
        self.assertIn("name: a", d.get("/v1/config")["config"])
        self.assertEqual(d.wait_task(d.submit({"payload": {"shell": "echo ok"}}))["output"], "ok\n")
        status, answer = self.reload(d, wanted)
        self.assertEqual((status, sorted(line.split(":")[0] for line in answer["changed"])),
                         (200, ["default_pool", "pool a", "pool c"]))
        task = d.wait_task(d.submit({"payload": {"shell": "echo c"}}))
        self.assertEqual((task["output"], [p["name"] for p in d.get("/v1/pools")]), ("c\n", ["c"]))

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

    def test_streams_whose_token_is_gone_or_may_less_are_ended(self):
        def config(*names):
            roles = {"reader": "read", "sender": "submit", "lowered": "read", "boss": "operate"}
            return {"pools": [pool("sh", enabled=False)],
                    "tokens": [{"name": n, "role": roles[n], "sha256": hashlib.sha256(secret(n).encode()).hexdigest()}
                               for n in names]}

        def secret(name):
            return f"the-secret-of-{name.replace('lowered', 'sender')}"

        def stream(name, path, more=""):
            s = socket.socket(socket.AF_UNIX)
            self.addCleanup(s.close)
            s.settimeout(20 * SLOWNESS)
            s.connect(d.socket)
            s.sendall(f"{path} HTTP/1.1\r\nHost: weir\r\nAuthorization: Bearer {secret(name)}\r\n{more}\r\n".encode())
            return s

        def hear(s, until=b"never"):
            heard = b""
            while until not in heard and (part := s.recv(65536)):
                heard += part
            return heard
        d = self.daemon(config("reader", "sender", "boss"), token=secret("boss"))
        self.assertEqual(d.api("POST", "/v1/batches?open=true")[1]["id"], 1)
        d.api("POST", "/v1/batches/1/tasks", {"payload": {"argv": ["true"]}})
        followers = [stream(name, "GET /v1/events/follow?after=0") for name in ("reader", "sender", "boss")]
        for s in followers:
            self.assertIn(b" 200 ", hear(s, b"task.submitted"))
        results = stream("reader", "GET /v1/batches/1/results?follow=true")
        self.assertIn(b" 200 ", hear(results, b"\r\n\r\n"))
        upload = stream("sender", "POST /v1/tasks", "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n")
        upload.sendall(b'10\r\n{"payload": {}}\n\r\n')
        wait_until(lambda: d.get("/v1/status")["tasks"]["ready"] == 2, 20, "the task of the upload")
        self.assertEqual(self.reload(d, config("lowered", "boss"))[0], 200)
        self.assertNotIn(b"\r\n0\r\n\r\n", hear(followers[0]))
        self.assertNotIn(b"\r\n0\r\n\r\n", hear(results))
        refused = hear(upload)
        self.assertIn(b" 403 ", refused)
        self.assertEqual(json.loads(refused.partition(b"\r\n\r\n")[2])["accepted"], 1)
        # Who may still, goes on.
        d.submit({"payload": {"argv": ["true"]}})
        for s in followers[1:]:
            self.assertIn(b'"task":3', hear(s, b'"task":3'))

    def test_what_needs_a_restart_is_told_until_there_was_one(self):
        d = self.daemon({"unix_mode": "0660", "pools": [pool("a")]})
        for _ in range(2):
            status, answer = self.reload(d, {"unix_mode": "0600", "pools": [pool("a")]})
            self.assertEqual((status, answer),
                             (200, {"changed": ["unix_mode: changed in the file, and needs a restart"]}))
            self.assertIn("unix_mode: 0660", d.get("/v1/config")["config"])
        d.restart()
        self.assertIn("unix_mode: 0600", d.get("/v1/config")["config"])

    def test_the_log_says_after_a_signal_what_has_changed_and_what_needs_a_restart(self):
        d = self.daemon({"pools": [pool("a")]})
        d.configure({"unix_mode": "0600", "check_interval": "17s", "pools": [pool("a", max_concurrency=3), pool("b")]})
        d.signal(signal.SIGHUP)
        wait_until(lambda: "the configuration was read anew" in d.log(), 20, "the reload")
        self.assertRegex(d.log(), r"warning: reload: unix_mode: changed in the file, and needs a restart")
        self.assertRegex(d.log(), r"info: reload: check_interval: changed\n")
        self.assertRegex(d.log(), r"info: reload: pool a: max_concurrency: changed while it runs\n")
        self.assertRegex(d.log(), r"info: reload: pool b: added\n")

    def test_what_by_hand_is_undone_is_told(self):
        d = self.daemon({"pools": [pool("a"), pool("b"), pool("c")]})
        self.assertEqual(d.api("PATCH", "/v1/pools/a", {"cpu": 3})[0], 200)
        self.assertEqual(d.api("PATCH", "/v1/pools/c", {"cpu": 3})[0], 200)
        self.assertEqual(d.api("PATCH", "/v1/dispatcher", {"max_global_concurrency": 33})[0], 200)
        status, answer = self.reload(d, {"ageing": 2, "pools": [pool("a", skills=["x"]), pool("b", skills=["x"]), pool("c")]})
        undone = "; what was changed by hand of {} is undone"
        self.assertEqual((status, answer), (200, {"changed": [
            "ageing: changed" + undone.format("policy, ageing and max_global_concurrency"),
            "pool a: skills: changed while it runs" + undone.format("it"), "pool b: skills: changed while it runs"]}))
        self.assertIn("warning: reload: pool a: ", d.log())
        # And so it is: that of the others stays.
        self.assertEqual([p["cpu"].get("limit", 0) for p in d.get("/v1/pools")], [0, 0, 3])
        self.assertEqual(d.get("/v1/dispatcher")["max_global_concurrency"], 10)

    def test_the_command_says_what_was_applied_and_what_was_not(self):
        d = self.daemon({"pools": [pool("a", env={"V": "one"}), pool("b")]})
        d.configure({"pools": [pool("a", env={"V": "two"}), pool("b", max_concurrency=5), pool("c")]})
        let_go = self.leave_room(d, 2)
        done = d.weir("config", "reload", status=1)
        let_go()
        self.assertRegex(done.err, r"(?m)^weir config reload: .*: pool a: ")
        self.assertRegex(done.err, r"(?m)^  failed: pool c: ")
        self.assertRegex(done.err, r"(?m)^  applied: pool b: max_concurrency: changed while it runs$")


class SlowStore(ServeCase):
    """Somebody else holds the store's lock: changes by hand wait to be written down, and hold up nobody else."""

    def test_changes_and_reloads_wait_alone_and_together(self):
        def config(limit):
            return {"max_global_concurrency": limit, "pools": [pool(name, max_concurrency=limit) for name in "abcd"]}
        d = self.daemon(config(5))
        for name in "abcd":
            self.assertEqual(d.api("PATCH", f"/v1/pools/{name}", {"max_concurrency": 7})[0], 200)
        lock = sqlite3.connect(os.path.join(d.dir, "weir.db"), isolation_level=None, check_same_thread=False)
        self.addCleanup(lock.close)
        lock.execute("BEGIN IMMEDIATE")
        d.configure(config(6))
        with ThreadPoolExecutor(6) as threads:
            waiting = [threads.submit(d.api, "POST", f"/v1/pools/{name}/disable") for name in "ab"]
            waiting.append(threads.submit(d.api, "PATCH", "/v1/dispatcher", {"ageing": 1}))
            wait_until(lambda: not d.get("/v1/pools/a")["enabled"], 20, "the first change to be made")
            # They are told that it could not be written, after some seconds: nobody else waits for that.
            answered = 0
            while answered < 5 and not any(w.done() for w in waiting):
                self.assertEqual(d.api("GET", "/healthz")[0], 200)
                self.assertEqual(d.api("GET", "/v1/status")[0], 200)
                answered += 1
            self.assertGreater(answered, 0)
            lock.execute("ROLLBACK")
            self.assertLessEqual({w.result()[0] for w in waiting}, {200, 503})
            lock.execute("BEGIN IMMEDIATE")
            reload = threads.submit(d.api, "POST", "/v1/config/reload", {})
            wait_until(lambda: d.get("/v1/pools/d")["max_concurrency"] == 6, 20, "the last pool to be changed")
            self.assertEqual(d.api("GET", "/healthz")[0], 200)
            lock.execute("ROLLBACK")
            self.assertIn(reload.result()[0], (200, 503))
        d.kill9()
        d.start()
        self.assertEqual({p["max_concurrency"] for p in d.get("/v1/pools")}, {6})


class InForce(ServeCase):
    """What `weir config show` says is what is in force, also where it was changed by hand, and can be loaded again."""

    def test_what_was_changed_by_hand_is_shown_and_loads_again(self):
        d = self.daemon({"pools": [pool("a"), pool("b")]})
        self.assertNotIn("#", self.shown(d))
        self.assertEqual(d.api("PATCH", "/v1/dispatcher", {"policy": "skill", "ageing": 1.5, "max_global_concurrency": 33})[0], 200)
        self.assertEqual(d.api("PATCH", "/v1/pools/a", {
            "max_concurrency": 7, "cpu": 2.5, "memory": "3GiB", "reserve": {"min_priority": 5, "share": 0.25},
            "burst": {"places": 2, "seconds": 1.5}})[0], 200)
        self.assertEqual(d.api("POST", "/v1/pools/b/disable")[0], 200)
        text = self.shown(d)
        self.assertEqual(text.splitlines()[0],
                         "# changed by hand: policy, ageing, max_global_concurrency, pools.a.max_concurrency, pools.a.cpu, "
                         "pools.a.memory, pools.a.reserve, pools.a.burst, pools.b.enabled")
        said = yaml.safe_load(text)
        self.assertEqual((said["policy"], said["ageing"], said["max_global_concurrency"]), ("skill", 1.5, 33))
        a, b = said["pools"]
        self.assertEqual((a["max_concurrency"], a["cpu"], a["memory"], b["enabled"]), (7, 2.5, "3GiB", False))
        self.assertEqual(a["reserve"]["min_priority"], 5)
        self.assertEqual(a["burst"]["places"], 2)
        self.assertEqual((b["max_concurrency"], a["enabled"]), (2, True))
        # Started with what it said, another one says the same.
        other = self.daemon(start=False)
        other.configure(text.replace(d.dir, other.dir))
        other.start()
        self.assertEqual(self.shown(other).replace(other.dir, d.dir), text.split("\n", 1)[1])
        # Taken back, it is by hand no more.
        self.assertEqual(d.api("PATCH", "/v1/pools/a", {"max_concurrency": None})[0], 200)
        self.assertNotIn("max_concurrency, pools.a.cpu", self.shown(d).splitlines()[0])
        self.assertEqual(d.weir("config", "show", status=0).out, self.shown(d))

    def test_no_limit_of_all_pools_has_a_form_that_loads(self):
        d = self.daemon({"pools": [pool("a")]})
        self.assertEqual(d.api("PATCH", "/v1/dispatcher", {"max_global_concurrency": 0})[0], 200)
        text = self.shown(d)
        self.assertEqual(text.splitlines()[0], "# changed by hand: max_global_concurrency")
        self.assertRegex(text.splitlines()[1], "^# max_global_concurrency is none")
        d.configure(text)
        d.weir("config", "check", d.config_path, status=0)

    def shown(self, d):
        return d.get("/v1/config")["config"]


class Example(ServeCase):
    """Whoever reads examples/weir.yml finds the default of what it sets otherwise."""

    def shown(self, text):
        path = self.path("weir.yml")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        done = subprocess.run([WEIR, "serve", "-c", path, "--show"], capture_output=True, text=True, timeout=60, check=True)
        return yaml.safe_load(done.stdout)

    def differing(self, said, otherwise, where=()):
        """The keys of what is shown by default, but otherwise here."""
        for key, value in said.items():
            if isinstance(value, dict) and isinstance(otherwise.get(key), dict) and key not in ("reserve", "burst", "follow"):
                yield from self.differing(value, otherwise[key], where + (key,))
            elif key in otherwise and value != otherwise[key]:
                yield where + (key,)

    def test_it_names_the_defaults_that_it_does_not_have(self):
        with open(os.path.join(ROOT, "examples/weir.yml"), encoding="utf-8") as f:
            text = f.read()
        example = yaml.safe_load(text)
        pools = [{k: p[k] for k in ("name", "kind", "process", "url") if k in p} for p in example["pools"]]
        here = self.shown(text)
        default = self.shown(yaml.safe_dump({"pools": pools, "default_pool": pools[0]["name"]}))
        there = list(self.differing(here, {k: v for k, v in default.items() if k not in ("pools", "default_pool")}))
        for n, p in enumerate(here["pools"]):
            there += [(p["name"], *where) for where in self.differing(p, default["pools"][n])]
        self.assertIn(("render", "max_concurrency"), there)
        self.assertEqual([where for where in there if not self.says_default(text, where)], [])

    def says_default(self, text, where):
        lines = text.splitlines()
        begin = next((i for i, line in enumerate(lines) if line.strip() == f"- name: {where[0]}"), 0) if len(where) > 1 else 0
        for key in where:
            at = next((i for i in range(begin, len(lines)) if re.match(rf" *{key}:", lines[i])), None)
            if at is None:
                continue
            first = at
            while lines[first - 1].lstrip().startswith("# "):
                first -= 1
            if any("efault" in line for line in lines[first:at + 1]):
                return True
        return False


class LimitsByHand(ServeCase):
    """A limit that follows a queue, and somebody who knows better."""

    def config(self, target=1):
        follow = {"what": "queue", "target": target, "min": 1, "max": 8}
        workers = {"kind": "process", "process": [os.path.join(ROOT, "examples", "workers", "upper.sh")], "lazy": True,
                   "max_concurrency": 8}
        return {"pools": [pool("a", **workers, follow=follow), pool("b", **workers, enabled=False, follow={**follow, "target": 1})]}

    def limits(self, d):
        p = d.get("/v1/pools/a")
        return p["max_concurrency"], p.get("limit_by_hand", False)

    def wait_look(self, d, queued):
        """Until those limits that follow something have been looked at: that of b follows its queue."""
        for _ in range(queued - d.get("/v1/pools/b")["queue"]["ready"]):
            d.submit({"pool": "b", "payload": {"argv": ["true"]}})
        wait_until(lambda: d.get("/v1/pools/b")["max_concurrency"] == queued, 20, "a look at the queues")

    def test_a_limit_that_is_set_by_hand_is_not_taken_away_by_what_it_follows(self):
        d = self.daemon(self.config())
        self.wait_look(d, 2)
        self.assertEqual(self.limits(d), (1, False))
        self.assertEqual(d.api("PATCH", "/v1/pools/a", {"max_concurrency": 5})[1]["limit_by_hand"], True)
        self.wait_look(d, 3)
        self.assertEqual(self.limits(d), (5, True))
        d.kill9()
        d.start()
        self.wait_look(d, 4)
        self.assertEqual(self.limits(d), (5, True))
        # Taken back.
        d.weir("pool", "limit", "a", "configured", status=0)
        self.wait_look(d, 5)
        self.assertEqual(self.limits(d), (1, False))
        # Another limit is none of it: it follows after a restart, too.
        d.weir("pool", "limit", "a", "--cpu", "4", status=0)
        d.restart()
        self.wait_look(d, 6)
        self.assertEqual(self.limits(d), (1, False))
        # What the file says of the pool anew is what holds.
        d.weir("pool", "limit", "a", "7", status=0)
        d.configure(self.config(target=2))
        self.assertEqual(d.api("POST", "/v1/config/reload", {})[0], 200)
        self.wait_look(d, 7)
        self.assertEqual(self.limits(d), (1, False))

    def test_one_that_follows_nothing_goes_back_to_what_the_file_says(self):
        d = self.daemon({"pools": [pool("a", max_concurrency=4)]})
        d.weir("pool", "limit", "a", "9", status=0)
        self.assertEqual(self.limits(d), (9, True))
        status, answer = d.api("PATCH", "/v1/pools/a", {"max_concurrency": None})
        self.assertEqual((status, answer["max_concurrency"]), (200, 4))
        d.restart()
        self.assertEqual(self.limits(d), (4, False))
        self.assertEqual(d.api("PATCH", "/v1/pools/a", {"max_concurrency": "4"})[0], 400)
        self.assertIn("configured", d.weir("pool", "limit", "a", "much", status=2).err)

    def test_what_is_in_force_after_changes_that_cross_is_in_force_after_a_restart(self):
        names = [f"p{n}" for n in range(100)]
        at_once = Barrier(4)

        def config(places):
            return {"pools": [pool(name, max_concurrency=places) for name in names]}

        def limits():
            return {p["name"]: p["max_concurrency"] for p in d.get("/v1/pools")}

        def change(limit):
            statuses = []
            for name in names:
                at_once.wait(60)
                statuses.append(d.api("PATCH", f"/v1/pools/{name}", {"max_concurrency": limit})[0])
            return statuses

        def reload():
            d.configure(config(3))
            return [d.api("POST", "/v1/config/reload", {})[0]]
        d = self.daemon(config(2))
        with ThreadPoolExecutor(5) as threads:
            done = [threads.submit(change, limit) for limit in range(10, 14)]
            done.append(threads.submit(reload))
            for one in done:
                self.assertEqual(set(one.result()), {200})
        before = limits()
        d.kill9()
        d.start()
        self.assertEqual(limits(), before)


if __name__ == "__main__":
    unittest.main()
