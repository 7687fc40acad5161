"""Each route of docs/openapi.yaml, with each status that stands there, is met on a daemon, and what comes is as the document says. At
the end the routes and statuses that were not met are listed, and there must be none.

run-tests: parallel
"""
import hashlib
import http.client
import json
import os
import re
import socket
import unittest

import yaml

import lifekit
from servekit import ServeCase
from weirtest import ROOT, SLOWNESS, wait_until
from workerkit import bad_worker

try:
    import jsonschema
except ImportError:
    jsonschema = None

METHODS = ("get", "post", "patch", "put", "delete")
NDJSON = "application/x-ndjson"
READ, OPERATE = "reader-secret-0123", "operator-secret-0123"
# Said where a daemon is not all there: the library's own server, a part that was left out.
NOT_OF_A_DAEMON = {("GET", "/v1/config", 404), ("POST", "/v1/config/reload", 404), ("GET", "/metrics", 404), ("GET", "/", 404)}
# Said after minutes; the API's own tests wait for less.
NOT_SOON = {("POST", path, 408) for path in ("/v1/tasks", "/v1/batches", "/v1/batches/{id}/tasks")}
# The answer is not JSON.
STREAM = "text/event-stream"


@unittest.skipUnless(jsonschema, "python3-jsonschema is not installed")
class Document(ServeCase):
    maxDiff = None

    def setUp(self):
        super().setUp()
        with open(os.path.join(ROOT, "docs/openapi.yaml"), encoding="utf-8") as f:
            self.doc = yaml.safe_load(f)
        self.met = set()

    # ---- what is described ----

    def resolve(self, node):
        while "$ref" in node:
            kind, name = node["$ref"].split("/")[-2:]
            node = self.doc["components"][kind][name]
        return node

    def operations(self):
        """(METHOD, pattern, operation)"""
        for pattern, item in self.doc["paths"].items():
            for method in METHODS:
                if method in item:
                    yield method.upper(), pattern, item[method]

    def pattern_of(self, path):
        fits = [p for p in self.doc["paths"] if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(p)), path.split("?")[0])]
        return min(fits, key=lambda p: p.count("{"))

    def check(self, schema, value):
        jsonschema.Draft202012Validator({**schema, "components": self.doc["components"]}).validate(value)

    def meet(self, method, path, status, kind, text):
        """Holds an answer against what stands there; its value."""
        pattern = self.pattern_of(path)
        answers = self.doc["paths"][pattern][method.lower()]["responses"]
        self.assertIn(str(status), answers, f"{method} {pattern}: {text[:500]}")
        content = self.resolve(answers[str(status)]).get("content", {})
        self.met.add((method, pattern, status))
        if not content:
            self.assertEqual((kind, text), ("", b""), f"{method} {pattern} {status}")
            return None
        kind = kind.split(";")[0]
        self.assertIn(kind if kind in content else "*/*", content, f"{method} {pattern} {status}")
        if kind in ("application/json", "application/problem+json"):
            value = json.loads(text)
            self.check(content[kind]["schema"], value)
            if kind == "application/problem+json":
                self.assertEqual(value["status"], status)
                self.assertTrue(value.get("detail"), f"{method} {pattern} {status} says nothing: {value}")
            return value
        if kind == NDJSON:
            rows = [json.loads(line) for line in text.splitlines()]
            for row in rows:
                self.check({"$ref": "#/components/schemas/Task"}, row)
            return rows
        return text

    def ask(self, method, path, body=None, status=200, kind="application/json", **headers):
        got, answer, text = self.d.request(method, path, body, kind, headers={k.replace("_", "-"): v for k, v in headers.items()})
        self.assertEqual(got, status, f"{method} {path}: {text[:500]}")
        return self.meet(method, path, got, answer.get("Content-Type", ""), text)

    def first_event(self, path, **headers):
        """What a stream begins with: its status, and the first event or all of the problem."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(30 * SLOWNESS)
            s.connect(self.d.socket)
            lines = [f"GET {path} HTTP/1.1", "Host: localhost", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
            s.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
            answer = http.client.HTTPResponse(s)
            answer.begin()
            text = b""
            if answer.status == 200:
                while not (b"data: " in text and text.endswith(b"\n\n")):
                    text += answer.readline()
            else:
                text = answer.read()
            self.meet("GET", path, answer.status, answer.getheader("Content-Type"), text)
        return text

    # ---- the routes, one theme after the other ----

    def tasks(self):
        ask, shell = self.ask, lambda line, **more: {"payload": {"shell": line}, **more}
        done = ask("POST", "/v1/tasks", shell("echo 1", key="k", max_attempts=1), 201)["id"]
        self.assertEqual(self.d.wait_task(done)["output"], 1)
        ids = ask("POST", "/v1/tasks", [shell("exit 1", name="a", max_attempts=1), shell("true", after=["a"])], 201)["ids"]
        failed = ids[0]
        self.assertEqual(self.d.wait_task(ids[1])["reason"], "dependency")
        stream = "".join(json.dumps(shell("true", key=f"s{n}")) + "\n" for n in range(2500))
        self.assertEqual(ask("POST", "/v1/tasks", stream, 201, NDJSON)["accepted"], 2500)
        self.assertEqual(ask("POST", "/v1/tasks", stream[:2000] + "{\n", 400, NDJSON)["line"], stream[:2000].count("\n") + 1)
        ask("POST", "/v1/tasks", {"prio": 1}, 400)
        ask("POST", "/v1/tasks", shell("x" * (2 << 20)), 413)
        ask("POST", "/v1/tasks", shell("true", after=[10**9]), 422)
        later = ask("POST", "/v1/tasks", shell("true", not_before="+1h"), 201)["id"]
        behind = ask("POST", "/v1/tasks", shell("true", after=[later]), 201)["id"]
        page = ask("GET", "/v1/tasks?limit=3&order=newest&with=payload,result")
        self.assertEqual([t["id"] for t in page["tasks"]], [behind, later, later - 1])
        ask("GET", f"/v1/tasks?limit=3&order=newest&cursor={page['next']}")
        ask("GET", "/v1/tasks?state=nonsense", status=400)
        ask("GET", f"/v1/tasks/{done}")
        ask("GET", "/v1/tasks/999999", status=404)
        path = f"/v1/tasks/{later}"
        self.assertEqual(ask("PATCH", path, {"priority": 7})["priority"], 7)
        ask("PATCH", path, {"colour": 7}, 400)
        ask("PATCH", "/v1/tasks/999999", {"priority": 7}, 404)
        ask("PATCH", f"/v1/tasks/{done}", {"priority": 7}, 409)
        ask("PATCH", path, {"after": [999999]}, 404)
        ask("POST", path + "/resolve", {"how": "well"}, 400)
        ask("POST", "/v1/tasks/999999/resolve", {"how": "run"}, 404)
        ask("POST", f"/v1/tasks/{done}/resolve", {"how": "run"}, 409)
        self.assertEqual(ask("POST", f"/v1/tasks/{behind}/resolve", {"how": "cancel"})["state"], "cancelled")
        self.assertEqual(ask("POST", path + "/cancel")["state"], "cancelled")
        self.assertEqual(ask("POST", f"/v1/tasks/{failed}/retry")["failures"], 0)
        for verb in ("cancel", "retry"):
            ask("POST", f"/v1/tasks/{done}/{verb}", {"why": "not"}, 400)
            ask("POST", f"/v1/tasks/999999/{verb}", status=404)
            ask("POST", f"/v1/tasks/{done}/{verb}", status=409)
        self.assertEqual(ask("GET", f"/v1/tasks/{done}/events?order=newest&limit=1")["events"][0]["kind"], "task.done")
        ask("GET", f"/v1/tasks/{done}/events?order=upwards", status=400)
        ask("GET", "/v1/tasks/999999/events", status=404)
        waiting = ask("POST", "/v1/tasks", shell("true", not_before="+1h"), 201)["id"]
        ask("DELETE", f"/v1/tasks/{waiting}", status=409)
        ask("DELETE", f"/v1/tasks/{done}", status=204)
        ask("DELETE", f"/v1/tasks/{done}", status=404)

    def batches(self):
        ask, task = self.ask, {"payload": {"shell": "echo 7"}}
        number = ask("POST", "/v1/batches", {"name": "b", "tasks": [task] * 3}, 201)["id"]
        path = f"/v1/batches/{number}"
        self.assertEqual([r["output"] for r in ask("GET", path + "/results?follow=true")], [7, 7, 7])
        self.assertEqual(len(ask("GET", path + "/results?from=2&with=payload")), 1)
        ask("GET", path + "/results?from=two", status=400)
        lines = (json.dumps(task) + "\n") * 5
        opened = ask("POST", "/v1/batches?open=true&name=o", lines, 201, NDJSON)["id"]
        ask("POST", "/v1/batches", {"tasks": [{"payload": 1, "priority": "much"}]}, 400)
        ask("POST", "/v1/batches", {"tasks": [{"payload": "x" * (2 << 20)}]}, 413)
        ask("POST", "/v1/batches", {"tasks": [{"payload": 1, "after": [10**9]}]}, 422)
        ask("GET", "/v1/batches?limit=1")
        ask("GET", "/v1/batches?limit=0", status=400)
        self.assertTrue(ask("GET", path)["finished"])
        more = f"/v1/batches/{opened}/tasks"
        ask("POST", more, [task, {**task, "not_before": "+1h"}], 201)
        ask("POST", more, lines, 201, NDJSON)
        ask("POST", more, {"prio": 1}, 400)
        ask("POST", more, {"payload": "x" * (2 << 20)}, 413)
        ask("POST", more, {"payload": 1, "after": [10**9]}, 422)
        ask("POST", f"/v1/batches/{number}/tasks", task, 409)
        self.assertTrue(ask("POST", f"/v1/batches/{opened}/end")["ended"])
        self.assertTrue(ask("POST", f"/v1/batches/{opened}/end")["ended"])
        self.assertGreater(ask("POST", f"/v1/batches/{opened}/cancel")["cancelled"], 0)
        self.assertEqual(ask("POST", path + "/retry")["retried"], 0)
        for verb in ("end", "cancel", "retry"):
            ask("POST", f"{path}/{verb}", {"why": "not"}, 400)
        for method, rest in (("GET", ""), ("GET", "/results"), ("POST", "/tasks"), ("POST", "/end"), ("POST", "/cancel"),
                             ("POST", "/retry")):
            ask(method, "/v1/batches/999999" + rest, task if rest == "/tasks" else None, status=404)

    def pools(self):
        ask = self.ask
        self.assertEqual([p["name"] for p in ask("GET", "/v1/pools")], ["sh", "w"])
        self.assertEqual(ask("GET", "/v1/pools/w")["breaker"]["state"], "closed")
        bad = self.d.submit([{"pool": "w", "payload": n} for n in range(2)])
        for task in bad:
            self.d.wait_task(task)
        self.assertEqual(ask("GET", "/v1/pools/w")["breaker"]["state"], "open")
        self.assertEqual(ask("POST", "/v1/pools/w/breaker/reset")["breaker"]["state"], "closed")
        self.assertGreater(wait_until(lambda: ask("GET", "/v1/pools/w/workers"), 20, "a worker")[0]["id"], 0)
        self.assertEqual(ask("GET", "/v1/pools/sh/workers"), [])
        changed = {"max_concurrency": 3, "cpu": 1.5, "memory": "1GiB", "reserve": {"min_priority": 5, "share": 0.5},
                   "burst": {"places": 1, "seconds": 2}}
        pool = ask("PATCH", "/v1/pools/sh", changed)
        self.assertEqual({k: pool[k] for k in ("max_concurrency", "reserve", "burst")},
                         {k: changed[k] for k in ("max_concurrency", "reserve", "burst")})
        self.assertEqual((pool["cpu"]["limit"], pool["memory"]["limit"]), (1.5, 1 << 30))
        ask("PATCH", "/v1/pools/sh", {"burst": None, "reserve": None, "cpu": 0, "memory": 0, "max_concurrency": 4})
        ask("PATCH", "/v1/pools/sh", {"max_concurrency": "many"}, 400)
        ask("PATCH", "/v1/pools/w", {"max_concurrency": 900000}, 422)
        ask("PATCH", "/v1/pools/nowhere", {"max_concurrency": 3}, 404)
        self.assertFalse(ask("POST", "/v1/pools/sh/disable")["enabled"])
        self.assertFalse(ask("POST", "/v1/pools/sh/drain")["draining"])
        self.assertTrue(ask("POST", "/v1/pools/sh/enable")["enabled"])
        for method, rest in (("GET", ""), ("GET", "/workers"), ("POST", "/enable"), ("POST", "/disable"), ("POST", "/drain"),
                             ("POST", "/breaker/reset")):
            ask(method, "/v1/pools/nowhere" + rest, status=404)

    def dispatcher(self):
        ask = self.ask
        self.assertEqual(ask("GET", "/v1/dispatcher")["policy"], "priority")
        self.assertEqual(ask("PATCH", "/v1/dispatcher", {"policy": "fair-share", "ageing": 2})["ageing"], 2)
        ask("PATCH", "/v1/dispatcher", {"policy": "none"}, 400)
        self.assertIsNone(ask("GET", "/v1/tenants")["next"])
        ask("GET", "/v1/tenants?cursor=o1", status=400)
        self.assertEqual(ask("GET", "/v1/slots")[0]["name"], "workdir")

    def runners(self):
        ask = self.ask
        gate = self.path("gate")
        os.mkfifo(gate)
        task = self.d.submit({"payload": {"shell": f"echo $WEIR_TOKEN >{self.path('token')}; read x <{gate}"}, "max_attempts": 2,
                              "resources": {"slots": ["workdir"]}})
        runner = wait_until(lambda: ask("GET", "/v1/runners"), 20, "the attempt")[0]
        self.assertEqual(runner["task"], task)

        def read():
            try:
                with open(self.path("token"), encoding="ascii") as f:
                    return f.read().strip()
            except FileNotFoundError:
                return ""
        own = {"Authorization": "Bearer " + wait_until(read, 20, "its token")}
        beat = f"/v1/runners/{runner['id']}/heartbeat"
        ask("POST", beat, {"progress": 0.25, "text": "a quarter"}, 204, **own)
        seen = wait_until(lambda: next((r for r in ask("GET", "/v1/runners") if r.get("progress")), None), 20, "the heartbeat")
        self.assertEqual((seen["progress"], seen["text"]), (0.25, "a quarter"))
        ask("POST", beat, {"progress": 2}, 400, **own)
        ask("POST", beat, {"progress": 0.5}, 401)
        ask("POST", beat, {"progress": 0.5}, 403, Authorization="Bearer nonsense")
        ask("POST", f"/v1/runners/{int(runner['id']) + 1000}/heartbeat", {}, 403, **own)
        ask("POST", "/v1/runners/nobody/heartbeat", {}, 404, **own)
        ask("POST", f"/v1/runners/{runner['id']}/kill", status=204)
        ask("POST", "/v1/runners/1234567/kill", status=404)
        self.d.api("POST", f"/v1/tasks/{task}/cancel")
        self.d.wait_task(task)

    def record(self):
        ask = self.ask
        page = ask("GET", "/v1/events?limit=2&kind=task.done&order=newest")
        self.assertEqual([e["kind"] for e in page["events"]], ["task.done"] * 2)
        ask("GET", "/v1/events?kind=nonsense", status=400)
        first = self.first_event("/v1/events/follow?after=0&kind=dispatcher.started")
        self.assertIn(b"event: dispatcher.started\n", first)
        again = self.first_event("/v1/events/follow", Last_Event_ID="1")
        self.assertIn(b"id: 2\n", again)
        self.first_event("/v1/events/follow?task=x")
        status = ask("GET", "/v1/status")
        self.assertEqual(status["tasks"], lifekit.counts(self.d))
        ask("GET", "/v1/history?resolution=10")
        ask("GET", "/v1/history?resolution=11", status=400)
        self.assertIn("pools", yaml.safe_load(ask("GET", "/v1/config")["config"]))
        ask("POST", "/v1/config/reload")
        self.d.configure("pools: 7")
        ask("POST", "/v1/config/reload", status=422)
        ask("GET", "/healthz")
        ask("GET", "/readyz")
        self.assertIn(b"weir_running", ask("GET", "/metrics"))
        self.assertTrue(ask("GET", "/metrics", Accept="application/openmetrics-text").endswith(b"# EOF\n"))
        with open(os.path.join(ROOT, "docs/openapi.yaml"), "rb") as f:
            self.assertEqual(ask("GET", "/openapi.yaml"), f.read())
        page = ask("GET", "/")
        for name in set(re.findall(rb'(?:src|href)="/?(web/[^"]+)"', page)):
            ask("GET", "/" + name.decode())
        ask("GET", "/web/nothing.js", status=404)
        ask("POST", "/v1/shutdown", {"grace": "soon"}, 400)

    # ---- what any route may say ----

    def filled(self, pattern):
        for name, value in (("{id}", "999999"), ("{name}", "nowhere"), ("{file}", "nothing.js")):
            pattern = pattern.replace(name, value)
        return pattern

    def tokens(self):
        tokens = [{"name": n, "role": n, "sha256": hashlib.sha256(t.encode()).hexdigest()} for n, t in
                  (("read", READ), ("operate", OPERATE))]
        self.d = self.daemon({"pools": [{"name": "sh", "kind": "command"}], "tokens": tokens}, token=OPERATE)
        self.d.token = None
        for method, pattern, operation in self.operations():
            body = "{}" if method in ("POST", "PATCH") else None
            if operation["x-role"] != "none":
                self.ask(method, self.filled(pattern), body, 401)
            if operation["x-role"] in ("submit", "operate"):
                self.ask(method, self.filled(pattern), body, 403, Authorization="Bearer " + READ)
        self.d.stop()

    def full(self):
        """As many connections are open as there may be."""
        self.d = self.daemon({"pools": [{"name": "sh", "kind": "command"}], "limits": {"connections": 4}})
        held = []
        self.addCleanup(lambda: [s.close() for s in held])

        def is_full():
            if self.d.request("GET", "/readyz")[0] == 503:
                return True
            held.append(socket.socket(socket.AF_UNIX))
            held[-1].connect(self.d.socket)
            held[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            held[-1].recv(100)
            return False
        wait_until(is_full, 20, "all places to be taken")
        for method, pattern, operation in self.operations():
            if "503" in operation["responses"]:
                self.ask(method, self.filled(pattern), "{}" if method in ("POST", "PATCH") else None, 503)

    def test_every_route_and_status_is_met(self):
        self.d = self.daemon({
            "default_pool": "sh", "slots": [{"name": "workdir", "count": 2}], "limits": {"request_bytes": "1MiB"}, "pools": [
                {"name": "sh", "kind": "command", "max_concurrency": 4, "max_attempts": 1, "kill_after": "200ms"},
                {"name": "w", "kind": "process", "process": bad_worker("retryable"), "max_concurrency": 1, "max_attempts": 1,
                 "breaker": {"mode": "on", "failures": 2, "open": "1h"}}]})
        for theme in (self.tasks, self.batches, self.pools, self.dispatcher, self.runners, self.record):
            with self.subTest(theme.__name__):
                theme()
        self.assertEqual(self.ask("POST", "/v1/shutdown", {"grace": "0s"}, 202), {"state": "stopping"})
        self.assertEqual(self.d.wait_end(), 0)
        for theme in (self.tokens, self.full):
            with self.subTest(theme.__name__):
                theme()
        said = {(method, pattern, int(status)) for method, pattern, operation in self.operations()
                for status in operation["responses"]}
        self.assertEqual((NOT_OF_A_DAEMON | NOT_SOON) - said, set(), "no longer described")
        self.assertEqual(sorted(said - NOT_OF_A_DAEMON - NOT_SOON - self.met), [], "described, and met by no test")


if __name__ == "__main__":
    unittest.main()
