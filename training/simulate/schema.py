"""The sections of `parameters.toml` as typed records: a key that is not a field here is refused."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Abuse:
    definition: str
    share: float
    mimic: float
    aged_account: float
    honest_orders_a_year: float
    keep_device: float
    keep_address: float
    keep_payment: float
    active_days: float
    least_rings: float
    attempts_a_claim: float
    among_others: float
    verified_less: float
    suits: float


@dataclass(frozen=True)
class Volume:
    claims_per_order: float
    tail_days: float
    orders_per_buyer: float
    orders_per_merchant: float
    orders_per_item: float
    orders_per_creator: float
    yearly_growth: float
    festivals: tuple[str, ...]
    festival_factor: float
    busy_hours: tuple[float, ...]


@dataclass(frozen=True)
class People:
    segments: Mapping[str, float]
    orders_a_year: Mapping[str, float]
    returner_taste: float
    returner_clothes: float
    claiming_shape: float
    verified: float
    guest: float
    household: float
    dorm: float
    locker: float
    dorm_size: float
    locker_size: float
    shared_device: float
    shared_payment: float
    second_device: float
    gift_address: float
    newcomer_factor: float


@dataclass(frozen=True)
class Market:
    merchant_zipf: float
    item_zipf: float
    creator_zipf: float
    bad_merchant: float
    bad_merchant_factor: float
    bad_creator: float
    bad_creator_factor: float
    bad_batch: float
    bad_batch_days: float
    bad_batch_factor: float
    channels: Mapping[str, float]
    carriers: Mapping[str, float]
    regions: int
    quantity_more: float
    other_items: float
    discount: float
    other_price: float
    other_spread: float
    one_piece_price: float
    most_discount: float
    home_category: float
    usual_creator: float


@dataclass(frozen=True)
class Parcel:
    ship_hours: float
    ship_spread: float
    transit_hours: float
    transit_spread: float
    promise_hours: float
    not_shipped: float
    lost: float
    scanned_not_handed_over: float
    damaged: float
    careless_factor: float
    unscanned: float
    bad_merchant_late: float
    careless_slow: float


@dataclass(frozen=True)
class Cause:
    not_shipped: float
    late_shipping: float
    lost: float
    scanned_not_handed_over: float
    late: float
    damaged: float
    spoiled: float
    allergy: float
    quality: float
    counterfeit: float
    wrong_item: float
    missing_item: float
    not_as_described: float
    no_reason: float
    return_freight: float
    partial: float
    least_freight: float
    freight_steps: float
    earlier_refund: float


@dataclass(frozen=True)
class Asked:
    """What a claim says, whoever makes it."""

    opened: float
    opened_unknown: float
    confirmed: float
    confirmed_unknown: float
    return_methods: Mapping[str, float]
    return_method_unknown: float
    no_device: float
    no_address: float
    no_payment: float
    no_text: float
    affected: float
    affected_abuse: float
    not_handed_over_distance: float
    longest_days: float


@dataclass(frozen=True)
class Cover:
    """How claims fit what was promised, whoever makes them."""

    bad_opts_in: float
    opts_in_later: float
    merchant_unknown: float
    item_unknown: float
    heeds: float
    last_part: float
    late: float
    late_hours: float
    reminded: float
    more_proof: float
    wrong_reason: float
    confusions: Mapping[str, str]
    waits: float
    asks_whole: float
    share_unknown: float
    sends_back: float
    keeps: float
    on_its_way: float
    handed_over_hours: float
    freight_after: float
    loss_recorded: float
    loss_days: float
    intercepted: float
    sought: float
    unscanned: float


@dataclass(frozen=True)
class Service:
    """One guarantee: merchants that opt in to it among those with such goods, and items that carry it then."""

    merchants: float
    items: float
    categories: tuple[str, ...]


@dataclass(frozen=True)
class Tells:
    """How evidence and talk look where a tell shows."""

    few_photos: float
    least_photos: float
    few_chats: float
    least_chats: float
    many_chats: float
    papers: float


@dataclass(frozen=True)
class Label:
    review: float
    return_inspection: float
    carrier_trace: float
    audit_rate: float
    audit_caps: tuple[int, ...]
    audit_spread: float
    audit_undecided: float
    delay_days: Mapping[str, float]
    delay_spread: float
    undecided: float
    abuse_missed: float
    honest_blamed: float
    charged_back: float
    second_look: float
    reversal: float
    reversal_days: float


@dataclass(frozen=True)
class Champion:
    approve: float
    weights: Mapping[str, float]
    noise: float


@dataclass(frozen=True)
class Category:
    share: float
    price: float
    spread: float
    returns: float
    fragile: float
    fresh: bool
    defects: float


@dataclass(frozen=True)
class Habits:
    """How a claim for one reason usually looks."""

    remedies: Mapping[str, float]
    delay_days: float
    spread: float
    photos: float
    videos: float
    certificates: float
    scans: float
    chats: float


@dataclass(frozen=True)
class Signal:
    """A caller's own signal: how often it is there, and its size for honest claims and where a tell shows."""

    measured: float
    honest: float
    tell: float


@dataclass(frozen=True)
class Numbers:
    """The numbers of one abuse typology."""

    share: float
    opportunist: float
    ring: int
    claims_each: float
    identities: float
    price_tilt: float
    categories: tuple[str, ...]
    reasons: Mapping[str, float]
    refund_only: float
    hurry: float
    one_merchant: bool
    returns: float
    exploits: tuple[str, ...]
