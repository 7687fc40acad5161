"""`weir run` from the user's side: rows in, results out, how fast, when to stop, what it tells (P2 to P5, P7).

run-tests: waits
run-tests: long
run-tests: sanitizers
run-tests: timeout=300
"""
import fcntl
import json
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios
import threading
import unittest

from runkit import RunCase, echo, environment
from weirtest import SLOWNESS, WEIR, wait_until


class TestForms(RunCase):
    def setUp(self):
        super().setUp()
        self.echo = self.service(echo)

    def run_rows(self, text, *options, status=0):
        self.weir("--url", self.echo.url, "-o", "out.jsonl", "--fresh", *options, self.write("in.jsonl", text),
                  status=status)
        return self.read_rows("out.jsonl")

    def test_the_batch_form(self):
        self.echo.reply = lambda call: (200, {"x-request-id": f"req-{call.path}"}, json.dumps(
            {"is": call.method + " " + call.path, "b": json.loads(call.body) if call.body else None}))
        rows = self.run_rows(
            '{"custom_id":"a","method":"POST","url":"/v1/one","body":{"x":1}}\n'
            '{"custom_id":"b","method":"PUT","url":"/v1/two?q=1","body":[2]}\n'
            '{"custom_id":"c","method":"GET","url":"/v1/three","body":null}\n'
            '{"custom_id":"d","method":"POST","body":"text"}\n')
        self.assertEqual([row["custom_id"] for row in rows], ["a", "b", "c", "d"])
        self.assertEqual([row["response"]["body"]["is"] for row in rows],
                         ["POST /v1/one", "PUT /v1/two?q=1", "GET /v1/three", "POST /v1/chat/completions"])
        self.assertEqual([row["response"]["body"]["b"] for row in rows], [{"x": 1}, [2], None, "text"])
        for row in rows:
            self.assertEqual(set(row), {"id", "custom_id", "response", "error"})
            self.assertEqual(set(row["response"]), {"status_code", "request_id", "body"})
            self.assertRegex(row["id"], r"^batch_req_[0-9a-f]{24}$")
        self.assertEqual(len({row["id"] for row in rows}), 4)
        self.assertEqual(rows[0]["response"]["request_id"], "req-/v1/one")

    def test_the_body_goes_out_byte_for_byte(self):
        body = '{"z":1.0, "a": 12345678901234567890123,"s":"\\u00e9\\/", "e":1e-7 }'
        self.run_rows('{"custom_id":"a","method":"POST","url":"/x","body":%s}\n' % body)
        self.assertEqual(self.echo.calls[0].body.decode(), body)
        self.run_rows(body + "\n")
        self.assertEqual(self.echo.calls[1].body.decode(), body)
        self.assertEqual(self.echo.calls[1].headers["Content-Type"], "application/json")

    def test_the_plain_form(self):
        rows = self.run_rows('{"a":1}\n[2]\n"three"\n4\nnull\ntrue\n')
        self.assert_in_order(rows, 6)
        self.assertEqual([row["output"]["echo"] for row in rows], [{"a": 1}, [2], "three", 4, None, True])
        for i, row in enumerate(rows):
            self.assertEqual(list(row), ["index", "key", "status", "output", "error"])
            self.assertEqual((row["key"], row["status"], row["error"]), (str(i), 200, None))

    def test_answers_that_are_no_json(self):
        texts = ["plain text", "", "{broken", "\u00e9\n\t\"", '{"a":\n  1}', "  7  "]
        self.echo.reply = lambda call: (200, {"Content-Type": "text/plain"}, texts[call.json].encode())
        rows = self.run_rows("".join(f"{i}\n" for i in range(len(texts))))
        self.assertEqual([row["output"] for row in rows], ["plain text", "", "{broken", "\u00e9\n\t\"", {"a": 1}, 7])

    def test_select_picks_the_output(self):
        rows = self.run_rows('{"v":1}\n{"v":[2,3]}\n{}\n', "--select", ".echo.v")
        self.assertEqual([row["output"] for row in rows], [1, [2, 3], None])
        rows = self.run_rows('{"v":1}\n{"v":5}\n', "--select", "{twice: (.echo.v * 2)}")
        self.assertEqual([row["output"] for row in rows], [{"twice": 2}, {"twice": 10}])

    def test_a_select_that_fails_is_that_rows_error(self):
        rows = self.run_rows('{"v":1}\n{"v":"x"}\n{"v":3}\n', "--select", ".echo.v + 1", status=1)
        self.assertEqual([row["output"] for row in rows if not row["error"]], [2, 4])
        self.assertEqual(rows[1]["error"]["code"], "select_failed")

    def test_template_builds_the_body(self):
        rows = self.run_rows('{"q":"one"}\n{"q":"two"}\n', "--template",
                             '{model: "m", messages: [{role: "user", content: .q}]}')
        self.assertEqual(rows[1]["output"]["echo"],
                         {"model": "m", "messages": [{"role": "user", "content": "two"}]})

    def test_key_names_the_row(self):
        rows = self.run_rows('{"id":"x","n":1}\n{"id":17}\n', "--key", ".id")
        self.assertEqual([row["key"] for row in rows], ["x", "17"])

    def test_lines_of_text(self):
        rows = self.run_rows('say "hi"\n\nr\u00e9sum\u00e9\n{"not":"json"}\n', "--lines")
        self.assertEqual([row["output"]["echo"] for row in rows], ['say "hi"', "r\u00e9sum\u00e9", '{"not":"json"}'])
        rows = self.run_rows("one\ntwo\n", "--lines", "--template", "{prompt: .}")
        self.assertEqual([row["output"]["echo"] for row in rows], [{"prompt": "one"}, {"prompt": "two"}])

    def test_several_files_and_standard_input_are_one_batch(self):
        one, two = self.plain_rows(3, "one.jsonl"), self.plain_rows(2, "two.jsonl", first=3)
        done = self.weir("--url", self.echo.url, one, two, "-", data=b'{"n":5}\n{"n":6}\n', status=0)
        self.assert_in_order(done.rows, 7)
        self.assertEqual([row["output"]["echo"]["n"] for row in done.rows], list(range(7)))

    def test_errors_go_to_their_file_and_keep_their_index(self):
        self.echo.reply = lambda call: (422, {}, '{"no":1}') if call.json["n"] % 3 == 1 else echo(call)
        self.weir("--url", self.echo.url, "-o", "out.jsonl", "--errors", "err.jsonl", self.plain_rows(10), status=1)
        self.assertEqual([row["index"] for row in self.read_rows("out.jsonl")], [0, 2, 3, 5, 6, 8, 9])
        failed = self.read_rows("err.jsonl")
        self.assertEqual([row["index"] for row in failed], [1, 4, 7])
        self.assertEqual(failed[0]["status"], 422)
        self.assertEqual(failed[0]["output"], {"no": 1})
        self.assertEqual(failed[0]["error"]["code"], "http_status")

    def test_errors_of_batch_rows_keep_their_index_too(self):
        self.echo.reply = lambda call: (422, {}, '{"no":1}') if b"question 2" in call.body else echo(call)
        self.weir("--url", self.echo.url, "-o", "out.jsonl", "--errors", "err.jsonl", self.batch_rows(5), status=1)
        self.assertEqual([row["custom_id"] for row in self.read_rows("out.jsonl")], ["row-0", "row-1", "row-3", "row-4"])
        self.assertFalse(any("index" in row for row in self.read_rows("out.jsonl")))
        self.assertEqual([(row["index"], row["custom_id"]) for row in self.read_rows("err.jsonl")], [(2, "row-2")])

    def test_meta_tells_how_it_went(self):
        tries = {}

        def reply(call):
            n = call.json["n"]
            tries[n] = tries.get(n, 0) + 1
            if n == 2 and tries[n] <= 2:
                return 429, {}, "{}"
            if n == 3 and tries[n] == 1:
                return 500, {}, "{}"
            return echo(call)

        self.echo.reply = reply
        self.weir("--url", self.echo.url, "-j", 3, "-o", "out.jsonl", "--meta", "--throttle", "aimd",
                  "--recovery-step", "20ms", "--retry-delay", "10ms", self.plain_rows(6), status=0)
        metas = [row["meta"] for row in self.read_rows("out.jsonl")]
        self.assertEqual([meta["submit_index"] for meta in metas], list(range(6)))
        self.assertEqual(sorted(meta["complete_index"] for meta in metas), list(range(6)))
        self.assertEqual([meta["attempts"] for meta in metas], [1, 1, 3, 2, 1, 1])
        self.assertEqual([meta["capacity_retries"] for meta in metas], [0, 0, 2, 0, 0, 0])
        self.assertGreater(metas[2]["throttled_ms"], 10)
        for meta in metas:
            self.assertLessEqual(meta["submit_time"], meta["start_time"])
            self.assertLessEqual(meta["start_time"], meta["complete_time"])
            self.assertLessEqual(meta["complete_time"], meta["deliver_time"])
            self.assertGreaterEqual(meta["buffer_wait_ms"], 0)
            self.assertEqual((meta["outcome"], meta["reason"]), ("ok", None))
        # Rows 4 and 5 were done before row 2 and waited for it.
        self.assertGreater(metas[5]["buffer_wait_ms"], 0)

    def test_headers_and_method(self):
        rows = self.run_rows('{"n":1}\n', "--method", "PUT", "--header", "X-One: a b", "--header", "x-two:c")
        call = self.echo.calls[0]
        self.assertEqual((call.method, call.headers["X-One"], call.headers["x-two"]), ("PUT", "a b", "c"))
        self.assertTrue(call.headers["Idempotency-Key"])
        self.assertEqual(len(rows), 1)

    def test_the_idempotency_key_is_the_rows_own(self):
        service = self.service(echo)
        rows = self.plain_rows(2)
        os.environ["WEIR_TEST_KEY"] = "one"
        self.addCleanup(os.environ.pop, "WEIR_TEST_KEY")
        for given in (("--header", "idempotency-key: one"), ("--header-env", "Idempotency-Key=WEIR_TEST_KEY")):
            done = self.weir("--url", service.url, *given, rows, status=2)
            self.assert_says(done, "each row's own", "leave it out")
        self.assertEqual(service.calls, [])

    def test_help(self):
        done = self.weir("--help", status=0)
        for word in (b"--url", b"--jobs", b"--retry-failed", b"--halt", b"Exit status"):
            self.assertIn(word, done.out)


class TestStreaming(RunCase):
    def test_rows_come_out_before_the_input_ends(self):
        service = self.service(echo)
        process = self.start("--url", service.url, "--progress", "none", stdin=subprocess.PIPE)
        for i in range(3):
            process.stdin.write(b'{"n":%d}\n' % i)
            process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], 10 * SLOWNESS)
            self.assertTrue(ready, "the row's result did not come out")
            self.assertEqual(json.loads(process.stdout.readline())["output"]["echo"]["n"], i)
        self.finish(process, status=0)

    def test_a_row_behind_a_slow_one_waits_for_it_in_memory_only(self):
        gate = self.gate()

        def reply(call):
            if call.json["n"] == 0:
                gate.wait()
            return echo(call)

        service = self.service(reply)
        process = self.start("--url", service.url, "-j", 4, "-o", "out.jsonl", self.plain_rows(50))
        wait_until(lambda: len(service.calls) == 50, 20, "the rows behind the slow one")
        self.assertEqual(self.read("out.jsonl"), b"")
        gate.open()
        self.finish(process, status=0)
        self.assert_in_order(self.read_rows("out.jsonl"), 50)

    def test_the_window_bounds_how_far_it_runs_ahead(self):
        gate = self.gate()

        def reply(call):
            if call.json["n"] == 0:
                gate.wait()
            return echo(call)

        service = self.service(reply)
        process = self.start("--url", service.url, "-j", 4, "--window", 20, "-o", "out.jsonl", self.plain_rows(200))
        wait_until(lambda: len(service.calls) >= 20 and service.inside == 1, 20, "the window to fill")
        self.assertLessEqual(len(service.calls), 20)
        gate.open()
        self.finish(process, status=0)
        self.assert_in_order(self.read_rows("out.jsonl"), 200)

    def test_a_fifo_as_input(self):
        service = self.service(echo)
        fifo = self.path("fifo")
        os.mkfifo(fifo)
        process = self.start("--url", service.url, fifo)
        with open(fifo, "wb") as f:
            f.write(b'{"n":0}\n{"n":1}\n')
        self.assert_in_order(self.finish(process, status=0).rows, 2)


class TestFlow(RunCase):
    def test_never_more_in_flight_than_jobs(self):
        pause = threading.Event()

        def reply(call):
            pause.wait(0.003)
            return echo(call)

        service = self.service(reply)
        self.weir("--url", service.url, "-j", 7, "-o", "out.jsonl", "--summary", "sum.json", self.plain_rows(300),
                  status=0)
        self.assertLessEqual(service.peak, 7)
        self.assertEqual(self.read_json("sum.json")["pool_stats"]["max_concurrent_reached"], 7)

    def test_a_budget_of_requests_is_kept_so_that_nothing_is_refused(self):
        rows = self.batch_rows(70)
        mock = self.mock("--rpm", 1200, "--window", "bucket:2s")
        self.weir("--url", mock.url, "-j", 32, "--rpm", 1200, "-o", "out.jsonl", rows, status=0)
        self.assertEqual(mock.stats()["refused"]["total"], 0)
        self.assertEqual(mock.stats()["accepted"], 70)
        # The same without the budget is refused: it is the budget that made the difference.
        mock = self.mock("--rpm", 1200, "--window", "bucket:2s")
        self.weir("--url", mock.url, "-j", 32, "-o", "again.jsonl", rows, status=0)
        self.assertGreater(mock.stats()["refused"]["total"], 0)

    def test_a_budget_of_tokens_is_kept_so_that_nothing_is_refused(self):
        rows = self.batch_rows(60)
        mock = self.mock("--tpm", 60000, "--window", "bucket:4s")
        self.weir("--url", mock.url, "-j", 32, "--tpm", 60000, "-o", "out.jsonl", "--summary", "sum.json", rows,
                  status=0)
        stats = mock.stats()
        self.assertEqual(stats["refused"]["total"], 0)
        self.assertEqual(self.read_json("sum.json")["tokens"], stats["tokens"])

    def test_a_row_larger_than_the_whole_budget_is_refused_at_once(self):
        service = self.service(echo)
        rows = self.write("in.jsonl", '{"a":"short"}\n{"a":"' + "word " * 4000 + '"}\n{"a":"short"}\n')
        self.weir("--url", service.url, "--tpm", 1000, "-o", "out.jsonl", rows, status=1, deadline_s=20)
        self.assertEqual([row["error"] and row["error"]["code"] for row in self.read_rows("out.jsonl")],
                         [None, "over_budget", None])
        self.assertEqual(len(service.calls), 2)

    def test_rate_spaces_the_requests(self):
        service = self.service(echo)
        self.weir("--url", service.url, "-j", 16, "--rate", 40, "-o", "out.jsonl", self.plain_rows(40), status=0)
        times = [call.at for call in service.calls]
        self.assertGreater(times[-1] - times[0], 39 / 40 * 0.9)
        # No burst at the start either.
        self.assertGreater(times[9] - times[0], 9 / 40 * 0.7)

    def test_the_pacer_spaces_retries_too(self):
        service = self.service(lambda call: (429, {}, "") if call.number % 2 == 0 else echo(call))
        # Every second request is refused, however few there are: a rate that is borne cannot be found.
        self.weir("--url", service.url, "-j", 8, "--throttle", "aimd", "--min-dispatch-delay", "20ms",
                  "-o", "out.jsonl", self.plain_rows(20), status=0)
        times = sorted(call.at for call in service.calls)
        self.assertGreaterEqual(times[-1] - times[0], (len(times) - 1) * 0.020 * 0.95)

    def test_retry_after_is_believed(self):
        service = self.service(lambda call: (429, {"Retry-After": "1"}, "") if call.number == 0 else echo(call))
        self.weir("--url", service.url, "-j", 1, "-o", "out.jsonl", self.plain_rows(3), status=0)
        self.assertGreaterEqual(service.calls[1].at - service.calls[0].at, 1.0)
        self.assertEqual(len(service.calls), 4)

    def test_a_retry_after_of_days_is_no_freeze(self):
        service = self.service(lambda call: (429, {"Retry-After": "276480"}, "") if call.json["n"] == 1 else echo(call))
        self.weir("--url", service.url, "-j", 1, "-o", "out.jsonl", self.plain_rows(3), status=1, deadline_s=20)
        rows = self.read_rows("out.jsonl")
        self.assertEqual([row["error"] and row["error"]["code"] for row in rows],
                         [None, "retry_after_too_long", None])
        self.assertIn("276", rows[1]["error"]["message"])

    def test_ten_refused_rows_finish_with_two_permits(self):
        seen = set()

        def reply(call):
            n = call.json["n"]
            if n in seen:
                return echo(call)
            seen.add(n)
            return 529, {}, ""

        service = self.service(reply)
        self.weir("--url", service.url, "-j", 2, "-o", "out.jsonl", "--throttle", "aimd", "--recovery-step", "5ms",
                  "--summary", "sum.json", self.plain_rows(10), status=0)
        self.assertEqual(len(service.calls), 20)
        self.assertEqual(self.read_json("sum.json")["pool_stats"]["capacity_retries"], 10)

    def test_full_is_not_failure_whatever_the_retries(self):
        for refusals, options in ((12, ("--throttle", "aimd", "--max-dispatch-delay", "20ms")), (8, ())):
            service = self.service(lambda call, refusals=refusals: (503, {}, "") if call.number < refusals else echo(call))
            self.weir("--url", service.url, "-j", 1, "--retries", 0, *options, "-o", f"{refusals}.jsonl",
                      self.plain_rows(2), status=0)
            self.assertEqual(len(service.calls), refusals + 2)

    def test_max_capacity_retry_ends_it(self):
        service = self.service(lambda call: (429, {}, '{"full":true}'))
        self.weir("--url", service.url, "-j", 2, "--max-capacity-retry", "500ms", "-o", "out.jsonl",
                  self.plain_rows(3), status=1, deadline_s=20)
        for row in self.read_rows("out.jsonl"):
            self.assertEqual(row["error"]["code"], "retry_timeout")
            self.assertEqual(row["status"], 429)
            self.assertRegex(row["error"]["message"], "429")

    def test_a_status_that_means_full_can_be_added(self):
        service = self.service(lambda call: (420, {}, "") if call.number < 3 else echo(call))
        self.weir("--url", service.url, "-j", 1, "--retries", 0, "--capacity-status", "420", "-o", "out.jsonl",
                  self.plain_rows(2), status=0)

    def test_timeout_cancels_the_attempt_and_tries_again(self):
        gate = self.gate()

        def reply(call):
            if call.number == 0:
                gate.wait()
            return echo(call)

        service = self.service(reply)
        self.weir("--url", service.url, "-j", 1, "--timeout", "300ms", "--retry-delay", "5ms", "-o", "out.jsonl",
                  "--meta", self.plain_rows(2), status=0, deadline_s=20)
        self.assertEqual([row["meta"]["attempts"] for row in self.read_rows("out.jsonl")], [2, 1])

    def test_timeouts_use_the_retries_up(self):
        gate = self.gate()
        service = self.service(lambda call: (gate.wait(), echo(call))[1])
        self.weir("--url", service.url, "-j", 4, "--timeout", "100ms", "--retries", 1, "--retry-delay", "5ms", "-o",
                  "out.jsonl", "--meta", self.plain_rows(4), status=1, deadline_s=20)
        rows = self.read_rows("out.jsonl")
        self.assertEqual({row["error"]["code"] for row in rows}, {"timeout"})
        # Some may not have come as far as the service.
        self.assertEqual([row["meta"]["attempts"] for row in rows], [2] * 4)
        self.assertLessEqual(len(service.calls), 8)

    def test_a_deadline_ends_the_run(self):
        gate = self.gate()

        def reply(call):
            if call.json["n"] >= 3:
                gate.wait()
            return echo(call)

        service = self.service(reply)
        self.weir("--url", service.url, "-j", 1, "--deadline", "700ms", "-o", "out.jsonl", self.plain_rows(10),
                  status=1, deadline_s=20)
        rows = self.read_rows("out.jsonl")
        self.assert_in_order(rows, 10)
        self.assertEqual([row["error"]["code"] for row in rows if row["error"]], ["deadline"] * 7)

    def test_permanent_failures_are_not_tried_again(self):
        for status in (400, 401, 403, 404, 413, 422):
            service = self.service(lambda call, status=status: (status, {}, "{}"))
            self.weir("--url", service.url, "-o", f"o{status}.jsonl", self.plain_rows(2), status=1)
            self.assertEqual(len(service.calls), 2, status)

    def test_retryable_failures_are_tried_three_times(self):
        for status in (408, 500, 502, 504):
            service = self.service(lambda call, status=status: (status, {}, '{"e":1}'))
            self.weir("--url", service.url, "--retry-delay", "5ms", "-o", f"o{status}.jsonl", self.plain_rows(2),
                      status=1)
            self.assertEqual(len(service.calls), 6, status)
            self.assertEqual({row["status"] for row in self.read_rows(f"o{status}.jsonl")}, {status})


class TestHalt(RunCase):
    def test_soon_lets_running_rows_finish(self):
        gate = self.gate()

        def reply(call):
            n = call.json["n"]
            if n == 0:
                return 400, {}, "{}"
            gate.wait()
            return echo(call)

        service = self.service(reply)
        with open(self.path("stderr"), "wb") as err:
            process = self.start("--url", service.url, "-j", 3, "--throttle", "none", "--halt", "soon,fail=1",
                                 "-o", "out.jsonl", "--summary", "sum.json", self.plain_rows(100), stderr=err)
        wait_until(lambda: len(service.calls) >= 3 and service.inside <= 3, 10, "requests")
        gate.open()
        self.finish(process, status=4)
        rows = self.read_rows("out.jsonl")
        self.assert_in_order(rows, len(rows))
        self.assertLess(len(rows), 20)
        summary = self.read_json("sum.json")
        self.assertEqual((summary["end"], summary["exit_status"]), ("halted", 4))
        self.assertIn(b"halt", self.read("stderr"))

    def test_now_cancels_them(self):
        gate = self.gate()

        def reply(call):
            if call.json["n"] == 2:
                return 400, {}, "{}"
            if call.json["n"] > 2:
                gate.wait()
            return echo(call)

        service = self.service(reply)
        command = ("--url", service.url, "-j", 4, "-o", "out.jsonl", self.plain_rows(50))
        self.weir(*command, "--halt", "now,fail=1", status=4, deadline_s=20)
        gate.open()
        # What was cancelled is not finished: the same command goes on.
        self.weir(*command, status=1)
        rows = self.read_rows("out.jsonl")
        self.assert_in_order(rows, 50)
        self.assertEqual([row["index"] for row in rows if row["error"]], [2])

    def test_a_percentage_is_of_the_rows_finished(self):
        service = self.service(lambda call: (400, {}, "{}") if call.json["n"] % 4 == 3 else echo(call))
        rows = self.plain_rows(200)
        self.weir("--url", service.url, "-j", 1, "--halt", "soon,fail=30%", "-o", "a.jsonl", rows, status=1)
        self.assertEqual(len(self.read_rows("a.jsonl")), 200)
        self.weir("--url", service.url, "-j", 1, "--halt", "soon,fail=20%", "-o", "b.jsonl", rows, status=4)
        self.assertLess(len(self.read_rows("b.jsonl")), 30)

    def test_done_and_success(self):
        service = self.service(echo)
        for why in ("done", "success"):
            self.weir("--url", service.url, "-j", 1, "--halt", f"soon,{why}=5", "-o", f"{why}.jsonl",
                      self.plain_rows(100), status=4)
            self.assertLess(len(self.read_rows(f"{why}.jsonl")), 12)
        self.weir("--url", service.url, "--halt", "never", "-o", "n.jsonl", self.plain_rows(20), status=0)


class TestTold(RunCase):
    def test_progress_as_json(self):
        mock = self.mock("--latency", "20ms", "--concurrency", 4)
        done = self.weir("--url", mock.url, "-j", 8, "--progress", "json", "-o", "out.jsonl",
                         self.batch_rows(250), status=0)
        said = [json.loads(line) for line in done.text.splitlines() if line.startswith("{")]
        self.assertGreaterEqual(len(said), 2)
        for before, after in zip(said, said[1:]):
            self.assertLessEqual(before["rows_done"], after["rows_done"])
            self.assertLessEqual(before["elapsed_s"], after["elapsed_s"])
        for one in said:
            self.assertLessEqual(one["in_flight"], 8)
        self.assertEqual(said[-1]["rows_done"], 250)
        self.assertEqual(said[-1]["rows_total"], 250)
        self.assertEqual(said[-1]["rows_failed"], 0)
        self.assertEqual(said[-1]["phase"], "done")
        self.assertEqual(said[-1]["attempts"] - said[-1]["refused"], 250)

    def test_a_program_that_reads_progress_gets_nothing_but_objects(self):
        service = self.service(echo)
        done = self.weir("--url", service.url, "--progress", "json", "-o", "out.jsonl", self.plain_rows(5), status=0)
        said = [json.loads(line) for line in done.err.splitlines()]
        self.assertEqual(said[-1]["phase"], "done")

    def test_a_program_that_reads_progress_is_told_of_an_early_end(self):
        service = self.service(lambda call: (400, {}, b"no"))
        done = self.weir("--url", service.url, "-j", 1, "--progress", "json", "--halt", "soon,fail=2", "-o", "out.jsonl",
                         self.plain_rows(9), status=4)
        other = [line for line in done.err.splitlines() if not line.startswith(b"{")]
        self.assertEqual(len(other), 1, done.text)
        self.assertRegex(other[0], rb"^weir run: \d of \d rows failed \(--halt soon,fail=2\)$")

    def test_plain_progress_has_no_escape_sequences(self):
        mock = self.mock("--latency", "20ms")
        done = self.weir("--url", mock.url, "-j", 4, "-o", "out.jsonl", self.batch_rows(300), status=0)
        self.assertNotIn(b"\033", done.err)
        self.assertNotIn(b"\r", done.err)
        self.assert_says(done, r"300 of 300 rows", r"300 ok, 0 failed", r"in flight", r"refused", r"for their turn")

    def test_quiet_says_nothing(self):
        service = self.service(echo)
        done = self.weir("--url", service.url, "-q", "-o", "out.jsonl", self.plain_rows(5), status=0)
        self.assertEqual(done.err, b"")
        self.assertEqual(done.out, b"")

    def test_the_summary_has_the_statistics_of_the_contract(self):
        mock = self.mock("--concurrency", 3, "--latency", "10ms", "--refuse-with", "429,503")
        done = self.weir("--url", mock.url, "-j", 8, "--max-capacity-retry", "100s", "-o", "out.jsonl", "--summary", "sum.json", self.batch_rows(100), status=0)
        summary = self.read_json("sum.json")
        self.assertEqual(set(summary["pool_config"]),
                         {"pool_size", "max_capacity_retry_seconds", "dispatch_delay_at_completion_ms"})
        self.assertEqual(set(summary["pool_stats"]),
                         {"capacity_retries", "successes", "failures", "peak_delay_ms", "current_delay_ms",
                          "total_throttle_time_ms", "max_concurrent_reached"})
        self.assertEqual(summary["pool_config"]["pool_size"], 8)
        self.assertEqual(summary["pool_config"]["max_capacity_retry_seconds"], 100)
        self.assertEqual(summary["pool_stats"]["successes"], 100)
        self.assertEqual(summary["pool_stats"]["failures"], 0)
        refused = mock.stats()["refused"]["total"]
        self.assertEqual(summary["pool_stats"]["capacity_retries"], refused)
        self.assertEqual(summary["attempts"]["sent"], 100 + refused)
        self.assertGreater(refused, 0)
        self.assertEqual((summary["end"], summary["exit_status"]), ("complete", 0))
        self.assertEqual(summary["files"]["output"], "out.jsonl")
        self.assert_says(done, "100 of 100 rows")

    def test_events_tell_each_attempt(self):
        service = self.service(lambda call: (429, {}, "") if call.number == 0 else echo(call))
        self.weir("--url", service.url, "-j", 1, "-o", "out.jsonl", "--events", "ev.jsonl", self.plain_rows(3),
                  status=0)
        events = self.read_rows("ev.jsonl")
        self.assertGreaterEqual(len(events), 4)
        self.assertIn("capacity", self.read("ev.jsonl").decode())

    def test_events_meta_and_summary_tell_what_the_throttle_did(self):
        mock = self.mock("--rate", 40, "--burst", "100ms", "--latency", "20ms")
        done = self.weir("--url", mock.url, "-j", 16, "-o", "out.jsonl", "--events", "ev.jsonl", "--meta",
                         "--summary", "sum.json", self.batch_rows(150), status=0)
        changes = [event for event in self.read_rows("ev.jsonl") if event["event"] == "throttle.changed"]
        state = self.read_json("sum.json")["throttle_state"]
        self.assertEqual(self.read_json("sum.json")["throttle"], "adaptive")
        self.assertEqual([event["changes"] for event in changes], list(range(1, len(changes) + 1)))
        self.assertEqual((changes[0]["mode_before"], changes[0]["reason"]), ("open", "first_refusal"))
        for event in changes:
            self.assertIn("mode", event)
            self.assertIn(" -> ", event["detail"])
            if event["mode"] == "rate":
                self.assertGreater(event["rate_per_s"], 0)
        self.assertEqual(state["changes"], len(changes))
        for reason, count in state["by_reason"].items():
            self.assertEqual(count, len([event for event in changes if event["reason"] == reason]), reason)
        limits = [row["meta"]["throttle"] for row in self.read_rows("out.jsonl")]
        self.assertEqual(limits[0], {"mode": "open", "rate_per_s": None, "window": None, "delay_ms": 0,
                                     "reason": "start"})
        rates = [limit["rate_per_s"] for limit in limits if limit["mode"] == "rate"]
        self.assertGreater(len(rates), 0)
        self.assertGreaterEqual(min(rates), state["rate_min_per_s"])
        self.assertLessEqual(max(rates), state["rate_max_per_s"])
        self.assert_says(done, r"throttle   adaptive: .* at the end; rates from")

    def test_a_pause_that_a_failure_asked_for_is_an_event(self):
        service = self.service(lambda call: (500, {"Retry-After": "1"}, "") if call.number == 0 else echo(call))
        self.weir("--url", service.url, "-j", 1, "-o", "out.jsonl", "--events", "ev.jsonl", "--retry-delay", "5ms",
                  self.plain_rows(2), status=0)
        held = [event for event in self.read_rows("ev.jsonl") if event["event"] == "pool.held"]
        self.assertEqual(len(held), 1)
        self.assertGreaterEqual(held[0]["wait_ms"], 1000)
        self.assertEqual(held[0]["outcome"], "failed")
        self.assertGreaterEqual(service.calls[1].at - service.calls[0].at, 1.0)

    def test_exit_statuses(self):
        service = self.service(lambda call: (400, {}, "{}") if call.json["n"] == 1 else echo(call))
        self.weir("--url", service.url, self.plain_rows(1), status=0)
        self.weir("--url", service.url, self.plain_rows(2), status=1)
        self.weir("--url", service.url, self.write("bad", "x\n"), status=2)
        self.weir("--url", service.url, "--halt", "now,fail=1", "-j", 1, self.plain_rows(9), status=4)
        # 3, stopped, is test_run_crash.py's.

    def test_unknown_commands_and_options(self):
        for words in (["nonsense"], [], ["run", "--nonsense"]):
            done = subprocess.run([WEIR, *words], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=30)
            self.assertEqual(done.returncode, 2, words)
            self.assertTrue(done.stderr)


ESCAPE = re.compile(r"\033\[[0-9;?]*[A-Za-z]|\033[=>78]")


class Screen:
    """As much of a terminal as the display needs; lines is what a person would see. It does not wrap: a line that is
    longer than the width shows as one that is longer than the width."""

    def __init__(self):
        self.lines, self.row, self.column, self.widest = [""], 0, 0, 0

    def feed(self, text):
        at = 0
        while at < len(text):
            match = ESCAPE.match(text, at)
            if match:
                self.control(match.group())
                at = match.end()
                continue
            self.put(text[at])
            at += 1

    def put(self, c):
        if c == "\n":
            self.row += 1
            if self.row == len(self.lines):
                self.lines.append("")
        elif c == "\r":
            self.column = 0
        elif c >= " ":
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[:self.column] + c + line[self.column + 1:]
            self.column += 1
            self.widest = max(self.widest, self.column)

    def control(self, sequence):
        number = re.search(r"\d+", sequence)
        count = int(number.group()) if number else None
        if sequence.endswith("A"):
            self.row = max(0, self.row - (count or 1))
        elif sequence.endswith("B"):
            self.row = min(len(self.lines) - 1, self.row + (count or 1))
        elif sequence.endswith("K"):
            self.lines[self.row] = self.lines[self.row][:self.column] if not count else ""
        elif sequence.endswith("J"):
            self.lines[self.row] = self.lines[self.row][:self.column]
            del self.lines[self.row + 1:]
        elif sequence.endswith("G"):
            self.column = (count or 1) - 1


def set_size(fd, columns, rows=24):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class TestTerminal(RunCase):
    def on_terminal(self, columns, *args, results=None):
        """weir with a pseudo-terminal for standard error: (process, the other end). results: they go there too, by
        standard output ("inherited") or by name ("named")."""
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        set_size(ours, columns)
        if results == "named":
            args = (*args, "-o", os.ttyname(theirs))
        process = self.start(*args, stderr=theirs, stdout=theirs if results == "inherited" else subprocess.DEVNULL)
        os.close(theirs)
        return process, ours

    def read_screen(self, fd, until):
        """Feeds a Screen until until(text so far) holds or the other side is closed: (text, screen)."""
        text = ""
        deadline = 60 * SLOWNESS
        while not until(text):
            ready, _, _ = select.select([fd], [], [], deadline)
            self.assertTrue(ready, "the display stands still")
            try:
                data = os.read(fd, 65536)
            except OSError:  # the other end is closed: EIO on Linux
                break
            if not data:
                break
            text += data.decode()
        return text

    def test_the_display_fits_the_terminal_and_follows_its_size(self):
        gate = self.gate()

        def reply(call):
            if call.json["n"] >= 40:
                gate.wait()
            return echo(call)

        service = self.service(reply)
        process, fd = self.on_terminal(72, "--url", service.url, "-j", 6, "-o", "out.jsonl", self.plain_rows(60))
        text = ""
        for columns in (72, 38, 120, 20):
            set_size(fd, columns)
            # What was drawn before it noticed may be wider still.
            text += self.read_screen(fd, lambda seen: seen.count("\r") > 16)
            frames = self.read_screen(fd, lambda seen: seen.count("\r") > 16)
            text += frames
            self.check_width(frames[frames.index("\r"):], columns)
        gate.open()
        text += self.read_screen(fd, lambda _: False)
        self.finish(process, status=0)
        whole = Screen()
        whole.feed(text)
        seen = "\n".join(whole.lines)
        self.assertRegex(seen, r"60 of 60 rows")
        # Each frame replaces the one before: what stands there at the end is one summary, not a column of frames.
        self.assertLess(len([line for line in whole.lines if line.strip()]), 30, seen)

    def test_results_on_the_terminal_are_not_drawn_over(self):
        mock = self.mock("--latency", "250ms")
        for results in ("inherited", "named"):
            process, fd = self.on_terminal(200, "--url", mock.url, "-j", 2, self.batch_rows(8), results=results)
            text = self.read_screen(fd, lambda _: False)
            self.finish(process, status=0)
            screen = Screen()
            screen.feed(text)
            self.assertEqual(len([line for line in screen.lines if '"custom_id":' in line]), 8, results)

    def check_width(self, text, columns):
        screen = Screen()
        screen.feed(text)
        self.assertLessEqual(screen.widest, columns, repr(text[-400:]))

    def test_the_display_says_what_matters(self):
        mock = self.mock("--latency", "30ms", "--concurrency", 4)
        process, fd = self.on_terminal(100, "--url", mock.url, "-j", 8, "-o", "out.jsonl",
                                       self.batch_rows(250))
        text = self.read_screen(fd, lambda _: False)
        self.finish(process, status=0)
        plain = ESCAPE.sub("", text)
        for word in ("failed", "in flight", "refused", "/s", "adaptive", "eta"):
            self.assertRegex(plain, rf"(?i){word}")
        # The cursor is given back.
        self.assertEqual(text.count("\033[?25l") > 0, text.rfind("\033[?25h") > text.rfind("\033[?25l"))

    def test_a_terminal_of_no_width_and_of_one_column(self):
        service = self.service(echo)
        for columns in (0, 1, 5, 1000):
            process, fd = self.on_terminal(columns, "--url", service.url, "-o", "out.jsonl", "--fresh",
                                           self.plain_rows(300))
            self.read_screen(fd, lambda _: False)
            self.finish(process, status=0)

    def test_a_terminal_that_goes_away(self):
        gate = self.gate()
        service = self.service(lambda call: (gate.wait(), echo(call))[1])
        ours, theirs = pty.openpty()
        process = self.start("--url", service.url, "-j", 2, "-o", "out.jsonl", self.plain_rows(4), stderr=theirs,
                             stdout=subprocess.DEVNULL)
        os.close(theirs)
        wait_until(lambda: service.inside == 2, 10, "requests")
        os.close(ours)
        gate.open()
        self.finish(process, status=0)
        self.assert_in_order(self.read_rows("out.jsonl"), 4)

    def test_ctrl_c_typed_at_the_terminal(self):
        gate = self.gate()
        service = self.service(lambda call: (gate.wait(), echo(call))[1])
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        set_size(ours, 80)

        def own_the_terminal():
            os.setsid()
            fcntl.ioctl(2, termios.TIOCSCTTY, 0)

        process = self.start("--url", service.url, "-j", 2, "-o", "out.jsonl", self.plain_rows(9), stderr=theirs,
                             stdout=subprocess.DEVNULL, before=own_the_terminal)
        os.close(theirs)
        wait_until(lambda: service.inside == 2, 10, "requests")
        os.write(ours, b"\x03")
        self.read_screen(ours, lambda text: re.search("stopping|finish", text))
        gate.open()
        text = self.read_screen(ours, lambda _: False)
        self.finish(process, status=3)
        self.assertIn("same command", text)

    def test_in_tmux(self):
        tmux = shutil.which("tmux")
        self.assertTrue(tmux, "tmux is not there: make deps")
        gate = self.gate()

        def reply(call):
            if call.json["n"] >= 60:
                gate.wait()
            return echo(call)

        service = self.service(reply)
        rows = self.plain_rows(100)
        env = environment(self.dir)
        socket_path = self.path("tmux.sock")
        run = [tmux, "-S", socket_path, "-f", "/dev/null"]
        command = f"exec {WEIR} run --url {service.url} -j 4 -o {self.path('out.jsonl')} {rows}"
        subprocess.run([*run, "new-session", "-d", "-x", "80", "-y", "12", command], check=True, env=env, cwd=self.dir)
        self.addCleanup(subprocess.run, [*run, "kill-server"], check=False, env=env, stderr=subprocess.DEVNULL)
        pid = int(subprocess.run([*run, "display-message", "-p", "#{pid}"], check=True, env=env,
                                 capture_output=True).stdout)

        def pane():
            done = subprocess.run([*run, "capture-pane", "-p"], check=False, env=env, capture_output=True)
            return done.stdout.decode()

        def frames():
            return [line for line in pane().splitlines() if "in flight" in line]

        wait_until(lambda: "60" in pane() and frames(), 20, "the display")
        self.assertEqual(len(frames()), 1, pane())
        for columns in (50, 30, 110):
            subprocess.run([*run, "resize-window", "-x", str(columns), "-y", "12"], check=True, env=env)
            wait_until(lambda: len(frames()) <= 1 and "60" in pane(), 10, "the display to follow")
            for line in pane().splitlines():
                self.assertLessEqual(len(line), columns)
        gate.open()
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"), 20, "the end")
        self.assert_in_order(self.read_rows("out.jsonl"), 100)


if __name__ == "__main__":
    unittest.main()
