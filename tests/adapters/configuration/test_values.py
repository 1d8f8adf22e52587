"""What each value may be, and what is said about one that may not, by flag and by variable."""

import pytest

from plugin_gateway.adapters.commands.run.settings_in_words import as_text
from plugin_gateway.core.errors import InvalidValueError

from .conftest import Read


@pytest.mark.parametrize("text", ["true", "True", "TRUE", "1", "t", "T", "yes", "on"])
def test_the_words_for_true(text: str, read: Read) -> None:
    assert read([f"--fail-on-init-error={text}"]).fail_on_init_error is True


@pytest.mark.parametrize("text", ["false", "False", "0", "f", "F", "no", "off"])
def test_the_words_for_false(text: str, read: Read) -> None:
    assert read((), {"PASS_DEVICE_SPECS": text}).pass_device_specs is False


@pytest.mark.parametrize(
    ("text", "path"), [("/", "/"), ("//", "/"), ("/run/nvidia/", "/run/nvidia"), ("/with blank", "/with blank")]
)
def test_a_path_ends_without_a_slash(text: str, path: str, read: Read) -> None:
    assert read([f"--driver-root={text}"]).driver_root == path


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("--api-version=v2", "--api-version: invalid value 'v2'; expected auto, v1beta1, v1alpha, v1alpha2, 0.1"),
        (
            "--api-version=V1beta1",
            "--api-version: invalid value 'V1beta1'; expected auto, v1beta1, v1alpha, v1alpha2, 0.1",
        ),
        (
            "--kubelet-version=1.37.2",
            "--kubelet-version: invalid value '1.37.2'; expected 1.8 or later without a patch, such as 1.37",
        ),
        (
            "--kubelet-version=1.08",
            "--kubelet-version: invalid value '1.08'; expected 1.8 or later without a patch, such as 1.37",
        ),
        ("--backend=cuda", "--backend: invalid value 'cuda'; expected auto, nvml, simulated:8xH100"),
        ("--log-level=loud", "--log-level: invalid value 'loud'; expected debug, info, warning, error"),
        ("--log-level=", "--log-level: invalid value ''; expected debug, info, warning, error"),
        ("--log-format=xml", "--log-format: invalid value 'xml'; expected auto, json, json-gcp, text"),
        ("--device-id-strategy=name", "--device-id-strategy: invalid value 'name'; expected uuid, index"),
        ("--fail-on-init-error=maybe", "--fail-on-init-error: invalid value 'maybe'; expected true or false"),
        ("--pass-device-specs=", "--pass-device-specs: invalid value ''; expected true or false"),
        ("--kubelet-dir=relative", "--kubelet-dir: invalid value 'relative'; expected an absolute path"),
        ("--kubelet-dir=", "--kubelet-dir: invalid value ''; expected an absolute path"),
        ("--dev-root=./here", "--dev-root: invalid value './here'; expected an absolute path"),
        ("--driver-root=/nul\0", r"--driver-root: invalid value '/nul\x00'; expected an absolute path"),
        (
            "--driver-root=/new\nline",
            r"--driver-root: invalid value '/new\nline'; expected an absolute path without control characters",
        ),
        (
            "--nvidia-cdi-hook-path=/tab\t",
            r"--nvidia-cdi-hook-path: invalid value '/tab\t'; expected an absolute path without control characters",
        ),
        ("--nvidia-driver-root=x", "--nvidia-driver-root: invalid value 'x'; expected an absolute path"),
        ("--config-file=here.yaml", "--config-file: invalid value 'here.yaml'; expected an absolute path"),
        ("--resource-name=gpu", "--resource-name: resource name 'gpu': it must have the form DOMAIN/NAME"),
        ("--resource-name=", "--resource-name: resource name '': it must have the form DOMAIN/NAME"),
    ],
)
def test_a_value_that_is_not_allowed_is_named_with_its_flag(argument: str, complaint: str, read: Read) -> None:
    with pytest.raises(InvalidValueError) as caught:
        read([argument])
    assert str(caught.value) == complaint


@pytest.mark.parametrize(
    ("variable", "text", "complaint"),
    [
        ("LOG_LEVEL", "loud", "invalid value 'loud'; expected debug, info, warning, error"),
        ("CONTAINER_DRIVER_ROOT", "x", "invalid value 'x'; expected an absolute path"),
        ("FAIL_ON_INIT_ERROR", " ", "invalid value ' '; expected true or false"),
        ("RESOURCE_NAME", "gpu", "resource name 'gpu': it must have the form DOMAIN/NAME"),
    ],
)
def test_a_value_that_is_not_allowed_is_named_with_its_variable(
    variable: str, text: str, complaint: str, read: Read
) -> None:
    with pytest.raises(InvalidValueError) as caught:
        read((), {variable: text})
    assert str(caught.value) == f"environment variable {variable}: {complaint}"


@pytest.mark.parametrize(("given", "shown"), [("43,31", "31,43"), ("all", "all"), ("xids,7", "all,7"), (" ", "")])
def test_xids_that_were_given_are_shown_as_they_can_be_given(given: str, shown: str, read: Read) -> None:
    assert as_text(read([f"--disable-healthchecks={given}"]), "disabled_healthchecks") == shown


def test_a_wrong_value_that_something_stronger_hides_is_no_error(read: Read) -> None:
    assert read(["--log-level=info"], {"LOG_LEVEL": "loud"}).log_level == "info"


@pytest.mark.parametrize(
    ("flags", "root"),
    [
        ((), "/"),
        (("--driver-root=/run/nvidia",), "/run/nvidia"),
        (("--driver-root=/run/nvidia", "--driver-root-ctr-path=/driver-root"), "/driver-root"),
        (("--driver-root-ctr-path=/driver-root",), "/driver-root"),
        (("--driver-root-ctr-path=/driver-root", "--dev-root=/host"), "/host"),
    ],
)
def test_device_nodes_are_looked_for_where_this_process_sees_them(
    flags: tuple[str, ...], root: str, read: Read
) -> None:
    """In a container the host's root lies elsewhere; the kubelet is told the host's paths all the same."""
    assert read(flags).visible_dev_root == root
