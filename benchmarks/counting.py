"""Counts what a piece of Python does, which is the same however busy the machine is: bytecodes and calls."""

import inspect
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

import cache_revalidate

LIBRARY: Final = str(Path(cache_revalidate.__file__).parent)
_MADE = "<string>"
"""The file that the methods of dataclasses and named tuples say they are from."""


@dataclass
class Count:
    """What was done, in one run, by the functions whose source lies in one folder."""

    bytecodes: int = 0
    """Instructions of the interpreter."""
    functions: Counter[str] = field(default_factory=Counter)
    """Calls of Python functions, by qualified name."""
    coroutines: int = 0
    """Those of them that are coroutines."""


def count(run: Callable[[], object], folder: str = LIBRARY) -> Count:
    """Run something twice, and count the second time: from 3.12 on, Python traces wholly what was traced before.

    Raises `RuntimeError` while something else traces the program, as a debugger or coverage does.
    """
    if sys.gettrace() is not None:
        raise RuntimeError("Something else traces this program: count in a process of its own.")
    _traced(run, folder)
    return _traced(run, folder)


def _traced(run: Callable[[], object], folder: str) -> Count:
    counted = Count()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG001
        code = frame.f_code
        if not code.co_filename.startswith(folder) and code.co_filename != _MADE:
            return None
        if event == "call":
            frame.f_trace_opcodes = True
            counted.functions[code.co_qualname] += 1
            counted.coroutines += bool(code.co_flags & inspect.CO_COROUTINE)
        elif event == "opcode":
            counted.bytecodes += 1
        return trace

    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(None)
    return counted
