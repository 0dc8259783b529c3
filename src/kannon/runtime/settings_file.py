"""Settings in a YAML file."""

from collections.abc import Iterator

import yaml


class NoSettings(Exception):
    """A file holds no keys with values; the text says what is wrong and in which line."""


def read_pairs(text: str) -> list[tuple[str, str]]:
    """The keys in a file, with dots between their parts, and their values as written; empty where is none.

    Raises:
        NoSettings: it is no YAML, or something in it is no key with a value.
    """
    try:
        # Nodes, not values: a secret of digits must not become a number, nor a second value win unseen.
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        return list(_flattened(tree)) if tree else []
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        raise NoSettings(f"{_line(mark) if mark else ''}: {type(error).__name__}") from None


def _flattened(node: yaml.Node, prefix: str = "") -> Iterator[tuple[str, str]]:
    if not isinstance(node, yaml.MappingNode):
        raise NoSettings(f"{_line(node.start_mark)}: keys and values are needed")
    for name, value in node.value:
        if not isinstance(name, yaml.ScalarNode):
            raise NoSettings(f"{_line(node.start_mark)}: a key must be a word")
        key = f"{prefix}{name.value}"
        if isinstance(value, yaml.SequenceNode):
            raise NoSettings(f"{_line(value.start_mark)}: {key!r} takes no list; write commas between")
        if isinstance(value, yaml.ScalarNode):
            is_null = value.tag == "tag:yaml.org,2002:null"
            yield key, "" if is_null else value.value
        else:
            yield from _flattened(value, f"{key}.")


def _line(mark: yaml.Mark) -> str:
    return f", line {mark.line + 1}"
