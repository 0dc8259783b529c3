"""A gateway to call, on a database that the tests of a module share."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.gateway_client import Client, Tenant, migrated_database, running_gateway


@pytest.fixture(scope="module")
def database_url(postgres_url: str) -> Iterator[str]:
    """A database with the schema; each test makes Domains of its own in it."""
    with migrated_database(postgres_url) as url:
        yield url


@pytest.fixture
async def client(database_url: str, nats_url: str) -> AsyncIterator[Client]:
    """Calls a gateway that runs while the test does."""
    async with running_gateway(database_url, nats_url) as client:
        yield client


@pytest.fixture
async def tenant(client: Client) -> Tenant:
    """A Domain with a key."""
    return await client.tenant()
