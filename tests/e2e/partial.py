"""Services are killed and stopped: what they know is null with an error each, the rest is served as always.

Then the same with Redis, which nobody notices.
"""

import contextlib
import datetime
import itertools
import json
import os
import signal
import socket
import statistics
import threading
import time
import urllib.parse

from stack import (
    CAST_VOTE,
    RETRACT_VOTE,
    Client,
    kill,
    listening_pid,
    new_id,
    publish_offer,
    register,
    status,
    wait_until,
)

PAGE = """query($area: String!) {
  viewer { email }
  offers(filter: { area: $area }) { nodes { title votes { up } organisation { name } } }
  offerOfTheDay(area: $area) { title organisation { name } }
}"""
STATUS = "{ platformStatus { services { name state since why replicas replicasUp } } }"
OFFERS = 3

ORGANISATIONS = [("offers", "nodes", number, "organisation") for number in range(OFFERS)]
# What is null on the page without the service.
NULL = {
    "identity": [("viewer",), *ORGANISATIONS, ("offerOfTheDay", "organisation")],
    "catalog": [("offers",), ("offerOfTheDay",)],
    "recommendations": [("offerOfTheDay",)],
}
# How a service goes away, and what that looks like.
WAYS = {"killed": ("UNREACHABLE", "UNAVAILABLE"), "stopped": ("SILENT", "DEADLINE_EXCEEDED")}
SEEN_SECONDS_MAX = 2
# What a page may take beyond the time that its client gives; the machine may be busy.
SLACK_SECONDS = 0.4


class Reader:
    """Somebody who reads one page over and over."""

    def __init__(self, client, area):
        self.client, self.area = client, area

    def read(self, timeout="10s"):
        """The answer, and the seconds that it took."""
        body = json.dumps({"query": PAGE, "variables": {"area": self.area}})
        began = time.monotonic()
        code, _, content = self.client.send(body, headers={"request-timeout": timeout})
        seconds = time.monotonic() - began
        assert code == 200, (code, content)
        return json.loads(content), seconds

    def whole(self):
        answer, _ = self.read()
        return "errors" not in answer and answer["data"]["offerOfTheDay"]

    def median(self):
        """Seconds for a whole page as a rule."""
        times = []
        for _ in range(30):
            answer, seconds = self.read()
            assert "errors" not in answer, answer
            times.append(seconds)
        return statistics.median(times)


def at(data, path):
    for step in path:
        data = data[step]
    return data


def without(reader, service, code, whole, pages=5):
    """Reads pages while a service is away: just what it knows is null, each part with its error."""
    timeout, times = 0.5, []
    for _ in range(pages):
        answer, seconds = reader.read(f"{int(timeout * 1000)}ms")
        times.append(seconds)
        errors = {tuple(error["path"]): error["extensions"]["code"] for error in answer.get("errors", [])}
        assert errors == dict.fromkeys(NULL[service], code), (errors, code)
        for path in NULL[service]:
            assert at(answer["data"], path) is None, (path, answer)
        expected = json.loads(json.dumps(whole))
        for path in NULL[service]:
            at(expected, path[:-1])[path[-1]] = None
        assert answer["data"] == expected, (answer["data"], expected)
    assert max(times) < timeout + SLACK_SECONDS, times
    return statistics.median(times)


def pids_of(service):
    return [one["pid"] for one in status()["services"] if one["name"] == service]


def state_and_parent(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        state, parent = stat.read().rpartition(")")[2].split()[:2]
    return state, int(parent)


@contextlib.contextmanager
def away(service, way):
    """All replicas of a service are gone, or stand still, until the end of the block."""
    pids = pids_of(service)
    # Whoever would start them again stands still.
    still = {state_and_parent(pids[0])[1]} if way == "killed" else pids
    try:
        for pid in still:
            os.kill(pid, signal.SIGSTOP)
            # Its other threads go on until one of them has seen the signal.
            wait_until(lambda pid=pid: state_and_parent(pid)[0] == "T", f"{pid} to stand still")
        if way == "killed":
            for pid in pids:
                kill(pid)
        yield
    finally:
        for pid in still:
            os.kill(pid, signal.SIGCONT)


def told(clients, service, expected, began):
    """What every BFF says of the service once that is what is expected, which must be soon after `began`."""
    said = []
    for client in clients:
        while True:
            services = client.data(STATUS)["platformStatus"]["services"]
            one = next(one for one in services if one["name"] == service)
            if one.items() >= expected.items():
                break
            assert time.time() < began + SEEN_SECONDS_MAX, f"{one} for {SEEN_SECONDS_MAX} s, not {expected}"
            time.sleep(0.02)
        since = datetime.datetime.fromisoformat(one["since"].replace("Z", "+00:00"))
        said.append(since.timestamp())
        others = [other for other in services if other["name"] != service]
        assert others and all(other["state"] == "UP" and not other["why"] for other in others), others
    return said


def goes_away(urls, reader, service, way):
    why, code = WAYS[way]
    clients = [Client([url]) for url in urls]
    replicas = len(pids_of(service))
    is_up = {"state": "UP", "why": None, "replicas": replicas, "replicasUp": replicas}
    is_down = {"state": "DOWN", "why": why, "replicas": replicas, "replicasUp": 0}
    whole, usual = reader.read()[0]["data"], reader.median()
    with away(service, way):
        began = time.time()
        # The first one may find a connection that it took for whole.
        without(reader, service, code, whole, pages=1)
        down = told(clients, service, is_down, began)
        # Both clocks are this machine's; the block has taken a moment to begin.
        assert all(began - 0.2 < since < began + SEEN_SECONDS_MAX for since in down), (began, down)
        took = without(reader, service, code, whole)
        if way == "killed":
            assert took < 3 * usual + 0.05, f"{took:.3f} s for a page that takes {usual:.3f} s"
        assert told(clients, service, is_down, time.time()) == down, "it is down since the same moment"
    if way == "killed":
        wait_until(lambda: status()["ready"], f"{service} again")
    up = told(clients, service, is_up, time.time())
    assert all(later > before for later, before in zip(up, down)), (up, down)
    wait_until(reader.whole, f"a whole page with {service} again", 10)
    wait_until(lambda: status()["ready"], "ready")
    print(f"  {service} {way}: {took * 1000:.0f} ms for a page of {usual * 1000:.0f} ms", flush=True)


class Load:
    """Some people who read and vote, one request after the other, and what they were answered."""

    def __init__(self, voters, area, offers):
        self.stop = threading.Event()
        self.seconds, self.wrong = [], []
        self.threads = [
            threading.Thread(target=self.work, args=(voter, area, offer)) for voter, offer in zip(voters, offers)
        ]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.more()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def work(self, voter, area, offer):
        version = 0
        for turn in itertools.count():
            if self.stop.is_set():
                return
            began = time.monotonic()
            try:
                data = self.turn(turn, voter, area, offer)
                for votes in filter(None, [one and one.get("votes") for one in data.values()]):
                    # Nobody reads what was before their own vote.
                    assert votes["version"] >= version, (votes, version)
                    version = votes["version"]
            except Exception as broken:  # told at the end
                self.wrong.append(repr(broken))
            self.seconds.append(time.monotonic() - began)
            time.sleep(0.01)

    @staticmethod
    def turn(turn, voter, area, offer):
        """One request; the data of an answer without an error."""
        change = {"requestId": new_id(), "offerId": offer}
        if turn % 20 == 0:
            answer = voter.ask(CAST_VOTE, input=change | {"value": "UP"})
        elif turn % 20 == 10:
            answer = voter.ask(RETRACT_VOTE, input=change)
        elif turn % 3:
            answer = voter.ask("query($id: ID!) { offer(id: $id) { title votes { version mine } } }", id=offer)
        else:
            answer = voter.ask(PAGE, area=area)
        assert "errors" not in answer, answer
        assert not any(one.get("userErrors") for one in answer["data"].values()), answer
        return answer["data"]

    def more(self):
        """Waits until everybody has asked some more, and says how long the slowest took."""
        before = len(self.seconds)
        wait_until(lambda: len(self.seconds) > before + 40 * len(self.threads), "requests under load", 30)
        return max(self.seconds[before:])


class Redis:
    """Redis as a stranger with its password sees it."""

    def __init__(self):
        self.url = urllib.parse.urlsplit(status()["redis"])

    def pid(self):
        return listening_pid(self.url.port)

    def ask(self, command):
        with socket.create_connection((self.url.hostname, self.url.port), timeout=5) as connection:
            connection.sendall(f"AUTH {self.url.password}\r\n{command}\r\n".encode())
            lines = connection.makefile("rb")
            assert lines.readline() == b"+OK\r\n"
            return lines.readline().decode().strip()

    def keys(self):
        return int(self.ask("DBSIZE").removeprefix(":"))


def redis_goes_away(load):
    redis = Redis()
    wait_until(redis.keys, "something in Redis")
    slowest = {"never": load.more()}
    for _ in range(5):
        assert redis.ask("FLUSHALL") == "+OK"
        slowest["emptied"] = max(load.more(), slowest.get("emptied", 0))
    wait_until(redis.keys, "something in Redis again")

    pid = redis.pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        slowest["stopped"] = max(load.more(), load.more())
    finally:
        os.kill(pid, signal.SIGCONT)
    slowest["going on"] = load.more()
    for _ in range(2):
        kill(redis.pid())
        slowest["killed"] = max(load.more(), slowest.get("killed", 0))
        wait_until(lambda: status()["ready"], "Redis again")
        # A new one is empty, so what is there was put there now.
        wait_until(redis.keys, "something in a new Redis")
    return slowest


def main():
    urls, run = status()["graphql"], new_id()[:8]
    seller = register(urls, "BUSINESS", run, "partial")
    area = f"partial-{run}"
    offers = [publish_offer(seller, f"Crew {number}", area=area) for number in range(OFFERS)]
    reader = Reader(seller, area)
    wait_until(reader.whole, "an offer of the day")
    for service in NULL:
        for way in WAYS:
            goes_away(urls, reader, service, way)

    voters = [register(urls, "MOVER", run, number) for number in range(OFFERS)]
    with Load(voters, area, offers) as load:
        slowest = redis_goes_away(load)
    assert not load.wrong, f"{len(load.wrong)} of {len(load.seconds)} went wrong: {load.wrong[:3]}"
    times = ", ".join(f"{what} {seconds * 1000:.0f}" for what, seconds in slowest.items())
    print(f"  {len(load.seconds)} requests without an error; slowest in ms with Redis: {times}")
    assert max(slowest.values()) < 2, slowest


if __name__ == "__main__":
    main()
