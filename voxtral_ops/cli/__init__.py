"""The voxtral-ops command."""
