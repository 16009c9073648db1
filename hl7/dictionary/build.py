#!/usr/bin/env python3
"""Packs the dictionary facts (one JSON file a version and tables.json) into dictionary.bin.

    python3 build.py FOLDER_WITH_JSON

The format is read in place by ../src/dictionary.rs; keep both in step and raise FORMAT when it changes.
Numbers are little-endian. Strings are numbered in the order of their bytes, so comparing numbers compares texts.

    magic "OHL7", u16 FORMAT, u16 number of sections, then (u32 offset, u32 length) a section
    0 string starts  u32 each, one more than there are strings
    1 string bytes
    2 elements       u16 name, u16 type, u16 table or NONE, u8 optionality letter, u8 0,
                     u16 repetitions (NONE = any number), u16 0, u32 length (0 = none)
    3 rows           segments and data types: u16 name, u16 count, count x u16 element or NONE
    4 structures     u16 name, u16 count of nodes, nodes in preorder:
                     u16 name, u8 min, u8 max (255 = any number), u8 kind (0 segment, 1 group, 2 choice), u8 0, u16 nodes below
    5 code lists     u16 name, u16 count, count x u16 code, ascending
    6 code tables    u16 name, u16 kind, u16 count, u16 0, count x (u16 code, u16 display)
    7 maps           (u16 key, u16 0, u32 value), ascending by key
    8 versions       u16 name, u16 0, then six maps as (u32 first entry, u32 count):
                     structures (section 4), events (string of the structure), event names (string), segments (3),
                     data types (3), code lists (5); the last entry has one map only: all code tables (6)
"""
import json
import pathlib
import struct
import sys

FORMAT = 1
NONE = 0xFFFF
VERSIONS = "2.1 2.2 2.3 2.3.1 2.4 2.5 2.5.1 2.6 2.7 2.7.1 2.8 2.8.1 2.8.2".split()


def main(source):
    facts = [json.loads((source / f"v{version}.json").read_text()) for version in VERSIONS]
    tables = json.loads((source / "tables.json").read_text())["tables"]
    strings = collect(facts, tables)
    number = {text: index for index, text in enumerate(strings)}
    assert len(strings) < NONE
    pack = Packer(number)
    for version, fact in zip(VERSIONS, facts):
        pack.version(version, fact)
    pack.tables(tables)
    encoded = [text.encode() for text in strings]
    starts = [0]
    for text in encoded:
        starts.append(starts[-1] + len(text))
    sections = [struct.pack(f"<{len(starts)}I", *starts), b"".join(encoded), bytes(pack.elements), bytes(pack.rows),
                bytes(pack.structures), bytes(pack.lists), bytes(pack.code_tables), bytes(pack.maps),
                bytes(pack.versions)]
    head = 8 + 8 * len(sections)
    out = bytearray(b"OHL7" + struct.pack("<HH", FORMAT, len(sections)))
    for section in sections:
        out += struct.pack("<II", head, len(section))
        head += len(section)
    for section in sections:
        out += section
    target = pathlib.Path(__file__).parent / "dictionary.bin"
    target.write_bytes(out)
    print(f"{target}: {len(out)} bytes;", ", ".join(str(len(section)) for section in sections))


def collect(facts, tables):
    strings = set(VERSIONS) | {""}

    def nodes(children):
        for node in children:
            if isinstance(node, dict):
                strings.add(node["g"])
                nodes(node["c"])
            else:
                strings.add(node[0])

    for fact in facts:
        for name, structure in fact["messages"].items():
            strings.update((name, structure["desc"]))
            nodes(structure["c"])
        for kind in ("events", "event_names"):
            for key, value in fact[kind].items():
                strings.update((key, value))
        for kind, part in (("segments", "fields"), ("datatypes", "components")):
            for name, row in fact[kind].items():
                strings.update((name, row["desc"]))
                for element in row[part]:
                    if element:
                        strings.update((element[0], element[1], element[-1] or ""))
        for name, (title, codes) in fact["tables"].items():
            strings.update((name, title), codes)
    for name, table in tables.items():
        strings.update((name, table["name"], table["type"]))
        for code in table["codes"]:
            strings.update((code[0], code[1] or ""))
    return sorted(strings, key=str.encode)


class Packer:
    def __init__(self, number):
        self.number = number
        self.elements, self.rows, self.structures = bytearray(), bytearray(), bytearray()
        self.lists, self.code_tables, self.maps, self.versions = bytearray(), bytearray(), bytearray(), bytearray()
        self.seen = {}

    def version(self, name, fact):
        self.versions += struct.pack("<HH", self.number[name], 0)
        self.map({key: self.structure(value) for key, value in fact["messages"].items()})
        self.map({key: self.number[value] for key, value in fact["events"].items()})
        self.map({key: self.number[value] for key, value in fact["event_names"].items()})
        self.map({key: self.row(value["desc"], value["fields"]) for key, value in fact["segments"].items()})
        self.map({key: self.row(value["desc"], [[c[0], c[1], c[2], 1, c[3], c[4]] for c in value["components"]])
                  for key, value in fact["datatypes"].items()})
        self.map({key: self.codes(*value) for key, value in fact["tables"].items()})

    def tables(self, tables):
        offsets = {}
        for name, table in tables.items():
            offsets[name] = len(self.code_tables)
            codes = [(self.number[code[0]], self.number[code[1] or ""]) for code in table["codes"]]
            self.code_tables += struct.pack("<HHHH", self.number[table["name"]], self.number[table["type"]], len(codes), 0)
            for code in codes:
                self.code_tables += struct.pack("<HH", *code)
        self.versions += struct.pack("<HH", self.number[""], 0)
        self.map(offsets)

    def map(self, entries):
        self.versions += struct.pack("<II", len(self.maps) // 8, len(entries))
        for key, value in sorted((self.number[key], value) for key, value in entries.items()):
            self.maps += struct.pack("<HHI", key, 0, value)

    def once(self, target, packed):
        key = (id(target), packed)
        if key not in self.seen:
            self.seen[key] = len(target)
            target += packed
        return self.seen[key]

    def element(self, element):
        if not element:
            return NONE
        name, kind, letter, repetitions, length, table = element
        packed = struct.pack("<HHHBBHHI", self.number[name], self.number[kind], self.number[table] if table else NONE,
                             ord(letter), 0, NONE if repetitions < 0 else repetitions, 0, length or 0)
        return self.once(self.elements, packed) // 16

    def row(self, desc, elements):
        numbers = [self.element(element) for element in elements]
        return self.once(self.rows, struct.pack(f"<HH{len(numbers)}H", self.number[desc], len(numbers), *numbers))

    def structure(self, structure):
        nodes = []

        def walk(children):
            for node in children:
                at = len(nodes)
                nodes.append(None)
                if isinstance(node, dict):
                    walk(node["c"])
                    name, least, most, kind = node["g"], node["min"], node["max"], 2 if node.get("choice") else 1
                else:
                    (name, least, most), kind = node, 0
                assert 0 <= least < 255 and -1 <= most < 255
                most = 255 if most < 0 else most
                nodes[at] = struct.pack("<HBBBBH", self.number[name], least, most, kind, 0, len(nodes) - at - 1)

        walk(structure["c"])
        return self.once(self.structures, struct.pack("<HH", self.number[structure["desc"]], len(nodes)) + b"".join(nodes))

    def codes(self, title, codes):
        numbers = sorted({self.number[code] for code in codes})
        return self.once(self.lists, struct.pack(f"<HH{len(numbers)}H", self.number[title], len(numbers), *numbers))


main(pathlib.Path(sys.argv[1]))
