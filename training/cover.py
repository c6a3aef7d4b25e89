"""Cover of every claim of a history: the same function as online, on all cores, in pieces of bounded size."""

import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack

import pyarrow as pa
from tqdm import tqdm

from risk.features.cover import COLUMNS, PARTS, WORDS, cover_of

PIECE = 10_000
"""Claims that one process judges at a time."""
FEW = 30_000
"""So many claims are judged before other processes would have started."""
SCHEMA = pa.schema(
    [("row", pa.int64()), *((part, pa.string() if part in WORDS else pa.float64()) for part in PARTS)]
)


def judged(pieces: Iterable[pa.Table], claims: int) -> pa.Table:
    """`row` and the parts of cover of each claim; `pieces` hold `row` and `risk.features.cover.COLUMNS`."""
    workers = min(_cores(), -(-claims // PIECE)) if claims > FEW else 1
    with ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=claims, desc="cover", unit="claim", disable=None))
        found = []
        for piece in _judge_all(stack, pieces, workers):
            found.append(piece)
            bar.update(piece.num_rows)
    return pa.concat_tables([SCHEMA.empty_table(), *found])


def _judge_all(stack: ExitStack, pieces: Iterable[pa.Table], workers: int) -> Iterator[pa.Table]:
    if workers == 1:
        yield from map(judge_piece, pieces)
        return
    # Not forked: the database's threads run in this process.
    pool = stack.enter_context(ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")))
    waiting: deque[Future[pa.Table]] = deque()
    for piece in pieces:
        waiting.append(pool.submit(judge_piece, piece))
        # Two pieces a process wait at most, whatever the length of the history.
        if len(waiting) >= 2 * workers:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def judge_piece(piece: pa.Table) -> pa.Table:
    """The parts of cover of some claims."""
    columns = [piece.column(name).to_pylist() for name in COLUMNS]
    parts = [cover_of(dict(zip(COLUMNS, values, strict=True))) for values in zip(*columns, strict=True)]
    found = [[claim[place] for claim in parts] for place in range(len(PARTS))]
    arrays = [pa.array(values, SCHEMA.field(name).type) for name, values in zip(PARTS, found, strict=True)]
    return pa.Table.from_arrays([piece.column("row").cast(pa.int64()), *arrays], schema=SCHEMA)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
