"""Pools of `weir serve`, as the configuration says: what attempts are told, how they are run, what a reload changes.

run-tests: waits
run-tests: sanitizers
"""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import unittest

from weirtest import ROOT, SLOWNESS, WEIR, Case, wait_until

UPPER = os.path.join(ROOT, "examples", "workers", "upper.sh")


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("weir", timeout=30 * SLOWNESS)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Daemon:
    def __init__(self, case, config, **env):
        self.case = case
        self.socket = case.path("s")
        self.config = case.path("weir.yml")
        self.write(config)
        self.log = open(case.path("log"), "wb")
        self.process = subprocess.Popen([WEIR, "serve", "-c", self.config], stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log, env=dict(os.environ, **env))
        case.addCleanup(self.stop)
        wait_until(lambda: self.process.poll() is not None or self.listens(), 20 * SLOWNESS, "the daemon's socket")
        case.assertIsNone(self.process.poll(), open(case.path("log"), encoding="utf-8").read())

    def write(self, config):
        with open(self.config, "w", encoding="utf-8") as f:
            f.write(f"store: {self.case.path('weir.db')}\nlisten: unix:{self.socket}\n{config}")

    def listens(self):
        try:
            return self.call("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def call(self, method, path, body=None, token=None):
        connection = Unix(self.socket)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text

    def submit(self, **task):
        status, answer = self.call("POST", "/v1/tasks", task)
        self.case.assertEqual(status, 201, answer)
        return answer["id"]

    def ended(self, task, deadline_s=20):
        """The task, when it has ended."""
        found = {}

        def has_ended():
            found.update(self.call("GET", f"/v1/tasks/{task}")[1])
            return found["state"] in ("done", "failed", "cancelled")
        wait_until(has_ended, deadline_s * SLOWNESS, f"the end of task {task}")
        return found

    def output(self, **task):
        ended = self.ended(self.submit(**task))
        self.case.assertEqual(ended["state"], "done", ended)
        return ended["output"]

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20 * SLOWNESS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


def variables(text):
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


class Pools(Case):
    def test_a_command_is_told_what_it_is_of(self):
        daemon = Daemon(self, "slots: [{name: dir, paths: [/srv/a, /srv/b]}, {name: gpu, count: 3}]\n"
                              "pools: [{name: c, kind: command, env: {FOO: env:SERVE_TEST_SECRET}}]\n",
                        SERVE_TEST_SECRET="s3cret", NOTIFY_SOCKET="/nonexistent")
        told = variables(daemon.output(key="k", tenant="t", payload={"argv": ["env"]},
                                       resources={"slots": ["dir", "gpu"]}))
        self.assertEqual({name: told.get(name) for name in (
            "WEIR_TASK", "WEIR_KEY", "WEIR_ATTEMPT", "WEIR_POOL", "WEIR_TENANT", "WEIR_API", "WEIR_SLOT", "WEIR_SLOT_DIR",
            "WEIR_SLOT_GPU", "WEIR_SLOT_PATH", "WEIR_SLOT_PATH_DIR", "FOO", "NOTIFY_SOCKET", "WEIR_BATCH")}, {
                "WEIR_TASK": "1", "WEIR_KEY": "k", "WEIR_ATTEMPT": "1", "WEIR_POOL": "c", "WEIR_TENANT": "t",
                "WEIR_API": f"unix:{daemon.socket}", "WEIR_SLOT": "1", "WEIR_SLOT_DIR": "1", "WEIR_SLOT_GPU": "1",
                "WEIR_SLOT_PATH": "/srv/a", "WEIR_SLOT_PATH_DIR": "/srv/a", "FOO": "s3cret", "NOTIFY_SOCKET": None,
                "WEIR_BATCH": None})
        self.assertTrue(told["WEIR_TOKEN"].startswith(told["WEIR_RUNNER"] + "."))

    def test_each_variable_is_documented(self):
        daemon = Daemon(self, "slots: [{name: dir, paths: [/srv/a]}, {name: a.gpu, count: 3}]\npools: [{name: c, kind: command}]\n")
        told = variables(daemon.output(tenant="t", session="s", payload={"argv": ["env"]}, resources={"slots": ["dir", "a.gpu"]}))
        # Of the first by the alphabet, which has no path; and of each.
        self.assertEqual((told["WEIR_SLOT"], told["WEIR_SLOT_A_GPU"], told.get("WEIR_SLOT_PATH"), told["WEIR_SLOT_PATH_DIR"]),
                         ("1", "1", None, "/srv/a"))
        names = {re.sub("_(A_GPU|DIR)$", "_NAME", name) for name in told if name.startswith("WEIR_")}
        with open(os.path.join(ROOT, "docs", "operating.md"), encoding="utf-8") as f:
            table = re.search("\n## What a command finds\n(.*?)\n\\*\\*Heartbeats", f.read(), re.S)[1]
        self.assertIn("WEIR_HEARTBEAT", names)
        self.assertEqual(sorted(n for n in names - set(re.findall(r"`(WEIR_\w+)`", table)) if n not in os.environ), [])

    def test_a_cleared_environment_has_nothing_of_the_daemons(self):
        daemon = Daemon(self, "pools: [{name: c, kind: command, clear_env: true, wrapper: env WRAPPED=1}]\n",
                        SERVE_TEST_SECRET="s3cret")
        told = variables(daemon.output(payload={"argv": ["env"]}))
        self.assertNotIn("SERVE_TEST_SECRET", told)
        self.assertNotIn("HOME", told)
        self.assertEqual(told["WRAPPED"], "1")
        self.assertIn("PATH", told)
        self.assertEqual(told["WEIR_TASK"], "1")

    def test_variables_of_tokens_are_not_for_commands(self):
        daemon = Daemon(self, "tokens: [{name: t, role: operate, env: SERVE_TEST_TOKEN}]\n"
                              "pools: [{name: c, kind: command}]\n", SERVE_TEST_TOKEN="abc")
        self.assertEqual(daemon.call("GET", "/v1/pools")[0], 401)
        status, answer = daemon.call("POST", "/v1/tasks", {"payload": {"argv": ["env"]}}, token="abc")
        self.assertEqual(status, 201, answer)
        ended = {}

        def has_ended():
            ended.update(daemon.call("GET", f"/v1/tasks/{answer['id']}", token="abc")[1])
            return ended["state"] == "done"
        wait_until(has_ended, 20 * SLOWNESS, "the task's end")
        self.assertIn("WEIR_TOKEN", ended["output"])
        self.assertNotIn("SERVE_TEST_TOKEN", ended["output"])

    def test_each_kind_of_template(self):
        daemon = Daemon(self, "default_pool: words\npools:\n"
                              "  - {name: words, kind: command, command: [printf, '%s|', '{a}', '{}']}\n"
                              "  - {name: script, kind: command, command: 'echo {a}; echo $((1+1))', shell: true}\n"
                              f"  - {{name: workers, kind: process, process: [sh, {UPPER}]}}\n")
        self.assertEqual(daemon.output(payload={"a": "x y"}), 'x y|{"a": "x y"}|')
        self.assertEqual(daemon.output(pool="script", payload={"a": "x; $(id) \"'"}), "x; $(id) \"'\n2\n")
        self.assertEqual(daemon.output(pool="workers", payload={"text": "abc"}), "ABC")

    def test_a_command_that_does_not_hear_is_killed(self):
        daemon = Daemon(self, "pools: [{name: c, kind: command, timeout: 300ms, kill_after: 200ms, max_attempts: 1}]\n")
        ended = daemon.ended(daemon.submit(payload={"shell": "trap '' TERM; while :; do sleep 60; done"}))
        self.assertEqual((ended["state"], ended["outcome"], ended["status"]), ("failed", "timeout", -9), ended)

    def test_a_task_that_is_wrong_fails_with_the_reason(self):
        daemon = Daemon(self, "pools: [{name: c, kind: command}]\n")
        ended = daemon.ended(daemon.submit(payload={"what": 1}))
        self.assertEqual((ended["state"], ended["reason"], ended["attempts"]), ("failed", "bad_row", 1), ended)
        self.assertIn("argv", ended["message"])

    def test_the_token_of_an_attempt_is_for_its_heartbeats_only(self):
        daemon = Daemon(self, "tokens: [{name: t, role: operate, env: SERVE_TEST_TOKEN}]\n"
                              "pools: [{name: c, kind: command, timeout: 60s}]\n", SERVE_TEST_TOKEN="abc")
        told = self.path("told")
        daemon.call("POST", "/v1/tasks", {"payload": {"shell": f"env > {told}.new; mv {told}.new {told}; exec sleep 60"}},
                    token="abc")
        wait_until(lambda: os.path.exists(told), 20 * SLOWNESS, "the command's start")
        env = variables(open(told, encoding="utf-8").read())
        path = f"/v1/runners/{env['WEIR_RUNNER']}/heartbeat"
        beat = {"progress": 0.5, "text": "half"}
        self.assertIn(daemon.call("POST", path, beat, token=env["WEIR_TOKEN"])[0], (200, 202, 204))
        wrong = env["WEIR_TOKEN"][:-1] + ("0" if env["WEIR_TOKEN"][-1] != "0" else "1")
        self.assertIn(daemon.call("POST", path, beat, token=wrong)[0], (401, 403))
        self.assertIn(daemon.call("GET", "/v1/pools", token=env["WEIR_TOKEN"])[0], (401, 403))
        runner = daemon.call("GET", "/v1/runners", token="abc")[1]
        runner = (runner["runners"] if isinstance(runner, dict) else runner)[0]
        self.assertEqual((runner["progress"], runner["text"]), (0.5, "half"))
        status, answer = daemon.call("POST", "/v1/shutdown", {"grace": "0s"}, token="abc")
        self.assertIn(status, (200, 202), answer)
        daemon.process.wait(40 * SLOWNESS)


class Reload(Case):
    def test_what_can_be_is_applied_and_the_rest_is_told(self):
        daemon = Daemon(self, "default_pool: a\npools: [{name: a, kind: command}, {name: b, kind: command}]\n")
        daemon.write("default_pool: a\nunix_mode: 0600\npolicy: skill\nmax_global_concurrency: 5\n"
                     "pools: [{name: a, kind: command, max_concurrency: 7, skills: [x]},\n"
                     "        {name: c, kind: command, command: 'echo new {}'}]\n")
        status, answer = daemon.call("POST", "/v1/config/reload", {})
        self.assertEqual(status, 200, answer)
        told = "\n".join(answer["changed"])
        for line in ("unix_mode: changed in the file, and needs a restart", "policy: changed",
                     "max_global_concurrency: changed", "pool a: max_concurrency, skills: changed while it runs",
                     "pool b: removed", "pool c: added"):
            self.assertIn(line, told)
        self.assertEqual(daemon.call("GET", "/v1/pools/a")[1]["max_concurrency"], 7)
        self.assertEqual(daemon.output(pool="c", payload="p"), "new p\n")
        self.assertEqual(daemon.call("GET", "/v1/dispatcher")[1]["policy"], "skill")
        wait_until(lambda: daemon.call("GET", "/v1/pools/b")[0] == 404, 20 * SLOWNESS, "the end of pool b")

    def test_a_wrong_file_changes_nothing_and_is_told_with_its_line(self):
        daemon = Daemon(self, "pools: [{name: a, kind: command}]\n")
        daemon.write("policy: fifo\npools: [{name: a, kind: command, max_concurency: 7}]\n")
        status, answer = daemon.call("POST", "/v1/config/reload", {})
        self.assertGreaterEqual(status, 400)
        self.assertIn("did you mean max_concurrency?", json.dumps(answer))
        self.assertIn("weir.yml:4", json.dumps(answer))
        self.assertEqual(daemon.call("GET", "/v1/pools/a")[1]["max_concurrency"], 1)

    def test_a_pool_is_replaced_while_its_old_self_ends(self):
        daemon = Daemon(self, "pools: [{name: a, kind: command, env: {V: one}}]\n")
        go = self.path("go")
        os.mkfifo(go)
        old = daemon.submit(payload={"shell": f"cat {go}; echo $V"})
        wait_until(lambda: daemon.call("GET", f"/v1/tasks/{old}")[1]["state"] == "running", 20 * SLOWNESS, "its start")
        daemon.write("pools: [{name: a, kind: command, env: {V: two}}]\n")
        self.assertEqual(daemon.call("POST", "/v1/config/reload", {})[0], 200)
        with open(go, "w", encoding="utf-8") as f:
            f.write("")
        self.assertEqual(daemon.ended(old)["output"], "one\n")
        self.assertEqual(daemon.output(payload={"shell": "echo $V"}), "two\n")


if __name__ == "__main__":
    unittest.main()
