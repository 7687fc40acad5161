"""Make a Python program a worker of weir: one file, no dependencies, Python 3.9 or later.

    import weir_worker                        # first: from here on, prints go to the log

    model = load_model()                      # once, however many rows follow

    @weir_worker.command("process")           # the command that `weir run --worker` sends by default
    def process(args):                        # args: the row, parsed; what is returned becomes the result
        if not model.fits(args["text"]):
            raise ValueError("too long")      # the row failed; the worker goes on
        return model.predict(args["text"])

    weir_worker.run()                         # until weir has no more work

Put this file beside the program, and run it over a file of rows:

    weir run --worker 'python3 my_worker.py' -j 4 rows.jsonl
    weir worker check 'python3 my_worker.py'

How a call ends, and what weir does then:

    it returns a value           the row is ok, and the value is its result (anything that json.dumps takes, but
                                 for NaN and infinity, which are not JSON)
    raises Capacity(...)         whatever it needs is full: weir slows down and tries the row again; this costs the
                                 row none of its attempts
    raises Retryable(...)        the row is tried again, up to the attempts that weir was told
    raises anything else         the row failed; the type and the text of the exception are in its result, the
                                 traceback goes to the log

In a call, request() says what is known of it: its id, its session, whether the session was lost, its environment. Sessions
keeps what a program remembers of each session. A call that takes long says now and then that it is alive, and how far:

    for i, page in enumerate(pages):
        weir_worker.heartbeat(i / len(pages), f"page {i} of {len(pages)}")

One call runs at a time, on the thread that called run(). With run(max_in_flight=N) weir sends up to N at once, and
they run on N threads. A thread of its own reads the requests and answers pings, so a long call does not look like a
dead worker (unless it is in C code that keeps Python's lock for longer than weir waits for a ping, 5 s).

Standard output is how the worker speaks to weir, so it is taken away from everybody else: descriptor 1 is made to point
to standard error, for Python, for C extensions and for child processes. Standard input is at its end. This happens on
import if weir has started the program (it sets WEIR_WORKER), and in run() otherwise.

The program should end when run() returns: weir has said so, or is gone. A call that still runs when weir is gone is cut
off after `grace` seconds. The protocol is in docs/worker-protocol.md.
"""
from __future__ import annotations

import collections
import contextvars
import datetime
import inspect
import json
import os
import queue
import select
import signal
import stat
import struct
import sys
import threading
import time
import traceback
from typing import Any, Callable, Deque, Dict, Generic, List, Optional, Tuple, TypeVar

__all__ = ["command", "register", "run", "request", "heartbeat", "Request", "Retryable", "Capacity", "Sessions"]

# weir takes no larger message, and sends none.
MESSAGE_BYTES_MAX = 64 << 20
# What a pipe holds; a large message is read in larger pieces.
READ_BYTES = 64 << 10
PIECE_BYTES_MAX = 1 << 20
# Threads cost memory; weir limits the same number.
IN_FLIGHT_MAX = 1024
# Python's own limit is 4,300; it may be set lower, to 640.
DIGITS_MAX = 600
# Longer ones are cut, so that an error cannot be larger than a message.
ERROR_TEXT_MAX = 64 << 10
# A loop may say in each round how far it is; weir need not hear it so often.
HEARTBEAT_EVERY_S = 0.1
HEARTBEAT_TEXT_MAX = 256

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Retryable(Exception):
    """Raise it when the same call may well succeed later: weir tries the row again."""


class Capacity(Exception):
    """Raise it when what the call needs is full or says "not now": weir slows down and tries the row again.

    retry_after: seconds until it is worth trying, if known. Unlike Retryable it costs the row no attempt.
    """

    def __init__(self, message: object = "no capacity", retry_after: Optional[float] = None) -> None:
        super().__init__(message)
        if retry_after is not None and not 0 <= retry_after < float("inf"):
            raise ValueError(f"retry_after is {retry_after!r}; it is a number of seconds, 0 or more")
        self.retry_after = None if retry_after is None else float(retry_after)


class ProtocolError(Exception):
    """What came in is not the protocol: there is nobody to answer."""


class _Unreadable(Exception):
    """A request that Python cannot read, and that can be answered."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(why)
        self.number = number


class Request:
    """What is known of a call: see request()."""

    __slots__ = ("id", "command", "args", "session", "session_lost", "timestamp", "env", "_send", "_lock", "_beat_at")

    def __init__(self, message: Dict[str, Any], send: Optional[Callable[[bytes], None]] = None) -> None:
        self.id: int = message["id"]
        self.command: str = message["command"]
        self.args: Any = message.get("args")
        #: The session that the row names; None: it names none.
        self.session: Optional[str] = message.get("session")
        #: The worker that held this session's state is gone, so what it remembered is lost.
        self.session_lost: bool = message.get("session_lost") is True
        #: When weir made the request: RFC 3339, UTC. None: it does not say.
        self.timestamp: Optional[str] = message.get("timestamp")
        #: What weir tells of this attempt, by name: which place of a resource it has, say.
        self.env: Dict[str, str] = message.get("env") or {}
        self._send, self._lock, self._beat_at = send, threading.Lock(), float("-inf")

    def heartbeat(self, progress: Optional[float] = None, text: str = "") -> None:
        """Says that the call is alive. progress: how far it is, from 0 to 1; text: a line for people.

        Call it as often as you like, from any thread: ten in a second are sent, and none once the call has ended. It
        never fails for want of somebody who listens.
        """
        if progress is not None and not 0 <= progress <= 1:
            raise ValueError(f"progress is {progress!r}; it is a number from 0 to 1, or None")
        about: Dict[str, Any] = {"id": self.id}
        if progress is not None:
            about["progress"] = float(progress)
        if text:
            about["text"] = str(text)[:HEARTBEAT_TEXT_MAX]
        with self._lock:
            now = time.monotonic()
            if self._send is None or now - self._beat_at < HEARTBEAT_EVERY_S:
                return
            self._beat_at = now
            try:
                self._send(_encode({"heartbeat": about}))
            except OSError:
                self._send = None  # nobody reads any more, which the answer will find too

    def _end(self) -> None:
        """Behind the answer nothing may be said of it."""
        with self._lock:
            self._send = None


_functions: Dict[str, Callable[[Any], Any]] = {}
_current: "contextvars.ContextVar[Request]" = contextvars.ContextVar("weir_request")
_channel: Optional["_Channel"] = None


def register(name: str, function: Callable[[Any], Any]) -> None:
    """Answers the command `name` with what function(args) returns. Not for "ping" and "shutdown", which are weir's."""
    if not isinstance(name, str) or not name:
        raise TypeError(f"the name of a command is a text, not {name!r}")
    if name in ("ping", "shutdown"):
        raise ValueError(f"the command {name!r} is answered by this module; give yours another name")
    if not callable(function):
        raise TypeError(f"the command {name!r} needs a function, not {function!r}")
    if inspect.iscoroutinefunction(function):
        raise TypeError(f"{name!r} is an async function; register lambda args: asyncio.run({function.__name__}(args))")
    if name in _functions:
        raise ValueError(f"the command {name!r} is registered twice")
    _functions[name] = function


def command(name: str) -> Callable[[F], F]:
    """As register(), written above the function: @command("predict")."""

    def decorate(function: F) -> F:
        register(name, function)
        return function

    return decorate


def request() -> Request:
    """The request of the call that is running. A thread that the call starts itself does not know it."""
    try:
        return _current.get()
    except LookupError:
        raise RuntimeError("request() is for the functions of commands, while they run") from None


def heartbeat(progress: Optional[float] = None, text: str = "") -> None:
    """request().heartbeat(progress, text), of the call that is running."""
    request().heartbeat(progress, text)


class Sessions(Generic[T]):
    """What a program remembers of each session, made when it is first needed.

        conversations = Sessions(list)

        @command("chat")
        def chat(args):
            conversation = conversations.get()      # the list of this session
            conversation.append(args["text"])

    weir sends all rows of a session to the same worker, in order, one at a time. It does not say when a session has
    ended, so at most `limit` are kept, and the one that was longest unused is forgotten first.
    """

    def __init__(self, make: Callable[[], T], limit: int = 1000) -> None:
        if limit < 1:
            raise ValueError(f"limit is {limit}; it must be 1 or more")
        self._make, self._limit = make, limit
        # Each with the request that it was made in, which is told only once that the state before was lost.
        self._states: "collections.OrderedDict[str, Tuple[Request, T]]" = collections.OrderedDict()
        self._lock = threading.Lock()

    def get(self) -> T:
        """The state of the running call's session; a new one if the call has none, which nobody keeps."""
        about = request()
        if about.session is None:
            return self._make()
        with self._lock:
            kept = self._states.get(about.session)
            if kept is None or (about.session_lost and kept[0] is not about):
                kept = self._states[about.session] = (about, self._make())
                if len(self._states) > self._limit:
                    self._states.popitem(last=False)
            self._states.move_to_end(about.session)
            return kept[1]

    def __len__(self) -> int:
        return len(self._states)


# ---- messages ----------------------------------------------------------------------------------------------------


def _refuse_constant(name: str) -> None:
    raise ProtocolError(f"a request is not JSON: it holds {name}")


def _short_int(digits: str) -> int:
    return int(digits) if len(digits) < DIGITS_MAX else 0


def _encode(message: Dict[str, Any]) -> bytes:
    """The message's JSON. TypeError, ValueError or RecursionError: it has none."""
    try:
        return json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        # Half a surrogate pair has no UTF-8, but it has an escape.
        return json.dumps(message, allow_nan=False, separators=(",", ":")).encode()


def _decode(body: bytes) -> Dict[str, Any]:
    unreadable = None
    try:
        text = body.decode()
        try:
            message = json.loads(text, parse_constant=_refuse_constant)
        except (json.JSONDecodeError, RecursionError):
            raise
        except ValueError as e:
            # JSON has integers of any length; Python, by default, has not.
            unreadable = str(e)
            message = json.loads(text, parse_int=_short_int, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as e:
        raise ProtocolError(f"a request is not JSON: {e}") from None
    if not isinstance(message, dict):
        raise ProtocolError(f"a request is no JSON object: {body[:40]!r}")
    number, name = message.get("id"), message.get("command")
    if not isinstance(number, int) or isinstance(number, bool):
        raise ProtocolError(f"a request has no id that is a whole number: {body[:80]!r}")
    if not isinstance(name, str):
        raise ProtocolError(f"a request has no command: {body[:80]!r}")
    if unreadable is not None:
        raise _Unreadable(number, unreadable)
    return message


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")[:-6] + "Z"


def _success(number: int, result: Any) -> bytes:
    body = _encode({"id": number, "success": True, "result": result, "timestamp": _now()})
    if len(body) > MESSAGE_BYTES_MAX:
        raise ValueError(f"it has {len(body)} bytes as JSON, and a message has {MESSAGE_BYTES_MAX} at most")
    return body


def _failure(number: int, kind: str, text: str, **more: Any) -> bytes:
    error: Dict[str, Any] = {"type": kind, "message": text[:ERROR_TEXT_MAX], "retryable": False, "capacity": False}
    error.update(more)
    return _encode({"id": number, "success": False, "error": error, "timestamp": _now()})


def _failure_of(number: int, problem: BaseException) -> bytes:
    try:
        text = str(problem) or repr(problem)
    except Exception as e:
        text = f"(its text cannot be had: {type(e).__name__})"
    more: Dict[str, Any] = {}
    if isinstance(problem, Capacity):
        more = {"retryable": True, "capacity": True}
        if problem.retry_after is not None:
            more["retry_after"] = problem.retry_after
    elif isinstance(problem, Retryable):
        more = {"retryable": True}
    return _failure(number, type(problem).__name__, text, **more)


def _log(text: str) -> None:
    """In one write, so that what several threads say does not mix."""
    try:
        os.write(2, text.rstrip("\n").encode("utf-8", "replace") + b"\n")
    except OSError:
        pass


# ---- the two pipes -----------------------------------------------------------------------------------------------


class _Channel:
    """The packet stream, on descriptors that nobody else has."""

    def __init__(self) -> None:
        # dup() gives descriptors that child processes do not inherit.
        self._in, self._out = os.dup(0), os.dup(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        # What Python has buffered so far goes where descriptor 1 points to from now on.
        os.dup2(2, 1)
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(line_buffering=True)
        self._lock = threading.Lock()
        self._have: Deque[bytes] = collections.deque()
        self._have_bytes = 0
        os.register_at_fork(after_in_child=self._close)

    def _close(self) -> None:
        """A child that was forked must not keep weir from seeing that the worker has ended."""
        for fd in (self._in, self._out):
            try:
                os.close(fd)
            except OSError:
                pass
        self._in = self._out = -1

    def _take(self, count: int) -> Optional[bytes]:
        """The next `count` bytes; None: the input has ended."""
        while self._have_bytes < count:
            # Only what has come is kept, so a length alone costs no memory.
            piece = os.read(self._in, max(READ_BYTES, min(count - self._have_bytes, PIECE_BYTES_MAX)))
            if not piece:
                return None
            self._have.append(piece)
            self._have_bytes += len(piece)
        joined = self._have[0] if len(self._have) == 1 else b"".join(self._have)
        self._have.clear()
        if len(joined) > count:
            self._have.append(joined[count:])
        self._have_bytes = len(joined) - count
        return joined[:count]

    def receive(self) -> Optional[Dict[str, Any]]:
        """The next request; None: the input has ended."""
        head = self._take(4)
        if head is None:
            return None
        (length,) = struct.unpack(">I", head)
        if length > MESSAGE_BYTES_MAX:
            raise ProtocolError(f"what came in is not the protocol: it begins with {head!r}")
        body = self._take(length)
        return None if body is None else _decode(body)

    def wait_unread(self, timeout_s: float) -> bool:
        """Waits until nobody can read what is sent; False: time is up."""
        poll = select.poll()
        # Errors are told unasked.
        poll.register(self._out, 0)
        return bool(poll.poll(timeout_s * 1000))

    def send(self, body: bytes) -> None:
        """OSError: nobody reads any more."""
        parts: List[memoryview] = [memoryview(struct.pack(">I", len(body))), memoryview(body)]
        with self._lock:
            while parts:
                written = os.writev(self._out, parts)
                while parts and written >= len(parts[0]):
                    written -= len(parts.pop(0))
                if parts:
                    parts[0] = parts[0][written:]


def _take_channel() -> _Channel:
    global _channel
    if _channel is None:
        _channel = _Channel()
    return _channel


def _is_pipe(fd: int) -> bool:
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


# ---- running -----------------------------------------------------------------------------------------------------


class _Worker:
    """The state of run(): a reader that feeds a queue, and the threads that take from it."""

    def __init__(self, channel: _Channel, max_in_flight: int, grace: float) -> None:
        self.channel, self.max_in_flight, self.grace = channel, max_in_flight, grace
        self.queue: "queue.SimpleQueue[Optional[Dict[str, Any]]]" = queue.SimpleQueue()
        self.shutdown_id: Optional[int] = None
        self.stopping = False
        self.input_ended = False
        self.failed = False
        self.all_done = threading.Event()

    # On the reader's thread.

    def read(self) -> None:
        try:
            while self._read_one():
                pass
        except ProtocolError as e:
            self.failed = True
            _log(f"weir_worker: {e}; the worker ends")
        except OSError as e:
            _log(f"weir_worker: the pipes to weir failed ({e}); the worker ends")
        except BaseException:
            # Out of memory, say. A worker that does not read is worse than none.
            self.failed = True
            _log(f"weir_worker: no request can be read any more; the worker ends\n{traceback.format_exc()}")
        self.input_ended = True
        self._stop()
        # Whoever has said `shutdown` may close its end at once, and still wants the answers.
        while self.shutdown_id is not None and not self.all_done.is_set() and not self.channel.wait_unread(0.1):
            pass
        if not self.all_done.wait(self.grace):
            _log(f"weir_worker: the input has ended and a call still runs after {self.grace:g} s; it is cut off")
            os._exit(1)

    def _read_one(self) -> bool:
        try:
            message = self.channel.receive()
        except _Unreadable as e:
            self.channel.send(_failure(e.number, "InvalidRequest", f"Python cannot read this row: {e}"))
            return True
        if message is None:
            return False
        self._take(message)
        return True

    def _take(self, message: Dict[str, Any]) -> None:
        if message["command"] == "ping":
            self.channel.send(_success(message["id"], {"max_in_flight": self.max_in_flight}))
        elif message["command"] == "shutdown":
            self.shutdown_id = message["id"]
            self._stop()
        elif self.stopping:
            self.channel.send(_failure(message["id"], "ShuttingDown", "the worker is shutting down", retryable=True))
        else:
            self.queue.put(message)

    def _stop(self) -> None:
        if not self.stopping:
            self.stopping = True
            for _ in range(self.max_in_flight):
                self.queue.put(None)

    # On the threads that run calls.

    def work(self) -> None:
        while True:
            message = self.queue.get()
            if message is None:
                return
            # Nobody waits for an answer when the input has ended unannounced.
            if not self.input_ended or self.shutdown_id is not None:
                self._answer(message)

    def _answer(self, message: Dict[str, Any]) -> None:
        body = self._call(message)
        try:
            self.channel.send(body)
        except OSError as e:
            if not self.input_ended:
                _log(f"weir_worker: an answer could not be sent ({e}); the worker ends")
            self.input_ended, self.shutdown_id = True, None
            self._stop()

    def _call(self, message: Dict[str, Any]) -> bytes:
        number, name = message["id"], message["command"]
        function = _functions.get(name)
        if function is None:
            known = ", ".join(sorted(_functions)) or "none"
            return _failure(number, "UnknownCommand", f"there is no command {name!r}; this worker has: {known}")
        about = Request(message, self.channel.send)
        token = _current.set(about)
        try:
            result = function(message.get("args"))
        except (Capacity, Retryable) as e:
            return _failure_of(number, e)
        except BaseException as e:
            # SystemExit too: one call has no right to end the others.
            _log(f"weir_worker: call {number} of {name!r} failed\n{traceback.format_exc()}")
            return _failure_of(number, e)
        finally:
            about._end()
            _current.reset(token)
        try:
            return _success(number, result)
        except Exception as e:
            return _failure(number, "InvalidResult", f"the result of {name!r} cannot be sent: {e}")


def _ignore(number: int, frame: object) -> None:
    """Ctrl-C at a terminal is weir's business. A handler, unlike SIG_IGN, is not inherited by child processes."""


def _work_on_threads(worker: _Worker) -> None:
    threads = [threading.Thread(target=worker.work, name=f"weir-call-{i}", daemon=True)
               for i in range(worker.max_in_flight)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run(max_in_flight: int = 1, grace: float = 2.0) -> None:
    """Answers requests until weir says `shutdown` or the input ends; then it returns, and the program should end.

    max_in_flight: how many calls may run at once. With 1 they run on the thread that called run(), with more on threads
    of their own; weir sends no more than its pool allows.
    grace: seconds that a running call has to end once weir is gone.
    """
    if not isinstance(max_in_flight, int) or not 1 <= max_in_flight <= IN_FLIGHT_MAX:
        raise ValueError(f"max_in_flight is {max_in_flight!r}; it is a whole number from 1 to {IN_FLIGHT_MAX}")
    if not grace >= 0:
        raise ValueError(f"grace is {grace!r}; it is a number of seconds, 0 or more")
    if _channel is None and os.isatty(0):
        sys.exit("This program is a worker: weir starts it and speaks to it over pipes.\n"
                 f"    weir run --worker 'python3 {sys.argv[0]}' rows.jsonl\n"
                 f"    weir worker check 'python3 {sys.argv[0]}'")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _ignore)
    worker = _Worker(_take_channel(), max_in_flight, grace)
    threading.Thread(target=worker.read, name="weir-reader", daemon=True).start()
    if max_in_flight == 1:
        worker.work()
    else:
        _work_on_threads(worker)
    worker.all_done.set()
    if worker.failed:
        sys.exit(1)
    if worker.shutdown_id is not None:
        try:
            worker.channel.send(_success(worker.shutdown_id, None))
        except OSError:
            pass


# Loading a model prints; none of it may get between the packets. A child process that has WEIR_WORKER from its parent
# does not have these pipes.
if os.environ.get("WEIR_WORKER") and _is_pipe(0) and _is_pipe(1):
    _take_channel()
