"""The image without an engine: the Dockerfile's steps in folders, and its processes in namespaces of Linux.

A process of it sees a root of its own: the base (this machine's `/usr` and `/etc`, with this Python as
`/usr/local`), what the Dockerfile's last stage copies, and `/tmp`, the one place that can be written to. It
is process number 1, has the user and the variables that the Dockerfile gives it, and no rights. What an
engine adds is not shown here: layers, a registry, the base itself. The network is this machine's.
"""

import fcntl
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from tests.dockerfile import BUILD, FINAL, ROOT, copied, is_ignored

BASE_PATH: Final = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
_SITE: Final = Path(sysconfig.get_paths()["purelib"])
_DEVICES: Final = ("null", "zero", "full", "random", "urandom")
_ENTER: Final = """
set -e
root=$1 base=$2 mode=$3 folder=$4
shift 4
mount --bind "$root" "$root"
mount -o "remount,bind,$mode" "$root"
for name in usr etc lib lib32 lib64 bin sbin; do
  if [ -d "$root/$name" ] && [ ! -L "$root/$name" ]; then mount --bind -o ro "/$name" "$root/$name"; fi
done
mount --bind -o ro "$base" "$root/usr/local"
for device in "$root"/dev/*; do
  if [ -f "$device" ]; then mount --bind "/dev/${device##*/}" "$device"; fi
done
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/tmp"
if [ "$mode" = rw ]; then mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"; fi
exec chroot "$root" env -C "$folder" LD_LIBRARY_PATH=/usr/local/lib "$@"
"""


def obstacle() -> str:
    """Why a process of the image cannot be started here; empty if it can."""
    if os.geteuid() != 0:
        return "only root can give a process another user and a root of its own"
    if not (Path(sys.base_prefix) / "bin" / "python").exists():
        return "this Python is not called python, as an image's is"
    for program in ("unshare", "setpriv", "chroot"):
        if not shutil.which(program):
            return f"there is no {program} here"
    return _refused_namespaces()


@cache
def _refused_namespaces() -> str:
    tried = subprocess.run([*_unshare(), "true"], capture_output=True, text=True, check=False)
    return f"no namespaces here: {tried.stderr.strip()}" if tried.returncode else ""


def _unshare() -> list[str]:
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]


@dataclass(frozen=True)
class Image:
    """What the Dockerfile makes.

    Attributes:
        root: its root, but for what comes from the base.
    """

    root: Path

    @property
    def variables(self) -> dict[str, str]:
        """Of every process in it."""
        return _expanded(FINAL.variables())

    def command(self, command: Sequence[str]) -> list[str]:
        """The command line by which this machine runs `command` as the image would."""
        user, group = FINAL.all("USER")[0].split(":")
        rights = [
            "--clear-groups",
            "--no-new-privs",
            "--bounding-set=-all",
            "--inh-caps=-all",
            "--pdeathsig=KILL",
        ]
        confined = ["setpriv", f"--reuid={user}", f"--regid={group}", *rights, *command]
        return _entering(self.root, "ro", FINAL.all("WORKDIR")[-1], confined)

    def run(self, command: Sequence[str], **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run it to its end."""
        return subprocess.run(
            self.command(command),
            env=self.variables | variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def _expanded(variables: Mapping[str, str]) -> dict[str, str]:
    return {"PATH": BASE_PATH} | {
        name: value.replace("$PATH", BASE_PATH) for name, value in variables.items()
    }


def _entering(root: Path, mode: str, folder: str, command: Sequence[str]) -> list[str]:
    arguments = [str(root), str(Path(sys.base_prefix).resolve()), mode, folder, *command]
    return [*_unshare(), "sh", "-c", _ENTER, "sh", *arguments]


def image_in(folder: Path) -> Image:
    """The image, made in `folder` if it is not there yet; several processes may ask at once."""
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            _make(folder)
            (folder / "done").touch()
    return Image(folder / "final")


def _make(folder: Path) -> None:
    build, final = _root(folder / "build"), _root(folder / "final")
    variables, workdir = _expanded(BUILD.variables()), "/"
    for instruction, arguments in BUILD.steps:
        match instruction:
            case "WORKDIR":
                workdir = arguments
                _inside(build, workdir).mkdir(parents=True, exist_ok=True)
            case "COPY":
                _, sources, target = copied(arguments)
                for source in sources:
                    _copy(ROOT / source, _inside(build, str(Path(workdir, target))))
            case "RUN":
                for command in arguments.split("&&"):
                    _run(build, workdir, command.strip(), variables)
    for _, sources, target in FINAL.copies():
        for source in sources:
            _inside(final, target).parent.mkdir(parents=True, exist_ok=True)
            _inside(build, source).rename(_inside(final, target))


def _root(path: Path) -> Path:
    """A root without a file of its own: folders to mount on, and links as this machine has them."""
    path.mkdir(mode=0o755)
    for name in ("usr", "etc", "lib", "lib32", "lib64", "bin", "sbin"):
        here = Path("/", name)
        if here.is_symlink():
            (path / name).symlink_to(here.readlink())
        elif here.is_dir():
            (path / name).mkdir()
    for name in ("dev/shm", "proc", "tmp"):
        (path / name).mkdir(parents=True)
    for name in _DEVICES:
        (path / "dev" / name).touch()
    return path


def _inside(root: Path, path: str) -> Path:
    return root / path.lstrip("/")


def _copy(source: Path, target: Path) -> None:
    """As COPY does: a folder's content, or a file into a folder."""
    if source.is_file():
        shutil.copy(source, target)
        return

    def ignored(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if is_ignored(str((Path(folder) / name).relative_to(ROOT)))]

    shutil.copytree(source, target, ignore=ignored)


def _run(build: Path, workdir: str, command: str, variables: Mapping[str, str]) -> None:
    locked = re.search(r" install .*--require-hashes .*-r ([\w.-]+)$", command)
    if locked and "--python /opt/kannon/" in command:
        [site] = _inside(build, "/opt/kannon/lib").glob("python*/site-packages")
        _link_locked(_inside(build, workdir) / locked[1], site)
        return
    if locked:
        # For the build alone: what was installed here to test with has the same versions.
        tools = _inside(build, "/usr-tools")
        _link_locked(_inside(build, workdir) / locked[1], tools)
        for name in ("pip", "packaging"):
            _link(importlib.metadata.distribution(name), tools)
        return
    own = dict(variables)
    if (build / "usr-tools").is_dir():
        own["PYTHONPATH"] = "/usr-tools"
    done = subprocess.run(
        _entering(build, "rw", workdir, ["sh", "-c", command]),
        env=own,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"


def _link_locked(lock: Path, site: Path) -> None:
    """Put into `site` what the lock asks for on this machine, as it is installed here, file by file."""
    text = lock.read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            wanted = Requirement(line.partition(" --hash=")[0])
            if wanted.marker is None or wanted.marker.evaluate():
                found = importlib.metadata.distribution(wanted.name)
                assert wanted.specifier.contains(found.version, prereleases=True), line
                _link(found, site)


def _link(distribution: importlib.metadata.Distribution, site: Path) -> None:
    for file in distribution.files or ():
        source, target = _SITE / file, site / file
        if file.parts[0] == ".." or target.exists() or not source.exists():
            continue  # its commands are for another folder
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copy(source, target)
