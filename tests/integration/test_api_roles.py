"""Who may do what through the API: each route of docs/openapi.yaml asked without a token, with wrong ones, with one that may
too little and with one that may; where tokens come from and how they are changed; whose page may ask at all. And that no
token is ever told to anybody.

run-tests: waits
run-tests: sanitizers
"""
import contextlib
import hashlib
import http.client
import json
import os
import re
import socket
import subprocess
import unittest

import yaml

from servekit import Daemon, ServeCase
from weirtest import ROOT, SLOWNESS, WEIR, free_port

READ, SUBMIT, OPERATE = "reader-seCret-0123456789", "submitter-seCret-0123456789", "operator-seCret-0123456789"
WRONG = "wrong-seCret-0123456789"
SECRETS = (READ, SUBMIT, OPERATE, WRONG)
RANK = {"read": 1, "submit": 2, "operate": 3}
POOLS = [{"name": "sh", "kind": "command", "max_concurrency": 2, "max_attempts": 1}]


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def routes():
    """(method, path, role) of all that the document describes."""
    with open(os.path.join(ROOT, "docs/openapi.yaml"), encoding="utf-8") as f:
        doc = yaml.safe_load(f)
    for path, item in doc["paths"].items():
        for method in ("get", "post", "patch", "delete", "put"):
            if method in item:
                yield method.upper(), path, item[method]["x-role"]


def filled(path):
    """With parameters that are well formed, and of nothing that is there."""
    for name, value in (("{id}", "999999"), ("{name}", "nowhere"), ("{file}", "nothing.js")):
        path = path.replace(name, value)
    return path


class Tcp:
    """Requests to a TCP listener, head by head."""

    def __init__(self, port):
        self.port = port

    def ask(self, head, body=b""):
        with socket.create_connection(("127.0.0.1", self.port), 30 * SLOWNESS) as s:
            s.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)
            answer = b""
            while part := s.recv(65536):
                answer += part
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]) if head else 0, head.decode("latin-1"), body

    def get(self, host, *headers, method="GET", path="/v1/status"):
        lines = [f"{method} {path} HTTP/1.1", *([f"Host: {host}"] if host else []), *headers]
        return self.ask("\r\n".join(lines) + "\r\n")[0]


class Roles(ServeCase):
    def daemon_with_tokens(self, **more):
        d = Daemon(start=False, env={"OPERATOR_SECRET": OPERATE})
        self.addCleanup(d.close)
        self.token_file = os.path.join(d.dir, "submit.token")
        self.put_token(SUBMIT)
        self.tokens = [{"name": "r", "role": "read", "sha256": sha256(READ)},
                       {"name": "s", "role": "submit", "file": self.token_file},
                       {"name": "o", "role": "operate", "env": "OPERATOR_SECRET"}]
        d.configure({"pools": POOLS, "default_pool": "sh", "tokens": self.tokens, **more})
        d.start()
        return d

    def put_token(self, secret):
        with open(self.token_file, "w", encoding="utf-8") as f:
            f.write(secret + "\n")
        os.chmod(self.token_file, 0o600)

    def ask(self, d, method, path, token=None, body=None, headers=None):
        """status, headers, text. A stream is not waited for."""
        headers = dict(headers or {})
        if token is not None:
            headers["Authorization"] = token if " " in token else "Bearer " + token
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as s:
            s.settimeout(30 * SLOWNESS)
            s.connect(d.socket)
            connection = http.client.HTTPConnection("localhost")
            connection.sock = s
            if body is not None:
                headers["Content-Type"] = "application/json"
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            streams = answer.getheader("Content-Type") == "text/event-stream"
            text = "" if streams else answer.read().decode()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, text

    def refused(self, d, status, method, path, token, why):
        got, headers, text = self.ask(d, method, path, token, "{}" if method in ("POST", "PATCH") else None)
        self.assertEqual(got, status, f"{method} {path} {why}: {text}")
        self.assertEqual(headers["content-type"], "application/problem+json")
        self.assertEqual(json.loads(text)["status"], status)
        self.assertIn("Bearer", headers["www-authenticate"], f"{method} {path} {why}")

    def test_each_route_is_for_its_role_and_those_above_it(self):
        d = self.daemon_with_tokens()
        of_role = {"read": READ, "submit": SUBMIT, "operate": OPERATE}
        last = []
        seen = 0
        for method, pattern, role in routes():
            path = filled(pattern)
            seen += 1
            if pattern.endswith("/heartbeat"):
                # Its token is that of the attempt, and none of ours is.
                for token in (None, OPERATE, WRONG):
                    self.assertIn(self.ask(d, method, path, token, "{}")[0], (401, 403, 404))
                continue
            if role == "none":
                for token in (None, WRONG, READ):
                    self.assertNotIn(self.ask(d, method, path, token)[0], (401, 403), path)
                continue
            for token, why in ((None, "no token"), (WRONG, "wrong"), (READ[:-1], "cut"), (READ + "0", "longer"),
                               (sha256(READ), "the digest"), ("Basic " + READ, "another scheme"),
                               ("Bearer r", "a name"), ("Bearer  ", "blank")):
                self.refused(d, 401, method, path, token, why)
            for less, token in of_role.items():
                if RANK[less] < RANK[role]:
                    self.refused(d, 403, method, path, token, f"a {less} token")
                elif pattern == "/v1/shutdown":
                    last.append((method, path, token))
                else:
                    status, _, text = self.ask(d, method, path, token, "{}" if method in ("POST", "PATCH") else None)
                    self.assertNotIn(status, (401, 403, 405, 500), f"{method} {path} as {less}: {text}")
            if method == "GET":
                self.refused_head(d, path)
        self.assertGreater(seen, 40)
        # And in any case the scheme's name may be written in any way, and a token has no other place.
        self.assertEqual(self.ask(d, "GET", "/v1/status", "bEaReR " + READ)[0], 200)
        self.assertEqual(self.ask(d, "GET", f"/v1/status?token={READ}")[0], 401)
        self.assertEqual(self.ask(d, "GET", "/v1/status", headers={"X-Token": READ})[0], 401)
        for method, path, token in last:
            self.assertEqual(self.ask(d, method, path, token, '{"grace": 0}')[0], 202)
        self.assertEqual(d.wait_end(), 0)

    def refused_head(self, d, path):
        status, headers, text = self.ask(d, "HEAD", path)
        self.assertEqual((status, text), (401, ""), path)
        self.assertIn("Bearer", headers["www-authenticate"])

    def test_no_token_is_told_to_anybody(self):
        d = self.daemon_with_tokens(log={"level": "debug"})
        heard = []
        for method, path, _ in routes():
            for token in (None, *SECRETS):
                if path in ("/v1/shutdown",):
                    continue
                for at in (filled(path), filled(path).replace("999999", "1")):
                    status, headers, text = self.ask(d, method, at, token, "{}" if method in ("POST", "PATCH") else None)
                    heard.append((f"{method} {at} {status}", repr(headers) + text))
        # What an attempt sees is for whoever may submit.
        status, _, text = self.ask(d, "POST", "/v1/tasks", SUBMIT, json.dumps({"payload": {"shell": "env"}}))
        self.assertEqual(status, 201, text)
        d.token = OPERATE
        task = d.wait_task(json.loads(text)["id"])
        self.assertEqual(task["state"], "done", task)
        own = re.search(r"^WEIR_TOKEN=(.+)$", task["output"], re.M).group(1)
        heard.append(("the output", task["output"]))
        for path in ("/v1/config", "/metrics", "/v1/events?limit=1000", "/v1/runners", "/v1/tasks?with=payload", "/v1/status"):
            text = d.api("GET", path)[1]
            heard.append((path, text if isinstance(text, str) else json.dumps(text)))
        self.assertEqual(d.api("POST", "/v1/config/reload")[0], 200)
        d.stop()
        for name in os.listdir(d.dir):
            if name not in ("submit.token", "weir.yml") and os.path.isfile(os.path.join(d.dir, name)):
                with open(os.path.join(d.dir, name), "rb") as f:
                    heard.append((name, f.read().decode("latin-1")))
        self.assertIn("serve.log", [name for name, _ in heard])
        for what, text in heard:
            for secret in (*SECRETS, *map(sha256, SECRETS)):
                self.assertNotIn(secret, text, what)
            if what not in ("the output", "weir.db", "weir.db-wal"):
                self.assertNotIn(own, text, what)

    def test_tokens_change_with_a_reload(self):
        d = self.daemon_with_tokens()
        d.token = OPERATE
        new = "another-seCret-0123456789"
        self.put_token(new)
        self.assertEqual(self.ask(d, "GET", "/v1/status", SUBMIT)[0], 200)  # not before it is told
        self.assertEqual(d.api("POST", "/v1/config/reload")[0], 200)
        self.assertEqual(self.ask(d, "GET", "/v1/status", SUBMIT)[0], 401)
        self.assertEqual(self.ask(d, "GET", "/v1/status", new)[0], 200)
        # A role that has become smaller, and a token that has gone.
        self.tokens[2:] = [{"name": "o2", "role": "operate", "sha256": sha256("second-operator")}]
        self.tokens[1]["role"] = "read"
        config = {"pools": POOLS, "default_pool": "sh", "tokens": self.tokens}
        d.configure(config)
        status, answer = d.api("POST", "/v1/config/reload")
        self.assertEqual(status, 200, answer)
        self.assertTrue(any("tokens" in line for line in answer["changed"]), answer)
        self.assertEqual(self.ask(d, "GET", "/v1/status", OPERATE)[0], 401)
        self.assertEqual(self.ask(d, "POST", "/v1/tasks", new, "{}")[0], 403)
        self.assertEqual(self.ask(d, "GET", "/v1/status", READ)[0], 200)
        # What is wrong changes nothing: the file has gone, and the digest is none.
        d.token = "second-operator"
        for wrong in ({"name": "x", "role": "read", "file": os.path.join(d.dir, "nothing")},
                      {"name": "x", "role": "read", "sha256": "in-the-wrong-place-seCret"},
                      {"name": "x", "role": "read", "env": "NO_SUCH_VARIABLE"},
                      {"name": "x", "role": "read"},
                      {"name": "x", "role": "king", "sha256": sha256("k")}):
            d.configure({**config, "tokens": [*self.tokens, wrong]})
            status, answer = d.api("POST", "/v1/config/reload")
            self.assertEqual(status, 422, answer)
            self.assertRegex(answer["detail"], r"weir\.yml:\d+: .*tokens", wrong)
            self.assertNotIn("in-the-wrong-place-seCret", answer["detail"])
            self.assertEqual(self.ask(d, "GET", "/v1/status", READ)[0], 200)
            self.assertEqual(self.ask(d, "GET", "/v1/status")[0], 401)
        self.assertNotIn("in-the-wrong-place-seCret", d.log())
        # Without any tokens everybody who can connect may do everything.
        d.configure({**config, "tokens": []})
        self.assertEqual(d.api("POST", "/v1/config/reload")[0], 200)
        self.assertEqual(self.ask(d, "GET", "/v1/config")[0], 200)

    def test_beyond_loopback_there_are_tokens_or_no_daemon(self):
        d = Daemon(start=False)
        self.addCleanup(d.close)
        for where in ("0.0.0.0:%d", "[::]:%d"):
            d.configure({"pools": POOLS, "listen": [d.address, where % free_port()]})
            done = subprocess.run([WEIR, "serve", "-c", d.config_path], capture_output=True, text=True, env=d.env,
                                  timeout=30 * SLOWNESS)
            self.assertNotEqual(done.returncode, 0)
            self.assertRegex(done.stderr, r"weir\.yml:\d+: listen\[?.*tokens")
        port = free_port()
        tokens = [{"name": "o", "role": "operate", "sha256": sha256(OPERATE)}]
        listen = [d.address, f"0.0.0.0:{port}"]
        d.configure({"pools": POOLS, "listen": listen, "tokens": tokens})
        d.token = OPERATE
        d.start()
        tcp = Tcp(port)
        self.assertEqual(tcp.get("localhost"), 401)
        self.assertEqual(tcp.get("localhost", "Authorization: Bearer " + OPERATE), 200)
        # Nor can they be taken away while it runs.
        d.configure({"pools": POOLS, "listen": listen})
        status, answer = d.api("POST", "/v1/config/reload")
        self.assertEqual(status, 422, answer)
        self.assertIn("tokens", answer["detail"])
        self.assertEqual(tcp.get("localhost"), 401)
        # Nor by taking the listener away in the file: it is open until a restart.
        d.configure({"pools": [{**POOLS[0], "max_concurrency": 7}], "listen": [d.address]})
        status, answer = d.api("POST", "/v1/config/reload")
        self.assertEqual(tcp.get("localhost"), 401, answer)
        self.assertEqual(status, 422, answer)
        self.assertIn("loopback", answer["detail"])
        self.assertEqual(d.get("/v1/pools/sh")["max_concurrency"], 2)  # and nothing else of that file either

    def test_a_page_of_somebody_else_gets_nothing(self):
        port = free_port()
        d = self.daemon(start=False)
        d.configure({"pools": POOLS, "listen": [d.address, f"127.0.0.1:{port}"]})
        d.start()
        tcp = Tcp(port)
        for host in ("localhost", "LOCALHOST", f"localhost:{port}", "127.0.0.1", f"127.0.0.1:{port}", "[::1]:80", "127.1.2.3"):
            self.assertEqual(tcp.get(host), 200, host)
        for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", f"evil.example:{port}", "127.evil",
                     "1270.0.0.1.nip.io", "0.0.0.0", "[::2]", "localhost:80@evil.example", "evil.example:localhost",
                     "10.0.0.1", "::1", "[::1", "localhost.", "xlocalhost"):
            self.assertEqual(tcp.get(host), 403, host)
        for origin in ("http://evil.example", "null", f"http://localhost:{port + 1}", "http://localhost.evil.example",
                       "evil", f"http://x@localhost:{port}", "://"):
            self.assertEqual(tcp.get(f"localhost:{port}", "Origin: " + origin, "Content-Length: 0", method="POST",
                                     path="/v1/pools/sh/disable"), 403, origin)
        for site in ("cross-site", "same-site", "nonsense"):
            self.assertEqual(tcp.get("localhost", "Sec-Fetch-Site: " + site, "Content-Length: 0", method="POST",
                                     path="/v1/pools/sh/disable"), 403, site)
        self.assertTrue(d.get("/v1/pools/sh")["enabled"])
        for own in (f"Origin: http://localhost:{port}", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none"):
            self.assertEqual(tcp.get(f"localhost:{port}", own, "Content-Length: 0", method="POST",
                                     path="/v1/pools/sh/enable"), 200, own)
        # Two hosts: whichever is looked at, the other is not let in by it.
        self.assertIn(tcp.get(None, "Host: localhost", "Host: evil.example"), (400, 403))
        self.assertIn(tcp.get(None, "Host: evil.example", "Host: localhost"), (400, 403))
        self.assertEqual(tcp.get("localhost", "Authorization: Bearer a", "authorization: Bearer b"), 400)
        # One reads across sites only what the other allows: nothing here does.
        _, head, _ = tcp.ask("OPTIONS /v1/tasks HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n"
                             "Access-Control-Request-Method: POST\r\n")
        self.assertNotIn("access-control", head.lower())


if __name__ == "__main__":
    unittest.main()
