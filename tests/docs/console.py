"""Console blocks: commands that a reader types, and what the page says they print."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

COMMAND = "$ "
ANYTHING = "…"


@dataclass
class Step:
    """A command, and the lines of its output that the page shows; `…` stands for whatever is there."""

    command: str
    shown: list[str] = field(default_factory=list)

    def missing_from(self, output: str) -> str | None:
        """Return the first shown line that the output has not, in this order; None if it has them all."""
        printed = iter(output.splitlines())
        for line in self.shown:
            pattern = ".*".join(map(re.escape, line.split(ANYTHING)))
            if not any(re.fullmatch(pattern, candidate) for candidate in printed):
                return line
        return None


def steps(code: str) -> list[Step]:
    """Return what a console block has typed."""
    found: list[Step] = []
    for line in code.splitlines():
        if line.startswith(COMMAND):
            found.append(Step(line.removeprefix(COMMAND)))
        elif line:
            found[-1].shown.append(line)
    return found


def run(step: Step, folder: Path, substitutions: Mapping[str, str]) -> None:
    """Run a step's command in a shell, addresses substituted; fail unless it prints what the page shows."""
    command = step.command
    for address, real in substitutions.items():
        command = command.replace(address, real)
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=True)
    missing = step.missing_from(done.stdout)
    assert missing is None, f"$ {command}\nprinted\n{done.stdout}\nand not\n{missing}"
