"""A consumer that is not in Rust has the votes as GraphQL has them, and notices what is lost, repeated or forged."""

import json
import subprocess
import sys
import uuid

from confluent_kafka import Producer

from grpc_statuses import uuid_of
from scratch import ROOT
from stack import CAST_VOTE, RETRACT_VOTE, new_id, publish_offer, register, status, wait_until

PROGRAM = ROOT / "examples/consumer-python/consumer.py"
sys.path.append(str(PROGRAM.parent))
import consumer  # noqa: E402

TOPIC = f"homeward.{consumer.TOPIC}"
VOTES = "query($id: ID!) { offer(id: $id) { votes { up down version } } }"


def read_once(brokers):
    """What the program says of the whole log."""
    answer = subprocess.run(
        [sys.executable, PROGRAM, "--once", "--brokers", brokers], check=True, stdout=subprocess.PIPE, timeout=120
    )
    return json.loads(answer.stdout.splitlines()[-1])


def cast(urls, run):
    """Some offers with votes that were cast, changed and retracted; the tallies by the offers' own ids."""
    seller = register(urls, "BUSINESS", run, "consumer")
    offers = [publish_offer(seller, f"Heard of in Python {number}") for number in range(3)]
    for number in range(4):
        voter = register(urls, "MOVER", run, f"consumer-{number}")
        for offer in offers:
            for value in ("UP", "DOWN", "UP")[: number + 1]:
                vote = {"requestId": new_id(), "offerId": offer, "value": value}
                voter.payload("castVote", CAST_VOTE, input=vote)
        if number == 0:
            voter.payload("retractVote", RETRACT_VOTE, input={"requestId": new_id(), "offerId": offers[0]})
    return {uuid_of(offer): seller.data(VOTES, id=offer)["offer"]["votes"] for offer in offers}


def produce(brokers, key, headers, content):
    producer = Producer({"bootstrap.servers": brokers})
    producer.produce(TOPIC, key=key, value=content, headers=list(headers.items()))
    assert producer.flush(10) == 0, "the broker has not taken it"


def planted(log):
    """What a follower says of the log with one event lost, one repeated and two swapped."""

    def follow(events):
        follower = consumer.Follower()
        counted = [event for key, headers, content in events if (event := follower.take(key, headers, content))]
        return follower, len(counted)

    whole, count = follow(log)
    assert not whole.holes and count > 10, (whole.holes, count)
    keys = [key for key, *_ in log]
    key = next(key for key in keys if keys.count(key) >= 4)
    first, second, third = [place for place, found in enumerate(keys) if found == key][:3]

    without = log[:second] + log[second + 1 :]
    follower, counted = follow(without)
    assert follower.holes == [(key, 2, 2)] and counted == count - 1, (follower.holes, counted, count)

    again = [*log, log[first], log[third]]
    follower, counted = follow(again)
    assert not follower.holes and counted == count and follower.repeats == whole.repeats + 2, follower.repeats
    assert follower.tallies == whole.tallies, "old versions after newer ones change nothing"

    swapped = list(log)
    swapped[second], swapped[third] = log[third], log[second]
    follower, _ = follow(swapped)
    assert follower.holes == [(key, 2, 2)], follower.holes


def main():
    stack = status()
    brokers = stack["kafka"]
    expected = cast(stack["graphql"], new_id()[:8])

    def caught_up():
        said = read_once(brokers)
        holes = [hole for hole in said["holes"] if hole[0] in expected]
        assert not holes, holes
        return said if all(said["offers"].get(key) == votes for key, votes in expected.items()) else None

    before = wait_until(caught_up, "the votes as GraphQL has them")

    consumer.load(consumer.CONTRACT)
    log = list(consumer.messages(brokers, TOPIC, once=True))
    own = [message for message in log if message[0] in expected]
    key, headers, content = own[0]
    # What a relay does after a crash, and what only somebody else would do.
    produce(brokers, key, headers, content)
    stranger = str(uuid.uuid4())
    produce(brokers, stranger, headers | {"ce_source": "/homeward/identity"}, content)
    after = read_once(brokers)
    assert (after["repeats"], after["refused"]) == (before["repeats"] + 1, before["refused"] + 1), (before, after)
    assert stranger not in after["offers"] and after["offers"] == before["offers"], "neither has an effect"
    planted(own)
    print(f"  {len(log)} events of {len(before['offers'])} offers, and each planted fault is seen", flush=True)


if __name__ == "__main__":
    main()
