"""Columns of numbers turned into the tables of a history, and written as Parquet piece by piece."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from risk.vocabulary import CHANNELS, LABELS, REASONS, REMEDIES, RETURN_METHODS
from training.simulate.columns import NEVER, Array, Columns, in_order, length, scramble, take
from training.simulate.labels import SOURCES
from training.simulate.lookalikes import LOOK_ALIKES
from training.simulate.market import Market
from training.simulate.promises import code_lists
from training.simulate.texts import VARIANTS, wordings
from training.simulate.typologies import NAMES

ROWS_A_GROUP = 100_000
STORIES = (*(look_alike.name for look_alike in LOOK_ALIKES), "ordinary")


class Sink:
    """A Parquet file that takes pieces of any size and writes row groups of one size."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.Table] = []
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()
        if self._writer is not None:
            self._writer.close()

    def write(self, table: pa.Table) -> None:
        """Take a piece; it reaches the disk once a row group is full."""
        self._waiting.append(table)
        self.rows += table.num_rows
        if sum(piece.num_rows for piece in self._waiting) >= ROWS_A_GROUP:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        table = pa.concat_tables(self._waiting)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table, row_group_size=ROWS_A_GROUP)
        self._waiting = []


class Shapes:
    """Knows the seed's ids and the market's names, and gives each table its columns in the contract's words."""

    def __init__(self, market: Market, seed: int) -> None:
        self._market = market
        self._seed = seed

    def sorted(self, columns: Columns, time: str, kind: str) -> Columns:
        """Rows by time, then by the id that will be written."""
        return take(columns, in_order(columns[time], scramble(columns["number"], kind, self._seed)))

    def orders(self, orders: Columns, end: int) -> pa.Table:
        """The orders table; what had not happened by `end` is not in it."""
        return pa.table(
            {
                "order_id": self._id(orders["number"], "order"),
                "buyer_id": self._id(orders["buyer"], "buyer"),
                "merchant_id": self._id(orders["merchant"], "merchant"),
                "paid_at": time(orders["paid_at"]),
                "paid_amount": pa.array(orders["paid_amount"]),
                "currency": words(("CNY",), np.zeros(length(orders), dtype=np.int64)),
                "shipped_at": time(np.where(orders["shipped_at"] < end, orders["shipped_at"], NEVER)),
                "promised_by": time(orders["promised_by"]),
                "delivered_at": time(np.where(orders["delivered_at"] < end, orders["delivered_at"], NEVER)),
                "channel": words(CHANNELS, orders["channel"]),
                "creator_id": self._id(orders["creator"], "creator"),
                "address_id": self._id(orders["address"], "address"),
                "payment_id": self._id(orders["payment"], "payment"),
                "carrier": words(self._market.carriers, orders["carrier"]),
                "tracking_number": self._tracking(orders, orders["shipped_at"] < end),
                "item_id": self._id(orders["item"], "item"),
                "category": words(self._market.categories, self._market.item_category[orders["item"]]),
            }
        )

    def claims(self, claims: Columns) -> pa.Table:
        """The claims table: what was known when each was submitted."""
        text = np.where(claims["variant"] >= 0, claims["reason"] * VARIANTS + claims["variant"], -1)
        table = {
            "claim_id": self._id(claims["number"], "claim"),
            "submitted_at": time(claims["submitted_at"]),
            "buyer_id": self._id(claims["buyer"], "buyer"),
            "merchant_id": self._id(claims["merchant"], "merchant"),
            "amount": pa.array(claims["amount"]),
            "currency": words(("CNY",), np.zeros(length(claims), dtype=np.int64)),
            "reason": words(REASONS, claims["reason"]),
            "remedy": words(REMEDIES, claims["remedy"]),
            "order_id": self._id(claims["number"], "order"),
            "item_id": self._id(claims["item"], "item"),
            "category": words(self._market.categories, self._market.item_category[claims["item"]]),
            "quantity": pa.array(claims["quantity"]),
            "unit_price": pa.array(claims["unit_price"]),
            "item_count": pa.array(claims["item_count"]),
            "device_id": self._id(claims["device"], "device"),
            "address_id": self._id(claims["address"], "address"),
            "payment_id": self._id(claims["payment"], "payment"),
            "creator_id": self._id(claims["creator"], "creator"),
            "channel": words(CHANNELS, claims["channel"]),
            "carrier": words(self._market.carriers, np.where(claims["has_tracking"], claims["carrier"], -1)),
            "tracking_number": self._tracking(claims, claims["has_tracking"]),
            "return_method": words(RETURN_METHODS, claims["return_method"]),
            "affected_share": number(claims["affected_share"]),
            "description": words(wordings(), text),
            "opened": yes_no(claims["opened"]),
            "no_return_confirmed": yes_no(claims["no_return_confirmed"]),
            "paid_at": time(claims["paid_at"]),
            "paid_amount": pa.array(claims["paid_amount"]),
            "refunded_amount": pa.array(claims["refunded_amount"]),
            "shipped_at": time(claims["shipped_at"]),
            "promised_by": time(claims["promised_by"]),
            "delivered_at": time(claims["delivered_at"]),
            "registered_at": time(claims["registered_at"]),
            "merchant_guarantees": words(code_lists(), claims["merchant_promises"]),
            "item_guarantees": words(code_lists(), claims["item_promises"]),
            "verified": pa.array(claims["verified"]),
            "guest": pa.array(claims["guest"]),
        }
        returned = ("intercepted_at", "lost_at", "return_shipped_at", "return_picked_up_at", "return_received_at")
        table |= {name: time(claims[name]) for name in returned}
        counts = ("photo_count", "video_count", "certificate_count", "scan_count", "chat_count")
        table |= {name: pa.array(claims[name].astype(np.int64)) for name in counts}
        table |= {name: number(values) for name, values in claims.items() if name.startswith("x_")}
        return pa.table(table)

    def labels(self, labels: Columns) -> pa.Table:
        """The labels table."""
        return pa.table(
            {
                "claim_id": self._id(labels["number"], "claim"),
                "known_at": time(labels["known_at"]),
                "label": words(LABELS, labels["label"]),
                "source": words(SOURCES, labels["source"]),
                "audit_probability": number(labels["audit_probability"]),
            }
        )

    def decisions(self, claims: Columns) -> pa.Table:
        """What was decided, by the earlier champion or by people alone, and with which draw it was audited."""
        count = length(claims)
        by_model = np.where(np.isnan(claims["champion_score"]), -1, 0)
        return pa.table(
            {
                "claim_id": self._id(claims["number"], "claim"),
                "decided_at": time(claims["submitted_at"]),
                "decision": words(("review", "approve"), claims["approved"].astype(np.int64)),
                "score": number(claims["champion_score"]),
                "audit_selected": pa.array(claims["audited"]),
                "audit_probability": number(claims["audit_probability"]),
                "model_version": words(("earlier-champion",), by_model),
                "policy_version": words(("earlier-policy",), np.zeros(count, dtype=np.int64)),
            }
        )

    def oracle(self, claims: Columns) -> pa.Table:
        """The truth, for judging only: written outside the history."""
        abuse = claims["typology"] >= 0
        story = np.where(abuse, claims["typology"], len(NAMES) + claims["story"])
        return pa.table(
            {
                "claim_id": self._id(claims["number"], "claim"),
                "abuse": pa.array(abuse),
                "story": words((*NAMES, *STORIES), story),
                "opportunist": pa.array(abuse & (claims["account"] < 0)),
                "actor": self._id(claims["actor"], "actor"),
                "ring": self._id(claims["ring"], "ring"),
                "champion_score": number(claims["champion_score"]),
                "champion_approved": pa.array(claims["approved"]),
            }
        )

    def _id(self, numbers: Array, kind: str) -> pa.Array:
        """Sixteen hexadecimal digits; null for negative numbers."""
        digits = scramble(numbers, kind, self._seed).astype(">u8").tobytes().hex().encode()
        offsets = pa.array(np.arange(0, 16 * len(numbers) + 1, 16, dtype=np.int32))
        there = numbers >= 0
        bitmap = None if there.all() else pa.py_buffer(np.packbits(there, bitorder="little").tobytes())
        buffers = [bitmap, offsets.buffers()[1], pa.py_buffer(digits)]
        return pa.Array.from_buffers(pa.string(), len(numbers), buffers)

    def _tracking(self, columns: Columns, there: Array) -> pa.Array:
        return self._id(np.where(there, columns["number"], -1), "tracking")


def time(values: Array) -> pa.Array:
    """Microseconds since 1970; `NEVER` is null."""
    return pa.array(values, type=pa.timestamp("us", tz="UTC"), mask=values == NEVER)


def number(values: Array) -> pa.Array:
    """A float; NaN is null."""
    return pa.array(values.astype(float), mask=np.isnan(values))


def yes_no(values: Array) -> pa.Array:
    """1, 0, or null for -1."""
    return pa.array(values == 1, mask=values < 0)


def words(vocabulary: Sequence[str], codes: Array) -> pa.Array:
    """Words by code; null for -1. Plain strings, so that any reader gets the same type."""
    indices = pa.array(codes.astype(np.int32), mask=codes < 0)
    return pa.array(list(vocabulary)).take(indices)
