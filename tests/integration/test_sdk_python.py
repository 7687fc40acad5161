"""The Python SDK (sdk/python/weir_worker.py), driven over its pipes."""
# run-tests: parallel
# run-tests: timeout=300
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from weirtest import Case, wait_until  # noqa: E402
from workerkit import SDK, Worker, frame, is_running  # noqa: E402

HEAD = f"import sys\nsys.path.insert(0, {SDK!r})\nimport weir_worker\nfrom weir_worker import *\n"
# A call that runs until a file is there: no test has to guess how long something takes.
UNTIL = """
import os, select, time
def until(path):
    while not os.path.exists(path):
        select.select([], [], [], 0.005)
    return path
"""
ECHO = """
@command("process")
def process(args):
    return args
"""


class SdkCase(Case):
    def worker(self, body, run="run()", env=None, under_weir=True, python=(), head=HEAD):
        path = self.write("worker.py", head + UNTIL + body + "\n" + run + "\n")
        worker = Worker([sys.executable, *python, path], env=env, under_weir=under_weir)
        self.addCleanup(worker.end)
        return worker

    def touch(self, name):
        return self.write(name, "")


class Calls(SdkCase):
    def test_result_is_what_the_function_returns(self):
        worker = self.worker(ECHO)
        for value in (None, True, 1.5, -7, "x", [], {"a": [1, {"b": None}]}):
            self.assertEqual(worker.result("process", value), value)

    def test_registered_and_decorated_functions_answer_by_name(self):
        worker = self.worker("register('a', lambda args: 'A')\n@command('b')\ndef b(args):\n    return 'B'\n"
                             "assert b(0) == 'B'")
        self.assertEqual([worker.result("a"), worker.result("b")], ["A", "B"])

    def test_response_holds_id_and_time(self):
        worker = self.worker(ECHO)
        answer = worker.call("process", 1)
        self.assertRegex(answer["timestamp"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        worker.send_raw({"id": 2 ** 53 - 1, "command": "process", "args": 3})
        self.assertEqual(worker.receive()["id"], 2 ** 53 - 1)

    def test_request_without_optional_members_is_answered(self):
        worker = self.worker("@command('process')\ndef f(args):\n    r = request()\n"
                             "    return [args, r.session, r.session_lost, r.timestamp]")
        worker.send_raw({"id": 1, "command": "process"})
        self.assertEqual(worker.receive()["result"], [None, None, False, None])

    def test_unknown_members_are_ignored(self):
        worker = self.worker(ECHO)
        self.assertEqual(worker.result("process", 1, trace="abc", deadline_ms=10), 1)

    def test_unknown_command_is_an_error_that_lists_the_known_ones(self):
        error = self.worker(ECHO).error("predict", 1)
        self.assertEqual(error["type"], "UnknownCommand")
        self.assertFalse(error["retryable"])
        self.assertIn("process", error["message"])

    def test_many_calls_in_a_row_without_waiting(self):
        worker = self.worker(ECHO)
        numbers = [worker.send("process", i) for i in range(500)]
        answers = [worker.receive() for _ in numbers]
        self.assertEqual([a["id"] for a in answers], numbers)
        self.assertEqual([a["result"] for a in answers], list(range(500)))

    def test_text_of_every_kind_survives(self):
        worker = self.worker(ECHO)
        texts = ["", "Grüße", "\U0001f600 𝄞", "\u0000\u0001\u001f\u007f", '"\\/\b\f\n\r\t', "\u2028\u2029\ufeff\uffff"]
        self.assertEqual(worker.result("process", texts), texts)

    def test_half_of_a_surrogate_pair_survives(self):
        worker = self.worker(ECHO)
        worker.send_raw('{"id":1,"command":"process","args":"a\\ud800b"}')
        self.assertEqual(worker.receive()["result"], "a\ud800b")

    def test_large_messages(self):
        worker = self.worker(ECHO)
        for size in (65531, 1 << 20, 20 << 20):
            text = "ä" * (size // 2)
            self.assertEqual(worker.result("process", text, deadline_s=60), text)

    def test_message_in_small_pieces(self):
        worker = self.worker(ECHO)
        for byte in frame({"id": 1, "command": "process", "args": "abc"}):
            worker.send_bytes(bytes([byte]))
        self.assertEqual(worker.receive()["result"], "abc")

    def test_several_messages_in_one_piece(self):
        worker = self.worker(ECHO)
        worker.send_bytes(b"".join(frame({"id": i, "command": "process", "args": "x" * i}) for i in range(1, 100)))
        for i in range(1, 100):
            self.assertEqual(worker.receive()["result"], "x" * i)


class Heartbeats(SdkCase):
    def beats(self, worker, *args):
        """The heartbeats of a call, and its result."""
        number = worker.send("process", *args)
        told = []
        while True:
            message = json.loads(worker.receive_bytes())
            if "heartbeat" not in message:
                self.assertEqual((message["id"], message["success"]), (number, True), message)
                return told, message["result"]
            self.assertEqual(list(message), ["heartbeat"])
            self.assertEqual(message["heartbeat"].pop("id"), number)
            told.append(message["heartbeat"])

    def test_a_call_says_how_far_it_is(self):
        worker = self.worker("@command('process')\ndef f(args):\n    heartbeat(0.25, 'a quarter')\n    return args")
        self.assertEqual(self.beats(worker, 7), ([{"progress": 0.25, "text": "a quarter"}], 7))

    def test_only_that_it_is_alive(self):
        worker = self.worker("@command('process')\ndef f(args):\n    request().heartbeat()")
        self.assertEqual(self.beats(worker), ([{}], None))

    def test_a_loop_that_says_it_in_each_round_sends_few(self):
        worker = self.worker("@command('process')\ndef f(args):\n    end = time.monotonic() + 0.35\n    n = 0\n"
                             "    while time.monotonic() < end:\n        n += 1\n        heartbeat(0, str(n))\n    return n")
        told, rounds = self.beats(worker)
        self.assertGreater(rounds, len(told))
        self.assertTrue(1 <= len(told) <= 4, told)

    def test_none_comes_behind_the_answer(self):
        worker = self.worker("kept = []\n@command('process')\ndef f(args):\n"
                             "    for r in kept:\n        r.heartbeat(1, 'late')\n    kept.append(request())")
        self.assertEqual(self.beats(worker), ([], None))
        self.assertEqual(self.beats(worker), ([], None))

    def test_another_thread_may_say_it(self):
        worker = self.worker("import threading\n@command('process')\ndef f(args):\n    r = request()\n"
                             "    t = threading.Thread(target=lambda: r.heartbeat(0.5))\n    t.start()\n    t.join()")
        self.assertEqual(self.beats(worker), ([{"progress": 0.5}], None))

    def test_what_is_no_progress_is_told_to_the_author(self):
        worker = self.worker("@command('process')\ndef f(args):\n    heartbeat(args)")
        for progress in (-1, 1.5):
            self.assertIn("a number from 0 to 1", worker.error("process", progress)["message"])

    def test_a_call_knows_its_environment(self):
        worker = self.worker("@command('process')\ndef f(args):\n    return request().env")
        self.assertEqual(worker.result("process", 1, env={"WEIR_SLOT": "3"}), {"WEIR_SLOT": "3"})
        self.assertEqual(worker.result("process", 1), {})


class Errors(SdkCase):
    def test_exception_becomes_an_error_and_its_traceback_goes_to_the_log(self):
        worker = self.worker("@command('process')\ndef f(args):\n    raise ValueError('too ' + args)\n" +
                             "register('echo', lambda a: a)")
        self.assertEqual(worker.error("process", "long"),
                         {"type": "ValueError", "message": "too long", "retryable": False, "capacity": False})
        worker.wait_err("Traceback")
        worker.wait_err("ValueError: too long")
        self.assertEqual(worker.result("echo", 1), 1)

    def test_retryable_and_capacity(self):
        worker = self.worker("""
@command("process")
def f(args):
    if args == "retry":
        raise Retryable("again")
    if args == "full":
        raise Capacity("full")
    raise Capacity("later", retry_after=2.5)
class Mine(Capacity):
    pass
@command("mine")
def g(args):
    raise Mine()
""")
        self.assertEqual(worker.error("process", "retry"),
                         {"type": "Retryable", "message": "again", "retryable": True, "capacity": False})
        self.assertEqual(worker.error("process", "full"),
                         {"type": "Capacity", "message": "full", "retryable": True, "capacity": True})
        self.assertEqual(worker.error("process", "")["retry_after"], 2.5)
        self.assertEqual(worker.error("mine")["type"], "Mine")
        self.assertTrue(worker.error("mine")["capacity"])
        self.assertNotIn("Traceback", worker.err())

    def test_result_that_is_no_json_is_an_error_of_that_call(self):
        worker = self.worker("""
import datetime
deep = []
for _ in range(100000):
    deep = [deep]
values = {"nan": float("nan"), "inf": [float("-inf")], "set": {1}, "bytes": b"x", "object": object(),
          "time": datetime.datetime.now(), "deep": deep, "large": "x" * (64 << 20), "good": {"a": 1}, "key": {(1, 2): 3}}
register("process", lambda args: values[args])
""")
        for name in ("nan", "inf", "set", "bytes", "object", "time", "deep", "large", "key"):
            error = worker.error("process", name, deadline_s=60)
            self.assertEqual(error["type"], "InvalidResult", name)
            self.assertFalse(error["retryable"])
        self.assertEqual(worker.result("process", "good"), {"a": 1})

    def test_exception_whose_text_fails_is_an_error(self):
        worker = self.worker("class E(Exception):\n    def __str__(self):\n        raise KeyError('no')\n"
                             "@command('process')\ndef f(args):\n    raise E()")
        self.assertEqual(worker.error("process")["type"], "E")

    def test_exception_with_endless_text_is_cut(self):
        worker = self.worker("@command('process')\ndef f(args):\n    raise ValueError('x' * (80 << 20))")
        self.assertLess(len(worker.error("process", deadline_s=60)["message"]), 1 << 20)

    def test_call_that_exits_does_not_end_the_worker(self):
        worker = self.worker("@command('process')\ndef f(args):\n    sys.exit(3)\n")
        self.assertEqual(worker.error("process")["type"], "SystemExit")
        self.assertTrue(worker.ping()["success"])

    def test_recursion_without_end_is_an_error(self):
        worker = self.worker("@command('process')\ndef f(args):\n    return f(args)\n")
        self.assertEqual(worker.error("process")["type"], "RecursionError")


    def test_row_that_python_cannot_read_fails_alone(self):
        worker = self.worker(ECHO)
        worker.send_raw('{"id":1,"command":"process","args":[%s]}' % ("7" * 5000))
        answer = worker.receive()
        if sys.version_info >= (3, 11):
            self.assertEqual((answer["id"], answer["error"]["type"]), (1, "InvalidRequest"))
            self.assertIn("digits", answer["error"]["message"])
        self.assertEqual(worker.result("process", 10 ** 500), 10 ** 500)

    def test_request_that_memory_does_not_suffice_for_ends_the_worker(self):
        worker = self.worker("import resource\nresource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))" + ECHO)
        worker.ping()
        try:
            worker.send_raw(b'{"id":1,"command":"process","args":[' + b'[],' * (20 << 20) + b'0]}', deadline_s=60)
        except BrokenPipeError:
            pass
        self.assertEqual(worker.wait_end(60), 1)
        self.assertIn("MemoryError", worker.err())


class Registering(SdkCase):
    def test_mistakes_are_told_at_once(self):
        sys.path.insert(0, SDK)
        self.addCleanup(sys.path.remove, SDK)
        import weir_worker as sdk

        async def wait(args):
            return args

        for name, function, error in (("ping", len, ValueError), ("shutdown", len, ValueError), ("", len, TypeError),
                                      (3, len, TypeError), ("x", None, TypeError), ("x", wait, TypeError)):
            with self.assertRaises(error):
                sdk.register(name, function)
        sdk.register("once", len)
        with self.assertRaisesRegex(ValueError, "twice"):
            sdk.register("once", len)
        with self.assertRaisesRegex(RuntimeError, "while they run"):
            sdk.request()
        for bad in (0, -1, 1.5, 10 ** 6):
            with self.assertRaises(ValueError):
                sdk.run(max_in_flight=bad)
        for bad in (-1, float("nan"), float("inf")):
            with self.assertRaises(ValueError):
                sdk.Capacity("x", retry_after=bad)

    def test_at_a_terminal_it_says_how_it_is_run(self):
        path = self.write("worker.py", HEAD + ECHO + "run()\n")
        master, slave = pty.openpty()
        try:
            done = subprocess.run([sys.executable, path], stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  timeout=60)
        finally:
            os.close(master)
            os.close(slave)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"weir run --worker", done.stderr)


class StrayOutput(SdkCase):
    def check(self, body, *expected, **how):
        worker = self.worker(body, **how)
        self.assertEqual(worker.result("process", "x", deadline_s=30), "x")
        worker.send("shutdown")
        self.assertTrue(worker.receive()["success"])
        self.assertEqual(worker.wait_end(), 0)
        self.assertEqual(worker.rest(), b"")
        for text in expected:
            self.assertIn(text, worker.err())

    def test_print_goes_to_the_log(self):
        self.check("print('as it loads')\n@command('process')\ndef f(args):\n    print('as it works')\n    return args",
                   "as it loads\n", "as it works\n")

    def test_print_before_run_without_weir_goes_to_the_log(self):
        self.check("print('as it loads')" + ECHO, "as it loads\n", under_weir=False, env={"PYTHONUNBUFFERED": ""})

    def test_print_is_in_the_log_while_the_call_runs(self):
        go = self.path("go")
        worker = self.worker(f"@command('process')\ndef f(args):\n    print('begun')\n    return until({go!r})",
                             env={"PYTHONUNBUFFERED": ""})
        worker.send("process")
        worker.wait_err("begun")
        self.touch("go")
        worker.receive()

    def test_writing_to_descriptor_1_goes_to_the_log(self):
        self.check("os.write(1, b'raw at start\\n')\n@command('process')\ndef f(args):\n    os.write(1, b'raw\\n')\n"
                   "    return args", "raw at start\n", "raw\n")

    def test_printf_of_a_c_library_goes_to_the_log(self):
        self.check("import ctypes\nlibc = ctypes.CDLL(None)\n@command('process')\ndef f(args):\n"
                   "    libc.printf(b'from C\\n')\n    libc.fflush(None)\n    return args", "from C\n")

    def test_child_process_writes_to_the_log_and_reads_nothing(self):
        self.check("import subprocess\n@command('process')\ndef f(args):\n"
                   "    subprocess.run(['sh', '-c', 'echo from the child; cat; cat <&0'], check=True)\n"
                   "    os.system('echo by system')\n    return args", "from the child\n", "by system\n")

    def test_saved_standard_output_goes_to_the_log(self):
        self.check("sys.__stdout__.write('saved\\n')\nlogging_to = sys.stdout\n@command('process')\ndef f(args):\n"
                   "    logging_to.write('later\\n')\n    return args", "saved\n", "later\n")

    def test_reading_input_gives_its_end(self):
        worker = self.worker("@command('process')\ndef f(args):\n    return sys.stdin.read()")
        self.assertEqual(worker.result("process", 1), "")

    def test_child_that_outlives_the_worker_does_not_hold_the_pipes(self):
        worker = self.worker("import multiprocessing, subprocess\n@command('process')\ndef f(args):\n"
                             "    a = subprocess.Popen(['sleep', '60'])\n"
                             "    b = multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,))\n"
                             "    b.start()\n    return [a.pid, b.pid]\n"
                             "@command('die')\ndef g(args):\n    os._exit(7)")
        children = worker.result("process")
        worker.send("die")
        self.assertEqual(worker.rest(), b"")
        self.assertEqual(worker.wait_end(), 7)
        self.assertTrue(all(is_running(c) for c in children))

    def test_helper_that_imports_the_module_keeps_its_own_output(self):
        helper = self.write("helper.py", HEAD + "print('to my caller')\n")
        worker = self.worker("import subprocess\n@command('process')\ndef f(args):\n"
                             f"    return subprocess.check_output([sys.executable, {helper!r}], text=True)")
        self.assertEqual(worker.result("process", deadline_s=30), "to my caller\n")


class Sessions(SdkCase):
    COUNTER = """
counts = Sessions(list, limit=3)
@command("process")
def count(args):
    counts.get().append(args)
    return counts.get()
@command("about")
def about(args):
    return [request().session, request().session_lost, request().command, request().args, len(counts)]
"""

    def test_call_knows_its_session(self):
        worker = self.worker(self.COUNTER)
        self.assertEqual(worker.result("about", 5, session="s1", session_lost=True), ["s1", True, "about", 5, 0])
        self.assertEqual(worker.result("about"), [None, False, "about", None, 0])

    def test_state_belongs_to_its_session(self):
        worker = self.worker(self.COUNTER)
        self.assertEqual(worker.result("process", 1, session="a"), [1])
        self.assertEqual(worker.result("process", 2, session="b"), [2])
        self.assertEqual(worker.result("process", 3, session="a"), [1, 3])
        self.assertEqual(worker.result("process", 4), [])

    def test_lost_session_begins_anew(self):
        worker = self.worker("counts = Sessions(list)\n@command('process')\ndef f(args):\n"
                             "    counts.get().append(args)\n    return len(counts.get()) if not request().session_lost "
                             "else 'anew'")
        worker.result("process", 1, session="a")
        self.assertEqual(worker.result("process", 2, session="a"), 2)
        self.assertEqual(worker.result("process", 3, session="a", session_lost=True), "anew")
        self.assertEqual(worker.result("process", 4, session="a"), 2)

    def test_session_longest_unused_is_forgotten(self):
        worker = self.worker(self.COUNTER)
        for name in ("a", "b", "c", "a", "d"):
            worker.result("process", name, session=name)
        self.assertEqual(worker.result("about")[4], 3)
        self.assertEqual(worker.result("process", "+", session="a"), ["a", "a", "+"])
        self.assertEqual(worker.result("process", "+", session="b"), ["+"])

    def test_threads_know_their_own_call(self):
        worker = self.worker("import threading\nboth = threading.Barrier(2)\n@command('process')\ndef f(args):\n"
                             "    both.wait(30)\n    return [args, request().session]", "run(max_in_flight=2)")
        worker.send("process", 1, session="one")
        worker.send("process", 2, session="two")
        results = sorted(worker.receive()["result"] for _ in range(2))
        self.assertEqual(results, [[1, "one"], [2, "two"]])


class Pings(SdkCase):
    def test_ping_says_how_many_requests_at_once(self):
        self.assertEqual(self.worker(ECHO).ping()["result"], {"max_in_flight": 1})
        self.assertEqual(self.worker(ECHO, "run(max_in_flight=8)").ping()["result"], {"max_in_flight": 8})

    def test_ping_is_answered_while_a_call_runs(self):
        go = self.path("go")
        worker = self.worker(f"register('process', lambda args: until({go!r}))")
        number = worker.send("process")
        for _ in range(3):
            self.assertTrue(worker.ping()["success"])
        self.touch("go")
        self.assertEqual(worker.receive()["id"], number)

    def test_ping_is_answered_while_a_call_computes(self):
        go = self.path("go")
        worker = self.worker(f"@command('process')\ndef f(args):\n    n = 0\n    while not os.path.exists({go!r}):\n"
                             "        n += sum(range(1000))\n    return 1")
        worker.send("process")
        self.assertTrue(worker.ping()["success"])
        self.touch("go")
        self.assertEqual(worker.receive()["result"], 1)

    def test_as_many_calls_run_at_once_as_it_says(self):
        worker = self.worker("import threading\nall_in = threading.Barrier(4)\n"
                             "register('process', lambda args: all_in.wait(30) * 0 + args)", "run(max_in_flight=4)")
        for i in range(8):
            worker.send("process", i)
        self.assertEqual(sorted(worker.receive()["result"] for _ in range(8)), list(range(8)))

    def test_fast_call_overtakes_a_slow_one(self):
        go = self.path("go")
        worker = self.worker(f"register('slow', lambda args: until({go!r}))" + ECHO, "run(max_in_flight=2)")
        slow = worker.send("slow")
        self.assertEqual(worker.result("process", 1), 1)
        self.touch("go")
        self.assertEqual(worker.receive()["id"], slow)

    def test_one_call_at_a_time_runs_on_the_main_thread(self):
        worker = self.worker("import threading\nregister('process', lambda a: threading.current_thread() is "
                             "threading.main_thread())")
        self.assertIs(worker.result("process"), True)


class TheEnd(SdkCase):
    def test_shutdown_is_answered_and_run_returns(self):
        worker = self.worker(ECHO, run="run()\nprint('saved')")
        number = worker.send("shutdown")
        self.assertEqual(worker.receive()["id"], number)
        self.assertEqual(worker.wait_end(), 0)
        self.assertEqual(worker.rest(), b"")
        self.assertIn("saved", worker.err())

    def test_shutdown_finishes_what_runs_and_what_waits(self):
        for threads in (1, 3):
            go = self.path(f"go{threads}")
            worker = self.worker(f"register('process', lambda args: until({go!r}))", f"run(max_in_flight={threads})")
            numbers = [worker.send("process") for _ in range(5)]
            last = worker.send("shutdown")
            self.assertTrue(worker.ping()["success"])
            self.touch(f"go{threads}")
            answers = [worker.receive() for _ in range(6)]
            self.assertEqual(sorted(a["id"] for a in answers[:5]), numbers)
            self.assertEqual(answers[5]["id"], last)
            self.assertTrue(all(a["success"] for a in answers))
            self.assertEqual(worker.wait_end(), 0)

    def test_call_after_shutdown_is_refused_for_another_worker(self):
        go = self.path("go")
        worker = self.worker(f"register('process', lambda args: until({go!r}))")
        worker.send("process")
        worker.send("shutdown")
        error = worker.error("process")
        self.assertEqual((error["type"], error["retryable"]), ("ShuttingDown", True))
        self.touch("go")

    def test_answers_come_when_the_input_is_closed_behind_shutdown(self):
        go = self.path("go")
        worker = self.worker(f"register('process', lambda args: until({go!r}))", "run(grace=0)")
        numbers = [worker.send("process") for _ in range(3)]
        worker.send("shutdown")
        worker.close_input()
        # Nothing comes yet: the calls run, and are not cut off.
        with self.assertRaisesRegex(AssertionError, "no answer in time"):
            worker.receive(deadline_s=0.3)
        self.touch("go")
        self.assertEqual([worker.receive()["id"] for _ in range(3)], numbers)
        self.assertEqual(worker.wait_end(), 0)

    def test_idle_worker_ends_with_its_input(self):
        for threads in (1, 4):
            worker = self.worker(ECHO, f"run(max_in_flight={threads})\nprint('saved')")
            worker.ping()
            worker.close_input()
            self.assertEqual(worker.wait_end(), 0)
            self.assertIn("saved", worker.err())

    def test_running_call_is_cut_off_after_the_grace(self):
        for threads in (1, 4):
            worker = self.worker("@command('process')\ndef f(args):\n    print('runs')\n    until('/nowhere')",
                                 f"run(max_in_flight={threads}, grace=0.2)")
            worker.send("process")
            worker.wait_err("runs")
            worker.close_input()
            self.assertEqual(worker.wait_end(5), 1)
            self.assertIn("cut off", worker.err())

    def test_running_call_may_end_within_the_grace(self):
        go, done = self.path("go"), self.path("done")
        worker = self.worker(f"@command('process')\ndef f(args):\n    print('runs')\n    until({go!r})\n"
                             f"    open({done!r}, 'w').close()", "run(grace=60)")
        worker.send("process")
        worker.wait_err("runs")
        worker.close_input()
        self.touch("go")
        self.assertEqual(worker.wait_end(), 0)
        self.assertTrue(os.path.exists(done))

    def test_calls_that_wait_are_not_begun_when_weir_is_gone(self):
        log = self.path("log")
        # The first call ends when the reader has seen the end of the input, which nothing outside shows.
        worker = self.worker(f"""
import gc
@command("process")
def f(args):
    open({log!r}, "a").write("x")
    print("runs")
    while not any(type(o).__name__ == "_Worker" and o.input_ended for o in gc.get_objects()):
        select.select([], [], [], 0.005)
""", "run(grace=60)")
        for _ in range(3):
            worker.send("process")
        worker.wait_err("runs")
        worker.close_input()
        self.assertEqual(worker.wait_end(), 0)
        with open(log) as f:
            self.assertEqual(f.read(), "x")

    def test_input_that_ends_within_a_message_ends_the_worker(self):
        worker = self.worker(ECHO)
        worker.send_bytes(frame({"id": 1, "command": "process"})[:9])
        worker.close_input()
        self.assertEqual(worker.wait_end(), 0)
        self.assertEqual(worker.rest(), b"")

    def test_nobody_reads_its_answers(self):
        worker = self.worker("register('process', lambda args: 'x' * (1 << 20))")
        worker.process.stdout.close()
        worker._out_ended = True
        worker.send("process")
        self.assertEqual(worker.wait_end(), 0)
        self.assertNotIn("Traceback", worker.err())

    def test_ends_at_sigterm_while_a_call_runs(self):
        worker = self.worker("@command('process')\ndef f(args):\n    print('runs')\n    until('/nowhere')")
        worker.send("process")
        worker.wait_err("runs")
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait_end(), -signal.SIGTERM)

    def test_sigint_is_ignored_and_not_for_its_children(self):
        worker = self.worker("import signal, subprocess\n@command('process')\ndef f(args):\n"
                             "    os.kill(os.getpid(), signal.SIGINT)\n"
                             "    return subprocess.call([sys.executable, '-S', '-c', 'import os, signal\\n"
                             "os.kill(os.getpid(), signal.SIGINT)'], stderr=subprocess.DEVNULL)")
        worker.ping()
        worker.signal(signal.SIGINT)
        self.assertEqual(worker.result("process"), -signal.SIGINT)


class Garbage(SdkCase):
    def check(self, data, text):
        worker = self.worker(ECHO)
        worker.ping()
        worker.send_bytes(data)
        self.assertEqual(worker.wait_end(), 1)
        self.assertIn(text, worker.err())
        self.assertNotIn("Traceback", worker.err())
        self.assertEqual(worker.rest(), b"")

    def test_text_is_no_frame(self):
        self.check(b"GET / HTTP/1.1\r\n\r\n", "not the protocol: it begins with b'GET '")

    def test_length_over_the_limit(self):
        self.check(b"\x04\x00\x00\x01", "not the protocol")

    def test_body_that_is_no_request(self):
        for body, text in ((b"{", "not JSON"), (b"", "not JSON"), (b"\xff\xfe", "not JSON"), (b'{"id":NaN}', "NaN"),
                           (b"[1]", "no JSON object"), (b"{}", "no id"), (b'{"id":"1","command":"x"}', "no id"),
                           (b'{"id":true,"command":"x"}', "no id"), (b'{"id":1}', "no command"),
                           (b"[" * 200000, "not JSON")):
            with self.subTest(body=body[:20]):
                self.check(frame(body), text)

    def test_length_alone_costs_no_memory(self):
        def peak_kib():
            with open(f"/proc/{worker.pid}/status") as f:
                return int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1))

        def unread():
            return struct.unpack("i", fcntl.ioctl(worker.process.stdin, termios.FIONREAD, b"0000"))[0]

        worker = self.worker(ECHO)
        worker.ping()
        before = peak_kib()
        worker.send_bytes(b"\x04\x00\x00\x00{")
        wait_until(lambda: unread() == 0, what="the worker to read")
        self.assertLess(peak_kib() - before, 8 << 10)


if __name__ == "__main__":
    unittest.main()
