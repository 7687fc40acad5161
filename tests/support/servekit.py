"""A `weir serve` of a test's own, on a Unix socket in a folder of its own.

    class TestX(ServeCase):
        def test_y(self):
            d = self.daemon({"pools": [{"name": "sh", "kind": "command", "max_concurrency": 4}]})
            status, task = d.api("POST", "/v1/tasks", {"payload": {"shell": "echo hi"}})
            d.wait_task(task["id"])["output"]                  # when it has ended
            d.weir("task", "list", status=0).out               # the command, against it
            d.kill9(); d.restart()                             # the same store, the same socket
            d.get("/v1/status"); d.log()

The configuration is a dict, or the text of a file; where `store` and `listen` are not said, they are in the folder. In a
text, "@DIR@" is the folder. A daemon that cannot be started raises AssertionError, with what it said. Without ServeCase:
Daemon(config, folder) and, at the end, stop() and then close().
"""
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile

from weirtest import SLOWNESS, WEIR, Case, wait_until

ENDED = ("done", "failed", "cancelled")
# What a user's shell may hold and a test must not see.
DROPPED = {"http_proxy", "https_proxy", "all_proxy", "no_proxy", "no_color", "columns", "lines", "weir_api",
           "weir_api_token"}


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Done:
    """How a command ended: status, out and err (text)."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def rows(self):
        return [json.loads(line) for line in self.out.splitlines()]

    def __repr__(self):
        return f"status {self.status}\n-- out --\n{self.out}\n-- err --\n{self.err}"


class Daemon:
    def __init__(self, config=None, folder=None, token=None, env=None, start=True):
        """token: what api() and weir() show; env: more of the environment, of the daemon and of weir()."""
        self.own_dir = folder is None
        # A socket's path has 107 bytes at most, so it has a short one.
        self.dir = folder or tempfile.mkdtemp(prefix="weir-serve-")
        self.socket = os.path.join(self.dir, "weir.sock")
        self.config_path = os.path.join(self.dir, "weir.yml")
        self.log_path = os.path.join(self.dir, "serve.log")
        self.address = "unix:" + self.socket
        self.token = token
        self.env = {k: v for k, v in os.environ.items() if k.lower() not in DROPPED}
        self.env.update(env or {})
        self.process = None
        self.configure(config)
        if start:
            self.start()

    def configure(self, config=None):
        """Writes the configuration, for the next start or reload."""
        if config is None:
            config = {"pools": [{"name": "sh", "kind": "command", "max_concurrency": 4}]}
        if isinstance(config, dict):
            config = {"store": os.path.join(self.dir, "weir.db"), "listen": [self.address], **config}
            text = json.dumps(config, indent=1)  # which is YAML, too
        else:
            text = config.replace("@DIR@", self.dir)
            for name, value in (("store", os.path.join(self.dir, "weir.db")), ("listen", self.address)):
                if not any(line.startswith(name + ":") for line in text.splitlines()):
                    text += f"\n{name}: {value}\n"
        with open(self.config_path, "w", encoding="utf-8") as f:
            f.write(text)

    def launch(self):
        """Starts it, and waits for nothing."""
        assert self.process is None, "it runs already"
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([WEIR, "serve", "-c", self.config_path], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=self.env, cwd=self.dir)

    def start(self, deadline_s=30):
        """Starts it, and waits until it takes tasks."""
        self.launch()

        def ready():
            if self.process.poll() is not None:
                status, self.process = self.process.returncode, None
                raise AssertionError(f"weir serve ended with status {status}:\n{self.log()}")
            try:
                return self.api("GET", "/readyz", timeout_s=5)[0] == 200
            except (OSError, http.client.HTTPException):
                return False
        try:
            wait_until(ready, deadline_s, "weir serve to be ready")
        except AssertionError as fault:
            self.kill9()
            raise AssertionError(f"{fault}\n{self.log()}") from None

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        """All that it has written so far, over all of its starts."""
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def wait_end(self, timeout_s=60):
        """Its exit status, when it has ended by itself."""
        process, self.process = self.process, None
        try:
            return process.wait(timeout_s * SLOWNESS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"weir serve did not end within {timeout_s} s:\n{self.log()}") from None

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, timeout_s=60):
        """SIGTERM; its exit status. Nothing, if it does not run."""
        if self.process is None:
            return None
        self.signal(signal.SIGTERM)
        return self.wait_end(timeout_s)

    def kill9(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self):
        self.stop()
        self.start()

    def close(self):
        """Ends it in any case, and takes the folder away, if it has made one."""
        self.kill9()
        if self.own_dir:
            shutil.rmtree(self.dir, True)

    # ---- the API ----

    def request(self, method, path, body=None, content_type=None, headers=None, timeout_s=30):
        """status, headers, bytes. body: bytes or text as they are, anything else as JSON."""
        headers = dict(headers or {})
        if body is not None:
            if not isinstance(body, (bytes, str)):
                body = json.dumps(body)
            body = body.encode() if isinstance(body, str) else body
            headers.setdefault("Content-Type", content_type or "application/json")
        if self.token:
            headers.setdefault("Authorization", "Bearer " + self.token)
        connection = UnixConnection(self.socket, timeout_s * SLOWNESS)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def api(self, method, path, body=None, **more):
        """status, and the answer's JSON (text, where it is none; None, where it is empty)."""
        status, headers, data = self.request(method, path, body, **more)
        kind = {k.lower(): v for k, v in headers.items()}.get("content-type", "")
        if not data:
            return status, None
        if "json" in kind and "ndjson" not in kind:
            return status, json.loads(data)
        return status, data.decode("utf-8", "replace")

    def get(self, path):
        """The JSON of what must be there."""
        status, answer = self.api("GET", path)
        assert status == 200, f"GET {path}: {status} {answer}"
        return answer

    def submit(self, task):
        """The id of one task, or the ids of a list of them."""
        status, answer = self.api("POST", "/v1/tasks", task)
        assert status == 201, f"POST /v1/tasks: {status} {answer}"
        return answer["ids"] if isinstance(task, list) else answer["id"]

    def task(self, number):
        return self.get(f"/v1/tasks/{number}")

    def wait_task(self, number, states=ENDED, deadline_s=30):
        """The task, as soon as it is in one of the states."""
        states = (states,) if isinstance(states, str) else states
        seen = {}

        def there():
            seen.update(self.task(number))
            return seen["state"] in states
        try:
            wait_until(there, deadline_s, f"task {number} to be {' or '.join(states)}")
        except AssertionError as fault:
            raise AssertionError(f"{fault}; it is {seen}\n{self.log()}") from None
        return self.task(number)

    # ---- the command ----

    def weir_env(self, env=None):
        env = {**self.env, "WEIR_API": self.address, **(env or {})}
        if self.token:
            env.setdefault("WEIR_API_TOKEN", self.token)
        return env

    def weir(self, *args, stdin="", status=None, env=None, timeout_s=60):
        """Runs the command against it, with WEIR_API set; status: what it must exit with."""
        done = subprocess.run([WEIR, *map(str, args)], input=stdin, capture_output=True, text=True, env=self.weir_env(env),
                              timeout=timeout_s * SLOWNESS)
        done = Done(done.returncode, done.stdout, done.stderr)
        assert status is None or done.status == status, f"weir {' '.join(map(str, args))}: {done}\n-- log --\n{self.log()}"
        return done


class ServeCase(Case):
    """A test that starts daemons; what it started is ended with it."""

    def daemon(self, config=None, **more):
        d = Daemon(config, **more)
        self.addCleanup(d.close)
        return d
