"""What worker hosts and other threads say to the driver, and how its words get to the hosts."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from tempolite_node.driver.inputs import HostMessages, Inputs, Inspect
from tempolite_node.engine.commands import CompleteAttempt
from tempolite_node.protocol import framing, messages
from tempolite_node.supervisor.connection import HostConnection


class Host:
    """The other end of a connection, in the place of a process."""

    def __init__(self, inputs: Inputs, number: int = 1) -> None:
        ours, self.socket = socket.socketpair()
        ours.setblocking(False)
        self.heard: list[messages.FromHost] = []  #: beside the driver
        self.lost = 0
        self.connection = HostConnection(
            number,
            ours,
            framing.node_reader(),
            await_room=inputs.await_room,
            on_messages=self.heard.extend,
            on_lost=self._lose,
        )
        self.reader = framing.host_reader()
        inputs.attach(self.connection)

    def _lose(self) -> None:
        self.lost += 1

    def say(self, *batch: messages.FromHost) -> None:
        self.socket.sendall(framing.encode(batch))

    def read(self) -> list[messages.ToHost]:
        return self.reader.feed(self.socket.recv(1 << 20))


@pytest.fixture
def inputs() -> Iterator[Inputs]:
    inputs = Inputs()
    yield inputs
    inputs.close()


@pytest.fixture
def host(inputs: Inputs) -> Iterator[Host]:
    host = Host(inputs)
    take_now(inputs)  # a new connection has room, and that is heard of once
    yield host
    host.socket.close()


def call(number: int) -> messages.AttemptCall:
    return messages.AttemptCall(execution_id="e1", epoch=1, call=number, request=CompleteAttempt(result=None))


def look() -> Inspect:
    return Inspect(inspect=lambda: None, answer=lambda _: None)


def take_now(inputs: Inputs, most: int = 100) -> list[object]:
    return list(inputs.take(most, lambda: 0.0))


def take(inputs: Inputs) -> list[object]:
    """Sleeps until there is something."""
    taken: list[object] = []
    while not taken:
        taken += inputs.take(100, lambda: None)
    return taken


# --- what comes in


def test_what_hosts_say_and_what_threads_put_is_taken_together(inputs: Inputs, host: Host) -> None:
    host.say(call(1), call(2))
    given = look()
    inputs.put(given)

    assert take(inputs) == [HostMessages(1, [call(1), call(2)]), given]
    assert take_now(inputs) == []


def test_who_puts_something_wakes_the_thread_that_sleeps(inputs: Inputs) -> None:
    given = look()
    taken: list[object] = []
    sleeper = threading.Thread(target=lambda: taken.extend(take(inputs)))
    sleeper.start()
    while not inputs.sleeps:
        pass
    inputs.put(given)
    sleeper.join(10)

    assert taken == [given]


def test_nothing_is_overlooked_that_is_put_while_the_thread_falls_asleep(inputs: Inputs) -> None:
    """Each waits for the other's word, thousands of times: one that is lost would stop both."""
    rounds = 5_000
    taken = threading.Semaphore(0)

    def taking() -> None:
        for _ in range(rounds):
            take(inputs)
            taken.release()

    thread = threading.Thread(target=taking, daemon=True)
    thread.start()
    for _ in range(rounds):
        inputs.put(look())
        assert taken.acquire(timeout=10)
    thread.join(10)
    assert not thread.is_alive()


def test_a_turn_takes_no_more_than_it_may_and_the_next_one_the_rest(inputs: Inputs) -> None:
    given = [look() for _ in range(5)]
    for each in given:
        inputs.put(each)

    assert take_now(inputs, 3) == given[:3]
    assert len(inputs) == 2
    assert take_now(inputs, 3) == given[3:]


def test_it_sleeps_no_longer_than_it_may(inputs: Inputs) -> None:
    assert inputs.take(100, lambda: 0.001) == []


def test_what_is_not_for_the_driver_is_heard_beside_it(inputs: Inputs, host: Host) -> None:
    checked = messages.Checked(call=1, violations=())
    host.say(checked, call(1), messages.Pong())

    assert take(inputs) == [HostMessages(1, [call(1)])]
    assert host.heard == [checked, messages.Pong()]


def test_a_message_that_comes_in_parts_is_heard_when_it_is_whole(inputs: Inputs, host: Host) -> None:
    frame = framing.encode([call(1)])
    host.socket.sendall(frame[:7])
    assert take_now(inputs) == []

    host.socket.sendall(frame[7:])
    assert take(inputs) == [HostMessages(1, [call(1)])]


def test_a_host_that_is_gone_is_told_of_once_and_its_last_words_before_that(inputs: Inputs, host: Host) -> None:
    other = Host(inputs, number=2)
    host.say(call(1))
    host.socket.close()

    assert take(inputs) == [HostMessages(1, [call(1)])]
    while not host.lost:
        take_now(inputs)
    other.say(call(2))
    assert take(inputs) == [HostMessages(2, [call(2)])]
    assert host.lost == 1
    host.connection.send([messages.Ping()])  # nobody minds
    other.socket.close()


def test_a_host_that_speaks_another_language_is_given_up(inputs: Inputs, host: Host) -> None:
    host.socket.sendall(b"\x01\0\0\0\xc1")
    take_now(inputs)

    assert host.lost == 1
    assert host.socket.recv(1) == b""


def test_one_that_is_shut_down_is_given_up_by_both_sides(inputs: Inputs, host: Host) -> None:
    host.connection.shut_down()
    take_now(inputs)

    assert host.lost == 1
    assert host.socket.recv(1) == b""
    host.connection.shut_down()  # again, when it is closed


def test_it_is_seen_whether_the_sockets_are_looked_at(inputs: Inputs) -> None:
    before = inputs.looks
    take_now(inputs)
    assert inputs.looks == before + 1
    assert not inputs.sleeps


# --- what goes out


def test_what_is_sent_comes_in_one_frame(host: Host) -> None:
    host.connection.send([messages.Ping(), messages.Drain()])

    assert host.read() == [messages.Ping(), messages.Drain()]


def test_what_is_large_is_cut_into_frames_and_comes_whole_and_in_order() -> None:
    sizes = [900_000, 10, 10, 400_000, 5_000_000, 10, 600_000, 600_000]
    sent = [
        messages.CancelAttempt(execution_id=f"e{number}", epoch=1, reason="x" * size)
        for number, size in enumerate(sizes)
    ]

    stream = framing.encode(sent)

    frames, start = [], 0
    while start < len(stream):
        (length,) = struct.unpack_from("<I", stream, start)
        frames.append(framing.host_reader().feed(stream[start : start + 4 + length]))
        assert length <= 1024**2 or len(frames[-1]) == 1
        start += 4 + length
    assert [len(frame) for frame in frames] == [3, 1, 1, 2, 1]
    assert [message for frame in frames for message in frame] == sent


def test_what_the_socket_has_no_room_for_follows_in_order_when_it_has(inputs: Inputs, host: Host) -> None:
    host.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sent = [messages.CancelAttempt(execution_id=f"e{number}", epoch=1, reason="x" * 10_000) for number in range(200)]
    for message in sent:
        host.connection.send([message])

    heard: list[messages.ToHost] = []
    while len(heard) < len(sent):
        heard += host.read()
        take_now(inputs)
    assert heard == sent


def test_threads_that_send_at_once_do_not_mix_their_frames(inputs: Inputs, host: Host) -> None:
    def send(thread: int) -> None:
        for number in range(100):
            host.connection.send([messages.CancelAttempt(execution_id=f"e{thread}", epoch=number, reason="x" * 5_000)])

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    heard: list[messages.ToHost] = []
    while len(heard) < 400:
        heard += host.read()
        take_now(inputs)
    for thread in threads:
        thread.join(10)

    for number in range(4):
        epochs = [m.epoch for m in heard if isinstance(m, messages.CancelAttempt) and m.execution_id == f"e{number}"]
        assert epochs == list(range(100))
