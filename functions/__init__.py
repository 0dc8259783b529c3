"""The stages, each a CloudEvents function: `main.py` wires, `handler.py` loads, decides and acts."""
