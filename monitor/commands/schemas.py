"""From a model's configuration, and its reference where it has one, to what decoding needs to know of it."""

from monitor.config import Model
from monitor.events import FeatureKind, Schema
from monitor.reference.profile import Reference
from monitor.stats.features import NumericLayout


def schema_of(model: Model, reference: Reference | None) -> Schema:
    """What the model's events look like. Its features are the configured ones, those of the reference where none are."""
    features = dict(model.features)
    if not features and reference is not None:
        features = {
            name: FeatureKind.NUMERIC if isinstance(layout, NumericLayout) else FeatureKind.CATEGORICAL
            for name, layout in reference.features.items()
        }
    return Schema(
        name=model.name,
        task=model.task,
        classes=model.classes,
        positive=-1 if model.positive_class is None else model.classes.index(model.positive_class),
        threshold=model.threshold,
        features=features,
        dimensions=model.dimensions,
    )
