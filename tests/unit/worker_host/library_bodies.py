"""Bodies of async handlers that use common libraries as people do. Each waits in the middle of it.

They are given the address of a server on this machine, for what they do in side effects. What they import is not
installed everywhere, so they do it themselves.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from tempolite_sdk import AsyncHandlerContext

Body = Callable[[AsyncHandlerContext, str], Coroutine[Any, Any, Any]]


@dataclass
class Program:
    body: Body
    modules: tuple[str, ...]  #: that it needs
    gives: Any = None


PROGRAMS: list[Program] = []
REFUSED: list[Program] = []  #: what goes out of the process, in the body itself


def uses(*modules: str, gives: Any) -> Callable[[Body], Body]:
    def keep(body: Body) -> Body:
        PROGRAMS.append(Program(body, modules, gives))
        return body

    return keep


def refused(*modules: str) -> Callable[[Body], Body]:
    def keep(body: Body) -> Body:
        REFUSED.append(Program(body, modules))
        return body

    return keep


# --- logs and errors


@uses("loguru", gives=[["a begins", "b begins"], ["a ends", "b ends"], "ZeroDivisionError"])
async def loguru(ctx: AsyncHandlerContext, _url: str) -> Any:
    from loguru import logger

    lines: list[str] = []

    async def keep(message: Any) -> None:
        lines.append(message.record["extra"]["order"] + " " + message.record["message"])

    caught: list[str] = []
    logger.remove()
    logger.add(keep, level="INFO", filter=lambda record: record["level"].name == "INFO")
    logger.add(lambda message: caught.append(message.record["exception"].type.__name__), level="ERROR")

    async def packs(order: str) -> None:
        with logger.contextualize(order=order):
            logger.info("begins")
            await ctx.sleep(60)
            logger.info("ends")

    await asyncio.gather(packs("a"), packs("b"))
    await logger.complete()
    with logger.catch():
        _ = 1 // 0
    logger.remove()
    return [sorted(lines[:2]), sorted(lines[2:]), *caught]


@uses("sentry_sdk", gives=[["a", "b", "body"], ["ZeroDivisionError"]])
async def sentry(ctx: AsyncHandlerContext, _url: str) -> Any:
    import sentry_sdk
    from sentry_sdk.integrations.asyncio import enable_asyncio_integration
    from sentry_sdk.transport import Transport

    told: list[Any] = []

    class Collecting(Transport):
        def capture_envelope(self, envelope: Any) -> None:
            told.extend(event for item in envelope.items if (event := item.get_event()) is not None)

    async def part(name: str) -> None:
        sentry_sdk.set_tag("part", name)
        await ctx.sleep(60)
        sentry_sdk.capture_message("it goes on")

    # It is for the process that handlers are imported in; here, for the body alone.
    client = sentry_sdk.Client("https://key@localhost/1", transport=Collecting, default_integrations=False)
    with sentry_sdk.isolation_scope() as scope:
        scope.set_client(client)
        enable_asyncio_integration()
        sentry_sdk.set_tag("part", "body")
        await asyncio.gather(part("a"), part("b"))
        try:
            _ = 1 // 0
        except ZeroDivisionError as error:
            sentry_sdk.capture_exception(error)
    errors = [event["exception"]["values"][0]["type"] for event in told if "exception" in event]
    return [sorted(event["tags"]["part"] for event in told), errors]


@uses("structlog", gives=[{"order": "a", "event": "begins"}, {"order": "a", "event": "ends"}])
async def structlog(ctx: AsyncHandlerContext, _url: str) -> Any:
    import structlog

    entries: list[Any] = []

    def keep(_logger: Any, _name: str, event: Any) -> Any:
        entries.append(dict(event))
        raise structlog.DropEvent

    log = structlog.wrap_logger(None, processors=[structlog.contextvars.merge_contextvars, keep])
    with structlog.contextvars.bound_contextvars(order="a"):
        log.info("begins")
        await ctx.sleep(60)
        log.info("ends")
    return entries


@uses("opentelemetry", gives=["a", "b", None])
async def opentelemetry(ctx: AsyncHandlerContext, _url: str) -> Any:
    from opentelemetry import baggage, context, trace

    tracer = trace.get_tracer("shop")

    async def part(name: str) -> Any:
        token = context.attach(baggage.set_baggage("part", name))
        try:
            with tracer.start_as_current_span(name):
                await ctx.sleep(60)
                return baggage.get_baggage("part")
        finally:
            context.detach(token)

    return [*await asyncio.gather(part("a"), part("b")), baggage.get_baggage("part")]


@uses("rich", gives=["order  weight", "tea         2"])
async def rich(ctx: AsyncHandlerContext, _url: str) -> Any:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    console = Console(file=io.StringIO(), width=40)
    table = Table("order", "weight", box=None, padding=(0, 2, 0, 0))
    with Progress(console=Console(file=io.StringIO())) as progress:
        task = progress.add_task("packing", total=1)
        await ctx.sleep(60)
        progress.advance(task)
    table.add_row("tea", "     2")
    console.print(table)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


@uses("tqdm", gives=[0, 1, 2, [0, 1, 2]])
async def tqdm(ctx: AsyncHandlerContext, _url: str) -> Any:
    from tqdm.asyncio import tqdm

    async def part(number: int) -> int:
        await ctx.sleep(60 * (number + 1))
        return number

    found = [await each for each in tqdm.as_completed([part(n) for n in range(3)], file=io.StringIO())]
    return [*found, await tqdm.gather(*(part(n) for n in range(3)), file=io.StringIO())]


# --- values


@uses("pydantic", gives=[{"sku": "tea", "count": 2}, "count: Input should be greater than 0", 3])
async def pydantic(ctx: AsyncHandlerContext, _url: str) -> Any:
    from pydantic import BaseModel, Field, TypeAdapter, ValidationError, validate_call

    class Line(BaseModel):
        sku: str
        count: int = Field(gt=0)

    @validate_call
    async def counted(lines: list[Line]) -> int:
        await ctx.sleep(60)
        return sum(line.count for line in lines)

    line = Line.model_validate_json('{"sku": "tea", "count": "2"}')
    await ctx.sleep(60)
    try:
        TypeAdapter(list[Line]).validate_python([{"sku": "tea", "count": 0}])
    except ValidationError as error:
        [mistake] = error.errors()
    total = await counted([line, {"sku": "a", "count": 1}])  # type: ignore[list-item]
    return [line.model_dump(), f"{mistake['loc'][-1]}: {mistake['msg']}", total]


@uses("attrs", "cattrs", gives=[{"sku": "tea", "count": 2}, True, "IterableValidationError"])
async def attrs(ctx: AsyncHandlerContext, _url: str) -> Any:
    import cattrs
    from attrs import evolve, field, frozen, validators

    @frozen
    class Line:
        sku: str
        count: int = field(validator=validators.gt(0))

    converter = cattrs.Converter()
    converter.register_structure_hook(Line, lambda data, _type: Line(sku=str(data["sku"]), count=int(data["count"])))
    line = converter.structure({"sku": "tea", "count": "2"}, Line)
    await ctx.sleep(60)
    try:
        cattrs.structure({"count": "many"}, dict[str, int])
    except Exception as error:
        mistake = type(error).__name__
    return [converter.unstructure(line), evolve(line, count=2) == line, mistake]


@uses("msgspec", gives={"sku": "tea", "count": 2})
async def msgspec(ctx: AsyncHandlerContext, _url: str) -> Any:
    import msgspec

    class Line(msgspec.Struct):
        sku: str
        count: int

    data = msgspec.msgpack.encode(Line("tea", 2))
    await ctx.sleep(60)
    return msgspec.to_builtins(msgspec.msgpack.decode(data, type=Line))


@uses("orjson", gives={"b": 1, "a": [1.5, None]})
async def orjson(ctx: AsyncHandlerContext, _url: str) -> Any:
    import orjson

    data = orjson.dumps({"b": 1, "a": [1.5, None]})
    await ctx.sleep(60)
    return orjson.loads(data)


@uses("yaml", gives={"lines": [{"sku": "tea"}]})
async def yaml(ctx: AsyncHandlerContext, _url: str) -> Any:
    import yaml

    text = yaml.safe_dump({"lines": [{"sku": "tea"}]})
    await ctx.sleep(60)
    return yaml.safe_load(text)


@uses("jsonschema", gives=["'count' is a required property", []])
async def jsonschema(ctx: AsyncHandlerContext, _url: str) -> Any:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator({"type": "object", "required": ["count"]})
    mistakes = [error.message for error in validator.iter_errors({})]
    await ctx.sleep(60)
    return [*mistakes, [*validator.iter_errors({"count": 2})]]


@uses("dateutil", gives=["2026-03-31", "2026-02-28", "2026-03-02"])
async def dateutil(ctx: AsyncHandlerContext, _url: str) -> Any:
    from dateutil.parser import isoparse
    from dateutil.relativedelta import MO, relativedelta
    from dateutil.rrule import MONTHLY, rrule

    begins = isoparse("2026-01-31")
    await ctx.sleep(60)
    times = [
        list(rrule(MONTHLY, count=2, dtstart=begins))[1],
        begins + relativedelta(months=1),
        begins + relativedelta(months=1, days=1, weekday=MO),
    ]
    return [str(each.date()) for each in times]


@uses("numpy", gives=[285, [0.5, 0.5]])
async def numpy(ctx: AsyncHandlerContext, _url: str) -> Any:
    import numpy

    squares = numpy.arange(10) ** 2
    await ctx.sleep(60)
    return [int(squares.sum()), numpy.linalg.solve(numpy.ones((2, 2)) + numpy.eye(2), [1.5, 1.5]).round(3).tolist()]


@uses("networkx", gives=[["pick", "pack", "ship"], 2])
async def networkx(ctx: AsyncHandlerContext, _url: str) -> Any:
    import networkx

    graph = networkx.DiGraph([("pick", "pack"), ("pack", "ship")])
    order = list(networkx.topological_sort(graph))
    await ctx.sleep(60)
    return [order, networkx.shortest_path_length(graph, "pick", "ship")]


@uses("more_itertools", gives=[[["a", "b"], ["c"]], 2])
async def more_itertools(ctx: AsyncHandlerContext, _url: str) -> Any:
    from more_itertools import chunked, peekable

    parts = []
    lines = peekable("abc")
    while lines:
        parts.append([next(lines), *([next(lines)] if lines else [])])
        await ctx.sleep(60)
    return [parts, len(list(chunked("abc", 2)))]


@uses("cachetools", gives=[1, 9])
async def cachetools(ctx: AsyncHandlerContext, _url: str) -> Any:
    from cachetools import LRUCache, cached

    calls = []

    @cached(LRUCache(2))
    def square(of: int) -> int:
        calls.append(of)
        return of * of

    square(3)
    await ctx.sleep(60)
    squared = square(3)
    return [len(calls), squared]


@uses("blinker", gives=[["plain a", "async a"], 2])
async def blinker(ctx: AsyncHandlerContext, _url: str) -> Any:
    from blinker import Signal

    packed, heard = Signal(), []

    @packed.connect
    def plain(sender: str) -> None:
        heard.append(f"plain {sender}")

    @packed.connect
    async def waits(sender: str) -> None:
        await ctx.sleep(60)
        heard.append(f"async {sender}")

    def as_coroutine(function: Any) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return call

    answers = await packed.send_async("a", _sync_wrapper=as_coroutine)
    return [sorted(heard, reverse=True), len(answers)]


@uses("jinja2", gives="a, b: 2")
async def jinja2(ctx: AsyncHandlerContext, _url: str) -> Any:
    from jinja2 import Environment

    async def lines() -> AsyncIterator[str]:
        for name in ("a", "b"):
            await ctx.sleep(60)
            yield name

    async def count() -> int:
        await ctx.sleep(60)
        return 2

    template = Environment(enable_async=True).from_string(
        "{% for line in lines() %}{{ line }}{{ ', ' if not loop.last }}{% endfor %}: {{ count() }}"
    )
    return await template.render_async(lines=lines, count=count)


@uses("click", gives=[0, "packs tea\n"])
async def click(ctx: AsyncHandlerContext, _url: str) -> Any:
    import click
    from click.testing import CliRunner

    @click.command()
    @click.argument("sku")
    def pack(sku: str) -> None:
        click.echo(f"packs {sku}")

    await ctx.sleep(60)
    done = CliRunner().invoke(pack, ["tea"])
    return [done.exit_code, done.output]


# --- asyncio


@uses("anyio", "sniffio", gives=["asyncio", [0, 1, 2], True, "asyncio"])
async def anyio(_ctx: AsyncHandlerContext, _url: str) -> Any:
    import anyio
    import sniffio

    library = sniffio.current_async_library()
    send, receive = anyio.create_memory_object_stream[int](3)
    found: list[int] = []

    async def produce() -> None:
        async with send:
            for number in range(3):
                await anyio.sleep(60)
                await send.send(number)

    async with anyio.create_task_group() as group:
        group.start_soon(produce)
        async with receive:
            async for number in receive:
                found.append(number)
    with anyio.move_on_after(30) as scope:
        await anyio.Event().wait()
    return [library, found, scope.cancelled_caught, sniffio.current_async_library()]


@uses("tenacity", gives=[3, "RetryError"])
async def tenacity(_ctx: AsyncHandlerContext, _url: str) -> Any:
    from tenacity import AsyncRetrying, RetryError, retry, stop_after_attempt, wait_fixed, wait_random

    tries = []

    @retry(stop=stop_after_attempt(3), wait=wait_random(1, 60))
    async def third() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError
        return len(tries)

    found = await third()
    try:
        async for attempt in AsyncRetrying(stop=stop_after_attempt(2), wait=wait_fixed(60)):
            with attempt:
                raise ConnectionError
    except RetryError as error:
        return [found, type(error).__name__]


@uses("aiostream", gives=[[0, 1, 2, 10, 11, 12], [0, 1, 4]])
async def aiostream(ctx: AsyncHandlerContext, _url: str) -> Any:
    from aiostream import pipe, stream

    async def numbers(start: int) -> AsyncIterator[int]:
        for number in range(start, start + 3):
            await ctx.sleep(60)
            yield number

    async def square(number: int, *_: int) -> int:
        await ctx.sleep(60)
        return number * number

    merged = await stream.list(stream.merge(numbers(0), numbers(10)))
    squares = await (stream.iterate(range(3)) | pipe.map(square, task_limit=2) | pipe.list())
    return [sorted(merged), squares]


@uses("asyncstdlib", gives=[[[0, "a"], [1, "b"]], 1, [1, 1]])
async def asyncstdlib(ctx: AsyncHandlerContext, _url: str) -> Any:
    import asyncstdlib

    async def letters() -> AsyncIterator[str]:
        for letter in "ab":
            await ctx.sleep(60)
            yield letter

    calls = []

    @asyncstdlib.lru_cache
    async def counted() -> int:
        calls.append(1)
        await ctx.sleep(60)
        return len(calls)

    first = await counted()
    return [await asyncstdlib.list(asyncstdlib.enumerate(letters())), first, [await counted(), len(calls)]]


@uses("async_lru", gives=[1, 1, 1])
async def async_lru(ctx: AsyncHandlerContext, _url: str) -> Any:
    from async_lru import alru_cache

    calls = []

    @alru_cache(maxsize=2, ttl=3_600)
    async def price(_sku: str) -> int:
        calls.append(1)
        await ctx.sleep(60)
        return len(calls)

    return [*await asyncio.gather(price("tea"), price("tea")), await price("tea")]


@uses("aiocache", gives=[[1, None], 2])
async def aiocache(ctx: AsyncHandlerContext, _url: str) -> Any:
    from aiocache import Cache, cached

    cache, calls = Cache(Cache.MEMORY), []
    await cache.set("kept", 1, ttl=90)
    await ctx.sleep(60)
    found = [await cache.get("kept")]
    await ctx.sleep(60)
    found.append(await cache.get("kept"))

    @cached()
    async def price(of: int) -> int:
        calls.append(of)
        await ctx.sleep(60)
        return 2

    await price(1)
    return [found, await price(1)]


@uses("pydantic_ai", gives=["it is packed", 2])
async def pydantic_ai(ctx: AsyncHandlerContext, _url: str) -> Any:
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import AgentInfo, FunctionModel

    asked = []

    async def answer(messages: list[ModelMessage], _info: AgentInfo) -> ModelResponse:
        asked.append(len(messages))
        text = await ctx.side_effect(f"model {len(asked)}", lambda: "it is packed")
        return ModelResponse(parts=[TextPart(text) if len(asked) == 2 else ToolCallPart("pack", {"sku": "tea"})])

    agent = Agent(FunctionModel(answer))

    @agent.tool_plain
    async def pack(sku: str) -> str:
        await ctx.sleep(60)
        return f"{sku} is packed"

    done = await agent.run("pack tea")
    return [done.output, len(asked)]


# --- what goes out of the process, in side effects


@uses("httpx", gives=["GET /price", "GET /price", "of the mock"])
async def httpx(ctx: AsyncHandlerContext, url: str) -> Any:
    import httpx

    async def fetch() -> str:
        async with httpx.AsyncClient() as client:
            return (await client.get(f"{url}/price")).text

    async def mocked(_request: httpx.Request) -> httpx.Response:
        await ctx.sleep(60)
        return httpx.Response(200, text="of the mock")

    found = await asyncio.gather(ctx.side_effect("one", fetch), ctx.side_effect("other", fetch, timeout=60))
    async with httpx.AsyncClient(transport=httpx.MockTransport(mocked)) as client:
        return [*found, (await client.get("http://shop/price")).text]


@uses("aiohttp", gives=["GET /price", "POST /orders"])
async def aiohttp(ctx: AsyncHandlerContext, url: str) -> Any:
    import aiohttp

    async def fetch() -> str:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/price") as response:
            return await response.text()

    async def order() -> str:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30)) as session:
            async with session.post(f"{url}/orders", json={"sku": "tea"}) as response:
                return await response.text()

    price = await ctx.side_effect("price", fetch)
    await ctx.sleep(60)
    return [price, await ctx.side_effect("order", order)]


@uses("aiosqlite", "sqlalchemy", gives=[["tea"], 1])
async def sqlalchemy(ctx: AsyncHandlerContext, _url: str) -> Any:
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine

    async def ask() -> list[str]:
        engine = create_async_engine("sqlite+aiosqlite://")
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE lines (sku TEXT)"))
            await connection.execute(text("INSERT INTO lines VALUES ('tea')"))
            found = [str(row[0]) for row in await connection.execute(text("SELECT sku FROM lines"))]
        await engine.dispose()
        return found

    found = await ctx.side_effect("ask", ask)
    await ctx.sleep(60)
    return [found, len(found)]


# --- and in the body itself, where they are refused


@refused("httpx")
async def httpx_in_body(_ctx: AsyncHandlerContext, url: str) -> Any:
    import httpx

    async with httpx.AsyncClient() as client:
        return (await client.get(f"{url}/price")).text


@refused("aiohttp")
async def aiohttp_in_body(_ctx: AsyncHandlerContext, url: str) -> Any:
    import aiohttp

    async with aiohttp.ClientSession() as session, session.get(f"{url}/price") as response:
        return await response.text()


@refused("redis")
async def redis_in_body(_ctx: AsyncHandlerContext, url: str) -> Any:
    from redis.asyncio import Redis

    async with Redis.from_url(url.replace("http", "redis")) as redis:
        return await redis.get("price")


@refused("aiosqlite")
async def aiosqlite_in_body(_ctx: AsyncHandlerContext, _url: str) -> Any:
    import aiosqlite

    async with aiosqlite.connect(":memory:") as connection:
        return await (await connection.execute("SELECT 1")).fetchone()


@refused("structlog")
async def structlog_in_a_thread(_ctx: AsyncHandlerContext, _url: str) -> Any:
    import structlog

    await structlog.wrap_logger(None, wrapper_class=structlog.stdlib.BoundLogger).ainfo("begins")
