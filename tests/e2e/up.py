"""`up` asks a person once what to start, remembers the answers, and asks nobody else; a file says it without questions."""

import json
import os
import pathlib
import socket
import subprocess
import tempfile

import scratch
from stack import cli, wait_until

QUESTION = "What shall run?"
# Programs of the system are missing with such a path, so `up` ends before it installs or builds anything.
NOTHING = {"PATH": "/var/empty"}


def questions():
    with scratch.checkout("catalog", "identity") as root:
        answers = root / ".homeward/4600/answers.json"

        def up(*arguments):
            environment = scratch.environment(root, NOTHING)
            return scratch.Terminal([scratch.PROGRAM, "up", *arguments], environment)

        for silent in [("--yes",), ("--json",), ("--only=catalog",), ("--replicas=bff=2",), ("--demo=no",)]:
            with up(*silent) as terminal:
                assert terminal.ended() == 1 and QUESTION not in terminal.text, terminal.text
        piped = scratch.run(root, "up", **NOTHING)
        assert piped.returncode == 1 and QUESTION not in piped.stderr, piped.stderr
        assert not answers.exists(), "nobody has answered anything"

        with up() as terminal:
            terminal.until("bff, catalog, identity [all]: ")
            terminal.type("katalog\n")
            terminal.until('no service "katalog"')
            terminal.until("[all]: ")
            terminal.type("catalog\n")
            terminal.until("[one each]: ")
            terminal.type("catalog=3\n")
            assert terminal.ended() == 1 and "missing:" in terminal.text, terminal.text
        assert json.loads(answers.read_text()) == {"only": ["catalog"], "replicas": {"catalog": 3}}
        assert answers.stat().st_mode & 0o777 == 0o600

        with up() as terminal:
            assert terminal.ended() == 1 and QUESTION not in terminal.text and "--ask" in terminal.text, terminal.text
        with up("--ask") as terminal:
            terminal.until("[catalog]: ")
            terminal.type("all\n")
            terminal.until("[catalog=3]: ")
            terminal.type("\n")
            terminal.until("[yes]: ")
            terminal.type("no\n")
            terminal.ended()
        assert json.loads(answers.read_text()) == {"only": [], "replicas": {"catalog": 3}, "demo": False}
        with up("--ask") as terminal:
            terminal.until("[all]: ")
            terminal.type("\x03")
            terminal.ended()
        assert json.loads(answers.read_text())["demo"] is False, "who answers nothing changes nothing"
        refused = scratch.run(root, "up", "--ask", **NOTHING)
        assert refused.returncode == 1 and "terminal" in refused.stderr, refused.stderr


def files():
    with scratch.checkout("catalog") as root:
        for text, said in [
            ('{\n "only": ["catalog"],\n "replica": {}\n}', ["unknown field `replica`", "line 3"]),
            ('{"only": ["movers"]}', ["movers", "bff, catalog"]),
            ("{", ["wish.json"]),
        ]:
            (root / "wish.json").write_text(text)
            refused = scratch.run(root, "up", "--config", str(root / "wish.json"), **NOTHING)
            assert refused.returncode == 1 and all(word in refused.stderr for word in said), (text, refused.stderr)


def free_base():
    """A port base beside those of other stacks."""

    def free(port):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                return False
            return True

    bases = range(int(os.environ["HOMEWARD_PORT_BASE"]) + 200, 60_000, 100)
    return next(base for base in bases if all(free(port) for port in range(base, base + 100)))


def running(base):
    """The services that run, each by its process, or nothing."""
    shown = subprocess.run(
        [os.environ["HOMEWARD_CLI"], "status", "--json", "--port-base", str(base)], stdout=subprocess.PIPE
    )
    services = json.loads(shown.stdout)["services"] if shown.returncode == 0 else []
    return {f"{one['name']} {one['replica']}": one["pid"] for one in services if one["pid"]}


def stacks():
    """What was answered, and what a file says, is what runs."""
    base = free_base()
    at_base = ["--port-base", str(base)]
    try:
        with scratch.Terminal([os.environ["HOMEWARD_CLI"], "up", *at_base], dict(os.environ)) as terminal:
            terminal.until("[all]: ")
            terminal.type("identity\n")
            terminal.until("[one each]: ")
            terminal.type("\n")
            terminal.until("Ctrl-C stops everything", 120)
            assert list(running(base)) == ["identity 1"], running(base)
            terminal.type("\x03")
            assert terminal.ended() == 0, terminal.text
        assert not running(base)
        cli("up", "--detach", *at_base, stdin=subprocess.DEVNULL)
        assert list(running(base)) == ["identity 1"], "what was answered counts without a terminal, too"
        cli("down", *at_base)

        with tempfile.TemporaryDirectory() as folder:
            wish = pathlib.Path(folder, "wish.json")
            environment = {"identity": {"PASSWORD_THREADS": "1", "LOG_LEVEL": "warn"}}
            said = {"only": ["bff", "catalog", "identity"], "replicas": {"identity": 2}, "demo": False}
            wish.write_text(json.dumps(said | {"port_base": base, "environment": environment}))
            shown = cli("up", "--detach", "--json", "--config", wish, stdout=subprocess.PIPE)
            status = json.loads(shown.stdout)
            assert status["ready"] and status["demo"]["accounts"] == [], "no demo data were asked for"
            processes = running(base)
            assert list(processes) == ["bff 1", "catalog 1", "identity 1", "identity 2"], processes
            for name, pid in processes.items():
                with open(f"/proc/{pid}/environ", encoding="utf-8") as environ:
                    variables = set(environ.read().split("\0"))
                given = {"PASSWORD_THREADS=1", "LOG_LEVEL=warn"} & variables
                assert len(given) == (2 if "identity" in name else 0), (name, given)
            # On the command line it counts more than in the file.
            other = subprocess.run(
                [os.environ["HOMEWARD_CLI"], "up", "--detach", "--config", wish, "--replicas", "identity=1"],
                stderr=subprocess.PIPE,
                text=True,
            )
            assert other.returncode == 1 and "other services, replicas or settings" in other.stderr, other
    finally:
        cli("down", "--purge", *at_base)
    wait_until(lambda: not (scratch.ROOT / f".homeward/{base}").exists(), "nothing of it is left", 5)


def main():
    questions()
    files()
    stacks()


if __name__ == "__main__":
    main()
