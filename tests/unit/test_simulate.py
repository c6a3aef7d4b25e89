"""The simulated marketplace as others see it: a history whose rows hold what was known, and a truth kept apart."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from risk.features.definition import TIMES
from risk.policy.cover import judge
from risk.policy.definition import load_policies
from risk.policy.request import request_of_facts
from risk.vocabulary import CHANNELS, GUARANTEES, LABELS, REASONS, REMEDIES, RETURN_METHODS
from training.simulate.engine import Settings
from training.simulate.history import write_history
from training.simulate.lookalikes import LOOK_ALIKES
from training.simulate.parameters import load
from training.simulate.typologies import NAMES, TYPOLOGIES

SETTINGS = Settings(claims=20_000, seed=11)
RETURNS = ("intercepted_at", "lost_at", "return_shipped_at", "return_picked_up_at", "return_received_at")
SMALL = Settings(claims=600, seed=3, days=120)


class World:
    """A written history, read back."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.out, self.oracle_file = folder / "history", folder / "history.oracle.parquet"
        self.summary = write_history(settings, self.out, self.oracle_file)
        self.orders = pq.read_table(self.out / "orders.parquet").to_pandas()
        self.claims = pq.read_table(self.out / "claims.parquet").to_pandas()
        self.labels = pq.read_table(self.out / "labels.parquet").to_pandas()
        self.oracle = pq.read_table(self.oracle_file).to_pandas()
        self.judged = self.claims.merge(self.oracle, on="claim_id", validate="one_to_one")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"), SETTINGS)


@pytest.fixture(scope="module")
def censored(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("censored"), replace(SETTINGS, claims=12_000, hide_approved=True))


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_history(replace(SMALL, hide_approved=True), tmp_path / name / "h", tmp_path / name / "oracle.parquet")
    first, second = _bytes(tmp_path / "first"), _bytes(tmp_path / "second")
    assert len(first) == 5
    assert first == second


def test_another_seed_gives_other_rows(tmp_path: Path) -> None:
    write_history(SMALL, tmp_path / "a", tmp_path / "a.oracle")
    write_history(replace(SMALL, seed=4), tmp_path / "b", tmp_path / "b.oracle")
    a, b = (pq.read_table(tmp_path / name / "claims.parquet")["claim_id"].to_pylist() for name in ("a", "b"))
    assert not set(a) & set(b)


def test_about_as_many_claims_come_as_were_asked_for(world: World) -> None:
    assert abs(len(world.claims) / SETTINGS.claims - 1) < 0.04
    assert 3.0 <= len(world.orders) / len(world.claims) <= 4.0


def test_times_are_utc_microseconds_and_money_is_whole_minor_units(world: World) -> None:
    for table, times, money in (
        ("orders", ("paid_at", "shipped_at", "promised_by", "delivered_at"), ("paid_amount",)),
        ("claims", ("submitted_at", "paid_at", "registered_at"), ("amount", "unit_price", "refunded_amount")),
        ("labels", ("known_at",), ()),
    ):
        schema = pq.read_schema(world.out / f"{table}.parquet")
        assert all(schema.field(name).type == pa.timestamp("us", tz="UTC") for name in times)
        assert all(schema.field(name).type == pa.int64() for name in money)


def test_words_are_those_of_the_interface(world: World) -> None:
    claims = world.claims
    assert set(claims["reason"]) == set(REASONS)
    assert set(claims["remedy"]) == set(REMEDIES)
    assert set(claims["channel"]) == set(CHANNELS)
    assert set(claims["return_method"].dropna()) == set(RETURN_METHODS)
    assert set(world.labels["label"]) == set(LABELS)
    assert set(claims["currency"]) == {"CNY"}


def test_a_label_is_never_known_before_its_claim_nor_after_the_end(world: World) -> None:
    joined = world.labels.merge(world.claims, on="claim_id", validate="many_to_one")
    assert len(joined) == len(world.labels)
    assert (joined["known_at"] > joined["submitted_at"]).all()
    assert (joined["known_at"] <= pd.Timestamp(world.summary.last) + pd.Timedelta(seconds=1)).all()
    assert 0.3 < world.labels["claim_id"].nunique() / len(world.claims) < 0.9


def test_labels_come_days_to_months_late_some_wrong_and_some_turned(world: World) -> None:
    joined = world.labels.merge(world.judged, on="claim_id")
    days = (joined["known_at"] - joined["submitted_at"]).dt.total_seconds() / 86400
    assert days.quantile(0.05) < 2
    assert days.quantile(0.99) > 45
    latest = joined.sort_values("known_at").groupby("claim_id").last()
    wrong = (latest["label"] == "abuse") != latest["abuse"]
    assert 0.002 < wrong[latest["label"] != "undecided"].mean() < 0.03
    turned = world.labels[world.labels.duplicated("claim_id", keep=False)].groupby("claim_id")
    assert turned["label"].nunique().ge(2).any()


def test_an_audit_probability_stands_exactly_at_audits(world: World) -> None:
    audited = world.labels["source"] == "audit"
    assert audited.any()
    assert world.labels["audit_probability"].notna().eq(audited).all()


def test_a_claim_holds_nothing_from_its_future(world: World) -> None:
    claims = world.claims
    for name in ("paid_at", "shipped_at", "delivered_at", "registered_at", *RETURNS):
        assert (claims[name].dropna() < claims["submitted_at"][claims[name].notna()]).all(), name
    assert claims["tracking_number"].notna().eq(claims["shipped_at"].notna()).all()
    in_order = claims.merge(world.orders, on="order_id", suffixes=("", "_order"))
    came_later = in_order["delivered_at_order"] >= in_order["submitted_at"]
    assert came_later.any()
    assert in_order.loc[came_later, "delivered_at"].isna().all()


def test_goods_go_back_after_they_came_and_only_where_they_should(world: World) -> None:
    claims = world.claims
    for name in ("return_shipped_at", "return_picked_up_at", "return_received_at"):
        sent = claims[claims[name].notna()]
        assert len(sent) > 100
        assert set(sent["remedy"]) == {"return_and_refund", "freight"}
        assert not (sent[name] <= sent["delivered_at"]).any()
    for name in ("return_shipped_at", "return_picked_up_at"):
        assert not (claims["return_received_at"] < claims[name]).any()
    back = claims[claims["remedy"] == "return_and_refund"]
    on_its_way = back["return_shipped_at"].notna() | back["return_picked_up_at"].notna()
    assert 0.6 < on_its_way.mean() < 0.9
    for name in ("lost_at", "intercepted_at"):
        happened = claims[claims[name].notna()]
        assert len(happened) > 5
        assert (happened[name] > happened["shipped_at"]).all()
        assert happened["delivered_at"].isna().all()


def test_promises_are_sorted_codes_of_what_suits_the_goods(world: World) -> None:
    claims = world.claims
    for name in ("merchant_guarantees", "item_guarantees"):
        said = claims[name].dropna()
        assert 0.5 < len(said) / len(claims) < 1
        lists = said.str.split()
        assert (lists.map(sorted) == lists).all()
        assert set().union(*lists) == set(GUARANTEES)
    both = claims.dropna(subset=["merchant_guarantees", "item_guarantees"])
    pairs = zip(both["item_guarantees"].str.split(), both["merchant_guarantees"].str.split(), strict=True)
    assert all(set(item) <= set(merchant) for item, merchant in pairs)
    carried = claims["item_guarantees"].fillna("").str.contains
    assert claims["category"][carried("beauty_allergy")].str.startswith("beauty").all()
    assert claims["category"][carried("fresh_spoilage")].str.startswith("food.fresh").all()


def covered(claims: pd.DataFrame) -> tuple[list[bool], list[bool]]:
    """For each claim: whether a guarantee that pays at once covers it, and whether the money could go out then."""
    policy = load_policies().all[-1]
    paying = {code for code, each in policy.guarantees.items() if each.at_once and each.amount.of in ("items", "freight")}
    covers, at_once = [], []
    for row in claims.to_dict("records"):
        known = {name: None if pd.isna(value) else value for name, value in row.items()}
        for name in TIMES:
            known[name] = None if known[name] is None else known[name].value // 1000
        judged = judge(policy, request_of_facts(known))
        best = judged.best is not None and judged.best.guarantee in paying
        covers.append(best)
        at_once.append(best and judged.trigger is not None and row["amount"] <= judged.supported)
    return covers, at_once


def test_about_half_of_the_claims_could_be_paid_at_once_and_cover_does_not_betray_abuse(world: World) -> None:
    sample = world.judged
    covers, at_once = covered(sample)
    assert 0.45 < np.mean(at_once) < 0.75
    for judged in (covers, at_once):
        assert 0.8 < sample["abuse"][judged].mean() / sample["abuse"].mean() < 1.2


def test_windows_are_missed_by_some_and_by_a_few_hours(world: World) -> None:
    claims = world.judged
    fresh = claims[(claims["reason"] == "spoiled") & claims["delivered_at"].notna()]
    hours = (fresh["submitted_at"] - fresh["delivered_at"]).dt.total_seconds() / 3600
    for part in (hours[~fresh["abuse"]], hours):
        assert 0.03 < (part > 24).mean() < 0.25
    assert (hours.between(24, 48)).mean() > 0.6 * (hours > 24).mean()


def test_most_who_claim_that_nothing_came_wait_for_the_promised_time(world: World) -> None:
    claims = world.claims
    nothing = claims[claims["reason"].isin(["not_received", "not_shipped"]) & claims["delivered_at"].isna()]
    assert (nothing["submitted_at"] > nothing["promised_by"]).mean() > 0.7


def test_every_claim_has_its_order_and_asks_for_no_more_than_is_left(world: World) -> None:
    joined = world.claims.merge(world.orders, on="order_id", suffixes=("", "_order"), validate="one_to_one")
    assert len(joined) == len(world.claims)
    for name in ("buyer_id", "merchant_id", "item_id", "category", "paid_at", "paid_amount", "channel"):
        assert joined[name].eq(joined[f"{name}_order"]).all(), name
    assert (joined["amount"] > 0).all()
    assert (joined["amount"] + joined["refunded_amount"] <= joined["paid_amount"]).all()
    assert (joined["unit_price"] * joined["quantity"] <= joined["paid_amount"]).all()


def test_a_creator_is_named_on_live_and_video_sales_only(world: World) -> None:
    for table in (world.orders, world.claims):
        assert table["creator_id"].notna().eq(table["channel"].isin(["live", "video"])).all()


def test_rows_are_sorted_by_time_then_id_and_ids_are_unique(world: World) -> None:
    for table, time, key in ((world.orders, "paid_at", "order_id"), (world.claims, "submitted_at", "claim_id")):
        assert table[key].is_unique
        assert table.index.equals(table.sort_values([time, key], kind="stable").index)
    labels = world.labels.sort_values(["known_at", "claim_id"], kind="stable")
    assert world.labels.index.equals(labels.index)


def test_every_typology_and_look_alike_is_there(world: World) -> None:
    stories = set(world.oracle["story"])
    assert stories == set(NAMES) | {look_alike.name for look_alike in LOOK_ALIKES} | {"ordinary"}
    assert len({typology.row for typology in TYPOLOGIES}) == 18


def test_abuse_is_four_to_seven_in_a_hundred_claims(world: World) -> None:
    assert 0.04 < world.oracle["abuse"].mean() < 0.07
    assert world.oracle["abuse"].eq(world.oracle["story"].isin(NAMES)).all()


def test_abusers_also_claim_honestly(world: World) -> None:
    actors = world.judged[world.judged["actor"].notna()]["buyer_id"].unique()
    theirs = world.judged[world.judged["buyer_id"].isin(actors)]
    assert (~theirs["abuse"]).sum() > 0.05 * len(theirs)


def test_dropped_identities_come_back_with_old_things(world: World) -> None:
    actors = world.judged[world.judged["actor"].notna()].groupby("actor")
    several = actors.filter(lambda rows: rows["buyer_id"].nunique() > 1).groupby("actor")
    assert several.ngroups > 20
    kept = several.apply(_shares_things, include_groups=False)
    assert kept.mean() > 0.7


def _shares_things(rows: pd.DataFrame) -> bool:
    things = ("device_id", "address_id", "payment_id")
    return any(rows.groupby(thing)["buyer_id"].nunique().gt(1).any() for thing in things)


def test_rings_share_devices_across_accounts(world: World) -> None:
    rings = world.judged[world.judged["story"].isin(["freight_ring", "coached", "merchant_side"])]
    several = rings.groupby("ring").filter(lambda rows: rows["actor"].nunique() > 1)
    for thing in ("device_id", "address_id"):
        assert several.groupby(["ring", thing])["actor"].nunique().gt(1).sum() >= 3, thing


def test_the_oracle_lies_outside_the_folder_and_none_of_its_columns_inside(world: World) -> None:
    assert world.oracle_file.parent == world.out.parent
    assert {path.name for path in world.out.iterdir()} == {
        "orders.parquet", "claims.parquet", "labels.parquet", "decisions.parquet",
    }  # fmt: skip
    secret = set(world.oracle) - {"claim_id"}
    for path in world.out.iterdir():
        assert not secret & set(pq.read_schema(path).names)


def test_approved_claims_hide_their_labels_unless_audited(censored: World) -> None:
    decisions = pq.read_table(censored.out / "decisions.parquet").to_pandas()
    assert decisions["claim_id"].tolist() == censored.claims["claim_id"].tolist()
    approved = decisions[decisions["decision"] == "approve"]
    assert 0.6 < len(approved) / len(decisions) < 0.8
    audited = set(approved[approved["audit_selected"]]["claim_id"])
    shown = set(censored.labels["claim_id"]) & set(approved["claim_id"])
    assert shown
    assert shown <= audited
    assert set(decisions[decisions["decision"] == "review"]["claim_id"]) & set(censored.labels["claim_id"])


@pytest.mark.parametrize("name", ["world", "censored"])
def test_audits_are_drawn_in_proportion_to_the_amount_whatever_was_decided(name: str, request: pytest.FixtureRequest) -> None:
    world: World = request.getfixturevalue(name)
    decisions = pq.read_table(world.out / "decisions.parquet").to_pandas()
    rows = decisions.merge(world.claims[["claim_id", "amount"]], on="claim_id", validate="one_to_one")
    numbers = load().label
    small, large = numbers.audit_caps
    cap = rows["amount"].map(lambda amount: small if amount <= small else large if amount <= large else np.inf)
    assert np.allclose(rows["audit_probability"], numbers.audit_rate * rows["amount"] / cap)
    assert not rows.loc[rows["amount"] > large, "audit_selected"].any()
    for group in ({"decision": "review"}, {"decision": "approve"}) if name == "censored" else ({"decision": "review"},):
        for part in (rows["amount"] <= small, (rows["amount"] > small) & (rows["amount"] <= large)):
            chosen = rows[part & (rows["decision"] == group["decision"])]
            p = chosen["audit_probability"]
            assert len(chosen) > 100
            # Five standard deviations of independent draws.
            assert abs(chosen["audit_selected"].sum() - p.sum()) < 5 * np.sqrt((p * (1 - p)).sum())
    audits = world.labels[world.labels["source"] == "audit"]
    drawn = rows[rows["audit_selected"]].set_index("claim_id")["audit_probability"]
    assert set(audits["claim_id"]) <= set(drawn.index)
    assert np.array_equal(audits["audit_probability"], drawn.loc[audits["claim_id"]])


def test_an_audit_decides_and_is_known_within_thirty_days_with_few_exceptions(world: World) -> None:
    decisions = pq.read_table(world.out / "decisions.parquet").to_pandas()
    drawn = world.claims[world.claims["claim_id"].isin(decisions[decisions["audit_selected"]]["claim_id"])]
    matured = drawn[drawn["submitted_at"] < pd.Timestamp(world.summary.last) - pd.Timedelta(days=30)]
    labels = world.labels[world.labels["source"] == "audit"].merge(matured, on="claim_id")
    in_time = labels[labels["known_at"] - labels["submitted_at"] <= pd.Timedelta(days=30)]
    assert len(matured) > 3000
    assert len(in_time) / len(matured) > 0.997
    assert 0 < (labels["label"] == "undecided").mean() < 0.006


def test_a_history_in_which_nothing_is_hidden_says_that_people_decided_all_of_it(world: World) -> None:
    decisions = pq.read_table(world.out / "decisions.parquet").to_pandas()
    assert decisions["claim_id"].tolist() == world.claims["claim_id"].tolist()
    assert set(decisions["decision"]) == {"review"}
    assert decisions[["score", "model_version"]].isna().all(axis=None)


def test_the_earlier_champion_knows_something_but_not_the_truth(censored: World) -> None:
    score = roc_auc_score(censored.oracle["abuse"], censored.oracle["champion_score"])
    assert 0.56 < score < 0.85


def test_a_new_typology_appears_only_from_its_day(tmp_path: Path) -> None:
    day = date(2025, 9, 1)
    settings = Settings(claims=5000, seed=5, days=365, new_typologies=(("wardrobing", day),))
    world = World(tmp_path, settings)
    rows = world.judged[world.judged["story"] == "wardrobing"]
    assert len(rows) > 5
    assert (rows["submitted_at"] >= pd.Timestamp(day, tz="UTC")).all()
    others = world.judged[world.judged["story"] == "false_damage"]
    assert (others["submitted_at"] < pd.Timestamp(day, tz="UTC")).any()


def test_no_single_column_tells_abuse_apart(world: World) -> None:
    truth = world.judged["abuse"].to_numpy()
    for name in world.claims:
        for what, values in _views(world.claims[name]):
            score = roc_auc_score(truth, values)
            assert max(score, 1 - score) < 0.65, (name, what, score)


def _views(column: pd.Series) -> list[tuple[str, npt.NDArray[np.float64]]]:
    """A column as numbers: its order, whether it is null, and for times the second and the moment of the day."""
    views = [("null", column.isna().to_numpy(dtype=float))]
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        seconds = column.dt.hour * 3600 + column.dt.minute * 60 + column.dt.second
        views.append(("second", column.dt.second.fillna(-1).to_numpy(dtype=float)))
        views.append(("time of day", seconds.fillna(-1).to_numpy(dtype=float)))
        assert (column.dropna().dt.microsecond == 0).all()
    views.append(("rank", column.rank(na_option="bottom").to_numpy(dtype=float)))
    return views


def test_no_pair_of_facts_is_used_by_abuse_alone(world: World) -> None:
    facts = _facts(world.claims)
    truth = world.judged["abuse"].to_numpy()
    for place, (first, left) in enumerate(facts.items()):
        for second, right in list(facts.items())[place + 1 :]:
            cells = pd.DataFrame({"left": left, "right": right, "abuse": truth}).groupby(["left", "right"])["abuse"]
            busy = cells.mean()[cells.size() >= 12]
            assert busy.max() < 0.6, (first, second, busy.idxmax(), busy.max())


def _facts(claims: pd.DataFrame) -> dict[str, pd.Series]:
    """Words of a claim, and whether each nullable column or count has anything."""
    words = ("reason", "remedy", "category", "channel", "return_method", "opened", "no_return_confirmed", "guest")
    facts = {name: claims[name].astype("object").where(claims[name].notna(), "null").astype(str) for name in words}
    for name in claims:
        if claims[name].isna().any():
            facts[f"{name} null"] = claims[name].isna()
        elif name.endswith("_count"):
            facts[f"{name} none"] = claims[name] == 0
    return facts
