"""What the sections of the config are made of, and the types that several of them share."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from tempolite_node.config.bounds import duration, text
from tempolite_node.config.units import format_duration_ms
from tempolite_node.engine.model import DURATION_MS_MAX


class Section(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_by_name=True,
        validate_by_alias=True,
        alias_generator=lambda name: name.removesuffix("_ms"),
        arbitrary_types_allowed=True,
    )


NODE_ID = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
NodeId = Annotated[str, text(NODE_ID, "1 to 64 letters, digits and -_.")]
Name = Annotated[str, text(r"[^\x00-\x1f\x7f]{1,200}", "1 to 200 printable characters")]

LONG = "longer than a year is a mistake in the unit"
Timeout = Annotated[
    int, duration("1ms", format_duration_ms(DURATION_MS_MAX), "longer than ten years is a mistake in the unit")
]


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int  #: 0: any free port

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Only this machine can reach it. A name other than localhost may resolve to anything."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def wildcard(self) -> bool:
        """All addresses of a machine: something to listen on, and nothing to call."""
        try:
            return ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return False


def parse_address(value: str) -> Address:
    """ValueError: it is not host:port."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([A-Za-z0-9_.-]+)):(\d{1,5})", value)
    if match is None or int(match[3]) > 65_535:
        raise ValueError("must be host:port, e.g. 127.0.0.1:8367 or [::1]:8367")
    return Address(match[1] or match[2], int(match[3]))


def _address(value: object) -> object:
    return parse_address(value) if isinstance(value, str) else value


HostPort = Annotated[Address, BeforeValidator(_address)]
