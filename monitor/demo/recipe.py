"""What the demo's model is made of: its features, its dates, its threshold. Plain names, so that nothing heavy is imported for them."""

from datetime import date

VERSION = 1
"""Rises with every change to what training writes; a folder trained by another version is trained again."""

MODEL = "flights"
MODEL_VERSION = "1"
CLASSES = ("on_time", "late")
POSITIVE_CLASS = "late"
LATE_MINUTES = 15
THRESHOLD = 0.235
"""Best F1 on the validation days in steps of .005; the graph's own label would cut at .5."""

NUMERIC = ("sched_hour", "weekday", "distance", "temp", "humid", "wind_speed", "precip", "pressure", "visib")
CATEGORICAL = ("carrier", "origin")
MONITORED = ("dest",)
"""Sent and watched, but not an input of the model."""

VALIDATION_STARTS = date(2013, 2, 15)
SERVING_STARTS = date(2013, 3, 1)
"""Training runs from 1 January to the day before validation; the reference is everything before serving. Local dates of departure."""
