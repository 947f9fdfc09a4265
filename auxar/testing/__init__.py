"""The contract of every interface, as checks for a plugin's own tests.

    from auxar.testing import check_view

    def test_contract():
        check_view(DarkestView, DarkestConfig())

A check builds the component as a recipe would and looks for an example that breaks one of the interface's laws. It
raises `ContractError`, which begins with the law's name and shows the smallest example found. The same search runs
each time: a check that passed passes again. What auxar ships is checked by the same functions.

Needs hypothesis: `pip install 'auxar[test]'`.
"""

from auxar.testing.decoders import check_decoder
from auxar.testing.embeddings import check_embedding
from auxar.testing.laws import ContractError
from auxar.testing.priors import check_prior
from auxar.testing.samplers import check_sampler
from auxar.testing.views import check_view

__all__ = ["ContractError", "check_decoder", "check_embedding", "check_prior", "check_sampler", "check_view"]
