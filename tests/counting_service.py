"""A service with a method that answers with a stream of messages: it counts, until something happens."""

from collections.abc import AsyncGenerator
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, wrappers_pb2
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from api_gateway.endpoints import Access, Call, Service
from api_gateway.refusals import NotFound

COUNT = "kannon.tests.Counting/Count"


def counting(access: Access = Access.ADMIN_TOKEN) -> Service:
    """Its `Count` answers a number with all numbers below it; 13 is refused when it would be next."""
    return Service(_descriptor(), access, {}, {"Count": _count})


async def _count(request: Any, _call: Call) -> AsyncGenerator[Message, None]:
    for number in range(request.value):
        if number == 13:
            raise NotFound("there is no 13")
        yield wrappers_pb2.UInt32Value(value=number)


def _descriptor() -> ServiceDescriptor:
    pool = descriptor_pool.Default()
    number = ".google.protobuf.UInt32Value"
    file = descriptor_pb2.FileDescriptorProto(
        name="tests/counting.proto",
        package="kannon.tests",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
        service=[
            descriptor_pb2.ServiceDescriptorProto(
                name="Counting",
                method=[
                    descriptor_pb2.MethodDescriptorProto(
                        name="Count", input_type=number, output_type=number, server_streaming=True
                    )
                ],
            )
        ],
        syntax="proto3",
    )
    return pool.AddSerializedFile(file.SerializeToString()).services_by_name["Counting"]
