"""A bundle is served only when everything in it is what was signed."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightgbm.basic import LightGBMError

from risk.bundle import MANIFEST, MODEL, SIGNATURE, Bundle, signing_key, write_bundle
from risk.errors import BundleError
from risk.features import load_features
from tests.service import BUNDLE_KEY, CATEGORIES, SIGNAL, small_bundle

KEY = BUNDLE_KEY.encode()


@pytest.fixture
def folder(candidates: dict[str, Path], tmp_path: Path) -> Path:
    """A sound bundle that a test may break."""
    return Path(shutil.copytree(candidates["first"], tmp_path / "bundle"))


@pytest.fixture(scope="module")
def bundle(candidates: dict[str, Path]) -> Bundle:
    return Bundle.load(candidates["first"], KEY)


def resigned(folder: Path, change: Callable[[dict[str, Any]], None], model: str | None = None) -> None:
    """Write the bundle anew, changed and soundly signed."""
    manifest = json.loads((folder / MANIFEST).read_text())
    text = (folder / MODEL).read_text() if model is None else model
    for name in ("version", "files"):
        del manifest[name]
    change(manifest)
    write_bundle(folder, text, manifest, KEY)


def test_a_sound_bundle_names_its_version_threshold_and_columns(bundle: Bundle) -> None:
    assert bundle.version.startswith("2026-06-30-")
    assert bundle.threshold == 0.4
    assert bundle.columns == (*load_features().names, SIGNAL)


def test_loading_a_bundle_twice_gives_the_same_scores(folder: Path, bundle: Bundle) -> None:
    rows = np.random.default_rng(1).exponential(10.0, (50, len(bundle.columns)))
    assert np.array_equal(Bundle.load(folder, KEY).raw(rows), bundle.raw(rows))


def test_a_bundle_keeps_its_inputs_as_they_were(bundle: Bundle) -> None:
    rows = np.random.default_rng(2).exponential(10.0, (5, len(bundle.columns)))
    before = rows.copy()
    bundle.raw(rows)
    bundle.contributions(rows)
    assert np.array_equal(rows, before)


@pytest.mark.parametrize("name", [MODEL, MANIFEST, SIGNATURE])
def test_a_bundle_with_a_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleError, match=r"model.txt is missing|no bundle at bundle"):
        Bundle.load(folder, KEY)


@pytest.mark.parametrize("name", [MODEL, MANIFEST, SIGNATURE])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_bundle_is_refused(folder: Path, name: str, share: float) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BundleError, match=r"does not match"):
        Bundle.load(folder, KEY)


@pytest.mark.parametrize("name", [MODEL, MANIFEST, SIGNATURE])
@pytest.mark.parametrize("seed", range(5))
def test_a_bundle_with_one_other_byte_is_refused(folder: Path, name: str, seed: int) -> None:
    data = bytearray((folder / name).read_bytes())
    place = int(np.random.default_rng(seed).integers(len(data)))
    data[place] ^= 0x80
    (folder / name).write_bytes(data)
    with pytest.raises(BundleError, match=r"does not match"):
        Bundle.load(folder, KEY)


def test_a_bundle_signed_with_another_key_is_refused(folder: Path) -> None:
    with pytest.raises(BundleError, match="another key"):
        Bundle.load(folder, b"another key")


def test_a_bundle_of_another_feature_table_is_refused_with_both_fingerprints(folder: Path) -> None:
    resigned(folder, lambda manifest: manifest["features"].update(fingerprint="0123456789abcdef"))
    with pytest.raises(BundleError, match=f"0123456789abcdef.*{load_features().fingerprint}"):
        Bundle.load(folder, KEY)


def test_a_bundle_of_another_format_is_refused(folder: Path) -> None:
    resigned(folder, lambda manifest: manifest.update(format=99))
    with pytest.raises(BundleError, match="format 99"):
        Bundle.load(folder, KEY)


def test_a_model_with_another_number_of_columns_is_refused(folder: Path) -> None:
    resigned(folder, lambda manifest: manifest["features"].update(signals=[SIGNAL, "x_more"]))
    with pytest.raises(BundleError, match="features, its manifest"):
        Bundle.load(folder, KEY)


@pytest.mark.parametrize("model", ["", "tree\nnothing that is a model\n", "\N{SNOWMAN}"])
def test_a_signed_text_that_is_no_model_is_refused(folder: Path, model: str) -> None:
    resigned(folder, lambda manifest: None, model=model)
    with pytest.raises(BundleError, match="not a model"):
        Bundle.load(folder, KEY)


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.pop("threshold"),
        lambda manifest: manifest.update(threshold=None),
        lambda manifest: manifest.update(threshold=math.nan),
        lambda manifest: manifest.pop("calibrator"),
        lambda manifest: manifest["calibrator"].pop("slope"),
        lambda manifest: manifest["calibrator"].update(intercept="much"),
        lambda manifest: manifest["features"].pop("signals"),
        lambda manifest: manifest["features"].pop("categories"),
    ],
)  # fmt: skip
def test_a_manifest_that_lacks_what_serving_needs_is_refused_at_once(
    folder: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    resigned(folder, change)
    with pytest.raises(BundleError, match="manifest"):
        Bundle.load(folder, KEY)


def test_without_any_key_nothing_is_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BUNDLE_KEY")
    monkeypatch.setenv("BUNDLE_KEY_FILE", str(tmp_path / "none"))
    with pytest.raises(BundleError, match="set BUNDLE_KEY"):
        signing_key()


@pytest.mark.parametrize("content", ["", "\n", "short"])
def test_a_key_too_short_to_vouch_for_anything_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    monkeypatch.delenv("BUNDLE_KEY")
    monkeypatch.setenv("BUNDLE_KEY_FILE", str(tmp_path / "key"))
    (tmp_path / "key").write_text(content)
    with pytest.raises(BundleError, match="at least 32"):
        signing_key(create=True)
    monkeypatch.setenv("BUNDLE_KEY", "short")
    with pytest.raises(BundleError, match="at least 32"):
        signing_key()


def test_a_new_key_file_is_for_its_owner_only_and_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BUNDLE_KEY")
    monkeypatch.setenv("BUNDLE_KEY_FILE", str(tmp_path / "deep" / "key"))
    made = signing_key(create=True)
    assert (len(made), made) == (64, signing_key(create=True))
    assert (tmp_path / "deep" / "key").stat().st_mode & 0o777 == 0o600


def test_unseen_words_and_missing_values_are_missing_to_the_model(bundle: Bundle) -> None:
    values: list[Any] = [None] * len(bundle.columns)
    place = bundle.columns.index("reason")
    assert np.isnan(bundle.encode(values)).all()
    assert np.isnan(bundle.encode([*values[:place], "unheard of", *values[place + 1 :]])).all()
    known = bundle.encode([*values[:place], CATEGORIES["reason"][3], *values[place + 1 :]])
    assert known[0, place] == 3


@pytest.mark.parametrize("difference", [-1, 1])
def test_a_vector_of_another_length_is_never_scored(bundle: Bundle, difference: int) -> None:
    with pytest.raises((ValueError, IndexError, LightGBMError)):
        bundle.raw(bundle.encode([0.0] * (len(bundle.columns) + difference)))


def test_signals_are_found_with_and_without_their_prefix(bundle: Bundle) -> None:
    assert bundle.signal_values({"trust": 0.5}) == bundle.signal_values({"x_trust": 0.5}) == [0.5]
    assert bundle.signal_values({"other": 1}) == [None]


@pytest.mark.parametrize("raw", [-1e308, -50.0, 0.0, 50.0, 1e308])
def test_calibration_is_monotone_and_stays_a_probability(bundle: Bundle, raw: float) -> None:
    lower, upper = bundle.calibrate(np.array([raw, np.nextafter(raw, math.inf)]))
    assert 0.0 <= lower <= upper <= 1.0


def test_one_score_is_calibrated_to_the_bits_of_many(bundle: Bundle) -> None:
    raws = np.concatenate([np.random.default_rng(5).normal(-2, 3, 4000), [-1e308, -800.0, 0.0, 800.0, 1e308]])
    assert [bundle.calibrate_one(raw) for raw in raws.tolist()] == bundle.calibrate(raws).tolist()


def test_the_same_model_and_day_give_the_same_version(tmp_path: Path) -> None:
    assert small_bundle(tmp_path / "a", seed=3) == small_bundle(tmp_path / "b", seed=3)
