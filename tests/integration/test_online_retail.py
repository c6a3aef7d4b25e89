"""Real orders and cancellations as a history: the task is the published one, and the past alone is looked at."""

import os
from pathlib import Path

import pandas as pd
import pytest

from risk.errors import HistoryError
from training.__main__ import main
from training.adapters.online_retail import MEANING, Counts, adapt
from training.check import check_history

ROOT = Path(__file__).parents[2]
SOURCE = (
    Path(os.environ.get("SHARED_DATA", ROOT / ".." / "shared" / "data")).resolve()
    / "uci_online_retail" / "online_retail.parquet"
)  # fmt: skip
real = pytest.mark.skipif(not SOURCE.exists(), reason=f"real data absent: {SOURCE} (set SHARED_DATA)")
DAY = pd.Timedelta(days=1)


def shop(tmp_path: Path, *lines: tuple[str, str, int, str, float, int | None]) -> Path:
    """A small source: invoice, item, quantity, time, price, customer."""
    columns = ["InvoiceNo", "StockCode", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID"]
    frame = pd.DataFrame(lines, columns=columns).assign(Description="RED TIN", Country="France")
    frame = frame.astype({"InvoiceDate": "datetime64[us]", "CustomerID": "Int32"})
    frame.to_parquet(tmp_path / "source.parquet", index=False)
    return tmp_path / "source.parquet"


def adapted(source: Path, out: Path) -> tuple[Counts, pd.DataFrame, pd.DataFrame]:
    counts = adapt(source, out)
    claims, labels = (pd.read_parquet(out / f"{table}.parquet").set_index("claim_id") for table in ("claims", "labels"))
    return counts, claims, labels


END = ("900", "99999", 1, "2011-12-01 10:00", 1.0, 2)


def test_an_invoice_is_an_order_and_a_claim_over_its_pence_with_its_dearest_line_as_the_item(tmp_path: Path) -> None:
    lines = ("1", "10", 3, "2011-01-01 10:00", 2.55, 7), ("1", "11", 1, "2011-01-01 10:01", 9.0, 7)
    counts, claims, _ = adapted(shop(tmp_path, *lines, END), tmp_path / "out")
    row = claims.loc["1"]
    assert (row.amount, row.item_id, row.buyer_id, row.category) == (1665, "11", "7", "goods.tin")
    assert (row.x_lines, row.x_quantity, row.x_largest_price) == (2, 4, 900)
    assert row.submitted_at == pd.Timestamp("2011-01-01 10:00", tz="UTC")
    assert counts.invoices_with_two_times == 1
    orders = pd.read_parquet(tmp_path / "out" / "orders.parquet").set_index("order_id")
    assert orders.paid_amount.to_dict() == claims.amount.to_dict()


@pytest.mark.parametrize(
    ("cancelled", "label", "known"),
    [
        ("2011-01-01 10:01", "abuse", "2011-01-01 10:01"),
        ("2011-03-02 10:00", "abuse", "2011-03-02 10:00"),
        ("2011-03-02 10:01", "legitimate", "2011-03-02 10:00"),
        ("2011-01-01 10:00", "legitimate", "2011-03-02 10:00"),
    ],
)
def test_a_label_is_known_at_the_first_cancellation_within_sixty_days_or_when_they_are_over(
    tmp_path: Path, cancelled: str, label: str, known: str
) -> None:
    source = shop(tmp_path, ("1", "10", 3, "2011-01-01 10:00", 2.0, 7), ("C2", "10", -1, cancelled, 2.0, 7), END)
    _, _, labels = adapted(source, tmp_path / "out")
    assert (labels.label["1"], labels.known_at["1"]) == (label, pd.Timestamp(known, tz="UTC"))


def test_an_invoice_whose_sixty_days_are_not_over_has_no_label(tmp_path: Path) -> None:
    counts, claims, labels = adapted(shop(tmp_path, END), tmp_path / "out")
    assert "900" in claims.index
    assert labels.empty
    assert counts.invoices_whose_60_days_are_not_over == 1


def test_lines_without_a_customer_or_a_quantity_are_left_out_and_counted(tmp_path: Path) -> None:
    lines = (
        ("1", "10", 3, "2011-01-01 10:00", 2.0, None),
        ("2", "10", 0, "2011-01-01 10:00", 2.0, 7),
        ("3", "10", 1, "2011-01-01 10:00", -2.0, 7),
        ("4", "10", 1, "2011-01-01 10:00", 0.0, 7),
    )
    counts, claims, _ = adapted(shop(tmp_path, *lines, END), tmp_path / "out")
    assert set(claims.index) == {"4", "900"}
    assert (counts.lines_without_customer, counts.lines_of_no_quantity_or_negative_price) == (1, 2)
    assert counts.free_lines_kept == 1


def test_a_source_of_another_shape_is_refused_with_all_that_it_lacks(tmp_path: Path) -> None:
    pd.DataFrame({"InvoiceNo": ["1"], "Quantity": ["many"]}).to_parquet(tmp_path / "source.parquet")
    with pytest.raises(HistoryError) as caught:
        adapt(tmp_path / "source.parquet", tmp_path / "out")
    assert len(caught.value.problems) == 7
    assert not (tmp_path / "out").exists()


@real
def test_the_real_data_make_a_sound_history_of_the_published_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["adapt", "online_retail", "--source", str(SOURCE), "--out", str(tmp_path)]) == 0
    assert MEANING in capsys.readouterr().out
    findings = check_history(tmp_path)
    assert (findings.problems, findings.warnings) == ((), ())
    assert findings.rows == {"orders": 18_536, "claims": 18_536, "labels": 14_368}
    claims = pd.read_parquet(tmp_path / "claims.parquet").merge(pd.read_parquet(tmp_path / "labels.parquet"))
    train = claims[claims.submitted_at < pd.Timestamp("2011-07-03", tz="UTC")]
    test = claims[
        claims.submitted_at.between(pd.Timestamp("2011-09-01", tz="UTC"), pd.Timestamp("2011-10-10", tz="UTC"), "left")
    ]
    # The last day of training is sixty days before the first of the test: every label is known by then.
    assert train.known_at.max() <= pd.Timestamp("2011-09-01", tz="UTC")
    assert [(len(part), int((part.label == "abuse").sum())) for part in (train, test)] == [(8_845, 1_848), (2_262, 472)]


@real
def test_no_fact_of_an_invoice_changes_when_the_future_is_cut_off(tmp_path: Path) -> None:
    cut = pd.Timestamp("2011-05-01")
    source = pd.read_parquet(SOURCE)
    source[source.InvoiceDate < cut].to_parquet(tmp_path / "cut.parquet", index=False)
    _, short, _ = adapted(tmp_path / "cut.parquet", tmp_path / "short")
    _, full, _ = adapted(SOURCE, tmp_path / "full")
    assert len(short) > 5_000
    pd.testing.assert_frame_equal(full.loc[short.index], short)
