"""Everything that can happen to cards, in any order: the model always sees what is there, and what it saw before."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cards.builder import Cards
from harness.random_order import budget
from plugin_gateway.core.devices import Inventory
from plugin_gateway.linux.pci_scan import scan
from plugin_gateway.linux.sysfs import HostTree
from plugin_gateway.rdma.model import RdmaModel
from rdma.watching import Watched

PFS = ("0000:3b:00.0", "0000:3b:00.1")
VFS = tuple(f"0000:3b:00.{number}" for number in range(2, 6))
pfs, vfs, functions = map(st.sampled_from, (PFS, VFS, (*PFS, *VFS)))


class AnyChange(RuleBasedStateMachine):
    """A ConnectX-6 to which the kernel, an administrator and pods do everything that they can."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="cards-"))
        self.cards = Cards(self.folder)
        self.watched = Watched(self.cards)
        self.is_loaded = True
        self.unbound: set[str] = set()
        self.given: set[str] = set()
        self.down: set[str] = set()
        self.with_rdma: set[str] = set()
        """The functions whose RDMA device was seen, and that were there at each look since."""

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @initialize()
    def begin(self) -> None:
        self.cards.connectx6()
        self.look_at_rdma()

    def here(self, address: str) -> bool:
        return address in self.cards.functions

    def is_usable(self, address: str) -> bool:
        return self.here(address) and self.is_loaded and address not in self.unbound | self.given

    def look_at_rdma(self) -> None:
        self.with_rdma = {each for each in self.with_rdma if self.here(each)}
        self.with_rdma |= {each for each in self.cards.functions if self.is_usable(each)}

    def forget(self, *addresses: str) -> None:
        for state in (self.unbound, self.given, self.down):
            state -= set(addresses)

    @rule(address=functions)
    def unplug(self, address: str) -> None:
        if self.here(address):
            self.forget(address, *(VFS if address == PFS[0] else ()))
            self.cards.unplug(address)

    @rule(address=functions)
    def plug(self, address: str) -> None:
        if address in self.cards.unplugged and (address in PFS or self.here(PFS[0])):
            self.cards.plug(address)

    @rule(count=st.integers(0, 4), first_uverbs=st.integers(6, 40))
    def create_virtual_functions(self, count: int, first_uverbs: int) -> None:
        if self.here(PFS[0]) and PFS[0] not in self.unbound:
            self.forget(*VFS)
            self.cards.numvfs(PFS[0], count, first_uverbs)

    @rule(address=functions)
    def give_away(self, address: str) -> None:
        if self.is_usable(address):
            self.given.add(address)
            self.down.discard(address)
            self.cards.give_away(address)

    @rule(address=functions, number=st.integers(50, 60) | st.none())
    def take_back(self, address: str, number: int | None) -> None:
        if address in self.given:
            self.given.discard(address)
            self.cards.take_back(address, number)

    @rule(address=functions)
    def unbind(self, address: str) -> None:
        if self.here(address) and address not in self.unbound:
            self.given.discard(address)
            self.down.discard(address)
            self.unbound.add(address)
            self.cards.no_driver(address)

    @rule(address=functions)
    def bind(self, address: str) -> None:
        if address in self.unbound:
            self.unbound.discard(address)
            self.cards.bind(address)

    @precondition(lambda self: self.is_loaded)
    @rule()
    def unload(self) -> None:
        self.is_loaded = False
        self.given.clear()
        self.down.clear()
        self.cards.unload_mlx5_ib()

    @precondition(lambda self: not self.is_loaded)
    @rule()
    def load(self) -> None:
        self.is_loaded = True
        self.cards.load_mlx5_ib()

    @rule(address=pfs)
    def pull_the_cable(self, address: str) -> None:
        if self.is_usable(address):
            self.down.add(address)
            self.cards.port_down(address)

    @rule(address=vfs)
    def leave_idle(self, address: str) -> None:
        if self.is_usable(address):
            self.cards.port_down(address)

    @rule()
    def restart(self) -> None:
        self.watched.restart()

    def expected(self, address: str) -> set[str]:
        """Return the kinds of problems that a function has."""
        if address in self.unbound:
            return {"no-driver"}
        if not self.is_loaded:
            return {"no-rdma-device"}
        if address in VFS:
            return {"parent-down"} if PFS[0] in self.down else set()
        return {"port-down"} if address in self.down else set()

    @invariant()
    def all_is_seen(self) -> None:
        self.look_at_rdma()
        look = self.watched.look()
        assert look.addresses == sorted(self.cards.functions)
        for address, function in self.cards.functions.items():
            assert set(map(str, look.problems(address))) == self.expected(address), address
            assert function.net is not None
            assert function.rdma is not None
            expected_names = (function.rdma.name,) if address in self.with_rdma else ()
            assert look.attribute(address, "rdmaDevice") == expected_names
            assert look.attribute(address, "interface") == (function.net.name,)
            if self.is_usable(address):
                assert look.device(address).nodes == (f"/dev/infiniband/uverbs{function.rdma.number}",)
        tree = HostTree(str(self.folder))
        again = RdmaModel(self.watched.saved[-1]).see(scan(tree), tree)
        assert without_numbers(again.inventory) == without_numbers(look.inventory)


def without_numbers(inventory: Inventory) -> dict[str, object]:
    """Return the devices by their ids, without the numbers in the order of their first sight."""
    return {each.id: replace(each, physical=replace(each.physical, index=0), place=(0,)) for each in inventory.devices}


def test_after_any_changes_the_model_sees_what_is_there_and_what_it_saw_before() -> None:
    run_state_machine_as_test(AnyChange, settings=budget(12, 12))
