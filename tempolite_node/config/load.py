"""From a file to a Config, or to every mistake in it."""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tempolite_node.config.bounds import AT_LEAST_ONE
from tempolite_node.config.cluster import handler_name
from tempolite_node.config.cluster_rules import cluster_problems
from tempolite_node.config.model import Config, TlsConfig, TokenConfig
from tempolite_node.config.section import Section
from tempolite_node.config.source import NODE_ID, FromEnvironment, Location, Source, dotted, read_source
from tempolite_node.errors import ConfigError, Problem
from tempolite_sdk.names import did_you_mean

S = TypeVar("S", bound=Section)


def load_config(
    path: str | os.PathLike[str], environment: Mapping[str, str] = os.environ, *, node_id: str | None = None
) -> Config:
    """The config in the file, as it is for one node. ConfigError carries every mistake, in the order of the file.

    node_id: goes before the file's `node.id`, and before the environment's TEMPOLITE_NODE_ID.
    """
    source = source_of(Path(path), environment, node_id=node_id)
    if source.value is None:
        raise ConfigError(source.problems or [source.problem((), "is empty")])
    config, problems = _validate(Config, source)
    problems += _repeated_names(source)
    problems += cluster_problems(source)
    if config is not None:
        problems += _tls_problems(config.api.tls, source)
        problems += _problems_in_the_cluster(config, source)
        config = _with_tokens_file(config, environment, problems)
    if problems or config is None:
        raise ConfigError(
            sorted(dict.fromkeys(problems), key=lambda problem: (problem.file, problem.line, problem.column))
        )
    return config.of_this_node()


def handler_problem(source: Source, name: str, setting: str, message: str) -> Problem:
    """What was found out about a handler of the file when it was imported. setting: e.g. "target", "params.region"."""
    handlers = source.value.get("handlers") if isinstance(source.value, dict) else None
    names = [handler_name(handler) for handler in handlers] if isinstance(handlers, list) else []
    return source.problem(("handlers", names.index(name), *setting.split(".")), message)


def source_of(path: Path, environment: Mapping[str, str] = os.environ, *, node_id: str | None = None) -> Source:
    """The file as it is for one node, to say where in it a mistake is."""
    if node_id is None:
        return read_source(path, environment)
    source = read_source(path, {**environment, NODE_ID: node_id})
    if isinstance(source.value, dict) and isinstance(node := source.value.get("node"), dict):
        node["id"] = node_id
    return source


class _TokensFile(Section):
    tokens: Annotated[tuple[TokenConfig, ...], AT_LEAST_ONE]


def _with_tokens_file(config: Config, environment: Mapping[str, str], problems: list[Problem]) -> Config:
    if config.api.tokens_file is None:
        return config
    file = read_source(config.api.tokens_file, environment)
    if file.value is None:
        problems += file.problems or [file.problem((), "is empty")]
        return config
    tokens, more = _validate(_TokensFile, file)
    problems += more
    if tokens is None:
        return config
    names = {token.name for token in config.api.tokens}
    for index, token in enumerate(tokens.tokens):
        if token.name in names:
            problems.append(file.problem(("tokens", index, "name"), "is already the name of another token"))
        names.add(token.name)
    api = config.api.model_copy(update={"tokens": config.api.tokens + tokens.tokens})
    return config.model_copy(update={"api": api})


# --- what pydantic finds, in our words


def _validate(model: type[S], source: Source) -> tuple[S | None, list[Problem]]:
    data = _without_nulls(source.value)
    if model is Config and isinstance(data, dict):
        data = _with_python_path(data)
    try:
        return model.model_validate(data, context=source.path, by_alias=True, by_name=False), list(source.problems)
    except ValidationError as error:
        known = {(problem.line, problem.column) for problem in source.problems}
        found = [_problem(detail, model, source) for detail in error.errors(include_url=False, include_input=False)]
        # A value that could not be read is wrong once, not twice.
        return None, source.problems + [problem for problem in found if (problem.line, problem.column) not in known]


def _without_nulls(value: Any, *, inside_params: bool = False) -> Any:
    """A key without a value is as good as absent, except in what goes to a handler."""
    if isinstance(value, dict):
        return {
            key: _without_nulls(item, inside_params=inside_params or key == "params")
            for key, item in value.items()
            if item is not None or inside_params
        }
    if isinstance(value, list):
        return [_without_nulls(item, inside_params=inside_params) for item in value]
    if isinstance(value, FromEnvironment) and not inside_params:
        return str(value)
    return value


def _with_python_path(data: dict[str, Any]) -> dict[str, Any]:
    hosts = data.get("hosts", {})
    return {**data, "hosts": {"python_path": ["."], **hosts}} if isinstance(hosts, dict) else data


_WORDS = {
    "missing": "is required",
    "string_type": "must be text",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "tuple_type": "must be a list",
    "path_type": "must be a path",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "bytes_type": "must be a mapping",
    "is_instance_of": "must be host:port, e.g. 127.0.0.1:8367",
}

_ONLY_EXECUTIONS = "only the handler and saga pools have it"
_MISPLACED = {
    "max_duration": f"{_ONLY_EXECUTIONS}: it bounds a whole execution, with all that it does",
    "queue_timeout": f"{_ONLY_EXECUTIONS}: what an execution has begun is never given up for a full queue",
    "queue_limit": f"{_ONLY_EXECUTIONS}: what an execution has begun is never refused for a full queue",
}


def _problem(detail: ErrorDetails, model: type[BaseModel], source: Source) -> Problem:
    at: Location = tuple(detail["loc"])
    context = detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            return source.problem(at, _unknown_key(at, model), on_key=True)
        case "enum" | "literal_error":
            return source.problem(at, f"must be {str(context['expected']).replace(chr(39), '')}")
        case "value_error":
            return source.problem(at, str(context["error"]))
        case "tempolite":
            return source.problem((*at, *context["at"]), detail["msg"])
        case "missing":
            # Shown at the mapping that lacks it.
            return source.problem(at, _WORDS["missing"])
        case kind:
            return source.problem(at, _WORDS.get(kind, detail["msg"].replace("Input should", "should")))


def _unknown_key(at: Location, model: type[BaseModel]) -> str:
    key = str(at[-1])
    if "pools" in at and key in _MISPLACED:
        return _MISPLACED[key]
    if key == "<<":
        return "merge keys are not supported; use an alias for the whole value"
    known = [field.alias or name for name, field in _model_at(model, at[:-1]).model_fields.items()]
    return "is not a setting" + (did_you_mean(key, known) or f"; known: {', '.join(known)}")


def _model_at(model: type[BaseModel], at: Location) -> type[BaseModel]:
    for step in at:
        if isinstance(step, str):
            annotation = next(f.annotation for n, f in model.model_fields.items() if step == (f.alias or n))
            model = next(part for part in _parts(annotation) if isinstance(part, type) and issubclass(part, BaseModel))
    return model


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in get_args(annotation):
        yield from _parts(argument)


# --- what concerns several values, or other files


def _repeated_names(source: Source) -> list[Problem]:
    """Looked for in the values as read, so that other mistakes do not hide it."""
    api = source.value.get("api") if isinstance(source.value, dict) else None
    lists: list[tuple[Location, Any]] = [
        (("handlers",), source.value.get("handlers") if isinstance(source.value, dict) else None),
        (("api", "tokens"), api.get("tokens") if isinstance(api, dict) else None),
        (("api", "clients"), api.get("clients") if isinstance(api, dict) else None),
    ]
    return [problem for at, entries in lists for problem in _repeats(source, at, entries)]


def _repeats(source: Source, at: Location, entries: Any) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        if not isinstance(entry, dict):
            continue
        name = handler_name(entry)
        if name and name in first:
            yield source.problem((*at, index, "name"), f"is the name of {dotted((*at, first[name]))} too")
        else:
            first[name] = index


def _tls_problems(tls: TlsConfig | None, source: Source) -> list[Problem]:
    if tls is None:
        return []
    return _pem_problems(source, ("api", "tls"), tls.certificate, tls.key, "client_ca", tls.client_ca)


def _problems_in_the_cluster(config: Config, source: Source) -> list[Problem]:
    cluster = config.cluster
    if cluster is None:
        return []
    problems = [
        source.problem(("cluster", "nodes", index, "listen"), message)
        for index, node in enumerate(cluster.nodes)
        if (message := config.api.exposed(node.listen))
    ]
    if cluster.tls is None:
        return problems
    tls, at = cluster.tls, ("cluster", "tls")
    in_files = _pem_problems(source, at, tls.certificate, tls.key, "ca", tls.ca)
    if not in_files and config.node.id not in (names := _names_in(tls.certificate)):
        in_files.append(source.problem((*at, "certificate"), f"is for {', '.join(names)}, and not for this node's id"))
    return problems + in_files


def _names_in(certificate: Path) -> list[str]:
    """Whom it is for: its alternative names, or the common name if it has none."""
    from cryptography import x509  # here, since few nodes need it, and it takes its time

    parsed = x509.load_pem_x509_certificate(certificate.read_bytes())
    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return [str(name.value) for name in parsed.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    return [str(name.value) for name in names]


def _pem_problems(
    source: Source, at: Location, certificate: Path, key: Path, ca_name: str, ca: Path | None
) -> list[Problem]:
    files = {"certificate": certificate, "key": key} | ({ca_name: ca} if ca else {})
    problems = [source.problem((*at, name), message) for name, path in files.items() if (message := _unreadable(path))]
    if not problems and key.stat().st_mode & stat.S_IRWXO:
        problems.append(source.problem((*at, "key"), "may be read by every user of this machine; chmod 600 it"))
    if not problems and (message := _mismatch(certificate, key)):
        problems.append(source.problem((*at, "certificate"), message))
    if not problems and ca and not _holds_a_certificate(ca):
        problems.append(source.problem((*at, ca_name), "holds no PEM certificate"))
    return problems


def _unreadable(path: Path) -> str | None:
    try:
        path.open("rb").close()
    except OSError as error:
        return f"can't be read: {error.strerror}"
    return None


def _mismatch(certificate: Path, key: Path) -> str | None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError):
        return "and key are not a PEM certificate and its unencrypted private key"
    return None


def _holds_a_certificate(ca: Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(ca)
    except ssl.SSLError:
        return False
    return True
