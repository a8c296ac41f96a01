"""Processes of a test that end with it, however it ends, and what it waits for."""

import contextlib
import ctypes
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

# Who is told to stop leaves its blocks in order.
signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def wait_until(condition, what, seconds=60, pause=0.1):
    """Waits for a condition and returns what it answered; fails after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(pause)
    value = condition()
    assert value, f"not within {seconds} s: {what() if callable(what) else what}"
    return value


def free_port():
    """A port that nobody listens on, below those that the system gives to outgoing connections."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Processes:
    """Starts programs whose output goes to files of a folder, and ends them in reverse order.

    To be used from the main thread: the kernel kills a child when the thread that started it ends.
    """

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.running = {}

    def start(self, name, *command, **variables):
        """Starts a program under a name, once more where it runs already."""
        self.stop(name)
        with open(self.log(name), "ab") as log:
            self.running[name] = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {key: str(value) for key, value in variables.items()},
                preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
            )

    def log(self, name):
        return self.folder / f"{name}.log"

    def tail(self, name, lines=15):
        return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-lines:])

    def check(self):
        """Fails when a program has ended by itself."""
        for name, process in self.running.items():
            if process.poll() is not None:
                raise AssertionError(f"{name} ended with {process.returncode}:\n{self.tail(name)}")

    def stop(self, name, patience=10):
        process = self.running.pop(name, None)
        if process is None:
            return
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stop_all(self):
        for name in reversed(list(self.running)):
            self.stop(name)
