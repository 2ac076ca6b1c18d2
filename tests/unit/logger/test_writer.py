"""The thread that writes the log: whoever logs never waits for it, and nothing is lost that nobody is told of."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tempolite_node.logger.lines import Line, LineFormat
from tempolite_node.logger.writer import LogWriter

PATIENCE_S = 60.0


class Reader:
    """Of the other end, in the place of a terminal or a program. It reads nothing before it is told to."""

    def __init__(self) -> None:
        self._ours, self.descriptor = os.pipe()
        self.data = b""

    def until(self, *events: str) -> list[dict[str, Any]]:
        """Reads until all of them came, in whole lines."""
        while not (self.data.endswith(b"\n") and all(event.encode() in self.data for event in events)):
            data = os.read(self._ours, 65_536)
            assert data, f"waited in vain for {events}"
            self.data += data
        return self.lines()

    def lines(self) -> list[dict[str, Any]]:
        """The whole ones, by now."""
        whole = self.data[: self.data.rfind(b"\n") + 1]
        return [as_json(line) for line in whole.splitlines()]

    def drain(self) -> None:
        """Reads all that is there without waiting."""
        os.set_blocking(self._ours, False)
        try:
            while data := os.read(self._ours, 65_536):
                self.data += data
        except BlockingIOError:
            pass
        os.set_blocking(self._ours, True)

    def leave(self) -> None:
        os.close(self._ours)
        self._ours = os.open(os.devnull, os.O_RDONLY)

    def close(self) -> None:
        os.close(self._ours)
        os.close(self.descriptor)


def as_json(line: bytes) -> dict[str, Any]:
    try:
        made: dict[str, Any] = json.loads(line)
    except ValueError:
        return {"event": line.decode()}
    return made


@pytest.fixture
def reader() -> Iterator[Reader]:
    reader = Reader()
    yield reader
    reader.close()


def writing_to(reader: Reader, **options: Any) -> LogWriter:
    writer = LogWriter(LineFormat.JSON, descriptor=reader.descriptor, **options)
    writer.start()
    return writer


def line(event: str) -> Line:
    return Line(0.0, "info", "test", event)


def test_lines_are_written_in_the_order_in_which_they_came(reader: Reader) -> None:
    writer = writing_to(reader)
    for number in range(100):
        writer.put(line(f"line {number}"))

    assert writer.stop(PATIENCE_S)
    reader.drain()
    assert [made["event"] for made in reader.lines()] == [f"line {number}" for number in range(100)]


def test_a_reader_that_sleeps_holds_nobody_up_and_what_is_dropped_is_told_once_it_reads(reader: Reader) -> None:
    writer = writing_to(reader, lines_max=100)
    count = 5_000
    for number in range(count):
        writer.put(line(f"line {number} {'x' * 200}"))  # more than the pipe and the queue take: returns all the same
    writer.put(line("the last word"))

    lines = reader.until("the last word", "dropped: they came faster")

    dropped = sum(made.get("dropped", 0) for made in lines)
    written = [made["event"] for made in lines if "dropped" not in made]
    assert dropped > 0
    assert len(written) + dropped == count + 1
    assert written == sorted(written, key=lambda event: int(event.split()[1]) if event[0] == "l" else count)
    assert writer.stop(PATIENCE_S)


def test_a_stop_waits_for_a_reader_that_sleeps_no_longer_than_it_may(reader: Reader) -> None:
    writer = writing_to(reader)
    for _ in range(2_000):
        writer.put(line("x" * 200))

    assert not writer.stop(0.01)
    reader_thread = threading.Thread(target=lambda: reader.until("the end"))
    os.set_blocking(reader.descriptor, True)
    reader_thread.start()
    assert writer.stop(PATIENCE_S)  # it goes on as soon as somebody reads
    os.write(reader.descriptor, b"the end\n")
    reader_thread.join(PATIENCE_S)
    assert [made["event"] for made in reader.lines()][-2:] == ["x" * 200, "the end"]


def test_a_descriptor_that_takes_nothing_now_is_waited_for(reader: Reader) -> None:
    """It was set so by whoever shares it, and is set for all of them."""
    os.set_blocking(reader.descriptor, False)
    writer = writing_to(reader)
    for number in range(2_000):
        writer.put(line(f"line {number} {'x' * 200}"))
    writer.put(line("the last word"))

    assert len(reader.until("the last word")) == 2_001
    assert writer.stop(PATIENCE_S)


def test_what_can_not_be_written_is_counted_and_told_once_something_can(reader: Reader) -> None:
    writer = writing_to(reader)
    reader.leave()  # a broken pipe from here on
    for _ in range(7):
        writer.put(line("to nobody"))
    while writer._lines or not writer._unwritten:
        pass

    other = Reader()
    os.dup2(other.descriptor, reader.descriptor)
    writer.put(line("to somebody"))
    lines = other.until("to somebody")
    assert writer.stop(PATIENCE_S)
    other.close()
    assert lines[0]["event"].endswith("could not be written (Broken pipe)")
    assert lines[0]["dropped"] + len(lines) - 1 == 8


# --- of children


def test_what_a_child_writes_is_passed_on_whole_lines_at_a_time(reader: Reader) -> None:
    writer = writing_to(reader)
    with writer.pipe() as first, writer.pipe() as second:
        one, two = os.dup(first), os.dup(second)
    os.write(one, b"the beginning ")
    os.write(two, b"a line of the other\n")
    reader.until("a line of the other")
    os.write(one, b"and the end\n")
    reader.until("the beginning and the end")
    os.close(one)
    os.close(two)

    assert writer.stop(PATIENCE_S)
    assert reader.data == b"a line of the other\nthe beginning and the end\n"


def test_the_last_words_of_a_child_that_dies_are_written_even_in_the_middle_of_a_line(reader: Reader) -> None:
    writer = writing_to(reader)
    with writer.pipe() as descriptor:
        os.write(descriptor, b"its last word\nand hal")

    lines = reader.until("its last word", "and hal")
    assert [made["event"] for made in lines] == ["its last word", "a worker host ended in the middle of a line"]
    assert lines[1]["line"] == "and hal"
    assert writer.stop(PATIENCE_S)


def test_what_a_child_wrote_before_the_stop_is_written(reader: Reader) -> None:
    writer = writing_to(reader)
    with writer.pipe() as descriptor:
        kept = os.dup(descriptor)
    os.write(kept, b"before the stop\n")

    assert writer.stop(PATIENCE_S)
    os.close(kept)
    reader.drain()
    assert [made["event"] for made in reader.lines()] == ["before the stop"]


def test_a_child_that_never_ends_its_line_fills_no_memory(reader: Reader) -> None:
    writer = writing_to(reader)
    reading = threading.Thread(target=lambda: reader.until("the end"))
    reading.start()
    with writer.pipe() as descriptor:
        for _ in range(10):
            os.write(descriptor, b"x" * 100_000)
        os.write(descriptor, b"\nthe end\n")
    reading.join(PATIENCE_S)

    assert writer.stop(PATIENCE_S)
    assert len(reader.lines()) > 2
    assert reader.data.count(b"x") == 1_000_000


def test_a_pipe_that_is_full_keeps_no_other_child_waiting(reader: Reader) -> None:
    writer = writing_to(reader)
    stop = threading.Event()
    with writer.pipe() as loud, writer.pipe() as quiet:
        loud_end, quiet_end = os.dup(loud), os.dup(quiet)

    def flood() -> None:
        while not stop.is_set():
            os.write(loud_end, b"noise\n" * 1_000)

    flooding = threading.Thread(target=flood)
    flooding.start()
    os.write(quiet_end, b"a word\n")
    reader.until("noise", "a word")
    stop.set()
    while flooding.is_alive():
        reader.drain()
    flooding.join(PATIENCE_S)
    stopping = threading.Thread(target=lambda: writer.stop(PATIENCE_S))
    stopping.start()
    while stopping.is_alive():
        reader.drain()
    os.close(loud_end)
    os.close(quiet_end)


# --- of sources


class Source:
    """Has a line when its time comes."""

    def __init__(self) -> None:
        self.due_s: float | None = 0.001

    def take(self, now_s: float, *, last: bool) -> list[Line]:  # noqa: ARG002
        if last:
            return [line("the last of the source")]
        if self.due_s is None:
            return []
        self.due_s = None
        return [line("of the source")]

    def next_s(self, now_s: float) -> float | None:  # noqa: ARG002
        return self.due_s


def test_a_source_is_asked_when_its_time_comes_and_at_the_end(reader: Reader) -> None:
    writer = writing_to(reader)
    writer.add(Source())

    reader.until("of the source")
    assert writer.stop(PATIENCE_S)
    reader.drain()
    assert reader.lines()[-1]["event"] == "the last of the source"
