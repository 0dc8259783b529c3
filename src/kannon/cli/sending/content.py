"""What all Recipients of a run share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from kannon.adapters.pb import mailer_pb2, types_pb2
from kannon.cli.sending.files import SentFile
from kannon.cli.sending.rows import ListedRecipient
from kannon.cli.tracking import state


@dataclass(frozen=True, slots=True)
class Options:
    """What most runs do not ask for.

    Attributes:
        text: the text part; empty if it is made from the HTML.
        syntax: of subject and body, by the API's number.
    """

    to: Sequence[str] = ()
    cc: Sequence[str] = ()
    reply_to: str = ""
    custom: Mapping[str, str] = field(default_factory=dict)
    unsubscribe_url: str = ""
    hosted_unsubscribe: bool = False
    raw_fields: Sequence[str] = ()
    text: str = ""
    syntax: types_pb2.TemplateSyntax.ValueType = types_pb2.TEMPLATE_SYNTAX_UNSPECIFIED
    inline_css: bool = False

    def add_to(self, request: mailer_pb2.SendHTMLReq | mailer_pb2.SendTemplateReq) -> None:
        """Set the fields that a call for HTML and one for a Template share."""
        headers = types_pb2.Headers(to=self.to, cc=self.cc, reply_to=self.reply_to, custom=self.custom)
        if headers.ByteSize():
            request.headers.CopyFrom(headers)
        if self.unsubscribe_url or self.hosted_unsubscribe:
            request.one_click_unsubscribe.url_template = self.unsubscribe_url
            request.one_click_unsubscribe.hosted = self.hosted_unsubscribe
        request.raw_fields.extend(self.raw_fields)
        request.text = self.text

    @property
    def digested(self) -> Sequence[str]:
        """What tells them apart from others; nothing for none."""
        return [] if self == NO_OPTIONS else [repr(self)]


NO_OPTIONS: Final = Options()


@dataclass(frozen=True, slots=True)
class Content:
    """Sender, subject and body of a run, and when it is due.

    Attributes:
        html: empty if a Template is sent.
        template_id: empty if HTML is sent.
        at: None for at once.
        ignore_suppression: send to suppressed addresses, too.
        options: what most runs do not ask for.
        track_opens: the mode that is asked for; None for what the domain allows.
        track_links: likewise.
        files: what goes with every mail.
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
    options: Options = NO_OPTIONS
    track_opens: str | None = None
    track_links: str | None = None
    files: tuple[SentFile, ...] = ()

    def request(
        self, recipients: Sequence[ListedRecipient]
    ) -> mailer_pb2.SendHTMLReq | mailer_pb2.SendTemplateReq:
        """The call that sends it to these Recipients."""
        request: mailer_pb2.SendHTMLReq | mailer_pb2.SendTemplateReq
        if self.template_id:
            request = mailer_pb2.SendTemplateReq(template_id=self.template_id)
        else:
            request = mailer_pb2.SendHTMLReq(html=self.html)
            request.syntax, request.inline_css = self.options.syntax, self.options.inline_css
        self.options.add_to(request)
        request.sender.CopyFrom(types_pb2.Sender(email=self.sender, alias=self.alias))
        request.subject = self.subject
        request.global_fields.update(self.fields)
        request.attachments.extend(
            mailer_pb2.Attachment(filename=one.filename, content=one.content, content_id=one.content_id)
            for one in self.files
        )
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
