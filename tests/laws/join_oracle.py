"""What two logs of predictions and labels mean, read straight off the join's rules: events one by one, nothing ever forgotten.

It shares no code with `monitor.join` but the names of rules and outcomes. It is the other side of `test_join_laws`.
"""

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from monitor.events import ANY_MODEL, Outcome
from monitor.join import Corrections, JoinRules

MODELS = 2
IDS = np.array([[5, 1], [5, 2**63 + 1], [5 + 1024, 2**62], [6, 2**61]], dtype=np.uint64)
"""The hashes of the worlds' ids: the first two differ in their second word only, the third shares their bucket."""
CLASS_INDEX = np.array([[0, 1, -1, 2], [-1, 1, 0, 2]], dtype=np.int32)


class Prediction(NamedTuple):
    id: int
    time: int
    arrival: int
    identity: int  # its model is identity % MODELS
    content: int


class Label(NamedTuple):
    id: int
    time: int
    arrival: int
    model: int
    value: int


class Mark(NamedTuple):
    arrival: int


class Pair(NamedTuple):
    model: int
    identity: int
    segment: int
    time: int
    predicted: int
    actual: int
    score: float
    scores: tuple[float, ...]
    label_arrival: int


@dataclass(frozen=True)
class World:
    out_of_order: int
    early: int
    tolerance: int
    rules: tuple[JoinRules, ...]
    share: float
    predictions: list[Prediction | Mark]
    labels: list[Label | Mark]


def is_sampled(world: World, number: int) -> bool:
    """Whether an id's second word lies within the share of all numbers of 64 bits."""
    return int(IDS[number, 1]) < world.share * 2**64


def pair(position: int, prediction: Prediction, label: Label) -> Pair:
    """Every column of a prediction is derived from its position in the log, so that no two predictions look alike."""
    model = prediction.identity % MODELS
    actual = int(CLASS_INDEX[model, label.value])
    score = position / 8
    return Pair(model, prediction.identity, position, prediction.time, position % 3, actual, score, (score, -score), label.arrival)


@dataclass(frozen=True)
class Truth:
    prediction_outcomes: list[Outcome]
    differing: list[bool]
    label_outcomes: list[Outcome]
    pairs: Counter[Pair]
    counts: dict[str, list[int]]


Kept = tuple[int, Prediction]
"""With its position in the log."""
Heard = tuple[Label, int]
"""With the labels' watermark at it."""


def truth(world: World) -> Truth:
    """What the two logs mean, read straight off the rules."""
    counts = {name: [0] * MODELS for name in ("joined", "replaced", "repeated", "late", "conflict", "differing")}
    prediction_outcomes, differing, kept = predictions_judged(world, counts)
    label_outcomes, heard = labels_judged(world)

    pairs: Counter[Pair] = Counter()
    met: set[int] = set()
    for position, prediction in kept:
        model = prediction.identity % MODELS
        on_time, late = labels_for(world, prediction, heard)
        met |= on_time | late
        counts["late"][model] += len(late)
        winner = settled([heard[number][0] for number in on_time], world.rules[model].corrections, counts, model)
        if winner is not None:
            pairs[pair(position, prediction, winner)] += 1

    counts["orphaned"] = [0] * (MODELS + 1)  # the last cell, -1, is ANY_MODEL's
    newest = max((entry.arrival for entry in world.predictions), default=-(10**9))
    for number, (label, _) in enumerate(heard):
        if number not in met and newest > label.arrival + world.early + 2 * world.out_of_order:
            counts["orphaned"][label.model] += 1
    return Truth(prediction_outcomes, differing, label_outcomes, pairs, counts)


def predictions_judged(world: World, counts: dict[str, list[int]]) -> tuple[list[Outcome], list[bool], list[Kept]]:
    outcomes: list[Outcome] = []
    differing: list[bool] = []
    kept: list[Kept] = []
    watermark = -(10**9)
    for entry in world.predictions:
        watermark = max(watermark, entry.arrival)
        if isinstance(entry, Mark):
            continue
        model = entry.identity % MODELS
        same = [first for _, first in kept if (first.id, first.identity) == (entry.id, entry.identity)]
        outcome, differs = Outcome.ACCEPTED, False
        if entry.arrival < watermark - world.out_of_order:
            outcome = Outcome.OUT_OF_ORDER
        elif not -world.tolerance <= entry.arrival - entry.time <= world.out_of_order:
            outcome = Outcome.BAD_TIME
        elif not is_sampled(world, entry.id):
            outcome = Outcome.UNSAMPLED
        elif same and watermark <= same[-1].time + world.rules[model].horizon + world.out_of_order:
            outcome, differs = Outcome.DUPLICATE, same[-1].content != entry.content
        else:
            kept.append((len(outcomes), entry))
        counts["differing"][model] += differs
        outcomes.append(outcome)
        differing.append(differs)
    return outcomes, differing, kept


def labels_judged(world: World) -> tuple[list[Outcome], list[Heard]]:
    outcomes: list[Outcome] = []
    heard: list[Heard] = []
    watermark = -(10**9)
    for entry in world.labels:
        watermark = max(watermark, entry.arrival)
        if isinstance(entry, Mark):
            continue
        if entry.arrival < watermark - world.out_of_order:
            outcomes.append(Outcome.OUT_OF_ORDER)
        elif entry.time > entry.arrival + world.tolerance:
            outcomes.append(Outcome.BAD_TIME)
        elif not is_sampled(world, entry.id):
            outcomes.append(Outcome.UNSAMPLED)
        else:
            outcomes.append(Outcome.ACCEPTED)
            heard.append((entry, watermark))
    return outcomes, heard


def labels_for(world: World, prediction: Prediction, heard: list[Heard]) -> tuple[set[int], set[int]]:
    """Which labels are on time for the prediction, and which are late for it."""
    model = prediction.identity % MODELS
    horizon = world.rules[model].horizon
    on_time, late = set(), set()
    for number, (label, watermark) in enumerate(heard):
        if label.id != prediction.id or label.model not in {ANY_MODEL, model} or CLASS_INDEX[model, label.value] < 0:
            continue
        delay = label.arrival - prediction.time
        if -world.early <= delay <= horizon:
            on_time.add(number)
        elif delay > horizon and watermark <= prediction.time + horizon + world.out_of_order:
            late.add(number)
    return on_time, late


def settled(on_time: list[Label], corrections: Corrections, counts: dict[str, list[int]], model: int) -> Label | None:
    """The winner, if there is one; counted."""
    if not on_time:
        return None
    if corrections is Corrections.CONFLICT and len({label.value for label in on_time}) > 1:
        counts["conflict"][model] += 1
        return None
    ranked = sorted(on_time, key=lambda label: (label.time, label.arrival, label.value))
    winner = ranked[0 if corrections is Corrections.FIRST_WINS else -1]
    agreeing = sum(label.value == winner.value for label in on_time)
    counts["joined"][model] += 1
    counts["repeated"][model] += agreeing - 1
    counts["replaced"][model] += len(on_time) - agreeing
    return winner
