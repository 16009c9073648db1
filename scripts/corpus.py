#!/usr/bin/env python3
"""Sends every file of a folder to an MLLP port with python-hl7's own client and checks each answer.

    pip install hl7
    scripts/corpus.py 127.0.0.1 2575 FOLDER

Each file is one frame. A correct answer is one HL7 acknowledgment, readable by python-hl7, whose MSA-2 is the
MSH-10 of the file's first header (where there is one) and whose MSA-1 is one of AA AE AR CA CE CR. Nobody
answers an acknowledgment, nor a message whose MSH-15 says so (NE; ER and SU where they do not apply): there
silence is correct. A file without any header must be answered AR or by closing the connection. Prints a table of codes; exits 1 when an
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
    """The fields of the header, as bytes; None without a usable one. MSH-10 is at index 9.

    A batch has no header of its own that an original-mode acknowledgment could name, junk before MSH and
    ambiguous delimiters leave none that can be trusted.
    """
    content = content.removeprefix(b"\xef\xbb\xbf").lstrip()
    at = 0 if content.startswith(b"MSH") and len(set(content[3:7])) == 4 else -1
    if at < 0 or len(content) < at + 8:
        return None
    line = re.split(rb"[\r\n]", content[at:])[0]
    bar = line[3:4]
    fields = line.split(bar)
    return fields + [b""] * (20 - len(fields))


def may_be_silent(header) -> bool:
    """Whether no answer is a correct answer."""
    return header is not None and (header[8][:3] == b"ACK" or header[14] in (b"NE", b"ER", b"SU"))


def ask(host: str, port: int, content: bytes, patience: float):
    with MLLPClient(host, port) as client:
        client.socket.settimeout(patience)
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
        header = header_of(content)
        control = header and header[9]
        silent = may_be_silent(header)
        try:
            answer = ask(host, port, content, 2 if silent else 30)
        except TimeoutError:
            codes["silence"] += 1
            if not silent:
                wrong.append((path, "no answer"))
            continue
        except OSError as error:
            wrong.append((path, f"no answer: {error}"))
            continue
        if not answer:
            codes["closed"] += 1
            if header is not None:
                wrong.append((path, "closed without an answer although there is a header"))
            continue
        if header is None and answer[1:4] in (b"FHS", b"BHS"):
            # A batch without messages is answered by a batch without acknowledgments.
            codes["empty batch"] += 1
            if b"BTS|0" not in answer:
                wrong.append((path, "its batch of answers does not say that it is empty"))
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
