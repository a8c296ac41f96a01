"""Follows the votes on offers in the log, from its beginning: a consumer of Homeward's events that is not in Rust.

It says a line of JSON for each event that counts, and one for each version that is missing.
"""

import argparse
import importlib
import json
import pathlib
import subprocess
import sys
import tempfile

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from google.protobuf import symbol_database

ROOT = pathlib.Path(__file__).resolve().parents[2]
INCLUDES = [ROOT / "proto", ROOT / "crates/platform-build/proto"]

TOPIC = "events.vote"
# The only service that says what is on the topic; whatever else is there is not to be believed.
SOURCE = "/homeward/catalog"
CONTRACT = "homeward.catalog.v1.events"


def load(contract):
    """Generates Python code for the protos, and makes the messages of a contract known by their names."""
    with tempfile.TemporaryDirectory() as folder:
        protos = [str(file) for include in INCLUDES for file in include.rglob("*.proto")]
        includes = [f"-I{include}" for include in INCLUDES]
        subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", *includes, f"--python_out={folder}", *protos], check=True
        )
        sys.path.insert(0, folder)
        importlib.import_module(f"{contract}_pb2")
        sys.path.remove(folder)


class Follower:
    """What is known of each key, by the version of the last event of it that counted."""

    def __init__(self):
        self.messages = symbol_database.Default()
        self.versions = {}
        self.tallies = {}
        self.repeats = self.refused = 0
        self.holes = []

    def take(self, key, headers, content):
        """The event, if it counts; nothing for a repeat, and for what is not the owner's."""
        event = self.decode(key, headers, content)
        if event is None:
            self.refused += 1
            return None
        last = self.versions.get(key)
        if last is not None and event.version <= last:
            # At least once on the wire: repeats come at any time, also of old versions after newer ones.
            self.repeats += 1
            return None
        # The first that is heard of a key may have any version: older ones leave the log in time.
        if last is not None and event.version > last + 1:
            self.holes.append((key, last + 1, event.version - 1))
        self.versions[key] = event.version
        self.tallies[key] = {"up": event.up, "down": event.down, "version": event.version}
        return event

    def decode(self, key, headers, content):
        """The content of an event as its headers announce it."""
        if headers.get("ce_source") != SOURCE:
            return None
        try:
            event = self.messages.GetSymbol(headers["ce_dataschema"]).FromString(content)
        except Exception:  # Neither a type that we know nor bytes that are one: nothing of ours.
            return None
        fits = event.offer_id == key and str(event.version) == headers.get("ce_sequence")
        return event if fits else None


def text(value):
    """What anybody has written, as text."""
    return (value or b"").decode("utf-8", "replace")


def messages(brokers, topic, once):
    """Key, headers and content of everything in a topic; with `once`, up to where it ends now."""
    # Without a group nothing is kept at the broker: every run reads all of it.
    settings = {"bootstrap.servers": brokers, "group.id": "consumer-python", "enable.auto.commit": False}
    consumer = Consumer(settings)
    try:
        partitions = sorted(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
        ends = {}
        for partition in partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
            if high > low:
                ends[partition] = high
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        while ends or not once:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if message.error():
                raise RuntimeError(message.error())
            if message.offset() + 1 >= ends.get(message.partition(), float("inf")):
                del ends[message.partition()]
            headers = {name: text(value) for name, value in message.headers() or []}
            yield text(message.key()), headers, message.value() or b""
    finally:
        consumer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokers", default="127.0.0.1:4622", help="of the stack; `./homeward status` names it")
    parser.add_argument("--prefix", default="homeward.", help="what stands before the names of topics")
    parser.add_argument("--once", action="store_true", help="ends where the log ends now, with a summary")
    arguments = parser.parse_args()

    load(CONTRACT)
    follower = Follower()
    for key, headers, content in messages(arguments.brokers, arguments.prefix + TOPIC, arguments.once):
        holes = len(follower.holes)
        event = follower.take(key, headers, content)
        for hole, first, last in follower.holes[holes:]:
            print(json.dumps({"hole": hole, "from": first, "to": last}), flush=True)
        if event is not None and not arguments.once:
            print(json.dumps({"offer": key, "type": headers["ce_type"], **follower.tallies[key]}), flush=True)
    summary = {
        "offers": follower.tallies,
        "repeats": follower.repeats,
        "refused": follower.refused,
        "holes": follower.holes,
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
