"""Cursors are good at any replica: one that is behind waits, one that has forgotten says so, a terminal goes on."""

import http.client
import json
import os
import signal
import subprocess
import urllib.parse

from live_programs import one_more
from live_voters import bffs, movers, tellers
from stack import new_id, publish_offer, register, status

FOLLOW = """subscription($offer: ID!, $after: String) { offerVotes(offerId: $offer, after: $after) {
  votes { up down version } cursor reset } }"""


class Stream:
    """One subscription as an event stream, by hand."""

    def __init__(self, url, offer, after=None):
        url = urllib.parse.urlsplit(url)
        self.connection = http.client.HTTPConnection(url.hostname, url.port, timeout=20)
        variables = {"offer": offer, "after": after}
        headers = {"content-type": "application/json", "accept": "text/event-stream"}
        self.connection.request("POST", url.path, json.dumps({"query": FOLLOW, "variables": variables}), headers)
        self.response = None

    def next(self):
        """The next message; waits for it."""
        self.response = self.response or self.connection.getresponse()
        while line := self.response.readline():
            if line.startswith(b"data: {"):
                return json.loads(line.removeprefix(b"data: "))["data"]["offerVotes"]
        raise AssertionError("the stream has ended")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()


def forgotten(urls, run, people):
    """A replica that no longer keeps what came since says so, and how things are; cursors go on from there."""
    seller = register(urls, "BUSINESS", run, "forgotten")
    offer = publish_offer(seller, "Followed after a long sleep")
    (voter,) = tellers(people[:1], [offer])
    with Stream(urls[0], offer) as stream:
        first = stream.next()
    for _ in range(30):
        voter.change()
    with one_more("bff", FEED_WINDOW_BYTES="4000") as variables:
        small = f"http://{variables['LISTEN_HTTP']}/graphql"
        with Stream(small, offer, first["cursor"]) as stream:
            again = stream.next()
            assert again["reset"] and again["votes"]["version"] == 30, again
            voter.change()
            change = stream.next()
            assert not change["reset"] and change["votes"]["version"] == 31, change
        # Another keeps it all, and takes up the cursor of either.
        for cursor, version in [(first["cursor"], 1), (again["cursor"], 31)]:
            with Stream(urls[1], offer, cursor) as stream:
                change = stream.next()
                assert not change["reset"] and change["votes"]["version"] == version, change
    print("  a replica that has forgotten says so", flush=True)


def behind(urls, run, people):
    """A replica that is asked for more than it has read waits until it has read it."""
    seller = register(urls, "BUSINESS", run, "behind")
    offer = publish_offer(seller, "Followed ahead")
    (voter,) = tellers(people[:1], [offer])
    voter.client.urls = voter.client.urls[:1]
    pid = next(one["pid"] for one in bffs() if one["replica"] == 2)
    with Stream(urls[0], offer) as ahead:
        ahead.next()
        for turn in range(1, 6):
            os.kill(pid, signal.SIGSTOP)
            try:
                voter.change()
                cursor = ahead.next()["cursor"]
                # It has this in hand before it can have read of the change.
                stream = Stream(urls[1], offer, cursor)
            finally:
                os.kill(pid, signal.SIGCONT)
            with stream:
                voter.change()
                ahead.next()
                told = stream.next()
                assert not told["reset"] and told["votes"]["version"] == 2 * turn, told
    print("  a replica that is behind a cursor reads up to it first", flush=True)


def watched(urls, run, people):
    """The command of the terminal follows the same counts."""
    seller = register(urls, "BUSINESS", run, "watched")
    offer = publish_offer(seller, "Watched in a terminal")
    (voter,) = tellers(people[:1], [offer])
    base = ["--port-base", os.environ["HOMEWARD_PORT_BASE"]]
    lines = []

    command = [os.environ["HOMEWARD_CLI"], "watch", "votes", offer, "--json", "--count", "6", *base]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        for line in watching.stdout:
            lines.append(json.loads(line))
            if len(lines) < 6:
                voter.change()
    assert watching.returncode == 0, watching.returncode
    assert [line["version"] for line in lines] == list(range(6)), lines
    told = voter.tallies
    assert all((line["up"], line["down"]) == told[offer, line["version"]] for line in lines[1:]), lines

    person = seller.data("{ viewer { id } }")["viewer"]["id"]
    command = [os.environ["HOMEWARD_CLI"], "watch", "votes", person, *base]
    unknown = subprocess.run(command, capture_output=True, text=True)
    assert unknown.returncode == 1 and "there is no offer" in unknown.stderr, unknown
    print("  `homeward watch votes` has followed 5 votes", flush=True)


def main():
    urls, run = status()["graphql"], new_id()[:8]
    assert len(urls) >= 2, urls
    people = movers(urls, run, 1)
    forgotten(urls, run, people)
    behind(urls, run, people)
    watched(urls, run, people)


if __name__ == "__main__":
    main()
