"""The API of a dispatcher that runs, held against docs/openapi.yaml: every answer has a status that is described, and a body
that is what its schema says.

run-tests: waits
"""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import unittest

import yaml

from weirtest import ROOT, SLOWNESS, WEIR, Case, wait_until

try:
    import jsonschema
except ImportError:
    jsonschema = None

CONFIG = """
store: {dir}/weir.db
listen: [unix:{dir}/weir.sock]
max_global_concurrency: 4
default_pool: shell
slots:
  - {{name: workdir, count: 2}}
pools:
  - name: shell
    kind: command
    max_concurrency: 4
    max_attempts: 1
    skills: [echo]
    command: [sh, -c, "{{script}}"]
"""


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30 * SLOWNESS)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


@unittest.skipUnless(jsonschema, "python3-jsonschema is not installed")
class Api(Case):
    @classmethod
    def setUpClass(cls):
        with open(os.path.join(ROOT, "docs/openapi.yaml"), encoding="utf-8") as f:
            cls.doc = yaml.safe_load(f)

    def setUp(self):
        super().setUp()
        config = self.write("weir.yml", CONFIG.format(dir=self.dir))
        self.log = open(self.path("log"), "wb")
        self.addCleanup(self.log.close)
        self.server = subprocess.Popen([WEIR, "serve", "-c", config], stdout=self.log, stderr=self.log)
        self.addCleanup(self.stop)
        wait_until(lambda: os.path.exists(self.path("weir.sock")), 20, "the socket")

    def stop(self):
        if self.server.poll() is None:
            self.server.send_signal(signal.SIGTERM)
        self.server.wait(30 * SLOWNESS)

    def described(self, method, path, status, kind):
        """The schema of an answer; the test fails where there is none."""
        def fits(pattern):
            return re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(pattern)), path.split("?")[0])
        pattern = min((p for p in self.doc["paths"] if fits(p)), key=lambda p: p.count("{"))
        responses = self.doc["paths"][pattern][method.lower()]["responses"]
        self.assertIn(str(status), responses, f"{method} {pattern}")
        answer = responses[str(status)]
        if "$ref" in answer:
            answer = self.doc["components"]["responses"][answer["$ref"].split("/")[-1]]
        if not kind:
            self.assertNotIn("content", answer)
            return None
        self.assertIn(kind, answer["content"], f"{method} {pattern} {status}")
        return answer["content"][kind]["schema"]

    def ask(self, method, path, body=None, kind="application/json", status=200):
        connection = UnixConnection(self.path("weir.sock"))
        data = body if isinstance(body, (str, bytes, type(None))) else json.dumps(body)
        try:
            connection.request(method, path, data, {"Content-Type": kind} if data is not None else {})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        self.assertEqual(answer.status, status, text)
        got = (answer.getheader("Content-Type") or "").split(";")[0]
        schema = self.described(method, path, status, got)
        if "ndjson" in got:
            rows = [json.loads(line) for line in text.splitlines()]
            for row in rows:
                self.check({"$ref": "#/components/schemas/Task"}, row)
            return rows
        if "json" not in got:
            return text
        value = json.loads(text)
        self.check(schema, value)
        return value

    def check(self, schema, value):
        jsonschema.Draft202012Validator({**schema, "components": self.doc["components"]}).validate(value)

    def ended(self, task):
        return wait_until(lambda: (t := self.ask("GET", f"/v1/tasks/{task}"))["state"] in ("done", "failed") and t, 20,
                          "the task")

    def test_tasks(self):
        one = self.ask("POST", "/v1/tasks", {"key": "k", "payload": {"script": "echo '{\"n\": 1}'"}, "skill": "echo",
                                             "resources": {"slots": ["workdir"]}, "timeout": "30s"}, status=201)
        task = self.ended(one["id"])
        self.assertEqual((task["state"], task["output"], task["ran_in"]), ("done", {"n": 1}, "shell"))
        bad = self.ask("POST", "/v1/tasks", {"payload": {"script": "echo no >&2; exit 3"}}, status=201)
        task = self.ended(bad["id"])
        self.assertEqual((task["state"], task["outcome"], task["status"]), ("failed", "failed", 3))
        later = self.ask("POST", "/v1/tasks", {"payload": {"script": "true"}, "not_before": "+1h"}, status=201)["id"]
        self.assertEqual(self.ask("GET", f"/v1/tasks/{later}")["waits_for"]["why"], "time")
        behind = self.ask("POST", "/v1/tasks", {"payload": {"script": "true"}, "after": [later]}, status=201)["id"]
        self.assertEqual(self.ask("GET", f"/v1/tasks/{behind}")["waits_for"]["why"], "dependencies")
        self.ask("PATCH", f"/v1/tasks/{later}", {"after": [behind]}, status=409)
        self.assertEqual(self.ask("PATCH", f"/v1/tasks/{later}", {"priority": 5})["priority"], 5)
        self.assertEqual(self.ask("POST", f"/v1/tasks/{later}/cancel")["state"], "cancelled")
        self.assertEqual(self.ask("POST", f"/v1/tasks/{behind}/resolve", {"how": "cancel"})["state"], "cancelled")
        self.ask("POST", f"/v1/tasks/{bad['id']}/retry")
        self.ended(bad["id"])
        self.ask("DELETE", f"/v1/tasks/{bad['id']}", status=204)
        self.ask("GET", f"/v1/tasks/{bad['id']}", status=404)
        self.ask("POST", "/v1/tasks", {"after": [99999]}, status=422)
        self.ask("POST", "/v1/tasks", {"prio": 1}, status=400)
        self.ask("POST", "/v1/tasks", [{"name": "a", "payload": {"script": "true"}}, {"after": ["a"]}], status=201)
        lines = "".join(json.dumps({"payload": {"script": "true"}}) + "\n" for _ in range(50))
        self.assertEqual(self.ask("POST", "/v1/tasks", lines, "application/x-ndjson", 201)["accepted"], 50)
        self.assertEqual(self.ask("POST", "/v1/tasks", lines + "{\n", "application/x-ndjson", 400)["line"], 51)
        page = self.ask("GET", "/v1/tasks?limit=10&with=payload,result")
        self.assertEqual(len(page["tasks"]), 10)
        self.ask("GET", f"/v1/tasks?cursor={page['next']}")
        self.ask("GET", f"/v1/tasks/{one['id']}/events")

    def test_batches(self):
        tasks = [{"payload": {"script": f"echo {n}"}} for n in range(5)]
        batch = self.ask("POST", "/v1/batches", {"name": "b", "tasks": tasks}, status=201)["id"]
        rows = self.ask("GET", f"/v1/batches/{batch}/results?follow=true")
        self.assertEqual([row["output"] for row in rows], [0, 1, 2, 3, 4])
        self.assertEqual(self.ask("GET", f"/v1/batches/{batch}")["finished"], True)
        opened = self.ask("POST", "/v1/batches?open=true", {"name": "long"}, status=201)["id"]
        self.ask("POST", f"/v1/batches/{opened}/tasks", {"payload": {"script": "exit 1"}, "max_attempts": 1}, status=201)
        self.ask("POST", f"/v1/batches/{opened}/end")
        self.ask("POST", f"/v1/batches/{opened}/tasks", {}, status=409)
        self.assertEqual(self.ask("GET", f"/v1/batches/{opened}/results?follow=true")[0]["state"], "failed")
        self.assertEqual(self.ask("POST", f"/v1/batches/{opened}/retry")["retried"], 1)
        self.ask("POST", f"/v1/batches/{opened}/cancel")
        self.ask("GET", "/v1/batches")
        self.ask("GET", "/v1/batches/999", status=404)

    def test_what_runs_and_where(self):
        task = self.ask("POST", "/v1/tasks", {"payload": {"script": "exec sleep 60"},
                                              "resources": {"slots": ["workdir"]}}, status=201)["id"]
        runner = wait_until(lambda: self.ask("GET", "/v1/runners"), 20, "the attempt")[0]
        self.assertEqual((runner["task"], runner["slots"][0]["name"]), (task, "workdir"))
        self.assertEqual(self.ask("GET", "/v1/slots")[0]["taken"], 1)
        self.ask("POST", f"/v1/runners/{runner['id']}/heartbeat", {"progress": 0.5}, status=401)
        self.ask("POST", f"/v1/tasks/{task}/cancel")
        wait_until(lambda: self.ask("GET", f"/v1/tasks/{task}")["state"] == "cancelled", 20, "the end of the attempt")
        self.ask("POST", "/v1/runners/1234567/kill", status=404)
        self.assertEqual(self.ask("GET", "/v1/pools")[0]["name"], "shell")
        changed = self.ask("PATCH", "/v1/pools/shell", {"max_concurrency": 3, "reserve": {"min_priority": 5, "share": 0.5}})
        self.assertEqual((changed["max_concurrency"], changed["reserve"]["share"]), (3, 0.5))
        self.assertEqual(self.ask("POST", "/v1/pools/shell/disable")["enabled"], False)
        self.assertEqual(self.ask("POST", "/v1/pools/shell/enable")["enabled"], True)
        self.ask("POST", "/v1/pools/shell/drain")
        self.ask("GET", "/v1/pools/shell/workers")
        self.ask("GET", "/v1/pools/other", status=404)
        self.assertEqual(self.ask("PATCH", "/v1/dispatcher", {"policy": "fair-share"})["policy"], "fair-share")
        self.ask("GET", "/v1/dispatcher")
        self.ask("GET", "/v1/tenants")

    def test_status_and_record(self):
        status = self.ask("GET", "/v1/status")
        self.assertEqual(status["state"], "running")
        self.ask("GET", "/v1/history")
        page = self.ask("GET", "/v1/events?limit=1")
        self.assertEqual(page["events"][0]["kind"], "dispatcher.started")
        self.ask("GET", "/v1/events?kind=nonsense", status=400)
        self.ask("GET", "/healthz")
        self.ask("GET", "/readyz")
        self.assertTrue(self.ask("GET", "/openapi.yaml").startswith(b"openapi: 3.1"))
        self.ask("POST", "/v1/shutdown", {"grace": "1s"}, status=202)
        self.assertEqual(self.server.wait(30 * SLOWNESS), 0)


if __name__ == "__main__":
    unittest.main()
