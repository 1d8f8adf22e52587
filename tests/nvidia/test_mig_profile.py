"""The names of MIG profiles, by the sizes that NVIDIA's cards really have."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_gateway.nvidia.mig_profile import Attributes, InvalidProfileError, memory_gb, profile_name

MIB = 2**20
A100_40, A100_80, A30, H100, H200, B200 = (
    total * MIB for total in (40960, 81920, 24576, 81559, 143771, 183359)
)  # fmt: skip
ONE, TWO, THREE, FOUR, SEVEN, EIGHT, SIX, TWICE_THE_MEMORY = 0, 1, 2, 3, 4, 5, 6, 9


def named(memory: int, gi_profile: int, slices: int, total: int, ci_slices: int | None = None) -> str:
    return profile_name(Attributes(slices, slices if ci_slices is None else ci_slices, memory), gi_profile, total)


@pytest.mark.parametrize(
    ("total", "memory", "number", "slices", "name"),
    [
        (A100_40, 4864, ONE, 1, "1g.5gb"),
        (A100_40, 9856, TWO, 2, "2g.10gb"),
        (A100_40, 9856, TWICE_THE_MEMORY, 1, "1g.10gb"),
        (A100_40, 19968, THREE, 3, "3g.20gb"),
        (A100_40, 19968, FOUR, 4, "4g.20gb"),
        (A100_40, 40192, SEVEN, 7, "7g.40gb"),
        (A100_80, 9856, ONE, 1, "1g.10gb"),
        (A100_80, 19968, TWO, 2, "2g.20gb"),
        (A100_80, 40192, THREE, 3, "3g.40gb"),
        (A100_80, 40192, FOUR, 4, "4g.40gb"),
        (A100_80, 80384, SEVEN, 7, "7g.80gb"),
        (A30, 5836, ONE, 1, "1g.6gb"),
        (A30, 11672, TWO, 2, "2g.12gb"),
        (A30, 23344, FOUR, 4, "4g.24gb"),
        (H100, 9984, ONE, 1, "1g.10gb"),
        (H100, 20096, TWO, 2, "2g.20gb"),
        (H100, 20096, TWICE_THE_MEMORY, 1, "1g.20gb"),
        (H100, 40448, THREE, 3, "3g.40gb"),
        (H100, 40448, FOUR, 4, "4g.40gb"),
        (H100, 81152, SEVEN, 7, "7g.80gb"),
        (H200, 16384, ONE, 1, "1g.18gb"),
        (H200, 33280, TWO, 2, "2g.35gb"),
        (H200, 71424, THREE, 3, "3g.71gb"),
        (H200, 71424, FOUR, 4, "4g.71gb"),
        (H200, 143384, SEVEN, 7, "7g.141gb"),
        (B200, 1, ONE, 1, "1g.23gb"),
        (B200, 22919, ONE, 1, "1g.23gb"),
        (B200, 45839, TWO, 2, "2g.45gb"),
        (B200, 91679, THREE, 3, "3g.90gb"),
        (B200, 91679, FOUR, 4, "4g.90gb"),
    ],
)
def test_a_name_is_that_of_nvidia(total: int, memory: int, number: int, slices: int, name: str) -> None:
    assert named(memory, number, slices, total) == name


@pytest.mark.parametrize(
    ("number", "slices", "suffix"),
    [
        (ONE, 1, ""),
        (TWO, 2, ""),
        (THREE, 3, ""),
        (FOUR, 4, ""),
        (SEVEN, 7, ""),
        (EIGHT, 8, ""),
        (SIX, 6, ""),
        (7, 1, "+me"),
        (8, 2, "+me"),
        (TWICE_THE_MEMORY, 1, ""),
        (0xA, 1, "+gfx"),
        (0xB, 2, "+gfx"),
        (0xC, 4, "+gfx"),
        (0xD, 1, "-me"),
        (0xE, 2, "-me"),
        (0xF, 1, "+me.all"),
        (0x10, 2, "+me.all"),
        (0x11, 3, "+gfx"),
    ],
)
def test_the_number_of_the_profile_decides_the_suffix(number: int, slices: int, suffix: str) -> None:
    assert named(9984, number, slices, H100) == f"{slices}g.10gb{suffix}"


@pytest.mark.parametrize("number", [0x12, 0x20, -1])
def test_a_number_that_nobody_knows_has_no_name_rather_than_one_without_suffix(number: int) -> None:
    with pytest.raises(InvalidProfileError, match=f"the GPU instance profile {number} of NVML is not known here"):
        named(9984, number, 1, H100)


def test_a_part_of_a_gpu_instance_has_both_sizes_in_its_name() -> None:
    assert named(40448, THREE, 3, H100, ci_slices=1) == "1c.3g.40gb"
    assert named(20096, 8, 2, H100, ci_slices=1) == "1c.2g.20gb+me"


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        (Attributes(2, 2, 40448), "the driver says 2 slices, and the GPU instance profile 2 has 3"),
        (Attributes(0xFFFFFFFF, 1, 40448), "the driver says 4294967295 slices"),
        (Attributes(3, 0, 40448), "a compute instance of 0 slices; expected 1 to 3"),
        (Attributes(3, 4, 40448), "a compute instance of 4 slices; expected 1 to 3"),
        (Attributes(3, 3, 0), "a memory of 0 MiB; expected 1 to 81559, which the GPU has"),
        (Attributes(3, 3, 81560), "a memory of 81560 MiB; expected 1 to 81559"),
        (Attributes(3, 3, 2**64 - 1), "expected 1 to 81559"),
    ],
)
def test_attributes_that_no_mig_device_can_have_have_no_name(attributes: Attributes, words: str) -> None:
    with pytest.raises(InvalidProfileError, match=words):
        profile_name(attributes, THREE, H100)


def test_a_gpu_too_small_for_a_name_has_none() -> None:
    with pytest.raises(InvalidProfileError, match="less than half a GB"):
        memory_gb(1, 2 * 1024 * MIB)


@given(total=st.integers(8 * 1024, 512 * 1024), memory=st.lists(st.integers(1, 512 * 1024), min_size=2))
def test_more_memory_is_never_less_in_the_name_and_all_of_it_is_that_of_the_gpu(total: int, memory: list[int]) -> None:
    sizes = [memory_gb(each, total * MIB) for each in sorted([*memory, total]) if each <= total]
    assert all(one <= other for one, other in pairwise(sizes))
    assert sizes[-1] == -(-total // 1024)
