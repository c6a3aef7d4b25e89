"""`python -m training check` names everything that is wrong with a history, and what smells of a leak."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from training.__main__ import main
from training.check import Findings, check_history
from training.history import open_history

Tables = dict[str, pd.DataFrame]
Change = Callable[[Tables], object]
START = pd.Timestamp("2026-01-01", tz="UTC")


def sound(claims: int = 400) -> Tables:
    """A history with the required columns, an order and a label for each claim, and nothing wrong."""
    rng = np.random.default_rng(5)
    ids = [f"k{number:04}" for number in range(claims)]
    submitted = START + pd.to_timedelta(np.sort(rng.integers(0, 200 * 86_400, claims)), unit="s")
    parties = {"buyer_id": rng.choice(["b1", "b2", "b3"], claims), "merchant_id": rng.choice(["m1", "m2"], claims)}
    amount = rng.integers(100, 100_000, claims)
    return {
        "orders": pd.DataFrame(
            {"order_id": ids, **parties, "paid_at": submitted - pd.Timedelta(days=3), "paid_amount": amount}
        ),
        "claims": pd.DataFrame(
            {"claim_id": ids, "order_id": ids, "submitted_at": submitted, **parties, "amount": amount}
        ),
        "labels": pd.DataFrame(
            {
                "claim_id": ids,
                "known_at": submitted + pd.to_timedelta(rng.integers(1, 40, claims), unit="D"),
                "label": rng.choice(["abuse", "legitimate"], claims, p=[0.3, 0.7]),
            }
        ),
    }


def write(tables: Tables, folder: Path, form: str = "parquet") -> Path:
    for name, table in tables.items():
        if form == "csv":
            table.to_csv(folder / f"{name}.csv", index=False)
        else:
            table.to_parquet(folder / f"{name}.parquet", index=False)
    return folder


def put(table: str, column: str, rows: slice, value: object) -> Change:
    """A change that writes one value into some rows; the column may be new and hold anything."""

    def change(tables: Tables) -> None:
        frame = tables[table]
        old = frame[column].tolist() if column in frame else [None] * len(frame)
        old[rows] = [value] * len(old[rows])
        frame[column] = old

    return change


def replace(table: str, column: str, value: Callable[[pd.DataFrame], object]) -> Change:
    return lambda tables: tables[table].__setitem__(column, value(tables[table]))


def drop(table: str, column: str) -> Change:
    return lambda tables: tables.update({table: tables[table].drop(columns=column)})


def repeat(table: str) -> Change:
    return lambda tables: tables.update({table: pd.concat([tables[table], tables[table].head(2)])})


def found(findings: Findings) -> set[tuple[str, str]]:
    return {(problem.where, problem.detail) for problem in findings.problems}


FEW = slice(3, 6)
REFUSED: dict[str, tuple[Change, str, str]] = {
    "a table is missing": (lambda tables: tables.pop("labels"), "labels", "no labels."),
    "a table is empty": (lambda tables: tables.update(labels=tables["labels"].head(0)), "labels", "has no rows"),
    "a required column is missing": (drop("claims", "amount"), "claims.amount", "required column is missing"),
    "a required value is missing": (put("claims", "buyer_id", FEW, None), "claims.buyer_id", "3 rows without"),
    "money is no whole number": (put("claims", "amount", FEW, 12.5), "claims.amount", "3 values are not whole numbers"),
    "money is negative": (put("orders", "paid_amount", FEW, -1), "orders.paid_amount", "3 amounts are negative"),
    "money is beyond reason": (put("claims", "amount", FEW, 10**12), "claims.amount", "3 amounts are above"),
    "a claim occurs twice": (repeat("claims"), "claims.claim_id", "2 ids occur more than once"),
    "an order occurs twice": (repeat("orders"), "orders.order_id", "2 ids occur more than once"),
    "a label comes before its claim": (
        put("labels", "known_at", FEW, START - pd.Timedelta(days=9)),
        "labels.known_at",
        "3 labels are known before their claim",
    ),
    "a label is for nothing": (put("labels", "claim_id", FEW, "zzz"), "labels.claim_id", "3 labels are for claims"),
    "a label has another word": (put("labels", "label", FEW, "fraud"), "labels.label", "3 words are none of abuse,"),
    "a draw has no chance": (put("labels", "audit_probability", FEW, 0.0), "labels.audit_probability", "3 values"),
    "a draw is too certain": (put("labels", "audit_probability", FEW, 1.01), "labels.audit_probability", "3 values"),
    "an order is somebody else's": (
        put("orders", "buyer_id", FEW, "b9"),
        "claims.order_id",
        "3 claims are about an order of another buyer",
    ),
    "a time is implausible": (
        put("claims", "submitted_at", FEW, pd.Timestamp("1970-01-02", tz="UTC")),
        "claims.submitted_at",
        "3 times before 1990",
    ),
}


@pytest.mark.parametrize("form", ["parquet", "csv"])
@pytest.mark.parametrize("case", REFUSED)
def test_a_history_is_refused_when(tmp_path: Path, case: str, form: str) -> None:
    change, where, detail = REFUSED[case]
    tables = sound()
    change(tables)
    problems = check_history(write(tables, tmp_path, form)).problems
    assert [problem for problem in problems if problem.where == where and problem.detail.startswith(detail)]
    assert len(problems) == 1


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_sound_history_of_required_columns_alone_passes(tmp_path: Path, form: str) -> None:
    tables = sound()
    drop("claims", "order_id")(tables)
    findings = check_history(write(tables, tmp_path, form))
    assert (findings.problems, findings.warnings) == ((), ())
    assert findings.rows == {"orders": 400, "claims": 400, "labels": 400}
    assert findings.labelled == 400
    assert findings.abuse == int((tables["labels"].label == "abuse").sum())


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_times_without_a_zone_are_refused(tmp_path: Path, form: str) -> None:
    tables = sound()
    replace("claims", "submitted_at", lambda claims: claims.submitted_at.dt.tz_localize(None))(tables)
    problems = check_history(write(tables, tmp_path, form)).problems
    assert [(problem.where, problem.detail[:23]) for problem in problems] == [
        ("claims.submitted_at", "400 times have no zone ")
    ]


@pytest.mark.parametrize("text", ["2026-01-05T10:00:00Z", "2026-01-05 10:00:00+08:00", "2026-01-05T10:00:00.123456-05"])
def test_times_written_with_an_offset_are_accepted(tmp_path: Path, text: str) -> None:
    tables = sound()
    put("claims", "delivered_at", FEW, text)(tables)
    assert check_history(write(tables, tmp_path, "csv")).problems == ()


@pytest.mark.parametrize("text", ["2026-01-05", "2026-01-05T10:00:00", "2026-01-05 10:00"])
def test_times_written_without_an_offset_are_refused(tmp_path: Path, text: str) -> None:
    tables = sound()
    put("claims", "delivered_at", FEW, text)(tables)
    assert found(check_history(write(tables, tmp_path, "csv"))) == {
        ("claims.delivered_at", f"3 times have no zone (for example '{text}' in 'k0003')")
    }


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_what_passes_can_be_opened(tmp_path: Path, form: str) -> None:
    tables = sound()
    words = {"verified": "true", "quantity": "3", "delivered_at": "2026-01-05T10:00:00+08:00", "affected_share": "0.5"}
    for name, text in words.items():
        put("claims", name, FEW, text)(tables)
    problems = check_history(write(tables, tmp_path, form)).problems
    # A CSV has no types: `true` is a boolean there, a word in Parquet.
    assert [problem.where for problem in problems] == (["claims.verified"] if form == "parquet" else [])
    if form == "parquet":
        drop("claims", "verified")(tables)
        assert check_history(write(tables, tmp_path, form)).problems == ()
    with open_history(tmp_path) as history:
        assert history.claims.quantity.sum().to_pyarrow().as_py() == 9
        assert history.claims.delivered_at.max().to_pyarrow().as_py() == 1_767_578_400_000_000


def written(change: Callable[[str], str], folder: Path, *, tables: Tables | None = None) -> Findings:
    """What is found about a sound history of CSV files whose text of claims was changed."""
    file = write(tables or sound(), folder, "csv") / "claims.csv"
    file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")
    return check_history(folder)


def line(number: int, change: Callable[[str], str]) -> Callable[[str], str]:
    def changed(text: str) -> str:
        lines = text.splitlines()
        lines[number - 1] = change(lines[number - 1])
        return "\n".join(lines) + "\n"

    return changed


def test_money_in_major_units_is_refused_with_what_it_would_be(tmp_path: Path) -> None:
    tables = sound()
    tables["claims"]["amount"] = (tables["claims"]["amount"] / 100).map("{:.2f}".format)
    (problem,) = write_and_check(tables, tmp_path).problems
    assert problem.where == "claims.amount"
    assert "values are not whole numbers of minor units (195.50 would be 19550)" in problem.detail


@pytest.mark.parametrize("form", ["{}.00", "{}.0"])
@pytest.mark.parametrize(("table", "column"), [("claims", "amount"), ("orders", "paid_amount"), ("claims", "unit_price")])
def test_money_with_a_decimal_point_and_no_decimals_passes_with_a_warning(
    tmp_path: Path, form: str, table: str, column: str
) -> None:
    tables = sound()
    # A column with gaps is what pandas writes as 1500.0.
    tables[table][column] = [form.format(100 + number) for number in range(400)] if column != "unit_price" else [None, form.format(5)] * 200
    findings = write_and_check(tables, tmp_path)
    assert findings.problems == ()
    (warning,) = findings.warnings
    assert warning.where == f"{table}.{column}"
    assert "amounts are written with a decimal point; minor units are expected (195.00 would be 19500)" in warning.detail


def write_and_check(tables: Tables, folder: Path) -> Findings:
    return check_history(write(tables, folder, "csv"))


@pytest.mark.parametrize("number", [2, 50, 401])
def test_a_line_with_too_few_cells_is_named(tmp_path: Path, number: int) -> None:
    findings = written(line(number, lambda text: text.rsplit(",", 2)[0]), tmp_path)
    assert found(findings) == {("claims", f"claims.csv line {number} has 4 cells, the header has 6")}


def test_a_line_with_too_many_cells_is_named(tmp_path: Path) -> None:
    findings = written(line(50, lambda text: text + ",spoiled, and how"), tmp_path)
    assert found(findings) == {("claims", "claims.csv line 50 has 8 cells, the header has 6")}


def test_a_line_far_behind_the_sample_that_the_reader_takes_is_named(tmp_path: Path) -> None:
    findings = written(line(30_002, lambda text: text.rsplit(",", 1)[0]), tmp_path, tables=sound(32_000))
    assert found(findings) == {("claims", "claims.csv line 30002 has 5 cells, the header has 6")}


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    def change(text: str) -> str:
        head, first, second, *others = text.splitlines()
        return "\n".join([f"{head},description", f'{first},"two\nlines, one text"', "", f"{second},x,y", *others])

    assert found(written(change, tmp_path)) == {("claims", "claims.csv line 5 has 8 cells, the header has 7")}


def test_a_semicolon_is_a_delimiter_like_any_other(tmp_path: Path) -> None:
    findings = written(lambda text: line(9, lambda row: row + ";;")(text.replace(",", ";")), tmp_path)
    assert found(findings) == {("claims", "claims.csv line 9 has 8 cells, the header has 6")}


def test_columns_that_nobody_reads_are_named(tmp_path: Path) -> None:
    tables = sound()
    for table, name in (("claims", "detector"), ("claims", "reson"), ("claims", "x_own"), ("orders", "x_own"), ("labels", "who")):
        tables[table][name] = np.arange(400)
    findings = check_history(write(tables, tmp_path))
    assert findings.problems == ()
    assert [str(warning) for warning in findings.warnings] == [
        "orders: column x_own is not known and is not used",
        "claims: columns detector, reson are not known and are not used (own signals begin with x_)",
        "labels: column who is not known and is not used",
    ]


def test_a_claim_that_occurs_twice_does_not_count_its_label_twice(tmp_path: Path) -> None:
    tables = sound()
    put("labels", "known_at", slice(0, 1), START - pd.Timedelta(days=9))(tables)
    repeat("claims")(tables)
    details = {problem.where: problem.detail for problem in check_history(write(tables, tmp_path)).problems}
    assert details["labels.known_at"].startswith("1 labels are known before")


def test_of_an_order_that_occurs_twice_each_claim_counts_once(tmp_path: Path) -> None:
    tables = sound()
    put("orders", "buyer_id", slice(0, 1), "b9")(tables)
    repeat("orders")(tables)
    details = {problem.where: problem.detail for problem in check_history(write(tables, tmp_path)).problems}
    assert details["claims.order_id"].startswith("1 claims are about an order of another buyer")


def test_a_folder_that_is_not_there_is_told_without_guesses_about_labels(tmp_path: Path) -> None:
    findings = check_history(tmp_path / "nowhere")
    assert {problem.where for problem in findings.problems} == {"orders", "claims", "labels"}
    assert findings.warnings == ()


def test_one_is_told_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = sound()
    put("labels", "label", slice(None), "legitimate")(tables)
    put("labels", "label", slice(0, 1), "abuse")(tables)
    put("claims", "amount", FEW, -7)(tables)
    assert main(["check", "--history", str(write(tables, tmp_path))]) == 1
    told = capsys.readouterr().out
    assert "\n1 problem, listed" in told
    assert "\n1 warning\n" in told
    assert "only 1 claim is labelled abuse" in told


def test_everything_wrong_is_listed_at_once_with_a_count_and_an_example(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = sound()
    drop("orders", "paid_at")(tables)
    put("claims", "amount", FEW, -7)(tables)
    put("claims", "quantity", FEW, "several")(tables)
    put("labels", "label", FEW, "fraud")(tables)
    assert main(["check", "--history", str(write(tables, tmp_path))]) == 1
    output = capsys.readouterr()
    assert "4 problems" in output.out
    assert output.err.splitlines() == [
        "error: orders.paid_at: required column is missing",
        "claims.quantity: 3 values are not whole numbers (for example 'several' in 'k0003')",
        "claims.amount: 3 amounts are negative (for example '-7' in 'k0003')",
        "labels.label: 3 words are none of abuse, legitimate, undecided (for example 'fraud' in 'k0003')",
    ]


def test_a_sound_history_ends_with_status_0_and_a_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--history", str(write(sound(), tmp_path))]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    assert "claims from 2026-01-0" in output.out
    assert "400 claims labelled" in output.out


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_damaged_file_is_a_problem_and_not_a_crash(tmp_path: Path, form: str) -> None:
    file = write(sound(), tmp_path, form) / f"claims.{form}"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if form == "parquet" else b"\xff\xfe\x00" + whole[:50])
    findings = check_history(tmp_path)
    assert "claims" in {problem.where.split(".")[0] for problem in findings.problems}
    # What cannot be compared is not reported as wrong.
    assert not [problem for problem in findings.problems if problem.where.startswith("labels")]


WARNED: dict[str, tuple[Change, str, str]] = {
    "a claim is older than its payment": (
        replace("orders", "paid_at", lambda orders: orders.paid_at + pd.Timedelta(days=4)),
        "claims.submitted_at",
        "400 claims were made before",
    ),
    "a reason is unknown": (put("claims", "reason", FEW, "bored"), "claims.reason", "3 words are not in the"),
    "a return comes after its claim": (
        put("claims", "return_shipped_at", FEW, START + pd.Timedelta(days=500)),
        "claims.return_shipped_at",
        "3 times lie after their claim",
    ),
    "a parcel is signed for after its claim": (
        put("claims", "delivered_at", FEW, START + pd.Timedelta(days=500)),
        "claims.delivered_at",
        "3 times lie after their claim",
    ),
    "a guarantee is none": (
        put("claims", "merchant_guarantees", FEW, "damage_return gold_service"),
        "claims.merchant_guarantees",
        "3 lists hold words that are no guarantees",
    ),
    "an order is unknown": (put("claims", "order_id", FEW, "o"), "claims.order_id", "3 claims are about orders that"),
    "a signal is constant": (put("claims", "x_flag", slice(None), 1), "claims.x_flag", "is 1 everywhere"),
    "labels come at once": (
        replace("labels", "known_at", lambda _: sound()["claims"].submitted_at),
        "labels.known_at",
        "400 of 400 labels (100%) are known within a minute",
    ),
    "all labels come together": (
        put("labels", "known_at", slice(None), START + pd.Timedelta(days=400)),
        "labels.known_at",
        "all labels are known at the same moment",
    ),
    "nothing is abuse": (put("labels", "label", slice(None), "legitimate"), "labels.label", "no claim is labelled"),
}


@pytest.mark.parametrize("codes", ["", "damage_return", "authenticity damage_return fresh_spoilage"])
def test_lists_of_guarantees_pass(tmp_path: Path, codes: str) -> None:
    tables = sound()
    put("claims", "item_guarantees", slice(None), codes)(tables)
    findings = check_history(write(tables, tmp_path))
    assert (findings.problems, findings.warnings) == ((), ())


@pytest.mark.parametrize("case", WARNED)
def test_a_history_passes_with_a_warning_when(tmp_path: Path, case: str) -> None:
    change, where, detail = WARNED[case]
    tables = sound()
    change(tables)
    findings = check_history(write(tables, tmp_path))
    assert findings.problems == ()
    assert [warning.where for warning in findings.warnings if warning.detail.startswith(detail)] == [where]


def _noisy(tables: Tables, share: float) -> pd.Series:
    """The answer as 0 and 1, turned round for a share of claims."""
    turned = np.random.default_rng(3).random(len(tables["labels"])) < share
    return (tables["labels"].label == "abuse") ^ turned


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_columns_that_know_the_answer_are_named(tmp_path: Path, form: str) -> None:
    tables = sound()
    answer, claims = _noisy(tables, 0.01), tables["claims"]
    claims["x_score"] = answer * 10.0 + np.random.default_rng(1).random(len(answer))
    claims["x_word"] = np.where(answer, "closed", "open")
    claims["refunded_amount"] = pd.Series(np.where(answer, None, claims.amount), dtype="Int64")
    claims["x_hint"] = _noisy(tables, 0.2).astype(float)
    claims["x_opaque"] = "opaque " + claims.claim_id
    findings = check_history(write(tables, tmp_path, form))
    assert findings.problems == ()
    named = {warning.where for warning in findings.warnings if "tells abuse on its own" in warning.detail}
    assert named == {"claims.x_score", "claims.x_word", "claims.refunded_amount"}
