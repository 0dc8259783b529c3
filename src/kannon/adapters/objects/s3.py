"""The attachment store in S3: implements `ports.ObjectStore`.

boto3 is loaded when an object is first asked for: it takes 29 MB.
"""

import asyncio
import contextlib
import io
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from kannon.core.errors import NoSuchObject, StoreUnavailable
from kannon.core.stored_objects import StorePlace

T = TypeVar("T")

CONNECT_TIMEOUT: Final = 5.0
READ_TIMEOUT: Final = 20.0
TRIES: Final = 3
CONNECTIONS: Final = 10
_MISSING: Final = frozenset({"NoSuchKey", "404"})


class S3Objects:
    """Objects in a bucket, beneath a prefix.

    Args:
        place: its URL is `s3://bucket/prefix`. Where it names an endpoint, buckets are parts of paths there,
            as MinIO has them, not of host names.
    """

    def __init__(self, place: StorePlace) -> None:
        parts = urlsplit(place.url)
        prefix = parts.path.strip("/")
        self._bucket = parts.netloc
        self._prefix = f"{prefix}/" if prefix else ""
        self._place = place
        self._client: Any = None
        self._opening = threading.Lock()

    async def put(self, name: str, octets: bytes) -> None:
        """See `ports.ObjectStore`."""

        def call(client: Any, key: str) -> None:
            if _size(client, self._bucket, key) != len(octets):
                # botocore would copy octets behind the request's head; what is read has them as they are.
                client.put_object(Bucket=self._bucket, Key=key, Body=io.BytesIO(octets))

        await self._do(name, call)

    async def get(self, name: str, most: int) -> bytes:
        """See `ports.ObjectStore`."""

        def call(client: Any, key: str) -> bytes:
            body = client.get_object(Bucket=self._bucket, Key=key)["Body"]
            try:
                octets: bytes = body.read(most)
                return octets
            finally:
                body.close()

        return await self._do(name, call)

    async def delete(self, name: str) -> None:
        """See `ports.ObjectStore`."""
        with contextlib.suppress(NoSuchObject):  # some say so
            await self._do(name, lambda client, key: client.delete_object(Bucket=self._bucket, Key=key))

    async def names(self, beginning: str, most: int) -> list[str]:
        """See `ports.ObjectStore`."""

        def call(client: Any, key: str) -> list[str]:
            answer = client.list_objects_v2(Bucket=self._bucket, Prefix=key, MaxKeys=most)
            return [found["Key"].removeprefix(self._prefix) for found in answer.get("Contents", ())]

        return await self._do(beginning, call)

    async def _do(self, name: str, call: Callable[[Any, str], T]) -> T:
        return await asyncio.to_thread(self._call, name, call)

    def _call(self, name: str, call: Callable[[Any, str], T]) -> T:
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        try:
            return call(self._connected(), self._prefix + name)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "an error")
            if code in _MISSING:
                raise NoSuchObject(name) from None
            raise StoreUnavailable(f"the attachment store answers {code}", retry_after=5.0) from None
        except (BotoCoreError, HTTPClientError, OSError) as error:
            raise StoreUnavailable(f"the attachment store: {type(error).__name__}", retry_after=5.0) from None

    def _connected(self) -> Any:
        with self._opening:  # making a client is not safe in threads, using one is
            if self._client is None:
                self._client = _client(self._place)
            return self._client


def _client(place: StorePlace) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        retries={"total_max_attempts": TRIES, "mode": "standard"},
        max_pool_connections=CONNECTIONS,
        s3={"addressing_style": "path"} if place.endpoint else {},
        # What Amazon's clients add by default since 2025 is not understood by every S3.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client(
        "s3",
        endpoint_url=place.endpoint or None,
        region_name=place.region or ("us-east-1" if place.endpoint else None),
        aws_access_key_id=place.access_key or None,
        aws_secret_access_key=place.secret_key or None,
        config=config,
    )


def _size(client: Any, bucket: str, key: str) -> int | None:
    from botocore.exceptions import ClientError

    try:
        size: int = client.head_object(Bucket=bucket, Key=key)["ContentLength"]
    except ClientError as error:
        # Who may not list a bucket is told 403 of what is not there; whether it may write will be seen.
        if error.response.get("Error", {}).get("Code") in _MISSING | {"403"}:
            return None
        raise
    return size
