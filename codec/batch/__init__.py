"""Many files: one function that does a file, and engines that call it, on one machine or on a cluster."""
