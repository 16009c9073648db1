#!/usr/bin/env python3
"""Sends every file of a folder to an MLLP port with python-hl7's own client and checks each answer.

    pip install hl7
    scripts/corpus.py 127.0.0.1 2575 FOLDER

Each file is one frame. A correct answer is one HL7 acknowledgment, readable by python-hl7, whose MSA-2 is the
MSH-10 of the file's first header (where there is one) and whose MSA-1 is one of AA AE AR CA CE CR. A file
without any header must be answered AR or by closing the connection. Prints a table of codes; exits 1 when an
answer is missing or wrong.
"""

import collections
import pathlib
import re
import sys

import hl7
from hl7.client import MLLPClient

FRAME = re.compile(rb"\x0b|\x1c\r?")


def header_of(content: bytes):
    """MSH-10 of the first header, as bytes; None without a usable header."""
    at = content.find(b"MSH")
    if at < 0 or len(content) < at + 8:
        return None
    line = re.split(rb"[\r\n]", content[at:])[0]
    bar = line[3:4]
    fields = line.split(bar)
    return fields[9] if len(fields) > 9 else b""


def ask(host: str, port: int, content: bytes):
    with MLLPClient(host, port) as client:
        client.socket.settimeout(30)
        answer = b""
        client.socket.sendall(b"\x0b" + content + b"\x1c\r")
        while not answer.endswith(b"\x1c\r"):
            part = client.socket.recv(65536)
            if not part:
                break
            answer += part
        return answer


def main() -> int:
    host, port, folder = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix not in (".json", ".md", ".py"))
    codes, wrong = collections.Counter(), []
    for path in files:
        content = FRAME.sub(b"", path.read_bytes())
        control = header_of(content)
        try:
            answer = ask(host, port, content)
        except OSError as error:
            wrong.append((path, f"no answer: {error}"))
            continue
        if not answer:
            codes["closed"] += 1
            if control is not None:
                wrong.append((path, "closed without an answer although there is a header"))
            continue
        try:
            message = hl7.parse(answer.strip(b"\x0b\x1c\r") + b"\r", encoding="latin-1")
            code, echoed = str(message.segment("MSA")[1]), str(message.segment("MSA")[2])
        except Exception as error:  # noqa: BLE001 - whatever the library finds wrong is a wrong answer
            wrong.append((path, f"unreadable answer: {error!r}"))
            continue
        codes[code] += 1
        if code not in ("AA", "AE", "AR", "CA", "CE", "CR"):
            wrong.append((path, f"MSA-1 is {code!r}"))
        elif control and echoed != control.decode("latin-1"):
            wrong.append((path, f"MSA-2 is {echoed!r}, MSH-10 is {control!r}"))
    print(f"{len(files)} files:", ", ".join(f"{code} {count}" for code, count in sorted(codes.items())))
    for path, why in wrong:
        print(f"  {path.relative_to(folder)}: {why}")
    print(f"{len(files) - len(wrong)} passed, {len(wrong)} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
