"""A worker without the SDK that does one thing wrong, or several: what the tests hold against weir.

    python3 bad_worker.py [WORD | NAME=VALUE]...           workerkit.bad_worker(...) makes the command

Without a word it is a good worker: it answers `ping`, ends at `shutdown` and at the end of its input, and gives the
args of the commands process and echo back. Words:

  as it starts      crash-at-start, hang-at-start, slow-start=S, banner (prints text to standard output), leave-child
                    (a child that outlives it, in its group, with none of its pipes), flood-stderr[=BYTES] (without end)
  at its calls      crash, crash-mid-frame, half-frame-hang, garbage (text instead of a frame), garbage-json,
                    not-object, empty-frame, latin-1 (bytes that are not UTF-8), no-id, no-success, text-id, float-id,
                    unknown-id, answer-twice, late=S, hang, no-answer (to calls; answers pings), claim-4g (a length of
                    4 GiB - 1), claim-over (64 MiB + 1), eat-memory=BYTES (more at each call, and keeps it),
                    fork-and-exit (a child holds the pipes), question-marks (for what is not ASCII), print (text, and
                    then a good answer), print-after (the other way round)
                    close-output (and lives on),
                    beat[=stray|late|progress|text|no-id] (a heartbeat before a good answer; of another request, behind the
                    answer, or with that wrong)
  answers           fail[=TEXT], fail-object, retryable, capacity[=RETRY_AFTER], about (who answers, and what it knows)
  at other times    pings=N (answers only the first N), ping-fails[=A-B] (the Ath to the Bth), stop-reading (after its
                    first ping), close-input (after its first ping, and lives on),
                    close-input=unread (when there is more to read), work=S (before each answer), stop-at=BYTES (reads no
                    further when a larger message comes),
                    ignore-term, ignore-shutdown, ignore-eof, shutdown-status=N, exit-after=N (calls), yes-to-all (any
                    command), lose-second (a request that comes while another is there), small-buffer=BYTES (dies of a
                    larger message)
  it says           max_in_flight=N, reverse=N (answers N requests at a time, the last first)

  which calls       at=N: from the N-th on (1); times=N: that often (without end); if=TEXT: only requests that hold it
                    first=PATH: only the one, of all workers, that makes this file
                    any=PERMILLE: so many calls of a thousand, each with a fault of its own by chance
  which lives       once=PATH: only in the life that makes this file; after that it is good
  what it tells     log=PATH: gets a line for each event: PID start | ping | call ID COMMAND | fork PID | term | eof |
                    shutdown
"""
import json
import os
import random
import select
import signal
import struct
import sys
import threading

LIMIT = 64 << 20
MINUTE_S = 60.0
CALL_FAULTS = {"crash", "crash-mid-frame", "half-frame-hang", "garbage", "garbage-json", "not-object", "empty-frame",
               "latin-1", "no-id", "no-success", "text-id", "float-id", "unknown-id", "answer-twice", "late", "hang",
               "no-answer", "claim-4g", "claim-over", "eat-memory", "fork-and-exit", "question-marks", "print",
               "print-after", "fail", "fail-object", "retryable", "capacity", "about", "close-output",
               "beat"}
OTHERS = {"crash-at-start", "hang-at-start", "slow-start", "banner", "leave-child", "flood-stderr", "pings", "ping-fails",
          "stop-reading", "bye", "close-input", "work", "stop-at", "ignore-term", "ignore-shutdown", "ignore-eof",
          "shutdown-status", "exit-after", "yes-to-all", "lose-second", "small-buffer", "max_in_flight", "reverse", "at",
          "times", "if", "once", "first", "any", "log"}

words = {}
calls = matched = pings = 0
eaten = []
sessions = {}


def has(name):
    return name in words


def number(name, default=0.0):
    return float(words.get(name) or default)


def log(*what):
    if has("log"):
        fd = os.open(words["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        os.write(fd, (" ".join(str(w) for w in (os.getpid(),) + what) + "\n").encode())
        os.close(fd)


def wait(seconds):
    select.select([], [], [], seconds)


def wait_for_ever():
    """For longer than any test; a worker that was forgotten does end."""
    wait(10 * MINUTE_S)
    os._exit(9)


def write(data):
    while data:
        data = data[os.write(1, data):]


def send(body):
    if not isinstance(body, bytes):
        body = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
    write(struct.pack(">I", len(body)) + body)


def take(count):
    """`count` bytes of the input; ends the worker when it ends, or stays if it is told to."""
    have = []
    while count:
        piece = os.read(0, min(count, 1 << 20))
        if not piece:
            log("eof")
            if has("bye"):
                write(b"Good bye.\n")
            if has("ignore-eof"):
                wait_for_ever()
            os._exit(0)
        have.append(piece)
        count -= len(piece)
    return b"".join(have)


def receive():
    (length,) = struct.unpack(">I", take(4))
    if has("small-buffer") and length > number("small-buffer"):
        os.write(2, b"bad_worker: message too long\n")
        os._exit(1)
    if has("stop-at") and length > number("stop-at"):
        log("stop", length)
        wait_for_ever()
    return json.loads(take(length))


def waiting():
    return bool(select.select([0], [], [], 0.2)[0])


# ---- faults at a call: each gets the request and its good answer ------------------------------------------------


def half(request, answer):
    body = json.dumps(answer).encode()
    write(struct.pack(">I", len(body)) + body[:len(body) // 2])


def crash(request, answer):
    os._exit(3)


def crash_mid_frame(request, answer):
    half(request, answer)
    os._exit(3)


def half_frame_hang(request, answer):
    half(request, answer)
    wait_for_ever()


def print_before(request, answer):
    write(b"now working on it\n")
    send(answer)


def print_after(request, answer):
    send(answer)
    write(b"that was it\n")


def answer_twice(request, answer):
    send(answer)
    send(answer)


def late(request, answer):
    wait(number("late"))
    send(answer)


def hang(request, answer):
    wait_for_ever()


def claim(length):
    def fault(request, answer):
        write(struct.pack(">I", length) + b'{"id":')
        wait_for_ever()
    return fault


def eat_memory(request, answer):
    eaten.append(b"m" * int(number("eat-memory", 64 << 20)))
    send(answer)


def fork_and_exit(request, answer):
    child = os.fork()
    if child == 0:
        wait_for_ever()
    log("fork", child)
    os._exit(0)


def without(name):
    return lambda request, answer: send({k: v for k, v in answer.items() if k != name})


def changed(**more):
    return lambda request, answer: send(dict(answer, **more))


def failed(error):
    return lambda request, answer: send({"id": request["id"], "success": False, "error": error})


def capacity(request, answer):
    error = {"type": "Full", "message": "come back later", "capacity": True}
    if words.get("capacity"):
        error["retry_after"] = number("capacity")
    failed(error)(request, answer)


def close_output(request, answer):
    os.close(1)
    wait_for_ever()


def about(request, answer):
    result = {"pid": os.getpid(), "worker": os.environ.get("WEIR_WORKER"), "pool": os.environ.get("WEIR_POOL"),
              "calls": calls, "session": request.get("session"), "session_lost": request.get("session_lost", False),
              "seen": sessions.get(request.get("session"), 0), "args": request.get("args")}
    send(dict(answer, result=result))


def beat(request, answer):
    what = words["beat"]
    told = {"id": request["id"] + (1000 if what == "stray" else 0), "progress": 7 if what == "progress" else 0.5,
            "text": 3 if what == "text" else "half of it"}
    if what == "no-id":
        del told["id"]
    if what == "late":
        send(answer)
    send({"heartbeat": told})
    if what != "late":
        send(answer)


def fault_functions():
    return {
        "crash": crash, "crash-mid-frame": crash_mid_frame, "half-frame-hang": half_frame_hang,
        "garbage": lambda r, a: write(b"Traceback (most recent call last):\n"),
        "garbage-json": lambda r, a: send(b'{"id": %d, "success": maybe}' % r["id"]),
        "not-object": lambda r, a: send([r["id"], True]), "empty-frame": lambda r, a: send(b""),
        "latin-1": lambda r, a: send(json.dumps(a, ensure_ascii=False).encode("latin-1", "replace")),
        "no-id": without("id"), "no-success": without("success"),
        "text-id": lambda r, a: send(dict(a, id=str(r["id"]))),
        "float-id": lambda r, a: send(b'{"id":%s,"success":true}' % (b"%g" % r["id"])),
        "unknown-id": lambda r, a: send(dict(a, id=r["id"] + 1000)),
        "answer-twice": answer_twice, "late": late, "hang": hang, "no-answer": lambda r, a: None,
        "claim-4g": claim(0xffffffff), "claim-over": claim(LIMIT + 1), "eat-memory": eat_memory,
        "fork-and-exit": fork_and_exit, "print": print_before, "print-after": print_after,
        "question-marks": lambda r, a: send(json.dumps(a, ensure_ascii=False).encode("ascii", "replace")),
        "fail": failed(words.get("fail") or "it failed"),
        "fail-object": failed({"type": "Broken", "message": "it failed", "retryable": False, "capacity": False}),
        "retryable": failed({"type": "Busy", "message": "try again", "retryable": True}),
        "capacity": capacity, "about": about, "beat": beat, "close-output": close_output,
    }


# ---- the worker -------------------------------------------------------------------------------------------------


# What any=PERMILLE chooses from.
ANY = ["crash", "crash-mid-frame", "garbage", "garbage-json", "not-object", "no-success", "unknown-id", "answer-twice",
       "print", "print-after", "claim-4g", "claim-over", "fork-and-exit", "close-output", "retryable", "capacity"]


def makes(path):
    """Whether the file was not there before; then it is now."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    return True


def fault_of(request):
    """The fault that this call gets; None: a good answer."""
    global matched
    if has("any") and random.random() * 1000 < number("any"):
        return random.choice(ANY)
    if not has("if") or words["if"] in json.dumps(request, ensure_ascii=False):
        matched += 1
        nth = matched - int(number("at", 1))
        if nth >= 0 and (not has("times") or nth < number("times")) and (not has("first") or makes(words["first"])):
            return next((name for name in words if name in CALL_FAULTS), None)
    return None


def answer_call(request):
    global calls
    calls += 1
    log("call", request["id"], request["command"])
    if request.get("session"):
        known = 0 if request.get("session_lost") else sessions.get(request["session"], 0)
        sessions[request["session"]] = known + 1
    if has("work"):
        wait(number("work"))
    answer = {"id": request["id"], "success": True, "result": request.get("args")}
    fault = fault_of(request)
    if request["command"] not in ("process", "echo") and not has("yes-to-all"):
        answer = {"id": request["id"], "success": False, "error": {"type": "UnknownCommand", "message": "no such command"}}
    if fault is None:
        send(answer)
    else:
        fault_functions()[fault](request, answer)
    if has("exit-after") and calls >= number("exit-after"):
        os._exit(0)


def answer_ping(request):
    global pings
    pings += 1
    log("ping")
    if has("pings") and pings > number("pings"):
        return
    first, _, last = words.get("ping-fails", "").partition("-")
    if has("ping-fails") and int(first or 1) <= pings <= int(last or first or 1 << 30):
        send({"id": request["id"], "success": False, "error": "not well"})
    elif has("max_in_flight"):
        send({"id": request["id"], "success": True, "result": {"max_in_flight": int(number("max_in_flight"))}})
    else:
        send({"id": request["id"], "success": True})
    if has("close-input"):
        if words["close-input"]:
            select.select([0], [], [])
        os.close(0)
    if has("stop-reading") or has("close-input"):
        wait_for_ever()


def serve():
    kept = []
    while True:
        request = receive()
        if request["command"] == "ping":
            answer_ping(request)
        elif request["command"] == "shutdown":
            log("shutdown")
            if not has("ignore-shutdown"):
                send({"id": request["id"], "success": True})
                os._exit(int(number("shutdown-status")))
        else:
            if has("lose-second") and waiting():
                receive()
            kept.append(request)
            if len(kept) >= number("reverse", 1):
                for one in reversed(kept):
                    answer_call(one)
                kept = []


def flood():
    left = int(number("flood-stderr")) or 1 << 62
    line = b"the same line again and again, to fill whatever is behind it, as a library may do\n"
    while left > 0:
        left -= os.write(2, line)


def on_term(*_):
    log("term")
    if not has("ignore-term"):
        os._exit(143)


def leave_child():
    child = os.fork()
    if child == 0:
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(nothing, fd)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        wait_for_ever()
    log("fork", child)


def main():
    for word in sys.argv[1:]:
        name, _, value = word.partition("=")
        if name not in CALL_FAULTS | OTHERS:
            sys.exit(f"bad_worker: no such fault: {word}")
        words[name] = value
    if has("once") and not makes(words["once"]):
        told = {k: v for k, v in words.items() if k in ("log", "max_in_flight")}
        words.clear()
        words.update(told)
    signal.signal(signal.SIGTERM, on_term)
    log("start")
    if has("crash-at-start"):
        sys.exit("bad_worker: cannot start")
    if has("hang-at-start"):
        wait_for_ever()
    if has("banner"):
        write(b"Loading model...\n")
    if has("leave-child"):
        leave_child()
    if has("flood-stderr"):
        threading.Thread(target=flood, daemon=True).start()
    wait(number("slow-start"))
    serve()


main()
