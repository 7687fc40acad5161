"""The API under what nobody means well: mutations of valid requests, random bytes, heads that are none, deep and huge and
broken bodies. Whatever comes, the daemon answers with a status below 500 or closes the connection, each refusal is a
problem document that says what is wrong, nothing that was sent becomes a header or breaks an answer, its memory comes
back, and it ends as it should.

WEIR_SEED repeats a run, WEIR_FUZZ says how many requests (default 4,000).

run-tests: parallel
run-tests: sanitizers
run-tests: timeout=600
"""
import collections
import concurrent.futures
import json
import os
import random
import re
import socket
import time
import unittest
import urllib.parse

import yaml

from servekit import ServeCase
from weirtest import ROOT, SLOWNESS, VARIANT, wait_until

SEED = int(os.environ.get("WEIR_SEED") or time.time_ns() % 1000000007)
COUNT = int(os.environ.get("WEIR_FUZZ") or (1000 if VARIANT else 4000))
# Whatever is submitted runs `true`, which looks at nothing of it.
CONFIG = {"pools": [{"name": "sh", "kind": "command", "max_concurrency": 2, "max_attempts": 1, "command": ["true"]},
                    {"name": "off", "kind": "command", "enabled": False, "command": ["true"], "skills": ["s"]}],
          "default_pool": "sh", "slots": [{"name": "dir", "count": 2}]}
HEADERS = {"date", "content-type", "content-length", "connection", "cache-control", "x-content-type-options", "allow",
           "retry-after", "www-authenticate", "transfer-encoding", "etag", "x-accel-buffering",
           # of the web page
           "content-security-policy", "cross-origin-opener-policy", "cross-origin-resource-policy", "referrer-policy"}

TASK = {"key": "row-1", "payload": {"prompt": "Say hello", "n": [1, 2.5, None, True]}, "pool": "off", "priority": 10,
        "tenant": "acme", "session": "s1", "on_dependency_failure": "run",
        "resources": {"cpu": 1.5, "memory": "512MiB", "slots": ["dir"]}, "max_attempts": 3, "timeout": "30s",
        "backoff": {"initial": "1s", "factor": 2, "ceiling": "1m"}, "deadline": "2099-01-31T12:00:00Z",
        "not_before": "+90s", "idempotency_key": "once"}
TEXTS = ["", "\0", "a\0b", "\r\nX-Injected: yes\r\n\r\n", "\n\n", "\x7f", "\u2028\u2029", "\ud800", "\udfff\ud800", "\ufeff",
         "\U0010ffff", "\uffff", "e\u0301", "\u202egnp.exe", "a" * 255, "a" * 256, "\u20ac" * 85, "\u20ac" * 86, "x" * 5000,
         "../../etc/passwd", "'; drop table task; --", "%s%n%n", "<script>", "\\", "\"", "a,b", "a/b", " ", "NULL",
         "null", "true", "NaN", "-", "+", "0", "1e999", "+90s", "+99999999999h", "-1s", "1969-12-31T23:59:59Z",
         "2262-04-11T23:47:16.854775807Z", "2026-02-30T00:00:00Z", "512XiB", "9999999999TiB", "\u0661\u0662"]
NUMBERS = ["0", "-0", "-1", "1", "0.5", "1.0", "1e3", "1e-3", "-1e400", "1e400", "1e308", "127", "32768", "2147483647",
           "2147483648", "4294967295", "4294967296", "9007199254740993", "9223372036854775807", "9223372036854775808",
           "18446744073709551615", "18446744073709551616", "1" * 400, "00", "01", "+1", "0x10", "1.", ".5", "1e", "Infinity",
           "NaN", "-", "1" + "0" * 5000]
PIECES = [b"\0", b"\r\n", b"\n", b"\r", b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"%", b"%00",
          b"%0d%0aX-Injected:%20yes", b"%2e%2e%2f", b"%ff", b"%zz", b"%c0%af", b"{", b"}", b"[", b"]", b'"', b"\\", b"\\u",
          b"\\ud800", b",", b":", b"&", b"=", b"+", b";", b"?", b"#", b"//", b"/../", b"\t", b" ", b"\x1b[31m", b"*", b"'"]


def head_of(answer):
    head, found, body = answer.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        headers[name.decode("latin-1").lower()] = value.strip().decode("latin-1")
    return lines[0], headers, body if found else None


def unchunked(body):
    out = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        size = int(size, 16)
        if size == 0:
            break
        out, body = out + body[:size], body[size + 2:]
    return out


class Fuzz:
    """Requests out of one seed: each by its number alone, so that one can be asked for again."""

    def __init__(self, seed):
        self.seed = seed
        with open(os.path.join(ROOT, "docs/openapi.yaml"), encoding="utf-8") as f:
            self.doc = yaml.safe_load(f)
        self.routes = list(self.find_routes())

    def find_routes(self):
        """(method, path, bodies, query parameters); bodies: (content type, text)."""
        for path, item in self.doc["paths"].items():
            for method in ("get", "post", "patch", "delete"):
                if method not in item or path == "/v1/shutdown":
                    continue
                bodies = []
                for kind, content in item[method].get("requestBody", {}).get("content", {}).items():
                    examples = [e["value"] for e in content.get("examples", {}).values()] + [content.get("example")]
                    bodies += [(kind, e if isinstance(e, str) else json.dumps(e)) for e in examples if e is not None]
                    if path == "/v1/tasks":
                        bodies.append((kind, json.dumps(TASK)))
                names = [p.get("name") or p["$ref"].split("/")[-1] for p in item[method].get("parameters", ())]
                for name in list(names):
                    known = self.doc["components"]["parameters"].get(name)
                    names[names.index(name)] = known["name"] if known else name
                yield method.upper(), path, bodies, [n for n in names if n != "Last-Event-ID"]

    def value(self, r, depth=0):
        """JSON text, not always valid."""
        kind = r.randrange(10)
        if kind >= 8:
            return r.choice(["1", "2", "7.5", '"sh"', '"off"', '"row"', '"+1s"', '"10s"', '["dir"]', "[1]", "[]", "{}", "true", '"64MiB"',
                             '"2099-01-01T00:00:00Z"', "null", '"run"', '[99999]', '{"cpu":1}'])
        if kind == 0:
            return r.choice(NUMBERS)
        if kind <= 2 or depth > 4:
            return json.dumps(r.choice(TEXTS))
        if kind == 3:
            return r.choice(["null", "true", "false", "nul", "True", "undefined", "'a'", '"\\x"', '"\\u12"', '"\t"', ""])
        if kind == 4:
            return "[" + ",".join(self.value(r, depth + 1) for _ in range(r.randrange(4))) + "]"
        if kind == 5:
            return r.choice(["[", '{"a":', "[{"]) * r.choice([1, 10, 200, 5000])
        names = list(TASK) + ["name", "after", "payload_base64", "skill", "how", "x", "tasks", ""]
        return "{" + ",".join(json.dumps(r.choice(names)) + ":" + self.value(r, depth + 1) for _ in range(r.randrange(5))) + "}"

    def mutated(self, r, text):
        """Of a valid JSON text: a member's value replaced, a member given twice, or bytes changed."""
        how = r.randrange(6)
        if how <= 2:
            # A place where a value stands: behind a colon.
            places = [m.end() for m in re.finditer(r'": ?', text)]
            if places:
                at = r.choice(places)
                try:
                    _, end = json.JSONDecoder().raw_decode(text, at)
                    return (text[:at] + self.value(r) + text[end:]).encode("utf-8", "surrogatepass")
                except ValueError:
                    pass
        if how == 3:
            member = r.choice(list(TASK))
            at = text.find("{") + 1
            return (text[:at] + f'"{member}": {self.value(r)}, ' + text[at:]).encode("utf-8", "surrogatepass")
        return self.damaged(r, text.encode())

    @staticmethod
    def damaged(r, data):
        data = bytearray(data)
        for _ in range(r.choice([1, 1, 2, 5])):
            at = r.randrange(len(data) + 1)
            how = r.randrange(4)
            if how == 0:
                data[at:at] = r.choice(PIECES)
            elif how == 1:
                del data[at:at + r.choice([1, 1, 5, 50])]
            elif how == 2 and data:
                data[min(at, len(data) - 1)] = r.randrange(256)
            else:
                data[at:at] = data[at:at + 20] * r.choice([1, 2, 50])
        return bytes(data)

    def id(self, r):
        return r.choice(["1", "2", "3", *NUMBERS, *map(urllib.parse.quote, ("sh", "off", "\r\nX: y", "\u20ac")),
                         "%00", "%ff", "%2f", "%", "..", "%2e%2e", "1%0d%0aX-Injected:%20yes", "a" * 300])

    def query(self, r, names):
        pairs = []
        for _ in range(r.choice([1, 1, 1, 2, 3, 40])):
            name = r.choice(names) if names and r.randrange(8) else r.choice(["x", "limit", "%00", "a%0d%0ab", ""])
            value = r.choice([*NUMBERS[:24], "o1", "n1", "offfffffffffffffff", "o" + "f" * 40, "true", "newest", "ready,running",
                              "payload", "done,", ",", "task.done", *(urllib.parse.quote(t.encode("utf-8", "surrogatepass"))
                                                                      for t in TEXTS)])
            pairs.append(f"{name}={value}" if r.randrange(9) else name)
        return ("?" + "&".join(pairs)) if pairs else ""

    def request(self, number):
        """(kind, bytes). kind: "plain" is what any client could send."""
        r = random.Random(f"{self.seed}/{number}")
        method, path, bodies, names = r.choice(self.routes)
        path = re.sub(r"\{\w+\}", lambda m: self.id(r) if not r.randrange(3) else r.choice(["sh", "off"]) if m.group() == "{name}"
                      else str(r.randrange(1, 60)), path)
        if not r.randrange(2 if names else 10):
            path += self.query(r, names)
        kind, body = (None, b"")
        if bodies and r.randrange(12):
            kind, text = r.choice(bodies)
            body = self.mutated(r, text) if r.randrange(5) else bytes(r.randrange(256) for _ in range(r.choice([1, 10, 500])))
            if r.randrange(4) == 0:
                body = text.encode()
            if "ndjson" in kind:
                body = b"\n".join([body] * r.choice([1, 1, 3]))
        elif method != "GET" and r.randrange(2):
            kind, body = "application/json", self.value(r).encode("utf-8", "surrogatepass")
        if kind and not r.randrange(15):
            kind = r.choice(["", "text/plain", "application/json; charset=latin-1", "application/x-ndjson;x", "a" * 2000])
        url = path.encode("latin-1", "replace")
        if not r.randrange(10):
            url = self.damaged(r, url)
            if not url.startswith(b"/") or re.search(rb"[\0-\x20\x7f-\xff]", url):
                kind_of = "raw"
            else:
                kind_of = "plain"
        else:
            kind_of = "plain"
        # Whatever it has become: the daemon is not to be stopped.
        if b"shutdown" in url:
            url = b"/"
        lines = [method.encode() + b" " + url + b" HTTP/1.1", b"Host: localhost", b"Connection: close"]
        if kind is not None:
            lines.append(b"Content-Type: " + kind.encode())
        chunked = body and not r.randrange(6)
        if chunked:
            lines.append(b"Transfer-Encoding: chunked")
            cut = r.randrange(len(body) + 1)
            body = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (body[:cut], body[cut:]) if p) + b"0\r\n\r\n"
        elif body or method in ("POST", "PATCH"):
            lines.append(b"Content-Length: %d" % len(body))
        if not r.randrange(8):
            lines.append(r.choice([b"Last-Event-ID: " + r.choice(NUMBERS).encode()[:60], b"Accept: " + b"a/b;q=" * 30, b"Cookie: " + b"x" * 3000,
                                   b"Expect: 100-continue", b"Content-Encoding: gzip", b"Accept: application/openmetrics-text;q=0.x",
                                   b"If-None-Match: \"", b"Authorization: Bearer " + b"t" * 5000, b"Authorization: Basic eA==",
                                   b"Origin: null", b"Origin: http://evil\x01", b"Sec-Fetch-Site: cross-site",
                                   b"X: \xff\xfe", b"Range: bytes=0-1", b"Upgrade: h2c", b"Content-Length: 3"]))
            kind_of = "raw"
        if not r.randrange(12):
            return "raw", self.damaged(r, b"\r\n".join(lines) + b"\r\n\r\n" + body).replace(b"shutdown", b"")
        return kind_of, b"\r\n".join(lines) + b"\r\n\r\n" + body


class Hostile(ServeCase):
    def setUp(self):
        super().setUp()
        self.d = self.daemon(CONFIG)

    def talk(self, data, kind="plain"):
        """What comes back, all of it (of a stream that does not end: what it begins with). What is raw may be a part of a
        request: the daemon then waits for the rest, and we do not."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout((0.5 if kind == "raw" else 40) * SLOWNESS)
            s.connect(self.d.socket)
            answer = b""
            try:
                s.sendall(data)
                while part := s.recv(1 << 16):
                    answer += part
                    if b"text/event-stream" in answer[:600] and b"\r\n\r\n" in answer:
                        break
            except (BrokenPipeError, ConnectionResetError):
                pass
            except TimeoutError:
                if kind != "raw":
                    raise
            return answer

    def judge(self, kind, data, answer):
        """The status, 0 for none."""
        if not answer:
            self.assertEqual(kind, "raw", "no answer")
            return 0
        while answer.startswith(b"HTTP/1.1 100"):
            answer = answer.partition(b"\r\n\r\n")[2]
            if not answer:
                return 0
        first, headers, body = head_of(answer)
        found = re.fullmatch(rb"HTTP/1\.[01] ([1-5]\d\d) [A-Za-z -]+", first)
        self.assertTrue(found, first)
        status = int(found.group(1))
        self.assertLess(status, 506 if kind == "raw" else 500, first)
        self.assertNotIn(status, (500, 502, 503, 504))
        self.assertLessEqual(set(headers), HEADERS)
        if headers.get("transfer-encoding") == "chunked" and "event-stream" not in headers["content-type"]:
            body = unchunked(body)
        # Behind it may stand the answer to what has become of the rest.
        if headers.get("content-length", "").isdigit():
            body = body[:int(headers["content-length"])]
        if data.startswith(b"HEAD"):
            return status
        sort = headers.get("content-type", "")
        if "json" in sort:
            for line in body.splitlines() if "ndjson" in sort else [body]:
                json.loads(line.decode("utf-8"))
        if status >= 400 and (kind != "raw" or "problem" in sort):
            self.assertEqual(sort, "application/problem+json")
            problem = json.loads(body)
            self.assertEqual(problem["status"], status)
            self.assertGreaterEqual(len(problem["detail"].split()), 3, problem)
            for error in problem.get("errors", ()):
                self.assertGreaterEqual(len(error["message"].split()), 2, problem)
                self.assertIn("where", error)
        return status

    def rss_kib(self):
        with open(f"/proc/{self.d.pid}/status", encoding="ascii") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))

    def ends_well(self):
        self.assertEqual(self.d.api("GET", "/healthz")[0], 200)
        self.assertIsNone(self.d.process.poll(), self.d.log())
        self.assertEqual(self.d.stop(), 0, self.d.log())
        self.assertNotRegex(self.d.log(), r"Sanitizer|[Aa]ssert|defect")

    def test_whatever_comes_is_answered(self):
        fuzz = Fuzz(SEED)
        statuses = collections.Counter()

        def one(number):
            kind, data = fuzz.request(number)
            try:
                return self.judge(kind, data, self.talk(data, kind))
            except Exception as fault:
                raise AssertionError(f"WEIR_SEED={SEED}, request {number} ({kind}): {data[:3000]!r}\n{fault!r}\n"
                                     f"{self.d.log()[-3000:]}") from fault
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            statuses.update(threads.map(one, range(COUNT // 4)))
            warm_kib = self.rss_kib()
            statuses.update(threads.map(one, range(COUNT // 4, COUNT)))
        # It did go into it: things were accepted, and refused in each way.
        for status in (200, 201, 400, 404, 405, 409, 414, 422):
            if COUNT >= 4000:
                self.assertIn(status, statuses, f"WEIR_SEED={SEED}")
        self.assertLess(statuses[0], COUNT // 10, statuses)
        if not VARIANT:
            self.assertLess(self.rss_kib(), warm_kib + 24 * 1024, f"WEIR_SEED={SEED}: its memory does not come back")
        self.ends_well()

    def test_heads_that_are_none(self):
        ok = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        post = b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
        cases = [b"", b"\0", b"\r\n", b"\r\n\r\n", b"\r\n" + ok, b"GET\r\n\r\n", b"GET /healthz\r\n\r\n", b"GET  /healthz  HTTP/1.1\r\n\r\n",
                 b"G\0T /healthz HTTP/1.1\r\nHost: x\r\n\r\n", ok.replace(b"HTTP/1.1", b"HTTP/1.0"), ok.replace(b"HTTP/1.1", b"HTTP/9.9"),
                 ok.replace(b"HTTP/1.1", b"XTTP/1.1"), ok.replace(b"\r\n", b"\n"), ok.replace(b"GET", b"get"), ok.replace(b"GET", b"A" * 9000),
                 ok.replace(b"/healthz", b"http://localhost/healthz"), ok.replace(b"/healthz", b"*"), ok.replace(b"/healthz", b"healthz"),
                 ok.replace(b"/healthz", b"//healthz"), ok.replace(b"/healthz", b"/./healthz"), ok.replace(b"/healthz", b"/" + b"a/" * 3000),
                 ok.replace(b"/healthz", b"/" + b"a" * 100000), ok.replace(b"Host: localhost", b"Host"), ok.replace(b"Host:", b"Host :"),
                 ok.replace(b"Host:", b": x\r\nHost:"), ok.replace(b"localhost", b"a\r\n folded"), ok.replace(b"localhost", b"a\0b"),
                 ok.replace(b"Host:", b"X" * 100000 + b": y\r\nHost:"), ok.replace(b"Host:", b"X: y\r\n" * 10000 + b"Host:"),
                 ok.replace(b"Host: localhost\r\n", b""), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 200,
                 b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", b"TRACE / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                 b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"]
        for length in (b"-1", b"+1", b"0x1", b"1 1", b"1,1", b"18446744073709551616", b"99999999999999999999999", b"", b"a", b"1.0"):
            cases.append(post + b"Content-Length: " + length + b"\r\n\r\n{}")
        for coding in (b"chunked, chunked", b"gzip", b"identity", b"chunked\r\nContent-Length: 2", b" chunked", b"chunked;x"):
            cases.append(post + b"Transfer-Encoding: " + coding + b"\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
        for chunks in (b"-1\r\n{}\r\n", b"zz\r\n", b"ffffffffffffffffff\r\n", b"2\r\n{}x\r\n0\r\n\r\n", b"2;a=b\r\n{}\r\n0\r\n\r\n",
                       b"2\r\n{}\r\n0\r\nX-Injected: yes\r\n\r\n", b"\r\n", b"2\n{}\n0\n\n", b"1\r\n{\r\n", b"0" * 5000 + b"\r\n\r\n"):
            cases.append(post + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
        # One behind another: the second is not read as a part of the first, nor the other way round.
        cases.append(ok.replace(b"Connection: close\r\n", b"") * 5 + ok)
        def one(data):
            try:
                answer = self.talk(data, "raw")
                self.judge("raw", data, answer)
                # libmicrohttpd's own refusals are in its own words; nothing of what was sent comes back in a header.
                self.assertNotIn(b"X-Injected", answer)
            except Exception as fault:
                raise AssertionError(f"{data[:500]!r}: {fault!r}\n{self.d.log()[-3000:]}") from fault
        with concurrent.futures.ThreadPoolExecutor(16) as threads:
            list(threads.map(one, cases))
        self.assertEqual(self.talk(ok.replace(b"Connection: close\r\n", b"") * 5 + ok).count(b"HTTP/1.1 200"), 6)
        self.ends_well()

    def test_what_is_refused_before_it_is_seen_is_no_problem_document(self):
        """As docs/openapi.yaml says of these, and of no others."""
        get = "GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{}\r\n"
        post = "POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{}"
        large, huge = 40 << 10, 128 << 10
        for status, is_problem, request in (
                (414, True, get.format("/" + "a" * large, "")), (414, False, get.format("/" + "a" * huge, "")),
                (431, True, get.format("/healthz", f"X: {'a' * large}\r\n")),
                (431, False, get.format("/healthz", f"X: {'a' * huge}\r\n")),
                (505, False, get.format("/healthz", "").replace("HTTP/1.1", "HTTP/2.5")),
                (400, False, get.format("/healthz", "").replace("Host: localhost\r\n", "")),
                (400, False, post.format("Content-Length: abc\r\n\r\n")),
                (413, False, post.format(f"Content-Length: {'9' * 23}\r\n\r\n")),
                (400, False, post.format("Transfer-Encoding: chunked\r\n\r\nzz\r\n")),
                (400, True, get.format("/healthz", "Host: localhost\r\n")),
                (415, True, post.format("Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"))):
            answer = self.talk(request.encode(), "raw")
            what = (request[:60], answer[:300])
            self.assertEqual(int(answer.split(b" ", 2)[1]), status, what)
            self.assertEqual(b"\r\nContent-Type: application/problem+json\r\n" in answer, is_problem, what)
            self.assertEqual(b"\r\nContent-Type:" in answer, is_problem, what)

    def test_texts_come_back_as_they_were(self):
        d = self.d
        # "X-..." in a key is a key.
        keys = ["\r\nX-Injected: yes\r\n\r\n", "\u20ac" * 341, "a\u2028b", "\U0001f600", "\u202egnp", "\"\\/'<&>{}", "e\u0301", "\ufeffx", "\x7f",
                "%s%n", "k" * 1024]
        for key in keys:
            status, answer = d.api("POST", "/v1/tasks", {"key": key, "payload": key, "pool": "off", "tenant": "a\"b\\c{}=\u20ac",
                                                         "session": "\U0001f600 s"})
            if status == 201:
                task = d.task(answer["id"])
                self.assertEqual((task["key"], task["payload"]), (key, key))
                page = d.get("/v1/tasks?key=" + urllib.parse.quote(key))
                self.assertEqual([t["id"] for t in page["tasks"]], [answer["id"]], key)
            else:
                self.assertEqual(status, 400, answer)
                self.assertEqual(answer["errors"][0]["where"], "key")
        # A payload is kept byte for byte, whatever stands in it.
        for payload in ('{"a": 1.0, "a": 2,\t"b":"\\ud83d\\ude00\\u0000\\/"}', '[1e400,-0,0.10,"\\u00e9"]', '"\\u0000"', "12345678901234567890123"):
            number = d.api("POST", "/v1/tasks", '{"pool":"off","payload":' + payload + "}")[1]["id"]
            _, _, raw = d.request("GET", f"/v1/tasks/{number}")
            if payload.startswith(("{", "[")):
                self.assertIn(f'"payload":{payload}'.encode(), raw)
        # Half a character is none: two such keys would be one. It is kept in what is stored as JSON.
        number = d.api("POST", "/v1/tasks", '{"pool":"off","payload":"\\udfff!"}')[1]["id"]
        self.assertEqual(d.task(number)["payload"], "\udfff!")
        for text, where in (('{"idempotency_key": "\\ud800"}', "idempotency_key"), ('{"tenant": "a\\udfff"}', "tenant"),
                            ('{"key": "a\\u0000b"}', "key"),
                            ('{"key": "' + "a" * 1025 + '"}', "key"), ('{"tenant": "a\\nb"}', "tenant"),
                            ('{"tenant": "' + "a" * 256 + '"}', "tenant"), ('{"priority": 1001}', "priority"), ('{"priority": 1.5}', "priority"),
                            ('{"priority": 1e400}', "priority"), ('{"priority": "1"}', "priority"), ('{"max_attempts": 0}', "max_attempts"),
                            ('{"timeout": -1}', "timeout"), ('{"timeout": "1e99h"}', "timeout"), ('{"not_before": "+99999999999h"}', "not_before"),
                            ('{"not_before": "yesterday"}', "not_before"), ('{"deadline": 5}', "deadline"),
                            ('{"resources": {"cpu": -1}}', "resources.cpu"), ('{"resources": {"memory": "lots"}}', "resources.memory"),
                            ('{"resources": {"slots": ["a", "a"]}}', "resources.slots"), ('{"payload_base64": "?"}', "payload_base64"),
                            ('{"payload": 1, "payload_base64": "eA=="}', ""), ('{"pool": "sh", "skill": "s"}', ""),
                            ('{"key": "a", "key": "b"}', "key"), ('{"after": [0]}', "after"), ('{"after": [-1]}', "after"), ('{"after": "1"}', "after"),
                            ('{"Key": "a"}', "Key"), ('{"": 1}', '""')):
            status, answer = d.api("POST", "/v1/tasks", text)
            self.assertEqual(status, 400, f"{text[:80]}: {answer}")
            self.assertTrue(any(e["where"].startswith(where) for e in answer["errors"]), f"{text[:80]}: {answer}")
        # A name that Prometheus has to have quoted.
        text = d.api("GET", "/metrics")[1]
        for line in text.splitlines():
            self.assertRegex(line, r'^(#.*|[a-zA-Z_:][\w:]*(\{([a-z_]\w*="([^"\\\n]|\\["\\n])*",?)*\})? \S+)$')
        self.ends_well()

    def test_what_is_wrong_is_named_with_its_remedy(self):
        d = self.d

        def refused(status, words, method, path, body=None, **more):
            got, answer = d.api(method, path, body, **more)
            self.assertEqual(got, status, f"{method} {path} {body}: {answer}")
            self.assertIn(words, json.dumps(answer, ensure_ascii=False))
        refused(400, "there are blocked, scheduled, ready", "GET", "/v1/tasks?state=nonsense")
        refused(400, "there are payload and result", "GET", "/v1/tasks?with=all")
        refused(400, "task.submitted, task.done", "GET", "/v1/events?kind=task")
        refused(400, "from 1 on", "GET", "/v1/events?worker=0")
        refused(400, '"[1].name"', "POST", "/v1/tasks", [{"name": "a"}, {"name": "a"}])
        refused(400, "application/x-ndjson", "POST", "/v1/tasks", '{"key":"a"}\n{"key":"b"}\n')
        # Tasks that wait for each other are no conflict with anything that is there.
        ring = [{"name": "a", "after": ["b"]}, {"name": "b", "after": ["a"]}]
        refused(422, "would wait for the next", "POST", "/v1/tasks", ring)
        refused(422, "would wait for the next", "POST", "/v1/batches", {"tasks": ring})
        refused(404, "there is no task 99999", "GET", "/v1/tasks/99999/events")
        # The plus of a time, in a query a blank.
        self.assertEqual(d.api("GET", "/v1/history?from=+1h"), (200, []))
        # A pool that is not there is said to be missing, whether there is a default pool or not.
        number = d.submit({"pool": "nowhere"})
        why = wait_until(lambda: d.task(number).get("waits_for"), 10, "it to wait")
        self.assertEqual(why["why"], "no_pool")
        self.assertIn("no pool has the name", why["detail"])
        # A task that is tried again has not been done, nor is it told so; and its events outlive it.
        number = d.submit({"pool": "off"})
        d.api("POST", f"/v1/tasks/{number}/cancel")
        status, task = d.api("POST", f"/v1/tasks/{number}/retry")
        self.assertEqual((status, task["state"], task.get("outcome")), (200, "ready", None), task)
        d.api("POST", f"/v1/tasks/{number}/cancel")
        self.assertEqual(d.api("DELETE", f"/v1/tasks/{number}")[0], 204)
        self.assertEqual(d.api("GET", f"/v1/tasks/{number}")[0], 404)
        self.assertEqual(d.get(f"/v1/tasks/{number}/events")["events"][0]["kind"], "task.submitted")
        # Of a file with several faults the first is answered, and all are in the log.
        d.configure({**CONFIG, "polcy": "fifo", "slots": [{"nam": "dir"}], "ageing": "much"})
        refused(422, " more, see the log)", "POST", "/v1/config/reload")
        for word in ("polcy", "nam", "ageing"):
            self.assertIn(word, d.log())
        # Without a grace the one of the configuration counts.
        d.configure({**CONFIG, "shutdown": {"grace": 0}})
        self.assertEqual(d.api("POST", "/v1/config/reload")[0], 200)
        self.assertEqual(d.api("POST", "/v1/shutdown", {}), (202, {"state": "stopping"}))
        self.assertEqual(d.wait_end(30), 0)

    def test_deep_and_large(self):
        d = self.d
        for depth in (50, 1000, 100000):
            for opened, closed in (("[", "]"), ('{"a":', "}")):
                text = '{"pool":"off","payload":' + opened * depth + "1" + closed * depth + "}"
                status, answer = d.api("POST", "/v1/tasks", text)
                self.assertIn(status, (201, 400), answer)
                if status == 201:
                    self.assertEqual(d.request("GET", f"/v1/tasks/{answer['id']}")[0], 200)
                else:
                    self.assertRegex(answer["detail"], "deep|nest|level")
                self.assertIn(d.api("POST", "/v1/tasks", opened * depth)[0], (400,))
        before = self.rss_kib()
        for _ in range(6):
            status, answer = d.api("POST", "/v1/tasks", b'{"pool":"off","payload":"' + b"a" * (64 << 20))
            self.assertIn(status, (400, 413), answer)
            status, answer = d.api("POST", "/v1/tasks", b'{"key":"' + b"a" * (30 << 20) + b'"}')
            self.assertEqual(status, 400, answer)
            status, answer = d.api("POST", "/v1/tasks", [{"priority": "x"}] * 100000)
            self.assertEqual(status, 400, str(answer)[:500])
            self.assertLess(len(json.dumps(answer)), 100000)  # not a hundred thousand faults
        status, answer = d.api("POST", "/v1/tasks", [{"pool": "off"}] * 100001)
        self.assertEqual(status, 400, str(answer)[:500])
        self.assertIn("100,000", answer["detail"].replace("100000", "100,000"))
        status, answer = d.api("POST", "/v1/tasks", b"x" * (3 << 20), content_type="application/x-ndjson")
        self.assertEqual(status, 400, answer)
        if not VARIANT:
            wait_until(lambda: self.rss_kib() < before + 64 * 1024, 20, "its memory to come back")
        self.ends_well()


if __name__ == "__main__":
    unittest.main()
