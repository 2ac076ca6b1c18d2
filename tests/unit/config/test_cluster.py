"""A cluster's section: what each node makes of the file that all of them read, and how its mistakes are told."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest

from tempolite_node.cli.certificates import make_certificates
from tempolite_node.config import Address, ClusterConfig, Config, ConfigError, load_config
from tempolite_node.errors import StartError
from tempolite_node.log.raft.entries import Member
from tempolite_node.log.raft.raft_log import _Bound
from tempolite_node.node.raft_config import raft_config

from .test_load import mistakes, unset

EXAMPLE = Path(__file__).parents[3] / "cluster.example.yaml"

SHOP = """\
node: {id: "${TEMPOLITE_NODE_ID}", data_dir: "data/${TEMPOLITE_NODE_ID}"}
cluster:
  name: shop
  nodes:
    - {id: a, peers: "127.0.0.1:9361", listen: "127.0.0.1:8361", handlers: [fulfil]}
    - id: b
      peers: 127.0.0.1:9362
      listen: 127.0.0.1:8362
      handlers: [place_order]
      pools: {handler: {workers: 7, retry: {jitter: 0}}}
    - {id: c, peers: "127.0.0.1:9363", listen: "127.0.0.1:8363", advertise: "shop.example.org:443"}
pools: {handler: {rate_limit: 5, retry: {maximum_attempts: 9}}, saga: {workers: 3}}
handlers:
  - target: shop:fulfil
  - {name: place_order, target: shop:place}
"""


def load(directory: Path, text: str = SHOP, node_id: str | None = None, **environment: str) -> Config:
    (directory / "cluster.yaml").write_text(text)
    return load_config(directory / "cluster.yaml", environment, node_id=node_id)


def cluster_of(config: Config) -> ClusterConfig:
    assert config.cluster is not None
    return config.cluster


# --- what each node makes of it


def test_each_node_has_its_own_part_of_the_file_that_all_share(tmp_path):
    a, b, c = (load(tmp_path, node_id=node_id) for node_id in "abc")

    assert [config.api.listen.port for config in (a, b, c)] == [8361, 8362, 8363]
    assert [config.node.data_dir for config in (a, b, c)] == [tmp_path / "data" / node_id for node_id in "abc"]
    assert [[handler.name for handler in config.handlers] for config in (a, b, c)] == [
        ["fulfil"],
        ["place_order"],
        ["fulfil", "place_order"],
    ]
    assert a.cluster == b.cluster == c.cluster


def test_a_node_is_reached_where_it_listens_unless_it_says_otherwise(tmp_path):
    cluster = cluster_of(load(tmp_path, node_id="a"))

    assert [str(node.advertise) for node in cluster.nodes] == [
        "127.0.0.1:8361",
        "127.0.0.1:8362",
        "shop.example.org:443",
    ]
    assert [node.peers_listen for node in cluster.nodes] == [node.peers for node in cluster.nodes]
    assert [node.handlers for node in cluster.nodes] == [("fulfil",), ("place_order",), ("fulfil", "place_order")]


def test_a_node_that_listens_where_all_do_needs_no_listen_of_its_own(tmp_path):
    text = """\
        node: {id: a, data_dir: data}
        api: {listen: "127.0.0.1:1234"}
        cluster: {name: one, nodes: [{id: a, peers: "localhost:9361"}]}
        handlers: [{target: "shop:fulfil"}]
        """

    config = load(tmp_path, dedent(text))

    assert config.api.listen == Address("127.0.0.1", 1234)
    assert cluster_of(config).node("a").advertise == Address("127.0.0.1", 1234)
    assert cluster_of(config).node_timeout_ms == 5_000


def test_pools_of_a_node_override_those_of_all_setting_by_setting(tmp_path):
    b, c = load(tmp_path, node_id="b").pools, load(tmp_path, node_id="c").pools

    assert (b.handler.workers, b.handler.rate_limit, b.saga.workers) == (7, 5, 3)
    assert (b.handler.retry.maximum_attempts, b.handler.retry.jitter) == (9, 0)
    assert (c.handler.workers, c.handler.retry.jitter) == (1, None)


def test_the_option_goes_before_the_environment_and_that_before_nothing(tmp_path):
    literal = SHOP.replace('"${TEMPOLITE_NODE_ID}", ', "a, ")

    assert load(tmp_path, node_id="b", TEMPOLITE_NODE_ID="a").node.id == "b"
    assert load(tmp_path, TEMPOLITE_NODE_ID="a").node.id == "a"
    assert load(tmp_path, literal, node_id="b").node.id == "b"


def test_without_an_id_the_option_that_gives_it_is_named(tmp_path):
    found = mistakes(tmp_path, SHOP)

    assert found == [
        f"1:{column}: node.{key}: needs the environment variable TEMPOLITE_NODE_ID, which is not set; "
        "give --node-id or set it"
        for column, key in ((12, "id"), (46, "data_dir"))
    ]


# --- mistakes


def test_every_mistake_of_a_cluster_is_told_at_once(tmp_path):
    text = """\
        node: {id: z, data_dir: data}
        cluster:
          nmae: shop
          node_timeout: 10ms
          nodes:
            - {id: a, peers: "10.0.0.1:9361", listen: "127.0.0.1:8361", handlers: [fulfill]}
            - {id: a, peers: "10.0.0.1:9361", handlers: [fulfil], pools: {saga: {worker: 1}}}
            - {id: b, peers: "0.0.0.0:9361", listen: "127.0.0.1:0", handlers: []}
            - {id: c, listen: "127.0.0.1:8361", handlers: [fulfil], join: 3}
        handlers:
          - target: shop:fulfil
          - target: shop:place_order
        """

    assert mistakes(tmp_path, text) == [
        "1:12: node.id: is not in cluster.nodes, which has a, b, c",
        "3:3: cluster.name: is required",
        "3:3: cluster.nmae: is not a setting; did you mean name?",
        "4:17: cluster.node_timeout: must be at least 1s (a node that is silent for so long is declared dead, "
        "and its work goes elsewhere)",
        "6:22: cluster.nodes[0].peers: an address that others can reach needs mutual TLS between the nodes; "
        "set cluster.tls",
        "6:76: cluster.nodes[0].handlers[0]: is not the name of a handler; did you mean fulfil?",
        "7:12: cluster.nodes[1].id: is that of cluster.nodes[0] too",
        "7:22: cluster.nodes[1].peers: is that of cluster.nodes[0] too",
        "7:22: cluster.nodes[1].peers: an address that others can reach needs mutual TLS between the nodes; "
        "set cluster.tls",
        "7:74: cluster.nodes[1].pools.saga.worker: is not a setting; did you mean workers?",
        "8:7: cluster.nodes[2].advertise: must be set to where clients reach this node",
        "8:22: cluster.nodes[2].peers: must be where the other nodes reach this one; set peers_listen to listen "
        "elsewhere",
        "8:22: cluster.nodes[2].peers: an address that others can reach needs mutual TLS between the nodes; "
        "set cluster.tls",
        "8:71: cluster.nodes[2].handlers: needs at least one entry; without the key it serves all",
        "9:7: cluster.nodes[3].peers: is required",
        "9:7: cluster.nodes[3].advertise: is that of cluster.nodes[0] too",
        "9:67: cluster.nodes[3].join: must be true or false",
        "12:5: handlers[1]: is served by no node; see cluster.nodes[].handlers",
    ]


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        ("shop", "cluster: must be a mapping"),
        ("{name: shop, nodes: a}", "cluster.nodes: must be a list"),
        ("{name: shop, nodes: []}", "cluster.nodes: needs at least one entry"),
        ("{name: shop}", "cluster.nodes: is required"),
        ("{name: shop, nodes: [a]}", "cluster.nodes[0]: must be a mapping"),
        ("{name: shop, nodes: [{id: a, peers: nowhere}]}", "cluster.nodes[0].peers: must be host:port"),
        ("{name: shop, nodes: [{id: a, peers: 'localhost:1', listen: x}]}", "cluster.nodes[0].listen: must be host"),
        ("{name: shop, nodes: [{id: a, peers: 'localhost:1', handlers: x}]}", "nodes[0].handlers: must be a list"),
        (
            "{name: shop, nodes: [{id: a, peers: 'localhost:1', listen: '10.0.0.1:1'}]}",
            "nodes[0].listen: an address that others can reach needs TLS and authentication; set api.tls.certificate",
        ),
    ],
)
def test_a_mistake_of_a_cluster_is_told_once(tmp_path, cluster, expected):
    text = f"node: {{id: a, data_dir: data}}\ncluster: {cluster}\nhandlers: [{{target: 'shop:fulfil'}}]\n"

    found = mistakes(tmp_path, text)

    assert len(found) == 1
    assert expected in found[0]


# --- TLS between the nodes

TLS = """\
node: {id: "${TEMPOLITE_NODE_ID}", data_dir: data}
cluster:
  name: shop
  tls: {certificate: "peer-${TEMPOLITE_NODE_ID}.pem", key: "peer-${TEMPOLITE_NODE_ID}.key", ca: ca.pem}
  nodes:
    - {id: a, peers: "10.0.0.1:9361", peers_listen: "0.0.0.0:9361", listen: "127.0.0.1:8361"}
    - {id: b, peers: "10.0.0.2:9361", listen: "127.0.0.1:8362"}
    - {id: c, peers: "10.0.0.3:9361", listen: "127.0.0.1:8363", join: true}
handlers: [{target: "shop:fulfil"}]
"""


def test_with_certificates_nodes_may_be_on_several_machines(tmp_path):
    make_certificates(tmp_path, hosts=["localhost"], clients=[], peers=["a", "b"])

    tls = cluster_of(load(tmp_path, TLS, node_id="b")).tls

    assert tls is not None
    assert tls.certificate == tmp_path / "peer-b.pem"


def test_a_certificate_of_another_node_is_refused(tmp_path):
    make_certificates(tmp_path, hosts=["localhost"], clients=[], peers=["a"])
    for suffix in ("pem", "key"):
        (tmp_path / f"peer-a.{suffix}").rename(tmp_path / f"peer-b.{suffix}")

    with pytest.raises(ConfigError, match=r"4:22: cluster.tls.certificate: is for a, and not for this node's id"):
        load(tmp_path, TLS, node_id="b")


def test_every_file_of_the_peers_must_be_there(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, TLS, node_id="a")

    assert [problem.path for problem in caught.value.problems] == [
        "cluster.tls.certificate",
        "cluster.tls.key",
        "cluster.tls.ca",
    ]


# --- the log's part of it


def test_the_log_starts_with_those_who_do_not_join(tmp_path):
    make_certificates(tmp_path, hosts=["localhost"], clients=[], peers=["a", "c"])

    starter, newcomer = (raft_config(load(tmp_path, TLS, node_id=node_id)) for node_id in "ac")

    assert (starter.listen, newcomer.listen) == ("0.0.0.0:9361", "10.0.0.3:9361")
    assert starter.members == newcomer.members == (Member("a", "10.0.0.1:9361"), Member("b", "10.0.0.2:9361"))
    assert (starter.join, newcomer.join) == (False, True)
    assert starter.directory == tmp_path / "data"
    assert starter.security is not None
    assert starter.security.certificate == (tmp_path / "peer-a.pem").read_bytes()


def test_certificates_that_have_gone_since_the_config_was_read_are_told(tmp_path):
    make_certificates(tmp_path, hosts=["localhost"], clients=[], peers=["a"])
    config = load(tmp_path, TLS, node_id="a")
    (tmp_path / "ca.pem").unlink()

    with pytest.raises(StartError, match=r"can't read .*ca\.pem"):
        raft_config(config)


def test_the_largest_batch_finds_room_also_behind_one_that_is_applied_and_still_counted(tmp_path):
    limits = raft_config(load(tmp_path, node_id="a")).limits
    bound = _Bound(limits)
    bound.enter(limits.entry_bytes_max)

    bound.enter(limits.entry_bytes_max)


# --- the example


@pytest.mark.parametrize("node_id", ["a", "b", "c", "d"])
def test_the_example_is_a_cluster_with_a_responsibility_for_each_node(node_id):
    config = load_config(EXAMPLE, {}, node_id=node_id)

    served = {"a": 3, "b": 2, "c": 4, "d": 4}[node_id]
    assert len(config.handlers) == served
    assert [member.node_id for member in raft_config(config).members] == ["a", "b", "c"]


def test_the_example_shows_every_setting_of_a_cluster(tmp_path):
    make_certificates(tmp_path / "certs", hosts=["localhost"], clients=[], peers=["a"])
    text = re.sub(r"^(\s*)# (?=\s*\w+: )", r"\1", EXAMPLE.read_text().partition("\nnode:")[2], flags=re.MULTILINE)
    text = re.sub(r"# (tls:)", r"\1", text)

    config = load(tmp_path, "node:" + text, node_id="a")

    assert {
        each for each in unset(config) if each[0] in ("ClusterConfig", "ClusterNodeConfig", "PeerTlsConfig")
    } == set()
