"""People who vote while others watch."""

import threading

from stack import Client, in_parallel, register, status
from story import Voter


def bffs():
    return [service for service in status()["services"] if service["name"] == "bff"]


def movers(urls, run, count):
    """So many people who may vote."""
    return in_parallel(8, lambda number: register(urls, "MOVER", run, f"live-{number}"), range(count))


def tellers(people, offers):
    """Each of them, as somebody who has not voted on these offers."""
    return [Teller(Client([url.geturl() for url in person.urls], person.token), offers) for person in people]


def tallies(voters):
    """(up, down) by offer and version, as the voters were answered."""
    return {pair: tally for voter in voters for pair, tally in voter.tallies.items()}


class Teller(Voter):
    """A voter who remembers the tally of each answer."""

    def __init__(self, client, offers):
        super().__init__(client, offers)
        self.tallies = {}
        payload = client.payload

        def noted(field, document, **variables):
            answer = payload(field, document, **variables)
            votes = answer["votes"]
            self.tallies[variables["input"]["offerId"], votes["version"]] = votes["up"], votes["down"]
            return answer

        client.payload = noted


class Voting:
    """Everybody votes for the length of the block, one request each at a time."""

    def __init__(self, voters):
        self.voters, self.going = voters, threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.failures = []

    def run(self):
        try:
            in_parallel(len(self.voters), self.vote, self.voters)
        except BaseException as failure:  # raised where the block ends
            self.failures.append(failure)

    def vote(self, voter):
        while self.going.is_set():
            voter.change()

    def votes(self):
        return sum(len(voter.versions) for voter in self.voters)

    def versions(self):
        """The last version of each offer."""
        versions = {}
        for offer, version in (pair for voter in self.voters for pair in voter.versions):
            versions[offer] = max(version, versions.get(offer, 0))
        return versions

    def __enter__(self):
        self.going.set()
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.going.clear()
        self.thread.join()
        if self.failures and kind is None:
            raise self.failures[0]
