"""An execution with all that is below it, and how it reads as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from html import escape

from tempolite_sdk.client.display import in_line, shortened
from tempolite_sdk.client.info import AttemptInfo, ExecutionInfo, OperationInfo, OperationKind
from tempolite_sdk.errors import FailureInfo

_LINE_MAX = 160  #: of an error's text
_HTML_MAX = 1_000  #: executions and operations of a tree that a notebook shows


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ExecutionTree:
    """An execution with its operations, its children, their operations, and so on."""

    execution: ExecutionInfo
    operations: tuple[OperationInfo, ...] = ()  #: in the order in which they were recorded
    children: tuple[ExecutionTree, ...] = ()
    truncated: bool = False  #: of the root: there is more than was asked for

    def render(self) -> str:
        """The tree as text, one line per execution and operation, failures below the line that they belong to."""
        return render_tree(self)

    def __repr__(self) -> str:
        root = self.execution
        fields = {"id": root.id, "handler": root.handler, "status": root.status}
        counts = {
            "operations": len(self.operations),
            "children": len(self.children),
            "executions": sum(1 for _ in self),
        }
        return f"ExecutionTree({', '.join(f'{name}={in_line(value)}' for name, value in (fields | counts).items())})"

    def _repr_html_(self) -> str:
        """For notebooks: `render`, with branches that open and close."""
        size = sum(1 + len(tree.operations) for tree in self)
        if size > _HTML_MAX:
            return f"<p>{escape(repr(self))}: {size:,} lines are too many here; print(tree.render())</p>"
        return _execution_html(self)

    def __iter__(self) -> Iterator[ExecutionTree]:
        """This tree and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child


def render_tree(tree: ExecutionTree) -> str:
    lines = _execution_lines(tree, head="", indent="")
    if tree.truncated:
        lines = [*lines, "… (there is more: ask for a larger tree)"]
    return "\n".join(lines)


def _execution_lines(tree: ExecutionTree, *, head: str, indent: str, label: str = "") -> list[str]:
    execution = tree.execution
    branches = _branches(tree)
    lines = [head + label + _execution_text(execution)]
    stem = indent + ("│  " if branches else "   ")
    lines += _failure_lines(execution.attempts, execution.failure, stem)
    lines += _signal_lines(execution, stem)
    for position, branch in enumerate(branches):
        is_last = position == len(branches) - 1
        below = {"head": indent + ("└─ " if is_last else "├─ "), "indent": indent + ("   " if is_last else "│  ")}
        if isinstance(branch, OperationInfo):
            lines += _operation_lines(branch, **below)
        else:
            lines += _execution_lines(branch, label="child ", **below)
    return lines


def _branches(tree: ExecutionTree) -> Sequence[OperationInfo | ExecutionTree]:
    """Operations as recorded, with each child in the place where it was enqueued."""
    children = {child.execution.id: child for child in tree.children}

    def in_order() -> Iterator[OperationInfo | ExecutionTree]:
        for operation in tree.operations:
            child = children.pop(operation.target, None) if operation.kind is OperationKind.CHILD else None
            yield operation if child is None else child
        yield from children.values()

    return list(in_order())


def _operation_lines(operation: OperationInfo, *, head: str, indent: str) -> list[str]:
    return [head + _operation_text(operation), *_failure_lines(operation.attempts, operation.failure, indent + "   ")]


def _execution_html(tree: ExecutionTree, *, label: str = "") -> str:
    execution = tree.execution
    line = _html_lines([label + _execution_text(execution), *_failure_lines(execution.attempts, execution.failure, "")])
    items = [
        _html_lines([_operation_text(branch), *_failure_lines(branch.attempts, branch.failure, "")])
        if isinstance(branch, OperationInfo)
        else _execution_html(branch, label="child ")
        for branch in _branches(tree)
    ]
    if tree.truncated:
        items.append("… (there is more: ask for a larger tree)")
    if not items:
        return f"<div>{line}</div>"
    below = "".join(f"<li>{item}</li>" for item in items)
    return f"<details open><summary>{line}</summary><ul>{below}</ul></details>"


def _html_lines(lines: Sequence[str]) -> str:
    return "<br>".join(map(escape, lines))


def _execution_text(execution: ExecutionInfo) -> str:
    return _joined(
        f"{execution.handler} {execution.id}",
        execution.status.upper(),
        execution.waits_for_key and f"waits: {execution.waits_for_key}",
        _attempt_text(execution.attempt),
        f"{execution.crashes} crashes" if execution.crashes else "",
        f"{execution.node_deaths} node deaths" if execution.node_deaths else "",
        _duration_text(execution.duration),
        execution.reason and f"reason: {execution.reason}",
        f"journal deleted {execution.journal_delete_time:%Y-%m-%d %H:%M} UTC" if execution.journal_delete_time else "",
    )


def _operation_text(operation: OperationInfo) -> str:
    target = "" if operation.target in ("", operation.key) else f"→ {operation.target}"
    return _joined(
        f"{operation.kind} {operation.key}",
        target,
        operation.status,
        _attempt_text(operation.attempt),
        _duration_text(operation.duration),
    )


def _failure_lines(attempts: Sequence[AttemptInfo], failure: FailureInfo | None, indent: str) -> list[str]:
    lines = []
    for each in attempts:
        if each.left_out:
            lines.append(f"{indent}  … {each.left_out:,} attempts that are not kept")
        if each.failure:
            lines.append(f"{indent}✗ attempt {each.number}: {_one_line(each.failure)}")
    if failure is not None and not (attempts and attempts[-1].failure == failure):
        lines.append(f"{indent}✗ {_one_line(failure)}")
    cause = failure.cause if failure is not None else None
    while cause is not None:
        lines.append(f"{indent}  caused by {_one_line(cause)}")
        cause = cause.cause
    return lines


def _signal_lines(execution: ExecutionInfo, indent: str) -> list[str]:
    """Signals that its code has not received: each that it can't read, and how many others."""
    aside = [each for each in execution.unconsumed if each.set_aside]
    lines = [
        f"{indent}⚠ signal {each.name} (sequence {each.sequence}) of {each.sender} is set aside: {_cut(each.set_aside)}"
        for each in aside
    ]
    if kept := execution.unconsumed_signals - len(lines):
        names = Counter(each.name for each in execution.unconsumed if not each.set_aside)
        shown = ", ".join(f"{count} {name}" for name, count in names.items())
        lines.append(f"{indent}⚠ {kept} unconsumed signal{'s' if kept > 1 else ''}: {shown}")
    return lines


def _joined(*parts: str) -> str:
    return "  ".join(part for part in parts if part)


def _attempt_text(number: int) -> str:
    return f"attempt {number}" if number > 1 else ""


def _duration_text(duration: timedelta | None) -> str:
    if duration is None:
        return ""
    seconds = duration.total_seconds()
    if seconds < 1:
        return f"{seconds * 1_000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def _one_line(failure: FailureInfo | None) -> str:
    return _cut(str(failure))


def _cut(text: str) -> str:
    return shortened(" ".join(text.split()), _LINE_MAX)
