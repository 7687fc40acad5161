"""The web page of `weir serve`, in a browser without a window: what it shows is what the API says, and it follows by itself.

run-tests: alone
run-tests: timeout=400
"""
import http.client
import json
import os
import re
import sqlite3
import unittest

from browserkit import CHROMIUM, Browser
from servekit import ServeCase
from weirtest import ROOT, SLOWNESS, free_port, wait_until

HOSTILE = '<img src=x onerror="window.hurt = 1"><script>window.hurt = 1</script>'
STATES = ("ready", "running", "blocked", "scheduled", "done", "failed", "cancelled")


def total(name):
    return f"document.querySelector('#totals dd[data-name={name}]')?.textContent"


def row(table, text):
    """The cells of the row that holds a text; null: there is none."""
    return (f"[...document.querySelectorAll('#{table} tbody tr')].filter((r) => r.textContent.includes({json.dumps(text)}))"
            ".map((r) => [...r.cells].map((c) => c.textContent))[0]")


@unittest.skipUnless(CHROMIUM, "no chromium-headless-shell is installed")
class Web(ServeCase):
    def setUp(self):
        super().setUp()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"

    def serve(self, token=None, **more):
        config = {"listen": ["unix:" + self.path("weir.sock"), f"127.0.0.1:{self.port}"], "default_pool": "sh",
                  "max_global_concurrency": 20,
                  "pools": [{"name": "sh", "kind": "command", "max_concurrency": 4, "max_attempts": 1},
                            {"name": "spare", "kind": "command", "max_concurrency": 7, "enabled": False},
                            {"name": "upper", "kind": "process", "max_concurrency": 1,
                             "process": [os.path.join(ROOT, "examples/workers/upper.sh")]}], **more}
        return self.daemon(config, folder=self.dir, token=token,
                           env={"TEST_TOKEN": "secret-of-the-test", "PAGE_TOKEN": "secret-of-the-page"})

    def page(self, path=""):
        browser = Browser(self.dir)
        self.addCleanup(browser.close)
        page = browser.page()
        page.go(self.url + path)
        return page

    def is_well(self, page, refused=False):
        """Nothing on the console, nothing from elsewhere, nothing that came alive."""
        self.assertEqual(page.complaints, [])
        if not refused:
            self.assertEqual(page.refused, [])
        self.assertGreater(len(page.requests), 3)
        self.assertEqual([u for u in page.requests if not u.startswith(self.url)], [])
        self.assertIsNone(page.value("window.hurt"))
        self.assertEqual(page.value("document.querySelectorAll('main img, main script, main iframe').length"), 0)

    def until(self, name):
        """A shell command that ends when release(name) is called."""
        os.mkfifo(self.path(name))
        return f"read word <{self.path(name)}"

    def release(self, name):
        self.write(name, "go\n")

    def command(self, script):
        return {"argv": ["bash", "-c", script]}

    def test_it_shows_what_the_api_says_and_follows(self):
        d = self.serve()
        bad = d.submit({"key": "bad one", "payload": self.command("echo 'no such row' >&2; exit 3")})
        d.wait_task(bad, "failed")
        d.wait_task(d.submit({"payload": self.command("true")}), "done")
        d.submit({"payload": self.command("true"), "not_before": "+1h"})
        long = d.submit({"key": "long one", "payload": self.command(
            f"echo $WEIR_RUNNER $WEIR_TOKEN >{self.path('t')}; mv {self.path('t')} {self.path('secret')}; {self.until('go')}")})
        wait_until(lambda: os.path.exists(self.path("secret")), 20, "the attempt")
        page = self.page()
        page.wait(f"{total('running')} === '1'", "the attempt in the totals")
        status = d.get("/v1/status")
        for state in STATES:
            self.assertEqual(page.value(total(state)), str(status["tasks"][state]), state)
        self.assertEqual(page.value(total("utilisation")), "5 %")
        self.assertEqual(page.value("document.querySelectorAll('#pools tbody tr').length"), 3)
        self.assertEqual(page.value(row("pools", "sh"))[1:6], ["enabled", "1", "4", "25 %", "0"])
        self.assertEqual(page.value(row("pools", "spare"))[1:4], ["disabled", "0", "7"])
        self.assertIn("1 idle", page.wait(row("pools", "upper") + ".at(-1)", "the worker"))
        failure = page.wait(row("failures", "bad one"), "the failure")
        self.assertEqual((failure[0], failure[5]), (str(bad), "failed: exit_status"))
        self.assertIn("no such row", failure[6])
        self.assertEqual(page.wait(row("runners", "long one"), "the attempt")[0], str(long))
        self.assertTrue(page.wait(row("notes", "dispatcher.started"), "the start"))
        page.wait("document.querySelector('#live').textContent === 'live'", "the stream of events")

        # It goes on by itself, by events: a failure is there before that feed's own time, which is 15 s.
        runner, secret = open(self.path("secret"), encoding="ascii").read().split()
        status, answer = d.api("POST", f"/v1/runners/{runner}/heartbeat", {"progress": 0.375, "text": "row 3 of 8"},
                               headers={"Authorization": f"Bearer {secret}"})
        self.assertLess(status, 300, answer)
        page.wait(row("runners", "long one") + "?.[6] === '38 % row 3 of 8'", "the progress")
        self.assertEqual(page.value("document.querySelector('#runners progress').value"), 0.375)
        self.release("go")
        page.wait(f"{total('running')} === '0' && {total('done')} === '2'", "the end of the attempt")
        page.wait("document.querySelector('#runners').textContent.includes('nothing runs')", "no attempt")
        d.submit({"key": "second", "payload": self.command("exit 4")})
        page.wait(row("failures", "second"), "the next failure", 14)
        self.assertEqual(page.value("document.querySelector('#failures tbody tr').cells[1].textContent"), "second")
        d.api("PATCH", "/v1/pools/sh", {"max_concurrency": 9})
        page.wait(row("pools", "sh") + "[3] === '9'", "the limit")
        self.is_well(page)

        # A task: how it is, and its record.
        page.value("document.querySelector('#failures tbody a').click()")
        page.wait("location.hash.startsWith('#task/') && !document.querySelector('#task').hidden", "the task")
        page.wait("document.querySelector('#task-facts dd[data-name=state]')?.textContent === 'failed'", "its state")
        self.assertTrue(page.wait(row("task-events", "runner.failed"), "its record"))
        self.assertIn("exit 4", page.value("document.querySelector('#task-texts').textContent"))
        page.value("location.hash = '#pool/upper'")
        self.assertEqual(page.wait(row("workers", "ready"), "the worker")[2], "healthy")
        page.value("location.hash = ''")
        page.wait("!document.querySelector('#overview').hidden", "the overview")
        self.is_well(page)

    def test_it_shows_what_is_being_cancelled(self):
        d = self.serve()
        task = d.submit({"key": "deaf", "payload": self.command(f"trap '' TERM; : >{self.path('deaf')}; {self.until('go')}")})
        wait_until(lambda: os.path.exists(self.path("deaf")), 20, "it to be deaf")
        page = self.page(f"#task/{task}")
        page.wait("document.querySelector('#task-facts dd[data-name=state]')?.textContent === 'running'", "its state")
        d.api("POST", f"/v1/tasks/{task}/cancel")
        page.wait("document.querySelector('#task-facts dd[data-name=state]')?.textContent === 'running, is being cancelled'",
                  "that it is known to be cancelled")
        page.value("location.hash = ''")
        page.wait(row("runners", "deaf") + "?.[6] === 'is being cancelled'", "the attempt")
        self.release("go")
        page.wait("document.querySelector('#runners').textContent.includes('nothing runs')", "its end")
        self.assertEqual(d.wait_task(task)["state"], "cancelled")
        self.is_well(page)

    def test_what_tasks_say_stays_text(self):
        d = self.serve()
        ids = [d.submit({"key": HOSTILE, "tenant": HOSTILE, "session": HOSTILE, "payload": self.command(
            f"printf %s '{HOSTILE}' | tee /dev/stderr; {end}")}) for end in ("exit 1", self.until("go"))]
        d.wait_task(ids[0], "failed")
        page = self.page()
        self.assertEqual(page.wait(row("failures", "onerror"), "the failure")[1], HOSTILE)
        self.assertIn(HOSTILE, page.value(row("failures", "onerror"))[6])
        self.assertEqual(page.wait(row("runners", "onerror"), "the attempt")[1], HOSTILE)
        page.value(f"location.hash = '#task/{ids[0]}'")
        page.wait(f"document.querySelector('#task-title').textContent.includes({json.dumps(HOSTILE)})", "the task")
        page.wait(row("task-events", "runner.failed"), "its record")
        self.assertIn(HOSTILE, page.value("document.querySelector('#task-texts').textContent"))
        page.value(f"location.hash = {json.dumps('#pool/' + HOSTILE)}")
        page.wait("document.querySelector('#notice').textContent.includes('there is no pool')", "no such pool")
        self.is_well(page, refused=True)
        # And if the page had a hole, the browser would keep it shut.
        self.assertIn("TrustedHTML", page.value("try { document.body.innerHTML = '<b>x</b>'; '' } catch (e) { String(e) }"))
        self.release("go")
        d.wait_task(ids[1], "done")

    def test_it_survives_a_restart(self):
        d = self.serve()
        page = self.page()
        page.wait("document.querySelector('#live').textContent === 'live'", "the stream of events")
        d.kill9()
        page.wait("document.querySelector('#live').textContent === 'no connection' && "
                  "document.querySelector('#notice').textContent.startsWith('No answer since')", "the loss")
        d.start()
        task = d.submit({"payload": self.command("true")})
        d.wait_task(task, "done")
        page.wait(f"{total('done')} === '1'", "the task")
        page.wait("document.querySelector('#live').textContent === 'live' && document.querySelector('#notice').hidden", "the stream")
        self.is_well(page, refused=True)

    def test_it_says_when_the_store_fails(self):
        d = self.serve()
        page = self.page()
        page.wait("document.querySelector('#live').textContent === 'live'", "the stream of events")
        other = sqlite3.connect(self.path("weir.db"), isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        status, problem = d.api("POST", "/v1/tasks", {"payload": self.command("true")})
        self.assertGreaterEqual(status, 400)
        page.wait("document.querySelector('#notice').textContent.startsWith('The store takes nothing: ')", "the notice")
        self.assertIn(problem["detail"], page.value("document.querySelector('#notice').textContent"))
        wait_until(lambda: "error: the store takes nothing" in d.log(), 20, "the log to say it")
        other.execute("ROLLBACK")
        d.wait_task(d.submit({"payload": self.command("true")}), "done")
        page.wait(f"{total('done')} === '1' && document.querySelector('#notice').hidden", "that it is well")
        wait_until(lambda: "the store takes what is written again" in d.log(), 20, "the log to say it")
        self.is_well(page)

    def test_it_asks_for_a_token_and_keeps_it_in_the_tab(self):
        d = self.serve(token="secret-of-the-test", tokens=[
            {"name": "test", "role": "operate", "env": "TEST_TOKEN"}, {"name": "page", "role": "read", "env": "PAGE_TOKEN"}])
        d.wait_task(d.submit({"payload": self.command("true")}), "done")
        page = self.page()
        page.wait("!document.querySelector('#login').hidden", "the question")
        page.type("#token", "wrong")
        page.key("Enter", 13)
        page.wait("document.querySelector('#notice').textContent === 'This token is not known.'", "the refusal")
        page.type("#token", "secret-of-the-page")
        page.key("Enter", 13)
        page.wait(f"{total('done')} === '1'", "the totals")
        page.wait("document.querySelector('#live').textContent === 'live'", "the stream of events")
        d.wait_task(d.submit({"payload": self.command("true")}), "done")
        page.wait(f"{total('done')} === '2'", "the next task")
        page.go(self.url)
        page.wait(f"{total('done')} === '2'", "the totals after a reload")
        self.assertEqual(page.value("localStorage.length + document.cookie.length"), 0)
        self.assertEqual([u for u in page.requests if "secret" in u], [])
        page.value("document.querySelector('#forget').click()")
        page.wait("!document.querySelector('#login').hidden && sessionStorage.length === 0", "the question")
        self.is_well(page, refused=True)

    def test_history_is_drawn(self):
        d = self.serve()
        page = self.page()
        wait_until(lambda: d.get("/v1/history"), 25, "the first sample")
        page.wait("document.querySelectorAll('#history svg path.curve').length === 1", "the curve", 15)
        self.assertRegex(page.value("document.querySelector('#history-now').textContent"), r"last \d+ %, mean \d+ %")
        page.value("const s = document.querySelector('#history-resolution'); s.value = '300'; s.dispatchEvent(new Event('change'))")
        page.wait("document.querySelector('#history-now').textContent.includes('no samples yet')", "five minutes")
        self.is_well(page)

    def test_it_is_quick_with_many_pools_and_attempts(self):
        d = self.serve()
        status = d.get("/v1/status")
        page = self.page("web/icon.svg")
        page.call("Page.addScriptToEvaluateOnNewDocument", source=MANY % json.dumps(status))
        page.go(self.url)
        page.wait("document.querySelectorAll('#pools tbody tr').length === 100", "the pools")
        page.wait("document.querySelectorAll('#runners tbody tr').length === 100", "the attempts")
        self.assertEqual(page.value("document.querySelector('#runners-count').textContent"), "(10,000)")
        page.wait("window.answers > 6", "some rounds")
        # The longest that the page did not listen to anybody, for asking, reading, sorting and showing 10,000.
        self.assertLess(page.value("window.longest"), 2000 * SLOWNESS)
        page.type("#runners-filter", "key 4711")
        page.wait("document.querySelectorAll('#runners tbody tr').length === 1", "the one")
        self.assertEqual(page.complaints, [])

    def test_files_have_types_tags_and_a_policy(self):
        self.serve()
        kinds = {"": "text/html; charset=utf-8", "web/style.css": "text/css; charset=utf-8",
                 "web/app.js": "text/javascript; charset=utf-8", "web/icon.svg": "image/svg+xml"}
        files = {"": "index.html", "web/style.css": "style.css", "web/app.js": "app.js", "web/icon.svg": "icon.svg"}
        tags = set()
        for path, kind in kinds.items():
            status, headers, body = self.fetch("/" + path)
            self.assertEqual((status, headers["Content-Type"]), (200, kind))
            with open(os.path.join(ROOT, "web", files[path]), "rb") as f:
                self.assertEqual(body, f.read())
            self.assertRegex(headers["ETag"], r'^"[0-9a-f]{32}"$')
            tags.add(headers["ETag"])
            self.assertRegex(headers["Content-Security-Policy"], r"^default-src 'none';")
            self.assertNotIn("unsafe", headers["Content-Security-Policy"])
            self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
            status, again, body = self.fetch("/" + path, {"If-None-Match": headers["ETag"]})
            self.assertEqual((status, body, again["ETag"]), (304, b"", headers["ETag"]))
        self.assertEqual(len(tags), len(kinds))
        for path in ("/web/", "/web/index.html", "/web/../weir.yml", "/web/%2e%2e/weir.yml", "/web/app.js/"):
            self.assertEqual(self.fetch(path)[0], 404, path)

    def test_the_sources_name_nothing_from_elsewhere(self):
        for name in os.listdir(os.path.join(ROOT, "web")):
            with open(os.path.join(ROOT, "web", name), encoding="utf-8") as f:
                text = f.read()
            found = set(re.findall(r"https?://[^\s\"'<>]+", text)) - {"http://www.w3.org/2000/svg"}
            self.assertEqual(found, set(), name)
            self.assertIsNone(re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|style=|onclick=", text), name)

    def fetch(self, path, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()


# In place of a dispatcher with 100 pools and 10,000 attempts, which no test machine has.
MANY = """
window.answers = 0; window.longest = 0;
const status = %s;
const pool = status.pools[0];
status.pools = Array.from({length: 100}, (_, i) => ({...pool, name: 'pool ' + i, running: 100, limit: 100}));
const real = window.fetch;
window.fetch = async (path, options) => {
  if (path !== '/v1/status' && path !== '/v1/runners') return real(path, options);
  window.answers++;
  status.tasks.done = window.answers;
  const runners = () => Array.from({length: 10000}, (_, i) => ({id: String(i), task: i + 1, key: 'key ' + i, attempt: 1,
    pool: 'pool ' + i %% 100, pid: 1000 + i, run_s: Math.random() * 1000, progress: Math.random(), text: 'half way'}));
  return new Response(JSON.stringify(path === '/v1/status' ? status : runners()), {headers: {'Content-Type': 'application/json'}});
};
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.longest = Math.max(window.longest, entry.duration);
}).observe({type: 'longtask'});
"""

if __name__ == "__main__":
    unittest.main()
