"""What the tests of `weir simulate` share: the command itself, and what it predicts."""
import json
import subprocess

from weirtest import SLOWNESS, WEIR


def simulate(*args, status=0, deadline_s=60):
    """Runs `weir simulate ARGS`, which must exit so."""
    done = subprocess.run([WEIR, "simulate", *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=deadline_s * SLOWNESS)
    if done.returncode != status:
        raise AssertionError(f"{args}: exit status {done.returncode}: {done.stderr.decode()[-2000:]}")
    return done


def predict(*args):
    """The first throttle's first run, as --json tells it."""
    return json.loads(simulate(*args, "--json").stdout)["throttles"][0]["runs"][0]
