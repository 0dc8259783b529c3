"""What all Recipients of a run share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from kannon.adapters.pb import mailer_pb2, types_pb2
from kannon.cli.sending.rows import ListedRecipient
from kannon.cli.tracking import state


@dataclass(frozen=True, slots=True)
class Content:
    """Sender, subject and body of a run, and when it is due.

    Attributes:
        html: empty if a Template is sent.
        template_id: empty if HTML is sent.
        at: None for at once.
        ignore_suppression: send to suppressed addresses, too.
        track_opens: the mode that is asked for; None for what the domain allows.
        track_links: likewise.
    """

    domain: str
    sender: str
    alias: str
    subject: str
    html: str
    template_id: str
    fields: Mapping[str, str]
    at: datetime | None
    ignore_suppression: bool = False
    track_opens: str | None = None
    track_links: str | None = None

    def request(
        self, recipients: Sequence[ListedRecipient]
    ) -> mailer_pb2.SendHTMLReq | mailer_pb2.SendTemplateReq:
        """The call that sends it to these Recipients."""
        request: mailer_pb2.SendHTMLReq | mailer_pb2.SendTemplateReq
        if self.template_id:
            request = mailer_pb2.SendTemplateReq(template_id=self.template_id)
        else:
            request = mailer_pb2.SendHTMLReq(html=self.html)
        request.sender.CopyFrom(types_pb2.Sender(email=self.sender, alias=self.alias))
        request.subject = self.subject
        request.global_fields.update(self.fields)
        request.recipients.extend(
            types_pb2.Recipient(
                email=one.email, fields=one.fields, ignore_suppression=self.ignore_suppression
            )
            for one in recipients
        )
        if self.at is not None:
            request.scheduled_time.FromDatetime(self.at.replace(tzinfo=UTC))
        if self.track_opens or self.track_links:
            state(request.tracking, self.track_opens, self.track_links)
        return request
