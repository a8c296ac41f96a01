"""Followers are told every change once and in order, though connections are cut and BFFs killed.

Clients of others follow votes and offers through proxies that cut 200 connections at random moments;
they go on at the other BFF from their last cursor. What each was told, joined, is versions 1..n.
Then the same with one message lost, one repeated and two swapped, and the check must say so.
"""

import threading
import time

from live_programs import Program
from live_voters import Voting, bffs, movers, tallies, tellers
from stack import kill, new_id, publish_offer, register, status, wait_until
from story import compare

VOTES = 2000
VOTERS = 16
CUTS = 200
# A connection is cut after so many bytes on average.
CUT_BYTES = 12_000
RESTARTS = 4
SOLD = 10
# What the check has to say of the fault, which is about the fifth message.
PLANTED = {"lost": "4 is missing", "repeated": "4 came twice", "swapped": "5 came too early"}


class Seller:
    """A business that changes offers, and what was told to those who follow an area."""

    def __init__(self, client, area):
        self.client, self.area, self.told = client, area, []

    def change(self, field, **given):
        """Changes an offer; answers its id and what those are told who may know of it."""
        document = f"""mutation($input: {field[0].upper() + field[1:]}Input!) {{ {field}(input: $input) {{
          offer {{ id version }} userErrors {{ code message field }} }} }}"""
        offer = self.client.payload(field, document, input={"requestId": new_id()} | given)["offer"]
        kind = {"publishOffer": "PUBLISHED", "updateOffer": "UPDATED", "retireOffer": "RETIRED"}.get(field)
        return offer["id"], {"kind": kind, "offerId": offer["id"], "version": offer["version"]}

    def draft(self, title):
        price = {"amountMinor": 100, "currency": "EUR"}
        offer, _ = self.change(
            "createOffer", title=title, description="", kind="CREW", area=self.area, price=price
        )
        self.change("updateOffer", id=offer, title=f"{title}, changed")
        return offer

    def sell(self, number):
        """A life of an offer, beside a draft and an offer elsewhere, which nobody is told of."""
        retired = self.draft("Never published")
        self.change("retireOffer", id=retired)
        publish_offer(self.client, "Elsewhere", area=f"{self.area}-not")
        offer = self.draft(f"Crew {number}")
        for field, given in [("publishOffer", {}), ("updateOffer", {"title": "Better"}), ("retireOffer", {})]:
            self.told.append(self.change(field, id=offer, **given)[1])


def restart(voting, restarts):
    """kill -9 of one BFF after the other, each as soon as all is well again."""
    while voting.is_set() and len(restarts) < RESTARTS:
        victim = bffs()[len(restarts) % 2]
        kill(victim["pid"])

        def back():
            again = next(one for one in bffs() if one["replica"] == victim["replica"])
            return again["pid"] not in (None, victim["pid"]) and again["state"] == "ready"

        wait_until(back, "the BFF again", 60)
        restarts.append(victim["replica"])


def followers(offers, area):
    """Who follows what, over which transport; feeds of one entry share a connection."""
    each = [{"kind": kind, "bff": bff, "offers": [offers[bff]]} for kind in ("ws", "sse", "single") for bff in (0, 1)]
    several = [{"kind": kind, "bff": bff, "offers": offers} for kind in ("ws", "sse", "single") for bff in (0, 1)]
    events = [{"kind": kind, "bff": bff, "filter": {"area": area}} for kind in ("ws", "sse", "single") for bff in (0, 1)]
    return each + several + events


def trouble(feed, last):
    """What is wrong with what a follower of votes was told, or None."""
    if feed["errors"]:
        return f"it was refused: {feed['errors'][:3]}"
    for version, _, _, reset in feed["received"]:
        if reset:
            return f"it was reset at version {version}"
    versions = [version for version, *_ in feed["received"]]
    for due in range(max(versions) + 1):
        if versions.count(due) != 1:
            return f"version {due} is missing" if due not in versions else f"version {due} came twice"
        if versions[due] != due:
            return f"version {versions[due]} came too early"
    return None if versions[-1] == last else f"it ends with version {versions[-1]}, not {last}"


def trouble_of_events(feed, told):
    """What is wrong with what a follower of offers was told, or None."""
    if feed["errors"]:
        return f"it was refused: {feed['errors'][:3]}"
    if any(reset for _, reset in feed["received"]):
        return "it was reset"
    changes = [change for change, _ in feed["received"] if change]

    def of(offer, of_all):
        return [change for change in of_all if change["offerId"] == offer]

    for offer in {change["offerId"] for change in changes + told}:
        if of(offer, changes) != of(offer, told):
            return f"of {offer} it was told {of(offer, changes)}, not {of(offer, told)}"
    return None


def cut_run(urls, run, people):
    """The run with cuts and restarts; prints what there was of them."""
    seller = register(urls, "BUSINESS", run, "live")
    offers = [publish_offer(seller, f"Followed {number}") for number in range(4)]
    area = f"live-{run}"
    sold = Seller(seller, area)
    voters = tellers(people, offers)
    given = {"urls": urls, "feeds": followers(offers, area), "cuts": CUTS, "bytes": CUT_BYTES}
    with Program("followers.mjs", given) as program:
        begun = program.hear()
        assert begun["ready"], f"these were not told how things are: {begun['silent']}"
        began, restarts, voting = time.monotonic(), [], Voting(voters)
        with voting:
            beside = [
                threading.Thread(target=restart, args=(voting.going, restarts)),
                threading.Thread(target=lambda: [sold.sell(number) for number in range(SOLD)]),
            ]
            for thread in beside:
                thread.start()
            assert program.hear(150)["cuts"] == CUTS
            for thread in beside:
                thread.join()
            wait_until(lambda: voting.votes() >= VOTES or voting.failures, f"{VOTES} votes", 120)
        seconds, versions = time.monotonic() - began, voting.versions()
        program.tell({"versions": versions, "changes": len(sold.told)})
        result = program.hear()

    count = result["count"]
    print(
        f"  {voting.votes()} votes in {seconds:.0f} s, {count['cuts']} cuts, {len(restarts)} restarts: "
        f"{len(result['feeds'])} feeds got {count['messages']} messages, {count['replayed']} of them replayed"
        f" after {count['resumed']} resumptions, {count['again']} of these by the user",
        flush=True,
    )
    told = tallies(voters)
    for feed in result["feeds"]:
        if offer := feed.get("offer"):
            wrong = trouble(feed, versions[offer])
            for version, up, down, _ in feed["received"]:
                assert not version or told[offer, version] == (up, down), (feed["kind"], version, up, down)
        else:
            wrong = trouble_of_events(feed, sold.told)
        assert not wrong, f"{feed['kind']} {offer or 'offerEvents'}: {wrong}"
    assert count["cuts"] == CUTS and len(restarts) == RESTARTS, (count, restarts)
    assert len(sold.told) == 3 * SOLD, sold.told
    # Without these the run would show nothing.
    assert count["resumed"] >= CUTS / 2 and count["replayed"] > 0, count
    compare(offers, voters)


def planted_runs(urls, run, people):
    """Faults between the socket and its client are found, each as what it is."""
    seller = register(urls, "BUSINESS", run, "planted")
    for fault, said in PLANTED.items():
        offer = publish_offer(seller, f"With one {fault}")
        voters = tellers(people[:4], [offer])
        given = {"urls": urls, "cuts": 0, "bytes": 1, "planted": fault}
        given["feeds"] = [{"kind": "ws", "bff": bff, "offers": [offer]} for bff in (0, 1)]
        with Program("followers.mjs", given) as program:
            assert program.hear()["ready"]
            with Voting(voters) as voting:
                wait_until(lambda: voting.votes() >= 20 or voting.failures, "20 votes")
            last = voting.versions()[offer]
            assert program.hear()["cuts"] == 0
            program.tell({"versions": {offer: last}, "changes": 0})
            for feed in program.hear()["feeds"]:
                wrong = trouble(feed, last)
                assert wrong and said in wrong, f"{fault}: {wrong}"
    print(f"  a message {', '.join(PLANTED)} is noticed", flush=True)


def main():
    urls, run = status()["graphql"], new_id()[:8]
    assert len(urls) >= 2, urls
    people = movers(urls, run, VOTERS)
    cut_run(urls, run, people)
    planted_runs(urls, run, people)


if __name__ == "__main__":
    main()
