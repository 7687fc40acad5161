"""Tests of the commands that talk to a daemon: one for all tests of a class."""
from servekit import Daemon, ServeCase

CONFIG = {
    "pools": [{"name": "sh", "kind": "command", "max_concurrency": 4, "skills": ["img"]},
              {"name": "spare", "kind": "command", "max_concurrency": 2}],
    "default_pool": "sh",
    "slots": [{"name": "gpu", "count": 2}],
    "defaults": {"backoff": {"initial": "10ms"}},
}


class Shared(ServeCase):
    """Tests of one class share a daemon: none of them looks at all there is."""
    CONFIG = CONFIG

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.d = Daemon(cls.CONFIG)
        cls.addClassCleanup(cls.d.close)

    def weir(self, *args, **more):
        return self.d.weir(*args, **more)

    def refused(self, *args, says, status=2, stdin="", **more):
        done = self.weir(*args, stdin=stdin, status=status, **more)
        self.assertIn(says, done.err)
        self.assertEqual(done.out, "")
        return done

    def submit(self, *args, **more):
        return int(self.weir("submit", *args, status=0, **more).out)

    def held(self, *args):
        """A task that waits for an hour."""
        return self.submit("--shell", "true", "--not-before", "+1h", *args)
