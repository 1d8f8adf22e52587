"""Runs a model on cards that exist only in memory."""

from typing import TYPE_CHECKING

from plugin_gateway.linux.card_backend import USUAL_PACE, CardBackend

if TYPE_CHECKING:
    from plugin_gateway.linux.card_model import CardModel
    from plugin_gateway.linux.card_watch import CardPace
    from plugin_gateway.linux.made_up_tree import MadeUpTree


def simulated_backend(
    model: "CardModel", tree: "MadeUpTree", *, name: str, pace: "CardPace" = USUAL_PACE
) -> CardBackend:
    """Return a backend for these cards. Each change of the tree is seen at once, as the kernel would tell it."""
    return CardBackend(model, name=name, pace=pace, made_up=tree)
