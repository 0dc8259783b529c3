"""Every procedure by every protocol, on the one port of a real gateway: who is let in, what is answered."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass

import psycopg
import pytest
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from kannon.adapters.pb import admin_pb2
from kannon.core.access import Role, rule_for
from tests.gateway_client import ADMIN_TOKEN, METHODS, Client, Tenant, basic, method_named, name_of
from tests.gateway_process import GatewayProcess, gateway_process
from tests.good_calls import GOOD_CALLS
from tests.protocols import PROTOCOLS, Answer

NAMES = [name_of(method) for method in METHODS]
REFUSED = Answer("UNAUTHENTICATED", "the credentials are missing or not valid")


@dataclass(frozen=True)
class Keys:
    """Keys, by what is to be known of them; all but one are of the same Domain."""

    domain: str
    right: str
    expired: str
    revoked: str
    of_another: str


CREDENTIALS: Mapping[str, Callable[[Keys], Mapping[str, str]]] = {
    "none": lambda _: {},
    "nonsense": lambda _: {"authorization": "Basic x", "x_kannon_admin_token": ""},
    "wrong key": lambda keys: by_key(keys, "k_" + "0" * 64),
    "other domain's key": lambda keys: by_key(keys, keys.of_another),
    "expired key": lambda keys: by_key(keys, keys.expired),
    "revoked key": lambda keys: by_key(keys, keys.revoked),
    "right key": lambda keys: by_key(keys, keys.right),
    "wrong token": lambda keys: {"x_kannon_admin_token": keys.right},
    "right token": lambda _: {"x_kannon_admin_token": ADMIN_TOKEN},
}


def let_in(name: str) -> set[str]:
    """Whose credentials a procedure takes."""
    method = method_named(name)
    rule = rule_for(f"{method.containing_service.full_name}/{method.name}")
    if rule.is_open:
        return set(CREDENTIALS)
    return {"right token", "right key"} if Role.DEFAULT in rule.roles else {"right token"}


def by_key(keys: Keys, key: str) -> Mapping[str, str]:
    """Headers with a key of the Domain, or one that is said to be."""
    return {"authorization": basic(keys.domain, key)}


@pytest.fixture(scope="module")
def gateway(database_url: str, nats_url: str) -> Iterator[GatewayProcess]:
    with gateway_process(database_url, nats_url) as process:
        yield process


@pytest.fixture
async def tenant(gateway: GatewayProcess) -> AsyncIterator[Tenant]:
    async with aio.insecure_channel(gateway.address) as channel:
        yield await Client(channel, gateway.address).tenant()


@pytest.fixture
async def keys(tenant: Tenant, database_url: str) -> Keys:
    """Keys of every kind."""
    wanted = admin_pb2.CreateAPIKeyRequest(domain=tenant.domain)
    expired, revoked = (
        await tenant.client.admin("Api/CreateAPIKey", wanted),
        await tenant.client.admin("Api/CreateAPIKey", wanted),
    )
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE api_keys SET expires_at = now() WHERE id = %s", (expired.api_key.id,))
    gone = admin_pb2.DeactivateAPIKeyRequest(domain=tenant.domain, id=revoked.api_key.id)
    await tenant.client.admin("Api/DeactivateAPIKey", gone)
    other = await tenant.client.tenant()
    return Keys(tenant.domain, tenant.key, expired.key, revoked.key, other.key)


def test_every_procedure_has_a_good_call() -> None:
    assert set(NAMES) == set(GOOD_CALLS)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_whom_each_procedure_lets_in(gateway: GatewayProcess, keys: Keys, protocol: str) -> None:
    seen: dict[str, set[str]] = {}
    for name in NAMES:
        request = GetMessageClass(method_named(name).input_type)()
        for credentials, headers in CREDENTIALS.items():
            if name == "Api/Diagnose" and credentials in let_in(name):
                seen.setdefault(name, set()).add(credentials)  # slow, and among the good calls
                continue
            answer = await PROTOCOLS[protocol](gateway.address, name, request, **headers(keys))
            assert answer.code not in ("INTERNAL", "UNKNOWN"), (name, answer)
            if answer.code == REFUSED.code:
                assert (answer.text, answer.message) == (REFUSED.text, None)
            elif answer.code != "PERMISSION_DENIED":
                seen.setdefault(name, set()).add(credentials)
    assert seen == {name: let_in(name) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_good_call(tenant: Tenant, gateway: GatewayProcess, name: str, protocol: str) -> None:
    good = GOOD_CALLS[name]
    credentials = {"authorization": basic(tenant.domain, tenant.key), "x_kannon_admin_token": ADMIN_TOKEN}
    answer = await PROTOCOLS[protocol](gateway.address, name, await good.request(tenant), **credentials)
    assert answer.code == good.code, answer.text
    assert (answer.message is None) is (answer.code != "OK")
