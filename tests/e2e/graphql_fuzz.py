"""Operations that schemathesis makes up from the schema: every answer has data or known errors, and none is a fault.

GRAPHQL_FUZZ_SEED takes other operations than those of every day.
"""

import json
import os
import pathlib
import re
import tempfile
import time
from collections import Counter

from hypothesis import HealthCheck, Phase, configuration, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode, graphql

from stack import Client, new_id, publish_offer, register, status

ROOT = pathlib.Path(__file__).resolve().parents[2]
SEED = int(os.environ.get("GRAPHQL_FUZZ_SEED", "20260101"))
# For nobody and for somebody; most operations fit the schema, the rest break it in one place.
OPERATIONS = {GenerationMode.POSITIVE: 800, GenerationMode.NEGATIVE: 200}
# Nothing is killed here, so nobody may be away or late either.
FAULTS = {"INTERNAL", "UNKNOWN", "DATA_LOSS", "UNAVAILABLE", "DEADLINE_EXCEEDED"}
ENDED = {"TOKEN_REVOKED", "TOKEN_EXPIRED"}


def known_reasons():
    """The code that goes with each word of the contracts."""
    codes = {}
    for folder in ("proto", "crates/platform-build/proto"):
        for file in (ROOT / folder).rglob("*.proto"):
            codes |= reasons_of(file.read_text())
    return codes


def reasons_of(proto):
    declared = r"\b(?:ERROR|PLATFORM|REQUEST)_REASON_(\w+) = \d+ \[\(homeward\.options\.v1\.reason\) = \{\s*code: \"(\w+)\""
    return dict(re.findall(declared, proto))


def scalars(ids):
    """Values for the scalars of the schema; ids are of things that exist, or of none."""
    text = graphql.nodes.String
    graphql.scalar("ID", st.one_of(st.sampled_from(ids), st.text(max_size=40)).map(text))
    graphql.scalar("UUID", st.uuids().map(str).map(text))
    graphql.scalar("Currency", st.sampled_from(["EUR", "USD", "euro", ""]).map(text))
    graphql.scalar("Long", st.integers(-2, 2**53).map(graphql.nodes.Int))


class Caller:
    """Somebody who asks, and what they were told."""

    def __init__(self, client, reasons):
        self.client, self.reasons = client, reasons
        self.asked, self.told, self.logins = Counter(), Counter(), 0

    def ask(self, case):
        self.asked[case.operation.label] += 1
        code, _, content = self.client.send(json.dumps({"query": case.body}))
        answer = json.loads(content)
        assert code < 500, (code, answer)
        errors = answer.get("errors", [])
        for error in errors:
            self.judge(error["extensions"])
        for refusal in user_errors(answer.get("data")):
            if "code" in refusal:
                assert refusal["code"] in self.reasons, refusal
                self.told[refusal["code"]] += 1
        if not errors:
            assert answer["data"] is not None, answer
            assert case.meta.generation.mode == GenerationMode.POSITIVE, "broke the schema, and was executed"
            self.told["data"] += 1
        # A made-up operation has ended the session.
        if self.client.token and any(error["extensions"]["reason"] in ENDED for error in errors):
            self.logins += 1
            self.client.log_in(self.client.email, self.client.password)

    def judge(self, extensions):
        """Code and word are those of a contract, and of no fault."""
        code, reason = extensions["code"], extensions["reason"]
        assert reason in self.reasons, extensions
        assert self.reasons[reason] == code, extensions
        assert code not in FAULTS, extensions
        self.told[reason] += 1


def user_errors(value):
    """All entries of `userErrors`, wherever they are."""
    if isinstance(value, list):
        return [found for item in value for found in user_errors(item)]
    if not isinstance(value, dict):
        return []
    here = value.get("userErrors", [])
    return here + [found for item in value.values() for found in user_errors(item)]


def fuzz(schema, caller, number):
    for mode, count in OPERATIONS.items():

        @seed(number)
        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(schema.as_strategy(generation_mode=mode))
        def one(case):
            caller.ask(case)

        one()


def main():
    with tempfile.TemporaryDirectory(prefix="hypothesis-") as home:
        configuration.set_hypothesis_home_dir(home)
        fuzz_as_both()


def fuzz_as_both():
    urls, run = status()["graphql"], new_id()[:8]
    seller = register(urls, "BUSINESS", run, "fuzz")
    offer = publish_offer(seller, "Taken for a fuzz")
    viewer = seller.data("{ viewer { id organisation { id } } }")["viewer"]
    scalars([offer, viewer["id"], viewer["organisation"]["id"]])
    schema = graphql.from_path(str(ROOT / "bff/schema.graphql"))
    fields = {operation.ok().label for operation in schema.get_all_operations()}

    reasons = known_reasons()
    for number, (name, client) in enumerate([("a seller", seller), ("nobody", Client(urls))], SEED):
        caller, began = Caller(client, reasons), time.monotonic()
        fuzz(schema, caller, number)
        assert caller.asked.total() == sum(OPERATIONS.values()), caller.asked
        assert fields == set(caller.asked), fields ^ set(caller.asked)
        assert caller.told["data"] > 200, caller.told
        told = ", ".join(f"{count} {what}" for what, count in caller.told.most_common())
        print(f"  as {name}, seed {number}, {time.monotonic() - began:.0f} s, {caller.logins} logins: {told}")


if __name__ == "__main__":
    main()
