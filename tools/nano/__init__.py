"""Nano: a very small checkpoint in Voxtral's architecture that understands a few spoken commands."""
