"""Scenarios in which calls and answers fail, or coincide with another event."""

import asyncio

import grpc
import grpc.aio

from adapters.fake_kubelet.plugin import healthy
from kubelets.scenarios import ASK, PAUSE, Scenarios
from kubelets.scene import Scene
from plugin_gateway.api.v1beta1 import api_pb2 as wire

SCENARIOS = Scenarios()
scenario = SCENARIOS.add

NO_MESSAGE = b"\x0a\xff"
"""Bytes that are no protobuf message."""
LIMIT = 4 * 1024 * 1024
"""Bytes of one message, in releases that have a limit."""
SLOW, SOON = 0.8, 0.3
"""Seconds that Allocate takes, and seconds until something else happens during it."""


@scenario
async def asked_as_the_stream_ends(scene: Scene) -> None:
    async with scene.plugin() as plugin:
        await scene.register(plugin)
        await scene.counts("registered")
        plugin.delays = {"Allocate": SLOW}
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(scene.allocate("asked", 1, "p"))
            await asyncio.sleep(SOON)
            plugin.end_streams()
        await scene.counts("then")


@scenario
async def asked_as_another_registers(scene: Scene) -> None:
    async with scene.plugin() as plugin, scene.plugin("two.sock", "cd") as other:
        await scene.register(plugin)
        await scene.counts("registered")
        plugin.delays = {"Allocate": SLOW}
        known = len(scene.lines)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(scene.allocate("asked", 1, "p"))
            await asyncio.sleep(SOON)
            await scene.register(other)
        scene.lines[known:] = sorted(scene.lines[known:])  # either can be first


@scenario
async def asked_as_the_device_vanishes(scene: Scene) -> None:
    async with scene.plugin() as plugin:
        await scene.register(plugin)
        await scene.counts("registered")
        plugin.delays = {"Allocate": SLOW}
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(scene.allocate("asked", 2, "p"))
            await asyncio.sleep(SOON)
            plugin.list(("c", "Healthy"))


@scenario
async def two_pods_at_once(scene: Scene) -> None:
    async with scene.plugin(ids="abc") as plugin:
        await scene.register(plugin)
        await scene.counts("registered")
        plugin.delays = {"Allocate": SLOW}
        known = len(scene.lines)
        async with asyncio.TaskGroup() as tasks:
            for pod in ("p", "q"):
                tasks.create_task(scene.allocate("two of three", 2, pod))
        scene.lines[known:] = sorted(scene.lines[known:])


@scenario
async def no_list_yet(scene: Scene) -> None:
    async with scene.plugin() as plugin:
        plugin.silent = True
        await scene.register(plugin)
        await scene.counts("registered")
        await scene.allocate("a pod", 1, "p")
        await scene.remove("p")
        await scene.kubelet.restart_as()
        await scene.counts("another kubelet")


@scenario
async def unreadable_answers(scene: Scene) -> None:
    async with scene.plugin(ids="abcd") as plugin:
        good = plugin.answers
        plugin.options = wire.DevicePluginOptions(pre_start_required=True, get_preferred_allocation_available=True)
        await scene.register(plugin)
        await scene.counts("registered")
        for method in ("GetPreferredAllocation", "PreStartContainer"):
            plugin.answers = {**good, method: NO_MESSAGE}
            await scene.allocate(method, 1, method)
            await scene.remove(method)
        plugin.answers = {"Allocate": bytes(good["Allocate"]).replace(b"first", b"fi\xff\xfet")}  # type: ignore[arg-type]
        await scene.allocate("a variable that is not UTF-8", 1, "p")
        await scene.remove("p")
    await asyncio.sleep(PAUSE)
    async with scene.plugin("two.sock") as plugin:
        plugin.answers = {**plugin.answers, ASK: NO_MESSAGE}
        await scene.register(plugin, "options")
        await scene.counts("then")


@scenario
async def large_answers(scene: Scene) -> None:
    if scene.release.list_limit < 0:
        return
    async with scene.plugin() as plugin:
        await scene.register(plugin)
        await scene.counts("registered")
        large = wire.ContainerAllocateResponse(envs={"A": "x" * LIMIT})
        plugin.answers = {"Allocate": wire.AllocateResponse(container_responses=[large]).SerializeToString()}
        await scene.allocate("too large", 1, "p")


@scenario
async def no_devices_wanted(scene: Scene) -> None:
    async with scene.plugin() as plugin:
        await scene.register(plugin)
        await scene.counts("registered")
        plugin.called.clear()
        await scene.allocate("none", 0, "p")
        await scene.start("again", "p")
        scene.called("calls", plugin)


@scenario
async def cdi_names_twice(scene: Scene) -> None:
    if scene.release.package == "deviceplugin":
        return
    async with scene.plugin() as plugin:
        await scene.register(plugin)
        await scene.counts("registered")
        names = [wire.CDIDevice(name=name) for name in ("v.com/c=d", "v.com/c=e", "v.com/c=d")]
        answer = wire.AllocateResponse(container_responses=[wire.ContainerAllocateResponse(cdi_devices=names)])
        plugin.answers = {"Allocate": answer.SerializeToString()}
        await scene.allocate("three names", 1, "p")


@scenario
async def start_after_the_end(scene: Scene) -> None:
    if scene.release.package == "deviceplugin":
        return
    async with scene.plugin() as plugin:
        plugin.options = wire.DevicePluginOptions(pre_start_required=True)
        await scene.register(plugin)
        await scene.counts("registered")
        await scene.allocate("one", 1, "p")
        plugin.end_streams()
        await scene.counts("the stream ends")
        await scene.start("again", "p")
        await scene.kubelet.restart_as()
        await scene.start("with another kubelet", "p")


@scenario
async def an_older_stream_lists(scene: Scene) -> None:
    async with scene.plugin("one.sock") as older, scene.plugin("two.sock") as newer:
        await scene.register(older)
        await scene.counts("one")
        await scene.register(newer)
        await scene.counts("two")
        newer.end_streams()
        await scene.counts("the newer ends")
        await asyncio.sleep(PAUSE)
        scene.tell("streams", (older.streams, newer.streams))
        older.list(*healthy("a", "c").items())
        await scene.counts("the older lists")
        older.called.clear()
        await scene.allocate("a pod", 1, "p")
        scene.called("calls of the older", older)
        await scene.kubelet.age(310)
        await scene.counts("after the grace time")
        await scene.allocate("another pod", 1, "q")


@scenario
async def names_of_endpoints(scene: Scene) -> None:
    async with scene.plugin() as plugin:
        for number, name in enumerate(("./thing.sock", "/thing.sock", "sub/../thing.sock")):
            plugin.name = name
            await scene.register(plugin, name, name=f"example.com/thing-{number}")
            await scene.counts(name, f"example.com/thing-{number}")


@scenario
async def odd_registrations(scene: Scene) -> None:
    async with scene.plugin() as plugin:
        for name in ('a"b', "a\tb", "pod.alpha.kubernetes.io/opaque-int-resource-x"):
            await scene.register(plugin, repr(name), name=name)
        await scene.register(plugin, "a version with a quote", version='v"1')
        await scene.send_registration("no message", NO_MESSAGE)
        request = wire.RegisterRequest(version=scene.release.api_version, endpoint="qq", resource_name="a.b/c")
        await scene.send_registration("no UTF-8", request.SerializeToString().replace(b"qq", b"\xff\xfe"))
        await scene.send_registration("too large", wire.RegisterRequest(version="q" * LIMIT).SerializeToString())


@scenario
async def a_code_of_every_kind(scene: Scene) -> None:
    async with scene.plugin() as plugin:
        await scene.register(plugin)
        await scene.counts("registered")
        for code in (grpc.StatusCode.CANCELLED, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNKNOWN):
            plugin.code = code
            plugin.answers = {"Allocate": "words"}
            await scene.allocate(code.name, 1, code.name)
            await scene.remove(code.name)
