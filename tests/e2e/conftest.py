"""What is costly and shared: the demo's trained model, and one run of the demo."""

from pathlib import Path

import pandas as pd
import pytest

from tests.e2e.demos import copy_of, trained
from tests.e2e.drift_oracle import Profile
from tests.e2e.flights_truth import joined, served_flights
from tests.e2e.played import END, OWN_FLIGHTS, Played, play


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory)


@pytest.fixture(scope="session")
def played(trained_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Played:
    return play(copy_of(trained_folder, tmp_path_factory.mktemp("played") / "demo"))


@pytest.fixture(scope="session")
def profile(played: Played) -> Profile:
    return Profile.of(played.folder / "flights-1.reference")


@pytest.fixture(scope="session")
def flights() -> pd.DataFrame:
    """The served flights as they really were."""
    return served_flights(END)


@pytest.fixture(scope="session")
def rows(played: Played) -> pd.DataFrame:
    """All predictions with their labels, those of one's own included."""
    return joined(played.predictions, played.labels)


@pytest.fixture(scope="session")
def streamed(rows: pd.DataFrame) -> pd.DataFrame:
    """Those of the stream alone."""
    return rows[~rows["id"].isin(OWN_FLIGHTS)]
