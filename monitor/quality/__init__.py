"""From sums to readings: pure functions of pane vectors, layouts and reference vectors. An undefined number is None, never NaN or 0."""
