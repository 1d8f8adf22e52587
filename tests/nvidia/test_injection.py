from pathlib import Path
from typing import Any

import pytest

from harness.devices import device, inventory, part
from harness.driver_root import LIBRARIES, NAMES, compiled, put_graphics, put_libraries, put_others, write
from plugin_gateway.core.cdi import CdiEdits, CdiMount, DriverFiles, FilesWanted
from plugin_gateway.core.devices import Device
from plugin_gateway.nvidia.driver_files import find_files
from plugin_gateway.nvidia.driver_root import DriverRoot
from plugin_gateway.nvidia.injection import files_of

V = "580.95.05"
LOADERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64")
HOOK = "/usr/bin/nvidia-cdi-hook"


class Machine:
    def __init__(self, folder: Path) -> None:
        self.root, self.sysfs = folder / "root", folder / "sys"
        self.root.mkdir()

    def files(self, *devices: Device, version: str | None = V, **wanted: Any) -> DriverFiles:
        asked = FilesWanted(
            **{"driver_root": "/", "hook": "", "disabled_hooks": (), "report": lambda _: None, **wanted}
        )
        return files_of(asked, str(self.root), str(self.sysfs), (version, "1"), inventory(*devices))

    def mounts(self, **wanted: Any) -> dict[str, str]:
        """The files of the host by their paths in a container."""
        return {mount.container_path: mount.host_path for mount in self.files(**wanted).common.mounts}

    def libraries(self) -> list[str]:
        found = find_files(DriverRoot(str(self.root), "/"), V, str(self.sysfs))
        return [library.file.path for library in found.libraries] if found else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def arguments(edits: CdiEdits) -> dict[str, list[str]]:
    """The arguments of each hook by its name."""
    return {hook.arguments[1]: list(hook.arguments[2:]) for hook in edits.hooks}


def test_without_a_hook_each_library_has_the_name_that_programs_ask_for(machine: Machine) -> None:
    put_libraries(machine.root, V, is_real=True)
    found = machine.mounts()
    for folder in LOADERS:
        assert found[f"{folder}/libcuda.so.1"] == found[f"{folder}/libcuda.so"] == f"/{LIBRARIES}/libcuda.so.{V}"
        assert found[f"{folder}/libGLX_indirect.so.0"] == f"/{LIBRARIES}/libGLX_nvidia.so.{V}"
        assert found[f"{folder}/gbm/nvidia-drm_gbm.so"] == f"/{LIBRARIES}/libnvidia-allocator.so.{V}"
    assert f"{LOADERS[0]}/libcuda.so.{V}" not in found
    assert "without hooks" in machine.files().way
    assert machine.files().common.hooks == ()
    assert machine.files().common.environment == {"NVIDIA_VISIBLE_DEVICES": "void"}


def test_a_library_without_a_name_of_its_own_keeps_that_of_its_file(machine: Machine) -> None:
    put_libraries(machine.root, V)
    assert f"{LOADERS[1]}/libnvidia-eglcore.so.{V}" in machine.mounts()


def test_tools_firmware_sockets_and_settings_are_at_their_own_paths(machine: Machine) -> None:
    put_libraries(machine.root, V)
    put_others(machine.root, V)
    found = {mount.container_path: mount for mount in machine.files(driver_root="/run/driver").common.mounts}
    read_only = ("ro", "nosuid", "nodev", "rbind", "rprivate")
    for path in (
        "/usr/bin/nvidia-smi",
        f"/lib/firmware/nvidia/{V}/gsp_ga10x.bin",
        "/etc/vulkan/icd.d/nvidia_icd.json",
        "/usr/share/glvnd/egl_vendor.d/10_nvidia.json",
    ):
        assert found[path] == CdiMount(f"/run/driver{path}", path, read_only)
    socket = found["/run/nvidia-persistenced/socket"]
    assert set(socket.options) == {"nosuid", "nodev", "rbind", "rprivate", "noexec"}
    assert found[f"{LOADERS[0]}/vdpau/libvdpau_nvidia.so.{V}"].host_path.startswith("/run/driver/usr/lib/")


def test_a_hook_that_is_on_the_host_makes_links_and_cache(machine: Machine) -> None:
    put_libraries(machine.root, V, is_real=True)
    write(machine.root / HOOK.lstrip("/"), "hook", 0o755)
    files = machine.files()
    assert files.way == f"hooks of {HOOK}"
    assert {hook.path for hook in files.common.hooks} == {HOOK}
    found = arguments(files.common)
    assert found["update-ldcache"] == ["--folder", f"/{LIBRARIES}"]
    assert found["enable-cuda-compat"] == [f"--host-driver-version={V}"]
    assert f"libcuda.so.{V}::/{LIBRARIES}/libcuda.so.1" in found["create-symlinks"]
    assert f"libcuda.so.1::/{LIBRARIES}/libcuda.so" in found["create-symlinks"]
    assert machine.mounts()[f"/{LIBRARIES}/libcuda.so.{V}"] == f"/{LIBRARIES}/libcuda.so.{V}"
    assert files.common.environment["NVIDIA_CTK_LIBCUDA_DIR"] == f"/{LIBRARIES}"


def test_a_hook_that_is_not_wanted_is_left_out_and_without_the_needed_ones_there_is_none(machine: Machine) -> None:
    put_libraries(machine.root, V)
    write(machine.root / HOOK.lstrip("/"), "hook", 0o755)
    assert "enable-cuda-compat" not in arguments(machine.files(disabled_hooks=("enable-cuda-compat",)).common)
    for name in ("all", "update-ldcache", "create-symlinks"):
        assert machine.files(disabled_hooks=(name,)).common.hooks == ()


def test_nvidias_toolkit_is_called_with_the_word_hook(machine: Machine) -> None:
    put_libraries(machine.root, V)
    write(machine.root / "usr/bin/nvidia-ctk", "ctk", 0o755)
    assert machine.files().common.hooks[0].arguments[:2] == ("nvidia-ctk", "hook")


def test_a_hook_that_was_given_is_believed_only_where_the_host_is_not_seen(machine: Machine) -> None:
    put_libraries(machine.root, V)
    unseen = machine.files(hook="/opt/hook", driver_root="/run/nvidia/driver")
    assert {hook.path for hook in unseen.common.hooks} == {"/opt/hook"}
    seen = machine.files(hook="/opt/hook")
    assert (seen.common.hooks, "/opt/hook is not on the host" in seen.way) == ((), True)


def test_each_gpu_has_its_nodes_for_graphics_and_their_links(machine: Machine) -> None:
    put_libraries(machine.root, V)
    write(machine.root / HOOK.lstrip("/"), "hook", 0o755)
    gpu = device(0)
    put_graphics(machine.root, machine.sysfs, [gpu.physical.pci_address])
    parts = (part(gpu, 1), part(gpu, 2, "1g.24gb+gfx"))
    assert machine.files(*parts).own.keys() == {parts[1].id}
    own = machine.files(gpu).own[gpu.id]
    assert [node.path for node in own.nodes] == ["/dev/dri/card1", "/dev/dri/renderD128"]
    assert arguments(own)["create-symlinks"] == [
        "--link",
        "../card1::/dev/dri/by-path/pci-0000:01:00.0-card",
        "--link",
        "../renderD128::/dev/dri/by-path/pci-0000:01:00.0-render",
    ]
    assert machine.files(gpu, disabled_hooks=("all",)).own[gpu.id].hooks == ()


def test_storage_needs_two_files_besides_its_nodes(machine: Machine) -> None:
    put_libraries(machine.root, V)
    assert (
        machine.files().extras["gds"] == machine.files().extras["mofed"] == CdiEdits({"NVIDIA_VISIBLE_DEVICES": "void"})
    )
    (machine.root / "run/udev").mkdir(parents=True)
    write(machine.root / "usr/share/cufile.json", "{}")
    write(machine.root / "etc/other", "").with_name("cufile.json").symlink_to("/usr/share/cufile.json")
    found = {each.container_path: each for each in machine.files(driver_root="/run/driver").extras["gds"].mounts}
    read_only = ("ro", "nosuid", "nodev", "rbind", "rprivate")
    assert found == {
        "/run/udev": CdiMount("/run/driver/run/udev", "/run/udev", read_only),
        "/etc/cufile.json": CdiMount("/run/driver/usr/share/cufile.json", "/etc/cufile.json", read_only),
    }


def test_without_its_version_or_its_libraries_a_driver_has_a_problem(machine: Machine) -> None:
    assert "version" in machine.files(version=None).problem
    assert f"libcuda.so.{V} is in none of" in machine.files().problem
    put_libraries(machine.root, "570.1")
    assert machine.files().problem
    put_libraries(machine.root, V)
    assert (machine.files().problem, machine.files().driver) == ("", (V, "1"))


def test_of_two_versions_only_that_of_the_driver_counts(machine: Machine) -> None:
    put_libraries(machine.root, V)
    put_libraries(machine.root, "570.1")
    assert machine.libraries() == sorted(f"/{LIBRARIES}/{name}.so.{V}" for name in NAMES)


def test_of_two_versions_of_a_library_with_its_own_number_the_newer_has_the_name_that_programs_ask_for(
    machine: Machine,
) -> None:
    put_libraries(machine.root, V)
    for number in ("1.1.9", "1.1.13", "1.1.2"):
        write(machine.root / LIBRARIES / f"libnvidia-egl-gbm.so.{number}", compiled("libnvidia-egl-gbm.so.1"))
    for folder in LOADERS:
        assert machine.mounts()[f"{folder}/libnvidia-egl-gbm.so.1"] == f"/{LIBRARIES}/libnvidia-egl-gbm.so.1.1.13"
    write(machine.root / HOOK.lstrip("/"), "hook", 0o755)
    links = arguments(machine.files().common)["create-symlinks"]
    assert f"libnvidia-egl-gbm.so.1.1.13::/{LIBRARIES}/libnvidia-egl-gbm.so.1" in links
    assert sum("libnvidia-egl-gbm.so.1" in link.rpartition("/")[2] for link in links) == 1


def test_libraries_of_32_bits_are_left_out_wherever_they_lie(machine: Machine) -> None:
    put_libraries(machine.root, V, is_real=True)
    small = bytearray(compiled("libcuda.so.1"))
    small[4] = 1
    for folder in ("usr/lib", "usr/lib64", LIBRARIES):
        write(machine.root / folder / f"libcuda.so.{V}.old", bytes(small))
    write(machine.root / f"usr/lib/libcuda.so.{V}", bytes(small))
    write(machine.root / f"{LIBRARIES}/libnvidia-small.so.{V}", bytes(small))
    assert machine.libraries() == sorted(f"/{LIBRARIES}/{name}.so.{V}" for name in NAMES)


def test_a_folder_that_is_found_by_two_names_is_looked_into_once(machine: Machine) -> None:
    put_libraries(machine.root, V, folder="usr/lib64")
    (machine.root / "lib64").symlink_to("usr/lib64")
    assert machine.libraries() == sorted(f"/usr/lib64/{name}.so.{V}" for name in NAMES)


def test_a_library_behind_links_is_mounted_from_where_it_is(machine: Machine) -> None:
    put_libraries(machine.root, V, folder="opt/the driver")
    (machine.root / "usr/lib64").parent.mkdir(parents=True)
    (machine.root / "usr/lib64").symlink_to("/opt/the driver")
    found = machine.mounts(driver_root="/run/driver")
    assert found[f"{LOADERS[0]}/libcuda.so.{V}"] == f"/run/driver/opt/the driver/libcuda.so.{V}"


@pytest.mark.parametrize("target", ["../../../../outside", "/nowhere", "libcuda.so.{V}"])
def test_a_library_that_leads_out_of_the_root_or_nowhere_is_none(machine: Machine, tmp_path: Path, target: str) -> None:
    write(tmp_path / "outside", compiled("libcuda.so.1"))
    put_libraries(machine.root, V, names=NAMES[1:])
    (machine.root / LIBRARIES / f"libcuda.so.{V}").symlink_to(target.format(V=V))
    assert machine.files().problem


def test_unusual_folders_are_those_of_the_loaders_cache(machine: Machine) -> None:
    put_libraries(machine.root, V, folder="opt/lib")
    write(machine.root / "etc/ld.so.cache", b"glibc-ld.so.cache1.1\0libcuda.so.1\0/opt/lib/libcuda.so.1\0")
    assert f"/opt/lib/libcuda.so.{V}" in machine.libraries()


def test_what_was_found_can_be_written_whatever_is_in_the_folders(machine: Machine) -> None:
    put_libraries(machine.root, V)
    write(machine.root / LIBRARIES / f"a\nb.so.{V}", "")
    (machine.root / LIBRARIES / f"folder.so.{V}").mkdir()
    assert machine.libraries() == sorted(f"/{LIBRARIES}/{name}.so.{V}" for name in NAMES)


@pytest.mark.parametrize("path", [b"/lib/\xff", b"/lib/a\0b", b"\xff\xfe", b"/" + 2**16 * b"a"])
def test_a_folder_of_firmware_that_nobody_can_write_in_a_spec_is_left_out(machine: Machine, path: bytes) -> None:
    put_libraries(machine.root, V)
    write(machine.root / f"lib/firmware/nvidia/{V}/gsp_ga10x.bin", "firmware")
    write(machine.sysfs / "module/firmware_class/parameters/path", path)
    firmware = f"/lib/firmware/nvidia/{V}/gsp_ga10x.bin"
    assert machine.mounts()[firmware] == firmware
