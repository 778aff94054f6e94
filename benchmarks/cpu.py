"""The CPU time that a server has taken: of its process, and of all those that it has forked."""

import time
from collections.abc import Iterator
from pathlib import Path

_SCHEDULED = 2
"""What `clock_getcpuclockid` (POSIX) adds on Linux to a process's number: user and system time, in nanoseconds."""


def cpu_seconds(process_id: int) -> float:
    """Return the CPU time, in seconds, of a process with all of its threads and of its living descendants."""
    return sum(_own(each) for each in (process_id, *_descendants(process_id)))


def _own(process_id: int) -> float:
    return time.clock_gettime((~process_id << 3) | _SCHEDULED)


def _descendants(process_id: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in parentheses, may hold anything; the parent is the second field after it.
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):  # it has ended meanwhile
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [process_id]
    for each in found:
        found.extend(children.get(each, ()))
    yield from found[1:]
