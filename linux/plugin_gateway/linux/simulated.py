"""Runs a model on cards that exist only in memory."""

from typing import TYPE_CHECKING

from plugin_gateway.linux.card_backend import CardBackend
from plugin_gateway.linux.watching import USUAL_PACE, CardPace

if TYPE_CHECKING:
    from plugin_gateway.linux.card_model import CardModel
    from plugin_gateway.linux.made_up_tree import MadeUpTree


def simulated_backend(
    model: "CardModel", tree: "MadeUpTree", *, name: str, device_word: str, pace: CardPace = USUAL_PACE
) -> CardBackend:
    """Return a backend for these cards. Each change of the tree is seen at once, as the kernel would tell it."""
    return CardBackend(lambda: model, name=name, device_word=device_word, pace=pace, made_up=tree)
