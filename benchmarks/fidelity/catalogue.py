"""All experiments by name, the cheap ones first."""

from __future__ import annotations

import adaptive
import asynchrony
import compression
import diloco
import fedprox
import mcmahan
import mcmahan_why
import racape
import robust
import scaffold
import schedules

MODULES = (
    mcmahan_why,
    schedules,
    racape,
    compression,
    adaptive,
    robust,
    scaffold,
    diloco,
    asynchrony,
    fedprox,
    mcmahan,
)
EXPERIMENTS = {module.EXPERIMENT.name: module.EXPERIMENT for module in MODULES}
