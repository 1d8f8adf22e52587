"""The feature file of the node while a gateway keeps it."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from plugin_gateway.adapters.cluster.feature_file import EXPIRES_AFTER, FeatureFileWay, remove_feature_file
from plugin_gateway.adapters.cluster.label_way import LabelError
from plugin_gateway.core.labels.making import NodeLabels

WANTED = NodeLabels({"a.b/c": "1", "a.b/d": "2"})
READ_EVERY = 60.0
"""Seconds after which node-feature-discovery reads the file again."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gfd"


async def test_the_file_has_the_labels_and_says_until_when(path: Path) -> None:
    before = datetime.now(UTC)
    assert (await FeatureFileWay(path).write(WANTED)).has_changed
    expires, *labels = path.read_text().splitlines()
    assert labels == ["a.b/c=1", "a.b/d=2"]
    until = datetime.fromisoformat(expires.removeprefix("# +expiry-time="))
    assert abs(until - before - timedelta(seconds=EXPIRES_AFTER)) < timedelta(seconds=10)
    assert FeatureFileWay.look_interval < EXPIRES_AFTER / 2, "it is written again before that"


async def test_a_file_that_nvidias_program_removes_at_its_end_comes_back_when_it_is_read_next(path: Path) -> None:
    way = FeatureFileWay(path)
    await way.write(WANTED)
    remove_feature_file(path)
    await way.write(WANTED)
    assert await way.read() == WANTED.labels
    assert way.look_interval <= READ_EVERY


async def test_without_all_known_what_an_earlier_gateway_wrote_stays(path: Path) -> None:
    await FeatureFileWay(path).write(WANTED)
    way = FeatureFileWay(path)
    await way.write(NodeLabels({"a.b/c": "3"}, is_complete=False))
    assert await way.read() == {"a.b/c": "3", "a.b/d": "2"}
    await way.write(NodeLabels({"a.b/c": "3"}))
    assert await way.read() == {"a.b/c": "3"}


async def test_a_folder_that_comes_later_is_written_then(tmp_path: Path) -> None:
    way = FeatureFileWay(tmp_path / "features.d/gfd")
    with pytest.raises(LabelError, match="cannot be written: No such file or directory"):
        await way.write(WANTED)
    assert await way.read() == {}
    (tmp_path / "features.d").mkdir()
    await way.write(WANTED)
    assert await way.read() == WANTED.labels


async def test_a_folder_where_the_file_belongs_is_named(path: Path) -> None:
    path.mkdir()
    way = FeatureFileWay(path)
    with pytest.raises(LabelError, match="cannot be written: Is a directory"):
        await way.write(WANTED)
    with pytest.raises(LabelError, match="cannot be read"):
        await way.read()
    assert list(path.parent.iterdir()) == [path]


async def test_what_a_killed_gateway_left_half_written_goes(path: Path) -> None:
    old, new, other = (path.with_name(name) for name in (".gfd.0123abcd", ".gfd.4567abcd", ".gfd.other"))
    for each in (old, new, other):
        each.write_text("x")
    long_ago = time.time() - 3600
    os.utime(old, (long_ago, long_ago))
    await FeatureFileWay(path).write(WANTED)
    assert sorted(path.parent.iterdir()) == sorted([path, new, other])


@pytest.mark.parametrize("with_labels", [False, True])
async def test_the_file_stays_at_the_end_unless_its_labels_are_to_go(with_labels: bool, path: Path) -> None:
    way = FeatureFileWay(path)
    await way.write(WANTED)
    await way.clear(labels=with_labels)
    assert path.exists() is not with_labels
    await way.clear(labels=with_labels)


@pytest.mark.parametrize("text", ["", "# a=b\n\nno pair\n", "\x00=\xff"])
async def test_a_file_of_somebody_else_is_no_obstacle(text: str, path: Path) -> None:
    path.write_text(text, encoding="latin-1")
    way = FeatureFileWay(path)
    await way.write(WANTED)
    assert await way.read() == WANTED.labels
