"""The workers of examples/workers/ and docs/worker-protocol.md, driven over their pipes, and the document's own figures.

What every worker must do is said once, in Contract; each worker adds what it does.
"""
# run-tests: waits
# run-tests: timeout=300
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from weirtest import BUILD, ROOT, WEIR, Case, wait_until  # noqa: E402
from workerkit import Worker, frame  # noqa: E402

WORKERS = os.path.join(ROOT, "examples", "workers")
DOCUMENT = os.path.join(ROOT, "docs", "worker-protocol.md")


def document():
    with open(DOCUMENT, encoding="utf-8") as f:
        return f.read()


class Contract:
    """What a worker must do: command() starts it, `args` is a row that it takes, and expected(text) what it makes of it."""

    refuses_other_commands = True
    answers_shutdown = True

    def command(self):
        raise NotImplementedError

    def expected(self, text):
        raise NotImplementedError

    def setUp(self):
        super().setUp()
        self.worker = Worker(self.command(), cwd=self.dir)
        self.addCleanup(self.worker.end)

    def check(self, text, **how):
        self.assertEqual(self.worker.result("process", text, **how), self.expected(text))

    def check_end(self, status=0):
        self.assertEqual(self.worker.wait_end(), status)
        self.assertEqual(self.worker.rest(), b"")
        self.assertEqual(self.worker.members(), [])

    def test_ping_is_answered_with_success(self):
        for _ in range(3):
            self.assertTrue(self.worker.ping()["success"])

    def test_call_is_answered(self):
        for text in ("good", "", "two words"):
            self.check(text)

    def test_text_beyond_ascii(self):
        for text in ("Grüße, 世界", "\U0001f600 \u00e9 e\u0301", "\u2028\u2029\ufeff", "ß"):
            self.check(text)

    def test_text_that_needs_escapes(self):
        for text in ('"', "\\", "\\\\", '\\"', "\\u0041", "a\nb\tc\r\b\f", "\u0000\u0001\u001f\u007f", "a\\", "{[}],:"):
            self.check(text)

    def test_escapes_where_none_is_needed(self):
        self.worker.send_raw('{"id":1,"command":"process","args":"\\u0061\\u007a\\/\\u00fc\\ud83d\\ude00"}')
        answer = self.worker.receive()
        self.assertEqual(answer["result"], self.expected("az/ü\U0001f600"))

    def test_members_in_any_order_and_space_between_them(self):
        self.worker.send_raw(' {"args" :\n"x" ,\t"command": "process" , "timestamp":null, "id": 12 }\r\n')
        answer = self.worker.receive()
        self.assertEqual((answer["id"], answer["result"]), (12, self.expected("x")))

    def test_unknown_members_are_ignored(self):
        self.worker.send_raw('{"trace":{"id":5,"command":"no","args":["}",{"a":"]"}]},"id":3,"more":[1,[2,{}]],'
                             '"command":"process","args":"x","z":-1.5e3}')
        answer = self.worker.receive()
        self.assertEqual((answer["id"], answer["result"]), (3, self.expected("x")))

    def test_largest_id(self):
        for number in (1, 2 ** 31, 2 ** 32 + 1, 2 ** 53 - 1):
            self.worker.send_raw({"id": number, "command": "process", "args": "x"})
            self.assertEqual(self.worker.receive()["id"], number)

    def test_large_row(self):
        self.check("ab\\ä " * (200 << 10), deadline_s=60)
        self.check("after it")

    def test_many_requests_without_waiting(self):
        numbers = [self.worker.send("process", f"n{i}") for i in range(40)]
        answers = {a["id"]: a["result"] for a in (self.worker.receive(deadline_s=30) for _ in numbers)}
        self.assertEqual(answers, {number: self.expected(f"n{i}") for i, number in enumerate(numbers)})

    def test_request_in_small_pieces(self):
        for byte in frame({"id": 5, "command": "process", "args": "abc"}):
            self.worker.send_bytes(bytes([byte]))
        self.assertEqual(self.worker.receive()["result"], self.expected("abc"))

    def test_unknown_command_is_an_error_and_the_worker_stays(self):
        error = self.worker.error("predict", "x")
        self.assertIsNot(error.get("retryable", False), True)
        self.check("x")

    def test_shutdown_ends_it_with_status_0(self):
        self.check("x")
        number = self.worker.send("shutdown")
        if self.answers_shutdown:
            self.assertEqual(self.worker.receive()["id"], number)
        self.check_end()

    def test_shutdown_finishes_what_came_before(self):
        numbers = [self.worker.send("process", f"n{i}") for i in range(5)]
        self.worker.send("shutdown")
        self.assertEqual(sorted(self.worker.receive()["id"] for _ in numbers), numbers)
        if self.answers_shutdown:
            self.worker.receive()
        self.check_end()

    def test_end_of_input_ends_it(self):
        self.check("x")
        self.worker.close_input()
        self.check_end()

    def test_end_of_input_at_once_ends_it(self):
        self.worker.close_input()
        self.check_end()

    def test_sigterm_ends_it(self):
        self.check("x")
        os.killpg(self.worker.pid, signal.SIGTERM)
        self.assertNotEqual(self.worker.wait_end(), 0)
        wait_until(lambda: not self.worker.members(), what="its processes to end")


class Sentiment(Contract, Case):
    def command(self):
        return [sys.executable, os.path.join(WORKERS, "sentiment.py")]

    def expected(self, text):
        return self.worker.result("process", {"text": text})

    def test_it_tells_friendly_from_unfriendly(self):
        for text, label in (("Wonderful, I love it", "friendly"), ("Terrible, it broke", "unfriendly"),
                            ("not good", "unfriendly"), ("It never worked, waste of time", "unfriendly")):
            result = self.worker.result("process", {"text": text})
            self.assertEqual(result["label"], label, text)
            self.assertNotIn("mood", result)

    def test_of_a_long_list_it_says_how_far_it_is(self):
        number = self.worker.send("process", {"texts": ["great, thank you", "terrible, broken"]})
        told = json.loads(self.worker.receive_bytes())
        self.assertEqual(told, {"heartbeat": {"id": number, "progress": 0.0, "text": "message 1 of 2"}})
        message = json.loads(self.worker.receive_bytes())
        while "heartbeat" in message:
            message = json.loads(self.worker.receive_bytes())
        self.assertEqual(message["result"], {"labels": ["friendly", "unfriendly"]})

    def test_each_session_has_its_mood(self):
        good, bad = {"text": "great, thank you"}, {"text": "terrible, broken"}
        self.assertEqual(self.worker.result("process", good, session="a")["mood"]["messages"], 1)
        before = self.worker.result("process", good, session="a")["mood"]["value"]
        after = self.worker.result("process", bad, session="a")["mood"]
        self.assertEqual(after["messages"], 3)
        self.assertLess(after["value"], before)
        self.assertEqual(self.worker.result("process", bad, session="b")["mood"]["messages"], 1)
        self.assertEqual(self.worker.result("process", bad, session="a", session_lost=True)["mood"]["messages"], 1)

    def test_row_without_text_is_an_error(self):
        self.assertEqual(self.worker.error("process", {"txt": "x"})["type"], "ValueError")

    def test_what_it_prints_is_in_the_log(self):
        self.worker.ping()
        self.worker.wait_err("learned")

    def test_its_rows_are_rows(self):
        with open(os.path.join(WORKERS, "messages.jsonl"), encoding="utf-8") as f:
            for line in f:
                row = json.loads(line)
                self.assertIn("label", self.worker.result("process", row, session=row["user"]))


class EchoInC(Contract, Case):
    def command(self):
        return [os.path.join(BUILD, "examples", "workers", "echo")]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not os.path.exists(os.path.join(BUILD, "examples", "workers", "echo")):
            raise AssertionError("build/examples/workers/echo is not built; run make examples")

    def expected(self, text):
        return text

    def test_rows_come_back_byte_for_byte(self):
        for row in ('1.0', '123456789012345678901234567890', '-0', '[ 1 , {"a" : "\\/"} ]', 'null', '{}', '""',
                    '{"b":1,"a":{"c":[[],{}]}}', 'true', '"\\ud800"', '[1,2,\n3]'):
            self.worker.send_raw('{"id":1,"args":%s,"command":"process"}' % row)
            body = self.worker.receive_bytes().decode()
            self.assertEqual(body, '{"id":1,"success":true,"result":%s}' % row)

    def test_it_says_how_many_it_takes(self):
        self.assertEqual(self.worker.ping()["result"], {"max_in_flight": 1})
        with Worker(self.command() + ["16"]) as worker:
            self.assertEqual(worker.ping()["result"], {"max_in_flight": 16})
            numbers = [worker.send("echo", i) for i in range(16)]
            self.assertEqual([worker.receive()["id"] for _ in numbers], numbers)

    def test_largest_message(self):
        head = len('{"id":1,"command":"echo","args":""}')
        text = "x" * ((64 << 20) - head - 128)
        self.worker.send_raw('{"id":1,"command":"echo","args":"%s"}' % text, deadline_s=60)
        self.assertEqual(len(self.worker.receive(deadline_s=60)["result"]), len(text))
        self.worker.send_raw('{"id":2,"command":"echo","args":"%s"}' % ("x" * ((64 << 20) - head)), deadline_s=60)
        self.assertEqual(self.worker.receive(deadline_s=60)["error"]["type"], "TooLarge")

    def test_what_is_no_request_ends_it(self):
        for data in (b"GET / HTTP/1.1\r\n\r\n", frame(b"[]"), frame(b""), frame(b'{"id":1'), frame(b'{"id'), frame(b'{"'),
                     frame(b'{"a":"\\'), frame(b'{"a":[\0]}'), frame(b'{"a":[[[[[['), b"\x04\x00\x00\x01"):
            with Worker(self.command()) as worker:
                worker.send_bytes(data)
                self.assertEqual(worker.wait_end(), 1, data)
                self.assertIn("echo: ", worker.err())
                self.assertEqual(worker.rest(), b"")

    def test_number_that_makes_no_sense_is_refused(self):
        for text in ("0", "x", "", "-1", "12345"):
            self.assertEqual(subprocess.run(self.command() + [text], stderr=subprocess.DEVNULL, timeout=10).returncode, 1)


@unittest.skipUnless(shutil.which("node"), "there is no node")
class WordCount(Contract, Case):
    def command(self):
        return ["node", os.path.join(WORKERS, "wordcount.mjs")]

    def expected(self, text):
        words = re.findall(r"[^\W_][^\W_'’]*", text.replace("\u0301", ""))
        return self.counted(words) if not re.search("['’\u0301]", text) else self.worker.result("process", {"text": text})

    @staticmethod
    def counted(words):
        counts = {}
        for word in words:
            counts[word.lower()] = counts.get(word.lower(), 0) + 1
        top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:3]
        return {"words": len(words), "distinct": len(counts), "top": [list(t) for t in top]}

    def test_words_are_counted(self):
        self.assertEqual(self.worker.result("process", {"text": "The cat, the dog; the CAT's tail"}),
                         {"words": 7, "distinct": 5, "top": [["the", 3], ["cat", 1], ["cat's", 1]]})

    def test_it_says_how_many_it_takes(self):
        self.assertEqual(self.worker.ping()["result"], {"max_in_flight": 8})

    def test_row_without_text_is_an_error(self):
        self.assertEqual(self.worker.error("process", {"txt": "x"})["type"], "TypeError")
        self.assertEqual(self.worker.error("constructor")["type"], "ReferenceError")


class UpperInShell(Contract, Case):
    def command(self):
        return ["sh", os.path.join(WORKERS, "upper.sh")]

    def expected(self, text):
        return re.sub("[a-z]+", lambda m: m.group().upper(), text)

    def test_object_with_text(self):
        self.assertEqual(self.worker.result("process", {"n": [1, "text"], "text": "abc", "x": {"text": "no"}}), "ABC")

    def test_row_without_text_is_an_error(self):
        for row in ({"txt": "x"}, 5, None, [], {}):
            self.assertEqual(self.worker.error("process", row)["type"], "ValueError")

    def test_other_shells_and_awks_understand_it(self):
        # Whatever of them is there.
        for shell in ("dash", "bash", "ksh", "zsh", "busybox"):
            if not shutil.which(shell):
                continue
            command = [shell, "sh"] if shell == "busybox" else [shell]
            with Worker(command + [os.path.join(WORKERS, "upper.sh")]) as worker:
                self.assertEqual(worker.result("process", "grüße\n\u0001\\"), "GRüßE\n\u0001\\", shell)

    def test_what_is_no_request_ends_it(self):
        for data in (b"GET / HTTP/1.1\r\n\r\n", frame(b"[]"), frame(b"{}"), frame(b"")):
            with Worker(self.command()) as worker:
                worker.send_bytes(data)
                self.assertEqual(worker.wait_end(), 1, data)
                self.assertIn("upper.sh: ", worker.err())


class OfTheDocument(Contract, Case):
    """The worker in docs/worker-protocol.md."""

    answers_shutdown = True

    def command(self):
        (program,) = re.findall(r"^```python\n(.*?)^```$", document(), re.M | re.S)
        return [sys.executable, self.write("length.py", program)]

    def expected(self, text):
        return len(text)


class WithWeir(Case):
    """The command lines that stand in the examples, as they stand there."""

    ROWS = '"good"\n{"text": "two words"}\n"Gr\u00fc\u00dfe"\n'

    def run_line(self, name, number=0):
        """The results of the `number`th line with `weir run` in the source."""
        with open(os.path.join(WORKERS, name), encoding="utf-8") as f:
            lines = re.findall(r"(weir run --worker '.*?\.jsonl)", f.read())
        words = shlex.split(lines[number].replace("./echo", shlex.quote(os.path.join(BUILD, "examples", "workers", "echo"))))
        self.assertEqual(words[0], "weir")
        rows = self.write("rows.jsonl", self.ROWS)
        words = [WEIR] + [rows if word == "rows.jsonl" else word for word in words[1:]]
        done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        results = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([r["error"] for r in results], [None] * len(results))
        return [r["output"] for r in results]

    def test_sentiment(self):
        outputs = self.run_line("sentiment.py")
        self.assertEqual([o["mood"]["messages"] for o in outputs], [1, 1, 2, 2, 1, 3, 3, 2])

    def test_echo(self):
        for number in (0, 1):
            self.assertEqual(self.run_line("echo.c", number), ["good", {"text": "two words"}, "Gr\u00fc\u00dfe"])

    @unittest.skipUnless(shutil.which("node"), "there is no node")
    def test_wordcount(self):
        self.assertEqual([o["words"] for o in self.run_line("wordcount.mjs")], [1, 2, 1])

    def test_upper(self):
        self.assertEqual(self.run_line("upper.sh"), ["GOOD", "TWO WORDS", "GR\u00fc\u00dfE"])


class Document(unittest.TestCase):
    def dumps(self):
        """The bytes of each hex dump, and what stands beside them."""
        section = document().partition("## Byte by byte")[2].partition("\n## ")[0]
        for block in re.findall(r"(?:^    (?:[0-9a-f]{2} )+.*\n)+", section, re.M):
            data, text = b"", ""
            for line in block.splitlines():
                data += bytes.fromhex(line[4:52])
                text += line[53:]
            yield data, text

    def test_bytes_are_frames_and_say_what_stands_beside_them(self):
        found = list(self.dumps())
        self.assertEqual(len(found), 5)
        for data, text in found:
            self.assertEqual(data, frame(data[4:]))
            json.loads(data[4:])
            self.assertEqual(text, "".join(chr(b) if 32 <= b < 127 else "." for b in data))

    def test_bytes_are_what_the_worker_answers(self):
        found = [data for data, _ in self.dumps()]
        (program,) = re.findall(r"^```python\n(.*?)^```$", document(), re.M | re.S)
        done = subprocess.run([sys.executable, "-c", program], input=found[0] + found[2] + found[4], timeout=60,
                              stdout=subprocess.PIPE, check=True)
        answers, data = [], done.stdout
        while data:
            end = 4 + int.from_bytes(data[:4], "big")
            answers.append(json.loads(data[4:end]))
            data = data[end:]
        self.assertEqual(answers[1], json.loads(found[3][4:]))

    def test_options_that_it_names_are_there(self):
        offered = subprocess.run([WEIR, "run", "--help"], stdout=subprocess.PIPE, text=True, timeout=30).stdout
        named = set(re.findall(r"`(--[a-z-]+)", document()))
        self.assertGreater(len(named), 10)
        self.assertEqual(named - set(re.findall(r"--[a-z-]+", offered)), set())

    def test_links_lead_somewhere(self):
        text = document()
        heads = {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^## (.*)$", text, re.M)}
        links = re.findall(r"\]\(#([^)]*)\)", text)
        self.assertGreater(len(links), 10)
        self.assertEqual(set(links) - heads, set())


if __name__ == "__main__":
    unittest.main()
