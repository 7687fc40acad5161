"""The other side of a worker's pipes: what the tests of workers speak the protocol with.

    with Worker([sys.executable, path]) as worker:        # ends it, and what it started, when the block is left
        worker.ping()
        answer = worker.call("process", {"x": 1})         # {"id": ..., "success": ..., "result": ...}
        number = worker.send("slow", None)                # several at once
        worker.receive()                                  # the next answer, whatever its id
        worker.close_input(); worker.wait_end()           # -> exit status

Everything has a deadline and raises AssertionError, with what the worker said on standard error, when it passes.
What it writes on standard error is read all the time: worker.err() is what has come so far.
"""
import fcntl
import json
import os
import selectors
import signal
import struct
import subprocess
import sys
import threading
import time

from weirtest import ROOT, SLOWNESS, wait_until

SDK = os.path.join(ROOT, "sdk", "python")
BAD_WORKER = os.path.join(ROOT, "tests", "support", "bad_worker.py")
MESSAGE_BYTES_MAX = 64 << 20
ERR_BYTES_MAX = 1 << 20


def frame(body):
    """The bytes of a message on the wire; body: bytes, text, or what json.dumps takes."""
    if not isinstance(body, (bytes, str)):
        body = json.dumps(body, ensure_ascii=False)
    if isinstance(body, str):
        body = body.encode()
    return struct.pack(">I", len(body)) + body


def bad_worker(*faults):
    """The command of a worker with these faults (tests/support/bad_worker.py)."""
    return [sys.executable, "-S", "-E", BAD_WORKER, *faults]


def pid_state(pid):
    """The letter of /proc/PID/stat ("R", "S", "Z", ...); None: there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            text = f.read()
    except OSError:
        return None
    return text[text.rindex(")") + 2]


def is_running(pid):
    return pid_state(pid) not in (None, "Z", "X")


def group_members(group):
    """Processes of a process group that run (a zombie does not)."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if os.getpgid(int(entry)) == group and is_running(int(entry)):
                    found.append(int(entry))
            except OSError:
                pass
    return found


class Ended(AssertionError):
    """The worker closed its standard output."""


class Worker:
    def __init__(self, command, env=None, under_weir=True, cwd=None, deadline_s=10.0):
        environment = dict(os.environ)
        environment.pop("WEIR_WORKER", None)
        if under_weir:
            environment.update(WEIR_WORKER="1", WEIR_POOL="test")
        environment.update(env or {})
        self.deadline_s = deadline_s * SLOWNESS
        # A session of its own, so that what it starts can be found and ended.
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        bufsize=0, env=environment, cwd=cwd, start_new_session=True)
        self.pid = self.process.pid
        self._out = self.process.stdout.fileno()
        for pipe in (self.process.stdin, self.process.stdout):
            fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_NONBLOCK)
        self._have = bytearray()
        self._out_ended = False
        self._next_id = 1
        self._err = bytearray()
        self._err_bytes = 0
        self._err_reader = threading.Thread(target=self._read_err, daemon=True)
        self._err_reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *how):
        self.end()

    def _read_err(self):
        while True:
            try:
                piece = os.read(self.process.stderr.fileno(), 65536)
            except OSError:
                return
            if not piece:
                return
            self._err_bytes += len(piece)
            self._err += piece
            del self._err[:-ERR_BYTES_MAX]

    def err(self):
        """What it has said on standard error so far (the end of it)."""
        return bytes(self._err).decode("utf-8", "replace")

    def wait_err(self, text):
        wait_until(lambda: text in self.err(), self.deadline_s / SLOWNESS, f"{text!r} in {self.err()!r}")

    def _failed(self, text):
        return f"{text}; exit status {self.process.poll()}, standard error: {self.err()[-2000:]!r}"

    # Writing. While it writes it also reads, so that neither side can block the other.

    def send_bytes(self, data, deadline_s=None):
        """OSError (BrokenPipeError): the worker reads no more."""
        view = memoryview(bytes(data))
        fd = self.process.stdin.fileno()
        end = time.monotonic() + (deadline_s * SLOWNESS if deadline_s is not None else self.deadline_s)
        with selectors.DefaultSelector() as selector:
            selector.register(fd, selectors.EVENT_WRITE)
            if not self._out_ended:
                selector.register(self._out, selectors.EVENT_READ)
            while view:
                left = end - time.monotonic()
                if left <= 0:
                    raise AssertionError(self._failed(f"{len(view)} bytes could not be written to the worker"))
                for key, _ in selector.select(left):
                    if key.fd == fd:
                        view = view[os.write(fd, view[:1 << 16]):]
                    elif not self._read_some():
                        selector.unregister(self._out)

    def send_raw(self, message, deadline_s=None):
        """A message as it is: an object, text or bytes."""
        self.send_bytes(frame(message), deadline_s)

    def send(self, command, args=None, deadline_s=None, **more):
        """Returns the id of the request."""
        message = {"id": self._next_id, "command": command, "timestamp": "2026-01-31T12:00:00.000Z"}
        self._next_id += 1
        if command not in ("ping", "shutdown"):
            message["args"] = args
        message.update(more)
        self.send_raw(message, deadline_s)
        return message["id"]

    # Reading.

    def _read_some(self):
        try:
            piece = os.read(self._out, 1 << 16)
        except BlockingIOError:
            return True
        self._have += piece
        self._out_ended = not piece
        return bool(piece)

    def _fill(self, count, deadline_s):
        end = time.monotonic() + (deadline_s * SLOWNESS if deadline_s is not None else self.deadline_s)
        with selectors.DefaultSelector() as selector:
            selector.register(self._out, selectors.EVENT_READ)
            while len(self._have) < count:
                if self._out_ended:
                    raise Ended(self._failed(f"standard output ended, {bytes(self._have[:80])!r} left of it"))
                left = end - time.monotonic()
                if left <= 0:
                    raise AssertionError(self._failed(f"no answer in time, only {bytes(self._have[:80])!r}"))
                if selector.select(left):
                    self._read_some()

    def receive_bytes(self, deadline_s=None):
        """The body of the next message."""
        self._fill(4, deadline_s)
        (length,) = struct.unpack(">I", self._have[:4])
        if length > MESSAGE_BYTES_MAX:
            raise AssertionError(self._failed(f"not a frame: {bytes(self._have[:80])!r}"))
        self._fill(4 + length, deadline_s)
        body = bytes(self._have[4:4 + length])
        del self._have[:4 + length]
        return body

    def receive(self, deadline_s=None):
        """The next message, checked to be a response as the protocol has it."""
        def refuse(name):
            raise AssertionError(f"{name} is not JSON")
        body = self.receive_bytes(deadline_s)
        message = json.loads(body.decode("utf-8"), parse_constant=refuse)
        if not isinstance(message, dict) or not isinstance(message.get("id"), int) or \
                not isinstance(message.get("success"), bool):
            raise AssertionError(self._failed(f"no response: {body[:200]!r}"))
        if not message["success"] and not isinstance(message.get("error"), (str, dict)):
            raise AssertionError(self._failed(f"a failure without error: {body[:200]!r}"))
        return message

    def call(self, command, args=None, deadline_s=None, **more):
        """The response, which must be the next one."""
        number = self.send(command, args, deadline_s, **more)
        answer = self.receive(deadline_s)
        if answer["id"] != number:
            raise AssertionError(self._failed(f"request {number} was answered as {answer['id']}"))
        return answer

    def result(self, command, args=None, **more):
        """The result of a call that must succeed."""
        answer = self.call(command, args, **more)
        if not answer["success"]:
            raise AssertionError(self._failed(f"{command} failed: {answer}"))
        return answer.get("result")

    def error(self, command, args=None, **more):
        """The error of a call that must fail."""
        answer = self.call(command, args, **more)
        if answer["success"]:
            raise AssertionError(self._failed(f"{command} succeeded: {str(answer)[:200]}"))
        return answer["error"]

    def ping(self, deadline_s=None):
        return self.call("ping", deadline_s=deadline_s)

    def rest(self, deadline_s=None):
        """Everything that it still writes, until it closes its standard output."""
        try:
            self._fill(1 << 62, deadline_s)
        except Ended:
            pass
        return bytes(self._have)

    # The end.

    def close_input(self):
        self.process.stdin.close()

    def signal(self, number):
        self.process.send_signal(number)

    def wait_end(self, deadline_s=None):
        """Exit status (-N: ended by signal N)."""
        try:
            status = self.process.wait(deadline_s * SLOWNESS if deadline_s is not None else self.deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(self._failed("the worker does not end")) from None
        self._err_reader.join(1.0)
        return status

    def members(self):
        """Processes of its session that run."""
        return group_members(self.pid)

    def end(self):
        """By force, with what it has started; no harm when it has ended."""
        for pid in set(self.members()):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        self.process.wait()
        self._err_reader.join(1.0)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()
