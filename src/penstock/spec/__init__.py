"""The spec: a typed tree, and the verbs that lead from a file to it: read, decode, check."""
