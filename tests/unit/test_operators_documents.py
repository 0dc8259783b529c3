"""What is written for who deploys Kannon and looks after it, against what there is."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from kannon.cli.main import cli as command
from kannon.core.replies import RULES
from kannon.runtime import settings
from kannon.telemetry.catalogue import CATALOGUE
from tests.kubectl import kustomize

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("docs/deploy.md", "docs/operations.md")
FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
KINDS = {
    "deployment": "Deployment",
    "statefulset": "StatefulSet",
    "service": "Service",
    "job": "Job",
    "secret": "Secret",
    "pingsource": "PingSource",
    "ksvc": "Service",
}
OBJECT = re.compile(rf"\b({'|'.join(KINDS)})[/ ]([a-z][a-z0-9-]+)\b")


def text_of(document: str) -> str:
    return (ROOT / document).read_text()


def examples(document: str) -> list[str]:
    """Lines of the shell, continued ones as one."""
    found = FENCED.findall(text_of(document))
    return [line for kind, body in found if kind == "sh" for line in body.replace("\\\n", " ").splitlines()]


def in_prose(document: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`\n]+)`", FENCED.sub("", text_of(document)))


def simple_commands(line: str) -> Iterator[list[str]]:
    """What a shell would run, word by word; of substitutions what is within."""
    for inner in re.findall(r"\$\(([^()]*)\)", line):
        yield from simple_commands(inner)
    words: list[str] = []
    lexer = shlex.shlex(re.sub(r"\$\([^()]*\)", "SUBSTITUTED", line), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    for word in lexer:
        if word in {"|", "||", "&", "&&", ";", ">", ">>", "<", "(", ")"}:
            yield words
            words = []
        elif words or "=" not in word:
            words.append(word)
    yield words


def commands(lines: list[str], program: str) -> list[list[str]]:
    """Of those that run this program, what it is given."""
    return [
        words[1:]
        for line in lines
        if f"{program} " in line
        for words in simple_commands(line.strip())
        if words and words[0] == program
    ]


def parse(words: list[str], *, is_whole: bool = True) -> None:
    """Raises click.UsageError for what the command line would not take."""
    found: click.Command = command
    context = click.Context(found)
    while isinstance(found, click.Group):
        name, under, words = found.resolve_command(context, words)
        assert under is not None
        found, context = under, click.Context(under, info_name=name, parent=context)
    given, left, _ = found.make_parser(context).parse_args(list(words))
    if left:
        raise click.UsageError(f"left over: {left}")
    for parameter in found.params:
        value = given.get(parameter.name or "")
        is_given = isinstance(value, str | tuple) and value
        if isinstance(parameter, click.Argument) and parameter.required and is_whole and not is_given:
            raise click.MissingParameter(param=parameter)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_is_one(document: str) -> None:
    named = commands(examples(document), "kannon")
    assert len(named) >= 5
    for words in named:
        parse(words)
    for words in commands(in_prose(document), "kannon"):
        if words != ["…"]:
            parse(words, is_whole=False)


@pytest.mark.parametrize(
    "line", ["kannon doktor", "kannon doctor --wach", "kannon dlq show", "kannon domain create a b"]
)
def test_a_command_that_is_none_is_found(line: str) -> None:
    ((_, *words),) = simple_commands(line)
    with pytest.raises(click.UsageError):
        parse(words)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_variable_and_key_is_a_setting(document: str) -> None:
    text = text_of(document)
    known = {setting.variable for setting in settings.ALL.values()} | {"K_SINK"}
    named = set(re.findall(r"\bK_[A-Z_]*[A-Z]\b", text))
    assert named
    assert named - known == set()
    families = {key.partition(".")[0] for key in settings.ALL if "." in key}
    dotted = re.findall(r"`([a-z_]+\.[a-z_.]+)`", re.sub(r"[\w.]+\.example\.com", "", text))
    assert {key for key in dotted if key.partition(".")[0] in families} - set(settings.ALL) == set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_of_the_manifests_is_there(document: str) -> None:
    named = set(re.findall(r"\bknative/[\w./-]*\w", text_of(document)))
    assert {path for path in named if not (ROOT / path).exists()} == set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_object_that_kubectl_is_asked_for_is_in_the_manifests(document: str) -> None:
    there = {
        (manifest["kind"], manifest["metadata"]["name"])
        for path in (ROOT / "knative" / "base").rglob("*.yaml")
        for manifest in yaml.safe_load_all(path.read_text())
        if isinstance(manifest, dict) and "metadata" in manifest
    }
    secrets = re.findall(r"\| `(kannon-[\w-]+)` \|", text_of("knative/README.md"))
    there |= {("Secret", name) for name in secrets}
    named = {
        (KINDS[kind], name)
        for words in commands([*examples(document), *in_prose(document)], "kubectl")
        for kind, name in OBJECT.findall(" ".join(words))
    }
    assert named
    assert named - there == set()


def test_the_overlay_that_is_shown_can_be_built_and_says_what_it_says(tmp_path: Path) -> None:
    shown = next(
        body for _, body in FENCED.findall(text_of("docs/deploy.md")) if "kind: Kustomization" in body
    )
    (own := tmp_path / "my-kannon").mkdir()
    (own / "kustomization.yaml").write_text(shown)
    shutil.copytree(ROOT / "knative", tmp_path / "knative")
    made = [one for one in yaml.safe_load_all(kustomize(own)) if one]
    (told,) = (one["data"] for one in made if one["kind"] == "ConfigMap" and "K_SMTP_DOMAIN" in one["data"])
    assert told["K_SENDER_MAX_JOBS"] == "100"
    images = re.findall(r"image: (\S+)", kustomize(own))
    assert set(images) == {"registry.example.org/mail/kannon:0.1.0"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_metric_is_one(document: str) -> None:
    known = {metric.name for metric in CATALOGUE}
    assert set(re.findall(r"\bkannon_[a-z_]+\b", text_of(document))) - known == set()


def test_every_alert_has_its_row() -> None:
    rules = text_of("knative/components/monitoring/alerts.yaml")
    told = re.findall(r"`(Kannon[A-Z]\w+)`", text_of("docs/deploy.md"))
    assert sorted(told) == sorted(re.findall(r"- alert: (\w+)", rules))


def test_what_the_doctor_finds_is_explained_in_its_own_words() -> None:
    source = text_of("src/kannon/core/diagnosis.py")
    words = re.sub(r'"\s+f?"', "", source)
    table = text_of("docs/operations.md").partition("| it says |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (?!---)(.+?) \|", table, re.MULTILINE)
    pieces = [piece.strip(" ,") for cell in cells for piece in re.split("…|KANNON_", cell)]
    assert [piece for piece in pieces if piece and piece not in words] == []
    assert len(cells) == source.count("yield Finding(") - 1  # of an edge that cannot be asked it has no words


def test_every_category_that_is_explained_is_one_that_judgements_have() -> None:
    table = text_of("docs/operations.md").partition("| category |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    told = {word for row in rows for word in re.findall(r"`([\w-]+)`", row)}
    assert told == {rule.judgement.category for rule in RULES} - {"protocol", "relay-denied"}
