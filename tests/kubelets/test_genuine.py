"""Tests that a kubelet program that misbehaves is an error with the tail of its log, and never a hang."""

import re
from pathlib import Path

import pytest

from kubelets import genuine
from kubelets.genuine import GenuineKubelet, KubeletProgramError

READY = """echo '{"event": "ready", "release": "odd", "time": 1}'"""


def program(folder: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    (folder / "odd").write_text("\n".join(("#!/bin/sh", *lines, "")))
    (folder / "odd").chmod(0o755)
    monkeypatch.setattr(genuine, "BUILT", folder)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("echo cannot read >&2", "exit 3"), r"it ended with status 3\ncannot read"),
        (
            ("echo about to talk >&2", "echo hello", "exec cat"),
            r"it said b'hello\\n', which is no event\nabout to talk",
        ),
        ((), r"it ended with status 0"),
    ],
)
async def test_one_that_does_not_start(
    lines: tuple[str, ...], words: str, kubelet_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, monkeypatch, *lines)
    kubelet = GenuineKubelet(kubelet_dir, "odd")
    with pytest.raises(KubeletProgramError, match=words):
        await kubelet.start()
    await kubelet.kill()


async def test_one_that_is_not_there(kubelet_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(genuine, "BUILT", tmp_path)
    with pytest.raises(KubeletProgramError, match="kubelet odd cannot be started: No such file or directory"):
        await GenuineKubelet(kubelet_dir, "odd").start()


async def test_one_that_is_never_ready(kubelet_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, monkeypatch, "echo thinking >&2", "exec cat >&2")
    monkeypatch.setattr(genuine, "START_LIMIT", 0.3)
    kubelet = GenuineKubelet(kubelet_dir, "odd")
    with pytest.raises(TimeoutError, match=r"kubelet odd: no kubelet within 0 s; counts \{\}\nthinking"):
        await kubelet.start()
    await kubelet.kill()


async def test_one_that_dies_of_a_command(kubelet_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, monkeypatch, READY, "read command", "echo panic: oh >&2", "exit 2")
    async with GenuineKubelet(kubelet_dir, "odd") as kubelet:
        with pytest.raises(KubeletProgramError, match=re.escape("it ended with status 2\npanic: oh")):
            await kubelet.allocate("a/b", pod="p")
        assert kubelet.complaints() == ["panic: oh"]


async def test_one_that_does_not_answer(kubelet_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, monkeypatch, READY, "echo deaf >&2", "exec cat >&2")
    monkeypatch.setattr(genuine, "ANSWER_LIMIT", 0.3)
    async with GenuineKubelet(kubelet_dir, "odd") as kubelet:
        with pytest.raises(TimeoutError, match="no answer to allocate within 0 s"):
            await kubelet.allocate("a/b", pod="p")
