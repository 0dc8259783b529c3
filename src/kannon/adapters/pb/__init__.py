"""Messages and services of proto/, made by proto/generate.py: never edited by hand."""
