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

_RAW_SCORE, _FLOAT64 = 1, 1


class OneRow:
    """Raw scores of single rows; each thread prepares its own call."""

    def __init__(self, booster: lightgbm.Booster) -> None:
        self._booster = booster
        self._columns = booster.num_feature()
        self._local = threading.local()

    def raw(self, row: NDArray[np.float64]) -> float:
        """Log-odds of one row of shape (1, features), contiguous doubles."""
        value, length = ctypes.c_double(), ctypes.c_int64()
        data = ctypes.c_void_p(row.ctypes.data)
        status = _LIB.LGBM_BoosterPredictForMatSingleRowFast(
            self._prepared(), data, ctypes.byref(length), ctypes.byref(value)
        )
        _safe_call(status)
        return value.value

    def _prepared(self) -> ctypes.c_void_p:
        handle: _Handle | None = getattr(self._local, "handle", None)
        if handle is None:
            handle = self._local.handle = _Handle(self._booster, self._columns)
        return handle.pointer


class _Handle:
    """A prepared call, given back when its thread or its model ends."""

    def __init__(self, booster: lightgbm.Booster, columns: int) -> None:
        self.pointer = ctypes.c_void_p()
        # The call reads the model's trees: the model has to live as long as this.
        self._booster = booster
        _safe_call(
            _LIB.LGBM_BoosterPredictForMatSingleRowFastInit(
                booster._handle,  # noqa: SLF001 - the library offers the C call, but no Python name for it
                ctypes.c_int(_RAW_SCORE),
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
