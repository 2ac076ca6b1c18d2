"""The examples on a real daemon that is killed in the middle of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest

import examples.catalog.main as catalog_client
import examples.orders.main as orders_client
from examples.catalog import catalog, direct
from examples.catalog.files import STANDARD_LIBRARY, FileFacts, list_files, measure
from examples.catalog.handlers import catalog_tree
from examples.daemon import REPOSITORY, Daemon
from examples.orders import ledger
from examples.orders.audit import audit
from examples.orders.samples import sample_orders
from tempolite_sdk import Client, ExecutionStatus

EXAMPLES = REPOSITORY / "examples"


@pytest.fixture
def tree(tmp_path: Path) -> str:
    """Some packages of the standard library, and files that go wrong."""
    root = tmp_path / "tree"
    for package in ("json", "email", "xml", "asyncio"):
        shutil.copytree(Path(STANDARD_LIBRARY, package), root / package, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "beside.py").write_text("def f(): pass\n")
    (root / "json" / "broken.py").write_text("def f(:\n")
    (root / "json" / "latin.py").write_bytes(b"# caf\xe9\n")
    (root / "json" / "zero.py").write_bytes(b"x = 1\0\n")
    (root / "json" / "gone.py").symlink_to("nowhere")
    return str(root)


# --- catalog


def test_a_catalog_equals_a_direct_computation_though_its_node_was_killed(tree: str, tmp_path: Path) -> None:
    config = EXAMPLES / "catalog" / "node.yaml"
    with (
        Daemon(config, tmp_path, {"CATALOG_DIR": str(tmp_path)}) as daemon,
        Client(daemon.address, timeout=90) as client,
    ):

        def kill_once(done: int, total: int) -> None:
            if daemon.starts == 1 and done >= 0.4 * total:
                daemon.kill()
                daemon.start()
                client.resume_pool("saga")

        client.pause_pool("saga")  # nothing is published, so it can't end before its node is killed
        job = client.enqueue(catalog_tree, tree)
        summary = catalog_client.follow(job, kill_once)
        progress = [signal.payload["done"] for signal in job.receive_signals("progress")]
        epoch = job.info().epoch

    assert daemon.starts == 2
    assert epoch > 1, "the job had ended before its node was killed"
    assert progress == sorted(set(progress)), "no signal is lost, none is sent twice"
    assert (summary.files, summary.packages, summary.problems) == (len(list_files(tree)), 5, 4)
    assert catalog.dump(str(tmp_path / "catalog.db")) == direct.dump(tree)


def test_files_that_cannot_be_parsed_or_read_are_measured_as_far_as_they_go(tree: str) -> None:
    assert measure(tree, "beside.py").functions == 1
    for name, size in (("broken.py", 8), ("latin.py", 7), ("zero.py", 7)):
        facts = measure(tree, f"json/{name}")
        assert (facts.problem, facts.bytes, facts.functions) == ("not parsed", size, 0)
    assert measure(tree, "json/gone.py") == FileFacts(path="json/gone.py", problem="unreadable")


def test_publishing_a_package_is_safe_to_repeat_and_to_undo(tree: str, tmp_path: Path) -> None:
    database = str(tmp_path / "catalog.db")
    catalog.create(database)
    facts = [measure(tree, path) for path in list_files(tree)]
    for package, of_package in groupby(facts, key=lambda each: each.package):
        rows = list(of_package)
        for publication in ("first", "second"):
            for _ in range(2):
                catalog.stage(database, package, publication, rows)
            for _ in range(2):
                catalog.swap_in(database, package, publication)
            for _ in range(2):
                catalog.count_totals(database, package, publication)
    published = catalog.dump(database)
    assert published == direct.dump(tree)

    catalog.stage(database, "json", "third", facts[:1])
    assert catalog.dump(database) == published, "readers see nothing of what is staged"
    catalog.swap_in(database, "json", "third")
    catalog.count_totals(database, "json", "third")
    assert catalog.dump(database) != published
    for _ in range(2):
        catalog.restore_totals(database, "json", "third")
    for _ in range(2):
        catalog.swap_out(database, "json", "third")
    for _ in range(2):
        catalog.unstage(database, "json", "third")
    assert catalog.dump(database) == published


# --- orders


def test_orders_balance_to_the_cent_though_their_node_was_killed(tmp_path: Path) -> None:
    books = str(tmp_path / "shop.db")
    orders_client.open_shop(books)
    orders = sample_orders(12, prefix="order")
    config = EXAMPLES / "orders" / "node.yaml"
    with (
        Daemon(config, tmp_path, {"ORDERS_DIR": str(tmp_path)}) as daemon,
        Client(daemon.address, timeout=90) as client,
    ):
        placed = orders_client.place_orders(client, orders)
        orders_client.approve(placed[:6])  # the other six can't end before the node is killed
        client.wait(lambda stats: orders_client.ended(stats) >= 4, timeout=90)
        daemon.kill()
        daemon.start()
        orders_client.approve(placed[6:])
        orders_client.follow(client, 0, len(orders), lambda _done, _total: None)
        outcomes = [orders_client.outcome_of(each) for each in placed]
        tree = placed[4].execution.tree().render()

    assert audit(books, outcomes) == []
    assert sum(outcome.status is ExecutionStatus.COMPLETED for outcome in outcomes) == 6
    assert "CarrierBusy" in tree, "one kind fails once, and then succeeds"
    assert ledger.nets(books)["order-0005"].cents == 2 * 1_235


def test_an_entry_is_made_once_however_often_it_is_asked_for(tmp_path: Path) -> None:
    books = str(tmp_path / "shop.db")
    orders_client.open_shop(books)
    for _ in range(2):
        ledger.reserve(books, key="r", order_id="o", sku="tea", quantity=3)
    for _ in range(2):
        ledger.charge(books, key="c", order_id="o", card="gold", cents=1_197)
    for _ in range(2):
        ledger.ship(books, key="s", order_id="o", country="FR")
    assert ledger.nets(books) == {"o": ledger.Net(quantity=3, cents=1_197, parcels=1, entries=3)}
    for _ in range(2):
        ledger.call_back(books, key="-s", order_id="o")
    for _ in range(2):
        ledger.refund(books, key="-c", order_id="o")
    for _ in range(2):
        ledger.release(books, key="-r", order_id="o")
    assert ledger.nets(books) == {"o": ledger.Net(entries=6)}
    ledger.refund(books, key="-x", order_id="of which nothing was booked")
    assert len(ledger.nets(books)) == 1


def test_what_cannot_be_sold_paid_or_shipped_leaves_no_entry(tmp_path: Path) -> None:
    books = str(tmp_path / "shop.db")
    orders_client.open_shop(books)
    with pytest.raises(ledger.OutOfStock):
        ledger.reserve(books, key="r", order_id="o", sku="unicorn", quantity=1)
    with pytest.raises(ledger.CardDeclined):
        ledger.charge(books, key="c", order_id="o", card="worn", cents=501)
    with pytest.raises(ledger.NoCarrier):
        ledger.ship(books, key="s", order_id="o", country="AQ")
    with pytest.raises(ledger.CarrierBusy):
        ledger.ship(books, key="s", order_id="p", country="NO")
    assert ledger.nets(books) == {}


# --- the demo


def test_the_demo_passes_its_own_checks_and_leaves_no_process_behind(tree: str, tmp_path: Path) -> None:
    directory = tmp_path / "demo"
    command = [sys.executable, "-m", "examples.demo", "--root", f"{tree}/json", "--orders", "8"]
    run = subprocess.run(
        [*command, "--directory", str(directory)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("killed the node (SIGKILL)") == 2
    for part in ("✓ the catalog equals", "✓ the books balance", "COMPLETED", "COMPENSATED"):
        assert part in run.stdout
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
    assert not any(str(directory).encode() in command for command in commands)
