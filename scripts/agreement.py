#!/usr/bin/env python3
"""Compares what Orderly reads, answers and finds with independent implementations, over a folder of messages.

    scripts/agreement.py FOLDER [--orderly target/release/orderly] [--node-modules DIR]

    python3 -m venv venv && venv/bin/pip install hl7==0.4.5 hl7apy==1.3.5
    npm install --prefix DIR node-hl7-client@4.0.0

Four comparisons, each left out (and said so) when its library is not there:
  values   python-hl7: every leaf of every message
  acks     python-hl7: the acknowledgment it makes for the same message
  groups   hl7apy: the group that each segment belongs to, and whether it finds the message valid
  npm      node-hl7-client: the first component of every field

Differences with a known reason are counted under it; docs/agreement.md tells each. Exit 1 when one has none.
"""

import argparse
import collections
import json
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

CODECS = {"ASCII": "ascii", "UNICODE UTF-8": "utf-8", "8859/1": "cp1252", "windows-1252": "cp1252"}
SPACE = "{urn:hl7-org:v2xml}"


class Tally:
    """Counts of one comparison, and its differences by reason."""

    verbose = False

    def __init__(self, name):
        self.name, self.same, self.left_out = name, 0, collections.Counter()
        self.explained, self.open = collections.Counter(), []

    def difference(self, where, reason=None):
        if reason:
            self.explained[reason] += 1
            if self.verbose and where:
                print(f"{self.name} {where}: {reason}")
        else:
            self.open.append(where)

    def print(self):
        print(f"\n{self.name}: {self.same} alike, {sum(self.explained.values())} explained, {len(self.open)} open")
        for reason, count in self.explained.most_common():
            print(f"  {count:5}  {reason}")
        for reason, count in self.left_out.most_common():
            print(f"  {count:5}  left out: {reason}")
        for where in self.open[:40]:
            print(f"    OPEN {where}")


class Sample:
    """One message as Orderly tells it, and its text with the line ends that strict parsers want."""

    def __init__(self, orderly, path, number, er7):
        self.name = f"{path.name}#{number}"
        self.er7 = er7
        self.orderly = orderly
        self.json = json.loads(run(orderly, "parse", "--json", "-", data=er7) or b"{}")
        codec = CODECS.get(self.json.get("charset"))
        self.text = er7.decode(codec, errors="replace") if codec else None
        delimiters = self.json.get("delimiters", {})
        self.plain = None not in (delimiters.get("subcomponent"), delimiters.get("escape")) and not delimiters.get("truncation")
        self.escape = delimiters.get("escape")


def run(orderly, *arguments, data=None):
    done = subprocess.run([orderly, "hl7", *arguments], input=data, capture_output=True, check=False)
    return done.stdout


def samples(orderly, folder):
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix not in (".json", ".md", ".py", ".xml")):
        # To one message a piece, with carriage returns: how files are cut is tested elsewhere.
        whole = run(orderly, "convert", "--to", "er7", str(path))
        starts = [m.start() for m in re.finditer(rb"(?:^|(?<=\r))MSH", whole)]
        for number, (start, end) in enumerate(zip(starts, starts[1:] + [len(whole)]), 1):
            piece = re.split(rb"\r(?=BTS|FTS|BHS|FHS)", whole[start:end])[0].rstrip(b"\r") + b"\r"
            yield Sample(orderly, path, number, piece)


def leaves(node, depth):
    """The lists of python-hl7 down to subcomponents, with the levels it leaves out put back."""
    if depth == 0:
        return str(node)
    if isinstance(node, str):
        return [leaves(node, depth - 1)]
    return [leaves(child, depth - 1) for child in node]


def compare_values(sample, hl7, tally):
    if sample.text is None:
        return tally.left_out.update([f"character set {sample.json.get('charset')}: python-hl7 is given text, not bytes"])
    if not sample.plain:
        return tally.left_out.update(["MSH-2 has not four characters: python-hl7 takes exactly four"])
    try:
        theirs = hl7.parse(sample.text)
    except Exception as error:  # noqa: BLE001 - whatever it finds wrong
        return tally.difference(f"{sample.name}: python-hl7 raises {error!r}", "python-hl7 cannot read the message")
    if len(theirs) != len(sample.json["segments"]):
        return tally.difference(f"{sample.name}: {len(theirs)} segments there")
    for segment, their in zip(sample.json["segments"], theirs):
        header = segment["id"] == "MSH"
        mine, other = (segment["fields"][2:], list(their)[3:]) if header else (segment["fields"], list(their)[1:])
        if segment["id"] in ("FHS", "BHS"):
            continue
        for number, (field, their_field) in enumerate(zip(mine, other), 3 if header else 1):
            here = [[['""' if leaf is None else leaf for leaf in c] for c in r] for r in field]
            there = leaves(their_field, 3)
            raw = str(their_field)
            if here == there:
                tally.same += 1
            elif sample.escape in raw:
                if [len(r) for r in here] == [len(r) for r in there]:
                    tally.difference("", "escapes: decoded here, raw text there; the same number of leaves")
                else:
                    tally.difference(f"{sample.name} {segment['id']}-{number}")
            elif here == [[[leaf.strip() for leaf in c] for c in r] for r in there] or strip(here) == strip(there):
                tally.difference("", "blanks at the end of a message: kept here, stripped there")
            elif "\n" in raw:
                tally.difference("", "a line feed inside a field")
            else:
                tally.difference(f"{sample.name} {segment['id']}-{number}")
        if len(mine) != len(other):
            tally.difference(f"{sample.name} {segment['id']}: {len(mine)} fields here, {len(other)} there")


def strip(field):
    return [[[leaf.strip() for leaf in component] for component in repetition] for repetition in field]


def compare_acks(sample, hl7, tally):
    if sample.text is None or not sample.plain:
        return tally.left_out.update(["as for values"])
    try:
        theirs = hl7.parse(sample.text).create_ack("AA")
    except Exception as error:  # noqa: BLE001
        return tally.difference(f"{sample.name}: python-hl7 raises {error!r}", "python-hl7 cannot answer the message")
    answer = run(sample.orderly, "ack", "-", data=sample.er7)
    paths = ["MSH-3", "MSH-4", "MSH-5", "MSH-6", "MSH-9.1", "MSH-9.2", "MSH-9.3", "MSH-11", "MSH-12", "MSA-1", "MSA-2"]
    mine = run(sample.orderly, "get", "-", *paths, data=answer).decode("utf-8", "replace").split("\n")
    for path, here in zip(paths, mine):
        segment, place = path.split("-")
        field, _, component = place.partition(".")
        try:
            there = theirs.segment(segment)[int(field)]
            there = str(there[0][int(component) - 1]) if component else str(there)
        except (IndexError, KeyError, TypeError):
            there = ""
        if here == there:
            tally.same += 1
        elif path == "MSH-9.3" or path == "MSH-9.2":
            tally.difference("", "MSH-9: the form of the sender's version here (2.3.1 and later ACK^event^ACK), always three parts there")
        elif path == "MSH-12" and sample.json.get("version") not in VERSIONS:
            tally.difference("", "MSH-12: a version that we know here, the unknown one echoed there")
        elif path == "MSH-12" and there.startswith(here):
            tally.difference("", "MSH-12: the version alone here, its country parts too there")
        elif sample.escape in there:
            tally.difference("", "escapes: the same bytes, told decoded here")
        elif here.strip() == there.strip():
            tally.difference("", "blanks at the end of a message: kept here, stripped there")
        else:
            tally.difference(f"{sample.name} {path}: {here!r} here, {there!r} there")


VERSIONS = {"2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.7.1", "2.8", "2.8.1", "2.8.2"}


def our_groups(sample):
    """(path of groups, segment) in order, from the XML form."""
    text = run(sample.orderly, "convert", "--to", "xml", "-", data=sample.er7)
    if not text.strip():
        return None
    root = ElementTree.fromstring(text)
    prefix = root.tag.removeprefix(SPACE) + "."

    def walk(node, path):
        for child in node:
            name = child.tag.removeprefix(SPACE)
            if re.fullmatch(r"[A-Z][A-Z0-9]{2}", name):
                yield path, name
            else:
                yield from walk(child, (*path, name.removeprefix(prefix)))

    return list(walk(root, ()))


def their_groups(message):
    prefix = f"{message.name}_"

    def walk(node, path):
        for child in node.children:
            if child.classname == "Group":
                yield from walk(child, (*path, child.name.removeprefix(prefix)))
            else:
                yield path, child.name

    return list(walk(message, ()))


def compare_groups(sample, tally, validity):
    from hl7apy.consts import VALIDATION_LEVEL
    from hl7apy.parser import parse_message
    if sample.text is None or not sample.plain:
        return tally.left_out.update(["as for values"])
    here = our_groups(sample)
    if here is None:
        return tally.left_out.update(["a line without segment id has no XML form"])
    try:
        message = parse_message(sample.text, validation_level=VALIDATION_LEVEL.TOLERANT, find_groups=True)
        there = their_groups(message)
    except Exception as error:  # noqa: BLE001
        return tally.difference("", f"hl7apy cannot read the message: {type(error).__name__}")
    # hl7apy gives a choice of segments a group of its own; the XML form has no element for it.
    flat = [(tuple(g for g in path if g != "CHOICE" and not g.endswith("_SUPPGRP")), name) for path, name in there]
    if here == there:
        tally.same += 1
    elif here == flat:
        tally.difference(sample.name, "a choice of segments is a group of its own there, and none here")
    elif not any(path for path, _ in there):
        tally.difference(sample.name, "hl7apy finds no groups at all: no structure in MSH-9, or one that does not fit")
    else:
        tally.difference(sample.name, moved_because(here, flat))
    found = json.loads(run(sample.orderly, "validate", "--json", "-", data=sample.er7))["findings"]
    here_why = sorted({(f["path"], f["code"]) for f in found if f["severity"] == "error"})
    valid_here = not here_why
    try:
        message.validate()
        valid_there, why = True, ""
    except Exception as error:  # noqa: BLE001
        valid_there, why = False, str(error)
    if valid_here == valid_there:
        validity.same += 1
    elif valid_here:
        validity.difference(f"{sample.name}: {why}", next((told for text, told in REFUSED if re.search(text, why)), None))
    elif all(code == 102 for _, code in here_why):
        validity.difference(f"{sample.name}: {here_why}", "a value that does not fit its type: hl7apy looks at types in strict mode only")
    else:
        validity.difference(f"{sample.name}: {here_why}")


# What hl7apy refuses and we accept.
REFUSED = [
    (r"^'?reference'?$", "hl7apy's validator ends with KeyError('reference')"),
    (r"Invalid children detected .*\[(None|.*_\d+)", "fields or components that the version does not have: ignored with a note here, refused there"),
    (r"Datatype None is not correct", "components in a field of a plain type: kept with a note here, refused there"),
    (r"Child limit exceeded", "more occurrences than the facts allow: a warning here, refused there"),
    (r"Missing required child PID\.PID_5", "a blank as the only text of a required field: a value here, nothing there"),
]


def moved_because(here, there):
    """Why segments stand in other groups; None when no rule says so."""
    names, known = [name for _, name in here], {name for _, name in there}
    moved = {name for _, name in (collections.Counter(here) - collections.Counter(there))}
    if all(name.startswith("Z") for name in moved):
        return "local segments: in the group where they stand here, at the top of the message there"
    if names != [name for _, name in there]:
        return "segments that the structure does not have: where they stand here, left out there, with what follows them"
    if "ORC" in moved:
        return "an ORC after results begins the next order here, a prior result of the same order there"
    if moved <= {"OBX", "PRT", "TQ1"} and moved <= known:
        return "a segment with several places: the next one in order here, there also one that is passed"
    return None


def kind(text):
    return re.sub(r"[A-Z][A-Z0-9_]{2,}", "..", text)[:60]


NODE = """
import { readFileSync } from 'node:fs';
import { Message } from 'MODULE';
const out = [];
for (const { name, text, places } of JSON.parse(readFileSync(0, 'utf8'))) {
    try {
        const message = new Message({ text });
        out.push({ name, values: places.map((place) => { try { return message.get(place)?.toString() ?? ''; } catch (error) { return { error: error.message }; } }) });
    } catch (error) { out.push({ name, error: error.message }); }
}
console.log(JSON.stringify(out));
"""


def compare_npm(all_samples, modules, tally):
    entry = modules / "node_modules" / "node-hl7-client"
    manifest = json.loads((entry / "package.json").read_text())
    main = manifest.get("exports", {}).get(".", {})
    main = main.get("import", main) if isinstance(main, dict) else main
    main = (main.get("default") or main.get("types")) if isinstance(main, dict) else main
    work, expected = [], {}
    for sample in all_samples:
        if sample.text is None or not sample.plain:
            tally.left_out.update(["as for values"])
            continue
        places, values, seen = [], [], set()
        for segment in sample.json["segments"]:
            if segment["id"] in seen or len(segment["id"]) != 3:
                continue
            seen.add(segment["id"])
            for number, field in enumerate(segment["fields"], 1):
                if segment["id"] == "MSH" and number < 3 or len(field) != 1:
                    continue
                places.append(f"{segment['id']}.{number}.1")
                values.append(field[0][0])
        work.append({"name": sample.name, "text": sample.text, "places": places})
        expected[sample.name] = (places, values)
    program = NODE.replace("MODULE", (entry / (main or manifest["main"])).resolve().as_uri())
    done = subprocess.run(["node", "--input-type=module", "-e", program], input=json.dumps(work).encode(), capture_output=True, check=False)
    if done.returncode != 0:
        return tally.difference(f"node failed: {done.stderr.decode()[:300]}")
    for result in json.loads(done.stdout):
        if "error" in result:
            tally.difference(result["name"], "node-hl7-client cannot read the message: " + kind(result["error"]))
            continue
        places, values = expected[result["name"]]
        for place, here, there in zip(places, values, result["values"]):
            here = ["" if leaf is None else leaf for leaf in here]
            if isinstance(there, dict):
                tally.difference("", "node-hl7-client raises for a place that is empty")
            elif here[0] == there or len(here) == 1 and here[0].strip() == there.strip():
                tally.same += 1
            elif len(here) > 1:
                tally.difference("", "subcomponents: the first one here, the whole component there")
            elif there == '""':
                tally.difference("", "the delete indicator: told apart here, text there")
            elif here[0] and not there:
                tally.difference(f"{result['name']} {place}: {here!r} here, nothing there", EMPTY_THERE)
            elif "\\" in there or "\\" in here[0]:
                tally.difference("", "escapes: unknown ones kept here, cut or left there")
            else:
                tally.difference(f"{result['name']} {place}: {here!r} here, {there!r} there")


EMPTY_THERE = None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--orderly", default="target/debug/orderly")
    parser.add_argument("--node-modules", type=pathlib.Path)
    parser.add_argument("--verbose", action="store_true", help="say where each explained difference is")
    options = parser.parse_args()
    Tally.verbose = options.verbose
    found = list(samples(options.orderly, options.folder))
    print(f"{len(found)} messages")
    tallies = []
    try:
        import hl7
        values, acks = Tally("values, python-hl7 (fields)"), Tally("acks, python-hl7 (fields)")
        for sample in found:
            compare_values(sample, hl7, values)
            compare_acks(sample, hl7, acks)
        tallies += [values, acks]
    except ImportError:
        print("python-hl7 is not installed: values and acks are left out")
    try:
        import hl7apy  # noqa: F401
        groups, validity = Tally("groups, hl7apy (messages)"), Tally("valid structure, hl7apy (messages)")
        for sample in found:
            compare_groups(sample, groups, validity)
        tallies += [groups, validity]
    except ImportError:
        print("hl7apy is not installed: groups are left out")
    if options.node_modules:
        npm = Tally("first components, node-hl7-client (fields)")
        compare_npm(found, options.node_modules, npm)
        tallies.append(npm)
    else:
        print("no --node-modules: the npm comparison is left out")
    for tally in tallies:
        tally.print()
    return 1 if any(tally.open for tally in tallies) else 0


if __name__ == "__main__":
    sys.exit(main())
