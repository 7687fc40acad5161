"""The command as a whole: its subcommands, its help, and that the man page knows every option.

run-tests: waits
"""
import re
import subprocess
import unittest

import os

from weirtest import ROOT, WEIR, Case


def weir(*args, **more):
    return subprocess.run([WEIR, *args], capture_output=True, text=True, timeout=30,
                          stdin=subprocess.DEVNULL, **more)


class Cli(Case):
    def test_version_and_help_go_to_standard_output(self):
        for args in (["--version"], ["-V"], ["version"]):
            done = weir(*args)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertRegex(done.stdout, r"^weir \d+\.\d+\.\d+\n$")
        for args in (["--help"], ["-h"], ["help"], ["help", "help"]):
            done = weir(*args)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            for command in ("run", "mock", "simulate", "version", "help"):
                self.assertRegex(done.stdout, rf"(?m)^  {command} ")

    def test_the_command_of_a_command_has_its_help_both_ways(self):
        for words in (["task", "list"], ["batch", "submit"], ["completion", "bash"], ["worker", "check"]):
            one, other = weir("help", *words), weir(*words, "--help")
            self.assertEqual((one.returncode, one.stderr, one.stdout), (0, "", other.stdout))
            self.assertTrue(one.stdout.startswith(f"Usage: weir {' '.join(words)}"), one.stdout[:100])
        for args, says in ((["task", "lits"], "did you mean list?"), (["status", "list"], "takes one command"),
                           (["task", "list", "show"], "takes one command")):
            done = weir("help", *args)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn(says, done.stderr)
        self.assertEqual(weir("version", "--help").stdout, weir("help", "version").stdout)
        self.assertEqual(weir("help", "--help").stdout, weir("--help").stdout)

    def test_a_command_has_its_help_both_ways(self):
        for command in ("run", "mock"):
            one, other = weir("help", command), weir(command, "--help")
            self.assertEqual(one.returncode, 0)
            self.assertEqual(one.stdout, other.stdout)
            self.assertIn(f"weir {command}", one.stdout)

    def test_what_is_unknown_gets_the_nearest_name_and_status_2(self):
        for args, said in ((["rnu"], 'unknown command "rnu"; did you mean run?'),
                           (["dance"], "weir help lists all"),
                           (["help", "mok"], "did you mean mock?"),
                           (["--versoin"], "unknown option --versoin"),
                           (["run", "--jbos", "3"], "did you mean --jobs?"),
                           (["version", "now"], "takes no arguments"),
                           ([], "Usage: weir COMMAND"),
                           (["run"], "weir run: where rows go is missing: give --url")):
            done = weir(*args)
            self.assertEqual(done.returncode, 2, args)
            self.assertIn(said, done.stderr)
            self.assertEqual(done.stdout, "")

    def test_help_that_cannot_be_written_is_a_failure(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([WEIR, "--help"], stdout=full, stderr=subprocess.PIPE, text=True,
                                  timeout=30)
        self.assertEqual(done.returncode, 1)
        self.assertIn("No space left", done.stderr)

    def test_the_man_page_has_every_option_and_no_other(self):
        with open(os.path.join(ROOT, "docs", "weir.1"), encoding="utf-8") as f:
            page = f.read()
        for section, command in (("WEIR RUN", "run"), ("WEIR MOCK", "mock")):
            text = re.search(rf'\.SH "{section}"\n(.*?)\n\.SH ', page, re.S)[1]
            documented = set(re.findall(r"^(?:\\fB\\-.\\fR, )?\\fB\\-\\-([a-z\\-]+)\\fR", text, re.M))
            documented = {name.replace("\\", "") for name in documented}
            offered = set(re.findall(r"^ +(?:-., )?--([a-z-]+)", weir(command, "--help").stdout,
                                     re.M))
            self.assertEqual(documented, offered)

    def test_the_man_page_has_what_only_simulate_has(self):
        with open(os.path.join(ROOT, "docs", "weir.1"), encoding="utf-8") as f:
            page = f.read()
        text = re.search(r'\.SH "WEIR SIMULATE"\n(.*?)\n\.SH ', page, re.S)[1]
        documented = {name.replace("\\", "") for name in
                      re.findall(r"^(?:\\fB\\-.\\fR, )?\\fB\\-\\-([a-z\\-]+)\\fR", text, re.M)}
        groups = re.split(r"^(\S.*):$", weir("simulate", "--help").stdout, flags=re.M)
        offered = set()
        for title, options in zip(groups[1::2], groups[2::2]):
            if not title.startswith(("Flow", "Throttle", "Service")):
                offered |= set(re.findall(r"^ +(?:-., )?--([a-z-]+)", options, re.M))
        self.assertEqual(documented, offered)

    def test_simulate_takes_the_flow_options_of_run_and_the_service_of_mock(self):
        def options(command):
            return set(re.findall(r"^ +(?:-., )?--([a-z-]+)", weir(command, "--help").stdout, re.M))

        flow = re.search(r"^Flow:$(.*?)^Telling:$", weir("run", "--help").stdout, re.M | re.S)[1]
        flow = set(re.findall(r"^ +(?:-., )?--([a-z-]+)", flow, re.M))
        offered = options("simulate")
        self.assertEqual(flow - offered, set())
        service = options("mock") - {"listen", "port-file", "body-limit", "help", "seed", "duration"}
        self.assertEqual({name for name in service
                          if name not in offered and "service-" + name not in offered}, set())
        self.assertEqual({name for name in service & flow if "service-" + name not in offered}, set())

    def test_a_secret_is_in_no_error(self):
        env = {**os.environ, "SECRET": "sekrit\nbroken"}
        for args in (["--url", "http://u:sekrit@h:port:x/ y"],
                     ["--url", "http://h", "--header", "sekrit"],
                     ["--url", "http://h", "--header", "X Y: sekrit"],
                     ["--url", "http://h", "--header-env", "a=SECRET"],
                     ["--url", "http://u:sekrit@h", "--header", "Authorization: sekrit"]):
            done = weir("run", *args, env=env)
            self.assertEqual(done.returncode, 2, args)
            self.assertNotIn("sekrit", done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
