"""The configuration knows no backend, so it says a few of their words by itself. They are the same."""

from plugin_gateway.adapters.configuration.options import Options
from plugin_gateway.adapters.configuration.resource_rules import KINDS, MIG
from plugin_gateway.adapters.configuration.settings import MIXED
from plugin_gateway.nvidia import naming


def test_a_rule_can_name_each_kind_that_a_backend_has() -> None:
    assert set(KINDS) == naming.RECIPES.keys()
    assert MIG == naming.MIG


def test_each_strategy_that_is_allowed_is_one_of_the_backend() -> None:
    assert Options.mig_strategy.kind.schema == {"enum": [strategy.value for strategy in naming.MigStrategy]}
    assert naming.MigStrategy(MIXED) is naming.MigStrategy.MIXED
