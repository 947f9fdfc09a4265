"""The arithmetic `integer`: frequencies and samples that are the same, bit for bit, on every machine.

All numbers are integers, stored in float64, which holds integers up to 2⁵³ exactly.

- Weights are integers with one step for each output channel, and values between layers integers with a power-of-two
  step, which is chosen from training images.
- Sums of convolutions are exact. They are multiplied by an integer, divided by a power of two, and rounded, halves
  upwards. Functions such as elu are stored tables.
- Heads give each value of a channel an integer frequency, in 64-bit integers. Frequencies add up to 2²⁴, also within
  the interval of a restricted decoder, and with the rule `ancestral`, each possible value has at least 1.
- Noise is a uniform number that is rounded down to a multiple of 2⁻²⁴.

When a model is converted, and when it is loaded, a bound is computed for every number of the networks, from the
magnitudes of weights and the bounds of their inputs. If it reaches 2⁵³, the model is refused.
"""

from auxar import Component, hookimpl
from auxar_integers.arithmetic import IntegerArithmetic as IntegerArithmetic
from auxar_integers.conversion import IntegerConfig as IntegerConfig

AUXAR_INTERFACE = 1


@hookimpl
def auxar_register_components() -> list[Component]:
    """Registers the arithmetic `integer`."""
    return [Component("arithmetic", "integer", IntegerConfig, IntegerArithmetic)]
