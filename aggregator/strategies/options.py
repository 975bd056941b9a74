"""The options of each strategy, with their bounds: checked at submit time, without torch."""

from __future__ import annotations

from ...storage.rules import FEDDYN_ALPHA
from ..choices import Option, decay, rate

COMMON: dict[str, Option] = {"accumulate": Option("float32", choices=("float32", "float64")), "ema": decay(0.0)}

_ADAPTIVE = {"lr": rate(0.1), "beta1": decay(0.9), "beta2": decay(0.99), "tau": rate(1e-3)}

STRATEGIES: dict[str, dict[str, Option]] = {
    "fedavg": {},
    "fedavgm": {"lr": rate(1.0), "momentum": decay(0.9), "nesterov": Option(False)},
    "fedadam": _ADAPTIVE,
    "fedyogi": _ADAPTIVE,
    "fedadagrad": {"lr": rate(0.1), "tau": rate(1e-3)},
    "fedexp": {"epsilon": rate(1e-3)},
    "diloco": {"lr": rate(0.7), "momentum": decay(0.9), "warmup": Option(0), "decay": Option(0)},
    "scaffold": {"lr": rate(1.0)},
    "fednova": {"lr": rate(1.0)},
    "feddyn": {"alpha": rate(FEDDYN_ALPHA)},
    "qfedavg": {"q": Option(1.0, below=10), "lipschitz": rate(None)},
}

# Whose step of an item looks at that item alone, and whose state is `<what>/<parameter>` (a tensor of its shape,
# or a number): a model of any size goes through them range by range. All of TORCH below are such.
ELEMENTWISE = frozenset(
    (
        *("fedavg", "fedavgm", "fedadam", "fedyogi", "fedadagrad", "fedexp", "diloco"),
        *("scaffold", "fednova", "feddyn", "qfedavg"),
    )
)

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
