"""Counters of a server, in the text format of Prometheus."""

from bisect import bisect_left
from collections import Counter

BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # seconds


class Metrics:
    """Counts requests, seconds and batches; for the thread of the event loop, batches for that of the model.

    Args:
        paths: that are counted by name; all others are "other".
    """

    def __init__(self, paths: tuple[str, ...]) -> None:
        self.paths = paths
        self.requests: Counter[tuple[str, int]] = Counter()
        self.buckets: dict[str, list[int]] = {}
        self.seconds: Counter[str] = Counter()
        self.batches = self.inputs = self.failures = 0

    def count(self, path: str, status: int, seconds: float) -> None:
        """Counts a request that was answered."""
        path = path if path in self.paths else "other"
        self.requests[path, status] += 1
        self.seconds[path] += seconds  # type: ignore[assignment]
        self.buckets.setdefault(path, [0] * (len(BOUNDS) + 1))[bisect_left(BOUNDS, seconds)] += 1

    def count_batch(self, inputs: int) -> None:
        """Counts a pass of the model."""
        self.batches += 1
        self.inputs += inputs

    def text(self, gauges: dict[str, tuple[str, int]]) -> str:
        """All counters.

        Args:
            gauges: what each further number is, and its value, by its name.
        """
        lines = [*_head("zoo_requests_total", "counter", "requests answered, by path and status")]
        lines += [f'zoo_requests_total{{path="{p}",status="{s}"}} {n}' for (p, s), n in sorted(self.requests.items())]
        lines += _head("zoo_errors_total", "counter", "requests answered with a status from 400, by status")
        errors: Counter[int] = Counter()
        for (_, status), number in self.requests.items():
            errors[status] += number if status >= 400 else 0
        lines += [f'zoo_errors_total{{status="{s}"}} {n}' for s, n in sorted(errors.items()) if n]
        lines += _head("zoo_request_seconds", "histogram", "seconds from the first byte of a request to its answer")
        for path, counts in sorted(self.buckets.items()):
            total = 0
            for bound, number in zip((*BOUNDS, "+Inf"), counts, strict=True):
                total += number
                lines.append(f'zoo_request_seconds_bucket{{path="{path}",le="{bound}"}} {total}')
            lines.append(f'zoo_request_seconds_sum{{path="{path}"}} {self.seconds[path]:.6f}')
            lines.append(f'zoo_request_seconds_count{{path="{path}"}} {total}')
        for name, what, value in (
            ("zoo_batches_total", "passes of the model", self.batches),
            ("zoo_inputs_total", "inputs in passes of the model", self.inputs),
            ("zoo_failures_total", "errors that are faults of the server, see its log", self.failures),
        ):
            lines += [*_head(name, "counter", what), f"{name} {value}"]
        for name, (what, value) in gauges.items():
            lines += [*_head(name, "gauge", what), f"{name} {value}"]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, what: str) -> list[str]:
    return [f"# HELP {name} {what}", f"# TYPE {name} {kind}"]
