"""Whether a port could be listened on, asked of the kernel."""

import socket
from pathlib import Path

from standalone.kafka.membership import CLUSTER, Membership
from standalone.ports import PortPlan, is_free
from tests.servers import first_port

PORT_OFFSET = 420  # away from the session's own servers
PORT = first_port() + PORT_OFFSET


def test_a_port_that_another_process_listens_on_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", PORT)):
        assert not is_free(PORT)
    assert is_free(PORT)


def test_a_port_that_somebody_listens_on_for_all_addresses_is_not_free() -> None:
    with socket.create_server(("0.0.0.0", PORT + 1)):
        assert not is_free(PORT + 1)


def test_a_port_is_free_again_right_after_a_server_with_connections_has_ended() -> None:
    with socket.create_server(("127.0.0.1", PORT + 2)) as server:
        client = socket.create_connection(("127.0.0.1", PORT + 2))
        connection, _ = server.accept()
        connection.close()  # the server's side closes first: its port stays in TIME_WAIT
        client.close()
    assert is_free(PORT + 2)


def test_a_recording_takes_no_port_that_a_broker_of_the_cluster_was_given(tmp_path: Path) -> None:
    """Minutes pass between the choice and the start, while another broker's recording runs."""
    cluster = Membership(tmp_path / "home", CLUSTER, wanted_port=PORT + 10, plan=PortPlan())
    given = {port for one in cluster.choose_places() for port in (one.port, one.controller_port)}

    (scratch,) = cluster.beside(tmp_path / "scratch").choose_places()

    assert given.isdisjoint({scratch.port, scratch.controller_port})
