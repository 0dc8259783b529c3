"""What every process needs to run: settings, logging, health, and a result's HTTP status."""
