"""Adapters: each implements ports with one foreign thing, and translates its errors into ours."""
