"""A gateway in memory, over gRPC, with the manners of the real one that the commands rely on."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import grpc
from google.protobuf.message import Message

from kannon.adapters.pb import admin_pb2, mailer_pb2, stats_types_pb2, stats_v1_pb2
from kannon.adapters.pb.mailer_pb2 import RejectedRecipient, SendRes

Asked = Message
Answer = Callable[[Any, Mapping[str, str]], Message]


@dataclass
class Refused(Exception):
    """A call that is not answered as it was asked for."""

    code: grpc.StatusCode
    text: str = "away"
    retry_after: str = ""


@dataclass
class FakeApi:
    """Keeps what it is told.

    Attributes:
        calls: every send call that it saw, answered or not.
        mails: what it accepted: address and fields, once for each mail that goes out.
        failures: with which the next send calls are refused; one that is `None` passes.
        lost: how many of the next send calls are accepted while their answer gets lost.
        counts: (hour, type, count) of the statistics.
        looks: how often the statistics were asked for.
    """

    calls: list[tuple[Any, Mapping[str, str]]] = field(default_factory=list)
    mails: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    failures: list[Refused | None] = field(default_factory=list)
    lost: int = 0
    counts: list[tuple[datetime, str, int]] = field(default_factory=list)
    looks: int = 0
    stats_failures: list[Refused] = field(default_factory=list)
    templates: dict[str, admin_pb2.Template] = field(default_factory=dict)
    rendered: list[Any] = field(default_factory=list)
    address: str = ""
    _answers: dict[str, tuple[bytes, SendRes]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def keys(self) -> list[str]:
        """The idempotency keys of all calls."""
        return [metadata["idempotency-key"] for _, metadata in self.calls]

    def send(self, request: Any, metadata: Mapping[str, str]) -> SendRes:
        """`SendHTML` and `SendTemplate`: an address with two @-signs is refused."""
        with self._lock:
            self.calls.append((request, metadata))
            failure = self.failures.pop(0) if self.failures else None
            if failure:
                raise failure
            answer = self._accepted(metadata["idempotency-key"], request)
            if self.lost:
                self.lost -= 1
                raise Refused(grpc.StatusCode.UNAVAILABLE, "the connection broke")
            return answer

    def _accepted(self, key: str, request: Any) -> SendRes:
        content = request.SerializeToString(deterministic=True)
        if key in self._answers:
            before, answer = self._answers[key]
            if before != content:
                raise Refused(grpc.StatusCode.ALREADY_EXISTS, "idempotency-key: was used for another call")
            return answer
        taken = [one for one in request.recipients if one.email.count("@") == 1]
        refused = [one for one in request.recipients if one.email.count("@") != 1]
        self.mails.extend((one.email, dict(one.fields)) for one in taken)
        answer = SendRes(
            message_id=f"msg_{len(self._answers) + 1}@d.test",
            accepted_count=len(taken),
            rejected_count=len(refused),
            rejected_recipients=[RejectedRecipient(email=o.email, reason="invalid_email") for o in refused],
        )
        self._answers[key] = (content, answer)
        return answer

    def render(self, request: Any, _: Mapping[str, str]) -> Message:
        """`RenderTemplate`: says what it was asked."""
        self.rendered.append(request)
        html = request.html or f"of {request.template_id}"
        return mailer_pb2.RenderTemplateRes(
            subject=request.subject, html=html, text="text", unfilled=["a", "b"]
        )

    def create(self, request: Any, _: Mapping[str, str]) -> Message:
        """`CreateTemplate`."""
        made = admin_pb2.Template(
            template_id=f"t{len(self.templates) + 1}@{request.domain}",
            html=request.html,
            title=request.title,
            type="template",
        )
        self.templates[made.template_id] = made
        return admin_pb2.CreateTemplateRes(template=made)

    def update(self, request: Any, _: Mapping[str, str]) -> Message:
        """`UpdateTemplate`."""
        changed = self._template(request.template_id)
        changed.html, changed.title = request.html, request.title
        return admin_pb2.UpdateTemplateRes(template=changed)

    def delete(self, request: Any, _: Mapping[str, str]) -> Message:
        """`DeleteTemplate`."""
        found = self._template(request.template_id)
        del self.templates[request.template_id]
        return admin_pb2.DeleteTemplateRes(template=found)

    def get(self, request: Any, _: Mapping[str, str]) -> Message:
        """`GetTemplate`."""
        return admin_pb2.GetTemplateRes(template=self._template(request.template_id))

    def list(self, request: Any, _: Mapping[str, str]) -> Message:
        """`GetTemplates`."""
        found = [one for one in self.templates.values() if one.template_id.endswith("@" + request.domain)]
        page = found[request.skip : request.skip + request.take]
        return admin_pb2.GetTemplatesRes(templates=page, total=len(found))

    def stats(self, request: Any, _: Mapping[str, str]) -> Message:
        """`GetStatsAggregated`."""
        self.looks += 1
        if self.stats_failures:
            raise self.stats_failures.pop(0)
        answer = stats_v1_pb2.GetStatsAggregatedRes()
        for hour, kind, count in self.counts:
            row = stats_types_pb2.StatsAggregated(type=kind, count=count)
            row.timestamp.FromDatetime(hour)
            if request.from_date.seconds <= row.timestamp.seconds:
                answer.stats.append(row)
        return answer

    def domain(self, request: Any, _: Mapping[str, str]) -> Message:
        """`GetDomain`: there is `d.test` alone."""
        if request.domain != "d.test":
            raise Refused(grpc.StatusCode.NOT_FOUND, "there is no such domain")
        return admin_pb2.GetDomainRes(domain=admin_pb2.Domain(domain="d.test"))

    def _template(self, template_id: str) -> admin_pb2.Template:
        if template_id not in self.templates:
            raise Refused(grpc.StatusCode.NOT_FOUND, "there is no such template")
        return self.templates[template_id]


@contextmanager
def running_api(max_message: int = 4 * 1024**2) -> Iterator[FakeApi]:
    """One that listens on 127.0.0.1, at its `address`."""
    api = FakeApi()
    mailer, admin = mailer_pb2.DESCRIPTOR, admin_pb2.DESCRIPTOR
    services = (
        (
            mailer.services_by_name["Mailer"],
            {"SendHTML": api.send, "SendTemplate": api.send, "RenderTemplate": api.render},
        ),
        (
            admin.services_by_name["Api"],
            {
                "CreateTemplate": api.create,
                "UpdateTemplate": api.update,
                "DeleteTemplate": api.delete,
                "GetTemplate": api.get,
                "GetTemplates": api.list,
                "GetDomain": api.domain,
            },
        ),
        (stats_v1_pb2.DESCRIPTOR.services_by_name["StatsApiV1"], {"GetStatsAggregated": api.stats}),
    )
    options = [("grpc.max_receive_message_length", max_message)]
    server = grpc.server(ThreadPoolExecutor(2), options=options)
    for service, answers in services:
        handlers = {name: _handler(service.methods_by_name[name], answer) for name, answer in answers.items()}
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service.full_name, handlers)])
    api.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield api
    server.stop(None).wait()


def _handler(method: Any, answer: Answer) -> Any:
    def answered(request: Any, context: Any) -> Message:
        try:
            return answer(request, dict(context.invocation_metadata()))
        except Refused as refused:
            if refused.retry_after:
                context.set_trailing_metadata((("retry-after", refused.retry_after),))
            context.abort(refused.code, refused.text)
            raise AssertionError("abort raises") from None

    return grpc.unary_unary_rpc_method_handler(
        answered,
        request_deserializer=method.input_type._concrete_class.FromString,
        response_serializer=lambda message: message.SerializeToString(),
    )
