"""The options about CDI specs."""

import pytest

from plugin_gateway.adapters.configuration.options import Options
from plugin_gateway.core.errors import InvalidValueError

from .conftest import Read


def test_nothing_is_asked_for_by_default(read: Read) -> None:
    settings = read()
    assert not settings.needs_specs
    assert (str(settings.cdi_spec_dir), settings.cdi_annotation_prefix) == ("/var/run/cdi", "cdi.k8s.io/")
    assert (settings.nvidia_cdi_hook_path, settings.cdi_disable_hooks) == ("", ())


def test_what_the_gpu_operator_sets_is_taken(read: Read) -> None:
    settings = read(
        (),
        {
            "DEVICE_LIST_STRATEGY": "cdi-annotations,cdi-cri",
            "CDI_ANNOTATION_PREFIX": "cdi.k8s.io/",
            "NVIDIA_CDI_HOOK_PATH": "/usr/local/nvidia/toolkit/nvidia-cdi-hook",
        },
    )
    assert settings.needs_specs
    assert settings.nvidia_cdi_hook_path == "/usr/local/nvidia/toolkit/nvidia-cdi-hook"


def test_the_older_names_of_the_hook_are_taken(read: Read) -> None:
    assert read(["--nvidia-ctk-path=/a"]).nvidia_cdi_hook_path == "/a"
    assert read((), {"NVIDIA_CTK_PATH": "/b"}).nvidia_cdi_hook_path == "/b"
    assert read((), {}, "version: v1\nflags: {plugin: {nvidiaCTKPath: /c}}").nvidia_cdi_hook_path == "/c"


def test_the_hook_is_a_file_and_no_folder() -> None:
    assert Options.nvidia_cdi_hook_path.kind.metavar == "FILE"


def test_hooks_are_named_with_commas(read: Read) -> None:
    assert read(["--cdi-disable-hooks=all, chmod"]).cdi_disable_hooks == ("all", "chmod")


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--cdi-annotation-prefix=cdi.k8s.io", "expected a DNS name with a slash behind it"),
        ("--cdi-annotation-prefix=a b/", "'a b/'; expected"),
        ("--cdi-annotation-prefix=a..b/", "'a..b/'; expected"),
        ("--cdi-disable-hooks=none", "invalid value 'none'; expected all, create-symlinks"),
        ("--cdi-spec-dir=cdi", "invalid value 'cdi'; expected an absolute path"),
        ("--nvidia-cdi-hook-path=hook", "invalid value 'hook'; expected an absolute path"),
    ],
)
def test_what_is_not_allowed_is_named(flag: str, said: str, read: Read) -> None:
    with pytest.raises(InvalidValueError) as caught:
        read([flag])
    assert said in str(caught.value)


@pytest.mark.parametrize("value", ["disable-nvsandboxutils", "no-additional-gids-for-device-nodes"])
def test_features_that_are_so_anyway_are_taken(value: str, read: Read) -> None:
    assert read((), {"CDI_FEATURE_FLAGS": value}) == read()
