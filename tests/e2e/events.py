"""Events as an operator has them: parked, redriven, dropped, read with tools of others, and kept when all is killed.

Events that nobody can handle are put into the log beside real ones: each is refused, counted and parked with its
cause, the later ones of its key wait, and other keys go on. Then everything is killed while votes wait to be sent.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
import uuid
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from grpc_statuses import generate_stubs, uuid_of
from stack import (
    CAST_VOTE,
    RETRACT_VOTE,
    Client,
    cli,
    kill,
    listening_pid,
    new_id,
    publish_offer,
    register,
    rows,
    status,
    wait_until,
)

REPLICAS = os.environ.get("HOMEWARD_REPLICAS", "bff=2,catalog=2,recommendations=2")
PREFIX = "homeward."
GROUP = f"{PREFIX}recommendations"
HEARD = ("events.offer", "events.vote")
SAYING = ("catalog", "identity")

VOTES = """query($id: ID!) { offer(id: $id) { votes { up down version } } }"""
OFFER_OF_THE_DAY = """query($area: String!) { offerOfTheDay(area: $area) { id } }"""

# Tells which versions are written in which order, and lets the handler fail where it is asked to.
WATCH = """
    CREATE TABLE e2e_broken (offer_id uuid);
    CREATE TABLE e2e_written (number bigint GENERATED ALWAYS AS IDENTITY, offer_id uuid, version bigint);
    CREATE FUNCTION e2e_watch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        IF EXISTS (SELECT FROM public.e2e_broken WHERE offer_id = NEW.offer_id) THEN
            RAISE EXCEPTION 'broken by events.py';
        END IF;
        INSERT INTO public.e2e_written (offer_id, version) VALUES (NEW.offer_id, NEW.version);
        RETURN NULL;
    END $$;
    CREATE TRIGGER e2e_watch AFTER INSERT OR UPDATE ON tallies FOR EACH ROW EXECUTE FUNCTION e2e_watch();
"""
UNWATCH = "DROP TRIGGER e2e_watch ON tallies; DROP FUNCTION e2e_watch; DROP TABLE e2e_broken, e2e_written"


def events(*arguments, succeeds=True):
    """What `homeward events` prints for people."""
    command = [os.environ["HOMEWARD_CLI"], "events", *arguments, "--port-base", os.environ["HOMEWARD_PORT_BASE"]]
    answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
    assert (answer.returncode == 0) == succeeds, (arguments, answer.returncode, answer.stdout, answer.stderr)
    return answer.stdout


def events_json(*arguments, succeeds=True):
    """What it prints for programs."""
    return json.loads(events(*arguments, "--json", succeeds=succeeds))


def becomes(expected, look, *arguments):
    """Waits until `look` answers this."""
    seen = []
    try:
        wait_until(lambda: seen.append(look(*arguments)) or seen[-1] == expected, "as expected", 60)
    except AssertionError:
        raise AssertionError(f"{look.__name__}{arguments} is {seen[-1]}, not {expected}") from None


def parked(key):
    """Causes of the parked events of a key, by version."""
    return [(event["version"], event["cause"]) for event in events_json("parked", f"--key={key}")]


def parked_ones():
    """How many there are of all keys."""
    return int(rows("recommendations", "SELECT count(*) FROM platform.parked WHERE NOT dropped")[0][0])


def tally(key):
    """The votes on an offer in the read model: up, down, version."""
    found = rows("recommendations", f"SELECT up, down, version FROM tallies WHERE offer_id = '{key}'")
    return tuple(int(number) for number in found[0]) if found else None


def written(key):
    """The versions that were written into the read model, in that order."""
    found = rows("recommendations", f"SELECT version FROM e2e_written WHERE offer_id = '{key}' ORDER BY number")
    return [int(version) for (version,) in found]


def metric(name, **labels):
    """The values of a metric, one per replica of `recommendations`; 0 where it has none."""
    values = []
    for service in status()["services"]:
        if service["name"] == "recommendations":
            with urllib.request.urlopen(f"{service['admin']}/metrics", timeout=10) as answer:
                lines = answer.read().decode().splitlines()
            found = [line for line in lines if line.startswith((f"{name}{{", f"{name} "))]
            wanted = [f'{label}="{value}"' for label, value in labels.items()]
            values.append(sum(float(line.rsplit(" ", 1)[1]) for line in found if all(want in line for want in wanted)))
    return values


def counted(outcome):
    """How many events of the two topics came to this, since the replicas began."""
    return sum(metric("events_consumed_total", consumer="recommendations", outcome=outcome))


class World:
    """Two offers of an area of their own, people who vote on them, and a foreign producer."""

    def __init__(self):
        from homeward.catalog.v1 import catalog_pb2, events_pb2

        stack = status()
        run = new_id()[:8]
        self.up, self.vote_cast = catalog_pb2.VOTE_VALUE_UP, events_pb2.VoteCast
        self.brokers, self.area = stack["kafka"], f"events-{run}"
        self.seller = register(stack["graphql"], "BUSINESS", run, "events")
        self.voters = [register(stack["graphql"], "MOVER", run, f"events-{number}") for number in range(4)]
        self.offers = [publish_offer(self.seller, f"Offer {name} of {run}", area=self.area) for name in "AB"]
        self.keys = [uuid_of(offer) for offer in self.offers]
        # As the Java client and ours find the partition of a key.
        self.producer = Producer({"bootstrap.servers": self.brokers, "partitioner": "murmur2_random"})

    def vote(self, voter, offer, value="UP"):
        """A vote through the front door; answers the tally."""
        request = {"requestId": new_id(), "offerId": self.offers[offer]}
        if value is None:
            return self.voters[voter].payload("retractVote", RETRACT_VOTE, input=request)["votes"]
        return self.voters[voter].payload("castVote", CAST_VOTE, input=request | {"value": value})["votes"]

    def counts(self):
        """The votes on the offers as anybody sees them."""
        reader = Client(status()["graphql"])
        return [reader.data(VOTES, id=offer)["offer"]["votes"] for offer in self.offers]

    def say(self, key, version, payload=None, **headers):
        """Puts an event of `key` into the log as its owner would, except for what is given."""
        if payload is None:
            # As many votes as its version says.
            payload = self.vote_cast(offer_id=key, version=version, user_id=new_id(), value=self.up, up=version)
            payload = payload.SerializeToString()
        right = {
            "ce_id": new_id(),
            "ce_source": "/homeward/catalog",
            "ce_specversion": "1.0",
            "ce_type": "vote.cast",
            "ce_time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "ce_subject": key,
            "ce_sequence": str(version),
            "ce_dataschema": "homeward.catalog.v1.VoteCast",
            "ce_actorid": "events",
            "ce_actorkind": "system",
            "content-type": "application/protobuf",
            "traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01",
        }
        self.producer.produce(f"{PREFIX}events.vote", payload, key, headers=right | headers)

    def flush(self):
        assert self.producer.flush(30) == 0, "the broker does not take events"


def kcat_reads_an_event(world):
    """A vote in the log, as a tool of others reads it: headers, trace and content."""
    key, voter = world.keys[0], world.voters[0]
    viewer = uuid_of(voter.data("{ viewer { id } }")["viewer"]["id"])
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    request = {"requestId": new_id(), "offerId": world.offers[0], "value": "UP"}
    body = json.dumps({"query": CAST_VOTE, "variables": {"input": request}})
    _, _, answer = voter.send(body, headers={"traceparent": f"00-{trace_id}-{span_id}-01"})
    votes = json.loads(answer)["data"]["castVote"]["votes"]
    assert (votes["up"], votes["version"]) == (1, 1), votes

    of_key = ("--type=vote.cast", f"--key={key}")
    (found,) = wait_until(lambda: events_json("tail", *of_key), "the vote to be in the log")
    (line,) = events("tail", *of_key).splitlines()
    assert f" vote.cast {key} v1 " in line and '"up":1' in line and "REFUSED" not in line, line
    assert found["event"] == {
        "offer_id": key, "version": 1, "user_id": viewer, "value": "VOTE_VALUE_UP", "up": 1, "down": 0
    }, found

    assert shutil.which("kcat"), "kcat is missing (apt-get install kcat)"
    command = ["kcat", "-C", "-q", "-e", "-b", world.brokers, "-t", f"{PREFIX}events.vote", "-c", "1"]
    command += ["-p", str(found["partition"]), "-o", str(found["offset"])]

    def kcat(*arguments):
        return subprocess.run([*command, *arguments], check=True, stdout=subprocess.PIPE, timeout=30).stdout

    # As JSON, content that is no UTF-8 would be spoilt.
    message = json.loads(kcat("-J").decode(errors="replace"))
    headers = dict(zip(message["headers"][::2], message["headers"][1::2]))
    assert message["key"] == key, message
    uuid.UUID(headers.pop("ce_id"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", headers.pop("ce_time")), message
    version, trace, span, flags = headers.pop("traceparent").split("-")
    assert (version, trace, flags) == ("00", trace_id, "01"), message
    assert re.fullmatch(r"[0-9a-f]{16}", span) and span not in (span_id, "0" * 16), message
    assert headers == {
        "ce_source": "/homeward/catalog",
        "ce_specversion": "1.0",
        "ce_type": "vote.cast",
        "ce_subject": key,
        "ce_sequence": "1",
        "ce_dataschema": "homeward.catalog.v1.VoteCast",
        "ce_actorid": viewer,
        "ce_actorkind": "user-mover",
        "content-type": "application/protobuf",
    }, headers
    event = world.vote_cast(offer_id=key, version=1, user_id=viewer, value=world.up, up=1)
    assert world.vote_cast.FromString(kcat("-f", "%s")) == event, "the content is something else"
    becomes((1, 0, 1), tally, key)


def what_is_refused_is_counted_and_parked(world):
    """Four keys, each with one event that is refused; the keys are answered."""
    causes = ("undecodable", "unknown_type", "wrong_source", "hole", "behind")
    before = {cause: counted(cause) for cause in causes}
    missing = sum(metric("events_missing_total"))
    spoilt, strange, foreign, holed, free = (new_id() for _ in range(5))
    for key in (spoilt, strange, foreign, holed, free):
        world.say(key, 1)
    world.say(spoilt, 2, payload=b"\xff\xff\xff")
    world.say(strange, 2, ce_type="vote.exploded", ce_dataschema="homeward.catalog.v1.VoteExploded")
    world.say(foreign, 2, ce_source="/homeward/identity")
    for key in (foreign, free):
        world.say(key, 2)
    for key in (spoilt, strange, holed):
        world.say(key, 3)
    world.flush()

    expected = {
        spoilt: [(2, "undecodable"), (3, "behind")],
        strange: [(2, "unknown_type"), (3, "behind")],
        foreign: [(None, "wrong_source")],
        holed: [(3, "hole")],
        free: [],
    }
    for key, of_key in expected.items():
        becomes(of_key, parked, key)
    # What somebody else says keeps nobody waiting.
    for key, version in ((foreign, 2), (free, 2), (spoilt, 1), (strange, 1), (holed, 1)):
        becomes((version, 0, version), tally, key)

    for cause in causes:
        becomes(before[cause] + (2 if cause == "behind" else 1), counted, cause)
    assert sum(metric("events_missing_total")) == missing + 1
    for key, cause, detail in (
        (spoilt, "undecodable", ""),
        (strange, "unknown_type", "vote.exploded is not known to be on events.vote"),
        (foreign, "wrong_source", "/homeward/identity does not own events.vote"),
        (holed, "hole", "version 3 follows version 1"),
    ):
        (text,) = events("parked", f"--key={key}", f"--cause={cause}").splitlines()
        assert key in text and f" {cause} ({detail}" in text, text
    (event,) = events_json("parked", f"--key={spoilt}", "--cause=undecodable")
    assert (event["payload"], event["headers"]["ce_sequence"], event["type"]) == ("ffffff", "2", "vote.cast"), event
    (line,) = events("tail", f"--key={strange}", "--type=vote.exploded").splitlines()
    assert "REFUSED unknown_type: vote.exploded" in line, line
    return spoilt, strange, foreign, holed


def a_handler_that_fails_holds_up_its_key_only(world):
    """The first offer's votes cannot be written for a while; the second one's go on."""
    failed, other = world.keys
    rows("recommendations", f"INSERT INTO e2e_broken VALUES ('{failed}')")
    for voter in (1, 2, 3):
        world.vote(voter, 0)
    for voter in (0, 1):
        world.vote(voter, 1)
    becomes((2, 0, 2), tally, other)
    becomes([(2, "failed"), (3, "behind"), (4, "behind")], parked, failed)
    assert tally(failed) == (1, 0, 1), tally(failed)
    (first,) = events_json("parked", f"--key={failed}", "--cause=failed")
    assert "broken by events.py" in first["detail"] and first["event"]["up"] == 2, first
    listed = {line["hears"]: line["parked"] for line in events_json("list") if "hears" in line}
    assert sum(listed.values()) == parked_ones() and listed["events.vote"] >= 3, (listed, parked_ones())
    of_votes = rf"hears +events\.vote .* parked {listed['events.vote']}$"
    assert re.search(of_votes, events("list"), re.MULTILINE), events("list")
    return failed


def a_kill_loses_no_parked_event(world, keys):
    """All replicas of `recommendations` are killed; what is parked stays, and events wait behind it as before."""
    before = {key: events_json("parked", f"--key={key}") for key in keys}

    def replicas():
        return {each["pid"] for each in status()["services"] if each["name"] == "recommendations"}

    killed = replicas()
    for pid in killed:
        kill(pid)
    wait_until(lambda: status()["ready"] and not replicas() & killed, "new replicas of recommendations", 120)
    after = {key: events_json("parked", f"--key={key}") for key in keys}
    assert after == before, (before, after)
    for key in keys[:2]:
        world.say(key, 4)
    world.flush()
    for key in keys[:2]:
        becomes([(event["version"], event["cause"]) for event in before[key]] + [(4, "behind")], parked, key)
    becomes([parked_ones()] * len(killed), metric, "events_parked")


def redrive_applies_events_in_order(world, failed, holed):
    """What has failed takes effect once its cause is gone, first things first; a hole is gone over."""
    answer = events_json("redrive", f"--key={failed}", succeeds=False)
    failures = [failure["detail"] for line in answer for failure in line["failed"]]
    assert len(failures) == 1 and "broken by events.py" in failures[0], answer
    rows("recommendations", "DELETE FROM e2e_broken")
    second = events_json("parked", f"--key={failed}")[1]["id"]
    assert "is before it" in events("redrive", f"--id={second}", succeeds=False)
    assert [version for version, _ in parked(failed)] == [2, 3, 4]

    (answer,) = events_json("redrive", f"--key={failed}")
    assert (answer["consumer"], answer["handled"], answer["failed"]) == ("recommendations", 3, []), answer
    assert "1 events have taken effect" in events("redrive", "--cause=hole", f"--key={holed}")
    wanted = ((failed, [2, 3, 4], (4, 0, 4)), (holed, [1, 3], (3, 0, 3)))
    for key, versions, votes in wanted:
        assert (parked(key), written(key), tally(key)) == ([], versions, votes), (parked(key), written(key), tally(key))
    # Only with all of its votes it is the better one.
    reader = Client(status()["graphql"])
    chosen = {reader.data(OFFER_OF_THE_DAY, area=world.area)["offerOfTheDay"]["id"] for _ in range(4)}
    assert chosen == {world.offers[0]}, (chosen, world.offers)
    world.vote(3, 0, None)
    becomes((3, 0, 5), tally, failed)


def drop_gives_events_up(world, spoilt, strange, foreign):
    """Later events of the key go on without them."""
    events("drop", succeeds=False)
    # One that is not the first is given up all the same, in its place.
    second, third, fourth = events_json("parked", f"--key={spoilt}")
    assert [line["dropped"] for line in events_json("drop", f"--id={third['id']}") if line["dropped"]] == [1]
    events("redrive", f"--key={spoilt}", succeeds=False)
    assert [version for version, _ in parked(spoilt)] == [2, 4], parked(spoilt)
    assert "1 events are given up" in events("drop", f"--id={second['id']}")
    assert [event["id"] for event in events_json("parked", f"--key={spoilt}")] == [fourth["id"]]
    assert "1 events are given up" in events("drop", "--type=vote.exploded", f"--key={strange}")
    for key, handled in ((spoilt, 1), (strange, 2)):
        (answer,) = events_json("redrive", f"--key={key}", "--consumer=recommendations")
        assert answer["handled"] == handled, (key, answer)
    assert "1 events are given up" in events("drop", f"--key={foreign}", "--cause=wrong_source")
    for key in (spoilt, strange):
        world.say(key, 5)
    world.flush()
    for key, versions in ((spoilt, [1, 4, 5]), (strange, [1, 3, 4, 5]), (foreign, [1, 2])):
        becomes(versions, written, key)
        assert parked(key) == [], parked(key)


def positions(world):
    """By topic and partition: the position of `recommendations`, and the end of the log."""
    group = Consumer({"bootstrap.servers": world.brokers, "group.id": GROUP, "enable.auto.commit": False})
    try:
        found = {}
        for topic in (*HEARD, "events.user"):
            name = PREFIX + topic
            partitions = group.list_topics(name, timeout=20).topics[name].partitions
            for place in group.committed([TopicPartition(name, number) for number in partitions], timeout=20):
                _, end = group.get_watermark_offsets(place, timeout=20)
                # Where nothing was ever read there is no position.
                found[topic, place.partition] = (max(place.offset, 0), end)
        return found
    finally:
        group.close()


def caught_up(world):
    """Nothing waits to be sent or read, and the broker knows it: the positions, else None."""
    if unsent():
        return None
    found = positions(world)
    done = all(position == end for (topic, _), (position, end) in found.items() if topic in HEARD)
    return found if done else None


def unsent():
    """Events that wait: id, topic, key, version, type, payload."""
    columns = "id, topic, key, version, type, encode(payload, 'hex')"
    statement = f"SELECT {columns} FROM platform.outbox UNION ALL SELECT {columns} FROM platform.outbox_held"
    return sorted(event for service in SAYING for event in rows(service, statement))


def sent_since(world, begin):
    """What has come into the log since then, as `unsent` tells it, without repeats; how much of it is heard."""
    reader = Consumer({"bootstrap.servers": world.brokers, "group.id": f"{PREFIX}e2e", "enable.auto.commit": False})
    places = [TopicPartition(PREFIX + topic, partition, end) for (topic, partition), (_, end) in begin.items()]
    missing = sum(reader.get_watermark_offsets(place, timeout=20)[1] - place.offset for place in places)
    reader.assign(places)
    found, heard = {}, 0
    while missing:
        messages = reader.consume(missing, timeout=30)
        assert messages, f"{missing} messages cannot be read"
        missing -= len(messages)
        for message in messages:
            headers = {name: value.decode() for name, value in message.headers()}
            topic = message.topic().removeprefix(PREFIX)
            place = [topic, message.key().decode(), headers["ce_sequence"]]
            event = [headers["ce_id"], *place, headers["ce_type"], message.value().hex()]
            assert found.setdefault(headers["ce_id"], event) == event, event
            heard += topic in HEARD
    reader.close()
    return list(found.values()), heard


def inbox():
    found = rows("recommendations", "SELECT topic, key, version, parked FROM platform.inbox")
    return {(topic, key): (int(version), parked) for topic, key, version, parked in found}


def ballots():
    tallies = rows("catalog", "SELECT offer_id, up, down, version FROM tallies")
    return sorted(rows("catalog", "SELECT offer_id, user_id, value FROM votes") + tallies)


def processes():
    """By id: the parent, and the time of the start."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            state, parent, *fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split(" ")
        except OSError:
            continue
        if state not in "ZX":
            found[int(pid)] = (int(parent), int(fields[17]))
    return found


def family(pid):
    """A process and all that it has started, and what those have."""
    found = processes()
    members = {pid}
    while more := {child for child, (parent, _) in found.items() if parent in members} - members:
        members |= more
    return {member: found[member][1] for member in members}


def started():
    """When each process was started; of one whose parent has just died that is still known."""
    return {pid: start for pid, (_, start) in processes().items()}


def listens(port):
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def vote_without_a_broker(world, heard):
    """Votes and a registration that are not sent: the events, all votes, and the counts of our offers."""
    for voter in range(4):
        for offer, value in ((0, "DOWN"), (1, "UP"), (1, "DOWN"), (1, None)):
            world.vote(voter, offer, value)
    register(status()["graphql"], "MOVER", new_id()[:8], "late")
    waiting, counts = unsent(), world.counts()
    listed = [line["waiting"] + line["held"] for line in events_json("list") if "says" in line]
    assert sum(listed) == len(waiting), (listed, len(waiting))
    assert any(topic == "events.user" for _, topic, *_ in waiting), waiting
    for key, count in zip(world.keys, counts):
        versions = sorted(int(version) for _, topic, of, version, *_ in waiting if (topic, of) == ("events.vote", key))
        known, last = heard.get(("events.vote", key), (0,))[0], count["version"]
        assert versions == list(range(known + 1, last + 1)) and len(versions) >= 4, (versions, count, known)
    return waiting, ballots(), counts


def everything_killed_is_as_it_was(world):
    """Votes, events that wait to be sent, and positions outlive a broker that stands still and a kill of the CLI."""
    stuck = new_id()
    for version in (1, 3):
        world.say(stuck, version)
    world.flush()
    # It would complain of the broker.
    world.producer = None
    becomes([(3, "hole")], parked, stuck)
    begin = wait_until(lambda: caught_up(world), "everything to be sent and read", 120)
    stack, heard, in_the_way = status(), inbox(), events_json("parked", f"--key={stuck}")
    supervisor, _ = processes()[stack["services"][0]["pid"]]
    broker = listening_pid(int(stack["kafka"].rsplit(":", 1)[1]))
    os.kill(broker, signal.SIGSTOP)
    try:
        waiting, votes, counts = vote_without_a_broker(world, heard)
        members = family(supervisor)
        assert broker in members and {service["pid"] for service in stack["services"]} <= members.keys(), members
        kill(supervisor)
    finally:
        # It has to hear that nobody looks after it any more.
        with contextlib.suppress(ProcessLookupError):
            os.kill(broker, signal.SIGCONT)
    wait_until(lambda: not members.items() & started().items(), f"{len(members)} processes to be gone", 60)
    base = int(os.environ["HOMEWARD_PORT_BASE"])
    left = [port for port in range(base, base + 100) if listens(port)]
    assert not left, f"somebody listens on {left}"
    cli("up", "--detach", "--replicas", REPLICAS, "--port-base", str(base), stdout=subprocess.DEVNULL)

    end = wait_until(lambda: caught_up(world), "everything to be sent and read", 120)
    assert ballots() == votes, "there are other votes than before"
    assert world.counts() == counts
    sent, count_heard = sent_since(world, begin)
    assert sorted(sent) == waiting, [event for event in sent + waiting if (event in sent) != (event in waiting)]
    order = {}
    for _, topic, key, version, *_ in sent:
        assert order.setdefault((topic, key), 0) < int(version), f"version {version} of {key} is late"
        order[topic, key] = int(version)
    raised = heard | {place: (version, "f") for place, version in order.items() if place[0] in HEARD}
    now = inbox()
    assert now == raised, now.items() ^ raised.items()
    # Reading went on where it had been, not at the beginning.
    assert all(end[place][0] >= position for place, (position, _) in begin.items()), (begin, end)
    assert counted("handled") + counted("repeated") == count_heard, (counted("handled"), counted("repeated"))
    for key, count in zip(world.keys, counts):
        assert tally(key) == (count["up"], count["down"], count["version"]), (tally(key), count)
    assert events_json("parked", f"--key={stuck}") == in_the_way
    assert sum(line["dropped"] for line in events_json("drop", f"--key={stuck}")) == 1


def main():
    with tempfile.TemporaryDirectory() as stubs:
        generate_stubs(stubs)
        world = World()

    def show(guarantee, *arguments):
        began = time.monotonic()
        answer = guarantee(world, *arguments)
        print(f"  {guarantee.__name__.replace('_', ' ')}: {time.monotonic() - began:.0f} s", flush=True)
        return answer

    show(kcat_reads_an_event)
    rows("recommendations", WATCH)
    try:
        spoilt, strange, foreign, holed = show(what_is_refused_is_counted_and_parked)
        failed = show(a_handler_that_fails_holds_up_its_key_only)
        show(a_kill_loses_no_parked_event, (spoilt, strange, foreign, holed, failed))
        show(redrive_applies_events_in_order, failed, holed)
        show(drop_gives_events_up, spoilt, strange, foreign)
    finally:
        rows("recommendations", UNWATCH)
    show(everything_killed_is_as_it_was)


if __name__ == "__main__":
    main()
