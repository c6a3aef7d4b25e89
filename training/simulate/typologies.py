"""The abuse typologies: who does it with which goods stands in the data file, how it shows here.

A tell changes claims where it shows, and only things that a claims service could see. Most abusive claims show none
(`abuse.mimic`): they look like anybody's and are found, if at all, by what is known of their buyers and things.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from risk.vocabulary import RETURN_METHODS
from training.simulate.columns import Array, Columns
from training.simulate.parameters import Parameters

Tell = Callable[[Columns, Array, np.random.Generator, Parameters], None]


@dataclass(frozen=True)
class Typology:
    """One kind of abuse; `row` is its number in docs/simulator.md."""

    name: str
    row: int
    signals: str
    tell: Tell


def _raise(name: str, claims: Columns, rows: Array, rng: np.random.Generator, p: Parameters) -> None:
    """Draw a signal again where it was measured, around the size it has where a tell shows."""
    there = rows[~np.isnan(claims[name][rows])]
    size = p.signal[name].tell
    if name in YES_NO:
        claims[name][there] = rng.random(len(there)) < size
    else:
        claims[name][there] = np.round(np.minimum(rng.gamma(2.0, size / 2.0, len(there)), 50.0), 3)


def _say(claims: Columns, name: str, rows: Array, value: int | Array) -> None:
    """Change what a claim says, where it says anything: what is null stays null, or the gaps would tell."""
    claims[name][rows] = np.where(claims[name][rows] < 0, -1, value)


YES_NO = frozenset({"x_image_seen_before", "x_wording_seen_before", "x_return_route_match", "x_goods_worn"})


def near_the_door(claims: Columns, rows: Array, rng: np.random.Generator, p: Parameters) -> None:
    """The scan lies at the address, and the claim comes without much talk."""
    _raise("x_delivery_distance_km", claims, rows, rng, p)
    claims["chat_count"][rows] = rng.poisson(p.tell.few_chats, len(rows))


def no_film_of_opening(claims: Columns, rows: Array, rng: np.random.Generator, p: Parameters) -> None:
    """No film of the unpacking and few photos."""
    claims["video_count"][rows] = 0
    claims["photo_count"][rows] = rng.poisson(p.tell.few_photos, len(rows))


def old_photo(claims: Columns, rows: Array, rng: np.random.Generator, p: Parameters) -> None:
    """The picture was used before."""
    _raise("x_image_seen_before", claims, rows, rng, p)


def made_photo(claims: Columns, rows: Array, rng: np.random.Generator, p: Parameters) -> None:
    """Marks of a generator or an editor; never a film."""
    _raise("x_evidence_edited", claims, rows, rng, p)
    claims["video_count"][rows] = 0


def worn(claims: Columns, rows: Array, rng: np.random.Generator, p: Parameters) -> None:
    """Held until the window nearly closes, and used."""
    _raise("x_goods_worn", claims, rows, rng, p)
    _say(claims, "opened", rows, 1)


def light_parcel(claims: Columns, rows: Array, rng: np.random.Generator, p: Parameters) -> None:
    """What comes back weighs another than what went out."""
    _raise("x_return_weight_gap", claims, rows, rng, p)


def rather_money(claims: Columns, rows: Array, rng: np.random.Generator, p: Parameters) -> None:
    """Much talk about money, the whole price, no certificate."""
    claims["chat_count"][rows] = rng.poisson(p.tell.many_chats, len(rows))
    claims["certificate_count"][rows] = 0


def little_evidence(claims: Columns, rows: Array, rng: np.random.Generator, p: Parameters) -> None:
    """A throw-away account takes no pains."""
    claims["photo_count"][rows] = rng.poisson(p.tell.least_photos, len(rows))
    claims["chat_count"][rows] = rng.poisson(p.tell.least_chats, len(rows))


def same_words(claims: Columns, rows: Array, rng: np.random.Generator, p: Parameters) -> None:
    """The ring's script, word for word."""
    _say(claims, "variant", rows, claims["script"][rows])
    _raise("x_wording_seen_before", claims, rows, rng, p)


def one_station(claims: Columns, rows: Array, rng: np.random.Generator, p: Parameters) -> None:
    """Sent by oneself rather than picked up, unopened."""
    _say(claims, "return_method", rows, RETURN_METHODS.index("self_ship"))
    _say(claims, "opened", rows, 0)


def goods_kept(claims: Columns, rows: Array, rng: np.random.Generator, p: Parameters) -> None:
    """No scan of a return parcel yet, self-shipped."""
    claims["scan_count"][rows] = 0
    _say(claims, "return_method", rows, RETURN_METHODS.index("self_ship"))


def another_route(claims: Columns, rows: Array, rng: np.random.Generator, p: Parameters) -> None:
    """The return parcel goes elsewhere, and is light."""
    _raise("x_return_route_match", claims, rows, rng, p)
    _raise("x_return_weight_gap", claims, rows, rng, p)


def form_letter(claims: Columns, rows: Array, rng: np.random.Generator, p: Parameters) -> None:
    """The same legal text each time, with papers."""
    same_words(claims, rows, rng, p)
    claims["certificate_count"][rows] = rng.random(len(rows)) < p.tell.papers


def old_certificate(claims: Columns, rows: Array, rng: np.random.Generator, p: Parameters) -> None:
    """A photo or certificate that served before."""
    _raise("x_image_seen_before", claims, rows, rng, p)
    _raise("x_evidence_edited", claims, rows, rng, p)


def no_talk(claims: Columns, rows: Array, rng: np.random.Generator, p: Parameters) -> None:
    """The bank is asked as well; the shop is not talked to."""
    claims["chat_count"][rows] = 0


TYPOLOGIES: tuple[Typology, ...] = (
    Typology("false_not_received", 1, "scan at the address, earlier such claims, dearer orders", near_the_door),
    Typology("false_missing_item", 2, "dearer orders, no film of the opening", no_film_of_opening),
    Typology("false_damage", 3, "picture used before; food, beauty, home", old_photo),
    Typology("made_evidence", 4, "marks of editing, no film", made_photo),
    Typology("wardrobing", 5, "clothes and electronics, late in the window, worn", worn),
    Typology("empty_box", 6, "return weight, dear goods", light_parcel),
    Typology("swap_return", 7, "return weight, dear goods, claims of counterfeit", light_parcel),
    Typology("serial_refunder", 8, "many claims of one buyer against few orders", rather_money),
    Typology("many_accounts", 9, "device, address or payment seen under other accounts", little_evidence),
    Typology("coached", 10, "the same wording in accounts that share devices", same_words),
    Typology("freight_ring", 11, "cheap goods of one merchant, self-shipped unopened, shared devices", one_station),
    Typology("refund_only", 12, "cheap goods, refund without return, repeated", rather_money),
    Typology("no_return", 13, "return announced, no scan", goods_kept),
    Typology("fake_logistics", 14, "return goes elsewhere, weight", another_route),
    Typology("professional", 15, "compensation claimed again and again in the same words", form_letter),
    Typology("guarantee_abuse", 16, "allergy and spoilage with evidence that served before", old_certificate),
    Typology("merchant_side", 17, "many claims on one merchant by accounts that share devices", no_film_of_opening),
    Typology("refund_and_chargeback", 18, "a charge-back follows months later", no_talk),
)
NAMES: tuple[str, ...] = tuple(typology.name for typology in TYPOLOGIES)
CHARGEBACK = NAMES.index("refund_and_chargeback")


def show_tells(rng: np.random.Generator, p: Parameters, claims: Columns) -> None:
    """Let the tells of abusive claims show, except where the abuser takes care."""
    shows = rng.random(len(claims["typology"])) >= p.abuse.mimic
    for number, typology in enumerate(TYPOLOGIES):
        rows = np.flatnonzero((claims["typology"] == number) & shows)
        typology.tell(claims, rows, rng, p)
    # Tells change counts and answers; a signal about a photo or worn goods goes where these have gone.
    no_photo, not_opened = claims["photo_count"] == 0, claims["opened"] != 1
    for name in ("x_image_seen_before", "x_evidence_edited"):
        claims[name][no_photo] = np.nan
    claims["x_goods_worn"][not_opened] = np.nan
