"""One trained, calibrated model as a folder: `model.txt` (LightGBM's own text), `manifest.json`, `manifest.sig`.

Nothing in a bundle is executed by loading it: the model is LightGBM's text format and the calibrator is two numbers in
the manifest (docs/adr/0003-bundle-without-pickles.md). What is loaded has to match the manifest's hashes, and the
manifest its signature.
"""

import hashlib
import hmac
import json
import math
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from risk.errors import BundleError
from risk.features import Value, load_features
from risk.features.definition import SIGNAL_PREFIX
from risk.one_row import OneRow
from risk.promise.certificate import Certificate, certificate_of

MODEL, MANIFEST, SIGNATURE = "model.txt", "manifest.json", "manifest.sig"
FORMAT = 1
SHORTEST_KEY = 32
"""Bytes of a key that is taken."""
_KEY_FILE = Path(__file__).resolve().parent.parent / "var" / "bundle.key"


def signing_key(*, create: bool = False) -> bytes:
    """The key that vouches for bundles: `BUNDLE_KEY`, else the file `BUNDLE_KEY_FILE` (by default `var/bundle.key`).

    `create` makes the file where there is none, readable by its owner only. Raises BundleError without a key.
    """
    if value := os.environ.get("BUNDLE_KEY"):
        return _long_enough(value.encode(), "BUNDLE_KEY")
    file = Path(os.environ.get("BUNDLE_KEY_FILE", _KEY_FILE))
    if not file.exists() and create:
        _make_key(file)
    try:
        return _long_enough(file.read_bytes().strip(), str(file))
    except OSError as error:
        raise BundleError(f"no key to check bundles with: set BUNDLE_KEY, or BUNDLE_KEY_FILE to a readable file ({error})") from error


def _long_enough(key: bytes, where: str) -> bytes:
    if len(key) < SHORTEST_KEY:
        raise BundleError(f"the key in {where} has {len(key)} bytes: at least {SHORTEST_KEY} are needed to vouch for a bundle")
    return key


def _make_key(file: Path) -> None:
    """Whole or not at all: half a key, left by a full disk, would be taken for one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as handle:
            handle.write(secrets.token_hex(32))
        with suppress(FileExistsError):  # Somebody else was faster: theirs counts.
            os.link(partial, file)
    finally:
        partial.unlink()


@dataclass(frozen=True, eq=False)
class Bundle:
    """A model that may be served.

    >>> bundle = Bundle.load(path, signing_key())          # doctest: +SKIP
    >>> bundle.score(bundle.encode(values, extra))         # doctest: +SKIP
    """

    manifest: Mapping[str, Any]
    booster: lightgbm.Booster

    @classmethod
    def load(cls, path: Path, key: bytes) -> "Bundle":
        """Load and verify; a BundleError says why a bundle must not be served."""
        manifest = _verified_manifest(path, key)
        model = _verified_file(path, MODEL, manifest)
        if manifest.get("features", {}).get("fingerprint") != load_features().fingerprint:
            raise BundleError(
                f"bundle {manifest.get('version')} was trained for another feature table "
                f"({manifest.get('features', {}).get('fingerprint')}, this code has {load_features().fingerprint})"
            )
        try:
            booster = lightgbm.Booster(model_str=model.decode())
        except (lightgbm.basic.LightGBMError, UnicodeDecodeError) as error:
            raise BundleError(f"{MODEL} is not a model that can be read: {error}") from error
        if problems := _incomplete(manifest):
            raise BundleError(f"the manifest lacks what serving needs: {', '.join(problems)}")
        bundle = cls(manifest=manifest, booster=booster)
        if booster.num_feature() != len(bundle.columns):
            raise BundleError(f"the model has {booster.num_feature()} features, its manifest {len(bundle.columns)}")
        # One about another model, or none that can be read, is refused here.
        _ = bundle.certificate
        return bundle

    @property
    def version(self) -> str:
        """Names the bundle in every decision."""
        return str(self.manifest["version"])

    @property
    def threshold(self) -> float:
        """Scores up to this one held what `train` was asked for on its own labels: no promise, and nothing is approved by it."""
        return float(self.manifest["threshold"])

    @cached_property
    def certificate(self) -> Certificate | None:
        """Up to which scores claims may be approved at once, if that has been shown."""
        return certificate_of(self.manifest)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The model's features in order: the table's, then the caller's own signals."""
        return (*load_features().names, *self.signals)

    @cached_property
    def signals(self) -> tuple[str, ...]:
        """The caller's own signals that this bundle was trained with."""
        return tuple(self.manifest["features"]["signals"])

    @cached_property
    def codes(self) -> Mapping[str, Mapping[str, int]]:
        """Code of each word by feature; a word that training never saw is missing."""
        categories: Mapping[str, Sequence[str]] = self.manifest["features"]["categories"]
        return {name: {word: code for code, word in enumerate(words)} for name, words in categories.items()}

    def signal_values(self, extra: Mapping[str, bool | float | str]) -> list[Value]:
        """The caller's own signals in the order of this bundle; `x_` before a name may be left out."""
        named = {name if name.startswith(SIGNAL_PREFIX) else SIGNAL_PREFIX + name: value for name, value in extra.items()}
        return [named.get(name) for name in self.signals]

    def encode(self, values: Sequence[Value]) -> NDArray[np.float64]:
        """One row for the model, shape (1, features); missing and unseen values are NaN."""
        row: list[Any] = [math.nan if value is None else value for value in values]
        for place, codes in self._words:
            row[place] = codes.get(row[place], math.nan)
        for place in self._numeric_signals:
            # A caller may send a word where training saw numbers.
            if isinstance(row[place], str):
                row[place] = math.nan
        return np.array([row], dtype=np.float64)

    @cached_property
    def _words(self) -> tuple[tuple[int, Mapping[str, int]], ...]:
        return tuple((self.columns.index(name), codes) for name, codes in self.codes.items())

    @cached_property
    def _numeric_signals(self) -> tuple[int, ...]:
        return tuple(self.columns.index(name) for name in self.signals if name not in self.codes)

    def raw(self, rows: NDArray[np.float64], *, threads: int = 1) -> NDArray[np.float64]:
        """Log-odds before calibration, shape (rows,)."""
        return np.asarray(self.booster.predict(rows, raw_score=True, num_threads=threads))

    def raw_one(self, row: NDArray[np.float64]) -> float:
        """Log-odds of one encoded row, the same bits as `raw` gives."""
        return self._one_row.raw(row)

    @cached_property
    def _one_row(self) -> OneRow:
        return OneRow(self.booster)

    def calibrate_one(self, raw: float) -> float:
        """Probability of abuse for one raw score, the same bits as `calibrate` gives."""
        slope, intercept = self._line
        # NumPy's exponential, as for arrays: the standard library's may differ in the last bit.
        return float(1.0 / (1.0 + np.exp(-min(max(slope * raw + intercept, -700.0), 700.0))))

    @cached_property
    def _line(self) -> tuple[float, float]:
        calibrator = self.manifest["calibrator"]
        return float(calibrator["slope"]), float(calibrator["intercept"])

    def calibrate(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability of abuse for raw scores, shape (rows,)."""
        slope, intercept = self._line
        logit = np.clip(slope * raw + intercept, -700.0, 700.0)
        return np.asarray(1.0 / (1.0 + np.exp(-logit)))

    def contributions(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each feature adds to the raw score, and last the base value: shape (rows, features + 1)."""
        return np.asarray(self.booster.predict(rows, pred_contrib=True, num_threads=1))

    def contributions_one(self, row: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same of one encoded row, shape (features + 1,), bit for bit."""
        return self._one_row.contributions(row)


def write_bundle(path: Path, model: str, manifest: Mapping[str, Any], key: bytes) -> str:
    """Write a signed bundle into an empty folder and return its version."""
    path.mkdir(parents=True, exist_ok=True)
    data = model.encode()
    version = f"{manifest['trained_until'][:10]}-{hashlib.sha256(data).hexdigest()[:8]}"
    complete = {
        "format": FORMAT,
        "version": version,
        **manifest,
        "files": {MODEL: hashlib.sha256(data).hexdigest()},
    }
    text = json.dumps(complete, indent=2, sort_keys=True, ensure_ascii=False).encode()
    (path / MODEL).write_bytes(data)
    (path / MANIFEST).write_bytes(text)
    (path / SIGNATURE).write_text(_sign(text, key))
    return version


def _sign(manifest: bytes, key: bytes) -> str:
    return hmac.new(key, manifest, hashlib.sha256).hexdigest()


def _verified_manifest(path: Path, key: bytes) -> dict[str, Any]:
    try:
        text, signature = (path / MANIFEST).read_bytes(), (path / SIGNATURE).read_bytes().strip()
    except OSError as error:
        raise BundleError(f"no bundle at {path.name}: {error.strerror}") from error
    if not hmac.compare_digest(_sign(text, key).encode(), signature):
        raise BundleError("the manifest does not match its signature: altered, or signed with another key")
    try:
        manifest: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise BundleError(f"the manifest cannot be read: {error}") from error
    if manifest.get("format") != FORMAT:
        raise BundleError(f"bundle format {manifest.get('format')}, this code reads {FORMAT}")
    return manifest


def _incomplete(manifest: Mapping[str, Any]) -> list[str]:
    """What the manifest does not say, or not in a way that can be used."""

    def number(part: Any, name: str) -> bool:
        value = part.get(name) if isinstance(part, dict) else None
        return isinstance(value, (int, float)) and math.isfinite(value)

    calibrator, features = manifest.get("calibrator"), manifest["features"]
    sound = {
        "version": bool(manifest.get("version")),
        "threshold": number(manifest, "threshold"),
        "calibrator.slope": number(calibrator, "slope"),
        "calibrator.intercept": number(calibrator, "intercept"),
        "features.signals": isinstance(features.get("signals"), list),
        "features.categories": isinstance(features.get("categories"), dict),
    }
    return [name for name, known in sound.items() if not known]


def _verified_file(path: Path, name: str, manifest: Mapping[str, Any]) -> bytes:
    try:
        data = (path / name).read_bytes()
    except OSError as error:
        raise BundleError(f"{name} is missing from the bundle") from error
    if hashlib.sha256(data).hexdigest() != manifest["files"].get(name):
        raise BundleError(f"{name} does not match the manifest's hash: truncated or altered")
    return data
