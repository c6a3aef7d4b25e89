"""One row through a LightGBM model by the library's own C call for that purpose.

`Booster.predict` prepares itself anew for each call, which costs four times the trees themselves; the C interface has a
call that prepares once (`LGBM_BoosterPredictForMatSingleRowFast`). A test holds that both give the same bits.
"""

import ctypes
import threading

import lightgbm
import numpy as np
from lightgbm.basic import _LIB, _safe_call  # type: ignore[attr-defined]  # no public name
from numpy.typing import NDArray

_RAW_SCORE, _CONTRIBUTIONS, _FLOAT64 = 1, 3, 1


class OneRow:
    """Raw scores and contributions of single rows; each thread prepares its own calls."""

    def __init__(self, booster: lightgbm.Booster) -> None:
        self._booster = booster
        self._columns = booster.num_feature()
        self._local = threading.local()

    def raw(self, row: NDArray[np.float64]) -> float:
        """Log-odds of one row of shape (1, features), contiguous doubles."""
        return float(self._call(_RAW_SCORE, 1, row)[0])

    def contributions(self, row: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each feature of one row adds to its raw score, and last the base value: shape (features + 1,)."""
        return self._call(_CONTRIBUTIONS, self._columns + 1, row)

    def _call(self, kind: int, length: int, row: NDArray[np.float64]) -> NDArray[np.float64]:
        if row.shape != (1, self._columns):
            raise ValueError(f"one row of {self._columns} features is expected, not {row.shape}")
        prepared: dict[int, _Handle] | None = getattr(self._local, "prepared", None)
        if prepared is None:
            prepared = self._local.prepared = {}
        handle = prepared.get(kind) or prepared.setdefault(kind, _Handle(self._booster, self._columns, kind))
        found, written = np.empty(length), ctypes.c_int64()
        status = _LIB.LGBM_BoosterPredictForMatSingleRowFast(
            handle.pointer, ctypes.c_void_p(row.ctypes.data), ctypes.byref(written), ctypes.c_void_p(found.ctypes.data)
        )
        _safe_call(status)
        return found


class _Handle:
    """A prepared call, given back when its thread or its model ends."""

    def __init__(self, booster: lightgbm.Booster, columns: int, kind: int) -> None:
        self.pointer = ctypes.c_void_p()
        # The call reads the model's trees: the model has to live as long as this.
        self._booster = booster
        _safe_call(
            _LIB.LGBM_BoosterPredictForMatSingleRowFastInit(
                booster._handle,  # noqa: SLF001 - the library offers the C call, but no Python name for it
                ctypes.c_int(kind),
                ctypes.c_int(0),
                ctypes.c_int(-1),
                ctypes.c_int(_FLOAT64),
                ctypes.c_int32(columns),
                ctypes.c_char_p(b"num_threads=1"),
                ctypes.byref(self.pointer),
            )
        )

    def __del__(self) -> None:
        if self.pointer:
            _LIB.LGBM_FastConfigFree(self.pointer)
