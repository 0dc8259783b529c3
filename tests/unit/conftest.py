"""How thoroughly properties are tried: as Hypothesis has it, and by `make fuzz`."""

from hypothesis import Phase, settings

settings.register_profile(
    "fuzz",
    max_examples=1_500,
    deadline=None,
    phases=set(Phase) - {Phase.explain},  # it traces every line, for minutes
)
