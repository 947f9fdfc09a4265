"""Contract checks for views, networks, priors, embeddings, decoders, heads, rules, samplers, optimizers,
augmentations, data sets, models and commands.

They are for the tests of plugins:

    from auxar.testing import check_view

    def test_contract():
        check_view(DarkestView, DarkestConfig())

A check builds the component and searches for an input that breaks one of the laws of its interface. If it finds one,
it raises `ContractError`. The message begins with the name of the law and shows the smallest failing example found. The
search is deterministic, so repeated runs give the same result. The components that auxar ships are tested with the same
functions.

The package needs hypothesis: `pip install 'auxar[test]'`.
"""

from auxar.testing.augmentations import check_augmentation
from auxar.testing.commands import check_command
from auxar.testing.conditions import check_conditions
from auxar.testing.datasets import check_dataset
from auxar.testing.embeddings import check_embedding
from auxar.testing.heads import check_head
from auxar.testing.laws import ContractError
from auxar.testing.models import check_model
from auxar.testing.optimizers import check_optimizer
from auxar.testing.roles import check_decoder, check_network, check_prior
from auxar.testing.rules import check_rule
from auxar.testing.samplers import check_sampler
from auxar.testing.views import check_view

__all__ = [
    "ContractError",
    "check_augmentation",
    "check_command",
    "check_conditions",
    "check_dataset",
    "check_decoder",
    "check_embedding",
    "check_head",
    "check_model",
    "check_network",
    "check_optimizer",
    "check_prior",
    "check_rule",
    "check_sampler",
    "check_view",
]
