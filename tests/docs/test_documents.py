"""What the documents name exists, what they link to is there, and what they show is what happens."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import msgspec
import pytest

from qa_service import metrics
from qa_service.contract import CallEnd, CallRecord, LegStart, Reason, decode_record
from qa_service.contract.info import decode_change, decode_info
from qa_service.rules.errors import RuleFileError
from qa_service.rules.ruleset import load_rule_set
from qa_service.settings import Settings
from tools.docs import reference

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *ROOT.glob("*.md")])

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
VARIABLE = re.compile(r"\bQA_[A-Z0-9_]*[A-Z0-9]\b(?!_|\.\.\.|…)")
CITED = re.compile(r"[Ss]ections? (\d+(?:\.\d+)*)(?: and (\d+(?:\.\d+)+))?(?:, rules? (\d+))?")


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def without_code(text: str) -> str:
    return FENCE.sub("", text)


def blocks(page: str, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(read(DOCS / page)) if kind == language]


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    names = (heading.lower().replace("`", "") for heading in HEADING.findall(without_code(text)))
    return {re.sub(r"[^\w\- ]", "", name).replace(" ", "-") for name in names}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page):
    broken = []
    for target in LINK.findall(without_code(read(page))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = page.parent / path if path else page
        if not found.exists() or (anchor and anchor not in anchors(read(found))):
            broken.append(target)

    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_variable_named_exists(page):
    ours = {f"QA_{name.upper()}" for name in Settings.model_fields}
    tests = {name for path in (ROOT / "tests").rglob("*.py") for name in VARIABLE.findall(read(path))}

    named = set(VARIABLE.findall(read(page)))

    assert named - ours - {name for name in tests if name.startswith("QA_TEST_")} == set()


def commands_in(text: str) -> list[list[str]]:
    """The words after each ``qa-service`` that stands where one would type it: in code, and not a name."""
    code = [body for _, body in FENCE.findall(text)] + CODE.findall(without_code(text))
    lines = [line for body in code for line in body.splitlines()]
    pattern = re.compile(r"(?:^|[\s(/'\"])qa-service ((?:[a-z][\w-]*|--?[a-z][\w-]*)(?: [^\s`'\";|]+)*)")
    return [match[1].split() for line in lines for match in pattern.finditer(line.partition(" #")[0])]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "reference.md"], ids=lambda page: page.name
)
def test_every_command_and_option_named_exists(page):
    known = reference.find_commands()
    wrong = []
    for words in commands_in(read(page)):
        if words[0].startswith("--from-literal"):  # the Secret of that name
            continue
        path, rest = "", list(words)
        while rest and isinstance(known[path], click.Group) and not rest[0].startswith("-"):
            path = f"{path} {rest.pop(0)}".strip()
            if path not in known:
                wrong.append(path)
                break
        else:
            options = {name for option in known[path].params for name in option.opts} | {"--help"}
            wrong += [f"{path} {word}" for word in rest if re.match(r"--[a-z]", word) and word not in options]

    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_named_exists(page):
    targets = set(re.findall(r"^([a-z-]+):.*## ", read(ROOT / "Makefile"), re.MULTILINE))
    text = read(page)
    code = [body for _, body in FENCE.findall(text)] + CODE.findall(without_code(text))

    named = {target for body in code for target in re.findall(r"^(?:\$ )?make ([a-z-]+)", body, re.MULTILINE)}

    assert named - targets == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_metric_named_exists(page):
    known = {row.name for row in metrics.describe()}

    named = {
        code
        for code in CODE.findall(without_code(read(page)))
        if re.fullmatch(r"qa_\w+_(total|seconds|records|live|paused|owned|waiting)", code)
    }

    assert named - known == set()


# --- protocol.md --------------------------------------------------------------------------------------


def protocol_places() -> set[str]:
    """Numbers that may be cited: headings, and items of numbered lists and tables under them."""
    places: set[str] = set()
    section = ""
    for line in without_code(read(DOCS / "protocol.md")).splitlines():
        if heading := re.match(r"#{2,3} (\d+(?:\.\d+)*)\.? ", line):
            section = heading[1]
            places.add(section)
        elif item := re.match(r"(?:(\d+)\. |\| (\d+) \|)", line):
            places.add(f"{section}.{item[1] or item[2]}")
    return places


def protocol_citations() -> dict[str, str]:
    """Places of the protocol that code and tests cite, each with one file that does."""
    files = [
        *(ROOT / "qa_service" / "protocol").glob("*.py"),
        *(ROOT / "qa_service" / "asr").glob("*.py"),
        *(ROOT / "qa_service" / "asr_server").glob("*.py"),
        *(ROOT / "tests" / "protocol").glob("*.py"),
    ]
    return {
        place: path.name
        for path in files
        for first, second, rule in CITED.findall(read(path))
        for place in ([f"{first}.{rule}"] if rule else [first, second])
        if place
    }


def test_every_section_of_the_protocol_that_is_cited_is_there():
    places = protocol_places()
    cited = protocol_citations()

    assert len(cited) > 40, "the citations were not found"
    assert {place: where for place, where in cited.items() if place not in places} == {}


# --- audio-contract.md --------------------------------------------------------------------------------


def test_the_table_of_dead_letter_reasons_is_complete():
    _, _, chapter = read(DOCS / "audio-contract.md").partition("## Records that are wrong")

    listed = re.findall(r"^\| `(\w+)` \|", chapter, re.MULTILINE)

    assert listed == [reason.value for reason in Reason]


def test_the_json_of_start_and_update_in_the_contract_is_accepted():
    start, update = blocks("audio-contract.md", "json")

    assert decode_info(start.encode()).role == "customer"
    assert decode_change(update.encode()).agent_id == "a-23"


def test_the_example_without_our_helper_sends_records_that_we_accept(monkeypatch):
    _, example = blocks("audio-contract.md", "python")
    sent: list[CallRecord] = []

    class Producer:
        def __init__(self, options):
            assert options["partitioner"] == "murmur2_random"

        def produce(self, _topic, *, key, value, headers, timestamp):
            assert timestamp > 0
            sent.append(decode_record(key, headers, value))

        def poll(self, _timeout):
            return 0

        def flush(self):
            return 0

    monkeypatch.setitem(sys.modules, "confluent_kafka", SimpleNamespace(Producer=Producer))
    exec(compile(example, "audio-contract.md", "exec"), {})  # noqa: S102 - our own document

    assert isinstance(sent[0].record, LegStart)
    assert [frame.record.pos for frame in sent[1:51]] == [160 * seq for seq in range(50)]
    assert isinstance(sent[-1].record, CallEnd)


def test_the_example_with_our_helper_sends_records_that_we_accept(monkeypatch):
    example, _ = blocks("audio-contract.md", "python")
    sent: list[CallRecord] = []

    class Producer:
        async def send(self, _topic, *, key, value, headers, timestamp_ms):
            assert timestamp_ms > 0
            sent.append(decode_record(key, headers, value))
            done = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done

        async def flush(self):
            return None

        async def stop(self):
            return None

    async def start(make, config):
        return Producer()

    monkeypatch.setattr("qa_service.telephony.producer.start_with_retry", start)
    exec(compile(example, "audio-contract.md", "exec"), {})  # noqa: S102 - our own document

    assert [type(each.record).__name__ for each in sent] == [
        "LegStart",
        *["AudioFrame"] * 50,
        "LegStop",
        "CallEnd",
    ]


# --- rules.md -----------------------------------------------------------------------------------------


def test_the_good_rule_files_of_the_page_load_and_the_bad_one_is_refused_as_shown():
    *good, bad = blocks("rules.md", "yaml")
    shown = next(body for body in blocks("rules.md", "console") if "Error: " in body)

    for source in good:
        load_rule_set(source, "rules.md")
    with pytest.raises(RuleFileError) as refused:
        load_rule_set(bad, "my-rules.yaml")

    assert shown == f"$ qa-service rules check my-rules.yaml\nError: {refused.value}\n"


def test_every_test_that_the_page_of_the_rules_names_is_there():
    there = "".join(read(path) for path in (ROOT / "tests" / "rules").glob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", read(DOCS / "rules.md"))

    assert len(named) > 40
    assert [name for name in named if f"def {name}(" not in there] == []


def test_the_hash_shown_is_that_of_the_first_example():
    loaded = load_rule_set(blocks("rules.md", "yaml")[0], "my-rules.yaml")

    assert f"hash {loaded.hash[:12]}\n" in "".join(blocks("rules.md", "console"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_json_example_is_json(page):
    for kind, body in FENCE.findall(read(page)):
        if kind == "json":
            msgspec.json.decode(body)


CASE = re.compile(r"`((?:\w+/)*test_\w+)::(test_\w+)`")


def test_every_test_that_the_guarantees_name_exists():
    named = CASE.findall(read(DOCS / "guarantees.md"))
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not re.search(rf"^(?:async )?def {name}\(", read(ROOT / "tests" / f"{file}.py"), re.MULTILINE)
    ]

    assert named
    assert missing == []


def test_every_case_of_the_guarantees_names_a_test():
    _, _, cases = read(DOCS / "guarantees.md").partition("## Cases")
    rows = [line for line in cases.partition("## Runbook")[0].splitlines() if line.startswith("| ")][1:]

    assert rows
    assert [row for row in rows if not CASE.search(row)] == []
