"""What every attachment store keeps to: in memory, in a folder, in S3 as moto plays it, in a real server."""

import asyncio
import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from moto import mock_aws

from kannon.adapters.objects.files import FileObjects
from kannon.adapters.objects.opening import open_store
from kannon.core.errors import NoSuchObject, StoreUnavailable
from kannon.core.stored_objects import StorePlace
from kannon.ports import ObjectStore
from tests.fakes_store import FakeObjects
from tests.s3_server import S3Server, s3_server

AMAZON = StorePlace("s3://mail-of-tests/a/prefix", "", "us-east-1", "an access key", "a secret")


@pytest.fixture(scope="module")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3") / "buckets") as server:
        yield server


@pytest.fixture(params=["fake", "folder", "moto", "rclone"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    if request.param == "fake":
        yield FakeObjects()
    elif request.param == "folder":
        yield opened(StorePlace(f"file://{tmp_path}/a%20store"))
    elif request.param == "rclone":
        server: S3Server = request.getfixturevalue("real_server")
        yield opened(
            replace(server.place, url=f"s3://mail/{hashlib.md5(str(tmp_path).encode()).hexdigest()}")
        )
    else:
        with mock_aws():
            import boto3

            boto3.client("s3", "us-east-1").create_bucket(Bucket="mail-of-tests")
            yield opened(AMAZON)


def opened(place: StorePlace) -> ObjectStore:
    store = open_store(place)
    assert store is not None
    return store


async def test_what_was_put_is_there_octet_for_octet(store: ObjectStore) -> None:
    octets = bytes(range(256)) * 20_000
    await store.put("attachments/example.com/aa", octets)
    assert await store.get("attachments/example.com/aa", len(octets) + 1) == octets


async def test_an_empty_object_is_one(store: ObjectStore) -> None:
    await store.put("attachments/example.com/aa", b"")
    assert await store.get("attachments/example.com/aa", 1) == b""
    assert await store.names("attachments/", 9) == ["attachments/example.com/aa"]


async def test_no_more_is_read_than_is_asked_for(store: ObjectStore) -> None:
    await store.put("reports/2026010100/aa", b"Return-Path: <>")
    assert await store.get("reports/2026010100/aa", 6) == b"Return"


async def test_what_is_not_there_is_told_from_a_store_that_is_away(store: ObjectStore) -> None:
    await store.put("attachments/example.com/aa", b"a")
    with pytest.raises(NoSuchObject):
        await store.get("attachments/example.com/bb", 1)
    with pytest.raises(NoSuchObject):
        await store.get("attachments/example.org/aa", 1)


async def test_to_put_it_again_changes_nothing(store: ObjectStore) -> None:
    for _ in range(2):
        await store.put("attachments/example.com/aa", b"a")
    assert await store.get("attachments/example.com/aa", 9) == b"a"


async def test_one_that_was_cut_off_is_put_again(store: ObjectStore) -> None:
    await store.put("attachments/example.com/aa", b"beg")
    await store.put("attachments/example.com/aa", b"beginning and end")
    assert await store.get("attachments/example.com/aa", 99) == b"beginning and end"


async def test_many_may_put_the_same_at_once(store: ObjectStore, request: pytest.FixtureRequest) -> None:
    if "moto" in request.node.name:
        pytest.skip("moto plays S3 for one thread at a time; the real server shows it")
    octets = b"x" * 300_000
    await asyncio.gather(*(store.put("attachments/example.com/aa", octets) for _ in range(8)))
    assert await store.get("attachments/example.com/aa", 300_001) == octets


async def test_what_is_deleted_is_gone_and_to_delete_it_again_is_harmless(store: ObjectStore) -> None:
    await store.put("attachments/example.com/aa", b"a")
    await store.put("attachments/example.com/bb", b"b")
    for _ in range(2):
        await store.delete("attachments/example.com/aa")
    assert await store.names("attachments/", 9) == ["attachments/example.com/bb"]
    with pytest.raises(NoSuchObject):
        await store.get("attachments/example.com/aa", 1)


async def test_names_come_in_order_and_no_more_than_are_asked_for(store: ObjectStore) -> None:
    wanted = [f"envelopes/202601010{hour}/{digest}" for hour in (1, 2, 3) for digest in ("aa", "bb")]
    for name in reversed(wanted):
        await store.put(name, b"x")
    await store.put("attachments/a-b.example/aa", b"x")
    await store.put("attachments/a.example/aa", b"x")
    assert await store.names("envelopes/", 5) == wanted[:5]
    assert await store.names("envelopes/2026010103", 9) == wanted[4:]
    assert await store.names("attachments/", 9) == ["attachments/a-b.example/aa", "attachments/a.example/aa"]
    assert await store.names("reports/", 9) == []


async def test_a_folder_that_is_not_mounted_has_lost_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        await FileObjects(tmp_path / "missing").get("attachments/example.com/aa", 1)


async def test_a_folder_that_cannot_be_written_is_a_store_that_is_away(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(StoreUnavailable):
        await FileObjects(tmp_path / "store").put("attachments/example.com/aa", b"a")


async def test_what_a_writer_left_behind_is_never_seen_and_goes(tmp_path: Path) -> None:
    left = tmp_path / ".incoming" / "1-1"
    left.parent.mkdir()
    left.write_bytes(b"half of it")
    os.utime(left, (1, 1))
    store = FileObjects(tmp_path)
    assert await store.names("", 9) == []
    await store.put("attachments/example.com/aa", b"a")
    assert not left.exists()


@pytest.mark.parametrize("name", ["../secret/x", "attachments/../../x", "/etc/passwd", "attachments//x", "x"])
async def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no name of an object"):
        await FileObjects(tmp_path / "store").get(name, 1)


async def test_a_bucket_that_is_not_there_is_a_store_that_is_away(real_server: S3Server) -> None:
    store = opened(replace(real_server.place, url="s3://nobodys-bucket/x"))
    with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
        await store.get("attachments/example.com/aa", 1)
    with pytest.raises(StoreUnavailable):
        await store.put("attachments/example.com/aa", b"a")


async def test_a_wrong_secret_is_a_store_that_is_away_and_is_told_to_nobody(real_server: S3Server) -> None:
    store = opened(replace(real_server.place, secret_key="wrong-secret"))
    with pytest.raises(StoreUnavailable) as refused:
        await store.put("attachments/example.com/aa", b"a")
    assert "wrong-secret" not in str(refused.value) + repr(real_server.place)


async def test_a_server_that_ended_is_a_store_that_is_away(tmp_path: Path) -> None:
    with s3_server(tmp_path / "buckets") as server:
        store = opened(server.place)
        await store.put("attachments/example.com/aa", b"a")
    with pytest.raises(StoreUnavailable):
        await store.get("attachments/example.com/aa", 1)
