"""Streams of tasks (NDJSON) that break off or go wrong on the way: what was accepted stays, and no batch is left open.

run-tests: sanitizers
"""
import json
import signal
import socket
import subprocess
import time
import unittest

from servekit import ServeCase
from weirtest import SLOWNESS, WEIR, wait_until


class Upload:
    """A request whose body comes in chunks, for as long as the test says."""

    def __init__(self, d, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30 * SLOWNESS)
        self.socket.connect(d.socket)
        self.socket.sendall(f"POST {path} HTTP/1.1\r\nHost: weir\r\nContent-Type: application/x-ndjson\r\n"
                            "Transfer-Encoding: chunked\r\n\r\n".encode())

    def send(self, text):
        data = text.encode()
        self.socket.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def break_off(self):
        self.socket.close()

    def answer(self):
        """Ends the body. Status and JSON."""
        self.socket.sendall(b"0\r\n\r\n")
        return self.hear()

    def hear(self):
        with self.socket.makefile("rb") as f:
            status = int(f.readline().split()[1])
            length = 0
            while (line := f.readline().strip()):
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            return status, json.loads(f.read(length))


def lines(count):
    return "".join(json.dumps({"payload": {"argv": ["true"]}}) + "\n" for _ in range(count))


class Streams(ServeCase):
    def setUp(self):
        super().setUp()
        self.d = self.daemon({"pools": [{"name": "sh", "kind": "command", "max_concurrency": 2, "enabled": False}]})

    def upload(self, path):
        up = Upload(self.d, path)
        self.addCleanup(up.break_off)
        return up

    def wait_batch(self, number, what, **wanted):
        def there():
            status, batch = self.d.api("GET", f"/v1/batches/{number}")
            return status == 200 and {name: batch[name] for name in wanted} == wanted
        wait_until(there, 20 * SLOWNESS, what)

    def test_no_line_waits_for_the_next(self):
        """Whoever pipes what happens into it has each taken as it comes, also of a burst."""
        up = self.upload("/v1/batches")
        for count in range(1, 60):
            up.send(lines(1))
            if count % 12 == 0:
                self.wait_batch(1, "all that has come", total=count, ended=False)
        self.assertEqual(up.answer()[1]["accepted"], 59)

    def test_a_batch_whose_upload_breaks_off_ends_with_what_was_accepted(self):
        for number, path in enumerate(("/v1/batches", "/v1/batches?open=true"), 1):
            up = self.upload(path)
            # A whole group goes at once.
            up.send(lines(1000) + '{"payload": {"argv"')
            self.wait_batch(number, "its tasks", total=1000, ended=False)
            up.break_off()
            self.wait_batch(number, f"the end of {path}", total=1000, ended=True)

    def test_before_its_first_task_too(self):
        up = self.upload("/v1/batches")
        up.send('{"payl')
        self.wait_batch(1, "the batch", total=0, ended=False)
        up.break_off()
        self.wait_batch(1, "its end", total=0, ended=True)

    def test_when_the_daemon_stops_meanwhile_too(self):
        up = self.upload("/v1/batches")
        up.send(lines(2))
        self.wait_batch(1, "its tasks", total=2, ended=False)
        self.d.restart()
        self.wait_batch(1, "its end", total=2, ended=True)

    def test_a_stop_tells_whoever_still_sends_what_was_accepted(self):
        ups = []
        for number, path in enumerate(("/v1/batches", "/v1/batches?open=true"), 1):
            ups.append(self.upload(path))
            ups[-1].send(lines(2) + '{"payl')
            self.wait_batch(number, "its tasks", total=2, ended=False)
        ups.append(self.upload("/v1/tasks"))
        began = time.monotonic()
        self.d.signal(signal.SIGTERM)
        for number, up in enumerate(ups[:2], 1):
            status, problem = up.hear()
            self.assertEqual((status, problem["accepted"], problem["lines"], problem["batch"], problem["batch_open"]),
                             (503, 2, [[1, 2]], number, number == 2), problem)
            self.assertIn("stopping", problem["detail"])
        status, problem = ups[2].hear()
        self.assertEqual((status, problem["accepted"]), (503, 0), problem)
        self.assertEqual(self.d.wait_end(), 0)
        self.assertLess(time.monotonic() - began, 4 * SLOWNESS)
        self.d.start()
        self.wait_batch(1, "its end", total=2, ended=True)
        self.wait_batch(2, "nothing to change", total=2, ended=False)

    def test_the_command_hears_of_a_stop_while_nothing_comes_to_it(self):
        command = subprocess.Popen([WEIR, "submit", "--lines", "-", "--tasks"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, env=self.d.weir_env())
        self.addCleanup(command.kill)
        for count in (1, 2):
            command.stdin.write(lines(1))
            command.stdin.flush()
            wait_until(lambda n=count: self.d.get("/v1/status")["tasks"]["ready"] == n, 20 * SLOWNESS, f"task {count}")
        self.d.stop()
        # Its input stays open: it ends by itself.
        self.assertEqual(command.wait(20 * SLOWNESS), 1)
        told = command.stderr.read()
        self.assertIn("the dispatcher is stopping", told)
        self.assertIn("accepted all the same: 2 tasks: 1-2", told)
        for f in (command.stdin, command.stdout, command.stderr):
            f.close()

    def test_when_the_daemon_is_killed_meanwhile_too(self):
        for number, count in ((1, 0), (2, 3)):
            up = self.upload("/v1/batches")
            up.send(lines(count) + '{"payl')
            self.wait_batch(number, "its tasks", total=count, ended=False)
            self.d.kill9()
            self.d.start()
            self.wait_batch(number, "its end", total=count, ended=True)
        self.assertEqual(self.d.api("POST", "/v1/batches?open=true")[1]["id"], 3)
        self.d.kill9()
        self.d.start()
        self.wait_batch(3, "the one that is for others", ended=False)

    def test_a_batch_that_was_opened_before_stays_open(self):
        batch = self.d.api("POST", "/v1/batches?open=true")[1]["id"]
        up = self.upload(f"/v1/batches/{batch}/tasks")
        up.send(lines(3))
        self.wait_batch(batch, "its tasks", total=3)
        up.break_off()
        # Whoever goes on finds it, and its places go on.
        status, answer = self.d.api("POST", f"/v1/batches/{batch}/tasks", {"payload": {"argv": ["true"]}})
        self.assertEqual(status, 201, answer)
        self.assertEqual(self.d.task(answer["id"])["place"], 3)
        self.wait_batch(batch, "nothing to change", total=4, ended=False)

    def test_a_batch_that_somebody_else_ends_meanwhile_is_not_said_to_be_open(self):
        batch = self.d.api("POST", "/v1/batches?open=true")[1]["id"]
        up = self.upload(f"/v1/batches/{batch}/tasks")
        up.send(lines(2))
        self.wait_batch(batch, "its tasks", total=2)
        self.assertEqual(self.d.api("POST", f"/v1/batches/{batch}/end")[0] // 100, 2)
        up.send(lines(1))
        status, problem = up.answer()
        self.assertEqual((status, problem["accepted"], problem["batch_open"]), (409, 2, False), problem)

    def test_a_wrong_line_is_named_and_what_was_before_it_is_there(self):
        up = self.upload("/v1/batches")
        up.send(lines(1200) + '{"payload": 1, "priority": "high"}\n' + lines(10))
        status, problem = up.answer()
        self.assertEqual(status, 400, problem)
        self.assertEqual((problem["line"], problem["accepted"], problem["lines"], problem["batch"], problem["batch_open"]),
                         (1201, 1200, [[1, 1200]], 1, False))
        self.assertRegex(problem["detail"], r"^line 1201: priority")
        batch = self.d.get("/v1/batches/1")
        self.assertEqual((batch["total"], batch["ended"]), (1200, True))
        self.assertEqual(self.d.api("POST", "/v1/batches/1/tasks", {"payload": 1})[0], 409)
        self.d.api("POST", "/v1/batches/1/cancel")
        self.wait_batch(1, "its finish", finished=True)

    def test_a_line_that_is_over_a_limit(self):
        up = self.upload("/v1/batches")
        up.send(lines(2))
        self.wait_batch(1, "the first tasks", total=2)
        up.send(json.dumps({"payload": 1, "key": "k" * 100_000}) + "\n")
        up.send(lines(1))
        status, problem = up.answer()
        self.assertEqual((status, problem["line"], problem["accepted"], problem["batch_open"]), (400, 3, 2, False), problem)
        self.assertTrue(self.d.get("/v1/batches/1")["ended"])

    def test_the_command_says_what_became_of_the_batch(self):
        text = lines(2) + "{}{}\n"
        done = self.d.weir("batch", "submit", "--tasks", stdin=text)
        self.assertIn("line 3", done.err)
        self.assertIn("batch 1 has 2 tasks and takes no more", done.err)
        self.d.weir("batch", "open")
        done = self.d.weir("submit", "--batch", 2, "--tasks", "--lines", "-", stdin=text)
        self.assertIn("batch 2 is open", done.err)


if __name__ == "__main__":
    unittest.main()
