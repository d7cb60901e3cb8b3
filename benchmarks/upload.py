"""A big multipart upload with a key, beside the bare view: its time, and the memory of the server's process."""

from __future__ import annotations

import http.client
import random
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.project.sides import ATOMIC, OURS
from benchmarks.results import Spread, Table
from benchmarks.rounds import interleaved
from benchmarks.scale import Scale
from benchmarks.server import Server, serving

BOUNDARY: Final = "benchmarks"
HEAD: Final = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="document"; filename="document.pdf"\r\n'
    "Content-Type: application/pdf\r\n\r\n"
).encode()
TAIL: Final = f"\r\n--{BOUNDARY}--\r\n".encode()
CHUNK: Final = random.Random(0).randbytes(2**20)
BASE, FIRST, REPLAY = "bare in atomic()", "django-idempotency, first", "django-idempotency, replay"


@dataclass(frozen=True, slots=True)
class Upload:
    """What one took: seconds, and the most bytes that the server's process held in memory meanwhile."""

    seconds: float
    peak: int


def measure(scale: Scale) -> list[Table]:
    with ExitStack() as stack:
        bare, ours = (stack.enter_context(serving(side, workers=1, threads=1)) for side in (ATOMIC, OURS))
        for server in (bare, ours):
            upload(server, str(uuid.uuid4()), chunks=1)  # Once it has started.
        remembered = str(uuid.uuid4())
        upload(ours, remembered, chunks=scale.upload_chunks)
        measured = interleaved(
            {
                BASE: lambda: upload(bare, str(uuid.uuid4()), chunks=scale.upload_chunks),
                FIRST: lambda: upload(ours, str(uuid.uuid4()), chunks=scale.upload_chunks),
                REPLAY: lambda: upload(ours, remembered, chunks=scale.upload_chunks, replayed=True),
            },
            rounds=scale.long_rounds,
        )
    base = measured[BASE]
    return [
        Table(
            title=f"A multipart upload of {scale.upload_chunks} MiB",
            rows={
                name: {
                    "s": Spread.of(each.seconds for each in uploads),
                    "peak memory, MiB": Spread.of(each.peak / 2**20 for each in uploads),
                    "time / atomic": Spread.of(
                        one.seconds / other.seconds for one, other in zip(uploads, base, strict=True)
                    ),
                    "peak memory / atomic": Spread.of(
                        one.peak / other.peak for one, other in zip(uploads, base, strict=True)
                    ),
                }
                for name, uploads in measured.items()
            },
        )
    ]


def upload(server: Server, key: str, *, chunks: int, replayed: bool = False) -> Upload:
    """Send so many MiB, and look at the server's only worker afterwards."""
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
    headers = {
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        "Content-Length": str(len(HEAD) + chunks * len(CHUNK) + len(TAIL)),
        "Idempotency-Key": key,
    }
    forget_peak(server)
    started = time.perf_counter()
    client.request("POST", f"/upload{server.side.path}", body(chunks), headers)
    response = client.getresponse()
    answer = response.read()
    seconds = time.perf_counter() - started
    client.close()
    assert response.status == 201, f"{response.status}: {answer!r}"
    assert bool(response.headers.get("Idempotent-Replayed")) is replayed, response.headers
    return Upload(seconds, peak(server))


def body(chunks: int) -> Iterator[bytes]:
    yield HEAD
    for _ in range(chunks):
        yield CHUNK
    yield TAIL


def forget_peak(server: Server) -> None:
    """Let the peak be what is held now."""
    for directory in workers(server):
        (directory / "clear_refs").write_text("5")


def peak(server: Server) -> int:
    (directory,) = workers(server)
    (line,) = (line for line in (directory / "status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def workers(server: Server) -> list[Path]:
    """Return what Linux tells of the server's worker (proc(5)); nothing before it has started."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
    return [Path("/proc") / pid for pid in children.split()]
