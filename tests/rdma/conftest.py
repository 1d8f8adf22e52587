"""Made-up cards, and the model that sees them."""

from pathlib import Path

import pytest

from cards.builder import Cards
from rdma.watching import Watched


@pytest.fixture
def cards(tmp_path: Path) -> Cards:
    return Cards(tmp_path)


@pytest.fixture
def watched(cards: Cards) -> Watched:
    return Watched(cards)
