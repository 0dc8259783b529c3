"""For each procedure a call that is answered: what has to be there first, and the code that answers it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message

from api_gateway.timestamps import write_timestamp
from kannon.adapters.pb import admin_pb2, mailer_pb2, stats_v1_pb2, stats_v2_pb2, stats_v3_pb2
from kannon.adapters.pb.tracking_pb2 import TrackingMode, TrackingPolicy
from kannon.adapters.pb.types_pb2 import Recipient, Sender
from tests.gateway_client import Tenant

Prepared = Callable[[Tenant], Awaitable[Message]]
HOUR: Mapping[str, Any] = {
    "from_date": write_timestamp(datetime(2026, 5, 1, 12, tzinfo=UTC)),
    "to_date": write_timestamp(datetime(2026, 5, 1, 13, tzinfo=UTC)),
}


@dataclass(frozen=True)
class GoodCall:
    """A call.

    Attributes:
        request: prepares what it needs, and gives the request.
        code: with which it is answered.
    """

    request: Prepared
    code: str = "OK"


def _plain(make: Callable[[Tenant], Message]) -> Prepared:
    async def prepared(tenant: Tenant) -> Message:
        return make(tenant)

    return prepared


def _of_domain(kind: type[Any], **fields: Any) -> Prepared:
    return _plain(lambda tenant: kind(domain=tenant.domain, **fields))


def _of_batch(kind: type[Any], **fields: Any) -> Prepared:
    async def prepared(tenant: Tenant) -> Message:
        sent = await tenant.send("ada@example.org", scheduled_time=write_timestamp(datetime(2999, 1, 1)))
        message: Message = kind(message_id=sent.message_id, **fields)
        return message

    return prepared


def _of_template(kind: type[Any], **fields: Any) -> Prepared:
    async def prepared(tenant: Tenant) -> Message:
        wanted = admin_pb2.CreateTemplateReq(domain=tenant.domain, html="<p>Hello</p>", title="Hello")
        created = (await tenant.client.admin("Api/CreateTemplate", wanted)).template
        message: Message = kind(template_id=created.template_id, **fields)
        return message

    return prepared


def _of_key(kind: type[Any]) -> Prepared:
    async def prepared(tenant: Tenant) -> Message:
        wanted = admin_pb2.CreateAPIKeyRequest(domain=tenant.domain, name="another")
        created = (await tenant.client.admin("Api/CreateAPIKey", wanted)).api_key
        message: Message = kind(domain=tenant.domain, id=created.id)
        return message

    return prepared


def _of_suppression(kind: type[Any]) -> Prepared:
    async def prepared(tenant: Tenant) -> Message:
        wanted = _suppressions(tenant)
        await tenant.client.admin("Api/AddSuppressions", wanted)
        message: Message = kind(domain=tenant.domain, address="gone@example.org")
        return message

    return prepared


_HOOK = "https://hooks.example.com/kannon"


def _of_webhook(kind: type[Any], **fields: Any) -> Prepared:
    async def prepared(tenant: Tenant) -> Message:
        listed = await tenant.client.admin(
            "Api/ListWebhooks", admin_pb2.ListWebhooksReq(domain=tenant.domain)
        )
        for old in listed.webhooks[10:]:  # a Domain has so many at the most
            gone = admin_pb2.DeleteWebhookReq(domain=tenant.domain, webhook_id=old.webhook_id)
            await tenant.client.admin("Api/DeleteWebhook", gone)
        wanted = admin_pb2.CreateWebhookReq(domain=tenant.domain, url=_HOOK)
        created = (await tenant.client.admin("Api/CreateWebhook", wanted)).webhook
        message: Message = kind(domain=tenant.domain, webhook_id=created.webhook_id, **fields)
        return message

    return prepared


def _suppressions(tenant: Tenant) -> Message:
    new = admin_pb2.NewSuppression(address="gone@example.org")
    return admin_pb2.AddSuppressionsReq(domain=tenant.domain, suppressions=[new])


async def _send_template(tenant: Tenant) -> Message:
    template = await _of_template(mailer_pb2.SendTemplateReq)(tenant)
    template.MergeFrom(
        mailer_pb2.SendTemplateReq(
            sender=Sender(email=f"news@{tenant.domain}"),
            subject="Hello",
            recipients=[Recipient(email="ada@example.org")],
        )
    )
    return template


def _new_domain(tenant: Tenant) -> Message:
    return admin_pb2.CreateDomainRequest(domain=f"new.{tenant.domain}")


_TRACKING = TrackingPolicy(opens=TrackingMode.TRACKING_MODE_FULL, links=TrackingMode.TRACKING_MODE_FULL)
_tracking = _of_domain(admin_pb2.SetTrackingPolicyReq, tracking=_TRACKING)


async def _timeline(tenant: Tenant) -> Message:
    sent = await tenant.send("ada@example.org")
    return stats_v3_pb2.GetTimelineReq(domain=tenant.domain, message_id=sent.message_id)


def _filter(tenant: Tenant) -> stats_v3_pb2.OutcomeFilter:
    return stats_v3_pb2.OutcomeFilter(domain=tenant.domain, **HOUR)


def _outcomes(tenant: Tenant) -> Message:
    return stats_v3_pb2.ListOutcomesReq(filter=_filter(tenant))


def _exported(tenant: Tenant) -> Message:
    csv = stats_v3_pb2.ExportFormat.EXPORT_FORMAT_CSV
    return stats_v3_pb2.ExportOutcomesReq(filter=_filter(tenant), format=csv)


_LATER = {"scheduled_time": write_timestamp(datetime(2999, 1, 2))}
GOOD_CALLS: Mapping[str, GoodCall] = {
    "Mailer/SendHTML": GoodCall(_plain(lambda tenant: tenant.mail("ada@example.org"))),
    "Mailer/SendTemplate": GoodCall(_send_template),
    "Mailer/GetBatch": GoodCall(_of_batch(mailer_pb2.GetBatchReq)),
    "Mailer/CancelBatch": GoodCall(_of_batch(mailer_pb2.CancelBatchReq)),
    "Mailer/RescheduleBatch": GoodCall(_of_batch(mailer_pb2.RescheduleBatchReq, **_LATER)),
    "Mailer/RenderTemplate": GoodCall(_of_template(mailer_pb2.RenderTemplateReq)),
    "Api/GetDomains": GoodCall(_plain(lambda _: admin_pb2.GetDomainsReq())),
    "Api/GetDomain": GoodCall(_of_domain(admin_pb2.GetDomainReq)),
    "Api/CreateDomain": GoodCall(_plain(_new_domain)),
    "Api/SetTrackingPolicy": GoodCall(_tracking),
    "Api/GetLimits": GoodCall(_of_domain(admin_pb2.GetLimitsReq)),
    "Api/SetLimits": GoodCall(_of_domain(admin_pb2.SetLimitsReq)),
    "Api/ListAuditRecords": GoodCall(_of_domain(admin_pb2.ListAuditRecordsReq)),
    "Api/CreateTemplate": GoodCall(_of_domain(admin_pb2.CreateTemplateReq, html="<p>x</p>", title="x")),
    "Api/UpdateTemplate": GoodCall(_of_template(admin_pb2.UpdateTemplateReq, html="<p>y</p>", title="y")),
    "Api/DeleteTemplate": GoodCall(_of_template(admin_pb2.DeleteTemplateReq)),
    "Api/GetTemplate": GoodCall(_of_template(admin_pb2.GetTemplateReq)),
    "Api/GetTemplates": GoodCall(_of_domain(admin_pb2.GetTemplatesReq, take=10)),
    "Api/CreateAPIKey": GoodCall(_of_domain(admin_pb2.CreateAPIKeyRequest, name="second")),
    "Api/ListAPIKeys": GoodCall(_of_domain(admin_pb2.ListAPIKeysRequest)),
    "Api/GetAPIKey": GoodCall(_of_key(admin_pb2.GetAPIKeyRequest)),
    "Api/DeactivateAPIKey": GoodCall(_of_key(admin_pb2.DeactivateAPIKeyRequest)),
    "Api/ListDeliveries": GoodCall(_of_domain(admin_pb2.ListDeliveriesReq, email="ada@example.org")),
    "Api/ListDeadLetters": GoodCall(_plain(lambda _: admin_pb2.ListDeadLettersReq())),
    "Api/GetDeadLetter": GoodCall(_plain(lambda _: admin_pb2.GetDeadLetterReq(sequence=1)), "NOT_FOUND"),
    "Api/RetryDeadLetters": GoodCall(_plain(lambda _: admin_pb2.RetryDeadLettersReq(sequences=[1]))),
    "Api/DropDeadLetters": GoodCall(_plain(lambda _: admin_pb2.DropDeadLettersReq(sequences=[1]))),
    "Api/ListReports": GoodCall(_of_domain(admin_pb2.ListReportsReq)),
    "Api/GetReport": GoodCall(_plain(lambda _: admin_pb2.GetReportReq(number=1)), "NOT_FOUND"),
    "Api/Diagnose": GoodCall(_plain(lambda _: admin_pb2.DiagnoseReq())),
    "Api/ListSuppressions": GoodCall(_of_domain(admin_pb2.ListSuppressionsReq)),
    "Api/GetSuppression": GoodCall(_of_suppression(admin_pb2.GetSuppressionReq)),
    "Api/AddSuppressions": GoodCall(_plain(_suppressions)),
    "Api/RemoveSuppression": GoodCall(_of_suppression(admin_pb2.RemoveSuppressionReq)),
    "StatsApiV1/GetStats": GoodCall(_of_domain(stats_v1_pb2.GetStatsReq, **HOUR)),
    "StatsApiV1/GetStatsAggregated": GoodCall(_of_domain(stats_v1_pb2.GetStatsAggregatedReq, **HOUR)),
    "StatsApiV2/GetAggregatedStats": GoodCall(_of_domain(stats_v2_pb2.GetAggregatedStatsReq, **HOUR)),
    "Api/CreateWebhook": GoodCall(_of_domain(admin_pb2.CreateWebhookReq, url=_HOOK)),
    "Api/ListWebhooks": GoodCall(_of_domain(admin_pb2.ListWebhooksReq)),
    "Api/GetWebhook": GoodCall(_of_webhook(admin_pb2.GetWebhookReq)),
    "Api/DeleteWebhook": GoodCall(_of_webhook(admin_pb2.DeleteWebhookReq)),
    "Api/TestWebhook": GoodCall(_of_webhook(admin_pb2.TestWebhookReq)),
    "Api/RotateWebhookSecret": GoodCall(_of_webhook(admin_pb2.RotateWebhookSecretReq)),
    "Api/ListWebhookDeliveries": GoodCall(_of_webhook(admin_pb2.ListWebhookDeliveriesReq)),
    "Api/RedeliverWebhook": GoodCall(
        _of_webhook(admin_pb2.RedeliverWebhookReq, failed_since=HOUR["from_date"])
    ),
    "Api/ExportRecipient": GoodCall(_of_domain(admin_pb2.ExportRecipientReq, email="ada@example.org")),
    "Api/EraseRecipient": GoodCall(_of_domain(admin_pb2.EraseRecipientReq, email="ada@example.org")),
    "StatsApiV3/GetCounts": GoodCall(_of_domain(stats_v3_pb2.GetCountsReq, **HOUR)),
    "StatsApiV3/GetSeries": GoodCall(_of_domain(stats_v3_pb2.GetSeriesReq, interval=1, **HOUR)),
    "StatsApiV3/GetLatencies": GoodCall(_of_domain(stats_v3_pb2.GetLatenciesReq, **HOUR)),
    "StatsApiV3/GetTimeline": GoodCall(_timeline),
    "StatsApiV3/ListOutcomes": GoodCall(_plain(_outcomes)),
    "StatsApiV3/ListBatches": GoodCall(_of_domain(stats_v3_pb2.ListBatchesReq, **HOUR)),
    "StatsApiV3/ExportOutcomes": GoodCall(_plain(_exported)),
    "StatsApiV3/StreamOutcomes": GoodCall(_of_domain(stats_v3_pb2.StreamOutcomesReq)),
    "HZService/HZ": GoodCall(_plain(lambda _: admin_pb2.HZRequest())),
}
