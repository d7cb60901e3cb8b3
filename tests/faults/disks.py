"""Disks that are soon full: file systems of a few megabytes, in memory. To mount one takes root."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

MEGABYTE = 2**20


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system, and a file in it that only takes its room."""

    path: Path

    @property
    def ballast(self) -> Path:
        return self.path / "ballast"

    def fill(self) -> None:
        """Leave no room at all."""
        with suppress(OSError), self.ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def free(self) -> None:
        """Make room, as somebody does who was called in the night."""
        self.ballast.unlink()


@contextmanager
def small_disk(*, megabytes: int, ballast: int) -> Iterator[Disk]:
    """Mount one, of which *ballast* megabytes are taken."""
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=777", "tmpfs", name], check=True)
        try:
            disk = Disk(Path(name))
            disk.ballast.write_bytes(bytes(ballast * MEGABYTE))
            yield disk
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)
