"""A package and its engine in the worker: ready, or at rest until its first series comes.

Every engine is loaded and compared when the worker starts, so that a broken package is known then.
One that can flag nothing critical is closed again: most appliances see few kinds of study, and an
engine at rest takes no memory. To wake it takes some ten milliseconds, once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edge.analysis.messages import EngineName
from edge.analysis.preparing import Preparation, preparation_for
from edge.analysis.slice_series import Prepared
from engines import (
    Engine,
    EngineError,
    EngineStore,
    InputSpec,
    ModelPackage,
    Serving,
    calibrate,
    load_again,
    may_rest,
)
from engines.explain import ACTIVATION, load_explainer
from engines.graph.errors import GraphError


class Model:
    """A model of slices that can be asked.

    Parameters
    ----------
    serving : Serving
        What serves, warmed up; this model closes it.
    store : EngineStore or None
        Where it came from, if it was activated.
    threads : int
        For ONNX Runtime.
    preparing : callable
        Chooses what prepares the slices.
    """

    def __init__(
        self,
        serving: Serving,
        store: EngineStore | None,
        threads: int,
        *,
        preparing: Callable[[Engine, InputSpec], Preparation] = preparation_for,
    ) -> None:
        self.package: ModelPackage = serving.package
        self.name: EngineName = (serving.engine.name, serving.engine.precision)
        self.preparation = preparing(serving.engine, self.package.input)
        self._serving = serving
        self._store = store
        self._threads = threads
        self._engine: Engine | None = serving.engine
        self._explainer: Engine | None = None
        self._explains = not self.package.volumes
        if any(one.urgency == "critical" and one.reliable for one in self.package.findings):
            self._explainer = self._load_explainer()
        elif may_rest(serving):
            serving.engine.close()
            self._engine = None

    def close(self) -> None:
        """Free the engines."""
        for engine in (self._engine, self._explainer):
            if engine is not None:
                engine.close()
        self._engine = self._explainer = None

    def ask(self, stacks: Sequence[Prepared]) -> tuple[NDArray[np.float64], list[bool]]:
        """Return what the model says of (channels, h, w) inputs.

        Calibrated probabilities (slices, findings), and for each slice whether it looks like what
        the model knows.

        Raises
        ------
        EngineError, PackageError
            If an engine at rest cannot be loaded any more. The worker ends by it, and the next one
            says which package cannot serve.
        """
        if self._engine is None:
            self._engine = load_again(self._serving, self._store, threads=self._threads)
        name = self.package.input.tensor
        outputs = self._engine.infer({name: np.stack(stacks)})
        # What ran: an engine elsewhere may be left for the one here, or come back.
        self.name = (self._engine.name, self._engine.precision)
        logits = outputs[self.package.output.tensor]
        columns = [
            calibrate(logits[:, finding.output], *finding.calibration)
            for finding in self.package.findings
        ]
        known = self.package.familiar
        near = (
            [True] * len(logits)
            if known is None
            else [float(far) <= known.limit for far in outputs[known.output][:, 0]]
        )
        return np.stack(columns, axis=1), near

    def where(self, stack: Prepared) -> NDArray[np.float32] | None:
        """Return where one input (channels, h, w) shows what, as (outputs, h, w) logits."""
        if self._explainer is None and self._explains:
            self._explainer = self._load_explainer()
        if self._explainer is None:
            return None
        found: NDArray[np.float32] = self._explainer.infer(
            {self.package.input.tensor: stack[np.newaxis]}
        )[ACTIVATION][0]
        return found

    def _load_explainer(self) -> Engine | None:
        """Return what shows where the model sees, None for a model that shows no place."""
        try:
            explainer = load_explainer(self.package, threads=self._threads)
        except (
            EngineError,
            GraphError,
        ):  # it shows no place, or its last good engine serves without it
            self._explains = False
            return None
        explainer.warm_up()
        return explainer
