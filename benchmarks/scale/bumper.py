"""A second process, which bumps tenants as fast as one Redis takes it: whom it floods with events is measured.

Started by `process`, with the Redis' port, the namespace, how many tenants there are, the models to bump and how often.
"""

import sys

import redis
from tests.support.servers import HOST

from benchmarks.scale.calls import PIPELINED, call_of


def bump(port: int, namespace: str, tenants: int, models: list[str], times: int) -> None:
    """Bump the tenants one after another, in pipelines."""
    with redis.Redis(host=HOST, port=port) as client:
        client.script_load(call_of("bump", "1", models, namespace=namespace).script.text)
        for start in range(0, times, PIPELINED):
            pipeline = client.pipeline(transaction=False)
            for number in range(start, min(start + PIPELINED, times)):
                call = call_of("bump", str(1 + number % tenants), models, namespace=namespace)
                pipeline.evalsha(call.script.sha, len(call.keys), *call.keys, *call.arguments)
            pipeline.execute()


if __name__ == "__main__":
    _, port, namespace, tenants, models, times = sys.argv
    bump(int(port), namespace, int(tenants), models.split(","), int(times))
