"""What runs beside a script: programs of `live/` that talk in lines of JSON, and services of its own."""

import contextlib
import json
import os
import pathlib
import queue
import subprocess
import tempfile
import threading
import time

import node
from graphql_clients import answers, free_address
from stack import status, wait_until

FOLDER = node.HERE / "live"


class Program:
    """A running program; ends with the block."""

    def __init__(self, name, given):
        node.install(FOLDER)
        self.name = name
        self.child = subprocess.Popen(
            [node.node(), name], cwd=FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.tell(given)

    def _read(self):
        for line in self.child.stdout:
            self.lines.put(json.loads(line))
        self.lines.put(None)

    def tell(self, value):
        self.child.stdin.write(json.dumps(value) + "\n")
        self.child.stdin.flush()

    def hear(self, seconds=60):
        """The next thing that it says."""
        try:
            said = self.lines.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"{self.name} says nothing for {seconds} s") from None
        assert said is not None, f"{self.name} ended with {self.child.wait(10)}"
        return said

    def hear_until(self, enough, what, seconds=10):
        """All that it says until it is enough."""
        heard, end = [], time.monotonic() + seconds
        while not enough(heard):
            try:
                said = self.lines.get(timeout=max(end - time.monotonic(), 0.001))
            except queue.Empty:
                raise AssertionError(f"not within {seconds} s: {what}; heard {heard}") from None
            assert said is not None, f"{self.name} ended with {self.child.wait(10)}"
            heard.append(said)
        return heard

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()
        self.child.stdin.close()


@contextlib.contextmanager
def one_more(service, program=None, **changes):
    """A replica of a service that the stack does not know, with some variables changed; its variables.

    Or another program of ours that is told the same.
    """
    pid = next(one["pid"] for one in status()["services"] if one["name"] == service)
    with open(f"/proc/{pid}/environ", encoding="utf-8") as environ:
        variables = dict(entry.split("=", 1) for entry in environ.read().split("\0") if entry)
    variables |= {name: free_address() for name in variables if name.startswith("LISTEN_")} | changes
    with tempfile.TemporaryFile() as log:
        path = pathlib.Path(os.readlink(f"/proc/{pid}/exe")).with_name(program or service)
        child = subprocess.Popen([path], env=variables, stdout=log, stderr=log)
        try:
            ready = f"http://{variables['LISTEN_ADMIN']}/ready"
            wait_until(lambda: child.poll() is not None or answers(ready), f"one more {service}", 30)
            log.seek(0)
            assert child.poll() is None, log.read().decode()[-2000:]
            yield variables
        finally:
            child.terminate()
            child.wait(30)
