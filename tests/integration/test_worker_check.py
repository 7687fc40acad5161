"""weir worker check: good workers pass, and each of many bad ones is told what it does wrong."""
# run-tests: sanitizers
# run-tests: parallel
# run-tests: timeout=600
import concurrent.futures
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from weirtest import BUILD, ROOT, VARIANT, WEIR, Case, wait_until  # noqa: E402
from workerkit import SDK, bad_worker, is_running  # noqa: E402

# Long enough for a busy machine where something must come, short where it must not come; but in the same run other things
# must come within the short time.
PATIENT = ("--timeout", "30s", "--grace", "30s", "--init-timeout", "60s")
SHORT_S = 2.5 if VARIANT else 1.5
ALL = ["start", "ping", "unknown", "id", "members", "text", "large", "pieces", "two", "at-once", "call", "quiet",
       "shutdown", "input", "sigterm", "heartbeat", "left"]


def short(*names):
    """Options with a short wait for these, and long ones for the rest."""
    waits = {"timeout": 30, "grace": 30, "init-timeout": 60}
    waits.update((name, SHORT_S) for name in names)
    return [word for name, value in waits.items() for word in (f"--{name}", f"{value}s")]


class CheckCase(Case):
    def check(self, worker, *options, status=None):
        """What it says as JSON, with a dict of the checks by name."""
        if not isinstance(worker, str):
            worker = " ".join(shlex.quote(word) for word in worker)
        done = subprocess.run([WEIR, "worker", "check", "--json", *options, worker], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=240)
        self.assertEqual(done.stderr, b"")
        said = json.loads(done.stdout)
        said["by_name"] = {c["name"]: c for c in said["checks"]}
        self.assertEqual([c["name"] for c in said["checks"]], ALL)
        verdicts = [c["verdict"] for c in said["checks"]]
        self.assertEqual([said["passed"], said["failed"], said["skipped"]],
                         [verdicts.count(v) for v in ("ok", "failed", "skipped")])
        self.assertEqual(said["ok"], "failed" not in verdicts)
        self.assertEqual(done.returncode, 1 if "failed" in verdicts else 0)
        if status is not None:
            self.assertEqual(done.returncode, status, said)
        return said

    def failed(self, said):
        return [c["name"] for c in said["checks"] if c["verdict"] == "failed"]

    def skipped(self, said):
        return [c["name"] for c in said["checks"] if c["verdict"] == "skipped"]


class GoodWorkers(CheckCase):
    def test_simple_worker_passes(self):
        said = self.check(bad_worker(), *PATIENT, status=0)
        self.assertEqual(self.skipped(said), ["at-once", "call"])
        self.assertEqual(said["stderr"], "")

    def test_worker_that_takes_several_passes(self):
        said = self.check(bad_worker("max_in_flight=5"), *PATIENT, "--command", "echo", "--args", '{"a":[1.0]}', status=0)
        self.assertEqual(self.skipped(said), [])
        self.assertEqual(said["max_in_flight"], 5)
        self.assertIn('{\\"a\\": [1.0]}', said["by_name"]["call"]["text"])

    def test_answers_in_any_order_are_right(self):
        path = self.write("worker.py", REVERSES)
        said = self.check([sys.executable, path], *PATIENT, status=0)
        self.assertEqual(said["by_name"]["at-once"]["verdict"], "ok")

    def test_worker_that_sends_heartbeats_passes(self):
        said = self.check(bad_worker("beat"), *PATIENT, "--command", "echo", status=0)
        self.assertRegex(said["by_name"]["heartbeat"]["text"], r"^[1-9]\d* of them$")
        said = self.check(bad_worker(), *PATIENT, status=0)
        self.assertEqual(said["by_name"]["heartbeat"]["text"], "it sent none, and need not")

    def test_heartbeats_of_the_sdk_pass(self):
        path = self.write("worker.py", f"import sys\nsys.path.insert(0, {SDK!r})\nimport weir_worker\n"
                          "@weir_worker.command('process')\ndef process(args):\n"
                          "    weir_worker.heartbeat(0.5, 'half')\n    return args\n"
                          "weir_worker.run(max_in_flight=4)\n")
        said = self.check([sys.executable, path], *PATIENT, "--args", "1", status=0)
        self.assertRegex(said["by_name"]["heartbeat"]["text"], r"^[1-9]\d* of them$")

    def test_worker_with_the_sdk_passes(self):
        path = self.write("worker.py", f"import sys\nsys.path.insert(0, {SDK!r})\nimport weir_worker\nprint('loading')\n"
                          "weir_worker.register('process', lambda a: print('working') or a)\n"
                          "weir_worker.run(max_in_flight=4)\n")
        said = self.check([sys.executable, path], *PATIENT, "--args", '"ü"', status=0)
        self.assertEqual(self.skipped(said), [])
        self.assertIn("loading\n", said["stderr"])
        self.assertIn("working\n", said["stderr"])

    @unittest.skipIf(VARIANT, "they are the same under a sanitizer")
    def test_examples_pass(self):
        workers = os.path.join(ROOT, "examples", "workers")
        for worker in ([sys.executable, os.path.join(workers, "sentiment.py")], ["sh", os.path.join(workers, "upper.sh")],
                       [os.path.join(BUILD, "examples", "workers", "echo"), "16"]):
            with self.subTest(worker=worker[-1]):
                self.check(worker, *PATIENT, "--command", "process", "--args", '"good"', status=0)

    def test_standard_error_without_end_does_no_harm(self):
        said = self.check(bad_worker("flood-stderr"), *PATIENT, status=0)
        self.assertGreater(said["stderr_bytes"], len(said["stderr"]))
        self.assertLessEqual(len(said["stderr"]), 16384)

    def test_worker_knows_that_it_is_one(self):
        said = self.check(bad_worker("about"), *PATIENT, "--args", "1", status=0)
        self.assertIn('\\"worker\\": \\"1\\", \\"pool\\": \\"check\\"', said["by_name"]["call"]["text"])


# Answers all that is there, the last first; well behaved otherwise.
REVERSES = """
import json, os, select, struct, sys
def send(answer):
    body = json.dumps(answer).encode()
    os.write(1, struct.pack(">I", len(body)) + body)
have, kept = b"", []
while True:
    piece = os.read(0, 1 << 20)
    if not piece:
        break
    have += piece
    while len(have) >= 4 and len(have) >= 4 + int.from_bytes(have[:4], "big"):
        end = 4 + int.from_bytes(have[:4], "big")
        kept.append(json.loads(have[4:end]))
        have = have[end:]
    stop = False
    for request in sorted(kept, key=lambda r: (r["command"] == "shutdown", -r["id"])):
        answer = {"id": request["id"], "success": False, "error": "unknown"}
        if request["command"] in ("ping", "shutdown"):
            answer = {"id": request["id"], "success": True, "result": {"max_in_flight": 8}}
        stop |= request["command"] == "shutdown"
        send(answer)
    kept = []
    if stop:
        break
"""


SENDS = """
import json, os, struct, sys
if os.environ.pop("PYTHONUNBUFFERED", None):
    os.execv(sys.executable, [sys.executable] + sys.argv)
def take(count):
    data = b""
    while len(data) < count:
        piece = os.read(0, count - len(data))
        if not piece:
            sys.exit()
        data += piece
    return data
def send(body):
    %s
while True:
    request = json.loads(take(struct.unpack(">I", take(4))[0]))
    knows = request["command"] in ("ping", "shutdown", "process")
    send(json.dumps({"id": request["id"], "success": knows, "result": request["args"] if knows else None, "error": "no"},
                    ensure_ascii=False))
    if request["command"] == "shutdown":
        sys.exit()
"""


class BadWorkers(CheckCase):
    def bad(self, *faults, fails, says, options=PATIENT, skips=("at-once", "call")):
        """The worker fails these checks, and no others; the first one's text holds `says`."""
        said = self.check(bad_worker(*faults), *options, status=1)
        self.assertEqual(self.failed(said), list(fails), said)
        self.assertEqual(self.skipped(said), list(skips))
        self.assertIn(says, said["by_name"][fails[0]]["text"])
        return said

    def never_starts(self, *faults, says, options=PATIENT):
        return self.bad(*faults, fails=["start"], says=says, options=options, skips=ALL[1:])

    def test_heartbeats_that_are_not_as_they_should_be(self):
        for how, says in (("stray", "a heartbeat was of request 10"), ("late", "was not sent to it or is answered already"),
                          ("progress", 'the "progress" of a heartbeat is not from 0 to 1'),
                          ("text", 'the "text" of a heartbeat is no string')):
            self.bad(f"beat={how}", fails=["heartbeat"], says=says)

    def test_heartbeat_without_an_id(self):
        said = self.check(bad_worker("beat=no-id"), *PATIENT, status=1)
        self.assertIn('its heartbeat has no "id"', said["by_name"]["unknown"]["text"])

    def test_crash_at_start(self):
        said = self.never_starts("crash-at-start", says="it ended (exit status 1) instead of answering")
        self.assertEqual(said["stderr"], "bad_worker: cannot start\n")

    def test_no_answer_to_the_first_ping(self):
        self.never_starts("hang-at-start", says=f"no answer in {SHORT_S:g} s", options=short("init-timeout"))

    def test_start_may_take_longer_than_an_answer(self):
        said = self.check(bad_worker("slow-start=0.2"), "--timeout", "30s", "--init-timeout", "60s")
        self.assertEqual(said["by_name"]["start"]["verdict"], "ok")

    def test_text_on_standard_output_at_start(self):
        self.never_starts("banner", says='its first bytes were "Loading model...\\n')

    def test_ping_is_answered_with_an_error(self):
        self.never_starts("ping-fails", says="it answers a ping with an error (not well)")

    def test_only_the_first_ping_is_answered(self):
        self.bad("pings=1", fails=["ping"], says="no answer in", options=short("timeout"))

    def test_nothing_is_read_after_the_first_ping(self):
        self.bad("stop-reading", fails=["ping", "unknown", "input"], says="no answer in",
                 options=short("timeout", "grace"), skips=ALL[3:11] + ["shutdown"])

    def test_unknown_command_succeeds(self):
        self.bad("yes-to-all", fails=["unknown"], says="whoever mistypes a command must be told")

    def each_fails_unknown(self, faults, options=PATIENT):
        """Checks a worker with each of the faults, a few at a time: mostly they wait."""
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            said = list(pool.map(lambda fault: self.check(bad_worker(fault), *options), faults))
        for (fault, text), one in zip(faults.items(), said):
            with self.subTest(fault=fault):
                self.assertEqual(self.failed(one), ["unknown"], one)
                self.assertIn(text, one["by_name"]["unknown"]["text"])

    def test_output_that_is_not_the_protocol(self):
        self.each_fails_unknown({
            "garbage": '"Traceback (most recent call last):\\n": something in it printed to standard output',
            "print": '"now working on it\\n',
            "print-after": '"that was it\\n',
            "garbage-json": "is not JSON",
            "empty-frame": "is not JSON",
            "not-object": "not an object",
            "no-id": 'has no "id"',
            "text-id": 'has no "id"',
            "no-success": 'has no "success"',
            "unknown-id": "it answered request 1003",
            "answer-twice": "it answered request 3, which was not sent to it or is answered already",
            "claim-4g": "a frame of 4294967295 bytes, over the limit of 67108864",
            "claim-over": "a frame of 67108865 bytes",
            "crash": "it ended (exit status 3) instead of answering",
            "crash-mid-frame": "its output ended after",
            "exit-after=1": "it ended (exit status 0)",
        })

    def test_answers_that_do_not_come(self):
        self.each_fails_unknown({
            "hang": "no answer in",
            "no-answer": "no answer in",
            "half-frame-hang": "only 47 came; the length counts the bytes of the message",
        }, options=short("timeout"))

    def test_large_ids_are_changed(self):
        self.bad("float-id", fails=["unknown", "id"], says="with success")

    def test_large_request_is_too_much(self):
        said = self.bad("small-buffer=65536", fails=["large"], says="it ended (exit status 1)")
        self.assertIn("message too long", said["stderr"])

    def test_second_request_gets_lost(self):
        self.bad("lose-second", fails=["two", "shutdown"], says="(1 of 2 requests, written in one piece, were answered)",
                 options=short("timeout", "grace"))

    def test_fewer_at_once_than_it_says(self):
        said = self.bad("max_in_flight=4", "lose-second", fails=["two", "at-once", "shutdown"], says="1 of 2",
                        options=short("timeout", "grace"), skips=["call"])
        self.assertIn("of 4 requests", said["by_name"]["at-once"]["text"])

    def test_request_in_pieces_is_misread(self):
        path = self.write("worker.py", "import json, os, struct\nwhile True:\n    data = os.read(0, 1 << 21)\n"
                          "    if not data:\n        break\n    r = json.loads(data[4:])\n"
                          "    body = json.dumps({'id': r['id'], 'success': r['command'] == 'ping', 'error': 'no'}).encode()\n"
                          "    os.write(1, struct.pack('>I', len(body)) + body)\n    if r['command'] == 'shutdown':\n"
                          "        break\n")
        said = self.check([sys.executable, path], *PATIENT, status=1)
        self.assertIn("pieces", self.failed(said))
        self.assertIn("two", self.failed(said))
        self.assertIn("large", self.failed(said))
        self.assertIn("JSONDecodeError", said["stderr"])

    def test_request_is_answered_before_all_of_it_is_there(self):
        path = self.write("worker.py", "import json, os, struct\nn = 0\nwhile True:\n    data = os.read(0, 1 << 21)\n"
                          "    if not data:\n        break\n    n += 1\n"
                          "    body = json.dumps({'id': n, 'success': True}).encode()\n"
                          "    os.write(1, struct.pack('>I', len(body)) + body)\n")
        said = self.check([sys.executable, path], "--timeout", f"{SHORT_S}s", "--grace", f"{SHORT_S}s", status=1)
        self.assertIn("it answered request", said["by_name"]["pieces"]["text"])

    def framed(self, line, *options):
        """Checks a worker whose send() writes the text `body` as `line` says."""
        path = self.write("worker.py", SENDS % line)
        return self.check([sys.executable, path], *options, status=1)

    def test_length_in_the_wrong_order_of_bytes(self):
        said = self.framed('os.write(1, struct.pack("<I", len(body)) + body.encode())', *PATIENT)
        self.assertEqual(self.failed(said), ["start"])
        self.assertIn("over the limit of 67108864", said["by_name"]["start"]["text"])
        self.assertIn("Its highest byte comes first", said["by_name"]["start"]["text"])

    def test_length_that_counts_characters(self):
        said = self.framed('os.write(1, struct.pack(">I", len(body)) + body.encode())', *PATIENT, "--args", '"üü"')
        self.assertEqual(self.failed(said), ["call", "shutdown"])
        self.assertIn("is not JSON: the text ends too early", said["by_name"]["call"]["text"])

    def test_length_that_counts_itself(self):
        said = self.framed('os.write(1, struct.pack(">I", len(body) + 4) + body.encode())', *short("init-timeout"))
        self.assertEqual(self.failed(said), ["start"])
        self.assertRegex(said["by_name"]["start"]["text"], r"of an answer of \d+ bytes only \d+ came")

    def test_line_break_behind_each_answer(self):
        said = self.framed('os.write(1, struct.pack(">I", len(body)) + body.encode() + b"\\n")', *PATIENT)
        self.assertEqual(self.failed(said), ["start"])
        self.assertIn('it wrote "\\n", but nothing stands between frames', said["by_name"]["start"]["text"])

    def test_no_flush(self):
        said = self.framed('sys.stdout.buffer.write(struct.pack(">I", len(body)) + body.encode())',
                           *short("init-timeout"))
        self.assertEqual(self.failed(said), ["start"])
        self.assertIn("flush after each answer", said["by_name"]["start"]["text"])

    def test_nan_in_a_result(self):
        said = self.framed('os.write(1, struct.pack(">I", len(body)) + body.encode())', *PATIENT, "--args", "1e999")
        self.assertEqual(self.failed(said), ["call", "shutdown"])
        self.assertIn("is not JSON: not a JSON value", said["by_name"]["call"]["text"])

    def test_command_fails(self):
        said = self.bad("fail-object", "if=process", fails=["call"], says="it answered with an error: Broken: it failed",
                        options=[*PATIENT, "--args", "1"], skips=["at-once"])
        self.assertEqual(said["by_name"]["unknown"]["verdict"], "ok")

    def test_result_is_not_utf8(self):
        self.bad("latin-1", fails=["call", "shutdown"], says="not UTF-8", options=[*PATIENT, "--args", '"ü"'],
                 skips=["at-once"])

    def test_it_does_not_end_at_shutdown(self):
        self.bad("ignore-shutdown", fails=["shutdown"], says="after the command shutdown", options=short("grace"))

    def test_it_ends_with_another_status(self):
        self.bad("shutdown-status=3", fails=["shutdown"], says="it ended with exit status 3")

    def test_it_does_not_end_with_its_input(self):
        self.bad("ignore-eof", fails=["input"], says="after the end of its input", options=short("grace"))

    def test_it_prints_as_it_ends(self):
        self.bad("bye", fails=["input"], says='its first bytes were "Good bye.\\n"')

    def test_it_does_not_end_at_sigterm(self):
        self.bad("ignore-term", fails=["sigterm"], says="after SIGTERM", options=short("grace"))

    def test_it_leaves_a_process_behind(self):
        said = self.bad("leave-child", fails=["left"], says="these processes still ran when it had ended: python")
        pids = [int(n) for n in re.findall(r"pid (\d+)", said["by_name"]["left"]["text"])]
        self.assertEqual(len(pids), 3)
        self.assertEqual([p for p in pids if is_running(p)], [])

    def test_a_child_holds_its_pipes(self):
        said = self.bad("fork-and-exit", fails=["unknown", "left"], says="it ended (exit status 0)")
        (pid,) = re.findall(r"pid (\d+)", said["by_name"]["left"]["text"])
        self.assertFalse(is_running(int(pid)))

    def test_process_that_left_its_group_is_found_and_ended(self):
        path = self.write("worker.sh", "setsid sleep 300 >/dev/null 2>&1 </dev/null &\nexec " +
                          " ".join(shlex.quote(w) for w in bad_worker()) + "\n")
        said = self.check(["sh", path], *PATIENT, status=1)
        self.assertEqual(self.failed(said), ["left"])
        pids = [int(n) for n in re.findall(r"sleep \(pid (\d+)\)", said["by_name"]["left"]["text"])]
        self.assertEqual(len(pids), 3)
        self.assertEqual([p for p in pids if is_running(p)], [])

    def test_standard_output_is_closed(self):
        path = self.write("worker.py", "import os, signal\nos.close(1)\nos.read(0, 1 << 20)\nsignal.pause()\n")
        said = self.check([sys.executable, path], *PATIENT, status=1)
        self.assertEqual(self.failed(said), ["start"])
        self.assertIn("it closed its standard output", said["by_name"]["start"]["text"])


class CommandLine(CheckCase):
    def weir(self, *words, **how):
        return subprocess.run([WEIR, "worker", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=240, **how)

    def refused(self, *words, says):
        done = self.weir("check", *words)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn(says, done.stderr)
        self.assertTrue(done.stderr.startswith("weir worker check: "))

    def test_lines_say_what_is_right_and_what_is_not(self):
        line = " ".join(shlex.quote(word) for word in bad_worker("shutdown-status=3"))
        done = self.weir("check", *PATIENT, line)
        self.assertEqual((done.returncode, done.stderr), (1, ""))
        lines = done.stdout.splitlines()
        self.assertEqual(len(lines), len(ALL) + 1)
        self.assertRegex(lines[0], r"^ok    start     it starts and answers a ping \(\d+\.\d\d s after its start\)$")
        self.assertEqual([x for x in lines if x.startswith("FAIL")],
                         ["FAIL  shutdown  at shutdown it finishes what it has and exits with status 0: it ended with exit "
                          "status 3; exit with status 0"])
        self.assertEqual(lines[-1], "14 ok, 1 failed, 2 skipped")

    def test_what_it_says_on_standard_error_is_shown(self):
        line = " ".join(shlex.quote(word) for word in bad_worker("crash-at-start"))
        done = self.weir("check", *PATIENT, line)
        self.assertIn("standard error, which is its own and goes to the log:\n    bad_worker: cannot start\n", done.stdout)

    def test_mistakes_are_told(self):
        self.refused(says="no command; name the worker's")
        self.refused("python3", "worker.py", says="more than one command; put all of it between quotes")
        self.refused("./no-such-worker", says="cannot run './no-such-worker': No such file")
        self.refused(self.write("worker.py", "print(1)\n"), says="Permission denied")
        self.refused("'a", says="no end")
        self.refused("", says="CMD: it is empty")
        self.refused("--args", "{", "x", says="--args: not JSON")
        self.refused("--args", "good", "x", says="needs quotes of its own")
        self.refused("--command", "", "x", says="--command: is empty")
        self.refused("--timeout", "0", "x", says="--timeout")
        self.refused("--tiemout", "1s", "x", says="did you mean --timeout?")

    def test_subcommands(self):
        self.assertEqual(self.weir().returncode, 2)
        self.assertEqual(self.weir("chek").returncode, 2)
        for words in (("--help",), ("check", "--help")):
            done = self.weir(*words)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("Usage: weir worker check", done.stdout)

    def test_the_man_page_has_every_option_and_no_other(self):
        with open(os.path.join(ROOT, "docs", "weir.1"), encoding="utf-8") as f:
            text = re.search(r'\.SH "WEIR WORKER CHECK"\n(.*?)\n\.SH ', f.read(), re.S)[1]
        documented = re.findall(r"^(?:\\fB\\-.\\fR, )?\\fB\\-\\-([a-z\\-]+)\\fR", text, re.M)
        offered = re.findall(r"^ +(?:-., )?--([a-z-]+)", self.weir("check", "--help").stdout, re.M)
        self.assertEqual([name.replace("\\", "") for name in documented], offered)

    def test_output_that_cannot_be_written_is_a_failure(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([WEIR, "worker", "check", " ".join(bad_worker())], stdout=full, stderr=subprocess.PIPE,
                                  timeout=240)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"cannot write to standard output", done.stderr)

    def test_worker_does_not_outlive_the_check(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            log = self.path(f"log{int(number)}")
            line = " ".join(shlex.quote(w) for w in bad_worker("hang-at-start", f"log={log}"))
            process = subprocess.Popen([WEIR, "worker", "check", line], stdout=subprocess.DEVNULL)
            try:
                wait_until(lambda: os.path.exists(log) and os.path.getsize(log) > 0, what="the worker to start")
                with open(log) as f:
                    pid = int(f.read().split()[0])
                process.send_signal(number)
                self.assertEqual(process.wait(30), -number)
                wait_until(lambda: not is_running(pid), what="the worker to end")
            finally:
                process.kill()
                process.wait()


if __name__ == "__main__":
    unittest.main()
