#!/usr/bin/env python3
"""What more nodes, and more message boxes, cost and give: CPU a message of the nodes and of Postgres.

    scripts/scale.py --program target/release/orderly --nodes 1 2 3 postgres://user@localhost/empty?host=/folder
    scripts/scale.py --program target/release/orderly --nodes 1 postgres://.../first postgres://.../second

Each address is a message box: an empty database on this machine, that no other work uses. Every box gets so many nodes. As many
connections as told, spread over all nodes, have one message outstanding each. The sender is one process of Python: compare
CPU a message, not messages a second.
"""
import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

TICK = os.sysconf("SC_CLK_TCK")
SITE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "sites", "bench")
BODY = (
    "PID|1||{patient}^^^NORTH^MR||Aldermark^Testa||19800101|F|||1 Sample Street^^Northgate\r"
    "PV1|1|I|4A^401^1\rORC|RE|P{patient}^OE|L{patient}^LIS\r"
    "OBR|1|P{patient}^OE|L{patient}^LIS|CHEM^Chemistry^L|||20260301100000\r"
    "OBX|1|NM|2823-3^Potassium^LN||4.1|mmol/L|3.5-5.1|N|||F\rOBX|2|NM|2345-7^Glucose^LN||5.6|mmol/L|3.9-7.8|N|||F\r"
)


def frame(control, patient):
    head = f"MSH|^~\\&|LIS|BENCH|ORDERLY|BENCH|20260301101500||ORU^R01^ORU_R01|{control}|P|2.5.1\r"
    return b"\x0b" + (head + BODY.format(patient=patient)).encode() + b"\x1c\r"


def cpu(process):
    """Seconds of CPU of a process, with those of its ended children."""
    with open(f"/proc/{process}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return sum(int(field) for field in fields[11:15]) / TICK


def cpu_of_tree(process):
    with open(f"/proc/{process}/task/{process}/children") as children:
        own = [int(child) for child in children.read().split()]
    return cpu(process) + sum(cpu(child) for child in own if os.path.exists(f"/proc/{child}"))


def ask(url, query):
    return subprocess.run(["psql", "-Atqc", query, url], check=True, capture_output=True, text=True).stdout.strip()


class Node:
    def __init__(self, program, url, sink, folder):
        addresses = os.path.join(folder, "addresses.json")
        environment = dict(
            os.environ, ORDERLY_BENCH_LISTEN="127.0.0.1:0", ORDERLY_BENCH_STORE="127.0.0.1:0", ORDERLY_BENCH_CONNECT=sink
        )
        command = [program, "serve", "--site", SITE, "--database-url", url, "--data", folder, "--http", "127.0.0.1:0"]
        log = open(os.path.join(folder, "log"), "w")
        self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        while not os.path.exists(addresses):
            if self.process.poll() is not None:
                sys.exit(open(log.name).read())
            time.sleep(0.05)
        self.listens = json.load(open(addresses))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


async def answer(reader, writer):
    """The receiver at the end of the flow."""
    try:
        while True:
            message = await reader.readuntil(b"\x1c\r")
            control = message.split(b"|", 10)[9]
            writer.write(b"\x0bMSH|^~\\&|SINK|TEST|||2026||ACK|A" + control + b"|P|2.5.1\rMSA|AA|" + control + b"\r\x1c\r")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def converse(address, name, until, counted):
    host, port = address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    number = 0
    while time.monotonic() < until:
        number += 1
        writer.write(frame(f"{name}N{number}", 1000 + (hash(name) + number) % 5000))
        said = await reader.readuntil(b"\x1c\r")
        if b"MSA|AA|" not in said:
            sys.exit(f"refused: {said!r}")
        counted[0] += 1
    writer.close()


async def measure(options, count):
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    sink = "127.0.0.1:%d" % server.sockets[0].getsockname()[1]
    with tempfile.TemporaryDirectory() as data:
        nodes = []
        for box, url in enumerate(options.url):
            for number in range(count):
                folder = os.path.join(data, f"{box}-{number}")
                os.mkdir(folder)
                # Not on the loop: the receiver must answer what a node still has.
                nodes.append(await asyncio.to_thread(Node, options.program, url, sink, folder))
        masters = [int(postmaster(url)) for url in options.url]
        used = lambda: (sum(cpu(node.process.pid) for node in nodes), sum(map(cpu_of_tree, masters)))
        await asyncio.sleep(3)
        before = used()
        await asyncio.sleep(5)
        engine, postgres = ((now - old) / 5 for now, old in zip(used(), before))
        print(
            f"{'idle':<15} {len(options.url)} x {count} nodes  {'':10}  engine {engine * 1e3:5.0f} ms  "
            f"Postgres {postgres * 1e3:5.0f} ms a second",
            flush=True,
        )
        for location, what in (("store-in/mllp", "receive to ACK"), ("bench-in/mllp", "full flow")):
            run = f"{os.getpid()}x{count}{location[0]}"
            await load(nodes, location, f"W{run}", 2, options.connections)
            before = used()
            begun = time.monotonic()
            messages = await load(nodes, location, f"M{run}", options.seconds, options.connections)
            for url in options.url:
                while int(await asyncio.to_thread(ask, url, WAITING)):
                    await asyncio.sleep(0.2)
            took = time.monotonic() - begun
            engine, postgres = (now - old for now, old in zip(used(), before))
            print(
                f"{what:<15} {len(options.url)} x {count} nodes  {messages / took:8.0f}/s  "
                f"engine {engine / messages * 1e6:5.0f} us  Postgres {postgres / messages * 1e6:5.0f} us  "
                f"together {(engine + postgres) / messages * 1e6:5.0f} us",
                flush=True,
            )
            for node in nodes:
                if node.process.poll() is not None:
                    sys.exit("a node ended")
        for node in nodes:
            await asyncio.to_thread(node.stop)
    server.close()


# Work for subscribers that are not on hold and have not consumed it.
WAITING = """
SELECT count(*) FROM (
    SELECT l.id, (SELECT max(w.sequence) FROM work w WHERE w.lane = l.id) AS last,
           greatest(l.base, (SELECT max(p.to_sequence) FROM progress p WHERE p.lane = l.id)) AS done
      FROM lane l JOIN subscriber s ON s.id = l.subscriber WHERE s.name <> 'store-out') AS lanes
 WHERE last > coalesce(done, 0)"""


def postmaster(url):
    """The postmaster: the parent of any backend."""
    with subprocess.Popen(["psql", "-Atq", url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as session:
        session.stdin.write("SELECT pg_backend_pid();\n")
        session.stdin.flush()
        backend = session.stdout.readline().strip()
        with open(f"/proc/{backend}/stat") as stat:
            master = stat.read().rsplit(")", 1)[1].split()[1]
        session.stdin.close()
        return master


async def load(nodes, location, run, seconds, connections):
    counted, until = [0], time.monotonic() + seconds
    addresses = [node.listens[location] for node in nodes]
    await asyncio.gather(
        *(converse(addresses[n % len(addresses)], f"{run}C{n}", until, counted) for n in range(connections))
    )
    return counted[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("url", nargs="+", help="an empty database: one message box")
    options = parser.parse_args()
    for count in options.nodes:
        asyncio.run(measure(options, count))


main()
