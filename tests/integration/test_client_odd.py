"""What nobody would write, given to the command and through it to a daemon: it works, and comes back as it was; or it is refused with
an error that names the place and says what would do.

run-tests: parallel
run-tests: sanitizers
"""
import json
import os
import random
import subprocess
import unittest

from servekit import Daemon, ServeCase
from weirtest import SLOWNESS, VARIANT, WEIR

CONFIG = {"pools": [{"name": "off", "kind": "command", "enabled": False}]}
# Options, the members of a task that they become, and the most bytes of these.
FIELDS = {"--key": ("key", 1024), "--tenant": ("tenant", 255), "--session": ("session", 255),
          "--idempotency-key": ("idempotency_key", 255), "--pool": ("pool", 255), "--skill": ("skill", 255)}
PIECES = ["a", "é", "任", "\U0001f600", '"', "'", "\\", "/", "-", "--", "=", ",", "%", "%s", "{}", "{x}", "$(x)", "`x`", "*", "@", "#", "~",
          " ", "  ", "\t", "\n", "\r\n", "\x01", "\x7f", "\x1b[31m", "\u202e", "\ufeff", "\u2028", "\ufffd", ":", "..", "null", "0", "1e9",
          "<b>", "&amp;", "\\u0000", "\\n", ";", "|", "?x=1", "é" * 40, "x" * 200, "x" * 250]
CONTROLS = {chr(n) for n in [*range(32), 127]}


class Odd(ServeCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.d = Daemon(CONFIG)
        cls.addClassCleanup(cls.d.close)

    def run_weir(self, *args, stdin=b""):
        """status, out and err as bytes; args: text, or bytes that are none."""
        done = subprocess.run([WEIR, *args], input=stdin, capture_output=True, env=self.d.weir_env(), timeout=120 * SLOWNESS)
        self.assertIn(done.returncode, (0, 1, 2), f"{args!r:.300}: {done.stderr[-2000:]}")
        return done.returncode, done.stdout, done.stderr

    def submit(self, *args, **more):
        status, out, err = self.run_weir("submit", *args, **more)
        self.assertEqual(status, 0, f"{args!r:.300}: {err}")
        return self.d.task(int(out))

    def refused(self, *args, says, **more):
        """says: words that the message has, each."""
        status, out, err = self.run_weir(*args, **more)
        self.assertEqual((status, out), (2, b""), f"{args!r:.300}: {err}")
        text = err.decode()  # an error is text, whatever it is about
        self.assertTrue(text.startswith("weir "), text)
        self.assertTrue(text.endswith("\n") and len(text) < 4000, f"{len(text)}: {text[:500]}")
        self.assertEqual(CONTROLS & set(text) - {"\n"}, set(), f"what is shown on a terminal is no control sequence: {text!r:.500}")
        for word in says:
            self.assertIn(word, text)
        return text

    def test_names_of_any_pieces_come_back_or_are_refused_with_their_place(self):
        rng = random.Random(5)
        counts = {True: 0, False: 0}
        for turn in range(40 if VARIANT else 120):
            option, (field, most) = rng.choice(list(FIELDS.items()))
            text = "".join(rng.choice(PIECES) for _ in range(rng.choice([1, 1, 2, 3, 6])))
            if field == "idempotency_key":
                text = f"{turn}{text}"
            length = len(text.encode())
            good = length <= most and not CONTROLS & set(text)
            counts[good] += 1
            with self.subTest(option=option, text=text):
                # Whatever it begins with: what follows an option is its value, but for "--".
                args = [option, text] if text != "--" and rng.random() < 0.5 else [f"{option}={text}"]
                if good:
                    self.assertEqual(self.submit("--shell", "true", *args).get(field), text)
                else:
                    self.refused("submit", "--shell", "true", *args, says=[field, str(most) if length > most else "control"])
        self.assertGreater(min(counts.values()), 3 if VARIANT else 10)

    def test_lengths_are_counted_in_bytes(self):
        for option, (field, most) in FIELDS.items():
            with self.subTest(option):
                fits = "é" * (most // 2) + "x" * (most % 2)
                self.assertEqual(self.submit("--shell", "true", option, fits)[field], fits)
                self.refused("submit", "--shell", "true", option, fits + "x", says=[field, str(most)])

    def test_bytes_that_are_no_text_are_refused(self):
        for option, (field, _) in FIELDS.items():
            for wrong in (b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xc0\x80"):
                with self.subTest(option=option, wrong=wrong):
                    self.refused("submit", "--shell", "true", option, wrong, says=["UTF-8"])
        self.refused("submit", "--shell", b"echo \xff", says=["UTF-8"])
        self.refused("submit", "--", b"echo", b"\xff", says=["UTF-8"])
        self.refused("submit", "--payload", b'"\xff"', says=["--payload", "UTF-8"])

    def test_payloads_that_are_nothing_or_no_json(self):
        for wrong in ("", " ", "\n", "{", "[1,]", "{'a': 1}", "nul", "01", '"\\x"', '"a', "1 2", "NaN", '{"a"}', "\ufeff1", '"\\ud800"'):
            for args, stdin in ((["--payload", wrong], b""), (["--payload", "-"], wrong.encode())):
                with self.subTest(args=args):
                    if wrong == '"\\ud800"':
                        continue
                    self.refused("submit", *args, stdin=stdin, says=["--payload"])
        self.refused("submit", "--payload", "@" + self.write("empty", ""), says=["--payload"])
        self.refused("submit", "--payload", "@" + self.dir, says=["--payload", self.dir])
        for good in ('""', "0", "null", "[]", "{}", ' "a" ', '{"a": {"b": [1.0, 1e5, "\\u0000"]}}', json.dumps("x\n\t\x01")):
            with self.subTest(good):
                self.assertEqual(self.submit("--payload", good)["payload"], json.loads(good))

    def test_the_largest_payload_and_one_byte_more(self):
        largest = (1 if VARIANT else 64) << 20
        path = self.write("large", b'"' + b"x" * (largest - 2) + b'"')
        task = self.submit("--payload", "@" + path)
        self.assertEqual(len(task["payload"]), largest - 2)
        if not VARIANT:
            self.refused("submit", "--payload", "@" + self.write("larger", b'"' + b"x" * (largest - 1) + b'"'), says=["payload", "64"])

    def test_as_many_dependencies_as_there_may_be_and_one_more(self):
        tasks = json.dumps({"payload": 1, "not_before": "+1h"}) + "\n"
        status, answer = self.d.api("POST", "/v1/tasks", tasks * 10001, content_type="application/x-ndjson")
        self.assertEqual((status, len(answer["ranges"])), (201, 1))
        first, last = answer["ranges"][0]
        ids = [str(n) for n in range(first, last + 1)]
        task = self.submit("--shell", "true", "--after", ",".join(ids[:10000]))
        self.assertEqual((task["blocked_by"], len(task["after"])), (10000, 10000))
        self.refused("submit", "--shell", "true", "--after", ",".join(ids), says=["after", "10000", "10001"])
        # The same one twice is one.
        self.assertEqual(self.submit("--shell", "true", "--after", ",".join(ids[:1] * 3))["blocked_by"], 1)

    def test_lines_that_are_no_tasks_are_named(self):
        good = b'{"payload": 1}\n'
        for wrong, says in ((b"{", "JSON"), (b"7", "object"), (b'{"prio": 1}', "prio"), (b'{"payload": 1, "priority": "high"}', "priority"),
                            (b'{"payload": 1, "after": ["x"]}', "after"), (b'{"payload": 1, "after": [99999999]}', "99999999"),
                            (b'{"payload": "\xff"}', "UTF-8"), (b'{"payload": 1, "payload": 2}', "payload"),
                            (b'{"payload": 1, "tenant": "a\\nb"}', "tenant"), (b'{"payload": 1, "deadline": "tomorrow"}', "deadline"),
                            (b"[" * 5000, "JSON"), (b'{"payload": 1} {"payload": 2}', "JSON")):
            with self.subTest(wrong[:60]):
                status, _, err = self.run_weir("submit", "--lines", "-", "--tasks", stdin=good * 3 + wrong + b"\n" + good)
                self.assertNotEqual(status, 0)
                # What is wrong in itself has its line; what only the store sees, that of its group.
                self.assertRegex(err.decode(), "lines? [24]")
                self.assertIn(says, err.decode())

    def test_ids_that_are_none(self):
        for verb in ("show", "cancel", "retry", "events"):
            for wrong in ("", "x", "-1", "0", "1.5", "1e3", "0x10", "18446744073709551616", "1 2", "１", "../tasks/1", "1/cancel", "1?x=1"):
                with self.subTest(verb=verb, wrong=wrong):
                    status, out, err = self.run_weir("task", verb, "--", wrong)
                    self.assertIn(status, (1, 2))
                    self.assertEqual(out, b"")
                    self.assertTrue(err.startswith(b"weir "), err)
        for wrong in ("", "no\nwhere", "../pools", "a/b", "é" * 200, "%2e%2e", "?x", "#"):
            with self.subTest(pool=wrong):
                status, out, err = self.run_weir("pool", "show", "--", wrong)
                self.assertIn(status, (1, 2))
                self.assertEqual(out, b"")
                self.assertTrue(err.startswith(b"weir "), err)

    def tearDown(self):
        self.assertEqual(self.d.request("GET", "/readyz")[0], 200, os.linesep + self.d.log())
        super().tearDown()


if __name__ == "__main__":
    unittest.main()
