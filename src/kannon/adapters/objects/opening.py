"""Finds the attachment store that a URL names."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from kannon.adapters.objects.files import FileObjects
from kannon.core.stored_objects import StorePlace
from kannon.ports import ObjectStore


def open_store(place: StorePlace | None) -> ObjectStore | None:
    """The store at a place; None where there is none. Nothing is connected to before it is used."""
    if place is None:
        return None
    parts = urlsplit(place.url)
    if parts.scheme == "file":
        return FileObjects(Path(unquote(parts.path)))
    from kannon.adapters.objects.s3 import S3Objects  # here, because few installations have it

    return S3Objects(place)
