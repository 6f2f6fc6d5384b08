"""Lines between supervisor and zygote, however the socket cuts them."""

import socket

from constellation_pipelines.worker.orders import Channel, RunOrder, encode, run_order


def test_messages_survive_being_cut_and_joined() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(ours)
        whole = encode({"n": 1}) + encode({"n": 2}) + encode({"n": 3})
        theirs.sendall(whole[:5])
        theirs.sendall(whole[5:-4])
        assert channel.receive() == [{"n": 1}, {"n": 2}]
        theirs.sendall(whole[-4:])
        assert channel.receive() == [{"n": 3}]


def test_a_closed_channel_says_so() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        assert Channel(ours).receive() == []


def test_an_order_arrives_as_it_was_given() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        order = RunOrder("run", "ref\nwith a line", 7, 2, {"GPU-1": "/run/1.sock"})
        theirs.sendall(run_order(order))
        (message,) = Channel(ours).receive()
        assert RunOrder(**message["run"]) == order
