"""Shards done by processes of this machine."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from ferlib.bulk.job import Counts, Job, Shard
from ferlib.errors import RunError
from ferlib.runtime.crew import Crew, Worker, WorkerDied

TRIES = 4  # times that a process may end with one photo; fewer may be somebody who kills processes


def do_locally(
    job: Job, shards: Iterable[int], workers: int, report: Callable[[int, int], None] = lambda *_: None
) -> Iterator[Counts]:
    """Make the parts of shards; their counts, in their order, as they are written.

    A shard whose process is killed is done again. A photo with which its process ends `TRIES` times is left out, with a
    row that says so.

    Args:
        job: to do with each.
        shards: their numbers.
        workers: processes.
        report: called with a shard and the place in it of the photo that is being read.

    Raises:
        RunError: the processes do not start.
    """

    def ask(worker: Worker, number: int) -> Counts:
        ended: Counter[int | None] = Counter()
        while True:
            fatal = frozenset(place for place, times in ended.items() if place is not None and times >= TRIES)
            try:
                return worker.ask(Shard(number, fatal), lambda place: report(number, place))
            except WorkerDied as death:
                ended[death.reached] += 1
                if ended[None] > TRIES:  # without having read a photo
                    raise RunError(f"the worker processes do not start: {death}") from death

    with Crew(job, workers) as crew:
        yield from crew.map(shards, ask)
