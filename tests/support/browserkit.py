"""A browser for tests of the web page: Chromium without a window, told what to do by the DevTools protocol over a pipe.

    with Browser(folder) as browser:
        page = browser.page()
        page.go("http://127.0.0.1:1234/")
        page.wait("document.title === 'x'", "the title")
        page.value("document.body.innerText")
        page.requests, page.complaints        # URLs that were asked for; what the console has heard

It resolves no names and reaches loopback only. One thread. https://chromedevtools.github.io/devtools-protocol/
"""
import fcntl
import json
import os
import select
import shutil
import subprocess
import time

from weirtest import SLOWNESS, wait_until

CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-default-browser-check",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-breakpad",
         "--disable-default-apps", "--disable-extensions", "--metrics-recording-only", "--no-proxy-server",
         "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--remote-debugging-pipe", "--window-size=1280,1600"]
# Any descriptor number that is not 3 or 4, which are the protocol's.
FD_MIN = 10


def apart(fd):
    high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FD_MIN)
    os.close(fd)
    return high


class Browser:
    def __init__(self, folder):
        self.profile = os.path.join(folder, "browser")
        os.makedirs(self.profile)
        theirs_in, self.out = map(apart, os.pipe())
        self.inp, theirs_out = map(apart, os.pipe())
        with open(os.path.join(folder, "browser.log"), "wb") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}', CHROMIUM, *FLAGS,
                 f"--user-data-dir={self.profile}", "about:blank"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=(theirs_in, theirs_out), env={**os.environ, "HOME": self.profile, "TMPDIR": self.profile, "TZ": "UTC"})
        os.close(theirs_in)
        os.close(theirs_out)
        self.rest, self.number, self.pages = b"", 0, {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            self.call("Browser.close")
            self.process.wait(20 * SLOWNESS)
        except (OSError, AssertionError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.out)
        os.close(self.inp)

    def read(self, deadline):
        """One message; None: none came in time."""
        while b"\0" not in self.rest:
            if not select.select([self.inp], [], [], max(0, deadline - time.monotonic()))[0]:
                return None
            data = os.read(self.inp, 1 << 20)
            if not data:
                raise AssertionError("the browser has ended")
            self.rest += data
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, session=None, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + 30 * SLOWNESS
        while True:
            answer = self.read(deadline)
            if answer is None:
                raise AssertionError(f"the browser does not answer {method}")
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
            if answer.get("sessionId") in self.pages:
                self.pages[answer["sessionId"]].heard(answer["method"], answer["params"])

    def page(self):
        return Page(self)


class Page:
    def __init__(self, browser):
        self.browser = browser
        self.requests = []    # URLs
        self.complaints = []  # what the page, or the browser about its markup and policy, has said on the console
        self.refused = []     # requests that came to nothing, as the browser says on the console
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        browser.pages[self.session] = self
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(domain + ".enable")

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def heard(self, method, params):
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(json.dumps(params["args"]))
        elif method == "Log.entryAdded":
            entry = params["entry"]
            (self.refused if entry["source"] == "network" else self.complaints).append(f"{entry['text']} {entry.get('url')}")

    def go(self, url):
        answer = self.call("Page.navigate", url=url)
        assert "errorText" not in answer, f"{url}: {answer['errorText']}"
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'", f"{url} to be loaded")

    def value(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, f"{expression}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    def wait(self, expression, what, deadline_s=20):
        """The first true value of an expression."""
        try:
            return wait_until(lambda: self.value(expression), deadline_s, what)
        except AssertionError as fault:
            raise AssertionError(f"{fault}\n-- the page --\n{self.value('document.body.innerText')}\n-- its console --\n"
                                 f"{self.complaints}\n{self.refused}") from None

    def type(self, selector, text):
        self.value(f"document.querySelector({json.dumps(selector)}).focus()")
        self.call("Input.insertText", text=text)

    def key(self, name, code):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, text="\r" if code == 13
                      else "")

    def picture(self, path):
        """What it looks like, for whoever looks into a failure."""
        import base64
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        with open(path, "wb") as f:
            f.write(base64.b64decode(data))
