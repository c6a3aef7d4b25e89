"""What buyers write: an opening, the matter and a closing, so that honest wordings differ and repeat by chance."""

from functools import cache

from risk.vocabulary import REASONS

OPENINGS = (
    "", "Hello. ", "Hi, ", "Please help. ", "Good evening. ", "I am writing about my order. ", "Dear shop, ",
    "Sorry to bother you. ", "Urgent. ", "Third time I write. ", "Hi there! ", "To whom it may concern: ",
)  # fmt: skip
CLOSINGS = (
    "", " Thanks.", " Please refund.", " Please settle this soon.", " I attach what I have.", " Very disappointed.",
    " I have bought here before.", " What do you need from me?", " Not happy at all.", " Kind regards.",
)  # fmt: skip
MATTERS: dict[str, tuple[str, ...]] = {
    "no_reason": (
        "I would like to return this.", "It does not suit me.", "Wrong size for me.", "Changed my mind.",
        "The colour is not for me.", "Ordered one too many.", "Found another that I like better.", "No longer needed.",
    ),
    "not_shipped": (
        "Nothing has been sent yet.", "The order still waits for dispatch.", "No tracking after days.",
        "When will you ship?", "It was promised within two days.", "The shop does not answer.",
        "I do not want to wait any longer.", "Still not sent.",
    ),
    "not_received": (
        "The parcel never came.", "It says delivered, I have nothing.", "Not at the door and not with the neighbours.",
        "Tracking has stood still.", "The locker was empty.", "Nobody rang, nothing here.", "I never got it.",
        "The courier cannot find it.",
    ),
    "damaged": (
        "It arrived broken.", "The box was crushed.", "There is a crack across it.", "It leaked all over.",
        "The lid is broken.", "Dented on one side.", "Shattered on the way.", "The packing was torn open.",
    ),
    "spoiled": (
        "Half of it is rotten.", "It smells bad.", "Mould on the top layer.", "Thawed when it came.",
        "Soft and brown inside.", "Several are bad.", "It cannot be eaten.", "Warm and leaking.",
    ),
    "allergy": (
        "My skin went red after two days.", "I got a rash.", "It burns on the face.", "Swollen eyelids after use.",
        "The doctor says it is an allergy.", "Itching since I use it.", "Red spots on the neck.", "I cannot bear it.",
    ),
    "quality": (
        "It stopped working.", "The seam came apart.", "Poor quality.", "It does not switch on.",
        "The colour runs.", "It broke at first use.", "Scratches everywhere.", "It is faulty.",
    ),
    "counterfeit": (
        "This is not genuine.", "The serial number is unknown to the maker.", "The logo looks wrong.",
        "A shop told me it is a fake.", "The smell is not like the original.", "The print is blurred.",
        "No papers in the box.", "I doubt that it is real.",
    ),
    "wrong_item": (
        "You sent another model.", "Wrong colour in the box.", "I got somebody else's order.", "Not what I ordered.",
        "Another size than ordered.", "The wrong version came.", "This is a different product.", "Wrong one.",
    ),
    "missing_item": (
        "One piece is missing.", "The box was half empty.", "The charger was not inside.", "Only one of two came.",
        "The gift is missing.", "Parts are missing.", "Something is not in the parcel.", "The set is not complete.",
    ),
    "not_as_described": (
        "It looks nothing like in the video.", "Smaller than shown.", "The material is another.",
        "They said it was silk.", "Not what was promised in the show.", "The pictures mislead.",
        "It lacks what was described.", "Much thinner than shown.",
    ),
    "return_freight": (
        "Please pay the return freight.", "I paid the courier myself.", "The freight has not been paid back.",
        "Freight for my return.", "The insurance should cover the freight.", "Return was sent, freight open.",
        "Waiting for the freight.", "Receipt of the courier attached.",
    ),
}  # fmt: skip
VARIANTS = len(OPENINGS) * 8 * len(CLOSINGS)


@cache
def wordings() -> list[str]:
    """Every text, at position `reason * VARIANTS + variant`."""
    return [
        opening + matter + closing
        for reason in REASONS
        for opening in OPENINGS
        for matter in MATTERS[reason]
        for closing in CLOSINGS
    ]
