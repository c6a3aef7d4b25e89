"""Every claim of a stretch judged once under the policies of a scenario: what the score sees of cover, and what gates do."""

import multiprocessing
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from risk.features import Facts, load_features
from risk.features.cover import COLUMNS, PARTS, WORDS, Parts, parts_of
from risk.features.definition import TIMES
from risk.gates import contradictions, left_for, load_rules
from risk.order import UNKNOWN
from risk.policy.cover import Judgement, judge_whole
from risk.policy.definition import Policies, Policy, load_policies, read_policies
from risk.policy.request import request_of_facts
from training.history import History

PIECE = 10_000
"""Claims that one process judges at a time."""
FEW = 30_000
"""So many claims are judged before other processes would have started."""
LOOKED_AT = tuple(dict.fromkeys(("row", "as_of", "currency", "refunded_amount", *TIMES, *COLUMNS)))
"""What a judgement looks at, besides the policies."""
SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        *((part, pa.string() if part in WORDS else pa.float64()) for part in PARTS),
        ("consistent", pa.bool_()),
        ("left", pa.int64()),
        ("best", pa.string()),
        ("payer", pa.string()),
        ("supported", pa.int64()),
        ("remedy_fits", pa.bool_()),
        ("at_once", pa.bool_()),
        ("policy", pa.string()),
    ]
)
"""By claim: the parts of cover; whether its facts are consistent; what is left of an order of which nothing else is known
(null where the money is not the order's); the best guarantee, who pays for it, what is supported of the amount, whether
the remedy fits and money may go out at once; the version of the policy."""


def judged(history: History, first: int, last: int, files: Sequence[Path]) -> pa.Table:
    """The claims with `first <= row < last` in their order, as `SCHEMA` says; without files by the shipped policies."""
    rows = history.claims.filter((history.claims.row >= first) & (history.claims.row < last)).select(*LOOKED_AT)
    pieces = (
        rows.filter((rows.row >= start) & (rows.row < start + PIECE)).order_by("row").to_pyarrow()
        for start in range(first, last, PIECE)
    )
    workers = min(_cores(), -(-(last - first) // PIECE)) if last - first > FEW else 1
    with ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=last - first, desc="cover", unit="claim", disable=None))
        found = []
        for piece in _judge_all(stack, pieces, tuple(files), workers):
            found.append(piece)
            bar.update(piece.num_rows)
    return pa.concat_tables([SCHEMA.empty_table(), *found]).combine_chunks()


def cover_features(table: pa.Table) -> pa.Table:
    """The features of cover out of what `judged` gave, for `training.dataset.build_matrix`."""
    own = [feature for feature in load_features().own if feature.kind == "cover"]
    return pa.table({"row": table["row"], **{feature.name: table[feature.part] for feature in own}})


def _judge_all(
    stack: ExitStack, pieces: Iterator[pa.Table], files: tuple[Path, ...], workers: int
) -> Iterator[pa.Table]:
    if workers == 1:
        yield from (judge_piece(piece, files) for piece in pieces)
        return
    # Not forked: the database's threads run in this process.
    pool = stack.enter_context(ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")))
    waiting: deque[Future[pa.Table]] = deque()
    for piece in pieces:
        waiting.append(pool.submit(judge_piece, piece, files))
        # Two pieces a process wait at most, whatever the length of the stretch.
        if len(waiting) >= 2 * workers:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@lru_cache(maxsize=4)
def policies_of(files: tuple[Path, ...]) -> Policies:
    """The policies of some files, the shipped ones without any; a SettingError names all that is wrong in them."""
    return read_policies(files) if files else load_policies()


def judge_piece(piece: pa.Table, files: tuple[Path, ...]) -> pa.Table:
    """Some claims, as `SCHEMA` says."""
    policies = policies_of(files)
    names = piece.column_names
    columns = [piece.column(name).to_pylist() for name in names]
    lines = [_line(dict(zip(names, values, strict=True)), policies) for values in zip(*columns, strict=True)]
    found = zip(*lines, strict=True) if lines else ([] for _ in SCHEMA)
    arrays = [pa.array(values, field.type) for field, values in zip(SCHEMA, found, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _line(known: Facts, policies: Policies) -> tuple[Any, ...]:
    policy = policies.at(known["paid_at"])
    whole = judge_whole(policy, request_of_facts(known, currency=known["currency"]))
    best = whole.best
    guarantee = None if best is None or policy is None else policy.guarantees[best.guarantee]
    return (
        known["row"],
        *_parts(known, policy, whole),
        not contradictions(known, load_rules(), known["as_of"]),
        left_for(known, UNKNOWN),
        None if best is None else best.guarantee,
        None if guarantee is None else guarantee.payer,
        whole.supported,
        guarantee is not None and known["remedy"] in guarantee.remedies,
        guarantee is not None and guarantee.at_once and whole.trigger is not None,
        None if policy is None else policy.version,
    )


def _parts(known: Facts, policy: Policy | None, whole: Judgement) -> Parts:
    """What `risk.features.cover.cover_of` says under these policies: of no currency, and a share that is none is unknown."""
    share = known["affected_share"]
    told = share is None or 0 <= share <= 1
    if policy is None or (told and known["currency"] in (None, policy.currency)):
        return parts_of(whole, known["amount"])
    request = request_of_facts(known if told else {**known, "affected_share": None})
    return parts_of(judge_whole(policy, request), known["amount"])


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
