"""What the tests of `weir run` share: the command itself, and services for it to talk to.

    class TestX(RunCase):
        def test_y(self):
            mock = self.mock("--rate", "20")                   # weir mock, on a free port
            service = self.service(lambda call: (200, {}, b"{}"))  # or a service in Python, that logs its calls
            done = self.weir("--url", service.url, "-j", 4, rows, status=0)

Everything that was started ends with the test, by its process id.
"""
import http.server
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
import urllib.request

from weirtest import SLOWNESS, WEIR, Case, wait_until

# What a user's shell may hold and a test must not see.
DROPPED = {"http_proxy", "https_proxy", "all_proxy", "no_proxy", "NO_COLOR", "COLUMNS", "LINES"}


def environment(home, more=None):
    env = {k: v for k, v in os.environ.items() if k.lower() not in DROPPED}
    env.update(HOME=home, TERM="xterm")
    env.update(more or {})
    return env


class Done:
    """How a `weir` ended: status, out and err (bytes), usage (of the process)."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err
        self.text = err.decode("utf-8", "replace")

    @property
    def rows(self):
        return [json.loads(line) for line in self.out.splitlines()]


class Call:
    """A request, as a Python service sees it."""

    def __init__(self, number, method, path, headers, body):
        self.number, self.method, self.path, self.headers, self.body = number, method, path, headers, body
        self.at = time.monotonic()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def key(self):
        return self.headers.get("Idempotency-Key")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call = self.server.service.enter(self.command, self.path, self.headers, body)
        try:
            answer = self.server.service.reply(call)
        finally:
            self.server.service.leave()
        if answer is None:
            # SO_LINGER of zero: the connection ends with a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        status, headers, text = answer
        if isinstance(text, str):
            text = text.encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        try:
            if self.command != "HEAD":
                self.wfile.write(text)
        except OSError:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = handle_any

    def handle(self):
        try:
            super().handle()
        except OSError:
            pass  # the client went away: what these tests are about

    def finish(self):
        try:
            super().finish()
        except OSError:
            pass

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def __init__(self, service, *rest):
        self.service = service
        super().__init__(*rest)

    def process_request(self, request, client_address):
        with self.service.lock:
            self.service.sockets.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        with self.service.lock:
            self.service.sockets.discard(request)
        super().shutdown_request(request)

    def handle_error(self, *_):
        pass


class Service:
    """An HTTP service in Python: reply(call) gives (status, headers, body), or None for a reset. It may
    block, which holds the answer back. calls: all that came, in order."""

    def __init__(self, reply):
        self.reply = reply
        self.lock = threading.Lock()
        self.calls, self.sockets = [], set()
        self.inside, self.peak = 0, 0
        self.server = Server(self, ("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1/chat/completions"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def enter(self, method, path, headers, body):
        with self.lock:
            call = Call(len(self.calls), method, path, headers, body)
            self.calls.append(call)
            self.inside += 1
            self.peak = max(self.peak, self.inside)
        return call

    def leave(self):
        with self.lock:
            self.inside -= 1

    def idle(self):
        """No client has a connection any more: whatever a killed one sent has been read."""
        with self.lock:
            return not self.sockets

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        with self.lock:
            left = list(self.sockets)
        for s in left:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Gate:
    """Holds answers back until it is opened."""

    def __init__(self):
        self.event = threading.Event()

    def open(self):
        self.event.set()

    def wait(self):
        self.event.wait(60 * SLOWNESS)


class Mock:
    """A `weir mock`."""

    def __init__(self, folder, args):
        port_file = os.path.join(folder, f"mock-{time.monotonic_ns()}.port")
        self.process = subprocess.Popen(
            [WEIR, "mock", "--port-file", port_file, *map(str, args)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            wait_until(lambda: os.path.exists(port_file) or self.process.poll() is not None, 10, "weir mock")
            if self.process.poll() is not None:
                raise AssertionError(f"weir mock ended: {self.process.stderr.read().decode()}")
            with open(port_file, encoding="ascii") as f:
                self.port = int(f.read())
        except BaseException:
            self.stop()
            raise
        self.origin = f"http://127.0.0.1:{self.port}"
        self.url = self.origin + "/v1/chat/completions"

    def stats(self):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.origin + "/stats", timeout=10) as answer:
            return json.load(answer)

    def stop(self):
        stop_process(self.process)
        self.process.stderr.close()


def stop_process(process, deadline_s=10):
    """Ends a process, gently first, and waits for it."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(deadline_s * SLOWNESS)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def give_up_root():
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


class RunCase(Case):
    """A test with a folder, services, and `weir run`."""

    def mock(self, *args):
        mock = Mock(self.dir, args)
        self.addCleanup(mock.stop)
        return mock

    def service(self, reply):
        service = Service(reply)
        self.addCleanup(service.stop)
        return service

    def gate(self):
        gate = Gate()
        self.addCleanup(gate.open)
        return gate

    def start(self, *args, env=None, before=None, unprivileged=False, **streams):
        """Starts `weir run ARGS`; killed at the end of the test when it still runs. unprivileged: as nobody, if we are
        root, whom nothing is refused; from a copy, because a tree below /root is closed to others."""
        weir = WEIR
        if unprivileged and os.geteuid() == 0:
            weir = shutil.copy(WEIR, self.path("weir"))
            os.chmod(weir, 0o755)
            before = give_up_root
            env = {**self.open_suppressions(), **(env or {})}
        words = [weir, "run", *map(str, args)]
        streams.setdefault("stdin", subprocess.DEVNULL)
        streams.setdefault("stdout", subprocess.PIPE)
        streams.setdefault("stderr", subprocess.PIPE)
        process = subprocess.Popen(words, env=environment(self.dir, env), cwd=self.dir, preexec_fn=before, **streams)
        self.addCleanup(self.end, process)
        return process

    def open_suppressions(self):
        """The sanitizer's options, with its list of suppressions where everybody can read it."""
        options = os.environ.get("TSAN_OPTIONS", "")
        found = re.search(r"suppressions=(\S+?)(?=[: ]|$)", options)
        if not found:
            return {}
        copy = shutil.copy(found[1], self.path("suppressions"))
        os.chmod(copy, 0o644)
        return {"TSAN_OPTIONS": options.replace(found[1], copy)}

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                try:
                    stream.close()
                except OSError:
                    pass

    def finish(self, process, status=None, data=None, deadline_s=60):
        """Waits for a process that start() gave: Done. status: what it must exit with."""
        try:
            out, err = process.communicate(data, timeout=deadline_s * SLOWNESS)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            self.fail(f"weir did not end in {deadline_s * SLOWNESS} s; it said: {err[-2000:]!r}")
        done = Done(process.returncode, out or b"", err or b"")
        if status is not None:
            self.assertEqual(done.status, status, f"weir said: {done.text[-3000:]}")
        return done

    def weir(self, *args, status=None, data=None, deadline_s=60, **more):
        """Runs `weir run ARGS` to its end."""
        if data is not None:
            more["stdin"] = subprocess.PIPE
        return self.finish(self.start(*args, **more), status, data, deadline_s)

    def plain_rows(self, count, name="rows.jsonl", first=0):
        """An input of plain rows {"n": 0}, {"n": 1}, ..."""
        return self.write(name, "".join(f'{{"n":{i}}}\n' for i in range(first, first + count)))

    def batch_rows(self, count, name="batch.jsonl", url="/v1/chat/completions"):
        """An input in the OpenAI Batch form: custom ids row-0, row-1, ..."""
        return self.write(name, "".join(json.dumps({
            "custom_id": f"row-{i}", "method": "POST", "url": url,
            "body": {"model": "m", "messages": [{"role": "user", "content": f"question {i}"}]}}) + "\n"
            for i in range(count)))

    def read(self, *names):
        with open(self.path(*names), "rb") as f:
            return f.read()

    def read_rows(self, *names):
        return [json.loads(line) for line in self.read(*names).splitlines()]

    def read_json(self, *names):
        return json.loads(self.read(*names))

    def assert_in_order(self, rows, count):
        """Every row exactly one result, in order; of either form."""
        got = [row.get("custom_id", row.get("index")) for row in rows]
        want = [f"row-{i}" if rows and "custom_id" in rows[0] else i for i in range(count)]
        self.assertEqual(got, want)

    def assert_says(self, done, *patterns):
        for pattern in patterns:
            self.assertTrue(re.search(pattern, done.text, re.I), f"no {pattern!r} in: {done.text[-2000:]}")

    def assert_harmless(self, done):
        """It ended by itself, without a sanitizer's or an assertion's report."""
        self.assertIn(done.status, (0, 1, 2, 3, 4), done.text[-2000:])
        self.assertNotRegex(done.text, r"Sanitizer|Assertion|runtime error")


def echo(call):
    """A reply for Service: the request's body and path."""
    return 200, {"Content-Type": "application/json"}, json.dumps(
        {"path": call.path, "echo": json.loads(call.body) if call.body else None})


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True

