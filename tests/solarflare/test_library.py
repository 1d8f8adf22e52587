"""Whether a library of Onload fits the kernel module, from its bytes alone."""

import os
from pathlib import Path

import pytest

from plugin_gateway.solarflare import library
from plugin_gateway.solarflare.library import LibraryCheck, difference
from plugin_gateway.solarflare.onload import KernelOnload

VERSION = "9.0.2.140"
INTERFACE = "0123456789abcdef0123456789abcde5"
KERNEL = KernelOnload(VERSION, INTERFACE)
FOLDER = "opt/onload/usr/lib64"


def elf(*constants: str) -> bytes:
    """Return bytes that begin like a library and have these texts among them, as a compiler writes them."""
    return b"\x7fELF\x02\x01\x01" + b"\0" * 64 + b"".join(each.encode() + b"\0" for each in constants) + b"\xf3\x0f\x1e"


FITTING = elf("Onload", VERSION, "  uk_intf_ver=%s", INTERFACE)


def install(root: Path, content: bytes = FITTING, name: str = "libonload.so") -> Path:
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_bytes(content)
    return file


def test_the_library_of_the_kernel_modules_version_fits() -> None:
    assert difference(FITTING, KERNEL) == ""


def test_a_checksum_that_the_compiler_stored_in_pieces_is_found() -> None:
    pieces = [INTERFACE[start : start + 8] for start in range(0, 32, 8)]
    assert difference(elf(VERSION, *pieces), KERNEL) == ""


def test_the_version_is_found_where_it_is_the_end_of_a_text() -> None:
    assert difference(elf(f"Onload {VERSION}", INTERFACE), KERNEL) == ""


def test_a_library_of_another_version_is_told_with_both_versions() -> None:
    words = difference(elf("Onload", "9.1.0.24", INTERFACE), KERNEL)
    assert words == "seems to be of version 9.1.0.24, the kernel module onload is of version 9.0.2.140"


@pytest.mark.parametrize("longer", [f"{VERSION}1", f"1{VERSION}", f"{VERSION}.1", f"{VERSION}-u1"])
def test_a_version_that_is_a_part_of_a_longer_one_is_another_one(longer: str) -> None:
    assert "the kernel module onload is of version 9.0.2.140" in difference(elf(longer, INTERFACE), KERNEL)


@pytest.mark.parametrize("constants", [(), ("127.0.0.1",), ("8.1.2.26", "9.1.0.24")])
def test_a_version_that_cannot_be_told_is_not_guessed(constants: tuple[str, ...]) -> None:
    words = difference(elf(*constants), KERNEL)
    assert words == "is of another version, the kernel module onload is of version 9.0.2.140"


def test_the_same_version_from_another_build_is_told_as_what_it_seems() -> None:
    words = difference(elf(VERSION, "f" * 32), KERNEL)
    assert words.startswith("is of version 9.0.2.140 like the kernel module onload, but seems to be from another build")
    assert INTERFACE in words


def test_a_kernel_module_that_names_no_interface_is_compared_by_its_version() -> None:
    assert difference(elf(VERSION), KernelOnload(VERSION, "")) == ""


def test_a_file_that_is_no_library_is_left_to_the_loader() -> None:
    assert difference(b"libonload", KERNEL) == ""
    assert difference(b"", KERNEL) == ""


def test_the_words_name_the_file_as_the_host_has_it(tmp_path: Path) -> None:
    install(tmp_path, elf("9.1.0.24"))
    words = LibraryCheck(str(tmp_path)).mismatch("/opt/onload/", KERNEL)
    assert words.startswith("/opt/onload/usr/lib64/libonload.so seems to be of version 9.1.0.24")


def test_a_file_is_read_again_only_if_it_or_the_kernel_module_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    content = library._content

    def counted(descriptor: int, size: int) -> bytes:
        reads.append(size)
        return content(descriptor, size)

    monkeypatch.setattr(library, "_content", counted)
    check = LibraryCheck(str(tmp_path))
    install(tmp_path)
    assert [check.mismatch("/opt/onload", KERNEL) for _ in range(3)] == [""] * 3
    assert len(reads) == 1
    assert "seems to be of version" in check.mismatch("/opt/onload", KernelOnload("9.1.0.24", INTERFACE))
    assert len(reads) == 2
    new = install(tmp_path, elf("9.1.0.24", INTERFACE), "libonload.so.new")
    new.rename(new.with_name("libonload.so"))
    assert check.mismatch("/opt/onload", KernelOnload("9.1.0.24", INTERFACE)) == ""
    assert len(reads) == 3


@pytest.mark.parametrize(
    "target", ["libonload.so.9", "/opt/onload/usr/lib64/libonload.so.9", "../lib64/libonload.so.9"]
)
def test_a_link_is_followed_below_the_root(tmp_path: Path, target: str) -> None:
    install(tmp_path, elf("9.1.0.24"), "libonload.so.9")
    (tmp_path / FOLDER / "libonload.so").symlink_to(target)
    assert "9.1.0.24" in LibraryCheck(str(tmp_path)).mismatch("/opt/onload", KERNEL)


def test_the_root_itself_can_be_a_link(tmp_path: Path) -> None:
    install(tmp_path / "host", elf("9.1.0.24"), "libonload.so.9")
    (tmp_path / "host" / FOLDER / "libonload.so").symlink_to("libonload.so.9")
    (tmp_path / "link").symlink_to("host")
    assert "9.1.0.24" in LibraryCheck(str(tmp_path / "link")).mismatch("/opt/onload", KERNEL)


@pytest.mark.parametrize("target", ["../../../../../outside", "libonload.so", "nowhere"])
def test_a_link_out_of_the_root_or_into_nowhere_tells_nothing(tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").write_bytes(elf("9.1.0.24"))
    folder = tmp_path / "root" / FOLDER
    folder.mkdir(parents=True)
    (folder / "libonload.so").symlink_to(target)
    assert LibraryCheck(str(tmp_path / "root")).mismatch("/opt/onload", KERNEL) == ""


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    check = LibraryCheck(str(tmp_path))
    assert check.mismatch("/opt/onload", KERNEL) == ""
    folder = tmp_path / FOLDER
    folder.mkdir(parents=True)
    os.mkfifo(folder / "libonload.so")
    assert check.mismatch("/opt/onload", KERNEL) == ""
    (folder / "libonload.so").unlink()
    (folder / "libonload.so").mkdir()
    assert check.mismatch("/opt/onload", KERNEL) == ""


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    file = install(tmp_path, elf("9.1.0.24"))
    os.truncate(file, library.MAX_SIZE + 1)
    assert LibraryCheck(str(tmp_path)).mismatch("/opt/onload", KERNEL) == ""
