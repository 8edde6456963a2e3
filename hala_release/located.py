"""YAML whose mistakes can be pointed at: data together with the line that each value came from."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Location = tuple[int | str, ...]


class Mistake(ValueError):
    """The text is not YAML that can be read; carries one sentence per problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Document:
    """A YAML text as data, with the line of every key and value."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Location, int] = {}
        problems: list[str] = []
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            if node is not None:
                self._note(node, (), problems)
            # Aliases are refused above, so the text cannot unfold into more than it is.
            self.data: Any = yaml.safe_load(text) if not problems else None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f"line {mark.line + 1}: " if mark else ""
            raise Mistake([f"{line}not YAML: {getattr(error, 'problem', None) or error}"]) from error
        except (ValueError, KeyError) as error:  # a date without such a day, or a tag such as `!!int x`
            raise Mistake([f"a value cannot be read: {error}"]) from error
        except RecursionError as error:
            raise Mistake(["nested too deeply"]) from error
        if problems:
            raise Mistake(problems)

    def line(self, location: Location) -> int:
        """Return the line of a value, or of the nearest thing that holds it."""
        while location not in self.lines and location:
            location = location[:-1]
        return self.lines.get(location, 1)

    def _note(self, node: yaml.Node, location: Location, problems: list[str]) -> None:
        if location in self.lines:
            return
        self.lines[location] = node.start_mark.line + 1
        match node:
            case yaml.MappingNode():
                for key, value in node.value:
                    if not isinstance(key, yaml.ScalarNode):
                        problems.append(f"line {key.start_mark.line + 1}: a key has to be text")
                        continue
                    inner = (*location, key.value)
                    if inner in self.lines:
                        problems.append(f"line {key.start_mark.line + 1}: {key.value}: appears twice")
                    if value.start_mark.index < key.start_mark.index:
                        problems.append(f"line {key.start_mark.line + 1}: {key.value}: aliases are not allowed")
                        continue
                    self._note(value, inner, problems)
                    self.lines[inner] = key.start_mark.line + 1
            case yaml.SequenceNode():
                end = node.start_mark.index
                for index, value in enumerate(node.value):
                    if value is node or value.start_mark.index < end:
                        problems.append(f"line {node.start_mark.line + 1}: aliases are not allowed")
                        continue
                    end = value.end_mark.index
                    self._note(value, (*location, index), problems)


def explain(error: ValidationError, document: Document, kinds: Mapping[str, type[BaseModel]]) -> list[str]:
    """Return one sentence per problem, each with its line, in the order of the lines.

    Args:
        kinds: the models of a tagged union by tag. Pydantic puts tags into locations, the file has no such level; so
            it is with tags in `<>`.
    """
    found = []
    problems = error.errors()
    for problem in problems:
        if problem["type"] == "too_short" and any(
            other["loc"][:-1][: len(problem["loc"])] == problem["loc"] for other in problems
        ):
            continue  # pydantic counts only the sound items; those that are wrong are reported themselves
        location = tuple(step for index, step in enumerate(problem["loc"]) if not _is_tag(problem, index, kinds))
        line = document.line(location)
        found.append((line, f"line {line}: {_sentence(problem, location, _keys(problem, kinds))}"))
    return [sentence for _, sentence in sorted(found)]


def _is_tag(problem: ErrorDetails, index: int, kinds: Mapping[str, type[BaseModel]]) -> bool:
    """Tell a tag of an item from a key of the same name: a tag comes right after the item's number."""
    step = problem["loc"][index]
    after_number = index > 0 and isinstance(problem["loc"][index - 1], int)
    return str(step).startswith("<") or (step in kinds and after_number)


def _keys(problem: ErrorDetails, kinds: Mapping[str, type[BaseModel]]) -> Iterable[str]:
    tag = next((step for index, step in enumerate(problem["loc"]) if _is_tag(problem, index, kinds)), None)
    tag = tag if tag in kinds else None
    models = [kinds[str(tag)]] if tag is not None else list(kinds.values())
    return [key for model in models for key in model.model_fields]


def _sentence(problem: ErrorDetails, location: Location, keys: Iterable[str]) -> str:
    path = ".".join(str(step) for step in location) or "the file"
    match problem["type"]:
        case "missing":
            return f"{path}: missing"
        case "extra_forbidden":
            close = difflib.get_close_matches(str(location[-1]), keys, n=1)
            return f"{path}: unknown key" + (f"; did you mean `{close[0]}`?" if close else "")
        case "string_type" if not isinstance(problem["input"], (dict, list)):
            return f"{path}: YAML reads {problem['input']!r}, which is not text; put it in quotes"
        case "value_error":
            return f"{path}: {problem['msg'].removeprefix('Value error, ')}"
        case "model_type" | "model_attributes_type":
            return f"{path}: has to hold `key: value` lines"
        case _:
            return f"{path}: {problem['msg']}"
