import ctypes
import os
import resource
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.driver_root import compiled, write
from plugin_gateway.nvidia.driver_root import DriverRoot, Found
from plugin_gateway.nvidia.elf import Elf, is_for_this_machine, read_elf


@pytest.fixture
def root(tmp_path: Path) -> DriverRoot:
    write(tmp_path / "outside", "secret")
    write(tmp_path / "root/usr/lib64/a b.so", "library")
    return DriverRoot(str(tmp_path / "root"), "/run/driver")


@pytest.mark.parametrize(
    ("link", "target", "real"),
    [
        ("lib", "usr/lib64", "/usr/lib64/a b.so"),
        ("lib", "/usr/lib64", "/usr/lib64/a b.so"),
        ("lib", "../../../usr/lib64", "/usr/lib64/a b.so"),
        ("lib", "usr/./lib64/../lib64/", "/usr/lib64/a b.so"),
        ("lib", "lib", None),
        ("lib", "/nowhere", None),
        ("lib", "..", None),
    ],
)
def test_a_link_is_followed_below_the_root(
    root: DriverRoot, tmp_path: Path, link: str, target: str, real: str | None
) -> None:
    (tmp_path / "root" / link).symlink_to(target)
    assert root.find("/lib/a b.so") == (None if real is None else Found("/lib/a b.so", real))


@pytest.mark.parametrize("target", ["../outside", "../../../outside", "/../outside", "{tmp}/outside"])
def test_no_link_leads_out_of_the_root(root: DriverRoot, tmp_path: Path, target: str) -> None:
    (tmp_path / "root/out.so").symlink_to(target.format(tmp=tmp_path))
    assert root.find("/out.so") is None
    assert root.find("/../outside") is None


def test_links_that_go_round_are_nothing(root: DriverRoot, tmp_path: Path) -> None:
    (tmp_path / "root/one").symlink_to("two")
    (tmp_path / "root/two").symlink_to("/one")
    assert root.real("/one/a") is None


@pytest.mark.parametrize("target", ["{tmp}/outside", "../../outside", "/nowhere", "ld.so.cache"])
def test_a_cache_that_leads_out_of_the_root_or_nowhere_is_none(root: DriverRoot, tmp_path: Path, target: str) -> None:
    write(tmp_path / "outside", b"\0/secret/libcuda.so.1\0")
    (tmp_path / "root/etc").mkdir()
    (tmp_path / "root/etc/ld.so.cache").symlink_to(target.format(tmp=tmp_path))
    assert root.cached("libcuda.so.1") == ()


@pytest.mark.timeout(10)
def test_a_cache_that_is_no_file_is_none_and_nobody_waits_for_it(root: DriverRoot, tmp_path: Path) -> None:
    (tmp_path / "root/etc").mkdir()
    os.mkfifo(tmp_path / "root/etc/ld.so.cache")
    assert root.cached("libcuda.so.1") == ()


def test_only_what_is_asked_for_is_found_and_names_that_can_be_written(root: DriverRoot, tmp_path: Path) -> None:
    (tmp_path / "root/folder.so").mkdir()
    os.mkfifo(tmp_path / "root/pipe.so")
    write(tmp_path / "root/new\nline.so", "")
    write(tmp_path / "root" / os.fsdecode(b"odd\xff.so"), "")
    write(tmp_path / "root/good.so", "")
    assert root.matching("/", "*.so") == [Found("//good.so", "/good.so")]
    assert root.matching("/nowhere", "*.so") == []
    assert (root.here("/a"), root.on_host("/a")) == (f"{tmp_path}/root/a", "/run/driver/a")


NAMES = ("a", "b", "c")
TARGETS = st.lists(st.sampled_from((*NAMES, "..", ".", "")), min_size=1, max_size=4).map("/".join)


@given(links=st.dictionaries(st.sampled_from(NAMES), TARGETS.filter(bool), max_size=3), path=TARGETS)
def test_what_is_found_is_what_a_process_with_this_root_would_find(
    tmp_path_factory: pytest.TempPathFactory, links: dict[str, str], path: str
) -> None:
    folder = tmp_path_factory.mktemp("root")
    for name in NAMES:
        (folder / name).symlink_to(links[name]) if name in links else (folder / name).mkdir()
    real = DriverRoot(str(folder), "/").real(f"/{path}")
    if real is not None:
        assert not any((folder / Path(*Path(real).parts[1 : end + 1])).is_symlink() for end in range(len(real)))
        assert (folder / real.lstrip("/")).exists()


def test_a_cache_of_the_loader_that_is_no_file_is_not_read(root: DriverRoot, tmp_path: Path) -> None:
    """A pipe would be waited for."""
    (tmp_path / "root/etc").mkdir()
    assert root.cached("libcuda.so.1") == ()
    os.mkfifo(tmp_path / "root/etc/ld.so.cache")
    assert root.cached("libcuda.so.1") == ()
    (tmp_path / "root/etc/ld.so.cache").unlink()
    (tmp_path / "outside.cache").write_bytes(b"\0/usr/lib64/libcuda.so.1\0")
    (tmp_path / "root/etc/ld.so.cache").symlink_to(tmp_path / "outside.cache")
    assert root.cached("libcuda.so.1") == ()


def test_of_a_cache_that_is_too_large_to_be_one_no_more_than_a_part_is_read(root: DriverRoot, tmp_path: Path) -> None:
    cache = write(tmp_path / "root/etc/ld.so.cache", b"\0/usr/lib64/libcuda.so.1\0")
    os.truncate(cache, 2**40)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**36, limits[1]))
    try:
        assert root.cached("libcuda.so.1") == ["/usr/lib64/libcuda.so.1"]
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_an_elf_file_tells_its_name_and_its_machine(tmp_path: Path) -> None:
    named = write(tmp_path / "named.so", compiled("libcuda.so.1"))
    found = read_elf(str(named))
    assert found is not None
    assert found.soname == "libcuda.so.1"
    assert is_for_this_machine(found)
    assert ctypes.CDLL(str(named)).answer() == 42
    assert read_elf(str(write(tmp_path / "text", "libcuda"))) is None
    assert is_for_this_machine(None)


def test_an_elf_file_of_32_bits_is_not_for_this_machine(tmp_path: Path) -> None:
    data = bytearray(compiled("libcuda.so.1"))
    data[4] = 1
    assert not is_for_this_machine(read_elf(str(write(tmp_path / "small.so", bytes(data)))))


@given(cut=st.integers(0, 20_000), at=st.integers(0, 4000), value=st.integers(0, 255))
@example(cut=58, at=37, value=16)
@example(cut=58, at=39, value=0xFF)
def test_a_damaged_elf_file_is_no_error(
    tmp_path_factory: pytest.TempPathFactory, cut: int, at: int, value: int
) -> None:
    data = bytearray(compiled("libcuda.so.1")[:cut])
    if at < len(data):
        data[at] = value
    found = read_elf(str(write(tmp_path_factory.mktemp("elf") / "x", bytes(data))))
    assert found is None or isinstance(found, Elf)
