"""Who may call which procedure of the gateway: one table, and what follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """What an API key is for."""

    DEFAULT = "default"
    SENDER = "sender"
    READER = "reader"
    OWNER = "owner"


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may call a procedure; the holder of the admin token may call any.

    Attributes:
        roles: keys with these may, for what belongs to their own Domain.
        is_open: everyone may, without credentials.
    """

    roles: frozenset[Role] = frozenset()
    is_open: bool = False


OPEN: Final = Rule(is_open=True)
ADMIN: Final = Rule()
OWNS: Final = Rule(frozenset({Role.OWNER}))
READS: Final = Rule(frozenset({Role.OWNER, Role.READER, Role.DEFAULT}))
SENDS: Final = Rule(frozenset({Role.OWNER, Role.SENDER, Role.DEFAULT}))
SENDS_OR_READS: Final = Rule(frozenset(Role))

RULES: Final[Mapping[str, Mapping[str, Rule]]] = {
    "pkg.kannon.mailer.apiv1.Mailer": {
        "SendHTML": SENDS,
        "SendTemplate": SENDS,
        "RenderTemplate": READS,
        "GetBatch": SENDS_OR_READS,
        "CancelBatch": SENDS,
        "RescheduleBatch": SENDS,
    },
    "pkg.kannon.admin.apiv1.Api": {
        "CreateDomain": ADMIN,
        "GetDomains": OWNS,
        "GetDomain": OWNS,
        "SetTrackingPolicy": OWNS,
        "GetLimits": OWNS,
        "SetLimits": ADMIN,
        "CreateTemplate": OWNS,
        "UpdateTemplate": OWNS,
        "DeleteTemplate": OWNS,
        "GetTemplate": READS,
        "GetTemplates": READS,
        "CreateAPIKey": OWNS,
        "ListAPIKeys": OWNS,
        "GetAPIKey": OWNS,
        "DeactivateAPIKey": OWNS,
        "ListDeliveries": READS,
        "ListReports": OWNS,
        "GetReport": OWNS,
        "ListSuppressions": OWNS,
        "GetSuppression": OWNS,
        "AddSuppressions": OWNS,
        "RemoveSuppression": OWNS,
        "ListAuditRecords": OWNS,
        "CreateWebhook": OWNS,
        "ListWebhooks": OWNS,
        "GetWebhook": OWNS,
        "DeleteWebhook": OWNS,
        "TestWebhook": OWNS,
        "RotateWebhookSecret": OWNS,
        "ListWebhookDeliveries": OWNS,
        "RedeliverWebhook": OWNS,
        "ExportRecipient": OWNS,
        "EraseRecipient": OWNS,
        "ListDeadLetters": ADMIN,
        "GetDeadLetter": ADMIN,
        "RetryDeadLetters": ADMIN,
        "DropDeadLetters": ADMIN,
        "Diagnose": ADMIN,
    },
    "kannon.StatsApiV1": {
        "GetStats": READS,
        "GetStatsAggregated": READS,
    },
    "kannon.stats.apiv2.StatsApiV2": {
        "GetAggregatedStats": READS,
    },
    "kannon.stats.apiv3.StatsApiV3": {
        "GetCounts": READS,
        "GetSeries": READS,
        "GetLatencies": READS,
        "GetTimeline": READS,
        "ListOutcomes": READS,
        "ListBatches": READS,
        "ExportOutcomes": READS,
        "StreamOutcomes": READS,
    },
    "pkg.kannon.admin.apiv1.HZService": {
        "HZ": OPEN,
    },
}
"""By service and method. A test holds that none is missing."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes:
        role: of the key; None with the admin token.
        key_id: its public name; empty with the admin token.
        client: the address that the call came from, as far as it is known.
        attribution: what the caller says of itself. Never trusted.
    """

    role: Role | None = None
    key_id: str = ""
    client: str = ""
    attribution: str = ""


ADMINISTRATOR: Final = Caller()
"""The holder of the admin token, of whom nothing more is known."""


def rule_for(procedure: str) -> Rule:
    """The rule for `<service>/<method>`; one that has no line is for the admin token alone."""
    service, _, method = procedure.partition("/")
    return RULES.get(service, {}).get(method, ADMIN)


def may_grant(granting: Role | None, role: Role) -> bool:
    """Whether who has `granting` may make a key of `role`: nobody gives what they have not themselves.

    Args:
        granting: None for the admin token.
    """
    rules = (rule for methods in RULES.values() for rule in methods.values())
    return granting is None or all(granting in rule.roles for rule in rules if role in rule.roles)
