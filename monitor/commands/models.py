"""From the configuration and the reference files to what the pipeline and the aggregate know of each model."""

import hashlib
import json
from collections.abc import Sequence

import structlog

from monitor.clock import Milliseconds
from monitor.commands.schemas import schema_of
from monitor.config import Model as ModelConfig
from monitor.config import Settings
from monitor.errors import ReferenceFileError
from monitor.events import Schema
from monitor.join import Corrections, JoinRules
from monitor.model_readings import Baseline, Watched
from monitor.panes import PanePlan
from monitor.pipeline import Bounds, Model
from monitor.quality.drift import Method
from monitor.reference.file import load_reference, unknown_layout
from monitor.reference.paths import all_references, find_reference
from monitor.reference.profile import Reference, layout_of
from monitor.stats.delays import edges_up_to
from monitor.stats.layout import Classes, ModelLayout

_logger = structlog.get_logger(__name__)


class KnownModel:
    """One configured model with its references, each loaded once: a version's layout must not change while the process lives."""

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self._delay_edges = edges_up_to(config.horizon)
        self.schema = schema_of(config, None) if config.features else self._schema_of_reference()
        self._own = self._load("")
        self._references: dict[str, Reference | None] = {"": self._own}
        features = {name: unknown_layout(kind) for name, kind in self.schema.features.items()}
        self._bare_layout = layout_of(Classes.of(self.schema), features, self._delay_edges)

    def _schema_of_reference(self) -> Schema:
        """With no features in the configuration they are the reference's: the model's own file, else that of some version."""
        bare, template = schema_of(self.config, None), self.config.reference
        if template is None:
            return bare
        path = find_reference(template, "") or next(iter(all_references(template)), None)
        return bare if path is None else schema_of(self.config, load_reference(path, bare, self._delay_edges))

    def _load(self, version: str) -> Reference | None:
        path = None if self.config.reference is None else find_reference(self.config.reference, version)
        return None if path is None else load_reference(path, self.schema, self._delay_edges)

    def reference(self, version: str) -> Reference | None:
        """What a version is compared with. A file that cannot be used is reported once, and the version goes without."""
        if version not in self._references:
            try:
                self._references[version] = self._load(version)
            except ReferenceFileError as error:
                _logger.warning("reference not used", model=self.schema.name, version=version, reason=str(error))
                self._references[version] = None
            if self._references[version] is None and self.config.reference is not None:
                _logger.warning(
                    "no reference: no drift for this version", model=self.schema.name, version=version, expected=self.config.reference
                )
        return self._references[version]

    def layout(self, version: str) -> ModelLayout:
        """What a version's panes count: by its reference, else features in one bin each."""
        reference = self.reference(version)
        return self._bare_layout if reference is None else reference.layout()

    def baseline(self, version: str) -> Baseline | None:
        """The reference's vectors, laid out as the version's panes are."""
        reference = self.reference(version)
        return None if reference is None else Baseline(reference.inputs, reference.cohort, reference.segments)

    def for_pipeline(self, out_of_order: Milliseconds) -> Model:
        """The model as events are counted for it."""
        config = self.config
        plan = PanePlan(tuple(window.milliseconds for window in config.windows), config.horizon, out_of_order)
        rules = JoinRules(config.horizon, Corrections(config.labels.corrections))
        first_values = {} if self._own is None else self._own.dimensions
        return Model(self.schema, rules, plan, config.segments, self.layout, first_values)

    def for_aggregate(self, sample: float) -> Watched:
        """The model as its readings are made, of that share of ids.

        Segments get the PSI alone, because a tick has many of them; the whole gets every score.
        """
        config = self.config
        return Watched(
            name=config.name,
            owner=config.owner or "",
            task=config.task,
            shown_class=config.positive_class or "",
            windows={window.text: window.milliseconds for window in config.windows},
            layout_of=self.layout,
            baseline_of=self.baseline,
            segment_methods=frozenset({Method.PSI}),
            sample=sample,
        )


def bounds_of(settings: Settings) -> Bounds:
    """What a partition accepts."""
    join, several = settings.join, len(settings.models) > 1
    names_model = several and not settings.labels_without_model
    return Bounds(settings.log.out_of_order, join.early, join.rows_limit, names_model, join.sample)


def rules_digest(schemas: Sequence[Schema], log_identity: str) -> str:
    """Stands for what the numbers in a join snapshot mean: which log they came from, and models, classes and dimensions by their order."""
    meaning = [[schema.name, schema.classes, schema.positive, schema.threshold, schema.dimensions] for schema in schemas]
    return hashlib.sha256(json.dumps([log_identity, meaning]).encode()).hexdigest()[:16]
