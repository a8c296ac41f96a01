"""The command line tool in a checkout that has nothing but folders, and at a terminal."""

import contextlib
import os
import pathlib
import pty
import select
import signal
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The launcher would take its own checkout.
PROGRAM = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug/homeward"


@contextlib.contextmanager
def checkout(*services):
    """A folder that the tool takes for a checkout with these services."""
    with tempfile.TemporaryDirectory() as folder:
        for crate in ["cli", *(f"services/{service}" for service in services)]:
            path = pathlib.Path(folder, crate)
            path.mkdir(parents=True)
            (path / "Cargo.toml").touch()
        yield pathlib.Path(folder).resolve()


def run(root, *arguments, **variables):
    """Runs the tool in such a folder, far from any terminal; answers what came of it."""
    return subprocess.run(
        [PROGRAM, *arguments],
        env=environment(root, variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def environment(root, variables):
    inherited = {name: value for name, value in os.environ.items() if name != "HOMEWARD_PORT_BASE"}
    return inherited | {"HOMEWARD_ROOT": str(root)} | variables


class Terminal:
    """A program with a terminal of its own, and somebody who reads and types there."""

    def __init__(self, arguments, variables):
        self.text, self.seen = "", 0
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.execve(arguments[0], [str(part) for part in arguments], variables)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.descriptor)

    def hear(self, seconds):
        """Takes what is there within some time; false when the program has ended."""
        if not select.select([self.descriptor], [], [], seconds)[0]:
            return True
        try:
            some = os.read(self.descriptor, 1 << 16)
        except OSError:
            return False
        self.text += some.decode("utf-8", "replace")
        return bool(some)

    def until(self, text, seconds=60):
        """Reads until the program has said this, after all that was waited for before."""
        end = time.monotonic() + seconds
        while text not in self.text[self.seen :]:
            assert time.monotonic() < end, f"{text!r} is not said within {seconds} s, but: {self.text}"
            assert self.hear(0.2), f"the program has ended without {text!r}: {self.text}"
        self.seen = self.text.index(text, self.seen) + len(text)

    def type(self, text):
        os.write(self.descriptor, text.encode())

    def ended(self, seconds=60):
        """Waits for the end; answers the exit code."""
        end = time.monotonic() + seconds
        while self.hear(0.2):
            assert time.monotonic() < end, f"it has not ended within {seconds} s: {self.text}"
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
