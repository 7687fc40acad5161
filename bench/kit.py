"""What a benchmark finds to work with: a folder, compilers, processors, nginx, and the launching of sides.

    with Kit("rows", folder) as kit:
        other = kit.compile("rows_libuv.c", "libuv")    # bench/rows_libuv.c; packages are pkg-config's
        weir = kit.program("rows_weir")                 # built by the Makefile
        origin = kit.nginx("location / { return 200; }")
        kit.pin(1) + [other, ...]                       # the words that bind a command to the second processor

Whatever it starts it ends, by its own process id, when the `with` ends; its folder goes with it.
"""
import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from harness import BenchError

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
BUILD = os.path.abspath(os.environ.get("WEIR_BUILD", os.path.join(ROOT, "build")))
# The side that is compared is built as weir is.
CFLAGS = ["-std=gnu17", "-D_GNU_SOURCE", "-O2", "-g", "-Wall", "-Wextra", "-pthread"]
# A side that takes longer than this hangs.
SIDE_TIMEOUT_S = 900
MEMORY_FREE_BYTES = 1 << 30

NGINX_CONFIG = """
{user}worker_processes 1;
daemon off;
pid {folder}/pid;
error_log {folder}/error.log error;
events {{ worker_connections 2048; }}
http {{
    {http}
    access_log {log};
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type application/json;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    server {{
        listen 127.0.0.1:{port};
        {server}
    }}
}}
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def end_process(process):
    """Ends a process that this program started, and its group."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Nginx:
    """An nginx on a free port of loopback, in a folder of its own, bound to one processor."""

    def __init__(self, kit, server, http, log):
        binary = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
        if not binary:
            raise BenchError("nginx is not installed")
        self.folder = tempfile.mkdtemp(prefix="nginx-", dir=kit.folder)
        self.http, self.log_format = http, log
        self.log = os.path.join(self.folder, "access.log")
        for _ in range(5):  # another program may take the port between its choice and its use
            self.port = free_port()
            self.origin = f"http://127.0.0.1:{self.port}"
            self.configure(server)
            self.process = subprocess.Popen(
                kit.pin(0) + [binary, "-p", self.folder, "-c", "nginx.conf", "-e", f"{self.folder}/error.log"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
            if self.answers():
                return
            end_process(self.process)
        with open(f"{self.folder}/error.log", encoding="utf-8", errors="replace") as f:
            raise BenchError(f"nginx does not start: {f.read()[-500:].strip()}")

    def configure(self, server):
        # A master that is root would give its workers to another user, who cannot write here.
        user = "user root;\n" if os.geteuid() == 0 else ""
        with open(os.path.join(self.folder, "nginx.conf"), "w", encoding="ascii") as f:
            f.write(NGINX_CONFIG.format(user=user, folder=self.folder, http=self.http, port=self.port, server=server,
                                        log=f"{self.log} {self.log_format}" if self.log_format else "off"))

    def reload(self, server):
        self.configure(server)
        self.process.send_signal(signal.SIGHUP)

    def answers(self):
        end = time.monotonic() + 10
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return True
            time.sleep(0.02)
        return False


class Kit:
    def __init__(self, name, tell=print):
        self.name, self.tell = name, tell
        self.build = os.path.join(BUILD, "bench")
        self.weir = os.path.join(BUILD, "weir")
        self.cpus = sorted(os.sched_getaffinity(0))[:2]

    def __enter__(self):
        os.makedirs(self.build, exist_ok=True)
        base = os.environ.get("BENCH_DIR") or self.build
        os.makedirs(base, exist_ok=True)
        self.stack = contextlib.ExitStack()
        self.folder = tempfile.mkdtemp(prefix=f"work-{self.name}-", dir=base)
        self.stack.callback(shutil.rmtree, self.folder, True)
        self.measure = self.compile("measure.c")
        return self

    def __exit__(self, *exc):
        self.stack.close()

    # ---- what is run ----

    def compile(self, source, *packages):
        """Compiles bench/SOURCE into build/bench, as weir itself is compiled."""
        target = os.path.join(self.build, os.path.splitext(source)[0])
        flags = self.pkg_config("--cflags", packages), self.pkg_config("--libs", packages)
        done = subprocess.run([os.environ.get("CC", "gcc"), *CFLAGS, *flags[0], "-o", target, os.path.join(HERE, source),
                               *flags[1], "-lm"], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"{source} does not compile:\n{done.stderr}")
        return target

    def pkg_config(self, what, packages):
        if not packages:
            return []
        done = subprocess.run(["pkg-config", what, *packages], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(done.stderr.strip() or "pkg-config failed")
        return shlex.split(done.stdout)

    def program(self, name):
        """A program of bench/ that is linked with weir; the Makefile builds it."""
        path = os.path.join(self.build, name)
        if not os.path.exists(path):
            raise BenchError(f"{path} is not there: `make bench` builds it")
        return path

    def npm(self, source, *packages):
        """bench/SOURCE beside its packages, as Node.js looks for them. Needs the registry the first time."""
        folder = os.path.join(self.build, "node")
        os.makedirs(folder, exist_ok=True)
        wanted = " ".join(packages)
        stamp = os.path.join(folder, "installed")
        if not (os.path.exists(stamp) and open(stamp, encoding="ascii").read() == wanted):
            done = subprocess.run(["npm", "install", "--prefix", folder, "--no-audit", "--no-fund", "--silent", *packages],
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode:
                raise BenchError(f"npm install failed: {done.stderr.strip().splitlines()[-1:]}")
            with open(stamp, "w", encoding="ascii") as f:
                f.write(wanted)
        return shutil.copy(os.path.join(HERE, source), folder)

    # ---- where it runs ----

    def pin(self, place):
        """The words before a command that is to run on the first (0) or second (1) processor only."""
        return ["taskset", "-c", str(self.cpus[place])] if len(self.cpus) == 2 else []

    def nginx(self, server, http="", log=""):
        nginx = Nginx(self, server, http, log)
        self.stack.callback(end_process, nginx.process)
        return nginx

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, lines):
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.writelines(lines)
        return self.path(name)

    def file_system(self):
        done = subprocess.run(["stat", "-f", "-c", "%T", self.folder], capture_output=True, text=True, check=False)
        return done.stdout.strip() or "unknown"

    def memory_folder(self):
        """A folder of its own in memory, or "" where there is none with room."""
        usage = shutil.disk_usage("/dev/shm") if os.path.isdir("/dev/shm") else None
        if not usage or usage.free < MEMORY_FREE_BYTES or not os.access("/dev/shm", os.W_OK):
            return ""
        folder = tempfile.mkdtemp(prefix="weir-bench-", dir="/dev/shm")
        self.stack.callback(shutil.rmtree, folder, True)
        return folder

    # ---- running a side ----

    def launch(self, side):
        """Runs a side's command; returns what it cost and what it printed."""
        report = self.path("report")
        words = [self.measure, report, str(side.repeat), *map(str, side.command)]
        with tempfile.TemporaryFile("w+", dir=self.folder) as err, subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if side.prints else subprocess.DEVNULL, stderr=err,
                env=dict(os.environ, **side.env), cwd=self.folder, text=True, start_new_session=True) as process:
            try:
                output, _ = process.communicate(timeout=SIDE_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                raise BenchError(f"{side.name} did not end within {SIDE_TIMEOUT_S} s") from None
            finally:
                end_process(process)
            if process.returncode:
                err.seek(0)
                raise BenchError(f"{side.name} ended with status {process.returncode}: {err.read()[-2000:].strip()}")
        with open(report, encoding="ascii") as f:
            return {name: float(value) for name, value in (line.split() for line in f)}, output or ""
