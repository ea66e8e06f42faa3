"""Pictures with class names: from a name or a folder to batches on a device."""
