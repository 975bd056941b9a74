"""The options of each strategy, with their bounds: checked at submit time, without torch."""

from __future__ import annotations

from dataclasses import dataclass

Value = bool | int | float | str | list[bool | int | float | str]


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its default (None: none, it must be given or the strategy finds it) and its bounds."""

    default: Value | None
    least: float = 0.0
    below: float = float("inf")
    open: bool = False  # the least value itself is refused too
    choices: tuple[str, ...] = ()
    length: int = 0  # of a list of numbers

    @property
    def says(self) -> str:
        """What a value must be, in words."""
        if self.choices:
            return " or ".join(f'"{choice}"' for choice in self.choices)
        if isinstance(self.default, bool):
            return "true or false"
        least = f"above {self.least:g}" if self.open else f"at least {self.least:g}"
        bounds = least if self.below == float("inf") else f"{least} and below {self.below:g}"
        return f"a list of {self.length} numbers, each {bounds}" if self.length else f"a number {bounds}"

    def accepts(self, value: Value) -> bool:
        """Whether the value is of the right type and within bounds."""
        if self.choices:
            return isinstance(value, str) and value in self.choices
        if isinstance(self.default, bool):
            return isinstance(value, bool)
        numbers = value if isinstance(value, list) else [value]
        if isinstance(value, list) != bool(self.length) or len(numbers) != (self.length or 1):
            return False
        return all(self._within(number) for number in numbers)

    def _within(self, number: Value) -> bool:
        if isinstance(number, bool) or not isinstance(number, int | float):
            return False
        return (self.least < number if self.open else self.least <= number) and number < self.below


def rate(default: float | None) -> Option:
    return Option(default, open=True)


def decay(default: float) -> Option:
    return Option(default, below=1)


COMMON: dict[str, Option] = {"accumulate": Option("float32", choices=("float32", "float64"))}

_ADAPTIVE = {"lr": rate(0.1), "beta1": decay(0.9), "beta2": decay(0.99), "tau": rate(1e-3)}

STRATEGIES: dict[str, dict[str, Option]] = {
    "fedavg": {},
    "fedavgm": {"lr": rate(1.0), "momentum": decay(0.9), "nesterov": Option(False)},
    "fedadam": _ADAPTIVE,
    "fedyogi": _ADAPTIVE,
    "fedadagrad": {"lr": rate(0.1), "tau": rate(1e-3)},
}

_LR = {"lr": rate(None)}
_PLAIN = _LR | {"weight_decay": Option(0.0)}
_EPS = {"eps": Option(1e-8)}
_BETAS = {"betas": Option([0.9, 0.999], below=1, length=2)}
_MOMENTUM = {"momentum": decay(0.0)}
_DECOUPLED = {"decoupled_weight_decay": Option(False)}
_AMSGRAD = {"amsgrad": Option(False)}

# By torch's own class names in small letters; what is not given keeps torch's default. Without LBFGS (needs
# a closure), SparseAdam (sparse gradients), Muon (matrices only) and Adafactor (state that is not a tensor).
TORCH: dict[str, dict[str, Option]] = {
    "sgd": _PLAIN | _MOMENTUM | {"dampening": Option(0.0), "nesterov": Option(False)},
    "adam": _PLAIN | _BETAS | _EPS | _AMSGRAD | _DECOUPLED,
    "adamw": _PLAIN | _BETAS | _EPS | _AMSGRAD,
    "adamax": _PLAIN | _BETAS | _EPS,
    "nadam": _PLAIN | _BETAS | _EPS | _DECOUPLED | {"momentum_decay": Option(4e-3)},
    "radam": _PLAIN | _BETAS | _EPS | _DECOUPLED,
    "adagrad": _PLAIN | {"lr_decay": Option(0.0), "initial_accumulator_value": Option(0.0), "eps": Option(1e-10)},
    "adadelta": _PLAIN | {"rho": decay(0.9), "eps": Option(1e-6)},
    "rmsprop": _PLAIN | _EPS | _MOMENTUM | {"alpha": decay(0.99), "centered": Option(False)},
    "asgd": _PLAIN | {"lambd": Option(1e-4), "alpha": Option(0.75), "t0": Option(1e6)},
    "rprop": _LR
    | {
        "etas": Option([0.5, 1.2], open=True, length=2),
        "step_sizes": Option([1e-6, 50.0], open=True, length=2),
    },
}
