"""`weir run` against a service that nobody here wrote: nginx, with its limits, resets, TLS and HTTP/2.

Defends P2, P4 and P10. A test counts on both sides: what weir says it sent is what nginx logged.
run-tests: alone
run-tests: timeout=300
"""
import http.client
import http.server
import json
import os
import select
import socket
import subprocess
import threading
import unittest

from nginxkit import NGINX, Nginx
from runkit import RunCase
from weirtest import wait_until


def limited(zone_name, status):
    return f"limit_req zone={zone_name}; limit_req_status {status}; location / {{ proxy_pass INNER; }}"


class NginxCase(RunCase):
    def setUp(self):
        super().setUp()
        self.assertTrue(NGINX, "nginx is not there: make deps")

    def nginx(self, **options):
        nginx = Nginx(self.dir, **options)
        self.addCleanup(nginx.stop)
        return nginx

    def rows_for_paths(self, count):
        return self.write("rows.jsonl", "".join(
            json.dumps({"custom_id": f"row-{i}", "method": "POST", "url": f"/row/{i}", "body": {"n": i}}) + "\n"
            for i in range(count)))

    def check_answers(self, count):
        """All ok, in order, and each with its own answer."""
        rows = self.read_rows("out.jsonl")
        self.assert_in_order(rows, count)
        for i, row in enumerate(rows):
            self.assertEqual(row["response"]["status_code"], 200)
            self.assertEqual(row["response"]["body"]["uri"], f"/row/{i}")
            self.assertIsNone(row["error"])


class TestLimits(NginxCase):
    def test_limit_req_that_moves_between_5_and_20_a_second_fails_no_row(self):
        summary = self.run_beside_a_moving_limit()
        self.assertEqual(summary["throttle"], "adaptive")
        state = summary["throttle_state"]
        self.assertGreater(state["changes"], 0)
        self.assertEqual(sum(state["by_reason"].values()), state["changes"])
        self.assertEqual(state["by_reason"]["first_refusal"], 1)
        self.assertLess(state["rate_min_per_s"], state["rate_max_per_s"])

    def test_limit_req_that_moves_fails_no_row_with_aimd(self):
        summary = self.run_beside_a_moving_limit("--throttle", "aimd", "--max-dispatch-delay", "400ms",
                                                 "--min-dispatch-delay", "20ms")
        self.assertGreater(summary["pool_stats"]["peak_delay_ms"], 0)

    def run_beside_a_moving_limit(self, *options):
        count = 120
        zones = ("limit_req_zone $server_port zone=fast:1m rate=20r/s;"
                 "limit_req_zone $server_port zone=slow:1m rate=5r/s;")
        nginx = self.nginx(http=zones, server=limited("fast", 429))
        process = self.start("--url", nginx.origin, "-j", 16, *options, "-o", "out.jsonl", "--summary", "sum.json",
                             "--meta", "--progress", "none", self.rows_for_paths(count), stderr=subprocess.PIPE)
        self.wait_rows(process, 50)
        nginx.reload(limited("slow", 503))
        self.wait_rows(process, 75)
        nginx.reload(limited("fast", 503))
        self.finish(process, status=0)

        self.check_answers(count)
        summary = self.read_json("sum.json")
        seen = [call["status"] for call in nginx.calls() if call["uri"] != "/generation"]
        refused = seen.count(429) + seen.count(503)
        self.assertEqual(summary["rows"]["ok"], count)
        self.assertEqual(seen.count(200), count)
        self.assertGreater(seen.count(429), 0)
        # With AIMD at its longest delay the slow time may pass without a refusal.
        self.assertGreater(refused if "aimd" in options else seen.count(503), 0)
        self.assertEqual(summary["attempts"]["sent"], len(seen))
        self.assertEqual(summary["attempts"]["refused"], refused)
        self.assertAlmostEqual(summary["rates"]["refused_share"], refused / len(seen), places=3)
        self.assertEqual(summary["pool_stats"]["capacity_retries"], refused)
        self.assertLessEqual(summary["pool_stats"]["max_concurrent_reached"], 16)
        # Full is not failure: no attempt of the retry policy was used.
        self.assertEqual(summary["attempts"]["retries"], 0)
        self.assertEqual(sum(row["meta"]["capacity_retries"] for row in self.read_rows("out.jsonl")), refused)
        return summary

    def wait_rows(self, process, count):
        def enough():
            self.assertIsNone(process.poll(), "weir ended early")
            return os.path.exists(self.path("out.jsonl")) and self.read("out.jsonl").count(b"\n") >= count
        wait_until(enough, 60, f"{count} rows in the output")

    def test_limit_conn_refuses_what_is_too_many_at_once(self):
        self.run_beside_a_limit_of_connections()

    def test_limit_conn_refuses_what_is_too_many_at_once_with_aimd(self):
        self.run_beside_a_limit_of_connections("--throttle", "aimd", "--recovery-step", "10ms",
                                               "--max-dispatch-delay", "150ms")

    def run_beside_a_limit_of_connections(self, *options):
        count = 150
        slow = self.mock("--latency", "30ms")
        nginx = self.nginx(
            http="limit_conn_zone $server_port zone=c:1m; limit_conn_status 429;",
            server=f"limit_conn c 4; location / {{ proxy_pass {slow.origin}; }}")
        self.weir("--url", nginx.origin, "-j", 12, *options, "-o", "out.jsonl", "--summary", "sum.json",
                  self.rows_for_paths(count), status=0)
        rows = self.read_rows("out.jsonl")
        self.assert_in_order(rows, count)
        self.assertEqual([row["response"]["body"]["body"]["n"] for row in rows], list(range(count)))
        statuses = [call["status"] for call in nginx.calls()]
        summary = self.read_json("sum.json")
        self.assertGreater(statuses.count(429), 0)
        self.assertEqual(summary["attempts"]["refused"], statuses.count(429))
        self.assertLessEqual(slow.stats()["in_service"]["peak"], 4)

    def test_connections_closed_without_an_answer_are_tried_again(self):
        count = 200
        nginx = self.nginx(
            http='split_clients "$request_id" $drop { 20% 1; * 0; }',
            server="if ($drop) { return 444; }"
                   "location / { return 200 '{\"uri\":\"$request_uri\"}'; }")
        self.weir("--url", nginx.origin, "-j", 8, "--retries", 20, "--retry-delay", "5ms", "-o", "out.jsonl",
                  "--summary", "sum.json", self.rows_for_paths(count), status=0)
        self.check_answers(count)
        statuses = [call["status"] for call in nginx.calls()]
        summary = self.read_json("sum.json")
        self.assertGreater(statuses.count(444), 10)
        self.assertEqual(statuses.count(200), count)
        # One owner of retries: what nginx saw is what weir counted, so that no library tried on its own.
        self.assertEqual(summary["attempts"]["sent"], len(statuses))
        self.assertEqual(summary["attempts"]["retries"], statuses.count(444))

    def test_more_resets_than_retries_fail_a_row_in_its_place(self):
        count = 40
        nginx = self.nginx(
            server="location ~ 7$ { return 444; } location / { return 200 '{\"uri\":\"$request_uri\"}'; }")
        self.weir("--url", nginx.origin, "--retries", 1, "--retry-delay", "5ms", "-o", "out.jsonl",
                  self.rows_for_paths(count), status=1)
        rows = self.read_rows("out.jsonl")
        self.assert_in_order(rows, count)
        for i, row in enumerate(rows):
            if i % 10 == 7:
                self.assertIsNone(row["response"])
                self.assertEqual(row["error"]["code"], "connection_lost")
                self.assertTrue(row["error"]["message"])
            else:
                self.assertEqual(row["response"]["status_code"], 200)
        tried = [call["uri"] for call in nginx.calls()]
        self.assertEqual(tried.count("/row/7"), 2)

    def test_a_failure_keeps_its_status_and_body_verbatim(self):
        body = '{"detail":  [1.0, "caf\\u00e9"], "code": 1e2}'
        nginx = self.nginx(server=f"location / {{ return 422 '{body}'; }}")
        self.weir("--url", nginx.origin, "-o", "out.jsonl", self.rows_for_paths(3), status=1)
        self.assertEqual(self.read("out.jsonl").count(b'"body":' + body.encode() + b"}"), 3)
        for row in self.read_rows("out.jsonl"):
            self.assertEqual(row["response"]["status_code"], 422)
            self.assertIsNone(row["error"])
        self.assertEqual(len(nginx.calls()), 3)


def openssl(*words):
    subprocess.run(["openssl", *words], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


class TlsCase(NginxCase):
    """A certificate authority of our own, a server's and a client's certificate."""

    def setUp(self):
        super().setUp()
        os.makedirs(self.path("tls"))
        self.ca, self.ca_key = self.path("tls", "ca.pem"), self.path("tls", "ca.key")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                "-subj", "/CN=test authority", "-keyout", self.ca_key, "-out", self.ca)
        self.issue("server", "localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        self.issue("client", "a client", "extendedKeyUsage=clientAuth")

    def issue(self, name, common_name, extension):
        key, request = self.path("tls", name + ".key"), self.path("tls", name + ".csr")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
                f"/CN={common_name}", "-keyout", key, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.ca_key, "-CAcreateserial", "-days",
                "2", "-out", self.path("tls", name + ".pem"), "-extfile",
                self.write(f"tls/{name}.ext", extension + "\n"))

    def tls_nginx(self, server, client=False):
        tls = (f"ssl_certificate {self.path('tls', 'server.pem')};"
               f"ssl_certificate_key {self.path('tls', 'server.key')};")
        if client:
            tls += f"ssl_client_certificate {self.ca}; ssl_verify_client on;"
        return self.nginx(listen=" ssl http2", tls=True, server=tls + server)


class TestTls(TlsCase):
    def test_http_2_over_tls_with_a_given_authority(self):
        nginx = self.tls_nginx("location / { return 200 '{\"uri\":\"$request_uri\",\"as\":\"$server_protocol\"}'; }")
        self.weir("--url", nginx.origin, "--cacert", self.ca, "-j", 16, "-o", "out.jsonl",
                  self.rows_for_paths(300), status=0)
        self.check_answers(300)
        self.assertEqual({row["response"]["body"]["as"] for row in self.read_rows("out.jsonl")}, {"HTTP/2.0"})

    def test_http_1_1_over_tls_when_asked_for(self):
        nginx = self.tls_nginx("location / { return 200 '{\"uri\":\"$request_uri\",\"as\":\"$server_protocol\"}'; }")
        self.weir("--url", nginx.origin, "--cacert", self.ca, "--http", "1.1", "-o", "out.jsonl",
                  self.rows_for_paths(20), status=0)
        self.assertEqual({row["response"]["body"]["as"] for row in self.read_rows("out.jsonl")}, {"HTTP/1.1"})

    def test_connections_that_end_after_some_requests_cost_no_row(self):
        # HTTP/2: GOAWAY says which requests were not looked at. HTTP/1.1: the last answer says "close".
        nginx = self.tls_nginx("keepalive_requests 50; location / { return 200 '{\"uri\":\"$request_uri\"}'; }")
        for options in (("--retries", 10), ("--http", "1.1", "--retries", 0)):
            self.weir("--url", nginx.origin, "--cacert", self.ca, "-j", 16, "--retry-delay", "5ms", "-o", "out.jsonl",
                      "--fresh", *options, self.rows_for_paths(600), status=0)
            self.check_answers(600)
        self.assertEqual(len(nginx.calls()), 1200)

    def test_a_certificate_that_nobody_vouches_for_is_refused(self):
        nginx = self.tls_nginx("location / { return 200 '{}'; }")
        done = self.weir("--url", nginx.origin, "-o", "out.jsonl", "--retry-delay", "5ms", self.rows_for_paths(3),
                         status=1)
        self.assertEqual({row["error"]["code"] for row in self.read_rows("out.jsonl")}, {"tls_failed"})
        self.assert_says(done, "certificate")
        self.assertEqual(nginx.calls(), [])

    def test_insecure_takes_it_all_the_same(self):
        nginx = self.tls_nginx("location / { return 200 '{\"uri\":\"$request_uri\"}'; }")
        self.weir("--url", nginx.origin, "--insecure", "-o", "out.jsonl", self.rows_for_paths(3), status=0)

    def test_a_client_certificate_is_shown(self):
        nginx = self.tls_nginx("location / { return 200 '{\"uri\":\"$request_uri\",\"who\":\"$ssl_client_s_dn\"}'; }",
                               client=True)
        self.weir("--url", nginx.origin, "--cacert", self.ca, "--cert", self.path("tls", "client.pem"),
                  "--key-file", self.path("tls", "client.key"), "-o", "out.jsonl", self.rows_for_paths(10), status=0)
        self.check_answers(10)
        self.assertEqual({row["response"]["body"]["who"] for row in self.read_rows("out.jsonl")}, {"CN=a client"})

    def test_without_the_client_certificate_the_rows_fail_at_once(self):
        nginx = self.tls_nginx("location / { return 200 '{}'; }", client=True)
        self.weir("--url", nginx.origin, "--cacert", self.ca, "-o", "out.jsonl", self.rows_for_paths(4), status=1)
        self.assertEqual([row["response"]["status_code"] for row in self.read_rows("out.jsonl")], [400] * 4)


class Proxy(http.server.BaseHTTPRequestHandler):
    """A small forward proxy: whole requests for http, tunnels for https."""
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def note(self):
        self.server.seen.append((self.command, self.path, self.headers.get("Proxy-Authorization")))

    def do_POST(self):
        self.note()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        address = self.path.split("/")[2].split(":")
        connection = http.client.HTTPConnection("127.0.0.1", int(address[1]), timeout=30)
        try:
            connection.request("POST", "/" + self.path.split("/", 3)[3], body,
                               {k: v for k, v in self.headers.items() if not k.lower().startswith("proxy-")})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_CONNECT(self):
        self.note()
        with socket.create_connection(("127.0.0.1", int(self.path.split(":")[1])), 30) as other:
            self.send_response(200)
            self.end_headers()
            self.close_connection = True
            pair = {self.connection: other, other: self.connection}
            while True:
                ready, _, _ = select.select(list(pair), [], [], 30)
                for one in ready:
                    data = one.recv(65536)
                    if not data:
                        return
                    pair[one].sendall(data)


class ProxyServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass


class TestProxy(TlsCase):
    """Through a forward proxy."""

    def setUp(self):
        super().setUp()
        self.proxy = ProxyServer(("127.0.0.1", 0), Proxy)
        self.proxy.seen = []
        self.proxy_url = f"http://user:prox1secret@127.0.0.1:{self.proxy.server_address[1]}"
        threading.Thread(target=self.proxy.serve_forever, args=(0.02,), daemon=True).start()
        self.addCleanup(self.proxy.server_close)
        self.addCleanup(self.proxy.shutdown)

    def check_secret(self, done):
        for name in ("out.jsonl", "out.jsonl.weir", "sum.json", "ev.jsonl"):
            self.assertNotIn(b"prox1secret", self.read(name), name)
        self.assertNotIn(b"prox1secret", done.err + done.out)

    def told(self):
        return "-o", "out.jsonl", "--summary", "sum.json", "--events", "ev.jsonl"

    def test_http_through_a_proxy_with_a_password(self):
        nginx = self.nginx(server="location / { return 200 '{\"uri\":\"$request_uri\"}'; }")
        done = self.weir("--url", nginx.origin, "--proxy", self.proxy_url, *self.told(), self.rows_for_paths(20),
                         status=0)
        self.check_answers(20)
        self.assertEqual(len(self.proxy.seen), 20)
        for command, path, authorization in self.proxy.seen:
            self.assertEqual(command, "POST")
            self.assertTrue(path.startswith(nginx.origin + "/row/"), path)
            self.assertTrue(authorization)
        self.check_secret(done)

    def test_https_through_a_tunnel(self):
        nginx = self.tls_nginx("location / { return 200 '{\"uri\":\"$request_uri\"}'; }")
        done = self.weir("--url", nginx.origin, "--cacert", self.ca, "--proxy", self.proxy_url, *self.told(),
                         self.rows_for_paths(20), status=0)
        self.check_answers(20)
        self.assertEqual({seen[0] for seen in self.proxy.seen}, {"CONNECT"})
        self.check_secret(done)

    def test_no_proxy_goes_straight(self):
        nginx = self.nginx(server="location / { return 200 '{\"uri\":\"$request_uri\"}'; }")
        self.weir("--url", nginx.origin, "--no-proxy", "localhost", "-o", "out.jsonl", self.rows_for_paths(3),
                  status=0, env={"http_proxy": self.proxy_url})
        self.assertEqual(self.proxy.seen, [])

    def test_the_environments_proxy_is_used(self):
        nginx = self.nginx(server="location / { return 200 '{\"uri\":\"$request_uri\"}'; }")
        self.weir("--url", nginx.origin, "-o", "out.jsonl", self.rows_for_paths(3), status=0,
                  env={"http_proxy": self.proxy_url})
        self.assertEqual(len(self.proxy.seen), 3)


class TestUnixSocket(NginxCase):
    def test_a_socket_in_the_file_system(self):
        path = self.path("s.sock")
        nginx = self.nginx(http=f"server {{ listen unix:{path}; "
                                "location / { return 200 '{\"uri\":\"$request_uri\",\"host\":\"$host\"}'; } }")
        self.assertTrue(nginx.port)
        self.weir("--url", "http://service.invalid/x", "--unix-socket", path, "-o", "out.jsonl",
                  self.rows_for_paths(10), status=0)
        self.check_answers(10)
        self.assertEqual(self.read_rows("out.jsonl")[0]["response"]["body"]["host"], "service.invalid")


if __name__ == "__main__":
    unittest.main()
