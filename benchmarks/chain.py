"""What a 304 costs that is decided within a framework, after its own authentication, beside its constant route."""

from benchmarks import lineup
from benchmarks.bench import Bench
from benchmarks.field import Field
from benchmarks.results import Part, compared

NAME = "chain"
TITLE = "A 304 in the framework's own chain: the server's CPU"


async def measure(bench: Bench) -> Part:
    """Measure on each server, all frameworks in the same rounds."""
    part = Part(NAME, TITLE)
    everyone = [each for framework in lineup.FRAMEWORKS for each in lineup.in_chain(framework)]
    for server in bench.size.servers:
        bench.progress.begin(f"{NAME}, {server}")
        with Field(bench, everyone, server) as field:
            samples = await field.measure(connections=1)
        part.missing += field.missing
        for framework in lineup.FRAMEWORKS:
            names = [each.name for each in lineup.in_chain(framework) if each.name in samples.names]
            if lineup.constant(framework) in names:
                part.tables.append(
                    compared(
                        f"304 in {framework}, {server}",
                        samples.of(names),
                        lineup.constant(framework),
                        unit="µs CPU",
                        name=f"chain-{framework.lower()}-{server}",
                        ours=[lineup.in_chain_name(framework)],
                    )
                )
    return part
