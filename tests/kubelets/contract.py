"""Scenarios of a device plugin with a kubelet. Each is played to a genuine and to a fake kubelet of a release.

A scenario writes plain lines about what the plugin saw, and both kubelets must lead to the same lines. Genuine kubelets
choose devices at random, so no line names them.
"""

import asyncio
from collections.abc import Sequence

from adapters.fake_kubelet.plugin import healthy, not_utf8
from kubelets.scenarios import ASK, PAUSE, Scenarios
from kubelets.scene import Scene
from plugin_gateway.api.v1beta1 import api_pb2 as wire

SCENARIOS = Scenarios()
scenario = SCENARIOS.add


@scenario
async def refusals(scene: Scene) -> None:
    async with scene.plugin() as plugin:
        for version in ("v9", "v1alpha2", "0.1", "v1beta1", ""):
            if version != scene.release.api_version:
                await scene.register(plugin, f"version {version!r}", version=version)
        other = "v1beta1" if scene.release.package == "deviceplugin" else "deviceplugin"
        await scene.register(plugin, "another package", package=other)
        await scene.register(plugin, "another method", method="Nonsense")
        for name in ("", "noslash", "foo.kubernetes.io/x", "requests.foo.com/x"):
            await scene.register(plugin, f"name {name!r}", name=name)
        if scene.release.strict_names:
            for name in ("Foo.com/x", "foo.com/" + "x" * 64):
                await scene.register(plugin, f"name {name!r}", name=name)
        await scene.counts("then")
        scene.called("calls", plugin)


@scenario
async def basics(scene: Scene) -> None:
    async with scene.plugin() as plugin:
        await scene.register(plugin)
        await scene.counts("registered")
        scene.tell("user agent", [agent.split()[0] for agent in plugin.agents])
        scene.called("calls of the registration", plugin)
        await scene.allocate("both", 2, "p")
        scene.called("calls", plugin)
        await scene.start("started again", "p")
        scene.called("calls", plugin)
        await scene.allocate("one more", 1, "q")
        await scene.counts("with both given out")
        await scene.remove("p")
        await scene.allocate("after they were given back", 1, "r")


@scenario
async def lists(scene: Scene) -> None:
    async with scene.plugin() as plugin:
        await scene.register(plugin)
        await scene.counts("registered")
        for what, devices in (
            ("one unhealthy", [("a", "Unhealthy"), ("b", "Healthy")]),
            ("well again", [("a", "Healthy"), ("b", "Healthy")]),
            ("lower case", [("a", "healthy"), ("b", "Healthy")]),
            ("no word", [("a", ""), ("b", "Healthy")]),
            ("one more", [("a", "Healthy"), ("b", "Healthy"), ("c", "Healthy")]),
            ("all unhealthy", [("a", "Unhealthy"), ("b", "Unhealthy"), ("c", "Unhealthy")]),
            ("one less", [("a", "Healthy"), ("b", "Healthy")]),
            ("one id twice", [("a", "Healthy"), ("a", "Healthy"), ("b", "Healthy")]),
            ("healthy, then unhealthy", [("a", "Healthy"), ("a", "Unhealthy"), ("b", "Healthy")]),
            ("well again", [("a", "Healthy"), ("b", "Healthy")]),
            ("unhealthy, then healthy", [("a", "Unhealthy"), ("a", "Healthy"), ("b", "Healthy")]),
            ("odd ids", [("a b/c", "Healthy"), ("", "Healthy"), ("x" * 300, "Healthy")]),
            ("none", []),
            ("two", [("a", "Healthy"), ("b", "Healthy")]),
        ):
            plugin.list(*devices)
            await scene.counts(what)
        scene.tell("streams", plugin.streams)


@scenario
async def stream_end(scene: Scene) -> None:
    await scene.allocate("of an unknown resource", 1, "unknown")
    await scene.remove("unknown")
    async with scene.plugin() as plugin:
        await scene.register(plugin)
        await scene.counts("registered")
        await scene.allocate("one", 1, "p")
        plugin.end_streams()
        await scene.counts("stream ended")
        await scene.start("its container again", "p")
        await scene.allocate("another pod", 1, "q")
        await asyncio.sleep(0.1)
        scene.tell("streams", plugin.streams)
    async with scene.plugin("next.sock") as plugin:
        await scene.register(plugin, "register another")
        await scene.counts("then")
        await scene.allocate("a third pod", 1, "r")
        await scene.allocate("a fourth pod", 1, "s")
    await scene.counts("server gone")
    async with scene.plugin("next.sock") as plugin:
        await scene.counts("serves again without registering")
        scene.tell("streams", plugin.streams)


@scenario
async def second_plugin(scene: Scene) -> None:
    async with scene.plugin("one.sock", "ab") as first:
        await scene.register(first)
        await scene.counts("first")
        async with scene.plugin("two.sock", "cde") as second:
            await scene.register(second, "register second")
            await scene.counts("second")
            scene.tell("streams of both", (first.streams, second.streams))
            first.called.clear()
            second.called.clear()
            await scene.allocate("two", 2, "p")
            scene.called("calls of the first", first)
            scene.called("calls of the second", second)
            await scene.remove("p")
            first.list(("a", "Healthy"), ("b", "Unhealthy"))
            await scene.counts("the first changes")
            second.list(*healthy("c", "d").items())
            await scene.counts("the second changes")
            first.end_streams()
            await scene.counts("the first ends")
            scene.tell("streams of both", (first.streams, second.streams))
            second.list(("c", "Healthy"), ("d", "Unhealthy"))
            await scene.counts("the second changes")
        await scene.counts("the second is gone")
        async with scene.plugin("three.sock", "fgh") as third:
            await scene.register(third, "register third")
            await scene.counts("third")


@scenario
async def same_path(scene: Scene) -> None:
    async with scene.plugin() as plugin:
        await scene.register(plugin)
        await scene.counts("registered")
        await scene.register(plugin, "register again")
        await scene.counts("then")
        scene.tell("streams", plugin.streams)
        await scene.register(plugin, "and again")
        await scene.counts("then")
        plugin.list(*healthy("a", "b", "c").items())
        await scene.counts("one more device")
    await scene.counts("server gone")
    async with scene.plugin() as plugin:
        await scene.register(plugin, "another instance, same path")
        await scene.counts("then")
    await asyncio.sleep(PAUSE)
    async with scene.plugin("other.sock") as plugin:
        await scene.register(plugin, "another path")
        await scene.counts("then")
    await scene.counts("server gone")


@scenario
async def nobody_listens(scene: Scene) -> None:
    plugin = scene.plugin()
    if scene.release.dial_back.name != "INSIDE":
        await scene.register(plugin, "nobody serves")
        await scene.counts("then")
        await asyncio.sleep(0.5)
    async with plugin:
        await asyncio.sleep(2.5)
        await scene.counts("served late")
        await scene.register(plugin)
        await scene.counts("registered again")


@scenario
async def options(scene: Scene) -> None:
    both = wire.DevicePluginOptions(pre_start_required=True, get_preferred_allocation_available=True)
    async with scene.plugin("one.sock", "abcdef") as plugin:
        plugin.options = both
        await scene.register(plugin)
        await scene.counts("registered")
        scene.called("calls", plugin)
        await scene.allocate("two of six", 2, "p")
        scene.called("calls", plugin)
        await scene.start("started again", "p")
        scene.called("calls", plugin)
        plugin.answers = {**plugin.answers, "PreStartContainer": "not ready"}
        await scene.start("not ready", "p")
        plugin.answers = {**plugin.answers, "GetPreferredAllocation": "no preference"}
        await scene.allocate("no preference", 2, "q")
    await scene.counts("gone")
    await scene.remove("p")
    await scene.remove("q")
    async with scene.plugin("two.sock", "abcdef") as plugin:
        await scene.register(plugin, "register without options")
        await scene.counts("then")
        plugin.called.clear()
        await scene.allocate("two of six", 2, "r")
        scene.called("calls", plugin)


@scenario
async def preferences(scene: Scene) -> None:
    async with scene.plugin(ids="abcdef") as plugin:
        plugin.options = wire.DevicePluginOptions(get_preferred_allocation_available=True)
        await scene.register(plugin)
        await scene.counts("registered")
        if not scene.release.prefers:
            return
        for what, preferred in (
            ("as many as wanted", "ef"),
            ("too few", "e"),
            ("too many", "def"),
            ("unknown ones", "xy"),
            ("one twice", "ee"),
            ("nothing", ""),
        ):
            plugin.answers = {**plugin.answers, "GetPreferredAllocation": preference([preferred])}
            await scene.allocate(what, 2, what)
            given = allocated(plugin.requests["Allocate"])
            scene.tell("given", f"{len(given)}, of those preferred {len(given & set(preferred))}")
            await scene.remove(what)
        asked = wire.PreferredAllocationRequest.FromString(plugin.requests["GetPreferredAllocation"])
        scene.tell("asked", [sorted(each.available_deviceIDs) for each in asked.container_requests])
        for what, answer in (("no container", []), ("two containers", ["ab", "cd"])):
            plugin.answers = {**plugin.answers, "GetPreferredAllocation": preference(answer)}
            await scene.allocate(what, 2, what)
            await scene.remove(what)


def preference(containers: Sequence[str]) -> bytes:
    responses = [wire.ContainerPreferredAllocationResponse(deviceIDs=ids) for ids in containers]
    return wire.PreferredAllocationResponse(container_responses=responses).SerializeToString()


def allocated(request: bytes) -> set[str]:
    return {each for asked in wire.AllocateRequest.FromString(request).container_requests for each in asked.devices_ids}


@scenario
async def answers(scene: Scene) -> None:
    if scene.release.package == "deviceplugin":
        return
    async with scene.plugin() as plugin:
        await scene.register(plugin)
        await scene.counts("registered")
        one, two = (wire.ContainerAllocateResponse(envs={"A": number}) for number in "12")
        for what, containers in (("an empty container", [wire.ContainerAllocateResponse()]), ("two", [one, two])):
            answer = wire.AllocateResponse(container_responses=containers)
            plugin.answers = {"Allocate": answer.SerializeToString()}
            await scene.allocate(what, 1, what)
            await scene.remove(what)
        plugin.answers = {"Allocate": b"\x0a\xff"}
        await scene.allocate("no answer at all", 1, "p")


@scenario
async def option_errors(scene: Scene) -> None:
    async with scene.plugin() as plugin:
        plugin.answers = {**plugin.answers, "GetDevicePluginOptions": "no options"}
        await scene.register(plugin, "the options are an error")
        await scene.counts("then")
    async with scene.plugin("next.sock") as plugin:
        plugin.unknown = {"GetDevicePluginOptions"}
        await scene.register(plugin, "they are unknown")
        await scene.counts("then")
    async with scene.plugin("third.sock") as plugin:
        plugin.options = wire.DevicePluginOptions(pre_start_required=True)
        await scene.register(plugin, "they are there")
        await scene.counts("then")
        await scene.allocate("both", 2, "p")
        scene.tell("seconds", {each: left and round(left) for each, left in plugin.deadlines.items() if each != ASK})
    await scene.counts("gone")


@scenario
async def slow_options(scene: Scene) -> None:
    async with scene.plugin() as plugin:
        plugin.delays = {ASK: 0.6}
        code, _ = await plugin.register(seconds=0.3)
        scene.tell("register", "OK" if code.name == "OK" else "failed")  # either side's deadline can be first
        await scene.counts("then")
        scene.tell("streams", plugin.streams)
    await scene.counts("gone")
    async with scene.plugin("next.sock") as plugin:
        await scene.register(plugin)
        await scene.counts("then")
        scene.tell("streams", plugin.streams)


@scenario
async def served_late(scene: Scene) -> None:
    plugin = scene.plugin()
    registering = asyncio.ensure_future(scene.register(plugin))
    await asyncio.sleep(0.5)
    async with plugin:
        await registering
        await asyncio.sleep(2)
        await scene.counts("then")
        scene.tell("streams", plugin.streams)


@scenario
async def plugin_errors(scene: Scene) -> None:
    async with scene.plugin() as plugin:
        await scene.register(plugin)
        await scene.counts("registered")
        plugin.answers = {"Allocate": "no luck"}
        await scene.allocate("an error", 1, "p")
        await scene.remove("p")
        plugin.answers = {"Allocate": b""}
        await scene.allocate("an empty answer", 1, "q")


@scenario
async def restart(scene: Scene) -> None:
    async with scene.plugin() as plugin:
        await scene.register(plugin)
        await scene.counts("registered")
        await scene.allocate("one", 1, "p")
        await scene.kubelet.restart_as()
        await scene.counts("after the restart, not registered")
        await scene.start("its container again", "p")
        await scene.allocate("another pod", 1, "q")
        scene.called("calls", plugin)
    async with scene.plugin("next.sock") as plugin:
        await scene.register(plugin, "register again")
        await scene.counts("then")
        await scene.start("its container again", "p")
        await scene.allocate("another pod", 1, "r")
        await scene.allocate("too many", 1, "s")


@scenario
async def grace(scene: Scene) -> None:
    async with scene.plugin() as plugin:
        await scene.register(plugin)
        await scene.counts("registered")
        await scene.allocate("one", 1, "p")
        plugin.end_streams()
        await scene.counts("stream ended")
        await scene.kubelet.age(290)
        await scene.counts("290 s later")
        await scene.kubelet.age(20)
        await scene.counts("310 s later")
        await scene.allocate("another pod", 1, "q")
        await scene.start("the container again", "p")
        await scene.readmit("the pod again", "p")
    async with scene.plugin("next.sock") as plugin:
        await scene.register(plugin, "register again")
        await scene.counts("then")
        await scene.allocate("another pod", 1, "r")
        await scene.kubelet.restart_as()
        await scene.counts("after a restart, not registered")
        await scene.kubelet.age(310)
        await scene.counts("310 s later")
        await scene.allocate("another pod", 1, "s")


@scenario
async def grace_without_pods(scene: Scene) -> None:
    async with scene.plugin() as plugin:
        await scene.register(plugin)
        await scene.counts("registered")
        plugin.end_streams()
        await scene.counts("stream ended")
        await scene.kubelet.age(310)
        await scene.counts("310 s later")
        await scene.allocate("a pod", 1, "q")


@scenario
async def readmission(scene: Scene) -> None:
    async with scene.plugin() as plugin:
        await scene.register(plugin)
        await scene.counts("registered")
        await scene.allocate("both", 2, "p")
        await scene.readmit("again", "p")
        plugin.list(("a", "Healthy"), ("b", "Unhealthy"))
        await scene.counts("one unhealthy")
        await scene.start("the container again", "p")
        await scene.readmit("the pod again", "p")
        plugin.list(("a", "Unhealthy"), ("b", "Unhealthy"))
        await scene.counts("both unhealthy")
        await scene.readmit("the pod again", "p")
        plugin.list(*healthy("c", "d").items())
        await scene.counts("others")
        await scene.readmit("the pod again", "p")
        await scene.kubelet.restart_as()
        await scene.readmit("after a restart, not registered", "p")


@scenario
async def directory(scene: Scene) -> None:
    folder = scene.kubelet.directory
    (folder / "folder").mkdir()
    (folder / "folder" / "file").touch()
    (folder / "file").touch()
    (folder / "link to a file").symlink_to("file")
    (folder / "link to a folder").symlink_to("folder")
    (folder / "link to nothing").symlink_to("nothing")
    async with scene.plugin() as plugin:
        (folder / "link to a socket").symlink_to(plugin.name)
        await scene.register(plugin)
        await scene.counts("registered")
        scene.files("then")
        await scene.kubelet.kill()
        scene.files("killed")
        await scene.kubelet.start()
        scene.files("started again")


@scenario
async def odd_bytes(scene: Scene) -> None:
    async with scene.plugin() as plugin:
        await scene.register(plugin)
        await scene.counts("registered")
        plugin.send(not_utf8([("a", "Healthy"), ("bb", "Healthy")], "bb"))
        await scene.counts("an id that is not UTF-8")
        scene.tell("streams", plugin.streams)
        plugin.send(b"\x0a\xff")
        await scene.counts("no list at all")


@scenario
async def large_lists(scene: Scene) -> None:
    async with scene.plugin() as plugin:
        await scene.register(plugin)
        await scene.counts("registered")
        for number in (70_000, 80_000):
            plugin.list(*((f"{index:040}", "Healthy") for index in range(number)))
            await asyncio.sleep(1)
            await scene.counts(f"{number} devices")
        scene.tell("streams", plugin.streams)
