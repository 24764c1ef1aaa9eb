"""The runtimes: each opens a model as a predictor, one file each, with its own library."""
