"""The generated code against the interface that existing clients rely on, by name and by number."""

import importlib
import pkgutil
from collections.abc import Iterator

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    ServiceDescriptorProto,
)

from kannon.adapters import pb
from tests.commands import check_generated

# What a package declares: "service S" has its calls, "message M" its fields, "enum E" its values. A type of
# the same package has its bare name here, and Ts is google.protobuf.Timestamp. What is not listed must not be
# there. A field that we add gets a number from 100 up: none of Kannon's later fields can collide with it.
Declarations = dict[str, set[str]]

SENDER = "pkg.kannon.mailer.types.Sender"
RECIPIENT = "pkg.kannon.mailer.types.Recipient"
HEADERS = "pkg.kannon.mailer.types.Headers"
UNSUBSCRIBE = "pkg.kannon.mailer.types.OneClickUnsubscribe"
EMAIL = "pkg.kannon.mailer.types.EmailToSend"
SYNTAX = "pkg.kannon.mailer.types.TemplateSyntax"
MODE = "pkg.kannon.tracking.types.TrackingMode"
POLICY = "pkg.kannon.tracking.types.TrackingPolicy"
STATS = "pkg.kannon.stats.types.Stats"
AGGREGATED = "pkg.kannon.stats.types.StatsAggregated"

WIRE: dict[str, Declarations] = {
    "pkg.kannon.mailer.apiv1": {
        "service Mailer": {
            "SendHTML(SendHTMLReq) -> SendRes",
            "SendTemplate(SendTemplateReq) -> SendRes",
            "RenderTemplate(RenderTemplateReq) -> RenderTemplateRes",  # ours
            "GetBatch(GetBatchReq) -> GetBatchRes",  # ours, and all below that is only of these
            "CancelBatch(CancelBatchReq) -> CancelBatchRes",
            "RescheduleBatch(RescheduleBatchReq) -> RescheduleBatchRes",
        },
        "message Attachment": {
            "1 string filename",
            "2 bytes content",
            "100 string content_type",  # ours
            "101 string content_id",  # ours
        },
        "message SendHTMLReq": {
            f"1 {SENDER} sender",
            "3 string subject",
            "4 string html",
            "5 optional Ts scheduled_time",
            f"6 repeated {RECIPIENT} recipients",
            "7 repeated Attachment attachments",
            "8 map<string, string> global_fields",
            f"9 optional {HEADERS} headers",
            f"10 optional {POLICY} tracking",
            f"11 optional {UNSUBSCRIBE} one_click_unsubscribe",
            "100 repeated string raw_fields",
            "101 string text",
            f"102 {SYNTAX} syntax",
            "103 bool inline_css",
        },
        "message SendTemplateReq": {
            f"1 {SENDER} sender",
            "3 string subject",
            "4 string template_id",
            "5 optional Ts scheduled_time",
            f"6 repeated {RECIPIENT} recipients",
            "7 repeated Attachment attachments",
            "8 map<string, string> global_fields",
            f"9 optional {HEADERS} headers",
            f"10 optional {POLICY} tracking",
            f"11 optional {UNSUBSCRIBE} one_click_unsubscribe",
            "100 repeated string raw_fields",
            "101 string text",
        },
        "message RenderTemplateReq": {
            "1 string template_id",
            "2 string html",
            "3 string text",
            f"4 {SYNTAX} syntax",
            "5 bool inline_css",
            "6 string subject",
            "7 map<string, string> fields",
            "8 repeated string raw_fields",
        },
        "message RenderTemplateRes": {
            "1 string subject",
            "2 string html",
            "3 string text",
            "4 repeated string unfilled",
        },
        "message SendRes": {
            "1 string message_id",
            "2 string template_id",
            "3 Ts scheduled_time",
            "4 int32 accepted_count",
            "5 int32 rejected_count",
            "6 repeated RejectedRecipient rejected_recipients",
        },
        "message RejectedRecipient": {"1 string email", "2 string reason"},
        "message GetBatchReq": {"1 string message_id"},
        "message GetBatchRes": {
            "1 string message_id",
            "2 string subject",
            "3 string template_id",
            "4 Ts scheduled_time",
            "5 Ts accepted_time",
            "6 Ts cancelled_time",
            "7 map<string, int64> counts",
            "8 int64 total",
        },
        "message CancelBatchReq": {"1 string message_id"},
        "message CancelBatchRes": {
            "1 Ts cancelled_time",
            "2 int64 cancelled",
            "3 int64 under_way",
            "4 int64 ended",
        },
        "message RescheduleBatchReq": {"1 string message_id", "2 Ts scheduled_time"},
        "message RescheduleBatchRes": {
            "1 Ts scheduled_time",
            "2 int64 moved",
            "3 int64 under_way",
            "4 int64 ended",
        },
    },
    "pkg.kannon.mailer.types": {
        "message Sender": {"1 string email", "2 string alias"},
        "message Recipient": {
            "1 string email",
            "2 map<string, string> fields",
            f"3 optional {POLICY} tracking",
            "100 bool ignore_suppression",
        },
        "message Headers": {
            "1 repeated string to",
            "2 repeated string cc",
            "100 string reply_to",
            "101 map<string, string> custom",
        },
        "message OneClickUnsubscribe": {"1 string url_template", "100 bool hosted"},
        "enum TemplateSyntax": {  # ours
            "0 TEMPLATE_SYNTAX_UNSPECIFIED",
            "1 TEMPLATE_SYNTAX_PLAIN",
            "2 TEMPLATE_SYNTAX_LIQUID",
        },
        "message EmailToSend": {
            "1 string email_id",
            "2 string from",
            "3 string to",
            "4 string return_path",
            "5 bytes body",
            "6 bool should_retry",
        },
    },
    "pkg.kannon.tracking.types": {
        "enum TrackingMode": {
            "0 TRACKING_MODE_UNSPECIFIED",
            "1 TRACKING_MODE_OFF",
            "2 TRACKING_MODE_ANONYMOUS",
            "3 TRACKING_MODE_PSEUDONYMOUS",
            "4 TRACKING_MODE_IDENTIFIED",
            "5 TRACKING_MODE_FULL",
        },
        "message TrackingPolicy": {"1 TrackingMode opens", "2 TrackingMode links"},
    },
    "pkg.kannon.admin.apiv1": {
        "service Api": {
            "GetDomains(GetDomainsReq) -> GetDomainsResponse",
            "GetDomain(GetDomainReq) -> GetDomainRes",
            "CreateDomain(CreateDomainRequest) -> Domain",
            "SetTrackingPolicy(SetTrackingPolicyReq) -> SetTrackingPolicyRes",
            "CreateTemplate(CreateTemplateReq) -> CreateTemplateRes",
            "UpdateTemplate(UpdateTemplateReq) -> UpdateTemplateRes",
            "DeleteTemplate(DeleteTemplateReq) -> DeleteTemplateRes",
            "GetTemplate(GetTemplateReq) -> GetTemplateRes",
            "GetTemplates(GetTemplatesReq) -> GetTemplatesRes",
            "CreateAPIKey(CreateAPIKeyRequest) -> CreateAPIKeyResponse",
            "ListAPIKeys(ListAPIKeysRequest) -> ListAPIKeysResponse",
            "GetAPIKey(GetAPIKeyRequest) -> GetAPIKeyResponse",
            "DeactivateAPIKey(DeactivateAPIKeyRequest) -> DeactivateAPIKeyResponse",
            # Ours:
            "ListDeliveries(ListDeliveriesReq) -> ListDeliveriesRes",
            "ListDeadLetters(ListDeadLettersReq) -> ListDeadLettersRes",
            "GetDeadLetter(GetDeadLetterReq) -> GetDeadLetterRes",
            "RetryDeadLetters(RetryDeadLettersReq) -> RetryDeadLettersRes",
            "DropDeadLetters(DropDeadLettersReq) -> DropDeadLettersRes",
            "ListReports(ListReportsReq) -> ListReportsRes",
            "GetReport(GetReportReq) -> GetReportRes",
            "Diagnose(DiagnoseReq) -> DiagnoseRes",
            "CreateWebhook(CreateWebhookReq) -> CreateWebhookRes",
            "ListWebhooks(ListWebhooksReq) -> ListWebhooksRes",
            "GetWebhook(GetWebhookReq) -> GetWebhookRes",
            "DeleteWebhook(DeleteWebhookReq) -> DeleteWebhookRes",
            "TestWebhook(TestWebhookReq) -> TestWebhookRes",
            "RotateWebhookSecret(RotateWebhookSecretReq) -> RotateWebhookSecretRes",
            "ListWebhookDeliveries(ListWebhookDeliveriesReq) -> ListWebhookDeliveriesRes",
            "RedeliverWebhook(RedeliverWebhookReq) -> RedeliverWebhookRes",
            "ListSuppressions(ListSuppressionsReq) -> ListSuppressionsRes",
            "GetSuppression(GetSuppressionReq) -> GetSuppressionRes",
            "AddSuppressions(AddSuppressionsReq) -> AddSuppressionsRes",
            "RemoveSuppression(RemoveSuppressionReq) -> RemoveSuppressionRes",
            "GetLimits(GetLimitsReq) -> GetLimitsRes",
            "SetLimits(SetLimitsReq) -> SetLimitsRes",
            "ListAuditRecords(ListAuditRecordsReq) -> ListAuditRecordsRes",
            "ExportRecipient(ExportRecipientReq) -> stream ExportRecipientRes",
            "EraseRecipient(EraseRecipientReq) -> EraseRecipientRes",
        },
        "service HZService": {"HZ(HZRequest) -> HZResponse"},
        "message GetDomainsReq": set(),
        "message GetDomainsResponse": {"1 repeated Domain domains"},
        "message GetDomainReq": {"1 string domain"},
        "message GetDomainRes": {"1 Domain domain"},
        "message CreateDomainRequest": {"1 string domain"},
        "message Domain": {"1 string domain", "3 string dkim_pub_key", f"4 {POLICY} tracking"},
        "message SetTrackingPolicyReq": {"1 string domain", f"2 {POLICY} tracking"},
        "message SetTrackingPolicyRes": {"1 Domain domain"},
        "message Template": {
            "1 string template_id",
            "2 string html",
            "3 string title",
            "4 string type",
            "100 string text",
            f"101 {SYNTAX} syntax",
            "102 bool inline_css",
        },
        "message CreateTemplateReq": {
            "1 string html",
            "2 string title",
            "3 string domain",
            "100 string text",
            f"101 {SYNTAX} syntax",
            "102 bool inline_css",
        },
        "message CreateTemplateRes": {"1 Template template"},
        "message UpdateTemplateReq": {
            "1 string template_id",
            "2 string html",
            "3 string title",
            "100 string text",
            f"101 {SYNTAX} syntax",
            "102 optional bool inline_css",
        },
        "message UpdateTemplateRes": {"1 Template template"},
        "message DeleteTemplateReq": {"1 string template_id"},
        "message DeleteTemplateRes": {"1 Template template"},
        "message GetTemplateReq": {"1 string template_id"},
        "message GetTemplateRes": {"1 Template template"},
        "message GetTemplatesReq": {"1 string domain", "2 uint32 skip", "3 uint32 take"},
        "message GetTemplatesRes": {"1 repeated Template templates", "2 uint32 total"},
        "message APIKey": {
            "1 string id",
            "2 string key",
            "3 string name",
            "4 string domain",
            "5 Ts created_at",
            "6 Ts expires_at",
            "7 bool is_active",
            "8 Ts deactivated_at",
            "100 string role",
        },
        "message CreateAPIKeyRequest": {
            "1 string domain",
            "2 string name",
            "3 Ts expires_at",
            "100 string role",
        },
        "message CreateAPIKeyResponse": {"1 APIKey api_key", "2 string key"},
        "message ListAPIKeysRequest": {
            "1 string domain",
            "2 bool only_active",
            "3 int32 limit",
            "4 int32 offset",
        },
        "message ListAPIKeysResponse": {"1 repeated APIKey api_keys", "2 int32 total"},
        "message GetAPIKeyRequest": {"1 string domain", "2 string id"},
        "message GetAPIKeyResponse": {"1 APIKey api_key"},
        "message DeactivateAPIKeyRequest": {"1 string domain", "2 string id"},
        "message DeactivateAPIKeyResponse": {"1 APIKey api_key"},
        # Ours: looking at single Deliveries.
        "message ListDeliveriesReq": {
            "1 string domain",
            "2 string message_id",
            "3 string email",
            "4 string status",
            "5 Ts from_date",
            "6 string after",
            "7 uint32 take",
            "8 bool with_total",
        },
        "message ListDeliveriesRes": {
            "1 repeated Delivery deliveries",
            "2 string next",
            "3 optional int64 total",
        },
        "message Delivery": {
            "1 string message_id",
            "2 int32 seq",
            "3 string email",
            "4 string status",
            "5 int32 attempts",
            "6 Ts due_at",
            "7 Ts expires_at",
            "8 Ts ended_at",
            "9 uint32 last_code",
            "10 string last_text",
            f"11 repeated {STATS} outcomes",
        },
        # Ours: dead letters, and what waits.
        "message DeadLetter": {
            "1 uint64 sequence",
            "2 Ts buried_at",
            "3 string event",
            "4 string reason",
            "5 uint32 status",
            "6 string item",
            "7 uint32 items",
            "8 string stream",
            "9 uint64 stream_sequence",
            "10 uint64 size",
            "11 bool is_omitted",
        },
        "message ListDeadLettersReq": {"1 string event", "2 uint64 after", "3 uint32 take"},
        "message ListDeadLettersRes": {"1 repeated DeadLetter letters", "2 uint64 next", "3 uint64 total"},
        "message GetDeadLetterReq": {"1 uint64 sequence", "2 bool with_data"},
        "message GetDeadLetterRes": {
            "1 DeadLetter letter",
            "2 map<string, string> attributes",
            "3 string content",
            "4 string refusal",
            "5 bytes data",
        },
        "message RetryDeadLettersReq": {"1 repeated uint64 sequences"},
        "message RetryDeadLettersRes": {"1 repeated uint64 retried", "2 repeated DeadLetterLeft left"},
        "message DropDeadLettersReq": {"1 repeated uint64 sequences"},
        "message DropDeadLettersRes": {"1 repeated uint64 dropped", "2 repeated DeadLetterLeft left"},
        "message DeadLetterLeft": {"1 uint64 sequence", "2 string reason"},
        "message Report": {
            "1 uint64 number",
            "2 Ts received_at",
            "3 string kind",
            "4 string reason",
            "5 string domain",
            "6 repeated string recipients",
            "7 repeated string deliveries",
            "8 string sender",
            "9 string client",
            "10 uint64 size",
            "11 repeated ReportedRecipient told",
        },
        "message ReportedRecipient": {
            "1 string address",
            "2 string action",
            "3 string status",
            "4 uint32 code",
            "5 string category",
            "6 bool hard",
            "7 string text",
            "8 string reporting_mta",
        },
        "message ReportCount": {"1 string kind", "2 int64 count"},
        "message ListReportsReq": {"1 string kind", "2 string domain", "3 uint64 before", "4 uint32 take"},
        "message ListReportsRes": {
            "1 repeated Report reports",
            "2 uint64 next",
            "3 repeated ReportCount counts",
        },
        "message GetReportReq": {"1 uint64 number"},
        "message GetReportRes": {"1 Report report", "2 bytes head"},
        "message DiagnoseReq": set(),
        "message DiagnoseRes": {
            "1 Ts at",
            "2 repeated Finding findings",
            "3 LedgerDiagnosis ledger",
            "4 StreamsDiagnosis streams",
            "5 repeated EdgeDiagnosis edges",
        },
        "message Finding": {"1 string subject", "2 string text"},
        "message Pile": {"1 int64 count", "2 bool is_more", "3 Ts oldest_at", "4 Ts next_at"},
        "message LedgerDiagnosis": {
            "1 string error",
            "2 Pile unannounced",
            "3 int64 unannounced_recipients",
            "4 Pile unverified",
            "5 Pile due",
            "6 Pile later",
            "7 Pile deferred",
            "8 Pile in_hand",
            "9 int64 in_hand_limit",
            "10 Pile stranded",
            "11 Pile fruitless",
            "12 Pile outbox",
            "13 Ts ticked_at",
            "14 repeated LostStream lost",
        },
        "message LostStream": {"1 string name", "2 Ts lost_at"},
        "message StreamsDiagnosis": {
            "1 string error",
            "2 repeated StreamDiagnosis streams",
            "3 map<string, int64> dead_letters",
            "4 Ts oldest_letter_at",
        },
        "message StreamDiagnosis": {
            "1 string name",
            "2 string stage",
            "3 bool is_missing",
            "4 int64 messages",
            "5 int64 bytes",
            "6 double fullness",
            "7 int64 untaken",
            "8 int64 taken",
            "9 int64 again",
            "10 int64 pulling",
        },
        "message EdgeDiagnosis": {
            "1 string name",
            "2 string error",
            "3 Ts journal_born_at",
            "4 int64 held",
            "5 int64 capacity",
            "6 int32 transmitting",
            "7 int64 unpublished",
            "8 repeated ExchangerDiagnosis suspended",
            "9 int64 suspended_total",
            "10 repeated AmbiguousDiagnosis ambiguous",
            "11 int64 ambiguous_total",
        },
        "message ExchangerDiagnosis": {
            "1 string host",
            "2 int32 port",
            "3 int32 failures",
            "4 Ts until",
            "5 int64 waiting",
            "6 string reason",
        },
        "message AmbiguousDiagnosis": {
            "1 string delivery",
            "2 int32 attempt",
            "3 int32 ambiguities",
            "4 string exchanger",
        },
        "message Limits": {
            "1 optional uint32 mails_per_minute",
            "2 optional uint32 mails_per_day",
            "3 optional uint32 recipients_per_call",
        },
        "message GetLimitsReq": {"1 string domain"},
        "message GetLimitsRes": {"1 Limits own", "2 Limits effective"},
        "message SetLimitsReq": {"1 string domain", "2 Limits own"},
        "message SetLimitsRes": {"1 Limits own", "2 Limits effective"},
        "message AuditRecord": {
            "1 Ts at",
            "2 string procedure",
            "3 string decision",
            "4 string reason",
            "5 string domain",
            "6 string key_id",
            "7 string role",
            "8 string client",
            "9 string attribution",
            "10 string trace",
            "11 uint32 count",
        },
        "message ListAuditRecordsReq": {
            "1 string domain",
            "2 string procedure",
            "3 string decision",
            "4 string key_id",
            "5 string client",
            "6 Ts from_date",
            "7 Ts to_date",
            "8 string before",
            "9 uint32 take",
        },
        "message ListAuditRecordsRes": {"1 repeated AuditRecord records", "2 string next"},
        "message ExportRecipientReq": {"1 string domain", "2 string email"},
        "message ExportRecipientRes": {"1 bytes data"},
        "message EraseRecipientReq": {"1 string domain", "2 string email"},
        "message EraseRecipientRes": {
            "1 int64 deliveries",
            "2 int64 cancelled",
            "3 int64 in_hand",
            "4 int64 outcomes",
            "5 int64 reports",
            "6 int64 suppressions",
            "7 repeated string edges_not_reached",
        },
        "message Suppression": {
            "1 string domain",
            "2 string address",
            "3 string reason",
            "4 string source",
            "5 Ts created_at",
            "6 Ts expires_at",
            "7 string message_id",
            "8 string detail",
        },
        "message ListSuppressionsReq": {
            "1 string domain",
            "2 string reason",
            "3 string address_prefix",
            "4 Ts from_date",
            "5 string after",
            "6 uint32 take",
        },
        "message ListSuppressionsRes": {"1 repeated Suppression suppressions", "2 string next"},
        "message GetSuppressionReq": {"1 string domain", "2 string address"},
        "message GetSuppressionRes": {"1 Suppression suppression"},
        "message Webhook": {
            "1 string webhook_id",
            "2 string domain",
            "3 string url",
            "4 repeated string types",
            "5 string description",
            "6 Ts created_at",
            "7 string state",
            "8 uint32 failures",
            "9 Ts failing_since",
            "10 Ts suspended_at",
            "11 string suspended_for",
            "12 Ts old_secret_until",
        },
        "message WebhookDelivery": {
            "1 uint64 number",
            "2 string event_id",
            "3 string type",
            "4 Ts created_at",
            "5 string state",
            "6 Ts next_attempt_at",
            "7 uint32 attempts",
            "8 Ts last_attempt_at",
            "9 uint32 status",
            "10 string error",
            "11 uint32 milliseconds",
            "12 string body",
        },
        "message CreateWebhookReq": {
            "1 string domain",
            "2 string url",
            "3 repeated string types",
            "4 string description",
        },
        "message CreateWebhookRes": {
            "1 Webhook webhook",
            "2 string secret",
        },
        "message ListWebhooksReq": {
            "1 string domain",
        },
        "message ListWebhooksRes": {
            "1 repeated Webhook webhooks",
        },
        "message GetWebhookReq": {
            "1 string domain",
            "2 string webhook_id",
        },
        "message GetWebhookRes": {
            "1 Webhook webhook",
        },
        "message DeleteWebhookReq": {
            "1 string domain",
            "2 string webhook_id",
        },
        "message DeleteWebhookRes": {
            "1 Webhook webhook",
        },
        "message TestWebhookReq": {
            "1 string domain",
            "2 string webhook_id",
        },
        "message TestWebhookRes": {
            "1 WebhookDelivery delivery",
        },
        "message RotateWebhookSecretReq": {
            "1 string domain",
            "2 string webhook_id",
            "3 bool at_once",
        },
        "message RotateWebhookSecretRes": {
            "1 Webhook webhook",
            "2 string secret",
        },
        "message ListWebhookDeliveriesReq": {
            "1 string domain",
            "2 string webhook_id",
            "3 string state",
            "4 uint32 take",
            "5 uint64 before",
        },
        "message ListWebhookDeliveriesRes": {
            "1 repeated WebhookDelivery deliveries",
            "2 uint64 next",
        },
        "message RedeliverWebhookReq": {
            "1 string domain",
            "2 string webhook_id",
            "3 uint64 number",
            "4 Ts failed_since",
        },
        "message RedeliverWebhookRes": {
            "1 uint32 owed",
        },
        "message AddSuppressionsReq": {"1 string domain", "2 repeated NewSuppression suppressions"},
        "message NewSuppression": {
            "1 string address",
            "2 string reason",
            "3 Ts created_at",
            "4 Ts expires_at",
            "5 string detail",
        },
        "message AddSuppressionsRes": {
            "1 uint32 added",
            "2 uint32 unchanged",
            "3 repeated RejectedSuppression rejected",
        },
        "message RejectedSuppression": {"1 uint32 index", "2 string address", "3 string reason"},
        "message RemoveSuppressionReq": {"1 string domain", "2 string address"},
        "message RemoveSuppressionRes": {"1 Suppression suppression"},
        "message HZRequest": set(),
        "message HZResponse": {"1 map<string, string> result"},
    },
    "kannon": {
        "service StatsApiV1": {
            "GetStats(GetStatsReq) -> GetStatsRes",
            "GetStatsAggregated(GetStatsAggregatedReq) -> GetStatsAggregatedRes",
        },
        "message GetStatsReq": {
            "1 string domain",
            "2 Ts from_date",
            "3 Ts to_date",
            "4 uint32 skip",
            "5 uint32 take",
        },
        "message GetStatsRes": {"1 int64 total", f"2 repeated {STATS} stats"},
        "message GetStatsAggregatedReq": {"1 string domain", "2 Ts from_date", "3 Ts to_date"},
        "message GetStatsAggregatedRes": {f"1 repeated {AGGREGATED} stats"},
    },
    "kannon.stats.apiv2": {
        "service StatsApiV2": {"GetAggregatedStats(GetAggregatedStatsReq) -> GetAggregatedStatsRes"},
        "message GetAggregatedStatsReq": {"1 string domain", "2 Ts from_date", "3 Ts to_date"},
        "message GetAggregatedStatsRes": {f"1 repeated {AGGREGATED} stats"},
    },
    # Our own: statistics in depth.
    "kannon.stats.apiv3": {
        "service StatsApiV3": {
            "GetCounts(GetCountsReq) -> GetCountsRes",
            "GetSeries(GetSeriesReq) -> GetSeriesRes",
            "GetLatencies(GetLatenciesReq) -> GetLatenciesRes",
            "GetTimeline(GetTimelineReq) -> GetTimelineRes",
            "ListOutcomes(ListOutcomesReq) -> ListOutcomesRes",
            "ListBatches(ListBatchesReq) -> ListBatchesRes",
            "ExportOutcomes(ExportOutcomesReq) -> stream ExportOutcomesRes",
            "StreamOutcomes(StreamOutcomesReq) -> stream StreamOutcomesRes",
        },
        "message GetCountsReq": {
            "1 string domain",
            "2 Ts from_date",
            "3 Ts to_date",
            "4 Dimension dimension",
            "5 repeated string values",
            "6 uint32 take",
        },
        "message GetCountsRes": {"1 repeated Tally tallies"},
        "message Tally": {"1 string value", "2 Counts counts", "3 Rates rates"},
        "message Counts": {
            "1 int64 accepted",
            "2 int64 rejected",
            "3 int64 delivered",
            "4 int64 deferred",
            "5 int64 bounced",
            "6 int64 late_bounced",
            "7 int64 failed",
            "8 int64 complained",
            "9 int64 opened",
            "10 int64 unique_opened",
            "11 int64 machine_opened",
            "12 int64 clicked",
            "13 int64 unique_clicked",
            "14 int64 machine_clicked",
        },
        "message Rates": {
            "1 optional double delivery",
            "2 optional double bounce",
            "3 optional double complaint",
            "4 optional double open",
            "5 optional double click",
            "6 optional double click_to_open",
        },
        "message GetSeriesReq": {
            "1 string domain",
            "2 Ts from_date",
            "3 Ts to_date",
            "4 Dimension dimension",
            "5 repeated string values",
            "6 Interval interval",
            "7 string zone",
        },
        "message GetSeriesRes": {"1 repeated Point points"},
        "message Point": {"1 Ts start", "2 string value", "3 Counts counts", "4 Rates rates"},
        "message GetLatenciesReq": {
            "1 string domain",
            "2 Ts from_date",
            "3 Ts to_date",
            "4 Dimension dimension",
            "5 repeated string values",
            "6 uint32 take",
            "7 repeated double percentiles",
        },
        "message GetLatenciesRes": {"1 repeated Latency latencies"},
        "message Latency": {"1 string value", "2 int64 delivered", "3 repeated Percentile percentiles"},
        "message Percentile": {"1 double share", "2 double seconds"},
        "message GetTimelineReq": {"1 string domain", "2 string message_id", "3 uint32 seq"},
        "message GetTimelineRes": {"1 repeated Outcome outcomes"},
        "message Outcome": {
            "1 Ts at",
            "2 string type",
            "3 string message_id",
            "4 string delivery",
            "5 string email",
            "6 uint32 attempt",
            "7 uint32 code",
            "8 string enhanced",
            "9 string text",
            "10 string exchanger",
            "11 string category",
            "12 string url",
            "13 string ip",
            "14 string user_agent",
            f"15 {MODE} tracking_mode",
            "16 string machine",
            "17 string event_id",
            "18 string stage",
            "19 bool hard",
            "20 bool permanent",
            "21 bool late",
        },
        "message OutcomeFilter": {
            "1 string domain",
            "2 Ts from_date",
            "3 Ts to_date",
            "4 string email",
            "5 string message_id",
            "6 string type",
        },
        "message ListOutcomesReq": {"1 OutcomeFilter filter", "2 string after", "3 uint32 take"},
        "message ListOutcomesRes": {"1 repeated Outcome outcomes", "2 string next"},
        "message ListBatchesReq": {
            "1 string domain",
            "2 Ts from_date",
            "3 Ts to_date",
            "4 string subject",
            "5 int64 after",
            "6 uint32 take",
        },
        "message ListBatchesRes": {"1 repeated BatchSummary batches", "2 int64 next"},
        "message BatchSummary": {
            "1 string message_id",
            "2 string subject",
            "3 string template_id",
            "4 int32 recipients",
            "5 Ts accepted_at",
        },
        "message ExportOutcomesReq": {"1 OutcomeFilter filter", "2 ExportFormat format"},
        "message ExportOutcomesRes": {"1 bytes data"},
        "message StreamOutcomesReq": {
            "1 string domain",
            "2 string cursor",
            "3 bool from_now",
            "4 bool follow",
            "5 repeated string types",
            "6 string message_id",
            "7 string email",
        },
        "message StreamOutcomesRes": {"1 repeated Outcome outcomes", "2 string cursor"},
        "enum Dimension": {
            "0 DIMENSION_UNSPECIFIED",
            "1 DIMENSION_TEMPLATE",
            "2 DIMENSION_RECIPIENT_DOMAIN",
            "3 DIMENSION_PROVIDER",
            "4 DIMENSION_CATEGORY",
            "5 DIMENSION_BATCH",
        },
        "enum Interval": {"0 INTERVAL_UNSPECIFIED", "1 INTERVAL_HOUR", "2 INTERVAL_DAY", "3 INTERVAL_WEEK"},
        "enum ExportFormat": {"0 EXPORT_FORMAT_UNSPECIFIED", "1 EXPORT_FORMAT_CSV", "2 EXPORT_FORMAT_JSONL"},
    },
    "pkg.kannon.stats.types": {
        "message StatsAggregated": {"1 string type", "2 Ts timestamp", "3 int64 count"},
        "message Stats": {
            "1 string message_id",
            "2 string domain",
            "3 string email",
            "4 Ts timestamp",
            "5 string type",
            "6 StatsData data",
            f"7 {MODE} tracking_mode",
        },
        "message StatsData": {
            "1 oneof data: StatsDataAccepted accepted",
            "2 oneof data: StatsDataDelivered delivered",
            "3 oneof data: StatsDataFailed failed",
            "4 oneof data: StatsDataBounced bounced",
            "5 oneof data: StatsDataOpened opened",
            "6 oneof data: StatsDataClicked clicked",
            "7 oneof data: StatsDataRejected rejected",
            "8 oneof data: StatsDataError error",
            # Ours:
            "100 oneof data: StatsDataComplained complained",
        },
        "message StatsDataAccepted": set(),
        "message StatsDataDelivered": set(),
        "message StatsDataFailed": {"1 string reason"},
        "message StatsDataRejected": {"1 string reason"},
        "message StatsDataBounced": {"1 bool permanent", "2 uint32 code", "3 string msg", "100 bool late"},
        "message StatsDataComplained": {"1 string category"},
        "message StatsDataError": {"1 uint32 code", "2 string msg"},
        "message StatsDataOpened": {"1 string user_agent", "2 string ip"},
        "message StatsDataClicked": {"1 string user_agent", "2 string ip", "3 string url"},
    },
    # Our own: between send and the edge, which are replaced one after the other in an upgrade.
    "kannon.edge.v1": {
        "service Edge": {
            "Submit(SubmitRequest) -> SubmitResponse",
            "Describe(DescribeRequest) -> DescribeResponse",
            "Forget(ForgetRequest) -> ForgetResponse",
        },
        "message Envelope": {
            f"1 {EMAIL} email",
            "2 int64 batch",
            "3 int32 seq",
            "4 int32 attempt",
            "5 int32 emission",
            "6 int64 first_emitted_at_ms",
            "7 int64 expires_at_ms",
            "8 bytes hmac",
            "100 optional Rest rest",
        },
        "message Rest": {"1 string name", "2 int64 size", "3 bytes digest"},
        "message EnvelopeChunk": {"1 string edge", "2 repeated Envelope envelopes"},
        "message SubmitRequest": {"1 repeated Envelope envelopes"},
        "enum Verdict": {
            "0 VERDICT_UNSPECIFIED",
            "1 VERDICT_TAKEN",
            "2 VERDICT_UNTAKEN",
            "3 VERDICT_REFUSED",
        },
        "message SubmitAnswer": {
            "1 int64 batch",
            "2 int32 seq",
            "3 int32 attempt",
            "4 Verdict verdict",
            "5 string reason",
            "6 int64 wait_ms",
        },
        "message SubmitResponse": {"1 repeated SubmitAnswer answers"},
        "message ForgetRequest": {"1 repeated DeliveryName deliveries"},
        "message DeliveryName": {"1 int64 batch", "2 int32 seq"},
        "message ForgetResponse": {"1 int64 forgotten"},
        "message DescribeRequest": set(),
        "message SuspendedExchanger": {
            "1 string host",
            "2 int32 port",
            "3 int32 failures",
            "4 int64 until_ms",
            "5 int64 waiting",
            "6 string reason",
        },
        "message AmbiguousAttempt": {
            "1 int64 batch",
            "2 int32 seq",
            "3 int32 attempt",
            "4 int32 ambiguities",
            "5 string exchanger",
        },
        "message DescribeResponse": {
            "1 string edge",
            "2 int64 journal_born_at_ms",
            "3 int64 held",
            "4 int64 capacity",
            "5 int32 transmitting",
            "6 int64 unpublished",
            "7 repeated SuspendedExchanger suspended",
            "8 int64 suspended_total",
            "9 repeated AmbiguousAttempt ambiguous",
            "10 int64 ambiguous_total",
        },
    },
}


def _generated_files() -> Iterator[FileDescriptorProto]:
    for module in pkgutil.iter_modules(pb.__path__, f"{pb.__name__}."):
        if module.name.endswith("_pb2"):
            file = FileDescriptorProto()
            importlib.import_module(module.name).DESCRIPTOR.CopyToProto(file)
            yield file


FILES = list(_generated_files())


def _described(file: FileDescriptorProto) -> Declarations:
    return (
        {f"service {service.name}": _calls(file, service) for service in file.service}
        | {f"message {message.name}": _members(file, message) for message in file.message_type}
        | {f"enum {enum.name}": _values(enum) for enum in file.enum_type}
        | {f"extension {extension.name}": set() for extension in file.extension}
    )


def _calls(file: FileDescriptorProto, service: ServiceDescriptorProto) -> set[str]:
    def side(type_name: str, streamed: bool) -> str:
        return f"{'stream ' if streamed else ''}{_short(file, type_name)}"

    return {
        f"{call.name}({side(call.input_type, call.client_streaming)})"
        f" -> {side(call.output_type, call.server_streaming)}"
        for call in service.method
    }


def _members(file: FileDescriptorProto, message: DescriptorProto) -> set[str]:
    maps = {
        f".{file.package}.{message.name}.{nested.name}": nested
        for nested in message.nested_type
        if nested.options.map_entry
    }
    fields = {_field(file, message, field, maps) for field in message.field}
    nested = {f"message {other.name}" for other in message.nested_type if not other.options.map_entry}
    return fields | nested | {f"enum {enum.name}" for enum in message.enum_type}


def _field(
    file: FileDescriptorProto,
    message: DescriptorProto,
    field: FieldDescriptorProto,
    maps: dict[str, DescriptorProto],
) -> str:
    if field.type_name in maps:
        key, value = maps[field.type_name].field
        kind = f"map<{_type(file, key)}, {_type(file, value)}>"
    elif field.label == FieldDescriptorProto.LABEL_REPEATED:
        kind = f"repeated {_type(file, field)}"
    elif field.proto3_optional:
        kind = f"optional {_type(file, field)}"
    elif field.HasField("oneof_index"):
        kind = f"oneof {message.oneof_decl[field.oneof_index].name}: {_type(file, field)}"
    else:
        kind = _type(file, field)
    return f"{field.number} {kind} {field.name}"


def _type(file: FileDescriptorProto, field: FieldDescriptorProto) -> str:
    if field.type_name:
        return _short(file, field.type_name)
    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def _short(file: FileDescriptorProto, type_name: str) -> str:
    if type_name == ".google.protobuf.Timestamp":
        return "Ts"
    package, _, name = type_name.removeprefix(".").rpartition(".")
    return name if package == file.package else f"{package}.{name}"


def _values(enum: EnumDescriptorProto) -> set[str]:
    return {f"{value.number} {value.name}" for value in enum.value}


def test_packages_are_those_of_the_contract_and_one_file_each() -> None:
    assert sorted(file.package for file in FILES) == sorted(WIRE)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.package)
def test_package_declares_what_the_contract_says_and_nothing_else(file: FileDescriptorProto) -> None:
    assert _described(file) == WIRE[file.package]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.package)
def test_fields_without_optional_have_no_presence_of_their_own(file: FileDescriptorProto) -> None:
    """proto2 and the editions of protobuf track presence of every scalar, and so change what is sent."""
    assert file.syntax == "proto3"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.package)
def test_json_names_are_the_default_ones(file: FileDescriptorProto) -> None:
    """Connect clients speak JSON: there a field is the camel case of its name, unless told otherwise."""
    own_names = [field.json_name for message in file.message_type for field in message.field]
    assert not any(own_names)


def test_the_reference_is_up_to_date() -> None:
    check_generated("reference.py", "docs/api.md and what proto/ says")


def test_generated_code_is_up_to_date() -> None:
    check_generated("generate.py", "these")
