"""YAML whose mistakes can be pointed at: data together with the line that each value came from."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

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


class Models(NamedTuple):
    """The models of a document, by where they stand in it."""

    kinds: Mapping[str, type[BaseModel]]
    """Items of lists, by their tag. Pydantic puts tags into locations, where the file has no such level; tags in `<>`
    are of the same kind."""
    parts: Mapping[str, type[BaseModel]]
    """Everything else by the key that holds it; the whole document by the empty text."""


def explain(error: ValidationError, document: Document, models: Models) -> list[str]:
    """Return one sentence per problem, each with its line, in the order of the lines."""
    found = []
    problems = error.errors()
    for problem in problems:
        if problem["type"] == "too_short" and any(
            other["loc"][:-1][: len(problem["loc"])] == problem["loc"] for other in problems
        ):
            continue  # pydantic counts only the sound items; those that are wrong are reported themselves
        steps = (step for index, step in enumerate(problem["loc"]) if not _is_tag(problem, index, models.kinds))
        location = _in_file(tuple(steps), document)
        line = document.line(location)
        found.append((line, f"line {line}: {_sentence(problem, location, models)}"))
    return [sentence for _, sentence in sorted(found)]


def _in_file(steps: Location, document: Document) -> Location:
    """Leave out the kind that pydantic puts between a key and the keys below it: the file has no such level."""
    found: Location = ()
    for index, step in enumerate(steps):
        if index == len(steps) - 1 or (*found, step) in document.lines:
            found = (*found, step)
    return found


def _is_tag(problem: ErrorDetails, index: int, kinds: Mapping[str, type[BaseModel]]) -> bool:
    """Tell a tag of an item from a key of the same name: a tag comes right after the item's number."""
    step = problem["loc"][index]
    after_number = index > 0 and isinstance(problem["loc"][index - 1], int)
    return str(step).startswith("<") or (step in kinds and after_number)


def _keys(problem: ErrorDetails, location: Location, models: Models) -> Iterable[str]:
    """Return the keys that are allowed where an unknown one stands, as far as the model there is known."""
    holder = location[-2] if len(location) > 1 else ""
    if isinstance(holder, int):
        tag = next(str(step) for index, step in enumerate(problem["loc"]) if _is_tag(problem, index, models.kinds))
        return models.kinds[tag].model_fields
    return models.parts[holder].model_fields if holder in models.parts else ()


def _sentence(problem: ErrorDetails, location: Location, models: Models) -> str:
    path = ".".join(str(step) for step in location) or "the file"
    match problem["type"]:
        case "missing":
            return f"{path}: missing"
        case "extra_forbidden":
            close = difflib.get_close_matches(str(location[-1]), _keys(problem, location, models), n=1)
            return f"{path}: unknown key" + (f"; did you mean `{close[0]}`?" if close else "")
        case "string_type" if not isinstance(problem["input"], (dict, list)):
            return f"{path}: YAML reads {problem['input']!r}, which is not text; put it in quotes"
        case "value_error":
            return f"{path}: {problem['msg'].removeprefix('Value error, ')}"
        case "union_tag_invalid":
            given = str(problem["ctx"]["tag"])
            allowed = [tag.strip().strip("'") for tag in str(problem["ctx"]["expected_tags"]).split(",")]
            close = difflib.get_close_matches(given, allowed, n=1)
            hint = f"; did you mean `{close[0]}`?" if close else f"; write one of {', '.join(allowed)}"
            return f"{path}: unknown kind {given!r}{hint}"
        case "union_tag_not_found":
            return f"{path}: `kind` is missing"
        case "too_short":
            return f"{path}: has to name at least one"
        case "tuple_type":
            return f"{path}: has to be a list"
        case "model_type" | "model_attributes_type":
            return f"{path}: has to hold `key: value` lines"
        case _:
            return f"{path}: {problem['msg']}"
