"""`doctor` names what is in the way, and what to do about it: each thing is put there, found, and taken away."""

import json
import os
import pathlib
import socket
import subprocess
import tempfile
import time

import scratch

BASE = "24600"


def findings(root, check, **variables):
    """What is wrong, of one kind of thing, and whether all is well for `doctor`."""
    answer = scratch.run(root, "doctor", "--json", "--port-base", BASE, **variables)
    report = json.loads(answer.stdout)
    assert report["healthy"] == (answer.returncode == 0), answer
    wrong = [one for one in report["findings"] if one["check"] == check and one["level"] != "ok"]
    for one in wrong:
        assert one["remedy"] and (one["level"] == "warning" or answer.returncode == 1), one
    return wrong


def only(found):
    assert len(found) == 1, found
    return found[0]["level"], found[0]["what"], found[0]["remedy"]


def taken_port(root):
    assert findings(root, "ports") == []
    with socket.create_server(("127.0.0.1", int(BASE) + 20)):
        level, what, _ = only(findings(root, "ports"))
    assert level == "problem" and f"{int(BASE) + 20}" in what and f"pid {os.getpid()}" in what, what
    assert findings(root, "ports") == []


def missing_package(root):
    assert not any("kcat" in one["what"] for one in findings(root, "tools")), "it is there"
    with tempfile.TemporaryDirectory() as folder:
        for place in os.environ["PATH"].split(":"):
            for program in os.scandir(place) if os.path.isdir(place) else ():
                link = pathlib.Path(folder, program.name)
                if program.name != "kcat" and not link.exists():
                    link.symlink_to(program.path)
        level, what, remedy = only([one for one in findings(root, "tools", PATH=folder) if "kcat" in one["what"]])
    assert level == "problem" and what == "kcat is missing", what
    assert "apt-get install -y kcat" in remedy, remedy


def started(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        return int(stat.read().rpartition(")")[2].split()[19])


def stale_pid(root):
    gone = {"pid": 4_000_000, "started": 1}
    folder = root / ".homeward" / BASE
    folder.mkdir(parents=True)
    left = subprocess.Popen(["sleep", "600"])
    try:
        process = {"name": "redis", "replica": 0, "stop": 15, "pid": left.pid, "started": started(left.pid)}
        status = {"ready": True, "graphql": [], "demo": {"accounts": []}, "services": []}
        state = {"supervisor": gone, "replicas": {}, "only": [], "step": "running", "status": status, "data": ""}
        (folder / "state.json").write_text(json.dumps(state | {"processes": [process]}))
        level, what, remedy = only(findings(root, "stack"))
        assert level == "problem" and f"redis (pid {left.pid})" in what and "down" in remedy, (what, remedy)
        # A later process with the same pid is not taken for it.
        other = process | {"started": process["started"] - 1}
        (folder / "state.json").write_text(json.dumps(state | {"processes": [other]}))
        level, what, remedy = only(findings(root, "stack"))
        assert level == "warning" and "pid 4000000 is gone" in what and "up" in remedy, (what, remedy)
        (folder / "state.json").write_text(json.dumps(state | {"processes": [process]}))
        ended = scratch.run(root, "down", "--port-base", BASE)
        assert ended.returncode == 0 and left.wait(10) == -15, "what the remedy says ends it"
    finally:
        left.kill()
        left.wait()


def full_disk(root):
    # A file system that never has room.
    level, what, remedy = only(findings(root, "disk", CARGO_TARGET_DIR="/proc/target"))
    assert level == "problem" and "builds has 0.0 GB free" in what and "cargo clean" in remedy, (what, remedy)


def wrong_clock(root):
    file = root / "Cargo.lock"
    file.touch()
    before = [one for one in findings(root, "clock") if "Cargo.lock" in one["what"]]
    assert before == [], before
    ahead = time.time() + 3 * 86_400
    os.utime(file, (ahead, ahead))
    level, what, remedy = only([one for one in findings(root, "clock") if "Cargo.lock" in one["what"]])
    assert level == "problem" and "from now" in what and "ntp" in remedy, (what, remedy)


def main():
    with scratch.checkout("catalog", "identity", "recommendations") as root:
        for trouble in [taken_port, missing_package, stale_pid, full_disk, wrong_clock]:
            trouble(root)
            print(f"  {trouble.__name__.replace('_', ' ')}: found, with what to do", flush=True)


if __name__ == "__main__":
    main()
