"""Where attachments are kept: the settings, and the store that they name."""

import subprocess
import sys

import pytest

from kannon.adapters.objects.files import FileObjects
from kannon.adapters.objects.opening import open_store
from kannon.adapters.objects.s3 import S3Objects
from kannon.core.stored_objects import StorePlace
from kannon.runtime.attachments import store_place
from kannon.runtime.settings import ATTACHMENTS_SECRET_KEY, SENDER_MAX_MESSAGE, Settings, SettingsError


def place(**told: str) -> StorePlace | None:
    named = {f"attachments.{name}": value for name, value in told.items()}
    return store_place(Settings.load({"config": "/dev/null"} | named, {}))


def test_without_a_url_there_is_no_store() -> None:
    assert place() is None
    assert open_store(place()) is None


def test_a_url_names_a_folder_or_a_bucket() -> None:
    assert isinstance(open_store(place(url="file:///var/lib/a%20store")), FileObjects)
    found = place(
        url="s3://bucket/a/prefix",
        endpoint="https://minio.example:9000",
        region="eu-central-1",
        access_key="key",
        secret_key="the secret",
    )
    assert found == StorePlace(
        "s3://bucket/a/prefix", "https://minio.example:9000", "eu-central-1", "key", "the secret"
    )
    assert isinstance(open_store(found), S3Objects)


@pytest.mark.parametrize(
    "url",
    [
        "/var/lib/x",
        "file://",
        "file:///",
        "file://host/x",
        "s3://",
        "s3:///x",
        "s3://B_d/x",
        "s3://b/x?y",
        "http://x",
    ],
)
def test_another_url_is_refused_with_what_is_needed(url: str) -> None:
    with pytest.raises(SettingsError, match=r"attachments\.url \(K_ATTACHMENTS_URL\).*s3://bucket/prefix"):
        place(url=url)


def test_a_key_without_its_secret_is_refused() -> None:
    for one in ({"access_key": "key"}, {"secret_key": "secret"}):
        with pytest.raises(SettingsError, match="one is given without the other"):
            place(url="s3://bucket", **one)


def test_the_secret_is_shown_nowhere() -> None:
    settings = Settings.load({"config": "/dev/null", "attachments.secret_key": "the secret"}, {})
    assert settings.shown(ATTACHMENTS_SECRET_KEY) == "set"
    assert "the secret" not in str(settings.written())
    assert "the secret" not in repr(StorePlace("s3://bucket", secret_key="the secret"))


@pytest.mark.parametrize("size", ["600kb", "51mb", "many"])
def test_a_mail_may_not_be_of_any_size(size: str) -> None:
    with pytest.raises(SettingsError, match=r"sender\.max_message"):
        Settings.load({"config": "/dev/null", "sender.max_message": size}, {})[SENDER_MAX_MESSAGE]


def test_who_opens_a_store_has_not_loaded_what_speaks_to_s3() -> None:
    program = (
        "import sys; from kannon.adapters.objects.opening import open_store;"
        "from kannon.core.stored_objects import StorePlace;"
        "open_store(StorePlace('s3://bucket')); open_store(StorePlace('file:///tmp/x'));"
        "sys.exit(any(name.startswith(('boto', 'urllib3')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
