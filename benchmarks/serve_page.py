"""The page of `benchmarks.serve`."""

from collections.abc import Mapping
from typing import Any

from benchmarks.serve_load import MEANING

GOOD = ("explain", "predict", "page")


def page(record: Mapping[str, Any]) -> str:
    """The record as Markdown."""
    over, full, alone = record["overload"], record["capacity"], record["alone"]
    before, after = (", ".join(f"{n:.1f}" for n in record[f"load average {when}"]) for when in ("before", "after"))
    times = [
        f"| {what} | {rate} | {row['answered'] / seconds:.1f} | {1e3 * row['p50']:.0f} ms | {1e3 * row['p99']:.0f} ms |"
        for what, rate, row, seconds in (
            ("one client", "as answered", alone, record["calibration"] / 2),
            (f"{full['clients']} clients", "as answered", full, record["calibration"]),
            ("twice that, a third hostile", f"{over['requests a second']:.1f}", over, record["seconds"]),
        )
    ]
    rows = []
    for kind in (*GOOD, *(kind for kind in record["statuses"] if kind not in GOOD)):
        counts = record["statuses"].get(kind, {})
        told = ", ".join(f"{n:,} × {MEANING.get(int(status), status)}" for status, n in counts.items())
        rows.append(f"| {kind} | {sum(counts.values()):,} | {told} |")
    phases = [
        f"| {i} | {one['memory before']['VmRSS']:.0f} | {one['memory after']['VmRSS']:.0f} | "
        f"{one['memory after']['VmHWM']:.0f} | {one['processor seconds']:.0f} | {one['end']['exit code']} | "
        f"{one['end']['seconds to stop']:.1f} | {'yes' if one['end']['crashed before'] else 'no'} | "
        f"{one['end']['tracebacks in the log']} |"
        for i, one in enumerate(record["phases"], 1)
    ]
    sizes = "; ".join(", ".join(f"{size:.0f}" for size in one["MB every minute"]) for one in record["phases"])
    counters = record["phases"][-1]["counters"]
    shared = counters["zoo_inputs_total"] / max(counters["zoo_batches_total"], 1)
    slow = sum(one["counters"].get('zoo_errors_total{status="408"}', 0) for one in record["phases"])
    unexpected = ", ".join(f"{what} ({n})" for what, n in record["unexpected"].items()) or "none"
    return "\n".join(
        [
            "# A server under load",
            "",
            f"`python -m benchmarks.serve --seconds {record['seconds']:g}`: `train.py serve` with "
            f"{record['checkpoint']}, one thread, asked over loopback for {record['seconds']:g} s.",
            "Each answer is compared with that of the model in the process of the client: name of the input, class, "
            "all scores and the explained score, so that an answer to another request would be a wrong one.",
            "",
            f"**Wrong answers: {record['wrong answers']}. Unexpected statuses: {unexpected}.**",
            "",
            f"The machine has {record['processors']} processors, which client, server and other programs share; its "
            f"load average over 1, 5 and 15 minutes was {before} before and {after} after, so that times and capacity "
            "are those of a busy machine, and differ several times between runs.",
            "",
            "| load | requests a second | good answers a second | p50 | p99 |",
            "|---|---|---|---|---|",
            *times,
            "",
            "Times are from the connection to the last byte of good requests that were answered; pages are a tenth of "
            f"them. {over['not sent']:,} requests of the last row were not sent, because 300 others were outstanding.",
            "",
            "| request | sent | answers |",
            "|---|---|---|",
            *rows,
            "",
            "503: the queue is full. 504: no answer in time. Closed: the connection ended before an answer was read, "
            "as for slow headers. A slow body is answered by 408; the servers counted "
            f"{slow:.0f} such answers until a second before they were stopped.",
            "",
            "In the middle and at the end the server is stopped by SIGTERM under load; in the middle it is started "
            "again. Connections that are opened in that moment are refused or closed; a request that has begun is "
            "answered, and slow senders have their ten seconds.",
            "",
            "| process | MB before | MB after | MB at most | CPU s | exit code | s to stop | crashed | tracebacks |",
            "|---|---|---|---|---|---|---|---|---|",
            *phases,
            "",
            f"MB of the processes at the start of each minute: {sizes}.",
            "",
            f"The second process answered in passes of {shared:.2f} inputs on average; errors of its own: "
            f"{counters['zoo_failures_total']:.0f}.",
            "",
        ]
    )
