"""Load on `train.py serve`: `python -m benchmarks.serve --seconds 600`.

A server of protopnet-mnist is asked over loopback. First by clients of which each waits for its answer: what it can
answer in a second. Then for the given time with twice as many requests a second, however slow the answers, a third of
them hostile. In the middle and at the end the server is stopped by SIGTERM under this load; in the middle it is started
again. Each answer is compared with that of the model in this process. Client and server share the processors with each
other and with whatever else runs; its load is in the record. Writes benchmarks/SERVE.md and .json.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serve_load import NAME, Load, Tally, ask, exchange, get
from benchmarks.serve_page import page

HERE = Path(__file__).parent
CLIENTS = 8
OUTSTANDING = 300  # requests of the open loop at once; beyond, the client itself would be what is measured
HOSTILE = 1 / 3
SAMPLE = 60.0  # seconds between two looks at the memory


async def closed_loop(load: Load, port: int, clients: int, seconds: float) -> Tally:
    """Good requests of clients that wait for each answer."""
    tally, end = Tally(), time.perf_counter() + seconds

    async def client() -> None:
        while time.perf_counter() < end:
            await ask(load, port, tally, 0.0)

    await asyncio.gather(*(client() for _ in range(clients)))
    return tally


async def open_loop(load: Load, port: int, rate: float, seconds: float, tally: Tally) -> int:
    """Requests at a rate, whatever the answers; returns those that the client could not send in time."""
    tasks: set[asyncio.Task] = set()
    start, sent, skipped = time.perf_counter(), 0, 0
    while (now := time.perf_counter() - start) < seconds:
        while sent < now * rate:
            sent += 1
            if len(tasks) >= OUTSTANDING:
                skipped += 1
                continue
            task = asyncio.create_task(ask(load, port, tally, HOSTILE))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.sleep(0.005)
    await asyncio.gather(*tasks)
    return skipped


class Served:
    """A server process."""

    def __init__(self, port: int) -> None:
        self.port, start = port, time.perf_counter()
        command = [sys.executable, "train.py", "serve", "--checkpoint", NAME, "--port", str(port)]
        self.process = subprocess.Popen(
            command, cwd=HERE.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        while asyncio.run(exchange(port, get("/ready")))[0] != 200:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server did not start: {self.process.communicate()[0]}")
            time.sleep(0.1)
        self.seconds_to_start = time.perf_counter() - start

    def memory(self) -> dict[str, float]:
        """MB of the process, now and at most."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return {key: int(re.findall(rf"{key}:\s+(\d+)", text)[0]) / 1e3 for key in ("VmRSS", "VmHWM")}

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        cells = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(cells[11]) + int(cells[12])) / os.sysconf("SC_CLK_TCK")

    async def counters(self) -> dict[str, float]:
        """The server's own counters."""
        status, body = await exchange(self.port, get("/metrics"))
        while status == 503:  # too many connections
            await asyncio.sleep(0.1)
            status, body = await exchange(self.port, get("/metrics"))
        if status != 200:
            raise RuntimeError(f"the server gives no counters (status {status}).")
        lines = (line.rsplit(" ", 1) for line in body.decode().splitlines() if line and line[0] != "#")
        return {name: float(value) for name, value in lines}

    def stop(self) -> dict[str, Any]:
        """Ends it by SIGTERM."""
        start, crashed = time.perf_counter(), self.process.poll() is not None
        self.process.send_signal(signal.SIGTERM)
        said = self.process.communicate(timeout=120)[0]
        return {
            "crashed before": crashed,
            "exit code": self.process.returncode,
            "seconds to stop": time.perf_counter() - start,
            "tracebacks in the log": said.count("Traceback"),
        }


async def phase(load: Load, served: Served, rate: float, seconds: float, tally: Tally) -> dict[str, Any]:
    """A server under load, which is stopped a second before the load ends."""
    memory, cpu, answered = served.memory(), served.cpu(), len(tally.seconds)
    loop = asyncio.create_task(open_loop(load, served.port, rate, seconds, tally))
    start, sizes = time.perf_counter(), []
    while (left := start + seconds - 1 - time.perf_counter()) > 0:
        sizes.append(served.memory()["VmRSS"])
        await asyncio.sleep(min(SAMPLE, left))
    told = {
        "seconds to start": served.seconds_to_start,
        "memory before": memory,
        "memory after": served.memory(),
        "MB every minute": sizes,
        "processor seconds": served.cpu() - cpu,
        "counters": await served.counters(),
    }
    load.stopping = True
    told |= {"end": await asyncio.to_thread(served.stop), "not sent": await loop}
    load.stopping = False
    return told | {"answered": len(tally.seconds) - answered}


def measure(seconds: float, calibration: float) -> dict[str, Any]:
    """All numbers of the record."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    load, before = Load(), os.getloadavg()
    served = Served(port)
    alone = asyncio.run(closed_loop(load, port, 1, calibration / 2))
    full = asyncio.run(closed_loop(load, port, CLIENTS, calibration))
    capacity = len(full.seconds) / calibration
    tally, phases = Tally(), []
    for start in (lambda: served, lambda: Served(port)):
        phases.append(asyncio.run(phase(load, start(), 2 * capacity, seconds / 2, tally)))
    skipped = sum(one["not sent"] for one in phases)
    statuses: dict[str, dict[str, int]] = {}
    for (kind, status), number in sorted(tally.statuses.items()):
        statuses.setdefault(kind, {})[str(status)] = number
    return {
        "checkpoint": NAME,
        "seconds": seconds,
        "calibration": calibration,
        "processors": os.cpu_count(),
        "load average before": before,
        "load average after": os.getloadavg(),
        "alone": quantiles(alone.seconds),
        "capacity": {"requests a second": capacity, "clients": CLIENTS, **quantiles(full.seconds)},
        "overload": {"requests a second": 2 * capacity, "not sent": skipped, **quantiles(tally.seconds)},
        "statuses": statuses,
        "wrong answers": alone.wrong + full.wrong + tally.wrong,
        "unexpected": dict(Counter(tally.unexpected + alone.unexpected + full.unexpected)),
        "phases": phases,
    }


def quantiles(seconds: list[float]) -> dict[str, float]:
    p50, p99 = np.quantile(seconds, (0.5, 0.99)).tolist() if seconds else (float("nan"),) * 2
    return {"answered": len(seconds), "p50": p50, "p99": p99}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="of the load (default: 600)")
    parser.add_argument("--calibration", type=float, default=20.0, help="seconds to find the capacity (default: 20)")
    options = parser.parse_args()
    if options.seconds < 10 or options.calibration < 2:
        parser.error("--seconds must be at least 10, --calibration at least 2")
    record = measure(options.seconds, options.calibration)
    (HERE / "SERVE.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (HERE / "SERVE.md").write_text(page(record), encoding="utf-8")
    print(page(record))


if __name__ == "__main__":
    main()
