"""Nano: a very small checkpoint in Voxtral's architecture that understands a closed set of spoken commands."""
