#!/usr/bin/env python3
"""Compares what `orderly hl7 parse --json` reads with python-hl7 (pip install hl7), an independent parser.

    compare_python_hl7.py FOLDER_OR_FILE... [--orderly "target/release/orderly hl7 parse --json"]

Both read every message that begins with MSH; segments, fields, repetitions, components and subcomponents are compared
as raw structure: counts everywhere, texts where neither side has an escape. Not part of `cargo test`.

Differences that are meant, and left out of the count:
- python-hl7 splits only at carriage returns, so line ends are normalised before it reads; we report them as findings.
- It takes exactly the characters of a four-character MSH-2; we take two to five.
- It reads text the caller decoded; bytes are decoded here with the character set that we found.
- It does not tell the delete indicator from text: null on our side is `""` on its side.
- It strips blanks after the last field of a message; we keep every byte.
- It splits a field only where a separator occurs, so a leaf may stand one level higher.
"""
import json
import pathlib
import subprocess
import sys

import hl7

CODECS = {"ASCII": "ascii", "UNICODE UTF-8": "utf-8", "8859/1": "cp1252", "windows-1252": "cp1252"}


def leaves(node, depth):
    """The lists of python-hl7 down to subcomponents, with the levels it leaves out put back."""
    if depth == 0:
        return str(node)
    if isinstance(node, str):
        return [leaves(node, depth - 1)]
    return [leaves(child, depth - 1) for child in node]


def ours(leaf):
    return '""' if leaf is None else leaf


def compare(ours_line, raw, name):
    parsed = json.loads(ours_line)
    codec = CODECS.get(parsed.get("charset"))
    delimiters = parsed.get("delimiters", {})
    if "error" in parsed or codec is None or delimiters.get("subcomponent") is None or delimiters.get("truncation"):
        return None
    text = raw.decode(codec, errors="replace").lstrip("\ufeff\x0b \r\n").rstrip("\x1c\r\n\x1a\0")
    lines = [line for line in text.replace("\r\n", "\r").replace("\n", "\r").split("\r") if line.strip()]
    theirs = hl7.parse("\r".join(lines) + "\r")
    differences = []
    if len(theirs) != len(parsed["segments"]):
        return [f"{name}: {len(parsed['segments'])} segments here, {len(theirs)} there"]
    escape = delimiters["escape"]
    for segment, their in zip(parsed["segments"], theirs):
        if segment["id"] == "MSH":
            mine, other = segment["fields"][2:], list(their)[3:]
        else:
            mine, other = segment["fields"], list(their)[1:]
        if len(mine) != len(other):
            differences.append(f"{name} {segment['id']}: {len(mine)} fields here, {len(other)} there")
            continue
        for number, (field, their_field) in enumerate(zip(mine, other), 3 if segment["id"] == "MSH" else 1):
            last = segment is parsed["segments"][-1] and number == len(segment["fields"])
            here = [[[ours(leaf).rstrip(" ") if last else ours(leaf) for leaf in component] for component in repetition] for repetition in field]
            there = leaves(their_field, 3)
            if escape in str(their_field):
                here, there = [len(r) for r in here], [len(r) for r in there]
            if here != there:
                differences.append(f"{name} {segment['id']}-{number}")
    return differences


def main(arguments):
    orderly = "orderly hl7 parse --json"
    if "--orderly" in arguments:
        at = arguments.index("--orderly")
        orderly = arguments[at + 1]
        del arguments[at : at + 2]
    files = [path for argument in map(pathlib.Path, arguments)
             for path in (sorted(argument.rglob("*")) if argument.is_dir() else [argument]) if path.is_file()]
    same, different, skipped = 0, [], 0
    for path in files:
        raw = path.read_bytes()
        if raw.count(b"MSH|") != 1 or b"BHS|" in raw:
            skipped += 1
            continue
        run = subprocess.run([*orderly.split(), str(path)], capture_output=True, text=True, check=False)
        line = run.stdout.strip()
        try:
            differences = compare(line, raw, path.name) if line else None
        except Exception as error:  # python-hl7 gives up on messages that we read
            differences = [f"{path.name}: python-hl7 raises {type(error).__name__}"]
        if differences is None:
            skipped += 1
        elif differences:
            different += differences
        else:
            same += 1
    print(f"{same} messages read alike, {len(different)} differences, {skipped} files left out")
    print("\n".join(different))
    return 1 if different else 0


sys.exit(main(sys.argv[1:]))
