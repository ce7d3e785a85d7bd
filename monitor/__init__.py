"""Watches models in production: joins predictions with late labels and tells when quality or inputs change."""

__version__ = "0.1.0"
