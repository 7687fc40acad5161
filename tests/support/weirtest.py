"""What the integration tests share. run-tests puts this folder on the path; by hand:

    make && PYTHONPATH=tests/support python3 -m unittest tests/integration/test_x.py

The environment says which build is under test: WEIR_BUILD (default build/), WEIR_BIN (its weir),
WEIR_VARIANT ("", "address", "thread": give slow things more time under a sanitizer).
"""
import contextlib
import os
import random
import shutil
import socket
import tempfile
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("WEIR_BUILD", os.path.join(ROOT, "build")))
WEIR = os.path.abspath(os.environ.get("WEIR_BIN", os.path.join(BUILD, "weir")))
VARIANT = os.environ.get("WEIR_VARIANT", "")
# What a deadline is multiplied with: a sanitizer makes everything slower.
SLOWNESS = 5 if VARIANT else 1


class Case(unittest.TestCase):
    """A test with a folder of its own (self.dir), removed at the end."""

    def setUp(self):
        super().setUp()
        self.dir = tempfile.mkdtemp(prefix="weir-")
        self.addCleanup(shutil.rmtree, self.dir, True)

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def write(self, name, text):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(text.encode() if isinstance(text, str) else text)
        return path


def ports_for_listening():
    """Ports that the kernel gives to nobody who does not ask for them: tests that run beside others must not meet there."""
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as f:
            first = int(f.read().split()[0])
    except (OSError, ValueError):
        return None
    return range(10240, first) if first > 12288 else None


def free_port():
    """A TCP port on loopback that nothing listens on at this moment."""
    ports = ports_for_listening()
    for _ in range(100 if ports else 0):
        with contextlib.suppress(OSError), socket.socket() as s:
            s.bind(("127.0.0.1", random.SystemRandom().choice(ports)))
            return s.getsockname()[1]
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(condition, deadline_s=10.0, what="the condition"):
    """The first true value of condition(); AssertionError when the deadline passes before."""
    end = time.monotonic() + deadline_s * SLOWNESS
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline_s * SLOWNESS:g} s in vain for {what}")
        pause.wait(0.01)


def wait_for_port(port, deadline_s=10.0):
    """Waits until something accepts connections on the loopback port."""
    def accepts():
        with socket.socket() as s:
            s.settimeout(1)
            return s.connect_ex(("127.0.0.1", port)) == 0
    wait_until(accepts, deadline_s, f"port {port}")


def clean_env(**more):
    """The environment without make's own variables: for a `make` that a test starts."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k != "MFLAGS"}
    env.update(more)
    return env
