"""Events are written while relays, consumers, the broker and Postgres are killed and stopped.

A reader that is not our consumer finds, of each key, the first occurrences to be the versions 1..n
without a hole; each of them took effect once. Then the same with one event lost, one said twice and
one swapped, and these checks must say so of exactly these.

OUTBOX_FULL=1 runs the full numbers. OUTBOX_DATABASE (URL of a superuser) and OUTBOX_KAFKA use a
Postgres and a broker that are not a stack's; nobody would restart those, so they are not killed.
`--plant lost,repeated,swapped` runs once with the faults, and fails.
"""

import argparse
import ctypes
import functools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import uuid
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from stack import kill, listening_pid, status, wait_until

FULL = os.environ.get("OUTBOX_FULL") == "1"
ROOT = Path(__file__).resolve().parents[2]
TOPIC = "events.thing"
# A relay that stands still keeps its lane for twice the wait for acknowledgements, and a second.
ACK_SECONDS = 5 if FULL else 1
STALL_SECONDS = 15 if FULL else 4.5
EVERY_SECONDS = 2
# Keys of planted faults; the faults are about the versions 3 and 4.
PLANTED = {"lost": "thing-1", "repeated": "thing-2", "swapped": "thing-3"}


@dataclass
class Plan:
    """How much is written, and for how long at least faults go on."""

    events: int
    keys: int
    rate: int | None = None
    faults_min: int = 6


class Process:
    """A replica, or the writers; its log is shown when something fails."""

    def __init__(self, world, name, arguments=(), **variables):
        self.name = name
        self.stalled_until = None
        self.log = open(world.folder / f"{name}.log", "ab")
        # Dies with this script, however that ends; to be exact, with the thread that has started it.
        prctl = ctypes.CDLL(None).prctl
        self.child = subprocess.Popen(
            [world.program, *arguments],
            env=world.variables | variables,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            preexec_fn=lambda: prctl(1, signal.SIGKILL),
        )

    def running(self):
        return self.child.poll() is None

    def kill(self):
        self.child.kill()
        self.child.wait()
        self.log.close()

    def stall(self, seconds):
        os.kill(self.child.pid, signal.SIGSTOP)
        self.stalled_until = time.monotonic() + seconds

    def wake(self):
        os.kill(self.child.pid, signal.SIGCONT)
        self.stalled_until = None

    def stop(self):
        """An orderly end: it finishes what it has begun."""
        if self.stalled_until:
            self.wake()
        self.child.terminate()
        code = self.child.wait(timeout=30)
        self.log.close()
        assert code == 0, f"{self.name} ended with {code}"


class World:
    """A database, a prefix for topics, and the processes that use them."""

    def __init__(self, name):
        self.name = f"outbox_{name}_{uuid.uuid4().hex[:8]}"
        self.prefix = f"{self.name}."
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.brokers, self.server, self.program = brokers(), database(), program()
        self.url = self.server._replace(path=f"/{self.name}").geturl()
        self.variables = os.environ | {
            "DATABASE_URL": self.url,
            "DATABASE_POOL_MAX": "10",
            "KAFKA_BROKERS": self.brokers,
            "RESOURCE_PREFIX": self.prefix,
            "SEAL_KEY": "00" * 32,
            "LISTEN_ADMIN": "127.0.0.1:0",
            "LOG_FORMAT": "human",
            "ENVIRONMENT": "test",
            "OUTBOX_ACK_TIMEOUT": f"{ACK_SECONDS}s",
            # Small, so that there are many moments to die in.
            "OUTBOX_BATCH_MAX": "100" if FULL else "50",
            "KAFKA_SESSION_TIMEOUT": "3s",
        }
        self.relays, self.consumers, self.writer = [], [], None
        self.number = 0
        self.psql(f'CREATE DATABASE "{self.name}"', self.server.geturl())
        migrated = subprocess.run([self.program, "migrate"], env=self.variables, capture_output=True, text=True)
        assert migrated.returncode == 0, migrated.stdout + migrated.stderr

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        for process in [*self.relays, *self.consumers, *filter(None, [self.writer])]:
            if process.running():
                process.kill()
        if kind is not None:
            self.show_logs()
        admin = AdminClient({"bootstrap.servers": self.brokers})
        for future in admin.delete_topics([self.prefix + TOPIC]).values():
            future.exception(timeout=20)
        self.psql(f'DROP DATABASE "{self.name}" WITH (FORCE)', self.server.geturl())
        shutil.rmtree(self.folder)

    def show_logs(self):
        for log in sorted(self.folder.glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()
            print(f"--- {log.name}", *lines[-8:], sep="\n", file=sys.stderr)

    def psql(self, statement, url=None):
        """Rows, each a list of texts."""
        answer = subprocess.run(
            ["psql", url or self.url, "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-qAt", "-F", "\t", "-f", "-"],
            check=True,
            input=statement,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
        return [line.split("\t") for line in answer.stdout.splitlines()]

    def number_of(self, statement):
        """One number; None while the database is away."""
        try:
            return int(self.psql(statement)[0][0])
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return None

    def published(self):
        return self.number_of("SELECT coalesce(sum(version), 0) FROM things")

    def waiting(self):
        return self.number_of(
            "SELECT (SELECT count(*) FROM platform.outbox) + (SELECT count(*) FROM platform.outbox_held)"
        )

    def start(self, role):
        self.number += 1
        process = Process(self, f"{role}-{self.number}", BENCH_ROLES=role)
        (self.relays if role == "relay" else self.consumers).append(process)
        return process

    def replace(self, processes, process):
        processes.remove(process)
        self.start("relay" if processes is self.relays else "consumer")

    def write(self, plan):
        arguments = ["write", "--events", str(plan.events), "--keys", str(plan.keys), "--writers", "8"]
        if plan.rate:
            arguments += ["--rate", str(plan.rate)]
        self.writer = Process(self, "writer", arguments)

    def expected(self):
        """What each key's last version is."""
        versions = {key: int(version) for key, version in self.psql("SELECT thing_id, version FROM things")}
        assert sum(versions.values()) > 0, "nothing was written"
        return {key: version for key, version in versions.items() if version}

    def effects(self):
        """What took effect, per key in its order."""
        effects = defaultdict(list)
        for key, version in self.psql("SELECT thing_id, version FROM effects ORDER BY number"):
            effects[key].append(int(version))
        return effects


@functools.cache
def stack_status():
    return status()


def database():
    return urllib.parse.urlsplit(os.environ.get("OUTBOX_DATABASE") or stack_status()["postgres"])


def brokers():
    return os.environ.get("OUTBOX_KAFKA") or stack_status()["kafka"]


def killable():
    """Whether somebody restarts broker and Postgres."""
    return "OUTBOX_KAFKA" not in os.environ and "OUTBOX_DATABASE" not in os.environ


def program():
    if "OUTBOX_BENCH" in os.environ:
        return os.environ["OUTBOX_BENCH"]
    answer = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--no-deps", "--offline"],
        check=True,
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    return str(Path(json.loads(answer.stdout)["target_directory"]) / "debug" / "bench")


def read_log(world):
    """The whole topic as [(partition, offset, key, version, id)], each partition in its order."""
    reader = Consumer(
        {
            "bootstrap.servers": world.brokers,
            "group.id": f"{world.prefix}reader",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 50,
        }
    )
    topic = world.prefix + TOPIC
    partitions = reader.list_topics(topic, timeout=20).topics[topic].partitions
    ends = {}
    for partition in partitions:
        first, end = reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)
        assert first == 0, "the log has lost its beginning"
        ends[partition] = end
    reader.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
    log, missing = [], sum(ends.values())
    while missing:
        messages = reader.consume(min(missing, 5000), timeout=30)
        assert messages, f"{missing} messages cannot be read"
        for message in messages:
            assert message.error() is None, message.error()
            headers = dict(message.headers())
            key = message.key().decode()
            assert headers["ce_subject"] == message.key(), headers
            log.append((message.partition(), message.offset(), key, int(headers["ce_sequence"]), headers["ce_id"]))
        missing -= len(messages)
    reader.close()
    log.sort()
    return log, ends


def check_log(log, expected):
    """What is wrong with the log, by key: order, holes, an end too early, a repeat that is none."""
    wrong, last, ids, homes, repeats = {}, defaultdict(int), {}, {}, 0
    for partition, _, key, version, event_id in log:
        if homes.setdefault(key, partition) != partition:
            wrong.setdefault(key, "it is in two partitions")
        if version == last[key] + 1:
            last[key] = version
        elif version > last[key]:
            wrong.setdefault(key, f"version {version} follows version {last[key]}")
        else:
            repeats += 1
        if ids.setdefault((key, version), event_id) != event_id:
            wrong.setdefault(key, f"version {version} was said twice")
    for key, version in expected.items():
        if last[key] != version:
            wrong.setdefault(key, f"it ends with version {last[key]}, not {version}")
    for key in last.keys() - expected.keys():
        wrong.setdefault(key, "nobody has written it")
    return wrong, repeats


def check_effects(effects, expected):
    """What is wrong with the effects, by key: each version once, in order, all of them."""
    wrong = {}
    for key in effects.keys() | expected.keys():
        found, wanted = effects.get(key, []), list(range(1, expected.get(key, 0) + 1))
        if found != wanted:
            odd = next((pair for pair in zip(found, wanted) if pair[0] != pair[1]), None)
            wrong[key] = f"{len(found)} effects for {len(wanted)} versions, first difference {odd}"
    return wrong


def consumed(world, ends):
    """Whether the consumers are through with everything that the log has."""
    group = Consumer(
        {"bootstrap.servers": world.brokers, "group.id": f"{world.prefix}bench", "enable.auto.commit": False}
    )
    try:
        topic = world.prefix + TOPIC
        wanted = [TopicPartition(topic, partition) for partition, end in ends.items() if end]
        return all(found.offset >= ends[found.partition] for found in group.committed(wanted, timeout=20))
    finally:
        group.close()


def disturb(world, dice):
    """One fault for a relay and one for a consumer."""
    for processes in (world.relays, world.consumers):
        for process in [process for process in processes if process.stalled_until]:
            if time.monotonic() >= process.stalled_until:
                process.wake()
        awake = [process for process in processes if not process.stalled_until]
        for process in awake:
            assert process.running(), f"{process.name} has died by itself"
        process = dice.choice(awake)
        fault = dice.choice(["kill", "stall", "stop"] if processes is world.consumers else ["kill", "stall"])
        if fault == "stall" and len(awake) > 1:
            process.stall(STALL_SECONDS)
        elif fault == "stop":
            process.stop()
            world.replace(processes, process)
        else:
            process.kill()
            world.replace(processes, process)


def storm(name, plan, disaster=None, planted=(), inspect=None):
    """Writes with faults going on; answers what is wrong with the log and with the effects."""
    seed = random.randrange(10**6)
    dice, began = random.Random(seed), time.monotonic()
    with World(name) as world:
        plant(world, planted)
        for role in ["relay"] * 3 + ["consumer"] * 2:
            world.start(role)
        world.write(plan)
        failures = []
        beside = threading.Thread(target=guarded, args=(failures, disaster, world)) if disaster else None
        if beside:
            wait_until(lambda: (world.published() or 0) > plan.events / 20, "the writers to write")
            beside.start()
        faults = 0
        while world.writer.running() or faults < plan.faults_min or (beside and beside.is_alive()):
            time.sleep(EVERY_SECONDS)
            disturb(world, dice)
            faults += 1
            assert not failures, failures
            assert time.monotonic() - began < (1800 if FULL else 300), "no end in sight"
        assert not failures, failures
        assert world.writer.child.wait() == 0, "the writers have failed"

        for process in [*world.relays, *world.consumers]:
            if process.stalled_until:
                process.wake()
        wait_until(lambda: world.waiting() == 0, "the outbox to be empty", 300)
        # What a relay that was stopped still has in hand must be in the log that is read.
        for relay in world.relays:
            relay.stop()
        log, ends = read_log(world)
        wait_until(lambda: consumed(world, ends), "the consumers to be through", 300)
        expected, effects = world.expected(), world.effects()
        wrong_log, repeats = check_log(log, expected)
        wrong_effects = check_effects(effects, expected)
        if inspect:
            inspect(world, log)
        print(
            f"{name}: {sum(expected.values())} events of {len(expected)} keys, {faults} rounds of faults, "
            f"{repeats} repeats, {time.monotonic() - began:.0f} s (seed {seed})",
            flush=True,
        )
        if (wrong_log or wrong_effects) and planted != PLANTED:
            parked = world.psql("SELECT key, version, cause, detail FROM platform.parked ORDER BY key, version LIMIT 9")
            print("parked:", *parked, sep="\n  ", file=sys.stderr)
        return wrong_log, wrong_effects


def guarded(failures, work, world):
    try:
        work(world)
    except BaseException as failure:  # carried to the main thread
        failures.append(failure)


def broker_port():
    return int(brokers().rsplit(":", 1)[1])


def keep_down(port, seconds):
    """Kills what listens on a port of the stack, again whenever it is back; it was there at all."""
    end, kills = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        pid = listening_pid(port)
        if pid:
            kill(pid)
            kills += 1
        time.sleep(0.05)
    assert kills, f"nothing listens on port {port}"


def without_broker(world):
    """The broker is away; publishing goes on, a relay starts all the same, and events wait."""
    away = threading.Thread(target=keep_down, args=(broker_port(), 20 if FULL else 8))
    away.start()
    time.sleep(1)
    before = world.published()
    # This thread's own: it dies with the thread that has started it.
    relay = Process(world, "relay-without-broker", BENCH_ROLES="relay")
    away.join()
    published, waiting = world.published(), world.waiting()
    assert relay.running(), "a relay does not run without a broker"
    assert published > before, f"nothing was published without the broker: {published}"
    assert waiting > 0, "events were sent to a broker that is away"
    wait_until(lambda: listening_pid(broker_port()), "the broker to be back")
    relay.stop()


def without_postgres(world):
    """Postgres is away, twice, the second time for longer."""
    for seconds in (0.5, 20 if FULL else 4):
        keep_down(database().port, seconds)
        wait_until(lambda: world.published(), "Postgres to be back", 120)
        time.sleep(2)


def plant(world, faults):
    """Faults as a broken outbox and a broken inbox would make them; each shows in log and effects."""
    if not faults:
        return
    lost, repeated, swapped = (PLANTED[name] if name in faults else "" for name in ("lost", "repeated", "swapped"))
    columns = (
        "lane, topic, key, version, type, source, schema, actor_id, actor_kind, actor_organisation, "
        "traceparent, created_at, payload"
    )
    world.psql(
        f"""
        CREATE TABLE held (LIKE platform.outbox);
        CREATE TABLE forgotten (key text PRIMARY KEY);

        CREATE FUNCTION plant_before() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.version = 3 AND NEW.key = '{lost}' THEN
                RETURN NULL;
            ELSIF NEW.version = 3 AND NEW.key = '{swapped}' AND NOT EXISTS (SELECT FROM held) THEN
                INSERT INTO held SELECT NEW.*;
                RETURN NULL;
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER plant_before BEFORE INSERT ON platform.outbox
            FOR EACH ROW EXECUTE FUNCTION plant_before();

        CREATE FUNCTION plant_after() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.version = 4 AND NEW.key = '{swapped}' THEN
                INSERT INTO platform.outbox (id, {columns}) SELECT id, {columns} FROM held;
            ELSIF NEW.version = 3 AND NEW.key = '{repeated}' AND pg_trigger_depth() = 1 THEN
                INSERT INTO platform.outbox (id, {columns})
                SELECT gen_random_uuid(), {columns} FROM platform.outbox
                WHERE lane = NEW.lane AND sequence = NEW.sequence;
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER plant_after AFTER INSERT ON platform.outbox
            FOR EACH ROW EXECUTE FUNCTION plant_after();

        CREATE FUNCTION plant_forgetting() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.version = 3 AND NEW.key = '{repeated}' THEN
                INSERT INTO forgotten VALUES (NEW.key) ON CONFLICT DO NOTHING;
                IF FOUND THEN
                    NEW.version := 2;
                END IF;
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER plant_forgetting BEFORE UPDATE ON platform.inbox
            FOR EACH ROW EXECUTE FUNCTION plant_forgetting();
        """
    )


def look_with_kcat(world, log):
    """A tool of others reads an event as it is meant to be read."""
    if not shutil.which("kcat"):
        print("kcat is not installed, so it has not looked at an event (apt-get install kcat)", flush=True)
        return
    partition, offset, key, version, _ = log[len(log) // 2]
    command = ["kcat", "-C", "-q", "-e", "-b", world.brokers, "-t", world.prefix + TOPIC]
    command += ["-p", str(partition), "-o", str(offset), "-c", "1"]

    def run(*arguments):
        return subprocess.run([*command, *arguments], check=True, stdout=subprocess.PIPE, timeout=30).stdout

    # As JSON, text that is no UTF-8 would be spoilt.
    message = json.loads(run("-J").decode(errors="replace"))
    headers = dict(zip(message["headers"][::2], message["headers"][1::2]))
    assert (message["key"], message["offset"]) == (key, offset), message
    uuid.UUID(headers.pop("ce_id"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", headers.pop("ce_time")), message
    assert re.fullmatch(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", headers.pop("traceparent")), message
    assert headers == {
        "ce_source": "/homeward/bench",
        "ce_specversion": "1.0",
        "ce_type": "thing.counted",
        "ce_subject": key,
        "ce_sequence": str(version),
        "ce_dataschema": "homeward.bench.v1.ThingCounted",
        "ce_actorid": "bench",
        "ce_actorkind": "system",
        "content-type": "application/protobuf",
    }, headers
    fields = protobuf(run("-f", "%s"))
    assert (fields[1], fields[2]) == (key.encode(), version), fields


def protobuf(content):
    """The fields of a flat message, by number: texts and integers."""
    fields, at = {}, 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte, at = content[at], at + 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(content):
        tag = varint()
        value = varint()
        if tag & 7 == 2:
            value, at = content[at : at + value], at + value
            assert len(value) > 0
        fields[tag >> 3] = value
    assert at == len(content), "the payload is cut off"
    return fields


def small():
    return Plan(events=1500, keys=20, rate=400, faults_min=2)


def clean(name, plan, **options):
    wrong_log, wrong_effects = storm(name, plan, **options)
    assert not wrong_log and not wrong_effects, f"{name}: log {wrong_log}, effects {wrong_effects}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--plant", default="", help="lost,repeated,swapped: run with these faults, and fail")
    planted = [name for name in parser.parse_args().plant.split(",") if name]
    if planted:
        return clean("planted", small(), planted=planted)

    # The checks see each planted fault where it is, and nothing where there is none.
    wrong_log, wrong_effects = storm("planted", small(), planted=PLANTED)
    for check, wrong in (("log", wrong_log), ("effects", wrong_effects)):
        assert wrong.keys() == set(PLANTED.values()), f"planted {PLANTED}; the {check} shows {wrong}"

    clean("killed", Plan(200_000, 1000, 1500) if FULL else Plan(20_000, 200, 600), inspect=look_with_kcat)
    if not killable():
        print("broker and Postgres are not killed: nobody would restart them", flush=True)
        return None
    disasters = Plan(60_000, 1000, 800) if FULL else Plan(5000, 100, 250)
    clean("no_broker", disasters, disaster=without_broker)
    clean("no_postgres", disasters, disaster=without_postgres)
    return None


if __name__ == "__main__":
    main()
