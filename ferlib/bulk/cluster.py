"""Shards done by a Ray cluster, wherever it has cores: a shard whose process or machine is lost is done elsewhere."""

import os
import re
import socket
from collections import deque
from collections.abc import Iterable, Iterator

from ferlib.bulk.job import Counts, Job, Shard
from ferlib.errors import RunError, UserError
from ferlib.utils.packages import require

_AHEAD = 2  # shards a core that are given out before their turn
_PATIENCE = 10  # seconds for the cluster to answer
_RETRIES = 10  # of a shard whose process or machine was lost


def do_on_cluster(job: Job, shards: Iterable[int], workers: int | None, address: str | None) -> Iterator[Counts]:
    """Make the parts of shards; their counts, in their order, as they are written.

    Args:
        job: to do with each; its paths have to be the same on all machines, as on a shared disk or in an object store.
        shards: their numbers.
        workers: shards that are done at a time; None: one a core of the cluster.
        address: of the cluster; None: RAY_ADDRESS's, or else one of this machine that lasts as long as the run.

    Raises:
        MissingPackage: Ray is not installed.
        UserError: the cluster does not answer.
        RunError: a shard's process was lost too often.
    """
    require("a cluster", "ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # it would report to its maker
    import ray
    from ray.exceptions import RayError, RayTaskError

    begun = not ray.is_initialized()
    if begun:
        _connect(address, workers)
    do = ray.remote(num_cpus=1, max_retries=_RETRIES)(_do)
    waiting: deque = deque()

    def next_done() -> Counts:
        try:
            return ray.get(waiting.popleft())
        except RayTaskError as error:
            raise error.cause from error
        except RayError as error:
            raise RunError(f"the process of a shard was lost, and lost again ({error})") from error

    try:
        at_a_time = workers or max(1, int(ray.cluster_resources().get("CPU", 1))) * _AHEAD
        for number in shards:
            waiting.append(do.remote(job, number))
            if len(waiting) >= at_a_time:
                yield next_done()
        while waiting:
            yield next_done()
    finally:
        for shard in waiting:
            ray.cancel(shard, force=True)
        if begun:
            ray.shutdown()


def _do(job: Job, number: int) -> Counts:
    """The task of a process of the cluster."""
    return job(Shard(number))


def _connect(address: str | None, workers: int | None) -> None:
    """Connect to a cluster that is there, or start one on this machine."""
    import ray

    try:
        if address and (there := re.fullmatch(r"([\w.-]+):(\d+)", address)):  # Ray itself would try for minutes
            socket.create_connection((there[1], int(there[2])), timeout=_PATIENCE).close()
        if address or "RAY_ADDRESS" in os.environ:
            ray.init(address, log_to_driver=False)
        else:
            ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    except Exception as error:  # Ray raises no class of its own there
        raise UserError(f"the Ray cluster{f' {address}' if address else ''} does not answer ({error})") from error
