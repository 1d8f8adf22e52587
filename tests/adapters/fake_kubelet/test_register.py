"""What each release answers to Register, and when."""

import asyncio
from pathlib import Path

import grpc
import pytest

from adapters.fake_kubelet.counts import ALL, MODERN, V1BETA1, Counts, counts, needs_pre_start, reach, with_options
from adapters.fake_kubelet.plugin import OK, RESOURCE, Plugin
from plugin_gateway.adapters.fake_kubelet import EventKind, FakeKubelet, release

VERSION_ERRORS = {
    "1.8": "unsupported API version by the Kubelet registry",
    "1.9": 'requested API version "v9" is not supported by kubelet. Supported version is "v1alpha2"',
    "1.10": 'requested API version "v9" is not supported by kubelet. Supported versions are ["v1beta1"]',
    "1.36": 'requested API version "v9" is not supported by kubelet. Supported version is ["v1beta1"]',
    "1.37": 'requested API version "v9" is not supported by kubelet. Supported version is ["v1beta1"]',
}


@pytest.mark.parametrize("name", ALL)
async def test_it_refuses_in_the_words_of_its_release(name: str, kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release(name)) as kubelet, Plugin(kubelet_dir, release(name)) as plugin:
        assert await plugin.register(version="v9") == (grpc.StatusCode.UNKNOWN, VERSION_ERRORS[name])
        other = "v1beta1" if kubelet.release.package == "deviceplugin" else "deviceplugin"
        words = f"unknown service {other}.Registration"
        assert await plugin.register(package=other) == (grpc.StatusCode.UNIMPLEMENTED, words)
        code, words = await plugin.register(method="Enlist")
        assert (code, words.startswith("unknown method Enlist")) == (grpc.StatusCode.UNIMPLEMENTED, True)
        assert kubelet.resources == []


@pytest.mark.parametrize(
    ("resource", "refusing"),
    [
        ("", ALL),
        ("thing", ALL),
        ("my.kubernetes.io/thing", ALL),
        ("mykubernetes.io/thing", ALL),
        ("Example.com/thing", V1BETA1),
        ("example.com/thi ng", V1BETA1),
        ("requests.example.com/thing", V1BETA1),
        ("example.com/" + "x" * 64, V1BETA1),
        ("example.com/" + "x" * 63, ()),
    ],
)
@pytest.mark.parametrize("name", ALL)
async def test_it_takes_the_names_that_its_release_takes(
    name: str, resource: str, refusing: tuple[str, ...], kubelet_dir: Path
) -> None:
    async with FakeKubelet(kubelet_dir, release(name)), Plugin(kubelet_dir, release(name)) as plugin:
        code, words = await plugin.register(name=resource)
        assert code is (grpc.StatusCode.UNKNOWN if name in refusing else grpc.StatusCode.OK)
        if name in refusing:
            expected = {"1.8": "the ResourceName is invalid"}.get(name, f'the ResourceName "{resource}" is invalid')
            assert words == ("invalid Empty ResourceName" if (name, resource) == ("1.8", "") else expected)


@pytest.mark.parametrize("name", MODERN)
async def test_from_1_25_on_register_waits_for_the_dial_back_and_fails_with_it(name: str, kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release(name), dial_timeout=0.2) as kubelet:
        nowhere = Plugin(kubelet_dir, release(name), "nowhere.sock")
        words = "failed to dial device plugin: context deadline exceeded"
        assert await nowhere.register() == (grpc.StatusCode.UNKNOWN, words)
        assert kubelet.resources == []
        async with Plugin(kubelet_dir, release(name)) as plugin:
            plugin.answers = {"GetDevicePluginOptions": "no"}
            code, words = await plugin.register()
            assert code is grpc.StatusCode.UNKNOWN
            assert words == "failed to get device plugin options: rpc error: code = Internal desc = no"
            plugin.answers = {}
            assert await plugin.register() == OK
            await reach(kubelet, (2, 2))


@pytest.mark.parametrize(("name", "after"), [("1.8", (None, None)), ("1.9", (0, 0)), ("1.10", (None, None))])
async def test_before_that_a_dial_back_that_fails_is_told_to_nobody(
    name: str, after: Counts, kubelet_dir: Path
) -> None:
    ends = asyncio.Event()

    def look(event: object) -> None:
        if getattr(event, "kind", None) in {EventKind.DIAL_BACK_FAILED, EventKind.STREAM_ENDED}:
            ends.set()

    async with FakeKubelet(kubelet_dir, release(name), dial_timeout=0.2, on_event=look) as kubelet:
        assert await Plugin(kubelet_dir, release(name), "nowhere.sock").register() == OK
        await asyncio.wait_for(ends.wait(), 5)
        assert counts(kubelet) == after


async def test_1_10_keeps_the_options_of_an_earlier_registration(kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release("1.10")) as kubelet, Plugin(kubelet_dir, release("1.10")) as plugin:
        await with_options(kubelet, plugin, needs_pre_start)
        plugin.options.Clear()
        assert await plugin.register() == OK
        await kubelet.wait_for(lambda: len(kubelet.lists) == 2, what="the second list")
        await kubelet.allocate(RESOURCE, pod="p")
        assert "PreStartContainer" in plugin.called
        assert "GetDevicePluginOptions" not in plugin.called
