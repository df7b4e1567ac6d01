"""Good and hostile requests for `benchmarks.serve`, and whether they are answered as they must be."""

import asyncio
import io
import json
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image

import zoo

NAME, PICTURES = "protopnet-mnist", 64
PATIENCE = 40.0  # seconds
TOLERANCE = 1e-4  # of scores, which differ by rounding between batches
BODY = 8 * 2**20
SLOW = 0.03  # of the hostile requests are slow senders, each of which keeps a connection for ten seconds
BUSY = {503, 504}
MEANING = {0: "closed", -1: "no server (restart)", -2: "no answer in 40 s", -3: "reset"}


@dataclass
class Tally:
    """What happened to requests.

    Attributes:
        statuses: number of answers by kind of request and status; 0 for a connection that was closed.
        seconds: of each good request that was answered.
        wrong: answers with other numbers than the model's.
        unexpected: statuses that a kind of request must not get.
    """

    statuses: Counter = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    wrong: int = 0
    unexpected: list[str] = field(default_factory=list)


class Load:
    """Requests, and what they must be answered with."""

    def __init__(self) -> None:
        model, generator = zoo.load(NAME), np.random.default_rng(0)
        self.domain, self.pictures = model.domain, []
        batch = []
        for _ in range(PICTURES):
            small = Image.fromarray(generator.integers(0, 256, (5, 5), dtype=np.uint8))
            picture, buffer = small.resize((28, 28), Image.Resampling.BICUBIC), io.BytesIO()
            picture.save(buffer, "PNG")
            self.pictures.append(buffer.getvalue())
            batch.append(model.domain.preprocess(picture))
        told = model.explain(torch.stack(batch))
        self.scores = told.scores
        self.answers = [told.domain.classes[c] for c in told.scores.argmax(1).tolist()]
        self.explained = told.relative_score.tolist()
        self.random, self.stopping = random.Random(0), False
        flat = Image.new("L", (9000, 9000))
        buffer = io.BytesIO()
        flat.save(buffer, "PNG")  # 81 million pixels in 80 kB
        good = self.pictures[0]
        form = "multipart/form-data; boundary=x"
        part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="../../etc/passwd"\r\n\r\nx\r\n--x--\r\n'
        self.hostile: dict[str, tuple[bytes, set[int]]] = {
            "damaged picture": (post("/explain?name=a.png", good[: len(good) // 2]), {422}),
            "picture of 81 million pixels": (post("/explain?name=a.png", buffer.getvalue()), {413}),
            "another kind of file": (post("/explain?name=a.pdf", b"%PDF"), {415}),
            "path as a name": (post("/explain", part, form), {415}),
            "broken form": (post("/explain", b"--x\r\n" + bytes(1000), form), {400}),
            "JSON for a model of images": (post("/explain", b"[" * 10**5, "application/json"), {415}),
            "unknown class": (post("/explain?name=a.png&target=nobody", good), {422}),
            "no HTTP": (random.Random(1).randbytes(500) + b"\r\n\r\n", {400, 0}),
            "empty body": (post("/explain?name=a.png", b""), {400}),
            "unknown path": (get("/../../etc/passwd"), {404}),
            "9 MiB": (post("/explain?name=a.png", bytes(BODY + 2**20)), {413, 408, 0}),  # 408: not sent in ten seconds
        }

    def good(self) -> tuple[str, int, bytes]:
        """Kind, number of the picture, and content of a good request."""
        i = self.random.randrange(PICTURES)
        kind = self.random.choices(("explain", "predict", "page"), (6, 3, 1))[0]
        return kind, i, post(f"/{kind}?name={i}.png", self.pictures[i])

    def note(self, tally: Tally, kind: str, status: int, allowed: set[int]) -> None:
        """Counts a status that this kind of request must not get; while the server stops, connections may be closed."""
        closed = 0 if status == -3 else status
        if closed not in allowed | BUSY | {-1} and not (self.stopping and closed == 0):
            tally.unexpected.append(f"{kind}: {MEANING.get(status, status)}")

    def is_right(self, kind: str, i: int, body: bytes) -> bool:
        """Whether the body is the answer to picture i."""
        if kind == "page":
            return f"<p class='title'><bdi>{i}.png</bdi>".encode() in body and self.answers[i].encode() in body
        one = json.loads(body)["results"][0]
        apart = torch.tensor(list(one["scores"].values())) - self.scores[i]
        right = one["input"] == f"{i}.png" and one["answer"].startswith(self.answers[i])
        right = right and float(apart.abs().max()) < TOLERANCE
        return right and (kind == "predict" or abs(one["explained_score"] - self.explained[i]) < TOLERANCE)


def post(path: str, body: bytes, kind: str = "application/octet-stream") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()


async def exchange(port: int, content: bytes, slow_from: int | None = None) -> tuple[int, bytes]:
    """Status and body of an answer; without one 0 (closed), -1 (no server), -2 (this side gave up) or -3 (reset).

    Args:
        port: of the server on this machine.
        content: to send.
        slow_from: number of the byte from which one is sent in a second.
    """
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return -1, b""
    found, missing = bytearray(), 0

    async def read() -> None:
        while chunk := await reader.read(2**16):
            found.extend(chunk)

    try:
        async with asyncio.timeout(PATIENCE):
            reading = asyncio.create_task(read())
            writer.write(content[:slow_from])
            for start in range(slow_from, len(content)) if slow_from is not None else ():
                if (await asyncio.wait({reading}, timeout=1))[0]:
                    break
                writer.write(content[start : start + 1])
            await reading
    except TimeoutError:
        missing = -2
    except OSError:  # what came before the reset counts
        missing = -3
    finally:
        writer.close()
    status = re.match(rb"HTTP/1\.1 (\d{3}) ", found)
    return (int(status[1]) if status else missing), bytes(found.partition(b"\r\n\r\n")[2])


async def ask(load: Load, port: int, tally: Tally, hostile: float) -> None:
    """Sends one request, and counts what comes back."""
    if load.random.random() < hostile:
        if load.random.random() < SLOW:
            content = post("/explain?name=a.png", bytes(1000))
            kind, start, allowed = load.random.choice([("slow body", -1000, {408}), ("slow headers", 20, {0})])
            status, _ = await exchange(port, content, len(content) + start if start < 0 else start)
        else:
            kind = load.random.choice(list(load.hostile))
            content, allowed = load.hostile[kind]
            status, _ = await exchange(port, content)
        load.note(tally, kind, status, allowed)
        tally.statuses[kind, status] += 1
        return
    kind, i, content = load.good()
    start = time.perf_counter()
    status, body = await exchange(port, content)
    tally.statuses[kind, status] += 1
    if status == 200:
        tally.seconds.append(time.perf_counter() - start)
        tally.wrong += not load.is_right(kind, i, body)
    else:
        load.note(tally, kind, status, set())
