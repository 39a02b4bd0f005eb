"""The networks. Nothing here names a device or reads a data set."""
