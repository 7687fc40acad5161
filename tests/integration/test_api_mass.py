"""The API under mass: very many tasks listed by pages while others come and go, events by pages and by followers who read
slowly or not at all, a thousand connections, limits that are reached, clients that leave in the middle, and a daemon that
stops while it is asked.

WEIR_MASS says how many tasks are listed (default 200,000; `make test` has 1,000,000, half a minute of work).

run-tests: parallel
run-tests: long
run-tests: timeout=900
"""
import collections
import concurrent.futures
import contextlib
import http.client
import json
import os
import re
import resource
import signal
import socket
import statistics
import threading
import time
import unittest

from servekit import Daemon, ServeCase, UnixConnection
from weirtest import SLOWNESS, VARIANT, free_port, wait_until

MASS = int(os.environ.get("WEIR_MASS") or (20_000 if VARIANT else 200_000))
# Of what is followed: tasks that run, and that only wait. A task that waits tells two events of 150 bytes.
RUN, FOLLOWED = (300, 30_000) if VARIANT else (1500, 300_000)
NDJSON = "application/x-ndjson"
POOLS = [{"name": "sh", "kind": "command", "max_concurrency": 4, "max_attempts": 1, "command": ["true"]},
         {"name": "off", "kind": "command", "enabled": False, "command": ["true"]}]
CONFIG = {"pools": POOLS, "default_pool": "sh", "limits": {"connections": 4096}}


def lines(count, form='{{"pool":"off","key":"k{0}","tenant":"t{1}"}}\n', start=0):
    return "".join(form.format(i, i % 10) for i in range(start, start + count))


def chunk(data):
    data = data.encode() if isinstance(data, str) else data
    return b"%x\r\n%s\r\n" % (len(data), data)


class Mass(ServeCase):
    def setUp(self):
        super().setUp()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))

    def connect(self, d):
        s = socket.socket(socket.AF_UNIX)
        self.addCleanup(s.close)
        s.settimeout(60 * SLOWNESS)
        s.connect(d.socket)
        return s

    def upload(self, d, text, path="/v1/tasks"):
        status, answer = d.api("POST", path, text, content_type=NDJSON, timeout_s=300)
        self.assertEqual(status, 201, answer)
        return answer

    @staticmethod
    def number_of(d, path, pattern):
        with open(f"/proc/{d.pid}/{path}", encoding="ascii") as f:
            return int(re.search(pattern, f.read()).group(1))

    def rss_kib(self, d):
        return self.number_of(d, "status", r"VmRSS:\s+(\d+)")

    def pages(self, d, path, name="tasks", key="id", after="cursor", between=None):
        """All that a list gives, and for each page its bytes read and its seconds."""
        connection = UnixConnection(d.socket, 60 * SLOWNESS)
        self.addCleanup(connection.close)
        found, costs, cursor = [], [], None
        while True:
            read, began = self.number_of(d, "io", r"rchar: (\d+)"), time.monotonic()
            connection.request("GET", path + (f"&{after}={cursor}" if cursor else ""))
            answer = connection.getresponse()
            data = answer.read()
            self.assertEqual(answer.status, 200, data[:500])
            page = json.loads(data)
            costs.append((self.number_of(d, "io", r"rchar: (\d+)") - read, time.monotonic() - began))
            found += [row[key] for row in page[name]]
            cursor = page["next"]
            if cursor is None:
                return found, costs
            if between:
                between()

    def assert_even(self, costs, what):
        """The last pages cost what the first ones do."""
        for unit, slack, which in (("bytes read", 1 << 20, 0), ("seconds", 0.1 * SLOWNESS, 1)):
            first = statistics.median(c[which] for c in costs[:20])
            last = statistics.median(c[which] for c in costs[-21:-1] or costs)
            self.assertLess(last, 4 * first + slack, f"{what}: {unit} of the last pages, over those of the first")

    def test_very_many_tasks_by_pages_while_others_come_and_go(self):
        d = self.daemon(CONFIG)
        self.assertEqual(self.upload(d, lines(MASS))["ranges"], [[1, MASS]])
        # While nothing happens: each filter, in both orders.
        for query, count in (("", MASS), ("&order=newest", MASS), ("&tenant=t3", MASS // 10), ("&tenant=t3&state=ready", MASS // 10),
                             ("&state=ready,done", MASS), ("&pool=off", MASS), ("&pool=sh", 0), ("&state=done", 0), ("&key=k7", 1),
                             ("&key=nothing", 0), ("&stuck=true", 0), ("&batch=1", 0), ("&session=x", 0), ("&skill=x", 0)):
            found, costs = self.pages(d, "/v1/tasks?limit=1000" + query)
            self.assertEqual(len(found), count, query)
            self.assertEqual(found, sorted(set(found), reverse="newest" in query), query)
            self.assertLessEqual(len(costs), count // 1000 + 1)
            self.assert_even(costs, query)
        # While others come, end, are cancelled and deleted.
        leaving = range(500, MASS, max(MASS // 400, 1))
        stop = threading.Event()
        faults = []

        def come_and_go():
            try:
                for number in leaving:
                    if stop.is_set():
                        return
                    d.submit({"key": "new"})
                    self.assertEqual(d.api("POST", f"/v1/tasks/{number}/cancel")[0], 200)
                    self.assertEqual(d.api("DELETE", f"/v1/tasks/{number}")[0], 204)
            except Exception as fault:
                faults.append(fault)
        others = threading.Thread(target=come_and_go)
        others.start()
        try:
            stays = set(range(1, MASS + 1)) - set(leaving)
            for query in ("", "&order=newest"):
                found, costs = self.pages(d, "/v1/tasks?limit=1000" + query)
                times = collections.Counter(found)
                self.assertEqual([n for n, c in times.items() if c > 1], [], "they came twice")
                self.assertEqual([n for n in stays if n not in times], [], "they did not come")
                self.assertEqual(found, sorted(found, reverse="newest" in query))
                self.assert_even(costs, "while others come and go" + query)
        finally:
            stop.set()
            others.join()
        self.assertEqual(faults, [])
        # A cursor is a place: also when the task that it was cut at has gone.
        page = d.get("/v1/tasks?limit=10")
        last = page["tasks"][-1]["id"]
        for task in (last, last + 1):
            self.assertEqual(d.api("POST", f"/v1/tasks/{task}/cancel")[0], 200)
            self.assertEqual(d.api("DELETE", f"/v1/tasks/{task}")[0], 204)
        for _ in range(2):
            self.assertEqual(d.get(f"/v1/tasks?limit=10&cursor={page['next']}")["tasks"][0]["id"], last + 2)
        self.assertEqual(d.stop(), 0)

    def test_events_by_pages_while_more_come(self):
        d = self.daemon(CONFIG)
        ids = [d.submit({"key": str(i)}) for i in range(20)]
        self.upload(d, lines(20000))
        more = iter(range(200))
        seqs, costs = self.pages(d, "/v1/events?limit=1000", "events", "seq", "after",
                                 lambda: ids.append(d.submit({})) if next(more, None) is not None else None)
        self.assertEqual(seqs, list(range(seqs[0], seqs[-1] + 1)), "an event is missing, or came twice")
        self.assertGreater(len(seqs), 40000)
        self.assert_even(costs, "events")
        backward, _ = self.pages(d, "/v1/events?limit=1000&order=newest", "events", "seq", "after")
        self.assertEqual(backward[-len(seqs):], seqs[::-1])
        for number in ids:
            d.wait_task(number)
        ended, _ = self.pages(d, "/v1/events?limit=7&kind=task.done", "events", "task", "after")
        self.assertEqual(sorted(ended), sorted(ids))

    def test_a_thousand_connections_at_once(self):
        d = self.daemon(CONFIG)
        before = self.rss_kib(d)
        clients = [self.connect(d) for _ in range(1000)]
        for turn in range(2):
            for i, s in enumerate(clients):
                path = ("/v1/status", "/healthz", "/v1/tasks", "/v1/pools")[i % 4]
                s.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            for s in clients:
                answer = http.client.HTTPResponse(s)
                answer.begin()
                self.assertEqual(answer.status, 200)
                json.loads(answer.read())
        for s in clients:
            s.close()
        wait_until(lambda: self.rss_kib(d) < before + 96 * 1024, 20, "its memory to come back")
        # With fewer places than clients each is told so.
        d = self.daemon({**CONFIG, "limits": {"connections": 8}})
        clients = []

        def let_in():
            s = self.connect(d)
            s.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = http.client.HTTPResponse(s)
            answer.begin()
            answer.read()
            if answer.status != 200:
                s.close()
                return False
            clients.append(s)
            return True
        for _ in range(8):  # those that looked whether it is ready may not be gone yet
            wait_until(let_in, 10, "a place to become free")
        status, headers, body = d.request("GET", "/healthz")
        self.assertEqual(status, 503)
        self.assertEqual(headers["Retry-After"], "1")
        self.assertIn("connections", json.loads(body)["detail"])
        clients.pop().close()
        wait_until(lambda: d.request("GET", "/healthz")[0] == 200, 10, "a place to become free")

    def follow(self, d, last=None, query=""):
        s = self.connect(d)
        head = f"GET /v1/events/follow{query} HTTP/1.1\r\nHost: localhost\r\n"
        if last is not None:
            head += f"Last-Event-ID: {last}\r\n"
        s.sendall(head.encode() + b"\r\n")
        return s

    def read_events(self, s, end):
        """The numbers of all that comes up to that one."""
        answer = http.client.HTTPResponse(s)
        answer.begin()
        seqs = []
        while not seqs or seqs[-1] < end:
            line = answer.readline()
            self.assertTrue(line, "the stream has ended")
            if line.startswith(b"id: "):
                seqs.append(int(line[4:]))
        return seqs

    def carry(self, d):
        """Work that tells much, 90 MB without a sanitizer: seconds, and by how many KiB the daemon has grown."""
        before, began = self.rss_kib(d), time.monotonic()
        batch = self.upload(d, lines(RUN, '{{"key":"r{0}"}}\n'), "/v1/batches?name=run")["id"]
        self.upload(d, lines(FOLLOWED))
        for _ in range(80):  # each waits for a transaction of its own
            d.submit({"pool": "off"})
        wait_until(lambda: d.get(f"/v1/batches/{batch}")["finished"], 60, f"{RUN} tasks to be done")
        took = time.monotonic() - began
        self.assertEqual(d.get(f"/v1/batches/{batch}")["tasks"]["done"], RUN)
        return took, self.rss_kib(d) - before

    def read_and_come_back(self, d, last, enough, over):
        """Numbers of the events that one hears who is cut off again and again in the middle of what comes."""
        seen = []
        for turn in range(1000):
            with contextlib.closing(self.follow(d, last)) as s:
                taken = b""
                while len(taken) < 20000 + 7919 * (turn % 13) and not (over.is_set() and last >= enough):
                    s.settimeout(0.3 * SLOWNESS)
                    try:
                        part = s.recv(4096)
                    except TimeoutError:
                        break
                    if not part:
                        break
                    taken += part
            text = b""
            _, _, rest = taken.partition(b"\r\n\r\n")
            while rest:
                size, found, rest = rest.partition(b"\r\n")
                if not found or not size:
                    break
                text, rest = text + rest[:int(size, 16)], rest[int(size, 16) + 2:]
            # Only what is whole counts, as for every reader of such streams.
            for block in text.split(b"\n\n")[:-1]:
                number = re.search(rb"^id: (\d+)$", block, re.M)
                if number:
                    data = json.loads(re.search(rb"^data: (.*)$", block, re.M).group(1))
                    self.assertEqual(data["seq"], int(number.group(1)))
                    last = data["seq"]
                    seen.append(last)
            if over.is_set() and last >= enough:
                break
        return seen

    def carry_followed(self, d):
        """The same work while 100 never read what they follow, 100 slowly, and one is cut off again and again."""
        first = d.get("/v1/status")["last_event"]
        never = [self.follow(d) for _ in range(100)]
        slow = [self.follow(d) for _ in range(100)]
        stop = threading.Event()

        def read_slowly():
            while not stop.is_set():
                for s in slow:
                    s.recv(1)
                stop.wait(0.01)
        reader = threading.Thread(target=read_slowly)
        reader.start()
        enough = first + 2 * min(FOLLOWED, 30000)
        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            coming_back = threads.submit(self.read_and_come_back, d, first, enough, stop)
            try:
                took, grown = self.carry(d)
            finally:
                stop.set()
                reader.join()
            seen = coming_back.result(120 * SLOWNESS)
        self.assertEqual(seen, list(range(first + 1, seen[-1] + 1)), "an event is missing, or came twice")
        self.assertGreaterEqual(seen[-1], enough)
        # One that begins to read now, and one that comes now: what is long gone from memory they get from the store.
        end = d.get("/v1/status")["last_event"]
        self.assertGreater(end - first, 2 * FOLLOWED)
        for s, since, last in ((never[0], first, enough), (self.follow(d, first), first, enough),
                               (self.follow(d, end - 30000), end - 30000, end)):
            seen = self.read_events(s, last)
            self.assertEqual(seen, list(range(since + 1, seen[-1] + 1)))
        for s in never + slow:
            s.close()
        return took, grown

    def test_followers_that_are_slow_hold_up_nobody(self):
        for last_time in (False, False, True):  # how long it takes is compared; the machine may have been busy with something else
            alone, followed = self.daemon(CONFIG), self.daemon(CONFIG)
            took_alone, grown_alone = self.carry(alone)
            self.assertEqual(alone.stop(), 0)
            took, grown = self.carry_followed(followed)
            self.assertEqual(followed.stop(), 0)
            # What is held for those who do not read has a bound, however many they are and however much there is to tell:
            # usually some 20 MiB, for their connections too.
            if not VARIANT:  # a sanitizer has memory of its own
                self.assertLess(grown - grown_alone, 64 * 1024)
            if last_time:
                self.assertLess(took, 3 * took_alone)
            if took < 3 * took_alone:
                return

    def test_limits_are_told(self):
        port = free_port()
        d = Daemon(start=False)
        self.addCleanup(d.close)
        d.configure({"pools": POOLS, "default_pool": "sh", "listen": [d.address, f"127.0.0.1:{port}"],
                     "limits": {"request_bytes": "4KiB", "requests_per_second": 5}})
        d.start()
        large = json.dumps({"key": "x", "pool": "off", "payload": "a" * 5000})
        for method, path in (("POST", "/v1/tasks"), ("POST", "/v1/batches"), ("PATCH", "/v1/pools/sh"), ("PATCH", "/v1/dispatcher")):
            status, answer = d.api(method, path, large)
            self.assertEqual(status, 413, f"{method} {path} {answer}")
            self.assertRegex(answer["detail"], "4096|4,096")
            # The same when nothing is said of its length.
            s = self.connect(d)
            s.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                      "Transfer-Encoding: chunked\r\n\r\n".encode() + chunk(large) + b"0\r\n\r\n")
            answer = http.client.HTTPResponse(s)
            answer.begin()
            self.assertEqual(answer.status, 413, f"{method} {path}")
            self.assertEqual(json.loads(answer.read())["status"], 413)
        # One who asks first is told before it sends.
        s = self.connect(d)
        s.sendall(b"PATCH /v1/pools/sh HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n")
        self.assertIn(b" 413 ", s.recv(4096).split(b"\r\n")[0])
        # A stream is as long as it likes.
        self.assertEqual(self.upload(d, lines(3000))["accepted"], 3000)

        def ask():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                connection.request("GET", "/healthz")
                answer = connection.getresponse()
                return answer.status, answer.getheader("Retry-After"), answer.read()
            finally:
                connection.close()
        answers = [ask() for _ in range(40)]
        refused = [a for a in answers if a[0] == 429]
        self.assertEqual({a[0] for a in answers}, {200, 429})
        self.assertGreaterEqual(len(refused), 10)
        for status, after, body in refused:
            self.assertTrue(1 <= int(after) <= 2, after)
            self.assertIn("Retry-After", json.loads(body)["detail"])
        # The socket's users are this machine's own, and have no limit; and whoever waits as told is let in.
        self.assertEqual({d.request("GET", "/healthz")[0] for _ in range(50)}, {200})
        time_to_wait = threading.Event()
        time_to_wait.wait(int(refused[-1][1]))
        self.assertEqual(ask()[0], 200)

    def keys(self, d, query=""):
        found = []
        cursor = ""
        while cursor is not None:
            page = d.get(f"/v1/tasks?limit=1000{query}" + (f"&cursor={cursor}" if cursor else ""))
            found += [t["key"] for t in page["tasks"]]
            cursor = page["next"]
        return found

    def test_an_upload_that_is_cut_off_leaves_whole_groups(self):
        d = self.daemon(CONFIG)
        head = (f"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: {NDJSON}\r\n"
                "Transfer-Encoding: chunked\r\n\r\n").encode()
        for reset in (False, True):
            name = "reset" if reset else "closed"
            s = self.connect(d)
            s.sendall(head)
            text = lines(6500, f'{{{{"pool":"off","key":"{name}{{0}}"}}}}\n')
            # The last line is whole but for its end; a wrong one would be refused, this one must not be taken.
            s.sendall(chunk(text + f'{{"pool":"off","key":"{name}-last"}}'))
            wait_until(lambda: self.keys(d), 30, "the first groups")
            if reset:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            s.close()
            seen = [-1]

            def settled():
                now = len(self.keys(d))
                seen.append(now)
                return seen[-1] == seen[-2] and d.get("/v1/status")["store"]["waiting"] == 0
            wait_until(settled, 30, "it to come to rest")
            keys = [k for k in self.keys(d) if k.startswith(name)]
            self.assertEqual(keys, [f"{name}{i}" for i in range(len(keys))], "a line is missing in between")
            self.assertLessEqual(len(keys), 6500)
            self.assertNotIn(name + "-last", keys)
        # Whoever stays is told.
        text = lines(2500, '{{"pool":"off","key":"w{0}"}}\n') + '{"pool":1}\n' + lines(10, '{{"key":"never{0}"}}\n')
        status, answer = d.api("POST", "/v1/tasks", text, content_type=NDJSON)
        self.assertEqual((status, answer["line"]), (400, 2501), answer)
        keys = [k for k in self.keys(d) if k.startswith("w")]
        self.assertEqual(keys, [f"w{i}" for i in range(answer["accepted"])])
        self.assertEqual(sum(b - a + 1 for a, b in answer["ranges"]), answer["accepted"])
        self.assertEqual(sum(b - a + 1 for a, b in answer["lines"]), answer["accepted"])
        self.assertFalse([k for k in self.keys(d) if k.startswith("never")])
        # Of a batch: it is ended with what it has, and its number is told.
        status, answer = d.api("POST", "/v1/batches?name=n", lines(1500) + "?\n", content_type=NDJSON)
        self.assertEqual(status, 400, answer)
        batch = d.get(f"/v1/batches/{answer['batch']}")
        self.assertEqual((batch["total"], batch["ended"]), (answer["accepted"], True))

    def test_results_of_a_batch_while_it_runs(self):
        d = self.daemon(CONFIG)
        count = 300 if VARIANT else 2000
        batch = d.api("POST", "/v1/batches?open=true", {"name": "many"})[1]["id"]

        def fill():
            for start in range(0, count, 100):
                self.upload(d, lines(100, '{{"key":"b{0}"}}\n', start), f"/v1/batches/{batch}/tasks")
            self.assertEqual(d.api("POST", f"/v1/batches/{batch}/end")[0], 200)

        def read(start=0, stop_at=None):
            connection = UnixConnection(d.socket, 120 * SLOWNESS)
            try:
                connection.request("GET", f"/v1/batches/{batch}/results?follow=true&from={start}")
                answer = connection.getresponse()
                self.assertEqual(answer.status, 200)
                rows = []
                for line in answer:
                    rows.append(json.loads(line))
                    if stop_at and len(rows) >= stop_at:
                        break
                return rows
            finally:
                connection.close()
        with concurrent.futures.ThreadPoolExecutor(12) as threads:
            whole = [threads.submit(read) for _ in range(10)]
            filling = threads.submit(fill)
            # One that is cut off now and then, and goes on behind the last line.
            rows = []
            while len(rows) < count:
                more = read(len(rows), 313)
                self.assertTrue(more, "it ended before the batch")
                rows += more
            filling.result()
            for answer in [rows, *(w.result() for w in whole)]:
                self.assertEqual([r["place"] for r in answer], list(range(count)))
                self.assertEqual([r["key"] for r in answer], [f"b{i}" for i in range(count)])
                self.assertEqual({r["state"] for r in answer}, {"done"})

    def test_whoever_asks_while_it_stops_is_answered(self):
        d = self.daemon(CONFIG)
        batch = d.api("POST", "/v1/batches?open=true", {"name": "open"})[1]["id"]
        results = self.connect(d)
        results.sendall(f"GET /v1/batches/{batch}/results?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        events = self.follow(d)
        self.assertIn(b" 200 ", events.recv(4096))
        idle = self.connect(d)
        accepted, refused, cut = [], [], []
        stopping = threading.Event()

        def submit(worker):
            for i in range(100000):
                try:
                    status, answer = d.api("POST", "/v1/tasks", {"pool": "off", "key": f"s{worker}-{i}"})
                except (ConnectionRefusedError, FileNotFoundError):
                    return
                except (OSError, http.client.HTTPException) as fault:
                    cut.append(repr(fault))
                    return
                if status == 201:
                    accepted.append((answer["id"], f"s{worker}-{i}"))
                else:
                    refused.append((status, answer))
        workers = [threading.Thread(target=submit, args=(w,)) for w in range(8)]
        for w in workers:
            w.start()
        wait_until(lambda: len(accepted) > 200, 30, "submits to be accepted")
        d.signal(signal.SIGTERM)
        stopping.set()
        for w in workers:
            w.join()
        self.assertEqual(d.wait_end(), 0, d.log())
        # Events end as streams do, with their last chunk; the results of a batch that is open do not: these are not all.
        for s, what, whole in ((results, "results", False), (events, "events", True)):
            data = b""
            while part := s.recv(65536):
                data += part
            self.assertEqual(data.endswith(b"0\r\n\r\n"), whole, f"{what}: {data[-200:]}")
        self.assertEqual(idle.recv(10), b"")
        self.assertEqual(cut, [], "not answered")
        for status, answer in refused:
            self.assertEqual(status, 503, answer)
        d.start()
        for number, key in accepted:
            self.assertEqual(d.task(number)["key"], key)


if __name__ == "__main__":
    unittest.main()
