"""The services of the wire contract: what is built of them, and which credentials they ask for."""

from api_gateway.admin import Admin
from api_gateway.audit_records import AuditDesk
from api_gateway.batches import BatchDesk
from api_gateway.dead_letters import DeadLetterDesk
from api_gateway.deliveries import Deliveries
from api_gateway.diagnosis import Diagnosis
from api_gateway.endpoints import Access, Service
from api_gateway.hz import HZ
from api_gateway.limits import LimitsDesk
from api_gateway.mailer import Mailer
from api_gateway.outcome_stream import OutcomeStream
from api_gateway.previews import PreviewDesk
from api_gateway.recipients import RecipientDesk
from api_gateway.reports import ReportDesk
from api_gateway.statistics import Statistics
from api_gateway.statistics_desk import StatisticsDesk
from api_gateway.suppressions import SuppressionDesk
from api_gateway.templates import TemplateDesk
from api_gateway.webhooks import WebhookDesk
from kannon.adapters.pb import admin_pb2, mailer_pb2, stats_v1_pb2, stats_v2_pb2, stats_v3_pb2


def services(
    mailer: Mailer,
    previews: PreviewDesk,
    batches: BatchDesk,
    admin: Admin,
    templates: TemplateDesk,
    deliveries: Deliveries,
    dead_letters: DeadLetterDesk,
    reports: ReportDesk,
    diagnosis: Diagnosis,
    suppressions: SuppressionDesk,
    webhooks: WebhookDesk,
    limits: LimitsDesk,
    audit: AuditDesk,
    recipients: RecipientDesk,
    statistics: Statistics,
    statistics_desk: StatisticsDesk,
    outcomes: OutcomeStream,
    hz: HZ,
) -> tuple[Service, ...]:
    """All services."""
    return (
        Service(
            mailer_pb2.DESCRIPTOR.services_by_name["Mailer"],
            Access.API_KEY,
            {
                "SendHTML": mailer.send_html,
                "SendTemplate": mailer.send_template,
                "RenderTemplate": previews.render_template,
                "GetBatch": batches.get_batch,
                "CancelBatch": batches.cancel_batch,
                "RescheduleBatch": batches.reschedule_batch,
            },
        ),
        Service(
            admin_pb2.DESCRIPTOR.services_by_name["Api"],
            Access.ADMIN_TOKEN,
            {
                "CreateDomain": admin.create_domain,
                "GetDomain": admin.get_domain,
                "GetDomains": admin.get_domains,
                "SetTrackingPolicy": admin.set_tracking_policy,
                "CreateTemplate": templates.create_template,
                "UpdateTemplate": templates.update_template,
                "DeleteTemplate": templates.delete_template,
                "GetTemplate": templates.get_template,
                "GetTemplates": templates.get_templates,
                "CreateAPIKey": admin.create_api_key,
                "ListAPIKeys": admin.list_api_keys,
                "GetAPIKey": admin.get_api_key,
                "DeactivateAPIKey": admin.deactivate_api_key,
                "ListDeliveries": deliveries.list_deliveries,
                "ListDeadLetters": dead_letters.list_dead_letters,
                "GetDeadLetter": dead_letters.get_dead_letter,
                "RetryDeadLetters": dead_letters.retry_dead_letters,
                "DropDeadLetters": dead_letters.drop_dead_letters,
                "ListReports": reports.list_reports,
                "GetReport": reports.get_report,
                "GetLimits": limits.get_limits,
                "SetLimits": limits.set_limits,
                "ListAuditRecords": audit.list_audit_records,
                "Diagnose": diagnosis.diagnose,
                "ListSuppressions": suppressions.list_suppressions,
                "GetSuppression": suppressions.get_suppression,
                "AddSuppressions": suppressions.add_suppressions,
                "RemoveSuppression": suppressions.remove_suppression,
                "CreateWebhook": webhooks.create_webhook,
                "ListWebhooks": webhooks.list_webhooks,
                "GetWebhook": webhooks.get_webhook,
                "DeleteWebhook": webhooks.delete_webhook,
                "TestWebhook": webhooks.try_webhook,
                "RotateWebhookSecret": webhooks.rotate_webhook_secret,
                "ListWebhookDeliveries": webhooks.list_webhook_deliveries,
                "RedeliverWebhook": webhooks.redeliver_webhook,
                "EraseRecipient": recipients.erase_recipient,
            },
            streams={"ExportRecipient": recipients.export_recipient},
        ),
        Service(
            stats_v1_pb2.DESCRIPTOR.services_by_name["StatsApiV1"],
            Access.ADMIN_TOKEN,
            {
                "GetStats": statistics.get_stats,
                "GetStatsAggregated": statistics.get_stats_aggregated,
            },
        ),
        Service(
            stats_v2_pb2.DESCRIPTOR.services_by_name["StatsApiV2"],
            Access.ADMIN_TOKEN,
            {"GetAggregatedStats": statistics.get_aggregated_stats},
        ),
        Service(
            stats_v3_pb2.DESCRIPTOR.services_by_name["StatsApiV3"],
            Access.ADMIN_TOKEN,
            {
                "GetCounts": statistics_desk.get_counts,
                "GetSeries": statistics_desk.get_series,
                "GetLatencies": statistics_desk.get_latencies,
                "GetTimeline": statistics_desk.get_timeline,
                "ListOutcomes": statistics_desk.list_outcomes,
                "ListBatches": statistics_desk.list_batches,
            },
            streams={
                "ExportOutcomes": statistics_desk.export_outcomes,
                "StreamOutcomes": outcomes.stream_outcomes,
            },
        ),
        Service(admin_pb2.DESCRIPTOR.services_by_name["HZService"], Access.OPEN, {"HZ": hz.hz}),
    )
