"""All experiments by name, the cheap ones first."""

from __future__ import annotations

import mcmahan

EXPERIMENTS = {module.EXPERIMENT.name: module.EXPERIMENT for module in (mcmahan,)}
