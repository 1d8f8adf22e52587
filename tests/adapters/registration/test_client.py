"""What the answers of kubelets mean, release by release, in their own words."""

import asyncio
import contextlib
import os
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from harness.confined import NO_CAPABILITIES, closed_socket, needs_root
from harness.process import started
from plugin_gateway.adapters.dialects.v1alpha import V0_1, V1ALPHA2
from plugin_gateway.adapters.dialects.v1beta1 import V1BETA1
from plugin_gateway.adapters.registration.client import RegistrationClient, readable
from plugin_gateway.core.registration.failures import Failure, Refusal

ALL = (V1BETA1, V1ALPHA2, V0_1)
UNKNOWN = grpc.StatusCode.UNKNOWN


class _Answering(grpc.GenericRpcHandler):
    def __init__(self, code: grpc.StatusCode | None, words: str) -> None:
        self._code = code
        self._words = words

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:  # noqa: ARG002 - gRPC's name for it
        return grpc.unary_unary_rpc_method_handler(self._answer)

    async def _answer(self, _request: bytes, context: Any) -> bytes:
        if self._code is grpc.StatusCode.DEADLINE_EXCEEDED:
            await asyncio.sleep(60)
        if self._code is not None:
            await context.abort(self._code, self._words)
        return b""


@asynccontextmanager
async def kubelet(directory: Path, code: grpc.StatusCode | None, words: str = "") -> AsyncIterator[RegistrationClient]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Answering(code, words),))
    server.add_insecure_port(f"unix:{directory}/kubelet.sock")
    await server.start()
    client = RegistrationClient(directory / "kubelet.sock")
    try:
        yield client
    finally:
        await client.close()
        await server.stop(None)


@pytest.mark.parametrize(
    ("code", "words", "failure"),
    [
        (grpc.StatusCode.UNIMPLEMENTED, "unknown service v1beta1.Registration", Failure.PACKAGE_UNKNOWN),
        (UNKNOWN, "unsupported API version by the Kubelet registry", Failure.VERSION_REFUSED),
        (UNKNOWN, 'requested API version "0.1" is not supported by kubelet. Supported', Failure.VERSION_REFUSED),
        (UNKNOWN, "the ResourceName is invalid", Failure.NAME_REFUSED),
        (UNKNOWN, "invalid Empty ResourceName", Failure.NAME_REFUSED),
        (UNKNOWN, 'the ResourceName "x" is invalid', Failure.NAME_REFUSED),
        (UNKNOWN, "failed to dial device plugin: context deadline exceeded", Failure.DIAL_BACK_FAILED),
        (UNKNOWN, "failed to get device plugin options: rpc error", Failure.DIAL_BACK_FAILED),
        (UNKNOWN, "device plugin already connected: /x", Failure.REFUSED),
        (grpc.StatusCode.PERMISSION_DENIED, "no", Failure.REFUSED),
        (grpc.StatusCode.UNAVAILABLE, "shutting down", Failure.CONNECTION_LOST),
    ],
)
async def test_a_refusal_is_told_with_the_kubelets_words(
    code: grpc.StatusCode, words: str, failure: Failure, kubelet_dir: Path
) -> None:
    async with kubelet(kubelet_dir, code, words) as client:
        assert await client.register(V1BETA1, b"") == Refusal(failure, words)


async def test_an_answer_without_error_is_an_acceptance(kubelet_dir: Path) -> None:
    async with kubelet(kubelet_dir, None) as client:
        assert await client.register(V0_1, b"") is None


async def test_a_kubelet_that_does_not_answer_is_given_up(kubelet_dir: Path) -> None:
    async with kubelet(kubelet_dir, grpc.StatusCode.DEADLINE_EXCEEDED) as client:
        refusal = await client.register(V1BETA1, b"", deadline=0.2)
        assert refusal is not None
        assert refusal.failure is Failure.NO_ANSWER


async def test_no_socket_and_nobody_behind_it_are_told_apart(kubelet_dir: Path) -> None:
    client = RegistrationClient(kubelet_dir / "kubelet.sock")
    assert await client.register(V1BETA1, b"") == Refusal(Failure.NO_KUBELET_SOCKET)
    await client.close()
    async with kubelet(kubelet_dir, None):
        (kubelet_dir / "left.sock").hardlink_to(kubelet_dir / "kubelet.sock")
    client = RegistrationClient(kubelet_dir / "left.sock")
    assert await client.register(V1BETA1, b"") == Refusal(Failure.NOBODY_LISTENS)
    await client.close()


def test_only_an_unknown_package_or_version_leads_to_the_next_dialect() -> None:
    asking = {failure for failure in Failure if Refusal(failure).asks_for_another_dialect}
    assert asking == {Failure.PACKAGE_UNKNOWN, Failure.VERSION_REFUSED}


@needs_root
async def test_a_kubelet_socket_that_is_closed_to_us_is_no_broken_connection(kubelet_dir: Path) -> None:
    path = kubelet_dir / "kubelet.sock"
    with closed_socket(path):
        async with started(
            "--backend=simulated:1xH100", "--kubelet-dir", str(kubelet_dir), within=NO_CAPABILITIES
        ) as one:
            line = await one.wait_for_event("registration failed")
    assert (line["cause"], line["what"]) == ("not_allowed", "this process may not connect to kubelet.sock")
    assert "words" not in line
    assert "SELinux" in line["hint"]
    assert "CAP_DAC_OVERRIDE" in line["hint"]


async def test_too_many_files_of_our_own_are_not_the_kubelets_fault(kubelet_dir: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with kubelet(kubelet_dir, None) as client:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, before[1]))
        taken: list[int] = []
        try:
            with contextlib.suppress(OSError):
                while len(taken) < 100:
                    taken.append(os.open(os.devnull, os.O_RDONLY))
            refusal = await client.register(V1BETA1, b"")
        finally:
            for each in taken:
                os.close(each)
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert refusal == Refusal(Failure.TOO_MANY_FILES)
    assert Refusal(Failure.TOO_MANY_FILES).reached_nobody


def test_bytes_that_grpc_adds_to_its_words_are_left_out() -> None:
    """It writes the address of the socket behind some texts, as the machine stores it."""
    words = "last error: INTERNAL: unix:/x: bind: No buffer space available\x01\x00/x\x00\x00\x00"
    assert readable(words) == "last error: INTERNAL: unix:/x: bind: No buffer space available"
    assert readable("a\x1b[31m\nb") == r"a\x1b[31m\nb"


async def test_the_words_of_a_kubelet_have_no_control_characters(kubelet_dir: Path) -> None:
    async with kubelet(kubelet_dir, UNKNOWN, "a\x1b[31mb") as client:
        assert await client.register(V1BETA1, b"") == Refusal(Failure.REFUSED, r"a\x1b[31mb")
