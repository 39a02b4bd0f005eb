"""The networks, as in the papers. Nothing here names a device, reads a data set, or exists only to be fast."""
