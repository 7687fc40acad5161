"""What `weir serve` says and does when the disk under its store is full, hangs, or loses the file.

run-tests: waits
"""
import concurrent.futures
import fcntl
import http.client
import os
import shutil
import signal
import sqlite3
import subprocess
import unittest

import lifekit
from servekit import ServeCase
from weirtest import VARIANT, WEIR, wait_until

# While there is a file "full" in the folder $DISK, nothing can be added to the store's log, once the daemon listens; while
# there is a file "hung", what is in the log does not get to the disk.
DISK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

static int listens;

static int is_there(const char *name)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/%s", getenv("DISK") ? getenv("DISK") : "", name);
    return access(path, F_OK) == 0;
}

static int is_log(int fd)
{
    char link[64], name[4096] = "";
    ssize_t len;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    len = readlink(link, name, sizeof name - 1);
    return len > 4 && strcmp(name + len - 4, "-wal") == 0;
}

int listen(int fd, int count)
{
    int (*real)(int, int) = (int (*)(int, int))dlsym(RTLD_NEXT, "listen");

    listens = 1;
    return real(fd, count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at)
{
    ssize_t (*real)(int, const void *, size_t, off64_t) =
        (ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");

    if (listens && is_log(fd) && is_there("full")) {
        errno = ENOSPC;
        return -1;
    }
    return real(fd, bytes, len, at);
}

int fdatasync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");

    while (listens && is_log(fd) && is_there("hung"))
        usleep(10000);
    return real(fd);
}
"""


def ignore_size():
    """So that a file that may not grow is told, and ends nobody."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


class Disk(ServeCase):
    def on_disk(self, config=None, start=True):
        if VARIANT:
            self.skipTest("the sanitizer wants to be loaded first")
        source, library = self.write("disk.c", DISK), self.path("disk.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        return self.daemon(config, env={"LD_PRELOAD": library, "DISK": self.dir}, start=start)

    def readyz(self, d):
        """Its status and what it says; None: nobody answers yet."""
        try:
            status, answer = d.api("GET", "/readyz")
        except (OSError, http.client.HTTPException):
            return None
        return status, answer.get("detail", answer.get("status"))

    def full_at_the_start(self):
        d = self.on_disk(start=False)
        self.write("full", "")
        d.launch()
        status, said = wait_until(lambda: self.readyz(d), 30, "an answer")
        self.assertEqual(status, 503)
        self.assertIn("no room", said)
        wait_until(lambda: "the store takes nothing" in d.log(), 20, "the log to say so")
        self.assertIn("is up, but its store takes nothing", d.log())
        return d

    def test_a_store_that_fills_up_during_the_start_is_told_and_waited_for(self):
        d = self.full_at_the_start()
        status, answer = d.api("POST", "/v1/tasks", {"payload": {"shell": "true"}})
        self.assertEqual(status, 503, answer)
        os.unlink(self.path("full"))
        wait_until(lambda: self.readyz(d)[0] == 200, 30, "the store to be well again")
        self.assertEqual(d.wait_task(d.submit({"payload": {"shell": "true"}}))["state"], "done")
        self.assertEqual(lifekit.events(d)[0]["kind"], "dispatcher.started")
        self.assertEqual(d.stop(), 0)

    def test_a_daemon_whose_store_is_full_from_the_start_ends_when_told(self):
        d = self.full_at_the_start()
        self.assertEqual(d.stop(), 0)

    def test_a_disk_that_hangs_is_told_as_long_as_it_does(self):
        d = self.on_disk()
        self.assertEqual(self.readyz(d), (200, "ready"))
        self.write("hung", "")
        with concurrent.futures.ThreadPoolExecutor(1) as submitter:
            waits = submitter.submit(d.submit, {"payload": {"shell": "true"}})
            try:
                wait_until(lambda: self.readyz(d)[0] == 503, 30, "the hanging disk to be told")
                self.assertRegex(self.readyz(d)[1], r"a commit has taken \d+ s: look at its disk")
                store = d.get("/v1/status")["store"]
                self.assertTrue(store["failing"])
                self.assertRegex(store["message"], r"a commit has taken \d+ s: look at its disk")
                self.assertIn("\nweir_store_failing 1\n", d.request("GET", "/metrics")[2].decode())
                wait_until(lambda: "a commit has taken" in d.log(), 20, "the log to say so")
            finally:
                os.unlink(self.path("hung"))
            self.assertEqual(d.wait_task(waits.result(60))["state"], "done")
        wait_until(lambda: self.readyz(d)[0] == 200, 20, "the store to be well again")
        wait_until(lambda: "the store takes what is written again" in d.log(), 20, "the log to say that, too")
        self.assertEqual(d.log().count("a commit has taken"), 1)
        self.assertEqual(d.stop(), 0)

    def assert_refuses(self, d, why):
        """Whoever looks is told, also where nothing is written; and then whoever submits."""
        wait_until(lambda: self.readyz(d)[0] == 503, 20, "it not to be ready")
        self.assertIn(why, self.readyz(d)[1])
        store = d.get("/v1/status")["store"]
        self.assertTrue(store["failing"])
        self.assertIn(why, store["message"])
        self.assertIn("\nweir_store_failing 1\n", d.request("GET", "/metrics")[2].decode())
        status, answer = d.api("POST", "/v1/tasks", {"payload": {"shell": "true"}})
        self.assertEqual(status, 503, answer)
        self.assertIn(why, answer["detail"])
        wait_until(lambda: why in d.log(), 20, "the log to say so")
        self.assertEqual(d.log().count(why), 1)

    def test_a_store_that_is_removed_takes_nothing_until_it_is_put_back(self):
        d = self.daemon()
        i = d.submit({"payload": {"shell": "true"}})
        d.wait_task(i)
        store, away = os.path.join(d.dir, "weir.db"), os.path.join(d.dir, "away.db")
        os.rename(store, away)
        self.assert_refuses(d, "was removed or replaced")
        shutil.copy(away, store)
        self.assertEqual(d.api("POST", "/v1/tasks", {"payload": {"shell": "true"}})[0], 503)
        self.assertNotIn("takes what is written again", d.log())
        os.rename(away, store)
        wait_until(lambda: d.api("POST", "/v1/tasks", {"payload": {"shell": "true"}})[0] == 201, 20, "the store to be back")
        wait_until(lambda: self.readyz(d)[0] == 200, 20, "it to be ready")
        self.assertEqual(d.wait_task(i + 1)["state"], "done")
        self.assertEqual(d.stop(), 0)

    def test_a_log_that_is_removed_is_told_and_nothing_of_it_is_lost(self):
        d = self.daemon()
        ids = d.submit([{"payload": {"shell": "true"}} for _ in range(20)])
        for i in ids:
            d.wait_task(i)
        os.unlink(os.path.join(d.dir, "weir.db-wal"))
        self.assert_refuses(d, "weir.db-wal, the log of registry")
        self.assertEqual(d.stop(), 0)
        d.start()
        for i in ids:
            self.assertEqual(d.task(i)["state"], "done")
        self.assertEqual(d.stop(), 0)

    def test_a_lock_file_that_is_removed_is_made_anew(self):
        d = self.daemon()
        lock = os.path.join(d.dir, "weir.db-lock")
        os.unlink(lock)

        def text():
            try:
                with open(lock, encoding="ascii") as f:
                    return f.read()
            except OSError:
                return ""
        wait_until(lambda: text() == f"{d.pid}\n", 20, "the lock file to be there again")
        with open(lock, encoding="ascii") as f:
            self.assertRaises(BlockingIOError, fcntl.flock, f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.assertEqual(self.readyz(d)[0], 200)
        self.assertEqual(d.stop(), 0)

    def test_a_store_that_has_no_room_at_the_start_ends_it_and_promises_nothing(self):
        d = self.daemon()
        d.stop()
        done = subprocess.run(["sh", "-c", 'ulimit -f 16; exec "$@"', "sh", WEIR, "serve", "-c", d.config_path],
                              capture_output=True, text=True, timeout=60, env=d.env, preexec_fn=ignore_size)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr, r"no room for it \([^)]*\); free space on its disk\n")

    def test_the_folder_for_heartbeats_is_made_anew(self):
        d = self.daemon()
        run = os.path.join(d.dir, "weir.db.run")
        shutil.rmtree(run)
        wait_until(lambda: os.path.isdir(run), 20, "the folder to be there again")
        self.assertEqual(os.stat(run).st_mode & 0o777, 0o700)
        self.assertEqual(d.wait_task(d.submit({"payload": {"shell": 'echo 0.5 >"$WEIR_HEARTBEAT"'}}))["state"], "done")
        self.assertIn("for heartbeats was removed", d.log())
        self.assertEqual(d.stop(), 0)

    def damage(self, d, table):
        """Writes over the table's first page, while nobody has the store open."""
        path = os.path.join(d.dir, "weir.db")
        with sqlite3.connect(path) as db:
            (page,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
            (size,) = db.execute("PRAGMA page_size").fetchone()
        db.close()
        with open(path, "r+b") as f:
            f.seek((page - 1) * size)
            f.write(b"\xa5" * size)

    def assert_told(self, d, method, path, body=None):
        status, headers, answer = d.request(method, path, body)
        self.assertEqual(status, 503, answer)
        self.assertIn(b"is damaged", answer)
        self.assertIn("Retry-After", headers)

    def test_a_damaged_store_is_no_fault_of_whoever_asks(self):
        d = self.daemon()
        i = d.submit({"payload": {"shell": "true"}})
        d.wait_task(i)
        d.stop()
        self.damage(d, "task")
        d.start()
        self.assert_told(d, "GET", f"/v1/tasks/{i}")
        self.assert_told(d, "GET", "/v1/tasks")
        self.assert_told(d, "POST", f"/v1/tasks/{i}/retry")
        self.assert_told(d, "POST", "/v1/tasks", {"payload": {"shell": "true"}})
        done = d.weir("task", "show", i, status=1)
        self.assertIn("is damaged", done.err)


if __name__ == "__main__":
    unittest.main()
