"""Profile × release → plan: which engine, which model, which flags, and why."""
