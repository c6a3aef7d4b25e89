"""Thinning: of claims that were drawn with different probabilities keep those that one fixed probability would have drawn.

A claim that was drawn with probability p and is then kept with probability q / p has been drawn with probability q. The
second draw comes from the claim's id, so that it is the same whenever and wherever it is made, and from another key than
the first one, so that it knows nothing of it.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

_KEY = b"thinning of drawn claims, 1"


def uniform(claim_id: str) -> float:
    """A number in [0, 1) that is drawn anew for each claim id, and the same for the same one."""
    # 53 bits are what a float holds exactly.
    return (int.from_bytes(hashlib.blake2b(claim_id.encode(), digest_size=8, key=_KEY).digest(), "big") >> 11) * 2.0**-53


def uniforms(claim_ids: Iterable[str]) -> NDArray[np.float64]:
    """The same for many claims, shape (claims,)."""
    template = hashlib.blake2b(digest_size=8, key=_KEY)

    def digest(claim_id: str) -> bytes:
        state = template.copy()
        state.update(claim_id.encode())
        return state.digest()

    words = np.frombuffer(b"".join(map(digest, claim_ids)), dtype=">u8")
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def kept(claim_id: str, *, wanted: float, stored: float) -> bool:
    """Whether a claim that was drawn with probability `stored` counts as drawn with probability `wanted`.

    Raises ValueError where `wanted` is the larger one: what was not drawn cannot be added.
    """
    if not 0.0 < wanted <= stored <= 1.0:
        raise ValueError(f"drawn with probability {stored}, {wanted} wanted: only fewer can be kept")
    return uniform(claim_id) < wanted / stored


def kept_of(
    claim_ids: Sequence[str], *, wanted: NDArray[np.float64], stored: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """The same for many claims, shape (claims,)."""
    if not ((wanted > 0.0) & (wanted <= stored) & (stored <= 1.0)).all():
        raise ValueError("more claims wanted than were drawn: only fewer can be kept")
    return uniforms(claim_ids) < wanted / stored
