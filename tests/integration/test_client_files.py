"""Files of tasks: weir submit --lines and --tasks, weir batch submit.

run-tests: waits
run-tests: sanitizers
"""
import json
import re
import subprocess
import unittest

from clientkit import Shared
from weirtest import SLOWNESS, WEIR


class Lines(Shared):
    def test_many_payloads_stream_in_order(self):
        count = 3000
        path = self.write("rows.jsonl", "".join(f'{{"shell":"exit {n}","n":1.{n:04}0}}\n' for n in range(count)))
        done = self.weir("submit", "--lines", path, "--not-before", "+1h", "--tenant", "many", "--priority", "3", status=0)
        first, last = map(int, done.out.split("-"))
        self.assertEqual((last - first + 1, done.err), (count, "accepted 3,000 tasks\n"))
        rows = self.weir("task", "list", "--tenant", "many", "--all", "--json", status=0).rows
        self.assertEqual([row["id"] for row in rows], list(range(first, last + 1)))
        task = self.d.request("GET", f"/v1/tasks/{last}")[2].decode()
        self.assertIn('"payload":{"shell":"exit 2999","n":1.29990}', task)  # byte for byte
        self.assertIn('"priority":3', task)

    def test_whole_tasks_and_empty_lines(self):
        done = self.weir("submit", "--lines", "-", "--tasks", "--json", status=0,
                         stdin='{"payload":1,"key":"t-1","not_before":"+1h"}\n\n{"payload":2,"key":"t-2","not_before":"+1h"}')
        self.assertEqual(done.json["accepted"], 2)
        self.assertEqual(len(self.d.get("/v1/tasks?key=t-2")["tasks"]), 1)

    def test_a_file_with_a_line_that_is_no_json_is_not_submitted_at_all(self):
        rows = "".join(f'{{"shell":"true","n":{n}}}\n' for n in range(5000))
        deep = "[" * 512 + "]" * 512  # is JSON; with a task around it, it is too deep
        for number, (args, text, says) in enumerate((
                ([], rows + "{bad\n", ":5001: not JSON: a member's name is missing, at byte 1"),
                ([], '{"shell":"true"}\n\n1,"pool":"spare"\n{"shell":"true"}\n', ":3: not JSON"),
                ([], rows + deep, ":5001: not JSON"),
                (["--tasks"], '{"payload":1,"not_before":"+1h"}\n{"payload":2', ":2: not JSON"),
                (["--tasks"], '{"payload":1,"not_before":"+1h"}\n7\n', ":2: a task is an object"))):
            path = self.write(f"rows-{number}.jsonl", text)
            before = self.d.get("/v1/status")["tasks"], self.batches()
            for command in (["submit", "--lines", path], ["batch", "submit", path]):
                done = self.refused(*command, *args, says=path + says)
                self.assertIn("nothing has been submitted\n", done.err)
            # As standard input it is the same file.
            with open(path, "rb") as file:
                done = subprocess.run([WEIR, "batch", "submit", *args], stdin=file, env=self.d.weir_env(), capture_output=True,
                                      text=True, timeout=60 * SLOWNESS)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn("standard input" + says, done.stderr)
            self.assertEqual((self.d.get("/v1/status")["tasks"], self.batches()), before)

    def batches(self):
        return len(self.weir("batch", "list", "--all", "--json", status=0).rows)

    def test_a_stream_with_a_line_that_is_no_json_says_what_was_taken(self):
        rows = "1\n" * 2500 + "{bad\n" + "1\n"
        hold = ["--not-before", "+1h"]
        done = self.refused("submit", "--lines", "-", *hold, "--tenant", "broken", stdin=rows, says="standard input:2501: not JSON")
        first, last = map(int, re.search(r"accepted all the same: 2500 tasks: (\d+)-(\d+)\n", done.err).groups())
        ids = [row["id"] for row in self.weir("task", "list", "--tenant", "broken", "--all", "--json", status=0).rows]
        self.assertEqual(ids, list(range(first, last + 1)))
        done = self.refused("batch", "submit", *hold, stdin=rows, says="standard input:2501: not JSON")
        number = re.search(r"batch (\d+) has 2500 tasks and takes no more\n", done.err)[1]
        self.assertEqual(self.d.get(f"/v1/batches/{number}")["total"], 2500)
        done = self.refused("batch", "submit", *hold, "--open", "--json", stdin=rows, says="standard input:2501: not JSON")
        problem = json.loads(done.err)
        self.assertEqual((problem["line"], problem["accepted"], problem["batch_open"]), (2501, 2500, True))
        (first, last), = problem["ranges"]
        self.assertEqual(last - first, 2499)
        self.assertEqual(self.d.get(f"/v1/batches/{problem['batch']}")["total"], 2500)

    def test_a_stream_whose_first_line_is_wrong_makes_no_batch(self):
        before = self.batches()
        for args in ([], ["--tasks"]):
            done = self.refused("batch", "submit", *args, stdin='\n \n{bad\n{"payload":1}\n', says="standard input:3: not JSON")
            self.assertIn("nothing has been submitted\n", done.err)
        self.assertEqual(self.batches(), before)
        # Empty lines keep their numbers, held or not.
        done = self.refused("batch", "submit", stdin="\n" * 70000 + "1\n{bad\n", says="standard input:70002: not JSON")
        self.assertRegex(done.err, r"batch \d+ has 1 tasks? and takes no more")

    def test_a_task_that_the_daemon_refuses_is_named_by_its_line(self):
        done = self.refused("submit", "--lines", "-", "--tasks", stdin='{"payload":1}\n\n{"paylod":1}\n', says="line 3: paylod")
        self.assertRegex(done.err, r"accepted all the same: 1 tasks: \d+")

    def test_a_stream_that_is_refused_early_ends_at_once(self):
        # More than what fits into the pipes: the answer comes while lines are still to be sent.
        done = self.refused("submit", "--lines", "-", "--tasks", says='did you mean "payload"?',
                            stdin='{"paylod":1}\n' + '{"payload":"%s"}\n' % ("x" * 100) * 100000)
        self.assertIn("line 1", done.err)

    def test_what_goes_with_one_task_only_is_refused(self):
        for args, says in ((["--wait"], "--wait is for one task"), (["--key", "x"], "--key is for one task"),
                           (["--shell", "x"], "--lines says what is to be done"), (["--tasks", "--pool", "sh"], "--tasks")):
            self.refused("submit", "--lines", "-", *args, says=says)
        self.refused("submit", "--lines", "/no/such", says="/no/such cannot be read")


class Arrays(Shared):
    HOLD = {"payload": {"shell": "true"}, "not_before": "+1h"}

    def test_tasks_of_one_file_name_each_other(self):
        tasks = [{**self.HOLD, "name": "report", "key": "report", "after": ["one", "two"]}, {**self.HOLD, "name": "one"},
                 {**self.HOLD, "name": "two", "after": ["one"]}]
        path = self.write("chain.json", json.dumps(tasks, indent=2) + "\n")
        done = self.weir("submit", "--tasks", path, status=0)
        self.assertEqual(done.err, "accepted 3 tasks\n")
        first, last = map(int, done.out.split("-"))
        self.assertEqual(last - first, 2)
        self.assertEqual([sorted(self.d.task(n).get("after", [])) for n in range(first, last + 1)],
                         [[first + 1, last], [], [first + 1]])
        done = self.weir("submit", "--json", "--tasks", "-", stdin=json.dumps(tasks), status=0)
        self.assertEqual(done.json, {"ids": [last + 1, last + 2, last + 3], "existing": 0})
        # In the order of the file, whatever the numbers.
        twice = [{**self.HOLD, "idempotency_key": f"array-{n}"} for n in range(3)]
        first = int(self.weir("submit", "--tasks", "-", stdin=json.dumps(twice[:2]), status=0).out.split("-")[0])
        done = self.weir("submit", "--tasks", "-", stdin=json.dumps([twice[2], *twice[:2]]), status=0)
        self.assertEqual(done.out, f"{first + 2}, {first}-{first + 1}\n")
        number = int(self.weir("batch", "open", status=0).out)
        self.weir("submit", "--batch", number, "--tasks", path, status=0)
        self.assertEqual(self.d.get(f"/v1/batches/{number}")["total"], 3)

    def test_it_is_all_or_nothing(self):
        before = self.d.get("/v1/status")["tasks"]
        for text, says in (('[{"payload":1},\n{"payload":2,\n}]', ":3: not JSON"), ("", "a JSON array of tasks is expected"),
                           ('{"payload":1}\n{"payload":2}\n', "tasks on lines of their own go with --lines FILE --tasks"),
                           ("[]", "1 to 100000"), ('[{"payload":1},{"paylod":2}]', "[1].paylod"),
                           ('[{"payload":1},{"payload":2,"after":["nobody"]}]', "nobody"),
                           ('[{"payload":1,"name":"a","after":["b"]},{"payload":2,"name":"b","after":["a"]}]', "would wait for the next")):
            done = self.refused("submit", "--tasks", self.write("wrong.json", text), says=says)
            self.assertNotIn("accepted", done.err)
        self.refused("submit", "--tasks", "/no/such", says="/no/such cannot be read")
        for args, says in (([], "--tasks goes with a file"), (["x.json", "--pool", "sh"], "leave out --tasks"),
                           (["x.json", "--key", "k"], "leave out --tasks"), (["x.json", "--shell", "x"], "leave out --tasks"),
                           (["x.json", "--wait"], "--wait is for one task"), (["a", "b"], '"b" is not expected here'),
                           (["--lines", "-", "x.json"], '"x.json" is not expected here')):
            self.refused("submit", "--tasks", *args, says=says)
        self.assertEqual(self.d.get("/v1/status")["tasks"], before)


if __name__ == "__main__":
    unittest.main()
