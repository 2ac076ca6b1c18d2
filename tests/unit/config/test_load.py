"""What a config file may say, and how its mistakes are told."""

import re
from pathlib import Path
from textwrap import dedent

import pytest
from pydantic import BaseModel

from tempolite_node.cli.certificates import make_certificates
from tempolite_node.config import Address, Config, ConfigError, Role, load_config

NODE = "node: {id: node-1, data_dir: ./var}\n"
HANDLERS = "handlers:\n  - target: shop.handlers:fulfil\n"
SHA256 = "0" * 63 + "a"


def load(directory: Path, text: str, environment: dict[str, str] | None = None) -> Config:
    path = directory / "node.yaml"
    path.write_text(dedent(text))
    return load_config(path, environment or {})


def mistakes(directory: Path, text: str, environment: dict[str, str] | None = None) -> list[str]:
    """As "line:column: path: message"."""
    with pytest.raises(ConfigError) as caught:
        load(directory, text, environment)
    return [str(problem).removeprefix(f"{directory}/node.yaml:") for problem in caught.value.problems]


def test_a_node_and_one_handler_are_enough(tmp_path):
    config = load(tmp_path, NODE + HANDLERS)

    assert config.node.data_dir == tmp_path / "var"
    assert config.api.listen == Address("127.0.0.1", 8367)
    assert config.hosts.python_path == (tmp_path,)
    assert [handler.name for handler in config.handlers] == ["fulfil"]
    assert config.pools.handler.workers == 1


def test_a_whole_config_is_read_in_its_units(tmp_path):
    config = load(
        tmp_path,
        """
        node: {id: node-1, data_dir: /var/lib/tempolite, drain_timeout: 1m}
        api: {listen: "[::1]:0", limits: {payload_bytes: 1MiB, message_bytes: 8MiB}}
        hosts: {processes: 2, park_ttl: 1h30m, python_path: [src, ../lib]}
        pools:
          saga: {workers: 3, queue_timeout: 5s, queue_limit: 10, rate_limit: 2.5, retry: {initial_interval: 250ms}}
        handlers:
          - name: fill
            target: shop.handlers:Shop.fulfil
            params: {region: eu, limits: [1, 2.5, null, true]}
            isolation: process
            compensation: {retry: {maximum_attempts: 0}}
        log: {level: debug, format: console}
        """,
    )

    assert config.node.drain_timeout_ms == 60_000
    assert config.api.listen == Address("::1", 0)
    assert config.api.limits.message_bytes == 8 * 1024**2
    assert config.hosts.python_path == (tmp_path / "src", tmp_path.parent / "lib")
    assert config.pools.saga.retry.initial_interval_ms == 250
    assert config.handlers[0].params == b'{"limits":[1,2.5,null,true],"region":"eu"}'
    assert config.handlers[0].compensation.retry.maximum_attempts == 0
    assert (config.log.level, config.log.format) == ("debug", "text")  # "console" is its former name


def test_every_mistake_is_told_at_once_in_the_order_of_the_file(tmp_path):
    text = """\
        node: {id: "bad id", data_dir: ./var, drian_timeout: 3s}
        api:
          tokens: [{name: ci, role: boss, sha256: ab}]
        hosts:
          processes: 0
          park_ttl: 3 weeks
          processes: 2
        pools:
          handler:
            workers: 0
            retry: {jitter: 2}
          side_effect: {queue_limit: 4}
        handlers:
          - target: shop.handlers:fulfil
            params: {a: "${NOPE}"}
          - {name: fulfil, target: nope}
          - {isolation: vm, priority: abc, concurrency_key_limit: 0}
          - {target: shop.handlers:bill, memory_limit: 1GiB}
          - {target: shop.handlers:ship, memory_limit: 1MiB, isolation: process}
        """

    assert mistakes(tmp_path, text) == [
        "1:12: node.id: must be 1 to 64 letters, digits and -_.",
        "1:39: node.drian_timeout: is not a setting; did you mean drain_timeout?",
        "3:29: api.tokens[0].role: must be reader, operator or admin",
        "3:43: api.tokens[0].sha256: must be 64 hexadecimal digits in lower case: see `tempolite-node token`",
        "5:14: hosts.processes: must be at least 1 (each is a Python process with the handlers imported)",
        "6:13: hosts.park_ttl: must be a duration, e.g. 500ms, 30s, 15m, 1h30m, 2d",
        "7:3: hosts.processes: is already set in line 5",
        "10:14: pools.handler.workers: must be at least 1 (each is a thread or task that runs user code)",
        "11:21: pools.handler.retry.jitter: must be at most 1 (the delay is drawn from 1 - jitter to 1 + jitter)",
        "12:17: pools.side_effect.queue_limit: only the handler and saga pools have it: "
        "what an execution has begun is never refused for a full queue",
        "15:17: handlers[0].params.a: needs the environment variable NOPE, which is not set",
        "16:12: handlers[1].name: is the name of handlers[0] too",
        "16:28: handlers[1].target: must be module:function, e.g. shop.handlers:fulfil",
        "17:5: handlers[2].target: is required",
        "17:17: handlers[2].isolation: must be shared or process",
        "17:31: handlers[2].priority: must be a whole number",
        "17:59: handlers[2].concurrency_key_limit: must be at least 1 "
        "(executions with one concurrency_key that are under way at a time)",
        "18:48: handlers[3].memory_limit: needs isolation: process, since in a shared worker host "
        "nobody knows whose memory it is",
        "19:48: handlers[4].memory_limit: must be at least 64MiB (the interpreter with the handlers takes its part)",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("node: [", "1:8: not valid YAML"),
        ("node: {id: a}}\n", "1:14: not valid YAML"),
        ("- a\n", "must be a mapping"),
        (NODE, "1:1: handlers: is required"),
        (NODE + "handlers: []\n", "2:11: handlers: needs at least one entry"),
        (NODE + "handlers: fulfil\n", "2:11: handlers: must be a list"),
        (NODE + HANDLERS + "    params: [1]\n", "4:13: handlers[0].params: must be a mapping"),
        (NODE + HANDLERS + "    params: &p {a: *p}\n", "handlers[0].params.a: refers to itself"),
        (NODE + HANDLERS + "    <<: {a: 1}\n", "merge keys are not supported"),
        (NODE + HANDLERS + "api: {listen: 127.0.0.1}\n", "api.listen: must be host:port"),
        (NODE + HANDLERS + "api: {listen: '127.0.0.1:99999'}\n", "api.listen: must be host:port"),
        (NODE + HANDLERS + "api: {clients: [{name: a, role: admin}]}\n", "api.clients: need api.tls.client_ca"),
        (
            NODE + HANDLERS + "api: {tls: {certificate: node.yaml, key: b}}\n",
            "api.tls.key: can't be read: No such file",
        ),
        (NODE + HANDLERS + "api: {tokens_file: tokens.yaml}\n", "tokens.yaml: can't be read: No such file"),
        (NODE + HANDLERS + "api: {limits: {payload_bytes: 4MiB}}\n", "must exceed payload_bytes"),
        (NODE + HANDLERS + "hosts: {ping_timeout: 1s}\n", "hosts.ping_timeout: must be at least ping_interval"),
        (NODE + HANDLERS + "log: {level: loud}\n", "log.level: must be debug, info, warning or error"),
        (NODE + HANDLERS + "pools: {handler: {workers: true}}\n", "pools.handler.workers: must be a whole number"),
        (NODE + HANDLERS + "pools: {handler: {rate_limit: .nan}}\n", "pools.handler.rate_limit: must be at most"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path, text, expected):
    found = mistakes(tmp_path, text)

    assert len(found) == 1
    assert expected in found[0]


@pytest.mark.parametrize("listen", ["0.0.0.0:8367", "10.0.0.1:8367", "example.org:8367", "'[::]:8367'"])
def test_an_address_that_others_reach_needs_tls_and_authentication(tmp_path, listen):
    found = mistakes(tmp_path, NODE + HANDLERS + f"api: {{listen: {listen}}}\n")

    assert found == [
        "4:15: api.listen: an address that others can reach needs TLS and authentication; set api.tls.certificate and "
        "api.tls.key; and api.tokens or api.tokens_file, or api.tls.client_ca and api.clients"
    ]


def test_with_tls_and_a_token_any_address_may_be_listened_on(tmp_path):
    make_certificates(tmp_path, hosts=["localhost"], clients=[])
    api = f"""\
        api:
          listen: 0.0.0.0:8367
          tls: {{certificate: server.pem, key: server.key}}
          tokens: [{{name: ci, role: operator, sha256: "{SHA256}"}}]
        """

    assert load(tmp_path, NODE + HANDLERS + dedent(api)).api.authenticates


def test_a_private_key_that_everyone_can_read_is_refused(tmp_path):
    make_certificates(tmp_path, hosts=["localhost"], clients=[])
    (tmp_path / "server.key").chmod(0o644)

    found = mistakes(tmp_path, NODE + HANDLERS + "api: {tls: {certificate: server.pem, key: server.key}}\n")

    assert found == ["4:43: api.tls.key: may be read by every user of this machine; chmod 600 it"]


def test_a_key_of_another_certificate_is_refused(tmp_path):
    make_certificates(tmp_path, hosts=["localhost"], clients=["other"])

    found = mistakes(tmp_path, NODE + HANDLERS + "api: {tls: {certificate: server.pem, key: client-other.key}}\n")

    assert "api.tls.certificate: and key are not a PEM certificate and its unencrypted private key" in found[0]


def test_tokens_come_from_their_own_file_too(tmp_path):
    (tmp_path / "tokens.yaml").write_text(f'tokens:\n- {{name: ci, role: operator, sha256: "{SHA256}"}}\n')

    config = load(tmp_path, NODE + HANDLERS + "api: {tokens_file: tokens.yaml}\n")

    assert [(token.name, token.role) for token in config.api.tokens] == [("ci", Role.OPERATOR)]


def test_mistakes_in_the_tokens_file_are_told_at_their_place_there(tmp_path):
    (tmp_path / "tokens.yaml").write_text("tokens:\n- {name: ci, role: god}\n")

    with pytest.raises(ConfigError) as caught:
        load(tmp_path, NODE + HANDLERS + "api: {tokens_file: tokens.yaml}\n")

    assert [str(problem) for problem in caught.value.problems] == [
        f"{tmp_path}/tokens.yaml:2:3: tokens[0].sha256: is required",
        f"{tmp_path}/tokens.yaml:2:20: tokens[0].role: must be reader, operator or admin",
    ]


def test_references_take_their_value_from_the_environment(tmp_path):
    text = (
        NODE + "pools: {handler: {workers: '${WORKERS}'}}\n" + HANDLERS + "    params: {key: 'a${KEY}b', cost: $$5}\n"
    )

    config = load(tmp_path, text, {"WORKERS": "4", "KEY": "secret"})

    assert config.pools.handler.workers == 4
    assert config.handlers[0].params == b'{"cost":"$5","key":"asecretb"}'
    assert config.handlers[0].params.secrets == (("key",),)


def test_mistakes_never_show_a_value_since_it_may_be_a_secret(tmp_path):
    text = "node: {id: '${ID}', data_dir: ./var}\nlog: {level: '${ID}'}\npools: {saga: {workers: '${ID}'}}\n" + HANDLERS

    assert "hush" not in " ".join(mistakes(tmp_path, text, {"ID": "hush hush"}))


def test_an_alias_stands_for_its_whole_value(tmp_path):
    text = NODE + "pools: {handler: {retry: &slow {initial_interval: 9s}}, saga: {retry: *slow}}\n" + HANDLERS

    assert load(tmp_path, text).pools.saga.retry.initial_interval_ms == 9_000


def test_the_example_shows_every_setting_with_a_value_that_is_allowed(tmp_path):
    example = (Path(__file__).parents[3] / "docs/node.example.yaml").read_text()
    make_certificates(tmp_path / "certs", hosts=["localhost"], clients=[])
    (tmp_path / "tokens.yaml").write_text(f'tokens:\n- {{name: other, role: reader, sha256: "{SHA256}"}}\n')
    # Every comment that is a setting becomes one.
    whole = re.sub(r"^(\s*)# (?=\s*(?:\w+:|- \{))", r"\1", example, flags=re.MULTILINE).replace('"…"', f'"{SHA256}"')

    config = load(tmp_path, example)
    with_all = load(tmp_path, whole)

    assert [handler.name for handler in config.handlers] == ["fulfil", "place_order"]
    assert unset(with_all) == {("Config", "cluster")}  # cluster.example.yaml shows that
    assert with_all.pools.saga == config.pools.saga


def unset(config: BaseModel) -> set[str]:
    """Settings that no section of their kind sets."""
    known, shown = set(), set()
    sections = [config]
    while sections:
        section = sections.pop()
        known |= {(type(section).__name__, name) for name in type(section).model_fields}
        shown |= {(type(section).__name__, name) for name in section.model_fields_set}
        values = [getattr(section, name) for name in type(section).model_fields]
        entries = [entry for value in values for entry in (value if isinstance(value, tuple) else [value])]
        sections += [entry for entry in entries if isinstance(entry, BaseModel)]
    return known - shown
