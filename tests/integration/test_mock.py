"""weir mock over the wire: every kind of answer and fault, the limits, the counters, the end.

run-tests: waits
"""
import collections
import concurrent.futures
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from weirtest import SLOWNESS, WEIR, Case, wait_until  # noqa: E402

CHAT = "/v1/chat/completions"


class Mock:
    """A running weir mock."""

    def __init__(self, *options):
        self.process = subprocess.Popen([WEIR, "mock", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        line = self.process.stdout.readline().decode()
        if not line.startswith("listening on http://"):
            raise AssertionError(f"said {line!r}, {self.process.stderr.read()!r}")
        self.host, _, port = line.strip()[len("listening on http://"):].rpartition(":")
        self.port = int(port)

    def connect(self, timeout_s=10.0):
        return http.client.HTTPConnection(self.host.strip("[]"), self.port, timeout=timeout_s * SLOWNESS)

    def ask(self, method="POST", path="/x", body=b'{"a":1}', headers=None, timeout_s=10.0):
        """(status, headers, body) over a connection of its own."""
        connection = self.connect(timeout_s)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def stats(self):
        return json.loads(self.ask("GET", "/stats", None)[2])

    def end(self, how=signal.SIGTERM):
        """Exit status and what it said on standard error."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            self.process.wait(10 * SLOWNESS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        said = self.process.stderr.read().decode()
        self.process.stdout.close()
        self.process.stderr.close()
        return self.process.returncode, said


class MockCase(Case):
    def mock(self, *options):
        mock = Mock(*options)
        self.addCleanup(self.check_end, mock)
        return mock

    def check_end(self, mock):
        if not mock.process.stdout.closed:
            self.assertEqual(mock.end(), (0, ""))


class Answers(MockCase):
    def test_chat_completion_is_answered_in_its_form(self):
        mock = self.mock()
        question = {"model": "m-1", "messages": [{"role": "user", "content": "Wie geht's, \u00e4h?"}]}
        status, headers, body = mock.ask(path=CHAT, body=json.dumps(question).encode())
        answer = json.loads(body)
        self.assertEqual(status, 200)
        self.assertEqual(headers["Content-Type"], "application/json")
        self.assertEqual(answer["object"], "chat.completion")
        self.assertEqual(answer["model"], "m-1")
        self.assertIn("Wie geht's, \u00e4h?", answer["choices"][0]["message"]["content"])
        usage = answer["usage"]
        self.assertEqual(usage["total_tokens"], usage["prompt_tokens"] + usage["completion_tokens"])

    def test_other_requests_are_echoed(self):
        mock = self.mock()
        self.assertEqual(json.loads(mock.ask("PUT", "/a/b?c=1", b'{"n": [1.0]}')[2]),
                         {"method": "PUT", "path": "/a/b", "body": {"n": [1.0]}})
        self.assertEqual(json.loads(mock.ask("POST", "/a", b"plain text")[2])["body"], "plain text")
        self.assertEqual(json.loads(mock.ask("GET", "/a", None)[2])["body"], None)
        self.assertEqual(json.loads(mock.ask("GET", "/healthz", None)[2]), {"status": "ok"})

    def test_same_request_gets_same_answer_whatever_its_key(self):
        mock = self.mock()
        first = mock.ask(headers={"Idempotency-Key": "k1"})
        again = mock.ask(headers={"Idempotency-Key": "k2"})
        third = mock.ask(headers={"Idempotency-Key": "k1"})
        other = mock.ask(body=b'{"a":2}')
        self.assertEqual(first[2], again[2])
        self.assertEqual(first[1]["x-request-id"], again[1]["x-request-id"])
        self.assertEqual(first[1]["x-request-id"], third[1]["x-request-id"])
        self.assertNotEqual(first[1]["x-request-id"], other[1]["x-request-id"])
        self.assertEqual(mock.stats()["idempotency_keys"], {"given": 3, "distinct": 2, "repeated": 1, "untracked": 0})

    def test_chat_without_messages_is_400(self):
        mock = self.mock()
        for body in (b"{", b"{}", b'{"messages":[]}'):
            status, _, answer = mock.ask(path=CHAT, body=body)
            self.assertEqual(status, 400)
            self.assertEqual(json.loads(answer)["error"]["type"], "invalid_request_error")
        self.assertEqual(mock.stats()["requests"]["malformed"], 3)

    def test_body_over_the_limit_is_413(self):
        mock = self.mock("--body-limit", "100k")
        self.assertEqual(mock.ask(body=b"x" * 102400)[0], 200)
        self.assertEqual(mock.ask(body=b"x" * 102401)[0], 413)
        stats = mock.stats()
        self.assertEqual(stats["requests"]["too_large"], 1)
        self.assertEqual(stats["requests"]["seen"], 1)

    def test_large_body_comes_back_whole(self):
        mock = self.mock()
        text = "y" * 5_000_000
        self.assertEqual(json.loads(mock.ask(body=json.dumps(text).encode())[2])["body"], text)

    def test_connection_is_kept_alive(self):
        mock = self.mock("--latency", "5ms")
        connection = mock.connect()
        connection.connect()
        before = connection.sock.getsockname()
        for i in range(20):
            connection.request("POST", "/x", body=b"%d" % i)
            self.assertEqual(json.loads(connection.getresponse().read())["body"], i)
        self.assertEqual(connection.sock.getsockname(), before)
        connection.close()

    def test_latency_is_kept(self):
        mock = self.mock("--latency", "150ms")
        start = time.monotonic()
        self.assertEqual(mock.ask()[0], 200)
        self.assertGreaterEqual(time.monotonic() - start, 0.149)

    def test_refusals_too_are_on_their_way(self):
        mock = self.mock("--network", "150ms,1ms", "--outage", "0s+1h")
        start = time.monotonic()
        self.assertEqual(mock.ask()[0], 503)
        self.assertGreaterEqual(time.monotonic() - start, 0.149)

    def test_a_request_on_its_way_has_not_arrived(self):
        mock = self.mock("--network", "1h")
        connection = mock.connect()
        connection.request("POST", "/x", body=b"1")
        self.assertEqual(mock.stats()["requests"]["seen"], 0)
        connection.close()
        self.assertEqual(mock.end(), (0, ""))


class Limits(MockCase):
    def test_rate_is_refused_with_what_was_asked(self):
        mock = self.mock("--rate", "0.01", "--refuse-with", "529", "--headers", "all")
        self.assertEqual(mock.ask()[0], 200)
        status, headers, body = mock.ask()
        self.assertEqual(status, 529)
        self.assertEqual(json.loads(body)["error"]["type"], "overloaded_error")
        self.assertTrue(90 <= int(headers["Retry-After"]) <= 100)
        self.assertEqual(headers["x-ratelimit-remaining-requests"], "0")
        stats = mock.stats()
        self.assertEqual(stats["refused"]["by_status"], {"529": 1})
        self.assertEqual(stats["refused"]["by_limit"]["rate"], 1)
        self.assertEqual(stats["level"]["rate"], 0.01)

    def test_minutes_are_told_in_headers(self):
        mock = self.mock("--rpm", "2", "--tpm", "1000", "--headers", "ratelimit")
        headers = mock.ask()[1]
        self.assertEqual(headers["x-ratelimit-limit-requests"], "2")
        self.assertEqual(headers["x-ratelimit-remaining-requests"], "1")
        self.assertRegex(headers["x-ratelimit-reset-requests"], r"^(1m0s|59(\.\d+)?s)$")
        self.assertEqual(headers["x-ratelimit-limit-tokens"], "1000")
        self.assertEqual(headers["x-ratelimit-remaining-tokens"], "998")
        mock.ask()
        status, headers, _ = mock.ask()
        self.assertEqual(status, 429)
        self.assertIsNone(headers["Retry-After"])

    def test_no_headers_unless_asked(self):
        mock = self.mock("--rpm", "1")
        for _ in range(2):
            headers = mock.ask()[1]
            self.assertIsNone(headers["x-ratelimit-limit-requests"])
            self.assertIsNone(headers["Retry-After"])

    def test_outage_is_503(self):
        mock = self.mock("--outage", "0s+1h")
        self.assertEqual(mock.ask()[0], 503)
        self.assertEqual(mock.ask("GET", "/healthz", None)[0], 200)
        self.assertTrue(mock.stats()["level"]["outage"])

    def test_client_that_goes_away_is_in_service_no_longer(self):
        mock = self.mock("--concurrency", "1", "--hang-rate", "1")
        connection = mock.connect()
        connection.request("POST", "/x", body=b"1")
        wait_until(lambda: mock.stats()["in_service"]["now"] == 1, what="the request to be in service")
        self.assertEqual(mock.ask()[0], 429)
        connection.close()
        wait_until(lambda: mock.stats()["in_service"]["now"] == 0, what="the client's end to be seen")
        self.assertEqual(mock.stats()["in_service"]["abandoned"], 1)

    def test_counters_agree_under_parallel_load(self):
        mock = self.mock("--concurrency", "50", "--latency", "uniform:1ms..40ms", "--refuse-with", "429,503")
        told = collections.Counter()
        lock = threading.Lock()
        start = threading.Barrier(200)

        def client(number):
            connection = mock.connect(30)
            connection.connect()
            start.wait(60 * SLOWNESS)
            for i in range(10):
                connection.request("POST", "/x", body=b"[%d,%d]" % (number, i),
                                   headers={"Idempotency-Key": f"{number}-{i}"})
                response = connection.getresponse()
                body = json.loads(response.read())
                with lock:
                    told[response.status] += 1
                if response.status == 200 and body["body"] != [number, i]:
                    raise AssertionError(f"{body} for {number}, {i}")
            connection.close()

        with concurrent.futures.ThreadPoolExecutor(200) as pool:
            for done in [pool.submit(client, n) for n in range(200)]:
                done.result()
        stats = mock.stats()
        self.assertEqual(sum(told.values()), 2000)
        self.assertEqual(stats["requests"]["seen"], 2000)
        self.assertEqual(stats["accepted"], told[200])
        self.assertEqual(stats["refused"]["total"], 2000 - told[200])
        self.assertEqual(stats["refused"]["by_status"], {str(k): v for k, v in told.items() if k != 200})
        self.assertEqual(stats["refused"]["by_limit"]["concurrency"], 2000 - told[200])
        self.assertEqual(stats["in_service"]["now"], 0)
        self.assertTrue(2 <= stats["in_service"]["peak"] <= 50)
        self.assertEqual(stats["idempotency_keys"]["distinct"], 2000)


class Faults(MockCase):
    def fault(self, kind, *options):
        return self.mock(f"--{kind}-rate", "1", *options)

    def test_fail_is_500_502_or_504(self):
        mock = self.fault("fail")
        self.assertEqual({mock.ask()[0] for _ in range(60)}, {500, 502, 504})
        self.assertEqual(mock.stats()["faults"]["fail"], 60)

    def test_permanent_is_400_or_422(self):
        mock = self.fault("permanent")
        self.assertEqual({mock.ask()[0] for _ in range(40)}, {400, 422})

    def test_deterministic_failures_follow_from_the_body(self):
        found = []
        for seed in ("5", "5", "6"):
            mock = self.mock("--permanent-rate", "0.3", "--deterministic", "--seed", seed)
            found.append([mock.ask(body=b"%d" % i)[0] for i in range(60)])
        self.assertEqual(found[0], found[1])
        self.assertNotEqual(found[0], found[2])
        self.assertTrue(5 <= sum(s != 200 for s in found[0]) <= 35)

    def test_reset_is_seen_as_a_reset(self):
        for latency in ("0s", "20ms"):
            mock = self.fault("reset", "--latency", latency)
            for _ in range(20):
                self.assertRaises(ConnectionResetError, self.receive_all, mock)
            self.assertEqual(mock.stats()["faults"]["reset"], 20)

    def test_close_ends_the_connection_without_a_byte(self):
        mock = self.fault("close", "--latency", "5ms")
        for _ in range(5):
            self.assertEqual(self.receive_all(mock), b"")

    def receive_all(self, mock):
        with socket.create_connection((mock.host, mock.port), 10 * SLOWNESS) as s:
            s.sendall(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
            data = b""
            while True:
                part = s.recv(65536)
                if not part:
                    return data
                data += part

    def test_slow_body_comes_in_pieces_and_whole(self):
        mock = self.fault("slow", "--slow-for", "400ms")
        start = time.monotonic()
        connection = mock.connect()
        connection.request("POST", "/x", body=b'"%s"' % (b"z" * 1000))
        response = connection.getresponse()
        pieces = 0
        data = b""
        while True:
            part = response.read1(65536)
            if not part:
                break
            data += part
            pieces += 1
        connection.close()
        self.assertEqual(json.loads(data)["body"], "z" * 1000)
        self.assertGreaterEqual(time.monotonic() - start, 0.39)
        self.assertGreaterEqual(pieces, 4)
        wait_until(lambda: mock.stats()["in_service"]["now"] == 0, what="the end of the slow body")

    def test_slow_body_whose_client_goes_away_is_dropped(self):
        mock = self.fault("slow", "--slow-for", "1h")
        connection = mock.connect()
        connection.request("POST", "/x", body=b"1")
        wait_until(lambda: mock.stats()["in_service"]["now"] == 1, what="the request to be in service")
        connection.close()
        wait_until(lambda: mock.stats()["in_service"]["abandoned"] == 1, what="the client's end to be seen")

    def test_broken_bodies_are_cut_wrongly_framed_or_no_json(self):
        mock = self.fault("broken")
        seen = set()
        for _ in range(60):
            try:
                status, _, body = mock.ask()
                self.assertEqual(status, 200)
                self.assertRaises(ValueError, json.loads, body)
                seen.add("no JSON")
            except http.client.IncompleteRead as e:
                seen.add("cut" if e.expected else "chunk")
            except (ValueError, http.client.HTTPException):
                seen.add("chunk")
        self.assertEqual(seen, {"cut", "chunk", "no JSON"})

    def test_hang_never_answers(self):
        mock = self.fault("hang")
        self.assertRaises(socket.timeout, mock.ask, timeout_s=0.3 / SLOWNESS)

    def test_a_mix_of_all_agrees_with_the_counters(self):
        kinds = ("fail", "reset", "close", "slow", "broken", "hang")
        mock = self.mock(*[w for k in kinds for w in (f"--{k}-rate", "0.1")], "--permanent-rate", "0.1",
                         "--slow-for", "50ms", "--latency", "uniform:0ms..10ms")
        told = collections.Counter()

        def client(i):
            try:
                status, _, body = mock.ask(body=b"%d" % i, timeout_s=2)
            except socket.timeout:
                return "hang"
            except http.client.RemoteDisconnected:
                return "close"
            except ConnectionResetError:
                return "reset"
            except (ValueError, http.client.HTTPException):
                return "broken"
            if status != 200:
                return "permanent" if status < 500 else "fail"
            try:
                json.loads(body)
                return "ok"
            except ValueError:
                return "broken"

        with concurrent.futures.ThreadPoolExecutor(100) as pool:
            told.update(pool.map(client, range(300)))
        stats = mock.stats()
        for kind in ("fail", "reset", "close", "broken", "hang", "permanent"):
            self.assertEqual(stats["faults"][kind], told[kind], kind)
        self.assertEqual(told["ok"], 300 - sum(stats["faults"].values()) + stats["faults"]["slow"])
        wait_until(lambda: mock.stats()["in_service"]["now"] == 0, what="the hanging clients' end")


class Life(MockCase):
    def test_signals_end_it_cleanly_also_with_clients_waiting(self):
        for how in (signal.SIGTERM, signal.SIGINT):
            mock = self.mock("--hang-rate", "0.5", "--latency", "1h")
            clients = [mock.connect() for _ in range(20)]
            for c in clients:
                c.request("POST", "/x", body=b"1")
            wait_until(lambda: mock.stats()["in_service"]["now"] == 20, what="the requests to be in service")
            self.assertEqual(mock.end(how), (0, ""))
            for c in clients:
                self.assertRaises((http.client.HTTPException, ConnectionError), c.getresponse)
                c.close()

    def test_signal_ends_it_in_the_middle_of_slow_bodies(self):
        mock = self.mock("--slow-rate", "1", "--slow-for", "1h")
        clients = [mock.connect() for _ in range(5)]
        for c in clients:
            c.request("POST", "/x", body=b"1")
        wait_until(lambda: mock.stats()["in_service"]["now"] == 5, what="the requests to be in service")
        self.assertEqual(mock.end(), (0, ""))
        for c in clients:
            self.assertRaises((http.client.HTTPException, ConnectionError), lambda: c.getresponse().read())
            c.close()

    def test_ipv6_loopback_is_served(self):
        try:
            with socket.socket(socket.AF_INET6) as s:
                s.bind(("::1", 0))
        except OSError:
            self.skipTest("no IPv6 on this machine")
        mock = self.mock("--listen", "[::1]:0")
        self.assertEqual(mock.host, "[::1]")
        self.assertEqual(mock.ask()[0], 200)

    def test_duration_ends_it(self):
        mock = self.mock("--duration", "300ms")
        self.assertEqual(mock.process.wait(10 * SLOWNESS), 0)

    def test_port_file_has_the_port(self):
        mock = self.mock("--port-file", self.path("port"))
        wait_until(lambda: os.path.exists(self.path("port")), what="the port file")
        with open(self.path("port"), encoding="ascii") as f:
            self.assertEqual(f.read(), f"{mock.port}\n")
        self.assertEqual(os.listdir(self.dir), ["port"])

    def test_port_file_that_cannot_be_written_is_an_error(self):
        done = self.run_mock("--port-file", self.path("no", "port"))
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"--port-file", done.stderr)

    def test_port_in_use_is_an_error(self):
        mock = self.mock()
        done = self.run_mock("--listen", f"127.0.0.1:{mock.port}")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"in use", done.stderr)

    def test_bad_options_are_errors_of_usage(self):
        for options in (["--rate", "20..5"], ["--listen", "0.0.0.0:80"], ["--speed"], ["x"]):
            done = self.run_mock(*options)
            self.assertEqual(done.returncode, 2)
            self.assertEqual(done.stdout, b"")
            self.assertTrue(done.stderr.startswith(b"weir mock: "))
            self.assertEqual(done.stderr.count(b"\n"), 1)

    def test_help_is_printed(self):
        done = self.run_mock("--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"--phase", done.stdout)

    def test_help_that_cannot_be_written_is_an_error(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([WEIR, "mock", "--help"], stdout=full, stderr=subprocess.PIPE, timeout=10 * SLOWNESS)
        self.assertEqual(done.returncode, 1)

    def test_garbage_is_survived(self):
        mock = self.mock("--latency", "1ms")
        for bytes_ in (b"\x00\xff" * 100, b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b"G" * 100000, b"",
                       b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf"):
            with socket.create_connection((mock.host, mock.port), 10 * SLOWNESS) as s:
                # The end without waiting, as of a client that is killed.
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                try:
                    s.sendall(bytes_)
                except ConnectionError:
                    pass
        self.assertEqual(mock.ask()[0], 200)
        self.assertEqual(mock.stats()["in_service"]["now"], 0)

    def run_mock(self, *options):
        return subprocess.run([WEIR, "mock", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=10 * SLOWNESS)


if __name__ == "__main__":
    unittest.main()
