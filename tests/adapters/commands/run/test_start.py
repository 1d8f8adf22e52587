"""What a start costs: everything that is imported before the kubelet knows of us delays a container."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from driver.driver import Driver
from harness.node import RESOURCE, until
from plugin_gateway.adapters.commands.run import process
from plugin_gateway.adapters.commands.run.command import NEVER_USED
from plugin_gateway.adapters.dialects.dialect import UNUSED_PARTS
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.support.lean_imports import deferred

NEVER = (
    "_ssl",
    "argparse",
    "difflib",
    "gettext",
    "google.protobuf.text_format",
    "grpc_reflection.v1alpha.reflection",
    "importlib.metadata",
    "plugin_gateway.adapters.cluster",
    "plugin_gateway.adapters.commands.run.cdi_writer",
    "plugin_gateway.adapters.commands.run.cluster_reporting",
    "plugin_gateway.adapters.commands.run.node_configuration",
    "plugin_gateway.adapters.commands.run.node_labelling",
    "plugin_gateway.adapters.configuration.config_folder",
    "plugin_gateway.adapters.gateway.spec_files",
    "plugin_gateway.adapters.gateway.specs",
    "plugin_gateway.core.cdi",
    "plugin_gateway.core.labels",
    "plugin_gateway.core.resources.cdi_names",
    "plugin_gateway.core.resources.cdi_specs",
    "plugin_gateway.core.resources.extras",
    "plugin_gateway.nvidia.injection",
    "plugin_gateway.nvidia.label_facts",
    "plugin_gateway.nvidia.labels",
    "ipaddress",
    "rich",
    "structlog.stdlib",
    "structlog.twisted",
    "yaml",
)
"""Of other commands, of rare cases, and of libraries for what this process never does."""


RUN = (
    "import sys\n"
    "from plugin_gateway.__main__ import main\n"
    "status = main(sys.argv[1:])\n"
    "print(*[name for name, module in sys.modules.items() if type(module).__name__ != '_LazyModule'])\n"
    "sys.exit(status)\n"
)
"""Tells at its end what it imported and looked into."""


class Told:
    """What a gateway has told at its end."""

    output = ""
    errors = ""


@asynccontextmanager
async def telling(code: str, kubelet_dir: Path, driver: Driver, state_dir: Path, *flags: str) -> AsyncIterator[Told]:
    """Run a gateway by this code until the kubelet knows its devices and the block has ended, and have it end well."""
    told = Told()
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, "run", "--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root),
            *flags, env={**driver.environment, "STATE_DIR": str(state_dir)},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, timeout=10, what="8 devices")
            yield told
        finally:
            child.terminate()
            output, errors = await asyncio.wait_for(child.communicate(), 10)
            told.output, told.errors = output.decode(), errors.decode()
        assert child.returncode == 0


async def test_run_imports_nothing_that_it_does_not_use(kubelet_dir: Path, driver: Driver, state_dir: Path) -> None:
    async with telling(RUN, kubelet_dir, driver, state_dir) as told:
        pass
    imported = set(told.output.split())
    assert {"pynvml", "grpc", "plugin_gateway.api.v1beta1.api_pb2"} <= imported
    about_mig = {name for name in imported if name.startswith("plugin_gateway.nvidia.mig")}
    assert about_mig == {"plugin_gateway.nvidia.mig_reader"}, "no GPU is in MIG mode"
    assert not imported & set(NEVER)


ON_THE_LOOP = (
    "import asyncio, sys, threading\n"
    "from plugin_gateway.__main__ import main\n"
    "class Noticing:\n"
    "    def find_spec(self, name, path=None, target=None):\n"
    "        if name.startswith('plugin_gateway.') and asyncio._get_running_loop() is not None:\n"
    "            print(name)\n"
    "sys.meta_path.insert(0, Noticing())\n"
    "sys.exit(main(sys.argv[1:]))\n"
)
"""Tells which modules were looked for in the thread of the event loop. A call of the kubelet waits meanwhile."""
AFTER_THE_START = (
    "control",
    "monitoring",
    "cluster",
    "commands.run.process_status",
    "gateway.device_counter",
    "gateway.known_devices",
    "gateway.machine_name",
    "gateway.status",
)
ROOMS = ("plugin_gateway.nvidia", "plugin_gateway.core.labels")
LATER = (*ROOMS, *(f"plugin_gateway.adapters.{name}" for name in AFTER_THE_START))


async def test_what_is_imported_after_the_start_is_imported_beside_the_event_loop(
    kubelet_dir: Path, driver: Driver, state_dir: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with telling(
        ON_THE_LOOP,
        kubelet_dir,
        driver,
        state_dir,
        f"--listen={port}",
        "--kubernetes-events",
        "--node-name=n",
        "--node-labels=patch",
    ) as told:
        await until(lambda: any(state_dir.glob("control*.sock")), "the control socket")
        await asyncio.sleep(1)
    assert [name for name in told.output.split() if name.startswith(LATER)] == []


IN_THE_DRIVERS_THREAD = (
    "import sys, threading\n"
    "from plugin_gateway.__main__ import main\n"
    "class Noticing:\n"
    "    def find_spec(self, name, path=None, target=None):\n"
    "        if threading.current_thread().name == 'nvml':\n"
    "            print(name)\n"
    "sys.meta_path.insert(0, Noticing())\n"
    "sys.exit(main(sys.argv[1:]))\n"
)
"""Tells which modules were looked for in the thread of the driver. The first inventory waits meanwhile."""


async def test_what_the_drivers_thread_needs_is_imported_while_the_driver_initialises(
    kubelet_dir: Path, driver: Driver, state_dir: Path
) -> None:
    driver.init_delay(1000)
    async with telling(IN_THE_DRIVERS_THREAD, kubelet_dir, driver, state_dir) as told:
        pass
    assert set(told.output.split()) <= {"plugin_gateway.nvidia.links"}, "which is for some time after the first list"


WHILE_SENDING = (
    "import asyncio, sys\n"
    "from plugin_gateway.__main__ import main\n"
    "import grpc.aio._channel as channel\n"
    "call = channel.UnaryUnaryMultiCallable.__call__\n"
    "def told(self, *arguments, **others):\n"
    "    print('register', flush=True)\n"
    "    return call(self, *arguments, **others)\n"
    "channel.UnaryUnaryMultiCallable.__call__ = told\n"
    "class Noticing:\n"
    "    def find_spec(self, name, path=None, target=None):\n"
    "        if name == 'google.protobuf' or name.endswith('.api_pb2'):\n"
    "            print(name, flush=True)\n"
    "sys.meta_path.insert(0, Noticing())\n"
    "sys.exit(main(sys.argv[1:]))\n"
)
"""Tells when Register is sent, and when messages are imported."""


async def test_messages_are_imported_while_register_is_sent_and_only_those_of_its_dialect(
    kubelet_dir: Path, driver: Driver, state_dir: Path
) -> None:
    async with telling(WHILE_SENDING, kubelet_dir, driver, state_dir) as told:
        pass
    assert told.output.split()[:3] == ["register", "plugin_gateway.api.v1beta1.api_pb2", "google.protobuf"]
    assert "plugin_gateway.api.v1alpha.api_pb2" not in told.output


def test_a_module_for_later_is_imported_by_its_first_use_and_once_for_all_threads() -> None:
    code = (
        "import sys, threading\n"
        "from plugin_gateway.adapters.support.lean_imports import Later\n"
        "later = Later('difflib')\n"
        "print('difflib' in sys.modules)\n"
        "sys.setswitchinterval(1e-6)\n"
        "found = []\n"
        "threads = [threading.Thread(target=lambda: found.append(later.get_close_matches)) for _ in range(8)]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
        "print(len(found), set(found) == {sys.modules['difflib'].get_close_matches})\n"
        "try:\n"
        "    later.nothing\n"
        "except AttributeError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == ("False\n8 True\nmodule 'difflib' has no attribute 'nothing'\n", "")


SLOWLY = (
    "import sys, time\n"
    "from plugin_gateway.__main__ import main\n"
    "from plugin_gateway.adapters.registration.client import RegistrationClient\n"
    "register = RegistrationClient.register\n"
    "async def late(*arguments, **others):\n"
    "    time.sleep(0.2)\n"
    "    print('structlog' in sys.modules, flush=True)\n"
    "    return await register(*arguments, **others)\n"
    "RegistrationClient.register = late\n"
    "sys.exit(main(sys.argv[1:]))\n"
)
"""Takes long until Register, as on a busy machine, and tells whether something was imported meanwhile."""


async def test_on_a_busy_machine_register_does_not_wait_for_what_is_imported_after_it(
    kubelet_dir: Path, driver: Driver, state_dir: Path
) -> None:
    async with telling(SLOWLY, kubelet_dir, driver, state_dir) as told:
        await until(lambda: any(state_dir.glob("control*.sock")), "the control socket")
    assert told.output.split()[0] == "False"
    assert "registered" in told.errors


async def test_what_comes_after_the_start_does_not_wait_for_a_kubelet_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "START_TIME", 0.05)
    await asyncio.wait_for(process.start_is_over(asyncio.Event()), 5)


async def test_what_comes_after_the_start_begins_soon_after_register(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "START_TIME", 60)
    has_sent = asyncio.Event()
    over = asyncio.create_task(process.start_is_over(has_sent))
    await asyncio.sleep(2 * process.LIST_TIME)
    assert not over.done()
    has_sent.set()
    await asyncio.wait_for(over, 5)


EARLY = (
    "import os, signal, time\n"
    "import plugin_gateway.__main__\n"
    "os.kill(os.getpid(), signal.SIGTERM)\n"
    "time.sleep(0.5)\n"
    "print('it was lost')\n"
)
"""Sends itself SIGTERM when the program is loaded, long before `run` has handlers of its own."""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a PID namespace")
def test_as_pid_1_a_signal_in_the_first_milliseconds_is_not_lost() -> None:
    """The kernel drops a signal for PID 1 that has no handler. In a container the gateway is PID 1."""
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, "-c", EARLY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 128 + signal.SIGTERM)


def test_elsewhere_the_kernel_handles_such_a_signal() -> None:
    done = subprocess.run([sys.executable, "-c", EARLY], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", -signal.SIGTERM)


def test_deferred_modules_work_where_they_are_used_and_only_these_are_deferred() -> None:
    code = (
        "import sys\n"
        "from plugin_gateway.adapters.support.lean_imports import deferred\n"
        "with deferred('difflib'):\n"
        "    import difflib, textwrap\n"
        "with deferred('colorsys', 'sched'):\n"
        "    import colorsys, sched\n"
        "print(type(difflib).__name__, type(textwrap).__name__, difflib.get_close_matches('ab', ['abc']))\n"
        "print(type(colorsys).__name__, type(sched).__name__, colorsys.rgb_to_hls(5, 5, 5)[1])\n"
        "with deferred('nothing.at.all'):\n"
        "    pass\n"
        "print(sys.meta_path[0].__module__ != 'plugin_gateway.adapters.support.lean_imports')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == ("_LazyModule module ['abc']\n_LazyModule _LazyModule 5.0\nTrue\n", "")


def test_another_thread_finds_its_modules_meanwhile() -> None:
    """It goes through the list of finders at any time, also while the list becomes longer or shorter."""
    missed, is_over = [], threading.Event()

    def look() -> None:
        while not is_over.is_set():
            missed.extend([1] if find_spec("colorsys") is None else [])

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    looking = [threading.Thread(target=look) for _ in range(3)]
    for thread in looking:
        thread.start()
    ends_at = time.monotonic() + 1.0
    while time.monotonic() < ends_at:
        with deferred("nothing.at.all"):
            pass
    is_over.set()
    for thread in looking:
        thread.join(5)
    sys.setswitchinterval(usual)
    assert not missed


@pytest.mark.parametrize("name", [*NEVER_USED, *UNUSED_PARTS])
def test_what_is_deferred_can_be_imported(name: str) -> None:
    """Otherwise its first use would fail, and with it whoever looks at all modules."""
    assert import_module(name).__name__ == name


def test_a_module_that_was_left_out_can_be_imported_afterwards() -> None:
    code = (
        "from plugin_gateway.adapters.support.lean_imports import left_out\n"
        "with left_out('ssl'):\n"
        "    import asyncio.sslproto\n"
        "with left_out('os'):\n"
        "    import os\n"
        "import ssl\n"
        "print(asyncio.sslproto.ssl, ssl.create_default_context() is not None, os.sep)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == ("None True /\n", "")
