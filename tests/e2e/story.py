"""Two hundred people vote at once while catalogs and Postgres are killed; nothing acknowledged is lost.

Each voter repeats, with the same request id, what was not answered. Afterwards the tallies equal the
vote rows and what each voter was last told, and the versions answered are exactly 1..n.
"""

import base64
import random
import threading
import time
import urllib.parse
import uuid
from collections import Counter

from stack import (
    CAST_VOTE,
    RETRACT_VOTE,
    Client,
    cli,
    in_parallel,
    kill,
    listening_pid,
    new_id,
    publish_offer,
    register,
    rows,
    status,
    wait_until,
)
import os

VOTERS = int(os.environ.get("STORY_VOTERS", "200"))
CHANGES = int(os.environ.get("STORY_CHANGES", "12"))
OFFERS = 4
# Killing goes on for as long as anybody votes, and at least this often.
KILLS_MIN = 4

VOTES = """query($id: ID!) { offer(id: $id) { votes { up down mine version } } }"""


def browse(stack):
    """What a newcomer does: log in, look around, vote, see the count."""
    person = Client(stack["graphql"])
    mover = next(account for account in stack["demo"]["accounts"] if account["kind"] == "MOVER")
    person.log_in(mover["email"], stack["demo"]["password"])
    page = person.data(
        """{ viewer { email } offers(first: 100) { pageInfo { hasNextPage endCursor }
             nodes { id title price { amountMinor currency } organisation { name }
                     votes { up down mine version } } } }"""
    )
    assert page["viewer"]["email"] == mover["email"], page["viewer"]
    offers = page["offers"]["nodes"]
    assert len(offers) == 100 and page["offers"]["pageInfo"]["hasNextPage"], len(offers)
    assert all(offer["organisation"]["name"] for offer in offers)
    rest = person.data(
        "query($after: String) { offers(first: 100, after: $after) { nodes { id } } }",
        after=page["offers"]["pageInfo"]["endCursor"],
    )["offers"]["nodes"]
    first_page = {offer["id"] for offer in offers}
    assert rest and first_page.isdisjoint(offer["id"] for offer in rest)

    offer = offers[0]
    other = "DOWN" if offer["votes"]["mine"] == "UP" else "UP"
    payload = person.payload(
        "castVote",
        CAST_VOTE,
        input={"requestId": new_id(), "offerId": offer["id"], "value": other},
    )
    seen = person.data(VOTES, id=offer["id"])["offer"]["votes"]
    assert seen == payload["votes"] and seen["mine"] == other, (seen, payload)
    assert seen["version"] == offer["votes"]["version"] + 1, (seen, offer)


class Voter:
    """One person, and what they know of their own votes."""

    def __init__(self, client, offers):
        self.client = client
        self.mine = {offer: None for offer in offers}
        # (offer, version) of each acknowledged change, one per request id.
        self.versions = []

    def change(self):
        offer = random.choice(list(self.mine))
        value = random.choice([choice for choice in ("UP", "DOWN", None) if choice != self.mine[offer]])
        request = {"requestId": new_id(), "offerId": offer}
        if value is None:
            payload = self.client.payload("retractVote", RETRACT_VOTE, input=request)
        else:
            payload = self.client.payload("castVote", CAST_VOTE, input=request | {"value": value})
        assert payload["votes"]["mine"] == value, payload
        self.mine[offer] = value
        self.versions.append((offer, payload["votes"]["version"]))


def kill_things(voting, kills):
    """kill -9 of one catalog after the other, and now and then of Postgres."""
    while voting.is_set() or len(kills) < KILLS_MIN:
        stack = status()
        catalogs = [service for service in stack["services"] if service["name"] == "catalog"]
        if len(kills) % 3 == 2:
            name, pid = "postgres", listening_pid(urllib.parse.urlsplit(stack["postgres"]).port)
        else:
            victim = catalogs[len(kills) % len(catalogs)]
            name, pid = f"catalog {victim['replica']}", victim["pid"]
        if pid:
            kill(pid)
            kills.append(name)
            print(f"  killed {name}", flush=True)
        # Until everything is back, so that the next kill meets a whole stack.
        wait_until(lambda: status()["ready"], f"ready after the kill of {name}", 90)


def main():
    stack = status()
    assert stack["ready"] and len(stack["graphql"]) >= 2, stack
    browse(stack)

    run = new_id()[:8]
    seller = register(stack["graphql"], "BUSINESS", run, 0)
    offers = [publish_offer(seller, f"Offer {number} of run {run}") for number in range(OFFERS)]
    started = time.monotonic()
    clients = in_parallel(8, lambda number: register(stack["graphql"], "MOVER", run, number), range(VOTERS))
    print(f"  {VOTERS} voters registered in {time.monotonic() - started:.0f} s", flush=True)
    voters = [Voter(client, offers) for client in clients]

    voting, kills = threading.Event(), []
    voting.set()
    killer = threading.Thread(target=kill_things, args=(voting, kills))
    killer.start()
    started = time.monotonic()

    def vote(voter):
        for _ in range(CHANGES):
            voter.change()
        # Whoever is done before enough was killed goes on, so that each kill meets votes.
        while len(kills) < KILLS_MIN:
            voter.change()

    try:
        in_parallel(VOTERS, vote, voters)
    finally:
        voting.clear()
        killer.join()
    print(
        f"  {sum(len(voter.versions) for voter in voters)} changes in {time.monotonic() - started:.0f} s"
        f" with {len(kills)} kills",
        flush=True,
    )

    wait_until(lambda: status()["ready"], "ready after the run", 90)
    compare(offers, voters)

    base = os.environ["HOMEWARD_PORT_BASE"]
    cli("down", "--port-base", base)
    cli("up", "--detach", "--replicas", os.environ["HOMEWARD_REPLICAS"], "--port-base", base)
    compare(offers, voters)
    print("  the same after down and up")


def compare(offers, voters):
    """Tallies, rows and acknowledgements say the same."""
    reader = Client(status()["graphql"])
    answered = Counter(pair for voter in voters for pair in voter.versions)
    for offer in offers:
        tally = reader.data(VOTES, id=offer)["offer"]["votes"]
        told = Counter(voter.mine[offer] for voter in voters)
        assert (tally["up"], tally["down"]) == (told["UP"], told["DOWN"]), (offer, tally, told)
        uuid_of_offer = uuid.UUID(bytes=base64.urlsafe_b64decode(offer + "==")[1:17])
        stored = dict(
            rows("catalog", f"SELECT value, count(*) FROM votes WHERE offer_id = '{uuid_of_offer}' GROUP BY value")
        )
        counts = {value: int(count) for value, count in stored.items()}
        assert (counts.get("up", 0), counts.get("down", 0)) == (tally["up"], tally["down"]), (counts, tally)
        versions = sorted(version for (of, version), _ in answered.items() if of == offer)
        repeated = [pair for pair, times in answered.items() if times > 1]
        assert not repeated, f"versions answered twice: {repeated[:5]}"
        assert versions == list(range(1, len(versions) + 1)), f"hole in the versions of {offer}: {versions[:20]}"
        assert tally["version"] == len(versions), (tally, len(versions))


if __name__ == "__main__":
    main()
