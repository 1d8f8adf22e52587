"""What the log says of network cards that no rule matches: a node has some for itself, so it is no warning."""

from pathlib import Path
from typing import Any

from harness.network_cards import OTHER_PF, PF, VFS, CardNode, rule, with_cards
from harness.node import until


async def test_cards_that_no_rule_matches_are_told_and_are_no_warning(
    kubelet_dir: Path, told: list[dict[str, Any]]
) -> None:
    node = CardNode(kubelet_dir, rule(VFS, function=("vf",)))
    async with with_cards(node):
        await until(lambda: any(line["event"].startswith("network cards match no rule") for line in told), "the line")
    (line,) = [line for line in told if line["event"].startswith("network cards match no rule")]
    assert (line["level"], line["devices"], line["products"]) == ("info", [PF, OTHER_PF], ["ConnectX-6"])
    assert not [line for line in told if line["event"].startswith("devices match no rule")]
