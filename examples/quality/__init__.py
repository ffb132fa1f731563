"""The benchmark of answers per byte: held-out films, real stores, real answers."""
