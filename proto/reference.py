"""Makes docs/api.md, the reference of the API, from the .proto files beside this script; see `--help`."""

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
TARGET = ROOT / "docs" / "api.md"
FIRST = ("mailer", "types", "tracking", "admin")
"""In this order; the others follow by name."""
NOT_OF_THE_API = ("edge",)

INTRODUCTION = """\
# API

Made from `proto/kannonapi/` by `make generate`: never edited by hand. How one calls, and with what
credentials, says the [README](../README.md). Every procedure is called at the one port of the gateway
(`api.port`), by any of

- gRPC, without TLS, at `/Service/Procedure`; reflection and `grpc.health.v1` are there, too;
- Connect: `POST /Service/Procedure` with `application/json` or `application/proto`;
- gRPC-Web, `application/grpc-web+proto` or `application/grpc-web-text`.

In JSON, names of fields are written as they stand here or in lowerCamelCase, times as in
`2026-05-01T12:00:00Z`, octets in base64; numbers of 64 bits come as strings, and values that are 0 or empty
are left out. Unknown fields are ignored and logged. A recipient may be a string, its address. Errors come as
`{"code": …, "message": …}`; with `Retry-After` where one may call again.
"""
_SERVICE, _MESSAGE, _ENUM, _METHOD, _FIELD, _VALUE = 6, 4, 5, 2, 2, 2  # as in descriptor.proto
_KINDS = {
    kind: FieldDescriptorProto.Type.Name(kind).removeprefix("TYPE_").lower()
    for kind in FieldDescriptorProto.Type.values()
}


class _File:
    """A .proto file, and what its comments say of each of its parts."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self.proto = file
        self._comments = {
            tuple(location.path): (location.leading_comments or location.trailing_comments).strip()
            for location in file.source_code_info.location
        }

    def said(self, *path: int) -> str:
        return " ".join(self.paragraphs(*path))

    def paragraphs(self, *path: int) -> list[str]:
        lines = (line.strip() for line in self._comments.get(path, "").splitlines())
        found = "\n".join(lines).split("\n\n")
        return [_escaped(paragraph.replace("\n", " ")) for paragraph in found if paragraph]

    def name_of(self, message: DescriptorProto | EnumDescriptorProto) -> str:
        return f"{self.proto.package}.{message.name}"


def render() -> str:
    """What docs/api.md must hold."""
    files = [_File(file) for file in _described()]
    blocks: list[str] = [INTRODUCTION]
    for file in files:
        blocks.extend(_services(file))
    blocks.append("## Messages\n")
    for file in files:
        blocks.extend(_messages(file))
        blocks.extend(_enums(file))
    return "\n".join(blocks)


def _described() -> list[FileDescriptorProto]:
    found = sorted(path.stem for path in (PROTO / "kannonapi").glob("*.proto"))
    names = [*FIRST, *(name for name in found if name not in FIRST + NOT_OF_THE_API)]
    sources = [PROTO / "kannonapi" / f"{name}.proto" for name in names]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "files"
        includes = [f"-I{PROTO}", f"-I{resources.files('grpc_tools') / '_proto'}"]
        options = ["--include_source_info", f"--descriptor_set_out={target}"]
        if protoc.main(["protoc", *includes, *options, *map(str, sources)]):
            raise SystemExit("protoc failed; its own message stands above")
        return list(FileDescriptorSet.FromString(target.read_bytes()).file)


def _services(file: _File) -> Iterator[str]:
    for number, service in enumerate(file.proto.service):
        yield f"## {file.proto.package}.{service.name}\n"
        yield from (f"{text}\n" for text in file.paragraphs(_SERVICE, number))
        rows = ["| procedure | request | response | |", "| --- | --- | --- | --- |"]
        for at, method in enumerate(service.method):
            response = ("stream of " if method.server_streaming else "") + _link(method.output_type)
            said = file.said(_SERVICE, number, _METHOD, at)
            rows.append(f"| `{method.name}` | {_link(method.input_type)} | {response} | {said} |")
        yield "\n".join(rows) + "\n"


def _messages(file: _File) -> Iterator[str]:
    for number, message in enumerate(file.proto.message_type):
        yield f"### {file.name_of(message)}\n"
        yield from (f"{text}\n" for text in file.paragraphs(_MESSAGE, number))
        rows = [
            f"| {field.number} | `{field.name}` | {_kind(field, message)} | "
            f"{file.said(_MESSAGE, number, _FIELD, at)} |"
            for at, field in enumerate(message.field)
        ]
        if rows:
            yield "\n".join(["| | field | type | |", "| ---: | --- | --- | --- |", *rows]) + "\n"
        else:
            yield "No fields.\n"


def _enums(file: _File) -> Iterator[str]:
    for number, enum in enumerate(file.proto.enum_type):
        yield f"### {file.name_of(enum)}\n"
        yield from (f"{text}\n" for text in file.paragraphs(_ENUM, number))
        rows = [
            f"| {value.number} | `{value.name}` | {file.said(_ENUM, number, _VALUE, at)} |"
            for at, value in enumerate(enum.value)
        ]
        yield "\n".join(["| | value | |", "| ---: | --- | --- |", *rows]) + "\n"


def _kind(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    for nested in message.nested_type:
        if field.type_name.endswith(f".{message.name}.{nested.name}") and nested.options.map_entry:
            key, value = nested.field
            return f"map of {_kind(key, nested)} to {_kind(value, nested)}"
    kind = _link(field.type_name) if field.type_name else _KINDS[field.type]
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {kind}"
    if field.HasField("oneof_index") and not field.proto3_optional:
        return f"{kind}, one of `{message.oneof_decl[field.oneof_index].name}`"
    return f"optional {kind}" if field.proto3_optional else kind


def _link(type_name: str) -> str:
    full = type_name.removeprefix(".")
    short = full.rpartition(".")[2]
    if full.startswith("google.protobuf."):
        return f"`{full}`"
    return f"[{short}](#{re.sub(r'[^a-z0-9_-]', '', full.lower())})"


def _escaped(text: str) -> str:
    return re.sub(r"([|<>])", r"\\\1", text)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=f"Make {TARGET.relative_to(ROOT)} from proto/.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if it differs")
    check = parser.parse_args(arguments).check
    wanted = render()
    if check:
        return int(wanted != TARGET.read_text("utf-8"))
    TARGET.write_text(wanted, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
