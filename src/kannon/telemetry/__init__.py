"""What a process tells of itself: metrics that are counted here, and the trace that work belongs to.

Both are our own few lines, for every process holds them (docs/adr/0040); what sends spans away is
OpenTelemetry's, and loaded only where that is set up (`kannon.runtime.otlp`).
"""
