"""The cloud side: collects telemetry and rolls models out."""
