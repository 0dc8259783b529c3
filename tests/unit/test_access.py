"""The table of who may call what."""

import pytest

from kannon.core.access import ADMIN, RULES, Role, may_grant, rule_for
from tests.gateway_client import METHODS


def test_every_procedure_has_a_line_and_no_line_is_too_many() -> None:
    there = {(method.containing_service.full_name, method.name) for method in METHODS}
    assert {(service, method) for service, methods in RULES.items() for method in methods} == there


def test_what_has_no_line_is_for_the_admin_token_alone() -> None:
    for procedure in ("", "/", "HZ", "pkg.kannon.admin.apiv1.Api/Later", "other.Api/GetDomain"):
        assert rule_for(procedure) == ADMIN


def test_only_health_is_open() -> None:
    opened = [name for methods in RULES.values() for name, rule in methods.items() if rule.is_open]
    assert opened == ["HZ"]


def test_an_owner_may_all_that_any_key_may() -> None:
    for methods in RULES.values():
        for rule in methods.values():
            assert not rule.roles or Role.OWNER in rule.roles


@pytest.mark.parametrize("granting", Role)
def test_nobody_grants_more_than_they_have(granting: Role) -> None:
    granted = {role for role in Role if may_grant(granting, role)}
    assert (
        granted
        == {
            Role.OWNER: set(Role),
            Role.DEFAULT: {Role.DEFAULT, Role.SENDER, Role.READER},
            Role.SENDER: {Role.SENDER},
            Role.READER: {Role.READER},
        }[granting]
    )


def test_the_admin_token_grants_every_role() -> None:
    assert all(may_grant(None, role) for role in Role)
