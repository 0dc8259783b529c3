"""Makes src/kannon/adapters/pb/ from the .proto files beside this script; see `--help`."""

import argparse
import os
import re
import shutil
import sys
import sysconfig
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
TARGET = ROOT / "src" / "kannon" / "adapters" / "pb"

# protoc derives module names from the folder of the .proto files. A folder named `kannon` would put them into
# our import package at a place nobody chose; so it has another name, and the modules are moved.
SOURCE_PACKAGE = "kannonapi"
TARGET_PACKAGE = "kannon.adapters.pb"

INIT = '"""Messages and services of proto/, made by proto/generate.py: never edited by hand."""\n'


class GenerateError(Exception):
    """protoc or one of its plugins is missing, or refuses the sources."""


def render() -> dict[str, str]:
    """Return what the target folder must hold: text by file name."""
    sources = sorted((PROTO / SOURCE_PACKAGE).glob("*.proto"))
    # Without a service, protoc-gen-grpc writes a file that holds nothing but a version check.
    services = [path for path in sources if re.search(r"(?m)^service ", path.read_text("utf-8"))]
    with tempfile.TemporaryDirectory() as folder:
        _protoc(sources, f"--python_out={folder}", _plugin("mypy"), f"--mypy_out=quiet:{folder}")
        # only_async: stubs and servicers typed for grpc.aio, the one flavour used here.
        asyncio_types = f"--mypy_grpc_out=quiet,only_async:{folder}"
        _protoc(services, f"--grpc_python_out={folder}", _plugin("mypy_grpc"), asyncio_types)
        made = sorted((Path(folder) / SOURCE_PACKAGE).iterdir())
        return {"__init__.py": INIT} | {path.name: _adapted(path.read_text("utf-8")) for path in made}


def _protoc(sources: list[Path], *options: str) -> None:
    includes = [f"-I{PROTO}", f"-I{resources.files('grpc_tools') / '_proto'}"]
    if protoc.main(["protoc", *includes, *options, *map(str, sources)]):
        raise GenerateError("protoc failed; its own message stands above")


def _plugin(name: str) -> str:
    """Return the option that names a plugin of this interpreter's environment, which need not be on PATH."""
    program = f"protoc-gen-{name}"
    places = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    path = shutil.which(program, path=places)
    if path is None:
        raise GenerateError(f"{program} not found; it comes with the package mypy-protobuf")
    return f"--plugin={program}={path}"


def _adapted(text: str) -> str:
    """Return a generated module as it must read in the target package."""
    text = re.sub(rf"(?m)^from {SOURCE_PACKAGE} import", f"from {TARGET_PACKAGE} import", text)
    # The name under which a module registers its classes: pickle and repr() use it.
    text = re.sub(rf"\b{SOURCE_PACKAGE}\.(\w+_pb2)", rf"{TARGET_PACKAGE}.\1", text)
    # mypy-protobuf 5.1 gives a context the handler's return type where the response type belongs; no servicer
    # could annotate its context with the types of its call.
    return re.sub(r"(_aio\.ServicerContext\[[\w.]+, )_abc\.Awaitable\[([\w.]+)\]", r"\1\2", text)


def present() -> dict[str, str]:
    """Return what the target folder holds: text by file name."""
    return {path.name: path.read_text("utf-8") for path in TARGET.glob("*.py*") if path.is_file()}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=f"Make {TARGET.relative_to(ROOT)} from proto/.")
    parser.add_argument("--check", action="store_true", help="only name the files that differ; exit 1 if any")
    check = parser.parse_args(arguments).check
    try:
        wanted = render()
    except GenerateError as error:
        print(error, file=sys.stderr)
        return 2
    found = present()
    differing = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    for name in differing:
        print((TARGET / name).relative_to(ROOT))
        if not check:
            _write(TARGET / name, wanted.get(name))
    return 1 if check and differing else 0


def _write(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
