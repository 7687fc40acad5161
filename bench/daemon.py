"""`weir serve` and the peers that it is compared with, started for a side and ended with it.

    with Daemon(kit, pool={"enabled": False}) as daemon:
        report, output = kit.launch(Side("x", [client, daemon.socket, 1000], prints=True))

Each has a folder of its own, a socket or port that nobody else has, and is ended by its process id.
"""
import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time

from harness import BenchError, Side, figures_of
from kit import end_process, free_port

READY_TIMEOUT_S = 120


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("weir")
        self.unix_path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.unix_path)


class Daemon:
    """A daemon with one pool, `noop`, of two workers in C that give back what they get; `pool` and `top` are more of its configuration."""

    def __init__(self, kit, pool=None, top=None, stamps="", folder=""):
        self.kit = kit
        self.folder = tempfile.mkdtemp(prefix="serve-", dir=folder or kit.folder)
        self.store = os.path.join(self.folder, "weir.store")
        # A socket's path may not be long, and that of a build folder may be.
        self.short = tempfile.mkdtemp(prefix="weir-bench-")
        self.socket = os.path.join(self.short, "sock")
        echo = [kit.compile("worker_echo.c"), "json"] + ([stamps] if stamps else [])
        noop = {"name": "noop", "kind": "process", "process": echo, "max_concurrency": 2, "max_in_flight": 64,
                "throttle": "none", **(pool or {})}
        config = {"store": self.store, "listen": ["unix:" + self.socket], "default_pool": "noop",
                  "max_global_concurrency": 4096, "limits": {"connections": 4096}, "pools": [noop], **(top or {})}
        self.config = os.path.join(self.folder, "weir.yml")
        with open(self.config, "w", encoding="utf-8") as f:
            json.dump(config, f)  # YAML holds JSON
        self.log = os.path.join(self.folder, "log")

    def start(self):
        """Returns the seconds until it says that it is ready."""
        start = time.monotonic()
        with open(self.log, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen([self.kit.weir, "serve", "-c", self.config], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)
        while time.monotonic() < start + READY_TIMEOUT_S and self.process.poll() is None:
            with contextlib.suppress(OSError):
                if self.get("/readyz")[0] == 200:
                    return time.monotonic() - start
            time.sleep(0.005)
        raise BenchError(f"weir serve is not ready: {self.log_tail()}")

    def log_tail(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()[-1000:].strip()

    def get(self, path):
        connection = UnixConnection(self.socket)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def rss_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            return 1024 * next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))

    def stop(self):
        end_process(self.process)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder, True)
        shutil.rmtree(self.short, True)


def against_daemon(kit, command, **options):
    """For Side.call: the client's command runs against a daemon of its own; "SOCKET" in it is the daemon's."""
    def call(_):
        with Daemon(kit, **options) as daemon:
            words = [daemon.socket if word == "SOCKET" else word for word in command]
            side = Side(os.path.basename(str(command[0])), words, prints=True)
            return figures_of(side, *kit.launch(side))
    return call


# ---- the peers ----

def wait_for_port(process, port, what):
    end = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise BenchError(f"{what} does not start")


def against_beanstalkd(kit, words, jobs, at_once):
    """For Side.call: an empty beanstalkd with these words, and jobs through it."""
    client = kit.compile("tasks_beanstalk.c")

    def call(_):
        folder, port = tempfile.mkdtemp(prefix="beanstalkd-", dir=kit.folder), free_port()
        process = subprocess.Popen(["beanstalkd", "-l", "127.0.0.1", "-p", str(port), "-b", folder, *words],
                                   stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            wait_for_port(process, port, "beanstalkd")
            side = Side("beanstalkd", [client, port, jobs, at_once], prints=True)
            return figures_of(side, *kit.launch(side))
        finally:
            end_process(process)
            shutil.rmtree(folder, True)
    return call


def newest_postgres():
    folder = "/usr/lib/postgresql"
    versions = sorted(os.listdir(folder), key=float) if os.path.isdir(folder) else []
    return os.path.join(folder, versions[-1], "bin") if versions else ""


class Postgres:
    """A PostgreSQL in a folder of its own; ended with the kit."""

    def __init__(self, kit):
        binaries = newest_postgres()
        # It refuses to run as root.
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        base = os.environ.get("BENCH_DIR") or tempfile.gettempdir()
        folder = tempfile.mkdtemp(prefix="weir-bench-pg-", dir=base)
        kit.stack.callback(shutil.rmtree, folder, True)
        if as_user:
            shutil.chown(folder, "postgres", "postgres")
        data = os.path.join(folder, "data")
        done = subprocess.run(as_user + [f"{binaries}/initdb", "-D", data, "-A", "trust", "-U", "postgres"], cwd="/",
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"initdb failed: {done.stderr.strip()[-300:]}")
        port = free_port()
        settings = ["listen_addresses=127.0.0.1", "max_wal_size=8GB", "checkpoint_timeout=30min"]
        process = subprocess.Popen(as_user + [f"{binaries}/postgres", "-D", data, "-p", str(port), "-k", folder]
                                   + [word for s in settings for word in ("-c", s)], cwd="/", stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        kit.stack.callback(end_process, process)
        wait_for_port(process, port, "PostgreSQL")
        time.sleep(0.2)
        self.url = f"postgres://postgres@127.0.0.1:{port}/postgres"
