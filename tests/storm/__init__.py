"""Storms: many callers in mixed work against many switches. No call may ever see two versions.

``python -m tests.storm`` runs every workload in every mode and prints a table; ``docs/storms.md`` says what it proves.
"""
