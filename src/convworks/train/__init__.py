"""Training: what to do (config, recipes), doing it (loop), and keeping it (checkpoint, run)."""
