"""Kannon sends mail for applications, as event functions on Knative."""

__version__ = "0.1.0"
