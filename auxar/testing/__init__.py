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

try:
    import hypothesis as hypothesis
except ImportError as missing:
    raise ImportError("auxar.testing needs hypothesis: pip install 'auxar[test]'") from missing

from auxar.testing.augmentations import check_augmentation as check_augmentation
from auxar.testing.commands import check_command as check_command
from auxar.testing.conditions import check_conditions as check_conditions
from auxar.testing.datasets import check_dataset as check_dataset
from auxar.testing.distributions import check_decoder as check_decoder
from auxar.testing.distributions import check_network as check_network
from auxar.testing.distributions import check_prior as check_prior
from auxar.testing.embeddings import check_embedding as check_embedding
from auxar.testing.heads import check_head as check_head
from auxar.testing.laws import ContractError as ContractError
from auxar.testing.models import check_model as check_model
from auxar.testing.optimizers import check_optimizer as check_optimizer
from auxar.testing.rules import check_rule as check_rule
from auxar.testing.samplers import check_sampler as check_sampler
from auxar.testing.views import check_view as check_view
