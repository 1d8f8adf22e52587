"""What the deployment guide says of NVIDIA's plugin is what the code does."""

import re
from pathlib import Path

import pytest

import differences
from generated import BEGIN, END, put


def section() -> str:
    found = re.search(f"{BEGIN}\n\n(.*)\n\n{END}", differences.PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_guide_has_what_the_code_says() -> None:
    assert section() == differences.differences()


@pytest.mark.parametrize(
    "words",
    [
        "| default of `--driver-root-ctr-path` | `/driver-root` | `as on the host` |",
        "| default of `--fail-on-init-error` | `true` | `false` |",
        "| default of `--pass-device-specs` | `false` | `true` |",
        "| XID 109 | ignored | `unhealthy-until-",
        "`--device-discovery-strategy`",
        "`flags.gfd`",
    ],
)
def test_it_names_what_an_administrator_meets(words: str) -> None:
    assert words in section()


def test_defaults_that_are_the_same_are_left_out() -> None:
    assert "--device-id-strategy" not in section()
    assert "XID 13" not in section()


def test_a_page_without_the_place_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(BEGIN)
    with pytest.raises(ValueError, match="has not both of the lines"):
        put(page, "x")


def test_the_guide_says_what_becomes_of_a_node_with_mig() -> None:
    assert "| a GPU in MIG mode with `--mig-strategy=none` | offered whole | not offered, " in section()
    assert "| GPUs that are not divided alike with `single` | end the plugin | " in section()
