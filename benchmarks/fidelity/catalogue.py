"""All experiments by name, the cheap ones first."""

from __future__ import annotations

import fedprox
import mcmahan
import mcmahan_why

EXPERIMENTS = {module.EXPERIMENT.name: module.EXPERIMENT for module in (mcmahan_why, mcmahan, fedprox)}
