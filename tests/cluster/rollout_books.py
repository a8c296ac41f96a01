"""What must be true after a run: of the requests, of the feeds, of the votes, and of what consumers heard."""

import sys

from rollout_stack import PREFIX


def failures(report):
    """What is wrong with the requests, a line each."""
    wrong = [f"{count} of {kind} have failed" for kind, count in report["failed"].items()]
    return wrong + [f"  {sample}" for sample in report["samples"]]


def proxied(proxy):
    """What the proxy has seen go wrong between services, also where whoever asked has tried again."""
    faults = proxy.faults()
    return [f"{len(faults)} requests went wrong at the proxy", *faults[:20]] if faults else []


def gap(feed, tallies):
    """What is wrong with what a follower was told of an offer, or None.

    Each version comes once and in order, with the tally that its voter was answered; a snapshot that is marked
    as a reset stands for all until then.
    """
    if feed["errors"]:
        return f"it was refused: {feed['errors'][:3]}"
    known = -1
    for version, up, down, reset in feed["received"]:
        if version != known + 1 and not (reset and version > known):
            return f"version {version} came after {known}"
        if version and tallies.get(str(version)) != [up, down]:
            return f"version {version} came as {up}:{down}, and was answered as {tallies.get(str(version))}"
        known = version
    return None if known == len(tallies) else f"it ends with version {known} of {len(tallies)}"


def faults_are_noticed(feed, tallies):
    """A message that is lost, repeated or swapped with the next is found."""
    received = feed["received"]
    first, second = received[1], received[2]
    for planted in ([second], [first, first, second], [second, first]):
        faulty = feed | {"received": [received[0], *planted, *received[3:]]}
        assert gap(faulty, tallies), f"{planted} is taken for whole"


def feeds(result, votes):
    """What is wrong with the feeds, and how often a snapshot stood for what was missed."""
    wrong = []
    for number, feed in enumerate(result["feeds"]):
        if trouble := gap(feed, votes.get(feed["offer"], {})):
            wrong.append(f"feed {number} by {feed['kind']}: {trouble}")
    resets = sum(reset for feed in result["feeds"] for *_, reset in feed["received"])
    return wrong, resets


def votes(answered):
    """The versions that voters were answered have no hole."""
    wrong = []
    for offer, tallies in answered.items():
        versions = sorted(map(int, tallies))
        if versions != list(range(1, len(versions) + 1)):
            wrong.append(f"hole in the versions of {offer}: {versions[:5]} ... {versions[-5:]}")
    return wrong


def loss_is_noticed(infrastructure):
    """A vote that a consumer has not heard of is missed."""
    database = f"{PREFIX}_recommendations"
    infrastructure.sql("UPDATE tallies SET version = version - 1 WHERE version > 0", database)
    assert not heard(infrastructure), "votes that were not heard of are not missed"


def heard(infrastructure):
    """Whether consumers know what the owner of the votes knows, with nothing parked and nothing left to send."""
    catalog, recommendations = f"{PREFIX}_catalog", f"{PREFIX}_recommendations"
    of_all = "SELECT offer_id, up, down, version FROM tallies WHERE version > 0 ORDER BY offer_id"
    return (
        infrastructure.sql(of_all, catalog) == infrastructure.sql(of_all, recommendations)
        and infrastructure.sql("SELECT count(*) FROM platform.outbox", catalog) == [["0"]]
        and infrastructure.sql("SELECT count(*) FROM platform.parked", recommendations) == [["0"]]
    )


def close(wrong):
    """Ends the script with 1 if anything is wrong."""
    for line in wrong[:40]:
        print(f"  WRONG: {line}", file=sys.stderr, flush=True)
    if wrong:
        sys.exit(1)
